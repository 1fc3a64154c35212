//! The commands of clients: small JSON texts, a closed set of verbs.

use std::borrow::Cow;
use std::fmt;

use simd_json::prelude::{TypedScalarValue, ValueAsScalar};
use simd_json::tape::{Object, Value};

use crate::base::codes::{BAD_JSON, INVALID_FIELD, Refusal, TOO_LARGE, UNKNOWN_TYPE};
use crate::base::ident::is_identifier;
use crate::base::lane::{Lane, PerLane};
use crate::base::limits::COMMAND_BYTES_MAX;
use crate::wire::event::Rejected;
use crate::wire::json;
use crate::wire::request_id::RequestId;
use crate::wire::sample::Sample;

/// What a client asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// The first token of this connection, or a newer one.
    Auth {
        /// Echoed in the answer.
        id: Option<RequestId>,
        /// The token, not verified.
        token: String,
    },
    /// Become a member of a room.
    Subscribe {
        /// Echoed in the answer.
        id: Option<RequestId>,
        /// An identifier.
        room: String,
        /// Resume from here.
        since: Option<SinceText>,
        /// Replay so many past events of each lane.
        history: Option<u32>,
        /// Changes of states as merge patches, where that is shorter.
        delta: bool,
        /// Not each change of each state.
        sample: Option<Box<Sample>>,
    },
    /// Be a member no more.
    Unsubscribe {
        /// Echoed in the answer.
        id: Option<RequestId>,
        /// An identifier.
        room: String,
    },
    /// The full states of a room.
    Snapshot {
        /// Echoed in the answer.
        id: Option<RequestId>,
        /// An identifier.
        room: String,
        /// Not the states, but a digest of them.
        digest: bool,
    },
    /// To be answered by a pong.
    Ping {
        /// Echoed in the answer.
        id: Option<RequestId>,
    },
    /// The user has taken note of one event that wanted that.
    Ack {
        /// Echoed in the answer.
        id: Option<RequestId>,
        /// An identifier.
        event_id: String,
    },
    /// The user has taken note of all that a lane of a room pushed up to a number. Not answered.
    AckUpTo(UpTo),
    /// Its `type` is no verb: a publish line, if this connection may publish; else refuse it by [`unknown_type`]. The text
    /// is as it was.
    Publish,
}

impl Command {
    /// Its verb's place in [`VERBS`]; none for [`Command::Publish`], which has another `type`.
    pub fn verb(&self) -> Option<usize> {
        let verb = match self {
            Command::Auth { .. } => "auth",
            Command::Subscribe { .. } => "subscribe",
            Command::Unsubscribe { .. } => "unsubscribe",
            Command::Snapshot { .. } => "snapshot",
            Command::Ack { .. } | Command::AckUpTo(_) => "ack",
            Command::Ping { .. } => "ping",
            Command::Publish => return None,
        };
        VERBS.iter().position(|known| *known == verb)
    }
}

/// Shows all but tokens, which no log may have.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Auth { id, token: _ } => f.debug_struct("Auth").field("id", id).finish_non_exhaustive(),
            Command::Subscribe { id, room, since, history, delta, sample } => {
                let mut shown = f.debug_struct("Subscribe");
                shown.field("id", id).field("room", room).field("since", since).field("history", history);
                shown.field("delta", delta).field("sample", sample).finish()
            }
            Command::Unsubscribe { id, room } => f.debug_struct("Unsubscribe").field("id", id).field("room", room).finish(),
            Command::Snapshot { id, room, digest } => {
                f.debug_struct("Snapshot").field("id", id).field("room", room).field("digest", digest).finish()
            }
            Command::Ping { id } => f.debug_struct("Ping").field("id", id).finish(),
            Command::Ack { id, event_id } => f.debug_struct("Ack").field("id", id).field("event_id", event_id).finish(),
            Command::AckUpTo(up_to) => f.debug_tuple("AckUpTo").field(up_to).finish(),
            Command::Publish => f.write_str("Publish"),
        }
    }
}

/// A position as the client gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinceText {
    /// The history in which `seq` counts.
    pub epoch: String,
    /// The last `seq` that the client has, for each lane it names.
    pub seq: PerLane<Option<u64>>,
}

/// A position that the client has taken note of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpTo {
    /// An identifier.
    pub room: String,
    /// The lane.
    pub lane: Lane,
    /// The history in which `seq` counts.
    pub epoch: String,
    /// The last number.
    pub seq: u64,
}

type Verb = fn(&mut Option<RequestId>, &Object<'_, '_>) -> Result<Command, Refusal>;

/// The dispatcher: a verb is what stands here, and nothing else.
const TABLE: [(&str, Verb); 6] =
    [("auth", auth), ("subscribe", subscribe), ("unsubscribe", unsubscribe), ("snapshot", snapshot), ("ack", ack), ("ping", ping)];

/// The verbs, for the welcome's capabilities.
pub const VERBS: &[&str] = &{
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        names[at] = TABLE[at].0;
        at += 1;
    }
    names
};

/// What the verbs take beyond their room, where a client had better know it beforehand; for the welcome's capabilities.
pub const OPTIONS: &[&str] = &[DELTA, EVERY, DIGEST];

/// Options of `subscribe`.
const DELTA: &str = "delta";
const EVERY: &str = "every_ms";
/// The option of `snapshot`.
const DIGEST: &str = "digest";

/// Reads one command. `text` is parsed in place and has no meaning afterwards, but for [`Command::Publish`], which leaves it
/// as it was.
pub fn parse(text: &mut [u8]) -> Result<Command, Box<Rejected>> {
    let start = Start::read(text);
    let verb = start.verb().map_err(|refusal| Box::new(start.rejected(refusal)))?;
    let Some(verb) = verb else {
        return Ok(Command::Publish);
    };
    let mut id = json::request_id(start.id).map_err(|refusal| Box::new(start.rejected(refusal)))?;
    run(verb, &mut id, text).map_err(|refusal| Box::new(Rejected { id, kind: None, refusal }))
}

/// The refusal of a text for which [`parse`] says [`Command::Publish`], on a connection that may not publish.
#[cold]
pub fn unknown_type(text: &[u8]) -> Rejected {
    let message = format!("`type` must be one of {}: this connection may send no other", VERBS.join(", "));
    Start::read(text).rejected(Refusal::new(UNKNOWN_TYPE, message))
}

/// What is read before it is known whether this is a command at all; of half a text, as far as it goes.
struct Start<'a> {
    kind: Option<Cow<'a, str>>,
    /// Raw JSON.
    id: Option<&'a str>,
    /// Whether all of it is one JSON object.
    outcome: Result<(), Refusal>,
}

impl<'a> Start<'a> {
    fn read(text: &'a [u8]) -> Start<'a> {
        let (mut kind, mut id) = (None, None);
        let outcome = json::utf8(text).and_then(|text| {
            json::skim(text, |name, value| match &*name {
                "type" => kind = json::string(value),
                "id" => id = Some(value),
                _ => {}
            })
        });
        Start { kind, id, outcome }
    }

    /// None if the type is no verb.
    fn verb(&self) -> Result<Option<Verb>, Refusal> {
        self.outcome.clone()?;
        let name = self.kind.as_deref().ok_or_else(no_type)?;
        Ok(TABLE.iter().find(|(known, _)| *known == name).map(|(_, verb)| *verb))
    }

    #[cold]
    fn rejected(&self, refusal: Refusal) -> Rejected {
        Rejected { id: json::request_id(self.id).ok().flatten(), kind: None, refusal }
    }
}

/// Leaves the `id` where it is if the command is refused.
fn run(verb: Verb, id: &mut Option<RequestId>, text: &mut [u8]) -> Result<Command, Refusal> {
    if text.len() > COMMAND_BYTES_MAX {
        return Err(Refusal::new(TOO_LARGE, format!("a command may have {COMMAND_BYTES_MAX} bytes: send less")));
    }
    json::scan("the command", json::utf8(text)?, &[])?;
    let tape = simd_json::to_tape(text).map_err(|error| not_taken(&error))?;
    let members = tape.as_value().as_object().ok_or_else(no_type)?;
    verb(id, &members)
}

fn auth(id: &mut Option<RequestId>, members: &Object<'_, '_>) -> Result<Command, Refusal> {
    let token = given(members, "token").ok_or_else(|| json::missing("token"))?;
    let token = token.as_str().filter(|token| !token.is_empty()).ok_or_else(|| invalid("`token` must be a token, as a string"))?;
    Ok(Command::Auth { token: token.to_owned(), id: id.take() })
}

fn subscribe(id: &mut Option<RequestId>, members: &Object<'_, '_>) -> Result<Command, Refusal> {
    let room = room(members)?;
    let since = given(members, "since").map(since).transpose()?;
    let history = given(members, "history").map(history).transpose()?;
    let delta = switch(members, DELTA)?;
    let sample = sample(members)?;
    Ok(Command::Subscribe { id: id.take(), room, since, history, delta, sample })
}

fn unsubscribe(id: &mut Option<RequestId>, members: &Object<'_, '_>) -> Result<Command, Refusal> {
    Ok(Command::Unsubscribe { room: room(members)?, id: id.take() })
}

fn snapshot(id: &mut Option<RequestId>, members: &Object<'_, '_>) -> Result<Command, Refusal> {
    Ok(Command::Snapshot { room: room(members)?, digest: switch(members, DIGEST)?, id: id.take() })
}

// The shape that the table asks for.
#[allow(clippy::unnecessary_wraps)]
fn ping(id: &mut Option<RequestId>, _: &Object<'_, '_>) -> Result<Command, Refusal> {
    Ok(Command::Ping { id: id.take() })
}

/// Of one event, by its `event_id`; or of all up to a position, which has no answer.
fn ack(id: &mut Option<RequestId>, members: &Object<'_, '_>) -> Result<Command, Refusal> {
    if let Some(event_id) = given(members, "event_id") {
        if let Some(name) = ["room", "lane", "epoch", "seq"].into_iter().find(|name| given(members, name).is_some()) {
            return Err(invalid(format!("`event_id` acknowledges one event, `{name}` all up to a position: give one of the two")));
        }
        return Ok(Command::Ack { event_id: identifier("event_id", event_id)?, id: id.take() });
    }
    if id.is_some() {
        return Err(invalid("an `ack` of a position has no answer: leave `id` out, or acknowledge one event by its `event_id`"));
    }
    let lane = given(members, "lane").ok_or_else(|| json::missing("lane"))?;
    let lane = lane.as_str().and_then(Lane::parse).ok_or_else(|| invalid("`lane` must be `alert`, `update` or `metric`"))?;
    let epoch = given(members, "epoch").ok_or_else(|| json::missing("epoch"))?;
    let seq = given(members, "seq").ok_or_else(|| json::missing("seq"))?;
    let seq = seq.as_u64().ok_or_else(|| invalid("`seq` must be an integer, 0 or more"))?;
    Ok(Command::AckUpTo(UpTo { room: room(members)?, lane, epoch: identifier("epoch", epoch)?, seq }))
}

/// A member that is there and not `null`.
fn given<'t, 'i>(members: &Object<'t, 'i>, name: &str) -> Option<Value<'t, 'i>> {
    members.get(name).filter(|value| !value.is_null())
}

fn room(members: &Object<'_, '_>) -> Result<String, Refusal> {
    let room = given(members, "room").ok_or_else(|| json::missing("room"))?;
    identifier("room", room)
}

fn identifier(name: &str, value: Value<'_, '_>) -> Result<String, Refusal> {
    let text = value.as_str().filter(|text| is_identifier(text));
    text.map(str::to_owned).ok_or_else(|| json::not_identifier(name))
}

fn since(value: Value<'_, '_>) -> Result<SinceText, Refusal> {
    let members = value.as_object().ok_or_else(|| invalid("`since` must be an object with `epoch` and `seq`"))?;
    let epoch = given(&members, "epoch").ok_or_else(|| json::missing("since.epoch"))?;
    let seq = given(&members, "seq").ok_or_else(|| json::missing("since.seq"))?;
    let seq = seq.as_object().ok_or_else(|| invalid("`since.seq` must be an object with a number for each lane"))?;
    let mut position = SinceText { epoch: identifier("since.epoch", epoch)?, seq: [None; Lane::COUNT] };
    for lane in Lane::ALL {
        position.seq[lane.index()] = given(&seq, lane.name()).map(|value| seq_of(lane, value)).transpose()?;
    }
    Ok(position)
}

fn seq_of(lane: Lane, value: Value<'_, '_>) -> Result<u64, Refusal> {
    value.as_u64().ok_or_else(|| invalid(format!("`since.seq.{lane}` must be an integer, 0 or more")))
}

fn history(value: Value<'_, '_>) -> Result<u32, Refusal> {
    value.as_u32().ok_or_else(|| invalid("`history` must be an integer from 0 to 4294967295"))
}

/// What is wanted of the room's states, if not all of them as they come.
fn sample(members: &Object<'_, '_>) -> Result<Option<Box<Sample>>, Refusal> {
    // Something that is no array is no list of names either: it has one, which is no text.
    let text = |value: Value<'_, '_>| value.as_str().map(str::to_owned);
    let names = |name| given(members, name).map(|value| value.as_array().map_or_else(|| vec![None], |all| all.iter().map(text).collect()));
    Sample::new(given(members, EVERY).map(|value| value.as_u64()), names("types"), names("keys"))
}

/// A member that is true or false, and false if it is not there.
fn switch(members: &Object<'_, '_>, name: &str) -> Result<bool, Refusal> {
    given(members, name).map_or(Ok(false), |value| value.as_bool().ok_or_else(|| invalid(format!("`{name}` must be true or false"))))
}

#[cold]
fn invalid(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(INVALID_FIELD, message.into())
}

#[cold]
fn no_type() -> Refusal {
    invalid(format!("`type` is missing or no string: give one of {}", VERBS.join(", ")))
}

/// JSON by its grammar, but with a number or a string that the parser does not take.
#[cold]
fn not_taken(error: &simd_json::Error) -> Refusal {
    Refusal::new(BAD_JSON, format!("a number or a string in the command cannot be taken ({error}): integers have at most 64 bits"))
}

#[cfg(test)]
mod tests;
