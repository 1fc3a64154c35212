//! Where a value stands on the drawing, and which values get a name.

/// Maps a range of values to a range of coordinates.
pub(super) struct Scale {
    pub(super) from: (f64, f64),
    pub(super) to: (f64, f64),
}

impl Scale {
    /// `from` is not empty.
    pub(super) fn new(from: (f64, f64), to: (f64, f64)) -> Scale {
        assert!(from.0 < from.1, "a scale needs a range, got {from:?}");
        Scale { from, to }
    }

    /// The coordinate of a value; of one outside, that of the nearest inside.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = ((value - self.from.0) / (self.from.1 - self.from.0)).clamp(0.0, 1.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// A range of logarithms, widened to 1, 2 or 5 of a power of ten at both ends, and to a decade at least.
pub(super) fn nice_range(low: f64, high: f64) -> (f64, f64) {
    let missing = (1.0 - (high - low)).max(0.0) / 2.0;
    let steps = || steps(low.floor() as i32 - 2, high.ceil() as i32 + 2);
    let below = steps().map(|(at, _)| at).filter(|at| *at <= low - missing).fold(f64::NEG_INFINITY, f64::max);
    let above = steps().map(|(at, _)| at).filter(|at| *at >= high + missing).fold(f64::INFINITY, f64::min);
    (below, above)
}

/// Logarithms of 1, 2 and 5 of each power of ten in a range, each with its digit and power.
fn steps(from: i32, to: i32) -> impl Iterator<Item = (f64, (u32, i32))> {
    (from..=to).flat_map(|power| [1, 2, 5].map(|digit| (f64::from(digit).log10() + f64::from(power), (digit, power))))
}

/// The latencies that get a line and a name: 1, 2 and 5 of each power of ten if there is room, else 1 alone.
pub(super) fn time_ticks(y: &Scale) -> Vec<(f64, String)> {
    const APART: f64 = 20.0;
    let decade = (y.to.1 - y.to.0).abs() / (y.from.1 - y.from.0);
    let has_room = decade * 2_f64.log10() >= APART;
    let shown = steps(y.from.0.floor() as i32, y.from.1.ceil() as i32).filter(|(at, (digit, _))| {
        let (from, to) = (y.from.0 - 1e-9, y.from.1 + 1e-9);
        (from..=to).contains(at) && (has_room || *digit == 1)
    });
    shown.map(|(at, (digit, power))| (at, tick_name(digit, power))).collect()
}

/// `500 µs` for 5 and 5: a digit and a power of ten in nanoseconds.
fn tick_name(digit: u32, power: i32) -> String {
    let power = power.clamp(0, 11) as u32;
    let unit = ["ns", "µs", "ms", "s"][(power / 3) as usize];
    format!("{} {unit}", digit * 10_u32.pow(power % 3))
}

/// Moves places apart so that none is nearer than `apart` to another, in their order, and all are within the limits if they fit there.
pub(super) fn spread_apart(wanted: &[f64], apart: f64, within: (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = vec![0.0; wanted.len()];
    let mut least = within.0;
    for index in &order {
        places[*index] = wanted[*index].max(least);
        least = places[*index] + apart;
    }
    let mut most = within.1;
    for index in order.iter().rev() {
        places[*index] = places[*index].min(most);
        most = places[*index] - apart;
    }
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_nice_range_holds_what_it_was_made_for(low in 0.0..10.8_f64, width in 0.0..10.8_f64) {
            let high = (low + width).min(10.8);
            let (from, to) = nice_range(low, high);
            prop_assert!(from <= low && to >= high && to - from >= 1.0 - 1e-9 && to - from <= high - low + 2.0, "{from} {to}");
        }

        #[test]
        fn labels_are_apart_and_within(wanted in prop::collection::vec(0.0..300.0, 0..8)) {
            let places = spread_apart(&wanted, 30.0, (10.0, 290.0));
            let mut sorted = places.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 30.0 - 1e-9), "{places:?}");
            prop_assert!(places.iter().all(|place| (10.0..=290.0).contains(place)), "{places:?}");
        }

        #[test]
        fn names_have_room(low in 0.0..10.0_f64, width in 1.0..9.0_f64) {
            let y = Scale::new(nice_range(low, low + width), (500.0, 120.0));
            let ticks = time_ticks(&y);
            prop_assert!(ticks.len() >= 2, "{ticks:?}");
            prop_assert!(ticks.windows(2).all(|pair| y.at(pair[0].0) - y.at(pair[1].0) >= 20.0), "{ticks:?}");
        }
    }

    #[test]
    fn ticks_are_named_as_times() {
        let names: Vec<String> = time_ticks(&Scale::new((4.0, 6.0), (400.0, 0.0))).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["10 µs", "20 µs", "50 µs", "100 µs", "200 µs", "500 µs", "1 ms"]);
        assert_eq!([(1, 0), (5, 9), (1, 10)].map(|(digit, power)| tick_name(digit, power)), ["1 ns", "5 s", "10 s"]);
    }
}
