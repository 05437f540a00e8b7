//! Where a value must never be seen: in what a process is started with, in logs, and in files that it does not belong to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::fleet::{Fleet, Values};
use super::guest::Role;
use super::tools::run;

/// Where the recorder writes.
const RECORD: &str = "/run/started";

/// The recorder on every host. A look at `/proc` now and then would miss what lives for a millisecond.
pub(crate) struct Recorder<'a> {
    fleet: &'a Fleet,
}

impl<'a> Recorder<'a> {
    /// From here on every program that starts on a host is written down.
    pub(crate) fn start(fleet: &'a Fleet) -> Self {
        let source = fleet.home.join("recorder.c");
        let library = fleet.home.join("recorder.so");
        fs::write(&source, include_str!("guest/recorder.c")).unwrap();
        let words = ["-shared", "-fPIC", "-nostdlib", "-O1", "-o"];
        let paths = [library.display().to_string(), source.display().to_string()];
        run("cc", &[&words[..], &[&paths[0], &paths[1]]].concat());
        for host in fleet.hosts() {
            host.sh(&format!("touch {RECORD} && chmod 666 {RECORD}"));
            fs::copy(&library, host.path("/usr/lib/recorder.so")).unwrap();
            fs::write(host.path("/etc/ld.so.preload"), "/usr/lib/recorder.so\n").unwrap();
        }
        Self { fleet }
    }

    /// Whether a value was in what any program was started with.
    pub(crate) fn end(self, values: &[&Values]) {
        for host in self.fleet.hosts() {
            fs::remove_file(host.path("/etc/ld.so.preload")).unwrap();
            let record = String::from_utf8_lossy(&fs::read(host.path(RECORD)).unwrap()).into_owned();
            let mut sudo = false;
            let mut service = false;
            for started in record.lines() {
                sudo |= started.starts_with("sudo\0-n\0--\0/bin/sh\0-s\0");
                // systemd gives a worker its secret in the environment: that is how nanoclaw has it. Nobody else may have it so.
                let own = host.role == Role::Worker && started.contains("\0USER=nanoclaw\0");
                let words = started.split('\0').filter(|word| !(own && word.starts_with("WORKER_SHARED_SECRET=")));
                service |= own && words.clone().count() < started.split('\0').count();
                let shown: Vec<&str> = words.collect();
                assert!(!holds(&shown.join("\0"), values), "{}: {} was started with a value", host.name, shown[0]);
            }
            // What would not be seen at all is not proved to be clean.
            assert!(sudo, "{}: the recorder has not seen sudo", host.name);
            assert!(service || host.role == Role::ControlPlane, "{}: the recorder has not seen the service", host.name);
        }
    }
}

/// Whether any of these values is in the text, in a form that a program might print it in.
pub(crate) fn holds(text: &str, values: &[&Values]) -> bool {
    values.iter().flat_map(|values| values.values()).any(|value| {
        let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let forms = [value.clone(), value.to_uppercase(), hex.to_uppercase(), hex, base64(value)];
        forms.iter().any(|form| text.contains(form.as_str()))
    })
}

/// Without its padding, so that it is found wherever it stands.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let whole = text.as_bytes().chunks_exact(3);
    whole
        .flat_map(|three| {
            let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
        })
        .collect()
}

/// The hosts' logs hold no value. They do hold what sudo was asked for.
pub(crate) fn logs_are_clean(fleet: &Fleet, values: &[&Values]) {
    for host in fleet.hosts() {
        let log = host.sh("journalctl --no-pager --output export --all");
        assert!(log.contains("COMMAND=/bin/sh -s"), "{}: the log has no sudo in it", host.name);
        assert!(!holds(&log, values), "{}: the log has a value", host.name);
    }
}

/// The files on the hosts' own disks that hold one of these values.
pub(crate) fn files_with(fleet: &Fleet, values: &[&Values]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for host in fleet.hosts() {
        let top = host.layer();
        let mut todo = vec![top.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).unwrap().flatten() {
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                if kind.is_dir() {
                    todo.push(path);
                } else if kind.is_file() && file_holds(&path, values) {
                    found.insert(format!("/{}", path.strip_prefix(&top).unwrap().display()));
                }
            }
        }
    }
    found
}

fn file_holds(path: &Path, values: &[&Values]) -> bool {
    // A file may go while it is looked for.
    fs::read(path).is_ok_and(|bytes| holds(&String::from_utf8_lossy(&bytes), values))
}
