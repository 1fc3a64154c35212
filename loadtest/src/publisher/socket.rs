//! The publisher's connection: the publish socket, or a WebSocket with a token that may publish.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::client::token::Signer;
use crate::client::{handshake, tls, url::Url};
use crate::control::Target;

use super::batch::Form;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A refusal's body is a line of JSON.
const REFUSAL_BYTES_MAX: usize = 2_000;

/// A connection that is ready to publish; it does not block.
pub struct Socket {
    stream: Stream,
    /// How events travel on it.
    pub form: Form,
    /// Bytes that came with the handshake's answer.
    pub early: Vec<u8>,
}

enum Stream {
    Unix(UnixStream),
    Tcp(tls::Stream<TcpStream>),
}

impl Socket {
    /// Connects to the publish socket if there is a path, else to the target's URL. The message says what to do.
    pub fn connect(target: &Target, publish_socket: Option<&Path>) -> Result<Socket, String> {
        match publish_socket {
            Some(path) => unix(path),
            None => websocket(target),
        }
    }

    /// As much as is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        }
    }

    /// As much as fits.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
        }
    }

    /// Sends what TLS has sealed and the socket has not taken, as far as it takes it now.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(_) => Ok(()),
            Stream::Tcp(stream) => stream.flush(),
        }
    }

    /// Whether there is such.
    pub fn is_pending(&self) -> bool {
        matches!(&self.stream, Stream::Tcp(stream) if stream.is_pending())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.socket().as_fd(),
        }
    }
}

fn unix(path: &Path) -> Result<Socket, String> {
    let failed = |error: io::Error| {
        format!("cannot connect to the publish socket {}: {error}; is the daemon running with --publish-socket?", path.display())
    };
    let stream = UnixStream::connect(path).map_err(failed)?;
    stream.set_nonblocking(true).map_err(failed)?;
    Ok(Socket { stream: Stream::Unix(stream), form: Form::Line, early: Vec::new() })
}

fn websocket(target: &Target) -> Result<Socket, String> {
    let url = Url::parse(&target.url)?;
    let token = publish_token(target)?;
    let trust = tls::Trust::of(&url, target.ca.as_deref())?;
    let failed = |error: io::Error| format!("{}: the publisher: {error}", target.url);
    let mut stream = tls::Stream::new(reach(&url, &target.url)?, trust.as_ref()).map_err(failed)?;
    let early = upgrade(&mut stream, &url, token.as_deref()).map_err(|error| format!("{}: the publisher: {error}", target.url))?;
    let socket = stream.socket();
    socket.set_nodelay(true).and_then(|()| socket.set_nonblocking(true)).map_err(failed)?;
    Ok(Socket { stream: Stream::Tcp(stream), form: Form::Frame, early })
}

/// Connects, or says that nobody listens there.
pub fn reach(url: &Url, text: &str) -> Result<TcpStream, String> {
    let connected = TcpStream::connect_timeout(&url.address, HANDSHAKE_TIMEOUT);
    connected.map_err(|error| format!("cannot connect to {text}: {error}; is the daemon running there? --url says where it is"))
}

fn publish_token(target: &Target) -> Result<Option<String>, String> {
    let Some(key) = &target.key else { return Ok(None) };
    let signer = Signer::load(key, target.issuer.clone(), target.audience.clone())?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "this machine's clock is before 1970: set it")?.as_secs();
    signer.mint("lt-publisher", &[], "publish", now_s).map(Some)
}

/// What came after the answer's head.
fn upgrade(stream: &mut tls::Stream<TcpStream>, url: &Url, token: Option<&str>) -> Result<Vec<u8>, String> {
    let io = |error: io::Error| format!("the handshake failed: {error}{}", tls::hint(&error.to_string()));
    stream.socket().set_read_timeout(Some(HANDSHAKE_TIMEOUT)).map_err(io)?;
    stream.socket().set_write_timeout(Some(HANDSHAKE_TIMEOUT)).map_err(io)?;
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| format!("no random bytes: {error}"))?;
    let key = handshake::key(nonce);
    stream.write_all(&handshake::request(url, token, &key)).map_err(io)?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let len = stream.read(&mut chunk).map_err(io)?;
        if len == 0 {
            return Err("the server closed the connection during the handshake".to_owned());
        }
        bytes.extend_from_slice(&chunk[..len]);
        match handshake::answer(&bytes, &key) {
            Ok(Some(head)) => return Ok(bytes.split_off(head)),
            Ok(None) => {}
            Err(error) => return Err(refusal(&error, bytes, stream)),
        }
    }
}

/// The refusal with the reason that the answer's body gives, and what to do about it.
fn refusal(error: &str, mut bytes: Vec<u8>, stream: &mut tls::Stream<TcpStream>) -> String {
    let mut chunk = [0; 1024];
    // The body may come with the head or just after it; without it, the status must do.
    stream.socket().set_read_timeout(Some(Duration::from_millis(200))).ok();
    while bytes.len() < REFUSAL_BYTES_MAX && !bytes.ends_with(b"}") && !bytes.ends_with(b"}\n") {
        match stream.read(&mut chunk) {
            Ok(len @ 1..) => bytes.extend_from_slice(&chunk[..len]),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim());
    let hint = match error {
        error if error.contains("401") => "; --key must be the key that the server verifies tokens with (and --iss, --aud what it demands)",
        error if error.contains("404") => "; --url must end with the WebSocket's path, such as /v1/ws",
        error if error.contains("503") => "; it has as many connections as it allows (--max-connections), or is stopping",
        _ => "",
    };
    format!("the server answered {error}{}{body}{hint}", if body.is_empty() { "" } else { ": " })
}
