"""Redis fails, and comes back: what goes on, what is refused, what is told."""

import socket
import subprocess
import time

import pytest
from harness import BINARY, PATIENCE_S, SECRET, equity, figures, http_request, mint, note, wait_until
from redis_server import wait_s
from test_nodes import EVERYTHING, alerts, node, redis, seqs  # noqa: F401 (fixtures)


def state_of(daemon):
    status, _, body = http_request(daemon.admin, "GET", "/readyz")
    return status, body.decode()


def refused(daemon):
    """The name of the refusal of a durable publish; None if it is accepted."""
    return daemon.publish_unix(note("r:1", "alert"), deadline_s=PATIENCE_S)[0].get("name")


def is_gone(daemon):
    return refused(daemon) == "store_unavailable"


def is_back(daemon):
    return refused(daemon) is None


@pytest.mark.parametrize("fail", ["kill", "stall"])
def test_without_redis_clients_stay_and_publishes_are_refused_until_it_is_back(node, redis, fail):  # noqa: F811
    """SCL-09, ERR-06: told within seconds, without spinning, and mended without a hand."""
    a, b = node(), node()
    client = a.member("r:1", token=mint(**EVERYTHING))
    a.publish(note("r:1", "alert", data={"n": 1}))
    assert client.recv()["seq"] == 1
    getattr(redis, fail)()
    told_s = wait_s(lambda: is_gone(a), "the refusal", PATIENCE_S)
    wait_until(lambda: "degraded" in state_of(a)[1], "health tells")
    assert state_of(a)[0] == 200
    # Who is here stays, and who comes may join: with what this node knows.
    assert client.request(type="ping")["type"] == "ok"
    with a.connect(mint(**EVERYTHING)) as late:
        assert late.subscribe("r:1", history=5)[0]["seq"]["alert"] >= 1
    begun, cpu = time.monotonic(), a.cpu_s()
    time.sleep(3)
    share = (a.cpu_s() - cpu) / (time.monotonic() - begun)
    assert share < 0.2, f"it takes {share:.0%} of a core to wait"
    redis.start() if fail == "kill" else redis.go_on()
    back_s = wait_s(lambda: is_back(b), "the next publish", PATIENCE_S)
    wait_until(lambda: is_back(a), "the other node's", PATIENCE_S)
    wait_until(lambda: "ready" in state_of(a)[1], "health tells")
    figures(f"redis {fail}", told_s=round(told_s, 2), back_s=round(back_s, 2), cpu_share=round(share, 3))
    assert told_s < 10 and back_s < 10


def test_a_redis_that_hangs_is_told_in_words(tmp_path):
    """ERR-01: what takes the connection and says nothing: what, where, and what it may be, instead of a number."""
    (tmp_path / "jwt.key").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "127.0.0.1:{}".format(silent.getsockname()[1])
        command = [BINARY, "serve", "--jwt-key", tmp_path / "jwt.key", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis", f"redis://{address}"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 1 and "no answer in time" in ended.stderr and address in ended.stderr and "os error" not in ended.stderr, ended.stderr


def test_a_restart_of_redis_that_loses_nothing_loses_nothing(node, redis):  # noqa: F811
    """SCL-07: another run of Redis is another epoch; a position in the former one is resumed in full."""
    a, b = node(), node()
    client = a.member("r:1", token=mint(**EVERYTHING))
    epoch = a.publish(*[note("r:1", "alert", data={"n": n}) for n in range(10)])[0]["epoch"]
    assert seqs([client.recv() for _ in range(10)]) == list(range(1, 11))
    redis.restart()
    messages, code = client.until_closed(PATIENCE_S)
    assert (code, alerts(messages)) == (4202, [])
    wait_until(lambda: is_back(b), "Redis is back", PATIENCE_S)
    wait_until(lambda: b.metrics()["tickerd_redis_resyncs_total"] >= 16, "b has the new epoch", PATIENCE_S)
    answer, frames = b.connect(mint(**EVERYTHING)).subscribe("r:1", since={"epoch": epoch, "seq": {"alert": 8}})
    assert answer["recovered"] is True and answer["epoch"] != epoch and "rewound" not in answer
    assert seqs(frames)[:2] == [9, 10]


def test_what_redis_has_lost_is_told(node, redis):  # noqa: F811
    """DLV-13: every event that is lost is in a gap, or beyond the end that a client is sent back to."""
    a, b = node(), node()
    client = a.member("r:1", token=mint(**EVERYTHING))
    epoch = a.publish(*[note("r:1", "alert", data={"n": n}) for n in range(10)])[0]["epoch"]
    assert seqs([client.recv() for _ in range(10)]) == list(range(1, 11))
    redis.ask("FLUSHALL")
    assert client.close_code(PATIENCE_S) == 4202
    wait_until(lambda: is_back(b), "Redis is back", PATIENCE_S)
    wait_until(lambda: b.metrics()["tickerd_redis_resyncs_total"] >= 16, "b has the new epoch", PATIENCE_S)
    answer, frames = b.connect(mint(**EVERYTHING)).subscribe("r:1", since={"epoch": epoch, "seq": {"alert": 10}})
    gap = next(frame for frame in frames if frame["type"] == "gap")
    assert (answer["recovered"], gap["from"], gap["to"]) == (False, 11, None)
    assert answer["epoch"] != epoch and seqs(frames)[0] == 1


def test_states_go_on_after_redis_was_away(node, redis):  # noqa: F811
    """The last value comes to every node."""
    a, b = node(), node()
    client = b.member("challenge:x", token=mint(**EVERYTHING))
    a.publish(equity("x", equity="1.00"))
    assert client.recv()["data"]["equity"] == "1.00"
    redis.kill()
    wait_until(lambda: is_gone(a), "the refusal", PATIENCE_S)
    redis.start()
    wait_until(lambda: is_back(a), "Redis is back", PATIENCE_S)
    a.publish(equity("x", equity="2.00"))
    wait_until(lambda: b.metrics()["tickerd_redis_resyncs_total"] >= 16, "b has the new epoch", PATIENCE_S)
    _, frames = b.connect(mint(**EVERYTHING)).subscribe("challenge:x")
    if not frames:
        frames = [client.recv()]
    assert frames[-1]["data"]["equity"] in ("1.00", "2.00")
    wait_until(lambda: newest(b) == "2.00", "the last value")


def newest(daemon):
    with daemon.connect(mint(**EVERYTHING)) as client:
        return client.subscribe("challenge:x")[1][-1]["data"]["equity"]


def test_states_and_local_rooms_go_on_without_redis(node, redis, tmp_path):  # noqa: F811
    """SCL-09: what changed on a node while Redis was away comes to the others when it is back, the newest version winning."""
    config = tmp_path / "local.toml"
    config.write_text(LOCAL_CATALOG)
    a, b = node(config=config), node(config=config)
    members = [daemon.member("challenge:x", "desk:1", token=mint(**EVERYTHING)) for daemon in (a, b)]
    a.publish(equity("x", equity="1.00") | {"version": 1})
    assert [member.recv()["data"]["equity"] for member in members] == ["1.00", "1.00"]
    assert a.publish({"type": "desk.alert", "data": {"desk": "1"}})[0]["ack"] == "memory"
    assert members[0].recv()["type"] == "desk.alert"
    redis.stall()
    wait_until(lambda: is_gone(a) and is_gone(b), "the refusals", PATIENCE_S)
    assert a.publish(equity("x", equity="2.00") | {"version": 7})[0]["rev"] == 2
    assert b.publish(equity("x", equity="3.00") | {"version": 5})[0]["rev"] == 2
    assert [member.recv()["data"]["equity"] for member in members] == ["2.00", "3.00"]
    for n in range(3):
        a.publish(note("challenge:x", "alert", "transient", n), {"type": "desk.alert", "data": {"desk": "1", "n": n}})
        assert [members[0].recv()["type"] for _ in range(2)] == ["note", "desk.alert"]
    redis.go_on()
    wait_until(lambda: newest(a) == newest(b) == "2.00", "the newest version is everywhere", PATIENCE_S)
    came = members[1].recv()
    while came["data"].get("equity") != "2.00":
        came = members[1].recv()
    assert came["rev"] > 2
    assert b.publish(equity("x", equity="4.00") | {"version": 8})[0]["rev"] > came["rev"] - 1
    for member in members:
        while member.recv()["data"].get("equity") != "4.00":
            pass


LOCAL_CATALOG = """
[[catalog]]
type = "desk.alert"
room = "desk:{desk}"
lane = "alert"
mode = "stream"
local = true
"""
