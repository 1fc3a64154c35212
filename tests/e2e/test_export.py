"""`tickerd export`: what is in a data directory, beside a running daemon and without one."""

import json
import os
import subprocess

from harness import BINARY, equity, note, risk_alert, wait_until

ROOM = "r:1"


def export(directory, *arguments):
    """Exit code, lines, and what was told."""
    command = [BINARY, "export", "--data-dir", directory, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=20)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def files(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_what_is_kept_is_exported_beside_the_daemon_and_without_it(serve, tmp_path):
    """DLV-12: each event as members got it, with its epoch; states too; nothing is written."""
    data = tmp_path / "data"
    daemon = serve(data_dir=data, reactors=1)
    client = daemon.member(ROOM, "r:2")
    _, (answer,) = daemon.publish_http('{"type":"note","room":"r:1","lane":"alert","mode":"stream","event_id":"e0","data":{\n  "n": "0"}}')
    daemon.publish(*[note(f"r:{n % 2 + 1}", data=n, event_id=f"e{n}") for n in range(1, 10)], risk_alert(n=1), equity(equity=5))
    expected = [dict(message) for message in client.recv_many(10)]
    wait_until(lambda: len(export(data, "--states")[1]) == 12, "the state is kept a second after it changed")
    for _ in range(2):
        code, lines, told = export(data, "--states")
        assert (code, told) == (0, "")
        of_rooms = [line for line in lines if line["room"].startswith("r:")]
        assert sorted(of_rooms, key=str) == sorted([{"epoch": answer["epoch"]} | message for message in expected], key=str)
        assert (lines[-1]["type"], lines[-1]["key"], lines[-1]["rev"], lines[-1]["data"]["equity"]) == ("EQUITY_UPDATED", "c1", 1, 5)
        assert [line["event_id"] for line in export(data, "--room", ROOM)[1]] == ["e0", "e2", "e4", "e6", "e8"]
        assert len(export(data, "--room", "r:*")[1]) == 10 and len(export(data)[1]) == 11
        newest = max(line["ts"] for line in lines)
        assert export(data, "--states", "--since", newest)[1] == [line for line in lines if line["ts"] == newest]
        assert export(data, "--states", "--since", newest + 1)[1] == []
        if daemon.process.poll() is None:
            daemon.end()
            before = files(data)
    assert files(data) == before, "it only reads"


def test_what_waits_for_an_acknowledgment_is_exported_with_the_time_until_which_it_does(serve, tmp_path):
    """QTE-12: --acks; what is acknowledged is an event like any other again."""
    data = tmp_path / "data"
    daemon = serve(data_dir=data, reactors=1)
    daemon.publish(*[{"type": "notification", "event_id": f"n{n}", "data": {"user_id": "u1"}} for n in range(3)])
    client = daemon.connect()
    assert client.request(type="ack", event_id="n1")["type"] == "ok"
    lines = [line for line in export(data, "--acks", "--room", "user:u1")[1]]
    assert [line["event_id"] for line in lines] == ["n0", "n1", "n2", "n0", "n2"]
    until = lines[3].pop("until")
    assert lines[3] == lines[0] and until == lines[0]["ts"] + 168 * 3600 * 1000
    assert len(export(data, "--room", "user:u1")[1]) == 3


def test_what_is_damaged_is_left_out_and_told(serve, tmp_path):
    """DLV-16: skipped, told where, and the exit code says so; a write that was cut off is no damage."""
    data = tmp_path / "data"
    daemon = serve(data_dir=data, reactors=1)
    daemon.publish(*[note(ROOM, data="x" * 100, event_id=f"e{n}") for n in range(10)])
    daemon.end()
    (segment,) = (data / "journal").glob("*.log")
    content = segment.read_bytes()
    segment.write_bytes(content[:-1])
    code, lines, told = export(data)
    assert (code, len(lines)) == (0, 9) and "cut off" in told and str(segment) in told
    at = content.index(b'"event_id":"e4"')
    segment.write_bytes(content[:at] + b"?" + content[at + 1 :])
    code, lines, told = export(data)
    assert code == 1 and [line["event_id"] for line in lines] == [f"e{n}" for n in range(10) if n != 4]
    assert f"{segment}: " in told and "are damaged" in told and "all else is there" in told
    (data / "state.db").write_bytes(os.urandom(9000))
    code, lines, told = export(data, "--states")
    assert code == 1 and len(lines) == 9 and "state.db" in told


def test_segments_that_are_gone_are_told(serve, tmp_path):
    """DLV-16: one that somebody cut to nothing, and one that is missing; the oldest may go, which is what retention does."""
    data = tmp_path / "data"
    daemon = serve(data_dir=data, reactors=1)
    daemon.publish(*[note(ROOM, event_id=f"e{n}") for n in range(10)])
    daemon.end()
    (segment,) = (data / "journal").glob("*.log")
    segment.rename(segment.with_name("0000000004.log"))
    assert export(data)[0] == 0
    segment.with_name("0000000002.log").touch()
    code, lines, told = export(data)
    assert code == 1 and len(lines) == 10
    assert "1 segments are missing between others" in told and "0000000002.log: it is empty" in told and "2 segments of events are gone" in told


def test_bad_usage_says_what_to_do(tmp_path):
    """OPS-05."""
    code, _, told = export(tmp_path)
    assert code == 1 and "journal" in told and "--data-dir" in told
    assert export(tmp_path, "--room", "a*b")[0] == 2
