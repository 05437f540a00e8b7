//! Values in databases and behind programs, on the program's own side, under every shell: there and back, and what is in the way.

use std::process::Command;

use lockturn::host::{CallError, Held, Request, ScriptKind, SqlRow, inspect_sql, parse_inspected, stage_sql};
use lockturn::model::{Reason, Secret};

use super::host_program::shell_host::{Home, ShellHost};

const SHELLS: [&[&str]; 5] = [&["dash"], &["bash"], &["bash", "--posix"], &["busybox", "sh"], &["mksh"]];

const READ: &str = "SELECT secret FROM workers WHERE id = :host";
const WRITE: &str = "UPDATE workers SET secret = :secret WHERE id = :host";

/// A value with everything that SQL, a shell or a line could take for its own.
const OLD: &str = "o'l\"d; DROP TABLE workers; -- $(id) `id` \\ \u{e9}\nsecond line";
const NEW: &str = "n'e\"w /* \u{1f511}";

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// Runs SQL in a database of a host, as somebody else would.
fn sqlite(home: &Home, sql: &str) -> String {
    let output =
        Command::new("sqlite3").arg(home.path("a b.db")).arg(sql).output().expect("sqlite3; `make test` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn database() -> Home {
    let home = Home::new();
    let hex: String = OLD.bytes().map(|byte| format!("{byte:02x}")).collect();
    sqlite(
        &home,
        &format!(
            "CREATE TABLE workers(id TEXT, secret TEXT); INSERT INTO workers VALUES ('w1', CAST(X'{hex}' AS TEXT)), ('w2', 'theirs')"
        ),
    );
    home
}

async fn inspect(host: &mut ShellHost, read: &str) -> Result<Result<Secret, Reason>, CallError> {
    let sql = inspect_sql([(read, "w1")].into_iter()).unwrap();
    let rows = host.call(&Request::Sqlite { file: "a b.db", sql: &sql }).await?;
    Ok(parse_inspected(&rows, 1).unwrap().remove(0))
}

async fn stage(host: &mut ShellHost, write: &str) -> Result<Secret, CallError> {
    let (old, new) = (secret(OLD), secret(NEW));
    let parts = stage_sql(&[SqlRow { read: READ, write, host: "w1", old: &old, new: &new }]).unwrap();
    let stage = Request::StageScript { number: 1, kind: ScriptKind::Sqlite, target: "a b.db", parts: &parts };
    host.ok(&Request::Lock).await;
    host.ok(&stage).await;
    host.call(&Request::Rehearse).await
}

#[tokio::test]
async fn a_row_moves_there_and_back_under_every_shell() {
    for shell in SHELLS {
        let home = database();
        let mut host = ShellHost::start(shell, &home, "01RUN", 1).await;
        let found = inspect(&mut host, READ).await.unwrap().unwrap();
        assert_eq!(found.expose(), OLD.as_bytes(), "{shell:?}");
        assert_eq!(home.names(), ["a b.db"], "{shell:?}: looking left something behind");
        stage(&mut host, WRITE).await.unwrap();
        host.ok(&Request::Arm { lease_seconds: 60 }).await;
        assert_eq!(host.which().await.held, [Held::Old]);
        for _ in 0..2 {
            host.ok(&Request::Cut).await;
            assert_eq!(sqlite(&home, "SELECT secret FROM workers"), format!("{NEW}\ntheirs\n"), "{shell:?}");
            assert_eq!(host.which().await.held, [Held::New]);
        }
        for _ in 0..2 {
            host.ok(&Request::Revert).await;
            assert_eq!(sqlite(&home, "SELECT secret FROM workers"), format!("{OLD}\ntheirs\n"), "{shell:?}");
        }
        host.ok(&Request::Clean).await;
        assert_eq!(home.names(), [".lockturn", "a b.db"], "{shell:?}");
    }
}
