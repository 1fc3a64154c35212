//! `[[catalog]]` entries: how events of a type are routed, beyond the built-in table.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::base::lane::{Lane, Mode};
use crate::base::limits::{ACK_TTL, IDENT_BYTES_MAX};

use super::entry::{EntryReader, Section, string, switch};
use super::error::Origin;
use super::file::Parser;
use super::parse::duration;

/// The bounds of `ack_ttl`.
const ACK_TTL_LEAST: Duration = Duration::from_secs(1);
const ACK_TTL_MOST: Duration = Duration::from_secs(366 * 24 * 3600);

/// How events of one type, or of all types with a prefix, are routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The type, or a prefix of types that ends in `*`.
    pub kind: String,
    /// The room: text with `{field}` where a member of `data` goes.
    pub room: String,
    /// The member of `data` that names the owner.
    pub owner: Option<String>,
    /// Delivery priority.
    pub lane: Lane,
    /// Delivery guarantee.
    pub mode: Mode,
    /// The member of `data` that is the key, for `state`; without one, a room has one state of the type.
    pub key: Option<String>,
    /// How many past events a late joiner gets unasked, for `stream`.
    pub history: u16,
    /// The user is to acknowledge each event within this, for `stream` types of users' rooms.
    pub ack_ttl: Option<Duration>,
    /// The webhook is told of an event that was not acknowledged for so long; `None`: after the time for all.
    pub escalate_after: Option<Duration>,
    /// Rooms whose names begin as the template does are this node's own, also where several nodes share the others.
    pub is_local: bool,
    /// Where it is written.
    pub origin: Origin,
}

const SECTION: Section<CatalogEntry> = Section {
    name: "catalog",
    entry: "entry",
    fields: &["type", "room", "owner", "lane", "mode", "key", "history", "ack_required", "ack_ttl", "escalate_after", "local"],
    key: ("type", |entry| &entry.kind),
    remedy: "keep one of the two",
    origin: |entry| &entry.origin,
};

/// Reads all entries, adding what is wrong to the parser's problems.
pub(super) fn parse(parser: &mut Parser<'_>, value: &Spanned<DeValue<'_>>) -> Vec<CatalogEntry> {
    SECTION.parse(parser, value, entry)
}

fn entry(mut reader: EntryReader<'_, '_, '_>) -> Option<CatalogEntry> {
    reader.require(&["type", "room", "lane", "mode"], "this entry has none: every entry needs `type`, `room`, `lane` and `mode`");
    let kind = reader.optional("type", text(type_pattern));
    let room = reader.optional("room", text(template));
    let owner = reader.optional("owner", text(field));
    let lane = reader.optional("lane", text(|text| Lane::parse(text).ok_or_else(|| names(text, "lane", Lane::ALL.map(Lane::name)))));
    let mode = reader.optional("mode", text(|text| Mode::parse(text).ok_or_else(|| names(text, "mode", Mode::ALL.map(Mode::name)))));
    let key = reader.optional("key", text(field));
    let history = reader.optional("history", history).unwrap_or(0);
    only_with(&mut reader, "key", mode, Mode::State);
    only_with(&mut reader, "history", mode, Mode::Stream);
    let ack_ttl = ack_ttl(&mut reader);
    only_with(&mut reader, "ack_required", mode, Mode::Stream);
    let escalate_after = escalate_after(&mut reader, ack_ttl);
    let is_local = is_local(&mut reader, room.as_deref());
    let origin = reader.finish()?;
    let (kind, room, lane, mode) = (kind?, room?, lane?, mode?);
    Some(CatalogEntry { kind, room, owner, lane, mode, key, history, ack_ttl, escalate_after, is_local, origin })
}

fn history(value: &DeValue<'_>) -> Result<u16, String> {
    let number = value.as_integer().and_then(|number| number.to_string().parse().ok());
    number.ok_or_else(|| format!("write an integer from 0 to {}", u16::MAX))
}

/// How long an event waits for its acknowledgment, if it does.
fn ack_ttl(reader: &mut EntryReader<'_, '_, '_>) -> Option<Duration> {
    let ttl = reader.optional("ack_ttl", text(duration(ACK_TTL_LEAST..=ACK_TTL_MOST)));
    let is_required = reader.get("ack_required").map(|_| reader.optional("ack_required", switch));
    match is_required {
        Some(Some(true)) => return Some(ttl.unwrap_or(ACK_TTL)),
        Some(Some(false)) | None if reader.get("ack_ttl").is_some() => {
            reader.fail("ack_ttl", "only types with `ack_required = true` have one: remove it, or require acknowledgments");
        }
        _ => {}
    }
    None
}

/// When the webhook is told, if the type has a time of its own.
fn escalate_after(reader: &mut EntryReader<'_, '_, '_>, ack_ttl: Option<Duration>) -> Option<Duration> {
    let after = reader.optional("escalate_after", text(duration(ACK_TTL_LEAST..=ACK_TTL_MOST)))?;
    let problem = match ack_ttl {
        None => "only types with `ack_required = true` have one: remove it, or require acknowledgments",
        Some(ttl) if after >= ttl => "an event waits no longer than `ack_ttl`: give a shorter time, or lengthen that",
        Some(_) => return Some(after),
    };
    reader.fail("escalate_after", problem);
    None
}

/// Whether the rooms are the node's own; their names must tell.
fn is_local(reader: &mut EntryReader<'_, '_, '_>, room: Option<&str>) -> bool {
    let is_local = reader.optional("local", switch).unwrap_or(false);
    if is_local && room.is_some_and(|room| room.starts_with('{')) {
        reader.fail("local", "the names of local rooms must begin alike: begin `room` with text, such as `desk:{id}`");
    }
    is_local
}

fn only_with(reader: &mut EntryReader<'_, '_, '_>, name: &str, mode: Option<Mode>, wanted: Mode) {
    if reader.get(name).is_some() && mode.is_some_and(|mode| mode != wanted) {
        reader.fail(name, &format!("only mode `{}` has one: remove it, or change the mode", wanted.name()));
    }
}

/// Reads a string as that.
fn text<T>(parse: impl Fn(&str) -> Result<T, String>) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| parse(string(value)?)
}

fn names<const N: usize>(text: &str, what: &str, names: [&str; N]) -> String {
    format!("`{text}` is no {what}: write one of {}", names.join(", "))
}

fn type_pattern(text: &str) -> Result<String, String> {
    let prefix = text.strip_suffix('*').unwrap_or(text);
    if !prefix.is_empty() && text.len() <= IDENT_BYTES_MAX && prefix.bytes().all(is_identifier_byte) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no type: write {IDENT_BYTES_MAX} or fewer of A-Z a-z 0-9 _ . : % -, and `*` at the end at most"))
}

fn field(text: &str) -> Result<String, String> {
    if is_field(text) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no member of `data`: write its name, of A-Z a-z 0-9 _ -"))
}

/// Checks a room template: identifier bytes with `{field}` between them.
fn template(text: &str) -> Result<String, String> {
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').ok_or_else(|| format!("`{text}` is no room template: a `{{` has no `}}`"))?;
        if !is_field(name) || !literal.bytes().all(is_identifier_byte) {
            return Err(bad_template(text));
        }
        rest = tail;
    }
    if text.is_empty() || text.len() > IDENT_BYTES_MAX || !rest.bytes().all(is_identifier_byte) {
        return Err(bad_template(text));
    }
    Ok(text.to_owned())
}

fn bad_template(text: &str) -> String {
    format!(
        "`{text}` is no room template: write A-Z a-z 0-9 _ . : % - and members of `data` in braces, such as `challenge:{{challenge_id}}`"
    )
}

fn is_field(text: &str) -> bool {
    (1..=IDENT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

const fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'%' | b'-')
}
