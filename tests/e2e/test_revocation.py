"""Tokens that end before their time, and the admin listener that ends them."""

import json
import time

import pytest
from harness import PATIENCE_S, PUBLISHER, Client, Daemon, RawHttp, at_most_s, exchange, handshake_status, http_request, mint, note, wait_until
from wire import upgrade_request

JSON = {"Content-Type": "application/json"}


def post(daemon, path, **members):
    """The status and the answer of the admin listener."""
    status, _, body = http_request(daemon.admin, "POST", path, json.dumps(members), JSON)
    return status, json.loads(body)


def revoke(daemon, **members):
    status, answer = post(daemon, "/v1/revoke", **members)
    assert (status, answer["ok"], answer["unheard_reactors"]) == (200, True, 0), answer
    return answer


def refused_code(client):
    """How the connection of a token that is revoked ends, by a browser's way in."""
    messages, code = client.until_closed()
    assert [message for message in messages if message["type"] == "welcome"] == []
    return code


def test_a_revoked_token_ends_its_connections_and_opens_no_other(daemon):
    """AUT-07, AUT-10: 4301 within a second on all reactors, for that `jti` alone; afterwards by no way in."""
    revoked, other = mint("u1", jti="t1", rooms=["r:1"]), mint("u1", jti="t2", rooms=["r:1"])
    clients = [daemon.member("r:1", token=revoked) for _ in range(8)]
    stays = daemon.member("r:1", token=other)
    began = time.monotonic()
    assert revoke(daemon, jti="t1")["ended"] == 8
    for client in clients:
        assert client.close_code() == 4301
    assert time.monotonic() - began < at_most_s(1)
    daemon.publish(note("r:1"))
    assert [frame["room"] for frame in stays.everything(daemon)] == ["r:1"]

    answer = exchange(daemon.address, upgrade_request(revoked))
    assert (answer.status, answer.json["name"]) == (401, "token_revoked")
    by_message = Client(daemon.address, None, by="none", welcome=False)
    by_message.send(type="auth", id=1, token=revoked)
    messages, code = by_message.until_closed()
    assert ([message["name"] for message in messages], code) == (["token_revoked"], 4301)
    assert refused_code(Client(daemon.address, revoked, by="subprotocol", origin="https://app.example", welcome=False)) == 4301
    stays.send(type="auth", id=7, token=revoked)
    messages, code = stays.until_closed()
    assert ([message["name"] for message in messages], code) == (["token_revoked"], 4301)
    assert handshake_status(daemon.address, other) == 101
    assert daemon.metric("token_errors_total", "revoked") == 4
    assert daemon.metric("closed_total", "token_revoked") >= 8


def test_a_user_is_revoked_up_to_a_moment(daemon):
    """AUT-07: tokens issued before it end, later ones do not, nor do another user's, nor publishers on the unix socket."""
    now = int(time.time())
    before, without_time = daemon.connect(mint("u1", iat=now - 60)), daemon.connect(mint("u1", iat=None))
    after, another = daemon.connect(mint("u1", iat=now - 10)), daemon.connect(mint("u2", iat=now - 60))
    assert revoke(daemon, sub="u1", before=now - 30)["ended"] == 2
    assert [client.close_code() for client in (before, without_time)] == [4301, 4301]
    for client in (after, another):
        assert client.request(type="ping")["type"] == "ok"
    assert revoke(daemon, sub="u1")["ended"] == 1
    assert after.close_code() == 4301
    assert handshake_status(daemon.address, mint("u1", iat=now)) == 401
    revoke(daemon, sub="unix-socket")
    daemon.publish(note("r:1"))


def test_a_revoked_publisher_publishes_no_more(daemon1):
    """AUT-08: also if its token was found good a moment ago, and is remembered as such."""
    token = mint(**PUBLISHER, jti="p1")
    for _ in range(3):
        assert daemon1.publish_http(note("r:1"), token)[0] == 200
    assert (daemon1.metric("tokens_known_total"), daemon1.metric("signature_checks_total")) == (2, 1)
    assert revoke(daemon1, jti="p1")["ended"] == 0
    status, [answer] = daemon1.publish_http(note("r:1"), token)
    assert (status, answer["name"]) == (401, "token_revoked")


def test_revocations_outlive_the_daemon_and_a_torn_line(tmp_path, serve):
    """AUT-07: kept when it is answered, whatever ends the process; a line that a crash cut off is left out, and told."""
    data_dir = tmp_path / "data"
    token, cut_off = mint("u1", jti="t1"), mint("u2", jti="t2")
    first = Daemon(tmp_path / "first", reactors=1, data_dir=data_dir)
    assert revoke(first, jti="t1")["kept"] == "disk"
    assert revoke(first, jti="t1")["kept"] == "disk"
    first.process.kill()
    first.process.wait()
    first.process.stdout.close()
    file = data_dir / "revocations.ndjson"
    assert file.read_text() == '{"jti":"t1"}\n'
    with file.open("a") as out:
        out.write('{"jti":"t2"')
    second = serve(reactors=1, data_dir=data_dir)
    assert (handshake_status(second.address, token), handshake_status(second.address, cut_off)) == (401, 101)
    assert "revocations_torn" in second.stderr()
    revoke(second, sub="u3", before=5, exp=int(time.time()) - 90 * 86_400)
    second.end()
    third = serve(reactors=1, data_dir=data_dir)
    assert handshake_status(third.address, token) == 401
    assert file.read_text() == '{"jti":"t1"}\n', "what has ended is forgotten at the start"


def test_without_a_data_directory_the_answer_says_so(daemon1):
    assert revoke(daemon1, jti="t1")["kept"] == "memory"


def test_disconnect(daemon):
    """4005, do not come back; the token stays good."""
    clients, other = [daemon.connect(mint("u1")) for _ in range(4)], daemon.connect(mint("u2"))
    assert post(daemon, "/v1/disconnect", sub="u1") == (200, {"ok": True, "ended": 4, "unheard_reactors": 0})
    assert [client.close_code() for client in clients] == [4005] * 4
    assert other.request(type="ping")["type"] == "ok"
    assert handshake_status(daemon.address, mint("u1")) == 101


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/revoke", "{}"),
        ("/v1/revoke", "[]"),
        ("/v1/revoke", '{"jti":"a","sub":"b"}'),
        ("/v1/revoke", '{"jti":"a","jti":"b"}'),
        ("/v1/revoke", '{"sub":"a","befor":1}'),
        ("/v1/revoke", '{"sub":"a","before":"now"}'),
        ("/v1/disconnect", "{}"),
        ("/v1/disconnect", '{"user":"u1"}'),
        ("/v1/disconnect", "nothing"),
    ],
)
def test_what_is_not_understood_is_refused(daemon1, path, body):
    """A misspelt member must not revoke something else than is meant."""
    status, _, answer = http_request(daemon1.admin, "POST", path, body, JSON)
    assert (status, json.loads(answer)["name"]) == (400, "invalid_field")


def test_the_admin_listener_is_not_for_web_pages(daemon1):
    """A name that was made to mean 127.0.0.1, and requests across origins: the two ways in by a browser of this machine."""
    port = daemon1.admin[1]
    body = b'{"sub":"u1"}'
    client = daemon1.connect(mint("u1"))

    def status(method, path, host, **headers):
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode()
        with RawHttp(daemon1.admin) as raw:
            raw.send(request + body)
            return raw.response().status

    json_type = {"Content_Type": "application/json"}
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "192.0.2.1", "[2001:db8::1]", "localhost.evil.example"):
        assert status("GET", "/metrics", host) == 403, host
        assert status("POST", "/v1/disconnect", host, **json_type) == 403, host
    for headers in ({"Origin": "http://127.0.0.1"} | json_type, {"Origin": "null"} | json_type):
        assert status("POST", "/v1/disconnect", f"127.0.0.1:{port}", **headers) == 403, headers
    for headers in ({}, {"Content_Type": "text/plain"}, {"Content_Type": "application/x-www-form-urlencoded"}):
        assert status("POST", "/v1/disconnect", f"127.0.0.1:{port}", **headers) == 415, headers
    assert client.request(type="ping")["type"] == "ok"
    for host in (f"127.0.0.1:{port}", "127.0.0.1", "localhost", f"LOCALHOST:{port}", "127.8.8.8", f"[::1]:{port}"):
        assert status("GET", "/metrics", host) == 200, host
    assert status("POST", "/v1/disconnect", f"localhost:{port}", **json_type) == 200


def test_methods_and_bodies_of_the_admin_listener(daemon1):
    """Each wrong request gets its status; a body that is announced and does not come holds nobody up."""
    admin = daemon1.admin
    assert http_request(admin, "GET", "/v1/revoke")[0] == 405
    assert http_request(admin, "POST", "/metrics", "{}", JSON)[0] == 405
    assert http_request(admin, "POST", "/v1/nothing", "{}", JSON)[0] == 404
    assert http_request(admin, "POST", "/v1/revoke", None, JSON | {"Content-Length": "100000"})[0] == 413
    with RawHttp(admin) as raw:
        raw.send(b"POST /v1/revoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n")
        assert raw.response().status == 411
    with RawHttp(admin) as raw:
        raw.send(b"POST /v1/revoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{")
        assert raw.response().status == 408


def test_many_revocations_leave_others_alone(daemon):
    """Each is told to every reactor; 200 of them in a row end exactly those who are meant."""
    clients = {number: daemon.connect(mint(f"u{number}", jti=f"t{number}")) for number in range(20)}
    for number in range(200):
        assert revoke(daemon, jti=f"t{number * 2}")["ended"] == (1 if number < 10 else 0)
    for number, client in clients.items():
        if number % 2:
            assert client.request(type="ping")["type"] == "ok"
        else:
            assert client.close_code() == 4301
    wait_until(lambda: daemon.metric("connections", "websocket") == 10, "the ended ones are gone", PATIENCE_S)
