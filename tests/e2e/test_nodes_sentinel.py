"""A master fails, and sentinels put its replica in its place."""

import pytest
from harness import PATIENCE_S, figures, mint, note, wait_until
from redis_server import RedisServer, Sentinel, wait_s
from test_nodes import EVERYTHING, alerts, seqs
from test_nodes_failure import is_back


@pytest.fixture
def servers(tmp_path):
    """Master, replica, sentinel."""
    master = RedisServer(tmp_path / "master")
    replica = RedisServer(tmp_path / "replica", replicaof=f"127.0.0.1 {master.port}", repl_diskless_sync_delay=0)
    wait_until(replica.is_replica, "the replica has all")
    sentinel = Sentinel(tmp_path / "sentinel", master)
    wait_until(lambda: len(sentinel.ask("SENTINEL", "REPLICAS", "desk")) == 1, "the sentinel knows the replica", PATIENCE_S)
    yield master, replica, sentinel
    for server in (sentinel, replica, master):
        server.end()


@pytest.fixture
def node(serve, servers):
    return lambda: serve(redis=servers[2].url, reactors=1)


def publish(daemon, first, count):
    return daemon.publish(*[note("r:1", "alert", data={"n": n}) for n in range(first, first + count)])


def test_the_replica_takes_over_and_what_it_lacks_is_told(node, servers):
    """SCL-06, SCL-07, DLV-13: the gap is under ten seconds, what both had is resumed, what the master alone had is taken back."""
    master, replica, _ = servers
    a, b = node(), node()
    client = a.member("r:1", token=mint(**EVERYTHING))
    epoch = publish(a, 0, 10)[0]["epoch"]
    wait_until(lambda: offset(replica) == offset(master), "the replica has them")
    replica.stall()
    master.ask("CLIENT", "KILL", "TYPE", "replica")  # what comes now is not even in a socket's buffer
    publish(a, 10, 5)
    assert seqs([client.recv() for _ in range(15)]) == list(range(1, 16))
    master.kill()
    replica.go_on()
    gap_s = wait_s(lambda: is_back(b), "the replica has taken over", PATIENCE_S)
    assert replica.is_master()
    messages, code = client.until_closed(PATIENCE_S)
    assert code == 4202 and alerts(messages) == []
    wait_until(lambda: a.metrics()["tickerd_redis_resyncs_total"] >= 16, "a has the new epoch", PATIENCE_S)
    answer, frames = a.connect(mint(**EVERYTHING)).subscribe("r:1", since={"epoch": epoch, "seq": {"alert": 15}})
    assert answer["epoch"] != epoch and answer["rewound"] == {"alert": 10}
    assert seqs(frames)[:1] == [11] and not any(frame["type"] == "gap" for frame in frames)
    answer, frames = b.connect(mint(**EVERYTHING)).subscribe("r:1", since={"epoch": epoch, "seq": {"alert": 4}})
    assert answer["recovered"] is True and [frame["data"].get("n") for frame in alerts(frames)][:6] == [4, 5, 6, 7, 8, 9]
    figures("failover", gap_s=round(gap_s, 2))
    assert gap_s < 10


def offset(server):
    fields = dict(line.split(":", 1) for line in server.ask("INFO", "replication").splitlines() if ":" in line)
    return int(fields["master_repl_offset"])


def test_ok_is_said_once_so_many_replicas_have_it(serve, servers):
    """SCL-06, DLV-12: with --redis-replicas nothing is answered `ok` that a failover could lose; what was refused for that is a duplicate when it is sent
    again, which waits for the replicas too, and comes to members once."""
    master, replica, _ = servers
    daemon = serve(redis=master.url, redis_replicas=1, reactors=1)
    client = daemon.member("r:1", token=mint(**EVERYTHING))
    assert daemon.publish(note("r:1", "alert", data=1))[0]["ack"] == "durable"
    replica.stall()
    for _ in range(2):
        (answer,) = daemon.publish_unix(note("r:1", "alert", data=2, event_id="2"), deadline_s=PATIENCE_S)
        assert answer["name"] == "store_unavailable" and "0 of 1 replicas" in answer["message"] and answer["retry_after_ms"] > 0
    replica.go_on()
    wait_until(lambda: offset(replica) == offset(master), "the replica has it", PATIENCE_S)
    (answer,) = daemon.publish(note("r:1", "alert", data=2, event_id="2"))
    assert (answer["result"], answer["seq"]) == ("duplicate", 2)
    daemon.publish(note("r:1", "alert", data=3))
    assert [event["data"] for event in client.recv_many(3)] == [1, 2, 3]
