//! Frames read back as a client reads them: as JSON, knowing nothing of the hub's own types but the tag that queues see.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tickerd::base::lane::{Lane, PerLane};
use tickerd::wire::frame::Frame;

use crate::plan::{KEYS, KINDS};

/// One message, read.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) body: Body,
    pub(crate) id: Option<u64>,
    pub(crate) room: Option<String>,
}

/// What it says.
#[derive(Debug)]
pub(crate) enum Body {
    Subscribed(Subscribed),
    CaughtUp,
    Ok,
    Error {
        name: String,
        message: String,
    },
    /// `to` is none if the missing events were numbered in a former epoch.
    Gap {
        lane: Lane,
        epoch: String,
        from: u64,
        to: Option<u64>,
    },
    Event(Event),
}

/// The answer to a join.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) epoch: String,
    pub(crate) from: PerLane<Option<u64>>,
    pub(crate) seq: PerLane<Option<u64>>,
    pub(crate) rewound: PerLane<Option<u64>>,
    pub(crate) recovered: Option<bool>,
}

/// An event as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Position in `KINDS`.
    pub(crate) kind: usize,
    pub(crate) lane: Lane,
    /// Position in `KEYS`.
    pub(crate) key: usize,
    pub(crate) seq: Option<u64>,
    pub(crate) rev: Option<u64>,
    pub(crate) ts: u64,
    pub(crate) id: Option<String>,
    /// The publisher's bytes; none if it says `deleted`, or is a delta.
    pub(crate) data: Option<Rc<str>>,
    /// Of a delta: `base` and `patch`.
    pub(crate) patch: Option<(u64, Rc<str>)>,
}

/// Reads frames, each allocation once; keeps them alive, so that an address names one frame for the whole run.
#[derive(Default)]
pub(crate) struct Reader {
    read: HashMap<*const Frame, (Arc<Frame>, Rc<Message>)>,
}

impl Reader {
    /// The message of this frame.
    pub(crate) fn read(&mut self, frame: &Arc<Frame>) -> Rc<Message> {
        let entry = self.read.entry(Arc::as_ptr(frame)).or_insert_with(|| (Arc::clone(frame), Rc::new(parse(frame.as_text()))));
        Rc::clone(&entry.1)
    }

    /// The message of a delta form.
    pub(crate) fn read_delta(frame: &Frame) -> Message {
        parse(frame.as_text())
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    id: Option<u64>,
    room: Option<String>,
    lane: Option<String>,
    key: Option<String>,
    seq: Option<Value>,
    from: Option<Value>,
    to: Option<u64>,
    rewound: Option<Value>,
    recovered: Option<bool>,
    rev: Option<u64>,
    base: Option<u64>,
    ts: Option<u64>,
    epoch: Option<String>,
    event_id: Option<String>,
    name: Option<String>,
    message: Option<String>,
    deleted: Option<bool>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    patch: Option<&'a RawValue>,
}

fn parse(text: &[u8]) -> Message {
    let shown = String::from_utf8_lossy(text);
    let raw: Raw<'_> = serde_json::from_slice(text).unwrap_or_else(|error| panic!("not a message: {error}: {shown}"));
    let body = match &*raw.kind {
        "subscribed" => Body::Subscribed(subscribed(&raw)),
        "caught_up" => Body::CaughtUp,
        "ok" => Body::Ok,
        "error" => Body::Error { name: given(raw.name.clone(), &shown), message: given(raw.message.clone(), &shown) },
        "gap" => gap(&raw, &shown),
        _ => Body::Event(event(&raw, &shown)),
    };
    Message { body, id: raw.id, room: raw.room }
}

fn subscribed(raw: &Raw<'_>) -> Subscribed {
    Subscribed {
        epoch: given(raw.epoch.clone(), "subscribed without epoch"),
        from: per_lane(raw.from.as_ref()),
        seq: per_lane(raw.seq.as_ref()),
        rewound: per_lane(raw.rewound.as_ref()),
        recovered: raw.recovered,
    }
}

fn gap(raw: &Raw<'_>, shown: &str) -> Body {
    let from = given(raw.from.as_ref().and_then(Value::as_u64), shown);
    assert!(raw.to.is_none_or(|to| from <= to), "an empty gap: {shown}");
    Body::Gap { lane: lane(raw, shown), epoch: given(raw.epoch.clone(), shown), from, to: raw.to }
}

fn event(raw: &Raw<'_>, shown: &str) -> Event {
    let kind = given(KINDS.iter().position(|kind| kind.name == raw.kind), shown);
    let key = raw.key.as_deref().unwrap_or("");
    let data: Option<Rc<str>> = raw.data.map(|data| data.get().into());
    let patch: Option<Rc<str>> = raw.patch.map(|patch| patch.get().into());
    assert_eq!(patch.is_some(), raw.base.is_some(), "a patch has a base: {shown}");
    let members = [data.is_some(), patch.is_some(), raw.deleted == Some(true)];
    assert_eq!(members.into_iter().filter(|is_there| *is_there).count(), 1, "either data, patch or deleted: {shown}");
    for (name, value) in [("data", &data), ("patch", &patch)] {
        let is_last = value.as_ref().is_none_or(|value| shown.ends_with(&format!("\"{name}\":{value}}}")));
        assert!(is_last, "{name} is not the last member: {shown}");
    }
    Event {
        kind,
        lane: lane(raw, shown),
        key: given(KEYS.iter().position(|k| *k == key), shown),
        seq: raw.seq.as_ref().map(|seq| given(seq.as_u64(), shown)),
        rev: raw.rev,
        ts: given(raw.ts, shown),
        id: raw.event_id.clone(),
        data,
        patch: raw.base.zip(patch),
    }
}

fn lane(raw: &Raw<'_>, shown: &str) -> Lane {
    given(raw.lane.as_deref().and_then(Lane::parse), shown)
}

fn per_lane(object: Option<&Value>) -> PerLane<Option<u64>> {
    Lane::ALL.map(|lane| object.and_then(|object| object.get(lane.name())).map(|seq| given(seq.as_u64(), "a position that is no number")))
}

fn given<T>(value: Option<T>, shown: &str) -> T {
    value.unwrap_or_else(|| panic!("a member is missing or unknown: {shown}"))
}
