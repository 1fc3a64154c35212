//! A strict reader of RFC 8259 that checks in the same walk what a grammar does not: nesting, duplicate members, numbers beyond a double,
//! half surrogate pairs. A function is a production of the grammar, and begins at its first byte and ends after its last.

use std::borrow::Cow;

use super::{Key, duplicate, string, twice};
use crate::base::codes::{BAD_JSON, INVALID_FIELD, Refusal, TOO_DEEP};
use crate::base::limits::JSON_DEPTH_MAX;

/// Room for so many names is made at once.
const KEYS_USUAL: usize = 8;
/// No number of so few characters without an exponent is beyond a double.
const FINITE_CHARS: usize = 300;

/// What the grammar's productions give.
pub(in crate::wire) type Read<T> = Result<T, Box<Refusal>>;

/// A text being read; see the module. After a refusal it stands anywhere.
pub(in crate::wire) struct Reader<'a, 's> {
    /// What is read, for refusals.
    what: &'s str,
    text: &'a str,
    at: usize,
    /// The keys so far in all open objects.
    keys: Vec<Key<'a>>,
    has_breaks: bool,
}

/// What was read at the top of a value.
pub(in crate::wire) enum Top<'a> {
    /// A string.
    Text(Text<'a>),
    /// A number without fraction and exponent.
    Integer(&'a str),
    /// Anything else.
    Other,
}

/// A string with its quotes.
pub(in crate::wire) struct Text<'a> {
    raw: &'a str,
    has_escapes: bool,
}

/// Wanted members of an object, by name, as text.
pub(in crate::wire) type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl<'a, 's> Reader<'a, 's> {
    /// At the beginning of `text`; refusals say that it is `what`.
    pub(in crate::wire) fn new(what: &'s str, text: &'a str) -> Reader<'a, 's> {
        Reader { what, text, at: 0, keys: Vec::new(), has_breaks: false }
    }

    /// Whether line breaks were between the tokens since this was asked last.
    pub(in crate::wire) fn take_breaks(&mut self) -> bool {
        std::mem::take(&mut self.has_breaks)
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
            self.object(1, |reader, top| reader.pick(top, wanted, fields))?;
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

    /// Keeps the last key with its value, if it is wanted.
    fn pick(&self, top: Top<'a>, wanted: &[String], fields: &mut Fields<'a>) -> Read<()> {
        let name = self.keys.last().map(|key| &key.text).filter(|name| wanted.iter().any(|wanted| **wanted == ***name));
        let Some(name) = name else { return Ok(()) };
        let value = match top {
            Top::Text(text) => self.decode(text)?,
            Top::Integer(digits) => Cow::Borrowed(digits),
            Top::Other => return Ok(()),
        };
        fields.push((name.clone(), value));
        Ok(())
    }

    /// A value within `depth` others.
    fn value(&mut self, depth: usize) -> Read<Top<'a>> {
        match self.peek() {
            Some(b'"') => return self.string().map(Top::Text),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            Some(b'{') => self.object(depth + 1, |_, _| Ok(()))?,
            Some(b'[') => self.array(depth + 1)?,
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            _ => return Err(self.bad("what is no JSON")),
        }
        Ok(Top::Other)
    }

    /// An object, itself the `depth`th level. `each` is called after each member's value; its key is the last one then.
    fn object(&mut self, depth: usize, mut each: impl FnMut(&Self, Top<'a>) -> Read<()>) -> Read<()> {
        self.check_depth(depth)?;
        let first_key = self.keys.len();
        self.members(|reader, name| {
            reader.add_key(name);
            let top = reader.value(depth)?;
            each(reader, top)
        })?;
        if let Some(key) = duplicate(&mut self.keys[first_key..]) {
            return Err(Box::new(twice(self.what, &key.text)));
        }
        self.keys.truncate(first_key);
        Ok(())
    }

    #[inline]
    fn add_key(&mut self, name: Cow<'a, str>) {
        if self.keys.capacity() == 0 {
            self.keys.reserve(KEYS_USUAL);
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
        let text = self.string()?;
        let name = self.decode(text)?;
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

    fn string(&mut self) -> Read<Text<'a>> {
        let start = self.at;
        let mut has_escapes = false;
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            self.at += plain_bytes(rest);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += self.escape()?,
                _ => return Err(self.bad("a string without end, or with a control character")),
            }
            has_escapes = true;
        }
        self.at += 1;
        Ok(Text { raw: &self.text[start..self.at], has_escapes })
    }

    /// The length of the escape here; a pair of surrogates is one, half a pair is refused.
    fn escape(&self) -> Read<usize> {
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

    #[inline]
    fn decode(&self, text: Text<'a>) -> Read<Cow<'a, str>> {
        let Text { raw, has_escapes } = text;
        if has_escapes { string(raw).ok_or_else(|| self.bad("a bad string")) } else { Ok(Cow::Borrowed(&raw[1..raw.len() - 1])) }
    }

    fn number(&mut self) -> Read<Top<'a>> {
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
        Ok(if self.at == end_of_integer { Top::Integer(number) } else { Top::Other })
    }

    /// One or more.
    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.bad("no digit where one must be")) }
    }

    fn check_finite(&self, start: usize, number: &str) -> Read<()> {
        if number.parse().is_ok_and(f64::is_finite) {
            return Ok(());
        }
        let message = format!("{} has a number beyond the range of a double at its byte {start}: send it as a string", self.what);
        Err(Box::new(Refusal::new(INVALID_FIELD, message)))
    }

    fn check_depth(&self, depth: usize) -> Read<()> {
        if depth <= JSON_DEPTH_MAX {
            return Ok(());
        }
        let message = format!("{} is nested deeper than {JSON_DEPTH_MAX} at its byte {}: flatten it", self.what, self.at);
        Err(Box::new(Refusal::new(TOO_DEEP, message)))
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
    fn lacks(&self, byte: u8) -> Box<Refusal> {
        self.bad(&format!("no `{}` where one must be", char::from(byte)))
    }

    #[cold]
    fn bad(&self, problem: &str) -> Box<Refusal> {
        Box::new(Refusal::new(BAD_JSON, format!("{} has {problem} at its byte {}", self.what, self.at)))
    }
}

/// How many bytes precede the first quote, backslash or control character; 8 are looked at a time.
#[inline]
fn plain_bytes(rest: &[u8]) -> usize {
    let (words, end) = rest.as_chunks::<8>();
    for (nth, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let controls = word.wrapping_sub(EACH_BYTE * 0x20) & !word & TOP_BITS;
        let hits = zero_bytes(word ^ QUOTES) | zero_bytes(word ^ BACKSLASHES) | controls;
        if hits != 0 {
            return nth * 8 + hits.trailing_zeros() as usize / 8;
        }
    }
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    words.len() * 8 + end.iter().take_while(|byte| is_plain(byte)).count()
}

/// The top bit of every byte that is zero, exact up to and including the lowest of them; so is the sum of several such searches.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(EACH_BYTE) & !word & TOP_BITS
}

const EACH_BYTE: u64 = 0x0101_0101_0101_0101;
const TOP_BITS: u64 = EACH_BYTE << 7;
const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);

#[cfg(test)]
mod tests;
