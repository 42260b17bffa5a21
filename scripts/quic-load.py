#!/usr/bin/env python3
"""Connections of aioquic that are kept while their server restarts: what was lost.

    quic-load.py ADDRESS CERT PID_FILE LOG CONNECTIONS RESTARTS

Each has a stream every 100 ms, which is answered with the number of the process that the connection is with. Exit status 0: no
connection was broken, no stream lost, and none was answered by another process.
"""

import asyncio
import os
import signal
import sys
import time

from aioquic.asyncio.client import connect
from aioquic.quic.configuration import QuicConfiguration

PATIENCE = 30


async def ask(connection):
    reader, writer = await connection.create_stream()
    writer.write(b"who?")
    writer.write_eof()
    return int(await asyncio.wait_for(reader.read(), PATIENCE))


async def keep(address, certificate, stop, begun, seen):
    host, port = address.rsplit(":", 1)
    configuration = QuicConfiguration(is_client=True, server_name="localhost")
    configuration.load_verify_locations(certificate)
    async with connect(host, int(port), configuration=configuration) as connection:
        own = await ask(connection)
        begun.release()
        while not stop.is_set():
            began = time.monotonic()
            seen["streams"] += 1
            try:
                if await ask(connection) != own:
                    seen["elsewhere"] += 1
            except (ConnectionError, asyncio.TimeoutError, ValueError) as error:
                seen["lost"] += 1
                seen.setdefault("errors", []).append(repr(error))
                return
            seen["longest"] = max(seen["longest"], time.monotonic() - began)
            await asyncio.sleep(max(0, began + 0.1 - time.monotonic()))


def settled(log):
    with open(log, encoding="utf-8", errors="replace") as lines:
        return sum("successor settled" in line for line in lines)


async def restart(pid_file, log):
    before, deadline = settled(log), time.monotonic() + PATIENCE
    with open(pid_file, encoding="ascii") as file:
        os.kill(int(file.read()), signal.SIGUSR2)
    while settled(log) == before:
        if time.monotonic() > deadline:
            sys.exit("no successor settles")
        await asyncio.sleep(0.05)


async def main():
    address, certificate, pid_file, log, connections, restarts = sys.argv[1:]
    seen = {"streams": 0, "lost": 0, "elsewhere": 0, "longest": 0.0}
    stop, begun = asyncio.Event(), asyncio.Semaphore(0)
    clients = [
        asyncio.create_task(keep(address, certificate, stop, begun, seen)) for _ in range(int(connections))
    ]
    for _ in clients:
        await asyncio.wait_for(begun.acquire(), PATIENCE)
    for _ in range(int(restarts)):
        await asyncio.sleep(0.5)
        await restart(pid_file, log)
    await asyncio.sleep(0.5)
    stop.set()
    results = await asyncio.gather(*clients, return_exceptions=True)
    broken = [repr(result) for result in results if result is not None]
    print(
        f"{len(broken)} of {connections} broken, {seen['lost']} of {seen['streams']} streams lost,"
        f" {seen['elsewhere']} answered by another process, longest {1000 * seen['longest']:.1f} ms"
    )
    errors = broken + seen.get("errors", [])
    if errors or seen["elsewhere"]:
        sys.exit(f"failed: {errors[:5]}")


asyncio.run(main())
