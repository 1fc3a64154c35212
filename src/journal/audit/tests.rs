use std::sync::Arc;

use super::*;
use crate::base::audit::{Answered, Kind};
use crate::base::ids::ConnId;
use crate::journal::tests::Scratch;

const DAY_MS: u64 = 24 * 3600 * 1000;

fn joined(ts_ms: u64, room: &str) -> Entry {
    let session = Some(ConnId { reactor: 1, slot: 2, generation: 3 });
    let (user, ip) = (Some(Arc::from("{\"u\n1")), "::ffff:192.0.2.1".parse().ok());
    Entry { user, ip, session, room: Some(room.into()), ..Entry::new(ts_ms, Kind::Join) }
}

fn lines(scratch: &Scratch, selection: &Selection) -> Vec<String> {
    let (pages, mut lines) = (Pages::open(&scratch.0.join("audit.db")).unwrap(), Vec::new());
    let mut take = |line: &[u8]| {
        lines.push(String::from_utf8(line.to_vec()).unwrap());
        Ok::<(), ()>(())
    };
    pages.entries(selection, &mut take).unwrap().unwrap();
    if selection.room.is_none() {
        pages.performance(selection.since_ms, &mut take).unwrap().unwrap();
    }
    lines
}

/// OBS-12, OBS-15: what goes in comes out, beside the daemon that writes; a name cannot pass for JSON.
#[test]
fn entries_and_records_are_lines_of_json() {
    let scratch = Scratch::new();
    let mut book = Book::open(&scratch.0.join("audit.db"), 0xab).unwrap();
    let answered = Some(Answered { accepted: 5, refused: 1 });
    let published = Entry { subject: Some("T".into()), reason: "further", count: 7, answered, ..Entry::new(1001, Kind::Publish) };
    let latency = Some(Latency { p50_us: 10, p99_us: 20, max_us: 50 });
    let record = Performance {
        ts_ms: 60_000,
        took_ms: 60_000,
        events: [1, 2, 3],
        latencies: [latency, None, None],
        closes: [("eof", 4), ("normal", 0)].into(),
        audit_lost: 9,
        ..Performance::default()
    };
    book.write(&[joined(1000, "a:1"), published], std::slice::from_ref(&record)).unwrap();
    let all = lines(&scratch, &Selection::default());
    let expected = [
        r#"{"ts":1000,"kind":"join","user":"{\"u\n1","ip":"192.0.2.1","session":"000000ab-1-2-3","room":"a:1","count":1}"#,
        r#"{"ts":1001,"kind":"publish","subject":"T","reason":"further","count":7,"accepted":5,"refused":1}"#,
        concat!(
            r#"{"ts":60000,"took_ms":60000,"connections":0,"rooms":0,"members":0,"events_alert":1,"events_update":2,"events_metric":3,"#,
            r#""deliveries_alert":0,"deliveries_update":0,"deliveries_metric":0,"p50_us_alert":10,"p99_us_alert":20,"max_us_alert":50,"#,
            r#""refusals":{},"closes":{"eof":4},"drops":{},"cpu_ms":0,"rss_bytes":0,"journal_bytes":0,"audit_lost":9}"#,
        ),
    ];
    assert_eq!(all, expected);
    assert_eq!(lines(&scratch, &Selection { room: Some("a:*".into()), since_ms: 0 }), expected[..1]);
    assert_eq!(lines(&scratch, &Selection { room: None, since_ms: 1001 }), expected[1..]);
    drop(book);
    assert_eq!(lines(&scratch, &Selection::default()), expected, "without a daemon too");
}

/// OBS-25: the file is bounded by age and by number, whatever is let go at a time.
#[test]
fn what_is_old_or_too_much_is_let_go() {
    let scratch = Scratch::new();
    let mut book = Book::open(&scratch.0.join("audit.db"), 0).unwrap();
    assert!(!book.forget(100 * DAY_MS, Duration::ZERO).unwrap(), "there is nothing");
    let entries: Vec<_> = (0..25_000).map(|n| joined(100 * DAY_MS + n, "r")).collect();
    let records: Vec<_> = [9, 11, 100].map(|day| Performance { ts_ms: day * DAY_MS, ..Performance::default() }).into();
    book.write(&entries, &records).unwrap();
    let left = |book: &Book| {
        let query = "SELECT count(*), coalesce(min(ts), 0), (SELECT count(*) FROM performance) FROM trail";
        book.db.query_row(query, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap().map(i64::cast_unsigned)
    };
    let age = Duration::from_secs(1);
    assert!(!book.forget(100 * DAY_MS + 1_000, age).unwrap());
    assert_eq!(left(&book), [25_000, 100 * DAY_MS, 2], "records go after 90 days");
    let now_ms = 100 * DAY_MS + 21_000;
    assert!(book.forget(now_ms, age).unwrap());
    assert_eq!(left(&book)[0], 15_000);
    assert!(!book.forget(now_ms, age).unwrap());
    assert_eq!(left(&book), [5_000, 100 * DAY_MS + 20_000, 2]);
    book.entries_kept = 7;
    assert!(!book.forget(now_ms, age).unwrap());
    assert_eq!(left(&book), [7, 100 * DAY_MS + 24_993, 2]);
    assert!(!book.forget(200 * DAY_MS, age).unwrap());
    assert_eq!(left(&book), [0, 0, 0]);
    book.write(&entries[..1], &[]).unwrap();
    assert_eq!(left(&book)[0], 1);
}
