"""SIGHUP: the configuration is read again. What is sound is taken on as a whole, nobody is dropped for it, and nothing is lost."""

import itertools
import json
import signal
import socket
import time

import pytest
from authorizer import Authorizer, by_name, send
from harness import LONG, SECRET, figures, handshake_status, http_request, mint, note, wait_until
from test_environment import desktop
from test_health import events, healthz
from websockets.exceptions import ConnectionClosed

RELOADS = 300 if LONG else 30
OTHER_SECRET = "the-next-secret-of-the-test-house-0123456789"
THIRD_SECRET = "and-one-that-nobody-has-signed-with-0123456789"


class File:
    """A configuration file; `key` names its keys, relative to its directory. Written in one step, as an operator's editor does."""

    def __init__(self, directory):
        self.path, self.directory = directory / "tickerd.toml", directory
        for name, secret in [("first", SECRET), ("next", OTHER_SECRET), ("third", THIRD_SECRET)]:
            (directory / name).write_text(secret)

    def write(self, keys=("first",), tables="", **settings):
        lines = [f"jwt_key = {json.dumps([str(self.directory / key) for key in keys])}"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n" + tables)
        new.rename(self.path)


@pytest.fixture
def configured(serve, tmp_path):
    """Starts a daemon with a file of these settings; `daemon.reload(…)` writes others and says what the daemon made of them."""

    def start(reactors=1, flags=None, **settings):
        file = File(tmp_path)
        file.write(**settings)
        daemon = serve(**{"reactors": reactors, "jwt_key": None, "config": file.path, "log_level": None} | (flags or {}))
        daemon.file = file
        daemon.reload = lambda **settings: (file.write(**settings), hang_up(daemon))[1]
        return daemon

    return start


def hang_up(daemon):
    """SIGHUP, and what came of it."""
    count = lambda: int(daemon.metric("tickerd_reloads_total"))
    before = count()
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: count() > before, "it is read again")
    return healthz(daemon)[1]["reload"]


APPLIED = {"result": "applied", "waiting": []}


def without_time(report):
    return {name: value for name, value in report.items() if name != "ago_ms"}


def test_keys_rotate(configured, reactors):
    """AUT-09, OPS-01: the next key, then without the first one. Who is connected stays, until the token expires; a token of a key that is gone opens
    nothing, also if it was found good a moment ago."""
    daemon = configured(reactors)
    old, new = mint(rooms=["r:1"]), mint(rooms=["r:1"], key=OTHER_SECRET)
    members = [daemon.member("r:1", token=old) for _ in range(4)]
    assert handshake_status(daemon.address, new) == 401
    assert without_time(daemon.reload(keys=["first", "next"])) == APPLIED
    members += [daemon.member("r:1", token=token) for token in (old, new)]
    assert without_time(daemon.reload(keys=["next"])) == APPLIED
    for _ in range(4):
        assert handshake_status(daemon.address, old) == 401
        members.append(daemon.member("r:1", token=new))
    daemon.publish(note("r:1", "alert", data="for all"))
    for member in members:
        assert member.recv_type("note")["data"] == "for all"
    short = daemon.member("r:1", token=mint(rooms=["r:1"], key=OTHER_SECRET, ttl=3))
    daemon.reload(keys=["third"])
    assert short.close_code() == 4300, "its own end is all that a token has left"


def test_origins_and_limits(configured, reactors):
    """NET-04, LIM-03: for new connections; those that are there stay."""
    daemon = configured(reactors, flags={"max_connections_per_user": None}, origin=["https://a.example"], max_connections_per_user=2)
    first = daemon.connect(origin="https://a.example")
    assert handshake_status(daemon.address, mint(), origin="https://b.example") == 403
    second = daemon.connect()
    with pytest.raises(ConnectionClosed):
        daemon.connect().recv()
    assert without_time(daemon.reload(origin=["https://b.example"], max_connections_per_user=4)) == APPLIED
    assert handshake_status(daemon.address, mint(), origin="https://a.example") == 403
    third, fourth = daemon.connect(origin="https://b.example"), daemon.connect()
    assert without_time(daemon.reload(origin=["https://b.example"], max_connections_per_user=1, max_connections=1)) == APPLIED
    for client in (first, second, third, fourth):
        assert client.request(type="ping")["type"] == "ok"
    assert handshake_status(daemon.address, mint("u2")) == 503


ENTRY = '[[catalog]]\ntype = "{}"\nroom = "desk:{{desk}}"\nlane = "{}"\nmode = "{}"\n'


def test_the_catalog(configured, reactors):
    """ROM-01, EVT-01: types are added, and changed until they are used: then lane and mode stay."""
    daemon = configured(reactors)
    event = {"type": "margin.call", "data": {"desk": 1}}
    assert daemon.publish_unix(event)[0]["name"] == "unknown_event"
    daemon.reload(tables=ENTRY.format("margin.call", "metric", "state"))
    assert without_time(daemon.reload(tables=ENTRY.format("margin.call", "alert", "stream"))) == APPLIED, "nobody has used it"
    assert daemon.publish(event)[0]["lane"] == "alert"
    used = ENTRY.format("margin.call", "update", "stream")
    report = daemon.reload(tables=used)
    assert report["result"] == "refused" and "margin.call" in report["reason"]
    family = daemon.reload(tables=ENTRY.format("margin.*", "update", "stream"))
    assert family["result"] == "refused", "a family that takes its place is no way around"
    assert daemon.publish(event)[0]["lane"] == "alert"
    moved = ENTRY.format("margin.call", "alert", "stream").replace("desk:", "floor:")
    assert without_time(daemon.reload(tables=moved)) == APPLIED
    assert daemon.publish(event)[0]["room"] == "floor:1"
    assert daemon.reload(tables=used)["result"] == "refused", "it is not forgotten that it was used"


BAD = {
    "a file that is no TOML": {"tables": "][ "},
    "a bad value": {"heartbeat": "soon"},
    "a key that is not there": {"keys": ["first", "gone"]},
    "a key of which there is too little": {"keys": ["short"]},
    "an unknown key": {"frobnicate": 1},
    "a catalog that contradicts itself": {"tables": ENTRY.format("x", "alert", "stream") + 'key = "k"\n'},
}


@pytest.mark.parametrize("name", BAD)
def test_all_or_nothing(configured, tmp_path, name):
    """OPS-01, OPS-05: with a good new origin and a good new key beside what is bad, nothing changes, and it is said why."""
    daemon = configured(origin=["https://a.example"])
    (tmp_path / "short").write_text("short")
    good = {"keys": ["next"], "origin": ["https://b.example"], "max_connections": 1, "log_level": "error"}
    client = daemon.connect()
    report = daemon.reload(**good | BAD[name])
    assert report["result"] == "refused" and report["reason"], report
    assert daemon.metric("tickerd_reloads_total", "refused") == 1
    assert report["reason"] in wait_until(lambda: events(daemon, "reload_failed"), "it is in the log")[0]["message"]
    daemon.connect(origin="https://a.example")
    assert handshake_status(daemon.address, mint(), origin="https://b.example") == 403
    assert handshake_status(daemon.address, mint(key=OTHER_SECRET)) == 401
    assert client.request(type="ping")["type"] == "ok"
    assert without_time(daemon.reload(**good | {"max_connections": 100})) == APPLIED, "and a good one is taken on after it"
    assert handshake_status(daemon.address, mint()) == 401


def test_what_waits_for_a_restart_is_named(configured):
    """OPS-01: the rest of the file holds at once."""
    daemon = configured(origin=["https://a.example"])
    report = daemon.reload(origin=["https://b.example"], heartbeat="7s", history=17)
    assert without_time(report) == {"result": "applied", "waiting": ["heartbeat", "history"]}
    (line,) = wait_until(lambda: events(daemon, "reloaded"), "it is in the log")
    assert (line["level"], line["waiting"]) == ("WARN", "heartbeat, history")
    client = daemon.connect(origin="https://b.example")
    assert client.welcome["data"]["heartbeat_ms"] == 30_000
    assert daemon.reload(origin=["https://b.example"], heartbeat="7s")["waiting"] == ["heartbeat"], "also the next time"


def closed_lines(daemon, user):
    return [line for line in daemon.stderr().splitlines() if f'"{user}"' in line]


def test_the_log_level_changes_at_run_time(configured):
    """OBS-21: by the file, and by the admin listener until the next reload."""
    daemon = configured(log_level="warn")
    set_level = lambda body: http_request(daemon.admin, "POST", "/v1/log-level", json.dumps(body), {"Content-Type": "application/json"})
    daemon.connect(mint("quiet-1")).close()
    status, _, body = set_level({"level": "info"})
    assert (status, json.loads(body)) == (200, {"ok": True, "level": "info"})
    daemon.connect(mint("loud-1")).close()
    wait_until(lambda: closed_lines(daemon, "loud-1"), "its end is told")
    assert set_level({"level": "shrill"})[0] == 400
    daemon.reload(log_level="warn")
    daemon.connect(mint("quiet-2")).close()
    daemon.reload(log_level="info")
    daemon.connect(mint("loud-2")).close()
    wait_until(lambda: closed_lines(daemon, "loud-2"), "its end is told")
    assert not closed_lines(daemon, "quiet-1") and not closed_lines(daemon, "quiet-2")


def test_the_authorizer_moves(configured):
    """ROM-02: the next question goes to the new one, with what it is to be asked with."""
    first, second = Authorizer(by_name), Authorizer(lambda handler, question: send(handler, {"allow": True}))
    try:
        daemon = configured(authorizer_url=first.url)
        client = daemon.connect()
        assert client.refused(type="subscribe", room="shut:1") == "access_denied"
        assert without_time(daemon.reload(authorizer_url=second.url)) == APPLIED
        client.subscribe("shut:2")
        assert (len(first.questions), len(second.questions)) == (1, 1)
        assert daemon.reload()["waiting"] == ["authorizer_url"], "whether there is one is decided at the start"
        client.subscribe("shut:3")
    finally:
        first.stop()
        second.stop()


def test_reload_under_load(configured, reactors):
    """NET-05, OPS-01: while events and clients come and go the configuration is read again and again, a bad one now and then: nobody is dropped,
    nothing is lost, and it costs no one a noticeable time."""
    settings = [
        {"keys": ["first", "next"], "origin": ["https://a.example"], "log_level": "info"},
        {"keys": ["first"], "tables": ENTRY.format("margin.call", "alert", "stream"), "max_connections": 5_000, "slow_timeout": "20s"},
        {"keys": ["first", "third"], "commands_per_client": 50, "max_connections_per_user": 700, "log_level": "warn"},
        {"keys": ["gone"]},
    ]
    daemon = configured(reactors, flags={"max_connections_per_user": None}, max_connections_per_user=5_000)
    with desktop(daemon) as load:
        results, slowest_s = [], 0.0
        for _, chosen in zip(range(RELOADS), itertools.cycle(settings)):
            results.append(daemon.reload(**{"max_connections_per_user": 5_000} | chosen)["result"])
            began = time.monotonic()
            client = daemon.member("r:other", token=mint(rooms=["r:other"]))
            slowest_s = max(slowest_s, time.monotonic() - began)
            client.close()
        figures("reload under load", reloads=len(results), slowest_join_ms=round(slowest_s * 1e3, 1), **load.check())
    assert results == (["applied", "applied", "applied", "refused"] * RELOADS)[:RELOADS]


def test_many_hangups_at_once_are_some_reloads(configured):
    """OPS-01: as many as there is time for, the last of them with what the file has now."""
    daemon = configured()
    for number in range(200):
        daemon.file.write(origin=[f"https://{number}.example"])
        daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: socket_status(daemon, "https://199.example") == 101, "the last one holds")
    assert 1 <= daemon.metric("tickerd_reloads_total", "applied") <= 200 and daemon.metric("tickerd_reloads_total", "refused") == 0


def socket_status(daemon, origin):
    try:
        return handshake_status(daemon.address, mint(), origin=origin)
    except (OSError, socket.timeout):
        return None
