//! From the text of a token to [`Grants`], or to the one reason why not.

use std::time::Duration;

use serde_json::{Map, Value};

use super::grants::{Allowed, Grants, Pattern, Patterns, Scope, is_user};
use super::keys::{Algorithm, KeySet};
use super::{base64url, json};
use crate::base::codes::{AUTH_FAILED, CLOSE_INVALID_TOKEN, CLOSE_TOKEN_EXPIRED, CloseCode, Refusal, TOKEN_EXPIRED};
use crate::base::limits::{IDENT_BYTES_MAX, TOKEN_BYTES_MAX, TOKEN_LEEWAY};

const LEEWAY_MS: u64 = TOKEN_LEEWAY.as_millis() as u64;
/// The end of the year 9999. A later `exp` is milliseconds where seconds belong, or a token that never ends.
pub(super) const TIME_S_MAX: u64 = 253_402_300_799;

/// What is asked of a token beyond a good signature and times.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The `iss` it must have. `None`: any.
    pub issuer: Option<String>,
    /// What its `aud` must be or hold. `None`: `aud` is not looked at.
    pub audience: Option<String>,
    /// The claims that may name the user; the first one present counts.
    pub user_claims: Vec<String>,
    /// How long after its `iat` (which it must then have) a token counts. `None`: until its `exp`.
    pub max_age: Option<Duration>,
}

impl Default for VerifyOptions {
    fn default() -> VerifyOptions {
        VerifyOptions { issuer: None, audience: None, user_claims: vec!["sub".to_owned()], max_age: None }
    }
}

/// Why a token is refused. Says nothing of what is in the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Longer than [`TOKEN_BYTES_MAX`]: put fewer rooms in it, or patterns.
    TooLarge,
    /// Not a signed JWT in compact form; the text says which part.
    Malformed(&'static str),
    /// `crit`, `zip`, `b64` or `enc` in its header: extensions that change what the token means.
    Critical,
    /// A refresh token, or a JWT made for something else; bring the access token.
    Type,
    /// Its `alg` is not the one of the key it would be checked with.
    Algorithm,
    /// No key of ours has its `kid`.
    UnknownKey,
    /// Not signed by a key of ours.
    Signature,
    /// Past its `exp`: bring a new one.
    Expired,
    /// Before its `nbf`.
    NotYetValid,
    /// `iat` is in the future: somebody's clock is wrong.
    IssuedInFuture,
    /// Issued longer ago than the server allows: bring a new one.
    TooOld,
    /// Its `iss` is not the configured one.
    Issuer,
    /// Its `aud` is not, and does not hold, the configured one.
    Audience,
    /// This claim is missing, or cannot be what it must be (`user` stands for the configured user claims).
    Claim(&'static str),
}

impl TokenError {
    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            TokenError::TooLarge => "too_large",
            TokenError::Malformed(_) => "malformed",
            TokenError::Critical => "critical",
            TokenError::Type => "type",
            TokenError::Algorithm => "algorithm",
            TokenError::UnknownKey => "unknown_key",
            TokenError::Signature => "signature",
            TokenError::Expired => "expired",
            TokenError::NotYetValid => "not_yet_valid",
            TokenError::IssuedInFuture => "issued_in_future",
            TokenError::TooOld => "too_old",
            TokenError::Issuer => "issuer",
            TokenError::Audience => "audience",
            TokenError::Claim(_) => "claim",
        }
    }

    /// All labels.
    pub const LABELS: [&'static str; 14] = [
        "too_large",
        "malformed",
        "critical",
        "type",
        "algorithm",
        "unknown_key",
        "signature",
        "expired",
        "not_yet_valid",
        "issued_in_future",
        "too_old",
        "issuer",
        "audience",
        "claim",
    ];

    /// What the one who brought the token is told.
    pub fn refusal(&self) -> Refusal {
        Refusal::new(if self.passes_with_a_new_token() { TOKEN_EXPIRED } else { AUTH_FAILED }, self.message())
    }

    /// How a connection that brought it ends: 4300 where a new token helps, else 4001.
    pub fn close_code(&self) -> CloseCode {
        if self.passes_with_a_new_token() { CLOSE_TOKEN_EXPIRED } else { CLOSE_INVALID_TOKEN }
    }

    fn passes_with_a_new_token(self) -> bool {
        matches!(self, TokenError::Expired | TokenError::TooOld)
    }

    fn message(self) -> String {
        let text = match self {
            TokenError::TooLarge => {
                return format!("the token is longer than {TOKEN_BYTES_MAX} bytes; use patterns instead of long lists of rooms");
            }
            TokenError::Malformed(part) => return format!("the token is not a signed JWT in compact form: {part}"),
            TokenError::Claim(name) => {
                return format!("the token's claim `{name}` is missing or not what it must be; {}", claim_hint(name));
            }
            TokenError::Critical => {
                "the token's header asks for an extension (`crit`, `zip`, `b64` or `enc`) that is not supported; sign it without"
            }
            TokenError::Type => "the token is not an access token (`typ` or `type`); bring the access token, not the refresh token",
            TokenError::Algorithm => {
                "the token's `alg` is not the one of the server's key; sign with HS256, RS256, ES256 or EdDSA, as the key is"
            }
            TokenError::UnknownKey => "the server has no key for this token's `kid`; sign with a key that `--jwt-key` names",
            TokenError::Signature => "the token's signature does not match the server's key",
            TokenError::Expired => "the token is past its `exp`; bring a new one",
            TokenError::NotYetValid => "the token is before its `nbf`; check the issuer's clock",
            TokenError::IssuedInFuture => "the token's `iat` is in the future; check the issuer's clock",
            TokenError::TooOld => "the token was issued too long ago for this server; bring a new one",
            TokenError::Issuer => "the token's `iss` is not the one this server accepts",
            TokenError::Audience => "the token's `aud` does not hold the one this server accepts",
        };
        text.to_owned()
    }
}

/// Checks tokens. Shared by all reactors: it never changes; new keys make a new one.
#[derive(Debug)]
pub struct Verifier {
    keys: KeySet,
    options: VerifyOptions,
}

impl Verifier {
    /// A verifier for tokens signed by one of `keys`.
    pub fn new(keys: KeySet, options: VerifyOptions) -> Verifier {
        Verifier { keys, options }
    }

    /// Checks a token as of `wall_ms`, Unix milliseconds.
    pub fn verify(&self, token: &str, wall_ms: u64) -> Result<Grants, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let parts = Parts::split(token)?;
        let header = Header::read(parts.header)?;
        self.check_signature(&parts, &header)?;
        self.check_claims(&object(parts.claims, "its second part is not one JSON object in base64url, each member once")?, wall_ms)
    }

    /// Tries the keys that can have signed it: at most as many as a set holds, and only those whose algorithm is the header's.
    fn check_signature(&self, parts: &Parts<'_>, header: &Header) -> Result<(), TokenError> {
        let mut error = TokenError::UnknownKey;
        for key in self.keys.candidates(header.kid.as_deref()) {
            if key.algorithm() != header.algorithm {
                error = if error == TokenError::UnknownKey { TokenError::Algorithm } else { error };
            } else if key.verifies(parts.signed, parts.signature) {
                return Ok(());
            } else {
                error = TokenError::Signature;
            }
        }
        Err(error)
    }

    fn check_claims(&self, claims: &Map<String, Value>, wall_ms: u64) -> Result<Grants, TokenError> {
        check_type(claims)?;
        let expires_at_ms = self.check_times(claims, wall_ms)?;
        self.check_parties(claims)?;
        let user = self.user(claims)?;
        let allowed = Allowed {
            scopes: scopes(claims)?,
            rooms: patterns(claims, "rooms")?.unwrap_or_default(),
            publish_rooms: patterns(claims, "publish_rooms")?,
        };
        Ok(Grants::new(user, expires_at_ms, token_id(claims)?, allowed))
    }

    /// The time claims against `wall_ms`. Answers with when the token ends: at its `exp`, or before it at the greatest age.
    fn check_times(&self, claims: &Map<String, Value>, wall_ms: u64) -> Result<u64, TokenError> {
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
        let Some(max_age) = self.options.max_age else { return Ok(expires_at_ms) };
        let aged_at_ms = issued_at_ms.ok_or(TokenError::Claim("iat"))?.saturating_add(max_age.as_millis() as u64);
        if wall_ms >= aged_at_ms.saturating_add(LEEWAY_MS) {
            return Err(TokenError::TooOld);
        }
        Ok(expires_at_ms.min(aged_at_ms))
    }

    fn check_parties(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        if let Some(issuer) = &self.options.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        match &self.options.audience {
            Some(audience) if !names(claims.get("aud"), audience) => Err(TokenError::Audience),
            _ => Ok(()),
        }
    }

    fn user<'a>(&self, claims: &'a Map<String, Value>) -> Result<&'a str, TokenError> {
        let claim = self.options.user_claims.iter().find_map(|name| claims.get(name)).ok_or(TokenError::Claim("user"))?;
        claim.as_str().filter(|user| is_user(user)).ok_or(TokenError::Claim("user"))
    }
}

struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// What the signature is over: the first two parts and the dot between them.
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Parts<'a>, TokenError> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(TokenError::Malformed("it does not have three parts"));
        };
        if base64url::decode(signature).is_none_or(|bytes| bytes.is_empty()) {
            return Err(TokenError::Malformed("its third part, the signature, is empty or not base64url"));
        }
        Ok(Parts { header, claims, signature, signed: &token[..header.len() + 1 + claims.len()] })
    }
}

struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Header {
    fn read(part: &str) -> Result<Header, TokenError> {
        let members = object(part, "its first part is not one JSON object in base64url, each member once")?;
        if ["crit", "zip", "b64", "enc"].iter().any(|name| members.contains_key(*name)) {
            return Err(TokenError::Critical);
        }
        if members.get("typ").is_some_and(|kind| !is_access_type(kind)) {
            return Err(TokenError::Type);
        }
        let algorithm = members.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name).ok_or(TokenError::Algorithm)?;
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(TokenError::Malformed("its `kid` is not a string")),
        };
        Ok(Header { algorithm, kid })
    }
}

/// RFC 8725 section 3.11: a JWT made for another purpose (a logout notice, a proof of possession) must not pass for an access token.
fn is_access_type(kind: &Value) -> bool {
    let Some(kind) = kind.as_str() else { return false };
    let kind = kind.to_ascii_lowercase();
    matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
}

/// A refresh token is for the issuer, not for us, though the same key signs it.
fn check_type(claims: &Map<String, Value>) -> Result<(), TokenError> {
    let is_refresh = |name| claims.get(name).and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("refresh"));
    if ["type", "typ", "token_type", "token_use"].into_iter().any(is_refresh) { Err(TokenError::Type) } else { Ok(()) }
}

fn object(part: &str, otherwise: &'static str) -> Result<Map<String, Value>, TokenError> {
    base64url::decode(part).and_then(|bytes| json::parse_object(&bytes)).ok_or(TokenError::Malformed(otherwise))
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
fn scopes(claims: &Map<String, Value>) -> Result<Vec<Scope>, TokenError> {
    let Some(claim) = claims.get("scope") else { return Ok(Vec::new()) };
    let words = claim.as_str().ok_or(TokenError::Claim("scope"))?;
    Ok(words.split(' ').filter_map(Scope::from_name).collect())
}

fn patterns(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Patterns>, TokenError> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let items = claim.as_array().ok_or(TokenError::Claim(name))?;
    items.iter().map(|item| item.as_str().and_then(Pattern::parse).ok_or(TokenError::Claim(name))).collect::<Result<_, _>>().map(Some)
}

fn token_id(claims: &Map<String, Value>) -> Result<Option<Box<str>>, TokenError> {
    let Some(claim) = claims.get("jti") else { return Ok(None) };
    claim.as_str().filter(|id| !id.is_empty() && id.len() <= IDENT_BYTES_MAX).map(|id| Some(id.into())).ok_or(TokenError::Claim("jti"))
}

fn claim_hint(name: &str) -> &'static str {
    match name {
        "exp" | "iat" | "nbf" => "times are numbers, in Unix seconds",
        "user" => {
            "it is `sub`, or what --jwt-user-claim names: a string, not empty, at most 195 bytes once percent-encoded, without control characters"
        }
        "rooms" | "publish_rooms" => "patterns are an array of strings of [A-Za-z0-9_.:%-], at most 200 bytes each, `*` only last",
        "scope" => "scopes are one string, separated by spaces",
        _ => "it is a string of 1 to 200 bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW_MS, NOW_S, pairs};
    use super::*;
    use crate::base::limits::TOKEN_LEEWAY;

    /// Checks claims signed by our secret.
    fn verify_at(claims: &str, options: &VerifyOptions, wall_ms: u64) -> Result<Grants, TokenError> {
        let token = pairs()[0].signer().sign_parts(br#"{"alg":"HS256"}"#, claims.as_bytes()).unwrap();
        pairs()[0].verifier(options.clone()).verify(&token, wall_ms)
    }

    fn verify(more: &str, options: &VerifyOptions) -> Result<Grants, TokenError> {
        verify_at(&format!(r#"{{"sub":"u1","exp":{}{more}}}"#, NOW_S + 3600), options, NOW_MS)
    }

    #[test]
    fn a_verifier_can_be_shared_by_reactors() {
        fn shared<T: Send + Sync>() {}
        shared::<Verifier>();
        shared::<Grants>();
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

    #[test]
    fn without_keys_no_token_is_good() {
        let token = pairs()[0].signer().sign_parts(br#"{"alg":"HS256"}"#, b"{}").unwrap();
        let verifier = Verifier::new(KeySet::default(), VerifyOptions::default());
        assert_eq!(verifier.verify(&token, NOW_MS).unwrap_err(), TokenError::UnknownKey);
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

    /// AUT-10: an expired token is told apart from a bad one.
    #[test]
    fn errors_say_whether_a_new_token_helps() {
        let new_token_helps = [TokenError::Expired, TokenError::TooOld];
        let others = [
            TokenError::TooLarge,
            TokenError::Malformed("x"),
            TokenError::Critical,
            TokenError::Type,
            TokenError::Algorithm,
            TokenError::UnknownKey,
            TokenError::Signature,
            TokenError::NotYetValid,
            TokenError::IssuedInFuture,
            TokenError::Issuer,
            TokenError::Audience,
            TokenError::Claim("sub"),
        ];
        for error in new_token_helps {
            assert_eq!((error.close_code().code, error.refusal().error.code), (4300, 101), "{error:?}");
        }
        for error in others {
            assert_eq!((error.close_code().code, error.refusal().error.code), (4001, 100), "{error:?}");
        }
        let labels: std::collections::HashSet<&str> = new_token_helps.iter().chain(&others).map(TokenError::label).collect();
        assert_eq!(labels.len(), new_token_helps.len() + others.len());
    }
}
