#!/usr/bin/env python3
"""A trading robot that trades at random: robot.py SOCKET ACCOUNT USER

Trades, positions and the account as they change; once a second its risk metrics, which are computed step by step, and now and then checked against a
computation from all returns. One that cannot be computed is null: JSON has no infinity.
"""

import math
import os
import random
import statistics
import sys
import time
from decimal import Decimal

from publisher import Publisher

START = Decimal("100000.00")
PERIODS = 252


class Returns:
    """Mean and variance by Welford's method, and the largest drawdown."""

    def __init__(self):
        self.all, self.mean, self.squares = [], 0.0, 0.0
        self.peak, self.drawdown = 1.0, 0.0

    def add(self, value):
        self.all.append(value)
        distance = value - self.mean
        self.mean += distance / len(self.all)
        self.squares += distance * (value - self.mean)

    def level(self, equity):
        self.peak = max(self.peak, equity)
        self.drawdown = max(self.drawdown, (self.peak - equity) / self.peak)

    def sharpe(self):
        deviation = math.sqrt(self.squares / (len(self.all) - 1)) if len(self.all) > 1 else 0.0
        return self.mean / deviation * math.sqrt(PERIODS) if deviation > 0 else None

    def check(self):
        """The same from scratch: a difference is told, for it would be a mistake of this program."""
        if len(self.all) < 2 or self.sharpe() is None:
            return True
        batch = statistics.mean(self.all) / statistics.stdev(self.all) * math.sqrt(PERIODS)
        return math.isclose(batch, self.sharpe(), rel_tol=1e-9, abs_tol=1e-9)


class Robot:
    def __init__(self, account, user, publisher):
        self.names, self.room, self.publisher = {"account_id": account, "user_id": user}, f"account:{account}", publisher
        self.prices = {"BTCUSD": Decimal("97640.00"), "ETHUSD": Decimal("3480.00"), "SOLUSD": Decimal("212.50")}
        self.quantities = dict.fromkeys(self.prices, Decimal(0))
        self.costs = dict.fromkeys(self.prices, Decimal(0))
        self.cash, self.returns, self.wins, self.closed = START, Returns(), 0, 0
        self.is_warned = False

    def equity(self):
        return self.cash + sum(quantity * self.prices[symbol] for symbol, quantity in self.quantities.items())

    def step(self):
        before = self.equity()
        for symbol, price in self.prices.items():
            self.prices[symbol] = (price * Decimal(random.randint(9_960, 10_042)) / 10_000).quantize(Decimal("0.01"))
        self.trade(random.choice(list(self.prices)))
        equity = self.equity()
        self.returns.add(float(equity / before - 1))
        self.returns.level(float(equity / START))
        account = {"equity": equity, "cash": self.cash, "buying_power": 2 * self.cash, "daily_pnl": equity - START}
        self.publisher.publish("account.update", self.names | {name: f"{amount:.2f}" for name, amount in account.items()})
        self.metrics()

    def trade(self, symbol):
        price, held = self.prices[symbol], self.quantities[symbol]
        quantity = Decimal(random.randint(1, 40)) / 100
        side = "SELL" if held >= quantity and random.random() < 0.6 else "BUY"
        if side == "SELL":
            cost = self.costs[symbol] * quantity / held
            self.closed, self.wins = self.closed + 1, self.wins + (quantity * price > cost)
            self.costs[symbol] -= cost
        else:
            self.costs[symbol] += quantity * price
        signed = quantity if side == "BUY" else -quantity
        self.quantities[symbol] += signed
        self.cash -= signed * price
        self.publisher.publish("trade.executed", self.names | {"symbol": symbol, "side": side, "quantity": f"{quantity:.2f}", "price": str(price)})
        held = self.quantities[symbol]
        position = {"symbol": symbol, "quantity": f"{held:.2f}", "price": str(price), "unrealized_pnl": f"{held * price - self.costs[symbol]:.2f}"}
        self.publisher.publish("position.update", self.names | position)

    def metrics(self):
        sharpe, returns = self.returns.sharpe(), sorted(self.returns.all)
        metrics = {
            "sharpe_ratio": None if sharpe is None else f"{sharpe:.4f}",
            "win_rate": f"{100 * self.wins / self.closed:.2f}%" if self.closed else None,
            "max_drawdown": f"{100 * self.returns.drawdown:.2f}%",
            "var_95": f"{-100 * returns[int(0.05 * len(returns))]:.2f}%" if returns else None,
        }
        self.publisher.publish("metrics.update", self.names | metrics)
        if self.returns.drawdown > 0.005 and not self.is_warned:
            self.is_warned = True
            self.alert("HIGH", f"the drawdown is {metrics['max_drawdown']}, more than 0.50%")
        if len(self.returns.all) % 50 == 0 and not self.returns.check():
            self.alert("CRITICAL", "the Sharpe ratio drifts from its recomputation")

    def alert(self, severity, message):
        """No type of the catalog: it says itself where it goes, before everything else."""
        self.publisher.publish("risk.alert", self.names | {"severity": severity, "message": message}, room=self.room, lane="alert", mode="stream")


def main():
    random.seed(os.environ.get("SEED"))  # given, it plays the same again
    socket, account, user = sys.argv[1:]
    robot = Robot(account, user, Publisher(socket))
    while True:
        robot.step()
        time.sleep(0.5)


if __name__ == "__main__":
    main()
