//! Whoever types the commands, and whoever makes the faults: a phase in which things go wrong, then one in which nothing does any more.

use std::rc::Rc;

use lockturn::model::Verdict;

use super::book::{Book, Failure, When};
use super::host::{Content, Place};
use super::invariants::Effect;
use super::kernel::{Machine, OUTSIDE, Process};
use super::knobs::Fault;
use super::process::{Coordinator, Ended, Verb};
use super::program;
use super::switch;
use super::world::World;

/// The machines of the two operators.
const FIRST: Machine = 100;
const SECOND: Machine = 101;

/// No process takes longer than this, whatever goes wrong (I13): a host is asked three times for each thing, a minute each.
const ENDS_WITHIN: u64 = 4 * 3_600_000;
/// And where nothing goes wrong any more, not longer than this.
const HEALED_ENDS_WITHIN: u64 = 45 * 60_000;
/// So often an operator resumes a run when nothing goes wrong any more.
const RESUMES_MAX: u32 = 4;

/// One operator at one machine.
struct Operator {
    world: Rc<World>,
    machine: Machine,
    book: Rc<Book>,
    /// The process that runs now.
    now: std::cell::RefCell<Option<Coordinator>>,
}

/// The whole story of one seed.
pub(crate) async fn story(world: Rc<World>) {
    let kernel = &world.kernel;
    let first = Rc::new(Operator::new(&world, FIRST, Book::new(0)));
    for (fault, times) in &world.knobs.faults {
        for _ in 0..*times {
            let (of, first, fault) = (Rc::clone(&world), Rc::clone(&first), *fault);
            outside(&world, async move {
                of.kernel.sleep(of.kernel.between(0, of.knobs.horizon * 1_000)).await;
                if !of.healed.get() {
                    make(&of, &first, fault).await;
                }
            });
        }
    }
    let horizon = world.knobs.horizon * 1_000;
    if world.knobs.dead_host {
        let of = Rc::clone(&world);
        outside(&world, async move {
            of.kernel.sleep(of.kernel.between(0, horizon.min(30_000))).await;
            of.dead.set(Some(of.knobs.hosts - 1));
            power_cut(&of, of.knobs.hosts - 1);
        });
    }
    let mut ended = first.types(Verb::Rotate).await;
    while kernel.now() < horizon && !world.knobs.never_back && !is_over(ended) {
        kernel.sleep(kernel.between(100, world.knobs.thinking * 1_000)).await;
        ended = first.types(first.next(ended)).await;
    }
    if kernel.now() < horizon {
        kernel.sleep(horizon - kernel.now()).await;
    }
    // The second operator is at it until it is done.
    while first.second_at_work() {
        kernel.sleep(1_000).await;
    }
    first.book.fails.set(None);
    first.book.dies.set(None);
    heal(&world).await;
    if world.knobs.never_back {
        kernel.sleep(world.knobs.lease * 1_000 + 300_000).await;
        let found = world.eyes.borrow().left_alone(&world);
        world.violated(found);
        world.count("nobody came back for longer than the lease");
    }
    if let Some(dead) = world.dead.get() {
        ended = without_the_dead(&first, dead, ended).await;
        world.dead.set(None);
        switch::boot(&world, dead);
        kernel.sleep(2_000).await;
    }
    finish(&first, ended).await;
}

/// Everything has healed but one host.
async fn without_the_dead(operator: &Operator, dead: usize, mut ended: Ended) -> Ended {
    let world = &operator.world;
    for _ in 0..2 {
        if is_over(ended) {
            return ended;
        }
        ended = operator.types(Verb::Resume).await;
    }
    world.count("ended without a dead host");
    if !is_for_a_person(world) && !is_over(ended) {
        let found = world.eyes.borrow().without(world, dead);
        world.violated(found);
    }
    ended
}

/// A host that lies, one that somebody else writes to, and two journals that say different things are for a person.
fn is_for_a_person(world: &World) -> bool {
    let eyes = world.eyes.borrow();
    world.knobs.liar || eyes.tampered() || eyes.forked()
}

/// A run ends where nothing goes wrong any more.
async fn finish(operator: &Operator, mut ended: Ended) {
    let world = &operator.world;
    let mut resumed = 0;
    while !is_over(ended) && resumed < RESUMES_MAX {
        resumed += 1;
        ended = operator.types(Verb::Resume).await;
        world.kernel.sleep(1_000).await;
    }
    world.count(match ended {
        Ended::Verdict(Verdict::Rotated) => "rotated",
        Ended::Verdict(Verdict::RolledBack) => "rolled back",
        Ended::Verdict(Verdict::Refused) => "nobody moved",
        Ended::Refused | Ended::Over => "no run",
        _ => "for a person",
    });
    if resumed > 0 && is_over(ended) {
        world.count("resume ended it");
    }
    if is_for_a_person(world) {
        return;
    }
    if !is_over(ended) {
        world
            .violated(Some(("I15", format!("{RESUMES_MAX} times resumed with nothing wrong, and it ended {ended:?}"))));
    }
    let found = world.eyes.borrow().over(world);
    world.violated(found);
}

/// Nothing is left to be done.
fn is_over(ended: Ended) -> bool {
    matches!(ended, Ended::Refused | Ended::Over)
        || matches!(ended, Ended::Verdict(Verdict::Rotated | Verdict::RolledBack | Verdict::Refused))
}

impl Operator {
    fn new(world: &Rc<World>, machine: Machine, book: Rc<Book>) -> Self {
        world.eyes.borrow_mut().book_of.insert(machine, book.number);
        Self { world: Rc::clone(world), machine, book, now: std::cell::RefCell::default() }
    }

    /// Types a command and waits for its end.
    async fn types(&self, verb: Verb) -> Ended {
        let world = &self.world;
        let process = Coordinator::start(world, self.machine, &self.book, verb);
        *self.now.borrow_mut() = Some(process.clone());
        let most = if world.healed.get() { HEALED_ENDS_WITHIN } else { ENDS_WITHIN };
        let ended = world.kernel.timeout(most, process.ended.take()).await;
        if ended.is_none() {
            world.violated(Some(("I13", format!("{verb:?} has not ended after {} min", most / 60_000))));
            process.kill(world);
        }
        ended.unwrap_or(Ended::Killed)
    }

    /// What an operator would type next.
    fn next(&self, ended: Ended) -> Verb {
        let kernel = &self.world.kernel;
        if kernel.chance(150) {
            self.world.count("rollback typed");
            return Verb::Rollback;
        }
        if ended == Ended::Verdict(Verdict::Inconsistent) && kernel.chance(100) {
            self.world.count("rollback --unproved typed");
            return Verb::RollbackUnproved;
        }
        Verb::Resume
    }

    fn second_at_work(&self) -> bool {
        self.world.kernel.is_frozen(SECOND)
    }

    fn process(&self) -> Option<Coordinator> {
        self.now.borrow().clone().filter(|process| !process.is_over())
    }
}

fn outside(world: &World, work: impl Future<Output = ()> + 'static) {
    world.kernel.spawn(Process { machine: OUTSIDE, number: world.kernel.fresh() }, work);
}

/// One fault.
async fn make(world: &Rc<World>, first: &Rc<Operator>, fault: Fault) {
    let kernel = &world.kernel;
    let host = usize::try_from(kernel.between(0, world.knobs.hosts as u64 - 1)).expect("it is small");
    let most = [2_000, 30_000, 200_000][usize::try_from(kernel.between(0, 2)).expect("it is small")];
    let long = kernel.between(100, most);
    world.note(|| format!("fault: {} ({host}, {long} ms)", fault.label()));
    if fault != Fault::DiesAtRecord {
        world.count(fault.label());
    }
    match fault {
        Fault::CoordinatorDies
        | Fault::DiesAtRecord
        | Fault::CoordinatorStopped
        | Fault::CoordinatorSleeps
        | Fault::JournalFull
        | Fault::JournalError
        | Fault::Interrupt
        | Fault::SecondOperator => of_the_coordinator(world, first, fault, long).await,
        Fault::PartitionTo
        | Fault::PartitionFrom
        | Fault::Partition
        | Fault::Clog
        | Fault::Reset
        | Fault::SessionDies => {
            of_a_link(world, host, fault, long).await;
        }
        Fault::PowerCut
        | Fault::HostSleeps
        | Fault::DiskFull
        | Fault::DiskError
        | Fault::ClockStep
        | Fault::ServiceDies
        | Fault::Tampered => of_a_host(world, host, fault, long).await,
    }
}

async fn of_the_coordinator(world: &Rc<World>, first: &Rc<Operator>, fault: Fault, long: u64) {
    let kernel = &world.kernel;
    match fault {
        Fault::CoordinatorDies => {
            if let Some(process) = first.process() {
                process.kill(world);
            }
        }
        Fault::DiesAtRecord => {
            let when = [When::BeforeWrite, When::Writing, When::AfterWrite, When::AfterEffect];
            let when = when[usize::try_from(kernel.between(0, 3)).expect("it is small")];
            first.book.dies.set(Some((kernel.between(1, 40), when)));
        }
        Fault::CoordinatorStopped | Fault::CoordinatorSleeps => {
            kernel.freeze(FIRST);
            kernel.sleep(long).await;
            kernel.thaw(FIRST, fault == Fault::CoordinatorSleeps);
        }
        Fault::JournalFull => first.book.fails.set(Some(Failure::Append)),
        Fault::JournalError => first.book.fails.set(Some(Failure::Sync)),
        Fault::Interrupt => {
            if let Some(process) = first.process() {
                process.interrupts.put(());
            }
        }
        Fault::SecondOperator => second_operator(world, first).await,
        _ => unreachable!("{fault:?} is not the coordinator's"),
    }
}

async fn of_a_link(world: &Rc<World>, host: usize, fault: Fault, long: u64) {
    match fault {
        Fault::PartitionTo | Fault::PartitionFrom | Fault::Partition => {
            world.link_mut(FIRST, host, |link| {
                link.to_blocked |= fault != Fault::PartitionFrom;
                link.from_blocked |= fault != Fault::PartitionTo;
            });
            world.kernel.sleep(long).await;
            world.link_mut(FIRST, host, |link| (link.to_blocked, link.from_blocked) = (false, false));
        }
        Fault::Clog => {
            world.link_mut(FIRST, host, |link| link.clogged = true);
            world.kernel.sleep(long).await;
            world.link_mut(FIRST, host, |link| link.clogged = false);
        }
        Fault::Reset | Fault::SessionDies => {
            let sessions: Vec<u64> = world.host(host, |h| h.sessions.keys().copied().collect());
            sessions.into_iter().for_each(|pid| program::end(world, host, pid));
        }
        _ => unreachable!("{fault:?} is not a link's"),
    }
}

async fn of_a_host(world: &Rc<World>, host: usize, fault: Fault, long: u64) {
    let kernel = &world.kernel;
    match fault {
        Fault::PowerCut => {
            power_cut(world, host);
            kernel.sleep(long).await;
            if !world.host(host, |h| h.up) && !world.healed.get() {
                switch::boot(world, host);
            }
        }
        Fault::HostSleeps => {
            kernel.freeze(host);
            kernel.sleep(long).await;
            thaw(world, host);
        }
        Fault::DiskFull | Fault::DiskError => {
            let full = fault == Fault::DiskFull;
            world.host_mut(host, |h| if full { h.full = true } else { h.broken = true });
            kernel.sleep(long).await;
            world.host_mut(host, |h| if full { h.full = false } else { h.broken = false });
        }
        Fault::ClockStep => {
            let step = i64::try_from(kernel.between(0, 7_200)).expect("it is small") - 3_600;
            world.host_mut(host, |h| h.wall += step);
        }
        Fault::ServiceDies => world.host_mut(host, |h| h.running = None),
        Fault::Tampered => {
            world.effect(host, Effect::Tampered, None);
            world.host_mut(host, |h| {
                let place = Place { content: Content::Other, ..*h.disk.places[0].get() };
                h.disk.places[0].put(place);
            });
        }
        _ => unreachable!("{fault:?} is not a host's"),
    }
}

/// Somebody takes a copy of the state directory elsewhere, and resumes, while the first process may wake up again.
async fn second_operator(world: &Rc<World>, first: &Rc<Operator>) {
    // With the same directory there is one: the lock is held.
    if first.process().is_some() {
        let refused = Coordinator::start(world, SECOND, &first.book, Verb::Resume);
        if refused.ended.try_take() != Some(Ended::Locked) {
            world.violated(Some(("I8", "two processes work with one state directory".to_owned())));
        }
    }
    if first.book.events().is_empty() || world.eyes.borrow().forked() {
        return;
    }
    world.count("takeover by a second operator");
    world.eyes.borrow_mut().forks(0, 1);
    let second = Rc::new(Operator::new(world, SECOND, first.book.copy(1)));
    let verb = if world.kernel.chance(500) { Verb::Resume } else { Verb::Rollback };
    let _its_end = second.types(verb).await;
}

fn power_cut(world: &Rc<World>, host: usize) {
    if !world.host(host, |h| h.up) {
        return;
    }
    kernel_kill_machine(world, host);
    world.effect(host, Effect::PowerCut, None);
    let lost = world.host_mut(host, |h| {
        h.up = false;
        h.running = None;
        h.watcher = None;
        h.sessions.clear();
        h.disk.cut(&world.kernel)
    });
    if lost > 0 {
        world.count("a power cut lost what was not synced");
    }
}

fn kernel_kill_machine(world: &World, host: usize) {
    world.kernel.kill(|process| process.machine == host);
}

fn thaw(world: &Rc<World>, host: usize) {
    if world.kernel.is_frozen(host) {
        world.effect(host, Effect::Thawed, None);
        world.kernel.thaw(host, true);
    }
}

/// Nothing goes wrong any more.
async fn heal(world: &Rc<World>) {
    world.note(|| "everything heals".to_owned());
    world.healed.set(true);
    world.heal_links();
    world.kernel.thaw(FIRST, false);
    world.kernel.thaw(SECOND, false);
    for host in 0..world.knobs.hosts {
        thaw(world, host);
        world.host_mut(host, |h| (h.full, h.broken) = (false, false));
        if !world.host(host, |h| h.up) {
            switch::boot(world, host);
        }
    }
    world.kernel.sleep(2_000).await;
    for host in 0..world.knobs.hosts {
        // Whoever looks after the services starts what had died.
        if world.host(host, |h| h.up && h.running.is_none()) {
            let _as_it_can = switch::restart(world, host).await;
        }
    }
}
