"""grpc_client.py URL CA CONNECTIONS STREAMS MOST: unary calls by grpcio, a connection a channel, until standard input ends.

The first channel has MOST calls at once, the others STREAMS. Prints figures as JSON.
"""

import json
import random
import sys
import threading
import time

import grpc

(URL, CA), (CONNECTIONS, STREAMS, MOST) = sys.argv[1:3], map(int, sys.argv[3:6])
figures = dict(connections=CONNECTIONS, requests=0, failed=0, reconnects=0, trouble=[])
lock = threading.Lock()
over = threading.Event()


def connect(at):
    # Without these, channels share one connection, and a call that fails is made again.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("test.channel", at)]
    scheme, _, address = URL.partition("://")
    if scheme == "http":
        channel = grpc.insecure_channel(address, options)
    else:
        options.append(("grpc.ssl_target_name_override", "localhost"))
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(open(CA, "rb").read()), options)
    states = []

    def changed(state):
        states.append(state)
        # It was ready, and now is not.
        if len(states) > 1 and states[-2] is grpc.ChannelConnectivity.READY and not over.is_set():
            with lock:
                figures["reconnects"] += 1
                figures["trouble"].append(f"channel: {state}")

    channel.subscribe(changed)
    return channel


def worker(channel):
    call = channel.unary_unary("/test.Echo/Echo")
    while not over.is_set():
        message = random.randbytes(random.choice([0, 10, 1000, 100_000]))
        why = None
        try:
            if call(message, timeout=30) != message:
                why = "another message than was sent"
        except grpc.RpcError as error:
            why = repr(error)
        with lock:
            figures["requests"] += 1
            if why:
                figures["failed"] += 1
                figures["trouble"].append(why)
        time.sleep(random.uniform(0, 0.04))


channels = [connect(at) for at in range(CONNECTIONS)]
workers = [
    threading.Thread(target=worker, args=(channel,))
    for at, channel in enumerate(channels)
    for _ in range(MOST if at == 0 else STREAMS)
]
for each in workers:
    each.start()
sys.stdin.read()
over.set()
for each in workers:
    each.join()
print(json.dumps(figures))
