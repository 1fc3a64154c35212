"""WebSocket by hand: for clients that stall, count bytes, break rules, or come by the thousand."""

import asyncio
import json
import re
import socket
import struct
import time
import zlib

from harness import DEADLINE_S

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
SEQ = re.compile(rb'"seq":(\d+)')


def upgrade_request(token=None, *, path="/v1/ws", **headers):
    """A good request for an upgrade; a header given as None is left out, an underscore stands for a dash."""
    fields = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Authorization": f"Bearer {token}" if token else None,
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def frame(opcode, payload=b"", *, fin=True, rsv=0, masked=True):
    """A client's frame, masked by a key of zeros, which leaves the payload readable."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    flag, length = 0x80 if masked else 0, len(payload)
    if length < 126:
        head = struct.pack("!BB", first, flag | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, flag | 126, length)
    else:
        head = struct.pack("!BBQ", first, flag | 127, length)
    return head + (bytes(4) if masked else b"") + payload


def command(**message):
    return frame(TEXT, json.dumps(message).encode())


TAIL = b"\x00\x00\xff\xff"


def deflate(message, **options):
    """A message as permessage-deflate has it, without context (RFC 7692 section 7.2.1)."""
    raw = zlib.compressobj(wbits=-15, **options)
    return (raw.compress(message) + raw.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def inflate(message, window_bits=15):
    """The same back, with an inflater that has no larger window than that."""
    return zlib.decompressobj(wbits=-window_bits).decompress(message + TAIL)


def split_frames(buffer, window_bits=0):
    """Takes the whole frames off the front of `buffer`, a bytearray: (opcode, payload) each. With a window, they may be compressed."""
    frames, at = [], 0
    while len(buffer) - at >= 2:
        length, head = buffer[at + 1], 2
        assert not length & 0x80, "a server's frames are not masked"
        if length >= 126:
            head = 4 if length == 126 else 10
            if len(buffer) - at < head:
                break
            length = int.from_bytes(buffer[at + 2 : at + head], "big")
        if len(buffer) - at < head + length:
            break
        payload = bytes(buffer[at + head : at + head + length])
        is_compressed = window_bits > 0 and buffer[at] & 0xF0 == 0xC0
        assert is_compressed or buffer[at] & 0xF0 == 0x80, "whole frames without reserved bits but that of compression"
        frames.append((buffer[at] & 0x0F, inflate(payload, window_bits) if is_compressed else payload))
        at += head + length
    del buffer[:at]
    return frames


class RawClient:
    """A client on a bare socket, which reads only when told to."""

    def __init__(self, address, token, receive_buffer_bytes=None, tls=None, source="", **headers):
        self.socket = socket.socket()
        self.socket.settimeout(DEADLINE_S)
        self.socket.bind((source, 0))
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect(address)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        self.socket.sendall(upgrade_request(token, **headers))
        self.buffer, self.frames = bytearray(), []
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        self.buffer = bytearray(rest)
        self.extensions = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:]).get("Sec-WebSocket-Extensions", "")
        server_bits = re.search(r"server_max_window_bits=(\d+)", self.extensions)
        self.window_bits = 0 if not self.extensions else int(server_bits[1]) if server_bits else 15

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _more(self, size=1 << 18):
        chunk = self.socket.recv(size)
        if not chunk:
            raise ConnectionResetError("the daemon closed the connection")
        self.buffer += chunk
        return len(chunk)

    def send(self, data):
        self.socket.sendall(data)

    def subscribe(self, *rooms, **options):
        """Joins rooms and reads until each is caught up."""
        for number, room in enumerate(rooms):
            self.send(command(type="subscribe", id=number, room=room, **options))
            self.read_until(lambda opcode, payload: payload.startswith(b'{"type":"caught_up"'))

    def next_frame(self, deadline_s=DEADLINE_S):
        """The next frame: (opcode, payload). Pings are answered and returned as well."""
        ends = time.monotonic() + deadline_s
        while not self.frames:
            self.frames = split_frames(self.buffer, self.window_bits)
            if not self.frames:
                assert time.monotonic() < ends, f"no frame in {deadline_s} s"
                self._more()
        opcode, payload = self.frames.pop(0)
        if opcode == PING:
            self.pong(payload)
        return opcode, payload

    def pong(self, payload):
        """Answers a ping."""
        self.send(frame(PONG, payload))

    def read_until(self, is_last, deadline_s=DEADLINE_S):
        """All frames up to the one for which `is_last(opcode, payload)`."""
        found, ends = [], time.monotonic() + deadline_s
        while True:
            found.append(self.next_frame(ends - time.monotonic()))
            if is_last(*found[-1]):
                return found

    def texts(self, count, kind, deadline_s=DEADLINE_S):
        """The next `count` messages of that type; others are dropped."""
        start, found, ends = f'{{"type":"{kind}"'.encode(), [], time.monotonic() + deadline_s
        while len(found) < count:
            opcode, payload = self.next_frame(ends - time.monotonic())
            if opcode == TEXT and payload.startswith(start):
                found.append(payload)
        return found

    def close_code(self):
        """The code of the Close frame that comes; None if the connection ends without one."""
        try:
            _, payload = self.read_until(lambda opcode, _: opcode == CLOSE)[-1]
        except ConnectionResetError:
            return None
        return int.from_bytes(payload[:2], "big") if payload else 1005

    def kill(self):
        """Gone without a goodbye: the peer gets a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Swarmling(asyncio.Protocol):
    """One of many clients of one event loop: hands every text to `on_text(self, payload)`."""

    def __init__(self, token, on_text):
        self.token, self.on_text = token, on_text
        self.buffer, self.upgraded = bytearray(), False
        self.close_code = None
        self.welcomed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(upgrade_request(self.token))

    def data_received(self, data):
        self.buffer += data
        if not self.upgraded:
            if b"\r\n\r\n" not in self.buffer:
                return
            head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head
            self.buffer, self.upgraded = bytearray(rest), True
        for opcode, payload in split_frames(self.buffer):
            self._take(opcode, payload)

    def _take(self, opcode, payload):
        if opcode == TEXT and not self.welcomed.done():
            assert payload.startswith(b'{"type":"welcome"'), payload
            self.welcomed.set_result(None)
        elif opcode == TEXT:
            self.on_text(self, payload)
        elif opcode == PING:
            self.transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")

    def connection_lost(self, error):
        if not self.welcomed.done():
            self.welcomed.set_exception(error or ConnectionResetError("closed before its welcome"))

    def send(self, **message):
        self.transport.write(command(**message))


class Swarm:
    """Many clients on one event loop. `on_text(client, payload)` gets every message; where it raises, `until` does."""

    def __init__(self, on_text):
        self.on_text = on_text
        self.clients, self.failure, self.changed = [], None, asyncio.Event()

    async def connect(self, address, tokens, at_once=100):
        """One client for each token, each with its welcome."""
        loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(at_once)

        async def one(token):
            async with gate:
                _, client = await loop.create_connection(lambda: Swarmling(token, self._take), *address)
                await asyncio.wait_for(client.welcomed, DEADLINE_S)
                return client

        self.clients = await asyncio.gather(*map(one, tokens))
        return self.clients

    def _take(self, client, payload):
        try:
            self.on_text(client, payload)
        except Exception as failure:
            self.failure = self.failure or failure
        self.changed.set()

    async def until(self, condition, deadline_s):
        """Waits for a condition that messages bring about."""
        async with asyncio.timeout(deadline_s):
            while not self.failure and not condition():
                self.changed.clear()
                await self.changed.wait()
        if self.failure:
            raise self.failure

    def abort(self):
        for client in self.clients:
            client.transport.abort()
