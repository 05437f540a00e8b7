//! The variables of hosts and groups, and their Ansible names.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::model::{Address, Become};
use crate::yaml::{Diagnostic, Item, Severity, Spot, Value, assigns_a_secret, closest, holds_a_secret, names_a_secret};

use super::hosts::{Host, Jump};
use super::ssh_args::ssh_args;

/// What a host or a group says; a host's word goes before its group's.
#[derive(Debug, Clone, Default)]
pub(super) struct Vars {
    address: Option<String>,
    other_addresses: Option<BTreeSet<Address>>,
    port: Option<u16>,
    user: Option<String>,
    identity_file: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    jump: Option<(Vec<Jump>, Spot)>,
    become_user: Option<Become>,
    labels: BTreeMap<String, String>,
    state_dir: Option<String>,
    path: Option<String>,
    /// Which of the groups of one depth has the last word; only a group's own is heard.
    pub(super) priority: Option<i64>,
}

/// What is the same for all variables of one file.
pub(super) struct About<'a> {
    base: &'a Path,
    /// Whether the file is one of `group_vars` or `host_vars`, where applications are configured too.
    of_applications: bool,
    /// Names that nobody reads.
    unread: RefCell<Vec<(String, Spot)>>,
}

impl<'a> About<'a> {
    pub(super) fn new(base: &'a Path) -> Self {
        Self { base, of_applications: false, unread: RefCell::default() }
    }

    pub(super) fn of_applications(base: &'a Path) -> Self {
        Self { of_applications: true, ..Self::new(base) }
    }

    /// One warning for all variables that nobody reads: in an inventory that was written for Ansible there are many.
    pub(super) fn warning(self) -> Option<Diagnostic> {
        let unread = self.unread.into_inner();
        let (first, spot) = unread.first()?;
        let others: BTreeSet<&str> =
            unread.iter().map(|(name, _)| name.as_str()).filter(|name| name != first).collect();
        let and = match others.len() {
            0 => String::new(),
            count => format!(" and {count} more in this file"),
        };
        let hint = "put what selectors should know under `labels:`".to_owned();
        Some(spot.problem(Severity::Warning, format!("nobody reads the variable `{first}`{and}"), Some(hint)))
    }
}

/// Names that are ours, for "did you mean".
const KNOWN: [&str; 11] = [
    "address",
    "other_addresses",
    "port",
    "user",
    "identity_file",
    "known_hosts",
    "jump",
    "become",
    "labels",
    "state_dir",
    "path",
];

impl Vars {
    /// Takes what this says where it has no word of its own.
    pub(super) fn inherit(&mut self, from: &Self) {
        let Self { address, port, user, identity_file, known_hosts, jump, .. } = from;
        let Self { other_addresses, become_user, labels, state_dir, path, priority, .. } = from;
        self.address = self.address.take().or_else(|| address.clone());
        self.other_addresses = self.other_addresses.take().or_else(|| other_addresses.clone());
        self.port = self.port.or(*port);
        self.user = self.user.take().or_else(|| user.clone());
        self.identity_file = self.identity_file.take().or_else(|| identity_file.clone());
        self.known_hosts = self.known_hosts.take().or_else(|| known_hosts.clone());
        self.jump = self.jump.take().or_else(|| jump.clone());
        self.become_user = self.become_user.or(*become_user);
        self.state_dir = self.state_dir.take().or_else(|| state_dir.clone());
        self.path = self.path.take().or_else(|| path.clone());
        self.priority = self.priority.or(*priority);
        for (label, value) in labels {
            self.labels.entry(label.clone()).or_insert_with(|| value.clone());
        }
    }

    /// The host that these words describe, and where its way is written.
    pub(super) fn into_host(self, name: &str) -> (Host, Option<Spot>) {
        let (jump, spot) = self.jump.unzip();
        let host = Host {
            address: self.address.unwrap_or_else(|| name.to_owned()),
            other_addresses: self.other_addresses.unwrap_or_default(),
            port: self.port.unwrap_or(22),
            user: self.user,
            identity_file: self.identity_file,
            known_hosts: self.known_hosts,
            jump: jump.unwrap_or_default(),
            become_user: self.become_user.unwrap_or(Become::None),
            labels: self.labels,
            state_dir: self.state_dir.unwrap_or_default(),
            path: self.path.unwrap_or_default(),
        };
        (host, spot)
    }

    /// A port that stands behind a host's name, `worker-1:2222`.
    pub(super) fn of_port(port: Option<u16>) -> Self {
        Self { port, ..Self::default() }
    }

    /// Reads a map of variables.
    pub(super) fn read(item: &Item<'_>, about: &About<'_>) -> Self {
        let mut vars = Self::default();
        if item.is_null() {
            return vars;
        }
        for (key, value) in item.entries().unwrap_or_default() {
            vars.take(&key.text, &value, about);
        }
        vars
    }

    /// Takes one variable.
    pub(super) fn take(&mut self, key: &str, value: &Item<'_>, about: &About<'_>) {
        let base = about.base;
        let ours = KNOWN.contains(&key);
        if let Value::Text(text) = &value.node.value {
            // Encrypted or computed by Ansible: no literal, and nothing that can be read here.
            if let Some(why) = not_ours(text) {
                if ours || is_read(key) {
                    value.error_with_hint(&format!("`{key}` {why}"), "write the value itself here".to_owned());
                }
                return;
            }
        }
        match key {
            // Ansible lets a host take back what its group says.
            _ if value.is_null() && (ours || is_read(key)) => {}
            "address" | "ansible_host" | "ansible_ssh_host" => self.address = address(value),
            "other_addresses" => self.other_addresses = other_addresses(value),
            "port" | "ansible_port" | "ansible_ssh_port" => {
                self.port = value.number(1, 65_535).and_then(|port| u16::try_from(port).ok());
            }
            "user" | "ansible_user" | "ansible_ssh_user" => self.user = user(value),
            "identity_file" | "ansible_ssh_private_key_file" | "ansible_private_key_file" => {
                self.identity_file = path(value, base);
            }
            "known_hosts" => self.known_hosts = path(value, base),
            "jump" => self.jump = value.text().and_then(|text| way(text, value)),
            "ansible_ssh_common_args" | "ansible_ssh_extra_args" | "ansible_ssh_args" => self.ssh_args(value, base),
            "become" | "ansible_become" => self.become_user = become_user(value),
            "labels" => self.labels(value),
            "state_dir" => self.state_dir = value.text().map(str::to_owned),
            "path" => self.path = value.text().map(str::to_owned),
            "ansible_group_priority" => self.priority = value.number(0, 1_000_000).map(u64::cast_signed),
            "ansible_become_method" if !is(value, "sudo") => value.error("only `sudo` is known"),
            "ansible_become_user" if !is(value, "root") => {
                value.error("`sudo -n` makes root of us, and nobody else");
            }
            "ansible_connection" if !is(value, "ssh") && !is(value, "smart") && !is(value, "paramiko") => value
                .warning(
                    "lockturn reaches every host over SSH, this one too",
                    Some("a playbook that does not select the host leaves it alone".to_owned()),
                ),
            _ if names_a_secret(key) => literal_secret(key, value, about),
            _ if key.starts_with("ansible_") => {}
            // Other lists and maps are never ours.
            _ if matches!(value.node.value, Value::List(_) | Value::Map(_)) => {
                about.unread.borrow_mut().push((key.to_owned(), value.spot()));
            }
            _ => match closest(key, KNOWN) {
                Some(word) => value
                    .warning(&format!("nobody reads the variable `{key}`"), Some(format!("did you mean `{word}`?"))),
                None => about.unread.borrow_mut().push((key.to_owned(), value.spot())),
            },
        }
    }

    fn labels(&mut self, value: &Item<'_>) {
        for (label, text) in value.entries().unwrap_or_default() {
            if text.is_null() {
                // Not by its name: in a line of INI that was quoted wrongly, that has the value in it.
                value.error_with_hint("a label has no value", "labels are `{ zone: eu, rack: 7 }`".to_owned());
                continue;
            }
            let Some(written) = text.scalar() else { continue };
            if holds_a_secret(&written) || (names_a_secret(&label.text) && written.len() >= 8) {
                text.error_with_hint(
                    &format!("the label `{}` looks like a secret, and everybody reads an inventory", label.text),
                    "remove it, and rotate the secret; if it is none, give it a shorter name".to_owned(),
                );
                continue;
            }
            self.labels.insert(label.text.clone(), written);
        }
    }

    fn ssh_args(&mut self, value: &Item<'_>, base: &Path) {
        let Some(text) = value.text() else { return };
        let said = ssh_args(text, value);
        if let Some(target) = said.jump {
            self.jump = way(&target, value);
        }
        if let Some(file) = said.identity_file {
            self.identity_file = Some(under(base, &file));
        }
        if let Some(file) = said.known_hosts {
            self.known_hosts = Some(under(base, &file));
        }
        self.port = said.port.or(self.port);
        self.user = said.user.filter(|user| is_user(user)).or_else(|| self.user.take());
    }
}

/// A value under the name of a credential. Ansible's own are always one; of others only what is no switch, number or path. What
/// applications are configured with is not ours to refuse, unless it is a secret beyond doubt.
fn literal_secret(key: &str, value: &Item<'_>, about: &About<'_>) {
    let text = if let Value::Text(text) = &value.node.value { text.as_str() } else { "" };
    let certain = key.starts_with("ansible_") || holds_a_secret(text);
    let likely = assigns_a_secret(&format!("{key}={text}"));
    if value.is_null() || !(certain || likely) {
        return;
    }
    if about.of_applications && !certain {
        let message = format!("`{key}` looks like a secret, and everybody reads an inventory");
        return value.warning(&message, Some("encrypt it with ansible-vault, and rotate it".to_owned()));
    }
    value.error_with_hint(
        &format!("`{key}` would be a secret in an inventory, and secrets do not belong there"),
        "lockturn logs in with keys or the agent and runs `sudo -n`; remove the line and rotate the secret".to_owned(),
    );
}

/// Whether a variable of Ansible says something that we read.
fn is_read(key: &str) -> bool {
    let Some(rest) = key.strip_prefix("ansible_") else { return false };
    let rest = rest.strip_prefix("ssh_").unwrap_or(rest);
    ["host", "port", "user", "private_key_file", "common_args", "extra_args", "args", "become"].contains(&rest)
}

fn not_ours(text: &str) -> Option<&'static str> {
    if text.trim_start().starts_with("$ANSIBLE_VAULT;") {
        return Some("is encrypted by ansible-vault, and lockturn has no key to it");
    }
    text.contains("{{").then_some("is a template of Ansible, and lockturn does not compute those")
}

fn is(value: &Item<'_>, word: &str) -> bool {
    matches!(&value.node.value, Value::Text(text) if text == word) || value.is_null()
}

fn address(value: &Item<'_>) -> Option<String> {
    let text = value.scalar()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if text.is_empty() || text.len() > 253 || text.starts_with('-') || !text.chars().all(fits) {
        value.error("should be a name or an address");
        return None;
    }
    Some(text)
}

/// Literal ones: they are for firewall rules, which name nobody.
fn other_addresses(value: &Item<'_>) -> Option<BTreeSet<Address>> {
    let read = |item: &Item<'_>| match item.text()?.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            item.error(&format!("{error}"));
            None
        }
    };
    Some(value.list()?.iter().filter_map(read).collect())
}

fn user(value: &Item<'_>) -> Option<String> {
    let text = value.scalar()?;
    if !is_user(&text) {
        value.error("should be the name of a user");
        return None;
    }
    Some(text)
}

fn is_user(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.len() <= 64 && !text.starts_with('-') && text.chars().all(fits)
}

/// A path: `~/` is left for the edge, a relative one is relative to the inventory.
fn path(value: &Item<'_>, base: &Path) -> Option<PathBuf> {
    value.text().map(|text| under(base, text))
}

fn under(base: &Path, text: &str) -> PathBuf {
    if text.starts_with("~/") { PathBuf::from(text) } else { base.join(text) }
}

/// Ansible takes YAML 1.1's truths, and INI has all of them as text.
fn become_user(value: &Item<'_>) -> Option<Become> {
    let word = match &value.node.value {
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.to_ascii_lowercase(),
        Value::Null | Value::Float(_) | Value::List(_) | Value::Map(_) => String::new(),
    };
    match word.as_str() {
        "sudo" | "true" | "yes" | "on" | "y" | "t" | "1" => Some(Become::Sudo),
        "none" | "false" | "no" | "off" | "n" | "f" | "0" => Some(Become::None),
        _ => {
            value.error("should be `sudo`, `none`, true or false");
            None
        }
    }
}

/// One or more hosts, in the order in which they are passed: `NAME`, `[user@]address[:port]`, `a,b`. Whether a bare name is a host of
/// the inventory is known when all are read. `none` takes back what a group says, as for ssh.
fn way(text: &str, value: &Item<'_>) -> Option<(Vec<Jump>, Spot)> {
    if text == "none" {
        return Some((Vec::new(), value.spot()));
    }
    let hops: Option<Vec<Jump>> = text.split(',').map(|hop| jump(hop.trim())).collect();
    if hops.is_none() {
        value.error("should be a host of the inventory, or `[user@]address[:port]`");
    }
    Some((hops?, value.spot()))
}

fn jump(text: &str) -> Option<Jump> {
    let text = text.strip_prefix("ssh://").unwrap_or(text);
    let (login, rest) = text.rsplit_once('@').map_or((None, text), |(user, rest)| (Some(user), rest));
    let (address, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => (address, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) }),
        None => rest.split_once(':').map_or((rest, None), |(address, port)| (address, Some(port))),
    };
    let port = port.map_or(Some(22), |port| port.parse().ok().filter(|port| *port != 0))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c) || (c == ':' && rest.starts_with('['));
    let plain = !address.is_empty() && !address.starts_with('-') && address.chars().all(fits);
    (plain && login.is_none_or(is_user)).then(|| Jump::Other {
        user: login.map(str::to_owned),
        address: address.to_owned(),
        port,
    })
}
