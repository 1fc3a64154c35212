//! All numbers of one account, moved on by one input at a time, with constant work for each.

use super::decimal::{Decimal, Money};
use super::position::{Closed, Position, Trade, is_within_reach};
use super::returns::{Returns, period_rate};
use super::settings::{Sampling, Settings};

use crate::base::calendar::weekday;

/// Open lots of one account. Those of one symbol and price, one after the other, are one.
pub(super) const LOTS_MAX: u64 = 100_000;

/// An input of which the account has a copy: its symbol is a number in the account's table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) ts_ms: u64,
    pub(super) seq: u64,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    Fill { symbol: u32, quantity: i64, price: Decimal, fee: Decimal },
    Mark { symbol: u32, price: Decimal },
    Cash { amount: Decimal },
}

impl Entry {
    /// What inputs are ordered by.
    pub(super) fn key(&self) -> (u64, u64) {
        (self.ts_ms, self.seq)
    }
}

/// Why a ledger cannot take an input; it is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unbookable {
    Overflow,
    TooManyLots,
}

/// What an input has changed, besides the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Equity may be another.
    pub(super) is_valued: bool,
    /// A trade was closed.
    pub(super) is_close: bool,
}

/// Trades that are closed, net of their fees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trades {
    pub(super) wins: u64,
    pub(super) losses: u64,
    pub(super) breakeven: u64,
    pub(super) gross_win: Money,
    /// Positive.
    pub(super) gross_loss: Money,
}

impl Trades {
    fn add(&mut self, net: Money) {
        match net.0.cmp(&0) {
            std::cmp::Ordering::Greater => {
                self.wins += 1;
                self.gross_win += net;
            }
            std::cmp::Ordering::Less => {
                self.losses += 1;
                self.gross_loss -= net;
            }
            std::cmp::Ordering::Equal => self.breakeven += 1,
        }
    }
}

/// The day that is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Day {
    /// Its date where it began, since 1970-01-01.
    pub(super) number: i64,
    pub(super) start_ms: u64,
    pub(super) end_ms: u64,
    pub(super) start: Money,
    pub(super) start_balance: Money,
    pub(super) max: Money,
    pub(super) min: Money,
}

/// The newest fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastTrade {
    pub(super) at_ms: u64,
    pub(super) seq: u64,
    pub(super) symbol: u32,
    /// What it realized, less its fee.
    pub(super) pnl: Money,
}

/// All numbers of one account.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ledger {
    pub(super) flows: Money,
    pub(super) realized: Money,
    pub(super) fees: Money,
    pub(super) unrealized: Money,
    /// By the number of the symbol.
    pub(super) positions: Vec<Position>,
    /// Open lots of all of them.
    pub(super) lots: u64,
    /// Equity before the newest input that could change it.
    pub(super) previous: Money,
    pub(super) peak: Money,
    /// The highest equity at the end of a day, what the account started with included.
    pub(super) close_peak: Money,
    pub(super) drawdown_max: f64,
    pub(super) close_drawdown_max: f64,
    pub(super) day: Day,
    pub(super) fills: u64,
    pub(super) last_trade: Option<LastTrade>,
    pub(super) trades: Trades,
    pub(super) returns: Returns,
    /// The key of the newest input.
    pub(super) newest: (u64, u64),
    pub(super) inputs: u64,
    pub(super) days_closed: u64,
}

impl Ledger {
    /// Of an account that starts on the day of `now_ms`.
    pub(super) fn new(settings: &Settings, now_ms: u64) -> Ledger {
        let start = settings.start_equity.money();
        let number = settings.reset.day_of(now_ms);
        let day = Day::new(number, start, start, settings);
        Ledger {
            flows: Money::ZERO,
            realized: Money::ZERO,
            fees: Money::ZERO,
            unrealized: Money::ZERO,
            positions: Vec::new(),
            lots: 0,
            previous: start,
            peak: start,
            close_peak: start,
            drawdown_max: 0.0,
            close_drawdown_max: 0.0,
            day,
            fills: 0,
            last_trade: None,
            trades: Trades::default(),
            returns: Returns::new(start),
            newest: (0, 0),
            inputs: 0,
            days_closed: 0,
        }
    }

    /// Profit and loss, open positions included, cash flows not.
    pub(super) fn pnl(&self) -> Money {
        self.realized + self.unrealized - self.fees
    }

    /// What the account is worth.
    pub(super) fn equity(&self, settings: &Settings) -> Money {
        floored(settings.start_equity.money() + self.flows + self.pnl(), settings)
    }

    /// What it is worth with open positions at cost.
    pub(super) fn balance(&self, settings: &Settings) -> Money {
        floored(settings.start_equity.money() + self.flows + self.realized - self.fees, settings)
    }

    /// Takes an input of the day that is not over. Whatever is refused has changed nothing.
    pub(super) fn take(&mut self, entry: &Entry, settings: &Settings) -> Result<Change, Unbookable> {
        let change = match entry.what {
            What::Fill { symbol, quantity, price, fee } => {
                let trade = Trade { quantity, price, fee };
                self.fill(entry, symbol, &trade, settings)?
            }
            What::Mark { symbol, price } => self.mark(entry.ts_ms, symbol, price, settings)?,
            What::Cash { amount } => self.cash(amount.money(), settings)?,
        };
        self.newest = entry.key();
        self.inputs += 1;
        Ok(change)
    }

    fn fill(&mut self, entry: &Entry, symbol: u32, trade: &Trade, settings: &Settings) -> Result<Change, Unbookable> {
        let position = self.position(symbol);
        let reach = position.reach(trade).ok_or(Unbookable::Overflow)?;
        let (lots, adds_lot) = (position.lots.len(), position.adds_lot(trade, settings.method));
        if adds_lot && self.lots >= LOTS_MAX {
            return Err(Unbookable::TooManyLots);
        }
        self.check_reach(reach)?;
        self.previous = self.equity(settings);
        let position = &mut self.positions[symbol as usize];
        self.unrealized -= position.unrealized();
        let Closed { realized, trade: closed } = position.book(trade, settings.method, settings.trades);
        position.priced_at_ms = entry.ts_ms;
        self.lots = self.lots + position.lots.len() as u64 - lots as u64;
        self.unrealized += position.unrealized();
        self.realized += realized;
        self.fees += trade.fee.money();
        self.fills += 1;
        let pnl = realized - trade.fee.money();
        self.last_trade = Some(LastTrade { at_ms: entry.ts_ms, seq: entry.seq, symbol, pnl });
        if let Some(net) = closed {
            self.trades.add(net);
        }
        self.note_equity(settings);
        Ok(Change { is_valued: true, is_close: closed.is_some() })
    }

    fn mark(&mut self, ts_ms: u64, symbol: u32, price: Decimal, settings: &Settings) -> Result<Change, Unbookable> {
        let position = self.position(symbol);
        let is_held = position.quantity != 0;
        let reach = Decimal(position.quantity).times(price).0.unsigned_abs() + position.basis.0.unsigned_abs();
        self.check_reach(reach)?;
        if is_held {
            self.previous = self.equity(settings);
        }
        let position = &mut self.positions[symbol as usize];
        let before = position.unrealized();
        (position.price, position.priced_at_ms) = (price, ts_ms);
        self.unrealized += position.unrealized() - before;
        if is_held {
            self.note_equity(settings);
        }
        Ok(Change { is_valued: is_held, is_close: false })
    }

    fn position(&mut self, symbol: u32) -> &Position {
        let at = symbol as usize;
        if self.positions.len() <= at {
            self.positions.resize_with(at + 1, Position::default);
        }
        &self.positions[at]
    }

    /// Money comes or goes. What drawdowns are counted from moves with it, so that none is made or hidden by it.
    fn cash(&mut self, amount: Money, settings: &Settings) -> Result<Change, Unbookable> {
        self.check_reach(amount.0.unsigned_abs())?;
        let before = self.equity(settings);
        self.flows += amount;
        let after = self.equity(settings);
        self.previous = before;
        self.returns.split(before, after);
        for moved in
            [&mut self.peak, &mut self.close_peak, &mut self.day.start, &mut self.day.start_balance, &mut self.day.max, &mut self.day.min]
        {
            *moved = floored(*moved + amount, settings);
        }
        self.note_equity(settings);
        Ok(Change { is_valued: true, is_close: false })
    }

    /// All that is kept, and what would come to it, stays within what sums and comparisons can bear.
    fn check_reach(&self, sum: u128) -> Result<(), Unbookable> {
        let kept = [self.flows, self.realized, self.fees, self.unrealized, self.trades.gross_win, self.trades.gross_loss];
        let sum = kept.iter().fold(sum, |sum, money| sum + money.0.unsigned_abs());
        if is_within_reach(sum) { Ok(()) } else { Err(Unbookable::Overflow) }
    }

    fn note_equity(&mut self, settings: &Settings) {
        let equity = self.equity(settings);
        self.day.max = self.day.max.max(equity);
        self.day.min = self.day.min.min(equity);
        if equity >= self.peak {
            self.peak = equity;
        } else if self.peak.0 > 0 {
            self.drawdown_max = self.drawdown_max.max(drawdown(self.peak, equity));
        }
    }

    /// The day is over: the next one begins. The day's return, if it has one.
    pub(super) fn close_day(&mut self, settings: &Settings) -> Option<f64> {
        let equity = self.equity(settings);
        self.close_peak = self.close_peak.max(equity);
        if self.close_peak.0 > 0 {
            self.close_drawdown_max = self.close_drawdown_max.max(drawdown(self.close_peak, equity));
        }
        let is_sampled = settings.sampling == Sampling::EveryDay || weekday(trading_date(self.day.number, settings)) < 5;
        let sample = if is_sampled { self.returns.close(equity, period_rate(settings.risk_free, settings.periods)) } else { None };
        let number = self.day.number + 1;
        let start_balance = self.balance(settings);
        self.day = Day::new(number, equity, start_balance, settings);
        self.days_closed += 1;
        sample
    }
}

/// The date that a day is called by on a trading desk: one that begins in the afternoon is the next date's.
fn trading_date(number: i64, settings: &Settings) -> i64 {
    number + i64::from(settings.reset.minute >= 720)
}

impl Day {
    fn new(number: i64, equity: Money, start_balance: Money, settings: &Settings) -> Day {
        let start_of = |number| settings.reset.start_ms(number).max(0) as u64;
        Day { number, start_ms: start_of(number), end_ms: start_of(number + 1), start: equity, start_balance, max: equity, min: equity }
    }
}

fn floored(money: Money, settings: &Settings) -> Money {
    if settings.floor_at_zero { money.max(Money::ZERO) } else { money }
}

/// `equity` below `peak`, as a share of it: Magdon-Ismail and Atiya, Risk 17 (2004), 99-102. The peak is above zero.
fn drawdown(peak: Money, equity: Money) -> f64 {
    (peak - equity).float() / peak.float()
}
