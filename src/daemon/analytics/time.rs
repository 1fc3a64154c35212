//! Times as texts: RFC 3339, of which ISO 8601 allows more. Pure.

/// Unix milliseconds of a text such as `2026-11-20T14:03:00.123Z` or `2026-11-20 15:03:00+01:00`; more digits of the second are cut.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = clock.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at(zone_at);
    let offset_minutes = if zone.eq_ignore_ascii_case("z") { 0 } else { offset(zone)? };
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers(whole, ':')?;
    let [year, month, day] = numbers(date, '-')?;
    let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    // A leap second is the next second's first.
    if !is_date || hour > 23 || minute > 59 || second > 60 || date.len() != 10 || whole.len() != 8 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_minutes * 60;
    u64::try_from(seconds * 1_000 + milliseconds(fraction, clock.contains('.'))?).ok()
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

fn milliseconds(fraction: &str, is_there: bool) -> Option<i64> {
    if !is_there {
        return Some(0);
    }
    let is_sound = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_sound.then(|| format!("{fraction:0<3}")[..3].parse().ok()).flatten()
}

/// Minutes of `+01:00` or `-0530`.
fn offset(zone: &str) -> Option<i64> {
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits: String = zone.get(1..)?.chars().filter(|c| *c != ':').collect();
    let is_sound = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()) && zone.len() <= 6;
    let number = |text: &str| text.parse::<i64>().ok();
    let (hours, minutes) = is_sound.then(|| Some((number(&digits[..2])?, number(&digits[2..])?))).flatten()?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, by the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = before * 365 + leaps(before) - (1969 * 365 + leaps(1969));
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_moments_that_the_calendar_says() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2026-11-20T14:03:00.123Z"), Some(1_795_183_380_123));
        assert_eq!(parse("2026-11-20 15:03:00.123999+01:00"), Some(1_795_183_380_123));
        assert_eq!(parse("2026-11-20t08:33:00.1-0530"), Some(1_795_183_380_100));
        assert_eq!(parse("2000-02-29T23:59:59z"), Some(951_868_799_000));
        assert_eq!(parse("2016-12-31T23:59:60Z"), Some(1_483_228_800_000));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for bad in [
            "",
            "2026-11-20",
            "2026-11-20T14:03:00",
            "2026-11-20T14:03Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T14:03:00.Z",
            "2026-11-20T14:03:00.1x3Z",
            "2026-11-20T14:03:00+25:00",
            "2026-11-20T14:03:00+1",
            "1969-12-31T23:59:59Z",
            "2026-11-2é14:03:00Z",
            "+026-11-20T14:03:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
