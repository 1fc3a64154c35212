//! What an event type is: where it goes, in which lane, with which guarantee, whose it is.
//!
//! A default catalog is built in; a configuration adds types to it, or overrides one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::base::codes::{self, Refusal};
use crate::base::ident::{encode_segment, is_identifier};
use crate::base::lane::{Lane, Mode};
use crate::base::limits::{ACK_TTL, IDENT_BYTES_MAX};
use crate::wire::event::Draft;
use crate::wire::reply::RESERVED_TYPES;

use self::template::{Template, field};
use super::acks::USER_ROOM;
use super::ports::Event;

mod template;

/// One type, or a family of types whose names share a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The type; a final `*` stands for any rest.
    pub kind: String,
    /// Room templates such as `challenge:{challenge_id}`: the first whose members `data` has is taken.
    pub rooms: Vec<String>,
    /// The member of `data` that names the room's owner.
    pub owner: Option<String>,
    /// Delivery priority.
    pub lane: Lane,
    /// Delivery guarantee.
    pub mode: Mode,
    /// The member of `data` that is the key, for `state`; without one, a room has one state of this type.
    pub key: Option<String>,
    /// How many past events of the lane a late joiner gets unasked, for `stream`.
    pub history: u16,
    /// The user is to acknowledge each event within this, for `stream` types of users' rooms: see [`acks`](super::acks).
    pub ack_ttl: Option<Duration>,
}

/// Why an entry cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryError(pub String);

/// The table. See the module.
#[derive(Debug)]
pub struct Catalog {
    /// Publishers choose what is looked up, but only the configuration what is in it: a fast hash will do.
    exact: HashMap<String, Route, RandomState>,
    /// Families, the longest prefix first.
    families: Vec<Route>,
    /// The members of `data` that the templates, owners and keys refer to.
    wanted: Vec<String>,
}

/// An entry, prepared for use.
#[derive(Debug)]
struct Route {
    entry: Entry,
    rooms: Vec<Template>,
    /// An event of that type was published.
    is_used: AtomicBool,
    /// The type, or one of the family, is the protocol's own.
    may_be_reserved: bool,
}

impl Catalog {
    /// The built-in catalog with these entries added, or put in place of those of the same type.
    pub fn with(entries: Vec<Entry>) -> Result<Catalog, EntryError> {
        let mut catalog = Catalog { exact: HashMap::default(), families: Vec::new(), wanted: Vec::new() };
        for entry in built_in().into_iter().chain(entries) {
            catalog.add(entry)?;
        }
        Ok(catalog)
    }

    /// The members of `data` that [`Catalog::resolve`] may need.
    pub fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// The entry of a type.
    pub fn entry(&self, kind: &str) -> Option<&Entry> {
        self.route(kind).map(|route| &route.entry)
    }

    /// All entries, by type.
    pub fn entries(&self) -> Vec<&Entry> {
        let mut entries: Vec<&Entry> = self.routes().map(|route| &route.entry).collect();
        entries.sort_by(|a, b| a.kind.cmp(&b.kind));
        entries
    }

    /// The event that a published line means. Lane and mode of a type in the catalog are the catalog's alone; room, key and
    /// owner may be given in its place. A type outside it must give room and lane.
    pub fn resolve(&self, draft: &Draft<'_>) -> Result<Event, Refusal> {
        let event = match self.route(&draft.kind) {
            Some(route) => {
                let event = resolve_known(route, draft)?;
                route.mark_used();
                event
            }
            None => resolve_unknown(draft)?,
        };
        if event.mode != Mode::State {
            refuse_state_only(draft, &event)?;
        }
        Ok(event)
    }

    /// Takes the place of a catalog that is in use. Lane and mode of a type that was used do not change: its numbers, states and members are those of
    /// that lane. All that do are named.
    pub fn succeed(&self, before: &Catalog) -> Result<(), Vec<String>> {
        let used: Vec<&Route> = before.routes().filter(|route| route.is_used.load(Ordering::Relaxed)).collect();
        let mut changed = Vec::new();
        // Either side may have an entry of its own for what the other has in a family.
        for kind in used.iter().copied().chain(self.routes()).map(|route| prefix(&route.entry)) {
            let (Some(old), Some(new)) = (before.route(kind), self.route(kind)) else { continue };
            let is_same = (old.entry.lane, old.entry.mode) == (new.entry.lane, new.entry.mode);
            if !is_same && old.is_used.load(Ordering::Relaxed) && !changed.contains(&new.entry.kind) {
                changed.push(new.entry.kind.clone());
            }
        }
        if !changed.is_empty() {
            return Err(changed);
        }
        for route in used {
            if let Some(new) = self.route(prefix(&route.entry)) {
                new.mark_used();
            }
        }
        Ok(())
    }

    fn routes(&self) -> impl Iterator<Item = &Route> {
        self.exact.values().chain(&self.families)
    }

    fn route(&self, kind: &str) -> Option<&Route> {
        self.exact.get(kind).or_else(|| self.families.iter().find(|family| kind.starts_with(prefix(&family.entry))))
    }

    fn add(&mut self, entry: Entry) -> Result<(), EntryError> {
        check(&entry)?;
        let rooms: Vec<Template> = entry.rooms.iter().map(|room| Template::parse(room)).collect();
        let members = rooms.iter().flat_map(Template::members).chain(entry.owner.as_deref()).chain(entry.key.as_deref());
        for name in members {
            if !self.wanted.iter().any(|wanted| wanted == name) {
                self.wanted.push(name.to_owned());
            }
        }
        let is_family = entry.kind.ends_with('*');
        let may_be = |reserved: &&str| if is_family { reserved.starts_with(prefix(&entry)) } else { **reserved == *entry.kind };
        let may_be_reserved = RESERVED_TYPES.iter().any(may_be);
        let route = Route { entry, rooms, is_used: AtomicBool::new(false), may_be_reserved };
        if is_family {
            self.families.retain(|family| family.entry.kind != route.entry.kind);
            self.families.push(route);
            self.families.sort_by_key(|family| std::cmp::Reverse(family.entry.kind.len()));
        } else {
            self.exact.insert(route.entry.kind.clone(), route);
        }
        Ok(())
    }
}

impl Route {
    /// All reactors look at it, and only the first use writes.
    fn mark_used(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }
}

/// What the catalog and the publisher decide together. The names are identifiers but for their length: what was given was checked
/// when it was read, and what is made of `data` is encoded.
struct Place {
    room: Box<str>,
    lane: Lane,
    mode: Mode,
    key: Box<str>,
    owner: Option<Box<str>>,
    history: u16,
    ack_ttl: Option<Duration>,
}

fn resolve_known(route: &Route, draft: &Draft<'_>) -> Result<Event, Refusal> {
    let (kind, entry) = (&draft.kind, &route.entry);
    if let Some(given) = draft.lane.filter(|given| *given != entry.lane) {
        return Err(conflict(kind, "lane", entry.lane.name(), given.name()));
    }
    if let Some(given) = draft.mode.filter(|given| *given != entry.mode) {
        return Err(conflict(kind, "mode", entry.mode.name(), given.name()));
    }
    let room = match &draft.room {
        Some(room) => (&**room).into(),
        None => route.rooms.iter().find_map(|template| template.fill(draft)).ok_or_else(|| no_room(entry, draft))?,
    };
    let key = match (&draft.key, &entry.key) {
        _ if entry.mode != Mode::State => Box::default(),
        (Some(key), _) => (&**key).into(),
        (None, None) => Box::default(),
        (None, Some(name)) => {
            let value = field(draft, name).ok_or_else(|| missing(kind, name, "as the state's key, or a `key` beside `data`"))?;
            encode_segment(value).into()
        }
    };
    let owner = match (&draft.owner, &entry.owner) {
        (Some(owner), _) => Some((&**owner).into()),
        (None, Some(name)) => field(draft, name).map(|owner| encode_segment(owner).into()),
        (None, None) => None,
    };
    let place = Place { room, lane: entry.lane, mode: entry.mode, key, owner, history: entry.history, ack_ttl: entry.ack_ttl };
    finish(draft, place, route.may_be_reserved)
}

fn resolve_unknown(draft: &Draft<'_>) -> Result<Event, Refusal> {
    let (Some(room), Some(lane)) = (&draft.room, draft.lane) else {
        let message = format!(
            "`{}` is not in the catalog: give `room` and `lane` (and `mode`, if not transient), or add the type to the catalog",
            draft.kind
        );
        return Err(Refusal::new(codes::UNKNOWN_EVENT, message));
    };
    let mode = draft.mode.unwrap_or(Mode::Transient);
    let key = if mode == Mode::State { draft.key.as_deref().unwrap_or_default() } else { "" };
    let owner = draft.owner.as_deref().map(Into::into);
    finish(draft, Place { room: (&**room).into(), lane, mode, key: key.into(), owner, history: 0, ack_ttl: None }, true)
}

fn finish(draft: &Draft<'_>, place: Place, may_be_reserved: bool) -> Result<Event, Refusal> {
    for (name, value) in [("room", Some(&*place.room)), ("key", Some(&*place.key)), ("owner", place.owner.as_deref())] {
        debug_assert!(value.is_none_or(|value| value.len() > IDENT_BYTES_MAX || value.is_empty() || is_identifier(value)), "{value:?}");
        if value.is_some_and(|value| value.len() > IDENT_BYTES_MAX) {
            return Err(too_long(&draft.kind, name));
        }
    }
    if may_be_reserved && RESERVED_TYPES.contains(&&*draft.kind) {
        let message = format!("`{}` is a type of the protocol itself: name the event otherwise", draft.kind);
        return Err(Refusal::new(codes::INVALID_FIELD, message));
    }
    if place.ack_ttl.is_some() {
        check_to_be_acknowledged(draft, &place.room)?;
    }
    let owner = owner_of(&place.room, place.owner, draft.owner.is_some())?;
    Ok(Event {
        kind: (&*draft.kind).into(),
        room: place.room,
        lane: place.lane,
        mode: place.mode,
        key: place.key,
        owner,
        event_id: draft.event_id.as_deref().map(Into::into),
        version: draft.version,
        history: place.history,
        ack_ttl: place.ack_ttl,
        data: (&*draft.data).into(),
    })
}

/// What a user is to acknowledge goes to that user's own room, and has a name.
fn check_to_be_acknowledged(draft: &Draft<'_>, room: &str) -> Result<(), Refusal> {
    if !room.starts_with(USER_ROOM) {
        let message = format!("`{}` is to be acknowledged by its user: it may go to a `user:` room alone, not to `{room}`", draft.kind);
        return Err(Refusal::new(codes::INVALID_FIELD, message));
    }
    if draft.event_id.is_none() {
        let message =
            format!("`{}` is to be acknowledged by its user: give it an `event_id`, by which that is done and you hear of it", draft.kind);
        return Err(Refusal::new(codes::INVALID_FIELD, message));
    }
    Ok(())
}

/// The owner that the room may have. `user:` rooms are their users' own, `system:` and `admin:` rooms nobody's, whatever `data`
/// says; one who asks for another owner by name is refused.
fn owner_of(room: &str, owner: Option<Box<str>>, is_asked: bool) -> Result<Option<Box<str>>, Refusal> {
    // In an encoded name a colon cannot be: it is one that was not encoded.
    let owner = if is_asked { owner.map(|owner| owner.replace(':', "%3A").into()) } else { owner };
    let user = room.strip_prefix("user:");
    if user.is_none() && !room.starts_with("system:") && !room.starts_with("admin:") {
        return Ok(owner);
    }
    if is_asked && (user.is_none() || user != owner.as_deref()) {
        let message =
            format!("room `{room}` cannot have that owner: `user:` rooms are their users' own, `system:` and `admin:` rooms nobody's");
        return Err(Refusal::new(codes::OWNER_CONFLICT, message));
    }
    Ok(None)
}

fn refuse_state_only(draft: &Draft<'_>, event: &Event) -> Result<(), Refusal> {
    for (name, given) in [("version", draft.version.is_some()), ("key", draft.key.is_some())] {
        if given {
            let message = format!("`{name}` belongs to `state` types, and `{}` is {}", event.kind, event.mode.name());
            return Err(Refusal::new(codes::INVALID_FIELD, message));
        }
    }
    Ok(())
}

fn no_room(entry: &Entry, draft: &Draft<'_>) -> Refusal {
    let templates = entry.rooms.join("` or `");
    let message = format!(
        "`{}` goes to `{templates}`: `data` lacks the member in braces (a string or an integer); add it, or give `room`",
        draft.kind
    );
    Refusal::new(codes::INVALID_FIELD, message)
}

fn missing(kind: &str, name: &str, what: &str) -> Refusal {
    Refusal::new(codes::INVALID_FIELD, format!("`{kind}` needs the member `{name}` in `data` {what}"))
}

#[cold]
fn too_long(kind: &str, name: &str) -> Refusal {
    let message = format!("the {name} of this `{kind}` is no identifier of 1 to 200 bytes [A-Za-z0-9_.:%-]");
    Refusal::new(codes::INVALID_FIELD, message)
}

fn conflict(kind: &str, what: &str, fixed: &str, given: &str) -> Refusal {
    let message = format!("the catalog fixes the {what} of `{kind}` as `{fixed}`, and this publish says `{given}`: leave `{what}` out");
    Refusal::new(codes::CATALOG_CONFLICT, message)
}

fn prefix(family: &Entry) -> &str {
    family.kind.trim_end_matches('*')
}

fn check(entry: &Entry) -> Result<(), EntryError> {
    let stem = entry.kind.strip_suffix('*').unwrap_or(&entry.kind);
    let complain = |what: String| Err(EntryError(format!("catalog entry `{}`: {what}", entry.kind)));
    if !is_identifier(stem) {
        return complain("`type` must be an identifier, with at most one `*` at its end".to_owned());
    }
    if entry.rooms.is_empty() {
        return complain("`room` is missing".to_owned());
    }
    for room in &entry.rooms {
        if !Template::is_sound(room) {
            return complain(format!("`room` is `{room}`; write identifiers and `{{member}}`, such as `challenge:{{challenge_id}}`"));
        }
    }
    if entry.key.is_some() && entry.mode != Mode::State {
        return complain("`key` belongs to mode `state`".to_owned());
    }
    if entry.ack_ttl.is_some() && (entry.mode != Mode::Stream || entry.rooms.iter().any(|room| !room.starts_with(USER_ROOM))) {
        return complain("`ack_required` belongs to mode `stream` and to a room such as `user:{user_id}`".to_owned());
    }
    Ok(())
}

/// The types of the systems that tickerd serves out of the box.
fn built_in() -> Vec<Entry> {
    use Lane::{Alert, Metric, Update};
    use Mode::{State, Stream};
    const CHALLENGE: &[&str] = &["challenge:{challenge_id}"];
    const ACCOUNT: &[&str] = &["account:{account_id}"];
    const CHALLENGE_OR_ACCOUNT: &[&str] = &["challenge:{challenge_id}", "account:{account_id}"];
    const CONSOLE: &[&str] = &["console:{console_id}", "console:main"];
    const QUOTE: &[&str] = &["quote:{quote_id}"];
    type Row = (&'static str, &'static [&'static str], Option<&'static str>, Lane, Mode, Option<&'static str>, u16);
    #[rustfmt::skip]
    const ROWS: &[Row] = &[
        ("RISK_ALERT",               CHALLENGE,                     Some("user_id"), Alert,  Stream, None, 0),
        ("RISK_AI_ALERT",            CHALLENGE,                     Some("user_id"), Alert,  Stream, None, 0),
        ("CHALLENGE_STATUS_CHANGED", CHALLENGE,                     Some("user_id"), Alert,  Stream, None, 0),
        ("CHALLENGE_FAILED",         CHALLENGE,                     Some("user_id"), Alert,  Stream, None, 0),
        ("CHALLENGE_FUNDED",         CHALLENGE,                     Some("user_id"), Alert,  Stream, None, 0),
        ("EQUITY_UPDATED",           CHALLENGE,                     Some("user_id"), Update, State,  Some("challenge_id"), 0),
        ("TRADE_EXECUTED",           CHALLENGE_OR_ACCOUNT,          Some("user_id"), Update, Stream, None, 0),
        ("trade.executed",           CHALLENGE_OR_ACCOUNT,          Some("user_id"), Update, Stream, None, 0),
        ("order.*",                  CHALLENGE_OR_ACCOUNT,          Some("user_id"), Update, Stream, None, 0),
        ("account.cash_flow",        CHALLENGE_OR_ACCOUNT,          Some("user_id"), Update, Stream, None, 0),
        ("account.update",           ACCOUNT,                       Some("user_id"), Update, State,  Some("account_id"), 0),
        ("position.update",          ACCOUNT,                       Some("user_id"), Update, State,  Some("symbol"), 0),
        ("metrics.update",           ACCOUNT,                       Some("user_id"), Metric, State,  Some("account_id"), 0),
        ("market.data.update",       &["market:{symbol}"],          None,            Metric, State,  Some("symbol"), 0),
        ("strategy.*",               ACCOUNT,                       Some("user_id"), Update, Stream, None, 0),
        ("engine.*",                 ACCOUNT,                       Some("user_id"), Update, Stream, None, 0),
        ("error.occurred",           ACCOUNT,                       Some("user_id"), Update, Stream, None, 0),
        ("system_activity",          CONSOLE,                       None,            Update, Stream, None, 20),
        ("whale_processing",         CONSOLE,                       None,            Update, Stream, None, 0),
        ("trading_state",            CONSOLE,                       None,            Update, State,  None, 0),
        ("whale_queue",              CONSOLE,                       None,            Update, State,  None, 0),
        ("trader_status",            CONSOLE,                       None,            Metric, State,  None, 0),
        ("quote_update",             QUOTE,                         None,            Update, Stream, None, 0),
        ("quote_status_changed",     QUOTE,                         None,            Update, Stream, None, 0),
        ("quote_state",              QUOTE,                         None,            Update, State,  None, 0),
        ("calculation_progress",     QUOTE,                         None,            Update, State,  None, 0),
        ("notification",             &["user:{user_id}"],           Some("user_id"), Alert,  Stream, None, 0),
        ("system_alert",             &["system:alerts"],            None,            Alert,  Stream, None, 0),
        ("analytics_update",         &["analytics:{dashboard_type}"], None,          Metric, State,  None, 0),
    ];
    ROWS.iter()
        .map(|&(kind, rooms, owner, lane, mode, key, history)| Entry {
            kind: kind.to_owned(),
            rooms: rooms.iter().map(|&room| room.to_owned()).collect(),
            owner: owner.map(str::to_owned),
            lane,
            mode,
            key: key.map(str::to_owned),
            history,
            ack_ttl: (kind == "notification").then_some(ACK_TTL),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event;

    fn resolve(line: &str) -> Result<Event, Refusal> {
        let catalog = Catalog::with(Vec::new()).unwrap();
        let draft = event::parse(line.as_bytes(), catalog.wanted()).map_err(|rejected| rejected.refusal)?;
        catalog.resolve(&draft)
    }

    /// ROM-01, EVT-01, EVT-03: room, lane, key and owner come from the catalog.
    #[test]
    fn a_known_type_needs_nothing_but_its_data() {
        let event = resolve(r#"{"type":"EQUITY_UPDATED","data":{"challenge_id":"8f","user_id":"u1"}}"#).unwrap();
        assert_eq!((&*event.room, &*event.key, event.owner.as_deref()), ("challenge:8f", "8f", Some("u1")));
        assert_eq!((event.lane, event.mode), (Lane::Update, Mode::State));
        let event = resolve(r#"{"type":"order.filled","data":{"account_id":17}}"#).unwrap();
        assert_eq!((&*event.room, event.lane, event.mode), ("account:17", Lane::Update, Mode::Stream));
        assert_eq!(&*resolve(r#"{"type":"system_activity","data":{}}"#).unwrap().room, "console:main");
    }

    #[test]
    fn a_value_cannot_reach_into_another_room() {
        let event = resolve(r#"{"type":"notification","event_id":"e","data":{"user_id":"a:b@c"}}"#).unwrap();
        assert_eq!((&*event.room, event.owner.as_deref()), ("user:a%3Ab%40c", None));
    }

    #[test]
    fn a_name_made_of_data_has_a_limit_once_encoded() {
        let note = |user: &str| resolve(&format!(r#"{{"type":"RISK_ALERT","room":"r:1","data":{{"user_id":"{user}"}}}}"#));
        assert!(note(&"a".repeat(200)).is_ok());
        assert_eq!(note(&"a".repeat(201)).unwrap_err().error, codes::INVALID_FIELD);
        assert_eq!(note(&":".repeat(67)).unwrap_err().error, codes::INVALID_FIELD);
        let room = |id: &str| resolve(&format!(r#"{{"type":"RISK_ALERT","data":{{"challenge_id":"{id}"}}}}"#));
        assert_eq!(room(&"a".repeat(190)).unwrap().room.len(), 200);
        assert!(room(&"a".repeat(191)).unwrap_err().message.contains("the room"));
    }

    /// Publishing to a room must not make somebody the reader of another user's, or of the operators'.
    #[test]
    fn reserved_rooms_have_no_owner_but_their_user() {
        let note =
            |room: &str, owner: &str| resolve(&format!(r#"{{"type":"note","room":"{room}","lane":"alert","owner":"{owner}","data":1}}"#));
        assert_eq!(note("user:u1", "mal").unwrap_err().error, codes::OWNER_CONFLICT);
        assert_eq!(note("system:alerts", "mal").unwrap_err().error, codes::OWNER_CONFLICT);
        assert_eq!(note("admin:x", "mal").unwrap_err().error, codes::OWNER_CONFLICT);
        assert_eq!(note("user:u1", "u1").unwrap().owner, None);
        assert_eq!(note("desk:1", "a:b").unwrap().owner.as_deref(), Some("a%3Ab"));
        let derived = resolve(r#"{"type":"notification","room":"user:u1","event_id":"e","data":{"user_id":"mal"}}"#).unwrap();
        assert_eq!(derived.owner, None);
    }

    /// QTE-12: by its id, in the room of one user; everything else would wait for nobody.
    #[test]
    fn what_is_to_be_acknowledged_has_an_id_and_a_user() {
        let event = resolve(r#"{"type":"notification","event_id":"e","data":{"user_id":"u1"}}"#).unwrap();
        assert_eq!((&*event.room, event.ack_ttl), ("user:u1", Some(ACK_TTL)));
        assert_eq!(resolve(r#"{"type":"system_alert","data":1}"#).unwrap().ack_ttl, None);
        let refused = |line: &str| resolve(line).unwrap_err();
        assert!(refused(r#"{"type":"notification","data":{"user_id":"u1"}}"#).message.contains("event_id"));
        assert!(refused(r#"{"type":"notification","event_id":"e","room":"desk:1","data":1}"#).message.contains("desk:1"));
        let entry = |room: &str, mode| Entry {
            kind: "order.approval".to_owned(),
            rooms: vec![room.to_owned()],
            owner: None,
            lane: Lane::Update,
            mode,
            key: None,
            history: 0,
            ack_ttl: Some(Duration::from_secs(60)),
        };
        assert!(Catalog::with(vec![entry("user:{trader}", Mode::Stream)]).is_ok());
        for bad in [entry("desk:{desk}", Mode::Stream), entry("user:{trader}", Mode::State), entry("user:{trader}", Mode::Transient)] {
            assert!(Catalog::with(vec![bad]).unwrap_err().0.contains("ack_required"));
        }
    }

    #[test]
    fn the_protocols_own_types_are_no_events() {
        for kind in ["gap", "disconnect", "welcome", "subscribe", "ping", "event.acknowledged"] {
            let refused = resolve(&format!(r#"{{"type":"{kind}","room":"r:1","lane":"alert","data":1}}"#)).unwrap_err();
            assert_eq!(refused.error, codes::INVALID_FIELD, "{kind}");
        }
    }

    #[test]
    fn lane_and_mode_are_the_catalogs_and_the_rest_may_be_given() {
        let refused = |line| resolve(line).unwrap_err().error;
        assert_eq!(refused(r#"{"type":"RISK_ALERT","lane":"metric","data":{"challenge_id":"8f"}}"#), codes::CATALOG_CONFLICT);
        assert_eq!(refused(r#"{"type":"RISK_ALERT","mode":"state","data":{"challenge_id":"8f"}}"#), codes::CATALOG_CONFLICT);
        assert_eq!(refused(r#"{"type":"RISK_ALERT","data":{}}"#), codes::INVALID_FIELD);
        assert_eq!(refused(r#"{"type":"EQUITY_UPDATED","room":"challenge:8f","data":{}}"#), codes::INVALID_FIELD);
        assert_eq!(refused(r#"{"type":"RISK_ALERT","version":3,"data":{"challenge_id":"8f"}}"#), codes::INVALID_FIELD);
        let given =
            resolve(r#"{"type":"EQUITY_UPDATED","room":"challenge:9","key":"k","owner":"u9","lane":"update","data":null}"#).unwrap();
        assert_eq!((&*given.room, &*given.key, given.owner.as_deref()), ("challenge:9", "k", Some("u9")));
    }

    #[test]
    fn an_unknown_type_gives_room_and_lane_and_is_transient_unless_it_says_otherwise() {
        assert_eq!(resolve(r#"{"type":"note","data":1}"#).unwrap_err().error, codes::UNKNOWN_EVENT);
        assert_eq!(resolve(r#"{"type":"note","room":"user:u1","data":1}"#).unwrap_err().error, codes::UNKNOWN_EVENT);
        assert_eq!(resolve(r#"{"type":"note","room":"user:u1","lane":"alert","data":1}"#).unwrap().mode, Mode::Transient);
        let state = r#"{"type":"note","room":"user:u1","lane":"alert","mode":"state","key":"k","data":1}"#;
        assert_eq!(&*resolve(state).unwrap().key, "k");
    }

    fn entry(kind: &str, room: &str) -> Entry {
        Entry {
            kind: kind.to_owned(),
            rooms: vec![room.to_owned()],
            owner: None,
            lane: Lane::Alert,
            mode: Mode::Stream,
            key: None,
            history: 0,
            ack_ttl: None,
        }
    }

    /// OPS-05: lane and mode of a type that was used stay; what was not used may change. Each that would change is named, once.
    #[test]
    fn a_catalog_is_succeeded_by_one_that_changes_nothing_in_use() {
        let before = Catalog::with(vec![entry("a", "r"), entry("b", "r"), entry("f.*", "r")]).unwrap();
        let with_lane = |kind: &str, lane| Catalog::with(vec![Entry { lane, ..entry(kind, "r") }]).unwrap();
        assert_eq!(with_lane("a", Lane::Metric).succeed(&before), Ok(()), "it was not used");
        for line in [r#"{"type":"a","data":1}"#, r#"{"type":"f.x","data":1}"#] {
            before.resolve(&event::parse(line.as_bytes(), before.wanted()).unwrap()).unwrap();
        }
        assert_eq!(with_lane("a", Lane::Alert).succeed(&before), Ok(()));
        assert_eq!(with_lane("a", Lane::Metric).succeed(&before), Err(vec!["a".to_owned()]));
        assert_eq!(with_lane("f.x", Lane::Metric).succeed(&before), Err(vec!["f.x".to_owned()]), "of a family that was used");
        assert_eq!(with_lane("b", Lane::Metric).succeed(&before), Ok(()));
        // What was used stays so for the next one.
        let next = with_lane("a", Lane::Alert);
        next.succeed(&before).unwrap();
        assert_eq!(with_lane("a", Lane::Metric).succeed(&next), Err(vec!["a".to_owned()]));
    }

    #[test]
    fn a_configured_entry_overrides_and_a_bad_one_is_named() {
        let catalog = Catalog::with(vec![entry("EQUITY_UPDATED", "desk:{desk}"), entry("order.cancel*", "desk:{desk}")]).unwrap();
        assert_eq!(catalog.entry("EQUITY_UPDATED").unwrap().lane, Lane::Alert);
        assert_eq!(catalog.entry("order.cancelled").unwrap().lane, Lane::Alert, "the longest prefix wins");
        assert_eq!(catalog.entry("order.filled").unwrap().lane, Lane::Update);
        for (kind, room) in [("a b", "r"), ("x", "r m"), ("x", ""), ("*", "r"), ("x", "r:{"), ("x", "r:{a{b}")] {
            assert!(Catalog::with(vec![entry(kind, room)]).unwrap_err().0.contains(kind), "{kind} {room}");
        }
    }
}
