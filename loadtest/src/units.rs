//! Durations and sizes as people write them.

use std::time::Duration;

const TIMES: [(&str, f64); 7] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
const SIZES: [(&str, f64); 6] = [("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("KB", 1e3), ("MB", 1e6), ("GiB", 1_073_741_824.0)];
/// A week: nothing here takes longer.
const DURATION_NS_MAX: f64 = 7.0 * 86_400e9;

/// `500us`, `1.5ms`, `30s`, `5m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let ns = scaled(text, &TIMES).filter(|ns| *ns <= DURATION_NS_MAX);
    let ns = ns.ok_or_else(|| format!("`{text}` is no duration: write it like 500us, 5ms, 30s or 5m (at most a week)"))?;
    Ok(Duration::from_nanos(ns as u64))
}

/// `1536B`, `1.5KiB`, `2MiB`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = scaled(text, &SIZES).ok_or_else(|| format!("`{text}` is no size: write it like 1536B, 1.5KiB or 2MiB"))?;
    Ok(bytes as u64)
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let number: f64 = text[..at].parse().ok()?;
    let (_, scale) = units.iter().find(|(unit, _)| *unit == &text[at..])?;
    Some(number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        assert_eq!(parse_duration("1.5ms"), Ok(Duration::from_micros(1_500)));
        assert_eq!(parse_duration("500µs"), parse_duration("500us"));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_size("1.5KiB"), Ok(1536));
        for bad in ["", "5", "s", "1.2.3s", "-1s", "1e9s", "5 s", "9999h", "5KiB"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_size("5s").is_err());
    }
}
