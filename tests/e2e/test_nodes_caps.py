"""The connections of a user on all nodes over a Redis count together."""

import json
import signal
import threading
import time

import pytest
from harness import PATIENCE_S, Client, at_most_s, figures, http_request, mint, wait_until
from redis_server import wait_s
from streams import EventStream, Poller
from test_nodes import redis  # noqa: F401 (fixtures)
from test_nodes_cluster import cluster  # noqa: F401 (fixtures)
from websockets.exceptions import ConnectionClosed

CAP = 4
USER = mint("u1", rooms=["r:*"])
# What a node counted that was killed counts for so long.
FORGOTTEN_S = 10


@pytest.fixture
def node(serve, redis):  # noqa: F811
    return lambda **flags: serve(redis=redis.url, **FLAGS | flags)


FLAGS = {"reactors": 2, "max_connections_per_user": CAP, "max_connections_per_ip": 0, "handshakes_per_ip": 0}


@pytest.fixture
def nodes(node):
    return [node() for _ in range(3)]


def counts(daemon):
    return daemon.metrics()["tickerd_redis_counts_users"] == 1


def here(daemon):
    """Clients of a node."""
    return daemon.metric("tickerd_connections{", "websocket")


def connect(daemon, many=1, token=USER):
    return [daemon.connect(token) for _ in range(many)]


def is_open(client):
    try:
        return client.request(type="ping")["type"] == "ok"
    except ConnectionClosed:
        return False


def wait_until_told(server, *connections):
    """Redis has heard how many connections of the user each node has, so that one that comes now is the newest."""

    def told():
        users = [server.ask("HGET", key, "u1") for key in server.ask("KEYS", "tickerd:{0}:users:*")]
        return sorted(int(many) for many in users if many)

    wait_until(lambda: told() == sorted(connections), f"Redis is told of {connections}", PATIENCE_S)


def settled(daemons):
    """Once nobody is in doubt any more: how many connections each node has."""
    wait_until(lambda: all(counts(daemon) for daemon in daemons), "users are counted", PATIENCE_S)
    wait_until(lambda: sum(map(here, daemons)) <= CAP, "no more are left than there may be", PATIENCE_S)
    return [here(daemon) for daemon in daemons]


def test_one_too_many_on_all_nodes_is_ended_as_on_one(nodes, redis):  # noqa: F811
    """LIM-03, SCL-03: the newest, with the same code, and nobody else; another may come when one has gone."""
    a, b, c = nodes
    there = connect(a, 2) + connect(b, 1) + connect(c, 1)
    wait_until_told(redis, 2, 1, 1)
    late = b.connect(USER)
    begun = time.monotonic()
    assert late.close_code() == 4003 and late.last_word["reason"] == "connection_limit"
    figures("one too many on all nodes", closed_s=round(time.monotonic() - begun, 3))
    stream = EventStream(c.address, "r:1", USER)
    assert stream.to_end()[-1]["code"] == 4003
    assert all(map(is_open, there)) and settled(nodes) == [2, 1, 1]
    assert is_open(a.connect(mint("u2")))
    there.pop().close()
    wait_until_told(redis, 2, 1)
    replaced = b.connect(USER)
    wait_until_told(redis, 2, 2)
    time.sleep(2)
    assert is_open(replaced) and all(map(is_open, there))
    assert sum(daemon.metrics()["tickerd_redis_over_cap_closed_total"] for daemon in nodes) == 2
    assert all(daemon.metrics()["tickerd_redis_users_over_cap"] == 0 for daemon in nodes)


def test_what_is_told_of_a_user_is_so_on_all_nodes(nodes):
    """OBS-27, LIM-03."""
    a, b, _ = nodes
    clients = connect(a, 3) + connect(b, 1)

    def rule(daemon):
        _, _, body = http_request(daemon.admin, "GET", "/v1/explain?user=u1&room=r:1")
        return next(rule for rule in json.loads(body)["rules"] if rule["rule"] == "connections_of_user")

    wait_until(lambda: rule(b)["ruling"] == "no", "all are counted")
    assert f"1 of the {CAP} connections" in rule(b)["why"] and "4 on all nodes" in rule(b)["why"]
    clients[0].close()
    wait_until(lambda: rule(b)["ruling"] == "yes" and "3 on all nodes" in rule(b)["why"], "one has gone")


def test_of_many_who_come_at_once_as_many_stay_as_may(nodes):
    """LIM-03, SCL-03: on all nodes in the same instant: none too many stays, and none too many is ended."""
    for round in range(5):
        token, ready, clients = mint(f"crowd{round}"), threading.Barrier(3 * CAP), []

        def come(daemon, token=token, ready=ready, clients=clients):
            ready.wait()
            clients.append(Client(daemon.address, token))

        threads = [threading.Thread(target=come, args=(nodes[n % 3],)) for n in range(3 * CAP)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert len(clients) == 3 * CAP
        wait_until(lambda: sum(map(here, nodes)) == CAP, "the others are ended", PATIENCE_S)
        time.sleep(1)
        assert sum(map(is_open, clients)) == CAP
        for client in clients:
            client.close()
        wait_until(lambda: sum(map(here, nodes)) == 0, "all are gone", PATIENCE_S)


def test_who_polls_by_all_nodes_is_one_client(nodes):
    """SCL-02, LIM-03: a load balancer may keep a connection to each node for it, so polls are each node's own count."""
    there = connect(nodes[0], CAP)
    for daemon in nodes[1:]:
        with Poller(daemon.address, "r:1", USER) as client:
            for _ in range(3):
                client.poll(timeout_ms=500)
    assert all(map(is_open, there))


def test_a_killed_node_counts_no_more_and_its_clients_are_let_in_at_once(nodes, redis):  # noqa: F811
    """SCL-11, SCL-12, LIM-03: they come to another node while Redis still counts them, and none of them is ended for that; nor may there be more after."""
    a, b, _ = nodes
    connect(a, CAP)
    wait_until_told(redis, CAP)
    a.process.kill()
    a.process.wait()
    a.process.returncode = 0  # its end is what was tested
    back = connect(b, CAP)
    wait_until(lambda: b.metrics()["tickerd_redis_users_over_cap"] == 1, "they are in doubt")
    forgotten_s = wait_s(lambda: b.metrics()["tickerd_redis_users_over_cap"] == 0, "the dead are forgotten", PATIENCE_S)
    figures("a node is killed", forgotten_s=round(forgotten_s, 1))
    assert all(map(is_open, back)) and forgotten_s < FORGOTTEN_S + at_most_s(3)
    wait_until_told(redis, CAP)
    assert nodes[2].connect(USER).close_code() == 4003
    assert all(map(is_open, back))


def test_a_node_that_ends_gives_its_places_back_at_once(nodes, redis):  # noqa: F811
    """SCL-11."""
    a, b, _ = nodes
    there = connect(a, CAP)
    wait_until_told(redis, CAP)
    ends = threading.Thread(target=a.end)
    ends.start()
    assert [client.close_code() for client in there] == [4101] * CAP
    back = connect(b, CAP)
    ends.join(PATIENCE_S)
    time.sleep(2)  # b has told Redis of them, and would be in doubt
    wait_until(lambda: b.metrics()["tickerd_redis_users_over_cap"] == 0, "the places are given back, sooner than they would be forgotten", FORGOTTEN_S * 0.4)
    wait_until_told(redis, CAP)
    assert all(map(is_open, back))


def test_a_node_that_stood_still_says_again_who_is_there(nodes, redis):  # noqa: F811
    """SCL-11: what it has said is forgotten meanwhile, and counts again when it goes on."""
    a, b, _ = nodes
    there = connect(a, CAP)
    wait_until_told(redis, CAP)
    a.process.send_signal(signal.SIGSTOP)
    wait_until_told(redis)
    a.process.send_signal(signal.SIGCONT)
    wait_until_told(redis, CAP)
    assert b.connect(USER).close_code() == 4003
    assert all(map(is_open, there))


@pytest.mark.parametrize("fail", ["kill", "stall"])
def test_without_redis_each_node_counts_its_own(nodes, redis, fail):  # noqa: F811
    """ERR-06, LIM-03: nobody waits and nothing spins; when it is back they count together again, and the newest beyond that are ended."""
    a, b, c = nodes
    there = connect(a, 2)
    wait_until(lambda: counts(a), "users are counted")
    getattr(redis, fail)()
    wait_until(lambda: not any(map(counts, nodes)), "it is told", PATIENCE_S)
    begun = time.monotonic()
    there += connect(b, CAP) + connect(c, 1)
    assert time.monotonic() - begun < at_most_s(2)
    assert b.connect(USER, welcome=False).close_code() == 4003, "its own count holds"
    begun, cpu = time.monotonic(), b.cpu_s()
    time.sleep(3)
    share = (b.cpu_s() - cpu) / (time.monotonic() - begun)
    assert share < 0.2, f"it takes {share:.0%} of a core to wait"
    assert all(map(is_open, there))
    redis.start() if fail == "kill" else redis.go_on()
    left = settled(nodes)
    assert sum(left) == CAP, left
    time.sleep(2)
    assert sum(map(is_open, there)) == CAP and sum(settled(nodes)) == CAP
    figures(f"counts after redis {fail}", cpu_share=round(share, 3), left=left)


def test_a_redis_that_forgets_everything_is_told_everything(nodes, redis):  # noqa: F811
    """ERR-06, SCL-03: without a hand, and nobody is ended for it."""
    a, b, _ = nodes
    there = connect(a, 2) + connect(b, 2)
    wait_until_told(redis, 2, 2)
    for key in redis.ask("KEYS", "tickerd:{0}:users:*") + redis.ask("KEYS", "tickerd:{0}:contacts"):
        redis.ask("DEL", key)
    wait_until_told(redis, 2, 2)
    assert a.connect(USER).close_code() == 4003
    assert all(map(is_open, there))
    assert all(0 < redis.ask("PTTL", key) <= FORGOTTEN_S * 1000 for key in redis.ask("KEYS", "tickerd:{0}:users:*"))


def test_caps_over_a_cluster(serve, cluster):  # noqa: F811
    """LIM-03, SCL-08."""
    a, b = (serve(redis=cluster.url, **FLAGS) for _ in range(2))
    there = connect(a, 2) + connect(b, 2)
    wait_until_told(cluster.master_of("tickerd:{0}:contacts"), 2, 2)
    assert a.connect(USER).close_code() == 4003 and b.connect(USER).close_code() == 4003
    assert all(map(is_open, there))
