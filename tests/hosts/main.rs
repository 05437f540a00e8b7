//! Real hosts: Debian 12 and 13 with systemd, sshd, sudo and a firewall, each booted in a container of its own, in one fleet.
//!
//! `make test-hosts` runs this. It needs root and a few packages, and says so if it cannot run. `world.rs` has the ground that it
//! stands on, `fleet.rs` the fleet, `scenarios.rs` what happens to it, and when. Words on the command line choose scenarios by name;
//! without any it plays those of every change, with `--battery` those that take too long for that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod base;
mod canary;
mod fleet;
mod guest;
mod host;
mod network;
mod operator;
mod scenarios;
mod stand;
mod tools;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use fleet::Fleet;
use scenarios::{Scenario, When};
use tools::say;

/// Most of a scenario is waiting: three fleets take a third of the time of one.
const FLEETS: u8 = 3;

fn main() -> ExitCode {
    if world::inside().is_none() {
        return world::enter();
    }
    let began = Instant::now();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let now = if std::env::args().any(|word| word == "--battery") { When::Battery } else { When::Always };
    let chosen = |(name, when, _): &&Scenario| match wanted.is_empty() {
        true => *when == now,
        false => wanted.iter().any(|word| name.contains(word.as_str())),
    };
    let chosen: Vec<Scenario> = scenarios::ALL.iter().filter(chosen).copied().collect();
    if chosen.is_empty() {
        say("no scenario has such a name");
        return ExitCode::FAILURE;
    }
    world::furnish();
    let todo = Mutex::new(chosen.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for number in 1..=FLEETS.min(u8::try_from(chosen.len()).unwrap_or(FLEETS)) {
            let (todo, failed) = (&todo, &failed);
            scope
                .spawn(move || play(number, || todo.lock().unwrap().next(), &|name| failed.lock().unwrap().push(name)));
        }
    });
    let failed = failed.into_inner().unwrap();
    say(&format!("{} scenarios in {} s, failed: {failed:?}", chosen.len(), began.elapsed().as_secs()));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays scenarios on one fleet as long as there are any. After one that failed the fleet is another.
fn play<'a>(mut number: u8, mut next: impl FnMut() -> Option<&'a Scenario>, failed: &dyn Fn(&'static str)) {
    let mut fleet = None;
    while let Some((name, _, scenario)) = next() {
        let began = Instant::now();
        let played = catch_unwind(AssertUnwindSafe(|| {
            let fleet = fleet.get_or_insert_with(|| Fleet::up(number));
            scenario(fleet);
        }));
        let verdict = if played.is_ok() { "ok" } else { "FAILED" };
        say(&format!("hosts::{name} ... {verdict} ({:.1} s)", began.elapsed().as_secs_f32()));
        if played.is_err() {
            failed(name);
            if let Some(fleet) = &fleet {
                fleet.last_words();
            }
            (fleet, number) = (None, number + FLEETS);
        }
    }
}
