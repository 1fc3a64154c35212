//! When a trading day begins: at a time of day in a zone, summer time included.
//!
//! The zones are those whose rules are law and have not changed for years, built in: no time zone database is needed on the machine. Europe:
//! directive 2000/84/EC, from the last Sunday of March to the last Sunday of October, at 01:00 UTC everywhere. United States and Canada: the
//! Energy Policy Act of 2005, from the second Sunday of March to the first Sunday of November, at 02:00 local time, since 2007. Times before
//! 2007 are taken by the same rules. Other zones are written as a fixed offset, such as `+09:00`.
//!
//! A day begins at the first instant that shows its time: where the clock is put forward over it, when it is put forward; where it shows it
//! twice, the first time.

use std::fmt;

use crate::base::calendar::{DAY_MS, civil_date, day_number, weekday};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const MINUTES_PER_DAY: u16 = 1440;

/// A zone whose clock is known at all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Minutes east of UTC when no summer time holds.
    standard_minutes: i16,
    summer: Summer,
    name: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Summer {
    #[default]
    Never,
    Europe,
    America,
}

/// The names that are known, and what they mean. `WET`, `CET` and `EET` mean the zone with its summer time, as on trading platforms.
const ZONES: &[(&str, i16, Summer)] = &[
    ("UTC", 0, Summer::Never),
    ("Europe/London", 0, Summer::Europe),
    ("Europe/Lisbon", 0, Summer::Europe),
    ("WET", 0, Summer::Europe),
    ("CET", 60, Summer::Europe),
    ("Europe/Amsterdam", 60, Summer::Europe),
    ("Europe/Berlin", 60, Summer::Europe),
    ("Europe/Madrid", 60, Summer::Europe),
    ("Europe/Paris", 60, Summer::Europe),
    ("Europe/Prague", 60, Summer::Europe),
    ("Europe/Rome", 60, Summer::Europe),
    ("Europe/Vienna", 60, Summer::Europe),
    ("Europe/Warsaw", 60, Summer::Europe),
    ("Europe/Zurich", 60, Summer::Europe),
    ("EET", 120, Summer::Europe),
    ("Europe/Athens", 120, Summer::Europe),
    ("Europe/Helsinki", 120, Summer::Europe),
    ("America/New_York", -300, Summer::America),
    ("America/Toronto", -300, Summer::America),
    ("America/Chicago", -360, Summer::America),
    ("America/Denver", -420, Summer::America),
    ("America/Los_Angeles", -480, Summer::America),
    ("Asia/Dubai", 240, Summer::Never),
    ("Asia/Kolkata", 330, Summer::Never),
    ("Asia/Singapore", 480, Summer::Never),
    ("Asia/Hong_Kong", 480, Summer::Never),
    ("Asia/Tokyo", 540, Summer::Never),
];

impl Zone {
    /// Reads one of the names that are known, or a fixed offset such as `+05:30`.
    pub fn parse(text: &str) -> Result<Zone, String> {
        if let Some((name, standard_minutes, summer)) = ZONES.iter().find(|(name, _, _)| *name == text) {
            return Ok(Zone { standard_minutes: *standard_minutes, summer: *summer, name: Some(name) });
        }
        let fixed = || {
            let (sign, rest) = (text.get(..1)?, text.get(1..)?);
            let minutes = i16::try_from(minute_of_day(rest)?).ok().filter(|minutes| *minutes <= 14 * 60)?;
            match sign {
                "+" => Some(minutes),
                "-" => Some(-minutes),
                _ => None,
            }
        };
        let names = || ZONES.iter().map(|(name, _, _)| *name).collect::<Vec<_>>().join(", ");
        let minutes = fixed().ok_or_else(|| format!("`{text}` is not a zone: write an offset such as +05:30, or one of {}", names()))?;
        Ok(Zone { standard_minutes: minutes, summer: Summer::Never, name: None })
    }

    /// Minutes east of UTC at that time.
    fn offset_minutes(self, unix_ms: i64) -> i64 {
        i64::from(self.standard_minutes) + if self.is_summer(unix_ms) { 60 } else { 0 }
    }

    fn is_summer(self, unix_ms: i64) -> bool {
        let standard_ms = i64::from(self.standard_minutes) * MINUTE_MS;
        let (year, _, _) = civil_date((unix_ms + standard_ms).div_euclid(DAY_MS));
        let (from_ms, to_ms) = match self.summer {
            Summer::Never => return false,
            Summer::Europe => (last_sunday(year, 3) * DAY_MS + HOUR_MS, last_sunday(year, 10) * DAY_MS + HOUR_MS),
            // 02:00 of standard time, and 02:00 of summer time, which is 01:00 of standard time.
            Summer::America => {
                ((first_sunday(year, 3) + 7) * DAY_MS + 2 * HOUR_MS - standard_ms, first_sunday(year, 11) * DAY_MS + HOUR_MS - standard_ms)
            }
        };
        (from_ms..to_ms).contains(&unix_ms)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name {
            return f.write_str(name);
        }
        let minutes = self.standard_minutes.unsigned_abs();
        write!(f, "{}{:02}:{:02}", if self.standard_minutes < 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
    }
}

fn first_sunday(year: i64, month: i64) -> i64 {
    let first = day_number(year, month, 1);
    first + (6 - weekday(first))
}

/// Of a month with 31 days.
fn last_sunday(year: i64, month: i64) -> i64 {
    let last = day_number(year, month, 31);
    last - (weekday(last) + 1) % 7
}

/// `17:00` as minutes since midnight.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits =
        |part: &str| if part.len() == 2 { part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())? } else { None };
    let (hours, minutes): (u16, u16) = (two_digits(hours)?, two_digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// When a day begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Whose clock counts.
    pub zone: Zone,
    /// Minutes after its midnight.
    pub minute: u16,
}

impl Reset {
    /// Of a zone's name or offset and a time of day such as `17:00`.
    pub fn parse(zone: &str, at: &str) -> Result<Reset, String> {
        let minute = minute_of_day(at).ok_or_else(|| format!("`{at}` is not a time of day: write it as 00:00 to 23:59"))?;
        Ok(Reset { zone: Zone::parse(zone)?, minute })
    }

    /// The day that a time belongs to: the date, since 1970-01-01, on which that day began in the zone.
    pub fn day_of(self, unix_ms: u64) -> i64 {
        let unix_ms = unix_ms.cast_signed();
        let shown_ms = unix_ms + (self.zone.offset_minutes(unix_ms) - i64::from(self.minute)) * MINUTE_MS;
        let day = shown_ms.div_euclid(DAY_MS);
        // Where the clock is put back over the time of the reset, it shows the end of the day before once more.
        if unix_ms < self.start_ms(day + 1) { day } else { day + 1 }
    }

    /// The first millisecond of that day, Unix time.
    pub fn start_ms(self, day: i64) -> i64 {
        let shown_ms = day * DAY_MS + i64::from(self.minute) * MINUTE_MS;
        let standard = shown_ms - i64::from(self.zone.standard_minutes) * MINUTE_MS;
        let in_summer = standard - HOUR_MS;
        if self.zone.is_summer(in_summer) {
            in_summer // also the first of two, where the clock shows this time twice
        } else if self.zone.is_summer(standard) {
            // The clock is put forward over this time: the day begins when it is, at the full hour at which it was put forward.
            standard - i64::from(self.minute % 60) * MINUTE_MS
        } else {
            standard
        }
    }

    /// Whether these are possible.
    pub(super) fn validate(self) -> Result<(), String> {
        if self.minute < MINUTES_PER_DAY { Ok(()) } else { Err(format!("reset.minute: {} is not below 1440", self.minute)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset(zone: &str, at: &str) -> Reset {
        Reset::parse(zone, at).unwrap()
    }

    fn utc(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> i64 {
        day_number(year, month, day) * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS
    }

    /// MET-07: midnight, 17:00 in New York, midnight in central Europe; around the changes of the clock, dates from the laws' tables.
    #[test]
    fn days_begin_when_the_zone_s_clock_says_so() {
        for (zone, at, (year, month, day), expected) in [
            ("UTC", "00:00", (2026, 11, 22), utc(2026, 11, 22, 0, 0)),
            ("UTC", "00:30", (2026, 11, 22), utc(2026, 11, 22, 0, 30)),
            ("+05:30", "00:00", (2026, 11, 22), utc(2026, 11, 21, 18, 30)),
            ("-03:00", "22:00", (2026, 11, 22), utc(2026, 11, 23, 1, 0)),
            // New York: summer time from 2026-03-08 07:00 UTC to 2026-11-01 06:00 UTC.
            ("America/New_York", "17:00", (2026, 3, 7), utc(2026, 3, 7, 22, 0)),
            ("America/New_York", "17:00", (2026, 3, 8), utc(2026, 3, 8, 21, 0)),
            ("America/New_York", "17:00", (2026, 10, 31), utc(2026, 10, 31, 21, 0)),
            ("America/New_York", "17:00", (2026, 11, 1), utc(2026, 11, 1, 22, 0)),
            ("America/New_York", "02:30", (2026, 3, 8), utc(2026, 3, 8, 7, 0)), // not shown: when the clock is put forward
            ("America/New_York", "01:30", (2026, 11, 1), utc(2026, 11, 1, 5, 30)), // shown twice: the first
            // Central Europe: summer time from 2026-03-29 01:00 UTC to 2026-10-25 01:00 UTC.
            ("CET", "00:00", (2026, 3, 29), utc(2026, 3, 28, 23, 0)),
            ("CET", "00:00", (2026, 3, 30), utc(2026, 3, 29, 22, 0)),
            ("CET", "00:00", (2026, 10, 25), utc(2026, 10, 24, 22, 0)),
            ("Europe/Berlin", "00:00", (2026, 10, 26), utc(2026, 10, 25, 23, 0)),
            ("Europe/London", "01:30", (2026, 3, 29), utc(2026, 3, 29, 1, 0)),
        ] {
            assert_eq!(reset(zone, at).start_ms(day_number(year, month, day)), expected, "{zone} {at} {year}-{month}-{day}");
        }
    }

    /// MET-07: every instant belongs to exactly the day whose start is the last one not after it; days have 23, 24 or 25 hours.
    #[test]
    fn days_leave_no_gap_and_do_not_overlap() {
        for zone in ZONES.iter().map(|(name, _, _)| *name).chain(["+05:30", "-12:00", "+14:00"]) {
            for at in ["00:00", "01:30", "02:00", "02:30", "03:00", "17:00", "23:59"] {
                let reset = reset(zone, at);
                for day in day_number(2025, 12, 30)..day_number(2028, 1, 3) {
                    let (start, end) = (reset.start_ms(day), reset.start_ms(day + 1));
                    let minutes = (end - start) / MINUTE_MS;
                    assert!((1380..=1500).contains(&minutes), "{zone} {at} {day}: {minutes}");
                    let days =
                        [start, start + 45 * MINUTE_MS, i64::midpoint(start, end), end - 1, end].map(|ms| reset.day_of(ms.cast_unsigned()));
                    assert_eq!(days, [day, day, day, day, day + 1], "{zone} {at}");
                }
            }
        }
    }

    #[test]
    fn the_changes_of_the_clock_are_those_of_the_tables() {
        let sundays = |year| {
            [first_sunday(year, 3) + 7, first_sunday(year, 11), last_sunday(year, 3), last_sunday(year, 10)].map(|day| civil_date(day).2)
        };
        assert_eq!([2024, 2025, 2026, 2027].map(sundays), [[10, 3, 31, 27], [9, 2, 30, 26], [8, 1, 29, 25], [14, 7, 28, 31]]);
    }

    #[test]
    fn what_is_no_zone_or_time_is_named() {
        for zone in ["", "Mars", "utc", "+5", "+15:00", "05:30", "+05:60", "+0530"] {
            assert!(Zone::parse(zone).unwrap_err().contains("America/New_York"), "{zone}");
        }
        for at in ["", "24:00", "7:00", "07:60", "0700", "07:0"] {
            assert!(Reset::parse("UTC", at).unwrap_err().contains("23:59"), "{at}");
        }
        for name in ["UTC", "CET", "America/Chicago", "+05:30", "-03:00"] {
            assert_eq!(Zone::parse(name).unwrap().to_string(), name);
        }
    }
}
