//! The worker against a server that does wrong things on purpose: a generator that is wrong is worse than none.

mod double;
mod tls;

use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use rustix::time::{ClockId, clock_gettime};
use tickerd_loadtest::control::{Command, Faults, FlowWindow, Report};

use double::{Server, Worker, event, frame, plan};

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn unpacked(text: &str) -> Histogram<u64> {
    let bytes = STANDARD.decode(text).expect("is base64");
    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("is a histogram")
}

/// Five events of both flows to each of four rooms, but for what `change` does to those of the first flow to the second room.
fn faults_with(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Faults {
    let server = Server::start();
    let mut worker = Worker::joined(&server);
    let now = now_ns();
    let mut change = Some(change);
    for room in 0..4 {
        for flow in [0, 1] {
            let mut frames: Vec<_> = (1..=5).map(|n| event(flow, room, n, now, now)).collect();
            if (flow, room) == (0, 1) {
                change.take().expect("changes once")(&mut frames);
            }
            // In one write, cut at an odd place: frames do not keep to reads.
            let bytes: Vec<u8> = frames.iter().flat_map(|text| frame(0x81, text)).collect();
            let (begin, rest) = bytes.split_at(bytes.len() / 3 + 1);
            server.write(&format!("own:{room}"), begin);
            server.write(&format!("own:{room}"), rest);
        }
    }
    let account = worker.finish([20, 20], 300);
    assert_eq!(account.received[1], 20);
    assert_eq!((account.told_missing, account.conflated, account.transient_lost), (0, 0, 0));
    assert!(account.closes.is_empty(), "{:?}", account.closes);
    worker.end();
    account.faults
}

#[test]
fn a_clean_stream_has_no_faults() {
    assert_eq!(faults_with(|_| {}), Faults::default());
}

#[test]
fn a_dropped_frame_is_missing_and_nothing_else() {
    assert_eq!(faults_with(|frames| drop(frames.remove(2))), Faults { missing: 1, ..Faults::default() });
    assert_eq!(faults_with(|frames| drop(frames.remove(4))), Faults { missing: 1, ..Faults::default() });
}

#[test]
fn a_doubled_frame_is_a_duplicate_and_nothing_else() {
    assert_eq!(faults_with(|frames| frames.insert(2, frames[1].clone())), Faults { duplicate: 1, ..Faults::default() });
    assert_eq!(faults_with(|frames| frames.push(frames[1].clone())), Faults { duplicate: 1, ..Faults::default() });
}

#[test]
fn a_reordered_frame_is_disorder_and_nothing_else() {
    assert_eq!(faults_with(|frames| frames.swap(1, 2)), Faults { disorder: 1, ..Faults::default() });
}

#[test]
fn anothers_frame_is_misrouted_and_nothing_else() {
    assert_eq!(faults_with(|frames| frames.push(event(0, 2, 6, 1, 1))), Faults { misrouted: 1, ..Faults::default() });
    let relabelled = String::from_utf8(event(0, 2, 6, 1, 1)).expect("is text").replace("own:2", "own:1").into_bytes();
    assert_eq!(faults_with(|frames| frames.push(relabelled)), Faults { misrouted: 1, ..Faults::default() });
}

#[test]
fn a_damaged_frame_is_corrupt_and_nothing_else() {
    assert_eq!(faults_with(|frames| frames[2][150] ^= 1), Faults { corrupt: 1, ..Faults::default() });
}

/// RFC 6455 section 5.4: a message may come in frames as the server likes, with control frames between them; it is judged as a whole.
#[test]
fn a_message_in_pieces_is_verified_as_one() {
    let server = Server::start();
    let mut worker = Worker::joined(&server);
    for room in 0..4 {
        for n in 1..=5u32 {
            let event = event(0, room, n, 1, 1);
            let (first, rest) = event.split_at(n as usize * 40);
            let (second, third) = rest.split_at(n as usize - 1);
            let name = format!("own:{room}");
            let pieces = [frame(0x01, first), frame(0x89, b"between"), frame(0x00, second), frame(0x80, third)].concat();
            pieces.chunks(111).for_each(|part| server.write(&name, part));
        }
    }
    assert_eq!(server.pongs(20).len(), 20);
    let account = worker.finish([20, 0], 5_000);
    assert_eq!((account.faults, account.received[0]), (Faults::default(), 20));
    worker.end();
}

/// A damaged piece is seen as well, and pieces that make no message end the connection.
#[test]
fn pieces_are_not_taken_on_trust() {
    let server = Server::start();
    let mut worker = Worker::joined(&server);
    let mut event = event(0, 0, 1, 1, 1);
    event[150] ^= 1;
    let (first, second) = event.split_at(100);
    server.write("own:0", &[frame(0x01, first), frame(0x80, second)].concat());
    server.write("own:1", &frame(0x80, b"the end of nothing"));
    let account = worker.finish([1, 0], 300);
    assert_eq!((account.faults.corrupt, account.faults.closed), (2, 1), "{account:?}");
    worker.end();
}

#[test]
fn a_gap_that_was_told_is_no_fault() {
    let server = Server::start();
    let mut worker = Worker::joined(&server);
    server.text("own:0", &event(0, 0, 1, 1, 1));
    server.text("own:0", br#"{"type":"gap","room":"own:0","lane":"update","epoch":"e1","from":2,"to":4}"#);
    server.text("own:0", &event(0, 0, 5, 1, 1));
    // 17 events over four rooms: five to the first, four to each other.
    for room in 1..4 {
        (1..=4).for_each(|n| server.text(&format!("own:{room}"), &event(0, room, n, 1, 1)));
    }
    let account = worker.finish([17, 0], 5_000);
    assert_eq!((account.faults, account.told_missing, account.received[0]), (Faults::default(), 3, 14));
    worker.end();
}

#[test]
fn a_last_value_that_does_not_come_is_stale() {
    let server = Server::start();
    let mut worker = Worker::joined(&server);
    for (room, numbers) in [(0, &[1, 5][..]), (1, &[1, 2, 3, 4]), (2, &[5]), (3, &[2, 5])] {
        for n in numbers {
            server.text(&format!("own:{room}"), &event(1, room, *n, 1, 1));
        }
    }
    let account = worker.finish([0, 20], 300);
    assert_eq!((account.faults, account.conflated), (Faults { stale: 1, ..Faults::default() }, 10));
    worker.end();
}

#[test]
fn a_lost_connection_comes_back_with_its_position() {
    let server = Server::start();
    let mut worker = Worker::joined(&server);
    (1..=3).for_each(|n| server.text("own:2", &event(0, 2, n, 1, 1)));
    server.write("own:2", &frame(0x89, b"are you there"));
    assert_eq!(server.pongs(1), [b"are you there"]);
    server.close("own:2", 4101);
    let joins = server.joins(5);
    assert!(joins[..4].iter().all(|join| join.get("since").is_none()));
    assert_eq!(joins[4]["since"], serde_json::json!({ "epoch": "e1", "seq": { "alert": 0, "update": 3 } }));
    // Room 2 has five of 19 events.
    (4..=5).for_each(|n| server.text("own:2", &event(0, 2, n, 1, 1)));
    for room in [0, 1, 3] {
        let last = if room == 3 { 4 } else { 5 };
        (1..=last).for_each(|n| server.text(&format!("own:{room}"), &event(0, room, n, 1, 1)));
    }
    let account = worker.finish([19, 0], 5_000);
    assert_eq!(account.faults, Faults { closed: 1, ..Faults::default() });
    assert_eq!((account.closes["4101"], account.recovered, account.not_recovered, account.pongs), (1, 1, 0, 1));
    assert_eq!(unpacked(&account.reconnect_us).len(), 1);
    worker.end();
}

#[test]
fn a_storm_resets_and_brings_back() {
    let server = Server::start();
    let mut worker = Worker::joined(&server);
    worker.say(&Command::Storm { share: 0.5, reconnect_rate: 100 });
    let joins = server.joins(6);
    let mut back: Vec<_> = joins[4..].iter().map(|join| join["room"].as_str().expect("is text")).collect();
    back.sort_unstable();
    assert_eq!(back, ["own:0", "own:2"]);
    let account = worker.finish([0, 0], 5_000);
    assert_eq!((account.faults, account.recovered), (Faults::default(), 2));
    assert!(account.closes.is_empty());
    worker.end();
}

/// Coordinated omission: while the server stands still, events fall due, and each of them is charged for its wait.
#[test]
fn a_stall_of_200_ms_is_200_ms_at_the_right_percentiles() {
    const EVENTS: u64 = 1000;
    const STALL: Duration = Duration::from_millis(200);
    let server = Server::start();
    let mut worker = Worker::joined(&server);
    worker.say(&Command::Window { id: 3, from_ns: 0 });
    // Commands are done in order: once this is answered, the window is open.
    worker.say(&Command::Collect { id: 2 });
    worker.until(|report| matches!(report, Report::Window { id: 2, .. }).then_some(()));
    let (queue, queued) = channel::<(u32, u64, u64)>();
    let relay = server.clone();
    let stalled = thread::spawn(move || {
        let mut stall = (0, 0);
        for (n, intended_ns, sent_ns) in queued {
            if n == 500 {
                let began_ns = now_ns();
                thread::sleep(STALL);
                stall = (began_ns, now_ns());
            }
            relay.text("own:0", &event(0, 0, n, intended_ns, sent_ns));
        }
        stall
    });
    // A schedule of 1,000 events per second that waits for nobody.
    let (start, start_ns, mut all) = (Instant::now(), now_ns(), Vec::new());
    for i in 0..EVENTS {
        let due = Duration::from_millis(i);
        thread::sleep(due.saturating_sub(start.elapsed()));
        let intended_ns = start_ns + due.as_nanos() as u64;
        all.push(intended_ns);
        queue.send((i as u32 + 1, intended_ns, now_ns())).expect("the server lives");
    }
    drop(queue);
    let (from_ns, to_ns) = stalled.join().expect("the server does not panic");
    // The other rooms' shares of the flow went nowhere; only the window counts here.
    worker.finish([0, 0], 500);
    worker.say(&Command::Collect { id: 3 });
    let window = worker.until(|report| match report {
        Report::Window { id: 3, flows } => Some(flows),
        _ => None,
    });
    check_stall(&window[0], &all, from_ns, to_ns);
    worker.end();
}

fn check_stall(window: &FlowWindow, intended: &[u64], from_ns: u64, to_ns: u64) {
    assert_eq!(window.received, intended.len() as u64);
    let latency = unpacked(&window.latency);
    assert_eq!(latency.len(), intended.len() as u64);
    assert!(latency.max() >= 200_000_000 * 999 / 1000, "max is {}", latency.max());
    for over_ms in [20u64, 50, 100, 150, 180] {
        let over_ns = over_ms * 1_000_000;
        let above = latency.count_between(over_ns, u64::MAX);
        // All that fell due in the stall that long before its end; what was due before it can only add.
        let sure = intended.iter().filter(|at| **at >= from_ns && **at + over_ns * 1001 / 1000 <= to_ns).count() as u64;
        assert!(above >= sure, "{above} events over {over_ms} ms, but {sure} waited that long");
        assert!(sure + 1 >= 200 - over_ms, "the schedule had {sure} events in that part of the stall");
        // A busy machine adds its own delays; they are far shorter than a second stall would be.
        assert!(above <= sure + 100, "{above} events over {over_ms} ms, but only {sure} waited that long");
    }
}

#[test]
fn what_fails_is_told_by_its_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("is bound");
    drop(listener);
    let mut worker = Worker::start(&plan(address));
    worker.say(&Command::Connect);
    let failed = worker.until(|report| match report {
        Report::Connecting { joined: 0, done: true, failed, .. } => Some(failed),
        _ => None,
    });
    assert_eq!(failed.values().sum::<u32>(), 4);
    assert!(failed.keys().all(|why| why.starts_with("connect: Connection refused")), "{failed:?}");
    assert_eq!(worker.end(), ExitCode::SUCCESS);
}

#[test]
fn a_bad_plan_is_refused_with_its_reason() {
    let mut bad = plan("127.0.0.1:1".parse().expect("is an address"));
    bad.target.url = "http://x/".into();
    let mut worker = Worker::start(&bad);
    let why = worker.until(|report| match report {
        Report::Failed { message } => Some(message),
        _ => None,
    });
    assert!(why.contains("does not begin with ws://"), "{why}");
    assert_eq!(worker.end(), ExitCode::from(2));
}

#[test]
fn the_token_is_sent_and_seconds_are_told() {
    let server = Server::start();
    let key = std::env::temp_dir().join(format!("tickerd-loadtest-key-{}", std::process::id()));
    std::fs::write(&key, "a secret of at least 32 bytes, really").expect("the directory is writable");
    let mut plan = plan(server.address);
    plan.target.key = Some(key.clone());
    let mut worker = Worker::start(&plan);
    worker.say(&Command::Connect);
    server.joins(4);
    server.text("own:0", &event(0, 0, 1, now_ns(), now_ns()));
    let second = worker.until(|report| match report {
        Report::Second(second) if second.flows[0].received == 1 => Some(second),
        _ => None,
    });
    assert_eq!((second.joined, second.flows.len(), unpacked(&second.flows[0].latency).len()), (4, 2, 1));
    assert!(second.bytes > 300 && second.cpu_s > 0.0);
    assert!(server.heads().iter().all(|head| head.contains("\r\nAuthorization: Bearer ey")));
    std::fs::remove_file(key).expect("it was written");
    worker.end();
}
