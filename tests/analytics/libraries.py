"""The figures of tickerd's analytics against those of the libraries that people check a backtest with: within 1e-9.

    libraries.py NUMBERS      the program of tests/analytics/numbers.rs

Fixtures are random and the same in each run. What a library needs is made of the fills here, in exact fractions, and not of what tickerd says:
daily equity, returns, results of closed trades. Traps of the libraries, all met once: quantstats guesses whether it has prices or returns, and
ignores a negative rate; ffn and quantstats miss a loss in the first period unless the equity before it has a row; empyrical takes the rate of
one period; pyfolio merges fills of one side that are less than 8 hours apart, and wants whole numbers.
"""

import datetime
import json
import math
import random
import subprocess
import sys
import warnings
from fractions import Fraction

warnings.filterwarnings("ignore")

import backtrader  # noqa: E402
import empyrical  # noqa: E402
import ffn  # noqa: E402
import pandas  # noqa: E402
import pyfolio.round_trips  # noqa: E402
import quantstats  # noqa: E402

TOLERANCE = 1e-9
DAY_MS = 86_400_000
BEGIN_MS = 1_704_067_200_000  # 2024-01-01, 00:00 UTC
START = 10_000
FILLS = 3000


class Fixture:
    """Fills nine hours apart, in two symbols, and a price in between; the day's last equity of each day."""

    def __init__(self, seed):
        draw = random.Random(seed)
        self.lines, self.fills = [], []
        cash, held, last = Fraction(START), {"AAPL": 0, "MSFT": 0}, {"AAPL": Fraction(100), "MSFT": Fraction(250)}
        self.closes = {}
        ts_ms = BEGIN_MS
        for _ in range(FILLS):
            ts_ms += 9 * 3_600_000 + draw.randrange(1000)
            symbol = draw.choice(sorted(held))
            last[symbol] = max(Fraction(1), last[symbol] + Fraction(draw.randint(-90, 92), 100))
            wanted = draw.choice([-3, -2, -1, 1, 2, 3])
            # It leans against what is held, so that positions are closed and turned; now and then it goes flat.
            quantity = -held[symbol] if held[symbol] and draw.random() < 0.15 else (wanted if abs(held[symbol] + wanted) < 12 else -wanted)
            price = last[symbol]
            cash -= quantity * price
            held[symbol] += quantity
            self.fills.append((ts_ms, symbol, quantity, price))
            self.lines.append(f"fill {ts_ms} {symbol} {quantity} {self.text(price)} 0")
            self.closes[ts_ms // DAY_MS] = cash + sum(held[name] * last[name] for name in held)
            other = draw.choice(sorted(held))
            last[other] += Fraction(draw.randint(-50, 51), 100)
            self.lines.append(f"mark {ts_ms + 4 * 3_600_000} {other} {self.text(last[other])}")
            self.closes[(ts_ms + 4 * 3_600_000) // DAY_MS] = cash + sum(held[name] * last[name] for name in held)
        self.last_day = (ts_ms + 4 * 3_600_000) // DAY_MS
        self.lines.append(f"until {(self.last_day + 1) * DAY_MS}")
        self.held, self.last = held, last

    @staticmethod
    def text(price):
        return f"{price.numerator * (100 // price.denominator) / 100:.2f}"

    def equity(self):
        """One value for each day, flat days included, after the one that it began with."""
        values, value = [Fraction(START)], Fraction(START)
        for day in range(BEGIN_MS // DAY_MS, self.last_day + 1):
            value = self.closes.get(day, value)
            values.append(value)
        dates = pandas.date_range("2023-12-31", periods=len(values), freq="D", tz="UTC")
        return pandas.Series([float(value) for value in values], index=dates)

    def returns(self):
        return self.equity().pct_change().iloc[1:]

    def transactions(self):
        """As pyfolio has them."""
        rows = [{"amount": quantity, "price": float(price), "symbol": symbol} for _, symbol, quantity, price in self.fills]
        times = pandas.to_datetime([ts_ms for ts_ms, *_ in self.fills], unit="ms", utc=True)
        return pandas.DataFrame(rows, index=times)

    def average_closes(self):
        """The result of each fill that closes something, and their sum by backtrader's position."""
        positions, results = {symbol: backtrader.Position() for symbol in self.held}, []
        for _, symbol, quantity, price in self.fills:
            position = positions[symbol]
            before = position.price
            _, _, opened, closed = position.update(quantity, float(price))
            if closed:
                results.append(-closed * (float(price) - before))
        return results


class Check:
    """Compares, and remembers how far apart anything was at most."""

    def __init__(self):
        self.worst, self.count, self.faults = {}, 0, []

    def near(self, library, name, theirs, ours, absolute=False):
        apart = abs(theirs - ours) if absolute else abs(theirs - ours) / max(abs(theirs), abs(ours), 1e-300)
        self.count += 1
        self.worst[library] = max(self.worst.get(library, 0.0), apart)
        if not (math.isfinite(theirs) and apart <= TOLERANCE):
            self.faults.append(f"{library} {name}: {theirs!r}, and tickerd {ours!r}")

    def same(self, library, name, theirs, ours):
        self.count += 1
        if theirs != ours:
            self.faults.append(f"{library} {name}: {theirs!r}, and tickerd {ours!r}")


def numbers(program, fixture, method, periods, rate):
    """What tickerd says."""
    command = [program, method, "per_close", str(periods), repr(rate)]
    answer = subprocess.run(command, input="\n".join(fixture.lines), capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(f"{program}: {answer.stderr}")
    return json.loads(answer.stdout)


def ratios(check, fixture, ours, periods, rate):
    """Of daily returns: three libraries."""
    returns, equity = fixture.returns(), fixture.equity()
    of_period = (1 + rate) ** (1 / periods) - 1
    check.near("quantstats", "sharpe", quantstats.stats.sharpe(returns, rf=rate, periods=periods), ours["sharpe_ratio"])
    check.near("quantstats", "sortino", quantstats.stats.sortino(returns, rf=rate, periods=periods), ours["sortino_ratio"])
    check.near("quantstats", "drawdown", -quantstats.stats.max_drawdown(returns), ours["max_close_drawdown_ratio"])
    check.near("empyrical", "sharpe", empyrical.sharpe_ratio(returns, risk_free=of_period, annualization=periods), ours["sharpe_ratio"])
    check.near("empyrical", "sortino", empyrical.sortino_ratio(returns, required_return=of_period, annualization=periods), ours["sortino_ratio"])
    check.near("empyrical", "drawdown", -empyrical.max_drawdown(returns), ours["max_close_drawdown_ratio"])
    check.near("empyrical", "value at risk", -empyrical.value_at_risk(returns, 0.05), ours["var_95"])
    check.near("empyrical", "shortfall", -empyrical.conditional_value_at_risk(returns, 0.05), ours["cvar_95"])
    check.near("ffn", "sharpe", ffn.calc_sharpe(returns, rf=rate, nperiods=periods), ours["sharpe_ratio"])
    check.near("ffn", "sortino", ffn.calc_sortino_ratio(returns, rf=rate, nperiods=periods), ours["sortino_ratio"])
    check.near("ffn", "drawdown", -ffn.calc_max_drawdown(equity), ours["max_close_drawdown_ratio"])
    check.same("calendar", "returns", len(returns), ours["returns"])


def trades(check, library, results, ours):
    """Of closed trades: what quantstats makes of a library's results, and tickerd of its own."""
    results = pandas.Series(results)
    wins, losses = results[results > 1e-9], results[results < -1e-9]
    check.same(library, "wins", len(wins), ours["wins"])
    check.same(library, "losses", len(losses), ours["losses"])
    check.same(library, "breakeven", len(results) - len(wins) - len(losses), ours["breakeven"])
    check.near(library, "realized", results.sum(), float(ours["realized_pnl"]))
    decided = results[results.abs() > 1e-9]
    check.near("quantstats", "win rate", quantstats.stats.win_rate(decided, prepare_returns=False), ours["win_rate"])
    check.near("quantstats", "profit factor", quantstats.stats.profit_factor(decided, prepare_returns=False), ours["profit_factor"])
    check.near("quantstats", "payoff", quantstats.stats.payoff_ratio(decided, prepare_returns=False), ours["payoff_ratio"])


def main(program):
    check = Check()
    for seed in [1, 2, 3]:
        fixture = Fixture(seed)
        for periods, rate in [(252, 0.0), (365, 0.03)]:
            average = numbers(program, fixture, "average", periods, rate)
            fifo = numbers(program, fixture, "fifo", periods, rate)
            ratios(check, fixture, average, periods, rate)
            trips = pyfolio.round_trips.extract_round_trips(fixture.transactions())
            check.same("pyfolio", "round trips", len(trips), fifo["wins"] + fifo["losses"] + fifo["breakeven"])
            trades(check, "pyfolio", trips["pnl"].astype(float), fifo)
            trades(check, "backtrader", fixture.average_closes(), average)
            expected = sum(fixture.held[name] * fixture.last[name] for name in fixture.held) - sum(q * p for _, _, q, p in fixture.fills)
            for ours in (average, fifo):
                check.same("fractions", "profit", expected, Fraction(ours["realized_pnl"]) + Fraction(ours["unrealized_pnl"]))
    for library, apart in sorted(check.worst.items()):
        print(f"{library:12} at most {apart:.1e} apart")
    print(f"{check.count} comparisons, {len(check.faults)} beyond {TOLERANCE}, {datetime.date.today()}")
    if check.faults:
        raise SystemExit("\n".join(check.faults))


if __name__ == "__main__":
    main(*sys.argv[1:])
