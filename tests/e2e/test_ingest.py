"""Backends that speak Redis alone publish by XADD."""

import json
import random
import threading
import time

import pytest
from harness import LONG, PATIENCE_S, Daemon, http_request, mint, note, risk_alert, wait_until
from test_nodes import redis  # noqa: F401 (a fixture)

STREAM, REFUSED = "orders", "orders:refused"
# A lease lasts 5 s, and a node that waits for it asks once a second.
TAKEOVER_S = 12


@pytest.fixture
def node(redis, tmp_path):  # noqa: F811
    """Starts daemons that publish from the stream, each by itself but for that. Those that were not killed must end cleanly."""
    daemons = []

    def start(**flags):
        daemons.append(Daemon(tmp_path / f"node-{len(daemons)}", ingest_redis=redis.url, ingest_stream=STREAM, reactors=1, **flags))
        return daemons[-1]

    yield start
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.end()


def kill(daemon):
    """kill -9."""
    daemon.process.kill()
    daemon.process.wait()


def add(redis, event, *more):
    return redis.ask("XADD", STREAM, *more, "*", "event", event if isinstance(event, str) else json.dumps(event))


def pending(redis):
    """Entries that were read and not acknowledged."""
    return redis.ask("XPENDING", STREAM, "tickerd")[0]


def is_published(redis):
    """Whether all that is in the stream was read and acknowledged."""
    group = redis.ask("XINFO", "GROUPS", STREAM)[0]
    fields = dict(zip(group[::2], group[1::2], strict=True))
    last = redis.ask("XREVRANGE", STREAM, "+", "-", "COUNT", "1")
    return fields["pending"] == 0 and (not last or fields["last-delivered-id"] == last[0][0])


def begins(daemon):
    wait_until(lambda: daemon.metrics().get("tickerd_ingest_streams") == 1, "it has the lease", TAKEOVER_S)
    return daemon


def test_what_is_added_to_the_stream_is_published(node, redis):
    """SCL-09: every lane and mode, in the order of the stream, with the numbers that others see."""
    daemon = begins(node())
    member = daemon.member("challenge:c1", "r:1", token=mint(rooms=["*"]))
    first = add(redis, risk_alert(n=1))
    add(redis, risk_alert(n=2) | {"event_id": "own"})
    alerts = member.recv_many(2)
    assert [(alert["data"]["n"], alert["seq"], alert["event_id"]) for alert in alerts] == [(1, 1, f"tickerd:entry:{STREAM}:{first}"), (2, 2, "own")]
    for n in range(500):
        add(redis, note("r:1", data={"n": n}))
    assert [member.recv()["data"]["n"] for _ in range(500)] == list(range(500))
    # Data stays as it was written; breaks between tokens are spaces, as everywhere.
    add(redis, '\n{"type":"x.y","room":"r:1","lane":"alert","mode":"transient",\r\n"data":{"a" : 1.50,\n"b":"\\n"}}\n')
    assert member.recv().raw_data == '{"a" : 1.50, "b":"\\n"}'
    wait_until(lambda: is_published(redis), "all is acknowledged")
    assert daemon.metric("ingest_entries_total", "accepted") == 503
    assert daemon.metric("ingest_entries_total", "refused") == 0


def test_what_is_no_event_is_set_aside_and_the_rest_goes_on(node, redis):
    """ERR-02: with code and reason, its bytes as they were; and nothing waits behind it."""
    daemon = begins(node())
    member = daemon.member("r:1")
    bad = ["", "x", "[]", '{"type":"t"}', json.dumps({"type": "no.such", "data": {}}), json.dumps(note("r:1", data="y" * 70_000)), '{"type":"t","data":"a\nb"}']
    ids = [add(redis, event) for event in bad]
    ids.append(redis.ask("XADD", STREAM, "*", "payload", "{}"))
    add(redis, note("r:1", data="after"))
    assert member.recv()["data"] == "after"
    wait_until(lambda: is_published(redis), "all is acknowledged")
    aside = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in redis.ask("XRANGE", REFUSED, "-", "+")]
    assert sorted(entry["id"] for entry in aside) == sorted(ids)
    by_id = {entry["id"]: entry for entry in aside}
    assert [by_id[id].get("event") for id in ids] == [*bad, None]
    assert all(entry["code"].isdigit() and entry["message"] for entry in aside), aside
    assert "`event`" in by_id[ids[-1]]["message"] and by_id[ids[-1]]["payload"] == "{}"
    assert daemon.metric("ingest_entries_total", "refused") == len(ids)
    assert daemon.stderr().count('"event":"ingest_refused"') == len(ids)


def test_nobody_takes_the_id_of_an_entry_before_it_comes(node, redis):
    """DLV-08: whoever may publish in the room cannot guess what an entry will be called, and so suppress it; nor does an entry name itself as
    the daemon's own events are named."""
    daemon = begins(node())
    member = daemon.member("challenge:c1", token=mint(rooms=["*"]))
    for guess in (f"{STREAM}:99999999999999-0", "99999999999999-0"):
        assert daemon.publish(note("challenge:c1", "metric", "transient") | {"event_id": guess})[0]["ok"]
    (answer,) = daemon.publish_unix(note("challenge:c1", "metric", "transient") | {"event_id": f"tickerd:entry:{STREAM}:99999999999999-0"})
    assert (answer["ok"], answer["name"]) == (False, "invalid_field")
    redis.ask("XADD", STREAM, "99999999999999-0", "event", json.dumps(risk_alert(n=1)))
    redis.ask("XADD", STREAM, "99999999999999-1", "event", json.dumps(risk_alert(n=2) | {"event_id": "tickerd:FAILED"}))
    wait_until(lambda: is_published(redis), "all is acknowledged")
    assert [message["data"]["n"] for message in [member.recv() for _ in range(3)] if message["type"] == "RISK_ALERT"] == [1]
    assert "tickerd:" in redis.ask("XRANGE", REFUSED, "-", "+")[0][1][5]


def test_entries_that_were_cut_off_are_told(node, redis):
    """ERR-02: nothing is lost silently."""
    daemon = begins(node())
    kill(daemon)
    # Read by somebody who died before it was published, and cut off since.
    cut = add(redis, note("r:1"))
    redis.ask("XREADGROUP", "GROUP", "tickerd", "tickerd", "STREAMS", STREAM, ">")
    redis.ask("XTRIM", STREAM, "MAXLEN", "0")
    begins(node())
    wait_until(lambda: redis.ask("XLEN", REFUSED) == 1, "it was set aside")
    _, fields = redis.ask("XRANGE", REFUSED, "-", "+")[0]
    assert fields[:2] == ["id", cut] and "MAXLEN" in fields[5]
    wait_until(lambda: pending(redis) == 0, "it is acknowledged")


class Backend:
    """Adds numbered events until told to stop."""

    def __init__(self, redis):
        self.redis, self.added, self.stopping = redis, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping.is_set():
            add(self.redis, note("r:1", data={"n": self.added}))
            self.added += 1
            time.sleep(0.002)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        return self.added


def test_kill_9_loses_nothing_and_publishes_nothing_twice(node, redis, tmp_path):
    """DLV-12, ERR-05: the group remembers what was not acknowledged, and the journal which of that was published."""
    flags = {"data_dir": tmp_path / "data", "history": 20_000}
    daemon = begins(node(**flags))
    with daemon.connect(mint(rooms=["*"])) as client:
        position = client.subscribe("r:1")[0]
    backend, rng = Backend(redis), random.Random(1)
    for _ in range(10 if LONG else 3):
        time.sleep(rng.uniform(0.2, 0.6))
        kill(daemon)
        daemon = begins(node(**flags))
    count = backend.stop()
    wait_until(lambda: is_published(redis), "all is acknowledged", PATIENCE_S)
    with daemon.connect(mint(rooms=["*"])) as client:
        since = {"epoch": position["epoch"], "seq": {"update": 0}}
        _, frames = client.subscribe("r:1", since=since)
        found = [frame["data"]["n"] for frame in frames if frame.get("type") == "note"]
    assert found == list(range(count))


def test_one_node_publishes_and_another_takes_over(node, redis):
    """SCL-06: what comes while the lease of the dead lasts is published by the next, in order and once."""
    first = begins(node())
    second = node()
    member = second.member("r:1")
    add(redis, note("r:1", data=0))
    wait_until(lambda: is_published(redis), "the first has published it")
    assert first.metric("ingest_entries_total", "accepted") == 1
    assert second.metric("ingest_streams") == 0 and second.metric("ingest_entries_total", "accepted") == 0
    kill(first)
    for n in range(100):
        add(redis, note("r:1", data=n))
    begins(second)
    assert [member.recv()["data"] for _ in range(100)] == list(range(100))
    # One that ends by itself gives the lease back at once.
    third = node()
    second.end()
    wait_until(lambda: third.metrics()["tickerd_ingest_streams"] == 1, "the third has the lease", 4)


def test_redis_may_come_later_and_go_and_lose_everything(serve, redis, tmp_path):
    """ERR-06: the daemon serves without it, says so, and goes on by itself."""
    redis.kill()
    daemon = serve(ingest_redis=redis.url, ingest_stream=STREAM, reactors=1)
    member = daemon.member("r:1")

    def is_degraded():
        health = json.loads(http_request(daemon.admin, "GET", "/healthz")[2])
        return health["state"] == "degraded" and "ingest-redis" in json.dumps(health)

    wait_until(is_degraded, "health tells")
    daemon.publish(note("r:1", data="by the socket"))
    assert member.recv()["data"] == "by the socket"
    before = daemon.cpu_s()
    time.sleep(2)
    assert daemon.cpu_s() - before < 0.5, "it spins"
    redis.start()
    begins(daemon)
    add(redis, note("r:1", data="by the stream"))
    assert member.recv()["data"] == "by the stream"
    wait_until(lambda: not is_degraded(), "health tells")
    # What is there after all was lost is new.
    redis.ask("FLUSHALL")
    for n in range(10):
        add(redis, note("r:1", data=n))
    assert [member.recv(PATIENCE_S)["data"] for _ in range(10)] == list(range(10))
    assert daemon.stderr().count('"event":"ingest_failed"') <= 3


def test_the_first_start_begins_with_what_comes(node, redis):
    """Hours of old alerts are no news; who wants them makes the group before."""
    add(redis, note("r:1", data="old"))
    daemon = begins(node(history=10))
    add(redis, note("r:1", data="new"))
    wait_until(lambda: is_published(redis), "it is published")
    assert daemon.metric("ingest_entries_total", "accepted") == 1


def test_nodes_that_share_their_rooms_each_get_it_once(serve, redis):
    """SCL-01, SCL-09: with --redis too."""
    nodes = [serve(redis=redis.url, ingest_stream=STREAM, reactors=1) for _ in range(2)]
    wait_until(lambda: sum(daemon.metrics()["tickerd_ingest_streams"] for daemon in nodes) == 1, "one has the lease", TAKEOVER_S)
    members = [daemon.member("r:1") for daemon in nodes]
    for n in range(50):
        add(redis, note("r:1", data=n))
    for member in members:
        assert [member.recv()["data"] for _ in range(50)] == list(range(50))
