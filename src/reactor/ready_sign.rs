//! Whether load balancers should send clients here, as the daemon has found last: what `/readyz` says on every listener. No I/O.

use std::sync::atomic::{AtomicU8, Ordering};

/// What may be said, and whether clients should come.
const WORDS: [(&str, bool); 7] = [
    ("starting", false),
    ("ready", true),
    ("degraded", true),
    ("draining", false),
    ("stopped", false),
    ("stalled", false),
    ("full", false),
];

/// See the module. One for all reactors.
#[derive(Debug, Default)]
pub struct ReadySign(AtomicU8);

impl ReadySign {
    /// Says that from now on.
    pub fn show(&self, word: &str) {
        let known = WORDS.iter().position(|(known, _)| *known == word);
        debug_assert!(known.is_some(), "{word} is none of the words");
        self.0.store(known.unwrap_or(0) as u8, Ordering::Relaxed);
    }

    /// The word, and whether clients should come.
    pub fn read(&self) -> (&'static str, bool) {
        WORDS[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SCL-05: it begins with what keeps clients away.
    #[test]
    fn it_says_what_was_shown_last() {
        let sign = ReadySign::default();
        assert_eq!(sign.read(), ("starting", false));
        for (word, are_welcome) in WORDS {
            sign.show(word);
            assert_eq!(sign.read(), (word, are_welcome));
        }
    }
}
