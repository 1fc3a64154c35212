//! Everything computed again, from the fills, cash flows and marks that are kept, and held against the numbers that are.

use std::path::Path;

use serde_json::Value;

use crate::analytics::Account;
use crate::analytics::batch::{self, Drift};
use crate::config::AnalyticsConfig;
use crate::journal::accounts::{Accounts, InputKind, KeptAccount};

use super::inputs;

/// What came of one account.
#[derive(Debug)]
pub struct Verdict {
    /// The room's name.
    pub account: String,
    /// How many inputs its numbers are made of.
    pub inputs: usize,
    /// How many came since its numbers were kept, and were not looked at.
    pub later: usize,
    /// Where the kept numbers are not those that were computed; or that they cannot be read.
    pub drifts: Vec<Drift>,
    /// All that was computed.
    pub recomputed: Value,
}

/// Verifies all accounts in that file, or one of them, one after the other; the file is read as it is at one moment. `each` says whether to go on.
pub fn verify(path: &Path, only: Option<&str>, mut each: impl FnMut(Verdict) -> bool) -> Result<(), String> {
    let told =
        |error: rusqlite::Error| format!("cannot read {}: {error}; give the --data-dir of a daemon with [analytics]", path.display());
    let store = Accounts::open_to_read(path).map_err(told)?;
    let settings = store.settings().map_err(told)?.unwrap_or_else(|| "[analytics]".to_owned());
    let config =
        AnalyticsConfig::from_text(&settings).map_err(|problem| format!("{}: its settings are no use: {problem}", path.display()))?;
    for kept in store.accounts(only).map_err(told)? {
        let verdict = judge(&store, &config, &kept).map_err(told)?;
        if !each(verdict) {
            return Ok(());
        }
    }
    for (account, inputs, _) in store.without_state(only).map_err(told)? {
        let drifts = vec![Drift { field: "state".to_owned(), kept: "nothing".to_owned(), recomputed: format!("{inputs} inputs") }];
        if !each(Verdict { account: account.into(), inputs: 0, later: 0, drifts, recomputed: Value::Null }) {
            return Ok(());
        }
    }
    Ok(())
}

fn judge(store: &Accounts, config: &AnalyticsConfig, kept: &KeptAccount) -> rusqlite::Result<Verdict> {
    let mut verdict = Verdict { account: kept.account.to_string(), inputs: 0, later: 0, drifts: Vec::new(), recomputed: Value::Null };
    let unreadable = |what: &str, found: String| vec![Drift { field: what.to_owned(), kept: found, recomputed: "-".to_owned() }];
    let settings = config.settings_of(&kept.account);
    let account = match Account::restore(settings.clone(), &kept.state) {
        Ok(account) => account,
        Err(error) => {
            verdict.drifts = unreadable("state", format!("it cannot be read: {error}"));
            return Ok(verdict);
        }
    };
    let mut inputs = store.inputs_of(&kept.account, u64::MAX >> 1)?;
    inputs.retain(|(_, input)| input.kind != InputKind::Status); // it makes no number
    let all = inputs.len();
    inputs.truncate(inputs.partition_point(|(id, _)| *id <= account.last_seq()));
    (verdict.inputs, verdict.later) = (inputs.len(), all - inputs.len());
    let inputs: Result<Vec<_>, _> = inputs.iter().map(|(id, input)| inputs::kept(*id, input).map_err(|refused| (*id, refused.0))).collect();
    let inputs = match inputs {
        Ok(inputs) => inputs,
        Err((id, why)) => {
            verdict.drifts = unreadable(&format!("input {id}"), why);
            return Ok(verdict);
        }
    };
    let recomputed = batch::recompute(settings, account.began_ms(), inputs, account.now_ms());
    verdict.drifts = batch::compare(&account, &recomputed);
    verdict.recomputed = recomputed.numbers();
    Ok(verdict)
}
