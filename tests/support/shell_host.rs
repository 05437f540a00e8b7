//! A host that is nothing but a shell in a directory, and all that is asked of the program there.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lockturn::host::{
    CallError, CommandOutput, FileFacts, Held, HelloFacts, HostProgram, Nonce, Request, ScriptKind, Which,
};
use lockturn::model::{ReasonKind, RunId, Secret};
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const LIMIT: Duration = Duration::from_secs(20);

/// A shell with the program in it.
pub(crate) struct ShellHost {
    program: HostProgram<ChildStdout, ChildStdin>,
    run: RunId,
    pub(crate) child: Child,
}

/// The directory of a host, removed with it.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Somewhere else, on a disk that is memory say.
    pub(crate) fn below(dir: &Path) -> Self {
        Self(tempfile::tempdir_in(dir).unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl ShellHost {
    pub(crate) async fn start(shell: &[&str], home: &Home, run: &str, epoch: u64) -> Self {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg("-s");
        Self::on(command, home, run, epoch).await.unwrap()
    }

    /// Whatever this command starts is the shell.
    pub(crate) async fn on(mut command: Command, home: &Home, run: &str, epoch: u64) -> Result<Self, CallError> {
        let mut child = command
            .current_dir(home.0.path())
            .env_clear()
            .env("HOME", home.0.path())
            // What a login may have left in the environment must not matter.
            .env("IFS", "x")
            .env("CDPATH", "/")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}; `make test` installs it"));
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let program = HostProgram::start(stdout, stdin, Nonce::new([7; 16]), LIMIT).await?;
        let mut host = Self { program, run: run.parse().unwrap(), child };
        host.hello(epoch, ".lockturn", "").await?;
        Ok(host)
    }

    pub(crate) async fn hello(&mut self, epoch: u64, state_dir: &str, path: &str) -> Result<Secret, CallError> {
        let run = self.run.clone();
        self.call(&Request::Hello { run: &run, epoch, state_dir, path }).await
    }

    /// Ends the shell at once, as a broken machine would, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn call(&mut self, request: &Request<'_>) -> Result<Secret, CallError> {
        self.program.call(request, LIMIT).await
    }

    pub(crate) async fn ok(&mut self, request: &Request<'_>) -> Secret {
        match self.call(request).await {
            Ok(payload) => payload,
            Err(error) => panic!("`{}`: {error:?}", request.verb()),
        }
    }

    pub(crate) async fn refused(&mut self, request: &Request<'_>) -> ReasonKind {
        match self.call(request).await {
            Err(CallError::Refused(reason)) => reason.kind,
            Err(lost) => panic!("`{}`: {lost:?}", request.verb()),
            Ok(_) => panic!("`{}` was done", request.verb()),
        }
    }

    pub(crate) async fn which(&mut self) -> Which {
        Which::parse(&self.ok(&Request::Which).await).unwrap()
    }

    pub(crate) async fn stage_file(&mut self, path: &Path, old: &[u8], new: &[u8]) -> Result<Secret, CallError> {
        let (sha256, content) = (sha256(old), Secret::new(new.to_vec()));
        let path = path.to_str().unwrap();
        self.call(&Request::StageFile { number: 1, path, sha256: &sha256, content: &content }).await
    }

    /// A host that is locked, staged, rehearsed and armed.
    pub(crate) async fn armed(shell: &[&str], home: &Home, path: &Path, old: &[u8], new: &[u8]) -> Self {
        let mut host = Self::start(shell, home, "01RUN", 1).await;
        host.ok(&Request::Lock).await;
        host.stage_file(path, old, new).await.unwrap();
        host.ok(&Request::Rehearse).await;
        host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
        host
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every byte there is, twice, so that no reader gets away with dropping one.
pub(crate) fn all_bytes() -> Vec<u8> {
    (0..=255).chain(0..=255).collect()
}

/// Everything that is asked of the program, under this shell.
pub(crate) async fn every_verb(shell: &[&str]) {
    looks_without_changing(shell).await;
    refuses_what_cannot_be_replaced(shell).await;
    moves_there_and_back(shell).await;
    keeps_owner_and_mode(shell).await;
    survives_its_own_death(shell).await;
    what_a_shell_left_that_died_in_the_middle_is_found(shell).await;
    one_run_and_the_newest_coordinator(shell).await;
    what_an_earlier_session_does_late_never_happens(shell).await;
    a_change_underneath_is_not_overwritten(shell).await;
    programs_take_values_on_standard_input(shell).await;
}

async fn looks_without_changing(shell: &[&str]) {
    let home = Home::new();
    fs::write(home.path("a file"), all_bytes()).unwrap();
    let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
    let facts = HelloFacts::parse(&host.hello(1, ".lockturn", "").await.unwrap()).unwrap();
    assert_eq!(Path::new(&facts.state), home.path(".lockturn"));
    assert!(facts.has("sha256sum"));
    let file =
        FileFacts::parse(&host.ok(&Request::ReadFile { path: "a file", follow: false, replace: true }).await).unwrap();
    assert_eq!(file.content.expose(), all_bytes());
    assert_eq!(Path::new(&file.real_path), home.path("a file"));
    assert_eq!(home.names(), ["a file"], "looking left something behind");
}

async fn refuses_what_cannot_be_replaced(shell: &[&str]) {
    let home = Home::new();
    fs::write(home.path("real"), "x").unwrap();
    symlink("real", home.path("link")).unwrap();
    symlink("nowhere", home.path("dangling")).unwrap();
    fs::write(home.path("one"), "x").unwrap();
    fs::hard_link(home.path("one"), home.path("two")).unwrap();
    fs::write(home.path("large"), vec![b'x'; 1_048_577]).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, home.path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
    let cases = [
        ("nothing", false, ReasonKind::Missing),
        ("link", false, ReasonKind::IsLink),
        ("dangling", true, ReasonKind::Missing),
        ("one", false, ReasonKind::NotPlain),
        ("large", false, ReasonKind::TooLarge),
        ("fifo", false, ReasonKind::NotPlain),
        (".", false, ReasonKind::NotPlain),
    ];
    for (path, follow, kind) in cases {
        assert_eq!(host.refused(&Request::ReadFile { path, follow, replace: true }).await, kind, "{path}");
    }
    let followed = host.ok(&Request::ReadFile { path: "link", follow: true, replace: true }).await;
    assert_eq!(Path::new(&FileFacts::parse(&followed).unwrap().real_path), home.path("real"));
    let seen = host.ok(&Request::ReadFile { path: "one", follow: false, replace: false }).await;
    assert_eq!(FileFacts::parse(&seen).unwrap().content.expose(), b"x", "a second name keeps nobody from looking");
    let sql = Secret::new(b"SELECT 1;".to_vec());
    let missing = host.refused(&Request::Sqlite { file: "none.db", sql: &sql }).await;
    assert!(matches!(missing, ReasonKind::Missing | ReasonKind::ToolMissing), "{missing:?}");
    assert!(!home.path("none.db").exists(), "looking made a database");
}

async fn moves_there_and_back(shell: &[&str]) {
    let home = Home::new();
    let path = home.path(".env");
    let new = all_bytes();
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(shell, &home, &path, b"old", &new).await;
    assert_eq!(fs::read(&path).unwrap(), b"old", "somebody moved before the cut");
    for _ in 0..2 {
        host.ok(&Request::Cut).await;
        assert_eq!(fs::read(&path).unwrap(), new);
        assert_eq!(host.which().await.held, [Held::New]);
    }
    for _ in 0..2 {
        host.ok(&Request::Revert).await;
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
    assert_eq!(host.which().await.record, "reverted");
    for _ in 0..2 {
        host.ok(&Request::Clean).await;
        assert_eq!(home.names(), [".env", ".lockturn"]);
        assert_eq!(fs::read_dir(home.path(".lockturn")).unwrap().count(), 0);
    }
}

async fn keeps_owner_and_mode(shell: &[&str]) {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    // Giving a file away takes root; elsewhere the owner is our own and stays that.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(1), Some(4)).unwrap();
    }
    let before = fs::metadata(&path).unwrap();
    let same = |what: &str| {
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()), "{what}");
    };
    let mut host = ShellHost::armed(shell, &home, &path, b"old", b"new").await;
    host.ok(&Request::Cut).await;
    same("after the cut");
    host.ok(&Request::Revert).await;
    same("after the revert");
    assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino(), "the very same file is back");
}

async fn survives_its_own_death(shell: &[&str]) {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(shell, &home, &path, b"old", b"new").await;
    let kept = Secret::new(all_bytes());
    host.ok(&Request::Keep { name: "values", bytes: &kept }).await;
    host.ok(&Request::Cut).await;
    host.kill().await;
    let mut host = ShellHost::start(shell, &home, "01RUN", 2).await;
    host.ok(&Request::Lock).await;
    assert_eq!(host.which().await, Which { held: vec![Held::New], record: "armed".to_owned() });
    assert_eq!(host.ok(&Request::Fetch { name: "values" }).await.expose(), all_bytes());
    host.ok(&Request::Confirm).await;
    host.ok(&Request::Confirm).await;
    assert_eq!(host.which().await.record, "confirmed");
    host.ok(&Request::Clean).await;
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

async fn what_a_shell_left_that_died_in_the_middle_is_found(shell: &[&str]) {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    // The first program that is started once a command's output has a file, or something lies beside the target.
    fs::create_dir(home.path("deadly")).unwrap();
    fs::write(home.path("deadly/head"), "#!/bin/sh\nkill -9 $PPID\n").unwrap();
    fs::set_permissions(home.path("deadly/head"), fs::Permissions::from_mode(0o755)).unwrap();
    let (input, words) = (Secret::new(b"x".to_vec()), ["true".to_owned()]);
    for staging in [false, true] {
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        host.ok(&Request::Lock).await;
        host.hello(1, ".lockturn", "deadly").await.unwrap();
        let died = match staging {
            true => host.stage_file(&path, b"old", b"new").await,
            false => host.call(&Request::Command { seconds: 5, words: &words, input: &input }).await,
        };
        assert!(matches!(died, Err(CallError::Lost(_))));
    }
    fs::remove_dir_all(home.path("deadly")).unwrap();
    assert_eq!(fs::read(home.path(".lockturn-01RUN-1/old")).unwrap(), b"old", "it died too early to show anything");
    let state: Vec<_> = fs::read_dir(home.path(".lockturn")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(
        state.len(),
        2,
        "beside the run and the lock, and what a command said is gone with its shell: {state:?}"
    );
    let mut host = ShellHost::start(shell, &home, "01RUN", 2).await;
    host.ok(&Request::Lock).await;
    host.ok(&Request::Clean).await;
    assert_eq!(home.names(), [".env", ".lockturn"]);
    assert_eq!(fs::read_dir(home.path(".lockturn")).unwrap().count(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

async fn one_run_and_the_newest_coordinator(shell: &[&str]) {
    let home = Home::new();
    let mut first = ShellHost::start(shell, &home, "01RUN", 1).await;
    first.ok(&Request::Lock).await;
    let mut other = ShellHost::start(shell, &home, "02RUN", 1).await;
    assert_eq!(other.refused(&Request::Lock).await, ReasonKind::HostLocked);
    other.ok(&Request::Clean).await;
    let mut newer = ShellHost::start(shell, &home, "01RUN", 2).await;
    newer.ok(&Request::Lock).await;
    assert!(matches!(first.call(&Request::Cut).await, Err(CallError::Lost(_))), "the earlier session still works");
    let mut first = ShellHost::start(shell, &home, "01RUN", 1).await;
    assert_eq!(first.refused(&Request::Lock).await, ReasonKind::Fenced);
    assert_eq!(first.refused(&Request::Cut).await, ReasonKind::Fenced);
    assert_eq!(first.refused(&Request::Clean).await, ReasonKind::Fenced);
    newer.ok(&Request::LockAgain).await;
    newer.ok(&Request::Clean).await;
    // Whoever comes late finds nothing that it could take again, and leaves nothing.
    assert_eq!(first.refused(&Request::LockAgain).await, ReasonKind::Fenced);
    assert_eq!(first.refused(&Request::Revert).await, ReasonKind::Fenced);
    first.ok(&Request::Clean).await;
    assert_eq!(fs::read_dir(home.path(".lockturn")).unwrap().count(), 0);
    other.ok(&Request::Lock).await;
}

/// A session whose connection broke hangs in the middle of the cut. The next one takes the host, goes back and cleans up; what the
/// first one would have done late never happens.
async fn what_an_earlier_session_does_late_never_happens(shell: &[&str]) {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut slow = ShellHost::armed(shell, &home, &path, b"old", b"new").await;
    fs::create_dir(home.path("slow")).unwrap();
    let mv = format!("#!/bin/sh\n: >{}\nsleep 3\nexec /bin/mv \"$@\"\n", home.path("in-the-middle").display());
    fs::write(home.path("slow/mv"), mv).unwrap();
    fs::set_permissions(home.path("slow/mv"), fs::Permissions::from_mode(0o755)).unwrap();
    slow.hello(1, ".lockturn", "slow").await.unwrap();
    let cut = slow.program.call(&Request::Cut, Duration::from_millis(1_000));
    let (cut, newer) = tokio::join!(cut, async {
        while !home.path("in-the-middle").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut newer = ShellHost::start(shell, &home, "01RUN", 1).await;
        assert_eq!(newer.refused(&Request::Revert).await, ReasonKind::Fenced, "a session that has not taken the host");
        newer.ok(&Request::Lock).await;
        newer.ok(&Request::Revert).await;
        newer
    });
    assert!(matches!(cut, Err(CallError::Lost(_))), "the cut was answered");
    drop(newer);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(fs::read(&path).unwrap(), b"old", "the earlier session cut after the revert");
}

async fn a_change_underneath_is_not_overwritten(shell: &[&str]) {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
    host.ok(&Request::Lock).await;
    let staged = host.stage_file(&path, b"something else", b"new").await;
    assert!(matches!(staged, Err(CallError::Refused(reason)) if reason.kind == ReasonKind::Changed));
    host.stage_file(&path, b"old", b"new").await.unwrap();
    host.ok(&Request::Rehearse).await;
    assert_eq!(host.refused(&Request::Cut).await, ReasonKind::Changed, "cut without being armed");
    host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    assert_eq!(host.refused(&Request::Cut).await, ReasonKind::Changed);
    // Nothing was cut here, so there is nothing to take back.
    host.ok(&Request::Revert).await;
    assert_eq!(fs::read(&path).unwrap(), b"theirs");
    host.ok(&Request::Clean).await;
    assert_eq!(home.names(), [".env", ".lockturn"]);
    let mut host = ShellHost::armed(shell, &home, &path, b"theirs", b"new").await;
    host.ok(&Request::Cut).await;
    fs::write(&path, "theirs again").unwrap();
    assert_eq!(host.refused(&Request::Revert).await, ReasonKind::Changed);
    assert_eq!(fs::read(&path).unwrap(), b"theirs again");
}

async fn programs_take_values_on_standard_input(shell: &[&str]) {
    let home = Home::new();
    fs::write(home.path("value"), "old").unwrap();
    fs::write(home.path("write"), "#!/bin/sh\nexec cat >value\n").unwrap();
    fs::set_permissions(home.path("write"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
    let (input, words) = (Secret::new(all_bytes()), ["cat".to_owned()]);
    let echo = host.ok(&Request::Command { seconds: 5, words: &words, input: &input }).await;
    let echo = CommandOutput::parse(&echo).unwrap();
    assert_eq!((echo.status, echo.output.expose()), (0, all_bytes().as_slice()));
    let slow = ["sleep".to_owned(), "30".to_owned()];
    let nothing = Secret::new(Vec::new());
    let slow = host.refused(&Request::Command { seconds: 1, words: &slow, input: &nothing }).await;
    assert_eq!(slow, ReasonKind::TimedOut);
    host.ok(&Request::Lock).await;
    let part = |text: &str| Secret::new(text.as_bytes().to_vec());
    let parts =
        [("read", part("cat\nvalue\n")), ("write", part("./write\n")), ("old", part("old")), ("new", part("new"))];
    let stage = Request::StageScript { number: 1, kind: ScriptKind::Command, target: "", parts: &parts };
    host.ok(&stage).await;
    host.ok(&Request::Rehearse).await;
    host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
    host.ok(&Request::Cut).await;
    assert_eq!(fs::read(home.path("value")).unwrap(), b"new");
    host.ok(&Request::Revert).await;
    assert_eq!(fs::read(home.path("value")).unwrap(), b"old");
}
