//! What the analytics publish, as publish lines. Pure.

use serde_json::{Value, json};

use crate::analytics::Message;
use crate::base::limits::OWN_EVENT_IDS;
use crate::journal::follow::Followed;

use super::desk::Post;

/// What tells one event from all others: its `event_id` is so within its room alone.
pub(super) fn name(room: &str, event_id: &str) -> Box<str> {
    format!("{room} {event_id}").into()
}

/// An event.
pub(super) fn post(room: &str, owner: Option<&str>, message: &Message) -> Post {
    let event_id = message.event_id.as_deref().unwrap_or_default();
    Post { name: name(room, event_id), line: line(room, owner, message) }
}

/// A state. Its key is what the room is about.
pub(super) fn state(room: &str, owner: Option<&str>, message: &Message) -> Box<str> {
    line(room, owner, message)
}

fn line(room: &str, owner: Option<&str>, message: &Message) -> Box<str> {
    let key = message.key.as_ref().map(|_| room.split_once(':').map_or(room, |(_, id)| id));
    let members = [("room", Some(room)), ("key", key), ("owner", owner), ("event_id", message.event_id.as_deref())];
    let mut line = format!("{{\"type\":\"{}\"", message.kind);
    for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        line.extend([",\"", name, "\":", &Value::from(value).to_string()]);
    }
    line.extend([",\"data\":", &message.data, "}\n"]);
    line.into()
}

/// That an input does not count.
pub(super) fn refusal(event: &Followed<'_>, input_name: Option<&str>, message: &str) -> Post {
    let event_id = format!("{OWN_EVENT_IDS}refused:{}.{:x}.{}", event.lane.name(), event.epoch, event.seq);
    let data = json!({
        "code": "input_refused",
        "message": message,
        "type": event.kind(),
        "seq": event.seq,
        "event_id": event.event_id,
        "name": input_name,
        "ts": event.ts_ms,
    });
    let line = json!({"type": "error.occurred", "room": event.room, "event_id": event_id, "data": data});
    Post { name: name(event.room, &event_id), line: format!("{line}\n").into() }
}

/// The text that was percent-encoded to be a part of a room's name.
pub(super) fn decode(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = segment.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).unwrap_or_else(|_| segment.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::lane::Lane;
    use crate::wire::event;

    fn message(key: Option<&str>, event_id: Option<&str>) -> Message {
        Message {
            kind: "RISK_ALERT",
            room: String::new(),
            key: key.map(str::to_owned),
            owner: None,
            event_id: event_id.map(str::to_owned),
            version: Some(3),
            data: r#"{"a":"1.50"}"#.to_owned(),
        }
    }

    /// ROM-01: lines are sound, and name the room that the fills came to.
    #[test]
    fn lines_are_publishes() {
        let alert = post("challenge:a%3Ab", Some("u1"), &message(None, Some("e1")));
        assert_eq!(&*alert.name, "challenge:a%3Ab e1");
        let draft = event::parse(alert.line.trim_end().as_bytes(), &[]).unwrap();
        assert_eq!(
            (draft.room.as_deref(), draft.owner.as_deref(), draft.event_id.as_deref()),
            (Some("challenge:a%3Ab"), Some("u1"), Some("e1"))
        );
        assert_eq!((&*draft.data, draft.key, draft.version), (r#"{"a":"1.50"}"#, None, None));
        let line = state("account:7", None, &message(Some("x"), None));
        assert_eq!(event::parse(line.trim_end().as_bytes(), &[]).unwrap().key.as_deref(), Some("7"));
    }

    /// Bad input is told where it came from.
    #[test]
    fn a_refusal_is_a_publish() {
        let followed = Followed {
            room: "challenge:c1",
            owner: None,
            lane: Lane::Update,
            epoch: 1,
            seq: 9,
            ts_ms: 5,
            event_id: None,
            message: r#"{"type":"TRADE_EXECUTED","data":{}}"#,
        };
        let post = refusal(&followed, Some("t-7"), "there is no \"price\"");
        let draft = event::parse(post.line.trim_end().as_bytes(), &[]).unwrap();
        assert_eq!((&*draft.kind, draft.event_id.as_deref()), ("error.occurred", Some("tickerd:refused:update.1.9")));
        assert!(draft.data.contains(r#""type":"TRADE_EXECUTED""#) && draft.data.contains(r#""name":"t-7""#));
    }

    #[test]
    fn segments_are_decoded() {
        assert_eq!(
            (decode("a%40b%3Ac"), decode("100%"), decode("%zz%4"), decode("%FF")),
            ("a@b:c".into(), "100%".into(), "%zz%4".into(), "%FF".into())
        );
    }
}
