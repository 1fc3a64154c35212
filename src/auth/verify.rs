//! From the text of a token to [`Grants`], or to the one reason why not.

use serde_json::{Map, Value};

use super::claims::VerifyOptions;
use super::grants::Grants;
use super::keys::{Algorithm, KEYS_MAX, KeyProblem, KeySet};
use super::{base64url, json};
use crate::base::codes::{
    AUTH_FAILED, CLOSE_INVALID_TOKEN, CLOSE_TOKEN_EXPIRED, CLOSE_TOKEN_REVOKED, CloseCode, Refusal, TOKEN_EXPIRED, TOKEN_REVOKED,
};
use crate::base::limits::TOKEN_BYTES_MAX;

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
    /// Its `iss` is not the one that its key belongs to.
    Issuer,
    /// Its `aud` is not, and does not hold, the configured one.
    Audience,
    /// This claim is missing, or cannot be what it must be (`user`, `scope`, `rooms` and `publish_rooms` stand for the claims that are
    /// configured for them, `required` for any that must be there).
    Claim(&'static str),
    /// It was good, and was revoked: bring another one.
    Revoked,
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
            TokenError::Revoked => "revoked",
        }
    }

    /// All labels.
    pub const LABELS: [&'static str; 15] = [
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
        "revoked",
    ];

    /// What the one who brought the token is told.
    pub fn refusal(&self) -> Refusal {
        let error = match self {
            TokenError::Expired | TokenError::TooOld => TOKEN_EXPIRED,
            TokenError::Revoked => TOKEN_REVOKED,
            _ => AUTH_FAILED,
        };
        Refusal::new(error, self.message())
    }

    /// How a connection that brought it ends: 4300 or 4301 where a new token helps, else 4001.
    pub fn close_code(&self) -> CloseCode {
        match self {
            TokenError::Expired | TokenError::TooOld => CLOSE_TOKEN_EXPIRED,
            TokenError::Revoked => CLOSE_TOKEN_REVOKED,
            _ => CLOSE_INVALID_TOKEN,
        }
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
            TokenError::UnknownKey => "the server has no key for this token's `kid`; sign with a key that it was given",
            TokenError::Signature => "the token's signature does not match the server's key",
            TokenError::Expired => "the token is past its `exp`; bring a new one",
            TokenError::NotYetValid => "the token is before its `nbf`; check the issuer's clock",
            TokenError::IssuedInFuture => "the token's `iat` is in the future; check the issuer's clock",
            TokenError::TooOld => "the token was issued too long ago for this server; bring a new one",
            TokenError::Issuer => "the token's `iss` is not the one that this server knows its key by",
            TokenError::Audience => "the token's `aud` does not hold the one this server accepts",
            TokenError::Revoked => "the token was revoked; bring another one",
        };
        text.to_owned()
    }
}

/// Checks tokens. Shared by all reactors: it never changes; new keys make a new one.
///
/// Every key belongs to one issuer, and what is asked of a token is what its key's issuer is held to: an issuer cannot speak for
/// another one, whatever `iss` and `kid` its tokens have.
#[derive(Debug, Default)]
pub struct Verifier {
    issuers: Vec<Issuer>,
}

/// Who may sign tokens, and what is asked of them.
#[derive(Debug)]
struct Issuer {
    keys: KeySet,
    options: VerifyOptions,
}

impl Verifier {
    /// A verifier for tokens signed by one of `keys`.
    pub fn new(keys: KeySet, options: VerifyOptions) -> Verifier {
        Verifier { issuers: vec![Issuer { keys, options }] }
    }

    /// Trusts one more issuer. An error says that there would be more keys than one token may be tried against.
    pub fn trust(&mut self, keys: KeySet, options: VerifyOptions) -> Result<(), KeyProblem> {
        let known: usize = self.issuers.iter().map(|issuer| issuer.keys.len()).sum();
        if known + keys.len() > KEYS_MAX {
            return Err(KeyProblem::TooMany);
        }
        self.issuers.push(Issuer { keys, options });
        Ok(())
    }

    /// Checks a token as of `wall_ms`, Unix milliseconds.
    pub fn verify(&self, token: &str, wall_ms: u64) -> Result<Grants, TokenError> {
        self.verify_counted(token, wall_ms, &mut 0)
    }

    /// The same; adds to `checks` how many signatures had to be checked, which is what a token costs.
    pub fn verify_counted(&self, token: &str, wall_ms: u64, checks: &mut usize) -> Result<Grants, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let parts = Parts::split(token)?;
        let header = Header::read(parts.header)?;
        let options = self.signer(&parts, &header, checks)?;
        options.check(&object(parts.claims, "its second part is not one JSON object in base64url, each member once")?, wall_ms)
    }

    /// Tries the keys that can have signed it: at most as many as there may be, and only those whose algorithm is the header's.
    /// Answers with what the key's issuer is held to.
    fn signer(&self, parts: &Parts<'_>, header: &Header, checks: &mut usize) -> Result<&VerifyOptions, TokenError> {
        let mut error = TokenError::UnknownKey;
        for issuer in &self.issuers {
            for key in issuer.keys.candidates(header.kid.as_deref()) {
                if key.algorithm() != header.algorithm {
                    error = if error == TokenError::UnknownKey { TokenError::Algorithm } else { error };
                    continue;
                }
                *checks += 1;
                if key.verifies(parts.signed, parts.signature) {
                    return Ok(&issuer.options);
                }
                error = TokenError::Signature;
            }
        }
        Err(error)
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

fn object(part: &str, otherwise: &'static str) -> Result<Map<String, Value>, TokenError> {
    base64url::decode(part).and_then(|bytes| json::parse_object(&bytes)).ok_or(TokenError::Malformed(otherwise))
}

fn claim_hint(name: &str) -> &'static str {
    match name {
        "exp" | "iat" | "nbf" => "times are numbers, in Unix seconds",
        "user" => {
            "it is `sub`, or what --jwt-user-claim names: a string, not empty, at most 195 bytes once percent-encoded, without control characters"
        }
        "rooms" | "publish_rooms" => "patterns are an array of strings of [A-Za-z0-9_.:%-], at most 200 bytes each, `*` only last",
        "scope" => "scopes are one string, separated by spaces",
        "required" => "the server's configuration names the claims that this issuer's tokens must have (`required_claims`)",
        _ => "it is a string of 1 to 200 bytes",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW_MS, NOW_S, Pair, good_token, pairs, strangers};
    use super::*;

    #[test]
    fn a_verifier_can_be_shared_by_reactors() {
        fn shared<T: Send + Sync>() {}
        shared::<Verifier>();
        shared::<Grants>();
    }

    #[test]
    fn without_keys_no_token_is_good() {
        let token = pairs()[0].signer().sign_parts(br#"{"alg":"HS256"}"#, b"{}").unwrap();
        let verifier = Verifier::new(KeySet::default(), VerifyOptions::default());
        assert_eq!(verifier.verify(&token, NOW_MS).unwrap_err(), TokenError::UnknownKey);
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
        assert_eq!((TokenError::Revoked.close_code().code, TokenError::Revoked.refusal().error.code), (4301, 105));
        let all = new_token_helps.iter().chain(&others).chain(&[TokenError::Revoked]);
        let labels: std::collections::BTreeSet<&str> = all.map(TokenError::label).collect();
        assert_eq!(labels, TokenError::LABELS.into_iter().collect());
    }

    fn issuer(name: &str) -> VerifyOptions {
        VerifyOptions { issuer: Some(name.to_owned()), ..VerifyOptions::default() }
    }

    fn keys(file: &str) -> KeySet {
        let mut keys = KeySet::default();
        keys.add("file", file.as_bytes()).unwrap();
        keys
    }

    /// A token that says it is of that issuer.
    fn token_of(pair: &Pair, kid: &str, issuer: &str) -> String {
        let header = format!(r#"{{"alg":"{}","kid":"{kid}"}}"#, pair.algorithm.name());
        let claims = format!(r#"{{"sub":"u1","iss":"{issuer}","exp":{}}}"#, NOW_S + 60);
        pair.signer().sign_parts(header.as_bytes(), claims.as_bytes()).unwrap()
    }

    /// AUT-01, AUT-04: two issuers call their keys alike, of the same kind or not, and neither can speak for the other one.
    #[test]
    fn a_key_speaks_for_its_own_issuer_alone() {
        let same_kind = pairs().iter().zip(strangers());
        let other_kind = pairs().iter().zip(strangers().iter().cycle().skip(1));
        for (ours, theirs) in same_kind.chain(other_kind) {
            let mut verifier = Verifier::default();
            verifier.trust(keys(&ours.jwks("1")), issuer("us")).unwrap();
            verifier.trust(keys(&theirs.jwks("1")), issuer("them")).unwrap();
            for (pair, name, other) in [(ours, "us", "them"), (theirs, "them", "us")] {
                assert!(verifier.verify(&token_of(pair, "1", name), NOW_MS).is_ok(), "{name} {:?}", pair.algorithm);
                assert_eq!(verifier.verify(&token_of(pair, "1", other), NOW_MS).unwrap_err(), TokenError::Issuer);
            }
        }
    }

    /// What is asked of one issuer is not asked of another, nor is what one is allowed to leave out.
    #[test]
    fn each_issuer_has_an_audience_and_claims_of_its_own() {
        let [ours, theirs] = [&pairs()[0], &strangers()[0]];
        let mut verifier = Verifier::new(keys(&ours.jwks("1")), issuer("us"));
        let strict = VerifyOptions { audience: Some("tickerd".to_owned()), user_claims: vec!["uid".to_owned()], ..issuer("them") };
        verifier.trust(keys(&theirs.jwks("1")), strict).unwrap();
        let claims = |issuer: &str, more: &str| format!(r#"{{"sub":"u1","iss":"{issuer}","exp":{}{more}}}"#, NOW_S + 60);
        let verify = |pair: &Pair, claims: &str| {
            let token = pair.signer().sign_parts(br#"{"alg":"HS256"}"#, claims.as_bytes()).unwrap();
            verifier.verify(&token, NOW_MS).map(|grants| grants.user.to_string())
        };
        assert_eq!(verify(ours, &claims("us", "")).unwrap(), "u1");
        assert_eq!(verify(theirs, &claims("them", r#","aud":"tickerd","uid":"u9""#)).unwrap(), "u9");
        assert_eq!(verify(theirs, &claims("them", r#","uid":"u9""#)).unwrap_err(), TokenError::Audience);
        assert_eq!(verify(theirs, &claims("them", r#","aud":"tickerd""#)).unwrap_err(), TokenError::Claim("user"));
    }

    /// A token costs what it is tried against, and nothing if it is refused before.
    #[test]
    fn signature_checks_are_counted_and_limited() {
        let file = strangers()[0].jwks("1");
        let mut verifier = Verifier::default();
        for _ in 0..KEYS_MAX - 1 {
            verifier.trust(keys(&file), VerifyOptions::default()).unwrap();
        }
        verifier.trust(keys(&pairs()[0].jwks("2")), VerifyOptions::default()).unwrap();
        assert_eq!(verifier.trust(keys(&file), VerifyOptions::default()), Err(KeyProblem::TooMany));
        let checks = |token: &str| {
            let mut checks = 0;
            (verifier.verify_counted(token, NOW_MS, &mut checks).is_ok(), checks)
        };
        assert_eq!(checks(&good_token(&pairs()[0])), (true, KEYS_MAX));
        assert_eq!(checks(&token_of(&pairs()[0], "2", "any")), (true, 1));
        assert_eq!(checks(&token_of(&pairs()[1], "2", "any")), (false, 0));
        assert_eq!(checks("a.b.c"), (false, 0));
    }
}
