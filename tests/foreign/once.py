"""A server whose second stop signal means at once, and which ends by the first one when it has answered, as uvicorn does.
`/slow` is answered a while after the stop."""

import signal
import socket
import threading
import time

stopping = threading.Event()
busy = set()


def stop(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stopping.set()


def serve(listener):
    while True:
        connection, _ = listener.accept()
        thread = threading.Thread(target=speak, args=(connection,), daemon=True)
        busy.add(thread)
        thread.start()


def speak(connection):
    with connection:
        path = connection.recv(4096).split(b" ")[1].decode()
        if path.startswith("/slow"):
            print(f"was asked for {path}", flush=True)
            stopping.wait()
            # Long enough for whatever else is sent at a stop.
            time.sleep(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nanswer")
    busy.discard(threading.current_thread())


signal.signal(signal.SIGTERM, stop)
threading.Thread(target=serve, args=(socket.socket(fileno=3),), daemon=True).start()
stopping.wait()
for thread in list(busy):
    thread.join()
signal.raise_signal(signal.SIGTERM)
