//! Keys and tokens for this module's tests. The keys are made anew by each run; none is written down anywhere.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::keys::Algorithm;
use super::{KeySet, MintClaims, SigningKey, Verifier, VerifyOptions, base64url, mint};

/// The wall time of the tests.
pub(super) const NOW_S: u64 = 1_800_000_000;
pub(super) const NOW_MS: u64 = NOW_S * 1000;

/// A key file to sign with and one to check with.
pub(super) struct Pair {
    pub(super) algorithm: Algorithm,
    pub(super) private: Vec<u8>,
    pub(super) public: Vec<u8>,
}

impl Pair {
    pub(super) fn signer(&self) -> SigningKey {
        SigningKey::read("private", &self.private).unwrap()
    }

    /// Knows the key without `kid`, as a PEM or a raw secret is.
    pub(super) fn verifier(&self, options: VerifyOptions) -> Verifier {
        verifier_of(&[&self.public], options)
    }

    /// The JWK of the key, with more members.
    pub(super) fn jwk(&self, more: &str) -> String {
        let (private, public) = (&self.private[..], &self.public[..]);
        let jwk = match self.algorithm {
            Algorithm::Hs256 => Jwk::from_encoding_key(&EncodingKey::from_secret(private), self.algorithm.jwa()),
            Algorithm::Rs256 => Jwk::from_decoding_key(&DecodingKey::from_rsa_pem(public).unwrap(), Some(self.algorithm.jwa())),
            Algorithm::Es256 => Jwk::from_decoding_key(&DecodingKey::from_ec_pem(public).unwrap(), Some(self.algorithm.jwa())),
            Algorithm::EdDsa => Jwk::from_decoding_key(&DecodingKey::from_ed_pem(public).unwrap(), Some(self.algorithm.jwa())),
        };
        let members = serde_json::to_string(&jwk.unwrap()).unwrap();
        format!("{}{more}}}", members.strip_suffix('}').unwrap())
    }

    /// A JWKS with the key under `kid`.
    pub(super) fn jwks(&self, kid: &str) -> String {
        format!(r#"{{"keys":[{}]}}"#, self.jwk(&format!(r#","kid":"{kid}""#)))
    }
}

pub(super) fn verifier_of(files: &[&[u8]], options: VerifyOptions) -> Verifier {
    let mut keys = KeySet::default();
    for (place, file) in files.iter().enumerate() {
        keys.add(&format!("file {place}"), file).unwrap();
    }
    Verifier::new(keys, options)
}

/// One pair per algorithm, the same throughout a run.
pub(super) fn pairs() -> &'static [Pair; 4] {
    static PAIRS: OnceLock<[Pair; 4]> = OnceLock::new();
    PAIRS.get_or_init(fresh_pairs)
}

/// Four more pairs, of nobody we trust.
pub(super) fn strangers() -> &'static [Pair; 4] {
    static STRANGERS: OnceLock<[Pair; 4]> = OnceLock::new();
    STRANGERS.get_or_init(fresh_pairs)
}

fn fresh_pairs() -> [Pair; 4] {
    [secret(), rsa(), ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ed25519()]
}

pub(super) fn secret() -> Pair {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    let secret = base64url::encode(&bytes).into_bytes();
    Pair { algorithm: Algorithm::Hs256, private: secret.clone(), public: secret }
}

fn rsa() -> Pair {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap();
    pair(Algorithm::Rs256, private.as_ref(), key.public_key())
}

pub(super) fn ec(curve: &'static EcdsaSigningAlgorithm) -> Pair {
    let key = EcdsaKeyPair::generate(curve).unwrap();
    pair(Algorithm::Es256, key.to_pkcs8v1().unwrap().as_ref(), key.public_key())
}

fn ed25519() -> Pair {
    let key = Ed25519KeyPair::generate().unwrap();
    pair(Algorithm::EdDsa, key.to_pkcs8v1().unwrap().as_ref(), key.public_key())
}

fn pair(algorithm: Algorithm, private_der: &[u8], public: &impl AsDer<PublicKeyX509Der<'static>>) -> Pair {
    let public = pem("PUBLIC KEY", public.as_der().unwrap().as_ref());
    Pair { algorithm, private: pem("PRIVATE KEY", private_der).into_bytes(), public: public.into_bytes() }
}

/// The PEM block of some DER.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = standard_base64(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// base64 with the standard alphabet and padding.
pub(super) fn standard_base64(bytes: &[u8]) -> String {
    let text = base64url::encode(bytes).replace('-', "+").replace('_', "/");
    let padding = "=".repeat(text.len().next_multiple_of(4) - text.len());
    text + &padding
}

/// A token of the pair's key for the user `u1`, good for an hour.
pub(super) fn good_token(pair: &Pair) -> String {
    token_with_kid(pair, None)
}

/// The same, with a `kid`.
pub(super) fn token_with_kid(pair: &Pair, kid: Option<&str>) -> String {
    let claims = MintClaims { sub: "u1".to_owned(), issued_at_s: NOW_S, expires_at_s: NOW_S + 3600, ..MintClaims::default() };
    mint(&pair.signer().with_kid(kid.map(str::to_owned)), &claims).unwrap()
}
