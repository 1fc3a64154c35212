//! How an account's numbers are made, and which rules it is under.

use super::decimal::{DECIMAL_PLACES, Decimal, Percent};
use super::zone::Reset;

/// The most days before today whose inputs may be kept.
const LATE_DAYS_MAX: u8 = 7;
/// The most inputs that may be kept for late fills.
const INPUTS_MAX: u32 = 1_000_000;
/// The fewest: a late fill must find some.
const INPUTS_MIN: u32 = 16;
/// The most returns that may be kept for value at risk: ten years.
const RETURNS_MAX: u16 = 3660;
/// The most thresholds on figures.
const THRESHOLDS_MAX: usize = 32;

/// An enum whose values have names, as configuration and messages write them.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Reads a name; the error lists those that there are.
            pub fn parse(text: &str) -> Result<$name, String> {
                let found = Self::ALL.iter().copied().find(|value| value.name() == text);
                found.ok_or_else(|| format!("`{text}` is not one of {}", [$($text,)*].join(", ")))
            }

            /// As it is written.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use named;

named! {
    /// Which part of a position a closing fill closes.
    Method {
        /// Any part of it: all of a position has one price, its average.
        Average = "average",
        /// The oldest lots.
        Fifo = "fifo",
    }
}

named! {
    /// What counts as one closed trade, for win rate, expectancy and the like.
    TradeCount {
        /// Every fill that closes something, with its share of the fees (the convention of pyfolio).
        PerClose = "per_close",
        /// From flat to flat: all that was bought and sold until a position is gone or has changed its side.
        PerRoundTrip = "per_round_trip",
    }
}

named! {
    /// Which days give a return.
    Sampling {
        /// All of them; without a change it is zero.
        EveryDay = "every_day",
        /// Monday to Friday; what changes at a weekend belongs to Monday.
        Weekdays = "weekdays",
    }
}

named! {
    /// What a limit's percentage is taken of.
    Amount {
        /// The base that the loss is counted from.
        OfBase = "of_base",
        /// The equity that the account started with.
        OfInitial = "of_initial",
    }
}

named! {
    /// What a day's loss is counted from.
    DailyBase {
        /// Equity when the day began.
        StartEquity = "start_equity",
        /// Balance when the day began: open positions at cost.
        StartBalance = "start_balance",
        /// The higher of the two.
        HigherOfBoth = "higher_of_both",
        /// The day's highest equity.
        DayPeak = "day_peak",
    }
}

named! {
    /// What the whole loss is counted from.
    TotalBase {
        /// The highest equity ever: the limit trails it.
        Peak = "peak",
        /// The equity that the account started with: static.
        Initial = "initial",
        /// The highest equity ever, until the lowest allowed equity is the one that the account started with: there it stays.
        PeakThatLocks = "peak_that_locks",
        /// The highest equity at which a day has ended.
        ClosePeak = "close_peak",
    }
}

named! {
    /// A figure that a threshold may be set on; named as in `metrics.update`.
    Metric {
        /// Wins of the decided trades.
        WinRate = "win_rate",
        /// Gains over losses.
        ProfitFactor = "profit_factor",
        /// The average gain over the average loss.
        Payoff = "payoff_ratio",
        /// Sharpe's ratio.
        Sharpe = "sharpe_ratio",
        /// Sortino's ratio.
        Sortino = "sortino_ratio",
        /// The largest drawdown from a peak.
        MaxDrawdown = "max_drawdown_ratio",
        /// The day's loss that 95 of 100 days do not exceed.
        Var95 = "var_95",
        /// The average of the losses beyond it.
        Cvar95 = "cvar_95",
    }
}

named! {
    /// How grave an alert is.
    Severity {
        /// Worth knowing.
        Low = "LOW",
        /// Worth a look.
        Medium = "MEDIUM",
        /// Worth acting on.
        High = "HIGH",
        /// To be acted on now.
        Critical = "CRITICAL",
    }
}

/// How an account's numbers are made. Every field is a convention that somebody else chose otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the account starts with; positive.
    pub start_equity: Decimal,
    /// Which part of a position is closed.
    pub method: Method,
    /// What counts as one closed trade.
    pub trades: TradeCount,
    /// When a day begins.
    pub reset: Reset,
    /// Which days give a return.
    pub sampling: Sampling,
    /// Returns per year: 252, or 365 where every day is traded.
    pub periods: u16,
    /// The risk-free rate of a year, as a fraction.
    pub risk_free: f64,
    /// With fewer daily returns, Sharpe and Sortino are null.
    pub samples_min: u32,
    /// The window of value at risk, in returns.
    pub returns_kept: u16,
    /// Days before today whose inputs are kept, for late fills.
    pub late_days: u8,
    /// Inputs kept for late fills. Above, the oldest are folded into the numbers for good, and fills as old as they are refused.
    pub inputs_max: u32,
    /// Whether equity below zero is taken for zero; profit and loss are not.
    pub floor_at_zero: bool,
    /// Places of money as it is published.
    pub places: u8,
    /// None: numbers only.
    pub rules: Option<Rules>,
}

/// The rules that an account is under.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The loss of a day beyond which the account has failed.
    pub daily: Option<Limit<DailyBase>>,
    /// The loss altogether beyond which the account has failed.
    pub total: Option<Limit<TotalBase>>,
    /// The gain, in percent of what it started with, at which the account has passed.
    pub target: Option<Percent>,
    /// The percentage of a limit at which an alert is raised.
    pub warn_share: u8,
    /// The percentage of a limit below which the next alert may be raised.
    pub rearm_share: u8,
    /// The time at least between two alerts of one kind.
    pub repeat_ms: u64,
    /// Without a trade for this long, an alert is raised.
    pub inactive_after_ms: Option<u64>,
    /// Alerts on figures.
    pub thresholds: Vec<Threshold>,
}

/// A limit of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<B> {
    /// How much may be lost.
    pub percent: Percent,
    /// What the loss is counted from.
    pub base: B,
    /// What the percentage is taken of.
    pub amount: Amount,
}

/// An alert when a figure is beyond a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Which figure.
    pub metric: Metric,
    /// Whether it is to be alerted of above the value, or below.
    pub above: bool,
    /// The value; equal to it is not beyond.
    pub value: f64,
    /// How grave it is.
    pub severity: Severity,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            start_equity: Decimal::whole(10_000),
            method: Method::Average,
            trades: TradeCount::PerClose,
            reset: Reset::default(),
            sampling: Sampling::EveryDay,
            periods: 252,
            risk_free: 0.0,
            samples_min: 2,
            returns_kept: 252,
            late_days: 1,
            inputs_max: 10_000,
            floor_at_zero: false,
            places: 2,
            rules: None,
        }
    }
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            daily: Some(Limit { percent: Percent(50_000), base: DailyBase::StartEquity, amount: Amount::OfBase }),
            total: Some(Limit { percent: Percent(100_000), base: TotalBase::Peak, amount: Amount::OfBase }),
            target: Some(Percent(100_000)),
            warn_share: 80,
            rearm_share: 75,
            repeat_ms: 60_000,
            inactive_after_ms: Some(30 * 60_000),
            thresholds: Vec::new(),
        }
    }
}

impl Settings {
    /// Whether they are possible; the error names the field and says what is.
    pub fn validate(&self) -> Result<(), String> {
        self.reset.validate()?;
        within("periods", u64::from(self.periods), 1, 366)?;
        within("samples_min", u64::from(self.samples_min), 2, 36_600)?;
        within("returns_kept", u64::from(self.returns_kept), 30, u64::from(RETURNS_MAX))?;
        within("late_days", u64::from(self.late_days), 0, u64::from(LATE_DAYS_MAX))?;
        within("inputs_max", u64::from(self.inputs_max), u64::from(INPUTS_MIN), u64::from(INPUTS_MAX))?;
        within("places", u64::from(self.places), 0, u64::from(DECIMAL_PLACES))?;
        if self.start_equity.0 <= 0 {
            return Err(format!("start_equity: {} is not above zero", self.start_equity));
        }
        if !(self.risk_free > -1.0 && self.risk_free < 1.0) {
            return Err(format!("risk_free: {} is not a fraction between -1 and 1: write 0.05 for 5 %", self.risk_free));
        }
        self.rules.as_ref().map_or(Ok(()), Rules::validate)
    }

    /// Whether numbers made with these are those made with `other`: all but what is only published, judged or kept.
    pub(super) fn makes_numbers_of(&self, other: &Settings) -> bool {
        let bare =
            |settings: &Settings| Settings { rules: None, places: 0, samples_min: 2, late_days: 0, inputs_max: 0, ..settings.clone() };
        bare(self) == bare(other)
    }
}

impl Rules {
    fn validate(&self) -> Result<(), String> {
        within("rules.warn_share", u64::from(self.warn_share), 1, 100)?;
        within("rules.rearm_share", u64::from(self.rearm_share), 0, u64::from(self.warn_share))?;
        if self.thresholds.len() > THRESHOLDS_MAX {
            return Err(format!("rules.thresholds: {} are more than {THRESHOLDS_MAX}", self.thresholds.len()));
        }
        for threshold in &self.thresholds {
            if !threshold.value.is_finite() {
                return Err(format!("rules.thresholds: the value for {} is not finite", threshold.metric));
            }
        }
        Ok(())
    }
}

fn within(field: &str, value: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(format!("{field}: {value} is not {min} to {max}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_possible() {
        assert_eq!(Settings { rules: Some(Rules::default()), ..Settings::default() }.validate(), Ok(()));
    }

    #[test]
    fn what_is_impossible_is_named() {
        let base = Settings::default;
        let with = |rules: Rules| Settings { rules: Some(rules), ..base() };
        let threshold = Threshold { metric: Metric::Sharpe, above: false, value: f64::NAN, severity: Severity::Medium };
        for (settings, field) in [
            (Settings { start_equity: Decimal(0), ..base() }, "start_equity"),
            (Settings { periods: 0, ..base() }, "periods"),
            (Settings { samples_min: 1, ..base() }, "samples_min"),
            (Settings { returns_kept: 29, ..base() }, "returns_kept"),
            (Settings { late_days: 8, ..base() }, "late_days"),
            (Settings { inputs_max: 3, ..base() }, "inputs_max"),
            (Settings { places: 9, ..base() }, "places"),
            (Settings { risk_free: 5.0, ..base() }, "risk_free"),
            (Settings { risk_free: f64::NAN, ..base() }, "risk_free"),
            (Settings { reset: Reset { minute: 1440, ..Reset::default() }, ..base() }, "reset"),
            (with(Rules { warn_share: 0, ..Rules::default() }), "warn_share"),
            (with(Rules { rearm_share: 81, ..Rules::default() }), "rearm_share"),
            (with(Rules { thresholds: vec![threshold], ..Rules::default() }), "sharpe_ratio"),
        ] {
            assert!(settings.validate().unwrap_err().contains(field), "{field}");
        }
    }

    #[test]
    fn names_read_back_as_written() {
        for base in TotalBase::ALL {
            assert_eq!(TotalBase::parse(base.name()), Ok(*base));
        }
        assert!(Method::parse("lifo").unwrap_err().contains("average, fifo"));
    }
}
