//! The effective configuration as text: a file that says the same, with the origin of each key.

use super::catalog::CatalogEntry;
use super::error::Origin;
use super::keys::Kind;
use super::resolve::Setting;

/// Longer lines do not move the column of origins.
const ALIGNED_CHARS_MAX: usize = 48;

/// Writes every key with its value and origin. The text is itself a configuration file with the same meaning.
pub(super) fn show(settings: &[Setting], catalog: &[CatalogEntry]) -> String {
    let lines: Vec<(String, &Origin)> = settings.iter().map(|setting| (assignment(setting), &setting.origin)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= ALIGNED_CHARS_MAX).max().unwrap_or(0);
    let mut text: Vec<String> = lines.into_iter().map(|(line, origin)| format!("{line:width$}   # {origin}")).collect();
    text.extend(catalog.iter().flat_map(entry_lines));
    text.push(String::new());
    text.join("\n")
}

fn assignment(setting: &Setting) -> String {
    let name = setting.flag.replace('-', "_");
    match (setting.kind, setting.values.as_slice()) {
        (Kind::List, values) => format!("{name} = [{}]", values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")),
        (_, []) => format!("# {name} is not set"),
        (Kind::Switch, [value, ..]) => format!("{name} = {}", matches!(value.as_str(), "true" | "1")),
        (Kind::Number, [value, ..]) => format!("{name} = {value}"),
        (Kind::Text | Kind::Size | Kind::Duration, [value, ..]) => format!("{name} = {}", quoted(value)),
    }
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
    lines
}

/// A TOML basic string.
fn quoted(value: &str) -> String {
    let escaped = value.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<Vec<_>>().concat())
}
