//! The coordinator is killed at every durable write, and after every program that it has started on a host; then it is taken up again.
//!
//! Before a write and before it is synced is the call itself; after it, and before anything is sent, is the next time that SQLite
//! touches a lock. After the effect, before its answer is written down, is when the host has done it.

use std::fs;
use std::process::Stdio;

use super::super::fleet::write_program;
use super::stack::{HOSTS, Now, Stack};
use super::traced::{traced, was_killed};
use crate::sweep;

/// What is done about the run that the N-th death left.
fn taken_up(stack: &Stack, before: &str, at: usize, what: &str) -> Now {
    match at % 3 {
        0 => stack.taken_up("resume", before, what),
        1 => stack.taken_up("rollback", before, what),
        _ => {
            // It dies as well, at another write.
            let write = format!("fsync:signal=SIGKILL:when={}", 1 + at % 13);
            let died = was_killed(&stack.run(traced(&stack.command(&["resume"]), &write)));
            stack.intents_first(before, what);
            stack.taken_up("resume", before, &format!("{what}, resumed until {write} ({died})"))
        }
    }
}

/// Kills a rotation at the N-th of these calls, for every N at which it makes one. Says how many those were, and how many ended on the
/// new value.
fn sweep_calls(stack: &Stack, call: &str, stride: usize, salt: usize) -> (usize, usize) {
    let (mut died, mut new) = (0, 0);
    for at in sweep::points(stride, salt) {
        stack.forget();
        let before = stack.held(0);
        let what = format!("killed at {call} {at}");
        let output = stack.run(traced(&stack.rotation(), &format!("{call}:signal=SIGKILL:when={at}")));
        stack.intents_first(&before, &what);
        if !was_killed(&output) {
            stack.whole(&before, &what);
            break;
        }
        died += 1;
        new += usize::from(taken_up(stack, &before, at, &what) == Now::New);
    }
    (died, new)
}

#[test]
fn at_every_write_of_the_ledger() {
    let stack = Stack::up();
    let (mut points, mut stayed) = (0, 0);
    for (call, stride) in [("pwrite64", 47), ("fsync", 9), ("fcntl", 61)] {
        let (died, new) = sweep_calls(&stack, call, stride, 3);
        assert!(died > 1, "{call}: only {died} points");
        (points, stayed) = (points + died, stayed + new);
    }
    assert!(stayed > 0 && stayed < points, "{stayed} of {points} stayed on the new value");
    sweep::came_through("crash points at a write, in a run that would succeed", points);
}

#[test]
fn at_every_write_of_a_run_that_goes_back() {
    let stack = Stack::up();
    stack.refuses_new(1);
    let mut points = 0;
    for (call, stride) in [("pwrite64", 61), ("fsync", 17)] {
        let (died, new) = sweep_calls(&stack, call, stride, 29);
        assert!(died > 1 && new == 0, "{call}: {died} points, {new} on the new value");
        points += died;
    }
    sweep::came_through("crash points at a write, in a run that goes back", points);
}

const TOOLS: [&str; 13] =
    ["chmod", "cp", "head", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "sha256sum", "sync", "tail", "tee"];

/// Tools of the second host, the N-th call of which ends the coordinator once it has done its work.
fn wrap(stack: &Stack) {
    let here = stack.fleet.at("tools").display().to_string();
    for tool in TOOLS {
        let real = ["/usr/bin", "/bin"].map(|dir| format!("{dir}/{tool}"));
        let real = real.iter().find(|path| std::path::Path::new(path).exists()).expect("coreutils");
        let text = format!(
            "#!/bin/sh\n{real} \"$@\"\nstatus=$?\nread -r count <{here}/count\ncount=$((count + 1))\necho $count >{here}/count\n\
             read -r at pid <{here}/at || exit $status\n[ \"$count\" != \"$at\" ] || kill -9 $pid\nexit $status\n"
        );
        write_program(&stack.fleet.at(&format!("tools/{tool}")), &text);
    }
    stack.fleet.inventory(|host| match host {
        0 => "identity_file: ed25519".to_owned(),
        _ => format!("identity_file: ed25519, path: {here}"),
    });
}

#[test]
fn after_every_effect_on_a_host() {
    let stack = Stack::up();
    wrap(&stack);
    let (mut points, mut stayed) = (0, 0);
    for at in sweep::points(19, 4) {
        stack.forget();
        let before = stack.held(0);
        let what = format!("killed when h{} had done its program {at}", HOSTS[1]);
        fs::write(stack.fleet.at("tools/count"), "0\n").unwrap();
        fs::write(stack.fleet.at("tools/at"), "").unwrap();
        let running = stack.rotation().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // No host is asked anything before there is a connection.
        fs::write(stack.fleet.at("tools/at"), format!("{at} {}\n", running.id())).unwrap();
        let output = running.wait_with_output().unwrap();
        fs::write(stack.fleet.at("tools/at"), "").unwrap();
        stack.intents_first(&before, &what);
        if !was_killed(&output) {
            stack.whole(&before, &what);
            break;
        }
        points += 1;
        stayed += usize::from(taken_up(&stack, &before, at, &what) == Now::New);
    }
    assert!(points > 3 && stayed > 0 && stayed < points, "{stayed} of {points} points stayed on the new value");
    sweep::came_through("crash points after an effect on a host", points);
}
