"""Abuse with a canary: while somebody misbehaves, an existing client gets its alerts in time, new clients get in, and memory is bounded.

Each attack lasts 2 s, and 20 s with TICKERD_LONG=1, where the canary's latency is asserted; on a machine that is busy with other tests it is only shown.
There an attacker gets less done, and goes on until it has done as much; in a long run it has to do so in its time.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from attackers import ATTACKS, BOMBS_MIB, bomb
from canary import ROOM, Canary, p99
from certificates import Authority
from harness import LONG, Pump, figures, mint, note
from wire import CLOSE, RawClient

SECONDS = 20 if LONG else 2
# The kernel's queues are looked at so many times meanwhile.
LOOKS = 4
FLOOD, FLOOD_PER_S = "flood:1", 500
STATES = 4096
MIB = 1 << 20
# Of the daemon itself, over what it had before; and of what the kernel has not sent for it yet.
GROWN_BYTES_MAX, UNSENT_BYTES_MAX = 48 * MIB, 32 * MIB

# The counter that shows that an attack had its effect, and what it must reach, for each of the seconds; and how many times as long it may take for that.
EFFECTS = {
    "slowloris": ("closed_total", "evicted", 100),
    "stalled_hellos": ("tls_handshakes_total", "gone", 100),
    "idle": ("closed_total", "evicted", 100),
    "slow_readers": ("writes_blocked_total", "", 10),
    "ping_flood": ("received_bytes_total", "", 100_000),
    "connects": ("handshakes_total", "upgraded", 50),
    "tls_connects": ("tls_handshakes_total", "full", 25),
    "huge": ("closed_total", "message_too_big", 50),
    "fragments": ("received_bytes_total", "", 100_000),
    "bombs": ("closed_total", "message_too_big", 50),
    "nonsense": ("closed_total", "too_many_errors", 20),
    "snapshots": ("replies_sent_total", "", 20),
    "joins": ("replies_sent_total", "", 20),
}
PATIENCE = 1 if LONG else 50

# What the daemon is asked to do for an attack to have its aim.
FLAGS = {
    "stalled_hellos": {"tls": True},
    "tls_connects": {"tls": True},
    "bombs": {"compression": True},
    "snapshots": {"max_queue_bytes": "4MiB"},
    "joins": {"max_queue_bytes": "4MiB"},
}


class Attack:
    """An attack as a process of its own, under way."""

    def __init__(self, name, daemon):
        arguments = [str(Path(__file__).parent / "attackers.py"), name, *map(str, daemon.address), mint("attacker", rooms=["flood:*"])]
        self.process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"under way\n"

    def has_ended(self):
        return self.process.poll() is not None

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def peak_rss_bytes(daemon):
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def unsent_bytes(daemon):
    """What the kernel holds for the daemon's clients who have not taken it."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[0], 16) for row in rows if row[3] == "01" and row[1].endswith(f":{daemon.address[1]:04X}"))


def alert_p99_s_at_most(before, after):
    """The daemon's own share of it, between two scrapes: the bucket that holds the 99th percentile."""
    buckets = {}
    for name, value in after.items():
        if bucket := re.fullmatch(r'tickerd_delivery_seconds_bucket\{lane="alert",le="(.*)"\}', name):
            buckets[float(bucket[1])] = value - before.get(name, 0)
    return min(le for le, count in buckets.items() if count >= 0.99 * buckets[float("inf")])


def effect_of(name, samples):
    """The counter that shows it, and whether that is enough."""
    metric, label, at_least = EFFECTS[name]
    effect = sum(value for sample, value in samples.items() if sample.startswith(f"tickerd_{metric}") and label in sample)
    return effect, effect >= at_least * SECONDS


def publish_states(daemon):
    """A room of as many states as one may have."""
    for start in range(0, STATES, 512):
        daemon.publish(*(note(FLOOD, mode="state", key=f"k{number}", data="x" * 200) for number in range(start, start + 512)))


@pytest.fixture
def prefix():
    """Where latency is judged, and there are two cores, the daemon has the first for itself."""
    cores = os.sched_getaffinity(0)
    if not LONG or cores == {min(cores)}:
        yield []
        return
    os.sched_setaffinity(0, cores - {min(cores)})
    yield ["taskset", "-c", str(min(cores))]
    os.sched_setaffinity(0, cores)


@pytest.fixture
def house(serve, tmp_path, prefix):
    """Starts a daemon for an attack: it, and the context of its clients."""

    def begin(attack):
        flags = {"reactors": 1, "max_connections": 1_000, "max_queue_bytes": "1MiB", "prefix": prefix} | FLAGS.get(attack, {})
        tls = None
        if flags.pop("tls", False):
            authority = Authority(tmp_path)
            flags["tls_cert"], flags["tls_key"], _ = authority.issue()
            tls = authority.context()
        return serve(**flags), tls

    return begin


@pytest.mark.parametrize("name", [attack.__name__ for attack in ATTACKS])
def test_a_canary_survives(house, name):
    """LIM-01, LIM-02, LIM-04, LIM-06, LIM-10, ERR-02, AUT-08, promise 5."""
    daemon, tls = house(name)
    if name in ("snapshots", "joins"):
        publish_states(daemon)
    canary = Canary(daemon, tls)
    idle_ms, before, samples_before = canary.latencies_ms(SECONDS / LOOKS), daemon.rss_bytes(), daemon.metrics()
    flood = Pump(daemon, FLOOD_PER_S, 10**9, FLOOD, "update", "stream", "300") if name == "slow_readers" else None
    attack, under_attack_ms, unsent = Attack(name, daemon), [], []
    try:
        effect, is_enough = 0, False
        while len(unsent) < LOOKS or not is_enough:
            assert len(unsent) < PATIENCE * LOOKS, f"{effect} is too little of an attack"
            under_attack_ms += canary.latencies_ms(SECONDS / LOOKS)
            unsent.append(unsent_bytes(daemon))
            samples = daemon.metrics()
            effect, is_enough = effect_of(name, samples)
        RawClient(daemon.address, mint("new", rooms=["*"]), tls=tls).subscribe(ROOM)
        assert not attack.has_ended(), "the attack has ended by itself"
    finally:
        attack.end()
        if flood:
            flood.stop()
    canary.close()
    grown, bound_ms = peak_rss_bytes(daemon) - before, max(2 * p99(idle_ms), 10)
    shown = {"idle_p99_ms": p99(idle_ms), "p99_ms": p99(under_attack_ms), "max_ms": max(under_attack_ms), "bound_ms": bound_ms}
    shown = {name: round(value, 2) for name, value in shown.items()} | {"grown_mib": round(grown / MIB, 1), "unsent_mib": round(max(unsent) / MIB, 2)}
    shown["daemon_p99_ms_at_most"] = alert_p99_s_at_most(samples_before, samples) * 1000
    figures(f"abuse {name}", **shown, effect_per_s=round(effect * LOOKS / SECONDS / len(unsent)), load=os.getloadavg()[0])
    assert grown < GROWN_BYTES_MAX and max(unsent) < UNSENT_BYTES_MAX
    if LONG:
        assert p99(under_attack_ms) <= bound_ms


@pytest.mark.parametrize("megabytes", BOMBS_MIB)
def test_a_bomb_is_closed_before_memory_grows(serve, megabytes):
    """LIM-04: what a compressed message inflates to is bounded, be it a thousand times as long as what comes."""
    daemon = serve(reactors=1, compression=True)
    with RawClient(daemon.address, mint(), Sec_WebSocket_Extensions="permessage-deflate") as client:
        client.subscribe("user:u1")
        before = peak_rss_bytes(daemon)
        try:
            client.send(bomb(megabytes))
        except ConnectionError:
            pass  # it is not read to its end
        _, payload = client.read_until(lambda opcode, _: opcode == CLOSE)[-1]
        assert int.from_bytes(payload[:2], "big") == 1009
        assert peak_rss_bytes(daemon) - before < MIB
