//! What an account wants published: small values, of which the messages are made only when they are sent.

use super::decimal::{Money, Percent};
use super::ledger::{LastTrade, Ledger};
use super::settings::{Metric, Settings, Severity, named};

named! {
    /// Where an account under rules stands. It goes from PENDING to ACTIVE, and from there to FAILED or FUNDED, for good.
    Status {
        /// No trade yet.
        Pending = "PENDING",
        /// Trading.
        Active = "ACTIVE",
        /// A limit was exceeded.
        Failed = "FAILED",
        /// The target was reached.
        Funded = "FUNDED",
    }
}

named! {
    /// Why a status changed.
    Reason {
        /// The first trade was made.
        FirstTrade = "FIRST_TRADE",
        /// More was lost in a day than is allowed.
        MaxDailyDrawdown = "MAX_DAILY_DRAWDOWN",
        /// More was lost altogether than is allowed.
        MaxTotalDrawdown = "MAX_TOTAL_DRAWDOWN",
        /// The target was reached.
        ProfitTarget = "PROFIT_TARGET",
    }
}

/// What to publish. `Equity` and `Metrics` are states, of which the newest is enough; each of the others counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    /// Equity changed.
    Equity(EquityUpdate),
    /// The status changed.
    Status(StatusChange),
    /// A limit is near, nothing is traded, or a figure is beyond its threshold.
    Alert(RiskAlert),
    /// Figures changed.
    Metrics(MetricsUpdate),
}

impl Output {
    /// Whether a newer one makes this one needless.
    pub fn is_state(&self) -> bool {
        matches!(self, Output::Equity(_) | Output::Metrics(_))
    }
}

/// The equity of an account, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EquityUpdate {
    /// The time of the input that changed it.
    pub ts_ms: u64,
    /// Before that input.
    pub previous: Money,
    /// Now.
    pub current: Money,
    /// The highest ever.
    pub peak: Money,
    /// When the day began.
    pub day_start: Money,
    /// The day's highest.
    pub day_max: Money,
    /// The day's lowest.
    pub day_min: Money,
    /// Profit and loss since the account began, open positions included.
    pub pnl: Money,
    /// Fills.
    pub trades: u64,
    /// What `version` says of it: grows with every change.
    pub revision: u64,
    pub(super) last_trade: Option<LastTrade>,
}

impl EquityUpdate {
    pub(super) fn of(ledger: &Ledger, settings: &Settings, ts_ms: u64, revision: u64) -> EquityUpdate {
        EquityUpdate {
            ts_ms,
            previous: ledger.previous,
            current: ledger.equity(settings),
            peak: ledger.peak,
            day_start: ledger.day.start,
            day_max: ledger.day.max,
            day_min: ledger.day.min,
            pnl: ledger.pnl(),
            trades: ledger.fills,
            revision,
            last_trade: ledger.last_trade,
        }
    }
}

/// A change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// When.
    pub ts_ms: u64,
    /// From which.
    pub old: Status,
    /// To which.
    pub new: Status,
    /// Why.
    pub reason: Reason,
}

/// Figures changed; they are read when the message is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsUpdate {
    /// The time of the input that changed them.
    pub ts_ms: u64,
}

/// An alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiskAlert {
    /// When.
    pub ts_ms: u64,
    /// Equity at that time.
    pub equity: Money,
    /// How grave it is.
    pub severity: Severity,
    /// What it is about.
    pub about: About,
    pub(super) cause: Cause,
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum About {
    /// The day's limit is near: `HIGH_DAILY_DRAWDOWN`.
    Daily(Near),
    /// The limit altogether is near: `HIGH_TOTAL_DRAWDOWN`.
    Total(Near),
    /// Nothing was traded: `INACTIVE_TRADING`.
    Inactive {
        /// The last trade.
        last_trade_ms: u64,
        /// After how long it is alerted of.
        after_ms: u64,
    },
    /// A figure is beyond its threshold: `METRIC_THRESHOLD`.
    Figure {
        /// Which.
        metric: Metric,
        /// Its value.
        value: f64,
        /// The threshold.
        threshold: f64,
    },
}

impl About {
    /// As `alert_type` says it.
    pub fn name(&self) -> &'static str {
        match self {
            About::Daily(_) => "HIGH_DAILY_DRAWDOWN",
            About::Total(_) => "HIGH_TOTAL_DRAWDOWN",
            About::Inactive { .. } => "INACTIVE_TRADING",
            About::Figure { .. } => "METRIC_THRESHOLD",
        }
    }
}

/// A loss near its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// What is lost.
    pub loss: Money,
    /// What its percentage is taken of.
    pub of: Money,
    /// How much may be lost.
    pub limit: Percent,
    /// The equity it is counted from: the day's start, or the highest ever.
    pub from: Money,
}

/// What brought an alert about: the same after a restart, so that it is not given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// An input, or that there was none: the alert's times tell it from others of its kind.
    Now,
    /// The beginning of that day.
    Day(i64),
}
