//! Why a session may join a room, or may not: each rule on its way to the hub, asked as a join asks it.

use std::time::Duration;

use crate::base::rules::Rule;
use crate::reactor::core::Core;
use crate::reactor::limiter::Limiter;
use crate::reactor::memory::Demand;

use super::{Session, Way};

impl Session {
    /// A join; or how long it must wait, if too many were denied: to this connection, or if it comes by request, to its user.
    pub(super) fn may_risk_denial(&self, by_pattern: bool, limiter: &mut Limiter, core: &Core) -> Result<(), Duration> {
        match self.user() {
            Some(user) if self.way != Way::WebSocket && !by_pattern => core.registry.denials.check(user, core.now.mono),
            _ => limiter.join(by_pattern, core.now.mono),
        }
    }

    /// The rules in the order in which a `subscribe` meets them; nothing is changed. What the hub and the authorizer say comes after.
    pub(in crate::reactor) fn rules(&self, room: &str, core: &Core) -> Vec<Rule> {
        let Some(grants) = &self.grants else { return vec![Rule::new("token", false, "no token was accepted yet")] };
        let by_pattern = grants.may_read(room);
        let told = |name, ruled: Result<(), String>, otherwise: &str| match ruled {
            Ok(()) => Rule::new(name, true, otherwise),
            Err(why) => Rule::new(name, false, why),
        };
        let is_revoked = core.tokens.is_revoked(grants);
        let left_ms = grants.expires_at_ms.saturating_sub(core.now.wall_ms);
        let rate = self.may_risk_denial(by_pattern, &mut self.limiter.clone(), core);
        let pattern =
            if by_pattern { "the token names the room, or it is the user's own" } else { "no pattern of the token matches the room" };
        let is_member = core.rooms.find(self.id.slot, room).is_some();
        let membership = match is_member {
            true => "it is a member now",
            false if self.is_awaited(room) => "it asked to join, and has no answer yet",
            false => "it is no member: it has not asked, was refused, or left",
        };
        vec![
            Rule::new("membership", is_member, membership),
            Rule::new("revocation", !is_revoked, if is_revoked { "the token is revoked" } else { "the token is not revoked" }),
            Rule::new("expiry", left_ms > 0, format!("the token ends in {} s", left_ms / 1_000)),
            Rule::new("pattern", by_pattern, pattern),
            told(
                "denied_joins",
                rate.map_err(|wait| format!("too many joins were denied: the next one in {} ms", wait.as_millis())),
                "few joins were denied",
            ),
            told(
                "rooms_of_connection",
                self.may_ask_to_join(room, core).map_err(|refusal| refusal.message),
                "the connection may have another room",
            ),
            told("memory", core.can_spare(Demand::Join).map_err(|refusal| refusal.message), "there is memory for another join"),
        ]
    }
}
