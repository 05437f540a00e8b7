//! The files that a lab writes as they are: playbooks, stand-ins and the comments of `.env`.
//!
//! **Invariant:** no value of a secret is written here; `create.rs` fills them in.

/// The worker-secret playbook of the real fleet, with paths relative to the login directory.
pub(super) const WORKER_SECRET: &str = r#"version: 1
name: worker-secret
summary: Rotate the HMAC secret that the control plane and its workers share.

secrets:
  worker_shared_secret:
    generate: { hex: 32 }
    per: workers

targets:
  - hosts: workers
    put:
      - secret: worker_shared_secret
        dotenv: { file: opt/nanoclaw/.env, key: WORKER_SHARED_SECRET }
    activate:
      - systemd: { restart: nanoclaw-worker }
    verify:
      - systemd: { active: nanoclaw-worker, stable_for: 1s }
      - http: { url: "http://127.0.0.1:7801/worker/health", expect: 200 }
      - http:
          name: the worker takes the secret
          method: POST
          url: http://127.0.0.1:7801/worker/dispatch
          headers:
            X-Worker-Timestamp: "{{ now }}"
            X-Worker-RequestId: "{{ uuid }}"
            X-Worker-HMAC: "{{ hmac_sha256(secret, now ~ '\n' ~ uuid ~ '\n' ~ body) }}"
          body: probe
          expect: { new: 400, old: 401 }
          deadline: 5s

  - hosts: control_plane
    put:
      - secret: worker_shared_secret
        for_each: workers
        sqlite:
          file: opt/nanoclaw/store/messages.db
          read: SELECT shared_secret FROM workers WHERE id = :host
          write: UPDATE workers SET shared_secret = :secret WHERE id = :host
    activate:
      - systemd: { restart: nanoclaw }
    verify:
      - systemd: { active: nanoclaw, stable_for: 1s }
      - http:
          name: the control plane takes the secret of each worker
          for_each: workers
          method: POST
          url: http://127.0.0.1:7700/ops/worker/completion
          headers:
            X-Worker-Id: "{{ host }}"
            X-Worker-Timestamp: "{{ now }}"
            X-Worker-RequestId: "{{ uuid }}"
            X-Worker-HMAC: "{{ hmac_sha256(secret, now ~ '\n' ~ uuid ~ '\n' ~ body) }}"
          body: probe
          expect: { new: 400, old: 401 }
          deadline: 5s

rollout:
  strategy: lockstep
  activate_order: [workers, control_plane]
  lease: 2m
  unreachable: abort
"#;

/// The secret of the control plane's own HTTP interface.
pub(super) const OS_HTTP_SECRET: &str = r#"version: 1
name: os-http-secret
summary: Rotate the secret that the cockpit shows to the control plane.

secrets:
  os_http_secret:
    generate: { hex: 32 }

targets:
  - hosts: control_plane
    put:
      - secret: os_http_secret
        dotenv: { file: opt/nanoclaw/.env, key: OS_HTTP_SECRET }
      - secret: os_http_secret
        dotenv: { file: opt/nanoclaw/cockpit/.env, key: OS_HTTP_SECRET }
    activate:
      - systemd: { restart: nanoclaw }
    verify:
      - systemd: { active: nanoclaw, stable_for: 1s }
      - http:
          name: the control plane takes the secret
          method: GET
          url: http://127.0.0.1:7700/ops/stats
          headers:
            X-OS-SECRET: "{{ secret }}"
          expect: { new: 200, old: 401 }
          deadline: 5s

rollout:
  strategy: lockstep
  lease: 2m
  unreachable: abort
"#;

/// What the control plane forgets of a worker in quarantine.
pub(super) const QUARANTINE: &str = r#"version: 1
name: quarantine
summary: Make worthless what a worker in quarantine knows, and give it no work.

secrets:
  worthless:
    generate: { hex: 32 }
    per: workers

forget:
  - hosts: control_plane
    stop: ["nanoclaw-worker-tunnel@:host"]
    put:
      - secret: worthless
        for_each: workers
        sqlite:
          file: opt/nanoclaw/store/messages.db
          read: SELECT shared_secret FROM workers WHERE id = :host
          write: UPDATE workers SET shared_secret = :secret, status = 'offline' WHERE id = :host
    verify:
      - http:
          name: the control plane refuses what the worker knows
          for_each: workers
          method: POST
          url: http://127.0.0.1:7700/ops/worker/completion
          headers:
            X-Worker-Id: "{{ host }}"
            X-Worker-Timestamp: "{{ now }}"
            X-Worker-RequestId: "{{ uuid }}"
            X-Worker-HMAC: "{{ hmac_sha256(secret, now ~ '\n' ~ uuid ~ '\n' ~ body) }}"
          body: probe
          expect: { new: 400, old: 401 }
          deadline: 2s
"#;

/// `bin/systemctl`: one line to the lab, lines back: `o` for stdout, `e` for stderr, `x` for the exit status.
/// The reply pipe is open for reading and writing before the lab hears of it, so that neither side has to wait for the other.
pub(super) const SYSTEMCTL: &str = r#"#!/bin/sh
# Plays systemctl for this host of the lab.
home=$(CDPATH= cd -- "${0%/*}/.." && pwd) || exit 1
control=$home/../../run/control
reply=$home/.systemctl.$$
if [ ! -p "$control" ]; then
    echo 'Failed to connect to bus: the lab is not running' >&2
    exit 1
fi
trap 'rm -f -- "$reply"' EXIT
trap 'exit 1' HUP INT TERM
mkfifo -m 600 -- "$reply" || exit 1
exec 3<>"$reply"
printf '%s %s %s\n' "${home##*/}" "$$" "$*" 1<>"$control" || exit 1
while IFS= read -r line <&3; do
    case $line in
    o*) printf '%s\n' "${line#o}" ;;
    e*) printf '%s\n' "${line#e}" >&2 ;;
    x*) exit "${line#x}" ;;
    esac
done
exit 1
"#;

/// The `workers` table and the three tables that the incident questions read.
pub(super) const TABLES: &str = "
CREATE TABLE workers(
  id TEXT PRIMARY KEY, ssh_host TEXT NOT NULL, ssh_user TEXT NOT NULL, ssh_port INTEGER NOT NULL DEFAULT 22,
  local_port INTEGER NOT NULL, remote_port INTEGER NOT NULL DEFAULT 7801,
  status TEXT NOT NULL DEFAULT 'offline' CHECK (status IN ('online', 'offline')),
  max_wip INTEGER NOT NULL DEFAULT 2, current_wip INTEGER NOT NULL DEFAULT 0, shared_secret TEXT NOT NULL,
  callback_url TEXT, ssh_identity_file TEXT, groups_json TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE ext_calls(
  id INTEGER PRIMARY KEY, request_id TEXT, group_folder TEXT, provider TEXT, action TEXT, access_level TEXT, params_hmac TEXT,
  params_summary TEXT, status TEXT, denial_reason TEXT, result_summary TEXT, response_data TEXT, task_id TEXT,
  idempotency_key TEXT, duration_ms INTEGER, created_at TEXT);
CREATE TABLE gov_activities(
  id INTEGER PRIMARY KEY, task_id TEXT, action TEXT, from_state TEXT, to_state TEXT, actor TEXT, reason TEXT, created_at TEXT);
CREATE TABLE gov_dispatches(
  id INTEGER PRIMARY KEY, task_id TEXT, from_state TEXT, to_state TEXT, dispatch_key TEXT, group_jid TEXT, status TEXT,
  worker_id TEXT, created_at TEXT, updated_at TEXT);
";
