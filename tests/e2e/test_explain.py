"""Why does a user not get a room? Each cause by itself, and the answer that names it."""

import json
import subprocess
from urllib.parse import quote

from harness import BINARY, SECRET, http_request, mint, risk_alert, wait_until


def explain(daemon, user, room):
    status, _, body = http_request(daemon.admin, "GET", f"/v1/explain?user={quote(user)}&room={quote(room)}")
    assert status == 200, body
    return json.loads(body)


def rulings(rules):
    return {rule["rule"]: rule["ruling"] for rule in rules}


def test_who_is_not_connected_is_explained_by_owner(serve):
    """OBS-27: no connection: the owner may join; of others the token is not known; what is no room is told."""
    daemon = serve()
    assert explain(daemon, "u1", "challenge:c1")["verdict"] == "unknown"
    daemon.publish(risk_alert("c1", "u1"))
    owner, other = explain(daemon, "u1", "challenge:c1"), explain(daemon, "u2", "challenge:c1")
    assert (owner["verdict"], rulings(owner["rules"])["owner"], other["verdict"], rulings(other["rules"])["owner"]) == ("may_join", "yes", "unknown", "no")
    assert owner["room_now"]["owner"] == "u1" and owner["room_now"]["seq"]["alert"] == 1 and owner["room_now"]["members"] == 0
    bad = explain(daemon, "u1", "no room")
    assert (bad["verdict"], rulings(bad["rules"])["room_name"], bad["room_now"]) == ("may_not", "no", None)
    for query in ("", "?user=u1", "?room=r", "?user=u1&room=r&x=1"):
        assert http_request(daemon.admin, "GET", f"/v1/explain{query}")[0] == 400


def test_who_is_connected_is_explained_by_token_and_membership(serve, tmp_path):
    """OBS-27, ROM-02: what decides is what a join meets: a member, one who may be, one who may not, and what the audit trail has of that."""
    daemon = serve(data_dir=tmp_path / "data")
    with daemon.connect(mint(sub="u1", rooms=["challenge:c1"])) as client:
        may = explain(daemon, "u1", "challenge:c1")
        assert may["verdict"] == "may_join" and rulings(may["connections"][0]["rules"])["pattern"] == "yes"
        may_not = explain(daemon, "u1", "challenge:c2")
        assert may_not["verdict"] == "may_not" and rulings(may_not["connections"][0]["rules"]) == {
            "membership": "no", "revocation": "yes", "expiry": "yes", "pattern": "no", "denied_joins": "yes", "rooms_of_connection": "yes", "memory": "yes",
        }  # fmt: skip
        assert client.refused(type="subscribe", room="challenge:c2") == "access_denied"
        refusals = wait_until(lambda: explain(daemon, "u1", "challenge:c2")["refusals"], "the audit trail has it")
        assert (refusals[0]["kind"], refusals[0]["reason"], refusals[0]["room"]) == ("deny", "access_denied", "challenge:c2")
        client.subscribe("challenge:c1")
        member = explain(daemon, "u1", "challenge:c1")
        assert member["verdict"] == "member" and rulings(member["connections"][0]["rules"])["membership"] == "yes"
        assert member["room_now"]["members"] == 1
        # Too many denied joins stand in the way of the owner too.
        daemon.publish(risk_alert("c3", "u1"))
        assert explain(daemon, "u1", "challenge:c3")["verdict"] == "may_join"
        while client.request(type="subscribe", room="challenge:c2")["name"] != "rate_limited":
            pass
        limited = explain(daemon, "u1", "challenge:c3")
        assert limited["verdict"] == "may_not" and "too many joins were denied" in limited["because"]
        assert client.request(type="subscribe", room="challenge:c3")["name"] == "rate_limited", "as it says"


def run(*arguments):
    return subprocess.run([BINARY, "explain", *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False)


def test_the_command_says_it_in_words(serve, tmp_path):
    """OBS-27: `tickerd explain` asks the daemon; with a token file and its key it looks at the token too, also without a daemon."""
    daemon = serve()
    daemon.publish(risk_alert("c1", "u1"))
    admin = "{}:{}".format(*daemon.admin)
    asked = run("--user", "u1", "--room", "challenge:c1", "--admin", admin)
    assert asked.returncode == 0 and asked.stdout.startswith("may_join: "), asked
    assert "the user owns the room" in asked.stdout
    token, key = tmp_path / "u2.token", tmp_path / "jwt.key"
    token.write_text(mint(sub="u2", rooms=["challenge:c1"]))
    key.write_text(SECRET)
    with_token = run("--token-file", token, "--jwt-key", key, "--room", "challenge:c1", "--admin", admin)
    assert with_token.returncode == 0 and "its patterns allow the room" in with_token.stdout and "belongs to u1" in with_token.stdout, with_token
    raw = run("--user", "u1", "--room", "challenge:c1", "--admin", admin, "--json")
    assert json.loads(raw.stdout)["verdict"] == "may_join"
    alone = run("--token-file", token, "--jwt-key", key, "--room", "challenge:c9", "--admin", "127.0.0.1:1")
    assert alone.returncode == 0 and "no pattern of it matches" in alone.stdout and "is not asked" in alone.stdout, alone
    nobody = run("--user", "u1", "--room", "r", "--admin", "127.0.0.1:1")
    assert nobody.returncode == 1 and "is the daemon running" in nobody.stderr
    assert run("--room", "r").returncode == 2
