//! The admin listener: `/metrics`, `/livez`, `/readyz`, on its own thread, so that a scrape never waits for a push nor a push
//! for a scrape. One request a connection, each on a short-lived thread with a deadline; a few at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::base::codes::{self, Refusal};
use crate::base::limits::HTTP_HEAD_BYTES_MAX;
use crate::wire::http;

use super::health::{Health, State};

/// A request must be there, and its answer taken, within this.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);
/// Requests served at once; more are refused.
const REQUESTS_MAX: usize = 64;

/// What the listener tells.
pub struct Admin {
    /// The daemon's state.
    pub health: Arc<Health>,
    /// Makes the text of `/metrics`.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// Binds the listener and serves it on a thread of its own until the process ends.
pub fn serve(addr: SocketAddr, admin: Admin) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(addr)?;
    let bound = listener.local_addr()?;
    let admin = Arc::new(admin);
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || accept(&listener, &admin))?;
    Ok(bound)
}

fn accept(listener: &TcpListener, admin: &Arc<Admin>) {
    let serving = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(100)); // out of descriptors: give others time to close some
            continue;
        };
        let Some(seat) = Seat::take(&serving) else {
            tracing::warn!(
                event = "admin_request_dropped",
                "{REQUESTS_MAX} admin requests are being served, which is all that may be: find who holds them"
            );
            continue; // the connection is closed
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
    let mut out = Vec::new();
    match read_head(&mut stream)? {
        None => http::write_refusal(&mut out, 400, &Refusal::new(codes::INVALID_FIELD, "no complete request head came"), false, &[]),
        Some(head) => match http::parse_head(&head) {
            Ok(http::Head::Complete { request, .. }) => {
                respond(&mut out, request.method, request.path, admin);
                if request.method == "HEAD" {
                    http::strip_body(&mut out, 0);
                }
            }
            Ok(http::Head::Partial) => return Ok(()),
            Err(refused) => http::write_refusal(&mut out, refused.status, &refused.refusal, false, &[]),
        },
    }
    stream.write_all(&out)
}

/// The bytes up to the end of the head; `None` if it is too long or does not come in time.
fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + REQUEST_DEADLINE;
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > HTTP_HEAD_BYTES_MAX {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(n) => head.extend_from_slice(&chunk[..n]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(head))
}

fn respond(out: &mut Vec<u8>, method: &str, path: &str, admin: &Admin) {
    const TEXT: &str = "text/plain; charset=utf-8";
    match (method, path) {
        ("GET" | "HEAD", "/metrics") => {
            http::write_response(out, 200, "text/plain; version=0.0.4; charset=utf-8", false, &[], (admin.metrics)().as_bytes());
        }
        ("GET" | "HEAD", "/livez") => http::write_response(out, 200, TEXT, false, &[], b"live\n"),
        ("GET" | "HEAD", "/readyz") => {
            let state = admin.health.state();
            let status = if state == State::Ready { 200 } else { 503 };
            http::write_response(out, status, TEXT, false, &[], format!("{}\n", state.name()).as_bytes());
        }
        (_, "/metrics" | "/livez" | "/readyz") => {
            let refusal = Refusal::new(codes::BAD_STATE, "use GET");
            http::write_refusal(out, 405, &refusal, false, &[("Allow", "GET")]);
        }
        _ => {
            let refusal = Refusal::new(codes::NOT_FOUND, "the admin listener has /metrics, /livez and /readyz");
            http::write_refusal(out, 404, &refusal, false, &[]);
        }
    }
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
