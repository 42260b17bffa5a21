#!/usr/bin/env python3
"""HTTPS clients that keep their connections, and restarts at random moments: what failed, and who shook hands again.

    tls-load.py ADDRESS PID CLIENTS RESTARTS [CERTIFICATE KEY]

The clients show the certificate, if there is one. Against a server that answers `GET /` with its process, which is PID at first. Half of the clients are Python's ssl; of
the rest a share each are openssl s_client (with key updates), curl and Node, as far as they are there. Prints a table;
the exit status is 1 unless nothing failed.
"""

import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

ADDRESS, PID, CLIENTS, RESTARTS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
SHOWN = sys.argv[5:7]
HOST, PORT = ADDRESS.rsplit(":", 1)
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

done = threading.Event()
lock = threading.Lock()
# By kind of client: requests, failed, handshakes after the first.
table = {}
trouble = []


def count(kind, requests=0, failed=0, handshakes=0, why=None):
    with lock:
        row = table.setdefault(kind, [0, 0, 0])
        for at, more in enumerate((requests, failed, handshakes)):
            row[at] += more
        if why:
            trouble.append(f"{kind}: {why}")


def options(certificate, key):
    return [certificate, SHOWN[0], key, SHOWN[1]] if SHOWN else []


def answer(read):
    """The process that answered, on a connection that is to go on."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = read()
        if not more:
            raise EOFError(f"closed after {data!r}")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(head)
    if b"connection: close" in head.lower():
        raise EOFError("told to close")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += read()
    return int(body[:length])


class Python:
    def __init__(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if SHOWN:
            context.load_cert_chain(*SHOWN)
        self.stream = context.wrap_socket(socket.create_connection((HOST, int(PORT)), timeout=30))

    def ask(self):
        self.stream.sendall(REQUEST)
        return answer(lambda: self.stream.recv(65536))


def python():
    try:
        client = Python()
        while not done.is_set():
            client.ask()
            count("Python ssl", requests=1)
            time.sleep(random.uniform(0, 0.02))
    except Exception as error:
        count("Python ssl", failed=1, why=repr(error))


def openssl():
    kind = "openssl s_client"
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", ADDRESS, "-tls1_3"] + options("-cert", "-key"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    # What it says of the handshake, and of tickets, is in the way.
    data = b""

    def read_answer():
        nonlocal data
        while True:
            at = data.find(b"HTTP/1.1 200 ")
            if at >= 0 and (end := data.find(b"\r\n\r\n", at)) >= 0:
                head = data[at:end]
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                if len(data) >= end + 4 + length:
                    data = data[end + 4 + length :]
                    if b"connection: close" in head.lower():
                        raise EOFError("told to close")
                    return
            more = os.read(process.stdout.fileno(), 65536)
            if not more:
                raise EOFError(f"closed after {data[-200:]!r}")
            data += more

    try:
        rounds = 0
        while not done.is_set():
            rounds += 1
            if rounds % 5 == 0:
                # Alone in a read of its own, this asks for new keys in both directions.
                os.write(process.stdin.fileno(), b"K\n")
                time.sleep(0.05)
            os.write(process.stdin.fileno(), REQUEST)
            read_answer()
            count(kind, requests=1)
            time.sleep(random.uniform(0, 0.02))
    except Exception as error:
        count(kind, failed=1, why=repr(error))
    process.kill()
    process.wait()


def curl():
    kind = "curl"
    command = ["curl", "-sk", "--http1.1", "--tlsv1.3", "--rate", "1200/m", "-w", "\n%{num_connects} %{http_code}\n"]
    process = subprocess.Popen(
        command + options("--cert", "--key") + [f"https://{ADDRESS}/?[1-1000000]"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    connects = 0
    while not done.is_set():
        line = process.stdout.readline()
        parts = line.split()
        if not line:
            count(kind, failed=1, why="ended")
            break
        if len(parts) == 2:
            connects += int(parts[0])
            count(kind, requests=1, failed=int(parts[1] != b"200"))
    count(kind, handshakes=max(0, connects - 1))
    process.kill()
    process.wait()


NODE = """
const https = require('https');
const [address, cert, key] = process.argv.slice(1);
const [host, port] = address.split(':');
const shown = cert ? { cert: require('fs').readFileSync(cert), key: require('fs').readFileSync(key) } : {};
const agent = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false, minVersion: 'TLSv1.3', ...shown });
let sockets = new Set();
function ask() {
  const request = https.get({ host, port, agent, path: '/' }, (response) => {
    const closes = response.headers.connection === 'close';
    response.resume();
    response.on('end', () => {
      console.log(sockets.size + ' ' + (response.statusCode === 200 && !closes ? 'ok' : 'told'));
      setTimeout(ask, Math.random() * 20);
    });
  });
  request.on('socket', (socket) => sockets.add(socket));
  request.on('error', (error) => { console.log(sockets.size + ' ' + error.code); setTimeout(ask, 20); });
}
ask();
"""


def node():
    kind = "Node https"
    process = subprocess.Popen(
        ["node", "-e", NODE, ADDRESS, *SHOWN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    sockets = 1
    while not done.is_set():
        parts = process.stdout.readline().split()
        if len(parts) != 2:
            count(kind, failed=1, why="ended")
            break
        sockets = max(sockets, int(parts[0]))
        bad = parts[1] != b"ok"
        count(kind, requests=1, failed=int(bad), why=parts[1].decode() if bad else None)
    count(kind, handshakes=sockets - 1)
    process.kill()
    process.wait()


def kinds():
    others = [("openssl", openssl), ("curl", curl), ("node", node)]
    there = [client for program, client in others if shutil.which(program)]
    names = {"openssl": "openssl s_client", "curl": "curl", "node": "Node https"}
    for program, _ in others:
        if not shutil.which(program):
            print(f"{names[program]}: not there")
    half = CLIENTS - CLIENTS // 2 if there else CLIENTS
    return [python] * half + [there[at % len(there)] for at in range(CLIENTS - half)]


def main():
    monitor = Python()
    pid = monitor.ask()
    assert pid == PID, f"{pid} answers, not {PID}"
    threads = [threading.Thread(target=client, daemon=True) for client in kinds()]
    for thread in threads:
        thread.start()
    for restart in range(RESTARTS):
        time.sleep(random.uniform(0.3, 1.0))
        os.kill(pid, signal.SIGUSR2)
        deadline = time.monotonic() + 60
        while (now := monitor.ask()) == pid:
            assert time.monotonic() < deadline, f"restart {restart + 1}: {pid} still answers"
            time.sleep(0.01)
        pid = now
    time.sleep(1)
    done.set()
    for thread in threads:
        thread.join(60)
    print(f"{'client':<18} {'requests':>9} {'failed':>7} {'handshakes after the first':>27}")
    for kind, (requests, failed, handshakes) in sorted(table.items()):
        print(f"{kind:<18} {requests:>9} {failed:>7} {handshakes:>27}")
    for what in trouble[:20]:
        print(what, file=sys.stderr)
    wrong = sum(row[1] + row[2] for row in table.values()) or any(row[0] == 0 for row in table.values())
    sys.exit(1 if wrong or not table else 0)


main()
