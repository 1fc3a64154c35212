//! A digest of a room's states, by which a client can tell whether it holds what it should: of which keys, and each at which revision.
//!
//! It is the sum, modulo 2^64, of a hash of each key that has a value; so it does not depend on their order. The hash is that of the text
//! `type`, line feed, `key`, line feed, `rev` in decimal digits: FNV-1a with 64 bits (Fowler, Noll, Vo; RFC 9923), and then the finalizer of
//! `MurmurHash3` (Austin Appleby, `fmix64`, public domain), without which the difference that one revision makes could be undone by another's.
//!
//! It is reckoned when somebody asks, not kept: a state costs nothing for it while nobody does.

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest {
    keys: u64,
    sum: u64,
}

impl StateDigest {
    /// One key more. A key without a name is the empty one.
    pub fn add(&mut self, kind: &str, key: &str, rev: u64) {
        let rev = rev.to_string();
        let bytes = kind.bytes().chain([b'\n']).chain(key.bytes()).chain([b'\n']).chain(rev.bytes());
        let hash = bytes.fold(FNV_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        self.keys += 1;
        self.sum = self.sum.wrapping_add(finished(hash));
    }

    /// How many keys are in it.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// The digest.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

/// `fmix64`.
fn finished(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(keys: &[(&str, &str, u64)]) -> u64 {
        let mut digest = StateDigest::default();
        for (kind, key, rev) in keys {
            digest.add(kind, key, *rev);
        }
        assert_eq!(digest.keys(), keys.len() as u64);
        digest.sum()
    }

    /// The same values stand in the tests of client.js and of the protocol.
    #[test]
    fn the_digest_is_what_it_is_for_ever() {
        assert_eq!(digest(&[]), 0);
        assert_eq!(format!("{:016x}", digest(&[("EQUITY_UPDATED", "8f", 907)])), VECTORS[0]);
        assert_eq!(format!("{:016x}", digest(&[("EQUITY_UPDATED", "8f", 907), ("quote_state", "", 1)])), VECTORS[1]);
    }

    /// A missing key, a foreign one, an older revision, two that are exchanged: each shows; the order does not.
    #[test]
    fn what_differs_shows() {
        let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
        let whole: Vec<(&str, &str, u64)> = keys.iter().enumerate().map(|(n, key)| ("T", key.as_str(), n as u64 + 10)).collect();
        let sum = digest(&whole);
        let mut turned = whole.clone();
        turned.reverse();
        assert_eq!(digest(&turned), sum);
        for n in 0..whole.len() {
            let mut other = whole.clone();
            other[n].2 += 1;
            assert_ne!(digest(&other), sum);
            let m = (n + 1) % whole.len();
            other[m].2 -= 1;
            assert_ne!(digest(&other), sum, "one up, one down");
            other.remove(n);
            assert_ne!(digest(&other), sum);
        }
        assert_ne!(digest(&[("a", "b", 1)]), digest(&[("ab", "", 1)]));
    }

    const VECTORS: [&str; 2] = ["1e4ad76ec3dea3c5", "bc5e00506722253e"];
}
