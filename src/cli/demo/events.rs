//! The demo's publish lines: the shapes of a prop-trading desk's events, money as decimal strings, never floats.
//! Their members are named as such a desk's own events name them.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

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

/// Unix milliseconds; `2026-11-20T14:03:00.123Z` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsoTime(pub u64);

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

impl fmt::Display for IsoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_date(self.0 / 86_400_000);
        let (hour, minute) = (self.0 / 3_600_000 % 24, self.0 / 60_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z", self.0 / 1000 % 60, self.0 % 1000)
    }
}

/// The Gregorian date of a day since 1970-01-01, by counting years that start on 1 March, so that the leap day is the last one.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
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

serialize_as_text!(Cents BasisPoints IsoTime);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_keeps_its_sign_and_its_cents() {
        let texts = [0, 5, -5, 123, -123, 1_000_000].map(|cents| Cents(cents).to_string());
        assert_eq!(texts, ["0.00", "0.05", "-0.05", "1.23", "-1.23", "10000.00"]);
    }

    #[test]
    fn times_are_the_calendar_s() {
        assert_eq!(IsoTime(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(IsoTime(951_782_399_999).to_string(), "2000-02-28T23:59:59.999Z");
        assert_eq!(IsoTime(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(IsoTime(1_798_761_599_001).to_string(), "2026-12-31T23:59:59.001Z");
    }
}
