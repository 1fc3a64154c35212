//! The effective configuration as text: a file that says the same, with the origin of each key.

use super::Config;
use crate::base::units::format_duration;

use super::alerts::AlertEntry;
use super::analytics::AnalyticsConfig;
use super::catalog::CatalogEntry;
use super::error::Origin;
use super::issuer::IssuerEntry;
use super::keys::Kind;
use super::resolve::Setting;

/// Longer lines do not move the column of origins.
const ALIGNED_CHARS_MAX: usize = 48;

/// Writes every key with its value and origin. The text is itself a configuration file with the same meaning.
pub(super) fn show(settings: &[Setting], config: &Config) -> String {
    let lines: Vec<(String, &Origin)> = settings.iter().map(|setting| (assignment(setting), &setting.origin)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= ALIGNED_CHARS_MAX).max().unwrap_or(0);
    let mut text: Vec<String> = lines.into_iter().map(|(line, origin)| format!("{line:width$}   # {origin}")).collect();
    text.extend(config.issuers.iter().flat_map(issuer_lines));
    text.extend(config.catalog.iter().flat_map(entry_lines));
    text.extend(config.alerts.iter().flat_map(AlertEntry::lines));
    text.extend(config.analytics.iter().flat_map(AnalyticsConfig::lines));
    text.push(String::new());
    text.join("\n")
}

fn assignment(setting: &Setting) -> String {
    let name = setting.flag.replace('-', "_");
    match (setting.kind, setting.values.as_slice()) {
        (Kind::List, values) => format!("{name} = {}", array(values)),
        (_, []) => format!("# {name} is not set"),
        (Kind::Switch, [value, ..]) => format!("{name} = {}", matches!(value.as_str(), "true" | "1")),
        // TOML has no leading zeros.
        (Kind::Number, [value, ..]) => format!("{name} = {}", value.parse::<u64>().map_or_else(|_| value.clone(), |n| n.to_string())),
        (Kind::Text | Kind::Size | Kind::Duration, [value, ..]) => format!("{name} = {}", quoted(value)),
    }
}

fn issuer_lines(issuer: &IssuerEntry) -> Vec<String> {
    let keys: Vec<String> = issuer.keys.iter().map(|path| path.display().to_string()).collect();
    let mut lines = vec![String::new(), format!("[[issuer]]   # {}", issuer.origin)];
    lines.push(format!("iss = {}", quoted(&issuer.iss)));
    lines.push(format!("key = {}", array(&keys)));
    lines.extend(issuer.aud.iter().map(|aud| format!("aud = {}", quoted(aud))));
    lines.push(format!("user_claim = {}", array(&issuer.user_claims)));
    let claims = [("scope", &issuer.scope_claim), ("rooms", &issuer.rooms_claim), ("publish_rooms", &issuer.publish_rooms_claim)];
    lines.extend(claims.map(|(name, claim)| format!("{name}_claim = {}", quoted(claim))));
    if !issuer.required_claims.is_empty() {
        lines.push(format!("required_claim = {}", array(&issuer.required_claims)));
    }
    lines
}

fn entry_lines(entry: &CatalogEntry) -> Vec<String> {
    let fields = [
        ("type", Some(entry.kind.as_str())),
        ("room", Some(&entry.room)),
        ("owner", entry.owner.as_deref()),
        ("lane", Some(entry.lane.name())),
        ("mode", Some(entry.mode.name())),
        ("key", entry.key.as_deref()),
    ];
    let mut lines = vec![String::new(), format!("[[catalog]]   # {}", entry.origin)];
    lines.extend(fields.into_iter().filter_map(|(name, value)| Some(format!("{name} = {}", quoted(value?)))));
    lines.extend((entry.history > 0).then(|| format!("history = {}", entry.history)));
    if entry.is_local {
        lines.push("local = true".to_owned());
    }
    if let Some(ttl) = entry.ack_ttl {
        lines.extend(["ack_required = true".to_owned(), format!("ack_ttl = {}", quoted(&format_duration(ttl)))]);
    }
    lines.extend(entry.escalate_after.map(|after| format!("escalate_after = {}", quoted(&format_duration(after)))));
    lines
}

fn array(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", "))
}

/// A TOML basic string.
pub(super) fn quoted(value: &str) -> String {
    let escaped = value.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<Vec<_>>().concat())
}
