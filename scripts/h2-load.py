#!/usr/bin/env python3
"""HTTP/2 clients that never connect again, and restarts at random moments: what failed, and who was told to go.

    h2-load.py URL PID_FILE LOG CA MOVES CONNECTIONS STREAMS CLIENT[,CLIENT]...

Against the example `live` at URL (gRPC: the test server `rpc`), whose process stands in PID_FILE, and which logs to LOG.
Restarts it until so many connections have moved, by the server's own count. CLIENTs run at once, with CONNECTIONS each and
STREAMS on the first of them, or as many as they can bear: go, node, httpx, grpcio, grpc-go, curl, h2load, nghttp, chromium. Prints a row of figures for each; the exit status is 1 unless nothing
failed, no connection was made twice and each restart moved all.

Programs that are built are looked for beside PID_FILE. Whoever connects again without saying so is seen in the kernel's
table of sockets.
"""

import http.server
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

URL, PID_FILE, LOG, CA, *NUMBERS, CLIENTS = sys.argv[1:]
MOVES, CONNECTIONS, STREAMS = map(int, NUMBERS)
HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.path.dirname(os.path.abspath(PID_FILE))
VENV = os.path.expanduser("~/.cache/heirloom/venv/bin/python")
PORT = int(URL.rsplit(":", 1)[1])
SECURE = URL.startswith("https")
BODY = os.path.join(WORK, "body")
BYTES = 100_000

over = threading.Event()
trouble = []
# The client's side of each connection that was ever seen.
ports = set()


def empty():
    return dict(connections=0, requests=0, failed=0, goaway=0, reconnects=0, trouble=[])


def ours(command, streams, most=STREAMS, connections=CONNECTIONS):
    """A client of h2-clients: it runs until its input ends, and says what it saw."""
    child = subprocess.Popen(
        [*command, URL, CA, str(connections), str(streams), str(most)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    over.wait()
    out, _ = child.communicate(timeout=90)
    return {**empty(), **json.loads(out)} if child.returncode == 0 else {**empty(), "failed": 1, "trouble": [out]}


def again(processes, once):
    """Tools that end by themselves, so many at a time, one after the other: each has connections of its own."""
    total, lock = empty(), threading.Lock()

    def repeat():
        while not over.is_set():
            figures = once()
            with lock:
                for name, more in figures.items():
                    total[name] += more

    threads = [threading.Thread(target=repeat) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total


def curl():
    script = os.path.join(WORK, "curl")
    common = 'silent\noutput = /dev/null\nwrite-out = "%{stderr}%{http_code} %{num_connects} %{http_version}\\n"\n'
    common += f"cacert = {CA}\nurl = {URL}"
    asks = [f"{common}/echo\nlimit-rate = 2M\ndata-binary = @{BODY}" if at % 3 else f"{common}/pid" for at in range(400)]
    with open(script, "w") as file:
        file.write("\nnext\n".join(asks))

    def once():
        command = ["curl", "-s", "-Z", "--parallel-max", str(min(STREAMS, 20)), "-K", script]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        rows = re.findall(r"^(\d{3}) (\d+) (\S*)$", done.stderr, re.M)
        bad = [" ".join(row) for row in rows if (row[0], row[2]) != ("200", "2")]
        bad += [f"curl exits with {done.returncode}"] if done.returncode else []
        made = sum(int(connects) for _, connects, _ in rows)
        return dict(
            connections=1, requests=len(rows), failed=len(bad), goaway=0, reconnects=max(0, made - 1), trouble=bad
        )

    return again(CONNECTIONS // 2, once)


def h2load():
    kinds = [["-m", "10", "-d", BODY, f"{URL}/echo"], ["-m", str(STREAMS), f"{URL}/pid"]]
    turn = iter(range(10**9))

    def once():
        clients = CONNECTIONS // 2
        command = ["h2load", "-c", str(clients), "-t", "1", "-D", "3", *kinds[next(turn) % 2]]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
        if not counts:
            return {**empty(), "failed": 1, "trouble": [done.stdout]}
        requests, succeeded, *_ = numbers = [int(number) for number in counts.groups()]
        failed = max(requests - succeeded, *numbers[2:])
        return {
            **empty(), "connections": clients, "requests": requests, "failed": failed, "trouble": [counts[0]] if failed else []
        }

    return again(2, once)


def nghttp():
    def once():
        # All that are open at once, which are two hundred, begin at once: there is no limit to set.
        asked = 6000
        done = subprocess.run(
            ["nghttp", "-n", "-s", "-m", str(asked), f"{URL}/pid"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        good = len(re.findall(r" 200 ", done.stdout))
        figures = {**empty(), "connections": 1, "requests": asked, "failed": asked - good}
        if good != asked or done.returncode != 0 or "ERROR" in done.stdout:
            figures["trouble"].append(f"nghttp exits with {done.returncode}, {good} answers: {done.stdout[-200:]}")
        return figures

    return again(max(1, CONNECTIONS // 5), once)


# A host name has a connection of its own.
PAGE = """<!doctype html><script>
const figures = { connections: 10, requests: 0, failed: 0, goaway: 0, reconnects: 0, trouble: [] };
const body = "c".repeat(100000);
let over = false;
async function worker(host) {
  while (!over) {
    try {
      const big = Math.random() < 0.25;
      const answer = await fetch(`https://${host}:PORT/${big ? "echo" : "pid"}`, big ? { method: "POST", body } : {});
      const text = await answer.text();
      if (answer.status !== 200 || (big && text !== body)) throw new Error(`${answer.status}, ${text.length} bytes`);
    } catch (error) { figures.failed += 1; figures.trouble.push(String(error)); }
    figures.requests += 1;
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 40));
  }
}
(async () => {
  const hosts = Array.from({ length: 10 }, (_, at) => `h${at}.localhost`);
  await Promise.all(hosts.map((host) => fetch(`https://${host}:PORT/pid`)));
  await fetch("/begun");
  const workers = hosts.flatMap((host) => [1, 2, 3, 4].map(() => worker(host)));
  await fetch("/over");
  over = true;
  await Promise.all(workers);
  await fetch("/report", { method: "POST", body: JSON.stringify(figures) });
})();
</script>"""


def chromium():
    report, begun, told = {}, threading.Event(), threading.Event()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/begun":
                begun.set()
            if self.path == "/over":
                over.wait()
            body = PAGE.replace("PORT", str(PORT)).encode() if self.path == "/" else b""
            self.answer(body)

        def do_POST(self):
            report.update(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.answer(b"")
            told.set()

        def answer(self, body):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --disable-web-security --ignore-certificate-errors"
    ).split()
    browser = subprocess.Popen(
        ["chromium", *flags, f"--user-data-dir={WORK}/profile", f"http://127.0.0.1:{server.server_port}/"],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )
    # It opens several to each host, and closes all but one when it hears that they speak HTTP/2.
    opened = len(ports) if begun.wait(60) else 0
    over.wait()
    heard = told.wait(60)
    os.killpg(browser.pid, signal.SIGKILL)
    browser.wait()
    server.shutdown()
    report["opened"] = opened
    return {**empty(), **report} if heard else {**empty(), "failed": 1, "trouble": ["the page says nothing"]}


def built(name):
    return [os.path.join(WORK, name)]


# How each is run, with how many streams on each connection.
KINDS = {
    "go": ("Go x/net/http2", lambda: ours(built("go-http2"), 4)),
    "node": ("Node http2", lambda: ours(["node", f"{HERE}/h2-clients/http2.js"], 4)),
    "httpx": ("Python httpx", lambda: ours([VENV, f"{HERE}/h2-clients/httpx_client.py"], 3, min(STREAMS, 20), CONNECTIONS // 2)),
    "grpc-go": ("grpc-go", lambda: ours(built("go-grpc"), 4)),
    "grpcio": ("grpcio", lambda: ours(["/usr/bin/python3", f"{HERE}/h2-clients/grpc_client.py"], 3, min(STREAMS, 20), CONNECTIONS // 2)),
    "curl": ("curl", curl),
    "h2load": ("h2load", h2load),
    "nghttp": ("nghttp", nghttp),
    "chromium": ("Chromium", chromium),
}


def look_at_sockets():
    """Clients' ends of established connections to the server, again and again."""
    while not over.is_set():
        with open("/proc/net/tcp") as table:
            for line in table.readlines()[1:]:
                _, local, remote, state, *_ = line.split()
                if state == "01" and int(remote.split(":")[1], 16) == PORT:
                    ports.add(local)
        time.sleep(0.02)


def pid():
    try:
        with open(PID_FILE) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


def is_there(process):
    try:
        return bool(os.listdir(f"/proc/{process}/fd"))
    except FileNotFoundError:
        return False


def restart():
    old, deadline = pid(), time.monotonic() + 60
    os.kill(old, signal.SIGUSR2)
    while pid() == old or is_there(old):
        assert time.monotonic() < deadline, f"{old} is not replaced, or does not go"
        time.sleep(0.01)


def told():
    """How many HTTP/2 connections have moved, and what could not, by the log."""
    with open(LOG) as log:
        lines = re.findall(r"connections moved moved=(.*) not_moved=(.*)", log.read())
    moved = sum(int(count) for line, _ in lines for count in re.findall(r"(\d+) http2", line))
    return moved, [unmoved.strip() for _, unmoved in lines if unmoved.strip() != "none"]


def main():
    begun, restarts, results = time.monotonic(), 0, {}

    def run(name):
        try:
            results[name] = KINDS[name][1]()
        except Exception as error:
            results[name] = {**empty(), "failed": 1, "trouble": [repr(error)]}

    names = CLIENTS.split(",")
    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in [*threads, watching := threading.Thread(target=look_at_sockets)]:
        thread.start()
    try:
        # Each connection is there by then.
        time.sleep(1.5)
        while told()[0] < MOVES and time.monotonic() - begun < 1200:
            time.sleep(random.uniform(0, 0.3))
            restart()
            restarts += 1
    except Exception as error:
        trouble.append(repr(error))
    over.set()
    for thread in [*threads, watching]:
        thread.join()
    moved, unmoved = told()
    made = sum(figures.get("opened") or figures["connections"] for figures in results.values())
    again = max(len(ports) - made, sum(figures["reconnects"] for figures in results.values()))
    for at, name in enumerate(names):
        figures = results[name]
        shown = [figures[each] for each in ("connections", "requests", "failed", "goaway")]
        of_all = [moved, restarts, again] if at == 0 else ["", "", ""]
        kind = KINDS[name][0] + (", TLS" if SECURE else "")
        print(f"{kind:<22}" + "".join(f"{value:>12}" for value in [*shown, *of_all]), flush=True)
        trouble.extend(f"{name}: {what}" for what in figures["trouble"])
    trouble.extend(f"not moved: {why}" for why in unmoved)
    for what in trouble[:12]:
        print(f"    {what[:300]}")
    failed = sum(figures["failed"] + figures["goaway"] for figures in results.values())
    if failed or again or trouble or moved < MOVES:
        sys.exit(1)


with open(BODY, "wb") as body:
    body.write(b"b" * BYTES)
if "chromium" in CLIENTS:
    shutil.rmtree(os.path.join(WORK, "profile"), ignore_errors=True)
main()
