//! An account as bytes, so that a restart changes no number.
//!
//! A dump has a version and the settings by which its numbers were made. It is read back only under the same settings: others would go on from
//! numbers that they would not have made. Rules, places and what is kept for late fills may be others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::account::{Account, Counts, Subject, SubjectKind};
use super::codec::{Coded, fields, get_all, names, put_all};
use super::days::{DayLog, Days};
use super::decimal::{Decimal, Money};
use super::ledger::{Day, Entry, LastTrade, Ledger, Trades, What};
use super::output::Status;
use super::position::{Lot, Position};
use super::returns::Returns;
use super::rules::{Alarm, Judge};
use super::settings::{Method, Settings};
use super::symbols::Symbols;

/// Of the bytes' layout.
const VERSION: u16 = 1;

/// Why bytes could not be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// They are not what was written.
    Damaged,
    /// They were written by another version.
    Version(u16),
    /// Their numbers were made by other settings.
    Settings,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::Damaged => f.write_str("the kept state is damaged: recompute it from the kept inputs"),
            RestoreError::Version(version) => {
                write!(f, "the kept state has version {version}, not {VERSION}: recompute it from the kept inputs")
            }
            RestoreError::Settings => f.write_str("the kept state was made by other settings: recompute it from the kept inputs"),
        }
    }
}

impl std::error::Error for RestoreError {}

impl Account {
    /// The whole state, kept inputs included.
    pub fn dump(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        VERSION.put(&mut bytes);
        fingerprint(&self.settings).put(&mut bytes);
        self.subject.put(&mut bytes);
        self.symbols.put(&mut bytes);
        self.days.put(&mut bytes);
        self.live.put(&mut bytes);
        self.judge.put(&mut bytes);
        self.counts.put(&mut bytes);
        self.began_ms.put(&mut bytes);
        self.now_ms.put(&mut bytes);
        self.last_seq.put(&mut bytes);
        bytes
    }

    /// The account that was dumped; it goes on as if it had never stopped, once the inputs behind [`Account::last_seq`] are given again.
    pub fn restore(settings: Arc<Settings>, mut bytes: &[u8]) -> Result<Account, RestoreError> {
        let bytes = &mut bytes;
        let version = u16::get(bytes).ok_or(RestoreError::Damaged)?;
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        if String::get(bytes).ok_or(RestoreError::Damaged)? != fingerprint(&settings) {
            return Err(RestoreError::Settings);
        }
        let mut account = read(settings, bytes).filter(|account| bytes.is_empty() && account.is_whole()).ok_or(RestoreError::Damaged)?;
        account.judge.follow(account.settings.rules.as_ref());
        Ok(account)
    }

    /// Whether what is kept fits together, so that damaged bytes do not end the process later.
    fn is_whole(&self) -> bool {
        let symbols = self.symbols.names().len();
        let of_known = |ledger: &Ledger| {
            let traded = ledger.last_trade.is_none_or(|trade| (trade.symbol as usize) < symbols);
            let lots = |position: &Position| position.lots.iter().map(|lot| i128::from(lot.quantity)).sum::<i128>();
            let open: usize = ledger.positions.iter().map(|position| position.lots.len()).sum();
            let held = |position: &Position| self.settings.method == Method::Average || lots(position) == i128::from(position.quantity);
            traded && open as u64 == ledger.lots && ledger.positions.iter().all(held)
        };
        let entries = |log: &DayLog| {
            log.entries.iter().all(|entry| match entry.what {
                What::Fill { symbol, .. } | What::Mark { symbol, .. } => (symbol as usize) < symbols,
                What::Cash { .. } => true,
            })
        };
        let logs = &self.days.logs;
        !logs.is_empty()
            && logs.iter().all(|log| of_known(&log.start) && entries(log))
            && of_known(&self.live)
            && self.live.positions.len() >= symbols
    }
}

/// All that numbers depend on, as text.
fn fingerprint(settings: &Settings) -> String {
    let Settings { start_equity, method, trades, reset, sampling, periods, risk_free, returns_kept, floor_at_zero, .. } = settings;
    let (zone, minute, rate) = (reset.zone, reset.minute, risk_free.to_bits());
    format!("{start_equity} {method} {trades} {zone} {minute} {sampling} {periods} {rate} {returns_kept} {floor_at_zero}")
}

fn read(settings: Arc<Settings>, bytes: &mut &[u8]) -> Option<Account> {
    Some(Account {
        settings,
        subject: Coded::get(bytes)?,
        symbols: Coded::get(bytes)?,
        days: Coded::get(bytes)?,
        live: Coded::get(bytes)?,
        judge: Coded::get(bytes)?,
        counts: Coded::get(bytes)?,
        began_ms: Coded::get(bytes)?,
        now_ms: Coded::get(bytes)?,
        last_seq: Coded::get(bytes)?,
    })
}

fields! {
    Subject { kind, id, user }
    Days { logs, returns }
    DayLog { start, entries }
    Entry { ts_ms, seq, what }
    Day { number, start_ms, end_ms, start, start_balance, max, min }
    LastTrade { at_ms, seq, symbol, pnl }
    Trades { wins, losses, breakeven, gross_win, gross_loss }
    Position { quantity, basis, open_fees, trip, price, priced_at_ms, lots }
    Lot { quantity, price }
    Returns { n, mean, m2, down2, base, growth, is_undefined }
    Judge { status, daily, total, idle_since, thresholds }
    Alarm { has_rung, rung_ms }
    Counts { fills, marks, flows, late, days_closed }
    Ledger {
        flows, realized, fees, unrealized, positions, lots, previous, peak, close_peak, drawdown_max, close_drawdown_max, day, fills, last_trade,
        trades, returns, newest, inputs, days_closed,
    }
}

names!(Status);

macro_rules! wrapped {
    ($($name:ident)*) => {$(
        impl Coded for $name {
            fn put(&self, bytes: &mut Vec<u8>) {
                self.0.put(bytes);
            }

            fn get(bytes: &mut &[u8]) -> Option<Self> {
                Coded::get(bytes).map($name)
            }
        }
    )*};
}

wrapped!(Decimal Money);

macro_rules! lists {
    ($($list:ty)*) => {$(
        impl Coded for $list {
            fn put(&self, bytes: &mut Vec<u8>) {
                put_all(self.iter(), bytes);
            }

            fn get(bytes: &mut &[u8]) -> Option<Self> {
                get_all(bytes)
            }
        }
    )*};
}

lists!(Vec<Entry> Vec<Position> Vec<Alarm> VecDeque<Lot> VecDeque<f64> VecDeque<DayLog>);

impl Coded for SubjectKind {
    fn put(&self, bytes: &mut Vec<u8>) {
        (*self == SubjectKind::Challenge).put(bytes);
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        Some(if bool::get(bytes)? { SubjectKind::Challenge } else { SubjectKind::Account })
    }
}

impl Coded for Symbols {
    fn put(&self, bytes: &mut Vec<u8>) {
        let names: Vec<String> = self.names().map(str::to_owned).collect();
        put_all(names.iter(), bytes);
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        let names: Vec<String> = get_all(bytes)?;
        let mut symbols = Symbols::default();
        for (number, name) in names.iter().enumerate() {
            let is_new = symbols.number_of(name) == Some(number as u32) && symbols.find(name).is_none();
            is_new.then(|| symbols.note(name, number as u32))?;
        }
        Some(symbols)
    }
}

impl Coded for What {
    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            What::Fill { symbol, quantity, price, fee } => {
                0_u8.put(bytes);
                (*symbol, *quantity).put(bytes);
                (*price, *fee).put(bytes);
            }
            What::Mark { symbol, price } => {
                1_u8.put(bytes);
                (*symbol, *price).put(bytes);
            }
            What::Cash { amount } => {
                2_u8.put(bytes);
                amount.put(bytes);
            }
        }
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        Some(match u8::get(bytes)? {
            0 => {
                What::Fill { symbol: Coded::get(bytes)?, quantity: Coded::get(bytes)?, price: Coded::get(bytes)?, fee: Coded::get(bytes)? }
            }
            1 => What::Mark { symbol: Coded::get(bytes)?, price: Coded::get(bytes)? },
            2 => What::Cash { amount: Coded::get(bytes)? },
            _ => return None,
        })
    }
}
