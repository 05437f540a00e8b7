//! What the ledger has of hosts from before they were isolated: how their peers knew them, and what answered there. A release tries it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::Journal;
use crate::model::{Event, HostName, Known, Reached, RunId, Way};

use super::CliError;
use super::session::journal;

/// Of some hosts.
#[derive(Default)]
pub(super) struct Before {
    /// By which addresses peers knew each.
    pub(super) known: BTreeMap<HostName, Known>,
    /// What answered from each peer.
    pub(super) reached: BTreeMap<HostName, Vec<Reached>>,
}

impl Before {
    /// From all runs that isolated these hosts since they were released last, up to `until`, if that is said. A later one about the same
    /// hosts found them isolated already, so what it lacks says nothing.
    pub(super) fn of<'a>(
        ledger: &Journal,
        hosts: impl IntoIterator<Item = &'a HostName>,
        until: Option<&RunId>,
    ) -> Result<Self, CliError> {
        let hosts: BTreeSet<&HostName> = hosts.into_iter().collect();
        let mut before = Self::default();
        let runs = ledger.runs().map_err(journal)?;
        for run in runs.into_iter().take_while(|run| until != Some(&run.run)) {
            let Some(isolates) = run.isolates else { continue };
            let concerned: BTreeSet<&HostName> = isolates.hosts.iter().filter(|host| hosts.contains(*host)).collect();
            if isolates.way == Way::Release {
                concerned.into_iter().for_each(|host| before.forget(host));
                continue;
            }
            let Some(plan) = ledger.isolation(&run.run).map_err(journal)?.filter(|_| !concerned.is_empty()) else {
                continue;
            };
            for (host, known) in plan.hosts.into_iter().filter(|(host, _)| hosts.contains(host)) {
                let all = before.known.entry(host).or_insert_with(|| known.clone());
                all.addresses.extend(known.addresses);
                all.port = known.port;
            }
            for entry in ledger.entries(&run.run).map_err(journal)? {
                if let Event::ReachedBefore { host: peer, answered } = entry.event {
                    let answered = answered.into_iter().filter(|way| hosts.contains(&way.host));
                    before.reached.entry(peer).or_default().extend(answered);
                }
            }
        }
        Ok(before)
    }

    /// What was before an earlier release counts no more.
    fn forget(&mut self, host: &HostName) {
        self.known.remove(host);
        self.reached.values_mut().for_each(|ways| ways.retain(|way| way.host != *host));
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::StateDir;
    use crate::model::{Entry, ISOLATION_VERSION, Isolates, IsolationPlan, Millis};

    use super::*;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    fn echo(address: &str) -> Reached {
        Reached { host: name("w-1"), address: address.parse().unwrap(), port: None }
    }

    /// A run about `w-1`, which its peers know by this address, and what answered from `control`.
    fn add(ledger: &mut Journal, run: &str, way: Way, address: &str, answered: Option<Vec<Reached>>) {
        let run: RunId = run.parse().unwrap();
        let known = Known { addresses: BTreeSet::from([address.parse().unwrap()]), port: 22 };
        let plan = IsolationPlan {
            isolation: ISOLATION_VERSION,
            way,
            reason: String::new(),
            hosts: BTreeMap::from([(name("w-1"), known)]),
            members: BTreeMap::new(),
            lease: Millis::from_secs(60),
            managers: BTreeSet::new(),
            evidence: None,
            forgetting: None,
        };
        let began = Event::RunBegan {
            run: run.clone(),
            plan: plan.hash(),
            playbook: way.label().to_owned(),
            hosts: 2,
            operator: "op@here".to_owned(),
            version: "0".to_owned(),
        };
        let isolates = Isolates { way, hosts: BTreeSet::from([name("w-1")]), reason: String::new(), expires: None };
        let entry = |event| Entry { at_unix: Millis(1_700_000_000_000), elapsed: Millis(7), event };
        ledger.begin_isolation(&run, &plan, "op@here", &[began, Event::RunIsolates(isolates)].map(entry)).unwrap();
        let reached = answered.map(|answered| Event::ReachedBefore { host: name("control"), answered });
        ledger.append(&run, &reached.map(entry).into_iter().collect::<Vec<_>>()).unwrap();
    }

    #[test]
    fn what_answered_before_the_last_quarantine_counts_and_nothing_from_before_an_earlier_release() {
        let temp = tempfile::tempdir().unwrap();
        let mut ledger = Journal::open(&StateDir::open(&temp.path().join("state")).unwrap()).unwrap();
        let (first, now, later) = ("192.0.2.1", "2001:db8::7", "192.0.2.7");
        add(&mut ledger, "01A", Way::Quarantine, first, Some(vec![echo(first)]));
        add(&mut ledger, "01B", Way::Release, first, None);
        add(&mut ledger, "01C", Way::Quarantine, now, Some(vec![echo(now)]));
        // It was isolated by then, so nothing answered.
        add(&mut ledger, "01D", Way::Quarantine, later, Some(Vec::new()));
        add(&mut ledger, "01E", Way::Release, later, None);

        let hosts = [name("w-1"), name("w-2")];
        let before = Before::of(&ledger, &hosts, Some(&"01E".parse().unwrap())).unwrap();
        assert_eq!(before.known.keys().collect::<Vec<_>>(), [&name("w-1")]);
        let known: BTreeSet<_> = [now, later].iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!(before.known[&name("w-1")].addresses, known);
        assert_eq!(before.reached[&name("control")], [echo(now)]);
        let nobody = Before::of(&ledger, &hosts[1..], None).unwrap();
        assert!(nobody.known.is_empty() && nobody.reached.values().all(Vec::is_empty));
    }
}
