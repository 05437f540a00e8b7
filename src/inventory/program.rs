//! Programs that print an inventory: run with a bound on time and on what they print.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::yaml::holds_a_secret;

/// How long a program may ask its cloud.
const TIME_MAX: Duration = Duration::from_secs(60);

/// What ten thousand hosts with a few variables need is a quarter of this.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What is shown of a program's own words.
const WORDS_LINES_MAX: usize = 10;

/// What a program printed, and what it said beside it, fit to be shown.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) text: String,
    pub(super) words: String,
}

/// Runs a program: `--list`, or `--host NAME`.
///
/// # Errors
/// Why it printed nothing of use, as a phrase; its own words may follow on lines of their own.
pub(super) fn run(path: &Path, arguments: &[&str]) -> Result<Printed, String> {
    run_within(path, arguments, TIME_MAX)
}

fn run_within(path: &Path, arguments: &[&str], time_max: Duration) -> Result<Printed, String> {
    use std::os::unix::process::CommandExt as _;
    // A name without a `/` would be looked up in PATH.
    let program = if path.is_absolute() { path.to_owned() } else { Path::new(".").join(path) };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group, so that what it started goes with it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let group = rustix::process::Pid::from_child(&child);
    let stop = |why: String| {
        // It may be gone by itself.
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        why
    };
    let Ok(printed) = stdout.recv_timeout(time_max) else {
        let why = stop(format!("was stopped: it had not finished after {} s", time_max.as_secs()));
        let _reaped = child.wait();
        return Err(why);
    };
    if matches!(&printed, Ok(bytes) if bytes.len() as u64 > BYTES_MAX) {
        let why = stop(format!("was stopped: it printed more than {} MiB", BYTES_MAX / 1024 / 1024));
        let _reaped = child.wait();
        return Err(why);
    }
    let words = stderr.recv_timeout(time_max).ok().and_then(Result::ok).unwrap_or_default();
    let words = harmless_words(&words);
    let status = wait(child, time_max).map_err(|error| stop(format!("did not end: {error}")))?;
    if !status.success() {
        let how = status.code().map_or_else(|| format!("{status}"), |code| format!("exit status {code}"));
        return Err(format!("failed with {how}{words}"));
    }
    let bytes = printed.map_err(|error| format!("cannot be listened to: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("printed something else than text{words}"))?;
    Ok(Printed { text, words })
}

/// All that comes out of a pipe, one byte more than is allowed at most.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map_or(Ok(0), |pipe| pipe.take(BYTES_MAX + 1).read_to_end(&mut bytes));
        // Nobody listens any more to a program that was stopped.
        let _unheard = tell.send(read.map(|_| bytes));
    });
    told
}

fn wait(mut child: std::process::Child, time_max: Duration) -> io::Result<ExitStatus> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(child.wait()));
    told.recv_timeout(time_max).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The last lines that a program wrote to its standard error, indented, without control characters and without what looks like a secret.
fn harmless_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let plain = |line: &str| -> String {
        let words = line.split(' ').map(|word| if holds_a_secret(word) { "…" } else { word });
        let line = words.collect::<Vec<_>>().join(" ");
        line.chars().filter(|c| !c.is_control()).take(200).collect()
    };
    let from = lines.len().saturating_sub(WORDS_LINES_MAX);
    lines[from..].iter().map(|line| format!("\n      it said: {}", plain(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, time_max: Duration) -> Result<Printed, String> {
        run_within(Path::new("/bin/sh"), &["-c", script], time_max)
    }

    #[test]
    fn what_it_prints_is_read_and_what_it_says_is_shown_harmlessly() {
        let long = Duration::from_secs(60);
        let printed = sh("echo '{}'; printf 'a\\033[2J 9f86d081884c7d659a2feaa0c55ad015\\n' >&2", long).unwrap();
        assert_eq!((printed.text.as_str(), printed.words.as_str()), ("{}\n", "\n      it said: a[2J …"));
        let error = sh("echo no route >&2; exit 3", long).unwrap_err();
        assert!(error.contains("exit status 3") && error.contains("it said: no route"), "{error}");
        assert!(run(Path::new("/nonexistent"), &[]).unwrap_err().contains("cannot be run"));
    }

    #[test]
    fn one_that_does_not_end_or_does_not_stop_printing_is_stopped() {
        let error = sh("sleep 600 & sleep 600", Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("after 1 s"), "{error}");
        let error = sh("yes", Duration::from_secs(60)).unwrap_err();
        assert!(error.contains("more than 8 MiB"), "{error}");
    }
}
