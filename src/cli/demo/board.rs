//! Puts together what the publisher and both clients counted: rates, latencies, and each alert's fate on both lines.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::base::lane::{Lane, PerLane};

use super::tally::{AlertSeen, LaneTally, Tally, in_short};
use super::view::{AlertPicture, LanePicture, LinePicture, Picture};

/// Alerts kept: more than a screen shows.
const ALERTS_MAX: usize = 100;
/// Index of the lines.
pub(super) const FAST: usize = 0;
/// See [`FAST`].
pub(super) const SLOW: usize = 1;

/// The state of the show.
#[derive(Debug)]
pub(super) struct Board {
    picture: Picture,
    alerts: VecDeque<Alert>,
    /// Metric frames overtaken on each line, summed over the alerts.
    overtaken: [u64; 2],
    published: PerLane<u64>,
    received: [PerLane<u64>; 2],
    /// When the rates were last computed.
    rated: Duration,
}

#[derive(Debug)]
struct Alert {
    room: String,
    seq: u64,
    told: bool,
    shown: AlertPicture,
}

impl Board {
    /// A board for two lines.
    pub(super) fn new(names: [String; 2], seconds: Option<u64>) -> Board {
        let lines = names.map(|name| LinePicture { name, ..LinePicture::default() });
        Board {
            picture: Picture { seconds, lines, ..Picture::default() },
            alerts: VecDeque::new(),
            overtaken: [0; 2],
            published: [0; Lane::COUNT],
            received: [[0; Lane::COUNT]; 2],
            rated: Duration::ZERO,
        }
    }

    /// Takes the publisher's counts and, if a second has passed, makes rates of all counts. Returns whether it did.
    pub(super) fn publisher(
        &mut self,
        elapsed: Duration,
        published: PerLane<u64>,
        refused: Option<(u64, String)>,
        tallies: [&mut Tally; 2],
    ) -> bool {
        self.picture.elapsed = elapsed;
        self.picture.refused = refused;
        let since = elapsed.saturating_sub(self.rated);
        let due = since >= Duration::from_secs(1);
        for (index, tally) in tallies.into_iter().enumerate() {
            self.line(index, tally, due.then_some(since));
        }
        if due {
            self.rated = elapsed;
            for (lane, (rate, last)) in self.picture.published_per_s.iter_mut().zip(&mut self.published).enumerate() {
                *rate = per_second(published[lane] - std::mem::replace(last, published[lane]), since);
            }
        }
        due
    }

    fn line(&mut self, index: usize, tally: &mut Tally, since: Option<Duration>) {
        tally.take_alerts().into_iter().for_each(|alert| self.alert(index, alert));
        let line = &mut self.picture.lines[index];
        line.down.clone_from(&tally.down);
        line.waiting = tally.waiting();
        for ((shown, lane), last) in line.lanes.iter_mut().zip(&mut tally.lanes).zip(&mut self.received[index]) {
            shown.latest = in_short(&lane.latest);
            shown.frames = lane.frames;
            shown.max_us = percentile(&lane.total_us, 100.0);
            if let Some(since) = since {
                shown.received_per_s = per_second(lane.frames - std::mem::replace(last, lane.frames), since);
                take_recent(shown, lane);
            }
        }
    }

    fn alert(&mut self, line: usize, seen: AlertSeen) {
        self.overtaken[line] += seen.overtook;
        let known = self.alerts.iter().rposition(|alert| alert.seq == seen.seq && alert.room == seen.room);
        let index = known.unwrap_or_else(|| {
            self.alerts.push_back(Alert { room: seen.room, seq: seen.seq, told: false, shown: AlertPicture::default() });
            self.alerts.len() - 1
        });
        let shown = &mut self.alerts[index].shown;
        shown.text = seen.text;
        shown.latency_us[line] = seen.latency_us;
        if line == SLOW {
            shown.overtook = Some(seen.overtook);
        }
        if self.alerts.len() > ALERTS_MAX {
            self.alerts.pop_front();
        }
    }

    /// Alerts that have arrived on both lines since the last call.
    pub(super) fn fresh_alerts(&mut self) -> Vec<AlertPicture> {
        let fresh = self.alerts.iter_mut().filter(|alert| !alert.told && alert.shown.overtook.is_some());
        fresh
            .map(|alert| {
                alert.told = true;
                alert.shown.clone()
            })
            .collect()
    }

    /// What is to be shown now.
    pub(super) fn picture(&mut self) -> &Picture {
        self.picture.alerts = self.alerts.iter().map(|alert| alert.shown.clone()).collect();
        &self.picture
    }

    /// The whole run, with latencies over all of it, and the metric frames overtaken on each line.
    pub(super) fn whole(&self, tallies: [&Tally; 2]) -> (Picture, [u64; 2]) {
        let mut picture = self.picture.clone();
        for (line, tally) in picture.lines.iter_mut().zip(tallies) {
            for (shown, lane) in line.lanes.iter_mut().zip(&tally.lanes) {
                shown.frames = lane.frames;
                percentiles(shown, &lane.total_us);
                shown.max_us = percentile(&lane.total_us, 100.0);
            }
        }
        (picture, self.overtaken)
    }
}

/// The last second's latencies. A second without an event leaves what was shown before.
fn take_recent(shown: &mut LanePicture, lane: &mut LaneTally) {
    if !lane.recent_us.is_empty() {
        percentiles(shown, &lane.recent_us);
        lane.recent_us.reset();
    }
}

fn percentiles(shown: &mut LanePicture, histogram: &Histogram<u64>) {
    shown.p50_us = percentile(histogram, 50.0);
    shown.p99_us = percentile(histogram, 99.0);
    shown.p999_us = percentile(histogram, 99.9);
}

fn percentile(histogram: &Histogram<u64>, percent: f64) -> Option<u64> {
    (!histogram.is_empty()).then(|| histogram.value_at_percentile(percent))
}

fn per_second(count: u64, since: Duration) -> u64 {
    (count as f64 / since.as_secs_f64()).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Mono;

    fn alert(seq: u64) -> String {
        format!(
            r#"{{"type":"RISK_ALERT","room":"challenge:c01","lane":"alert","seq":{seq},"data":{{"message":"m","demo":{{"sent_ns":0,"settled_n":4}}}}}}"#
        )
    }

    /// An alert is one row, whichever line has it first, and is told once, when both have it.
    #[test]
    fn an_alert_is_one_row_for_both_lines() {
        let mut board = Board::new(["fast".to_owned(), "slow".to_owned()], None);
        let (mut fast, mut slow) = (Tally::new(4), Tally::new(4));
        fast.take(&alert(1), Mono(400_000)).unwrap();
        board.publisher(Duration::from_millis(200), [1, 0, 0], None, [&mut fast, &mut slow]);
        assert_eq!((board.picture().alerts.len(), board.fresh_alerts().len()), (1, 0));
        slow.take(&alert(1), Mono(500_000_000)).unwrap();
        slow.take(&alert(2), Mono(500_000_000)).unwrap();
        board.publisher(Duration::from_millis(400), [1, 0, 0], None, [&mut fast, &mut slow]);
        let rows = board.picture().alerts.clone();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].latency_us, rows[0].overtook), ([Some(400), Some(500_000)], Some(4)));
        assert_eq!((board.fresh_alerts().len(), board.fresh_alerts().len()), (2, 0));
        let (whole, overtaken) = board.whole([&fast, &slow]);
        assert_eq!((overtaken, whole.lines[SLOW].lanes[0].frames), ([4, 8], 2));
        assert_eq!(whole.lines[FAST].lanes[0].p50_us, Some(400));
    }

    #[test]
    fn rates_are_of_the_last_second() {
        let mut board = Board::new(["fast".to_owned(), "slow".to_owned()], None);
        let (mut fast, mut slow) = (Tally::new(4), Tally::new(4));
        fast.take(&alert(1), Mono(400_000)).unwrap();
        assert!(!board.publisher(Duration::from_millis(999), [0; 3], None, [&mut fast, &mut slow]));
        assert!(board.publisher(Duration::from_secs(2), [8, 0, 4_000], None, [&mut fast, &mut slow]));
        assert_eq!(board.picture().published_per_s, [4, 0, 2_000]);
        assert!(board.publisher(Duration::from_secs(3), [8, 0, 5_000], None, [&mut fast, &mut slow]));
        let picture = board.picture();
        assert_eq!((picture.published_per_s, picture.lines[FAST].lanes[0].received_per_s), ([0, 0, 1_000], 0));
        assert_eq!(picture.lines[FAST].lanes[0].p50_us, Some(400), "a silent second keeps what was shown");
    }

    #[test]
    fn old_alerts_make_room() {
        let mut board = Board::new(["fast".to_owned(), "slow".to_owned()], None);
        let (mut fast, mut slow) = (Tally::new(4), Tally::new(4));
        for seq in 0..150 {
            fast.take(&alert(seq), Mono(1)).unwrap();
        }
        board.publisher(Duration::ZERO, [0; 3], None, [&mut fast, &mut slow]);
        assert_eq!(board.picture().alerts.len(), ALERTS_MAX);
    }
}
