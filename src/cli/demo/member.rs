//! One of the demo's clients: a real WebSocket, on a line that may be made narrow.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tungstenite::client::{ClientRequestBuilder, client_with_config};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use crate::net::clock::Clock;

use super::tally::Tally;

/// How often a silent line looks whether the demo ends.
const STOP_CHECK: Duration = Duration::from_millis(100);
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes taken from a line at once. Small on the narrow one, for it then sleeps for as long as they would have taken.
const READ_BYTES: usize = 64 * 1024;
const NARROW_READ_BYTES: usize = 2 * 1024;
/// The narrow line's kernel buffer (Linux doubles it): what is in there cannot be overtaken any more.
const NARROW_RECEIVE_BUFFER_BYTES: usize = 8 * 1024;

/// Who connects where.
#[derive(Clone, Debug)]
pub(super) struct MemberOptions {
    /// The thread's name.
    pub name: &'static str,
    /// The daemon.
    pub address: SocketAddr,
    /// The token.
    pub token: String,
    /// What to join.
    pub rooms: Vec<String>,
    /// How fast the line is; `None`: as fast as it goes.
    pub bytes_per_second: Option<u32>,
    /// The publisher's clock.
    pub clock: Clock,
}

/// A client on its own thread. It reconnects until it is told to stop.
#[derive(Debug)]
pub(super) struct Member {
    tally: Arc<Mutex<Tally>>,
    thread: JoinHandle<()>,
}

impl Member {
    /// Starts it.
    pub(super) fn start(options: MemberOptions, tally: Tally, stop: Arc<AtomicBool>) -> io::Result<Member> {
        let tally = Arc::new(Mutex::new(tally));
        let shared = Arc::clone(&tally);
        let thread = thread::Builder::new().name(options.name.to_owned()).spawn(move || run(&options, &shared, &stop))?;
        Ok(Member { tally, thread })
    }

    /// What it received; its thread waits while this is used.
    pub(super) fn tally<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        look(&mut self.tally.lock())
    }

    /// Waits for its end; the demo must have been told to stop.
    pub(super) fn join(self) -> Result<(), String> {
        self.thread.join().map_err(|_| "a demo client's thread panicked; its message is above".to_owned())
    }
}

fn run(options: &MemberOptions, tally: &Mutex<Tally>, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        tally.lock().joining(options.rooms.len());
        let Err(why) = session(options, tally, stop);
        if !stop.load(Ordering::Relaxed) {
            tally.lock().lost(why);
            thread::sleep(RECONNECT_AFTER);
        }
    }
}

/// From connecting to the loss of the line, which is why it only ends in an error.
fn session(options: &MemberOptions, tally: &Mutex<Tally>, stop: &Arc<AtomicBool>) -> Result<std::convert::Infallible, String> {
    let mut socket = connect(options, stop)?;
    for room in &options.rooms {
        socket.write(Message::text(format!(r#"{{"type":"subscribe","room":"{room}"}}"#))).map_err(|error| lost(&error))?;
    }
    socket.flush().map_err(|error| lost(&error))?;
    loop {
        match socket.read().map_err(|error| lost(&error))? {
            Message::Text(text) => {
                let now = options.clock.mono();
                tally.lock().take(&text, now)?;
            }
            Message::Close(Some(close)) => return Err(format!("closed with {} {}", close.code, close.reason)),
            _ => {}
        }
    }
}

fn lost(error: &Error) -> String {
    match error {
        Error::Http(answer) => format!("the daemon answered with HTTP status {}", answer.status()),
        other => other.to_string(),
    }
}

fn connect(options: &MemberOptions, stop: &Arc<AtomicBool>) -> Result<WebSocket<Line>, String> {
    let line = Line::connect(options, stop).map_err(|error| format!("cannot connect to {}: {error}", options.address))?;
    let uri = format!("ws://{}/v1/ws", options.address).parse().map_err(|error| format!("{} makes no URL: {error}", options.address))?;
    let request = ClientRequestBuilder::new(uri).with_header("Authorization", format!("Bearer {}", options.token));
    let config = WebSocketConfig::default().read_buffer_size(line.read_bytes());
    match client_with_config(request, line, Some(config)) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(error)) => Err(lost(&error)),
        Err(tungstenite::HandshakeError::Interrupted(_)) => Err("the handshake was interrupted".to_owned()),
    }
}

/// A TCP stream that ends when the demo does, and that is no faster than it is allowed to be.
struct Line {
    socket: TcpStream,
    stop: Arc<AtomicBool>,
    bytes_per_second: Option<u32>,
    free_at: Instant,
}

impl Line {
    fn connect(options: &MemberOptions, stop: &Arc<AtomicBool>) -> io::Result<Line> {
        let socket = Socket::new(Domain::for_address(options.address), Type::STREAM, None)?;
        if options.bytes_per_second.is_some() {
            socket.set_recv_buffer_size(NARROW_RECEIVE_BUFFER_BYTES)?;
        }
        socket.connect_timeout(&options.address.into(), CONNECT_TIMEOUT)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(STOP_CHECK))?;
        let bytes_per_second = options.bytes_per_second;
        Ok(Line { socket: socket.into(), stop: Arc::clone(stop), bytes_per_second, free_at: Instant::now() })
    }

    fn read_bytes(&self) -> usize {
        if self.bytes_per_second.is_some() { NARROW_READ_BYTES } else { READ_BYTES }
    }

    /// Occupies the line for as long as these bytes take.
    fn occupy(&mut self, bytes: usize) {
        if let Some(rate) = self.bytes_per_second {
            let takes = Duration::from_secs(1) * bytes as u32 / rate.max(1);
            self.free_at = self.free_at.max(Instant::now()) + takes;
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        thread::sleep(self.free_at.saturating_duration_since(Instant::now()));
        let bytes_max = buffer.len().min(self.read_bytes());
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the demo ends"));
            }
            match self.socket.read(&mut buffer[..bytes_max]) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
                Ok(bytes) => {
                    self.occupy(bytes);
                    return Ok(bytes);
                }
            }
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
