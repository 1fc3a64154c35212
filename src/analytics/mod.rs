//! The numbers of trading accounts, made of their fills: profit and loss, equity, drawdown, ratios, and the rules that accounts are under.
//!
//! An [`Account`] is a pure state machine: fills, prices and cash flows go in, with their times; what is to be published comes out. Each input
//! costs a constant amount of work, whatever came before, but for one that comes late.
//!
//! # Conventions
//!
//! - **Money** is integers: 8 places for what is published, 16 for what is computed of it, so that a quantity times a price is exact
//!   ([`decimal`]). Printing rounds, half to even. Floats are used for ratios alone, and what is undefined is null.
//! - **Order** is `(ts_ms, seq)`. An input older than the newest one is put where it belongs, and the numbers of its day, and of those after it,
//!   are worked out again from the inputs kept. What is older than those is refused. Prices do not rewrite the past.
//! - **Equity** is what the account started with, plus cash flows, plus realized and unrealized profit, less fees. A fill is a price of its
//!   symbol. Cash flows move what drawdowns are counted from, and are no returns.
//! - **A day** begins at a time of day in a zone, summer time included ([`zone`]). The last equity before it is the day's; days without an
//!   input have a return of zero.
//! - **A closed trade** is a fill that closes something, or what lies between flat and flat; net of its share of the fees.
//! - **Verdicts are final**: a challenge that has failed or passed is never taken back, whatever comes late.
//!
//! One currency for each account, and no contract multipliers: publish quantities in units of what the price is of.

mod account;
pub mod batch;
mod codec;
mod days;
pub mod decimal;
mod dump;
mod figures;
mod ledger;
mod output;
mod position;
mod render;
mod returns;
mod rules;
pub mod settings;
mod symbols;
pub mod zone;

#[cfg(test)]
mod tests;

pub use account::{AHEAD_MS_MAX, Account, CashFlow, Counts, Fill, Mark, Refusal, Subject, SubjectKind, Taken, check_time};
pub use dump::RestoreError;
pub use figures::Figures;
pub use output::{About, EquityUpdate, MetricsUpdate, Near, Output, Reason, RiskAlert, Status, StatusChange};
pub use render::Message;
pub use settings::{Rules, Settings};
