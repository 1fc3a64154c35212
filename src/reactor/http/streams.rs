//! Requests of clients that speak no WebSocket: `GET /v1/events`, and what a request has to bring.

use std::net::IpAddr;

use crate::auth::{Grants, Scope};
use crate::base::codes::{AUTH_FAILED, FORBIDDEN, INVALID_FIELD, OVER_CAPACITY, Refusal};
use crate::base::ident::is_identifier;
use crate::base::ids::ConnId;
use crate::reactor::core::Core;
use crate::reactor::events::Events;
use crate::reactor::memory::Demand;
use crate::reactor::session::Wish;
use crate::wire::command::SinceText;
use crate::wire::cursor::Cursor;
use crate::wire::http::{BodyLen, HttpRefusal, Request, token_of};
use crate::wire::sample::Sample;

use super::answers::{bad_origin, not_allowed, shutting_down, too_many_handshakes, unauthorized};
use super::is_listed;

/// A client that is to get the events of a room. `is_new`: it has not been counted.
pub(super) fn events(
    request: &Request<'_>,
    id: ConnId,
    client: Option<IpAddr>,
    is_new: bool,
    core: &mut Core,
) -> Result<Box<Events>, HttpRefusal> {
    if request.method != "GET" {
        return Err(not_allowed("Allow: GET", "events are read by GET"));
    }
    request.check_params(&["room", "since", "history", "every_ms", "types", "keys", "ticket", "token"])?;
    let grants = admitted(request, client, "events", is_new, core)?;
    let room = room(request)?;
    let position = match request.header("last-event-id")? {
        Some(id) if !id.is_empty() => Some(Cursor::parse(id)?), // newer than the address, which an `EventSource` keeps
        _ => since(request, &room)?,
    };
    let wish = Wish { since: position.map(since_text), history: history(request)?, sample: sample(request)?, ..Wish::default() };
    Events::open(id, client, grants, (&room, wish), core)
}

/// Who may read a room's events, as far as the request tells. `is_new`: it is one client more.
pub(super) fn admitted(
    request: &Request<'_>,
    client: Option<IpAddr>,
    what: &'static str,
    is_new: bool,
    core: &mut Core,
) -> Result<Grants, HttpRefusal> {
    check_no_body(request)?;
    check_open(request, client, is_new, core)?;
    let origin = request.header("origin")?;
    let grants = caller(request, client, what, core)?;
    // A page's own server is asked by GET without an origin, but browsers say so.
    let is_page = origin.is_some() || request.header("sec-fetch-site")? == Some("same-origin");
    if core.options.require_origin && !is_page && !grants.has(Scope::Publish) {
        let message = "the header origin is missing: this server is for pages, and for tokens with the scope publish";
        return Err(Refusal::new(FORBIDDEN, message).into());
    }
    if is_new && !core.registry.has_room() {
        return Err(Refusal::passing(OVER_CAPACITY, "the server has as many connections as it may: come back later", 5_000).into());
    }
    Ok(grants)
}

pub(super) fn check_no_body(request: &Request<'_>) -> Result<(), HttpRefusal> {
    match request.body_len()? {
        BodyLen::None | BodyLen::Bytes(0) => Ok(()),
        BodyLen::Bytes(_) => Err(Refusal::new(INVALID_FIELD, "this request has no body: leave it out").into()),
    }
}

/// What a handshake of a WebSocket has to pass too. `is_new`: it counts as one.
pub(super) fn check_open(request: &Request<'_>, client: Option<IpAddr>, is_new: bool, core: &mut Core) -> Result<(), HttpRefusal> {
    if core.is_draining() {
        return Err(shutting_down());
    }
    if is_new {
        core.spare_memory(Demand::Handshake)?;
        let address = core.options.limited(client);
        core.registry.handshake(address, core.now.mono).map_err(too_many_handshakes)?;
    }
    match request.header("origin")? {
        Some(origin) if !core.options.origins.is_empty() && !is_listed(origin, core) => {
            core.turn_away(client, None, "connect", "bad_origin");
            Err(bad_origin().into())
        }
        _ => Ok(()),
    }
}

/// Whom the request's token, or its ticket, speaks for.
pub(super) fn caller(request: &Request<'_>, client: Option<IpAddr>, what: &'static str, core: &mut Core) -> Result<Grants, HttpRefusal> {
    let token = token_of(request, None, core.options.query_token && what != "admin")?;
    let ticket = if matches!(what, "publish" | "admin") { None } else { request.param("ticket")? };
    let checked = match (token, ticket) {
        (Some(_), Some(_)) => {
            return Err(Refusal::new(INVALID_FIELD, "the request has a token and a ticket: send one of them").into());
        }
        (Some(token), None) => core.check_token(token).map_err(|error| (core.user_of(token), error.label(), error.refusal())),
        (None, Some(ticket)) => match core.registry.tickets.redeem(&ticket, core.now.mono) {
            Some(grants) => match core.check_grants(&grants) {
                Ok(()) => Ok(grants),
                Err(error) => Err((Some(grants.user), error.label(), error.refusal())),
            },
            None => Err((
                None,
                "bad_ticket",
                Refusal::new(AUTH_FAILED, "no such ticket: each is good once and for 30 s, get another by POST /v1/ticket"),
            )),
        },
        (None, None) => Err((None, AUTH_FAILED.name, Refusal::new(AUTH_FAILED, "no token: send one by Authorization: Bearer"))),
    };
    checked.map_err(|(user, reason, refusal)| {
        core.turn_away(client, user, what, reason);
        unauthorized(refusal)
    })
}

pub(super) fn room(request: &Request<'_>) -> Result<String, HttpRefusal> {
    let room = request.param("room")?.filter(|room| is_identifier(room));
    let message = "the query must name one room, as `room=challenge:8f`: [A-Za-z0-9_.:%-]{1,200}, and a `%` in it is `%25` here";
    room.map(String::from).ok_or_else(|| Refusal::new(INVALID_FIELD, message).into())
}

pub(super) fn since(request: &Request<'_>, room: &str) -> Result<Option<Cursor>, HttpRefusal> {
    let Some(since) = request.param("since")?.filter(|since| !since.is_empty()) else { return Ok(None) };
    let cursor = Cursor::parse(&since)?;
    cursor.check_room(room)?;
    Ok(Some(cursor))
}

fn since_text(cursor: Cursor) -> SinceText {
    SinceText { epoch: cursor.epoch.into(), seq: cursor.seq }
}

/// What it wants of the room's states: names have commas between them.
fn sample(request: &Request<'_>) -> Result<Option<Box<Sample>>, HttpRefusal> {
    let (every_ms, types, keys) = (request.param("every_ms")?, request.param("types")?, request.param("keys")?);
    let every_ms = every_ms.map(|text| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())));
    let named = |text: &str| text.split(',').map(|name| Some(name.to_owned())).collect();
    Ok(Sample::new(every_ms, types.as_deref().map(named), keys.as_deref().map(named))?)
}

pub(super) fn history(request: &Request<'_>) -> Result<Option<u32>, HttpRefusal> {
    let Some(text) = request.param("history")? else { return Ok(None) };
    let history = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    history.map(Some).ok_or_else(|| Refusal::new(INVALID_FIELD, "`history` must be an integer from 0 to 4294967295").into())
}
