//! One event to 1,000 members: the whole daemon in this process, real sockets, from the publisher's write to the last member's read.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tickerd::auth::{MintClaims, SigningKey, mint};
use tickerd::config::{self, ServeArgs, Surroundings};
use tickerd::daemon::{self, Running};
use tungstenite::Message;
use tungstenite::client::IntoClientRequest;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MEMBERS: usize = 1000;
const ROOM: &str = "challenge:8f2c";

fn fan_out(criterion: &mut Criterion) {
    // Both ends of each connection are ours.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).expect("up to the maximum is allowed");
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut random = [0; 32];
    getrandom::fill(&mut random).expect("the system has random numbers");
    let secret: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let running = start(&dir, &secret);
    let key = SigningKey::read("bench", secret.as_bytes()).expect("a secret of 32 characters");
    let mut crowd = Crowd::join(running.ready().listen[0], &key);
    let publisher = UnixStream::connect(dir.join("fan-out.sock")).expect("the daemon listens there");
    let mut publisher = BufReader::new(publisher);
    let mut group = criterion.benchmark_group("fan_out");
    for burst in [1, 16] {
        let lines = line().repeat(burst);
        group.throughput(Throughput::Elements((MEMBERS * burst) as u64));
        group.bench_function(format!("{MEMBERS}_sockets/{burst}"), |bench| {
            bench.iter(|| {
                publisher.get_mut().write_all(&lines).expect("the daemon reads");
                crowd.await_frames(MEMBERS * burst);
                read_answers(&mut publisher, burst);
            });
        });
    }
    group.finish();
    drop(crowd);
    running.stop();
}

/// A daemon with one reactor, all defaults but its places.
fn start(dir: &Path, secret: &str) -> Running {
    let (key, socket) = (dir.join("fan-out.key"), dir.join("fan-out.sock"));
    std::fs::write(&key, secret).expect("the directory can be written to");
    let mut args = ServeArgs::default();
    let text = |path: &PathBuf| path.to_str().expect("cargo's directories are UTF-8").to_owned();
    for (flag, value) in [
        ("listen", "127.0.0.1:0".to_owned()),
        ("admin-listen", "127.0.0.1:0".to_owned()),
        ("jwt-key", text(&key)),
        ("publish-socket", text(&socket)),
        ("reactors", "1".to_owned()),
    ] {
        args.preset(flag, vec![value]);
    }
    let surroundings = Surroundings { cores: 1, ..Surroundings::default() };
    let loaded = config::load(&args, &surroundings).expect("the configuration is sound");
    daemon::start(&loaded.config).expect("the daemon starts")
}

/// An event of 300 bytes.
fn line() -> Vec<u8> {
    let mut line = format!(r#"{{"type":"TRADE_EXECUTED","room":"{ROOM}","data":{{"note":""#).into_bytes();
    line.resize(297, b'x');
    line.extend_from_slice(b"\"}}\n");
    line
}

/// One line for each publish: read, so that the credit is given back.
fn read_answers(publisher: &mut BufReader<UnixStream>, answers: usize) {
    let mut answer = String::new();
    for _ in 0..answers {
        answer.clear();
        publisher.read_line(&mut answer).expect("the daemon answers");
        assert!(answer.starts_with(r#"{"ok":true"#), "{answer}");
    }
}

/// The members, read by one poll.
struct Crowd {
    poll: Poll,
    events: Events,
    members: Vec<Reader>,
    buffer: Vec<u8>,
}

struct Reader {
    stream: TcpStream,
    /// Bytes of the present frame that have not come yet.
    rest: usize,
    /// The header of a frame, as far as it is there.
    head: Vec<u8>,
}

impl Crowd {
    fn join(address: SocketAddr, key: &SigningKey) -> Crowd {
        let poll = Poll::new().expect("a poll");
        let members = (0..MEMBERS)
            .map(|n| {
                let mut stream = TcpStream::from_std(join(address, key, n));
                poll.registry().register(&mut stream, Token(n), Interest::READABLE).expect("a stream can be registered");
                Reader { stream, rest: 0, head: Vec::new() }
            })
            .collect();
        Crowd { poll, events: Events::with_capacity(MEMBERS), members, buffer: vec![0; 64 * 1024] }
    }

    /// Reads until so many frames have come, over all members.
    fn await_frames(&mut self, wanted: usize) {
        let mut seen = 0;
        while seen < wanted {
            self.poll.poll(&mut self.events, Some(Duration::from_secs(20))).expect("a poll");
            assert!(!self.events.is_empty(), "{seen} of {wanted} frames came, then nothing");
            for event in &self.events {
                seen += self.members[event.token().0].read(&mut self.buffer);
            }
        }
    }
}

impl Reader {
    /// Reads all that is there; the texts that were finished by it.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut seen = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the daemon closed a connection"),
                Ok(read) => seen += self.count(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return seen,
                Err(error) => panic!("a read failed: {error}"),
            }
        }
    }

    /// Frames of 126 bytes or more: events. Pings and heartbeats are shorter, and are no texts that count.
    fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut seen = 0;
        while !bytes.is_empty() {
            if self.rest == 0 {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                self.rest = match self.head[..] {
                    [_, len] if len < 126 => usize::from(len),
                    [_, 126, high, low] => usize::from(u16::from_be_bytes([high, low])),
                    _ => continue,
                };
                seen += usize::from(self.head.len() == 4);
                self.head.clear();
            }
            let taken = self.rest.min(bytes.len());
            self.rest -= taken;
            bytes = &bytes[taken..];
        }
        seen
    }
}

/// A member: connected with a token of its own, joined, and non-blocking.
fn join(address: SocketAddr, key: &SigningKey, n: usize) -> std::net::TcpStream {
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set").as_secs();
    let claims = MintClaims {
        sub: format!("u-{n}"),
        rooms: vec![ROOM.to_owned()],
        issued_at_s: now_s,
        expires_at_s: now_s + 3600,
        ..MintClaims::default()
    };
    let token = mint(key, &claims).expect("the claims are sound");
    let mut request = format!("ws://{address}/v1/ws").into_client_request().expect("a sound address");
    request.headers_mut().insert("Authorization", format!("Bearer {token}").parse().expect("a token is a header's value"));
    let stream = std::net::TcpStream::connect(address).expect("the daemon listens");
    let (mut client, _) = tungstenite::client(request, stream).expect("the daemon upgrades");
    client.send(Message::text(format!(r#"{{"type":"subscribe","room":"{ROOM}"}}"#))).expect("the daemon reads");
    while !client.read().expect("the daemon answers").to_text().is_ok_and(|text| text.contains("caught_up")) {}
    let stream = client.get_ref().try_clone().expect("a descriptor is free");
    stream.set_nonblocking(true).expect("a socket can be made non-blocking");
    stream
}

fn short() -> Criterion {
    Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = crowd;
    config = short();
    targets = fan_out
}
criterion_main!(crowd);
