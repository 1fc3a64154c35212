//! How long users were away who come back: from the end of a user's last connection to the next one that is let in (OBS-02). Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::Mono;

/// Who comes back later is a new visitor.
const AWAY_MAX: Duration = Duration::from_secs(600);
/// Users that are remembered; beyond that those who left first are forgotten.
const USERS_MAX: usize = 16_384;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Absences {
    left: HashMap<Arc<str>, Mono>,
    /// In the order of leaving; a user may have come back since.
    order: VecDeque<(Mono, Arc<str>)>,
}

impl Absences {
    /// The user's last connection has ended.
    pub(super) fn left(&mut self, user: &Arc<str>, now: Mono) {
        self.forget(now);
        self.left.insert(Arc::clone(user), now);
        self.order.push_back((now, Arc::clone(user)));
    }

    /// The user is there again: how long it was away, if that is known.
    pub(super) fn back(&mut self, user: &str, now: Mono) -> Option<Duration> {
        self.forget(now);
        self.left.remove(user).map(|at| now.since(at))
    }

    fn forget(&mut self, now: Mono) {
        while let Some((at, user)) = self.order.front().filter(|(at, _)| now.since(*at) > AWAY_MAX || self.order.len() >= USERS_MAX) {
            if self.left.get(user) == Some(at) {
                self.left.remove(user);
            }
            self.order.pop_front();
        }
        if self.order.is_empty() {
            *self = Absences::default(); // the memory of a storm
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(0).plus(Duration::from_secs(s))
    }

    /// OBS-02: once for each time that a user was away, and not for one who stays away for long.
    #[test]
    fn who_comes_back_was_away_since_it_left_last() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut absences = Absences::default();
        assert_eq!(absences.back("a", at(1)), None, "the first visit");
        absences.left(&a, at(10));
        assert_eq!(absences.back("a", at(13)), Some(Duration::from_secs(3)));
        assert_eq!(absences.back("a", at(14)), None, "it was there already");
        absences.left(&a, at(20));
        absences.left(&b, at(30));
        assert_eq!(absences.back("a", at(620)), Some(AWAY_MAX));
        absences.left(&a, at(621));
        assert_eq!(absences.back("b", at(631)), None, "too long ago");
        assert_eq!(absences.back("a", at(631)), Some(Duration::from_secs(10)));
    }

    #[test]
    fn no_more_users_are_remembered_than_there_may_be() {
        let mut absences = Absences::default();
        for n in 0..2 * USERS_MAX as u64 {
            absences.left(&format!("u{n}").into(), Mono(n));
        }
        assert!(absences.left.len() <= USERS_MAX && absences.order.len() <= USERS_MAX);
        assert_eq!(absences.back("u0", Mono(2 * USERS_MAX as u64)), None);
        assert!(absences.back(&format!("u{}", 2 * USERS_MAX - 1), Mono(2 * USERS_MAX as u64)).is_some());
        absences.forget(at(10_000));
        assert!(absences.left.is_empty() && absences.order.is_empty());
    }
}
