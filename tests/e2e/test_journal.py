"""Nothing that was acknowledged as durable is lost: the real daemon is killed, its disk fills, its files are damaged."""

import json
import os
import random
import sqlite3
import subprocess
import threading
import time

import pytest
from harness import LONG, Daemon, Lines, equity, figures, line_of, mint, note, risk_alert, wait_until
from websockets.exceptions import ConnectionClosed, InvalidHandshake

ROOM = "r:1"


@pytest.fixture
def house(tmp_path):
    """Starts daemons on one data directory, one after the other."""
    house = House(tmp_path)
    yield house
    house.end()


class House:
    """A data directory, and the daemon that has it."""

    def __init__(self, path):
        self.data = path / "data"
        self._path = path
        self._starts = 0
        self.daemon = None

    def start(self, **flags):
        self._starts += 1
        self.daemon = Daemon(self._path / str(self._starts), data_dir=self.data, **({"reactors": 1} | flags))
        return self.daemon

    def kill(self):
        """kill -9."""
        self.daemon.process.kill()
        self.daemon.process.wait()

    def restart(self, **flags):
        self.kill()
        return self.start(**flags)

    def end(self):
        if self.daemon and self.daemon.process.poll() is None:
            self.daemon.end()

    def log(self):
        return [json.loads(line) for line in self.daemon.stderr().splitlines()]

    def segments(self):
        return sorted((self.data / "journal").glob("*.log"))


def fill(daemon, first, count, lane="alert", **envelope):
    lines = [note(ROOM, lane, data={"n": n}, event_id=f"e{n}", **envelope) for n in range(first, first + count)]
    return daemon.publish_unix(*lines)


def joined(daemon, **options):
    return daemon.connect(mint(rooms=["*"])).subscribe(ROOM, **options)


def numbers(frames):
    return [frame["data"]["n"] for frame in frames if frame["type"] == "note"]


def test_what_is_durable_says_so_and_the_rest_does_not(house):
    """DLV-12: `stream` events wait for the disk; states, transient events, and those who do not want to wait, do not."""
    daemon = house.start()
    answers = daemon.publish(
        risk_alert(n=1),
        risk_alert(n=2) | {"ack": "memory"},
        risk_alert(n=3) | {"ack": "durable"},
        equity(equity=1),
        note(ROOM, mode="transient"),
    )
    assert [answer["ack"] for answer in answers] == ["durable", "memory", "durable", "memory", "memory"]
    assert daemon.publish_unix(risk_alert() | {"ack": "soon"})[0]["name"] == "invalid_field"


def test_everything_survives_a_kill(house):
    """DLV-12, DLV-14, ERR-05: heads, epochs' ends, events, states with their versions, owners, event ids."""
    daemon = house.start()
    fill(daemon, 0, 10)
    fill(daemon, 10, 3, "update")
    daemon.publish(equity(equity=1) | {"version": 5}, equity(equity=2) | {"version": 6})
    first, frames = joined(daemon, history=100)
    assert numbers(frames) == [*range(10), *range(10, 13)]
    time.sleep(1.5)  # states are given to the disk a second after they changed
    daemon = house.restart()
    again, frames = joined(daemon, since={"epoch": first["epoch"], "seq": {"alert": 7, "update": 3, "metric": 0}})
    assert again["epoch"] != first["epoch"] and again["recovered"] is True and "rewound" not in again
    assert again["from"] == {"alert": 8, "update": 4, "metric": 1} and again["seq"]["alert"] == 10
    assert numbers(frames) == [7, 8, 9]
    retry = fill(daemon, 9, 1)[0]
    assert (retry["result"], retry["seq"], retry["ack"]) == ("duplicate", 10, "durable")
    assert fill(daemon, 20, 1)[0]["seq"] == 11
    assert daemon.publish(equity(equity=1) | {"version": 6})[0]["result"] == "stale"
    _, frames = daemon.connect(mint("u1")).subscribe("challenge:c1")
    assert [frame["data"]["equity"] for frame in frames] == [2]
    other = daemon.connect(mint("u2")).request(type="subscribe", room="challenge:c1")
    assert other["name"] == "access_denied"


def test_a_clean_stop_keeps_what_is_a_moment_old(house):
    """States are written on the way out."""
    house.start().publish(equity(equity=7))
    house.end()
    _, frames = house.start().connect(mint("u1")).subscribe("challenge:c1")
    assert [frame["data"]["equity"] for frame in frames] == [7]


def test_replay_comes_from_the_disk_in_order_while_alerts_go_on(house):
    """Memory keeps five events; the disk has them all. Alerts live meanwhile, each once."""
    daemon = house.start(history=5)
    count = 20_000
    for first in range(0, count, 1000):
        fill(daemon, first, 1000, "update")
    client = daemon.connect(mint(rooms=["*"]))
    client.send(type="subscribe", room=ROOM, history=1_000_000)
    fill(daemon, count, 3, "alert")
    fill(daemon, count + 3, 3, "update")
    updates, alerts, caught_up_at = [], [], None
    while caught_up_at is None or len(updates) < count + 3:
        frame = client.recv()
        if frame["type"] == "caught_up":
            caught_up_at = len(updates)
        elif frame.get("lane") == "alert" and frame["type"] == "note":
            alerts.append((frame["seq"], len(updates)))
        elif frame["type"] == "note":
            updates.append(frame["seq"])
    assert updates == list(range(1, count + 4))
    assert [seq for seq, _ in alerts] == [1, 2, 3]
    figures("an alert beside a replay", came_after_updates=alerts[0][1], of=count)


def test_the_journal_forgets_what_is_too_much_and_says_so(house):
    """Retention by size: what is gone is a `gap`, and heads go on."""
    daemon = house.start(history=5, journal_bytes="20MiB")
    data = {"pad": "x" * 60_000}
    for _ in range(16):
        daemon.publish(*[note(ROOM, "alert", data=data) for _ in range(50)])
    wait_until(lambda: sum(path.stat().st_size for path in house.segments()) < 20 << 20, "old segments go")
    daemon = house.restart(history=5, journal_bytes="20MiB")
    subscribed, frames = joined(daemon, since={"epoch": "nobody-knows", "seq": {"alert": 3}})
    assert subscribed["recovered"] is False and frames[0]["type"] == "gap"
    seqs = [frame["seq"] for frame in frames if frame["type"] == "note"]
    assert seqs == list(range(subscribed["from"]["alert"], 801)) and seqs[0] > 400
    assert fill(daemon, 0, 1)[0]["seq"] == 801


# ---- kill -9 -------------------------------------------------------------------------------------------------------


class Backend(threading.Thread):
    """Publishes events one after the other, each with an id, and again until it is told that it is durable."""

    def __init__(self, house, number):
        super().__init__(daemon=True)
        self.house, self.number, self.acknowledged, self.stopped = house, number, [], False

    def run(self):
        n = 0
        batch = []
        while not self.stopped or batch:
            while len(batch) < 20 and not self.stopped:
                lane = random.choice(["alert", "update"])
                batch.append(note(ROOM, lane, data={"id": f"{self.number}-{n}"}, event_id=f"{self.number}-{n}"))
                n += 1
            try:
                lines = Lines(self.house.daemon.socket_path)
                answers = lines.publish([line_of(event) for event in batch])
                lines.close()
            except (OSError, ValueError, EOFError, AssertionError):
                time.sleep(0.01)  # it was killed, and is not back yet
                continue
            done = {event["event_id"] for event, answer in zip(batch, answers) if answer["ok"] and answer["ack"] == "durable"}
            self.acknowledged += done
            batch = [event for event in batch if event["event_id"] not in done]
            time.sleep(0.005)


class Reader:
    """A client that keeps its position, resumes, and checks what it is given."""

    def __init__(self):
        self.events = {"alert": {}, "update": {}}
        self.position, self.epoch = {}, None
        self.rewound = 0

    def read(self, daemon, until):
        """Reads until the daemon is gone, or `until()`."""
        try:
            client = daemon.connect(mint(rooms=["*"]))
            since = {"epoch": self.epoch, "seq": self.position} if self.epoch else None
            client.send(type="subscribe", room=ROOM, **({"since": since} if since else {"history": 1_000_000}))
            while not until():
                self.take(client.recv())
        except (OSError, EOFError, ConnectionClosed, InvalidHandshake):
            # In whatever moment of ours it was killed; nothing else ends a connection.
            wait_until(lambda: daemon.process.poll() is not None, "the daemon is gone")

    def take(self, frame):
        if frame["type"] == "subscribed":
            self.epoch = frame["epoch"]
            for lane, end in frame.get("rewound", {}).items():
                self.rewound += 1
                self.events[lane] = {seq: id for seq, id in self.events[lane].items() if seq <= end}
            for lane in self.events:
                self.position[lane] = frame["from"][lane] - 1
        elif frame["type"] == "gap":
            raise AssertionError(f"nothing was let go, and there is a gap: {frame}")
        elif frame["type"] == "note":
            lane, seq = frame["lane"], frame["seq"]
            assert seq == self.position[lane] + 1, (frame, self.position)
            assert seq not in self.events[lane]
            self.events[lane][seq] = frame["event_id"]
            self.position[lane] = seq

    def ids(self):
        return [id for events in self.events.values() for id in events.values()]


def test_kill_9_loses_nothing_that_was_acknowledged(house):
    """DLV-12, promise 2: at random moments, with publishers and clients at work. Whatever was acknowledged as durable, a client that resumes has
    once, by its id. Memory keeps so little that what is missed comes from the disk."""
    kills = 200 if LONG else 50
    daemon = house.start(history=50)
    backends = [Backend(house, number) for number in range(2)]
    readers = [Reader() for _ in range(3)]
    for backend in backends:
        backend.start()
    ready_ms = []
    for _ in range(kills):
        dies = threading.Thread(target=lambda: (time.sleep(random.uniform(0.02, 0.25)), house.kill()))
        dies.start()
        # One of them reads at a time; the others are away.
        random.choice(readers).read(daemon, lambda: False)
        dies.join()
        began = time.monotonic()
        daemon = house.start(history=50)
        ready_ms.append(round(1000 * (time.monotonic() - began)))
    for backend in backends:
        backend.stopped = True
    for backend in backends:
        backend.join(30)
        assert not backend.is_alive()
    acknowledged = {id for backend in backends for id in backend.acknowledged}
    for reader in readers:
        reader.read(daemon, lambda reader=reader: acknowledged <= set(reader.ids()))
        ids = reader.ids()
        assert not acknowledged - set(ids), f"{len(acknowledged - set(ids))} of {len(acknowledged)} are lost"
        assert len(ids) == len(set(ids)), "an event came twice"
    figures(
        "kill -9",
        kills=kills,
        acknowledged=len(acknowledged),
        rewound=sum(reader.rewound for reader in readers),
        ready_ms_max=max(ready_ms),
    )


# ---- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_damaged_files_are_told_and_cost_what_they_hit(house, seed):
    """Cut off or a bit flipped at a random place, in events or in states: it starts, says so, and clients know by `gap` or by epoch."""
    chance = random.Random(seed)
    daemon = house.start()
    fill(daemon, 0, 500)
    daemon.publish(*[equity(challenge=f"c{n}", equity=n) for n in range(50)])
    first, _ = joined(daemon)
    house.end()
    path = house.segments()[0]
    content = bytearray(path.read_bytes())
    at = chance.randrange(len(content) // 4, len(content) - 20)
    if seed % 2:
        content[at] ^= 1 << chance.randrange(8)
    else:
        del content[at:]
    path.write_bytes(content)
    daemon = house.start()
    told = [line for line in house.log() if line.get("event") == "journal_damaged"]
    assert len(told) == 1 and "bytes" in told[0]["dropped"], house.log()
    subscribed, frames = joined(daemon, since={"epoch": first["epoch"], "seq": {"alert": 0, "update": 0, "metric": 0}})
    got = [(frame["seq"], frame["data"]["n"]) for frame in frames if frame["type"] == "note"]
    assert all(seq == n + 1 for seq, n in got)
    if seed % 2:
        gaps = [(frame["from"], frame["to"]) for frame in frames if frame["type"] == "gap"]
        missing = sorted(set(range(1, 501)) - {seq for seq, _ in got})
        assert len(missing) == 1 and (gaps == [(missing[0], missing[0])] or missing[0] == 500)
    else:
        assert [seq for seq, _ in got] == list(range(1, len(got) + 1)) and subscribed["seq"]["alert"] == len(got)
        # One who had them all is told where that history ends.
        subscribed, _ = joined(daemon, since={"epoch": first["epoch"], "seq": {"alert": 500}})
        assert subscribed["rewound"] == {"alert": len(got)}


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_journal_that_somebody_emptied_is_told_of(house, is_removed):
    """DLV-13: the operator hears of it, and clients by `gap` or epoch; a directory that is new is nothing to tell of."""
    daemon = house.start()
    assert not [line for line in house.log() if line.get("event") == "journal_damaged"]
    fill(daemon, 0, 5)
    daemon.publish(equity(equity=1))
    first, _ = joined(daemon)
    house.end()
    for path in house.segments():
        path.unlink() if is_removed else path.write_bytes(b"")
    daemon = house.start()
    told = [line for line in house.log() if line.get("event") == "journal_damaged"]
    assert [line["dropped"] for line in told] == ["all events"]
    subscribed, _ = joined(daemon, since={"epoch": first["epoch"], "seq": {"alert": 2}})
    assert subscribed["recovered"] is False


def test_damaged_tables_are_set_aside(house):
    """States come again with the next updates; events are not touched by it."""
    daemon = house.start()
    fill(daemon, 0, 5)
    daemon.publish(equity(equity=1))
    house.end()
    database = house.data / "state.db"
    assert sqlite3.connect(f"file:{database}?mode=ro", uri=True).execute("SELECT room, type, data FROM states").fetchall() == [
        ("challenge:c1", "EQUITY_UPDATED", '{"challenge_id": "c1", "user_id": "u1", "equity": 1}')
    ]
    database.write_bytes(os.urandom(20_000))
    daemon = house.start()
    assert [line["event"] for line in house.log() if line["level"] == "WARN"] == ["tables_lost"]
    assert (house.data / "state.db.damaged-1").exists()
    assert numbers(joined(daemon, history=10)[1]) == list(range(5))
    assert daemon.publish(equity(equity=1))[0]["result"] == "accepted"


def test_a_full_disk_refuses_what_it_cannot_keep_and_pushes_on(house, tmp_path):
    """DLV-16: on a file system of 1 MiB. Refused and told; what is content with memory goes on; and all is well when there is room again."""
    house.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", house.data], check=True)
    try:
        daemon = house.start()
        assert fill(daemon, 0, 1)[0]["ack"] == "durable"
        ballast = house.data / "ballast"
        file = os.open(ballast, os.O_CREAT | os.O_WRONLY)
        with pytest.raises(OSError, match="No space"):
            while True:
                os.write(file, b"x" * 4096)
        os.close(file)
        client = daemon.connect(mint(rooms=["*"]))
        client.subscribe(ROOM)
        # The first one finds out, unless it found a last free block.
        for n in range(1, 60):
            refused = fill(daemon, n, 1)[0]
            assert client.recv()["data"]["n"] == n, "the push waits for no disk"
            if not refused["ok"]:
                break
        assert (refused["name"], refused["retry_after_ms"]) == ("journal_unavailable", 1000)
        again = fill(daemon, 100, 1)[0]
        assert again["name"] == "journal_unavailable" and "memory" in again["message"]
        memory = fill(daemon, 101, 1, ack="memory")[0]
        assert (memory["result"], memory["ack"]) == ("accepted", "memory")
        assert client.recv()["data"]["n"] == 101
        wait_until(lambda: daemon.metrics()["tickerd_journal_failing"] == 1, "the gauge says so")
        ballast.unlink()
        retried = wait_until(lambda: next((a for a in fill(daemon, n, 1) if a["ok"]), None), "the disk is written again")
        assert (retried["result"], retried["ack"]) == ("duplicate", "durable")
        wait_until(lambda: daemon.metrics()["tickerd_journal_failing"] == 0, "the gauge says so")
        daemon = house.restart()
        _, frames = joined(daemon, history=1000)
        assert numbers(frames) == [*range(n + 1), 101]
        house.end()
    finally:
        house.end()
        subprocess.run(["umount", "-l", house.data], check=True)


def test_a_directory_that_cannot_be_written_is_an_error_at_the_start(house, tmp_path):
    """What, where, what to do."""
    house.data.mkdir()
    (house.data / "journal").write_text("a file")
    with pytest.raises(AssertionError, match="--data-dir"):
        house.start()
