//! What a peer tries: what answers before a host is isolated, that nothing does afterwards, and that traffic flows once it is released.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::host::CallError;
use crate::model::{HostName, IsolationPlan, Reached, Reason, ReasonKind};
use crate::quarantine::{Table, flows};
use crate::runtime::actor::Actor;

use super::program;

/// How long an answer from such a host is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What answers from there: for each address one way at most, which is enough. The host is open until we are done, and an attempt in vain
/// takes its whole time.
pub(super) async fn answering(
    actor: &mut Actor,
    plan: &IsolationPlan,
    peer: &HostName,
) -> Result<Vec<Reached>, CallError> {
    let mut answered: Vec<Reached> = Vec::new();
    for way in ways(plan, peer) {
        let known = answered.iter().any(|other| other.host == way.host && other.address == way.address);
        if !known && answers(actor, &way).await? {
            answered.push(way);
        }
    }
    Ok(answered)
}

/// Nothing answers any more, and it is the peer's doing.
pub(super) async fn is_closed(
    actor: &mut Actor,
    plan: &IsolationPlan,
    peer: &HostName,
    before: &[Reached],
) -> Result<(), CallError> {
    let refused = |kind, detail: String| Err(CallError::Refused(Reason::new(kind, detail)));
    // A host that drops everybody itself answers nobody, and shows nothing of its peers: then it is the kernel of this very peer that
    // must have dropped what was sent.
    let mut open: BTreeSet<&HostName> = plan.hosts.keys().collect();
    for way in ways(plan, peer) {
        let count = dropped(actor, &way).await?;
        if answers(actor, &way).await? {
            return refused(ReasonKind::ProbeUnexpected, format!("{way} still answers from here"));
        }
        if before.contains(&way) || dropped(actor, &way).await? > count {
            open.remove(&way.host);
        }
    }
    match open.first() {
        Some(isolated) => refused(
            ReasonKind::ProbeImpossible,
            format!(
                "the rules are in place; {isolated} did not answer from here before either, and nothing to it was dropped"
            ),
        ),
        None => Ok(()),
    }
}

/// What answered before the host was isolated answers again.
pub(super) async fn flows_again(
    actor: &mut Actor,
    plan: &IsolationPlan,
    peer: &HostName,
    before: &[Reached],
) -> Result<(), CallError> {
    let now = answering(actor, plan, peer).await?;
    flows(plan.hosts.keys(), before, &now)
        .map_err(|error| CallError::Refused(Reason::new(ReasonKind::ProbeImpossible, error.to_string())))
}

/// All that a peer can try: an echo, and the sshd, which answers afterwards too where the host is managed through that peer.
fn ways(plan: &IsolationPlan, peer: &HostName) -> Vec<Reached> {
    let member = plan.members.get(peer);
    let mut ways = Vec::new();
    for (host, known) in &plan.hosts {
        let is_way = member.is_some_and(|member| member.way_to.contains_key(host));
        for address in &known.addresses {
            let way = |port| Reached { host: host.clone(), address: *address, port };
            ways.push(way(None));
            ways.extend((!is_way).then(|| way(Some(known.port))));
        }
    }
    ways
}

/// Tries it from that machine. What cannot be tried does not answer.
async fn answers(actor: &mut Actor, way: &Reached) -> Result<bool, CallError> {
    let address = way.address.to_string();
    if let Some(port) = way.port {
        let connection = actor.connection().await?;
        let opened = tokio::time::timeout(ANSWER_MAX, connection.forward(&address, port)).await;
        return Ok(matches!(opened, Ok(Ok(_))));
    }
    let seconds = ANSWER_MAX.as_secs().to_string();
    match program(actor, &["ping", "-n", "-q", "-c", "1", "-W", &seconds, &address]).await {
        Ok(output) => Ok(output.status == 0),
        Err(CallError::Refused(_)) => Ok(false),
        Err(lost) => Err(lost),
    }
}

/// How many packets to a host the rules of that peer have dropped there, by the count of its kernel; of one family.
async fn dropped(actor: &mut Actor, way: &Reached) -> Result<u64, CallError> {
    let table = Table::of(&way.host).to_string();
    let listed = program(actor, &["nft", "list", "chain", "inet", &table, "lockturn_output"]).await?;
    let family =
        if way.address.is_ipv4() { "@lockturn_host_v4 counter packets " } else { "@lockturn_host_v6 counter packets " };
    let listed = String::from_utf8_lossy(listed.output.expose()).into_owned();
    let counts = listed.lines().filter_map(|line| line.split_once(family)?.1.split(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}
