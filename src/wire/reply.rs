//! The texts that tickerd itself makes: everything a client or publisher gets that is not a published event.
//!
//! Each function appends one JSON object to `out`; the caller adds what its transport wants (frame header, line feed).

use std::io::Write;
use std::sync::Arc;

use crate::base::codes::{CLOSE_SLOW_CONSUMER, CloseCode, ERRORS, ErrorCode, Refusal};
use crate::base::lane::{Lane, PerLane};

use super::digest::StateDigest;
use super::request_id::RequestId;
use super::text;

/// Types of the protocol itself, today's and those to come, which no event may have: a client dispatches on `type`.
pub const RESERVED_TYPES: [&str; 24] = [
    "welcome",
    "subscribed",
    "caught_up",
    "gap",
    "epoch",
    "heartbeat",
    "disconnect",
    "slow_consumer",
    "unsubscribed",
    "auth_expiring",
    "error",
    "ok",
    "pong",
    "auth",
    "subscribe",
    "unsubscribe",
    "snapshot",
    "ping",
    "ack",
    "publish",
    "batch",
    "event.acknowledged",
    "event.expired",
    "event.escalated",
];

/// What the `welcome` tells a client about its connection.
#[derive(Clone, Debug)]
pub struct Welcome<'a> {
    /// Names the connection in logs and in the operator's tools.
    pub session: &'a str,
    /// The user that the token names.
    pub user: &'a str,
    /// When the token expires, Unix seconds; `None` for never.
    pub expires_at_s: Option<u64>,
    /// At most this long between two heartbeats.
    pub heartbeat_ms: u64,
    /// Rooms that one connection may join.
    pub rooms_max: usize,
    /// Bytes of one message to the server.
    pub message_bytes_max: usize,
    /// The verbs that this connection may send, from the dispatcher's own table.
    pub capabilities: &'a [&'a str],
}

/// What the `subscribed` tells about a room.
#[derive(Clone, Debug)]
pub struct Subscribed<'a> {
    /// The room's name.
    pub room: &'a str,
    /// The history in which the numbers count.
    pub epoch: &'a str,
    /// The first `seq` that comes, for each lane.
    pub from: PerLane<u64>,
    /// The last `seq` that was pushed, for each lane.
    pub seq: PerLane<u64>,
    /// Whether no lane has a gap; `None` if no position was given.
    pub recovered: Option<bool>,
    /// Lanes whose position lay beyond the end, and that end.
    pub rewound: PerLane<Option<u64>>,
}

/// What became of a publish that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is new and pushed.
    Accepted,
    /// Its `event_id` was seen before; the number is the first one's.
    Duplicate,
    /// Its `version` is not newer.
    Stale,
    /// The state's bytes are what they were.
    Unchanged,
}

impl Outcome {
    /// The `result` on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Duplicate => "duplicate",
            Outcome::Stale => "stale",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// The number that an event got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// `transient` events have none.
    None,
    /// Of a `stream` event.
    Seq(u64),
    /// Of a `state` event.
    Rev(u64),
}

/// How far an acknowledged event is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// In this process' memory.
    Memory,
    /// Synced to the journal.
    Durable,
}

impl Safety {
    /// The `ack` on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Safety::Memory => "memory",
            Safety::Durable => "durable",
        }
    }
}

/// A publish that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What became of it.
    pub outcome: Outcome,
    /// Where it went.
    pub room: Arc<str>,
    /// In which lane.
    pub lane: Lane,
    /// Its number.
    pub number: Number,
    /// The history in which the number counts.
    pub epoch: Arc<str>,
    /// How far it is safe.
    pub safety: Safety,
    /// Members of the room on this node.
    pub members: u32,
}

/// A bare `ok` to the command with that `id`.
pub fn ok(out: &mut Vec<u8>, id: Option<&RequestId>) {
    put(out, r#"{"type":"ok""#);
    put_id(out, id);
    put(out, "}");
}

/// The `ok` to one who checks what it holds of a room's states.
pub fn digest(out: &mut Vec<u8>, id: Option<&RequestId>, room: &str, epoch: &str, digest: &StateDigest) {
    put(out, r#"{"type":"ok""#);
    put_id(out, id);
    let (keys, sum) = (digest.keys(), digest.sum());
    append(out, format_args!(r#","room":"{room}","epoch":"{epoch}","keys":{keys},"digest":"{sum:016x}"}}"#));
}

/// An `error` to the command with that `id`, or to one whose `id` could not be read.
pub fn error(out: &mut Vec<u8>, id: Option<&RequestId>, refusal: &Refusal) {
    put(out, r#"{"type":"error""#);
    put_id(out, id);
    put_refusal(out, refusal);
    put(out, "}");
}

/// The first frame after a token was accepted.
pub fn welcome(out: &mut Vec<u8>, ts_ms: u64, welcome: &Welcome<'_>) {
    append(out, format_args!(r#"{{"type":"welcome","ts":{ts_ms},"data":{{"session":"#));
    put_string(out, welcome.session);
    put(out, r#","user":"#);
    put_string(out, welcome.user);
    if let Some(expires_at_s) = welcome.expires_at_s {
        append(out, format_args!(r#","expires_at":{expires_at_s}"#));
    }
    append(
        out,
        format_args!(
            r#","heartbeat_ms":{},"limits":{{"rooms":{},"message_bytes":{}}},"capabilities":["#,
            welcome.heartbeat_ms, welcome.rooms_max, welcome.message_bytes_max
        ),
    );
    for (i, capability) in welcome.capabilities.iter().enumerate() {
        put(out, if i == 0 { "" } else { "," });
        put_string(out, capability);
    }
    append(out, format_args!(r#"],"server":"tickerd/{}"}}}}"#, env!("CARGO_PKG_VERSION")));
}

/// A sign of life with the round trip time, if one is known, and the frames that wait.
pub fn heartbeat(out: &mut Vec<u8>, ts_ms: u64, rtt_us: Option<u64>, queued_frames: usize) {
    append(out, format_args!(r#"{{"type":"heartbeat","ts":{ts_ms}"#));
    if let Some(rtt_us) = rtt_us {
        append(out, format_args!(r#","rtt_us":{rtt_us}"#));
    }
    append(out, format_args!(r#","queued":{queued_frames}}}"#));
}

/// Notice that the server is about to close, and when to come back.
pub fn disconnect(out: &mut Vec<u8>, close: CloseCode, after_ms: u64) {
    append(out, format_args!(r#"{{"type":"disconnect","code":{},"reason":"{}","after_ms":{after_ms}}}"#, close.code, close.name));
}

/// How slow a client is.
#[derive(Clone, Copy, Debug)]
pub struct SlowConsumer {
    /// Frames that wait for it.
    pub queued_frames: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// With more of them it is closed.
    pub queued_bytes_max: usize,
    /// `transient` metrics that were dropped for it.
    pub dropped: usize,
    /// If it takes nothing, it is closed in this time.
    pub after_ms: u64,
}

/// Warning that the server will close if the client does not read what waits for it.
pub fn slow_consumer(out: &mut Vec<u8>, ts_ms: u64, slow: &SlowConsumer) {
    let SlowConsumer { queued_frames, queued_bytes, queued_bytes_max, dropped, after_ms } = *slow;
    append(out, format_args!(r#"{{"type":"slow_consumer","ts":{ts_ms},"queued_frames":{queued_frames},"queued_bytes":{queued_bytes},"#));
    let code = CLOSE_SLOW_CONSUMER.code;
    append(out, format_args!(r#""queued_bytes_max":{queued_bytes_max},"dropped":{dropped},"code":{code},"after_ms":{after_ms}}}"#));
}

/// Notice that the token will expire: time to send a fresh one in band.
pub fn auth_expiring(out: &mut Vec<u8>, ts_ms: u64, expires_in_ms: u64) {
    append(out, format_args!(r#"{{"type":"auth_expiring","ts":{ts_ms},"data":{{"expires_in_ms":{expires_in_ms}}}}}"#));
}

/// Notice that the server ended a membership.
pub fn unsubscribed(out: &mut Vec<u8>, room: &str, error: ErrorCode) {
    append(out, format_args!(r#"{{"type":"unsubscribed","room":"{room}","code":{},"name":"{}"}}"#, error.code, error.name));
}

/// The answer to a granted join.
pub fn subscribed(out: &mut Vec<u8>, id: Option<&RequestId>, subscribed: &Subscribed<'_>) {
    put(out, r#"{"type":"subscribed""#);
    put_id(out, id);
    append(out, format_args!(r#","room":"{}","epoch":"{}","from":"#, subscribed.room, subscribed.epoch));
    put_per_lane(out, &subscribed.from.map(Some));
    put(out, r#","seq":"#);
    put_per_lane(out, &subscribed.seq.map(Some));
    if let Some(recovered) = subscribed.recovered {
        append(out, format_args!(r#","recovered":{recovered}"#));
    }
    if subscribed.rewound.iter().any(Option::is_some) {
        put(out, r#","rewound":"#);
        put_per_lane(out, &subscribed.rewound);
    }
    put(out, "}");
}

/// All that was missed, and the newest state of each key, has been sent.
pub fn caught_up(out: &mut Vec<u8>, room: &str) {
    append(out, format_args!(r#"{{"type":"caught_up","room":"{room}"}}"#));
}

/// `stream` events that this client will not get. `to` is unknown if the epoch is not ours.
pub fn gap(out: &mut Vec<u8>, room: &str, lane: Lane, epoch: &str, from: u64, to: Option<u64>) {
    append(out, format_args!(r#"{{"type":"gap","room":"{room}","lane":"{lane}","epoch":"#));
    put_string(out, epoch);
    append(out, format_args!(r#","from":{from},"to":"#));
    match to {
        Some(to) => append(out, format_args!("{to}}}")),
        None => put(out, "null}"),
    }
}

/// The answer to one publish.
pub fn answer(out: &mut Vec<u8>, id: Option<&RequestId>, outcome: &Result<Accepted, Refusal>, slow_down: bool) {
    match outcome {
        Ok(accepted) => put_accepted(out, id, accepted),
        Err(refusal) => {
            put(out, r#"{"ok":false"#);
            put_id(out, id);
            put_refusal(out, refusal);
        }
    }
    put(out, if slow_down { r#","slow_down":true}"# } else { "}" });
}

/// The refusal that an [`error`] is about; `None` for other texts.
pub fn refusal_in(text: &[u8]) -> Option<Refusal> {
    #[derive(serde::Deserialize)]
    struct Error {
        code: u16,
        message: String,
        retry_after_ms: Option<u32>,
    }
    text.starts_with(br#"{"type":"error""#).then_some(())?;
    let Error { code, message, retry_after_ms } = serde_json::from_slice(text).ok()?;
    let error = *ERRORS.iter().find(|known| known.code == code)?;
    Some(Refusal { error, message, retry_after_ms })
}

/// A refusal as an HTTP answer's body.
pub fn refused(out: &mut Vec<u8>, refusal: &Refusal) {
    put(out, r#"{"ok":false"#);
    put_refusal(out, refusal);
    put(out, "}");
}

fn put_accepted(out: &mut Vec<u8>, id: Option<&RequestId>, accepted: &Accepted) {
    put(out, r#"{"ok":true"#);
    put_id(out, id);
    let (result, lane) = (accepted.outcome.name(), accepted.lane.name());
    text::put(out, &[r#","result":""#, result, r#"","room":""#, &accepted.room, r#"","lane":""#, lane, "\""]);
    put_event_number(out, accepted.number);
    text::put(out, &[r#","epoch":""#, &accepted.epoch, r#"","ack":""#, accepted.safety.name(), r#"","members":"#]);
    text::put_number(out, accepted.members.into());
}

/// The `seq` or `rev` of an event, if it has one.
pub fn put_event_number(out: &mut Vec<u8>, number: Number) {
    let (name, number) = match number {
        Number::None => return,
        Number::Seq(seq) => (r#","seq":"#, seq),
        Number::Rev(rev) => (r#","rev":"#, rev),
    };
    put(out, name);
    text::put_number(out, number);
}

fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    let error = refusal.error;
    append(out, format_args!(r#","code":{},"name":"{}","category":"{}","message":"#, error.code, error.name, error.category));
    put_string(out, &refusal.message);
    if let Some(retry_after_ms) = refusal.retry_after_ms {
        append(out, format_args!(r#","retry_after_ms":{retry_after_ms}"#));
    }
}

fn put_per_lane(out: &mut Vec<u8>, values: &PerLane<Option<u64>>) {
    let mut separator = "{";
    for lane in Lane::ALL {
        if let Some(value) = values[lane.index()] {
            append(out, format_args!(r#"{separator}"{lane}":{value}"#));
            separator = ",";
        }
    }
    put(out, if separator == "{" { "{}" } else { "}" });
}

fn put_id(out: &mut Vec<u8>, id: Option<&RequestId>) {
    if let Some(id) = id {
        text::put(out, &[r#","id":"#, id.as_json()]);
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to a Vec does not fail");
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codes;

    fn json(write: impl FnOnce(&mut Vec<u8>)) -> serde_json::Value {
        let mut out = Vec::new();
        write(&mut out);
        serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)))
    }

    /// PRO-01: every frame is one JSON object with a `type`. Hostile text in them stays text.
    #[test]
    fn every_text_is_json_whatever_is_put_in() {
        let hostile = "\"},{\u{0}\u{7f}\\";
        let id = RequestId::from(7);
        let refusal = Refusal::passing(codes::QUEUE_FULL, hostile, 20);
        let welcome_data = Welcome {
            session: hostile,
            user: hostile,
            expires_at_s: Some(9),
            heartbeat_ms: 30_000,
            rooms_max: 100,
            message_bytes_max: 16_384,
            capabilities: &["auth", "ping"],
        };
        let welcome_text = json(|out| welcome(out, 5, &welcome_data));
        assert_eq!(welcome_text["data"]["user"], hostile);
        assert_eq!(welcome_text["data"]["capabilities"][1], "ping");
        let error_text = json(|out| error(out, Some(&id), &refusal));
        assert_eq!((&error_text["type"], &error_text["id"], &error_text["message"]), (&"error".into(), &7.into(), &hostile.into()));
        let mut out = Vec::new();
        error(&mut out, Some(&id), &refusal);
        assert_eq!((refusal_in(&out), refusal_in(br#"{"type":"ok"}"#)), (Some(refusal.clone()), None));
        assert_eq!(json(|out| refused(out, &refusal))["retry_after_ms"], 20);
        assert_eq!(json(|out| gap(out, "r", Lane::Alert, hostile, 3, None))["to"], serde_json::Value::Null);
        assert_eq!(json(|out| heartbeat(out, 5, Some(1), 2))["rtt_us"], 1);
        assert_eq!(json(|out| disconnect(out, codes::CLOSE_SHUTDOWN, 9))["code"], 4101);
        let slow = SlowConsumer { queued_frames: 1, queued_bytes: 2, queued_bytes_max: 3, dropped: 4, after_ms: 5 };
        assert_eq!(json(|out| slow_consumer(out, 6, &slow))["code"], 4103);
        assert_eq!(json(|out| unsubscribed(out, "r", codes::ACCESS_DENIED))["name"], "access_denied");
        assert_eq!(json(|out| auth_expiring(out, 1, 2))["data"]["expires_in_ms"], 2);
    }

    #[test]
    fn subscribed_names_lanes_and_omits_what_does_not_apply() {
        let mut data =
            Subscribed { room: "r", epoch: "e", from: [1, 2, 3], seq: [0, 1, 2], recovered: None, rewound: [None, Some(4), None] };
        let text = json(|out| subscribed(out, None, &data));
        assert_eq!(text["from"]["metric"], 3);
        assert_eq!(text["rewound"], serde_json::json!({"update": 4}));
        assert!(text.get("recovered").is_none() && text.get("id").is_none());
        data.rewound = [None; 3];
        data.recovered = Some(true);
        let text = json(|out| subscribed(out, None, &data));
        assert!(text.get("rewound").is_none());
        assert_eq!(text["recovered"], true);
    }

    #[test]
    fn an_answer_carries_seq_or_rev_or_neither() {
        let mut accepted = Accepted {
            outcome: Outcome::Accepted,
            room: "r".into(),
            lane: Lane::Update,
            number: Number::Seq(3),
            epoch: "e".into(),
            safety: Safety::Memory,
            members: 2,
        };
        assert_eq!(json(|out| answer(out, None, &Ok(accepted.clone()), true))["slow_down"], true);
        accepted.number = Number::Rev(4);
        let text = json(|out| answer(out, Some(&RequestId::from(1)), &Ok(accepted.clone()), false));
        assert_eq!((&text["rev"], &text["ok"], &text["members"]), (&4.into(), &true.into(), &2.into()));
        assert!(text.get("seq").is_none() && text.get("slow_down").is_none());
        accepted.number = Number::None;
        assert!(json(|out| answer(out, None, &Ok(accepted), false)).get("rev").is_none());
    }
}
