"""The audit trail and the performance records: what they have, what they never have, and what becomes of them when the disk or the daemon fails."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time

import pytest
from certificates import Authority
from harness import BINARY, PUBLISHER, Client, equity, http_request, mint, note, risk_alert, wait_until
from test_journal import House
from websockets.exceptions import InvalidStatus

ROOM = "r:1"
SECRET_DATA = "what-the-desk-shall-not-read-4711"


@pytest.fixture
def house(tmp_path):
    """Starts daemons on one data directory, one after the other."""
    house = House(tmp_path)
    yield house
    house.end()


def query(data, sql):
    """Read beside the daemon, as the public tool does."""
    with contextlib.closing(sqlite3.connect(f"file:{data / 'audit.db'}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql)]


def trail(data, *kinds):
    rows = query(data, "SELECT * FROM trail ORDER BY id")
    return [row for row in rows if not kinds or row["kind"] in kinds]


def total(data, *kinds):
    return sum(row["count"] for row in trail(data, *kinds))


def export(data, *arguments):
    done = subprocess.run([BINARY, "export", "--data-dir", data, *map(str, arguments)], capture_output=True, timeout=20)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def admin(daemon, path, **body):
    status, _, answer = http_request(daemon.admin, "POST", path, json.dumps(body), {"Content-Type": "application/json"})
    assert status == 200, answer


def turned_away(daemon, token, status):
    with pytest.raises(InvalidStatus) as refused:
        daemon.connect(token)
    assert refused.value.response.status_code == status


def test_who_is_refused_is_named_where_a_token_of_ours_does(house):
    """OBS-17: too many connections, by a WebSocket or a request; a token that was revoked, by status, by close code, and by message; not one that is
    not ours."""
    daemon = house.start(max_connections_per_user=1)
    token = mint("ann", jti="t1")
    with daemon.connect(token):
        assert Client(daemon.address, token, welcome=False).close_code() == 4003
        for path in ("/v1/poll?room=user:ann", "/v1/events?room=user:ann"):
            assert http_request(daemon.address, "GET", path, headers={"Authorization": f"Bearer {token}"})[0] == 429
        admin(daemon, "/v1/revoke", jti="t1")
    turned_away(daemon, token, 401)
    assert Client(daemon.address, token, by="subprotocol", origin="https://app.example", welcome=False).close_code() == 4301
    by_message = Client(daemon.address, None, by="none", welcome=False)
    by_message.send(type="auth", token=token)
    assert by_message.close_code() == 4301
    turned_away(daemon, mint("ann", key="another-secret-of-32-bytes-or-more-000"), 401)
    house.end()
    assert [(row["user"], row["subject"], row["reason"]) for row in trail(house.data, "refuse")] == [
        ("ann", "connect", "connection_limit"),
        ("ann", "connect", "too_many_connections"),
        ("ann", "connect", "too_many_connections"),
        ("ann", "connect", "revoked"),
        ("ann", "connect", "token_revoked"),
        ("ann", "connect", "token_revoked"),
        (None, "connect", "signature"),
    ]


def test_each_thing_that_happens_has_its_entry_and_no_secret_is_in_one(house):
    """OBS-15, OBS-16, OBS-17: who, from where, on which connection, which room, why; never a token, nor what is in an event."""
    daemon = house.start(audit_age="1h")
    tokens = [mint("ann", rooms=[ROOM]), mint("bob"), mint("eve", key="another-secret-of-32-bytes-or-more-000"), mint(**PUBLISHER), mint("cid", ttl=-60)]
    ann, bob = daemon.connect(tokens[0]), daemon.connect(tokens[1])
    ann.subscribe(ROOM)
    assert bob.refused(type="subscribe", room=ROOM) == "access_denied"
    bob.subscribe("user:bob")
    daemon.publish(note(ROOM, event_id="e1", data={"x": SECRET_DATA}), note(ROOM, data=2), risk_alert(text=SECRET_DATA))
    assert [answer["ok"] for answer in daemon.publish_unix({"type": "note", "data": 1}, {"type": "note"}, b"{")] == [False, False, False]
    event = ann.recv_type("note")
    assert daemon.publish_http(equity(text=SECRET_DATA), token=tokens[3])[0] == 200
    assert daemon.publish_http(equity(), token=tokens[1])[0] == 403
    assert daemon.publish_http(equity(), token=tokens[2])[0] == 401
    daemon.publish({"type": "notification", "event_id": "n1", "data": {"user_id": "bob", "text": SECRET_DATA}})
    assert bob.request(type="ack", event_id="n1")["type"] == "ok"
    ann.send(type="ack", room=ROOM, lane="update", epoch=daemon.publish(note("r:9"))[0]["epoch"], seq=event["seq"])
    assert ann.request(type="unsubscribe", room=ROOM)["type"] == "ok"
    turned_away(daemon, tokens[2], 401)
    turned_away(daemon, tokens[4], 401)
    assert Client(daemon.address, "bad", by="first_message", welcome=False).close_code() == 4001
    admin(daemon, "/v1/disconnect", sub="ann")
    assert ann.close_code() == 4005
    admin(daemon, "/v1/revoke", jti="some-token")
    admin(daemon, "/v1/log-level", level="info")
    bob.close()
    house.end()
    sessions = {row["user"]: row["session"] for row in trail(house.data, "connect")}
    assert sessions == {"ann": ann.welcome["data"]["session"], "bob": bob.welcome["data"]["session"]}
    happened = [(row["kind"], row["user"], row["room"], row["subject"], row["reason"], row["count"]) for row in trail(house.data)]
    of_ann = [entry for entry in happened if entry[1] == "ann"]
    assert of_ann[:4] == [
        ("connect", "ann", None, None, None, 1),
        ("join", "ann", ROOM, None, None, 1),
        ("ack", "ann", ROOM, "update:1", None, 1),
        ("leave", "ann", ROOM, None, "unsubscribed", 1),
    ]
    # Two threads tell these: either may be first.
    assert sorted(of_ann[4:]) == [("admin", "ann", None, "disconnect", None, 1), ("disconnect", "ann", None, None, "denied", 1)]
    assert [entry for entry in happened if entry[1] == "bob"] == [
        ("connect", "bob", None, None, None, 1),
        ("deny", "bob", ROOM, None, "access_denied", 1),
        ("join", "bob", "user:bob", None, None, 1),
        ("refuse", "bob", None, "publish", "forbidden", 1),
        ("ack", "bob", None, "n1", None, 1),
        ("disconnect", "bob", None, None, "normal", 1),
    ]
    assert [entry[3:] for entry in happened if entry[0] == "admin" and entry[1] is None] == [
        ("revoke jti some-token", None, 0),
        ("log-level", None, 1),
    ]
    assert sorted(entry[3:] for entry in happened if entry[0] == "refuse") == [
        ("connect", "expired", 1),
        ("connect", "invalid_token", 1),
        ("connect", "signature", 1),
        ("publish", "forbidden", 1),
        ("publish", "signature", 1),
    ]
    published = {(row["user"], row["subject"]): (row["count"], row["accepted"], row["refused"]) for row in trail(house.data, "publish")}
    assert published == {
        ("unix-socket", "note"): (5, 3, 2),
        ("unix-socket", "RISK_ALERT"): (1, 1, 0),
        ("unix-socket", "notification"): (1, 1, 0),
        ("unix-socket", None): (1, 0, 1),
        ("backend", "EQUITY_UPDATED"): (1, 1, 0),
    }
    assert all(row["ip"] == "127.0.0.1" for row in trail(house.data) if row["session"] or row["kind"] == "refuse")
    assert all(abs(row["ts"] / 1000 - time.time()) < 60 for row in trail(house.data))
    for path in house.data.glob("audit.db*"):
        content = path.read_bytes()
        assert not [token for token in [*tokens, SECRET_DATA] if token.encode() in content], path
        assert not [token for token in tokens if token.rpartition(".")[2].encode() in content], path


def test_what_an_administrator_reloads_is_in_the_trail(house, tmp_path):
    """NET-08: SIGHUP takes on certificates, and the trail says so; a bad one too."""
    certificate, key, _ = Authority(tmp_path).issue()
    daemon = house.start(tls_cert=certificate, tls_key=key)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: any(line.get("event") == "reloaded" for line in house.log()), "the certificates are served")
    house.end()
    assert [(row["subject"], row["reason"]) for row in trail(house.data, "admin")] == [("reload", None)]


def test_a_kill_costs_the_last_moment_at_most(house):
    """OBS-15: what is a second old is on disk, and the next start goes on behind it."""
    daemon = house.start()
    for n in range(20):
        daemon.connect(mint(f"u{n}", rooms=[ROOM])).subscribe(ROOM)
    time.sleep(1)
    daemon = house.restart()
    assert (total(house.data, "connect"), total(house.data, "join")) == (20, 20)
    daemon.connect(mint("late"))
    house.end()
    assert [row["user"] for row in trail(house.data, "connect")] == [*(f"u{n}" for n in range(20)), "late"]
    assert len(query(house.data, "SELECT ts FROM performance")) == 1, "the minute of a killed daemon is lost, that of one that ends is not"


def test_a_flood_that_the_disk_does_not_take_is_counted_to_the_last_entry(house):
    """ERR-03: while another program holds the file, entries wait, then are dropped and counted; the daemon does not wait, and recovers."""
    daemon = house.start(commands_per_client=0)
    wait_until(lambda: (house.data / "audit.db").exists(), "the file is there")
    holder = sqlite3.connect(house.data / "audit.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    client = daemon.connect(mint(rooms=[ROOM]))
    for n in range(4000):
        client.send(type="subscribe", room=ROOM)
        if n % 100 < 99:
            client.send(type="unsubscribe", room=ROOM)
        else:
            # Its answer says that all before it is done, which a ping's would not: that need not wait for the hub.
            assert client.request(type="unsubscribe", room=ROOM)["type"] == "ok"
            client.pending.clear()
    wait_until(lambda: daemon.metric("audit_lost_total") > 1000 and daemon.metric("audit_failures_total") > 0, "entries are dropped")
    holder.execute("ROLLBACK")
    holder.close()
    wait_until(lambda: daemon.metric("audit_entries_total") > 4000, "they are written again")
    client.close()
    lost = daemon.metric("audit_lost_total")
    house.end()
    assert (total(house.data, "lost"), trail(house.data, "lost")[0]["reason"]) == (lost, "queue_full")
    assert total(house.data, "connect", "join", "leave", "disconnect", "lost") == 8002
    events = [line["event"] for line in house.log() if line.get("event", "").startswith("audit_")]
    assert events == ["audit_failing", "audit_recovered"]


def test_nobody_else_reads_what_is_in_the_data_directory(house):
    """OBS-15: also where the directory was there before, and others may look into it."""
    house.data.mkdir(mode=0o755)
    daemon = house.start()
    daemon.publish(equity(text=SECRET_DATA))
    admin(daemon, "/v1/revoke", jti="some-token")
    wait_until(lambda: trail(house.data, "admin"), "it is written")
    modes = {file.name: oct(file.stat().st_mode & 0o077) for file in house.data.rglob("*") if file.is_file() and file.name != "lock"}
    assert {"state.db", "audit.db", "revocations.ndjson"} <= modes.keys() and set(modes.values()) == {"0o0"}, modes


def test_a_full_disk_stops_nothing_and_is_told_once(house):
    """DLV-16: on a file system of 2 MiB; when there is room again, what waited is written."""
    house.data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", house.data], check=True)
    try:
        daemon = house.start()
        first = daemon.connect(mint("early", rooms=[ROOM]))
        wait_until(lambda: total(house.data, "connect") == 1, "it is written")
        ballast = house.data / "ballast"
        file = os.open(ballast, os.O_CREAT | os.O_WRONLY)
        with pytest.raises(OSError, match="No space"):
            while True:
                os.write(file, b"x" * 4096)
        os.close(file)

        def is_failing():
            daemon.connect(mint("other")).close()
            return daemon.metric("audit_failures_total") > 1

        # What the file has of free pages does for some.
        wait_until(is_failing, "the disk does not take it")
        first.subscribe(ROOM)
        daemon.publish(note(ROOM, mode="transient", data=1))
        assert first.recv()["data"] == 1
        written = total(house.data, "connect")
        ballast.unlink()
        wait_until(lambda: total(house.data, "connect") > written, "the disk takes it again")
        house.end()
        assert total(house.data, "connect") == total(house.data, "disconnect")
        events = [line["event"] for line in house.log() if line.get("event", "").startswith("audit_")]
        assert events == ["audit_failing", "audit_recovered"]
    finally:
        house.end()
        subprocess.run(["umount", "-l", house.data], check=True)


def test_a_file_that_is_damaged_or_removed_is_begun_anew(house):
    """DLV-16: told in the log; the damaged one is kept for who wants to look at it."""
    house.start().connect(mint("first"))
    house.end()
    (house.data / "audit.db").write_bytes(os.urandom(20_000))
    daemon = house.start()
    assert (house.data / "audit.db.damaged-1").exists()
    daemon.connect(mint("second"))
    wait_until(lambda: total(house.data, "connect") == 1, "it is written")
    for path in house.data.glob("audit.db*"):
        path.unlink()
    daemon.connect(mint("third"))

    def users():
        with contextlib.suppress(sqlite3.OperationalError):  # it is just being made
            return [row["user"] for row in trail(house.data, "connect")]

    wait_until(lambda: users() == ["third"], "it is written")
    house.end()
    assert [line["event"] for line in house.log() if line.get("event", "").startswith("audit_")] == ["audit_damaged", "audit_gone"]


def test_a_record_says_what_went_on_since_the_last_one(house):
    """OBS-12: connections, events, deliveries and how long they took, what was refused, what the process took."""
    daemon = house.start(audit_age=0)
    client = daemon.connect(mint(rooms=[ROOM]))
    client.subscribe(ROOM)
    daemon.publish(*[note(ROOM, "alert", data=n) for n in range(7)], note(ROOM, "update"))
    assert not daemon.publish_unix(note("no room"))[0]["ok"]
    client.recv_many(8)
    wait_until(lambda: daemon.metric("events_accepted_total") == 8, "the hub's figures are there")
    metrics = daemon.metrics()
    house.end()
    assert trail(house.data) == [], "--audit-age 0 keeps no trail"
    [record] = query(house.data, "SELECT * FROM performance")
    assert (record["events_alert"], record["events_update"], record["events_metric"]) == (7, 1, 0)
    # Answers to a join are frames of a lane too, and no deliveries.
    assert [record["deliveries_alert"], record["deliveries_update"], record["deliveries_metric"]] == [7, 1, 0]
    assert 0 < record["p50_us_alert"] <= record["p99_us_alert"] <= record["max_us_alert"] < 20_000_000
    assert record["p50_us_metric"] is None
    assert json.loads(record["refusals"]) == {"invalid_field": 1} and json.loads(record["closes"])["shutdown"] == 1
    assert record["rss_bytes"] > 1 << 20 and record["journal_bytes"] >= metrics["tickerd_journal_bytes"] > 0 < record["journal_sync_p99_us"]
    assert 0 < record["took_ms"] < 60_000 and record["audit_lost"] == 0
    [exported] = export(house.data, "--performance")[1]
    parsed = record | {name: json.loads(record[name]) for name in ("refusals", "closes", "drops")}
    assert exported == {name: value for name, value in parsed.items() if value is not None}


def test_the_trail_is_exported_beside_the_daemon_and_without_it(house):
    """OBS-15: as lines of JSON, by room and time; it only reads."""
    daemon = house.start()
    daemon.member("r:1", "r:2", token=mint("ann", rooms=["r:*"]))
    wait_until(lambda: total(house.data, "join") == 2, "it is written")
    code, lines, told = export(house.data, "--audit")
    assert (code, told, [line["kind"] for line in lines]) == (0, "", ["connect", "join", "join"])
    assert lines == [{name: value for name, value in row.items() if value is not None and name != "id"} for row in trail(house.data)]
    assert [line["room"] for line in export(house.data, "--audit", "--room", "r:2")[1]] == ["r:2"]
    house.end()
    before = {path: path.read_bytes() for path in house.data.rglob("*") if path.is_file()}
    lines = export(house.data, "--audit")[1]
    assert [line["kind"] for line in lines] == ["connect", "join", "join", "disconnect"]
    assert export(house.data, "--audit", "--since", lines[-1]["ts"] + 1)[1] == []
    assert {path: path.read_bytes() for path in house.data.rglob("*") if path.is_file()} == before
    assert export(house.data, "--audit", "--states")[0] == 2
    (house.data / "audit.db").write_bytes(b"x" * 9000)
    code, _, told = export(house.data, "--performance")
    assert code == 1 and "audit.db" in told


def test_the_log_has_a_line_for_each_connection_and_not_for_each_of_a_flood_that_is_refused(serve):
    """OBS-15, OBS-17: with user, address, session and reason, as JSON; of a flood of bad tokens all are counted."""
    daemon = serve(reactors=1)
    client = daemon.connect(mint("ann"))
    session = client.welcome["data"]["session"]
    client.close()
    flood = 400
    for _ in range(flood):
        assert http_request(daemon.address, "POST", "/v1/publish", "{}", {"Authorization": "Bearer bad"})[0] == 401
    assert daemon.metric("token_errors_total", "malformed") == flood
    daemon.end()
    log = [json.loads(line) for line in daemon.stderr().splitlines()]
    lines = [(line["event"], line["user"], line["client"], line.get("reason")) for line in log if line.get("session") == session]
    assert lines == [("connected", "ann", "127.0.0.1", None), ("disconnected", "ann", "127.0.0.1", "normal")]
    refused = [line for line in log if line.get("event") == "refused"]
    assert (refused[0]["what"], refused[0]["reason"], refused[0]["client"]) == ("publish", "malformed", "127.0.0.1")
    assert 100 <= len(refused) < 200
