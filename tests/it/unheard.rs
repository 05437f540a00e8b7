//! Nobody listens, or nobody can be told: the run goes on to its end and the exit code is right.

use std::process::{Command, Stdio};

use super::support::Lab;

/// A rotation whose streams a shell has arranged so.
fn arranged(lab: &Lab, streams: &str, more: &[&str]) -> Command {
    let rotation = lab.rotation(more);
    let mut shell = Command::new("/bin/sh");
    // The exit code is the rotation's, also where it stands first in a pipe.
    let line = format!(r#"{{ "$@" {streams}; echo "$?" >"$CODE"; }}"#);
    let line = if streams == "|" { r#"{ "$@"; echo "$?" >"$CODE"; } | head -n 1"#.to_owned() } else { line };
    shell.args(["-c", &line, "sh"]).arg(rotation.get_program()).args(rotation.get_args());
    shell.env_clear().env("PATH", "/usr/bin:/bin").env("CODE", lab.scratch("code"));
    shell.env("HOME", lab.scratch("")).env("TMPDIR", lab.scratch("tmp")).env("RUST_LOG", "trace");
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

#[test]
fn a_rotation_that_nobody_hears_ends_all_the_same() {
    let lab = Lab::up();
    let everything = ["|", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", ">&- 2>&- <&-"];
    for (at, streams) in everything.into_iter().enumerate() {
        for form in ["json", "plain"] {
            let before = lab.held();
            // A run that goes back has more to say, and must end as truly.
            let fault = if at % 2 == 0 { "none" } else { "refuses-new-secret" };
            lab.fault("worker-2", fault);
            lab.run(arranged(&lab, streams, &["--output", form]));
            lab.fault("worker-2", "none");
            let what = format!("`{streams}` with {form} and {fault}");
            let code = std::fs::read_to_string(lab.scratch("code")).unwrap();
            let wanted = if fault == "none" { "0" } else { "1" };
            assert_eq!(code.trim(), wanted, "{what}");
            assert_eq!(lab.whole(&before, &what), fault == "none", "{what}");
        }
    }
}

#[test]
fn without_a_terminal_there_are_lines_and_no_colours() {
    let lab = Lab::up();
    for (name, value) in [("TERM", "xterm"), ("TERM", "dumb"), ("NO_COLOR", "1")] {
        let mut rotation = lab.command(&["rotate", "--yes"]);
        let said = lab.run({
            rotation.arg(lab.at("playbooks/quick.yml")).env(name, value);
            rotation
        });
        assert!(!said.err.contains('\u{1b}') && !said.out.contains('\u{1b}'), "{}", said.err);
        let said = said.with(0);
        assert!(said.contains("verify: done in"), "{said}");
    }
}

#[test]
fn a_reader_that_stops_reading_does_not_hold_up_the_hosts() {
    let lab = Lab::up();
    let before = lab.held();
    // Nobody reads these pipes, and they are small.
    let mut rotation = lab.rotation(&["--output", "json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    rotation.stdout(Stdio::from(writer)).stderr(Stdio::null());
    let running = lab.start(&mut rotation);
    drop(rotation);
    running.ended().with(0);
    drop(reader);
    assert!(lab.whole(&before, "nobody reads"));
}
