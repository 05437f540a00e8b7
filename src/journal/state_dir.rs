//! The directory that remembers: its rights, its lock and its key.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{FingerprintKey, RunId};

use super::JournalError;

/// The directory that remembers.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

/// Held as long as one process works with the state; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    file: File,
    holder: String,
}

/// Let go of by name: a program that is being started just now may still have the file, until it is that program.
impl Drop for StateLock {
    fn drop(&mut self) {
        let _closed_anyway = self.file.unlock();
    }
}

impl StateLock {
    /// Says which run the process works on, to whoever looks.
    pub fn works_on(&self, run: &RunId) {
        // Where that cannot be written it is only not said.
        let _full = self.file.write_all_at(format!("{}\n{run}\n", self.holder).as_bytes(), 0);
    }
}

/// Whoever works with the state directory now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtWork {
    /// Its own words: who, process, since when.
    pub holder: String,
    /// On which run, once it has said so.
    pub run: Option<RunId>,
}

/// How often somebody who only looks at the lock is waited for.
const LOOKS_MAX: u32 = 100;

/// How long each time: a look is a few system calls.
const LOOK: Duration = Duration::from_millis(10);

/// Takes the lock, past those who only look at it.
fn take(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOOKS_MAX {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            taken => return taken,
        }
        // It is shared with whoever looks, and not with whoever has it.
        file.try_lock_shared()?;
        file.unlock().map_err(TryLockError::Error)?;
        std::thread::sleep(LOOK);
    }
    Err(TryLockError::WouldBlock)
}

impl StateDir {
    /// Opens the directory, making it if need be.
    ///
    /// # Errors
    /// If it cannot be made or written, is another user's, or if others may look into it.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let made: Vec<&Path> = path.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.exists()).collect();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        // What is remembered in a directory whose name a power cut takes away is not remembered.
        for parent in made.into_iter().filter_map(Path::parent) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent).and_then(|dir| dir.sync_all()).map_err(io)?;
        }
        let metadata = fs::metadata(path).map_err(io)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(JournalError::Foreign { path: path.to_owned(), owner: metadata.uid() });
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(JournalError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
        }
        Ok(Self(path.to_owned()))
    }

    /// A file in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Takes the directory for one process. `holder` says who that is, to whoever comes second.
    ///
    /// # Errors
    /// [`JournalError::Locked`] with the holder's words.
    pub fn lock(&self, holder: &str) -> Result<StateLock, JournalError> {
        let path = self.join("lock");
        let io = |source| JournalError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
        match take(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut words = String::new();
                // The holder may be writing its words just now; then its name is not known, and that it holds is.
                let _read = file.read_to_string(&mut words);
                return Err(JournalError::Locked { holder: words.trim().replace('\n', ", run ") });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(io)?;
        Ok(StateLock { file, holder: holder.to_owned() })
    }

    /// Who works with the directory now, if anybody does. Nobody waits for whoever asks.
    #[must_use]
    pub fn at_work(&self) -> Option<AtWork> {
        let mut file = File::open(self.join("lock")).ok()?;
        let looked = file.try_lock_shared();
        if looked.is_ok() {
            let _closed_anyway = file.unlock();
        }
        let Err(TryLockError::WouldBlock) = looked else { return None };
        let mut words = String::new();
        let _unreadable = file.read_to_string(&mut words);
        let mut lines = words.lines();
        let holder = lines.next().unwrap_or_default().to_owned();
        Some(AtWork { holder, run: lines.next().and_then(|run| run.parse().ok()) })
    }

    /// Whether the key of all fingerprints was made before.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.join("fingerprint.key").exists()
    }

    /// The key of all fingerprints; `random` makes it the first time.
    ///
    /// # Errors
    /// If it cannot be read or made, or is not a key.
    pub fn fingerprint_key(
        &self,
        random: impl FnOnce() -> [u8; FingerprintKey::BYTES],
    ) -> Result<FingerprintKey, JournalError> {
        let path = self.join("fingerprint.key");
        let io = |source| JournalError::Io { path: path.clone(), source };
        let mut bytes = [0; FingerprintKey::BYTES];
        match File::open(&path) {
            Ok(mut file) => file.read_exact(&mut bytes).map_err(io)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bytes = random();
                // Written beside and renamed, so that a crash never leaves half a key.
                let part = self.join("fingerprint.key.part");
                let mut file =
                    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(io)?;
                file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
                fs::rename(&part, &path).map_err(io)?;
                File::open(&self.0).and_then(|dir| dir.sync_all()).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        }
        Ok(FingerprintKey::new(bytes))
    }
}
