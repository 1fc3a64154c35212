"""Tickets and polls of nodes that share a Redis: given by one, good at any, once."""

import collections
import hashlib
import itertools
import json
import threading
import time

import pytest
from harness import PATIENCE_S, RawHttp, exchange, figures, http_request, mint, note, wait_until
from streams import EventStream, Poller, events_path, get
from test_events import refusal, ticket_of
from test_nodes import EVERYTHING, NODES, node, nodes, redis  # noqa: F401 (fixtures)
from test_nodes_cluster import cluster, node as cluster_node  # noqa: F401 (fixtures)

ROOM = "r:1"
TOKEN = mint("u9", rooms=["r:*"], jti="t9")


def asks(daemon, token=TOKEN):
    """The status of one more ticket, and the answer."""
    status, _, body = http_request(daemon.address, "POST", "/v1/ticket", headers={"Authorization": f"Bearer {token}"})
    return status, json.loads(body)


def opens(daemon, ticket, **params):
    """Who a stream that was opened with that ticket belongs to."""
    with EventStream(daemon.address, ROOM, ticket=ticket, **params) as events:
        return events.opened()[0]["data"]["user"]


def is_used(daemon, ticket):
    return refusal(daemon, events_path(ROOM, ticket=ticket), None) == (401, "auth_failed")


def redeemed_at_once(daemons, ticket):
    """The statuses of so many requests that bring the ticket in the same instant."""
    raws = [RawHttp(daemon.address) for daemon in daemons]
    for raw in raws:
        raw.send(get(events_path(ROOM, ticket=ticket))[:-2])
    ready, statuses = threading.Barrier(len(raws)), []

    def finish(raw):
        ready.wait()
        raw.send(b"\r\n")
        statuses.append(raw.response(has_body=False).status)

    threads = [threading.Thread(target=finish, args=(raw,)) for raw in raws]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    for raw in raws:
        raw.socket.close()
    return sorted(statuses)


def test_a_ticket_of_one_node_is_good_once_on_any(nodes):  # noqa: F811
    """AUT-03, SCL-02, SCL-03: with what the token grants and no more; at home too; not again anywhere, and no log has it."""
    given = []
    for home, away in itertools.product(nodes, nodes):
        ticket = ticket_of(home, TOKEN)
        given.append(ticket)
        assert opens(away, ticket) == "u9"
        assert all(is_used(daemon, ticket) for daemon in nodes), "it is good once"
    a, b, c = nodes
    assert refusal(b, events_path("q:1", ticket=ticket_of(a, TOKEN)), None) == (403, "access_denied")
    # Whatever else takes a ticket: a poll, and an acknowledgment.
    a.publish(note("user:u9", "alert", event_id="e1", ack_ttl_ms=60_000))
    assert exchange(b.address, get(f"/v1/poll?room={ROOM}&timeout_ms=0&ticket={ticket_of(a, TOKEN)}")).status == 200
    acked = http_request(c.address, "POST", f"/v1/ack?event_id=e1&ticket={ticket_of(a, TOKEN)}")
    assert acked[0] in (200, 404), acked  # what it says of the event is not the ticket's matter
    # A ticket is not a token, and not another ticket.
    ticket = ticket_of(a, TOKEN)
    assert http_request(b.address, "POST", f"/v1/ticket?ticket={ticket}", headers={"Authorization": f"Bearer {TOKEN}"})[0] == 400
    assert http_request(b.address, "POST", f"/v1/publish?ticket={ticket}", "{}", {"Content-Type": "application/json"})[0] == 401
    assert opens(c, ticket) == "u9"
    for daemon in nodes:
        assert not any(ticket in daemon.stderr() for ticket in given)
    counts = [sum(daemon.metric("tickerd_redis_tickets_total", result) for daemon in nodes) for result in ("given", "taken", "unknown", "unanswered")]
    assert counts == [NODES**2 + 4, NODES**2 + 4, NODES**3, 0]


def test_what_comes_behind_a_ticket_on_a_connection_waits_for_it(nodes):  # noqa: F811
    """ARC-08: requests that are sent at once are answered in order, also where the first is looked at twice."""
    a, b, _ = nodes
    with RawHttp(b.address) as raw:
        polls = [get(f"/v1/poll?room={ROOM}&timeout_ms=0&ticket={ticket_of(a, TOKEN)}") for _ in range(3)]
        ask = f"POST /v1/ticket HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n".encode()
        raw.send(polls[0] + ask + polls[1] + ask + polls[2])
        answers = [raw.response() for _ in range(5)]
        assert [answer.status for answer in answers] == [200] * 5
        assert ["cursor" in answer.json for answer in answers] == [True, False, True, False, True]
        raw.send(get(f"/v1/poll?room={ROOM}&ticket={'0' * 32}"))
        assert raw.response().status == 401 and raw.closed()


def test_of_many_who_bring_a_ticket_at_once_one_gets_in(nodes):  # noqa: F811
    """AUT-03, SCL-03: on all nodes, and several on each."""
    for home in nodes * 10:
        statuses = redeemed_at_once(nodes * 3, ticket_of(home, mint("u9", rooms=["r:*"])))
        assert statuses == [200] + [401] * (3 * NODES - 1)


def test_a_ticket_is_worth_on_every_node_what_its_token_is_worth_by_then(nodes):  # noqa: F811
    """AUT-08, AUT-03: a revocation in between holds, and the token's end ends the stream."""
    a, b, c = nodes
    ticket = ticket_of(a, TOKEN)
    http_request(c.admin, "POST", "/v1/revoke", '{"jti":"t9"}', {"Content-Type": "application/json"})
    wait_until(lambda: refusal(b, "/v1/events?room=r:1", TOKEN) == (401, "token_revoked"), "the revocation is here")
    assert refusal(b, events_path(ROOM, ticket=ticket), None) == (401, "token_revoked")
    with EventStream(b.address, ROOM, ticket=ticket_of(a, mint("u2", rooms=["r:*"], ttl=3))) as events:
        events.opened()
        assert events.to_end()[-1]["code"] == 4300


def test_a_user_gets_so_many_tickets_over_all_nodes(nodes, redis):  # noqa: F811
    """LIM-03, LIM-06: whichever nodes are asked; what is in Redis has an end, and its names are no tickets."""
    token = mint("greedy", rooms=["r:*"])
    answers = [asks(daemon, token) for daemon in itertools.islice(itertools.cycle(nodes), 120)]
    tickets = [answer["ticket"] for status, answer in answers if status == 200]
    refused = [answer for status, answer in answers if status != 200]
    assert len(tickets) == 100 and {answer["name"] for answer in refused} == {"rate_limited"}
    assert all(0 < answer["retry_after_ms"] <= 30_000 for answer in refused)
    assert asks(nodes[0], mint("another"))[0] == 200
    keys = redis.ask("KEYS", "tickerd:{0}:ticket*")
    assert len([key for key in keys if ":ticket:" in key]) == 101
    assert all(0 < redis.ask("PTTL", key) <= 30_000 for key in keys)
    everything = keys + [redis.ask("GET", key) for key in keys if ":ticket:" in key]
    everything += [member for key in keys if ":tickets:" in key for member in redis.ask("ZRANGE", key, 0, -1)]
    assert not any(ticket in text for ticket in tickets for text in everything)
    assert f"tickerd:{{0}}:ticket:{hashlib.sha256(tickets[0].encode()).hexdigest()}" in keys
    # What stands in Redis is no ticket, and no token.
    name = keys[0].rsplit(":", 1)[1]
    for guess in (name, name[:32], name[32:], tickets[0].upper(), tickets[0] + "0"):
        assert is_used(nodes[1], guess), guess


def test_guesses_are_refused_and_cost_no_more_than_a_request(nodes):  # noqa: F811
    """AUT-03, LIM-01: forged tickets, on many connections at once; who has a good one gets in meanwhile, though maybe not at the first try."""
    a, b, _ = nodes
    ticket, begun = ticket_of(a, TOKEN), time.monotonic()
    guesses = [get(events_path(ROOM, ticket=f"{n:032x}")) for n in range(600)]
    raws = [RawHttp(b.address) for _ in guesses]
    for raw, guess in zip(raws, guesses, strict=True):
        raw.send(guess)
    tries = opens_at_last(b, ticket)
    names = collections.Counter(raw.response().json["name"] for raw in raws)
    for raw in raws:
        raw.socket.close()
    # Those for whom there was no place among the questions are told to come again.
    assert names.keys() <= {"auth_failed", "over_capacity"} and names["auth_failed"] > 0, names
    figures("600 guesses at once", seconds=round(time.monotonic() - begun, 2), tries=tries, **names)
    assert opens(b, ticket_of(a, TOKEN)) == "u9"


def opens_at_last(daemon, ticket):
    """Brings the ticket again and again where there is no place to look it up, as the answer says. How often."""
    for tries in itertools.count(1):
        with EventStream(daemon.address, ROOM, ticket=ticket) as events:
            if events.response.status == 200:
                assert events.opened()[0]["data"]["user"] == "u9"
                return tries
            answer = json.loads(events.response.body)
            assert (events.response.status, answer["name"]) == (503, "over_capacity") and tries < 20, answer
            time.sleep(answer["retry_after_ms"] / 1000)


@pytest.mark.parametrize("fail", ["kill", "stall"])
def test_without_redis_tickets_are_good_where_they_are_given(nodes, redis, fail):  # noqa: F811
    """ERR-06, AUT-03: one that Redis may have is good nowhere until Redis answers, so that none is good twice; a new one is good here, once; and when
    Redis is back they are shared again."""
    a, b, _ = nodes
    shared, shared_too = ticket_of(a, TOKEN), ticket_of(a, TOKEN)
    getattr(redis, fail)()
    status, answer = refusal_in_full(a, shared)
    assert (status, answer["name"]) == (503, "store_unavailable") and answer["retry_after_ms"] > 0
    own = ticket_of(a, TOKEN)
    assert refusal_in_full(b, own)[0] == 503
    assert opens(a, own) == "u9" and refusal_in_full(a, own)[0] == 503
    begun = time.monotonic()
    for _ in range(20):
        assert opens(a, ticket_of(a, TOKEN)) == "u9"
    figures(f"20 tickets without redis ({fail})", seconds=round(time.monotonic() - begun, 2))
    redis.start() if fail == "kill" else redis.go_on()
    wait_until(lambda: given_by_redis(a) and given_by_redis(b), "Redis is asked again", PATIENCE_S)
    assert opens(b, ticket_of(a, TOKEN)) == "u9"
    if fail == "kill":
        # Another run of Redis has it (it was synced), but a ticket is good on the run alone that it was given on.
        assert redis.ask("EXISTS", f"tickerd:{{0}}:ticket:{hashlib.sha256(shared_too.encode()).hexdigest()}") == 1
        assert is_used(b, shared_too)
    else:
        assert opens(b, shared_too) == "u9"
    assert is_used(a, shared_too)


def refusal_in_full(daemon, ticket):
    response = exchange(daemon.address, get(events_path(ROOM, ticket=ticket)))
    return response.status, response.json


def given_by_redis(daemon):
    before = daemon.metric("tickerd_redis_tickets_total", "given")
    ticket_of(daemon, mint("prober"))
    return daemon.metric("tickerd_redis_tickets_total", "given") > before


def test_tickets_over_a_cluster(cluster_node):  # noqa: F811
    """AUT-03, SCL-08: wherever the cluster has them."""
    a, b = cluster_node(), cluster_node()
    for home, away in [(a, b), (b, a), (a, a)]:
        ticket = ticket_of(home, TOKEN)
        assert opens(away, ticket) == "u9" and is_used(home, ticket) and is_used(away, ticket)
    assert redeemed_at_once([a, b] * 4, ticket_of(a, TOKEN)) == [200] + [401] * 7


# ---- each request somewhere else -----------------------------------------------------------------------------------------


def test_polls_that_come_to_another_node_each_time_miss_nothing_and_get_nothing_twice(nodes):  # noqa: F811
    """SCL-02, SCL-04, ERR-06: a position is good on every node; events of streams come once and in order, and of a state the last value."""
    position, seen, last = None, [], None
    publisher = nodes[0]
    turns = itertools.cycle(nodes)
    published = 0
    for turn in range(30):
        for _ in range(turn % 4):
            published += 1
            publisher.publish(note(ROOM, "alert", data=published), note(ROOM, "update", "state", key="k", data=published))
        with Poller(next(turns).address, ROOM, mint(**EVERYTHING), since=position) as client:
            messages = client.poll(timeout_ms=2_000 if turn % 4 else 0)
            position = client.since
        assert not any(message["type"] == "gap" for message in messages)
        seen += [message["data"] for message in messages if "lane" in message and "seq" in message]
        last = next((message["data"] for message in reversed(messages) if "rev" in message), last)
    while len(seen) < published or last != published:
        with Poller(next(turns).address, ROOM, mint(**EVERYTHING), since=position) as client:
            messages = client.poll(PATIENCE_S)
            position = client.since
        seen += [message["data"] for message in messages if "lane" in message and "seq" in message]
        last = next((message["data"] for message in reversed(messages) if "rev" in message), last)
    assert (seen, last) == (list(range(1, published + 1)), published)


def test_streams_that_come_to_another_node_each_time_miss_nothing_and_get_nothing_twice(nodes):  # noqa: F811
    """SCL-02, CLI-08: an EventSource with a ticket of one node and the last id that another gave."""
    seen, published, turns = [], 0, itertools.cycle(nodes)
    with EventStream(nodes[0].address, ROOM, ticket=ticket_of(nodes[1], TOKEN)) as events:
        events.opened()
        last_id = events.last_id
    for turn in range(12):
        home, away = next(turns), nodes[(turn * 2 + 1) % NODES]
        published += 3
        answers = home.publish(*[note(ROOM, "alert", data=published - back) for back in (2, 1, 0)])
        assert all(answer["ok"] for answer in answers)
        with EventStream(away.address, ROOM, ticket=ticket_of(home, TOKEN), since=last_id) as events:
            seen += [message["data"] for message in events.opened() if "lane" in message and "seq" in message]
            while (seen or [0])[-1] < published:
                message = events.recv()
                assert message["type"] != "gap"
                seen += [message["data"]] if "lane" in message and "seq" in message else []
            last_id = events.last_id
    assert seen == list(range(1, published + 1))
