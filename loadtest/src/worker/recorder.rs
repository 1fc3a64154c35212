//! Latencies as they are measured: one pair of histograms for each flow of each window, filled by the loop and handed on whole, so that
//! the loop copies and formats nothing.

use hdrhistogram::Histogram;

/// The highest latency that is told apart; longer ones count as this.
const NS_MAX: u64 = 60_000_000_000;
/// Windows that can be open at once. Older ones no longer count apart.
const OPEN_MAX: usize = 4;

/// Counts of nanoseconds with the precision of 3 digits: what a histogram has inside, without what it keeps beside, because this is filled
/// twice for each event.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Values below 2,048 by themselves; then, for each doubling, 1,024 of equal width.
    counts: Vec<u32>,
}

/// Latency and service time of one flow.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    /// From the intended time.
    pub latency: Counts,
    /// From the actual time of sending.
    pub service: Counts,
}

/// What came of one flow since it was last taken.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Distinct events, those without a latency included.
    pub received: u64,
    /// `None`: no latency was measured.
    pub pair: Option<Pair>,
}

/// What came of all flows in one window since it was last taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The window; `None`: before the first.
    pub window: Option<u32>,
    /// By flow.
    pub cells: Vec<Cell>,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    /// In the order of their beginnings; the first begins at 0 and has no name.
    windows: Vec<(u64, Taken)>,
    flows: usize,
    spare: Vec<Pair>,
}

/// An empty histogram of nanoseconds: 3 digits, to 60 s.
pub fn histogram_ns() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NS_MAX, 3).expect("the bounds are valid")
}

/// An empty histogram of microseconds, likewise.
pub fn histogram_us() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NS_MAX / 1000, 3).expect("the bounds are valid")
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { counts: vec![0; place(NS_MAX) + 1] }
    }
}

/// Where a value is counted.
#[inline]
fn place(value: u64) -> usize {
    let shift = 53 - (value | 2047).leading_zeros();
    ((shift as usize) << 10) + (value >> shift) as usize
}

impl Counts {
    #[inline]
    fn count(&mut self, value: u64) {
        let count = &mut self.counts[place(value.min(NS_MAX))];
        *count = count.saturating_add(1);
    }

    /// Moves all that was counted to a histogram made by [`histogram_ns`].
    pub fn drain_into(&mut self, histogram: &mut Histogram<u64>) {
        for (at, count) in self.counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            let shift = (at >> 10).saturating_sub(1);
            let value = (at - (shift << 10)) as u64;
            histogram.saturating_record_n(value << shift, u64::from(std::mem::take(count)));
        }
    }
}

impl Recorder {
    /// For so many flows.
    pub fn new(flows: usize) -> Recorder {
        let first = Taken { window: None, cells: vec![Cell::default(); flows] };
        Recorder { windows: vec![(0, first)], flows, spare: Vec::new() }
    }

    /// Events intended from then on count in that window.
    pub fn open(&mut self, window: u32, from_ns: u64) {
        self.windows.push((from_ns, Taken { window: Some(window), cells: vec![Cell::default(); self.flows] }));
    }

    /// Forgets a window; what comes for it from now on counts in the one before it. To be taken first.
    pub fn close(&mut self, window: u32) {
        self.windows.retain(|(_, taken)| taken.window != Some(window));
    }

    /// An event came at `now_ns`.
    #[inline]
    pub fn record(&mut self, flow: u8, intended_ns: u64, sent_ns: u64, now_ns: u64, is_timed: bool) {
        let mut at = self.windows.len() - 1;
        while self.windows[at].0 > intended_ns && at > 0 {
            at -= 1;
        }
        let cell = &mut self.windows[at].1.cells[usize::from(flow)];
        cell.received += 1;
        if is_timed {
            let pair = cell.pair.get_or_insert_with(|| self.spare.pop().unwrap_or_default());
            pair.latency.count(now_ns.saturating_sub(intended_ns));
            pair.service.count(now_ns.saturating_sub(sent_ns));
        }
    }

    /// All that came since the last time.
    pub fn take(&mut self) -> Vec<Taken> {
        let flows = self.flows;
        let mut all = Vec::new();
        for (_, taken) in &mut self.windows {
            if taken.cells.iter().any(|cell| cell.received > 0) {
                let cells = std::mem::replace(&mut taken.cells, vec![Cell::default(); flows]);
                all.push(Taken { window: taken.window, cells });
            }
        }
        if self.windows.len() > OPEN_MAX {
            self.windows.remove(1);
        }
        all
    }

    /// An empty pair to use again.
    pub fn give_back(&mut self, pair: Pair) {
        self.spare.push(pair);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is counted and moved is what a histogram would have recorded.
        #[test]
        fn counts_are_a_histograms(values in prop::collection::vec(prop_oneof![0u64..5_000, 0u64..10_000_000, 0..=NS_MAX], 0..100)) {
            let (mut counts, mut moved, mut recorded) = (Counts::default(), histogram_ns(), histogram_ns());
            for value in values {
                counts.count(value);
                recorded.saturating_record(value);
            }
            counts.drain_into(&mut moved);
            let contents = |histogram: &Histogram<u64>| -> Vec<(u64, u64)> {
                histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
            };
            prop_assert_eq!(contents(&moved), contents(&recorded));
            prop_assert_eq!((moved.len(), moved.max()), (recorded.len(), recorded.max()));
            counts.drain_into(&mut moved);
            prop_assert_eq!(moved.len(), recorded.len());
        }
    }

    #[test]
    fn an_event_counts_in_the_window_in_which_it_was_intended() {
        let mut recorder = Recorder::new(2);
        recorder.record(0, 50, 50, 60, true);
        recorder.open(1, 100);
        recorder.open(2, 200);
        recorder.record(0, 99, 120, 130, true);
        recorder.record(1, 100, 120, 130, true);
        recorder.record(1, 200, 210, 230, false);
        let counts = |taken: &[Taken]| -> Vec<_> {
            taken.iter().map(|taken| (taken.window, taken.cells[0].received, taken.cells[1].received)).collect()
        };
        let mut taken = recorder.take();
        assert_eq!(counts(&taken), [(None, 2, 0), (Some(1), 0, 1), (Some(2), 0, 1)]);
        let pair = taken[1].cells[1].pair.as_mut().expect("was timed");
        let (mut latency, mut service) = (histogram_ns(), histogram_ns());
        pair.latency.drain_into(&mut latency);
        pair.service.drain_into(&mut service);
        assert_eq!((latency.max(), service.max()), (30, 10));
        assert!(taken[2].cells[1].pair.is_none());
        recorder.close(1);
        recorder.record(1, 150, 150, 160, true);
        assert_eq!(counts(&recorder.take()), [(None, 0, 1)]);
        assert!(recorder.take().is_empty());
    }

    #[test]
    fn what_is_longer_than_a_minute_counts_as_a_minute() {
        let mut recorder = Recorder::new(1);
        recorder.record(0, 0, 0, 3_600_000_000_000, true);
        let mut latency = histogram_ns();
        recorder.take()[0].cells[0].pair.as_mut().expect("was timed").latency.drain_into(&mut latency);
        assert!(latency.max() >= NS_MAX && latency.len() == 1);
    }
}
