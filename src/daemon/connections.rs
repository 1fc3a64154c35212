//! `GET /v1/connections`: what the reactors know of their connections, asked over their links; one question at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::bounded;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::base::codes::{INVALID_FIELD, Refusal};
use crate::base::lane::Lane;
use crate::base::rules::Rule;
use crate::net::link::Link;
use crate::reactor::Control;
use crate::reactor::listing::{ConnectionRecord, ListConnections, Listed, Order, RoomRecord};
use crate::wire::query::Query;

use super::controls;

/// How long the reactors are waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Connections told in one answer.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// See the module.
pub(super) struct Connections {
    controls: Vec<Arc<Link<Control>>>,
    /// Held while a question is answered: a reactor has one list under way.
    asking: Mutex<()>,
}

/// What the reactors said.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) records: Vec<ConnectionRecord>,
    /// Where the rest begins: which reactor, and which slot of it.
    next: Option<(usize, u32)>,
    /// Reactors that said nothing in time.
    silent: Vec<usize>,
}

impl Connections {
    pub(super) fn new(controls: Vec<Arc<Link<Control>>>) -> Connections {
        Connections { controls, asking: Mutex::new(()) }
    }

    /// Answers the request.
    pub(super) fn list(&self, query: &str) -> Result<String, Refusal> {
        let query = Query::parse(query, &["user", "sort", "limit", "after"])?;
        let limit = query.get("limit").map_or(Ok(LIMIT), |text| parsed(text).filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or(()));
        let limit = limit.map_err(|()| Refusal::new(INVALID_FIELD, format!("`limit` is a number from 1 to {LIMIT_MAX}")))?;
        let after = query.get("after").map(|text| {
            let place = text.split_once('.').and_then(|(reactor, slot)| Some((parsed(reactor)?, parsed(slot)?)));
            place.ok_or_else(|| Refusal::new(INVALID_FIELD, "`after` is the `next` of an answer"))
        });
        let after = after.transpose()?;
        let answers = match query.get("sort") {
            None => self.by_slot(query.get("user"), None, after.unwrap_or_default(), limit),
            Some("queued") if after.is_none() => self.by_queue(query.get("user"), limit),
            Some("queued") => return Err(Refusal::new(INVALID_FIELD, "the longest queues have no `after`: raise `limit`")),
            Some(_) => return Err(Refusal::new(INVALID_FIELD, "`sort` can be queued, or be left out")),
        };
        Ok(json!({
            "connections": answers.records.iter().map(told).collect::<Vec<_>>(),
            "next": answers.next.map(|(reactor, slot)| format!("{reactor}.{slot}")),
            "unheard_reactors": answers.silent,
        })
        .to_string())
    }

    /// One reactor after the other, until there are enough.
    pub(super) fn by_slot(&self, user: Option<&str>, room: Option<&str>, (first, mut slot): (usize, u32), limit: usize) -> Answers {
        let mut answers = Answers::default();
        for reactor in first..self.controls.len() {
            let left = limit - answers.records.len();
            if left == 0 {
                answers.next = Some((reactor, 0));
                break;
            }
            match self.ask(reactor..reactor + 1, user, room, Order::Slot(std::mem::take(&mut slot)), left).pop() {
                None => answers.silent.push(reactor),
                Some(listed) => {
                    answers.records.extend(listed.records);
                    answers.next = listed.rest.map(|slot| (reactor, slot));
                }
            }
            if answers.next.is_some() {
                break;
            }
        }
        answers
    }

    fn by_queue(&self, user: Option<&str>, limit: usize) -> Answers {
        let listed = self.ask(0..self.controls.len(), user, None, Order::Queued, limit);
        let silent =
            (0..self.controls.len()).filter(|reactor| listed.iter().all(|listed| usize::from(listed.reactor) != *reactor)).collect();
        let mut records: Vec<_> = listed.into_iter().flat_map(|listed| listed.records).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.queued_bytes));
        records.truncate(limit);
        Answers { records, next: None, silent }
    }

    fn ask(&self, reactors: std::ops::Range<usize>, user: Option<&str>, room: Option<&str>, order: Order, limit: usize) -> Vec<Listed> {
        let _asking = self.asking.lock();
        let deadline = Instant::now() + PATIENCE;
        let (listed, answers) = bounded(reactors.len());
        let count = reactors.len();
        for control in &self.controls[reactors] {
            let asked = ListConnections { user: user.map(Box::from), room: room.map(Box::from), order, limit, listed: listed.clone() };
            controls::tell(control, Control::List(Box::new(asked)), deadline);
        }
        drop(listed);
        std::iter::from_fn(|| answers.recv_deadline(deadline).ok()).take(count).collect()
    }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// A record as JSON.
pub(super) fn told(record: &ConnectionRecord) -> Value {
    let lanes: serde_json::Map<String, Value> =
        Lane::ALL.into_iter().map(|lane| (lane.name().to_owned(), record.queued_lane_bytes[lane.index()].into())).collect();
    json!({
        "session": record.session.to_string(),
        "user": record.user.as_deref(),
        "jti": record.token_id,
        "token_expires_at": record.expires_at_ms.map(|ms| ms / 1_000),
        "ip": record.ip.map(|ip| ip.to_string()),
        "reactor": record.session.id.reactor,
        "transport": record.kind,
        "tls": record.is_tls,
        "compression": record.is_compressed,
        "age_ms": record.age_ms,
        "idle_ms": record.idle_ms,
        "rtt_us": record.rtt_us,
        "slow": record.is_slow,
        "queued_bytes": record.queued_bytes,
        "queued_lane_bytes": lanes,
        "queued_frames": record.queued_frames,
        "oldest_ms": record.oldest_ms,
        "conflated": record.conflated,
        "sent_bytes": record.sent_bytes,
        "received_bytes": record.received_bytes,
        "rooms": record.rooms.iter().map(room).collect::<Vec<_>>(),
    })
}

fn room(room: &RoomRecord) -> Value {
    let replaying: Vec<_> = room.replaying.iter().map(|lane| lane.name()).collect();
    json!({
        "room": &*room.name,
        "by": if room.by_pattern { "pattern" } else { "owner_or_authorizer" },
        "delta": room.delta,
        "replaying": replaying,
    })
}

/// A rule as JSON.
pub(super) fn rule(rule: &Rule) -> Value {
    json!({"rule": rule.name, "ruling": rule.ruling.name(), "why": rule.why})
}
