//! What is published in a minute, by publisher and type. An event costs a look-up and a count.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::audit::{Answered, Entry, Kind};
use crate::base::counters::Counter;

/// Pairs of publisher and type that are told apart; the events of further ones are counted together.
const PAIRS_MAX: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Published {
    /// By user and type, with a NUL between them, which types do not have.
    pairs: HashMap<Box<str>, Arc<Pair>>,
    others: Arc<Pair>,
    /// The one that was looked for last: publishers send the like of what they sent before.
    last: Arc<Pair>,
    /// A key in the making.
    key: String,
}

#[derive(Debug, Default)]
struct Pair {
    /// Empty of [`Published::others`].
    user: Box<str>,
    kind: Box<str>,
    accepted: Counter,
    refused: Counter,
    unanswered: Counter,
}

/// Goes with one event until it is answered. Dropped before, it tells that it never was.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Mark(Option<Arc<Pair>>);

impl Default for Published {
    fn default() -> Published {
        let others = Arc::<Pair>::default();
        Published { pairs: HashMap::new(), last: Arc::clone(&others), others, key: String::new() }
    }
}

impl Published {
    /// For an event of that publisher and type.
    pub(super) fn mark(&mut self, user: &str, kind: &str) -> Mark {
        if *self.last.user != *user || *self.last.kind != *kind {
            self.last = self.find(user, kind);
        }
        Mark(Some(Arc::clone(&self.last)))
    }

    fn find(&mut self, user: &str, kind: &str) -> Arc<Pair> {
        self.key.clear();
        self.key.extend([user, "\0", kind]);
        if let Some(pair) = self.pairs.get(self.key.as_str()) {
            return Arc::clone(pair);
        }
        if self.pairs.len() >= PAIRS_MAX {
            return Arc::clone(&self.others);
        }
        let pair = Arc::new(Pair { user: user.into(), kind: kind.into(), ..Pair::default() });
        self.pairs.insert(self.key.as_str().into(), Arc::clone(&pair));
        pair
    }

    /// Whether nothing is counted, and no event waits for its answer.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// An entry for each pair of which events were answered since this was asked last. Pairs that did nothing meanwhile make place for others.
    pub(super) fn sum_up(&mut self, ts_ms: u64) -> Vec<Entry> {
        self.last = Arc::clone(&self.others);
        let mut sums: Vec<Entry> = self.others.take(ts_ms).into_iter().collect();
        self.pairs.retain(|_, pair| {
            let sum = pair.take(ts_ms);
            let is_in_use = sum.is_some() || Arc::strong_count(pair) > 1;
            sums.extend(sum);
            is_in_use
        });
        sums
    }
}

impl Pair {
    fn take(&self, ts_ms: u64) -> Option<Entry> {
        let [accepted, refused, unanswered] = [&self.accepted, &self.refused, &self.unanswered].map(|counter| {
            let count = counter.value();
            counter.set(0);
            count
        });
        let count = accepted + refused + unanswered;
        let reason = if self.user.is_empty() { "further" } else { "" };
        let user = Some(&*self.user).filter(|user| !user.is_empty()).map(Arc::from);
        let subject = Some(self.kind.clone()).filter(|kind| !kind.is_empty());
        let answered = Some(Answered { accepted, refused });
        (count > 0).then(|| Entry { user, subject, reason, count, answered, ..Entry::new(ts_ms, Kind::Publish) })
    }
}

impl Mark {
    /// The event is answered.
    pub(in crate::reactor) fn settle(&mut self, is_accepted: bool) {
        if let Some(pair) = self.0.take() {
            if is_accepted { &pair.accepted } else { &pair.refused }.inc();
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(pair) = &self.0 {
            pair.unanswered.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sums: &[Entry], user: Option<&str>, kind: Option<&str>) -> Option<(u64, u64, u64)> {
        let of_pair: Vec<_> = sums.iter().filter(|sum| sum.user.as_deref() == user && sum.subject.as_deref() == kind).collect();
        assert!(of_pair.len() <= 1, "one entry for each pair");
        of_pair.first().map(|sum| (sum.count, sum.answered.unwrap().accepted, sum.answered.unwrap().refused))
    }

    /// OBS-16: by publisher and type, what was accepted and what was not, each in the minute of its answer.
    #[test]
    fn each_event_is_counted_once_when_it_is_answered() {
        let mut published = Published::default();
        let mut marks: Vec<Mark> = ["a", "b", "a"].into_iter().map(|kind| published.mark("u1", kind)).collect();
        let mut late = published.mark("u2", "a");
        marks[0].settle(true);
        marks[1].settle(false);
        drop(marks);
        drop(published.mark("u1", ""));
        let sums = published.sum_up(7);
        assert_eq!((sums.len(), counts(&sums, Some("u1"), Some("a"))), (3, Some((2, 1, 0))), "one went with its connection");
        assert_eq!((counts(&sums, Some("u1"), Some("b")), counts(&sums, Some("u1"), None)), (Some((1, 0, 1)), Some((1, 0, 0))));
        assert!(published.sum_up(8).is_empty() && !published.is_empty(), "one event waits for its answer");
        late.settle(true);
        assert_eq!(counts(&published.sum_up(9), Some("u2"), Some("a")), Some((1, 1, 0)));
        assert!(published.sum_up(10).is_empty() && published.is_empty());
    }

    /// The table is bounded, and nothing is left out.
    #[test]
    fn pairs_beyond_the_limit_are_counted_together() {
        let mut published = Published::default();
        for n in 0..PAIRS_MAX + 7 {
            published.mark("u1", &format!("t{n}")).settle(true);
            published.mark("u1", "t0").settle(true);
        }
        let sums = published.sum_up(1);
        assert_eq!((sums.len(), counts(&sums, None, None)), (PAIRS_MAX + 1, Some((7, 7, 0))));
        assert_eq!(counts(&sums, Some("u1"), Some("t0")), Some((PAIRS_MAX as u64 + 8, PAIRS_MAX as u64 + 8, 0)));
        published.sum_up(2);
        published.mark("u1", "t2000").settle(true);
        assert_eq!(counts(&published.sum_up(3), Some("u1"), Some("t2000")), Some((1, 1, 0)), "there is place again");
    }
}
