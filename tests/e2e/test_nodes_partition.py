"""The network between a node and Redis parts, both ways and one way: the node in a network namespace of its own."""

import json
import os
import subprocess
import threading

import pytest
from harness import BINARY, PATIENCE_S, Daemon, figures, mint, note, wait_until
from redis_server import RedisServer, wait_s
from test_nodes import EVERYTHING
from test_nodes_failure import is_back, is_gone

ROOM = "r:1"
PARTED_EVENTS = 50


class Wire:
    """A network namespace, joined with this one by a pair of virtual Ethernet devices."""

    def __init__(self):
        number = os.getpid() % 250 + 1
        self.name, self.device = f"tickerd-{os.getpid()}", f"tkd{os.getpid() % 10**8}"
        self.here, self.there = f"10.213.{number}.1", f"10.213.{number}.2"
        self.ip("netns", "add", self.name)
        self.ip("link", "add", self.device, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        self.ip("addr", "add", f"{self.here}/30", "dev", self.device)
        self.ip("link", "set", self.device, "up")
        self.inside("addr", "add", f"{self.there}/30", "dev", "eth0")
        self.inside("link", "set", "eth0", "up")
        self.inside("link", "set", "lo", "up")

    @property
    def prefix(self):
        """A command that runs another one inside."""
        return ("ip", "netns", "exec", self.name)

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, timeout=PATIENCE_S)

    def inside(self, *words):
        self.ip("-n", self.name, *words)

    def part(self, how):
        """`both`: no packet passes. `out`: none from inside. `in`: none from here."""
        {
            "both": lambda: self.ip("link", "set", self.device, "down"),
            "out": lambda: self.inside("route", "add", "blackhole", f"{self.here}/32"),
            "in": lambda: self.ip("route", "add", "blackhole", f"{self.there}/32"),
        }[how]()

    def mend(self, how):
        {
            "both": lambda: self.ip("link", "set", self.device, "up"),
            "out": lambda: self.inside("route", "del", "blackhole", f"{self.here}/32"),
            "in": lambda: self.ip("route", "del", "blackhole", f"{self.there}/32"),
        }[how]()

    def end(self):
        self.ip("netns", "del", self.name)


class Subscriber(threading.Thread):
    """`tickerd subscribe` inside the namespace."""

    def __init__(self, prefix, port):
        super().__init__(daemon=True)
        command = [*prefix, str(BINARY), "subscribe", "--url", f"ws://127.0.0.1:{port}/v1/ws", "--room", ROOM]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"TICKERD_TOKEN": mint(**EVERYTHING)})
        self.messages = []
        self.start()

    def run(self):
        for line in self.process.stdout:
            self.messages.append(json.loads(line))

    def has(self, kind):
        return any(message["type"] == kind for message in self.messages)

    def data(self, lane):
        return [message["data"] for message in self.messages if message.get("lane") == lane and "data" in message]

    def end(self):
        self.process.terminate()
        self.process.communicate()


@pytest.fixture
def wire():
    wire = Wire()
    yield wire
    wire.end()


@pytest.mark.parametrize("how", ["both", "out", "in"])
def test_a_node_that_is_cut_off_serves_its_own_and_catches_up(serve, wire, tmp_path, how):
    """SCL-06, SCL-09, ERR-06, promise 6: no packet passes between a node and Redis, in both directions or in one. The node refuses durable publishes, keeps its
    clients, gives them its own states; the others go on; when the network is mended, its clients get all that they missed, once and in order, without a gap."""
    redis = RedisServer(tmp_path / "redis", bind=f"127.0.0.1 {wire.here}", protected_mode="no")
    one = serve(redis=redis.url, reactors=1)
    cut = Daemon(tmp_path / "cut", prefix=wire.prefix, redis=f"redis://{wire.here}:{redis.port}", reactors=1)
    subscriber = Subscriber(wire.prefix, cut.address[1])
    try:
        wait_until(lambda: subscriber.has("caught_up"), "it has joined")
        cut.publish(note(ROOM, "alert", data=0))
        wire.part(how)
        refused_s = wait_s(lambda: is_gone(cut), "it refuses", PATIENCE_S)
        assert cut.publish(note(ROOM, "update", "state", data="own", key="k"))[0]["ok"]
        wait_until(lambda: subscriber.data("update") == ["own"], "its members have its states")
        first = len(subscriber.data("alert"))
        one.publish(*(note(ROOM, "alert", data=n) for n in range(1, PARTED_EVENTS + 1)))
        assert len(subscriber.data("alert")) == first, "nothing comes through"
        wire.mend(how)
        back_s = wait_s(lambda: is_back(cut), "it takes durable publishes", PATIENCE_S)
        figures(f"a node is cut off ({how})", refused_s=round(refused_s, 2), back_s=round(back_s, 2))
        wait_until(lambda: PARTED_EVENTS in subscriber.data("alert"), "it has caught up", PATIENCE_S)
        assert [n for n in subscriber.data("alert") if n != {}] == list(range(PARTED_EVENTS + 1))
        assert not subscriber.has("gap") and subscriber.process.poll() is None
        numbers = [message["seq"] for message in subscriber.messages if message.get("lane") == "alert"]
        assert numbers == sorted(set(numbers)), "once and in order"
    finally:
        subscriber.end()
        cut.end()
        redis.end()
