//! The HTTP side of a connection: what its requests lead to, `POST /v1/publish`, the upgrade to WebSocket, and refusals. Requests are served one at a time. No I/O.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::{Grants, Scope};
use crate::base::codes::{
    BAD_STATE, CLOSE_CONNECTION_LIMIT, CLOSE_OVER_CAPACITY, FORBIDDEN, INVALID_FIELD, NOT_FOUND, OVER_CAPACITY, Refusal, TOO_LARGE,
};
use crate::base::ids::{ConnId, Ticket};
use crate::base::limits::{HANDSHAKE_TIMEOUT, HTTP_BODY_BYTES_MAX, HTTP_BODY_TIMEOUT, HTTP_IDLE_TIMEOUT, PUBLISH_BYTES_MAX, SHED_RETRY};
use crate::base::time::{Mono, millis};
use crate::net::outbox::Outbox;
use crate::wire::http::{BodyLen, Head, HttpRefusal, Request, Upgrade, parse_head, strip_body, token_of, write_response, write_switching};

use super::body::Body;
use super::connection::{Then, Took};
use super::core::{Core, Next};
use super::events::Events;
use super::memory::Demand;
use super::pages::{self, Page};
use super::poll::Poll;
use super::publisher::{Answers, Outcome};
use super::stats::{HANDSHAKES, Handshake};
use super::websocket::WebSocket;

mod admin;
pub(super) mod answers;
mod polling;
mod streams;
mod ticketing;

use admin::Asking;
use answers::{answer, bad_origin, not_allowed, refuse, shutting_down, status, too_many_handshakes, unauthorized};
use ticketing::Ticketing;

/// See the module.
#[derive(Debug)]
pub(super) struct Http {
    /// Who connected.
    peer: Option<IpAddr>,
    answers: Answers,
    body: Option<Box<Body>>,
    /// The origin of the page that sent the request, if it may read the answer.
    reader: Option<Box<str>>,
    /// When what is awaited of the client must be here.
    due: Mono,
    /// There once a client has polled.
    poll: Option<Box<Poll>>,
    /// An acknowledgment waits for the hub's word; whether the connection is used again.
    acking: Option<bool>,
    /// An operator's request is not answered yet.
    asking: Option<Box<Asking>>,
    /// The request is about a ticket, and nodes share them.
    ticketing: Option<Box<Ticketing>>,
    /// A request with a good token came since [`Http::take_useful`] was asked.
    was_useful: bool,
    /// No request has come yet.
    is_new: bool,
}

const NO_SUCH_PATH: &str =
    "no such path: there are GET /, /client.js, /readyz, /v1/ws, /v1/events and /v1/poll, and POST /v1/publish, /v1/ack and /v1/ticket";

/// Where load balancers ask, on any host.
const READINESS: &str = "/readyz";

/// Says that a body may come.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a request head leads to.
enum Route {
    Publish(Box<Body>),
    WebSocket(Box<WebSocket>, Next),
    Events(Box<Events>),
    /// The answer, as JSON.
    Answer(Vec<u8>),
    /// The answer comes from elsewhere.
    Wait,
    /// It is to be looked at again when something has come from elsewhere.
    Later,
}

impl Http {
    /// For a connection on which nothing was read yet.
    pub(super) fn new(peer: Option<IpAddr>, now: Mono) -> Http {
        Http {
            peer,
            answers: Answers::default(),
            body: None,
            reader: None,
            poll: None,
            acking: None,
            asking: None,
            ticketing: None,
            due: now.plus(HANDSHAKE_TIMEOUT),
            was_useful: false,
            is_new: true,
        }
    }

    /// A proxy has said who connected.
    pub(super) fn set_peer(&mut self, peer: IpAddr) {
        self.peer = Some(peer);
    }

    /// What the answers take.
    pub(super) fn held_bytes(&self) -> usize {
        self.answers.held_bytes() + self.body.as_ref().map_or(0, |body| body.held_bytes())
    }

    /// What the answers take to a body of which not all came.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.body.as_ref().filter(|body| !body.is_read()).map_or(0, |body| body.held_bytes())
    }

    /// Refuses a request of which not all came.
    pub(super) fn refuse_unfinished(&mut self, core: &Core, outbox: &mut Outbox) {
        let message = match self.body.take() {
            None if self.asking.take().is_some() => {
                "the server is short of memory, and the body was not complete: send the request again, in one go, after retry_after_ms"
            }
            None => {
                "the server is short of memory, and the head of the request was not complete: send it again, in one go, after retry_after_ms"
            }
            Some(_) => {
                "the server is short of memory, and the body was not complete, though lines of it may be published: send it again, in one go, with event_id, after retry_after_ms"
            }
        };
        self.refuse(&Refusal::passing(OVER_CAPACITY, message, millis(SHED_RETRY)).into(), false, "", core, outbox);
    }

    /// Takes a head, or what is there of a body. A head also tells who the client is.
    pub(super) fn take(&mut self, id: ConnId, client: &mut Option<IpAddr>, input: &[u8], core: &mut Core, outbox: &mut Outbox) -> Took {
        if self.asking.is_some() {
            return self.take_asked(input, core, outbox);
        }
        let Some(body) = &mut self.body else { return self.take_head(id, client, input, core, outbox) };
        let used = body.take(id, input, &mut self.answers, core);
        // What follows a body that is read is the next request, which waits until this one is answered.
        let more = self.answers.is_full() || body.is_read();
        Took { used, more: more && used < input.len(), whole: used > 0, then: self.finish(core, outbox) }
    }

    fn take_head(&mut self, id: ConnId, client: &mut Option<IpAddr>, input: &[u8], core: &mut Core, outbox: &mut Outbox) -> Took {
        let (request, used) = match parse_head(input) {
            Ok(Head::Partial) => return Took { used: 0, more: false, whole: false, then: Then::Go },
            Ok(Head::Complete { request, used }) => (request, used),
            Err(refusal) => {
                self.reader = None;
                self.refuse(&refusal, false, "", core, outbox);
                return Took { used: input.len(), more: false, whole: false, then: Then::Finish };
            }
        };
        self.is_new = false;
        *client = self.peer.map(|peer| core.options.client(peer, &request));
        self.reader = reader(&request, core);
        if let Some(methods) = preflight(&request) {
            let has_more = used < input.len();
            return Took { used, ..self.answer_preflight(methods, &request, has_more, core, outbox) };
        }
        if let Some(page) = pages::page(request.path) {
            let has_more = used < input.len();
            return Took { used, ..self.give_page(page, &request, has_more, core, outbox) };
        }
        if request.path == READINESS {
            let has_more = used < input.len();
            return Took { used, ..self.give_readiness(&request, has_more, core, outbox) };
        }
        let has_polled = self.poll.is_some();
        match self.route(&request, id, *client, core, outbox) {
            Ok(Route::WebSocket(websocket, next)) => {
                Took { used, more: used < input.len(), whole: true, then: Then::Upgrade(websocket, next) }
            }
            Ok(Route::Events(mut events)) => {
                events.set_reader(self.reader.take());
                Took { used, more: false, whole: true, then: Then::Stream(events) }
            }
            Ok(Route::Wait) => {
                self.was_useful = true;
                if request.expects_continue() && used == input.len() && !self.is_blocked() {
                    outbox.push_raw(core.now.mono, |out| out.extend_from_slice(CONTINUE));
                }
                Took { used, more: used < input.len(), whole: true, then: Then::Go }
            }
            Ok(Route::Later) => Took { used: 0, more: false, whole: true, then: Then::Go },
            Ok(Route::Answer(json)) => Took { used, ..self.give_answer(&json, &request, used < input.len(), core, outbox) },
            Ok(Route::Publish(body)) => {
                if request.expects_continue() && used == input.len() {
                    outbox.push_raw(core.now.mono, |out| out.extend_from_slice(CONTINUE));
                }
                self.body = Some(body);
                self.was_useful = true;
                self.due = core.now.mono.plus(HTTP_BODY_TIMEOUT);
                Took { used, more: used < input.len(), whole: true, then: Then::Go }
            }
            Err(refusal) => {
                // A body that nobody reads would be taken for the next request.
                let keep_alive =
                    request.keep_alive() && !core.is_draining() && matches!(request.body_len(), Ok(BodyLen::None | BodyLen::Bytes(0)));
                // A bad token may have cost a signature check: who has another one opens another connection, of which there are not so many.
                let keep_alive = keep_alive && request.method != "HEAD" && refusal.status != 401;
                // Who was a client and is none any more would have a stranger's place for as long as it may be idle.
                let keep_alive = keep_alive && !(has_polled && self.poll.is_none());
                self.refuse(&refusal, keep_alive, request.method, core, outbox);
                self.due = core.now.mono.plus(HTTP_IDLE_TIMEOUT);
                Took { used, more: keep_alive && used < input.len(), whole: true, then: if keep_alive { Then::Go } else { Then::Finish } }
            }
        }
    }

    fn route(
        &mut self,
        request: &Request<'_>,
        id: ConnId,
        client: Option<IpAddr>,
        core: &mut Core,
        outbox: &mut Outbox,
    ) -> Result<Route, HttpRefusal> {
        if matches!(request.path, "/v1/ws" | "/v1/events") {
            self.end_polling("upgraded", core);
        }
        let Some(is_counted) = self.settle_ticket(request, id, client, core)? else { return Ok(Route::Later) };
        match request.path {
            "/v1/ws" => {
                let routed = upgrade(request, id, client, core, outbox);
                core.stats.handshake(match &routed {
                    Ok(Route::WebSocket(_, Next::Close(CLOSE_CONNECTION_LIMIT | CLOSE_OVER_CAPACITY))) => Handshake::OverCapacity,
                    Ok(Route::WebSocket(_, Next::Close(_))) => Handshake::BadToken,
                    Ok(_) => Handshake::Upgraded,
                    Err(turned_away) => turned_away.result,
                });
                routed.map_err(|turned_away| {
                    core.turn_away(client, turned_away.user, "connect", turned_away.reason);
                    *turned_away.refusal
                })
            }
            "/v1/publish" => publish(request, client, core).map(Route::Publish),
            "/v1/events" => streams::events(request, id, client, !is_counted, core).map(Route::Events),
            "/v1/poll" => self.poll(request, id, client, is_counted, core).map(|known| known.map_or(Route::Wait, Route::Answer)),
            "/v1/ack" => self.ack(request, id, client, core).map(|()| Route::Wait),
            "/v1/ticket" => self.give_ticket(request, id, client, core),
            path if path.starts_with(admin::PREFIX) => self.ask(request, id, client, core).map(|()| Route::Wait),
            _ => Err(Refusal::new(NOT_FOUND, NO_SUCH_PATH).into()),
        }
    }

    /// The hub has answered a line of the body.
    pub(super) fn on_answer(&mut self, ticket: Ticket, outcome: Outcome, core: &mut Core, outbox: &mut Outbox) -> Then {
        self.answers.settle(ticket, outcome);
        self.finish(core, outbox)
    }

    /// Gives the answer, once there is one to every line.
    fn finish(&mut self, core: &mut Core, outbox: &mut Outbox) -> Then {
        let Some(body) = &mut self.body else { return Then::Go };
        body.collect(&mut self.answers, core.uplink.slow_down());
        if !body.is_read() || !self.answers.is_empty() {
            return Then::Go;
        }
        let keep_alive = body.keep_alive && !core.is_draining();
        let body = self.body.take();
        self.answer(core, outbox, |out| body.iter().for_each(|body| body.write_answer(out, keep_alive)));
        self.due = core.now.mono.plus(HTTP_IDLE_TIMEOUT);
        if keep_alive { Then::Go } else { Then::Finish }
    }

    fn answer(&self, core: &Core, outbox: &mut Outbox, write: impl FnOnce(&mut Vec<u8>)) {
        answer(self.reader.as_deref(), core, outbox, write);
    }

    fn refuse(&self, refusal: &HttpRefusal, keep_alive: bool, method: &str, core: &Core, outbox: &mut Outbox) {
        refuse(self.reader.as_deref(), refusal, keep_alive, method, core, outbox);
    }

    /// NET-06: a browser asks before a page of another origin may send a request with a token.
    fn answer_preflight(&mut self, methods: &str, request: &Request<'_>, has_more: bool, core: &Core, outbox: &mut Outbox) -> Took {
        let keep_alive = request.keep_alive() && !core.is_draining();
        if self.reader.is_some() {
            let allowed = [
                ("Access-Control-Allow-Methods", methods),
                ("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID"),
                ("Access-Control-Max-Age", "600"),
            ];
            self.answer(core, outbox, |out| write_response(out, 204, "", keep_alive, &allowed, b""));
        } else {
            self.refuse(&bad_origin().into(), keep_alive, request.method, core, outbox);
        }
        self.due = core.now.mono.plus(HTTP_IDLE_TIMEOUT);
        Took { used: 0, more: keep_alive && has_more, whole: true, then: if keep_alive { Then::Go } else { Then::Finish } }
    }

    /// Gives a short answer; a request that has one has no body.
    fn give_answer(&mut self, json: &[u8], request: &Request<'_>, has_more: bool, core: &Core, outbox: &mut Outbox) -> Took {
        let keep_alive = request.keep_alive() && !core.is_draining();
        self.was_useful = true;
        self.answer(core, outbox, |out| write_response(out, 200, "application/json", keep_alive, &[], json));
        self.due = core.now.mono.plus(HTTP_IDLE_TIMEOUT);
        Took { used: 0, more: keep_alive && has_more, whole: true, then: if keep_alive { Then::Go } else { Then::Finish } }
    }

    fn give_page(&mut self, page: &Page, request: &Request<'_>, has_more: bool, core: &Core, outbox: &mut Outbox) -> Took {
        self.reader = None; // all may read it
        self.give_to_read(request, has_more, core, outbox, |keep_alive, out| page.write(request, keep_alive, out))
    }

    /// Says whether load balancers should send clients here. As with pages, whoever asks is no client by that.
    fn give_readiness(&mut self, request: &Request<'_>, has_more: bool, core: &Core, outbox: &mut Outbox) -> Took {
        let (word, are_welcome) = if core.is_draining() { ("draining", false) } else { core.ready_sign.read() };
        let (status, text) = (if are_welcome { 200 } else { 503 }, format!("{word}\n"));
        self.give_to_read(request, has_more, core, outbox, |keep_alive, out| {
            write_response(out, status, "text/plain; charset=utf-8", keep_alive, &[("Cache-Control", "no-store")], text.as_bytes());
        })
    }

    /// Gives what has no other method than GET and HEAD.
    fn give_to_read(
        &mut self,
        request: &Request<'_>,
        has_more: bool,
        core: &Core,
        outbox: &mut Outbox,
        write: impl FnOnce(bool, &mut Vec<u8>),
    ) -> Took {
        // A body that nobody reads would be taken for the next request.
        let keep_alive = request.keep_alive() && !core.is_draining() && matches!(request.body_len(), Ok(BodyLen::None | BodyLen::Bytes(0)));
        if matches!(request.method, "GET" | "HEAD") {
            self.answer(core, outbox, |out| {
                let start = out.len();
                write(keep_alive, out);
                if request.method == "HEAD" {
                    strip_body(out, start);
                }
            });
        } else {
            self.refuse(&not_allowed("Allow: GET, HEAD", "this can only be read"), keep_alive, request.method, core, outbox);
        }
        self.due = core.now.mono.plus(HTTP_IDLE_TIMEOUT);
        Took { used: 0, more: keep_alive && has_more, whole: true, then: if keep_alive { Then::Go } else { Then::Finish } }
    }

    /// Whether nothing more may be read until there is an answer.
    pub(super) fn is_blocked(&self) -> bool {
        self.answers.is_full() || self.awaits_answers()
    }

    /// Whether a request is being served, or was since this was asked last.
    pub(super) fn take_useful(&mut self) -> bool {
        std::mem::replace(&mut self.was_useful, false) || !self.is_idle()
    }

    /// Whether no request has come yet.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The daemon stops: a request that is not here by then is not awaited.
    pub(super) fn hurry(&mut self, until: Mono) {
        if self.is_idle() {
            self.due = self.due.min(until);
        }
        self.hurry_poll(until);
    }

    /// Whether no request is being served.
    pub(super) fn is_idle(&self) -> bool {
        self.body.is_none() && self.acking.is_none() && self.asking.is_none() && self.ticketing.is_none() && !self.is_polling()
    }

    /// Whether the request is read, and only answers are missing.
    pub(super) fn awaits_answers(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.is_read())
            || self.acking.is_some()
            || self.is_asking()
            || self.awaits_store()
            || self.is_polling()
    }

    /// When the client has taken too long: for a head (LIM-10), for a body, between two requests.
    pub(super) fn deadline(&self) -> Mono {
        match &self.poll {
            Some(poll) if poll.is_asked() => poll.deadline(),
            _ if self.is_asking() => self.asking_deadline(),
            _ if self.is_blocked() => Mono::NEVER,
            _ => self.due,
        }
    }
}

/// The origin of the page that sent the request, if it is listed: it may read the answer. Others may not, and `*` is nobody.
fn reader(request: &Request<'_>, core: &Core) -> Option<Box<str>> {
    let origin = request.header("origin").ok().flatten()?;
    is_listed(origin, core).then(|| origin.into())
}

fn is_listed(origin: &str, core: &Core) -> bool {
    core.options.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
}

/// The methods of a path that a browser asks about for a page.
fn preflight(request: &Request<'_>) -> Option<&'static str> {
    let asks = request.method == "OPTIONS" && request.values("access-control-request-method").next().is_some();
    let has_body = !matches!(request.body_len(), Ok(BodyLen::None | BodyLen::Bytes(0)));
    let methods = match request.path {
        "/v1/publish" | "/v1/ticket" | "/v1/ack" => "POST",
        "/v1/events" | "/v1/poll" => "GET",
        path if path.starts_with(admin::PREFIX) => "GET, POST",
        _ => return None,
    };
    (asks && !has_body).then_some(methods)
}

fn publish(request: &Request<'_>, client: Option<IpAddr>, core: &mut Core) -> Result<Box<Body>, HttpRefusal> {
    if request.method != "POST" {
        return Err(not_allowed("Allow: POST", "events are published by POST"));
    }
    if core.is_draining() {
        return Err(shutting_down());
    }
    let grants = publisher(request, client, core)?;
    let is_json = request.header("content-type")?.is_some_and(is_json);
    let bytes_max = if is_json { PUBLISH_BYTES_MAX } else { HTTP_BODY_BYTES_MAX };
    match request.body_len()? {
        BodyLen::None => Err(status(411, INVALID_FIELD, "a publish needs a body and its content-length")),
        BodyLen::Bytes(0) => Err(Refusal::new(INVALID_FIELD, "the body is empty: send one event, or one on each line").into()),
        BodyLen::Bytes(len) if len > bytes_max as u64 => {
            let message = format!("the body is longer than {bytes_max} bytes: send fewer events at a time, as application/x-ndjson");
            Err(Refusal::new(TOO_LARGE, message).into())
        }
        BodyLen::Bytes(len) => Ok(Box::new(Body::new(len as usize, is_json, request.keep_alive(), grants))),
    }
}

fn publisher(request: &Request<'_>, client: Option<IpAddr>, core: &mut Core) -> Result<Grants, HttpRefusal> {
    let grants = streams::caller(request, client, "publish", core)?;
    if !grants.has(Scope::Publish) {
        core.turn_away(client, Some(grants.user), "publish", FORBIDDEN.name);
        return Err(Refusal::new(FORBIDDEN, "the token lacks the scope publish").into());
    }
    Ok(grants)
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// Somebody who asked to speak WebSocket, and may not.
struct TurnedAway {
    refusal: Box<HttpRefusal>,
    /// How that counts.
    result: Handshake,
    /// More exactly, if a token is the reason.
    reason: &'static str,
    /// Whose token that is, if it is known.
    user: Option<Arc<str>>,
}

impl TurnedAway {
    fn new(refusal: impl Into<HttpRefusal>, result: Handshake) -> TurnedAway {
        TurnedAway { refusal: Box::new(refusal.into()), result, reason: HANDSHAKES[result as usize], user: None }
    }
}

/// Upgrades, or says why not.
fn upgrade(request: &Request<'_>, id: ConnId, client: Option<IpAddr>, core: &mut Core, outbox: &mut Outbox) -> Result<Route, TurnedAway> {
    let bad_request = |refusal| TurnedAway::new(refusal, Handshake::BadRequest);
    let upgrade = request.upgrade().map_err(bad_request)?.ok_or_else(|| bad_request(no_upgrade(request)))?;
    if core.is_draining() {
        return Err(TurnedAway::new(shutting_down(), Handshake::ShuttingDown));
    }
    core.spare_memory(Demand::Handshake).map_err(|refusal| TurnedAway::new(refusal, Handshake::OverCapacity))?;
    let address = core.options.limited(client);
    let too_many = |wait| TurnedAway::new(too_many_handshakes(wait), Handshake::RateLimited);
    core.registry.handshake(address, core.now.mono).map_err(too_many)?;
    check_origin(&upgrade, core).map_err(|refusal| TurnedAway::new(refusal, Handshake::BadOrigin))?;
    let token = token_of(request, Some(&upgrade), core.options.query_token).map_err(bad_request)?;
    let verified = token.map(|token| core.check_token(token)).transpose();
    if let Err(error) = &verified {
        let hides_status = upgrade.origin.is_some() && upgrade.subprotocol.tickerd_v1;
        if !hides_status {
            let user = token.and_then(|token| core.user_of(token));
            let turned_away = TurnedAway::new(unauthorized(error.refusal()), Handshake::BadToken);
            return Err(TurnedAway { reason: error.label(), user, ..turned_away });
        }
    }
    let is_publisher = matches!(&verified, Ok(Some(grants)) if grants.has(Scope::Publish));
    if upgrade.origin.is_none() && core.options.require_origin && !is_publisher {
        let refusal =
            Refusal::new(FORBIDDEN, "the header origin is missing: this server is for pages, and for tokens with the scope publish");
        return Err(TurnedAway::new(refusal, Handshake::BadOrigin));
    }
    if !core.registry.has_room() {
        let refusal = Refusal::passing(OVER_CAPACITY, "the server has as many connections as it may: come back later", 5_000);
        return Err(TurnedAway::new(refusal, Handshake::OverCapacity));
    }
    let deflate = upgrade.deflate.filter(|_| core.options.compression.is_some());
    outbox.push_raw(core.now.mono, |out| write_switching(out, upgrade.key, upgrade.subprotocol.tickerd_v1, deflate));
    if let Some(deflate) = deflate {
        core.stats.compression_agreed.inc();
        outbox.set_window_bits(deflate.window_bits());
    }
    let mut websocket = Box::new(WebSocket::new(id, client, deflate.is_some(), core));
    let next = match verified {
        Ok(Some(grants)) => websocket.begin(grants, core, outbox),
        Ok(None) => Next::Go,
        Err(error) => {
            websocket.session.turn_away(token.and_then(|token| core.user_of(token)), error.close_code().name, core);
            Next::Close(error.close_code())
        }
    };
    Ok(Route::WebSocket(websocket, next))
}

fn check_origin(upgrade: &Upgrade<'_>, core: &Core) -> Result<(), HttpRefusal> {
    let allowed = &core.options.origins;
    match upgrade.origin {
        Some(origin) if !allowed.is_empty() && !is_listed(origin, core) => Err(bad_origin().into()),
        _ => Ok(()),
    }
}

fn no_upgrade(request: &Request<'_>) -> HttpRefusal {
    if request.method != "GET" {
        return not_allowed("Allow: GET", "a WebSocket is opened by GET");
    }
    let refusal = status(426, BAD_STATE, "this path speaks WebSocket: send an Upgrade, and see that proxies pass it on");
    HttpRefusal { extra_header: Some("Upgrade: websocket"), ..refusal }
}
