"""Abuse with a canary: while somebody misbehaves, an existing client gets its alerts in time, new clients get in, and memory is bounded.

Each attack lasts 2 s, and 20 s with TICKERD_LONG=1, where the canary's latency is asserted; on a machine that is busy with other tests it is only shown.
"""

import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from attackers import ATTACKS
from harness import LONG, PATIENCE_S, Lines, figures, line_of, mint, note
from wire import RawClient

SECONDS = 20 if LONG else 2
CANARY, FLOOD = "canary:1", "flood:1"
ALERT_EVERY_S, FLOOD_PER_S = 0.01, 500


class Flood:
    """Publishes to the room that slow readers are in."""

    def __init__(self, daemon):
        self.lines, self.stop = Lines(daemon.socket_path), threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        batch = [line_of(note(FLOOD, data="x" * 300))] * (FLOOD_PER_S // 20)
        while not self.stop.wait(1 / 20):
            self.lines.publish(batch, PATIENCE_S)

    def close(self):
        self.stop.set()
        self.thread.join()
        self.lines.close()


def latencies_ms(daemon, canary, seconds):
    """Alerts are published one by one; how long each took from the publish to the canary's read."""
    lines, found, ends = Lines(daemon.socket_path), [], time.monotonic() + seconds
    line = line_of(note(CANARY, "alert", data="x" * 100))
    while time.monotonic() < ends:
        began = time.monotonic()
        lines.publish([line], PATIENCE_S)
        canary.texts(1, "note", PATIENCE_S)
        found.append((time.monotonic() - began) * 1000)
        time.sleep(ALERT_EVERY_S)
    lines.close()
    return found


def p99(values):
    return statistics.quantiles(values, n=100)[98]


@pytest.mark.parametrize("attack", [attack.__name__ for attack in ATTACKS])
def test_a_canary_survives(serve, attack):
    """LIM-01, LIM-02, LIM-04, LIM-06, LIM-10, ERR-02, promise 5."""
    daemon = serve(reactors=1, max_connections=1_000, max_queue_bytes="1MiB")
    canary = RawClient(daemon.address, mint("canary", rooms=["*"]))
    canary.subscribe(CANARY)
    idle_ms = latencies_ms(daemon, canary, SECONDS / 4)
    before = daemon.rss_bytes()
    arguments = [str(Path(__file__).parent / "attackers.py"), attack, *map(str, daemon.address), mint("attacker", rooms=["flood:*"])]
    attacker = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE)
    flood = Flood(daemon) if attack == "slow_readers" else None
    try:
        assert attacker.stdout.readline() == b"under way\n"
        under_attack_ms = latencies_ms(daemon, canary, SECONDS)
        new = RawClient(daemon.address, mint("new", rooms=["*"]))
        new.subscribe(CANARY)
        grown = daemon.rss_bytes() - before
        assert attacker.poll() is None, "the attack has ended by itself"
    finally:
        attacker.kill()
        attacker.wait()
        attacker.stdout.close()
        if flood:
            flood.close()
    bound_ms = max(2 * p99(idle_ms), 10)
    figures(f"abuse {attack}", idle_p99_ms=round(p99(idle_ms), 2), p99_ms=round(p99(under_attack_ms), 2), bound_ms=round(bound_ms, 2), grown_bytes=grown)
    assert grown < 48 << 20
    if LONG:
        assert p99(under_attack_ms) <= bound_ms
