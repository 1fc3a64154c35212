//! Returns of days, and what is made of them.
//!
//! A day's return is time-weighted: deposits and withdrawals split it into parts, whose growths multiply (GIPS standards of 2020; Bacon, Practical
//! Portfolio Performance Measurement and Attribution, 2nd ed., 2008). Without any it is the equity at its end over that at its start, less one.
//! Mean and variance are kept by Welford's method (Technometrics 4 (1962), 419-420), which loses nothing to cancellation.
//!
//! - Sharpe's ratio (Journal of Portfolio Management 21 (1994), 49-58): mean excess return over its sample deviation (n - 1), times the square
//!   root of the periods of a year. The risk-free rate of a period is the annual one's geometric part, `(1 + rf)^(1/periods) - 1`.
//! - Sortino's ratio (Sortino and Price, Journal of Investing 3 (1994), 59-64): over the downside deviation of all n periods.
//! - Historical value at risk (Jorion, Value at Risk, 3rd ed., 2006): the 5th percentile, interpolated as numpy does; the expected shortfall
//!   beyond it (Rockafellar and Uryasev, Journal of Risk 2 (2000), 21-41) as empyrical counts it: the mean of the worst of them.
//!
//! What is undefined is none, never infinite nor NaN.

use super::decimal::Money;

/// Fewer returns say nothing of the worst five in a hundred.
const RISK_SAMPLES_MIN: usize = 30;
/// A deviation below this share of the mean is the floats' own noise.
const NOISE: f64 = 1e-14;

/// Of an account's days so far, and of the one that is not over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Returns {
    pub(super) n: u64,
    pub(super) mean: f64,
    /// The sum of the squared distances from the mean.
    pub(super) m2: f64,
    /// The sum of the squared shortfalls below the risk-free rate.
    pub(super) down2: f64,
    /// Equity at the start of the part of the day that is not over.
    pub(super) base: Money,
    /// The growth of the day's parts that are over.
    pub(super) growth: f64,
    /// Whether a part began with nothing or less, so that the day has no return.
    pub(super) is_undefined: bool,
}

impl Returns {
    /// Of an account that starts with `equity`.
    pub(super) fn new(equity: Money) -> Returns {
        Returns { n: 0, mean: 0.0, m2: 0.0, down2: 0.0, base: equity, growth: 1.0, is_undefined: false }
    }

    /// Money came or went: equity was `before` and is `after`.
    pub(super) fn split(&mut self, before: Money, after: Money) {
        match growth(self.growth, self.base, before) {
            Some(growth) => self.growth = growth,
            None => self.is_undefined = true,
        }
        self.base = after;
    }

    /// The day is over, with that equity: its return, if it has one.
    pub(super) fn close(&mut self, equity: Money, risk_free: f64) -> Option<f64> {
        let sample = if self.is_undefined { None } else { sample(self.growth, self.base, equity) };
        (self.base, self.growth, self.is_undefined) = (equity, 1.0, false);
        self.add(sample?, risk_free);
        sample
    }

    fn add(&mut self, sample: f64, risk_free: f64) {
        self.n += 1;
        let from_mean = sample - self.mean;
        self.mean += from_mean / self.n as f64;
        self.m2 += from_mean * (sample - self.mean);
        self.down2 += (sample - risk_free).min(0.0).powi(2);
    }

    /// Sharpe's ratio of a year.
    pub(super) fn sharpe(&self, periods: u16, risk_free: f64, samples_min: u32) -> Option<f64> {
        if self.n < u64::from(samples_min.max(2)) {
            return None;
        }
        let deviation = (self.m2 / (self.n - 1) as f64).sqrt();
        let ratio = (self.mean - risk_free) / deviation * f64::from(periods).sqrt();
        (deviation > NOISE * self.mean.abs()).then_some(ratio).and_then(finite)
    }

    /// Sortino's ratio of a year.
    pub(super) fn sortino(&self, periods: u16, risk_free: f64, samples_min: u32) -> Option<f64> {
        if self.n < u64::from(samples_min.max(2)) {
            return None;
        }
        let deviation = (self.down2 / self.n as f64).sqrt();
        let ratio = (self.mean - risk_free) / deviation * f64::from(periods).sqrt();
        (deviation > NOISE * self.mean.abs()).then_some(ratio).and_then(finite)
    }
}

/// `so_far` times the growth from `base` to `equity`; of nothing there is none.
fn growth(so_far: f64, base: Money, equity: Money) -> Option<f64> {
    (base.0 > 0).then(|| so_far * (equity.float() / base.float())).and_then(finite)
}

/// The return of a day whose last part went from `base` to `equity`. The difference is exact, so small returns lose no digits.
fn sample(so_far: f64, base: Money, equity: Money) -> Option<f64> {
    let last = (base.0 > 0).then(|| (equity - base).float() / base.float())?;
    finite(so_far.mul_add(last, so_far - 1.0))
}

/// The rate of one of `periods` periods of a year, geometrically.
pub(super) fn period_rate(annual: f64, periods: u16) -> f64 {
    (annual.ln_1p() / f64::from(periods)).exp_m1()
}

/// The loss, as a fraction, that 95 of 100 returns do not exceed, and the mean of those beyond it. Below zero where even those are gains.
pub(super) fn value_at_risk(returns: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = returns.collect();
    if sorted.len() < RISK_SAMPLES_MIN {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let at = 0.05 * (sorted.len() - 1) as f64;
    let (below, part) = (at as usize, at.fract());
    let percentile = sorted[below] + (sorted[below + 1] - sorted[below]) * part;
    let worst = &sorted[..=below];
    Some((-percentile, -(worst.iter().sum::<f64>() / worst.len() as f64)))
}

/// None for what JSON cannot say.
pub(super) fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(units: i64) -> Money {
        Money(i128::from(units) * 10_i128.pow(16))
    }

    fn of(equities: &[i64], risk_free: f64) -> (Returns, Vec<f64>) {
        let mut returns = Returns::new(money(equities[0]));
        let samples = equities[1..].iter().filter_map(|equity| returns.close(money(*equity), risk_free)).collect();
        (returns, samples)
    }

    /// MET-09: by hand: 10 %, -10 %, 0 %; mean 0, sample deviation 0.1, downside deviation 0.1 / sqrt(3).
    #[test]
    fn ratios_of_three_days() {
        let (returns, samples) = of(&[100, 110, 99, 99], 0.0);
        assert_eq!(samples, [0.1, -0.1, 0.0]);
        assert!(returns.sharpe(252, 0.0, 2).unwrap().abs() < 1e-15);
        let rate = -0.01;
        let (returns, _) = of(&[100, 110, 99, 99], rate);
        let expected = 0.01 / 0.1 * 252_f64.sqrt();
        assert!((returns.sharpe(252, rate, 2).unwrap() - expected).abs() < 1e-12);
        let expected = 0.01 / (0.09_f64.powi(2) / 3.0).sqrt() * 365_f64.sqrt();
        assert!((returns.sortino(365, rate, 2).unwrap() - expected).abs() < 1e-12);
    }

    /// MET-09, X37: none for one day, for constant returns, without a loss, and below the number asked for.
    #[test]
    fn what_is_undefined_is_none() {
        assert_eq!(of(&[100, 110], 0.0).0.sharpe(252, 0.0, 2), None);
        let constant = of(&[10_000, 10_100, 10_201], 0.0).0;
        assert_eq!((constant.n, constant.sharpe(252, 0.0, 2), constant.sortino(252, 0.0, 2)), (2, None, None));
        let growing: Vec<i64> = (0..=8).map(|n| 7_i64.pow(8 - n) * 8_i64.pow(n)).collect();
        let growing = of(&growing, 0.0).0;
        assert!(growing.m2 > 0.0, "floats make noise of a constant seventh");
        assert_eq!(growing.sharpe(252, 0.0, 2), None);
        assert_eq!(of(&[100, 100, 100, 100], 0.0).0.sharpe(252, 0.0, 2), None);
        assert_eq!(of(&[100, 110, 99, 99], 0.0).0.sharpe(252, 0.0, 4), None);
        let broke = of(&[100, 0, 50, 60], 0.0);
        assert_eq!((broke.1.len(), broke.0.n), (2, 2));
    }

    /// A deposit is no gain: 10 % before it and 10 % after it are 21 %, whatever came in.
    #[test]
    fn cash_flows_are_not_returns() {
        let mut returns = Returns::new(money(100));
        returns.split(money(110), money(1110));
        let sample = returns.close(money(1221), 0.0).unwrap();
        assert!((sample - 0.21).abs() < 1e-15);
        assert_eq!((returns.base, returns.growth), (money(1221), 1.0));
    }

    /// 5 % of 41 numbers lies on the third; the mean beyond it is that of three. FUT-05: none below 30.
    #[test]
    fn value_at_risk_is_a_percentile() {
        let returns = (0..41).map(|n| f64::from((n * 17) % 41 - 20) / 100.0);
        let (var, shortfall) = value_at_risk(returns).unwrap();
        assert!((var - 0.18).abs() < 1e-15 && (shortfall - 0.19).abs() < 1e-15);
        assert_eq!(value_at_risk((0..29).map(f64::from)), None);
        assert!(value_at_risk((0..30).map(f64::from)).is_some());
    }

    #[test]
    fn a_period_s_rate_compounds_to_the_year_s() {
        assert!((period_rate(0.05, 252).ln_1p() * 252.0 - 0.05_f64.ln_1p()).abs() < 1e-15);
        assert!(period_rate(0.0, 365).abs() < f64::MIN_POSITIVE);
    }

    /// MET-09: Welford's method against the sum of squares where that one loses all its digits.
    #[test]
    fn small_deviations_around_large_means_are_kept() {
        let mut returns = Returns::new(money(1));
        for n in 0..1000 {
            returns.add(0.01 + if n % 2 == 0 { 1e-8 } else { -1e-8 }, 0.0);
        }
        let deviation = (returns.m2 / 999.0).sqrt();
        assert!((deviation / (1e-8 * (1000.0_f64 / 999.0).sqrt()) - 1.0).abs() < 1e-7);
    }
}
