//! Limits, targets and alerts, at their edges.

use super::{DAY, Desk, HOUR, MINUTE, MONDAY};
use crate::analytics::decimal::Percent;
use crate::analytics::settings::{Amount, DailyBase, Limit, Metric, Severity, Threshold, TotalBase};
use crate::analytics::{Rules, Settings, Status};

/// An account of 10,000 that holds 100 of X at 100, so that a price of 99 is a loss of 100; the alerts of its rules are asked for one by one.
fn desk(rules: Rules) -> Desk {
    let mut desk = Desk::new(Settings { rules: Some(rules), ..Settings::default() });
    desk.fill(MONDAY, "X", "100", "100", "0").unwrap();
    desk.messages();
    desk
}

/// The alerts and changes of status that a price makes.
fn events(desk: &mut Desk, ts_ms: u64, price: &str) -> Vec<String> {
    desk.mark(ts_ms, "X", price).unwrap();
    told(desk)
}

fn told(desk: &mut Desk) -> Vec<String> {
    let told = desk.messages().into_iter().filter_map(|message| {
        let data: serde_json::Value = serde_json::from_str(&message.data).unwrap();
        let what = data.get("alert_type").or(data.get("reason"))?.as_str()?.to_owned();
        Some(what)
    });
    told.collect()
}

fn daily(percent: u32, base: DailyBase) -> Rules {
    let daily = Some(Limit { percent: Percent(percent), base, amount: Amount::OfBase });
    Rules { daily, total: None, target: None, inactive_after_ms: None, ..Rules::default() }
}

fn total(percent: u32, base: TotalBase, amount: Amount) -> Rules {
    Rules { daily: None, total: Some(Limit { percent: Percent(percent), base, amount }), target: None, ..Rules::default() }
}

/// X27, MET-07: a loss equal to the limit is allowed, the smallest amount beyond it is not; a warning is given at 80 % and not just below.
#[test]
fn a_limit_reached_exactly_is_not_exceeded() {
    let mut desk = desk(daily(50_000, DailyBase::StartEquity));
    assert_eq!(events(&mut desk, MONDAY + 1, "96.00000001"), [""; 0]);
    assert_eq!(events(&mut desk, MONDAY + 2, "96"), ["HIGH_DAILY_DRAWDOWN"]);
    assert_eq!(events(&mut desk, MONDAY + 3, "95"), [""; 0]);
    assert_eq!(desk.account.status(), Status::Active);
    assert_eq!(events(&mut desk, MONDAY + 4, "94.99999999"), ["MAX_DAILY_DRAWDOWN"]);
    assert_eq!(desk.account.status(), Status::Failed);
}

/// X27, MET-07: a target reached exactly is reached.
#[test]
fn a_target_reached_exactly_is_reached() {
    let mut desk = desk(Rules::default());
    assert_eq!(events(&mut desk, MONDAY + 1, "109.99999999"), [""; 0]);
    assert_eq!(events(&mut desk, MONDAY + 2, "110"), ["PROFIT_TARGET"]);
    assert_eq!(desk.account.status(), Status::Funded);
}

/// EVT-04: what has ended stays so: no alert, no other verdict, though numbers go on.
#[test]
fn verdicts_are_final() {
    let mut desk = desk(Rules::default());
    assert_eq!(events(&mut desk, MONDAY + 1, "90"), ["MAX_DAILY_DRAWDOWN"], "the day's limit is asked before the one altogether");
    assert_eq!(events(&mut desk, MONDAY + 2, "120"), [""; 0]);
    desk.fill(MONDAY + 3, "X", "-100", "120", "0").unwrap();
    assert_eq!(told(&mut desk), [""; 0]);
    assert_eq!((desk.account.status(), desk.account.equity().text(2)), (Status::Failed, "12000.00".into()));
    desk.tick(MONDAY + DAY);
    assert_eq!(told(&mut desk), [""; 0]);
}

/// MET-07: the rules in their order: a price that breaks both limits is the day's.
#[test]
fn the_limit_altogether_comes_second() {
    let mut desk = desk(Rules { inactive_after_ms: None, ..Rules::default() });
    assert_eq!(events(&mut desk, MONDAY + 1, "96"), ["HIGH_DAILY_DRAWDOWN"]);
    assert_eq!(events(&mut desk, MONDAY + DAY, "92.5"), [""; 0]);
    assert_eq!(events(&mut desk, MONDAY + DAY + 1, "92"), ["HIGH_DAILY_DRAWDOWN", "HIGH_TOTAL_DRAWDOWN"]);
    desk.tick(MONDAY + 2 * DAY);
    assert_eq!(events(&mut desk, MONDAY + 2 * DAY + 1, "90"), [""; 0]);
    assert_eq!(events(&mut desk, MONDAY + 2 * DAY + 2, "89.99"), ["MAX_TOTAL_DRAWDOWN"]);
}

/// EVT-06: one alert for each crossing; armed again below 75 %, not at it; two at least a minute apart.
#[test]
fn alerts_have_hysteresis_and_a_pause() {
    let mut desk = desk(daily(50_000, DailyBase::StartEquity));
    let mut at = |ts_ms, price| events(&mut desk, MONDAY + ts_ms, price).len();
    assert_eq!([at(1, "96"), at(2, "95.5"), at(3, "96.25"), at(MINUTE + 1, "96")], [1, 0, 0, 0], "75 % is not below it");
    assert_eq!([at(MINUTE + 2, "96.26"), at(MINUTE + 3, "96")], [0, 1], "a little less is");
    assert_eq!([at(MINUTE + 4, "97"), at(MINUTE + 5, "96"), at(2 * MINUTE + 2, "95.9")], [0, 0, 0], "a minute has not passed");
    assert_eq!([at(2 * MINUTE + 3, "95.9"), at(4 * MINUTE, "95.9")], [1, 0], "it has, and the loss is still near the limit");
}

/// EVT-06: a day's alert is armed again by the next day.
#[test]
fn a_new_day_arms_the_day_s_alert() {
    let mut desk = desk(daily(50_000, DailyBase::StartEquity));
    assert_eq!(events(&mut desk, MONDAY + DAY - HOUR, "95.5").len(), 1);
    assert_eq!(events(&mut desk, MONDAY + DAY + 1, "91.6"), ["HIGH_DAILY_DRAWDOWN"]);
}

/// MET-07, X36: what a day's loss is counted from. The day begins with equity of 10,400 and a balance of 10,000; its peak is 10,600.
#[test]
fn a_day_s_loss_has_a_base() {
    for (base, allowed, beyond) in [
        (DailyBase::StartEquity, "98.8", "98.79"), // 5 % of 10,400 below it
        (DailyBase::StartBalance, "95", "94.99"),  // 5 % of 10,000 below it
        (DailyBase::HigherOfBoth, "98.8", "98.79"),
        (DailyBase::DayPeak, "100.7", "100.69"), // 5 % of 10,600 below it
    ] {
        let mut desk = desk(daily(50_000, base));
        events(&mut desk, MONDAY + 1, "104");
        events(&mut desk, MONDAY + DAY, "106");
        events(&mut desk, MONDAY + DAY + 1, allowed);
        assert_eq!(desk.account.status(), Status::Active, "{base}");
        assert_eq!(events(&mut desk, MONDAY + DAY + 2, beyond), ["MAX_DAILY_DRAWDOWN"], "{base}");
    }
}

/// MET-07, X36: what the loss altogether is counted from, after a peak of 10,500 in a day that closed at 10,200.
#[test]
fn the_loss_altogether_has_a_base() {
    for (base, amount, allowed, beyond) in [
        (TotalBase::Peak, Amount::OfBase, "94.5", "94.49"),
        (TotalBase::Peak, Amount::OfInitial, "95", "94.99"),
        (TotalBase::Initial, Amount::OfBase, "90", "89.99"),
        (TotalBase::ClosePeak, Amount::OfBase, "91.8", "91.79"),
        (TotalBase::PeakThatLocks, Amount::OfInitial, "95", "94.99"),
    ] {
        let mut desk = desk(total(100_000, base, amount));
        events(&mut desk, MONDAY + 1, "105");
        events(&mut desk, MONDAY + 2, "102");
        desk.tick(MONDAY + DAY);
        events(&mut desk, MONDAY + DAY + 1, allowed);
        assert_eq!(desk.account.status(), Status::Active, "{base} {amount}");
        assert_eq!(events(&mut desk, MONDAY + DAY + 2, beyond), ["MAX_TOTAL_DRAWDOWN"], "{base} {amount}");
    }
}

/// X36: a trailing limit that locks stays where the lowest allowed equity is what the account started with.
#[test]
fn a_trailing_limit_locks() {
    for amount in [Amount::OfInitial, Amount::OfBase] {
        let mut desk = desk(total(50_000, TotalBase::PeakThatLocks, amount));
        events(&mut desk, MONDAY + 1, "130");
        events(&mut desk, MONDAY + 2, "100.01");
        assert_eq!(desk.account.status(), Status::Active, "{amount}");
        assert_eq!(events(&mut desk, MONDAY + 3, "99.99").last().map(String::as_str), Some("MAX_TOTAL_DRAWDOWN"), "{amount}");
    }
}

/// TRP-04: a threshold on a figure, with its severity; equal to it is not beyond; told again only after it was not.
#[test]
fn figures_have_thresholds() {
    let thresholds = vec![Threshold { metric: Metric::MaxDrawdown, above: true, value: 0.1, severity: Severity::Critical }];
    let mut desk = desk(Rules { thresholds, daily: None, total: None, target: None, ..Rules::default() });
    assert_eq!(events(&mut desk, MONDAY + 1, "90"), [""; 0]);
    desk.mark(MONDAY + 2, "X", "89").unwrap();
    let alert = desk.data("RISK_ALERT").remove(0);
    assert_eq!(
        (&alert["alert_type"], &alert["severity"], &alert["metric"]),
        (&"METRIC_THRESHOLD".into(), &"CRITICAL".into(), &"max_drawdown_ratio".into())
    );
    assert_eq!((alert["value"].as_f64(), alert["threshold"].as_f64(), alert.as_object().unwrap().len()), (Some(0.11), Some(0.1), 11));
    assert_eq!(events(&mut desk, MONDAY + 2 * MINUTE, "88"), [""; 0]);
}

/// A daily figure is looked at when a day is over.
#[test]
fn daily_figures_are_looked_at_daily() {
    let thresholds = vec![Threshold { metric: Metric::Sharpe, above: false, value: 1.0, severity: Severity::Medium }];
    let mut desk = desk(Rules { thresholds, daily: None, total: None, target: None, inactive_after_ms: None, ..Rules::default() });
    for (day, price) in [(0, "99"), (1, "98"), (2, "98.5")] {
        assert_eq!(events(&mut desk, MONDAY + day * DAY + HOUR, price), if day == 2 { vec!["METRIC_THRESHOLD"] } else { vec![] });
    }
}

/// D5: a loss of 60 % fails whatever the limit, and one of nothing is not near it.
#[test]
fn percentages_are_percentages() {
    let mut desk = desk(Rules::default());
    assert_eq!(events(&mut desk, MONDAY + 1, "99.9"), [""; 0]);
    assert_eq!(events(&mut desk, MONDAY + 2, "40"), ["MAX_DAILY_DRAWDOWN"]);
}

/// Other rules hold at once; other numbers do not.
#[test]
fn rules_may_change_and_numbers_may_not() {
    let mut desk = desk(Rules::default());
    events(&mut desk, MONDAY + 1, "97");
    let tighter = Settings { rules: Some(daily(20_000, DailyBase::StartEquity)), ..Settings::default() };
    desk.account.reconfigure(std::sync::Arc::new(tighter)).unwrap();
    assert_eq!(events(&mut desk, MONDAY + 2, "97"), ["MAX_DAILY_DRAWDOWN"]);
    let other = Settings { periods: 365, ..Settings::default() };
    assert!(desk.account.reconfigure(std::sync::Arc::new(other)).unwrap_err().contains("periods"));
}
