//! Days and dates as data: the Gregorian calendar, and times as people read them.

use std::fmt;

use serde::{Serialize, Serializer};

/// Milliseconds of a day without a change of clocks.
pub const DAY_MS: i64 = 86_400_000;

/// Unix milliseconds; `2026-11-20T14:03:00.123Z` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsoTime(pub u64);

impl fmt::Display for IsoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_date((self.0 / DAY_MS.unsigned_abs()).cast_signed());
        let (hour, minute) = (self.0 / 3_600_000 % 24, self.0 / 60_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z", self.0 / 1000 % 60, self.0 % 1000)
    }
}

impl Serialize for IsoTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The Gregorian date (year, month, day) of a day since 1970-01-01, by counting years that start on 1 March, so that the leap day is the last one.
pub fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The day since 1970-01-01 of a Gregorian date; what [`civil_date`] undoes.
pub fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The day of the week of a day since 1970-01-01: 0 is Monday.
pub fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_calendar_s() {
        assert_eq!(IsoTime(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(IsoTime(951_782_399_999).to_string(), "2000-02-28T23:59:59.999Z");
        assert_eq!(IsoTime(951_782_400_000).to_string(), "2000-02-29T00:00:00.000Z");
        assert_eq!(IsoTime(1_798_761_599_001).to_string(), "2026-12-31T23:59:59.001Z");
    }

    #[test]
    fn dates_and_days_undo_each_other() {
        let mut expected = 0;
        for year in 1970..2200_i64 {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let lengths = [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1_i64..).zip(lengths) {
                for day in 1..=length {
                    assert_eq!((day_number(year, month, day), civil_date(expected)), (expected, (year, month, day)));
                    expected += 1;
                }
            }
        }
        assert_eq!([weekday(0), weekday(4), weekday(day_number(2026, 11, 22))], [3, 0, 6]);
    }
}
