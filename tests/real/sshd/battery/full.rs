//! The operator's disk is too small by so much: a file system of memory, in a mount namespace of its own, larger each time.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::fleet::PATIENCE;
use super::disks::met;
use super::stack::Stack;
use crate::sweep;

/// A mount namespace, as long as somebody sleeps in it.
struct Namespace(Child);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl Namespace {
    /// With a file system of so many KiB there.
    fn with_disk(at: &Path, kib: usize) -> Self {
        let script = "mount -t tmpfs -o size=\"$1\"k,mode=700 none \"$2\" && : >\"$2/up\" && exec sleep 600";
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", &kib.to_string()]).arg(at);
        let child = unshare.stdin(Stdio::null()).spawn().expect("unshare is missing; `make test` installs it");
        let mut namespace = Self(child);
        let until = Instant::now() + PATIENCE;
        while !namespace.root().join(at.strip_prefix("/").unwrap()).join("up").exists() {
            let ended = namespace.0.try_wait().unwrap();
            assert!(ended.is_none(), "no mount namespace with a tmpfs: {ended:?}");
            assert!(Instant::now() < until, "the disk does not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_file(namespace.root().join(at.strip_prefix("/").unwrap()).join("up")).unwrap();
        namespace
    }

    /// Its root, as others see it.
    fn root(&self) -> std::path::PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join("root")
    }

    fn words(&self) -> Vec<String> {
        ["nsenter", "-m", "-t", &self.0.id().to_string(), "--"].map(str::to_owned).into()
    }

    fn grow(&self, at: &Path) {
        let words = self.words();
        let grown = Command::new(&words[0]).args(&words[1..]).args(["mount", "-o", "remount,size=8m"]).arg(at).status();
        assert!(grown.unwrap().success());
    }
}

#[test]
fn a_disk_of_any_size_ends_in_a_run_that_is_true() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts: run it as root");
    let stack = Stack::up();
    let at = stack.fleet.at("state");
    std::fs::create_dir(&at).unwrap();
    let (mut sizes, mut left) = (0, 0);
    // A page is 4 KiB: a disk grows by no less.
    for size in sweep::points(14, 2) {
        let namespace = Namespace::with_disk(&at, size * 4);
        let words = namespace.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        stack.operator_is(&words, namespace.root().join(stack.fleet.at("").strip_prefix("/").unwrap()));
        let before = stack.held(0);
        let what = format!("a disk of {} KiB", size * 4);
        let output = stack.run(stack.rotation());
        sizes += 1;
        let well = output.status.code() == Some(0);
        left += usize::from(met(&stack, &output, &before, &what, || namespace.grow(&at)).is_some());
        if well {
            break;
        }
    }
    assert!(sizes > 3 && left > 0, "{sizes} sizes, of which {left} left a run");
    sweep::came_through("sizes of a disk that is too small", sizes);
}
