//! `tickerd publish`: NDJSON on stdin to a running daemon, over its unix socket or by HTTP.

use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use clap::{ArgGroup, Args};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::base::limits::{HTTP_BODY_BYTES_MAX, PUBLISH_BYTES_MAX};

use super::endpoint::Endpoint;
use super::http::{HttpClient, Response};
use super::line::Connector;
use super::lines::{Line, Lines};
use super::{Failure, complain, emit, token};

/// Lines in one request: enough to make the request's own cost small, few enough to be answered soon.
const BATCH_LINES_MAX: usize = 256;
/// An answer names a room, a few numbers and a message.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(BATCH_LINES_MAX * 1024 <= HTTP_BODY_BYTES_MAX && PUBLISH_BYTES_MAX < HTTP_BODY_BYTES_MAX);

/// Publish NDJSON from stdin: one event per line, `{"type": …, "data": {…}}`. Exits with 1 if any was refused.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("to").required(true).args(["socket", "url"])))]
pub(super) struct PublishArgs {
    /// The daemon's publish socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[arg(long, value_name = "URL", help = "The daemon's address, such as http://127.0.0.1:8080 or https://desk.example")]
    url: Option<String>,
    /// File with a token that has the scope `publish`, for --url; without it, the token itself in `TICKERD_TOKEN`
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    token_file: Option<PathBuf>,
    /// File with the certificates of the authorities to trust, for an https URL; without it, those that this machine trusts
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    ca: Option<PathBuf>,
    /// Print each answer
    #[arg(long)]
    acks: bool,
}

/// Publishes stdin.
pub(super) fn run(args: PublishArgs) -> Result<(), Failure> {
    let out = args.acks.then(io::stdout);
    let tally = match (args.socket, args.url) {
        (Some(path), _) => over_socket(&path, io::stdin(), out)?,
        (None, Some(url)) => {
            let endpoint = Endpoint::parse(&url, "http", "/v1/publish").map_err(|e| Failure::Usage(format!("--url: {e}")))?;
            let connector = Connector::new(endpoint, args.ca.as_deref())?;
            over_http(HttpClient::new(connector, token(args.token_file.as_deref())?), io::stdin(), out)?
        }
        (None, None) => return Err(Failure::Usage("give --socket PATH or --url URL".to_owned())),
    };
    tally.verdict()
}

/// What became of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: u64,
    refused: u64,
    first_refusal: Option<String>,
}

impl Tally {
    fn count(&mut self, answer: &[u8]) {
        #[derive(Deserialize)]
        struct Answer {
            ok: bool,
        }
        match serde_json::from_slice(answer) {
            Ok(Answer { ok: true }) => self.accepted += 1,
            _ => self.refuse(1, &String::from_utf8_lossy(answer)),
        }
    }

    fn refuse(&mut self, lines: u64, why: &str) {
        self.refused += lines;
        self.first_refusal.get_or_insert_with(|| why.trim_end().to_owned());
    }

    fn verdict(self) -> Result<(), Failure> {
        let Some(first) = self.first_refusal else { return Ok(()) };
        Err(Failure::Failed(format!("{} of {} events were refused; the first: {first}", self.refused, self.accepted + self.refused)))
    }
}

/// What the sending thread and the one that reads the answers have to agree on: when is it over?
#[derive(Default)]
struct Progress {
    tally: Tally,
    /// Lines that the daemon owes an answer, and those it gave one.
    sent: u64,
    answered: u64,
    /// Nothing more will be sent.
    finished: bool,
    failure: Option<String>,
}

impl Progress {
    fn is_over(&self) -> bool {
        self.finished && self.answered >= self.sent
    }
}

/// Sends on one thread and reads answers on this one, so that neither side waits for the other's buffers; the daemon's credit
/// window is the bound. The sender is not joined: it may sit in a read of stdin that nothing ends when the daemon is gone.
fn over_socket<R: Read + Send + 'static>(path: &Path, input: R, mut out: Option<impl Write>) -> Result<Tally, Failure> {
    let failed = |e: io::Error| Failure::Failed(format!("--socket {}: {e}", path.display()));
    let stream = UnixStream::connect(path).map_err(failed)?;
    let sending = stream.try_clone().map_err(failed)?;
    let progress = Arc::new(Mutex::new(Progress::default()));
    let theirs = Arc::clone(&progress);
    thread::Builder::new().name("sender".to_owned()).spawn(move || send(&sending, input, &theirs)).map_err(failed)?;

    let mut answers = Lines::new(&stream, ANSWER_BYTES_MAX);
    let mut answer = Vec::new();
    while !progress.lock().is_over() && answers.next(&mut answer).map_err(failed)? != Line::End {
        {
            let mut progress = progress.lock();
            progress.answered += 1;
            progress.tally.count(&answer);
        }
        print_answer(&mut out, &mut answer)?;
    }
    let mut progress = progress.lock();
    match progress.failure.take() {
        Some(failure) => Err(Failure::Failed(failure)),
        None if progress.is_over() => Ok(std::mem::take(&mut progress.tally)),
        None => Err(Failure::Failed(format!(
            "the daemon closed the connection; {} of {} events sent are unanswered, and may have been published or not",
            progress.sent.saturating_sub(progress.answered),
            progress.sent
        ))),
    }
}

fn send(stream: &UnixStream, input: impl Read, progress: &Mutex<Progress>) {
    let result = send_lines(stream, input, progress);
    let mut progress = progress.lock();
    progress.finished = true;
    // A broken connection is told by the side that reads, which knows what is unanswered.
    progress.failure = result.err().filter(|e| e.kind() != io::ErrorKind::BrokenPipe).map(|e| e.to_string());
    if progress.is_over() || progress.failure.is_some() {
        // The other thread may be waiting for answers that will not come. If this fails, the connection is gone already.
        stream.shutdown(Shutdown::Both).ok();
    }
}

fn send_lines(stream: &UnixStream, input: impl Read, progress: &Mutex<Progress>) -> io::Result<()> {
    let mut lines = Lines::new(input, PUBLISH_BYTES_MAX);
    let mut writer = BufWriter::with_capacity(64 * 1024, stream);
    let mut line = Vec::new();
    while next_event(&mut lines, &mut line, |why| progress.lock().tally.refuse(1, why)).map_err(|e| stdin_error(&e))? {
        // Counted before it can be answered.
        progress.lock().sent += 1;
        line.push(b'\n');
        writer.write_all(&line)?;
        if !lines.ready() {
            writer.flush()?;
        }
    }
    writer.flush()
}

/// Posts batch after batch; a batch is what stdin has at hand, so that a slow producer's events do not wait for company.
fn over_http(mut client: HttpClient, input: impl Read, mut out: Option<impl Write>) -> Result<Tally, Failure> {
    let mut lines = Lines::new(input, PUBLISH_BYTES_MAX);
    let mut tally = Tally::default();
    let mut body = Vec::new();
    loop {
        let count = batch(&mut lines, &mut body, &mut tally).map_err(|e| Failure::Failed(stdin_error(&e).to_string()))?;
        if count == 0 {
            return Ok(tally);
        }
        let mut response = client.post(&body).map_err(|e| {
            Failure::Failed(format!(
                "--url: {e}; {} events are answered, the next {count} may have been published or not",
                tally.accepted + tally.refused
            ))
        })?;
        judge(&response, count, &mut tally)?;
        while response.body.last() == Some(&b'\n') {
            response.body.pop();
        }
        print_answer(&mut out, &mut response.body)?;
    }
}

/// Fills the body with at least one line, and further ones as long as they need no waiting. Zero lines: the input has ended.
fn batch(lines: &mut Lines<impl Read>, body: &mut Vec<u8>, tally: &mut Tally) -> io::Result<u64> {
    let mut line = Vec::new();
    let mut count = 0;
    body.clear();
    while next_event(lines, &mut line, |why| tally.refuse(1, why))? {
        body.append(&mut line);
        body.push(b'\n');
        count += 1;
        if count == BATCH_LINES_MAX as u64 || body.len() + PUBLISH_BYTES_MAX >= HTTP_BODY_BYTES_MAX || !lines.ready() {
            break;
        }
    }
    Ok(count)
}

/// Counts the answers to a batch. What would befall every further batch as well ends the command.
fn judge(response: &Response, count: u64, tally: &mut Tally) -> Result<(), Failure> {
    let answers: Vec<&[u8]> = response.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    match response.status {
        401 | 403..=405 | 500..=502 => Err(Failure::Failed(format!(
            "the daemon refused with HTTP {}: {}; {} events were answered before",
            response.status,
            String::from_utf8_lossy(&response.body).trim_end(),
            tally.accepted + tally.refused
        ))),
        _ if answers.len() as u64 == count => {
            for answer in answers {
                tally.count(answer);
            }
            Ok(())
        }
        200..=299 => Err(Failure::Failed(format!("{} answers came for {count} events: is this address tickerd's?", answers.len()))),
        status => {
            tally.refuse(count, &format!("HTTP {status} {}", String::from_utf8_lossy(&response.body)));
            Ok(())
        }
    }
}

/// Reads the next event's line, passing over those that are too long for any daemon to take; false at the end.
fn next_event(lines: &mut Lines<impl Read>, line: &mut Vec<u8>, mut refuse: impl FnMut(&str)) -> io::Result<bool> {
    loop {
        match lines.next(line)? {
            Line::Whole => return Ok(true),
            Line::End => return Ok(false),
            Line::TooLong => {
                let why = format!("line {} is longer than {PUBLISH_BYTES_MAX} bytes and was not sent", lines.number);
                complain(&why);
                refuse(&why);
            }
        }
    }
}

fn print_answer(out: &mut Option<impl Write>, answer: &mut Vec<u8>) -> Result<(), Failure> {
    let Some(out) = out else { return Ok(()) };
    answer.push(b'\n');
    emit(out, answer)
}

fn stdin_error(e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("cannot read stdin: {e}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Cursor};
    use std::os::unix::net::UnixListener;

    use super::*;

    const OK: &str = "{\"ok\":true}\n";
    const NO: &str = "{\"ok\":false,\"name\":\"queue_full\"}\n";

    struct Daemon {
        path: PathBuf,
        thread: thread::JoinHandle<u64>,
    }

    /// A daemon that answers each line with what `answer` says, and closes when that is nothing. Gives the number of lines it read.
    fn daemon(name: &str, answer: impl Fn(u64) -> Option<&'static str> + Send + 'static) -> Daemon {
        let path = std::env::temp_dir().join(format!("tickerd-publish-{name}-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let thread = thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            let mut lines = 0;
            for line in BufReader::new(&stream).lines() {
                if line.is_err() {
                    break;
                }
                let Some(text) = answer(lines) else { break };
                lines += 1;
                if (&stream).write_all(text.as_bytes()).is_err() {
                    break;
                }
            }
            lines
        });
        Daemon { path, thread }
    }

    fn publish(daemon: Daemon, input: impl Read + Send + 'static) -> (Result<Tally, Failure>, Vec<u8>, u64) {
        let mut out = Vec::new();
        let result = over_socket(&daemon.path, input, Some(&mut out));
        let lines = daemon.thread.join().unwrap();
        std::fs::remove_file(&daemon.path).unwrap();
        (result, out, lines)
    }

    #[test]
    fn every_answer_is_counted_and_printed_in_order() {
        let daemon = daemon("count", |line| Some(if line == 1 { NO } else { OK }));
        let (result, out, lines) = publish(daemon, Cursor::new("{}\n\n{}\n{}"));
        let tally = result.unwrap();
        assert_eq!((tally.accepted, tally.refused, lines), (2, 1, 3));
        assert_eq!(String::from_utf8(out).unwrap(), format!("{OK}{NO}{OK}"));
        let message = tally.verdict().unwrap_err().to_string();
        assert!(message.contains("1 of 3") && message.contains("queue_full"), "{message}");
    }

    /// Far more than socket buffers hold, both ways: neither side may wait for the other for ever.
    #[test]
    fn a_long_input_is_pipelined() {
        let daemon = daemon("long", |_| Some(OK));
        let (result, out, lines) = publish(daemon, Cursor::new("{\"type\":\"t\"}\n".repeat(100_000)));
        assert_eq!((result.unwrap().accepted, out.len(), lines), (100_000, 100_000 * OK.len(), 100_000));
    }

    #[test]
    fn an_empty_input_is_no_error() {
        let (result, out, _) = publish(daemon("empty", |_| Some(OK)), io::empty());
        assert_eq!((result.unwrap(), out.len()), (Tally::default(), 0));
    }

    #[test]
    fn a_daemon_that_goes_away_is_told_with_what_is_unanswered() {
        let daemon = daemon("gone", |line| (line < 1).then_some(OK));
        let (result, ..) = publish(daemon, Cursor::new("{}\n{}\n"));
        let message = result.unwrap_err().to_string();
        assert!(message.contains("1 of 2 events sent are unanswered"), "{message}");
    }

    /// A producer that stays silent must not keep the command from seeing that the daemon is gone.
    #[test]
    fn a_silent_input_does_not_hide_that_the_daemon_is_gone() {
        struct Endless(bool);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0 {
                    loop {
                        thread::park();
                    }
                }
                self.0 = true;
                buffer[..3].copy_from_slice(b"{}\n");
                Ok(3)
            }
        }
        let (result, ..) = publish(daemon("silent", |_| None), Endless(false));
        assert!(result.unwrap_err().to_string().contains("1 of 1"));
    }

    #[test]
    fn too_long_a_line_is_refused_here_and_the_rest_goes_on() {
        let daemon = daemon("toolong", |_| Some(OK));
        let input = format!("{{}}\n{}\n{{}}\n", "x".repeat(PUBLISH_BYTES_MAX + 1));
        let (result, _, lines) = publish(daemon, Cursor::new(input));
        let tally = result.unwrap();
        assert_eq!((tally.accepted, tally.refused, lines), (2, 1, 2));
        assert!(tally.first_refusal.unwrap().contains("line 2"));
    }

    #[test]
    fn batches_end_where_waiting_would_begin_or_at_their_bounds() {
        let mut lines = Lines::new(Cursor::new("{}\n".repeat(BATCH_LINES_MAX + 3)), PUBLISH_BYTES_MAX);
        let (mut body, mut tally) = (Vec::new(), Tally::default());
        let mut sizes = Vec::new();
        loop {
            match batch(&mut lines, &mut body, &mut tally).unwrap() {
                0 => break,
                n => sizes.push((n, body.len())),
            }
        }
        assert_eq!(sizes, [(256, 256 * 3), (3, 9)]);

        let large = format!("{}\n", "x".repeat(PUBLISH_BYTES_MAX)).repeat(100);
        let mut lines = Lines::new(Cursor::new(large), PUBLISH_BYTES_MAX);
        while batch(&mut lines, &mut body, &mut tally).unwrap() > 0 {
            assert!(body.len() <= HTTP_BODY_BYTES_MAX);
        }
    }

    #[test]
    fn answers_over_http_are_judged_by_line_or_by_status() {
        let judged = |status, body: String, count| {
            let mut tally = Tally::default();
            judge(&Response { status, body: body.into_bytes() }, count, &mut tally).map(|()| (tally.accepted, tally.refused))
        };
        assert_eq!(judged(200, format!("{OK}{NO}"), 2).unwrap(), (1, 1));
        assert_eq!(judged(429, format!("{NO}{NO}"), 2).unwrap(), (0, 2));
        assert_eq!(judged(503, NO.to_owned(), 3).unwrap(), (0, 3));
        assert_eq!(judged(409, NO.to_owned(), 1).unwrap(), (0, 1));
        judged(200, OK.to_owned(), 2).unwrap_err();
        assert!(judged(401, NO.to_owned(), 1).unwrap_err().to_string().contains("HTTP 401"));
    }
}
