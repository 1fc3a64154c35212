"""A position is enough to get everything missed, or to be told what is not there any more."""

import asyncio
import json
import random

import pytest
from harness import LONG, PATIENCE_S, Pump, equity, figures, mint, note, risk_alert
from wire import SEQ, RawClient, Swarm, command

ROOM = "r:1"


def fill(daemon, count, lane="alert", room=ROOM):
    return daemon.publish(*[note(room, lane, data={"n": n}) for n in range(count)])


def seqs(frames, lane="alert"):
    return [frame["seq"] for frame in frames if frame.get("lane") == lane and "seq" in frame]


def since(subscribed, **seq):
    return {"epoch": subscribed["epoch"], "seq": seq}


def joined(daemon, **options):
    return daemon.connect(mint(rooms=["*"])).subscribe(ROOM, **options)


def test_a_position_is_given_even_for_a_silent_room(daemon1):
    """DLV-14: so that a client that hears nothing can resume as well."""
    subscribed, frames = joined(daemon1)
    assert frames == [] and subscribed["epoch"]
    assert subscribed["from"] == {"alert": 1, "update": 1, "metric": 1}
    assert subscribed["seq"] == {"alert": 0, "update": 0, "metric": 0}
    assert "recovered" not in subscribed


def test_from_the_head_nothing_is_missed(daemon1):
    """DLV-12."""
    fill(daemon1, 5)
    first, frames = joined(daemon1)
    assert frames == [] and first["from"]["alert"] == 6
    again, frames = joined(daemon1, since=since(first, alert=5, update=0))
    assert (again["recovered"], frames) == (True, [])


def test_exactly_what_was_missed_comes_and_then_the_live_ones(daemon):
    """DLV-12, DLV-14: in order, each once, then `caught_up`, then what is new."""
    first, _ = joined(daemon)
    fill(daemon, 20)
    client = daemon.connect(mint(rooms=["*"]))
    subscribed, frames = client.subscribe(ROOM, since=since(first, alert=7))
    assert subscribed["recovered"] is True and subscribed["from"]["alert"] == 8 and subscribed["seq"]["alert"] == 20
    assert seqs(frames) == list(range(8, 21))
    assert [frame["data"]["n"] for frame in frames] == list(range(7, 20))
    fill(daemon, 1)
    assert client.recv()["seq"] == 21


def test_what_is_not_kept_any_more_is_a_gap(serve):
    """DLV-13: one `gap` that names the hole exactly, then everything that is kept."""
    daemon = serve(reactors=1, history=5)
    first, _ = joined(daemon)
    fill(daemon, 20)
    subscribed, frames = joined(daemon, since=since(first, alert=3))
    assert subscribed["recovered"] is False
    gap = frames[0]
    assert (gap["type"], gap["room"], gap["lane"], gap["epoch"], gap["from"], gap["to"]) == ("gap", ROOM, "alert", first["epoch"], 4, 15)
    assert seqs(frames[1:]) == list(range(16, 21))


def test_resume_is_per_lane(serve):
    """One lane complete, another with a gap: each says so for itself."""
    daemon = serve(reactors=1, history=5)
    first, _ = joined(daemon)
    fill(daemon, 3, "alert")
    fill(daemon, 20, "update")
    subscribed, frames = joined(daemon, since=since(first, alert=0, update=0))
    assert subscribed["recovered"] is False
    assert [frame["lane"] for frame in frames if frame["type"] == "gap"] == ["update"]
    assert seqs(frames, "alert") == [1, 2, 3] and seqs(frames, "update") == [16, 17, 18, 19, 20]


def test_a_position_beyond_the_end_is_rewound(daemon1):
    """A client that saw what never became true is told the end, and forgets what it holds above."""
    first, _ = joined(daemon1)
    fill(daemon1, 5)
    subscribed, frames = joined(daemon1, since=since(first, alert=9))
    assert subscribed["rewound"] == {"alert": 5}
    assert seqs(frames) == []


def test_another_epoch_is_a_gap(daemon1):
    """Numbers of another history compare with nothing: everything kept comes, and the hole has no known end."""
    fill(daemon1, 5)
    subscribed, frames = joined(daemon1, since={"epoch": "elsewhere", "seq": {"alert": 3}})
    assert subscribed["recovered"] is False
    assert (frames[0]["type"], frames[0]["from"], frames[0]["to"]) == ("gap", 4, None)
    assert seqs(frames[1:]) == [1, 2, 3, 4, 5]


def test_every_start_opens_a_new_epoch(serve):
    """Without a journal nothing is left of the former one."""
    epochs = {joined(serve(reactors=1))[0]["epoch"] for _ in range(3)}
    assert len(epochs) == 3


@pytest.mark.parametrize(
    "position",
    [7, "x", {}, {"epoch": "e"}, {"epoch": 7, "seq": {}}, {"epoch": "e", "seq": [1]}, {"epoch": "e", "seq": {"alert": -1}}, {"epoch": "e", "seq": {"alert": "1"}}],
)
def test_a_position_that_is_none(daemon1, position):
    """LIM-05: refused with the field's name, not guessed at."""
    client = daemon1.connect(mint(rooms=["*"]))
    error = client.request(type="subscribe", room=ROOM, since=position)
    assert (error["type"], error["name"]) == ("error", "invalid_field") and "since" in error["message"]


def test_late_joiners_of_the_console_get_its_last_twenty(daemon1):
    """KAL-02: `system_activity`, oldest first, before anything live."""
    daemon1.publish(*[{"type": "system_activity", "data": {"n": n}} for n in range(30)])
    client = daemon1.connect(mint(rooms=["console:*"]))
    subscribed, frames = client.subscribe("console:main")
    assert [frame["data"]["n"] for frame in frames] == list(range(10, 30))
    assert subscribed["from"]["update"] == 11


def test_history_on_demand(daemon1):
    """DLV-15: the last N of each lane; more than there is means all there is."""
    fill(daemon1, 10, "alert")
    fill(daemon1, 2, "update")
    for wanted, alerts, updates in ((3, [8, 9, 10], [1, 2]), (0, [], []), (1000, list(range(1, 11)), [1, 2])):
        subscribed, frames = joined(daemon1, history=wanted)
        assert (seqs(frames, "alert"), seqs(frames, "update")) == (alerts, updates)
        assert subscribed["from"]["alert"] == (alerts or [11])[0]


def test_the_newest_state_of_each_key_comes_with_a_join(daemon1):
    """KAL-06, DLV-14: one full state a key, then `caught_up`; alerts of the past do not come unasked."""
    daemon1.publish(*[note(ROOM, mode="state", key=key, data={"n": n}) for n in range(3) for key in ("a", "b")], note(ROOM, "alert"))
    watcher = daemon1.connect(mint(rooms=["*"]))
    watcher.subscribe(ROOM)
    watcher.everything(daemon1)  # the windows have closed
    _, frames = joined(daemon1)
    assert sorted((frame["key"], frame["rev"], frame["data"]["n"]) for frame in frames) == [("a", 3, 2), ("b", 3, 2)]


def test_snapshot(daemon1):
    """KAL-17, EVT-08: `ok`, the states, `caught_up`; only for members."""
    client = daemon1.connect(mint(rooms=["*"]))
    assert client.refused(type="snapshot", room="challenge:c1") == "not_member"
    client.subscribe("challenge:c1")
    daemon1.publish(equity(n=1), risk_alert())
    client.recv_many(2)
    assert client.request(type="snapshot", room="challenge:c1")["type"] == "ok"
    assert [(frame["type"], frame["data"]["n"]) for frame in client.until_caught_up("challenge:c1")] == [("EQUITY_UPDATED", 1)]


def test_subscribing_again_is_leave_and_join_at_once(daemon):
    """From the second `subscribed` on, the sequence is whole: nothing of the first membership follows it."""
    client = daemon.connect(mint(rooms=["*"]))
    first, _ = client.subscribe(ROOM)
    for round_number in range(1, 6):  # 250 of the 256 that are kept
        fill(daemon, 50)
        client.send(type="subscribe", id=f"again-{round_number}", room=ROOM, since=since(first, alert=0))
        while client.recv().get("id") != f"again-{round_number}":
            pass
        assert seqs(client.until_caught_up(ROOM)) == list(range(1, 50 * round_number + 1))
    assert client.everything(daemon) == []
    assert daemon.publish(note(ROOM))[0]["members"] == 1


# ---- under load ------------------------------------------------------------------------------------------------------


class Position:
    """What a client knows of one stream, and whether the server keeps its word about it."""

    def __init__(self):
        self.epoch, self.seq, self.gaps, self.missed = None, None, 0, 0

    def take(self, payload):
        """Checks one message against the position and moves it."""
        if payload.startswith(b'{"type":"note"'):
            seq = int(SEQ.search(payload).group(1))
            assert seq == self.seq + 1, f"after {self.seq} came {seq} without a gap"
            assert payload.endswith(b'"data":{"n": %d}}' % seq), payload
            self.seq = seq
        elif payload.startswith(b'{"type":"gap"'):
            gap = json.loads(payload)
            assert gap["from"] == self.seq + 1 and gap["to"] >= gap["from"], (self.seq, gap)
            self.missed += gap["to"] - self.seq
            self.seq, self.gaps = gap["to"], self.gaps + 1
        elif payload.startswith(b'{"type":"subscribed"'):
            self._subscribed(json.loads(payload))

    def _subscribed(self, message):
        assert self.epoch in (None, message["epoch"]) and "rewound" not in message
        if self.seq is None:
            self.seq = message["from"]["alert"] - 1
        assert message["from"]["alert"] == self.seq + 1 or message["recovered"] is False, message
        self.epoch = message["epoch"]

    def command(self):
        resume = {} if self.epoch is None else {"since": {"epoch": self.epoch, "seq": {"alert": self.seq}}}
        return {"type": "subscribe", "id": 1, "room": ROOM} | resume


@pytest.mark.parametrize(("history", "kept"), [(100_000, True), (256, False)], ids=["kept", "short-ring"])
def test_resume_from_memory_after_200_kills(serve, reactors, history, kept):
    """DLV-12, DLV-14, ERR-07: a client dies at 200 random moments while 2,000 events a second come in. With a ring that is long
    enough it gets every event once; with a short one, some pauses outlast it, and then the hole is named exactly."""
    daemon = serve(reactors=reactors, history=history)
    pump, position, dice = Pump(daemon, 2_000, 10_000_000, ROOM, "alert", "stream"), Position(), random.Random(7)
    token = mint(rooms=["*"])
    for kill in range(200):
        with RawClient(daemon.address, token) as client:
            client.send(command(**position.command()))
            for _ in range(dice.randint(1, 60)):
                position.take(client.next_frame()[1])
            client.kill()
        if kill % 10 == 0:
            _pause_until(daemon, 400)
    answered = pump.stop()
    with RawClient(daemon.address, token) as client:
        client.send(command(**position.command()))
        while position.seq < answered["last"]["seq"]:
            position.take(client.next_frame()[1])
    figures("resume", kills=200, events=answered["sent"], seconds=round(answered["seconds"], 1), gaps=position.gaps, missed=position.missed)
    assert answered["refused"] == 0 and position.seq == answered["sent"]
    assert (position.gaps == 0) if kept else (position.gaps > 0)


def _pause_until(daemon, events):
    """Stays away until the head has moved by so many events: longer than a ring of 256 remembers."""
    with RawClient(daemon.address, mint("watcher", rooms=["*"])) as watcher:
        watcher.send(command(type="subscribe", id=1, room=ROOM))
        watcher.texts(events, "note")


def test_joins_under_load_have_no_seam(serve, reactors):
    """DLV-15: 10,000 joins (2,000 unless TICKERD_LONG=1) at 5,000 publishes a second, by several connections, from a position, with
    history or without: from `from` on no hole and no duplicate."""
    daemon = serve(reactors=reactors, history=100_000, commands_per_client=0)
    pump = Pump(daemon, 5_000, 10_000_000, ROOM, "alert", "stream")
    joins = asyncio.run(_join_storm(daemon, 10_000 if LONG else 2_000))
    answered = pump.stop()
    publishes_per_s = round(answered["sent"] / answered["seconds"])
    figures("joins under load", **joins, publishes=answered["sent"], publishes_per_s=publishes_per_s)
    assert answered["refused"] == 0
    assert joins["plain"] and joins["since"] and joins["history"]


async def _join_storm(daemon, joins_wanted, connections=4):
    counts = {"plain": 0, "since": 0, "history": 0}
    dice = random.Random(11)

    def on_text(client, payload):
        if payload.startswith(b'{"type":"note"'):
            seq = int(SEQ.search(payload).group(1))
            if not client.waiting:
                assert seq == client.next, f"{seq} instead of {client.next}"
                client.next += 1
                client.left -= 1
        elif payload.startswith(b'{"type":"subscribed"'):
            _begin(client, json.loads(payload))
        else:
            assert payload.startswith(b'{"type":"caught_up"'), payload
        if not client.waiting and client.left <= 0:
            _join(client, dice, counts)

    swarm = Swarm(on_text)
    for client in await swarm.connect(daemon.address, [mint(rooms=["*"]) for _ in range(connections)]):
        client.next = client.epoch = None
        _join(client, dice, counts)
    await swarm.until(lambda: sum(counts.values()) >= joins_wanted, PATIENCE_S * 2)
    swarm.abort()
    return counts


def _join(client, dice, counts):
    """(Re)joins in one of three ways; frames of the former membership do not count from here on."""
    way = dice.choice(list(counts)) if client.epoch else "plain"
    options = {}
    if way == "since":
        options["since"] = {"epoch": client.epoch, "seq": {"alert": client.next - 1}}
    elif way == "history":
        options["history"] = dice.randint(0, 30)
    counts[way] += 1
    client.way, client.waiting, client.left = way, True, dice.randint(1, 20)
    client.send(type="subscribe", id=1, room=ROOM, **options)


def _begin(client, subscribed):
    start = subscribed["from"]["alert"]
    if client.way == "since":
        assert start == client.next and subscribed["recovered"] is True, (client.next, subscribed)
    client.next, client.epoch, client.waiting = start, subscribed["epoch"], False
