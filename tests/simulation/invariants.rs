//! The invariants, each in a function of its number. They see what hosts really hold, what was really sent and what is really durable;
//! of the coordinator they know nothing but the words of its journal.
//!
//! | | says | here |
//! |---|---|---|
//! | I1 | one decision, and to stay only on proof and in time | `i1_*` |
//! | I2 | intent before effect | `i2_intent_before_effect` |
//! | I3 | nobody is cut before all are staged, rehearsed and armed | `i3_barrier` |
//! | I4 | what a host may still need is not destroyed | `i4_nothing_needed_is_destroyed` |
//! | I5 | where the new content is or may be after a power cut, a switch is armed | `i5_covered` |
//! | I6 | a host fires or is confirmed, never both | `i6_fire_xor_confirm` |
//! | I7 | a target holds the old bytes or the new ones | `i7_whole` |
//! | I8 | one writer: the newest epoch, the newest session | `i8_single_writer` |
//! | I10 | the verdict is true | `i10_true_verdict` |
//! | I13 | every process ends in time, and no host waits for a dead one | `operator.rs`, `i13_nobody_waits_for_the_dead` |
//! | I14 | without a coordinator a host goes back by itself, in time, and at boot before its service starts | `i14_*` |
//! | I15 | from everywhere there is a way to the end, and nothing stays | `i15_nothing_stays`, `operator.rs` |
//!
//! I9 (secrets are not seen), I11 (peers are bounded) and I12 (quarantine) are about bytes, sockets and firewalls, of which this world has
//! none: `tests/support/canary.rs`, `tests/it/ssh` and the tests of the real program look after them.

use std::collections::{BTreeMap, BTreeSet};

use lockturn::model::{Decision, Event, Step, Verdict};

use super::host::{Content, Host, Token};
use super::wire::{Reply, Request};
use super::world::World;

/// What happens to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Locked,
    Staged(usize),
    Kept,
    Armed,
    Cut(usize),
    Activated,
    Confirmed,
    Reverted(usize),
    Cleaned,
    Fired,
    ServesAtBoot,
    PowerCut,
    Thawed,
    Tampered,
}

/// What a checker says: which invariant, and how it is broken.
pub(crate) type Found = Option<(&'static str, String)>;

/// How long after its time a switch may fire: it looks once a second.
const FIRES_WITHIN: u64 = 3;

#[derive(Default)]
struct Seen {
    /// A coordinator heard that it is rehearsed, armed; that it proved the new value.
    rehearsed: bool,
    armed: bool,
    proved: bool,
    /// Who took it last: epoch and shell.
    holder: Option<(u64, u64)>,
    /// It answered that it stays.
    confirmed: bool,
    cleaned: bool,
    tampered: bool,
    thawed_at: u64,
    fired: bool,
    fired_after: bool,
    /// In which start of the host it was armed last.
    armed_in: u64,
}

#[derive(Default)]
struct Book {
    decision: Option<Decision>,
    began: BTreeSet<(usize, Step)>,
    resumed: u64,
    waived: bool,
    failed: BTreeMap<usize, bool>,
}

/// Everything that the checkers remember.
pub(crate) struct Eyes {
    hosts: Vec<Seen>,
    books: BTreeMap<usize, Book>,
    /// Which journal each operator's machine writes.
    pub(crate) book_of: BTreeMap<usize, usize>,
}

fn broken(invariant: &'static str, words: String) -> Found {
    Some((invariant, words))
}

impl Eyes {
    pub(crate) fn new(hosts: usize) -> Self {
        Self { hosts: (0..hosts).map(|_| Seen::default()).collect(), books: BTreeMap::new(), book_of: BTreeMap::new() }
    }

    /// Two operators with two journals: what each of them decided is no longer the only word.
    pub(crate) fn forked(&self) -> bool {
        self.books.len() > 1
    }

    pub(crate) fn forks(&mut self, from: usize, to: usize) {
        let Some(old) = self.books.get(&from) else { return };
        let copy = Book {
            decision: old.decision,
            began: old.began.clone(),
            resumed: old.resumed,
            waived: old.waived,
            failed: old.failed.clone(),
        };
        self.books.insert(to, copy);
    }

    /// Whether somebody else wrote to a target, which a person must mend.
    pub(crate) fn tampered(&self) -> bool {
        self.hosts.iter().any(|seen| seen.tampered)
    }

    fn committed(&self) -> bool {
        self.books.values().any(|book| book.decision == Some(Decision::Commit))
    }

    /// The running service showed to a coordinator that it takes the new value and refuses the old one.
    pub(crate) fn heard_proof(&mut self, host: usize) {
        self.hosts[host].proved = true;
    }

    pub(crate) fn heard(&mut self, host: usize, request: Request, reply: Reply) {
        let seen = &mut self.hosts[host];
        match (request, reply) {
            (Request::Rehearse, Reply::Ok) => seen.rehearsed = true,
            (Request::Arm(_), Reply::Ok) => seen.armed = true,
            _ => {}
        }
    }

    pub(crate) fn replied(&mut self, world: &World, host: usize, request: Request, reply: Reply) -> Found {
        if world.host(host, |h| h.liar) {
            return None;
        }
        match (request, reply) {
            (Request::Confirm, Reply::Ok) => {
                self.hosts[host].confirmed = true;
                if std::mem::take(&mut self.hosts[host].fired_after) {
                    world.count("fired after the decision to stay, and was brought forward again");
                }
                world.host(host, |h| i6_confirmed_stays(self.hosts[host].tampered, h))
            }
            (Request::Clean | Request::CleanUntouched, Reply::Ok) => {
                self.hosts[host].cleaned = true;
                None
            }
            _ => None,
        }
    }

    /// Before something changes on a host.
    pub(crate) fn effect(
        &mut self,
        world: &World,
        host: usize,
        effect: Effect,
        by: Option<(u64, u64, Option<usize>)>,
    ) -> Found {
        let seen = &mut self.hosts[host];
        match effect {
            Effect::Locked => {
                let found = i8_newest_takes(seen, by);
                seen.holder = by.map(|(epoch, shell, _)| (epoch, shell));
                seen.cleaned = false;
                if found.is_some() {
                    return found;
                }
            }
            Effect::Armed => {
                seen.fired = false;
                seen.armed_in = world.host(host, |h| h.boot);
            }
            Effect::Tampered => seen.tampered = true,
            Effect::Thawed => seen.thawed_at = world.kernel.now(),
            Effect::Fired => {
                let found = i6_fired(seen);
                seen.fired = true;
                seen.fired_after = self.books.values().any(|book| book.decision == Some(Decision::Commit));
                if seen.fired_after {
                    world.count("fired after the decision to stay");
                }
                return found;
            }
            Effect::ServesAtBoot => return world.host(host, i14_back_before_the_service),
            _ => {}
        }
        let (epoch, shell, operator) = by?;
        let book = operator.and_then(|operator| self.book_of.get(&operator)).and_then(|book| self.books.get(book));
        i8_single_writer(&self.hosts[host], effect, epoch, shell)
            .or_else(|| i2_intent_before_effect(book, host, effect))
            .or_else(|| i3_barrier(self, world, effect))
            .or_else(|| i4_nothing_needed_is_destroyed(self, world, book, host, effect))
            .or_else(|| i6_confirming(&self.hosts[host], world, host, effect))
            .or_else(|| i7_compare_and_swap(world, host, effect))
    }

    /// Before a decision to stay is written down.
    pub(crate) fn committing(&self, world: &World, book: usize) -> Found {
        if self.forked() {
            return None;
        }
        let _ = book;
        (0..self.hosts.len()).find_map(|host| i1_proved_and_in_time(&self.hosts[host], world, host))
    }

    /// Something is durable.
    pub(crate) fn recorded(&mut self, world: &World, number: usize, event: &Event) -> Found {
        let at = |host| world.number(host);
        let book = self.books.entry(number).or_default();
        match event {
            Event::StepBegan { host, step } => {
                book.began.insert((at(host), *step));
            }
            Event::StepDone { host, .. } => {
                book.failed.insert(at(host), false);
            }
            Event::StepFailed { host, .. } => {
                book.failed.insert(at(host), true);
            }
            Event::Resumed { .. } => book.resumed += 1,
            Event::ProofWaived { .. } => book.waived = true,
            Event::Decided { decision, .. } => {
                if let Some(before) = book.decision.replace(*decision) {
                    return broken("I1", format!("decided {before:?}, then {decision:?}"));
                }
            }
            Event::RunEnded { verdict } => {
                let forked = self.forked();
                return i10_true_verdict(&self.books[&number], &self.hosts, world, *verdict, forked);
            }
            _ => {}
        }
        None
    }

    /// After each event.
    pub(crate) fn look(&mut self, world: &World) -> Found {
        let committed = self.committed();
        (0..self.hosts.len()).find_map(|host| {
            world.host(host, |h| {
                let seen = &self.hosts[host];
                if h.liar {
                    return None;
                }
                i5_covered(committed, h).or_else(|| i7_whole(h)).or_else(|| {
                    let awake = h.up && !world.kernel.is_frozen(host);
                    let thawed = world.kernel.now() - seen.thawed_at > FIRES_WITHIN * 1_000;
                    // A switch that is a process does not survive another start of its host.
                    let watched = h.systemd || seen.armed_in == h.boot;
                    if awake && thawed && watched { i14_fires_in_time(h, world.kernel.now()) } else { None }
                })
            })
        })
    }

    /// When nobody came back for long enough, and nothing went wrong on the hosts.
    pub(crate) fn left_alone(&self, world: &World) -> Found {
        (0..self.hosts.len()).find_map(|host| {
            if self.hosts[host].tampered {
                return None;
            }
            world.host(host, i14_back_without_anybody)
        })
    }

    /// When everything has healed but one host, which is dead.
    pub(crate) fn without(&self, world: &World, dead: usize) -> Found {
        let decision = self.books.get(&0).and_then(|book| book.decision);
        (0..self.hosts.len()).filter(|host| *host != dead).find_map(|host| {
            world.host(host, |h| i13_nobody_waits_for_the_dead(decision, world.name(host).as_str(), h))
        })
    }

    /// When a run is over for good.
    pub(crate) fn over(&self, world: &World) -> Found {
        (0..self.hosts.len()).find_map(|host| world.host(host, |h| i15_nothing_stays(world, host, h)))
    }
}

/// Every host proved the new value to a coordinator, and none that is armed would go back before it could hear of the decision.
fn i1_proved_and_in_time(seen: &Seen, world: &World, host: usize) -> Found {
    world.host(host, |h| {
        if h.liar {
            return None;
        }
        let name = world.name(host);
        if !seen.proved {
            return broken("I1", format!("to stay was decided, and {name} proved nothing"));
        }
        // A host that lost its power since is no matter of its lease.
        if h.boot != seen.armed_in || !h.up {
            return None;
        }
        let over = h.disk.lease.get().is_some_and(|(_, until)| h.clock(world.kernel.now()) >= until);
        if *h.disk.token.get() == Token::Fired || (*h.disk.token.get() == Token::Armed && over) {
            return broken("I1", format!("to stay was decided when {name} went back by itself"));
        }
        None
    })
}

/// What a session does was written down by its coordinator before.
fn i2_intent_before_effect(book: Option<&Book>, host: usize, effect: Effect) -> Found {
    let intents: &[Step] = match effect {
        Effect::Locked => &[Step::Lock, Step::Revert],
        Effect::Staged(_) | Effect::Kept => &[Step::Stage],
        Effect::Armed => &[Step::Arm],
        Effect::Cut(_) => &[Step::Cut],
        Effect::Activated => &[Step::Activate, Step::Reactivate],
        Effect::Confirmed => &[Step::Confirm],
        // A cut that finds the switch fired takes itself back, and so does arming after a way back that broke off.
        Effect::Reverted(_) => &[Step::Revert, Step::Cut, Step::Arm],
        Effect::Cleaned => &[Step::Clean, Step::Confirm],
        Effect::Fired | Effect::ServesAtBoot | Effect::PowerCut | Effect::Thawed | Effect::Tampered => return None,
    };
    let Some(book) = book else { return broken("I2", format!("{effect:?} of a run that nobody wrote down")) };
    let meant = intents.iter().any(|step| book.began.contains(&(host, *step)));
    let taken_up = effect == Effect::Locked && book.resumed > 0;
    if meant || taken_up {
        None
    } else {
        broken("I2", format!("{effect:?} on host {host} was not written down before"))
    }
}

/// Nobody moves until everybody can.
fn i3_barrier(eyes: &Eyes, world: &World, effect: Effect) -> Found {
    if !matches!(effect, Effect::Cut(_)) || eyes.committed() {
        return None;
    }
    eyes.hosts.iter().enumerate().find_map(|(host, seen)| {
        let liar = world.host(host, |h| h.liar);
        let ready = liar || (seen.rehearsed && seen.armed);
        if ready { None } else { broken("I3", format!("a host is cut and {} is not ready", world.name(host))) }
    })
}

/// The old value goes when its host is confirmed on the new one after the decision to stay; the new one when its host is back.
fn i4_nothing_needed_is_destroyed(
    eyes: &Eyes,
    world: &World,
    book: Option<&Book>,
    host: usize,
    effect: Effect,
) -> Found {
    if effect != Effect::Cleaned || eyes.forked() {
        return None;
    }
    let name = world.name(host);
    let seen = &eyes.hosts[host];
    world.host(host, |h| match book.and_then(|book| book.decision) {
        None => broken("I4", format!("{name} is cleaned before anything was decided")),
        Some(Decision::Commit) => {
            let stays = seen.confirmed && (h.holds(Content::New) || seen.tampered);
            if stays { None } else { broken("I4", format!("{name} is cleaned and was not confirmed")) }
        }
        Some(Decision::Rollback) => {
            let new = h.contents().contains(&Content::New);
            if new { broken("I4", format!("{name} is cleaned and holds the new content")) } else { None }
        }
    })
}

/// Whatever a power cut leaves: where the new content may be, a switch is armed that goes back.
fn i5_covered(committed: bool, h: &Host) -> Found {
    if committed {
        return None;
    }
    let moved = h.disk.places.iter().any(|place| place.possible().any(|place| place.content == Content::New));
    let armed = h.disk.token.possible().all(|token| matches!(token, Token::Armed | Token::Fired));
    let can = h.disk.program.possible().all(|there| *there)
        && (!h.systemd || h.disk.units.possible().all(|there| *there))
        && h.disk.beside.iter().all(|beside| beside.possible().all(|there| *there));
    if !moved || (armed && can) {
        None
    } else {
        broken("I5", "the new content may be in place with no way back".to_owned())
    }
}

/// A host that was told that it stays does not go back by itself.
fn i6_fired(seen: &Seen) -> Found {
    if seen.confirmed && !seen.cleaned { broken("I6", "a confirmed host fired".to_owned()) } else { None }
}

/// A host that fired is not confirmed unless it was armed again.
fn i6_confirming(seen: &Seen, world: &World, host: usize, effect: Effect) -> Found {
    if effect != Effect::Confirmed {
        return None;
    }
    let holds = seen.tampered || world.host(host, |h| h.holds(Content::New));
    if seen.fired || !holds { broken("I6", "a host is confirmed that went back by itself".to_owned()) } else { None }
}

/// What was answered is so, and stays so.
fn i6_confirmed_stays(tampered: bool, h: &Host) -> Found {
    let sure = h.disk.token.possible().all(|token| matches!(token, Token::Confirmed));
    let holds = tampered || h.holds(Content::New);
    if sure && holds {
        None
    } else {
        broken("I6", "a host says that it is confirmed, and is not, or not on the new".to_owned())
    }
}

/// Nobody ever reads half a file.
fn i7_whole(h: &Host) -> Found {
    let torn = h.contents().contains(&Content::Torn)
        || h.running.as_ref().is_some_and(|running| running.contains(&Content::Torn));
    if torn { broken("I7", "a target holds half of something".to_owned()) } else { None }
}

/// What somebody else put there is not written over.
fn i7_compare_and_swap(world: &World, host: usize, effect: Effect) -> Found {
    let (number, from) = match effect {
        Effect::Cut(number) => (number, Content::Old),
        Effect::Reverted(number) => (number, Content::New),
        _ => return None,
    };
    let held = world.host(host, |h| h.disk.places[number].get().content);
    if held == from { None } else { broken("I7", format!("{held:?} is written over by {effect:?}")) }
}

/// A host is never taken by an older coordinator.
fn i8_newest_takes(seen: &Seen, by: Option<(u64, u64, Option<usize>)>) -> Found {
    match (seen.holder, by) {
        (Some((held, _)), Some((epoch, ..))) if epoch < held && !seen.cleaned => {
            broken("I8", format!("epoch {epoch} takes a host of epoch {held}"))
        }
        _ => None,
    }
}

/// Only who took the host last changes anything there.
fn i8_single_writer(seen: &Seen, effect: Effect, epoch: u64, shell: u64) -> Found {
    // Restarting a service and cleaning what was never taken ask no lock.
    if matches!(effect, Effect::Locked | Effect::Activated | Effect::Cleaned) || seen.holder == Some((epoch, shell)) {
        return None;
    }
    broken("I8", format!("{effect:?} by epoch {epoch}, shell {shell}, and {:?} holds the host", seen.holder))
}

/// What the run says of its hosts is so.
fn i10_true_verdict(book: &Book, seen: &[Seen], world: &World, verdict: Verdict, forked: bool) -> Found {
    // Of two ledgers one may be fenced and have nothing else to name.
    if forked && verdict == Verdict::Inconsistent {
        return None;
    }
    if verdict == Verdict::Inconsistent {
        let named = book.failed.values().any(|failed| *failed);
        return if named { None } else { broken("I10", "a person must look, and no host is named".to_owned()) };
    }
    (0..seen.len()).find_map(|host| {
        world.host(host, |h| {
            if h.liar {
                return None;
            }
            let (tampered, name) = (seen[host].tampered, world.name(host));
            let contents = h.contents();
            let runs = |content| h.running.is_none() || h.runs(content) || tampered;
            // The first `lock` of the one may come when the other one has ended the run.
            let nothing_beside = h.disk.places.iter().all(|place| !place.get().new_beside);
            let clean = forked || (nothing_beside && (!h.disk.is_held() || h.is_late()));
            let true_here = match verdict {
                Verdict::Rotated => (tampered || h.holds(Content::New)) && runs(Content::New) && clean,
                Verdict::RotatedWithDebt => (tampered || h.holds(Content::New)) && runs(Content::New),
                Verdict::RolledBack | Verdict::Refused => {
                    let old = !contents.contains(&Content::New) && (book.waived || runs(Content::Old));
                    old && clean
                }
                // Nobody drills here.
                // Neither a drill nor a quarantine.
                Verdict::Drilled | Verdict::Quarantined | Verdict::Released | Verdict::Partial => false,
                Verdict::Inconsistent => true,
            };
            let running = &h.running;
            if true_here {
                return None;
            }
            broken("I10", format!("{verdict}, and {name} holds {contents:?}, runs {running:?}, clean: {clean}"))
        })
    })
}

/// A host that is dead for good keeps no other from its end.
fn i13_nobody_waits_for_the_dead(decision: Option<Decision>, name: &str, h: &Host) -> Found {
    let there = match decision {
        // Nobody is cleaned before everybody has heard that the new value stays.
        Some(Decision::Commit) => {
            h.holds(Content::New) && (*h.disk.token.get() == Token::Confirmed || h.disk.is_clean())
        }
        Some(Decision::Rollback) | None => h.holds(Content::Old) && h.disk.is_clean(),
    };
    if there { None } else { broken("I13", format!("another host is dead, and {name} is not at its end")) }
}

/// An armed host does not wait longer than it promised.
fn i14_fires_in_time(h: &Host, now: u64) -> Found {
    let armed = *h.disk.token.get() == Token::Armed;
    let (boot, until) = (*h.disk.lease.get())?;
    if armed && boot == h.boot && h.clock(now) > until + FIRES_WITHIN {
        return broken("I14", format!("an armed host still waits {} s after its time", h.clock(now) - until));
    }
    None
}

/// At boot, before the service starts.
fn i14_back_before_the_service(h: &Host) -> Found {
    let open = matches!(h.disk.token.get(), Token::Armed | Token::Fired);
    let new = h.contents().contains(&Content::New);
    let can = h.systemd && !h.broken && !h.contents().contains(&Content::Other);
    if open && new && can {
        broken("I14", "a service starts with a new value that nobody confirmed".to_owned())
    } else {
        None
    }
}

/// Whoever was armed is back, and its service too.
fn i14_back_without_anybody(h: &Host) -> Found {
    let watched = h.systemd || h.disk.lease.get().is_some_and(|(boot, _)| boot == h.boot);
    if h.liar || !watched || !h.up {
        return None;
    }
    match h.disk.token.get() {
        Token::Armed => broken("I14", "nobody came back, and a host still waits".to_owned()),
        Token::Fired
            if h.contents().contains(&Content::New)
                || h.running.as_ref().is_some_and(|r| r.contains(&Content::New)) =>
        {
            broken("I14", "nobody came back, and a host that fired is not back".to_owned())
        }
        _ => None,
    }
}

/// Nothing of the run is there, also after a power cut.
fn i15_nothing_stays(world: &World, host: usize, h: &Host) -> Found {
    if h.disk.is_clean() || h.is_late() {
        None
    } else {
        broken("I15", format!("something stays on {}: {:?}", world.name(host), h.disk))
    }
}
