//! What an inventory says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::model::{Address, Become, GroupName, HostName};
use crate::yaml::{Diagnostic, Diagnostics};

use super::sources;

/// The hosts and groups of one or more files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The hosts by name.
    pub hosts: BTreeMap<HostName, Host>,
    /// Whom each group names, the hosts of its children too. `all` and `ungrouped` are always there.
    pub groups: BTreeMap<GroupName, BTreeSet<HostName>>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Name or address; the host's own name where none is given.
    pub address: String,
    /// Others by which its peers may know it: those of a second network, of the other family.
    pub other_addresses: BTreeSet<Address>,
    /// The port of its sshd.
    pub port: u16,
    /// Who we log in as; the operator's own name where none is given.
    pub user: Option<String>,
    /// The private key; the agent's where none is given.
    pub identity_file: Option<PathBuf>,
    /// Where its key is looked up; `~/.ssh/known_hosts` where none is given.
    pub known_hosts: Option<PathBuf>,
    /// The hosts through which it is reached, the nearest to us first.
    pub jump: Vec<Jump>,
    /// How the program gets its rights there, unless the playbook says otherwise.
    pub become_user: Become,
    /// What selectors can ask for.
    pub labels: BTreeMap<String, String>,
    /// Where the host keeps a run's state, empty for the usual place.
    pub state_dir: String,
    /// Directories searched first for tools, empty for none.
    pub path: String,
}

/// The host through which another is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Jump {
    /// One of the inventory.
    Host(HostName),
    /// Another one: `[user@]address[:port]`.
    Other {
        /// Who we log in as there.
        user: Option<String>,
        /// Name or address.
        address: String,
        /// The port of its sshd.
        port: u16,
    },
}

impl Inventory {
    /// Reads a file, or all files of a directory together: YAML, INI, what `ansible-inventory --list` prints, and programs that print
    /// it; `group_vars` and `host_vars` beside them too. Relative paths in it are relative to it.
    ///
    /// # Errors
    /// All that is wrong with all files; otherwise the warnings come with the inventory.
    pub fn read(path: &Path) -> Result<(Self, Vec<Diagnostic>), Diagnostics> {
        sources::read(path)
    }

    /// Reads a text; its format is that of the file's name.
    ///
    /// # Errors
    /// As [`Inventory::read`].
    pub fn parse(file: &str, text: &str) -> Result<(Self, Vec<Diagnostic>), Diagnostics> {
        sources::parse(file, text)
    }
}
