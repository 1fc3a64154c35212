"""Rooms of operators: what they see of the daemon as it happens, and who may."""

import time

from harness import mint, note, wait_until

OPERATOR = {"sub": "op", "scope": "admin"}


def test_operators_see_stats_and_health_each_second_while_they_are_there(daemon):
    """AUT-11, OBS-10, QTE-10: with the scope `admin`, and no pattern; what /v1/stats and /healthz say."""
    seen = daemon.metrics()["tickerd_encoded_total"]
    operator = daemon.connect(mint(**OPERATOR))
    operator.subscribe("system:alerts")
    assert daemon.metrics()["tickerd_encoded_total"] == seen, "nobody was in the rooms"
    operator.subscribe("admin:stats")
    first = operator.recv_type("admin_stats")
    second = operator.recv_type("admin_stats")
    assert (first["room"], first["lane"], "seq" in first, "rev" in first) == ("admin:stats", "metric", False, False)
    assert 500 <= second["data"]["ts"] - first["data"]["ts"] <= 3_000
    assert second["data"]["connections"] == 1 and "60s" in second["data"]["windows"]
    operator.subscribe("admin:health")
    health = operator.recv_type("admin_health")["data"]
    assert health["state"] == "ready" and {"hub", "memory"} <= {component["name"] for component in health["components"]}
    for room in ("admin:stats", "admin:health"):
        operator.request(type="unsubscribe", room=room)
    wait_until(lambda: encoded_in_a_while(daemon) == 0, "nothing is made for nobody", 15)


def encoded_in_a_while(daemon):
    before = daemon.metrics()["tickerd_encoded_total"]
    time.sleep(2.2)
    return daemon.metrics()["tickerd_encoded_total"] - before


def test_nobody_else_joins_them_or_speaks_there(daemon1):
    """ROM-02, X14: neither who may publish, nor who has all rooms that a star opens; and publishing takes the scope `broadcast`."""
    for claims in ({"rooms": ["*"]}, {"scope": "publish broadcast"}, {"rooms": ["system:*"]}, {"scope": "administrator"}):
        with daemon1.connect(mint("u1", **claims)) as client:
            for room in ("admin:stats", "admin:health", "admin:x"):
                assert client.refused(type="subscribe", room=room) == "access_denied", (claims, room)
    with daemon1.connect(mint("u1", rooms=["admin:stats"])) as client:
        client.subscribe("admin:stats")
    with daemon1.connect(mint(**OPERATOR)) as operator:
        assert operator.refused(type="subscribe", room="system:acks") == "access_denied", "the scope opens no more than it says"
    for scope, is_allowed in (("publish", False), ("publish broadcast", True)):
        status, _ = daemon1.publish_http(note("admin:desk", "alert"), mint("b", scope=scope))
        assert (status == 200) == is_allowed, scope


def test_a_narrower_token_ends_it(daemon1):
    """AUT-06: a fresh token without the scope is no operator's any more."""
    operator = daemon1.connect(mint(**OPERATOR))
    operator.subscribe("admin:health")
    assert operator.request(type="auth", token=mint("op"))["type"] == "ok"
    assert operator.recv_type("unsubscribed")["room"] == "admin:health"
