//! The days whose inputs are still kept, so that a fill that comes late is put where it belongs.
//!
//! Each kept day has the ledger as it was when the day began, and the day's inputs since. A late fill is put among them, and the days from that
//! one on are gone through again, on copies: if that fails, nothing has changed. What is older than the kept days is in the numbers for good.

use std::collections::VecDeque;

use super::ledger::{Entry, Ledger, Unbookable};
use super::settings::Settings;

/// The kept days, oldest first; the last one is today.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Days {
    pub(super) logs: VecDeque<DayLog>,
    /// Returns of the days that are over: the newest ones, as many as value at risk looks at, and those of the kept days.
    pub(super) returns: VecDeque<f64>,
}

/// One kept day.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DayLog {
    /// As it was when the day began, or after the inputs of the day that are not kept any more.
    pub(super) start: Ledger,
    /// In order.
    pub(super) entries: Vec<Entry>,
}

/// A late input, and all that follows from it, worked out but not yet taken over.
pub(super) struct Rewrite {
    at: usize,
    place: usize,
    entry: Entry,
    starts: Vec<Ledger>,
    returns_from: u64,
    returns: Vec<f64>,
    pub(super) live: Ledger,
}

impl Days {
    pub(super) fn new(today: Ledger) -> Days {
        Days { logs: VecDeque::from([DayLog { start: today, entries: Vec::new() }]), returns: VecDeque::new() }
    }

    /// The time before which nothing can be put any more.
    pub(super) fn oldest(&self) -> (u64, u64) {
        let start = &self.logs[0].start;
        start.newest.max((start.day.start_ms, 0))
    }

    /// Inputs that are kept.
    pub(super) fn kept(&self) -> usize {
        self.logs.iter().map(|log| log.entries.len()).sum()
    }

    /// Keeps an input of today, which the ledger has taken. Above the limit, the oldest day goes; within a day, its older half.
    pub(super) fn keep(&mut self, entry: Entry, settings: &Settings) {
        self.today().entries.push(entry);
        if self.kept() > settings.inputs_max as usize {
            self.fold(settings);
        }
    }

    fn today(&mut self) -> &mut DayLog {
        self.logs.back_mut().expect("today is always kept")
    }

    fn fold(&mut self, settings: &Settings) {
        if self.logs.len() > 1 {
            self.logs.pop_front();
            return;
        }
        let today = self.today();
        for entry in today.entries.drain(..today.entries.len() / 2) {
            today.start.take(&entry, settings).expect("it was taken before, by the same ledger");
        }
    }

    /// The day of `live` ends: its return is kept, and, if it is one of the last before `today`, the next one's ledger.
    pub(super) fn close(&mut self, live: &mut Ledger, today: i64, settings: &Settings) {
        if let Some(sample) = live.close_day(settings) {
            self.push_return(sample, settings);
        }
        if today - live.day.number <= i64::from(settings.late_days) {
            self.logs.push_back(DayLog { start: live.clone(), entries: Vec::new() });
        }
        let oldest = live.day.number - i64::from(settings.late_days);
        while self.logs.len() > 1 && self.logs[0].start.day.number < oldest {
            self.logs.pop_front();
        }
    }

    fn push_return(&mut self, sample: f64, settings: &Settings) {
        self.returns.push_back(sample);
        if self.returns.len() > usize::from(settings.returns_kept) + usize::from(settings.late_days) {
            self.returns.pop_front();
        }
    }

    /// The returns that value at risk looks at.
    pub(super) fn recent(&self, settings: &Settings) -> impl Iterator<Item = f64> {
        self.returns.iter().rev().take(usize::from(settings.returns_kept)).copied()
    }

    /// Works out what is after a late input. `see` is shown the ledger after that input and after each one behind it, and when a day begins.
    pub(super) fn rewrite(&self, entry: Entry, settings: &Settings, mut see: impl FnMut(&Ledger)) -> Result<Rewrite, Unbookable> {
        let at = self.logs.iter().rposition(|log| log.start.day.start_ms <= entry.ts_ms).unwrap_or(0);
        let mut live = self.logs[at].start.clone();
        let place = self.logs[at].entries.partition_point(|kept| kept.key() < entry.key());
        let (before, behind) = self.logs[at].entries.split_at(place);
        for kept in before {
            live.take(kept, settings)?;
        }
        let (returns_from, mut starts, mut returns) = (live.returns.n, Vec::new(), Vec::new());
        for kept in std::iter::once(&entry).chain(behind) {
            live.take(kept, settings)?;
            see(&live);
        }
        for log in self.logs.iter().skip(at + 1) {
            returns.extend(live.close_day(settings));
            starts.push(live.clone());
            see(&live);
            for kept in &log.entries {
                live.take(kept, settings)?;
                see(&live);
            }
        }
        Ok(Rewrite { at, place, entry, starts, returns_from, returns, live })
    }

    /// Whether an input of that time may be before all others: nothing is folded into the first day's beginning, and its day would be kept.
    pub(super) fn may_begin_earlier(&self, ts_ms: u64, today: i64, settings: &Settings) -> bool {
        self.logs[0].start.inputs == 0 && today - settings.reset.day_of(ts_ms) <= i64::from(settings.late_days)
    }

    /// All inputs once more, behind one that is before them, up to the day that it is. `see` is shown as by [`Days::rewrite`].
    pub(super) fn begin_earlier(
        &self,
        entry: Entry,
        today: i64,
        settings: &Settings,
        mut see: impl FnMut(&Ledger),
    ) -> Result<(Days, Ledger), Unbookable> {
        let mut live = Ledger::new(settings, entry.ts_ms);
        let mut days = Days::new(live.clone());
        for entry in std::iter::once(&entry).chain(self.logs.iter().flat_map(|log| &log.entries)) {
            while entry.ts_ms >= live.day.end_ms {
                days.close(&mut live, today, settings);
                see(&live);
            }
            live.take(entry, settings)?;
            days.keep(*entry, settings);
            see(&live);
        }
        while live.day.number < today {
            days.close(&mut live, today, settings);
            see(&live);
        }
        Ok((days, live))
    }

    /// Takes over what was worked out, `old` being the ledger before; gives the ledger that holds now.
    pub(super) fn accept(&mut self, rewrite: Rewrite, old: &Ledger, settings: &Settings) -> Ledger {
        self.logs[rewrite.at].entries.insert(rewrite.place, rewrite.entry);
        for (log, start) in self.logs.iter_mut().skip(rewrite.at + 1).zip(rewrite.starts) {
            log.start = start;
        }
        let stale = (old.returns.n - rewrite.returns_from) as usize;
        self.returns.truncate(self.returns.len().saturating_sub(stale));
        for sample in rewrite.returns {
            self.push_return(sample, settings);
        }
        rewrite.live
    }
}
