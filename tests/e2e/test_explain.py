"""Why does a user not get a room? Each cause by itself, and the answer that names it."""

import json
import subprocess
import time
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
    """OBS-27: `tickerd explain` asks the daemon, and says it in words; its exit code is the verdict, or says that there is none."""
    daemon = serve()
    daemon.publish(risk_alert("c1", "u1"))
    admin = "{}:{}".format(*daemon.admin)
    asked = run("--user", "u1", "--room", "challenge:c1", "--admin", admin)
    assert asked.returncode == 0 and asked.stdout.startswith("may_join: "), asked
    assert "the user owns the room" in asked.stdout
    raw = run("--user", "u1", "--room", "challenge:c1", "--admin", admin, "--json")
    assert json.loads(raw.stdout)["verdict"] == "may_join"
    assert run("--user", "u2", "--room", "challenge:c1", "--admin", admin).returncode == 4, "it is not known"
    assert run("--user", "u1", "--room", "no room", "--admin", admin).returncode == 3
    nobody = run("--user", "u1", "--room", "r", "--admin", "127.0.0.1:1")
    assert nobody.returncode == 1 and "is the daemon running" in nobody.stderr
    assert run("--room", "r", "--admin", admin).returncode == 2
    # The address is the configuration's, unless it is given.
    config = tmp_path / "tickerd.toml"
    config.write_text(f'admin_listen = "{admin}"\n')
    assert run("--user", "u1", "--room", "challenge:c1", "--config", config).returncode == 0
    config.write_text('admin_listen = "nowhere"\n')
    bad = run("--user", "u1", "--room", "challenge:c1", "--config", config)
    assert bad.returncode == 2 and "admin_listen" in bad.stderr and "tickerd.toml:1" in bad.stderr, bad


def test_the_verdict_is_of_the_token_that_is_given(serve, tmp_path):
    """OBS-27, AUT-07: patterns, owner, expiry, and revocation by id and by user decide what `--token-file` gets, whoever is connected; the token itself
    does not reach the daemon, and a token that is refused here needs none."""
    daemon = serve()
    daemon.publish(risk_alert("c1", "u1"))
    admin = "{}:{}".format(*daemon.admin)
    key, file = tmp_path / "jwt.key", tmp_path / "token"
    key.write_text(SECRET)

    def verdict(room, admin=admin, **claims):
        file.write_text(mint(**claims))
        found = run("--token-file", file, "--jwt-key", key, "--room", room, "--admin", admin)
        return found.returncode, found.stdout + found.stderr

    code, said = verdict("challenge:c1", sub="u2", rooms=["challenge:c1"], jti="t 2")
    assert code == 0 and "may_join: a pattern of the token allows the join" in said and "belongs to u1" in said, said
    assert verdict("challenge:c1", sub="u1", rooms=[])[0] == 0, "it owns the room"
    assert verdict("challenge:c1", sub="u2", rooms=["challenge:c2"])[0] == 3
    assert verdict("user:u2", sub="u2", rooms=[])[0] == 0, "its own"
    code, said = verdict("challenge:c1", sub="u2", rooms=["challenge:*"], exp=int(time.time()) - 60)
    assert code == 3 and "past its `exp`" in said, said
    code, said = verdict("challenge:c1", sub="u2", rooms=["challenge:*"], exp=int(time.time()) - 60, admin="127.0.0.1:1")
    assert code == 3, "no daemon is needed for that"
    assert verdict("challenge:c1", sub="u2", rooms=["challenge:*"], admin="127.0.0.1:1")[0] == 1, "but for all else"
    # A connection with another token does not speak for this one.
    with daemon.connect(mint(sub="u2", rooms=["challenge:c1"], jti="other")) as client:
        client.subscribe("challenge:c1")
        assert explain(daemon, "u2", "challenge:c1")["verdict"] == "member"
        assert verdict("challenge:c1", sub="u2", rooms=["challenge:c1"])[0] == 0
        assert verdict("challenge:c1", sub="u2", rooms=["challenge:c2"])[0] == 3
        assert http_json(daemon, "/v1/revoke", {"jti": "t 2"}) == 200
        code, said = verdict("challenge:c1", sub="u2", rooms=["challenge:c1"], jti="t 2")
        assert code == 3 and "may_not: the token was revoked" in said, said
    now = int(time.time())
    assert http_json(daemon, "/v1/revoke", {"sub": "u1", "before": now - 10}) == 200
    assert verdict("challenge:c1", sub="u1", rooms=[], iat=now - 60)[0] == 3
    assert verdict("challenge:c1", sub="u1", rooms=[], iat=now)[0] == 0


def test_what_is_told_of_a_token_is_checked(serve):
    """LIM-05: half of a token is refused, with what is missing."""
    daemon = serve()
    for query, says in (("pattern=yes", "`exp`"), ("exp=1", "`pattern`"), ("jti=a", "`pattern`"), ("pattern=maybe&exp=1", "yes or no"), ("pattern=yes&exp=x", "Unix seconds")):
        status, _, body = http_request(daemon.admin, "GET", f"/v1/explain?user=u1&room=r&{query}")
        assert status == 400 and says in body.decode(), (query, body)
    status, _, body = http_request(daemon.admin, "GET", "/v1/explain?user=u1&room=r&pattern=yes&exp=1")
    assert status == 200 and json.loads(body)["verdict"] == "may_not", "it has ended"


def http_json(daemon, path, body):
    return http_request(daemon.admin, "POST", path, json.dumps(body), {"Content-Type": "application/json"})[0]
