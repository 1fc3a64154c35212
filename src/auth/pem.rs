//! Keys in PEM, which jsonwebtoken reads, and the looks around them that it leaves out: which kind of block it is, which curve,
//! how many bits.

use jsonwebtoken::crypto::sign;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm as Jwa, DecodingKey, EncodingKey};

use super::base64url;
use super::keys::{Algorithm, KeyProblem};

/// What ring's descendants verify with PKCS #1 v1.5.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const P256_POINT_BYTES: usize = 65;
const ED25519_KEY_BYTES: usize = 32;
/// The object identifier of P-256 (1.2.840.10045.3.1.7) in DER. Other curves have points of the same size.
const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Reads the one public key of a PEM file.
pub(super) fn public_key(bytes: &[u8]) -> Result<(Algorithm, DecodingKey), KeyProblem> {
    let block = Block::only(bytes)?;
    match block.label.as_str() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => return Err(KeyProblem::Certificate),
        label if label.ends_with("PRIVATE KEY") => return Err(KeyProblem::Private),
        _ => return Err(KeyProblem::Unusable("this PEM block is no public key")),
    }
    // The reader below finds a key in the middle of other bytes, too.
    if !is_der(&block.der) {
        return Err(KeyProblem::Unusable("this PEM block cannot be read as a public key"));
    }
    if let Ok(key) = DecodingKey::from_rsa_pem(bytes) {
        check_rsa(&key)?;
        return Ok((Algorithm::Rs256, key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(bytes) {
        let is_p256 = block.holds(P256_OID) && key.try_get_as_bytes().is_ok_and(|point| point.len() == P256_POINT_BYTES && point[0] == 4);
        return if is_p256 {
            Ok((Algorithm::Es256, key))
        } else {
            Err(KeyProblem::Unusable("this EC key is not an uncompressed P-256 one"))
        };
    }
    match DecodingKey::from_ed_pem(bytes) {
        Ok(key) if key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == ED25519_KEY_BYTES) => Ok((Algorithm::EdDsa, key)),
        _ => Err(KeyProblem::Unusable("this PEM block cannot be read as a public key")),
    }
}

/// Reads the one private key of a PEM file, and signs with it once to see that it can.
pub(super) fn private_key(bytes: &[u8]) -> Result<(Algorithm, EncodingKey), KeyProblem> {
    match Block::only(bytes)?.label.as_str() {
        "PRIVATE KEY" | "RSA PRIVATE KEY" => {}
        "EC PRIVATE KEY" => {
            return Err(KeyProblem::Unusable("this EC key is in SEC1 form; convert it with `openssl pkcs8 -topk8 -nocrypt -in FILE`"));
        }
        "ENCRYPTED PRIVATE KEY" => return Err(KeyProblem::Unusable("this key is encrypted; decrypt it with `openssl pkcs8 -in FILE`")),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(KeyProblem::Public),
        "CERTIFICATE" => return Err(KeyProblem::Certificate),
        _ => return Err(KeyProblem::Unusable("this PEM block is no private key")),
    }
    let (algorithm, key) = if let Ok(key) = EncodingKey::from_rsa_pem(bytes) {
        (Algorithm::Rs256, key)
    } else if let Ok(key) = EncodingKey::from_ec_pem(bytes) {
        (Algorithm::Es256, key)
    } else {
        let unreadable = |_| KeyProblem::Unusable("this PEM block cannot be read as a private key");
        (Algorithm::EdDsa, EncodingKey::from_ed_pem(bytes).map_err(unreadable)?)
    };
    sign(b"", &key, algorithm.jwa()).map_err(|_| KeyProblem::Unusable("this key cannot sign"))?;
    Ok((algorithm, key))
}

/// Is the RSA key of a size that can be verified with?
pub(super) fn check_rsa(key: &DecodingKey) -> Result<(), KeyProblem> {
    let unreadable = KeyProblem::Unusable("this RSA key cannot be read");
    let Ok(Jwk { algorithm: AlgorithmParameters::RSA(numbers), .. }) = Jwk::from_decoding_key(key, Some(Jwa::RS256)) else {
        return Err(unreadable);
    };
    let bits = base64url::decode(&numbers.n).map(|modulus| bits(&modulus)).ok_or(unreadable)?;
    if RSA_BITS.contains(&bits) { Ok(()) } else { Err(KeyProblem::RsaBits(bits)) }
}

/// Is it a DER file with a key in it: one sequence that fills the file and begins as keys do?
pub(super) fn is_der(bytes: &[u8]) -> bool {
    let Some((0x30, rest)) = bytes.split_first().map(|(first, rest)| (*first, rest)) else { return false };
    let (length, body) = match rest {
        [short @ 0..=0x7f, body @ ..] => (usize::from(*short), body),
        [0x81, length, body @ ..] => (usize::from(*length), body),
        [0x82, high, low, body @ ..] => (usize::from(*high) << 8 | usize::from(*low), body),
        _ => return false,
    };
    body.len() == length && body.first().is_some_and(|first| [0x30, 0x02].contains(first))
}

/// Is it a public key in other clothes: the base64 of DER without the PEM lines, or OpenSSH's form?
pub(super) fn is_unarmored(text: &[u8]) -> bool {
    let ssh = [&b"ssh-"[..], b"ecdsa-sha2-", b"sk-ssh-", b"---- BEGIN SSH2"].iter().any(|prefix| text.starts_with(prefix));
    ssh || decode_standard(text).is_some_and(|der| is_der(&der))
}

struct Block {
    label: String,
    der: Vec<u8>,
}

impl Block {
    /// The file's one block. Of several it is not said which would count, so they are refused.
    fn only(bytes: &[u8]) -> Result<Block, KeyProblem> {
        let broken = KeyProblem::Unusable("this PEM cannot be read");
        let text = str::from_utf8(bytes).map_err(|_| broken.clone())?;
        let (_, rest) = text.split_once("-----BEGIN ").ok_or(broken.clone())?;
        let (label, rest) = rest.split_once("-----").ok_or(broken.clone())?;
        let (body, rest) = rest.split_once("-----END ").ok_or(broken.clone())?;
        if rest.contains("-----BEGIN ") {
            return Err(KeyProblem::Unusable("this file has more than one PEM block; put each key into a file of its own"));
        }
        // A legacy encrypted key has header lines in its body and is refused by its label or by the reader.
        Ok(Block { label: label.to_owned(), der: decode_standard(body.as_bytes()).unwrap_or_default() })
    }

    fn holds(&self, oid: &[u8]) -> bool {
        self.der.windows(oid.len()).any(|window| window == oid)
    }
}

/// Standard base64 with its padding, line ends inside allowed.
fn decode_standard(text: &[u8]) -> Option<Vec<u8>> {
    let mut url = String::with_capacity(text.len());
    for byte in text.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        url.push(match byte {
            b'+' => '-',
            b'/' => '_',
            other => char::from(*other),
        });
    }
    base64url::decode(url.trim_end_matches('='))
}

fn bits(number: &[u8]) -> usize {
    let significant = number.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &number[first..]);
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}
