//! What is to be written: lines or frames, with the time of sending set at the last moment. Pure.

use std::collections::VecDeque;

use crate::client::codec;
use crate::layout;
use crate::payload::{self, Template};
use crate::scenario::Scenario;
use crate::stamp::{STAMP_LEN, Stamp};

use super::schedule::Due;

/// Bytes that wait for the server at most, beside one event.
pub const BATCH_BYTES: usize = 256 * 1024;

/// How an event travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line each, on the publish socket.
    Line,
    /// One masked text frame each.
    Frame,
}

/// See the module.
pub struct Batch {
    form: Form,
    run: u32,
    templates: Vec<Template>,
    rooms: Vec<u32>,
    bytes: Vec<u8>,
    written: usize,
    /// Events of which no byte is written.
    unsent: VecDeque<Unsent>,
    line: Vec<u8>,
    mask: u32,
}

struct Unsent {
    due: Due,
    /// Where its first byte is.
    at: usize,
    /// Where its stamp is, and where the payload that is masked begins.
    stamp_at: usize,
    payload_at: usize,
    mask: [u8; 4],
}

impl Batch {
    /// For a checked scenario.
    pub fn new(scenario: &Scenario, form: Form, run: u32) -> Result<Batch, String> {
        let classes: Vec<_> = scenario.flows.iter().map(|flow| (flow, scenario.class_of(flow).1)).collect();
        let templates = classes.iter().map(|(flow, class)| Template::new(flow, class)).collect::<Result<_, _>>()?;
        Ok(Batch {
            form,
            run,
            templates,
            rooms: classes.iter().map(|(_, class)| class.count).collect(),
            bytes: Vec::with_capacity(BATCH_BYTES * 2),
            written: 0,
            unsent: VecDeque::new(),
            line: Vec::new(),
            mask: run | 1,
        })
    }

    /// Whether no further event should be added before some are written.
    pub fn is_full(&self) -> bool {
        self.bytes.len() - self.written >= BATCH_BYTES
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Adds an event.
    pub fn add(&mut self, due: Due) {
        let (room, n) = layout::place(self.rooms[due.flow], due.e);
        let stamp = Stamp { run: self.run, flow: due.flow as u8, room, n, intended_ns: due.at_ns, sent_ns: 0 };
        let at = self.bytes.len();
        let template = &mut self.templates[due.flow];
        let (stamp_at, payload_at, mask) = match self.form {
            Form::Line => {
                let stamp_at = template.line(&stamp, &mut self.bytes);
                self.bytes.push(b'\n');
                (stamp_at, at, [0; 4])
            }
            Form::Frame => {
                self.line.clear();
                let stamp_at = template.line(&stamp, &mut self.line);
                let mask = next_mask(&mut self.mask);
                codec::put(&mut self.bytes, codec::TEXT, &self.line, mask);
                let payload_at = self.bytes.len() - self.line.len();
                (payload_at + stamp_at, payload_at, mask)
            }
        };
        self.unsent.push_back(Unsent { due, at, stamp_at, payload_at, mask });
    }

    /// Events of that flow of which nothing is written.
    pub fn unsent(&self, flow: usize) -> u64 {
        self.unsent.iter().filter(|unsent| unsent.due.flow == flow).count() as u64
    }

    /// When the oldest event was due of which nothing is written.
    pub fn oldest_ns(&self) -> Option<u64> {
        self.unsent.front().map(|unsent| unsent.due.at_ns)
    }

    /// Adds a control frame, such as a pong.
    pub fn control(&mut self, opcode: u8, payload: &[u8]) {
        let mask = next_mask(&mut self.mask);
        codec::put(&mut self.bytes, opcode, payload, mask);
    }

    /// What is to be written now; the events of which nothing was written yet say that they are sent at `now_ns`.
    pub fn stamped(&mut self, now_ns: u64) -> &[u8] {
        let mut stamp = [0; STAMP_LEN];
        payload::patch_sent(&mut stamp, 0, now_ns);
        for unsent in &self.unsent {
            for (at, byte) in stamp.iter().enumerate().skip(STAMP_LEN - 16) {
                let place = unsent.stamp_at + at;
                self.bytes[place] = byte ^ unsent.mask[(place - unsent.payload_at) % 4];
            }
        }
        &self.bytes[self.written..]
    }

    /// So many bytes were written. Each event that was thereby begun is told to `sent`.
    pub fn wrote(&mut self, bytes: usize, mut sent: impl FnMut(Due)) {
        self.written += bytes;
        while self.unsent.front().is_some_and(|unsent| unsent.at < self.written) {
            let Some(Unsent { due, .. }) = self.unsent.pop_front() else { break };
            sent(due);
        }
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
        } else if self.written >= BATCH_BYTES {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.written);
        for unsent in &mut self.unsent {
            unsent.at -= self.written;
            unsent.stamp_at -= self.written;
            unsent.payload_at -= self.written;
        }
        self.written = 0;
    }
}

/// Xorshift: masks need not be secret here, but they should differ.
fn next_mask(state: &mut u32) -> [u8; 4] {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    state.to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scenarios::named;

    /// Every line of what was written, unmasked, with nothing between them.
    fn lines(form: Form, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let line = match form {
                Form::Line => {
                    let end = bytes.iter().position(|byte| *byte == b'\n').expect("a line has an end");
                    let line = bytes[..end].to_vec();
                    bytes = &bytes[end + 1..];
                    line
                }
                Form::Frame => {
                    assert_eq!((bytes[0], bytes[1]), (0x81, 0xfe), "masked, with a length of 16 bits");
                    let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
                    let line = bytes[8..8 + len].iter().zip(bytes[4..8].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
                    bytes = &bytes[8 + len..];
                    line
                }
            };
            lines.push(String::from_utf8(line).expect("text"));
        }
        lines
    }

    fn stamp_of(line: &str) -> Stamp {
        let end = line.len() - 3;
        Stamp::read(&line.as_bytes()[end - STAMP_LEN..end]).expect("a stamp stands at the end of data")
    }

    proptest! {
        /// However little the socket takes at a time: every event comes out whole, once, in order, and says when the write began that began it.
        #[test]
        fn short_writes_lose_nothing(
            is_frame: bool, run: u32, steps in prop::collection::vec((0usize..5, 0usize..3_000), 1..60),
        ) {
            let form = if is_frame { Form::Frame } else { Form::Line };
            let scenario = named("smoke").expect("built in");
            let mut batch = Batch::new(&scenario, form, run).expect("a checked scenario");
            let (mut e, mut out, mut sent, mut now_ns) = (0, Vec::new(), Vec::new(), 1_000_000);
            for (events, room) in steps.into_iter().chain([(0, usize::MAX)]) {
                for _ in 0..events {
                    batch.add(Due { flow: (e % 5) as usize, e: e / 5, at_ns: now_ns - 7 });
                    e += 1;
                }
                now_ns += 1_000;
                let bytes = batch.stamped(now_ns);
                let taken = bytes.len().min(room);
                out.extend_from_slice(&bytes[..taken]);
                batch.wrote(taken, |due| sent.push((due, now_ns)));
            }
            prop_assert!(batch.is_empty());
            let lines = lines(form, &out);
            prop_assert_eq!((lines.len() as u64, sent.len() as u64), (e, e));
            for (at, (line, (due, at_ns))) in lines.iter().zip(&sent).enumerate() {
                let stamp = stamp_of(line);
                let (room, n) = layout::place(batch.rooms[due.flow], due.e);
                prop_assert_eq!((due.flow, due.e), (at % 5, at as u64 / 5));
                prop_assert_eq!(stamp, Stamp { run, flow: due.flow as u8, room, n, intended_ns: due.at_ns, sent_ns: *at_ns });
                prop_assert!(serde_json::from_str::<serde_json::Value>(line).is_ok());
            }
        }
    }

    #[test]
    fn it_is_full_before_it_grows_without_bound() {
        let mut batch = Batch::new(&named("smoke").expect("built in"), Form::Frame, 1).expect("a checked scenario");
        let mut e = 0;
        while !batch.is_full() {
            batch.add(Due { flow: 0, e, at_ns: 0 });
            e += 1;
        }
        assert!(batch.stamped(0).len() < BATCH_BYTES + 1_000);
        batch.wrote(1_000, |_| {});
        assert!(!batch.is_full() && !batch.is_empty());
    }
}
