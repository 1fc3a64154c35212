//! As much of an HTTP/1.1 client as `tickerd publish` needs: POST with a body of known length over one kept connection; and a plain GET.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::base::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

use super::endpoint::Endpoint;
use super::line::{Connector, Line};

/// The daemon answers a publish when its events are durable, which takes milliseconds; a minute is a hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The same of what an operator asks.
const GET_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers are shorter than the lines they answer; 16 Ki lines of them fit well.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A client of one server.
pub(super) struct HttpClient {
    connector: Connector,
    token: Option<String>,
    connection: Option<BufReader<Line>>,
}

/// What the server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// The status.
    pub(super) status: u16,
    /// The whole body.
    pub(super) body: Vec<u8>,
}

struct Head {
    status: u16,
    body_bytes: Option<usize>,
    close: bool,
}

impl HttpClient {
    pub(super) fn new(connector: Connector, token: Option<String>) -> HttpClient {
        HttpClient { connector, token, connection: None }
    }

    /// Posts NDJSON and waits for the answer.
    ///
    /// A connection that the server has closed meanwhile is replaced before anything is sent; after that nothing is sent twice,
    /// because a publish without `event_id` would count twice.
    pub(super) fn post(&mut self, body: &[u8]) -> io::Result<Response> {
        let mut kept = self.connection.take();
        let is_kept = kept.as_mut().is_some_and(is_open);
        let mut connection = kept.filter(|_| is_kept).map_or_else(|| self.connect(), Ok)?;
        connection.get_mut().write_all(&self.request(body))?;
        let head = read_head(&mut connection)?;
        let body = read_body(&mut connection, head.body_bytes)?;
        if !head.close && head.body_bytes.is_some() {
            self.connection = Some(connection);
        }
        Ok(Response { status: head.status, body })
    }

    fn connect(&self) -> io::Result<BufReader<Line>> {
        let line = self.connector.connect()?;
        line.tcp().set_read_timeout(Some(ANSWER_TIMEOUT))?;
        line.tcp().set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(BufReader::new(line))
    }

    /// Head and body in one buffer, for one write.
    fn request(&self, body: &[u8]) -> Vec<u8> {
        let Endpoint { path, authority, .. } = &self.connector.endpoint;
        let authorization = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\n{authorization}Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }
}

/// Asks a server without TLS for a path, on a connection of its own.
pub(super) fn get(server: SocketAddr, path: &str) -> io::Result<Response> {
    let mut tcp = TcpStream::connect_timeout(&server, GET_TIMEOUT)?;
    tcp.set_read_timeout(Some(GET_TIMEOUT))?;
    tcp.set_write_timeout(Some(GET_TIMEOUT))?;
    tcp.write_all(format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut connection = BufReader::new(tcp);
    let head = read_head(&mut connection)?;
    let body = read_body(&mut connection, head.body_bytes)?;
    Ok(Response { status: head.status, body })
}

/// Whether a kept connection still has a server: one that closed it, or sent what nobody asked for, is not to be used again.
fn is_open(kept: &mut BufReader<Line>) -> bool {
    kept.buffer().is_empty() && kept.get_mut().is_quiet()
}

fn read_head(connection: &mut impl BufRead) -> io::Result<Head> {
    loop {
        let head = parse_head(&head_bytes(connection)?)?;
        // 1xx are announcements; the answer is still to come.
        if head.status >= 200 {
            return Ok(head);
        }
    }
}

fn head_bytes(connection: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut limited = connection.take(HTTP_HEAD_BYTES_MAX as u64);
    loop {
        let line = limited.read_until(b'\n', &mut head)?;
        if line == 0 {
            return Err(bad(if head.is_empty() {
                "the server closed the connection without an answer"
            } else {
                "the answer's head is cut off or too long"
            }));
        }
        if head.ends_with(b"\r\n\r\n") {
            return Ok(head);
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(bytes).map_err(|e| bad(&format!("the answer is not HTTP: {e}")))?;
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
    };
    if header("transfer-encoding").is_some() {
        return Err(bad("the answer has a Transfer-Encoding, which tickerd never sends: is this address tickerd's?"));
    }
    let length = header("content-length").map(|text| text.parse().map_err(|_| bad("the answer's Content-Length is no number")));
    Ok(Head {
        // httparse gives a status with every head it parsed to its end, and the head ends in an empty line.
        status: response.code.unwrap_or(0),
        body_bytes: length.transpose()?,
        close: response.version == Some(0) || header("connection").is_some_and(|value| value.contains("close")),
    })
}

fn read_body(connection: &mut impl Read, body_bytes: Option<usize>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let limit = body_bytes.unwrap_or(BODY_BYTES_MAX + 1);
    connection.take(limit.min(BODY_BYTES_MAX + 1) as u64).read_to_end(&mut body)?;
    if body.len() > BODY_BYTES_MAX {
        return Err(bad("the answer is too long"));
    }
    if body_bytes.is_some_and(|expected| body.len() < expected) {
        return Err(bad("the answer is cut off"));
    }
    Ok(body)
}

fn bad(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    /// A server that answers each connection in turn with the given texts, one for each request, and gives back the requests.
    fn server(connections: Vec<Vec<&'static str>>) -> (HttpClient, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let mut requests = Vec::new();
            for answers in connections {
                let mut peer = BufReader::new(listener.accept().unwrap().0);
                for answer in answers {
                    requests.push(request(&mut peer));
                    peer.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            }
            requests
        });
        let connector = Connector::new(Endpoint::parse(&url, "http", "/v1/publish").unwrap(), None).unwrap();
        (HttpClient::new(connector, Some("to.k.en".to_owned())), served)
    }

    fn request(peer: &mut BufReader<TcpStream>) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(peer.read_line(&mut head).unwrap(), 0);
        }
        let length = head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        peer.read_exact(&mut body).unwrap();
        head + &String::from_utf8(body).unwrap()
    }

    fn response(status: u16, body: &str) -> Response {
        Response { status, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn one_connection_serves_many_posts() {
        let (mut client, served) = server(vec![vec![
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
        ]]);
        assert_eq!(client.post(b"one\n").unwrap(), response(200, "ok"));
        assert_eq!(client.post(b"two\n").unwrap(), response(429, ""));
        let requests = served.join().unwrap();
        assert!(requests[0].starts_with("POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1:") && requests[0].ends_with("\r\n\r\none\n"));
        assert!(requests[1].contains("\r\nAuthorization: Bearer to.k.en\r\n"));
    }

    /// A server that closed the kept connection gets a new one, and each body exactly once.
    #[test]
    fn a_closed_connection_is_replaced_before_anything_is_sent() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let silent = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (mut client, served) = server(vec![vec![ok], vec![silent], vec![ok]]);
        for body in [b"1", b"2"] {
            assert_eq!(client.post(body).unwrap().status, 200);
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while client.connection.as_mut().is_some_and(is_open) {
            assert!(std::time::Instant::now() < deadline, "the server's close never arrived");
            thread::yield_now();
        }
        assert_eq!(client.post(b"3").unwrap().status, 200);
        let bodies: Vec<char> = served.join().unwrap().iter().filter_map(|request| request.chars().last()).collect();
        assert_eq!(bodies, ['1', '2', '3']);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for answer in [
            "",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Len",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            let (mut client, served) = server(vec![vec![answer]]);
            client.post(b"x").unwrap_err();
            served.join().unwrap();
        }
    }
}
