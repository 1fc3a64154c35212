//! The admin listener: `/metrics`, `/livez`, `/readyz`, `/healthz`, what else an operator reads, and a few actions, on its own thread, so that a scrape
//! never waits for a push nor a push for a scrape. One request a connection, each on a short-lived thread with a deadline; a few at a time.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::base::codes::{self, ErrorCode, Refusal};
use crate::base::limits::{ADMIN_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX};
use crate::wire::http::{self, HttpRefusal, Request};

use super::health::Health;

/// What probes and scrapes ask for.
const PROBES: [&str; 4] = ["/metrics", "/livez", "/readyz", "/healthz"];
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// A request must be there, and its answer taken, within this.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);
/// Requests served at once; more are refused.
const REQUESTS_MAX: usize = 64;
/// Refused ones that are kept until their clients have read why: to close at once, with a request that was not read, would be a reset.
const REFUSED_KEPT: usize = 64;
/// How often it is told that requests are refused.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Who asks: nothing is known of who comes by the admin listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// As a token with the scope `admin` says.
    pub user: Option<Arc<str>>,
    /// From where.
    pub ip: Option<IpAddr>,
}

/// Does what the body of a POST asks for; the answer is JSON.
pub type Action = Box<dyn Fn(&Caller, &[u8]) -> Result<String, Refusal> + Send + Sync>;

/// Makes the JSON that a GET with that query asks for.
pub type View = Box<dyn Fn(&str) -> Result<String, Refusal> + Send + Sync>;

/// What an operator is told, and can have done.
pub struct Admin {
    /// The daemon's state and that of its parts.
    pub health: Arc<Health>,
    /// Makes the text of `/metrics`.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Paths that take a GET, beside those for probes.
    pub views: Vec<(&'static str, View)>,
    /// Paths that take a POST.
    pub actions: Vec<(&'static str, Action)>,
}

/// Serves the listener on a thread of its own until the process ends. Where it is bound to.
pub fn serve(listener: TcpListener, admin: &Arc<Admin>) -> std::io::Result<SocketAddr> {
    let bound = listener.local_addr()?;
    let admin = Arc::clone(admin);
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || accept(&listener, &admin))?;
    Ok(bound)
}

fn accept(listener: &TcpListener, admin: &Arc<Admin>) {
    let serving = Arc::new(AtomicUsize::new(0));
    let mut refusals = Refusals::default();
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(100)); // out of descriptors: give others time to close some
            continue;
        };
        let Some(seat) = Seat::take(&serving) else {
            refusals.refuse(stream);
            continue;
        };
        let admin = Arc::clone(admin);
        let thread = std::thread::Builder::new().name("admin-request".to_owned());
        let spawned = thread.spawn(move || {
            if let Err(error) = answer(stream, &admin) {
                tracing::debug!(event = "admin_request_failed", %error);
            }
            drop(seat);
        });
        if let Err(error) = spawned {
            tracing::warn!(event = "admin_thread_failed", %error, "an admin request was dropped: the system gave no thread");
        }
    }
}

/// Those who come while as many are served as may be.
#[derive(Default)]
struct Refusals {
    kept: VecDeque<TcpStream>,
    told: Option<Instant>,
    untold: u64,
}

impl Refusals {
    /// Answers 503 without a look at the request, and without waiting for who sent it.
    fn refuse(&mut self, mut stream: TcpStream) {
        let refusal = Refusal::passing(codes::OVER_CAPACITY, "too many admin requests at once: try again after retry_after_ms", 1_000);
        let mut out = Vec::new();
        http::write_refusal(&mut out, 503, &refusal, false, &[]);
        // Best effort: who is gone, or has a full socket, hears nothing.
        let said = stream.set_nonblocking(true).and_then(|()| stream.write_all(&out)).and_then(|()| stream.shutdown(Shutdown::Write));
        if said.is_ok() {
            self.kept.push_back(stream);
            self.kept.drain(..self.kept.len().saturating_sub(REFUSED_KEPT));
        }
        self.untold += 1;
        if self.told.is_none_or(|told| told.elapsed() >= REFUSALS_TOLD_EVERY) {
            tracing::warn!(
                event = "admin_request_dropped",
                count = self.untold,
                "{REQUESTS_MAX} admin requests are being served, which is all that may be: find who holds them"
            );
            (self.told, self.untold) = (Some(Instant::now()), 0);
        }
    }
}

/// One of the requests that are served at once; given back however the request ends, also if it never begins.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(serving: &Arc<AtomicUsize>) -> Option<Seat> {
        let one_more = |now| (now < REQUESTS_MAX).then_some(now + 1);
        serving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Seat(Arc::clone(serving)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(mut stream: TcpStream, admin: &Admin) -> std::io::Result<()> {
    stream.set_write_timeout(Some(REQUEST_DEADLINE))?;
    let mut input = Input { stream: &mut stream, bytes: Vec::new(), deadline: Instant::now() + REQUEST_DEADLINE };
    let mut out = Vec::new();
    let is_there = input.read_until(|bytes| bytes.windows(4).any(|window| window == b"\r\n\r\n"), HTTP_HEAD_BYTES_MAX)?;
    let head = std::mem::take(&mut input.bytes);
    match http::parse_head(&head) {
        Ok(http::Head::Complete { request, used }) => {
            input.bytes = head[used..].to_vec();
            if let Err(refusal) = respond(&mut out, &request, &mut input, admin) {
                refusal.write(&mut out, false);
            }
            if request.method == "HEAD" {
                http::strip_body(&mut out, 0);
            }
        }
        Ok(http::Head::Partial) if is_there => return Ok(()),
        Ok(http::Head::Partial) => {
            http::write_refusal(&mut out, 400, &Refusal::new(codes::INVALID_FIELD, "no complete request head came"), false, &[]);
        }
        Err(refused) => http::write_refusal(&mut out, refused.status, &refused.refusal, false, &[]),
    }
    stream.write_all(&out)
}

/// What a client has sent, and the time it has for it.
struct Input<'a> {
    stream: &'a mut TcpStream,
    bytes: Vec<u8>,
    deadline: Instant,
}

impl Input<'_> {
    /// Reads until there is enough; false if that is more than `bytes_max`, or does not come in time.
    fn read_until(&mut self, is_enough: impl Fn(&[u8]) -> bool, bytes_max: usize) -> std::io::Result<bool> {
        let mut chunk = [0; 4096];
        while !is_enough(&self.bytes) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.bytes.len() > bytes_max {
                return Ok(false);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Writes the answer, or says why not.
fn respond(out: &mut Vec<u8>, request: &Request<'_>, input: &mut Input<'_>, admin: &Admin) -> Result<(), HttpRefusal> {
    check_host(request)?;
    let query = request.query.unwrap_or_default();
    let answer = admin.answer(&Caller::default(), request.method, request.path, query, || read_body(request, input))?;
    http::write_response(out, answer.status, answer.media_type, false, &[], answer.body.as_bytes());
    Ok(())
}

/// What is answered to a request that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Of the body.
    pub media_type: &'static str,
    /// The body.
    pub body: String,
}

impl Admin {
    /// Answers a request. `body`: reads what comes with a POST.
    pub fn answer(
        &self,
        caller: &Caller,
        method: &str,
        path: &str,
        query: &str,
        body: impl FnOnce() -> Result<Vec<u8>, HttpRefusal>,
    ) -> Result<Answer, HttpRefusal> {
        if let Some((_, act)) = self.actions.iter().find(|(known, _)| *known == path) {
            if method != "POST" {
                return Err(refused(405, codes::METHOD_NOT_ALLOWED, "use POST", Some("Allow: POST")));
            }
            return Ok(Answer { status: 200, media_type: JSON, body: act(caller, &body()?)? });
        }
        let view = self.views.iter().find(|(known, _)| *known == path);
        if view.is_none() && !PROBES.contains(&path) {
            return Err(refused(404, codes::NOT_FOUND, self.paths(""), None));
        }
        if !matches!(method, "GET" | "HEAD") {
            return Err(refused(405, codes::METHOD_NOT_ALLOWED, "use GET", Some("Allow: GET")));
        }
        let (status, media_type, body) = match (path, view) {
            (_, Some((_, view))) => (200, JSON, view(query)?),
            ("/metrics", _) => (200, "text/plain; version=0.0.4; charset=utf-8", (self.metrics)()),
            ("/readyz", _) => {
                let readiness = self.health.readiness();
                (if readiness.is_ready { 200 } else { 503 }, TEXT, format!("{}\n", readiness.word))
            }
            ("/healthz", _) => {
                let (is_alive, report) = self.health.report();
                (if is_alive { 200 } else { 503 }, JSON, format!("{report}\n"))
            }
            _ => (200, TEXT, "live\n".to_owned()),
        };
        Ok(Answer { status, media_type, body })
    }

    /// The same with a name below `place` in the path's stead: `stats` is `/v1/stats`, and `metrics` is `/metrics`.
    pub fn answer_below(
        &self,
        place: &str,
        caller: &Caller,
        method: &str,
        name: &str,
        query: &str,
        body: impl FnOnce() -> Result<Vec<u8>, HttpRefusal>,
    ) -> Result<Answer, HttpRefusal> {
        let mut paths = self.reads().chain(self.actions.iter().map(|(path, _)| *path));
        let Some(path) = paths.find(|path| name_of(path) == name) else {
            return Err(refused(404, codes::NOT_FOUND, self.paths(place), None));
        };
        self.answer(caller, method, path, query, body)
    }

    fn reads(&self) -> impl Iterator<Item = &'static str> {
        PROBES.into_iter().chain(self.views.iter().map(|(path, _)| *path))
    }

    /// What there is, for who asks for something else; below that place, if it is not empty.
    fn paths(&self, place: &str) -> String {
        let told = |path: &str| if place.is_empty() { path.to_owned() } else { format!("{place}{}", name_of(path)) };
        let reads: Vec<_> = self.reads().map(told).collect();
        let actions: Vec<_> = self.actions.iter().map(|(path, _)| told(path)).collect();
        format!("no such path: there are GET {}, and POST {}", reads.join(", "), actions.join(", "))
    }
}

/// The last part of a path.
fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// This listener is on loopback and asks for no token, so that a browser of this machine is the one way in from elsewhere: by a name that
/// was made to mean 127.0.0.1 (DNS rebinding), which this refuses, or by a request across origins, which [`read_body`] does.
fn check_host(request: &Request<'_>) -> Result<(), HttpRefusal> {
    let Some(host) = request.header("host")? else { return Ok(()) }; // HTTP/1.0, which no browser speaks
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
    if name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback()) {
        return Ok(());
    }
    Err(refused(403, codes::FORBIDDEN, "this listener is for this machine: call it by its address, or as localhost", None))
}

fn read_body(request: &Request<'_>, input: &mut Input<'_>) -> Result<Vec<u8>, HttpRefusal> {
    if request.header("origin")?.is_some() {
        return Err(refused(403, codes::FORBIDDEN, "web pages may not use this listener", None));
    }
    let len = request.json_len(ADMIN_BODY_BYTES_MAX)?;
    if !matches!(input.read_until(|bytes| bytes.len() >= len, len), Ok(true)) {
        return Err(refused(408, codes::INVALID_FIELD, "the body did not come in time", None));
    }
    Ok(input.bytes[..len].to_vec())
}

fn refused(status: u16, error: ErrorCode, message: impl Into<String>, extra_header: Option<&'static str>) -> HttpRefusal {
    HttpRefusal { status, refusal: Refusal::new(error, message), extra_header }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_limited_and_given_back() {
        let serving = Arc::new(AtomicUsize::new(0));
        let mut seats: Vec<_> = (0..REQUESTS_MAX).map_while(|_| Seat::take(&serving)).collect();
        assert_eq!(seats.len(), REQUESTS_MAX);
        assert!(Seat::take(&serving).is_none());
        seats.pop();
        assert!(Seat::take(&serving).is_some());
        drop(seats);
        assert_eq!(serving.load(Ordering::Relaxed), 0);
    }
}
