"""The digest of a room's states: what a client holds is what the server has, and where it is not, that shows."""

import shutil
import subprocess
from pathlib import Path

import pytest
from harness import equity, mint, wait_until

MASK = (1 << 64) - 1
CLIENT = Path(__file__).resolve().parents[2] / "src" / "web" / "client.js"


def hash_of(kind, key, rev):
    """By the words of README: FNV-1a, then fmix64."""
    value = 0xCBF29CE484222325
    for byte in f"{kind}\n{key}\n{rev}".encode():
        value = (value ^ byte) * 0x100000001B3 & MASK
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor & MASK
    return value ^ value >> 33


def digest_of(states):
    return f"{sum(hash_of(kind, key, rev) for (kind, key), rev in states.items()) & MASK:016x}"


class Holder:
    """A client that holds a room's states, as README says."""

    def __init__(self, client, room):
        self.client, self.room, self.states = client, room, {}
        self.take(client.subscribe(room)[1])

    def take(self, frames):
        for frame in frames:
            name = frame["type"], frame.get("key", "")
            if frame.get("deleted"):
                self.states.pop(name, None)
            elif "rev" in frame:
                self.states[name] = frame["rev"]

    def ask(self):
        """The answer, and whether what is held is that."""
        answer = self.client.request(type="snapshot", room=self.room, digest=True)
        assert answer["type"] == "ok", answer
        self.take(self.client.pending)
        self.client.pending.clear()
        return answer, (len(self.states), digest_of(self.states)) == (answer["keys"], answer["digest"])


def account(user, symbol, n):
    return {"type": "position.update", "room": "account:a", "data": {"symbol": symbol, "user_id": user, "n": n}}


def test_the_vectors():
    """The same as in the tests of the daemon and of client.js."""
    assert digest_of({("EQUITY_UPDATED", "8f"): 907}) == "1e4ad76ec3dea3c5"
    assert digest_of({("EQUITY_UPDATED", "8f"): 907, ("quote_state", ""): 1}) == "bc5e00506722253e"


def test_it_is_of_what_the_client_has(daemon):
    """MET-04, DLV-06: of several keys, over changes, conflation, deletions and a resume; and a wrong state shows."""
    client = daemon.connect(mint("u1", rooms=["account:a"]))
    daemon.publish(*[account("u1", f"S{n}", 0) for n in range(20)])
    holder = Holder(client, "account:a")
    answer, is_same = holder.ask()
    assert is_same and answer["keys"] == 20 and answer["room"] == "account:a"
    for n in range(1, 200):
        daemon.publish(account("u1", f"S{n % 20}", n))
    daemon.publish({"type": "position.update", "room": "account:a", "key": "S3", "data": None})
    wait_until(lambda: holder.ask()[1] and ("position.update", "S3") not in holder.states, "the last change has come")
    assert len(holder.states) == 19
    right = dict(holder.states)
    for corrupt in ({("position.update", "S1"): 1}, {("position.update", "S3"): 1}, {("position.update", "S4"): None}):
        holder.states = {name: rev for name, rev in (right | corrupt).items() if rev is not None}
        assert not holder.ask()[1], corrupt
    holder.states = right
    assert holder.ask()[1]


def test_it_is_for_members_and_costs_as_a_snapshot(daemon1):
    """ROM-02, LIM-01: no other room's; with the error of each command; over and over it is limited."""
    daemon1.publish(equity("c1", user="u1"))
    client = daemon1.connect(mint("u2"))
    assert client.refused(type="snapshot", room="challenge:c1", digest=True) == "not_member"
    assert client.refused(type="snapshot", room="challenge:c1", digest="yes") == "invalid_field"
    assert "digest" in client.welcome["data"]["capabilities"]
    owner = daemon1.connect(mint("u1"))
    owner.subscribe("challenge:c1")
    answers = [owner.request(type="snapshot", room="challenge:c1", digest=True) for _ in range(60)]
    assert {answer.get("name") for answer in answers} == {None, "rate_limited"}


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_client_js_finds_a_corrupted_state(daemon1, tmp_path):
    """The client itself, over a real connection: all is well; then a key of it is lost, one is old, and one is not the server's."""
    daemon1.publish(*[account("u1", f"S{n}", n) for n in range(3)])
    script = tmp_path / "verify.mjs"
    script.write_text(SCRIPT % (CLIENT.as_uri(), *daemon1.address, mint("u1", rooms=["account:a"])))
    # Node 20 has WebSocket behind a flag, later ones without.
    version = int(subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip().lstrip("v").split(".")[0])
    flags = ["--experimental-websocket"] if version < 22 else []
    out = subprocess.run(["node", *flags, script], capture_output=True, text=True, timeout=30)
    assert out.stdout.split() == ["true:3", "false:2", "false:3", "false:4", "true:3"], out.stdout + out.stderr


SCRIPT = """
import { connect } from "%s";
const client = connect({ url: "ws://%s:%s/v1/ws", token: "%s" });
const room = client.room("account:a");
await new Promise((resolve) => room.on("change", () => room.view.status === "live" && resolve()));
const said = [];
const check = async () => {
  const { matches, keys } = await room.verify();
  said.push(`${matches}:${keys}`);
};
await check();
const states = room.record.states;
const [id, state] = [...states][1];
states.delete(id);
await check();
states.set(id, { ...state, rev: state.rev + 1 });
await check();
states.set(id, state).set("position.update\\nX", { ...state, key: "X" });
await check();
states.delete("position.update\\nX");
await check();
console.log(said.join(" "));
client.close();
"""
