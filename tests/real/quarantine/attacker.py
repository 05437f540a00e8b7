"""A process on a host in quarantine that tries to get out, with the rights of root.

It reads commands from its standard input and prints `done` after each:

    open FLOW FAMILY KIND SOURCE TARGET   a flow that lives on: tcp or udp, to port 7000
    push FLOW MARK                        says something over it
    try WAY SOURCE TARGET MARK            one way out; what gets through is told by the witness over there, not here

SOURCE is the address that it uses, `-` for that which the system chooses. TARGET is an address, of IPv6 link-local with its zone.
"""
import socket
import struct
import sys

# How long it waits for an answer.
WAIT = float(sys.argv[1])

flows = {}


def family_of(target):
    return socket.AF_INET6 if ":" in target else socket.AF_INET


def place(target, port):
    """The target as sockets take it, with the zone of a link-local address."""
    return socket.getaddrinfo(target, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4]


def opened(kind, source, target, port, from_port=0):
    sock = socket.socket(family_of(target), kind)
    sock.settimeout(WAIT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if from_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if source != "-" or from_port:
        any_of = "::" if ":" in target else "0.0.0.0"
        sock.bind(place(any_of if source == "-" else source, from_port))
    sock.connect(place(target, port))
    return sock


def sums(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(payload, v6):
    head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 7, 1)
    # The system itself fills in the sum of IPv6.
    return head + payload if v6 else head[:2] + struct.pack("!H", sums(head + payload)) + head[4:] + payload


def raw(protocol, source, target, payload, hops=None):
    sock = socket.socket(family_of(target), socket.SOCK_RAW, protocol)
    if hops:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)
    if source != "-":
        sock.bind(place(source, 0))
    sock.sendto(payload, place(target, 0))


def with_own_header(source, target, payload):
    """A whole IPv4 packet, from whomever it likes to be from."""
    udp = struct.pack("!HHHH", 7000, 7000, 8 + len(payload), 0) + payload
    size = 20 + len(udp)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sock.sendto(ip + udp, (target, 0))


def neighbour_shaped(source, target, payload):
    """What looks like a question for a neighbour, with something else in it."""
    body = struct.pack("!BBHI", 135, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, target.split("%")[0])
    option = payload + b"\0" * (-(len(payload) + 2) % 8)
    raw(58, source, target, body + struct.pack("!BB", 253, (len(option) + 2) // 8) + option, hops=255)


WAYS = {
    "tcp": lambda s, t, m: opened(socket.SOCK_STREAM, s, t, 7000).sendall(m),
    "tcp-53": lambda s, t, m: opened(socket.SOCK_STREAM, s, t, 53).sendall(m),
    "tcp-22": lambda s, t, m: opened(socket.SOCK_STREAM, s, t, 22).sendall(m),
    "tcp-from-22": lambda s, t, m: opened(socket.SOCK_STREAM, s, t, 7000, 22).sendall(m),
    "udp": lambda s, t, m: opened(socket.SOCK_DGRAM, s, t, 7000).send(m),
    "udp-from-22": lambda s, t, m: opened(socket.SOCK_DGRAM, s, t, 7000, 22).send(m),
    "udp-long": lambda s, t, m: opened(socket.SOCK_DGRAM, s, t, 7000).send(m + b"." * 9000),
    "dns": lambda s, t, m: opened(socket.SOCK_DGRAM, s, t, 53).send(m),
    "icmp": lambda s, t, m: raw(58 if ":" in t else 1, s, t, echo_request(m, ":" in t)),
    "protocol-253": lambda s, t, m: raw(253, s, t, m),
    "own-header": with_own_header,
    "neighbour-shaped": neighbour_shaped,
}


def do(words, mark):
    if words[0] == "open":
        _, flow, kind, source, target = words
        flows[flow] = opened(socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM, source, target, 7000)
    elif words[0] == "push":
        flows[words[1]].send(mark)
    else:
        WAYS[words[1]](words[2], words[3], mark)


print("ready", flush=True)
for line in sys.stdin:
    command, _, mark = line.strip().partition(" <")
    try:
        do(command.split(), b"<" + mark.encode())
        print("done", flush=True)
    except OSError as error:
        print("done", error, flush=True)
