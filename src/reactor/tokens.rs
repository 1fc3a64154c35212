//! Tokens as a reactor sees them: known from a moment ago or checked, and held against the revocations each time.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::auth::{Grants, Revocations, TokenCache, TokenError, Verifier};
use crate::base::time::Now;

use super::stats::ReactorStats;

/// See the module.
pub(super) struct Tokens {
    verifier: Arc<Verifier>,
    /// Shared by all reactors, and written by the admin listener.
    revocations: Arc<RwLock<Revocations>>,
    cache: TokenCache,
}

impl Tokens {
    /// Checks with this verifier, against these revocations.
    pub(super) fn new(verifier: Arc<Verifier>, revocations: Arc<RwLock<Revocations>>) -> Tokens {
        Tokens { verifier, revocations, cache: TokenCache::default() }
    }

    /// Checks with another verifier from now on. What the former one found good is checked again.
    pub(super) fn trust(&mut self, verifier: Arc<Verifier>) {
        self.verifier = verifier;
        self.cache = TokenCache::default();
    }

    /// Whether a token with these grants was revoked.
    pub(super) fn is_revoked(&self, grants: &Grants) -> bool {
        self.revocations.read().covers(grants)
    }

    /// What a token grants. A refusal is counted here.
    pub(super) fn check(&mut self, token: &str, now: Now, stats: &ReactorStats) -> Result<Grants, TokenError> {
        let checked = self
            .known_or_verified(token, now, stats)
            .and_then(|grants| if self.is_revoked(&grants) { Err(TokenError::Revoked) } else { Ok(grants) });
        if let Err(error) = &checked {
            stats.token_refused(error.label());
        }
        checked
    }

    /// What a token grants that was found good a moment ago, revoked or not.
    pub(super) fn known(&mut self, token: &str, now: Now) -> Option<Grants> {
        self.cache.get(token, now)
    }

    /// Whether what a token granted a moment ago holds still. A refusal is counted here.
    pub(super) fn check_grants(&self, grants: &Grants, now: Now, stats: &ReactorStats) -> Result<(), TokenError> {
        let checked = self.revocations.read().check(grants, now.wall_ms);
        checked.inspect_err(|error| stats.token_refused(error.label()))
    }

    fn known_or_verified(&mut self, token: &str, now: Now, stats: &ReactorStats) -> Result<Grants, TokenError> {
        if let Some(grants) = self.cache.get(token, now) {
            stats.tokens_known.inc();
            return Ok(grants);
        }
        let mut checks = 0;
        let verified = self.verifier.verify_counted(token, now.wall_ms, &mut checks);
        stats.signature_checks.add(checks as u64);
        let grants = verified?;
        self.cache.insert(token, &grants, now);
        Ok(grants)
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::{token, verifier};
    use super::*;
    use crate::auth::{Revocation, Whom};
    use crate::base::time::Mono;

    const NOW: Now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };

    /// AUT-07, AUT-08: a token that is known costs no signature check, and is refused all the same once it is revoked.
    #[test]
    fn a_known_token_costs_no_check_and_a_revocation_overrules_it() {
        let revocations = Arc::<RwLock<Revocations>>::default();
        let (mut tokens, stats) = (Tokens::new(verifier(), Arc::clone(&revocations)), ReactorStats::default());
        let token = token("u1", &[], &[], 1_700_000_600);
        for _ in 0..3 {
            assert_eq!(&*tokens.check(&token, NOW, &stats).unwrap().user, "u1");
        }
        assert_eq!((stats.signature_checks.value(), stats.tokens_known.value()), (1, 2));
        let whom = Whom::User { name: "u1".into(), issued_before_s: u32::MAX };
        revocations.write().insert(&Revocation { whom, until_s: None }, 0, 1).unwrap();
        assert_eq!(tokens.check(&token, NOW, &stats).unwrap_err(), TokenError::Revoked);
        assert_eq!(stats.signature_checks.value(), 1);
        assert_eq!(stats.token_errors().get("revoked"), Some(&1));
    }

    /// AUT-09: a key that is taken away is of no use from then on, also where it was just found good.
    #[test]
    fn another_verifier_is_asked_about_tokens_that_were_known() {
        let (mut tokens, stats) = (Tokens::new(verifier(), Arc::default()), ReactorStats::default());
        let token = token("u1", &[], &[], 1_700_000_600);
        tokens.check(&token, NOW, &stats).unwrap();
        tokens.trust(Arc::default());
        tokens.check(&token, NOW, &stats).unwrap_err();
        tokens.trust(verifier());
        assert_eq!(&*tokens.check(&token, NOW, &stats).unwrap().user, "u1");
    }

    /// AUT-08: a bad token is not remembered as one, nor as a good one.
    #[test]
    fn a_bad_token_is_checked_each_time() {
        let (mut tokens, stats) = (Tokens::new(verifier(), Arc::default()), ReactorStats::default());
        let bad = token("u1", &[], &[], 1_600_000_000); // expired
        for _ in 0..3 {
            tokens.check(&bad, NOW, &stats).unwrap_err();
        }
        assert_eq!((stats.signature_checks.value(), stats.tokens_known.value()), (3, 0));
    }
}
