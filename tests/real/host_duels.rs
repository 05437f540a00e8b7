//! `confirm` and `fire` at the same moment, thousands of times: exactly one of them wins, the answer is what is on the disk, and the loser
//! leaves nothing.
//!
//! The watch of an armed host, whose time is over, hangs in its `sleep` until it is let go; the request to confirm leaves a little before
//! or after that. Whoever won last time has to start a little later the next time, so that both always arrive together.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lockturn::host::{CallError, Request};
use lockturn::model::{Activation, Millis, ReasonKind};

use super::host_program::shell_host::{Home, ShellHost};
use super::host_switch::{end_lease, write_executable};
use crate::sweep;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much later the winner starts the next time: less where the winners alternate, more where the same one wins again, within this.
const NUDGE_NANOS: std::ops::RangeInclusive<i64> = 20_000..=8_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Winner {
    Confirm,
    Fire,
}

struct Arena {
    home: Home,
    host: ShellHost,
    env: PathBuf,
}

impl Arena {
    async fn new(shell: &[&str]) -> Self {
        // What is done thousands of times needs no disk.
        let home = Home::below(Path::new("/dev/shm"));
        let env = home.path(".env");
        fs::write(&env, "old").unwrap();
        write_executable(&home.path("start"), "#!/bin/sh\ncat .env >>started\n");
        rustix::fs::mknodat(rustix::fs::CWD, home.path("gate"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        fs::create_dir(home.path("tools")).unwrap();
        let sleep = format!(
            "#!/bin/sh\n[ \"$1\" = 1 ] || exec /bin/sleep \"$@\"\nread -r _ <{}\n",
            home.path("gate").display()
        );
        write_executable(&home.path("tools/sleep"), &sleep);
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        host.hello(1, ".lockturn", "tools").await.unwrap();
        Self { home, host, env }
    }

    fn of_run(&self, name: &str) -> PathBuf {
        self.home.path(".lockturn/01RUN").join(name)
    }

    /// Armed, cut, its time over, and its watch at the gate.
    async fn ready(&mut self) -> fs::File {
        self.host.ok(&Request::Lock).await;
        self.host.stage_file(&self.env, b"old", b"new").await.unwrap();
        let services = [Activation::Command { run: vec!["./start".to_owned()], deadline: Millis::from_secs(10) }];
        self.host.ok(&Request::Arm { lease_seconds: 600, services: &services }).await;
        self.host.ok(&Request::Cut).await;
        let gate = self.home.path("gate");
        let until = Instant::now() + PATIENCE;
        loop {
            // Somebody reads there: it opens.
            let opened = fs::OpenOptions::new().write(true).custom_flags(nonblocking()).open(&gate);
            match opened {
                Ok(gate) => {
                    end_lease(&self.home);
                    return gate;
                }
                Err(error) => assert!(Instant::now() < until, "the watch does not come to its gate: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets both go; the watch so much later than the confirmation, or earlier.
    async fn race(&mut self, mut gate: fs::File, later: i64) -> Winner {
        let start = Instant::now() + Duration::from_millis(25);
        let wait = Duration::from_nanos(later.unsigned_abs());
        let (confirms, fires) = if later > 0 { (start, start + wait) } else { (start + wait, start) };
        let opener = std::thread::spawn(move || {
            on_the_dot(fires);
            gate.write_all(b"go\n").unwrap();
        });
        on_the_dot(confirms);
        let answer = self.host.call(&Request::Confirm).await;
        opener.join().unwrap();
        match answer {
            Ok(_) => Winner::Confirm,
            Err(CallError::Refused(reason)) if reason.kind == ReasonKind::Fired => Winner::Fire,
            Err(error) => panic!("the answer is neither: {error}"),
        }
    }

    /// What is on the disk is what was answered, now and when the watch has ended.
    fn settled(&self, winner: Winner) {
        let (won, lost) = match winner {
            Winner::Confirm => ("confirmed", "fired"),
            Winner::Fire => ("fired", "confirmed"),
        };
        for name in [lost, "armed"] {
            assert!(!self.of_run(name).exists(), "{winner:?} won, and there is `{name}`");
        }
        let watch = fs::read_to_string(self.of_run("watch")).unwrap();
        let process = Path::new("/proc").join(watch.split(' ').next().unwrap()).join("cmdline");
        let program = self.of_run("program").display().to_string();
        let watches = || String::from_utf8_lossy(&fs::read(&process).unwrap_or_default()).contains(&program);
        let until = Instant::now() + PATIENCE;
        while watches() {
            assert!(Instant::now() < until, "{winner:?} won, and the watch does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        let said = |name: &str| fs::read_to_string(self.of_run(name)).unwrap_or_default();
        assert!(self.of_run(won).exists() && !self.of_run(lost).exists() && !self.of_run("armed").exists());
        let started = fs::read_to_string(self.home.path("started")).unwrap_or_default();
        let (holds, started_with) = match winner {
            Winner::Confirm => ("new", ""),
            Winner::Fire => ("old", "old"),
        };
        assert_eq!(fs::read_to_string(&self.env).unwrap(), holds, "{winner:?} won");
        assert_eq!(started, started_with, "{winner:?} won");
        assert_eq!(said("record") == "reverted\n", winner == Winner::Fire, "{winner:?} won: {}", said("record"));
    }

    async fn cleaned(&mut self) {
        self.host.ok(&Request::Clean).await;
        let _none_was_started = fs::remove_file(self.home.path("started"));
        assert_eq!(self.home.names(), [".env", ".lockturn", "gate", "start", "tools"]);
        assert_eq!(fs::read_dir(self.home.path(".lockturn")).unwrap().count(), 0);
        fs::write(&self.env, "old").unwrap();
    }
}

fn nonblocking() -> i32 {
    i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap()
}

/// Closer than any timer.
fn on_the_dot(moment: Instant) {
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
}

async fn races(shell: &[&str]) {
    let mut arena = Arena::new(shell).await;
    let (mut confirmed, mut fired) = (0, 0);
    let (mut later, mut nudge, mut before) = (0, *NUDGE_NANOS.end(), Winner::Fire);
    let count = sweep::times(2_000, 30);
    for _ in 0..count {
        let gate = arena.ready().await;
        let winner = arena.race(gate, later).await;
        arena.settled(winner);
        arena.cleaned().await;
        nudge = if winner == before { nudge * 3 / 2 } else { nudge / 2 };
        (nudge, before) = (nudge.clamp(*NUDGE_NANOS.start(), *NUDGE_NANOS.end()), winner);
        match winner {
            Winner::Confirm => (confirmed, later) = (confirmed + 1, later - nudge),
            Winner::Fire => (fired, later) = (fired + 1, later + nudge),
        }
    }
    let few = count / 8;
    assert!(confirmed > few && fired > few, "{shell:?}: confirmed {confirmed} times, fired {fired} times");
    sweep::came_through(
        &format!("confirm and fire at once under {shell:?} ({confirmed} confirmed, {fired} fired)"),
        count,
    );
}

#[tokio::test]
async fn under_dash() {
    races(&["dash"]).await;
}

#[tokio::test]
async fn under_bash() {
    races(&["bash"]).await;
}

#[tokio::test]
async fn under_bash_as_sh() {
    races(&["bash", "--posix"]).await;
}

#[tokio::test]
async fn under_busybox_ash() {
    races(&["busybox", "sh"]).await;
}

#[tokio::test]
async fn under_mksh() {
    races(&["mksh"]).await;
}
