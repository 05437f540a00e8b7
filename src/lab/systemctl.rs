//! Plays `systemctl` for the hosts: their stand-ins write one line into the lab's control pipe and get lines back.
//!
//! **Invariant:** one pipe for the whole lab, no thread or descriptor per host; a line that makes no sense is dropped.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::LabError;
use super::fault::Fault;
use super::running::Host;
use super::tunnel::Tunnel;

/// Lines to print and an exit status, in the stand-in's protocol.
struct Reply(String);

impl Reply {
    fn new(status: u8, out: &str, err: &str) -> Self {
        let mut text = String::new();
        for (mark, lines) in [('o', out), ('e', err)] {
            for line in lines.lines() {
                text.push(mark);
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push_str(&format!("x{status}\n"));
        Self(text)
    }

    fn failed(status: u8, err: &str) -> Self {
        Self::new(status, "", err)
    }
}

/// Makes the control pipe.
pub(super) fn make_pipe(path: &Path) -> Result<pipe::Receiver, LabError> {
    let failed = |source| LabError::files("make pipe", path)(source);
    let _ = std::fs::remove_file(path);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).map_err(|error| failed(error.into()))?;
    // Open for writing too: otherwise it would end whenever no stand-in has it open.
    pipe::OpenOptions::new().read_write(true).open_receiver(path).map_err(failed)
}

/// Answers the stand-ins until the token is cancelled.
pub(super) async fn serve(
    pipe: pipe::Receiver,
    hosts: HashMap<String, Arc<Host>>,
    token: CancellationToken,
    tasks: TaskTracker,
) {
    let mut lines = BufReader::new(pipe).lines();
    loop {
        let line = tokio::select! {
            () = token.cancelled() => return,
            line = lines.next_line() => line,
        };
        let line = match line {
            Ok(Some(line)) => line,
            // Not UTF-8: not written by a stand-in.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => continue,
            Ok(None) | Err(_) => return,
        };
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(host), Some(pid)) = (words.next().and_then(|name| hosts.get(&name)), words.next()) else { continue };
        if pid.is_empty() || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let (host, token) = (Arc::clone(host), token.clone());
        let words: Vec<String> = words.collect();
        tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = answer(&host, &pid, &words) => {}
            }
        });
    }
}

async fn answer(host: &Arc<Host>, pid: &str, words: &[String]) {
    let call = Call::parse(words);
    if matches!(call.verb, "restart" | "start")
        && let Fault::SlowRestart(time) = Fault::of_host(&host.directory)
    {
        tokio::time::sleep(time).await;
    }
    let reply = call.run(host);
    // No reader means that the stand-in was killed meanwhile.
    let Ok(mut pipe) = pipe::OpenOptions::new().open_sender(host.directory.join(format!(".systemctl.{pid}"))) else {
        return;
    };
    let _ = pipe.write_all(reply.0.as_bytes()).await;
}

/// A parsed command line.
struct Call<'a> {
    verb: &'a str,
    units: Vec<&'a str>,
    properties: Vec<&'a str>,
    value_only: bool,
    quiet: bool,
}

impl<'a> Call<'a> {
    fn parse(words: &'a [String]) -> Self {
        let mut call = Self { verb: "", units: Vec::new(), properties: Vec::new(), value_only: false, quiet: false };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "-p" | "--property" => call.properties.extend(words.next().unwrap_or_default().split(',')),
                "--value" => call.value_only = true,
                "-q" | "--quiet" => call.quiet = true,
                "--" => {}
                _ if word.starts_with("--property=") => call.properties.extend(word["--property=".len()..].split(',')),
                _ if word.starts_with("-p") => call.properties.extend(word["-p".len()..].split(',')),
                _ if word.starts_with('-') => {}
                _ if call.verb.is_empty() => call.verb = word,
                _ => call.units.push(word.strip_suffix(".service").unwrap_or(word)),
            }
        }
        call
    }

    fn run(&self, host: &Host) -> Reply {
        let Some(&unit) = self.units.first() else {
            return match self.verb {
                "is-system-running" => Reply::new(0, "running", ""),
                "daemon-reload" | "reset-failed" => Reply::new(0, "", ""),
                "" => Reply::failed(1, "the lab's systemctl needs a verb"),
                verb => Reply::failed(1, &format!("Too few arguments for {verb}.")),
            };
        };
        if let Some(tunnel) = Tunnel::of(&host.directory, unit) {
            return self.run_tunnel(unit, &tunnel);
        }
        let known = unit == host.host.role.unit();
        match self.verb {
            "show" => self.show(host, unit, known),
            "is-active" => self.is_active(host, known),
            "restart" | "start" | "stop" | "reload" | "reset-failed" if !known => {
                Reply::failed(5, &format!("Failed to {} {unit}.service: Unit {unit}.service not found.", self.verb))
            }
            "reset-failed" => Reply::new(0, "", ""),
            "stop" => {
                host.service().stop();
                Reply::new(0, "", "")
            }
            "start" if host.service().show().active => Reply::new(0, "", ""),
            "restart" | "start" => match host.service().start(Timestamp::now()) {
                Ok(()) => Reply::new(0, "", ""),
                Err(_) => Reply::failed(
                    1,
                    &format!(
                        "Job for {unit}.service failed because the control process exited with error code.\n\
                         See \"systemctl status {unit}.service\" and \"journalctl -xeu {unit}.service\" for details."
                    ),
                ),
            },
            // As the real units, which have no ExecReload.
            "reload" => Reply::failed(
                1,
                &format!("Failed to reload {unit}.service: Job type reload is not applicable for unit {unit}.service."),
            ),
            verb => Reply::failed(1, &format!("Unknown command verb '{verb}'.")),
        }
    }

    fn run_tunnel(&self, unit: &str, tunnel: &Tunnel) -> Reply {
        match (self.verb, tunnel.told(self.verb)) {
            ("show", _) => {
                let state = |word, yes, no| if tunnel.is(word) { yes } else { no };
                let all = [
                    ("Id", format!("{unit}.service")),
                    ("LoadState", "loaded".to_owned()),
                    ("ActiveState", state("active", "active", "inactive").to_owned()),
                    ("SubState", state("active", "running", "dead").to_owned()),
                    ("UnitFileState", state("enabled", "enabled", "disabled").to_owned()),
                ];
                self.shown(&all)
            }
            (_, Some(Ok(()))) => Reply::new(0, "", ""),
            (verb, Some(Err(error))) => Reply::failed(1, &format!("Failed to {verb} {unit}.service: {error}")),
            (verb, None) => Reply::failed(1, &format!("Unknown command verb '{verb}'.")),
        }
    }

    fn is_active(&self, host: &Host, known: bool) -> Reply {
        let (status, word) = match (known, known && host.service().show().active) {
            (false, _) => (4, "inactive"),
            (true, true) => (0, "active"),
            (true, false) => (3, "failed"),
        };
        Reply::new(status, if self.quiet { "" } else { word }, "")
    }

    fn show(&self, host: &Host, unit: &str, known: bool) -> Reply {
        let shown = host.service().show();
        let (load, active, sub) = match (known, shown.active) {
            (false, _) => ("not-found", "inactive", "dead"),
            (true, true) => ("loaded", "active", "running"),
            (true, false) => ("loaded", "failed", "failed"),
        };
        let (pid, invocation) = if known { (shown.pid, shown.invocation) } else { (0, String::new()) };
        let all = [
            ("NRestarts", "0".to_owned()),
            ("MainPID", pid.to_string()),
            ("Id", format!("{unit}.service")),
            ("LoadState", load.to_owned()),
            ("ActiveState", active.to_owned()),
            ("SubState", sub.to_owned()),
            ("InvocationID", invocation),
        ];
        self.shown(&all)
    }

    fn shown(&self, all: &[(&str, String)]) -> Reply {
        let wanted = |name: &str| self.properties.is_empty() || self.properties.contains(&name);
        let line = |(name, value): &(&str, String)| {
            if self.value_only { format!("{value}\n") } else { format!("{name}={value}\n") }
        };
        Reply::new(0, &all.iter().filter(|(name, _)| wanted(name)).map(line).collect::<String>(), "")
    }
}
