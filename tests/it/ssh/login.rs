//! Servers that do not let us in, and keys that cannot be used.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockturn::model::ReasonKind;
use lockturn::ssh::Settings;

use super::server::{Login, Script, Server, connect, key, refused};

async fn logging_in(login: Login) -> Server {
    Server::start(Script { login, ..Script::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_taken_is_named() {
    let server = logging_in(Login::Refused).await;
    let path = server.at("key").display().to_string();
    refused(server.connect(Settings::default()).await, ReasonKind::AuthRefused, &path);
    server.left_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_not_asked_of_a_fleet() {
    let server = logging_in(Login::SecondFactor).await;
    refused(server.connect(Settings::default()).await, ReasonKind::AuthRefused, "second factor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_decides_times_out() {
    let server = logging_in(Login::NoAnswer).await;
    let settings = Settings { handshake: Duration::from_secs(3), ..Settings::default() };
    refused(server.connect(settings).await, ReasonKind::TimedOut, "authentication did not end within 3 s");
    server.left_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_used_is_found_before_anybody_is_asked() {
    let server = logging_in(Login::Accepted).await;
    let path = server.at("key");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    refused(server.connect(Settings::default()).await, ReasonKind::KeyUnusable, "mode 0644");
    mode(0o600);
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "not a key").unwrap();
    refused(server.connect(Settings::default()).await, ReasonKind::KeyUnusable, "not a private key");
    std::fs::write(&path, key(1).public_key().to_openssh().unwrap()).unwrap();
    refused(server.connect(Settings::default()).await, ReasonKind::KeyUnusable, "no SSH agent");
    std::fs::remove_file(&path).unwrap();
    refused(server.connect(Settings::default()).await, ReasonKind::KeyUnusable, "cannot be read");
    let mut endpoint = server.endpoint();
    endpoint.known_hosts = vec![server.at("")];
    std::fs::write(&path, good).unwrap();
    mode(0o600);
    refused(connect(Settings::default(), &endpoint).await, ReasonKind::KnownHostsUnreadable, "cannot be read");
    assert_eq!(server.counts.connections.load(Ordering::SeqCst), 0, "somebody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_known_hosts_files_are_one_and_a_revoked_key_in_any_counts() {
    let server = logging_in(Login::Accepted).await;
    let (own, all) = (server.at("known_hosts"), server.at("all"));
    let mut endpoint = server.endpoint();
    endpoint.known_hosts = vec![server.at("none"), all.clone(), own.clone()];
    connect(Settings::default(), &endpoint).await.unwrap();
    let public = key(2).public_key().to_openssh().unwrap();
    std::fs::write(&all, format!("# comment\n@revoked * {public}\n")).unwrap();
    refused(connect(Settings::default(), &endpoint).await, ReasonKind::HostKeyRevoked, "all:2");
    std::fs::write(&all, "[127.0.0.1]:1 nonsense\n").unwrap();
    std::fs::write(&own, "").unwrap();
    refused(connect(Settings::default(), &endpoint).await, ReasonKind::HostKeyUnknown, "all:1 cannot be read");
    let port = endpoint.port;
    let adds = format!("ssh-keyscan -p {port} 127.0.0.1 >> {}", server.at("none").display());
    refused(connect(Settings::default(), &endpoint).await, ReasonKind::HostKeyUnknown, &adds);
    let another = key(9).public_key().to_openssh().unwrap();
    std::fs::write(&own, format!("[127.0.0.?]:* {another}\n")).unwrap();
    refused(connect(Settings::default(), &endpoint).await, ReasonKind::HostKeyChanged, "known_hosts:1");
    let forgets = format!("ssh-keygen -R '[127.0.0.1]:{port}' -f {}", own.display());
    refused(connect(Settings::default(), &endpoint).await, ReasonKind::HostKeyChanged, &forgets);
}
