//! A scanner that trusts the grammar and looks at brackets, strings and numbers alone: the reader's opposite.

use std::borrow::Cow;

use super::super::super::{Key, Scanned, duplicate, is_integer, string, twice};
use crate::base::codes::{BAD_JSON, INVALID_FIELD, Refusal, TOO_DEEP};
use crate::base::limits::JSON_DEPTH_MAX;

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
            let plain = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\')).count();
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
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        self.at += self.text.as_bytes()[start..].iter().take_while(is_part).count();
        let number = &self.text[start..self.at];
        if !number.parse().is_ok_and(f64::is_finite) {
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
