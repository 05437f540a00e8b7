//! What a host says it has done survives a power cut: behind each rename the directory is synced, and the content before it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lockturn::host::Request;

use super::host_program::shell_host::{Home, ShellHost};

/// Has the host write down what it renames and syncs.
fn write_down(home: &Home) {
    fs::create_dir(home.path("tools")).unwrap();
    let log = home.path("log").display().to_string();
    for tool in ["mv", "sync"] {
        let path = home.path("tools").join(tool);
        let text = format!("#!/bin/sh\necho \"{tool} $*\" >>{log}\nexec /bin/{tool} \"$@\"\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// What it wrote down for this request.
async fn renamed_and_synced(host: &mut ShellHost, home: &Home, request: &Request<'_>) -> Vec<String> {
    fs::write(home.path("log"), "").unwrap();
    host.ok(request).await;
    let state = home.path(".lockturn/01RUN").display().to_string();
    let log = fs::read_to_string(home.path("log")).unwrap().replace(&state, "STATE");
    log.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_host_says_it_has_done_is_on_its_disk() {
    let home = Home::new();
    let env = home.path(".env");
    fs::write(&env, "old").unwrap();
    write_down(&home);
    let mut host = ShellHost::start(&["dash"], &home, "01RUN", 1).await;
    host.hello(1, ".lockturn", "tools").await.unwrap();
    host.ok(&Request::Lock).await;
    host.stage_file(&env, b"old", b"new").await.unwrap();
    let staged = fs::read_to_string(home.path("log")).unwrap();
    assert!(staged.ends_with("sync -- new keep old . ..\n"), "{staged}");
    let armed = Request::Arm { lease_seconds: 600, services: &[] };
    let armed = renamed_and_synced(&mut host, &home, &armed).await;
    let token = armed.iter().position(|line| line == "mv -f -- STATE/armed.part STATE/armed").expect("it is armed");
    assert_eq!(armed[token - 1], "sync -- STATE/armed.part", "{armed:?}");
    assert_eq!(armed[token + 1], "sync -- STATE", "{armed:?}");
    let cut = renamed_and_synced(&mut host, &home, &Request::Cut).await;
    assert_eq!(cut, ["mv -fT -- new ../.env", "sync -- .."]);
    let back = renamed_and_synced(&mut host, &home, &Request::Revert).await;
    assert_eq!(back[..2], ["mv -fT -- back ../.env", "sync -- .."]);
    host.ok(&Request::Cut).await;
    let confirmed = renamed_and_synced(&mut host, &home, &Request::Confirm).await;
    assert_eq!(confirmed, ["mv -- STATE/armed STATE/confirmed", "sync -- STATE"]);
    host.ok(&Request::Clean).await;
}
