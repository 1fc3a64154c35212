//! `tickerd demo`: the daemon, a made-up trading desk that publishes to it, and two clients of it, all in one process.
//!
//! Both clients are members of all the desk's rooms. One reads as fast as it can; the other has a narrow line, so that
//! thousands of metric frames wait for it, and the alerts can be seen to pass them. Everything is real: the daemon is what
//! `tickerd serve` runs, the events go through its publish socket, each client is a WebSocket over TCP with a token.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`desk`], [`events`] | what happens on the desk, as publish lines; pure |
//! | [`feed`] | publishes them and reads the answers |
//! | [`member`], [`tally`] | a client; what it received, and what overtook what |
//! | [`board`], [`view`] | puts the figures together; draws them |
//! | [`place`] | key, token and socket in a private directory |

mod board;
mod desk;
mod events;
mod feed;
mod member;
mod place;
mod show;
mod tally;
mod view;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::Failure;
use crate::config::{self, Config, ConfigError, ServeArgs, Surroundings};
use crate::daemon::{self, Running};
use crate::net::clock::Clock;

use board::{Board, FAST, SLOW};
use desk::{CHALLENGES_MAX, Desk, DeskOptions};
use feed::Feed;
use member::{Member, MemberOptions};
use place::Place;
use show::Show;
use tally::Tally;

/// The narrow line: fast enough for all alerts and updates and some metrics, too slow for all of them.
const SLOW_BYTES_PER_SECOND: u32 = 64 * 1024;
/// Joining some fifty rooms takes milliseconds; this is for a machine that is busy with other things.
const JOIN_WITHIN: Duration = Duration::from_secs(20);
const JOIN_CHECK: Duration = Duration::from_millis(5);
/// Five pictures a second.
const FRAME: Duration = Duration::from_millis(200);
const ADMIN: &str = "127.0.0.1:9100";

/// Show alerts overtaking metrics: a daemon, a made-up trading desk, and what clients receive, lane by lane
#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// End after this many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub seconds: Option<u64>,
    /// Trading challenges, each with rooms of its own
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=CHALLENGES_MAX as u64))]
    pub challenges: u64,
    /// Metrics and prices published each second, on top of the trades
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub metrics_per_second: u32,
    /// Where clients can connect, on loopback; another port is taken if this one is in use
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = loopback)]
    pub listen: SocketAddr,
    /// The same seed makes the same random numbers; what they become depends on the clock too
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Runs the demo until its time is over or it is interrupted.
pub(super) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let clock = Clock::start();
    let stop = Arc::new(AtomicBool::new(false));
    let deaf = |error| Failure::Failed(format!("cannot listen for signals: {error}"));
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(deaf)?;
    let place = Place::make(&std::env::temp_dir(), clock.now().wall_ms / 1000).map_err(Failure::Failed)?;
    stop_at_signals(signals, &stop, place.dir()).map_err(deaf)?;
    let listen = free(args.listen).map_err(Failure::Failed)?;
    let admin = free(default_admin()).map_err(Failure::Failed)?;
    let running = daemon::start(&config(&place, listen, admin)?)?;
    let played = play(args, &place, &running, clock, &stop);
    stop.store(true, Ordering::Relaxed);
    running.stop();
    played.map_err(Failure::Failed)
}

/// The first signal ends the demo in order, the second one at once. Either way nothing is left of its directory.
fn stop_at_signals(mut signals: Signals, stop: &Arc<AtomicBool>, dir: &Path) -> io::Result<()> {
    let (stop, dir) = (Arc::clone(stop), dir.to_owned());
    let at_signals = move || {
        for _signal in signals.forever() {
            if stop.swap(true, Ordering::Relaxed) {
                drop(fs::remove_dir_all(&dir));
                process::exit(130);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(at_signals).map(drop)
}

/// What `serve` would be told; nothing comes from the environment, so that the demo is the same everywhere.
fn config(place: &Place, listen: SocketAddr, admin: SocketAddr) -> Result<Config, ConfigError> {
    let mut serve = ServeArgs::default();
    serve.preset("listen", vec![listen.to_string()]);
    serve.preset("admin-listen", vec![admin.to_string()]);
    serve.preset("publish-socket", vec![place.socket_path().display().to_string()]);
    serve.preset("publish-socket-mode", vec!["0600".to_owned()]);
    serve.preset("jwt-key", vec![place.key_path().display().to_string()]);
    serve.preset("drain-timeout", vec!["1s".to_owned()]);
    let surroundings = Surroundings { variables: BTreeMap::new(), ..Surroundings::of_process() };
    config::load(&serve, &surroundings).map(|loaded| loaded.config)
}

fn default_admin() -> SocketAddr {
    ADMIN.parse().expect("the constant is an address")
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "give an address and a port, such as 127.0.0.1:8080".to_owned())?;
    let refused = "the demo's lines are not encrypted: give an address on loopback, such as 127.0.0.1:8080";
    address.ip().is_loopback().then_some(address).ok_or_else(|| refused.to_owned())
}

/// The address, or the same with any free port if its port is in use.
fn free(wanted: SocketAddr) -> Result<SocketAddr, String> {
    match TcpListener::bind(wanted) {
        Ok(_) => Ok(wanted),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(SocketAddr::new(wanted.ip(), 0)),
        Err(error) => Err(format!("cannot listen on {wanted}: {error}; give --listen another address")),
    }
}

fn play(args: &DemoArgs, place: &Place, running: &Running, clock: Clock, stop: &Arc<AtomicBool>) -> Result<(), String> {
    let desk =
        Desk::new(&DeskOptions { challenges: args.challenges as usize, metrics_per_second: args.metrics_per_second, seed: args.seed });
    let address = *running.ready().listen.first().ok_or("the daemon listens nowhere")?;
    let mut show = Show::open(show::intro(args, place, address, desk.rooms().len()));
    let members = members(&desk, address, place, clock, stop)?;
    let feed = Feed::start(&place.socket_path(), desk, clock, Arc::clone(stop))
        .map_err(|error| format!("cannot publish to {}: {error}", place.socket_path().display()))?;
    let names =
        ["FAST LINE: a desk's own network".to_owned(), format!("SLOW LINE: the same rooms at {} KiB/s", SLOW_BYTES_PER_SECOND / 1024)];
    let mut board = Board::new(names, args.seconds);
    let shown = watch(&mut board, &mut show, &feed, &members, stop);
    stop.store(true, Ordering::Relaxed);
    let broken = feed.published.broken.load(Ordering::Relaxed).then(|| feed.published.last_words.lock().clone());
    feed.join()?;
    let (whole, overtaken) = members[FAST].tally(|fast| members[SLOW].tally(|slow| board.whole([fast, slow])));
    members.into_iter().try_for_each(Member::join)?;
    if let Some(why) = broken {
        return Err(why);
    }
    quiet_pipe(shown.and_then(|()| show.close(&view::summary(&whole, overtaken))))
}

/// Both clients, once they are in all rooms.
fn members(desk: &Desk, address: SocketAddr, place: &Place, clock: Clock, stop: &Arc<AtomicBool>) -> Result<[Member; 2], String> {
    let start = |name, bytes_per_second| {
        let token = place.token().to_owned();
        let options = MemberOptions { name, address, token, rooms: desk.rooms(), bytes_per_second, clock };
        Member::start(options, Tally::new(desk.slots()), Arc::clone(stop)).map_err(|error| format!("cannot start a thread: {error}"))
    };
    let members = [start("demo-fast", None)?, start("demo-slow", Some(SLOW_BYTES_PER_SECOND))?];
    let deadline = Instant::now() + JOIN_WITHIN;
    while !members.iter().all(|member| member.tally(|tally| tally.is_live())) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if Instant::now() > deadline {
            let why = members.iter().find_map(|member| member.tally(|tally| tally.down.clone()));
            return Err(format!("the demo's clients could not join: {}", why.unwrap_or("the daemon does not answer".to_owned())));
        }
        thread::sleep(JOIN_CHECK);
    }
    Ok(members)
}

/// Shows until it is told to stop, the time is over, the publisher breaks, or nobody reads.
fn watch(board: &mut Board, show: &mut Show, feed: &Feed, members: &[Member; 2], stop: &AtomicBool) -> io::Result<()> {
    let began = Instant::now();
    let ends = board.picture().seconds.map(|seconds| began + Duration::from_secs(seconds));
    while !stop.load(Ordering::Relaxed) && !feed.published.broken.load(Ordering::Relaxed) {
        let left = ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        thread::sleep(left.map_or(FRAME, |left| left.min(FRAME)));
        let second = update(board, feed, members, began.elapsed());
        show.draw(board, second)?;
        if left.is_some_and(|left| left <= FRAME) {
            break;
        }
    }
    Ok(())
}

fn update(board: &mut Board, feed: &Feed, members: &[Member; 2], elapsed: Duration) -> bool {
    let published = std::array::from_fn(|lane| feed.published.lanes[lane].value());
    let refused = Some(feed.published.refused.value()).filter(|count| *count > 0);
    let refused = refused.map(|count| (count, feed.published.last_words.lock().clone()));
    members[FAST].tally(|fast| members[SLOW].tally(|slow| board.publisher(elapsed, published, refused, [fast, slow])))
}

/// A reader of our output that goes away ends the demo in peace.
fn quiet_pipe(shown: io::Result<()>) -> Result<(), String> {
    match shown {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write to the terminal: {error}")),
        _ => io::stdout().flush().or(Ok(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_listens_on_loopback_alone() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:9").is_ok());
        for bad in ["0.0.0.0:0", "192.0.2.1:80", "localhost", "8080", ""] {
            assert!(loopback(bad).unwrap_err().contains("127.0.0.1:8080"), "{bad}");
        }
    }

    #[test]
    fn a_port_in_use_gives_way_to_a_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(free(address).unwrap(), SocketAddr::new(address.ip(), 0));
        assert!(free("192.0.2.1:1".parse().unwrap()).unwrap_err().contains("192.0.2.1:1"));
    }
}
