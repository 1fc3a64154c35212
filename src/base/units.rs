//! Durations as `100ms` and sizes as `64KiB`, as flags, environment and file write them.

use std::time::Duration;

/// Reads a duration: an integer and one of `us`, `ms`, `s`, `m`, `h`. A bare `0` is zero.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = split_unit(text);
    let per_unit_us: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return Err(format!("`{text}` is not a duration: write an integer and us, ms, s, m or h, such as `100ms`")),
    };
    let count: u64 = number.parse().map_err(|_| format!("`{text}` is not a duration: `{number}` is not an integer"))?;
    count.checked_mul(per_unit_us).map(Duration::from_micros).ok_or_else(|| format!("`{text}` is too long a duration"))
}

/// Reads a size: an integer, alone in bytes, or with `B`, `KiB`, `MiB`, `GiB`.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let per_unit: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("`{text}` is not a size: write an integer and B, KiB, MiB or GiB, such as `64KiB`")),
    };
    let count: usize = number.parse().map_err(|_| format!("`{text}` is not a size: `{number}` is not an integer"))?;
    count.checked_mul(per_unit).ok_or_else(|| format!("`{text}` is too large a size"))
}

/// Writes a duration the way [`parse_duration`] reads it, in the largest unit that loses nothing.
pub fn format_duration(duration: Duration) -> String {
    let us = duration.as_micros();
    for (per_unit, unit) in [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")] {
        if us > 0 && us.is_multiple_of(per_unit) {
            return format!("{}{unit}", us / per_unit);
        }
    }
    if us == 0 { "0".to_owned() } else { format!("{us}us") }
}

/// Writes a size the way [`parse_size`] reads it.
pub fn format_size(bytes: usize) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_written() {
        for text in ["0", "50us", "100ms", "30s", "5m", "2h", "90s"] {
            let read = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(read)).unwrap(), read);
        }
        assert_eq!(parse_duration("100ms").unwrap(), Duration::from_millis(100));
    }

    #[test]
    fn what_is_no_duration_or_size_is_named() {
        for text in ["", "ms", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s", "99999999999999h"] {
            assert!(parse_duration(text).unwrap_err().contains(text), "{text}");
        }
        for text in ["KiB", "1kb", "-1", "99999999999999999999", "99999999999999GiB"] {
            assert!(parse_size(text).unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn sizes_read_back_as_written() {
        for text in ["0", "1", "64KiB", "8MiB", "3GiB", "1025"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
    }
}
