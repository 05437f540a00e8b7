//! Connections that live for a while.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lockturn::ssh::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::{PATIENCE, Script, Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_opens_channels_gets_none_and_the_connection_lives_on() {
    let server = Server::start(Script { opens: 7, ..Script::default() }).await;
    let connection = server.connect(Settings::default()).await.unwrap();
    let counts = &server.counts;
    eventually("not all were answered", || counts.refused_channels.load(Ordering::SeqCst) == 7).await;
    assert_eq!(counts.accepted_channels.load(Ordering::SeqCst), 0);
    assert!(!connection.is_closed());
    connection.exec("x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_stops_opening_channels_loses_the_connection() {
    let server = Server::start(Script { opens: 100_000, ..Script::default() }).await;
    let connection = server.connect(Settings::default()).await.unwrap();
    server.left_alone().await;
    assert!(connection.is_closed());
    assert_eq!(server.counts.accepted_channels.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_vanishes_is_noticed() {
    let server = Server::start(Script::default()).await;
    let keepalive = Duration::from_millis(300);
    let settings = Settings { keepalive, keepalives_missed: 2, ..Settings::default() };
    let connection = server.connect(settings).await.unwrap();
    let mut exec = connection.exec("x").await.unwrap();
    tokio::time::sleep(3 * keepalive).await;
    assert!(!connection.is_closed(), "a server that answers is taken for dead");
    server.gone.store(true, Ordering::SeqCst);
    let vanished = Instant::now();
    // Whoever waits for the program is told as well.
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, exec.reader.read_to_end(&mut rest)).await.expect("nobody notices").unwrap();
    assert!(vanished.elapsed() >= 2 * keepalive, "{:?}", vanished.elapsed());
    eventually("it is still called alive", || connection.is_closed()).await;
    server.left_alone().await;
}

/// Two megabytes there and back. How many bytes the server sent for it.
async fn long_session(rekey_bytes: usize) -> u64 {
    let server = Server::start(Script::default()).await;
    let connection = server.connect(Settings { rekey_bytes, ..Settings::default() }).await.unwrap();
    let mut exec = connection.exec("x").await.unwrap();
    let sent: Vec<u8> = (0..2_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut got = vec![0; sent.len()];
    let talk = async { tokio::join!(exec.writer.write_all(&sent), exec.reader.read_exact(&mut got)) };
    let (wrote, read) = tokio::time::timeout(PATIENCE, talk).await.expect("the session hangs");
    wrote.unwrap();
    read.unwrap();
    assert!(sent == got, "what came back is not what was sent");
    connection.close().await;
    server.left_alone().await;
    server.counts.sent.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_session_changes_its_keys_and_loses_no_byte() {
    let (once, often) = tokio::join!(long_session(1 << 30), long_session(16 * 1024));
    // Each key exchange in the middle of the data takes more than 1 KiB.
    assert!(often > once + 4 * 1024, "{once} bytes with one key exchange, {often} with many");
}
