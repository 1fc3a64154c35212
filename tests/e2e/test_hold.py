"""A crowd of connections, each in a room of its own, held while events come for all of them."""

import json
import subprocess
import sys
import time
from pathlib import Path

from desk import LINE_BYTES, Desk
from harness import LONG, PATIENCE_S, Pump, figures, select_ready, wait_until

CLIENTS, SECONDS, EVENTS_PER_S = (10_000, 300, 5_000) if LONG else (1_000, 10, 2_000)
# The heartbeat in use, but for the short variant, which would end before the first.
HEARTBEAT = "30s" if LONG else "4s"
# For a figure only, of a crowd that gets nothing but heartbeats.
IDLE_SECONDS = 30 if LONG else 1
# Just after the joining, whose garbage is still to be given back; a small crowd also bears what the daemon takes once.
RSS_PER_CLIENT_BYTES_MAX = 2 * 1024 if LONG else 4 * 1024


def test_a_crowd_is_held(serve):
    """PRF-01, PRF-02, PRF-05, PRF-10, ROM-01, promise 3: 1,000 clients for 10 s at 2,000 events a second (with TICKERD_LONG=1: 10,000 for
    300 s at 5,000), one alert to nine states. None is closed; each gets every alert and the last state of its own challenge, whole,
    in order, and nothing else; each state that did not come was conflated and counted. An idle client costs at most 4 KiB,
    with TICKERD_LONG=1 2 KiB."""
    daemon = serve(
        reactors=2, max_connections=CLIENTS + 100, heartbeat=HEARTBEAT, update_window=None, metric_gather=None, metric_flush=None
    )  # fmt: skip
    # What the first clients make resident of the program itself is not what a client costs.
    with Crowd(daemon, 10):
        pass
    empty_bytes = daemon.rss_bytes()
    with Crowd(daemon, CLIENTS) as crowd:
        idle_bytes, idle_cpu_s_per_s = daemon.rss_bytes(), idle_load(daemon)
        load = Load(daemon, CLIENTS, EVENTS_PER_S, SECONDS)
        report = crowd.report(load.events)
    conflated = int(daemon.metric("tickerd_conflated_total"))
    tell(daemon, load, report, conflated, empty_bytes, idle_bytes, idle_cpu_s_per_s)
    assert (report["unexpected_closes"], report["faults"]) == (0, 0), report
    assert (report["incomplete"], report["unanswered"], report["never_pinged"]) == (0, 0, 0), report
    alerts, states = map(sum, zip(*(Desk(CLIENTS).published(challenge, load.events) for challenge in range(CLIENTS))))
    assert alerts > 0 and alerts + states == load.events
    assert (report["alerts"], report["states"] + conflated) == (alerts, states)
    assert (idle_bytes - empty_bytes) / CLIENTS <= RSS_PER_CLIENT_BYTES_MAX


def tell(daemon, load, report, conflated, empty_bytes, idle_bytes, idle_cpu_s_per_s):
    """The figures. Memory under load includes the history that is kept for resume."""
    figures("hold", clients=CLIENTS, events=load.events, event_bytes=LINE_BYTES, events_per_s=round(load.events / load.seconds))
    figures(
        "hold, memory", rss_empty_bytes=empty_bytes, rss_idle_bytes=idle_bytes, rss_load_bytes=load.rss_bytes_max,
        rss_idle_bytes_per_client=(idle_bytes - empty_bytes) // CLIENTS, history_bytes=int(daemon.metric("tickerd_history_bytes")),
        rss_load_bytes_per_client=(load.rss_bytes_max - empty_bytes) // CLIENTS,
    )  # fmt: skip
    figures(
        "hold, time", idle_cpu_s_per_s=idle_cpu_s_per_s, cpu_s_per_s=round(load.cpu_s / load.seconds, 3),
        alerts_within_10_ms=within(daemon, "alert", "0.01"), updates_within_10_ms=within(daemon, "update", "0.01"),
    )  # fmt: skip
    figures("hold, clients", conflated=conflated, **report)


class Crowd:
    """`crowd.py` as a process, from the moment that all have joined."""

    def __init__(self, daemon, clients):
        host, port = daemon.address
        script = Path(__file__).with_name("crowd.py")
        command_line = [sys.executable, str(script), host, str(port), str(clients)]
        self.process = subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._line() == b"joined\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def report(self, events):
        """What came, once that many events have been published."""
        self.process.stdin.write(b"%d\n" % events)
        self.process.stdin.flush()
        return json.loads(self._line())

    def _line(self):
        """The next line; the crowd gives up by itself, after PATIENCE_S without progress."""
        readable, _ = select_ready([self.process.stdout], [], 4 * PATIENCE_S)
        assert readable, "the crowd says nothing"
        return self.process.stdout.readline()


class Load:
    """The events of a desk, published at their times; what the daemon took for it."""

    def __init__(self, daemon, challenges, rate, seconds):
        began, cpu_before_s, rss_bytes = time.monotonic(), daemon.cpu_s(), []
        pump = Pump(daemon, rate, rate * seconds, "desk", challenges)
        wait_until(lambda: rss_bytes.append(daemon.rss_bytes()) or pump.has_ended(), "the last answer", seconds + PATIENCE_S)
        self.seconds, self.cpu_s = time.monotonic() - began, daemon.cpu_s() - cpu_before_s
        self.rss_bytes_max = max(rss_bytes)
        answered = pump.stop()
        assert answered["refused"] == 0
        self.events = answered["sent"]


def idle_load(daemon):
    before_s = daemon.cpu_s()
    time.sleep(IDLE_SECONDS)
    return round((daemon.cpu_s() - before_s) / IDLE_SECONDS, 4)


def within(daemon, lane, seconds):
    """The share of a lane's frames that were handed to their sockets within so much of being accepted, windows included."""
    samples = daemon.metrics()
    part = samples[f'tickerd_delivery_seconds_bucket{{lane="{lane}",le="{seconds}"}}']
    return round(part / samples[f'tickerd_delivery_seconds_count{{lane="{lane}"}}'], 4)
