#!/usr/bin/env python3
"""Clients that never reconnect, and restarts at random moments: what was lost, duplicated or closed.

    live-load.py websocket|stream|completion ADDRESS CLIENTS RESTARTS [EVENTS] [--tls]

Against the interface of the example `live`; `completion`, an event stream that answers a POST with a body, against the
test server `completions`. With --tls over TLS 1.3, whatever the certificate. Prints one line of figures; the exit
status is 1 unless all are zero that have to be.
"""

import asyncio
import os
import random
import signal
import ssl
import sys
import time

ARGUMENTS = [argument for argument in sys.argv[1:] if argument != "--tls"]
MODE, ADDRESS, CLIENTS, RESTARTS = ARGUMENTS[0], ARGUMENTS[1], int(ARGUMENTS[2]), int(ARGUMENTS[3])
EVENTS = int(ARGUMENTS[4]) if len(ARGUMENTS) > 4 else 3000
HOST, PORT = ADDRESS.rsplit(":", 1)
TLS = None
if "--tls" in sys.argv:
    TLS = ssl.create_default_context()
    TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE
    TLS.minimum_version = ssl.TLSVersion.TLSv1_3

done = asyncio.Event()
figures = dict(sent=0, answered=0, ticks=0, events=0, lost=0, duplicated=0, closed=0, other=0)
processes = set()
trouble = []


def wrong(kind, count, what):
    figures[kind] += count
    trouble.append(what)


def expect(number, wanted, who):
    if number > wanted:
        wrong("lost", number - wanted, f"{who}: {number} instead of {wanted}")
    elif number < wanted:
        wrong("duplicated", 1, f"{who}: {number} instead of {wanted}")


async def websocket(who):
    import websockets

    try:
        socket = await websockets.connect(
            f"{'wss' if TLS else 'ws'}://{ADDRESS}/ws?ticks=100ms",
            ssl=TLS,
            compression=None,
            ping_interval=0.3,
            ping_timeout=20,
            open_timeout=60,
        )
    except Exception as error:
        wrong("closed", 1, f"{who}: {error!r}")
        return
    sent = answered = ticks = binaries = echoed = 0

    async def send():
        nonlocal sent, binaries
        while not done.is_set():
            await asyncio.sleep(random.uniform(0.02, 0.3))
            text = f"{sent + 1} " + "x" * (60_000 if random.random() < 0.25 else 10)
            kind = random.random()
            if kind < 0.1:
                binaries += 1
                await socket.send(binaries.to_bytes(4, "big") + os.urandom(random.choice([1, 20_000])))
                continue
            sent += 1
            if kind < 0.4:
                parts = [text[:3], text[3:10], text[10:]]
                await socket.send(parts)
            else:
                await socket.send(text)

    sending = asyncio.create_task(send())
    since_done = None
    try:
        while not (done.is_set() and sending.done() and answered == sent and echoed == binaries):
            if done.is_set():
                since_done = since_done or time.monotonic()
                if time.monotonic() - since_done > 30:
                    wrong("lost", sent - answered + binaries - echoed, f"{who}: {answered} of {sent} answered")
                    break
            try:
                async with asyncio.timeout(0.5):
                    message = await socket.recv()
            except TimeoutError:
                continue
            if isinstance(message, bytes):
                echoed += 1
                expect(int.from_bytes(message[:4], "big"), echoed, f"{who} binary")
                continue
            words = message.split(" ", 3)
            if words[0] == "tick":
                ticks += 1
                expect(int(words[1]), ticks, f"{who} tick")
                ticks = int(words[1])
                continue
            answered += 1
            processes.add(int(words[1]))
            expect(int(words[0]), answered, f"{who} answer")
            expect(int(words[2]), answered, f"{who} message")
            answered = int(words[0])
    except Exception as error:
        wrong("closed", 1, f"{who}: {error!r} after {answered} of {sent}")
    sending.cancel()
    figures["sent"] += sent + binaries
    figures["answered"] += answered + echoed
    figures["ticks"] += ticks
    try:
        await socket.close()
    except Exception as error:
        wrong("other", 1, f"{who}: {error!r} at the close")


def request(who):
    """And what the events say of it."""
    if MODE == "stream":
        return f"GET /events?every=5ms&count={EVENTS} HTTP/1.1\r\nhost: x\r\n\r\n".encode(), None
    words = [f'{{"client{who}:"'] + [f"{word:x}" for word in range(random.choice([1, 10000]))]
    body = " ".join(words).encode()
    head = f"POST /v1/chat/completions?count={EVENTS} HTTP/1.1\r\nhost: x\r\n"
    if who % 3 == 0:
        half = len(body) // 2
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
        return f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n", words
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body, words


async def stream(who):
    try:
        reader, writer = await asyncio.open_connection(HOST, PORT, ssl=TLS)
        asks, words = request(who)
        writer.write(asks)
        pipelined = who % 2 == 0
        if pipelined:
            writer.write(b"GET /pid HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head.lower(), head
        seen = 0
        while True:
            size = int((await reader.readline()).strip(), 16)
            chunk = (await reader.readexactly(size + 2))[:-2]
            if size == 0:
                break
            for event in chunk.decode().split("\n\n")[:-1]:
                word, number, pid, *of = event.split(" ")
                assert word == "data:", event
                seen += 1
                if words and of != [words[(int(number) - 1) % len(words)]]:
                    wrong("other", 1, f"{who}: {event}")
                expect(int(number), seen, f"{who} event")
                seen = int(number)
                processes.add(int(pid))
        figures["events"] += seen
        if seen != EVENTS:
            wrong("lost", EVENTS - seen, f"{who}: {seen} of {EVENTS} events")
        if not pipelined:
            writer.write(b"GET /pid HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        figures["answered"] += 1
        writer.close()
    except Exception as error:
        wrong("closed", 1, f"{who}: {error!r} after {seen if 'seen' in locals() else 'no'} events")


async def pid():
    reader, writer = await asyncio.open_connection(HOST, PORT, ssl=TLS)
    writer.write(b"GET /pid HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return int(answer.rsplit(b"\r\n", 1)[1])


async def restart(old):
    os.kill(old, signal.SIGUSR2)
    deadline = time.monotonic() + 60
    while (new := await pid()) == old:
        assert time.monotonic() < deadline, f"{old} is not replaced"
        await asyncio.sleep(0.02)
    # Gone, or it still has clients.
    while os.path.exists(f"/proc/{old}/fd") and os.listdir(f"/proc/{old}/fd"):
        assert time.monotonic() < deadline, f"{old} does not go"
        await asyncio.sleep(0.02)
    return new


async def main():
    client = websocket if MODE == "websocket" else stream
    clients = [asyncio.create_task(client(who)) for who in range(CLIENTS)]
    await asyncio.sleep(1)
    serving, slowest, early = await pid(), 0.0, 0
    for _ in range(RESTARTS):
        await asyncio.sleep(random.uniform(0, 0.5))
        early = sum(task.done() for task in clients)
        begun = time.monotonic()
        serving = await restart(serving)
        slowest = max(slowest, time.monotonic() - begun)
    done.set()
    await asyncio.gather(*clients)
    figures["reconnects"] = 0
    shown = " ".join(f"{name}={count}" for name, count in figures.items())
    mode = f"{MODE} over TLS" if TLS else MODE
    print(f"{mode} clients={CLIENTS} restarts={RESTARTS} processes={len(processes)} {shown} slowest={slowest:.1f}s")
    for what in trouble[:10]:
        print(f"    {what[:200]}")
    if early == CLIENTS and RESTARTS:
        print("    every stream was over before the last restart")
        sys.exit(1)
    if trouble or len(processes) < min(2, RESTARTS + 1):
        sys.exit(1)


asyncio.run(main())
