#!/usr/bin/env python3
"""A desk whose numbers the daemon makes: figures.py [TICKERD]

Starts a daemon with `[analytics]` of its own, trades three challenges at random, and prints a link to the page that shows them. What is published are
fills and prices alone; equity, metrics, alerts and the status come of them. Ctrl-C ends it, and nothing is left.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from publisher import Publisher

CONFIG = """
[analytics]
marks_every = "0s"
start_equity = "10000"
daily_limit = "5"
target = "10"
"""
CHALLENGES = ["c1", "c2", "c3"]


def start(tickerd, place):
    (place / "tickerd.toml").write_text(CONFIG)
    subprocess.run([tickerd, "token", "--generate-key", place / "key"], check=True, stdout=subprocess.DEVNULL)
    flags = {"config": place / "tickerd.toml", "jwt-key": place / "key", "data-dir": place / "data", "publish-socket": place / "socket"}
    flags |= {"listen": "127.0.0.1:0", "admin-listen": "127.0.0.1:0", "log-level": "warn"}
    arguments = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    daemon = subprocess.Popen([tickerd, "serve", *arguments], stdout=subprocess.PIPE)
    return daemon, json.loads(daemon.stdout.readline())


def link(tickerd, place, ready):
    token = subprocess.run(
        [tickerd, "token", "--key", place / "key", "--sub", "desk", "--room", "challenge:*", "--ttl", "24h"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    return f"http://{ready['listen'][0]}/#rooms={','.join(f'challenge:{name}' for name in CHALLENGES)}&token={token}"


def trade(publisher):
    """A fill now and then, and a price many times a second."""
    prices = {"AAPL": Decimal("187.25"), "TSLA": Decimal("242.10")}
    for step in range(10**9):
        symbol = random.choice(list(prices))
        prices[symbol] = (prices[symbol] * Decimal(random.randint(9_985, 10_015)) / 10_000).quantize(Decimal("0.01"))
        publisher.publish("market.data.update", {"symbol": symbol, "price": str(prices[symbol])})
        if step % 5 == 0:
            names = {"challenge_id": random.choice(CHALLENGES), "user_id": "u1"}
            side, quantity = random.choice(["BUY", "SELL"]), random.randint(1, 12)
            fill = {"symbol": symbol, "side": side, "quantity": str(quantity), "price": str(prices[symbol]), "trade_id": f"t{step}"}
            publisher.publish("TRADE_EXECUTED", names | fill)
        time.sleep(0.1)


def main():
    random.seed(os.environ.get("SEED"))  # given, it plays the same again
    tickerd = sys.argv[1] if len(sys.argv) > 1 else "tickerd"
    with tempfile.TemporaryDirectory(prefix="tickerd-figures-") as directory:
        daemon, ready = start(tickerd, Path(directory))
        try:
            print(f"Open {link(tickerd, Path(directory), ready)}", flush=True)
            trade(Publisher(str(Path(directory) / "socket")))
        except KeyboardInterrupt:
            pass
        finally:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    main()
