//! What a member wants of a room's states, if not each change of each as it comes: only some of them, the newest at its own interval.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::base::codes::{INVALID_FIELD, Refusal};
use crate::base::ident::is_identifier;

/// The shortest and the longest interval.
const EVERY_MS: RangeInclusive<u64> = 1_000..=60_000;
/// So many types, or keys, may be named.
const NAMES_MAX: usize = 64;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How long a state is held for the next one. Zero: not at all.
    pub every: Duration,
    /// Of these types; of all if empty.
    pub types: Vec<String>,
    /// Of these keys; all if empty.
    pub keys: Vec<String>,
}

impl Sample {
    /// What was asked for, if anything was. The names are given one by one; none of what is no text.
    pub fn new(
        every_ms: Option<Option<u64>>,
        types: Option<Vec<Option<String>>>,
        keys: Option<Vec<Option<String>>>,
    ) -> Result<Option<Box<Sample>>, Refusal> {
        if every_ms.is_none() && types.is_none() && keys.is_none() {
            return Ok(None);
        }
        let every = every_ms.map(every).transpose()?.unwrap_or_default();
        let types = types.map(|types| names("types", types)).transpose()?.unwrap_or_default();
        let keys = keys.map(|keys| names("keys", keys)).transpose()?.unwrap_or_default();
        Ok(Some(Box::new(Sample { every, types, keys })))
    }

    /// Whether it is about that state, by the text that members get of it.
    pub fn wants(&self, text: &[u8]) -> bool {
        let (kind, key) = kind_and_key(text);
        let is_in = |names: &[String], name: &[u8]| names.is_empty() || names.iter().any(|wanted| wanted.as_bytes() == name);
        is_in(&self.types, kind) && is_in(&self.keys, key)
    }
}

fn every(ms: Option<u64>) -> Result<Duration, Refusal> {
    let ms = ms.filter(|ms| EVERY_MS.contains(ms));
    let told = || format!("`every_ms` must be an integer from {} to {}", EVERY_MS.start(), EVERY_MS.end());
    ms.map(Duration::from_millis).ok_or_else(|| Refusal::new(INVALID_FIELD, told()))
}

fn names(what: &str, names: Vec<Option<String>>) -> Result<Vec<String>, Refusal> {
    let names: Option<Vec<String>> = names.into_iter().map(|name| name.filter(|name| is_identifier(name))).collect();
    let told = || format!("`{what}` must be 1 to {NAMES_MAX} names of [A-Za-z0-9_.:%-]{{1,200}}");
    names.filter(|names| (1..=NAMES_MAX).contains(&names.len())).ok_or_else(|| Refusal::new(INVALID_FIELD, told()))
}

/// Type and key stand before all else that may have a quote in it, and names have none: `{"type":"T","room":"R","lane":"L","key":"K",`.
fn kind_and_key(text: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = text.split(|byte| *byte == b'"');
    let kind = parts.nth(3).unwrap_or_default();
    let has_key = parts.nth(9).is_some_and(|name| name == b"key");
    (kind, if has_key { parts.nth(1).unwrap_or_default() } else { b"" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_wanted_by_its_type_and_its_key() {
        let keyed = br#"{"type":"A","room":"r","lane":"metric","key":"k","rev":1,"ts":2,"data":{"key":"other"}}"#;
        let bare = br#"{"type":"B","room":"r","lane":"metric","rev":1,"ts":2,"data":{"key":"k"}}"#;
        assert_eq!((kind_and_key(keyed), kind_and_key(bare)), ((&b"A"[..], &b"k"[..]), (&b"B"[..], &b""[..])));
        for (types, keys, wanted) in [
            (vec![], vec![], [true, true]),
            (vec!["A"], vec![], [true, false]),
            (vec!["A", "B"], vec!["k"], [true, false]),
            (vec![], vec!["other"], [false, false]),
        ] {
            let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
            let sample = Sample { every: Duration::ZERO, types: owned(types), keys: owned(keys) };
            assert_eq!([sample.wants(keyed), sample.wants(bare)], wanted, "{sample:?}");
        }
    }
}
