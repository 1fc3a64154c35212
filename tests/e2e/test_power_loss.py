"""Power loss: what was not synced may be gone, any part of it, and nothing that was acknowledged as durable is among that.

The daemon runs under strace. Its calls tell what was on the disk, and what had been answered, at every moment of its life.
"""

import collections
import copy
import math
import random
import re
import shutil
import threading
import time
from pathlib import Path

import disk
import pytest
from harness import LONG, Daemon, Lines, equity, figures, line_of, mint, note, wait_until
from test_acks import again, notification, told

ROOM = "r:1"
LANES = ["alert", "update"]
IMAGES = 300 if LONG else 30
DURABLE = re.compile(rb'\{"ok":true,"id":(\d+),[^\n]*?"ack":"durable"')
OK = re.compile(rb'\{"type":"ok","id":(\d+)')
EVENT = re.compile(rb'"event_id":"e(\d+)"')
SEGMENT_BYTES = 16 << 20
CHANGES = ("write", "pwrite64", "openat", "unlink", "rename", "fsync", "fdatasync")


@pytest.fixture
def machine(tmp_path):
    assert shutil.which("strace"), "strace is missing: apt-get install strace"
    return Machine(tmp_path)


class Machine:
    """A disk, and the daemons that run on it."""

    def __init__(self, path):
        self.path, self.root = path, path / "disk"
        self.root.mkdir()
        self.trace = path / "trace"
        self._starts = 0

    def start(self, root=None, **options):
        self._starts += 1
        return Daemon(self.path / str(self._starts), data_dir=(root or self.root) / "srv/tickerd", reactors=1, history=50, **options)

    def segments(self):
        return sorted((self.root / "srv/tickerd/journal").glob("*.log"))

    def run(self, work, unsynced=lambda path: None, **options):
        """Has the work done by a daemon under strace. What became of the disk and of the publishers."""
        before = disk.Disk(self.root, unsynced)
        daemon = self.start(prefix=disk.traced(self.trace), **options)
        work(daemon)
        # The tracer is another process, and writes until its child is gone.
        tracer = int(re.search(r"TracerPid:\s+(\d+)", Path(f"/proc/{daemon.process.pid}/status").read_text()).group(1))
        daemon.end()
        wait_until(lambda: not Path(f"/proc/{tracer}").exists(), "the trace is written")
        return Story(before, disk.calls(self.trace))


class Story:
    """What a traced daemon did, and in which order."""

    def __init__(self, before, calls):
        self.before, self.calls = before, calls
        self.acknowledged = when_left(calls, DURABLE)

    def moments(self):
        """The disk after each call, the same object again and again, and that call."""
        state = copy.deepcopy(self.before)
        for call in self.calls:
            state.apply(call)
            yield state, call

    def unsafe(self):
        """Events whose answer left before they were synced: by number, where they were synced and where the answer left."""
        durable, read = {}, {}
        note_durable(self.before.tree, durable, read, -1)
        for state, call in self.moments():
            if call.name in ("fsync", "fdatasync"):
                note_durable(state.tree, durable, read, call.returned)
        return {number: (durable.get(number), left) for number, left in self.acknowledged.items() if durable.get(number, math.inf) > left}


def note_durable(directory, durable, read, at):
    """Notes the events in files that are synced, and whose names are; `read` says how far each file is known."""
    for node in directory.synced.values():
        if isinstance(node, disk.Directory):
            note_durable(node, durable, read, at)
            continue
        for match in EVENT.finditer(node.synced, read.get(id(node), 0)):
            durable.setdefault(int(match.group(1)), at)
        read[id(node)] = max(0, len(node.synced) - 100)


def when_left(calls, answer):
    """When each answer left that has that pattern: by number, the place in the trace at which that began."""
    texts, left = {}, {}
    for call in sorted(calls, key=lambda call: call.entered):
        if call.name in ("write", "writev", "sendto", "sendmsg") and call.path.startswith("socket:"):
            text = texts.get(call.path, b"") + b"".join(call.strings)[: call.result]
            end = 0
            for match in answer.finditer(text):
                left.setdefault(int(match.group(1)), call.entered)
                end = match.end()
            texts[call.path] = text[end:]
    return left


def event(number, lane="alert", data=None):
    return note(ROOM, lane, data=data, event_id=f"e{number}", id=number)


def publish_at_once(daemon, chance, numbers):
    """Two publish at the same time, in pieces of any size, over the socket and by HTTP."""
    failed = []

    def run(numbers, chance, by_http):
        lines = Lines(daemon.socket_path)
        try:
            while numbers:
                piece = numbers[: chance.choice([1, 2, 20, 200])]
                numbers = numbers[len(piece) :]
                events = [event(number, chance.choice(LANES), "x" * chance.choice([1, 100, 3000])) for number in piece]
                answers = daemon.publish_http(events)[1] if by_http else lines.publish([line_of(event) for event in events])
                assert all(answer["ack"] == "durable" for answer in answers), answers
        except Exception as error:  # told by the thread that waits
            failed.append(error)
        lines.close()

    parts = [(list(numbers)[at::2], random.Random(chance.random()), at == 1) for at in range(2)]
    threads = [threading.Thread(target=run, args=part) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


def images(machine, story, chance, moments):
    """Builds what is left of the disk if the power fails at these moments, again and again; gives the moment, and how much was taken."""
    moments = sorted(moments)
    for state, call in story.moments():
        while moments and moments[0] <= call.returned:
            del moments[0]
            yield call.returned, state.image(machine.path / "image", chance)
    assert not moments


def writes(machine, story):
    """The moments at which the disk changed."""
    return [call.returned for call in story.calls if call.name in CHANGES and str(machine.root) in (call.opened or call.path)]


def survives(machine, story, chance, epoch):
    """Starts a daemon on what is left of the disk at many moments: every event acknowledged before is there once, in order."""
    changes, answers = writes(machine, story), list(story.acknowledged.values())
    seen, tries = collections.Counter(), 0
    # How many moments there are at which a write can be cut off depends on the disk's pace. One that was is wanted, so it may take more images.
    while tries == 0 or (len(seen) < len(disk.Disk.MODES) + 1 and tries < 20):
        tries += 1
        moments = chance.choices(changes, k=IMAGES // 2) + chance.choices(answers, k=IMAGES - IMAGES // 2)
        for moment, mode in images(machine, story, chance, moments):
            acknowledged = {number for number, left in story.acknowledged.items() if left <= moment}
            torn = comes_back(machine, acknowledged, epoch, f"at line {moment} of the trace, {mode}")
            seen.update([mode, "torn"] if torn else [mode])
    assert len(seen) == len(disk.Disk.MODES) + 1, seen
    figures("power loss", images=tries * IMAGES, acknowledged=len(story.acknowledged), **{name.replace(" ", "_"): count for name, count in seen.items()})


def comes_back(machine, acknowledged, epoch, where):
    """A daemon on that image has what was acknowledged. Whether it found a write that was cut off."""
    daemon = machine.start(machine.path / "image")
    has_events(daemon, acknowledged, epoch, where)
    assert daemon.publish(event(1_000_000))[0]["result"] == "accepted", where
    assert "tables_lost" not in daemon.stderr(), f"{where}: {daemon.stderr()}"
    daemon.end()
    return "cut off" in daemon.stderr()


def has_events(daemon, acknowledged, epoch, where):
    """One who comes back gets those, each once, and is told of every hole."""
    client = daemon.connect(mint(rooms=["*"]))
    subscribed, frames = client.subscribe(ROOM, since={"epoch": epoch, "seq": {"alert": 0, "update": 0, "metric": 0}})
    client.close()
    notes = [frame for frame in frames if frame["type"] == "note"]
    numbers = [int(frame["event_id"][1:]) for frame in notes]
    lost = acknowledged - set(numbers)
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged events are lost {where}"
    assert len(numbers) == len(set(numbers)), f"an event came twice {where}"
    heard = collections.defaultdict(int)
    for frame in frames:
        # What was not acknowledged may have survived in part: then it has holes, and they are told.
        first, last = (frame["seq"], frame["seq"]) if frame["type"] == "note" else (frame["from"], frame["to"])
        assert first == heard[frame["lane"]] + 1, f"{frame} after {heard} {where}"
        heard[frame["lane"]] = last
    assert not acknowledged or subscribed["seq"].items() >= heard.items(), f"{subscribed} {where}"


class Waits:
    """Notifications of one user, numbered from `FIRST` on, and what that user has acknowledged, one after the other."""

    FIRST = 10_000

    def __init__(self):
        # Of each acknowledgment, which notifications it covers.
        self.published, self.acks = 0, []
        self.before = 0, 0
        # Acknowledged so long ago that the events that tell of it are gone.
        self.forgotten = set()

    def trace(self):
        """What was done until now is on the disk."""
        self.before = self.published, len(self.acks)

    def publish(self, daemon):
        number = self.published
        self.published += 1
        return number, daemon.publish(notification(f"e{self.FIRST + number}", id=self.FIRST + number))[0]

    def ack(self, client, number):
        """One, by its id."""
        self.acks.append({number})
        assert client.request(type="ack", id=self.FIRST + len(self.acks), event_id=f"e{self.FIRST + number}")["type"] == "ok"

    def ack_up_to(self, client, number, answer):
        """All up to that one, by its position; the `ok` to another that follows says that this is safe, too."""
        self.acks.append(set(range(number + 1)))
        client.send(type="ack", room="user:u1", lane="alert", epoch=answer["epoch"], seq=answer["seq"])
        assert client.request(type="ack", id=self.FIRST + len(self.acks), event_id="none")["type"] == "ok"

    def come_back(self, daemon, story, moment, where):
        """What waited is given again, what was acknowledged is not, and the publisher's side is told."""
        published, acks = self.before
        acks += sum(left <= moment for number, left in when_left(story.calls, OK).items() if number > self.FIRST)
        done = set().union(*self.acks[:acks])
        # The next one may be done as well, but for its answer.
        asked = set().union(*self.acks[: acks + 1])
        durable = {number - self.FIRST for number, left in story.acknowledged.items() if number >= self.FIRST and left <= moment}
        durable |= set(range(published))
        given = {int(event_id[1:]) - self.FIRST for event_id in again(daemon)}
        assert durable - asked <= given, f"{durable - asked - given} wait, and are not given again, {where}"
        assert not done & given, f"{done & given} were acknowledged, and are given again, {where}"
        heard = {int(data["event_id"][1:]) - self.FIRST for kind, data in told(daemon) if kind == "event.acknowledged"}
        assert done <= heard | self.forgotten, f"{done - heard} were acknowledged, and the publisher's side is not told, {where}"
        return len(durable - asked), len(done)


def test_nothing_acknowledged_is_lost_with_the_power(machine):
    """DLV-12, promise 2: from the first start on, with the directory itself new; states are written meanwhile."""
    chance, epoch = random.Random(1), []

    def work(daemon):
        epoch.append(daemon.publish(event(0))[0]["epoch"])
        for round in range(4):
            publish_at_once(daemon, chance, range(1 + 250 * round, 251 + 250 * round))
            daemon.publish(*[equity(challenge=f"c{n}", equity=round) for n in range(50)])
            time.sleep(0.5)  # states are given to the disk a second after they changed

    story = machine.run(work)
    assert sorted(story.acknowledged) == list(range(1001)), "the trace has the answers"
    assert not story.unsafe(), "an answer left before its event was synced"
    for state, _ in story.moments():
        pass
    state.assert_is(machine.root)
    survives(machine, story, chance, epoch[0])


def test_what_a_killed_daemon_left_unsynced_is_synced_before_it_counts(machine):
    """DLV-12: kill -9 between write and sync, at the end of a full segment; the publisher sends it all again, and then the power fails.
    A new segment is begun, whose name must be safe too."""
    chance = random.Random(2)
    daemon = machine.start()
    filler = [note("filler", data="x" * 60_000)]
    while machine.segments()[0].stat().st_size < SEGMENT_BYTES - 200_000:
        daemon.publish(*filler)
    synced = machine.segments()[0].stat().st_size
    epoch = daemon.publish(*[event(number) for number in range(50)])[0]["epoch"]
    # One after the other, so that the last batch is the one that fills the segment, and none begins the next.
    while machine.segments()[0].stat().st_size < SEGMENT_BYTES:
        daemon.publish(*filler)
    daemon.process.kill()
    daemon.process.wait()
    assert len(machine.segments()) == 1

    def work(daemon):
        answers = daemon.publish(*[event(number) for number in range(50)])
        assert {(answer["result"], answer["ack"]) for answer in answers} == {("duplicate", "durable")}
        publish_at_once(daemon, chance, range(50, 300))
        assert len(machine.segments()) == 2

    story = machine.run(work, lambda path: synced if path.suffix == ".log" else None)
    assert sorted(story.acknowledged) == list(range(300)), "the trace has the answers"
    assert not story.unsafe(), "an answer left before its event was synced"
    survives(machine, story, chance, epoch)


def test_no_acknowledgment_is_undone_by_the_power(machine):
    """QTE-12, promise 2: what was answered `ok` is not given again, what was not acknowledged is, and the publisher's side is told."""
    chance, waits, answers = random.Random(3), Waits(), []

    def work(daemon):
        with daemon.connect(mint("u1")) as client:
            client.subscribe("user:u1")
            for _ in range(60):
                number, answer = waits.publish(daemon)
                answers.append(answer)
                if chance.random() < 0.1:
                    covered = chance.randrange(number + 1)
                    waits.ack_up_to(client, covered, answers[covered])
                elif chance.random() < 0.6:
                    waits.ack(client, chance.randrange(number + 1))

    story = machine.run(work)
    assert len(when_left(story.calls, OK)) == len(waits.acks) and len(story.acknowledged) == 60, "the trace has the answers"
    assert not story.unsafe(), "an answer left before its event was synced"
    moments = chance.choices(writes(machine, story), k=IMAGES // 2)
    moments += chance.choices(list(when_left(story.calls, OK).values()), k=IMAGES - len(moments))
    waiting = done = 0
    for moment, mode in images(machine, story, chance, moments):
        daemon = machine.start(machine.path / "image")
        counts = waits.come_back(daemon, story, moment, f"at line {moment} of the trace, {mode}")
        waiting, done = waiting + counts[0], done + counts[1]
        daemon.end()
    figures("power loss with acknowledgments", images=IMAGES, acknowledged=len(waits.acks), waiting=waiting // IMAGES, done=done // IMAGES)
    assert waiting and done


def test_retention_loses_no_head_and_no_wait_with_the_power(machine):
    """DLV-14, QTE-12: while the oldest segment goes, whenever the power fails: heads, and what waits, are in one that stays."""
    chance, waits = random.Random(4), Waits()
    little = {"journal_bytes": "1MiB"}
    daemon = machine.start(**little)
    [*_, quiet] = daemon.publish(*[note("quiet", "alert", event_id=f"q{n}") for n in range(5)])
    with daemon.connect(mint("u1")) as client:
        for n in range(20):
            waits.publish(daemon)
        for n in range(5):
            waits.ack(client, n)
    filler = [note("filler", data="x" * 60_000)]
    while machine.segments()[0].stat().st_size < SEGMENT_BYTES - 200_000:
        daemon.publish(*filler)
    daemon.end()
    waits.trace()
    [first] = machine.segments()
    epoch = []

    def work(daemon):
        with daemon.connect(mint("u1")) as client:
            waits.ack(client, 5)
            while len(machine.segments()) == 1:
                daemon.publish(*filler)
            epoch.append(daemon.publish(event(0))[0]["epoch"])
            wait_until(lambda: not first.exists(), "the oldest segment is dropped")
            waits.forgotten = set(range(6))
            waits.ack(client, 6)
            waits.publish(daemon)
            daemon.publish(*[event(number) for number in range(1, 50)])

    story = machine.run(work, **little)
    assert not story.unsafe(), "an answer left before its event was synced"
    gone = next(call.returned for call in story.calls if call.name == "unlink" and str(first) in call.paths())
    around = sorted(writes(machine, story), key=lambda moment: abs(moment - gone))[:20]
    moments = around + chance.choices(writes(machine, story) + list(story.acknowledged.values()), k=IMAGES - len(around))
    dropped = 0
    for moment, mode in images(machine, story, chance, moments):
        where = f"at line {moment} of the trace, {mode}; the oldest segment went at line {gone}"
        daemon = machine.start(machine.path / "image", **little)
        dropped += str(first.name) not in [path.name for path in (machine.path / "image/srv/tickerd/journal").iterdir()]
        waits.come_back(daemon, story, moment, where)
        has_events(daemon, {number for number, left in story.acknowledged.items() if number < 1_000 and left <= moment}, epoch[0], where)
        with daemon.connect(mint(rooms=["*"])) as client:
            subscribed, frames = client.subscribe("quiet", since={"epoch": quiet["epoch"], "seq": {"alert": 0}})
        assert subscribed["seq"]["alert"] == 5, f"{subscribed} {where}"
        assert len(frames) == 5 or [(frame["from"], frame["to"]) for frame in frames] == [(1, 5)], f"{frames} {where}"
        assert daemon.publish(note("quiet", "alert"))[0]["seq"] == 6, where
        daemon.end()
    figures("power loss with retention", images=IMAGES, without_the_oldest_segment=dropped)
    assert 0 < dropped < IMAGES


def test_a_file_that_is_set_aside_is_so_for_good(machine):
    """ERR-05: its new name is on the disk before anything else is written there."""
    journal = machine.root / "srv/tickerd/journal"
    journal.mkdir(parents=True)
    (journal / "0000000003.log").write_bytes(b"of another program" * 100)
    story = machine.run(lambda daemon: daemon.publish(event(0)))
    at = next(at for at, call in enumerate(story.calls) if call.name.startswith("rename"))
    assert story.calls[at].paths()[0].startswith(str(journal))
    below = [call for call in story.calls[at + 1 :] if (call.opened or call.path).startswith(str(journal))]
    changes = [call for call in below if call.name != "openat" or "O_CREAT" in call.arguments]
    assert (changes[0].name, changes[0].path) == ("fsync", str(journal)), changes[0].arguments
    for state, _ in story.moments():
        pass
    state.assert_is(machine.root)
    assert (journal / "0000000003.log.damaged").read_bytes() == b"of another program" * 100
