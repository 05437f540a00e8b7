"""What a command costs on this machine, with everything that it starts, and when the hosts' files changed."""

import ctypes
import json
import os
import resource
import select
import signal
import struct
import subprocess
import threading
import time
import traceback
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
IN_MOVED_TO = 0x80
TIME_MAX = 300

_libc = ctypes.CDLL(None, use_errno=True)


def run(argv, stdin, env, cwd):
    """Runs a command to its end: wall and processor seconds, greatest memory of one process, exit status, output.

    A process in between adopts what the command leaves behind (ssh's shared connections, say), ends it and counts it too.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _measured(argv, stdin, env, cwd, write)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    if not text:
        raise SystemExit(f"{argv[0]} could not be measured")
    return json.loads(text)


def _measured(argv, stdin, env, cwd, write):
    adopt_orphans()
    began = time.perf_counter()
    with open(stdin) if stdin else open(os.devnull) as given:
        child = subprocess.Popen(argv, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=cwd)
    ends = threading.Timer(TIME_MAX, child.kill)
    ends.start()
    # Read as it comes; a process that was left behind may hold the pipe, so the end of the output is not waited for.
    output, ended = bytearray(), os.pidfd_open(child.pid)
    while True:
        ready, _, _ = select.select([child.stdout, ended], [], [])
        if child.stdout in ready:
            output += os.read(child.stdout.fileno(), 65536)
        if ended in ready:
            break
    status = child.wait()
    wall = time.perf_counter() - began
    ends.cancel()
    end_children()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "rss_mib": used.ru_maxrss / 1024,
        "status": status,
        "output": output.decode(errors="replace"),
    }
    with os.fdopen(write, "w") as answer:
        json.dump(result, answer)
    os._exit(0)


def end_children():
    """Ends what this process started or adopted, and waits until it is gone."""
    while True:
        for pid in children(os.getpid()):
            os.kill(pid, signal.SIGTERM)
        try:
            os.wait()
        except ChildProcessError:
            return


def adopt_orphans():
    """From here on, what this process's descendants leave behind becomes its own child, to be ended and counted."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid):
    """The processes that this one started or adopted, those included that have ended and were not waited for."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found.update(int(child) for child in (task / "children").read_text().split())
        except FileNotFoundError:
            pass  # A thread that has ended just now.
    return found


class Watch:
    """Notes when a file got its name, on the hosts' side and so for every tool in the same way."""

    def __init__(self, directories, name):
        self.name, self.seen = name.encode(), {}
        self.fd = _libc.inotify_init()
        self.hosts = {}
        for directory in directories:
            watch = _libc.inotify_add_watch(self.fd, os.fsencode(directory), IN_MOVED_TO)
            if watch < 0:
                raise SystemExit("inotify has no room: sysctl fs.inotify.max_user_watches")
            self.hosts[watch] = directory
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        if os.getuid() == 0:
            # Before everybody else, or the note would be later than the fact. For this thread alone.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -20)
        while True:
            data = os.read(self.fd, 65536)
            now = time.perf_counter()
            while data:
                watch, _, _, length = struct.unpack_from("iIII", data)
                if data[16 : 16 + length].rstrip(b"\0") == self.name:
                    self.seen.setdefault(watch, now)
                data = data[16 + length :]

    def spread(self):
        """From the first host to the last, in seconds; None if a host is missing. Starts again."""
        times, self.seen = list(self.seen.values()), {}
        return max(times) - min(times) if len(times) == len(self.hosts) else None
