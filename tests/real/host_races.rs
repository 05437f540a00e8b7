//! The dead-man's switch fires in the middle of what its host is asked for: whoever is first, the host ends whole, on one side, and what
//! it answers is so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lockturn::host::{CallError, Request};
use lockturn::model::ReasonKind;

use super::host_program::shell_host::{Home, ShellHost};

const SHELLS: [&[&str]; 4] = [&["dash"], &["bash"], &["busybox", "sh"], &["mksh"]];

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// From here on `mv` of this session stands still before it does its work, at the call whose words contain `words`, until `go` is there.
/// The switch, which was armed before, has the host's own `mv`.
async fn stands_at(host: &mut ShellHost, home: &Home, words: &str) {
    let (tools, stands, go) = (home.path("tools"), home.path("stands"), home.path("go"));
    fs::create_dir(&tools).unwrap();
    let text = format!(
        "#!/bin/sh\ncase $* in *'{words}'*)\n: >{}\nwhile [ ! -e {} ]; do sleep 0.05; done ;;\nesac\nexec /bin/mv \"$@\"\n",
        stands.display(),
        go.display()
    );
    fs::write(tools.join("mv"), text).unwrap();
    fs::set_permissions(tools.join("mv"), fs::Permissions::from_mode(0o755)).unwrap();
    host.hello(1, ".lockturn", "tools").await.unwrap();
}

async fn wait_for(what: &str, so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The host's time is over now.
fn end_lease(home: &Home) {
    let lease = home.path(".lockturn/01RUN/lease");
    let text = fs::read_to_string(&lease).unwrap();
    fs::write(&lease, format!("{} 0\n", text.split(' ').next().unwrap())).unwrap();
}

fn has_gone_back(home: &Home) -> bool {
    let read = |name: &str| fs::read_to_string(home.path(".lockturn/01RUN").join(name)).unwrap_or_default();
    home.path(".lockturn/01RUN/fired").exists() && read("record") == "reverted\n"
}

async fn armed(shell: &[&str], home: &Home, env: &Path) -> ShellHost {
    fs::write(env, "old").unwrap();
    ShellHost::armed(shell, home, env, b"old", b"new").await
}

/// The switch looks while the cut is at it, and sees the old content. What the cut does after that must not stay, and nobody may be
/// left who could take it back: the session and its coordinator die just then.
#[tokio::test]
async fn a_cut_that_is_late_leaves_no_host_new_and_unguarded() {
    for shell in SHELLS {
        let home = Home::new();
        let env = home.path(".env");
        let mut host = armed(shell, &home, &env).await;
        stands_at(&mut host, &home, "-fT -- new").await;
        let session = host.child.id().unwrap();
        let cut = host.call(&Request::Cut);
        let late = async {
            wait_for("the cut is at it", || home.path("stands").exists()).await;
            end_lease(&home);
            wait_for("the host goes back", || has_gone_back(&home)).await;
            // The last thing that this session does is to move the file, if it still can.
            let _gone = std::process::Command::new("kill").args(["-STOP", &session.to_string()]).status();
            fs::write(home.path("go"), "").unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            let _gone = std::process::Command::new("kill").args(["-KILL", &session.to_string()]).status();
        };
        let (answer, ()) = tokio::join!(cut, late);
        assert!(matches!(answer, Err(CallError::Lost(_))), "{shell:?}");
        assert_eq!(fs::read_to_string(&env).unwrap(), "old", "{shell:?}: new, and nobody watches it");
        let mut next = ShellHost::start(shell, &home, "01RUN", 2).await;
        next.ok(&Request::Lock).await;
        assert_eq!(next.refused(&Request::Confirm).await, ReasonKind::Fired, "{shell:?}");
    }
}

/// Both go back at the same moment: the file is taken from under the hands of the one, who must not call that a failure.
#[tokio::test]
async fn a_revert_during_which_the_switch_fires_is_done() {
    for shell in SHELLS {
        let home = Home::new();
        let env = home.path(".env");
        let mut host = armed(shell, &home, &env).await;
        host.ok(&Request::Cut).await;
        stands_at(&mut host, &home, "-fT -- back").await;
        let fires = async {
            wait_for("the revert is at it", || home.path("stands").exists()).await;
            end_lease(&home);
            wait_for("the host goes back", || has_gone_back(&home)).await;
            fs::write(home.path("go"), "").unwrap();
        };
        let (answer, ()) = tokio::join!(host.call(&Request::Revert), fires);
        assert!(answer.is_ok(), "{shell:?}: {}", answer.err().unwrap());
        assert_eq!(fs::read_to_string(&env).unwrap(), "old", "{shell:?}");
    }
}
