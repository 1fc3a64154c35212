"""`GET /v1/events`: one room as server-sent events, with what a member over WebSocket has: access, order, lanes, resume, limits."""

import json
import signal
import ssl
import subprocess
import time

import pytest
from harness import DEADLINE_S, PATIENCE_S, RawHttp, equity, exchange, figures, http_request, mint, note, risk_alert, wait_until
from streams import EventStream, events_path, get

ROOM = "r:1"
TOKEN = mint(rooms=["*"])


def stream(daemon, room=ROOM, token=TOKEN, **options):
    return EventStream(daemon.address, room, token, **options)


def seqs(messages, lane="alert"):
    return [message["seq"] for message in messages if message.get("lane") == lane and "seq" in message]


def refusal(daemon, path, token=TOKEN, **headers):
    response = exchange(daemon.address, get(path, token, **headers))
    return response.status, response.json["name"]


def cursor(epoch, alert=0, update=0, metric=0):
    return f"{epoch}:alert.{alert},update.{update},metric.{metric}"


# ---- what comes ------------------------------------------------------------------------------------------------------


def test_a_stream_begins_like_a_membership(daemon):
    """CLI-08: the answer's head, then the same messages as over WebSocket, each with the position that the reader has by then."""
    daemon.publish(equity("1", equity="100.50"))
    with stream(daemon, "challenge:1") as events:
        headers = events.response.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        assert "content-length" not in headers and "transfer-encoding" not in headers
        welcome, subscribed, state, caught_up = events.opened()
        assert welcome["data"]["user"] == "u1" and welcome["data"]["capabilities"] == [] and welcome["data"]["limits"]["rooms"] == 1
        assert (subscribed["room"], "id" in subscribed) == ("challenge:1", False)
        assert (state["type"], state["rev"], state["data"]["equity"]) == ("EQUITY_UPDATED", 1, "100.50")
        assert caught_up["type"] == "caught_up" and 1000 <= events.retry_ms <= 3000
        assert events.last_id == cursor(subscribed["epoch"])
        daemon.publish(risk_alert("1", n=1), risk_alert("1", n=2))
        alerts = [events.recv(), events.recv()]
        assert [alert["data"]["n"] for alert in alerts] == [1, 2]
        assert events.last_id == cursor(subscribed["epoch"], alert=2)


def test_the_same_messages_as_over_websocket(daemon):
    """CLI-08: data identical, byte for byte; a pretty-printed event's line ends are spaces in both (ARC-01)."""
    member = daemon.member(ROOM)
    with stream(daemon) as events:
        events.opened()
        daemon.publish(note(ROOM, "alert", data={"a": [1.50, "x\r\ny"]}), note(ROOM, "update", event_id="e1"), note(ROOM, "metric", "transient", {"m": 1}))
        daemon.publish_http(json.dumps(note(ROOM, "alert", data={"pretty": [1, {"é": "\u2028"}]}), indent=1).replace("\n", "\r\n"))
        here, there = [events.recv().text for _ in range(4)], [member.recv().text for _ in range(4)]
        assert sorted(here) == sorted(there) and any('"pretty": [' in text for text in here)


def test_who_gets_what(serve):
    """ROM-02, ARC-08: a room's events reach its readers and nobody else; owners get their room without a pattern."""
    daemon = serve(reactors=2)
    daemon.publish(risk_alert("a", "u1", n=0), risk_alert("b", "u2", n=0))
    readers = {
        ("u1", "challenge:a"): stream(daemon, "challenge:a", mint("u1")),
        ("u2", "challenge:b"): stream(daemon, "challenge:b", mint("u2")),
        ("u3", "user:u3"): stream(daemon, "user:u3", mint("u3")),
        ("u4", "quote:1"): stream(daemon, "quote:1", mint("u4", rooms=["quote:*"])),
    }
    for events in readers.values():
        events.opened()
    for n in range(20):
        daemon.publish(*[note(room, "alert", data={"room": room, "n": n}) for _, room in readers])
    for (_, room), events in readers.items():
        messages = [events.recv() for _ in range(20)]
        assert [(message["room"], message["data"]["room"], message["data"]["n"]) for message in messages] == [(room, room, n) for n in range(20)]
        events.close()
    wait_until(lambda: daemon.metric("tickerd_connections", "events") == 0 and daemon.metric("tickerd_members") == 0, "all are gone")


@pytest.mark.parametrize(
    ("path", "token", "status", "name"),
    [
        (events_path("challenge:none"), mint("u1"), 403, "access_denied"),
        (events_path("challenge:1"), mint("u2"), 403, "access_denied"),
        (events_path("user:u1"), mint("u2", rooms=["*"]), 403, "access_denied"),
        (events_path(ROOM), None, 401, "auth_failed"),
        (events_path(ROOM), "garbage", 401, "auth_failed"),
        (events_path(ROOM), mint(rooms=["*"], ttl=-60), 401, "token_expired"),
        (events_path(ROOM, ticket="0" * 32), None, 401, "auth_failed"),
        (events_path(ROOM, ticket="0" * 32), TOKEN, 400, "invalid_field"),
        (events_path(ROOM, token=TOKEN), None, 400, "invalid_field"),
        ("/v1/events", TOKEN, 400, "invalid_field"),
        (events_path("bad room"), TOKEN, 400, "invalid_field"),
        (events_path(ROOM) + "&room=r:2", TOKEN, 400, "invalid_field"),
        (events_path(ROOM, since="k3"), TOKEN, 400, "invalid_field"),
        (events_path(ROOM, history="-1"), TOKEN, 400, "invalid_field"),
        ("/v1/event?room=r:1", TOKEN, 404, "not_found"),
    ],
)
def test_a_refusal_is_a_status(daemon1, path, token, status, name):
    """AUT-01, ROM-01, LIM-05: before the answer begins, a refusal is one; "no such room" and "not yours" are the same."""
    daemon1.publish(risk_alert("1", "u1"))
    assert refusal(daemon1, path, token) == (status, name)
    assert daemon1.metric("tickerd_members") == 0


def test_a_bad_last_event_id_is_refused(daemon1):
    assert refusal(daemon1, events_path(ROOM), last_event_id="nonsense") == (400, "invalid_field")


def test_methods_and_pages(serve):
    """NET-06, NET-07: by GET alone; pages of listed origins may ask and read, others may not."""
    daemon = serve(reactors=1, origin=["https://app.example"])
    response = exchange(daemon.address, f"POST {events_path(ROOM)} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
    assert (response.status, response.headers["allow"]) == (405, "GET")
    assert refusal(daemon, events_path(ROOM), origin="https://evil.example") == (403, "forbidden")
    with stream(daemon, headers={"Origin": "https://app.example"}) as events:
        assert events.response.headers["access-control-allow-origin"] == "https://app.example"
        events.opened()
    ask = f"OPTIONS {events_path(ROOM)} HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n\r\n"
    with RawHttp(daemon.address) as raw:
        raw.send(ask.encode())
        response = raw.response()
    assert (response.status, response.headers["access-control-allow-methods"]) == (204, "GET")


# ---- resume ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["header", "query"])
def test_from_its_last_id_exactly_what_was_missed_comes(daemon, how):
    """DLV-12, DLV-14: each once and in order, over both ways to say where one was."""
    with stream(daemon) as events:
        events.opened()
        daemon.publish(*[note(ROOM, lane, data={"n": n}) for n in range(5) for lane in ("alert", "update")])
        first = [events.recv() for _ in range(10)]
    daemon.publish(*[note(ROOM, "alert", data={"n": n}) for n in range(5, 9)])
    options = {"headers": {"Last-Event-ID": events.last_id}} if how == "header" else {"since": events.last_id}
    with stream(daemon, **options) as events:
        messages = events.opened()
        assert messages[1]["recovered"] is True
        assert seqs(first) + seqs(messages) == list(range(1, 10)) and seqs(first, "update") + seqs(messages, "update") == list(range(1, 6))
        daemon.publish(note(ROOM, "alert"))
        assert events.recv()["seq"] == 10


def test_history_is_given_to_one_who_asks(daemon1):
    """DLV-15."""
    daemon1.publish(*[note(ROOM, "alert") for _ in range(9)])
    with stream(daemon1, history=3) as events:
        assert seqs(events.opened()) == [7, 8, 9]


def test_a_gap_is_told_once(serve):
    """DLV-13: and the position behind it is not before it."""
    daemon = serve(reactors=1, history=5)
    with stream(daemon) as events:
        events.opened()
    daemon.publish(*[note(ROOM, "alert") for _ in range(20)])
    with stream(daemon, since=events.last_id) as again:
        gap = again.opened()[2]
        assert (gap["type"], gap["lane"], gap["from"], gap["to"]) == ("gap", "alert", 1, 15)
    with stream(daemon, since=again.last_id) as events:
        messages = events.opened()
        assert [message["type"] for message in messages] == ["welcome", "subscribed", "caught_up"] and messages[1]["recovered"]


def test_a_killed_daemon_loses_and_doubles_nothing(serve, tmp_path):
    """DLV-12, ERR-05: what was acknowledged comes exactly once, over kill -9 and restart."""
    data_dir = tmp_path / "data"
    seen, position = [], None
    for start in range(3):
        daemon = serve(reactors=1, data_dir=data_dir)
        with stream(daemon, since=position) as events:
            seen += seqs(events.opened())
            daemon.publish(*[note(ROOM, "alert", data={"n": start}) for _ in range(50)])
            seen += [events.recv()["seq"] for _ in range(30)]
            position = events.last_id
            daemon.process.send_signal(signal.SIGKILL if start < 2 else signal.SIGTERM)
            daemon.process.wait(DEADLINE_S)
            daemon.process.returncode = 0
    daemon = serve(reactors=1, data_dir=data_dir)
    with stream(daemon, since=position) as events:
        seen += seqs(events.opened())
    assert seen == list(range(1, 151))


# ---- lanes and slow readers --------------------------------------------------------------------------------------------


def test_an_alert_overtakes_the_backlog(daemon1):
    """DLV-01: it waits for what is in the sockets, not for what is in the lanes."""
    with stream(daemon1, receive_buffer_bytes=4096) as events:
        events.opened()
        metrics = 2000
        daemon1.publish(*[note(ROOM, "metric", "stream", {"n": n, "pad": "x" * 300}) for n in range(metrics)])
        wait_until(lambda: daemon1.metric("tickerd_queued_bytes") > 100_000, "a backlog")
        daemon1.publish(note(ROOM, "alert", data="now"))
        messages = [events.recv() for _ in range(metrics + 1)]
        at = [message["lane"] for message in messages].index("alert")
        assert at < metrics / 2, at
        assert seqs(messages, "metric") == list(range(1, metrics + 1))
        assert events.last_id.endswith(f"alert.1,update.0,metric.{metrics}")


def test_states_conflate_and_the_last_value_comes(daemon1):
    """DLV-05."""
    with stream(daemon1, "challenge:1", receive_buffer_bytes=4096) as events:
        events.opened()
        last = 3000
        for start in range(0, last, 500):
            daemon1.publish(*[equity("1", n=n, pad="x" * 500) for n in range(start + 1, start + 501)])
        values = []
        while not values or values[-1] != last:
            values.append(events.recv()["data"]["n"])
        assert values == sorted(values) and len(values) < last


def test_a_reader_who_does_not_read_is_told_and_ended(serve, tmp_path):
    """DLV-20, LIM-04: told to come back, at a message boundary, and it does; the others do not notice."""
    daemon = serve(reactors=1, max_queue_bytes="256KiB", data_dir=tmp_path / "data", history=50)
    with stream(daemon, receive_buffer_bytes=4096) as slow, stream(daemon) as quick:
        slow.opened(), quick.opened()
        published = 1000
        for start in range(0, published, 100):
            daemon.publish(*[note(ROOM, "update", data="x" * 1000) for _ in range(100)])
            assert seqs([quick.recv() for _ in range(100)], "update") == list(range(start + 1, start + 101))
        last = slow.to_end()
        assert last[-1]["type"] == "disconnect" and last[-1]["code"] == 4103 and daemon.metric("slow_consumers_warned_total") >= 1
        assert slow.retry_ms >= 1000
        with stream(daemon, since=slow.last_id) as again:
            assert seqs(last, "update") + seqs(again.opened(), "update") == list(range(1, published + 1))


# ---- the connection's life ---------------------------------------------------------------------------------------------


def test_heartbeats_come(serve):
    """HBT-01: as messages, so that a page sees them."""
    daemon = serve(reactors=1, heartbeat="1s")
    with stream(daemon) as events:
        events.opened()
        beats = [events.recv(heartbeats=True) for _ in range(2)]
        assert [beat["type"] for beat in beats] == ["heartbeat", "heartbeat"] and beats[0]["queued"] == 0


def test_the_tokens_end_is_the_streams(daemon1):
    """AUT-06: with notice and a last message."""
    with stream(daemon1, token=mint(rooms=["*"], ttl=3)) as events:
        messages = events.opened() + events.to_end()
        assert [message["type"] for message in messages] == ["welcome", "subscribed", "caught_up", "auth_expiring", "disconnect"] or [
            message["type"] for message in messages
        ] == ["welcome", "subscribed", "auth_expiring", "caught_up", "disconnect"]
        assert (messages[-1]["code"], messages[-1]["reason"]) == (4300, "token_expired")


def test_a_revoked_tokens_stream_ends(daemon1):
    """AUT-08."""
    with stream(daemon1) as events:
        events.opened()
        status, _, body = http_request(daemon1.admin, "POST", "/v1/revoke", '{"sub":"u1"}', {"Content-Type": "application/json"})
        assert (status, json.loads(body)["ended"]) == (200, 1)
        assert events.to_end()[-1]["code"] == 4301
    assert refusal(daemon1, events_path(ROOM)) == (401, "token_revoked")


def test_a_stopping_daemon_says_when_to_come_back(serve):
    """OPS-04, CLI-15: the readers come back spread over time; an EventSource does by `retry`."""
    daemon = serve(reactors=1)
    streams = [stream(daemon) for _ in range(5)]
    for events in streams:
        events.opened()
    daemon.process.send_signal(signal.SIGTERM)
    ends = [events.to_end()[-1] for events in streams]
    assert {(end["type"], end["code"]) for end in ends} == {("disconnect", 4101)}
    assert all(events.retry_ms == max(1000, end["after_ms"]) for events, end in zip(streams, ends, strict=True))
    assert len({end["after_ms"] for end in ends}) > 1
    for events in streams:
        events.close()
    daemon.process.wait(DEADLINE_S)


def test_a_reader_that_goes_is_forgotten(daemon1):
    """OBS-26, ARC-07."""
    for _ in range(20):
        with stream(daemon1) as events:
            events.opened()
    wait_until(lambda: daemon1.metric("tickerd_members") == 0 and daemon1.metric("tickerd_connections", "events") == 0, "all are gone")


def test_what_a_reader_says_is_of_no_interest(daemon1):
    with stream(daemon1) as events:
        events.opened()
        events.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        daemon1.publish(note(ROOM, "alert"))
        assert events.recv()["seq"] == 1


def test_limits_are_those_of_all_clients(serve):
    """LIM-02, LIM-03: counted together with WebSockets, and given back."""
    daemon = serve(reactors=1, max_connections_per_user=2, max_connections=3)
    with stream(daemon) as events, daemon.member(ROOM):
        events.opened()
        assert refusal(daemon, events_path(ROOM)) == (429, "too_many_connections")
        with stream(daemon, token=mint("u2", rooms=["*"])) as other:
            other.opened()
            response = exchange(daemon.address, get(events_path(ROOM), mint("u3", rooms=["*"])))
            assert (response.status, response.json["name"], "retry-after" in response.headers) == (503, "over_capacity", True)
    wait_until(lambda: daemon.metric("tickerd_members") == 0, "all are gone")
    with stream(daemon) as events:
        events.opened()


# ---- on the way ----------------------------------------------------------------------------------------------------------


def test_old_proxies_get_it_too(daemon1):
    """HTTP/1.0 without Host; the end of the connection is the end of the answer for all."""
    with stream(daemon1, version="1.0", headers={"Host": None}) as events:
        events.opened()
        assert events.response.headers["connection"] == "close"
        daemon1.publish(note(ROOM, "alert"))
        assert events.recv()["seq"] == 1


def test_curl_reads_it(daemon1):
    url = f"http://{daemon1.address[0]}:{daemon1.address[1]}{events_path(ROOM)}"
    command = ["curl", "-sSN", "--max-time", str(DEADLINE_S), url, "-H", f"Authorization: Bearer {TOKEN}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        while b"caught_up" not in curl.stdout.readline():
            pass
        daemon1.publish(note(ROOM, "alert", data="hello"))
        assert curl.stdout.readline() == b"\n" and curl.stdout.readline().startswith(b"id: ")
        assert b'"data":"hello"' in curl.stdout.readline()
        curl.terminate()


def test_over_tls(serve, tmp_path):
    """NET-08."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    daemon = serve(reactors=1, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    tls = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    with stream(daemon, tls=tls) as events:
        events.opened()
        assert "strict-transport-security" in events.response.headers
        daemon.publish(*[note(ROOM, "update", data="x" * 5000) for _ in range(200)])
        assert seqs([events.recv() for _ in range(200)], "update") == list(range(1, 201))
        daemon.process.send_signal(signal.SIGTERM)
        assert events.to_end()[-1]["code"] == 4101
    daemon.process.wait(DEADLINE_S)


# ---- tickets -------------------------------------------------------------------------------------------------------------


def ticket_of(daemon, token=TOKEN):
    status, headers, body = http_request(daemon.address, "POST", "/v1/ticket", headers={"Authorization": f"Bearer {token}"})
    assert status == 200, body
    assert headers["cache-control"] == "no-store"
    answer = json.loads(body)
    assert answer["expires_in_ms"] == 30_000
    return answer["ticket"]


def test_a_ticket_lets_one_reader_in(serve):
    """AUT-03: once, whichever reactor the reader comes to, with what the token grants and no more; no log has it."""
    daemon = serve(reactors=2, log_level="debug")
    tickets = [ticket_of(daemon, mint("u9", rooms=["r:*"])) for _ in range(20)]
    assert len(set(tickets)) == 20
    for ticket in tickets:
        with stream(daemon, token=None, ticket=ticket) as events:
            assert events.opened()[0]["data"]["user"] == "u9"
        assert refusal(daemon, events_path(ROOM, ticket=ticket), None) == (401, "auth_failed")
    assert refusal(daemon, events_path("q:1", ticket=ticket_of(daemon, mint("u9", rooms=["r:*"]))), None) == (403, "access_denied")
    wait_until(lambda: daemon.metric("tickerd_connections", "events") == 0, "all are gone")
    assert not any(ticket in daemon.stderr() for ticket in tickets)


def test_a_ticket_is_worth_what_its_token_is_worth_by_then(daemon1):
    """AUT-08: a revocation in between holds for it, and the token's end ends its stream."""
    ticket = ticket_of(daemon1)
    http_request(daemon1.admin, "POST", "/v1/revoke", '{"sub":"u1"}', {"Content-Type": "application/json"})
    assert refusal(daemon1, events_path(ROOM, ticket=ticket), None) == (401, "token_revoked")
    with stream(daemon1, token=None, ticket=ticket_of(daemon1, mint("u2", rooms=["*"], ttl=3))) as events:
        events.opened()
        assert events.to_end()[-1]["code"] == 4300


def test_who_gets_a_ticket(serve):
    """AUT-01, NET-07: by POST, with a token, from a listed page; a user gets only so many."""
    daemon = serve(reactors=1, origin=["https://app.example"])

    def ask(method="POST", token=TOKEN, **headers):
        fields = {"Authorization": f"Bearer {token}"} if token else {}
        status, _, body = http_request(daemon.address, method, "/v1/ticket", headers=fields | headers)
        return status, json.loads(body).get("name")

    assert ask("GET") == (405, "method_not_allowed")
    assert ask(token=None) == (401, "auth_failed")
    assert ask(token="garbage") == (401, "auth_failed")
    assert ask(Origin="https://evil.example") == (403, "forbidden")
    assert ask(Origin="https://app.example") == (200, None)
    for _ in range(99):
        ticket_of(daemon)
    assert ask() == (429, "rate_limited")
    assert ask(token=mint("u2")) == (200, None)
    with RawHttp(daemon.address) as raw:  # the connection is used again
        for _ in range(3):
            raw.send(f"POST /v1/ticket HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mint('u3')}\r\nContent-Length: 0\r\n\r\n".encode())
            assert raw.response().status == 200


# ---- many ----------------------------------------------------------------------------------------------------------------


def test_a_thousand_readers(serve):
    """PRF-01: each gets all, in order; nothing is left when they have gone."""
    daemon = serve(reactors=2)
    readers = [stream(daemon, "r:%d" % (n % 10), mint(f"u{n}", rooms=["r:*"])) for n in range(1000)]
    try:
        for events in readers:
            events.opened()
        assert daemon.metric("tickerd_connections", "events") == 1000
        began = time.monotonic()
        for n in range(20):
            daemon.publish(*[note(f"r:{room}", "alert", data={"n": n}) for room in range(10)])
        for events in readers:
            assert seqs([events.recv(PATIENCE_S) for _ in range(20)]) == list(range(1, 21))
        figures("a thousand event streams", deliveries=20_000, seconds=round(time.monotonic() - began, 2), rss_mib=daemon.rss_bytes() >> 20)
    finally:
        for events in readers:
            events.close()
    wait_until(lambda: daemon.metric("tickerd_connections", "events") == 0, "all are gone", PATIENCE_S)
