//! Values that must not be seen: every form in which one could get out, searched in whatever a program says and leaves.
//!
//! A value is looked for by 16 bytes of each form, so that one cut in the middle is found too.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// So many bytes of a form are enough to know it.
const WINDOW: usize = 16;

/// How long the watch rests between two looks: short enough for a shell's children, long enough to leave the machine to the tests.
const REST: Duration = Duration::from_millis(2);

/// The forms of all values that must not be seen.
pub(crate) struct Canary {
    windows: HashSet<[u8; WINDOW]>,
    /// The first two bytes of every window: most places are ruled out by them.
    starts: Vec<bool>,
    known: HashSet<Vec<u8>>,
}

impl Default for Canary {
    fn default() -> Self {
        Self { windows: HashSet::new(), starts: vec![false; 1 << 16], known: HashSet::new() }
    }
}

fn start(window: &[u8]) -> usize {
    usize::from(window[0]) << 8 | usize::from(window[1])
}

impl Canary {
    /// From here on this value must not be seen.
    pub(crate) fn learn(&mut self, value: &[u8]) {
        if !self.known.insert(value.to_vec()) {
            return;
        }
        for form in forms(value) {
            for at in [0, form.len().saturating_sub(WINDOW)] {
                if let Some(Ok(window)) = form.get(at..at + WINDOW).map(<[u8; WINDOW]>::try_from) {
                    self.windows.insert(window);
                    self.starts[start(&window)] = true;
                }
            }
        }
    }

    /// What was found of a value, with what stands around it.
    #[must_use]
    pub(crate) fn seen_in(&self, sink: &[u8]) -> Option<String> {
        let found = sink.windows(WINDOW).position(|window| {
            self.starts[start(window)]
                && <[u8; WINDOW]>::try_from(window).is_ok_and(|window| self.windows.contains(&window))
        })?;
        let around = &sink[found.saturating_sub(80)..(found + 2 * WINDOW).min(sink.len())];
        Some(String::from_utf8_lossy(around).into_owned())
    }
}

/// A value as it is and in the forms that programs give to bytes.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let each = |form: &dyn Fn(u8) -> String, between: &str| {
        value.iter().map(|byte| form(*byte)).collect::<Vec<_>>().join(between).into_bytes()
    };
    let mut forms = vec![
        value.to_vec(),
        value.iter().rev().copied().collect(),
        each(&|byte| format!("{byte:02x}"), ""),
        each(&|byte| format!("{byte:02X}"), ""),
        each(&|byte| format!("%{byte:02x}"), ""),
        each(&|byte| format!("%{byte:02X}"), ""),
        each(&|byte| format!("\\x{byte:02x}"), ""),
        each(&|byte| format!("\\u00{byte:02x}"), ""),
        // As `{:?}` prints bytes.
        each(&|byte| byte.to_string(), ", "),
        each(&|byte| byte.to_string(), ","),
        serde_json::to_string(&String::from_utf8_lossy(value)).unwrap().trim_matches('"').as_bytes().to_vec(),
    ];
    for alphabet in [b"+/", b"-_"] {
        // Where the value begins inside a longer text decides which letters it becomes.
        for skipped in 0..3 {
            forms.push(base64(&value[skipped.min(value.len())..], *alphabet));
        }
    }
    forms
}

/// Whole groups only: the last letters depend on what follows.
fn base64(bytes: &[u8], last_two: [u8; 2]) -> Vec<u8> {
    let letters: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last_two).collect();
    let group = |chunk: &[u8; 3]| {
        let word = usize::from(chunk[0]) << 16 | usize::from(chunk[1]) << 8 | usize::from(chunk[2]);
        [18, 12, 6, 0].map(|shift| letters[word >> shift & 63])
    };
    bytes.as_chunks::<3>().0.iter().flat_map(group).collect()
}

/// Looks all the time at the command lines and environments of some processes and all their children.
pub(crate) struct Watch {
    roots: Arc<Mutex<Vec<u32>>>,
    seen: Arc<Mutex<BTreeSet<Vec<u8>>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look at this process.
    #[must_use]
    pub(crate) fn over(root: u32) -> Self {
        let roots = Arc::new(Mutex::new(vec![root]));
        let (seen, over) = (Arc::<Mutex<BTreeSet<_>>>::default(), Arc::<AtomicBool>::default());
        let (watched, found, stop) = (Arc::clone(&roots), Arc::clone(&seen), Arc::clone(&over));
        let look_on = move || {
            while !stop.load(Ordering::Relaxed) {
                let roots = watched.lock().unwrap().clone();
                roots.into_iter().for_each(|root| look_at(root, &found));
                std::thread::sleep(REST);
            }
        };
        Self { roots, seen, over, thread: Some(std::thread::spawn(look_on)) }
    }

    /// Looks at this process too.
    pub(crate) fn also(&self, root: u32) {
        self.roots.lock().unwrap().push(root);
    }

    /// This process has ended; its number may be another's soon.
    pub(crate) fn no_more(&self, root: u32) {
        self.roots.lock().unwrap().retain(|known| *known != root);
    }

    /// All that was seen.
    #[must_use]
    pub(crate) fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().iter().cloned().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A process that ends meanwhile has nothing more to show.
fn look_at(process: u32, seen: &Mutex<BTreeSet<Vec<u8>>>) {
    let at = format!("/proc/{process}");
    for name in ["cmdline", "environ"] {
        let text = fs::read(Path::new(&at).join(name)).unwrap_or_default();
        if !text.is_empty() {
            seen.lock().unwrap().insert(text);
        }
    }
    for thread in fs::read_dir(format!("{at}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).for_each(|child| look_at(child, seen));
    }
}

#[test]
fn every_form_of_a_value_is_found_wherever_it_stands() {
    let value = b"c0ffee11c0ffee22c0ffee33c0ffee44c0ffee55c0ffee66c0ffee77c0ffee88";
    let mut canary = Canary::default();
    canary.learn(value);
    for form in forms(value) {
        for before in ["", "x", "xy"] {
            let sink = [before.as_bytes(), &form, b"after"].concat();
            assert!(canary.seen_in(&sink).is_some(), "{}", String::from_utf8_lossy(&form));
        }
    }
    let in_base64 = |skipped: usize| base64(&[&vec![b'#'; skipped], value.as_slice()].concat(), *b"+/");
    assert!((0..3).all(|skipped| canary.seen_in(&in_base64(skipped)).is_some()));
    assert!(canary.seen_in(&value[..WINDOW]).is_some() && canary.seen_in(&value[..WINDOW - 1]).is_none());
}

#[test]
fn what_a_process_is_called_with_is_seen() {
    let mut child = std::process::Command::new("sleep").arg("0.3141").env("SHOWN", "here").spawn().unwrap();
    let watch = Watch::over(std::process::id());
    child.wait().unwrap();
    let seen = watch.seen();
    let has = |word: &[u8]| seen.iter().any(|text| text.windows(word.len()).any(|window| window == word));
    assert!(has(b"0.3141") && has(b"SHOWN=here"));
}
