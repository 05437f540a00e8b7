//! A host that is just starting again: waited for where that keeps nobody waiting, and not for ever.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use lockturn::host::Request;
use lockturn::model::{Become, ReasonKind};
use lockturn::runtime::actor::{Actor, STEP_MAX, Who};
use lockturn::ssh::{Endpoint, Settings};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::server::{PATIENCE, connector, key};

/// An address of its own, so that nobody else comes to listen there.
fn host_at(address: &str, dir: &tempfile::TempDir, patient: bool) -> Actor {
    let (identity, known) = (dir.path().join("key"), dir.path().join("known_hosts"));
    std::fs::write(&identity, key(1).to_openssh(russh::keys::ssh_key::LineEnding::LF).unwrap()).unwrap();
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).unwrap();
    let public = key(2).public_key().to_openssh().unwrap();
    std::fs::write(&known, format!("[{address}]:2022 {public}\n")).unwrap();
    let endpoint = Endpoint {
        host: "h".parse().unwrap(),
        address: address.to_owned(),
        port: 2022,
        user: "op".to_owned(),
        identity_files: vec![identity],
        known_hosts: vec![known],
        jump: None,
    };
    let who = Who {
        host: "h".parse().unwrap(),
        endpoint,
        become_user: Become::None,
        state_dir: String::new(),
        path: String::new(),
    };
    let connector = Arc::new(connector(Settings::default()));
    let run = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
    let mut actor = Actor::new(who, run, 1, connector, CancellationToken::new());
    actor.be_patient(patient);
    actor
}

/// The host is back after a while that it takes to start, and is asked again.
async fn starts(address: &str) {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let listener = TcpListener::bind(address).await.unwrap();
    timeout(PATIENCE, listener.accept()).await.expect("nobody asked again").unwrap();
}

#[tokio::test]
async fn a_host_that_refuses_for_a_moment_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut actor = host_at("127.83.7.1", &dir, true);
    let (_hung_up, ()) = tokio::join!(actor.call(&Request::Revert, STEP_MAX), starts("127.83.7.1:2022"));
}

#[tokio::test]
async fn a_host_that_does_not_come_back_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    for (address, patient) in [("127.83.7.2", true), ("127.83.7.3", false)] {
        let mut actor = host_at(address, &dir, patient);
        let limit = if patient { PATIENCE } else { Duration::from_secs(10) };
        let asked = timeout(limit, actor.call(&Request::Revert, STEP_MAX)).await.expect("it is waited for too long");
        assert_eq!(asked.err().unwrap().reason().kind, ReasonKind::ConnectionRefused, "{patient}");
    }
}

#[tokio::test]
async fn probes_that_go_through_a_host_wait_for_it_as_everything_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut actor = host_at("127.83.7.4", &dir, true);
    let asks = async {
        let _hung_up = actor.connection().await;
    };
    tokio::join!(asks, starts("127.83.7.4:2022"));
}
