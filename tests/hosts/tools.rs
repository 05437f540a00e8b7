//! Other programs, and waiting.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long anything here may take on a busy machine before it counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A program, found where an administrator finds it.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path());
    command
}

/// Whether there is such a program.
pub(crate) fn exists(program: &str) -> bool {
    search_path().split(':').any(|dir| std::path::Path::new(dir).join(program).is_file())
}

fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Runs it to its end and gives what it printed.
#[track_caller]
pub(crate) fn run(program: &str, words: &[&str]) -> String {
    let output = command(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    printed(program, &output)
}

/// What a program printed, if it ended well.
#[track_caller]
pub(crate) fn printed(program: &str, output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Says something to whoever watches.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    // Nobody may listen.
    let _unheard = writeln!(std::io::stderr(), "{text}");
}

/// Lower-case hex digits.
pub(crate) fn random_hex(bytes: usize) -> String {
    use std::io::Read as _;
    let mut drawn = vec![0; bytes];
    std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut drawn)).unwrap();
    drawn.iter().map(|byte| format!("{byte:02x}")).collect()
}
