"""A worker that a test tells how to behave, and asks what it was given. Blocking accepts, one thread for each connection;
what it has accepted when it is told to stop, it answers."""

import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

# Longer than the deadline that a test has set.
EXTENDED = 4
EXTENDS = os.environ.get("WORKER_EXTENDS", "")
GENERATION = os.environ["SERVER_STARTER_GENERATION"]
# Set once it has said that it is ready.
TOLD = threading.Event()
# Set once it was asked what it answers once.
ASKED = threading.Event()
# Threads that accept, and those that answer.
ACCEPTING = []
ANSWERING = set()
# Seconds that a client which was accepted has to ask, once this is to stop.
GRACE = 1


def fails():
    """Which generations are to fail: a file that the test writes."""
    try:
        with open(os.environ.get("WORKER_FAILS", "")) as file:
            return GENERATION in file.read().split()
    except OSError:
        return False


def answer(path):
    if path == "/once":
        if ASKED.is_set():
            return None
        ASKED.set()
    if path == "/pid":
        return str(os.getpid())
    if path == "/generation":
        return GENERATION
    if path.startswith("/env/"):
        return os.environ.get(path[5:], "(unset)")
    if path == "/fds":
        return "\n".join(sorted(described()))
    if path == "/signals":
        with open("/proc/self/status") as status:
            return "".join(line for line in status if line.startswith(("SigBlk", "SigIgn")))
    if path == "/orphan":
        return orphan()
    return "Hello from a worker"


def described():
    """Every descriptor from 3 on that was not made here: `number blocking|nonblocking address`."""
    for fd in INHERITED:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        try:
            name = socket.socket(fileno=os.dup(fd)).getsockname()
        except OSError:
            name = os.readlink(f"/proc/self/fd/{fd}")
        yield f"{fd} {'nonblocking' if flags & os.O_NONBLOCK else 'blocking'} {name}"


def orphan():
    """Leaves a process behind that ends at once; its pid."""
    read, write = os.pipe()
    if os.fork() == 0:
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        os.write(write, str(pid).encode())
        os._exit(0)
    os.wait()
    return os.read(read, 20).decode()


def serve(listener):
    # If another process has taken the connection, the accept of a blocking socket would wait for the next one.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    while STOPPED not in select.select([listener, STOPPED], [], [])[0]:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        thread = threading.Thread(target=speak, args=(connection,), daemon=True)
        ANSWERING.add(thread)
        thread.start()


def speak(connection):
    answer_one(connection)
    ANSWERING.discard(threading.current_thread())


def answer_one(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))
    with connection:
        head = b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(4096)
            if not part:
                return
            head += part
        body = answer(head.split(b" ", 2)[1].decode())
        if body is None:
            return
        body = body.encode()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        )
    if "WORKER_DIES" in os.environ and TOLD.is_set():
        os._exit(3)


def echo(datagrams):
    while True:
        data, peer = datagrams.recvfrom(2048)
        datagrams.sendto(GENERATION.encode() + b" " + data, peer)


def notify(words):
    name = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify_socket:
        notify_socket.connect("\0" + name[1:] if name.startswith("@") else name)
        notify_socket.send(words.encode())


def leave(how):
    """Goes on in a child, and ends. `session`: nothing but MAINPID= tells that it is this worker's."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        if how == "session":
            os.setsid()
        os.close(write)
        # Not before its parent is gone.
        os.read(read, 1)
        os.close(read)
        return
    notify(f"MAINPID={child}")
    os._exit(0)


def ready(how):
    if how in ("notify", "main"):
        # Behind a wrapper: signals are for this process.
        main = f"MAINPID={os.getpid()}\n" if how == "main" else ""
        notify(f"{main}STATUS=about to serve\nREADY=1")
    elif how == "fd":
        os.write(int(os.environ["HEIRLOOM_READY_FD"]), b"ready\n")


def stop(number, frame):
    if "stop" in EXTENDS:
        notify("EXTEND_TIMEOUT_USEC=60000000")
        time.sleep(EXTENDED)
    print(f"worker {GENERATION} stops", flush=True)
    finish()
    os._exit(int(os.environ.get("WORKER_STATUS", "0")))


def finish():
    """What was accepted is answered."""
    os.write(STOP, b"!")
    for thread in ACCEPTING:
        thread.join()
    deadline = time.monotonic() + GRACE
    for thread in list(ANSWERING):
        thread.join(max(0, deadline - time.monotonic()))


def accept_from(listener):
    thread = threading.Thread(target=serve, args=(listener,), daemon=True)
    ACCEPTING.append(thread)
    thread.start()


INHERITED = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) > 2)
# The directory itself was among them.
INHERITED = [fd for fd in INHERITED if os.path.exists(f"/proc/self/fd/{fd}")]
# Something can be read there once this is to stop.
STOPPED, STOP = os.pipe()


def main():
    if "WORKER_READS" in os.environ:
        threading.Thread(target=sys.stdin.readline, daemon=True).start()
    if fails():
        sys.exit(f"worker {GENERATION} fails, as it was told to")
    if "start" in EXTENDS:
        notify("EXTEND_TIMEOUT_USEC=60000000")
        time.sleep(EXTENDED)
    leaves = os.environ.get("WORKER_LEAVES")
    if leaves:
        leave(leaves)
    # A signal that comes just before a pause() would only be acted on at the next one; what it writes here is kept.
    wakeups, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    if "LISTEN_FDS" in os.environ and os.environ.get("WORKER_READY") != "main" and not leaves:
        assert os.environ["LISTEN_PID"] == str(os.getpid()), "LISTEN_PID"
    if os.environ.get("WORKER_STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            signal.pause()
    else:
        signal.signal(signal.SIGTERM, stop)
    for name in ("USR1", "QUIT", "WINCH", "TTIN"):
        signal.signal(
            getattr(signal, f"SIG{name}"),
            lambda number, frame, name=name: print(f"worker {GENERATION} has {name}", flush=True),
        )
    for number, name in (signal.SIGRTMIN, "RTMIN"), (signal.SIGRTMIN + 3, "RTMIN+3"), (signal.SIGRTMAX, "RTMAX"):
        signal.signal(
            number,
            lambda number, frame, name=name: print(f"worker {GENERATION} has {name}", flush=True),
        )
    for word in filter(None, os.environ["SERVER_STARTER_PORT"].split(";")):
        one = socket.socket(fileno=int(word.rsplit("=", 1)[1]))
        if one.type == socket.SOCK_STREAM:
            accept_from(one)
        else:
            threading.Thread(target=echo, args=(one,), daemon=True).start()
    if "WORKER_PORT" in os.environ:
        own = socket.socket()
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind(("127.0.0.1", int(os.environ["WORKER_PORT"])))
        own.listen()
        accept_from(own)
    if "/hang" not in sys.argv:
        ready(os.environ.get("WORKER_READY"))
        TOLD.set()
    print(f"worker {GENERATION} serves", flush=True)
    while True:
        os.read(wakeups, 64)


main()
