//! Evidence as a part of a run: what is refused before anybody is asked, what the ledger has of it, what a resume does, and what is said when
//! a quarantine is overdue. No host can be reached here, at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lockturn::journal::{Journal, StateDir};
use lockturn::model::{
    Become, Entry, Event, EvidencePlan, EvidenceTaken, HostName, ISOLATION_VERSION, Isolates, IsolationMember,
    IsolationPlan, Known, Millis, Missing, Reason, ReasonKind, RunId, Step, Way,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

/// An operator and a fleet whose way in refuses.
struct Stand {
    home: tempfile::TempDir,
}

impl Stand {
    fn new() -> Self {
        // Nobody listens there: the port was free a moment ago.
        Self::behind(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
    }

    fn behind(port: u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        let hosts: String =
            (1..=4).map(|n| format!("    w-{n}: {{ address: 192.0.2.{n}, user: root, jump: control }}\n")).collect();
        let text = format!("all:\n  hosts:\n    control: {{ address: 127.0.0.1, port: {port}, user: root }}\n{hosts}");
        fs::write(home.path().join("hosts.yml"), text).unwrap();
        Self { home }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `lockturn` with these words.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/env");
        command
            .arg("--default-signal=INT,TERM,HUP")
            .arg(env!("CARGO_BIN_EXE_lockturn"))
            .arg("-i")
            .arg(self.at("hosts.yml"))
            .args(["--yes", "--state"])
            .arg(self.at("state"))
            .args(words)
            .env("HOME", self.home.path())
            .env_remove("SSH_AUTH_SOCK")
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// Its code, standard output and standard error.
    fn says(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.command(words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    fn events(&self) -> Vec<Value> {
        let (code, out, err) = self.says(&["show", "0", "--output", "json"]);
        assert_eq!(code, 0, "{err}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn count(&self, event: &str) -> usize {
        self.events().iter().filter(|line| line["event"] == event).count()
    }

    /// A run that somebody left there: it began, and then this happened.
    fn left(&self, isolates: Isolates, evidence: Option<EvidencePlan>, then: Vec<Event>) {
        let dir = StateDir::open(&self.at("state")).unwrap();
        let plan = plan(&isolates, evidence);
        let run: RunId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let began = Event::RunBegan {
            run: run.clone(),
            plan: plan.hash(),
            playbook: "quarantine".to_owned(),
            hosts: 5,
            operator: "op@here".to_owned(),
            version: "0".to_owned(),
        };
        let entry = |event| Entry { at_unix: Millis(1_700_000_000_000), elapsed: Millis(7), event };
        let mut journal = Journal::open(&dir).unwrap();
        journal.begin_isolation(&run, &plan, "op@here", &[began, Event::RunIsolates(isolates)].map(entry)).unwrap();
        journal.append(&run, &then.into_iter().map(entry).collect::<Vec<_>>()).unwrap();
    }

    fn wanted(&self) -> EvidencePlan {
        EvidencePlan {
            directory: self.at("evidence").to_str().unwrap().to_owned(),
            time: Millis::from_secs(20),
            bytes: 1_000_000,
            recipients: Vec::new(),
        }
    }
}

fn isolates(expires: Option<Millis>) -> Isolates {
    let (hosts, reason) = (BTreeSet::from([name("w-1")]), "strange logins".to_owned());
    Isolates { way: Way::Quarantine, hosts, reason, expires }
}

fn plan(isolates: &Isolates, evidence: Option<EvidencePlan>) -> IsolationPlan {
    let member = || IsolationMember { become_user: Become::None, way_to: BTreeMap::new(), contained: false };
    let known = || Known { addresses: ["192.0.2.1".parse().unwrap()].into(), port: 22 };
    IsolationPlan {
        isolation: ISOLATION_VERSION,
        way: isolates.way,
        reason: isolates.reason.clone(),
        hosts: isolates.hosts.iter().map(|host| (host.clone(), known())).collect(),
        members: ["control", "w-1", "w-2", "w-3", "w-4"].map(|host| (name(host), member())).into(),
        lease: Millis::from_secs(60),
        managers: BTreeSet::new(),
        evidence,
        forgetting: None,
    }
}

/// The facts of a host whose rules may have been loaded.
fn up_to_cut(host: &str) -> Vec<Event> {
    let done = [Step::Lock, Step::Stage, Step::Arm]
        .into_iter()
        .flat_map(|step| [Event::StepBegan { host: name(host), step }, Event::StepDone { host: name(host), step }]);
    done.chain([Event::StepBegan { host: name(host), step: Step::Cut }]).collect()
}

#[test]
fn a_host_that_is_off_shows_nothing_and_is_isolated_all_the_same() {
    let stand = Stand::new();
    let words = ["quarantine", "w-1", "--reason", "strange logins", "--evidence", "here", "--expires", "2s"];
    let (code, _, said) = stand.says(&words);
    assert_eq!(code, 6, "{said}");
    for word in [
        "first, evidence: for at most 1 min 0 s, at most 256.0 MiB",
        "PARTIAL 0/4",
        "MISSING clock to binaries",
        "evidence in ",
    ] {
        assert!(said.contains(word), "`{word}`: {said}");
    }
    let events = stand.events();
    let order: Vec<&str> = events.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(order[..5], ["run-began", "run-isolates", "evidence-began", "evidence-taken", "step-began"]);
    assert_eq!(events[1]["data"]["reason"], "strange logins");
    let taken = &events[3]["data"];
    let of_host = stand.at("here").join(events[0]["data"]["run"].as_str().unwrap()).join("w-1");
    let sums = Command::new("sha256sum").arg(of_host.join("SHA256SUMS")).output().unwrap();
    assert!(String::from_utf8_lossy(&sums.stdout).starts_with(taken["sums"].as_str().unwrap()), "{taken}");
    let checked = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&of_host).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let (code, shown, _) = stand.says(&["show", "0"]);
    assert_eq!(code, 0);
    for word in [
        "strange logins",
        "to be looked at again after 2.0 s",
        "MISSING clock to binaries",
        taken["sums"].as_str().unwrap(),
    ] {
        assert!(shown.contains(word), "`{word}`: {shown}");
    }

    // It was asked once, and there was nothing.
    assert_eq!(stand.says(&["resume"]).0, 6);
    assert_eq!((stand.count("evidence-began"), stand.count("evidence-taken"), stand.count("resumed")), (1, 1, 1));

    // Two seconds are over at some time, and nobody is let out by that.
    let until = Instant::now() + PATIENCE;
    let (out, err) = loop {
        let (code, out, err) = stand.says(&["runs"]);
        if code == 7 {
            break (out, err);
        }
        assert!(code == 0 && Instant::now() < until, "{out}{err}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(out.contains("  expires 20") && err.contains("OVERDUE  w-1") && err.contains("release w-1"), "{out}{err}");
    assert_eq!(stand.count("run-ended"), 2);
    let (code, out, _) = stand.says(&["runs", "--output", "json"]);
    let line: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert!(code == 7 && line["expires"].is_string(), "{out}");
    // Whoever lets it out has decided.
    assert_eq!(stand.says(&["release", "w-1"]).0, 6);
    assert_eq!(stand.says(&["runs"]).0, 0);
}

#[test]
fn what_was_begun_is_taken_again_only_while_nobody_was_told() {
    let began = || Event::EvidenceBegan { host: name("w-1") };
    let stand = Stand::new();
    stand.left(isolates(None), Some(stand.wanted()), vec![began()]);
    let (_, shown, _) = stand.says(&["show", "0"]);
    assert!(shown.contains("w-1: INCOMPLETE"), "{shown}");
    assert_eq!(stand.says(&["resume"]).0, 6);
    assert_eq!((stand.count("evidence-began"), stand.count("evidence-taken")), (2, 1));

    // A peer may have its rules already: the host knows, and so does whoever is on it.
    let stand = Stand::new();
    stand.left(isolates(None), Some(stand.wanted()), [vec![began()], up_to_cut("w-2")].concat());
    let (code, _, said) = stand.says(&["resume"]);
    assert!(code == 6 && said.contains("w-1: INCOMPLETE"), "{said}");
    assert_eq!((stand.count("evidence-began"), stand.count("evidence-taken")), (1, 0));
    assert!(!stand.at("evidence").exists());
}

#[test]
fn what_the_operator_stopped_is_taken_again_and_what_was_taken_is_not() {
    let taken = |kind| {
        let lack = Missing { items: vec!["binaries".to_owned()], reason: Reason::new(kind, "") };
        let (host, place) = (name("w-1"), "w-1".to_owned());
        let taken = EvidenceTaken {
            host,
            place,
            items: 22,
            bytes: 3_000_000,
            sums: Some("5a".repeat(32)),
            missing: vec![lack],
        };
        vec![Event::EvidenceBegan { host: name("w-1") }, Event::EvidenceTaken(taken)]
    };
    for (kind, began) in [(ReasonKind::Interrupted, 2), (ReasonKind::TimedOut, 1)] {
        let stand = Stand::new();
        stand.left(isolates(None), Some(stand.wanted()), taken(kind));
        let (_, shown, _) = stand.says(&["show", "0"]);
        assert!(shown.contains("w-1: 22 items, 2.8 MiB; MISSING binaries ("), "{shown}");
        assert_eq!(stand.says(&["resume"]).0, 6);
        assert_eq!(stand.count("evidence-began"), began, "{kind:?}");
    }
}

#[test]
fn who_says_stop_while_evidence_is_taken_ends_the_run_before_anybody_was_told() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let stand = Stand::behind(silent.local_addr().unwrap().port());
    let words = ["quarantine", "w-1", "--evidence", "here", "--evidence-time", "10m"];
    let mut going = stand.command(&words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(going.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("evidence: w-1: asked for")), "it was not asked");
    let process = rustix::process::Pid::from_raw(going.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let rest: Vec<String> = said.collect();
    assert_eq!(going.wait().unwrap().code(), Some(6), "{rest:?}");
    let order: Vec<String> = stand.events().iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(order, ["run-began", "run-isolates", "evidence-began", "interrupted", "evidence-taken", "run-ended"]);
    assert!(rest.iter().any(|line| line.contains("the operator said stop")), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("next: lockturn") && line.contains("resume")), "{rest:?}");
}

#[test]
fn a_run_without_evidence_is_as_before() {
    let stand = Stand::new();
    assert_eq!(stand.says(&["quarantine", "w-1"]).0, 6);
    assert_eq!(stand.count("evidence-began"), 0);
    let (_, shown, _) = stand.says(&["show", "0"]);
    assert!(!shown.contains("evidence"), "{shown}");
    let without = serde_json::to_string(&plan(&isolates(None), None)).unwrap();
    assert!(!without.contains("evidence"), "the hash of an earlier plan would be another one: {without}");
    assert!(!serde_json::to_string(&isolates(None)).unwrap().contains("expires"));
}

#[test]
fn what_is_typed_wrong_is_refused_before_anybody_is_asked() {
    let stand = Stand::new();
    let open = stand.at("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(stand.at("file"), "").unwrap();
    fs::write(stand.at("none"), "# nobody\n\n").unwrap();
    fs::write(stand.at("key"), "# mine\nAGE-SECRET-KEY-1QQQQ\n").unwrap();
    let cases: [(i32, &[&str], &str); 15] = [
        (4, &["--evidence", "open"], "others than you may write there"),
        (4, &["--evidence", "file"], "no place for evidence"),
        (4, &["--evidence", "here", "--recipients-file", "none"], "no recipient is in it"),
        (4, &["--evidence", "here", "--recipients-file", "key"], "key:2: no age recipient"),
        (4, &["--evidence", "here", "--recipients-file", "gone"], "gone: "),
        (2, &["--evidence", "here", "--recipient", "age1qqq"], "--recipient, the 1. one: no age recipient"),
        (2, &["--evidence", "here", "--recipient=AGE-SECRET-KEY-1QQQQ"], "no age recipient"),
        (2, &["--evidence", "here", "--recipient", "hunter2-is-not-to-be-repeated"], "nothing was changed"),
        (2, &["--evidence", "here", "--evidence-time", "2h"], "more than 1 h 0 min"),
        (2, &["--evidence", "here", "--evidence-time", "5"], "no duration"),
        (2, &["--evidence", "here", "--evidence-size", "0"], "no size"),
        (2, &["--evidence", "here", "--evidence-size", "1TB"], "no size"),
        (2, &["--evidence-size", "1MiB"], "--evidence"),
        (2, &["--recipient", "age1qqq"], "--recipient"),
        (2, &["--expires", "0s"], "no duration"),
    ];
    for (wanted, words, why) in cases {
        let (code, _, said) = stand.says(&[&["quarantine", "w-1"], words].concat());
        assert!(code == wanted && said.contains(why), "{words:?} ended with {code}: {said}");
        for repeated in ["SECRET-KEY", "age1qqq", "hunter2"] {
            assert!(!said.contains(repeated), "{words:?}: {said}");
        }
    }
    assert!(stand.says(&["runs"]).2.contains("no run yet"));
}
