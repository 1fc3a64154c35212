//! The configuration file: TOML text to raw values with their lines.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::alerts::{self, AlertEntry};
use super::analytics::{self, AnalyticsConfig};
use super::catalog::{self, CatalogEntry};
use super::error::{Origin, Problem};
use super::issuer::{self, IssuerEntry};
use super::keys::{Key, Kind, keys};
use super::suggest;

/// Larger files are refused before they are parsed: nobody writes one, and `/dev/zero` is one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the file gave: texts, not yet judged, and entries of tables, which are.
#[derive(Debug, Default)]
pub(super) struct FileValues {
    /// Values and their line by flag name.
    pub(super) given: BTreeMap<&'static str, (Vec<String>, Origin)>,
    pub(super) tables: Tables,
}

/// Entries of tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// `[[catalog]]`.
    pub(super) catalog: Vec<CatalogEntry>,
    /// `[[issuer]]`.
    pub(super) issuers: Vec<IssuerEntry>,
    /// `[alerts.…]`.
    pub(super) alerts: Vec<AlertEntry>,
    /// `[analytics]`.
    pub(super) analytics: Option<AnalyticsConfig>,
}

/// Reads and parses the file, adding what is wrong to `problems`.
pub(super) fn load(path: &Path, problems: &mut Vec<Problem>) -> FileValues {
    match read(path) {
        Ok(text) => parse(path, &text, problems),
        Err(message) => {
            problems.push(Problem { key: "config".to_owned(), origin: Origin::File { path: path.to_owned(), line: 1 }, message });
            FileValues::default()
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|e| format!("cannot open this file: {e}"))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| format!("cannot read this file: {e}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("this file is longer than {FILE_BYTES_MAX} bytes: is it the right one?"));
    }
    String::from_utf8(bytes).map_err(|_| "this file is not UTF-8 text".to_owned())
}

/// Parses the file's text; `path` is for messages alone.
pub(super) fn parse(path: &Path, text: &str, problems: &mut Vec<Problem>) -> FileValues {
    let mut parser = Parser { path: path.to_owned(), text, problems };
    match DeTable::parse(text) {
        Ok(table) => parser.top(table.get_ref()),
        Err(e) => {
            let message = format!("not TOML: {}", e.message().replace('\n', ", "));
            parser.problem("config", &e.span().unwrap_or_default(), message);
            FileValues::default()
        }
    }
}

/// Where we are in the file, and what was wrong so far.
pub(super) struct Parser<'a> {
    path: PathBuf,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Parser<'_> {
    fn top(&mut self, table: &DeTable<'_>) -> FileValues {
        let mut values = FileValues::default();
        for (name, value) in table {
            if name.get_ref() == "catalog" {
                values.tables.catalog = catalog::parse(self, value);
            } else if name.get_ref() == "issuer" {
                values.tables.issuers = issuer::parse(self, value);
            } else if name.get_ref() == "alerts" {
                values.tables.alerts = alerts::parse(self, value);
            } else if name.get_ref() == "analytics" {
                values.tables.analytics = analytics::parse(self, value);
            } else if let Some(key) = keys().find(|key| key.name() == *name.get_ref()) {
                self.value(key, value, &mut values);
            } else {
                self.unknown(name, keys().map(Key::name).chain(["catalog", "issuer", "alerts", "analytics"].map(str::to_owned)));
            }
        }
        values
    }

    fn value(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>, values: &mut FileValues) {
        match texts(key.kind, value.get_ref()) {
            Some(texts) => {
                values.given.insert(key.flag, (texts, self.origin(&value.span())));
            }
            None => self.problem(
                &key.name(),
                &value.span(),
                format!("found {} where {} belongs", value.get_ref().type_str(), key.kind.expected()),
            ),
        }
    }

    /// Refuses a key that no table has, naming the nearest one that it has.
    pub(super) fn unknown(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, known: impl Iterator<Item = String>) {
        self.unknown_in("", name, known);
    }

    /// The same, in that table.
    pub(super) fn unknown_in(&mut self, table: &str, name: &Spanned<std::borrow::Cow<'_, str>>, known: impl Iterator<Item = String>) {
        let known: Vec<String> = known.collect();
        let hint = suggest::hint(name.get_ref(), known.iter().map(String::as_str));
        let key = if table.is_empty() { shown(name) } else { format!("{table}.{}", shown(name)) };
        self.problem(&key, &name.span(), format!("there is no such key{hint}"));
    }

    /// Adds the problem that a table names a thing that there is not. What there is has no other place where one could look it up, so it is told.
    pub(super) fn no_such(&mut self, thing: &str, name: &Spanned<std::borrow::Cow<'_, str>>, known: &[&str]) {
        let hint = suggest::hint(name.get_ref(), known.iter().copied());
        let message = format!("there is no such {thing}{hint} (there are {})", known.join(", "));
        self.problem(&shown(name), &name.span(), message);
    }

    /// Adds a problem at that place of the file.
    pub(super) fn problem(&mut self, key: &str, span: &Range<usize>, message: String) {
        self.problems.push(Problem { key: key.to_owned(), origin: self.origin(span), message });
    }

    /// That place of the file as an origin.
    pub(super) fn origin(&self, span: &Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Origin::File { path: self.path.clone(), line: 1 + before.matches('\n').count() }
    }
}

/// The value as a flag would have given it, or nothing if its TOML type does not fit the key.
fn texts(kind: Kind, value: &DeValue<'_>) -> Option<Vec<String>> {
    let one = match (kind, value) {
        (Kind::List, DeValue::Array(items)) => {
            return items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
        }
        (Kind::Number | Kind::Size | Kind::Duration, DeValue::Integer(number)) => number.to_string(),
        (Kind::Switch, DeValue::Boolean(on)) => on.to_string(),
        (Kind::Text | Kind::List | Kind::Size | Kind::Duration, DeValue::String(text)) => text.to_string(),
        _ => return None,
    };
    Some(vec![one])
}

/// A key as it is written: in quotes, if it is no plain word.
fn shown(name: &Spanned<std::borrow::Cow<'_, str>>) -> String {
    let is_bare = !name.get_ref().is_empty() && name.get_ref().chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if is_bare { name.get_ref().to_string() } else { format!("{:?}", name.get_ref()) }
}
