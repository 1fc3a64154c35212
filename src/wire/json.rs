//! What publish lines and commands share: the members of an object as raw text, and the checks that a JSON parser leaves out.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::codes::{BAD_JSON, DUPLICATE_KEY, INVALID_FIELD, Refusal};
use crate::base::ident::is_identifier;
use crate::base::limits::{IDENT_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use crate::wire::request_id::RequestId;

use self::reader::{Fields, Reader, Refused};

pub(super) mod reader;

/// So many keys of one object are compared with each other; more are sorted first.
const PAIRWISE_MAX: usize = 16;

/// `bytes` as text.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes)
        .map_err(|error| Refusal::new(BAD_JSON, format!("not UTF-8 from byte {} on: send JSON in UTF-8", error.valid_up_to())))
}

/// Calls `each` with the name and the raw value of every member of the one object that `text` must be. What was seen
/// before an error stays seen: that is how a refusal of half a line still carries its `id`.
pub(super) fn skim<'a>(text: &'a str, each: impl FnMut(Cow<'a, str>, &'a str)) -> Result<(), Refusal> {
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Refusal::new(BAD_JSON, "not a JSON object: send one object, starting with `{`"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let outcome = Skim { each }.deserialize(&mut reader).and_then(|()| reader.end());
    outcome.map_err(|error| syntax_refusal(text, &error))
}

struct Skim<F> {
    each: F,
}

impl<'a, F: FnMut(Cow<'a, str>, &'a str)> DeserializeSeed<'a> for Skim<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'a, F: FnMut(Cow<'a, str>, &'a str)> Visitor<'a> for Skim<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<M: MapAccess<'a>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let value: &'a RawValue = map.next_value()?;
            (self.each)(name, value.get());
        }
        Ok(())
    }
}

/// A member's name, borrowed unless it has escapes.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Says what is wrong with text that is no JSON. NaN and Infinity, which some libraries write, get a word of their own.
#[cold]
fn syntax_refusal(text: &str, error: &serde_json::Error) -> Refusal {
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let around = line.get(error.column().saturating_sub(2)..).unwrap_or_default();
    if ["NaN", "Infinity"].iter().any(|word| around.get(..word.len() + 1).unwrap_or(around).contains(word)) {
        return Refusal::new(INVALID_FIELD, format!("NaN and Infinity are no JSON (column {}): send null or a string", error.column()));
    }
    Refusal::new(BAD_JSON, format!("not JSON: {error}; send one JSON object"))
}

/// The text of a raw JSON string, borrowed unless it has escapes. None for anything else, and for lone surrogates.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// Whether raw JSON is a number without fraction and exponent.
pub(super) fn is_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The `id` of a command or a publish. `null` is none.
pub(super) fn request_id(raw: Option<&str>) -> Result<Option<RequestId>, Refusal> {
    let Some(raw) = raw.filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    if raw.len() > REQUEST_ID_BYTES_MAX || !(is_integer(raw) || string(raw).is_some()) {
        let message = format!("`id` must be an integer or a string of at most {REQUEST_ID_BYTES_MAX} bytes with its quotes");
        return Err(Refusal::new(INVALID_FIELD, message));
    }
    Ok(Some(RequestId::from_raw(raw)))
}

/// `raw` is the value of member `name`: an identifier, or a refusal that says what one is.
pub(super) fn identifier<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, Refusal> {
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner.filter(|inner| is_identifier(inner)) {
        Some(plain) => Ok(Cow::Borrowed(plain)), // no identifier has a backslash
        None => string(raw).filter(|text| is_identifier(text)).ok_or_else(|| not_identifier(name)),
    }
}

/// Member `name` is not an identifier.
#[cold]
pub(super) fn not_identifier(name: &str) -> Refusal {
    Refusal::new(INVALID_FIELD, format!("`{name}` must be a string of 1 to {IDENT_BYTES_MAX} of A-Z a-z 0-9 _ . : % -"))
}

/// Member `name` is missing.
#[cold]
pub(super) fn missing(name: &str) -> Refusal {
    Refusal::new(INVALID_FIELD, format!("`{name}` is missing: give it"))
}

/// A member's name, with what tells nearly all others apart at one glance: its length and its end.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    glance: u64,
    /// The name.
    pub(super) text: Cow<'a, str>,
}

impl<'a> Key<'a> {
    /// Of that name.
    #[inline]
    pub(super) fn new(text: Cow<'a, str>) -> Key<'a> {
        let bytes = text.as_bytes();
        let glance = match (bytes.first_chunk(), bytes.last_chunk(), bytes.last_chunk()) {
            (_, _, Some(end)) => u64::from_le_bytes(*end),
            (Some(start), Some(end), None) => u64::from(u32::from_le_bytes(*start)) << 32 | u64::from(u32::from_le_bytes(*end)),
            _ => bytes.iter().fold(0, |glance, byte| glance << 8 | u64::from(*byte)),
        };
        Key { glance: glance ^ text.len() as u64, text }
    }
}

/// The first key that is there twice. Sorts `keys` if they are many: a hash table would want a secret against chosen
/// names, and sorting is bounded without one.
pub(super) fn duplicate<'n, 'a>(keys: &'n mut [Key<'a>]) -> Option<&'n Key<'a>> {
    if keys.len() <= PAIRWISE_MAX {
        return (1..keys.len()).find(|&last| keys[..last].contains(&keys[last])).map(|at| &keys[at]);
    }
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| &pair[0])
}

/// The refusal of a name that is there twice.
#[cold]
pub(super) fn twice(what: &str, name: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    Refusal::new(DUPLICATE_KEY, format!("{what} has the member {shown:?} twice in one object: send it once"))
}

/// What a [`scan`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned<'a> {
    /// The wanted members of the outermost object that are strings or integers, as text.
    pub(super) fields: Fields<'a>,
    /// There are line breaks between the tokens.
    pub(super) has_breaks: bool,
}

/// Checks `text`, the value of member `what`, by the [`Reader`]'s rules.
pub(super) fn scan<'a>(what: &str, text: &'a str, wanted: &[String]) -> Result<Scanned<'a>, Refusal> {
    let mut reader = Reader::new(what, text);
    let mut fields = Fields::new();
    match reader.only_value(wanted, &mut fields) {
        Ok(()) => Ok(Scanned { fields, has_breaks: reader.take_breaks() }),
        Err(Refused) => Err(reader.into_refusal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The glance alone must never make two names one.
        #[test]
        fn keys_are_one_if_their_names_are(a in "[ab]{0,12}", b in "[ab]{0,12}") {
            let same = Key::new(Cow::Borrowed(&a)) == Key::new(Cow::Borrowed(&b));
            prop_assert_eq!(same, a == b);
        }
    }
}
