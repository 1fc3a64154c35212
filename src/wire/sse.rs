//! Server-sent events (the HTML standard, section 9.2): one message for each frame, with the same JSON in `data:`.

use std::io::Write;

/// The head of the answer in which they stream. It has no length and no chunks: its end is the connection's, which proxies of all ages understand.
/// Nobody may keep it, nor gather it first.
pub const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n\
    X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n";

/// How soon an `EventSource` comes back by itself.
pub fn retry(out: &mut Vec<u8>, after_ms: u64) {
    writeln!(out, "retry: {after_ms}").expect("writing to a Vec does not fail");
}

/// The end of a message: its JSON. A line end in it would end it, and let what follows pass for a message of ours: events lose theirs when they
/// are published, and where one should come through all the same it becomes a space.
pub fn data(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"data: ");
    let start = out.len();
    out.extend_from_slice(json);
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'\r', b'\n', &out[at..]) {
        at += found;
        out[at] = b' ';
    }
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ARC-01: byte-identical, but for CR and LF between tokens.
    #[test]
    fn the_json_is_one_line() {
        let mut out = Vec::new();
        retry(&mut out, 1500);
        data(&mut out, b"{\"a\":\r\n 1.50,\n\"b\":\"x\\ny\"}");
        assert_eq!(out, b"retry: 1500\ndata: {\"a\":   1.50, \"b\":\"x\\ny\"}\n\n");
    }
}
