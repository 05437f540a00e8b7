//! Programs that are not started, say nothing, say too much, or do not say how they ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockturn::host::{CallError, HostProgram, Nonce, Request};
use lockturn::model::{Become, ReasonKind};
use lockturn::runtime::actor::{Actor, Who};
use lockturn::ssh::{ForwardError, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::server::{Forward, PATIENCE, Program, Script, Server, connector, eventually, refused};

async fn running(program: Program) -> Server {
    Server::start(Script { program, ..Script::default() }).await
}

fn hasty() -> Settings {
    let short = Duration::from_secs(2);
    Settings { open: short, start: short, ..Settings::default() }
}

/// A host as a run has it.
fn actor(server: &Server, become_user: Become) -> Actor {
    actor_with(server, become_user, hasty())
}

fn actor_with(server: &Server, become_user: Become, settings: Settings) -> Actor {
    let who = Who {
        host: "h".parse().unwrap(),
        endpoint: server.endpoint(),
        become_user,
        state_dir: String::new(),
        path: String::new(),
    };
    let connector = Arc::new(connector(settings));
    Actor::new(who, "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(), 1, connector, CancellationToken::new())
}

async fn no_shell(program: Program, kind: ReasonKind, words: &str) {
    let server = running(program).await;
    let mut actor = actor(&server, Become::None);
    let connected = tokio::time::timeout(PATIENCE, actor.connect()).await.expect("the host hangs");
    refused(connected, kind, words);
    server.left_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_gives_no_shell_says_why_in_bounded_time() {
    let kind = ReasonKind::NoShell;
    tokio::join!(
        no_shell(Program::Refused, kind, "runs no program for this login"),
        no_shell(Program::Ends(Some(1)), kind, "it said: \"a word\""),
        no_shell(Program::Ends(None), kind, "it said: \"a word\""),
        no_shell(Program::Silent, kind, "did not begin to answer in time"),
        no_shell(Program::Echo, kind, "did not begin to answer in time"),
        no_shell(Program::Floods, kind, "64 KiB"),
        no_shell(Program::FloodsStderr, kind, "did not begin to answer in time: eeee"),
        no_shell(Program::NeverOpens, ReasonKind::TimedOut, "no session opened within 2 s"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_vanishes_while_the_shell_starts_is_lost_and_not_without_a_shell() {
    let server = running(Program::Vanishes).await;
    let keepalive = Duration::from_millis(300);
    let settings = Settings { keepalive, keepalives_missed: 1, start: PATIENCE, ..Settings::default() };
    let mut actor = actor_with(&server, Become::Sudo, settings);
    let connected = tokio::time::timeout(PATIENCE, actor.connect()).await.expect("nobody notices");
    refused(connected, ReasonKind::ConnectionLost, "before a shell answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_nothing_is_given_up() {
    let server = Server::start(Script { window: Some(0), ..Script::default() }).await;
    let mut actor = actor(&server, Become::None);
    let connected = tokio::time::timeout(PATIENCE, actor.connect()).await.expect("the host hangs");
    refused(connected, ReasonKind::NoShell, "did not begin to answer in time");
    server.left_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_that_is_only_slow_is_not_taken_for_a_sudo_that_refuses() {
    let server = running(Program::FloodsStderr).await;
    let mut actor = actor(&server, Become::Sudo);
    refused(actor.connect().await, ReasonKind::NoShell, "did not begin to answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_an_exit_status_is_not_taken_for_success() {
    for status in [None, Some(0), Some(7)] {
        let server = running(Program::Ends(status)).await;
        let connection = server.connect(Settings::default()).await.unwrap();
        let mut exec = connection.exec("x").await.unwrap();
        let mut said = String::new();
        exec.reader.read_to_string(&mut said).await.unwrap();
        let ended = exec.ended.await;
        assert_eq!((said.as_str(), ended.status, ended.refused), ("a word\n", status, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_never_answered_is_given_up() {
    let server = running(Program::Silent).await;
    let connection = server.connect(Settings::default()).await.unwrap();
    let exec = connection.exec("x").await.unwrap();
    // The shell is ready, so to speak; from then on it is silent for ever.
    let ready = std::io::Cursor::new(b"LOCKTURN-READY 1\n".to_vec());
    let reader = tokio::io::AsyncReadExt::chain(ready, exec.reader);
    let mut program = HostProgram::start(reader, exec.writer, Nonce::new([0; 16]), PATIENCE).await.unwrap();
    let lost = program.call(&Request::Cut, Duration::from_secs(1)).await.map(drop).unwrap_err();
    assert!(matches!(&lost, CallError::Lost(reason) if reason.kind == ReasonKind::TimedOut), "{lost:?}");
    assert!(program.is_over());
    connection.close().await;
    server.left_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_floods_an_idle_connection_loses_it() {
    let server = running(Program::Floods).await;
    let connection = server.connect(Settings::default()).await.unwrap();
    let exec = connection.exec("x").await.unwrap();
    // Nobody reads: what is kept is bounded, and then the connection ends.
    let ended = tokio::time::timeout(PATIENCE, exec.ended).await.expect("the flood goes on");
    assert_eq!(ended.status, None);
    server.left_alone().await;
    assert!(connection.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_does_not_freeze_its_neighbours() {
    let server = running(Program::FloodsStderr).await;
    let connection = server.connect(Settings::default()).await.unwrap();
    let unread = connection.exec("x").await.unwrap();
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = echo.accept().await.unwrap();
        socket.write_all(b"hello").await.unwrap();
    });
    let neighbour = async {
        let mut stream = connection.forward("127.0.0.1", port).await.unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
    };
    tokio::time::timeout(PATIENCE, neighbour).await.expect("one channel freezes the other");
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_open_is_given_up_and_closed_when_it_opens_after_all() {
    let late = Duration::from_millis(1_500);
    for (forward, opens) in [(Forward::NeverOpens, false), (Forward::LateBy(late), true)] {
        let server = Server::start(Script { forward, ..Script::default() }).await;
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = echo.local_addr().unwrap().port();
        let settings = Settings { open: Duration::from_millis(500), ..Settings::default() };
        let connection = server.connect(settings).await.unwrap();
        let opened = connection.forward("127.0.0.1", port).await.map(drop);
        assert_eq!(opened, Err(ForwardError::Late(Duration::from_millis(500))));
        assert!(!connection.is_closed());
        if opens {
            let closed = || server.counts.forwards_closed.load(Ordering::SeqCst) == 1;
            let socket = tokio::time::timeout(PATIENCE, echo.accept()).await.expect("it never opens").unwrap();
            eventually("the late stream stays open", || {
                // Both sides: the host's end is closed by us, the service's by the host.
                let mut byte = [0];
                matches!(socket.0.try_read(&mut byte), Ok(0))
            })
            .await;
            drop(socket);
            eventually("the late stream stays open", closed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_why_it_does_not_open() {
    let server = Server::start(Script { forward: Forward::Prohibited, ..Script::default() }).await;
    let connection = server.connect(Settings::default()).await.unwrap();
    assert_eq!(connection.forward("127.0.0.1", 1).await.map(drop), Err(ForwardError::Prohibited));
    let server = Server::start(Script::default()).await;
    let connection = server.connect(Settings::default()).await.unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert_eq!(connection.forward("127.0.0.1", nobody).await.map(drop), Err(ForwardError::Refused));
}
