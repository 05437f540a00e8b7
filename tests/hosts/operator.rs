//! The operator: the real binary with the shipped inventory and playbooks, and a run that is caught in the middle.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::fleet::Fleet;
use super::tools::command;

/// The playbook of most scenarios.
pub(crate) const WORKER_SECRET: &str = "playbooks/worker-secret.yml";

/// The other one.
pub(crate) const OS_HTTP_SECRET: &str = "playbooks/os-http-secret.yml";

/// A file of the repository.
pub(crate) fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Fleet {
    /// `lockturn` with these words, where the names of the shipped inventory lead to this fleet.
    pub(crate) fn lockturn(&self, words: &[&str]) -> Command {
        self.lockturn_with(&shipped("inventory"), words)
    }

    /// The same, with another inventory.
    pub(crate) fn lockturn_with(&self, inventory: &Path, words: &[&str]) -> Command {
        let mut command = command("unshare");
        command
            .args(["--mount", "sh", "-c", "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"", "sh"])
            .arg(self.home.join("hosts"))
            .arg(env!("CARGO_BIN_EXE_lockturn"))
            .arg("-i")
            .arg(inventory)
            .arg("--state")
            .arg(self.home.join("state"))
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.home)
            .current_dir(shipped(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Rotates, and says how that ended.
    pub(crate) fn rotate(&self, playbook: &str) -> Ended {
        self.lockturn(&["--yes", "rotate", playbook]).output().unwrap().into()
    }

    /// The playbook with the shortest lease that there can be: with the shipped limits the longest restart alone gives every host two
    /// minutes.
    pub(crate) fn short(&self) -> String {
        let text = fs::read_to_string(shipped(WORKER_SECRET)).unwrap();
        let short = text
            .replace("restart: nanoclaw-worker }", "restart: nanoclaw-worker, deadline: 5s }")
            .replace("restart: nanoclaw }", "restart: nanoclaw, deadline: 5s }")
            .replace("stable_for: 5s", "stable_for: 2s")
            .replace("lease: 2m", "lease: 10s");
        let path = self.home.join("short.yml");
        fs::write(&path, short).unwrap();
        path.display().to_string()
    }

    /// Takes up the run that was left.
    pub(crate) fn resume(&self) -> Ended {
        self.lockturn(&["resume"]).output().unwrap().into()
    }

    /// Takes up the run that was left, without its journal.
    pub(crate) fn resume_from_hosts(&self) -> Ended {
        self.lockturn(&["--yes", "resume", "--from-hosts"]).output().unwrap().into()
    }

    /// Begins a rotation that will be caught in the middle.
    pub(crate) fn rotation(&self, playbook: &str) -> Going {
        self.going(&["rotate", playbook])
    }

    /// Begins what will be caught in the middle.
    pub(crate) fn going(&self, words: &[&str]) -> Going {
        let errors = self.home.join("errors");
        let mut command = self.lockturn(&[&["--yes", "--output", "json"], words].concat());
        let mut process = command.stderr(File::create(&errors).unwrap()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Going { process, lines, said: String::new(), errors }
    }

    /// Everything that the operator's side has written down.
    pub(crate) fn written(&self) -> Vec<u8> {
        let state = fs::read_dir(self.home.join("state")).into_iter().flatten().flatten();
        state.flat_map(|entry| fs::read(entry.path()).unwrap_or_default()).collect()
    }
}

/// How a command ended, and all that it said.
pub(crate) struct Ended {
    code: Option<i32>,
    pub(crate) said: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let said = [output.stdout, output.stderr].concat();
        Self { code: output.status.code(), said: String::from_utf8_lossy(&said).into_owned() }
    }
}

impl Ended {
    pub(crate) const fn code(&self) -> Option<i32> {
        self.code
    }

    /// It ended with this code and said all of these words.
    #[track_caller]
    pub(crate) fn with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.said);
        for word in words {
            assert!(self.said.contains(word), "it does not say `{word}`:\n{}", self.said);
        }
        self
    }
}

/// A rotation that goes on.
pub(crate) struct Going {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: String,
    errors: PathBuf,
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

impl Going {
    /// Reads what it says until a host has come to this: `event` is the event's word, `step` the step's.
    #[track_caller]
    pub(crate) fn until(&mut self, event: &str, host: &str, step: &str) {
        self.read_until(event, |data| data["host"] == host && data["step"] == step);
    }

    /// The same of several hosts, in any order.
    #[track_caller]
    pub(crate) fn until_all(&mut self, event: &str, hosts: &[&str], step: &str) {
        let mut left = hosts.to_vec();
        while !left.is_empty() {
            let mut seen = String::new();
            self.read_until(event, |data| {
                let host = data["host"].as_str().unwrap_or_default();
                host.clone_into(&mut seen);
                data["step"] == step && left.contains(&host)
            });
            left.retain(|host| *host != seen);
        }
    }

    /// Reads what it says until this has happened.
    #[track_caller]
    pub(crate) fn until_said(&mut self, event: &str) {
        self.read_until(event, |_| true);
    }

    /// Reads what it says until the run has decided.
    #[track_caller]
    pub(crate) fn until_decided(&mut self) {
        self.until_said("decided");
    }

    #[track_caller]
    fn read_until(&mut self, event: &str, mut right: impl FnMut(&serde_json::Value) -> bool) {
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            self.said.push_str(&line);
            self.said.push('\n');
            let told: serde_json::Value = serde_json::from_str(&line).unwrap();
            if told["event"] == event && right(&told["data"]) {
                return;
            }
        }
        let errors = fs::read_to_string(&self.errors).unwrap_or_default();
        panic!("it ended before {event}:\n{}{errors}", self.said);
    }

    /// The operator asks it to stop.
    pub(crate) fn interrupt(&self) {
        // Not the one of Ctrl-C, which a shell that starts us in its background has switched off.
        self.signal(Signal::TERM);
    }

    /// It stands still, as on a laptop that sleeps.
    pub(crate) fn sleep(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on and knows nothing of the time that has passed.
    pub(crate) fn wake(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("it has a number");
        kill_process(process, signal).unwrap();
    }

    /// The coordinator dies without a word.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        for line in self.lines.by_ref() {
            self.said.push_str(&line.unwrap());
            self.said.push('\n');
        }
        let code = self.process.wait().unwrap().code();
        let errors = fs::read_to_string(&self.errors).unwrap();
        Ended { code, said: format!("{}{errors}", self.said) }
    }
}
