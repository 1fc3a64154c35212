//! Histograms as the crate uses them: how they are made, how they travel, and how their figures read.
//!
//! Latencies are in nanoseconds, times to connect in microseconds; both have 3 significant digits and saturate at 60 s, so that a
//! histogram has a fixed size and no measurement is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// A histogram of this crate.
pub type Hist = Histogram<u64>;

/// The highest value: 60 s in nanoseconds. Longer ones count as this.
pub const HIGHEST: u64 = 60_000_000_000;

/// Significant digits.
const DIGITS: u8 = 3;

/// The longest text that [`decode`] looks at: many times what a full histogram takes.
const ENCODED_MAX: usize = 4 << 20;

/// An empty one. Record with `saturating_record`.
pub fn new() -> Hist {
    Hist::new_with_bounds(1, HIGHEST, DIGITS).expect("the bounds are constants within the library's limits")
}

/// A histogram of these values.
pub fn of(values: impl IntoIterator<Item = u64>) -> Hist {
    let mut hist = new();
    for value in values {
        hist.saturating_record(value);
    }
    hist
}

/// Base64 of its V2 deflate form; an empty one is the empty text.
pub fn encode(hist: &Hist) -> String {
    if hist.is_empty() {
        return String::new();
    }
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(hist, &mut bytes).expect("a Vec takes all that is written");
    STANDARD.encode(bytes)
}

/// Reads what [`encode`] wrote; the empty text is an empty histogram.
pub fn decode(text: &str) -> Result<Hist, String> {
    let mut hist = new();
    add_encoded(&mut hist, text)?;
    Ok(hist)
}

/// Adds an encoded histogram to another.
pub fn add_encoded(to: &mut Hist, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    if text.len() > ENCODED_MAX {
        return Err(format!("a histogram of {} characters; {ENCODED_MAX} are the most", text.len()));
    }
    let bytes = STANDARD.decode(text).map_err(|error| format!("a histogram that is not base64: {error}"))?;
    let other: Hist =
        Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| format!("a histogram that cannot be read: {error}"))?;
    if other.high() > HIGHEST || other.sigfig() != DIGITS {
        return Err(format!("a histogram to {} with {} digits; this crate's go to {HIGHEST} with {DIGITS}", other.high(), other.sigfig()));
    }
    to.add(&other).map_err(|error| format!("a histogram that does not fit: {error}"))
}

/// The sum of encoded histograms.
pub fn merge<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Hist, String> {
    let mut sum = new();
    for text in texts {
        add_encoded(&mut sum, text)?;
    }
    Ok(sum)
}

/// A time for people: three significant digits and the unit that fits, such as `412 µs`, `1.24 ms`, `3.10 s`.
pub fn time_text(ns: f64) -> String {
    time_digits(ns, 3)
}

/// The same with so many significant digits, at least three.
pub fn time_digits(ns: f64, count: usize) -> String {
    const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    // A value that rounds up to 1000 of its unit is 1.00 of the next.
    let (unit, scale) = UNITS.into_iter().find(|(_, scale)| ns / scale < 999.5).unwrap_or(UNITS[3]);
    let value = ns / scale;
    if unit == "ns" { format!("{value:.0} ns") } else { format!("{} {unit}", digits(value, count)) }
}

/// Three significant digits, as a decimal number.
pub fn three_digits(value: f64) -> String {
    digits(value, 3)
}

/// So many significant digits, at least three, as a decimal number: all that are before the point, and of a value below 1 as many as of 1.
pub fn digits(value: f64, count: usize) -> String {
    let before = match value.abs() {
        size if size >= 99.95 => 3,
        size if size >= 9.995 => 2,
        _ => 1,
    };
    format!("{value:.0$}", count.saturating_sub(before))
}

/// `12,345,678`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count for people in five or six characters: `950`, `12.3k`, `4.56M`.
pub fn count_text(value: f64) -> String {
    match value {
        value if value < 999.5 => format!("{value:.0}"),
        value if value < 999_500.0 => format!("{}k", three_digits(value / 1e3)),
        value if value < 999_500_000.0 => format!("{}M", three_digits(value / 1e6)),
        value => format!("{}G", three_digits(value / 1e9)),
    }
}

/// A size for people: `512 B`, `1.50 KiB`, `23.4 MiB`, in the units that [`units`](crate::units) reads.
pub fn bytes_text(value: f64) -> String {
    bytes_digits(value, 3)
}

/// The same with so many significant digits, at least three.
pub fn bytes_digits(value: f64, count: usize) -> String {
    const UNITS: [(&str, f64); 4] = [("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
    let (unit, scale) = UNITS.into_iter().find(|(_, scale)| value.abs() / scale < 999.5).unwrap_or(UNITS[3]);
    let value = value / scale;
    if unit == "B" { format!("{value:.0} B") } else { format!("{} {unit}", digits(value, count)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What travels arrives, and sums are sums.
        #[test]
        fn encoded_parts_merge_to_the_whole(values in prop::collection::vec(0u64..100_000_000_000, 0..60), cut in 0usize..60) {
            let cut = cut.min(values.len());
            let hist_of = |values: &[u64]| of(values.iter().copied());
            let parts = [encode(&hist_of(&values[..cut])), encode(&hist_of(&values[cut..]))];
            let sum = merge(parts.iter().map(String::as_str)).expect("just encoded");
            prop_assert_eq!(&sum, &hist_of(&values));
            prop_assert_eq!(decode(&encode(&sum)).expect("just encoded"), sum);
        }

        /// A spoilt line is an error that says so, never a panic.
        #[test]
        fn other_texts_are_errors(text in "[A-Za-z0-9+/=]{1,80}") {
            prop_assert!(decode(&text).is_err());
        }
    }

    #[test]
    fn an_empty_histogram_is_the_empty_text() {
        assert_eq!(encode(&new()), "");
        assert_eq!(decode("").map(|hist| hist.len()), Ok(0));
    }

    #[test]
    fn another_kind_of_histogram_is_refused() {
        let mut other = Hist::new_with_bounds(1, HIGHEST, 2).expect("within the library's limits");
        other.saturating_record(7);
        assert!(decode(&encode(&other)).is_err_and(|error| error.contains("with 2 digits")));
    }

    #[test]
    fn times_have_three_digits_and_the_unit_that_fits() {
        let texts = [0.0, 412.0, 999.6, 412_000.0, 1_240_000.0, 23_450_000.0, 999_600_000.0, 3_100_000_000.0, 60e9].map(time_text);
        assert_eq!(texts, ["0 ns", "412 ns", "1.00 µs", "412 µs", "1.24 ms", "23.4 ms", "1.00 s", "3.10 s", "60.0 s"]);
    }

    #[test]
    fn counts_and_sizes_are_short() {
        assert_eq!([0.0, 950.0, 999.7, 12_345.0, 999_700.0, 4_560_000.0].map(count_text), ["0", "950", "1.00k", "12.3k", "1.00M", "4.56M"]);
        assert_eq!([512.0, 1536.0, 24_536_678.0].map(bytes_text), ["512 B", "1.50 KiB", "23.4 MiB"]);
    }
}
