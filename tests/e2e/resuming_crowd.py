"""Ten thousand clients that come back at once, each with a position in a room of its own, in a process of their own.

    python resuming_crowd.py HOST PORT CLIENTS EPOCH SEEN WANTED

Client `i` has seen the room `r:i` of that epoch up to `seq` SEEN and lacks all up to WANTED. One that is refused for the time being waits as
long as it was told, and tries again, as client.js would. `minted` is printed when all have their tokens; a line on the standard input lets them
go. Once each has all that it lacked and `caught_up`, or when PATIENCE_S pass without progress, a JSON object with what came is printed.
"""

import errno
import heapq
import json
import random
import re
import resource
import select
import socket
import sys
import time

from crowd import CLIENTS_PER_SOURCE_MAX, IP_BIND_ADDRESS_NO_PORT
from harness import PATIENCE_S, mint
from wire import CLOSE, PING, PONG, TEXT, command, frame, split_frames, upgrade_request

CONNECTS_PER_TURN = 50
FAULTS_SHOWN_MAX = 10
SEQ = re.compile(rb'"lane":"update","seq":(\d+),"ts":\d+,"data":(\d+)}$')
RETRY_AFTER = re.compile(rb"\r\nretry-after: (\d+)\r\n", re.IGNORECASE)


def main():
    host, port, count, epoch, seen, wanted = sys.argv[1], *map(str, sys.argv[2:])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd((host, int(port)), int(count), {"epoch": epoch, "seen": int(seen), "wanted": int(wanted)})
    print("minted", flush=True)
    sys.stdin.readline()
    crowd.run()
    print(json.dumps(crowd.report()), flush=True)


class Crowd:
    """All clients, on one epoll."""

    def __init__(self, address, count, position):
        self.address, self.position = address, position
        self.poll, self.open, self.later = select.epoll(), {}, []
        self.refusals, self.faults, self.faults_shown = {}, 0, []
        self.clients = [self.make(number) for number in range(count)]
        self.began = self.progress_at = 0.0
        self.times = []

    def make(self, number):
        return Client(self, number)

    def run(self):
        self.began = self.progress_at = time.monotonic()
        for number, client in enumerate(self.clients):
            client.connect()
            if number % CONNECTS_PER_TURN == 0:
                self._turn(0)
        while len(self.times) < len(self.clients) and time.monotonic() < self.progress_at + PATIENCE_S:
            while self.later and self.later[0][0] <= time.monotonic():
                self.clients[heapq.heappop(self.later)[1]].connect()
            self._turn(0.05)

    def _turn(self, wait_s):
        for descriptor, _ in self.poll.poll(wait_s, len(self.clients)):
            if client := self.open.get(descriptor):
                client.turn()

    def caught_up(self):
        self.progress_at = time.monotonic()
        self.times.append(self.progress_at - self.began)

    def refused(self, client, why, after_s):
        """It tries again: after what it was told, and up to as long again."""
        self.refusals[why] = self.refusals.get(why, 0) + 1
        client.close()
        heapq.heappush(self.later, (time.monotonic() + after_s * random.uniform(1, 2), client.number))

    def fault(self, client, what):
        self.faults += 1
        if len(self.faults_shown) < FAULTS_SHOWN_MAX:
            self.faults_shown.append(f"client {client.number}: {what}")

    def report(self):
        times = sorted(self.times) or [0.0]
        at = {f"p{part}": round(times[min(len(times) - 1, len(times) * part // 100)], 3) for part in (1, 50, 99)}
        return {
            "caught_up": len(self.times), "last_s": round(times[-1], 3), "seconds": at,
            "refusals": self.refusals, "faults": self.faults, "shown": self.faults_shown,
        }  # fmt: skip


class Client:
    """One client: its socket, and the number of the last event that it has."""

    __slots__ = ("buffer", "crowd", "is_caught_up", "is_upgraded", "number", "seen", "socket", "token", "unsent")

    def __init__(self, crowd, number):
        self.crowd, self.number, self.seen, self.is_caught_up = crowd, number, crowd.position["seen"], False
        self.token = mint(f"u{number}", rooms=[f"r:{number}"])
        self.socket = None

    def connect(self):
        """Begins to; it does not wait."""
        self.buffer, self.is_upgraded = bytearray(), False
        self.unsent = upgrade_request(self.token)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        self.socket.bind((f"127.0.0.{1 + self.number // CLIENTS_PER_SOURCE_MAX}", 0))
        self.socket.setblocking(False)
        if self.socket.connect_ex(self.crowd.address) not in (0, errno.EINPROGRESS):
            return self.crowd.refused(self, "connect", 1)
        self.crowd.open[self.socket.fileno()] = self
        self.crowd.poll.register(self.socket, select.EPOLLIN | select.EPOLLOUT)
        return None

    def close(self):
        self.crowd.open.pop(self.socket.fileno(), None)
        self.socket.close()

    def turn(self):
        try:
            if self.unsent:
                self.socket.sendall(self.unsent)
                self.unsent = b""
                self.crowd.poll.modify(self.socket, select.EPOLLIN)
                return None
            chunk = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError as error:
            return self.crowd.refused(self, type(error).__name__, 1)
        if not chunk:
            return self.crowd.refused(self, "end of stream", 1)
        self.buffer += chunk
        if self.is_upgraded or self._upgraded():
            for opcode, payload in split_frames(self.buffer):
                self._take(opcode, payload)
        return None

    def _upgraded(self):
        head, end, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 101 "):
            told = RETRY_AFTER.search(head)
            self.crowd.refused(self, head[9:12].decode(), int(told[1]) if told else 1)
            return False
        self.buffer, self.is_upgraded = bytearray(rest), True
        return True

    def _take(self, opcode, payload):
        if opcode == TEXT:
            self._take_text(payload)
        elif opcode == PING:
            self.socket.sendall(frame(PONG, payload))
        elif opcode == CLOSE:
            self.crowd.refused(self, f"close {int.from_bytes(payload[:2], 'big')}", 1)

    def _take_text(self, payload):
        if event := SEQ.search(payload):
            number, data = map(int, event.groups())
            if (number, data) != (self.seen + 1, number):
                self.crowd.fault(self, f"after {self.seen} came {payload[:200]}")
            self.seen = number
        elif payload.startswith(b'{"type":"welcome"'):
            since = {"epoch": self.crowd.position["epoch"], "seq": {"update": self.seen}}
            self.socket.sendall(command(type="subscribe", id=1, room=f"r:{self.number}", since=since))
        elif payload.startswith(b'{"type":"subscribed"'):
            if b'"recovered":true' not in payload:
                self.crowd.fault(self, f"{payload[:200]}")
        elif payload.startswith(b'{"type":"caught_up"'):
            if self.seen != self.crowd.position["wanted"] or self.is_caught_up:
                self.crowd.fault(self, f"caught up at {self.seen}")
            self.is_caught_up = True
            self.crowd.caught_up()
        elif payload.startswith(b'{"type":"error"') and b'"retry_after_ms"' in payload:
            message = json.loads(payload)
            self.crowd.refused(self, message["name"], message["retry_after_ms"] / 1000)
        elif not payload.startswith((b'{"type":"heartbeat"', b'{"type":"disconnect"')):
            self.crowd.fault(self, f"got {payload[:200]}")


if __name__ == "__main__":
    main()
