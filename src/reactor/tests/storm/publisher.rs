//! Publishers on the unix socket and over HTTP, each at its end of a wire: every line and every request has one answer, in order.

use std::collections::VecDeque;

use serde_json::Value;

use super::random::Random;
use crate::net::fake::Wire;

/// See the module.
pub(super) struct Publisher {
    pub(super) wire: Wire,
    pub(super) outgoing: VecDeque<u8>,
    pub(super) is_http: bool,
    /// What it sends is nonsense, and what it gets of no interest.
    is_rude: bool,
    heard: Vec<u8>,
    sent: u64,
    answered: u64,
}

impl Publisher {
    /// By HTTP, or by lines.
    pub(super) fn new(wire: Wire, is_http: bool) -> Publisher {
        Publisher { wire, outgoing: VecDeque::new(), is_http, is_rude: false, heard: Vec::new(), sent: 0, answered: 0 }
    }

    /// Publishes something: the rest of an event from its `type` on.
    pub(super) fn publish(&mut self, token: &str, event: &str, random: &mut Random) {
        self.sent += 1;
        let line = format!(r#"{{"id":{},{event}"#, self.sent);
        if !self.is_http {
            return self.outgoing.extend([line.as_bytes(), b"\n"].concat());
        }
        let request = if random.once_in(4) {
            "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()
        } else {
            format!("POST /v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{line}", line.len())
        };
        self.outgoing.extend(request.as_bytes());
    }

    /// Sends bytes that mean nothing.
    pub(super) fn be_rude(&mut self, random: &mut Random) {
        self.is_rude = true;
        let what: &[u8] = random.pick(&[b"\n\n", b"\xff\xfe\n", b"GET\r\n\r\n", b"\0", b"{\"type\":\"x\"}\n", b"POST / HTTP/1.1\r\n"]);
        self.outgoing.extend(what);
    }

    /// Sends the next bytes.
    pub(super) fn send(&mut self, bytes: usize) {
        self.wire.state().arrive(&mut self.outgoing, bytes);
    }

    /// Takes what the server has written.
    pub(super) fn hear(&mut self) {
        self.heard.append(&mut self.wire.state().written);
        if self.is_rude || self.is_cut() {
            return;
        }
        while let Some((len, answer)) = if self.is_http { response(&self.heard) } else { line(&self.heard) } {
            self.answered += 1;
            assert!(self.answered <= self.sent, "an answer to nothing: {answer}");
            if !self.is_http {
                assert_eq!(answer["id"].as_u64(), Some(self.answered), "answers come in order: {answer}");
            }
            self.heard.drain(..len);
        }
    }

    /// Whether the server has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.wire.state().closed
    }

    /// Whether not all that it had to send has come.
    fn is_cut(&self) -> bool {
        let state = self.wire.state();
        state.reset || state.ended && !self.outgoing.is_empty()
    }

    /// Every line or request has its answer, also those of one that sends no more.
    pub(super) fn assert_answered(&self) {
        assert!(self.is_rude || self.is_cut() || self.answered == self.sent, "{} answers to {}", self.answered, self.sent);
    }

    /// The unix socket is closed when all is said; before that only if the peer does not read. HTTP connections may have to make place for others.
    pub(super) fn assert_not_dropped(&self) {
        let is_excused = self.is_http || self.wire.state().refused;
        if self.is_closed() && !is_excused {
            self.assert_answered();
        }
    }
}

fn line(bytes: &[u8]) -> Option<(usize, Value)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((end + 1, serde_json::from_slice(&bytes[..end]).expect("an answer is JSON")))
}

fn response(bytes: &[u8]) -> Option<(usize, Value)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("an answer has a length");
    let len: usize = len.parse().expect("a length is a number");
    let body = bytes.get(end..end + len)?;
    Some((end + len, serde_json::from_slice(body).unwrap_or_default()))
}
