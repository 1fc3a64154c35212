//! HTTP/1.1 request heads and answers, and the upgrade to WebSocket, as bytes in and values out and back.
//!
//! Strict where leniency lets requests be smuggled past a proxy: one Host, one Content-Length, never both lengths, no
//! folded headers, no bare line feeds.

use std::fmt;

use httparse::{Header, Status};

use crate::base::codes::{BAD_STATE, ErrorCode, INVALID_FIELD, METHOD_NOT_ALLOWED, Refusal, TOO_LARGE};
use crate::base::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

mod answer;
mod extensions;
mod query;
mod upgrade;

pub use answer::{add_headers, strip_body, write_refusal, write_response, write_switching};
pub use extensions::PerMessageDeflate;
pub use upgrade::{Subprotocol, Upgrade, token_of};

/// What came of parsing a head.
#[derive(Debug)]
pub enum Head<'a> {
    /// Its end is not there yet.
    Partial,
    /// It is there, in the first `used` bytes.
    Complete {
        /// The request.
        request: Request<'a>,
        /// Bytes of the head, the empty line included; a body begins there.
        used: usize,
    },
}

/// A request's head.
#[derive(Clone)]
pub struct Request<'a> {
    /// Case matters.
    pub method: &'a str,
    /// Begins with `/`; not decoded.
    pub path: &'a str,
    /// What stands after `?`; not decoded. May hold a token: never to be logged.
    pub query: Option<&'a str>,
    minor_version: u8,
    headers: Vec<Header<'a>>,
}

/// Shows neither headers nor query: they may hold a token.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

/// A request's refusal, with the status that fits it better than its error's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRefusal {
    /// The status.
    pub status: u16,
    /// Why.
    pub refusal: Refusal,
    /// A header line that the answer must have, such as `Allow: GET`.
    pub extra_header: Option<&'static str>,
}

impl HttpRefusal {
    fn new(status: u16, error: ErrorCode, message: impl Into<String>) -> HttpRefusal {
        HttpRefusal { status, refusal: Refusal::new(error, message), extra_header: None }
    }

    fn bad(message: impl Into<String>) -> HttpRefusal {
        HttpRefusal::new(400, INVALID_FIELD, message)
    }

    /// Appends the answer.
    pub fn write(&self, out: &mut Vec<u8>, keep_alive: bool) {
        let extra = self.extra_header.and_then(|line| line.split_once(": "));
        write_refusal(out, self.status, &self.refusal, keep_alive, extra.as_slice());
    }
}

impl From<Refusal> for HttpRefusal {
    fn from(refusal: Refusal) -> HttpRefusal {
        HttpRefusal { status: refusal.error.http_status, refusal, extra_header: None }
    }
}

/// How long the body is that follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLen {
    /// Nothing is said of a body: there is none.
    None,
    /// So many bytes follow.
    Bytes(u64),
}

/// Reads a request's head from the start of `input`, which is all that was read so far.
pub fn parse_head(input: &[u8]) -> Result<Head<'_>, HttpRefusal> {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let status = parsed.parse(input).map_err(|error| malformed(error, input))?;
    let head_bytes = if let Status::Complete(used) = status { used } else { input.len() };
    if head_bytes > HTTP_HEAD_BYTES_MAX {
        return Err(too_large());
    }
    check_line_ends(&input[..head_bytes])?;
    let Status::Complete(used) = status else {
        return Ok(Head::Partial);
    };
    let target = parsed.path.unwrap_or_default();
    let (path, query) = split_target(target)?;
    let (method, minor_version) = (parsed.method.unwrap_or_default(), parsed.version.unwrap_or_default());
    let request = Request { method, path, query, minor_version, headers: parsed.headers.to_vec() };
    request.check_host()?;
    request.body_len()?;
    Ok(Head::Complete { request, used })
}

#[cold]
fn malformed(error: httparse::Error, input: &[u8]) -> HttpRefusal {
    match error {
        httparse::Error::TooManyHeaders => too_large(),
        httparse::Error::Version if is_other_version(input) => {
            HttpRefusal::new(505, INVALID_FIELD, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        }
        other => HttpRefusal::bad(format!("not an HTTP request: {other}")),
    }
}

/// Whether the first line ends with a version that is none of ours, and not with something that is no version.
fn is_other_version(input: &[u8]) -> bool {
    let line = input.trim_ascii_start().split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit() && !matches!((major, minor), (b'1', b'0' | b'1')),
        _ => false,
    }
}

#[cold]
fn too_large() -> HttpRefusal {
    let message = format!("a request head may have {HTTP_HEAD_BYTES_MAX} bytes and {HTTP_HEADERS_MAX} headers: send fewer");
    HttpRefusal::new(431, TOO_LARGE, message)
}

/// A line feed alone ends a line for some, and for others does not: a way to hide a request from a proxy.
fn check_line_ends(head: &[u8]) -> Result<(), HttpRefusal> {
    let is_bare = |at: &usize| head[*at] == b'\n' && (*at == 0 || head[at - 1] != b'\r');
    match (0..head.len()).find(is_bare) {
        Some(at) => Err(HttpRefusal::bad(format!("a line feed without carriage return at byte {at}: end lines with both"))),
        None => Ok(()),
    }
}

fn split_target(target: &str) -> Result<(&str, Option<&str>), HttpRefusal> {
    let target = after_authority(target);
    if !target.starts_with('/') || target.contains('#') {
        return Err(HttpRefusal::bad("the request target must be a path that begins with `/`, without fragment"));
    }
    match target.split_once('?') {
        Some((path, query)) => Ok((path, Some(query))),
        None => Ok((target, None)),
    }
}

/// The path of an absolute target, which a server must accept (RFC 9112 section 3.2.2); all others as they are.
fn after_authority(target: &str) -> &str {
    let rest = target.split_once("://").filter(|(scheme, _)| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)));
    let Some((_, rest)) = rest else { return target };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match (&rest[..end], &rest[end..]) {
        (authority, _) if authority.is_empty() || !authority.bytes().all(is_host_byte) => target,
        (_, "") => "/",
        (_, path) => path,
    }
}

impl<'a> Request<'a> {
    /// The one value of a header that may be there once. `name`'s case does not matter.
    pub fn header(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let mut values = self.values(name);
        let value = values.next();
        if values.next().is_some() {
            return Err(Refusal::new(INVALID_FIELD, format!("the header {name} is there more than once: send it once")));
        }
        value.map(|value| text(name, value)).transpose()
    }

    /// Whether the connection stays open after the answer. HTTP/1.0 is always closed: nobody who speaks it needs more.
    pub fn keep_alive(&self) -> bool {
        self.minor_version == 1 && !self.has_token("connection", "close")
    }

    /// Whether the client waits for `100 Continue` before it sends its body.
    pub fn expects_continue(&self) -> bool {
        self.minor_version == 1 && self.has_token("expect", "100-continue")
    }

    /// Whether the answer may be compressed by gzip (RFC 9110 section 12.5.3).
    pub fn accepts_gzip(&self) -> bool {
        let weight = |coding: &str, name: &str| {
            let (found, params) = coding.split_once(';').unwrap_or((coding, ""));
            let is_refused = params.trim().strip_prefix("q=").is_some_and(|q| q.trim_end_matches(['0', '.']).is_empty());
            found.trim().eq_ignore_ascii_case(name).then_some(!is_refused)
        };
        let word_on = |name| self.tokens("accept-encoding").find_map(|coding| weight(coding, name));
        word_on("gzip").or_else(|| word_on("*")).unwrap_or(false)
    }

    /// How long the body is; [`parse_head`] refuses a head for which this is an error. Content-Length alone counts; chunked bodies are refused with 411.
    pub fn body_len(&self) -> Result<BodyLen, HttpRefusal> {
        let length = self.header("content-length")?;
        if self.values("transfer-encoding").next().is_some() {
            return Err(self.transfer_encoding_refusal(length.is_some()));
        }
        let Some(length) = length else {
            return Ok(BodyLen::None);
        };
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HttpRefusal::bad("the header content-length must be digits alone"));
        }
        let too_large = |_| HttpRefusal::from(Refusal::new(TOO_LARGE, "the header content-length is beyond all limits: send less"));
        length.parse().map(BodyLen::Bytes).map_err(too_large)
    }

    /// How long the JSON is that comes with a POST, of at most `bytes_max`.
    pub fn json_len(&self, bytes_max: usize) -> Result<usize, HttpRefusal> {
        let media_type = self.header("content-type")?.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(HttpRefusal::new(415, INVALID_FIELD, "send Content-Type: application/json"));
        }
        match self.body_len()? {
            BodyLen::None => Err(HttpRefusal::new(411, INVALID_FIELD, "a body is needed, and its content-length")),
            BodyLen::Bytes(len) if len > bytes_max as u64 => {
                Err(Refusal::new(TOO_LARGE, format!("the body is longer than {bytes_max} bytes")).into())
            }
            BodyLen::Bytes(len) => Ok(len as usize),
        }
    }

    #[cold]
    fn transfer_encoding_refusal(&self, has_length: bool) -> HttpRefusal {
        let mut codings = self.tokens("transfer-encoding");
        match (codings.next(), codings.next()) {
            _ if has_length => HttpRefusal::bad("content-length and transfer-encoding exclude each other: send content-length alone"),
            _ if self.minor_version == 0 => HttpRefusal::bad("HTTP/1.0 has no transfer-encoding: send content-length"),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => {
                HttpRefusal::new(411, INVALID_FIELD, "chunked bodies are not taken: send content-length")
            }
            _ => HttpRefusal::new(501, INVALID_FIELD, "this transfer-encoding is not known here: send content-length"),
        }
    }

    fn check_host(&self) -> Result<(), HttpRefusal> {
        match self.header("host")? {
            Some(host) if host.bytes().all(is_host_byte) => Ok(()),
            Some(_) => Err(HttpRefusal::bad("the header host must be a name or an address, and a port if need be")),
            None if self.minor_version == 0 => Ok(()),
            None => Err(HttpRefusal::bad("the header host is missing: HTTP/1.1 needs it")),
        }
    }

    /// All lines of a header, as they came.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// The elements of a header that is a list, over all its lines. A line that is no text has none.
    fn tokens<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        let lines = self.values(name).filter_map(|value| std::str::from_utf8(value).ok());
        lines.flat_map(|line| line.split(',')).map(|token| token.trim_matches([' ', '\t'])).filter(|token| !token.is_empty())
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|found| found.eq_ignore_ascii_case(token))
    }
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, Refusal> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii());
    text.ok_or_else(|| Refusal::new(INVALID_FIELD, format!("the header {name} must be ASCII")))
}

/// What a host may have by RFC 3986, less the comma, by which proxies join two headers.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

#[cfg(test)]
mod tests;
