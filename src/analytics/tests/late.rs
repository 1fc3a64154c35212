//! Inputs that come late: the numbers are those of their order in time.

use super::{DAY, Desk, HOUR, MONDAY};
use crate::analytics::settings::Method;
use crate::analytics::{Refusal, Rules, Settings, Status, Taken};

const LATE: fn(u64) -> Taken = |ts_ms| Taken::Kept { ts_ms, is_late: true };

/// MET-12: two events a millisecond apart keep their order, whichever came first; of one millisecond, the order in which they came counts.
#[test]
fn order_is_by_time_and_then_by_number() {
    let (mut early, mut late) = (Desk::new(Settings::default()), Desk::new(Settings::default()));
    for (at, quantity, price) in [(1, "1", "100"), (2, "-1", "110"), (3, "-1", "120")] {
        early.fill(MONDAY + at, "X", quantity, price, "0").unwrap();
    }
    for (at, quantity, price) in [(2, "-1", "110"), (3, "-1", "120"), (1, "1", "100")] {
        late.fill(MONDAY + at, "X", quantity, price, "0").unwrap();
    }
    assert_eq!(late.account.numbers(), early.account.numbers());
    assert_eq!((late.account.figures().wins, late.account.counts().late), (1, 1));
    late.fill(MONDAY + 3, "X", "1", "130", "0").unwrap();
    assert_eq!((late.account.figures().losses, late.account.counts().late), (1, 1));
    late.check();
}

/// MET-12: a fill of the same day, of yesterday, and one that is too late; what it changes is published.
#[test]
fn a_late_fill_changes_its_day_and_those_after_it() {
    let mut desk = Desk::new(Settings::default());
    for day in 0..3 {
        desk.fill(MONDAY + day * DAY + 10 * HOUR, "X", "10", "100", "1").unwrap();
        desk.mark(MONDAY + day * DAY + 12 * HOUR, "X", &(100 + day).to_string()).unwrap();
        desk.fill(MONDAY + day * DAY + 14 * HOUR, "X", "-4", "103", "1").unwrap();
    }
    desk.messages();
    assert_eq!(desk.fill(MONDAY + 2 * DAY + 11 * HOUR, "X", "-3", "99", "1"), Ok(LATE(MONDAY + 2 * DAY + 11 * HOUR)));
    desk.check();
    let kinds: Vec<_> = desk.messages().iter().map(|message| message.kind).collect();
    assert_eq!(kinds, ["EQUITY_UPDATED", "metrics.update"]);
    assert_eq!(desk.fill(MONDAY + DAY, "Y", "5", "10", "0"), Ok(LATE(MONDAY + DAY)));
    desk.check();
    assert_eq!(desk.cash(MONDAY + DAY + 13 * HOUR, "250"), Ok(LATE(MONDAY + DAY + 13 * HOUR)));
    desk.check();
    let before = desk.account.clone();
    let oldest_ms = MONDAY + DAY;
    assert_eq!(desk.fill(MONDAY + DAY - 1, "X", "1", "1", "0"), Err(Refusal::TooLate { ts_ms: MONDAY + DAY - 1, oldest_ms }));
    assert_eq!(desk.account, before);
    assert_eq!(desk.account.counts().late, 3);
}

/// MET-12: one of before the account's first day, if that day would be kept still: the account began earlier then.
#[test]
fn a_fill_of_before_the_first_day_begins_the_account_earlier() {
    let (mut early, mut late) = (Desk::new(Settings::default()), Desk::new(Settings::default()));
    let fills = [(MONDAY - 1, "2", "90"), (MONDAY + HOUR, "-1", "100"), (MONDAY + 2 * HOUR, "-1", "95")];
    for (at, quantity, price) in fills {
        early.fill(at, "X", quantity, price, "1").unwrap();
    }
    late.fill(fills[1].0, "X", fills[1].1, fills[1].2, "1").unwrap();
    late.fill(fills[2].0, "X", fills[2].1, fills[2].2, "1").unwrap();
    assert_eq!(late.fill(fills[0].0, "X", fills[0].1, fills[0].2, "1"), Ok(LATE(MONDAY - 1)));
    late.check();
    assert_eq!((late.account.numbers(), late.account.began_ms()), (early.account.numbers(), MONDAY - 1));
    let before = late.account.clone();
    assert!(matches!(late.fill(MONDAY - DAY - 1, "X", "1", "100", "0"), Err(Refusal::TooLate { .. })), "its day would not be kept");
    assert_eq!(late.account, before);
    let mut full = Desk::new(Settings { inputs_max: 16, ..Settings::default() });
    for n in 0..20 {
        full.fill(MONDAY + n, "X", "1", "100", "0").unwrap();
    }
    assert!(matches!(full.fill(MONDAY - 1, "X", "1", "100", "0"), Err(Refusal::TooLate { .. })), "the first inputs are folded in");
}

/// A fill that comes after midnight and is of before it belongs to the day that is over.
#[test]
fn a_fill_of_yesterday_after_midnight_is_late() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY + HOUR, "X", "1", "100", "0").unwrap();
    desk.tick(MONDAY + DAY + 5);
    assert_eq!(desk.fill(MONDAY + DAY - 1, "X", "-1", "150", "0"), Ok(LATE(MONDAY + DAY - 1)));
    assert_eq!(desk.account.numbers()["daily_start_equity"], "10050.0000000000000000");
    assert_eq!(desk.account.figures().returns, 1);
    desk.check();
}

/// A fill before the first one moves the account's beginning, as long as nothing was taken.
#[test]
fn the_first_fill_may_be_of_long_ago() {
    let mut desk = Desk::new(Settings::default());
    desk.tick(MONDAY + 5 * DAY);
    desk.fill(MONDAY - 400 * DAY, "X", "1", "100", "0").unwrap();
    assert_eq!(desk.account.began_ms(), MONDAY - 400 * DAY);
    desk.tick(MONDAY + 5 * DAY + 1);
    assert_eq!(desk.account.figures().returns, 405);
    desk.check();
}

/// Above the limit of kept inputs the oldest are in the numbers for good; the numbers are the same, and what is as old is refused.
#[test]
fn what_is_kept_for_late_fills_is_bounded() {
    let mut desk = Desk::new(Settings { inputs_max: 16, method: Method::Fifo, ..Settings::default() });
    for n in 0..200_u64 {
        let quantity = if n % 3 == 0 { "-2" } else { "1" };
        desk.fill(MONDAY + n * HOUR / 4, "X", quantity, &(100 + n * 7 % 13).to_string(), "0.1").unwrap();
        assert!(desk.account.days.kept() <= 16);
    }
    desk.check();
    let late = MONDAY + 198 * HOUR / 4 + 1;
    assert_eq!(desk.fill(late, "X", "1", "100", "0"), Ok(LATE(late)));
    desk.check();
    assert!(matches!(desk.fill(MONDAY + 180 * HOUR / 4, "X", "1", "100", "0"), Err(Refusal::TooLate { .. })));
}

/// A late fill that could not be booked where it belongs is refused as a whole.
#[test]
fn a_late_fill_that_breaks_what_follows_is_refused() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY + 10, "X", "50000000000", "1", "0").unwrap();
    let before = desk.account.clone();
    assert_eq!(desk.fill(MONDAY + 5, "X", "50000000000", "1", "0"), Err(Refusal::Overflow));
    assert_eq!(desk.account, before);
}

/// A limit that a late fill shows to have been exceeded on the way was exceeded; a verdict that it would have spared stays.
#[test]
fn late_fills_may_end_an_account_and_never_begin_it_again() {
    let ruled = || Settings { rules: Some(Rules::default()), ..Settings::default() };
    let mut desk = Desk::new(ruled());
    desk.fill(MONDAY + 1, "X", "1", "100", "0").unwrap();
    desk.mark(MONDAY + 5, "X", "90").unwrap();
    desk.mark(MONDAY + 9, "X", "100").unwrap();
    assert_eq!(desk.account.status(), Status::Active);
    desk.fill(MONDAY + 2, "X", "99", "100", "0").unwrap(); // 100 of it at 90: 10 % lost
    assert_eq!((desk.account.status(), desk.account.equity().text(2)), (Status::Failed, "10000.00".into()));

    let mut desk = Desk::new(ruled());
    desk.fill(MONDAY + 1, "X", "100", "100", "0").unwrap();
    desk.mark(MONDAY + 5, "X", "90").unwrap();
    assert_eq!(desk.account.status(), Status::Failed);
    desk.fill(MONDAY + 2, "X", "-100", "100", "0").unwrap(); // sold before
    assert_eq!((desk.account.status(), desk.account.equity().text(2)), (Status::Failed, "10000.00".into()));
    desk.check();
}
