"""RFC 6455 as seen by a client that breaks it; and commands as seen by one that sends nonsense."""

import json

import pytest
from harness import Daemon, mint
from wire import BINARY, CLOSE, PING, PONG, TEXT, RawClient, command, frame

CONTINUATION = 0
PING_COMMAND = b'{"type":"ping","id":1}'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("protocol") / "daemon", reactors=1)
    yield daemon
    daemon.end()


@pytest.fixture
def client(server):
    with RawClient(server.address, mint(rooms=["*"])) as client:
        client.texts(1, "welcome")
        yield client


VIOLATIONS = {
    "unmasked": (frame(TEXT, PING_COMMAND, masked=False), 1002),
    "reserved bit": (frame(TEXT, PING_COMMAND, rsv=4), 1002),
    "reserved opcode": (frame(3, b""), 1002),
    "reserved control opcode": (frame(11, b""), 1002),
    "fragmented ping": (frame(PING, b"", fin=False), 1002),
    "ping of 126": (frame(PING, b"x" * 126), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "text in a fragmented text": (frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), 1002),
    "close with one byte": (frame(CLOSE, b"\x03"), 1002),
    "close with code 999": (frame(CLOSE, (999).to_bytes(2, "big")), 1002),
    "close with code 1005": (frame(CLOSE, (1005).to_bytes(2, "big")), 1002),
    "close with a bad reason": (frame(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    "binary": (frame(BINARY, b"\x00"), 1003),
    "not UTF-8": (frame(TEXT, b'"\xff"'), 1007),
    "not UTF-8 over two fragments": (frame(TEXT, b'"\xc3', fin=False) + frame(CONTINUATION, b'"'), 1007),
    "not UTF-8 before the end": (frame(TEXT, b'"\xed\xa0', fin=False), 1007),
    "too long by its header alone": (frame(TEXT, b"")[:1] + bytes([0xFF]) + (1 << 40).to_bytes(8, "big") + bytes(4), 1009),
    "too long in fragments": (frame(TEXT, b"x" * 9_000, fin=False) + frame(CONTINUATION, b"x" * 9_000, fin=False), 1009),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations(client, name):
    """ERR-02, LIM-04, PRO-08: each ends the connection with its code, and at once."""
    data, code = VIOLATIONS[name]
    client.send(data)
    assert client.close_code() == code


def test_what_is_allowed(client):
    """Fragments, control frames between them, single bytes, an empty fragment: the same message."""
    pieces = frame(TEXT, PING_COMMAND[:5], fin=False) + frame(PING, b"between") + frame(CONTINUATION, b"", fin=False) + frame(CONTINUATION, PING_COMMAND[5:])
    for byte in pieces:
        client.send(bytes([byte]))
    answers = [client.next_frame(), client.next_frame()]
    assert answers[0] == (PONG, b"between")
    assert json.loads(answers[1][1]) == {"type": "ok", "id": 1}


def test_masks_are_taken_off(client):
    """The masking of RFC 6455, at every offset to a word."""
    for length in range(1, 20):
        text = json.dumps({"type": "ping", "id": "x" * length}).encode()
        mask = bytes([1, 2, 3, 250])
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        client.send(bytes([0x80 | TEXT, 0x80 | len(text)]) + mask + masked)
        assert json.loads(client.next_frame()[1]) == {"type": "ok", "id": "x" * length}


def test_a_close_is_answered(client):
    """The handshake of goodbye: the same code back, then the end of the stream."""
    client.send(frame(CLOSE, (1000).to_bytes(2, "big")))
    assert client.close_code() == 1000
    assert client.socket.recv(1) == b""


def test_a_flood_of_pings_starves_nobody(server, client):
    """LIM-01: ten thousand pings in one write; another's command is answered meanwhile, and the latest ping is."""
    client.send(b"".join(frame(PING, b"%d" % number) for number in range(10_000)))
    with RawClient(server.address, mint("other")) as other:
        other.send(command(type="ping", id=1))
        assert other.texts(1, "ok")
    assert client.read_until(lambda opcode, payload: (opcode, payload) == (PONG, b"9999"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"", "bad_json"),
        (b"{", "bad_json"),
        (b"[]", "bad_json"),
        (b'"subscribe"', "bad_json"),
        (b'{"type":"subscribe","id":1} x', "bad_json"),
        (b"{}", "invalid_field"),
        (b'{"type":7}', "invalid_field"),
        (b'{"type":"rewind","room":"r:1","lane":"alert","epoch":"e","seq":1}', "unknown_type"),
        (b'{"type":"SUBSCRIBE","room":"r:1"}', "unknown_type"),
        (b'{"type":"subscribe"}', "invalid_field"),
        (b'{"type":"subscribe","room":"r:1","room":"r:2"}', "duplicate_key"),
        (b'{"type":"subscribe","room":"r:1","x":' + b"[" * 40 + b"]" * 40 + b"}", "too_deep"),
        (b'{"type":"subscribe","room":"r:1","history":-1}', "invalid_field"),
        (b'{"type":"auth"}', "invalid_field"),
        (b'{"type":"ping","id":[1]}', "invalid_field"),
        (b'{"type":"ping","id":1.5}', "invalid_field"),
    ],
)
def test_bad_commands(client, text, name):
    """PRO-10, LIM-05, ERR-03: an error each, and the connection goes on."""
    client.send(frame(TEXT, text))
    error = json.loads(client.next_frame()[1])
    assert (error["type"], error["name"]) == ("error", name), error
    client.send(frame(TEXT, PING_COMMAND))
    assert json.loads(client.next_frame()[1]) == {"type": "ok", "id": 1}


def test_ids_come_back_as_they_were(client):
    """PRO-06: integers and texts, digit by digit."""
    for raw in (b"0", b"-7", b"18446744073709551615", b'"a\\u0041"', b'""'):
        client.send(frame(TEXT, b'{"type":"ping","id":' + raw + b"}"))
        assert client.next_frame()[1] == b'{"type":"ok","id":' + raw + b"}"


def test_unknown_fields_are_ignored(client):
    """So that a newer client may speak to an older daemon: `delta` is not spoken yet."""
    client.send(frame(TEXT, b'{"type":"subscribe","id":1,"room":"r:1","delta":true,"novel":{"a":[1]}}'))
    assert client.texts(1, "subscribed") and client.texts(1, "caught_up")
