//! What is held of one symbol: quantity, what it cost, and what a fill makes of it.
//!
//! The basis is signed, as the quantity is: what was paid for what is held, or, below zero, what was got for what is owed. So profit that is
//! not realized is `quantity x price - basis` for both sides. A quantity times a price is exact. Only a part of an average cost may not be:
//! it is rounded half to even to 1e-16, and the rest stays in the basis, so that realized and unrealized together are exact at all times, and
//! the realized profit is whenever nothing is held. By lots nothing is rounded at all.
//!
//! Average cost: IAS 2.27 and 26 CFR 1.1012-1(e); first in, first out: IAS 2.27 and 26 CFR 1.1012-1(c).

use std::collections::VecDeque;

use super::decimal::{Decimal, MONEY_MAX, Money};
use super::settings::{Method, TradeCount};

/// What is held of one symbol.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Position {
    pub(super) quantity: i64,
    pub(super) basis: Money,
    /// Fees of what is held, that no closed trade has borne yet.
    pub(super) open_fees: Money,
    /// What this round trip has brought so far, net of fees.
    pub(super) trip: Money,
    /// The newest price: of a fill or of the market.
    pub(super) price: Decimal,
    pub(super) priced_at_ms: u64,
    /// Oldest first; empty where the method needs none.
    pub(super) lots: VecDeque<Lot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lot {
    pub(super) quantity: i64,
    pub(super) price: Decimal,
}

/// What a fill has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Closed {
    /// Before fees.
    pub(super) realized: Money,
    /// The net result of the trade that was closed by it, if one was.
    pub(super) trade: Option<Money>,
}

/// A fill of this symbol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trade {
    pub(super) quantity: i64,
    pub(super) price: Decimal,
    pub(super) fee: Decimal,
}

impl Position {
    /// Profit that is not realized.
    pub(super) fn unrealized(&self) -> Money {
        Decimal(self.quantity).times(self.price) - self.basis
    }

    /// The sum of the amounts that `trade` would make or move, or none if the quantity itself would be too large. A caller that finds this
    /// beyond what may be kept refuses the trade.
    pub(super) fn reach(&self, trade: &Trade) -> Option<u128> {
        let after = self.quantity.checked_add(trade.quantity).filter(|after| ![*after, trade.quantity].contains(&i64::MIN))?;
        let turnover = Decimal(trade.quantity).times(trade.price).0.unsigned_abs();
        let value = Decimal(after).times(trade.price).0.unsigned_abs();
        Some(turnover + value + self.basis.0.unsigned_abs() + trade.fee.money().0.unsigned_abs())
    }

    /// Whether it would add a lot. What closes something does not: it opens one only where it has closed them all.
    pub(super) fn adds_lot(&self, trade: &Trade, method: Method) -> bool {
        method == Method::Fifo && (self.quantity == 0 || (self.quantity < 0) == (trade.quantity < 0))
    }

    /// Books a trade whose [`reach`](Position::reach) is sound: closes what it can of what is held, and opens with the rest.
    pub(super) fn book(&mut self, trade: &Trade, method: Method, count: TradeCount) -> Closed {
        let held = self.quantity;
        let closes = if (held < 0) == (trade.quantity < 0) { 0 } else { held.abs().min(trade.quantity.abs()) };
        let fee = trade.fee.money();
        let closing_fee = fee.share(closes, trade.quantity.abs());
        let mut result = Closed::default();
        if closes > 0 {
            let out = closes * held.signum();
            let basis_out = self.take_basis(closes, method);
            let fees_out = self.open_fees.share(closes, held.abs());
            result.realized = Decimal(out).times(trade.price) - basis_out;
            let net = result.realized - closing_fee - fees_out;
            self.quantity -= out;
            self.open_fees -= fees_out;
            self.trip += net;
            result.trade = self.end_trade(net, count);
        }
        let opens = trade.quantity - closes * trade.quantity.signum();
        if opens != 0 {
            self.quantity += opens;
            self.basis += Decimal(opens).times(trade.price);
            self.open_fees += fee - closing_fee;
            if method == Method::Fifo {
                self.add_lot(Lot { quantity: opens, price: trade.price });
            }
        }
        self.price = trade.price;
        result
    }

    /// Takes out what `closes` of what is held has cost.
    fn take_basis(&mut self, closes: i64, method: Method) -> Money {
        let out = match method {
            Method::Average => self.basis.share(closes, self.quantity.abs()),
            Method::Fifo => self.take_lots(closes),
        };
        self.basis -= out;
        out
    }

    fn take_lots(&mut self, mut closes: i64) -> Money {
        let mut out = Money::ZERO;
        while closes > 0 {
            let lot = self.lots.front_mut().expect("the lots add up to the quantity, of which no more is closed than there is");
            let part = closes.min(lot.quantity.abs()) * lot.quantity.signum();
            out += Decimal(part).times(lot.price);
            lot.quantity -= part;
            closes -= part.abs();
            if lot.quantity == 0 {
                self.lots.pop_front();
            }
        }
        out
    }

    fn add_lot(&mut self, lot: Lot) {
        match self.lots.back_mut() {
            Some(last) if last.price == lot.price => last.quantity += lot.quantity,
            _ => self.lots.push_back(lot),
        }
    }

    /// The result of the trade that ends here, by the convention of `count`.
    fn end_trade(&mut self, net: Money, count: TradeCount) -> Option<Money> {
        let trip = if self.quantity == 0 { Some(std::mem::take(&mut self.trip)) } else { None };
        match count {
            TradeCount::PerClose => Some(net),
            TradeCount::PerRoundTrip => trip,
        }
    }
}

/// Whether amounts that add up to this may be kept.
pub(super) fn is_within_reach(sum: u128) -> bool {
    sum <= MONEY_MAX.0.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(quantity: &str, price: &str, fee: &str) -> Trade {
        let decimal = |text| Decimal::parse(text).unwrap();
        Trade { quantity: decimal(quantity).0, price: decimal(price), fee: decimal(fee) }
    }

    fn book(position: &mut Position, method: Method, trades: &[(&str, &str)]) -> Vec<String> {
        let closed = trades.iter().map(|(quantity, price)| position.book(&trade(quantity, price, "0"), method, TradeCount::PerClose));
        closed.map(|closed| closed.realized.text(4)).collect()
    }

    /// MET-01: a partial close takes the average, or the oldest lots.
    #[test]
    fn a_partial_close_takes_its_part_of_the_cost() {
        let trades = [("10", "100"), ("10", "110"), ("-5", "120"), ("-10", "120"), ("-5", "90")];
        let mut average = Position::default();
        assert_eq!(book(&mut average, Method::Average, &trades), ["0.0000", "0.0000", "75.0000", "150.0000", "-75.0000"]);
        let mut fifo = Position::default();
        assert_eq!(book(&mut fifo, Method::Fifo, &trades), ["0.0000", "0.0000", "100.0000", "150.0000", "-100.0000"]);
        for position in [average, fifo] {
            assert_eq!((position.quantity, position.basis, position.lots.len()), (0, Money::ZERO, 0));
        }
    }

    /// MET-01: through zero, what is left over opens the other side at the fill's price.
    #[test]
    fn a_flip_closes_all_and_opens_the_rest() {
        for method in [Method::Average, Method::Fifo] {
            let mut position = Position::default();
            assert_eq!(book(&mut position, method, &[("3", "10"), ("-5", "12")]), ["0.0000", "6.0000"]);
            assert_eq!((position.quantity, position.basis.text(2)), (-200_000_000, "-24.00".into()));
            assert_eq!(book(&mut position, method, &[("1", "11"), ("4", "13")]), ["1.0000", "-1.0000"]);
            assert_eq!((position.quantity, position.basis.text(2), position.unrealized()), (300_000_000, "39.00".into(), Money::ZERO));
        }
    }

    /// A third of a cost does not come out even: the rest stays in the basis, and nothing is lost when all is sold.
    #[test]
    fn what_is_rounded_stays_in_the_basis() {
        let mut position = Position::default();
        let total: Vec<_> = [("3", "0.1"), ("4", "0.01"), ("-2", "0.05"), ("-2", "0.05"), ("-3", "0.05")]
            .iter()
            .map(|(quantity, price)| position.book(&trade(quantity, price, "0"), Method::Average, TradeCount::PerClose).realized)
            .collect();
        let sum = total.into_iter().fold(Money::ZERO, |sum, part| sum + part);
        assert_eq!((sum.text(16), position.basis), ("0.0100000000000000".into(), Money::ZERO));
    }

    /// MET-08: a closed trade bears its own fee and its part of what was paid when it was opened; a flip's fee is split by quantity.
    #[test]
    fn fees_are_borne_by_the_trades_they_belong_to() {
        let mut position = Position::default();
        let mut net = |quantity, price, fee| {
            let closed = position.book(&trade(quantity, price, fee), Method::Average, TradeCount::PerClose);
            closed.trade.map(|net| net.text(2))
        };
        assert_eq!(net("10", "100", "2"), None);
        assert_eq!(net("-5", "100", "0.50").unwrap(), "-1.50");
        assert_eq!(net("-10", "101", "4").unwrap(), "2.00"); // 5 gained, 1 of the entry, 2 of this fill's 4
        assert_eq!(position.open_fees.text(2), "2.00");
    }

    #[test]
    fn a_round_trip_ends_when_nothing_is_held() {
        let mut position = Position::default();
        let trades = [
            ("10", "100", "1"),
            ("-5", "102", "1"),
            ("5", "100", "1"),
            ("-10", "101", "1"),
            ("1", "5", "0"),
            ("-2", "6", "0"),
            ("1", "7", "0"),
        ];
        let ends: Vec<_> = trades
            .iter()
            .map(|(quantity, price, fee)| {
                position.book(&trade(quantity, price, fee), Method::Fifo, TradeCount::PerRoundTrip).trade.map(|net| net.text(2))
            })
            .collect();
        assert_eq!(ends, [None, None, None, Some("16.00".into()), None, Some("1.00".into()), Some("-1.00".into())]);
    }

    #[test]
    fn what_could_not_be_kept_is_known_before() {
        let position = Position { quantity: i64::MAX - 1, ..Position::default() };
        assert_eq!(position.reach(&Trade { quantity: 2, price: Decimal(0), fee: Decimal(0) }), None);
        assert!(position.reach(&Trade { quantity: 1, price: Decimal(0), fee: Decimal(0) }).is_some_and(is_within_reach));
        assert!(!position.reach(&trade("1", "100000", "0")).is_some_and(is_within_reach));
        let position = Position { quantity: 5, ..Position::default() };
        assert_eq!(position.reach(&Trade { quantity: i64::MIN, price: Decimal(0), fee: Decimal(0) }), None);
    }
}
