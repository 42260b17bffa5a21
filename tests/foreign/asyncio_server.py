"""An HTTP server of the standard library's asyncio that drains: no connection is closed without having said so."""

import asyncio
import os
import signal
import socket
import sys


class Server:
    def __init__(self):
        self.draining = False

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                if path == "/hold":
                    await hold()
                close = self.draining or b"connection: close" in head.lower()
                body = self.answer(path).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s"
                    % (len(body), b"close" if close else b"keep-alive", body)
                )
                await writer.drain()
                if close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, path):
        if path == "/pid":
            return str(os.getpid())
        if path == "/generation":
            return os.environ.get("SERVER_STARTER_GENERATION", "0")
        if path.startswith("/env/"):
            return os.environ.get(path[5:], "(unset)")
        return "Hello from asyncio"


async def main():
    assert os.environ["LISTEN_PID"] == str(os.getpid()), "LISTEN_PID"
    server = Server()
    count = int(os.environ["LISTEN_FDS"])
    listening = [
        await asyncio.start_server(server.serve, sock=socket.socket(fileno=fd))
        for fd in range(3, 3 + count)
    ]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    notify()
    await stop.wait()
    server.draining = True
    # Accept no more; the connections that wait in the queue are the next worker's. Not with close() at once: that drops
    # what was accepted in the turn before (Server._attach fails then, without a word).
    for one in listening:
        asyncio.get_running_loop().remove_reader(one.sockets[0].fileno())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for one in listening:
        one.close()
    # An idle connection may have a request on its way: each gets one more answer, or 20 s. Every task counts: one that was
    # accepted a moment ago has not come to serve() yet.
    deadline = asyncio.get_running_loop().time() + 20
    while asyncio.get_running_loop().time() < deadline:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not others:
            break
        await asyncio.wait(others, timeout=0.1)


async def hold():
    """Answers once the test has made the file, and says who has the request meanwhile."""
    print("holding a request in", os.environ["SERVER_STARTER_GENERATION"], flush=True)
    while not os.path.exists(os.environ["HOLD_UNTIL"]):
        await asyncio.sleep(0.01)


def notify():
    name = os.environ.get("NOTIFY_SOCKET")
    if name and os.environ["SERVER_STARTER_GENERATION"] != os.environ.get("SILENT"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify_socket:
            notify_socket.connect("\0" + name[1:] if name.startswith("@") else name)
            notify_socket.send(b"READY=1\nSTATUS=serving")


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)
