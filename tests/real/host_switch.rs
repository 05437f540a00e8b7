//! The dead-man's switch of a host that is nothing but a shell: it fires when nobody confirms in time, and only then, whatever becomes of
//! whoever armed it; and whoever comes after it has fired is told so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lockturn::host::Request;
use lockturn::model::{Activation, Millis, ReasonKind};

use super::host_program::shell_host::{Home, ShellHost};

const SHELLS: [&[&str]; 5] = [&["dash"], &["bash"], &["bash", "--posix"], &["busybox", "sh"], &["mksh"]];

/// Long enough for a busy machine, short enough to wait for.
const LEASE_SECONDS: u64 = 3;

/// How long after its lease a host may take to go back: it looks once a second.
const PATIENCE: Duration = Duration::from_secs(40);

struct Cut {
    home: Home,
    host: ShellHost,
    env: PathBuf,
}

impl Cut {
    /// A host that is armed for so long and cut; its service writes down when it is started.
    async fn new(shell: &[&str], lease_seconds: u64) -> Self {
        let home = Home::new();
        let env = home.path(".env");
        fs::write(&env, "old").unwrap();
        fs::write(home.path("start"), "#!/bin/sh\ncat .env >>started\n").unwrap();
        fs::set_permissions(home.path("start"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        host.ok(&Request::Lock).await;
        host.stage_file(&env, b"old", b"new").await.unwrap();
        host.ok(&Request::Rehearse).await;
        arm(&mut host, lease_seconds).await;
        host.ok(&Request::Cut).await;
        Self { home, host, env }
    }

    fn holds(&self) -> String {
        fs::read_to_string(&self.env).unwrap()
    }

    /// Waits until the host has gone back and its service has been started again.
    fn wait_until_back(&self) {
        let until = Instant::now() + PATIENCE;
        let record = self.home.path(".lockturn/01RUN/record");
        while fs::read_to_string(&record).unwrap_or_default() != "reverted\n" {
            assert!(Instant::now() < until, "it holds {} and has not gone back", self.holds());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(self.holds(), "old");
    }

    fn started_with(&self) -> String {
        fs::read_to_string(self.home.path("started")).unwrap_or_default()
    }
}

async fn arm(host: &mut ShellHost, lease_seconds: u64) {
    let run = vec!["./start".to_owned()];
    let services = [Activation::Command { run, deadline: Millis::from_secs(10) }];
    host.ok(&Request::Arm { lease_seconds, services: &services }).await;
}

/// The processes that watch a host in this directory.
fn watchers(home: &Home) -> usize {
    let program = home.path(".lockturn/01RUN/program").display().to_string();
    let watches = |dir: &fs::DirEntry| {
        let command = fs::read(dir.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&format!("{program}\0watch\0"))
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|dir| watches(dir)).count()
}

#[tokio::test]
async fn a_host_that_nobody_confirms_goes_back_and_says_so() {
    for shell in SHELLS {
        let mut cut = Cut::new(shell, LEASE_SECONDS).await;
        assert_eq!((cut.holds().as_str(), watchers(&cut.home)), ("new", 1));
        cut.wait_until_back();
        assert_eq!(cut.started_with(), "old", "{shell:?}: the service took the old content once");
        let host = &mut cut.host;
        assert_eq!(host.refused(&Request::Confirm).await, ReasonKind::Fired, "{shell:?}");
        assert_eq!(host.refused(&Request::Cut).await, ReasonKind::Fired, "{shell:?}");
        assert_eq!(host.refused(&Request::Renew { lease_seconds: 9 }).await, ReasonKind::Fired, "{shell:?}");
        assert_eq!(host.which().await.record, "fired reverted");
        host.ok(&Request::Revert).await;
        // The decision had been to stay: it is armed and cut again, and then confirmed.
        arm(host, 60).await;
        host.ok(&Request::Cut).await;
        host.ok(&Request::Confirm).await;
        host.ok(&Request::Clean).await;
        assert_eq!(fs::read_to_string(&cut.env).unwrap(), "new", "{shell:?}");
        assert_eq!(cut.home.names(), [".env", ".lockturn", "start", "started"]);
    }
}

#[tokio::test]
async fn it_goes_back_when_all_that_armed_it_is_dead() {
    for shell in SHELLS {
        let Cut { home, host, env } = Cut::new(shell, LEASE_SECONDS).await;
        host.kill().await;
        // Another session takes the host, and with it ends what the first one left: but not the switch.
        let mut second = ShellHost::start(shell, &home, "01RUN", 2).await;
        second.ok(&Request::Lock).await;
        let cut = Cut { home, host: second, env };
        assert_eq!(watchers(&cut.home), 1, "{shell:?}");
        cut.wait_until_back();
    }
}

#[tokio::test]
async fn a_host_that_is_confirmed_in_time_is_left_alone() {
    let mut confirmed = Cut::new(SHELLS[0], LEASE_SECONDS).await;
    confirmed.host.ok(&Request::Confirm).await;
    tokio::time::sleep(Duration::from_secs(LEASE_SECONDS + 3)).await;
    assert_eq!((confirmed.holds().as_str(), confirmed.started_with().as_str()), ("new", ""));
    assert_eq!(watchers(&confirmed.home), 0, "somebody still watches");
    confirmed.host.ok(&Request::Confirm).await;
}

#[tokio::test]
async fn services_are_told_by_the_host_when_whoever_took_it_back_dies_before_it_tells_them() {
    for shell in SHELLS {
        let mut cut = Cut::new(shell, LEASE_SECONDS).await;
        cut.host.ok(&Request::Revert).await;
        assert_eq!(cut.host.which().await.record, "reverted");
        let Cut { home, host, .. } = cut;
        host.kill().await;
        // The way back has the time that it needs.
        end_lease(&home);
        let until = Instant::now() + PATIENCE;
        while fs::read_to_string(home.path("started")).unwrap_or_default() != "old" {
            assert!(Instant::now() < until, "{shell:?}: nobody told the services");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut second = ShellHost::start(shell, &home, "01RUN", 2).await;
        second.ok(&Request::Lock).await;
        second.ok(&Request::Revert).await;
        second.ok(&Request::Clean).await;
        assert_eq!(watchers(&home), 0, "{shell:?}");
    }
}

#[tokio::test]
async fn who_takes_a_host_back_starts_its_watch_again_where_it_has_ended() {
    for shell in SHELLS {
        let Cut { home, mut host, .. } = Cut::new(shell, LEASE_SECONDS).await;
        // As another start of the host ends it.
        let watch = fs::read_to_string(home.path(".lockturn/01RUN/watch")).unwrap();
        let pid: i32 = watch.split(' ').next().unwrap().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        while watchers(&home) > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        host.ok(&Request::Revert).await;
        assert_eq!(watchers(&home), 1, "{shell:?}: nobody would tell the services");
        host.ok(&Request::Clean).await;
    }
}

#[tokio::test]
async fn a_host_that_is_asked_to_wait_longer_waits() {
    let mut cut = Cut::new(SHELLS[0], LEASE_SECONDS).await;
    cut.host.ok(&Request::Renew { lease_seconds: 600 }).await;
    tokio::time::sleep(Duration::from_secs(LEASE_SECONDS + 3)).await;
    assert_eq!(cut.holds(), "new");
    // Whoever ended its watch is not obeyed: the next question starts another one.
    cut.host.ok(&Request::Renew { lease_seconds: 600 }).await;
    assert_eq!(watchers(&cut.home), 1);
    cut.host.ok(&Request::Revert).await;
    cut.host.ok(&Request::Clean).await;
    assert_eq!(watchers(&cut.home), 0, "it is cleaned, and somebody still watches");
}

#[tokio::test]
async fn a_wall_clock_that_jumps_does_not_fire() {
    let home = Home::new();
    let env = home.path(".env");
    fs::write(&env, "old").unwrap();
    // Whoever asks this host for the date is told the one of a day later each time.
    fs::create_dir(home.path("tools")).unwrap();
    let text = "#!/bin/sh\ntouch asked\nread -r day <day\necho $((day + 86400)) | tee day\n";
    fs::write(home.path("day"), "1800000000\n").unwrap();
    fs::write(home.path("tools/date"), text).unwrap();
    fs::set_permissions(home.path("tools/date"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut host = ShellHost::start(SHELLS[0], &home, "01RUN", 1).await;
    host.hello(1, ".lockturn", "tools").await.unwrap();
    host.ok(&Request::Lock).await;
    host.stage_file(&env, b"old", b"new").await.unwrap();
    arm(&mut host, 600).await;
    host.ok(&Request::Cut).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(host.which().await.record, "armed");
    assert!(!home.path("asked").exists(), "the lease has to do with the date");
    host.ok(&Request::Confirm).await;
    host.ok(&Request::Clean).await;
}

#[tokio::test]
async fn a_host_that_starts_again_goes_back_before_its_services_start() {
    let cut = Cut::new(SHELLS[0], 600).await;
    let program = cut.home.path(".lockturn/01RUN/program");
    let state = cut.home.path(".lockturn");
    let words = [program.as_os_str(), "boot".as_ref(), state.as_os_str(), "01RUN".as_ref()];
    let ended = std::process::Command::new("/bin/sh").args(words).status().unwrap();
    assert!(ended.success());
    assert_eq!(
        (cut.holds().as_str(), cut.started_with().as_str()),
        ("old", ""),
        "services start by themselves at boot"
    );
}

#[tokio::test]
async fn a_host_that_is_still_going_back_is_armed_again_when_it_is_back() {
    for shell in SHELLS {
        let mut cut = Cut::new(shell, LEASE_SECONDS).await;
        fs::write(cut.home.path("start"), "#!/bin/sh\nsleep 4\ncat .env >>started\n").unwrap();
        wait_for(&cut.home.path(".lockturn/01RUN/fired"));
        assert_eq!(cut.host.refused(&Request::Confirm).await, ReasonKind::Fired, "{shell:?}");
        arm(&mut cut.host, 60).await;
        assert_eq!(cut.started_with(), "old", "{shell:?}: it was armed in the middle of the way back");
        cut.host.ok(&Request::Cut).await;
        cut.host.ok(&Request::Confirm).await;
        assert_eq!(cut.holds(), "new");
    }
}

#[tokio::test]
async fn a_host_whose_watch_died_on_the_way_back_is_armed_again() {
    let mut cut = Cut::new(SHELLS[0], LEASE_SECONDS).await;
    fs::write(cut.home.path("start"), "#!/bin/sh\nsleep 30\n").unwrap();
    wait_for(&cut.home.path(".lockturn/01RUN/fired"));
    end_watch(&cut.home);
    // It may have died before it had moved anything.
    fs::remove_file(&cut.env).unwrap();
    fs::write(&cut.env, "new").unwrap();
    assert_eq!(cut.host.refused(&Request::Confirm).await, ReasonKind::Fired);
    arm(&mut cut.host, 60).await;
    assert_eq!((cut.holds().as_str(), watchers(&cut.home)), ("old", 1));
    cut.host.ok(&Request::Cut).await;
    cut.host.ok(&Request::Confirm).await;
}

#[tokio::test]
async fn nobody_is_cut_without_a_watch() {
    let home = Home::new();
    let env = home.path(".env");
    fs::write(&env, "old").unwrap();
    let mut host = ShellHost::armed(SHELLS[0], &home, &env, b"old", b"new").await;
    end_watch(&home);
    host.ok(&Request::Cut).await;
    assert_eq!(watchers(&home), 1, "it was cut, and nobody watches");
    host.ok(&Request::Revert).await;
}

#[tokio::test]
async fn services_of_a_host_that_was_never_cut_are_left_alone() {
    let home = Home::new();
    let env = home.path(".env");
    fs::write(&env, "old").unwrap();
    fs::write(home.path("start"), "#!/bin/sh\ncat .env >>started\n").unwrap();
    fs::set_permissions(home.path("start"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut host = ShellHost::armed(SHELLS[0], &home, &env, b"old", b"new").await;
    arm(&mut host, 1).await;
    let cut = Cut { home, host, env };
    cut.wait_until_back();
    assert_eq!(cut.started_with(), "", "a service was started again for nothing");
}

#[tokio::test]
async fn a_way_back_that_cannot_be_gone_does_not_keep_services_from_starting() {
    let cut = Cut::new(SHELLS[0], 600).await;
    end_watch(&cut.home);
    fs::write(&cut.env, "somebody else's").unwrap();
    let program = cut.home.path(".lockturn/01RUN/program");
    let state = cut.home.path(".lockturn");
    let words = [program.as_os_str(), "boot".as_ref(), state.as_os_str(), "01RUN".as_ref()];
    let mut boot = std::process::Command::new("/bin/sh").args(words).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    while boot.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            boot.kill().unwrap();
            panic!("the services still wait");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let record = fs::read_to_string(cut.home.path(".lockturn/01RUN/record")).unwrap();
    assert!(record.starts_with("stuck: "), "{record}");
}

fn wait_for(file: &std::path::Path) {
    let until = Instant::now() + PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < until, "there is no {}", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As if its time were over.
pub(super) fn end_lease(home: &Home) {
    let lease = home.path(".lockturn/01RUN/lease");
    let text = fs::read_to_string(&lease).unwrap();
    fs::write(&lease, format!("{} 0\n", text.split(' ').next().unwrap())).unwrap();
}

/// Ends whoever watches this host, as the end of a login may.
fn end_watch(home: &Home) {
    let watch = fs::read_to_string(home.path(".lockturn/01RUN/watch")).unwrap();
    let pid: i32 = watch.split(' ').next().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    let until = Instant::now() + PATIENCE;
    while watchers(home) > 0 {
        assert!(Instant::now() < until, "{pid} does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn write_executable(path: &std::path::Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
