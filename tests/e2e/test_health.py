"""What an operator, a load balancer and a service manager are told of the daemon's state."""

import json
import signal
import socket

import pytest
from harness import http_request, mint, note, wait_until
from manager import Manager, Stopped, threads
from wire import RawClient

# A thread of the journal may wait for a slow disk: it is given 20 s instead of 5.
STALL_DEADLINE_S = {"hub": 15, "reactor-1": 15, "journal": 40}
WATCHDOG_S = 6


def healthz(daemon):
    status, headers, body = http_request(daemon.admin, "GET", "/healthz")
    assert headers["content-type"] == "application/json"
    return status, json.loads(body)


def readyz(daemon):
    return readyz_at(daemon.admin)


def readyz_at(address):
    """What load balancers hear there: on other hosts they ask the listener of the clients."""
    status, _, body = http_request(address, "GET", "/readyz")
    return status, body.decode().strip()


def faults(daemon):
    """The parts that do not work."""
    return {part["name"]: part["fault"] for part in healthz(daemon)[1]["components"] if not part["ok"]}


def state(daemon):
    """As the metric has it: exactly one is 1."""
    (name,) = [name for name, value in daemon.metrics().items() if name.startswith("tickerd_state{") and value == 1]
    return name.split('"')[1]


def events(daemon, name):
    lines = [json.loads(line) for line in daemon.stderr().splitlines()]
    return [line for line in lines if line.get("event") == name]


def test_all_is_well(serve, reactors, tmp_path):
    """HBT-06, HBT-09, HBT-11: every thread and part is listed, with its criticality."""
    daemon = serve(reactors=reactors, data_dir=tmp_path / "data")
    parts = wait_until(lambda: healthz(daemon)[1]["components"], "the first look")
    critical = {"hub", "journal", "replay", "tables", *(f"reactor-{n}" for n in range(reactors))}
    assert {part["name"] for part in parts if part["critical"]} == critical
    assert {part["name"] for part in parts if not part["critical"]} == {"memory", "disk", "audit"}
    assert all(part["ok"] and part["fault"] is None for part in parts)
    status, report = healthz(daemon)
    assert (status, report["state"], readyz(daemon), state(daemon)) == (200, "ready", (200, "ready"), "ready")
    assert daemon.metric("tickerd_component_up") == len(parts)
    assert [(line["from"], line["to"]) for line in events(daemon, "state")] == [("starting", "ready")]


def test_an_idle_daemon_is_not_taken_for_a_stalled_one(serve):
    """HBT-06: threads that sleep because there is nothing to do are woken to show that they live."""
    daemon = serve(reactors=2)
    began = healthz(daemon)[1]["for_ms"]
    wait_until(lambda: healthz(daemon)[1]["for_ms"] > began + 7_000, "longer than a stall takes")
    assert (readyz(daemon), readyz_at(daemon.address), faults(daemon)) == ((200, "ready"), (200, "ready"), {})
    assert events(daemon, "component_failed") == []


@pytest.mark.parametrize("name", STALL_DEADLINE_S)
def test_a_thread_that_stands_still_is_named(serve, tmp_path, name):
    """HBT-06: in /healthz and the log, and no sign of life is given to the service manager; until the thread goes on."""
    with Manager(tmp_path) as manager:
        daemon = serve(reactors=2, data_dir=tmp_path / "data", prefix=manager.environment(WATCHDOG_S))
        wait_until(lambda: len(manager.said("WATCHDOG=1")) >= 2, "signs of life")
        assert {"hub", "reactor-0", "reactor-1", "journal"} <= threads(daemon.process.pid).keys()
        with Stopped(daemon.process.pid, name):
            wait_until(lambda: name in faults(daemon), "it is found", STALL_DEADLINE_S[name])
            assert faults(daemon).keys() == {name}, "it alone"
            assert (healthz(daemon)[0], readyz(daemon), http_request(daemon.admin, "GET", "/livez")[0]) == (503, (503, "stalled"), 200)
            if not name.startswith("reactor"):
                assert readyz_at(daemon.address) == (503, "stalled")
            assert (state(daemon), daemon.metric("component_up", f'"{name}"')) == ("degraded", 0)
            failed = events(daemon, "component_failed")
            assert [(line["component"], line["critical"], line["level"]) for line in failed] == [(name, True, "ERROR")]
            fed = len(manager.said("WATCHDOG=1"))
            looked = healthz(daemon)[1]["for_ms"]
            wait_until(lambda: healthz(daemon)[1]["for_ms"] > looked + 3_000, "three looks")
            assert len(manager.said("WATCHDOG=1")) == fed, "the manager is not fed"
        wait_until(lambda: faults(daemon) == {}, "it goes on")
        assert (healthz(daemon)[0], readyz(daemon)) == (200, (200, "ready"))
        wait_until(lambda: len(manager.said("WATCHDOG=1")) > fed, "signs of life again")
        assert [line["component"] for line in events(daemon, "component_recovered")] == [name]
        daemon.publish(note("r:1"))


def test_without_what_is_not_critical_it_is_degraded_and_ready(serve):
    """HBT-06, HBT-09: an authorizer that does not answer; clients are served on."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        daemon = serve(reactors=1, authorizer_url=f"http://127.0.0.1:{nobody.getsockname()[1]}/")
        client = daemon.connect(mint(rooms=["r:1"]))
        for number in range(5):
            assert client.refused(type="subscribe", room=f"other:{number}") == "auth_backend_unavailable"
        wait_until(lambda: state(daemon) == "degraded", "it is noticed")
        assert faults(daemon).keys() == {"authorizer"}
        assert (healthz(daemon)[0], readyz(daemon), readyz_at(daemon.address)) == (200, (200, "degraded"), (200, "degraded"))
        client.subscribe("r:1")
        wait_until(lambda: state(daemon) == "ready", "it may be asked again", 20)


def test_who_is_nearly_full_is_not_ready(serve):
    """HBT-11: above 95 % of --max-connections a load balancer had better choose another node; whoever comes all the same is served."""
    daemon = serve(reactors=1, max_connections=20)
    clients = [daemon.connect() for _ in range(19)]
    wait_until(lambda: healthz(daemon)[1]["components"], "a look")
    assert readyz(daemon) == (200, "ready")
    clients.append(daemon.connect())
    wait_until(lambda: readyz(daemon) == (503, "full"), "it is full")
    assert readyz_at(daemon.address)[0] == 503
    clients.pop().close()
    wait_until(lambda: readyz(daemon) == (200, "ready"), "there is room again")


def test_the_service_manager_is_told(serve, tmp_path):
    """OPS-04, HBT-11, OPS-01: ready, what it is doing, what became of a reload, stopping; no sign of life where none is waited for."""
    with Manager(tmp_path) as manager:
        daemon = serve(reactors=1, prefix=manager.environment())
        wait_until(lambda: manager.said("READY=1"), "it says when it is ready")
        daemon.connect()
        wait_until(lambda: manager.said("STATUS=ready, 1 clients"), "it says how many clients there are")
        key = daemon.key_file.rename(tmp_path / "hidden.key")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.said("STATUS=ready, 1 clients; the last reload changed nothing: cannot read the key file"), "it says why")
        key.rename(daemon.key_file)
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(manager.said("STATUS=ready, 1 clients")) == 3, "that is over")
        daemon.end()
        assert manager.said("STOPPING=1") and not manager.said("WATCHDOG=1")


def test_who_drains_says_so_until_the_last_has_left(serve):
    """HBT-11, OPS-04: not ready, and alive; a client that does not answer the goodbye has a moment to do so."""
    daemon = serve(reactors=1, drain_timeout="30s")
    with RawClient(daemon.address, mint()):
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: readyz(daemon) == (503, "draining"), "it drains")
        with pytest.raises(ConnectionRefusedError):
            readyz_at(daemon.address)
        assert (healthz(daemon)[0], state(daemon)) == (200, "draining")
    assert daemon.process.wait(10) == 0
    assert [line["to"] for line in events(daemon, "state")] == ["ready", "draining", "stopped"]


def test_a_second_signal_ends_it_at_once(serve):
    """OPS-04: whoever does not want to wait for --drain-timeout does not have to."""
    daemon = serve(reactors=1, drain_timeout="60s")
    with RawClient(daemon.address, mint()):
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: readyz(daemon) == (503, "draining"), "it drains")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(1) == 1, "sooner than the client is given up"
    daemon.end = daemon.process.stdout.close
