//! Where a lane of a new member begins: what its position means, what can be replayed, what is missing. Pure.

use super::room::Stream;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// The first number that comes, be it as an event or in a `gap`.
    pub(super) from: u64,
    /// The first number that is replayed.
    pub(super) replay: u64,
    pub(super) gap: Option<Gap>,
    /// The position lay beyond the end of its epoch, which is this.
    pub(super) rewound: Option<u64>,
}

/// Events that the member will not get.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: u64,
    /// Unknown if they were numbered in an epoch that nobody remembers.
    pub(super) to: Option<u64>,
}

/// The epoch that a position names, to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// The room counts in it now.
    Present,
    /// The room counted in it before a restart.
    Past(u32),
    /// Nothing is known of it.
    Unknown,
}

/// Where a member begins that has nothing: with as much of the past as it asks for, or the lane gives unasked.
pub(super) fn without(stream: &Stream, history: Option<u32>) -> Start {
    let history = history.map_or(u64::from(stream.history), u64::from);
    let from = stream.oldest_kept().max((stream.live + 1).saturating_sub(history));
    Start { from, replay: from, ..Start::default() }
}

/// Where a member begins that has everything up to `seq` of that epoch.
pub(super) fn after(stream: &Stream, era: Era, seq: u64) -> Start {
    let end = match era {
        Era::Present => Some(stream.live),
        Era::Past(epoch) => stream.end_of(epoch),
        Era::Unknown => None,
    };
    let Some(end) = end else {
        let gap = Gap { from: seq.saturating_add(1), to: None };
        return Start { from: stream.oldest_kept(), replay: stream.oldest_kept(), gap: Some(gap), rewound: None };
    };
    let from = seq.min(end) + 1;
    let replay = from.max(stream.oldest_kept());
    let gap = (from < replay).then_some(Gap { from, to: Some(replay - 1) });
    Start { from, replay, gap, rewound: (seq > end).then_some(end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten events: 1 to 4 in epoch 1, 5 to 7 in epoch 3, 8 to 10 in epoch 4; the first two are gone.
    fn stream() -> Stream {
        Stream { head: 10, live: 10, kept_from: 3, starts: vec![(1, 1), (3, 5), (4, 8)], ..Stream::default() }
    }

    /// DESIGN 4: a position at or before its epoch's end is resumed in full, one beyond it from that end.
    #[test]
    fn a_position_of_a_former_epoch_is_good_up_to_that_epochs_end() {
        let resumed = |epoch, seq| after(&stream(), Era::Past(epoch), seq);
        assert_eq!(resumed(1, 3), Start { from: 4, replay: 4, gap: None, rewound: None });
        assert_eq!(resumed(1, 4), Start { from: 5, replay: 5, gap: None, rewound: None });
        assert_eq!(resumed(1, 6), Start { from: 5, replay: 5, gap: None, rewound: Some(4) });
        assert_eq!(resumed(2, 4), Start { from: 5, replay: 5, gap: None, rewound: None }, "nothing came in epoch 2");
        assert_eq!(resumed(2, 5).rewound, Some(4));
        assert_eq!(resumed(3, 9), Start { from: 8, replay: 8, gap: None, rewound: Some(7) });
        assert_eq!(resumed(4, 12).rewound, Some(10));
        assert_eq!(resumed(1, 0), Start { from: 1, replay: 3, gap: Some(Gap { from: 1, to: Some(2) }), rewound: None });
    }

    #[test]
    fn a_position_of_the_present_is_good_up_to_what_was_pushed() {
        let resumed = |seq| after(&stream(), Era::Present, seq);
        assert_eq!(resumed(10), Start { from: 11, replay: 11, gap: None, rewound: None });
        assert_eq!(resumed(11), Start { from: 11, replay: 11, gap: None, rewound: Some(10) });
        assert_eq!(resumed(u64::MAX).rewound, Some(10));
    }

    #[test]
    fn a_position_that_nobody_understands_has_a_gap_of_unknown_length_and_all_that_is_kept() {
        let expected = Start { from: 3, replay: 3, gap: Some(Gap { from: 8, to: None }), rewound: None };
        assert_eq!(after(&stream(), Era::Unknown, 7), expected);
    }

    #[test]
    fn one_who_has_nothing_gets_what_it_asks_for_of_what_is_kept() {
        let from = |history| without(&stream(), history).from;
        assert_eq!([from(None), from(Some(0)), from(Some(2)), from(Some(8)), from(Some(100))], [11, 11, 9, 3, 3]);
    }
}
