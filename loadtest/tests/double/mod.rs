//! A server that does what a test tells it, right or wrong, and the worker that is to notice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tickerd_loadtest::control::{Command, Final, Report, Target, WorkerPlan};
use tickerd_loadtest::payload::Template;
use tickerd_loadtest::scenario::Scenario;
use tickerd_loadtest::stamp::Stamp;
use tickerd_loadtest::worker;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

pub(crate) const RUN: u32 = 7;
/// Longer than anything takes, so that a test that waits in vain ends.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const SCENARIO: &str = r#"
name = "test"
about = ""
duration_s = 1
[connections]
count = 4
rate = 1000
[[room]]
class = "own"
name = "own:{n}"
count = 4
members = 1
[[flow]]
rooms = "own"
type = "tick"
lane = "update"
mode = "stream"
rate = 10
bytes = 300
[[flow]]
rooms = "own"
type = "equity"
lane = "update"
mode = "state"
rate = 10
bytes = 300
"#;

/// What the server has seen, by the room that a connection asked for.
#[derive(Default)]
struct Seen {
    sockets: BTreeMap<String, TcpStream>,
    commands: Vec<Value>,
    pongs: Vec<Vec<u8>>,
    heads: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Server {
    /// Accepts until the test process ends.
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let server = Server { address: listener.local_addr().expect("is bound"), seen: Arc::default() };
        let accepting = server.clone();
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let server = accepting.clone();
                thread::spawn(move || server.serve(socket));
            }
        });
        server
    }

    fn serve(&self, mut socket: TcpStream) {
        let head = read_head(&mut socket);
        let Some(key) = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")) else {
            return;
        };
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        // The welcome comes in the same write: what follows the head must not be lost.
        let hello = [answer.as_bytes(), &frame(0x81, br#"{"type":"welcome","ts":1,"data":{}}"#)].concat();
        socket.write_all(&hello).expect("the worker reads");
        self.change(|seen| seen.heads.push(head.clone()));
        let writer = socket.try_clone().expect("sockets can be cloned");
        let mut websocket = WebSocket::from_raw_socket(socket, Role::Server, None);
        while let Ok(message) = websocket.read() {
            match message {
                Message::Text(text) => self.command(&serde_json::from_str(&text).expect("commands are JSON"), &writer),
                Message::Pong(payload) => self.change(|seen| seen.pongs.push(payload.to_vec())),
                _ => {}
            }
        }
    }

    fn command(&self, command: &Value, socket: &TcpStream) {
        let room = command["room"].as_str().expect("asks for a room").to_owned();
        let last = command["since"]["seq"]["update"].as_u64().unwrap_or(0);
        let mut answer =
            json!({ "type": "subscribed", "id": command["id"], "room": room, "epoch": "e1", "from": { "alert": 1, "update": last + 1 } });
        answer["seq"] = json!({ "alert": 0, "update": last });
        if command.get("since").is_some() {
            answer["recovered"] = true.into();
        }
        let caught_up = json!({ "type": "caught_up", "room": room });
        let texts = [frame(0x81, answer.to_string().as_bytes()), frame(0x81, caught_up.to_string().as_bytes())].concat();
        (&*socket).write_all(&texts).expect("the worker reads");
        self.change(|seen| {
            seen.sockets.insert(room, socket.try_clone().expect("sockets can be cloned"));
            seen.commands.push(command.clone());
        });
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.0.lock().expect("no thread panics with it"));
        self.seen.1.notify_all();
    }

    /// Waits until that many joins were asked for; returns all of them.
    pub(crate) fn joins(&self, count: usize) -> Vec<Value> {
        self.wait(|seen| seen.commands.len() >= count, |seen| seen.commands.clone())
    }

    /// Waits until that many pongs came.
    pub(crate) fn pongs(&self, count: usize) -> Vec<Vec<u8>> {
        self.wait(|seen| seen.pongs.len() >= count, |seen| seen.pongs.clone())
    }

    /// The requests' heads so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.wait(|_| true, |seen| seen.heads.clone())
    }

    fn wait<T>(&self, until: impl Fn(&Seen) -> bool, then: impl Fn(&Seen) -> T) -> T {
        let seen = self.seen.0.lock().expect("no thread panics with it");
        let (seen, timeout) = self.seen.1.wait_timeout_while(seen, PATIENCE, |seen| !until(seen)).expect("no thread panics with it");
        assert!(!timeout.timed_out(), "the worker did not do it in time");
        then(&seen)
    }

    /// Sends bytes to the member of that room.
    pub(crate) fn write(&self, room: &str, bytes: &[u8]) {
        let mut socket = self.wait(|_| true, |seen| seen.sockets[room].try_clone().expect("sockets can be cloned"));
        socket.write_all(bytes).expect("the worker reads");
    }

    /// Sends a text to the member of that room.
    pub(crate) fn text(&self, room: &str, text: &[u8]) {
        self.write(room, &frame(0x81, text));
    }

    /// Ends that member's connection with a code.
    pub(crate) fn close(&self, room: &str, code: u16) {
        self.write(room, &frame(0x88, &code.to_be_bytes()));
        let socket = self.wait(|_| true, |seen| seen.sockets[room].try_clone().expect("sockets can be cloned"));
        // It may have been faster.
        let _gone = socket.shutdown(Shutdown::Write);
    }
}

fn read_head(socket: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap_or(0) == 1 {
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).expect("the request is text")
}

/// A frame as a server writes it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(len as u8),
        len => {
            bytes.push(126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn scenario() -> Scenario {
    toml::from_str(SCENARIO).expect("the scenario is valid")
}

/// An event of flow 0 (a stream) or 1 (a state) as the server sends it.
pub(crate) fn event(flow: u8, room: u32, n: u32, intended_ns: u64, sent_ns: u64) -> Vec<u8> {
    let scenario = scenario();
    let form = &scenario.flows[usize::from(flow)];
    let mut line = Vec::new();
    let stamp = Stamp { run: RUN, flow, room, n, intended_ns, sent_ns };
    Template::new(form, &scenario.rooms[0]).expect("the flow is good").line(&stamp, &mut line);
    let line = String::from_utf8(line).expect("is text");
    let data = &line[line.find("\"data\":").expect("has data")..];
    let number = if flow == 0 { "seq" } else { "rev" };
    format!(r#"{{"type":"{}","room":"own:{room}","lane":"update","{number}":{n},"ts":5,{data}"#, form.kind).into_bytes()
}

/// A worker in a thread of this process, and its pipes.
pub(crate) struct Worker {
    to: PipeWriter,
    from: BufReader<PipeReader>,
    thread: JoinHandle<ExitCode>,
}

impl Worker {
    /// With its plan.
    pub(crate) fn start(plan: &WorkerPlan) -> Worker {
        let ((input, to), (from, output)) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
        let thread = thread::spawn(move || worker::serve(input, output));
        let mut worker = Worker { to, from: BufReader::new(from), thread };
        worker.line(&serde_json::to_string(plan).expect("plans are JSON"));
        worker
    }

    /// Joined to a server.
    pub(crate) fn joined(server: &Server) -> Worker {
        let mut worker = Worker::start(&plan(server.address));
        worker.say(&Command::Connect);
        let failed = worker.until(|report| match report {
            Report::Connecting { joined: 4, done: true, failed, .. } => Some(failed),
            _ => None,
        });
        assert!(failed.is_empty(), "{failed:?}");
        worker
    }

    pub(crate) fn line(&mut self, line: &str) {
        writeln!(self.to, "{line}").expect("the worker reads");
    }

    pub(crate) fn say(&mut self, command: &Command) {
        self.line(&serde_json::to_string(command).expect("commands are JSON"));
    }

    /// Reads reports until one is wanted.
    pub(crate) fn until<T>(&mut self, wanted: impl Fn(Report) -> Option<T>) -> T {
        loop {
            let mut line = String::new();
            assert_ne!(self.from.read_line(&mut line).expect("is text"), 0, "the worker has gone");
            if let Some(found) = wanted(serde_json::from_str(&line).expect("is a report")) {
                return found;
            }
        }
    }

    /// The account, given how many events of each flow were sent.
    pub(crate) fn finish(&mut self, sent: [u64; 2], patience_ms: u64) -> Final {
        self.say(&Command::Finish { sent: sent.to_vec(), refused: vec![vec![], vec![]], patience_ms });
        self.until(|report| match report {
            Report::Final(account) => Some(*account),
            _ => None,
        })
    }

    /// Ends its input, and so the worker.
    pub(crate) fn end(self) -> ExitCode {
        drop(self.to);
        drop(self.from);
        self.thread.join().expect("the worker does not panic")
    }
}

/// Four connections to that server.
pub(crate) fn plan(address: SocketAddr) -> WorkerPlan {
    let target = Target { url: format!("ws://{address}/v1/ws"), key: None, ca: None, issuer: None, audience: None, is_floor: false };
    WorkerPlan { worker: 0, scenario: scenario(), target, run: RUN, first: 0, count: 4, connect_rate: 1000, pin: None }
}
