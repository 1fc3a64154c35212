"""Readers that are slow, stopped or gone: alerts first, the last value always, memory bounded, nobody else concerned."""

import json
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from harness import LONG, PATIENCE_S, equity, figures, mint, note, select_ready, wait_until
from wire import CLOSE, TEXT, RawClient

ROOM = "r:1"
# What the kernel of the daemon's side holds: SO_SNDBUF of 64 KiB, doubled by Linux for its own bookkeeping.
SEND_BUFFER_BYTES = 2 * 64 * 1024
STARTED_BYTES = 64 * 1024
PADDING = "x" * 300


def stalled(daemon, *rooms, receive_buffer_bytes=16 * 1024, token=None):
    """A member that has joined and from now on reads nothing; and what its kernel may hold for it."""
    client = RawClient(daemon.address, token or mint(rooms=["*"]), receive_buffer_bytes)
    client.subscribe(*rooms)
    return client, client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def padded(lane, mode, count):
    return [note(ROOM, lane, mode, data={"n": n, "p": PADDING}) for n in range(count)]


def publish_seen(daemon, witness, events):
    """Publishes, and waits until a member on the same reactor has got them all: then they are queued for the stalled one too."""
    for start in range(0, len(events), 2_000):
        chunk = events[start : start + 2_000]
        daemon.publish(*chunk)
        witness.texts(len(chunk), "note", PATIENCE_S)


def lane_of(payload):
    return json.loads(payload)["lane"]


def test_an_alert_overtakes_everything(serve):
    """DLV-01, DLV-02, promise 1: 10,000 metrics and 1,000 updates wait for a reader that pauses; the alert that comes last is read
    before any of them but for what the kernel held already (computed from the buffers' real sizes) and 64 KiB of started frames.
    All updates come before the metrics that are left."""
    daemon = serve(reactors=1, max_queue_bytes="64MiB", slow_timeout="5m")
    witness = RawClient(daemon.address, mint("witness", rooms=["*"]))
    witness.subscribe(ROOM)
    reader, receive_buffer_bytes = stalled(daemon, ROOM)
    publish_seen(daemon, witness, padded("metric", "transient", 10_000))
    publish_seen(daemon, witness, padded("update", "stream", 1_000))
    publish_seen(daemon, witness, padded("alert", "stream", 1))

    payloads = reader.texts(11_001, "note", PATIENCE_S)
    lanes = [lane_of(payload) for payload in payloads]
    alert_at = lanes.index("alert")
    before_alert_bytes = sum(len(payload) + 4 for payload in payloads[:alert_at])
    bound_bytes = receive_buffer_bytes + SEND_BUFFER_BYTES + STARTED_BYTES
    figures("priority", before_alert_bytes=before_alert_bytes, bound_bytes=bound_bytes, receive_buffer_bytes=receive_buffer_bytes)
    assert before_alert_bytes <= bound_bytes
    after = lanes[alert_at + 1 :]
    updates_end = len(after) - after[::-1].index("update")
    first_update = after.index("update")
    assert "metric" not in after[first_update:updates_end], "an update waited behind a metric"
    assert first_update * (len(PADDING) + 100) <= STARTED_BYTES, "metrics that had not been started went before an update"
    assert [lanes.count(lane) for lane in ("alert", "update", "metric")] == [1, 1_000, 10_000]
    for lane in ("update", "metric"):
        numbers = [json.loads(payload)["data"]["n"] for payload, is_lane in zip(payloads, lanes) if is_lane == lane]
        assert numbers == sorted(numbers), f"order within {lane}"


def test_many_alerts_keep_their_order_ahead_of_the_rest(serve, reactors):
    """DLV-01: alerts that are queued while lower lanes are backlogged leave together, in publish order."""
    daemon = serve(reactors=reactors, max_queue_bytes="64MiB")
    reader, receive_buffer_bytes = stalled(daemon, ROOM)
    daemon.publish(*padded("update", "stream", 2_000))
    daemon.publish(*padded("alert", "stream", 50))
    wait_until(lambda: daemon.metric("tickerd_link_used_slots", "reactor") == 0, "the alerts are queued for the reader")
    payloads = reader.texts(2_050, "note", PATIENCE_S)
    lanes = [lane_of(payload) for payload in payloads]
    first, last = lanes.index("alert"), len(lanes) - lanes[::-1].index("alert")
    assert sum(map(len, payloads[:first])) <= receive_buffer_bytes + SEND_BUFFER_BYTES + STARTED_BYTES
    assert lanes[first:last] == ["alert"] * 50
    assert [json.loads(payload)["seq"] for payload in payloads[first:last]] == list(range(1, 51))


def test_the_last_value_reaches_a_reader_of_10_kib_a_second(serve, reactors):
    """EVT-05, DLV-09, promises 4 and 5: 1,000 EQUITY_UPDATED a second (over 20 challenges) for 10 s (4 s unless TICKERD_LONG=1) to a
    reader of 10 KiB/s. It ends with the last value of each, byte for byte; what it did not get was conflated and counted; the
    daemon's memory does not grow with what was published."""
    daemon = serve(reactors=reactors)
    challenges = [f"c{i}" for i in range(20)]
    reader, _ = stalled(daemon, *(f"challenge:{name}" for name in challenges), receive_buffer_bytes=4096)
    before = daemon.rss_bytes()
    last = _publish_paced(daemon, reader, challenges, seconds=10 if LONG else 4)
    grown = daemon.rss_bytes() - before
    newest = {}
    while newest != last:
        opcode, payload = reader.next_frame()
        if opcode == TEXT and payload.startswith(b'{"type":"EQUITY_UPDATED"'):
            newest[json.loads(payload)["key"]] = payload.split(b',"data":', 1)[1][:-1].decode()
    conflated = daemon.metric("tickerd_conflated_total", "outbox")
    figures("last value", published=1 + max(json.loads(data)["n"] for data in last.values()), conflated_outbox=conflated, rss_growth_bytes=grown)
    assert conflated > 0
    assert grown <= 8 << 20


def _publish_paced(daemon, reader, challenges, seconds):
    """1,000 events a second, each due at its time, while the reader takes 10 KiB/s; the last raw data of each challenge."""
    reader.socket.setblocking(False)
    began, number, last, read_bytes = time.monotonic(), 0, {}, 0
    while number < seconds * 1000:
        due = int((time.monotonic() - began) * 1000)
        if due <= number:
            time.sleep(0.001)
            continue
        events = [equity(challenges[n % 20], n=n, padding=PADDING * 2) for n in range(number, min(due, number + 500))]
        daemon.publish(*events)
        number += len(events)
        last |= {event["data"]["challenge_id"]: json.dumps(event["data"]) for event in events}
        allowed = int((time.monotonic() - began) * 10 * 1024) - read_bytes
        if allowed > 0 and select_ready([reader.socket], [], 0)[0]:
            read_bytes += reader._more(allowed)
    reader.socket.settimeout(PATIENCE_S)
    return last


def test_publishers_do_not_wait_for_a_stalled_subscriber(serve, reactors):
    """ARC-03, promise 5: 20,000 events of 10 MB in all go past a member that reads nothing: each is answered, another member gets
    all of them, the stalled one costs a bounded queue and is closed as slow."""
    daemon = serve(reactors=reactors, max_queue_bytes="1MiB")
    sleeper, _ = stalled(daemon, ROOM)
    awake = RawClient(daemon.address, mint("awake", rooms=["*"]))
    awake.subscribe(ROOM)
    before = daemon.rss_bytes()
    events = [note(ROOM, "update", "stream", data={"n": n, "p": PADDING}) for n in range(20_000)]
    for start in range(0, len(events), 1_000):
        answers = daemon.publish(*events[start : start + 1_000])
        payloads = awake.texts(1_000, "note")
        assert [json.loads(payload)["seq"] for payload in payloads[::999]] == [answers[0]["seq"], answers[-1]["seq"]]
    wait_until(lambda: daemon.metric("tickerd_closed_total", "slow_consumer") >= 1, "the close is counted by its reason")
    assert daemon.rss_bytes() - before < 64 << 20
    assert sleeper.close_code() in (4103, None), "4103 if it still fits, then a reset"


def test_a_slow_consumer_is_told(serve):
    """DLV-20, promise 6: one that reads on learns why it is closed, and may resume."""
    daemon = serve(reactors=1, max_queue_bytes="256KiB")
    reader, _ = stalled(daemon, ROOM, receive_buffer_bytes=256 * 1024)
    daemon.publish(*padded("update", "stream", 5_000))
    wait_until(lambda: daemon.metric("tickerd_dropped_frames_total", "closed") > 0, "it is given up")
    seen = []
    while not seen or seen[-1][0] != CLOSE:
        seen.append(reader.next_frame())
    assert int.from_bytes(seen[-1][1][:2], "big") == 4103
    notice = json.loads(seen[-2][1])
    assert (notice["type"], notice["code"]) == ("disconnect", 4103)


def test_a_slow_reader_is_warned_and_loses_only_what_nobody_counts_on(serve, reactors):
    """DLV-20, promise 6: a sixth of --slow-timeout after the oldest frame came, transient metrics that wait are dropped and counted, and so
    are those that come; a warning is the first thing that is read after what the kernel held. All streams come, and nobody is closed
    who reads then; after that, metrics come again."""
    daemon = serve(reactors=reactors, slow_timeout="30s")
    reader, _ = stalled(daemon, ROOM)
    daemon.publish(*padded("update", "stream", 2_000))
    daemon.publish(*padded("metric", "transient", 1_000))
    wait_until(lambda: daemon.metric("tickerd_slow_consumers_warned_total") == 1, "it is warned", PATIENCE_S)
    dropped = daemon.metric("tickerd_dropped_frames_total", "slow_consumer")
    assert dropped == 1_000, "streams fill the kernel's buffer, and all metrics wait behind them"
    daemon.publish(*padded("metric", "transient", 100), *padded("update", "stream", 1))
    wait_until(lambda: daemon.metric("tickerd_dropped_frames_total", "slow_consumer") == 1_100, "those that come are dropped too")

    frames = reader.read_until(lambda _, payload: b'"seq":2001,' in payload, PATIENCE_S)
    texts = [json.loads(payload) for opcode, payload in frames if opcode == TEXT]
    events = [text for text in texts if text["type"] == "note"]
    assert [event.get("seq") for event in events] == list(range(1, 2_002))
    notice = next(text for text in texts if text["type"] == "slow_consumer")
    read_before = texts.index(notice)
    figures("warned", read_before=read_before, notice=notice)
    assert read_before * 400 < 3 * SEND_BUFFER_BYTES, "it does not wait for what waits for the reader"
    assert (notice["code"], notice["dropped"], notice["queued_bytes_max"]) == (4103, 1_000, 8 << 20)
    assert notice["queued_frames"] > 1_000 and notice["queued_bytes"] > 300_000 and 20_000 < notice["after_ms"] <= 25_000
    daemon.publish(*padded("metric", "transient", 1))
    assert lane_of(reader.texts(1, "note")[0]) == "metric"
    assert daemon.metric("tickerd_closed_total", "slow_consumer") == 0


def test_a_queue_that_is_half_full_is_warned_of_without_waiting(serve):
    """DLV-20."""
    daemon = serve(reactors=1, slow_timeout="10m", max_queue_bytes="1MiB")
    reader, _ = stalled(daemon, ROOM)
    daemon.publish(*padded("update", "stream", 1_800))
    wait_until(lambda: daemon.metric("tickerd_slow_consumers_warned_total") == 1, "it is warned")
    assert daemon.metric("tickerd_closed_total", "slow_consumer") == 0
    assert reader.texts(1, "slow_consumer")


def test_who_is_warned_and_reads_nothing_is_closed(serve):
    """DLV-20: when the oldest frame is as old as it may be."""
    daemon = serve(reactors=1, slow_timeout="2s")
    reader, _ = stalled(daemon, ROOM)
    began = time.monotonic()
    daemon.publish(*padded("update", "stream", 2_000))
    wait_until(lambda: daemon.metric("tickerd_closed_total", "slow_consumer") == 1, "it is closed")
    assert time.monotonic() - began >= 2
    assert daemon.metric("tickerd_slow_consumers_warned_total") == 1
    assert reader.close_code() in (4103, None)


def test_publishers_are_told_when_nobody_reads_before_anybody_is_closed(serve):
    """DESIGN 5, promise 6: three members who read nothing hold no publisher back, but its answers say `slow_down` when their queues are a
    quarter full, and not before. When they read again, it is over."""
    daemon = serve(reactors=1, max_queue_bytes="8MiB")
    readers = [stalled(daemon, ROOM)[0] for _ in range(3)]
    published, told = 0, False
    while not told:
        assert published < 20_000, "6 MB each wait for those who read nothing"
        answers = daemon.publish(*padded("update", "stream", 100))
        published += len(answers)
        told = any(answer.get("slow_down") for answer in answers)
        if published * 400 > 3 << 20:
            time.sleep(0.02)  # who reads and who does not is judged over a tenth of a second
    figures("slow_down", published=published)
    assert published * 400 > 2 << 20
    assert daemon.metric("tickerd_closed_total", "slow_consumer") == 0
    for reader in readers:
        reader.texts(published, "note", PATIENCE_S)
    wait_until(lambda: not daemon.publish(*padded("update", "transient", 1))[0].get("slow_down"), "nobody is told any more")


STOPPABLE_READER = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from wire import RawClient
    client = RawClient((sys.argv[2], int(sys.argv[3])), sys.argv[4])
    client.subscribe(sys.argv[5])
    print("joined", flush=True)
    while True:
        client.next_frame(600)
"""


def test_a_stopped_process_holds_up_nobody(daemon):
    """ARC-03, DLV-20, TST-04: a reader under SIGSTOP: publishers get their answers, other members their events."""
    arguments = [str(Path(__file__).parent), *map(str, daemon.address), mint("stops", rooms=["*"]), ROOM]
    reader = subprocess.Popen([sys.executable, "-c", textwrap.dedent(STOPPABLE_READER), *arguments], stdout=subprocess.PIPE)
    try:
        assert reader.stdout.readline() == b"joined\n"
        other = RawClient(daemon.address, mint("other", rooms=["*"]))
        other.subscribe(ROOM)
        reader.send_signal(signal.SIGSTOP)
        for _ in range(5):
            assert {answer["members"] for answer in daemon.publish(*padded("alert", "stream", 1_000))} == {2}
            other.texts(1_000, "note")
        reader.send_signal(signal.SIGCONT)
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


def test_one_alert_behind_many_publishes_is_not_late(daemon1):
    """Promise 1 at the ingest: an alert that another publisher sends amid 20,000 updates does not wait for them."""
    client = RawClient(daemon1.address, mint(rooms=["*"]))
    client.subscribe(ROOM)
    daemon1.publish(note(ROOM, "alert", data="connects the socket"))
    lines = [b'{"type":"note","room":"other:1","lane":"update","mode":"stream","data":%d}' % n for n in range(20_000)]
    flood = socket.socket(socket.AF_UNIX)
    flood.connect(daemon1.socket_path)
    flood.setblocking(False)
    out = memoryview(b"\n".join(lines) + b"\n")
    out = out[flood.send(out) :]  # as much as the socket takes; the rest never comes
    answers = daemon1.publish(note(ROOM, "alert", data="urgent"))
    assert answers[0]["members"] == 1
    assert [json.loads(payload)["data"] for payload in client.texts(2, "note")] == ["connects the socket", "urgent"]
    flood.close()
