"""Deltas: merge patches (RFC 7396) for those who ask for them, applied here by code of its own."""

import collections
import json
import random
from decimal import Decimal

import pytest
from harness import figures, mint, note
from wire import TEXT, RawClient

ROOM = "r:1"


def merge_patch(target, patch):
    """By the letter of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


class Number(str):
    """A number's own text: 1.0 is not 1.00."""


def read(text):
    return json.loads(text, parse_float=Number, parse_int=Number)


def canonical(value):
    """Members in order; a number is not what a string of the same digits is."""
    if isinstance(value, dict):
        return {name: canonical(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [canonical(element) for element in value]
    return ("number", str(value)) if isinstance(value, Number) else value


class States:
    """What a client of deltas keeps: the data of each key, and its rev."""

    def __init__(self):
        self.states, self.deltas, self.fulls = {}, 0, 0

    def take(self, text):
        message = read(text)
        key = message["type"], message.get("key", "")
        if "patch" in message:
            rev, data = self.states[key]
            assert message["base"] == rev, "a delta on what this client does not have"
            assert text.endswith("}}") and '"data"' not in text.split('"patch":')[0]
            self.states[key] = message["rev"], merge_patch(data, message["patch"])
            self.deltas += 1
        elif message.get("deleted"):
            self.states[key] = message["rev"], None
        else:
            self.states[key] = message["rev"], message["data"]
            self.fulls += 1

    def data(self, kind, key=""):
        return canonical(self.states[kind, key][1])


def desk_state(turn):
    """An account's positions and orders by id, of which each turn changes a few."""
    pick = random.Random(turn // 7)
    positions = {f"EURUSD-{n}": {"qty": f"{n}.00", "pnl": "0.10", "open": True} for n in range(8)}
    positions[f"EURUSD-{pick.randrange(8)}"]["pnl"] = f"{turn}.50"
    orders = {f"o{n}": {"price": "1.0850", "left": n} for n in range(turn % 5)}
    return {"equity": f"{100000 + turn}.25", "rate": Decimal(turn) / 8, "positions": positions, "open_orders": orders}


def line(data, room=ROOM, key="k", **members):
    """A publish line whose numbers have the text that is given."""
    event = note(room, "update", "state", data={}, key=key, **members)
    raw = json.dumps(data, default=lambda number: f"\0{number}\0").replace('"\\u0000', "").replace('\\u0000"', "")
    return (json.dumps(event | {"data": "\0data"}).replace('"\\u0000data"', raw)).encode(), raw


def member(daemon, *, delta=True, **options):
    client = RawClient(daemon.address, mint(rooms=["*"]), **options)
    client.subscribe(ROOM, delta=delta)
    return client


def take_until(client, states, last_rev, deadline_s=30):
    """Reads until the state of that rev has come."""
    while not any(rev == str(last_rev) for rev, _ in states.states.values()):
        opcode, payload = client.next_frame(deadline_s)
        if opcode == TEXT and b'"rev":' in payload:
            states.take(payload.decode())


@pytest.mark.parametrize("compression", [False, True])
def test_a_client_that_patches_has_the_publishers_state(serve, reactors, compression):
    """DLV-06, KAL-22, ARC-01: every delta is on what the client has; patched, its state is the publisher's, number for number. Who did not ask gets no delta."""
    daemon = serve(reactors=reactors, update_window="0s", compression=compression or None)
    offer = {"Sec_WebSocket_Extensions": "permessage-deflate"} if compression else {}
    clients = [(member(daemon, delta=delta, **offer), States()) for delta in (True, True, False)]
    for turn in range(1, 201):
        text, raw = line(None if turn == 100 else desk_state(turn))
        (answer,) = daemon.publish(text)
        for client, states in clients:
            take_until(client, states, answer["rev"])
            assert states.data("note", "k") == canonical(read(raw)), turn
    (_, first), (_, second), (_, plain) = clients
    assert first.deltas == second.deltas >= 190 and first.fulls <= 9
    assert plain.deltas == 0 and plain.fulls == 199
    sent, saved = daemon.metric("delta_frames_total"), daemon.metric("delta_saved_bytes_total")
    assert sent == 2 * first.deltas and saved > 0
    full_bytes = sum(len(line(desk_state(turn))[1]) for turn in range(1, 201))
    figures(f"deltas, compression {compression}", deltas=int(sent), saved_share=round(saved / (2 * full_bytes), 3), full_bytes=round(full_bytes / 200))
    for client, _ in clients:
        client.socket.close()


class Trades:
    """A desk's accounts: each trade changes what the challenge is worth, and one position of the account."""

    SYMBOLS = ["EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "US500", "NAS100", "BTCUSD", "ETHUSD"]

    def __init__(self, challenges):
        self.pick = random.Random(7)
        self.equity = [Decimal("100000.00")] * challenges
        self.trades = [0] * challenges
        start = {"quantity": "0", "average_price": "0.00", "unrealized_pnl": "0.00", "margin": "0.00", "opened_at": "2026-11-20T14:03:00.123Z"}
        self.positions = [{symbol: dict(start) for symbol in self.SYMBOLS} for _ in range(challenges)]

    def trade(self):
        """What is published of one."""
        n = self.pick.randrange(len(self.equity))
        before, self.trades[n] = self.equity[n], self.trades[n] + 1
        gain = Decimal(self.pick.randrange(-50_000, 52_000)) / 100
        self.equity[n] = before + gain
        at = f"2026-11-20T14:{self.trades[n] // 60 % 60:02}:{self.trades[n] % 60:02}.456Z"
        position = self.positions[n][self.pick.choice(self.SYMBOLS)]
        position |= {"quantity": str(self.pick.randrange(100)), "average_price": f"{self.pick.randrange(10_000)}.50", "unrealized_pnl": str(gain)}
        whose = {"challenge_id": f"c{n}", "user_id": f"u{n}"}
        state = whose | {
            "previous_equity": str(before), "current_equity": str(self.equity[n]), "max_equity_ever": "112000.00", "daily_start_equity": "100000.00",
            "daily_max_equity": "112000.00", "daily_min_equity": "88000.00", "total_pnl": str(self.equity[n] - 100_000), "daily_pnl": str(gain),
            "total_trades": self.trades[n], "attempt": 1, "last_trade_at": at, "updated_at": at,
        }  # fmt: skip
        account = {"account_id": f"c{n}", "user_id": f"u{n}", "equity": str(self.equity[n]), "positions": self.positions[n]}
        return [{"type": "EQUITY_UPDATED", "data": state}, {"type": "account.update", "data": account}]


def test_what_deltas_save_a_desk(serve):
    """DLV-06: two members of a desk's rooms, one of them with deltas; the metric says what that one did not have to read."""
    daemon, challenges = serve(reactors=1, update_window="0s"), 10
    rooms = [f"{kind}:c{n}" for kind in ("challenge", "account") for n in range(challenges)]
    clients = [(RawClient(daemon.address, mint(rooms=["*"])), States(), collections.Counter()) for _ in range(2)]
    for (client, _, _), delta in zip(clients, (True, False)):
        client.subscribe(*rooms, delta=delta)
    trades = Trades(challenges)
    for _ in range(500):
        events = trades.trade()
        daemon.publish(*events)
        for client, states, received in clients:
            for event in events:
                (text,) = client.texts(1, event["type"])
                states.take(text.decode())
                received[event["type"]] += len(text)
                (key,) = [value for name, value in event["data"].items() if name in ("challenge_id", "account_id")]
                assert states.data(event["type"], key) == canonical(read(json.dumps(event["data"])))
    (_, states, with_deltas), (_, plain, without) = clients
    assert daemon.metric("delta_frames_total") == states.deltas > 800 and plain.deltas == 0
    saved = without.total() - with_deltas.total()
    # A frame's header is longer by two bytes if its text has 126 bytes or more.
    assert 0 <= daemon.metric("delta_saved_bytes_total") - saved <= 2 * states.deltas
    share = {f"{kind.replace('.', '_')}_share": round(1 - with_deltas[kind] / without[kind], 3) for kind in without}
    figures("deltas on a desk", messages=states.deltas + states.fulls, deltas=states.deltas, bytes_without=without.total(), saved=saved, **share)
    assert saved > without.total() / 3
    for client, _, _ in clients:
        client.socket.close()


def test_a_slow_reader_is_conflated_to_full_states(serve):
    """DLV-06: where states were conflated on the way to a slow reader, it gets the full one, and deltas on that."""
    daemon = serve(reactors=1, update_window="0s", max_queue_bytes="4MiB")
    client, states = member(daemon, receive_buffer_bytes=4096), States()
    padding = {f"p{n}": "x" * 100 for n in range(200)}
    total = 2_000
    for start in range(0, total, 50):
        # Large enough for the socket to take no more, for all states are changed throughout.
        daemon.publish(*[line({"n": turn} | {name: f"{text}{turn}" for name, text in padding.items()})[0] for turn in range(start, start + 50)])
    answers = daemon.publish(*[line({"n": turn} | padding)[0] for turn in range(total, total + 2)])
    assert daemon.metric("conflated_total", "outbox") > 0
    take_until(client, states, answers[-1]["rev"])
    assert states.data("note", "k") == canonical(read(line({"n": total + 1} | padding)[1]))
    (answer,) = daemon.publish(line({"n": -1} | padding)[0])
    deltas = states.deltas
    take_until(client, states, answer["rev"])
    assert states.deltas == deltas + 1 and states.data("note", "k") == canonical(read(line({"n": -1} | padding)[1]))
    client.socket.close()


def test_the_first_frame_after_a_join_a_resume_or_a_snapshot_is_full(serve):
    """DLV-06, PRO-06: also where the client would have had the base."""
    daemon = serve(reactors=1, update_window="0s")
    client = daemon.connect(mint(rooms=["*"]))
    assert "delta" in client.welcome["data"]["capabilities"]

    def published(turn):
        daemon.publish(line(desk_state(turn))[0])
        return "patch" if "patch" in client.recv_type("note") else "data"

    def joined(**options):
        subscribed, (full,) = client.subscribe(ROOM, **options)
        assert "data" in full
        return subscribed

    client.subscribe(ROOM, delta=True)
    assert [published(1), published(2)] == ["data", "patch"]
    client.request(type="snapshot", room=ROOM)
    (full,) = client.until_caught_up(ROOM)
    assert "data" in full and published(3) == "patch"
    subscribed = joined(delta=True)
    assert published(4) == "patch"
    joined(delta=True, since={"epoch": subscribed["epoch"], "seq": {"update": 0}})
    assert published(5) == "patch"
    joined()
    assert published(6) == "data"
    assert client.refused(type="subscribe", room=ROOM, delta="yes") == "invalid_field"
