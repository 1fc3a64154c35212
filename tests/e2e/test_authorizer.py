"""Joins that an external authorizer decides, and what becomes of them when it does not."""

import datetime
import socket
import ssl
import time

import pytest
from authorizer import Authorizer, by_name, send
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from harness import mint, note, risk_alert, wait_until

TOKEN = "the-authorizer-s-own-bearer-token-0123456789"


@pytest.fixture
def authorized(serve, tmp_path):
    """Starts an authorizer that behaves so, and a daemon that asks it."""
    authorizers = []

    def start(behave=by_name, **flags):
        authorizer = Authorizer(behave)
        authorizers.append(authorizer)
        daemon = serve(**({"reactors": 1, "authorizer_url": authorizer.url} | flags))
        daemon.authorizer = authorizer
        return daemon

    yield start
    for authorizer in authorizers:
        authorizer.stop()


def test_the_authorizers_word_lets_in_and_keeps_out(authorized, reactors, tmp_path):
    """ROM-02, ROM-03: asked by POST with user and room, and with its own bearer; a no is the usual denial."""
    secret = tmp_path / "authorizer.token"
    secret.write_text(TOKEN + "\n")
    daemon = authorized(reactors=reactors, authorizer_token_file=secret)
    client = daemon.connect(mint("u1", rooms=["r:1"]))
    client.subscribe("open:1")
    assert client.refused(type="subscribe", room="shut:1") == "access_denied"
    client.subscribe("r:1")
    daemon.publish(note("open:1"), note("shut:1"), note("r:1"))
    assert [frame["room"] for frame in client.everything(daemon)] == ["open:1", "r:1"]
    assert daemon.authorizer.questions == [{"user": "u1", "room": "open:1"}, {"user": "u1", "room": "shut:1"}], "patterns are not asked about"
    path, headers, _ = daemon.authorizer.requests[0]
    assert path == "/may-join?x=1" and headers["content-type"] == "application/json" and headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in daemon.stderr()
    assert daemon.metric("authorizer_requests_total", "allowed") == daemon.metric("authorizer_requests_total", '"denied"') == 1
    assert daemon.metric("authorizer_seconds_count", "answered") == 2


def test_owners_and_patterns_need_no_authorizer(authorized):
    """ROM-02: also when it is down."""
    daemon = authorized(lambda handler, _: send(handler, {}, 500))
    daemon.publish(risk_alert("c1", "u1"))
    client = daemon.connect(mint("u1", rooms=["r:1"]))
    for room in ("challenge:c1", "r:1", "user:u1"):
        client.subscribe(room)
    assert daemon.authorizer.requests == []


def test_no_such_room_and_not_yours_are_the_same_answer(authorized):
    """ROM-03: text and all, whoever says no."""
    daemon = authorized()
    daemon.publish(risk_alert("c1", "owner"))
    client = daemon.connect(mint("u1"))
    answers = [client.request(id=1, type="subscribe", room=room) for room in ("challenge:c1", "challenge:none")]
    assert answers[0] == answers[1]


def test_many_who_ask_the_same_ask_once(authorized):
    """ROM-02: joins of one user and room share a request, also on one connection; the answer is kept for its ttl."""

    def behave(handler, question):
        daemon.authorizer.release.wait(10)
        send(handler, {"allow": True, "ttl_ms": 60_000, "why": "ignored"})

    daemon = authorized(behave, reactors=2)
    clients = [daemon.connect(mint("u1")) for _ in range(8)]
    for client in clients:
        for number in (1, 2):
            client.send(type="subscribe", id=number, room="a:1")
    wait_until(lambda: daemon.metric("authorizer_joins_total", "shared") == 7, "all but the first share the first one's request")
    daemon.authorizer.release.set()
    for client in clients:
        messages = [client.recv() for _ in range(4)]
        assert [message.get("id") for message in messages if message["type"] == "subscribed"] == [1, 2]
    daemon.connect(mint("u1")).subscribe("a:1")
    assert len(daemon.authorizer.requests) == 1
    daemon.connect(mint("u2")).subscribe("a:1")
    assert len(daemon.authorizer.requests) == 2, "another user's question"


def test_answers_hold_as_long_as_they_say(authorized):
    """ROM-02: `ttl_ms` of 0 is asked anew each time; a no is asked anew after a second."""
    may = {"u1": False}
    daemon = authorized(lambda handler, question: send(handler, {"allow": may["u1"], "ttl_ms": 0}))
    client = daemon.connect(mint("u1"))
    assert client.refused(type="subscribe", room="a:1") == "access_denied"
    may["u1"] = True
    client.subscribe("a:1")
    client.subscribe("a:1")
    assert len(daemon.authorizer.requests) == 3


def test_commands_about_a_room_wait_for_the_authorizers_word(authorized):
    """Others do not: a slow authorizer holds up neither other rooms nor pings; what was asked of the room is done in order."""

    def behave(handler, question):
        daemon.authorizer.release.wait(10)
        by_name(handler, question)

    daemon = authorized(behave)
    client = daemon.connect(mint("u1", rooms=["r:*"]))
    client.send(type="subscribe", id="a", room="open:1")
    client.send(type="snapshot", id="b", room="open:1")
    client.send(type="unsubscribe", id="c", room="open:1")
    client.send(type="subscribe", id="d", room="open:1")
    client.send(type="subscribe", id="e", room="shut:1")
    client.send(type="snapshot", id="f", room="shut:1")
    client.subscribe("r:1")
    assert client.request(type="ping")["type"] == "ok"
    daemon.authorizer.release.set()
    seen = {}
    while len(seen) < 6:
        message = client.recv()
        if "id" in message:
            seen[message["id"]] = message.get("name", message["type"])
    assert [name for name in seen if name in "acd"] == ["a", "c", "d"]
    assert seen == {"a": "subscribed", "b": "ok", "c": "ok", "d": "subscribed", "e": "access_denied", "f": "not_member"}
    daemon.publish(note("open:1"))
    assert [frame["room"] for frame in client.everything(daemon) if frame["type"] == "note"] == ["open:1"]


BAD = {
    "500": lambda handler, _: send(handler, {"allow": True}, 500),
    "403": lambda handler, _: send(handler, {"allow": False}, 403),
    "204": lambda handler, _: send(handler, b"", 204),
    "a redirect": lambda handler, _: send(handler, {"allow": True}, 307, Location=handler.server.elsewhere),
    "garbage": lambda handler, _: send(handler, b"\xff\x00<html>"),
    "no answer in it": lambda handler, _: send(handler, {"allowed": True}),
    "not a bool": lambda handler, _: send(handler, {"allow": "true"}),
    "two answers": lambda handler, _: send(handler, b'{"allow":false,"allow":true}'),
    "a huge body": lambda handler, _: send(handler, b'{"allow":true,"x":"' + b"x" * (8 << 20) + b'"}'),
    "an endless body": lambda handler, _: endless(handler),
    "half a body": lambda handler, _: half(handler),
    "nothing": lambda handler, _: handler.connection.shutdown(socket.SHUT_RDWR),
    "silence": lambda handler, _: time.sleep(1.5),
    "a trickle": lambda handler, _: trickle(handler),
    "a huge head": lambda handler, _: send(handler, {"allow": True}, X_Filler="x" * 60_000),
    "no HTTP": lambda handler, _: handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n" * 3),
}


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" " * (1 << 20))


def half(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"allow":true')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def trickle(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "14")
    handler.end_headers()
    for byte in b'{"allow":true}':
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.3)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_answer_lets_nobody_in(authorized, name):
    """ERR-06: `auth_backend_unavailable`, within the timeout; who is in a room stays, and other joins go on."""
    daemon = authorized(authorizer_timeout="500ms")
    elsewhere = Authorizer(lambda handler, _: send(handler, {"allow": True}))
    daemon.authorizer.server.elsewhere = elsewhere.url
    try:
        client = daemon.connect(mint("u1", rooms=["r:1"]))
        client.subscribe("open:1")
        daemon.authorizer.behave = BAD[name]
        answer = client.request(type="subscribe", room="open:2")
        assert (answer["name"], answer["category"], answer["retry_after_ms"] > 0) == ("auth_backend_unavailable", "upstream", True)
        client.subscribe("r:1")
        daemon.publish(note("open:1"), note("open:2"), note("r:1"))
        assert [frame["room"] for frame in client.everything(daemon)] == ["open:1", "r:1"]
        assert elsewhere.requests == []
        assert daemon.metric("authorizer_seconds_count", "failed") == 1
    finally:
        elsewhere.stop()


def test_when_it_is_down_nobody_waits_and_a_probe_finds_it_up_again(authorized):
    """ERR-04, ERR-06: after five failures joins are refused at once, answers that are known still count, and ten seconds later one is tried."""
    daemon = authorized(authorizer_timeout="500ms")
    client = daemon.connect(mint("u1"))
    client.subscribe("open:known")
    daemon.authorizer.behave = lambda handler, _: send(handler, {}, 503)
    for number in range(5):
        assert client.refused(type="subscribe", room=f"open:{number}") == "auth_backend_unavailable"
    assert daemon.metric("authorizer_breaker") == 1
    asked = len(daemon.authorizer.requests)
    for number in range(20):
        assert client.refused(type="subscribe", room=f"open:{number}") == "auth_backend_unavailable"
    daemon.connect(mint("u1")).subscribe("open:known")
    assert len(daemon.authorizer.requests) == asked
    assert daemon.metric("authorizer_joins_total", "breaker_open") == 20
    daemon.authorizer.behave = by_name

    def is_up():
        time.sleep(0.2)
        return client.request(type="subscribe", room="open:again")["type"] == "subscribed"

    wait_until(is_up, "the probe finds it up", 30)
    assert daemon.metric("authorizer_breaker") == 0


def test_nobody_listens(serve):
    """ERR-06: a port on which nobody is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        daemon = serve(reactors=1, authorizer_url=f"http://127.0.0.1:{taken.getsockname()[1]}/")
        assert daemon.connect().refused(type="subscribe", room="a:1") == "auth_backend_unavailable"
        assert daemon.metric("authorizer_requests_total", "connection") == 1


def test_those_who_leave_while_they_wait_leave_nothing_behind(authorized):
    """ARC-07: nor does a later owner of the slot get their answer."""

    def behave(handler, question):
        daemon.authorizer.release.wait(25)
        send(handler, {"allow": True, "ttl_ms": 0})

    daemon, count = authorized(behave, authorizer_timeout="30s"), 20
    leavers = [daemon.connect(mint(f"gone-{number}")) for number in range(count)]
    for number, client in enumerate(leavers):
        client.send(type="subscribe", id=1, room=f"a:{number}")
    wait_until(lambda: len(daemon.authorizer.requests) + daemon.metric("authorizer_waiting") == count, "all questions are there")
    for client in leavers:
        client.close()
    wait_until(lambda: daemon.metric("connections", "websocket") == 0, "all have left")
    others = [daemon.connect(mint(f"u{number}")) for number in range(count)]
    daemon.authorizer.release.set()
    wait_until(lambda: daemon.metric("authorizer_requests_total", "allowed") == count, "all are answered")
    daemon.publish(*[note(f"a:{number}") for number in range(count)])
    for other in others:
        assert other.everything(daemon) == []
    wait_until(lambda: daemon.metric("tickerd_members") == count, "only the fences' rooms have members")


def test_a_flood_of_questions_is_bounded(authorized):
    """ROM-02, ROM-05: one connection cannot have more than its share wait, nor guess on and on."""

    def behave(handler, question):
        daemon.authorizer.release.wait(10)
        by_name(handler, question)

    daemon = authorized(behave, authorizer_timeout="8s", commands_per_client="0")
    client = daemon.connect(mint("u1"))
    for number in range(400):
        client.send(type="subscribe", id=number, room=f"shut:{number % 50}")
    daemon.authorizer.release.set()
    names = [client.recv()["name"] for _ in range(400)]
    assert set(names) <= {"access_denied", "queue_full", "too_many_rooms", "rate_limited"} and "access_denied" in names
    assert client.request(type="ping")["type"] == "ok"


def certificates(directory):
    """Files: an authority's certificate, and a chain and key for localhost of which it is the root."""
    now = datetime.datetime.now(datetime.timezone.utc)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def named(name):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def made(subject, public_key, is_ca):
        builder = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named("an authority")).public_key(public_key)
        builder = builder.serial_number(x509.random_serial_number()).add_extension(x509.BasicConstraints(is_ca, None), True)
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        if not is_ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    files = [directory / name for name in ("ca.pem", "cert.pem", "key.pem")]
    plain = serialization.NoEncryption()
    files[0].write_bytes(made("an authority", ca_key.public_key(), True))
    files[1].write_bytes(made("localhost", key.public_key(), False))
    files[2].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files


def test_https_with_a_certificate_that_is_known_alone(serve, tmp_path):
    """ERR-06: one that is not known is no answer."""
    ca_file, cert_file, key_file = certificates(tmp_path)
    (tmp_path / "other").mkdir()
    other_ca_file, _, _ = certificates(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    authorizer = Authorizer(by_name, context)
    try:
        knows = serve(reactors=1, authorizer_url=authorizer.url, authorizer_ca=ca_file)
        knows.connect().subscribe("open:1")
        stranger = serve(reactors=1, authorizer_url=authorizer.url, authorizer_ca=other_ca_file)
        assert stranger.connect().refused(type="subscribe", room="open:1") == "auth_backend_unavailable"
        assert len(authorizer.requests) == 1
    finally:
        authorizer.stop()
