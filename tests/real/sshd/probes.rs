//! HTTP probes from the host itself: through the connection, or through the host's own curl where its sshd forwards nothing. What a
//! service answers means the same both ways.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockturn::coordinator::Rest;
use lockturn::host::CallError;
use lockturn::inventory::Inventory;
use lockturn::model::{
    Become, Check, Common, Expect, FingerprintKey, HostPlan, Millis, PLAN_VERSION, PlannedProbe, Probe, ReasonKind,
    Secret, Strategy, Switch, Unreachable, ValueId,
};
use lockturn::runtime::actor::{Actor, Who};
use lockturn::runtime::rest::Prints;
use lockturn::runtime::step::Work;
use lockturn::runtime::verify::{Direction, Verifier};
use lockturn::runtime::{Pair, Surroundings, Vault};
use lockturn::ssh::{Connector, Keys, Settings};
use tokio_util::sync::CancellationToken;

use super::fleet::{Fleet, PATIENCE, user};

const CANARY: &str = "the-value-that-nobody-may-see";

/// Its sshd forwards; its sshd does not, and the host's curl does.
const WAYS: [&str; 2] = ["", "AllowTcpForwarding no"];

/// What a service does after it has read a request.
#[derive(Clone)]
enum Then {
    Closes,
    Hangs,
}

struct Service {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    /// Of those that hang, how many the client has closed.
    left: Arc<AtomicUsize>,
}

impl Service {
    /// One that gives these answers in turn, the last one for ever.
    fn start(answers: Vec<Vec<u8>>, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service =
            Self { port: listener.local_addr().unwrap().port(), requests: Arc::default(), left: Arc::default() };
        let (requests, left) = (Arc::clone(&service.requests), Arc::clone(&service.left));
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let Some(request) = read_request(&mut socket) else { continue };
                let number = requests.lock().unwrap().len().min(answers.len() - 1);
                requests.lock().unwrap().push(request);
                // A client that has heard enough may be gone.
                let _gone = socket.write_all(&answers[number]);
                if matches!(then, Then::Hangs) {
                    let left = Arc::clone(&left);
                    std::thread::spawn(move || {
                        while let Ok(1..) = socket.read(&mut [0; 64]) {}
                        left.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        service
    }
}

/// The whole request, or nothing where somebody only knocked.
fn read_request(socket: &mut TcpStream) -> Option<String> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        match socket.read(&mut chunk) {
            Ok(count @ 1..) => bytes.extend_from_slice(&chunk[..count]),
            Ok(_) | Err(_) => return None,
        }
    }
}

/// A host of the fleet, as a run has it.
fn actor(fleet: &Fleet, number: usize) -> Actor {
    actor_of(who(fleet, number))
}

pub(super) fn who(fleet: &Fleet, number: usize) -> Who {
    let (inventory, _) = Inventory::read(&fleet.at("inventory.yml")).unwrap();
    let surroundings = Surroundings { user: user(), home: fleet.at(""), identity_file: None, known_hosts: None };
    surroundings.who(&inventory, &format!("h{number}").parse().unwrap(), Some(Become::None)).unwrap()
}

pub(super) fn actor_of(who: Who) -> Actor {
    let connector = Arc::new(Connector::new(Settings::default(), Keys::new(Box::new(|_| None), None)));
    Actor::new(who, "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(), 1, connector, CancellationToken::new())
}

fn probe(url: String, expect: Expect, successes: u32, interval: u64, deadline: u64) -> PlannedProbe {
    let headers = vec![
        ("X-Secret".to_owned(), "{{ secret }}".to_owned()),
        ("X-Odd".to_owned(), "a \"quoted\\\" word".to_owned()),
        ("X-Empty".to_owned(), String::new()),
    ];
    let check =
        Check::Http { method: "POST".to_owned(), url, headers, body: "@a\n{\"b\": \"\\\\\"}".to_owned(), expect };
    let (interval, deadline) = (Millis(interval), Millis(deadline));
    let probe = Probe { name: "p".to_owned(), secret: None, for_each: None, check, successes, interval, deadline };
    PlannedProbe { probe, value: Some(ValueId::try_from("s".to_owned()).unwrap()), host: "h".parse().unwrap() }
}

fn work(probe: PlannedProbe) -> Work {
    let mut vault = Vault::default();
    let value = |text: &str| Arc::new(Secret::new(text.as_bytes().to_vec()));
    let pair = Pair { old: value("old"), new: value(CANARY) };
    vault.insert(ValueId::try_from("s".to_owned()).unwrap(), pair);
    let plan = HostPlan {
        address: String::new(),
        become_user: Become::None,
        switch: Switch::Process,
        login: String::new(),
        state: String::new(),
        path: String::new(),
        changes: Vec::new(),
        activate: Vec::new(),
        verify: vec![probe],
    };
    let notes = tokio::sync::mpsc::unbounded_channel().0;
    let common = Common {
        version: PLAN_VERSION,
        plan: String::new(),
        playbook: String::new(),
        summary: String::new(),
        activate_batches: Vec::new(),
        by_sudo: Vec::new(),
        strategy: Strategy::Lockstep,
        lease: Millis::from_secs(60),
        unreachable: Unreachable::Abort,
    };
    Work {
        common: Arc::new(common),
        values: Arc::new(BTreeMap::new()),
        plan: Arc::new(plan),
        vault: Arc::new(vault),
        prints: Arc::new(Prints { key: Arc::new(FingerprintKey::new([0; 32])), new: BTreeMap::new() }),
        rest: Rest::Untouched,
        is_decided: false,
        contents: Arc::new(BTreeMap::new()),
        lease: Millis::from_secs(60),
        verifier: Verifier { notes, futile: CancellationToken::new() },
    }
}

async fn verify(actor: &mut Actor, probe: PlannedProbe) -> Result<(), CallError> {
    let work = work(probe);
    let verifying = work.verifier.verify(actor, &work.plan.verify, &work.vault, Direction::Forward);
    tokio::time::timeout(PATIENCE, verifying).await.expect("the probe hangs")
}

/// Tries once.
async fn once(actor: &mut Actor, url: String, right: u16) -> Result<(), CallError> {
    verify(actor, probe(url, Expect::Always(vec![right]), 1, 60_000, 3_000)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_means_the_same_both_ways() {
    let fleet = Fleet::up(&WAYS);
    let mut actors = [actor(&fleet, 0), actor(&fleet, 1)];
    let page = |head: &str, body: &str| format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes();
    let good: Vec<(u16, Vec<u8>)> = vec![
        (200, page("200 OK\r\nContent-Length: 2", "ok")),
        (200, page("200 OK", "until it closes")),
        (200, page("200 OK\r\nTransfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\n")),
        (200, page("200 OK\r\nContent-Length: 1000000", &"x".repeat(1_000_000))),
        (204, page("100 Continue", "HTTP/1.1 204 No Content\r\n\r\n")),
        (401, page("103 Early Hints\r\nLink: </a>", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")),
        (302, page("302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0", "")),
        (200, b"HTTP/1.0 200 OK\r\n\r\nold".to_vec()),
        (503, b"HTTP/1.0 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ];
    for (status, answer) in good {
        let service = Service::start(vec![answer.clone()], Then::Closes);
        for (way, actor) in WAYS.iter().zip(&mut actors) {
            let url = format!("http://127.0.0.1:{}/", service.port);
            let said = once(actor, url, status).await;
            assert!(
                said.is_ok(),
                "{way}: {status}: {said:?} to {:?}",
                String::from_utf8_lossy(&answer[..40.min(answer.len())])
            );
        }
        assert_eq!(service.requests.lock().unwrap().len(), 2, "a redirect was followed");
    }
    let (none, odd) = (ReasonKind::ProbeUnanswered, ReasonKind::ProbeUnexpected);
    let bad: Vec<(ReasonKind, &str, Vec<u8>, Then)> = vec![
        (odd, "it answers 500, not 200", page("500 No\r\nContent-Length: 0", ""), Then::Closes),
        (none, "began to answer 200, and broke off", page("200 OK\r\nContent-Length: 10", "ok"), Then::Closes),
        (
            none,
            "began to answer 200, and broke off",
            page("200 OK\r\nTransfer-Encoding: chunked", "9\r\nok"),
            Then::Closes,
        ),
        (none, "closed the connection without an answer", Vec::new(), Then::Closes),
        (none, "no answer from 127.0.0.1", Vec::new(), Then::Hangs),
        (none, "no end of the answer 200", page("200 OK\r\nContent-Length: 10", "ok"), Then::Hangs),
        (odd, "does not speak HTTP/1", b"SSH-2.0-x\r\n\r\n".to_vec(), Then::Closes),
        (odd, "more than 1 MiB", page("200 OK\r\nContent-Length: 2000000", &"x".repeat(2_000_000)), Then::Closes),
    ];
    for (kind, words, answer, then) in bad {
        let service = Service::start(vec![answer], then);
        for (way, actor) in WAYS.iter().zip(&mut actors) {
            let url = format!("http://127.0.0.1:{}/", service.port);
            let reason = once(actor, url, 200).await.unwrap_err().reason().clone();
            assert!(
                reason.kind == kind && reason.detail.contains(words),
                "{way}: no `{words}`: {:?} {reason}",
                reason.kind
            );
        }
    }
    // One says that the head has no end, the other that it breaks off there.
    let endless = page(&format!("200 OK\r\n{}", "X-A: b\r\n".repeat(200_000)), "");
    let service = Service::start(vec![endless], Then::Closes);
    for actor in &mut actors {
        let error = once(actor, format!("http://127.0.0.1:{}/", service.port), 200).await.unwrap_err();
        assert!([none, odd].contains(&error.reason().kind), "{}", error.reason());
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for actor in &mut actors {
        let reason = once(actor, format!("http://127.0.0.1:{nobody}/"), 200).await.unwrap_err().reason().clone();
        assert!(reason.kind == none && reason.detail.contains("nothing listens there"), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_asked_the_same_both_ways() {
    let fleet = Fleet::up(&WAYS);
    let service = Service::start(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()], Then::Closes);
    for number in [0, 1] {
        let url = format!("http://127.0.0.1:{}/a/../b?c=[d]{{e}}", service.port);
        once(&mut actor(&fleet, number), url, 200).await.unwrap();
    }
    let requests = service.requests.lock().unwrap();
    let parts: Vec<(&str, Vec<String>, &str)> = requests
        .iter()
        .map(|request| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let (line, headers) = head.split_once("\r\n").unwrap();
            let mut headers: Vec<String> = headers
                .lines()
                .map(|header| header.split_once(':').unwrap())
                .map(|(name, value)| format!("{}: {}", name.to_lowercase(), value.trim()))
                .collect();
            headers.sort();
            (line, headers, body)
        })
        .collect();
    assert_eq!(parts[0], parts[1]);
    let (line, headers, body) = &parts[0];
    assert_eq!(*line, "POST /a/../b?c=[d]{e} HTTP/1.1");
    assert_eq!(*body, "@a\n{\"b\": \"\\\\\"}");
    assert!(
        headers.contains(&format!("x-secret: {CANARY}")) && headers.contains(&"x-empty: ".to_owned()),
        "{headers:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_shows_the_value_to_nobody() {
    let fleet = Fleet::up(&WAYS[1..]);
    let service = Service::start(vec![Vec::new()], Then::Hangs);
    let (mut actor, url) = (actor(&fleet, 0), format!("http://127.0.0.1:{}/", service.port));
    let trying = tokio::spawn(async move { once(&mut actor, url, 200).await.map_err(|error| error.reason().kind) });
    while service.requests.lock().unwrap().is_empty() {
        assert!(!trying.is_finished(), "the service was not asked");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // curl waits now.
    let (mut curls, own) = (0, std::process::id().to_string());
    for process in fs::read_dir("/proc").unwrap().flatten().filter(|process| process.file_name() != *own) {
        for file in ["cmdline", "environ"] {
            let text = fs::read(process.path().join(file)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            assert!(!text.contains(CANARY), "{text}");
            curls += usize::from(text.starts_with("curl\0-q\0--config\0-\0"));
        }
    }
    assert!(curls > 0, "no curl was seen");
    assert_eq!(trying.await.unwrap(), Err(ReasonKind::ProbeUnanswered));
}

#[tokio::test(flavor = "multi_thread")]
async fn successes_are_counted_in_a_row_and_a_probe_ends_at_its_deadline() {
    let fleet = Fleet::up(&WAYS);
    let page = |status: u16| format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let answers = [200, 500, 200, 200, 500, 200, 200, 200, 500].map(page).to_vec();
    for number in [0, 1] {
        let mut actor = actor(&fleet, number);
        let service = Service::start(answers.clone(), Then::Closes);
        let url = || format!("http://127.0.0.1:{}/", service.port);
        verify(&mut actor, probe(url(), Expect::Always(vec![200]), 3, 10, 30_000)).await.unwrap();
        assert_eq!(service.requests.lock().unwrap().len(), 8, "three in a row end with the eighth");

        let hanging = Service::start(vec![page(500), Vec::new()], Then::Hangs);
        let url = format!("http://127.0.0.1:{}/", hanging.port);
        let began = Instant::now();
        let error = verify(&mut actor, probe(url, Expect::Always(vec![200]), 1, 10, 2_000)).await.unwrap_err();
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(1_900) && took < Duration::from_secs(8),
            "a deadline of 2 s took {took:?}"
        );
        let (asked, until) = (hanging.requests.lock().unwrap().len(), Instant::now() + PATIENCE / 2);
        while hanging.left.load(Ordering::SeqCst) < asked {
            assert!(Instant::now() < until, "a request that was given up is still open");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What it said before counts more than that the last try was cut.
        assert!(error.reason().detail.contains("it answers 500"), "{}", error.reason());
    }
}

/// A probe that asks this service, and a service that believes the host's file.
fn proof(fleet: &Fleet) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, env) = (listener.local_addr().unwrap().port(), fleet.env(0));
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let Some(request) = read_request(&mut socket) else { continue };
            let given = request
                .lines()
                .find_map(|line| line.to_lowercase().starts_with("x-secret: ").then(|| line[10..].to_owned()));
            let held = fs::read_to_string(&env).unwrap();
            let right = given.is_some_and(|given| held.contains(&format!("TOKEN=\"{given}\"")));
            let status = if right { 200 } else { 401 };
            socket.write_all(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
        }
    });
    format!(
        "      - http: {{ name: taken, url: 'http://127.0.0.1:{port}/', headers: {{ X-Secret: '{{{{ secret }}}}' }}, \
         expect: {{ new: 200, old: 401 }} }}\n"
    )
}

#[test]
fn a_rotation_is_proved_where_nothing_is_forwarded() {
    for way in ["AllowTcpForwarding no", "PermitOpen none", ""] {
        let fleet = Fleet::up(&[way]);
        fleet.playbook(&proof(&fleet));
        fleet.rotate(0);
        assert!(!fs::read_to_string(fleet.env(0)).unwrap().contains("old-old-old"));
    }
}

#[test]
fn a_probe_that_cannot_be_tried_is_found_before_anything_is_changed() {
    let mut fleet = Fleet::up(&[]);
    // A host without curl: its own view of the files has nothing to run there.
    let hidden = ["unshare", "--mount", "sh", "-c", "mount --bind /dev/null /usr/bin/curl && exec \"$@\"", "sh"];
    fleet.start("AllowTcpForwarding no", &hidden);
    fleet.know(|number| format!("host-{number}"));
    fleet.inventory(|_| "identity_file: ed25519".to_owned());
    fleet.playbook(&proof(&fleet));
    fleet.refuses(
        "taken: probe-impossible",
        "does not allow forwarding (`AllowTcpForwarding`, `PermitOpen`), and the host has no curl",
    );
    fleet.playbook("      - command: { name: told, run: [no-such-tool, now] }\n");
    fleet.refuses("told: tool-missing", "`no-such-tool`");
    fleet.playbook("");
    fleet.rotate(0);
}
