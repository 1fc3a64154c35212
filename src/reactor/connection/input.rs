//! What a connection reads: from its socket to whoever takes it.

use std::io::{self, ErrorKind};

use tracing::{debug, field, warn};

use crate::base::limits::{MESSAGES_PER_TURN, PARSE_BYTES_PER_TURN, REST_BYTES_JOINED};
use crate::base::time::Mono;
use crate::wire::proxy;

use super::super::core::Core;
use super::super::stats::Reason;
use super::{Connection, Io, Protocol, Then, Took};

impl Connection {
    /// Takes what is left over, or reads once. A reason ends the connection.
    pub(in crate::reactor) fn serve(&mut self, core: &mut Core, io: &mut Io) -> Option<Reason> {
        if self.more && !self.is_blocked() {
            let rest = std::mem::take(&mut self.rest);
            self.consume_rest(rest, core);
        }
        if self.more || !self.readable || self.eof || self.is_blocked() {
            return None;
        }
        if self.awaits_proxy {
            return self.take_proxy_header(core, io);
        }
        // What is left of the last read, mostly the beginning of a line, goes before what is read now, so that both are one.
        let kept = if self.rest.len() <= REST_BYTES_JOINED { self.rest.len() } else { 0 };
        let handshake = self.stream.handshake();
        let read = self.stream.read(&mut io.input[kept..kept + PARSE_BYTES_PER_TURN], &mut io.scratch);
        core.stats.handshake_step(handshake, self.stream.handshake());
        let received = match read {
            Ok(received) => received,
            Err(error) => return self.on_read_error(&error, core, io),
        };
        self.readable = received.more || self.read_closed;
        if received.bytes > 0 {
            core.now = io.clock.now();
            core.stats.bytes_received.add(received.bytes as u64);
            self.bytes_received += received.bytes as u64;
            io.input[..kept].copy_from_slice(&self.rest[..kept]);
            self.rest.drain(..kept);
            self.on_bytes(&mut io.input[..kept + received.bytes], core);
        }
        if received.end {
            self.on_eof(core);
        }
        None
    }

    /// Takes the header with which a proxy begins, once all of it is there (NET-03).
    fn take_proxy_header(&mut self, core: &mut Core, io: &mut Io) -> Option<Reason> {
        let input = &mut io.input[..proxy::HEADER_BYTES_MAX];
        let n = match self.stream.peek(input) {
            Ok(n) => n,
            Err(error) => return self.on_read_error(&error, core, io),
        };
        match proxy::parse(&input[..n]) {
            // What comes later is a new event; after the peer's end nothing comes.
            Ok(proxy::Step::Partial) if n == 0 || self.read_closed => Some(Reason::Eof),
            Ok(proxy::Step::Partial) => {
                self.readable = false;
                None
            }
            Ok(proxy::Step::Header { client, used }) => {
                self.awaits_proxy = false;
                if let (Some(client), Protocol::Http(http)) = (client, &mut self.protocol) {
                    self.client = Some(client);
                    http.set_peer(client);
                }
                self.stream.discard(&mut input[..used]).err().map(|_| Reason::Io)
            }
            Err(proxy::Malformed(why)) => {
                let peer = self.client.map(field::display);
                warn!(event = "proxy_header_refused", peer, "{why}: --client-address proxy-v2 wants a PROXY protocol header, version 2");
                Some(Reason::ProxyHeader)
            }
        }
    }

    fn on_read_error(&mut self, error: &io::Error, core: &Core, io: &mut Io) -> Option<Reason> {
        match error.kind() {
            ErrorKind::WouldBlock => self.readable = false,
            ErrorKind::Interrupted => {}
            // Nothing was said yet but by TLS, whose alert shall arrive: what still comes is read, or the close would be a reset.
            ErrorKind::InvalidData if self.bytes_received == 0 => {
                debug!(event = "tls_refused", client = self.client.map(field::display), %error);
                self.finish(Reason::Tls, core);
            }
            ErrorKind::InvalidData => {
                // Best effort: an error here changes nothing, for the reason is known.
                drop(self.stream.say_end(&mut io.scratch));
                return Some(Reason::Tls);
            }
            _ => return Some(self.ending.as_ref().map_or(Reason::Io, |ending| ending.reason)),
        }
        None
    }

    fn on_bytes(&mut self, bytes: &mut [u8], core: &mut Core) {
        if self.rest.is_empty() {
            let used = self.consume(bytes, core);
            // A connection that waits keeps no more memory than it needs.
            self.rest = bytes[used..].to_vec();
            self.more &= used < bytes.len();
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(bytes);
            self.consume_rest(rest, core);
        }
    }

    fn consume_rest(&mut self, mut rest: Vec<u8>, core: &mut Core) {
        let used = self.consume(&mut rest, core);
        self.more &= used < rest.len();
        self.rest = if rest.len() == used { Vec::new() } else { remaining(rest, used) };
    }

    /// How many bytes of the input are dealt with.
    fn consume(&mut self, input: &mut [u8], core: &mut Core) -> usize {
        let mut used = 0;
        for _ in 0..MESSAGES_PER_TURN {
            let input = &mut input[used..];
            if self.ending.is_some() {
                return used + self.discard(input, core);
            }
            let took = match &mut self.protocol {
                Protocol::Http(http) => http.take(self.id, &mut self.client, input, core, &mut self.outbox),
                Protocol::WebSocket(websocket) => {
                    let took = websocket.take(input, core, &mut self.outbox);
                    self.window.show(websocket.read_to(), self.bytes_sent, core.options.reader_window);
                    took
                }
                // It has nothing to say; its end is what is listened for.
                Protocol::Events(_) => Took { used: input.len(), more: false, whole: true, then: Then::Go },
                Protocol::Lines(lines) => lines.take(self.id, input, self.eof, core, &mut self.outbox),
            };
            used += took.used;
            self.more = took.more;
            if took.whole {
                self.begun = Mono::NEVER;
            }
            // A head is followed by its body, by the next head, or by WebSocket frames.
            let is_head_done = matches!(self.protocol, Protocol::Http(_)) && took.used > 0 && took.more;
            self.apply(took.then, core);
            if self.ending.is_none() && (!is_head_done || self.is_blocked()) {
                break;
            }
        }
        used
    }

    /// What comes after our last word is of no interest, but for the peer's own.
    fn discard(&mut self, input: &mut [u8], core: &mut Core) -> usize {
        self.more = false;
        if let (Protocol::WebSocket(websocket), Some(ending)) = (&mut self.protocol, &mut self.ending) {
            let (used, peer_done) = websocket.take_close(input, core);
            ending.peer_done |= peer_done;
            return used;
        }
        input.len()
    }

    /// The peer sends no more. What it sent before is still worth an answer.
    fn on_eof(&mut self, core: &mut Core) {
        (self.readable, self.eof) = (false, true);
        if matches!(self.protocol, Protocol::Lines(_)) {
            let rest = std::mem::take(&mut self.rest);
            self.consume_rest(rest, core);
        }
    }
}

fn remaining(mut rest: Vec<u8>, used: usize) -> Vec<u8> {
    if rest.len() - used < rest.capacity() / 4 {
        return rest[used..].to_vec();
    }
    rest.drain(..used);
    rest
}
