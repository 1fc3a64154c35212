//! The floor: a bare program that takes the publishes that the load generator makes, and writes them to the connections that it opens. It is
//! the yardstick for the server: the same lines by the same sockets, with nothing done that is not needed to get them there. No JSON is
//! parsed, no token checked, no lane, sequence, history or metric kept. What a member gets is its publisher's line as it is, in one
//! unmasked text frame.
//!
//! It is meant to be the *best* bare program of its kind: non-blocking and edge-triggered, no allocation for an event, every frame built
//! once. Four programs in one:
//!
//! | flag | |
//! | --- | --- |
//! | `--shape one` | one epoll thread reads publishes and writes sockets |
//! | `--shape two` | the server's shape: an event thread reads publishes and frames them, and hands the bytes over a lock-free queue, with a coalesced wake-up, to one epoll thread that owns the sockets |
//! | `--write all` | all that is pending for a connection leaves in one contiguous write |
//! | `--write each` | one write for each frame |
//!
//! A turn: note events, take the publishes that are there, each appended to the *run* of its room (the frames of this turn, contiguous, shared
//! by all members); then write each connection once: from the run itself if it is all there is for it, otherwise from bytes of its own.
//! What the socket does not take is kept and written when it can be.
//!
//! What it does not do, because a floor need not: it answers no publishes, and it does not resume. It subscribes whoever asks. A slow client
//! is nobody's business until 64 MiB wait in all (one turn may add as much again); then publishes are not read until that is less, so that
//! one who does not read at all stops everybody. In shape two at most 1 MiB waits in the queue; when it is full the event thread waits, and so the publish socket
//! pushes back.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`lines`] | pure: the room in a line, frames |
//! | [`client`] | pure: what a client says |
//! | [`pending`] | bytes that a socket did not take, and how bytes are written |
//! | [`publishers`] | the publish socket: lines out of it |
//! | [`sockets`] | clients and rooms: runs in, writes out |
//! | [`shape_one`], [`shape_two`] | the two loops |

mod client;
mod lines;
mod pending;
mod publishers;
mod shape_one;
mod shape_two;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use mio::net::{TcpListener, UnixListener};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The least that a push server can cost: publishes in at a unix socket, the same bytes out at each WebSocket.
#[derive(Parser, Debug)]
#[command(name = "tickerd-floor", version)]
struct Args {
    /// Address for the WebSocket clients.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where publishers connect: lines of JSON that name their "room". Nothing is answered. A file that is there is removed.
    #[arg(long)]
    publish_socket: PathBuf,
    /// How many threads.
    #[arg(long, value_enum, default_value_t = Shape::One)]
    shape: Shape,
    /// What goes into one write.
    #[arg(long, value_enum, default_value_t = Writes::All)]
    write: Writes,
    /// Stay on this core, all threads.
    #[arg(long)]
    pin: Option<usize>,
}

/// How many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// One thread does everything.
    One,
    /// One reads and frames publishes, one owns the sockets.
    Two,
}

/// What goes into one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Writes {
    /// One frame.
    Each,
    /// All that is pending for the connection.
    All,
}

fn main() -> ExitCode {
    abort_on_panic();
    let Err(message) = start(&Args::parse());
    eprintln!("tickerd-floor: {message}");
    ExitCode::from(2)
}

fn start(args: &Args) -> Result<std::convert::Infallible, String> {
    if let Some(core) = args.pin {
        pin(core).map_err(|error| format!("cannot stay on core {core}: {error}; give --pin a core that this process may use"))?;
    }
    allow_descriptors().map_err(|error| format!("cannot raise the limit of open files: {error}"))?;
    let clients = TcpListener::bind(args.listen).map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let publishes = bind_unix(&args.publish_socket)
        .map_err(|error| format!("cannot listen on {}: {error}; give another --publish-socket", args.publish_socket.display()))?;
    let address = clients.local_addr().map_err(|error| error.to_string())?;
    let ready = serde_json::json!({
        "event": "ready", "listen": [address.to_string()], "publish_socket": args.publish_socket, "pid": std::process::id(),
    });
    println!("{ready}");
    let ended = match args.shape {
        Shape::One => shape_one::run(clients, publishes, args.write),
        Shape::Two => shape_two::run(clients, publishes, args.write),
    };
    ended.map_err(|error| format!("the loop cannot go on: {error}"))
}

fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// As many connections as the system lets us have.
fn allow_descriptors() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// A socket that an earlier run has left is removed; any other file is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file is there that is no socket")),
        Err(_) => {}
    }
    UnixListener::bind(path)
}

/// One thread alone is not a floor: the process ends with the first that panics.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}
