//! A network namespace, and programs in it. It ends with the test, however that ends.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take on a busy machine before it counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A network of its own, held by a process that ends when nobody holds its standard input any more.
pub(crate) struct Space {
    holder: Child,
}

impl Space {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests make network namespaces: run them as root");
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo made; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare: {error}; `make test` installs it"));
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "made\n", "no network namespace can be made here");
        let space = Self { holder };
        space.run("ip link set lo up");
        // Addresses are there at once: nobody else is on these wires.
        space.run("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
        space
    }

    pub(crate) fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    /// A program of this network.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "-t", &self.pid(), program]);
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        command
    }

    /// Runs words, split at blanks, and gives what they printed.
    #[track_caller]
    pub(crate) fn run(&self, words: &str) -> String {
        let mut words_of = words.split(' ');
        let output = self.command(words_of.next().unwrap()).args(words_of).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "`{words}`: {}\n{out}{err}", output.status);
        out.into_owned()
    }

    /// Gives a text to `nft`; what it complains of, if it does.
    pub(crate) fn nft(&self, options: &[&str], text: &str) -> Result<(), String> {
        let mut child = self
            .command("nft")
            .args(options)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("nsenter: {error}; `make test` installs it"));
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    #[track_caller]
    pub(crate) fn load(&self, text: &str) {
        self.nft(&[], text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Ended already, or ending now.
        let _ended = self.holder.kill();
        let _gone = self.holder.wait();
    }
}

/// A program that is talked to, one line at a time.
pub(crate) struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    pub(crate) fn with(space: &Space, script: &str, words: &[&str]) -> Self {
        let path = format!("{}/tests/real/quarantine/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut child = space
            .command("/usr/bin/python3")
            .arg(path)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("python3: {error}; `make test` installs it"));
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut talk = Self { child, stdin, stdout };
        assert_eq!(talk.line(), "ready", "{script}");
        talk
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
        self.stdin.flush().unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the program ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Tells what reached a program on its host.
pub(crate) struct Witness {
    talk: Talk,
    seen: BTreeSet<String>,
}

impl Witness {
    pub(crate) fn on(space: &Space) -> Self {
        Self { talk: Talk::with(space, "witness.py", &[]), seen: BTreeSet::new() }
    }

    /// All marks that have arrived until now.
    pub(crate) fn seen(&mut self) -> &BTreeSet<String> {
        self.talk.say("sync");
        loop {
            match self.talk.line() {
                line if line == "synced" => return &self.seen,
                mark => self.seen.insert(mark),
            };
        }
    }

    /// Those of these marks that do not arrive.
    pub(crate) fn missing(&mut self, wanted: &BTreeSet<String>) -> BTreeSet<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let missing: BTreeSet<String> = wanted.difference(self.seen()).cloned().collect();
            if missing.is_empty() || Instant::now() > until {
                return missing;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
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
