//! `[[issuer]]` entries: who else may sign tokens, beside the one issuer of the `jwt_` keys.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Origin;
use super::file::Parser;
use super::parse;

/// What an entry may have.
const FIELDS: [&str; 8] = ["iss", "key", "aud", "user_claim", "scope_claim", "rooms_claim", "publish_rooms_claim", "required_claim"];

/// An issuer, what its tokens are checked with and held to, and where in their claims things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerEntry {
    /// What its tokens have as `iss`.
    pub iss: String,
    /// Key files; never empty.
    pub keys: Vec<PathBuf>,
    /// What `aud` must be or hold.
    pub aud: Option<String>,
    /// Claims that name the user, the first that is present winning; never empty.
    pub user_claims: Vec<String>,
    /// The claim with the scopes.
    pub scope_claim: String,
    /// The claim with the patterns of rooms to read.
    pub rooms_claim: String,
    /// The claim with the patterns of rooms to publish to.
    pub publish_rooms_claim: String,
    /// Claims that must be there besides.
    pub required_claims: Vec<String>,
    /// Where it is written.
    pub origin: Origin,
}

/// Reads all entries, adding what is wrong to the parser's problems. The names of key files are as they are written.
pub(super) fn parse(parser: &mut Parser<'_>, value: &Spanned<DeValue<'_>>) -> Vec<IssuerEntry> {
    let Some(items) = value.get_ref().as_array() else {
        parser.problem("issuer", &value.span(), "write each issuer as a table under `[[issuer]]`".to_owned());
        return Vec::new();
    };
    let mut entries: Vec<IssuerEntry> = Vec::new();
    for item in items {
        let Some(entry) = Reader::new(parser, item).and_then(Reader::entry) else { continue };
        if let Some(first) = entries.iter().find(|first| first.iss == entry.iss) {
            let message = format!("`{}` was already given at {}: put its keys into one entry", entry.iss, first.origin);
            parser.problem("issuer.iss", &item.span(), message);
        }
        entries.push(entry);
    }
    entries
}

/// Reads one entry. Every field is read before the entry is given up, so that all problems show at once.
struct Reader<'p, 'a, 't> {
    parser: &'p mut Parser<'a>,
    table: &'t DeTable<'t>,
    span: Range<usize>,
    failed: bool,
}

impl<'p, 'a, 't> Reader<'p, 'a, 't> {
    fn new(parser: &'p mut Parser<'a>, item: &'t Spanned<DeValue<'t>>) -> Option<Reader<'p, 'a, 't>> {
        let Some(table) = item.get_ref().as_table() else {
            parser.problem("issuer", &item.span(), "write each issuer as a table under `[[issuer]]`".to_owned());
            return None;
        };
        for name in table.keys().filter(|name| !FIELDS.contains(&name.get_ref().as_ref())) {
            parser.unknown(name, FIELDS.into_iter().map(str::to_owned));
        }
        Some(Reader { parser, table, span: item.span(), failed: false })
    }

    fn entry(mut self) -> Option<IssuerEntry> {
        for name in ["iss", "key"] {
            if !self.table.contains_key(name) {
                self.fail(name, &self.span.clone(), "this issuer has none: every issuer needs `iss` and `key`".to_owned());
            }
        }
        let iss = self.text("iss");
        let keys = self.texts("key");
        let aud = self.text("aud");
        let user_claims = self.texts("user_claim").unwrap_or_else(|| vec!["sub".to_owned()]);
        let [scope_claim, rooms_claim, publish_rooms_claim] =
            ["scope", "rooms", "publish_rooms"].map(|name| self.text(&format!("{name}_claim")).unwrap_or_else(|| name.to_owned()));
        let required_claims = self.texts("required_claim").unwrap_or_default();
        if self.failed {
            return None;
        }
        let (origin, keys) = (self.parser.origin(&self.span), keys?.into_iter().map(PathBuf::from).collect());
        let iss = iss?;
        Some(IssuerEntry { iss, keys, aud, user_claims, scope_claim, rooms_claim, publish_rooms_claim, required_claims, origin })
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.table.get(name)?;
        let text = one(value.get_ref());
        text.map_err(|message| self.fail(name, &value.span(), message)).ok()
    }

    /// One string, or an array of at least one.
    fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let value = self.table.get(name)?;
        let texts = match value.get_ref() {
            DeValue::Array(items) if items.is_empty() => Err("the array is empty: write a string, or leave the key out".to_owned()),
            DeValue::Array(items) => items.iter().map(|item| one(item.get_ref())).collect(),
            single => one(single).map(|text| vec![text]),
        };
        texts.map_err(|message| self.fail(name, &value.span(), message)).ok()
    }

    fn fail(&mut self, name: &str, span: &Range<usize>, message: String) {
        self.failed = true;
        self.parser.problem(&format!("issuer.{name}"), span, message);
    }
}

fn one(value: &DeValue<'_>) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| format!("found {} where a string belongs", value.type_str()))?;
    parse::nonempty(text)
}
