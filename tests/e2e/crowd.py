"""Ten thousand clients in a process of their own, as the number of descriptors that a process may hold asks for.

    python crowd.py HOST PORT CLIENTS

Client `i` comes with a token of its own, joins the room `challenge:i` of the desk (see desk.py) and checks every frame that comes.
`joined` is printed when all are in. Then a line on the standard input says how many events have been published: once each
client has got its share, and has been answered a last ping, or when PATIENCE_S pass without progress, a JSON object with what
came and what was wrong is printed. A client whose connection ends is not replaced: it is an unexpected close.
"""

import json
import re
import resource
import select
import socket
import sys
import time

from desk import ALERT, LANES, STATE, Desk, data_of
from harness import PATIENCE_S, mint
from wire import CLOSE, PING, PONG, TEXT, command, frame, split_frames, upgrade_request

# Connecting gets slow where many connections share a source address.
CLIENTS_PER_SOURCE_MAX = 4_000
JOINING_MAX = 200
FAULTS_SHOWN_MAX = 10
# From Linux's in.h: the port is chosen at connect, per destination, not at bind.
IP_BIND_ADDRESS_NO_PORT = 24
EVENT = re.compile(
    rb'{"type":"([^"]+)","room":"challenge:(\d+)","lane":"([^"]+)",(?:"key":"(\d+)",)?"(seq|rev)":(\d+),"ts":\d+,"data":(.*)}'
)


def main():
    host, port, clients = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd((host, port), clients)
    crowd.join()
    print("joined", flush=True)
    events = crowd.hold()
    crowd.finish(events)
    print(json.dumps(crowd.report(events)), flush=True)


class Crowd:
    """All clients, on one epoll."""

    def __init__(self, address, clients):
        self.address, self.wanted = address, clients
        self.poll, self.clients = select.epoll(), {}
        self.joined, self.answered, self.pings = 0, 0, 0
        self.closes, self.faults, self.faults_shown = 0, 0, []
        self.progress_at = time.monotonic()

    def join(self):
        """Lets the clients in, a few at a time."""
        while self.joined < self.wanted:
            while len(self.clients) < min(self.wanted, self.joined + JOINING_MAX):
                self._start(len(self.clients))
            assert self._turn(), f"{self.joined} of {self.wanted} joined, and then nothing for {PATIENCE_S} s"
            assert not self.faults, self.faults_shown

    def _start(self, number):
        client = Client(self, number, self.address)
        self.clients[client.socket.fileno()] = client
        self.poll.register(client.socket, select.EPOLLIN)

    def hold(self):
        """Reads until the standard input says how many events there were."""
        self.poll.register(sys.stdin, select.EPOLLIN)
        while not (told := self._told()):
            self._turn()
        self.poll.unregister(sys.stdin)
        return int(told)

    def _told(self):
        if not select.select([sys.stdin], [], [], 0)[0]:
            return None
        return sys.stdin.readline() or sys.exit("the test is gone")

    def finish(self, events):
        """Reads until each client has its share, and then until each has answered once more, which shows what came too much."""
        self._until_none_is_left(lambda client: not client.has_all(events) and not client.has_more(events))
        for client in self._open():
            client.send(command(type="ping", id="last"))
        self._until_none_is_left(lambda client: not client.answered)

    def _until_none_is_left(self, is_waiting):
        waiting, self.progress_at = self._open(), time.monotonic()
        while waiting := [client for client in waiting if client.is_open and is_waiting(client)]:
            if not self._turn():
                return

    def _open(self):
        return [client for client in self.clients.values() if client.is_open]

    def _turn(self):
        """Reads what there is, and says whether there has been any progress lately; pings and heartbeats are none."""
        for descriptor, _ in self.poll.poll(1.0):
            client = self.clients.get(descriptor)
            if client and client.is_open:
                client.read()
        return time.monotonic() < self.progress_at + PATIENCE_S

    def fault(self, client, what):
        self.faults += 1
        if len(self.faults_shown) < FAULTS_SHOWN_MAX:
            self.faults_shown.append(f"client {client.number}: {what}")

    def closed(self, client, why):
        """The connection ended, which none should: counted, with the first reasons."""
        if client.is_open:
            client.is_open = False
            self.closes += 1
            self.poll.unregister(client.socket)
            self.fault(client, f"closed: {why}")

    def report(self, events):
        clients = self.clients.values()
        return {
            "alerts": sum(client.numbers[ALERT] for client in clients),
            "states": sum(client.states for client in clients),
            "incomplete": sum(not client.has_all(events) for client in clients),
            "unanswered": sum(not client.answered for client in clients),
            "pings": self.pings,
            "never_pinged": sum(not client.pings for client in clients),
            "unexpected_closes": self.closes,
            "faults": self.faults,
            "faults_shown": self.faults_shown,
        }


class Client:
    """One client: its socket, and the numbers of the last alert and state that it got."""

    __slots__ = ("answered", "buffer", "crowd", "desk", "is_open", "is_upgraded", "number", "numbers", "pings", "socket", "states")

    def __init__(self, crowd, number, address):
        self.crowd, self.number, self.desk = crowd, number, Desk(crowd.wanted)
        self.numbers, self.states, self.pings = {ALERT: 0, STATE: 0}, 0, 0
        self.is_open, self.is_upgraded, self.answered = True, False, False
        self.buffer = bytearray()
        self.socket = connect(address, f"127.0.0.{1 + number // CLIENTS_PER_SOURCE_MAX}")
        self.send(upgrade_request(mint(f"u{number}", rooms=[f"challenge:{number}"])))

    def send(self, data):
        """A client says so little that its kernel always has room for it."""
        try:
            self.socket.sendall(data)
        except ConnectionError as error:
            self.crowd.closed(self, error)

    def read(self):
        try:
            chunk = self.socket.recv(1 << 16)
        except ConnectionError as error:
            return self.crowd.closed(self, error)
        if not chunk:
            return self.crowd.closed(self, "end of stream")
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
            self.crowd.closed(self, f"refused with {head}")
            return False
        self.buffer, self.is_upgraded = bytearray(rest), True
        return True

    def _take(self, opcode, payload):
        if opcode == TEXT:
            self._take_text(payload)
        elif opcode == PING:
            self.pings += 1
            self.crowd.pings += 1
            self.send(frame(PONG, payload))
        elif opcode == CLOSE:
            self.crowd.closed(self, f"code {int.from_bytes(payload[:2], 'big')}")
        else:
            self.crowd.fault(self, f"opcode {opcode}")

    def _take_text(self, payload):
        if event := EVENT.fullmatch(payload):
            self._take_event(*(part and part.decode() for part in event.groups()))
        elif payload.startswith(b'{"type":"welcome"'):
            self.send(command(type="subscribe", id="join", room=f"challenge:{self.number}"))
        elif payload.startswith(b'{"type":"caught_up"'):
            self.crowd.joined, self.crowd.progress_at = self.crowd.joined + 1, time.monotonic()
        elif payload == b'{"type":"ok","id":"last"}':
            self.answered, self.crowd.progress_at = True, time.monotonic()
        elif not payload.startswith((b'{"type":"subscribed","id":"join"', b'{"type":"heartbeat"')):
            self.crowd.fault(self, f"got {payload[:200]}")

    def _take_event(self, kind, room, lane, key, counter, number, data):
        """An event of this client's room, whole; alerts without a hole, states newer than those before."""
        number, last = int(number), self.numbers.get(kind)
        form = (str(self.number), LANES.get(kind), *((None, "seq") if kind == ALERT else (str(self.number), "rev")))
        is_next = last is not None and (number == last + 1 if kind == ALERT else number > last)
        if (room, lane, key, counter) != form or not is_next or data != data_of(kind, self.number, number):
            self.crowd.fault(self, f"after number {last} got {(kind, room, lane, key, counter, number, data[:80])}")
        if is_next:
            self.numbers[kind] = number
            self.states += kind == STATE
            self.crowd.progress_at = time.monotonic()

    def has_all(self, events):
        """Whether every alert and the last state of that many published events came, and nothing beyond."""
        return (self.numbers[ALERT], self.numbers[STATE]) == self.desk.published(self.number, events)

    def has_more(self, events):
        """Whether something came that was never published."""
        alerts, states = self.desk.published(self.number, events)
        return self.numbers[ALERT] > alerts or self.numbers[STATE] > states


def connect(address, source):
    """A socket that does not block once it is connected; loopback connects at once."""
    connected = socket.socket()
    connected.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    connected.bind((source, 0))
    connected.settimeout(PATIENCE_S)
    connected.connect(address)
    connected.setblocking(False)
    return connected


if __name__ == "__main__":
    main()
