//! Hosts behind other hosts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockturn::model::{Reason, ReasonKind};
use lockturn::ssh::{Connection, Connector, Endpoint, Settings};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::server::{Forward, Login, PATIENCE, Script, Server, connector, eventually, refused};

fn behind(jump: &Endpoint, server: &Server) -> Endpoint {
    Endpoint { jump: Some(Box::new(jump.clone())), ..server.endpoint() }
}

fn named(server: &Server, name: &str) -> Endpoint {
    Endpoint { host: name.parse().unwrap(), ..server.endpoint() }
}

async fn reach(connector: &Connector, endpoint: &Endpoint) -> Result<Connection, Reason> {
    let connecting = connector.connect(endpoint, CancellationToken::new());
    tokio::time::timeout(PATIENCE, connecting).await.expect("connecting hangs").map_err(|error| error.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hosts_behind_a_jump_host_share_its_one_connection() {
    let (jump, inner) = (Server::start(Script::default()).await, Server::start(Script::default()).await);
    let (connector, endpoint) = (connector(Settings::default()), behind(&named(&jump, "j"), &inner));
    let reached = futures::future::join_all((0..20).map(|_| reach(&connector, &endpoint))).await;
    assert!(reached.iter().all(Result::is_ok));
    assert_eq!(jump.counts.connections.load(Ordering::SeqCst), 1);
    assert_eq!(inner.counts.connections.load(Ordering::SeqCst), 20);
    drop(reached);
    inner.left_alone().await;
    drop(connector);
    jump.left_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_host_may_lie_behind_another_one() {
    let (outer, middle) = (Server::start(Script::default()).await, Server::start(Script::default()).await);
    let inner = Server::start(Script::default()).await;
    let connector = connector(Settings::default());
    let endpoint = behind(&Endpoint { host: "m".parse().unwrap(), ..behind(&named(&outer, "o"), &middle) }, &inner);
    let connection = reach(&connector, &endpoint).await.unwrap();
    assert_eq!(outer.counts.connections.load(Ordering::SeqCst), 1);
    connection.exec("x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_host_that_was_lost_is_connected_again() {
    let (jump, inner) = (Server::start(Script::default()).await, Server::start(Script::default()).await);
    let settings = Settings {
        keepalive: Duration::from_millis(300),
        keepalives_missed: 1,
        connect: Duration::from_secs(2),
        ..Settings::default()
    };
    let (connector, endpoint) = (connector(settings), behind(&named(&jump, "j"), &inner));
    let first = reach(&connector, &endpoint).await.unwrap();
    jump.gone.store(true, Ordering::SeqCst);
    eventually("nobody notices", || first.is_closed()).await;
    jump.left_alone().await;
    jump.gone.store(false, Ordering::SeqCst);
    reach(&connector, &endpoint).await.unwrap();
    assert_eq!(jump.counts.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_at_the_jump_host_is_said_to_be_its_own() {
    let inner = Server::start(Script::default()).await;
    let settings = || Settings { open: Duration::from_secs(1), ..Settings::default() };
    for (script, kind, words) in [
        (Script { login: Login::Refused, ..Script::default() }, ReasonKind::AuthRefused, "the jump host `j`: "),
        (
            Script { forward: Forward::Prohibited, ..Script::default() },
            ReasonKind::JumpFailed,
            "the jump host `j` does not let us through",
        ),
        (Script { forward: Forward::NeverOpens, ..Script::default() }, ReasonKind::TimedOut, "the jump host `j`"),
    ] {
        let jump = Server::start(script).await;
        let connector = connector(settings());
        refused(reach(&connector, &behind(&named(&jump, "j"), &inner)).await, kind, words);
    }
    let jump = Server::start(Script::default()).await;
    let connector = connector(settings());
    let mut nobody = behind(&named(&jump, "j"), &inner);
    nobody.port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    refused(reach(&connector, &nobody).await, ReasonKind::Unreachable, "the jump host `j` cannot reach 127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_jump_host_costs_its_deadline_once_and_not_once_a_host() {
    let silent = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (files, inner) = (Server::start(Script::default()).await, Server::start(Script::default()).await);
    let mut jump = named(&files, "j");
    jump.port = silent.local_addr().unwrap().port();
    let settings = Settings { handshake: Duration::from_secs(1), ..Settings::default() };
    let (connector, endpoint) = (connector(settings), behind(&jump, &inner));
    let all = futures::future::join_all((0..100).map(|_| reach(&connector, &endpoint)));
    for reached in tokio::time::timeout(PATIENCE, all).await.expect("each host waits for the deadline anew") {
        refused(reached, ReasonKind::TimedOut, "the jump host `j`: connected, but the server said nothing");
    }
}
