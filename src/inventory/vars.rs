//! The variables of hosts and groups, and their Ansible names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::Become;
use crate::yaml::{Item, Value, closest};

use super::hosts::{Host, Jump};

/// What a host or a group says; a host's word goes before its group's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Vars {
    address: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    identity_file: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    jump: Option<Jump>,
    become_user: Option<Become>,
    labels: BTreeMap<String, String>,
    state_dir: Option<String>,
    path: Option<String>,
}

/// Names that are ours, for "did you mean".
const KNOWN: [&str; 10] =
    ["address", "port", "user", "identity_file", "known_hosts", "jump", "become", "labels", "state_dir", "path"];

impl Vars {
    /// Takes what this says where it has no word of its own.
    pub(super) fn inherit(&mut self, from: &Self) {
        let Self { address, port, user, identity_file, known_hosts, jump, become_user, labels, state_dir, path } = from;
        self.address = self.address.take().or_else(|| address.clone());
        self.port = self.port.or(*port);
        self.user = self.user.take().or_else(|| user.clone());
        self.identity_file = self.identity_file.take().or_else(|| identity_file.clone());
        self.known_hosts = self.known_hosts.take().or_else(|| known_hosts.clone());
        self.jump = self.jump.take().or_else(|| jump.clone());
        self.become_user = self.become_user.or(*become_user);
        self.state_dir = self.state_dir.take().or_else(|| state_dir.clone());
        self.path = self.path.take().or_else(|| path.clone());
        for (label, value) in labels {
            self.labels.entry(label.clone()).or_insert_with(|| value.clone());
        }
    }

    /// The host that these words describe.
    pub(super) fn into_host(self, name: &str) -> Host {
        Host {
            address: self.address.unwrap_or_else(|| name.to_owned()),
            port: self.port.unwrap_or(22),
            user: self.user,
            identity_file: self.identity_file,
            known_hosts: self.known_hosts,
            jump: self.jump,
            become_user: self.become_user.unwrap_or(Become::None),
            labels: self.labels,
            state_dir: self.state_dir.unwrap_or_default(),
            path: self.path.unwrap_or_default(),
        }
    }

    /// Reads a map of variables.
    pub(super) fn read(item: &Item<'_>, base: &Path) -> Self {
        let mut vars = Self::default();
        if item.is_null() {
            return vars;
        }
        for (key, value) in item.entries().unwrap_or_default() {
            vars.take(&key.text, &value, base);
        }
        vars
    }

    fn take(&mut self, key: &str, value: &Item<'_>, base: &Path) {
        match key {
            "address" | "ansible_host" => self.address = address(value),
            "port" | "ansible_port" => {
                self.port = value.number(1, 65_535).and_then(|port| u16::try_from(port).ok());
            }
            "user" | "ansible_user" => self.user = user(value),
            "identity_file" | "ansible_ssh_private_key_file" => self.identity_file = path(value, base),
            "known_hosts" => self.known_hosts = path(value, base),
            "jump" => self.jump = value.text().and_then(|text| jump(text, value)),
            "ansible_ssh_common_args" | "ansible_ssh_extra_args" => self.take_ssh_args(value),
            "become" | "ansible_become" => self.become_user = become_user(value),
            "labels" => {
                for (label, text) in value.entries().unwrap_or_default() {
                    if let Some(text) = text.scalar() {
                        self.labels.insert(label.text.clone(), text);
                    }
                }
            }
            "state_dir" => self.state_dir = value.text().map(str::to_owned),
            "path" => self.path = value.text().map(str::to_owned),
            "ansible_become_method" if matches!(&value.node.value, Value::Text(method) if method != "sudo") => {
                value.error("only `sudo` is known");
            }
            _ if is_secret(key) && !matches!(value.node.value, Value::Null) => {
                value.error_with_hint(
                    &format!("`{key}` would be a secret in an inventory, and secrets do not belong there"),
                    "lockturn logs in with keys or the agent and runs `sudo -n`; remove the line and rotate the secret"
                        .into(),
                );
            }
            _ if key.starts_with("ansible_") => {}
            _ => {
                let hint = closest(key, KNOWN).map(|word| format!("did you mean `{word}`?"));
                let hint = hint.unwrap_or_else(|| "put what selectors should know under `labels:`".to_owned());
                value.warning(&format!("nobody reads the variable `{key}`"), Some(hint));
            }
        }
    }

    fn take_ssh_args(&mut self, value: &Item<'_>) {
        let Some(text) = value.text() else { return };
        let text = text.trim();
        let target = text
            .strip_prefix("-o ProxyJump=")
            .or_else(|| text.strip_prefix("-oProxyJump="))
            .or_else(|| text.strip_prefix("-J "));
        match target {
            Some(target) => self.jump = jump(target.trim().trim_matches(['"', '\'']), value),
            None => value.error_with_hint(
                "of ssh's own options only `-o ProxyJump=HOST` and `-J HOST` are known",
                "say the rest with `jump`, `identity_file`, `known_hosts`, `user` and `port`".to_owned(),
            ),
        }
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let names_a_place = ["_file", "_path", "_method"].iter().any(|ending| key.ends_with(ending));
    !names_a_place
        && ["password", "passwd", "_pass", "secret", "token", "api_key"].iter().any(|word| key.contains(word))
}

fn address(value: &Item<'_>) -> Option<String> {
    let text = value.text()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if text.is_empty() || text.len() > 253 || text.starts_with('-') || !text.chars().all(fits) {
        value.error("should be a name or an address");
        return None;
    }
    Some(text.to_owned())
}

fn user(value: &Item<'_>) -> Option<String> {
    let text = value.text()?;
    if !is_user(text) {
        value.error("should be the name of a user");
        return None;
    }
    Some(text.to_owned())
}

fn is_user(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.len() <= 64 && !text.starts_with('-') && text.chars().all(fits)
}

/// A path: `~/` is left for the edge, a relative one is relative to the inventory.
fn path(value: &Item<'_>, base: &Path) -> Option<PathBuf> {
    let text = value.text()?;
    if text.starts_with("~/") { Some(PathBuf::from(text)) } else { Some(base.join(text)) }
}

fn become_user(value: &Item<'_>) -> Option<Become> {
    match &value.node.value {
        Value::Bool(true) => Some(Become::Sudo),
        Value::Bool(false) => Some(Become::None),
        Value::Text(text) if text == "sudo" => Some(Become::Sudo),
        Value::Text(text) if text == "none" => Some(Become::None),
        _ => {
            value.error("should be `sudo`, `none`, true or false");
            None
        }
    }
}

/// `NAME`, or `[user@]address[:port]`. Whether a bare name is a host of the inventory is known when all are read.
fn jump(text: &str, value: &Item<'_>) -> Option<Jump> {
    let (login, rest) = text.split_once('@').map_or((None, text), |(user, rest)| (Some(user), rest));
    let (address, port) = rest.rsplit_once(':').map_or((rest, None), |(address, port)| (address, Some(port)));
    let port = port.map_or(Some(22), |port| port.parse().ok());
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let plain = !address.is_empty() && !address.starts_with('-') && address.chars().all(fits);
    let (Some(port), true, true) = (port, plain, login.is_none_or(is_user)) else {
        value.error("should be a host of the inventory, or `[user@]address[:port]`");
        return None;
    };
    Some(Jump::Other { user: login.map(str::to_owned), address: address.to_owned(), port })
}
