//! The messages of what an account wants published: documented fields, money as decimal strings, times in UTC.

use serde::Serialize;
use serde_json::Number;

use crate::base::calendar::IsoTime;
use crate::base::limits::OWN_EVENT_IDS;

use super::account::{Account, Subject, SubjectKind};
use super::decimal::{Money, percentage};
use super::figures::Figures;
use super::output::{About, Cause, EquityUpdate, Near, Output, RiskAlert, StatusChange};

/// A message for the hub, as any publisher's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: &'static str,
    /// Its room.
    pub room: String,
    /// Of a state: its key.
    pub key: Option<String>,
    /// Who owns the room.
    pub owner: Option<String>,
    /// Of what counts: the same again when the same input is given again, so that the hub knows it.
    pub event_id: Option<String>,
    /// Of equity: makes an older one harmless.
    pub version: Option<u64>,
    /// The JSON object.
    pub data: String,
}

/// Whose it is, as every message begins.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the members' names")]
struct Whose<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    challenge_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
    user_id: Option<&'a str>,
}

/// Equity: 14 fields.
#[derive(Serialize)]
struct EquityData<'a> {
    #[serde(flatten)]
    whose: Whose<'a>,
    previous_equity: String,
    current_equity: String,
    max_equity_ever: String,
    daily_start_equity: String,
    daily_max_equity: String,
    daily_min_equity: String,
    total_pnl: String,
    total_trades: u64,
    last_trade_at: Option<IsoTime>,
    trade_pnl: Option<String>,
    trade_symbol: Option<&'a str>,
    updated_at: IsoTime,
}

#[derive(Serialize)]
struct StatusData<'a> {
    #[serde(flatten)]
    whose: Whose<'a>,
    old_status: &'static str,
    new_status: &'static str,
    reason: &'static str,
    changed_at: IsoTime,
}

/// Alerts: 11 fields, three of which depend on what it is about.
#[derive(Serialize)]
struct AlertData<'a> {
    #[serde(flatten)]
    whose: Whose<'a>,
    alert_type: &'static str,
    severity: &'static str,
    title: &'static str,
    message: String,
    current_equity: String,
    #[serde(flatten)]
    about: AboutData,
    alert_timestamp: IsoTime,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AboutData {
    Daily { daily_start_equity: String, drawdown_percentage: String, threshold: String },
    Total { max_equity_ever: String, drawdown_percentage: String, threshold: String },
    Inactive { last_trade_at: IsoTime, inactive_minutes: u64, threshold_minutes: u64 },
    Figure { metric: &'static str, value: Option<Number>, threshold: Option<Number> },
}

#[derive(Serialize)]
struct MetricsData<'a> {
    #[serde(flatten)]
    whose: Whose<'a>,
    equity: String,
    balance: String,
    realized_pnl: String,
    unrealized_pnl: String,
    fees: String,
    total_pnl: String,
    wins: u64,
    losses: u64,
    breakeven: u64,
    gross_win: String,
    gross_loss: String,
    expectancy: Option<String>,
    win_rate: Option<Number>,
    profit_factor: Option<Number>,
    payoff_ratio: Option<Number>,
    max_drawdown_ratio: Option<Number>,
    max_close_drawdown_ratio: Option<Number>,
    sharpe_ratio: Option<Number>,
    sortino_ratio: Option<Number>,
    var_95: Option<Number>,
    cvar_95: Option<Number>,
    returns: u64,
    updated_at: IsoTime,
}

impl Account {
    /// The message of an output, to be made when it is sent: figures are those of now.
    pub fn render(&self, output: &Output) -> Message {
        let (kind, event_id, data) = match output {
            Output::Equity(update) => (self.equity_kind(), None, text(&self.equity_data(update))),
            Output::Status(change) => ("CHALLENGE_STATUS_CHANGED", Some(own_id(change.new.name())), text(&self.status_data(change))),
            Output::Alert(alert) => ("RISK_ALERT", Some(event_id(alert)), text(&self.alert_data(alert))),
            Output::Metrics(update) => ("metrics.update", None, text(&self.metrics_data(&self.figures(), update.ts_ms))),
        };
        let version = if let Output::Equity(update) = output { Some(update.revision) } else { None };
        let key = output.is_state().then(|| self.subject.id.clone());
        Message { kind, room: self.subject.room(), key, owner: self.subject.user.clone(), event_id, version, data }
    }

    /// A challenge's equity has a type of its own.
    fn equity_kind(&self) -> &'static str {
        match self.subject.kind {
            SubjectKind::Challenge => "EQUITY_UPDATED",
            SubjectKind::Account => "account.update",
        }
    }

    fn money(&self, money: Money) -> String {
        money.text(self.settings.places)
    }

    fn equity_data(&self, update: &EquityUpdate) -> EquityData<'_> {
        EquityData {
            whose: self.subject.whose(),
            previous_equity: self.money(update.previous),
            current_equity: self.money(update.current),
            max_equity_ever: self.money(update.peak),
            daily_start_equity: self.money(update.day_start),
            daily_max_equity: self.money(update.day_max),
            daily_min_equity: self.money(update.day_min),
            total_pnl: self.money(update.pnl),
            total_trades: update.trades,
            last_trade_at: update.last_trade.map(|trade| IsoTime(trade.at_ms)),
            trade_pnl: update.last_trade.map(|trade| self.money(trade.pnl)),
            trade_symbol: update.last_trade.map(|trade| self.symbols.name(trade.symbol)),
            updated_at: IsoTime(update.ts_ms),
        }
    }

    fn status_data(&self, change: &StatusChange) -> StatusData<'_> {
        StatusData {
            whose: self.subject.whose(),
            old_status: change.old.name(),
            new_status: change.new.name(),
            reason: change.reason.name(),
            changed_at: IsoTime(change.ts_ms),
        }
    }

    fn alert_data(&self, alert: &RiskAlert) -> AlertData<'_> {
        let (title, message, about) = match alert.about {
            About::Daily(near) => {
                let (drawdown_percentage, threshold, message) = drawdown_texts(&near);
                let about = AboutData::Daily { daily_start_equity: self.money(near.from), drawdown_percentage, threshold };
                ("Daily drawdown", message, about)
            }
            About::Total(near) => {
                let (drawdown_percentage, threshold, message) = drawdown_texts(&near);
                ("Total drawdown", message, AboutData::Total { max_equity_ever: self.money(near.from), drawdown_percentage, threshold })
            }
            About::Inactive { last_trade_ms, after_ms } => {
                let inactive_minutes = alert.ts_ms.saturating_sub(last_trade_ms) / 60_000;
                let last_trade_at = IsoTime(last_trade_ms);
                let about = AboutData::Inactive { last_trade_at, inactive_minutes, threshold_minutes: after_ms / 60_000 };
                ("Inactive trading", format!("No trade for {inactive_minutes} minutes"), about)
            }
            About::Figure { metric, value, threshold } => {
                let about = AboutData::Figure { metric: metric.name(), value: number(value), threshold: number(threshold) };
                ("Threshold", format!("{metric} is {value:.4}, its threshold {threshold}"), about)
            }
        };
        AlertData {
            whose: self.subject.whose(),
            alert_type: alert.about.name(),
            severity: alert.severity.name(),
            title,
            message,
            current_equity: self.money(alert.equity),
            about,
            alert_timestamp: IsoTime(alert.ts_ms),
        }
    }

    fn metrics_data(&self, figures: &Figures, ts_ms: u64) -> MetricsData<'_> {
        MetricsData {
            whose: self.subject.whose(),
            equity: self.money(figures.equity),
            balance: self.money(figures.balance),
            realized_pnl: self.money(figures.realized),
            unrealized_pnl: self.money(figures.unrealized),
            fees: self.money(figures.fees),
            total_pnl: self.money(figures.pnl),
            wins: figures.wins,
            losses: figures.losses,
            breakeven: figures.breakeven,
            gross_win: self.money(figures.gross_win),
            gross_loss: self.money(figures.gross_loss),
            expectancy: figures.expectancy.map(|mean| self.money(mean)),
            win_rate: figures.win_rate.and_then(number),
            profit_factor: figures.profit_factor.and_then(number),
            payoff_ratio: figures.payoff.and_then(number),
            max_drawdown_ratio: number(figures.drawdown_max),
            max_close_drawdown_ratio: number(figures.close_drawdown_max),
            sharpe_ratio: figures.sharpe.and_then(number),
            sortino_ratio: figures.sortino.and_then(number),
            var_95: figures.var_95.and_then(number),
            cvar_95: figures.cvar_95.and_then(number),
            returns: figures.returns,
            updated_at: IsoTime(ts_ms),
        }
    }
}

impl Subject {
    /// The room that its messages go to.
    pub fn room(&self) -> String {
        match self.kind {
            SubjectKind::Challenge => format!("challenge:{}", self.id),
            SubjectKind::Account => format!("account:{}", self.id),
        }
    }

    fn whose(&self) -> Whose<'_> {
        let (challenge_id, account_id) = match self.kind {
            SubjectKind::Challenge => (Some(&*self.id), None),
            SubjectKind::Account => (None, Some(&*self.id)),
        };
        Whose { challenge_id, account_id, user_id: self.user.as_deref() }
    }
}

/// What is lost and what may be, in percent with two places; and both in a sentence.
fn drawdown_texts(near: &Near) -> (String, String, String) {
    let drawdown = percentage(near.loss, near.of).unwrap_or_else(|| "100.00".to_owned());
    let limit = near.limit.to_string();
    let message = format!("Drawdown {drawdown}% of {limit}%");
    (drawdown, limit, message)
}

/// The daemon's own name of an event.
fn own_id(text: &str) -> String {
    format!("{OWN_EVENT_IDS}{text}")
}

/// What a restart would give the same alert, also one that has nothing but the fills to go by.
fn event_id(alert: &RiskAlert) -> String {
    let when = match (alert.cause, alert.about) {
        (Cause::Day(day), _) => format!("day.{day}"),
        (Cause::Now, About::Inactive { last_trade_ms, .. }) => format!("since.{last_trade_ms}"),
        (Cause::Now, _) => format!("at.{}", alert.ts_ms),
    };
    let name = alert.about.name();
    match alert.about {
        About::Figure { metric, threshold, .. } => own_id(&format!("{name}:{metric}.{threshold}:{when}")),
        _ => own_id(&format!("{name}:{when}")),
    }
}

fn number(value: f64) -> Option<Number> {
    Number::from_f64(value + 0.0) // there is no use for a zero below zero
}

fn text(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("these structs have string keys only, and a String takes all")
}
