//! Whether hosts still wait when it is decided that they stay.

use std::sync::Arc;

use lockturn::model::Become;
use lockturn::runtime::Fleet;
use lockturn::runtime::actor::Who;
use lockturn::runtime::drive::Perform as _;
use lockturn::ssh::{Connector, Endpoint, Keys, Settings};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_host_that_is_just_being_asked_for_more_time_has_not_promised_any() {
    let endpoint = Endpoint {
        host: "worker-1".parse().unwrap(),
        address: "127.0.0.1".to_owned(),
        port: 1,
        user: "op".to_owned(),
        identity_files: Vec::new(),
        known_hosts: Vec::new(),
        jump: None,
    };
    let who = Who {
        host: "worker-1".parse().unwrap(),
        endpoint,
        become_user: Become::None,
        state_dir: String::new(),
        path: String::new(),
    };
    let connector = Arc::new(Connector::new(Settings::default(), Keys::new(Box::new(|_| None), None)));
    let fleet = Fleet::new(vec![who], &"01RUN".parse().unwrap(), 1, &connector, &CancellationToken::new());
    assert!(!fleet.all_wait());
    let (_, actor) = fleet.actors().next().unwrap();
    // After a sleep of this machine every host is being asked at the moment in which the decision comes up.
    let _asking = actor.lock().await;
    assert!(!fleet.all_wait(), "a host that is busy was taken for one that waits");
}
