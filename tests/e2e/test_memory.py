"""The memory budget: what counts, what is refused at which level, who is told, and that it recovers; and that 64 MiB are enough."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from certificates import Authority
from harness import LONG, PATIENCE_S, Daemon, Lines, RawHttp, figures, http_request, line_of, mint, note, wait_until
from wire import CLOSE, PONG, TEXT, RawClient, frame

MIB = 1 << 20
BIG = "x" * 30_000
SMALL = "x" * 1_000
SECONDS = 20 if LONG else 4
LEVELS = ("normal", "high", "short", "full", "exhausted")


@pytest.fixture(params=["ws", "wss"])
def door(request, tmp_path):
    """The daemon's flags, and the contexts of its `Client`s and of its `RawClient`s."""
    if request.param == "ws":
        return {}, None, None
    authority = Authority(tmp_path)
    certificate, key, _ = authority.issue()
    return {"tls_cert": certificate, "tls_key": key}, authority.context_of_threads(), authority.context()


def level(daemon):
    return LEVELS[int(daemon.metric("tickerd_memory_level"))]


def part(daemon, name):
    return daemon.metric("tickerd_memory_used_bytes", f'"{name}"')


def used(daemon):
    return daemon.metric("tickerd_memory_used_bytes")


def publish_until_refused(daemon, event_of, limit):
    """Publishes `event_of(n)`, one by one; the refusal that comes, and how many were taken before."""
    for n in range(limit):
        (answer,) = daemon.publish_unix(event_of(n))
        if not answer["ok"]:
            return answer, n
    raise AssertionError(f"all {limit} were taken; {used(daemon)} bytes are used")


def crossings(daemon):
    """The levels that the log tells of, in order."""
    lines = [json.loads(line) for line in daemon.stderr().splitlines() if '"memory_level"' in line]
    return [re.search(r'"to":\s*"(\w+)"', json.dumps(line))[1] for line in lines]


def fill_until_short(daemon):
    """Metrics that wait for their flush, until they are refused. The room takes them together, a few seconds later."""
    return publish_until_refused(daemon, lambda n: note(f"m:{n // 4}", "metric", "transient", data=BIG), 400)


def test_levels_refuse_more_and_more_tell_everybody_and_end_by_themselves(serve):
    """LIM-06, DLV-18, DLV-21, ERR-02, promises 5 and 6: at 90 % metrics are refused and nothing else; at 100 % joins, handshakes and updates;
    alerts go all the time. When what was held is let go, all is taken again. Each crossing is logged once."""
    daemon = serve(reactors=1, memory_budget="8MiB", metric_gather="8s", metric_flush="1s")
    witness = daemon.member("alerts:1", token=mint("witness", rooms=["*"]))
    assert daemon.metric("tickerd_memory_budget_bytes") == 8 * MIB and level(daemon) == "normal"
    daemon.publish(*(note(f"h:{n}", data=BIG) for n in range(60)))

    answer, taken = fill_until_short(daemon)
    assert (answer["name"], answer["code"]) == ("over_capacity", 202) and answer["retry_after_ms"] > 0
    assert level(daemon) == "short" and 0.9 <= used(daemon) / (8 * MIB) < 1, (used(daemon), taken)
    daemon.publish(note("u:1", data=1), note("alerts:1", "alert", data="at 90 %"))
    newcomer = daemon.member("alerts:1", token=mint("newcomer", rooms=["*"]))

    answer, _ = publish_until_refused(daemon, lambda n: note("s:1", "update", "state", data=BIG, key=str(n)), 34)
    assert answer["name"] == "over_capacity" and "memory" in answer["message"] and answer["retry_after_ms"] > 0
    assert level(daemon) == "full"
    assert newcomer.refused(type="subscribe", room="other:1") == "over_capacity"
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    status, headers, _ = http_request(daemon.address, "GET", "/v1/ws", headers=upgrade | {"Authorization": f"Bearer {mint()}"})
    assert status == 503 and int(headers["Retry-After"]) > 0
    status, answers = daemon.publish_http(note("u:1", data=1))
    assert (status, answers[0]["name"]) == (503, "over_capacity")
    daemon.publish(*(note("alerts:1", "alert", data=f"{n}{SMALL}") for n in range(20)))
    assert [event["data"][:7] for event in witness.recv_many(21)][:2] == ["at 90 %", "0xxxxxx"]

    refused = {what: daemon.metric("tickerd_memory_refused_total", f'"{what}"') for what in ("alert", "update", "metric", "join", "handshake")}
    figures("levels", metrics_taken=taken, refused=refused)
    assert refused == {"alert": 0, "update": 2, "metric": 1, "join": 1, "handshake": 1}
    wait_until(lambda: level(daemon) == "normal", "the metrics are let go", PATIENCE_S)
    assert crossings(daemon) == ["high", "short", "full", *crossings(daemon)[3:]] and crossings(daemon)[-1] == "normal"
    daemon.publish(note("m:0", "metric", "transient", data=1), note("u:1", data=2))
    assert daemon.member("other:1", token=mint("late", rooms=["*"])).subscribe("alerts:1")


def test_what_counts_goes_when_it_is_read(serve, reactors):
    """LIM-06: frames that wait for a reader, and what the kernel holds for it, count; and count no more when they are read."""
    daemon = serve(reactors=reactors, history=0, slow_timeout="5m")
    reader = RawClient(daemon.address, mint(rooms=["*"]), 16 * 1024)
    reader.subscribe("r:1")
    daemon.publish(note("r:2", data="connects the publisher"))
    before = {name: part(daemon, name) for name in ("frames", "kernel", "connections")}
    assert before["kernel"] == 0
    daemon.publish(*(note("r:1", data=BIG) for _ in range(100)))
    wait_until(lambda: part(daemon, "kernel") > 16_000, "the kernel takes no more")
    held = {name: part(daemon, name) for name in before}
    figures("counted", before=before, held=held)
    assert 2_900_000 < held["frames"] - before["frames"] < 3_400_000, "30,000 bytes take 32 KiB"
    assert 16_000 < held["kernel"] <= 256 * 1024
    assert 1_000 < held["connections"] - before["connections"] < 10_000, "the places in its queue"
    reader.texts(100, "note", PATIENCE_S)
    wait_until(lambda: part(daemon, "kernel") == 0 and part(daemon, "frames") <= before["frames"], "nothing is held any more")
    assert part(daemon, "connections") <= before["connections"]
    assert part(daemon, "ingest") == 0


def test_what_is_known_of_each_event_on_disk_counts(serve, tmp_path):
    """LIM-06: 8 bytes for each, and as much in reserve at most; after a restart too."""
    count = 20_000
    for published in (count, 0):
        daemon = serve(data_dir=tmp_path / "data", reactors=1, memory_budget="64MiB")
        daemon.publish(*(note("h:1", event_id=f"e{n}") for n in range(published)))
        counted = wait_until(lambda daemon=daemon: part(daemon, "journal") > 8 * count and part(daemon, "journal"), "it is counted")
        assert counted < 16 * count + 4096
        daemon.end()


def test_compressed_forms_count(serve):
    """LIM-06: a kept event has its compressed form beside it, which counts from when it was made to when the event goes."""
    daemon = serve(reactors=1, compression=True, history=1)
    reader = RawClient(daemon.address, mint(rooms=["*"]), Sec_WebSocket_Extensions="permessage-deflate")
    reader.subscribe("r:1")
    text = os.urandom(20_000).hex()
    before = part(daemon, "frames")
    daemon.publish(note("r:1", data=text))
    reader.texts(1, "note")
    wait_until(lambda: 60_000 < part(daemon, "frames") - before < 68_000, "40 KB of text, and half as much compressed")
    daemon.publish(note("r:1", data=1))
    reader.texts(1, "note")
    wait_until(lambda: part(daemon, "frames") - before < 1_000, "the next one has taken its place")


def test_while_memory_is_short_a_slow_client_has_no_more_time(serve):
    """LIM-06, DLV-20: who was warned is closed, and who keeps up is not."""
    daemon = serve(reactors=1, memory_budget="8MiB", metric_gather="8s", metric_flush="1s", slow_timeout="5m")
    healthy = daemon.member("r:1", token=mint("healthy", rooms=["*"]))
    slow = RawClient(daemon.address, mint("slow", rooms=["*"]), 4096)
    slow.subscribe("r:1")
    daemon.publish(*(note("r:1", data="x" * 1_000) for _ in range(220)))
    healthy.recv_many(220)
    wait_until(lambda: daemon.metric("tickerd_slow_consumers_warned_total") == 1, "it is warned")
    assert daemon.metric("tickerd_closed_total", "slow_consumer") == 0
    fill_until_short(daemon)
    wait_until(lambda: daemon.metric("tickerd_memory_closed_total") == 1, "it is closed")
    daemon.publish(note("r:1", data="all the same"))
    assert healthy.recv()["data"] == "all the same"
    assert slow.close_code() in (4103, None)


# ---- unfinished input, and what is not read ------------------------------------------------------------------------


def closed_for(daemon, held):
    return daemon.metric("tickerd_memory_closed_total", f'"{held}"')


def test_unfinished_messages_are_closed_before_an_alert_is_refused(serve, reactors):
    """LIM-06, promises 5 and 6: 420 clients with a token hold 16 KB each of a message that does not end: they have an eighth of the budget; who is
    closed is told so and counted; alerts of others go on, and so do joins."""
    daemon = serve(reactors=reactors, memory_budget="8MiB")
    witness = daemon.member("alerts:1", token=mint("witness", rooms=["*"]))
    attackers = [RawClient(daemon.address, mint(f"u{n // 10}")) for n in range(420)]
    for number, attacker in enumerate(attackers):
        attacker.send(frame(TEXT, b"x" * 16_000, fin=False))
        if number % 10 == 0:
            daemon.publish(note("alerts:1", "alert", data=number))
    wait_until(lambda: closed_for(daemon, "unfinished") >= 300, "most of them are closed", PATIENCE_S)
    # A reactor closes what is too much when it next comes round.
    wait_until(lambda: 0 < daemon.metric("tickerd_memory_unfinished_bytes") <= MIB, "an eighth is left")
    unfinished = daemon.metric("tickerd_memory_unfinished_bytes")
    figures("unfinished", bytes=unfinished, closed=closed_for(daemon, "unfinished"), used=used(daemon))
    assert level(daemon) == "normal" and crossings(daemon) == []
    wait_until(lambda: daemon.metric("tickerd_closed_total", '"over_capacity"') >= 300, "they are counted by reason")
    assert daemon.metric("tickerd_memory_refused_total") == 0
    assert [event["data"] for event in witness.recv_many(42)] == list(range(0, 420, 10))
    witness.subscribe("other:1")
    frames = attackers[0].read_until(lambda opcode, _: opcode == CLOSE)
    assert json.loads(frames[-2][1])["type"] == "disconnect" and int.from_bytes(frames[-1][1][:2], "big") == 4100


def test_a_reactor_that_sleeps_lets_go_of_what_another_needs(serve):
    """LIM-06: one reactor holds nearly all of the eighth, and nothing more comes to it; then the other's clients come, who have a half of it."""
    daemon = serve(reactors=2, memory_budget="8MiB")
    attackers = {user: RawClient(daemon.address, mint(user)) for user in map("u{}".format, range(200))}
    first, second = [[attackers[user] for user in users] for users in users_by_reactor(daemon)]
    hold_16_kb(first[:56])
    wait_until(lambda: daemon.metric("tickerd_memory_unfinished_bytes") >= 56 * 16_000, "the first holds them")
    hold_16_kb(second[:56])
    wait_until(lambda: closed_for(daemon, "unfinished") >= 112 - MIB // 16_000, "what is more than an eighth is let go", PATIENCE_S)
    wait_until(lambda: 0 < daemon.metric("tickerd_memory_unfinished_bytes") <= MIB, "an eighth is left")


def hold_16_kb(attackers):
    """They begin a message that does not end."""
    for attacker in attackers:
        attacker.send(frame(TEXT, b"x" * 16_000, fin=False))


def users_by_reactor(daemon):
    """Who is connected to which."""
    users, page = [[], []], ""
    while page is not None:
        status, _, body = http_request(daemon.admin, "GET", "/v1/connections?limit=1000" + page)
        assert status == 200, body
        answer = json.loads(body)
        for connection in answer["connections"]:
            if connection["user"]:
                users[connection["reactor"]].append(connection["user"])
        page = answer["next"] and f"&after={answer['next']}"
    return users


def test_half_requests_of_strangers_have_a_sixteenth(serve):
    """LIM-06, LIM-10: 200 half heads of 15 kB: those that find no place get 503 and a time to come back, and a client with a token gets in."""
    daemon = serve(reactors=1, memory_budget="8MiB")
    witness = daemon.member("alerts:1", token=mint("witness", rooms=["*"]))
    head = b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1_000) for n in range(15))
    strangers = [RawHttp(daemon.address) for _ in range(200)]
    for stranger in strangers:
        stranger.send(head)
    wait_until(lambda: closed_for(daemon, "unfinished") >= 160, "most of them are refused")
    assert 0 < daemon.metric("tickerd_memory_unfinished_bytes") <= MIB // 2
    response = strangers[0].response()
    assert response.status == 503 and int(response.headers["retry-after"]) > 0 and b"head" in response.body
    daemon.publish(note("alerts:1", "alert", data=1))
    assert witness.recv()["data"] == 1
    daemon.member("alerts:1", token=mint("newcomer", rooms=["*"]))


def test_readers_who_leave_most_unread_are_closed_before_an_alert_is_refused(serve, reactors, door):
    """LIM-06, DLV-20, promises 5 and 6, over ws and wss: 60 readers who take nothing are never half full, and hold more than the budget together: those with the most
    are closed with 4103, others' alerts go on, and who keeps up stays."""
    flags, tls, raw_tls = door
    daemon = serve(reactors=reactors, memory_budget="8MiB", history=0, slow_timeout="5m", **flags)
    witness = daemon.member("alerts:1", token=mint("witness", rooms=["*"]), tls=tls)
    readers = [RawClient(daemon.address, mint(f"r{n}", rooms=["*"]), 4096, raw_tls) for n in range(60)]
    for number, reader in enumerate(readers):
        reader.subscribe(f"own:{number}")
    for batch in range(5):
        for number in range(60):
            daemon.publish_unix(note(f"own:{number}", "alert", data=BIG))
            if number % 6 == 0:
                daemon.publish(note("alerts:1", "alert", data=batch * 60 + number))
    figures("unread", closed=closed_for(daemon, "unread"), used=used(daemon), crossings=crossings(daemon))
    assert [event["data"] for event in witness.recv_many(50)] == list(range(0, 300, 6))
    assert daemon.metric("tickerd_memory_refused_total", '"alert"') == 0
    assert 0 < closed_for(daemon, "unread") < 60, "some are, not all"
    assert daemon.metric("tickerd_slow_consumers_warned_total") > 0, "and were warned before"
    wait_until(lambda: daemon.metric("tickerd_memory_level") <= 1, "the level is below", PATIENCE_S)


def test_a_message_that_was_begun_ends_in_time(serve):
    """LIM-10: after 30 s a client is closed whose message has not come to its end, pongs or not; one who goes on ending his is not."""
    daemon = serve(reactors=1)
    lingers, goes_on = RawClient(daemon.address, mint("u1")), RawClient(daemon.address, mint("u2"))
    lingers.send(frame(TEXT, b'{"type":', fin=False))
    ends = time.monotonic() + 40
    while daemon.metric("tickerd_closed_total", '"message_timeout"') == 0:
        assert time.monotonic() < ends, "it is not closed"
        lingers.send(frame(PONG))
        goes_on.send(frame(TEXT, b'{"type":', fin=False) + frame(0, b'"ping","id":1}') + frame(TEXT, b'{"type":"ping",', fin=False))
        goes_on.send(frame(0, b'"id":2}'))
        time.sleep(0.5)
    assert lingers.close_code() == 4105
    goes_on.texts(2, "ok")
    wait_until(lambda: daemon.metric("tickerd_connections", "websocket") == 1, "the other one stays")


# ---- 64 MiB --------------------------------------------------------------------------------------------------------

CGROUPS = Path("/sys/fs/cgroup/memory")


class Cage:
    """A memory cgroup (version 1) with a limit, socket memory counted beside it; or, where none can be made, only what the process says."""

    def __init__(self, limit_bytes):
        self.limit_bytes, self.path = limit_bytes, CGROUPS / f"tickerd-e2e-{os.getpid()}"
        try:
            self.path.mkdir()
            (self.path / "memory.limit_in_bytes").write_text(str(limit_bytes))
            (self.path / "memory.kmem.tcp.limit_in_bytes").write_text(str(limit_bytes))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.path.rmdir()
            warnings.warn(f"no memory cgroup can be made here ({error}): peak RSS is held against the limit instead", stacklevel=1)
            self.path = None

    @property
    def prefix(self):
        """A command that runs another one inside."""
        return ("sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh") if self.path else ()

    def read(self, name):
        return int((self.path / name).read_text())

    def peak_bytes(self, daemon):
        if not self.path:
            status = Path(f"/proc/{daemon.process.pid}/status").read_text()
            return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
        return self.read("memory.max_usage_in_bytes") + self.read("memory.kmem.tcp.max_usage_in_bytes")

    def oom_kills(self):
        return int(re.search(r"oom_kill (\d+)", (self.path / "memory.oom_control").read_text())[1]) if self.path else 0

    def figures(self):
        names = ("memory.max_usage_in_bytes", "memory.kmem.max_usage_in_bytes", "memory.kmem.tcp.max_usage_in_bytes", "memory.failcnt")
        return {name: self.read(name) for name in names} if self.path else {}

    def remove(self):
        if self.path:
            for pid in (self.path / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)  # left by a test that failed
            wait_until(lambda: not (self.path / "cgroup.procs").read_text(), "the daemon has left the cgroup")
            self.path.rmdir()


@pytest.fixture
def cage():
    cage = Cage(64 * MIB)
    yield cage
    cage.remove()


class Publisher:
    """Publishes batches on a thread; what became of the events, by name."""

    def __init__(self, daemon, batch_of, per_second=None):
        self.lines, self.batch_of, self.pause_s = Lines(daemon.socket_path), batch_of, per_second and 1 / per_second
        self.outcomes, self.stop, self.error = {}, threading.Event(), None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        number = 0
        try:
            while not self.stop.wait(self.pause_s or 0):
                for answer in self.lines.publish(self.batch_of(number), PATIENCE_S):
                    name = answer.get("result") or answer["name"]
                    self.outcomes[name] = self.outcomes.get(name, 0) + 1
                number += 1
        except (AssertionError, OSError) as error:
            self.error = error

    def end(self):
        self.stop.set()
        self.thread.join()
        self.lines.close()
        assert not self.error, self.error
        return self.outcomes


def test_64_mib_are_enough_whatever_comes(cage, tmp_path):
    """LIM-06, promises 5 and 6: 2,000 idle members, 200 slow readers of 500 events a second, and a flood of 64 KiB events into 1,000 rooms with
    histories, in a cgroup of 64 MiB, socket memory included: it is not killed, every publisher is answered, an existing member gets
    every alert, and when the floods end, all is taken again."""
    daemon = Daemon(tmp_path / "daemon", prefix=cage.prefix, reactors=2, memory_budget="40MiB")
    empty_bytes = daemon.rss_bytes()
    floods, alerts = start_floods(daemon), Lines(daemon.socket_path)
    canary = RawClient(daemon.address, mint("canary", rooms=["*"]))
    canary.subscribe("canary:1")
    idle = [RawClient(daemon.address, mint(f"idle{n}")) for n in range(2_000)]
    idle_bytes = daemon.rss_bytes()
    arguments = [str(Path(__file__).parent / "attackers.py"), "slow_readers", *map(str, daemon.address), mint("attacker", rooms=["flood:*"])]
    attacker = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE)
    try:
        assert attacker.stdout.readline() == b"under way\n"
        for flood in floods:
            flood.thread.start()
        sent, peak_level, slowest_ms = send_alerts(daemon, alerts, canary)
        outcomes = [flood.end() for flood in floods]
    finally:
        for flood in floods:
            flood.stop.set()
        attacker.kill()
        attacker.wait()
        attacker.stdout.close()
        figures("64 MiB", empty_bytes=empty_bytes, idle_bytes=idle_bytes, **cage.figures())
    figures("floods", alerts=sent, slowest_ms=round(slowest_ms, 1), outcomes=outcomes, peak_level=peak_level, rss_bytes=daemon.rss_bytes())
    assert cage.oom_kills() == 0 and daemon.process.poll() is None
    assert cage.peak_bytes(daemon) <= cage.limit_bytes
    assert all(set(outcome) <= {"accepted", "over_capacity", "queue_full"} for outcome in outcomes), outcomes
    wait_until(lambda: daemon.metric("tickerd_memory_level") <= 1, "there is memory again", PATIENCE_S)
    answers = alerts.publish([line_of(note("m:1", "metric", "transient")), line_of(note("big:1", data=1))], PATIENCE_S)
    assert all(answer["ok"] for answer in answers), answers
    RawClient(daemon.address, mint("new", rooms=["*"])).subscribe("canary:1")
    assert len(idle) == 2_000 and daemon.metric("tickerd_connections", "websocket") >= 2_001, "nobody who was idle is gone"
    alerts.close()
    daemon.end()


def start_floods(daemon):
    """500 events a second for the slow readers; as many large ones as are answered, into rooms with histories; the same of metrics."""
    small, large = line_of(note("flood:1", data="x" * 300)), "x" * 60_000
    return [
        Publisher(daemon, lambda _: [small] * 25, per_second=20),
        Publisher(daemon, lambda batch: [line_of(note(f"big:{(batch * 8 + n) % 1_000}", data=large)) for n in range(8)]),
        Publisher(daemon, lambda batch: [line_of(note(f"m:{(batch * 8 + n) % 1_000}", "metric", "transient", data=large)) for n in range(8)]),
    ]


def send_alerts(daemon, alerts, canary):
    """Alerts, each of which must be accepted and come: how many, the highest level meanwhile, and the longest time that one took."""
    sent, peak_level, slowest_ms, ends = 0, 0, 0.0, time.monotonic() + SECONDS
    while time.monotonic() < ends:
        began = time.monotonic()
        (answer,) = alerts.publish([line_of(note("canary:1", "alert", data=sent))], PATIENCE_S)
        assert answer["ok"], answer
        (payload,) = canary.texts(1, "note", PATIENCE_S)
        assert json.loads(payload)["data"] == sent
        sent, slowest_ms = sent + 1, max(slowest_ms, (time.monotonic() - began) * 1000)
        peak_level = max(peak_level, daemon.metric("tickerd_memory_level"))
        time.sleep(0.01)
    return sent, peak_level, slowest_ms
