//! The program on a host, verb by verb, as `src/host/program.sh` does them: each function names the one that it mirrors. What it
//! does one after the other takes time here too, so that it is killed, and the power cut, in between.

use std::rc::Rc;

use lockturn::model::ReasonKind;

use super::clean::forget_beside;
use super::host::{Content, Disk, Holder, Host, Lock, Place, Session, Token, Uncut};
use super::invariants::Effect;
use super::kernel::{Machine, Process, Queue};
use super::mutants::Mutant;
use super::switch;
use super::wire::{Asked, Reply, Request, Told, tell};
use super::world::World;

/// One shell: the variables of `lockturn_serve`.
pub(crate) struct Shell {
    pub(crate) world: Rc<World>,
    pub(crate) host: usize,
    pid: u64,
    epoch: u64,
    /// What `lock` wrote down: nothing before.
    session: Option<Holder>,
    /// Whether nobody is at the other end any more.
    alone: bool,
}

/// Starts the shell of a new connection.
pub(crate) fn start(
    world: &Rc<World>,
    host: usize,
    operator: Machine,
    asked: &Rc<Queue<Asked>>,
    told: &Rc<Queue<Told>>,
) -> u64 {
    let pid = world.kernel.fresh();
    let session = Session { told: Rc::clone(told), operator };
    world.host_mut(host, |h| h.sessions.insert(pid, session));
    let mut shell = Shell { world: Rc::clone(world), host, pid, epoch: 0, session: None, alone: false };
    let (asked, told) = (Rc::clone(asked), Rc::clone(told));
    world.kernel.spawn(Process { machine: host, number: pid }, async move {
        loop {
            let Asked { number, request, unheard } = asked.take().await;
            // Whoever sent it has gone, and nothing more is on its way.
            shell.alone = Rc::strong_count(&asked) == 1;
            let reply = match shell.serve(request).await {
                Ok(()) => shell.answer(request),
                Err(kind) => Reply::No(kind),
            };
            shell.world.note(|| format!("{} says {reply:?} to {request:?}", shell.world.name(host)));
            shell.world.replied(host, request, reply, shell.epoch);
            if !unheard {
                tell(&shell.world, host, operator, &told, Told::Reply(number, reply));
            }
        }
    });
    pid
}

/// A shell dies, with whoever waits at the other end hearing of it some time.
pub(crate) fn end(world: &Rc<World>, host: usize, pid: u64) {
    world.kernel.kill(|process| process == Process { machine: host, number: pid });
    if let Some(session) = world.host_mut(host, |h| h.sessions.remove(&pid)) {
        tell(world, host, session.operator, &session.told, Told::Closed);
    }
}

pub(super) type Done = Result<(), ReasonKind>;

/// Which way a host moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Cut,
    Revert,
}

impl Shell {
    async fn serve(&mut self, request: Request) -> Done {
        self.pause().await;
        let looks =
            matches!(request, Request::Unit | Request::Fetch | Request::Which | Request::Leftovers | Request::Read);
        let changes = !looks && !matches!(request, Request::Hello(_));
        if changes && self.see(|host| host.liar) {
            return Ok(());
        }
        match request {
            Request::Hello(epoch) => {
                self.epoch = epoch;
                Ok(())
            }
            Request::Lock if self.see(|host| host.disk.is_over()) => Err(ReasonKind::Fenced),
            Request::Lock => self.lock().await,
            // `do_lock again`
            Request::LockAgain if !self.has_dir() => Err(ReasonKind::Fenced),
            Request::LockAgain => self.lock().await,
            Request::StageFile(number) => self.stage_file(number).await,
            Request::KeepPlan => {
                self.ours()?;
                self.room()
            }
            Request::Keep => self.keep().await,
            Request::Rehearse => self.rehearse().await,
            Request::Arm(lease) => self.arm(lease).await,
            Request::Renew(lease) => self.renew(lease).await,
            Request::Cut => self.cut().await,
            Request::ActivateUnit => {
                self.effect(Effect::Activated);
                switch::restart(&self.world, self.host).await
            }
            Request::Unit | Request::Which | Request::Leftovers | Request::Read => Ok(()),
            Request::Confirm => self.confirm().await,
            Request::Revert => self.revert().await,
            Request::Fetch => {
                if self.see(|host| *host.disk.kept.get()) {
                    Ok(())
                } else {
                    Err(ReasonKind::Missing)
                }
            }
            Request::Clean => self.clean(false).await,
            Request::CleanUntouched => self.clean(true).await,
        }
    }

    /// What goes with a yes.
    fn answer(&self, request: Request) -> Reply {
        self.see(|host| match request {
            Request::Unit => Reply::Unit { active: host.liar || host.running.is_some(), invocation: host.invocation },
            // `do_which`
            Request::Which => Reply::Which {
                confirmed: *host.disk.token.get() == Token::Confirmed
                    || *host.disk.lock.get() == Lock::Cleaning { confirmed: true },
                cleaning: host.disk.is_over(),
                new: host
                    .disk
                    .places
                    .iter()
                    .zip(&host.disk.known)
                    .any(|(p, known)| *known.get() && p.get().content == Content::New),
            },
            Request::Leftovers => Reply::Left(host.disk.is_held() || host.disk.session.get().is_some()),
            Request::Read => {
                Reply::Holds { old: host.holds(Content::Old), new: host.contents().contains(&Content::New) }
            }
            _ => Reply::Ok,
        })
    }

    /// Something on a host takes a moment.
    pub(super) async fn pause(&self) {
        pause(&self.world).await;
    }

    pub(super) fn see<T>(&self, look: impl FnOnce(&Host) -> T) -> T {
        self.world.host(self.host, look)
    }

    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        self.world.host_mut(self.host, |host| change(&mut host.disk))
    }

    pub(super) fn effect(&self, effect: Effect) {
        self.world.effect(self.host, effect, self.session.map(|(epoch, pid, _)| (epoch, pid)));
    }

    /// What needs room on the disk, and a disk that works.
    fn room(&self) -> Done {
        if self.see(|host| host.full || host.broken) { Err(ReasonKind::NoSpace) } else { Ok(()) }
    }

    /// `do_lock`
    async fn lock(&mut self) -> Done {
        let mut first = false;
        if !self.see(|host| host.disk.is_held()) {
            // `put "$dir/run"`, then `ln`: another run's lock is not part of this.
            self.room()?;
            self.pause().await;
            if !self.see(|host| host.disk.is_held()) {
                self.write(|disk| disk.lock.set(Lock::Held));
                first = true;
            }
        }
        let taken = self.take_turn().await;
        if taken == Err(ReasonKind::NoSpace) && first && self.see(|host| host.disk.session.get().is_none()) {
            self.world.count("nobody could take a host for want of room");
            self.write(|disk| disk.lock.set(Lock::Free));
        }
        let alone = self.alone;
        self.world.host_mut(self.host, |host| host.late = alone && taken.is_ok());
        taken
    }

    /// `take_turn`, until it is clear.
    async fn take_turn(&mut self) -> Done {
        for _ in 0..5 {
            let before = self.see(|host| *host.disk.session.get());
            if before.is_some() && before == self.session {
                return Ok(());
            }
            if before.is_some_and(|(epoch, ..)| epoch > self.epoch) && !self.world.is(Mutant::NoEpochCheck) {
                self.world.count("fenced");
                return Err(ReasonKind::Fenced);
            }
            // `end_earlier_session`
            if let Some((_, pid, boot)) = before
                && boot == self.see(|host| host.boot)
                && pid != self.pid
                && self.see(|host| host.sessions.contains_key(&pid))
            {
                self.pause().await;
                end(&self.world, self.host, pid);
            }
            self.room()?;
            self.pause().await;
            if !self.see(|host| host.disk.is_held()) {
                return Err(ReasonKind::NoSpace);
            }
            // A name of its own: whoever looked at the same time does not get it.
            if self.see(|host| *host.disk.session.get()) == before || self.world.is(Mutant::LocksWithoutTurns) {
                let session = (self.epoch, self.pid, self.see(|host| host.boot));
                self.session = Some(session);
                self.effect(Effect::Locked);
                self.write(|disk| {
                    disk.session.set(Some(session));
                    disk.lock.sync();
                    disk.sync_dir();
                });
                return Ok(());
            }
            self.world.count("two looked at the lock at the same time");
        }
        Err(ReasonKind::NoSpace)
    }

    /// Whether the run's directory is there.
    fn has_dir(&self) -> bool {
        self.see(|host| host.disk.is_held() || host.disk.session.get().is_some())
    }

    /// `ours`
    fn ours(&self) -> Done {
        if self.see(|host| host.disk.is_over()) && !self.world.is(Mutant::NoEpochCheck) {
            return Err(ReasonKind::Fenced);
        }
        self.ours_over()
    }

    /// `ours over`
    pub(super) fn ours_over(&self) -> Done {
        if self.world.is(Mutant::NoEpochCheck) {
            return Ok(());
        }
        let held = self.see(|host| host.disk.is_held());
        let newest = self.see(|host| *host.disk.session.get());
        if held && newest.is_some() && newest == self.session { Ok(()) } else { Err(ReasonKind::Fenced) }
    }

    /// `do_stage_file`
    async fn stage_file(&self, number: usize) -> Done {
        self.ours()?;
        if self.see(|host| host.disk.places[number].get().content != Content::Old) {
            return Err(ReasonKind::Changed);
        }
        self.room()?;
        self.pause().await;
        // What is known of it is on the disk before anything lies beside the target.
        self.write(|disk| {
            disk.known[number].set(true);
            disk.sync_dir();
        });
        self.pause().await;
        self.effect(Effect::Staged(number));
        self.write(|disk| {
            disk.beside[number].set(true);
            disk.bytes[number].put(false);
            disk.bytes[number].set(true);
            let place = Place { new_beside: true, ..*disk.places[number].get() };
            disk.places[number].set(place);
        });
        self.pause().await;
        if let Err(kind) = self.room() {
            self.write(|disk| {
                forget_beside(disk, number);
                disk.sync_beside(number, true);
                disk.known[number].set(false);
            });
            return Err(kind);
        }
        let synced = !self.world.is(Mutant::NoSync);
        self.write(|disk| disk.sync_beside(number, synced));
        Ok(())
    }

    /// `do_keep`
    async fn keep(&self) -> Done {
        self.ours()?;
        self.room()?;
        self.pause().await;
        self.effect(Effect::Kept);
        self.write(|disk| disk.kept.set(true));
        if !self.world.is(Mutant::KeepsInMemory) {
            self.pause().await;
            self.write(Disk::sync_dir);
        }
        Ok(())
    }

    /// `do_rehearse`
    async fn rehearse(&self) -> Done {
        self.ours()?;
        self.pause().await;
        self.write(|disk| (0..disk.known.len()).for_each(|number| disk.sync_beside(number, true)));
        self.room().map_err(|_| ReasonKind::RehearsalFailed)
    }

    /// `do_arm`
    async fn arm(&self, lease: u64) -> Done {
        self.ours()?;
        if self.see(|host| *host.disk.token.get() == Token::Confirmed) {
            return Err(ReasonKind::Changed);
        }
        switch::wait_for_switch(&self.world, self.host).await;
        let (token, gone_back) = self.see(|host| (*host.disk.token.get(), *host.disk.gone_back.get()));
        if token == Token::Fired && !gone_back {
            if switch::watched(&self.world, self.host) {
                return Err(ReasonKind::Fired);
            }
            self.move_all(Move::Revert).await?;
        }
        self.room()?;
        self.pause().await;
        self.write(|disk| {
            if *disk.uncut.get() == Uncut::Absent {
                disk.uncut.set(Uncut::Yes);
            }
            disk.program.set(true);
        });
        switch::set_lease(&self.world, self.host, lease)?;
        self.pause().await;
        self.write(|disk| {
            if *disk.token.get() == Token::Fired {
                disk.token.set(Token::None);
            }
            disk.gone_back.set(false);
            disk.program.sync();
        });
        self.pause().await;
        self.room()?;
        if self.see(|host| host.systemd) && !self.world.is(Mutant::NoBootUnit) {
            self.write(|disk| disk.units.put(true));
        }
        self.pause().await;
        self.effect(Effect::Armed);
        self.write(|disk| {
            if !self.world.is(Mutant::NeverArmed) {
                disk.token.set(Token::Armed);
            }
            disk.sync_dir();
        });
        let watches = self.world.is(Mutant::NeverArmed) || switch::watched(&self.world, self.host);
        if !watches && !switch::start_watch(&self.world, self.host).await {
            if self.see(|host| *host.disk.token.get() == Token::Fired) {
                return Err(ReasonKind::Fired);
            }
            self.write(|disk| disk.token.set(Token::None));
            return Err(ReasonKind::ServiceFailed);
        }
        Ok(())
    }

    /// `guarded`
    async fn guarded(&self) -> Done {
        let armed = || self.see(|host| *host.disk.token.get() == Token::Armed);
        if !armed()
            || switch::watched(&self.world, self.host)
            || switch::start_watch(&self.world, self.host).await
            || !armed()
        {
            return Ok(());
        }
        Err(ReasonKind::ServiceFailed)
    }

    /// `not_armed`
    fn not_armed(&self) -> Done {
        let fired = self.see(|host| *host.disk.token.get() == Token::Fired);
        Err(if fired { ReasonKind::Fired } else { ReasonKind::Changed })
    }

    fn armed(&self) -> Done {
        if self.see(|host| *host.disk.token.get() == Token::Armed) { Ok(()) } else { self.not_armed() }
    }

    /// `do_renew`
    async fn renew(&self, lease: u64) -> Done {
        self.ours()?;
        self.guarded().await?;
        switch::set_lease(&self.world, self.host, lease)?;
        self.pause().await;
        self.armed()
    }

    /// `do_cut`
    async fn cut(&self) -> Done {
        self.ours()?;
        self.guarded().await?;
        if !self.world.is(Mutant::NeverArmed) {
            self.armed()?;
        }
        if self.see(|host| host.broken) {
            return Err(ReasonKind::ReadOnly);
        }
        self.write(|disk| disk.uncut.put(Uncut::Emptied));
        self.move_all(Move::Cut).await?;
        if self.armed().is_ok() || self.world.is(Mutant::NeverArmed) {
            return Ok(());
        }
        // The switch fired meanwhile, and may have looked before we moved.
        let _said_below = self.move_all(Move::Revert).await;
        self.not_armed()
    }

    /// `do_revert`
    async fn revert(&self) -> Done {
        self.ours()?;
        if self.see(|host| *host.disk.token.get() == Token::Confirmed) {
            self.world.count("a confirmed host was not taken back");
            return Err(ReasonKind::Changed);
        }
        if self.armed().is_ok() {
            if switch::is_due(&self.world, self.host, 120) {
                let _on_a_full_disk = switch::set_lease(&self.world, self.host, 120);
            }
            if !switch::watched(&self.world, self.host) {
                let _on_a_full_disk = switch::start_watch(&self.world, self.host).await;
            }
        }
        switch::wait_for_switch(&self.world, self.host).await;
        self.move_all(Move::Revert).await?;
        if self.room().is_ok() {
            self.write(|disk| disk.gone_back.put(true));
        }
        Ok(())
    }

    async fn move_all(&self, way: Move) -> Done {
        move_all(&self.world, self.host, way, self.session.map(|(epoch, pid, _)| (epoch, pid))).await
    }

    /// `do_confirm`
    async fn confirm(&self) -> Done {
        self.ours()?;
        if self.see(|host| *host.disk.token.get() == Token::Confirmed) {
            return Ok(());
        }
        if self.world.is(Mutant::BlindDisarm) {
            self.write(|disk| disk.token.put(Token::Confirmed));
            return Ok(());
        }
        self.pause().await;
        let known = self.see(|host| host.disk.known.iter().all(|known| *known.get()));
        if known && !self.see(|host| host.holds(Content::New)) {
            self.armed()?;
            return Err(ReasonKind::Changed);
        }
        self.pause().await;
        // One rename: whoever loses the race is told so.
        self.armed()?;
        self.effect(Effect::Confirmed);
        self.write(|disk| disk.token.set(Token::Confirmed));
        self.pause().await;
        self.write(Disk::sync_dir);
        Ok(())
    }
}

/// Something on a host takes a moment.
pub(crate) async fn pause(world: &World) {
    let most = if world.healed.get() { 10 } else { world.knobs.slowness };
    world.kernel.sleep(world.kernel.between(1, most)).await;
}

/// `move`: each change from one content to the other; one that fails stops no other on the way back.
pub(crate) async fn move_all(world: &Rc<World>, host: usize, way: Move, by: Option<(u64, u64)>) -> Done {
    let (from, to) = match way {
        Move::Cut => (Content::Old, Content::New),
        Move::Revert => (Content::New, Content::Old),
    };
    let mut order: Vec<usize> = (0..world.knobs.changes).collect();
    if way == Move::Revert {
        order.reverse();
    }
    let mut bad = Ok(());
    for number in order {
        if !world.host(host, |h| *h.disk.known[number].get()) {
            continue;
        }
        // Between the look and the rename lies a moment in which somebody else may write: no rename looks by itself.
        pause(world).await;
        let place = world.host(host, |h| *h.disk.places[number].get());
        if place.content == to {
            // Whoever moved it may have died before it was on the disk.
            if !world.is(Mutant::MovedIsOnTheDisk) {
                world.host_mut(host, |h| h.disk.places[number].sync());
            }
            continue;
        }
        // `never_cut`
        if way == Move::Revert && place.content != from && place.new_beside {
            continue;
        }
        let (beside, broken) = world.host(host, |h| (*h.disk.beside[number].get(), h.broken));
        if place.content != from {
            bad = Err(ReasonKind::Changed);
        } else if !beside || broken {
            bad = Err(ReasonKind::CommandFailed);
        } else {
            // `cut_file`, `revert_file`: one rename.
            world.effect(host, if way == Move::Cut { Effect::Cut(number) } else { Effect::Reverted(number) }, by);
            world.host_mut(host, |h| {
                let new_beside = way == Move::Revert && h.disk.places[number].get().new_beside;
                h.disk.places[number].set(Place { content: to, new_beside });
            });
            pause(world).await;
            world.host_mut(host, |h| h.disk.places[number].sync());
        }
        if bad.is_err() && way == Move::Cut {
            break;
        }
    }
    bad
}
