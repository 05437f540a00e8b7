//! The dead-man's switch and the services of a host, as `src/host/program.sh` has them.

use std::rc::Rc;

use lockturn::model::ReasonKind;

use super::host::{Content, Token, Uncut};
use super::invariants::Effect;
use super::kernel::{Process, Queue};
use super::knobs::Manner;
use super::mutants::Mutant;
use super::program::{Move, move_all, pause};
use super::world::World;

/// `set_lease`
pub(crate) fn set_lease(world: &World, host: usize, seconds: u64) -> Result<(), ReasonKind> {
    if world.host(host, |h| h.full || h.broken) {
        return Err(ReasonKind::NoSpace);
    }
    let now = clock(world, host);
    world.host_mut(host, |h| h.disk.lease.set(Some((h.boot, now + seconds))));
    Ok(())
}

/// `is_due`: also where another start of the host set it.
pub(crate) fn is_due(world: &World, host: usize, longer: u64) -> bool {
    let now = clock(world, host);
    world.host(host, |h| match *h.disk.lease.get() {
        Some((boot, until)) => boot != h.boot || now + longer >= until,
        None => true,
    })
}

/// `clock`
fn clock(world: &World, host: usize) -> u64 {
    let steady = world.host(host, |h| h.clock(world.kernel.now()));
    let wall = world.host(host, |h| h.wall);
    if world.is(Mutant::LeaseByWallClock) { (1_000_000 + steady).saturating_add_signed(wall) } else { steady }
}

/// `watched`
pub(crate) fn watched(world: &World, host: usize) -> bool {
    world.host(host, |h| h.watcher.is_some_and(|(_, written)| written))
}

/// `start_watch`
pub(crate) async fn start_watch(world: &Rc<World>, host: usize) -> bool {
    // What systemd runs once it runs once; elsewhere there may be two for a moment, and one token.
    if !world.host(host, |h| h.systemd && h.watcher.is_some()) {
        begin_watch(world, host);
    }
    for _ in 0..200 {
        if watched(world, host) {
            return true;
        }
        if world.host(host, |h| *h.disk.token.get() != Token::Armed) {
            return false;
        }
        world.kernel.sleep(50).await;
    }
    false
}

/// `lockturn_alone watch`
fn begin_watch(world: &Rc<World>, host: usize) {
    let (of, pid) = (Rc::clone(world), world.kernel.fresh());
    world.host_mut(host, |h| h.watcher = Some((pid, false)));
    world.kernel.spawn(Process { machine: host, number: pid }, async move {
        pause(&of).await;
        if !of.host(host, |h| h.full || h.broken) {
            of.host_mut(host, |h| {
                if let Some(watcher) = &mut h.watcher {
                    watcher.1 = true;
                }
            });
        }
        let mut fired = false;
        while of.host(host, |h| *h.disk.token.get() == Token::Armed) {
            if is_due(&of, host, 0) {
                fired = true;
                fire(&of, host, false).await;
            } else {
                of.kernel.sleep(1_000).await;
            }
        }
        let open = of.host(host, |h| *h.disk.token.get() == Token::Fired && !*h.disk.gone_back.get());
        if open && !fired {
            go_back(&of, host, false).await;
        }
        of.host_mut(host, |h| h.watcher = h.watcher.filter(|(watcher, _)| *watcher != pid));
    });
}

/// `wait_for_switch`: while it is at the way back it is not disturbed.
pub(crate) async fn wait_for_switch(world: &Rc<World>, host: usize) {
    for _ in 0..30 {
        let at_it = world.host(host, |h| *h.disk.token.get() == Token::Fired && !*h.disk.gone_back.get());
        if !at_it || !watched(world, host) {
            return;
        }
        world.kernel.sleep(1_000).await;
    }
}

/// `end_switch`
pub(crate) fn end_watch(world: &Rc<World>, host: usize) {
    if let Some((pid, _)) = world.host_mut(host, |h| h.watcher.take()) {
        world.kernel.kill(|process| process == Process { machine: host, number: pid });
    }
}

/// `fire`: takes the token, if nobody else has.
async fn fire(world: &Rc<World>, host: usize, at_boot: bool) {
    if world.host(host, |h| *h.disk.token.get() != Token::Armed) {
        return;
    }
    world.effect(host, Effect::Fired, None);
    world.count(if at_boot { "went back at boot" } else { "switch fired" });
    world.host_mut(host, |h| {
        h.disk.token.set(Token::Fired);
        h.disk.gone_back.set(false);
    });
    pause(world).await;
    world.host_mut(host, |h| h.disk.sync_dir());
    go_back(world, host, at_boot).await;
}

/// `go_back`
async fn go_back(world: &Rc<World>, host: usize, at_boot: bool) {
    let mut tries = 0;
    while move_all(world, host, Move::Revert, None).await.is_err() {
        tries += 1;
        if at_boot && tries >= 3 {
            begin_watch(world, host);
            return;
        }
        world.kernel.sleep(5_000).await;
        if world.host(host, |h| *h.disk.token.get() != Token::Fired) {
            return;
        }
    }
    // `serve_again`
    if !at_boot && world.host(host, |h| *h.disk.uncut.get() != Uncut::Yes) {
        let _nobody_hears = restart(world, host).await;
    }
    if !world.host(host, |h| h.full || h.broken) {
        world.host_mut(host, |h| h.disk.gone_back.put(true));
    }
}

/// `systemctl restart` of the service, or a program that does the same.
pub(crate) async fn restart(world: &Rc<World>, host: usize) -> Result<(), ReasonKind> {
    if !world.host(host, |h| h.systemd) {
        return stop_and_start(world, host).await;
    }
    // Whoever asked systemd may die: the job goes on.
    let (of, done) = (Rc::clone(world), Queue::new(&world.kernel));
    let tell = Rc::clone(&done);
    let process = Process { machine: host, number: world.kernel.fresh() };
    world.kernel.spawn(process, async move { tell.put(stop_and_start(&of, host).await) });
    done.take().await
}

async fn stop_and_start(world: &Rc<World>, host: usize) -> Result<(), ReasonKind> {
    // The order of the units: what goes back at boot comes first, whoever asks.
    while world.host(host, |h| h.starting) {
        world.kernel.sleep(100).await;
    }
    world.host_mut(host, |h| h.running = None);
    world.kernel.sleep(world.kernel.between(100, 2_000)).await;
    let bad = !world.healed.get() && world.kernel.chance(world.knobs.bad_starts);
    let dies = world.host(host, |h| h.manner == Manner::DiesOfNew && h.contents().contains(&Content::New));
    if bad || dies {
        world.count("service did not start");
        return Err(ReasonKind::ServiceFailed);
    }
    begin_service(world, host);
    Ok(())
}

fn begin_service(world: &World, host: usize) {
    world.host_mut(host, |h| {
        h.running = Some(h.contents());
        h.invocation += 1;
    });
}

/// A host without power is started.
pub(crate) fn boot(world: &Rc<World>, host: usize) {
    if world.dead.get() == Some(host) {
        return;
    }
    let now = world.kernel.now();
    world.host_mut(host, |h| {
        h.up = true;
        h.starting = true;
        h.boot += 1;
        h.started = now;
    });
    world.note(|| format!("{} starts", world.name(host)));
    let (of, pid) = (Rc::clone(world), world.kernel.fresh());
    world.kernel.spawn(Process { machine: host, number: pid }, async move {
        pause(&of).await;
        // `lockturn-boot-RUN.service`, ordered before the services: `lockturn_alone boot`.
        if of.host(host, |h| h.systemd && *h.disk.units.get() && *h.disk.program.get()) {
            if of.host(host, |h| *h.disk.token.get() == Token::Armed) {
                fire(&of, host, true).await;
            } else if of.host(host, |h| *h.disk.token.get() == Token::Fired && !*h.disk.gone_back.get()) {
                go_back(&of, host, true).await;
            }
        }
        of.host_mut(host, |h| h.starting = false);
        let dies = of.host(host, |h| h.manner == Manner::DiesOfNew && h.contents().contains(&Content::New));
        if !dies {
            begin_service(&of, host);
            of.effect(host, Effect::ServesAtBoot, None);
        }
    });
}
