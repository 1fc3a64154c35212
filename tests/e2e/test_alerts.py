"""The built-in alerts: a slow client, a full queue, guesses at tokens; told once each, in every place."""

import json
import signal
import socket

from harness import PATIENCE_S, http_request, mint, note, wait_until
from wire import command, upgrade_request

# Thresholds that a test can cross, and come back from.
ALERTS = """
[alerts.slow_clients]
fire = 1
clear = 1

[alerts.auth_failures]
fire = 0.01
clear = 0.005
for = "0s"
clear_for = "0s"

[alerts.resident_memory]
enabled = false

[alerts.connections_filling]
fire = 0.5
clear = 0.4
for = "0s"
clear_for = "0s"
"""


def told(daemon, path):
    status, _, body = http_request(daemon.admin, "GET", path)
    assert status == 200, body
    return json.loads(body)


def alert(daemon, name):
    return next(alert for alert in told(daemon, "/v1/alerts")["alerts"] if alert["alert"] == name)


def watcher(daemon):
    return daemon.member("system:alerts", token=mint(sub="operator", rooms=["system:alerts"]))


def crossings(daemon, event, name):
    lines = (json.loads(line) for line in daemon.stderr().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == event and line.get("alert") == name]


def test_an_alert_is_told_everywhere_and_once_for_each_crossing(serve, tmp_path):
    """OBS-10: half of all connections are taken: in the log, in the metric, in /v1/alerts and /healthz, and as a system_alert to the members of
    system:alerts; and the same when it is over."""
    (tmp_path / "tickerd.toml").write_text(ALERTS)
    daemon = serve(config=tmp_path / "tickerd.toml", max_connections=8)
    name, firing = "connections_filling", 'tickerd_alert_firing{alert="connections_filling"}'
    with watcher(daemon) as operator:
        assert (alert(daemon, name)["state"], daemon.metrics()[firing]) == ("quiet", 0)
        clients = [daemon.connect(mint(sub=f"u{number}")) for number in range(4)]
        fired = operator.recv_type("system_alert", PATIENCE_S)
        assert (fired["room"], fired["lane"], fired["data"]["alert"], fired["data"]["state"]) == ("system:alerts", "alert", name, "firing")
        assert fired["data"]["fire"] == 0.5 <= fired["data"]["value"] and fired["data"]["severity"] == "warning" and fired["data"]["help"]
        assert (alert(daemon, name)["state"], daemon.metrics()[firing], told(daemon, "/healthz")["alerts"]) == ("firing", 1, [name])
        for client in clients:
            client.close()
        cleared = operator.recv_type("system_alert", PATIENCE_S)
        assert (cleared["data"]["alert"], cleared["data"]["state"], cleared["seq"]) == (name, "cleared", fired["seq"] + 1)
        assert (alert(daemon, name)["state"], daemon.metrics()[firing], told(daemon, "/healthz")["alerts"]) == ("quiet", 0, [])
    assert (len(crossings(daemon, "alert_fired", name)), len(crossings(daemon, "alert_cleared", name))) == (1, 1)


def test_a_slow_client_is_an_alert(serve):
    """OBS-18, ROM-05: with the thresholds that are built in: a client that does not read is one within seconds, and the list of the longest queues says
    who it is."""
    daemon = serve(update_window="0s", slow_timeout="6s", max_queue_bytes="128KiB")
    with watcher(daemon) as operator, socket.create_connection(daemon.address) as idler:
        idler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idler.sendall(upgrade_request(mint(sub="idler", rooms=["quote:*"])) + command(type="subscribe", room="quote:1"))
        wait_until(lambda: daemon.metric("tickerd_members") == 2, "it is a member")
        for number in range(12):
            daemon.publish(note("quote:1", "update", data={"x": "y" * 20_000, "n": number}))
        fired = operator.recv_type("system_alert", PATIENCE_S)
        assert (fired["data"]["alert"], fired["data"]["state"]) == ("slow_clients", "firing")
        assert "sort=queued" in fired["data"]["help"]


def test_guesses_at_tokens_are_an_alert_and_reload_changes_thresholds(serve, tmp_path):
    """OBS-10, OPS-01: thresholds of the file hold, other ones from SIGHUP on; an alert that is switched off is over, and not listed; what is wrong with
    one is told with its line."""
    file = tmp_path / "tickerd.toml"
    file.write_text(ALERTS)
    daemon = serve(config=file)
    names = {alert["alert"] for alert in told(daemon, "/v1/alerts")["alerts"]}
    assert "auth_failures" in names and "resident_memory" not in names
    with watcher(daemon) as operator:
        for _ in range(5):
            assert daemon.publish_http(note("r"), token="no.token.this")[0] == 401
        fired = operator.recv_type("system_alert", PATIENCE_S)
        assert (fired["data"]["alert"], fired["data"]["state"]) == ("auth_failures", "firing")
        file.write_text(ALERTS.replace("fire = 0.01", "enabled = false\nfire = 0.01"))
        daemon.process.send_signal(signal.SIGHUP)
        cleared = operator.recv_type("system_alert", PATIENCE_S)
        assert (cleared["data"]["alert"], cleared["data"]["state"]) == ("auth_failures", "cleared")
        file.write_text("[alerts.auth_failures]\nfire = 1\nclear = 2\n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "reload_failed" in daemon.stderr(), "the reload is refused")
        assert "alerts.auth_failures" in daemon.stderr() and "must not be below" in daemon.stderr()


def test_the_figures_agree(serve):
    """OBS-11, OBS-14: /v1/stats says the same as /metrics, and rates over a second, ten, and sixty."""
    daemon = serve()
    with daemon.member("quote:1", token=mint(sub="u1", rooms=["quote:*"])) as member:
        for number in range(50):
            daemon.publish(note("quote:1", "alert", data=number))
        member.recv_many(50)

        def agree():
            stats = told(daemon, "/v1/stats")
            window = stats.get("windows", {}).get("60s", {})
            lanes = window.get("lanes", {})
            return stats.get("members") == 1 and sum(lanes.get("alert", {}).get("latency_counts", [])) == 50 and stats

        stats = wait_until(agree, "the stats tell")
        samples = daemon.metrics()
        assert stats["connections"] == samples['tickerd_connections{kind="websocket"}'] == 1
        assert stats["users"] == samples["tickerd_users"] and stats["rooms"] == samples["tickerd_rooms"]
        lane = stats["windows"]["60s"]["lanes"]["alert"]
        assert lane["deliveries_per_s"] > 0 and 0 < lane["p50_us"] <= lane["p99_us"]
        assert set(stats["windows"]) == {"1s", "10s", "60s"}


def test_what_fired_over_a_stop_is_cleared_by_the_next_start(serve, tmp_path):
    """OBS-10: killed while an alert fires; who reads the room afterwards hears that it is over, once."""
    (tmp_path / "tickerd.toml").write_text(ALERTS)
    options = {"config": tmp_path / "tickerd.toml", "max_connections": 8, "data_dir": tmp_path / "data"}
    name, token = "connections_filling", mint(sub="operator", rooms=["system:alerts"])

    def kill():
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(PATIENCE_S)
        daemon.process.returncode = 0

    daemon = serve(**options)
    with daemon.connect(token) as operator:
        epoch = operator.subscribe("system:alerts")[0]["epoch"]
        clients = [daemon.connect(mint(sub=f"u{number}")) for number in range(4)]
        assert operator.recv_type("system_alert", PATIENCE_S)["data"]["state"] == "firing"
        wait_until(lambda: (tmp_path / "data/alerts").exists(), "it is kept")
        assert (tmp_path / "data/alerts").read_text().split() == [name]
        kill()
    for client in clients:
        client.close()
    for start in range(2):
        daemon = serve(**options)
        wait_until(lambda: told(daemon, "/v1/stats").get("windows", {}).get("10s", {}).get("seconds", 0) > 1.5, "it has looked twice")
        with daemon.connect(token) as operator:
            frames = operator.subscribe("system:alerts", since={"epoch": epoch, "seq": {"alert": 0}})[1]
        crossings = [(frame["data"]["alert"], frame["data"]["state"]) for frame in frames if frame["type"] == "system_alert"]
        assert crossings == [(name, "firing"), (name, "cleared")], start
        assert (tmp_path / "data/alerts").read_text() == ""
        kill()


def test_one_poller_is_no_storm(serve, tmp_path):
    """OBS-10, OBS-02: a user who opens a connection for each poll was never away; one who comes back again and again is one; many are a storm."""
    (tmp_path / "tickerd.toml").write_text('[alerts.reconnect_storm]\nfire = 3\nclear = 2\nfor = "0s"\nclear_for = "0s"\n')
    daemon = serve(config=tmp_path / "tickerd.toml")
    headers = {"Authorization": f"Bearer {mint(sub='poller', rooms=['r:1'])}"}
    for _ in range(30):
        assert http_request(daemon.address, "GET", "/v1/poll?room=r:1&timeout_ms=0", headers=headers | {"Connection": "close"})[0] == 200
    for _ in range(10):
        daemon.connect(mint(sub="flapping")).close()
        wait_until(lambda: daemon.metric("tickerd_users") == 0, "it is gone")
    wait_until(lambda: alert(daemon, "reconnect_storm")["value"] == 1, "one came back")
    assert alert(daemon, "reconnect_storm")["state"] == "quiet"
    for user in range(3):
        for _ in range(2):
            daemon.connect(mint(sub=f"u{user}")).close()
            wait_until(lambda: daemon.metric("tickerd_users") == 0, "it is gone")
    wait_until(lambda: alert(daemon, "reconnect_storm")["state"] == "firing", "four users came back")
