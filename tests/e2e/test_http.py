"""HTTP: publishing, and every status that a request can earn."""

import json
import socket
import subprocess

import pytest
from harness import Daemon, RawHttp, exchange, http_request, mint, note, risk_alert
from wire import upgrade_request

TOKEN = mint("backend", scope="publish broadcast", rooms=["*"])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One daemon for all requests of this file."""
    daemon = Daemon(tmp_path_factory.mktemp("http") / "daemon", reactors=1, origin=["https://app.example"])
    yield daemon
    daemon.end()


def post(body, *, token=TOKEN, path="/v1/publish", content_type="application/x-ndjson", extra=""):
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def line(**event):
    return json.dumps(note("http:1", **event)).encode()


# ---- publishing ------------------------------------------------------------------------------------------------------


def test_one_event(server):
    """ARC-03, DLV-10: its answer is the body, its status the outcome's."""
    member = server.member("http:one")
    status, [answer] = server.publish_http(note("http:one", data={"a": 1}))
    assert (status, answer["ok"], answer["result"], answer["members"]) == (200, True, "accepted", 1)
    assert member.recv()["data"] == {"a": 1}


def test_a_pretty_printed_event(server):
    """One event over several lines, by its content type."""
    status, [answer] = server.publish_http(json.dumps(note("http:1"), indent=2))
    assert (status, answer["ok"]) == (200, True)


def test_many_lines(server):
    """PRO-06: 200 with one answer a line, in order, refused ones among them; empty lines are none."""
    body = b"\n".join([line(id=1), b"", line(id=2, lane="nonsense"), b"{", line(id=4), b""])
    with RawHttp(server.address) as raw:
        raw.send(post(body))
        response = raw.response()
    answers = [json.loads(text) for text in response.body.splitlines()]
    assert response.status == 200
    assert [(answer["ok"], answer.get("id")) for answer in answers] == [(True, 1), (False, 2), (False, None), (True, 4)]


@pytest.mark.parametrize(
    ("event", "status", "name"),
    [
        ({"type": "novel", "data": {}}, 400, "unknown_event"),
        ({"type": "RISK_ALERT", "data": {}}, 400, "invalid_field"),
        (risk_alert() | {"lane": "metric"}, 409, "catalog_conflict"),
        (note("http:owned", owner="u2"), 409, "owner_conflict"),
        (note("http:1", data="x" * 70_000), 413, "too_large"),
    ],
)
def test_the_status_of_one_refused_event(server, event, status, name):
    """ERR-01: the table's status."""
    server.publish_http(note("http:owned", owner="u1"))
    got, [answer] = server.publish_http(event)
    assert (got, answer["ok"], answer["name"]) == (status, False, name)


@pytest.mark.parametrize(
    ("token", "status"),
    [("", 401), ("garbage", 401), (mint("u1"), 403), (mint("u1", scope="admin"), 403), (mint("b", scope="publish", ttl=-60), 401)],
    ids=["none", "garbage", "no scope", "another scope", "expired"],
)
def test_who_may_publish(server, token, status):
    """AUT-11: 401 asks for a token, 403 says that it is not enough; nothing is published."""
    response = exchange(server.address, post(line(), token=token))
    assert response.status == status
    assert response.json["name"] == {401: "auth_failed", 403: "forbidden"}[status] or token and response.json["name"] == "token_expired"
    assert ("www-authenticate" in response.headers) == (status == 401)


def test_where_a_publisher_may_publish(server):
    """AUT-11: `publish_rooms` and the scope `broadcast` hold over HTTP as well."""
    bound = mint("b", scope="publish", publish_rooms=["challenge:*"])
    assert server.publish_http(note("http:1"), bound)[0] == 403
    assert server.publish_http(risk_alert("http-c1"), bound)[0] == 200
    assert server.publish_http({"type": "system_alert", "data": {}}, bound)[0] == 403


def test_requests_on_one_connection(server):
    """Keep-alive: the second request finds the connection as the first left it; errors in between do not end it."""
    with RawHttp(server.address) as raw:
        for number in range(3):
            raw.send(post(line(id=number)))
            assert raw.response().json["id"] == number
            raw.send(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            assert raw.response().status == 404
        raw.send(post(line(), extra="Connection: close\r\n"))
        assert raw.response().headers["connection"] == "close" and raw.closed()


def test_pipelined_requests_are_answered_in_order(server):
    """Twenty requests in one write."""
    with RawHttp(server.address) as raw:
        raw.send(b"".join(post(line(id=number)) for number in range(20)))
        assert [raw.response().json["id"] for _ in range(20)] == list(range(20))


def test_a_request_in_single_bytes(server):
    """Wherever the reads are cut, it is the same request."""
    with RawHttp(server.address) as raw:
        for byte in post(line(id=9)):
            raw.send(bytes([byte]))
        assert raw.response().json["id"] == 9


def test_curl_and_its_expect_continue(server, tmp_path):
    """A real client with a big body: `100 Continue`, then 10,000 answers."""
    body = tmp_path / "events.ndjson"
    body.write_bytes(b"\n".join(line(id=n, data="x" * 100) for n in range(10_000)))
    url = f"http://{server.address[0]}:{server.address[1]}/v1/publish"
    headers = ["-H", f"Authorization: Bearer {TOKEN}", "-H", "Expect: 100-continue", "-H", "Content-Type: application/x-ndjson"]
    curl = ["curl", "--silent", "--show-error", "--verbose", "--noproxy", "*", "--max-time", "30", "--data-binary", f"@{body}", *headers, url]
    done = subprocess.run(curl, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    log = done.stderr.decode(errors="replace")
    assert "HTTP/1.1 100 Continue" in log and "HTTP/1.1 200 OK" in log
    answers = [json.loads(text) for text in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == list(range(10_000)) and all(answer["ok"] for answer in answers)


def test_expect_continue_before_a_body_that_is_refused(server):
    """The final status at once, instead of an invitation to send 5 MB."""
    with RawHttp(server.address) as raw:
        raw.send(b"POST /v1/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n" + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert raw.response().status == 413


def test_answers_are_not_cached_nor_sniffed(server):
    """NET-06's spirit: what is private stays so."""
    response = exchange(server.address, post(line()))
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers


# ---- statuses --------------------------------------------------------------------------------------------------------


def plain(text):
    return text.replace("\n", "\r\n").encode()


BAD_REQUESTS = {
    "no such path": (plain("GET /nowhere HTTP/1.1\nHost: x\n\n"), 404),
    "GET publish": (plain("GET /v1/publish HTTP/1.1\nHost: x\n\n"), 405),
    "PUT publish": (plain("PUT /v1/publish HTTP/1.1\nHost: x\nContent-Length: 0\n\n"), 405),
    "POST ws": (plain("POST /v1/ws HTTP/1.1\nHost: x\nContent-Length: 0\n\n"), 405),
    "empty body": (post(b""), 400),
    "body of line feeds": (post(b"\n\n"), 400),
    "no content-length": (plain(f"POST /v1/publish HTTP/1.1\nHost: x\nAuthorization: Bearer {TOKEN}\n\n"), 411),
    "chunked": (plain(f"POST /v1/publish HTTP/1.1\nHost: x\nAuthorization: Bearer {TOKEN}\nTransfer-Encoding: chunked\n\n0\n\n"), 411),
    "both lengths": (plain("POST /v1/publish HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n"), 400),
    "unknown coding": (plain("POST /v1/publish HTTP/1.1\nHost: x\nTransfer-Encoding: gzip\n\n"), 501),
    "two lengths": (plain("POST /v1/publish HTTP/1.1\nHost: x\nContent-Length: 5\nContent-Length: 6\n\nhello"), 400),
    "signed length": (plain("POST /v1/publish HTTP/1.1\nHost: x\nContent-Length: +5\n\nhello"), 400),
    "length is no number": (plain("POST /v1/publish HTTP/1.1\nHost: x\nContent-Length: five\n\nhello"), 400),
    "length beyond the limit": (plain(f"POST /v1/publish HTTP/1.1\nHost: x\nAuthorization: Bearer {TOKEN}\nContent-Length: 99999999\n\n"), 413),
    "length beyond 64 bits": (plain("POST /v1/publish HTTP/1.1\nHost: x\nContent-Length: 99999999999999999999999\n\n"), 413),
    "no host": (plain("GET /v1/ws HTTP/1.1\n\n"), 400),
    "two hosts": (plain("GET /v1/ws HTTP/1.1\nHost: a\nHost: b\n\n"), 400),
    "host with a slash": (plain("GET /v1/ws HTTP/1.1\nHost: a/b\n\n"), 400),
    "HTTP/2.0": (plain("GET / HTTP/2.0\nHost: x\n\n"), 505),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "absolute target of another scheme": (plain("GET ftp://x/v1/ws HTTP/1.1\nHost: x\n\n"), 400),
    "fragment in the target": (plain("GET /v1/ws#a HTTP/1.1\nHost: x\n\n"), 400),
    "folded header": (plain("GET /v1/ws HTTP/1.1\nHost: x\nA: b\n c\n\n"), 400),
    "space before the colon": (plain("GET /v1/ws HTTP/1.1\nHost : x\n\n"), 400),
    "bare line feeds": (b"GET /v1/ws HTTP/1.1\nHost: x\n\n", 400),
    "too many headers": (plain("GET /v1/ws HTTP/1.1\nHost: x\n" + "".join(f"A{n}: b\n" for n in range(100)) + "\n"), 431),
    "head too long": (plain("GET /v1/ws HTTP/1.1\nHost: x\nA: " + "b" * 20_000 + "\n\n"), 431),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_requests(server, name):
    """ERR-02, LIM-04: each has its status and a JSON body that says what to do; the daemon serves on."""
    request, status = BAD_REQUESTS[name]
    response = exchange(server.address, request)
    assert response.status == status
    assert response.json["ok"] is False and response.json["message"]
    if status == 405:
        assert response.headers["allow"] in ("GET", "POST")
    assert http_request(server.address, "GET", "/nowhere")[0] == 404


def test_a_stated_length_is_waited_for_and_what_follows_is_no_request(server):
    """A body that holds a request is a body: nothing is smuggled past a proxy."""
    hidden = plain("GET /v1/ws HTTP/1.1\nHost: x\n\n")
    with RawHttp(server.address) as raw:
        raw.send(post(hidden) + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [raw.response().status, raw.response().status] == [400, 404]


BAD_UPGRADES = {
    "no upgrade headers": ({"Upgrade": None, "Connection": None}, 426),
    "no upgrade header": ({"Upgrade": None}, 426),
    "upgrade to h2c": ({"Upgrade": "h2c"}, 426),
    "no connection header": ({"Connection": None}, 400),
    "connection keep-alive": ({"Connection": "keep-alive"}, 400),
    "connection close": ({"Connection": "close"}, 400),
    "no version": ({"Sec_WebSocket_Version": None}, 426),
    "version 8": ({"Sec_WebSocket_Version": "8"}, 426),
    "version 14": ({"Sec_WebSocket_Version": "14"}, 426),
    "version 13.0": ({"Sec_WebSocket_Version": "13.0"}, 426),
    "version in words": ({"Sec_WebSocket_Version": "thirteen"}, 426),
    "version empty": ({"Sec_WebSocket_Version": ""}, 426),
    "no key": ({"Sec_WebSocket_Key": None}, 400),
    "key empty": ({"Sec_WebSocket_Key": ""}, 400),
    "key of 15 bytes": ({"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAA"}, 400),
    "key of 17 bytes": ({"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAAA="}, 400),
    "key of 24 bytes": ({"Sec_WebSocket_Key": "A" * 32}, 400),
    "key not base64": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ!!"}, 400),
    "key of the URL alphabet": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub2_-ZQ=="}, 400),
    "key without padding": ({"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
    "subprotocol of another": ({"Sec_WebSocket_Protocol": "graphql-ws"}, 400),
    "subprotocol in another case": ({"Sec_WebSocket_Protocol": "Tickerd.V1"}, 400),
    "bearer without tickerd.v1": ({"Sec_WebSocket_Protocol": f"bearer.{TOKEN}", "Authorization": None}, 400),
    "bearer and header": ({"Sec_WebSocket_Protocol": f"tickerd.v1, bearer.{TOKEN}"}, 400),
    "a foreign origin": ({"Origin": "https://evil.example"}, 403),
    "the null origin": ({"Origin": "null"}, 403),
    "a bad token": ({"Authorization": "Bearer garbage"}, 401),
    "an empty token": ({"Authorization": "Bearer "}, 400),
    "a body": ({"Content_Length": "3"}, 400),
    "chunked": ({"Transfer_Encoding": "chunked"}, 411),
}


@pytest.mark.parametrize("name", BAD_UPGRADES)
def test_bad_upgrades(server, name):
    """ERR-02, NET-07: RFC 6455 section 4.2.1, and our own terms; refused with a status, never with silence."""
    headers, status = BAD_UPGRADES[name]
    response = exchange(server.address, upgrade_request(TOKEN, **headers))
    assert response.status == status
    assert response.json["message"]
    if name.startswith("version") or name == "no version":
        assert response.headers["sec-websocket-version"] == "13"


BAD_UPGRADE_TEXTS = {
    "POST": (lambda good: good.replace(b"GET", b"POST", 1), 405),
    "HTTP/1.0": (lambda good: good.replace(b"HTTP/1.1", b"HTTP/1.0", 1), 400),
    "two keys": (lambda good: good[:-2] + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 400),
    "two versions": (lambda good: good[:-2] + b"Sec-WebSocket-Version: 13\r\n\r\n", 400),
    "two hosts": (lambda good: good[:-2] + b"Host: y\r\n\r\n", 400),
    "two origins": (lambda good: good[:-2] + b"Origin: https://app.example\r\nOrigin: https://app.example\r\n\r\n", 400),
    "two tokens": (lambda good: good[:-2] + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode(), 400),
    "no host": (lambda good: good.replace(b"Host: localhost\r\n", b""), 400),
    "another path": (lambda good: good.replace(b"/v1/ws", b"/v2/ws"), 404),
    "query token": (lambda good: good.replace(b"/v1/ws", b"/v1/ws?token=abc"), 400),
}


@pytest.mark.parametrize("name", BAD_UPGRADE_TEXTS)
def test_bad_upgrade_texts(server, name):
    """The same for what a table of headers cannot say."""
    change, status = BAD_UPGRADE_TEXTS[name]
    assert exchange(server.address, change(upgrade_request(TOKEN))).status == status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "UPGRADE", "Upgrade": "WebSocket"},
        {"Sec_WebSocket_Protocol": "other, tickerd.v1"},
        {"Origin": "https://app.example"},
        {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"},
    ],
)
def test_good_upgrades(server, headers):
    """The accept key of RFC 6455's own example; nothing that was not offered is echoed."""
    with RawHttp(server.address) as raw:
        raw.send(upgrade_request(TOKEN, **headers))
        response = raw.response()
    assert response.status == 101
    assert response.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert response.headers.get("sec-websocket-protocol") == ("tickerd.v1" if "Sec_WebSocket_Protocol" in headers else None)
    assert "sec-websocket-extensions" not in response.headers


def test_slow_heads_end_in_time(server):
    """LIM-10: a head that does not come to its end within five seconds is not waited for."""
    with RawHttp(server.address) as raw:
        raw.send(b"GET /v1/ws HTTP/1.1\r\nHost:")
        try:
            assert raw.response().status == 408
        except ConnectionResetError:
            pass
        except AssertionError as closed:
            assert "closed" in str(closed)


@pytest.mark.parametrize("path", ["/v1/publish", "/v1/ws", "/nothing"])
def test_the_answer_to_head_has_no_body(daemon1, path):
    """RFC 9110 section 9.3.2: a body would be taken for the next answer by a proxy that keeps the connection."""
    with socket.create_connection(daemon1.address, timeout=10) as raw:
        raw.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = b""
        while chunk := raw.recv(4096):
            answer += chunk
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 4") and b"connection: close" in head.lower()
    assert body == b""
