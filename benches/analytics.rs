//! What the numbers of accounts cost: inputs per second on one core, and bytes per account.
//!
//! ```text
//! cargo bench --bench analytics
//! ```
//!
//! Times are those spent on the core. Fills of random sizes and sides in three symbols, for 100 accounts in turn, 20,000 each, under the default
//! rules, with what is to be published made and thrown away. The newest 10,000 are kept for late fills, as by default, so that half of them are
//! folded in on the way. Messages are rendered by a daemon once for each window, not for each fill: they have a figure of their own. Memory is
//! what the process grew by, for accounts of which each has taken so many fills.

use std::fs;
use std::hint::black_box;
use std::sync::Arc;

use tickerd::analytics::decimal::Decimal;
use tickerd::analytics::settings::Method;
use tickerd::analytics::{Account, Fill, Mark, Output, Rules, Settings, Subject, SubjectKind};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SYMBOLS: [&str; 3] = ["AAPL", "BTC-USD", "ESZ6"];
/// 2026-11-23, 00:00 UTC.
const BEGIN_MS: u64 = 1_795_392_000_000;

fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let scale = if is_test { 1 } else { 1000 };
    // All are kept until the last is measured, so that none takes memory that another gave back.
    let kept: Vec<Vec<Account>> = if is_test { Vec::new() } else { [3, 100, 10_000].map(memory).into() };
    drop(kept);
    println!("{:28} {:>12} {:>10}", "", "per second", "ns each");
    for method in [Method::Average, Method::Fifo] {
        let name = format!("fills, {method}");
        time(&name, 2000 * scale, |count| fills(&mut accounts(100, method, true), count));
    }
    time("fills, without rules", 2000 * scale, |count| fills(&mut accounts(100, Method::Average, false), count));
    time("prices of what is held", 2000 * scale, marks);
    time("late fills among 10,000", scale.min(500), late);
    time("equity messages", 200 * scale, |count| messages(count, false));
    time("metrics messages", 20 * scale, |count| messages(count, true));
}

/// Runs `work`, which does so many of its kind, and tells what it took. The best of three: what else runs only ever adds.
fn time(name: &str, count: u64, mut work: impl FnMut(u64) -> f64) {
    let seconds = (0..3).map(|_| work(count)).fold(f64::INFINITY, f64::min);
    println!("{name:28} {:>12.0} {:>10.0}", count as f64 / seconds, seconds * 1e9 / count as f64);
}

fn accounts(count: usize, method: Method, ruled: bool) -> Vec<Account> {
    let settings = Arc::new(Settings { method, rules: ruled.then(Rules::default), ..Settings::default() });
    let subject = |n| Subject { kind: SubjectKind::Challenge, id: format!("c{n}"), user: Some(format!("u{n}")) };
    (0..count).map(|n| Account::new(subject(n), Arc::clone(&settings), BEGIN_MS)).collect()
}

/// The n-th fill of an account, of random side and size, a tenth of a second after the one before.
fn fill(n: u64) -> Fill<'static> {
    let mut random = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    random ^= random >> 29;
    let side = if random & 1 == 0 { 1 } else { -1 };
    let quantity = Decimal(side * (1 + (random >> 8 & 7).cast_signed()) * 10_000_000);
    let price = Decimal((10_000_000_000 + (random >> 16 & 0xFFFF)).cast_signed());
    Fill { ts_ms: BEGIN_MS + n / 10, seq: n + 1, symbol: SYMBOLS[(random >> 40) as usize % 3], quantity, price, fee: Decimal(1_000_000) }
}

fn fills(accounts: &mut [Account], count: u64) -> f64 {
    let mut out: Vec<Output> = Vec::new();
    let begun = on_core_seconds();
    for n in 0..count {
        let at = n as usize % accounts.len();
        accounts[at].apply(&fill(n), &mut out).expect("each fill is sound");
        black_box(&out);
        out.clear();
    }
    on_core_seconds() - begun
}

fn marks(count: u64) -> f64 {
    let mut accounts = accounts(100, Method::Average, true);
    fills(&mut accounts, 10_000);
    let mut out: Vec<Output> = Vec::new();
    let begun = on_core_seconds();
    for n in 10_000..count + 10_000 {
        let Fill { ts_ms, seq, symbol, price, .. } = fill(n);
        let at = n as usize % accounts.len();
        accounts[at].mark(&Mark { ts_ms, seq, symbol, price }, &mut out).expect("each price is sound");
        black_box(&out);
        out.clear();
    }
    on_core_seconds() - begun
}

/// Fills that are older than all that is kept of the day, so that all of it is gone through again.
fn late(count: u64) -> f64 {
    let mut accounts = accounts(1, Method::Average, true);
    let (account, mut out) = (&mut accounts[0], Vec::new());
    for n in 0..9000 {
        account.apply(&Fill { ts_ms: BEGIN_MS + 1000 + n, ..fill(n) }, &mut out).expect("each fill is sound");
    }
    let begun = on_core_seconds();
    for n in 9000..9000 + count {
        account.apply(&Fill { ts_ms: BEGIN_MS + 500, ..fill(n) }, &mut out).expect("each late fill is sound");
        out.clear();
    }
    on_core_seconds() - begun
}

fn messages(count: u64, metrics: bool) -> f64 {
    let mut account = accounts(1, Method::Average, true).remove(0);
    let mut out = Vec::new();
    for n in 0..3000 {
        account.apply(&Fill { ts_ms: BEGIN_MS + n * 3_600_000, ..fill(n) }, &mut out).expect("each fill is sound");
    }
    let wanted = |output: &&Output| if metrics { matches!(output, Output::Metrics(_)) } else { matches!(output, Output::Equity(_)) };
    let output = *out.iter().rfind(wanted).expect("there were such");
    let begun = on_core_seconds();
    for _ in 0..count {
        black_box(account.render(&output));
    }
    on_core_seconds() - begun
}

/// What each of many accounts takes, by what the process grew by, and by the account's own estimate.
fn memory(fills_each: u64) -> Vec<Account> {
    let count = if fills_each > 1000 { 200 } else { 20_000 };
    let before = resident_bytes();
    let mut accounts = accounts(count, Method::Average, true);
    fills(&mut accounts, fills_each * count as u64);
    let grown = (resident_bytes() - before) / count;
    let estimate = accounts.iter().map(Account::memory_bytes).sum::<usize>() / count;
    println!(
        "an account of {fills_each:6} fills {grown:>12} B resident, {estimate} B by its own count, {} B dumped",
        accounts[0].dump().len()
    );
    accounts
}

/// What this thread has spent on a core so far: what else runs on the machine does not count.
fn on_core_seconds() -> f64 {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let ns: f64 = statistics.split(' ').next().and_then(|ns| ns.parse().ok()).expect("its first number is the time on a core");
    ns / 1e9
}

fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("its second number is resident pages");
    pages * 4096
}
