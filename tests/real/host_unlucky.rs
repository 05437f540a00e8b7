//! A host whose watch was asleep, whose state somebody deleted, whose login has tools of somebody else's, or to which only a part of
//! what was sent came through.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use lockturn::host::{CallError, Held, Request};
use lockturn::model::ReasonKind;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::host_program::shell_host::{Home, ShellHost};

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_watch_that_slept_past_the_lease_goes_back_when_it_goes_on() {
    let home = Home::new();
    let env = home.path(".env");
    fs::write(&env, "old").unwrap();
    let mut host = ShellHost::armed(&["dash"], &home, &env, b"old", b"new").await;
    host.ok(&Request::Arm { lease_seconds: 2, services: &[] }).await;
    host.ok(&Request::Renew { lease_seconds: 2 }).await;
    host.ok(&Request::Cut).await;
    let watch = fs::read_to_string(home.path(".lockturn/01RUN/watch")).unwrap();
    let watch = Pid::from_raw(watch.split(' ').next().unwrap().parse().unwrap()).unwrap();
    kill_process(watch, Signal::STOP).unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(fs::read(&env).unwrap(), b"new", "somebody else watches");
    kill_process(watch, Signal::CONT).unwrap();
    let until = Instant::now() + PATIENCE;
    while fs::read(&env).unwrap() != b"old" {
        assert!(Instant::now() < until, "it has not gone back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(host.refused(&Request::Confirm).await, ReasonKind::Fired);
}

#[tokio::test]
async fn a_state_that_somebody_deleted_confirms_nothing() {
    let home = Home::new();
    let env = home.path(".env");
    fs::write(&env, "old").unwrap();
    let mut host = ShellHost::armed(&["dash"], &home, &env, b"old", b"new").await;
    host.ok(&Request::Cut).await;
    fs::remove_dir_all(home.path(".lockturn")).unwrap();
    assert_eq!(host.refused(&Request::Confirm).await, ReasonKind::Fenced);
    assert_eq!(host.refused(&Request::Revert).await, ReasonKind::Fenced);
}

#[tokio::test]
async fn tools_of_somebody_else_in_the_path_of_the_login_are_not_run() {
    let home = Home::new();
    let env = home.path(".env");
    fs::write(&env, "old").unwrap();
    fs::create_dir(home.path("evil")).unwrap();
    for tool in ["mv", "ln", "cat", "head", "tee", "sha256sum", "systemctl", "sync", "id", "ls", "mkdir", "setsid"] {
        let path = home.path("evil").join(tool);
        fs::write(&path, format!("#!/bin/sh\necho {tool} >>{}\n", home.path("was-run").display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("env");
    command.arg(format!("PATH={}:/usr/bin:/bin", home.path("evil").display())).args(["/bin/sh", "-s"]);
    let mut host = ShellHost::on(command, &home, "01RUN", 1).await.unwrap();
    host.ok(&Request::Lock).await;
    host.stage_file(&env, b"old", b"new").await.unwrap();
    host.ok(&Request::Rehearse).await;
    host.ok(&Request::Arm { lease_seconds: 60, services: &[] }).await;
    host.ok(&Request::Cut).await;
    assert_eq!(fs::read(&env).unwrap(), b"new");
    host.ok(&Request::Revert).await;
    host.ok(&Request::Clean).await;
    assert!(!home.path("was-run").exists(), "{}", fs::read_to_string(home.path("was-run")).unwrap());
}

/// The connection breaks after so many bytes, from the first ones of the program to the end of the new content.
#[tokio::test]
async fn what_did_not_arrive_as_a_whole_is_not_staged() {
    let (mut broken, mut whole, new) = (0, 0, vec![b'n'; 3_000]);
    let mut bytes = 20_000;
    while whole < 2 {
        let home = Home::new();
        let env = home.path(".env");
        fs::write(&env, "old").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("dd bs=1 count={bytes} status=none | exec dash -s")]);
        let mut step = 149;
        let staged = match ShellHost::on(command, &home, "01RUN", 1).await {
            Err(_) => {
                // Within the program itself a few breaks are enough.
                step = 701;
                false
            }
            Ok(mut host) => match host.call(&Request::Lock).await {
                Err(CallError::Lost(_)) => false,
                Err(refused) => panic!("{bytes}: {refused:?}"),
                Ok(_) => host.stage_file(&env, b"old", &new).await.is_ok(),
            },
        };
        assert_eq!(fs::read(&env).unwrap(), b"old", "after {bytes} bytes");
        let mut next = ShellHost::start(&["dash"], &home, "01RUN", 2).await;
        next.ok(&Request::Lock).await;
        assert!(next.which().await.held.iter().all(|held| *held == Held::Old), "after {bytes} bytes");
        next.ok(&Request::Clean).await;
        assert_eq!(home.names(), [".env", ".lockturn"], "after {bytes} bytes");
        (broken, whole) = if staged { (broken, whole + 1) } else { (broken + 1, whole) };
        bytes += step;
        assert!(bytes < 200_000, "it is never staged");
    }
    assert!(broken > 20, "only {broken}");
}
