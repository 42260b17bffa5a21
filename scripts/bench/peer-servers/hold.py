#!/usr/bin/env python3
"""Holds a listening socket for a program that is given it, as systemd does with a .socket unit: `hold.py ADDRESS COMMAND...`

HUP is `systemctl restart` of the service: the program gets TERM, its end is waited for, and the new one is started with the
same socket, in whose queue clients wait meanwhile. A program that ends by itself is started again. TERM ends both. For
scripts/bench/peers, since not every machine runs systemd.
"""
import os
import signal
import socket
import sys
import time

BACKLOG = 4096  # as systemd has it
RESTART = 0.1  # seconds until a program that has ended by itself is started again, as with systemd
STOP = 20  # seconds until one that does not end is killed; the programs drain for at most 10
FIRST = 3  # the descriptor, by systemd's protocol
WAITED_FOR = {signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD}


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
    with socket.create_server((host, int(port)), backlog=BACKLOG) as held:
        program = start(held)
        while True:
            said = signal.sigwait(WAITED_FOR)
            if said == signal.SIGCHLD and not has_ended(program):
                continue
            if said == signal.SIGCHLD:
                time.sleep(RESTART)
            else:
                stop(program)
            if said == signal.SIGTERM:
                return
            program = start(held)


def start(held):
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED_FOR)
    os.dup2(held.fileno(), FIRST)
    os.set_inheritable(FIRST, True)
    try:
        os.execvpe(sys.argv[2], sys.argv[2:], {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    except OSError as error:
        print(f"{sys.argv[2]}: {error}", file=sys.stderr)
    os._exit(1)


def stop(program):
    os.kill(program, signal.SIGTERM)
    until = time.monotonic() + STOP
    while not has_ended(program):
        if time.monotonic() > until:
            os.kill(program, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 1)


def has_ended(program):
    """It stays to be waited for until then, so its number is nobody else's."""
    return os.waitpid(program, os.WNOHANG)[0] == program


if __name__ == "__main__":
    main()
