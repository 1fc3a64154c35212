//! Tokens that were found good a moment ago, so that one who publishes by many requests, or comes back after a moment, does not cost
//! a signature check each time. Only good ones are kept: a bad token is checked each time it comes.
//!
//! A token is known here by its SHA-256, and is itself not kept. Whoever asks looks at the revocations after this.

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::Grants;
use crate::base::generations::Generations;
use crate::base::limits::{TOKEN_CACHED_BYTES_MAX, TOKEN_CACHED_FOR, TOKENS_CACHED_MAX};
use crate::base::time::{Mono, Now};

type Fingerprint = [u8; SHA256_OUTPUT_LEN];

/// See the module.
#[derive(Debug)]
pub struct TokenCache {
    entries: Generations<Fingerprint, Entry>,
}

#[derive(Debug)]
struct Entry {
    grants: Box<Grants>,
    until: Mono,
}

impl Default for TokenCache {
    fn default() -> TokenCache {
        TokenCache { entries: Generations::new(TOKENS_CACHED_MAX) }
    }
}

impl TokenCache {
    /// What the token was found to grant, if that was less than [`TOKEN_CACHED_FOR`] ago and it has not ended.
    pub fn get(&self, token: &str, now: Now) -> Option<Grants> {
        if token.len() > TOKEN_CACHED_BYTES_MAX || self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.get(&fingerprint(token))?;
        let is_good = now.mono < entry.until && now.wall_ms < entry.grants.expires_at_ms;
        is_good.then(|| Grants::clone(&entry.grants))
    }

    /// Keeps what a token was found to grant. Long ones are not kept: what they grant is as long.
    pub fn insert(&mut self, token: &str, grants: &Grants, now: Now) {
        if token.len() <= TOKEN_CACHED_BYTES_MAX {
            let entry = Entry { grants: Box::new(grants.clone()), until: now.mono.plus(TOKEN_CACHED_FOR) };
            self.entries.insert(fingerprint(token), entry);
        }
    }
}

fn fingerprint(token: &str) -> Fingerprint {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::super::VerifyOptions;
    use super::super::testing::{NOW_MS, NOW_S, good_token, pairs};
    use super::*;

    fn now(mono_s: u64, wall_ms: u64) -> Now {
        Now { mono: Mono(0).plus(std::time::Duration::from_secs(mono_s)), wall_ms }
    }

    fn grants_of(token: &str) -> Grants {
        pairs()[0].verifier(VerifyOptions::default()).verify(token, NOW_MS).unwrap()
    }

    /// AUT-08: an entry dies after a minute, or with its token, whichever is first; also when the wall clock jumps back.
    #[test]
    fn an_entry_dies_at_the_end_of_its_token_or_after_a_minute() {
        let mut cache = TokenCache::default();
        let token = good_token(&pairs()[0]);
        cache.insert(&token, &grants_of(&token), now(0, NOW_MS));
        assert_eq!(&*cache.get(&token, now(59, NOW_MS + 59_000)).unwrap().user, "u1");
        assert!(cache.get(&token, now(60, NOW_MS + 60_000)).is_none());
        assert!(cache.get(&token, now(60, NOW_MS - 86_400_000)).is_none());
        let claims = format!(r#"{{"sub":"u1","exp":{}}}"#, NOW_S + 10);
        let short = pairs()[0].signer().sign_parts(br#"{"alg":"HS256"}"#, claims.as_bytes()).unwrap();
        cache.insert(&short, &grants_of(&short), now(0, NOW_MS));
        assert!(cache.get(&short, now(9, NOW_MS + 9_999)).is_some());
        assert!(cache.get(&short, now(10, NOW_MS + 10_000)).is_none());
    }

    /// AUT-08: one changed character is another token; nothing is known of it.
    #[test]
    fn another_token_is_not_known() {
        let mut cache = TokenCache::default();
        let token = good_token(&pairs()[0]);
        assert!(cache.get(&token, now(0, NOW_MS)).is_none());
        cache.insert(&token, &grants_of(&token), now(0, NOW_MS));
        for place in 0..token.len() {
            let mut altered = token.clone();
            altered.replace_range(place..=place, if &token[place..=place] == "A" { "B" } else { "A" });
            assert!(cache.get(&altered, now(0, NOW_MS)).is_none());
        }
        assert!(cache.get(&token[..token.len() - 1], now(0, NOW_MS)).is_none());
    }

    /// The cache is bounded in entries and in what one of them can hold.
    #[test]
    fn long_tokens_are_not_kept_and_there_is_an_end_to_short_ones() {
        let mut cache = TokenCache::default();
        let grants = grants_of(&good_token(&pairs()[0]));
        let long = "x".repeat(TOKEN_CACHED_BYTES_MAX + 1);
        cache.insert(&long, &grants, now(0, NOW_MS));
        assert!(cache.get(&long, now(0, NOW_MS)).is_none() && cache.entries.is_empty());
        for number in 0..3 * TOKENS_CACHED_MAX {
            cache.insert(&number.to_string(), &grants, now(0, NOW_MS));
        }
        assert!(cache.entries.len() <= TOKENS_CACHED_MAX);
        assert!(cache.get(&(3 * TOKENS_CACHED_MAX - 1).to_string(), now(0, NOW_MS)).is_some());
    }
}
