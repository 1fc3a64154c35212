"""What the log says, to whom, and how loud."""

import json
import os

from harness import http_request, mint, wait_until

PRIORITIES = {"ERROR": "<3>", "WARN": "<4>", "INFO": "<6>", "DEBUG": "<7>", "TRACE": "<7>"}


def level(daemon, name):
    status, _, _ = http_request(daemon.admin, "POST", "/v1/log-level", json.dumps({"level": name}), {"Content-Type": "application/json"})
    assert status == 200


def test_journald_gets_priorities(serve, tmp_path, monkeypatch):
    """OBS-21: where stderr is what JOURNAL_STREAM names, each line begins with its level's priority, and is the same behind it; elsewhere, as for whoever
    inherits the variable, no line does."""
    file = tmp_path / "daemon-0" / "stderr.log"
    file.parent.mkdir()
    file.touch()
    monkeypatch.setenv("JOURNAL_STREAM", f"{file.stat().st_dev}:{file.stat().st_ino}")
    journal, other = serve(), serve()
    level(journal, "trace")
    with journal.member("challenge:c1", token=mint(rooms=["challenge:*"])) as client:
        assert client.refused(type="dance") == "unknown_type"
    wait_until(lambda: "disconnected" in journal.stderr(), "the end is told")
    lines = journal.stderr().splitlines()
    levels = {json.loads(line[3:])["level"]: line[:3] for line in lines}
    assert {"INFO", "DEBUG", "TRACE"} <= set(levels) and all(PRIORITIES[name] == prefix for name, prefix in levels.items()), levels
    assert all(line.startswith("{") for line in other.stderr().splitlines()) and os.environ["JOURNAL_STREAM"]


def test_debug_and_trace_say_more(serve):
    """OBS-15, OBS-21: debug tells of each connection that is accepted, each join, its end and its denial; trace of each command too, and never a token."""
    daemon = serve(log_level="debug")
    token = mint(rooms=["challenge:c1"])

    def visit():
        with daemon.connect(token, by="first_message") as client:
            client.subscribe("challenge:c1")
            assert client.refused(type="subscribe", room="challenge:c2") == "access_denied"
            client.request(type="unsubscribe", room="challenge:c1")

    def events(name):
        return [line for line in map(json.loads, daemon.stderr().splitlines()) if line["event"] == name]

    visit()
    for name in ("accepted", "joined", "join_denied", "left"):
        wait_until(lambda name=name: events(name), name)
    assert events("joined")[0]["room"] == "challenge:c1" and events("join_denied")[0]["room"] == "challenge:c2"
    assert not events("command")
    level(daemon, "trace")
    visit()
    commands = wait_until(lambda: len(events("command")) >= 4 and events("command"), "commands are told")
    assert any("Subscribe" in line["command"] for line in commands) and any("Auth" in line["command"] for line in commands)
    assert token not in daemon.stderr() and token.split(".")[2] not in daemon.stderr()
