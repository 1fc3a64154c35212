#!/usr/bin/env python3
"""A challenge that is traded at random: challenge.py SOCKET CHALLENGE USER

After each trade its equity is published; a risk alert where a limit comes near, once for each time; and the end, when a limit is exceeded or the target
reached. The limits are percentages, and all money is decimal.
"""

import os
import random
import sys
import time
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

from publisher import Publisher

START = Decimal("10000.00")
DAILY_LIMIT, TOTAL_LIMIT, TARGET = Decimal(5), Decimal(10), Decimal(10)  # percent
NEAR, FAR = Decimal("0.80"), Decimal("0.75")  # of a limit: the alert is raised there, and again only after it was below that


def cents(value):
    return value.quantize(Decimal("0.01"), ROUND_HALF_EVEN)


class Challenge:
    def __init__(self, challenge, user, publisher):
        self.names = {"challenge_id": challenge, "user_id": user}
        self.publisher = publisher
        self.equity = self.highest = self.daily_start = self.daily_max = self.daily_min = START
        self.trades, self.status, self.raised = 0, "ACTIVE", set()

    def trade(self, pnl):
        """One closed trade. A real backend commits here, before anything is published."""
        before, self.equity = self.equity, max(Decimal(0), cents(self.equity + pnl))
        self.highest = max(self.highest, self.equity)
        self.daily_max, self.daily_min = max(self.daily_max, self.equity), min(self.daily_min, self.equity)
        self.trades += 1
        now = datetime.now(UTC).isoformat()
        equity = {
            "previous_equity": before, "current_equity": self.equity, "max_equity_ever": self.highest,
            "daily_start_equity": self.daily_start, "daily_max_equity": self.daily_max, "daily_min_equity": self.daily_min,
            "total_pnl": self.equity - START, "daily_pnl": self.equity - self.daily_start,
        }  # fmt: skip
        amounts = {name: str(cents(amount)) for name, amount in equity.items()}
        # A `version` makes an old value harmless that comes late.
        self.publisher.publish("EQUITY_UPDATED", self.names | amounts | {"total_trades": self.trades, "last_trade_at": now, "updated_at": now}, version=self.trades)
        self.judge(now)

    def judge(self, now):
        drawdowns = [
            ("HIGH_DAILY_DRAWDOWN", "MEDIUM", self.daily_start, DAILY_LIMIT, "MAX_DAILY_DRAWDOWN"),
            ("HIGH_TOTAL_DRAWDOWN", "HIGH", self.highest, TOTAL_LIMIT, "MAX_TOTAL_DRAWDOWN"),
        ]
        for alert, severity, base, limit, reason in drawdowns:
            drawdown = cents(100 * (base - self.equity) / base)
            if drawdown >= NEAR * limit and alert not in self.raised:
                self.raised.add(alert)
                what = {"alert_type": alert, "severity": severity, "message": f"drawdown {drawdown} of {cents(limit)} %", "created_at": now}
                self.publisher.publish("RISK_ALERT", self.names | what | {"drawdown_percentage": str(drawdown), "threshold": str(cents(limit))})
            elif drawdown < FAR * limit:
                self.raised.discard(alert)
            if drawdown > limit:
                return self.end("FAILED", reason, now)
        if self.equity >= START * (100 + TARGET) / 100:
            self.end("FUNDED", "PROFIT_TARGET", now)

    def end(self, status, reason, now):
        change = {"old_status": self.status, "new_status": status, "reason": reason, "current_equity": str(self.equity), "changed_at": now}
        self.status = status
        self.publisher.publish("CHALLENGE_STATUS_CHANGED", self.names | change)


def main():
    random.seed(os.environ.get("SEED"))  # given, it plays the same again
    socket, name, user = sys.argv[1:]
    challenge = Challenge(name, user, Publisher(socket))
    while challenge.status == "ACTIVE":
        challenge.trade(Decimal(random.randint(-12_000, 9_000)) / 100)
        time.sleep(0.4)


if __name__ == "__main__":
    main()
