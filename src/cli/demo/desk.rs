//! A made-up prop-trading desk, pure and seeded: the same seed and the same times give the same lines.
//!
//! Each challenge is an account that walks at random, one fill at a time, under the rules of such a desk: at most 5 % down on
//! the day and 10 % down from the peak, 10 % up to be funded. An alert is raised once when 80 % of a limit is reached, and
//! again only after the loss has been below 75 %. Beside the fills, figures of all accounts are published at a high rate, in
//! turn, so that a reader can tell from a metric's number which series it was.

mod challenge;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::lane::Lane;
use crate::base::time::{Mono, Now, nanos};

use super::events::{Cents, Fill, IsoTime, Line, MarketData, Metric, Stamp, line, metric_line};
use challenge::Challenge;

/// Rooms that one client can join bound this: two for each challenge, one for each market.
pub(super) const CHALLENGES_MAX: usize = 40;
/// Fills of all challenges together: few, so that they alone never fill the slow line.
const FILLS_PER_SECOND: u64 = 12;
/// Series of all accounts together: what can wait for a slow reader, one frame each. It takes that reader some ten seconds to
/// read them all, well within the half minute after which the daemon would close a slow line.
const SERIES: usize = 3200;
/// A day on this desk.
const DAY: Duration = Duration::from_secs(120);
/// Longer than the metric lane holds anything by default (gather 100 ms, flush every 500 ms).
const SETTLED_AFTER: Duration = Duration::from_millis(700);
/// Most of a late step that is made up for: a stall must not end in a flood.
const STEP_MAX: Duration = Duration::from_millis(50);

const MARKETS: [(&str, i64); 8] = [
    ("EURUSD", 108_412),
    ("GBPUSD", 127_055),
    ("USDJPY", 154_310),
    ("XAUUSD", 265_140),
    ("US500", 598_725),
    ("NAS100", 2_071_250),
    ("BTCUSD", 9_764_000),
    ("WTI", 7_012),
];
const MEASURES: [&str; 8] = ["exposure", "delta", "vega", "var_95", "pnl_1m", "sharpe", "win_rate", "slippage"];

/// What a desk is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeskOptions {
    /// How many challenges, at most [`CHALLENGES_MAX`].
    pub challenges: usize,
    /// Metrics and market data in one second.
    pub metrics_per_second: u32,
    /// Everything random comes from it.
    pub seed: u64,
}

/// The desk.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    rng: Rng,
    challenges: Vec<Challenge>,
    prices: [i64; MARKETS.len()],
    /// Names of one account's series; all accounts have the same.
    series: Vec<String>,
    metrics_per_second: u64,
    metrics: u64,
    /// How many metrics there were at recent times, oldest first.
    recent: VecDeque<(Mono, u64)>,
    settled_n: u64,
    fills: u64,
    /// What is due of a fill and of a metric, in billionths.
    fill_credit: u64,
    metric_credit: u64,
    day_ends: Mono,
}

impl Desk {
    /// A desk in the middle of its day.
    pub(super) fn new(options: &DeskOptions) -> Desk {
        let mut rng = Rng(options.seed);
        let count = options.challenges.clamp(1, CHALLENGES_MAX);
        let series = SERIES / count;
        Desk {
            challenges: (1..=count).map(|number| Challenge::started(number, &mut rng)).collect(),
            prices: MARKETS.map(|(_, price)| price),
            series: (0..series).map(|i| format!("{}.{:02}", MEASURES[i % MEASURES.len()], i / MEASURES.len())).collect(),
            metrics_per_second: u64::from(options.metrics_per_second),
            metrics: 0,
            recent: VecDeque::new(),
            settled_n: 0,
            fills: 0,
            fill_credit: 0,
            metric_credit: 0,
            day_ends: Mono::NEVER,
            rng,
        }
    }

    /// All rooms that its events go to.
    pub(super) fn rooms(&self) -> Vec<String> {
        let of_challenges = self.challenges.iter().flat_map(|c| [format!("challenge:{}", c.id), format!("account:{}", c.id)]);
        of_challenges.chain(MARKETS.iter().map(|(symbol, _)| format!("market:{symbol}"))).collect()
    }

    /// How many metric series there are. Metric number `n` (from 1) is of series `(n - 1) % slots`.
    pub(super) fn slots(&self) -> usize {
        MARKETS.len() + self.challenges.len() * self.series.len()
    }

    /// The fills of the `elapsed` time that ends now, and what follows from them.
    pub(super) fn trade(&mut self, now: Now, elapsed: Duration, out: &mut Vec<Line>) {
        self.turn_day(now.mono);
        self.settle(now.mono);
        for _ in 0..due(&mut self.fill_credit, FILLS_PER_SECOND, elapsed) {
            self.fill(now, out);
        }
    }

    /// The metrics of the `elapsed` time that ends now.
    pub(super) fn measure(&mut self, now: Now, elapsed: Duration, out: &mut Vec<Line>) {
        for _ in 0..due(&mut self.metric_credit, self.metrics_per_second, elapsed) {
            let line = self.metric(now);
            out.push(line);
        }
    }

    fn turn_day(&mut self, now: Mono) {
        if self.day_ends == Mono::NEVER {
            self.day_ends = now.plus(DAY);
        } else if now >= self.day_ends {
            self.day_ends = now.plus(DAY);
            self.challenges.iter_mut().for_each(Challenge::turn_day);
        }
    }

    fn settle(&mut self, now: Mono) {
        while let Some(&(_, n)) = self.recent.front().filter(|(at, _)| now.since(*at) >= SETTLED_AFTER) {
            self.settled_n = n;
            self.recent.pop_front();
        }
        self.recent.push_back((now, self.metrics));
    }

    fn fill(&mut self, now: Now, out: &mut Vec<Line>) {
        let market = self.rng.below(MARKETS.len() as u64) as usize;
        let chosen = self.rng.below(self.challenges.len() as u64) as usize;
        let (bought, quantity, pnl) = (self.rng.below(2) == 0, self.rng.below(20) + 1, self.rng.pnl());
        let stamp = Stamp { sent_ns: now.mono.0, n: None, settled_n: Some(self.settled_n) };
        let challenge = &mut self.challenges[chosen];
        if !challenge.may_trade(now.mono) {
            return;
        }
        self.fills += 1;
        let fill = Fill {
            trade_id: format!("t{}", self.fills),
            challenge_id: &challenge.id,
            user_id: &challenge.user,
            symbol: MARKETS[market].0,
            side: if bought { "BUY" } else { "SELL" },
            quantity: quantity as u32,
            price: Cents(self.prices[market]),
            realized_pnl: Cents(pnl),
            executed_at: IsoTime(now.wall_ms),
            demo: stamp,
        };
        out.push(line(Lane::Update, "TRADE_EXECUTED", &fill));
        challenge.trade(pnl, now, stamp, out);
    }

    fn metric(&mut self, now: Now) -> Line {
        let slot = (self.metrics % self.slots() as u64) as usize;
        self.metrics += 1;
        let demo = Stamp { sent_ns: now.mono.0, n: Some(self.metrics), settled_n: None };
        let Some(index) = slot.checked_sub(MARKETS.len()) else {
            return self.market_data(slot, demo);
        };
        let challenge = &self.challenges[index % self.challenges.len()];
        let series = &self.series[index / self.challenges.len()];
        let value = Cents(challenge.equity() / 100 + self.rng.within(10_000));
        let metric = Metric { account_id: &challenge.id, user_id: &challenge.user, series, value, demo };
        metric_line(&format!("{}.{series}", challenge.id), &metric)
    }

    fn market_data(&mut self, market: usize, demo: Stamp) -> Line {
        let spread = MARKETS[market].1 / 5_000 + 1;
        self.prices[market] = (self.prices[market] + self.rng.within(spread)).max(1);
        let data = MarketData { symbol: MARKETS[market].0, price: Cents(self.prices[market]), demo };
        line(Lane::Metric, "market.data.update", &data)
    }
}

/// How many whole ones are due, at a rate per second, after that time; the rest stays as credit, in billionths.
fn due(credit: &mut u64, per_second: u64, elapsed: Duration) -> u64 {
    *credit += per_second * nanos(elapsed.min(STEP_MAX));
    let whole = *credit / 1_000_000_000;
    *credit %= 1_000_000_000;
    whole
}

/// `SplitMix64` (Steele, Lea and Flood 2014): small, and good enough for prices that nobody trades on.
#[derive(Clone, Debug)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; its bias is below `bound / 2^64`.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A fill's profit or loss in cents: triangular, ±240.00, and no edge for anybody. It brings a dozen risk alerts a minute.
    fn pnl(&mut self) -> i64 {
        self.within(12_000) + self.within(12_000)
    }

    /// A number from `-bound` to `bound`.
    fn within(&mut self, bound: i64) -> i64 {
        self.below(2 * bound.unsigned_abs() + 1).cast_signed() - bound
    }
}
