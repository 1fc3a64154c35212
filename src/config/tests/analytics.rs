//! What the `[analytics]` table may say.

use super::*;
use crate::analytics::decimal::Decimal;
use crate::analytics::settings::{Method, Rules, Settings};

const FULL: &str = r#"
[analytics]
fills = ["TRADE_EXECUTED", "order.filled"]
cash_flows = ["transfer"]
marks = ["tick"]
marks_every = "100ms"
verify_every = "1m"
start_equity = "50000.50"
method = "fifo"
reset_zone = "America/New_York"
reset_at = "17:00"
periods = 365
risk_free = 0.045
daily_limit = 4
daily_base = "higher_of_both"
total_limit = "none"
target = "8%"
inactive_after = "none"
repeat = "2m"
thresholds = [{ metric = "sharpe_ratio", below = 1.0, severity = "high" }]
[analytics.accounts."challenge:big-*"]
start_equity = 200000
[analytics.accounts."challenge:big-1"]
rules = false
"#;

fn load_dir(file: &str) -> Result<Loaded, ConfigError> {
    load_with(&["--jwt-key", "/k", "--data-dir", "/d"], &[], Some(file))
}

fn analytics(file: &str) -> AnalyticsConfig {
    load_dir(file).unwrap().config.analytics.unwrap()
}

/// X36, X37, MET-07: what an account goes by is the table's, then its own, then the defaults.
#[test]
fn settings_are_the_tables_and_an_accounts_own() {
    assert_eq!(load_dir("").unwrap().config.analytics, None);
    let defaults = analytics("[analytics]\n");
    assert_eq!(*defaults.settings, Settings { rules: Some(Rules::default()), ..Settings::default() });
    assert_eq!(**defaults.settings_of("account:1"), Settings::default());
    assert!(analytics("[analytics]\nrules = true\n").settings_of("account:1").rules.is_some());
    assert_eq!(
        (defaults.fills.len(), defaults.flows[0].as_str(), defaults.marks[0].as_str()),
        (2, "account.cash_flow", "market.data.update")
    );
    assert_eq!((defaults.marks_every, defaults.verify_every), (Duration::from_secs(1), Duration::from_secs(300)));
    let full = analytics(FULL);
    let (any, big, one) = (full.settings_of("challenge:1"), full.settings_of("challenge:big-2"), full.settings_of("challenge:big-1"));
    assert_eq!((any.start_equity, any.method, any.periods), (Decimal(5_000_050_000_000), Method::Fifo, 365));
    let rules = any.rules.as_ref().unwrap();
    assert!(rules.daily.is_some() && rules.total.is_none() && rules.inactive_after_ms.is_none() && rules.repeat_ms == 120_000);
    assert_eq!((big.start_equity, big.method), (Decimal(20_000_000_000_000), Method::Fifo), "the table's, but for what is its own");
    assert!(one.rules.is_none() && big.rules.is_some());
    let again = AnalyticsConfig::from_text(&full.text()).unwrap();
    assert_eq!((&again.settings, &again.accounts, again.text()), (&full.settings, &full.accounts, full.text()));
}

/// OPS-05: what is wrong is named with its key and line.
#[test]
fn what_is_no_setting_is_named() {
    for (line, key, told) in [
        ("fills = \"x\"", "analytics.fills", "array"),
        ("fills = [\"a b\"]", "analytics.fills", "array"),
        ("marks = [\"TRADE_EXECUTED\"]", "analytics", "two things"),
        ("fills = [\"error.occurred\"]", "analytics", "other types"),
        ("method = \"lifo\"", "analytics.method", "fifo"),
        ("start_equity = \"1e99\"", "analytics.start_equity", ""),
        ("start_equity = []", "analytics.start_equity", "found array"),
        ("reset_at = \"25:00\"", "analytics.reset_at", "25:00"),
        ("reset_zone = \"Mars\"", "analytics.reset_zone", "Mars"),
        ("fills = []", "analytics.fills", "1 to 32 types"),
        ("daily_limit = 0.05", "analytics.daily_limit", ""),
        ("warn_share = 101", "analytics.warn_share", ""),
        ("thresholds = [1]", "analytics.thresholds", "array of tables"),
        ("verify_every = \"0s\"", "analytics.verify_every", ""),
        ("accounts = 1", "analytics.accounts", "table"),
    ] {
        let problem = only_problem(load_dir(&format!("[analytics]\n{line}\n")));
        assert!(problem.key == key && problem.message.contains(told), "{line}: {problem}");
    }
    let problem = only_problem(load_dir("[analytics]\nstart_equty = 1\n"));
    assert!(problem.message.contains("did you mean `start_equity`"), "{problem}");
}

/// MET-04: without a journal there is nothing to make numbers of, and with Redis every node would.
#[test]
fn numbers_need_a_data_directory_and_no_redis() {
    let problem = only_problem(load_file("[analytics]\n"));
    assert!(problem.key == "analytics" && problem.message.contains("--data-dir"), "{problem}");
    let problem = only_problem(load_with(&["--jwt-key", "/k", "--data-dir", "/d", "--redis", "redis://a"], &[], Some("[analytics]\n")));
    assert!(problem.message.contains("--redis"), "{problem}");
}

/// OPS-05: a change waits for the next start, and is named.
#[test]
fn a_change_waits_for_the_next_start() {
    let before = load_dir("[analytics]\n").unwrap();
    let path = scratch_file("# a comment moves it\n[analytics]\nplaces = 3\n");
    let mut args = args(&["--jwt-key", "/k", "--data-dir", "/d"]).unwrap();
    args.config = Some(path.clone());
    let reread = before.reread(&args, &surroundings(&[])).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(reread.loaded.config, before.config);
    assert_eq!(reread.waiting, ["analytics"]);
}

/// OPS-05: what is shown says the same.
#[test]
fn what_is_shown_can_be_read_again() {
    let loaded = load_dir(FULL).unwrap();
    let again = load_dir(&loaded.show()).unwrap();
    assert_eq!(again.config.analytics.unwrap().accounts, loaded.config.analytics.unwrap().accounts);
}
