//! The operator says stop, in every phase and in every way: the fleet is whole, the exit code is right, the words are true.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::support::{Ended, Lab, PATIENCE, Running};

/// A worker whose service takes long to restart, so that every phase can be met.
fn slow() -> Lab {
    let lab = Lab::up();
    lab.fault("worker-1", "slow-restart 700");
    lab
}

fn rotation(lab: &Lab) -> Running<'_> {
    lab.start(&mut lab.rotation(&["--output", "json"]))
}

fn begins(step: &str) -> impl Fn(&str) -> bool {
    let wanted = format!(r#""step":"{step}""#);
    move |line| line.contains("step-began") && line.contains(&wanted)
}

#[test]
fn ctrl_c_while_looking_changes_nothing() {
    let lab = Lab::up();
    let before = lab.held();
    for event in ["connect-began", "host-connected", "host-inspected"] {
        for verb in ["rotate", "plan", "status"] {
            let mut command = lab.command(&[verb, "--yes", "--output", "json"]);
            let running = lab.start(command.arg(lab.at("playbooks/quick.yml")));
            assert!(running.until(1, |line| line.contains(event)));
            running.signal(Signal::INT);
            let Ended { code, out, err } = running.ended();
            // `plan` and `status` may have been ready by then, and `rotate` may have begun: then it went back before anybody moved.
            assert!(
                code == Some(4) || (verb != "rotate" && code == Some(0)),
                "{verb} at {event}: {code:?}\n{out}{err}"
            );
            assert_eq!(lab.held(), before, "{verb} stopped at {event}");
            // At most the name of a file into which nothing was written yet.
            let left = lab.left_over();
            assert!(
                left.iter().all(|path| fs::metadata(path).unwrap().len() == 0),
                "{verb} stopped at {event}: {left:?}"
            );
        }
    }
    // The next look takes that along.
    let mut plan = lab.command(&["plan"]);
    plan.arg(lab.at("playbooks/quick.yml"));
    lab.run(plan).with(0);
    assert!(!lab.whole(&before, "stopped while looking"));
}

#[test]
fn a_signal_in_each_phase_takes_everybody_back_or_comes_too_late() {
    let lab = slow();
    let phases = [
        ("lock", Signal::INT, 4),
        ("stage", Signal::TERM, 4),
        ("arm", Signal::HUP, 4),
        ("cut", Signal::INT, 1),
        ("activate", Signal::TERM, 1),
        ("verify", Signal::HUP, 1),
        ("confirm", Signal::INT, 0),
        ("clean", Signal::TERM, 0),
    ];
    for (step, signal, code) in phases {
        let before = lab.held();
        let running = rotation(&lab);
        assert!(running.until(1, begins(step)), "{step} never begins");
        running.signal(signal);
        let what = format!("{signal:?} in {step}");
        let ended = running.ended();
        // What was as good as done when the signal came is done.
        let next = if code == 4 { 1 } else { code };
        assert!(
            [Some(code), Some(next)].contains(&ended.code) || (step == "verify" && ended.code == Some(0)),
            "{what}: {:?}\n{}{}",
            ended.code,
            ended.out,
            ended.err
        );
        let words = match ended.code {
            Some(0) => "ROTATED",
            Some(1) => "ROLLED BACK",
            _ => "REFUSED",
        };
        assert!(ended.err.contains(words), "{what}: {}", ended.err);
        assert!(ended.code == Some(0) || ended.err.contains("the operator asked to stop"), "{what}: {}", ended.err);
        assert_eq!(lab.whole(&before, &what), ended.code == Some(0), "{what}");
    }
}

#[test]
fn a_signal_on_the_way_back_changes_nothing_about_it() {
    let lab = slow();
    for step in ["revert", "reactivate", "reverify", "clean"] {
        let before = lab.held();
        lab.fault("worker-2", "fails-to-start");
        let running = rotation(&lab);
        assert!(running.until(1, begins(step)), "{step} never begins");
        running.signal(Signal::INT);
        let said = running.ended().with(1);
        lab.fault("worker-2", "none");
        assert!(said.contains("because of    worker-2"), "{step}: {said}");
        assert!(!lab.whole(&before, &format!("stopped in {step}")));
    }
}

#[test]
fn a_second_signal_leaves_the_run_as_it_is_and_resume_ends_it() {
    let lab = slow();
    for step in ["stage", "cut", "activate", "verify", "revert", "reactivate", "clean"] {
        let before = lab.held();
        if step == "revert" || step == "reactivate" {
            lab.fault("worker-2", "refuses-new-secret");
        }
        let running = rotation(&lab);
        assert!(running.until(1, begins(step)), "{step} never begins");
        running.signal(Signal::INT);
        // Two that come at once are one to the kernel.
        running.until(1, |line| line.contains("interrupted"));
        running.signal(Signal::INT);
        let ended = running.ended();
        lab.fault("worker-2", "none");
        let what = format!("twice in {step}");
        if lab.latest()["unfinished"] == true {
            let said = ended.with(6);
            assert!(said.contains("LEFT") && said.contains("left in the middle, as you asked"), "{what}: {said}");
            // Asked to stop before it had decided to stay, it is taken back.
            assert_eq!(
                said.contains("takes it back"),
                step != "clean" && step != "revert" && step != "reactivate",
                "{what}: {said}"
            );
            let Ended { code, out, err } = lab.say(&["resume"]);
            let wanted: &[i32] = if step == "clean" { &[0] } else { &[1, 4] };
            assert!(code.is_some_and(|code| wanted.contains(&code)), "{what}: {code:?}\n{out}{err}");
            assert_eq!(lab.whole(&before, &what), code == Some(0), "{what}");
        } else {
            // It had ended before the second one came.
            lab.whole(&before, &what);
        }
    }
}

#[test]
fn nohup_means_it() {
    let lab = slow();
    let before = lab.held();
    let rotation = lab.rotation(&["--output", "json"]);
    let mut shell = std::process::Command::new("/bin/sh");
    shell.args(["-c", r#"trap '' HUP; exec "$@""#, "sh"]).args(rotation.get_args().skip(1));
    shell.env("HOME", lab.scratch("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = lab.start(&mut shell);
    assert!(running.until(1, begins("activate")));
    running.signal(Signal::HUP);
    running.ended().with(0);
    assert!(lab.whole(&before, "hung up under nohup"));
}

/// A terminal: what a person types goes into the first end, the program has the second.
fn terminal() -> (fs::File, OwnedFd) {
    let person = rustix::pty::openpt(
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC,
    )
    .unwrap();
    rustix::pty::grantpt(&person).unwrap();
    rustix::pty::unlockpt(&person).unwrap();
    let name = rustix::pty::ptsname(&person, Vec::new()).unwrap();
    let program = fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (person.into(), program.into())
}

/// Starts a rotation that asks at a terminal, and reads what is on it until the question stands there.
fn asked<'a>(lab: &'a Lab, term: &str) -> (Running<'a>, fs::File) {
    let mut rotation = lab.command(&["rotate"]);
    rotation.arg(lab.at("playbooks/quick.yml")).env("TERM", term);
    asked_by(lab, rotation, "Rotate now on 3 hosts? [y/N]")
}

/// Starts a command that asks this at a terminal, and reads what is on it until the question stands there.
fn asked_by<'a>(lab: &'a Lab, mut command: Command, question: &str) -> (Running<'a>, fs::File) {
    let (mut person, program) = terminal();
    command.stdin(Stdio::from(program.try_clone().unwrap())).stdout(Stdio::null()).stderr(Stdio::from(program));
    let running = lab.start(&mut command);
    // The command keeps copies of the terminal until it is dropped.
    drop(command);
    let until = std::time::Instant::now() + PATIENCE;
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&seen).contains(question) {
        assert!(std::time::Instant::now() < until, "{}", String::from_utf8_lossy(&seen));
        let count = person.read(&mut chunk).unwrap();
        seen.extend_from_slice(&chunk[..count]);
    }
    (running, person)
}

/// Reads what is on the terminal until its program ends.
fn drain(mut person: fs::File) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        // A terminal whose program has ended answers with an error.
        let _ended = person.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    })
}

#[test]
fn at_the_question_no_ctrl_c_and_a_terminal_that_goes_away_change_nothing_and_yes_rotates() {
    let lab = Lab::up();
    let before = lab.held();
    let (running, mut person) = asked(&lab, "xterm");
    person.write_all(b"no\n").unwrap();
    let screen = drain(person);
    running.ended().with(4);
    assert!(screen.join().unwrap().contains("not confirmed; nothing was changed"));

    let (running, person) = asked(&lab, "xterm");
    running.signal(Signal::INT);
    let screen = drain(person);
    running.ended().with(4);
    assert!(screen.join().unwrap().contains("interrupted; nothing was changed"));

    let (running, person) = asked(&lab, "xterm");
    drop(person);
    running.ended().with(4);
    assert!(!lab.whole(&before, "asked, and not told yes"));

    for term in ["xterm", "dumb"] {
        let before = lab.held();
        let (running, mut person) = asked(&lab, term);
        person.write_all(b"y\n").unwrap();
        let screen = drain(person);
        running.ended().with(0);
        let screen = screen.join().unwrap();
        assert!(screen.contains("ROTATED"), "{screen}");
        assert_eq!(screen.contains('\u{1b}'), term == "xterm", "{screen:?}");
        assert!(lab.whole(&before, term));
    }
}

#[test]
fn a_terminal_that_goes_away_in_the_middle_stops_nobody_who_was_not_told_so() {
    let lab = slow();
    let before = lab.held();
    let (running, mut person) = asked(&lab, "xterm");
    person.write_all(b"y\n").unwrap();
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&seen).contains("cut: done") {
        let count = person.read(&mut chunk).unwrap();
        seen.extend_from_slice(&chunk[..count]);
    }
    // Every line and every bar from here on is an error of the terminal.
    drop(person);
    running.ended().with(0);
    assert!(lab.whole(&before, "the terminal went away"));
}

#[test]
fn a_rollback_asks_and_a_resume_goes_on_with_what_was_confirmed() {
    let lab = Lab::up();
    let before = lab.held();
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    assert!(running.until(1, |line| line.contains("step-began") && line.contains(r#""step":"activate""#)));
    running.killed();
    let run = lab.latest()["run"].as_str().unwrap().to_owned();
    let written = || lab.say(&["ledger", "verify"]).with(0);
    let left = written();
    // Nobody is there who could be asked: it does not wait for one.
    assert!(lab.say(&["rollback"]).with(4).contains("nobody can be asked here, and nothing was changed"));
    let playbook = lab.latest()["playbook"].as_str().unwrap().to_owned();
    let question = format!("Take the run {run} of {playbook} back now on 3 hosts?");
    let (asked, mut person) = asked_by(&lab, lab.command(&["rollback"]), &question);
    person.write_all(b"n\n").unwrap();
    let screen = drain(person);
    assert_eq!(asked.ended().code, Some(4), "{}", screen.join().unwrap());
    assert_eq!(written(), left, "it was not confirmed");
    let (asked, mut person) = asked_by(&lab, lab.command(&["rollback"]), &question);
    person.write_all(b"y\n").unwrap();
    let screen = drain(person);
    assert_eq!(asked.ended().code, Some(1), "{}", screen.join().unwrap());
    assert!(!lab.whole(&before, "a rollback that was confirmed"));
}
