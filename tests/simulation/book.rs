//! A state directory: the journal on a disk that fails, and the lock that the kernel lets go of when its holder ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockturn::model::{Decision, Event};

use super::world::World;

/// Around which part of an append its process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    BeforeWrite,
    Writing,
    AfterWrite,
    AfterEffect,
}

/// How an append fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// ENOSPC: nothing is there.
    Append,
    /// EIO at fsync: it may be there or not, and a second fsync would say nothing about the first.
    Sync,
}

/// A state directory.
pub(crate) struct Book {
    pub(crate) number: usize,
    events: RefCell<Vec<Event>>,
    held: Cell<bool>,
    writing: RefCell<Option<Vec<Event>>>,
    pub(crate) fails: Cell<Option<Failure>>,
    /// The process is killed when so many appends were made.
    pub(crate) dies: Cell<Option<(u64, When)>>,
    appends: Cell<u64>,
}

impl Book {
    pub(crate) fn new(number: usize) -> Rc<Self> {
        Self::with(number, Vec::new())
    }

    fn with(number: usize, events: Vec<Event>) -> Rc<Self> {
        Rc::new(Self {
            number,
            events: RefCell::new(events),
            held: Cell::new(false),
            writing: RefCell::default(),
            fails: Cell::new(None),
            dies: Cell::new(None),
            appends: Cell::new(0),
        })
    }

    /// What is durable of it, on another machine.
    pub(crate) fn copy(&self, number: usize) -> Rc<Self> {
        Self::with(number, self.events.borrow().clone())
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// `StateDir::lock`
    pub(crate) fn lock(&self) -> bool {
        !self.held.replace(true)
    }

    /// `Journal::append`: one transaction, all or none, on the disk when it returns.
    pub(crate) async fn append(&self, world: &Rc<World>, events: Vec<Event>, die: &dyn Fn(u64)) -> Result<(), Failure> {
        let kernel = &world.kernel;
        if events.iter().any(|event| matches!(event, Event::Decided { decision: Decision::Commit, .. })) {
            let found = world.eyes.borrow().committing(world, self.number);
            world.violated(found);
        }
        self.appends.set(self.appends.get() + 1);
        let dies = self.dies.get().filter(|(at, _)| *at == self.appends.get()).map(|(_, when)| when);
        let die_here = async |when| {
            if dies == Some(when) {
                self.dies.set(None);
                die(0);
                std::future::pending::<()>().await;
            }
        };
        die_here(When::BeforeWrite).await;
        *self.writing.borrow_mut() = Some(events);
        kernel.sleep(kernel.between(1, 6)).await;
        die_here(When::Writing).await;
        match self.fails.take() {
            Some(Failure::Append) => {
                self.writing.take();
                return Err(Failure::Append);
            }
            Some(Failure::Sync) => {
                self.settle(world);
                return Err(Failure::Sync);
            }
            None => self.write(world),
        }
        die_here(When::AfterWrite).await;
        if dies == Some(When::AfterEffect) {
            self.dies.set(None);
            die(kernel.between(1, 200));
        }
        Ok(())
    }

    fn write(&self, world: &World) {
        for event in self.writing.take().into_iter().flatten() {
            world.recorded(self.number, &event);
            self.events.borrow_mut().push(event);
        }
    }

    /// What was not synced is there or not. (Half of it is not: a torn transaction is none.)
    fn settle(&self, world: &World) {
        if self.writing.borrow().is_none() {
            return;
        }
        if world.kernel.chance(500) {
            self.write(world);
        } else {
            world.count("journal lost its tail");
            self.writing.take();
        }
    }

    /// Its holder has ended, somehow.
    pub(crate) fn let_go(&self, world: &World) {
        self.settle(world);
        self.held.set(false);
    }
}
