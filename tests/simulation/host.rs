//! What a host has: files on a disk, processes, a service, clocks. What the program on it does with them is in `program.rs`.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::disk::Synced;
use super::kernel::{Kernel, Queue};
use super::knobs::{Knobs, Manner};
use super::wire::Told;

/// What a target holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    Old,
    New,
    /// Somebody else's.
    Other,
    /// Neither whole.
    Torn,
}

/// A target, and whether `new` lies beside it: the cut's rename moves it from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) content: Content,
    pub(crate) new_beside: bool,
}

/// The file `lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lock {
    Free,
    Held,
    /// The run is being cleaned away, and this is how it ended here.
    Cleaning {
        confirmed: bool,
    },
}

/// The one file that is called `armed`, `confirmed` or `fired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Token {
    None,
    Armed,
    Confirmed,
    Fired,
}

/// What `uncut` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Uncut {
    Absent,
    Yes,
    /// A cut was begun.
    Emptied,
}

/// Who holds the host: epoch, shell, and which start of the host.
pub(crate) type Holder = (u64, u64, u64);

/// Everything on the disk that has to do with a run.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Disk {
    /// The targets, and what lies beside each.
    pub(crate) places: Vec<Synced<Place>>,
    /// `keep` and `old` beside each target.
    pub(crate) beside: Vec<Synced<bool>>,
    /// Whether the bytes of `new` and `keep` are on the disk and not only their names.
    pub(crate) bytes: Vec<Synced<bool>>,
    /// `c1`, `c2`, …: what is known of each change.
    pub(crate) known: Vec<Synced<bool>>,
    pub(crate) lock: Synced<Lock>,
    pub(crate) session: Synced<Option<Holder>>,
    pub(crate) token: Synced<Token>,
    /// `record` says `reverted`.
    pub(crate) gone_back: Synced<bool>,
    /// Which start of the host, and until when by its clock.
    pub(crate) lease: Synced<Option<(u64, u64)>>,
    pub(crate) uncut: Synced<Uncut>,
    /// The program and the list of services.
    pub(crate) program: Synced<bool>,
    /// The unit that goes back at boot.
    pub(crate) units: Synced<bool>,
    /// The values of the run.
    pub(crate) kept: Synced<bool>,
}

impl Disk {
    fn new(changes: usize) -> Self {
        let place = Place { content: Content::Old, new_beside: false };
        Self {
            places: vec![Synced::new(place); changes],
            beside: vec![Synced::new(false); changes],
            bytes: vec![Synced::new(false); changes],
            known: vec![Synced::new(false); changes],
            lock: Synced::new(Lock::Free),
            session: Synced::new(None),
            token: Synced::new(Token::None),
            gone_back: Synced::new(false),
            lease: Synced::new(None),
            uncut: Synced::new(Uncut::Absent),
            program: Synced::new(false),
            units: Synced::new(false),
            kept: Synced::new(false),
        }
    }

    /// Whether the run holds the host.
    pub(crate) fn is_held(&self) -> bool {
        *self.lock.get() != Lock::Free
    }

    /// Whether it was taken, and nothing came after that.
    fn is_only_locked(&self) -> bool {
        *self.lock.get() == Lock::Held
            && !*self.kept.get()
            && *self.token.get() == Token::None
            && self.known.iter().all(|known| !known.get())
    }

    /// Whether the run is being cleaned away.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.lock.get(), Lock::Cleaning { .. })
    }

    /// Nothing of a run is there, also after a power cut.
    pub(crate) fn is_clean(&self) -> bool {
        fn never<T: Clone + PartialEq>(file: &Synced<T>, value: &T) -> bool {
            file.possible().all(|possible| possible == value)
        }
        self.places.iter().all(|place| place.possible().all(|place| !place.new_beside))
            && self.beside.iter().chain(&self.known).all(|file| never(file, &false))
            && [&self.gone_back, &self.program, &self.units, &self.kept].iter().all(|file| never(file, &false))
            && never(&self.lock, &Lock::Free)
            && never(&self.session, &None)
            && never(&self.token, &Token::None)
    }

    /// `durable $dir`: every name in the run's directory.
    pub(crate) fn sync_dir(&mut self) {
        self.session.sync();
        self.token.sync();
        self.gone_back.sync();
        self.lease.sync();
        self.uncut.sync();
        self.program.sync();
        self.kept.sync();
        self.known.iter_mut().for_each(Synced::sync);
    }

    /// `durable` of what lies beside a target, and of its directory.
    pub(crate) fn sync_beside(&mut self, number: usize, bytes_too: bool) {
        if bytes_too {
            self.bytes[number].sync();
        }
        self.beside[number].sync();
        self.places[number].sync();
    }

    /// The power is cut. Says how many files lost something.
    pub(crate) fn cut(&mut self, kernel: &Kernel) -> usize {
        let pick = |most| kernel.between(0, most);
        let mut lost = 0;
        for bytes in &mut self.bytes {
            lost += usize::from(bytes.cut(pick));
        }
        for (place, bytes) in self.places.iter_mut().zip(&self.bytes) {
            lost += usize::from(place.cut(pick));
            // A name of bytes that never came to the disk.
            if place.get().content == Content::New && !bytes.get() {
                place.put(Place { content: Content::Torn, ..*place.get() });
            }
        }
        for file in self.beside.iter_mut().chain(&mut self.known) {
            lost += usize::from(file.cut(pick));
        }
        for file in [&mut self.gone_back, &mut self.program, &mut self.units, &mut self.kept] {
            lost += usize::from(file.cut(pick));
        }
        lost + usize::from(self.lock.cut(pick))
            + usize::from(self.session.cut(pick))
            + usize::from(self.token.cut(pick))
            + usize::from(self.lease.cut(pick))
            + usize::from(self.uncut.cut(pick))
    }
}

/// A session: the shell that serves one connection.
pub(crate) struct Session {
    pub(crate) told: Rc<Queue<Told>>,
    pub(crate) operator: usize,
}

/// A host.
pub(crate) struct Host {
    pub(crate) disk: Disk,
    pub(crate) systemd: bool,
    pub(crate) manner: Manner,
    pub(crate) liar: bool,
    /// Whether it has power.
    pub(crate) up: bool,
    /// Whether it was taken last by a request whose sender had gone.
    pub(crate) late: bool,
    /// Whether it is starting: what comes before the services is not through.
    pub(crate) starting: bool,
    /// Which start this is.
    pub(crate) boot: u64,
    /// When it was started, by nobody's clock.
    pub(crate) started: u64,
    /// Its clock goes so much too fast, in a million; too slow, if negative.
    pub(crate) drift: i64,
    /// How far its wall clock is from the truth, in seconds.
    pub(crate) wall: i64,
    pub(crate) sessions: BTreeMap<u64, Session>,
    /// The process that watches the time, and whether it has written down who it is.
    pub(crate) watcher: Option<(u64, bool)>,
    /// What the service runs with, while it runs.
    pub(crate) running: Option<Vec<Content>>,
    /// Which start of the service this is.
    pub(crate) invocation: u64,
    pub(crate) full: bool,
    pub(crate) broken: bool,
}

impl Host {
    pub(crate) fn new(kernel: &Kernel, knobs: &Knobs, number: usize) -> Self {
        let drift = i64::try_from(kernel.between(0, 2 * knobs.drift)).expect("it is small");
        Self {
            disk: Disk::new(knobs.changes),
            systemd: kernel.chance(knobs.systemd),
            manner: if number == 0 { knobs.manner } else { Manner::Fine },
            liar: knobs.liar && number + 1 == knobs.hosts && knobs.hosts > 1,
            up: true,
            late: false,
            starting: false,
            boot: 1,
            started: 0,
            drift: drift - i64::try_from(knobs.drift).expect("it is small"),
            wall: 0,
            sessions: BTreeMap::new(),
            watcher: None,
            running: Some(vec![Content::Old; knobs.changes]),
            invocation: 1,
            full: false,
            broken: false,
        }
    }

    pub(crate) fn contents(&self) -> Vec<Content> {
        self.disk.places.iter().map(|place| place.get().content).collect()
    }

    pub(crate) fn holds(&self, content: Content) -> bool {
        self.disk.places.iter().all(|place| place.get().content == content)
    }

    pub(crate) fn runs(&self, content: Content) -> bool {
        self.running.as_ref().is_some_and(|running| running.iter().all(|held| *held == content))
    }

    /// A `lock` came when who sent it had gone, and holds the host: the next run takes it away (`cli::late`).
    pub(crate) fn is_late(&self) -> bool {
        self.late && self.disk.is_only_locked()
    }

    /// Its clock in whole seconds, since it was started: also those in which it slept (program.sh, `clock`).
    pub(crate) fn clock(&self, now: u64) -> u64 {
        let since = i128::from(now - self.started);
        u64::try_from((since + since * i128::from(self.drift) / 1_000_000) / 1_000).expect("time goes on")
    }

    /// Whether the new value proves itself in the running service, or the old one (src/probe/judge.rs: both values are tried).
    pub(crate) fn proves(&self, wanted: Content) -> bool {
        if self.liar {
            return true;
        }
        let fine = self.manner == Manner::Fine || wanted == Content::Old;
        fine && self.runs(wanted)
    }
}
