//! The program on a host where somebody else knows more, was faster, or cuts the power.
//!
//! Goal: what a coordinator with an old copy of the ledger does, and one that was slow, undoes nothing. Method: the real program,
//! with a tool of the host that waits, or writes down what it is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lockturn::host::{Request, Which};
use lockturn::model::ReasonKind;

use super::host_program::shell_host::{Home, ShellHost};

const SH: &[&str] = &["/bin/sh"];

/// Puts a script in the place of a tool, for a host that is told so.
fn tool(home: &Home, name: &str, script: &str) {
    fs::create_dir_all(home.path("tools")).unwrap();
    let path = home.path("tools").join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn wait_for(file: &Path) {
    let until = Instant::now() + Duration::from_secs(30);
    while !file.exists() {
        assert!(Instant::now() < until, "{} does not come", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is asked to be on the disk while the host does this: where, what, what lies beside the target, and whether the run is there.
async fn synced_by(host: &mut ShellHost, home: &Home, request: &Request<'_>) -> Vec<String> {
    let (synced, state) = (home.path("synced"), home.path(".lockturn"));
    let script = format!(
        "for f in .lockturn-01RUN-1; do [ ! -e $f ] || left=left; done; [ ! -e '{0}/01RUN' ] || run=run; shift
        echo \"$PWD $* ${{left-}} ${{run-}}\" >>'{1}'; exec /bin/sync -- \"$@\"",
        state.display(),
        synced.display()
    );
    tool(home, "sync", &script);
    host.hello(1, ".lockturn", "tools").await.unwrap();
    host.ok(request).await;
    fs::read_to_string(&synced).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_host_that_was_told_that_it_stays_is_not_taken_back() {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    host.ok(&Request::Cut).await;
    host.ok(&Request::Confirm).await;
    // By its copy of the ledger nothing is decided.
    assert_eq!(host.refused(&Request::Revert).await, ReasonKind::Changed);
    assert_eq!(fs::read(&path).unwrap(), b"new");
    host.ok(&Request::Confirm).await;
}

#[tokio::test]
async fn the_values_of_a_run_are_on_the_disk_by_name_when_they_are_kept() {
    let home = Home::new();
    let mut host = ShellHost::start(SH, &home, "01RUN", 1).await;
    host.ok(&Request::Lock).await;
    let bytes = lockturn::model::Secret::new(b"values".to_vec());
    let lines = synced_by(&mut host, &home, &Request::Keep { name: "values", bytes: &bytes }).await;
    let name = format!(" {}  run", home.path(".lockturn/01RUN").display());
    assert!(lines.last().is_some_and(|line| line.ends_with(&name)), "{lines:?}");
}

#[tokio::test]
async fn what_is_in_its_place_already_is_on_the_disk_too() {
    let home = Home::new();
    fs::create_dir(home.path("app")).unwrap();
    let path = home.path("app/.env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    host.ok(&Request::Cut).await;
    host.ok(&Request::Revert).await;
    // Whoever did that may have died just before.
    let lines = synced_by(&mut host, &home, &Request::Revert).await;
    let wanted = format!("{} . left run", home.path("app").display());
    assert!(lines.contains(&wanted), "{lines:?}");
}

#[tokio::test]
async fn that_there_was_a_cut_is_on_the_disk_before_the_cut() {
    let home = Home::new();
    fs::create_dir(home.path("app")).unwrap();
    let path = home.path("app/.env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    let lines = synced_by(&mut host, &home, &Request::Cut).await;
    let told = lines.iter().position(|line| line.contains("/01RUN/cutting "));
    let cut = lines.iter().position(|line| line.contains("/app/.lockturn-01RUN-1 .. "));
    assert!(told.is_some() && cut.is_some() && told < cut, "{lines:?}");
}

#[tokio::test]
async fn a_host_that_was_cut_is_not_cleaned_by_one_who_does_not_know() {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    host.ok(&Request::Cut).await;
    // Its copy of the ledger is older than the cut: to it nobody moved.
    let mut other = ShellHost::start(SH, &home, "01RUN", 2).await;
    other.ok(&Request::Lock).await;
    assert_eq!(other.refused(&Request::Clean).await, ReasonKind::Changed);
    assert_eq!(other.which().await.record, "armed", "nothing takes it back any more");
    other.ok(&Request::Revert).await;
    other.ok(&Request::Clean).await;
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(home.names(), [".env", ".lockturn"]);
}

#[tokio::test]
async fn a_host_whose_services_may_not_have_been_told_is_not_cleaned_by_one_who_knows_of_no_cut() {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    host.ok(&Request::Cut).await;
    // It holds the old value again. What runs there has not been told.
    host.ok(&Request::Revert).await;
    host.kill().await;
    let mut other = ShellHost::start(SH, &home, "01RUN", 2).await;
    other.ok(&Request::Lock).await;
    assert_eq!(other.refused(&Request::CleanUntouched).await, ReasonKind::Changed);
    assert_eq!(other.which().await.record, "reverted", "nothing tells its services any more");
    other.ok(&Request::Clean).await;
    assert_eq!(home.names(), [".env", ".lockturn"]);
}

#[tokio::test]
async fn what_was_staged_once_more_and_only_by_half_is_not_armed() {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::start(SH, &home, "01RUN", 1).await;
    host.ok(&Request::Lock).await;
    host.stage_file(&path, b"old", b"new").await.unwrap();
    host.ok(&Request::Rehearse).await;
    fs::write(home.path(".lockturn-01RUN-1/new"), "ne").unwrap();
    assert_eq!(host.refused(&Request::Rehearse).await, ReasonKind::RehearsalFailed);
    host.stage_file(&path, b"old", b"new").await.unwrap();
    host.ok(&Request::Rehearse).await;
}

#[tokio::test]
async fn a_clean_that_dies_in_the_middle_leaves_no_host_that_waits_for_somebody() {
    let home = Home::new();
    fs::create_dir(home.path("app")).unwrap();
    let path = home.path("app/.env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    let (armed, run) = (home.path(".lockturn/01RUN/armed"), home.path(".lockturn/01RUN"));
    tool(&home, "rm", "case \"$*\" in *armed) exit 1 ;; esac; exec /bin/rm \"$@\"");
    host.hello(1, ".lockturn", "tools").await.unwrap();
    assert_eq!(host.refused(&Request::CleanUntouched).await, ReasonKind::Denied);
    assert!(armed.exists() && home.path("app/.lockturn-01RUN-1").exists(), "it is half cleaned, and waits");
    fs::remove_file(home.path("tools/rm")).unwrap();
    let lines = synced_by(&mut host, &home, &Request::CleanUntouched).await;
    // Before anything that it would need goes.
    assert!(lines[0].ends_with(&format!(" {}  run", run.display())), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_coordinator_that_was_slow_does_not_take_the_host_from_a_newer_one() {
    let home = Home::new();
    let mut first = ShellHost::start(SH, &home, "01RUN", 1).await;
    first.ok(&Request::Lock).await;
    first.kill().await;
    // It has looked who holds the host, and is about to write down that it does.
    let (at_it, go) = (home.path("at-it"), home.path("go"));
    let waits = format!(
        "case \"$*\" in *taking*|*session*) : >'{}'; while [ ! -e '{}' ]; do sleep 0.05; done ;; esac\nexec /bin/mv \"$@\"",
        at_it.display(),
        go.display()
    );
    tool(&home, "mv", &waits);
    let mut slow = ShellHost::start(SH, &home, "01RUN", 1).await;
    slow.hello(1, ".lockturn", "tools").await.unwrap();
    let locking = tokio::spawn(async move { slow.refused(&Request::Lock).await });
    wait_for(&at_it);
    let mut newer = ShellHost::start(SH, &home, "01RUN", 2).await;
    newer.ok(&Request::Lock).await;
    fs::write(&go, "").unwrap();
    assert_eq!(locking.await.unwrap(), ReasonKind::Fenced);
    fs::write(home.path("f"), "old").unwrap();
    newer.stage_file(&home.path("f"), b"old", b"new").await.unwrap();
}

#[tokio::test]
async fn what_was_cleaned_is_gone_also_after_a_power_cut() {
    let home = Home::new();
    fs::create_dir(home.path("app")).unwrap();
    let path = home.path("app/.env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    host.ok(&Request::Cut).await;
    host.ok(&Request::Confirm).await;
    let lines = synced_by(&mut host, &home, &Request::Clean).await;
    // First what lay beside the target, while the run still knows of it; the run itself last.
    let beside = format!("{} .  run", home.path("app").display());
    let run = format!(" {}  ", home.path(".lockturn").display());
    let at = |wanted: &dyn Fn(&str) -> bool| lines.iter().position(|line| wanted(line));
    let (first, last) = (at(&|line| line == beside), at(&|line| line.ends_with(&run)));
    assert!(first.is_some() && last.is_some() && first < last, "{lines:?}");
}

#[tokio::test]
async fn a_host_that_an_earlier_lockturn_has_taken_is_not_taken_from_a_newer_coordinator() {
    let home = Home::new();
    let mut first = ShellHost::start(SH, &home, "01RUN", 2).await;
    first.ok(&Request::Lock).await;
    // So it named the one session that it knew of.
    let (session, turn) = (home.path(".lockturn/01RUN/session"), home.path(".lockturn/01RUN/session1"));
    fs::rename(&turn, &session).unwrap();
    let mut older = ShellHost::start(SH, &home, "01RUN", 1).await;
    assert_eq!(older.refused(&Request::Lock).await, ReasonKind::Fenced);
    assert_eq!(older.refused(&Request::Clean).await, ReasonKind::Fenced);
    let mut newer = ShellHost::start(SH, &home, "01RUN", 3).await;
    newer.ok(&Request::Lock).await;
    // One that hangs is ended, and the earlier program, which looks there, is refused.
    tokio::time::timeout(Duration::from_secs(30), first.child.wait()).await.expect("two sessions at work").unwrap();
    assert!(fs::read_to_string(&session).unwrap().starts_with("3 "), "the earlier program may take it");
    newer.ok(&Request::Clean).await;
    assert_eq!(home.names(), [".lockturn"]);
}

#[tokio::test]
async fn a_clean_that_dies_in_the_middle_leaves_no_host_that_seems_never_to_have_been_confirmed() {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    host.ok(&Request::Cut).await;
    host.ok(&Request::Confirm).await;
    // In the order of the directory it may be the first to go.
    let dies = format!(
        "case \"$*\" in *.lockturn/01RUN\\ *|*.lockturn/01RUN) exec /bin/rm -f -- '{}' ;; esac\nexec /bin/rm \"$@\"",
        home.path(".lockturn/01RUN/confirmed").display()
    );
    tool(&home, "rm", &dies);
    host.hello(1, ".lockturn", "tools").await.unwrap();
    assert_eq!(host.refused(&Request::Clean).await, ReasonKind::Denied);
    assert!(!home.path(".lockturn/01RUN/confirmed").exists());
    // Whoever has lost the journal would take back what shows a cut.
    assert_eq!(host.which().await.record, "cleaning confirmed");
    // Nothing but cleaning is done there, by whomever.
    assert_eq!(host.refused(&Request::Revert).await, ReasonKind::Fenced);
    fs::remove_file(home.path("tools/rm")).unwrap();
    host.ok(&Request::Clean).await;
    assert_eq!(home.names(), [".env", ".lockturn", "tools"]);
}

#[tokio::test]
async fn a_clean_that_dies_at_its_very_end_leaves_the_word_that_the_run_is_over() {
    for (confirmed, record) in [(true, "cleaning confirmed"), (false, "cleaning")] {
        let home = Home::new();
        let path = home.path(".env");
        fs::write(&path, "old").unwrap();
        let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
        if confirmed {
            host.ok(&Request::Cut).await;
            host.ok(&Request::Confirm).await;
        }
        // The directory of the run goes, and the lock does not.
        let run = home.path(".lockturn/01RUN");
        let dies = format!(
            "for last; do :; done\ncase $last in */lock) /bin/rm -rf -- {}; exit 1 ;; esac\nexec /bin/rm \"$@\"",
            run.display()
        );
        tool(&home, "rm", &dies);
        host.hello(1, ".lockturn", "tools").await.unwrap();
        assert_eq!(host.refused(&Request::Clean).await, ReasonKind::Denied);
        assert_eq!(fs::read_to_string(home.path(".lockturn/lock")).unwrap(), format!("01RUN {record}\n"));
        assert!(!run.exists());
        host.kill().await;
        fs::remove_file(home.path("tools/rm")).unwrap();

        let mut other = ShellHost::start(SH, &home, "01OTHER", 1).await;
        assert_eq!(other.refused(&Request::Lock).await, ReasonKind::HostLocked);
        assert_eq!(other.ok(&Request::Leftovers).await.expose(), b"01RUN\n");
        // Its first message, come late, does not begin it again.
        let mut host = ShellHost::start(SH, &home, "01RUN", 2).await;
        assert_eq!(host.refused(&Request::Lock).await, ReasonKind::Fenced);
        assert_eq!(host.which().await, Which { held: Vec::new(), record: record.to_owned() });
        host.ok(&Request::LockAgain).await;
        assert_eq!(host.which().await, Which { held: Vec::new(), record: record.to_owned() });
        assert_eq!(host.refused(&Request::Cut).await, ReasonKind::Fenced);
        host.ok(&Request::Clean).await;
        assert_eq!(fs::read_dir(home.path(".lockturn")).unwrap().count(), 0);
        assert_eq!(host.refused(&Request::LockAgain).await, ReasonKind::Fenced);
        other.ok(&Request::Lock).await;
    }
}

#[tokio::test]
async fn a_clean_that_dies_among_the_sessions_is_taken_up_by_the_next_coordinator() {
    let home = Home::new();
    let path = home.path(".env");
    fs::write(&path, "old").unwrap();
    let mut host = ShellHost::armed(SH, &home, &path, b"old", b"new").await;
    for epoch in [2, 3] {
        host.kill().await;
        host = ShellHost::start(SH, &home, "01RUN", epoch).await;
        host.ok(&Request::LockAgain).await;
    }
    let sessions = || (1..5).filter(|turn| home.path(&format!(".lockturn/01RUN/session{turn}")).exists()).count();
    assert_eq!(sessions(), 3);
    // The first of all that is to go.
    tool(&home, "rm", "case $* in */lock) exec /bin/rm -- \"$3\" ;; esac\nexec /bin/rm \"$@\"");
    host.hello(3, ".lockturn", "tools").await.unwrap();
    assert_eq!(host.refused(&Request::Clean).await, ReasonKind::Denied);
    host.kill().await;
    assert_eq!(sessions(), 2);
    fs::remove_file(home.path("tools/rm")).unwrap();
    let mut newest = ShellHost::start(SH, &home, "01RUN", 4).await;
    newest.ok(&Request::LockAgain).await;
    newest.ok(&Request::Clean).await;
    assert_eq!(home.names(), [".env", ".lockturn", "tools"]);
}
