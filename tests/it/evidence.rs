//! What a host is asked to show: read from hosts that tell the truth and from hosts that do not, and shown by the real program.

use std::fs;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use lockturn::host::{EVIDENCE, EvidenceEnd, EvidenceError, EvidenceItem, EvidenceSession, Nonce};
use lockturn::model::{Reason, ReasonKind};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Far longer than anything here takes: only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nonce of all sessions here, as a host sees it.
const NONCE: &str = "07070707070707070707070707070707";

const READY: &[u8] = b"LOCKTURN-EVIDENCE 1\n";

type Session<R, W> = EvidenceSession<R, W>;
type Shown = Result<EvidenceEnd, EvidenceError>;

/// A host that is ready, and sends exactly this in these pieces, whatever it is asked.
async fn host(pieces: Vec<Vec<u8>>) -> Result<Session<DuplexStream, tokio::io::Sink>, Reason> {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        for piece in pieces {
            if theirs.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    EvidenceSession::start(ours, tokio::io::sink(), Nonce::new([7; 16]), PATIENCE).await
}

/// What is kept of the first item, of which at most so many bytes are wanted.
async fn shown(bytes: u64, pieces: Vec<Vec<u8>>) -> (Vec<u8>, Shown) {
    let mut session = host(pieces).await.unwrap();
    let mut kept = Vec::new();
    let ended = session.show(&EVIDENCE[0], (PATIENCE, bytes), |chunk| {
        kept.extend_from_slice(chunk);
        Ok(())
    });
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it hangs");
    (kept, ended)
}

#[track_caller]
fn lost(ended: Shown, kind: ReasonKind, words: &str) {
    let Err(EvidenceError::Host(reason)) = ended else { panic!("{ended:?}") };
    assert!(reason.kind == kind && reason.detail.contains(words), "{reason:?}");
}

fn framed(content: &[u8], status: &str) -> Vec<u8> {
    let (begin, end) = (format!("{NONCE} 1 begin\n"), format!("\n{NONCE} 1 end {status}\n"));
    [begin.as_bytes(), content, end.as_bytes()].concat()
}

/// Things that look like frames and are none.
fn almost() -> impl Strategy<Value = Vec<u8>> {
    let nonce = NONCE;
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(format!("\n{nonce} 1 en").into_bytes()),
        Just(format!("\n{nonce} 2 end 0\n").into_bytes()),
        Just(format!("\n{nonce} 1 begin\n").into_bytes()),
        Just(format!("{nonce} 1 end 0\n").into_bytes()),
        Just(b"\nLOCKTURN-READY 1\n".to_vec()),
        Just(READY.to_vec()),
        Just(b"\n\n\x1b]0;title\x07\0\xff".to_vec()),
        Just(b"../../etc/cron.d/x\n".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]
    #[test]
    fn an_item_is_kept_byte_for_byte_however_it_comes(
        parts in prop::collection::vec(almost(), 0..12),
        before in prop::collection::vec(any::<u8>(), 0..60),
        cuts in prop::collection::vec(0..600_usize, 0..8),
        status in 0..256_u32,
    ) {
        // Two things that are none may make one that is: the host has the nonce, and could have said so itself.
        let content = parts.concat();
        let end = format!("\n{NONCE} 1 end ");
        prop_assume!(!content.windows(end.len()).any(|window| window == end.as_bytes()));
        let sent = [READY, &before[..], &framed(&content, &status.to_string())].concat();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|at| *at < sent.len()).chain([0, sent.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| sent[pair[0]..pair[1]].to_vec()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (kept, ended) = runtime.block_on(shown(1_000_000, pieces));
        prop_assert_eq!(kept, content);
        prop_assert_eq!(ended.unwrap(), EvidenceEnd { status, cut: false });
    }
}

#[tokio::test]
async fn more_than_is_wanted_is_cut_and_more_than_was_asked_for_is_a_lie() {
    let (kept, ended) = shown(100, vec![READY.to_vec(), framed(&[b'x'; 100], "0")]).await;
    assert_eq!((kept.len(), ended.unwrap()), (100, EvidenceEnd { status: 0, cut: false }));
    // The host shows by one byte more that there is more.
    let (kept, ended) = shown(100, vec![READY.to_vec(), framed(&[b'x'; 101], "141")]).await;
    assert_eq!((kept.len(), ended.unwrap()), (100, EvidenceEnd { status: 141, cut: true }));
    for many in [200, 1_000_000] {
        let (kept, ended) = shown(100, vec![READY.to_vec(), framed(&vec![b'x'; many], "0")]).await;
        assert_eq!(kept.len(), 100, "what was asked for is kept all the same");
        lost(ended, ReasonKind::AnswerBroken, "more than it was asked for");
    }
}

#[tokio::test]
async fn what_another_program_would_answer_is_no_evidence() {
    let refused = async |pieces: Vec<Vec<u8>>| host(pieces).await.map(drop).unwrap_err();
    assert_eq!(refused(vec![b"LOCKTURN-READY 1\n".to_vec()]).await.kind, ReasonKind::NoShell);
    assert!(refused(vec![vec![b'n'; 70_000]]).await.detail.contains("64 KiB"));

    let replies = format!("{NONCE} 1 ok 5\nhello\n").repeat(10);
    let (kept, ended) = shown(100, vec![READY.to_vec(), replies.into_bytes()]).await;
    assert_eq!(kept, b"");
    lost(ended, ReasonKind::ConnectionLost, "before the item did");
    let (kept, ended) = shown(100, vec![READY.to_vec(), vec![b'n'; 70_000]]).await;
    assert_eq!(kept, b"");
    lost(ended, ReasonKind::AnswerBroken, "64 KiB");
    let other = format!("{} 1 begin\nhello\n{NONCE} 1 end 0\n", "08".repeat(16));
    let (kept, _) = shown(100, vec![READY.to_vec(), other.into_bytes()]).await;
    assert_eq!(kept, b"", "of another session");

    for status in ["zero", "-1", "4294967296", "", "\x1b[2J", "0 0", "000000000000000"] {
        let (kept, ended) = shown(100, vec![READY.to_vec(), framed(b"hello", status)]).await;
        assert_eq!(kept, b"hello");
        lost(ended, ReasonKind::AnswerBroken, "no number");
    }
}

#[tokio::test]
async fn what_came_before_the_end_is_kept() {
    let begun = format!("{NONCE} 1 begin\nso far").into_bytes();
    // The last bytes may be the beginning of what ends an item, so they are kept only when more has come.
    let begun = [begun, vec![b'.'; 200]].concat();
    let (kept, ended) = shown(1_000, vec![READY.to_vec(), begun]).await;
    assert!(kept.starts_with(b"so far...") && kept.len() > 100, "{}", kept.len());
    lost(ended, ReasonKind::ConnectionLost, "before the item did");

    let mut session = host(vec![READY.to_vec(), framed(b"hello", "0")]).await.unwrap();
    let full = session.show(&EVIDENCE[0], (PATIENCE, 100), |_| Err(io::Error::from(io::ErrorKind::StorageFull))).await;
    assert!(matches!(full, Err(EvidenceError::Here(_))), "{full:?}");
}

/// The program in a shell of this machine.
async fn program(line: &str, dir: &std::path::Path) -> (Session<ChildStdout, ChildStdin>, Child) {
    started(line, dir).await.unwrap()
}

async fn started(line: &str, dir: &std::path::Path) -> Result<(Session<ChildStdout, ChildStdin>, Child), Reason> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", line])
        .current_dir(dir)
        .env("TMPDIR", dir)
        .env("HOME", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    Ok((EvidenceSession::start(stdout, stdin, Nonce::new([7; 16]), PATIENCE).await?, child))
}

async fn show(
    session: &mut Session<ChildStdout, ChildStdin>,
    item: &EvidenceItem,
    bytes: u64,
) -> (String, EvidenceEnd) {
    let mut kept = Vec::new();
    let ended = session.show(item, (Duration::from_secs(30), bytes), |chunk| {
        kept.extend_from_slice(chunk);
        Ok(())
    });
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("`{}` hangs", item.name));
    (String::from_utf8_lossy(&kept).into_owned(), ended.unwrap_or_else(|error| panic!("`{}`: {error:?}", item.name)))
}

#[tokio::test]
async fn a_host_shows_it_all_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody there can write one byte to any file.
    let (mut session, mut child) = program("ulimit -f 0; exec /bin/sh -s", dir.path()).await;
    for item in &EVIDENCE {
        let (text, ended) = show(&mut session, item, item.bytes).await;
        assert!([0, 44].contains(&ended.status) && !ended.cut, "`{}`: {ended:?}: {text}", item.name);
        assert_eq!(text.trim().is_empty(), ended.status == 44, "`{}`: {ended:?}: {text}", item.name);
        match item.name {
            "processes" => assert!(text.contains(&format!("Pid:\t{}", std::process::id())), "{text}"),
            "programs" => assert!(text.contains("/cwd -> /"), "{text}"),
            "accounts" => assert!(text.contains("root:x:0:0:") || text.contains("root::0:0:"), "{text}"),
            "binaries" => assert!(text.lines().any(|line| line.len() > 66 && line.contains("  /")), "{text}"),
            "mounts" => assert!(text.contains("==> /proc/self/mountinfo"), "{text}"),
            _ => {}
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    drop(session);
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    assert!(ended.is_ok_and(|status| status.unwrap().success()), "it does not end with us");
}

#[tokio::test]
async fn what_sudo_would_record_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy("/bin/sh", dir.path().join("sudo")).unwrap();
    let start = async |line: &str| started(line, dir.path()).await.map(drop);
    assert_eq!(start("./sudo -c '/bin/sh -s; true'").await, Ok(()), "it only stands there");
    let refused = start("./sudo -c 'cat | /bin/sh -s | cat'").await.unwrap_err();
    assert!(refused.kind == ReasonKind::SudoRecords && refused.detail.contains("own disk"), "{refused:?}");
}

#[tokio::test]
async fn the_program_cuts_and_goes_on_and_knows_no_other_item() {
    let dir = tempfile::tempdir().unwrap();
    let (mut session, _child) = program("exec /bin/sh -s", dir.path()).await;
    let processes = &EVIDENCE[1];
    let (text, ended) = show(&mut session, processes, 1_000).await;
    assert!(text.len() == 1_000 && ended.cut, "{ended:?}");
    let (text, ended) = show(&mut session, &EVIDENCE[0], 1 << 20).await;
    assert!(text.contains("/proc/uptime") && ended == EvidenceEnd { status: 0, cut: false }, "{ended:?} {text}");
    let other = EvidenceItem { name: "$(id)", ..EVIDENCE[0] };
    assert_eq!(show(&mut session, &other, 1_000).await, (String::new(), EvidenceEnd { status: 44, cut: false }));
}

#[test]
fn what_is_gone_first_is_asked_for_first_and_names_are_ours() {
    assert!(EVIDENCE.is_sorted_by_key(|item| item.class));
    let mut names: Vec<&str> = EVIDENCE.iter().map(|item| item.name).collect();
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')), "{names:?}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), EVIDENCE.len());
}
