"""Acknowledgments: what a user is to take note of is given again until that is done or its time is over, and the publisher's side is told."""

import random
import threading
import time

import pytest
from harness import Daemon, Lines, figures, line_of, mint, note, wait_until
from test_journal import House
from websockets.exceptions import ConnectionClosed, InvalidHandshake

CATALOG = """
[[catalog]]
type = "approval"
room = "user:{trader}"
owner = "trader"
lane = "alert"
mode = "stream"
ack_required = true
ack_ttl = "1s"
"""


@pytest.fixture
def house(tmp_path):
    """Starts daemons on one data directory, one after the other."""
    house = House(tmp_path)
    yield house
    house.end()


def notification(event_id, user="u1", **envelope):
    return {"type": "notification", "event_id": event_id, "data": {"user_id": user, "text": event_id}} | envelope


def again(daemon, user="u1"):
    """What a new connection of the user is given again."""
    with daemon.connect(mint(user)) as client:
        _, frames = client.subscribe(f"user:{user}")
    return [frame["event_id"] for frame in frames if frame.get("redelivered") is True]


def told(daemon):
    """What the publisher's side has heard: type and data of each event."""
    with daemon.connect(mint("desk", rooms=["system:acks"])) as desk:
        _, frames = desk.subscribe("system:acks", history=1_000_000)
    return [(frame["type"], frame["data"]) for frame in frames if frame["type"].startswith("event.")]


def acks(daemon, result):
    return daemon.metrics()[f'tickerd_acks_total{{result="{result}"}}']


def test_given_again_on_every_connection_until_one_of_them_acknowledges(daemon1):
    """QTE-11, QTE-12: all connections of the user, in whichever order; idempotent; nobody else's business; the publisher's side hears of it once."""
    desk = daemon1.connect(mint("desk", rooms=["system:acks", "user:ann"]))
    desk.subscribe("system:acks")
    first, second = daemon1.connect(mint("ann")), daemon1.connect(mint("ann"))
    first.subscribe("user:ann")
    [answer] = daemon1.publish(notification("n1", "ann"))
    live = first.recv()
    assert (live["event_id"], live["seq"], "redelivered" in live) == ("n1", answer["seq"], False)
    subscribed, frames = second.subscribe("user:ann")
    assert [frame["event_id"] for frame in frames] == ["n1"]
    assert list(frames[0])[-2:] == ["redelivered", "data"]
    assert (frames[0]["seq"], frames[0]["ts"], frames[0]["data"]) == (live["seq"], live["ts"], live["data"])
    assert frames[0]["seq"] < subscribed["from"]["alert"], "it is none of the sequence that begins there"
    assert again(daemon1, "ann") == ["n1"]
    assert desk.subscribe("user:ann")[1] == [], "an operator is not the user"
    assert desk.request(type="ack", event_id="n1")["type"] == "ok"
    assert again(daemon1, "ann") == ["n1"]
    for client in [second, first, second]:
        assert client.request(type="ack", event_id="n1")["type"] == "ok"
    assert again(daemon1, "ann") == []
    event = desk.recv_type("event.acknowledged")
    assert event["data"] == {"event_id": "n1", "room": "user:ann", "user": "ann", "ts": event["ts"]}
    assert len(told(daemon1)) == 1


def test_a_resume_brings_each_event_once(daemon1):
    """What is missing comes in its place, what is only unacknowledged comes marked; a position acknowledges all before it."""
    answers = daemon1.publish(*[notification(f"r{n}", "bob") for n in range(4)])
    epoch, seqs = answers[0]["epoch"], [answer["seq"] for answer in answers]
    client = daemon1.connect(mint("bob"))
    _, frames = client.subscribe("user:bob", since={"epoch": epoch, "seq": {"alert": seqs[1]}})
    assert [(frame["event_id"], "redelivered" in frame) for frame in frames] == [("r0", True), ("r1", True), ("r2", False), ("r3", False)]
    before = {result: acks(daemon1, result) for result in ["acknowledged", "beyond", "unknown_epoch", "unknown_room"]}
    position = {"room": "user:bob", "lane": "alert", "epoch": epoch, "seq": seqs[2]}
    client.send(type="ack", **position | {"seq": seqs[3] + 1})
    client.send(type="ack", **position | {"epoch": "another"})
    client.send(type="ack", **position | {"room": "user:eve"})
    client.send(type="ack", **position)
    assert client.request(type="ping")["type"] == "ok", "positions are not answered"
    assert again(daemon1, "bob") == ["r3"]
    wait_until(lambda: all(acks(daemon1, result) == count + 1 for result, count in before.items()), "each is counted")
    refused = client.request(type="ack", **position)
    assert (refused["name"], "`id`" in refused["message"]) == ("invalid_field", True)


def test_what_cannot_be_acknowledged_is_refused(daemon1):
    """Without an id nobody could, and outside a user's room nobody would."""
    for event in [notification("x") | {"event_id": None}, notification("x", room="desk:1")]:
        [answer] = daemon1.publish_unix(event)
        assert (answer["ok"], answer["name"]) == (False, "invalid_field"), answer
    assert not daemon1.publish_unix(note("system:acks", "update") | {"type": "event.acknowledged"})[0]["ok"]


def test_the_hundred_and_first_costs_the_oldest(daemon1):
    """QTE-11."""
    daemon1.publish(*[notification(f"m{n}", "max") for n in range(101)])
    assert again(daemon1, "max") == [f"m{n}" for n in range(1, 101)]
    expired = [data for kind, data in told(daemon1) if kind == "event.expired" and data["user"] == "max"]
    assert [(data["event_id"], data["reason"]) for data in expired] == [("m0", "too_many")]


def test_the_time_of_a_wait_ends(tmp_path):
    """QTE-12: by the catalog of the configuration, and also while the daemon is down."""
    config = tmp_path / "tickerd.toml"
    config.write_text(CATALOG)
    house = House(tmp_path)
    try:
        daemon = house.start(config=config)
        approval = {"type": "approval", "event_id": "a1", "data": {"trader": "u1"}}
        daemon.publish(approval, notification("n1"))
        assert again(daemon) == ["a1", "n1"]
        expired = wait_until(lambda: told(daemon), "the publisher's side is told")
        assert [(kind, data["event_id"], data["reason"]) for kind, data in expired] == [("event.expired", "a1", "ttl")]
        assert again(daemon) == ["n1"]
        wait_until(lambda: daemon.metrics()["tickerd_unacknowledged"] == 1, "the gauge says so")
        daemon.publish(approval | {"event_id": "a2"})
        house.kill()
        time.sleep(1)
        daemon = house.start(config=config)
        wait_until(lambda: [data["event_id"] for _, data in told(daemon)] == ["a1", "a2"], "what has expired meanwhile is told")
        assert again(daemon) == ["n1"]
    finally:
        house.end()


def test_waits_and_acknowledgments_survive_a_kill(house):
    """What waits is given again by the next daemon; what was answered `ok` is not; a retry is a duplicate for as long."""
    daemon = house.start()
    published = daemon.publish(*[notification(f"n{n}") for n in range(4)])
    assert all(answer["ack"] == "durable" for answer in published)
    with daemon.connect(mint("u1")) as client:
        assert client.request(type="ack", event_id="n1")["type"] == "ok"
        daemon = house.restart()
    assert again(daemon) == ["n0", "n2", "n3"]
    with daemon.connect(mint("u1")) as client:
        assert client.request(type="ack", event_id="n1")["type"] == "ok", "again, and of a former life"
        subscribed, _ = client.subscribe("user:u1")
        client.send(type="ack", room="user:u1", lane="alert", epoch=published[0]["epoch"], seq=published[2]["seq"])
        assert client.request(type="ack", event_id="no-such")["type"] == "ok", "this waits for the disk to have all before it"
    daemon = house.restart()
    assert again(daemon) == ["n3"]
    assert [data["event_id"] for _, data in told(daemon)] == ["n1", "n0", "n2"]
    [retry] = daemon.publish(notification("n3"))
    assert (retry["result"], retry["seq"]) == ("duplicate", published[3]["seq"])


def test_kill_9_loses_no_wait_and_brings_none_back(house):
    """At random moments, with a publisher and a user at work."""
    chance, kills = random.Random(5), 15
    durable, asked, done = set(), set(), set()
    daemon, n = house.start(commands_per_client=0), 0
    for _ in range(kills):
        dies = threading.Timer(chance.uniform(0.05, 0.3), house.kill)
        dies.start()
        try:
            lines, client = Lines(daemon.socket_path), daemon.connect(mint("u1"))
            while True:
                n += 1
                answers = lines.publish([line_of(notification(f"n{n}"))])
                durable |= {f"n{n}" for answer in answers if answer["ok"] and answer["ack"] == "durable"}
                if len(durable - asked) > 40 or chance.random() < 0.5:
                    event_id = chance.choice(sorted(durable - asked) or [f"n{n}"])
                    asked.add(event_id)
                    if client.request(type="ack", event_id=event_id)["type"] == "ok":
                        done.add(event_id)
        except (OSError, ValueError, EOFError, AssertionError, ConnectionClosed, InvalidHandshake):
            # In whatever moment of ours it was killed; nothing else ends this.
            dies.join()
            wait_until(lambda: house.daemon.process.poll() is not None, "the daemon is gone")
        daemon = house.start(commands_per_client=0)
        given = again(daemon)
        assert len(given) == len(set(given)) < 100, "none has to go for another"
        assert durable - asked <= set(given), f"{durable - asked - set(given)} wait, and are not given again"
        assert not done & set(given), f"{done & set(given)} were acknowledged, and are given again"
        heard = {data["event_id"] for kind, data in told(daemon) if kind == "event.acknowledged"}
        assert done & durable <= heard, f"{done - heard} were acknowledged, and the publisher's side was not told"
    figures("kill -9 with acknowledgments", kills=kills, published=n, acknowledged=len(done), waiting=len(durable - asked))
    assert done and durable - asked
