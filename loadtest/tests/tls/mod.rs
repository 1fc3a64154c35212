//! `wss://`: a worker towards a server with TLS, and towards one that it must not trust.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::double::{Server, Worker, event, frame, plan};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};
use tickerd_loadtest::control::{Command, Faults, Report};

/// Takes TLS from what goes to a server, and puts it on what comes: the double itself has none. Returns its address, and its certificate.
fn terminator(server: SocketAddr) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("an address is a name");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("are there");
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).expect("belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("is bound");
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let tls = ServerConnection::new(Arc::clone(&config)).expect("the configuration is good");
            let plain = TcpStream::connect(server).expect("the double listens");
            thread::spawn(move || pass(tls, socket, plain));
        }
    });
    (address, made.cert.pem())
}

/// Both ways in turn, until one of them ends.
fn pass(mut tls: ServerConnection, mut sealed: TcpStream, mut plain: TcpStream) {
    const TURN: Duration = Duration::from_millis(1);
    sealed.set_read_timeout(Some(TURN)).expect("a timeout is allowed");
    plain.set_read_timeout(Some(TURN)).expect("a timeout is allowed");
    let mut buffer = vec![0; 16 * 1024];
    let is_over = |result: std::io::Result<usize>| match result {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted),
    };
    loop {
        let ended = is_over(tls.read_tls(&mut sealed)) || tls.process_new_packets().is_err();
        while let Ok(count @ 1..) = tls.reader().read(&mut buffer) {
            plain.write_all(&buffer[..count]).expect("the double reads");
        }
        let read = plain.read(&mut buffer);
        if let Ok(count) = read {
            tls.writer().write_all(&buffer[..count]).expect("is kept");
        }
        while tls.wants_write() && tls.write_tls(&mut sealed).is_ok_and(|count| count > 0) {}
        if ended || is_over(read) {
            return;
        }
    }
}

fn file(name: &str, pem: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.pem", std::process::id()));
    fs::write(&path, pem).expect("the directory is writable");
    path
}

#[test]
fn events_that_come_through_tls_are_verified() {
    let server = Server::start();
    let (address, pem) = terminator(server.address);
    let mut plan = plan(address);
    plan.target.url = format!("wss://{address}/v1/ws");
    plan.target.ca = Some(file("own", &pem));
    let mut worker = Worker::start(&plan);
    worker.say(&Command::Connect);
    let failed = worker.until(|report| match report {
        Report::Connecting { done: true, failed, .. } => Some(failed),
        _ => None,
    });
    assert!(failed.is_empty(), "{failed:?}");
    // More than one record takes, and more than one read.
    for room in 0..4 {
        for n in 1..=200u32 {
            server.text(&format!("own:{room}"), &event(0, room, n, 1, 1));
        }
    }
    server.write("own:0", &frame(0x89, b"are you there"));
    let account = worker.finish([800, 0], 10_000);
    assert_eq!((account.faults, account.received[0], server.pongs(1).len()), (Faults::default(), 800, 1));
    assert_eq!(worker.end(), ExitCode::SUCCESS);
}

#[test]
fn a_server_that_another_has_vouched_for_is_not_trusted() {
    let server = Server::start();
    let (address, _) = terminator(server.address);
    let (_, others) = terminator(server.address);
    let mut plan = plan(address);
    plan.target.url = format!("wss://{address}/v1/ws");
    plan.target.ca = Some(file("others", &others));
    let mut worker = Worker::start(&plan);
    worker.say(&Command::Connect);
    let (joined, failed) = worker.until(|report| match report {
        Report::Connecting { done: true, joined, failed, .. } => Some((joined, failed)),
        _ => None,
    });
    let reasons: Vec<&str> = failed.keys().map(String::as_str).collect();
    assert!(joined == 0 && failed.values().sum::<u32>() == 4 && reasons[0].contains("certificate"), "{failed:?}");
    assert!(server.heads().is_empty(), "nothing is said to it");
    worker.end();
}
