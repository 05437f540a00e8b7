//! This machine gives less than is needed, or more than is good: memory, descriptors, a home, a umask.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::support::{Ended, Lab};

fn begins(step: &str) -> impl Fn(&str) -> bool {
    let wanted = format!(r#""step":"{step}""#);
    move |line| line.contains("step-began") && line.contains(&wanted)
}

/// A rotation that a shell starts after these words.
fn after(lab: &Lab, words: &str) -> Command {
    let rotation = lab.rotation(&["--output", "json"]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{words}; exec \"$@\""), "sh"]).arg(rotation.get_program()).args(rotation.get_args());
    shell.env_clear().env("HOME", lab.scratch("")).env("TMPDIR", lab.scratch("tmp")).env("RUST_BACKTRACE", "full");
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn a_run_without_memory_dies_and_is_resumed() {
    let lab = Lab::up();
    let mut died = 0;
    for step in ["stage", "cut", "activate", "verify", "clean"] {
        let before = lab.held();
        lab.fault("worker-1", "slow-restart 300");
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(running.until(1, begins(step)));
        // Less than it has: the next time that it wants more it gets none.
        let limit = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
        let _ended = prlimit(Some(Pid::from_raw(running.id()).unwrap()), Resource::Data, limit);
        let Ended { code, out, err } = running.ended();
        let what = format!("no memory in {step}");
        if lab.latest()["unfinished"] == true {
            died += usize::from(code.is_none());
            let resumed = lab.say(&["resume"]);
            assert!([Some(0), Some(1), Some(4)].contains(&resumed.code), "{what}: {}", resumed.err);
            assert_eq!(lab.whole(&before, &what), resumed.code == Some(0), "{what}");
        } else {
            assert!([Some(0), Some(1), Some(4)].contains(&code), "{what}: {code:?}\n{out}{err}");
            assert_eq!(lab.whole(&before, &what), code == Some(0), "{what}");
        }
    }
    assert!(died > 0, "it never wanted more");
}

#[test]
fn few_descriptors_are_enough_or_refuse_the_run() {
    let lab = Lab::up();
    let mut codes = Vec::new();
    for limit in [8, 12, 14, 16, 18, 20, 24, 64] {
        let before = lab.held();
        let Ended { code, out, err } = lab.run(after(&lab, &format!("ulimit -n {limit}")));
        let what = format!("{limit} descriptors");
        match code {
            Some(0) => assert!(lab.whole(&before, &what)),
            Some(1 | 4 | 6 | 70) => {
                if lab.latest_or_none().is_some_and(|run| run["unfinished"] == true) {
                    let resumed = lab.say(&["resume"]);
                    assert!([Some(0), Some(1), Some(4)].contains(&resumed.code), "{what}: {}", resumed.err);
                    assert_eq!(lab.whole(&before, &what), resumed.code == Some(0), "{what}");
                } else {
                    assert!(!lab.whole(&before, &what), "{what}: {code:?}");
                }
            }
            _ => panic!("{what}: {code:?}\n{out}{err}"),
        }
        codes.push(code);
    }
    assert!(codes.contains(&Some(4)) && codes.contains(&Some(0)), "{codes:?}");
}

#[test]
fn whatever_the_umask_nobody_else_looks_into_the_state() {
    for umask in ["000", "077"] {
        let lab = Lab::up();
        let before = lab.held();
        lab.run(after(&lab, &format!("umask {umask}"))).with(0);
        assert!(lab.whole(&before, umask));
        for entry in fs::read_dir(lab.state_dir()).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "umask {umask}: {} has mode {mode:o}", path.display());
        }
        assert_eq!(fs::metadata(lab.state_dir()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn who_has_no_home_is_asked_where_runs_are_remembered() {
    let lab = Lab::up();
    let mut runs = Command::new(env!("CARGO_BIN_EXE_lockturn"));
    runs.env_clear().args(["runs"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = lab.run(runs).with(4);
    assert!(said.contains("--state") && said.contains("nothing was changed"), "{said}");
}

#[test]
fn the_process_leaves_no_core_and_is_nobodys_to_look_into() {
    let lab = Lab::up();
    lab.fault("worker-1", "slow-restart 2000");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, begins("activate")));
    let of = |name: &str| format!("/proc/{}/{name}", running.id());
    let limits = fs::read_to_string(of("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // What may not be dumped belongs to root, whoever runs it.
    assert_eq!(fs::metadata(of("environ")).unwrap().uid(), 0);
    running.signal(rustix::process::Signal::ABORT);
    assert_eq!(running.ended().code, None);
    let cores = |dir: &std::path::Path| {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("core")).collect::<Vec<_>>()
    };
    assert_eq!(cores(&lab.scratch("")), Vec::<String>::new());
    lab.fault("worker-1", "none");
    lab.say(&["resume"]).with(0);
}
