//! What durability costs: events acknowledged from disk through the whole daemon, beside the bare log with the same batches, and the push with
//! and without a journal. Prints tables; `-- --test` runs each part once, small, and judges nothing;
//! `-- pipelined`, `paced` or `push` runs that part alone.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use tickerd::auth::{MintClaims, SigningKey, mint};
use tickerd::base::lane::Lane;
use tickerd::config::{self, ServeArgs, Surroundings};
use tickerd::daemon::{self, Running};
use tickerd::hub::journal::{Entry, EventEntry};
use tickerd::journal::log::Log;
use tickerd::wire::frame::Frame;
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ROOM: &str = "challenge:8f2c";
/// With its end of line.
const LINE_BYTES: usize = 300;
const ROUNDS: usize = 5;
/// Events a second, for the time that an acknowledgment takes.
const PACED: u32 = 10_000;
/// Sent at once when they are paced.
const PACE: Duration = Duration::from_millis(1);

/// How much is done: the real thing, or a look that it runs.
struct Extent {
    pipelined: usize,
    paced: Duration,
    pushes: usize,
}

fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let extent = if is_test {
        Extent { pipelined: 5_000, paced: Duration::from_millis(200), pushes: 50 }
    } else {
        Extent { pipelined: 500_000, paced: Duration::from_secs(10), pushes: 5_000 }
    };
    let with = Daemon::start("with-journal", true);
    if "pipelined".contains(&only) {
        pipelined(&with, &extent);
    }
    if "paced".contains(&only) {
        paced(&with, &extent);
    }
    if "push".contains(&only) {
        let without = Daemon::start("without-journal", false);
        push(&[&with, &without], &extent);
        without.stop();
    }
    with.stop();
}

/// As many as the daemon takes: written by one thread, their answers read by another.
fn pipelined(daemon: &Daemon, extent: &Extent) {
    println!("{} events of {LINE_BYTES} bytes, pipelined over one unix socket, each acknowledged durable:", extent.pipelined);
    for _ in 0..ROUNDS {
        let (commits, seconds) = daemon.commits();
        let begun = Instant::now();
        daemon.publish(extent.pipelined, |_| {}, |_| {});
        let whole = extent.pipelined as f64 / begun.elapsed().as_secs_f64();
        let (commits, seconds) = (daemon.commits().0 - commits, daemon.commits().1 - seconds);
        let batch = (extent.pipelined as f64 / commits.max(1.0)).ceil().max(1.0) as usize;
        let bare = bare_log(&daemon.dir, extent.pipelined, batch);
        println!(
            "    daemon {whole:>9.0}/s   bare log {bare:>9.0}/s in the same batches of {batch}   ratio {:.2}   the disk worked {:.2} of the time",
            whole / bare,
            seconds / begun.elapsed().as_secs_f64()
        );
    }
}

/// Events a second that the log takes by itself.
fn bare_log(dir: &Path, events: usize, batch: usize) -> f64 {
    let dir = dir.join("bare");
    let mut log = Log::open(&dir, 0).expect("the directory can be written to").log;
    let frame = Arc::new(Frame::reply(&vec![b'x'; LINE_BYTES]));
    let entries: Vec<Entry> = (0..events).map(|n| Entry::Event(entry(n as u64 + 1, &frame))).collect();
    let begun = Instant::now();
    for batch in entries.chunks(batch) {
        log.append(batch).expect("the disk has room");
    }
    let took = begun.elapsed();
    drop(log);
    std::fs::remove_dir_all(&dir).expect("it is ours");
    events as f64 / took.as_secs_f64()
}

/// The time from when each was to be sent to its answer.
fn paced(daemon: &Daemon, extent: &Extent) {
    let each = PACED / (1000 / PACE.as_millis() as u32);
    let count = (extent.paced.as_millis() / PACE.as_millis()) as usize * each as usize;
    let mut times = Histogram::<u64>::new(3).expect("three digits");
    let begun = Instant::now();
    let due = |n: usize| begun + PACE * (n / each as usize) as u32;
    daemon.publish(
        count,
        |n| thread::sleep(due(n).saturating_duration_since(Instant::now())),
        |n| times.record(due(n).elapsed().as_micros() as u64).expect("the histogram grows"),
    );
    let synced = sync_times(&daemon.dir, (count / 4).min(2_000), each as usize);
    println!(
        "{PACED} events/s for {:?}, {each} each {PACE:?}: from when each was to be sent to its durable answer, beside the bare log's write and sync of {each}:",
        extent.paced
    );
    println!("    daemon   {}", percentiles(&times));
    println!("    bare log {}", percentiles(&synced));
}

/// How long the log takes for so many batches of so many.
fn sync_times(dir: &Path, batches: usize, each: usize) -> Histogram<u64> {
    let dir = dir.join("bare");
    let mut log = Log::open(&dir, 0).expect("the directory can be written to").log;
    let frame = Arc::new(Frame::reply(&vec![b'x'; LINE_BYTES]));
    let mut times = Histogram::new(3).expect("three digits");
    for batch in 0..batches {
        let entries: Vec<Entry> = (0..each).map(|n| Entry::Event(entry((batch * each + n) as u64 + 1, &frame))).collect();
        let begun = Instant::now();
        log.append(&entries).expect("the disk has room");
        times.record(begun.elapsed().as_micros() as u64).expect("the histogram grows");
    }
    drop(log);
    std::fs::remove_dir_all(&dir).expect("it is ours");
    times
}

/// From a publisher's write to one member's read, in turns.
fn push(daemons: &[&Daemon; 2], extent: &Extent) {
    println!("one event to one member, {} times each in turns, a millisecond apart:", extent.pushes * ROUNDS);
    let mut members = daemons.map(Daemon::join);
    let mut publishers = daemons.map(Daemon::connect);
    let mut times = [(); 2].map(|()| Histogram::<u64>::new(3).expect("three digits"));
    let line = line();
    for n in 0..extent.pushes * ROUNDS * 2 {
        let (at, begun) = (n % 2, Instant::now());
        publishers[at].get_mut().write_all(&line).expect("the daemon reads");
        while !members[at].read().expect("the daemon pushes").to_text().is_ok_and(|text| text.contains("TRADE_EXECUTED")) {}
        times[at].record(begun.elapsed().as_nanos() as u64 / 100).expect("the histogram grows");
        read_answer(&mut publishers[at], &mut String::new());
        thread::sleep(PACE);
    }
    let mean = daemons.map(|daemon| daemon.mean_delivery() * 1e6);
    for (at, name) in ["with a journal", "without"].iter().enumerate() {
        let [p50, p99] = [0.5, 0.99].map(|quantile| times[at].value_at_quantile(quantile) as f64 / 10.0);
        println!("    {name:<15} p50 {p50:.1} us   p99 {p99:.1} us   in the daemon, mean {:.1} us", mean[at]);
    }
    let ratio = |quantile| times[0].value_at_quantile(quantile) as f64 / times[1].value_at_quantile(quantile) as f64;
    println!("    ratio           p50 {:.2}   p99 {:.2}   in the daemon, mean {:.2}", ratio(0.5), ratio(0.99), mean[0] / mean[1]);
}

fn percentiles(times: &Histogram<u64>) -> String {
    let mut text = String::new();
    for quantile in [0.5, 0.9, 0.99, 0.999] {
        write!(text, "p{} {:.2} ms   ", quantile * 100.0, times.value_at_quantile(quantile) as f64 / 1000.0).expect("text grows");
    }
    text
}

/// An event of [`LINE_BYTES`].
fn line() -> Vec<u8> {
    let mut line = format!(r#"{{"type":"TRADE_EXECUTED","room":"{ROOM}","data":{{"note":""#).into_bytes();
    line.resize(LINE_BYTES - 4, b'x');
    line.extend_from_slice(b"\"}}\n");
    line
}

fn entry(seq: u64, frame: &Arc<Frame>) -> EventEntry {
    EventEntry {
        room: ROOM.into(),
        owner: None,
        born: 1,
        epoch: 1,
        first: 1,
        lane: Lane::Update,
        history: 0,
        seq,
        ts_ms: 1,
        event_id: None,
        ack_until_ms: None,
        frame: Arc::clone(frame),
    }
}

fn read_answer(answers: &mut impl BufRead, answer: &mut String) {
    answer.clear();
    answers.read_line(answer).expect("the daemon answers");
    assert!(answer.starts_with(r#"{"ok":true"#), "{answer}");
}

/// One with one reactor, and all defaults but its places.
struct Daemon {
    running: Running,
    dir: PathBuf,
    key: SigningKey,
}

impl Daemon {
    fn start(name: &str, is_durable: bool) -> Daemon {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::remove_dir_all(&dir).ok();
        std::fs::create_dir_all(dir.join("data")).expect("the directory can be written to");
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("the system has random numbers");
        let secret: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        let key = dir.join("key");
        std::fs::write(&key, &secret).expect("the directory can be written to");
        let text = |path: PathBuf| path.to_str().expect("cargo's directories are UTF-8").to_owned();
        let mut args = ServeArgs::default();
        for (flag, value) in [
            ("listen", "127.0.0.1:0".to_owned()),
            ("admin-listen", "127.0.0.1:0".to_owned()),
            ("jwt-key", text(key)),
            ("publish-socket", text(dir.join("publish.sock"))),
            ("reactors", "1".to_owned()),
        ] {
            args.preset(flag, vec![value]);
        }
        if is_durable {
            args.preset("data-dir", vec![text(dir.join("data"))]);
        }
        let surroundings = Surroundings { cores: 1, ..Surroundings::default() };
        let loaded = config::load(&args, &surroundings).expect("the configuration is sound");
        let running = daemon::start(&loaded.config).expect("the daemon starts");
        Daemon { running, dir, key: SigningKey::read("bench", secret.as_bytes()).expect("a secret of 32 characters") }
    }

    fn stop(self) {
        self.running.stop();
        std::fs::remove_dir_all(&self.dir).ok();
    }

    fn connect(&self) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(self.dir.join("publish.sock")).expect("the daemon listens there"))
    }

    /// So many lines: `before` each millisecond's first is sent, and `after` the answer of each has come.
    fn publish(&self, count: usize, before: impl Fn(usize) + Send, mut after: impl FnMut(usize)) {
        const AT_ONCE: usize = 10;
        let mut answers = self.connect();
        let mut lines = answers.get_ref().try_clone().expect("a descriptor is free");
        thread::scope(|scope| {
            scope.spawn(move || {
                let some = line().repeat(AT_ONCE);
                for n in (0..count).step_by(AT_ONCE) {
                    before(n);
                    lines.write_all(&some).expect("the daemon reads");
                }
            });
            let mut answer = String::new();
            for n in 0..count {
                read_answer(&mut answers, &mut answer);
                assert!(answer.contains(r#""ack":"durable""#), "{answer}");
                after(n);
            }
        });
    }

    /// How many batches went to disk so far, and the seconds that they took.
    fn commits(&self) -> (f64, f64) {
        let [count, sum] = self.metrics(["tickerd_journal_commit_seconds_count", "tickerd_journal_commit_seconds_sum"]);
        (count, sum)
    }

    /// From the read that completed an event to the write of it, on average, in seconds.
    fn mean_delivery(&self) -> f64 {
        let [sum, count] =
            self.metrics([r#"tickerd_delivery_seconds_sum{lane="update""#, r#"tickerd_delivery_seconds_count{lane="update""#]);
        sum / count
    }

    /// The first value of each.
    fn metrics<const N: usize>(&self, names: [&str; N]) -> [f64; N] {
        let mut admin = TcpStream::connect(self.running.ready().admin.expect("it was asked for")).expect("the daemon listens there");
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("the daemon reads");
        let mut text = String::new();
        admin.read_to_string(&mut text).expect("the metrics are text");
        names.map(|name| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
            line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
        })
    }

    /// A member of the room, that has what there is of it.
    fn join(&self) -> tungstenite::WebSocket<TcpStream> {
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set").as_secs();
        let claims = MintClaims {
            sub: "u1".to_owned(),
            rooms: vec![ROOM.to_owned()],
            issued_at_s: now_s,
            expires_at_s: now_s + 3600,
            ..MintClaims::default()
        };
        let token = mint(&self.key, &claims).expect("the claims are sound");
        let address: SocketAddr = self.running.ready().listen[0];
        let mut request = format!("ws://{address}/v1/ws").into_client_request().expect("a sound address");
        request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().expect("a token is a header's value"));
        let stream = TcpStream::connect(address).expect("the daemon listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a sound time");
        let (mut client, _) = tungstenite::client(request, stream).expect("the daemon upgrades");
        client.send(Message::text(format!(r#"{{"type":"subscribe","room":"{ROOM}"}}"#))).expect("the daemon reads");
        while !client.read().expect("the daemon answers").to_text().is_ok_and(|text| text.contains("caught_up")) {}
        client
    }
}
