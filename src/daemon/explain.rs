//! `GET /v1/explain?user=…&room=…`: why a user does, or does not, get a room. Each rule is asked in the order in which a join meets it: the
//! connections' own by the reactors, the room's by the hub, each by the functions that decide joins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::bounded;
use parking_lot::RwLock;
use serde_json::{Value, json};

use crate::auth::Revocations;
use crate::base::codes::Refusal;
use crate::base::ident;
use crate::base::rules::{Rule, Ruling};
use crate::hub::inspect::RoomFacts;
use crate::journal::audit;
use crate::net::clock::Clock;
use crate::net::link::Link;
use crate::reactor::authorizer::Authorizer;
use crate::reactor::listing::ConnectionRecord;
use crate::reactor::registry::Registry;
use crate::wire::query::Query;

use super::connections::{Connections, rule, told};
use super::hub_seat::Question;

/// How long the hub is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Connections of the user that are told.
const CONNECTIONS_MAX: usize = 20;
/// Refusals of the audit trail that are told.
const REFUSALS_MAX: usize = 10;

/// See the module.
pub(super) struct Explainer {
    pub(super) clock: Clock,
    pub(super) connections: Arc<Connections>,
    pub(super) hub: Arc<Link<Question>>,
    pub(super) registry: Arc<Registry>,
    pub(super) revocations: Arc<RwLock<Revocations>>,
    /// Where there is one.
    pub(super) authorizer: Option<Arc<Authorizer>>,
    /// With a data directory.
    pub(super) audit_file: Option<PathBuf>,
}

impl Explainer {
    /// Answers the request.
    pub(super) fn explain(&self, query: &str) -> Result<String, Refusal> {
        let query = Query::parse(query, &["user", "room"])?;
        let (user, room) = (query.required("user")?, query.required("room")?);
        let records = self.connections.by_slot(Some(user), Some(room), (0, 0), CONNECTIONS_MAX).records;
        let facts = self.inspect(user, room);
        let rules = self.rules(user, room, facts.as_ref());
        let (verdict, because) = verdict(&records, &rules, room);
        let refusals = self.audit_file.as_ref().map(|file| match audit::refusals(file, user, room, REFUSALS_MAX) {
            Ok(refusals) => refusals,
            Err(error) => json!({"error": format!("the audit trail cannot be read: {error}")}),
        });
        Ok(json!({
            "user": user,
            "room": room,
            "verdict": verdict,
            "because": because,
            "rules": rules.iter().map(rule).collect::<Vec<_>>(),
            "connections": records.iter().map(|record| {
                json!({"rules": record.rules.iter().map(rule).collect::<Vec<_>>(), "connection": told(record)})
            }).collect::<Vec<Value>>(),
            "room_now": facts.map(|facts| facts.told()),
            "refusals": refusals,
        })
        .to_string())
    }

    /// What holds for all connections of the user.
    fn rules(&self, user: &str, room: &str, facts: Option<&RoomFacts>) -> Vec<Rule> {
        let is_identifier = ident::is_identifier(room);
        let (connected, most) = (self.registry.connections_of(user), self.registry.per_user_max());
        let mut rules = vec![
            Rule::new("room_name", is_identifier, if is_identifier { "the room's name is one" } else { "no room can have that name" }),
            self.revocation(user),
            Rule::new(
                "connections_of_user",
                connected < most,
                format!("the user has {connected} of the {most} connections that it may have"),
            ),
            Rule::new(
                "server",
                self.registry.has_room(),
                format!("the server has {} of {} clients", self.registry.connections(), self.registry.connections_max()),
            ),
        ];
        match facts {
            Some(facts) => rules.extend(facts.rules.iter().cloned()),
            None => rules.push(Rule::unknown("owner", "the hub gives no answer: see /healthz")),
        }
        rules.push(self.authorizer());
        rules
    }

    fn revocation(&self, user: &str) -> Rule {
        match self.revocations.read().revoked_before_s(user) {
            None => Rule::new("revocation", true, "no revocation is about all tokens of the user; of single tokens, see the connections"),
            Some(before_s) => {
                Rule::unknown("revocation", format!("tokens of the user that were issued before {before_s} (Unix seconds) are revoked"))
            }
        }
    }

    fn authorizer(&self) -> Rule {
        match &self.authorizer {
            None => Rule::new("authorizer", false, "there is none (--authorizer-url): pattern and owner decide alone"),
            Some(authorizer) if authorizer.is_resting(self.clock.mono()) => Rule::new(
                "authorizer",
                false,
                "it does not answer, and is not asked for the time being: joins that need its word are refused",
            ),
            Some(_) => Rule::unknown("authorizer", "it is asked when neither pattern nor owner allows the join; what it says is its own"),
        }
    }

    fn inspect(&self, user: &str, room: &str) -> Option<RoomFacts> {
        let (answer, facts) = bounded(1);
        self.hub.push(Question { user: user.into(), room: room.into(), answer }).ok()?;
        self.hub.ring();
        facts.recv_timeout(PATIENCE).ok()
    }
}

/// What all of it comes to, and what decides it.
fn verdict(records: &[ConnectionRecord], rules: &[Rule], room: &str) -> (&'static str, String) {
    if records.iter().any(|record| record.rooms.iter().any(|membership| *membership.name == *room)) {
        return ("member", "a connection of the user is a member of the room, and gets its events".to_owned());
    }
    let says = |name: &str, ruling: Ruling| rules.iter().find(|rule| rule.name == name && rule.ruling == ruling);
    if let Some(rule) = says("room_name", Ruling::No) {
        return ("may_not", rule.why.clone());
    }
    let is_owner = says("owner", Ruling::Yes).is_some();
    let of_connections = || records.iter().map(|record| &record.rules);
    let has_pattern = |rules: &[Rule]| rules.iter().any(|rule| rule.name == "pattern" && rule.ruling == Ruling::Yes);
    if let Some(rules) = of_connections().find(|rules| is_owner || has_pattern(rules)) {
        let in_the_way = rules.iter().find(|rule| !matches!(rule.name, "membership" | "pattern") && rule.ruling == Ruling::No);
        return match in_the_way {
            Some(rule) => ("may_not", format!("it may join by right, but: {}", rule.why)),
            None if says("place", Ruling::No).is_some() => {
                ("may_not", says("place", Ruling::No).map_or_else(String::new, |rule| rule.why.clone()))
            }
            None => ("may_join", "a connection of the user may join the room, and has not asked to, or has left it".to_owned()),
        };
    }
    if is_owner {
        return ("may_join", "the user owns the room, and is not connected".to_owned());
    }
    match (records.is_empty(), says("authorizer", Ruling::Unknown)) {
        (true, _) => ("unknown", "the user is not connected, and does not own the room: what its token allows is not known here; give `tickerd explain` the token".to_owned()),
        (false, Some(_)) => ("authorizer", "neither a pattern of the token nor ownership allows the join: the authorizer decides it".to_owned()),
        (false, None) => ("may_not", "neither a pattern of the token nor ownership allows the join".to_owned()),
    }
}
