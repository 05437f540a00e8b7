//! The page of the README for the operator at 3 a.m.: a fleet is brought into each state that it names, and the commands that stand
//! there, and only those, bring it out of it. A command on that page that no test here types is a failure.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::mended::paste;
use super::support::{Ended, Lab};

const NAMES: [&str; 3] = ["RUN", "PLAYBOOK", "NEW-DIR"];

/// The page, and what was typed of it.
struct Page {
    commands: BTreeSet<String>,
    typed: RefCell<BTreeSet<String>>,
}

impl Page {
    fn read() -> Self {
        let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
        let page = readme.split("\n## At 3 a.m.\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let lines = page.lines().filter(|line| line.starts_with("    ")).map(str::trim);
        let spans = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        let ours = lines.chain(spans).filter_map(|code| code.strip_prefix("lockturn "));
        let commands = ours.map(|code| code.split('#').next().unwrap().trim().to_owned()).collect();
        Self { commands, typed: RefCell::default() }
    }

    /// Types a command as it stands there, in a fleet whose unfinished run this is.
    #[track_caller]
    fn types(&self, lab: &Lab, command: &str, run: &str) -> Ended {
        assert!(self.commands.contains(command), "`lockturn {command}` does not stand there: {:?}", self.commands);
        self.typed.borrow_mut().insert(command.to_owned());
        let named = [run.to_owned(), lab.at("playbooks/quick.yml").display().to_string(), new_dir(lab)];
        let meant = |word: &str| match NAMES.iter().position(|name| *name == word) {
            Some(name) => named[name].clone(),
            None => word.to_owned(),
        };
        let mut words: Vec<String> = command.split_whitespace().map(meant).collect();
        if command.contains("--from-hosts") || command.starts_with("rollback") {
            // It asks, and the operator agrees.
            words.push("--yes".to_owned());
        }
        if command.contains("--state") { lab.run(elsewhere(lab, &words)) } else { lab.say(&borrowed(&words)) }
    }
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// A state directory that is not there yet.
fn new_dir(lab: &Lab) -> String {
    lab.scratch("new-state").display().to_string()
}

/// A command that names its own state directory.
fn elsewhere(lab: &Lab, words: &[String]) -> Command {
    let usual = lab.command(&borrowed(words));
    let state = usual.get_args().position(|word| word == "--state").unwrap();
    let args = usual.get_args().enumerate().filter(|(at, _)| ![state, state + 1].contains(at)).map(|(_, word)| word);
    let mut command = Command::new(usual.get_program());
    command.args(args).env_clear().envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn begins(step: &str) -> impl Fn(&str) -> bool {
    let wanted = format!(r#""step":"{step}""#);
    move |line| line.contains("step-began") && line.contains(&wanted)
}

fn latest(lab: &Lab) -> String {
    lab.latest()["run"].as_str().unwrap().to_owned()
}

fn a_host_does_not_answer(page: &Page) {
    let lab = Lab::up();
    let before = lab.held();
    lab.fault("worker-1", "slow-restart 500");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, begins("activate")));
    lab.fault("worker-2", "down");
    let said = running.ended().with(6);
    assert!(said.contains("A PERSON MUST LOOK") && said.contains("worker-2  in-doubt"), "{said}");
    let run = latest(&lab);

    let said = page.types(&lab, "runs", &run).with(0);
    assert!(said.contains(&run) && said.contains("inconsistent"), "{said}");
    let said = page.types(&lab, "show RUN", &run).with(0);
    assert!(said.contains("worker-2  in-doubt") && said.contains("worker-1"), "{said}");
    let said = page.types(&lab, "status PLAYBOOK", &run).with(6);
    assert!(said.contains("worker-2") && said.contains("unknown"), "{said}");
    page.types(&lab, "resume RUN", &run).with(6);
    lab.fault("worker-2", "none");
    page.types(&lab, "resume RUN", &run).with(1);
    assert!(!lab.whole(&before, "a host that did not answer"));
    page.types(&lab, "status PLAYBOOK", &run).with(0);
}

fn a_host_holds_what_nobody_put_there(page: &Page) {
    let lab = Lab::up();
    let before = lab.held();
    lab.fault("worker-2", "refuses-new-secret");
    lab.fault("worker-1", "slow-restart 800");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, begins("activate")));
    fs::write(lab.env_file("worker-1"), "WORKER_SHARED_SECRET=somebody-elses\n").unwrap();
    running.ended().with(6);
    for worker in ["worker-1", "worker-2"] {
        lab.fault(worker, "none");
    }
    let run = latest(&lab);
    let shown = page.types(&lab, "show RUN", &run).with(0);
    assert!(shown.contains("worker-1  inconsistent in `revert`"), "{shown}");
    paste(&lab, &shown);
    page.types(&lab, "resume RUN", &run).with(1);
    assert!(!lab.whole(&before, "pasted from `show`"));
}

fn this_machine_dies(page: &Page) {
    let lab = Lab::up();
    for (at, command, code) in
        [("stage", "resume", 4), ("activate", "resume", 0), ("activate", "rollback RUN", 1), ("verify", "rollback", 1)]
    {
        let before = lab.held();
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(running.until(1, begins(at)));
        running.killed();
        let run = latest(&lab);
        assert!(page.types(&lab, "runs", &run).with(0).contains("unfinished"));
        lab.run(lab.rotation(&[])).with(5);
        page.types(&lab, command, &run).with(code);
        assert_eq!(lab.whole(&before, command), code == 0);
    }
}

fn the_playbook_is_wrong(page: &Page) {
    let lab = Lab::up();
    let before = lab.held();
    let program = lab.on("worker-2", "opt/nanoclaw/asked");
    for worker in ["worker-1", "worker-2"] {
        let program = lab.on(worker, "opt/nanoclaw/asked");
        fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let quick = fs::read_to_string(lab.at("playbooks/quick.yml")).unwrap();
    let probe = "    verify:\n      - command: { run: [opt/nanoclaw/asked], expect: 0, deadline: 300ms }\n";
    fs::write(lab.at("playbooks/wrong.yml"), quick.replacen("    verify:\n", probe, 1)).unwrap();
    let mut rotation = lab.command(&["rotate", "--yes", "--output", "json"]);
    let running = lab.start(rotation.arg(lab.at("playbooks/wrong.yml")));
    assert!(running.until(1, begins("cut")));
    fs::remove_file(program).unwrap();
    running.ended().with(6);
    let run = latest(&lab);
    page.types(&lab, "resume RUN", &run).with(6);
    let said = page.types(&lab, "rollback RUN --unproved", &run).with(7);
    assert!(said.contains("ROLLED BACK, NOT PROVED"), "{said}");
    assert!(!lab.whole(&before, "on the operator's word"));
    lab.run(lab.rotation(&[])).with(0);
}

fn the_ledger_is_lost_or_damaged(page: &Page) {
    let lab = Lab::up();
    let before = lab.held();
    lab.fault("worker-1", "slow-restart 3000");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, begins("activate")));
    fs::remove_dir_all(lab.state_dir()).unwrap();
    let said = running.ended().with(6);
    lab.fault("worker-1", "none");
    paste(&lab, &said);
    assert!(!lab.whole(&before, "taken back by hand"));
    page.types(&lab, "ledger verify", "").with(0);
    lab.run(lab.rotation(&[])).with(0);
    let db = rusqlite::Connection::open(lab.state_dir().join("ledger.db")).unwrap();
    db.execute_batch("DROP TRIGGER entries_stay; UPDATE entries SET elapsed_ms = elapsed_ms + 1 WHERE seq = 5")
        .unwrap();
    assert!(page.types(&lab, "ledger verify", "").with(6).contains("entry 5"));
}

/// Nothing is left of what this machine remembered; then its ledger is there, and damaged.
fn only_the_hosts_know(page: &Page) {
    for command in ["resume --from-hosts", "resume --from-hosts --state NEW-DIR"] {
        let lab = Lab::up();
        let before = lab.held();
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        assert!(running.until(1, begins("activate")));
        running.killed();
        if command.contains("--state") {
            // Its log has everything once more.
            fs::remove_file(lab.state_dir().join("ledger.db-wal")).unwrap();
            fs::write(lab.state_dir().join("ledger.db"), "this is no database, and has never been one").unwrap();
            lab.say(&["resume"]).with(4);
        } else {
            fs::remove_dir_all(lab.state_dir()).unwrap();
        }
        let said = page.types(&lab, command, "").with(1);
        assert!(said.contains("ROLLED BACK"), "{said}");
        if command.contains("--state") {
            fs::remove_dir_all(lab.state_dir()).unwrap();
            fs::rename(new_dir(&lab), lab.state_dir()).unwrap();
        }
        assert!(!lab.whole(&before, command));
    }
}

#[test]
fn every_command_of_the_page_for_3_am_does_what_it_says() {
    let page = Page::read();
    a_host_does_not_answer(&page);
    a_host_holds_what_nobody_put_there(&page);
    this_machine_dies(&page);
    the_playbook_is_wrong(&page);
    the_ledger_is_lost_or_damaged(&page);
    only_the_hosts_know(&page);
    assert_eq!(*page.typed.borrow(), page.commands, "what stands there, and nobody here has typed");
}
