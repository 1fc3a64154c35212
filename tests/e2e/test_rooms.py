"""Who may join what, and what others learn of it: nothing."""

import pytest

from harness import equity, mint, note, risk_alert, wait_until


def test_default_is_deny(daemon1):
    """ROM-02, X24: no pattern, no owner, no entry."""
    client = daemon1.connect(mint("u1"))
    for room in ("challenge:c1", "quote:1", "system:alerts", "admin:x", "user:u2", "console:main"):
        assert client.refused(type="subscribe", room=room) == "access_denied", room


def test_foreign_and_missing_rooms_look_alike(daemon):
    """ROM-03: "not yours" and "no such room" are the same bytes, before and after the room has events."""
    daemon.publish(risk_alert("aaaa", user="u1"))
    texts = set()
    for room in ("challenge:aaaa", "challenge:bbbb"):
        with daemon.connect(mint("u2")) as stranger:
            error = stranger.request(type="subscribe", room=room)
            assert (error["type"], error["code"], error["name"], error["category"]) == ("error", 103, "access_denied", "permission")
            texts.add(error.text.replace(room, "ROOM"))
    assert len(texts) == 1


def test_a_denied_join_is_nobody_elses_business(daemon):
    """ERR-11, ROM-03 (the predecessor's D1): the error reaches the asking connection alone."""
    member = daemon.member("challenge:c1", token=mint("u1", rooms=["challenge:c1"]))
    same_user = daemon.connect(mint("u2"))
    asking = daemon.connect(mint("u2"))
    assert asking.refused(type="subscribe", room="challenge:c1") == "access_denied"
    assert member.everything(daemon) == []
    assert same_user.everything(daemon) == []
    daemon.publish(risk_alert("c1", user="u1"))
    assert member.recv()["type"] == "RISK_ALERT"
    assert asking.everything(daemon) == [], "a denied join is no membership"


def test_the_owner_may_join_once_the_backend_has_named_it(daemon1):
    """ROM-02 (b): the first event's `user_id` makes the owner; nobody before, nobody else after."""
    owner, other = daemon1.connect(mint("u1")), daemon1.connect(mint("u2"))
    assert owner.refused(type="subscribe", room="challenge:c1") == "access_denied"
    daemon1.publish(equity("c1", user="u1", n=1))
    subscribed, frames = owner.subscribe("challenge:c1")
    assert subscribed["room"] == "challenge:c1"
    assert [frame["data"]["n"] for frame in frames] == [1]
    assert other.refused(type="subscribe", room="challenge:c1") == "access_denied"


def test_the_first_owner_sticks(daemon1):
    """ROM-02: another `owner` or `user_id` is a conflict and changes nothing."""
    daemon1.publish(equity("c1", user="u1"))
    for event in (equity("c1", user="u2"), risk_alert("c1", user="u2"), note("challenge:c1", owner="u2")):
        [answer] = daemon1.publish_unix(event)
        assert (answer["ok"], answer["name"]) == (False, "owner_conflict")
    assert daemon1.connect(mint("u2")).refused(type="subscribe", room="challenge:c1") == "access_denied"


@pytest.mark.parametrize(
    ("sub", "room"), [("u1", "user:u1"), ("a@b.example", "user:a%40b.example"), ("x:y", "user:x%3Ay"), ("ü", "user:%C3%BC")]
)
def test_the_room_of_ones_own_user(daemon1, sub, room):
    """QTE-11: `user:{sub}`, percent-encoded, is always one's own, and no other's."""
    client, other = daemon1.connect(mint(sub)), daemon1.connect(mint("other", rooms=["*"]))
    client.subscribe(room)
    assert other.refused(type="subscribe", room=room) == "access_denied"
    daemon1.publish({"type": "notification", "event_id": "hello", "data": {"user_id": sub, "text": "hello"}})
    assert client.recv()["data"]["text"] == "hello"


@pytest.mark.parametrize(
    ("patterns", "room", "allowed"),
    [
        (["*"], "challenge:c1", True),
        (["*"], "user:u2", False),
        (["*"], "system:alerts", False),
        (["*"], "admin:audit", False),
        (["user:*"], "user:u2", True),
        (["system:*"], "system:alerts", True),
        (["system:alerts"], "system:alerts", True),
        (["sys*"], "system:alerts", False),
        (["quote:*"], "quote:42", True),
        (["quote:4*"], "quote:42", True),
        (["quote:4*"], "quote:52", False),
        (["quote:42"], "quote:42", True),
        (["quote:42"], "quote:421", False),
        (["Quote:42"], "quote:42", False),
        ([], "quote:42", False),
        (["a:1", "b:2"], "b:2", True),
    ],
)
def test_patterns(daemon1, patterns, room, allowed):
    """ROM-02 (a): exact, or `*` at the end, which reaches `user:`, `system:` and `admin:` only where they are written out."""
    answer = daemon1.connect(mint("u1", rooms=patterns)).request(type="subscribe", room=room)
    assert answer["type"] == ("subscribed" if allowed else "error"), answer


def test_room_names_are_identifiers(daemon1):
    """LIM-05: anything else is a bad command, not a room."""
    client = daemon1.connect(mint("u1", rooms=["*"]))
    for room in ("", "a b", "a/b", "ä", "a" * 201, 7, None, ["a"]):
        assert client.refused(type="subscribe", room=room) == "invalid_field", room
        client.request(type="ping")  # a good command between: bad ones in a row end the connection
    client.subscribe("a" * 200)


def test_leaving(daemon):
    """ROM-06, DLV-19: after the `ok` of an unsubscribe no frame of the room follows; leaving what one is not in is fine."""
    client = daemon.member("r:1", "r:2")
    daemon.publish(*[note("r:1", data={"n": n}) for n in range(200)])
    answer = client.request(type="unsubscribe", room="r:1")
    assert answer["type"] == "ok"
    client.pending.clear()  # what came before the ok
    daemon.publish(note("r:1"), note("r:2"))
    assert [frame["room"] for frame in client.everything(daemon)] == ["r:2"]
    assert client.request(type="unsubscribe", room="r:1")["type"] == "ok"
    assert client.request(type="unsubscribe", room="never:joined")["type"] == "ok"


def test_rooms_per_connection_are_limited(daemon1):
    """LIM-07: `too_many_rooms`, at the number that `welcome` tells; leaving one makes place for another."""
    client = daemon1.connect(mint("u1", rooms=["*"]))
    most = client.welcome["data"]["limits"]["rooms"]
    for number in range(most):
        client.subscribe(f"r:{number}")
    assert client.refused(type="subscribe", room="r:more") == "too_many_rooms"
    client.request(type="unsubscribe", room="r:0")
    client.subscribe("r:more")


def test_membership_ends_with_the_connection(daemon):
    """ROM-07: the publisher's `members` counts those who are there."""
    stays, goes = daemon.member("r:1"), daemon.member("r:1")
    assert daemon.publish(note("r:1"))[0]["members"] == 2
    goes.close()
    wait_until(lambda: daemon.publish(note("r:1"))[0]["members"] == 1, "the membership has ended")
    stays.close()


def test_a_reused_slot_hears_nothing_of_its_former_owner(daemon):
    """ARC-06, ARC-07, promise 3: connections come and go in the same slots while their rooms are busy."""
    for round_number in range(30):
        former = daemon.member(f"a:{round_number}", token=mint("u1", rooms=["a:*"]))
        daemon.publish(*[note(f"a:{round_number}", lane, data={"n": n}) for n in range(20) for lane in ("alert", "update")])
        former.websocket.socket.close()
        with daemon.connect(mint("u2", rooms=["b:*"])) as newcomer:
            newcomer.subscribe(f"b:{round_number}")
            daemon.publish(note(f"a:{round_number}", "alert"), note(f"b:{round_number}", "alert"))
            rooms = {frame["room"] for frame in newcomer.everything(daemon)}
            assert rooms == {f"b:{round_number}"}


def test_publishing_gives_nobody_anothers_room(daemon1):
    """Found by an attack: an `owner` named in a publish must not open `user:`, `system:` or `admin:` rooms."""
    for room in ["user:newbie", "admin:x", "system:alerts"]:
        [answer] = daemon1.publish_unix(note(room, lane="alert", owner="mal"))
        assert (answer["ok"], answer["name"]) == (False, "owner_conflict"), answer
    [answer] = daemon1.publish_unix({"type": "notification", "event_id": "n1", "data": {"user_id": "newbie"}})
    assert answer["ok"] and answer["room"] == "user:newbie"
    client = daemon1.connect(mint("mal"))
    assert client.refused(type="subscribe", room="user:newbie") == "access_denied"
