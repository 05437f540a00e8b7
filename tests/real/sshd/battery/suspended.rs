//! The coordinator stands still for longer than the lease, or for ever. Whoever wakes up too late decides nothing, and confirms nobody who
//! has gone back; whoever had decided brings everybody forward again.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::super::fleet::{PATIENCE, write_program};
use super::disks::words;
use super::stack::{HOSTS, Now, Stack};
use crate::sweep;

/// The shortest lease that there is: half a minute beyond a restart of one second.
const LEASE: Duration = Duration::from_secs(31);

#[track_caller]
fn wait(what: &str, longest: Duration, mut until: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !until() {
        assert!(began.elapsed() < longest, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

/// Whether all threads of a process stand still.
fn is_stopped(process: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

fn start(stack: &Stack, more: &[&str]) -> Child {
    let running = stack.rotation().args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    fs::write(stack.fleet.at("coordinator"), running.id().to_string()).unwrap();
    running
}

/// This host has gone back by itself and is done with that.
fn has_gone_back(stack: &Stack, host: usize) -> bool {
    stack.run_on(host).is_some_and(|run| {
        run.join("fired").exists() && fs::read_to_string(run.join("record")).is_ok_and(|record| record == "reverted\n")
    })
}

/// What it said, if it ends.
#[track_caller]
fn ended(process: Child) -> Output {
    let (pid, (tell, told)) = (Pid::from_child(&process), mpsc::channel());
    let waiting = std::thread::spawn(move || tell.send(process.wait_with_output().unwrap()));
    let output = told.recv_timeout(PATIENCE);
    if output.is_err() {
        kill_process(pid, Signal::KILL).unwrap();
    }
    waiting.join().unwrap().unwrap();
    output.expect("it was woken and does not end")
}

fn wake(process: &Child) {
    kill_process(Pid::from_child(process), Signal::CONT).unwrap();
}

/// The second host's service gives the cue for its proof when it has taken another value.
fn gives_cue(stack: &Stack) {
    let (env, running, cue) = (stack.fleet.env(1), stack.running(1), stack.fleet.at("cue"));
    let restart = format!(
        "#!/bin/sh\ncmp -s {env} {running} || : >{cue}\nexec cp {env} {running}\n",
        env = env.display(),
        running = running.display(),
        cue = cue.display()
    );
    write_program(&stack.fleet.at("restart-1"), &restart);
}

/// Stopped when it writes down the last proof of all, just before it decides.
fn before_the_decision() {
    let stack = Stack::up();
    let before = stack.held(0);
    // The second host says that the old value is refused when it is told so.
    let (last, running) = (stack.fleet.at("last"), stack.running(1));
    let (last, running) = (last.display(), running.display());
    let hold = format!("grep -qF \"$v\" {running} || [ ! -e {last}.held ] || until [ -e {last} ]; do sleep 0.1; done;");
    stack.playbook_of(|host| if host == 1 { &hold } else { "" }, 1);
    fs::write(stack.fleet.at("last"), "").unwrap();
    let mut coordinator = start(&stack, &["--output", "json"]);
    let mut events = BufReader::new(coordinator.stdout.take().unwrap()).lines();
    let mut seen = |words: [&str; 2]| events.any(|line| words.iter().all(|word| line.as_ref().unwrap().contains(word)));
    assert!(seen(["step-began", "\"activate\""]), "it ended too early");
    fs::write(stack.fleet.at("last.held"), "").unwrap();
    fs::remove_file(stack.fleet.at("last")).unwrap();
    assert!(seen(["step-done", "\"host\":\"h0\",\"step\":\"verify\""]), "it ended too early");
    let mut strace = stopped_at_the_next_sync(&coordinator);
    fs::write(stack.fleet.at("last"), "").unwrap();
    let rest = std::thread::spawn(move || events.count());
    wait("gone back", LEASE + PATIENCE, || HOSTS.iter().all(|host| has_gone_back(&stack, *host)));
    let _lets_go = kill_process(Pid::from_child(&strace), Signal::TERM);
    strace.wait().unwrap();
    wake(&coordinator);
    let output = ended(coordinator);
    rest.join().unwrap();
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(stack.whole(&before, "woken before the decision"), Now::Old);
    let ledger = stack.ledger();
    assert!(ledger.iter().any(|event| *event == "lease-lapsed"), "{ledger:?}");
    assert!(said.contains("it was too late to confirm the hosts"), "{said}");
}

/// From here on: whoever syncs next is stopped.
fn stopped_at_the_next_sync(process: &Child) -> Child {
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-s",
        "0",
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:signal=SIGSTOP:when=1",
    ]);
    let strace = strace.arg("-p").arg(process.id().to_string()).spawn().expect("strace; `make test` installs it");
    wait("traced", PATIENCE, || {
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
        status.lines().any(|line| line == format!("TracerPid:\t{}", strace.id()))
    });
    strace
}

/// Stopped when one host is confirmed and the other one is about to be.
fn between_two_confirmations() {
    let stack = Stack::up();
    let before = stack.held(0);
    stack.playbook("", 1);
    let here = stack.fleet.at("").display().to_string();
    let text = format!(
        "#!/bin/sh\nfor last in \"$@\"; do :; done\ncase $last in\n*/confirmed)\n    if mkdir {here}/met 2>/dev/null; then\n        \
         until [ -e {here}/state-0/*/confirmed ]; do sleep 0.05; done\n        kill -STOP $(cat {here}/coordinator)\n        \
         until [ -e \"${{last%/*}}/fired\" ]; do sleep 0.05; done\n    fi ;;\nesac\nexec /bin/mv \"$@\"\n"
    );
    write_program(&stack.fleet.at("tools/mv"), &text);
    stack.fleet.inventory(|host| match host {
        0 => "identity_file: ed25519".to_owned(),
        _ => format!("identity_file: ed25519, path: {here}/tools"),
    });
    let coordinator = start(&stack, &[]);
    wait("stopped in the confirmation", PATIENCE, || is_stopped(&coordinator));
    wait("gone back", LEASE + PATIENCE, || has_gone_back(&stack, 1));
    assert!(stack.run_on(0).unwrap().join("confirmed").exists() && !has_gone_back(&stack, 0));
    assert_ne!(
        stack.held(0),
        stack.held(1),
        "one is confirmed, the other one has gone back: this is what must be healed"
    );
    wake(&coordinator);
    let output = ended(coordinator);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(stack.whole(&before, "woken between two confirmations"), Now::New);
    let ledger = serde_json::to_string(&stack.ledger()).unwrap();
    let refused = ledger.find(r#"{"step-failed":{"certainty":"failed","host":"h1""#).expect("the host said no");
    assert!(ledger[refused..].contains(r#"{"step-done":{"host":"h1","step":"confirm"}}"#), "{ledger}");
}

/// Killed when everybody is cut. Says how long the last host took from then on.
fn for_ever() -> Duration {
    let stack = Stack::up();
    let before = stack.held(0);
    stack.playbook(&format!("while [ -e {} ]; do sleep 0.2; done;", stack.fleet.at("cue").display()), 1);
    gives_cue(&stack);
    let mut coordinator = start(&stack, &[]);
    wait("cut and activated", PATIENCE, || {
        HOSTS.iter().all(|host| {
            stack.held(*host) != before
                && fs::read_to_string(stack.running(*host)).is_ok_and(|text| !text.contains(&before))
        })
    });
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    let took = wait("gone back", LEASE + PATIENCE, || HOSTS.iter().all(|host| has_gone_back(&stack, *host)));
    for host in HOSTS {
        assert_eq!(stack.held(host), before);
        assert!(
            fs::read_to_string(stack.running(host)).unwrap().contains(&before),
            "the service of h{host} was not told"
        );
    }
    stack.intents_first(&before, "dead for ever");
    took
}

#[test]
fn past_the_lease() {
    let all = [std::thread::spawn(before_the_decision), std::thread::spawn(between_two_confirmations)];
    let took = for_ever();
    for one in all {
        one.join().unwrap();
    }
    sweep::came_through(
        &format!("coordinators that stood still (one was killed: every host back after {took:.1?})"),
        3,
    );
}
