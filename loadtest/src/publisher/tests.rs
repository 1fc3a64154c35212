//! The thread against a server that a test plays.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::control::Target;
use crate::scenarios::named;
use crate::stamp::{STAMP_LEN, Stamp};

const PATIENCE: Duration = Duration::from_secs(60);

/// A publish socket of its own, and what `serve` makes of its lines: each call gets a line and says what to answer.
struct Server {
    path: PathBuf,
    thread: JoinHandle<Vec<Stamp>>,
}

fn server(name: &str, mut serve: impl FnMut(usize) -> Option<String> + Send + 'static) -> Server {
    let path = std::env::temp_dir().join(format!("tickerd-loadtest-{}-{name}.sock", std::process::id()));
    std::fs::remove_file(&path).ok();
    let listener = UnixListener::bind(&path).expect("a socket in the directory for temporary files");
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the publisher comes");
        let mut out: UnixStream = stream.try_clone().expect("a second handle");
        let mut stamps = Vec::new();
        for (at, line) in BufReader::new(stream).lines().map_while(Result::ok).enumerate() {
            let end = line.len() - 3;
            stamps.push(Stamp::read(&line.as_bytes()[end - STAMP_LEN..end]).expect("a stamp"));
            let Some(answer) = serve(at) else { continue };
            if writeln!(out, "{answer}").is_err() {
                break;
            }
        }
        stamps
    });
    Server { path, thread }
}

fn start(server: &Server, has_answers: bool) -> (Publisher, Receiver<Said>) {
    let target = Target { url: String::new(), key: None, ca: None, issuer: None, audience: None, is_floor: false };
    let socket = Socket::connect(&target, Some(&server.path)).expect("the server listens");
    let (sender, said) = channel();
    let mut scenario = named("broadcast").expect("built in");
    scenario.flows[0].rate = 1_000.0;
    let publisher = Publisher::start(&scenario, 7, socket, has_answers, None, move |what| {
        sender.send(what).ok();
    });
    (publisher.expect("starts"), said)
}

fn span(length: Duration) -> Span {
    let from_ns = now_ns() + 1_000_000;
    let until_ns = from_ns + length.as_nanos() as u64;
    Span { from_ns, measured_ns: from_ns, until_ns, factor: 1.0, backlog_ns_max: 10_000_000_000, may_give_up: false }
}

fn done(said: &Receiver<Said>) -> Done {
    match said.recv_timeout(PATIENCE) {
        Ok(Said::Done(done)) => done,
        other => panic!("{other:?}"),
    }
}

fn account(said: &Receiver<Said>) -> Account {
    match said.recv_timeout(PATIENCE) {
        Ok(Said::Account(account)) => account,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_due_is_sent_once_and_answered() {
    let server = server("plain", |at| {
        let refused = r#"{"ok":false,"name":"queue_full","message":"full"}"#;
        Some(if at == 5 { refused } else { r#"{"ok":true,"result":"accepted"}"# }.to_owned())
    });
    let (publisher, said) = start(&server, true);
    publisher.publish(span(Duration::from_millis(200)));
    let first = done(&said);
    publisher.publish(span(Duration::from_millis(100)));
    let second = done(&said);
    publisher.end();
    let account = account(&said);
    drop(publisher);
    let stamps = server.thread.join().expect("the server ends");
    assert_eq!((first.refused, second.refused, first.gave_up), (1, 0, false));
    assert!((195..=205).contains(&first.published[0]) && (95..=105).contains(&second.published[0]), "{first:?} {second:?}");
    assert_eq!(first.slip.len(), first.published[0]);
    assert_eq!((account.sent[0] as usize, account.refused), (stamps.len(), vec![vec![5]]));
    assert_eq!(account.answers["accepted"] + 1, account.sent[0]);
    assert_eq!(account.last_refusal, "full");
    for (at, stamp) in stamps.iter().enumerate() {
        assert_eq!((stamp.run, stamp.n), (7, at as u32 + 1));
        assert!(stamp.sent_ns >= stamp.intended_ns);
    }
}

/// A server that reads nothing for a while gets every event later, with the time at which it was due.
#[test]
fn a_stalled_server_is_charged_from_the_intended_times() {
    let server = server("stalled", |at| {
        if at == 20 {
            std::thread::sleep(Duration::from_millis(300));
        }
        None
    });
    let (publisher, said) = start(&server, false);
    // So much that the socket's buffer is full long before the stall is over.
    publisher.publish(Span { factor: 100.0, ..span(Duration::from_millis(200)) });
    let done = done(&said);
    drop(publisher);
    let stamps = server.thread.join().expect("the server ends");
    assert_eq!(stamps.len() as u64, done.published[0]);
    assert!(stamps.windows(2).all(|pair| pair[0].intended_ns <= pair[1].intended_ns));
    assert!(done.kept_waiting_ns > 150_000_000 && done.slip.max() > 100_000_000, "{done:?}");
}

#[test]
fn a_server_that_takes_too_little_ends_the_span() {
    let server = server("slow", |_| {
        std::thread::sleep(Duration::from_millis(1));
        None
    });
    let (publisher, said) = start(&server, false);
    let span = Span { factor: 50.0, backlog_ns_max: 100_000_000, may_give_up: true, ..span(Duration::from_secs(30)) };
    publisher.publish(span);
    let done = done(&said);
    assert!(done.gave_up && done.until_ns < span.until_ns, "{done:?}");
    drop(publisher);
    server.thread.join().expect("the server ends");
}

/// What was sent and answered until then is not lost with the connection, and what was not answered is owed by nobody.
#[test]
fn a_server_that_ends_the_connection_leaves_an_account() {
    let path = std::env::temp_dir().join(format!("tickerd-loadtest-{}-ends.sock", std::process::id()));
    std::fs::remove_file(&path).ok();
    let listener = UnixListener::bind(&path).expect("a socket in the directory for temporary files");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the publisher comes");
        let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        for _ in 0..10 {
            lines.next().expect("the publisher goes on").expect("text");
            writeln!(stream, r#"{{"ok":true,"result":"accepted"}}"#).expect("the publisher reads");
        }
    });
    let (publisher, said) = start(&Server { path, thread: std::thread::spawn(Vec::new) }, true);
    publisher.publish(span(Duration::from_secs(3_600)));
    let Ok(Said::Failed(failed)) = said.recv_timeout(PATIENCE) else { panic!("it goes on without a server") };
    thread.join().expect("the server ends");
    let (done, account) = (failed.done.expect("a span was begun"), &failed.account);
    assert!(failed.why.contains("the publisher's connection"), "{}", failed.why);
    assert!(done.published[0] >= 10 && done.until_ns <= now_ns(), "{done:?}");
    assert_eq!(account.answers["accepted"], 10);
    let unanswered = account.answers.get("unanswered").copied().unwrap_or(0);
    assert_eq!((account.sent[0], account.refused[0].len() as u64), (10 + unanswered, unanswered));
}

#[test]
fn a_server_that_goes_away_is_told() {
    let gone = server("gone", |at| (at < 10).then(|| r#"{"ok":true,"result":"accepted"}"#.to_owned()));
    let (publisher, said) = start(&gone, true);
    publisher.publish(span(Duration::from_millis(50)));
    // After ten answers none comes; a cut does not help either, so the thread would wait: end it instead.
    publisher.end();
    assert!(matches!(said.recv_timeout(PATIENCE), Ok(Said::Account(_))));
    drop(publisher);
    gone.thread.join().expect("the server ends");
    let nobody = Target { url: "ws://127.0.0.1:1/v1/ws".into(), key: None, ca: None, issuer: None, audience: None, is_floor: true };
    let error = Socket::connect(&nobody, None).err().expect("nobody listens on port 1");
    assert!(error.contains("is the daemon running there?"), "{error}");
}
