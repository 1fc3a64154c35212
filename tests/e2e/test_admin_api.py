"""`/v1/admin/…` on --listen: what the admin listener has, for tokens with the scope `admin`, and that asking holds nobody up."""

import concurrent.futures
import http.client
import json
import socket
import sqlite3
import threading
import time

import pytest
from harness import DEADLINE_S, LONG, at_most_s, figures, http_request, mint, note, wait_until
from test_hold import Crowd

CLIENTS = 10_000 if LONG else 1_000
READS = ("livez", "readyz", "healthz", "metrics", "stats", "alerts", "connections", "rooms")
SCOPES = (None, "", "publish", "broadcast", "publish broadcast", "administrator", "ADMIN")
JSON = {"Content-Type": "application/json"}


def admin(**claims):
    return mint(sub="op", scope="admin", **claims)


def ask(daemon, name, token=None, method="GET", body=None, **headers):
    """A request with a token; status, headers, body."""
    headers = {"Authorization": f"Bearer {token or admin()}"} | headers
    return http_request(daemon.address, method, f"/v1/admin/{name}", body, headers)


def post(daemon, name, body, token=None):
    status, _, answer = ask(daemon, name, token, "POST", json.dumps(body), **JSON)
    return status, json.loads(answer)


def test_it_says_what_the_admin_listener_says(daemon1):
    """OBS-11: every path, by GET and by HEAD; nobody keeps the answers."""
    with daemon1.connect(mint(sub="u1")):
        for name in READS:
            path = f"/{name}" if name in ("livez", "readyz", "healthz", "metrics") else f"/v1/{name}"
            status, headers, body = ask(daemon1, name)
            there = http_request(daemon1.admin, "GET", path)
            assert (status, headers["content-type"]) == (there[0], there[1]["content-type"]), name
            assert outline(body) == outline(there[2]), name
            assert headers["cache-control"] == "no-store"
            assert ask(daemon1, name, method="HEAD")[0::2] == (200, b"")
        explained = json.loads(ask(daemon1, "explain?user=u1&room=user:u1")[2])
        assert explained["verdict"] == "may_join"
        told = json.loads(ask(daemon1, "connections?user=u1")[2])["connections"]
        assert [record["user"] for record in told] == ["u1"]


def outline(body):
    """The names of what is told, for the figures change."""
    if not body.startswith(b"{"):
        return {line.rpartition(b" ")[0] for line in body.splitlines() if not line.startswith(b"tickerd_thread_cpu")}
    return sorted(json.loads(body))


def test_the_scope_admin_is_needed(serve):
    """Whoever has no token gets 401, whoever has one without the scope 403, and neither learns which paths there are; nothing but the header takes a
    token there. All of them are told in the log."""
    daemon = serve(query_token=True)
    for name in (*READS, "explain", "revoke", "no/such/path"):
        status, headers, body = http_request(daemon.address, "GET", f"/v1/admin/{name}")
        assert (status, headers["www-authenticate"], json.loads(body)["name"]) == (401, "Bearer", "auth_failed"), name
        for scope in SCOPES:
            status, _, body = ask(daemon, name, mint(sub="u1", scope=scope))
            assert (status, json.loads(body)["name"]) == (403, "forbidden"), (name, scope)
    assert http_request(daemon.address, "GET", f"/v1/admin/stats?token={admin()}")[0] == 400
    ticket = json.loads(http_request(daemon.address, "POST", "/v1/ticket", None, {"Authorization": f"Bearer {admin()}"})[2])["ticket"]
    assert http_request(daemon.address, "GET", f"/v1/admin/stats?ticket={ticket}")[0] == 401
    assert '"forbidden"' in daemon.stderr() and admin()[:40] not in daemon.stderr()
    assert ask(daemon, "stats", mint(sub="op", scope="publish admin"))[0] == 200


def test_tokens_that_are_good_no_more(serve):
    """AUT-01, AUT-06: an expired, an early, a foreign, a revoked token: 401; also one that revokes itself."""
    daemon = serve()
    for bad in (admin(ttl=-60), admin(nbf=int(time.time()) + 600), admin(key="another-secret-of-at-least-32-bytes-000"), "not.a.token"):
        status, headers, _ = ask(daemon, "stats", bad)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
    token = admin(jti="t-1")
    assert ask(daemon, "stats", token)[0] == 200
    assert post(daemon, "revoke", {"jti": "t-1"}, token) == (200, {"ok": True, "ended": 0, "unheard_reactors": 0, "kept": "memory"})
    status, _, body = ask(daemon, "stats", token)
    assert (status, json.loads(body)["name"]) == (401, "token_revoked")


def test_what_is_asked_wrongly_is_refused(daemon1):
    """ERR-01: 404 with the paths that there are, 405, 411, 413, 415, and errors of the query, each as JSON; the connection stays."""
    connection = http.client.HTTPConnection(*daemon1.address, timeout=DEADLINE_S)
    bearer = {"Authorization": f"Bearer {admin()}"}

    def said(method, name, body=None, **headers):
        connection.request(method, f"/v1/admin/{name}", body, bearer | headers)
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())

    status, _, body = said("GET", "nothing")
    assert status == 404 and "/v1/admin/stats" in body["message"] and "/v1/admin/metrics" in body["message"]
    for name in ("", "v1/stats", "stats/", "../v1/stats"):
        assert said("GET", name)[0] == 404, name
    for method, name in (("POST", "stats"), ("GET", "revoke"), ("DELETE", "stats")):
        status, headers, _ = said(method, name, b"{}" if method == "POST" else None, **JSON)
        assert status == 405 and headers["allow"], (method, name)
    assert said("POST", "revoke", b"{}")[0] == 415
    assert said("POST", "revoke", b"{}", **JSON)[0] == 400
    assert said("GET", "stats?x=1")[0] == 400
    assert said("GET", "connections?limit=9999")[0] == 400
    assert said("GET", "stats")[0] == 200
    assert said("POST", "log-level", b" " * 16_385, **JSON)[0] == 413


def test_a_body_may_come_in_pieces(daemon1):
    """LIM-10: byte by byte, with what follows it in the same piece; `Expect: 100-continue` is answered."""
    body = json.dumps({"level": "info"}).encode()
    head = f"POST /v1/admin/log-level HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin()}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    following = f"GET /v1/admin/livez HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin()}\r\nConnection: close\r\n\r\n".encode()
    with socket.create_connection(daemon1.address, timeout=DEADLINE_S) as peer:
        peer.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for at in range(len(body) - 1):
            peer.sendall(body[at : at + 1])
            time.sleep(0.001)
        peer.sendall(body[-1:] + following)
        answers = b"".join(iter(lambda: peer.recv(65_536), b""))
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2 and b'{"ok":true,"level":"info"}' in answers and answers.endswith(b"live\n")


def test_who_did_it_is_told(serve, tmp_path):
    """OBS-15: what a token had done is in the audit trail with its user and address, and in the log."""
    daemon = serve(data_dir=tmp_path / "data")
    with daemon.connect(mint(sub="u1")) as client:
        assert post(daemon, "disconnect", {"sub": "u1"}) == (200, {"ok": True, "ended": 1, "unheard_reactors": 0})
        assert client.close_code() == 4005
    assert post(daemon, "log-level", {"level": "debug"})[0] == 200
    assert post(daemon, "revoke", {"jti": "t-9"})[1]["kept"] == "disk"
    assert post(daemon, "log-level", {"level": "loud"})[0] == 400

    def trail():
        with sqlite3.connect(f"file:{tmp_path}/data/audit.db?mode=ro", uri=True) as book:
            return book.execute("select user, ip, subject from trail where kind = 'admin' order by id").fetchall()

    expected = [("u1", "127.0.0.1", "disconnect by op"), (None, "127.0.0.1", "log-level by op"), (None, "127.0.0.1", "revoke jti t-9 by op")]
    wait_until(lambda: len(trail()) == 3, "the entries are written")
    assert trail() == expected
    lines = [json.loads(line) for line in daemon.stderr().splitlines() if '"admin_action"' in line]
    assert [(line["user"], line["client"], line["what"], line["status"]) for line in lines] == [
        ("op", "127.0.0.1", "disconnect", 200), ("op", "127.0.0.1", "log-level", 200), ("op", "127.0.0.1", "revoke", 200), ("op", "127.0.0.1", "log-level", 400),
    ]  # fmt: skip


@pytest.mark.parametrize(("access", "read", "act"), [("off", 404, 404), ("read", 200, 403), ("all", 200, 200)])
def test_an_operator_may_switch_it_off(serve, access, read, act):
    """OPS-05: --admin-api; what is off is as if it were not there, also for those without a token."""
    daemon = serve(admin_api=access)
    assert (ask(daemon, "stats")[0], post(daemon, "log-level", {"level": "info"})[0]) == (read, act)
    assert http_request(daemon.address, "GET", "/v1/admin/stats")[0] == (404 if access == "off" else 401)


def test_pages_of_other_origins(serve):
    """NET-06: listed ones may read it, once they have asked; others are refused."""
    daemon = serve(origin="https://desk.example")
    ours, theirs = {"Origin": "https://desk.example"}, {"Origin": "https://evil.example"}
    status, headers, _ = ask(daemon, "stats", **ours)
    assert (status, headers["access-control-allow-origin"]) == (200, "https://desk.example")
    status, headers, _ = ask(daemon, "stats", **theirs)
    assert (status, headers.get("access-control-allow-origin")) == (403, None)
    for origin, expected in ((ours, 204), (theirs, 403)):
        headers = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        status, headers, _ = http_request(daemon.address, "OPTIONS", "/v1/admin/revoke", None, headers)
        assert status == expected
    assert ask(daemon, "stats")[0] == 200, "what is no page has no origin"


def test_two_hundred_at_once_disturb_nobody(serve):
    """LIM-01, LIM-06: 200 requests of ten operators at once: each is answered, refused with 429 or with 503; one user alone gets its burst and its rate.
    A member of another room gets its alerts meanwhile, all of them, none later than 200 ms but for one in ten on a busy machine."""
    daemon = serve(reactors=2)
    ends, took = threading.Event(), []

    def canary():
        with daemon.member("challenge:c1") as member:
            while not ends.is_set():
                began = time.monotonic()
                daemon.publish(note("challenge:c1", "alert"))
                member.recv_type("note")
                took.append(time.monotonic() - began)

    def status_of(number):
        headers = {"Authorization": f"Bearer {mint(sub=f'op{number % 10}', scope='admin')}"}
        status, headers, body = http_request(daemon.address, "GET", f"/v1/admin/{('metrics', 'connections', 'stats')[number % 3]}", None, headers)
        assert status == 200 or (headers["retry-after"] and json.loads(body)["retry_after_ms"] > 0)
        return status

    thread = threading.Thread(target=canary)
    thread.start()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        statuses = list(pool.map(status_of, range(200)))
    alone = [ask(daemon, "livez")[0] for _ in range(150)]
    wait_until(lambda: len(took) > 20, "alerts come")
    ends.set()
    thread.join()
    figures("operators", answered=statuses.count(200), busy=statuses.count(503), alerts=len(took), alert_ms_max=round(max(took) * 1e3, 1))
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 32
    assert set(alone) == {200, 429} and alone[:60] == [200] * 60
    assert sorted(took)[int(len(took) * 0.9)] < at_most_s(0.2)
    wait_until(lambda: ask(daemon, "livez")[0] == 200, "it may ask again")


def test_an_answer_that_is_too_long_is_refused(serve):
    """A reactor copies no more than 512 KiB at once for an operator: who asks for more is told to ask for less."""
    daemon = serve(reactors=1)
    rooms = [f"challenge:{'x' * 180}{number:03d}" for number in range(100)]
    clients = [daemon.member(*rooms, token=mint(sub=f"u{number}", rooms=["challenge:*"])) for number in range(25)]
    status, _, body = ask(daemon, "connections")
    assert (status, json.loads(body)["name"]) == (400, "invalid_field") and "limit" in json.loads(body)["message"]
    assert len(json.loads(ask(daemon, "connections?limit=5")[2])["connections"]) == 5
    for client in clients:
        client.close()


def test_who_leaves_is_not_waited_for(serve):
    """Connections that end before their answer comes, and others that take their slot: nobody gets an answer that is another's."""
    daemon = serve(reactors=1)
    request = f"GET /v1/admin/metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mint(sub='leaver', scope='admin')}\r\n\r\n".encode()
    for _ in range(50):
        with socket.create_connection(daemon.address) as leaver:
            leaver.sendall(request)
        assert http_request(daemon.address, "GET", "/icon.svg")[0] == 200
    assert ask(daemon, "livez")[2] == b"live\n"


def test_answers_are_quick(serve):
    """OBS-01: with 1,000 clients, each in a room of its own (with TICKERD_LONG=1: 10,000), the fastest of five answers to each question that the operator's
    view asks comes within 100 ms, over a reactor that has half of them."""
    daemon = serve(reactors=2, max_connections=CLIENTS + 100)
    names, told = ("metrics", "healthz", "alerts", "rooms?limit=12", "connections?sort=queued&limit=12"), {}
    with Crowd(daemon, CLIENTS):
        for name in names:
            times = []
            for _ in range(5):
                began = time.monotonic()
                status, _, body = ask(daemon, name)
                times.append(time.monotonic() - began)
                assert status == 200
            told[name.partition("?")[0]] = f"{min(times) * 1e3:.1f} to {max(times) * 1e3:.1f} ms, {len(body)} B"
            assert min(times) < 0.1, (name, times)
    figures("answers to operators", clients=CLIENTS, **told)
