"""Events arrive where they belong, as they were published, and nowhere else."""

import asyncio
import json
import re

import samples
from harness import LONG, PATIENCE_S, equity, figures, line_of, mint, note, risk_alert
from wire import Swarm


def test_domain_payloads_arrive_byte_for_byte(daemon):
    """ARC-01, PRO-04, EVT-01, EVT-02, EVT-03, EVT-07, KAL-03 to KAL-07: the predecessors' messages, in the right room and lane."""
    clients = {room: daemon.member(room) for room in ("challenge:8f0c2f6e-1", "console:main")}
    for kind, raw, room, lane, key in samples.DOMAIN_EVENTS:
        [answer] = daemon.publish(samples.publish_line(kind, raw))
        assert (answer["result"], answer["room"], answer["lane"], answer["members"]) == ("accepted", room, lane, 1)
        message = clients[room].recv()
        assert (message["type"], message["room"], message["lane"], message.get("key")) == (kind, room, lane, key)
        assert message.raw_data == raw
        assert isinstance(message["ts"], int)
        assert message.get("seq", message.get("rev")) == answer.get("seq", answer.get("rev"))


def test_random_payloads_arrive_byte_for_byte(daemon1):
    """ARC-01: 10,000 random JSON texts (2,000 unless TICKERD_LONG=1)."""
    samples.check()
    count = 10_000 if LONG else 2_000
    raws = [samples.RandomJson(seed).text().strip() for seed in range(count)]
    client = daemon1.member("fuzz:1")
    lines = [f'{{"type":"note","room":"fuzz:1","lane":"update","mode":"stream","data":{raw}}}'.encode() for raw in raws]
    for start in range(0, count, 500):
        daemon1.publish(*lines[start : start + 500])
        for seed, raw in enumerate(raws[start : start + 500], start):
            assert client.recv().raw_data == raw, f"seed {seed}"


def test_line_breaks_between_tokens_become_spaces(daemon1):
    """ARC-01: the one exception to byte-identity, for the sake of line-based transports."""
    client = daemon1.member("r:1")
    body = '{"type":"note","room":"r:1","lane":"alert","mode":"stream",\r\n"data":{\r\n "a":\n[1,\r2],"s":"\\r\\n"}}'
    assert daemon1.publish_http(body.encode())[0] == 200
    assert client.recv().raw_data == '{   "a": [1, 2],"s":"\\r\\n"}'


def test_delivery_matrix_is_exact(daemon):
    """ROM-01, ROM-08, PRF-02, promise 3: 1,000 rooms × 1,000 connections, each in its own room, one of ten shared ones and one
    that all are in. Every frame that comes was expected, every frame expected comes, in publish order by room."""
    count = 1_000
    got = asyncio.run(_matrix(daemon, count))
    figures("delivery matrix", rooms=count + 11, clients=count, frames_expected=count * (1 + 5 + 2), frames_received=sum(map(len, got)))
    for number, texts in enumerate(got):
        rooms = {f"own:{number}": [number], f"shared:{number % 10}": list(range(5)), "all:1": [0, 1]}
        seen = {}
        for text in texts:
            message = json.loads(text)
            seen.setdefault(message["room"], []).append(message["data"]["n"])
        assert seen == rooms, f"connection {number}"


async def _matrix(daemon, count):
    got = {}

    def on_text(client, payload):
        texts = got.setdefault(client, [])
        if payload.startswith(b'{"type":"note"'):
            texts.append(payload)
        elif payload.startswith(b'{"type":"caught_up"'):
            client.caught_up = getattr(client, "caught_up", 0) + 1
        elif payload.startswith(b'{"type":"fence"'):
            client.fenced = True
        else:
            assert payload.startswith(b'{"type":"subscribed"'), payload

    tokens = [mint(f"u{i}", rooms=[f"own:{i}", "shared:*", "all:1"]) for i in range(count)]
    swarm = Swarm(on_text)
    clients = await swarm.connect(daemon.address, tokens)
    for i, client in enumerate(clients):
        for room in (f"own:{i}", f"shared:{i % 10}", "all:1"):
            client.send(type="subscribe", id=room, room=room)
    await swarm.until(lambda: all(getattr(client, "caught_up", 0) == 3 for client in clients), PATIENCE_S)
    events = [note(f"own:{i}", "alert", data={"n": i}) for i in range(count)]
    events += [note(f"shared:{i}", data={"n": n}) for n in range(5) for i in range(10)]
    events += [note("all:1", "alert", data={"n": n}) for n in range(2)]
    # The fence goes the slowest way, so that it comes last.
    fence = {"type": "fence", "room": "all:1", "lane": "metric", "mode": "transient", "data": 0}
    answers = await asyncio.to_thread(daemon.publish, *events, fence)
    assert {answer["members"] for answer in answers} == {1, count // 10, count}
    await swarm.until(lambda: all(getattr(client, "fenced", False) for client in clients), PATIENCE_S)
    swarm.abort()
    return [got[client] for client in clients]


def test_every_frame_has_a_type_and_a_time(daemon1):
    """PRO-01, PRO-02, ARC-10: one JSON object with `type`; events with an integer `ts` in milliseconds, streams with `seq`."""
    client = daemon1.member("challenge:c1")
    daemon1.publish(risk_alert(), equity(equity="1.00"), note("challenge:c1", "metric", "transient"))
    alert, state, transient = client.recv_many(3)
    assert all(re.fullmatch(r"1\d{12}", str(message["ts"])) for message in (alert, state, transient))
    assert (alert["seq"], "rev" in alert) == (1, False)
    assert (state["rev"], "seq" in state) == (1, False)
    assert "seq" not in transient and "rev" not in transient


def test_event_id_is_carried_and_order_is_publish_order(daemon):
    """DLV-01: among the stream events of a room and lane, publish order; TRP-02: a millisecond apart or less."""
    client = daemon.member("r:1")
    daemon.publish(*[note("r:1", data={"n": n}, event_id=f"e-{n}") for n in range(500)])
    messages = client.recv_many(500)
    assert [(m["seq"], m["event_id"], m["data"]["n"]) for m in messages] == [(n + 1, f"e-{n}", n) for n in range(500)]
    assert [m["ts"] for m in messages] == sorted(m["ts"] for m in messages)


def test_a_state_reaches_a_window_late_at_most_and_the_last_value_always(daemon1):
    """DLV-03, DLV-09, KAL-05: leading edge at once; then the newest value, never a value older than one seen."""
    client = daemon1.member("challenge:c1")
    daemon1.publish(*[equity(n=n) for n in range(100)])
    seen = [client.recv()]
    while seen[-1]["data"]["n"] != 99:
        seen.append(client.recv())
    assert seen[0]["data"]["n"] == 0, "the first goes at once"
    revs = [message["rev"] for message in seen]
    assert revs == sorted(set(revs)) and revs[-1] == 100
    assert len(seen) < 50, "values within a window are replaced by newer ones"
    assert client.everything(daemon1) == []


def test_metrics_are_gathered(serve):
    """DLV-03, KAL-04, with the windows as they are by default: states of a burst are one frame, the last; others all come."""
    daemon = serve(update_window=None, metric_gather=None, metric_flush=None)
    client = daemon.member("console:main")
    statuses = [{"type": "trader_status", "data": {"n": n}} for n in range(50)]
    daemon.publish(*statuses, *[note("console:main", "metric", data={"n": n}) for n in range(50)])
    got = {kind: [] for kind in ("trader_status", "note")}
    while len(got["note"]) < 50 or not got["trader_status"]:
        message = client.recv()
        got[message["type"]].append(message["data"]["n"])
    assert got == {"trader_status": [49], "note": list(range(50))}


def test_a_deleted_key_is_told(daemon1):
    """A state is deleted by `null`: members are told, newcomers do not get it."""
    client = daemon1.member("challenge:c1")
    daemon1.publish(equity(n=1))
    assert client.recv()["data"]["n"] == 1
    deletion = {"type": "EQUITY_UPDATED", "room": "challenge:c1", "key": "c1", "data": None}
    daemon1.publish(line_of(deletion))
    gone = client.recv()
    assert (gone["deleted"], gone["key"], gone["rev"], "data" in gone) == (True, "c1", 2, False)
    _, frames = daemon1.connect(mint("u2", rooms=["challenge:*"])).subscribe("challenge:c1")
    assert frames == []
