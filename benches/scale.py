#!/usr/bin/env python3
"""`make bench-scale`: what a large fleet costs the coordinator. The hosts are played by one process (light_hosts.rs) on this machine's loopback."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import measure

RELEASE = Path(__file__).resolve().parent.parent / "target/release"
PHASES = ("lock", "stage", "arm", "cut", "activate", "verify", "confirm", "clean")


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hosts", default="100,1000,10000")
    options = options.parse_args()
    print(f"| hosts | wall s | own CPU s | ms/host | memory MiB | spread of the cut ms | connect and inspect s | {' | '.join(PHASES)} |")
    print(f"|---|---|---|---|---|---|---|{'---|' * len(PHASES)}")
    for count in options.hosts.split(","):
        directory = tempfile.mkdtemp(prefix="lockturn-scale-", dir="/var/tmp")
        try:
            one(int(count), Path(directory))
        finally:
            shutil.rmtree(directory)


def one(count, directory):
    hosts = subprocess.Popen([RELEASE / "examples/light_hosts", str(count), directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if hosts.stdout.readline() != "up\n":
            sys.exit("the hosts do not come up")
        argv = [RELEASE / "lockturn", "-i", directory / "inventory.yml", "--state", directory / "state", "--output", "json", "--yes",
                "rotate", directory / "token.yml"]
        env = {"PATH": os.environ["PATH"], "HOME": str(directory)}
        result = measure.run(argv, None, env, directory)
        if result["status"] != 0:
            sys.exit(f"{count} hosts: status {result['status']}\n{result['output'][-3000:]}")
        spread = float(hosts.stdout.readline().split()[1])
    finally:
        hosts.stdin.close()
        hosts.wait()
    began, ended = times(result["output"])
    lasted = [f"{(ended[phase] - began[phase]) / 1000:.2f}" for phase in PHASES]
    print(
        f"| {count} | {result['wall']:.1f} | {result['cpu']:.1f} | {result['cpu'] * 1000 / count:.2f} | {result['rss_mib']:.0f} "
        f"| {spread * 1000:.0f} | {began['lock'] / 1000:.2f} | {' | '.join(lasted)} |",
        flush=True,
    )


def times(output):
    """When each step began first and ended last, in milliseconds, as the events say."""
    began, ended = {}, {}
    for line in output.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        step = (event.get("data") or {}).get("step")
        if event.get("event") == "step-began":
            began.setdefault(step, event["elapsed_ms"])
        elif event.get("event") == "step-done":
            ended[step] = event["elapsed_ms"]
    return began, ended


if __name__ == "__main__":
    main()
