//! Making tokens, for `tickerd token`, demos and tests. The daemon itself only checks them.

use std::fmt;

use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::sign;
use serde::Serialize;
use serde_json::json;

use super::claims::TIME_S_MAX;
use super::grants::{Pattern, Scope, is_user};
use super::keys::{Algorithm, Content, KeyError, KeyProblem, tell};
use super::{base64url, install_provider, pem};
use crate::base::limits::TOKEN_BYTES_MAX;

/// A key that can sign, bound to its algorithm.
#[derive(Clone, Debug)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
    kid: Option<String>,
}

impl SigningKey {
    /// Reads a raw HMAC secret or a private key in PEM (RSA, P-256 or Ed25519, unencrypted); which one is told by the content.
    /// `name` is for messages.
    pub fn read(name: &str, bytes: &[u8]) -> Result<SigningKey, KeyError> {
        install_provider();
        let read = match tell(bytes) {
            Ok(Content::Secret(secret)) => Ok((Algorithm::Hs256, EncodingKey::from_secret(secret))),
            Ok(Content::Pem(bytes)) => pem::private_key(bytes),
            Ok(Content::Json(_)) => Err(KeyProblem::Jwks("signing needs a raw secret, or a private key in PEM".to_owned())),
            Err(problem) => Err(problem),
        };
        let (algorithm, key) = read.map_err(|problem| KeyError { name: name.to_owned(), problem })?;
        Ok(SigningKey { algorithm, key, kid: None })
    }

    /// The same key, named by `kid` in the tokens it signs.
    #[must_use]
    pub fn with_kid(self, kid: Option<String>) -> SigningKey {
        SigningKey { kid, ..self }
    }

    /// A whole token: these two texts as they are, signed.
    pub(super) fn sign_parts(&self, header: &[u8], claims: &[u8]) -> Result<String, MintError> {
        let signed = format!("{}.{}", base64url::encode(header), base64url::encode(claims));
        let signature = self.sign_text(&signed)?;
        Ok(format!("{signed}.{signature}"))
    }

    /// The signature over `text`, in base64url.
    pub(super) fn sign_text(&self, text: &str) -> Result<String, MintError> {
        sign(text.as_bytes(), &self.key, self.algorithm.jwa()).map_err(|error| MintError::Signing(error.to_string()))
    }

    fn header(&self) -> Vec<u8> {
        let mut header = json!({"alg": self.algorithm.name(), "typ": "JWT"});
        if let Some(kid) = &self.kid {
            header["kid"] = kid.as_str().into();
        }
        header.to_string().into_bytes()
    }
}

/// What a new token says.
#[derive(Clone, Debug, Default)]
pub struct MintClaims {
    /// The user.
    pub sub: String,
    /// Read patterns.
    pub rooms: Vec<String>,
    /// Publish patterns. `None`: all rooms.
    pub publish_rooms: Option<Vec<String>>,
    /// Powers beyond reading.
    pub scopes: Vec<Scope>,
    /// `iat`, Unix seconds.
    pub issued_at_s: u64,
    /// `exp`, Unix seconds.
    pub expires_at_s: u64,
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`.
    pub audience: Option<String>,
    /// `jti`, by which the token can be revoked.
    pub token_id: Option<String>,
}

/// Why no token was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MintError {
    /// No user can be called so: shorten it, or take control characters out.
    User,
    /// This is no room pattern: `[A-Za-z0-9_.:%-]`, at most 200 bytes, `*` only last.
    Pattern(String),
    /// It would end after the year 9999, which is refused everywhere: shorten its life.
    Endless,
    /// The token would have this many bytes and be refused everywhere: use patterns instead of lists.
    TooLarge(usize),
    /// The key could not sign.
    Signing(String),
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MintError::User => f.write_str("the user is empty, has control characters, or is longer than a room name may be; give another"),
            MintError::Pattern(pattern) => {
                write!(
                    f,
                    "{pattern:?} is no room pattern: [A-Za-z0-9_.:%-], at most 200 bytes, `*` only last (a user's name is percent-encoded)"
                )
            }
            MintError::Endless => f.write_str("the token would end after the year 9999; shorten its life (--ttl)"),
            MintError::TooLarge(bytes) => {
                write!(f, "the token would have {bytes} bytes, {TOKEN_BYTES_MAX} are allowed; use patterns for the rooms")
            }
            MintError::Signing(why) => write!(f, "the key could not sign: {why}"),
        }
    }
}

impl std::error::Error for MintError {}

/// Signs a token that a [`Verifier`](super::Verifier) with the matching key accepts.
pub fn mint(key: &SigningKey, claims: &MintClaims) -> Result<String, MintError> {
    check(claims)?;
    let payload = serde_json::to_vec(&Payload::from(claims)).expect("a struct of strings and integers is always JSON");
    let token = key.sign_parts(&key.header(), &payload)?;
    if token.len() > TOKEN_BYTES_MAX { Err(MintError::TooLarge(token.len())) } else { Ok(token) }
}

fn check(claims: &MintClaims) -> Result<(), MintError> {
    if !is_user(&claims.sub) {
        return Err(MintError::User);
    }
    if claims.expires_at_s > TIME_S_MAX {
        return Err(MintError::Endless);
    }
    let mut patterns = claims.rooms.iter().chain(claims.publish_rooms.iter().flatten());
    patterns.find(|pattern| Pattern::parse(pattern).is_none()).map_or(Ok(()), |pattern| Err(MintError::Pattern(pattern.clone())))
}

#[derive(Serialize)]
struct Payload<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    rooms: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    publish_rooms: Option<&'a [String]>,
}

impl<'a> From<&'a MintClaims> for Payload<'a> {
    fn from(claims: &'a MintClaims) -> Payload<'a> {
        let scopes: Vec<&str> = claims.scopes.iter().map(|scope| scope.name()).collect();
        Payload {
            sub: &claims.sub,
            iat: claims.issued_at_s,
            exp: claims.expires_at_s,
            iss: claims.issuer.as_deref(),
            aud: claims.audience.as_deref(),
            jti: claims.token_id.as_deref(),
            scope: scopes.join(" "),
            rooms: &claims.rooms,
            publish_rooms: claims.publish_rooms.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW_MS, NOW_S, pairs, pem as armor};
    use super::super::{Scope, VerifyOptions};
    use super::*;

    fn claims() -> MintClaims {
        MintClaims {
            sub: "a@b.c".to_owned(),
            rooms: vec!["challenge:8f".to_owned(), "quote:*".to_owned()],
            publish_rooms: Some(vec!["quote:*".to_owned()]),
            scopes: vec![Scope::Publish, Scope::Admin],
            issued_at_s: NOW_S,
            expires_at_s: NOW_S + 60,
            issuer: Some("me".to_owned()),
            audience: Some("tickerd".to_owned()),
            token_id: Some("t1".to_owned()),
        }
    }

    #[test]
    fn what_is_minted_is_accepted_and_says_what_was_asked() {
        let options = VerifyOptions { issuer: Some("me".to_owned()), audience: Some("tickerd".to_owned()), ..VerifyOptions::default() };
        for pair in pairs() {
            let token = mint(&pair.signer().with_kid(Some("k".to_owned())), &claims()).unwrap();
            let grants = pair.verifier(options.clone()).verify(&token, NOW_MS).unwrap();
            assert_eq!((&*grants.user, grants.token_id.as_deref(), grants.expires_at_ms), ("a@b.c", Some("t1"), NOW_MS + 60_000));
            assert!(grants.has(Scope::Publish) && grants.has(Scope::Admin) && !grants.has(Scope::Broadcast));
            assert!(grants.may_read("challenge:8f") && grants.may_read("quote:1") && grants.may_publish("quote:1"));
            assert!(!grants.may_read("challenge:9") && !grants.may_publish("challenge:8f"));
        }
    }

    #[test]
    fn what_no_server_would_accept_is_not_minted() {
        let key = pairs()[0].signer();
        for sub in ["", "a\nb", &"u".repeat(196)] {
            assert_eq!(mint(&key, &MintClaims { sub: sub.to_owned(), ..claims() }).unwrap_err(), MintError::User);
        }
        assert_eq!(mint(&key, &MintClaims { expires_at_s: TIME_S_MAX + 1, ..claims() }).unwrap_err(), MintError::Endless);
        let bad = MintError::Pattern("a*b".to_owned());
        assert_eq!(mint(&key, &MintClaims { rooms: vec!["a*b".to_owned()], ..claims() }).unwrap_err(), bad);
        assert_eq!(mint(&key, &MintClaims { publish_rooms: Some(vec!["a*b".to_owned()]), ..claims() }).unwrap_err(), bad);
        let many = (0..2000).map(|number| format!("challenge:{number}")).collect();
        assert!(matches!(mint(&key, &MintClaims { rooms: many, ..claims() }).unwrap_err(), MintError::TooLarge(_)));
    }

    #[test]
    fn only_what_can_sign_is_a_signing_key() {
        let problem = |bytes: &[u8]| SigningKey::read("k", bytes).unwrap_err().problem;
        for pair in &pairs()[1..] {
            assert_eq!(problem(&pair.public), KeyProblem::Public);
            assert!(matches!(problem(pair.jwk("").as_bytes()), KeyProblem::Jwks(_)));
        }
        assert_eq!(problem(b"changeme"), KeyProblem::Placeholder);
        assert!(matches!(problem(armor("EC PRIVATE KEY", &[0x30, 0]).as_bytes()), KeyProblem::Unusable(why) if why.contains("SEC1")));
        assert!(
            matches!(problem(armor("ENCRYPTED PRIVATE KEY", &[0x30, 0]).as_bytes()), KeyProblem::Unusable(why) if why.contains("encrypted"))
        );
        assert_eq!(
            problem(armor("PRIVATE KEY", &[0x30, 0]).as_bytes()),
            KeyProblem::Unusable("this PEM block cannot be read as a private key")
        );
    }
}
