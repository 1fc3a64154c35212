//! `[alerts.NAME]` tables: other thresholds for built-in alerts, or none.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::base::units::format_duration;
use crate::ops::alerts::{ALERTS, Definition, Limits};

use super::error::Origin;
use super::file::Parser;
use super::parse;

/// What a table may have.
const FIELDS: [&str; 5] = ["enabled", "fire", "clear", "for", "clear_for"];
/// Holds are no longer than the past is known.
const HOLD_MAX: Duration = Duration::from_secs(6 * 3600);

/// An alert's own thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertEntry {
    /// Which alert.
    pub name: &'static str,
    /// Whether there is one.
    pub is_enabled: bool,
    /// What it goes by.
    pub limits: Limits,
    /// Where it is written.
    pub origin: Origin,
}

impl AlertEntry {
    /// The lines of a file that says the same.
    pub(super) fn lines(&self) -> Vec<String> {
        let Limits { fire, clear, hold, clear_hold } = self.limits;
        vec![
            String::new(),
            format!("[alerts.{}]   # {}", self.name, self.origin),
            format!("enabled = {}", self.is_enabled),
            format!("fire = {fire:?}"),
            format!("clear = {clear:?}"),
            format!("for = \"{}\"", format_duration(hold)),
            format!("clear_for = \"{}\"", format_duration(clear_hold)),
        ]
    }
}

/// The limits of an alert, if it is not switched off.
pub fn alert_limits(entries: &[AlertEntry], definition: &Definition) -> Option<Limits> {
    match entries.iter().find(|entry| entry.name == definition.name) {
        Some(entry) => entry.is_enabled.then_some(entry.limits),
        None => Some(definition.limits),
    }
}

/// Reads all tables, adding what is wrong to the parser's problems.
pub(super) fn parse(parser: &mut Parser<'_>, value: &Spanned<DeValue<'_>>) -> Vec<AlertEntry> {
    let Some(tables) = value.get_ref().as_table() else {
        parser.problem("alerts", &value.span(), "write a table `[alerts.NAME]` for each alert".to_owned());
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (name, value) in tables {
        let Some(definition) = ALERTS.iter().find(|definition| definition.name == *name.get_ref()) else {
            parser.no_such("alert", name, &ALERTS.iter().map(|definition| definition.name).collect::<Vec<_>>());
            continue;
        };
        let Some(table) = value.get_ref().as_table() else {
            parser.problem(&format!("alerts.{}", definition.name), &value.span(), "write this alert as a table".to_owned());
            continue;
        };
        for name in table.keys().filter(|name| !FIELDS.contains(&name.get_ref().as_ref())) {
            parser.unknown(name, FIELDS.into_iter().map(str::to_owned));
        }
        let mut reader = Reader { parser, name: definition.name };
        let limits = Limits {
            fire: reader.field(table.get("fire"), number).unwrap_or(definition.limits.fire),
            clear: reader.field(table.get("clear"), number).unwrap_or(definition.limits.clear),
            hold: reader.field(table.get("for"), duration).unwrap_or(definition.limits.hold),
            clear_hold: reader.field(table.get("clear_for"), duration).unwrap_or(definition.limits.clear_hold),
        };
        let is_enabled = reader.field(table.get("enabled"), switch).unwrap_or(true);
        reader.check_direction(definition, &limits, &value.span());
        let origin = reader.parser.origin(&name.span());
        entries.push(AlertEntry { name: definition.name, is_enabled, limits, origin });
    }
    entries
}

struct Reader<'p, 'a> {
    parser: &'p mut Parser<'a>,
    name: &'static str,
}

impl Reader<'_, '_> {
    fn field<T>(&mut self, value: Option<&Spanned<DeValue<'_>>>, read: impl Fn(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        let value = value?;
        read(value.get_ref()).map_err(|message| self.fail(&value.span(), message)).ok()
    }

    /// Which way an alert fires is its own matter: a slip of the pen would turn it round.
    fn check_direction(&mut self, definition: &Definition, limits: &Limits, span: &Range<usize>) {
        let (fires_upwards, is_upwards) = (definition.limits.fire >= definition.limits.clear, limits.fire >= limits.clear);
        if fires_upwards && !is_upwards {
            self.fail(span, format!("`fire` ({}) must not be below `clear` ({}): give both", limits.fire, limits.clear));
        } else if !fires_upwards && limits.fire >= limits.clear {
            self.fail(
                span,
                format!("`fire` ({}) must be below `clear` ({}): this alert is about too little; give both", limits.fire, limits.clear),
            );
        }
    }

    fn fail(&mut self, span: &Range<usize>, message: String) {
        self.parser.problem(&format!("alerts.{}", self.name), span, message);
    }
}

fn number(value: &DeValue<'_>) -> Result<f64, String> {
    let text = match value {
        DeValue::Float(number) => number.as_str().replace('_', ""),
        DeValue::Integer(number) => number.to_string(),
        other => return Err(format!("found {} where a number belongs", other.type_str())),
    };
    text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0).ok_or_else(|| "write a number of at least 0".to_owned())
}

fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    let text = value.as_str().ok_or_else(|| format!("found {} where a duration such as \"30s\" belongs", value.type_str()))?;
    parse::duration(Duration::ZERO..=HOLD_MAX)(text)
}

fn switch(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("found {} where true or false belongs", value.type_str()))
}
