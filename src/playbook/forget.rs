//! A playbook that forgets hosts: how the control plane takes what a host in quarantine still knows for worthless.
//!
//! The host's own side is never written, so all that it has are places of the others, each with the value of one host.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Placement, SecretName, SecretSpec, Target};
use crate::yaml::{Fields, Item, Key, Value};

use super::read::proves;
use super::targets::one;
use super::words::unit;

/// Targets that forget: rows of a control plane, each with the secret of one host.
pub(super) fn forgets(
    item: &Item<'_>,
    root: &Fields<'_>,
    secrets: &BTreeMap<SecretName, SecretSpec>,
    entries: &[(&Key, Item<'_>)],
    known: &BTreeSet<SecretName>,
) -> Vec<Target> {
    root.refuse("targets", "a playbook rotates (`targets`) or forgets (`forget`); write two");
    root.refuse("rollout", "nobody moves together here: each host forgets by itself, and stays so");
    for (key, entry) in entries {
        let shared = key.text.parse().is_ok_and(|name: SecretName| secrets.get(&name).is_some_and(|s| s.per.is_none()));
        if shared {
            entry.at(key.place).error_with_hint(
                "should say `per:`: it takes the place of what one host has of its own",
                "what hosts share with others dies by a rotation, which leaves the isolated ones out".to_owned(),
            );
        }
    }
    let stops = |fields: &Fields<'_>| {
        let units = fields.get("stop").and_then(|item| item.list()).unwrap_or_default();
        units.iter().filter_map(stop).collect()
    };
    let items = item.list().unwrap_or_default();
    if matches!(&item.node.value, Value::List(list) if list.is_empty()) {
        item.error("should have at least one target");
    }
    let targets = items.iter().filter_map(|item| {
        let target = one(item, known, Some(&stops))?;
        let in_place =
            |put: &crate::model::Put| put.for_each.is_some() && matches!(put.placement, Placement::Sqlite { .. });
        if !target.put.iter().all(in_place) {
            item.error_with_hint(
                "should put the values of other hosts only: rows, with `sqlite` and `for_each`",
                "what a host in quarantine has itself is never written".to_owned(),
            );
            return None;
        }
        if target.put.is_empty() && !item.is_wrong() {
            item.error("should `put` something: nothing would be forgotten here");
        }
        Some(target)
    });
    targets.collect()
}

/// A unit that is about one host.
fn stop(item: &Item<'_>) -> Option<String> {
    let unit = unit(item)?;
    if !unit.contains(":host") {
        item.error_with_hint(
            "should say `:host`, or what others need would end too",
            "`nanoclaw-worker-tunnel@:host` ends the tunnel of each isolated host".to_owned(),
        );
        return None;
    }
    Some(unit)
}

/// Forgotten is said of what is proved only: without a proof it could never be.
pub(super) fn judge_proof(secret: &SecretName, item: &Item<'_>, targets: &[Target], used: &BTreeSet<String>) {
    if !used.contains(secret.as_str()) {
        item.error(&format!("the secret `{secret}` is put nowhere"));
        return;
    }
    let puts = |target: &&Target| target.put.iter().any(|put| put.secret == *secret);
    if targets.iter().filter(puts).any(|target| !proves(target, secret)) && !item.is_in_wrong_file() {
        item.error_with_hint(
            &format!("not proved: no probe tries the old value of `{secret}`, so nothing shows that it is forgotten"),
            "give a probe `expect: {new: …, old: …}` and `for_each:`".to_owned(),
        );
    }
}
