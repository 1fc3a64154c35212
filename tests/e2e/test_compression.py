"""permessage-deflate (RFC 7692): what is agreed on, that both kinds of members get the same, and that nobody is hurt by what inflates."""

import json
import zlib

import pytest
from harness import Daemon, figures, mint, note, risk_alert
from wire import TEXT, RawClient, deflate, frame

ROOM = "r:1"
BASE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
OFFER = "permessage-deflate"
PING_COMMAND = b'{"type":"ping","id":1}'
COMMAND_BYTES_MAX = 16 * 1024
CONTINUATION, PING = 0, 9


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("compression") / "daemon", reactors=1, compression=True)
    yield daemon
    daemon.end()


def client_of(daemon, offer=OFFER, **options):
    return RawClient(daemon.address, mint(rooms=["*"]), Sec_WebSocket_Extensions=offer, **options)


ANSWERS = {
    "permessage-deflate": BASE,
    "permessage-deflate; client_max_window_bits": f"{BASE}; client_max_window_bits=15",
    "permessage-deflate; client_max_window_bits=9": f"{BASE}; client_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=9": f"{BASE}; server_max_window_bits=9",
    'permessage-deflate; server_max_window_bits="10"': f"{BASE}; server_max_window_bits=10",
    "permessage-deflate; server_max_window_bits=15; client_max_window_bits=12": f"{BASE}; server_max_window_bits=15; client_max_window_bits=12",
    "permessage-deflate; server_max_window_bits=8": "",
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": BASE,
    "permessage-deflate; mystery": "",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover": "",
    "x-webkit-deflate-frame": "",
    "x-webkit-deflate-frame, permessage-deflate": BASE,
}


@pytest.mark.parametrize("offer", ANSWERS)
def test_what_is_agreed_on(server, offer):
    """DLV-23, PRO-08: no context takeover, either way; an offer that cannot be kept is declined, and the connection is served without."""
    with client_of(server, offer) as client:
        assert client.extensions == ANSWERS[offer]
        client.send(frame(TEXT, PING_COMMAND))
        assert client.texts(1, "ok")


def test_it_is_off_by_default(serve):
    """DLV-23: without the flag an offer is not answered, and a compressed message breaks the protocol."""
    daemon = serve(reactors=1)
    with client_of(daemon) as client:
        assert client.extensions == ""
        client.send(frame(TEXT, deflate(PING_COMMAND), rsv=4))
        assert client.close_code() == 1002


def events(count):
    """Stream events, states and alerts, short and long, some of which do not compress."""
    noise = "".join(chr(0x100 + n * 7919 % 5000) for n in range(300))
    for n in range(count):
        lane, mode = [("update", "stream"), ("metric", "stream"), ("alert", "stream"), ("update", "transient")][n % 4]
        padding = ["", "x" * 300, "long " * 2000, noise][n // 4 % 4]
        yield note(ROOM, lane, mode, data={"n": n, "p": padding})


@pytest.mark.parametrize("burst", [1, 50])
def test_all_members_get_the_same_messages(serve, reactors, burst):
    """DLV-23, ARC-01: with compression, with the smallest window and without: the same messages in the same order, each compressed once."""
    daemon = serve(reactors=reactors, compression=True, metric_gather="0s", metric_flush="1ms")
    offers = [OFFER, None, "permessage-deflate; server_max_window_bits=9", OFFER, None, OFFER]
    clients = [client_of(daemon, offer) for offer in offers]
    for client in clients:
        client.subscribe(ROOM)
    published = list(events(400))
    for start in range(0, len(published), burst):
        daemon.publish(*published[start : start + burst])
    received = [client.texts(len(published), "note") for client in clients]
    by_lane = [{lane: [text for text in texts if json.loads(text)["lane"] == lane] for lane in ("alert", "update", "metric")} for texts in received]
    assert all(lanes == by_lane[0] for lanes in by_lane)
    # Of 400 events three quarters are long enough.
    compressed, saved = daemon.metric("deflated_frames_total"), daemon.metric("compression_saved_bytes_total")
    assert 250 <= compressed <= 310 and saved > 0 and daemon.metric("compression_agreed_total") == 4
    before, after = daemon.metric("deflated_bytes_total", "before"), daemon.metric("deflated_bytes_total", "after")
    figures("compression", frames=compressed, ratio=round(after / before, 3), us_per_frame=round(daemon.metric("deflate_microseconds_total") / compressed, 1))
    assert after < before / 3
    for client in clients:
        client.socket.close()


def test_a_replay_is_compressed_as_well(server):
    """DLV-23: late joiners get the history, compressed or not, and it is the same."""
    room = "r:replay"
    server.publish(*[note(room, "alert", "stream", data={"n": n, "p": "again and " * 100}) for n in range(50)])
    received = []
    for offer in (OFFER, None):
        with client_of(server, offer) as client:
            client.send(frame(TEXT, json.dumps({"type": "subscribe", "id": 1, "room": room, "history": 50}).encode()))
            received.append(client.texts(50, "note"))
    assert received[0] == received[1]


def test_a_slow_reader_loses_nothing(serve):
    """DLV-23, promise 1: what waits is compressed when it is its turn, whatever part of it the socket takes; an alert goes first."""
    daemon = serve(reactors=1, compression=True, max_queue_bytes="64MiB")
    slow, witness = client_of(daemon, receive_buffer_bytes=16 * 1024), client_of(daemon, None)
    for client in (slow, witness):
        client.subscribe(ROOM, "challenge:c1")
    total, text = 3_000, "".join(f"{n * 7919 % 10007}," for n in range(600))
    for start in range(0, total, 250):
        daemon.publish(*[note(ROOM, "update", "stream", data={"n": n, "p": text}) for n in range(start, start + 250)])
        witness.texts(250, "note", 60)
    daemon.publish(risk_alert("c1", severity="HIGH"))
    witness.texts(1, "RISK_ALERT")
    messages = [json.loads(payload) for opcode, payload in slow.read_until(lambda _, payload: b'"n": 2999,' in payload, 60) if opcode == TEXT]
    kinds = [message["type"] for message in messages]
    assert [message["data"]["n"] for message in messages if message["type"] == "note"] == list(range(total))
    assert kinds.index("RISK_ALERT") < total / 2
    slow.socket.close()
    witness.socket.close()


def test_clients_may_compress(server):
    """PRO-08: a command, whole, in fragments with a ping between, and as one whose stream is ended instead of flushed."""
    with client_of(server) as client:
        client.texts(1, "welcome")
        whole = deflate(PING_COMMAND)
        ended = zlib.compressobj(wbits=-15)
        ended = ended.compress(PING_COMMAND) + ended.flush()
        parts = frame(TEXT, whole[:5], fin=False, rsv=4) + frame(PING, b"p") + frame(CONTINUATION, whole[5:])
        client.send(frame(TEXT, whole, rsv=4) + parts + frame(TEXT, ended, rsv=4) + frame(TEXT, PING_COMMAND))
        assert client.texts(4, "ok") == [b'{"type":"ok","id":1}'] * 4


def bomb(megabytes):
    raw = zlib.compressobj(level=9, wbits=-15)
    zeros, parts = bytes(1 << 20), []
    for _ in range(megabytes):
        parts.append(raw.compress(zeros))
    return b"".join([*parts, raw.flush(zlib.Z_SYNC_FLUSH)]).removesuffix(b"\x00\x00\xff\xff")


def inflating(size):
    return deflate(PING_COMMAND[:-1] + b',"p":"' + b"x" * (size - len(PING_COMMAND) - 7) + b'"}')


CONTEXT = zlib.compressobj(wbits=-15)
TAKEN_OVER = [(CONTEXT.compress(PING_COMMAND) + CONTEXT.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff") for _ in range(2)]

VIOLATIONS = {
    "RSV1 on a ping": (frame(PING, deflate(b"p"), rsv=4), 1002),
    "RSV1 on a continuation": (frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", rsv=4), 1002),
    "RSV1 and RSV2": (frame(TEXT, deflate(PING_COMMAND), rsv=6), 1002),
    "RSV2 alone": (frame(TEXT, PING_COMMAND, rsv=2), 1002),
    "not deflate at all": (frame(TEXT, b"\xff\xff\xff\xff", rsv=4), 1007),
    "truncated": (frame(TEXT, deflate(PING_COMMAND * 9)[:-6], rsv=4), 1007),
    "context taken over": (b"".join(frame(TEXT, part, rsv=4) for part in TAKEN_OVER), 1007),
    "not UTF-8": (frame(TEXT, deflate(b'"\xff"'), rsv=4), 1007),
    "compressed binary": (frame(2, deflate(b"\x00"), rsv=4), 1003),
    "one byte too long when inflated": (frame(TEXT, inflating(COMMAND_BYTES_MAX + 1), rsv=4), 1009),
    "a bomb of 16 MiB": (frame(TEXT, bomb(16)[:16_000], rsv=4), 1009),
    "a bomb of 1 GiB by its header": (frame(TEXT, bomb(16) * 64, rsv=4), 1009),
    "a bomb in fragments": (frame(TEXT, bomb(16)[:8_000], fin=False, rsv=4) + frame(CONTINUATION, bomb(16)[8_000:16_000]), 1009),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations(server, name):
    """LIM-05, ERR-02: each ends the connection with its code; a bomb costs neither memory nor time, and the next client is served."""
    data, code = VIOLATIONS[name]
    before, cpu_before = server.rss_bytes(), server.cpu_s()
    with client_of(server) as client:
        client.texts(1, "welcome")
        client.send(data)
        assert client.close_code() == code
    assert server.rss_bytes() - before < 4 << 20 and server.cpu_s() - cpu_before < 1
    with client_of(server) as client:
        client.send(frame(TEXT, inflating(COMMAND_BYTES_MAX), rsv=4))
        assert client.texts(1, "ok")
