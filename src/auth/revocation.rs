//! Tokens that end before their time: one by its `jti`, or all of a user that were issued before some moment.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::claims::TIME_S_MAX;
use super::{Grants, TokenError, json as strict};
use crate::base::limits::IDENT_BYTES_MAX;

/// Ended entries are kept so much longer, lest a clock that was ahead for a while brings a token back.
const GRACE_S: u64 = 24 * 3600;

/// Whose connections are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Those of the one token with this `jti`.
    Token(Box<str>),
    /// Those of a user's tokens that were issued before this time, Unix seconds. A token without `iat` always was.
    User {
        /// The user.
        name: Box<str>,
        /// `u32::MAX`: whenever they were issued.
        issued_before_s: u32,
    },
}

impl Whom {
    /// Whether a token with these grants is meant.
    pub fn covers(&self, grants: &Grants) -> bool {
        match self {
            Whom::Token(id) => grants.token_id.as_ref() == Some(id),
            Whom::User { name, issued_before_s } => *grants.user == **name && grants.issued_at_s < *issued_before_s,
        }
    }
}

/// Tokens that are good no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which ones.
    pub whom: Whom,
    /// When the last of them ends by itself, Unix seconds: then this can be forgotten. `None`: that is not known.
    pub until_s: Option<u64>,
}

impl Revocation {
    /// Reads `{"jti":…}` or `{"sub":…,"before":…}`, either with an `exp`; `before` is the next second if it is left out. What is not
    /// understood is refused: half understood it would revoke something else. An error says what to write.
    pub fn parse(text: &[u8], now_s: u64) -> Result<Revocation, String> {
        let members = strict::parse_object(text).ok_or("write one JSON object, each member once, such as {\"jti\":\"…\"}")?;
        if let Some(name) = members.keys().find(|name| !["jti", "sub", "before", "exp"].contains(&name.as_str())) {
            return Err(format!("`{name}` is not known here: write `jti`, or `sub` and `before`, and `exp` if need be"));
        }
        let whom = match (text_of(&members, "jti")?, text_of(&members, "sub")?) {
            (Some(_), None) if members.contains_key("before") => return Err("`before` goes with `sub`, not with `jti`".to_owned()),
            (Some(id), None) => Whom::Token(id),
            (None, Some(name)) => {
                let before_s = time_of(&members, "before")?.unwrap_or(now_s + 1);
                Whom::User { name, issued_before_s: u32::try_from(before_s).map_err(|_| "`before` is after the year 2105")? }
            }
            _ => return Err("write either `jti`, one token's, or `sub`, a user".to_owned()),
        };
        Ok(Revocation { whom, until_s: time_of(&members, "exp")? })
    }

    /// The text that [`Revocation::parse`] reads.
    pub fn to_json(&self) -> String {
        let mut members = match &self.whom {
            Whom::Token(id) => json!({ "jti": id }),
            Whom::User { name, issued_before_s } => json!({ "sub": name, "before": issued_before_s }),
        };
        if let Some(until_s) = self.until_s {
            members["exp"] = until_s.into();
        }
        members.to_string()
    }
}

fn text_of(members: &Map<String, Value>, name: &str) -> Result<Option<Box<str>>, String> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let text = value.as_str().filter(|text| (1..=IDENT_BYTES_MAX).contains(&text.len()));
    text.map(|text| Some(text.into())).ok_or_else(|| format!("`{name}` is a string of 1 to {IDENT_BYTES_MAX} bytes"))
}

fn time_of(members: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let time = value.as_u64().filter(|time| *time <= TIME_S_MAX);
    time.map(Some).ok_or_else(|| format!("`{name}` is a time in Unix seconds, an integer"))
}

/// There are as many revocations as there may be, and none that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// All revocations that hold.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    tokens: HashMap<Box<str>, u64>,
    users: HashMap<Box<str>, Before>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    issued_before_s: u32,
    until_s: u64,
}

impl Revocations {
    /// Whether a token with these grants is revoked.
    pub fn covers(&self, grants: &Grants) -> bool {
        grants.token_id.as_ref().is_some_and(|id| self.tokens.contains_key(id))
            || self.users.get(&*grants.user).is_some_and(|before| grants.issued_at_s < before.issued_before_s)
    }

    /// Whether what a token granted holds still.
    pub fn check(&self, grants: &Grants, wall_ms: u64) -> Result<(), TokenError> {
        match grants {
            _ if self.covers(grants) => Err(TokenError::Revoked),
            grants if grants.expires_at_ms <= wall_ms => Err(TokenError::Expired),
            _ => Ok(()),
        }
    }

    /// Before when tokens of that user must have been issued to be revoked, if any are.
    pub fn revoked_before_s(&self, user: &str) -> Option<u32> {
        self.users.get(user).map(|before| before.issued_before_s)
    }

    /// Adds one; whether it says anything new. At `entries_max` those that have ended go first.
    pub fn insert(&mut self, revocation: &Revocation, now_s: u64, entries_max: usize) -> Result<bool, Full> {
        if self.len() >= entries_max && !self.has(&revocation.whom) {
            self.forget_ended(now_s);
            if self.len() >= entries_max {
                return Err(Full);
            }
        }
        let until_s = revocation.until_s.unwrap_or(u64::MAX);
        Ok(match &revocation.whom {
            Whom::Token(id) => {
                let known = self.tokens.get(id).copied();
                let latest = known.unwrap_or(0).max(until_s);
                self.tokens.insert(id.clone(), latest);
                known != Some(latest)
            }
            Whom::User { name, issued_before_s } => {
                let known = self.users.get(name).copied();
                let (before_s, known_until_s) = known.map_or((0, 0), |known| (known.issued_before_s, known.until_s));
                let merged = Before { issued_before_s: before_s.max(*issued_before_s), until_s: known_until_s.max(until_s) };
                self.users.insert(name.clone(), merged);
                known != Some(merged)
            }
        })
    }

    fn has(&self, whom: &Whom) -> bool {
        match whom {
            Whom::Token(id) => self.tokens.contains_key(id),
            Whom::User { name, .. } => self.users.contains_key(name),
        }
    }

    /// Forgets those whose tokens have all ended by themselves.
    pub fn forget_ended(&mut self, now_s: u64) {
        let holds = |until_s: u64| until_s.saturating_add(GRACE_S) > now_s;
        self.tokens.retain(|_, until_s| holds(*until_s));
        self.users.retain(|_, before| holds(before.until_s));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Revocation> {
        let until = |until_s: u64| (until_s != u64::MAX).then_some(until_s);
        let tokens = self.tokens.iter().map(move |(id, until_s)| Revocation { whom: Whom::Token(id.clone()), until_s: until(*until_s) });
        let users = self.users.iter().map(move |(name, before)| Revocation {
            whom: Whom::User { name: name.clone(), issued_before_s: before.issued_before_s },
            until_s: until(before.until_s),
        });
        tokens.chain(users)
    }
}

#[cfg(test)]
mod tests {
    use super::super::VerifyOptions;
    use super::super::testing::{NOW_MS, NOW_S, pairs};
    use super::*;

    fn parse(text: &str) -> Result<Revocation, String> {
        Revocation::parse(text.as_bytes(), NOW_S)
    }

    /// The grants of a token of the user `u1` with more claims (`,"name":…`).
    fn grants(more: &str) -> Grants {
        let claims = format!(r#"{{"sub":"u1","exp":{}{more}}}"#, NOW_S + 60);
        let token = pairs()[0].signer().sign_parts(br#"{"alg":"HS256"}"#, claims.as_bytes()).unwrap();
        pairs()[0].verifier(VerifyOptions::default()).verify(&token, NOW_MS).unwrap()
    }

    fn issued(at_s: u64) -> Grants {
        grants(&format!(r#","iat":{at_s}"#))
    }

    #[test]
    fn what_is_read_is_written_alike() {
        for text in [
            r#"{"jti":"t1"}"#,
            r#"{"exp":1800000060,"jti":"t1"}"#,
            r#"{"before":1800000000,"sub":"u1"}"#,
            r#"{"before":0,"exp":253402300799,"sub":"a \"b\" é"}"#,
        ] {
            assert_eq!(parse(text).unwrap().to_json(), text);
        }
        let without_time = parse(r#"{"sub":"u1"}"#).unwrap().whom;
        assert_eq!(without_time, Whom::User { name: "u1".into(), issued_before_s: NOW_S as u32 + 1 }, "this second's are among them");
    }

    /// A member that is misspelt must not be passed over: it would revoke something else.
    #[test]
    fn what_is_not_understood_is_refused() {
        let long = format!(r#"{{"jti":"{}"}}"#, "x".repeat(201));
        for (text, told) in [
            ("", "JSON object"),
            ("[]", "JSON object"),
            (r#"{"jti":"a","jti":"b"}"#, "JSON object"),
            ("{}", "either"),
            (r#"{"jti":"a","sub":"b"}"#, "either"),
            (r#"{"jti":"a","before":1}"#, "`before` goes with `sub`"),
            (r#"{"sub":"a","befor":1}"#, "`befor`"),
            (r#"{"jti":7}"#, "`jti`"),
            (r#"{"jti":""}"#, "`jti`"),
            (long.as_str(), "`jti`"),
            (r#"{"sub":"a","before":"1"}"#, "`before`"),
            (r#"{"sub":"a","before":1.5}"#, "`before`"),
            (r#"{"sub":"a","before":-1}"#, "`before`"),
            (r#"{"sub":"a","before":1800000000000}"#, "`before`"),
            (r#"{"sub":"a","before":4294967296}"#, "`before`"),
            (r#"{"jti":"a","exp":null}"#, "`exp`"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(told), "{text}: {message}");
        }
    }

    /// AUT-07: by `jti` one token ends, by user those issued before the time; a token without `iat` is older than any.
    #[test]
    fn a_revocation_covers_the_tokens_it_names_and_no_others() {
        let mut list = Revocations::default();
        let revoke = |list: &mut Revocations, text: &str| list.insert(&parse(text).unwrap(), NOW_S, 10).unwrap();
        assert!(revoke(&mut list, r#"{"jti":"t1"}"#));
        let (t1, t2) = (grants(r#","jti":"t1""#), grants(r#","jti":"t2""#));
        assert!(list.covers(&t1) && !list.covers(&t2) && !list.covers(&grants("")));
        assert!(revoke(&mut list, &format!(r#"{{"sub":"u2","before":{NOW_S}}}"#)));
        assert!(!list.covers(&issued(NOW_S - 60)), "another user's");
        let whom = parse(&format!(r#"{{"sub":"u1","before":{NOW_S}}}"#)).unwrap();
        assert!(list.insert(&whom, NOW_S, 10).unwrap());
        for (token, is_covered) in [(issued(NOW_S - 1), true), (issued(NOW_S), false), (grants(""), true), (t1.clone(), true), (t2, true)] {
            assert_eq!((list.covers(&token), whom.whom.covers(&token)), (is_covered, is_covered), "{token:?}");
        }
        assert!(!revoke(&mut list, &format!(r#"{{"sub":"u1","before":{}}}"#, NOW_S - 60)), "an earlier time takes nothing back");
        assert!(list.covers(&issued(NOW_S - 1)));
        assert!(revoke(&mut list, &format!(r#"{{"sub":"u1","before":{}}}"#, NOW_S + 1)));
        assert!(list.covers(&issued(NOW_S)));
        assert!(!list.covers(&Grants::unix_socket()), "publishers on the unix socket have no token");
    }

    #[test]
    fn a_revocation_is_kept_as_long_as_the_longest_that_was_asked() {
        let mut list = Revocations::default();
        let revoke = |list: &mut Revocations, text: &str| list.insert(&parse(text).unwrap(), NOW_S, 10).unwrap();
        assert!(revoke(&mut list, r#"{"jti":"t1","exp":1800000060}"#));
        assert!(!revoke(&mut list, r#"{"jti":"t1","exp":1800000060}"#));
        assert!(!revoke(&mut list, r#"{"jti":"t1","exp":1800000000}"#));
        assert!(revoke(&mut list, r#"{"jti":"t1"}"#));
        assert!(!revoke(&mut list, r#"{"jti":"t1","exp":1800000060}"#));
        assert_eq!(list.iter().map(|entry| entry.to_json()).collect::<Vec<_>>(), [r#"{"jti":"t1"}"#]);
    }

    /// The list is bounded: what has ended makes place, what holds does not, and a clock that was ahead for a day has done no harm.
    #[test]
    fn only_what_has_ended_makes_place() {
        let mut list = Revocations::default();
        let named = |id: &str, until_s: Option<u64>| Revocation { whom: Whom::Token(id.into()), until_s };
        for (id, until_s) in [("a", Some(NOW_S)), ("b", Some(NOW_S + 60)), ("c", None)] {
            assert_eq!(list.insert(&named(id, until_s), NOW_S, 3), Ok(true));
        }
        assert_eq!(list.insert(&named("d", None), NOW_S + 60, 3), Err(Full));
        assert_eq!(list.insert(&named("c", None), NOW_S + 60, 3), Ok(false), "what is there needs no place");
        assert_eq!(list.insert(&named("d", None), NOW_S + GRACE_S, 3), Ok(true));
        let mut left: Vec<_> = list.iter().map(|entry| entry.to_json()).collect();
        left.sort();
        assert_eq!(left, [r#"{"exp":1800000060,"jti":"b"}"#, r#"{"jti":"c"}"#, r#"{"jti":"d"}"#]);
    }
}
