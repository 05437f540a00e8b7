//! Links between operators' machines and hosts, and what goes over them.
//!
//! SSH runs over TCP: what is on its way waits while a link is partitioned, and may arrive long after whoever sent it gave up.

use std::cell::Cell;
use std::rc::Rc;

use lockturn::model::ReasonKind;

use super::kernel::{Machine, OUTSIDE, Process, Queue};
use super::world::World;

/// What a host is asked (src/host/request.rs; looking and reading before a run are no part of this).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// With the epoch.
    Hello(u64),
    Lock,
    LockAgain,
    /// The host's share of the plan.
    KeepPlan,
    StageFile(usize),
    Keep,
    Rehearse,
    Arm(u64),
    Renew(u64),
    Cut,
    ActivateUnit,
    Unit,
    Confirm,
    Revert,
    Fetch,
    Which,
    Leftovers,
    /// What stands in the places of the plan, for whoever wants to see it.
    Read,
    Clean,
    CleanUntouched,
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Ok,
    /// `unit`: whether it is active, and which start of it that is.
    Unit {
        active: bool,
        invocation: u64,
    },
    /// `which`, as far as anybody acts upon it.
    Which {
        confirmed: bool,
        cleaning: bool,
        new: bool,
    },
    /// `leftovers`: whether the run has left something.
    Left(bool),
    /// Whether every place holds the old value; whether any holds the new one.
    Holds {
        old: bool,
        new: bool,
    },
    No(ReasonKind),
}

/// A request on its way.
pub(crate) struct Asked {
    pub(crate) number: u64,
    pub(crate) request: Request,
    /// A copy that the network made: nobody hears what becomes of it.
    pub(crate) unheard: bool,
}

/// What comes back.
pub(crate) enum Told {
    Reply(u64, Reply),
    /// The shell ended.
    Closed,
}

/// A link between one operator's machine and one host.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    pub(crate) to_blocked: bool,
    pub(crate) from_blocked: bool,
    pub(crate) clogged: bool,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    To,
    From,
}

/// For so long TCP tries again.
const TRIES_FOR: u64 = 15 * 60_000;

/// A message is on its way: says whether it arrives.
async fn travel(world: &World, operator: Machine, host: usize, way: Way) -> bool {
    let kernel = &world.kernel;
    let healed = world.healed.get();
    if !healed && kernel.chance(world.knobs.loss) {
        world.count("message lost");
        return false;
    }
    let slow = if world.link(operator, host).clogged { 20 * world.knobs.delay + 5_000 } else { world.knobs.delay };
    kernel.sleep(kernel.between(1, if healed { 20 } else { slow.max(1) })).await;
    let since = kernel.now();
    loop {
        let link = world.link(operator, host);
        let blocked = if way == Way::To { link.to_blocked } else { link.from_blocked };
        if !blocked {
            return true;
        }
        if kernel.now() - since > TRIES_FOR {
            return false;
        }
        kernel.sleep(500).await;
    }
}

/// Whether anything can go there and come back just now.
pub(crate) fn is_reachable(world: &World, operator: Machine, host: usize) -> bool {
    let link = world.link(operator, host);
    world.host(host, |host| host.up) && !world.kernel.is_frozen(host) && !link.to_blocked && !link.from_blocked
}

fn in_flight(world: &World) -> Process {
    Process { machine: OUTSIDE, number: world.kernel.fresh() }
}

/// One connection with a shell at its end.
pub(crate) struct Line {
    pub(crate) host: usize,
    operator: Machine,
    shell: u64,
    requests: Rc<Queue<Asked>>,
    told: Rc<Queue<Told>>,
    closed: Rc<Cell<bool>>,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer(pub ReasonKind);

/// A keepalive that nobody answers (src/ssh/settings.rs): three of them, one each ten seconds, end the connection.
const SILENCE_MAX: u64 = 40_000;

impl Line {
    /// Connects, logs in and starts a shell there (src/ssh/settings.rs: `connect`).
    pub(crate) async fn open(world: &Rc<World>, operator: Machine, host: usize) -> Result<Self, NoAnswer> {
        let kernel = &world.kernel;
        // A handshake is several messages.
        kernel.sleep(kernel.between(5, 20 + 3 * world.knobs.delay)).await;
        if !is_reachable(world, operator, host) {
            kernel.sleep(10_000).await;
            return Err(NoAnswer(ReasonKind::TimedOut));
        }
        let (requests, told) = (Queue::new(kernel), Queue::new(kernel));
        let shell = super::program::start(world, host, operator, &requests, &told);
        Ok(Self { host, operator, shell, requests, told, closed: Rc::default() })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Sends a request and waits for its reply (src/host/session.rs, `call`): without one the session is over.
    pub(crate) async fn call(&mut self, world: &Rc<World>, request: Request, deadline: u64) -> Result<Reply, NoAnswer> {
        let kernel = &world.kernel;
        let number = kernel.fresh();
        self.send(world, number, request, false);
        if !world.healed.get() && kernel.chance(world.knobs.twice) {
            world.count("request twice");
            self.send(world, number, request, true);
        }
        let (mut waited, mut silent) = (0, 0);
        let reason = loop {
            let patience = 5_000.min(deadline - waited);
            match kernel.timeout(patience, self.told.take()).await {
                Some(Told::Reply(of, reply)) if of == number => return Ok(reply),
                Some(Told::Reply(..)) => {}
                Some(Told::Closed) => break ReasonKind::ConnectionLost,
                None => {
                    waited += patience;
                    let reachable = is_reachable(world, self.operator, self.host);
                    silent = if reachable { 0 } else { silent + patience };
                    let gone = reachable && world.host(self.host, |host| !host.sessions.contains_key(&self.shell));
                    if gone || silent >= SILENCE_MAX {
                        break ReasonKind::ConnectionLost;
                    }
                    if waited >= deadline {
                        break ReasonKind::TimedOut;
                    }
                }
            }
        };
        self.closed.set(true);
        Err(NoAnswer(reason))
    }

    fn send(&self, world: &Rc<World>, number: u64, request: Request, unheard: bool) {
        let (requests, operator, host) = (Rc::clone(&self.requests), self.operator, self.host);
        let of = Rc::clone(world);
        world.kernel.spawn(in_flight(world), async move {
            if travel(&of, operator, host, Way::To).await {
                // Where the shell has ended nobody takes it.
                requests.put(Asked { number, request, unheard });
            }
        });
    }
}

/// What the shell says goes back.
pub(crate) fn tell(world: &Rc<World>, host: usize, operator: Machine, told: &Rc<Queue<Told>>, what: Told) {
    let (of, told) = (Rc::clone(world), Rc::clone(told));
    world.kernel.spawn(in_flight(world), async move {
        if travel(&of, operator, host, Way::From).await {
            told.put(what);
        }
    });
}
