//! What the claims of a token must be, once its signature is known to be good, and what they grant.

use std::time::Duration;

use serde_json::{Map, Value};

use super::TokenError;
use super::grants::{Allowed, Grants, Pattern, Patterns, Scope, is_user};
use crate::base::limits::{IDENT_BYTES_MAX, TOKEN_LEEWAY};

const LEEWAY_MS: u64 = TOKEN_LEEWAY.as_millis() as u64;
/// The end of the year 9999. A later `exp` is milliseconds where seconds belong, or a token that never ends.
pub(super) const TIME_S_MAX: u64 = 253_402_300_799;

/// What is asked of an issuer's tokens beyond a good signature and times, and where in their claims things stand.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The `iss` they must have. `None`: any.
    pub issuer: Option<String>,
    /// What their `aud` must be or hold. `None`: `aud` is not looked at.
    pub audience: Option<String>,
    /// How long after its `iat` (which it must then have) a token counts. `None`: until its `exp`.
    pub max_age: Option<Duration>,
    /// The claims that may name the user; the first one present counts.
    pub user_claims: Vec<String>,
    /// The claim with the scopes.
    pub scope_claim: String,
    /// The claim with the patterns of rooms to read.
    pub rooms_claim: String,
    /// The claim with the patterns of rooms to publish to.
    pub publish_rooms_claim: String,
    /// Claims that must be there besides, whatever is in them.
    pub required_claims: Vec<String>,
}

impl Default for VerifyOptions {
    fn default() -> VerifyOptions {
        VerifyOptions {
            issuer: None,
            audience: None,
            max_age: None,
            user_claims: vec!["sub".to_owned()],
            scope_claim: "scope".to_owned(),
            rooms_claim: "rooms".to_owned(),
            publish_rooms_claim: "publish_rooms".to_owned(),
            required_claims: Vec::new(),
        }
    }
}

impl VerifyOptions {
    /// Checks the claims as of `wall_ms`.
    pub(super) fn check(&self, claims: &Map<String, Value>, wall_ms: u64) -> Result<Grants, TokenError> {
        check_type(claims)?;
        let times = self.check_times(claims, wall_ms)?;
        self.check_parties(claims)?;
        if self.required_claims.iter().any(|name| !claims.contains_key(name)) {
            return Err(TokenError::Claim("required"));
        }
        let user = self.user(claims)?;
        let allowed = Allowed {
            scopes: scopes(claims.get(&self.scope_claim))?,
            rooms: patterns(claims.get(&self.rooms_claim), "rooms")?.unwrap_or_default(),
            publish_rooms: patterns(claims.get(&self.publish_rooms_claim), "publish_rooms")?,
        };
        Ok(Grants::new(user, times, token_id(claims)?, allowed))
    }

    /// The time claims against `wall_ms`. The token ends at its `exp`, or before it at the greatest age.
    fn check_times(&self, claims: &Map<String, Value>, wall_ms: u64) -> Result<Times, TokenError> {
        let expires_at_ms = time_ms(claims, "exp")?.ok_or(TokenError::Claim("exp"))?;
        let issued_at_ms = time_ms(claims, "iat")?;
        if wall_ms >= expires_at_ms.saturating_add(LEEWAY_MS) {
            return Err(TokenError::Expired);
        }
        if time_ms(claims, "nbf")?.is_some_and(|not_before_ms| is_future(not_before_ms, wall_ms)) {
            return Err(TokenError::NotYetValid);
        }
        if issued_at_ms.is_some_and(|issued_at_ms| is_future(issued_at_ms, wall_ms)) {
            return Err(TokenError::IssuedInFuture);
        }
        let Some(max_age) = self.max_age else { return Ok(Times { issued_at_ms, expires_at_ms }) };
        let aged_at_ms = issued_at_ms.ok_or(TokenError::Claim("iat"))?.saturating_add(max_age.as_millis() as u64);
        if wall_ms >= aged_at_ms.saturating_add(LEEWAY_MS) {
            return Err(TokenError::TooOld);
        }
        Ok(Times { issued_at_ms, expires_at_ms: expires_at_ms.min(aged_at_ms) })
    }

    fn check_parties(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        match &self.audience {
            Some(audience) if !names(claims.get("aud"), audience) => Err(TokenError::Audience),
            _ => Ok(()),
        }
    }

    fn user<'a>(&self, claims: &'a Map<String, Value>) -> Result<&'a str, TokenError> {
        let claim = self.user_claims.iter().find_map(|name| claims.get(name)).ok_or(TokenError::Claim("user"))?;
        claim.as_str().filter(|user| is_user(user)).ok_or(TokenError::Claim("user"))
    }
}

/// When a token was issued, if it says so, and when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) issued_at_ms: Option<u64>,
    pub(super) expires_at_ms: u64,
}

/// A refresh token is for the issuer, not for us, though the same key signs it.
fn check_type(claims: &Map<String, Value>) -> Result<(), TokenError> {
    let is_refresh = |name| claims.get(name).and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("refresh"));
    if ["type", "typ", "token_type", "token_use"].into_iter().any(is_refresh) { Err(TokenError::Type) } else { Ok(()) }
}

/// A time claim, in Unix seconds with or without a fraction.
fn time_ms(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, TokenError> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let seconds = claim.as_f64().filter(|seconds| (0.0..=TIME_S_MAX as f64).contains(seconds)).ok_or(TokenError::Claim(name))?;
    Ok(Some((seconds * 1000.0) as u64))
}

fn is_future(time_ms: u64, wall_ms: u64) -> bool {
    time_ms > wall_ms.saturating_add(LEEWAY_MS)
}

/// Is the claim this string, or an array of strings with it?
fn names(claim: Option<&Value>, wanted: &str) -> bool {
    match claim {
        Some(Value::String(text)) => text == wanted,
        Some(Value::Array(items)) => items.iter().all(Value::is_string) && items.iter().any(|item| item == wanted),
        _ => false,
    }
}

/// Words that are no scope of ours are somebody else's.
fn scopes(claim: Option<&Value>) -> Result<Vec<Scope>, TokenError> {
    let Some(claim) = claim else { return Ok(Vec::new()) };
    let words = claim.as_str().ok_or(TokenError::Claim("scope"))?;
    Ok(words.split(' ').filter_map(Scope::from_name).collect())
}

fn patterns(claim: Option<&Value>, name: &'static str) -> Result<Option<Patterns>, TokenError> {
    let Some(claim) = claim else { return Ok(None) };
    let items = claim.as_array().ok_or(TokenError::Claim(name))?;
    items.iter().map(|item| item.as_str().and_then(Pattern::parse).ok_or(TokenError::Claim(name))).collect::<Result<_, _>>().map(Some)
}

fn token_id(claims: &Map<String, Value>) -> Result<Option<Box<str>>, TokenError> {
    let Some(claim) = claims.get("jti") else { return Ok(None) };
    claim.as_str().filter(|id| !id.is_empty() && id.len() <= IDENT_BYTES_MAX).map(|id| Some(id.into())).ok_or(TokenError::Claim("jti"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW_MS, NOW_S, pairs};
    use super::*;

    /// Checks claims signed by our secret.
    fn verify_at(claims: &str, options: &VerifyOptions, wall_ms: u64) -> Result<Grants, TokenError> {
        let token = pairs()[0].signer().sign_parts(br#"{"alg":"HS256"}"#, claims.as_bytes()).unwrap();
        pairs()[0].verifier(options.clone()).verify(&token, wall_ms)
    }

    fn verify(more: &str, options: &VerifyOptions) -> Result<Grants, TokenError> {
        verify_at(&format!(r#"{{"sub":"u1","exp":{}{more}}}"#, NOW_S + 3600), options, NOW_MS)
    }

    #[test]
    fn the_claims_become_grants() {
        let more = r#","jti":"t1","scope":"publish openid admin","rooms":["challenge:*"],"publish_rooms":["quote:*"]"#;
        let grants = verify(more, &VerifyOptions::default()).unwrap();
        assert_eq!((&*grants.user, grants.expires_at_ms, grants.token_id.as_deref()), ("u1", NOW_MS + 3_600_000, Some("t1")));
        assert!(grants.has(Scope::Publish) && grants.has(Scope::Admin) && !grants.has(Scope::Broadcast));
        assert!(grants.may_read("challenge:8f") && grants.may_read("user:u1") && !grants.may_read("quote:1"));
        assert!(grants.may_publish("quote:1") && !grants.may_publish("challenge:8f"));
    }

    #[test]
    fn a_token_without_scope_may_only_read() {
        let grants = verify("", &VerifyOptions::default()).unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| !grants.has(scope)));
        assert!(!grants.may_publish("challenge:8f") && !grants.may_read("challenge:8f"));
        let other = verify(r#","scope":"publisher Publish publish,admin""#, &VerifyOptions::default()).unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| !other.has(scope)), "words are whole and exact");
    }

    /// AUT-06: the leeway counts for the check, not for when the connection ends.
    #[test]
    fn a_token_ends_at_its_exp_and_a_leeway() {
        let claims = format!(r#"{{"sub":"u1","exp":{NOW_S}}}"#);
        let leeway_ms = TOKEN_LEEWAY.as_millis() as u64;
        let grants = verify_at(&claims, &VerifyOptions::default(), NOW_MS + leeway_ms - 1).unwrap();
        assert_eq!(grants.expires_at_ms, NOW_MS);
        assert_eq!(verify_at(&claims, &VerifyOptions::default(), NOW_MS + leeway_ms).unwrap_err(), TokenError::Expired);
        let fraction = format!(r#"{{"sub":"u1","exp":{NOW_S}.25}}"#);
        assert_eq!(verify_at(&fraction, &VerifyOptions::default(), NOW_MS).unwrap().expires_at_ms, NOW_MS + 250);
    }

    /// AUT-04, X23: with a greatest age, a token needs `iat`, and ends at that age.
    #[test]
    fn a_greatest_age_ends_a_token_before_its_exp() {
        let aged = VerifyOptions { max_age: Some(Duration::from_secs(600)), ..VerifyOptions::default() };
        let issued = |ago_s: u64| format!(r#","iat":{}"#, NOW_S - ago_s);
        assert_eq!(verify(&issued(0), &aged).unwrap().expires_at_ms, NOW_MS + 600_000);
        assert_eq!(verify(&issued(604), &aged).unwrap().expires_at_ms, NOW_MS - 4_000);
        assert_eq!(verify(&issued(605), &aged).unwrap_err(), TokenError::TooOld);
        assert_eq!(verify("", &aged).unwrap_err(), TokenError::Claim("iat"));
        assert!(verify(&issued(86_400), &VerifyOptions::default()).is_ok(), "off by default");
        let short = format!(r#"{{"sub":"u1","iat":{NOW_S},"exp":{}}}"#, NOW_S + 60);
        assert_eq!(verify_at(&short, &aged, NOW_MS).unwrap().expires_at_ms, NOW_MS + 60_000);
    }

    /// AUT-01: wrong `aud`.
    #[test]
    fn the_audience_must_be_the_one_or_hold_it() {
        let options = VerifyOptions { audience: Some("tickerd".to_owned()), ..VerifyOptions::default() };
        for good in [r#""tickerd""#, r#"["tickerd"]"#, r#"["other","tickerd"]"#] {
            assert!(verify(&format!(r#","aud":{good}"#), &options).is_ok(), "{good}");
        }
        for bad in [
            r#""other""#,
            r#""Tickerd""#,
            r#""tickerd ""#,
            "[]",
            r#"["other"]"#,
            r#"["tickerd",1]"#,
            r#"[["tickerd"]]"#,
            r#"{"tickerd":1}"#,
            "1",
            "null",
        ] {
            assert_eq!(verify(&format!(r#","aud":{bad}"#), &options).unwrap_err(), TokenError::Audience, "{bad}");
        }
        assert_eq!(verify("", &options).unwrap_err(), TokenError::Audience);
    }

    /// AUT-01: wrong `iss`.
    #[test]
    fn the_issuer_must_be_the_one() {
        let options = VerifyOptions { issuer: Some("https://id.example".to_owned()), ..VerifyOptions::default() };
        assert!(verify(r#","iss":"https://id.example""#, &options).is_ok());
        for bad in [r#","iss":"https://id.example/""#, r#","iss":["https://id.example"]"#, r#","iss":null"#, ""] {
            assert_eq!(verify(bad, &options).unwrap_err(), TokenError::Issuer, "{bad}");
        }
    }

    /// AUT-04: the first of the configured claims that is there names the user, even if it is unfit.
    #[test]
    fn the_first_user_claim_present_counts() {
        let options = VerifyOptions { user_claims: vec!["user_id".to_owned(), "sub".to_owned()], ..VerifyOptions::default() };
        assert_eq!(&*verify(r#","user_id":"u2""#, &options).unwrap().user, "u2");
        assert_eq!(&*verify("", &options).unwrap().user, "u1");
        for unfit in ["7", "null", "\"\""] {
            assert_eq!(verify(&format!(r#","user_id":{unfit}"#), &options).unwrap_err(), TokenError::Claim("user"), "{unfit}");
        }
    }
}
