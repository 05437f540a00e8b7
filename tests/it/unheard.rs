//! Nobody listens, or nobody can be told: the run goes on to its end and the exit code is right.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Lab, PATIENCE};

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
            let code = fs::read_to_string(lab.scratch("code")).unwrap();
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
    for form in ["json", "plain"] {
        let lab = Lab::up();
        let before = lab.held();
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut rotation = lab.rotation(&["--output", form]);
        let full = Full::of(&writer);
        match form {
            "json" => rotation.stdout(writer).stderr(Stdio::null()),
            _ => rotation.stderr(writer).stdout(Stdio::null()),
        };
        let running = lab.start(&mut rotation);
        drop(rotation);
        // Nobody was asked to change anything yet; from here on nobody reads.
        read_until(&mut reader, if form == "json" { "run-began" } else { "run 01" });
        let full = full.fill();
        let until = Instant::now() + PATIENCE;
        while lab.held().iter().any(|(worker, held)| *held == before[worker]) || !lab.left_over().is_empty() {
            assert!(Instant::now() < until, "{form}: the hosts wait for whoever reads");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(full);
        let reading = std::thread::spawn(move || reader.read_to_end(&mut Vec::new()));
        running.ended().with(0);
        reading.join().unwrap().unwrap();
        assert!(lab.whole(&before, "nobody reads"));
    }
}

/// Another end to write into a pipe, which does not wait.
struct Full(fs::File);

impl Full {
    fn of(writer: &PipeWriter) -> Self {
        rustix::pipe::fcntl_setpipe_size(writer, 4096).unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let not_to_wait = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        Self(fs::OpenOptions::new().write(true).custom_flags(not_to_wait).open(path).unwrap())
    }

    /// The pipe takes nothing more until somebody reads.
    fn fill(mut self) -> Self {
        while self.0.write(b"\n").is_ok() {}
        self
    }
}

/// Reads until this was said, and no more.
fn read_until(reader: &mut PipeReader, word: &str) {
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&said).contains(word) {
        reader.read_exact(&mut byte).unwrap();
        said.extend_from_slice(&byte);
    }
}
