#!/usr/bin/env python3
"""`make bench`: one fleet of OpenSSH hosts, every tool in turn, again and again; medians, and each as a multiple of lockturn's.

Everything stays on this machine's loopback and ends by itself. See src/docs/performance.md.
"""

import argparse
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import measure
from fleet import Fleet
from peers import Peers

ROOT = Path(__file__).resolve().parent.parent


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--hosts", type=int, default=100)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", help="tools whose name contains one of these, comma-separated (lockturn always runs)")
    options = options.parse_args()
    lockturn = ROOT / "target/release/lockturn"
    need(lockturn)
    venv = peers_installed()
    # Whoever ends us lets us clean up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with Fleet(options.hosts) as fleet:
        peers = Peers(fleet, lockturn, venv)
        tools = peers.all()
        if options.only:
            wanted = ["lockturn", *options.only.split(",")]
            tools = {name: argv for name, argv in tools.items() if any(word in name for word in wanted)}
        describe(options, venv)
        rows = rounds(options.rounds, tools, peers, fleet)
    table(rows, options.hosts)


def need(lockturn):
    """Says at once, and all at once, what is missing."""
    missing = [package for program, package in (("sshd", "openssh-server"), ("ssh", "openssh-client"), ("parallel-ssh", "pssh"))
               if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")]
    if missing:
        sys.exit(f"install these, by their Debian names: {' '.join(missing)}")
    if not lockturn.exists():
        sys.exit("cargo build --release --locked, first")


def peers_installed():
    """The peers in a virtual environment under target/, at the versions of requirements.txt."""
    venv, wanted = ROOT / "target/bench-venv", (Path(__file__).parent / "requirements.txt").read_text()
    mark = venv / "requirements.txt"
    if not mark.exists() or mark.read_text() != wanted:
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        except subprocess.CalledProcessError:
            sys.exit("install these, by their Debian names: python3-venv")
        subprocess.run([venv / "bin/pip", "install", "-q", "-r", Path(__file__).parent / "requirements.txt"], check=True)
        mark.write_text(wanted)
    return venv


def describe(options, venv):
    def said(*argv):
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.stdout.splitlines()[0]

    model = next((line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    load = os.getloadavg()[0]
    print(f"{options.hosts} hosts, {options.rounds} rounds; {os.cpu_count()} cores ({model}), Linux {platform.release()}, load before {load:.1f}")
    print(f"{said('ssh', '-V')}; Python {platform.python_version()}; {said(ROOT / 'target/release/lockturn', '--version')}")
    peers = ("ansible-core", "parallel-ssh", "pyinfra", "ssh2-python", "paramiko")
    pinned = (venv / "requirements.txt").read_text().splitlines()
    print("; ".join(line.replace("==", " ") for line in pinned if line.partition("==")[0] in peers), flush=True)


def rounds(count, tools, peers, fleet):
    """A B C, A B C, …: what disturbs the machine for a while disturbs all of them."""
    directories = [fleet.hosts_dir / address for address in fleet.addresses]
    cut, restart = measure.Watch(directories, ".env"), measure.Watch(directories, "running")
    env = peers.environment(os.environ["PATH"])
    rows = {name: [] for name in tools}
    for number in range(1, count + 1):
        for name, argv in tools.items():
            value, before = peers.new_value(), fleet.cpu_seconds()
            result = measure.run(argv, peers.value, env, peers.dir)
            result["host_cpu"] = fleet.cpu_seconds() - before
            result["cut"], result["restart"] = cut.spread(), restart.spread()
            held = fleet.held()
            right = len(held) == 1 and (name == "lockturn" or held == {f"TOKEN={value}"})
            if result["status"] != 0 or not right or None in (result["cut"], result["restart"]):
                sys.exit(f"{name} did not do it (status {result['status']}):\n{result['output'][-4000:]}")
            rows[name].append(result)
            print(f"  round {number}  {name:<24} {result['wall']:6.2f} s", flush=True)
    return rows


def table(rows, hosts):
    def median(name, key):
        return statistics.median(result[key] for result in rows[name])

    def cell(name, key, scale, form):
        value, base = median(name, key), median("lockturn", key)
        return f"{value * scale:{form}} ({value / base:4.1f}x)" if base else f"{value * scale:{form}}"

    print("\n| tool | wall s | slowest, fastest | own CPU ms/host | hosts' CPU ms/host | spread of the cut ms | of the restart ms | memory MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name in rows:
        walls = [result["wall"] for result in rows[name]]
        print(
            f"| {name} | {cell(name, 'wall', 1, '.2f')} | {max(walls):.2f}, {min(walls):.2f} | {cell(name, 'cpu', 1000 / hosts, '.1f')} "
            f"| {cell(name, 'host_cpu', 1000 / hosts, '.0f')} | {cell(name, 'cut', 1000, '.0f')} | {cell(name, 'restart', 1000, '.0f')} "
            f"| {median(name, 'rss_mib'):.0f} |"
        )


if __name__ == "__main__":
    main()
