//! Joins that were denied to users who ask by request: each poll, each stream of events may come on a connection of its own, so that no connection
//! knows how many there were. Over WebSocket each connection counts its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::bucket::Bucket;
use crate::base::limits::DENIED_JOIN_RATE;
use crate::base::time::Mono;

/// Users that are remembered. Of more, who would be denied thousands of joins in a minute, those beyond are not limited here.
const USERS_MAX: usize = 16 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<HashMap<Arc<str>, Bucket>>);

impl Denials {
    /// Whether the user may ask for a room that its token does not name; or how long it must wait, if too many were denied.
    pub(super) fn check(&self, user: &str, now: Mono) -> Result<(), Duration> {
        let known = self.0.lock().get(user).copied();
        known.unwrap_or_default().take(1, DENIED_JOIN_RATE, now)
    }

    /// A join was denied.
    pub(super) fn charge(&self, user: &Arc<str>, now: Mono) {
        let mut users = self.0.lock();
        if users.len() >= USERS_MAX && !users.contains_key(user) {
            users.retain(|_, bucket| !bucket.is_full(now));
            if users.len() >= USERS_MAX {
                return;
            }
        }
        users.entry(Arc::clone(user)).or_default().charge(1, DENIED_JOIN_RATE, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000_000_000);

    /// ROM-02: guessing rooms one request at a time is as slow as over one WebSocket.
    #[test]
    fn a_user_is_denied_so_many_joins_and_then_waits() {
        let (denials, user): (Denials, Arc<str>) = (Denials::default(), "u1".into());
        for _ in 0..DENIED_JOIN_RATE.burst {
            assert_eq!(denials.check("u1", NOW), Ok(()));
            denials.charge(&user, NOW);
        }
        assert_eq!(denials.check("u1", NOW), Err(DENIED_JOIN_RATE.every));
        assert_eq!(denials.check("u2", NOW), Ok(()), "another one");
        assert_eq!(denials.check("u1", NOW.plus(DENIED_JOIN_RATE.every)), Ok(()));
    }

    #[test]
    fn no_more_users_are_remembered_than_there_may_be() {
        let denials = Denials::default();
        for n in 0..USERS_MAX + 10 {
            denials.charge(&format!("u{n}").into(), NOW);
        }
        assert_eq!(denials.0.lock().len(), USERS_MAX);
        denials.charge(&"late".into(), NOW.plus(DENIED_JOIN_RATE.every));
        assert_eq!(denials.0.lock().len(), 1, "those who were not denied lately make place");
    }
}
