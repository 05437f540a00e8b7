"""Many light hosts on one machine: one sshd answers on every address of 127.1/16, and each address is a host with a directory of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import measure
from measure import children

USER = "lockturn-bench"

# A service of two programs: one takes what `.env` holds, the other says whether a value is the one that was taken.
RESTART = "#!/bin/sh\ncp .env running.part && mv running.part running\n"
TAKES = """#!/bin/sh
IFS= read -r value || [ -n "$value" ]
while IFS= read -r line; do [ "$line" = "TOKEN=$value" ] && exit 0; done <running
exit 1
"""
ENV = "# The service's own settings.\nNODE_ENV=production\nPORT=7801\n\n# Shared with the control plane.\nTOKEN={}\n\nLOG_LEVEL=info\n"


class Fleet:
    """`with Fleet(100) as fleet`: the hosts answer inside, and are gone after."""

    def __init__(self, count):
        self.addresses = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]

    def __enter__(self):
        # A real disk: what is synced to memory costs nothing.
        self.dir = Path(tempfile.mkdtemp(prefix="lockturn-bench-", dir="/var/tmp"))
        self.made_user, self.sshd, self.orphans = False, None, 0.0
        measure.adopt_orphans()
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.sshd:
            self.sshd.terminate()
            self.sshd.wait()
        measure.end_children()
        if self.made_user:
            subprocess.run(["userdel", USER], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _make(self):
        self.dir.chmod(0o755)
        self.user = self._user()
        self.hosts_dir = self.dir / "hosts"
        self.hosts_dir.mkdir()
        for address in self.addresses:
            self._make_host(self.hosts_dir / address)
        self.key, self.known_hosts, self.ssh_config = (self.dir / name for name in ("key", "known_hosts", "ssh_config"))
        for key in (self.key, self.dir / "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        shutil.copy(f"{self.key}.pub", self.dir / "authorized")
        (self.dir / "authorized").chmod(0o644)
        self._start_sshd()
        public = (self.dir / "host_key.pub").read_text()
        self.known_hosts.write_text("".join(f"[{address}]:{self.port} {public}" for address in self.addresses))
        self.ssh_config.write_text(
            f"Host *\n User {self.user}\n Port {self.port}\n IdentityFile {self.key}\n IdentitiesOnly yes\n BatchMode yes\n"
            f" UserKnownHostsFile {self.known_hosts}\n GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n"
        )

    def _user(self):
        """A login shell other than /bin/sh reads files of its own at every command; so root makes a user for the bench."""
        if os.getuid() == 0:
            if not any(entry.pw_name == USER for entry in pwd.getpwall()):
                subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/bin/sh", "--password", "*", USER], check=True)
                self.made_user = True
            return USER
        return pwd.getpwuid(os.getuid()).pw_name

    def _make_host(self, host):
        host.mkdir()
        for name, text, mode in (("restart", RESTART, 0o755), ("takes", TAKES, 0o755), (".env", ENV.format("0" * 64), 0o600)):
            (host / name).write_text(text)
            (host / name).chmod(mode)
        if os.getuid() == 0:
            owner = pwd.getpwnam(self.user)
            for path in (host, *host.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def _start_sshd(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        enter = f'set -- $SSH_CONNECTION; cd {self.hosts_dir}/$3 && HOME=$PWD && exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
        config = self.dir / "sshd_config"
        # One key exchange for all, so that none is measured by its taste in algorithms.
        config.write_text(
            f"ListenAddress 0.0.0.0:{self.port}\nHostKey {self.dir}/host_key\nAuthorizedKeysFile {self.dir}/authorized\n"
            f"AllowUsers {self.user}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nUseDNS no\n"
            "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org\nMaxStartups 5000:30:10000\nMaxSessions 100\n"
            f"ForceCommand {enter}\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.sshd = subprocess.Popen([shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-f", config, "-E", self.dir / "sshd.log"])
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"sshd does not come up: {(self.dir / 'sshd.log').read_text()}")

    def cpu_seconds(self):
        """The processor time of everything that the hosts did so far, once their last login has ended."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            left = children(os.getpid()) - {self.sshd.pid}
            for pid in left:
                # What a login left behind when its connection was cut has become ours.
                done, _, used = os.wait4(pid, os.WNOHANG)
                self.orphans += (used.ru_utime + used.ru_stime) if done else 0
            if not left and not children(self.sshd.pid):
                break
            time.sleep(0.02)
        words = Path(f"/proc/{self.sshd.pid}/stat").read_text().rpartition(")")[2].split()
        own_and_children = sum(int(word) for word in words[11:15])
        return own_and_children / os.sysconf("SC_CLK_TCK") + self.orphans

    def held(self):
        """What each host's service runs with; it must be what its file holds."""
        def token(path):
            return next(line for line in path.read_text().splitlines() if line.startswith("TOKEN="))

        hosts = [self.hosts_dir / address for address in self.addresses]
        for host in hosts:
            if token(host / ".env") != token(host / "running"):
                raise SystemExit(f"{host.name} runs with another value than its file holds")
        return {token(host / "running") for host in hosts}
