"""Joins that bring more than a client's queue may hold: what a client asked for itself is no reason to close it."""

import pytest
from harness import PATIENCE_S, mint, note, wait_until
from streams import EventStream
from wire import RawClient, command

TOKEN = mint(rooms=["*"])
SMALL = {"reactors": 1, "max_queue_bytes": "128KiB", "history": 300, "history_bytes": "64MiB", "commands_per_client": 1000}


def fill(daemon, room, events=200, bytes_each=10_000, **more):
    """More than ten times as much as a queue holds."""
    for first in range(0, events, 50):
        daemon.publish(*[note(room, "update", data={"n": n, "pad": "x" * bytes_each}, **more) for n in range(first, min(events, first + 50))])


def numbers(frames):
    return [frame["data"]["n"] for frame in frames if "data" in frame and "n" in frame["data"]]


@pytest.mark.parametrize("data_dir", [False, True])
def test_a_replay_that_is_longer_than_the_queue_comes_whole(serve, tmp_path, data_dir):
    """DLV-14, DLV-20: from memory as from disk: in order, once, and what happens meanwhile comes behind it; nobody is closed with 4103 again and again."""
    daemon = serve(**SMALL, **({"data_dir": tmp_path / "data"} if data_dir else {}))
    fill(daemon, "r:1")
    with daemon.connect(TOKEN) as client:
        client.send(type="subscribe", id=1, room="r:1", history=300)
        daemon.publish(*[note("r:1", "update", data={"n": n}) for n in range(200, 210)])
        daemon.publish(note("r:1", "alert", data={"alert": True}))
        frames, seen = [], 0
        while seen < 210:
            frames.append(client.recv(PATIENCE_S))
            seen += len(numbers(frames[-1:]))
        assert numbers(frames) == list(range(210))
        assert [frame["seq"] for frame in frames if frame.get("lane") == "update"] == list(range(1, 211))
        assert "slow_consumer" not in [frame["type"] for frame in frames]
    assert daemon.metric("closed_total", "slow_consumer") == 0


def test_many_rooms_at_once_come_whole(serve):
    """LIM-07, DLV-14: twenty joins in one go, each with as much as the queue holds."""
    daemon = serve(**SMALL)
    for room in range(20):
        fill(daemon, f"r:{room}", events=15)
    with daemon.connect(TOKEN) as client:
        for room in range(20):
            client.send(type="subscribe", id=room, room=f"r:{room}", history=300)
        caught_up, came = set(), {}
        while len(caught_up) < 20:
            message = client.recv(PATIENCE_S)
            if message["type"] == "caught_up":
                caught_up.add(message["room"])
            elif "seq" in message and "data" in message:
                came.setdefault(message["room"], []).append(message["seq"])
        assert came == {f"r:{room}": list(range(1, 16)) for room in range(20)}
    wait_until(lambda: daemon.metric("tickerd_journal_replays") == 0, "nothing is left of it")


def test_states_of_a_large_room_come_whole(serve):
    """DLV-05, DLV-07: each key's newest value, though all of them are more than the queue holds; changes meanwhile are not undone."""
    daemon = serve(**SMALL, update_window="0s")
    for key in range(300):
        daemon.publish(note("r:1", mode="state", key=f"k{key}", data={"v": 0, "pad": "x" * 5_000}))
    with daemon.connect(TOKEN) as client:
        client.send(type="subscribe", id=1, room="r:1")
        daemon.publish(*[note("r:1", mode="state", key=f"k{key}", data={"v": 1}) for key in range(290, 300)])
        have, revs = {}, {}
        while have != {f"k{key}": int(key >= 290) for key in range(300)}:
            message = client.recv(PATIENCE_S)
            if "rev" in message:
                assert message["rev"] >= revs.get(message["key"], 0), "never back"
                have[message["key"]], revs[message["key"]] = message["data"]["v"], message["rev"]
    assert daemon.metric("closed_total", "slow_consumer") == 0


def test_a_stream_of_events_begins_whole(serve):
    """CLI-08, DLV-14: the same over server-sent events."""
    daemon = serve(**SMALL)
    fill(daemon, "r:1")
    with EventStream(daemon.address, "r:1", TOKEN, history=300) as events:
        assert numbers(events.opened()) == list(range(200))


def test_who_reads_nothing_is_closed_all_the_same(serve):
    """DLV-20, LIM-06: when its time is over, and with no more queued than a queue holds until then."""
    daemon = serve(**SMALL, slow_timeout="3s")
    fill(daemon, "r:1")
    client = RawClient(daemon.address, TOKEN, 16 * 1024)
    client.socket.sendall(command(type="subscribe", id=1, room="r:1", history=300))
    wait_until(lambda: daemon.metric("tickerd_queued_bytes") > 0, "it has a part")
    most = 0
    while not daemon.metric("closed_total", "slow_consumer"):
        most = max(most, daemon.metric("tickerd_queued_bytes"))
    assert most <= 128 << 10, most
    wait_until(lambda: daemon.metric("tickerd_journal_replays") == 0, "nothing is left of it")
