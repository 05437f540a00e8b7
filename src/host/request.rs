//! What a host can be asked, and its bytes.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::model::{Activation, RunId, Secret, UnitAction};

use super::PROGRAM;

/// One request. What holds a value carries it as a [`Secret`] and sends it as payload, never as an argument.
pub enum Request<'a> {
    /// Which run this is, and what the host can do. Changes nothing.
    Hello {
        /// The run.
        run: &'a RunId,
        /// The number of this coordinator: each one that takes the run up has a greater one.
        epoch: u64,
        /// Where the host keeps a run's state, empty for the usual place.
        state_dir: &'a str,
        /// Directories searched first for tools, empty for none.
        path: &'a str,
    },
    /// A file, with its metadata.
    ReadFile {
        /// Its path.
        path: &'a str,
        /// Whether a symbolic link is followed.
        follow: bool,
        /// Whether it is to be replaced: then what cannot be is refused.
        replace: bool,
    },
    /// The rows of a query.
    Sqlite {
        /// Path of the database.
        file: &'a str,
        /// The SQL.
        sql: &'a Secret,
    },
    /// A program and its output.
    Command {
        /// Its time limit in seconds.
        seconds: u64,
        /// Its words.
        words: &'a [String],
        /// Its standard input.
        input: &'a Secret,
    },
    /// What systemd says of a unit.
    Unit {
        /// The unit.
        unit: &'a str,
    },
    /// Restart or reload of a unit.
    ActivateUnit {
        /// Which of the two.
        action: UnitAction,
        /// The unit.
        unit: &'a str,
        /// Its time limit in seconds.
        seconds: u64,
    },
    /// Take the host for this run.
    Lock,
    /// Take the host for this run again, by a new session or a newer coordinator; refused where the run does not hold it any more.
    LockAgain,
    /// Store bytes in the run's own directory.
    Keep {
        /// Under this name.
        name: &'a str,
        /// The bytes.
        bytes: &'a Secret,
    },
    /// Bytes that `Keep` stored.
    Fetch {
        /// Their name.
        name: &'a str,
    },
    /// Put new content beside a file, with a backup.
    StageFile {
        /// The number of the change, from 1.
        number: usize,
        /// The real path of the file.
        path: &'a str,
        /// SHA-256 of the content that was read, in hex.
        sha256: &'a str,
        /// The new content.
        content: &'a Secret,
    },
    /// Store the scripts of a change.
    StageScript {
        /// The number of the change, from 1.
        number: usize,
        /// Which scripts they are.
        kind: ScriptKind,
        /// Path of the database, for `Sqlite`.
        target: &'a str,
        /// Names and bytes of the scripts.
        parts: &'a [(&'static str, Secret)],
    },
    /// Try the way back of every change on a copy.
    Rehearse,
    /// From now on the host goes back by itself unless it is confirmed in time.
    Arm {
        /// In how many seconds.
        lease_seconds: u64,
        /// What makes the services take the old content again then.
        services: &'a [Activation],
    },
    /// The coordinator lives, and needs more time.
    Renew {
        /// So many seconds from now.
        lease_seconds: u64,
    },
    /// Put every change in place.
    Cut,
    /// Take every change back.
    Revert,
    /// The decision is to stay.
    Confirm,
    /// What the host holds now.
    Which,
    /// Remove everything that the run left.
    Clean,
    /// The same by the word of a ledger that knows of no cut; refused where there was one that nobody has ended.
    CleanUntouched,
    /// Runs that have left something.
    Leftovers,
    /// Tables of rules that the host holds on to, and whether they are as they were loaded.
    Kept,
    /// The address that our connection comes from, as the host sees it.
    SeenFrom,
    /// End the program.
    Bye,
}

/// Which scripts a change has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// SQL for `sqlite3`.
    Sqlite,
    /// Programs and the values for their standard input.
    Command,
    /// A table of firewall rules: its name, and the transaction that makes it, empty where the table is to go.
    Rules,
}

/// An activation as `serve_again` of the program reads it: `unit ACTION UNIT SECONDS`, or `run SECONDS WORDS` and the words, one a line.
fn service_lines(activation: &Activation) -> Vec<String> {
    match activation {
        Activation::Systemd { action, unit, deadline } => {
            vec![format!("unit {action} {unit} {}", deadline.secs_ceil())]
        }
        Activation::Command { run, deadline } => {
            let mut lines = vec![format!("run {} {}", deadline.secs_ceil(), run.len())];
            lines.extend(run.iter().cloned());
            lines
        }
    }
}

impl Request<'_> {
    /// Its verb.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::ReadFile { .. } => "read-file",
            Self::Sqlite { .. } => "sqlite",
            Self::Command { .. } => "command",
            Self::Unit { .. } => "unit",
            Self::ActivateUnit { .. } => "activate-unit",
            Self::Lock | Self::LockAgain => "lock",
            Self::Keep { .. } => "keep",
            Self::Fetch { .. } => "fetch",
            Self::StageFile { .. } => "stage-file",
            Self::StageScript { .. } => "stage-script",
            Self::Rehearse => "rehearse",
            Self::Arm { .. } => "arm",
            Self::Renew { .. } => "renew",
            Self::Cut => "cut",
            Self::Revert => "revert",
            Self::Confirm => "confirm",
            Self::Which => "which",
            Self::Clean | Self::CleanUntouched => "clean",
            Self::Leftovers => "leftovers",
            Self::Kept => "kept",
            Self::SeenFrom => "seen-from",
            Self::Bye => "bye",
        }
    }

    fn arguments(&self) -> Vec<String> {
        let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        match self {
            Self::Hello { run, epoch, state_dir, path } => {
                vec![run.to_string(), epoch.to_string(), (*state_dir).to_owned(), (*path).to_owned()]
            }
            Self::ReadFile { path, follow, replace } => vec![(*path).to_owned(), yes_no(*follow), yes_no(*replace)],
            Self::Sqlite { file, .. } => vec![(*file).to_owned()],
            Self::Command { seconds, words, .. } => {
                [seconds.to_string()].into_iter().chain(words.iter().cloned()).collect()
            }
            Self::Unit { unit } => vec![(*unit).to_owned()],
            Self::ActivateUnit { action, unit, seconds } => {
                vec![action.to_string(), (*unit).to_owned(), seconds.to_string()]
            }
            Self::Keep { name, .. } | Self::Fetch { name } => vec![(*name).to_owned()],
            Self::StageFile { number, path, sha256, content } => {
                vec![number.to_string(), (*path).to_owned(), (*sha256).to_owned(), hex_sha256(content)]
            }
            Self::StageScript { number, kind, target, parts } => {
                let kind = match kind {
                    ScriptKind::Sqlite => "sqlite",
                    ScriptKind::Command => "command",
                    ScriptKind::Rules => "rules",
                };
                let mut words = vec![number.to_string(), kind.to_owned(), (*target).to_owned()];
                for (name, bytes) in *parts {
                    words.extend([(*name).to_owned(), bytes.len().to_string()]);
                }
                words
            }
            Self::Arm { lease_seconds, services } => {
                let mut words = vec![lease_seconds.to_string()];
                words.extend(services.iter().flat_map(service_lines));
                words
            }
            Self::Renew { lease_seconds } => vec![lease_seconds.to_string()],
            Self::LockAgain => vec!["again".to_owned()],
            Self::CleanUntouched => vec!["untouched".to_owned()],
            Self::Lock
            | Self::Rehearse
            | Self::Cut
            | Self::Revert
            | Self::Confirm
            | Self::Which
            | Self::Clean
            | Self::Leftovers
            | Self::Kept
            | Self::SeenFrom
            | Self::Bye => Vec::new(),
        }
    }

    fn payload(&self) -> Vec<&[u8]> {
        match self {
            Self::Sqlite { sql: bytes, .. }
            | Self::Command { input: bytes, .. }
            | Self::Keep { bytes, .. }
            | Self::StageFile { content: bytes, .. } => vec![bytes.expose()],
            Self::StageScript { parts, .. } => parts.iter().map(|(_, bytes)| bytes.expose()).collect(),
            // The switch is this very program, without us.
            Self::Arm { .. } => vec![PROGRAM.as_bytes()],
            Self::Hello { .. }
            | Self::ReadFile { .. }
            | Self::Unit { .. }
            | Self::ActivateUnit { .. }
            | Self::Lock
            | Self::LockAgain
            | Self::Fetch { .. }
            | Self::Rehearse
            | Self::Renew { .. }
            | Self::Cut
            | Self::Revert
            | Self::Confirm
            | Self::Which
            | Self::Clean
            | Self::CleanUntouched
            | Self::Leftovers
            | Self::Kept
            | Self::SeenFrom
            | Self::Bye => Vec::new(),
        }
    }

    /// The frame of this request.
    ///
    /// # Errors
    /// If an argument has a line break or a NUL, which a frame cannot carry: the argument's position.
    pub(super) fn frame(&self, seq: u64) -> Result<Zeroizing<Vec<u8>>, usize> {
        let (arguments, payload) = (self.arguments(), self.payload());
        if let Some(bad) = arguments.iter().position(|word| word.contains(['\n', '\r', '\0'])) {
            return Err(bad);
        }
        let bytes: usize = payload.iter().map(|part| part.len()).sum();
        let head = format!("{seq} {} {} {bytes}\n", self.verb(), arguments.len());
        let mut frame = Zeroizing::new(Vec::with_capacity(head.len() + bytes + 4_096));
        frame.extend_from_slice(head.as_bytes());
        for word in &arguments {
            frame.extend_from_slice(word.as_bytes());
            frame.push(b'\n');
        }
        for part in payload {
            frame.extend_from_slice(part);
        }
        Ok(frame)
    }
}

/// What the host compares with what it wrote.
fn hex_sha256(content: &Secret) -> String {
    Sha256::digest(content.expose()).iter().map(|byte| format!("{byte:02x}")).collect()
}
