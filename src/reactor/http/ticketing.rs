//! Tickets on a connection that speaks HTTP: `POST /v1/ticket`, and requests that bring one. Where nodes share tickets, both wait for the store's word.

use std::net::IpAddr;

use crate::auth::{Grants, Ticket, TicketSaid};
use crate::base::codes::{INVALID_FIELD, OVER_CAPACITY, Refusal, STORE_UNAVAILABLE};
use crate::base::ids::ConnId;
use crate::base::limits::TICKET_TTL;
use crate::net::outbox::Outbox;
use crate::reactor::connection::Then;
use crate::reactor::core::Core;
use crate::reactor::tickets::{random, too_many};
use crate::wire::http::{HttpRefusal, Request, token_of, write_response};

use super::answers::not_allowed;
use super::streams::{caller, check_no_body, check_open};
use super::{Http, Route};

/// When another ticket is worth asking for.
const RETRY_MS: u32 = 1_000;

/// What a request and the store have to do with each other.
#[derive(Debug)]
pub(super) enum Ticketing {
    /// One is to be given out once the store has it.
    Giving { ticket: Ticket, grants: Grants, keep_alive: bool },
    /// The store is asked for the one that the request brings; the request is looked at again then.
    Redeeming(Ticket),
    /// It has given it up, if there was one, or why that is not known.
    Redeemed(Result<(), Refusal>),
}

impl Http {
    /// Gives a ticket for the token's identity: for an `EventSource`, which cannot send the token.
    pub(super) fn give_ticket(
        &mut self,
        request: &Request<'_>,
        id: ConnId,
        client: Option<IpAddr>,
        core: &mut Core,
    ) -> Result<Route, HttpRefusal> {
        if request.method != "POST" {
            return Err(not_allowed("Allow: POST", "a ticket is made by POST"));
        }
        request.check_params(&["ticket", "token"])?;
        check_no_body(request)?;
        check_open(request, client, true, core)?;
        if request.param("ticket")?.is_some() {
            return Err(Refusal::new(INVALID_FIELD, "a ticket is had for a token, not for another ticket").into());
        }
        let grants = caller(request, client, "ticket", core)?;
        core.registry.tickets.count(&grants.user, core.now.mono)?;
        let ticket = random()?;
        if core.ticket_desk.ask(id, ticket, Some(&grants)) {
            self.ticketing = Some(Box::new(Ticketing::Giving { ticket, grants, keep_alive: request.keep_alive() }));
            return Ok(Route::Wait);
        }
        core.registry.tickets.keep(ticket, grants, core.now.mono);
        Ok(Route::Answer(told(ticket)))
    }

    /// Whether the request can be looked at: the ticket that it brings, if it does, is not with the store. `Some(true)`: that was found out before, and
    /// the request has been counted.
    pub(super) fn settle_ticket(
        &mut self,
        request: &Request<'_>,
        id: ConnId,
        client: Option<IpAddr>,
        core: &mut Core,
    ) -> Result<Option<bool>, HttpRefusal> {
        if let Some(ticketing) = self.ticketing.take_if(|ticketing| matches!(**ticketing, Ticketing::Redeemed(_))) {
            return if let Ticketing::Redeemed(Err(refusal)) = *ticketing { Err(refusal.into()) } else { Ok(Some(true)) };
        }
        let Some(ticket) = shared_ticket(request, core)? else { return Ok(Some(false)) };
        // Before anybody is asked, all that would refuse one who guesses.
        check_no_body(request)?;
        check_open(request, client, request.path != "/v1/ack" && self.poll.is_none(), core)?;
        if !core.ticket_desk.ask(id, ticket, None) {
            return Err(busy().into());
        }
        self.ticketing = Some(Box::new(Ticketing::Redeeming(ticket)));
        Ok(None)
    }

    /// The store has said something of the ticket.
    pub(in crate::reactor) fn on_ticket_word(&mut self, said: TicketSaid, core: &mut Core, outbox: &mut Outbox) -> Then {
        let Some(ticketing) = self.ticketing.take() else { return Then::Go };
        match *ticketing {
            Ticketing::Giving { ticket, grants, keep_alive } => {
                let keep_alive = keep_alive && !core.is_draining();
                match given(ticket, grants, &said, core) {
                    Ok(ticket) => {
                        let json = told(ticket);
                        self.answer(core, outbox, |out| write_response(out, 200, "application/json", keep_alive, &[], &json));
                    }
                    Err(refusal) => self.refuse(&refusal.into(), keep_alive, "POST", core, outbox),
                }
                self.after_answer(keep_alive, core)
            }
            Ticketing::Redeeming(ticket) => {
                let outcome = match said {
                    TicketSaid::Taken(grants) => {
                        // It is this node's own now, and the request that asked for it is looked at next.
                        core.registry.tickets.keep(ticket, *grants, core.now.mono);
                        Ok(())
                    }
                    TicketSaid::Unavailable => Err(unavailable()),
                    TicketSaid::Unknown | TicketSaid::Given | TicketSaid::TooMany { .. } => Ok(()),
                };
                self.ticketing = Some(Box::new(Ticketing::Redeemed(outcome)));
                Then::Go
            }
            Ticketing::Redeemed(_) => Then::Go,
        }
    }

    /// Whether a request waits until the store has said what its ticket is worth.
    pub(in crate::reactor) fn is_redeeming(&self) -> bool {
        matches!(self.ticketing.as_deref(), Some(Ticketing::Redeeming(_)))
    }

    /// Whether the store is being asked.
    pub(super) fn awaits_store(&self) -> bool {
        self.ticketing.as_deref().is_some_and(|ticketing| !matches!(ticketing, Ticketing::Redeemed(_)))
    }
}

/// Which ticket is good: that which the store has, or one that is good here alone, if it may not have it, which nobody can have heard of.
fn given(ticket: Ticket, grants: Grants, said: &TicketSaid, core: &Core) -> Result<Ticket, Refusal> {
    match said {
        TicketSaid::Given => Ok(ticket),
        TicketSaid::TooMany { wait_ms } => Err(too_many(*wait_ms)),
        TicketSaid::Unavailable | TicketSaid::Unknown | TicketSaid::Taken(_) => {
            let ticket = random()?;
            core.registry.tickets.keep(ticket, grants, core.now.mono);
            Ok(ticket)
        }
    }
}

/// The ticket that the request brings, if it can be with the store alone. What is wrong with the request otherwise is found out later.
fn shared_ticket(request: &Request<'_>, core: &Core) -> Result<Option<Ticket>, HttpRefusal> {
    let takes_tickets = matches!((request.method, request.path), ("GET", "/v1/events" | "/v1/poll") | ("POST", "/v1/ack"));
    if !takes_tickets || !core.ticket_desk.is_there() || token_of(request, None, core.options.query_token)?.is_some() {
        return Ok(None);
    }
    let ticket = request.param("ticket")?.and_then(|text| Ticket::parse(&text));
    Ok(ticket.filter(|ticket| !core.registry.tickets.has(*ticket, core.now.mono)))
}

fn told(ticket: Ticket) -> Vec<u8> {
    let expires_in_ms = TICKET_TTL.as_millis();
    format!(r#"{{"ok":true,"ticket":"{ticket}","expires_in_ms":{expires_in_ms}}}"#).into_bytes()
}

/// Nobody has asked for the ticket, so it is as good as before.
fn busy() -> Refusal {
    let message = "as many tickets as may be are looked up right now: bring this one again after retry_after_ms";
    Refusal::passing(OVER_CAPACITY, message, RETRY_MS)
}

fn unavailable() -> Refusal {
    let message =
        "Redis does not answer, so nobody knows whether the ticket is still good: get another one by POST /v1/ticket after retry_after_ms";
    Refusal::passing(STORE_UNAVAILABLE, message, RETRY_MS)
}
