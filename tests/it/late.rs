//! The first `lock` of a coordinator that was killed comes when its run was ended and cleaned long ago.

use std::fs;

use super::support::Lab;

/// What such a `lock` leaves on a host.
fn locked_late(lab: &Lab, host: &str, run: &str) {
    let (state, own) = (lab.on(host, ".lockturn"), lab.on(host, &format!(".lockturn/{run}")));
    fs::create_dir(&own).unwrap();
    fs::write(own.join("run"), format!("{run}\n")).unwrap();
    fs::hard_link(own.join("run"), state.join("lock")).unwrap();
    fs::write(own.join("session1"), "16400 4000000 00000000-0000-0000-0000-000000000000:1\n").unwrap();
}

#[test]
fn a_bare_lock_of_a_run_that_is_over_holds_no_host() {
    let lab = Lab::up();
    lab.run(lab.rotation(&[])).with(0);
    let over = lab.latest()["run"].as_str().unwrap().to_owned();
    let before = lab.held();

    // Of a run that this ledger does not know nobody can say that it is over.
    locked_late(&lab, "worker-2", "01J0000000000000000000000Z");
    let said = lab.run(lab.rotation(&[])).with(4);
    assert!(said.contains("host-locked") && said.contains("01J0000000000000000000000Z"), "{said}");
    fs::remove_dir_all(lab.on("worker-2", ".lockturn")).unwrap();
    fs::create_dir(lab.on("worker-2", ".lockturn")).unwrap();
    fs::set_permissions(lab.on("worker-2", ".lockturn"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();

    // What holds more than a lock is nothing that came late.
    locked_late(&lab, "worker-1", &over);
    let change = lab.on("worker-1", &format!(".lockturn/{over}/c1"));
    fs::create_dir(&change).unwrap();
    let target = lab.env_file("worker-1");
    fs::write(change.join("what"), format!("file\n{}\n00\n11\n", target.display())).unwrap();
    let said = lab.run(lab.rotation(&[])).with(4);
    assert!(said.contains("host-locked") && said.contains(&over), "{said}");
    fs::remove_dir_all(change).unwrap();

    // To look changes nothing, and shows that nothing is in the way.
    let quick = lab.at("playbooks/quick.yml").display().to_string();
    lab.say(&["plan", &quick]).with(0);
    assert!(lab.on("worker-1", ".lockturn/lock").exists());
    assert_eq!(lab.held(), before);

    let said = lab.run(lab.rotation(&[])).with(0);
    assert!(said.contains(&format!("worker-1: a request of the run {over} came late")), "{said}");
    assert!(lab.whole(&before, "a late lock"));
}
