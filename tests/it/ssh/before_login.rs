//! Servers that do not get as far as a login.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lockturn::model::ReasonKind;
use lockturn::ssh::Settings;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::server::{Link, Script, Server, connect, refused};

/// What a test waits for is what it is about.
fn hasty() -> Settings {
    let short = Duration::from_millis(1_500);
    Settings { connect: short, handshake: short, pauses: Vec::new(), ..Settings::default() }
}

/// Connects to a server that speaks these bytes, one by one at this pace, and then closes or stays silent.
async fn against(words: &'static [u8], pace: Duration, closes: bool) -> Result<(), lockturn::model::Reason> {
    // Only the files of this one are used.
    let files = Server::start(Script::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = files.endpoint();
    endpoint.port = listener.local_addr().unwrap().port();
    let speaking = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        if pace.is_zero() {
            socket.write_all(words).await.unwrap();
        } else {
            for byte in words.iter().cycle() {
                if socket.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(pace).await;
            }
        }
        if closes {
            return;
        }
        // A client that has gone away is the end of it.
        let mut sink = tokio::io::sink();
        let _ended = tokio::io::copy(&mut socket, &mut sink).await;
    });
    let connected = connect(hasty(), &endpoint).await.map(drop);
    tokio::time::timeout(super::server::PATIENCE, speaking).await.expect("the client keeps its socket").unwrap();
    connected
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_nobody_listens_on_is_refused_at_once() {
    let server = Server::start(Script::default()).await;
    let mut endpoint = server.endpoint();
    endpoint.port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    refused(connect(Settings::default(), &endpoint).await, ReasonKind::ConnectionRefused, "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_address_is_named() {
    let server = Server::start(Script::default()).await;
    let mut endpoint = server.endpoint();
    endpoint.address = "no-such-host.invalid".to_owned();
    refused(connect(Settings::default(), &endpoint).await, ReasonKind::NameUnknown, "no-such-host.invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_swallows_everything_times_out() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // Nobody accepts, and the queue is full: the kernel drops what knocks.
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(one)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(one);
        assert!(waiting.len() < 64, "the queue never fills");
    }
    let server = Server::start(Script::default()).await;
    let mut endpoint = server.endpoint();
    endpoint.port = address.port();
    refused(connect(hasty(), &endpoint).await, ReasonKind::TimedOut, "did not answer within 1.5 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_or_not_enough_times_out() {
    let at_once = Duration::ZERO;
    refused(against(b"", at_once, false).await, ReasonKind::TimedOut, "the server said nothing");
    refused(against(b"SSH-2.0-x\r\n", at_once, false).await, ReasonKind::TimedOut, "key exchange");
    refused(against(b"SSH-2.0-", at_once, false).await, ReasonKind::TimedOut, "key exchange");
    // Byte by byte, so that each of them is a sign of life.
    refused(against(b"x", Duration::from_millis(100), false).await, ReasonKind::TimedOut, "key exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_at_once_is_not_taken_for_a_wrong_key() {
    let at_once = Duration::ZERO;
    refused(against(b"", at_once, true).await, ReasonKind::Throttled, "closed the connection");
    refused(against(b"Exceeded MaxStartups\r\n", at_once, true).await, ReasonKind::Throttled, "Exceeded MaxStartups");
    refused(against(b"SSH-2.0-x\r\n", at_once, true).await, ReasonKind::Throttled, "before it showed its key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_ssh_is_said_to_be_none() {
    let noise: &[u8] = "welcome\r\n".repeat(100).leak().as_bytes();
    refused(against(noise, Duration::ZERO, false).await, ReasonKind::ProtocolBroken, "it said \"welcome\"");
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    refused(against(http, Duration::ZERO, true).await, ReasonKind::Throttled, "HTTP/1.1 400 Bad Request");
    let huge = b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    refused(against(huge, Duration::ZERO, false).await, ReasonKind::ProtocolBroken, "handshake failed");
}

/// The number of bytes that a server sends in a whole handshake.
async fn whole_handshake() -> u64 {
    let server = Server::start(Script::default()).await;
    let connection = server.connect(Settings::default()).await.unwrap();
    let sent = server.counts.sent.load(Ordering::SeqCst);
    connection.close().await;
    server.left_alone().await;
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_handshake_stalls_it_ends_and_leaves_no_socket() {
    let whole = whole_handshake().await;
    let stalls = (0..12).map(|part| whole * part / 12).map(|after| async move {
        let server = Server::start(Script { link: Link::StallsAfter(after), ..Script::default() }).await;
        refused(server.connect(hasty()).await, ReasonKind::TimedOut, "within 1.5 s");
        server.left_alone().await;
    });
    futures::future::join_all(stalls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_handshake_breaks_no_key_is_blamed() {
    let whole = whole_handshake().await;
    let breaks = (0..24).map(|part| whole * part / 24).map(|after| async move {
        let server = Server::start(Script { link: Link::BreaksAfter(after), ..Script::default() }).await;
        let settings = Settings { pauses: Vec::new(), ..Settings::default() };
        let reason = server.connect(settings).await.map(drop).unwrap_err();
        let honest = [ReasonKind::Throttled, ReasonKind::ConnectionLost];
        assert!(honest.contains(&reason.kind), "after {after} bytes of {whole}: {:?} {reason}", reason.kind);
        reason.kind
    });
    let kinds = futures::future::join_all(breaks).await;
    assert!(kinds.contains(&ReasonKind::Throttled) && kinds.contains(&ReasonKind::ConnectionLost), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_gives_up_leaves_no_socket_and_no_task() {
    let server = Server::start(Script { link: Link::StallsAfter(30), ..Script::default() }).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (endpoint, connector) = (server.endpoint(), super::server::connector(Settings::default()));
    let connecting = connector.connect(&endpoint, tokio_util::sync::CancellationToken::new());
    assert!(tokio::time::timeout(Duration::from_millis(300), connecting).await.is_err());
    assert_eq!(server.counts.connections.load(Ordering::SeqCst), 1);
    server.left_alone().await;
    super::server::eventually("a task is left", || tasks() == before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full_is_asked_again_but_not_for_ever() {
    let pause = Duration::from_millis(100);
    let settings = Settings { pauses: vec![pause, pause], ..Settings::default() };
    let server = Server::start(Script { full_for: 2, ..Script::default() }).await;
    server.connect(settings.clone()).await.unwrap();
    assert_eq!(server.counts.connections.load(Ordering::SeqCst), 3);
    let server = Server::start(Script { full_for: 100, ..Script::default() }).await;
    refused(server.connect(settings).await, ReasonKind::Throttled, "closed the connection");
    assert_eq!(server.counts.connections.load(Ordering::SeqCst), 3);
}
