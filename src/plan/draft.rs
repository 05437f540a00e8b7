//! A playbook whose selectors have become hosts: what is to be changed where, before any host was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{
    Activation, Become, Check, Expect, FileEdit, Generator, HostName, Placement, PlannedProbe, Playbook, Probe, Put,
    SecretName, Selector, SqliteRow, Strategy, Target, ValueId,
};

/// What is to be changed where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Each value and the shape of the new one.
    pub values: BTreeMap<ValueId, Generator>,
    /// Each host that takes part.
    pub hosts: BTreeMap<HostName, DraftHost>,
    /// Hosts in the order in which they activate.
    pub activate_batches: Vec<Vec<HostName>>,
}

/// What is to happen on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftHost {
    /// The playbook's word on rights; without one the inventory's holds.
    pub become_user: Option<Become>,
    /// Units that end where hosts are forgotten, `:host` for the name of each.
    pub stop: Vec<String>,
    /// What is changed.
    pub changes: Vec<DraftChange>,
    /// What makes the services take it.
    pub activate: Vec<Activation>,
    /// What proves it.
    pub verify: Vec<PlannedProbe>,
}

/// One thing to change, as it is to be read first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftChange {
    /// A file.
    File {
        /// Its path in the playbook.
        path: String,
        /// Whether a symbolic link is followed.
        follow: bool,
        /// What is put into it.
        edits: Vec<FileEdit>,
    },
    /// A database.
    Sqlite {
        /// Its path.
        file: String,
        /// What is written.
        rows: Vec<SqliteRow>,
    },
    /// A program that stores one value.
    Command {
        /// Prints the value.
        read: Vec<String>,
        /// Stores it.
        write: Vec<String>,
        /// Which value.
        value: ValueId,
    },
}

/// Why a playbook does not fit the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftError {
    /// The keys of the playbook that lead to the place, `targets/0/hosts`.
    pub path: String,
    /// One phrase.
    pub message: String,
}

impl fmt::Display for DraftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for DraftError {}

/// Who a selector names.
type Select<'a> = &'a dyn Fn(&Selector) -> Result<BTreeSet<HostName>, String>;

/// Resolves a playbook against the hosts that its selectors name.
///
/// # Errors
/// All that does not fit, together.
pub fn draft(playbook: &Playbook, select: Select<'_>) -> Result<Draft, Vec<DraftError>> {
    let mut drafting =
        Drafting { playbook, select, errors: Vec::new(), hosts: BTreeMap::new(), owners: BTreeMap::new() };
    drafting.refuse_other_strategies();
    drafting.find_owners();
    let key = if playbook.forgets { "forget" } else { "targets" };
    for (index, target) in playbook.targets.iter().enumerate() {
        drafting.add_target(target, &format!("{key}/{index}"));
    }
    let activate_batches = drafting.batches();
    let values = drafting.values();
    if drafting.errors.is_empty() {
        Ok(Draft { values, hosts: drafting.hosts, activate_batches })
    } else {
        Err(drafting.errors)
    }
}

struct Drafting<'a> {
    playbook: &'a Playbook,
    select: Select<'a>,
    errors: Vec<DraftError>,
    hosts: BTreeMap<HostName, DraftHost>,
    /// Whose values a `per:` secret has.
    owners: BTreeMap<SecretName, BTreeSet<HostName>>,
}

impl Drafting<'_> {
    /// The same mistake on many hosts is one mistake.
    fn error(&mut self, path: &str, message: String) {
        let error = DraftError { path: path.to_owned(), message };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn refuse_other_strategies(&mut self) {
        match self.playbook.rollout.strategy {
            Strategy::Lockstep => {}
            Strategy::Waves | Strategy::Overlap => {
                let message = "this version moves a fleet in `lockstep` only; `waves` and `overlap` are not built yet";
                self.error("rollout/strategy", message.to_owned());
            }
        }
    }

    fn named(&mut self, selector: &Selector, path: &str) -> BTreeSet<HostName> {
        match (self.select)(selector) {
            Ok(hosts) if hosts.is_empty() => {
                self.error(path, format!("`{selector}` names no host"));
                hosts
            }
            Ok(hosts) => hosts,
            Err(error) => {
                self.error(path, error);
                BTreeSet::new()
            }
        }
    }

    fn find_owners(&mut self) {
        for (secret, spec) in &self.playbook.secrets {
            if let Some(per) = &spec.per {
                let owners = self.named(per, &format!("secrets/{secret}/per"));
                self.owners.insert(secret.clone(), owners);
            }
        }
    }

    fn add_target(&mut self, target: &Target, path: &str) {
        for host in self.named(&target.hosts, &format!("{path}/hosts")) {
            let mut draft = self.hosts.remove(&host).unwrap_or_default();
            draft.become_user = target.become_user.or(draft.become_user);
            for (index, put) in target.put.iter().enumerate() {
                self.add_put(&mut draft, &host, put, &format!("{path}/put/{index}"));
            }
            draft.stop.extend(target.stop.iter().cloned());
            for activation in &target.activate {
                if !draft.activate.contains(activation) {
                    draft.activate.push(activation.clone());
                }
            }
            for (index, probe) in target.verify.iter().enumerate() {
                self.add_probe(&mut draft, &host, target, probe, &format!("{path}/verify/{index}"));
            }
            self.hosts.insert(host, draft);
        }
    }

    /// The values that a put or a probe means on this host, each with the host that it is about.
    fn values_meant(
        &mut self,
        host: &HostName,
        secret: &SecretName,
        for_each: Option<&Selector>,
        path: &str,
    ) -> Vec<(HostName, ValueId)> {
        let owners = self.owners.get(secret).cloned();
        let value = |owner: Option<&HostName>| ValueId { secret: secret.clone(), owner: owner.cloned() };
        match (for_each, owners) {
            (None, None) => vec![(host.clone(), value(None))],
            (None, Some(owners)) if owners.contains(host) => vec![(host.clone(), value(Some(host)))],
            (None, Some(_)) => {
                let message =
                    format!("`{secret}` is a value per host and `{host}` has none of its own; say `for_each:`");
                self.error(path, message);
                Vec::new()
            }
            (Some(each), owners) => {
                let path = format!("{path}/for_each");
                let named = self.named(each, &path);
                let Some(owners) = owners else {
                    return named.into_iter().map(|about| (about, value(None))).collect();
                };
                for stranger in named.difference(&owners) {
                    let message = format!("`for_each: {each}` names `{stranger}`, which has no value of `{secret}`");
                    self.error(&path, message);
                }
                named.intersection(&owners).map(|about| (about.clone(), value(Some(about)))).collect()
            }
        }
    }

    fn add_put(&mut self, draft: &mut DraftHost, host: &HostName, put: &Put, path: &str) {
        let meant = self.values_meant(host, &put.secret, put.for_each.as_ref(), path);
        for (about, value) in meant {
            match &put.placement {
                Placement::Sqlite { file, read, write } => {
                    let row = SqliteRow { read: read.clone(), write: write.clone(), host: about, value };
                    add_row(draft, file, row);
                }
                Placement::Dotenv { .. } | Placement::File { .. } | Placement::Command { .. }
                    if put.for_each.is_some() =>
                {
                    self.error(path, format!("`{}`: `for_each` works with `sqlite` only", put.secret));
                    return;
                }
                Placement::Dotenv { file, key, follow } => {
                    let edit = FileEdit { dotenv_key: Some(key.clone()), value };
                    self.add_edit(draft, (host, path), file, *follow, edit);
                }
                Placement::File { file, follow } => {
                    self.add_edit(draft, (host, path), file, *follow, FileEdit { dotenv_key: None, value });
                }
                Placement::Command { read, write } => {
                    draft.changes.push(DraftChange::Command { read: read.clone(), write: write.clone(), value });
                }
            }
        }
    }

    fn add_edit(
        &mut self,
        draft: &mut DraftHost,
        (host, at): (&HostName, &str),
        file: &str,
        follow_link: bool,
        edit: FileEdit,
    ) {
        let found = draft.changes.iter_mut().find_map(|change| match change {
            DraftChange::File { path, follow, edits } if path == file => Some((follow, edits)),
            DraftChange::File { .. } | DraftChange::Sqlite { .. } | DraftChange::Command { .. } => None,
        });
        let Some((follow, edits)) = found else {
            let (path, edits) = (file.to_owned(), vec![edit]);
            draft.changes.push(DraftChange::File { path, follow: follow_link, edits });
            return;
        };
        let clash = edits.iter().any(|other| {
            other.dotenv_key == edit.dotenv_key || other.dotenv_key.is_none() || edit.dotenv_key.is_none()
        });
        if clash {
            self.error(at, format!("two puts write the same place in `{file}` of `{host}`"));
            return;
        }
        *follow |= follow_link;
        edits.push(edit);
    }

    fn add_probe(&mut self, draft: &mut DraftHost, host: &HostName, target: &Target, probe: &Probe, path: &str) {
        let secret = probe.secret.clone().or_else(|| sole_secret(target));
        let (Some(secret), true) = (secret, wants_value(&probe.check)) else {
            if probe.check.is_proof() {
                self.error(path, format!("the probe `{}` does not say which `secret:` it proves", probe.name));
            }
            draft.verify.push(PlannedProbe { probe: probe.clone(), value: None, host: host.clone() });
            return;
        };
        for (about, value) in self.values_meant(host, &secret, probe.for_each.as_ref(), path) {
            draft.verify.push(PlannedProbe { probe: probe.clone(), value: Some(value), host: about });
        }
    }

    /// Hosts in the order in which they activate; those that no entry names come last.
    fn batches(&mut self) -> Vec<Vec<HostName>> {
        let mut left: BTreeSet<HostName> = self.hosts.keys().cloned().collect();
        let mut batches = Vec::new();
        for (index, selector) in self.playbook.rollout.activate_order.iter().enumerate() {
            let named = self.named(selector, &format!("rollout/activate_order/{index}"));
            let batch: Vec<HostName> = left.intersection(&named).cloned().collect();
            left.retain(|host| !named.contains(host));
            batches.push(batch);
        }
        batches.push(left.into_iter().collect());
        batches.retain(|batch| !batch.is_empty());
        batches
    }

    /// Every value that is placed somewhere; one that is placed nowhere is a mistake.
    fn values(&mut self) -> BTreeMap<ValueId, Generator> {
        let placed: BTreeSet<ValueId> =
            self.hosts.values().flat_map(|host| &host.changes).flat_map(DraftChange::values).cloned().collect();
        let playbook = self.playbook;
        for (secret, spec) in &playbook.secrets {
            let owners = self.owners.get(secret).cloned().unwrap_or_default();
            let wanted: Vec<ValueId> = match spec.per {
                None => vec![ValueId { secret: secret.clone(), owner: None }],
                Some(_) => {
                    owners.into_iter().map(|owner| ValueId { secret: secret.clone(), owner: Some(owner) }).collect()
                }
            };
            for value in wanted.iter().filter(|value| !placed.contains(value)) {
                self.error(&format!("secrets/{secret}"), format!("`{value}` is put nowhere"));
            }
        }
        let generator = |value: &ValueId| playbook.secrets.get(&value.secret).map(|spec| spec.generate);
        placed.into_iter().filter_map(|value| generator(&value).map(|generator| (value, generator))).collect()
    }
}

impl DraftChange {
    /// The values that it holds, in order.
    #[must_use]
    pub fn values(&self) -> Vec<&ValueId> {
        match self {
            Self::File { edits, .. } => edits.iter().map(|edit| &edit.value).collect(),
            Self::Sqlite { rows, .. } => rows.iter().map(|row| &row.value).collect(),
            Self::Command { value, .. } => vec![value],
        }
    }
}

fn add_row(draft: &mut DraftHost, database: &str, row: SqliteRow) {
    let found = draft.changes.iter_mut().find_map(|change| match change {
        DraftChange::Sqlite { file, rows } if file == database => Some(rows),
        DraftChange::File { .. } | DraftChange::Sqlite { .. } | DraftChange::Command { .. } => None,
    });
    match found {
        Some(rows) => rows.push(row),
        None => draft.changes.push(DraftChange::Sqlite { file: database.to_owned(), rows: vec![row] }),
    }
}

fn sole_secret(target: &Target) -> Option<SecretName> {
    let secrets: BTreeSet<&SecretName> = target.put.iter().map(|put| &put.secret).collect();
    let mut secrets = secrets.into_iter();
    secrets.next().filter(|_| secrets.next().is_none()).cloned()
}

/// Whether a check needs a value: it is a proof, or a template of it says `secret`.
fn wants_value(check: &Check) -> bool {
    match check {
        Check::Systemd { .. } => false,
        Check::Http { headers, body, expect, .. } => {
            matches!(expect, Expect::Proof { .. })
                || headers.iter().map(|(_, value)| value).chain([body]).any(|text| text.contains("secret"))
        }
        Check::Command { .. } => true,
    }
}
