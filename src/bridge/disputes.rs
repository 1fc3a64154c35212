//! Users whose connections on all nodes are more than they may be: since when, and whether that is sure. Pure.
//!
//! What a node has said that was killed a moment ago still counts, and whose connections those were is connecting anew, elsewhere. So nobody is ended
//! because of what another node has said before that node was heard again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::Mono;

/// How soon the store is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What the store says of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Connections here.
    pub(super) here: u32,
    /// How many of them the user may have.
    pub(super) granted: u32,
    /// Of the other nodes with connections of the user, the one that was not heard for longest was heard then, by the store's time in milliseconds.
    pub(super) heard_ms: u64,
}

/// What it says of users who were told of.
pub(super) enum Counted {
    /// It does not know the contact.
    Unknown,
    /// At that time of its own, in milliseconds, of each of them.
    At(u64, Vec<Count>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Disputes {
    /// By user: since when, by the store's time.
    since_ms: HashMap<Arc<str>, u64>,
    ask_at: Option<Mono>,
}

impl Disputes {
    /// Takes what the store says of a user at `store_ms`. `Some`: so many connections stay, and it is sure.
    pub(super) fn take(&mut self, user: &Arc<str>, count: Count, store_ms: u64, now: Mono) -> Option<u32> {
        if count.granted >= count.here {
            self.since_ms.remove(user);
            return None;
        }
        let since_ms = *self.since_ms.entry(Arc::clone(user)).or_insert(store_ms);
        self.ask_at = self.ask_at.or(Some(now.plus(ASK_AGAIN)));
        (count.heard_ms > since_ms).then_some(count.granted)
    }

    /// Those of whom the store is to be asked again, if it is time.
    pub(super) fn due(&mut self, now: Mono) -> Vec<Arc<str>> {
        if self.ask_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.ask_at = None;
        self.since_ms.keys().cloned().collect()
    }

    /// When that is.
    pub(super) fn next(&self) -> Option<Mono> {
        self.ask_at
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.since_ms.len()
    }

    /// The store is another one, or has forgotten.
    pub(super) fn clear(&mut self) {
        *self = Disputes::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(here: u32, granted: u32, heard_ms: u64) -> Count {
        Count { here, granted, heard_ms }
    }

    /// LIM-03, SCL-11: one too many is ended once the others were heard after it came, and not before; nor if there is place meanwhile.
    #[test]
    fn nobody_is_ended_for_what_a_dead_node_has_said() {
        let (mut disputes, user, now): (_, Arc<str>, _) = (Disputes::default(), "u1".into(), Mono(1));
        assert_eq!(disputes.take(&user, count(3, 3, 50), 100, now), None);
        assert_eq!((disputes.len(), disputes.next()), (0, None));
        assert_eq!(disputes.take(&user, count(4, 3, 50), 100, now), None, "the other was heard before");
        assert_eq!(disputes.take(&user, count(4, 3, 100), 200, now), None, "in the same moment is not after");
        assert_eq!(disputes.take(&user, count(5, 3, 101), 300, now), Some(3));
        assert_eq!(disputes.take(&user, count(3, 3, 101), 400, now), None, "they have gone");
        assert_eq!(disputes.len(), 0);
        // The other was killed: what it has said is forgotten after a while.
        assert_eq!(disputes.take(&user, count(4, 3, 450), 500, now), None);
        assert_eq!(disputes.take(&user, count(4, 4, 10_500), 10_500, now), None);
        assert_eq!(disputes.take(&user, count(5, 4, 10_400), 10_500, now), None, "a dispute of its own");
    }

    /// LIM-03: the store is asked again about all of them, after a while and not at once.
    #[test]
    fn those_in_doubt_are_asked_about_again() {
        let (mut disputes, now) = (Disputes::default(), Mono(1));
        assert!(disputes.due(now).is_empty());
        for user in ["a", "b"] {
            disputes.take(&user.into(), count(2, 1, 1), 5, now);
        }
        assert!(disputes.due(now).is_empty());
        let later = now.plus(ASK_AGAIN);
        assert_eq!((disputes.next(), disputes.due(later).len(), disputes.due(later).len()), (Some(later), 2, 0));
        disputes.take(&"a".into(), count(1, 1, 1), 6, later);
        disputes.take(&"b".into(), count(2, 1, 1), 6, later);
        assert_eq!(disputes.due(later.plus(ASK_AGAIN)), [Arc::from("b")]);
        disputes.clear();
        assert_eq!((disputes.len(), disputes.next()), (0, None));
    }
}
