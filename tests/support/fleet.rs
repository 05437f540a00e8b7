//! The whole product as its user runs it: the real binary against an embedded fleet of one control plane and two workers.
//!
//! What the oracle believes is what the hosts hold (their files and the control plane's table) and what their services answer,
//! never what the product says. Whatever a test does, no value may be seen anywhere: that is looked at when its fleet ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::canary::{Canary, Watch};
use super::services::{self, Question};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) const WORKERS: [&str; 2] = ["worker-1", "worker-2"];
pub(crate) const HOSTS: [&str; 3] = ["control", "worker-1", "worker-2"];

/// A running fleet, and everything that was said about it.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    process: Child,
    watch: Watch,
    canary: RefCell<Canary>,
    said: RefCell<Vec<(String, Vec<u8>)>>,
    since: SystemTime,
}

/// Each worker's own value, and the control plane's row of it.
pub(crate) type Held = BTreeMap<String, (String, String)>;

/// What a command said, and how it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Both streams, if it ended with this code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> String {
        let said = format!("{}{}", self.out, self.err);
        assert_eq!(self.code, Some(code), "{said}");
        said
    }
}

impl Lab {
    /// A fresh fleet.
    pub(crate) fn up() -> Self {
        let since = SystemTime::now();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let process = start_lab(dir.path());
        let watch = Watch::over(process.id());
        let lab = Self { dir, process, watch, canary: RefCell::default(), said: RefCell::default(), since };
        lab.write_quick_playbook();
        lab.learn();
        lab
    }

    /// As the lab's own playbook, but nothing is waited for that a test need not see.
    fn write_quick_playbook(&self) {
        let text = fs::read_to_string(self.at("playbooks/worker-secret.yml")).unwrap();
        let quick = text.replace(", stable_for: 1s", "").replace("deadline: 5s", "deadline: 1500ms, interval: 50ms");
        let quick = quick.replace("deadline: 1500ms, interval", "deadline: 1500ms\n          interval");
        assert_ne!(quick, text);
        fs::write(self.at("playbooks/quick.yml"), quick).unwrap();
    }

    /// Something of the lab.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("lab").join(name)
    }

    /// Something of a host.
    pub(crate) fn on(&self, host: &str, name: &str) -> PathBuf {
        self.at("hosts").join(host).join(name)
    }

    /// The state directory that commands use unless they say otherwise.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A place for what a test itself needs.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command of an operator who wants to see and log as much as possible.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_with(&self.state_dir(), words)
    }

    /// The same with another state directory.
    pub(crate) fn command_with(&self, state: &Path, words: &[&str]) -> Command {
        let mut command = product();
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path().join("tmp"))
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .arg("-vvv")
            .arg("-i")
            .arg(self.at("inventory.yml"))
            .arg("--state")
            .arg(state)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A rotation as quick as the fleet allows.
    pub(crate) fn rotation(&self, more: &[&str]) -> Command {
        let mut command = self.command(&["rotate", "--yes"]);
        command.arg(self.at("playbooks/quick.yml")).args(more);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, mut command: Command) -> Ended {
        self.start(&mut command).ended()
    }

    /// Runs words to their end.
    pub(crate) fn say(&self, words: &[&str]) -> Ended {
        self.run(self.command(words))
    }

    /// Starts a command.
    pub(crate) fn start(&self, command: &mut Command) -> Running<'_> {
        let mut child = command.spawn().unwrap();
        self.watch.also(child.id());
        let (tell, lines) = mpsc::channel();
        let out = child.stdout.take().map(|out| {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let mut out = BufReader::new(out);
                loop {
                    let from = all.len();
                    if out.read_until(b'\n', &mut all).unwrap_or(0) == 0 {
                        return all;
                    }
                    let _nobody_waits_for_lines = tell.send(String::from_utf8_lossy(&all[from..]).into_owned());
                }
            })
        });
        let err = child.stderr.take().map(|mut err| {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let _ended = err.read_to_end(&mut all);
                all
            })
        });
        Running { lab: self, what: format!("{command:?}"), child, lines, out, err }
    }

    /// Makes a host misbehave; `none` ends that.
    pub(crate) fn fault(&self, host: &str, word: &str) {
        fs::write(self.on(host, "fault"), word).unwrap();
    }

    /// Where a host listens, as the inventory says.
    pub(crate) fn address(&self, host: &str) -> SocketAddr {
        let text = fs::read_to_string(self.at("inventory.yml")).unwrap();
        let (_, rest) = text.split_once(&format!("{host}: {{ address: ")).unwrap();
        let (address, rest) = rest.split_once(", port: ").unwrap();
        format!("{address}:{}", rest.split_once(' ').unwrap().0).parse().unwrap()
    }

    /// From here on whoever asks for a host comes by this way.
    pub(crate) fn reach_by(&self, host: &str, way: SocketAddr) {
        let (inventory, known) = (self.at("inventory.yml"), self.at("known_hosts"));
        let to = self.address(host);
        let entry = |at: SocketAddr| format!("address: {}, port: {}", at.ip(), at.port());
        let text = fs::read_to_string(&inventory).unwrap();
        fs::write(&inventory, text.replace(&entry(to), &entry(way))).unwrap();
        let name = |at: SocketAddr| format!("[{}]:{}", at.ip(), at.port());
        let keys = fs::read_to_string(&known).unwrap();
        fs::write(&known, format!("{keys}{}", keys.replace(&name(to), &name(way)))).unwrap();
    }

    fn db(&self) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(self.on("control", "opt/nanoclaw/store/messages.db")).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        db
    }

    /// What the hosts really hold.
    pub(crate) fn held(&self) -> Held {
        let db = self.db();
        let mut held = BTreeMap::new();
        for worker in WORKERS {
            let env = fs::read_to_string(self.env_file(worker)).unwrap();
            let own = env.lines().find_map(|line| line.strip_prefix("WORKER_SHARED_SECRET=")).unwrap();
            let row =
                db.query_row("SELECT shared_secret FROM workers WHERE id = ?1", [worker], |row| row.get(0)).unwrap();
            held.insert(worker.to_owned(), (own.trim_matches('"').to_owned(), row));
        }
        held
    }

    /// The file that holds a worker's value.
    pub(crate) fn env_file(&self, worker: &str) -> PathBuf {
        self.on(worker, "opt/nanoclaw/.env")
    }

    /// Changes a row behind everybody's back.
    pub(crate) fn set_row(&self, worker: &str, value: &str) {
        let changed = self.db().execute("UPDATE workers SET shared_secret = ?2 WHERE id = ?1", [worker, value]);
        assert_eq!(changed.unwrap(), 1);
    }

    /// The values that hosts hold, and those that they keep for a run that goes on, must not be seen from here on.
    pub(crate) fn learn(&self) {
        let mut canary = self.canary.borrow_mut();
        for (own, row) in self.held().values() {
            canary.learn(own.as_bytes());
            canary.learn(row.as_bytes());
        }
        self.kept().iter().for_each(|value| canary.learn(value.as_bytes()));
    }

    /// Old and new values that hosts keep beside a run.
    pub(crate) fn kept(&self) -> Vec<String> {
        let mut kept = Vec::new();
        for host in HOSTS {
            for run in fs::read_dir(self.on(host, ".lockturn")).into_iter().flatten().flatten() {
                let text = fs::read_to_string(run.path().join("values")).unwrap_or_default();
                for hex in text.lines().flat_map(|line| line.split(' ').skip(1)) {
                    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                    kept.push(String::from_utf8((0..hex.len()).step_by(2).map(byte).collect()).unwrap());
                }
            }
        }
        kept.sort();
        kept.dedup();
        kept
    }

    /// Files of a run that lie about on the hosts.
    pub(crate) fn left_over(&self) -> Vec<PathBuf> {
        let ours = |path: &Path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(".lockturn-") || path.parent().is_some_and(|parent| parent.ends_with(".lockturn"))
        };
        let mut found = walk(&self.at("hosts"));
        found.retain(|path| ours(path));
        found
    }

    /// The oracle after a run that ended: both sides of every value agree, everybody is on the same side of `before`, the running
    /// services take what the files hold, nothing is left over, and the ledger is whole. Says whether everybody is on new values.
    #[track_caller]
    pub(crate) fn whole(&self, before: &Held, what: &str) -> bool {
        let after = self.held();
        self.learn();
        let moved: Vec<bool> = WORKERS.iter().map(|worker| after[*worker] != before[*worker]).collect();
        for (worker, (own, row)) in &after {
            assert_eq!(own, row, "{what}: {worker}: the two sides differ");
        }
        assert!(moved.iter().all(|new| *new == moved[0]), "{what}: a mixed fleet: {moved:?}");
        assert_eq!(self.left_over(), Vec::<PathBuf>::new(), "{what}");
        let verified = self.say(&["ledger", "verify"]);
        assert_eq!(verified.code, Some(0), "{what}: {}", verified.err);
        self.services_take(&after, 400, what);
        if moved[0] {
            self.services_take(before, 401, what);
        }
        moved[0]
    }

    /// The running services answer so to these values, on both sides.
    #[track_caller]
    fn services_take(&self, values: &Held, code: u16, what: &str) {
        let sides = |worker: &'static str| [("control", worker), (worker, worker)];
        let questions: Vec<Question<'_>> = WORKERS
            .iter()
            .flat_map(|worker| sides(worker))
            .map(|(host, worker)| Question { host, worker, value: &values[worker].0 })
            .collect();
        let answers = services::ask(&self.at(""), &questions);
        assert!(answers.iter().all(|answer| *answer == code), "{what}: the services answer {answers:?}, not {code}");
    }

    /// The verdict of the latest run, as the ledger tells it.
    pub(crate) fn latest(&self) -> serde_json::Value {
        let runs = self.say(&["runs", "--output", "json"]);
        assert_eq!(runs.code, Some(0), "{}", runs.err);
        let mut runs: Vec<serde_json::Value> =
            runs.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        runs.sort_by_key(|run| run["run"].to_string());
        runs.pop().unwrap()
    }

    /// As [`Lab::latest`], where there may be no run yet.
    pub(crate) fn latest_or_none(&self) -> Option<serde_json::Value> {
        self.say(&["runs", "--output", "json"]).out.starts_with('{').then(|| self.latest())
    }

    /// What was seen of the hosts' and coordinators' processes.
    pub(crate) fn watched(&self) -> Vec<Vec<u8>> {
        self.watch.seen()
    }

    fn check_unseen(&self) {
        self.learn();
        let canary = self.canary.borrow();
        let unseen = |what: &str, sink: &[u8]| {
            if let Some(found) = canary.seen_in(sink) {
                panic!("a value is seen in {what}: {found}");
            }
        };
        self.said.borrow().iter().for_each(|(what, said)| unseen(what, said));
        self.watch.seen().iter().for_each(|text| unseen("a process's command line or environment", text));
        // All of the operator's home but the fleet itself: state directories, the ledger with its WAL, temporary files.
        for path in walk(self.dir.path()).iter().filter(|path| !path.starts_with(self.at(""))) {
            unseen(&path.display().to_string(), &fs::read(path).unwrap_or_default());
        }
        // What somebody on a host left in the place that everybody may read.
        let new = |entry: &fs::DirEntry| {
            entry.metadata().is_ok_and(|is| is.is_file() && is.modified().is_ok_and(|at| at >= self.since))
        };
        for path in fs::read_dir("/tmp").into_iter().flatten().flatten().filter(new).map(|entry| entry.path()) {
            unseen(&path.display().to_string(), &fs::read(path).unwrap_or_default());
        }
        assert_eq!(walk(&self.dir.path().join("tmp")), Vec::<PathBuf>::new(), "temporary files");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_unseen();
        }
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// The product, which hears signals: a test that was started in the background of a script, as CI wrappers do, would hand down that
/// Ctrl-C is ignored.
fn product() -> Command {
    let mut command = Command::new("/usr/bin/env");
    command.arg("--default-signal=INT,TERM,HUP").arg(env!("CARGO_BIN_EXE_lockturn"));
    command
}

fn start_lab(home: &Path) -> Child {
    let mut process = product()
        .args(["lab", "up", "--hosts", "2", "--dir"])
        .arg(home.join("lab"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("up: 3 hosts"), "{first}");
    process
}

/// All files below, whatever their names.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir {
            found.extend(walk(&path));
        }
        if !is_dir || path.parent().is_some_and(|parent| parent.ends_with(".lockturn")) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A command that goes on.
pub(crate) struct Running<'a> {
    lab: &'a Lab,
    what: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    out: Option<JoinHandle<Vec<u8>>>,
    err: Option<JoinHandle<Vec<u8>>>,
}

impl Running<'_> {
    /// Waits for so many lines that this is true of; false if the command ended before.
    pub(crate) fn until(&self, count: usize, wanted: impl Fn(&str) -> bool) -> bool {
        let mut seen = 0;
        while seen < count {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => seen += usize::from(wanted(&line)),
                Err(mpsc::RecvTimeoutError::Disconnected) => return false,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("{} is silent", self.what),
            }
        }
        true
    }

    /// Waits for so many facts that were made durable one after the other: a step that begins on several hosts is one. False if the
    /// command ended before.
    pub(crate) fn until_facts(&self, count: usize) -> bool {
        let before = std::cell::RefCell::new(String::new());
        self.until(count, |line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let notes = ["connect-began", "host-connected", "host-unconnected", "host-inspected", "probe-tried"];
            let word = format!("{} {}", event["event"], event["data"]["step"]);
            let same = event["event"] == "step-began" && *before.borrow() == word;
            if notes.iter().any(|note| event["event"] == *note) || same {
                return false;
            }
            *before.borrow_mut() = word;
            true
        })
    }

    /// Its number.
    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        // It may have ended already; its number is its own until it is waited for.
        let _ended = rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let until = std::time::Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if std::time::Instant::now() > until {
                let _gone = self.child.kill();
                let _gone = self.child.wait();
                panic!("{} does not end", self.what);
            }
            // What hosts keep now may be gone when the run has ended.
            self.lab.learn_kept();
            std::thread::sleep(Duration::from_millis(5));
        };
        self.lab.watch.no_more(self.child.id());
        let read =
            |thread: Option<JoinHandle<Vec<u8>>>| thread.map(|thread| thread.join().unwrap()).unwrap_or_default();
        let (out, err) = (read(self.out.take()), read(self.err.take()));
        let ended = Ended {
            code: status.code(),
            out: String::from_utf8_lossy(&out).into_owned(),
            err: String::from_utf8_lossy(&err).into_owned(),
        };
        self.lab.said.borrow_mut().extend([(format!("standard output of {}", self.what), out)]);
        self.lab.said.borrow_mut().extend([(format!("standard error of {}", self.what), err)]);
        ended
    }

    /// Ends it at once, as the kernel or a power cut does.
    pub(crate) fn killed(self) -> Ended {
        self.signal(rustix::process::Signal::KILL);
        self.ended()
    }
}

impl Lab {
    fn learn_kept(&self) {
        let mut canary = self.canary.borrow_mut();
        self.kept().iter().for_each(|value| canary.learn(value.as_bytes()));
    }
}
