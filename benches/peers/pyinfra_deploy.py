from pyinfra import host
from pyinfra.operations import server

for name in ("edit", "restart", "verify"):
    server.shell(name=name, commands=[getattr(host.data, name)], _stdin=host.data.value)
