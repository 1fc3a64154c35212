//! A WebSocket client at its end of a wire: it says what its scheduler wants, and checks all that it gets (promises 1, 2, 3 and 4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use flate2::{Decompress, FlushDecompress};
use serde_json::Value;

use super::random::Random;
use crate::base::codes::CLOSES;
use crate::base::ids::{KeyId, RoomId};
use crate::base::lane::Lane;
use crate::base::limits::LOWER_LANE_WRITE_BYTES;
use crate::net::fake::Wire;
use crate::reactor::Reactor;
use crate::wire::merge_patch::tree::Tree;

/// The longest frame that the publishers of these tests make.
pub(super) const FRAME_BYTES_MAX: u64 = 4096;

/// See the module.
pub(super) struct Client {
    pub(super) wire: Wire,
    /// What it has yet to send.
    pub(super) outgoing: VecDeque<u8>,
    heard: Vec<u8>,
    /// Position of `heard` in the stream.
    at: u64,
    stage: Stage,
    deflate: bool,
    pub(super) user: usize,
    /// The reactor's time is short.
    /// Its token is good for that.
    pub(super) publishes: bool,
    /// It says what no client should.
    pub(super) is_rude: bool,
    /// It was welcomed.
    pub(super) welcomed: bool,
    /// The code of its own Close.
    said_close: Option<u16>,
    /// The code of the server's.
    pub(super) heard_close: Option<u16>,
    next_id: u64,
    /// Commands without an answer.
    asked: BTreeMap<u64, Asked>,
    /// Publishes without an answer, which come in order.
    published: VecDeque<u64>,
    pings: VecDeque<u64>,
    rooms: BTreeMap<String, Known>,
    /// What the server has made it a member of, by name.
    pub(super) ids: BTreeMap<String, RoomId>,
    /// Alerts that were pushed to it, and how much it had been sent before.
    due: BTreeMap<(String, u64), u64>,
    /// Where updates and metrics began, and how long they were.
    lower: Vec<(u64, u64)>,
    /// Frames of rooms that it got.
    pub(super) frames: u64,
    /// Alerts that it got as they happened, and how many of them came behind something of lower lanes.
    pub(super) alerts: u64,
    pub(super) late_alerts: u64,
    pub(super) gaps: u64,
    /// States that it got, or made of what it had by deltas: room, name, `rev` and value in canonical order.
    pub(super) states: Vec<(String, String, u64, Option<String>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Frames,
    /// It got another answer than an upgrade.
    Refused,
}

struct Asked {
    verb: &'static str,
    room: String,
    delta: bool,
}

/// What a member knows of a room.
#[derive(Default)]
struct Known {
    epoch: String,
    next: [u64; 3],
    /// It joined for deltas.
    delta: bool,
    /// The last `rev`, by type and key.
    revs: BTreeMap<String, u64>,
    /// The value of that, unless it was deleted, or came before full states were asked for.
    values: BTreeMap<String, Tree>,
}

impl Client {
    /// One that asks to speak WebSocket with these headers.
    pub(super) fn new(wire: Wire, headers: &str, deflate: bool) -> Client {
        let extensions = if deflate { "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" } else { "" };
        let head = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{extensions}{headers}\r\n"
        );
        Client {
            wire,
            outgoing: head.into_bytes().into(),
            heard: Vec::new(),
            at: 0,
            stage: Stage::Head,
            deflate: false,
            user: 0,
            publishes: false,
            is_rude: false,
            welcomed: false,
            said_close: None,
            heard_close: None,
            next_id: 1,
            asked: BTreeMap::new(),
            published: VecDeque::new(),
            pings: VecDeque::new(),
            rooms: BTreeMap::new(),
            ids: BTreeMap::new(),
            due: BTreeMap::new(),
            lower: Vec::new(),
            frames: 0,
            alerts: 0,
            late_alerts: 0,
            gaps: 0,
            states: Vec::new(),
        }
    }

    // ---- what it says -----------------------------------------------------------------------------------------------

    /// Whether it may say something: it has not said its last word.
    pub(super) fn speaks(&self) -> bool {
        let state = self.wire.state();
        self.said_close.is_none() && !state.ended && !state.reset
    }

    /// Sends the next bytes.
    pub(super) fn send(&mut self, bytes: usize) {
        self.wire.state().arrive(&mut self.outgoing, bytes);
    }

    fn frame(&mut self, first: u8, body: &[u8], random: &mut Random) {
        let mask = (random.bits() as u32).to_be_bytes();
        self.outgoing.push_back(first);
        match body.len() {
            len @ 0..126 => self.outgoing.push_back(0x80 | len as u8),
            len => {
                self.outgoing.push_back(0xfe);
                self.outgoing.extend((len as u16).to_be_bytes());
            }
        }
        self.outgoing.extend(mask);
        self.outgoing.extend(body.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    }

    /// A text in one frame, or in fragments with pings between them.
    fn text(&mut self, text: &str, random: &mut Random) {
        let mut left = text.as_bytes();
        let mut opcode = 1;
        while random.once_in(3) && !left.is_empty() {
            let (piece, rest) = left.split_at(random.below(left.len()));
            self.frame(opcode, piece, random);
            (left, opcode) = (rest, 0);
            if self.welcomed && random.once_in(2) {
                self.ping(random);
            }
        }
        self.frame(0x80 | opcode, left, random);
    }

    /// Answers a ping; it is the server's own, so the mask may be nothing.
    fn pong(&mut self, body: &[u8]) {
        let len = u8::try_from(body.len()).ok().filter(|len| *len <= 125).expect("a short ping");
        if self.said_close.is_none() {
            self.outgoing.extend([0x8a, 0x80 | len, 0, 0, 0, 0]);
            self.outgoing.extend(body);
        }
    }

    pub(super) fn ping(&mut self, random: &mut Random) {
        let id = self.id();
        self.pings.push_back(id);
        self.frame(0x89, &id.to_be_bytes(), random);
    }

    pub(super) fn close(&mut self, random: &mut Random) {
        let code = random.pick(&[1000, 1001, 4999]);
        self.said_close = Some(code);
        self.frame(0x88, &code.to_be_bytes(), random);
    }

    /// Bytes that mean nothing, or that no client may send.
    pub(super) fn be_rude(&mut self, random: &mut Random) {
        self.is_rude = true;
        let what: &[u8] = random.pick(&[
            b"\x81\x01x",
            b"\xc1\x81\0\0\0\0x",
            b"\x82\x81\0\0\0\0x",
            b"\x81\x81\0\0\0\0\xff",
            b"\x81\xff\x7f\0\0\0\0\0\0\0",
        ]);
        self.outgoing.extend(what);
    }

    /// A text that is no command.
    pub(super) fn be_wrong(&mut self, random: &mut Random) {
        self.is_rude = true;
        let what = random.pick(&["", "{}", "[1]", r#"{"type":"subscribe","room":"no room"}"#, r#"{"type":"nonsense"}"#]);
        self.text(what, random);
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// A command about a room; with its position, it may be.
    pub(super) fn ask(&mut self, verb: &'static str, room: &str, random: &mut Random) {
        let id = self.id();
        let delta = verb == "subscribe" && id.is_multiple_of(2);
        self.asked.insert(id, Asked { verb, room: room.to_owned(), delta });
        let since = match self.rooms.get(room) {
            Some(Known { epoch, next: [alert, update, _], .. }) if verb == "subscribe" && random.once_in(2) => {
                format!(r#","since":{{"epoch":"{epoch}","seq":{{"alert":{},"update":{}}}}}"#, alert - 1, update - 1)
            }
            _ if verb == "subscribe" && random.once_in(3) => r#","history":5"#.to_owned(),
            _ => String::new(),
        };
        let delta = if delta { r#","delta":true"# } else { "" };
        self.text(&format!(r#"{{"type":"{verb}","id":{id},"room":"{room}"{since}{delta}}}"#), random);
    }

    /// Brings a token.
    pub(super) fn auth(&mut self, token: &str, random: &mut Random) {
        let id = self.id();
        self.asked.insert(id, Asked { verb: "auth", room: String::new(), delta: false });
        self.text(&format!(r#"{{"type":"auth","id":{id},"token":"{token}"}}"#), random);
    }

    /// Publishes something: the rest of an event from its `type` on.
    pub(super) fn publish(&mut self, event: &str, random: &mut Random) {
        let id = self.id();
        self.published.push_back(id);
        self.text(&format!(r#"{{"id":{id},{event}"#), random);
    }

    // ---- what it hears ----------------------------------------------------------------------------------------------

    /// An alert of a room that it is a member of has been pushed to it, when it had been sent so many bytes.
    pub(super) fn expect(&mut self, room: RoomId, seq: u64, sent: u64, reactor: &mut Reactor) {
        let slot = self.wire.state().token.and_then(|token| reactor.conns.by_token(token)).map(|conn| conn.id.slot);
        if slot.is_none_or(|slot| reactor.core.rooms.replaying(slot, room).contains(&Lane::Alert)) {
            return; // it gets it behind those that it missed, which come in parts
        }
        if let Some((name, _)) = self.ids.iter().find(|(_, id)| **id == room) {
            self.due.insert((name.clone(), seq), sent);
        }
    }

    /// The server has made it a member.
    pub(super) fn joined(&mut self, name: &str, room: RoomId) {
        self.ids.insert(name.to_owned(), room);
        self.due.retain(|(other, _), _| other != name);
    }

    /// Takes what the server has written.
    pub(super) fn hear(&mut self) {
        let written = std::mem::take(&mut self.wire.state().written);
        if written.is_empty() {
            return;
        }
        self.heard.extend(written);
        if self.stage == Stage::Head
            && let Some(end) = self.heard.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&self.heard[..end]).into_owned();
            let is_upgrade = head.starts_with("HTTP/1.1 101 ");
            assert!(is_upgrade || head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 503 "), "{head}");
            self.deflate = head.contains("permessage-deflate");
            self.stage = if is_upgrade { Stage::Frames } else { Stage::Refused };
            self.drop_heard(end + 4);
        }
        while self.stage == Stage::Frames
            && let Some((header, len)) = header(&self.heard)
            && self.heard.len() >= header + len
        {
            let first = self.heard[0];
            let body = self.heard[header..header + len].to_vec();
            self.on_frame(first, &body, (header + len) as u64);
            self.drop_heard(header + len);
        }
    }

    fn drop_heard(&mut self, bytes: usize) {
        self.heard.drain(..bytes);
        self.at += bytes as u64;
    }

    fn on_frame(&mut self, first: u8, body: &[u8], len: u64) {
        assert_eq!(self.heard_close, None, "something after the Close: {first:02x} {body:02x?}");
        match first {
            0x81 => self.on_text(body, len),
            0xc1 if self.deflate => self.on_text(&inflated(body), len),
            0x88 => {
                let code = u16::from_be_bytes([body[0], body[1]]);
                assert!(CLOSES.iter().any(|close| close.code == code) || self.said_close == Some(code), "{code}");
                let is_fault = (1002..4010).contains(&code) && code != 4003 && code != 4007;
                assert!(self.is_rude || !is_fault, "a sound client was closed with {code}");
                self.heard_close = Some(code);
            }
            0x89 => self.pong(body),
            0x8a => {
                let id = u64::from_be_bytes(body.try_into().expect("our pings have eight bytes"));
                // The answer to the latest suffices.
                while self.pings.pop_front().expect("a pong without a ping") != id {}
            }
            _ => panic!("a frame that no server may send: {first:02x}"),
        }
    }

    fn on_text(&mut self, text: &[u8], len: u64) {
        let message: Value = serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)));
        if message["ok"].is_boolean() {
            if self.is_rude && message["id"].is_null() {
                return;
            }
            let id = self.published.pop_front().unwrap_or_else(|| panic!("nothing was published: {message}"));
            return assert_eq!(message["id"].as_u64(), Some(id), "answers to publishes come in order: {message}");
        }
        let kind = message["type"].as_str().unwrap_or_else(|| panic!("no type: {message}"));
        assert!(self.welcomed || matches!(kind, "welcome" | "error" | "disconnect" | "slow_consumer"), "before the welcome: {message}");
        match kind {
            "welcome" => assert!(!std::mem::replace(&mut self.welcomed, true), "a second welcome"),
            "ok" | "error" | "subscribed" => self.on_answer(kind, &message),
            "unsubscribed" => self.leave(message["room"].as_str().expect("a room")),
            "heartbeat" | "disconnect" | "auth_expiring" | "slow_consumer" => {}
            _ => self.on_room(kind, &message, text, len),
        }
    }

    fn on_answer(&mut self, kind: &str, message: &Value) {
        let Some(id) = message["id"].as_u64() else {
            return assert!(self.is_rude && kind == "error", "an answer to nothing: {message}");
        };
        let asked = self.asked.remove(&id).unwrap_or_else(|| panic!("nobody asked, or it was answered before: {message}"));
        match (kind, asked.verb) {
            ("ok", "unsubscribe") => self.leave(&asked.room),
            ("ok", "snapshot") => self.rooms.get_mut(&asked.room).into_iter().for_each(|known| known.values.clear()),
            ("ok", "auth") | ("error", _) => {}
            ("subscribed", "subscribe") => {
                assert_eq!(message["room"], *asked.room);
                let next = Lane::ALL.map(|lane| message["from"][lane.name()].as_u64().unwrap_or(1));
                let epoch = message["epoch"].as_str().expect("an epoch").to_owned();
                self.rooms.insert(asked.room, Known { epoch, next, delta: asked.delta, ..Known::default() });
            }
            (_, verb) => panic!("the answer to {verb}: {message}"),
        }
    }

    fn leave(&mut self, room: &str) {
        self.rooms.remove(room);
        self.due.retain(|(other, _), _| other != room);
    }

    fn on_room(&mut self, kind: &str, message: &Value, text: &[u8], len: u64) {
        self.frames += 1;
        let name = message["room"].as_str().unwrap_or_else(|| panic!("no room: {message}"));
        let known = self.rooms.get_mut(name).unwrap_or_else(|| panic!("not a member: {message}"));
        if kind == "caught_up" {
            return;
        }
        let lane = Lane::ALL.into_iter().find(|lane| message["lane"] == lane.name()).unwrap_or_else(|| panic!("no lane: {message}"));
        let next = &mut known.next[lane.index()];
        if kind == "gap" {
            let Some(to) = message["to"].as_u64() else { return };
            assert!(message["from"].as_u64().is_some_and(|from| from <= *next) && to >= *next, "{message} at one that waits for {next}");
            *next = to + 1;
            self.gaps += 1;
            return;
        }
        if let Some(rev) = message["rev"].as_u64() {
            let last = known.revs.entry(state_name(message)).or_default();
            assert!(rev >= *last, "{message} after rev {last}");
            let base = std::mem::replace(last, rev);
            let value = known.value(message, text, base);
            self.states.push((name.to_owned(), state_name(message), rev, value.map(|value| value.to_string())));
        } else if let Some(seq) = message["seq"].as_u64() {
            assert_eq!(seq, *next, "{message}");
            *next += 1;
            if lane == Lane::Alert {
                self.on_alert(name, seq);
            }
        }
        if lane != Lane::Alert {
            self.lower.push((self.at, len));
        }
    }

    /// Promise 1: what began after the alert had come, and before it, is no more than one write of the lower lanes.
    fn on_alert(&mut self, room: &str, seq: u64) {
        let Some(since) = self.due.remove(&(room.to_owned(), seq)) else { return };
        let before: u64 = self.lower.iter().rev().take_while(|(at, _)| *at >= since).map(|(_, len)| len).sum();
        self.alerts += 1;
        self.late_alerts += u64::from(before > 0);
        let is_fine = before <= LOWER_LANE_WRITE_BYTES as u64 + FRAME_BYTES_MAX;
        assert!(is_fine, "alert {seq} of {room} came behind {before} bytes of lower lanes");
    }

    // ---- what must hold in the end ----------------------------------------------------------------------------------

    /// All went well, and goes on.
    pub(super) fn is_open(&self) -> bool {
        self.welcomed && !self.is_rude && self.heard_close.is_none() && self.speaks() && !self.wire.state().closed
    }

    /// Every command has its answer, and every room's members all that there is (promises 2 and 4).
    pub(super) fn assert_has_everything(
        &self,
        streams: &BTreeMap<(RoomId, Lane), u64>,
        states: &BTreeMap<(RoomId, KeyId), (String, u64)>,
        deleted: &BTreeSet<(String, String)>,
    ) {
        assert!(
            self.asked.is_empty(),
            "without an answer: {:?}",
            self.asked.iter().map(|(id, asked)| (id, asked.verb)).collect::<Vec<_>>()
        );
        assert!(self.published.is_empty(), "without an answer: {:?}", self.published);
        assert!(self.pings.is_empty(), "without a pong: {:?}", self.pings);
        assert!(self.heard.is_empty(), "half a frame: {:02x?}", self.heard);
        for (name, known) in &self.rooms {
            let room = self.ids[name];
            for lane in Lane::ALL {
                let last = streams.get(&(room, lane)).copied().unwrap_or(0);
                assert!(known.next[lane.index()] > last, "{name} {lane}: waits for {}, and {last} was pushed", known.next[lane.index()]);
            }
            for (key, last) in states.iter().filter(|((of, _), _)| *of == room).map(|(_, state)| state) {
                let has = known.revs.get(key);
                // Who came after a state was deleted is not told of it.
                let may_be_gone = has.is_none() && deleted.contains(&(name.clone(), key.clone()));
                assert!(has >= Some(last) || may_be_gone, "{name} {key}: has {has:?}, and {last} was pushed");
            }
        }
    }

    /// A server that leaves without a word has a reason for it: who brought no token makes place for others, and who does not read is cut off.
    pub(super) fn assert_not_dropped(&self) {
        let state = self.wire.state();
        let is_dropped = state.closed && self.welcomed && self.heard_close.is_none() && !state.ended && !state.reset;
        assert!(!is_dropped || state.refused, "a connection was closed without a word: {state:?}");
    }
}

impl Known {
    /// What a state's message makes of what it had, which was of revision `had`.
    fn value(&mut self, message: &Value, text: &[u8], had: u64) -> Option<Tree> {
        let name = state_name(message);
        let before = self.values.remove(&name);
        let value = match last_member(text, "patch") {
            None => last_member(text, "data"),
            Some(patch) => {
                assert!(self.delta, "a delta for one who did not ask for it: {message}");
                assert_eq!(message["base"].as_u64(), Some(had), "a delta on what it does not have: {message}");
                let before = before.unwrap_or_else(|| panic!("a delta on what is gone, or where a full state was asked for: {message}"));
                Some(before.patched(patch))
            }
        };
        assert_eq!(value.is_none(), message["deleted"] == true, "{message}");
        self.values.extend(value.clone().map(|value| (name, value)));
        value
    }
}

/// The value of that member of a message, if it is the last one.
pub(super) fn last_member(text: &[u8], name: &str) -> Option<Tree> {
    let text = std::str::from_utf8(text).expect("a message is text");
    let (_, value) = text.split_once(&format!(r#","{name}":"#))?;
    Some(Tree::parse(value.strip_suffix('}').expect("a message is an object")))
}

/// Type and key.
pub(super) fn state_name(message: &Value) -> String {
    format!("{} {}", message["type"], message["key"])
}

/// How long the header and the body of the frame are that begins here, if that can be told yet.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes {
        [_, 126, high, low, ..] => Some((4, usize::from(u16::from_be_bytes([high, low])))),
        [_, 126, ..] => None,
        [_, len @ 0..126, ..] => Some((2, usize::from(len))),
        [_, len, ..] => panic!("a frame too long, or masked: {len}"),
        _ => None,
    }
}

fn inflated(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(64 * 1024);
    let mut inflater = Decompress::new(false);
    inflater.decompress_vec(&[body, b"\0\0\xff\xff"].concat(), &mut text, FlushDecompress::Sync).expect("sound deflate");
    text
}
