//! A strict reader of RFC 8259 that checks in the same walk what a grammar does not: nesting, duplicate members, numbers beyond a double,
//! half surrogate pairs. A function is a production of the grammar, and begins at its first byte and ends after its last.

use std::borrow::Cow;

use super::{Key, duplicate, string, twice};
use crate::base::codes::{BAD_JSON, ErrorCode, INVALID_FIELD, Refusal, TOO_DEEP};
use crate::base::limits::JSON_DEPTH_MAX;

/// Room for so many names is made at once.
const KEYS_USUAL: usize = 8;
/// Room for so many wanted members is made at once.
const FIELDS_USUAL: usize = 4;
/// No number of so few characters without an exponent is beyond a double.
const FINITE_CHARS: usize = 300;

/// The text is refused; the reader has the reason. The reason is not here because this is in the way of every answer of every production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire) struct Refused;

/// What the grammar's productions give.
pub(in crate::wire) type Read<T> = Result<T, Refused>;

/// A text being read; see the module. After a refusal it stands anywhere.
pub(in crate::wire) struct Reader<'a, 's> {
    /// What is read, for refusals.
    what: &'s str,
    text: &'a str,
    at: usize,
    /// The keys so far in all open objects.
    keys: Vec<Key<'a>>,
    has_breaks: bool,
    refusal: Option<Refusal>,
}

/// What kind of value was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A string that stands as it is between its quotes.
    Plain,
    /// A string with escapes.
    Escaped,
    /// A number without fraction and exponent.
    Integer,
    /// Anything else.
    Other,
}

/// Wanted members of an object, by name, as text.
pub(in crate::wire) type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl<'a, 's> Reader<'a, 's> {
    /// At the beginning of `text`; refusals say that it is `what`.
    pub(in crate::wire) fn new(what: &'s str, text: &'a str) -> Reader<'a, 's> {
        Reader { what, text, at: 0, keys: Vec::new(), has_breaks: false, refusal: None }
    }

    /// Whether line breaks were between the tokens since this was asked last.
    pub(in crate::wire) fn take_breaks(&mut self) -> bool {
        std::mem::take(&mut self.has_breaks)
    }

    /// Why the text was refused.
    pub(in crate::wire) fn into_refusal(self) -> Refusal {
        self.refusal.expect("asked for after `Refused`, which is made where the reason is set")
    }

    /// `{ member, member }` as the whole text. `each` gets a member's name, and must read its value.
    pub(in crate::wire) fn only_object(&mut self, each: impl FnMut(&mut Self, Cow<'a, str>) -> Read<()>) -> Read<()> {
        self.space();
        self.members(each)?;
        self.end()
    }

    /// One value, and nothing else but space.
    pub(in crate::wire) fn only_value(&mut self, wanted: &[String], fields: &mut Fields<'a>) -> Read<()> {
        self.space();
        self.picked(wanted, fields)?;
        self.end()
    }

    /// A value with its raw text; if it is an object, the members of it that are wanted are put into `fields`, but for those that
    /// are neither strings nor integers.
    pub(in crate::wire) fn picked(&mut self, wanted: &[String], fields: &mut Fields<'a>) -> Read<&'a str> {
        let start = self.at;
        if self.peek() == Some(b'{') {
            self.object(1, |reader, start, kind| reader.pick(start, kind, wanted, fields))?;
        } else {
            self.value(0)?;
        }
        Ok(&self.text[start..self.at])
    }

    /// A value with its raw text.
    pub(in crate::wire) fn raw(&mut self) -> Read<&'a str> {
        let start = self.at;
        self.value(0)?;
        Ok(&self.text[start..self.at])
    }

    /// Keeps the last key with its value, which began at `start`, if it is wanted.
    fn pick(&mut self, start: usize, kind: Kind, wanted: &[String], fields: &mut Fields<'a>) -> Read<()> {
        let is_wanted = |key: &Key<'a>| wanted.iter().any(|wanted| **wanted == *key.text);
        if kind == Kind::Other || !self.keys.last().is_some_and(is_wanted) {
            return Ok(());
        }
        let value = if kind == Kind::Integer { Cow::Borrowed(&self.text[start..self.at]) } else { self.decode(start, kind)? };
        if fields.capacity() == 0 {
            *fields = Vec::with_capacity(FIELDS_USUAL);
        }
        fields.extend(self.keys.last().map(|key| (key.text.clone(), value)));
        Ok(())
    }

    /// A value within `depth` others.
    fn value(&mut self, depth: usize) -> Read<Kind> {
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            Some(b'{') => self.object(depth + 1, |_, _, _| Ok(()))?,
            Some(b'[') => self.array(depth + 1)?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return Err(self.bad("what is no JSON")),
        }
        Ok(Kind::Other)
    }

    /// An object, itself the `depth`th level. `each` is called after each member's value, with where that began; its key is the last then.
    fn object(&mut self, depth: usize, mut each: impl FnMut(&mut Self, usize, Kind) -> Read<()>) -> Read<()> {
        self.check_depth(depth)?;
        let first_key = self.keys.len();
        self.members(|reader, name| {
            reader.add_key(name);
            let start = reader.at;
            let kind = reader.value(depth)?;
            each(reader, start, kind)
        })?;
        if let Some(key) = duplicate(&mut self.keys[first_key..]) {
            self.refusal = Some(twice(self.what, &key.text));
            return Err(Refused);
        }
        self.keys.truncate(first_key);
        Ok(())
    }

    #[inline]
    fn add_key(&mut self, name: Cow<'a, str>) {
        if self.keys.capacity() == 0 {
            self.keys = Vec::with_capacity(KEYS_USUAL);
        }
        self.keys.push(Key::new(name));
    }

    /// From one brace to the other.
    fn members(&mut self, mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Read<()>) -> Read<()> {
        self.expect(b'{')?;
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let name = self.name()?;
            each(self, name)?;
            self.space();
            if !self.take(b',') {
                return self.expect(b'}');
            }
            self.space();
        }
    }

    /// A member's name, and all that is before its value.
    #[inline]
    fn name(&mut self) -> Read<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return Err(self.bad("no name where one must be"));
        }
        let start = self.at;
        let kind = self.string()?;
        let name = self.decode(start, kind)?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(name)
    }

    /// An array, itself the `depth`th level.
    fn array(&mut self, depth: usize) -> Read<()> {
        self.check_depth(depth)?;
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.space();
            if !self.take(b',') {
                return self.expect(b']');
            }
            self.space();
        }
    }

    #[inline]
    fn string(&mut self) -> Read<Kind> {
        self.at += 1;
        self.skip_plain();
        if self.take(b'"') { Ok(Kind::Plain) } else { self.rest_of_string() }
    }

    /// From the first escape on.
    #[inline(never)]
    fn rest_of_string(&mut self) -> Read<Kind> {
        while self.peek() == Some(b'\\') {
            self.at += self.escape()?;
            self.skip_plain();
        }
        if self.take(b'"') { Ok(Kind::Escaped) } else { Err(self.bad("a string without end, or with a control character")) }
    }

    /// Most strings end within two words.
    #[inline]
    fn skip_plain(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        for (nth, word) in rest.as_chunks().0.iter().take(2).enumerate() {
            let hits = special_bytes(u64::from_le_bytes(*word));
            if hits != 0 {
                self.at += nth * 8 + hits.trailing_zeros() as usize / 8;
                return;
            }
        }
        self.at += plain_bytes(rest);
    }

    /// The length of the escape here; a pair of surrogates is one, half a pair is refused.
    fn escape(&mut self) -> Read<usize> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') => match self.code_unit(0) {
                Some(0xd800..0xdc00) if matches!(self.code_unit(6), Some(0xdc00..0xe000)) => Ok(12),
                Some(0xd800..0xe000) => Err(self.bad("half of a surrogate pair")),
                Some(_) => Ok(6),
                None => Err(self.bad("a bad escape")),
            },
            _ => Err(self.bad("a bad escape")),
        }
    }

    fn code_unit(&self, ahead: usize) -> Option<u16> {
        let from = self.at + ahead;
        let digits = self.text.get(from..from + 6)?.strip_prefix("\\u")?;
        // The digits are looked at because a sign would pass, too.
        u16::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    }

    /// The string that began at `start` and ends here.
    #[inline]
    fn decode(&mut self, start: usize, kind: Kind) -> Read<Cow<'a, str>> {
        if kind == Kind::Plain { Ok(Cow::Borrowed(&self.text[start + 1..self.at - 1])) } else { self.unescape(start) }
    }

    #[inline(never)]
    fn unescape(&mut self, start: usize) -> Read<Cow<'a, str>> {
        string(&self.text[start..self.at]).ok_or_else(|| self.bad("a bad string"))
    }

    fn number(&mut self) -> Read<Kind> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        let end_of_integer = self.at;
        if self.take(b'.') {
            self.digits()?;
        }
        let end_of_fraction = self.at;
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let number = &self.text[start..self.at];
        if self.at > end_of_fraction || number.len() > FINITE_CHARS {
            self.check_finite(start, number)?;
        }
        Ok(if self.at == end_of_integer { Kind::Integer } else { Kind::Other })
    }

    /// One or more.
    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.bad("no digit where one must be")) }
    }

    fn check_finite(&mut self, start: usize, number: &str) -> Read<()> {
        if number.parse().is_ok_and(f64::is_finite) {
            return Ok(());
        }
        let message = format!("{} has a number beyond the range of a double at its byte {start}: send it as a string", self.what);
        Err(self.refuse(INVALID_FIELD, message))
    }

    fn check_depth(&mut self, depth: usize) -> Read<()> {
        if depth <= JSON_DEPTH_MAX {
            return Ok(());
        }
        let message = format!("{} is nested deeper than {JSON_DEPTH_MAX} at its byte {}: flatten it", self.what, self.at);
        Err(self.refuse(TOO_DEEP, message))
    }

    fn literal(&mut self, word: &str) -> Read<()> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.bad("what is no JSON"));
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn space(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_space();
        }
    }

    fn skip_space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.has_breaks |= matches!(byte, b'\r' | b'\n');
            self.at += 1;
        }
    }

    fn end(&mut self) -> Read<()> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.bad("more than one value")) }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes beyond that byte, if it is the next one.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.take(byte) { Ok(()) } else { Err(self.lacks(byte)) }
    }

    #[cold]
    fn lacks(&mut self, byte: u8) -> Refused {
        self.bad(&format!("no `{}` where one must be", char::from(byte)))
    }

    #[cold]
    fn bad(&mut self, problem: &str) -> Refused {
        let message = format!("{} has {problem} at its byte {}", self.what, self.at);
        self.refuse(BAD_JSON, message)
    }

    #[cold]
    fn refuse(&mut self, error: ErrorCode, message: String) -> Refused {
        self.refusal = Some(Refusal::new(error, message));
        Refused
    }
}

/// How many bytes precede the first quote, backslash or control character: found by blocks, then by words, then by bytes.
#[inline(never)]
fn plain_bytes(rest: &[u8]) -> usize {
    let (blocks, _) = rest.as_chunks();
    let plain = BLOCK_BYTES * blocks.iter().take_while(|block| is_block_plain(block)).count();
    let (words, end) = rest[plain..].as_chunks();
    for (nth, word) in words.iter().enumerate() {
        let hits = special_bytes(u64::from_le_bytes(*word));
        if hits != 0 {
            return plain + nth * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    plain + words.len() * 8 + end.iter().take_while(|byte| is_special(**byte) == 0).count()
}

const BLOCK_BYTES: usize = 16;

/// Without a branch for each byte, so that they are all looked at together.
fn is_block_plain(block: &[u8; BLOCK_BYTES]) -> bool {
    block.iter().fold(0, |special, byte| special | is_special(*byte)) == 0
}

const fn is_special(byte: u8) -> u8 {
    (byte == b'"') as u8 | (byte == b'\\') as u8 | (byte < 0x20) as u8
}

/// The top bit of every byte that is a quote, a backslash or a control character, exact up to and including the lowest of them: a
/// subtraction borrows from the bytes above only where it hits. What is no ASCII is no hit.
const fn special_bytes(word: u64) -> u64 {
    let quotes = (word ^ QUOTES).wrapping_sub(EACH_BYTE);
    let backslashes = (word ^ BACKSLASHES).wrapping_sub(EACH_BYTE);
    let controls = word.wrapping_sub(EACH_BYTE * 0x20);
    (quotes | backslashes | controls) & !word & TOP_BITS
}

const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
const TOP_BITS: u64 = EACH_BYTE << 7;
const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);

#[cfg(test)]
mod tests;
