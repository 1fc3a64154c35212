"""A page that reads more slowly than is published to it: what its kernel has taken cannot be overtaken, so not much is given to it (DLV-01)."""

import json
from collections import Counter

import pytest
from harness import PATIENCE_S, figures, mint, note
from wire import PING, TEXT, RawClient, split_frames

ROOM = "r:1"
KIB = 1024
ROUNDS, EVENTS, EVENT_BYTES = 25, 2_000, 600
# A slow page reads so much of what is published meanwhile.
READ_BYTES = EVENTS * EVENT_BYTES * 6 // 10
# The daemon writes what a room gets in a turn at once, as long as that is not more than this.
WRITE_BYTES = 256 * KIB


class SlowPage(RawClient):
    """Reads so many bytes when told to, and answers pings when it has read as far as they are."""

    def read(self, count):
        while count > 0:
            count -= self._more(min(count, 64 * KIB))
            for opcode, payload in split_frames(self.buffer):
                if opcode == PING:
                    self.pong(payload)
                self.frames.append((opcode, payload))


class Mute(RawClient):
    """Answers pings only when it is not mute, and counts what it gets by lane."""

    is_mute, ping = True, None

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lanes = Counter()

    def pong(self, payload):
        self.ping = payload
        if not self.is_mute:
            super().pong(payload)

    def hear(self, is_enough):
        while not is_enough():
            opcode, payload = self.next_frame()
            if opcode == TEXT:
                self.lanes[json.loads(payload).get("lane")] += 1


def bytes_before_the_alert(daemon, page):
    """Published while the page is behind: what it has yet to read when the alert is accepted, and comes before it."""
    page.subscribe(ROOM)
    for _ in range(ROUNDS):
        daemon.publish(*[note(ROOM, "metric", "transient", data={"p": "x" * (EVENT_BYTES - 80)})] * EVENTS)
        page.read(READ_BYTES)
    page.frames.clear()
    daemon.publish(note(ROOM, "alert", data={"last": True}))
    frames = page.read_until(lambda opcode, payload: opcode == TEXT and json.loads(payload)["lane"] == "alert", PATIENCE_S)
    return sum(len(payload) for _, payload in frames[:-1])


@pytest.mark.parametrize("window_kib", [64, 256])
def test_an_alert_waits_for_no_more_than_the_window(serve, window_kib):
    """DLV-01, promise 1: a page that reads six tenths of 30 MB of metrics has kernels that would take megabytes ahead; the alert has only the window before it."""
    daemon = serve(reactors=1, max_queue_bytes="64MiB", reader_window=f"{window_kib}KiB")
    with SlowPage(daemon.address, mint(rooms=["*"])) as page:
        before = bytes_before_the_alert(daemon, page)
    bound = window_kib * KIB + WRITE_BYTES
    figures("reader window", window_kib=window_kib, before_alert_bytes=before, bound_bytes=bound)
    assert before <= bound


def test_who_answers_no_ping_gets_alerts_alone_beyond_the_window(serve):
    """DLV-01, DLV-20: updates end with the window, alerts go on; the pong to the last ping lets the rest follow."""
    daemon = serve(reactors=1, reader_window="64KiB")
    with Mute(daemon.address, mint(rooms=["*"])) as client:
        client.subscribe(ROOM)
        daemon.publish(*[note(ROOM, data={"p": "x" * 500}) for _ in range(1000)])
        for alerts in range(1, 3):
            daemon.publish(note(ROOM, "alert"))
            client.hear(lambda: client.lanes["alert"] == alerts)
            # The window begins with the first ping, a quarter of it later.
            assert 64 * KIB < client.lanes["update"] * 600 < 80 * KIB + WRITE_BYTES
        client.is_mute = False
        client.pong(client.ping)
        client.hear(lambda: client.lanes["update"] == 1000)
