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
