//! Virtual time, tasks and one source of randomness: everything that happens in a simulation happens here, one thing at a time.
//!
//! **Invariant:** the same seed gives the same order of the same events. No clock, no thread, no map without an order.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A machine: what loses its power, sleeps or is stopped as a whole.
pub(crate) type Machine = usize;

/// A process on a machine: what is killed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) machine: Machine,
    pub(crate) number: u64,
}

/// The one who makes faults, who never sleeps and is never stopped.
pub(crate) const OUTSIDE: Machine = usize::MAX;

type TaskId = u64;

struct Task {
    process: Process,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// The kernel of a simulated world.
pub(crate) struct Kernel {
    now: Cell<u64>,
    number: Cell<u64>,
    rng: Cell<u64>,
    timers: RefCell<BinaryHeap<Reverse<(u64, u64, TaskId)>>>,
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    current: Cell<(TaskId, Process)>,
    doomed: Cell<bool>,
    /// Machines on which nothing runs, and since when.
    frozen: RefCell<BTreeMap<Machine, u64>>,
    /// How long each machine slept: its steady clock did not go on meanwhile.
    slept: RefCell<BTreeMap<Machine, u64>>,
    events: Cell<u64>,
}

impl Kernel {
    pub(crate) fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            now: Cell::new(0),
            number: Cell::new(0),
            rng: Cell::new(seed),
            timers: RefCell::default(),
            tasks: RefCell::default(),
            current: Cell::new((0, Process { machine: OUTSIDE, number: 0 })),
            doomed: Cell::new(false),
            frozen: RefCell::default(),
            slept: RefCell::default(),
            events: Cell::new(0),
        })
    }

    /// Milliseconds since the world began. No process can see this clock.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// How many events there were.
    pub(crate) fn events(&self) -> u64 {
        self.events.get()
    }

    /// A number that was not given before.
    pub(crate) fn fresh(&self) -> u64 {
        self.number.set(self.number.get() + 1);
        self.number.get()
    }

    /// A random number (splitmix64).
    pub(crate) fn random(&self) -> u64 {
        let state = self.rng.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.rng.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number between the two, both included.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.random() % (most - least + 1)
    }

    /// True so many times in a thousand.
    pub(crate) fn chance(&self, in_a_thousand: u64) -> bool {
        self.random() % 1_000 < in_a_thousand
    }

    /// The process that is running just now.
    pub(crate) fn process(&self) -> Process {
        self.current.get().1
    }

    /// The steady clock of a machine: it does not go on while the machine sleeps.
    pub(crate) fn steady(&self, machine: Machine) -> u64 {
        self.now() - self.slept.borrow().get(&machine).copied().unwrap_or(0)
    }

    /// Begins a task.
    pub(crate) fn spawn(&self, process: Process, future: impl Future<Output = ()> + 'static) {
        let id = self.fresh();
        self.tasks.borrow_mut().insert(id, Task { process, future: Box::pin(future) });
        self.wake(id, self.now());
    }

    fn wake(&self, task: TaskId, at: u64) {
        let number = self.fresh();
        self.timers.borrow_mut().push(Reverse((at, number, task)));
    }

    /// Ends tasks as `kill -9` does: nothing of theirs runs any more.
    pub(crate) fn kill(&self, doomed: impl Fn(Process) -> bool) {
        let ids: Vec<TaskId> =
            self.tasks.borrow().iter().filter(|(_, task)| doomed(task.process)).map(|(id, _)| *id).collect();
        // Dropped one by one: what a task holds may wake others.
        for id in ids {
            let task = self.tasks.borrow_mut().remove(&id);
            drop(task);
        }
        if doomed(self.process()) {
            self.doomed.set(true);
        }
    }

    /// Nothing runs on this machine until it is thawed.
    pub(crate) fn freeze(&self, machine: Machine) {
        self.frozen.borrow_mut().entry(machine).or_insert(self.now());
    }

    /// A machine goes on. If it slept, and was not only stopped, its steady clock did not go on meanwhile.
    pub(crate) fn thaw(&self, machine: Machine, slept: bool) {
        let frozen = self.frozen.borrow_mut().remove(&machine);
        if let Some(since) = frozen {
            *self.slept.borrow_mut().entry(machine).or_default() += if slept { self.now() - since } else { 0 };
            let ids: Vec<TaskId> = self
                .tasks
                .borrow()
                .iter()
                .filter(|(_, task)| task.process.machine == machine)
                .map(|(id, _)| *id)
                .collect();
            ids.into_iter().for_each(|id| self.wake(id, self.now()));
        }
    }

    pub(crate) fn is_frozen(&self, machine: Machine) -> bool {
        self.frozen.borrow().contains_key(&machine)
    }

    /// Lets the next event happen. Says whether there was one.
    pub(crate) fn step(&self) -> bool {
        let Some(Reverse((at, _, id))) = self.timers.borrow_mut().pop() else { return false };
        self.now.set(self.now().max(at));
        let Some(mut task) = self.tasks.borrow_mut().remove(&id) else { return true };
        if self.is_frozen(task.process.machine) {
            self.tasks.borrow_mut().insert(id, task);
            return true;
        }
        self.events.set(self.events.get() + 1);
        self.current.set((id, task.process));
        self.doomed.set(false);
        let polled = task.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() && !self.doomed.get() {
            self.tasks.borrow_mut().insert(id, task);
        }
        true
    }

    /// Waits, on the steady clock of whoever waits.
    pub(crate) async fn sleep(&self, ms: u64) {
        let machine = self.process().machine;
        let until = self.steady(machine) + ms;
        let mut set_for = 0;
        poll_fn(|_| {
            let now = self.steady(machine);
            if now >= until {
                return Poll::Ready(());
            }
            // Once, unless it went off while the machine was frozen, or the machine's clock stood still since.
            let at = self.now() + (until - now);
            if set_for <= self.now() || set_for != at {
                set_for = at;
                self.wake(self.current.get().0, at);
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits for something, so long and no longer.
    pub(crate) async fn timeout<T>(&self, ms: u64, future: impl Future<Output = T>) -> Option<T> {
        let (mut future, mut sleep) = (pin!(future), pin!(self.sleep(ms)));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

/// Values on their way from one task to another.
pub(crate) struct Queue<T> {
    kernel: Rc<Kernel>,
    values: RefCell<VecDeque<T>>,
    waiting: RefCell<Vec<TaskId>>,
}

impl<T> Queue<T> {
    pub(crate) fn new(kernel: &Rc<Kernel>) -> Rc<Self> {
        Rc::new(Self { kernel: Rc::clone(kernel), values: RefCell::default(), waiting: RefCell::default() })
    }

    pub(crate) fn put(&self, value: T) {
        self.values.borrow_mut().push_back(value);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(|task| self.kernel.wake(task, self.kernel.now()));
    }

    pub(crate) fn try_take(&self) -> Option<T> {
        self.values.borrow_mut().pop_front()
    }

    /// Ready when there is a value.
    pub(crate) fn poll_take(&self) -> Poll<T> {
        match self.try_take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.waiting.borrow_mut().push(self.kernel.current.get().0);
                Poll::Pending
            }
        }
    }

    pub(crate) async fn take(&self) -> T {
        poll_fn(|_| self.poll_take()).await
    }
}

/// One at a time, as `tokio::sync::Mutex`.
pub(crate) struct Turn<T> {
    value: RefCell<Option<Box<T>>>,
    free: Rc<Queue<()>>,
}

/// The value of whoever's turn it is.
pub(crate) struct Turned<'a, T> {
    turn: &'a Turn<T>,
    value: Option<Box<T>>,
}

impl<T> Turn<T> {
    pub(crate) fn new(kernel: &Rc<Kernel>, value: T) -> Self {
        Self { value: RefCell::new(Some(Box::new(value))), free: Queue::new(kernel) }
    }

    pub(crate) fn try_lock(&self) -> Option<Turned<'_, T>> {
        let value = self.value.borrow_mut().take()?;
        Some(Turned { turn: self, value: Some(value) })
    }

    pub(crate) async fn lock(&self) -> Turned<'_, T> {
        loop {
            if let Some(turned) = self.try_lock() {
                return turned;
            }
            self.free.take().await;
        }
    }
}

impl<T> std::ops::Deref for Turned<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> std::ops::DerefMut for Turned<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Turned<'_, T> {
    fn drop(&mut self) {
        *self.turn.value.borrow_mut() = self.value.take();
        if !self.turn.free.waiting.borrow().is_empty() {
            self.turn.free.put(());
        }
    }
}
