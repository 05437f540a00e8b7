//! Seeds, many of them, and what is asked of all together.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::kernel::{OUTSIDE, Process};
use super::knobs::Fault;
use super::mutants::{MUTANTS, Mutant};
use super::operator::story;
use super::world::{Violation, World};

/// How many seeds a plain `cargo test` runs.
const SEEDS: u64 = 6_000;
/// How many seeds a deliberate bug may live.
const MUTANT_SEEDS: u64 = 20_000;
/// No story has so many events.
const EVENTS_MAX: u64 = 3_000_000;

/// What one seed came to.
struct Told {
    violation: Option<Violation>,
    knobs: String,
    trace: Vec<String>,
    tally: BTreeMap<&'static str, u64>,
    events: u64,
    /// Virtual time on all hosts together.
    host_ms: u64,
}

fn tell(seed: u64, mutant: Option<Mutant>, traced: bool) -> Told {
    let world = World::new(seed, mutant, traced);
    let over = Rc::new(std::cell::Cell::new(false));
    let (of, told) = (Rc::clone(&world), Rc::clone(&over));
    world.kernel.spawn(Process { machine: OUTSIDE, number: 0 }, async move {
        story(of).await;
        told.set(true);
    });
    while !over.get() && world.violation().is_none() {
        let goes_on = world.kernel.step();
        world.look();
        if !goes_on || world.kernel.events() > EVENTS_MAX {
            world.violated(Some(("I13", "the story does not end".to_owned())));
        }
    }
    Told {
        violation: world.violation(),
        knobs: world.knobs.to_string(),
        trace: world.trace(),
        tally: world.tally(),
        events: world.kernel.events(),
        host_ms: world.kernel.now() * world.knobs.hosts as u64,
    }
}

/// Everything that many seeds came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    events: u64,
    host_ms: u64,
    tally: BTreeMap<&'static str, u64>,
    failed: Vec<(u64, Violation)>,
}

/// Many seeds on all cores. A deliberate bug runs until the checker that is there for it sees it.
fn run(first: u64, count: u64, mutant: Option<(Mutant, &str)>) -> Sum {
    let (next, sum) = (AtomicU64::new(first), Mutex::new(Sum::default()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let told = tell(seed, mutant.map(|(mutant, _)| mutant), false);
                    let mut sum = sum.lock().expect("no thread panics");
                    sum.seeds += 1;
                    sum.events += told.events;
                    sum.host_ms += told.host_ms;
                    for (what, times) in told.tally {
                        *sum.tally.entry(what).or_default() += times;
                    }
                    if let Some(violation) = told.violation {
                        if mutant.is_some_and(|(_, invariant)| invariant == violation.invariant) {
                            next.store(u64::MAX / 2, Ordering::Relaxed);
                        }
                        sum.failed.push((seed, violation));
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().expect("no thread panics");
    sum.failed.sort_by_key(|(seed, _)| *seed);
    sum
}

fn say(text: &str) {
    use std::io::Write as _;
    let _nobody_may_listen = writeln!(std::io::stdout(), "{text}");
}

/// One seed with all that can be said of it.
fn show(seed: u64) -> bool {
    let told = tell(seed, None, true);
    told.trace.iter().for_each(|line| say(line));
    say(&format!("seed {seed}: {}", told.knobs));
    match &told.violation {
        None => say(&format!("seed {seed}: no violation, trace hash {:016x}", hash(&told.trace))),
        Some(Violation { invariant, words, at }) => say(&format!("seed {seed}: {invariant} at {at} ms: {words}")),
    }
    told.violation.is_none()
}

fn hash(trace: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    trace.hash(&mut hasher);
    hasher.finish()
}

/// What must have happened, over the seeds of a plain run, for them to prove anything: none of it is rare.
const MUST_HAPPEN: &[&str] = &[
    "rotated",
    "rolled back",
    "nobody moved",
    "resume ended it",
    "rollback typed",
    "rollback --unproved typed",
    "switch fired",
    "went back at boot",
    "fired after the decision to stay",
    "fired after the decision to stay, and was brought forward again",
    "lease lapsed before the decision",
    "takeover by a second operator",
    "fenced",
    "two looked at the lock at the same time",
    "a newer coordinator was there",
    "the ledger was older than the run",
    "taken by its next step",
    "coordinator killed at a record",
    "journal lost its tail",
    "journal failed, the process stopped",
    "a power cut lost what was not synced",
    "nobody came back for longer than the lease",
    "ended without a dead host",
    "message lost",
    "request twice",
    "service did not start",
];

fn seeds(first: u64, count: u64) -> bool {
    let began = Instant::now();
    let sum = run(first, count, None);
    say(&format!(
        "{} seeds from {first} on, {} host-hours, {} events, {:.1} s",
        sum.seeds,
        sum.host_ms / 3_600_000,
        sum.events,
        began.elapsed().as_secs_f64()
    ));
    for (what, times) in &sum.tally {
        say(&format!("{times:>10}  {what}"));
    }
    let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (seed, violation) in &sum.failed {
        kinds.entry(violation.invariant).or_default().push(*seed);
    }
    for (invariant, seeds) in &kinds {
        say(&format!("{invariant}: {} seeds, such as {:?}", seeds.len(), &seeds[..seeds.len().min(8)]));
    }
    if let Some((seed, _)) = sum.failed.first() {
        show(*seed);
    }
    let happened = |what: &&&str| sum.tally.get(**what).is_some_and(|times| *times > 0);
    let kinds = Fault::ALL.iter().map(|fault| fault.label());
    let wanted: Vec<&str> = MUST_HAPPEN.iter().copied().chain(kinds).collect();
    let never: Vec<_> = wanted.iter().filter(|what| !happened(what)).collect();
    let vacuous = count >= SEEDS && !never.is_empty();
    if vacuous {
        say(&format!("these seeds prove too little, it never happened: {never:?}"));
    }
    sum.failed.is_empty() && !vacuous
}

/// The same seed is the same story.
fn same_seed_same_story() -> bool {
    (0..40).all(|seed| {
        let [one, other] = [(); 2].map(|()| hash(&tell(seed, None, true).trace));
        if one != other {
            say(&format!("seed {seed} tells two stories: {one:016x}, {other:016x}"));
        }
        one == other
    })
}

/// Each deliberate bug is seen by the checker that is there for it.
fn checkers_can_fail() -> bool {
    MUTANTS.iter().fold(true, |well, (mutant, invariant)| {
        let sum = run(0, MUTANT_SEEDS, Some((*mutant, *invariant)));
        let seen = sum.failed.iter().find(|(_, violation)| violation.invariant == *invariant);
        match seen {
            Some((seed, violation)) => say(&format!("{invariant} sees {mutant:?}, seed {seed}: {}", violation.words)),
            None => say(&format!("{invariant} DOES NOT SEE {mutant:?} in {} seeds", sum.seeds)),
        }
        well && seen.is_some()
    })
}

/// Says what it finds, and whether all is well.
type Test = fn() -> bool;

/// The tests, for `cargo test WORD`.
const TESTS: &[(&str, Test)] = &[
    ("whatever_goes_wrong_the_invariants_hold", || seeds(0, SEEDS)),
    ("same_seed_same_story", same_seed_same_story),
    ("checkers_can_fail", checkers_can_fail),
];

pub(crate) fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        Some(args.get(at + 1)?.parse::<u64>().unwrap_or_else(|_| panic!("{name} takes a number")))
    };
    let well = match (number("--seed"), number("--seeds")) {
        (Some(seed), _) => show(seed),
        (None, Some(count)) => seeds(number("--first").unwrap_or(0), count),
        (None, None) => {
            let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
            let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
            TESTS.iter().filter(|(name, _)| wanted(name)).fold(true, |well, (name, test)| {
                let passed = test();
                say(&format!("test {name} ... {}", if passed { "ok" } else { "FAILED" }));
                well && passed
            })
        }
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
