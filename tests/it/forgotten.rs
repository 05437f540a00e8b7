//! The credential plane of a quarantine: the control plane forgets what an isolated worker knows, whatever fails in between.
//!
//! The oracle asks the running service itself, over a client of its own, and reads the control plane's table.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use lockturn::inventory::Inventory;
use lockturn::model::{
    Become, Certainty, Event, Forgetting, HostName, Millis, Reason, ReasonKind, RunId, Step, Verdict, Way,
};
use lockturn::plan::draft;
use lockturn::quarantine::{Isolation, Memory, Next, Outcome as Whole};
use lockturn::runtime::Surroundings;
use lockturn::runtime::drive::Outcome;
use lockturn::runtime::forget::Forgetter;
use lockturn::ssh::{Connector, Keys, Settings};
use tokio_util::sync::CancellationToken;

use super::isolated;
use super::services::{self, Question};
use super::support::{HOSTS, Lab};

const ISOLATED: &str = "worker-1";

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

/// What the lab's own playbook says of one worker.
fn forgetting(inventory: &Inventory, text: &str) -> Forgetting {
    let (playbook, _) = lockturn::playbook::parse("quarantine.yml", text).unwrap();
    let draft = draft(&playbook, &|selector| inventory.select(selector)).unwrap();
    draft.forgetting(&playbook.name, &BTreeSet::from([name(ISOLATED)]), &BTreeSet::new(), |_| Become::None)
}

/// A control plane that is to forget a worker, by one run that may be taken up again and again.
struct Control<'a> {
    lab: &'a Lab,
    inventory: Inventory,
    forgetting: Forgetting,
    run: RunId,
    epoch: u64,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Control<'a> {
    fn of(lab: &'a Lab) -> Self {
        let text = fs::read_to_string(lab.at("playbooks/quarantine.yml")).unwrap();
        Self::by(lab, &text)
    }

    fn by(lab: &'a Lab, playbook: &str) -> Self {
        let (inventory, _) = Inventory::read(&lab.at("inventory.yml")).unwrap();
        let forgetting = forgetting(&inventory, playbook);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let run = "01FORGET".parse().unwrap();
        Self { lab, inventory, forgetting, run, epoch: 0, runtime }
    }

    /// A coordinator of this run does one step. It dies after so long, if that is said; then nothing is heard of it.
    fn does(&mut self, step: Step, dies_after: Option<Duration>) -> Option<Outcome> {
        self.epoch += 1;
        let home = self.lab.scratch("home");
        let surroundings = Surroundings { user: "deploy".to_owned(), home, identity_file: None, known_hosts: None };
        let who = surroundings.who(&self.inventory, &name("control"), Some(Become::None)).unwrap();
        let connector = Arc::new(Connector::new(Settings::default(), Keys::new(Box::new(|_| None), None)));
        let cancel = CancellationToken::new();
        self.runtime.block_on(async {
            let forgetter = Forgetter::new(
                vec![who],
                &self.forgetting,
                Millis::from_secs(60),
                (&self.run, self.epoch),
                &connector,
                &cancel,
            );
            let doing = forgetter.begin(&name("control"), step);
            let Some(limit) = dies_after else {
                let outcome = doing.await;
                forgetter.leave().await;
                return Some(outcome);
            };
            let heard = tokio::time::timeout(limit, doing).await.ok();
            cancel.cancel();
            heard
        })
    }

    #[track_caller]
    fn does_well(&mut self, step: Step) {
        let outcome = self.does(step, None).unwrap();
        assert!(matches!(outcome, Outcome::Done), "`{step}`: {outcome:?}");
        assert_eq!(self.lab.left_over(), Vec::<std::path::PathBuf>::new(), "after `{step}`");
    }

    /// Why it is not done, as is known for sure.
    #[track_caller]
    fn is_refused(&mut self, step: Step) -> Reason {
        match self.does(step, None).unwrap() {
            Outcome::Failed(reason) => reason,
            outcome => panic!("`{step}`: {outcome:?}"),
        }
    }
}

/// What the control plane answers to a worker with this value.
fn answer(lab: &Lab, worker: &str, value: &str) -> u16 {
    services::ask(&lab.at(""), &[Question { host: "control", worker, value }])[0]
}

fn status(lab: &Lab, worker: &str) -> String {
    let db = rusqlite::Connection::open(lab.on("control", "opt/nanoclaw/store/messages.db")).unwrap();
    db.query_row("SELECT status FROM workers WHERE id = ?1", [worker], |row| row.get(0)).unwrap()
}

#[test]
fn what_a_worker_knows_is_worthless_and_nothing_is_done_to_the_worker() {
    let lab = Lab::up();
    let before = lab.held();
    let (own, row) = &before[ISOLATED];
    assert_eq!((answer(&lab, ISOLATED, own), status(&lab, ISOLATED).as_str()), (400, "online"));
    let tunnel = lab.on("control", "tunnels/worker-1");
    assert_eq!(fs::read_to_string(&tunnel).unwrap(), "active enabled\n");

    let mut control = Control::of(&lab);
    control.does_well(Step::Stop);
    assert_eq!(fs::read_to_string(&tunnel).unwrap(), "\n", "its tunnel goes on");
    control.does_well(Step::Forget);
    lab.learn();
    let after = lab.held();
    assert_eq!(after[ISOLATED].0, *own, "the isolated worker was written to");
    assert_ne!(after[ISOLATED].1, *row, "its row is what it was");
    assert_eq!((answer(&lab, ISOLATED, own), status(&lab, ISOLATED).as_str()), (401, "offline"));
    assert_eq!(after["worker-2"], before["worker-2"], "another worker is not as it was");
    assert_eq!((answer(&lab, "worker-2", &before["worker-2"].0), status(&lab, "worker-2").as_str()), (400, "online"));
    assert_eq!(fs::read_to_string(lab.on("control", "tunnels/worker-2")).unwrap(), "active enabled\n");

    // Once more: what was worthless becomes so again.
    control.does_well(Step::Stop);
    control.does_well(Step::Forget);
    assert_ne!(lab.held()[ISOLATED].1, after[ISOLATED].1);
    assert_eq!(answer(&lab, ISOLATED, own), 401);
}

#[test]
fn whoever_makes_it_forget_dies_anywhere_and_the_next_one_finishes() {
    let lab = Lab::up();
    let own = lab.held()[ISOLATED].0.clone();
    let (mut caught, mut after) = (0, Duration::from_millis(1));
    // Until one has had time enough.
    loop {
        // A run of its own: what an earlier one left hanging must not pass for its newest coordinator.
        let run = format!("01FORGET{caught}").parse().unwrap();
        let mut control = Control { run, ..Control::of(&lab) };
        if let Some(outcome) = control.does(Step::Forget, Some(after)) {
            assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
            break;
        }
        caught += 1;
        lab.learn();
        control.does_well(Step::Forget);
        assert_eq!(answer(&lab, ISOLATED, &own), 401, "after a death {after:?} on");
        assert_eq!(status(&lab, ISOLATED), "offline");
        lab.set_row(ISOLATED, &own);
        after = after * 5 / 4 + Duration::from_millis(3);
    }
    assert!(caught > 5, "nobody died but {caught}: this shows little");
}

#[test]
fn what_is_not_proved_stays_and_is_proved_later() {
    let lab = Lab::up();
    let before = lab.held();
    // Its service goes on to take what it knew, whatever its table says.
    lab.fault("control", "refuses-new-secret");
    let mut control = Control::of(&lab);
    let reason = control.is_refused(Step::Forget);
    assert_eq!(reason.kind, ReasonKind::NewRefused, "{reason}");
    let row = lab.held()[ISOLATED].1.clone();
    assert_ne!(row, before[ISOLATED].1, "it was put back");
    assert!(!lab.left_over().is_empty(), "what is to be refused is not known any more");
    control.is_refused(Step::Forget);
    lab.fault("control", "none");
    control.does_well(Step::Forget);
    assert_eq!(lab.held()[ISOLATED].1, row, "it was written anew");
    assert_eq!(answer(&lab, ISOLATED, &before[ISOLATED].0), 401);
}

#[test]
fn what_is_not_there_is_said_and_keeps_nobody_from_the_rest() {
    let lab = Lab::up();
    let own = lab.held()[ISOLATED].0.clone();
    fs::remove_file(lab.on("control", "tunnels/worker-1")).unwrap();
    let mut control = Control::of(&lab);
    assert_eq!(control.is_refused(Step::Stop).kind, ReasonKind::UnitMissing);
    control.does_well(Step::Forget);
    assert_eq!(answer(&lab, ISOLATED, &own), 401);

    let db = rusqlite::Connection::open(lab.on("control", "opt/nanoclaw/store/messages.db")).unwrap();
    db.execute("UPDATE workers SET id = 'another' WHERE id = ?1", [ISOLATED]).unwrap();
    assert_eq!(control.is_refused(Step::Forget).kind, ReasonKind::Missing);
    assert_eq!(lab.left_over(), Vec::<std::path::PathBuf>::new(), "the control plane is held for nothing");
    db.execute("UPDATE workers SET id = ?1 WHERE id = 'another'", [ISOLATED]).unwrap();
    control.does_well(Step::Forget);

    lab.fault("control", "down");
    let outcome = control.does(Step::Forget, None).unwrap();
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    lab.fault("control", "none");
}

#[test]
fn a_rotation_that_holds_the_control_plane_is_not_disturbed() {
    let lab = Lab::up();
    let mut command = lab.command(&["rotate", "--yes", "--output", "json"]);
    command.arg(lab.at("playbooks/quick.yml"));
    let going = lab.start(&mut command);
    assert!(going.until(1, |line| line.contains("\"step\":\"cut\"")));
    going.signal(rustix::process::Signal::KILL);
    let _killed = going.ended();
    lab.learn();
    let mut control = Control::of(&lab);
    let reason = control.is_refused(Step::Forget);
    assert_eq!(reason.kind, ReasonKind::HostLocked, "{reason}");
    lab.say(&["resume"]);
    let own = lab.held()[ISOLATED].0.clone();
    control.does_well(Step::Forget);
    assert_eq!(answer(&lab, ISOLATED, &own), 401);
}

/// A run in which `control` keeps what `w-1` knows.
fn plan() -> lockturn::model::IsolationPlan {
    let text = "{all: {children: {control_plane: {hosts: {control: }}, workers: {hosts: {worker-1: , w-2: }}}}}";
    let (inventory, _) = Inventory::parse("hosts.yml", text).unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/quarantine.yml");
    let forgetting = forgetting(&inventory, &fs::read_to_string(shipped).unwrap());
    let member = || serde_json::json!({"become_user": "sudo", "way_to": {}, "contained": false});
    let json = serde_json::json!({
        "isolation": 1, "way": "quarantine", "reason": "", "lease": 60_000, "forgetting": forgetting,
        "hosts": {"worker-1": {"addresses": ["192.0.2.7"], "port": 22}},
        "members": {"control": member(), "worker-1": member(), "w-2": member()},
    });
    serde_json::from_value(json).unwrap()
}

/// Plays a run to its end; `fails` says which steps do not end well.
fn play(run: &mut Isolation, fails: impl Fn(&str, Step) -> Option<bool>) -> (Whole, Vec<(HostName, Step)>) {
    let mut done = Vec::new();
    loop {
        match run.next() {
            Next::Ended(whole) => return (whole, done),
            Next::Wait => panic!("nothing is under way"),
            Next::Begin(steps) => {
                for (host, step) in steps {
                    run.apply(&Event::StepBegan { host: host.clone(), step }).unwrap();
                    let reason = Reason::new(ReasonKind::ServiceFailed, "");
                    let ended = match fails(host.as_str(), step) {
                        None => Event::StepDone { host: host.clone(), step },
                        Some(known) => {
                            let certainty = if known {
                                lockturn::model::Certainty::Failed
                            } else {
                                lockturn::model::Certainty::Unknown
                            };
                            Event::StepFailed { host: host.clone(), step, certainty, reason }
                        }
                    };
                    run.apply(&ended).unwrap();
                    done.push((host, step));
                }
            }
        }
    }
}

#[test]
fn it_is_quarantined_when_all_drop_it_and_all_have_forgotten_it() {
    let plan = plan();
    let control = name("control");
    let mut run = Isolation::of(&plan);
    let (whole, done) = play(&mut run, |_, _| None);
    assert_eq!((whole, run.keepers()[&control].memory()), (Whole::Quarantined, Memory::Forgotten));
    let of_control: Vec<Step> = done.iter().filter(|(host, _)| *host == control).map(|(_, step)| *step).collect();
    assert_eq!(of_control[of_control.len() - 3..], [Step::Clean, Step::Stop, Step::Forget], "it drops it first");
    assert!(HOSTS.len() > 1 && done.iter().all(|(host, step)| *host == control || *step != Step::Forget));

    for (step, known, memory) in [
        (Step::Stop, true, Memory::Unverified),
        (Step::Stop, false, Memory::Unreachable),
        (Step::Forget, true, Memory::Unverified),
        (Step::Forget, false, Memory::Unreachable),
    ] {
        let mut run = Isolation::of(&plan);
        let (whole, done) = play(&mut run, |_, now| (now == step).then_some(known));
        assert_eq!(whole, Whole::Partial { enforced: 2, peers: 2 }, "{step}, {known}");
        assert_eq!(run.keepers()[&control].memory(), memory, "{step}, {known}");
        let tried = done.iter().any(|(_, step)| *step == Step::Forget);
        assert_eq!(tried, known || step == Step::Forget, "what cannot be stopped keeps it from forgetting");
        run.apply(&Event::Resumed { operator: "me@here".to_owned() }).unwrap();
        let (whole, done) = play(&mut run, |_, _| None);
        assert_eq!((whole, run.keepers()[&control].memory()), (Whole::Quarantined, Memory::Forgotten));
        let again = done.iter().filter(|(_, step)| *step == Step::Forget).count();
        assert_eq!(again, usize::from(!(step == Step::Stop && known)), "{step}, {known}");
    }
    // Rules that could not be loaded keep nobody from forgetting.
    let mut run = Isolation::of(&plan);
    let (whole, _) = play(&mut run, |host, step| (host == "control" && step == Step::Stage).then_some(true));
    assert_eq!(whole, Whole::Partial { enforced: 1, peers: 2 });
    assert_eq!(run.keepers()[&control].memory(), Memory::Forgotten);
    let mut run = Isolation::of(&plan);
    for (host, step) in [("control", Step::Forget), ("control", Step::Stop), ("worker-1", Step::Forget)] {
        assert!(run.apply(&Event::StepBegan { host: name(host), step }).is_err(), "{host} {step}");
    }
}

/// A run in which the control plane could not be reached as a peer, and this became of what it was to forget.
fn tells(lab: &Lab, run: &str, forgot: Result<(), Reason>) {
    let (inventory, _) = Inventory::read(&lab.at("inventory.yml")).unwrap();
    let forgetting = forgetting(&inventory, &fs::read_to_string(lab.at("playbooks/quarantine.yml")).unwrap());
    let host = name("control");
    let began = |step| Event::StepBegan { host: host.clone(), step };
    let failed = |step, certainty, reason| Event::StepFailed { host: host.clone(), step, certainty, reason };
    let lost = Reason::new(ReasonKind::TimedOut, "nothing answered");
    let mut became = vec![began(Step::Lock), failed(Step::Lock, Certainty::Unknown, lost)];
    became.extend([began(Step::Stop), Event::StepDone { host: host.clone(), step: Step::Stop }, began(Step::Forget)]);
    became.push(match forgot {
        Ok(()) => Event::StepDone { host: host.clone(), step: Step::Forget },
        Err(reason) => failed(Step::Forget, Certainty::Failed, reason),
    });
    // Of the others nobody was asked.
    became.extend([Event::Interrupted, Event::RunEnded { verdict: Verdict::Partial }]);
    isolated::tells(lab, Way::Quarantine, run, Some(forgetting), became);
}

#[test]
fn status_names_who_has_forgotten_and_who_has_not_yet() {
    let lab = Lab::up();
    let status = || {
        // No host of the lab has rules: of that it says enough, and ends with 6.
        let said = lab.say(&["status", &lab.at("playbooks/worker-secret.yml").display().to_string()]).with(6);
        let row = |line: &&str| line.contains("what worker-1 knows");
        (said.lines().find(row).unwrap_or_default().to_owned(), said)
    };
    isolated::says(&lab, Way::Quarantine, "01A");
    let (row, said) = status();
    assert!(row.starts_with("worker-1 ") && row.contains("NOT forgotten: nobody was asked to"), "{said}");

    tells(&lab, "01B", Err(Reason::new(ReasonKind::ProbeUnexpected, "it takes what it should refuse")));
    let (row, said) = status();
    assert!(row.starts_with("control "), "{said}");
    assert!(row.contains("NOT forgotten yet: unverified in `forget`: it takes what it should refuse"), "{said}");
    assert!(said.contains("resume 01B has them forget"), "{said}");

    tells(&lab, "01C", Ok(()));
    let (row, said) = status();
    assert!(row.contains("forgotten, proved") && !said.contains("has them forget"), "{said}");

    isolated::says(&lab, Way::Release, "01D");
    let said = lab.say(&["status", &lab.at("playbooks/worker-secret.yml").display().to_string()]).with(0);
    assert!(!said.contains("what worker-1 knows"), "{said}");
}
