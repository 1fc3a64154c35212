//! Against exact fractions of any size, moved on fill by fill in another way: as a position's average price, or as a list of single units.

use std::collections::VecDeque;

use num_rational::BigRational;
use num_traits::{Signed, Zero};

use super::{Desk, MONDAY};
use crate::analytics::Settings;
use crate::analytics::batch::KeptWhat;
use crate::analytics::decimal::{Decimal, MONEY_PLACES, Money};
use crate::analytics::settings::Method;

const FILLS: u64 = 100_000;

/// A position in fractions: its average price where there is one, its lots as they were bought.
#[derive(Default)]
struct Exact {
    quantity: BigRational,
    average: BigRational,
    lots: VecDeque<(BigRational, BigRational)>,
    realized: BigRational,
    price: BigRational,
}

impl Exact {
    /// By average: closing leaves the average as it is, opening weighs it.
    fn fill_average(&mut self, quantity: &BigRational, price: &BigRational) {
        let after = &self.quantity + quantity;
        if (&self.quantity * quantity).is_negative() {
            let closed = if quantity.abs() < self.quantity.abs() { -quantity } else { self.quantity.clone() };
            self.realized += closed * (price - &self.average);
            if (&after * quantity).is_positive() {
                self.average = price.clone();
            }
        } else {
            self.average = (&self.average * &self.quantity + price * quantity) / &after;
        }
        self.quantity = after;
        self.price = price.clone();
    }

    /// By lots: the oldest go first.
    fn fill_fifo(&mut self, quantity: &BigRational, price: &BigRational) {
        let mut left = quantity.clone();
        while let Some((held, bought)) = self.lots.front().filter(|(held, _)| (held * &left).is_negative()).cloned() {
            let closed = if held.abs() > left.abs() { -left.clone() } else { held.clone() };
            self.realized += &closed * (price - &bought);
            left += &closed;
            self.lots.pop_front();
            if closed != held {
                self.lots.push_front((held - closed, bought));
            }
        }
        if !left.is_zero() {
            self.lots.push_back((left, price.clone()));
        }
        self.quantity += quantity;
        self.price = price.clone();
    }

    fn unrealized(&self, method: Method) -> BigRational {
        match method {
            Method::Average => &self.quantity * (&self.price - &self.average),
            Method::Fifo => self.lots.iter().map(|(quantity, bought)| quantity * (&self.price - bought)).sum(),
        }
    }
}

fn fraction(units: i128, places: u32) -> BigRational {
    BigRational::new(units.into(), 10_i128.pow(places).into())
}

fn of_money(money: Money) -> BigRational {
    fraction(money.0, MONEY_PLACES)
}

/// A generator that is the same everywhere: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound).cast_signed()
    }
}

/// MET-01: 100,000 random fills of three symbols, flips, partial closes and thirds among them, looked at after every one.
///
/// By lots, realized and unrealized are the fractions themselves. By average cost, a cost may be a fraction that no decimal is: realized and
/// unrealized together are exact, each alone is whenever nothing is held, and never off by as much as a millionth of a millionth.
/// One fill in eight closes all there is: without, the fractions of the reference would grow for ever.
fn incremental_is_exact(method: Method, seed: u64) {
    let settings = Settings { method, inputs_max: 1000, ..Settings::default() };
    let mut desk = Desk::new(settings);
    let mut random = Random(seed);
    let mut exact: [Exact; 3] = Default::default();
    let mut prices = [1_870_000_i64, 42_000_000, 9]; // of a ten thousandth
    let tolerance = fraction(1, 12);
    let mut inexact = 0;
    for n in 0..FILLS {
        let at = random.below(3) as usize;
        prices[at] = (prices[at] + random.below(2001) - 1000).max(1);
        let price = Decimal(prices[at] * 10_000 + random.below(100));
        let side = if random.below(2) == 0 { 1 } else { -1 };
        let size = (1 + random.below(12)) * if at == 1 { 12_500_000 } else { 100_000_000 };
        let symbol = ["AAPL", "BTC", "PENNY"][at];
        let held = desk.account.symbols.find(symbol).map_or(0, |symbol| desk.account.live.positions[symbol as usize].quantity);
        let quantity = Decimal(if random.below(8) == 0 && held != 0 { -held } else { side * size });
        let (q, p) = (fraction(quantity.0.into(), 8), fraction(price.0.into(), 8));
        match method {
            Method::Average => exact[at].fill_average(&q, &p),
            Method::Fifo => exact[at].fill_fifo(&q, &p),
        }
        let what = KeptWhat::Fill { symbol: symbol.into(), quantity, price, fee: Decimal(0) };
        desk.give(MONDAY + n * 700, what).unwrap();
        desk.out.clear();
        let (realized, unrealized) = (of_money(desk.account.live.realized), of_money(desk.account.live.unrealized));
        let sum_realized: BigRational = exact.iter().map(|position| &position.realized).sum();
        let sum_unrealized: BigRational = exact.iter().map(|position| position.unrealized(method)).sum();
        let error = (&realized - &sum_realized).abs();
        assert_eq!(&realized + &unrealized, &sum_realized + &sum_unrealized, "fill {n}: together");
        match method {
            Method::Fifo => assert_eq!(realized, sum_realized, "fill {n}: realized"),
            Method::Average => assert!(error < tolerance, "fill {n}: off by {error}"),
        }
        if exact.iter().all(|position| position.quantity.is_zero()) {
            assert_eq!(realized, sum_realized, "fill {n}: nothing is held");
        }
        inexact += u64::from(!error.is_zero());
        if [10, 100, 1000, 10_000].contains(&(n + 1)) {
            desk.check();
        }
    }
    assert_eq!(inexact > 0, method == Method::Average, "thirds were among them, or the tolerance would say nothing");
    desk.check();
}

#[test]
fn average_cost_is_that_of_fractions() {
    incremental_is_exact(Method::Average, 0x9E37_79B9_7F4A_7C15);
}

#[test]
fn lots_are_those_of_fractions() {
    incremental_is_exact(Method::Fifo, 0xD1B5_4A32_D192_ED03);
}
