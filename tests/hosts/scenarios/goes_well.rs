//! Rotations that succeed, and what they must leave alone.

use crate::canary::{Recorder, files_with, holds, logs_are_clean};
use crate::fleet::{Fleet, WORKERS};
use crate::operator::{OS_HTTP_SECRET, WORKER_SECRET};

/// Where values belong. A database and its log keep what they held before until they need the room.
const DATABASE: [&str; 3] =
    ["/opt/nanoclaw/store/messages.db", "/opt/nanoclaw/store/messages.db-shm", "/opt/nanoclaw/store/messages.db-wal"];

/// Mode, owner, ACL and attributes that a rotation must keep.
const METADATA: &str = "stat -c '%a %u %g' .env && getfacl -cp .env && getfattr --dump .env";

pub(super) fn both_playbooks_rotate_and_nobody_sees_a_value(fleet: &Fleet) {
    let before = fleet.begin();
    let recorder = Recorder::start(fleet);
    let said = fleet.rotate(WORKER_SECRET).with(0, &["ROTATED"]).said;
    let between = fleet.agreed();
    fleet.holds(&between);
    fleet.refuses(&before, &WORKERS);
    assert_eq!(between["os"], before["os"]);
    assert!(WORKERS.iter().all(|worker| between[*worker] != before[*worker]));

    let said = said + &fleet.rotate(OS_HTTP_SECRET).with(0, &["ROTATED"]).said;
    let after = fleet.agreed();
    fleet.holds(&after);
    fleet.refuses(&between, &["os"]);
    assert_ne!(after["os"], before["os"]);
    fleet.is_clean();

    let all = [&before, &between, &after];
    recorder.end(&all);
    logs_are_clean(fleet, &all);
    assert!(!holds(&said, &all), "lockturn shows a value");
    assert!(!holds(&String::from_utf8_lossy(&fleet.written()), &all), "lockturn's state has a value");
    let belong = |path: &&String| path.ends_with("/.env") || DATABASE.contains(&path.as_str());
    let found = files_with(fleet, &all);
    assert!(found.contains("/opt/nanoclaw/.env") && found.contains(DATABASE[0]), "the search finds nothing: {found:?}");
    let strange: Vec<&String> = found.iter().filter(|path| !belong(path)).collect();
    assert!(strange.is_empty(), "values where they do not belong: {strange:?}");
    let strange: Vec<String> =
        files_with(fleet, &[&before]).into_iter().filter(|path| path.ends_with(".env")).collect();
    assert_eq!(strange, Vec::<String>::new(), "old values that were kept");
}

pub(super) fn owner_mode_acl_and_attributes_stay(fleet: &Fleet) {
    let before = fleet.begin();
    for worker in ["worker-1", "worker-2"] {
        fleet
            .host(worker)
            .sh("cd /opt/nanoclaw && chown root:adm .env && chmod 640 .env && setfacl -m u:nanoclaw:r,m::r .env && \
             setfattr -n user.note -v kept .env");
    }
    let look =
        || ["worker-1", "worker-2"].map(|worker| fleet.host(worker).sh(&format!("cd /opt/nanoclaw && {METADATA}")));
    let metadata = look();
    assert!(metadata.iter().all(|text| text.contains("user:nanoclaw:r--") && text.contains("user.note=\"kept\"")));
    fleet.rotate(WORKER_SECRET).with(0, &["ROTATED"]);
    let after = fleet.agreed();
    fleet.holds(&after);
    fleet.refuses(&before, &WORKERS);
    assert_eq!(look(), metadata);
    fleet.is_clean();
    for worker in ["worker-1", "worker-2"] {
        fleet.host(worker).sh(
            "cd /opt/nanoclaw && setfacl -b .env && setfattr -x user.note .env && chown nanoclaw:nanoclaw .env && \
             chmod 600 .env",
        );
    }
}
