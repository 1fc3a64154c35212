//! The figures of an account, as `metrics.update` publishes them.
//!
//! Win rate, profit factor, payoff and expectancy: Pardo, The Evaluation and Optimization of Trading Strategies, 2nd ed. (2008). Of
//! closed trades, net of fees; those that came out even are counted apart and are no part of the win rate.

use super::decimal::Money;
use super::ledger::Ledger;
use super::returns::{finite, period_rate, value_at_risk};
use super::settings::{Metric, Settings};

/// All figures. What is undefined is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// What the account is worth.
    pub equity: Money,
    /// The same with open positions at cost.
    pub balance: Money,
    /// Of what was closed, before fees.
    pub realized: Money,
    /// Of what is open.
    pub unrealized: Money,
    /// Paid so far.
    pub fees: Money,
    /// Realized and unrealized less fees.
    pub pnl: Money,
    /// Closed trades that gained.
    pub wins: u64,
    /// Closed trades that lost.
    pub losses: u64,
    /// Closed trades that came out even.
    pub breakeven: u64,
    /// What the winning ones gained.
    pub gross_win: Money,
    /// What the losing ones lost.
    pub gross_loss: Money,
    /// The mean result of a closed trade.
    pub expectancy: Option<Money>,
    /// Wins of the decided trades.
    pub win_rate: Option<f64>,
    /// What was gained over what was lost.
    pub profit_factor: Option<f64>,
    /// The mean gain over the mean loss.
    pub payoff: Option<f64>,
    /// The largest drawdown from a peak, looked at after every input.
    pub drawdown_max: f64,
    /// The same, looked at when days end.
    pub close_drawdown_max: f64,
    /// Sharpe's ratio of a year.
    pub sharpe: Option<f64>,
    /// Sortino's ratio of a year.
    pub sortino: Option<f64>,
    /// The day's loss, as a fraction, that 95 of 100 do not exceed.
    pub var_95: Option<f64>,
    /// The mean of those beyond it.
    pub cvar_95: Option<f64>,
    /// Daily returns so far.
    pub returns: u64,
}

impl Figures {
    pub(super) fn of(ledger: &Ledger, recent: impl Iterator<Item = f64>, settings: &Settings) -> Figures {
        let trades = ledger.trades;
        let (wins, losses) = (trades.wins as f64, trades.losses as f64);
        let rate = period_rate(settings.risk_free, settings.periods);
        let risk = value_at_risk(recent);
        Figures {
            equity: ledger.equity(settings),
            balance: ledger.balance(settings),
            realized: ledger.realized,
            unrealized: ledger.unrealized,
            fees: ledger.fees,
            pnl: ledger.pnl(),
            wins: trades.wins,
            losses: trades.losses,
            breakeven: trades.breakeven,
            gross_win: trades.gross_win,
            gross_loss: trades.gross_loss,
            expectancy: mean(trades.gross_win - trades.gross_loss, trades.wins + trades.losses + trades.breakeven),
            win_rate: finite(wins / (wins + losses)),
            profit_factor: finite(trades.gross_win.float() / trades.gross_loss.float()),
            payoff: finite((trades.gross_win.float() / wins) / (trades.gross_loss.float() / losses)),
            drawdown_max: ledger.drawdown_max,
            close_drawdown_max: ledger.close_drawdown_max,
            sharpe: ledger.returns.sharpe(settings.periods, rate, settings.samples_min),
            sortino: ledger.returns.sortino(settings.periods, rate, settings.samples_min),
            var_95: risk.and_then(|(var, _)| finite(var)),
            cvar_95: risk.and_then(|(_, shortfall)| finite(shortfall)),
            returns: ledger.returns.n,
        }
    }

    /// The one that a threshold may be set on.
    pub(super) fn value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::WinRate => self.win_rate,
            Metric::ProfitFactor => self.profit_factor,
            Metric::Payoff => self.payoff,
            Metric::Sharpe => self.sharpe,
            Metric::Sortino => self.sortino,
            Metric::MaxDrawdown => Some(self.drawdown_max),
            Metric::Var95 => self.var_95,
            Metric::Cvar95 => self.cvar_95,
        }
    }
}

/// The sum over the count, half to even.
fn mean(sum: Money, count: u64) -> Option<Money> {
    let count = i64::try_from(count).ok().filter(|count| *count > 0)?;
    Some(sum.share(1, count))
}
