use proptest::prelude::*;

use super::*;
use crate::net::link::{Door, Waker};

struct Bench {
    audit: Audit,
    trail: Arc<Trail>,
    stats: ReactorStats,
}

impl Bench {
    fn new(slots: usize) -> Bench {
        let trail = Arc::new(Link::new(slots, Door::new(Waker::Thread(std::thread::current()))));
        Bench { audit: Audit::new(Some(Arc::clone(&trail))), trail, stats: ReactorStats::default() }
    }

    fn note(&mut self, now: Now, kind: Kind, reason: &'static str) {
        self.audit.note(now, kind, reason, &self.stats, |entry| entry);
    }

    fn taken(&self) -> Vec<Entry> {
        std::iter::from_fn(|| self.trail.pop()).collect()
    }
}

/// So many milliseconds after the beginning of a minute.
fn at(ms: u64) -> Now {
    Now { mono: Mono(1_000_000 * ms), wall_ms: 20_000_000 * MINUTE + ms }
}

fn count(entries: &[Entry], kind: Kind) -> u64 {
    entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.count).sum()
}

/// OBS-16: when the minute is over, and no sooner; a reactor that sleeps is woken for it.
#[test]
fn what_is_published_is_told_when_its_minute_is_over() {
    let mut bench = Bench::new(8);
    assert_eq!(bench.audit.next(), None);
    bench.audit.published(at(59_000), "u1", "t").settle(true);
    assert_eq!(bench.audit.next(), Some(at(60_000).mono));
    bench.audit.turn(at(59_999), &bench.stats);
    assert!(bench.taken().is_empty());
    bench.audit.turn(at(60_000), &bench.stats);
    let entries = bench.taken();
    assert_eq!((entries.len(), entries[0].kind, entries[0].count, entries[0].ts_ms), (1, Kind::Publish, 1, at(60_000).wall_ms));
    bench.audit.turn(at(120_000), &bench.stats);
    assert!(bench.taken().is_empty() && bench.audit.next().is_none(), "nothing was published since");
}

/// OBS-17: many who are refused take few entries, and each of them is counted; what else happens is told one by one.
#[test]
fn a_flood_of_refusals_is_told_by_number() {
    let mut bench = Bench::new(10_000);
    for n in 0..5_000 {
        bench.note(at(n), Kind::Refuse, if n % 2 == 0 { "bad_token" } else { "bad_origin" });
        bench.note(at(n), Kind::Join, "");
    }
    bench.audit.turn(at(60_000), &bench.stats);
    let entries = bench.taken();
    assert_eq!((count(&entries, Kind::Refuse), count(&entries, Kind::Join)), (5_000, 5_000));
    let refusals = entries.iter().filter(|entry| entry.kind == Kind::Refuse).count() as u64;
    assert!(refusals <= u64::from(AUDIT_REFUSAL_RATE.burst) + 5 + 2, "{refusals}");
    let further: Vec<_> = entries.iter().filter(|entry| entry.subject.as_deref() == Some("further")).map(|entry| entry.reason).collect();
    assert_eq!(further, ["bad_origin", "bad_token"]);
}

#[test]
fn without_a_trail_nothing_is_kept() {
    let (mut audit, stats) = (Audit::new(None), ReactorStats::default());
    for n in 0..1_000 {
        audit.note(at(n), Kind::Refuse, "bad_token", &stats, |_| unreachable!("nobody is told"));
        drop(audit.published(at(n), "u1", "t"));
    }
    assert!(audit.beyond.is_empty() && audit.published.is_empty() && audit.next().is_none());
}

proptest! {
    /// OBS-15, ERR-03: whatever is taken from the link when, each entry is told or counted, and the count is told in the end.
    #[test]
    fn no_entry_goes_untold(slots in 1usize..6, steps in prop::collection::vec((0usize..8, 0usize..8), 1..60)) {
        let mut bench = Bench::new(slots);
        let (mut noted, mut taken) = (0, Vec::new());
        for (notes, takes) in steps {
            for _ in 0..notes {
                bench.note(at(1), Kind::Connect, "");
                noted += 1;
            }
            taken.extend(std::iter::from_fn(|| bench.trail.pop()).take(takes));
        }
        for minute in [1, 2] {
            if bench.audit.lost > 0 {
                prop_assert!(bench.audit.next().is_some(), "it is told though nothing more happens, and the link is full still");
            }
            bench.audit.turn(at(60_000 * minute), &bench.stats);
            taken.extend(bench.taken());
        }
        bench.audit.turn(at(180_000), &bench.stats);
        taken.extend(bench.taken());
        prop_assert_eq!(count(&taken, Kind::Connect) + count(&taken, Kind::Lost), noted);
        prop_assert_eq!(count(&taken, Kind::Lost), bench.stats.audit_lost.value());
        prop_assert!(taken.iter().all(|entry| entry.ts_ms <= at(180_000).wall_ms));
    }
}
