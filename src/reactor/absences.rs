//! How long users were away who come back: from the end of a user's last connection to the next one that is let in (OBS-02). Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::Mono;

/// Who comes back later is a new visitor.
const AWAY_MAX: Duration = Duration::from_secs(600);
/// Users that are remembered; beyond that those who left first are forgotten.
const USERS_MAX: usize = 16_384;

/// Who comes back again within this is not counted again: a client that comes and goes is no storm.
const RETURN_WINDOW: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Absences {
    left: HashMap<Arc<str>, Mono>,
    /// In the order of leaving; a user may have come back since.
    order: VecDeque<(Mono, Arc<str>)>,
    /// When a return of a user was counted last.
    counted: HashMap<Arc<str>, Mono>,
    returns: u64,
}

impl Absences {
    /// The user's last connection has ended.
    pub(super) fn left(&mut self, user: &Arc<str>, now: Mono) {
        self.forget(now);
        self.left.insert(Arc::clone(user), now);
        self.order.push_back((now, Arc::clone(user)));
    }

    /// The user is there again: how long it was away, if that is known.
    pub(super) fn back(&mut self, user: &Arc<str>, now: Mono) -> Option<Duration> {
        self.forget(now);
        let left = self.left.remove(user)?;
        if self.counted.get(user).is_none_or(|at| now.since(*at) >= RETURN_WINDOW) {
            self.returns += 1;
            self.counted.insert(Arc::clone(user), now);
        }
        Some(now.since(left))
    }

    /// Users who came back, each counted once in a [`RETURN_WINDOW`].
    pub(super) fn returns(&self) -> u64 {
        self.returns
    }

    fn forget(&mut self, now: Mono) {
        while let Some((at, user)) = self.order.front().filter(|(at, _)| now.since(*at) > AWAY_MAX || self.order.len() >= USERS_MAX) {
            if self.left.get(user) == Some(at) {
                self.left.remove(user);
            }
            self.order.pop_front();
        }
        if self.counted.len() >= USERS_MAX {
            self.counted.retain(|_, at| now.since(*at) < RETURN_WINDOW);
            if self.counted.len() >= USERS_MAX {
                self.counted.clear(); // some are counted twice in a storm of so many
            }
        }
        if self.order.is_empty() {
            *self = Absences { returns: self.returns, ..Absences::default() }; // the memory of a storm
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
        assert_eq!(absences.back(&a, at(1)), None, "the first visit");
        absences.left(&a, at(10));
        assert_eq!(absences.back(&a, at(13)), Some(Duration::from_secs(3)));
        assert_eq!(absences.back(&a, at(14)), None, "it was there already");
        absences.left(&a, at(20));
        absences.left(&b, at(30));
        assert_eq!(absences.back(&a, at(620)), Some(AWAY_MAX));
        absences.left(&a, at(621));
        assert_eq!(absences.back(&b, at(631)), None, "too long ago");
        assert_eq!(absences.back(&a, at(631)), Some(Duration::from_secs(10)));
    }

    /// OBS-10: a storm is many users, not one who comes and goes.
    #[test]
    fn a_user_is_counted_once_in_a_minute() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut absences = Absences::default();
        for s in 0..130 {
            absences.left(&a, at(s));
            absences.back(&a, at(s)).unwrap();
        }
        assert_eq!(absences.returns(), 3);
        absences.left(&b, at(130));
        absences.back(&b, at(131)).unwrap();
        assert_eq!(absences.returns(), 4);
    }

    #[test]
    fn no_more_users_are_remembered_than_there_may_be() {
        let mut absences = Absences::default();
        for n in 0..2 * USERS_MAX as u64 {
            absences.left(&format!("u{n}").into(), Mono(n));
        }
        assert!(absences.left.len() <= USERS_MAX && absences.order.len() <= USERS_MAX);
        assert_eq!(absences.back(&"u0".into(), Mono(2 * USERS_MAX as u64)), None);
        assert!(absences.back(&format!("u{}", 2 * USERS_MAX - 1).into(), Mono(2 * USERS_MAX as u64)).is_some());
        absences.forget(at(10_000));
        assert!(absences.left.is_empty() && absences.order.is_empty() && absences.counted.is_empty());
        for n in 0..2 * USERS_MAX {
            let user = format!("u{n}").into();
            absences.left(&user, at(20_000));
            absences.back(&user, at(20_000)).unwrap();
        }
        assert!(absences.counted.len() <= USERS_MAX);
    }
}
