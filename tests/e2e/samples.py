"""Published texts as the systems that tickerd serves send them, and random ones. All are raw JSON: spaces, escapes, the digits of
numbers are part of the sample."""

import json
import random

# (type, raw data, room, lane, key or None). None as the key: not a state with a key.
DOMAIN_EVENTS = [
    (
        "EQUITY_UPDATED",
        '{"challenge_id": "8f0c2f6e-1", "user_id":"u1","previous_equity":"10000.00","current_equity":"10050.50","max_equity_ever":"10050.50",'
        '"daily_start_equity":"10000.00","daily_max_equity":"10050.50","daily_min_equity":"9990.10","total_pnl":"50.50","total_trades":1,'
        '"last_trade_at":"2024-01-01T12:00:00+00:00","trade_pnl":"50.50","trade_symbol":"AAPL","updated_at":"2024-01-01T12:00:00.123456+00:00"}',
        "challenge:8f0c2f6e-1", "update", "8f0c2f6e-1",
    ),
    (
        "CHALLENGE_STATUS_CHANGED",
        '{"challenge_id":"8f0c2f6e-1","user_id":"u1","old_status":"ACTIVE","new_status":"FUNDED","reason":"PROFIT_TARGET","changed_at":"2024-01-01T12:00:00Z"}',
        "challenge:8f0c2f6e-1", "alert", None,
    ),
    (
        "RISK_ALERT",
        '{"challenge_id":"8f0c2f6e-1","user_id":"u1","alert_type":"HIGH_DAILY_DRAWDOWN","severity":"MEDIUM","title":"Daily drawdown",'
        '"message":"Drawdown 4.50% of 5.00%","current_equity":"9550.00","daily_start_equity":"10000.00","drawdown_percentage":"4.50",'
        '"threshold":"5.00","alert_timestamp":"2024-01-01T12:00:00Z"}',
        "challenge:8f0c2f6e-1", "alert", None,
    ),
    (
        "RISK_ALERT",
        '{"challenge_id":"8f0c2f6e-1","alert_type":"HIGH_TOTAL_DRAWDOWN","severity":"HIGH","max_equity_ever":"11000.00","drawdown_percentage":"8.10"}',
        "challenge:8f0c2f6e-1", "alert", None,
    ),
    (
        "RISK_AI_ALERT",
        '{"challenge_id":"8f0c2f6e-1","alert_id":"a-1","severity":"CRITICAL","score":81.0,"score_breakdown":{"velocity":30,"loss":51.0},"trading_context":[]}',
        "challenge:8f0c2f6e-1", "alert", None,
    ),
    ("TRADE_EXECUTED", '{"challenge_id":"8f0c2f6e-1","symbol":"AAPL","price":187.2500,"quantity":1e2}', "challenge:8f0c2f6e-1", "update", None),
    (
        "system_activity",
        '{"timestamp":"14:03:22","activity_type":"state_transition","message":"calibrating \\u2192 ready","metadata":{"severity":"info"},'
        '"state":"ready","from_state":"kalshi_data_sync","to_state":"ready"}',
        "console:main", "update", None,
    ),
    (
        "trading_state",
        '{"timestamp":1700000000.123,"version":17,"balance":50000,"portfolio_value":61234,"position_count":1,"order_count":0,'
        '"positions":{"INXD-24":{"position":10,"exposure":-420}},"open_orders":{},"order_list":[],"sync_timestamp":1700000000.0,"changes":null,'
        '"pnl":{"session_pnl":-0.0,"session_pnl_percent":12345678901234567890123}}',
        "console:main", "update", None,
    ),
    (
        "whale_queue",
        '{"queue":[{"whale_id":"T:1700000000123","market_ticker":"T","side":"yes","price_cents":42,"count":500,"age_seconds":1.5}],'
        '"stats":{"trades_seen":9,"trades_discarded":7,"discard_rate_percent":77.8},"followed_whale_ids":[],"decision_history":[],"timestamp":"14:03:22"}',
        "console:main", "update", None,
    ),
    ("whale_processing", '{"whale_id":"T:1700000000123","status":"complete","action":"followed","timestamp":"14:03:22"}', "console:main", "update", None),
    (
        "trader_status",
        '{"timestamp":"14:03:22","state":"ready","health":"","metrics":{"uptime":3.25E+1,"ws_clients":2,"ping_health":"healthy","last_ping_age":null}}',
        "console:main", "metric", None,
    ),
]  # fmt: skip


def publish_line(kind, raw_data):
    """The line that publishes `raw_data` verbatim."""
    return f'{{"type":"{kind}","data":{raw_data}}}'.encode()


class RandomJson:
    """Valid JSON texts that a careless pass-through would change: odd spaces, escapes, numbers beyond 64 bits, deep nests."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, depth=0):
        kinds = [self.number, self.string, self.literal]
        if depth < 6:
            kinds += [lambda: self.array(depth), lambda: self.object(depth)] * 2
        return self.space() + self.random.choice(kinds)() + self.space()

    def space(self):
        return self.random.choice(["", "", "", " ", "  ", "\t"])

    def literal(self):
        return self.random.choice(["true", "false", "null"])

    def number(self):
        return self.random.choice([
            str(self.random.randint(-(10**25), 10**25)),
            f"{self.random.uniform(-1e6, 1e6):.{self.random.randint(1, 20)}f}",
            "-0", "0.10", "1E+2", "1.0e-7", "9007199254740993",
        ])  # fmt: skip

    def string(self):
        pieces = ["a", "é", "→", "😀", "\\n", "\\u00e9", "\\ud83d\\ude00", "\\/", '\\"', "\\\\", ",\\\"data\\\":", "}", "\x7f", "\\u0000"]
        return '"' + "".join(self.random.choices(pieces, k=self.random.randint(0, 8))) + '"'

    def array(self, depth):
        return "[" + ",".join(self.text(depth + 1) for _ in range(self.random.randint(0, 4))) + self.space_in_empty() + "]"

    def object(self, depth):
        names = {f"k{self.random.randint(0, 99)}" for _ in range(self.random.randint(0, 4))}
        members = [f'{self.space()}"{name}"{self.space()}:{self.text(depth + 1)}' for name in sorted(names)]
        return "{" + ",".join(members) + self.space_in_empty() + "}"

    def space_in_empty(self):
        return self.space()


def check():
    """What is random here is JSON indeed."""
    for seed in range(500):
        json.loads(RandomJson(seed).text())
