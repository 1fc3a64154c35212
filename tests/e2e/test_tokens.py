"""No frame without a valid token, wherever it is brought; and what its end does to a connection."""

import time

import pytest
from bad_tokens import BAD_TOKENS, EXPIRED, Keys, good, good_rsa
from harness import LONG, Client, RawHttp, exchange, handshake_status, mint, note, wait_until
from wire import CLOSE, RawClient, command, upgrade_request


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """A daemon with two kinds of key, an issuer and an audience; all bad tokens are tried on it."""
    from harness import Daemon

    directory = tmp_path_factory.mktemp("keyed")
    keys = Keys(directory)
    daemon = Daemon(directory / "daemon", reactors=1, **keys.flags())
    daemon.keys = keys
    yield daemon
    daemon.end()


@pytest.mark.parametrize("by", ["header", "subprotocol", "first_message"])
def test_good_tokens_are_taken(keyed, by):
    """AUT-01's other half, AUT-05: `welcome` is first and says who one is."""
    for token in (good(), good_rsa(keyed.keys), good(aud=["other", "tickerd"]), good(iat=None)):
        with keyed.connect(token, by=by) as client:
            data = client.welcome["data"]
            assert data["user"] == "u1" and data["session"] and data["heartbeat_ms"] == 30000
            assert time.time() < data["expires_at"] < time.time() + 3700
            assert {"auth", "subscribe", "unsubscribe", "snapshot", "ping"} <= set(data["capabilities"])
            assert client.websocket.subprotocol == "tickerd.v1"


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_token_by_header(keyed, name):
    """AUT-01: 401 and nothing else; the answer says nothing of the token."""
    token = BAD_TOKENS[name](keyed.keys)
    answer = exchange(keyed.address, upgrade_request(token))
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json["name"] == ("token_expired" if name in EXPIRED else "auth_failed")
    assert token not in answer.body.decode()


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_token_by_subprotocol(keyed, name):
    """AUT-01, AUT-10: a browser hides the status from its page, so it gets the upgrade and one frame, the Close."""
    protocols = f"tickerd.v1, bearer.{BAD_TOKENS[name](keyed.keys)}"
    with RawClient(keyed.address, None, Origin="https://app.example", Sec_WebSocket_Protocol=protocols) as client:
        opcode, payload = client.next_frame()
        assert opcode == CLOSE
        assert int.from_bytes(payload[:2], "big") == (4300 if name in EXPIRED else 4001)
    answer = exchange(keyed.address, upgrade_request(None, Sec_WebSocket_Protocol=protocols))
    assert answer.status == 401, "no Origin, no browser"


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_token_by_first_message(keyed, name):
    """AUT-01, AUT-03: an error with the command's `id`, and the close."""
    client = Client(keyed.address, None, by="none", welcome=False)
    client.send(type="auth", id=1, token=BAD_TOKENS[name](keyed.keys))
    messages, code = client.until_closed()
    assert [(m["type"], m["id"], m["name"]) for m in messages] == [("error", 1, "token_expired" if name in EXPIRED else "auth_failed")]
    assert code == (4300 if name in EXPIRED else 4001)


def test_a_connection_has_one_bad_token(daemon1):
    """AUT-08: pipelined requests with bad tokens do not buy a signature check each: the first one's 401 is the last answer."""
    bad = mint("u1", key="some-other-secret-that-is-long-enough-0123")
    with RawHttp(daemon1.address) as raw:
        raw.send(upgrade_request(bad) * 50)
        answer = raw.response()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert raw.closed()
    assert daemon1.metric("signature_checks_total") == 1


def test_tokens_are_never_logged(keyed):
    """AUT-02: not in the log, not in the metrics; after all the refusals of the tests before this one."""
    token = good(sub="grep-me")
    with keyed.connect(token):
        log, metrics = keyed.stderr(), "\n".join(keyed.metrics())
    assert "eyJ" not in log and "eyJ" not in metrics
    assert token.split(".")[1] not in log


@pytest.mark.parametrize(
    "request_of",
    [
        lambda t: upgrade_request(t, Sec_WebSocket_Protocol=f"tickerd.v1, bearer.{t}"),
        lambda t: upgrade_request(t, path=f"/v1/ws?token={t}"),
        lambda t: upgrade_request(path=f"/v1/ws?token={t}", Sec_WebSocket_Protocol=f"tickerd.v1, bearer.{t}"),
        lambda t: upgrade_request(t) [:-2] + f"Authorization: Bearer {t}\r\n\r\n".encode(),
        lambda t: upgrade_request(Sec_WebSocket_Protocol=f"tickerd.v1, bearer.{t}, bearer.{t}"),
        lambda t: upgrade_request(path=f"/v1/ws?token={t}&token={t}"),
    ],
    ids=["header+subprotocol", "header+query", "subprotocol+query", "two headers", "two subprotocols", "two queries"],
)
def test_two_token_sources_are_refused(serve, request_of):
    """AUT-02: 400, even if both are good: a proxy and a page that disagree must not be guessed at."""
    daemon = serve(query_token=True)
    token = mint()
    answer = exchange(daemon.address, request_of(token))
    assert answer.status == 400
    assert token not in answer.body.decode()


def test_query_tokens_are_off_unless_configured(serve):
    """AUT-02: 400 says so, without an echo; with the flag they are taken, and not logged."""
    off, on = serve(), serve(query_token=True)
    token = mint(sub="by-query")
    answer = exchange(off.address, upgrade_request(path=f"/v1/ws?token={token}"))
    assert answer.status == 400
    assert token not in answer.body.decode()
    with on.connect(token, by="query") as client:
        assert client.welcome["data"]["user"] == "by-query"
    assert handshake_status(on.address, "garbage", by="query") == 401
    for daemon in (off, on):
        assert token.split(".")[1] not in daemon.stderr()


def test_no_token_in_time(daemon1):
    """LIM-10, AUT-01: 4007 after five seconds without a token, and nothing else."""
    client = Client(daemon1.address, None, by="none", welcome=False)
    assert client.until_closed(15) == ([], 4007)


def test_nothing_works_before_the_token(daemon1):
    """AUT-01: a command before `auth` gets no more than an error and the close."""
    client = Client(daemon1.address, None, by="none", welcome=False)
    client.send(type="subscribe", id=1, room="r:1")
    messages, code = client.until_closed()
    assert [message["type"] for message in messages] in ([], ["error"])
    assert code in (4001, 4007)


def test_refresh_in_band(daemon1):
    """AUT-06: a fresh token of the same user is `ok` and replaces the rights of the old one."""
    client = daemon1.connect(mint("u1", rooms=["a:*"]))
    assert client.refused(type="subscribe", room="b:1") == "access_denied"
    assert client.request(type="auth", token=mint("u1", rooms=["a:*", "b:*"]))["type"] == "ok"
    client.subscribe("b:1")


def test_another_users_token_is_refused(daemon1):
    """AUT-06, AUT-07: the connection stays one user's for life: `user_mismatch`, and the end."""
    client = daemon1.member("r:1")
    client.send(type="auth", id=9, token=mint("u2", rooms=["*"]))
    messages, code = client.until_closed()
    assert [(m["type"], m["id"], m["name"]) for m in messages] == [("error", 9, "user_mismatch")]
    assert code == 4001


def test_a_bad_token_in_band_ends_the_connection(daemon1):
    """AUT-07: within a second."""
    client = daemon1.member("r:1")
    client.send(type="auth", id=9, token="garbage")
    messages, code = client.until_closed(5)
    assert [(m["type"], m["id"], m["name"]) for m in messages] == [("error", 9, "auth_failed")]
    assert code == 4001


def test_a_narrower_token_ends_memberships(daemon1):
    """AUT-06: rooms that the new token does not allow are left by the server, and the client is told."""
    client = daemon1.member("a:1", "b:1")
    assert client.request(type="auth", token=mint("u1", rooms=["a:1"]))["type"] == "ok"
    told = client.recv_type("unsubscribed")
    assert (told["room"], told["name"]) == ("b:1", "access_denied")
    daemon1.publish(note("b:1"), note("a:1"))
    assert [frame["room"] for frame in client.everything(daemon1)] == ["a:1"]


def test_expiry_is_announced_and_enforced(daemon):
    """AUT-06, AUT-10: `auth_expiring`, then 4300 at `exp` (plus leeway); who refreshes in time stays."""
    expires_at = time.time() + 3
    lets_it_expire, refreshes = daemon.connect(mint("u1", ttl=3)), daemon.connect(mint("u1", ttl=3))
    for client in (lets_it_expire, refreshes):
        notice = client.recv_type("auth_expiring")
        assert 0 < notice["data"]["expires_in_ms"] <= 60_000
    assert refreshes.request(type="auth", token=mint("u1"))["type"] == "ok"
    messages, code = lets_it_expire.until_closed(20)
    assert (messages, code) == ([], 4300)
    assert time.time() >= expires_at - 1
    assert refreshes.request(type="ping")["type"] == "ok"


def test_connections_per_user_are_limited(serve, reactors):
    """LIM-03: the one too many gets 4003 and no welcome, on whatever reactor; another user is not concerned."""
    daemon = serve(reactors=reactors, max_connections_per_user=2)
    first, _second = daemon.connect(), daemon.connect()
    third = Client(daemon.address, mint(), welcome=False)
    messages, code = third.until_closed()
    assert code == 4003 and "welcome" not in [message["type"] for message in messages]
    daemon.connect(mint("u2")).close()
    first.close()

    def admitted():
        client = Client(daemon.address, mint(), welcome=False)
        try:
            return client.recv()["type"] == "welcome"
        except Exception:
            return False

    wait_until(admitted, "the first one's place is free again")


def test_connections_are_limited(serve):
    """LIM-03: beyond --max-connections 503 with Retry-After; a place that is left is given out again."""
    daemon = serve(reactors=1, max_connections=3)
    clients = [daemon.connect(mint(f"u{i}")) for i in range(3)]

    def refused():
        answer = exchange(daemon.address, upgrade_request(mint("u9")))
        assert answer.status in (101, 503)
        return answer.status == 503 and int(answer.headers["retry-after"]) > 0

    wait_until(refused, "the fourth is refused")
    clients[0].close()
    wait_until(lambda: handshake_status(daemon.address, mint("u9")) == 101, "its place is given out again")


def test_origins(serve):
    """NET-07: an origin that is not listed gets 403 before any frame; none at all is no browser."""
    daemon = serve(origin=["https://app.example", "https://b.example:8443"])
    assert handshake_status(daemon.address, mint(), origin="https://app.example") == 101
    assert handshake_status(daemon.address, mint(), origin="https://b.example:8443") == 101
    assert handshake_status(daemon.address, mint()) == 101
    for origin in ("https://evil.example", "http://app.example", "https://app.example.evil", "https://app.example:444", "null"):
        assert handshake_status(daemon.address, mint(), origin=origin) == 403, origin


def test_user_claims_may_be_others(serve):
    """AUT-04: the claims of the challenge desk."""
    daemon = serve(jwt_user_claim=["user_id", "sub"])
    with daemon.connect(mint("not-me", user_id="u7")) as client:
        assert client.welcome["data"]["user"] == "u7"
    with daemon.connect(mint("u8")) as client:
        assert client.welcome["data"]["user"] == "u8"


def test_too_many_bad_commands_end_the_connection(daemon1):
    """PRO-10: each gets its error, naming the verbs there are; the fifth in a row is the last."""
    client = daemon1.connect()
    for number in range(5):
        client.send(type="frobnicate", id=number)
    messages, code = client.until_closed()
    assert [(m["type"], m["id"], m["name"]) for m in messages] == [("error", n, "unknown_type") for n in range(5)]
    assert "subscribe" in messages[0]["message"]
    assert code == 4008


def test_many_handshakes_leave_nothing_behind(daemon1):
    """ARC-07, OBS-26: 500 connections come and go (5,000 with TICKERD_LONG=1) and the memory does not grow with them."""
    token = mint(rooms=["r:1"])

    def churn(count):
        for _ in range(count):
            with RawClient(daemon1.address, token) as client:
                client.send(command(type="subscribe", id=1, room="r:1"))
                client.texts(1, "subscribed")

    churn(200)
    before = daemon1.rss_bytes()
    churn(5_000 if LONG else 500)
    assert daemon1.rss_bytes() - before < 4 << 20
