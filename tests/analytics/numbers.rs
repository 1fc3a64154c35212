//! Reads an account's inputs from stdin, gives them to an [`Account`], and prints its numbers as JSON: what `libraries.py` compares with.
//!
//! One input on a line: `fill MS SYMBOL QUANTITY PRICE FEE`, `mark MS SYMBOL PRICE`, `cash MS AMOUNT`, `until MS`. Arguments: the method, what
//! counts as a trade, returns per year, the risk-free rate.

use std::error::Error;
use std::io;
use std::sync::Arc;

use tickerd::analytics::decimal::Decimal;
use tickerd::analytics::settings::{Method, TradeCount};
use tickerd::analytics::{Account, CashFlow, Fill, Mark, Settings, Subject, SubjectKind};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [method, trades, periods, risk_free] = &args[..] else { return Err("METHOD TRADES PERIODS RATE".into()) };
    let settings = Settings {
        method: Method::parse(method)?,
        trades: TradeCount::parse(trades)?,
        periods: periods.parse()?,
        risk_free: risk_free.parse()?,
        returns_kept: 3660,
        ..Settings::default()
    };
    settings.validate()?;
    let subject = Subject { kind: SubjectKind::Account, id: "fixture".into(), user: None };
    let mut account: Option<Account> = None;
    let mut out = Vec::new();
    for (seq, line) in (1..).zip(io::stdin().lines()) {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let ts_ms: u64 = words.get(1).ok_or("a line without a time")?.parse()?;
        let account = account.get_or_insert_with(|| Account::new(subject.clone(), Arc::new(settings.clone()), ts_ms));
        match words[..] {
            ["fill", _, symbol, quantity, price, fee] => {
                let (quantity, price, fee) = (Decimal::parse(quantity)?, Decimal::parse(price)?, Decimal::parse(fee)?);
                account.apply(&Fill { ts_ms, seq, symbol, quantity, price, fee }, &mut out)?;
            }
            ["mark", _, symbol, price] => {
                account.mark(&Mark { ts_ms, seq, symbol, price: Decimal::parse(price)? }, &mut out)?;
            }
            ["cash", _, amount] => {
                account.cash_flow(&CashFlow { ts_ms, seq, amount: Decimal::parse(amount)? }, &mut out)?;
            }
            ["until", _] => account.tick(ts_ms, &mut out),
            _ => return Err(format!("`{line}` is no input").into()),
        }
        out.clear();
    }
    println!("{}", account.ok_or("no input")?.numbers());
    Ok(())
}
