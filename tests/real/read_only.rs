//! A state directory on a disk that became read-only: what is remembered there can still be read.

use std::process::Command;

use lockturn::journal::{Journal, StateDir};

#[test]
fn a_ledger_on_a_disk_that_became_read_only_can_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let state = temp.path().join("state");
    drop(Journal::open(&StateDir::open(&state).unwrap()).unwrap());
    let say = |verb: &[&str]| {
        let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&state).arg(env!("CARGO_BIN_EXE_lockturn"));
        let out = command.arg("--state").arg(&state).args(verb).output().expect("`unshare` is in util-linux");
        (out.status.code(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
    };
    for verb in [&["runs"][..], &["ledger", "verify"]] {
        let (code, said) = say(verb);
        assert_eq!(code, Some(0), "{verb:?}: {said}");
    }
}
