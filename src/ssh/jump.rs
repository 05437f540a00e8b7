//! Jump hosts: one connection for all hosts behind each.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::model::{Reason, ReasonKind};

use super::connection::{Connection, ForwardError};
use super::connector::Endpoint;

/// The jump hosts of a run.
#[derive(Default)]
pub(super) struct Jumps(Mutex<HashMap<Endpoint, Arc<Jump>>>);

/// One jump host.
pub(super) struct Jump {
    last: tokio::sync::Mutex<Option<Attempt>>,
    /// Handshakes through it at the same time.
    pub(super) handshakes: Semaphore,
}

/// The last attempt to connect it.
struct Attempt {
    ended: Instant,
    result: Result<Arc<Connection>, Reason>,
}

impl Jumps {
    /// The jump host behind this endpoint.
    pub(super) fn get(&self, endpoint: &Endpoint, handshakes: usize) -> Arc<Jump> {
        let mut jumps = self.0.lock().expect("nobody panics while holding it");
        let new = || Jump { last: tokio::sync::Mutex::default(), handshakes: Semaphore::new(handshakes) };
        Arc::clone(jumps.entry(endpoint.clone()).or_insert_with(|| Arc::new(new())))
    }
}

impl Jump {
    /// Its connection: the living one, or a new one. One that has just failed is not asked again for a while, or each of the hosts
    /// behind it would wait for its deadline one after the other.
    pub(super) async fn connection(
        &self,
        connect: impl Future<Output = Result<Connection, Reason>>,
        patience: Duration,
    ) -> Result<Arc<Connection>, Reason> {
        let mut last = self.last.lock().await;
        match &*last {
            Some(Attempt { result: Ok(connection), .. }) if !connection.is_closed() => {
                return Ok(Arc::clone(connection));
            }
            Some(Attempt { result: Err(reason), ended }) if ended.elapsed() < patience => return Err(reason.clone()),
            Some(_) | None => {}
        }
        let result = connect.await.map(Arc::new);
        *last = Some(Attempt { ended: Instant::now(), result: result.clone() });
        result
    }
}

/// Why a host behind a jump host is not reached.
pub(super) fn no_way(jump: &Endpoint, endpoint: &Endpoint, error: &ForwardError) -> Reason {
    let Endpoint { host: jump, .. } = jump;
    let target = format!("{}:{}", endpoint.address, endpoint.port);
    match error {
        ForwardError::Refused => {
            let detail =
                format!("the jump host `{jump}` cannot reach {target}: refused, no route, or no such name there");
            Reason::new(ReasonKind::Unreachable, detail)
        }
        ForwardError::Late(_) => {
            let detail = format!("the jump host `{jump}` did not reach {target}: {error}");
            Reason::new(ReasonKind::TimedOut, detail)
        }
        ForwardError::Prohibited | ForwardError::Failed(_) => Reason::new(
            ReasonKind::JumpFailed,
            format!("the jump host `{jump}` does not let us through to {target}: {error}"),
        ),
    }
}

/// The jump host itself was not reached: its own reason, and whose it is.
pub(super) fn not_reached(jump: &Endpoint, reason: &Reason) -> Reason {
    Reason::new(reason.kind, format!("the jump host `{}`: {}", jump.host, reason.detail))
}
