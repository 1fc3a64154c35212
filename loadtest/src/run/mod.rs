//! A run: workers and publisher started, connections made, windows measured, the account closed.
//!
//! One thread owns it all and hears of everything through one channel: what workers and publisher say, and once a second the clock.

mod ledger;
mod phases;
mod search;
mod step;
mod workers;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::url::Url;
use crate::clock::{now_ns, process_cpu_s};
use crate::control::{Command, Report, Target, WorkerPlan};
use crate::probe::{self, process};
use crate::publisher::socket::{Socket, reach};
use crate::publisher::{Failed, Publisher, Said, Span};
use crate::record::{Connect, Cut, Generator, Phase, Record, Server, Totals};
use crate::report::live::Live;
use crate::scenario::Scenario;

use ledger::Ledger;
use workers::Workers;

/// How often it is looked whether the user wants to stop.
const STOP_LATENCY: Duration = Duration::from_millis(50);

/// A server that has ended its connections has ended itself by then, if it has.
const ENDING_MAX: Duration = Duration::from_millis(300);

/// A second is over when every worker has reported one, each at its own phase; or, if one does not, after this time.
const SECOND_MAX: Duration = Duration::from_millis(1_700);

/// What to run, and against what.
pub struct Options {
    /// What; checked, flags applied.
    pub scenario: Scenario,
    /// What flags changed of its sizes and rates, in words.
    pub scaled: Vec<String>,
    /// Against what.
    pub target: Target,
    /// Where to publish; `None`: over a WebSocket.
    pub publish_socket: Option<PathBuf>,
    /// Worker processes.
    pub workers: u32,
    /// Processor for publisher and workers.
    pub pin: Option<u32>,
    /// The server's process; `None`: whoever listens at the target's address.
    pub server_pid: Option<u32>,
    /// The program that has the subcommand `loadtest worker`.
    pub program: PathBuf,
    /// Set when the user wants to end the run with what there is.
    pub stop: Arc<AtomicBool>,
}

/// What the run hears of.
#[derive(Debug)]
enum Happening {
    /// A worker said something.
    Report(usize, Report),
    /// A worker says no more.
    Gone(usize),
    /// The publisher said something.
    Said(Said),
    /// Something else went wrong.
    Failed(String),
}

/// Runs it. A run that ends before its time has a record too, of what was measured until then, that says so. The error says why there is
/// nothing to report.
pub fn run<W: Write>(options: &Options, live: &mut Live<W>) -> Result<Record, String> {
    let mut run = Run::start(options, live)?;
    run.connect()?;
    run.measure()?;
    run.close()
}

/// A run in progress.
struct Run<'a, W> {
    options: &'a Options,
    live: &'a mut Live<W>,
    happenings: Receiver<Happening>,
    // Before the workers, so that it goes first: nobody is to receive what is still being published.
    publisher: Option<Publisher>,
    workers: Workers,
    worker_probes: Vec<Option<process::Server>>,
    server: Option<process::Server>,
    ledger: Ledger,
    record: Record,
    /// When publishing began, and when the current second ends.
    began_ns: u64,
    second_ends: Option<Instant>,
    published: u64,
    generator_cpu_s: f64,
    server_cpu_s: f64,
    /// What is being published, or was last.
    span: Option<Span>,
    /// Why it ends before its time.
    cut: Option<Cut>,
    /// What a publisher left that could not go on.
    failed: Option<Box<Failed>>,
}

/// What everyone has used, at one moment.
#[derive(Clone, Debug, Default)]
struct Usage {
    at_ns: u64,
    workers_cpu_s: Vec<f64>,
    generator_cpu_s: f64,
    server: Option<process::Usage>,
}

impl<'a, W: Write> Run<'a, W> {
    fn start(options: &'a Options, live: &'a mut Live<W>) -> Result<Run<'a, W>, String> {
        let url = Url::parse(&options.target.url)?;
        let connections = process::connections(url.address);
        drop(reach(&url, &options.target.url)?);
        let server = find_server(options, &url, live);
        let mut number = [0; 4];
        getrandom::fill(&mut number).map_err(|error| format!("no random bytes: {error}"))?;
        let run_number = u32::from_ne_bytes(number);
        let (sender, happenings) = channel();
        let plans = plans(options, run_number);
        // The server as it is before it is given anything to do.
        let record = new_record(options, server.as_ref(), connections, plans.len());
        let publisher = start_publisher(options, run_number, &sender)?;
        let workers = Workers::start(&options.program, &plans, &sender)?;
        let worker_probes = workers.pids().into_iter().map(|pid| process::Server::of_pid(pid).ok()).collect();
        Ok(Run {
            ledger: Ledger::new(&options.scenario, workers.len()),
            record,
            options,
            live,
            happenings,
            publisher,
            workers,
            worker_probes,
            server,
            began_ns: 0,
            second_ends: None,
            published: 0,
            generator_cpu_s: 0.0,
            server_cpu_s: 0.0,
            span: None,
            cut: None,
            failed: None,
        })
    }

    /// The next thing that happens until then. Seconds are dealt with here, and so is what cannot be mended: the run is cut short. `None`:
    /// nothing else did, or it is time to look whether the run goes on.
    fn next(&mut self, until: Instant) -> Option<Happening> {
        let now = Instant::now();
        if self.second_ends.is_some_and(|ends| now >= ends) {
            self.close_second();
        }
        let until = until.min(now + STOP_LATENCY).min(self.second_ends.unwrap_or(until));
        match self.happenings.recv_timeout(until.saturating_duration_since(now)) {
            Ok(Happening::Report(worker, Report::Second(second))) => {
                if let Err(why) = self.ledger.add(worker, *second) {
                    self.fail(why);
                }
                if self.second_ends.is_some() && self.ledger.is_complete() {
                    self.close_second();
                }
            }
            Ok(Happening::Report(worker, Report::Failed { message })) => self.fail(format!("worker {worker}: {message}")),
            Ok(Happening::Gone(worker)) => {
                let why = self.workers.ended(worker);
                self.fail(why);
            }
            Ok(Happening::Failed(why)) => self.fail(why),
            Ok(Happening::Said(Said::Failed(failed))) => {
                let why = self.with_the_servers_end(&failed.why);
                self.failed = Some(failed);
                self.fail(why);
            }
            Ok(happening) => return Some(happening),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.fail("workers and publisher are gone".to_owned()),
        }
        None
    }

    /// Tells every worker that is there.
    fn tell(&mut self, command: &Command) {
        if let Err(why) = self.workers.tell(command) {
            self.fail(why);
        }
    }

    /// Waits until then, or until the run is cut.
    fn hold(&mut self, until: Instant) {
        while Instant::now() < until && !self.is_cut() {
            self.next(until);
        }
    }

    /// Whether the run is to end before its time: something went wrong, or the user has pressed Ctrl-C.
    fn is_cut(&mut self) -> bool {
        if self.cut.is_none() && self.options.stop.load(Ordering::Relaxed) {
            self.note("interrupted: closing the account of what was measured");
            self.cut(None);
        }
        self.cut.is_some()
    }

    /// The run cannot go on. Only the first reason counts.
    fn fail(&mut self, why: String) {
        if let Some(cut) = &mut self.cut {
            cut.cause.get_or_insert(why);
            return;
        }
        self.note(&format!("{why}: closing the account of what was measured"));
        self.cut(Some(why));
    }

    fn cut(&mut self, cause: Option<String>) {
        self.cut = Some(Cut { cause, ..Cut::default() });
        if let Some(span) = &mut self.span {
            span.until_ns = span.until_ns.min(now_ns());
        }
    }

    /// Whether it was cut by something that went wrong.
    fn has_failed(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.cause.is_some())
    }

    /// What went wrong, and that the server's process has ended, if it has.
    fn with_the_servers_end(&self, why: &str) -> String {
        let Some(server) = &self.server else { return why.to_owned() };
        let ends = Instant::now() + ENDING_MAX;
        while server.usage().is_some() && Instant::now() < ends {
            std::thread::sleep(ENDING_MAX / 30);
        }
        if server.usage().is_some() { why.to_owned() } else { format!("{why}; the server's process, {}, has ended", server.pid) }
    }

    /// What most of the second before now was for.
    fn phase(&self) -> Phase {
        let middle_ns = now_ns().saturating_sub(500_000_000);
        match self.span {
            Some(span) if (span.measured_ns..span.until_ns).contains(&middle_ns) => Phase::Measured,
            Some(span) if (span.from_ns..span.measured_ns).contains(&middle_ns) => Phase::Warmup,
            _ => Phase::Rest,
        }
    }

    /// Who does not see it loses no figure.
    fn note(&mut self, text: &str) {
        self.live.note(text).ok();
    }

    fn usage(&self) -> Usage {
        let cpu_s = |probe: &Option<process::Server>| probe.as_ref().and_then(process::Server::usage).map_or(0.0, |usage| usage.cpu_s);
        let workers_cpu_s: Vec<f64> = self.worker_probes.iter().map(cpu_s).collect();
        let generator_cpu_s = process_cpu_s() + workers_cpu_s.iter().sum::<f64>();
        Usage { at_ns: now_ns(), workers_cpu_s, generator_cpu_s, server: self.server.as_ref().and_then(process::Server::usage) }
    }

    /// From now on there are seconds.
    fn begin_seconds(&mut self) {
        self.began_ns = now_ns();
        self.second_ends = Some(Instant::now() + SECOND_MAX);
        let usage = self.usage();
        self.generator_cpu_s = usage.generator_cpu_s;
        self.server_cpu_s = usage.server.map_or(0.0, |server| server.cpu_s);
    }

    fn close_second(&mut self) {
        self.second_ends = Some(Instant::now() + SECOND_MAX);
        let usage = self.usage();
        let mut moment = self.ledger.moment();
        moment.at_s = now_ns().saturating_sub(self.began_ns) as f64 / 1e9;
        moment.phase = self.phase();
        if let Some(publisher) = &self.publisher {
            let published = publisher.gauges.published.load(Ordering::Relaxed);
            moment.published = published - self.published;
            moment.slip_max_ns = publisher.gauges.slip_max_ns.swap(0, Ordering::Relaxed);
            self.published = published;
        }
        moment.generator_cpu_s = (usage.generator_cpu_s - self.generator_cpu_s).max(0.0);
        self.generator_cpu_s = usage.generator_cpu_s;
        if let Some(server) = usage.server {
            moment.server_rss_bytes = Some(server.rss_bytes);
            moment.server_cpu_s = Some((server.cpu_s - self.server_cpu_s).max(0.0));
            self.server_cpu_s = server.cpu_s;
            self.note_rss(server.rss_bytes);
        } else if let Some(server) = &self.server {
            let why = format!("the server's process, {}, has ended", server.pid);
            self.fail(why);
        }
        self.live.second(&moment).ok();
        self.record.seconds.push(moment);
    }

    fn note_rss(&mut self, rss_bytes: u64) {
        if let Some(server) = &mut self.record.server {
            server.rss_max_bytes = server.rss_max_bytes.max(rss_bytes);
        }
    }
}

fn find_server<W: Write>(options: &Options, url: &Url, live: &mut Live<W>) -> Option<process::Server> {
    let found = match options.server_pid {
        Some(pid) => process::Server::of_pid(pid),
        None => process::Server::listening_on(url.address),
    };
    // Without it the run lacks the server's memory and processor time, and nothing else.
    found.map_err(|why| live.note(&format!("no figures of the server's process: {why}")).ok()).ok()
}

fn start_publisher(options: &Options, run: u32, happenings: &Sender<Happening>) -> Result<Option<Publisher>, String> {
    if options.scenario.flows.is_empty() {
        return Ok(None);
    }
    let socket = Socket::connect(&options.target, options.publish_socket.as_deref())?;
    let happenings = happenings.clone();
    let say = move |said| {
        happenings.send(Happening::Said(said)).ok(); // nobody listens once the run is over
    };
    Publisher::start(&options.scenario, run, socket, !options.target.is_floor, options.pin, say).map(Some)
}

/// The connections, dealt evenly.
fn plans(options: &Options, run: u32) -> Vec<WorkerPlan> {
    let (all, workers) = (options.scenario.connections.count, options.workers.clamp(1, options.scenario.connections.count));
    let first_of = |worker: u32| (u64::from(all) * u64::from(worker) / u64::from(workers)) as u32;
    let plan = |worker: u32| WorkerPlan {
        worker,
        scenario: options.scenario.clone(),
        target: options.target.clone(),
        run,
        first: first_of(worker),
        count: first_of(worker + 1) - first_of(worker),
        connect_rate: (options.scenario.connections.rate / workers).max(1),
        pin: options.pin,
    };
    (0..workers).map(plan).collect()
}

fn new_record(options: &Options, server: Option<&process::Server>, connections: usize, workers: usize) -> Record {
    let server_of = |server: &process::Server| {
        let rss_before_bytes = server.usage().map_or(0, |usage| usage.rss_bytes);
        Server {
            pid: server.pid,
            command: server.command.clone(),
            used_before: server.used_before(connections),
            rss_before_bytes,
            rss_max_bytes: rss_before_bytes,
            ..Server::default()
        }
    };
    Record {
        format: 1,
        began_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: probe::machine(),
        target: options.target.url.clone(),
        scenario: options.scenario.clone(),
        scaled: options.scaled.clone(),
        connect: Connect::default(),
        windows: Vec::new(),
        seconds: Vec::new(),
        totals: Totals::default(),
        generator: Generator { workers: workers as u32, ..Generator::default() },
        server: server.map(server_of),
        verdicts: Vec::new(),
        cut: None,
    }
}

/// Tells every worker to leave a share of its connections.
fn storm_command(options: &Options, workers: usize) -> Option<(Duration, Command)> {
    let storm = options.scenario.storm.as_ref()?;
    let reconnect_rate = (storm.reconnect_rate / workers as u32).max(1);
    Some((Duration::from_secs_f64(storm.every_s), Command::Storm { share: storm.share, reconnect_rate }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::named;

    #[test]
    fn every_connection_has_one_worker() {
        let mut options = Options {
            scenario: named("broadcast").expect("built in"),
            scaled: Vec::new(),
            target: Target { url: String::new(), key: None, ca: None, issuer: None, audience: None, is_floor: false },
            publish_socket: None,
            workers: 3,
            pin: None,
            server_pid: None,
            program: PathBuf::new(),
            stop: Arc::default(),
        };
        for (connections, workers) in [(1_000, 3), (7, 3), (2, 3), (1, 1), (10_000, 8)] {
            options.scenario.connections.count = connections;
            options.workers = workers;
            let plans = plans(&options, 1);
            assert_eq!(plans.len() as u32, workers.min(connections));
            let mut next = 0;
            for (at, plan) in plans.iter().enumerate() {
                assert_eq!((plan.worker as usize, plan.first), (at, next));
                assert!(plan.count >= 1 && plan.connect_rate >= 1);
                next += plan.count;
            }
            assert_eq!(next, connections);
        }
    }
}
