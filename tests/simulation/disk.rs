//! What a power cut leaves of one file: what was synced, or something later.

/// The content of one file, or of one name in a directory.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Synced<T> {
    /// What is on the disk for sure.
    disk: T,
    /// What was written since: after a power cut any of it may be there.
    later: Vec<T>,
}

impl<T: Clone + PartialEq> Synced<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { disk: value, later: Vec::new() }
    }

    /// What whoever reads it sees.
    pub(crate) fn get(&self) -> &T {
        self.later.last().unwrap_or(&self.disk)
    }

    /// Written, and in memory only.
    pub(crate) fn set(&mut self, value: T) {
        if *self.get() != value {
            self.later.push(value);
        }
    }

    /// Written, and on the disk.
    pub(crate) fn put(&mut self, value: T) {
        self.set(value);
        self.sync();
    }

    /// On the disk from here on.
    pub(crate) fn sync(&mut self) {
        if let Some(value) = self.later.pop() {
            self.disk = value;
            self.later.clear();
        }
    }

    /// What may be there after a power cut that happens now.
    pub(crate) fn possible(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.disk).chain(&self.later)
    }

    /// The power is cut. Says whether something was lost.
    pub(crate) fn cut(&mut self, pick: impl FnOnce(u64) -> u64) -> bool {
        let kept = usize::try_from(pick(self.later.len() as u64)).expect("it is small");
        let lost = kept < self.later.len();
        if kept > 0 {
            self.disk = self.later[kept - 1].clone();
        }
        self.later.clear();
        lost
    }
}
