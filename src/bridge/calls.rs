//! The scripts, what goes into a call, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};

use crate::auth::Ticket;
use crate::base::codes::{CATALOG_CONFLICT, OVER_CAPACITY, OWNER_CONFLICT, Refusal};
use crate::base::lane::{Lane, Mode};
use crate::base::limits::{REVOCATIONS_MAX, TICKET_TTL, TICKETS_PER_USER_MAX};
use crate::hub::journal::Epoch;
use crate::hub::store::{Append, Appended, KnownRoom, KnownStream, Placed, Settled};

use super::disputes::{Count, Counted};
use super::layout::{self, CONTACTS, Keys, NODES, REVOCATIONS};
use super::record::{self, Verdict};

pub(super) const HELLO: &str = include_str!("lua/hello.lua");
pub(super) const APPEND: &str = include_str!("lua/append.lua");
pub(super) const ROOM: &str = include_str!("lua/room.lua");
pub(super) const LEASE: &str = include_str!("lua/lease.lua");
pub(super) const RELEASE: &str = include_str!("lua/release.lua");
pub(super) const NODES_SCRIPT: &str = include_str!("lua/nodes.lua");
pub(super) const GIVE_TICKET: &str = include_str!("lua/give_ticket.lua");
pub(super) const TAKE_TICKET: &str = include_str!("lua/take_ticket.lua");
pub(super) const COUNT_USERS: &str = include_str!("lua/count_users.lua");
pub(super) const SET_ASIDE: &str = include_str!("lua/set_aside.lua");

/// Events in a shard's feed: a node that is further behind reads the shard anew.
const FEED_EVENTS_MAX: usize = 10_000;
/// Events in the log of a (room, lane).
const LOG_EVENTS_MAX: usize = 10_000;
/// State keys of a room.
const KEYS_PER_ROOM_MAX: usize = 4096;
/// How long an `event_id` is remembered, in milliseconds.
const ID_MS: u64 = 60_000;
/// How long replicas have to confirm: less than an answer may take.
const REPLICAS_MS: u64 = 500;
/// Of each (room, lane), a node that begins reads so many of the newest events.
const NEWEST_EVENTS: usize = 100;

fn script(sha: &str, keys: usize) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(sha).arg(keys);
    cmd
}

/// Asks for a shard's epoch. `run` names the server's run, `name` the epoch if another is to begin, `least` is its least number.
pub(super) fn hello(sha: &str, keys: &Keys, run: &str, name: &str, least: u32) -> Cmd {
    let mut cmd = script(sha, 2);
    cmd.arg(keys.meta()).arg(keys.epochs()).arg(run).arg(name).arg(least);
    cmd
}

/// The answer: all epochs, the last one being the present one, and the last place of the feed.
pub(super) fn welcomed(shard: u16, answer: &Value) -> Option<(Vec<Epoch>, u64)> {
    let [_, _, feed, Value::Array(epochs)] = array(answer)? else { return None };
    let epoch = |value: &Value| {
        let mut parts = text(value)?.split(' ');
        let (number, name, blank) = (record::epoch_of(shard, parts.next()?)?, parts.next()?.into(), parts.next()?);
        Some(Epoch { number, name, by_eviction: blank == "1" })
    };
    let epochs = epochs.iter().map(epoch).collect::<Option<Vec<_>>>().filter(|epochs| !epochs.is_empty())?;
    Some((epochs, text(feed)?.parse().ok()?))
}

/// Events of one shard.
pub(super) struct Part {
    pub shard: u16,
    pub events: Vec<Append>,
}

/// A batch of events, named, so that one that is sent again is known. In a cluster they are of one shard. A shard may have so many rooms.
pub(super) fn append(sha: &str, node: u64, rooms_max: usize, batch: u64, parts: &[Part]) -> Cmd {
    let keys: Vec<Keys> = parts.iter().map(|part| Keys::new(part.shard)).collect();
    let mut cmd = script(sha, 1 + parts.iter().map(|part| 3 + 5 * part.events.len()).sum::<usize>());
    cmd.arg(keys[0].answer(node));
    for (part, keys) in parts.iter().zip(&keys) {
        cmd.arg(keys.meta()).arg(keys.feed()).arg(keys.rooms());
        for Append { event, .. } in &part.events {
            let id = event.event_id.as_deref().unwrap_or_default();
            cmd.arg(keys.room(&event.room)).arg(keys.log(event.lane, &event.room)).arg(keys.states(&event.room));
            cmd.arg(keys.event_id(&event.room, id)).arg(keys.waits(&event.room));
        }
    }
    cmd.arg(batch).arg(FEED_EVENTS_MAX).arg(KEYS_PER_ROOM_MAX).arg(ID_MS).arg(rooms_max);
    let mut body = String::new();
    for part in parts {
        cmd.arg(part.events.len());
        part.events.iter().for_each(|append| put_event(&mut cmd, node, append, &mut body));
    }
    cmd
}

fn put_event(cmd: &mut Cmd, node: u64, append: &Append, body: &mut String) {
    let event = &append.event;
    body.clear();
    let data_at = record::put_body(body, node, append);
    let state = if event.mode == Mode::State { record::state_name(&event.kind, &event.key) } else { String::new() };
    cmd.arg(record::mode_letter(event.mode)).arg(event.lane.index()).arg(state).arg(event.owner.as_deref().unwrap_or_default());
    cmd.arg(u8::from(event.event_id.is_some())).arg(event.version.map(|version| version.to_string()).unwrap_or_default());
    cmd.arg(event.history).arg(LOG_EVENTS_MAX).arg(data_at).arg(&*event.room).arg(append.rev).arg(&*body);
    let event_id = event.event_id.as_deref().unwrap_or_default();
    // Without an id there is nothing that could be acknowledged.
    let waits = event.ack_ttl.filter(|_| event.mode == Mode::Stream && !event_id.is_empty());
    cmd.arg(waits.map_or(0, |ttl| append.ts_ms.saturating_add(ttl.as_millis() as u64))).arg(event_id);
}

/// The answer to a batch: what became of each event. `None` if that is not an answer to it.
pub(super) fn appended(batch: u64, parts: &[Part], answer: &Value) -> Option<Vec<Appended>> {
    let mut words = text(answer)?.split(' ');
    if words.next()?.parse() != Ok(batch) {
        return None;
    }
    let mut appended = Vec::new();
    for part in parts {
        let (_, epoch): (_, Arc<str>) = (words.next()?, words.next()?.into());
        for append in &part.events {
            let outcome = match record::verdict(words.next()?)? {
                Verdict::Placed(outcome, number) => Ok(Placed { outcome, number, epoch: Arc::clone(&epoch) }),
                refused => Err(refusal(refused, append)),
            };
            appended.push(Appended { id: append.id, outcome });
        }
    }
    Some(appended)
}

fn refusal(verdict: Verdict, Append { event, .. }: &Append) -> Refusal {
    match verdict {
        Verdict::OtherLane => {
            let message =
                format!("`{}` is a state of another lane in room `{}`; it cannot change to `{}`", event.kind, event.room, event.lane);
            Refusal::new(CATALOG_CONFLICT, message)
        }
        Verdict::TooManyKeys => {
            let message =
                format!("room `{}` has {KEYS_PER_ROOM_MAX} keys, which is all it may: delete some, or use more rooms", event.room);
            Refusal::new(OVER_CAPACITY, message)
        }
        Verdict::TooManyRooms => {
            let message = format!(
                "Redis has as many rooms as the nodes may share, so that `{}` cannot be added: raise --max-rooms on all nodes, or use fewer rooms",
                event.room
            );
            Refusal::new(OVER_CAPACITY, message)
        }
        Verdict::OtherOwner | Verdict::Placed(..) => {
            let given = event.owner.as_deref().unwrap_or_default();
            let message = format!("room `{}` belongs to another owner than `{given}`; the first owner sticks", event.room);
            Refusal::new(OWNER_CONFLICT, message)
        }
    }
}

/// Asks for all that is known of a room.
pub(super) fn room(sha: &str, keys: &Keys, name: &str) -> Cmd {
    let mut cmd = script(sha, 7);
    cmd.arg(keys.meta()).arg(keys.room(name)).arg(keys.states(name)).arg(keys.waits(name));
    for lane in Lane::ALL {
        cmd.arg(keys.log(lane, name));
    }
    cmd.arg(NEWEST_EVENTS);
    cmd
}

/// The answer.
pub(super) fn known_room(shard: u16, name: &str, answer: &Value) -> Option<KnownRoom> {
    let [feed, fields, states, waits, logs @ ..] = array(answer)? else { return None };
    let mut known = KnownRoom { name: name.into(), place: text(feed)?.parse().ok()?, ..KnownRoom::default() };
    for (field, value) in pairs(fields)? {
        match field.split_at_checked(1)? {
            ("o", "wner") => known.owner = Some(value.into()),
            ("h", lane) => known_stream(&mut known, lane)?.head = value.parse().ok()?,
            ("e", lane) => known_stream(&mut known, lane)?.starts = record::starts(shard, value)?,
            ("y", lane) => known_stream(&mut known, lane)?.history = value.parse().ok()?,
            _ => {}
        }
    }
    for (stream, log) in known.lanes.iter_mut().zip(logs.chunks(2)) {
        let ([Value::Int(kept), newest], Some(stream)) = (log, stream) else { continue };
        stream.oldest = (stream.head + 1).saturating_sub(kept.cast_unsigned());
        for (seq, body) in entries(newest)?.into_iter().rev() {
            let body = record::body(body).filter(|_| seq <= stream.head)?;
            stream.newest.push((body.ts_ms, body.event));
        }
    }
    known.states = pairs(states)?.into_iter().filter_map(|(name, value)| record::state(name, value)).collect();
    // What is none of ours waits for nobody.
    known.waits = array(waits)?.iter().filter_map(|value| record::wait(shard, text(value)?)).collect();
    Some(known)
}

/// Waits until so many replicas have what was written on this connection, and says how many have.
pub(super) fn wait(replicas: u32) -> Cmd {
    let mut cmd = redis::cmd("WAIT");
    cmd.arg(replicas).arg(REPLICAS_MS);
    cmd
}

/// Has the store forget what waits no longer.
pub(super) fn settled(keys: &Keys, settled: &Settled) -> Cmd {
    let mut cmd = redis::cmd("HDEL");
    cmd.arg(keys.waits(&settled.room)).arg(&*settled.event_id);
    cmd
}

fn known_stream<'a>(room: &'a mut KnownRoom, lane: &str) -> Option<&'a mut KnownStream> {
    Some(room.lanes.get_mut(lane.parse::<usize>().ok()?)?.get_or_insert_default())
}

/// Says that a node is there for so long, or, for no time, that it is not any more.
pub(super) fn node(about: &str, during: Duration) -> Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(NODES_SCRIPT).arg(1).arg(NODES).arg(about).arg(during.as_millis() as u64);
    cmd
}

/// What each node says of itself.
pub(super) fn nodes(value: &Value) -> Option<Vec<Box<str>>> {
    array(value)?.iter().map(|about| text(about).map(Box::from)).collect()
}

/// Has the store keep what a user's ticket stands for, if the user may have one more.
pub(super) fn give_ticket(sha: &str, ticket: Ticket, user: &str, what: &str) -> Cmd {
    let mut cmd = script(sha, 2);
    cmd.arg(layout::ticket(&ticket.store_name())).arg(layout::tickets_of(user));
    cmd.arg(what).arg(TICKET_TTL.as_millis() as u64).arg(TICKETS_PER_USER_MAX);
    cmd
}

/// Has the store give up a ticket.
pub(super) fn take_ticket(sha: &str, ticket: Ticket) -> Cmd {
    let mut cmd = script(sha, 1);
    cmd.arg(layout::ticket(&ticket.store_name()));
    cmd
}

/// Says how many connections users have here. `former`: the contact begins, in the place of that one, if there was one.
pub(super) fn count_users(sha: &str, contact: &str, during: Duration, most: u32, former: Option<&str>, users: &[(Arc<str>, u32)]) -> Cmd {
    let mut cmd = script(sha, 2);
    cmd.arg(CONTACTS).arg(layout::users(contact)).arg(contact).arg(during.as_millis() as u64).arg(most);
    cmd.arg(u8::from(former.is_some())).arg(former.unwrap_or_default());
    for (user, here) in users {
        cmd.arg(&**user).arg(here);
    }
    cmd
}

/// The answer.
pub(super) fn counted(users: &[(Arc<str>, u32)], answer: &Value) -> Option<Counted> {
    let [Value::Int(store_ms), counts @ ..] = array(answer)? else { return Some(Counted::Unknown) };
    let count = |((_, here), pair): (&(Arc<str>, u32), &[Value])| match pair {
        [Value::Int(granted), Value::Int(heard_ms)] => {
            Some(Count { here: *here, granted: u32::try_from(*granted).ok()?, heard_ms: heard_ms.cast_unsigned() })
        }
        _ => None,
    };
    let counts: Vec<Count> = users.iter().zip(counts.chunks(2)).map(count).collect::<Option<_>>()?;
    (counts.len() == users.len()).then(|| Counted::At(store_ms.cast_unsigned(), counts))
}

/// What the contact has said counts no more.
pub(super) fn forget_contact(contact: &str) -> [Cmd; 2] {
    let (mut contacts, mut users) = (redis::cmd("ZREM"), redis::cmd("DEL"));
    contacts.arg(CONTACTS).arg(contact);
    users.arg(layout::users(contact));
    [contacts, users]
}

/// Asks which contacts there are.
pub(super) fn contacts() -> Cmd {
    let mut cmd = redis::cmd("ZRANGE");
    cmd.arg(CONTACTS).arg(0).arg(-1);
    cmd
}

/// Asks what one has said of a user.
pub(super) fn connections(contact: &str, user: &str) -> Cmd {
    let mut cmd = redis::cmd("HGET");
    cmd.arg(layout::users(contact)).arg(user);
    cmd
}

/// Adds a revocation to those of all nodes, which are as many as one node holds.
pub(super) fn revoke(json: &str) -> Cmd {
    let mut cmd = redis::cmd("XADD");
    cmd.arg(REVOCATIONS).arg("MAXLEN").arg("~").arg(REVOCATIONS_MAX).arg("*").arg("j").arg(json);
    cmd
}

/// Asks for all revocations.
pub(super) fn revocations() -> Cmd {
    let mut cmd = redis::cmd("XRANGE");
    cmd.arg(REVOCATIONS).arg("-").arg("+");
    cmd
}

/// Revocations, and the last one's id.
pub(super) fn revoked(value: &Value) -> Option<(Vec<&str>, Option<&str>)> {
    let mut last = None;
    let mut each = |value| {
        let [id, fields] = array(value)? else { return None };
        let [_, json] = array(fields)? else { return None };
        last = Some(text(id)?);
        text(json)
    };
    let all = array(value)?.iter().map(&mut each).collect::<Option<Vec<_>>>()?;
    Some((all, last))
}

// ---- values --------------------------------------------------------------------------------------------------------

pub(super) fn array(value: &Value) -> Option<&[Value]> {
    if let Value::Array(values) = value { Some(values) } else { None }
}

pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A hash as `HGETALL` gives it.
fn pairs(value: &Value) -> Option<Vec<(&str, &str)>> {
    array(value)?.chunks_exact(2).map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect()
}

/// Entries of a stream whose ids are plain numbers and which have one field.
pub(super) fn entries(value: &Value) -> Option<Vec<(u64, &str)>> {
    array(value)?.iter().map(entry).collect()
}

fn entry(value: &Value) -> Option<(u64, &str)> {
    let [id, fields] = array(value)? else { return None };
    let [_, body] = array(fields)? else { return None };
    Some((text(id)?.split_once('-')?.0.parse().ok()?, text(body)?))
}
