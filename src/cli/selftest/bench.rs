//! A fleet of its own for one row: nothing that the operator has is read or written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::process::Command;

use crate::lab::{Fault, RunningLab};

use super::super::lab;
use super::child::{Ended, Failed, Running};

/// Two are enough to be mixed.
const WORKERS: u32 = 2;

/// The services of the embedded fleet restart at once; with this, a lease of the playbook below is [`LEASE_SECONDS`].
const RESTART: &str = "deadline: 5s";

/// The longest wait that the playbook knows, and the margin that every lease has.
pub(super) const LEASE_SECONDS: u64 = 35;

/// An embedded fleet that is up, and commands against it.
pub(super) struct Bench {
    dir: PathBuf,
    program: PathBuf,
    pub(super) lab: RunningLab,
    commands: AtomicU32,
}

impl Bench {
    /// A fresh fleet in this directory.
    pub(super) async fn up(dir: &Path) -> Result<Self, Failed> {
        let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
        for sub in ["home", "tmp", "log"] {
            fs::create_dir_all(dir.join(sub)).map_err(failed)?;
        }
        let program = std::env::current_exe().map_err(failed)?;
        let lab = lab::start(&dir.join("lab"), WORKERS).await.map_err(|error| error.message)?;
        let bench = Self { dir: dir.to_owned(), program, lab, commands: AtomicU32::new(0) };
        bench.write_playbook().map_err(failed)?;
        Ok(bench)
    }

    /// The fleet's own playbook, in which nothing is waited for that need not be.
    fn write_playbook(&self) -> std::io::Result<()> {
        let text = fs::read_to_string(self.at("playbooks/worker-secret.yml"))?;
        let quick = text
            .replace(", stable_for: 1s", "")
            .replace("deadline: 5s", "deadline: 3s\n          interval: 50ms")
            .replace("restart: nanoclaw-worker }", &format!("restart: nanoclaw-worker, {RESTART} }}"))
            .replace("restart: nanoclaw }", &format!("restart: nanoclaw, {RESTART} }}"))
            .replace("lease: 2m", "lease: 10s");
        fs::write(self.playbook(), quick)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join("lab").join(name)
    }

    fn playbook(&self) -> PathBuf {
        self.at("playbooks/selftest.yml")
    }

    /// The state directory of the operator.
    pub(super) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Something of a host.
    pub(super) fn on(&self, host: &str, name: &str) -> PathBuf {
        self.lab.lab().host_directory(host).join(name)
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.lab.lab().hosts().iter().map(|host| host.name.as_str())
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &str> {
        self.hosts().filter(|host| host.starts_with("worker"))
    }

    pub(super) fn fault(&self, host: &str, fault: Fault) -> Result<(), Failed> {
        self.lab.set_fault(host, fault).map_err(|error| error.to_string())
    }

    /// The words of a command with all that keeps it away from the operator's own things. Where it rotates or drills, the playbook follows.
    fn words(&self, words: &[&str], state: &Path) -> Vec<String> {
        let shown = |path: &Path| path.display().to_string();
        let mut all = vec!["-i".to_owned(), shown(&self.at("inventory.yml")), "--state".to_owned(), shown(state)];
        all.extend(["--yes", "--output", "json"].map(str::to_owned));
        all.extend(words.iter().map(|word| (*word).to_owned()));
        if matches!(words[0], "rotate" | "drill") {
            all.push(shown(&self.playbook()));
        }
        all
    }

    fn begin(&self, words: &[&str], mut command: Command) -> Result<Running, Failed> {
        command.env_clear().env("HOME", self.dir.join("home")).env("TMPDIR", self.dir.join("tmp"));
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let log = self.dir.join("log").join(format!("{number:03}-{}", words[0]));
        Running::start(format!("`{}`", words.join(" ")), command, log)
    }

    /// Starts a command.
    pub(super) fn start(&self, words: &[&str]) -> Result<Running, Failed> {
        self.start_with(words, &self.state())
    }

    /// Starts a command of an operator with this state directory.
    pub(super) fn start_with(&self, words: &[&str], state: &Path) -> Result<Running, Failed> {
        let mut command = Command::new(&self.program);
        command.args(self.words(words, state));
        self.begin(words, command)
    }

    /// A command to its end.
    pub(super) async fn say(&self, words: &[&str]) -> Result<Ended, Failed> {
        self.start(words)?.ended().await
    }

    /// A command whose files may not grow beyond so many blocks of 512 bytes, as on a full disk.
    pub(super) async fn say_on_full_disk(&self, words: &[&str], blocks: u32) -> Result<Ended, Failed> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -f \"$1\"; shift; exec \"$@\"", "sh"]).arg(blocks.to_string());
        command.arg(&self.program).args(self.words(words, &self.state()));
        self.begin(words, command)?.ended().await
    }

    /// Stops the fleet.
    pub(super) async fn down(self) {
        self.lab.stop().await;
    }
}
