//! One account: its numbers, its rules, and what is to be published of them.

use std::fmt;
use std::sync::Arc;

use super::days::Days;
use super::decimal::{Decimal, Money};
use super::figures::Figures;
use super::ledger::{Change, Entry, Ledger, Unbookable, What};
use super::output::{Cause, EquityUpdate, MetricsUpdate, Output, Status};
use super::rules::{Case, Judge, Verdict};
use super::settings::Settings;
use super::symbols::Symbols;

/// How far an input's time may be ahead of the clock.
pub const AHEAD_MS_MAX: u64 = 60_000;
/// Times are Unix milliseconds of 2000 to 2100: what lies outside was meant in seconds, or is no time.
const TIMES_MS: std::ops::Range<u64> = 946_684_800_000..4_102_444_800_000;

/// Who the numbers are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Its id.
    pub id: String,
    /// Who owns it.
    pub user: Option<String>,
}

/// What the numbers are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// A challenge of a prop-trading desk.
    Challenge,
    /// An account.
    Account,
}

/// A fill. `seq` grows in the order in which an account's inputs are accepted, and is used once; inputs count in the order of `(ts_ms, seq)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill<'a> {
    /// When it was made.
    pub ts_ms: u64,
    /// Its number.
    pub seq: u64,
    /// What was traded.
    pub symbol: &'a str,
    /// Above zero bought, below zero sold.
    pub quantity: Decimal,
    /// Of one.
    pub price: Decimal,
    /// Paid for it; below zero is a rebate.
    pub fee: Decimal,
}

/// A price of the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// When it held.
    pub ts_ms: u64,
    /// Its number.
    pub seq: u64,
    /// What it is the price of.
    pub symbol: &'a str,
    /// Of one.
    pub price: Decimal,
}

/// Money that came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CashFlow {
    /// When.
    pub ts_ms: u64,
    /// Its number.
    pub seq: u64,
    /// Above zero a deposit, below zero a withdrawal.
    pub amount: Decimal,
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It counts, at that time: what is kept for a recomputation has to have it.
    Kept {
        /// Its own, but for a mark that came late.
        ts_ms: u64,
        /// Whether newer ones were there already, so that numbers were worked out again.
        is_late: bool,
    },
    /// It changes nothing: the price of what was never traded, or one older than the price that it would replace.
    Ignored,
}

/// Why an input was refused. No number changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A fill of nothing.
    ZeroQuantity,
    /// It is older than what is kept.
    TooLate {
        /// Its time.
        ts_ms: u64,
        /// The oldest that could be taken.
        oldest_ms: u64,
    },
    /// Amounts would become larger than can be kept.
    Overflow,
    /// More symbols than an account may have.
    TooManySymbols,
    /// More open lots than an account may have.
    TooManyLots,
    /// Its number is not above those before.
    Duplicate {
        /// Its number.
        seq: u64,
    },
    /// Its time is none of this century.
    BadTime {
        /// Its time.
        ts_ms: u64,
    },
    /// Its time is not yet.
    Ahead {
        /// Its time.
        ts_ms: u64,
        /// The clock's.
        now_ms: u64,
    },
}

impl Refusal {
    /// A short name, for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::ZeroQuantity => "zero_quantity",
            Refusal::TooLate { .. } => "too_late",
            Refusal::Overflow => "overflow",
            Refusal::TooManySymbols => "too_many_symbols",
            Refusal::TooManyLots => "too_many_lots",
            Refusal::Duplicate { .. } => "duplicate",
            Refusal::BadTime { .. } => "bad_time",
            Refusal::Ahead { .. } => "ahead",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::ZeroQuantity => write!(f, "quantity: a fill of nothing; publish it without, or with what was filled"),
            Refusal::TooLate { ts_ms, oldest_ms } => {
                write!(
                    f,
                    "time: {ts_ms} is older than {oldest_ms}, the oldest that numbers are still worked out from; raise late_days or inputs_max"
                )
            }
            Refusal::Overflow => write!(f, "quantity, price: amounts would exceed a quadrillion; use a larger unit"),
            Refusal::TooManySymbols => write!(f, "symbol: one more than an account may have; use several accounts"),
            Refusal::TooManyLots => write!(f, "symbol: one open lot more than an account may have; use the average method"),
            Refusal::Duplicate { seq } => write!(f, "seq: {seq} was taken before, or is below one that was"),
            Refusal::BadTime { ts_ms } => write!(f, "time: {ts_ms} is not between 2000 and 2100; write Unix milliseconds"),
            Refusal::Ahead { ts_ms, now_ms } => {
                write!(f, "time: {ts_ms} is more than a minute after now, {now_ms}; check the publisher's clock")
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Unbookable> for Refusal {
    fn from(unbookable: Unbookable) -> Refusal {
        match unbookable {
            Unbookable::Overflow => Refusal::Overflow,
            Unbookable::TooManyLots => Refusal::TooManyLots,
        }
    }
}

/// To be asked before an input is given: a time that is not yet would close days that are not over.
pub fn check_time(ts_ms: u64, now_ms: u64) -> Result<(), Refusal> {
    if !TIMES_MS.contains(&ts_ms) {
        return Err(Refusal::BadTime { ts_ms });
    }
    if ts_ms > now_ms.saturating_add(AHEAD_MS_MAX) { Err(Refusal::Ahead { ts_ms, now_ms }) } else { Ok(()) }
}

/// How much an account has taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Fills.
    pub fills: u64,
    /// Marks.
    pub marks: u64,
    /// Cash flows.
    pub flows: u64,
    /// Those among them that came late.
    pub late: u64,
    /// Days that are over.
    pub days_closed: u64,
}

/// One account. Inputs go in, what is to be published comes out; no clock, no I/O.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub(super) subject: Subject,
    pub(super) settings: Arc<Settings>,
    pub(super) symbols: Symbols,
    pub(super) days: Days,
    pub(super) live: Ledger,
    pub(super) judge: Judge,
    pub(super) counts: Counts,
    pub(super) began_ms: u64,
    pub(super) now_ms: u64,
    pub(super) last_seq: u64,
}

impl Account {
    /// An account that begins on the day of `now_ms`, or on that of its first input, if that is earlier.
    pub fn new(subject: Subject, settings: Arc<Settings>, now_ms: u64) -> Account {
        let live = Ledger::new(&settings, now_ms);
        Account {
            subject,
            symbols: Symbols::default(),
            days: Days::new(live.clone()),
            judge: Judge::new(settings.rules.as_ref()),
            counts: Counts::default(),
            began_ms: now_ms,
            now_ms,
            last_seq: 0,
            live,
            settings,
        }
    }

    /// Takes a fill.
    pub fn apply(&mut self, fill: &Fill<'_>, out: &mut Vec<Output>) -> Result<Taken, Refusal> {
        if fill.quantity.0 == 0 {
            return Err(Refusal::ZeroQuantity);
        }
        self.check(fill.ts_ms, fill.seq)?;
        let symbol = self.symbols.number_of(fill.symbol).ok_or(Refusal::TooManySymbols)?;
        let what = What::Fill { symbol, quantity: fill.quantity.0, price: fill.price, fee: fill.fee };
        let taken = self.take(Entry { ts_ms: fill.ts_ms, seq: fill.seq, what }, out)?;
        self.symbols.note(fill.symbol, symbol);
        self.counts.fills += 1;
        Ok(taken)
    }

    /// Takes a price. Prices do not rewrite the past: one that comes late counts at the time of the newest input.
    pub fn mark(&mut self, mark: &Mark<'_>, out: &mut Vec<Output>) -> Result<Taken, Refusal> {
        self.check(mark.ts_ms, mark.seq)?;
        let Some(symbol) = self.symbols.find(mark.symbol) else { return Ok(Taken::Ignored) };
        let position = &self.live.positions[symbol as usize];
        if mark.ts_ms < position.priced_at_ms {
            return Ok(Taken::Ignored);
        }
        let ts_ms = mark.ts_ms.max(self.live.newest.0).max(self.live.day.start_ms);
        let taken = self.take(Entry { ts_ms, seq: mark.seq, what: What::Mark { symbol, price: mark.price } }, out)?;
        self.counts.marks += 1;
        Ok(taken)
    }

    /// Takes a deposit or a withdrawal.
    pub fn cash_flow(&mut self, flow: &CashFlow, out: &mut Vec<Output>) -> Result<Taken, Refusal> {
        self.check(flow.ts_ms, flow.seq)?;
        let taken = self.take(Entry { ts_ms: flow.ts_ms, seq: flow.seq, what: What::Cash { amount: flow.amount } }, out)?;
        self.counts.flows += 1;
        Ok(taken)
    }

    /// Lets time pass: closes days that are over, and tells that nothing is traded.
    pub fn tick(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        self.now_ms = self.now_ms.max(now_ms);
        let today = self.live.day.number;
        self.roll(self.now_ms, out);
        let cause = Cause::Day(self.live.day.number);
        if self.live.day.number != today {
            self.publish(Change::default(), true, self.live.day.start_ms, cause, out);
        }
        let settings = Arc::clone(&self.settings);
        if let Some(rules) = &settings.rules {
            let case = Case { settings: &settings, rules, ledger: &self.live, now_ms: self.now_ms, cause };
            self.judge.note_idleness(&case, out);
        }
    }

    fn check(&self, ts_ms: u64, seq: u64) -> Result<(), Refusal> {
        if !TIMES_MS.contains(&ts_ms) {
            return Err(Refusal::BadTime { ts_ms });
        }
        if seq <= self.last_seq { Err(Refusal::Duplicate { seq }) } else { Ok(()) }
    }

    fn take(&mut self, entry: Entry, out: &mut Vec<Output>) -> Result<Taken, Refusal> {
        if self.live.inputs == 0 && entry.ts_ms < self.days.oldest().0 {
            self.begin_earlier(entry.ts_ms);
        }
        let (today, is_first) = (self.live.day.number, self.live.inputs == 0);
        self.roll(entry.ts_ms, out);
        let is_late = entry.key() < self.live.newest || entry.ts_ms < self.live.day.start_ms;
        let is_day_over = self.live.day.number != today;
        let taken = if is_late { self.take_late(entry) } else { self.take_newest(entry).map(|change| (change, None)) };
        if taken.is_err() && is_day_over {
            self.publish(Change::default(), true, self.live.day.start_ms, Cause::Day(self.live.day.number), out);
        }
        let (change, verdict) = taken?;
        let change = Change { is_close: change.is_close || is_first, ..change };
        self.last_seq = entry.seq;
        self.now_ms = self.now_ms.max(entry.ts_ms);
        if matches!(entry.what, What::Fill { .. }) && self.settings.rules.is_some() {
            self.judge.start(entry.ts_ms, out);
        }
        self.judge.end(verdict, self.live.newest.0, out);
        self.publish(change, is_day_over, self.live.newest.0, Cause::Now, out);
        Ok(Taken::Kept { ts_ms: entry.ts_ms, is_late })
    }

    fn take_newest(&mut self, entry: Entry) -> Result<Change, Refusal> {
        let change = self.live.take(&entry, &self.settings)?;
        self.days.keep(entry, &self.settings);
        Ok(change)
    }

    /// Puts a late input where it belongs, and works out again what is behind it. A limit exceeded on the way counts.
    fn take_late(&mut self, entry: Entry) -> Result<(Change, Option<Verdict>), Refusal> {
        let oldest = self.days.oldest();
        let is_before = entry.key() < oldest;
        if is_before && !self.days.may_begin_earlier(entry.ts_ms, self.live.day.number, &self.settings) {
            return Err(Refusal::TooLate { ts_ms: entry.ts_ms, oldest_ms: oldest.0 });
        }
        let (settings, now_ms) = (Arc::clone(&self.settings), self.now_ms);
        let mut verdict = None;
        let see = |ledger: &Ledger| {
            if let Some(rules) = settings.rules.as_ref().filter(|_| verdict.is_none()) {
                verdict = Case { settings: &settings, rules, ledger, now_ms, cause: Cause::Now }.verdict();
            }
        };
        if is_before {
            (self.days, self.live) = self.days.begin_earlier(entry, self.live.day.number, &settings, see)?;
            self.began_ms = entry.ts_ms;
        } else {
            let rewrite = self.days.rewrite(entry, &settings, see)?;
            self.live = self.days.accept(rewrite, &self.live, &settings);
        }
        self.counts.late += 1;
        Ok((Change { is_valued: true, is_close: true }, verdict))
    }

    fn begin_earlier(&mut self, ts_ms: u64) {
        self.live = Ledger::new(&self.settings, ts_ms);
        self.days = Days::new(self.live.clone());
        (self.began_ms, self.now_ms) = (ts_ms, ts_ms);
    }

    /// Closes the days that are over at that time. The rules are asked as each begins: what is near a day's limit is another thing then.
    fn roll(&mut self, ts_ms: u64, out: &mut Vec<Output>) {
        if ts_ms < self.live.day.end_ms {
            return;
        }
        let settings = Arc::clone(&self.settings);
        let today = settings.reset.day_of(ts_ms);
        while ts_ms >= self.live.day.end_ms {
            self.days.close(&mut self.live, today, &settings);
            if let Some(rules) = &settings.rules {
                let now_ms = self.live.day.start_ms;
                let case = Case { settings: &settings, rules, ledger: &self.live, now_ms, cause: Cause::Day(self.live.day.number) };
                self.judge.end(case.verdict(), now_ms, out);
                self.judge.warn(&case, out);
            }
        }
        self.counts.days_closed = self.live.days_closed;
    }

    /// What follows from a change, by the rules and of the numbers: what counts first, then the states.
    fn publish(&mut self, change: Change, is_day_over: bool, ts_ms: u64, cause: Cause, out: &mut Vec<Output>) {
        let settings = Arc::clone(&self.settings);
        let is_valued = change.is_valued || is_day_over;
        if let Some(rules) = settings.rules.as_ref().filter(|_| is_valued) {
            let case = Case { settings: &settings, rules, ledger: &self.live, now_ms: ts_ms, cause };
            if self.judge.status == Status::Active {
                self.judge.end(case.verdict(), ts_ms, out);
            }
            self.judge.warn(&case, out);
            // Value at risk, which sorts, is another one only when a day is over.
            let returns = if is_day_over { usize::MAX } else { 0 };
            self.judge.watch(&case, || Figures::of(&self.live, self.days.recent(&settings).take(returns), &settings), out);
        }
        if is_valued {
            out.push(Output::Equity(EquityUpdate::of(&self.live, &settings, ts_ms, self.revision())));
        }
        if change.is_close || is_day_over {
            out.push(Output::Metrics(MetricsUpdate { ts_ms }));
        }
    }

    /// Takes over a status that was published, whatever led to it may not be known any more. It never goes back, and the same changes nothing.
    pub fn settle(&mut self, status: Status, seq: u64) -> Result<Taken, Refusal> {
        if seq <= self.last_seq {
            return Err(Refusal::Duplicate { seq });
        }
        self.last_seq = seq;
        Ok(if self.judge.settle(status) { Taken::Kept { ts_ms: self.now_ms, is_late: false } } else { Taken::Ignored })
    }

    /// A trade that is so old when it is heard of is not told to be the last one for long. Whether it was.
    pub fn excuse_idleness(&mut self, now_ms: u64) -> bool {
        let trade = self.live.last_trade.filter(|trade| Judge::is_idle_since(trade, now_ms, &self.settings));
        trade.is_some_and(|trade| self.judge.idle_since.replace(trade.seq) != Some(trade.seq))
    }

    /// What it has to say of its numbers now, whoever heard it before: for who begins again.
    pub fn states(&self, out: &mut Vec<Output>) {
        let ts_ms = self.live.newest.0.max(self.live.day.start_ms);
        out.push(Output::Equity(EquityUpdate::of(&self.live, &self.settings, ts_ms, self.revision())));
        out.push(Output::Metrics(MetricsUpdate { ts_ms }));
    }

    /// Who it is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Who owns it.
    pub fn set_user(&mut self, user: &str) {
        self.subject.user = Some(user.to_owned());
    }

    /// How its numbers are made.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes other settings, as far as they leave the numbers as they are: rules, places, what is kept.
    pub fn reconfigure(&mut self, settings: Arc<Settings>) -> Result<(), String> {
        settings.validate()?;
        if !self.settings.makes_numbers_of(&settings) {
            return Err("settings that change numbers (start_equity, method, trades, reset, sampling, periods, risk_free, returns_kept, \
                        floor_at_zero) hold for new accounts only: recompute this one"
                .to_owned());
        }
        self.judge.follow(settings.rules.as_ref());
        self.settings = settings;
        Ok(())
    }

    /// What it is worth.
    pub fn equity(&self) -> Money {
        self.live.equity(&self.settings)
    }

    /// Where it stands under its rules.
    pub fn status(&self) -> Status {
        self.judge.status
    }

    /// All its figures.
    pub fn figures(&self) -> Figures {
        Figures::of(&self.live, self.days.recent(&self.settings), &self.settings)
    }

    /// Whether it has an open position in that symbol.
    pub fn holds(&self, symbol: &str) -> bool {
        self.symbols.find(symbol).is_some_and(|symbol| self.live.positions[symbol as usize].quantity != 0)
    }

    /// Whether it has ever traded that symbol, so that its prices are wanted.
    pub fn knows(&self, symbol: &str) -> bool {
        self.symbols.find(symbol).is_some()
    }

    /// Those it has ever traded.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.symbols.names()
    }

    /// The number of the newest input.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Grows with every change of the numbers, and is the same again when the same inputs are given again.
    pub fn revision(&self) -> u64 {
        self.live.inputs + self.live.days_closed
    }

    /// How much it has taken.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When it began.
    pub fn began_ms(&self) -> u64 {
        self.began_ms
    }

    /// The newest time it knows.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// About how much memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let of_ledger = |ledger: &Ledger| {
            let lots: usize = ledger.positions.iter().map(|position| position.lots.capacity() * size_of::<super::position::Lot>()).sum();
            ledger.positions.capacity() * size_of::<super::position::Position>() + lots
        };
        let of_days = self.days.logs.iter().map(|log| of_ledger(&log.start) + log.entries.capacity() * size_of::<Entry>());
        let of_logs = self.days.logs.capacity() * size_of::<super::days::DayLog>() + self.days.returns.capacity() * size_of::<f64>();
        size_of::<Account>()
            + of_ledger(&self.live)
            + of_days.sum::<usize>()
            + of_logs
            + self.symbols.memory_bytes()
            + self.subject.id.capacity()
    }
}
