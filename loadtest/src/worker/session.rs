//! One connection's side of the protocol, without its socket: bytes in, bytes out, and what has become of it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::codec::{self, Header};
use crate::client::handshake;
use crate::layout;
use crate::scenario::{Lane, Scenario};

use super::recorder::Recorder;
use super::verify::member::{LANES, Member, index};
use super::verify::sequence::Sequence;
use super::verify::{Gap, Outcome, Subscribed, Verifier};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not begun, or to begin again.
    Waiting,
    /// The TCP handshake.
    Connecting,
    /// The request is sent.
    Upgrading,
    /// Upgraded, not yet welcomed.
    Greeting,
    /// Asked for its rooms.
    Joining,
    /// Has all of them.
    Joined,
    /// Will not come back.
    Dead,
}

/// Why a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// A close code, or what went wrong.
    pub why: String,
    /// The server said not to come back.
    pub is_final: bool,
}

/// What all connections share.
pub struct Shared {
    /// The judge.
    pub verifier: Verifier,
    /// The clockwork.
    pub recorder: Recorder,
    /// Pings answered.
    pub pongs: u64,
    /// For masks and jitter; no secret.
    pub random: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    /// How far it is.
    pub phase: Phase,
    /// Bytes to send.
    pub out: Vec<u8>,
    /// The beginning of a frame whose end has not come.
    pub partial: Vec<u8>,
    /// The beginning of a message that comes in several frames.
    pieces: Option<Vec<u8>>,
    /// When it began to connect.
    pub began_ns: u64,
    /// All rooms were resumed without loss.
    pub is_recovered: bool,
    /// Milliseconds that the server asked to stay away.
    pub after_ms: u64,
    /// The request's key, until it is answered.
    key: String,
    /// Rooms that are not yet complete.
    lacking: u32,
}

#[derive(Deserialize)]
struct Notice {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    room: String,
    #[serde(default)]
    epoch: String,
    lane: Option<Lane>,
    #[serde(default)]
    from: Value,
    to: Option<u64>,
    #[serde(default)]
    rewound: Value,
    recovered: Option<bool>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    after_ms: u64,
}

impl End {
    /// The connection was lost, or broke the protocol.
    pub fn lost(why: impl Into<String>) -> End {
        End { why: why.into(), is_final: false }
    }
}

impl Shared {
    /// The next number of a fast generator (splitmix64).
    pub fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn mask(&mut self) -> [u8; 4] {
        (self.random() as u32).to_le_bytes()
    }
}

impl Default for Session {
    fn default() -> Session {
        Session {
            phase: Phase::Waiting,
            out: Vec::new(),
            partial: Vec::new(),
            pieces: None,
            began_ns: 0,
            is_recovered: false,
            after_ms: 0,
            key: String::new(),
            lacking: 0,
        }
    }
}

impl Session {
    /// Begins anew, with this request.
    pub fn begin(&mut self, now_ns: u64, key: String, request: Vec<u8>) {
        *self = Session { phase: Phase::Connecting, out: request, began_ns: now_ns, key, ..Session::default() };
    }

    /// Takes what has come by `now_ns`; returns how much of it was whole.
    #[inline]
    pub fn take(&mut self, conn: u32, bytes: &[u8], now_ns: u64, scenario: &Scenario, shared: &mut Shared) -> Result<usize, End> {
        let mut at = 0;
        if self.phase == Phase::Upgrading {
            let Some(len) = handshake::answer(bytes, &self.key).map_err(End::lost)? else {
                return Ok(0);
            };
            (self.phase, self.key, at) = (Phase::Greeting, String::new(), len);
        }
        loop {
            let rest = &bytes[at..];
            let header = codec::header(rest).map_err(|what| {
                shared.verifier.unreadable();
                End::lost(format!("the server sent {what}"))
            })?;
            let Some((header, frame)) = header.and_then(|header| Some((header, rest.get(..header.header_len + header.payload_len)?)))
            else {
                return Ok(at);
            };
            let payload = &frame[header.header_len..];
            at += frame.len();
            if header.opcode == codec::TEXT && header.is_final && self.pieces.is_none() {
                self.message(conn, payload, now_ns, scenario, shared)?;
            } else if let Some(message) = self.other(header, payload, shared)? {
                self.message(conn, &message, now_ns, scenario, shared)?;
            }
        }
    }

    #[inline]
    fn message(&mut self, conn: u32, message: &[u8], now_ns: u64, scenario: &Scenario, shared: &mut Shared) -> Result<(), End> {
        match shared.verifier.message(conn, message) {
            Outcome::Fresh { flow, intended_ns, sent_ns, is_timed } => {
                shared.recorder.record(flow, intended_ns, sent_ns, now_ns, is_timed);
                Ok(())
            }
            Outcome::Done => Ok(()),
            Outcome::Message => self.notice(conn, message, scenario, shared),
        }
    }

    /// A control frame, or a piece of a message: the whole of it, if this was the last piece.
    #[cold]
    fn other(&mut self, header: Header, payload: &[u8], shared: &mut Shared) -> Result<Option<Vec<u8>>, End> {
        let mut pieces = match (header.opcode, self.pieces.take()) {
            (codec::TEXT, None) => Vec::new(),
            (codec::CONTINUATION, Some(pieces)) => pieces,
            (codec::TEXT | codec::CONTINUATION, _) => {
                shared.verifier.unreadable();
                return Err(End::lost("the server sent pieces of messages in a wrong order"));
            }
            // Control frames may come between the pieces.
            (opcode, pieces) => {
                self.pieces = pieces;
                self.control(opcode, payload, shared)?;
                return Ok(None);
            }
        };
        if pieces.len() + payload.len() > codec::MESSAGE_BYTES_MAX {
            shared.verifier.unreadable();
            return Err(End::lost("the server sent a message over 1 MiB"));
        }
        pieces.extend_from_slice(payload);
        if header.is_final {
            return Ok(Some(pieces));
        }
        self.pieces = Some(pieces);
        Ok(None)
    }

    #[cold]
    fn control(&mut self, opcode: u8, payload: &[u8], shared: &mut Shared) -> Result<(), End> {
        match opcode {
            codec::PING => {
                let mask = shared.mask();
                codec::put(&mut self.out, codec::PONG, payload, mask);
                shared.pongs += 1;
                Ok(())
            }
            codec::CLOSE => {
                let why = codec::close_code(payload);
                let is_final = matches!(why.parse::<u16>(), Ok(4000..=4099));
                Err(End { why, is_final })
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn notice(&mut self, conn: u32, payload: &[u8], scenario: &Scenario, shared: &mut Shared) -> Result<(), End> {
        let Ok(notice) = serde_json::from_slice::<Notice>(payload) else {
            shared.verifier.unreadable();
            return Ok(());
        };
        match notice.kind.as_str() {
            "welcome" if self.phase == Phase::Greeting => self.subscribe(conn, scenario, shared),
            "subscribed" => {
                self.is_recovered &= notice.recovered == Some(true);
                let answer = Subscribed { epoch: notice.epoch, from: per_lane(&notice.from), rewound: per_lane(&notice.rewound) };
                if !shared.verifier.subscribed(conn, &notice.room, &answer) {
                    return Err(End::lost(format!("joined to `{}`, which was not asked for", notice.room)));
                }
            }
            "caught_up" => self.caught_up(conn, &notice.room, shared),
            "gap" => {
                if let (Some(lane), Some(from)) = (notice.lane, notice.from.as_u64()) {
                    shared.verifier.gap(conn, &notice.room, &Gap { lane, from, to: notice.to });
                }
            }
            "error" if self.phase != Phase::Joined => return Err(End::lost(format!("error {}", notice.name))),
            "unsubscribed" => return Err(End::lost(format!("unsubscribed {}", notice.name))),
            "disconnect" => self.after_ms = notice.after_ms,
            _ => {}
        }
        Ok(())
    }

    fn caught_up(&mut self, conn: u32, room: &str, shared: &mut Shared) {
        if shared.verifier.caught_up(conn, room) && self.phase == Phase::Joining {
            self.lacking -= 1;
            if self.lacking == 0 {
                self.phase = Phase::Joined;
            }
        }
    }

    fn subscribe(&mut self, conn: u32, scenario: &Scenario, shared: &mut Shared) {
        let commands: Vec<String> =
            shared.verifier.members(conn).iter().enumerate().map(|(id, member)| subscribe(id, member, scenario).to_string()).collect();
        (self.lacking, self.is_recovered) = (commands.len() as u32, true);
        self.phase = if commands.is_empty() { Phase::Joined } else { Phase::Joining };
        for command in commands {
            let mask = shared.mask();
            codec::put(&mut self.out, codec::TEXT, command.as_bytes(), mask);
        }
    }
}

/// The command that joins a room, with the position of a former connection if there is one.
fn subscribe(id: usize, member: &Member, scenario: &Scenario) -> Value {
    let (class, room) = member.place;
    let name = layout::room_name(&scenario.rooms[usize::from(class)], room);
    let mut command = json!({ "type": "subscribe", "id": id + 1, "room": name });
    if let Some(epoch) = member.epoch.as_deref().filter(|epoch| !epoch.is_empty()) {
        let last = |lane: &Lane| member.lanes[index(*lane)].seq.as_ref().map(Sequence::last);
        let seq: serde_json::Map<String, Value> =
            LANES.iter().filter_map(|lane| last(lane).map(|last| (crate::payload::lane_name(*lane).to_owned(), last.into()))).collect();
        command["since"] = json!({ "epoch": epoch, "seq": seq });
    }
    command
}

fn per_lane(value: &Value) -> std::collections::BTreeMap<Lane, u64> {
    let number = |lane: &Lane| value.get(crate::payload::lane_name(*lane)).and_then(Value::as_u64).map(|number| (*lane, number));
    LANES.iter().filter_map(number).collect()
}
