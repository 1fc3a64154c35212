//! The same numbers once more, plainly, from all inputs that were kept: what `tickerd verify` and the periodic check compare with.
//!
//! It shares the settings, the calendar and the decimals with [`Account`], and nothing else: positions are maps of plain sums, equity is
//! added up anew after each input, returns are a list, means and deviations are taken in two passes. What an account keeps on the way and this
//! works out at the end must agree: money and counts exactly, ratios within 1e-9.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Number, Value};

use crate::base::calendar::weekday;

use super::account::Account;
use super::decimal::{Decimal, MONEY_PLACES, Money};
use super::returns::period_rate;
use super::settings::{Method, Sampling, Settings, TradeCount};

/// Beyond this, relative, two ratios differ.
const TOLERANCE: f64 = 1e-9;

/// An input, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The time at which it counts: [`Taken::Kept`](super::Taken::Kept) says it.
    pub ts_ms: u64,
    /// Its number.
    pub seq: u64,
    /// What it is.
    pub what: KeptWhat,
}

/// What an input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptWhat {
    /// A fill.
    Fill {
        /// What was traded.
        symbol: String,
        /// How much, signed.
        quantity: Decimal,
        /// Of one.
        price: Decimal,
        /// Paid for it.
        fee: Decimal,
    },
    /// A price.
    Mark {
        /// What it is the price of.
        symbol: String,
        /// Of one.
        price: Decimal,
    },
    /// A deposit or a withdrawal.
    Cash {
        /// How much, signed.
        amount: Decimal,
    },
}

/// A recomputation on its way. Inputs are added in the order of `(ts_ms, seq)`.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    settings: &'a Settings,
    day: i64,
    books: BTreeMap<String, Book>,
    flows: i128,
    realized: i128,
    fees: i128,
    fills: u64,
    closed: Vec<i128>,
    equity: i128,
    peak: i128,
    close_peak: i128,
    worst: f64,
    close_worst: f64,
    day_start: i128,
    day_start_balance: i128,
    day_max: i128,
    day_min: i128,
    /// Equity before and after each cash flow of the period that is not over.
    splits: Vec<(i128, i128)>,
    period_start: i128,
    returns: Vec<f64>,
}

/// What is held of a symbol.
#[derive(Clone, Debug, Default)]
struct Book {
    quantity: i128,
    cost: i128,
    price: i128,
    entry_fees: i128,
    trip: i128,
    lots: VecDeque<(i128, i128)>,
}

/// Where kept and recomputed differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The field.
    pub field: String,
    /// What the account has.
    pub kept: String,
    /// What the recomputation gives.
    pub recomputed: String,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Money(i128),
    Count(u64),
    Ratio(Option<f64>),
}

/// Recomputes from all kept inputs, in any order, of an account that [began](Account::began_ms) then, up to that time.
pub fn recompute(settings: &Settings, began_ms: u64, mut inputs: Vec<Kept>, until_ms: u64) -> Batch<'_> {
    inputs.sort_by_key(|input| (input.ts_ms, input.seq));
    let mut batch = Batch::new(settings, began_ms);
    for input in &inputs {
        batch.add(input);
    }
    batch.close(until_ms);
    batch
}

/// Where `account` differs from `batch`; nowhere, if all is well.
pub fn compare(account: &Account, batch: &Batch<'_>) -> Vec<Drift> {
    let (kept, recomputed) = (account_fields(account), batch.fields());
    let names: std::collections::BTreeSet<&String> = kept.keys().chain(recomputed.keys()).collect();
    let text = |field: Option<&Field>| field.map_or_else(|| "nothing".to_owned(), Field::text);
    let differing = names.into_iter().filter(|name| !agree(kept.get(*name), recomputed.get(*name)));
    differing.map(|name| Drift { field: name.clone(), kept: text(kept.get(name)), recomputed: text(recomputed.get(name)) }).collect()
}

impl Account {
    /// All numbers that a recomputation gives too, as a JSON object.
    pub fn numbers(&self) -> Value {
        object(&account_fields(self))
    }
}

impl<'a> Batch<'a> {
    /// Of an account that began then.
    pub fn new(settings: &'a Settings, began_ms: u64) -> Batch<'a> {
        let start = settings.start_equity.money().0;
        Batch {
            settings,
            day: settings.reset.day_of(began_ms),
            books: BTreeMap::new(),
            flows: 0,
            realized: 0,
            fees: 0,
            fills: 0,
            closed: Vec::new(),
            equity: start,
            peak: start,
            close_peak: start,
            worst: 0.0,
            close_worst: 0.0,
            day_start: start,
            day_start_balance: start,
            day_max: start,
            day_min: start,
            splits: Vec::new(),
            period_start: start,
            returns: Vec::new(),
        }
    }

    /// Adds the next input.
    pub fn add(&mut self, input: &Kept) {
        self.close(input.ts_ms);
        match &input.what {
            KeptWhat::Fill { symbol, quantity, price, fee } => self.fill(symbol, quantity.0.into(), price.0.into(), fee.money().0),
            KeptWhat::Mark { symbol, price } => self.books.entry(symbol.clone()).or_default().price = price.0.into(),
            KeptWhat::Cash { amount } => self.cash(amount.money().0),
        }
        self.look();
    }

    /// Closes the days that are over at that time.
    pub fn close(&mut self, until_ms: u64) {
        let today = self.settings.reset.day_of(until_ms);
        while self.day < today {
            self.close_day();
        }
    }

    /// All numbers, as a JSON object.
    pub fn numbers(&self) -> Value {
        object(&self.fields())
    }

    fn fill(&mut self, symbol: &str, quantity: i128, price: i128, fee: i128) {
        let book = self.books.entry(symbol.to_owned()).or_default();
        let (realized, net) = book.fill(quantity, price, fee, self.settings);
        self.realized = self.realized.saturating_add(realized);
        self.fees = self.fees.saturating_add(fee);
        self.fills += 1;
        self.closed.extend(net);
    }

    fn cash(&mut self, amount: i128) {
        let before = self.equity;
        self.flows = self.flows.saturating_add(amount);
        let after = self.equity_now();
        self.splits.push((before, after));
        let floor = self.settings.floor_at_zero;
        for base in
            [&mut self.peak, &mut self.close_peak, &mut self.day_start, &mut self.day_start_balance, &mut self.day_max, &mut self.day_min]
        {
            *base = floored(base.saturating_add(amount), floor);
        }
    }

    fn open_value(&self) -> i128 {
        let of_book = |book: &Book| book.quantity.saturating_mul(book.price).saturating_sub(book.cost);
        self.books.values().map(of_book).fold(0, i128::saturating_add)
    }

    fn balance_raw(&self) -> i128 {
        let start = self.settings.start_equity.money().0;
        start.saturating_add(self.flows).saturating_add(self.realized).saturating_sub(self.fees)
    }

    fn equity_now(&self) -> i128 {
        floored(self.balance_raw().saturating_add(self.open_value()), self.settings.floor_at_zero)
    }

    /// Looks at equity after an input.
    fn look(&mut self) {
        self.equity = self.equity_now();
        self.peak = self.peak.max(self.equity);
        self.day_max = self.day_max.max(self.equity);
        self.day_min = self.day_min.min(self.equity);
        self.worst = self.worst.max(below(self.peak, self.equity));
    }

    fn close_day(&mut self) {
        self.close_peak = self.close_peak.max(self.equity);
        self.close_worst = self.close_worst.max(below(self.close_peak, self.equity));
        let date = self.day + i64::from(self.settings.reset.minute >= 720);
        if self.settings.sampling == Sampling::EveryDay || weekday(date) < 5 {
            self.returns.extend(self.period_return());
            self.splits.clear();
            self.period_start = self.equity;
        }
        self.day += 1;
        (self.day_start, self.day_max, self.day_min) = (self.equity, self.equity, self.equity);
        self.day_start_balance = floored(self.balance_raw(), self.settings.floor_at_zero);
    }

    /// The growths between cash flows, multiplied, less one.
    fn period_return(&self) -> Option<f64> {
        let starts = std::iter::once(self.period_start).chain(self.splits.iter().map(|(_, after)| *after));
        let ends = self.splits.iter().map(|(before, _)| *before).chain(std::iter::once(self.equity));
        let parts: Vec<(i128, i128)> = starts.zip(ends).collect();
        if parts.iter().any(|(start, _)| *start <= 0) {
            return None;
        }
        let growth: f64 = parts.iter().map(|(start, end)| *end as f64 / *start as f64).product();
        match parts[..] {
            [(start, end)] => Some((end - start) as f64 / start as f64),
            _ => Some(growth - 1.0).filter(|sample| sample.is_finite()),
        }
    }

    fn fields(&self) -> BTreeMap<String, Field> {
        let (mut wins, mut losses) = (self.closed.clone(), self.closed.clone());
        wins.retain(|net| *net > 0);
        losses.retain(|net| *net < 0);
        let sum = |nets: &[i128]| nets.iter().fold(0_i128, |sum, net| sum.saturating_add(*net));
        let (won, lost) = (sum(&wins), -sum(&losses));
        let (w, l) = (wins.len() as f64, losses.len() as f64);
        let (sharpe, sortino) = self.ratios();
        let (var_95, cvar_95) = self.value_at_risk();
        let mut fields = BTreeMap::new();
        let mut put = |name: &str, field| fields.insert(name.to_owned(), field);
        put("equity", Field::Money(self.equity));
        put("balance", Field::Money(floored(self.balance_raw(), self.settings.floor_at_zero)));
        put("realized_pnl", Field::Money(self.realized));
        put("unrealized_pnl", Field::Money(self.open_value()));
        put("fees", Field::Money(self.fees));
        put("cash_flows", Field::Money(self.flows));
        put("max_equity_ever", Field::Money(self.peak));
        put("daily_start_equity", Field::Money(self.day_start));
        put("daily_start_balance", Field::Money(self.day_start_balance));
        put("daily_max_equity", Field::Money(self.day_max));
        put("daily_min_equity", Field::Money(self.day_min));
        put("total_trades", Field::Count(self.fills));
        put("wins", Field::Count(wins.len() as u64));
        put("losses", Field::Count(losses.len() as u64));
        put("breakeven", Field::Count((self.closed.len() - wins.len() - losses.len()) as u64));
        put("gross_win", Field::Money(won));
        put("gross_loss", Field::Money(lost));
        put("win_rate", Field::Ratio(finite(w / (w + l))));
        put("profit_factor", Field::Ratio(finite(won as f64 / lost as f64)));
        put("payoff_ratio", Field::Ratio(finite((won as f64 / w) / (lost as f64 / l))));
        put("max_drawdown_ratio", Field::Ratio(Some(self.worst)));
        put("max_close_drawdown_ratio", Field::Ratio(Some(self.close_worst)));
        put("sharpe_ratio", Field::Ratio(sharpe));
        put("sortino_ratio", Field::Ratio(sortino));
        put("var_95", Field::Ratio(var_95));
        put("cvar_95", Field::Ratio(cvar_95));
        put("returns", Field::Count(self.returns.len() as u64));
        for (symbol, book) in self.books.iter().filter(|(_, book)| book.quantity != 0) {
            fields.insert(format!("positions.{symbol}.quantity"), Field::Money(book.quantity * 100_000_000));
            fields.insert(format!("positions.{symbol}.basis"), Field::Money(book.cost));
        }
        fields
    }

    fn ratios(&self) -> (Option<f64>, Option<f64>) {
        let n = self.returns.len() as f64;
        if self.returns.len() < (self.settings.samples_min as usize).max(2) {
            return (None, None);
        }
        let rate = period_rate(self.settings.risk_free, self.settings.periods);
        let mean = self.returns.iter().sum::<f64>() / n;
        let variance = self.returns.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let downside = self.returns.iter().map(|sample| (sample - rate).min(0.0).powi(2)).sum::<f64>() / n;
        let ratio = |deviation: f64| {
            let is_noise = deviation <= 1e-14 * mean.abs();
            if is_noise { None } else { finite((mean - rate) / deviation * f64::from(self.settings.periods).sqrt()) }
        };
        (ratio(variance.sqrt()), ratio(downside.sqrt()))
    }

    fn value_at_risk(&self) -> (Option<f64>, Option<f64>) {
        let window = self.returns.len().min(usize::from(self.settings.returns_kept));
        let mut recent = self.returns[self.returns.len() - window..].to_vec();
        if window < 30 {
            return (None, None);
        }
        recent.sort_by(f64::total_cmp);
        let at = (window - 1) as f64 / 20.0;
        let worst = &recent[..=at.floor() as usize];
        let percentile = worst[worst.len() - 1] * (1.0 - at.fract()) + recent[worst.len()] * at.fract();
        (Some(-percentile), Some(-worst.iter().sum::<f64>() / worst.len() as f64))
    }
}

impl Book {
    /// Profit before fees, and the net result of the trade that ended, if one did.
    fn fill(&mut self, quantity: i128, price: i128, fee: i128, settings: &Settings) -> (i128, Option<i128>) {
        self.price = price;
        let against = self.quantity.signum() * quantity.signum() < 0;
        let closing = if against { quantity.abs().min(self.quantity.abs()) } else { 0 };
        let closing_fee = part_of(fee, closing, quantity.abs());
        let (mut realized, mut ended) = (0, None);
        if closing > 0 {
            let all = self.quantity.abs();
            let cost = match settings.method {
                Method::Average => part_of(self.cost, closing, all),
                Method::Fifo => self.oldest(closing),
            };
            let entry_fees = part_of(self.entry_fees, closing, all);
            realized = (closing * self.quantity.signum()).saturating_mul(price).saturating_sub(cost);
            self.quantity += closing * quantity.signum();
            self.cost -= cost;
            self.entry_fees -= entry_fees;
            let net = realized.saturating_sub(closing_fee).saturating_sub(entry_fees);
            self.trip = self.trip.saturating_add(net);
            ended = match settings.trades {
                TradeCount::PerClose => Some(net),
                TradeCount::PerRoundTrip => (self.quantity == 0).then_some(self.trip),
            };
            if self.quantity == 0 {
                self.trip = 0;
            }
        }
        let opening = quantity - closing * quantity.signum();
        if opening != 0 {
            self.quantity = self.quantity.saturating_add(opening);
            self.cost = self.cost.saturating_add(opening.saturating_mul(price));
            self.entry_fees += fee - closing_fee;
            self.lots.push_back((opening, price));
        }
        (realized, ended)
    }

    /// The cost of the oldest `closing`, which go.
    fn oldest(&mut self, closing: i128) -> i128 {
        let (mut left, mut cost) = (closing, 0_i128);
        while let Some((quantity, price)) = self.lots.pop_front() {
            let taken = left.min(quantity.abs()) * quantity.signum();
            cost = cost.saturating_add(taken.saturating_mul(price));
            left -= taken.abs();
            if taken != quantity {
                self.lots.push_front((quantity - taken, price));
                break;
            }
            if left == 0 {
                break;
            }
        }
        cost
    }
}

/// `amount x part / whole`, half to even, by long division in base 2: as it is taught, with a remainder that never overflows.
fn part_of(amount: i128, part: i128, whole: i128) -> i128 {
    if whole == 0 {
        return 0;
    }
    let (whole, part) = (whole.unsigned_abs(), part.unsigned_abs());
    let (mut quotient, mut rest) = (0_u128, 0_u128);
    for bit in (0..128 - amount.unsigned_abs().leading_zeros()).rev() {
        // The product so far doubles, and `part` comes to it where the amount has the bit.
        let added = if amount.unsigned_abs() >> bit & 1 == 1 { part } else { 0 };
        let sum = rest * 2 + added;
        quotient = quotient * 2 + sum / whole;
        rest = sum % whole;
    }
    if rest * 2 > whole || (rest * 2 == whole && quotient % 2 == 1) {
        quotient += 1;
    }
    amount.signum() * quotient.cast_signed()
}

fn floored(money: i128, is_floored: bool) -> i128 {
    if is_floored { money.max(0) } else { money }
}

fn below(peak: i128, equity: i128) -> f64 {
    if peak > 0 { peak.saturating_sub(equity) as f64 / peak as f64 } else { 0.0 }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn account_fields(account: &Account) -> BTreeMap<String, Field> {
    let (figures, live) = (account.figures(), &account.live);
    let mut fields = BTreeMap::new();
    let mut put = |name: &str, field| fields.insert(name.to_owned(), field);
    put("equity", Field::Money(figures.equity.0));
    put("balance", Field::Money(figures.balance.0));
    put("realized_pnl", Field::Money(figures.realized.0));
    put("unrealized_pnl", Field::Money(figures.unrealized.0));
    put("fees", Field::Money(figures.fees.0));
    put("cash_flows", Field::Money(live.flows.0));
    put("max_equity_ever", Field::Money(live.peak.0));
    put("daily_start_equity", Field::Money(live.day.start.0));
    put("daily_start_balance", Field::Money(live.day.start_balance.0));
    put("daily_max_equity", Field::Money(live.day.max.0));
    put("daily_min_equity", Field::Money(live.day.min.0));
    put("total_trades", Field::Count(live.fills));
    put("wins", Field::Count(figures.wins));
    put("losses", Field::Count(figures.losses));
    put("breakeven", Field::Count(figures.breakeven));
    put("gross_win", Field::Money(figures.gross_win.0));
    put("gross_loss", Field::Money(figures.gross_loss.0));
    put("win_rate", Field::Ratio(figures.win_rate));
    put("profit_factor", Field::Ratio(figures.profit_factor));
    put("payoff_ratio", Field::Ratio(figures.payoff));
    put("max_drawdown_ratio", Field::Ratio(Some(figures.drawdown_max)));
    put("max_close_drawdown_ratio", Field::Ratio(Some(figures.close_drawdown_max)));
    put("sharpe_ratio", Field::Ratio(figures.sharpe));
    put("sortino_ratio", Field::Ratio(figures.sortino));
    put("var_95", Field::Ratio(figures.var_95));
    put("cvar_95", Field::Ratio(figures.cvar_95));
    put("returns", Field::Count(figures.returns));
    for (symbol, position) in account.symbols.names().zip(&live.positions).filter(|(_, position)| position.quantity != 0) {
        fields.insert(format!("positions.{symbol}.quantity"), Field::Money(Decimal(position.quantity).money().0));
        fields.insert(format!("positions.{symbol}.basis"), Field::Money(position.basis.0));
    }
    fields
}

impl Field {
    fn text(&self) -> String {
        match self {
            Field::Money(units) => Money(*units).text(MONEY_PLACES as u8),
            Field::Count(count) => count.to_string(),
            Field::Ratio(ratio) => ratio.map_or_else(|| "null".to_owned(), |ratio| ratio.to_string()),
        }
    }
}

fn agree(kept: Option<&Field>, recomputed: Option<&Field>) -> bool {
    match (kept, recomputed) {
        (Some(Field::Ratio(Some(kept))), Some(Field::Ratio(Some(recomputed)))) => {
            (kept - recomputed).abs() <= TOLERANCE * kept.abs().max(recomputed.abs())
        }
        _ => kept == recomputed,
    }
}

fn object(fields: &BTreeMap<String, Field>) -> Value {
    let value = |field: &Field| match field {
        Field::Money(_) => Value::String(field.text()),
        Field::Count(count) => Value::Number((*count).into()),
        Field::Ratio(ratio) => ratio.and_then(Number::from_f64).map_or(Value::Null, Value::Number),
    };
    Value::Object(fields.iter().map(|(name, field)| (name.clone(), value(field))).collect::<Map<_, _>>())
}
