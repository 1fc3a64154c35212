//! One challenge: an account under rules.

use std::time::Duration;

use crate::base::lane::Lane;
use crate::base::time::{Mono, Now};

use super::Rng;
use crate::cli::demo::events::{AccountState, BasisPoints, Cents, IsoTime, Line, RiskAlert, Stamp, Status, StatusChange, line};

/// What every attempt starts with.
pub(super) const START_CENTS: i64 = 1_000_000;
/// The limits, in hundredths of a percent.
pub(super) const DAILY_LIMIT: i64 = 500;
pub(super) const TOTAL_LIMIT: i64 = 1000;
pub(super) const TARGET: i64 = 1000;
/// Percent of a limit at which an alert is raised, and below which the next one may be.
const WARN_PERCENT: i64 = 80;
const REARM_PERCENT: i64 = 75;
/// From the end of an attempt to the next one.
const REST: Duration = Duration::from_secs(4);

#[derive(Clone, Debug)]
pub(super) struct Challenge {
    pub(super) id: String,
    pub(super) user: String,
    attempt: u32,
    status: Status,
    equity: i64,
    equity_max: i64,
    day_start: i64,
    day_max: i64,
    day_min: i64,
    trades: u32,
    daily_alert: Alarm,
    total_alert: Alarm,
    rests_until: Mono,
}

impl Challenge {
    /// A challenge in the middle of its first attempt. One in eight is near a limit, so that something happens soon.
    pub(super) fn started(number: usize, rng: &mut Rng) -> Challenge {
        let so_far = if number % 8 == 1 { -38_500 } else { 11_000 + rng.within(50_000) };
        let mut challenge = Challenge {
            id: format!("c{number:02}"),
            user: format!("trader{number:02}"),
            attempt: 1,
            status: Status::Active,
            equity: START_CENTS + so_far,
            equity_max: START_CENTS,
            day_start: START_CENTS,
            day_max: START_CENTS,
            day_min: START_CENTS,
            trades: 1 + rng.below(40) as u32,
            daily_alert: Alarm::ARMED,
            total_alert: Alarm::ARMED,
            rests_until: Mono(0),
        };
        challenge.mark();
        challenge
    }

    pub(super) fn equity(&self) -> i64 {
        self.equity
    }

    /// Whether it takes a fill now; begins the next attempt when the last one is over long enough.
    pub(super) fn may_trade(&mut self, now: Mono) -> bool {
        if !matches!(self.status, Status::Failed | Status::Funded) {
            return true;
        }
        if now < self.rests_until {
            return false;
        }
        self.attempt += 1;
        self.status = Status::Pending;
        self.equity = START_CENTS;
        self.equity_max = START_CENTS;
        self.trades = 0;
        self.turn_day();
        self.total_alert = Alarm::ARMED;
        true
    }

    pub(super) fn turn_day(&mut self) {
        self.day_start = self.equity;
        self.day_max = self.equity;
        self.day_min = self.equity;
        self.daily_alert = Alarm::ARMED;
    }

    /// Books a fill and tells what follows from it.
    pub(super) fn trade(&mut self, pnl: i64, now: Now, demo: Stamp, out: &mut Vec<Line>) {
        if self.status == Status::Pending {
            self.change_status(Status::Active, "FIRST_TRADE", now, demo, out);
        }
        let previous = self.equity;
        self.equity = (self.equity + pnl).max(0);
        self.trades += 1;
        self.mark();
        out.push(self.equity_line(previous, now, demo));
        self.judge(now, demo, out);
    }

    fn mark(&mut self) {
        self.equity_max = self.equity_max.max(self.equity);
        self.day_max = self.day_max.max(self.equity);
        self.day_min = self.day_min.min(self.equity);
    }

    /// The rules in their order: the day's loss, the whole loss, the target; warnings only if none of them ended it.
    fn judge(&mut self, now: Now, demo: Stamp, out: &mut Vec<Line>) {
        let (daily_loss, total_loss) = (self.day_start - self.equity, self.equity_max - self.equity);
        if exceeds(daily_loss, self.day_start, DAILY_LIMIT) {
            self.end(Status::Failed, "MAX_DAILY_DRAWDOWN", now, demo, out);
        } else if exceeds(total_loss, self.equity_max, TOTAL_LIMIT) {
            self.end(Status::Failed, "MAX_TOTAL_DRAWDOWN", now, demo, out);
        } else if (self.equity - START_CENTS) * 10_000 >= START_CENTS * TARGET {
            self.end(Status::Funded, "PROFIT_TARGET", now, demo, out);
        } else {
            self.warn(daily_loss, total_loss, now, demo, out);
        }
    }

    fn warn(&mut self, daily_loss: i64, total_loss: i64, now: Now, demo: Stamp, out: &mut Vec<Line>) {
        if self.daily_alert.rings(daily_loss, self.day_start, DAILY_LIMIT) {
            out.push(self.alert_line(daily_loss, true, now, demo));
        }
        if self.total_alert.rings(total_loss, self.equity_max, TOTAL_LIMIT) {
            out.push(self.alert_line(total_loss, false, now, demo));
        }
    }

    fn end(&mut self, status: Status, reason: &'static str, now: Now, demo: Stamp, out: &mut Vec<Line>) {
        let (old_status, kind) = (self.status, if status == Status::Failed { "CHALLENGE_FAILED" } else { "CHALLENGE_FUNDED" });
        self.change_status(status, reason, now, demo, out);
        out.push(line(Lane::Alert, kind, &self.status_change(old_status, reason, now, demo)));
        self.rests_until = now.mono.plus(REST);
    }

    fn change_status(&mut self, status: Status, reason: &'static str, now: Now, demo: Stamp, out: &mut Vec<Line>) {
        let old_status = std::mem::replace(&mut self.status, status);
        out.push(line(Lane::Alert, "CHALLENGE_STATUS_CHANGED", &self.status_change(old_status, reason, now, demo)));
    }

    fn status_change(&self, old_status: Status, reason: &'static str, now: Now, demo: Stamp) -> StatusChange<'_> {
        StatusChange {
            challenge_id: &self.id,
            user_id: &self.user,
            attempt: self.attempt,
            old_status,
            new_status: self.status,
            reason,
            current_equity: Cents(self.equity),
            changed_at: IsoTime(now.wall_ms),
            demo,
        }
    }

    fn alert_line(&self, loss: i64, daily: bool, now: Now, demo: Stamp) -> Line {
        let (base, limit, span) = if daily { (self.day_start, DAILY_LIMIT, "daily") } else { (self.equity_max, TOTAL_LIMIT, "total") };
        let drawdown = BasisPoints(basis_points(loss, base));
        let alert = RiskAlert {
            challenge_id: &self.id,
            user_id: &self.user,
            alert_type: if daily { "HIGH_DAILY_DRAWDOWN" } else { "HIGH_TOTAL_DRAWDOWN" },
            severity: if daily { "MEDIUM" } else { "HIGH" },
            title: if daily { "Daily loss limit is near" } else { "Total loss limit is near" },
            message: format!("{span} drawdown {drawdown} of {} %", BasisPoints(limit)),
            current_equity: Cents(self.equity),
            daily_start_equity: daily.then_some(Cents(self.day_start)),
            max_equity_ever: (!daily).then_some(Cents(self.equity_max)),
            drawdown_percentage: drawdown,
            threshold: BasisPoints(limit),
            created_at: IsoTime(now.wall_ms),
            demo,
        };
        line(Lane::Alert, "RISK_ALERT", &alert)
    }

    fn equity_line(&self, previous: i64, now: Now, demo: Stamp) -> Line {
        let state = AccountState {
            challenge_id: &self.id,
            user_id: &self.user,
            previous_equity: Cents(previous),
            current_equity: Cents(self.equity),
            max_equity_ever: Cents(self.equity_max),
            daily_start_equity: Cents(self.day_start),
            daily_max_equity: Cents(self.day_max),
            daily_min_equity: Cents(self.day_min),
            total_pnl: Cents(self.equity - START_CENTS),
            daily_pnl: Cents(self.equity - self.day_start),
            total_trades: self.trades,
            attempt: self.attempt,
            last_trade_at: IsoTime(now.wall_ms),
            updated_at: IsoTime(now.wall_ms),
            demo,
        };
        line(Lane::Update, "EQUITY_UPDATED", &state)
    }
}

/// Rings once when a loss comes near its limit, and not again before it has been clearly away from it.
#[derive(Clone, Copy, Debug)]
struct Alarm {
    armed: bool,
}

impl Alarm {
    const ARMED: Alarm = Alarm { armed: true };

    fn rings(&mut self, loss: i64, base: i64, limit: i64) -> bool {
        let (level, full) = (loss * 10_000 * 100, base * limit);
        let rings = self.armed && level >= full * WARN_PERCENT;
        self.armed = !rings && (self.armed || level < full * REARM_PERCENT);
        rings
    }
}

/// A loss equal to the limit is still allowed.
fn exceeds(loss: i64, base: i64, limit: i64) -> bool {
    loss * 10_000 > base * limit
}

/// `loss` as a share of `base` in hundredths of a percent: never negative, half to even.
fn basis_points(loss: i64, base: i64) -> i64 {
    let (numerator, base) = (loss.max(0) * 10_000, base.max(1));
    let (whole, rest) = (numerator / base, numerator % base);
    match (rest * 2).cmp(&base) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Equal => whole + whole % 2,
        std::cmp::Ordering::Greater => whole + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MET-06: two decimals of a percent, floor at zero, half to even.
    #[test]
    fn a_drawdown_is_two_decimals_of_a_percent() {
        assert_eq!(BasisPoints(basis_points(45_000, 1_000_000)).to_string(), "4.50");
        assert_eq!(basis_points(-1, 1_000_000), 0);
        assert_eq!([basis_points(50, 1_000_000), basis_points(150, 1_000_000), basis_points(151, 1_000_000)], [0, 2, 2]);
        assert_eq!(basis_points(5, 0), 50_000);
    }

    /// EVT-06: at 80 % of the limit, not just below; once; again only after less than 75 %.
    #[test]
    fn an_alarm_rings_once_for_each_crossing() {
        let mut alarm = Alarm::ARMED;
        let losses = [39_999, 40_000, 45_000, 37_500, 40_000, 37_499, 39_000, 41_000];
        let rung = losses.map(|loss| alarm.rings(loss, START_CENTS, DAILY_LIMIT));
        assert_eq!(rung, [false, true, false, false, false, false, false, true]);
    }

    #[test]
    fn a_loss_equal_to_the_limit_is_allowed() {
        assert!(!exceeds(50_000, START_CENTS, DAILY_LIMIT));
        assert!(exceeds(50_001, START_CENTS, DAILY_LIMIT));
    }
}
