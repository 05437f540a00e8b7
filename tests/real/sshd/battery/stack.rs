//! Two hosts that share a value, with a service each, and the oracle over them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lockturn::model::{FingerprintKey, Secret};

use super::super::fleet::{Fleet, PATIENCE, write_program};
use super::canary::Canary;

pub(super) const HOSTS: [usize; 2] = [0, 1];

pub(super) struct Stack {
    pub(super) fleet: Fleet,
    /// What stands before a command, so that it runs somewhere else, and where the operator's files are seen then.
    elsewhere: RefCell<(Vec<String>, PathBuf)>,
    canary: RefCell<Canary>,
    said: RefCell<Vec<Vec<u8>>>,
}

/// Which way a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Now {
    Old,
    New,
}

impl Stack {
    /// Two hosts on the old value.
    pub(super) fn up() -> Self {
        let fleet = Fleet::up(&["", ""]);
        let elsewhere = RefCell::new((Vec::new(), fleet.at("")));
        let stack = Self { fleet, elsewhere, canary: RefCell::default(), said: RefCell::default() };
        for host in HOSTS {
            fs::write(stack.fleet.env(host), "A=1\nTOKEN=\"the-value-that-all-hosts-hold-at-first\"\n").unwrap();
            fs::copy(stack.fleet.env(host), stack.running(host)).unwrap();
            let (env, running) = (stack.fleet.env(host), stack.running(host));
            let restart = format!("#!/bin/sh\nexec cp {} {}\n", env.display(), running.display());
            write_program(&stack.fleet.at(&format!("restart-{host}")), &restart);
        }
        stack.playbook("", 10);
        stack
    }

    /// From here on the service of this host does not start with any value but that which it has now.
    pub(super) fn refuses_new(&self, host: usize) {
        let (env, running) = (self.fleet.env(host), self.running(host));
        let restart =
            format!("#!/bin/sh\ncmp -s {0} {1} || exit 1\nexec cp {0} {1}\n", env.display(), running.display());
        write_program(&self.fleet.at(&format!("restart-{host}")), &restart);
    }

    /// Writes the playbook. The proof is what the service runs with, looked at after this, which has the value in `v`; the lease is half a minute longer than the
    /// restart of a service may take.
    pub(super) fn playbook(&self, first: &str, restart_seconds: u32) {
        self.playbook_of(|_| first, restart_seconds);
    }

    pub(super) fn playbook_of<'a>(&self, first: impl Fn(usize) -> &'a str, restart_seconds: u32) {
        let target = |host: usize| {
            let (env, first) = (self.fleet.env(host).display().to_string(), first(host));
            let (running, restart) = (self.running(host), self.fleet.at(&format!("restart-{host}")));
            let (running, restart) = (running.display(), restart.display());
            format!(
                "  - hosts: h{host}\n    put: [ {{ secret: token, dotenv: {{ file: {env}, key: TOKEN }} }} ]\n    \
                 activate: [ {{ command: {{ run: [{restart}], deadline: {restart_seconds}s }} }} ]\n    verify:\n      - command:\n          \
                 name: the service has it\n          run: [sh, -c, 'v=$(cat); {first} grep -qF \"TOKEN=\\\"$v\\\"\" {running}']\n          \
                 interval: 100ms\n          deadline: 5m\n          expect: {{ new: 0, old: 1 }}\n"
            )
        };
        let targets: String = HOSTS.map(target).concat();
        let head = "version: 1\nname: token\nsecrets: { token: { generate: { hex: 32 } } }\nrollout: { lease: 10s }\ntargets:\n";
        fs::write(self.fleet.at("playbook"), format!("{head}{targets}")).unwrap();
    }

    /// What the service of a host runs with.
    pub(super) fn running(&self, host: usize) -> PathBuf {
        self.fleet.at(&format!("running-{host}"))
    }

    pub(super) fn state(&self) -> PathBuf {
        self.elsewhere.borrow().1.join("state")
    }

    /// From here on the operator works behind these words, and his files are seen below this directory.
    pub(super) fn operator_is(&self, before: &[&str], seen_at: PathBuf) {
        *self.elsewhere.borrow_mut() = (before.iter().map(|word| (*word).to_owned()).collect(), seen_at);
    }

    /// A new operator: nothing is remembered.
    pub(super) fn forget(&self) {
        let _there_may_be_none = fs::remove_dir_all(self.state());
    }

    /// Runs a command to its end and remembers what it said.
    pub(super) fn run(&self, mut command: Command) -> Output {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; `make test` installs it"));
        self.said.borrow_mut().extend([output.stdout.clone(), output.stderr.clone()]);
        output
    }

    /// A command of an operator who wants to see as much as possible.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.fleet.command(&["-vvv", "--yes"]);
        command.env("RUST_LOG", "trace").args(words);
        match &self.elsewhere.borrow().0[..] {
            [] => command,
            before => behind(before, &command),
        }
    }

    pub(super) fn rotation(&self) -> Command {
        let mut command = self.command(&["rotate"]);
        command.arg(self.fleet.at("playbook"));
        command
    }

    pub(super) fn held(&self, host: usize) -> String {
        token(&self.fleet.env(host)).unwrap_or_else(|| panic!("h{host} holds nothing"))
    }

    /// The files and directories of runs on a host.
    pub(super) fn left_over(&self, host: usize) -> Vec<PathBuf> {
        let beside = list(self.fleet.env(host).parent().unwrap()).into_iter().filter(|path| !path.ends_with("env"));
        beside.chain(list(&self.fleet.at(&format!("state-{host}")))).collect()
    }

    /// The directory of the run on a host, while there is one.
    pub(super) fn run_on(&self, host: usize) -> Option<PathBuf> {
        list(&self.fleet.at(&format!("state-{host}"))).into_iter().find(|path| path.is_dir())
    }

    /// Every value that lies anywhere on the hosts now must not be seen from here on.
    pub(super) fn learn(&self) {
        for host in HOSTS {
            let dirs = list(self.fleet.env(host).parent().unwrap()).into_iter().filter(|path| path.is_dir());
            let files = dirs.flat_map(|dir| list(&dir)).chain([self.fleet.env(host), self.running(host)]);
            for value in files.filter_map(|file| token(&file)) {
                self.canary.borrow_mut().learn(value.as_bytes());
            }
        }
    }

    /// No host shows an effect whose intent is not in the ledger, and nobody is cut before all are armed.
    #[track_caller]
    pub(super) fn intents_first(&self, before: &str, what: &str) {
        self.learn();
        // The host first: what is in the ledger then was there before.
        let (mut shown, mut cut) = (Vec::new(), false);
        for host in HOSTS {
            let (dir, beside) = (self.run_on(host), self.fleet.env(host).parent().unwrap().to_owned());
            let has = |name: &str| dir.as_ref().is_some_and(|dir| dir.join(name).exists());
            let is_new = |file: &Path| token(file).is_some_and(|value| value != before);
            let effects = [
                ("lock", dir.is_some()),
                ("stage", list(&beside).len() > 1),
                ("arm", has("armed") || has("confirmed") || has("fired")),
                ("cut", is_new(&self.fleet.env(host))),
                ("activate", is_new(&self.running(host))),
                ("confirm", has("confirmed")),
            ];
            cut |= is_new(&self.fleet.env(host));
            shown.extend(effects.into_iter().filter(|(_, seen)| *seen).map(|(step, _)| (host, step)));
        }
        let ledger = self.ledger();
        for (host, step) in shown {
            let began = ledger.iter().any(|event| is(event, "step-began", host, step));
            assert!(began, "{what}: h{host} shows `{step}`, and the ledger does not know of it");
        }
        let armed = HOSTS.iter().all(|host| ledger.iter().any(|event| is(event, "step-done", *host, "arm")));
        assert!(!cut || armed, "{what}: a host was cut before all were armed");
    }

    /// The events in the ledger, read from a copy of it by SQLite alone.
    pub(super) fn ledger(&self) -> Vec<serde_json::Value> {
        let copy = tempfile::tempdir().unwrap();
        for name in ["ledger.db", "ledger.db-wal"] {
            let _not_made_yet = fs::copy(self.state().join(name), copy.path().join(name));
        }
        let Ok(db) = rusqlite::Connection::open(copy.path().join("ledger.db")) else { return Vec::new() };
        let Ok(mut query) = db.prepare("SELECT event FROM entries ORDER BY seq") else { return Vec::new() };
        let events = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
        events.map(|event| serde_json::from_str(&event.unwrap()).unwrap()).collect()
    }

    /// How the last run stands in the ledger: none, unfinished, or ended with this verdict.
    pub(super) fn verdict(&self) -> Option<String> {
        let ledger = self.ledger();
        let last = ledger.last()?;
        Some(last["run-ended"]["verdict"].as_str().unwrap_or("unfinished").to_owned())
    }

    /// The oracle after a run that ended: everybody is on the same side of `before`, files and services alike; the new value is the
    /// one that the ledger knows; nothing is left, nobody watches, the ledger is whole and no value was seen.
    #[track_caller]
    pub(super) fn whole(&self, before: &str, what: &str) -> Now {
        self.learn();
        let held = HOSTS.map(|host| self.held(host));
        assert_eq!(held[0] != before, held[1] != before, "{what}: a mixed fleet");
        assert_eq!(held[0], held[1], "{what}: two values");
        for host in HOSTS {
            assert_eq!(token(&self.running(host)).as_ref(), Some(&held[0]), "{what}: the service of h{host}");
            assert_eq!(fs::read_to_string(self.fleet.env(host)).unwrap(), format!("A=1\nTOKEN=\"{}\"\n", held[0]));
            // An earlier session may be about to end.
            let until = Instant::now() + PATIENCE;
            while !self.left_over(host).is_empty() {
                assert!(Instant::now() < until, "{what}: h{host} still has {:?}", self.left_over(host));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let now = if held[0] == before { Now::Old } else { Now::New };
        if now == Now::New {
            self.is_minted(&held[0], what);
        }
        if self.state().join("ledger.db").exists() {
            let verified = self.run(self.command(&["ledger", "verify"]));
            assert_eq!(verified.status.code(), Some(0), "{what}: {}", String::from_utf8_lossy(&verified.stderr));
        }
        self.unseen(what);
        now
    }

    /// A run has one value, and this is it.
    #[track_caller]
    fn is_minted(&self, value: &str, what: &str) {
        let ledger = self.ledger();
        let minted: Vec<_> = ledger.iter().filter_map(|event| event["values-minted"]["values"].as_object()).collect();
        assert_eq!(minted.len(), 1, "{what}: {ledger:?}");
        let key = fs::read(self.state().join("fingerprint.key")).unwrap().try_into().unwrap();
        let fingerprint = FingerprintKey::new(key).fingerprint(&Secret::new(value.as_bytes().to_vec()));
        let fingerprint = serde_json::to_value(fingerprint).unwrap();
        assert!(minted[0].values().all(|known| *known == fingerprint), "{what}: a second value was made");
    }

    /// No value in anything that was said, in the operator's state or in a server's log.
    #[track_caller]
    fn unseen(&self, what: &str) {
        let canary = self.canary.borrow();
        let logs = HOSTS.map(|host| self.fleet.log(host).into_bytes());
        let files = list(&self.state()).into_iter().map(|path| fs::read(path).unwrap_or_default());
        for text in self.said.borrow_mut().drain(..).chain(logs).chain(files) {
            if let Some(found) = canary.seen_in(&text) {
                panic!("{what}: a value is seen: {found}");
            }
        }
    }

    /// Ends a run that was left, so or so: with the code that is true.
    #[track_caller]
    pub(super) fn taken_up(&self, verb: &str, before: &str, what: &str) -> Now {
        let stood = self.verdict();
        let output = self.run(self.command(&[verb]));
        let said = String::from_utf8_lossy(&output.stderr)
            .lines()
            .filter(|line| !line.contains("TRACE") && !line.contains("DEBUG"))
            .collect::<Vec<_>>()
            .join("\n");
        let code = output.status.code().unwrap_or_else(|| panic!("{what}, {verb}: {said}"));
        if verb == "rollback" && said.contains("has decided that the new values stay") {
            assert_eq!(code, 4, "{what}: {said}");
            return self.taken_up("resume", before, what);
        }
        let now = self.whole(before, &format!("{what}, {verb}"));
        let wanted: &[i32] = match (stood.as_deref(), now) {
            (Some("unfinished" | "inconsistent" | "rotated-with-debt"), Now::New) => &[0],
            (Some("unfinished" | "inconsistent"), Now::Old) => &[1, 4],
            // Nothing had begun, or all had been done.
            (None, Now::Old) | (Some("rolled-back" | "refused"), Now::Old) | (Some("rotated"), Now::New) => &[4],
            (stood, now) => panic!("{what}, {verb}: the ledger said {stood:?} of a run that is {now:?}\n{said}"),
        };
        assert!(wanted.contains(&code), "{what}, {verb}: exit {code} of a run that is {now:?}\n{said}");
        // Refused means that nobody moved: what the operator is told of it is checked against the ledger.
        let cut = self.ledger().iter().any(|event| event["step-began"]["step"] == "cut");
        assert!(code != 1 || cut, "{what}, {verb}: rolled back, and nobody had moved");
        now
    }
}

/// The same command, behind these words.
pub(super) fn behind(words: &[impl AsRef<std::ffi::OsStr>], command: &Command) -> Command {
    let mut whole = Command::new(&words[0]);
    whole.args(&words[1..]).arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        whole.env(name, value.unwrap_or_default());
    }
    whole.stdin(Stdio::null());
    whole
}

fn is(event: &serde_json::Value, word: &str, host: usize, step: &str) -> bool {
    event[word]["host"] == format!("h{host}") && event[word]["step"] == step
}

fn token(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix("TOKEN="))?.trim_matches('"').to_owned())
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let names: BTreeSet<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    names.into_iter().collect()
}
