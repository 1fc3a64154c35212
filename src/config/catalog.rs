//! `[[catalog]]` entries: how events of a type are routed, beyond the built-in table.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::lane::{Lane, Mode};
use crate::base::limits::{ACK_TTL, IDENT_BYTES_MAX};

use super::error::Origin;
use super::file::Parser;
use super::parse::duration;

/// What an entry may have.
const FIELDS: [&str; 11] =
    ["type", "room", "owner", "lane", "mode", "key", "history", "ack_required", "ack_ttl", "escalate_after", "local"];

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

/// Reads all entries, adding what is wrong to the parser's problems.
pub(super) fn parse(parser: &mut Parser<'_>, value: &Spanned<DeValue<'_>>) -> Vec<CatalogEntry> {
    let Some(items) = value.get_ref().as_array() else {
        parser.problem("catalog", &value.span(), "write each entry as a table under `[[catalog]]`".to_owned());
        return Vec::new();
    };
    let mut entries: Vec<CatalogEntry> = Vec::new();
    for item in items {
        let Some(entry) = Reader::new(parser, item).and_then(Reader::entry) else { continue };
        if let Some(first) = entries.iter().find(|first| first.kind == entry.kind) {
            let message = format!("`{}` was already given at {}: keep one of the two", entry.kind, first.origin);
            parser.problem("catalog.type", &item.span(), message);
        }
        entries.push(entry);
    }
    entries
}

/// Reads one entry. Every field is read before the entry is given up, so that all problems show at once.
struct Reader<'p, 'a, 't> {
    parser: &'p mut Parser<'a>,
    table: &'t DeTable<'t>,
    span: Range<usize>,
    failed: bool,
}

impl<'p, 'a, 't> Reader<'p, 'a, 't> {
    fn new(parser: &'p mut Parser<'a>, item: &'t Spanned<DeValue<'t>>) -> Option<Reader<'p, 'a, 't>> {
        let Some(table) = item.get_ref().as_table() else {
            parser.problem("catalog", &item.span(), "write each entry as a table under `[[catalog]]`".to_owned());
            return None;
        };
        for name in table.keys().filter(|name| !FIELDS.contains(&name.get_ref().as_ref())) {
            parser.unknown(name, FIELDS.into_iter().map(str::to_owned));
        }
        Some(Reader { parser, table, span: item.span(), failed: false })
    }

    fn entry(mut self) -> Option<CatalogEntry> {
        let kind = self.required("type", type_pattern);
        let room = self.required("room", template);
        let owner = self.optional("owner", field);
        let lane = self.required("lane", |text| Lane::parse(text).ok_or_else(|| names(text, "lane", Lane::ALL.map(Lane::name))));
        let mode = self.required("mode", |text| Mode::parse(text).ok_or_else(|| names(text, "mode", Mode::ALL.map(Mode::name))));
        let key = self.optional("key", field);
        let history = self.history();
        self.only_with("key", mode, Mode::State);
        self.only_with("history", mode, Mode::Stream);
        let ack_ttl = self.ack_ttl();
        self.only_with("ack_required", mode, Mode::Stream);
        let escalate_after = self.escalate_after(ack_ttl);
        let is_local = self.is_local(room.as_deref());
        if self.failed {
            return None;
        }
        let origin = self.parser.origin(&self.span);
        let (kind, room, lane, mode) = (kind?, room?, lane?, mode?);
        Some(CatalogEntry { kind, room, owner, lane, mode, key, history, ack_ttl, escalate_after, is_local, origin })
    }

    fn required<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        if !self.table.contains_key(name) {
            self.fail(name, &self.span.clone(), "this entry has none: every entry needs `type`, `room`, `lane` and `mode`".to_owned());
        }
        self.optional(name, parse)
    }

    fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.table.get(name)?;
        let parsed = match value.get_ref().as_str() {
            Some(text) => parse(text),
            None => Err(format!("found {} where a string belongs", value.get_ref().type_str())),
        };
        parsed.map_err(|message| self.fail(name, &value.span(), message)).ok()
    }

    fn history(&mut self) -> u16 {
        let Some(value) = self.table.get("history") else { return 0 };
        let number = value.get_ref().as_integer().and_then(|number| number.to_string().parse().ok());
        if number.is_none() {
            self.fail("history", &value.span(), format!("write an integer from 0 to {}", u16::MAX));
        }
        number.unwrap_or(0)
    }

    /// How long an event waits for its acknowledgment, if it does.
    fn ack_ttl(&mut self) -> Option<Duration> {
        let ttl = self.optional("ack_ttl", duration(ACK_TTL_LEAST..=ACK_TTL_MOST));
        let value = self.table.get("ack_required");
        let is_required = value.map(|value| value.get_ref().as_bool());
        match is_required {
            Some(None) => self.fail("ack_required", &value.map_or(0..0, Spanned::span), "write `true` or `false`".to_owned()),
            Some(Some(true)) => return Some(ttl.unwrap_or(ACK_TTL)),
            Some(Some(false)) | None if self.table.contains_key("ack_ttl") => {
                let message = "only types with `ack_required = true` have one: remove it, or require acknowledgments".to_owned();
                self.fail("ack_ttl", &self.table.get("ack_ttl").map_or(0..0, Spanned::span), message);
            }
            Some(Some(false)) | None => {}
        }
        None
    }

    /// When the webhook is told, if the type has a time of its own.
    fn escalate_after(&mut self, ack_ttl: Option<Duration>) -> Option<Duration> {
        let after = self.optional("escalate_after", duration(ACK_TTL_LEAST..=ACK_TTL_MOST))?;
        let problem = match ack_ttl {
            None => "only types with `ack_required = true` have one: remove it, or require acknowledgments",
            Some(ttl) if after >= ttl => "an event waits no longer than `ack_ttl`: give a shorter time, or lengthen that",
            Some(_) => return Some(after),
        };
        self.fail("escalate_after", &self.table.get("escalate_after").map_or(0..0, Spanned::span), problem.to_owned());
        None
    }

    /// Whether the rooms are the node's own; their names must tell.
    fn is_local(&mut self, room: Option<&str>) -> bool {
        let Some(value) = self.table.get("local") else { return false };
        let is_local = value.get_ref().as_bool();
        if is_local.is_none() {
            self.fail("local", &value.span(), "write `true` or `false`".to_owned());
        }
        if is_local == Some(true) && room.is_some_and(|room| room.starts_with('{')) {
            self.fail(
                "local",
                &value.span(),
                "the names of local rooms must begin alike: begin `room` with text, such as `desk:{id}`".to_owned(),
            );
        }
        is_local == Some(true)
    }

    fn only_with(&mut self, name: &str, mode: Option<Mode>, wanted: Mode) {
        let Some(value) = self.table.get(name) else { return };
        if mode.is_some_and(|mode| mode != wanted) {
            self.fail(name, &value.span(), format!("only mode `{}` has one: remove it, or change the mode", wanted.name()));
        }
    }

    fn fail(&mut self, name: &str, span: &Range<usize>, message: String) {
        self.failed = true;
        self.parser.problem(&format!("catalog.{name}"), span, message);
    }
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
