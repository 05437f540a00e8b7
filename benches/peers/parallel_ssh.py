"""CONFIG HOSTS VALUE-FILE STEPS: the same change through parallel-ssh (libssh2), in one command a host or in three."""

import sys

from pssh.clients import ParallelSSHClient
from pssh.clients.native import parallel, single

hosts_file, known_hosts, user, port, key, value_file, *steps = sys.argv[1:]
hosts = open(hosts_file).read().split()
value = open(value_file).read()
known = {}
for line in open(known_hosts):
    name, _, public = line.split()[:3]
    known[name] = public


class Strict(single.SSHClient):
    """parallel-ssh takes any host's key. Every other tool here looks it up, so this one does too."""

    def _init_session(self, retries=1):
        import base64

        super()._init_session(retries)
        shown, _ = self.session.hostkey()
        if base64.b64encode(shown).decode() != known[f"[{self.host}]:{self.port}"]:
            raise SystemExit(f"{self.host} shows another key")


parallel.SSHClient = Strict
client = ParallelSSHClient(hosts, user=user, port=int(port), pkey=key, allow_agent=False, identity_auth=False, pool_size=len(hosts))
for step in steps:
    outputs = client.run_command(step)
    for output in outputs:
        output.stdin.write(value)
        output.stdin.flush()
    client.join(outputs, consume_output=True)
    bad = [output.host for output in outputs if output.exit_code != 0]
    if bad:
        raise SystemExit(f"{step}: failed on {bad}")
