#!/usr/bin/env python3
"""Connections of each kind that move at every restart: what is left of that in the process that has them at the end.

    leak-load.py ADDRESS CONNECTIONS RESTARTS [--tls]

Against the interface of the example `live`, whose process must not have been restarted yet. As many connections of each
kind are opened; at each restart all of them move, and each is asked then. Prints what the first process, the second and
the last hold with all of these connections; the exit status is 1 unless the last holds no more than the second.
"""

import os
import signal
import socket
import ssl
import sys
import time

ARGUMENTS = [argument for argument in sys.argv[1:] if argument != "--tls"]
ADDRESS, CONNECTIONS, RESTARTS = ARGUMENTS[0], int(ARGUMENTS[1]), int(ARGUMENTS[2])
HOST, PORT = ADDRESS.rsplit(":", 1)
IS_OVER_TLS = "--tls" in sys.argv


class Connection:
    """One that never comes again."""

    alpn = "http/1.1"

    def __init__(self):
        self.socket = socket.create_connection((HOST, int(PORT)), timeout=60)
        if IS_OVER_TLS:
            # Not the default one, which reads all roots of the system.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.set_alpn_protocols([self.alpn])
            self.socket = context.wrap_socket(self.socket)
        self.ahead = b""
        self.begin()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"{type(self).__name__}: closed")
        self.ahead += data

    def attend(self):
        """Hears what is said while nothing is asked."""

    def take(self, count):
        while len(self.ahead) < count:
            self.more()
        taken, self.ahead = self.ahead[:count], self.ahead[count:]
        return taken

    def until(self, end):
        while end not in self.ahead:
            self.more()
        taken, _, self.ahead = self.ahead.partition(end)
        return taken


class Http1(Connection):
    def begin(self):
        self.ask(None)

    def ask(self, _):
        self.send(b"GET /pid HTTP/1.1\r\nhost: x\r\n\r\n")
        head = self.until(b"\r\n\r\n").lower()
        assert b"connection: close" not in head, head
        return int(self.take(int(head.split(b"content-length: ")[1].split(b"\r\n")[0])))


class WebSocket(Connection):
    def begin(self):
        self.asked = 0
        self.send(
            b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        assert self.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")

    def ask(self, _):
        self.asked += 1
        self.send(b"\x81\x81\0\0\0\0x")
        kind, length = self.take(2)
        assert kind == 0x81, kind
        number, pid, text = self.take(length).split(b" ")
        assert (int(number), text) == (self.asked, b"x"), (number, self.asked)
        return int(pid)


class Stream(Connection):
    def begin(self):
        self.seen = 0
        self.send(b"GET /events?every=50ms&count=1000000000 HTTP/1.1\r\nhost: x\r\n\r\n")
        self.until(b"\r\n\r\n")

    def ask(self, serving):
        while True:
            event = self.take(int(self.until(b"\r\n"), 16) + 2)
            _, number, pid = event.split()
            self.seen += 1
            assert int(number) == self.seen, (number, self.seen)
            # The first of a process that serves are those that waited to be read.
            if int(pid) == serving:
                return serving


class Http2(Connection):
    alpn = "h2"

    def begin(self):
        self.stream = -1
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.frame(SETTINGS, 0, 0, b"")

    def frame(self, kind, flags, stream, payload):
        self.send(len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload)

    def hear(self):
        """The next frame. What the server wants an answer to, gets it."""
        head = self.take(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
        payload = self.take(int.from_bytes(head[:3], "big"))
        assert kind not in (RST_STREAM, GOAWAY), (kind, payload)
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.frame(kind, ACK, 0, payload if kind == PING else b"")
        return kind, flags, stream, payload

    def attend(self):
        self.socket.setblocking(False)
        try:
            while True:
                self.more()
        except (BlockingIOError, ssl.SSLWantReadError):
            self.socket.settimeout(60)
        while len(self.ahead) >= 9 and len(self.ahead) >= 9 + int.from_bytes(self.ahead[:3], "big"):
            self.hear()

    def ask(self, _):
        self.stream += 2
        # GET, http, /pid, and the authority.
        self.frame(HEADERS, END_STREAM | END_HEADERS, self.stream, b"\x82\x86\x04\x04/pid\x01\x01x")
        body = b""
        while True:
            kind, flags, stream, payload = self.hear()
            if kind == DATA and stream == self.stream:
                body += payload
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                return int(body)


DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
KINDS = [Http1, WebSocket, Stream, Http2]


def holds(pid):
    """Descriptors, threads and zombies of a process, and its memory that is of no file, in kB."""
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        memory = next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    zombies = 0
    for other in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{other}/stat") as stat:
                state, parent = stat.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        zombies += state == "Z" and int(parent) == pid
    return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), zombies, memory


def settled(pid, wanted=None):
    """What it holds, once that is no more than `wanted` apart from memory, or after the time in which idle threads end."""
    deadline = time.monotonic() + 15
    while True:
        held = holds(pid)
        if wanted is None or held[:3] <= wanted[:3] or time.monotonic() > deadline:
            return held
        time.sleep(0.1)


def is_there(pid):
    try:
        return bool(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def restart(old, connections):
    os.kill(old, signal.SIGUSR2)
    deadline = time.monotonic() + 60
    while is_there(old):
        assert time.monotonic() < deadline, f"{old} does not go"
        for connection in connections:
            connection.attend()
        time.sleep(0.005)
    asking = Http1()
    new = asking.ask(None)
    asking.socket.close()
    return new


def main():
    connections = [kind() for _ in range(CONNECTIONS) for kind in KINDS]
    serving = connections[0].ask(None)
    moved = dict.fromkeys(KINDS, 0)
    table = {}
    for generation in range(1, RESTARTS + 2):
        if generation > 1:
            old, serving = serving, restart(serving, connections)
            assert serving != old
        for connection in connections:
            assert connection.ask(serving) == serving, f"{type(connection).__name__} has not moved"
            moved[type(connection)] += generation > 1
        if generation <= 2:
            table[generation] = settled(serving)
    table[generation] = settled(serving, table[2])
    over = " over TLS" if IS_OVER_TLS else ""
    print(f"moved{over}: " + ", ".join(f"{kind.__name__} {count}" for kind, count in moved.items()))
    print(f"{'generation':>10} {'descriptors':>12} {'threads':>8} {'zombies':>8} {'memory, kB':>11}")
    for number, held in table.items():
        print(f"{number:>10} {held[0]:>12} {held[1]:>8} {held[2]:>8} {held[3]:>11}")
    second, last = table[2], table[generation]
    # An allocator is not the same twice: within a tenth and 2 MB.
    is_grown = last[0] > second[0] or last[1] > second[1] or last[2] > 0 or last[3] > second[3] * 1.1 + 2000
    sys.exit(1 if is_grown else 0)


main()
