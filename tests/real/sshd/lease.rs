//! How long a host promised to wait, and from when.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lockturn::host::Request;
use lockturn::model::Millis;
use lockturn::runtime::actor::STEP_MAX;

use super::fleet::Fleet;
use super::probes::{actor_of, who};

/// What a disk may take that is slow.
const SYNC_SECONDS: u64 = 2;

fn boot_now() -> Millis {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Millis(u64::try_from(now.tv_sec).unwrap() * 1_000 + u64::try_from(now.tv_nsec).unwrap() / 1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_counted_from_when_it_was_asked_for() {
    let fleet = Fleet::up(&[""]);
    let mut who = who(&fleet, 0);
    who.state_dir = fleet.at("state").display().to_string();
    who.path = fleet.at("tools").display().to_string();
    fs::create_dir(fleet.at("tools")).unwrap();
    let sync = fleet.at("tools/sync");
    fs::write(&sync, "#!/bin/sh\nexec /bin/sync \"$@\"\n").unwrap();
    fs::set_permissions(&sync, fs::Permissions::from_mode(0o755)).unwrap();
    let mut actor = actor_of(who);
    actor.call(&Request::Lock, STEP_MAX).await.unwrap();
    fs::write(&sync, format!("#!/bin/sh\nsleep {SYNC_SECONDS}\n")).unwrap();
    let before = boot_now();
    actor.arm(Millis::from_secs(60), &[]).await.unwrap();
    let answered = boot_now();
    let asked = actor.lease().get().unwrap().asked;
    // The host counts from somewhere between the two; whoever counts from the answer waits for one that has gone back.
    assert!(asked.0 >= before.0 && asked.0 + SYNC_SECONDS * 1_000 <= answered.0, "{before:?} {asked:?} {answered:?}");
    fs::write(&sync, "#!/bin/sh\nexec /bin/sync \"$@\"\n").unwrap();
    actor.call(&Request::Clean, STEP_MAX).await.unwrap();
    actor.leave().await;
}
