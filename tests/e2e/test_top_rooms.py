"""The rooms that have most, as an operator is told, and that asking stops nobody."""

import json
import socket
import threading
import time

from harness import LONG, PATIENCE_S, at_most_s, figures, http_request, mint, note, wait_until
from wire import command, upgrade_request

ROOMS = 50_000 if LONG else 5_000


def top(daemon, query=""):
    status, _, body = http_request(daemon.admin, "GET", f"/v1/rooms{query}")
    assert status == 200, body
    answer = json.loads(body)
    assert answer["unheard_reactors"] == []
    return answer["rooms"]


def test_rooms_are_told_by_what_they_have_most_of(serve):
    """OBS-14: members over all reactors, events in, deliveries out and their bytes, each as an order; a room that nobody publishes to has none."""
    daemon = serve(reactors=2)
    token = mint(rooms=["quote:*"])
    many = [daemon.member("quote:many", token=token) for _ in range(6)]
    few = [daemon.member("quote:few", token=token) for _ in range(2)]
    for number in range(30):
        daemon.publish(note("quote:few", data={"n": number}), note("quote:alone", data={"n": number}), note("quote:alone", data={"n": -number - 1}))
        if number < 4:
            daemon.publish(note("quote:many", data={"x": "y" * 5_000, "n": number}))
    for client in few + many:
        client.recv_type("note")
    wait_until(lambda: top(daemon)[0]["deliveries_per_s"] > 0, "rates are there")
    orders = {by: [room["room"].removeprefix("quote:") for room in top(daemon, f"?sort={by}")] for by in ("members", "events", "deliveries", "bytes")}
    assert orders == {"members": ["many", "few", "alone"], "events": ["alone", "few", "many"], "deliveries": ["few", "many", "alone"], "bytes": ["many", "few", "alone"]}
    rooms = {room["room"]: room for room in top(daemon)}
    assert {name: room["members"] for name, room in rooms.items()} == {"quote:many": 6, "quote:few": 2, "quote:alone": 0}
    few_rates, alone = rooms["quote:few"], rooms["quote:alone"]
    assert few_rates["deliveries_per_s"] == 2 * few_rates["events_per_s"] > 0 and alone["deliveries_per_s"] == alone["bytes_per_s"] == 0
    assert abs(alone["events_per_s"] - 2 * few_rates["events_per_s"]) < 0.01
    assert rooms["quote:many"]["bytes_per_s"] > 5_000 * rooms["quote:many"]["deliveries_per_s"]
    assert [len(top(daemon, f"?limit={limit}")) for limit in (1, 2, 200)] == [1, 2, 3]
    for query in ("?sort=age", "?limit=0", "?limit=201", "?limit=x", "?room=a", "?sort=bytes&sort=members"):
        status, _, body = http_request(daemon.admin, "GET", f"/v1/rooms{query}")
        assert (status, json.loads(body)["name"]) == (400, "invalid_field"), query
    for client in few + many:
        client.close()


def test_what_waits_is_told_of_the_room_it_waits_for(serve):
    """A member that reads nothing: the room's queue grows, and no other's; when it is gone, nothing waits."""
    daemon = serve(reactors=2, slow_timeout="60s", update_window="0s")
    with daemon.member("quote:2", token=mint(sub="u2", rooms=["quote:*"])) as other:
        with socket.create_connection(daemon.address) as idler:
            idler.sendall(upgrade_request(mint(sub="idler", rooms=["quote:*"])) + command(type="subscribe", room="quote:1"))
            wait_until(lambda: daemon.metric("tickerd_members") == 2, "both are members")
            for number in range(100):
                daemon.publish(note("quote:1", "update", data={"x": "y" * 20_000, "n": number}), note("quote:2", data={"n": number}))
                other.recv_type("note")
            rooms = wait_until(lambda: {room["room"]: room for room in top(daemon)}, "both are told")
            assert rooms["quote:1"]["queued_bytes"] > 500_000 and rooms["quote:1"]["queued_frames"] > 25
            assert (rooms["quote:2"]["queued_bytes"], rooms["quote:2"]["queued_frames"]) == (0, 0)
        wait_until(lambda: not sum(room["queued_bytes"] for room in top(daemon)), "nothing waits any more")


def test_what_the_metric_lane_holds_is_told(serve):
    daemon = serve(reactors=1, metric_gather="5s", metric_flush="5s")
    with daemon.member("quote:1", token=mint(rooms=["quote:*"])):
        daemon.publish(note("quote:1", "metric", data={"x": "y" * 1_000}))
        assert 1_000 < top(daemon)[0]["held_bytes"] < 1_100


def test_asking_stops_nobody(serve):
    """With 5,000 rooms (with TICKERD_LONG=1: 50,000) under load, while the first ones are asked for without a pause, alerts come as before: nine of ten
    within 200 ms."""
    daemon = serve(reactors=1, max_rooms=ROOMS + 100)
    for first in range(0, ROOMS, 1_000):
        daemon.publish(*(note(f"quote:{number}", "update", "state", key="k") for number in range(first, first + 1_000)))
    asked, took, ends = [], [], threading.Event()

    def ask():
        while not ends.is_set():
            began = time.monotonic()
            assert len(top(daemon, "?limit=200")) == 200
            asked.append(time.monotonic() - began)

    with daemon.member("challenge:c1") as member:
        asker = threading.Thread(target=ask)
        asker.start()
        for _ in range(50):
            began = time.monotonic()
            daemon.publish(note("challenge:c1", "alert"))
            member.recv_type("note")
            took.append(time.monotonic() - began)
        wait_until(lambda: len(asked) >= 3, "answers come", PATIENCE_S)
        ends.set()
        asker.join()
    milliseconds = lambda seconds: round(seconds * 1e3, 2)
    figures("top rooms", rooms=ROOMS, asked=len(asked), asked_ms_median=milliseconds(sorted(asked)[len(asked) // 2]), alert_ms_median=milliseconds(sorted(took)[25]), alert_ms_max=milliseconds(max(took)))
    assert sorted(took)[45] < at_most_s(0.2)
