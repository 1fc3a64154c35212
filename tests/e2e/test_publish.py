"""What a publisher is told, over the unix socket and over a WebSocket: one answer for each line, in order."""

import json
import socket

import pytest
from harness import LONG, PATIENCE_S, Lines, equity, mint, note, risk_alert
from wire import RawClient, command


def test_the_answer_says_what_became_of_it(daemon1):
    """ARC-03, QTE-03, DESIGN's answer: result, room, lane, number, epoch, how safe, how many members."""
    daemon1.member("challenge:c1")
    stream, state, transient = daemon1.publish(risk_alert() | {"id": 7}, equity() | {"id": "a"}, note("r:1", "metric", "transient"))
    assert list(stream) == ["ok", "id", "result", "room", "lane", "seq", "epoch", "ack", "members"]
    assert (stream["id"], stream["result"], stream["lane"], stream["seq"], stream["ack"], stream["members"]) == (7, "accepted", "alert", 1, "memory", 1)
    assert (state["id"], state["lane"], state["rev"], state["room"]) == ("a", "update", 1, "challenge:c1")
    assert "seq" not in transient and "rev" not in transient and "id" not in transient and transient["members"] == 0


def test_event_id_makes_it_idempotent(daemon):
    """DLV-08: the same id twice in a room is delivered once; the answer gives the first one's number."""
    client = daemon.member("r:1")
    first, again, elsewhere = daemon.publish(note("r:1", event_id="e"), note("r:1", event_id="e", data=2), note("r:2", event_id="e"))
    assert [answer["result"] for answer in (first, again, elsewhere)] == ["accepted", "duplicate", "accepted"]
    assert first["seq"] == again["seq"]
    assert len(client.everything(daemon)) == 1


def test_a_stale_version_is_harmless(daemon1):
    """PRO-09, DLV-08: not newer is `stale` and not delivered; the same bytes are `unchanged`."""
    client = daemon1.member("challenge:c1")
    publishes = [equity(n=1) | {"version": 5}, equity(n=2) | {"version": 5}, equity(n=3) | {"version": 4}, equity(n=4) | {"version": 6}, equity(n=4)]
    answers = daemon1.publish(*publishes)
    assert [answer["result"] for answer in answers] == ["accepted", "stale", "stale", "accepted", "unchanged"]
    assert [message["data"]["n"] for message in client.everything(daemon1)] == [1, 4]


BAD_LINES = {
    "lane of the catalog": (risk_alert() | {"lane": "metric"}, "catalog_conflict"),
    "mode of the catalog": (risk_alert() | {"mode": "state"}, "catalog_conflict"),
    "unknown type without room": ({"type": "novel", "data": {}}, "unknown_event"),
    "unknown type without lane": ({"type": "novel", "room": "r:1", "data": {}}, "unknown_event"),
    "known type without its field": ({"type": "RISK_ALERT", "data": {}}, "invalid_field"),
    "no type": ({"room": "r:1", "lane": "alert", "data": {}}, "invalid_field"),
    "type is a number": (b'{"type":7,"data":{}}', "invalid_field"),
    "no data": ({"type": "note", "room": "r:1", "lane": "alert"}, "invalid_field"),
    "unknown lane": (note("r:1", "urgent"), "invalid_field"),
    "unknown mode": (note("r:1", mode="maybe"), "invalid_field"),
    "room with a space": (note("r 1"), "invalid_field"),
    "room of 201": (note("r" * 201), "invalid_field"),
    "room empty": (note(""), "invalid_field"),
    "room is a number": (note(7), "invalid_field"),
    "event_id as the daemon's own": (note("r:1", event_id="tickerd:FAILED"), "invalid_field"),
    "type with a quote": (note("r:1") | {"type": 'a"b'}, "invalid_field"),
    "key with a line feed": (note("r:1", mode="state", key="a\nb"), "invalid_field"),
    "event_id with a slash": (note("r:1", event_id="a/b"), "invalid_field"),
    "version negative": (note("r:1", mode="state", version=-1), "invalid_field"),
    "version is a text": (note("r:1", mode="state", version="1"), "invalid_field"),
    "duplicate in data": (b'{"type":"note","room":"r:1","lane":"alert","data":{"a":1,"a":2}}', "duplicate_key"),
    "duplicate by escape": (b'{"type":"note","room":"r:1","lane":"alert","data":{"a":1,"\\u0061":2}}', "duplicate_key"),
    "duplicate deep in data": (b'{"type":"note","room":"r:1","lane":"alert","data":[{"x":{"a":1,"a":1}}]}', "duplicate_key"),
    "duplicate in the envelope": (b'{"type":"note","room":"r:1","room":"r:2","lane":"alert","data":1}', "duplicate_key"),
    "too deep": (b'{"type":"note","room":"r:1","lane":"alert","data":' + b"[" * 40 + b"]" * 40 + b"}", "too_deep"),
    "NaN": (b'{"type":"note","room":"r:1","lane":"alert","data":{"a":NaN}}', "invalid_field"),
    "Infinity": (b'{"type":"note","room":"r:1","lane":"alert","data":-Infinity}', "invalid_field"),
    "beyond a double": (b'{"type":"note","room":"r:1","lane":"alert","data":1e999}', "invalid_field"),
    "lone surrogate": (b'{"type":"note","room":"r:1","lane":"alert","data":"\\ud800"}', "bad_json"),
    "not UTF-8": (b'{"type":"note","room":"r:1","lane":"alert","data":"\xff"}', "bad_json"),
    "control character": (b'{"type":"note","room":"r:1","lane":"alert","data":"a\tb"}', "bad_json"),
    "trailing comma": (b'{"type":"note","room":"r:1","lane":"alert","data":1,}', "bad_json"),
    "two objects": (b'{"type":"note","room":"r:1","lane":"alert","data":1} {}', "bad_json"),
    "an array": (b"[1]", "bad_json"),
    "no JSON": (b"hello", "bad_json"),
    "cut": (b'{"type":"note","room":"r:1","lane":"alert","data":{', "bad_json"),
    "too large": (note("r:1", "alert", data="x" * 70_000), "too_large"),
}
CODES = {
    "bad_json": (300, "protocol"),
    "invalid_field": (400, "validation"),
    "too_large": (401, "validation"),
    "catalog_conflict": (402, "validation"),
    "unknown_event": (404, "validation"),
    "duplicate_key": (405, "validation"),
    "too_deep": (406, "validation"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One daemon for all the lines that change nothing."""
    from harness import Daemon

    daemon = Daemon(tmp_path_factory.mktemp("shared") / "daemon", reactors=1)
    yield daemon
    daemon.end()


@pytest.mark.parametrize("name", BAD_LINES)
def test_refused_lines(shared, name):
    """ARC-11, LIM-05, ERR-01, ERR-03: refused with a stable code and a message; the lines around it are not concerned."""
    line, error = BAD_LINES[name]
    before, answer, after = shared.publish_unix(note("ok:1"), line, note("ok:1"))
    assert before["ok"] and after["ok"] and after["seq"] == before["seq"] + 1
    assert (answer["ok"], answer["name"], (answer["code"], answer["category"])) == (False, error, CODES[error]), answer
    assert len(answer["message"]) > 10


@pytest.mark.parametrize("name", ["lane of the catalog", "too deep", "duplicate in data", "no data"])
def test_a_refusal_has_the_id_of_its_line(shared, name):
    """PRO-06: whenever the `id` could be read; a line that is too long is skipped unread."""
    line, _ = BAD_LINES[name]
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    [answer] = shared.publish_unix(b'{"id":"mine",' + text[1:])
    assert (answer["ok"], answer["id"]) == (False, "mine")


@pytest.mark.parametrize("raw", ["123456789012345678901234", "-0.000", "1E400000", '"' + "é" * 30_000 + '"', "null", "[" * 30 + "]" * 30])
def test_what_is_valid_if_odd(shared, raw):
    """ARC-01, LIM-05: digits beyond 64 bits and everything else that is JSON passes; a number that no double holds does not."""
    [answer] = shared.publish_unix(f'{{"type":"note","room":"odd:1","lane":"alert","mode":"stream","data":{raw}}}'.encode())
    assert answer["ok"] is (raw != "1E400000"), answer


def test_empty_lines_are_skipped(shared):
    """A publisher's trailing line feed is no event."""
    lines = Lines(shared.socket_path)
    answers = lines.publish([b"", json.dumps(note("r:1")).encode(), b"", b"\r", json.dumps(note("r:1")).encode() + b"\r"], answers_expected=2)
    assert [answer["ok"] for answer in answers] == [True, True]
    lines.close()


def test_fifty_thousand_pipelined_lines(daemon):
    """DLV-17, DLV-21, PRO-06: 50,000 lines without waiting; every answer in request order, every number in order."""
    lines = [b'{"type":"note","id":%d,"room":"r:%d","lane":"update","mode":"stream","data":%d}' % (n, n % 7, n) for n in range(50_000)]
    answers = daemon.publish_unix(*lines, deadline_s=PATIENCE_S)
    assert [answer["id"] for answer in answers] == list(range(50_000))
    accepted = [answer for answer in answers if answer["ok"]]
    assert {answer["name"] for answer in answers if not answer["ok"]} <= {"queue_full"}, "the credit window holds a publisher back before that"
    seqs = {}
    for answer in accepted:
        assert answer["seq"] == seqs.get(answer["room"], 0) + 1
        seqs[answer["room"]] = answer["seq"]
    assert len(accepted) == 50_000


def test_a_publisher_that_does_not_read_its_answers_is_held_back(daemon1):
    """DLV-17, promise 5: it is not read from beyond its credit, and the memory stays; others are not concerned."""
    daemon1.publish(note("r:1"))
    before = daemon1.rss_bytes()
    flood = socket.socket(socket.AF_UNIX)
    flood.connect(daemon1.socket_path)
    flood.settimeout(0.5)
    line = json.dumps(note("r:1", data="x" * 200)).encode() + b"\n"
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 500 << 20:
            sent += flood.send(line * 200)
    assert daemon1.rss_bytes() - before < 64 << 20
    daemon1.publish(note("r:1"))
    flood.close()


def test_several_publishers_at_once(daemon):
    """DLV-12: each gets its own answers; the room's numbers are shared out without hole or double."""
    publishers = [Lines(daemon.socket_path) for _ in range(8)]
    seqs = []
    for round_number in range(20):
        for publisher in publishers:
            publisher.socket.setblocking(True)
            publisher.socket.sendall(json.dumps(note("r:1", id=round_number)).encode() + b"\n")
            publisher.socket.setblocking(False)
        for publisher in publishers:
            [answer] = publisher.publish([], answers_expected=1)
            assert answer["id"] == round_number
            seqs.append(answer["seq"])
    assert sorted(seqs) == list(range(1, 161))
    for publisher in publishers:
        publisher.close()


# ---- over a WebSocket ------------------------------------------------------------------------------------------------


def test_publishing_over_a_websocket(daemon):
    """AUT-11: with scope `publish` a message whose type is no verb is an event, answered like a line."""
    member = daemon.member("challenge:c1")
    client = daemon.connect(mint("backend", scope="publish"))
    for number in range(3):
        client.send(id=number, **risk_alert(n=number))
    answers = [client.recv() for _ in range(3)]
    assert [(answer["ok"], answer["id"], answer["seq"]) for answer in answers] == [(True, n, n + 1) for n in range(3)]
    assert [member.recv()["data"]["n"] for _ in range(3)] == [0, 1, 2]
    refused = client.request(**(risk_alert() | {"lane": "metric"}))
    assert (refused["ok"], refused["name"]) == (False, "catalog_conflict")
    assert client.request(type="ping")["type"] == "ok"


def test_without_the_scope_nothing_is_published(daemon):
    """ARC-02, ROM-04: `unknown_type` to the one who tried; no member gets anything."""
    member = daemon.member("challenge:c1", token=mint("u2", rooms=["*"]))
    client = daemon.connect(mint("u1", rooms=["*"]))
    assert client.refused(**risk_alert()) == "unknown_type"
    assert member.everything(daemon) == []


def test_publish_rooms_bind_a_publisher(daemon1):
    """AUT-11: `publish_rooms` says where; `system:*` needs scope `broadcast` (X14)."""
    client = daemon1.connect(mint("backend", scope="publish", publish_rooms=["challenge:*"]))
    assert client.request(**risk_alert("c1"))["ok"]
    assert client.request(**note("quote:1"))["name"] == "forbidden"
    plain, broadcaster = daemon1.connect(mint("b", scope="publish")), daemon1.connect(mint("b", scope="publish broadcast"))
    alert = {"type": "system_alert", "data": {"text": "maintenance"}}
    assert plain.request(**alert)["name"] == "forbidden"
    assert broadcaster.request(**alert)["ok"]


def test_a_websocket_publisher_is_answered_in_order(daemon1):
    """PRO-06, DLV-17: 5,000 events (50,000 with TICKERD_LONG=1) without waiting, refused ones among them."""
    count = 50_000 if LONG else 5_000
    with RawClient(daemon1.address, mint("backend", scope="publish")) as client:
        sent, answered = 0, []
        while len(answered) < count:
            while sent < count and sent - len(answered) < 1_000:
                batch = range(sent, min(sent + 100, count))
                client.send(b"".join(command(**note("r:1" if n % 10 else "not ok"), id=n) for n in batch))
                sent = batch[-1] + 1
            _, payload = client.next_frame()
            if payload.startswith(b'{"ok"'):
                answered.append(json.loads(payload))
    assert [answer["id"] for answer in answered] == list(range(count))
    assert [answer["id"] for answer in answered if not answer["ok"]] == list(range(0, count, 10))
