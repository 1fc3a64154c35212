//! `GET /v1/explain?user=…&room=…`: why a user does, or does not, get a room. Each rule is asked in the order in which a join meets it: the
//! connections' own by the reactors, the room's by the hub, each by the functions that decide joins. Of a token that is not connected, `tickerd explain`
//! tells what matters: never the token itself, which would end in a log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::bounded;
use parking_lot::RwLock;
use serde_json::{Value, json};

use crate::auth::{Grants, Revocations};
use crate::base::codes::{INVALID_FIELD, Refusal};
use crate::base::ident;
use crate::base::rules::{Rule, Ruling};
use crate::bridge::Server;
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
    /// Where several nodes count connections together.
    pub(super) nodes: Option<Arc<Server>>,
    /// With a data directory.
    pub(super) audit_file: Option<PathBuf>,
}

impl Explainer {
    /// Answers the request.
    pub(super) fn explain(&self, query: &str) -> Result<String, Refusal> {
        let query = Query::parse(query, &["user", "room", "pattern", "jti", "iat", "exp"])?;
        let (user, room) = (query.required("user")?, query.required("room")?);
        let token = Token::read(&query, user)?.map(|token| self.token(&token));
        let records = self.connections.by_slot(Some(user), Some(room), (0, 0), CONNECTIONS_MAX).records;
        let facts = self.inspect(user, room);
        let rules = self.rules(user, room, facts.as_ref());
        let (verdict, because) = verdict(&records, token.as_deref(), &rules, room);
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
            "token": token.map(|rules| json!({"rules": rules.iter().map(rule).collect::<Vec<_>>()})),
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
        let mut rules = vec![
            Rule::new("room_name", is_identifier, if is_identifier { "the room's name is one" } else { "no room can have that name" }),
            self.revocation(user),
            self.connections_of_user(user),
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

    fn connections_of_user(&self, user: &str) -> Rule {
        let (here, most) = (self.registry.connections_of(user), self.registry.per_user_max());
        let why = format!("the user has {here} of the {most} connections that it may have");
        let (may, why) = match self.nodes.as_ref().map(|nodes| nodes.connections_of(user)) {
            None => (true, why),
            Some(Ok(all)) => (all < u64::from(most), format!("{why} here, and {all} on all nodes, without those that poll")),
            Some(Err(_)) => (true, format!("{why} here; what it has on other nodes does not count, because Redis does not answer")),
        };
        Rule::new("connections_of_user", here < most && may, why)
    }

    /// What holds for a connection that brings this token.
    fn token(&self, token: &Token) -> Vec<Rule> {
        let now_ms = self.clock.now().wall_ms;
        let Token { grants, has_pattern } = token;
        let holds = self.revocations.read().check(grants, now_ms);
        let left_s = grants.expires_at_ms.saturating_sub(now_ms) / 1_000;
        let pattern =
            if *has_pattern { "the token names the room, or it is the user's own" } else { "no pattern of the token matches the room" };
        vec![
            match holds {
                Ok(()) => Rule::new("token", true, format!("the token holds: it is not revoked, and ends in {left_s} s")),
                Err(error) => Rule::new("token", false, error.refusal().message),
            },
            Rule::new("pattern", *has_pattern, pattern),
        ]
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
        self.hub.push(Question::Inspect { user: user.into(), room: room.into(), answer }).ok()?;
        self.hub.ring();
        facts.recv_timeout(PATIENCE).ok()
    }
}

/// What is told of a token.
struct Token {
    grants: Grants,
    /// Its patterns allow the room, or it is the user's own.
    has_pattern: bool,
}

impl Token {
    /// Reads it, if there is one. `jti` and `iat` are left out where the token has none.
    fn read(query: &Query, user: &str) -> Result<Option<Token>, Refusal> {
        let number = |name: &str| {
            let bad = || Refusal::new(INVALID_FIELD, format!("`{name}` must be a time in Unix seconds"));
            query.get(name).map(|text| text.parse::<u64>().map_err(|_| bad())).transpose()
        };
        let (jti, iat, exp) = (query.get("jti"), number("iat")?, number("exp")?);
        let has_pattern = match query.get("pattern") {
            Some("yes") => true,
            Some("no") => false,
            Some(_) => return Err(Refusal::new(INVALID_FIELD, "`pattern` can be yes or no: whether the token's patterns allow the room")),
            None if jti.is_some() || iat.is_some() || exp.is_some() => {
                let message = "of a token, tell `pattern` and `exp`, and `jti` and `iat` if it has them";
                return Err(Refusal::new(INVALID_FIELD, message));
            }
            None => return Ok(None),
        };
        let exp = exp.ok_or_else(|| Refusal::new(INVALID_FIELD, "of a token, tell `exp` too: each has one"))?;
        let issued_at_s = iat.map_or(0, |iat| u32::try_from(iat).unwrap_or(u32::MAX));
        Ok(Some(Token { grants: Grants::told_of(user, jti, issued_at_s, exp.saturating_mul(1_000)), has_pattern }))
    }
}

/// Rules that say nothing about a right to the room.
const NO_OBSTACLES: [&str; 2] = ["membership", "pattern"];
/// Of the rules for all, those that are about one connection more.
const OF_ANOTHER_CONNECTION: [&str; 2] = ["connections_of_user", "server"];

/// What all of it comes to, and what decides it. Of a token, that is what a connection would get that brings it.
fn verdict(records: &[ConnectionRecord], token: Option<&[Rule]>, rules: &[Rule], room: &str) -> (&'static str, String) {
    let says = |name: &str, ruling: Ruling| rules.iter().find(|rule| rule.name == name && rule.ruling == ruling);
    if let Some(rule) = token.and_then(|rules| rules.iter().find(|rule| rule.name == "token" && rule.ruling == Ruling::No)) {
        return ("may_not", rule.why.clone());
    }
    if let Some(rule) = says("room_name", Ruling::No) {
        return ("may_not", rule.why.clone());
    }
    let is_owner = says("owner", Ruling::Yes).is_some();
    let has_pattern = |rules: &[Rule]| rules.iter().any(|rule| rule.name == "pattern" && rule.ruling == Ruling::Yes);
    let has_right = token.is_none_or(|rules| is_owner || has_pattern(rules));
    if has_right && records.iter().any(|record| record.rooms.iter().any(|membership| *membership.name == *room)) {
        return ("member", "a connection of the user is a member of the room, and gets its events".to_owned());
    }
    let one_more: Vec<Rule> = rules.iter().filter(|rule| OF_ANOTHER_CONNECTION.contains(&rule.name)).cloned().collect();
    let of_token = token.map(|rules| [rules, &one_more].concat());
    let of_owner = (is_owner && records.is_empty() && token.is_none()).then_some(one_more);
    let all = records.iter().map(|record| &record.rules).chain(&of_token).chain(&of_owner);
    let by_right: Vec<&Vec<Rule>> = all.filter(|rules| has_right && (is_owner || has_pattern(rules))).collect();
    let obstacle = |of: &&Vec<Rule>| {
        let own = of.iter().find(|rule| !NO_OBSTACLES.contains(&rule.name) && rule.ruling == Ruling::No);
        own.or(says("place", Ruling::No)).cloned()
    };
    match by_right.first().map(obstacle) {
        Some(Some(rule)) if by_right.iter().all(|rules| obstacle(rules).is_some()) => {
            return ("may_not", format!("it may join by right, but: {}", rule.why));
        }
        Some(_) if !records.is_empty() => {
            return ("may_join", "a connection of the user may join the room, and has not asked to, or has left it".to_owned());
        }
        Some(_) if is_owner => return ("may_join", "the user owns the room, and is not connected".to_owned()),
        Some(_) => return ("may_join", "a pattern of the token allows the join, and the user is not connected".to_owned()),
        None => {}
    }
    match (records.is_empty() && token.is_none(), says("authorizer", Ruling::Unknown)) {
        (true, _) => ("unknown", "the user is not connected, and does not own the room: what its token allows is not known here; give `tickerd explain` the token".to_owned()),
        (false, Some(_)) => ("authorizer", "neither a pattern of the token nor ownership allows the join: the authorizer decides it".to_owned()),
        (false, None) => ("may_not", "neither a pattern of the token nor ownership allows the join".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(owner: bool, others: &[(&'static str, bool)]) -> Vec<Rule> {
        let rules = [
            ("room_name", true),
            ("connections_of_user", true),
            ("server", true),
            ("owner", owner),
            ("place", true),
            ("authorizer", false),
        ];
        let said = |name, otherwise| others.iter().find(|(other, _)| *other == name).map_or(otherwise, |(_, said)| *said);
        rules.into_iter().map(|(name, ruling)| Rule::new(name, said(name, ruling), format!("{name} says so"))).collect()
    }

    fn token(is_good: bool, has_pattern: bool) -> Vec<Rule> {
        vec![Rule::new("token", is_good, "token says so"), Rule::new("pattern", has_pattern, "pattern says so")]
    }

    /// OBS-27: what a token would get, by each of the rules that can decide it.
    #[test]
    fn the_verdict_is_of_the_token() {
        let ask = |token: &[Rule], rules: &[Rule]| verdict(&[], Some(token), rules, "r").0;
        assert_eq!(ask(&token(true, true), &told(false, &[])), "may_join");
        assert_eq!(ask(&token(true, false), &told(true, &[])), "may_join");
        assert_eq!(ask(&token(true, false), &told(false, &[])), "may_not");
        for (has_pattern, is_owner) in [(true, false), (false, true), (true, true)] {
            assert_eq!(ask(&token(false, has_pattern), &told(is_owner, &[])), "may_not", "it is no good");
            for rule in ["room_name", "connections_of_user", "server", "place"] {
                let (verdict, because) = verdict(&[], Some(&token(true, has_pattern)), &told(is_owner, &[(rule, false)]), "r");
                assert!(verdict == "may_not" && because.contains(&format!("{rule} says so")), "{rule}: {because}");
            }
        }
        let asked = [Rule::unknown("authorizer", "it is asked")];
        assert_eq!(ask(&token(true, false), &asked), "authorizer");
        assert_eq!(verdict(&[], None, &told(false, &[]), "r").0, "unknown");
        assert_eq!(verdict(&[], None, &told(true, &[]), "r").0, "may_join");
        assert_eq!(verdict(&[], None, &told(true, &[("server", false)]), "r").0, "may_not");
    }
}
