//! A command of this very program, as an operator would type it, that can be watched fact by fact, killed and suspended.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What went wrong, for the table and the evidence.
pub(super) type Failed = String;

/// Far longer than anything here takes on a busy machine: only a hang meets it.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// Events that are only for the screen.
const NOTES: [&str; 5] = ["connect-began", "host-connected", "host-unconnected", "host-inspected", "probe-tried"];

/// How a command ended.
pub(super) struct Ended {
    /// None if a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ended {
    /// Itself, if it ended with one of these codes.
    pub(super) fn with(self, what: &str, codes: &[i32]) -> Result<Self, Failed> {
        if self.code.is_some_and(|code| codes.contains(&code)) {
            return Ok(self);
        }
        let ended = self.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with exit {code}"));
        let last = self.err.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        Err(format!("{what} ended {ended}, not {codes:?}: {last}"))
    }

    /// The last event of its kind, if it was told.
    pub(super) fn told(&self, event: &str) -> Option<Value> {
        let events = self.out.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.into_iter().find(|told| told["event"] == event).map(|told| told["data"].clone())
    }
}

/// A command that goes on. It is killed when it is dropped.
pub(super) struct Running {
    what: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    out: String,
    err: JoinHandle<String>,
    /// The step of the last fact: hosts that begin it together are one fact.
    before: String,
    /// Where what it said is kept.
    log: PathBuf,
}

impl Running {
    pub(super) fn start(what: String, mut command: Command, log: PathBuf) -> Result<Self, Failed> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C is ours, not theirs.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| format!("{what} cannot be started: {error}"))?;
        let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(format!("{what} has no output"));
        };
        let err = tokio::spawn(async move {
            let mut all = Vec::new();
            let _ended = err.read_to_end(&mut all).await;
            String::from_utf8_lossy(&all).into_owned()
        });
        let lines = BufReader::new(out).lines();
        Ok(Self { what, child, lines, out: String::new(), err, before: String::new(), log })
    }

    /// The next event; None once it says nothing more.
    async fn event(&mut self) -> Result<Option<Value>, Failed> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let Ok(Some(line)) = line.map_err(|_| format!("{} is silent", self.what))? else { return Ok(None) };
        self.out.push_str(&line);
        self.out.push('\n');
        serde_json::from_str(&line).map(Some).map_err(|error| format!("{} said what is no event: {error}", self.what))
    }

    /// Waits until so many facts are durable; false if it ended before.
    pub(super) async fn facts(&mut self, count: usize) -> Result<bool, Failed> {
        let mut seen = 0;
        while seen < count {
            let Some(event) = self.event().await? else { return Ok(false) };
            let word = format!("{} {}", event["event"], event["data"]["step"]);
            let same = event["event"] == "step-began" && self.before == word;
            if !same && NOTES.iter().all(|note| event["event"] != *note) {
                self.before = word;
                seen += 1;
            }
        }
        Ok(true)
    }

    /// Waits until a step begins; false if it ended before.
    pub(super) async fn begins(&mut self, step: &str) -> Result<bool, Failed> {
        while let Some(event) = self.event().await? {
            if event["event"] == "step-began" && event["data"]["step"] == step {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends it a signal. Its number is its own until it is waited for.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ended = kill_process(pid, signal);
        }
    }

    /// Waits for its end.
    pub(super) async fn ended(mut self) -> Result<Ended, Failed> {
        while self.event().await.is_ok_and(|event| event.is_some()) {}
        let status = timeout(PATIENCE, self.child.wait()).await.map_err(|_| format!("{} does not end", self.what))?;
        let code = status.map_err(|error| format!("{}: {error}", self.what))?.code();
        let ended = Ended { code, out: self.out, err: self.err.await.unwrap_or_default() };
        let log = format!("{}\nexit {code:?}\n\n{}\n{}", self.what, ended.out, ended.err);
        std::fs::write(&self.log, log).map_err(|error| format!("{}: {error}", self.log.display()))?;
        Ok(ended)
    }

    /// Ends it at once, as the kernel or a power cut does.
    pub(super) async fn killed(self) -> Result<Ended, Failed> {
        self.signal(Signal::KILL);
        self.ended().await
    }
}
