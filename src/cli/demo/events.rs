//! The demo's publish lines: the shapes of a prop-trading desk's events, money as decimal strings, never floats.
//! Their members are named as such a desk's own events name them.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

pub(super) use crate::base::calendar::IsoTime;
use crate::base::lane::Lane;

/// One line for the publish socket, without its line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The lane that the catalog gives its type; what the demo counts by.
    pub lane: Lane,
    /// The JSON.
    pub text: String,
}

/// What the demo adds to each event's `data`, so that its own clients can measure what they receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// The publisher's monotonic clock when the event was made; publisher and clients are one process.
    pub sent_ns: u64,
    /// Which metric this is, counted from 1 over all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// How many metrics had certainly left the daemon's windows when this was made: what an alert may be said to overtake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_n: Option<u64>,
}

/// Money in cents; `-12.34` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cents(pub i64);

/// Hundredths of a percent; `4.12` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BasisPoints(pub i64);

/// Where a challenge stands. PENDING until the first trade, FAILED and FUNDED for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Status {
    /// No trade yet.
    Pending,
    /// Trading.
    Active,
    /// A drawdown limit was exceeded.
    Failed,
    /// The profit target was reached.
    Funded,
}

/// After every trade: the account's whole equity.
#[derive(Debug, Serialize)]
pub(super) struct AccountState<'a> {
    pub challenge_id: &'a str,
    pub user_id: &'a str,
    pub previous_equity: Cents,
    pub current_equity: Cents,
    pub max_equity_ever: Cents,
    pub daily_start_equity: Cents,
    pub daily_max_equity: Cents,
    pub daily_min_equity: Cents,
    pub total_pnl: Cents,
    pub daily_pnl: Cents,
    pub total_trades: u32,
    pub attempt: u32,
    pub last_trade_at: IsoTime,
    pub updated_at: IsoTime,
    pub demo: Stamp,
}

/// One fill.
#[derive(Debug, Serialize)]
pub(super) struct Fill<'a> {
    pub trade_id: String,
    pub challenge_id: &'a str,
    pub user_id: &'a str,
    pub symbol: &'static str,
    pub side: &'static str,
    pub quantity: u32,
    pub price: Cents,
    pub realized_pnl: Cents,
    pub executed_at: IsoTime,
    pub demo: Stamp,
}

/// A drawdown limit is near.
#[derive(Debug, Serialize)]
pub(super) struct RiskAlert<'a> {
    pub challenge_id: &'a str,
    pub user_id: &'a str,
    pub alert_type: &'static str,
    pub severity: &'static str,
    pub title: &'static str,
    pub message: String,
    pub current_equity: Cents,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily_start_equity: Option<Cents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_equity_ever: Option<Cents>,
    pub drawdown_percentage: BasisPoints,
    pub threshold: BasisPoints,
    pub created_at: IsoTime,
    pub demo: Stamp,
}

/// A challenge changed its status. `CHALLENGE_FAILED` and `CHALLENGE_FUNDED` carry the same.
#[derive(Debug, Serialize)]
pub(super) struct StatusChange<'a> {
    pub challenge_id: &'a str,
    pub user_id: &'a str,
    pub attempt: u32,
    pub old_status: Status,
    pub new_status: Status,
    pub reason: &'static str,
    pub current_equity: Cents,
    pub changed_at: IsoTime,
    pub demo: Stamp,
}

/// One figure of one account.
#[derive(Debug, Serialize)]
pub(super) struct Metric<'a> {
    pub account_id: &'a str,
    pub user_id: &'a str,
    pub series: &'a str,
    pub value: Cents,
    pub demo: Stamp,
}

/// A market's price.
#[derive(Debug, Serialize)]
pub(super) struct MarketData {
    pub symbol: &'static str,
    pub price: Cents,
    pub demo: Stamp,
}

/// Makes a line of an event whose room, lane and key are the catalog's.
pub(super) fn line(lane: Lane, kind: &'static str, data: &impl Serialize) -> Line {
    text(lane, &Envelope { kind, key: None, data })
}

/// Makes a line of a metric that has its own key: one account has many series.
pub(super) fn metric_line(key: &str, data: &Metric<'_>) -> Line {
    text(Lane::Metric, &Envelope { kind: "metrics.update", key: Some(key), data })
}

#[derive(Serialize)]
struct Envelope<'a, D> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    data: &'a D,
}

fn text<D: Serialize>(lane: Lane, envelope: &Envelope<'_, D>) -> Line {
    let text = serde_json::to_string(envelope).expect("these structs have string keys only, and a String takes all");
    Line { lane, text }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:02}", self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100)
    }
}

impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Cents(self.0).fmt(f)
    }
}

macro_rules! serialize_as_text {
    ($($name:ident)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(Cents BasisPoints);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_keeps_its_sign_and_its_cents() {
        let texts = [0, 5, -5, 123, -123, 1_000_000].map(|cents| Cents(cents).to_string());
        assert_eq!(texts, ["0.00", "0.05", "-0.05", "1.23", "-1.23", "10000.00"]);
    }
}
