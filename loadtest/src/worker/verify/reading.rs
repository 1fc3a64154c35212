//! One message, without regard to who got it: is it an event, of which flow and room, and are its bytes those that were published?
//!
//! The fast way compares bytes: the stamp is found from the end, the rest is compared with what the flow's template says for the stamp's
//! room. Whatever differs goes the slow way, through a JSON parser, because the protocol promises no order of the envelope's
//! members but that `data` is the last. An event that many connections get is read once: the others' bytes are compared with those.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::payload::{self, AFTER_STAMP, BEFORE_DATA, BEFORE_STAMP, Numbered};
use crate::scenario::{Lane, Mode, RoomClass, Scenario};
use crate::stamp::{STAMP_LEN, Stamp};

/// From the first byte of a stamp to the end of a message: the stamp, the end of `data`, the end of the envelope.
const TAIL: usize = STAMP_LEN + AFTER_STAMP.len() + 1;
/// Events kept for comparison; a power of two.
const KEPT: usize = 1024;
/// Longer ones are read anew for each connection.
const KEPT_BYTES_MAX: usize = 2048;

/// A room: its class, and its position there.
pub type Place = (u8, u32);

/// The number that the server gave an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// None: transient, or the floor's.
    None,
    /// Of a `stream` event.
    Seq(u64),
    /// Of a `state` event.
    Rev(u64),
}

/// An event of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it says of itself.
    pub stamp: Stamp,
    /// What the server says of it.
    pub number: Number,
    /// Its bytes are those that were published, and the envelope has what the protocol promises.
    pub is_whole: bool,
}

/// An event of which only the envelope is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its room.
    pub place: Place,
    /// Its lane.
    pub lane: Option<Lane>,
    /// Its number.
    pub seq: Option<u64>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// An event of this run.
    Event(Event),
    /// An event that this run has not published.
    Foreign(Envelope),
    /// An event of this run whose payload is beyond recognition.
    Broken(Envelope),
    /// An event whose envelope and payload name different rooms, or a room of no class.
    Misrouted,
    /// A message of the protocol.
    Message,
    /// No JSON object with a type.
    Unreadable,
}

/// See the module.
pub struct Reader {
    run: u32,
    is_floor: bool,
    classes: Vec<RoomClass>,
    flows: Vec<FlowForm>,
    kept: Vec<(Vec<u8>, Event)>,
}

/// What the events of a flow look like.
struct FlowForm {
    class: u8,
    kind: String,
    lane: Lane,
    mode: Mode,
    bytes: usize,
    /// The envelope up to the server's number; the floor's: up to `data`.
    head: Numbered,
    data: Numbered,
    is_shared: bool,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    lane: Option<Lane>,
    // A number in an event, another thing in other messages.
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    rev: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    patch: Option<&'a RawValue>,
    deleted: Option<bool>,
}

impl Reader {
    /// For the events of that run. The error says what is wrong with the scenario.
    pub fn new(scenario: &Scenario, run: u32, is_floor: bool) -> Result<Reader, String> {
        let mut flows = Vec::new();
        for flow in &scenario.flows {
            let class = scenario.rooms.iter().position(|class| class.class == flow.rooms);
            let class = class.ok_or_else(|| format!("flow `{}`: no class of rooms is named `{}`", flow.kind, flow.rooms))?;
            let rooms = &scenario.rooms[class];
            payload::Template::new(flow, rooms)?;
            let served = format!(r#"{{"type":"{}","room":"{}","lane":"{}","#, flow.kind, rooms.name, payload::lane_name(flow.lane));
            let key = flow.key.as_ref().filter(|_| flow.mode == Mode::State).map(|key| format!(r#""key":"{key}","#));
            flows.push(FlowForm {
                class: class as u8,
                kind: flow.kind.clone(),
                lane: flow.lane,
                mode: flow.mode,
                bytes: flow.bytes as usize,
                head: if is_floor { payload::line_head(flow, rooms) } else { Numbered::new(&(served + &key.unwrap_or_default())) },
                data: payload::data_head(flow),
                is_shared: rooms.members > 1,
            });
        }
        let nothing = Stamp { run: 0, flow: 0, room: 0, n: 0, intended_ns: 0, sent_ns: 0 };
        let kept = vec![(Vec::new(), Event { stamp: nothing, number: Number::None, is_whole: true }); KEPT];
        Ok(Reader { run, is_floor, classes: scenario.rooms.clone(), flows, kept })
    }

    /// Class, lane and mode of a flow.
    pub fn flow(&self, flow: u8) -> (u8, Lane, Mode) {
        let form = &self.flows[usize::from(flow)];
        (form.class, form.lane, form.mode)
    }

    /// See the module.
    #[inline]
    pub fn read(&mut self, message: &[u8]) -> Reading {
        let Some(tail) = message.len().checked_sub(TAIL + BEFORE_STAMP.len()).and_then(|at| message[at..].strip_prefix(BEFORE_STAMP))
        else {
            return self.read_slowly(message);
        };
        let slot = slot(tail);
        if self.kept[slot].0 == message {
            return Reading::Event(self.kept[slot].1);
        }
        let Some(event) = self.compare(message, tail) else {
            return self.read_slowly(message);
        };
        if event.is_whole && message.len() <= KEPT_BYTES_MAX && self.flows[usize::from(event.stamp.flow)].is_shared {
            let kept = &mut self.kept[slot];
            kept.0.clear();
            kept.0.extend_from_slice(message);
            kept.1 = event;
        }
        Reading::Event(event)
    }

    /// The fast way. `None`: it is not what is usual, and may be right or wrong.
    fn compare(&mut self, message: &[u8], tail: &[u8]) -> Option<Event> {
        let stamp = Stamp::read(&tail[..STAMP_LEN])?;
        let form = self.flows.get_mut(usize::from(stamp.flow))?;
        if stamp.run != self.run || tail[STAMP_LEN..] != *b"\"}}" || stamp.room >= self.classes[usize::from(form.class)].count {
            return None;
        }
        let data_at = message.len().checked_sub(1 + form.bytes)?;
        let (envelope, data) = message.split_at(data_at);
        let between = envelope.strip_suffix(BEFORE_DATA)?.strip_prefix(&*form.head.of(stamp.room))?;
        let number = if self.is_floor { between.is_empty().then_some(Number::None)? } else { number(form.mode, between)? };
        let is_whole = data[..data.len() - TAIL] == *form.data.of(stamp.room);
        Some(Event { stamp, number, is_whole })
    }

    #[cold]
    fn read_slowly(&mut self, message: &[u8]) -> Reading {
        let Ok(raw) = serde_json::from_slice::<Raw<'_>>(message) else {
            return Reading::Unreadable;
        };
        let is_event = raw.data.is_some() || raw.patch.is_some() || raw.deleted.is_some();
        let Some(room) = raw.room.as_deref().filter(|_| is_event) else {
            return Reading::Message;
        };
        let Some(place) = self.place(room) else {
            return Reading::Misrouted;
        };
        let envelope = Envelope { place, lane: raw.lane, seq: whole_number(raw.seq) };
        let Some(stamp) = raw.data.and_then(|data| stamp_of(data.get().as_bytes())) else {
            let is_ours = self.flows.iter().any(|form| form.class == place.0 && form.kind == raw.kind);
            return if is_ours { Reading::Broken(envelope) } else { Reading::Foreign(envelope) };
        };
        if stamp.run != self.run {
            return Reading::Foreign(envelope);
        }
        self.judge(&raw, envelope, stamp)
    }

    fn judge(&mut self, raw: &Raw<'_>, envelope: Envelope, stamp: Stamp) -> Reading {
        let Some(form) = self.flows.get_mut(usize::from(stamp.flow)) else {
            return Reading::Broken(envelope);
        };
        if (form.class, stamp.room) != envelope.place {
            return Reading::Misrouted;
        }
        let is_lane = raw.lane == Some(form.lane) || self.is_floor;
        if raw.kind != form.kind || !is_lane {
            return Reading::Broken(envelope);
        }
        let number = match form.mode {
            _ if self.is_floor => Some(Number::None),
            Mode::Stream => envelope.seq.map(Number::Seq),
            Mode::State => whole_number(raw.rev).map(Number::Rev),
            Mode::Transient => Some(Number::None),
        };
        let data = raw.data.map_or("", RawValue::get).as_bytes();
        let same = data.len() == form.bytes && data.starts_with(form.data.of(stamp.room));
        Reading::Event(Event { stamp, number: number.unwrap_or(Number::None), is_whole: same && number.is_some() })
    }

    /// The room of that name.
    pub fn place(&self, name: &str) -> Option<Place> {
        self.classes.iter().enumerate().find_map(|(class, rooms)| {
            let before = rooms.name.split_once("{n}").map_or(&*rooms.name, |(before, _)| before);
            let digits: String = name.strip_prefix(before)?.chars().take_while(char::is_ascii_digit).collect();
            // A digit may belong to what follows the number: the name that the number makes decides.
            (0..=digits.len()).rev().find_map(|len| {
                let room = if len == 0 { 0 } else { digits[..len].parse().ok()? };
                (room < rooms.count && crate::layout::room_name(rooms, room) == name).then_some((class as u8, room))
            })
        })
    }
}

/// Where an event is kept: by its room and its number there.
#[inline]
fn slot(tail: &[u8]) -> usize {
    let word = |at: usize| u64::from_le_bytes(*tail[at..].first_chunk().expect("a stamp is longer"));
    let mixed = (word(10).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word(19)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 54) as usize & (KEPT - 1)
}

fn whole_number(raw: Option<&RawValue>) -> Option<u64> {
    raw?.get().parse().ok()
}

fn stamp_of(data: &[u8]) -> Option<Stamp> {
    let at = data.len().checked_sub(STAMP_LEN + AFTER_STAMP.len())?;
    let (before, tail) = data.split_at(at);
    if !before.ends_with(BEFORE_STAMP) || !tail.ends_with(AFTER_STAMP) {
        return None;
    }
    Stamp::read(&tail[..STAMP_LEN])
}

/// What the envelope has between its lane and `data`, in the order that is usual.
#[inline]
fn number(mode: Mode, rest: &[u8]) -> Option<Number> {
    let (number, rest) = match mode {
        Mode::Stream => {
            let (seq, rest) = decimal(rest.strip_prefix(b"\"seq\":")?)?;
            (Number::Seq(seq), rest.strip_prefix(b",")?)
        }
        Mode::State => {
            let (rev, rest) = decimal(after_key(rest)?.strip_prefix(b"\"rev\":")?)?;
            (Number::Rev(rev), rest.strip_prefix(b",")?)
        }
        Mode::Transient => (Number::None, rest),
    };
    let (_ts, rest) = decimal(rest.strip_prefix(b"\"ts\":")?)?;
    (rest == b",").then_some(number)
}

fn after_key(rest: &[u8]) -> Option<&[u8]> {
    let Some(key) = rest.strip_prefix(b"\"key\":\"") else {
        return Some(rest);
    };
    let end = key.iter().position(|byte| *byte == b'"')?;
    key[end + 1..].strip_prefix(b",")
}

#[inline]
fn decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut at) = (0u64, 0);
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (1..=19).contains(&at).then(|| (value, &bytes[at..]))
}
