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

ROOM = "r:1"
LANES = ["alert", "update"]
IMAGES = 300 if LONG else 30
DURABLE = re.compile(rb'\{"ok":true,"id":(\d+),[^\n]*?"ack":"durable"')
EVENT = re.compile(rb'"event_id":"e(\d+)"')
SEGMENT_BYTES = 16 << 20


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

    def run(self, work, unsynced=lambda path: None):
        """Has the work done by a daemon under strace. What became of the disk and of the publishers."""
        before = disk.Disk(self.root, unsynced)
        daemon = self.start(prefix=disk.traced(self.trace))
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
        self.acknowledged = acknowledged(calls)

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


def acknowledged(calls):
    """When the answer left that said that an event is durable: by number, the place in the trace at which that began."""
    texts, left = {}, {}
    for call in sorted(calls, key=lambda call: call.entered):
        if call.name in ("write", "writev", "sendto", "sendmsg") and call.path.startswith("socket:"):
            text = texts.get(call.path, b"") + b"".join(call.strings)[: call.result]
            end = 0
            for match in DURABLE.finditer(text):
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


def survives(machine, story, chance, epoch):
    """Starts a daemon on what is left of the disk at many moments: every event acknowledged before is there once, in order."""
    writes = [call.returned for call in story.calls if call.name in ("write", "pwrite64", "openat") and str(machine.root) in (call.opened or call.path)]
    moments = chance.choices(writes, k=IMAGES // 2)
    moments = sorted(moments + chance.choices(list(story.acknowledged.values()), k=IMAGES - len(moments)))
    seen = collections.Counter()
    for state, call in story.moments():
        while moments and moments[0] <= call.returned:
            del moments[0]
            mode = state.image(machine.path / "image", chance)
            acknowledged = {number for number, left in story.acknowledged.items() if left <= call.returned}
            torn = comes_back(machine, acknowledged, epoch, f"at line {call.returned} of the trace, {mode}")
            seen.update([mode, "torn"] if torn else [mode])
    assert not moments and len(seen) == len(disk.Disk.MODES) + 1, seen
    figures("power loss", images=IMAGES, acknowledged=len(story.acknowledged), **{name.replace(" ", "_"): count for name, count in seen.items()})


def comes_back(machine, acknowledged, epoch, where):
    """A daemon on that image has what was acknowledged. Whether it found a write that was cut off."""
    daemon = machine.start(machine.path / "image")
    client = daemon.connect(mint(rooms=["*"]))
    subscribed, frames = client.subscribe(ROOM, since={"epoch": epoch, "seq": {"alert": 0, "update": 0, "metric": 0}})
    client.close()
    notes = [frame for frame in frames if frame["type"] == "note"]
    numbers = [int(frame["event_id"][1:]) for frame in notes]
    lost = acknowledged - set(numbers)
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged events are lost {where}"
    assert len(numbers) == len(set(numbers)), f"an event came twice {where}"
    told = collections.defaultdict(int)
    for frame in frames:
        # What was not acknowledged may have survived in part: then it has holes, and they are told.
        first, last = (frame["seq"], frame["seq"]) if frame["type"] == "note" else (frame["from"], frame["to"])
        assert first == told[frame["lane"]] + 1, f"{frame} after {told} {where}"
        told[frame["lane"]] = last
    assert not acknowledged or subscribed["seq"].items() >= told.items(), f"{subscribed} {where}"
    assert daemon.publish(event(1_000_000))[0]["result"] == "accepted", where
    assert "tables_lost" not in daemon.stderr(), f"{where}: {daemon.stderr()}"
    daemon.end()
    return "cut off" in daemon.stderr()


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
