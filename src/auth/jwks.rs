//! Keys in a JWKS (RFC 7517), or in a single JWK.

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::keys::{Algorithm, Key, KeyProblem, check_secret};
use super::{base64url, json, pem};

const COORDINATE_BYTES: usize = 32;

/// Reads a JWKS: its usable keys, and a note for each that is for something else. A key that contradicts itself refuses the file.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<Key>, Vec<String>), KeyProblem> {
    let members = json::parse_object(bytes).ok_or_else(|| problem("it is not one JSON object, each member once"))?;
    let single = [Value::Object(members.clone())];
    let entries = match members.get("keys") {
        Some(Value::Array(entries)) => &entries[..],
        None if members.contains_key("kty") => &single[..],
        _ => return Err(problem("it has no array `keys`")),
    };
    let (mut keys, mut notes) = (Vec::new(), Vec::new());
    for (place, entry) in entries.iter().enumerate() {
        let entry = entry.as_object().ok_or_else(|| problem(format!("keys[{place}] is not an object")))?;
        match read_key(entry).map_err(|why| problem(format!("keys[{place}]: {why}")))? {
            Entry::Usable(key) => keys.push(key),
            Entry::PassedOver(why) => notes.push(format!("keys[{place}] is not used: {why}")),
        }
    }
    if keys.is_empty() { Err(problem(format!("it has no key for checking tokens; {}", notes.join("; ")))) } else { Ok((keys, notes)) }
}

enum Entry {
    Usable(Key),
    PassedOver(String),
}

fn read_key(entry: &Map<String, Value>) -> Result<Entry, String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    let kind = text("kty").ok_or("it has no `kty`")?;
    let curve = text("crv").unwrap_or_default();
    if kind != "oct" && entry.contains_key("d") {
        return Err("it is a private key; publish the public members only".to_owned());
    }
    let algorithm = match (kind, curve) {
        ("RSA", _) => Algorithm::Rs256,
        ("EC", "P-256") => Algorithm::Es256,
        ("OKP", "Ed25519") => Algorithm::EdDsa,
        ("oct", _) => Algorithm::Hs256,
        _ => return Ok(Entry::PassedOver(format!("kty {kind:?} crv {curve:?} is not supported"))),
    };
    if let Some(why) = other_purpose(entry, kind, algorithm)? {
        return Ok(Entry::PassedOver(why));
    }
    let kid = match entry.get("kid") {
        None => None,
        Some(kid) => Some(kid.as_str().ok_or("its `kid` is not a string")?.to_owned()),
    };
    Ok(Entry::Usable(Key::new(kid, algorithm, material(entry, algorithm)?)))
}

/// Why the key is for something else than checking tokens in its one algorithm, if it is.
fn other_purpose(entry: &Map<String, Value>, kind: &str, algorithm: Algorithm) -> Result<Option<String>, String> {
    if let Some(purpose) = entry.get("use").filter(|purpose| *purpose != "sig") {
        return Ok(Some(format!("its `use` is {purpose}")));
    }
    if let Some(operations) = entry.get("key_ops")
        && !operations.as_array().is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
    {
        return Ok(Some("its `key_ops` have no `verify`".to_owned()));
    }
    match entry.get("alg").map(|alg| alg.as_str().ok_or("its `alg` is not a string")).transpose()? {
        None => Ok(None),
        Some(alg) if alg == algorithm.name() => Ok(None),
        Some(alg) if family(alg).is_some_and(|family| family != kind) => Err(format!("its `alg` {alg:?} is not one of `kty` {kind:?}")),
        Some(alg) => Ok(Some(format!("its `alg` {alg:?} is not supported"))),
    }
}

/// The `kty` that a signature algorithm belongs to.
fn family(alg: &str) -> Option<&'static str> {
    match alg {
        "HS256" | "HS384" | "HS512" => Some("oct"),
        "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => Some("RSA"),
        "ES256" | "ES384" | "ES512" | "ES256K" => Some("EC"),
        "EdDSA" | "Ed25519" | "Ed448" => Some("OKP"),
        _ => None,
    }
}

fn material(entry: &Map<String, Value>, algorithm: Algorithm) -> Result<DecodingKey, String> {
    let bytes = |name: &str| {
        let bytes = entry.get(name).and_then(Value::as_str).and_then(base64url::decode);
        bytes.ok_or_else(|| format!("its `{name}` is missing or not base64url"))
    };
    let coordinate = |name: &str| {
        bytes(name)
            .and_then(|bytes| if bytes.len() == COORDINATE_BYTES { Ok(bytes) } else { Err(format!("its `{name}` does not have 32 bytes")) })
    };
    match algorithm {
        Algorithm::Rs256 => {
            let key = DecodingKey::from_rsa_raw_components(&bytes("n")?, &bytes("e")?);
            pem::check_rsa(&key).map_err(|problem| problem.to_string())?;
            Ok(key)
        }
        Algorithm::Es256 => Ok(DecodingKey::from_ec_der(&[vec![4], coordinate("x")?, coordinate("y")?].concat())),
        Algorithm::EdDsa => Ok(DecodingKey::from_ed_der(&coordinate("x")?)),
        Algorithm::Hs256 => {
            let secret = bytes("k")?;
            check_secret(&secret).map_err(|problem| problem.to_string())?;
            Ok(DecodingKey::from_secret(&secret))
        }
    }
}

fn problem(why: impl Into<String>) -> KeyProblem {
    KeyProblem::Jwks(why.into())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW_MS, pairs, secret, strangers, token_with_kid, verifier_of};
    use super::super::{TokenError, VerifyOptions};
    use super::*;

    fn refusal(text: &str) -> String {
        match read(text.as_bytes()) {
            Err(KeyProblem::Jwks(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    fn set(entries: &[String]) -> String {
        format!(r#"{{"keys":[{}]}}"#, entries.join(","))
    }

    #[test]
    fn all_four_kinds_are_read_with_and_without_alg() {
        let entries: Vec<String> = pairs().iter().map(|pair| pair.jwk("")).collect();
        let without_alg: Vec<String> =
            pairs().iter().map(|pair| pair.jwk("").replace(&format!(r#""alg":"{}","#, pair.algorithm.name()), "")).collect();
        assert_ne!(entries, without_alg);
        for text in [set(&entries), set(&without_alg)] {
            let (keys, notes) = read(text.as_bytes()).unwrap();
            let algorithms: Vec<Algorithm> = keys.iter().map(Key::algorithm).collect();
            assert_eq!(algorithms, pairs().iter().map(|pair| pair.algorithm).collect::<Vec<_>>());
            assert!(notes.is_empty());
        }
        assert_eq!(read(pairs()[1].jwk("").as_bytes()).unwrap().0.len(), 1, "a single JWK will do");
    }

    #[test]
    fn keys_for_something_else_are_passed_over_with_a_note() {
        let good = pairs()[3].jwk("");
        let ec = pairs()[2].jwk("");
        let other = [
            pairs()[1].jwk(r#","use":"enc""#),
            pairs()[1].jwk(r#","key_ops":["encrypt"]"#),
            pairs()[1].jwk("").replace("RS256", "RS512"),
            pairs()[1].jwk("").replace("RS256", "RSA-OAEP"),
            ec.replace("P-256", "P-521").replace("ES256", "ES512"),
            r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}"#.to_owned(),
        ];
        for entry in other {
            let (keys, notes) = read(set(&[entry.clone(), good.clone()]).as_bytes()).unwrap();
            assert_eq!((keys.len(), notes.len()), (1, 1), "{entry}");
            assert!(notes[0].starts_with("keys[0] is not used: "));
            assert!(refusal(&set(&[entry])).contains("no key for checking tokens"));
        }
    }

    #[test]
    fn a_key_that_contradicts_itself_refuses_the_file() {
        let [hmac, rsa, ec, ed] = pairs().each_ref().map(|pair| pair.jwk(""));
        let bad = [
            (rsa.replace("RS256", "HS256"), "is not one of"),
            (ec.replace("ES256", "HS256"), "is not one of"),
            (ed.replace("EdDSA", "RS256"), "is not one of"),
            (hmac.replace("HS256", "RS256"), "is not one of"),
            (rsa.replace(r#""alg":"RS256""#, r#""alg":256"#), "`alg` is not a string"),
            (pairs()[1].jwk(r#","kid":7"#), "`kid` is not a string"),
            (pairs()[1].jwk(r#","d":"AA""#), "private"),
            (pairs()[2].jwk(r#","d":"AA""#), "private"),
            (rsa.replace(r#""n":""#, r#""m":""#), "`n` is missing"),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(), "bits"),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AQAB"}"#.to_owned(), "32 bytes"),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AQAB="}"#.to_owned(), "base64url"),
            (r#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}"#.to_owned(), "32 bytes"),
            (r#"{"kty":"oct","k":"AQAB"}"#.to_owned(), "the secret has 3 bytes"),
            (r#"{"kid":"1"}"#.to_owned(), "no `kty`"),
            ("7".to_owned(), "not an object"),
        ];
        for (entry, why) in bad {
            let told = refusal(&set(&[ed.clone(), entry.clone()]));
            assert!(told.starts_with("keys[1]") && told.contains(why), "{entry}: {told}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["{", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":[]}"#, r#"{"kty":"RSA","kty":"oct"}"#] {
            refusal(text);
        }
    }

    /// While keys rotate, tokens of both are good; a `kid` picks its own key, and no other that also could.
    #[test]
    fn rotation_goes_by_kid() {
        for (old, new) in pairs().iter().zip(strangers()) {
            let file = set(&[old.jwk(r#","kid":"old""#), new.jwk(r#","kid":"new""#)]);
            let verifier = verifier_of(&[file.as_bytes()], VerifyOptions::default());
            for (pair, kid) in [(old, Some("old")), (new, Some("new")), (old, None), (new, None)] {
                assert!(verifier.verify(&token_with_kid(pair, kid), NOW_MS).is_ok(), "{kid:?}");
            }
            assert_eq!(verifier.verify(&token_with_kid(old, Some("new")), NOW_MS).unwrap_err(), TokenError::Signature);
            assert_eq!(verifier.verify(&token_with_kid(old, Some("older")), NOW_MS).unwrap_err(), TokenError::UnknownKey);
            let after = verifier_of(&[new.jwks("new").as_bytes()], VerifyOptions::default());
            assert_eq!(after.verify(&token_with_kid(old, Some("old")), NOW_MS).unwrap_err(), TokenError::UnknownKey, "retired");
            assert_eq!(after.verify(&token_with_kid(old, None), NOW_MS).unwrap_err(), TokenError::Signature, "retired");
        }
    }

    /// Two issuers both call their key `1`, of the same or of another kind: each one's tokens are good.
    #[test]
    fn a_kid_may_come_twice_across_issuers() {
        let other_hmac = secret();
        let issuers = [&pairs()[0], &other_hmac, &pairs()[1], &pairs()[2]];
        let files: Vec<String> = issuers.iter().map(|pair| pair.jwks("1")).collect();
        let verifier = verifier_of(&files.iter().map(String::as_bytes).collect::<Vec<_>>(), VerifyOptions::default());
        for pair in issuers {
            assert!(verifier.verify(&token_with_kid(pair, Some("1")), NOW_MS).is_ok(), "{:?}", pair.algorithm);
        }
        let stranger = token_with_kid(&strangers()[3], Some("1"));
        assert_eq!(verifier.verify(&stranger, NOW_MS).unwrap_err(), TokenError::Algorithm);
    }
}
