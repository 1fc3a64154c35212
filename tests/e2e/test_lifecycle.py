"""Start, heartbeat, health, figures, goodbye."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from harness import BINARY, DEFAULT_FLAGS, SECRET, Client, Daemon, address_of, arguments, http_request, mint, note, start, wait_until
from wire import CLOSE, PING, TEXT, RawClient


def test_the_ready_line(serve):
    """OPS-04: one JSON line with the real ports; nothing else ever on stdout."""
    daemon = serve(listen=["127.0.0.1:0", "127.0.0.1:0"], reactors=2)
    assert set(daemon.ready) >= {"event", "listen", "admin", "publish_socket", "pid"}
    assert (daemon.ready["event"], daemon.ready["pid"]) == ("ready", daemon.process.pid)
    assert daemon.ready["publish_socket"] == daemon.socket_path
    ports = {address_of(listen)[1] for listen in daemon.ready["listen"]}
    assert len(ports) == 2 and 0 not in ports
    for listen in daemon.ready["listen"]:
        Client(address_of(listen), mint()).close()


def test_no_publish_socket_unless_asked_for(serve):
    """The ready line says null."""
    assert serve(publish_socket=None).ready["publish_socket"] is None


def test_the_sockets_mode_is_the_gate(serve):
    """The unix socket needs no token: only its owner and group may open it."""
    assert os.stat(serve().socket_path).st_mode & 0o777 == 0o660


BAD_STARTS = {
    "no key": {"jwt_key": None},
    "a key that is not there": {"jwt_key": "/nonexistent/key"},
    "an unknown flag": {"frobnicate": "1"},
    "a bad duration": {"heartbeat": "soon"},
    "a bad size": {"max_queue_bytes": "much"},
    "a bad address": {"listen": "nowhere"},
    "plaintext to the world": {"listen": "0.0.0.0:0"},
    "an admin listener for the world": {"admin_listen": "0.0.0.0:0"},
    "a config that is not there": {"config": "/nonexistent/tickerd.toml"},
    "no reactor": {"reactors": 0},
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_bad_starts(tmp_path, name):
    """NET-01, AUT-09, OPS-05: exit code 2, and a message on stderr that names what is wrong; stdout stays empty."""
    key, stderr = tmp_path / "key", tmp_path / "stderr"
    key.write_text(SECRET)
    process = start(DEFAULT_FLAGS | {"jwt_key": key} | BAD_STARTS[name], stderr)
    out, _ = process.communicate(timeout=10)
    text = stderr.read_text()
    assert (process.returncode, out) == (2, b""), text
    flag = next(iter(BAD_STARTS[name])).replace("_", "-")
    assert flag in text.replace("_", "-"), text
    assert "panicked" not in text


@pytest.mark.parametrize("secret", ["", "short", "secret", "changeme", "dev-secret-key"])
def test_bad_secrets(tmp_path, secret):
    """AUT-09: the developer's defaults do not make it into production."""
    key, stderr = tmp_path / "key", tmp_path / "stderr"
    key.write_text(secret)
    process = start(DEFAULT_FLAGS | {"jwt_key": key}, stderr)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (2, b"")
    assert str(key) in stderr.read_text() and (not secret or f"`{secret}`" not in stderr.read_text())


def test_a_second_daemon_does_not_share_the_port(daemon1, tmp_path):
    """SO_REUSEPORT would let it take half of the clients: it must refuse to start."""
    key, stderr = tmp_path / "key", tmp_path / "stderr"
    key.write_text(SECRET)
    process = start(DEFAULT_FLAGS | {"jwt_key": key, "listen": daemon1.ready["listen"][0]}, stderr)
    out, _ = process.communicate(timeout=10)
    assert process.returncode != 0 and out == b"", stderr.read_text()
    daemon1.connect().close()


def test_heartbeats(serve, reactors):
    """HBT-01, HBT-03: a ping and a `heartbeat` in each period; the round trip is told once it is known."""
    daemon = serve(reactors=reactors, heartbeat="1s")
    with RawClient(daemon.address, mint()) as client:
        welcome = json.loads(client.texts(1, "welcome")[0])
        assert welcome["data"]["heartbeat_ms"] == 1000
        frames = []
        while sum(opcode == PING for opcode, _ in frames) < 3:
            frames.append(client.next_frame())
    beats = [json.loads(payload) for opcode, payload in frames if opcode == TEXT]
    assert all(beat["type"] == "heartbeat" and isinstance(beat["ts"], int) and beat["queued"] >= 0 for beat in beats)
    assert len(beats) >= 2 and 0 < beats[-1]["rtt_us"] < 5_000_000


def test_an_idle_client_costs_a_heartbeat_and_no_more(daemon1):
    """PRF-15, NET-09: nothing else is sent unasked."""
    client = daemon1.connect()
    assert client.everything(daemon1) == []


def test_health(daemon1):
    """HBT-11, OBS-01: alive, ready, and what else the admin listener has."""
    assert http_request(daemon1.admin, "GET", "/livez")[0] == 200
    assert http_request(daemon1.admin, "GET", "/readyz")[0] == 200
    assert http_request(daemon1.admin, "GET", "/nowhere")[0] == 404
    assert http_request(daemon1.admin, "POST", "/livez")[0] == 405
    assert http_request(daemon1.address, "GET", "/metrics")[0] == 404, "figures are not for the public"


def test_the_metrics_are_prometheus_text(daemon):
    """OBS-01, OBS-20, OBS-28: well-formed, documented, and they move with what happens."""
    member = daemon.member("r:1")
    daemon.publish(*[note("r:1", lane, data={"n": n}) for n in range(10) for lane in ("alert", "update")])
    member.recv_many(20)
    status, headers, body = http_request(daemon.admin, "GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    lines = body.decode().splitlines()
    documented = {line.split()[2] for line in lines if line.startswith("# HELP ")}
    typed = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    samples = [line for line in lines if line and not line.startswith("#")]
    assert documented == typed
    names = {sample.split("{")[0].split(" ")[0] for sample in samples}
    families = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in names} | names
    assert all(name.startswith("tickerd_") or name.startswith("process_") for name in names)
    assert documented <= families, documented - families
    assert len(samples) == len({sample.rsplit(" ", 1)[0] for sample in samples}), "a sample twice"
    wait_until(lambda: daemon.metric('tickerd_delivery_seconds_count{lane="alert"') == 10, "ten alerts are measured")
    wait_until(lambda: daemon.metric('tickerd_delivery_seconds_count{lane="update"') == 10, "ten updates are measured")


def test_what_is_open_is_counted_and_goes_back_to_nothing(daemon):
    """OBS-26: connections and memberships return to 0 after all clients have left."""
    clients = [daemon.member("r:1", "r:2", token=mint(f"u{n}", rooms=["*"])) for n in range(10)]
    wait_until(lambda: daemon.metric("tickerd_members") == 20, "two memberships each")
    assert daemon.metric('tickerd_connections{kind="websocket"}') == 10
    for client in clients:
        client.close()
    wait_until(lambda: daemon.metric("tickerd_members") == 0, "none is left")
    wait_until(lambda: daemon.metric('tickerd_connections{kind="websocket"}') == 0, "no connection is left")
    assert daemon.metric("tickerd_queued_bytes") == 0


def test_goodbye(serve, reactors):
    """OPS-04, HBT-11, DLV-13: SIGTERM: each client is told when to come back, closed with 4101; the exit code is 0."""
    daemon = serve(reactors=reactors)
    clients = [daemon.member("r:1", token=mint(f"u{n}", rooms=["*"])) for n in range(20)]
    daemon.process.send_signal(signal.SIGTERM)
    delays = set()
    for client in clients:
        assert client.close_code() == 4101
        notice = client.last_word
        assert (notice["type"], notice["code"], notice["reason"]) == ("disconnect", 4101, "shutdown")
        delays.add(notice["after_ms"])
    assert len(delays) > 5, "not all at the same moment (CLI-15)"
    assert daemon.process.wait(15) == 0
    with pytest.raises(OSError):
        socket.create_connection(daemon.address, timeout=1)


def test_goodbye_is_bounded(serve):
    """OPS-04: a client that never answers does not keep the daemon alive beyond --drain-timeout."""
    daemon = serve(reactors=1, drain_timeout="1s")
    client = RawClient(daemon.address, mint(rooms=["*"]))
    client.subscribe("r:1")
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(10) == 0
    assert client.read_until(lambda opcode, _: opcode == CLOSE)


def test_a_killed_daemon_leaves_nothing_in_the_way(tmp_path):
    """OPS-04, ARC-04: kill -9, then a start with the same socket path and lock works."""
    first = Daemon(tmp_path / "first", reactors=1)
    path, listen = first.socket_path, first.ready["listen"][0]
    first.process.kill()
    first.process.wait()
    first.process.stdout.close()
    second = Daemon(tmp_path / "second", reactors=1, publish_socket=path, listen=listen)
    second.socket_path = path
    try:
        second.publish(note("r:1"))
        second.connect().close()
    finally:
        second.end()


def test_every_connection_ends_in_one_record(serve):
    """KAL-21, OBS-15: a close record each, with reason and user."""
    daemon = serve(reactors=1)
    for number in range(5):
        daemon.connect(mint(f"leaver-{number}")).close()

    def records():
        return [json.loads(line) for line in daemon.stderr().splitlines() if "leaver-" in line and "clos" in line]

    wait_until(lambda: len(records()) >= 5, "five close records")
    assert len(records()) == 5
    assert all(isinstance(record, dict) for record in records())


def test_the_command_line_has_no_secrets(daemon1):
    """AUT-09: what `ps` shows names files only."""
    shown = Path(f"/proc/{daemon1.process.pid}/cmdline").read_text()
    assert SECRET not in shown and "jwt-key" in shown
    assert list(arguments({"a_b": [1, 2], "c": True, "d": None})) == ["--a-b", "1", "--a-b", "2", "--c"]


@pytest.mark.parametrize("signals", [[signal.SIGHUP], [signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]], ids=["hup", "term", "twice"])
def test_a_demo_that_is_ended_leaves_nothing_behind(tmp_path, signals):
    """The demo's key and tokens are gone with it, whether its terminal is closed, it is ended, or it is told so twice."""
    demo = subprocess.Popen([BINARY, "demo", "--listen", "127.0.0.1:0"], env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.DEVNULL)
    wait_until(lambda: list(tmp_path.glob("tickerd-demo-*/publish.sock")), "the demo has its directory")
    for number in signals:
        demo.send_signal(number)
    assert demo.wait(timeout=20) in (0, 130)
    assert list(tmp_path.iterdir()) == []
