"""Thousands of clients of several nodes, in a process of their own. Whoever is told to go, or loses its node, goes to another with its position.

    python roaming_crowd.py ADDRESSES CLIENTS ROOMS

ADDRESSES is a file with the nodes of the moment: `HOST PORT` each. Client `i` is in the room `r:(i modulo ROOMS)`. `joined` is printed when all are in;
then a line on the standard input, a JSON list with the last `seq` of each room, ends it: once each client has all, a JSON object is printed with how long
anybody was away, and what was wrong.
"""

import heapq
import json
import random
import re
import select
import sys
import time
from pathlib import Path

from harness import PATIENCE_S, mint
from resuming_crowd import CONNECTS_PER_TURN, Client, Crowd
from wire import CLOSE, PING, PONG, TEXT, command, frame, split_frames

SEQ = re.compile(rb'"lane":"update","seq":(\d+),"ts":')
TURN_S = 0.02


class Roaming(Crowd):
    """All clients, on one epoll."""

    def __init__(self, addresses, count, rooms):
        self.addresses, self.rooms, self.last, self.away_s, self.moves, self.joined = addresses, rooms, None, [], 0, 0
        super().__init__(None, count, {"seen": 0})

    def make(self, number):
        return Roamer(self, number)

    @property
    def address(self):
        host, port = random.choice(self.addresses.read_text().split("\n")).split()
        return host, int(port)

    @address.setter
    def address(self, _):
        pass

    def run(self):
        for number, client in enumerate(self.clients):
            client.connect()
            if number % CONNECTS_PER_TURN == 0:
                self.turn()
        while self.joined < len(self.clients):
            self.turn()
        print("joined", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            self.turn()
        self.last, ends = json.loads(sys.stdin.readline()), time.monotonic() + PATIENCE_S
        while any(client.seen < self.last[client.room] for client in self.clients) and time.monotonic() < ends:
            self.turn()

    def turn(self):
        while self.later and self.later[0][0] <= time.monotonic():
            self.clients[heapq.heappop(self.later)[1]].connect()
        self._turn(TURN_S)

    def report(self):
        missing = sum(client.seen < self.last[client.room] for client in self.clients)
        return {
            "moves": self.moves, "away_s_max": round(max(self.away_s, default=0), 2), "missing": missing,
            "refusals": self.refusals, "faults": self.faults, "shown": self.faults_shown,
        }  # fmt: skip


class Roamer(Client):
    """One client: its room, its epoch, the last event that it has."""

    __slots__ = ("after_s", "epoch", "left", "room")

    def __init__(self, crowd, number):
        super().__init__(crowd, number)
        self.room, self.epoch, self.left, self.after_s = number % crowd.rooms, None, None, None
        self.token = mint(f"u{number}", rooms=["r:*"])

    def close(self):
        super().close()
        self.left = self.left or time.monotonic()

    def _take(self, opcode, payload):
        if opcode == TEXT:
            self._take_text(payload)
        elif opcode == PING:
            self.socket.sendall(frame(PONG, payload))
        elif opcode == CLOSE:
            # As client.js does: after what it was told, with a jitter if it was told nothing.
            after_s, self.after_s = self.after_s or random.uniform(0, 1), None
            self.crowd.moves += 1
            self.close()
            heapq.heappush(self.crowd.later, (time.monotonic() + after_s, self.number))

    def _take_text(self, payload):
        if number := SEQ.search(payload):
            number = int(number[1])
            if number != self.seen + 1:
                self.crowd.fault(self, f"after {self.seen} came {number}")
            self.seen = number
        elif payload.startswith(b'{"type":"welcome"'):
            since = {"since": {"epoch": self.epoch, "seq": {"update": self.seen}}} if self.epoch else {}
            self.socket.sendall(command(type="subscribe", id=1, room=f"r:{self.room}", **since))
        elif payload.startswith(b'{"type":"subscribed"'):
            message = json.loads(payload)
            if self.epoch and not message["recovered"]:
                self.crowd.fault(self, payload[:200])
            self.epoch = message["epoch"]
            self.seen = message["from"].get("update", 1) - 1 if not self.left else self.seen
        elif payload.startswith(b'{"type":"caught_up"'):
            if self.left:
                self.crowd.away_s.append(time.monotonic() - self.left)
                self.left = None
            else:
                self.crowd.joined += 1
        elif payload.startswith(b'{"type":"disconnect"'):
            self.after_s = json.loads(payload).get("after_ms", 0) / 1000
        elif payload.startswith(b'{"type":"error"'):
            message = json.loads(payload)
            self.crowd.refused(self, message["name"], message.get("retry_after_ms", 1_000) / 1000)
        elif not payload.startswith(b'{"type":"heartbeat"'):
            self.crowd.fault(self, payload[:200])


if __name__ == "__main__":
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Roaming(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    crowd.run()
    print(json.dumps(crowd.report()), flush=True)
