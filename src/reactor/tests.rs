//! A reactor at work: real sockets on loopback, the real hub, one thread each.

mod churn;
mod overload;
mod storm;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::registry::{Registry, RegistryLimits};
use super::session::tests::{options, token, verifier};
use super::stats::ReactorStats;
use super::*;
use crate::auth::Scope;
use crate::base::lane::Lane;
use crate::base::memory::Memory;
use crate::hub::catalog::Catalog;
use crate::hub::ports::{Input, NeedSeq, Outlet};
use crate::hub::sequencer::LocalSequencer;
use crate::hub::{Hub, HubOptions};
use crate::net::clock::Clock;
use crate::net::link::Waker;
use crate::net::listener::{Listener, bind_tcp};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

struct House {
    addr: SocketAddr,
    socket: std::path::PathBuf,
    control: Arc<Link<Control>>,
    stats: Arc<ReactorStats>,
    reactor: Option<JoinHandle<io::Result<()>>>,
    hub: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl House {
    fn open(name: &str, options: ReactorOptions) -> House {
        let listener = bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = std::env::temp_dir().join(format!("tickerd-reactor-{}-{name}.sock", std::process::id()));
        let unix = UnixListener::bind(&socket).unwrap();
        unix.set_nonblocking(true).unwrap();
        let (poll, waker) = ReactorPoll::new().unwrap();
        let door = Door::new(Waker::Poll(waker));
        let (inbox, control) = (Arc::new(Link::new(65_536, Arc::clone(&door))), Arc::new(Link::new(8, Arc::clone(&door))));
        let (stop, stats) = (Arc::new(AtomicBool::new(false)), Arc::new(ReactorStats::default()));
        let clock = Clock::start();
        let (hub, urgent, bulk) = hub(clock, Arc::clone(&inbox), Arc::clone(&stop));
        let parts = ReactorParts {
            audit: None,
            index: 0,
            clock,
            catalog: Arc::new(Catalog::with(Vec::new()).unwrap()),
            verifier: verifier(),
            revocations: Arc::default(),
            tls: None,
            registry: Arc::new(Registry::new(RegistryLimits { connections_max: 3, per_user_max: 2, per_ip_max: None, handshakes: None })),
            ready_sign: Arc::default(),
            poll,
            tickets: None,
            ticket_words: Arc::new(Link::new(1, Arc::clone(&door))),
            words: Arc::new(Link::new(8, Arc::clone(&door))),
            door,
            inbox,
            control: Arc::clone(&control),
            authorizer: None,
            admin: Arc::default(),
            memory: Arc::new(Memory::new(0, 1)),
            urgent,
            bulk,
            stats: Arc::clone(&stats),
            listeners: vec![listener, Listener::from_unix(unix)],
        };
        let reactor = Reactor::new(options, parts).unwrap();
        let reactor = std::thread::spawn(move || reactor.run());
        House { addr, socket, control, stats, reactor: Some(reactor), hub: Some(hub), stop }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// One request, one answer: status and body.
    fn request(&self, text: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer[9..12].parse().unwrap(), answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn publish(&self, body: &str) -> (u16, String) {
        let token = token("backend", &[], &[Scope::Publish], expires_s());
        self.request(&format!(
            "POST /v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn client(&self, user: &str, rooms: &[&str]) -> Client {
        let mut client = Client { stream: self.connect(), rest: Vec::new() };
        client.upgrade(&format!("Authorization: Bearer {}\r\n", token(user, rooms, &[], expires_s())));
        assert!(client.text().contains(r#""type":"welcome""#));
        client
    }

    fn closes(&self, reason: &str) -> u64 {
        self.stats.closes().find(|(name, _)| *name == reason).unwrap().1
    }

    fn wait_until(&self, what: &str, mut is_so: impl FnMut(&House) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            std::thread::yield_now();
        }
    }

    fn drain(&mut self) {
        self.control.push(Control::Drain { within: PATIENCE }).unwrap();
        self.control.ring();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.drain();
            self.reactor.take().unwrap().join().unwrap().unwrap();
            self.stop.store(true, Ordering::Relaxed);
            self.hub.take().unwrap().join().unwrap();
        }
        std::fs::remove_file(&self.socket).unwrap();
    }
}

/// The hub on a thread of its own, as plain as can be.
fn hub(clock: Clock, inbox: Arc<Link<Output>>, stop: Arc<AtomicBool>) -> (JoinHandle<()>, Arc<Link<Input>>, Arc<Link<Input>>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let door = Door::new(Waker::Thread(std::thread::current()));
        let (urgent, bulk) = (Arc::new(Link::new(1024, Arc::clone(&door))), Arc::new(Link::new(1024, door)));
        sender.send((Arc::clone(&urgent), Arc::clone(&bulk))).unwrap();
        let mut hub = Hub::new(HubOptions {
            reactors: 1,
            update_window: Duration::from_millis(1),
            metric_gather: Duration::from_millis(1),
            metric_flush: Duration::from_millis(1),
            history_events: 16,
            history_bytes: 1 << 20,
            state_bytes: 1 << 20,
            history_age: Duration::from_secs(60),
            unacknowledged_user_bytes: 1 << 20,
            unacknowledged_bytes: 1 << 20,
            rooms_max: 100,
            keys_per_room_max: 100,
            replay_at_once_bytes: usize::MAX,
            replay_part_bytes: 1 << 16,
            epoch_seed: 1,
            escalation: None,
            local_rooms: Vec::new(),
        });
        let (mut out, mut sequencer) = (Out { inbox, needs: Vec::new() }, LocalSequencer::default());
        while !stop.load(Ordering::Relaxed) {
            while let Some(input) = urgent.pop().or_else(|| bulk.pop()) {
                hub.apply(clock.now(), input, &mut out);
                for need in std::mem::take(&mut out.needs) {
                    hub.apply(clock.now(), Input::Sequenced(sequencer.assign(need)), &mut out);
                }
            }
            hub.tick(clock.now(), &mut out);
            out.inbox.ring();
            std::thread::park_timeout(Duration::from_millis(1));
        }
    });
    let (urgent, bulk) = receiver.recv().unwrap();
    (thread, urgent, bulk)
}

struct Out {
    inbox: Arc<Link<Output>>,
    needs: Vec<NeedSeq>,
}

impl Outlet for Out {
    fn has_room(&self, _reactor: usize, _lane: Lane) -> bool {
        self.inbox.free() > 20_000
    }

    fn push(&mut self, _reactor: usize, output: Output) {
        assert!(self.inbox.push(output).is_ok());
    }

    fn need_seq(&mut self, need: NeedSeq) {
        self.needs.push(need);
    }
}

/// A WebSocket client that knows just enough.
struct Client {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Client {
    fn upgrade(&mut self, headers: &str) {
        let head = "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
        self.stream.write_all(format!("{head}{headers}\r\n").as_bytes()).unwrap();
        let end = loop {
            match self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.read(),
            }
        };
        assert!(self.rest.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&self.rest));
        self.rest.drain(..end);
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let n = self.stream.read(&mut buffer).unwrap();
        assert!(n > 0, "the server closed; unread: {}", String::from_utf8_lossy(&self.rest));
        self.rest.extend_from_slice(&buffer[..n]);
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let [first, len, tail @ ..] = &self.rest[..] {
                let (len, skip) = match (*len, tail) {
                    (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
                    (126, _) => (usize::MAX, 4),
                    (len, _) => (usize::from(len), 2),
                };
                if len < usize::MAX && self.rest.len() >= skip + len {
                    let frame = (*first & 15, self.rest[skip..skip + len].to_vec());
                    self.rest.drain(..skip + len);
                    return frame;
                }
            }
            self.read();
        }
    }

    /// The next frame that is no ping; those are answered.
    fn message(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.frame() {
                (9, body) => self.send(10, &body),
                message => return message,
            }
        }
    }

    fn text(&mut self) -> String {
        let (opcode, body) = self.message();
        assert_eq!(opcode, 1, "{body:?}");
        String::from_utf8(body).unwrap()
    }

    fn close_code(&mut self) -> u16 {
        let (opcode, body) = self.message();
        assert_eq!(opcode, 8, "{}", String::from_utf8_lossy(&body));
        u16::from_be_bytes([body[0], body[1]])
    }

    fn send(&mut self, opcode: u8, body: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match body.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 0x7e);
                frame.extend_from_slice(&(len as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).unwrap();
    }

    fn say(&mut self, text: &str) {
        self.send(1, text.as_bytes());
    }
}

fn expires_s() -> u64 {
    Clock::start().now().wall_ms / 1000 + 600
}

const ALERT: &str = r#"{"type":"RISK_ALERT","id":1,"data":{"challenge_id":"8f","user_id":"u1","level":"high"}}"#;

#[test]
fn an_event_goes_from_a_publisher_to_the_members_of_its_room_alone() {
    let house = House::open("event", options());
    let mut member = house.client("u1", &["challenge:*"]);
    let mut stranger = house.client("u2", &[]);
    member.say(r#"{"type":"subscribe","id":1,"room":"challenge:8f"}"#);
    assert!(member.text().contains(r#""type":"subscribed","id":1"#));
    assert!(member.text().contains("caught_up"));
    stranger.say(r#"{"type":"subscribe","id":2,"room":"challenge:8f"}"#);
    assert!(stranger.text().contains("access_denied"));
    let (status, answer) = house.publish(ALERT);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains(r#""ok":true,"id":1,"result":"accepted""#) && answer.contains(r#""members":1"#), "{answer}");
    let event = member.text();
    assert!(event.ends_with(r#""data":{"challenge_id":"8f","user_id":"u1","level":"high"}}"#), "{event}");
    member.say(r#"{"type":"unsubscribe","id":3,"room":"challenge:8f"}"#);
    assert_eq!(member.text(), r#"{"type":"ok","id":3}"#);
    house.publish(ALERT);
    for client in [&mut member, &mut stranger] {
        client.say(r#"{"type":"ping","id":4}"#);
        assert_eq!(client.text(), r#"{"type":"ok","id":4}"#, "nothing came before it");
    }
    assert_eq!(house.stats.delivery[0].snapshot().buckets.iter().sum::<u64>(), 1);
    member.send(9, b"hello");
    assert_eq!(member.frame(), (10, b"hello".to_vec()));
    member.send(8, &1000u16.to_be_bytes());
    assert_eq!(member.close_code(), 1000);
    house.wait_until("the close is counted", |house| house.closes("normal") == 1);
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let house = House::open("http", options());
    let token = token("backend", &[], &[Scope::Publish], expires_s());
    let publish = |body: &str, extra: &str| {
        format!(
            "POST /v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let pretty = "{\n \"type\": \"RISK_ALERT\",\r\n \"data\": {\"challenge_id\": \"8f\"}\n}";
    let pipelined = [
        publish(&format!("{ALERT}\n\n{ALERT}"), ""),
        "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        publish(pretty, "Content-Type: application/json\r\n"),
        publish("no json", "Connection: close\r\n"),
    ];
    let mut stream = house.connect();
    stream.write_all(pipelined.concat().as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let statuses: Vec<_> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "404", "200", "400"], "{answers}");
    assert_eq!(answers.matches(r#""result":"accepted""#).count(), 3);
    let mut half_closed = house.connect();
    half_closed.write_all([publish(ALERT, ""), publish(ALERT, ""), publish(ALERT, "")].concat().as_bytes()).unwrap();
    half_closed.shutdown(std::net::Shutdown::Write).unwrap();
    answers.clear();
    half_closed.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("200 OK").count(), 3, "who sends no more still gets its answers: {answers}");
    assert_eq!(house.request("GET /v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").0, 405);
    assert_eq!(house.request("GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").0, 426);
    assert_eq!(house.request("POST /v1/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1").0, 401);
    assert_eq!(house.request("nonsense\r\n\r\n").0, 400);
    let mut waiting = house.connect();
    let (head, body) = (publish(ALERT, "Expect: 100-continue\r\nConnection: close\r\n").replace(ALERT, ""), ALERT);
    waiting.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(waiting.try_clone().unwrap());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    waiting.write_all(body.as_bytes()).unwrap();
    line.clear();
    reader.read_to_string(&mut line).unwrap();
    assert!(line.contains("HTTP/1.1 200 OK") && line.contains("accepted"), "{line}");
}

#[test]
fn lines_on_the_unix_socket_are_answered_in_order_to_the_last() {
    let house = House::open("lines", options());
    let mut stream = UnixStream::connect(&house.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    let lines = 10_000;
    let writer = std::thread::spawn(move || {
        for id in 0..lines {
            writeln!(stream, r#"{{"type":"note","id":{id},"room":"user:u1","lane":"metric","data":{{}}}}"#).unwrap();
        }
        write!(stream, "{}", "x".repeat(100_000)).unwrap();
        write!(stream, "\n{ALERT}").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let answers: Vec<_> = reader.lines().map(Result::unwrap).collect();
    writer.join().unwrap();
    assert_eq!(answers.len(), lines + 2);
    for (id, answer) in answers[..lines].iter().enumerate() {
        assert!(answer.contains(&format!(r#""id":{id},"#)), "{answer}");
    }
    assert!(answers[lines].contains("too_large") && answers[lines + 1].contains(r#""id":1,"#), "{:?}", &answers[lines..]);
}

/// Refusals use up the credit window without the hub.
#[test]
fn a_flood_of_nonsense_is_refused_line_by_line_to_the_last() {
    let house = House::open("nonsense", options());
    let mut stream = UnixStream::connect(&house.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    let lines = 30_000;
    let writer = std::thread::spawn(move || {
        stream.write_all("x\n".repeat(lines).as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let refused = reader.lines().map(Result::unwrap).filter(|answer| answer.contains("bad_json")).count();
    writer.join().unwrap();
    assert_eq!(refused, lines);
}

/// AUT-01 for browsers, which hide the status; and LIM-03.
#[test]
fn bad_tokens_and_too_many_connections_are_told_apart() {
    let house = House::open("bad", options());
    let ask = |headers: &str| {
        house.request(&format!(
            "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
        ))
    };
    assert_eq!(ask("Authorization: Bearer x.y.z\r\n").0, 401);
    let mut browser = Client { stream: house.connect(), rest: Vec::new() };
    browser.upgrade("Origin: https://a\r\nSec-WebSocket-Protocol: tickerd.v1, bearer.x.y.z\r\n");
    assert_eq!(browser.close_code(), 4001);
    browser.send(8, &4001u16.to_be_bytes());
    house.wait_until("the close is counted", |house| house.closes("invalid_token") == 1);
    let (mut clients, mut third) =
        ([house.client("u1", &[]), house.client("u1", &[])], Client { stream: house.connect(), rest: Vec::new() });
    third.upgrade(&format!("Authorization: Bearer {}\r\n", token("u1", &[], &[], expires_s())));
    assert_eq!(third.close_code(), 4003);
    let _last = house.client("u2", &[]);
    assert_eq!(ask(&format!("Authorization: Bearer {}\r\n", token("u2", &[], &[], expires_s()))).0, 503);
    clients[0].send(2, b"binary");
    assert_eq!(clients[0].close_code(), 1003);
    clients[1].stream.write_all(&[0x81, 0x01, b'x']).unwrap();
    assert_eq!(clients[1].close_code(), 1002, "unmasked");
}

/// Promise 5: a reader that does not read is closed; others do not notice.
#[test]
fn a_slow_reader_is_dropped_and_the_others_get_everything() {
    let house = House::open("slow", ReactorOptions { queue_bytes_max: 256 * 1024, ..options() });
    let mut clients = [house.client("u1", &["r"]), house.client("u2", &["r"])];
    for client in &mut clients {
        client.say(r#"{"type":"subscribe","room":"r"}"#);
        client.text();
        client.text();
    }
    let line = format!(r#"{{"type":"note","room":"r","lane":"update","mode":"stream","data":"{}"}}"#, "x".repeat(60_000));
    let mut next = 1;
    house.wait_until("the slow one is closed", |house| {
        assert_eq!(house.publish(&line).0, 200);
        assert!(clients[0].text().contains(&format!(r#""seq":{next},"#)));
        next += 1;
        house.closes("slow_consumer") == 1
    });
    house.wait_until("its membership has ended", |house| house.stats.memberships.value() == 1);
}

/// CLI-15: spread evenly, and another order after each start.
#[test]
fn clients_come_back_at_other_times_after_each_start() {
    let times = |instance| -> Vec<u64> { (0..1_000).map(|slot| spread(slot, instance, 10_000)).collect() };
    for instance in [0, 1, 0xdead_beef] {
        let mut by_second = [0; 10];
        for ms in times(instance) {
            by_second[ms as usize / 1_000] += 1;
        }
        assert!(by_second.iter().all(|count| (80..=120).contains(count)), "{by_second:?}");
    }
    assert_ne!(times(1)[0], times(2)[0]);
    assert_ne!(times(7), times(8));
}

#[test]
fn a_drain_tells_every_client_when_to_come_back() {
    let mut house = House::open("drain", options());
    let mut client = house.client("u1", &[]);
    let idle = house.connect();
    house.wait_until("both are accepted", |house| house.stats.accepted.value() == 2);
    house.drain();
    let text = client.text();
    assert!(text.starts_with(r#"{"type":"disconnect","code":4101,"reason":"shutdown","after_ms":"#), "{text}");
    assert_eq!(client.close_code(), 4101);
    client.send(8, &4101u16.to_be_bytes());
    house.reactor.take().unwrap().join().unwrap().unwrap();
    assert_eq!(house.closes("shutdown"), 2);
    drop(idle);
    house.reactor = Some(std::thread::spawn(|| Ok(())));
}
