//! `tickerd subscribe`: the messages of rooms, one JSON line each.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tungstenite::client::{IntoClientRequest, client_with_config};
use tungstenite::handshake::HandshakeError;
use tungstenite::http::HeaderValue;
use tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::base::lane::{Lane, PerLane};
use crate::base::limits::{HANDSHAKE_TIMEOUT, ROOMS_PER_CONN_MAX, SILENCE_MAX};

use super::endpoint::Endpoint;
use super::line::{Connector, Line};
use super::{Failure, complain, emit, stop_flag, token};

/// How long a read waits before it looks whether Ctrl-C was pressed.
const READ_SLICE: Duration = Duration::from_millis(250);
/// The largest event is 1 MiB; nothing that a server sends is near this.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Print the messages of rooms, one JSON line each.
#[derive(Args, Debug)]
pub(super) struct SubscribeArgs {
    /// The daemon's address
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/v1/ws")]
    url: String,
    /// Room to join; repeatable
    #[arg(long = "room", value_name = "ROOM", required = true)]
    rooms: Vec<String>,
    /// File with a token that may read the rooms; without it, the token itself in `TICKERD_TOKEN`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with the certificates of the authorities to trust, for a wss URL; without it, those that this machine trusts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Position to resume from, such as `k3:alert.118,update.8840`; with one room only
    #[arg(long, value_name = "POSITION", value_parser = since)]
    since: Option<Value>,
    /// Stop after N events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// At the end, print latency percentiles of each lane to stderr: receipt by this machine's clock less `ts` by the daemon's
    #[arg(long)]
    latency: bool,
}

/// Joins the rooms and prints until the count is reached, the daemon closes, or Ctrl-C.
pub(super) fn run(args: &SubscribeArgs) -> Result<(), Failure> {
    let requests = requests(args)?;
    let endpoint = Endpoint::parse(&args.url, "ws", "/v1/ws").map_err(|e| Failure::Usage(format!("--url: {e}")))?;
    let connector = Connector::new(endpoint, args.ca.as_deref())?;
    let stop = stop_flag().map_err(|e| Failure::Failed(format!("cannot watch for signals: {e}")))?;
    let token = token(args.token_file.as_deref())?;
    let no_token =
        || Failure::Usage("no token: give --token-file FILE, or the token in TICKERD_TOKEN (`tickerd token` mints one)".to_owned());
    let mut socket = connect(&connector, Some(&token.ok_or_else(no_token)?))?;
    for request in requests {
        socket.send(Message::text(request)).map_err(|e| Failure::Failed(format!("cannot subscribe: {e}")))?;
    }
    let mut watch = Watch { count: args.count, events: 0, latency: args.latency.then(Latency::new) };
    let result = watch.follow(&mut socket, &mut io::stdout(), &stop);
    // A farewell is polite; if it cannot be sent, the daemon sees the end of the connection all the same.
    socket.close(None).and_then(|()| socket.flush()).ok();
    if let Some(latency) = &watch.latency {
        complain(&latency.report());
    }
    result
}

/// The `subscribe` commands, their `id` being the number of the room from 1.
fn requests(args: &SubscribeArgs) -> Result<Vec<String>, Failure> {
    if args.since.is_some() && args.rooms.len() != 1 {
        return Err(Failure::Usage("--since: a position belongs to one room: give one --room, or leave --since out".to_owned()));
    }
    if args.rooms.len() > ROOMS_PER_CONN_MAX {
        return Err(Failure::Usage(format!("--room: a connection may join {ROOMS_PER_CONN_MAX} rooms: give fewer")));
    }
    let request = |(i, room): (usize, &String)| {
        let mut request = json!({"type": "subscribe", "id": i + 1, "room": room});
        if let Some(since) = &args.since {
            request["since"] = since.clone();
        }
        request.to_string()
    };
    Ok(args.rooms.iter().enumerate().map(request).collect())
}

/// Reads `epoch:lane.seq,lane.seq`, the cursor of SSE and long poll, to what `subscribe` has as `since`.
fn since(text: &str) -> Result<Value, String> {
    let bad = || format!("`{text}` is no position: write epoch, lanes and numbers such as `k3:alert.118,update.8840`");
    let (epoch, lanes) = text.split_once(':').filter(|(epoch, _)| !epoch.is_empty()).ok_or_else(bad)?;
    let mut seq = Map::new();
    for part in lanes.split(',') {
        let (lane, number) = part.split_once('.').ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        let lane = Lane::parse(lane).ok_or_else(bad)?;
        if seq.insert(lane.name().to_owned(), number.into()).is_some() {
            return Err(bad());
        }
    }
    Ok(json!({"epoch": epoch, "seq": seq}))
}

fn connect(connector: &Connector, token: Option<&str>) -> Result<WebSocket<Line>, Failure> {
    let endpoint = &connector.endpoint;
    let failed = |why: String| Failure::Failed(format!("--url: cannot connect to {}: {why}", endpoint.authority));
    let stream = connector.connect().map_err(|e| failed(e.to_string()))?;
    let tcp = stream.tcp();
    let timeouts = tcp.set_read_timeout(Some(HANDSHAKE_TIMEOUT)).and_then(|()| tcp.set_write_timeout(Some(HANDSHAKE_TIMEOUT)));
    timeouts.map_err(|e| failed(e.to_string()))?;

    let mut request = format!("ws://{}{}", endpoint.authority, endpoint.path).into_client_request().map_err(|e| failed(e.to_string()))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("tickerd.v1"));
    if let Some(token) = token {
        // `token` let only printable ASCII through, which a header may have.
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|e| failed(e.to_string()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let (socket, _) = client_with_config(request, stream, Some(client_config())).map_err(|e| failed(handshake_error(e)))?;
    socket.get_ref().tcp().set_read_timeout(Some(READ_SLICE)).map_err(|e| failed(e.to_string()))?;
    Ok(socket)
}

fn client_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(64 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(1 << 20)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .accept_unmasked_frames(false)
}

fn handshake_error<R: tungstenite::handshake::HandshakeRole>(error: HandshakeError<R>) -> String {
    match error {
        HandshakeError::Failure(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            format!("HTTP {} {}", response.status(), String::from_utf8_lossy(body).trim_end())
        }
        HandshakeError::Failure(error) => error.to_string(),
        HandshakeError::Interrupted(_) => format!("no answer within {HANDSHAKE_TIMEOUT:?}"),
    }
}

/// What is looked at in a message; the rest is passed through.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    lane: Option<std::borrow::Cow<'a, str>>,
    ts: Option<u64>,
    /// An error that answers one of our commands has its number.
    id: Option<Value>,
    message: Option<String>,
}

impl Glance<'_> {
    /// The lane, if this is an event: protocol messages carry no `ts` together with a lane.
    fn event_lane(&self) -> Option<Lane> {
        self.ts.and(self.lane.as_deref()).and_then(Lane::parse)
    }
}

/// The receiving side: what was seen, and when to stop.
struct Watch {
    count: Option<u64>,
    events: u64,
    latency: Option<Latency>,
}

impl Watch {
    fn follow(&mut self, socket: &mut WebSocket<Line>, out: &mut impl Write, stop: &AtomicBool) -> Result<(), Failure> {
        let mut heard = Instant::now();
        while !stop.load(Ordering::Relaxed) && self.count.is_none_or(|count| self.events < count) {
            match socket.read() {
                Ok(message) => {
                    heard = Instant::now();
                    if let Some(result) = self.message(&message, out) {
                        return result;
                    }
                }
                Err(Error::Io(e)) if is_pause(&e) => {
                    if heard.elapsed() > SILENCE_MAX {
                        return Err(Failure::Failed(format!("nothing was heard from the daemon for {SILENCE_MAX:?}")));
                    }
                }
                Err(e) => return Err(Failure::Failed(format!("the connection is lost: {e}"))),
            }
        }
        Ok(())
    }

    /// Takes one message; a result is the end.
    fn message(&mut self, message: &Message, out: &mut impl Write) -> Option<Result<(), Failure>> {
        match message {
            Message::Text(text) => self.text(text.as_str(), out).err().map(Err),
            Message::Close(frame) => Some(closed(frame.as_ref())),
            // tungstenite answers pings itself.
            Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => None,
        }
    }

    fn text(&mut self, text: &str, out: &mut impl Write) -> Result<(), Failure> {
        // Line ends are legal between JSON tokens, and only there.
        let mut line = text.replace(['\r', '\n'], " ");
        line.push('\n');
        emit(out, line.as_bytes())?;
        let glance: Glance<'_> =
            serde_json::from_str(text).map_err(|e| Failure::Failed(format!("the daemon sent what is no message: {e}")))?;
        if let Some(lane) = glance.event_lane() {
            self.events += 1;
            if let (Some(latency), Some(ts_ms)) = (&mut self.latency, glance.ts) {
                latency.record(lane, ts_ms, wall_ms());
            }
        }
        match (glance.kind.as_ref(), glance.id) {
            ("error", Some(id)) => {
                Err(Failure::Failed(format!("subscribing to room number {id} was refused: {}", glance.message.unwrap_or_default())))
            }
            _ => Ok(()),
        }
    }
}

fn is_pause(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn closed(frame: Option<&CloseFrame>) -> Result<(), Failure> {
    match frame.map(|frame| (u16::from(frame.code), frame.reason.as_str())) {
        Some((1000, _)) => Ok(()),
        Some((code, reason)) => Err(Failure::Failed(format!("the daemon closed the connection: {code} {reason}"))),
        None => Err(Failure::Failed("the daemon closed the connection without a code".to_owned())),
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Time from the hub's acceptance (`ts`, whole milliseconds of its clock) to receipt here, in milliseconds of ours. Two machines'
/// clocks differ by more than the latency; the daemon's own `tickerd_delivery_seconds` is the exact measure. Replayed events count with their age.
struct Latency {
    lanes_ms: PerLane<Histogram<u64>>,
    /// Events that came before they were sent, which tells that the clocks disagree.
    from_future: u64,
}

impl Latency {
    fn new() -> Latency {
        // Two significant digits are within every bound of the crate.
        let histogram = || Histogram::new_with_bounds(1, 3_600_000, 2).expect("1 ms to 1 h at 2 digits is a valid range");
        Latency { lanes_ms: std::array::from_fn(|_| histogram()), from_future: 0 }
    }

    fn record(&mut self, lane: Lane, ts_ms: u64, now_ms: u64) {
        match now_ms.checked_sub(ts_ms) {
            Some(ms) => self.lanes_ms[lane.index()].saturating_record(ms),
            None => self.from_future += 1,
        }
    }

    fn report(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for lane in Lane::ALL {
            let ms = &self.lanes_ms[lane.index()];
            if !ms.is_empty() {
                lines.push(format!(
                    "{lane}: {} events, p50 {} ms, p99 {} ms",
                    ms.len(),
                    ms.value_at_quantile(0.5),
                    ms.value_at_quantile(0.99)
                ));
            }
        }
        if self.from_future > 0 {
            lines.push(format!("{} events came before their `ts`: the clocks disagree, and these figures mean nothing", self.from_future));
        }
        if lines.is_empty() { "no events".to_owned() } else { lines.join("\n") }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    fn args(rooms: &[&str], position: Option<&str>) -> SubscribeArgs {
        SubscribeArgs {
            url: String::new(),
            rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
            token_file: None,
            ca: None,
            since: position.map(|text| since(text).unwrap()),
            count: None,
            latency: false,
        }
    }

    #[test]
    fn each_room_is_asked_for_by_number() {
        let texts = requests(&args(&["a:1", "b:2"], None)).unwrap();
        assert_eq!(texts, [r#"{"id":1,"room":"a:1","type":"subscribe"}"#, r#"{"id":2,"room":"b:2","type":"subscribe"}"#]);
        let with = requests(&args(&["a"], Some("k3:alert.118,update.8840"))).unwrap().remove(0);
        let value: Value = serde_json::from_str(&with).unwrap();
        assert_eq!(value["since"], json!({"epoch": "k3", "seq": {"alert": 118, "update": 8840}}));
        requests(&args(&["a", "b"], Some("k:alert.1"))).unwrap_err();
        requests(&args(&["r"; ROOMS_PER_CONN_MAX + 1], None)).unwrap_err();
    }

    #[test]
    fn what_is_no_position_is_named() {
        for text in
            ["", "k3", "k3:", ":alert.1", "k3:alert", "k3:alert.x", "k3:urgent.1", "k3:alert.1,", "k3:alert.1,alert.2", "k3:alert.-1"]
        {
            assert!(since(text).unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
    }

    /// A server that speaks through tungstenite: sends the texts after the first command, then closes with that code.
    fn server(texts: Vec<&'static str>, code: u16) -> (Connector, JoinHandle<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let mut authorization = String::new();
            #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
            let callback = |request: &tungstenite::handshake::server::Request, mut response: tungstenite::handshake::server::Response| {
                authorization = request.headers()[AUTHORIZATION].to_str().unwrap().to_owned();
                response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, request.headers()[SEC_WEBSOCKET_PROTOCOL].clone());
                Ok(response)
            };
            let mut socket = tungstenite::accept_hdr(listener.accept().unwrap().0, callback).unwrap();
            let command = socket.read().unwrap().to_string();
            for text in texts {
                socket.send(Message::text(text)).unwrap();
            }
            socket.close(Some(CloseFrame { code: code.into(), reason: "why".into() })).unwrap();
            while socket.read().is_ok() {}
            (authorization, command)
        });
        (Connector::new(Endpoint::parse(&url, "ws", "/v1/ws").unwrap(), None).unwrap(), served)
    }

    fn follow(texts: &[&'static str], code: u16, count: Option<u64>) -> (Result<(), Failure>, String, Watch, (String, String)) {
        let (connector, served) = server(texts.to_vec(), code);
        let mut socket = connect(&connector, Some("to.k.en")).unwrap();
        socket.send(Message::text("{\"id\":1}")).unwrap();
        let mut watch = Watch { count, events: 0, latency: Some(Latency::new()) };
        let mut out = Vec::new();
        let result = watch.follow(&mut socket, &mut out, &AtomicBool::new(false));
        drop(socket);
        (result, String::from_utf8(out).unwrap(), watch, served.join().unwrap())
    }

    const WELCOME: &str = r#"{"type":"welcome","ts":1,"data":{}}"#;
    const EVENT: &str = "{\"type\":\"A\",\"room\":\"r\",\"lane\":\"alert\",\"seq\":1,\"ts\":1000,\"data\":{\"a\":\r\n1}}";

    #[test]
    fn each_message_is_one_line() {
        let (result, out, watch, (authorization, command)) = follow(&[WELCOME, EVENT], 1000, None);
        result.unwrap();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], WELCOME);
        assert_eq!(serde_json::from_str::<Value>(lines[1]).unwrap(), serde_json::from_str::<Value>(EVENT).unwrap());
        assert_eq!((watch.events, authorization.as_str(), command.as_str()), (1, "Bearer to.k.en", "{\"id\":1}"));
        assert!(watch.latency.unwrap().report().starts_with("alert: 1 events"));
    }

    #[test]
    fn the_count_is_of_events_alone() {
        let gap = r#"{"type":"gap","room":"r","lane":"alert","epoch":"k","from":1,"to":2}"#;
        let (result, out, watch, _) = follow(&[WELCOME, gap, EVENT, EVENT, EVENT], 1000, Some(2));
        result.unwrap();
        assert_eq!((out.lines().count(), watch.events), (4, 2));
    }

    #[test]
    fn a_refusal_and_a_close_are_failures_that_say_why() {
        let error = r#"{"type":"error","id":1,"code":103,"name":"access_denied","message":"not yours"}"#;
        let (result, out, ..) = follow(&[WELCOME, error], 1000, None);
        assert!(result.unwrap_err().to_string().contains("not yours") && out.contains("access_denied"));
        let (result, ..) = follow(&[WELCOME], 4101, None);
        assert!(result.unwrap_err().to_string().contains("4101 why"));
    }

    #[test]
    fn a_signal_ends_it_in_peace() {
        let (connector, served) = server(Vec::new(), 1000);
        let mut socket = connect(&connector, Some("t")).unwrap();
        let mut watch = Watch { count: None, events: 0, latency: None };
        watch.follow(&mut socket, &mut io::sink(), &AtomicBool::new(true)).unwrap();
        socket.send(Message::text("x")).unwrap();
        drop(socket);
        served.join().unwrap();
    }

    #[test]
    fn a_refused_handshake_shows_the_answer_and_not_the_token() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let connector = Connector::new(Endpoint::parse(&url, "ws", "/v1/ws").unwrap(), None).unwrap();
        let served = thread::spawn(move || {
            use std::io::BufRead;
            let mut peer = io::BufReader::new(listener.accept().unwrap().0);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && peer.read_line(&mut head).unwrap() > 0 {}
            peer.get_mut().write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 15\r\n\r\n{\"name\":\"auth\"}").unwrap();
        });
        let message = connect(&connector, Some("hush")).map(drop).unwrap_err().to_string();
        served.join().unwrap();
        assert!(message.contains("401") && message.contains("auth") && !message.contains("hush"), "{message}");
    }

    #[test]
    fn disagreeing_clocks_are_told() {
        let mut latency = Latency::new();
        assert_eq!(latency.report(), "no events");
        latency.record(Lane::Update, 1_000, 1_003);
        latency.record(Lane::Update, 2_000, 1_000);
        assert_eq!(latency.report().lines().count(), 2);
        assert!(latency.report().contains("update: 1 events, p50 3 ms, p99 3 ms") && latency.report().contains("1 events came before"));
    }
}
