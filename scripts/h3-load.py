#!/usr/bin/env python3
"""Clients of HTTP/3 by other makers while their server restarts: what failed, and who connected again without having been told to.

    h3-load.py ADDRESS CERT PID_FILE CLIENTS RESTARTS aioquic|chromium...

Against the example `http3` at ADDRESS, whose process stands in PID_FILE. CLIENTS of aioquic have a kept connection each, and ask
on it every 100 ms; told to go (GOAWAY) they ask on a new one. Chromium has one page, which fetches again and again. After each
restart all of them have an answer of the new process, and the old one is gone, before the next one. Exit status 0: each request
was answered, and each new connection is of a client that was told to go.
"""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer, BufferReadError
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, StreamDataReceived, StreamReset
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

ADDRESS, CERT, PID_FILE, COUNT, RESTARTS, *KINDS = sys.argv[1:]
HOST, PORT = ADDRESS.rsplit(":", 1)
COUNT, RESTARTS = int(COUNT), int(RESTARTS)
PATIENCE = 60
GOAWAY = 7


class Http(QuicConnectionProtocol):
    """A connection, with what is asked on it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.told = False
        self.asked = {}
        self.from_server = {}

    async def ask(self, path):
        stream = self._quic.get_next_available_stream_id()
        answer = asyncio.get_running_loop().create_future()
        self.asked[stream] = (answer, [], bytearray())
        names = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path.encode())]
        self.http.send_headers(stream, names, end_stream=True)
        self.transmit()
        return await asyncio.wait_for(answer, PATIENCE)

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        if isinstance(event, ConnectionTerminated):
            for stream in list(self.asked):
                self.end(stream, ConnectionError(f"closed with {event.error_code:#x} {event.reason_phrase}"))
            return
        if isinstance(event, StreamReset):
            self.end(event.stream_id, ConnectionError(f"reset with {event.error_code:#x}"))
        if isinstance(event, StreamDataReceived) and event.stream_id % 4 == 3:
            self.look_for_goaway(event)
        for told in self.http.handle_event(event) if self.http else []:
            if isinstance(told, (HeadersReceived, DataReceived)) and told.stream_id in self.asked:
                _, status, body = self.asked[told.stream_id]
                if isinstance(told, HeadersReceived):
                    status.extend(value for name, value in told.headers if name == b":status")
                else:
                    body.extend(told.data)
                if told.stream_ended:
                    wrong = None if status == [b"200"] else ConnectionError(f"answered with {status}")
                    self.end(told.stream_id, wrong or int(body))

    def look_for_goaway(self, event):
        """aioquic itself reads past it."""
        held = self.from_server.setdefault(event.stream_id, bytearray())
        held.extend(event.data)
        if held[:1] != b"\0":
            return
        frames = Buffer(data=bytes(held[1:]))
        try:
            while not frames.eof():
                kind, length = frames.pull_uint_var(), frames.pull_uint_var()
                frames.pull_bytes(length)
                self.told = self.told or kind == GOAWAY
        except BufferReadError:
            pass

    def end(self, stream, outcome):
        if stream in self.asked and not (answer := self.asked.pop(stream)[0]).done():
            answer.set_exception(outcome) if isinstance(outcome, Exception) else answer.set_result(outcome)


class Aioquic:
    name = "aioquic"

    def __init__(self):
        self.connections = self.told = self.requests = self.failed = 0
        self.longest = 0.0
        self.trouble, self.clients = [], []
        self.answered_by = [set() for _ in range(COUNT)]
        self.over = asyncio.Event()

    async def begin(self):
        self.clients = [asyncio.create_task(self.keep(seen)) for seen in self.answered_by]

    async def keep(self, seen):
        configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
        configuration.load_verify_locations(CERT)
        try:
            while not self.over.is_set():
                async with connect(HOST, int(PORT), configuration=configuration, create_protocol=Http) as http:
                    self.connections += 1
                    while not http.told and not self.over.is_set():
                        began = time.monotonic()
                        self.requests += 1
                        seen.add(await http.ask("/pid"))
                        self.longest = max(self.longest, time.monotonic() - began)
                        await asyncio.sleep(max(0, began + 0.1 - time.monotonic()))
                    self.told += http.told
        except (ConnectionError, TimeoutError, ValueError) as error:
            self.failed += 1
            self.trouble.append(repr(error))

    async def saw(self, process):
        return all(process in seen for seen in self.answered_by)

    async def close(self):
        for client in self.clients:
            client.cancel()

    async def end(self):
        self.over.set()
        await asyncio.wait_for(asyncio.gather(*self.clients), PATIENCE)
        if self.connections != COUNT + self.told:
            self.trouble.append(f"{self.connections} connections of {COUNT} clients, who were told to go {self.told} times")
        return f"{self.connections - COUNT} reconnects, {self.told} of them told to go, longest {1000 * self.longest:.1f} ms"


PAGE = """
const figures = { requests: 0, failed: 0, trouble: [], pids: [], protocols: {}, longest: 0 };
let over = false;
new PerformanceObserver((list) => list.getEntries().forEach(({ nextHopProtocol: protocol }) => {
  figures.protocols[protocol] = (figures.protocols[protocol] || 0) + 1;
})).observe({ type: "resource" });
async function worker() {
  while (!over) {
    const began = performance.now();
    figures.requests += 1;
    try {
      const answer = await fetch("/pid", { cache: "no-store" });
      const pid = Number(await answer.text());
      if (!answer.ok || !pid) throw new Error(`${answer.status}, ${pid}`);
      if (!figures.pids.includes(pid)) figures.pids.push(pid);
    } catch (error) { figures.failed += 1; figures.trouble.push(String(error)); }
    figures.longest = Math.max(figures.longest, performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 100));
  }
}
const workers = Promise.all([1, 2, 3, 4].map(worker));
"""


class Chromium:
    name = "Chromium"
    browser = session = hearing = None

    def __init__(self):
        self.trouble, self.numbers, self.answers = [], iter(range(1, 1 << 30)), {}
        # By number, with what is spoken there.
        self.connections = {}

    async def begin(self):
        import websockets

        certificate = load_pem_x509_certificate(open(CERT, "rb").read())
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        trusted = base64.b64encode(hashlib.sha256(key).digest()).decode()
        self.profile = tempfile.mkdtemp(prefix="chromium-", dir=os.path.dirname(os.path.abspath(PID_FILE)))
        flags = (
            "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --remote-debugging-port=0 --enable-quic "
            f"--origin-to-force-quic-on=localhost:{PORT} --ignore-certificate-errors-spki-list={trusted}"
        ).split()
        # HTTP/3 is tried at the first address of a name alone.
        flags.append(f"--host-resolver-rules=MAP localhost {HOST}")
        self.browser = await asyncio.create_subprocess_exec(
            "chromium", *flags, f"--user-data-dir={self.profile}", "about:blank",
            stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )
        async with asyncio.timeout(PATIENCE):
            while b"DevTools listening on " not in (line := await self.browser.stderr.readline()):
                assert line, "Chromium does not start"
        self.silent = asyncio.create_task(self.browser.stderr.read())
        self.devtools = await websockets.connect(line.split(b" on ")[1].strip().decode(), max_size=None)
        self.loaded = asyncio.Event()
        self.hearing = asyncio.create_task(self.hear())
        target = await self.call("Target.createTarget", url="about:blank")
        self.session = (await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True))["sessionId"]
        await self.call("Page.enable")
        await self.call("Network.enable")
        navigated = await self.call("Page.navigate", url=f"https://localhost:{PORT}/")
        assert "errorText" not in navigated, navigated["errorText"]
        await asyncio.wait_for(self.loaded.wait(), PATIENCE)
        await self.evaluate(PAGE + "0")

    async def call(self, method, **parameters):
        number = next(self.numbers)
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        session = {"sessionId": self.session} if self.session else {}
        await self.devtools.send(json.dumps({"id": number, "method": method, "params": parameters, **session}))
        return await asyncio.wait_for(answer, PATIENCE)

    async def hear(self):
        async for message in self.devtools:
            told = json.loads(message)
            if told.get("id") in self.answers:
                self.answers.pop(told["id"]).set_result(told.get("result", told))
            elif told.get("method") == "Page.loadEventFired":
                self.loaded.set()
            elif told.get("method") == "Network.responseReceived":
                response = told["params"]["response"]
                self.connections.setdefault(response["connectionId"], set()).add(response.get("protocol"))

    async def evaluate(self, expression):
        result = (await self.call("Runtime.evaluate", expression=expression, awaitPromise=True))["result"]
        return result.get("value")

    async def figures(self):
        return json.loads(await self.evaluate("JSON.stringify(figures)"))

    async def saw(self, process):
        return process in (await self.figures())["pids"]

    async def end(self):
        await self.evaluate("over = true; workers.then(() => 0)")
        figures = await self.figures()
        self.requests, self.failed = figures["requests"], figures["failed"]
        self.trouble.extend(figures["trouble"])
        if set(figures["protocols"]) != {"h3"}:
            self.trouble.append(f"spoken: {figures['protocols']}")
        if len(self.connections) != RESTARTS + 1:
            self.trouble.append(f"connections: {self.connections}")
        by_http3 = figures["protocols"].get("h3", 0)
        return f"{len(self.connections) - 1} reconnects, {by_http3} by HTTP/3, longest {figures['longest']:.1f} ms"

    async def close(self):
        if self.browser:
            if self.hearing:
                self.hearing.cancel()
            os.killpg(self.browser.pid, signal.SIGKILL)
            await self.browser.wait()
            shutil.rmtree(self.profile, ignore_errors=True)


def pid():
    with open(PID_FILE, encoding="ascii") as file:
        return int(file.read() or 0)


def is_there(process):
    try:
        return bool(os.listdir(f"/proc/{process}/fd"))
    except FileNotFoundError:
        return False


async def until(is_so, what):
    deadline = time.monotonic() + PATIENCE
    while not await is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.02)


async def restart(clients):
    old = pid()
    os.kill(old, signal.SIGUSR2)

    async def is_replaced():
        return pid() != old and not is_there(old)

    await until(is_replaced, f"{old} is not replaced, or does not go")
    await answered(clients, pid())


async def answered(clients, process):
    for client in clients:

        async def saw():
            return client.trouble or await client.saw(process)

        await until(saw, f"{client.name}: no answer of {process}")


async def through_restarts(clients):
    for client in clients:
        await client.begin()
    await answered(clients, pid())
    for _ in range(RESTARTS):
        await restart(clients)
    for client in clients:
        says = await client.end()
        print(f"  {client.name:<14} {client.failed} of {client.requests} requests failed, {says}", flush=True)


async def main():
    clients = [{"aioquic": Aioquic, "chromium": Chromium}[kind]() for kind in KINDS]
    try:
        await through_restarts(clients)
    finally:
        for client in clients:
            await client.close()
        for client in clients:
            for what in client.trouble[:8]:
                print(f"{client.name}: {what}", file=sys.stderr)
    if any(client.trouble for client in clients):
        sys.exit("failed")


asyncio.run(main())
