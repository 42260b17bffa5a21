"""For uvicorn, hypercorn, and any other ASGI server. Says READY=1 itself, since uvicorn does not."""

import os
import socket


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    path = scope["path"]
    if path == "/pid":
        body = str(os.getpid())
    elif path == "/generation":
        body = os.environ.get("SERVER_STARTER_GENERATION", "0")
    else:
        body = "Hello from ASGI"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


async def lifespan(receive, send):
    await receive()
    notify("READY=1")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def notify(words):
    if "NOTIFY_SOCKET" in os.environ:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify_socket:
            notify_socket.connect(os.environ["NOTIFY_SOCKET"])
            notify_socket.send(words.encode())
