//! Numbers, dates and names as reports write them.

use std::collections::BTreeMap;

use super::grid::columns_of;
pub use crate::hist::grouped;
use crate::record::{Machine, Record};

/// A text that stays in its line.
pub fn line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A rate: whole and grouped, with decimals only below 10.
pub fn rate(per_s: f64) -> String {
    match per_s {
        whole if whole >= 9.95 || whole.fract() == 0.0 => grouped(whole.round() as u64),
        few if few >= 0.95 => format!("{few:.1}"),
        less => format!("{less:.2}"),
    }
}

/// `1 member`, `12 members`.
pub fn plural(count: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// `refused: 1, timeout: 3,000`, or nothing.
pub fn counts<T: Copy + Into<u64>>(counts: &BTreeMap<String, T>) -> String {
    counts.iter().map(|(name, count)| format!("{name}: {}", grouped((*count).into()))).collect::<Vec<_>>().join(", ")
}

/// Broken between words so that lines take at most `width` columns, where words allow it.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = columns_of(word);
        if column > 0 {
            let is_full = column + 1 + length > width;
            lines.push(if is_full { '\n' } else { ' ' });
            column = if is_full { 0 } else { column + 1 };
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// `2 × Some CPU, 23.4 GiB, Linux 6.1.0`.
pub fn machine(machine: &Machine) -> String {
    let model = if machine.cpu_model.is_empty() { "processor of unknown model" } else { &machine.cpu_model };
    let memory = crate::hist::bytes_text(machine.memory_bytes as f64);
    format!("{} × {model}, {memory}, {}", machine.cpus, machine.kernel)
}

/// Rounded to hundredths, without zeros at the end: `30`, `2.5`.
pub fn seconds(s: f64) -> String {
    let text = format!("{s:.2}");
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// One line that names a run: its scenario, its beginning, its version, and whether it is whole.
pub fn title(record: &Record) -> String {
    let cut = record.cut.as_ref().map_or(String::new(), |cut| format!(" · {}", cut.text()));
    let connections = plural(u64::from(record.scenario.connections.count), "connection");
    format!("{}, {connections} · {} · tickerd loadtest {}{cut}", record.scenario.name, utc(record.began_unix_s), record.version)
}

/// What a scenario shows; where flags changed its sizes, also what was run instead, because its sentence has the original ones.
pub fn about(about: &str, scaled: &[String]) -> String {
    if scaled.is_empty() { about.to_owned() } else { format!("{about}\nSCALED by flags: {}.", scaled.join("; ")) }
}

/// `2026-11-21 13:22:45 UTC`.
pub fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

/// The Gregorian date of a day counted from 1970-01-01. The reckoning's years begin in March, so that leap days end them, and its eras have 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.05, 1.5, 2.0, 9.97, 12_345.6].map(rate), ["0", "0.05", "1.5", "2", "10", "12,346"]);
        assert_eq!((plural(1, "member"), plural(1000, "member")), ("1 member".into(), "1,000 members".into()));
        assert_eq!([30.0, 2.5, 0.333].map(seconds), ["30 s", "2.5 s", "0.33 s"]);
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one four three fourteen µ µ", 8), "one four\nthree\nfourteen\nµ µ");
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(utc(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
