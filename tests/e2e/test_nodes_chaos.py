"""Nodes and Redis are killed at random moments under load: nothing that was answered is lost, and nothing comes twice."""

import contextlib
import json
import random
import threading
import time

from harness import LONG, PATIENCE_S, Client, Lines, figures, line_of, mint, note, wait_until
from test_nodes import EVERYTHING, node, redis  # noqa: F401 (fixtures)
from websockets.exceptions import WebSocketException

MOMENTS = 30 if LONG else 6
NODES, MEMBERS_PER_NODE = 3, 2
ROOM = "r:1"


class Cluster:
    """Nodes that are replaced when they are killed."""

    def __init__(self, start):
        self.start, self.nodes, self.over = start, [start() for _ in range(NODES)], threading.Event()

    def kill_one(self, rng):
        at = rng.randrange(NODES)
        victim = self.nodes[at]
        victim.process.kill()
        victim.process.wait()
        victim.process.returncode = 0  # it was to end so
        while True:
            try:
                self.nodes[at] = self.start()
                return
            except AssertionError:
                time.sleep(0.2)  # Redis is away, too


    def restart(self, at):
        """It tells its clients to go, and goes; another one takes its place."""
        self.nodes[at].end()
        self.nodes[at] = self.start()


class Publisher(threading.Thread):
    """Publishes one numbered event after the other, each until it is accepted, wherever there is a node."""

    def __init__(self, cluster, origin):
        super().__init__(daemon=True)
        self.cluster, self.origin, self.answered, self.refusals = cluster, origin, [], 0

    def run(self):
        n = 0
        while not self.cluster.over.is_set():
            event = note(ROOM, "alert", data=[self.origin, n], event_id=f"{self.origin}-{n}")
            answer = self.publish(event)
            self.answered.append((answer["seq"], answer["epoch"], f"{self.origin}-{n}"))
            n += 1
            time.sleep(0.002)

    def publish(self, event):
        lines = None
        while True:
            try:
                lines = lines or Lines(random.choice(self.cluster.nodes).socket_path)
                answer = lines.publish([line_of(event)], PATIENCE_S)[0]
                if answer["ok"]:
                    assert answer["ack"] == "durable", answer
                    return answer
                self.refusals += 1
            except OSError:
                lines = None
            except AssertionError as ended:
                assert "closed the publish socket" in str(ended), ended
                lines = None
            time.sleep(0.05)


class Member(threading.Thread):
    """A client that comes back with its position, anywhere, and holds what it was given."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.events, self.since, self.faults, self.reconnects, self.away_s_max = cluster, {}, None, [], 0, 0.0
        self.client, self.until = None, None

    def run(self):
        left = time.monotonic()
        while not self.is_done():
            try:
                with Client(random.choice(self.cluster.nodes).address, mint(**EVERYTHING)) as self.client:
                    self.enter(self.client)
                    self.away_s_max = max(self.away_s_max, time.monotonic() - left)
                    self.reconnects += 1
                    while not self.is_done():
                        try:
                            self.take(self.client.recv(0.5))
                        except TimeoutError:
                            continue
                        left = time.monotonic()
            except (OSError, WebSocketException, AssertionError, EOFError):
                time.sleep(0.05)

    def is_done(self):
        return self.until is not None and (self.until <= set(self.events.values()) or self.cluster.over.is_set() and time.monotonic() > self.ends)

    def finish(self, wanted):
        self.ends, self.until = time.monotonic() + PATIENCE_S, wanted

    def enter(self, client):
        subscribed = client.request(type="subscribe", room=ROOM, **({"since": self.since} if self.since else {}))
        assert subscribed["type"] == "subscribed", subscribed
        first = subscribed["from"]["alert"]
        self.events = {seq: event_id for seq, event_id in self.events.items() if seq < first}
        self.since = {"epoch": subscribed["epoch"], "seq": {"alert": first - 1}}
        if subscribed.get("recovered") is False:
            self.faults.append(f"not recovered: {subscribed}")

    def take(self, message):
        if message["type"] == "gap":
            self.faults.append(json.dumps(message))
        if "seq" in message and message.get("room") == ROOM:
            expected = self.since["seq"]["alert"] + 1
            if message["seq"] != expected:
                self.faults.append(f"{message['seq']} where {expected} was to come")
            self.since["seq"]["alert"] = message["seq"]
            if message["event_id"] in set(self.events.values()):
                self.faults.append(f"{message['event_id']} came twice")
            self.events[message["seq"]] = message["event_id"]


@contextlib.contextmanager
def load(cluster):
    """Publishers and members at work; afterwards, every acknowledged event must be at every member, once, in one order."""
    publishers = [Publisher(cluster, origin) for origin in range(NODES)]
    members = [Member(cluster) for _ in range(NODES * MEMBERS_PER_NODE)]
    for member in members:
        member.start()
    wait_until(lambda: all(member.reconnects for member in members), "all members have joined")
    for publisher in publishers:
        publisher.start()
    yield members
    cluster.over.set()
    for publisher in publishers:
        publisher.join(2 * PATIENCE_S)
        assert not publisher.is_alive(), "a publisher gets no answer"
    acknowledged = {event_id for publisher in publishers for _, _, event_id in publisher.answered}
    for member in members:
        member.finish(acknowledged)
    for member in members:
        member.join(2 * PATIENCE_S)
        assert not member.is_alive()
        assert not member.faults, member.faults[:5]
        missing = acknowledged - set(member.events.values())
        assert not missing, f"{len(missing)} acknowledged events never came, such as {sorted(missing)[:5]}"
    orders = {tuple(event_id for _, event_id in sorted(member.events.items()))[: len(acknowledged)] for member in members}
    assert len(orders) == 1, "members have different orders"
    figures(
        "load", events=len(acknowledged), refusals=sum(publisher.refusals for publisher in publishers),
        away_s_max=round(max(member.away_s_max for member in members), 2),
    )  # fmt: skip


def test_kills_at_random_moments_lose_nothing(node, redis):  # noqa: F811
    """SCL-12, DLV-12, TST-04: nodes and Redis are killed, and Redis stands still."""
    rng = random.Random(8)
    cluster = Cluster(node)
    with load(cluster):
        for moment in [rng.choice(["node", "node", "redis", "stall"]) for _ in range(MOMENTS - 2)] + ["redis", "stall"]:
            time.sleep(rng.uniform(0.5, 1.5))
            if moment == "node":
                cluster.kill_one(rng)
            elif moment == "redis":
                redis.restart()
            else:
                redis.stall()
                time.sleep(rng.uniform(0.2, 2.5))
                redis.go_on()
        time.sleep(1)


def test_a_rolling_restart_loses_nothing(node, redis):  # noqa: F811
    """SCL-05, OPS-04: one node after the other is told to stop, and started again."""
    cluster = Cluster(node)
    with load(cluster) as members:
        for at in range(NODES):
            time.sleep(1)
            cluster.restart(at)
        time.sleep(1)
    assert max(member.away_s_max for member in members) < 10
