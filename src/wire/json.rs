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

/// The first name that is there twice. Sorts `names` if they are many: a hash table would want a secret against chosen
/// keys, and sorting is bounded without one.
pub(super) fn duplicate<'n, 'a>(names: &'n mut [Cow<'a, str>]) -> Option<&'n Cow<'a, str>> {
    if names.len() <= PAIRWISE_MAX {
        return (1..names.len()).find(|&last| names[..last].contains(&names[last])).map(|at| &names[at]);
    }
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| &pair[0])
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
pub(super) fn scan<'a>(what: &str, text: &'a str, wanted: &[&str]) -> Result<Scanned<'a>, Refusal> {
    let scanner = Scanner {
        what,
        text,
        wanted,
        at: 0,
        depth: 0,
        levels: [Level { first_name: 0, is_object: false }; JSON_DEPTH_MAX + 1],
        is_name_next: false,
        names: Vec::new(),
        found: Scanned::default(),
    };
    scanner.run()
}

struct Scanner<'a, 's> {
    what: &'s str,
    text: &'a str,
    wanted: &'s [&'s str],
    at: usize,
    depth: usize,
    levels: [Level; JSON_DEPTH_MAX + 1],
    is_name_next: bool,
    /// The names so far in all open objects; each level knows where its own begin.
    names: Vec<Cow<'a, str>>,
    found: Scanned<'a>,
}

#[derive(Clone, Copy)]
struct Level {
    first_name: u32,
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
        self.depth += 1;
        self.levels[self.depth] = Level { first_name: self.names.len() as u32, is_object };
        self.is_name_next = is_object;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Refusal> {
        let first_name = self.levels[self.depth].first_name as usize;
        if let Some(name) = duplicate(&mut self.names[first_name..]) {
            return Err(twice(self.what, name));
        }
        self.names.truncate(first_name);
        self.depth = self.depth.checked_sub(1).ok_or_else(|| self.bad("brackets that do not match"))?;
        self.is_name_next = false;
        self.at += 1;
        Ok(())
    }

    fn comma(&mut self) {
        self.is_name_next = self.levels[self.depth].is_object;
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
        if self.is_name_next {
            self.is_name_next = false;
            let name = self.decode(raw, has_escapes)?;
            self.names.push(name);
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
            match self.peek(0) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.at += self.escape_bytes()?;
                }
                Some(_) => self.at += 1,
                None => return Err(self.bad("a string without end")),
            }
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
        while let Some(byte @ (b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) = self.peek(0) {
            has_exponent |= matches!(byte, b'e' | b'E');
            self.at += 1;
        }
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
        self.depth == 1 && self.names.last().is_some_and(|name| self.wanted.contains(&&**name))
    }

    fn keep(&mut self, value: Cow<'a, str>) {
        let name = self.names.last().cloned().unwrap_or_default();
        self.found.fields.push((name, value));
    }

    #[cold]
    fn bad(&self, problem: &str) -> Refusal {
        Refusal::new(BAD_JSON, format!("{} has {problem} at its byte {}", self.what, self.at))
    }
}
