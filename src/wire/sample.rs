//! What a member wants of a room's states, if not each change of each as it comes: only some of them, the newest at its own interval.

use std::time::Duration;

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
    /// Whether it is about that state, by the text that members get of it.
    pub fn wants(&self, text: &[u8]) -> bool {
        let (kind, key) = kind_and_key(text);
        let is_in = |names: &[String], name: &[u8]| names.is_empty() || names.iter().any(|wanted| wanted.as_bytes() == name);
        is_in(&self.types, kind) && is_in(&self.keys, key)
    }
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
