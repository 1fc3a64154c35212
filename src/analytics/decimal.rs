//! Exact decimals: what publishers write, what is computed of it, and how it is printed. No float comes near them.
//!
//! A [`Decimal`] (quantity, price, fee, amount) has 8 places, because crypto-currencies do; a [`Money`] has 16, so that a quantity times a
//! price is exact. Both are integers. What does not fit is refused with a reason, never rounded on the way in; printing rounds, half to even.

use std::cmp::Ordering;
use std::fmt;

/// Places of a [`Decimal`].
pub const DECIMAL_PLACES: u32 = 8;
/// Places of a [`Money`].
pub const MONEY_PLACES: u32 = 16;
/// The largest amount of money, either sign: a quadrillion. Sums and comparisons of what is below cannot overflow.
pub const MONEY_MAX: Money = Money(10_i128.pow(15 + MONEY_PLACES));

const DECIMAL_UNIT: i64 = 10_i64.pow(DECIMAL_PLACES);
const MONEY_PER_DECIMAL: i128 = 10_i128.pow(MONEY_PLACES - DECIMAL_PLACES);
/// More digits than any number that fits, with room for zeros around it: a bound on the work.
const TEXT_BYTES_MAX: usize = 64;

/// A decimal as a publisher writes it: an integer of 1e-8, so at most 92,233,720,368.54775807, either sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(pub i64);

/// Money computed: an integer of 1e-16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(pub i128);

/// A percentage: an integer of 0.0001 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(pub u32);

/// Why a text is no [`Decimal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalError {
    /// Not a decimal number.
    NotANumber,
    /// It has more places than are kept.
    TooFine,
    /// It is beyond what is kept.
    TooLarge,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecimalError::NotANumber => "is not a decimal number: write digits, such as \"187.25\"",
            DecimalError::TooFine => "has more than 8 decimal places: round it before you publish it",
            DecimalError::TooLarge => "is beyond 92233720368.54775807: use a larger unit",
        })
    }
}

impl std::error::Error for DecimalError {}

impl Decimal {
    /// From an integer of whole units.
    pub const fn whole(units: i32) -> Decimal {
        Decimal(units as i64 * DECIMAL_UNIT)
    }

    /// Reads what stands in a JSON string or is a JSON number: a sign, digits, a fraction, an exponent. Zeros at the end count for nothing.
    pub fn parse(text: &str) -> Result<Decimal, DecimalError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(DecimalError::NotANumber);
        }
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| DecimalError::NotANumber)?),
            None => (text, 0),
        };
        let (is_negative, digits) = match mantissa.as_bytes().first() {
            Some(b'-') => (true, &mantissa[1..]),
            Some(b'+') => (false, &mantissa[1..]),
            _ => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) || digits.ends_with('.') {
            return Err(DecimalError::NotANumber);
        }
        let units = units(whole, fraction, exponent)?;
        let units = if is_negative { -units } else { units };
        i64::try_from(units).map(Decimal).map_err(|_| DecimalError::TooLarge)
    }

    /// The same amount as money.
    pub const fn money(self) -> Money {
        Money(self.0 as i128 * MONEY_PER_DECIMAL)
    }

    /// This times `other`, exactly.
    pub fn times(self, other: Decimal) -> Money {
        Money(i128::from(self.0) * i128::from(other.0))
    }
}

/// The digits as units of 1e-8.
fn units(whole: &str, fraction: &str, exponent: i32) -> Result<i128, DecimalError> {
    let places = i64::from(exponent) + i64::from(DECIMAL_PLACES) - i64::from(fraction.len() as u32);
    let mut digits = whole.bytes().chain(fraction.bytes()).map(|byte| i128::from(byte - b'0')).collect::<Vec<_>>();
    let mut shift = places;
    while shift < 0 && digits.last() == Some(&0) {
        digits.pop();
        shift += 1;
    }
    if digits.iter().all(|digit| *digit == 0) {
        return Ok(0);
    }
    if shift < 0 {
        return Err(DecimalError::TooFine);
    }
    let zeros = std::iter::repeat_n(0, usize::try_from(shift.min(40)).unwrap_or(0));
    let sum = digits.into_iter().chain(zeros).try_fold(0_i128, |sum, digit| sum.checked_mul(10)?.checked_add(digit));
    sum.filter(|sum| *sum <= i128::from(i64::MAX)).ok_or(DecimalError::TooLarge)
}

impl fmt::Display for Decimal {
    /// All its places but zeros at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.money().text(DECIMAL_PLACES as u8);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// Whether it is within [`MONEY_MAX`], so that it may be kept.
    pub fn is_sound(self) -> bool {
        self.0.unsigned_abs() <= MONEY_MAX.0.unsigned_abs()
    }

    /// With `places` places, half to even; never `-0.00`.
    pub fn text(self, places: u8) -> String {
        let places = u32::from(places).min(MONEY_PLACES);
        let rounded = divide_half_even(self.0, 10_i128.pow(MONEY_PLACES - places));
        let (sign, digits) = (if rounded < 0 { "-" } else { "" }, rounded.unsigned_abs());
        let unit = 10_u128.pow(places);
        if places == 0 {
            format!("{sign}{digits}")
        } else {
            format!("{sign}{}.{:0width$}", digits / unit, digits % unit, width = places as usize)
        }
    }

    /// As a float, for ratios of two of them only.
    pub fn float(self) -> f64 {
        self.0 as f64
    }

    /// `part / whole` of it, half to even; both are positive or zero, `whole` is positive. All of it when they are equal.
    #[must_use]
    pub fn share(self, part: i64, whole: i64) -> Money {
        // In two steps, so that nothing overflows: the quotient of each whole, and that of what is left of the division.
        let (part, whole) = (i128::from(part), i128::from(whole));
        let (quotient, rest) = (self.0 / whole, self.0 % whole);
        Money(round_half_even(quotient * part + rest * part / whole, rest * part % whole, whole))
    }

    /// That percentage of it, half to even.
    #[must_use]
    pub fn percent(self, percent: Percent) -> Money {
        self.share(i64::from(percent.0), i64::from(Percent::HUNDRED.0))
    }
}

impl std::ops::Add for Money {
    type Output = Money;
    fn add(self, other: Money) -> Money {
        Money(self.0 + other.0)
    }
}

impl std::ops::Sub for Money {
    type Output = Money;
    fn sub(self, other: Money) -> Money {
        Money(self.0 - other.0)
    }
}

impl std::ops::AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        self.0 += other.0;
    }
}

impl std::ops::SubAssign for Money {
    fn sub_assign(&mut self, other: Money) {
        self.0 -= other.0;
    }
}

impl Percent {
    /// All of it.
    pub const HUNDRED: Percent = Percent(1_000_000);
    /// What is smaller was meant as a fraction, more often than not.
    const SUSPICIOUS: Percent = Percent(1000);

    /// Reads a percentage, such as `5` or `4.5`. One below 0.1 may be a fraction by mistake (0.05 for 5 %) and is refused unless `forced`.
    pub fn parse(text: &str, forced: bool) -> Result<Percent, String> {
        let units = Decimal::parse(text).map_err(|error| format!("`{text}` {error}"))?.0;
        if units % 10_000 != 0 {
            return Err(format!("`{text}` has more than 4 decimal places: write a percentage, such as 5 or 4.25"));
        }
        let percent = u32::try_from(units / 10_000).ok().map(Percent).filter(|percent| (1..=Percent::HUNDRED.0).contains(&percent.0));
        let percent = percent.ok_or_else(|| format!("`{text}` is not a percentage above 0 and up to 100"))?;
        if percent < Percent::SUSPICIOUS && !forced {
            return Err(format!("`{text}` is a percentage below 0.1: if a fraction was meant, write it times 100 (5 for 0.05)"));
        }
        Ok(percent)
    }
}

impl fmt::Display for Percent {
    /// With two places, as limits are published: `5.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hundredths_text(divide_half_even(i128::from(self.0), 100)))
    }
}

/// `part` of `whole` as a percentage with two places, half to even: `4.50`. Of nothing or less there is no percentage.
pub fn percentage(part: Money, whole: Money) -> Option<String> {
    // What is sound is at most 1e31, so ten thousand times it fits.
    (whole.0 > 0).then(|| hundredths_text(divide_half_even(part.0 * 10_000, whole.0)))
}

fn hundredths_text(hundredths: i128) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", hundredths.unsigned_abs() / 100, hundredths.unsigned_abs() % 100)
}

/// `numerator / denominator`, half to even. The denominator is positive.
fn divide_half_even(numerator: i128, denominator: i128) -> i128 {
    round_half_even(numerator / denominator, numerator % denominator, denominator)
}

/// `quotient`, which was cut towards zero, or the integer after it, by the `rest` that the division by `denominator` left.
fn round_half_even(quotient: i128, rest: i128, denominator: i128) -> i128 {
    let away = rest.signum();
    match rest.unsigned_abs().cmp(&(denominator.unsigned_abs() - rest.unsigned_abs())) {
        Ordering::Less => quotient,
        Ordering::Equal => quotient + if quotient % 2 == 0 { 0 } else { away },
        Ordering::Greater => quotient + away,
    }
}

/// How `part` compares with `share` percent of `limit` of `base`, exactly: `part / base <=> limit x share / 100`.
pub fn compare_share(part: Money, base: Money, limit: Percent, share: u8) -> Ordering {
    if part.0 < 0 {
        return Ordering::Less;
    }
    let left = wide_product(part.0.unsigned_abs(), u64::from(Percent::HUNDRED.0) * 100);
    let right = wide_product(base.0.max(0).unsigned_abs(), u64::from(limit.0) * u64::from(share));
    left.cmp(&right)
}

/// A product of more than 128 bits: the part above 64 bits, and the rest.
fn wide_product(a: u128, b: u64) -> (u128, u64) {
    let low = (a & u128::from(u64::MAX)) * u128::from(b);
    let high = (a >> 64) * u128::from(b) + (low >> 64);
    (high, low as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// TRP-02: what is printed reads back as what it was, with an exponent and zeros around it too.
        #[test]
        fn decimals_read_back_as_written(units in -i64::MAX..=i64::MAX, zeros in 0_usize..4) {
            let text = Decimal(units).to_string();
            prop_assert_eq!(Decimal::parse(&text), Ok(Decimal(units)));
            let whole = format!("{units}{}e-{}", "0".repeat(zeros), 8 + zeros);
            prop_assert_eq!(Decimal::parse(&whole), Ok(Decimal(units)));
        }

        /// Whatever is given, there is an answer, and what is taken is what floats say of it as far as they can.
        #[test]
        fn any_text_has_an_answer(text in "[-+0-9.eE]{0,24}") {
            if let Ok(decimal) = Decimal::parse(&text) {
                let float: f64 = text.parse().unwrap();
                prop_assert!((decimal.0 as f64 / 1e8 - float).abs() <= 1e-8 + float.abs() * 1e-12);
            }
        }
    }

    fn decimal(text: &str) -> Result<Decimal, DecimalError> {
        Decimal::parse(text)
    }

    /// TRP-02, X25: what is written is what is kept.
    #[test]
    fn decimals_are_read_exactly() {
        for (text, units) in [
            ("0", 0),
            ("-0.0", 0),
            ("187.2500", 18_725_000_000),
            ("+1", 100_000_000),
            ("1e2", 10_000_000_000),
            ("1.5E-3", 150_000),
            ("0.00000001", 1),
            ("-0.00000001", -1),
            ("0.000000010000", 1),
            ("1000e-10", 10),
            ("92233720368.54775807", i64::MAX),
            ("0e999999", 0),
            ("00012", 1_200_000_000),
        ] {
            assert_eq!(decimal(text), Ok(Decimal(units)), "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_is_refused_with_its_reason() {
        for text in ["", "-", "+", ".", ".5", "5.", "1,5", "abc", "NaN", "Infinity", "1e", "1e5.5", "0x10", " 1", "1 ", "--1", "1.2.3", "١"]
        {
            assert_eq!(decimal(text), Err(DecimalError::NotANumber), "{text}");
        }
        assert_eq!(decimal(&"0".repeat(65)), Err(DecimalError::NotANumber));
        for text in ["0.000000001", "1e-9", "1.123456789", "1e-2147483648"] {
            assert_eq!(decimal(text), Err(DecimalError::TooFine), "{text}");
        }
        for text in ["92233720368.54775808", "1e11", "1e2147483647", "9999999999999999999999999999999999999999999999"] {
            assert_eq!(decimal(text), Err(DecimalError::TooLarge), "{text}");
        }
    }

    /// X25: half to even, and no minus before nothing.
    #[test]
    fn money_is_printed_half_to_even() {
        let cent = 10_i128.pow(MONEY_PLACES - 2);
        for (units, text) in [
            (0, "0.00"),
            (cent / 2, "0.00"),
            (cent / 2 + 1, "0.01"),
            (3 * cent / 2, "0.02"),
            (5 * cent / 2, "0.02"),
            (-cent / 2, "0.00"),
            (-3 * cent / 2, "-0.02"),
            (955_000 * cent, "9550.00"),
        ] {
            assert_eq!(Money(units).text(2), text);
        }
        assert_eq!((Money(5 * cent).text(0), Money(-123 * cent).text(6)), ("0".into(), "-1.230000".into()));
        assert_eq!(MONEY_MAX.text(2), "1000000000000000.00");
        assert_eq!(
            (Decimal(150_000_000).to_string(), Decimal(-1).to_string(), Decimal::whole(20).to_string()),
            ("1.5".into(), "-0.00000001".into(), "20".into())
        );
    }

    #[test]
    fn a_share_is_rounded_half_to_even_and_all_is_all() {
        assert_eq!(
            [Money(10).share(1, 4), Money(10).share(3, 4), Money(-10).share(1, 4), Money(7).share(2, 3)].map(|money| money.0),
            [2, 8, -2, 5]
        );
        let large = Money(MONEY_MAX.0 - 7);
        assert_eq!(large.share(i64::MAX, i64::MAX), large);
        assert_eq!(large.share(i64::MAX - 1, i64::MAX) + large.share(1, i64::MAX), large);
    }

    /// MET-06: two decimals of a percent, half to even; "4.50" of "5.00" from 9550.00 of 10000.00.
    #[test]
    fn percentages_have_two_places() {
        let of = |part: i32, whole: i32| percentage(Decimal::whole(part).money(), Decimal::whole(whole).money());
        assert_eq!(of(450, 10_000).unwrap(), "4.50");
        assert_eq!(
            (of(50, 1_000_000).unwrap(), of(150, 1_000_000).unwrap(), of(151, 1_000_000).unwrap()),
            ("0.00".into(), "0.02".into(), "0.02".into())
        );
        assert_eq!((of(1, 0), of(1, -5), of(-1, 100).unwrap()), (None, None, "-1.00".into()));
        assert_eq!(Percent::parse("5", false).unwrap().to_string(), "5.00");
    }

    /// X26: a fraction where a percentage belongs is refused, unless one insists.
    #[test]
    fn a_percentage_that_looks_like_a_fraction_is_refused() {
        assert_eq!(Percent::parse("0.1", false), Ok(Percent(1000)));
        assert!(Percent::parse("0.05", false).unwrap_err().contains("5 for 0.05"));
        assert_eq!(Percent::parse("0.05", true), Ok(Percent(500)));
        for text in ["0", "-5", "100.0001", "5.00001", "x"] {
            assert!(Percent::parse(text, true).unwrap_err().contains(text), "{text}");
        }
    }

    /// X27: the comparison is exact at the limit.
    #[test]
    fn a_share_of_a_limit_is_compared_exactly() {
        let (base, five) = (Decimal::whole(10_000).money(), Percent(50_000));
        let at = Decimal::whole(500).money();
        for (part, share, order) in [
            (at, 100, Ordering::Equal),
            (Money(at.0 + 1), 100, Ordering::Greater),
            (Money(at.0 - 1), 100, Ordering::Less),
            (Decimal::whole(400).money(), 80, Ordering::Equal),
            (Decimal::whole(-400).money(), 80, Ordering::Less),
        ] {
            assert_eq!(compare_share(part, base, five, share), order);
        }
        assert_eq!(compare_share(MONEY_MAX, MONEY_MAX, Percent::HUNDRED, 100), Ordering::Equal);
        assert_eq!(compare_share(Money(MONEY_MAX.0 - 1), MONEY_MAX, Percent::HUNDRED, 100), Ordering::Less);
    }
}
