//! `check`, `hosts`, `init` and `--limit`, as they are typed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a command said: its exit code, standard output, standard error.
fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lockturn"))
        .args(arguments)
        .current_dir(dir)
        .env("LOCKTURN_STATE", dir.join("state"))
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn scaffold() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), &["init"]).0, 0);
    dir
}

#[test]
fn what_init_writes_passes_check_and_nothing_is_ever_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = run(dir.path(), &["init"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("wrote ./inventory/hosts.yml") && err.contains("lockturn check"), "{out}{err}");
    let (code, out, err) = run(dir.path(), &["check"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for said in [
        "inventory/: 4 hosts",
        "playbooks/worker-secret.yml: 3 values on 4 hosts",
        "playbooks/quarantine.yml: forgets 3 values on 1 host",
    ] {
        assert!(out.contains(said), "{said}: {out}");
    }
    fs::write(dir.path().join("inventory/hosts.yml"), "mine").unwrap();
    fs::remove_dir_all(dir.path().join("playbooks")).unwrap();
    let (code, _, err) = run(dir.path(), &["init"]);
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("inventory/hosts.yml exists already; nothing was written"), "{err}");
    assert_eq!(fs::read_to_string(dir.path().join("inventory/hosts.yml")).unwrap(), "mine");
    assert!(!dir.path().join("playbooks").exists());
}

#[test]
fn check_says_all_that_is_wrong_with_all_files_at_once() {
    let dir = scaffold();
    fs::write(dir.path().join("inventory/b.ini"), "[workers]\nw9 port=x\n").unwrap();
    fs::write(dir.path().join("inventory/c.yml"), "all: [").unwrap();
    fs::write(dir.path().join("playbooks/a.yml"), "version: 2\n").unwrap();
    let (code, _, err) = run(dir.path(), &["check"]);
    assert_eq!(code, 3);
    for said in ["inventory/b.ini:2:4", "inventory/c.yml:1:", "playbooks/a.yml:1:10", "`targets` is missing"] {
        assert!(err.contains(said), "{said}:\n{err}");
    }
    let (code, out, err) = run(dir.path(), &["check", "--output", "json"]);
    assert_eq!((code, err.as_str()), (3, ""));
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let port = lines.iter().find(|line| line["message"].as_str().is_some_and(|text| text.contains("65535"))).unwrap();
    assert_eq!((&port["line"], &port["column"], &port["severity"]), (&2.into(), &4.into(), &"error".into()));
}

#[test]
fn what_does_not_fit_the_inventory_is_pointed_at_in_the_playbook() {
    let dir = scaffold();
    let path = dir.path().join("playbooks/worker-secret.yml");
    let text = fs::read_to_string(&path).unwrap().replace("  - hosts: workers", "  - hosts: worker");
    fs::write(&path, text).unwrap();
    let (code, _, err) = run(dir.path(), &["check"]);
    assert_eq!(code, 3);
    assert!(err.contains("targets/0/hosts: `worker` is neither a host nor a group; did you mean `workers`?"), "{err}");
    assert!(err.contains("worker-secret.yml:13:5\n"), "{err}");
}

#[test]
fn hosts_says_how_each_is_reached_and_what_selectors_can_ask_for() {
    let dir = scaffold();
    let (code, out, _) = run(dir.path(), &["hosts", "workers:!worker-3"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "worker-1  deploy@worker-1.nanoclaw.example:22 via control  workers  zone=eu\n\
         worker-2  deploy@worker-2.nanoclaw.example:22 via control  workers  zone=eu\n"
    );
    let (_, out, _) = run(dir.path(), &["hosts", "-l", "zone=us", "--output", "json"]);
    let host: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&host["host"], &host["jump"][0], &host["groups"][0]),
        (&"worker-3".into(), &"control".into(), &"workers".into())
    );
    assert_eq!(host["labels"]["zone"], "us");
    for (selector, code, said) in [
        ("workerz", 2, "did you mean `workers`?"),
        ("zone=mars", 2, "`zone=mars` names no host"),
        ("zon=eu", 2, "did you mean `zone`?"),
        ("workers:!workers", 2, "names no host"),
        ("workers:", 2, "empty term"),
        ("", 2, "`all` names every host"),
        ("worker-1 worker-2", 2, "joined by"),
        ("worker-[3:1]", 2, "ends before it begins"),
    ] {
        let (exit, _, err) = run(dir.path(), &["hosts", selector]);
        assert!(exit == code && err.contains(said), "{selector}: {exit} {err}");
    }
}

#[test]
fn a_limit_that_would_part_two_sides_is_refused_before_anything_is_connected() {
    let dir = scaffold();
    let playbook = "playbooks/worker-secret.yml";
    for verb in ["check", "plan", "rotate"] {
        let (code, _, err) = run(dir.path(), &[verb, playbook, "-l", "worker-3"]);
        assert_eq!(code, 4, "{verb}: {err}");
        assert!(err.contains("`worker_shared_secret/worker-3`") && err.contains("--limit 'worker-3,control'"), "{err}");
        assert!(!dir.path().join("state").exists(), "{verb} began something");
    }
    let (code, out, _) = run(dir.path(), &["check", playbook, "-l", "worker-3,control"]);
    assert_eq!(code, 0);
    assert!(out.contains("1 value on 2 hosts"), "{out}");
    for (arguments, code, said) in [
        (&["check", playbook, "-l", "contrl"][..], 2, "did you mean `control`?"),
        (&["rotate", playbook, "-l", "zone=us:&zone=eu"], 2, "names no host"),
        (&["rotate", playbook, "-l", "control"], 4, "who are not in it"),
        (&["resume", "-l", "worker-3"], 2, "on all of its hosts"),
        (&["demo", "-l", "worker-3"], 2, "--limit works with"),
    ] {
        let (exit, _, err) = run(dir.path(), arguments);
        assert!(exit == code && err.contains(said), "{arguments:?}: {exit} {err}");
    }
}

#[test]
fn a_verb_offers_the_flags_that_mean_something_to_it() {
    let dir = scaffold();
    for (flag, verbs) in [
        ("--yes", &["rotate", "drill", "resume", "rollback", "quarantine", "release"][..]),
        ("--limit", &["check", "hosts", "plan", "rotate", "drill", "resume", "status"]),
    ] {
        let all = "init check hosts plan rotate drill resume rollback quarantine release status runs show ledger demo selftest lab \
                   completions man";
        for verb in all.split_whitespace() {
            let (code, help, _) = run(dir.path(), &[verb, "--help"]);
            assert_eq!((code, help.contains(flag)), (0, verbs.contains(&verb)), "{verb} {flag}: {help}");
        }
        let (_, help, _) = run(dir.path(), &["ledger", "verify", "--help"]);
        assert!(!help.contains(flag), "{help}");
    }
    // Wherever it stands it is heard.
    for words in [&["--limit", "nobody-is-there", "hosts"][..], &["hosts", "--limit", "nobody-is-there"]] {
        assert_eq!(run(dir.path(), words).0, 2, "{words:?}");
    }
    assert_eq!(run(dir.path(), &["runs", "--yes"]).0, 0);
}

#[test]
fn a_playbook_that_forgets_is_not_taken_for_one_that_rotates() {
    let dir = scaffold();
    let playbook = "playbooks/quarantine.yml";
    for verb in ["plan", "rotate", "drill", "status"] {
        let (code, _, err) = run(dir.path(), &[verb, playbook]);
        assert!(code == 2 && err.contains("rotates nothing"), "{verb}: {code} {err}");
        assert!(err.contains("lockturn quarantine HOST --playbook playbooks/quarantine.yml"), "{verb}: {err}");
    }
    let rotates = "playbooks/worker-secret.yml";
    for (words, code, said) in [
        (["quarantine", "worker-1", "--playbook", rotates], 2, "forgets nobody"),
        (["quarantine", "control", "--playbook", playbook], 4, "knows nothing of control"),
        (["quarantine", "worker-1", "--playbook", "nowhere.yml"], 3, "cannot be read"),
    ] {
        let (exit, _, err) = run(dir.path(), &words);
        assert!(exit == code && err.contains(said), "{words:?}: {exit} {err}");
    }
    let path = dir.path().join(playbook);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("        for_each: workers", "        for_each: worker")).unwrap();
    let (code, _, err) = run(dir.path(), &["check"]);
    assert!(code == 3 && err.contains("forget/0/put/0/for_each: `worker` is neither"), "{code} {err}");
    fs::write(&path, text.replace("  - hosts: control_plane", "  - hosts: control_plan")).unwrap();
    let (code, _, err) = run(dir.path(), &["check"]);
    assert!(code == 3 && err.contains("forget/0/hosts: `control_plan` is neither"), "{code} {err}");
}
