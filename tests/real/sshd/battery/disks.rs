//! The operator's disk fails, once or from then on, or is full, at every write and every sync of the ledger. No host is asked for anything
//! that was not durable before; what is said is true; nothing is written behind a sync that failed; and the next process ends the run.

use std::fs;
use std::process::Output;

use super::stack::{HOSTS, Now, Stack};
use super::traced::listed;
use crate::sweep;

/// What a command said to a person.
pub(super) fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let logged = |line: &str| ["TRACE", "DEBUG", "INFO"].iter().any(|level| line.contains(level));
    text.lines().filter(|line| !logged(line)).collect::<Vec<_>>().join("\n")
}

/// Looks at a rotation whose disk had this fault, and ends it on a disk that is well. Says whether it met the fault in the middle.
#[track_caller]
pub(super) fn met(stack: &Stack, output: &Output, before: &str, what: &str, mended: impl FnOnce()) -> Option<Now> {
    stack.intents_first(before, what);
    let said = words(output);
    match output.status.code() {
        // It had done all, or nothing.
        Some(0) => {
            mended();
            assert_eq!(stack.whole(before, what), Now::New, "{what}");
            None
        }
        Some(4) => {
            assert!(said.contains("nothing was changed"), "{what}: {said}");
            for host in HOSTS {
                assert_eq!(stack.held(host), before, "{what}");
                assert!(stack.left_over(host).is_empty(), "{what}: {:?}", stack.left_over(host));
            }
            mended();
            // Nothing is to be resumed, and the next rotation works.
            stack.taken_up("resume", before, what);
            None
        }
        Some(6) => {
            assert!(said.contains("nothing more was sent to any host"), "{what}: {said}");
            assert!(said.contains("then: ") && said.contains(" resume "), "{what}: what to do is not said: {said}");
            mended();
            Some(stack.taken_up("resume", before, what))
        }
        code => panic!("{what}: {code:?}: {said}"),
    }
}

/// Has the N-th of these calls, and perhaps all after it, fail like that, for every N. Says how many those were.
fn sweep_calls(stack: &Stack, call: &str, error: &str, more: &str, stride: usize) -> usize {
    let (mut failed, mut left, mut stayed) = (0, 0, 0);
    for at in sweep::points(stride, 5) {
        stack.forget();
        let before = stack.held(0);
        let what = format!("{call} {at}{more} fails with {error}");
        let list = stack.fleet.at("list");
        let inject = format!("{call}:error={error}:when={at}{more}");
        let output = stack.run(listed(&stack.rotation(), "pwrite64,fsync", &inject, &list));
        let calls = fs::read_to_string(&list).unwrap();
        if !calls.contains("(INJECTED)") {
            stack.whole(&before, &what);
            break;
        }
        // A second sync may succeed without the first one's data: whoever wrote on would trust in what is not there. Nobody trusts in the
        // note in the lock that says who holds it.
        let failed_first = |line: &str| line.contains("(INJECTED)") && !line.contains("/state/lock>");
        let first = calls.lines().position(failed_first).unwrap_or(calls.lines().count());
        let later = calls.lines().skip(first + 1).find(|line| line.contains("pwrite64(") && line.contains("-wal>"));
        let before_ledger = calls.lines().take(first).filter(|line| line.contains("-wal>")).count() < 3;
        assert!(before_ledger || later.is_none() || output.status.code() == Some(0), "{what}: written on: {later:?}");
        failed += 1;
        if let Some(now) = met(stack, &output, &before, &what, || {}) {
            left += 1;
            stayed += usize::from(now == Now::New);
        }
    }
    assert!(left > 0 && stayed < left, "{call} {error}{more}: left {left} times, {stayed} times on the new value");
    failed
}

#[test]
fn a_sync_that_fails_ends_the_process() {
    let stack = Stack::up();
    let once = sweep_calls(&stack, "fsync", "EIO", "", 11);
    let always = sweep_calls(&stack, "fsync", "EIO", "+", 14);
    sweep::came_through("syncs that failed", once + always);
}

#[test]
fn a_write_without_room_ends_the_process() {
    let stack = Stack::up();
    let once = sweep_calls(&stack, "pwrite64", "ENOSPC", "", 53);
    let always = sweep_calls(&stack, "pwrite64", "ENOSPC", "+", 67);
    sweep::came_through("writes that found no room", once + always);
}

#[test]
fn a_disk_that_becomes_read_only_ends_the_process() {
    let stack = Stack::up();
    sweep::came_through("disks that became read-only", sweep_calls(&stack, "pwrite64", "EROFS", "+", 29));
}

#[test]
fn the_directory_that_remembers_is_itself_remembered() {
    let stack = Stack::up();
    let list = stack.fleet.at("list");
    fs::create_dir(stack.state()).unwrap();
    let before = stack.held(0);
    stack.forget();
    let output = stack.run(listed(&stack.rotation(), "fsync,mkdir", "fsync:delay_enter=0:when=65000", &list));
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    assert_eq!(stack.whole(&before, "with a state directory that is made"), Now::New);
    let calls = fs::read_to_string(list).unwrap();
    let around = stack.state().parent().unwrap().display().to_string();
    assert!(calls.contains(&format!("<{around}>)")), "the name of the state directory is not on the disk:\n{calls}");
}
