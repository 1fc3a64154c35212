//! The rules an account is under: what it may lose, what it is to gain, and when somebody is warned.
//!
//! A limit is exceeded by a loss beyond it; a loss equal to it is allowed. A target is reached by a gain equal to it. The rules are judged in
//! this order: the day's loss, the loss altogether, the target. An alert is raised at a share of a limit (80 % unless set), equality included;
//! the next one of its kind only after the loss was below a lower share (75 %), and not before a time has passed (60 s).

use std::cmp::Ordering;

use super::decimal::{Money, Percent, compare_share};
use super::figures::Figures;
use super::ledger::{LastTrade, Ledger};
use super::output::{About, Cause, Near, Output, Reason, RiskAlert, Status, StatusChange};
use super::settings::{Amount, DailyBase, Limit, Rules, Settings, Severity, TotalBase};

/// Where an account stands under its rules, and which alerts were raised.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judge {
    pub(super) status: Status,
    pub(super) daily: Alarm,
    pub(super) total: Alarm,
    /// The trade since which it was told that nothing is traded.
    pub(super) idle_since: Option<u64>,
    /// By the number of the threshold.
    pub(super) thresholds: Vec<Alarm>,
}

/// Rings once when a level is reached, and again only after it was clearly left, and not too soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Alarm {
    pub(super) has_rung: bool,
    pub(super) rung_ms: Option<u64>,
}

impl Alarm {
    fn rings(&mut self, is_reached: bool, is_left: bool, now_ms: u64, repeat_ms: u64) -> bool {
        if is_left {
            self.has_rung = false;
        }
        let is_too_soon = self.rung_ms.is_some_and(|rung_ms| now_ms.saturating_sub(rung_ms) < repeat_ms);
        if self.has_rung || !is_reached || is_too_soon {
            return false;
        }
        *self = Alarm { has_rung: true, rung_ms: Some(now_ms) };
        true
    }
}

/// How an account ends, and why.
pub(super) type Verdict = (Status, Reason);

/// What an account's numbers are, when its rules are asked.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) settings: &'a Settings,
    pub(super) rules: &'a Rules,
    pub(super) ledger: &'a Ledger,
    pub(super) now_ms: u64,
    pub(super) cause: Cause,
}

impl Case<'_> {
    fn equity(&self) -> Money {
        self.ledger.equity(self.settings)
    }

    /// What was put in: a deposit is no gain, and a withdrawal no loss.
    fn invested(&self) -> Money {
        self.settings.start_equity.money() + self.ledger.flows
    }

    fn daily_loss(&self, limit: Limit<DailyBase>) -> Near {
        let day = &self.ledger.day;
        let base = match limit.base {
            DailyBase::StartEquity => day.start,
            DailyBase::StartBalance => day.start_balance,
            DailyBase::HigherOfBoth => day.start.max(day.start_balance),
            DailyBase::DayPeak => day.max,
        };
        self.loss(base, limit.percent, limit.amount, day.start)
    }

    fn total_loss(&self, limit: Limit<TotalBase>) -> Near {
        let base = match limit.base {
            TotalBase::Peak => self.ledger.peak,
            TotalBase::Initial => self.invested(),
            TotalBase::PeakThatLocks => self.ledger.peak.min(lock(self.invested(), limit)),
            TotalBase::ClosePeak => self.ledger.close_peak,
        };
        self.loss(base, limit.percent, limit.amount, self.ledger.peak)
    }

    fn loss(&self, base: Money, limit: Percent, amount: Amount, from: Money) -> Near {
        let of = match amount {
            Amount::OfBase => base,
            Amount::OfInitial => self.invested(),
        };
        Near { loss: (base - self.equity()).max(Money::ZERO), of, limit, from }
    }

    /// How the account ends by what it has come to, if it does.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let exceeds = |near: Near| compare_share(near.loss, near.of, near.limit, 100) == Ordering::Greater;
        if self.rules.daily.is_some_and(|limit| exceeds(self.daily_loss(limit))) {
            return Some((Status::Failed, Reason::MaxDailyDrawdown));
        }
        if self.rules.total.is_some_and(|limit| exceeds(self.total_loss(limit))) {
            return Some((Status::Failed, Reason::MaxTotalDrawdown));
        }
        let gain = self.equity() - self.invested();
        let reaches = |target| compare_share(gain, self.settings.start_equity.money(), target, 100) != Ordering::Less;
        self.rules.target.is_some_and(reaches).then_some((Status::Funded, Reason::ProfitTarget))
    }

    fn alert(&self, severity: Severity, about: About, cause: Cause) -> Output {
        Output::Alert(RiskAlert { ts_ms: self.now_ms, equity: self.equity(), severity, about, cause })
    }
}

/// The base at which the lowest allowed equity is what was put in.
fn lock(invested: Money, limit: Limit<TotalBase>) -> Money {
    let (percent, hundred) = (i64::from(limit.percent.0), i64::from(Percent::HUNDRED.0));
    match limit.amount {
        Amount::OfInitial => invested + invested.percent(limit.percent),
        Amount::OfBase if percent == hundred => super::decimal::MONEY_MAX,
        Amount::OfBase => invested.share(hundred, hundred - percent),
    }
}

impl Judge {
    pub(super) fn new(rules: Option<&Rules>) -> Judge {
        let mut judge =
            Judge { status: Status::Pending, daily: Alarm::default(), total: Alarm::default(), idle_since: None, thresholds: Vec::new() };
        judge.follow(rules);
        judge
    }

    /// Other rules hold from now on.
    pub(super) fn follow(&mut self, rules: Option<&Rules>) {
        self.thresholds.resize(rules.map_or(0, |rules| rules.thresholds.len()), Alarm::default());
    }

    /// A trade was made.
    pub(super) fn start(&mut self, ts_ms: u64, out: &mut Vec<Output>) {
        if self.status == Status::Pending {
            self.change(Status::Active, Reason::FirstTrade, ts_ms, out);
        }
    }

    /// Ends the account by that verdict, unless it has ended already.
    pub(super) fn end(&mut self, verdict: Option<Verdict>, ts_ms: u64, out: &mut Vec<Output>) {
        if let Some((status, reason)) = verdict.filter(|_| self.status == Status::Active) {
            self.change(status, reason, ts_ms, out);
        }
    }

    fn change(&mut self, new: Status, reason: Reason, ts_ms: u64, out: &mut Vec<Output>) {
        let old = std::mem::replace(&mut self.status, new);
        out.push(Output::Status(StatusChange { ts_ms, old, new, reason }));
    }

    /// Warns of limits that are near, as long as the account is active.
    pub(super) fn warn(&mut self, case: &Case<'_>, out: &mut Vec<Output>) {
        if self.status != Status::Active {
            return;
        }
        if let Some(near) = case.rules.daily.map(|limit| case.daily_loss(limit))
            && rings(&mut self.daily, &near, case)
        {
            out.push(case.alert(Severity::Medium, About::Daily(near), case.cause));
        }
        if let Some(near) = case.rules.total.map(|limit| case.total_loss(limit))
            && rings(&mut self.total, &near, case)
        {
            out.push(case.alert(Severity::High, About::Total(near), case.cause));
        }
    }

    /// Takes over a status that was published; whether it is another one. What was published goes before what was worked out.
    pub(super) fn settle(&mut self, status: Status) -> bool {
        let rank = |status| match status {
            Status::Pending => 0,
            Status::Active => 1,
            Status::Failed | Status::Funded => 2,
        };
        let is_news = status != self.status && rank(status) >= rank(self.status);
        if is_news {
            self.status = status;
        }
        is_news
    }

    /// Whether nothing was traded since that trade for so long that it is told.
    pub(super) fn is_idle_since(trade: &LastTrade, now_ms: u64, settings: &Settings) -> bool {
        let after_ms = settings.rules.as_ref().and_then(|rules| rules.inactive_after_ms);
        after_ms.is_some_and(|after_ms| now_ms.saturating_sub(trade.at_ms) >= after_ms)
    }

    /// Tells, once for each such time, that nothing was traded.
    pub(super) fn note_idleness(&mut self, case: &Case<'_>, out: &mut Vec<Output>) {
        let (Some(after_ms), Some(trade)) = (case.rules.inactive_after_ms, case.ledger.last_trade) else { return };
        let is_idle = Judge::is_idle_since(&trade, case.now_ms, case.settings);
        if self.status == Status::Active && is_idle && self.idle_since != Some(trade.seq) {
            self.idle_since = Some(trade.seq);
            let about = About::Inactive { last_trade_ms: trade.at_ms, after_ms };
            out.push(case.alert(Severity::Medium, about, Cause::Now));
        }
    }

    /// Alerts of figures beyond their thresholds; one that there is not is not looked at.
    pub(super) fn watch(&mut self, case: &Case<'_>, figures: impl FnOnce() -> Figures, out: &mut Vec<Output>) {
        if case.rules.thresholds.is_empty() {
            return;
        }
        let figures = figures();
        for (threshold, alarm) in case.rules.thresholds.iter().zip(&mut self.thresholds) {
            let Some(value) = figures.value(threshold.metric) else { continue };
            let is_beyond = if threshold.above { value > threshold.value } else { value < threshold.value };
            if alarm.rings(is_beyond, !is_beyond, case.now_ms, case.rules.repeat_ms) {
                let about = About::Figure { metric: threshold.metric, value, threshold: threshold.value };
                out.push(case.alert(threshold.severity, about, case.cause));
            }
        }
    }
}

fn rings(alarm: &mut Alarm, near: &Near, case: &Case<'_>) -> bool {
    let share = |share| compare_share(near.loss, near.of, near.limit, share);
    let (is_reached, is_left) = (share(case.rules.warn_share) != Ordering::Less, share(case.rules.rearm_share) == Ordering::Less);
    // Of nothing everything would be near: an account without a base is judged, not warned.
    near.of.0 > 0 && alarm.rings(is_reached, is_left, case.now_ms, case.rules.repeat_ms)
}
