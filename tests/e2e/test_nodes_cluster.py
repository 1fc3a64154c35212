"""Nodes over a Redis Cluster: three masters, each with a replica."""

import json

import pytest
from harness import PATIENCE_S, figures, handshake_status, http_request, mint, note, risk_alert, wait_until
from redis_server import RedisServer, free_port, wait_s
from test_nodes import EVERYTHING, alerts, seqs
from test_nodes_sentinel import offset

ROOMS = [f"room:{n}" for n in range(40)]
MASTERS = 3
# A server that does not answer for so long is thought dead.
NODE_TIMEOUT_MS = 1_000


class ClusterServer(RedisServer):
    """One server of a cluster."""

    def __init__(self, directory):
        super().__init__(
            directory, cluster_enabled="yes", cluster_port=free_port(), cluster_node_timeout=NODE_TIMEOUT_MS, cluster_replica_validity_factor=0,
            repl_diskless_sync_delay=0,
        )  # fmt: skip

    def id(self):
        return self.ask("CLUSTER", "MYID")

    def is_well(self):
        return "cluster_state:ok" in self.ask("CLUSTER", "INFO")


class Cluster:
    """Six servers of a Redis Cluster. `url` names two of them."""

    def __init__(self, directory):
        self.servers = [ClusterServer(directory / str(n)) for n in range(2 * MASTERS)]
        first = self.servers[0]
        for server in self.servers[1:]:
            server.ask("CLUSTER", "MEET", "127.0.0.1", first.port, first.options["cluster_port"])
        slots = 16_384
        for n, master in enumerate(self.servers[:MASTERS]):
            master.ask("CLUSTER", "ADDSLOTSRANGE", slots * n // MASTERS, slots * (n + 1) // MASTERS - 1)
        for master, replica in self.pairs():
            wait_until(lambda replica=replica, master=master: self.knows(replica, master), "they have met")
            replica.ask("CLUSTER", "REPLICATE", master.id())
        wait_until(lambda: all(server.is_well() for server in self.servers), "the cluster is whole", PATIENCE_S)
        wait_until(lambda: all(server.is_replica() for server in self.servers[MASTERS:]), "the replicas have all", PATIENCE_S)

    @staticmethod
    def knows(server, other):
        return other.id() in server.ask("CLUSTER", "NODES")

    @property
    def url(self):
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in (self.servers[0], self.servers[MASTERS + 1]))

    def master_of(self, key):
        """The server that has the key now."""
        slot = self.servers[-1].ask("CLUSTER", "KEYSLOT", key)
        for first, last, (_, port, *_), *_ in self.servers[-1].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def pairs(self):
        """Masters as they were at first, with their replicas."""
        return list(zip(self.servers[:MASTERS], self.servers[MASTERS:], strict=True))

    def end(self):
        for server in self.servers:
            server.end()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path / "cluster")
    yield cluster
    cluster.end()


@pytest.fixture
def node(serve, cluster):
    return lambda **flags: serve(redis=cluster.url, reactors=1, max_connections_per_ip=0, handshakes_per_ip=0, commands_per_client=0, **flags)


def test_nodes_meet_over_a_cluster(node, cluster):
    """SCL-02, SCL-08, DLV-12: events of forty rooms, which are on all three masters, published on two nodes, come to members of a third once and in one
    order; a position taken on one is good on another; ids, owners and states are known to all."""
    one, two, three = node(), node(), node()
    assert len({cluster.master_of(f"tickerd:{{{shard_of(room)}}}:feed") for room in ROOMS}) == MASTERS
    member = three.member(*ROOMS, token=mint(**EVERYTHING))
    answers = [publish(at, n) for n, at in enumerate([one, two, one])]
    assert {answer["ack"] for batch in answers for answer in batch} == {"durable"}
    events = member.recv_many(3 * len(ROOMS))
    for room in ROOMS:
        assert [(event["seq"], event["data"]) for event in events if event["room"] == room] == [(n + 1, n) for n in range(3)]

    (again,) = two.publish(note(ROOMS[0], "alert", data="?", event_id=f"0-{ROOMS[0]}"))
    assert (again["result"], again["seq"]) == ("duplicate", 1)
    late = node()
    newcomer = late.connect(mint(**EVERYTHING))
    joined, frames = newcomer.subscribe(ROOMS[1], since={"epoch": answers[0][1]["epoch"], "seq": {"alert": 1}})
    frames += newcomer.recv_many(2 - len(seqs(frames)))  # which come live, if the node has not read them yet
    assert joined["recovered"] and seqs(frames) == [2, 3]
    one.publish(risk_alert("8f", "u1"))
    assert two.publish_unix(risk_alert("8f", "u2"))[0]["name"] == "owner_conflict"
    two.publish(note("s:1", "update", "state", data={"a": 1}, key="k"))
    newcomer = late.connect(mint(**EVERYTHING))
    _, frames = newcomer.subscribe("s:1")
    states = [frame for frame in frames if "rev" in frame] or newcomer.recv_many(1)  # which comes by the feed, if it has not yet
    assert [state["data"] for state in states] == [{"a": 1}]


def test_a_revocation_holds_over_a_cluster(node):
    """AUT-07: on all nodes, and on those that come later."""
    one, two = node(), node()
    client = two.connect(mint("u9", jti="gone"))
    status, _, _ = http_request(one.admin, "POST", "/v1/revoke", json.dumps({"jti": "gone"}), {"Content-Type": "application/json"})
    assert status == 200
    assert client.close_code() == 4301
    assert handshake_status(node().address, mint("u9", jti="gone")) == 401


def test_a_master_of_the_cluster_dies_and_its_replica_takes_over(node, cluster):
    """SCL-06, SCL-08, ERR-06, DLV-12: publishes are taken again in less than 10 s, rooms of the dead master have a new epoch, the others go on with theirs,
    and of what was answered `durable`, which the replica had, nothing is missing and nothing is there twice."""
    one, two = node(), node()
    before = {answer["room"]: answer["epoch"] for answer in sum((publish(one, n) for n in range(3)), [])}
    victim = cluster.master_of("tickerd:{0}:feed")
    lost = {room for room in ROOMS if cluster.master_of(f"tickerd:{{{shard_of(room)}}}:feed") is victim}
    assert lost and lost != set(ROOMS)
    wait_until(lambda: all(offset(replica) == offset(master) for master, replica in cluster.pairs()), "the replicas have all", PATIENCE_S)
    victim.kill()

    refused = one.publish_unix(note(min(lost), "alert", data="?"), deadline_s=PATIENCE_S)[0]
    assert refused["name"] == "store_unavailable" and refused["retry_after_ms"] > 0
    gap_s = wait_s(lambda: all(answer["ok"] for answer in publish_any(one, 3)), "all is taken again", PATIENCE_S)
    figures("a master of the cluster dies", rooms=len(lost), gap_s=round(gap_s, 2))
    assert gap_s < 10
    after = {answer["room"]: answer["epoch"] for answer in publish(two, 4)}
    assert {room for room in ROOMS if before[room] != after[room]} == lost
    client = node().connect(mint(**EVERYTHING))
    for room in ROOMS:
        joined, frames = client.subscribe(room, since={"epoch": before[room], "seq": {"alert": 0}})
        assert joined["recovered"] and [frame["data"] for frame in alerts(frames)] == [0, 1, 2, 3, 4], room


def publish(daemon, n):
    """One alert to each room; all must be taken."""
    answers = publish_any(daemon, n)
    assert all(answer["ok"] for answer in answers), answers[:3]
    return answers


def publish_any(daemon, n):
    return daemon.publish_unix(*(note(room, "alert", data=n, event_id=f"{n}-{room}") for room in ROOMS), deadline_s=PATIENCE_S)


def shard_of(room):
    """The shard of a room, as the nodes reckon it (FNV-1a)."""
    value = 0x811C9DC5
    for byte in room.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return (value ^ (value >> 16)) % 16


def test_a_stream_of_a_cluster_is_published(serve, cluster):
    """SCL-09: ingest from a stream of the cluster, wherever it is; what is no event is set aside beside it."""
    node = serve(ingest_redis=cluster.url, ingest_stream="orders", reactors=1)
    member = node.member("r:1", token=mint(rooms=["*"]))
    home = cluster.master_of("orders")
    home.ask("XADD", "orders", "*", "event", json.dumps(note("r:1", data=1)))
    home.ask("XADD", "orders", "*", "event", "{")
    assert member.recv()["data"] == 1
    wait_until(lambda: home.ask("XLEN", "{orders}:refused") == 1, "it was set aside")
    with pytest.raises(RuntimeError, match="MOVED"):
        next(server for server in cluster.servers[:MASTERS] if server is not home).ask("XLEN", "orders")
