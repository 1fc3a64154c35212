//! The account as a whole: documented fields, cases at the edge, and that what is kept on the way is what a recomputation gives.

use std::sync::Arc;

use serde_json::Value;

use super::batch::{Kept, KeptWhat, compare, recompute};
use super::decimal::Decimal;
use super::{Account, CashFlow, Fill, Mark, Message, Output, Refusal, Settings, Subject, SubjectKind, Taken};
use crate::base::calendar::{DAY_MS, day_number};

mod exact;
mod golden;
mod late;
mod random;
mod restore;
mod rules;

/// 2026-11-23, a Monday, 00:00 UTC.
const MONDAY: u64 = 1_795_392_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = DAY_MS as u64;

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).expect("tests write decimals")
}

/// An account, what was put into it, and what came out.
struct Desk {
    account: Account,
    kept: Vec<Kept>,
    out: Vec<Output>,
    seq: u64,
}

impl Desk {
    fn new(settings: Settings) -> Desk {
        settings.validate().expect("tests use possible settings");
        let subject = Subject { kind: SubjectKind::Challenge, id: "8f".into(), user: Some("u1".into()) };
        Desk { account: Account::new(subject, Arc::new(settings), MONDAY), kept: Vec::new(), out: Vec::new(), seq: 0 }
    }

    fn fill(&mut self, ts_ms: u64, symbol: &str, quantity: &str, price: &str, fee: &str) -> Result<Taken, Refusal> {
        let (quantity, price, fee) = (decimal(quantity), decimal(price), decimal(fee));
        self.give(ts_ms, KeptWhat::Fill { symbol: symbol.into(), quantity, price, fee })
    }

    fn mark(&mut self, ts_ms: u64, symbol: &str, price: &str) -> Result<Taken, Refusal> {
        self.give(ts_ms, KeptWhat::Mark { symbol: symbol.into(), price: decimal(price) })
    }

    fn cash(&mut self, ts_ms: u64, amount: &str) -> Result<Taken, Refusal> {
        self.give(ts_ms, KeptWhat::Cash { amount: decimal(amount) })
    }

    fn give(&mut self, ts_ms: u64, what: KeptWhat) -> Result<Taken, Refusal> {
        self.seq += 1;
        let input = Kept { ts_ms, seq: self.seq, what };
        let taken = give(&mut self.account, &input, &mut self.out)?;
        if let Taken::Kept { ts_ms, .. } = taken {
            self.kept.push(Kept { ts_ms, ..input });
        }
        Ok(taken)
    }

    fn tick(&mut self, now_ms: u64) {
        self.account.tick(now_ms, &mut self.out);
    }

    /// What came out since it was last asked, as messages.
    fn messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.out).iter().map(|output| self.account.render(output)).collect()
    }

    /// The messages of one type, their data read.
    fn data(&mut self, kind: &str) -> Vec<Value> {
        let messages = self.messages().into_iter().filter(|message| message.kind == kind);
        messages.map(|message| serde_json::from_str(&message.data).expect("data is JSON")).collect()
    }

    /// Nothing that is kept differs from what is recomputed.
    fn check(&self) {
        let batch = recompute(self.account.settings(), self.account.began_ms(), self.kept.clone(), self.account.now_ms());
        assert_eq!(compare(&self.account, &batch), []);
    }
}

/// Gives one input to an account.
fn give(account: &mut Account, input: &Kept, out: &mut Vec<Output>) -> Result<Taken, Refusal> {
    let (ts_ms, seq) = (input.ts_ms, input.seq);
    match &input.what {
        KeptWhat::Fill { symbol, quantity, price, fee } => {
            account.apply(&Fill { ts_ms, seq, symbol, quantity: *quantity, price: *price, fee: *fee }, out)
        }
        KeptWhat::Mark { symbol, price } => account.mark(&Mark { ts_ms, seq, symbol, price: *price }, out),
        KeptWhat::Cash { amount } => account.cash_flow(&CashFlow { ts_ms, seq, amount: *amount }, out),
    }
}

#[test]
fn the_monday_is_one() {
    assert_eq!((MONDAY / DAY).cast_signed(), day_number(2026, 11, 23));
}
