#!/usr/bin/python3
"""Plays nanoclaw on one host of the tests: `service.py worker`, `service.py control-plane`; `service.py ask` shows what it answers.

It checks what the real one checks, in the same order, and reads its secrets where and when the real one does: a worker from the
environment that systemd gives it, the control plane from `.env` at its start and from the table at each call.

Two files beside it make it faulty: `only-starts-with` (a value: it ends at once if it was given another one) and `trusts` (a value: it
says that it is well and takes nothing else).
"""

import datetime
import hashlib
import hmac
import http.client
import json
import os
import sqlite3
import sys
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOME = "/opt/nanoclaw"
TTL_SECONDS = 60
LENGTH_MIN = 16
PORTS = {"worker": 7801, "control-plane": 7700}


def read_file(name):
    try:
        with open(f"{HOME}/{name}", encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def read_env():
    """`.env` as nanoclaw reads it: trimmed lines, split at the first `=`, one pair of quotes."""
    values = {}
    for line in (read_file(".env") or "").splitlines():
        line = line.strip()
        if not line or line.startswith("#") or "=" not in line:
            continue
        key, value = (part.strip() for part in line.split("=", 1))
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        values[key] = value
    return values


def sign(secret, timestamp, request_id, body):
    message = f"{timestamp}\n{request_id}\n".encode() + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Service:
    def __init__(self, role):
        self.role = role
        self.started = now()
        self.nonces = {}
        if role == "worker":
            self.own = os.environ.get("WORKER_SHARED_SECRET", "")
        else:
            self.own = read_env().get("OS_HTTP_SECRET", "")
        if len(self.own) < LENGTH_MIN:
            sys.exit("the secret is missing or too short")
        with open(f"{os.environ['RUNTIME_DIRECTORY']}/started", "a", encoding="utf-8") as started:
            started.write(hashlib.sha256(self.own.encode()).hexdigest() + "\n")
        only = read_file("only-starts-with")
        if only is not None and only != self.own:
            sys.exit("this secret is not for me")
        self.trusts = read_file("trusts")

    def secret_of(self, worker):
        if self.trusts is not None:
            return self.trusts
        if self.role == "worker":
            return self.own
        database = sqlite3.connect(f"{HOME}/store/messages.db", timeout=10)
        try:
            row = database.execute("SELECT shared_secret FROM workers WHERE id = ?", (worker,)).fetchone()
        finally:
            database.close()
        return row and row[0]

    def refusal(self, headers, body):
        """Why a signed request is refused, if it is."""
        wanted = ["X-Worker-Timestamp", "X-Worker-RequestId", "X-Worker-HMAC"]
        timestamp, request_id, shown = (headers.get(name) for name in wanted)
        worker = headers.get("X-Worker-Id")
        if not (timestamp and request_id and shown and (worker or self.role == "worker")):
            return "MISSING_HEADERS"
        try:
            sent = datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
            age = abs((now() - sent).total_seconds())
        except (ValueError, TypeError):
            return "INVALID_TIMESTAMP"
        if age > TTL_SECONDS:
            return "TTL_EXPIRED"
        if request_id in self.nonces:
            return "REPLAY_DETECTED"
        self.nonces[request_id] = sent
        secret = self.secret_of(worker)
        if secret is None or not hmac.compare_digest(sign(secret, timestamp, request_id, body), shown):
            return "HMAC_INVALID"
        return None


class Handler(BaseHTTPRequestHandler):
    service = None

    def answer(self, code, **words):
        body = json.dumps(words).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        service = self.service
        if (service.role, self.path) == ("worker", "/worker/health"):
            uptime = int((now() - service.started).total_seconds())
            self.answer(200, status="ok", uptime_seconds=uptime, active_tasks=0)
        elif (service.role, self.path) == ("control-plane", "/ops/stats"):
            shown = self.headers.get("X-OS-SECRET", "")
            right = hmac.compare_digest(shown.encode(), service.own.encode())
            self.answer(200 if right else 401, status="ok" if right else "UNAUTHORIZED")
        else:
            self.answer(404, error="NOT_FOUND")

    def do_POST(self):
        service = self.service
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        paths = {"worker": ["/worker/dispatch"], "control-plane": ["/ops/worker/completion", "/ops/worker/ipc"]}
        if self.path not in paths[service.role]:
            self.answer(404, error="NOT_FOUND")
            return
        refusal = service.refusal(self.headers, body)
        if refusal:
            self.answer(401, error=refusal)
            return
        try:
            json.loads(body)
        except ValueError:
            self.answer(400, error="INVALID_JSON")
        else:
            self.answer(200, status="accepted")

    def log_message(self, *_):
        pass


def ask(role):
    """One line in: a worker's name (`-` on the worker itself, `os` for the other secret) and a value. One line out: the status code."""
    for line in sys.stdin:
        worker, value = line.split()
        connection = http.client.HTTPConnection("127.0.0.1", PORTS[role], timeout=10)
        timestamp, request_id, body = now().isoformat(), str(uuid.uuid4()), b"probe"
        headers = {
            "X-Worker-Id": worker,
            "X-Worker-Timestamp": timestamp,
            "X-Worker-RequestId": request_id,
            "X-Worker-HMAC": sign(value, timestamp, request_id, body),
        }
        try:
            if worker == "os":
                connection.request("GET", "/ops/stats", headers={"X-OS-SECRET": value})
            else:
                path = "/worker/dispatch" if role == "worker" else "/ops/worker/completion"
                connection.request("POST", path, body, headers)
            print(connection.getresponse().status)
        except OSError:
            print("silent")


def main():
    if sys.argv[1] == "ask":
        ask(sys.argv[2])
        return
    role = sys.argv[1]
    Handler.service = Service(role)
    ThreadingHTTPServer(("127.0.0.1", PORTS[role]), Handler).serve_forever()


if __name__ == "__main__":
    main()
