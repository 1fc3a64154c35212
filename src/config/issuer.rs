//! `[[issuer]]` entries: who else may sign tokens, beside the one issuer of the `jwt_` keys.

use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::entry::{EntryReader, Section, string};
use super::error::Origin;
use super::file::Parser;
use super::parse;

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

const SECTION: Section<IssuerEntry> = Section {
    name: "issuer",
    entry: "issuer",
    fields: &["iss", "key", "aud", "user_claim", "scope_claim", "rooms_claim", "publish_rooms_claim", "required_claim"],
    key: ("iss", |entry| &entry.iss),
    remedy: "put its keys into one entry",
    origin: |entry| &entry.origin,
};

/// Reads all entries, adding what is wrong to the parser's problems. The names of key files are as they are written.
pub(super) fn parse(parser: &mut Parser<'_>, value: &Spanned<DeValue<'_>>) -> Vec<IssuerEntry> {
    SECTION.parse(parser, value, entry)
}

fn entry(mut reader: EntryReader<'_, '_, '_>) -> Option<IssuerEntry> {
    reader.require(&["iss", "key"], "this issuer has none: every issuer needs `iss` and `key`");
    let iss = reader.optional("iss", one);
    let keys = reader.optional("key", several);
    let aud = reader.optional("aud", one);
    let user_claims = reader.optional("user_claim", several).unwrap_or_else(|| vec!["sub".to_owned()]);
    let [scope_claim, rooms_claim, publish_rooms_claim] =
        ["scope", "rooms", "publish_rooms"].map(|name| reader.optional(&format!("{name}_claim"), one).unwrap_or_else(|| name.to_owned()));
    let required_claims = reader.optional("required_claim", several).unwrap_or_default();
    let origin = reader.finish()?;
    let (iss, keys) = (iss?, keys?.into_iter().map(PathBuf::from).collect());
    Some(IssuerEntry { iss, keys, aud, user_claims, scope_claim, rooms_claim, publish_rooms_claim, required_claims, origin })
}

/// One string, or an array of at least one.
fn several(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(items) if items.is_empty() => Err("the array is empty: write a string, or leave the key out".to_owned()),
        DeValue::Array(items) => items.iter().map(|item| one(item.get_ref())).collect(),
        single => one(single).map(|text| vec![text]),
    }
}

fn one(value: &DeValue<'_>) -> Result<String, String> {
    parse::nonempty(string(value)?)
}
