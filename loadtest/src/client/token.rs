//! Tokens, as a user's backend would mint them.

use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

/// How long a token counts: longer than any run, so that its end is not what is measured.
const TTL_S: u64 = 24 * 3600;

/// Signs tokens.
pub struct Signer {
    key: EncodingKey,
    header: Header,
    issuer: Option<String>,
    audience: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    rooms: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

impl Signer {
    /// Reads a key: a raw HMAC secret, or a private key in PEM (RSA, P-256 or Ed25519). The error names the file.
    pub fn load(path: &Path, issuer: Option<String>, audience: Option<String>) -> Result<Signer, String> {
        let bytes = std::fs::read(path).map_err(|error| format!("cannot read the key {}: {error}", path.display()))?;
        Signer::new(&bytes, issuer, audience).map_err(|what| format!("the key {}: {what}", path.display()))
    }

    /// From a key file's content.
    pub fn new(bytes: &[u8], issuer: Option<String>, audience: Option<String>) -> Result<Signer, String> {
        let text = bytes.trim_ascii();
        let (key, algorithm) = if text.starts_with(b"-----BEGIN") { private_key(text)? } else { secret(text)? };
        Ok(Signer { key, header: Header::new(algorithm), issuer, audience })
    }

    /// A token for that user, good for these rooms and scopes.
    pub fn mint(&self, sub: &str, rooms: &[String], scope: &str, now_unix_s: u64) -> Result<String, String> {
        let (iss, aud) = (self.issuer.as_deref(), self.audience.as_deref());
        let claims = Claims { sub, iat: now_unix_s, exp: now_unix_s + TTL_S, rooms, scope, iss, aud };
        encode(&self.header, &claims, &self.key).map_err(|error| format!("a token cannot be signed: {error}"))
    }
}

fn secret(text: &[u8]) -> Result<(EncodingKey, Algorithm), String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    Ok((EncodingKey::from_secret(text), Algorithm::HS256))
}

fn private_key(pem: &[u8]) -> Result<(EncodingKey, Algorithm), String> {
    let read = EncodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
    let read = read.or_else(|_| EncodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256)));
    let read = read.or_else(|_| EncodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA)));
    read.map_err(|_| "it is no private key in PEM of RSA, P-256 or Ed25519 (a public key cannot sign)".into())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    #[test]
    fn a_token_says_who_and_where() {
        let signer = Signer::new(b"a secret of at least 32 bytes, really\n", Some("me".into()), Some("you".into())).expect("is good");
        let token = signer.mint("lt-1", &["desk:1".into()], "publish", 4_000_000_000).expect("signs");
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&["you"]);
        validation.set_issuer(&["me"]);
        let key = DecodingKey::from_secret(b"a secret of at least 32 bytes, really");
        let claims = decode::<serde_json::Value>(&token, &key, &validation).expect("is valid").claims;
        assert_eq!((&claims["sub"], &claims["rooms"][0], &claims["scope"]), (&"lt-1".into(), &"desk:1".into(), &"publish".into()));
        assert_eq!(claims["exp"], 4_000_000_000 + TTL_S);
    }

    #[test]
    fn an_ed25519_key_signs() {
        // RFC 8410 section 10.3.
        let pem =
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let signer = Signer::new(pem.as_bytes(), None, None).expect("is good");
        assert_eq!(signer.header.alg, Algorithm::EdDSA);
        signer.mint("lt-1", &[], "", 0).expect("signs");
    }

    #[test]
    fn what_cannot_sign_is_refused() {
        for bytes in [&b" \n"[..], b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"] {
            assert!(Signer::new(bytes, None, None).is_err());
        }
        let error = Signer::load(Path::new("/nonexistent/key"), None, None).err().expect("no such file");
        assert!(error.contains("/nonexistent/key"), "{error}");
    }
}
