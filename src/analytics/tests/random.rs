//! Random lives of accounts: fills, prices, cash flows and time, some of them late, under random settings.

use proptest::prelude::*;

use super::{DAY, Desk, MINUTE, MONDAY};
use crate::analytics::batch::KeptWhat;
use crate::analytics::decimal::Decimal;
use crate::analytics::settings::{Method, Sampling, TradeCount};
use crate::analytics::zone::Reset;
use crate::analytics::{Rules, Settings, Status};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// An input, so long after the newest time, or before it.
    Input {
        ahead_ms: u64,
        behind_ms: u64,
        what: KeptWhat,
    },
    Tick {
        ahead_ms: u64,
    },
}

pub(super) fn settings() -> impl Strategy<Value = Settings> {
    let zones = prop::sample::select(vec![("UTC", "00:00"), ("America/New_York", "17:00"), ("CET", "00:00"), ("+05:30", "02:15")]);
    let choices = (prop::bool::ANY, prop::bool::ANY, prop::bool::ANY, prop::bool::ANY, prop::bool::ANY);
    (choices, zones, 0_u8..3, 16_u32..80, prop::sample::select(vec![0.0, 0.05, -0.01])).prop_map(
        |((fifo, trips, weekdays, floored, ruled), (zone, at), late_days, inputs_max, risk_free)| Settings {
            method: if fifo { Method::Fifo } else { Method::Average },
            trades: if trips { TradeCount::PerRoundTrip } else { TradeCount::PerClose },
            sampling: if weekdays { Sampling::Weekdays } else { Sampling::EveryDay },
            reset: Reset::parse(zone, at).unwrap(),
            floor_at_zero: floored,
            rules: ruled.then(Rules::default),
            returns_kept: 30,
            late_days,
            inputs_max,
            risk_free,
            ..Settings::default()
        },
    )
}

fn what() -> impl Strategy<Value = KeptWhat> {
    let symbol = || prop::sample::select(vec!["AAPL", "BTC-USD", "ES"]).prop_map(str::to_owned);
    // Quantities of few values flip and go flat often; prices have all their places.
    let quantity = || prop_oneof![-4_i64..=4, -400_i64..=400].prop_map(|n| Decimal(if n == 0 { 50_000_000 } else { n * 33_333_333 }));
    let price = || (-100_000_000_i64..40_000_000_000).prop_map(Decimal);
    let fee = || (-1_000_000_i64..200_000_000).prop_map(Decimal);
    prop_oneof![
        6 => (symbol(), quantity(), price(), fee()).prop_map(|(symbol, quantity, price, fee)| KeptWhat::Fill { symbol, quantity, price, fee }),
        4 => (symbol(), price()).prop_map(|(symbol, price)| KeptWhat::Mark { symbol, price }),
        1 => (-50_000_000_000_i64..100_000_000_000).prop_map(|amount| KeptWhat::Cash { amount: Decimal(amount) }),
    ]
}

pub(super) fn acts() -> impl Strategy<Value = Vec<Act>> {
    let ahead = || prop_oneof![4 => 0..10 * MINUTE, 2 => 0..DAY, 1 => 0..4 * DAY];
    let behind = prop_oneof![6 => Just(0), 1 => 0..MINUTE, 1 => 0..2 * DAY];
    let input = (ahead(), behind, what()).prop_map(|(ahead_ms, behind_ms, what)| Act::Input {
        ahead_ms: if behind_ms > 0 { 0 } else { ahead_ms },
        behind_ms,
        what,
    });
    prop::collection::vec(prop_oneof![9 => input, 1 => ahead().prop_map(|ahead_ms| Act::Tick { ahead_ms })], 1..200)
}

impl Desk {
    /// Lets it happen; inputs that are refused are not kept, and change nothing.
    pub(super) fn act(&mut self, act: &Act) {
        match act {
            Act::Tick { ahead_ms } => self.tick(self.account.now_ms() + ahead_ms),
            Act::Input { ahead_ms, behind_ms, what } => {
                let ts_ms = self.account.now_ms() + ahead_ms - behind_ms;
                self.give(ts_ms, what.clone()).ok();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// MET-02, MET-03, MET-12: after each of them, all that is kept is what a recomputation from all inputs gives; late ones included.
    #[test]
    fn kept_numbers_are_recomputed_ones(settings in settings(), acts in acts()) {
        let mut desk = Desk::new(settings);
        desk.tick(MONDAY + 1);
        for (n, act) in acts.iter().enumerate() {
            desk.act(act);
            if n % 16 == 0 {
                desk.check();
            }
        }
        desk.check();
    }

    /// EVT-04, MET-07: the status is what the rules say of the numbers after each input, in their order, the first verdict being the last.
    #[test]
    fn the_status_follows_from_the_numbers(settings in settings(), acts in acts()) {
        let mut desk = Desk::new(Settings { rules: Some(Rules::default()), ..settings });
        let mut expected = Status::Pending;
        for act in &acts {
            if matches!(act, Act::Input { behind_ms, .. } if *behind_ms > 0) {
                continue;
            }
            let taken = desk.kept.len();
            desk.act(act);
            let is_fill = desk.kept.len() > taken && matches!(desk.kept[taken].what, KeptWhat::Fill { .. });
            if expected == Status::Pending && is_fill {
                expected = Status::Active;
            }
            let (live, equity) = (&desk.account.live, desk.account.equity().0);
            let invested = desk.account.settings().start_equity.money().0 + live.flows.0;
            let loses = |base: i128, percent: i128| (base - equity) * 100 > base.max(0) * percent;
            let gains = (equity - invested) * 100 >= 10 * desk.account.settings().start_equity.money().0;
            if expected == Status::Active && (loses(live.day.start.0, 5) || loses(live.peak.0, 10)) {
                expected = Status::Failed;
            } else if expected == Status::Active && gains {
                expected = Status::Funded;
            }
            prop_assert_eq!(desk.account.status(), expected);
        }
    }

    /// MET-03: equity is what was put in, and cash and positions at their prices, at every step, whatever the method.
    #[test]
    fn cash_and_positions_are_equity(settings in settings(), acts in acts()) {
        let mut desks = [Method::Average, Method::Fifo].map(|method| Desk::new(Settings { method, floor_at_zero: false, ..settings.clone() }));
        for act in &acts {
            for desk in &mut desks {
                desk.act(act);
                let (mut cash, live) = (desk.account.settings().start_equity.money(), &desk.account.live);
                let mut inputs = desk.kept.clone();
                inputs.sort_by_key(|input| (input.ts_ms, input.seq));
                for input in &inputs {
                    match &input.what {
                        KeptWhat::Fill { quantity, price, fee, .. } => cash -= quantity.times(*price) + fee.money(),
                        KeptWhat::Cash { amount } => cash += amount.money(),
                        KeptWhat::Mark { .. } => {}
                    }
                }
                let worth = live.positions.iter().fold(cash, |sum, position| sum + Decimal(position.quantity).times(position.price));
                prop_assert_eq!(worth, desk.account.equity());
            }
            let [average, fifo] = &desks;
            let sum = |desk: &Desk| desk.account.live.realized + desk.account.live.unrealized;
            prop_assert_eq!(sum(average), sum(fifo));
        }
    }
}
