"""`[analytics]`: numbers that the daemon makes of fills, kept over kill -9, verified against a recomputation."""

import json
import sqlite3
import subprocess
import time

import pytest
from harness import BINARY, PATIENCE_S, Daemon, http_request, mint, wait_until

ROOM = "challenge:c1"
NAMES = {"challenge_id": "c1", "user_id": "u1"}
SETTINGS = '[analytics]\nmarks_every = "0s"\n'


@pytest.fixture
def desk(tmp_path):
    """Starts daemons with analytics, each in a directory of its own or in the one that is named. Those that were not killed must end cleanly."""
    daemons = []

    def start(name="a", settings=SETTINGS, **flags):
        config = tmp_path / f"{name}.toml"
        config.write_text(settings)
        daemons.append(Daemon(tmp_path / f"daemon-{len(daemons)}", config=config, data_dir=tmp_path / name, reactors=1, **flags))
        return daemons[-1]

    yield start
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.end()


def kill(daemon):
    """kill -9."""
    daemon.process.kill()
    daemon.process.wait()


def fill(side, quantity, price, **more):
    return {"type": "TRADE_EXECUTED", "data": NAMES | {"symbol": "AAPL", "side": side, "quantity": quantity, "price": price} | more}


def mark(price, symbol="AAPL", **more):
    return {"type": "market.data.update", "data": {"symbol": symbol, "price": price} | more}


def inputs(daemon, result):
    return daemon.metrics().get(f'tickerd_analytics_inputs_total{{result="{result}"}}', 0)


def until(daemon, **counts):
    """Waits until so many inputs of each kind were taken since the start."""
    for result, count in counts.items():
        wait_until(lambda: inputs(daemon, result) >= count, f"{count} of {result}: {inputs(daemon, result)}", PATIENCE_S)


def equity_of(client, **wanted):
    """The next equity that is so, and all messages before it."""
    before = []
    while True:
        message = client.recv(PATIENCE_S)
        if message["type"] == "EQUITY_UPDATED" and wanted.items() <= message["data"].items():
            return message["data"], before
        before.append(message)


def verify(data, *arguments):
    command = [BINARY, "verify", "--data-dir", data, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, text=True)
    return done.returncode, done.stdout, done.stderr


def kept(data, kind):
    """What a restart would give: the newest state of that type, and all events of it."""
    done = subprocess.run([BINARY, "export", "--data-dir", data, "--states", "--room", ROOM], capture_output=True, timeout=PATIENCE_S)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["data"] for line in lines if line["type"] == kind]


def moment(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}Z"


def test_fills_over_http_become_equity(desk, tmp_path):
    """EVT-01, EVT-05, MET-05: 14 fields, exactly; the status goes from PENDING to ACTIVE with the first trade; money never is a float."""
    daemon = desk()
    client = daemon.connect(mint("u1", rooms=[ROOM]))
    client.subscribe(ROOM)
    ts = int(time.time() * 1000)
    status, answers = daemon.publish_http(
        [fill("BUY", "10", "187.2500", fee="1.00", trade_id="t1", ts=ts), fill("SELL", 4, 189.10, commission=0.5, trade_id="t2", ts=ts + 1)]
    )
    assert status == 200 and all(answer["ok"] for answer in answers)
    data, before = equity_of(client, total_trades=2)
    assert data == {
        "challenge_id": "c1",
        "user_id": "u1",
        "previous_equity": "9999.00",
        "current_equity": "10017.00",
        "max_equity_ever": "10017.00",
        "daily_start_equity": "10000.00",
        "daily_max_equity": "10017.00",
        "daily_min_equity": "9999.00",
        "total_pnl": "17.00",
        "total_trades": 2,
        "last_trade_at": moment(ts + 1),
        "trade_pnl": "6.90",
        "trade_symbol": "AAPL",
        "updated_at": moment(ts + 1),
    }
    changes = [message["data"] for message in before if message["type"] == "CHALLENGE_STATUS_CHANGED"]
    assert [(change["old_status"], change["new_status"]) for change in changes] == [("PENDING", "ACTIVE")]
    assert daemon.connect(mint("u2")).refused(type="subscribe", room=ROOM) == "access_denied"
    assert daemon.connect(mint("u1")).subscribe(ROOM)[0]["type"] == "subscribed", "the room is the trader's own"
    daemon.end()
    code, out, _ = verify(tmp_path / "a")
    assert (code, out) == (0, f"{ROOM}: equal, from 2 inputs\n1 accounts, 0 with other numbers\n")


def test_a_price_counts_in_the_room_of_its_symbol_alone(desk):
    """ARC-06, AUT-11, promise 3: who may publish in a room of his own sets nobody's prices; and no price is 0 or below."""
    daemon = desk()
    client = daemon.connect(mint("u1", rooms=[ROOM]))
    client.subscribe(ROOM)
    daemon.publish(fill("BUY", "100", "100.00"))
    until(daemon, fill=1)
    narrow = mint("feed", scope="publish", publish_rooms=["challenge:evil", "market:EVIL"])
    assert daemon.publish_http(mark("1") | {"room": "market:AAPL"}, narrow)[0] == 403
    strays = [mark("1") | {"room": room} for room in ("challenge:evil", "market:EVIL")]
    for stray in strays:
        status, (answer,) = daemon.publish_http(stray, narrow)
        assert (status, answer["ok"]) == (200, True)
    daemon.publish(mark("0"), mark("-3"), mark("1") | {"room": "other:AAPL"})
    until(daemon, refused=5)
    daemon.publish(mark("100.50"))
    until(daemon, mark=1)
    _, before = equity_of(client, current_equity="10050.00")
    assert [message["type"] for message in before if message.get("lane") == "alert"] == ["CHALLENGE_STATUS_CHANGED"], "its first trade"
    assert {message["data"]["current_equity"] for message in before if message["type"] == "EQUITY_UPDATED"} <= {"10000.00"}


def test_the_alert_and_the_breach_come_once(desk):
    """EVT-03, EVT-04, EVT-06, MET-06, MET-07, X27: at 80 % of the limit an alert, at the limit nothing, beyond it the end; each once."""
    daemon = desk()
    client = daemon.connect(mint("u1", rooms=[ROOM]))
    client.subscribe(ROOM)
    daemon.publish(fill("BUY", "100", "100.00"))
    until(daemon, fill=1)
    marks = 0
    for price in ["96.01", "96.00", "95.99", "95.50", "95.00"]:
        daemon.publish(mark(price))
        marks += 1
        until(daemon, mark=marks)
    _, before = equity_of(client, current_equity="9500.00")
    alerts = [message["data"] for message in before if message["type"] == "RISK_ALERT"]
    assert [(alert["alert_type"], alert["severity"], alert["drawdown_percentage"], alert["threshold"]) for alert in alerts] == [
        ("HIGH_DAILY_DRAWDOWN", "MEDIUM", "4.00", "5.00")
    ]
    daemon.publish(mark("94.99"))
    until(daemon, mark=marks + 1)
    _, before = equity_of(client, current_equity="9499.00")
    ends = [message["data"] for message in before if message["type"] == "CHALLENGE_STATUS_CHANGED"]
    assert [(end["old_status"], end["new_status"], end["reason"]) for end in ends] == [("ACTIVE", "FAILED", "MAX_DAILY_DRAWDOWN")]
    daemon.publish(mark("90.00"))
    until(daemon, mark=marks + 2)
    _, before = equity_of(client, current_equity="9000.00")
    assert "CHALLENGE_STATUS_CHANGED" not in [message["type"] for message in before], "it is over"


def test_a_lost_file_takes_no_verdict_back(desk, tmp_path):
    """EVT-04, MET-12: without `analytics.db`, all is made anew of the journal, which has no prices. A challenge that failed by one stays FAILED, and
    what was told is not told again, also when its fills alone would have reached the target."""
    daemon = desk()
    client = daemon.connect(mint("u1", rooms=[ROOM]))
    client.subscribe(ROOM)
    daemon.publish(fill("BUY", "100", "100.00"), fill("BUY", "0", "100.00", trade_id="bad"))
    until(daemon, fill=1, refused=1)
    for marks, price in enumerate(["96.00", "94.00"], 1):
        daemon.publish(mark(price))
        until(daemon, mark=marks)
    equity_of(client, current_equity="9400.00")
    daemon.end()
    kinds = ["CHALLENGE_STATUS_CHANGED", "RISK_ALERT", "error.occurred"]
    told = {kind: kept(tmp_path / "a", kind) for kind in kinds}
    assert [len(told[kind]) for kind in kinds] == [2, 1, 1] and told["error.occurred"][0]["name"] == "bad"
    for name in ["analytics.db", "analytics.db-wal", "analytics.db-shm"]:
        (tmp_path / "a" / name).unlink(missing_ok=True)
    daemon = desk()
    until(daemon, fill=1, refused=1)
    client = daemon.connect(mint("u1", rooms=[ROOM]))
    client.subscribe(ROOM)
    daemon.publish(fill("SELL", "100", "111.00"))
    equity_of(client, current_equity="11100.00", total_trades=2)
    assert '"event":"analytics_settled"' in daemon.stderr()
    daemon.end()
    assert {kind: kept(tmp_path / "a", kind) for kind in kinds} == told
    assert verify(tmp_path / "a")[0] == 0


def script(start_ms):
    """A morning: fills and marks at given times; the last fill closes something, so that all figures are published after it."""
    prices = [100 + (n * 7919 % 400 - 200) / 100 for n in range(120)]
    events = []
    for n, price in enumerate(prices):
        ts = start_ms + n * 10
        if n % 3 == 2 and n < len(prices) - 1:
            # Further out than any fill: equity is highest and lowest at marks.
            events.append(mark(f"{price + (5 if n % 2 else -5):.2f}", ts=ts))
        else:
            side = "BUY" if n * 31 % 7 < 4 and n < len(prices) - 1 else "SELL"
            events.append(fill(side, str(n % 5 + 1), f"{price:.2f}", fee="0.10", trade_id=f"t{n}", ts=ts))
    return events


def play(daemon, events):
    """Publishes one after the other, each when the one before counts, so that the order is the same each time."""
    counts = {"fill": inputs(daemon, "fill"), "mark": inputs(daemon, "mark")}
    for event in events:
        kind = "mark" if event["type"] == "market.data.update" else "fill"
        daemon.publish(event)
        counts[kind] += 1
        until(daemon, **{kind: counts[kind]})


def test_kill_9_in_mid_day_changes_no_number(desk, tmp_path):
    """MET-03, MET-12: the same day, once without and once with two kills; every field, every alert, and what a recomputation says."""
    events = script(int(time.time() * 1000) - 5_000)
    plain = desk("plain")
    play(plain, events)
    broken = desk("broken")
    play(broken, events[:50])
    kill(broken)
    broken = desk("broken")
    # What is published again, because its answer was lost, counts once.
    broken.publish(*[event for event in events[40:50] if event["type"] == "TRADE_EXECUTED"])
    play(broken, events[50:90])
    kill(broken)
    broken = desk("broken")
    play(broken, events[90:])
    for daemon in (plain, broken):
        wait_until(lambda: daemon.metrics()["tickerd_analytics_behind_bytes"] == 0, "all is read")
        daemon.end()
    for kind in ("EQUITY_UPDATED", "metrics.update", "CHALLENGE_STATUS_CHANGED", "RISK_ALERT"):
        assert kept(tmp_path / "plain", kind) == kept(tmp_path / "broken", kind), kind
    assert len(kept(tmp_path / "plain", "EQUITY_UPDATED")) == 1
    recomputed = [json.loads(verify(tmp_path / name, "--json")[1])["recomputed"] for name in ("plain", "broken")]
    assert recomputed[0] == recomputed[1]
    assert [verify(tmp_path / name)[0] for name in ("plain", "broken")] == [0, 0]


def test_what_comes_while_the_analytics_do_not_run_is_read_from_the_journal(desk, tmp_path):
    """MET-12: numbers may be asked for later: the journal has the fills, and each counts once, however often they are asked for."""
    events = [event for event in script(int(time.time() * 1000) - 5_000) if event["type"] == "TRADE_EXECUTED"][:20]
    daemon = desk("late", settings="")
    daemon.publish(*events)
    daemon.end()
    assert not (tmp_path / "late" / "analytics.db").exists()
    for _ in range(2):
        daemon = desk("late")
        client = daemon.connect(mint("u1", rooms=[ROOM]))
        client.subscribe(ROOM)
        data = wait_until(lambda: kept(tmp_path / "late", "EQUITY_UPDATED"), "equity is published", PATIENCE_S)
        assert data[0]["total_trades"] == 20
        daemon.end()
    assert len(kept(tmp_path / "late", "CHALLENGE_STATUS_CHANGED")) == 1


def test_a_late_fill_counts_at_its_time(desk, tmp_path):
    """MET-12: the day is what it would have been, had the fill come in time."""
    now = int(time.time() * 1000) - 5_000
    first, second, third = (
        fill("BUY", "10", "100", trade_id="a", ts=now),
        fill("SELL", "10", "90", trade_id="b", ts=now + 10),
        fill("SELL", "10", "110", trade_id="c", ts=now + 20),
    )
    daemon = desk("order")
    play(daemon, [first, second, third])
    late = desk("late")
    play(late, [first, third, second])
    assert late.metrics()["tickerd_analytics_late_total"] == 1
    for one in (daemon, late):
        one.end()
    sets = [json.loads(verify(tmp_path / name, "--json")[1]) for name in ("order", "late")]
    assert sets[0]["recomputed"] == sets[1]["recomputed"] and sets[0]["drifts"] == sets[1]["drifts"] == []


def test_a_bad_fill_is_told_and_counts_for_nothing(desk, tmp_path):
    """What is wrong, where and what to do, in the room that it came to; it is counted, logged and kept aside."""
    daemon = desk()
    client = daemon.connect(mint("u1", rooms=[ROOM]))
    client.subscribe(ROOM)
    daemon.publish(fill("BUY", "10", "100"), fill("HOLD", "1", "100"), fill("BUY", "0", "100"), fill("BUY", "1e30", "100"))
    told = []
    while len(told) < 3:
        message = client.recv(PATIENCE_S)
        if message["type"] == "error.occurred":
            told.append(message["data"])
    assert "`side` is" in told[0]["message"] and {tell["code"] for tell in told} == {"input_refused"}
    until(daemon, fill=1, refused=3)
    assert '"event":"analytics_refused"' in daemon.stderr()
    rows = sqlite3.connect(tmp_path / "a" / "analytics.db").execute("SELECT refused, data FROM inputs WHERE refused IS NOT NULL").fetchall()
    assert len(rows) == 3 and all("AAPL" in data for _, data in rows)
    daemon.publish(fill("BUY", "10", "100", trade_id="x"), fill("BUY", "10", "100", trade_id="x"))
    until(daemon, fill=2, duplicate=1)
    daemon.publish(fill("BUY", "0", "100", trade_id="y"), fill("BUY", "10", "100", trade_id="y"))
    until(daemon, fill=3, refused=4)  # the name of what does not count is free
    assert verify(tmp_path / "a")[0] == 0


def test_drift_is_found(desk, tmp_path):
    """MET-04: a number that is not the one that comes of the fills is found by `verify` and by the daemon, which alerts."""
    settings = SETTINGS + 'verify_every = "1s"\n'
    daemon = desk("d", settings)
    play(daemon, script(int(time.time() * 1000) - 5_000)[:30])
    wait_until(lambda: daemon.metrics()["tickerd_analytics_verified_total"] >= 1, "a round of verification", PATIENCE_S)
    assert daemon.metrics()["tickerd_analytics_drifted_accounts"] == 0
    daemon.end()
    with sqlite3.connect(tmp_path / "d" / "analytics.db") as db:
        db.execute("UPDATE inputs SET price = '1.00' WHERE id = (SELECT min(id) FROM inputs WHERE kind = 'fill')")
    code, out, err = verify(tmp_path / "d")
    assert code == 1 and ROOM in out and "recomputed" in out and "1 of 1 accounts" in err
    assert json.loads(verify(tmp_path / "d", "--json", "--account", ROOM)[1])["drifts"]
    daemon = desk("d", settings)
    reader = daemon.connect(mint("ops", rooms=["system:alerts"]))
    reader.subscribe("system:alerts")
    while True:
        alert = reader.recv(PATIENCE_S)["data"]
        if alert["alert"] == "metrics_drift":
            break
    assert alert["state"] == "firing"
    assert '"event":"metrics_drift"' in daemon.stderr()
    wait_until(lambda: json.loads(http_request(daemon.admin, "GET", "/healthz")[2])["state"] == "degraded", "health says so")


def test_verify_says_what_it_lacks(tmp_path):
    """OPS-05: 2 for what is no data directory with analytics, or no account of it."""
    code, _, err = verify(tmp_path)
    assert code == 2 and "[analytics]" in err


def test_nothing_runs_unless_it_is_asked_for(desk, tmp_path):
    """No thread, no file, no metric; and where it cannot be, the daemon does not start."""
    daemon = desk("off", settings="")
    daemon.publish(fill("BUY", "10", "100"))
    threads = {path.read_text().strip() for path in (tmp_path / "/proc" / str(daemon.process.pid) / "task").glob("*/comm")}
    assert "hub" in threads and not threads & {"analytics", "verify"}
    assert not any("analytics" in name for name in daemon.metrics())
    assert not (tmp_path / "off" / "analytics.db").exists()
    config = tmp_path / "bad.toml"
    config.write_text('[analytics]\nfills = ["quote_state"]\n')
    key = daemon.key_file
    for arguments, told in [((), "give --data-dir"), (("--data-dir", str(tmp_path / "x")), "must be stream")]:
        done = subprocess.run([BINARY, "check", "--config", config, "--jwt-key", key, *arguments], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and told in done.stderr, done.stderr
