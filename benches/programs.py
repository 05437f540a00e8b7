#!/usr/bin/env python3
"""How many programs each tool makes one host start for the same change, and how many syncs: hosts pay for each. Needs strace and root."""

import collections
import os
import re
import shutil
import subprocess
import sys
import time

import measure
import run
from fleet import Fleet
from peers import Peers


def main():
    lockturn = run.ROOT / "target/release/lockturn"
    run.need(lockturn)
    if not shutil.which("strace") or os.getuid() != 0:
        sys.exit("as root, and with strace: apt-get install strace")
    with Fleet(1) as fleet:
        peers = Peers(fleet, lockturn, run.peers_installed())
        for name, argv in peers.all().items():
            programs, syncs = traced(fleet, peers, argv)
            most = ", ".join(f"{program} {count}" for program, count in programs.most_common(6))
            print(f"{name:<24} {sum(programs.values()):>3} programs, {syncs:>2} syncs   {most}", flush=True)


def traced(fleet, peers, argv):
    peers.new_value()
    trace = fleet.dir / "trace"
    strace = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=execve,fsync,syncfs,sync", "-o", trace, "-p", str(fleet.sshd.pid)])
    try:
        while "TracerPid:\t0" in open(f"/proc/{fleet.sshd.pid}/status").read():
            time.sleep(0.05)
        result = measure.run(argv, peers.value, peers.environment(os.environ["PATH"]), peers.dir)
        fleet.cpu_seconds()
    finally:
        strace.terminate()
        strace.wait()
    if result["status"] != 0:
        sys.exit(f"status {result['status']}:\n{result['output'][-2000:]}")
    started, programs, syncs = {}, collections.Counter(), 0
    for line in trace.read_text().splitlines():
        pid, _, call = line.partition(" ")
        if program := re.match(r'\s*execve\("(?:[^"]*/)?([^"/]*)"', call):
            started[pid] = program[1]
        if re.search(r"execve.*= 0$", call):
            programs[started[pid]] += 1
        syncs += bool(re.match(r"\s*(fsync|syncfs|sync)\(", call))
    return programs, syncs


if __name__ == "__main__":
    main()
