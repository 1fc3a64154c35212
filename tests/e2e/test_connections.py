"""What an operator is told about connections, and that asking stops nobody."""

import json
import socket
import threading
import time
from urllib.parse import quote

from harness import LONG, PATIENCE_S, at_most_s, figures, http_request, mint, note, wait_until
from test_hold import Crowd
from wire import command, upgrade_request

CLIENTS = 10_000 if LONG else 1_000


def connections(daemon, query=""):
    status, _, body = http_request(daemon.admin, "GET", f"/v1/connections{query}")
    assert status == 200, body
    return json.loads(body)


def test_a_connection_is_told_with_all_that_is_known_of_it(serve):
    """Who, whence, since when, in which rooms, how much waits: of one user alone, who may have a name that needs escapes."""
    daemon = serve(reactors=2, heartbeat="1s")
    token = mint(sub="auth0|7 é", rooms=["challenge:*"], jti="t-7", ttl=600)
    with daemon.connect(token) as client, daemon.member("challenge:c2", token=mint(sub="other", rooms=["challenge:*"])):
        client.subscribe("challenge:c1")
        client.subscribe("challenge:c2", delta=True)
        wait_until(lambda: client.request(type="ping") and connections(daemon, "?user=" + quote("auth0|7 é"))["connections"][0]["rtt_us"], "a pong")
        answer = connections(daemon, "?user=" + quote("auth0|7 é"))
        assert (len(answer["connections"]), answer["next"], answer["unheard_reactors"]) == (1, None, [])
        record = answer["connections"][0]
        assert record["session"] == client.welcome["data"]["session"]
        told = {name: record[name] for name in ("user", "jti", "ip", "transport", "tls", "compression", "slow", "queued_bytes", "conflated")}
        assert told == {
            "user": "auth0|7 é", "jti": "t-7", "ip": "127.0.0.1", "transport": "websocket", "tls": False, "compression": False, "slow": False,
            "queued_bytes": 0, "conflated": 0,
        }  # fmt: skip
        assert record["token_expires_at"] == client.welcome["data"]["expires_at"]
        assert record["rooms"] == [
            {"room": "challenge:c1", "by": "pattern", "delta": False, "replaying": []},
            {"room": "challenge:c2", "by": "pattern", "delta": True, "replaying": []},
        ]
        assert record["received_bytes"] > 0 and record["sent_bytes"] > 0 and record["age_ms"] >= record["idle_ms"] >= 0
    wait_until(lambda: not connections(daemon, "?user=other")["connections"], "both have left")


def test_who_is_slow_comes_first(serve):
    """Sorted by what waits: a client that reads nothing is the first of many, with the bytes of each lane and how long the oldest waits."""
    daemon = serve(reactors=2, update_window="0s", metric_gather="0s", metric_flush="1ms", slow_timeout="60s")
    others = [daemon.member("quote:1", token=mint(sub=f"u{number}", rooms=["quote:*"])) for number in range(20)]
    with socket.create_connection(daemon.address) as idler:
        idler.sendall(upgrade_request(mint(sub="idler", rooms=["quote:*"])) + command(type="subscribe", room="quote:1"))
        wait_until(lambda: daemon.metric("tickerd_members") == 21, "all are members")
        for number in range(200):
            daemon.publish(note("quote:1", "update", data={"x": "y" * 20_000, "n": number}))
            for client in others:
                client.recv_type("note")
        answer = connections(daemon, "?sort=queued&limit=3")
        assert len(answer["connections"]) == 3
        first, second, _ = answer["connections"]
        assert first["user"] == "idler" and first["queued_bytes"] > 100_000 > second["queued_bytes"]
        lanes = first["queued_lane_bytes"]
        assert lanes["update"] > 100_000 and lanes["alert"] == lanes["metric"] == 0
        assert first["queued_frames"] > 5 and first["oldest_ms"] >= 0
    for client in others:
        client.close()


def test_a_list_goes_on_where_it_ended(serve):
    """Bounded: `limit` and `next` bring all of them, once each; what is not understood is refused, and nothing is listed for it."""
    daemon = serve(reactors=2)
    clients = [daemon.connect(mint(sub=f"u{number}")) for number in range(25)]
    seen, after = [], ""
    while True:
        answer = connections(daemon, f"?limit=4{after}")
        assert len(answer["connections"]) <= 4
        seen += [record["user"] for record in answer["connections"] if record["transport"] == "websocket"]
        if answer["next"] is None:
            break
        after = f"&after={answer['next']}"
    assert sorted(seen) == sorted(f"u{number}" for number in range(25))
    for query in ("?usr=u1", "?user=u1&user=u2", "?limit=0", "?limit=1001", "?limit=x", "?after=x", "?sort=age", "?sort=queued&after=0.1", "?user=%zz"):
        status, _, body = http_request(daemon.admin, "GET", f"/v1/connections{query}")
        assert (status, json.loads(body)["name"]) == (400, "invalid_field"), query
    assert http_request(daemon.admin, "POST", "/v1/connections", b"{}", {"Content-Type": "application/json"})[0] == 405
    for client in clients:
        client.close()


def test_asking_stops_nobody(serve):
    """With 1,000 clients (with TICKERD_LONG=1: 10,000), while the longest queues of all are asked for without a pause, alerts come as before: none
    waits for 200 ms."""
    daemon = serve(reactors=1, max_connections=CLIENTS + 100)
    ends = threading.Event()
    with Crowd(daemon, CLIENTS), daemon.member("challenge:c1") as member:
        asked = []

        def ask():
            while not ends.is_set():
                asked.append(len(connections(daemon, "?sort=queued&limit=1000")["connections"]))

        asker = threading.Thread(target=ask)
        asker.start()
        took = []
        for _ in range(50):
            began = time.monotonic()
            daemon.publish(note("challenge:c1", "alert"))
            member.recv_type("note")
            took.append(time.monotonic() - began)
        wait_until(lambda: len(asked) >= 3, "lists come", PATIENCE_S)
        ends.set()
        asker.join()
    figures("connections", clients=CLIENTS, lists=len(asked), listed=asked[0], alert_ms_median=round(sorted(took)[25] * 1e3, 2), alert_ms_max=round(max(took) * 1e3, 2))
    assert asked[0] == 1000 and sorted(took)[45] < at_most_s(0.2)
