//! The keys that tokens are checked with, each bound to its one algorithm.

use std::fmt;

use jsonwebtoken::crypto::verify;
use jsonwebtoken::{Algorithm as Jwa, DecodingKey};

use super::{install_provider, jwks, pem};

/// Keys that one token may be tried against: a flood of bad tokens without `kid` costs this many signature checks each.
pub(super) const KEYS_MAX: usize = 16;
/// HS256 wants a secret no shorter than its hash (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Fewer different bytes than this in 32 is somebody holding a key down; random hex digits have 14.
const SECRET_VARIETY_MIN: usize = 8;
/// The byte order marks that some editors and shells put before a text.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// What stands in the secrets of tutorials, samples and half-finished configurations.
const SECRET_PLACEHOLDERS: &[&str] = &[
    "dev-secret",
    "devsecret",
    "changeme",
    "change-me",
    "change_me",
    "change-in-production",
    "change-this",
    "your-secret",
    "your-super-secret",
    "your-256-bit",
    "super-secret",
    "secret-key",
    "secret_key",
    "a-string-secret",
    "qwertyuiop",
    "placeholder",
    "password",
    "0123456789abcdef0123456789abcdef",
];

/// The algorithms there are. One key has one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// The algorithm of that exact name (names are case-sensitive, RFC 7515 section 4.1.1).
    pub(super) fn from_name(name: &str) -> Option<Algorithm> {
        [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    pub(super) fn jwa(self) -> Jwa {
        match self {
            Algorithm::Hs256 => Jwa::HS256,
            Algorithm::Rs256 => Jwa::RS256,
            Algorithm::Es256 => Jwa::ES256,
            Algorithm::EdDsa => Jwa::EdDSA,
        }
    }
}

/// A key with the only algorithm it is ever used for.
#[derive(Clone, Debug)]
pub(super) struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    material: DecodingKey,
}

impl Key {
    pub(super) fn new(kid: Option<String>, algorithm: Algorithm, material: DecodingKey) -> Key {
        Key { kid, algorithm, material }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Is `signature` (base64url) this key's over `signed`?
    pub(super) fn verifies(&self, signed: &str, signature: &str) -> bool {
        verify(signature, signed.as_bytes(), &self.material, self.algorithm.jwa()).unwrap_or(false)
    }
}

/// Why a key file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// The file, or whatever the key was called by.
    pub name: String,
    /// What is wrong with it.
    pub problem: KeyProblem,
}

/// What is wrong with a key. The text of each says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// A secret shorter than 32 bytes (its length); make one with `tickerd token --generate-key`.
    TooShort(usize),
    /// A secret that stands in samples and tutorials; make one with `tickerd token --generate-key`.
    Placeholder,
    /// A secret of a few bytes over and over; make one with `tickerd token --generate-key`.
    Monotonous,
    /// A public key that is not in PEM or JWKS. As a secret it would let anybody who has it sign; convert it to PEM.
    NotArmored,
    /// A private key where a public one belongs; the server must not be able to sign.
    Private,
    /// A public key where a private one, or a secret, belongs.
    Public,
    /// A certificate; take the public key out of it.
    Certificate,
    /// Neither RSA, P-256 nor Ed25519, or not readable (the text says which).
    Unusable(&'static str),
    /// An RSA key of this many bits; 2048 to 8192 will do.
    RsaBits(usize),
    /// A JWKS that cannot be used as it is (the text says why).
    Jwks(String),
    /// More keys than one token may be tried against; remove retired ones.
    TooMany,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {}", self.name, self.problem)
    }
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            KeyProblem::TooShort(bytes) => {
                return write!(
                    f,
                    "the secret has {bytes} bytes, HS256 needs {SECRET_BYTES_MIN}; make one with `tickerd token --generate-key FILE`"
                );
            }
            KeyProblem::Placeholder => "the secret is one from samples and tutorials; make one with `tickerd token --generate-key FILE`",
            KeyProblem::Monotonous => "the secret repeats a few bytes; make one with `tickerd token --generate-key FILE`",
            KeyProblem::NotArmored => {
                "this is a key in DER, SSH or UTF16 form, not a secret; convert it to PEM (`openssl pkey -pubin -inform DER`, `ssh-keygen -e -m pkcs8`, `iconv`)"
            }
            KeyProblem::Private => {
                "this is a private key, and the server only checks tokens; give it the public one (`openssl pkey -in FILE -pubout`)"
            }
            KeyProblem::Public => "this is a public key, and signing needs the private one, or a raw secret",
            KeyProblem::Certificate => "this is a certificate; take the public key out of it (`openssl x509 -in FILE -pubkey -noout`)",
            KeyProblem::Unusable(what) => return write!(f, "{what}; give an RSA (2048 bits or more), P-256 or Ed25519 key in PEM"),
            KeyProblem::RsaBits(bits) => return write!(f, "the RSA key has {bits} bits; make one with 2048 to 8192"),
            KeyProblem::Jwks(why) => return write!(f, "the JWKS cannot be used: {why}"),
            KeyProblem::TooMany => return write!(f, "more than {KEYS_MAX} keys; remove those that are retired"),
        };
        f.write_str(text)
    }
}

impl std::error::Error for KeyError {}

/// The keys a token may be signed with. While keys rotate there are several.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    notes: Vec<String>,
}

impl KeySet {
    /// Adds what is in a key file: a raw HMAC secret (the bytes themselves, without the newlines at the end), a public key in PEM, or a JWKS.
    /// Which one is told by the content; what looks like a key but is none of these is refused rather than taken for a secret. `name` is
    /// for messages. On an error nothing is added.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), KeyError> {
        install_provider();
        let (keys, notes) = read(bytes).map_err(|problem| KeyError { name: name.to_owned(), problem })?;
        if self.keys.len() + keys.len() > KEYS_MAX {
            return Err(KeyError { name: name.to_owned(), problem: KeyProblem::TooMany });
        }
        self.keys.extend(keys);
        self.notes.extend(notes.into_iter().map(|note| format!("key {name}: {note}")));
        Ok(())
    }

    /// No key: then no token is valid.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// What was passed over in the files, for the log: keys of a JWKS that are for something else.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The keys that a token with this `kid` may be signed with: those of that `kid`, and those that have none (a PEM or a raw
    /// secret has no place for it). All of them for a token without `kid`.
    pub(super) fn candidates(&self, kid: Option<&str>) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| match (kid, &key.kid) {
            (Some(wanted), Some(kid)) => kid == wanted,
            _ => true,
        })
    }
}

/// What a key file holds, told by its content.
pub(super) enum Content<'a> {
    /// A raw secret.
    Secret(&'a [u8]),
    /// PEM.
    Pem(&'a [u8]),
    /// JSON.
    Json(&'a [u8]),
}

/// Tells what a key file holds. Whatever could be a public key is never a secret: everybody knows it.
pub(super) fn tell(bytes: &[u8]) -> Result<Content<'_>, KeyProblem> {
    let bytes = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    let text = bytes.trim_ascii();
    if contains(text, b"-----BEGIN ") {
        Ok(Content::Pem(bytes))
    } else if text.starts_with(b"{") || text.starts_with(b"[") || contains(text, b"\"kty\"") {
        Ok(Content::Json(bytes))
    } else if pem::is_der(bytes) || pem::is_unarmored(text) || UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        Err(KeyProblem::NotArmored)
    } else {
        let secret = without_final_newlines(bytes);
        check_secret(secret).map(|()| Content::Secret(secret))
    }
}

/// Is the secret worth the name?
pub(super) fn check_secret(secret: &[u8]) -> Result<(), KeyProblem> {
    let lower = secret.to_ascii_lowercase();
    if lower == b"secret" || SECRET_PLACEHOLDERS.iter().any(|sample| contains(&lower, sample.as_bytes())) {
        Err(KeyProblem::Placeholder)
    } else if secret.len() < SECRET_BYTES_MIN {
        Err(KeyProblem::TooShort(secret.len()))
    } else if variety(secret) < SECRET_VARIETY_MIN {
        Err(KeyProblem::Monotonous)
    } else {
        Ok(())
    }
}

/// An editor or `echo` leaves a newline that its user does not count as part of the secret.
fn without_final_newlines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}

fn read(bytes: &[u8]) -> Result<(Vec<Key>, Vec<String>), KeyProblem> {
    let key = match tell(bytes)? {
        Content::Json(bytes) => return jwks::read(bytes),
        Content::Secret(secret) => Key::new(None, Algorithm::Hs256, DecodingKey::from_secret(secret)),
        Content::Pem(bytes) => {
            let (algorithm, key) = pem::public_key(bytes)?;
            Key::new(None, algorithm, key)
        }
    };
    Ok((vec![key], Vec::new()))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn variety(bytes: &[u8]) -> usize {
    let mut seen = [false; 256];
    for byte in bytes {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING};

    use super::super::testing::{NOW_MS, Pair, ec, good_token, pairs, pem as armor, secret, standard_base64, verifier_of};
    use super::super::{VerifyOptions, base64url};
    use super::*;

    /// Only the public half of a key was ever kept, made for this test: 1024 bits are too few for anything else.
    const RSA_1024_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCo/V265L7+Y1mI0oSzXJK/WxDu
5id55zp2v//O61yhf65N00Ui4Zif4hi6x/h79ADHuf25gpF/Vb19N2QzJDBczc19
laXncbOpmleVhOEPZgKzepga67aPYDWo9hYScC+4sWgFLSxqe9S6z5JWQE+oWGIE
Ghdiyc7JWyFKJbdc5QIDAQAB
-----END PUBLIC KEY-----
";

    fn refusal(bytes: &[u8]) -> KeyProblem {
        let mut keys = KeySet::default();
        let error = keys.add("jwt.key", bytes).unwrap_err();
        assert!(keys.is_empty(), "nothing is added on an error");
        assert!(error.to_string().starts_with("key jwt.key: "));
        error.problem
    }

    fn text_of(pair: &Pair) -> &str {
        str::from_utf8(&pair.public).unwrap()
    }

    fn der_of(pair: &Pair) -> Vec<u8> {
        let body: String = text_of(pair).lines().filter(|line| !line.starts_with('-')).collect();
        base64url::decode(body.replace('+', "-").replace('/', "_").trim_end_matches('=')).unwrap()
    }

    /// AUT-09: a sample's secret does not start a daemon.
    #[test]
    fn weak_secrets_are_refused() {
        for sample in ["dev-secret-key", "secret", "changeme", "CHANGE-ME-please-this-is-long-enough-1234", "your-256-bit-secret"] {
            assert_eq!(refusal(sample.as_bytes()), KeyProblem::Placeholder, "{sample}");
        }
        assert_eq!(refusal(b"a-string-secret-at-least-256-bits-long"), KeyProblem::Placeholder);
        assert_eq!(refusal(b"super-secret-jwt-token-with-at-least-32-characters-long"), KeyProblem::Placeholder);
        assert_eq!(refusal(b""), KeyProblem::TooShort(0));
        assert_eq!(refusal(b"\n"), KeyProblem::TooShort(0));
        assert_eq!(refusal(b"0f8a6b1c9d3e5724aa61f0c2b7d9e18\n"), KeyProblem::TooShort(31));
        assert_eq!(refusal(&[b'x'; 64]), KeyProblem::Monotonous);
        assert_eq!(refusal(&[0; 64]), KeyProblem::Monotonous);
    }

    #[test]
    fn newlines_at_the_end_are_not_part_of_a_secret() {
        let plain = secret();
        let token = good_token(&plain);
        for end in ["", "\n", "\r\n", "\n\n"] {
            let file = [&plain.public[..], end.as_bytes()].concat();
            let verifier = verifier_of(&[&file], VerifyOptions::default());
            assert!(verifier.verify(&token, NOW_MS).is_ok(), "{end:?}");
        }
    }

    /// HS/RS confusion at its root: a public key must never be loaded as a secret.
    #[test]
    fn a_public_key_in_other_clothes_is_no_secret() {
        for pair in &pairs()[1..] {
            let der = der_of(pair);
            assert_eq!(refusal(&der), KeyProblem::NotArmored);
            assert_eq!(refusal(standard_base64(&der).as_bytes()), KeyProblem::NotArmored);
            assert_eq!(
                refusal(armor("PUBLIC KEY", &der[1..]).as_bytes()),
                KeyProblem::Unusable("this PEM block cannot be read as a public key")
            );
            assert!(matches!(refusal(&pair.public[..60]), KeyProblem::Unusable(_)));
            assert!(matches!(refusal(&pair.jwks("k").as_bytes()[1..]), KeyProblem::Jwks(_)), "a JWKS whose first brace was cut off");
            let utf16: Vec<u8> = text_of(pair).encode_utf16().flat_map(u16::to_le_bytes).collect();
            assert_eq!(refusal(&[UTF16_MARKS[0], &utf16[..]].concat()), KeyProblem::NotArmored);
        }
        assert_eq!(refusal(b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8m1n4Yd0v7 someone@example"), KeyProblem::NotArmored);
    }

    #[test]
    fn a_byte_order_mark_changes_nothing() {
        for pair in pairs() {
            for file in [pair.public.clone(), pair.jwks("k").into_bytes()] {
                let marked = [UTF8_MARK, &file].concat();
                let verifier = verifier_of(&[&marked], VerifyOptions::default());
                assert!(verifier.verify(&good_token(pair), NOW_MS).is_ok());
            }
        }
    }

    #[test]
    fn what_is_no_public_key_is_told_apart() {
        for pair in &pairs()[1..] {
            assert_eq!(refusal(&pair.private), KeyProblem::Private);
        }
        assert_eq!(refusal(armor("RSA PRIVATE KEY", &[0x30, 0]).as_bytes()), KeyProblem::Private);
        assert_eq!(refusal(armor("EC PRIVATE KEY", &[0x30, 0]).as_bytes()), KeyProblem::Private);
        assert_eq!(refusal(armor("CERTIFICATE", &[0x30, 0]).as_bytes()), KeyProblem::Certificate);
        let two = [&pairs()[1].public[..], &pairs()[2].public].concat();
        assert!(matches!(refusal(&two), KeyProblem::Unusable(why) if why.contains("more than one")));
    }

    #[test]
    fn small_rsa_keys_and_other_curves_are_refused() {
        assert_eq!(refusal(RSA_1024_PUBLIC.as_bytes()), KeyProblem::RsaBits(1024));
        for curve in [&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P256K1_SHA256_FIXED_SIGNING] {
            assert!(matches!(refusal(&ec(curve).public), KeyProblem::Unusable(why) if why.contains("P-256")));
        }
    }

    #[test]
    fn there_are_at_most_as_many_keys_as_one_token_may_be_tried_against() {
        let mut keys = KeySet::default();
        for _ in 0..KEYS_MAX {
            keys.add("a", &secret().public).unwrap();
        }
        assert_eq!(keys.add("b", &secret().public).unwrap_err().problem, KeyProblem::TooMany);
        assert_eq!(keys.len(), KEYS_MAX);
    }

    #[test]
    fn no_key_is_ever_printed() {
        let pair = secret();
        let mut keys = KeySet::default();
        keys.add("a", &pair.public).unwrap();
        let printed = format!("{keys:?}");
        let raw = format!("{:?}", &pair.public[..4]);
        assert!(!printed.contains(str::from_utf8(&pair.public).unwrap()) && !printed.contains(raw.trim_matches(['[', ']'])), "{printed}");
    }
}
