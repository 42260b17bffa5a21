"""httpx_client.py URL CA CONNECTIONS STREAMS MOST: requests by httpx with h2, a connection a client, until standard input ends.

The first client has MOST streams at once, the others STREAMS. Prints figures as JSON.
"""

import asyncio
import json
import random
import ssl
import sys

import httpx

(URL, CA), (CONNECTIONS, STREAMS, MOST) = sys.argv[1:3], map(int, sys.argv[3:6])
LARGE = b"p" * 100_000
figures = dict(connections=CONNECTIONS, requests=0, failed=0, reconnects=0, trouble=[])
over = asyncio.Event()


async def worker(client, ports):
    while not over.is_set():
        try:
            if random.random() < 0.25:
                answer = await client.post("/echo", content=LARGE)
                assert answer.content == LARGE, f"{len(answer.content)} bytes"
            else:
                answer = await client.get("/pid")
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2"), answer
            # httpx connects again by itself: it shows in another port.
            ports.add(answer.extensions["network_stream"].get_extra_info("client_addr")[1])
        except Exception as error:
            figures["failed"] += 1
            figures["trouble"].append(repr(error))
        figures["requests"] += 1
        await asyncio.sleep(random.uniform(0, 0.04))


async def main():
    verify = ssl.create_default_context(cafile=CA) if URL.startswith("https") else False
    limits = httpx.Limits(max_connections=1)
    clients = [
        httpx.AsyncClient(http1=False, http2=True, base_url=URL, timeout=30, limits=limits, verify=verify, trust_env=False)
        for _ in range(CONNECTIONS)
    ]
    ports = [set() for _ in clients]
    workers = [
        asyncio.create_task(worker(client, seen))
        for at, (client, seen) in enumerate(zip(clients, ports))
        for _ in range(MOST if at == 0 else STREAMS)
    ]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    over.set()
    await asyncio.gather(*workers)
    figures["reconnects"] = sum(len(seen) - 1 for seen in ports)
    print(json.dumps(figures))


asyncio.run(main())
