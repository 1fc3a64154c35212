"""The API documents are true: what they say of codes and types is what the code has, and every message of a whole run is one of theirs (ERR-01).

That nothing else is said by the daemon is tested by every other test here: see `contract`.
"""

import collections
import json
import re
import time

import contract
import harness
import pytest
from contract import ASYNCAPI, MESSAGES, OPENAPI
from harness import ROOT, http_request, mint, note, risk_alert
from openapi_spec_validator import validate
from wire import TEXT, RawClient

README = (ROOT / "README.md").read_text()
PACKAGE = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)


def table(name):
    """The cells of a table of README that is made from the code."""
    rows = re.search(rf"<!-- {name}: .*?-->\n(.*?)<!-- /{name} -->", README, re.DOTALL).group(1).splitlines()[2:]
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]


def test_what_the_documents_do_not_have_is_found():
    with pytest.raises(AssertionError, match="unexpected"):
        contract.check_message({"type": "caught_up", "room": "r:1", "novel": 1})
    with pytest.raises(AssertionError, match="has no such answer"):
        contract.check_answer({"ok": False, "code": 103, "name": "forbidden", "category": "permission", "message": "x"})
    with pytest.raises(AssertionError, match="does not know it"):
        contract.check_http("GET", "/v1/novel", 200, {}, b"")


def test_openapi_is_valid():
    """AsyncAPI's own parser reads the other document in tests/web."""
    validate(OPENAPI)


def test_codes_versions_and_what_both_say_are_the_same():
    assert ASYNCAPI["channels"]["socket"]["x-close-codes"] == {code: name for code, name, _ in table("closes")}
    assert ASYNCAPI["info"]["version"] == OPENAPI["info"]["version"] == PACKAGE
    ours, theirs = ASYNCAPI["components"]["schemas"], OPENAPI["components"]["schemas"]
    common = ours.keys() & theirs.keys()
    assert {"ErrorCode", "Publish", "PublishAnswer"} <= common
    for name in common:
        assert ours[name] == theirs[name], name
    errors = [[str(row["properties"][name]["const"]) for name in ("code", "name", "category")] for row in ours["ErrorCode"]["oneOf"]]
    assert errors == [row[:3] for row in table("errors")]


def test_both_are_served(daemon1):
    for name in ("asyncapi.yaml", "openapi.yaml"):
        status, headers, body = http_request(daemon1.address, "GET", f"/{name}")
        assert (status, headers["content-type"], body) == (200, "application/yaml", (ROOT / "src/web" / name).read_bytes())


def test_types_that_events_may_not_have(daemon1):
    """The document's list is the daemon's."""
    schemas = OPENAPI["components"]["schemas"]
    (reserved,) = [part["not"]["enum"] for part in schemas["EventType"]["allOf"] if "not" in part]
    (told,) = [part["not"]["enum"] for part in schemas["Publish"]["properties"]["type"]["allOf"] if "not" in part]
    source = (ROOT / "src/wire/reply.rs").read_text()
    known = re.findall(r'"([\w.]+)"', re.search(r"RESERVED_TYPES.*?= \[(.*?)\];", source, re.DOTALL).group(1))
    assert sorted(reserved + told) == sorted(known)
    answers = daemon1.publish_unix(*({"type": name, "room": "r:1", "lane": "update", "data": 1} for name in known))
    assert [answer["name"] for answer in answers] == ["invalid_field"] * len(known)


COMMANDS = {
    "Auth": {"type": "auth", "token": mint("u1", rooms=["r:*"], scope="publish")},
    "Subscribe": {"type": "subscribe", "room": "r:1"},
    "Unsubscribe": {"type": "unsubscribe", "room": "r:1"},
    "Snapshot": {"type": "snapshot", "room": "r:1"},
    "Ack": {"type": "ack", "event_id": "e1"},
    "Ping": {"type": "ping"},
    "Publish": {"type": "note", "room": "r:1", "lane": "update", "data": {}},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_need_what_the_document_says_and_take_what_it_allows(daemon1, name):
    schema = ASYNCAPI["components"]["schemas"][name]
    command = COMMANDS[name]
    with daemon1.connect(mint("u1", rooms=["r:*"], scope="publish")) as client:
        client.subscribe("r:1")
        accepted = client.request(**command)
        assert accepted.get("ok", True) and accepted.get("type") != "error", accepted
        contract.complain(contract.validator(ASYNCAPI, schema).iter_errors(command), name, command)
        for member in set(schema["required"]) - {"type"}:
            without = {other: value for other, value in command.items() if other != member}
            refused = client.request(**without)
            assert refused["name"] in ("invalid_field", "unknown_event"), (member, refused)


@pytest.fixture
def said(monkeypatch):
    """The messages of this test by their names."""
    said = collections.defaultdict(list)

    def check_and_note(message):
        contract.check_message(message)
        said[contract.name_of(message)].append(message)

    monkeypatch.setattr(harness, "check_message", check_and_note)
    return said


def test_every_message_of_the_document_is_said(serve, said):
    """One run that brings forth each of them, with every member that it may have."""
    daemon = serve(reactors=1, history=3, heartbeat="1s", max_queue_bytes="1MiB", slow_timeout="1s")
    desk = daemon.connect(mint("desk", rooms=["*", "system:acks"], scope="publish"))
    desk.subscribe("r:1", delta=True)
    desk.subscribe("system:acks")
    fields = {f"field_{n}": "unchanged" for n in range(20)}
    for n in range(6):
        daemon.publish(note("r:1", "alert", data=n), note("r:1", mode="state", data=fields | {"n": n}, key="k"), note("r:1", mode="transient"))
        desk.everything(daemon)  # longer than the window: each state goes by itself
    daemon.publish(note("r:1", mode="state", key="k") | {"data": None})
    desk.everything(daemon)
    epoch = desk.request(type="subscribe", room="r:1")["epoch"]
    desk.request(type="subscribe", room="r:1", since={"epoch": epoch, "seq": {"alert": 1}})
    desk.request(type="subscribe", room="r:1", since={"epoch": epoch, "seq": {"alert": 1_000}})
    desk.request(type="subscribe", room="r:1", since={"epoch": "elsewhere", "seq": {"alert": 1}})
    desk.request(type="unsubscribe", room="r:1")
    assert desk.refused(type="snapshot", room="r:1") == "not_member"
    assert desk.request(**note("r:1", data=1))["ok"] and not desk.request(**note("r:1", lane="none"))["ok"]

    daemon.publish({"type": "notification", "event_id": "n1", "data": {"user_id": "u1"}})
    short = daemon.connect(mint("u1", rooms=["r:1"], ttl=2))
    short.subscribe("user:u1")
    short.subscribe("r:1")
    short.recv_type("auth_expiring")
    assert short.request(type="ack", event_id="n1")["type"] == "ok"
    short.request(type="auth", token=mint("u1", rooms=[], ttl=2))
    short.recv_type("unsubscribed")
    assert short.close_code() == 4300
    desk.recv_type("event.acknowledged")

    with RawClient(daemon.address, mint("slow", rooms=["*"]), 8 * 1024) as slow:
        slow.subscribe("r:2")
        daemon.publish(*(note("r:2", data="x" * 1_000) for _ in range(800)))
        time.sleep(0.5)  # longer than a sixth of --slow-timeout
        for opcode, text in slow.read_until(lambda _, text: b"slow_consumer" in text):
            if opcode == TEXT:
                harness.check_message(json.loads(text))
    assert daemon.publish_http([note("r:1"), note("r:1", lane="none")])[0] == 200
    assert daemon.publish_http(risk_alert(), token=mint("nobody"))[0] == 403
    time.sleep(1)  # a heartbeat's time
    desk.everything(daemon)
    daemon.process.terminate()
    desk.until_closed()
    assert sorted(set(MESSAGES) - said.keys()) == []
    events = {"StreamEvent", "StateEvent", "StateDelta", "StateDeleted", "TransientEvent"}
    kinds = {kind for kind in events for event in said["event"] if contract.validator(ASYNCAPI, ASYNCAPI["components"]["schemas"][kind]).is_valid(event)}
    assert kinds == events
    assert {member for event in said["event"] for member in event} >= {"event_id", "redelivered", "key", "patch"}
    assert {member for message in said["subscribed"] for member in message} >= {"recovered", "rewound"}
    assert {gap["to"] is None for gap in said["gap"]} == {True, False}

