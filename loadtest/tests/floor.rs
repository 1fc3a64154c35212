//! The floor must be right before it is a yardstick: each of its four combinations, over real sockets.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tungstenite::{Message, WebSocket};

/// Nothing here takes that long; a read or a write that does is a failure, not a hang.
const PATIENCE: Duration = Duration::from_secs(20);

const COMBINATIONS: [(&str, &str); 4] = [("one", "all"), ("one", "each"), ("two", "all"), ("two", "each")];

/// A floor at work. It ends with the test.
struct Floor {
    process: Child,
    address: SocketAddr,
    socket: PathBuf,
}

impl Floor {
    fn start(test: &str, (shape, write): (&str, &str)) -> Floor {
        let socket = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{shape}-{write}.sock"));
        let mut process = Command::new(env!("CARGO_BIN_EXE_tickerd-floor"))
            .args(["--shape", shape, "--write", write, "--publish-socket"])
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor was built beside this test");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("it says when it is ready");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        assert_eq!(ready["event"], "ready");
        assert_eq!(ready["pid"], process.id());
        let address = ready["listen"][0].as_str().expect("an address").parse().expect("an address");
        Floor { process, address, socket }
    }

    /// A client with so small a receive buffer (0: the system's) that has joined these rooms.
    fn join(&self, rooms: &[&str], receive_bytes: usize) -> Member {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        if receive_bytes > 0 {
            socket.set_recv_buffer_size(receive_bytes).expect("a small buffer is allowed");
        }
        socket.connect(&self.address.into()).expect("the floor listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout is allowed");
        let url = format!("ws://{}/v1/ws", self.address);
        let (mut client, _) = tungstenite::client(url, TcpStream::from(socket)).expect("the floor upgrades");
        assert_eq!(text(&mut client), r#"{"type":"welcome"}"#);
        for (id, room) in rooms.iter().enumerate() {
            client.send(Message::text(format!(r#"{{"type":"subscribe","id":{id},"room":"{room}"}}"#))).expect("it reads");
            assert_eq!(text(&mut client), format!(r#"{{"type":"subscribed","id":{id},"room":"{room}"}}"#));
            assert_eq!(text(&mut client), format!(r#"{{"type":"caught_up","room":"{room}"}}"#));
        }
        Member { client, rooms: rooms.iter().map(ToString::to_string).collect() }
    }

    fn publisher(&self) -> UnixStream {
        let publisher = UnixStream::connect(&self.socket).expect("the floor listens there");
        publisher.set_write_timeout(Some(PATIENCE)).expect("a timeout is allowed");
        publisher
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.process.kill().expect("it is ours, and still runs");
        self.process.wait().expect("it was killed");
    }
}

struct Member {
    client: WebSocket<TcpStream>,
    rooms: Vec<String>,
}

/// What is published: the room, and the line that names it.
type Line = (String, String);

impl Member {
    /// Reads what it is to get of these lines, and checks that it is that, each room's in order, and nothing else.
    fn expect(&mut self, lines: &[Line]) {
        let of = |own: &String| lines.iter().filter(|(room, _)| room == own).map(|(_, line)| line.as_str()).rev().collect();
        let mut wanted: Vec<Vec<&str>> = self.rooms.iter().map(of).collect();
        for _ in 0..wanted.iter().map(Vec::len).sum() {
            let got = text(&mut self.client);
            let room = wanted.iter_mut().find(|room| room.last() == Some(&got.as_str()));
            room.unwrap_or_else(|| panic!("not the next line of any of its rooms: {got:.200}")).pop();
        }
        // A ping is answered behind all that was written before it.
        self.client.send(Message::Ping(b"end".as_slice().into())).expect("it reads");
        let last = self.client.read().expect("an answer");
        assert_eq!(last, Message::Pong(b"end".as_slice().into()), "nothing comes that was not published");
    }
}

fn text(client: &mut WebSocket<TcpStream>) -> String {
    match client.read().expect("a message in time") {
        Message::Text(text) => text.as_str().to_owned(),
        other => panic!("not a text: {other:?}"),
    }
}

fn line(room: &str, n: usize, bytes: usize) -> Line {
    (room.to_owned(), format!(r#"{{"type":"t","room":"{room}","data":{{"pad":"{}","n":{n}}}}}"#, "x".repeat(bytes)))
}

fn ndjson(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|(_, line)| format!("{line}\n").into_bytes()).collect()
}

/// Three rooms of four members, and one connection that is a member of two; lines with every size of header, cut anywhere.
#[test]
fn members_get_their_rooms_lines_in_order_and_nothing_else() {
    for combination in COMBINATIONS {
        let floor = Floor::start("members", combination);
        let rooms = ["quote:1", "quote:2", "quote:3"];
        let mut members: Vec<Member> = (0..12).map(|i| floor.join(&[rooms[i % 3]], 0)).collect();
        members.push(floor.join(&["quote:1", "quote:3"], 0));
        let lines: Vec<_> = (0..600).map(|n| line(rooms[n / 2 % 3], n, if n % 50 == 0 { 70_000 } else { n % 2 * 200 })).collect();
        let mut publisher = floor.publisher();
        let mut bytes = b"{\"type\":\"t\",\"room\":\"quote:nobody\",\"data\":1}\n\n{\"no\":\"room\"}\n".to_vec();
        bytes.extend(ndjson(&lines));
        for part in bytes.chunks(7_001) {
            publisher.write_all(part).expect("the floor reads");
        }
        for member in &mut members {
            member.expect(&lines);
        }
    }
}

/// A reader that begins when all is published: its socket took a part, in the midst of a frame, and the floor kept the rest.
#[test]
fn a_slow_reader_gets_every_byte_in_order() {
    for combination in COMBINATIONS {
        let floor = Floor::start("slow", combination);
        let (mut slow, mut quick) = (floor.join(&["r", "s"], 32 * 1024), floor.join(&["r"], 0));
        let lines: Vec<_> = (0..900).map(|n| line(["r", "r", "s"][n % 3], n, 20_000 + n)).collect();
        floor.publisher().write_all(&ndjson(&lines)).expect("the floor reads");
        quick.expect(&lines);
        slow.expect(&lines);
    }
}

/// Nobody reads: the floor takes what it may keep, then no more, and goes on where it was when they read.
#[test]
fn what_waits_is_bounded_and_the_publisher_is_pushed_back() {
    for combination in [("one", "all"), ("two", "all")] {
        let floor = Floor::start("bounded", combination);
        let mut member = floor.join(&["r"], 0);
        let lines: Vec<_> = (0..1_000).map(|n| line("r", n, 100_000)).collect();
        let (publisher, bytes) = (floor.publisher(), ndjson(&lines));
        let sent = write_until_pushed_back(&publisher, &bytes);
        assert!(sent < bytes.len(), "{combination:?}: all {sent} bytes were taken though nobody read");
        let writer = std::thread::spawn(move || (&publisher).write_all(&bytes[sent..]).map(|()| publisher));
        member.expect(&lines);
        writer.join().expect("no panic").expect("the floor reads again");
        let resident = peak_resident_bytes(floor.process.id());
        assert!(resident < 240 * 1024 * 1024, "{combination:?}: {resident} bytes for a buffer of 64 MiB, which doubles as it grows");
    }
}

/// How much went until a write found no room for a second.
fn write_until_pushed_back(mut publisher: &UnixStream, bytes: &[u8]) -> usize {
    publisher.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout is allowed");
    let mut sent = 0;
    while sent < bytes.len() {
        match publisher.write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("the floor has gone: {error}"),
        }
    }
    publisher.set_write_timeout(Some(PATIENCE)).expect("a timeout is allowed");
    sent
}

fn peak_resident_bytes(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it still runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel reports it");
    let kib: usize = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB");
    kib * 1024
}

#[test]
fn bad_usage_says_what_to_do_and_exits_with_2() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("floor-no-socket");
    drop(std::fs::remove_file(&file)); // a floor that was wrong may have left a socket in its place
    std::fs::write(&file, "kept").expect("a writable directory");
    let socket = file.with_extension("sock");
    let (file_arg, socket_arg) = (file.to_str().expect("UTF-8"), socket.to_str().expect("UTF-8"));
    let cases: [(&[&str], &str); 3] = [
        (&[], "--publish-socket"),
        (&["--publish-socket", file_arg], "give another --publish-socket"),
        (&["--publish-socket", socket_arg, "--pin", "1000000"], "give --pin a core"),
    ];
    for (args, says) in cases {
        let (code, stderr) = refused(args);
        assert_eq!(code, Some(2), "{args:?}");
        assert!(stderr.contains(says), "{args:?}: {stderr}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is still there"), "kept");
}

/// How a floor with these arguments ends, and what it says; it must not become ready.
fn refused(args: &[&str]) -> (Option<i32>, String) {
    let mut floor = Command::new(env!("CARGO_BIN_EXE_tickerd-floor"));
    let mut process = floor.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the floor was built");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("stdout is text");
    if !line.is_empty() {
        process.kill().expect("it is ours, and still runs");
    }
    let output = process.wait_with_output().expect("it has ended");
    assert_eq!(line, "", "{args:?}: it serves");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
