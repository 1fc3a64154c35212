//! Documented payloads, field by field, and the cases at the edge that they have to get right.

use serde_json::json;

use super::{DAY, Desk, HOUR, MINUTE, MONDAY};
use crate::analytics::batch::{compare, recompute};
use crate::analytics::ledger::LOTS_MAX;
use crate::analytics::settings::{Method, Sampling, TradeCount};
use crate::analytics::zone::Reset;
use crate::analytics::{AHEAD_MS_MAX, Account, Refusal, Rules, Settings, Status, Subject, SubjectKind, Taken, check_time};

fn ruled() -> Settings {
    Settings { rules: Some(Rules::default()), ..Settings::default() }
}

/// EVT-01, MET-05: the first trade, a gain, and every one of the 14 fields.
#[test]
fn equity_has_its_fourteen_fields() {
    let mut desk = Desk::new(ruled());
    let at = MONDAY + 9 * HOUR;
    desk.fill(at, "AAPL", "10", "100.00", "1.00").unwrap();
    desk.mark(at + 250, "AAPL", "98.901").unwrap();
    desk.fill(at + 500, "AAPL", "-10", "106.05", "0").unwrap();
    let messages = desk.messages();
    let equity: Vec<_> = messages.iter().filter(|message| message.kind == "EQUITY_UPDATED").collect();
    let expected = [
        r#"{"challenge_id":"8f","user_id":"u1","previous_equity":"10000.00","current_equity":"9999.00","max_equity_ever":"10000.00","daily_start_equity":"10000.00","daily_max_equity":"10000.00","daily_min_equity":"9999.00","total_pnl":"-1.00","total_trades":1,"last_trade_at":"2026-11-23T09:00:00.000Z","trade_pnl":"-1.00","trade_symbol":"AAPL","updated_at":"2026-11-23T09:00:00.000Z"}"#,
        r#"{"challenge_id":"8f","user_id":"u1","previous_equity":"9999.00","current_equity":"9988.01","max_equity_ever":"10000.00","daily_start_equity":"10000.00","daily_max_equity":"10000.00","daily_min_equity":"9988.01","total_pnl":"-11.99","total_trades":1,"last_trade_at":"2026-11-23T09:00:00.000Z","trade_pnl":"-1.00","trade_symbol":"AAPL","updated_at":"2026-11-23T09:00:00.250Z"}"#,
        r#"{"challenge_id":"8f","user_id":"u1","previous_equity":"9988.01","current_equity":"10059.50","max_equity_ever":"10059.50","daily_start_equity":"10000.00","daily_max_equity":"10059.50","daily_min_equity":"9988.01","total_pnl":"59.50","total_trades":2,"last_trade_at":"2026-11-23T09:00:00.500Z","trade_pnl":"60.50","trade_symbol":"AAPL","updated_at":"2026-11-23T09:00:00.500Z"}"#,
    ];
    assert_eq!(equity.iter().map(|message| &*message.data).collect::<Vec<_>>(), expected);
    let last = equity[2];
    assert_eq!((&*last.room, last.key.as_deref(), last.owner.as_deref(), last.version), ("challenge:8f", Some("8f"), Some("u1"), Some(3)));
    assert_eq!(equity.iter().map(|message| message.version.unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    desk.check();
}

/// EVT-02, EVT-04: the first trade makes a challenge active; the messages of status have their six fields.
#[test]
fn the_first_trade_makes_a_challenge_active() {
    let mut desk = Desk::new(ruled());
    assert_eq!(desk.account.status().name(), "PENDING");
    desk.fill(MONDAY + 5, "AAPL", "1", "100", "0").unwrap();
    let messages = desk.messages();
    assert_eq!(messages[0].kind, "CHALLENGE_STATUS_CHANGED");
    assert_eq!((&*messages[0].room, messages[0].event_id.as_deref(), &messages[0].key), ("challenge:8f", Some("tickerd:ACTIVE"), &None));
    assert_eq!(
        messages[0].data,
        r#"{"challenge_id":"8f","user_id":"u1","old_status":"PENDING","new_status":"ACTIVE","reason":"FIRST_TRADE","changed_at":"2026-11-23T00:00:00.005Z"}"#
    );
    desk.fill(MONDAY + 6, "AAPL", "1", "100", "0").unwrap();
    assert!(desk.data("CHALLENGE_STATUS_CHANGED").is_empty());
}

/// EVT-03, MET-06: "4.50" of "5.00" from 9550.00 of 10000.00, and the alert's eleven fields.
#[test]
fn a_daily_drawdown_near_its_limit_is_alerted_of() {
    let mut desk = Desk::new(ruled());
    desk.fill(MONDAY + HOUR, "AAPL", "10", "100", "0").unwrap();
    desk.messages();
    desk.mark(MONDAY + HOUR + 1, "AAPL", "55").unwrap();
    let messages = desk.messages();
    assert_eq!(messages.iter().map(|message| message.kind).collect::<Vec<_>>(), ["RISK_ALERT", "EQUITY_UPDATED"]);
    assert_eq!(
        messages[0].data,
        r#"{"challenge_id":"8f","user_id":"u1","alert_type":"HIGH_DAILY_DRAWDOWN","severity":"MEDIUM","title":"Daily drawdown","message":"Drawdown 4.50% of 5.00%","current_equity":"9550.00","daily_start_equity":"10000.00","drawdown_percentage":"4.50","threshold":"5.00","alert_timestamp":"2026-11-23T01:00:00.001Z"}"#
    );
    assert_eq!(messages[0].event_id.as_deref(), Some("tickerd:HIGH_DAILY_DRAWDOWN:at.1795395600001"));
}

/// EVT-03: the one of the total drawdown has `max_equity_ever` in place of the day's start.
#[test]
fn a_total_drawdown_near_its_limit_is_alerted_of() {
    let mut desk = Desk::new(Settings { rules: Some(Rules { daily: None, ..Rules::default() }), ..Settings::default() });
    desk.fill(MONDAY + HOUR, "AAPL", "10", "100", "0").unwrap();
    desk.mark(MONDAY + HOUR + 1, "AAPL", "150").unwrap();
    desk.messages();
    desk.mark(MONDAY + HOUR + 2, "AAPL", "65").unwrap();
    let alerts = desk.data("RISK_ALERT");
    assert_eq!(
        alerts,
        [json!({"challenge_id": "8f", "user_id": "u1", "alert_type": "HIGH_TOTAL_DRAWDOWN", "severity": "HIGH", "title": "Total drawdown",
            "message": "Drawdown 8.10% of 10.00%", "current_equity": "9650.00", "max_equity_ever": "10500.00", "drawdown_percentage": "8.10",
            "threshold": "10.00", "alert_timestamp": "2026-11-23T01:00:00.002Z"})]
    );
}

/// Figures are there from the first input on, not only once something is closed.
#[test]
fn the_first_input_publishes_figures() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY + 5, "AAPL", "1", "100", "1").unwrap();
    let kinds = |desk: &mut Desk| desk.messages().iter().map(|message| message.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&mut desk), ["EQUITY_UPDATED", "metrics.update"]);
    desk.fill(MONDAY + 6, "AAPL", "1", "100", "1").unwrap();
    assert_eq!(kinds(&mut desk), ["EQUITY_UPDATED"]);
}

/// EVT-03: a fill that is old when it comes, as one of an import is, is not followed by word that nothing was traded since.
#[test]
fn old_fills_are_not_idleness() {
    let mut desk = Desk::new(ruled());
    desk.fill(MONDAY, "AAPL", "1", "100", "0").unwrap();
    assert!(!desk.account.excuse_idleness(MONDAY + 30 * MINUTE - 1), "it is not told yet, and is to be");
    assert!(desk.account.excuse_idleness(MONDAY + 2 * HOUR));
    assert!(!desk.account.excuse_idleness(MONDAY + 2 * HOUR), "it was already");
    desk.tick(MONDAY + 2 * HOUR);
    assert!(desk.data("RISK_ALERT").is_empty());
    desk.fill(MONDAY + 2 * HOUR, "AAPL", "1", "100", "0").unwrap();
    desk.tick(MONDAY + 3 * HOUR);
    assert_eq!(desk.data("RISK_ALERT").len(), 1);
}

/// EVT-04: a status that was published holds, and never goes back.
#[test]
fn a_published_status_is_taken_over() {
    let mut desk = Desk::new(ruled());
    desk.fill(MONDAY, "AAPL", "1", "100", "0").unwrap();
    desk.messages();
    for (status, seq, taken) in [
        (Status::Pending, 2, Ok(Taken::Ignored)),
        (Status::Active, 3, Ok(Taken::Ignored)),
        (Status::Failed, 4, Ok(Taken::Kept { ts_ms: MONDAY, is_late: false })),
        (Status::Failed, 5, Ok(Taken::Ignored)),
        (Status::Active, 6, Ok(Taken::Ignored)),
        (Status::Failed, 6, Err(Refusal::Duplicate { seq: 6 })),
    ] {
        assert_eq!(desk.account.settle(status, seq), taken, "{status}");
    }
    desk.seq = 6;
    desk.mark(MONDAY + 1, "AAPL", "9000").unwrap();
    assert_eq!(
        (desk.account.status(), desk.data("CHALLENGE_STATUS_CHANGED").len()),
        (Status::Failed, 0),
        "the target is reached, and too late"
    );
    desk.check();
}

/// EVT-03: nothing was traded for half an hour; told once, and again only after another trade.
#[test]
fn inactivity_is_alerted_of_once() {
    let mut desk = Desk::new(ruled());
    desk.tick(MONDAY + HOUR);
    assert!(desk.data("RISK_ALERT").is_empty(), "nothing to be missed before the first trade");
    desk.fill(MONDAY + HOUR, "AAPL", "10", "100", "0").unwrap();
    desk.tick(MONDAY + HOUR + 30 * MINUTE - 1);
    assert!(desk.data("RISK_ALERT").is_empty());
    desk.tick(MONDAY + HOUR + 30 * MINUTE);
    desk.tick(MONDAY + 2 * HOUR);
    assert_eq!(
        desk.data("RISK_ALERT"),
        [
            json!({"challenge_id": "8f", "user_id": "u1", "alert_type": "INACTIVE_TRADING", "severity": "MEDIUM", "title": "Inactive trading",
            "message": "No trade for 30 minutes", "current_equity": "10000.00", "last_trade_at": "2026-11-23T01:00:00.000Z",
            "inactive_minutes": 30, "threshold_minutes": 30, "alert_timestamp": "2026-11-23T01:30:00.000Z"})
        ]
    );
    desk.fill(MONDAY + 3 * HOUR, "AAPL", "10", "100", "0").unwrap();
    desk.tick(MONDAY + 4 * HOUR);
    assert_eq!(desk.data("RISK_ALERT").len(), 1);
}

/// TRP-03, MET-08..10: all figures of an account, null where there is none.
#[test]
fn metrics_have_their_fields() {
    let mut desk = Desk::new(Settings::default());
    let subject = Subject { kind: SubjectKind::Account, id: "a7".into(), user: None };
    desk.account = Account::new(subject, std::sync::Arc::new(Settings::default()), MONDAY);
    for (at, quantity, price) in [(1, "10", "100"), (2, "-5", "120"), (3, "-5", "90"), (4, "1", "50"), (5, "-1", "50")] {
        desk.fill(MONDAY + at, "X", quantity, price, "0.50").unwrap();
    }
    let messages = desk.messages();
    assert!(messages.iter().all(|message| message.room == "account:a7" && message.key.as_deref() == Some("a7") && message.owner.is_none()));
    assert_eq!(messages.iter().map(|message| message.kind).filter(|kind| *kind == "account.update").count(), 5);
    let metrics = messages.iter().rfind(|message| message.kind == "metrics.update").unwrap();
    assert_eq!(
        metrics.data,
        format!(
            r#"{{"account_id":"a7","user_id":null,"equity":"10047.50","balance":"10047.50","realized_pnl":"50.00","unrealized_pnl":"0.00","fees":"2.50","total_pnl":"47.50","wins":1,"losses":2,"breakeven":0,"gross_win":"99.25","gross_loss":"51.75","expectancy":"15.83","win_rate":{},"profit_factor":{},"payoff_ratio":{},"max_drawdown_ratio":{},"max_close_drawdown_ratio":0.0,"sharpe_ratio":null,"sortino_ratio":null,"var_95":null,"cvar_95":null,"returns":0,"updated_at":"2026-11-23T00:00:00.005Z"}}"#,
            1.0 / 3.0,
            99.25 / 51.75,
            99.25 / 25.875,
            151.5 / 10_199.0
        )
    );
}

/// MET-08: trades that came out even are counted apart; without a decided one there is no rate, without a loss no factor.
#[test]
fn trades_that_came_out_even_are_no_part_of_the_win_rate() {
    let mut desk = Desk::new(Settings::default());
    let mut rate = |at, prices: [&str; 2]| {
        desk.fill(MONDAY + at, "X", "1", prices[0], "0").unwrap();
        desk.fill(MONDAY + at + 1, "X", "-1", prices[1], "0").unwrap();
        let figures = desk.account.figures();
        (figures.win_rate, figures.profit_factor, figures.payoff, figures.expectancy.unwrap().text(2), figures.breakeven)
    };
    assert_eq!(rate(0, ["10", "10"]), (None, None, None, "0.00".into(), 1));
    assert_eq!(rate(2, ["10", "13"]), (Some(1.0), None, None, "1.50".into(), 1));
    assert_eq!(rate(4, ["10", "8"]), (Some(0.5), Some(1.5), Some(1.5), "0.33".into(), 1));
    desk.check();
}

/// MET-04: what differs from a recomputation is told by its name, with both values; the smallest unit is enough.
#[test]
fn a_drift_is_told() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY, "AAPL", "2", "100", "0").unwrap();
    desk.fill(MONDAY + 1, "AAPL", "-1", "101", "0").unwrap();
    desk.check();
    let batch = recompute(desk.account.settings(), desk.account.began_ms(), desk.kept.clone(), desk.account.now_ms());
    let mut account = desk.account.clone();
    account.live.realized.0 += 1;
    account.live.drawdown_max = 0.001;
    account.live.positions[0].quantity = 7;
    let drifts = compare(&account, &batch);
    let fields: Vec<_> = drifts.iter().map(|drift| &*drift.field).collect();
    assert_eq!(fields, ["balance", "equity", "max_drawdown_ratio", "positions.AAPL.quantity", "realized_pnl"]);
    assert_eq!((&*drifts[4].kept, &*drifts[4].recomputed), ("1.0000000000000001", "1.0000000000000000"));
    account.live.positions[0].quantity = 0;
    assert!(compare(&account, &batch).iter().any(|drift| drift.kept == "nothing" && drift.field == "positions.AAPL.basis"));
}

/// MET-05: midnight UTC: the day's numbers begin anew, those of all days go on; also where only time passes.
#[test]
fn midnight_begins_a_day() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY + 23 * HOUR, "AAPL", "10", "100", "0").unwrap();
    desk.mark(MONDAY + DAY - 1, "AAPL", "110").unwrap();
    desk.messages();
    desk.mark(MONDAY + DAY, "AAPL", "105").unwrap();
    let equity = desk.data("EQUITY_UPDATED").remove(0);
    let of_day = ["daily_start_equity", "daily_max_equity", "daily_min_equity", "max_equity_ever"].map(|name| equity[name].clone());
    assert_eq!(of_day, ["10100.00", "10100.00", "10050.00", "10100.00"]);
    desk.tick(MONDAY + 2 * DAY - 1);
    assert!(desk.messages().is_empty());
    desk.tick(MONDAY + 2 * DAY);
    let messages = desk.messages();
    assert_eq!(messages.iter().map(|message| message.kind).collect::<Vec<_>>(), ["EQUITY_UPDATED", "metrics.update"]);
    assert!(messages[0].data.contains(r#""daily_start_equity":"10050.00","daily_max_equity":"10050.00","daily_min_equity":"10050.00""#));
    assert_eq!(desk.account.figures().returns, 2);
    desk.check();
}

/// MET-05: a day that begins with an input that changes nothing, or is refused, is told as one that begins with time alone.
#[test]
fn a_day_is_told_whatever_begins_it() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY, "X", "1", "100", "0").unwrap();
    desk.fill(MONDAY + 1, "X", "-1", "110", "0").unwrap();
    desk.messages();
    desk.mark(MONDAY + DAY, "X", "90").unwrap();
    assert_eq!(desk.data("EQUITY_UPDATED")[0]["daily_start_equity"], "10010.00");
    assert_eq!(desk.fill(MONDAY + 2 * DAY, "X", "90000000000", "90000000000", "0"), Err(Refusal::Overflow));
    let messages = desk.messages();
    assert_eq!(messages.iter().map(|message| message.kind).collect::<Vec<_>>(), ["EQUITY_UPDATED", "metrics.update"]);
    desk.tick(MONDAY + 2 * DAY + 1);
    assert!(desk.messages().is_empty());
}

/// MET-07: the clock is put forward and back: days of 23 and of 25 hours, each with one return.
#[test]
fn a_day_has_the_hours_that_its_clock_shows() {
    for (zone, at, first, hours) in [
        ("America/New_York", "17:00", (2026, 3, 7), [23, 24]),
        ("America/New_York", "17:00", (2026, 10, 31), [25, 24]),
        ("CET", "00:00", (2026, 3, 29), [23, 24]),
        ("CET", "00:00", (2026, 10, 25), [25, 24]),
        ("UTC", "00:00", (2026, 3, 29), [24, 24]),
    ] {
        let reset = Reset::parse(zone, at).unwrap();
        let start = reset.start_ms(crate::base::calendar::day_number(first.0, first.1, first.2)) as u64;
        let mut desk = Desk::new(Settings { reset, ..Settings::default() });
        desk.fill(start, "AAPL", "10", "100", "0").unwrap();
        let mut now = start;
        for (day, hours) in hours.into_iter().enumerate() {
            now += hours * HOUR;
            desk.mark(now - 1, "AAPL", "101").unwrap();
            assert_eq!(desk.account.counts().days_closed, day as u64, "{zone} {at}: too early");
            desk.mark(now, "AAPL", "102").unwrap();
            assert_eq!(desk.account.counts().days_closed, day as u64 + 1, "{zone} {at}: too late");
        }
        desk.check();
    }
}

/// MET-01: a flip from long to short, and partial closes, by both methods.
#[test]
fn flips_and_partial_closes() {
    for (method, partly) in [(Method::Average, "105.00"), (Method::Fifo, "130.00")] {
        let mut desk = Desk::new(Settings { method, ..Settings::default() });
        let mut realized = Vec::new();
        for (at, quantity, price) in [(1, "10", "100"), (2, "10", "110"), (3, "-15", "112"), (4, "-10", "114"), (5, "2", "100")] {
            desk.fill(MONDAY + at, "AAPL", quantity, price, "0").unwrap();
            realized.push(desk.account.figures().realized.text(2));
        }
        assert_eq!(realized, ["0.00", "0.00", partly, "150.00", "178.00"], "{method}");
        assert_eq!(desk.account.figures().unrealized.text(2), "42.00", "3 owed at 114, and worth 100");
        assert!(desk.account.holds("AAPL"));
        desk.check();
    }
}

/// A fill of nothing, of no time, twice, or too large: told, and nothing changes.
#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let mut desk = Desk::new(ruled());
    desk.fill(MONDAY + 1, "AAPL", "1", "100", "0").unwrap();
    desk.messages();
    let before = desk.account.clone();
    let now = MONDAY + 1;
    for (result, name) in [
        (desk.fill(MONDAY + 2, "AAPL", "0", "100", "0"), "zero_quantity"),
        (desk.fill(1_795_392_000, "AAPL", "1", "100", "0"), "bad_time"),
        (desk.fill(MONDAY + 2, "AAPL", "90000000000", "90000000000", "0"), "overflow"),
        (desk.fill(MONDAY - DAY - 1, "AAPL", "1", "100", "0"), "too_late"),
        (check_time(now + AHEAD_MS_MAX + 1, now).map(|()| Taken::Ignored), "ahead"),
    ] {
        let refusal = result.unwrap_err();
        assert_eq!(refusal.name(), name);
        assert!(!refusal.to_string().is_empty());
    }
    desk.seq = 0;
    assert_eq!(desk.fill(MONDAY + 2, "AAPL", "1", "100", "0"), Err(Refusal::Duplicate { seq: 1 }));
    assert_eq!(desk.account, before);
    assert!(desk.messages().is_empty());
    assert_eq!(check_time(now + AHEAD_MS_MAX, now), Ok(()));
}

/// Lots are bounded for the whole account: one more is refused, what closes some is not.
#[test]
fn lots_are_bounded() {
    let mut desk = Desk::new(Settings { method: Method::Fifo, ..Settings::default() });
    for (at, symbol, quantity) in [(1, "AAPL", "1"), (2, "MSFT", "-1"), (3, "AAPL", "2")] {
        desk.fill(MONDAY + at, symbol, quantity, &(100 + at).to_string(), "0").unwrap();
    }
    assert_eq!(desk.account.live.lots, 3);
    desk.account.live.lots = LOTS_MAX;
    assert_eq!(desk.fill(MONDAY + 4, "AAPL", "1", "100", "0"), Err(Refusal::TooManyLots));
    assert_eq!(desk.fill(MONDAY + 4, "TSLA", "1", "100", "0"), Err(Refusal::TooManyLots));
    desk.fill(MONDAY + 5, "AAPL", "-4", "100", "0").unwrap();
    desk.fill(MONDAY + 6, "MSFT", "1", "100", "0").unwrap();
    assert_eq!(desk.account.live.lots, LOTS_MAX - 2);
    desk.fill(MONDAY + 7, "TSLA", "1", "100", "0").unwrap();
}

/// A price of what was never traded, or older than the one there is, changes nothing; one a little late counts now.
#[test]
fn prices_do_not_rewrite_the_past() {
    let mut desk = Desk::new(Settings::default());
    assert_eq!(desk.mark(MONDAY + 1, "AAPL", "90"), Ok(Taken::Ignored));
    desk.fill(MONDAY + 10, "AAPL", "1", "100", "0").unwrap();
    desk.fill(MONDAY + 20, "MSFT", "1", "100", "0").unwrap();
    assert_eq!(desk.mark(MONDAY + 9, "AAPL", "90"), Ok(Taken::Ignored));
    assert_eq!(desk.mark(MONDAY + 15, "AAPL", "101"), Ok(Taken::Kept { ts_ms: MONDAY + 20, is_late: false }));
    assert_eq!(desk.account.equity().text(2), "10001.00");
    desk.check();
}

/// MET-10: at ticks and at the ends of days, two drawdowns, the starting equity being a peak.
#[test]
fn drawdowns_of_ticks_and_of_closes_are_told_apart() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY, "AAPL", "100", "100", "0").unwrap();
    for (hour, price) in [(1, "95"), (2, "98"), (25, "104"), (26, "100"), (49, "99")] {
        desk.mark(MONDAY + hour * HOUR, "AAPL", price).unwrap();
    }
    desk.tick(MONDAY + 3 * DAY);
    let figures = desk.account.figures();
    assert_eq!((figures.drawdown_max, figures.close_drawdown_max), (0.05, 0.02));
    desk.check();
}

/// A deposit is neither a gain nor does it hide a loss; a withdrawal is no loss.
#[test]
fn cash_flows_change_equity_and_nothing_else() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY + 1, "AAPL", "10", "100", "0").unwrap();
    desk.mark(MONDAY + 2, "AAPL", "80").unwrap();
    desk.cash(MONDAY + 3, "5000").unwrap();
    let figures = desk.account.figures();
    assert_eq!((figures.equity.text(2), figures.pnl.text(2), figures.drawdown_max), ("14800.00".into(), "-200.00".into(), 0.02));
    desk.cash(MONDAY + 4, "-14000").unwrap();
    desk.tick(MONDAY + DAY);
    assert_eq!(desk.account.figures().drawdown_max.to_string(), "0.2", "200 of 1000 that are left");
    desk.check();
}

/// MET-09: a weekend's change belongs to Monday's return where weekdays alone are counted.
#[test]
fn weekends_may_give_no_returns() {
    for (sampling, returns) in [(Sampling::EveryDay, 7), (Sampling::Weekdays, 5)] {
        let mut desk = Desk::new(Settings { sampling, trades: TradeCount::PerRoundTrip, ..Settings::default() });
        desk.fill(MONDAY, "BTC", "0.5", "10000", "0").unwrap();
        for day in 0..7 {
            desk.mark(MONDAY + day * DAY + HOUR, "BTC", &(10_000 + 100 * (day * 7 % 5)).to_string()).unwrap();
        }
        desk.tick(MONDAY + 7 * DAY);
        assert_eq!(desk.account.figures().returns, returns);
        desk.check();
    }
}
