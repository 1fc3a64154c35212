//! The offers of Sec-WebSocket-Extensions (RFC 6455 section 9.1), of which permessage-deflate (RFC 7692) may be accepted.

use std::fmt;

use crate::wire::deflate::WINDOW_BITS_MAX;

/// zlib writes no window of 8 bits.
const SERVER_WINDOW_BITS_MIN: u8 = 9;

/// What is agreed on for permessage-deflate. Neither side takes a context over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessageDeflate {
    /// The window of what we send, in bits, if the client limits it.
    server_window_bits: Option<u8>,
    /// The window of what the client sends, if it spoke of one.
    client_window_bits: Option<u8>,
}

impl PerMessageDeflate {
    /// The window that the client's inflater has, in bits.
    pub fn window_bits(&self) -> u8 {
        self.server_window_bits.unwrap_or(WINDOW_BITS_MAX)
    }
}

/// The answer's Sec-WebSocket-Extensions.
impl fmt::Display for PerMessageDeflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        if let Some(bits) = self.server_window_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        if let Some(bits) = self.client_window_bits {
            write!(f, "; client_max_window_bits={bits}")?;
        }
        Ok(())
    }
}

/// It is no list of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The first offer of permessage-deflate in these header lines that can be accepted. All lines are one list; offers of other extensions,
/// and offers with parameters that are unknown, doubled or out of bounds, are declined (RFC 7692 section 7.1).
pub(super) fn accept<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Option<PerMessageDeflate>, Malformed> {
    let mut accepted = None;
    let mut has_offer = false;
    let mut has_line = false;
    for line in lines {
        has_line = true;
        let mut cursor = Cursor { rest: line };
        loop {
            if cursor.is_element() {
                has_offer = true;
                let offer = cursor.offer()?;
                accepted = accepted.or(offer);
            }
            if !cursor.eat(b',') {
                break;
            }
        }
        if !cursor.rest.is_empty() {
            return Err(Malformed);
        }
    }
    if has_line && !has_offer { Err(Malformed) } else { Ok(accepted) }
}

/// The parameters of one offer, as far as they are read.
#[derive(Default)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_window_bits: Option<u8>,
    client_window_bits: Option<u8>,
}

impl Params {
    /// Takes a parameter; false if no offer with it is accepted.
    fn take(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        match name {
            b"server_no_context_takeover" => value.is_none() && !std::mem::replace(&mut self.server_no_context_takeover, true),
            b"client_no_context_takeover" => value.is_none() && !std::mem::replace(&mut self.client_no_context_takeover, true),
            b"server_max_window_bits" => {
                let bits = value.and_then(window_bits).filter(|bits| *bits >= SERVER_WINDOW_BITS_MIN);
                bits.is_some() && self.server_window_bits.replace(bits.unwrap_or_default()).is_none()
            }
            b"client_max_window_bits" => {
                let bits = value.map_or(Some(WINDOW_BITS_MAX), window_bits);
                bits.is_some() && self.client_window_bits.replace(bits.unwrap_or_default()).is_none()
            }
            _ => false,
        }
    }
}

/// 8 to 15, without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// What is left of a header line.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// One offer, if it is accepted.
    fn offer(&mut self) -> Result<Option<PerMessageDeflate>, Malformed> {
        let mut is_good = self.token()?.eq_ignore_ascii_case(b"permessage-deflate");
        let mut params = Params::default();
        while self.eat(b';') {
            let name = self.token()?;
            let value = if self.eat(b'=') { Some(self.value()?) } else { None };
            is_good &= params.take(name, value);
        }
        let Params { server_window_bits, client_window_bits, .. } = params;
        Ok(is_good.then_some(PerMessageDeflate { server_window_bits, client_window_bits }))
    }

    /// Whether an element begins here: a list may have empty ones (RFC 9110 section 5.6.1).
    fn is_element(&mut self) -> bool {
        self.skip_space();
        !matches!(self.rest, [] | [b',', ..])
    }

    fn eat(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is_there = self.rest.first() == Some(&wanted);
        self.rest = &self.rest[usize::from(is_there)..];
        is_there
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        self.skip_space();
        let len = self.rest.iter().take_while(|byte| is_token_byte(**byte)).count();
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// A token, or one in quotes; what the quotes hold must be a token as well. Nobody needs to escape what a token may have.
    fn value(&mut self) -> Result<&'a [u8], Malformed> {
        if !self.eat(b'"') {
            return self.token();
        }
        let len = self.rest.iter().take_while(|byte| is_token_byte(**byte)).count();
        let value = &self.rest[..len];
        self.rest = self.rest[len..].strip_prefix(b"\"").ok_or(Malformed)?;
        if value.is_empty() { Err(Malformed) } else { Ok(value) }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(lines: &[&str]) -> Result<Option<String>, Malformed> {
        accept(lines.iter().map(|line| line.as_bytes())).map(|accepted| accepted.map(|deflate| deflate.to_string()))
    }

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    /// DLV-23: RFC 7692 section 7.1: what is accepted, and how it is answered.
    #[test]
    fn good_offers_are_accepted() {
        let cases: &[(&[&str], &str)] = &[
            (&["permessage-deflate"], ""),
            (&["PerMessage-Deflate"], ""),
            (&["permessage-deflate; client_max_window_bits"], "; client_max_window_bits=15"),
            (&["permessage-deflate;client_max_window_bits=10"], "; client_max_window_bits=10"),
            (&["permessage-deflate; client_max_window_bits=8"], "; client_max_window_bits=8"),
            (&["permessage-deflate; server_max_window_bits=9"], "; server_max_window_bits=9"),
            (&["permessage-deflate; server_max_window_bits=\"12\""], "; server_max_window_bits=12"),
            (&["permessage-deflate ; server_max_window_bits = 15"], "; server_max_window_bits=15"),
            (&["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], ""),
            (&["x-webkit-deflate-frame, permessage-deflate"], ""),
            (&["permessage-bzip2; level=\"9\"", "permessage-deflate"], ""),
            (&["permessage-deflate; server_max_window_bits=8, permessage-deflate"], ""),
            (&["permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10"], "; server_max_window_bits=10"),
            (&[", ,permessage-deflate,,"], ""),
        ];
        for (lines, params) in cases {
            assert_eq!(answer(lines), Ok(Some(format!("{PLAIN}{params}"))), "{lines:?}");
        }
    }

    #[test]
    fn other_offers_are_declined() {
        let params = [
            "server_max_window_bits",
            "server_max_window_bits=8",
            "server_max_window_bits=16",
            "server_max_window_bits=09",
            "server_max_window_bits=0",
            "server_max_window_bits=1",
            "server_max_window_bits=100",
            "server_max_window_bits=-9",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits; client_max_window_bits=9",
            "server_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover=x",
            "client_no_context_takeover; client_no_context_takeover",
            "Server_No_Context_Takeover",
            "mystery",
            "mystery=1",
        ];
        for param in params {
            assert_eq!(answer(&[&format!("permessage-deflate; {param}")]), Ok(None), "{param}");
        }
        assert_eq!(answer(&["permessage-bzip2"]), Ok(None));
        assert_eq!(answer(&[]), Ok(None));
    }

    /// RFC 6455 section 9.1: a header that breaks its grammar fails the handshake.
    #[test]
    fn what_is_no_list_of_extensions_is_refused() {
        let lines = [
            "",
            ",",
            ";",
            "=",
            "permessage-deflate;",
            "permessage-deflate; =9",
            "permessage-deflate; a=",
            "permessage-deflate; a=\"",
            "permessage-deflate; a=\"\"",
            "permessage-deflate; a=\"b",
            "permessage-deflate; a=\"b c\"",
            "permessage deflate",
            "a/b",
            "\u{e9}",
            "permessage-deflate; a==b",
            "permessage-deflate; a=b=c",
            "permessage-deflate,; a",
        ];
        for line in lines {
            assert_eq!(answer(&[line]), Err(Malformed), "{line:?}");
        }
        assert_eq!(answer(&["permessage-deflate", "a;"]), Err(Malformed));
    }

    proptest! {
        /// Whatever is offered, what is answered is an offer that would be accepted, and says the same.
        #[test]
        fn an_answer_reads_back(line in "(permessage-deflate|a)?([;,= \"]{0,3}(server_max_window_bits|client_max_window_bits|server_no_context_takeover|8|9|1[0-6])){0,6}") {
            if let Ok(Some(accepted)) = accept([line.as_bytes()].into_iter()) {
                let again = accept([accepted.to_string().as_bytes()].into_iter()).unwrap();
                prop_assert_eq!(again, Some(accepted));
            }
        }
    }
}
