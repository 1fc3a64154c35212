"""wss and https: handshakes, records, certificates and their rotation, peers that stall or send nonsense."""

import json
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest
from certificates import Authority
from harness import (
    BINARY,
    DEADLINE_S,
    DEFAULT_FLAGS,
    PATIENCE_S,
    PUBLISHER,
    SECRET,
    Client,
    Pump,
    RawHttp,
    exchange,
    figures,
    handshake_status,
    mint,
    note,
    risk_alert,
    start,
    wait_until,
)
from test_pressure import PADDING, SEND_BUFFER_BYTES, STARTED_BYTES
from wire import RawClient, upgrade_request

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
ROOM = "r:1"
HANDSHAKES = "tickerd_tls_handshakes_total"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def serve_tls(serve, authority):
    """Starts daemons that speak TLS."""

    def begin(**flags):
        certificate, key, _ = authority.issue()
        return serve(**{"tls_cert": certificate, "tls_key": key} | flags)

    return begin


def events(daemon, name):
    """The lines of the log with that event."""
    lines = [json.loads(line) for line in daemon.stderr().splitlines()]
    return [line for line in lines if line.get("event") == name]


def handshakes(daemon, result):
    return daemon.metric(HANDSHAKES, f'result="{result}"')


# ---- it works ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_an_alert_goes_from_https_to_wss(serve_tls, authority, reactors, version):
    """NET-01, NET-03: an event published by https reaches the members of its room over wss, by both versions; ALPN is http/1.1."""
    daemon = serve_tls(reactors=reactors)
    context = authority.context((version, version))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with RawClient(daemon.address, mint(), tls=context) as client:
        client.subscribe("user:u1")
        body = json.dumps(note("user:u1", "alert", data={"n": 1})).encode()
        head = f"POST /v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mint(**PUBLISHER)}\r\nContent-Length: {len(body)}\r\n\r\n"
        with RawHttp(daemon.address, context) as raw:
            assert (raw.socket.version(), raw.socket.selected_alpn_protocol()) == (f"TLSv1.{version - TLS12 + 2}", "http/1.1")
            raw.send(head.encode() + body)
            assert raw.response().json["ok"]
        assert json.loads(client.texts(1, "note")[0])["data"] == {"n": 1}
    wait_until(lambda: handshakes(daemon, "full") + handshakes(daemon, "resumed") == 2, "both handshakes are counted")
    assert daemon.metric("tickerd_tls_bytes_total", "sent") > daemon.metric("tickerd_sent_bytes_total")


def test_curl_publishes(serve_tls, authority):
    """The certificate is verified by a client that is not ours; without the authority it refuses."""
    daemon = serve_tls()
    url = f"https://127.0.0.1:{daemon.address[1]}/v1/publish"
    line = json.dumps(risk_alert())
    arguments = ["curl", "-sS", url, "-H", f"Authorization: Bearer {mint(**PUBLISHER)}", "-d", line]
    done = subprocess.run([*arguments, "--cacert", authority.file], capture_output=True, timeout=DEADLINE_S)
    assert done.returncode == 0 and json.loads(done.stdout)["ok"], done
    refused = subprocess.run(arguments, capture_output=True, timeout=DEADLINE_S)
    assert refused.returncode == 60, refused
    wait_until(lambda: events(daemon, "tls_refused") or handshakes(daemon, "refused") == 1, "the client's alert is counted")


def test_sessions_are_resumed_over_reactors(serve_tls, authority):
    """NET-02: reconnects need no signature, whichever reactor gets them."""
    daemon = serve_tls(reactors=2)
    for versions in [(TLS13, TLS13), (TLS12, TLS12)]:
        context, session = authority.context(versions), None
        before = handshakes(daemon, "resumed")
        for _ in range(12):
            raw = context.wrap_socket(socket.create_connection(daemon.address, DEADLINE_S), server_hostname="127.0.0.1", session=session)
            raw.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 404")
            assert raw.session_reused == (session is not None)
            session = raw.session
            raw.close()
        wait_until(lambda: handshakes(daemon, "resumed") == before + 11, "eleven of twelve are resumed")


def test_the_end_is_told(serve_tls, authority):
    """A stream that ends without close_notify could have been cut short: ours says it, after the last answer, and to a peer that half-closed."""
    daemon = serve_tls()
    with RawHttp(daemon.address, authority.context()) as raw:
        raw.send(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert raw.response().status == 404
        raw.socket.suppress_ragged_eofs = False
        assert raw.socket.recv(10) == b""  # raises SSLEOFError if there was no close_notify


# ---- priority and slow readers ---------------------------------------------------------------------------------------


def test_an_alert_overtakes_everything_over_tls(serve_tls, authority):
    """Promise 1 over wss: what is sealed is started, and at most 64 KiB of lower lanes are, beside what the kernel holds."""
    daemon = serve_tls(reactors=1, max_queue_bytes="64MiB")
    context = authority.context()
    witness = RawClient(daemon.address, mint("witness", rooms=["*"]), tls=context)
    witness.subscribe(ROOM)
    reader = RawClient(daemon.address, mint(rooms=["*"]), 16 * 1024, tls=context)
    reader.subscribe(ROOM)
    receive_buffer_bytes = reader.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    for lane, mode, count in [("metric", "transient", 10_000), ("update", "stream", 1_000), ("alert", "stream", 1)]:
        for first in range(0, count, 2_000):
            numbers = range(first, min(count, first + 2_000))
            daemon.publish(*(note(ROOM, lane, mode, data={"n": n, "p": PADDING}) for n in numbers))
            witness.texts(len(numbers), "note", PATIENCE_S)
    payloads = reader.texts(11_001, "note", PATIENCE_S)
    lanes = [json.loads(payload)["lane"] for payload in payloads]
    before_alert_bytes = sum(len(payload) + 4 for payload in payloads[: lanes.index("alert")])
    bound_bytes = receive_buffer_bytes + SEND_BUFFER_BYTES + STARTED_BYTES
    figures("priority over TLS", before_alert_bytes=before_alert_bytes, bound_bytes=bound_bytes)
    assert before_alert_bytes <= bound_bytes
    after = lanes[lanes.index("alert") + 1 :]
    assert "metric" not in after[after.index("update") : len(after) - after[::-1].index("update")]
    assert [lanes.count(lane) for lane in ("alert", "update", "metric")] == [1, 1_000, 10_000]


def test_long_frames_arrive_whole(serve_tls, authority, reactors):
    """Frames longer than a record, and than the kernel's buffers together, to a reader that pauses."""
    daemon = serve_tls(reactors=reactors)
    with RawClient(daemon.address, mint(rooms=["*"]), 8 * 1024, tls=authority.context()) as reader:
        reader.subscribe(ROOM)
        daemon.publish(*(note(ROOM, "update", "stream", data={"n": n, "p": "y" * 60_000}) for n in range(50)))
        texts = reader.texts(50, "note", PATIENCE_S)
        assert [json.loads(text)["data"]["n"] for text in texts] == list(range(50))
        assert all(len(json.loads(text)["data"]["p"]) == 60_000 for text in texts)


def test_a_reader_that_stops_is_dropped(serve_tls, authority):
    """Promise 5: 4103 or a reset also where the last bytes wait sealed; others get everything."""
    daemon = serve_tls(reactors=1, max_queue_bytes="1MiB")
    with RawClient(daemon.address, mint("w", rooms=["*"]), tls=authority.context()) as witness, RawClient(
        daemon.address, mint(rooms=["*"]), 8 * 1024, tls=authority.context()
    ) as stopped:
        witness.subscribe(ROOM)
        stopped.subscribe(ROOM)
        for _ in range(4):
            daemon.publish(*(note(ROOM, "update", "stream", data={"p": "z" * 4_000}) for _ in range(200)))
            witness.texts(200, "note", PATIENCE_S)
        wait_until(lambda: daemon.metric("tickerd_closed_total", "slow_consumer") == 1, "the stopped reader is dropped", PATIENCE_S)


# ---- peers that break rules ------------------------------------------------------------------------------------------


def shake_bytewise(daemon, context, size):
    """A handshake and a request in pieces of `size`, by a client that holds its TLS in memory; the answer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(daemon.address, DEADLINE_S) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def pump(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    flush()
                    incoming.write(raw.recv(65536))

        def flush():
            data = outgoing.read()
            for at in range(0, len(data), size):
                raw.sendall(data[at : at + size])

        pump(tls.do_handshake)
        tls.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        flush()
        return pump(lambda: tls.read(100))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_handshake_in_small_pieces(serve_tls, authority, size):
    daemon = serve_tls()
    for versions in [(TLS13, TLS13), (TLS12, TLS12)]:
        assert shake_bytewise(daemon, authority.context(versions), size).startswith(b"HTTP/1.1 404")


def hello(version, extensions=b""):
    """A ClientHello of that version, in one record."""
    suites = bytes.fromhex("c02bc02fc009c013002f0035000a")
    body = version + bytes(32) + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\1\0" + len(extensions).to_bytes(2, "big") + extensions
    handshake = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(handshake).to_bytes(2, "big") + handshake


# supported_groups, ec_point_formats, signature_algorithms.
GROUPS = bytes.fromhex("000a00040002001d" "000b00020100" "000d0006000404030804")
PROTOCOL_VERSION, HANDSHAKE_FAILURE, DECODE_ERROR, UNEXPECTED_MESSAGE = 70, 40, 50, 10
REFUSED = {
    "TLS 1.1": (hello(b"\3\2", GROUPS), [PROTOCOL_VERSION]),
    "TLS 1.0": (hello(b"\3\1", GROUPS), [PROTOCOL_VERSION]),
    "SSL 3": (hello(b"\3\0"), [PROTOCOL_VERSION, HANDSHAKE_FAILURE, DECODE_ERROR]),
    "plaintext HTTP": (b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n", [DECODE_ERROR, UNEXPECTED_MESSAGE, PROTOCOL_VERSION, 22]),
    "a record that is too long": (b"\x16\3\1\xff\xff" + bytes(100), [22, DECODE_ERROR]),
    "data before the handshake": (b"\x17\3\3\0\5hello", [UNEXPECTED_MESSAGE]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_handshake_is_refused_with_an_alert(serve_tls, name):
    """NET-02: an alert, then the end; and it is counted."""
    data, alerts = REFUSED[name]
    daemon = serve_tls()
    with socket.create_connection(daemon.address, DEADLINE_S) as raw:
        raw.sendall(data)
        answer = raw.recv(100)
        assert answer[:1] == b"\x15" and answer[5] == 2 and answer[6] in alerts, (name, answer)
        assert raw.recv(100) == b""
    wait_until(lambda: daemon.metric("tickerd_closed_total", "tls_error") == 1, "the end is counted")
    assert handshakes(daemon, "refused") == 1


def test_a_damaged_record_ends_the_connection(serve_tls, authority):
    """A flipped bit within an established session: bad_record_mac, and no byte of it is believed."""
    daemon = serve_tls()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.context((TLS12, TLS12)).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(daemon.address, DEADLINE_S) as raw:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        tls.write(upgrade_request(mint()))
        record = bytearray(outgoing.read())
        record[-1] ^= 1
        raw.sendall(record)
        incoming.write(raw.recv(65536))
        with pytest.raises(ssl.SSLError, match="(?i)bad record mac"):
            tls.read(100)
    wait_until(lambda: daemon.metric("tickerd_closed_total", "tls_error") == 1, "the end is counted")


def test_stalled_handshakes_hurt_nobody(serve_tls, authority):
    """LIM-10: 1,000 peers that begin a handshake and say no more are closed within the time for a head; others are served meanwhile."""
    daemon = serve_tls(reactors=1)
    with Client(daemon.address, mint(), tls=authority.context_of_threads()) as client:
        client.subscribe("user:u1")
        before, began = daemon.rss_bytes(), time.monotonic()
        peers = [socket.create_connection(daemon.address, DEADLINE_S) for _ in range(1_000)]
        for peer in peers:
            peer.sendall(hello(b"\3\3")[:40])
        wait_until(lambda: daemon.metric("tickerd_connections", "http") == 1_000, "all are there")
        figures("stalled handshakes", rss_each_bytes=(daemon.rss_bytes() - before) // 1_000)
        assert client.request(type="ping")["type"] == "ok"
        with Client(daemon.address, mint("u2"), tls=authority.context_of_threads()):
            pass
        assert time.monotonic() - began < 5, "the check is worth something only while they stall"
        wait_until(lambda: handshakes(daemon, "timeout") == 1_000, "all are closed in time", PATIENCE_S)
        assert client.request(type="ping")["type"] == "ok"
    for peer in peers:
        peer.close()


# ---- certificates ----------------------------------------------------------------------------------------------------


def served(daemon, authority):
    """The serial number of the certificate that a new client sees."""
    with RawHttp(daemon.address, authority.context()) as raw:
        return int(raw.socket.getpeercert()["serialNumber"], 16)


def test_certificates_are_replaced_under_load(serve, authority):
    """NET-05, NET-08: SIGHUP serves the new certificate to new connections; nobody is dropped, nothing is lost. A bad one changes nothing."""
    certificate, key, serial = authority.issue("desk")
    daemon = serve(tls_cert=certificate, tls_key=key, reactors=2)
    members = [Client(daemon.address, mint(f"m{n}", rooms=["*"]), tls=authority.context_of_threads()) for n in range(10)]
    for member in members:
        member.subscribe("load:0")
    pump = Pump(daemon, 1_000, 1_000_000, "load:0", "update", "stream")
    assert served(daemon, authority) == serial
    for number in range(3):
        new_certificate, new_key, new_serial = authority.issue("next")
        os.replace(new_certificate, certificate)
        os.replace(new_key, key)
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda n=number: len(events(daemon, "reloaded")) == n + 1, "the certificate is reloaded")
        assert served(daemon, authority) == new_serial
    key.write_text("no key")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: events(daemon, "reload_failed"), "the bad key is told")
    assert str(key) in events(daemon, "reload_failed")[0]["message"]
    assert served(daemon, authority) == new_serial
    wait_until(lambda: daemon.metric("tickerd_publish_lines_total") > 200, "the load has gone on meanwhile")
    published = pump.stop()
    assert published["refused"] == 0
    for member in members:
        numbers = [message["seq"] for message in member.everything(daemon) if message["type"] == "note"]
        assert numbers == list(range(1, published["sent"] + 1)), "nobody was dropped, nothing lost"
        member.close()


BAD_FILES = {
    "no file": lambda certificate, key, other: ("/nonexistent.pem", key, "/nonexistent.pem"),
    "no key file": lambda certificate, key, other: (certificate, "/nonexistent.key", "/nonexistent.key"),
    "another's key": lambda certificate, key, other: (certificate, other, "not the key of the certificate"),
    "no certificate": lambda certificate, key, other: (key, key, "no CERTIFICATE"),
    "no key": lambda certificate, key, other: (certificate, certificate, "no PRIVATE KEY"),
    "a key too many": lambda certificate, key, other: (certificate, [key, other], "2 keys for 1 certificates"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path, authority, name):
    """NET-08, OPS-05: `serve` and `check` end with 2 and say which file, what, and what to do."""
    certificate, key, _ = authority.issue()
    certificate, key, said = BAD_FILES[name](certificate, key, authority.issue("other")[1])
    check_refused(tmp_path, certificate, key, said)


def test_an_expired_certificate_is_refused(tmp_path, authority):
    check_refused(tmp_path, *authority.issue("old", days=-1, since_days=30)[:2], "expired at")
    check_refused(tmp_path, *authority.issue("early", days=30, since_days=-1)[:2], "valid from")


def check_refused(tmp_path, certificate, key, said):
    secret, stderr = tmp_path / "jwt", tmp_path / "stderr"
    secret.write_text(SECRET)
    process = start(DEFAULT_FLAGS | {"jwt_key": secret, "tls_cert": certificate, "tls_key": key}, stderr)
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (2, b"") and said in stderr.read_text(), stderr.read_text()


def test_expiry_is_told(serve, authority, tmp_path):
    """NET-08: seconds left as a metric; below 14 days a warning at the start. A key that everybody may read is warned of, too."""
    certificate, key, _ = authority.issue(days=5)
    key.chmod(0o644)
    daemon = serve(tls_cert=certificate, tls_key=key)
    left_s = daemon.metric("tickerd_tls_certificate_expiry_seconds")
    assert 4.9 * 86400 < left_s <= 5 * 86400
    (warning,) = events(daemon, "certificate_expires")
    assert (warning["file"], warning["level"]) == (str(certificate), "WARN")
    (doubt,) = events(daemon, "certificate_doubtful")
    assert str(key) in doubt["message"]
    fine = serve(**dict(zip(("tls_cert", "tls_key"), authority.issue("fine")[:2])))
    assert not events(fine, "certificate_expires") and not events(fine, "certificate_doubtful")


def test_check_prints_what_is_offered(tmp_path, authority):
    """NET-02: versions, suites, names and expiry."""
    certificate, key, _ = authority.issue()
    secret = tmp_path / "jwt"
    secret.write_text(SECRET)
    arguments = [BINARY, "check", "--jwt-key", secret, "--tls-cert", certificate, "--tls-key", key, "--listen", "0.0.0.0:8443"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stderr
    for part in ["# tls: TLS 1.3, ", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", f"# certificate {certificate}: CN=server; for localhost, 127.0.0.1; expires "]:
        assert part in done.stdout, done.stdout


def test_two_kinds_of_key(serve, authority):
    """NET-05: an ECDSA and an RSA certificate at once; each client gets one that it can verify."""
    pairs = [authority.issue("ec"), authority.issue("rsa", kind="rsa")]
    daemon = serve(tls_cert=[pair[0] for pair in pairs], tls_key=[pair[1] for pair in pairs])
    for suites, (_, _, serial) in zip(["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"], pairs):
        context = authority.context((TLS12, TLS12))
        context.set_ciphers(suites)
        with RawHttp(daemon.address, context) as raw:
            assert int(raw.socket.getpeercert()["serialNumber"], 16) == serial


def test_plaintext_stays_with_the_publish_socket(serve_tls):
    """All of --listen speaks TLS: a plaintext handshake gets no token out of anybody."""
    daemon = serve_tls(listen=["127.0.0.1:0", "0.0.0.0:0"])
    for listen in daemon.ready["listen"]:
        with socket.create_connection(("127.0.0.1", int(listen.rsplit(":", 1)[1])), DEADLINE_S) as raw:
            raw.sendall(upgrade_request(mint()))
            assert raw.recv(1) == b"\x15"
    assert daemon.publish(note("r:1"))[0]["ok"]


# ---- pages, and our own clients --------------------------------------------------------------------------------------

DESK, EVIL = "https://desk.example", "https://evil.example"


def publish_request(origin=None, method="POST", **headers):
    """A publish, or what a browser asks before one."""
    body = json.dumps(note("r:1")).encode() if method == "POST" else b""
    headers |= {"Origin": origin, "Content-Length": len(body) if body else None}
    return upgrade_request(mint(**PUBLISHER), path="/v1/publish", Upgrade=None, Connection=None, **headers).replace(b"GET", method.encode(), 1) + body


def preflight(origin):
    return publish_request(origin, "OPTIONS", Authorization=None, Access_Control_Request_Method="POST", Access_Control_Request_Headers="authorization")


def test_https_answers_carry_hsts(serve_tls, serve, authority):
    """NET-04: all of them, refusals too; plaintext has none, for it would be a lie there."""
    daemon, plain = serve_tls(), serve()
    for request in [publish_request(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"nonsense\r\n\r\n"]:
        assert exchange(daemon.address, request, authority.context()).headers["strict-transport-security"] == "max-age=31536000"
        assert "strict-transport-security" not in exchange(plain.address, request).headers


def test_listed_origins_alone_may_read(serve):
    """NET-06: preflight and answer name the page's own origin, if it is listed; `*` is never said, nor anything to others."""
    daemon = serve(origin=DESK)
    asked = exchange(daemon.address, preflight(DESK))
    assert (asked.status, asked.headers["access-control-allow-origin"], asked.headers["access-control-allow-methods"]) == (204, DESK, "POST")
    assert asked.headers["vary"] == "Origin" and "authorization" in asked.headers["access-control-allow-headers"].lower()
    answered = exchange(daemon.address, publish_request(DESK))
    assert (answered.status, answered.headers["access-control-allow-origin"]) == (200, DESK)
    refused = exchange(daemon.address, publish_request(DESK, Authorization="Bearer nonsense"))
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, DESK), "a page may read why"
    for response in [exchange(daemon.address, preflight(EVIL)), exchange(daemon.address, publish_request(EVIL)), exchange(daemon.address, publish_request())]:
        assert "access-control-allow-origin" not in response.headers
    assert exchange(daemon.address, preflight(EVIL)).status == 403
    for response in [exchange(serve().address, preflight(DESK)), exchange(serve(origin=DESK).address, preflight("null"))]:
        assert response.status == 403 and "access-control-allow-origin" not in response.headers


def test_who_comes_from_no_page(serve):
    """NET-07: with --require-origin only publishers may do without one; 403 before any frame, counted."""
    daemon = serve(origin=DESK, require_origin=True)
    assert handshake_status(daemon.address, mint()) == 403
    assert handshake_status(daemon.address, mint(), origin=DESK) == 101
    assert handshake_status(daemon.address, mint(**PUBLISHER)) == 101
    assert handshake_status(daemon.address, mint(**PUBLISHER), origin=EVIL) == 403
    assert daemon.metric("tickerd_handshakes_total", "bad_origin") == 2


def test_preflights_leave_the_connection_open(serve):
    """A browser publishes on the connection on which it asked."""
    daemon = serve(origin=DESK)
    with RawHttp(daemon.address) as raw:
        for _ in range(3):
            raw.send(preflight(DESK) + publish_request(DESK))
            assert [raw.response().status for _ in range(2)] == [204, 200]


def test_our_own_clients_speak_tls(serve_tls, authority, tmp_path):
    """`publish` and `subscribe` by https and wss: --ca FILE, or what the machine trusts."""
    daemon = serve_tls()
    port, tokens = daemon.address[1], {"pub": mint(**PUBLISHER), "sub": mint(rooms=["*"])}
    for name, token in tokens.items():
        (tmp_path / name).write_text(token)
    to = ["--url", f"wss://localhost:{port}", "--token-file", tmp_path / "sub", "--room", ROOM]
    subscriber = subprocess.Popen([BINARY, "subscribe", *to, "--ca", authority.file, "--count", "300"], stdout=subprocess.PIPE)
    wait_until(lambda: daemon.metric("tickerd_members") == 1, "the subscriber has joined")
    lines = b"".join(json.dumps(note(ROOM, data={"n": n})).encode() + b"\n" for n in range(300))
    publish = [BINARY, "publish", "--url", f"https://localhost:{port}", "--token-file", tmp_path / "pub"]
    done = subprocess.run([*publish, "--ca", authority.file, "--acks"], input=lines, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0 and done.stdout.count(b'"ok":true') == 300, done.stderr
    out, _ = subscriber.communicate(timeout=PATIENCE_S)
    assert [json.loads(line)["data"]["n"] for line in out.splitlines() if b'"note"' in line] == list(range(300))
    for arguments, said in [
        ([], b"give the authority's certificate by --ca FILE"),
        (["--ca", "/nonexistent"], b"--ca /nonexistent"),
        (["--ca", tmp_path / "pub"], b"it has no certificate"),
    ]:
        refused = subprocess.run([*publish, *arguments], input=lines, capture_output=True, timeout=PATIENCE_S)
        assert refused.returncode in (1, 2) and said in refused.stderr, refused.stderr
    plain = subprocess.run([BINARY, "subscribe", "--url", f"ws://127.0.0.1:{port}", *to[2:], "--ca", authority.file], capture_output=True, timeout=PATIENCE_S)
    assert plain.returncode == 2 and b"--ca" in plain.stderr


def test_sslscan_finds_nothing_weak(serve_tls):
    """NET-02: TLS 1.2 and 1.3 alone, no weak suite, no compression, no renegotiation, no heartbeat."""
    daemon = serve_tls()
    done = subprocess.run(["sslscan", "--no-colour", "--no-check-certificate", f"127.0.0.1:{daemon.address[1]}"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for version, state in [("SSLv2", "disabled"), ("SSLv3", "disabled"), ("TLSv1.0", "disabled"), ("TLSv1.1", "disabled"), ("TLSv1.2", "enabled"), ("TLSv1.3", "enabled")]:
        assert f"{version} {state}" in lines, done.stdout
    suites = [line for line in lines if line.startswith(("Accepted ", "Preferred "))]
    assert len(suites) >= 4, done.stdout
    for suite in suites:
        assert ("GCM" in suite or "CHACHA20" in suite) and not any(weak in suite for weak in ("CBC", "RC4", "3DES", "NULL", "EXP")), suite
    assert "Session renegotiation not supported" in lines and not any("compression enabled" in line.lower() for line in lines), done.stdout
    assert not any("vulnerable to heartbleed" in line and "not vulnerable" not in line for line in lines)
