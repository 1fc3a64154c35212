//! Publish lines: one JSON object each, with a typed envelope around `data`, which stays the publisher's own bytes.

use std::borrow::Cow;

use crate::base::codes::{INVALID_FIELD, Refusal, TOO_LARGE};
use crate::base::lane::{Lane, Mode};
use crate::base::limits::PUBLISH_BYTES_MAX;
use crate::wire::json::reader::Reader;
use crate::wire::json::{self, Scanned};
use crate::wire::request_id::RequestId;

/// A publish as its publisher wrote it, checked; the catalog makes an event of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft<'a> {
    /// The `type`.
    pub kind: Cow<'a, str>,
    /// Echoed in the answer.
    pub id: Option<RequestId>,
    /// Raw JSON, byte for byte the publisher's, but for CR and LF between tokens, which are spaces here.
    pub data: Cow<'a, str>,
    /// Where it goes, if not where the catalog says.
    pub room: Option<Cow<'a, str>>,
    /// The lane, for a type outside the catalog.
    pub lane: Option<Lane>,
    /// The mode, for a type outside the catalog.
    pub mode: Option<Mode>,
    /// The key, if not the catalog's.
    pub key: Option<Cow<'a, str>>,
    /// Makes the publish idempotent.
    pub event_id: Option<Cow<'a, str>>,
    /// Makes a stale one harmless.
    pub version: Option<u64>,
    /// Who owns the room, if not whom the catalog says.
    pub owner: Option<Cow<'a, str>>,
    /// The publisher does not want to wait for the journal.
    pub ack_memory: bool,
    /// The members of `data` that were asked for, in their order there: strings as they are, integers as their digits.
    /// One that is neither is left out.
    pub fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// A line or a command that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its `id`, if that could be read.
    pub id: Option<RequestId>,
    /// The `type`, likewise; of a command, nothing.
    pub kind: Option<Box<str>>,
    /// Why.
    pub refusal: Refusal,
}

/// Reads one publish line. `wanted` names the members of `data` that the catalog's templates refer to.
///
/// Unknown members of the envelope are ignored, but held to the same rules as `data`; `null` is as good as absent there.
pub fn parse<'a>(line: &'a [u8], wanted: &[String]) -> Result<Draft<'a>, Box<Rejected>> {
    let mut envelope = Envelope::default();
    let outcome = envelope.read(line, wanted).and_then(|()| envelope.draft(wanted));
    outcome.map_err(|refusal| {
        let kind = envelope.identifier(TYPE).ok().flatten().map(|kind| Box::from(&*kind));
        Box::new(Rejected { id: envelope.id().ok().flatten(), kind, refusal })
    })
}

/// The envelope's members, by their place in [`NAMES`].
#[derive(Default)]
struct Envelope<'a> {
    known: [Option<&'a str>; NAMES.len()],
    unknown_keys: Vec<json::Key<'a>>,
    /// Those that are to be checked yet.
    unknown_values: Vec<&'a str>,
    /// A known member that is there twice.
    twice: Option<&'static str>,
    /// What is in `data`, if that was checked already.
    scanned: Option<Scanned<'a>>,
}

const NAMES: [&str; 11] = ["type", "data", "id", "room", "key", "lane", "mode", "event_id", "version", "owner", "ack"];
const TYPE: usize = 0;
const DATA: usize = 1;
const ID: usize = 2;
const ROOM: usize = 3;
const KEY: usize = 4;
const LANE: usize = 5;
const MODE: usize = 6;
const EVENT_ID: usize = 7;
const VERSION: usize = 8;
const OWNER: usize = 9;
const ACK: usize = 10;

/// Where [`NAMES`] has it.
fn place(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

impl<'a> Envelope<'a> {
    fn read(&mut self, line: &'a [u8], wanted: &[String]) -> Result<(), Refusal> {
        if line.len() > PUBLISH_BYTES_MAX {
            self.read_start(&line[..PUBLISH_BYTES_MAX]);
            let message = format!("the line has {} bytes, and {PUBLISH_BYTES_MAX} are allowed: send less", line.len());
            return Err(Refusal::new(TOO_LARGE, message));
        }
        let text = json::utf8(line)?;
        self.read_at_once(text, wanted).or_else(|_| self.read_again(text))
    }

    /// Reads and checks in one walk, which ends at the first fault of any kind.
    fn read_at_once(&mut self, text: &'a str, wanted: &[String]) -> json::reader::Read<()> {
        let mut reader = Reader::new("the line", text);
        reader.only_object(|reader, name| match place(&name) {
            Some(DATA) => {
                let mut scanned = Scanned::default();
                reader.take_breaks();
                self.put(DATA, reader.picked(wanted, &mut scanned.fields)?);
                scanned.has_breaks = reader.take_breaks();
                self.scanned = Some(scanned);
                Ok(())
            }
            Some(at) => {
                self.put(at, reader.raw()?);
                Ok(())
            }
            None => {
                self.unknown_keys.push(json::Key::new(name));
                reader.raw().map(drop)
            }
        })
    }

    /// Reads a line with a fault once more, for what the publisher is told: a fault in the grammar goes before all others, then the
    /// envelope's go before those of `data`, and the `id` may be behind the fault.
    #[cold]
    fn read_again(&mut self, text: &'a str) -> Result<(), Refusal> {
        *self = Envelope::default();
        json::skim(text, |name, value| self.put_unchecked(name, value))
    }

    /// Reads as far as it goes, for the `id`.
    #[cold]
    fn read_start(&mut self, start: &'a [u8]) {
        let text = start.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        // The line is refused anyhow, and this error would say no more than that it is cut.
        drop(json::skim(text, |name, value| self.put_unchecked(name, value)));
    }

    fn put_unchecked(&mut self, name: Cow<'a, str>, value: &'a str) {
        if let Some(at) = place(&name) {
            return self.put(at, value);
        }
        self.unknown_keys.push(json::Key::new(name));
        self.unknown_values.push(value);
    }

    fn put(&mut self, at: usize, value: &'a str) {
        if self.known[at].is_some() {
            self.twice = self.twice.or(Some(NAMES[at]));
        } else {
            self.known[at] = Some(value);
        }
    }

    fn draft(&mut self, wanted: &[String]) -> Result<Draft<'a>, Refusal> {
        self.check_unknown()?;
        let kind = self.identifier(TYPE)?.ok_or_else(|| json::missing("type"))?;
        let data = self.known[DATA].ok_or_else(|| json::missing("data"))?;
        let scanned = self.scanned.take().map_or_else(|| json::scan("`data`", data, wanted), Ok)?;
        Ok(Draft {
            kind,
            id: self.id()?,
            data: if scanned.has_breaks { data.replace(['\r', '\n'], " ").into() } else { data.into() },
            room: self.identifier(ROOM)?,
            lane: self.named(LANE, Lane::parse, "`alert`, `update` or `metric`")?,
            mode: self.named(MODE, Mode::parse, "`stream`, `state` or `transient`")?,
            key: self.identifier(KEY)?,
            event_id: self.identifier(EVENT_ID)?,
            version: self.version()?,
            owner: self.identifier(OWNER)?,
            ack_memory: self.named(ACK, wants_memory_ack, "`memory` or `durable`")?.unwrap_or(false),
            fields: scanned.fields,
        })
    }

    fn check_unknown(&mut self) -> Result<(), Refusal> {
        if let Some(name) = self.twice {
            return Err(json::twice("the line", name));
        }
        if let Some(key) = json::duplicate(&mut self.unknown_keys) {
            return Err(json::twice("the line", &key.text));
        }
        self.unknown_values.iter().try_for_each(|value| json::scan("an unknown member", value, &[]).map(drop))
    }

    fn given(&self, at: usize) -> Option<&'a str> {
        self.known[at].filter(|raw| *raw != "null")
    }

    fn id(&self) -> Result<Option<RequestId>, Refusal> {
        json::request_id(self.known[ID])
    }

    fn identifier(&self, at: usize) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.given(at).map(|raw| json::identifier(NAMES[at], raw)).transpose()
    }

    fn named<T>(&self, at: usize, parse: fn(&str) -> Option<T>, choices: &str) -> Result<Option<T>, Refusal> {
        let Some(raw) = self.given(at) else {
            return Ok(None);
        };
        let value = json::string(raw).and_then(|name| parse(&name));
        value.map(Some).ok_or_else(|| Refusal::new(INVALID_FIELD, format!("`{}` must be {choices}", NAMES[at])))
    }

    fn version(&self) -> Result<Option<u64>, Refusal> {
        let version = self.given(VERSION).map(|raw| raw.parse().ok()).map(|version| version.ok_or(()));
        version.transpose().map_err(|()| Refusal::new(INVALID_FIELD, "`version` must be an integer from 0 to 18446744073709551615"))
    }
}

fn wants_memory_ack(name: &str) -> Option<bool> {
    match name {
        "memory" => Some(true),
        "durable" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
