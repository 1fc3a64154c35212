//! What publish lines and commands share: the members of an object as raw text, and the checks that a JSON parser leaves out.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::codes::{BAD_JSON, DUPLICATE_KEY, INVALID_FIELD, Refusal, TOO_DEEP};
use crate::base::ident::is_identifier;
use crate::base::limits::{IDENT_BYTES_MAX, JSON_DEPTH_MAX, REQUEST_ID_BYTES_MAX};
use crate::wire::request_id::RequestId;

/// So many keys of one object are compared with each other; more are sorted first.
const PAIRWISE_MAX: usize = 16;
/// Room for so many names is made at once.
const KEYS_USUAL: usize = 16;
/// No number of so few characters without an exponent is beyond a double.
const FINITE_CHARS: usize = 300;

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
    string(raw).filter(|text| is_identifier(text)).ok_or_else(|| not_identifier(name))
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
    pub(super) fn new(text: Cow<'a, str>) -> Key<'a> {
        let end = text.as_bytes().last_chunk().copied().unwrap_or_else(|| {
            let mut padded = [0; 8];
            padded[..text.len()].copy_from_slice(text.as_bytes());
            padded
        });
        Key { glance: u64::from_le_bytes(end) ^ text.len() as u64, text }
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
#[derive(Debug, Default)]
pub(super) struct Scanned<'a> {
    /// The wanted members of the outermost object that are strings or integers, as text.
    pub(super) fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// There are line breaks between the tokens.
    pub(super) has_breaks: bool,
}

/// Checks what the grammar does not: nesting, duplicate members, numbers beyond a double, lone surrogates. `text` is the
/// value of member `what`; its grammar has been checked (if it were wrong, this would still end, with some answer).
pub(super) fn scan<'a>(what: &str, text: &'a str, wanted: &[String]) -> Result<Scanned<'a>, Refusal> {
    let scanner = Scanner {
        what,
        text,
        wanted,
        at: 0,
        depth: 0,
        levels: [Level { first_key: 0, is_object: false }; JSON_DEPTH_MAX + 1],
        is_key_next: false,
        keys: Vec::new(),
        found: Scanned::default(),
    };
    scanner.run()
}

struct Scanner<'a, 's> {
    what: &'s str,
    text: &'a str,
    wanted: &'s [String],
    at: usize,
    depth: usize,
    levels: [Level; JSON_DEPTH_MAX + 1],
    is_key_next: bool,
    /// The keys so far in all open objects; each level knows where its own begin.
    keys: Vec<Key<'a>>,
    found: Scanned<'a>,
}

#[derive(Clone, Copy)]
struct Level {
    first_key: u32,
    is_object: bool,
}

impl<'a> Scanner<'a, '_> {
    fn run(mut self) -> Result<Scanned<'a>, Refusal> {
        while let Some(byte) = self.peek(0) {
            match byte {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b'{' | b'[' => self.open(byte == b'{')?,
                b'}' | b']' => self.close()?,
                b',' => self.comma(),
                b'\r' | b'\n' => self.line_break(),
                _ => self.at += 1,
            }
        }
        Ok(self.found)
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn open(&mut self, is_object: bool) -> Result<(), Refusal> {
        if self.depth == JSON_DEPTH_MAX {
            let message = format!("{} is nested deeper than {JSON_DEPTH_MAX} at its byte {}: flatten it", self.what, self.at);
            return Err(Refusal::new(TOO_DEEP, message));
        }
        if self.keys.capacity() == 0 {
            self.keys.reserve(KEYS_USUAL);
        }
        self.depth += 1;
        self.levels[self.depth] = Level { first_key: self.keys.len() as u32, is_object };
        self.is_key_next = is_object;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Refusal> {
        let first_key = self.levels[self.depth].first_key as usize;
        if let Some(key) = duplicate(&mut self.keys[first_key..]) {
            return Err(twice(self.what, &key.text));
        }
        self.keys.truncate(first_key);
        self.depth = self.depth.checked_sub(1).ok_or_else(|| self.bad("brackets that do not match"))?;
        self.is_key_next = false;
        self.at += 1;
        Ok(())
    }

    fn comma(&mut self) {
        self.is_key_next = self.levels[self.depth].is_object;
        self.at += 1;
    }

    fn line_break(&mut self) {
        self.found.has_breaks = true;
        self.at += 1;
    }

    fn string(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        let has_escapes = self.skip_string()?;
        let raw = &self.text[start..self.at];
        if self.is_key_next {
            self.is_key_next = false;
            let name = self.decode(raw, has_escapes)?;
            self.keys.push(Key::new(name));
        } else if self.is_wanted() {
            let value = self.decode(raw, has_escapes)?;
            self.keep(value);
        }
        Ok(())
    }

    /// Moves beyond the closing quote; says whether there are escapes.
    fn skip_string(&mut self) -> Result<bool, Refusal> {
        let mut has_escapes = false;
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = plain_bytes(rest);
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => break,
                Some(_) => {}
                None => return Err(self.bad("a string without end")),
            }
            has_escapes = true;
            self.at += self.escape_bytes()?;
        }
        self.at += 1;
        Ok(has_escapes)
    }

    /// The length of the escape here; a pair of surrogates is one, half a pair is refused.
    fn escape_bytes(&self) -> Result<usize, Refusal> {
        if self.peek(1) != Some(b'u') {
            return Ok(2);
        }
        match self.code_unit(0) {
            Some(0xd800..0xdc00) if matches!(self.code_unit(6), Some(0xdc00..0xe000)) => Ok(12),
            Some(0xd800..0xe000) | None => Err(self.bad("half of a surrogate pair")),
            Some(_) => Ok(6),
        }
    }

    fn code_unit(&self, ahead: usize) -> Option<u16> {
        let from = self.at + ahead;
        let digits = self.text.get(from..from + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    }

    fn decode(&self, raw: &'a str, has_escapes: bool) -> Result<Cow<'a, str>, Refusal> {
        if has_escapes { string(raw).ok_or_else(|| self.bad("a bad string")) } else { Ok(Cow::Borrowed(&raw[1..raw.len() - 1])) }
    }

    fn number(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        let mut has_exponent = false;
        let is_part = |byte: &&u8| {
            has_exponent |= matches!(byte, b'e' | b'E');
            matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
        };
        self.at += self.text.as_bytes()[start..].iter().take_while(is_part).count();
        let number = &self.text[start..self.at];
        if (has_exponent || number.len() > FINITE_CHARS) && !number.parse().is_ok_and(f64::is_finite) {
            let message = format!("{} has a number beyond the range of a double at its byte {start}: send it as a string", self.what);
            return Err(Refusal::new(INVALID_FIELD, message));
        }
        if self.is_wanted() && is_integer(number) {
            self.keep(Cow::Borrowed(number));
        }
        Ok(())
    }

    /// The value that begins here is a wanted member of the outermost object.
    fn is_wanted(&self) -> bool {
        self.depth == 1 && self.keys.last().is_some_and(|key| self.wanted.iter().any(|wanted| **wanted == *key.text))
    }

    fn keep(&mut self, value: Cow<'a, str>) {
        let name = self.keys.last().map(|key| key.text.clone()).unwrap_or_default();
        self.found.fields.push((name, value));
    }

    #[cold]
    fn bad(&self, problem: &str) -> Refusal {
        Refusal::new(BAD_JSON, format!("{} has {problem} at its byte {}", self.what, self.at))
    }
}

/// How many bytes precede the first quote or backslash; 8 are looked at a time.
fn plain_bytes(rest: &[u8]) -> usize {
    let (words, end) = rest.as_chunks::<8>();
    for (nth, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES);
        if hits != 0 {
            return nth * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\');
    words.len() * 8 + end.iter().take_while(|byte| is_plain(byte)).count()
}

/// The top bit of every byte that is zero, exact up to and including the lowest of them.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(EACH_BYTE) & !word & (EACH_BYTE << 7)
}

const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_bytes_end_at_the_first_quote_or_backslash(text in r"[\x01-#\[-^é]{0,40}") {
            let expected = text.bytes().take_while(|byte| !matches!(byte, b'"' | b'\\')).count();
            prop_assert_eq!(plain_bytes(text.as_bytes()), expected);
        }

        /// The glance alone must never make two names one.
        #[test]
        fn keys_are_one_if_their_names_are(a in "[ab]{0,12}", b in "[ab]{0,12}") {
            let same = Key::new(Cow::Borrowed(&a)) == Key::new(Cow::Borrowed(&b));
            prop_assert_eq!(same, a == b);
        }
    }
}
