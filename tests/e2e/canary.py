"""An existing client in whose place nobody wants to be: it gets alerts at fixed times, whatever others do to the daemon meanwhile."""

import json
import socket
import ssl
import statistics
import time

from harness import PATIENCE_S, mint, select_ready
from wire import RawClient, split_frames

ROOM = "canary:1"
ALERT_EVERY_S = 0.01


class Canary:
    """A member of a room, and the publisher of its alerts, which are due at fixed times: one that is late delays none that follows."""

    def __init__(self, daemon, tls=None):
        self.client = RawClient(daemon.address, mint("canary", rooms=["canary:*"]), tls=tls)
        self.client.subscribe(ROOM)
        self.client.socket.setblocking(False)
        self.publisher = socket.socket(socket.AF_UNIX)
        self.publisher.connect(daemon.socket_path)
        self.publisher.setblocking(False)
        self.sent = 0

    def latencies_ms(self, seconds):
        """How long after it was due each alert came, over that time. All of them must come, in order, and none twice."""
        count, first, began = round(seconds / ALERT_EVERY_S), self.sent, time.monotonic()
        due = [began + (number + 1) * ALERT_EVERY_S for number in range(count)]
        found, published, ends = [], 0, due[-1] + PATIENCE_S
        while len(found) < count:
            now = time.monotonic()
            assert now < ends, f"{len(found)} of {count} alerts came"
            while published < count and due[published] <= now:
                published += 1
                self.publisher.sendall(self._line(first + published))
            wait = max(0.0, due[published] - now) if published < count else ends - now
            readable, _ = select_ready([self.client.socket, self.publisher], [], wait)
            if self.publisher in readable:
                assert b'"ok":false' not in self.publisher.recv(1 << 16)
            if self.client.socket in readable:
                for number in self._read():
                    assert number == first + len(found) + 1, (number, first, len(found))
                    found.append((time.monotonic() - due[len(found)]) * 1000)
        self.sent += count
        return found

    @staticmethod
    def _line(number):
        message = {"type": "note", "room": ROOM, "lane": "alert", "mode": "stream", "data": {"n": number, "padding": "x" * 100}}
        return json.dumps(message).encode() + b"\n"

    def _read(self):
        """The numbers of the alerts that have come."""
        try:
            while chunk := self.client.socket.recv(1 << 16):
                self.client.buffer += chunk
            raise AssertionError("the canary was closed")
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        payloads = [payload for _, payload in split_frames(self.client.buffer)]
        return [json.loads(payload)["data"]["n"] for payload in payloads if payload.startswith(b'{"type":"note"')]

    def close(self):
        self.client.socket.close()
        self.publisher.close()


def p99(values):
    return statistics.quantiles(values, n=100)[98]
