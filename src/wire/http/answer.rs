//! HTTP answers, appended to what goes to the socket.

use std::io::Write as _;

use tungstenite::handshake::derive_accept_key;

use crate::base::codes::Refusal;

use super::extensions::PerMessageDeflate;

/// Appends the answer that makes a connection a WebSocket; `subprotocol` says whether `tickerd.v1` is echoed.
pub fn write_switching(out: &mut Vec<u8>, key: &str, subprotocol: bool, deflate: Option<PerMessageDeflate>) {
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    header(out, "Sec-WebSocket-Accept", &derive_accept_key(key.as_bytes()));
    if subprotocol {
        header(out, "Sec-WebSocket-Protocol", "tickerd.v1");
    }
    if let Some(deflate) = deflate {
        header(out, "Sec-WebSocket-Extensions", &deflate.to_string());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole answer. Nothing of it may be cached, unless `extra` has a Cache-Control of its own.
pub fn write_response(out: &mut Vec<u8>, status: u16, content_type: &str, keep_alive: bool, extra: &[(&str, &str)], body: &[u8]) {
    write!(out, "HTTP/1.1 {status} {}\r\n", reason(status)).expect("writing to a Vec does not fail");
    if has_body(status) {
        header(out, "Content-Type", content_type);
        header(out, "Content-Length", &body.len().to_string());
    }
    header(out, "X-Content-Type-Options", "nosniff");
    if !extra.iter().any(|(name, _)| name.eq_ignore_ascii_case("cache-control")) {
        header(out, "Cache-Control", "no-store");
    }
    if !keep_alive {
        header(out, "Connection", "close");
    }
    for (name, value) in extra {
        header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    if has_body(status) {
        out.extend_from_slice(body);
    }
}

/// Appends a refusal, as JSON. A refusal that passes has a Retry-After as well, in whole seconds.
pub fn write_refusal(out: &mut Vec<u8>, status: u16, refusal: &Refusal, keep_alive: bool, extra: &[(&str, &str)]) {
    let body = refusal_json(refusal);
    let Some(after_ms) = refusal.retry_after_ms else {
        return write_response(out, status, "application/json", keep_alive, extra, &body);
    };
    let after_s = after_ms.div_ceil(1000).to_string();
    let mut headers = extra.to_vec();
    headers.push(("Retry-After", &after_s));
    write_response(out, status, "application/json", keep_alive, &headers, &body);
}

/// Puts header lines into the answer that begins at `start`.
pub fn add_headers(out: &mut Vec<u8>, start: usize, headers: &[(&str, &str)]) {
    if let Some(at) = out[start..].windows(4).position(|window| window == b"\r\n\r\n") {
        let mut lines = Vec::new();
        for (name, value) in headers {
            header(&mut lines, name, value);
        }
        let at = start + at + 2;
        out.splice(at..at, lines);
    }
}

/// Takes the body off the answer that begins at `start`, and leaves the head as it is: the answer to HEAD.
pub fn strip_body(out: &mut Vec<u8>, start: usize) {
    if let Some(at) = out[start..].windows(4).position(|window| window == b"\r\n\r\n") {
        out.truncate(start + at + 4);
    }
}

fn refusal_json(refusal: &Refusal) -> Vec<u8> {
    let (code, name, category) = (refusal.error.code, refusal.error.name, refusal.error.category);
    let message = serde_json::Value::from(refusal.message.as_str());
    let retry = refusal.retry_after_ms.map_or_else(String::new, |after_ms| format!(r#","retry_after_ms":{after_ms}"#));
    format!(r#"{{"ok":false,"code":{code},"name":"{name}","category":"{category}","message":{message}{retry}}}"#).into_bytes()
}

/// Appends a header line. Control characters, which could end it and begin another, are left out.
fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(!name.contains(|c: char| c.is_control()));
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().filter(|byte| !byte.is_ascii_control()));
    out.extend_from_slice(b"\r\n");
}

const fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

/// The reason phrase of every status that is used here.
const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}
