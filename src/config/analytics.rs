//! The `[analytics]` table: which events are fills, cash flows and marks, and how the numbers of accounts are made of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::analytics::decimal::{Decimal, Percent};
use crate::analytics::settings::{
    Amount, DailyBase, Limit, Method, Metric, Rules, Sampling, Settings, Severity, Threshold, TotalBase, TradeCount,
};
use crate::analytics::zone::Reset;
use crate::base::ident::is_identifier;

use super::error::{Origin, Problem};
use super::file::Parser;
use super::parse;

/// What is a fill if nobody says.
const FILLS: [&str; 2] = ["TRADE_EXECUTED", "trade.executed"];
/// What is a cash flow.
const FLOWS: [&str; 1] = ["account.cash_flow"];
/// What is a mark.
const MARKS: [&str; 1] = ["market.data.update"];
/// What is published itself: taken for an input, it would never end.
const OWN_TYPES: [&str; 6] =
    ["EQUITY_UPDATED", "account.update", "metrics.update", "RISK_ALERT", "CHALLENGE_STATUS_CHANGED", "error.occurred"];
/// How the rooms of challenges begin.
const CHALLENGE: &str = "challenge:";
/// Types of one kind, and accounts with settings of their own: a person writes them.
const TYPES_MAX: usize = 32;

/// What the table itself may have beside settings.
const OWN: [&str; 6] = ["fills", "cash_flows", "marks", "marks_every", "verify_every", "accounts"];
/// Settings, which a table of an account may have too.
const SETTINGS: [&str; 27] = [
    "start_equity",
    "method",
    "trades",
    "reset_zone",
    "reset_at",
    "sampling",
    "periods",
    "risk_free",
    "samples_min",
    "returns_kept",
    "late_days",
    "inputs_max",
    "floor_at_zero",
    "places",
    "rules",
    "daily_limit",
    "daily_base",
    "daily_amount",
    "total_limit",
    "total_base",
    "total_amount",
    "target",
    "small_limits",
    "warn_share",
    "rearm_share",
    "repeat",
    "inactive_after",
];
/// A list of tables, which is a setting too.
const THRESHOLDS: &str = "thresholds";

/// How numbers are made.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyticsConfig {
    /// Types of events that are fills; `stream`, so that each is kept.
    pub fills: Vec<String>,
    /// Types of events that are cash flows; `stream` too.
    pub flows: Vec<String>,
    /// Types of events that are marks.
    pub marks: Vec<String>,
    /// At most one mark of a symbol counts in this time; the last one always does.
    pub marks_every: Duration,
    /// How often everything is computed again from what is kept.
    pub verify_every: Duration,
    /// Of challenges that have none of their own: with rules, unless those are switched off.
    pub settings: Arc<Settings>,
    /// Of accounts that have none: without rules, unless those are switched on.
    pub plain: Arc<Settings>,
    /// Of accounts whose room has that name, or begins so if it ends in `*`; the first that fits counts.
    pub accounts: Vec<(String, Arc<Settings>)>,
    /// Where it is written.
    pub origin: Origin,
    /// The lines of a file that says the same.
    lines: Vec<String>,
}

impl AnalyticsConfig {
    /// How the numbers of that room are made.
    pub fn settings_of(&self, room: &str) -> &Arc<Settings> {
        let fits = |pattern: &str| pattern.strip_suffix('*').map_or(pattern == room, |prefix| room.starts_with(prefix));
        let plain = if room.starts_with(CHALLENGE) { &self.settings } else { &self.plain };
        self.accounts.iter().find(|(pattern, _)| fits(pattern)).map_or(plain, |(_, settings)| settings)
    }

    /// A file that says the same.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Reads what [`AnalyticsConfig::text`] wrote.
    pub fn from_text(text: &str) -> Result<AnalyticsConfig, String> {
        let mut problems: Vec<Problem> = Vec::new();
        let values = super::file::parse(std::path::Path::new("settings"), text, &mut problems);
        match (values.tables.analytics, problems.first()) {
            (Some(analytics), None) => Ok(analytics),
            (_, Some(problem)) => Err(problem.to_string()),
            (None, None) => Err("there is no [analytics]".to_owned()),
        }
    }

    /// The same with where it is written.
    pub(super) fn lines(&self) -> Vec<String> {
        let (head, rest) = self.lines.split_first().map_or(("", &[][..]), |(head, rest)| (head.as_str(), rest));
        [vec![String::new(), format!("{head}   # {}", self.origin)], rest.to_vec()].concat()
    }
}

/// Reads the table, adding what is wrong to the parser's problems.
pub(super) fn parse(parser: &mut Parser<'_>, value: &Spanned<DeValue<'_>>) -> Option<AnalyticsConfig> {
    let Some(table) = value.get_ref().as_table() else {
        parser.problem("analytics", &value.span(), "write it as a table, `[analytics]`".to_owned());
        return None;
    };
    let origin = parser.origin(&value.span());
    let mut reader = Reader { parser, key: "analytics".to_owned(), table };
    reader.refuse_unknown(&[&OWN[..], &SETTINGS, &[THRESHOLDS]].concat());
    let settings = reader.settings(&Settings { rules: Some(Rules::default()), ..Settings::default() }, value.span());
    let plain = Settings { rules: settings.rules.clone().filter(|_| table.contains_key("rules")), ..settings.clone() };
    let config = AnalyticsConfig {
        fills: reader.types("fills", &FILLS, 1),
        flows: reader.types("cash_flows", &FLOWS, 0),
        marks: reader.types("marks", &MARKS, 0),
        marks_every: reader
            .read("marks_every", parse::duration(Duration::ZERO..=Duration::from_secs(3600)))
            .unwrap_or(Duration::from_secs(1)),
        verify_every: reader
            .read("verify_every", parse::duration(Duration::from_secs(1)..=Duration::from_secs(24 * 3600)))
            .unwrap_or(Duration::from_secs(300)),
        accounts: reader.accounts(&settings, &plain),
        settings: Arc::new(settings),
        plain: Arc::new(plain),
        lines: lines(table),
        origin,
    };
    let twice = config.fills.iter().chain(&config.flows).find(|kind| config.flows.contains(kind) && config.fills.contains(kind));
    let twice = twice.or_else(|| config.marks.iter().find(|kind| config.fills.contains(kind) || config.flows.contains(kind)));
    let is_own = |kind: &&String| OWN_TYPES.contains(&kind.as_str());
    if let Some(kind) = config.fills.iter().chain(&config.flows).chain(&config.marks).find(is_own) {
        parser.problem("analytics", &value.span(), format!("`{kind}` is what comes of the numbers: name other types"));
    }
    if let Some(kind) = twice {
        parser.problem(
            "analytics",
            &value.span(),
            format!("`{kind}` cannot be two things: name it in one of `fills`, `cash_flows`, `marks`"),
        );
    }
    Some(config)
}

/// One table: the main one, or an account's.
struct Reader<'p, 'a, 't> {
    parser: &'p mut Parser<'a>,
    key: String,
    table: &'t DeTable<'t>,
}

impl Reader<'_, '_, '_> {
    fn refuse_unknown(&mut self, known: &[&str]) {
        for name in self.table.keys().filter(|name| !known.contains(&name.get_ref().as_ref())) {
            self.parser.unknown_in(&self.key, name, known.iter().map(|name| (*name).to_owned()));
        }
    }

    fn fail(&mut self, name: &str, span: &Range<usize>, message: String) {
        self.parser.problem(&format!("{}.{name}", self.key), span, message);
    }

    /// A value as text, whether it is written as one or as a number or a switch.
    fn read<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.table.get(name)?;
        let read = match scalar(value.get_ref()) {
            Some(text) => read(&text),
            None => Err(format!("found {} where a text, a number, or true or false belongs", value.get_ref().type_str())),
        };
        read.map_err(|message| self.fail(name, &value.span(), message)).ok()
    }

    /// The same, where there may be none: `none` says so; without the key it is what it was.
    fn maybe<T>(&mut self, name: &str, before: Option<T>, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.read(name, |text| if text == "none" { Ok(None) } else { read(text).map(Some) }).unwrap_or(before)
    }

    fn types(&mut self, name: &str, default: &[&str], least: usize) -> Vec<String> {
        let Some(value) = self.table.get(name) else { return default.iter().map(|kind| (*kind).to_owned()).collect() };
        let items = value.get_ref().as_array().filter(|items| (least..=TYPES_MAX).contains(&items.len()));
        let kinds: Option<Vec<String>> = items.and_then(|items| {
            items.iter().map(|item| item.get_ref().as_str().filter(|kind| is_identifier(kind)).map(str::to_owned)).collect()
        });
        if kinds.is_none() {
            self.fail(name, &value.span(), format!("write an array of {least} to {TYPES_MAX} types, such as [\"TRADE_EXECUTED\"]"));
        }
        kinds.unwrap_or_default()
    }

    /// What the table says, and for the rest `base`.
    fn settings(&mut self, base: &Settings, span: Range<usize>) -> Settings {
        let base = base.clone();
        let settings = Settings {
            start_equity: self.read("start_equity", decimal).unwrap_or(base.start_equity),
            method: self.read("method", Method::parse).unwrap_or(base.method),
            trades: self.read("trades", TradeCount::parse).unwrap_or(base.trades),
            reset: self.reset().unwrap_or(base.reset),
            sampling: self.read("sampling", Sampling::parse).unwrap_or(base.sampling),
            periods: self.read("periods", parse::number(1..=366)).unwrap_or(base.periods),
            risk_free: self.read("risk_free", ratio).unwrap_or(base.risk_free),
            samples_min: self.read("samples_min", parse::number(0..=u32::MAX)).unwrap_or(base.samples_min),
            returns_kept: self.read("returns_kept", parse::number(0..=u16::MAX)).unwrap_or(base.returns_kept),
            late_days: self.read("late_days", parse::number(0..=u8::MAX)).unwrap_or(base.late_days),
            inputs_max: self.read("inputs_max", parse::number(0..=u32::MAX)).unwrap_or(base.inputs_max),
            floor_at_zero: self.read("floor_at_zero", parse::switch).unwrap_or(base.floor_at_zero),
            places: self.read("places", parse::number(0..=u8::MAX)).unwrap_or(base.places),
            rules: self.rules(base.rules.as_ref()),
        };
        if let Err(message) = settings.validate() {
            let key = self.key.clone();
            self.parser.problem(&key, &span, message);
        }
        settings
    }

    fn reset(&mut self) -> Option<Reset> {
        let (zone, at) = (self.read("reset_zone", |text| Ok(text.to_owned())), self.read("reset_at", |text| Ok(text.to_owned())));
        let (zone, midnight) = (zone.as_deref().unwrap_or("UTC"), "00:00");
        let is_zone = Reset::parse(zone, midnight).is_ok();
        let name = if is_zone { "reset_at" } else { "reset_zone" };
        let span = self.table.get(name).or_else(|| self.table.get("reset_zone"))?.span();
        Reset::parse(zone, at.as_deref().unwrap_or(midnight)).map_err(|message| self.fail(name, &span, message)).ok()
    }

    fn rules(&mut self, base: Option<&Rules>) -> Option<Rules> {
        if !self.read("rules", parse::switch).unwrap_or(base.is_some()) {
            return None;
        }
        let base = base.cloned().unwrap_or_default();
        let is_small_meant = self.read("small_limits", parse::switch).unwrap_or(false);
        let percent = |text: &str| Percent::parse(text.trim_end_matches('%').trim_end(), is_small_meant);
        let daily = self.limit("daily", base.daily, percent, DailyBase::parse, DailyBase::StartEquity);
        let total = self.limit("total", base.total, percent, TotalBase::parse, TotalBase::Peak);
        Some(Rules {
            daily,
            total,
            target: self.maybe("target", base.target, percent),
            warn_share: self.read("warn_share", parse::number(1..=100)).unwrap_or(base.warn_share),
            rearm_share: self.read("rearm_share", parse::number(0..=100)).unwrap_or(base.rearm_share),
            repeat_ms: self.read("repeat", milliseconds).unwrap_or(base.repeat_ms),
            inactive_after_ms: self.maybe("inactive_after", base.inactive_after_ms, milliseconds),
            thresholds: self.thresholds().unwrap_or(base.thresholds),
        })
    }

    fn limit<B: Copy>(
        &mut self,
        name: &str,
        before: Option<Limit<B>>,
        percent: impl Fn(&str) -> Result<Percent, String>,
        read_base: impl Fn(&str) -> Result<B, String>,
        base: B,
    ) -> Option<Limit<B>> {
        let asked = self.maybe(&format!("{name}_limit"), before.as_ref().map(|limit| limit.percent), percent);
        let (asked_base, asked_amount) =
            (self.read(&format!("{name}_base"), read_base), self.read(&format!("{name}_amount"), Amount::parse));
        let base = asked_base.unwrap_or(before.as_ref().map_or(base, |limit| limit.base));
        let amount = asked_amount.unwrap_or(before.as_ref().map_or(Amount::OfBase, |limit| limit.amount));
        asked.map(|percent| Limit { percent, base, amount })
    }

    fn thresholds(&mut self) -> Option<Vec<Threshold>> {
        let value = self.table.get(THRESHOLDS)?;
        let items = value.get_ref().as_array().map(|items| items.iter().collect::<Vec<_>>()).unwrap_or_default();
        let read: Option<Vec<Threshold>> =
            items.iter().map(|item| item.get_ref().as_table().and_then(|table| self.threshold(table, &item.span()))).collect();
        match read {
            Some(thresholds) if value.get_ref().is_array() && thresholds.len() <= TYPES_MAX => Some(thresholds),
            _ => {
                let message = "write an array of tables such as { metric = \"sharpe_ratio\", below = 1.0, severity = \"high\" }";
                self.fail(THRESHOLDS, &value.span(), message.to_owned());
                None
            }
        }
    }

    fn threshold(&mut self, table: &DeTable<'_>, span: &Range<usize>) -> Option<Threshold> {
        let key = format!("{}.{THRESHOLDS}", self.key);
        let mut reader = Reader { parser: self.parser, key, table };
        reader.refuse_unknown(&["metric", "above", "below", "severity"]);
        let metric = reader.read("metric", Metric::parse)?;
        let severity = reader.read("severity", |text| Severity::parse(&text.to_ascii_uppercase())).unwrap_or(Severity::Medium);
        match (reader.read("above", ratio), reader.read("below", ratio)) {
            (Some(value), None) => Some(Threshold { metric, above: true, value, severity }),
            (None, Some(value)) => Some(Threshold { metric, above: false, value, severity }),
            _ => {
                reader.fail("above", span, "give either `above` or `below`".to_owned());
                None
            }
        }
    }

    fn accounts(&mut self, settings: &Settings, plain: &Settings) -> Vec<(String, Arc<Settings>)> {
        let Some(value) = self.table.get("accounts") else { return Vec::new() };
        let Some(tables) = value.get_ref().as_table() else {
            self.fail("accounts", &value.span(), "write a table `[analytics.accounts.\"challenge:8f\"]` for each".to_owned());
            return Vec::new();
        };
        // Exact names before patterns, and longer patterns before shorter ones.
        let mut accounts = BTreeMap::new();
        for (name, value) in tables {
            let pattern = name.get_ref().to_string();
            let is_sound = is_identifier(pattern.strip_suffix('*').unwrap_or(&pattern));
            let Some(table) = value.get_ref().as_table().filter(|_| is_sound) else {
                let message = "write a room, or its beginning and `*`, and a table of settings: [analytics.accounts.\"challenge:8f\"]";
                self.fail("accounts", &name.span(), message.to_owned());
                continue;
            };
            let mut reader = Reader { parser: self.parser, key: format!("analytics.accounts.{pattern}"), table };
            reader.refuse_unknown(&[&SETTINGS[..], &[THRESHOLDS]].concat());
            let own = reader.settings(if pattern.starts_with(CHALLENGE) { settings } else { plain }, name.span());
            accounts.insert((pattern.ends_with('*'), std::cmp::Reverse(pattern.len()), pattern), Arc::new(own));
        }
        accounts.into_iter().map(|((_, _, pattern), settings)| (pattern, settings)).collect()
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(on) => Some(on.to_string()),
        _ => None,
    }
}

fn decimal(text: &str) -> Result<Decimal, String> {
    Decimal::parse(text).map_err(|error| error.to_string())
}

fn ratio(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| format!("`{text}` is no number"))
}

fn milliseconds(text: &str) -> Result<u64, String> {
    parse::duration(Duration::ZERO..=Duration::from_secs(30 * 24 * 3600))(text).map(|duration| duration.as_millis() as u64)
}

/// The lines of a file that says the same: what was given, in order, the tables of accounts after it.
fn lines(table: &DeTable<'_>) -> Vec<String> {
    let mut lines = vec!["[analytics]".to_owned()];
    lines.extend(
        table.iter().filter(|(name, _)| *name.get_ref() != "accounts").map(|(name, value)| assignment(name.get_ref(), value.get_ref())),
    );
    let accounts = table.get("accounts").and_then(|value| value.get_ref().as_table());
    for (name, value) in accounts.into_iter().flatten() {
        lines.extend([String::new(), format!("[analytics.accounts.{:?}]", name.get_ref())]);
        let own = value.get_ref().as_table();
        lines.extend(own.into_iter().flatten().map(|(name, value)| assignment(name.get_ref(), value.get_ref())));
    }
    lines
}

fn assignment(name: &str, value: &DeValue<'_>) -> String {
    format!("{name} = {}", literal(value))
}

fn literal(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Array(items) => format!("[{}]", items.iter().map(|item| literal(item.get_ref())).collect::<Vec<_>>().join(", ")),
        DeValue::Table(table) => {
            let members: Vec<String> = table.iter().map(|(name, value)| assignment(name.get_ref(), value.get_ref())).collect();
            format!("{{ {} }}", members.join(", "))
        }
        DeValue::String(text) => super::show::quoted(text),
        other => scalar(other).unwrap_or_default(),
    }
}
