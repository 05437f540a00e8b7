//! The embedded fleet, used as lockturn uses it: a russh client that runs commands and forwards connections.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use lockturn::lab::{Fault, Lab, LabError, Role, RunningLab};
use lockturn::model::{Secret, hmac_sha256};
use russh::ChannelMsg;
use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};

/// Far longer than anything here takes: only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(60);

struct AnyHostKey;

impl client::Handler for AnyHostKey {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

fn random(bytes: &mut [u8]) {
    use rand::TryRng as _;
    rand::rngs::SysRng.try_fill_bytes(bytes).unwrap();
}

fn create(directory: &Path, workers: usize) -> Lab {
    Lab::create(directory, workers, Path::new(env!("CARGO_BIN_EXE_lockturn")), &mut random).unwrap()
}

fn client_key(lab: &Lab) -> PrivateKey {
    PrivateKey::read_openssh_file(lab.client_key()).unwrap()
}

async fn connect(lab: &Lab, host: &str, key: PrivateKey) -> Option<Handle<AnyHostKey>> {
    let address = lab.hosts().iter().find(|one| one.name == host).unwrap().address;
    let mut handle = client::connect(Arc::new(client::Config::default()), address, AnyHostKey).await.ok()?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    handle.authenticate_publickey("deploy", key).await.ok()?.success().then_some(handle)
}

async fn login(lab: &Lab, host: &str) -> Handle<AnyHostKey> {
    connect(lab, host, client_key(lab)).await.unwrap()
}

/// Runs a command; its exit status, stdout and stderr.
async fn exec(handle: &Handle<AnyHostKey>, command: &str, stdin: &[u8]) -> (u32, String, String) {
    let run = async {
        let (mut read, write) = handle.channel_open_session().await.unwrap().split();
        write.exec(true, command).await.unwrap();
        let send = async {
            if !stdin.is_empty() {
                write.data(stdin).await.unwrap();
            }
            write.eof().await.unwrap();
        };
        let receive = async {
            let (mut status, mut out, mut err) = (None, Vec::new(), Vec::new());
            while let Some(message) = read.wait().await {
                match message {
                    ChannelMsg::Data { data } => out.extend_from_slice(&data),
                    ChannelMsg::ExtendedData { data, .. } => err.extend_from_slice(&data),
                    ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                    _ => {}
                }
            }
            (status, out, err)
        };
        let ((), (status, out, err)) = tokio::join!(send, receive);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.expect("an exit status"), text(out), text(err))
    };
    tokio::time::timeout(PATIENCE, run).await.expect("the command hangs")
}

async fn restart(handle: &Handle<AnyHostKey>, unit: &str) -> u32 {
    exec(handle, &format!("PATH=$PWD/bin:$PATH; systemctl restart {unit}"), b"").await.0
}

/// An HTTP request through the connection.
async fn http(handle: &Handle<AnyHostKey>, port: u32, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let channel = handle.channel_open_direct_tcpip("127.0.0.1", port, "127.0.0.1", 0).await.unwrap();
    let stream = hyper_util::rt::TokioIo::new(channel.into_stream());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn signed(path: &str, worker: &str, secret: &str, body: &str) -> Request<Full<Bytes>> {
    let (now, id) = (jiff::Timestamp::now().to_string(), uuid::Uuid::new_v4().to_string());
    let digest = hmac_sha256(&Secret::new(secret.into()), format!("{now}\n{id}\n{body}").as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let request = Request::post(path).header("host", "127.0.0.1").header("X-Worker-Id", worker);
    let request = request.header("X-Worker-Timestamp", now).header("X-Worker-RequestId", id);
    request.header("X-Worker-HMAC", digest).body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

async fn dispatch(handle: &Handle<AnyHostKey>, secret: &str) -> u16 {
    http(handle, 7801, signed("/worker/dispatch", "worker-1", secret, "probe")).await.0.as_u16()
}

async fn worker_secret(handle: &Handle<AnyHostKey>) -> String {
    let (status, text, _) = exec(handle, "cat opt/nanoclaw/.env", b"").await;
    assert_eq!(status, 0);
    text.lines().find_map(|line| line.strip_prefix("WORKER_SHARED_SECRET=")).unwrap().to_owned()
}

async fn set_worker_secret(handle: &Handle<AnyHostKey>, secret: &str) {
    let (_, text, _) = exec(handle, "cat opt/nanoclaw/.env", b"").await;
    let old = worker_secret(handle).await;
    let text = text.replace(&old, secret);
    assert_eq!(exec(handle, "cat > opt/nanoclaw/.env", text.as_bytes()).await.0, 0);
}

const NEW: &str = "a-new-secret-of-the-worker";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_a_new_secret_at_its_restart_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let running = create(directory.path(), 1).start().await.unwrap();
    let handle = login(running.lab(), "worker-1").await;
    let old = worker_secret(&handle).await;
    assert_eq!((dispatch(&handle, &old).await, dispatch(&handle, NEW).await), (400, 401));

    set_worker_secret(&handle, NEW).await;
    assert_eq!((dispatch(&handle, &old).await, dispatch(&handle, NEW).await), (400, 401), "read at a start only");
    let show = "PATH=$PWD/bin:$PATH; systemctl show -p LoadState,ActiveState,SubState,NRestarts,MainPID,InvocationID nanoclaw-worker";
    let before = exec(&handle, show, b"").await.1;
    assert!(before.contains("LoadState=loaded\nActiveState=active\nSubState=running\nInvocationID="), "{before}");
    assert_eq!(restart(&handle, "nanoclaw-worker").await, 0);
    assert_ne!(exec(&handle, show, b"").await.1, before, "another process");
    assert_eq!((dispatch(&handle, NEW).await, dispatch(&handle, &old).await), (400, 401));

    let json = signed("/worker/dispatch", "worker-1", NEW, "{}");
    assert_eq!(http(&handle, 7801, json).await.0, 200);
    let again = || {
        let mut request = signed("/worker/dispatch", "worker-1", NEW, "probe");
        request.headers_mut().insert("X-Worker-RequestId", "the-same".parse().unwrap());
        request
    };
    assert!(http(&handle, 7801, again()).await.1.contains("HMAC_INVALID"));
    assert!(http(&handle, 7801, again()).await.1.contains("REPLAY_DETECTED"), "the nonce comes before the signature");
    let bare = Request::post("/worker/dispatch").body(Full::default()).unwrap();
    assert!(http(&handle, 7801, bare).await.1.contains("MISSING_HEADERS"));
    assert!(handle.channel_open_direct_tcpip("127.0.0.1", 7700, "127.0.0.1", 0).await.is_err(), "no other port");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_reads_its_table_at_each_call() {
    let directory = tempfile::tempdir().unwrap();
    let running = create(directory.path(), 2).start().await.unwrap();
    let lab = running.lab();
    let old = worker_secret(&login(lab, "worker-2").await).await;
    let handle = login(lab, "control").await;
    let completion = |secret: &str| signed("/ops/worker/completion", "worker-2", secret, "probe");
    assert_eq!(http(&handle, 7700, completion(&old)).await.0, 400);
    let database = lab.host_directory("control").join("opt/nanoclaw/store/messages.db");
    let sql =
        format!(".timeout 1000\nUPDATE workers SET shared_secret = '{NEW}' WHERE id = 'worker-2'; SELECT changes();");
    let mut out = Vec::new();
    let args = ["-batch", "-bail", database.to_str().unwrap()].map(str::to_owned);
    lockturn::lab::sqlite3(&args, &sql, &mut out).unwrap();
    assert_eq!(out, b"1\n");
    assert_eq!(http(&handle, 7700, completion(NEW)).await.0, 400);
    assert_eq!(http(&handle, 7700, completion(&old)).await.0, 401);

    let env = exec(&handle, "cat opt/nanoclaw/.env opt/nanoclaw/cockpit/.env", b"").await.1;
    let secrets: Vec<&str> = env.lines().filter_map(|line| line.strip_prefix("OS_HTTP_SECRET=")).collect();
    assert!(secrets.len() == 2 && secrets[0] == secrets[1]);
    let stats = |secret: &str| Request::get("/ops/stats").header("X-OS-SECRET", secret).body(Full::default()).unwrap();
    assert_eq!(http(&handle, 7700, stats(secrets[0])).await.0, 200);
    assert_eq!(http(&handle, 7700, stats(NEW)).await.0, 401);
    running.stop().await;
}

/// Gives the worker a new secret under a fault: the restart's exit status, and what the new and the old secret get.
async fn rotate_under(running: &RunningLab, fault: Fault) -> (u32, Option<(u16, u16)>) {
    let handle = login(running.lab(), "worker-1").await;
    let old = worker_secret(&handle).await;
    running.set_fault("worker-1", fault).unwrap();
    set_worker_secret(&handle, NEW).await;
    let status = restart(&handle, "nanoclaw-worker").await;
    let codes = if status == 0 {
        let health = Request::get("/worker/health").body(Full::default()).unwrap();
        assert_eq!(http(&handle, 7801, health).await.0, 200);
        Some((dispatch(&handle, NEW).await, dispatch(&handle, &old).await))
    } else {
        assert!(handle.channel_open_direct_tcpip("127.0.0.1", 7801, "127.0.0.1", 0).await.is_err());
        None
    };
    set_worker_secret(&handle, &old).await;
    assert_eq!(restart(&handle, "nanoclaw-worker").await, 0, "the way back is open under {fault}");
    assert_eq!(dispatch(&handle, &old).await, 400, "the old secret is taken again under {fault}");
    (status, codes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_misbehaves_as_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let running = create(directory.path(), 1).start().await.unwrap();
    assert_eq!(rotate_under(&running, Fault::RefusesNewSecret).await, (0, Some((401, 400))));
    assert_eq!(rotate_under(&running, Fault::HealthyButWrong).await, (0, Some((401, 401))));
    assert_eq!(rotate_under(&running, Fault::FailsToStart).await, (1, None));

    let pause = Duration::from_millis(200);
    let handle = login(running.lab(), "worker-1").await;
    running.set_fault("worker-1", Fault::SlowRestart(pause)).unwrap();
    let since = Instant::now();
    assert_eq!(restart(&handle, "nanoclaw-worker").await, 0);
    assert!(since.elapsed() >= pause);

    running.set_fault("worker-1", Fault::Down).unwrap();
    tokio::time::timeout(PATIENCE, handle).await.expect("the connection outlives its host").ok();
    assert!(connect(running.lab(), "worker-1", client_key(running.lab())).await.is_none());
    running.set_fault("worker-1", Fault::None).unwrap();
    let handle = login(running.lab(), "worker-1").await;
    let (mut read, write) = handle.channel_open_session().await.unwrap().split();
    write.exec(true, "cat").await.unwrap();
    std::fs::write(running.lab().host_directory("worker-1").join("fault"), "down\n").unwrap();
    write.data(&b"hello"[..]).await.unwrap();
    tokio::time::timeout(PATIENCE, async { while read.wait().await.is_some() {} }).await.expect("the file is not read");
    assert!(matches!(running.set_fault("worker-9", Fault::None), Err(LabError::NoSuchHost(_))));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_program_runs_unchanged_with_the_stand_ins() {
    let directory = tempfile::tempdir().unwrap();
    let running = create(directory.path(), 1).start().await.unwrap();
    let handle = login(running.lab(), "worker-1").await;
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, "exec /bin/sh -s").await.unwrap();
    channel.data(&include_bytes!("../../src/host/program.sh")[..]).await.unwrap();
    let nonce = "0123456789abcdef0123456789abcdef";
    let requests = [
        format!("{nonce}\n1 hello 4 0\n01ARZ3NDEKTSV4RRFFQ69G5FAV\n1\n.lockturn\nbin\n"),
        "2 activate-unit 3 0\nrestart\nnanoclaw-worker\n20\n".to_owned(),
        "3 unit 1 0\nnanoclaw-worker\n".to_owned(),
        "4 unit 1 0\nno-such\n".to_owned(),
    ];
    let answers = ["LOCKTURN-READY 1\n", "tool systemctl", " 2 ok", "ActiveState=active", " 4 unit-missing"];
    let mut said = String::new();
    for (number, answer) in answers.iter().enumerate() {
        let wait = async {
            while !said.contains(answer) {
                match channel.wait().await.expect("the program ends") {
                    ChannelMsg::Data { data } => said.push_str(std::str::from_utf8(&data).unwrap()),
                    ChannelMsg::ExitStatus { exit_status } => panic!("it exits with {exit_status}: {said}"),
                    _ => {}
                }
            }
        };
        if tokio::time::timeout(PATIENCE / 4, wait).await.is_err() {
            panic!("no `{answer}` in {said}");
        }
        if let Some(request) = requests.get(number) {
            channel.data(request.as_bytes()).await.unwrap();
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_labs_key_is_let_in_and_commands_get_a_clean_environment() {
    let directory = tempfile::tempdir().unwrap();
    let running = create(directory.path(), 1).start().await.unwrap();
    let other = russh::keys::ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]).into();
    assert!(connect(running.lab(), "worker-1", other).await.is_none());
    let handle = login(running.lab(), "worker-1").await;
    let (status, environment, _) = exec(&handle, "env; echo oops >&2; exit 3", b"").await;
    assert_eq!(status, 3);
    assert!(!environment.contains("CARGO"), "{environment}");
    let big = vec![b'x'; 3_000_000];
    let (status, count, err) = exec(&handle, "cat | wc -c; echo oops >&2", &big).await;
    assert_eq!((status, count.trim(), err.as_str()), (0, "3000000", "oops\n"));
    let (status, _, err) = exec(&handle, "PATH=$PWD/bin:$PATH; systemctl restart nginx", b"").await;
    assert_eq!(status, 5);
    assert!(err.contains("not found"));
    assert_eq!(exec(&handle, "ls -A", b"").await.1, "bin\nopt\n", "the stand-in leaves nothing behind");
    running.stop().await;
}

/// Starts a command, with a child of its own, that holds a pipe open on `worker-50`; the task ends when both are dead.
async fn hold_a_pipe(
    lab: &Lab,
    handle: &Handle<AnyHostKey>,
) -> (tokio::task::JoinHandle<()>, russh::ChannelWriteHalf<client::Msg>) {
    assert_eq!(exec(handle, "rm -f alive; mkfifo alive", b"").await.0, 0);
    let path = lab.host_directory("worker-50").join("alive");
    let (sender, opened) = tokio::sync::oneshot::channel();
    let alive = tokio::task::spawn_blocking(move || {
        let mut pipe = std::fs::File::open(path).unwrap();
        sender.send(()).unwrap();
        std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
    });
    let (mut read, write) = handle.channel_open_session().await.unwrap().split();
    write.exec(true, "exec 3>alive; sleep 600 & sleep 600").await.unwrap();
    tokio::spawn(async move { while read.wait().await.is_some() {} });
    opened.await.unwrap();
    (alive, write)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_hosts_start_stop_and_start_again_and_leave_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let lab = create(directory.path(), 50);
    assert!(matches!(
        Lab::create(directory.path(), 1, Path::new("lockturn"), &mut random),
        Err(LabError::Broken { .. })
    ));
    let running = tokio::time::timeout(PATIENCE, lab.start()).await.unwrap().unwrap();
    assert_eq!(lab.hosts().iter().filter(|host| host.role == Role::Worker).count(), 50);
    let handle = login(&lab, "worker-50").await;
    assert!(matches!(lab.start().await, Err(LabError::Listen { .. })), "it runs already");
    assert_eq!(restart(&handle, "nanoclaw-worker").await, 0, "the second start leaves the first alone");
    let (alive, write) = hold_a_pipe(&lab, &handle).await;
    write.close().await.unwrap();
    tokio::time::timeout(PATIENCE, alive).await.expect("the command outlives its channel").unwrap();
    let (alive, _write) = hold_a_pipe(&lab, &handle).await;
    tokio::time::timeout(PATIENCE, running.stop()).await.expect("the lab stops");
    tokio::time::timeout(PATIENCE, alive).await.expect("the command outlives its lab").unwrap();
    for host in lab.hosts() {
        assert!(std::net::TcpStream::connect(host.address).is_err(), "{} still listens", host.name);
    }

    let again = Lab::open(directory.path()).unwrap();
    assert_eq!(again.hosts(), lab.hosts());
    let running = again.start().await.unwrap();
    login(&again, "worker-7").await;
    running.stop().await;
}

#[test]
fn a_fault_that_nobody_knows_is_complained_of_and_a_lab_that_is_down_is_no_success() {
    use std::io::BufRead as _;
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("lab");
    let lab = create(&directory, 1);
    std::fs::write(lab.host_directory("worker-1").join("fault"), "refuses-new-secrets\n").unwrap();
    let product = |verb: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lockturn"));
        command.args(["lab", verb, "--dir"]).arg(&directory);
        command
    };
    assert_eq!(product("status").output().unwrap().status.code(), Some(4));
    let mut up =
        product("up").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut complaint = String::new();
    let read = std::io::BufReader::new(up.stderr.take().unwrap()).read_line(&mut complaint);
    up.kill().unwrap();
    up.wait().unwrap();
    read.unwrap();
    assert!(complaint.contains("worker-1/fault: no fault is called `refuses-new-secrets`"), "{complaint}");
    assert!(complaint.contains("refuses-new-secret, "), "{complaint}");
}
