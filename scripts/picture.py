#!/usr/bin/env python3
"""Draws what clients see of a restart: one dot for each request, by when it was sent and how long it took.

    scripts/picture.py [OUT.svg]        default scripts/restart.svg

Starts a release build of hello, asks it all the time from eight keep-alive connections and eight clients that connect
anew for each request, restarts it half-way, and colours each request by the process that answered. Nothing but Python's own
library; the build must be there (cargo build --release --package heirloom-bench --bin hello).
"""
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "bench"))
from drawing import BLUE, GREY, GRID, ORANGE, legend, page, text

BEFORE, AFTER = 0.5, 2.0  # seconds of load on either side of the signal
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 900, 380, 60, 70, 50
COLOURS = {"old": BLUE, "new": ORANGE}


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else "scripts/restart.svg"
    hello = subprocess.Popen(["target/release/hello", "--listen", "127.0.0.1:0"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    port = int(hello.stdout.readline().rsplit(":", 1)[1])
    log = []
    reader = threading.Thread(target=lambda: log.extend(hello.stderr), daemon=True)
    reader.start()
    samples, failures, stop = [], [], threading.Event()
    clients = [threading.Thread(target=client, args=(port, keep, samples, failures, stop))
               for keep in [True, False] * 8]
    for each in clients:
        each.start()
    time.sleep(BEFORE)
    restarted = time.time()
    os.kill(hello.pid, signal.SIGUSR2)
    time.sleep(AFTER)
    stop.set()
    for each in clients:
        each.join()
    newest = max(samples)[2]
    os.kill(newest, signal.SIGTERM)
    hello.wait()
    reader.join(timeout=10)
    marks = list(milestones(log, restarted))
    with open(out, "w", encoding="utf-8") as file:
        file.write(draw(samples, restarted, hello.pid, marks, len(failures)))
    print(f"{out}: {len(samples)} requests, {len(failures)} failed")
    sys.exit(bool(failures))


def client(port, keep, samples, failures, stop):
    connection = None
    while not stop.is_set():
        sent = time.time()
        try:
            if connection is None:
                connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.sendall(b"GET /pid HTTP/1.1\r\nHost: hello\r\n\r\n")
            answer = b""
            while not re.search(rb"\r\n\r\n\d+$", answer):
                more = connection.recv(4096)
                if not more:
                    raise ConnectionError("closed before its answer")
                answer += more
            samples.append((sent, time.time() - sent, int(answer.rsplit(b"\r\n", 1)[1])))
            if not keep or b"connection: close" in answer.lower():
                connection.close()
                connection = None
        except OSError as error:
            failures.append(error)
            connection = None
        time.sleep(0.008)


def milestones(log, restarted):
    """What the old process wrote about the restart, in seconds after the signal."""
    said = {"successor started": "spawned", "successor ready": "ready, committed",
            "successor settled": "settled: idle connections move", "ended reason=Restart": "old process gone"}
    for line in log:
        for words, name in said.items():
            if words in line:
                at = datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()
                yield at - restarted, name


def draw(samples, restarted, old, marks, failed):
    highest = max(5.0, sorted(taken for _, taken, _ in samples)[-3] * 1000 * 1.1)
    x = lambda at: LEFT + (at + BEFORE) / (BEFORE + AFTER) * (WIDTH - LEFT - 20)
    y = lambda ms: HEIGHT - BOTTOM - min(ms, highest) / highest * (HEIGHT - TOP - BOTTOM)
    parts = [*page(WIDTH, HEIGHT, f"One restart under load: {len(samples):,} requests, {failed} failed", []),
             *legend([(f"{name} process", colour) for name, colour in COLOURS.items()], WIDTH - 260, 22, 130)]
    for ms in range(0, int(highest) + 1, max(1, int(highest / 5))):
        parts += [f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(ms):.1f}" y2="{y(ms):.1f}" stroke="{GRID}"/>',
                  text(LEFT - 8, y(ms) + 4, str(ms), 'text-anchor="end"')]
    for at in [0.5 * step for step in range(-1, int(AFTER * 2) + 1)]:
        parts.append(text(x(at), HEIGHT - 30, f"{at:g} s", 'text-anchor="middle"'))
    parts.append(text(LEFT, HEIGHT - 10, "when the request was sent, from the signal on; upwards: ms until its whole "
                                         "answer was there"))
    for name, colour in COLOURS.items():
        dots = [f"M{x(sent - restarted):.1f} {y(taken * 1000):.1f}h0" for sent, taken, pid in samples
                if (pid == old) == (name == "old")]
        parts.append(f'<path d="{"".join(dots)}" stroke="{colour}" stroke-opacity="0.5" stroke-width="3.2" '
                     'stroke-linecap="round"/>')
    for row, (at, name) in enumerate([(0.0, "signal"), *marks]):
        height = TOP - 26 + 14 * (row % 3)
        parts += [f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{height}" y2="{HEIGHT - BOTTOM}" stroke="{GREY}" '
                  'stroke-dasharray="3 3"/>',
                  text(x(at) + 4, height + 4, f"{name}, {at * 1000:.1f} ms")]
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    main()
