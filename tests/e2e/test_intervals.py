"""States at an interval of the member's own, and only some of them."""

import time

from harness import exchange, mint, note
from streams import EventStream, events_path, get


def metric(kind, key, n, **envelope):
    return {"type": kind, "room": "analytics:quotes", "lane": "update", "mode": "state", "key": key, "data": {"n": n}} | envelope


def fast(serve, **flags):
    """What the lane holds itself is not meant here."""
    return serve(**({"update_window": "0"} | flags))


def test_the_newest_of_each_key_comes_at_the_members_interval(serve, reactors):
    """QTE-10: 1 to 60 s, by the member; alerts and streams at once; other members get all; the last value comes."""
    daemon = fast(serve, reactors=reactors)
    daemon.publish(metric("analytics_x", "a", 0), metric("analytics_x", "b", 0))
    now_and_then, always = (daemon.connect(mint("u1", rooms=["analytics:*"])) for _ in range(2))
    _, frames = now_and_then.subscribe("analytics:quotes", every_ms=1000)
    assert [(frame["key"], frame["data"]["n"]) for frame in frames] == [("a", 0), ("b", 0)], "all there is comes with the join"
    always.subscribe("analytics:quotes")
    last, ends = 0, time.monotonic() + 3.5
    while time.monotonic() < ends:
        last += 1
        daemon.publish(metric("analytics_x", "a", last))
        time.sleep(0.02)
    daemon.publish(note("analytics:quotes", "alert", data={"n": "now"}), note("analytics:quotes", "update", "stream", data={"n": "stream"}))
    daemon.publish(metric("analytics_x", "b", 1))
    got = []
    while not {"b1", f"a{last}"} <= set(got):
        frame = now_and_then.recv(5)
        got.append(frame["key"] + str(frame["data"]["n"]) if "key" in frame else frame["data"]["n"])
    states = [name for name in got if name[0] in "ab"]
    assert got.index("now") < got.index("b1") and got.index("stream") < got.index("b1"), "what is no state waits for nothing"
    assert 3 <= len([name for name in states if name[0] == "a"]) <= 5, got
    assert len([frame for frame in always.recv_many(last + 3) if frame.get("key") == "a"]) == last


def test_only_what_is_asked_for_comes(serve):
    """QTE-10: filters by type and key, at the join, live and in a snapshot; deletions are states too; what is no state is not filtered."""
    daemon = fast(serve, reactors=1)
    names = [(kind, key) for kind in ("analytics_x", "analytics_y") for key in ("a", "b")]
    daemon.publish(*[metric(kind, key, 0) for kind, key in names])
    client = daemon.connect(mint("u1", rooms=["analytics:*"]))
    told = lambda frames: [(frame["type"], frame.get("key"), frame.get("data", {}).get("n")) for frame in frames]  # noqa: E731
    assert told(client.subscribe("analytics:quotes", types=["analytics_y"], keys=["b", "c"])[1]) == [("analytics_y", "b", 0)]
    daemon.publish(*[metric(kind, key, 1) for kind, key in names], note("analytics:quotes", "alert", data={"n": 2}))
    daemon.publish(metric("analytics_y", "b", None) | {"data": None}, metric("analytics_x", "b", None) | {"data": None})
    assert told(client.recv_many(3)) == [("note", None, 2), ("analytics_y", "b", 1), ("analytics_y", "b", None)]
    daemon.publish(metric("analytics_y", "c", 7))
    assert told(client.recv_many(1)) == [("analytics_y", "c", 7)]
    assert client.request(type="snapshot", room="analytics:quotes")["type"] == "ok"
    assert told(client.until_caught_up("analytics:quotes")) == [("analytics_y", "c", 7)]
    assert "every_ms" in client.welcome["data"]["capabilities"]
    # Anew without, and all is as for everybody.
    assert len(client.subscribe("analytics:quotes")[1]) == 3
    daemon.publish(metric("analytics_x", "a", 9))
    assert told(client.recv_many(1)) == [("analytics_x", "a", 9)]


def test_nothing_held_follows_the_end_of_a_membership(serve):
    """ROM-06, promise 3: what was held for a member is not for one who has left, nor for who comes back."""
    daemon = fast(serve, reactors=1)
    client = daemon.connect(mint("u1", rooms=["analytics:*", "r:*"]))
    client.subscribe("analytics:quotes", every_ms=1000)
    daemon.publish(metric("analytics_x", "a", 1))
    assert client.request(type="unsubscribe", room="analytics:quotes")["type"] == "ok"
    time.sleep(1.2)
    assert client.everything(daemon) == []
    client.subscribe("analytics:quotes", every_ms=1000)
    daemon.publish(metric("analytics_x", "a", 2))
    assert [frame["data"]["n"] for frame in client.subscribe("analytics:quotes")[1]] == [2], "it comes with the new join, once"
    time.sleep(1.2)
    assert client.everything(daemon) == []


def test_an_interval_is_of_this_range(daemon1):
    """QTE-10: 1 to 60 s."""
    client = daemon1.connect(mint("u1", rooms=["analytics:*"]))
    for options in ({"every_ms": 999}, {"every_ms": 60_001}, {"every_ms": "1s"}, {"types": []}, {"keys": ["a b"]}, {"keys": ["k"] * 65}):
        assert client.refused(type="subscribe", room="analytics:quotes", **options) == "invalid_field", options
        client.request(type="ping")
    client.subscribe("analytics:quotes", every_ms=60_000)


def test_a_stream_of_server_sent_events_has_an_interval_too(serve, reactors):
    """QTE-10, CLI-08: the same wishes, in the query; names with commas between them."""
    daemon = fast(serve, reactors=reactors)
    token = mint("u1", rooms=["analytics:*"])
    daemon.publish(metric("analytics_x", "a", 0), metric("analytics_x", "b", 0), metric("analytics_y", "a", 0))
    with EventStream(daemon.address, "analytics:quotes", token, every_ms=1000, types="analytics_x,analytics_z", keys="a") as events:
        _, subscribed, state, caught_up = events.opened()
        assert (state["type"], state["key"], caught_up["type"]) == ("analytics_x", "a", "caught_up")
        got, last, ends = [], 0, time.monotonic() + 3.5
        while time.monotonic() < ends:
            last += 1
            daemon.publish(metric("analytics_x", "a", last), metric("analytics_x", "b", last), metric("analytics_y", "a", last))
            time.sleep(0.02)
        daemon.publish(note("analytics:quotes", "alert", data={"n": "now"}))
        while f"a{last}" not in got:
            message = events.recv()
            got.append(message["key"] + str(message["data"]["n"]) if "key" in message else message["data"]["n"])
        assert "now" in got and 4 <= len(got) <= 6, got
        assert events.last_id.startswith(f"{subscribed['epoch']}:alert.1,")
    for wish in ["every_ms=999", "every_ms=60001", "every_ms=+1000", "every_ms=", "types=", "keys=a,,b", "keys=" + ",".join("k" * 65)]:
        response = exchange(daemon.address, get(events_path("analytics:quotes") + "&" + wish, token))
        assert (response.status, response.json["name"]) == (400, "invalid_field"), wish
        assert wish.split("=")[0] in response.json["message"]
