//! A rotation that succeeds, that is refused, and that goes back, one fault at a time.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::support::Lab;

#[test]
fn a_rotation_changes_both_sides_of_every_value_and_shows_none() {
    let lab = Lab::up();
    let before = lab.held();
    // The lab's own playbook, with every probe that it has.
    let mut rotation = lab.command(&["rotate", "--yes", "--output", "json"]);
    rotation.arg(lab.at("playbooks/worker-secret.yml"));
    let ended = lab.run(rotation);
    let said = ended.out.clone();
    ended.with(0);
    assert!(lab.whole(&before, "rotated"));
    for (worker, (own, _)) in &lab.held() {
        assert_ne!(*own, before[worker].0, "{worker} still holds the old value");
        assert_eq!(own.len(), 64);
    }
    for line in said.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["v"], 1, "{line}");
    }
    let watched = lab.watched();
    for word in ["sqlite3", "/bin/sh", "systemctl", "rotate"] {
        let saw = |text: &Vec<u8>| text.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(watched.iter().any(saw), "the watch over processes never saw {word}");
    }
    let playbook = lab.at("playbooks/worker-secret.yml").display().to_string();
    let status = lab.say(&["status", &playbook]);
    assert_eq!(status.code, Some(0), "{}", status.err);
    let rows: Vec<&str> = status.out.lines().collect();
    let column = |name: &str| rows[0].find(name).unwrap_or_else(|| panic!("no `{name}` above: {}", status.out));
    let worker = rows.iter().find(|row| row.starts_with("worker-1")).unwrap();
    assert_eq!(column("HOST"), 0);
    assert!(worker[column("SECRET")..].starts_with("worker_shared_secret/worker-1 "), "{}", status.out);
    let print = worker[column("HOLDS")..].trim_end();
    assert!(print.len() == 16 && print.chars().all(|c| c.is_ascii_hexdigit()), "{}", status.out);
    lab.say(&["plan", &playbook]).with(0);
    assert!(lab.say(&["runs"]).with(0).contains("rotated"));
}

#[test]
fn a_limit_rotates_its_worker_with_its_row_and_nobody_else() {
    let lab = Lab::up();
    let before = lab.held();
    let said = lab.run(lab.rotation(&["--limit", "worker-2"])).with(4);
    assert!(said.contains("--limit 'worker-2,control'"), "{said}");
    assert_eq!(lab.held(), before);
    lab.run(lab.rotation(&["--limit", "worker-2,control"])).with(0);
    let after = lab.held();
    assert_eq!(after["worker-1"], before["worker-1"]);
    assert_ne!(after["worker-2"], before["worker-2"]);
    assert_eq!(after["worker-2"].0, after["worker-2"].1);
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
    let playbook = lab.at("playbooks/worker-secret.yml").display().to_string();
    let seen = lab.run(lab.command(&["status", &playbook, "-l", "control", "--output", "json"]));
    let asked: Vec<serde_json::Value> = seen.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(seen.code, Some(0));
    let of = |key: &str| asked.iter().filter_map(|line| line[key].as_str()).collect::<BTreeSet<_>>();
    assert_eq!(of("host"), BTreeSet::from(["control"]), "{asked:?}");
    assert!(of("value").contains("worker_shared_secret/worker-1"), "{asked:?}");
}

#[test]
fn a_service_that_does_not_start_or_refuses_the_new_value_takes_everybody_back() {
    let lab = Lab::up();
    let before = lab.held();
    for fault in ["fails-to-start", "refuses-new-secret", "healthy-but-wrong"] {
        lab.fault("worker-2", fault);
        let said = lab.run(lab.rotation(&[])).with(1);
        assert!(said.contains("ROLLED BACK") && said.contains("because of    worker-2"), "{said}");
        lab.fault("worker-2", "none");
        assert!(!lab.whole(&before, fault));
    }
}

#[test]
fn what_is_in_the_way_is_found_before_anything_is_changed() {
    let lab = Lab::up();
    let before = lab.held();
    lab.fault("worker-1", "down");
    let said = lab.run(lab.rotation(&[])).with(4);
    assert!(said.contains("worker-1") && said.contains("nothing was changed"), "{said}");
    lab.fault("worker-1", "none");

    let env = lab.env_file("worker-1");
    let text = fs::read_to_string(&env).unwrap();
    fs::write(&env, format!("{text}\nWORKER_SHARED_SECRET=again\n")).unwrap();
    assert!(lab.run(lab.rotation(&[])).with(4).contains("ambiguous"));
    fs::write(&env, text.replace("WORKER_SHARED_SECRET", "OTHER")).unwrap();
    assert!(lab.run(lab.rotation(&[])).with(4).contains("missing"));
    fs::write(&env, text).unwrap();

    let known = lab.at("known_hosts");
    let hosts = fs::read_to_string(&known).unwrap();
    fs::write(&known, "").unwrap();
    assert!(lab.run(lab.rotation(&[])).with(4).contains("host-key-unknown"));
    let keys: Vec<(&str, &str)> = hosts.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let swapped: String =
        keys.iter().zip(keys.iter().cycle().skip(1)).map(|((name, _), (_, key))| format!("{name} {key}\n")).collect();
    fs::write(&known, swapped).unwrap();
    assert!(lab.run(lab.rotation(&[])).with(4).contains("host-key-changed"));
    fs::write(&known, hosts).unwrap();

    // Nobody can be asked, and nobody said yes.
    let playbook = lab.at("playbooks/worker-secret.yml").display().to_string();
    lab.say(&["rotate", &playbook]).with(4);
    assert_eq!(lab.held(), before);
    assert_eq!(lab.left_over(), Vec::<PathBuf>::new());
}

#[test]
fn once_one_host_has_failed_the_others_are_not_waited_for() {
    let lab = Lab::up();
    let before = lab.held();
    // The control plane would be tried for two minutes.
    let quick = fs::read_to_string(lab.at("playbooks/quick.yml")).unwrap();
    let at = quick.rfind("deadline: 1500ms").unwrap();
    let patient = format!("{}{}", &quick[..at], quick[at..].replacen("1500ms", "2m", 1));
    fs::write(lab.at("playbooks/quick.yml"), patient).unwrap();
    lab.fault("control", "refuses-new-secret");
    lab.fault("worker-2", "refuses-new-secret");
    let began = std::time::Instant::now();
    let said = lab.run(lab.rotation(&["--output", "plain"])).with(1);
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(said.contains("because of    worker-2") && said.contains("not waited for"), "{said}");
    lab.whole(&before, "one host failed for certain");
}

#[test]
fn what_was_done_is_listed_and_shown_with_every_host_and_a_timeline() {
    let lab = Lab::up();
    assert!(lab.say(&["runs"]).with(0).contains("no run yet"));
    lab.run(lab.rotation(&[])).with(0);
    lab.fault("worker-2", "fails-to-start");
    lab.run(lab.rotation(&[])).with(1);
    lab.fault("worker-2", "none");
    let runs = lab.say(&["runs"]);
    let lines: Vec<&str> = runs.out.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("rolled-back") && lines[1].contains("rotated"), "the newest is first: {lines:?}");
    let run = lines[0].split_whitespace().next().unwrap();
    for beginning in [run, &run[..22], &run.to_lowercase()] {
        let shown = lab.say(&["show", beginning]);
        let text = &shown.out;
        assert!(text.contains("Z  activate: worker-2: failed"), "{text}");
        assert!(text.contains("\n  reverted      3  control, worker-[1:2]\n"), "{text}");
        assert!(text.contains("ROLLED BACK") && text.contains("because of    worker-2"), "{text}");
        shown.with(0);
    }
    assert!(lab.say(&["show", "01"]).with(2).contains("several runs begin with `01`"));
    assert!(lab.say(&["show", "nothing"]).with(2).contains("there is no run `nothing`"));
    for line in lab.say(&["show", run, "--output", "json"]).with(0).lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["v"], 1, "{line}");
    }
}
