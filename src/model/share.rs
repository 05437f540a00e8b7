//! What one host keeps of a plan, so that a coordinator without a journal can go on: what happens on this host, and a few words on the
//! whole that every host has alike.
//!
//! **Invariant:** a share says what is done on the host that keeps it and nowhere else, so a host that lies lies about itself. Its size
//! does not grow with the fleet, as long as names follow each other. It holds no value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Become, Change, HostName, HostPlan, Millis, PLAN_VERSION, Plan, PlannedValue, Strategy, Switch, Unreachable,
    ValueId, expand_ranges, fold,
};

/// A plan has no more hosts. What a host says of them is a few ranges, which could stand for more than there is room for.
const HOSTS_MAX: usize = 1_000_000;

/// One host's share of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Alike on every host.
    pub common: Common,
    /// The values that this host has to do with.
    pub values: BTreeMap<ValueId, PlannedValue>,
    /// What happens on it.
    pub host: HostPlan,
}

/// What every host keeps of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The hash of the whole plan.
    pub plan: String,
    /// The playbook's name.
    pub playbook: String,
    /// Its one sentence.
    pub summary: String,
    /// Hosts in the order in which they activate, names that follow each other as ranges.
    pub activate_batches: Vec<Vec<String>>,
    /// Those of them on which the program runs by sudo.
    pub by_sudo: Vec<String>,
    /// Who moves with whom.
    pub strategy: Strategy,
    /// How long an armed host waits.
    pub lease: Millis,
    /// What an unreachable host does to the run.
    pub unreachable: Unreachable,
}

impl Share {
    /// As a host keeps it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a share has only string keys and finite numbers")
    }

    /// Reads what a host kept. Its texts will be shown to a person, so they have nothing that moves a cursor.
    ///
    /// # Errors
    /// Why it is no share, as a phrase.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let whole: serde_json::Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if !is_plain(&whole) {
            return Err("it has control characters".to_owned());
        }
        serde_json::from_value(whole).map_err(|error| error.to_string())
    }
}

/// Whether no text in it has anything that a terminal would obey. Bodies of requests and SQL have lines.
fn is_plain(json: &serde_json::Value) -> bool {
    let plain = |text: &str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    match json {
        serde_json::Value::String(text) => plain(text),
        serde_json::Value::Array(items) => items.iter().all(is_plain),
        serde_json::Value::Object(fields) => fields.iter().all(|(name, value)| plain(name) && is_plain(value)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => true,
    }
}

impl Common {
    /// What all hosts of this plan keep of it.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let by_sudo = plan.hosts.iter().filter(|(_, host)| host.become_user == Become::Sudo).map(|(name, _)| name);
        Self {
            version: plan.version,
            plan: plan.hash(),
            playbook: plan.playbook.clone(),
            summary: plan.summary.clone(),
            activate_batches: plan.activate_batches.iter().map(short).collect(),
            by_sudo: short(by_sudo),
            strategy: plan.strategy,
            lease: plan.lease,
            unreachable: plan.unreachable,
        }
    }

    /// Whether it is a plan's at all, and not the little that is known of one of which no host has a share.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !self.plan.is_empty()
    }

    /// The hosts of the plan, in the order in which they activate.
    ///
    /// # Errors
    /// If these are not names, as a phrase.
    pub fn batches(&self) -> Result<Vec<Vec<HostName>>, String> {
        let mut room = HOSTS_MAX;
        self.activate_batches.iter().map(|batch| long(batch, &mut room)).collect()
    }

    /// How the program gets its rights on each host of the plan.
    ///
    /// # Errors
    /// As [`Common::batches`].
    pub fn hosts(&self) -> Result<BTreeMap<HostName, Become>, String> {
        let by_sudo: BTreeSet<HostName> = long(&self.by_sudo, &mut { HOSTS_MAX })?.into_iter().collect();
        let become_of = |name: &HostName| if by_sudo.contains(name) { Become::Sudo } else { Become::None };
        Ok(self.batches()?.into_iter().flatten().map(|name| (name.clone(), become_of(&name))).collect())
    }

    /// The share of one host, out of all values of the plan.
    #[must_use]
    pub fn share(&self, values: &BTreeMap<ValueId, PlannedValue>, host: &HostPlan) -> Share {
        let values = host.needs().into_iter().filter_map(|id| Some((id.clone(), values.get(id)?.clone())));
        Share { common: self.clone(), values: values.collect(), host: host.clone() }
    }
}

impl HostPlan {
    /// A host on which nothing happens.
    fn nothing(become_user: Become) -> Self {
        let (address, login, state, path) = (String::new(), String::new(), String::new(), String::new());
        let switch = Switch::default();
        let (changes, activate, verify) = (Vec::new(), Vec::new(), Vec::new());
        Self { address, become_user, login, state, path, switch, changes, activate, verify }
    }

    /// The values that this host has to do with: those that are put there, and those that its probes try.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<&ValueId> {
        let changed = self.changes.iter().flat_map(Change::values);
        changed.chain(self.verify.iter().filter_map(|planned| planned.value.as_ref())).collect()
    }
}

/// Why shares make no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareError {
    /// A later version of lockturn made it.
    Later(u32),
    /// The names of its hosts cannot be read.
    Names(String),
    /// Two hosts say different things of one value.
    Value(ValueId),
    /// All hosts gave their shares, and together they are another plan than the one that they name.
    NotThatPlan,
}

/// Puts a plan together. A host without a share takes part and does nothing.
///
/// # Errors
/// If the shares do not make the plan that they name, as far as that can be seen.
pub fn assemble(common: &Common, shares: &BTreeMap<HostName, Share>) -> Result<Plan, ShareError> {
    if common.version > PLAN_VERSION {
        return Err(ShareError::Later(common.version));
    }
    let mut values: BTreeMap<ValueId, PlannedValue> = BTreeMap::new();
    for (id, value) in shares.values().flat_map(|share| &share.values) {
        if values.entry(id.clone()).or_insert_with(|| value.clone()) != value {
            return Err(ShareError::Value(id.clone()));
        }
    }
    let names = common.hosts().map_err(ShareError::Names)?;
    let whole = names.keys().all(|name| shares.contains_key(name));
    let host = |(name, become_user)| {
        let nothing = || HostPlan::nothing(become_user);
        let host = shares.get(&name).map_or_else(nothing, |share| share.host.clone());
        (name, host)
    };
    let plan = Plan {
        version: common.version,
        playbook: common.playbook.clone(),
        summary: common.summary.clone(),
        values,
        hosts: names.into_iter().map(host).collect(),
        activate_batches: common.batches().map_err(ShareError::Names)?,
        strategy: common.strategy,
        lease: common.lease,
        unreachable: common.unreachable,
    };
    if whole && plan.hash() != common.plan { Err(ShareError::NotThatPlan) } else { Ok(plan) }
}

/// Names that follow each other as ranges, where that can be read back.
fn short<'a>(names: impl IntoIterator<Item = &'a HostName>) -> Vec<String> {
    let names: Vec<&HostName> = names.into_iter().collect();
    let folded = fold(names.iter().copied());
    match long(&folded, &mut { HOSTS_MAX }) {
        Ok(read_back) if read_back.iter().eq(names.iter().copied()) => folded,
        Ok(_) | Err(_) => names.iter().map(ToString::to_string).collect(),
    }
}

/// The names, in their order.
fn long(words: &[String], room: &mut usize) -> Result<Vec<HostName>, String> {
    let mut names = BTreeSet::new();
    for word in words {
        let these = expand_ranges(word)?;
        *room = room.checked_sub(these.len()).ok_or_else(|| format!("there are more than {HOSTS_MAX}"))?;
        for name in these {
            names.insert(name.parse().map_err(|error: super::NameError| error.to_string())?);
        }
    }
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fingerprint, Generator};

    /// A plan of hosts with such names, each with a value of its own.
    fn plan(names: &[&str]) -> Plan {
        let names: BTreeSet<HostName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let id = |name: &HostName| ValueId { secret: "s".parse().unwrap(), owner: Some(name.clone()) };
        let old = Fingerprint::try_from("00112233445566ff".to_owned()).unwrap();
        let host = |name: &HostName| {
            let change = Change::Command { read: Vec::new(), write: Vec::new(), value: id(name) };
            HostPlan { changes: vec![change], ..HostPlan::nothing(Become::Sudo) }
        };
        Plan {
            version: PLAN_VERSION,
            playbook: "p".to_owned(),
            summary: "one, and then\ntwo".to_owned(),
            values: names
                .iter()
                .map(|name| (id(name), PlannedValue { generate: Generator::Hex(32), old, apart: BTreeMap::new() }))
                .collect(),
            hosts: names.iter().map(|name| (name.clone(), host(name))).collect(),
            activate_batches: vec![names.iter().skip(1).cloned().collect(), names.iter().take(1).cloned().collect()],
            strategy: Strategy::Lockstep,
            lease: Millis::from_secs(120),
            unreachable: Unreachable::Abort,
        }
    }

    fn shares(plan: &Plan) -> (Common, BTreeMap<HostName, Share>) {
        let common = Common::of(plan);
        let share = |(name, host): (&HostName, &HostPlan)| {
            (name.clone(), Share::from_json(&common.share(&plan.values, host).to_json()).unwrap())
        };
        let shares = plan.hosts.iter().map(share).collect();
        (common, shares)
    }

    #[test]
    fn the_shares_of_all_hosts_are_the_plan() {
        let long = format!("w{}", "9".repeat(20));
        for names in [&["c"][..], &["c", "w-1", "w-2", "w-10", "w-11"], &["w09", "w10", "w11", "w010"], &[&long, "w1"]]
        {
            let plan = plan(names);
            let (common, shares) = shares(&plan);
            assert_eq!(assemble(&common, &shares), Ok(plan), "{names:?}");
        }
    }

    #[test]
    fn a_host_cannot_have_us_count_hosts_without_end() {
        let (mut common, _) = shares(&plan(&["c", "w-1"]));
        common.activate_batches = ('a'..='z').map(|letter| vec![format!("{letter}[1:100000]")]).collect();
        assert_eq!(common.hosts(), Err("there are more than 1000000".to_owned()));
    }

    #[test]
    fn a_share_does_not_grow_with_the_fleet() {
        let size = |hosts: usize| {
            let names: Vec<String> = (1..=hosts).map(|number| format!("worker-{number}")).collect();
            let plan = plan(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let (name, host) = plan.hosts.first_key_value().unwrap();
            assert_eq!(name.as_str(), "worker-1");
            Common::of(&plan).share(&plan.values, host).to_json().len()
        };
        assert!(size(2_000) < size(20) + 20, "{} and {}", size(20), size(2_000));
    }

    #[test]
    fn a_host_whose_share_is_gone_does_nothing_and_the_others_are_believed_for_themselves() {
        let plan = plan(&["c", "w-1"]);
        let (common, mut shares) = shares(&plan);
        let gone: HostName = "c".parse().unwrap();
        shares.remove(&gone);
        let some = assemble(&common, &shares).unwrap();
        assert_eq!(some.hosts[&gone], HostPlan::nothing(Become::Sudo));
        let other: HostName = "w-1".parse().unwrap();
        assert_eq!(some.hosts[&other], plan.hosts[&other]);
    }

    #[test]
    fn a_share_that_was_changed_is_noticed() {
        let plan = plan(&["c", "w-1"]);
        let name: HostName = "w-1".parse().unwrap();
        let (common, shares) = shares(&plan);
        let mut changed = shares.clone();
        changed.get_mut(&name).unwrap().host.changes.clear();
        assert_eq!(assemble(&common, &changed), Err(ShareError::NotThatPlan));
        let (id, mut value) = shares[&name].values.first_key_value().map(|(id, v)| (id.clone(), v.clone())).unwrap();
        value.generate = Generator::Uuid;
        let mut changed = shares;
        changed.get_mut(&"c".parse().unwrap()).unwrap().values.insert(id.clone(), value);
        assert_eq!(assemble(&common, &changed), Err(ShareError::Value(id)));
    }

    #[test]
    fn what_moves_a_cursor_is_no_share() {
        let (_, shares) = shares(&plan(&["c"]));
        let json = String::from_utf8(shares.into_values().next().unwrap().to_json()).unwrap();
        assert!(Share::from_json(json.as_bytes()).is_ok());
        let bad = json.replace("one, and", "one\\u001b[2J and");
        assert_ne!(bad, json);
        assert_eq!(Share::from_json(bad.as_bytes()), Err("it has control characters".to_owned()));
        assert!(Share::from_json(b"{}").is_err());
    }
}
