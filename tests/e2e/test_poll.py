"""`GET /v1/poll`: what came in a room since a position, at once or when it comes; `POST /v1/ack`, for those who poll or read events."""

import json
import signal
import time

import pytest
from harness import DEADLINE_S, PATIENCE_S, RawHttp, at_most_s, equity, exchange, figures, http_request, mint, note, risk_alert, wait_until
from streams import EventStream, Poller, events_path, get, query
from wire import upgrade_request

ROOM = "r:1"
TOKEN = mint(rooms=["*"])


def poller(daemon, room=ROOM, token=TOKEN, **options):
    return Poller(daemon.address, room, token, **options)


def kinds(messages):
    return [message["type"] for message in messages]


def seqs(messages, lane="alert"):
    return [message["seq"] for message in messages if message.get("lane") == lane and "seq" in message]


def refusal(daemon, path, token=TOKEN, **headers):
    response = exchange(daemon.address, get(path, token, **headers))
    return response.status, response.json["name"]


def is_waiting(daemon):
    return daemon.metric("tickerd_members") >= 1


# ---- what comes ------------------------------------------------------------------------------------------------------


def test_the_first_poll_tells_where_one_is(daemon):
    """CLI-08: at once, with the states there are; no history but what is asked for."""
    daemon.publish(equity("1", equity="1.50"), risk_alert("1"))
    with poller(daemon, "challenge:1") as client:
        subscribed, state = client.poll()
        assert (subscribed["type"], subscribed["seq"]["alert"], state["data"]["equity"]) == ("subscribed", 1, "1.50")
        assert client.since.startswith(f"{subscribed['epoch']}:alert.1,update.0,metric.0,state.")
        assert client.poll(timeout_ms=0) == []
    with poller(daemon, "challenge:1") as client:
        assert seqs(client.poll(history=5)) == [1]


def test_what_is_there_comes_at_once_and_alerts_first(daemon):
    """DLV-01, DLV-12: everything since the position, once."""
    with poller(daemon) as client:
        client.poll()
        daemon.publish(*[note(ROOM, lane, data={"n": n}) for n in range(5) for lane in ("metric", "update", "alert")])
        wait_until(lambda: daemon.metric("tickerd_events_accepted_total") >= 15, "all are there")
        time.sleep(0.2)  # the metric lane's hold
        messages = client.poll()
        assert [message["lane"] for message in messages] == ["alert"] * 5 + ["update"] * 5 + ["metric"] * 5
        for lane in ("alert", "update", "metric"):
            assert seqs(messages, lane) == [1, 2, 3, 4, 5]
        assert client.poll(timeout_ms=0) == []


def test_what_comes_wakes_it(daemon):
    """TRP-01: whatever it is: an event that counts, a state, one that counts for nothing."""
    with poller(daemon) as client:
        client.poll()
        events = [note(ROOM, "alert"), note(ROOM, "update", "state", {"n": 1}, key="k"), note(ROOM, "update", "transient", "x"), note(ROOM, "metric")]
        for event in events:
            client.ask()
            wait_until(lambda: is_waiting(daemon), "it waits")
            began = time.monotonic()
            daemon.publish(event)
            (message,) = client.answer()
            assert (message["lane"], message["data"]) == (event["lane"], event["data"])
            assert time.monotonic() - began < at_most_s(2)
        assert client.poll(timeout_ms=0) == []
        wait_until(lambda: not is_waiting(daemon), "nobody is a member between two polls")


def test_an_empty_answer_when_the_time_is_over(daemon1):
    with poller(daemon1) as client:
        client.poll()
        position, began = client.since, time.monotonic()
        assert client.poll(timeout_ms=1200) == []
        assert 1.1 <= time.monotonic() - began < at_most_s(4) and client.since == position


def test_states_come_when_they_have_changed_and_only_those(daemon):
    """DLV-05, DLV-07: the last value of each key, whatever happened between two polls; deletions too."""
    with poller(daemon) as client:
        daemon.publish(*[note(ROOM, mode="state", key=f"k{n}", data={"v": 0}) for n in range(5)])
        assert {message["key"] for message in client.poll()[1:]} == {f"k{n}" for n in range(5)}
        for value in range(1, 50):
            daemon.publish(note(ROOM, mode="state", key="k1", data={"v": value}))
        time.sleep(0.1)  # the window
        (state,) = client.poll()
        assert (state["key"], state["data"]) == ("k1", {"v": 49})
        daemon.publish(note(ROOM, mode="state", key="k2") | {"data": None})
        (state,) = client.poll()
        assert (state["key"], state["deleted"]) == ("k2", True)
        assert client.poll(timeout_ms=0) == []


def test_no_last_value_is_lost_between_polls(serve):
    """DLV-05: many keys that change all the time, polled as fast as it goes: in the end the client has what is true."""
    daemon = serve(reactors=1, update_window="5ms", commands_per_client="1000")
    keys, rounds = 40, 150
    with poller(daemon) as client:
        have = {}

        def take(messages):
            for message in messages:
                if "rev" in message:
                    assert message["rev"] >= have.get(message["key"], (0, None))[0], "never back"
                    have[message["key"]] = (message["rev"], message["data"])

        take(client.poll())
        for value in range(rounds):
            daemon.publish(*[note(ROOM, mode="state", key=f"k{n}", data=value) for n in range(value % 3, keys, 3)])
            if value % 4 == 0:
                take(client.poll(timeout_ms=0))
        ends = time.monotonic() + DEADLINE_S
        last = {f"k{n}": max(value for value in range(rounds) if value % 3 == n % 3) for n in range(keys)}
        while {key: data for key, (_, data) in have.items()} != last:
            assert time.monotonic() < ends, "a last value never came"
            take(client.poll(timeout_ms=100))


def test_a_long_answer_is_cut_and_goes_on(serve):
    """LIM-06: bounded answers, and everything comes once, states with the rest."""
    daemon = serve(reactors=1)
    with poller(daemon) as client:
        client.poll()
        daemon.publish(*[note(ROOM, "update", data={"n": n, "pad": "x" * 5000}) for n in range(200)])
        daemon.publish(*[note(ROOM, mode="state", key=f"k{n}", data="y" * 5000) for n in range(100)])
        time.sleep(0.2)
        messages, answers, client.more = [], 0, True
        while client.more:
            came = client.poll(timeout_ms=0)
            assert sum(len(json.dumps(message)) for message in came) < 300_000 and came
            messages, answers = messages + came, answers + 1
        assert answers >= 5
        assert seqs(messages, "update") == list(range(1, 201))
        assert sorted(message["key"] for message in messages if "rev" in message) == sorted(f"k{n}" for n in range(100))
        assert client.poll(timeout_ms=0) == []


def test_one_message_may_be_longer_than_an_answer(serve):
    daemon = serve(reactors=1)
    with poller(daemon) as client:
        client.poll()
        daemon.publish(note(ROOM, "update", data="x" * 60_000))
        assert len(client.poll()[0]["data"]) == 60_000


# ---- positions -------------------------------------------------------------------------------------------------------


def test_the_position_is_all_there_is(serve):
    """SCL-03: on another connection, to another reactor, after a stream or a WebSocket."""
    daemon = serve(reactors=2)
    seen, position = [], None
    for n in range(1, 31):
        with poller(daemon, since=position) as client:
            messages = client.poll(timeout_ms=0)
            if position is None:
                assert kinds(messages) == ["subscribed"]
            seen += seqs(messages)
            position = client.since
        daemon.publish(note(ROOM, "alert"))
        assert seen == list(range(1, n))
    with EventStream(daemon.address, ROOM, TOKEN, since=position) as events:
        seen += seqs(events.opened())
        position = events.last_id
    assert seen == list(range(1, 31))
    daemon.publish(note(ROOM, "alert"))
    with poller(daemon, since=position) as client:
        messages = client.poll()
        assert kinds(messages) == ["subscribed", "note"] and messages[0]["recovered"] is True and messages[1]["seq"] == 31


def test_a_gap_is_told_once_and_passed(serve):
    """DLV-13: also if nothing comes behind it."""
    daemon = serve(reactors=1, history=0)
    with poller(daemon) as client:
        client.poll()
        daemon.publish(*[note(ROOM, "alert") for _ in range(20)])
        (gap,) = client.poll()
        assert (gap["type"], gap["lane"], gap["from"], gap["to"]) == ("gap", "alert", 1, 20)
        assert client.poll(timeout_ms=0) == []


def test_another_epoch_and_a_rewound_position_are_told(serve):
    daemon = serve(reactors=1)
    daemon.publish(*[note(ROOM, "alert") for _ in range(3)])
    with poller(daemon) as client:
        client.poll()
        epoch, states = client.since.split(":")[0], client.since.split(",")[-1]
    with poller(daemon, since=f"elsewhere:alert.9,update.0,metric.0,{states}") as client:
        messages = client.poll()
        assert kinds(messages)[:2] == ["subscribed", "gap"] and messages[0]["recovered"] is False and seqs(messages[2:]) == [1, 2, 3]
        assert client.poll(timeout_ms=0) == []
    with poller(daemon, since=f"{epoch}:alert.9,update.0,metric.0,{states}") as client:
        (subscribed,) = client.poll()
        assert subscribed["rewound"] == {"alert": 3}
        assert client.poll(timeout_ms=0) == []


def test_a_position_is_one_rooms(daemon):
    """LIM-05: another room's cursor is refused, not taken for a position that it is not."""
    with poller(daemon) as client:
        client.poll()
        status, name = refusal(daemon, "/v1/poll?" + query(room="r:2", since=client.since))
        assert (status, name) == (400, "invalid_field")
        assert refusal(daemon, "/v1/events?" + query(room="r:2", since=client.since)) == (400, "invalid_field")


def test_a_poll_that_changes_nodes_begins_anew_after_a_moment(daemon1):
    """SCL-03: the states that another node has told are not known here, so all come; but not at once, again and again, unless there is news."""
    daemon1.publish(note(ROOM, mode="state", key="k", data=1), note(ROOM, "alert"))
    with poller(daemon1) as client:
        client.poll()
        ours = client.since
        elsewhere = ours[: ours.index("state.")] + "state.00000001-1-" + ours[-8:]
        for until in ("the moment is over", "something comes", "it asks for no more"):
            client.since, began = elsewhere, time.monotonic()
            client.ask(timeout_ms=0 if until == "it asks for no more" else 20_000)
            if until == "something comes":
                wait_until(lambda: is_waiting(daemon1), "it waits")
                daemon1.publish(note(ROOM, "update", "transient", "news"))
            messages, took = client.answer(), time.monotonic() - began
            assert kinds(messages)[:2] == ["subscribed", "note"] and [message["data"] for message in messages if "rev" in message] == [1], until
            assert (0.9 if until == "the moment is over" else 0) <= took < at_most_s(5), until
            assert client.since == ours
        # What it has missed comes at once, and so does what a new epoch says.
        daemon1.publish(note(ROOM, "alert", data="missed"))

        def comes_at_once():
            client.since, began = elsewhere, time.monotonic()
            assert "missed" in [message.get("data") for message in client.poll()]
            return time.monotonic() - began < 0.9

        wait_until(comes_at_once, "it does not wait for the moment to be over")


def test_denied_joins_count_for_the_user(daemon1):
    """ROM-02, LIM-01: each poll on a connection of its own: guessing rooms is no faster than over a WebSocket; what the token names is not in question."""
    token = mint("guesser", rooms=["r:1"])
    denied = [refusal(daemon1, f"/v1/{way}?room=challenge:{n}", token) for n, way in enumerate(["poll", "events"] * 7)]
    assert denied == [(403, "access_denied")] * 10 + [(429, "rate_limited")] * 4
    assert exchange(daemon1.address, get("/v1/poll?room=challenge:1", token)).headers["retry-after"]
    assert exchange(daemon1.address, get("/v1/poll?room=r:1", token)).status == 200
    assert refusal(daemon1, "/v1/poll?room=challenge:1", mint("other")) == (403, "access_denied")


def test_a_killed_daemon_loses_and_doubles_nothing(serve, tmp_path):
    """DLV-12, ERR-05: what was acknowledged comes exactly once, over kill -9, and the states are there."""
    data_dir = tmp_path / "data"
    seen, position = [], None
    for start in range(4):
        daemon = serve(reactors=1, data_dir=data_dir)
        with poller(daemon, since=position) as client:
            messages = client.poll(timeout_ms=0)
            if start:
                assert [message["data"] for message in messages if "rev" in message] == [start - 1]
            seen += seqs(messages)
            if start < 3:
                daemon.publish(note(ROOM, mode="state", key="k", data=start), *[note(ROOM, "alert") for _ in range(50)])
                seen += seqs(client.poll())
                position = client.since
                time.sleep(1.5)  # states are given to the disk a second after they changed
                daemon.process.send_signal(signal.SIGKILL)
                daemon.process.wait(DEADLINE_S)
                daemon.process.returncode = 0
    assert seen == list(range(1, 151))


def test_what_memory_does_not_keep_comes_from_disk(serve, tmp_path):
    """DLV-15: in as many answers as it takes."""
    daemon = serve(reactors=1, data_dir=tmp_path / "data", history=10)
    with poller(daemon) as client:
        client.poll()
        daemon.publish(*[note(ROOM, "alert", data="x" * 1000) for _ in range(2000)])
        seen = []
        while len(seen) < 2000:
            messages = client.poll(timeout_ms=2000)
            assert messages and kinds(messages) == ["note"] * len(messages)
            seen += seqs(messages)
        assert seen == list(range(1, 2001))


# ---- who may -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "token", "status", "name"),
    [
        ("/v1/poll?room=challenge:none", mint("u1"), 403, "access_denied"),
        ("/v1/poll?room=challenge:1", mint("u2"), 403, "access_denied"),
        ("/v1/poll?room=r:1", None, 401, "auth_failed"),
        ("/v1/poll?room=r:1", mint(rooms=["*"], ttl=-60), 401, "token_expired"),
        ("/v1/poll?room=bad%20room", TOKEN, 400, "invalid_field"),
        ("/v1/poll?room=", TOKEN, 400, "invalid_field"),
        ("/v1/poll?room=r:1&since=k3", TOKEN, 400, "invalid_field"),
        ("/v1/poll?room=r:1&timeout=5", TOKEN, 400, "invalid_field"),
        ("/v1/events?room=r:1&histroy=5", TOKEN, 400, "invalid_field"),
        ("/v1/poll?room=r:1&timeout_ms=60001", TOKEN, 400, "invalid_field"),
        ("/v1/poll?room=r:1&timeout_ms=soon", TOKEN, 400, "invalid_field"),
    ],
)
def test_a_refusal_is_a_status(daemon1, path, token, status, name):
    """AUT-01, ROM-01, LIM-05."""
    daemon1.publish(risk_alert("1", "u1"))
    assert refusal(daemon1, path, token) == (status, name)
    assert daemon1.metric("tickerd_members") == 0


def test_who_the_token_is_for(daemon1):
    """A poll without a room answers who one is, as `welcome` does."""
    status, _, body = http_request(daemon1.address, "GET", "/v1/poll", headers={"Authorization": f"Bearer {mint('u7', scope='publish')}"})
    answer = json.loads(body)
    assert (status, answer["cursor"], kinds(answer["messages"])) == (200, None, ["welcome"])
    assert (answer["messages"][0]["data"]["user"], answer["messages"][0]["data"]["capabilities"]) == ("u7", ["ack", "publish"])


def test_two_users_on_one_connection_have_nothing_of_each_other(daemon1):
    """ROM-02: as behind a proxy that shares its connections; what each may is asked each time."""
    daemon1.publish(risk_alert("a", "u1"), risk_alert("b", "u2"))
    with poller(daemon1, "challenge:a", mint("u1")) as client:
        assert kinds(client.poll()) == ["subscribed"]
        mine = client.since
        client.room, client.token, client.since = "challenge:b", mint("u2"), None
        assert kinds(client.poll()) == ["subscribed"]
        client.room, client.since = "challenge:a", mine
        client.ask()
        response = client.raw.response()
        assert (response.status, response.json["name"]) == (403, "access_denied")
        assert client.raw.closed()
    wait_until(lambda: daemon1.metric("tickerd_members") == 0, "nobody is a member")


@pytest.mark.parametrize("how", ["events", "websocket"])
def test_a_connection_that_has_polled_may_go_on_in_another_way(serve, how):
    """LIM-02, OBS-26: as one client, not two; whoever comes later gets in."""
    daemon = serve(reactors=1, max_connections_per_user=1)
    for _ in range(3):
        with poller(daemon) as client:
            client.poll()
            client.raw.send(get(events_path(ROOM), TOKEN) if how == "events" else upgrade_request(TOKEN))
            while b"welcome" not in client.raw.rest:
                client.raw._more()
            assert daemon.metric('tickerd_connections{kind="http"}') == 0
        wait_until(lambda: daemon.metric("tickerd_connections", how) == 0, "it is gone")
        assert daemon.publish_http(note(ROOM))[0] == 200


def test_a_connection_that_has_polled_and_is_refused_elsewhere_ends(daemon1):
    """LIM-10: it is a client no more, and would have a stranger's place for as long as it may be idle; one that never was a client goes on."""
    for has_polled in (True, False):
        with poller(daemon1) as client:
            if has_polled:
                client.poll()
            for path in ("/v1/ws",) if has_polled else ("/v1/ws", "/v1/ws"):
                client.raw.send(get(path, TOKEN))
                assert client.raw.response().status in (400, 426)
            if has_polled:
                assert client.raw.closed()


def test_limits_are_those_of_all_clients(serve):
    """LIM-01, LIM-02: a poller is a client, from its first poll on."""
    daemon = serve(reactors=1, max_connections_per_user=1, commands_per_client=5)
    with poller(daemon) as client:
        client.poll()
        assert refusal(daemon, "/v1/poll?room=r:1") == (429, "too_many_connections")
        for _ in range(100):
            client.ask(timeout_ms=0)
            response = client.raw.response()
            if response.status != 200:
                break
        assert (response.status, response.json["name"], "retry-after" in response.headers) == (429, "rate_limited", True)
        time.sleep(1.5)
        assert client.poll(timeout_ms=0) == []
    wait_until(lambda: daemon.metric("tickerd_connections", "http") == 0, "it is gone")
    with poller(daemon) as client:
        client.poll()


def test_a_revoked_tokens_poll_ends(daemon1):
    """AUT-08."""
    with poller(daemon1) as client:
        client.poll()
        client.ask()
        wait_until(lambda: is_waiting(daemon1), "it waits")
        http_request(daemon1.admin, "POST", "/v1/revoke", '{"sub":"u1"}', {"Content-Type": "application/json"})
        response = client.raw.response()
        assert (response.status, response.json["name"]) == (401, "token_revoked")


def test_a_poll_ends_with_its_token(daemon1):
    """AUT-06: what comes after `exp` comes to nobody; the next poll is refused."""
    with poller(daemon1, token=mint(rooms=["*"], ttl=2)) as client:
        client.poll()
        client.ask()  # for longer than the reader below is patient
        assert client.answer() == []


def test_who_goes_while_it_waits_is_forgotten(daemon1):
    """OBS-26."""
    with poller(daemon1) as client:
        client.poll()
        client.ask()
        wait_until(lambda: is_waiting(daemon1), "it waits")
    wait_until(lambda: daemon1.metric("tickerd_members") == 0, "it is forgotten")


def test_a_stopping_daemon_answers_who_waits(serve):
    """OPS-04."""
    daemon = serve(reactors=1)
    with poller(daemon) as client:
        client.poll()
        client.ask()
        wait_until(lambda: is_waiting(daemon), "it waits")
        daemon.process.send_signal(signal.SIGTERM)
        assert client.answer() == [] and client.last.headers["connection"] == "close"
    daemon.process.wait(DEADLINE_S)


def test_pages_of_listed_origins(serve):
    """NET-06, NET-07."""
    daemon = serve(reactors=1, origin=["https://app.example"])
    assert refusal(daemon, "/v1/poll?room=r:1", origin="https://evil.example") == (403, "forbidden")
    response = exchange(daemon.address, get("/v1/poll?room=r:1", TOKEN, origin="https://app.example"))
    assert (response.status, response.headers["access-control-allow-origin"]) == (200, "https://app.example")
    ask = "OPTIONS /v1/ack HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n\r\n"
    with RawHttp(daemon.address) as raw:
        raw.send(ask.encode())
        response = raw.response()
    assert (response.status, response.headers["access-control-allow-methods"]) == (204, "POST")


# ---- acknowledgments -----------------------------------------------------------------------------------------------------


def ack(daemon, event_id, token=TOKEN, method="POST"):
    path = "/v1/ack?" + query(event_id=event_id)
    status, _, body = http_request(daemon.address, method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = json.loads(body)
    return status, answer.get("name", answer["ok"])


def notification(event_id, user="u1"):
    return {"type": "notification", "event_id": event_id, "data": {"user_id": user}}


def test_what_is_acknowledged_is_not_given_again(daemon1):
    """QTE-12: a poll without a position, or with another way's, is a join; one that goes on is none."""
    daemon1.publish(notification("n1"), notification("n2"))
    with poller(daemon1, "user:u1") as client:
        messages = client.poll()
        assert [message["event_id"] for message in messages if message.get("redelivered")] == ["n1", "n2"]
        assert client.poll(timeout_ms=0) == []
        assert ack(daemon1, "n1") == (200, True)
        assert ack(daemon1, "n1") == (200, True)
    with EventStream(daemon1.address, "user:u1", TOKEN) as events:
        assert [message["event_id"] for message in events.opened() if message.get("redelivered")] == ["n2"]


def test_who_may_acknowledge_what(daemon1):
    """LIM-05: the event is named in the query; somebody else's is not touched."""
    daemon1.publish(notification("n1"))
    assert ack(daemon1, "n1", mint("u2")) == (200, True)
    assert ack(daemon1, "bad id") == (400, "invalid_field")
    assert ack(daemon1, "n1", None) == (401, "auth_failed")
    assert ack(daemon1, "n1", method="GET")[0] == 405
    with poller(daemon1, "user:u1") as client:
        assert [message["event_id"] for message in client.poll() if message.get("redelivered")] == ["n1"]
    with RawHttp(daemon1.address) as raw:  # the connection is used again
        for event_id in ("n1", "n2", "n3"):
            raw.send(f"POST /v1/ack?event_id={event_id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n".encode())
            assert raw.response().status == 200


# ---- many ----------------------------------------------------------------------------------------------------------------


def test_five_hundred_pollers(serve):
    """PRF-01: each gets each event once."""
    daemon = serve(reactors=2)
    clients = [poller(daemon, f"r:{n % 10}", mint(f"u{n}", rooms=["r:*"])) for n in range(500)]
    try:
        for client in clients:
            client.poll()
        began = time.monotonic()
        for n in range(5):
            for client in clients:
                client.ask()
            wait_until(lambda: daemon.metric("tickerd_members") == 500, "all wait", PATIENCE_S)
            daemon.publish(*[note(f"r:{room}", "alert", data=n) for room in range(10)])
            for client in clients:
                assert seqs(client.answer(PATIENCE_S)) == [n + 1]
        figures("500 pollers", answers=2500, seconds=round(time.monotonic() - began, 2), rss_mib=daemon.rss_bytes() >> 20)
    finally:
        for client in clients:
            client.raw.socket.close()
    wait_until(lambda: daemon.metric("tickerd_members") == 0, "all are gone", PATIENCE_S)
