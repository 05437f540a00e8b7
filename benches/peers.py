"""The tools that are measured, each doing the same to every host: edit one value, restart the service, ask it whether it took the value."""

import json
import secrets
import shutil
from pathlib import Path

# The value comes on standard input, as with lockturn. (What `sed` is given can be read by everybody on the host while it runs.)
EDIT = 'IFS= read -r new; sed "s/^TOKEN=.*/TOKEN=$new/" .env >.env.new && mv .env.new .env'
RESTART = "./restart"
VERIFY = "./takes"
CHANGE = f"{EDIT} && {RESTART} && printf '%s\\n' \"$new\" | {VERIFY}"

PLAYBOOK = """version: 1
name: token
secrets: { token: { generate: { hex: 32 } } }
targets:
  - hosts: all
    put: [ { secret: token, dotenv: { file: .env, key: TOKEN } } ]
    activate: [ { command: { run: [./restart] } } ]
    verify: [ { command: { name: it takes the value, run: [./takes], expect: { new: 0, old: 1 } } } ]
"""


class Peers:
    """Their configuration on disk, and for each its command."""

    def __init__(self, fleet, lockturn, venv):
        self.fleet, self.lockturn, self.bin = fleet, lockturn, venv / "bin"
        self.dir, self.here = fleet.dir / "peers", Path(__file__).parent / "peers"
        self.dir.mkdir()
        self.hosts = self.write("hosts", "".join(f"{address}\n" for address in fleet.addresses))
        connection = f"user: {fleet.user}, port: {fleet.port}, identity_file: {fleet.key}, known_hosts: {fleet.known_hosts}"
        lines = "".join(f"    h-{address.replace('.', '-')}: {{ address: {address} }}\n" for address in fleet.addresses)
        self.inventory = self.write("inventory.yml", f"all:\n  vars: {{ {connection} }}\n  hosts:\n{lines}")
        self.playbook = self.write("token.yml", PLAYBOOK)
        self.ansible_hosts = self.write("ansible_hosts", f"{self.hosts.read_text()}[all:vars]\nansible_python_interpreter=/usr/bin/python3\n")
        # Without pipelining every task costs two more commands a host: nobody who has a hundred hosts leaves it off.
        self.ansible_cfg = self.write(
            "ansible.cfg",
            f"[defaults]\nforks = {min(len(fleet.addresses), 50)}\n[ssh_connection]\npipelining = True\ncontrol_path_dir = {self.dir}\n"
            f"ssh_args = -F {fleet.ssh_config} -o ControlMaster=auto -o ControlPersist=60s\n",
        )
        self.value = self.dir / "value"

    def write(self, name, text):
        path = self.dir / name
        path.write_text(text)
        return path

    def new_value(self):
        """Every run brings a value that no host has seen."""
        value = secrets.token_hex(32)
        self.write("value", f"{value}\n")
        self.write("vars.json", json.dumps({"value": value, "change": CHANGE}))
        data = {"ssh_user": self.fleet.user, "ssh_port": self.fleet.port, "ssh_key": str(self.fleet.key), "ssh_allow_agent": False,
                "ssh_look_for_keys": False, "ssh_known_hosts_file": str(self.fleet.known_hosts), "ssh_strict_host_key_checking": "yes",
                "edit": EDIT, "restart": RESTART, "verify": VERIFY, "value": f"{value}\n"}
        self.write("pyinfra_hosts.py", f"hosts = ({self.fleet.addresses!r}, {data!r})\n")
        return value

    def all(self):
        """Name → command. What a tool reads on its standard input is the file with the value."""
        count, config = str(len(self.fleet.addresses)), str(self.fleet.ssh_config)
        ansible = [self.bin / "ansible-playbook", "-i", self.ansible_hosts, "-e", f"@{self.dir}/vars.json"]
        pssh = [self.bin / "python", self.here / "parallel_ssh.py", self.hosts, self.fleet.known_hosts, self.fleet.user,
                str(self.fleet.port), self.fleet.key, self.value]
        each = 'exec ssh -F "$1" "$4" "$2" <"$3"'
        return {
            "lockturn": [self.lockturn, "-i", self.inventory, "--state", self.dir / "state", "--yes", "rotate", self.playbook],
            "parallel-ssh, 1 step": [*pssh, CHANGE],
            "parallel-ssh, 3 steps": [*pssh, EDIT, RESTART, VERIFY],
            "pyinfra, 3 steps": [self.bin / "pyinfra", "-y", "--parallel", count, self.dir / "pyinfra_hosts.py", self.here / "pyinfra_deploy.py"],
            "ansible, 1 step": [*ansible, self.here / "ansible-one.yml"],
            "ansible, 3 steps": [*ansible, self.here / "ansible-three.yml"],
            "pssh + ssh, 1 step": [shutil.which("parallel-ssh"), "-h", self.hosts, "-p", count, "-t", "120", "-x", f"-F {config}", "-I", CHANGE],
            "xargs + ssh, 1 step": ["xargs", "-a", self.hosts, "-P", count, "-n", "1", "sh", "-c", each, "sh", config, CHANGE, self.value],
        }

    def environment(self, path):
        return {"PATH": path, "HOME": str(self.dir), "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(self.ansible_cfg)}
