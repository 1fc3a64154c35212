#!/usr/bin/env python3
"""A prediction-market trader at work: console.py URL TOKEN_FILE

It publishes by HTTP, several events at a time. Large trades are queued and decided on; what happens is told as activity, of which the catalog keeps 20.
"""

import itertools
import json
import os
import random
import sys
import time
import urllib.request

MARKETS = ["FED-26DEC-T4.00", "CPI-26NOV-T3.1", "NYCTEMP-26NOV22-B48"]
ACTIONS = ["followed", "skipped_age", "skipped_position", "rate_limited"]
QUEUE_MAX = 10


def post(url, token, events):
    """One request for all of them. `transient` and `state` events may be lost with it: newer ones follow."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    body = "\n".join(json.dumps(event, allow_nan=False) for event in events).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/publish", body, headers), timeout=5) as answer:
        refused = [line for line in map(json.loads, answer.read().splitlines()) if not line["ok"]]
    if refused:
        print(refused[0]["message"], file=sys.stderr)


def activity(kind, message, severity="info"):
    return {"type": "system_activity", "data": {"activity_type": kind, "message": message, "state": "ready", "metadata": {"severity": severity}}}


def whale(number, now):
    price, count = random.randint(3, 97), random.randint(100, 5_000)
    size = f"{price * count // 100}.{price * count % 100:02}"
    side, market = random.choice(["yes", "no"]), random.choice(MARKETS)
    return {"whale_id": f"w{number}", "market_ticker": market, "side": side, "price_cents": price, "count": count, "whale_size_dollars": size, "timestamp_ms": int(now * 1000)}


def step(number, queue, started):
    """What happens in one second."""
    now = time.time()
    found = whale(number, now)
    # The largest stay.
    queue[:] = sorted([*queue, found], key=lambda each: float(each["whale_size_dollars"]), reverse=True)[:QUEUE_MAX]
    action = random.choice(ACTIONS)
    balance = 125_000 - 37 * number
    pnl = {"session_pnl": -37 * number, "starting_equity": 125_000, "current_equity": balance}
    return [
        {"type": "whale_queue", "version": int(now * 1000), "data": {"queue": list(queue), "stats": {"trades_seen": 40 * number, "trades_discarded": 39 * number}}},
        {"type": "whale_processing", "data": {"whale_id": found["whale_id"], "status": "processing", "action": action}},
        {"type": "whale_processing", "data": {"whale_id": found["whale_id"], "status": "complete", "action": action}},
        activity("whale_follow" if action == "followed" else "whale_processing", f"{found['market_ticker']} {found['side']}: {action}", "success" if action == "followed" else "info"),
        {"type": "trading_state", "version": int(now * 1000), "data": {"balance": balance, "portfolio_value": 480_050, "position_count": 7, "order_count": number % 3, "pnl": pnl}},
        {"type": "trader_status", "data": {"state": "ready", "metrics": {"health": "healthy", "uptime": int(now - started), "markets_connected": 3, "snapshots_received": 3, "deltas_received": 900 * number}}},
    ]


def main():
    random.seed(os.environ.get("SEED"))  # given, it plays the same again
    url, token_file = sys.argv[1:]
    with open(token_file, encoding="utf-8") as file:
        token = file.read().strip()
    queue, started = [], time.time()
    opening = [activity("state_transition", f"{state}") for state in ("startup", "initializing", "orderbook_connect", "ready")]
    for number in itertools.count(1):
        try:
            post(url, token, opening + step(number, queue, started))
            opening = []
        except OSError as error:
            print(f"the console is not told: {error}", file=sys.stderr)  # trading goes on
        time.sleep(1)


if __name__ == "__main__":
    main()
