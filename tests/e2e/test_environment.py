"""Hostile environments: a process that is stopped, a clock that jumps, a core of which there is little. None of it closes a connection or loses an
event, and all is as before when it is over. (Descriptors that run out: see test_limits.py.)"""

import contextlib
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from desk import Desk
from harness import LONG, PATIENCE_S, Pump, at_most_s, figures, handshake_status, http_request, mint, note, wait_until
from test_hold import Crowd
from wire import RawClient

CLIENTS, EVENTS_PER_S = 200, 1_000
# More than a fifth of a core can bear, and than the publisher gets to make: it is behind from its first second on.
TOO_MANY_EVENTS_PER_S = 50_000
SECONDS = 20 if LONG else 3
DAY_S = 86_400
ROOM = "r:1"


class Desktop:
    """A crowd, each of it in a room of its own, and events for all of them."""

    def __init__(self, daemon, crowd, events_per_s):
        self.daemon, self.crowd = daemon, crowd
        self.pump = Pump(daemon, events_per_s, 10**9, "desk", CLIENTS)

    def check(self):
        """Ends the load: nobody was closed, and each got every alert and the last state of its own."""
        answered = self.pump.stop()
        report = self.crowd.report(answered["sent"])
        assert answered["refused"] == 0
        assert (report["unexpected_closes"], report["faults"], report["incomplete"], report["unanswered"]) == (0, 0, 0, 0), report
        alerts = sum(Desk(CLIENTS).published(challenge, answered["sent"])[0] for challenge in range(CLIENTS))
        assert report["alerts"] == alerts > 0
        is_well(self.daemon)
        return report | {"events": answered["sent"]}


@contextlib.contextmanager
def desktop(daemon, events_per_s=EVENTS_PER_S):
    with Crowd(daemon, CLIENTS) as crowd:
        yield Desktop(daemon, crowd, events_per_s)


def is_well(daemon):
    """It takes new clients and serves them at once."""
    assert http_request(daemon.admin, "GET", "/readyz")[0] == 200
    began = time.monotonic()
    RawClient(daemon.address, mint("new", rooms=["*"])).subscribe("new:1")
    assert time.monotonic() - began < at_most_s(5)


def test_a_process_that_is_stopped_goes_on(serve, reactors):
    """TST-04, HBT-02: SIGSTOP for two seconds under load, twice. Nobody is closed for a silence that is the daemon's own, and nothing is lost."""
    daemon = serve(reactors=reactors, heartbeat="1s")
    with desktop(daemon) as load:
        for _ in range(2):
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(2)
            daemon.process.send_signal(signal.SIGCONT)
            time.sleep(SECONDS / 2)
        figures("stopped", **load.check())


class Throttle:
    """A fifth of a core for a daemon: by a control group; where none can be made, by stopping it after each 20 ms for so long that what it used is a fifth
    of the time. Other work on this machine may leave it less, but neither way gives it more for that."""

    QUOTA_US, PERIOD_US = 20_000, 100_000
    GROUPS = Path("/sys/fs/cgroup/cpu")

    def __init__(self, daemon):
        self.daemon, self.over, self.stopped_s = daemon, threading.Event(), 0
        self.began, self.used_before_s, self.waited_before_s = time.monotonic(), daemon.cpu_s(), self._waited_s()
        self.group = self.GROUPS / f"tickerd-e2e-{os.getpid()}"
        try:
            self.group.mkdir()
            (self.group / "cpu.cfs_period_us").write_text(str(self.PERIOD_US))
            (self.group / "cpu.cfs_quota_us").write_text(str(self.QUOTA_US))
            (self.group / "cgroup.procs").write_text(str(daemon.process.pid))
            self.by = "control group"
        except OSError as why:
            self.by = f"signals, for there is no control group: {why}"
            self.thread = threading.Thread(target=self._stop_and_go)
            self.thread.start()

    def _stop_and_go(self):
        goes_at, used_s = time.monotonic(), self.daemon.cpu_s()
        while not self.over.wait(self.QUOTA_US / 1e6):
            self.daemon.process.send_signal(signal.SIGSTOP)
            stops_at = time.monotonic()
            self.over.wait(goes_at - stops_at + (self.daemon.cpu_s() - used_s) * self.PERIOD_US / self.QUOTA_US)
            goes_at, used_s = time.monotonic(), self.daemon.cpu_s()
            self.stopped_s += goes_at - stops_at
            self.daemon.process.send_signal(signal.SIGCONT)

    def _waited_s(self):
        """How long its threads were ready to run and did not, be it for the quota or for other work on this machine; while it is stopped, none is ready."""
        threads = Path(f"/proc/{self.daemon.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[1]) for thread in threads) / 1e9

    def share(self):
        """What the daemon had of a core since then."""
        return (self.daemon.cpu_s() - self.used_before_s) / (time.monotonic() - self.began)

    def held_back_s(self):
        """For how long it wanted more than it had, all its threads together."""
        return self._waited_s() - self.waited_before_s + self.stopped_s

    def lift(self):
        self.over.set()
        if self.by == "control group":
            (self.GROUPS / "cgroup.procs").write_text(str(self.daemon.process.pid))
            self.group.rmdir()
        else:
            self.thread.join()


def test_a_fifth_of_a_core_is_little_and_suffices(serve, reactors):
    """TST-04: under a CPU quota of 20 % nobody is closed and nothing is lost; publishers wait, if anybody."""
    daemon = serve(reactors=reactors, heartbeat="1s")
    with desktop(daemon, TOO_MANY_EVENTS_PER_S) as load:
        throttle = Throttle(daemon)
        try:
            time.sleep(2 * SECONDS)
            wait_until(lambda: throttle.held_back_s() > SECONDS, "it wants more than it has", PATIENCE_S)
            share, held_back_s = throttle.share(), throttle.held_back_s()
        finally:
            throttle.lift()
        assert share < 0.3, "it had no more than its quota"
        figures("a fifth of a core", by=throttle.by, cpu_share=round(share, 3), held_back_s=round(held_back_s, 1), **load.check())


# ---- the clock -----------------------------------------------------------------------------------------------------


class WallClock:
    """The daemon's wall clock, by libfaketime: what it is ahead of the real one can be changed at any time. The monotonic clock stays real."""

    LIBRARIES = [Path(f"/usr/lib/{triple}-linux-gnu/faketime/libfaketimeMT.so.1") for triple in ("x86_64", "aarch64")]

    def __init__(self, directory):
        self.file = directory / "faketime"
        self.file.write_text("+0")
        found = [library for library in self.LIBRARIES if library.exists()]
        assert found, "libfaketime is missing: apt-get install faketime"
        variables = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": self.file,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
        }
        self.prefix = ["env", *(f"{name}={value}" for name, value in variables.items())]

    def jump(self, seconds):
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+}")
        fresh.rename(self.file)


class Watcher(RawClient):
    """A member that gets an alert and two states after each jump."""

    def __init__(self, daemon, ttl):
        super().__init__(daemon.address, mint("watcher", rooms=["*"], ttl=ttl))
        self.subscribe(ROOM)

    def next(self, kind):
        return json.loads(self.texts(1, kind)[0])


def events(number):
    return [note(ROOM, "alert", data=number), *({"type": "EQUITY_UPDATED", "room": ROOM, "data": {"challenge_id": "1", "n": [number, n]}} for n in (1, 2))]


@pytest.mark.parametrize("jump_s", [DAY_S, -DAY_S], ids=["forward", "back"])
def test_a_clock_that_jumps_a_day(serve, tmp_path, jump_s):
    """TST-04, AUT-06, DESIGN 9: windows, heartbeats and timeouts go by the monotonic clock and do not notice; `ts` and the ends of tokens go by the
    wall clock. Who is connected with a token that has not ended stays so, at the jump and when the clock is put right again."""
    clock = WallClock(tmp_path)
    daemon = serve(prefix=clock.prefix, reactors=1, heartbeat="1s", update_window="200ms")
    watchers = [Watcher(daemon, 3 * DAY_S) for _ in range(20)]
    short = [RawClient(daemon.address, mint("short", ttl=3600)) for _ in range(5)]
    known = mint("known", ttl=3600)
    assert handshake_status(daemon.address, known) == 101
    for number, ahead_s in enumerate([0, jump_s, 0]):
        clock.jump(ahead_s)
        wait_until(lambda ahead_s=ahead_s: abs(heartbeat_ts(watchers[0]) - time.time() - ahead_s) < 60, "the clock has jumped")
        began = time.monotonic()
        daemon.publish(*events(number))
        for watcher in watchers:
            alert = watcher.next("note")
            assert (alert["data"], alert["seq"]) == (number, number + 1)
            assert abs(alert["ts"] / 1000 - time.time() - ahead_s) < 60
            assert [watcher.next("EQUITY_UPDATED")["data"]["n"] for _ in range(2)] == [[number, 1], [number, 2]]
        assert time.monotonic() - began < at_most_s(5), "a window is as long as ever"
        assert handshake_status(daemon.address, mint("fresh", iat=int(time.time() + ahead_s), exp=int(time.time() + ahead_s + 600))) == 101
        if ahead_s > 0:
            assert [client.close_code() for client in short] == [4300] * 5, "found out at the next heartbeat"
            for client in short:
                client.kill()
            wait_until(lambda: ends(daemon) == {"token_expired": 5}, "nobody else is closed")
            assert handshake_status(daemon.address, known) == 401, "that it was found good before counts for nothing"
        elif ahead_s < 0:
            assert handshake_status(daemon.address, mint("early")) == 401, "issued a day ahead of the clock"
    assert handshake_status(daemon.address, known) == 101
    late = RawClient(daemon.address, mint("late", rooms=["*"]))
    late.subscribe(ROOM, history=3)
    assert ends(daemon) == ({"token_expired": 5} if jump_s > 0 else {})
    before_s, began = daemon.cpu_s(), time.monotonic()
    time.sleep(1)
    assert (daemon.cpu_s() - before_s) / (time.monotonic() - began) < 0.5, "no timer runs in circles"


def heartbeat_ts(client):
    return json.loads(client.texts(1, "heartbeat", PATIENCE_S)[0])["ts"] / 1000


def ends(daemon):
    """How connections have ended, but for those that clients closed themselves."""
    closes = {re.search('reason="(.*)"', name)[1]: count for name, count in daemon.metrics().items() if name.startswith("tickerd_closed_total")}
    return {reason: count for reason, count in closes.items() if count and reason not in ("normal", "eof", "done")}
