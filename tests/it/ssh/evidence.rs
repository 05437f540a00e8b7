//! Evidence of hosts that hang, flood, lie or are not there: it ends in its time, and what came by then lies here as it came.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lockturn::host::EVIDENCE;
use lockturn::model::{Become, EvidencePlan, EvidenceTaken, Millis, ReasonKind, RunId};
use lockturn::runtime::actor::Who;
use lockturn::runtime::evidence;
use lockturn::ssh::Settings;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::server::{Link, Login, PATIENCE, Program, Script, Server, Showing, Shows, connector, eventually};

const MIB: u64 = 1024 * 1024;

fn run() -> RunId {
    "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
}

/// What was taken of a host, and how long it took.
struct Took {
    dir: tempfile::TempDir,
    taken: EvidenceTaken,
    time: Duration,
}

impl Took {
    async fn of(server: &Server, seconds: u64, bytes: u64, recipients: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (taken, time) = take(server, dir.path(), seconds, bytes, recipients, CancellationToken::new()).await;
        Self { dir, taken, time }
    }

    async fn shown_by(shows: Shows, seconds: u64, bytes: u64) -> Self {
        Self::of(&shower(shows).await, seconds, bytes, &[]).await
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join(run().as_str()).join(&self.taken.place)
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.at().join(name)).unwrap_or_else(|error| panic!("{name}: {error}; {:?}", self.taken))
    }

    /// The hashes are those of what lies here, of all that lies here, and the one that the ledger gets is theirs.
    fn is_whole(&self) {
        let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let sums = self.file("SHA256SUMS");
        assert_eq!(self.taken.sums.as_deref(), Some(hex(&sums).as_str()));
        let sums = String::from_utf8(sums).unwrap();
        let mut named: Vec<&str> = Vec::new();
        for line in sums.lines() {
            let (hash, name) = line.split_once("  ").unwrap();
            assert_eq!(hash, hex(&self.file(name)), "{name}");
            named.push(name);
        }
        named.push("SHA256SUMS");
        named.sort_unstable();
        assert_eq!(names(&self.at()), named, "nothing else lies there");
        for path in [self.dir.path().join(run().as_str()), self.at()] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700, "{}", path.display());
        }
        for name in named {
            let mode = fs::metadata(self.at().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{name}");
        }
    }

    /// Why each item is missing, wholly or in part.
    fn missing(&self) -> BTreeMap<&str, ReasonKind> {
        let missing = &self.taken.missing;
        missing.iter().flat_map(|lack| lack.items.iter().map(|item| (item.as_str(), lack.reason.kind))).collect()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

async fn shower(shows: Shows) -> Server {
    Server::start(Script { program: Program::Shows(shows), ..Script::default() }).await
}

async fn take(
    server: &Server,
    dir: &Path,
    seconds: u64,
    bytes: u64,
    recipients: &[String],
    over: CancellationToken,
) -> (EvidenceTaken, Duration) {
    let plan = EvidencePlan {
        directory: dir.to_str().unwrap().to_owned(),
        time: Millis::from_secs(seconds),
        bytes,
        recipients: recipients.to_vec(),
    };
    let who = Who {
        host: "w-3".parse().unwrap(),
        endpoint: server.endpoint(),
        become_user: Become::None,
        state_dir: String::new(),
        path: String::new(),
    };
    let began = Instant::now();
    // In a task, as in a run: what it writes may block its thread.
    let connector = Arc::new(connector(Settings::default()));
    let taking = tokio::spawn(async move { evidence::take(who, &plan, &run(), connector, over).await });
    let taken = tokio::time::timeout(PATIENCE, taking).await.expect("it does not end").unwrap();
    (taken, began.elapsed())
}

fn framed(nonce: &str, number: usize, content: &[u8]) -> Vec<u8> {
    let (begin, end) = (format!("{nonce} {number} begin\n"), format!("\n{nonce} {number} end 0\n"));
    [begin.as_bytes(), content, end.as_bytes()].concat()
}

/// What a well-behaved host shows of an item. It is what an attacker would like us to print or to open.
fn content(line: &str) -> Vec<u8> {
    format!("../../../etc/cron.d/x\n\x1b[2J\x1b]0;owned\x07{line}\0\n").into_bytes()
}

fn behaves(nonce: &str, number: usize, line: &str) -> Showing {
    Showing::Bytes(framed(nonce, number, &content(line)))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lies_here_as_it_came_with_its_hashes() {
    let took = Took::shown_by(behaves, 30, 256 * MIB).await;
    assert_eq!((took.taken.items, &took.taken.missing[..]), (EVIDENCE.len() as u64, &[][..]));
    took.is_whole();
    let mut total = 0;
    for (at, item) in EVIDENCE.iter().enumerate() {
        let text = took.file(&format!("{:02}-{}", at + 1, item.name));
        assert!(text.starts_with(b"../../../etc/cron.d/x\n\x1b[2J"), "{}", item.name);
        assert!(String::from_utf8_lossy(&text).contains(&format!("{} ", item.name)));
        total += text.len() as u64;
    }
    assert_eq!(took.taken.bytes, total);
    let manifest: serde_json::Value = serde_json::from_slice(&took.file("manifest.json")).unwrap();
    let items = manifest["items"].as_array().unwrap();
    let order: Vec<(u64, &str)> =
        items.iter().map(|item| (item["class"].as_u64().unwrap(), item["asked"].as_str().unwrap())).collect();
    assert!(order.is_sorted(), "what is gone first is asked for first: {order:?}");
    assert!(items.iter().all(|item| item["state"] == "whole"), "{manifest}");
    assert_eq!(manifest["host"], "w-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_recipients_no_plain_byte_lies_here() {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    assert_eq!(evidence::recipient(&recipient), Ok(recipient.clone()));
    for bad in ["", "age1", "age1qqqq", "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1QQ"] {
        assert!(evidence::recipient(bad).is_err(), "{bad}");
    }
    let took = Took::of(&shower(behaves).await, 30, 256 * MIB, &[recipient]).await;
    assert_eq!(took.taken.missing, []);
    took.is_whole();
    for name in names(&took.at()) {
        let bytes = took.file(&name);
        assert!(!bytes.windows(7).any(|window| window == b"cron.d/"), "{name} is plain");
        if let Some(item) = name.strip_suffix(".age") {
            let plain = age::decrypt(&identity, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let item = EVIDENCE.iter().find(|known| item.ends_with(known.name)).unwrap();
            assert!(plain.starts_with(b"../../../etc/cron.d/x") && plain.ends_with(b"\0\n"), "{name}: {}", item.name);
            let other = age::x25519::Identity::generate();
            assert!(age::decrypt(&other, &bytes).is_err(), "{name} opens to anybody");
        }
    }
    assert_eq!(names(&took.at()).iter().filter(|name| name.ends_with(".age")).count(), EVIDENCE.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_item_that_never_ends_costs_only_itself() {
    // `timers` may take five seconds, and four more for its host to say so.
    let took = Took::shown_by(
        |nonce, number, line| match line.starts_with("timers ") {
            true => Showing::Bytes(format!("{nonce} {number} begin\nso far, {}", ".".repeat(200)).into_bytes()),
            false => behaves(nonce, number, line),
        },
        50,
        256 * MIB,
    )
    .await;
    assert_eq!(took.missing(), BTreeMap::from([("timers", ReasonKind::TimedOut)]));
    assert!(took.file("13-timers").starts_with(b"so far"), "what came is kept");
    assert_eq!(took.taken.items, EVIDENCE.len() as u64);
    took.is_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_hangs_ends_with_the_time() {
    let never: Shows = |_, _, _| Showing::Bytes(Vec::new());
    let took = Took::shown_by(never, 3, 256 * MIB).await;
    assert!(took.time >= Duration::from_secs(3), "{:?}", took.time);
    assert_eq!((took.taken.items, took.taken.bytes, took.missing().len()), (0, 0, EVIDENCE.len()));
    assert!(took.missing().values().all(|kind| *kind == ReasonKind::TimedOut));
    took.is_whole();
    for program in [Program::Silent, Program::NeverOpens, Program::Echo, Program::Vanishes] {
        let server = Server::start(Script { program, ..Script::default() }).await;
        let took = Took::of(&server, 2, MIB, &[]).await;
        assert_eq!(took.missing().len(), EVIDENCE.len());
        took.is_whole();
        server.left_alone().await;
    }
    // Half connected when its time was over: in the keys, and in the login.
    for script in [
        Script { link: Link::StallsAfter(300), ..Script::default() },
        Script { login: Login::NoAnswer, ..Script::default() },
    ] {
        let server = Server::start(script).await;
        assert_eq!(Took::of(&server, 2, MIB, &[]).await.missing()["clock"], ReasonKind::TimedOut);
        server.left_alone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_sends_without_end_is_cut_and_left() {
    let endless: Shows = |nonce, number, _| Showing::Endless(format!("{nonce} {number} begin\n").into_bytes());
    let server = shower(endless).await;
    let took = Took::of(&server, 40, 40 * MIB, &[]).await;
    server.left_alone().await;
    // Each connection gives one item, cut where it should be, until the size for the host is used up.
    assert_eq!((took.taken.items, took.taken.bytes), (3, 40 * MIB));
    assert_eq!(took.file("01-clock").len() as u64, EVIDENCE[0].bytes);
    assert_eq!((took.missing()["clock"], took.missing()["sockets"]), (ReasonKind::AnswerBroken, ReasonKind::TooLarge));
    assert_eq!(took.missing().len(), EVIDENCE.len());
    took.is_whole();
    let took =
        Took::of(&Server::start(Script { program: Program::Floods, ..Script::default() }).await, 5, MIB, &[]).await;
    assert_eq!((took.taken.items, took.missing()["clock"]), (0, ReasonKind::NoShell));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_for_a_host_is_kept_to() {
    let large: Shows = |nonce, number, line| {
        let wanted: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
        Showing::Bytes(framed(nonce, number, &vec![b'l'; wanted.min(400_000)]))
    };
    let took = Took::shown_by(large, 30, 1_000_000).await;
    assert_eq!((took.taken.items, took.taken.bytes), (3, 1_000_000));
    let lacks: Vec<&str> = took.missing().into_keys().collect();
    assert!(!lacks.contains(&"processes") && lacks.contains(&"programs"), "{lacks:?}");
    assert_eq!(took.missing()["open-files"], ReasonKind::TooLarge);
    took.is_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_s_frames_and_a_connection_that_breaks_are_said() {
    let other: Shows =
        |nonce, number, _| Showing::Bytes(format!("{nonce} {number} ok 5\nhello\n").repeat(4_000).into_bytes());
    let took = Took::shown_by(other, 20, MIB).await;
    assert_eq!((took.taken.items, took.missing()["clock"]), (0, ReasonKind::AnswerBroken));
    took.is_whole();
    let breaks: Shows = |nonce, number, line| match line.starts_with("sockets ") {
        true => Showing::HangsUp,
        false => behaves(nonce, number, line),
    };
    let took = Took::shown_by(breaks, 20, MIB).await;
    assert_eq!(took.missing(), BTreeMap::from([("sockets", ReasonKind::ConnectionLost)]));
    took.is_whole();
    let server = shower(|_, _, _| Showing::HangsUp).await;
    let took = Took::of(&server, 20, MIB, &[]).await;
    assert_eq!(
        (took.missing()["open-files"], took.missing()["sockets"]),
        (ReasonKind::ConnectionLost, ReasonKind::TimedOut)
    );
    assert_eq!(server.counts.connections.load(std::sync::atomic::Ordering::SeqCst), 4, "then it is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_here_is_said_and_nothing_is_overwritten() {
    let server = shower(behaves).await;
    let dir = tempfile::tempdir().unwrap();
    let whole = |taken: &EvidenceTaken| taken.missing.is_empty();
    for place in ["w-3", "w-3/again-2", "w-3/again-3"] {
        let (taken, _) = take(&server, dir.path(), 30, MIB, &[], CancellationToken::new()).await;
        assert!(taken.place == place && whole(&taken), "{taken:?}");
    }
    let first = dir.path().join(run().as_str()).join("w-3/01-clock");
    assert!(fs::read(first).unwrap().starts_with(b"../../../etc"));

    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (taken, _) = take(&server, open.path(), 30, MIB, &[], CancellationToken::new()).await;
    assert_eq!((taken.items, taken.missing[0].reason.kind), (0, ReasonKind::Denied));
    assert_eq!(taken.missing[0].items.len(), EVIDENCE.len());
    assert_eq!(names(open.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_stop_is_obeyed_at_once() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let server = shower(|_, _, _| {
        ASKED.store(true, Ordering::SeqCst);
        Showing::Bytes(Vec::new())
    })
    .await;
    let (dir, over) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let stop = async {
        eventually("nothing is asked for", || ASKED.load(Ordering::SeqCst)).await;
        over.cancel();
    };
    let ((taken, time), ()) = tokio::join!(take(&server, dir.path(), 50, MIB, &[], over.clone()), stop);
    assert!(time < Duration::from_secs(30), "{time:?}");
    assert!(taken.missing.iter().all(|lack| lack.reason.kind == ReasonKind::Interrupted), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_off_holds_nobody_up() {
    let server = shower(behaves).await;
    let mut endpoint = server.endpoint();
    // Nobody listens there: the port was free a moment ago.
    endpoint.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let who = Who {
        host: "w-3".parse().unwrap(),
        endpoint,
        become_user: Become::None,
        state_dir: String::new(),
        path: String::new(),
    };
    let dir = tempfile::tempdir().unwrap();
    let plan = EvidencePlan {
        directory: dir.path().to_str().unwrap().to_owned(),
        time: Millis::from_secs(50),
        bytes: MIB,
        recipients: Vec::new(),
    };
    let connector = Arc::new(connector(Settings::default()));
    let taking =
        tokio::spawn(async move { evidence::take(who, &plan, &run(), connector, CancellationToken::new()).await });
    let taken = tokio::time::timeout(PATIENCE, taking).await.expect("it does not end").unwrap();
    assert_eq!((taken.items, taken.missing.len()), (0, 1), "{taken:?}");
    assert!(taken.sums.is_some() && taken.missing[0].items.len() == EVIDENCE.len(), "{taken:?}");
}
