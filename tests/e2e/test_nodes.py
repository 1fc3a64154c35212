"""Several daemons over a real Redis act as one."""

import json
import os
import random
import re
import shutil
import subprocess
import threading

import pytest
from harness import LONG, PATIENCE_S, ROOT, Daemon, equity, figures, handshake_status, http_request, mint, note, risk_alert, wait_until
from redis_server import PROGRAM, RedisServer
from wire import TEXT, RawClient

NODES = 3
CLIENTS_PER_NODE, ROOMS, EVENTS_PER_NODE = (1000, 300, 20_000) if LONG else (20, 12, 1_500)
ROOMS_PER_CLIENT = 4
EVERYTHING = {"rooms": ["*"]}


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path / "redis")
    yield server
    server.end()


@pytest.fixture
def node(serve, redis):
    """Starts nodes over that Redis."""
    return lambda **flags: serve(redis=redis.url, reactors=1, max_connections_per_ip=0, handshakes_per_ip=0, commands_per_client=0, **flags)


@pytest.fixture
def nodes(node):
    # Members here read one after the other, and may have to wait.
    return [node(slow_timeout="10m") for _ in range(NODES)]


def alerts(messages):
    return [message for message in messages if message.get("lane") == "alert" and "seq" in message]


def updates(messages):
    return [message for message in messages if message.get("lane") == "update" and "seq" in message]


def seqs(messages):
    return [message["seq"] for message in alerts(messages)]


def test_the_store_is_the_program_that_was_asked_for(redis):
    """SCL-08: what a run with Valkey in Redis' place says of it is said of Valkey."""
    assert os.path.samefile(f"/proc/{redis.process.pid}/exe", shutil.which(PROGRAM))


def test_what_is_published_at_once_is_one_call_whatever_the_rooms(node, redis):
    """SCL-01: a call costs Redis as much as several events, so that it had better not be one for each shard of rooms."""
    daemon, rooms = node(), 64
    # Each call keeps its answer by a SET, and nothing else here does.
    calls = lambda: int(redis.ask("INFO", "commandstats").partition("cmdstat_set:calls=")[2].partition(",")[0] or 0)
    before, answers = calls(), []
    redis.stall()
    publisher = threading.Thread(target=lambda: answers.extend(daemon.publish_unix(*(note(f"r:{n}", data={"n": n}) for n in range(rooms)))))
    publisher.start()
    wait_until(lambda: daemon.metrics()["tickerd_redis_waiting_publishes"] == rooms, "all wait for Redis")
    redis.go_on()
    publisher.join()
    assert all(answer["ok"] and answer["seq"] == 1 for answer in answers) and len({answer["epoch"] for answer in answers}) == 16
    assert 1 <= calls() - before <= 8


def test_rooms_that_nodes_share_are_as_many_as_each_node_has_place_for(node):
    """LIM-06, SCL-01: a publish that needs one more is refused, and what was answered `ok` can be joined on every node."""
    one, two = node(max_rooms=300), node(max_rooms=300)
    answers = one.publish_unix(*(note(f"r:{n}", "update", "stream", {"n": n}) for n in range(500)))
    taken = [n for n, answer in enumerate(answers) if answer["ok"]]
    assert {answer["name"] for answer in answers if not answer["ok"]} == {"over_capacity"}
    assert len(taken) == 300 * 7 // 8 // 16 * 16, "five hundred names fill all shards"
    wait_until(lambda: two.metrics()["tickerd_rooms"] >= len(taken), "the other node knows them")
    newcomer = two.connect(mint("u1", **EVERYTHING))
    for n in taken[:: len(taken) // 20]:
        assert [event["data"]["n"] for event in updates(newcomer.subscribe(f"r:{n}", since={"epoch": answers[n]["epoch"], "seq": {"update": 0}})[1])] == [n]
    newcomer.subscribe("user:u1")
    assert one.publish(note(f"r:{taken[0]}", "update", "stream", {"n": "more"}))[0]["ok"], "in a room that is there it goes on"
    assert one.metrics()["tickerd_redis_unplaced_total"] == two.metrics()["tickerd_redis_unplaced_total"] == 0


def test_all_rooms_go_as_readme_says(tmp_path, redis):
    """LIM-06: what has become of no use is removed by one command, and what comes then begins anew."""
    command = re.search(r"`(redis-cli --scan .*?)`", (ROOT / "README.md").read_text()).group(1).replace("redis-cli", f"redis-cli -p {redis.port}")
    epochs = []
    for start in range(2):
        daemon = Daemon(tmp_path / f"start-{start}", redis=redis.url, reactors=1)
        (answer,) = daemon.publish(note("r:1"))
        assert answer["seq"] == 1
        epochs.append(answer["epoch"])
        daemon.end()
        subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL, timeout=60)
        assert redis.ask("DBSIZE") == 0
    assert epochs[0] != epochs[1]


def test_a_duplicate_of_what_was_not_kept_is_not_said_to_be_safe(node):
    """DLV-08: the answer to a duplicate says how safe the event is that it is a duplicate of."""
    daemon = node()
    (first,) = daemon.publish(note("r:1", "metric", "transient", event_id="e1"))
    (again,) = daemon.publish(note("r:1", "alert", "stream", event_id="e1"))
    assert (first["result"], first["ack"], again["result"], again["ack"]) == ("accepted", "memory", "duplicate", "memory")
    kept, again = daemon.publish(note("r:1", "alert", "stream", event_id="e2"), note("r:1", "alert", "stream", event_id="e2"))
    assert (kept["ack"], again["result"], again["ack"]) == ("durable", "duplicate", "durable")


def test_a_redis_that_throws_rooms_away_is_told_of(node, redis):
    """DLV-12: rooms and their numbers are to stay."""
    assert "redis_evicts" not in node().stderr()
    redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert "redis_evicts" in node().stderr()


def test_a_wrong_password_is_said_to_be_one(serve, redis, tmp_path):
    """AUT-09: whoever starts a daemon hears which option to mend."""
    redis.ask("CONFIG", "SET", "requirepass", "secret")
    (tmp_path / "password").write_text("wrong")
    for flags in ({}, {"redis_password_file": tmp_path / "password"}):
        with pytest.raises(AssertionError, match="--redis-password-file"):
            serve(redis=redis.url, **flags)


# ---- SCL-01: one order, each once ------------------------------------------------------------------------------------


def publish_mix(daemon, origin, seed, answers):
    """Events of all lanes and modes to all rooms, pipelined; what was answered."""
    rng = random.Random(seed)
    for n in range(0, EVENTS_PER_NODE, 50):
        events = []
        for k in range(n, n + 50):
            lane, mode = rng.choice([("alert", "stream"), ("update", "stream"), ("metric", "stream"), ("update", "state"), ("alert", "transient")])
            event_id = {"event_id": f"{origin}-{k}"} if rng.random() < 0.3 else {}
            key = {"key": f"k{rng.randrange(3)}"} if mode == "state" else {}
            kind = {"type": f"note.{mode}"}
            events.append(note(f"r:{rng.randrange(ROOMS)}", lane, mode, {"origin": origin, "n": k}, **event_id, **key) | kind)
        answers += zip(events, daemon.publish_unix(*events, deadline_s=PATIENCE_S), strict=True)


def check_order(messages, published):
    """Every (room, lane) has every event of its stream, by number; nothing came twice."""
    by_place, transients, states = {}, [], {}
    for message in messages:
        if "seq" in message:
            by_place.setdefault((message["room"], message["lane"]), []).append(message)
        elif "rev" in message:
            states[message["room"], message.get("key")] = message["data"]
        elif message.get("type") == "note.transient":
            transients.append((message["room"], message["data"]["origin"], message["data"]["n"]))
    for place, events in by_place.items():
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), place
        assert [event["data"] for event in events] == published[place], place
    assert len(transients) == len(set(transients)), "a transient event came twice"
    return by_place, states, transients


def test_what_is_published_on_any_node_comes_to_every_node_once_and_in_one_order(nodes):
    """SCL-01, SCL-03: the whole matrix of origins and members."""
    rng = random.Random(1)
    for daemon in nodes:
        daemon.publish_unix()  # its socket gets a descriptor below 1,024, beyond which `select` cannot see
    members, token = [], mint(**EVERYTHING)
    for daemon in nodes:
        for _ in range(CLIENTS_PER_NODE):
            rooms = rng.sample([f"r:{room}" for room in range(ROOMS)], ROOMS_PER_CLIENT)
            client = RawClient(daemon.address, token)
            client.subscribe(*rooms)
            members.append((rooms, client))
    answers = [[] for _ in nodes]
    threads = [threading.Thread(target=publish_mix, args=(daemon, origin, origin, answers[origin])) for origin, daemon in enumerate(nodes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE_S)
    answered = [pair for each in answers for pair in each]
    assert len(answered) == NODES * EVENTS_PER_NODE and all(answer["ok"] and answer["result"] == "accepted" for _, answer in answered)

    streams, transients = {}, {}
    for event, answer in answered:
        if event["mode"] == "stream":
            assert answer["ack"] == "durable"
            streams.setdefault((answer["room"], answer["lane"]), {})[answer["seq"]] = event["data"]
        elif event["mode"] == "transient":
            transients.setdefault(event["room"], set()).add((event["room"], event["data"]["origin"], event["data"]["n"]))
    published = {place: [events[seq] for seq in range(1, len(events) + 1)] for place, events in streams.items()}
    # Behind all that is on the way to members: what the metric lane holds leaves later than the update lane's last states.
    nodes[0].publish(*[note(f"r:{room}", "metric", "transient", FENCE) for room in range(ROOMS)])
    last = {}
    for rooms, client in members:
        messages = until_fenced(client, len(rooms))
        by_place, states, came = check_order(messages, published)
        ours = {place for place in published if place[0] in rooms}
        assert set(by_place) == ours and all(len(by_place[place]) == len(published[place]) for place in ours)
        assert set(came) == set().union(*(transients.get(room, set()) for room in rooms))
        for key, data in states.items():
            assert last.setdefault(key, data) == data, f"the last value of {key} differs"
        client.socket.close()
    figures("nodes", events=len(answered), members=len(members))


FENCE = "fence"


def until_fenced(client, fences):
    """All that came to a client until it has had so many fences."""
    messages = []
    while fences:
        opcode, payload = client.next_frame(PATIENCE_S)
        if opcode == TEXT:
            message = json.loads(payload)
            if message.get("data") == FENCE:
                fences -= 1
            else:
                messages.append(message)
    return messages


# ---- what the nodes know together --------------------------------------------------------------------------------------


def test_ids_owners_versions_and_states_are_known_to_all_nodes(nodes):
    """DLV-08, PRO-09, ROM-02: whoever is asked."""
    a, b, c = nodes
    first = a.publish(risk_alert("x", "u1") | {"event_id": "e1"})[0]
    again = b.publish(risk_alert("x", "u1") | {"event_id": "e1"})[0]
    assert (again["result"], again["seq"], again["epoch"]) == ("duplicate", first["seq"], first["epoch"])
    other = c.publish_unix(risk_alert("x", "u2"))[0]
    assert (other["ok"], other["name"]) == (False, "owner_conflict")
    assert a.publish(equity("x", "u1", equity="1.00") | {"version": 5})[0]["rev"] == 1
    assert b.publish(equity("x", "u1", equity="2.00") | {"version": 5})[0]["result"] == "stale"
    assert c.publish(equity("x", "u1", equity="1.00"))[0]["result"] == "unchanged"
    assert b.publish(equity("x", "u1", equity="3.00") | {"version": 6})[0]["rev"] == 2
    # The owner joins anywhere, and gets the newest state.
    for daemon in nodes:
        wait_until(lambda daemon=daemon: daemon.metrics()["tickerd_state_keys"] == 1, "the state is at every node")
        with daemon.connect(mint("u1")) as owner:
            _, frames = owner.subscribe("challenge:x")
            assert [frame["data"]["equity"] for frame in frames if "rev" in frame] == ["3.00"]
        with daemon.connect(mint("u2")) as stranger:
            assert stranger.refused(type="subscribe", room="challenge:x") == "access_denied"


def test_a_deleted_key_is_deleted_everywhere_and_for_who_comes_later(nodes, node):
    """DLV-14."""
    a, b, _ = nodes
    member = b.member("challenge:x", token=mint(rooms=["*"]))
    a.publish(equity("x", equity="1.00"))
    assert member.recv()["data"]["equity"] == "1.00"
    a.publish({"type": "EQUITY_UPDATED", "room": "challenge:x", "key": "x", "data": None})
    assert member.recv()["deleted"] is True
    _, frames = node().connect(mint(rooms=["*"])).subscribe("challenge:x")
    assert frames == []


# ---- SCL-02: resume anywhere -------------------------------------------------------------------------------------------


def test_a_position_taken_on_one_node_is_good_on_another(nodes):
    """SCL-02, DLV-14: exactly what was missed, and `recovered` is true."""
    a, b, c = nodes
    subscribed, _ = a.connect(mint(**EVERYTHING)).subscribe("challenge:x")
    position = {"epoch": subscribed["epoch"], "seq": {"alert": 0, "update": 0}}
    b.publish(*[risk_alert("x", n=n) for n in range(20)])
    for daemon in (c, a, b):
        wait_until(lambda daemon=daemon: daemon.metrics()["tickerd_redis_fed_total"] >= 20, "the feed has come")
        with daemon.connect(mint(**EVERYTHING)) as client:
            subscribed, frames = client.subscribe("challenge:x", since=position | {"seq": {"alert": 7}})
            assert (subscribed["recovered"], subscribed["epoch"]) == (True, position["epoch"])
            assert seqs(frames) == list(range(8, 21))
            assert [frame["data"]["n"] for frame in alerts(frames)] == list(range(7, 20))


def test_what_no_node_has_in_memory_comes_from_redis(node):
    """DLV-12, DLV-15: also to a node that was started later; and live events go on behind it without a seam."""
    a = node(history=4)
    for n in range(0, 2_000, 100):
        a.publish(*[note("r:1", "alert", data={"n": k}) for k in range(n, n + 100)])
    late = node(history=4)
    client = late.connect(mint(**EVERYTHING))
    epoch = late.connect(mint(**EVERYTHING)).subscribe("r:1")[0]["epoch"]
    answer = client.request(type="subscribe", room="r:1", since={"epoch": epoch, "seq": {"alert": 3}})
    a.publish(*[note("r:1", "alert", data={"n": n}) for n in range(2_000, 2_050)])
    assert answer["recovered"] is True
    came = []
    while len(alerts(came)) < 2_047:
        came.append(client.recv())
    assert seqs(came) == list(range(4, 2_051)) and [event["data"]["n"] for event in alerts(came)] == list(range(3, 2_050))
    assert not any(message.get("type") == "gap" for message in came)


def test_what_redis_has_let_go_is_a_gap(node, redis):
    """DLV-13: `recovered` is true only truly."""
    a = node(history=4)
    a.publish(*[note("r:1", "alert", data={"n": n}) for n in range(50)])
    log = next(key for key in redis.ask("KEYS", "*:log:*"))
    redis.ask("XTRIM", log, "MAXLEN", "20")
    a.publish(note("r:1", "alert", data={"n": 50}))
    wait_until(lambda: a.metrics()["tickerd_redis_fed_total"] >= 51, "the feed has come")
    with a.connect(mint(**EVERYTHING)) as client:
        epoch = client.subscribe("r:1")[0]["epoch"]
    with a.connect(mint(**EVERYTHING)) as client:
        answer, frames = client.subscribe("r:1", since={"epoch": epoch, "seq": {"alert": 5}})
        gap = next(frame for frame in frames if frame["type"] == "gap")
        assert (answer["recovered"], gap["from"], gap["to"]) == (False, 6, 30)
        assert seqs(frames) == list(range(31, 52))


def test_a_node_that_is_killed_loses_nothing_that_was_answered(node):
    """SCL-12, DLV-12: its clients go to another one, with their positions."""
    a, b = node(), node()
    client = a.connect(mint(**EVERYTHING))
    epoch = client.subscribe("r:1")[0]["epoch"]
    answers = a.publish(*[note("r:1", "alert", data={"n": n}) for n in range(300)])
    a.process.kill()
    a.process.wait()
    assert [answer["ack"] for answer in answers] == ["durable"] * 300
    wait_until(lambda: b.metrics()["tickerd_redis_fed_total"] >= 300, "the feed has come")
    answer, frames = b.connect(mint(**EVERYTHING)).subscribe("r:1", since={"epoch": epoch, "seq": {"alert": 0}})
    assert answer["recovered"] is True and seqs(frames) == list(range(1, 301))
    a.process.returncode = 0  # its end is what was tested


def test_a_revocation_holds_on_all_nodes_and_on_those_that_come_later(nodes, node):
    """AUT-09, SCL-03: whichever node is told of it."""
    a, b, c = nodes
    token = mint("u1", jti="t1")
    clients = [daemon.connect(token) for daemon in nodes]
    status, _, body = http_request(b.admin, "POST", "/v1/revoke", json.dumps({"jti": "t1"}), {"Content-Type": "application/json"})
    assert status == 200, body
    assert [client.close_code() for client in clients] == [4301] * NODES
    late = node()
    for daemon in (a, b, c, late):
        assert handshake_status(daemon.address, token) == 401
    a.connect(mint("u1", jti="t2")).close()


# ---- SCL-05: who is there ------------------------------------------------------------------------------------------


def those_there(daemon):
    status, _, body = http_request(daemon.admin, "GET", "/v1/nodes")
    assert status == 200, body
    return json.loads(body)


def test_nodes_know_of_each_other(node, redis, tmp_path):
    """SCL-05: each says of itself what it is; who ends is gone at once, who is killed within seconds, and Redis' absence forgets nobody."""
    first, second, third = node(), Daemon(tmp_path / "second", redis=redis.url, reactors=1), node()
    is_there = lambda daemon, *others: [each["pid"] for each in those_there(daemon)["nodes"]] == [other.process.pid for other in others]
    for daemon in (first, second, third):
        wait_until(lambda: is_there(daemon, first, second, third), "all are there", PATIENCE_S)
    told = those_there(second)
    assert told["instance"] == told["nodes"][1]["instance"] and told["asked_ms_ago"] < 10_000
    with second.connect(mint()) as client:
        assert client.welcome["data"]["session"].startswith(told["instance"])
    assert told["nodes"][0]["listen"] == ["{}:{}".format(*first.address)]
    assert second.metrics()["tickerd_redis_nodes"] == 3
    third.end()
    wait_until(lambda: is_there(first, first, second), "one has ended", PATIENCE_S)
    second.process.kill()
    second.process.wait()
    wait_until(lambda: is_there(first, first), "one was killed", PATIENCE_S)
    redis.end()
    wait_until(lambda: those_there(first)["asked_ms_ago"] > 4_000, "Redis is not heard", PATIENCE_S)
    assert is_there(first, first)
