"""Stands on a host of the test and tells what reaches a program there.

It listens in every way that a program can (TCP, UDP, raw sockets of both families) and prints each mark that arrives, one a line. What
arrives over TCP or UDP is sent back. Asked for `sync` on its standard input it answers `synced` when it has read all that had arrived.
"""
import re
import selectors
import socket
import sys

MARK = re.compile(rb"<[a-z0-9 .:/-]+>")
PORTS = (22, 53, 7000)

waiting = selectors.DefaultSelector()


def say(text):
    print(text, flush=True)


def tell(data):
    for mark in MARK.findall(data):
        say(mark[1:-1].decode())


def accept(listener):
    flow, _ = listener.accept()
    flow.setblocking(False)
    waiting.register(flow, selectors.EVENT_READ, echo)


def echo(flow):
    try:
        data = flow.recv(65536)
    except OSError:
        data = b""
    if not data:
        waiting.unregister(flow)
        flow.close()
        return
    tell(data)
    try:
        flow.sendall(data)
    except OSError:
        pass


def datagram(sock):
    data, source = sock.recvfrom(65536)
    tell(data)
    try:
        sock.sendto(data, source)
    except OSError:
        pass


def raw(sock):
    tell(sock.recvfrom(65536)[0])


def asked(stdin):
    line = stdin.readline()
    if not line:
        sys.exit(0)
    for key, _ in waiting.select(0):
        if key.fileobj is not stdin:
            key.data(key.fileobj)
    say("synced")


for port in PORTS:
    for kind, what in ((socket.SOCK_STREAM, accept), (socket.SOCK_DGRAM, datagram)):
        sock = socket.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The attacker is root: it takes a port from whoever has it. Here it shares.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("::", port))
        if kind == socket.SOCK_STREAM:
            sock.listen(64)
        waiting.register(sock, selectors.EVENT_READ, what)
# ICMP, a protocol that nobody uses, and UDP whoever it claims to be from.
for family, protocols in ((socket.AF_INET, (1, 253)), (socket.AF_INET6, (58, 253))):
    for protocol in protocols:
        waiting.register(socket.socket(family, socket.SOCK_RAW, protocol), selectors.EVENT_READ, raw)
waiting.register(sys.stdin, selectors.EVENT_READ, asked)
say("ready")
while True:
    # Packets first: whoever asks wants to know of all that came before.
    for key, _ in sorted(waiting.select(), key=lambda ready: ready[0].fileobj is sys.stdin):
        key.data(key.fileobj)
