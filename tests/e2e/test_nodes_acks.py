"""Acknowledgments over a real Redis: what one node is told, all know."""

import random

from harness import LONG, Lines, figures, line_of, mint, wait_until
from test_acks import CATALOG, again, notification, told
from test_nodes import node, nodes, redis  # noqa: F401 (fixtures)

KILLS = 30 if LONG else 6


def waiting(daemon):
    return daemon.metrics()["tickerd_unacknowledged"]


def test_acknowledged_on_one_node_is_acknowledged_on_all(nodes, node, redis):  # noqa: F811
    """QTE-11, SCL-01: also for a node that begins later, and after Redis was started again; told once, wherever it was asked."""
    a, b, c = nodes
    first = a.publish(notification("n1"))[0]
    b.publish(notification("n2"), notification("n3"))
    for daemon in nodes:
        wait_until(lambda daemon=daemon: waiting(daemon) == 3, "it has come")
        assert again(daemon) == ["n1", "n2", "n3"]
    # A duplicate, for as long as it waits.
    assert (c.publish(notification("n1"))[0]["result"], first["result"]) == ("duplicate", "accepted")
    with b.connect(mint("u1")) as client:
        client.subscribe("user:u1")
        for _ in range(2):
            assert client.request(type="ack", event_id="n2")["type"] == "ok"
    # Who heard `ok` is not given it again, wherever it comes next.
    assert "n2" not in again(b)
    for daemon in (a, c, node()):
        wait_until(lambda daemon=daemon: waiting(daemon) == 2, "it has heard of that")
        assert again(daemon) == ["n1", "n3"]
    assert told(c) == [("event.acknowledged", told(a)[0][1])] and told(a)[0][1]["event_id"] == "n2"
    # By position.
    with c.connect(mint("u1")) as client:
        answer, _ = client.subscribe("user:u1")
        client.send(type="ack", room="user:u1", lane="alert", epoch=answer["epoch"], seq=first["seq"])
        wait_until(lambda: again(a) == ["n3"], "it covers the first")
    redis.restart()
    for daemon in (*nodes, node()):
        wait_until(lambda daemon=daemon: waiting(daemon) == 1, "it has read it again", 30)
        assert again(daemon) == ["n3"]
    assert redis.ask("KEYS", "tickerd:*:waits:*") == ["tickerd:{13}:waits:user:u1"]


def test_who_does_not_acknowledge_in_time_is_told_of_once(node, redis, tmp_path):  # noqa: F811
    """QTE-11: all nodes know when the time is over, and the publisher's side hears it once."""
    catalog = tmp_path / "tickerd.toml"
    catalog.write_text(CATALOG)
    nodes = [node(config=catalog) for _ in range(3)]  # noqa: F811
    nodes[0].publish({"type": "approval", "event_id": "a1", "data": {"trader": "u1"}})
    wait_until(lambda: all(waiting(daemon) == 0 for daemon in nodes) and told(nodes[1]), "its time is over")
    assert [(kind, data["event_id"], data["reason"]) for kind, data in told(nodes[2])] == [("event.expired", "a1", "ttl")]
    wait_until(lambda: redis.ask("KEYS", "tickerd:*:waits:*") == [], "Redis has forgotten it")


def test_without_redis_an_acknowledgment_is_refused_and_may_be_sent_again(node, redis):  # noqa: F811
    """ERR-06: never `ok` for what nobody will remember."""
    a, b = node(), node()
    a.publish(notification("n1"))
    wait_until(lambda: waiting(b) == 1, "it has come")
    with b.connect(mint("u1")) as client:
        client.subscribe("user:u1")
        redis.kill()
        wait_until(lambda: b.metrics()["tickerd_redis_breaker"] != 0 or client.request(type="ack", event_id="n1")["type"] == "error", "it is gone")
        assert client.request(type="ack", event_id="n1")["type"] == "error"
        assert again(b) == ["n1"]
        redis.start()
        wait_until(lambda: client_acks(b), "it is back", 30)
    wait_until(lambda: again(a) == [], "the other has heard of it")


def client_acks(daemon):
    with daemon.connect(mint("u1")) as client:
        client.subscribe("user:u1")
        return client.request(type="ack", event_id="n1")["type"] == "ok"


def test_kill_9_of_nodes_forgets_no_acknowledgment(node, redis):  # noqa: F811
    """SCL-12: what was answered `ok` is never given again, what was not is."""
    rng, nodes, acknowledged, published = random.Random(3), [node(), node()], set(), 0  # noqa: F811
    for _ in range(KILLS):
        for _ in range(5):
            Lines(rng.choice(nodes).socket_path).publish([line_of(notification(f"n{published}"))])
            published += 1
        wanted = {f"n{n}" for n in range(published)} - acknowledged
        at = rng.randrange(2)
        wait_until(lambda at=at: set(again(nodes[at])) == wanted, "all is there")
        with nodes[at].connect(mint("u1")) as client:
            client.subscribe("user:u1")
            for event_id in rng.sample(sorted(wanted), 3):
                assert client.request(type="ack", event_id=event_id)["type"] == "ok"
                acknowledged.add(event_id)
        nodes[at].process.kill()
        nodes[at].process.wait()
        nodes[at].process.returncode = 0  # it was to end so
        nodes[at] = node()
    wanted = {f"n{n}" for n in range(published)} - acknowledged
    for daemon in (*nodes, node()):
        wait_until(lambda daemon=daemon: set(again(daemon)) == wanted, "what is left is given again")
    assert sorted(data["event_id"] for _, data in told(nodes[0])) == sorted(acknowledged)
    figures("acks over nodes", kills=KILLS, published=published, acknowledged=len(acknowledged))
