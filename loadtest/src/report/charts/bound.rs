//! What was asked of a lane's latency, as far as it can be drawn: `alert.p99<5ms` is a line up to 99 %.

use crate::scenario::Lane;

#[derive(Debug, PartialEq)]
pub(super) struct Bound {
    /// As it was asked, with blanks.
    pub(super) text: String,
    pub(super) lane: Lane,
    /// The percentile, as decades from 100 %; infinite for the highest value.
    pub(super) decades: f64,
    pub(super) ns: u64,
}

impl Bound {
    /// `None`: it asks something that this plot does not show. Whether it is well formed was checked when the run began.
    pub(super) fn parse(text: &str) -> Option<Bound> {
        let (figure, limit) = text.split_once('<')?;
        let (lane, percentile) = figure.trim().split_once('.')?;
        let limit = limit.trim_start_matches('=').trim();
        let lane = match lane {
            "alert" => Lane::Alert,
            "update" => Lane::Update,
            "metric" => Lane::Metric,
            _ => return None,
        };
        let decades = match percentile.trim().strip_prefix('p') {
            Some(percent) => -(1.0 - percent.parse::<f64>().ok().filter(|percent| (0.0..100.0).contains(percent))? / 100.0).log10(),
            None if percentile.trim() == "max" => f64::INFINITY,
            None => return None,
        };
        Some(Bound { text: format!("{} < {limit}", figure.trim()), lane, decades, ns: nanoseconds(limit)? })
    }
}

/// Where a bound's name stands: a box of one line of text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    pub(super) left: f64,
    pub(super) baseline: f64,
    width: f64,
}

impl Label {
    /// The places to try, the best first: behind the bound's end, or, where there is no room, above and below it.
    pub(super) fn places(text: &str, end: (f64, f64), right: f64) -> impl Iterator<Item = Label> {
        // By the widest of the usual fonts.
        const LETTER: f64 = 7.6;
        let width = LETTER * text.chars().count() as f64;
        let is_behind = end.0 + 8.0 + width <= right;
        let left = if is_behind { end.0 + 8.0 } else { end.0 - 8.0 - width };
        let first: &[f64] = if is_behind { &[4.0] } else { &[] };
        let offsets =
            first.iter().copied().chain((0..8).flat_map(|step| [-7.0, 16.0].map(|at: f64| at + at.signum() * 9.0 * f64::from(step))));
        offsets.map(move |offset| Label { left, baseline: end.1 + offset, width })
    }

    pub(super) fn top(&self) -> f64 {
        self.baseline - 12.0
    }

    pub(super) fn bottom(&self) -> f64 {
        self.baseline + 4.0
    }

    /// Whether a curve's point is in it, or nearly.
    pub(super) fn holds(&self, point: (f64, f64)) -> bool {
        (self.left - 4.0..=self.left + self.width + 4.0).contains(&point.0) && (self.top() - 3.0..=self.bottom() + 3.0).contains(&point.1)
    }

    pub(super) fn meets(&self, other: &Label) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && self.top() < other.bottom()
            && other.top() < self.bottom()
    }
}

fn nanoseconds(text: &str) -> Option<u64> {
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| (number * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_behind_its_line_or_beside_it_where_there_is_no_room() {
        let behind: Vec<Label> = Label::places("alert.p99 < 5ms", (400.0, 100.0), 800.0).collect();
        assert!(behind[0].left > 400.0 && behind[0].holds((450.0, 100.0)));
        assert!(!behind[1].meets(&behind[2]) && behind[1].meets(&behind[0]));
        let beside: Vec<Label> = Label::places("alert.p99 < 5ms", (790.0, 100.0), 800.0).collect();
        assert!(beside[0].left + beside[0].width < 790.0 && beside.iter().all(|label| label.bottom() < 100.0 || label.top() > 100.0));
    }

    #[test]
    fn bounds_on_a_lanes_latency_are_drawn_and_others_are_not() {
        let bound = Bound::parse("alert.p99<=2.5ms").expect("a bound on latency");
        assert_eq!((bound.text.as_str(), bound.lane, bound.ns), ("alert.p99 < 2.5ms", Lane::Alert, 2_500_000));
        assert!((bound.decades - 2.0).abs() < 1e-9);
        assert_eq!(Bound::parse("update.max < 1 s").map(|bound| (bound.decades, bound.ns)), Some((f64::INFINITY, 1_000_000_000)));
        for other in
            ["", "faults=0", "alert.p99", "alert.p100<1ms", "alert.p99<1", "alert.p99<ms", "x.p99<1ms", "alert.rate<1ms", "cpu<90%"]
        {
            assert_eq!(Bound::parse(other), None, "{other}");
        }
    }
}
