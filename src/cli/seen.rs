//! What the hosts of a run say together, when its journal is lost: compared, and made into a plan.

use std::collections::BTreeMap;

use crate::coordinator::way;
use crate::model::{
    Become, Common, Decision, FingerprintKey, Found, HostName, Millis, PLAN_VERSION, Plan, PlannedValue, ShareError,
    Stands, Strategy, Unreachable, ValueId, assemble, fold_few,
};
use crate::runtime::Vault;
use crate::runtime::left::Left;

use super::from_hosts::nothing;
use super::{CliError, Exit};

/// How many names or ranges of names are shown of a set of hosts.
const NAMES_MAX: usize = 8;

/// What the hosts of a run say together.
pub(super) struct Seen {
    /// What all of them say.
    pub(super) common: Common,
    /// The plan, with fingerprints under this journal's key.
    pub(super) plan: Plan,
    /// The values that they keep.
    pub(super) vault: Vault,
    /// What each host of the plan says.
    pub(super) found: BTreeMap<HostName, Found>,
    /// Which way the run goes.
    pub(super) way: Decision,
    /// The greatest number of a coordinator that any of them has heard of.
    pub(super) epoch: u64,
}

/// What does not fit is left as it is.
fn does_not_fit(text: impl std::fmt::Display) -> CliError {
    CliError::new(
        Exit::PersonMustLook,
        format!("{text}; nothing was changed; hosts that are armed go back by themselves when their lease ends"),
    )
    .hint("one of these hosts does not say the truth, or somebody has cleaned up by hand: look at them before anything else")
}

impl Seen {
    /// What every host that has a share of the plan says of it alike.
    pub(super) fn common(
        left: &BTreeMap<HostName, Option<Left>>,
        rights: &BTreeMap<HostName, Become>,
    ) -> Result<Common, CliError> {
        let mut different: Vec<(&Common, Vec<&HostName>)> = Vec::new();
        for (name, share) in left.iter().filter_map(|(name, left)| Some((name, left.as_ref()?.share.as_ref()?))) {
            match different.iter_mut().find(|(known, _)| **known == share.common) {
                Some((_, names)) => names.push(name),
                None => different.push((&share.common, vec![name])),
            }
        }
        match &different[..] {
            [(common, _)] => Ok((*common).clone()),
            [] => Ok(unknown(rights)),
            _ => {
                let sides: Vec<String> = different
                    .iter()
                    .map(|(common, names)| {
                        let plan: String = common.plan.chars().filter(char::is_ascii_hexdigit).take(12).collect();
                        format!("{} (plan {plan})", fold_few(names.iter().copied(), NAMES_MAX))
                    })
                    .collect();
                Err(does_not_fit(format!("hosts do not agree about the plan: {}", sides.join("; "))))
            }
        }
    }

    /// Compares what they say.
    pub(super) fn of(
        common: Common,
        left: BTreeMap<HostName, Option<Left>>,
        key: &FingerprintKey,
    ) -> Result<Self, CliError> {
        let names = common.hosts().map_err(|error| does_not_fit(format!("the plan's hosts: {error}")))?;
        let mut found: BTreeMap<HostName, Found> = names.keys().map(|name| (name.clone(), nothing())).collect();
        let (mut shares, mut vault, mut epoch) = (BTreeMap::new(), Vault::default(), 0);
        for (name, left) in left.into_iter().filter_map(|(name, left)| Some((name, left?))) {
            let Some(found) = found.get_mut(&name) else {
                return Err(does_not_fit(format!("{name} has something of the run, and is not in its plan")));
            };
            epoch = epoch.max(left.epoch);
            check(&name, &left, &common, names[&name])?;
            // Whose share is gone is given nothing, and gives nothing.
            for (id, pair) in left.values.iter().filter(|_| left.share.is_some()) {
                let planned = left.share.as_ref().and_then(|share| share.values.get(id));
                // That it is apart every host of the plan says, or what they say is not one plan.
                if planned.is_some_and(|planned| planned.apart.contains_key(&name)) {
                    vault.insert_apart(name.clone(), id.clone(), pair.clone());
                    continue;
                }
                match vault.get(id) {
                    Some(known) if !known.same_as(pair) => {
                        return Err(does_not_fit(format!("{name} keeps other values of `{id}` than another host")));
                    }
                    Some(_) => {}
                    None => vault.insert(id.clone(), pair.clone()),
                }
            }
            *found = left.found;
            shares.extend(left.share.map(|share| (name, share)));
        }
        let mut plan = assemble(&common, &shares).map_err(|error| does_not_fit(why(&error)))?;
        rekey(&mut plan.values, &vault, key);
        let way = way(&found).map_err(|(one, other)| {
            let (said, others) = (&found[one].said, &found[other].said);
            does_not_fit(format!("{one} says \"{said}\" and {other} \"{others}\", and both cannot be"))
        })?;
        Ok(Self { common, plan, vault, found, way, epoch })
    }
}

/// Whether one host says what it may say: what it will be given are values that it keeps itself.
fn check(name: &HostName, left: &Left, common: &Common, become_user: Become) -> Result<(), CliError> {
    let Some(share) = &left.share else {
        if left.bare {
            return Ok(());
        }
        let text = format!("{name} has no share of the plan, and says \"{}\"", left.found.said);
        return Err(does_not_fit(text)
            .hint("if an earlier lockturn began the run, hosts have none: only its own ledger can end it"));
    };
    if share.common != *common || share.host.become_user != become_user {
        return Err(does_not_fit(format!("{name} does not agree with the others about the plan")));
    }
    let needs = share.host.needs();
    if let Some((id, _)) = left.values.iter().find(|(id, _)| !needs.contains(id)) {
        return Err(does_not_fit(format!("{name} keeps a value of `{id}`, which its share of the plan does not have")));
    }
    // One that was never cut, or is cleaned already but for its last files, is only cleaned, and gets nothing.
    let missing = needs.iter().find(|id| left.values.get(id).is_none());
    match missing {
        Some(id) if left.found.stands != Stands::Uncut && !left.bare => {
            Err(does_not_fit(format!("{name} does not keep the values of `{id}`, which its share of the plan has")))
        }
        Some(_) | None => Ok(()),
    }
}

/// A run that was left before any host had a share of its plan: all that is known is who was taken.
fn unknown(rights: &BTreeMap<HostName, Become>) -> Common {
    let by_sudo = rights.iter().filter(|(_, become_user)| **become_user == Become::Sudo);
    Common {
        version: PLAN_VERSION,
        plan: String::new(),
        playbook: "unknown".to_owned(),
        summary: "left before any host was told what it is about".to_owned(),
        activate_batches: vec![rights.keys().map(ToString::to_string).collect()],
        by_sudo: by_sudo.map(|(name, _)| name.to_string()).collect(),
        strategy: Strategy::Lockstep,
        lease: Millis::from_secs(120),
        unreachable: Unreachable::Abort,
    }
}

/// Fingerprints under the key of this journal, in place of those of the lost one. A value that nobody keeps was never put anywhere.
fn rekey(values: &mut BTreeMap<ValueId, PlannedValue>, vault: &Vault, key: &FingerprintKey) {
    values.retain(|id, planned| {
        let Some(pair) = vault.get(id) else { return false };
        planned.old = key.fingerprint(&pair.old);
        for (host, old) in &mut planned.apart {
            if let Some(pair) = vault.of(host).get(id) {
                *old = key.fingerprint(&pair.old);
            }
        }
        true
    });
}

fn why(error: &ShareError) -> String {
    match error {
        ShareError::Later(version) => format!("a later lockturn made the plan (version {version})"),
        ShareError::Names(error) => format!("the plan's hosts cannot be read: {error}"),
        ShareError::Value(id) => format!("hosts do not agree about the value `{id}`"),
        ShareError::NotThatPlan => "what the hosts say together is not the plan that they name".to_owned(),
    }
}
