//! The worker processes, from outside: started, told, listened to, ended.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use super::Happening;
use crate::control::{Command, WorkerPlan};

/// Descriptors of a worker beside its connections.
const SPARE_DESCRIPTORS: u64 = 64;
/// Time to end by itself once its stdin has ended.
const ENDING_MAX: Duration = Duration::from_secs(3);

/// See the module. Dropping it ends them.
pub(super) struct Workers {
    all: Vec<Worker>,
}

struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    /// It has ended, and said how.
    is_gone: bool,
}

impl Workers {
    /// Starts `program loadtest worker` for each plan. What they say goes to `happenings`.
    pub(super) fn start(program: &Path, plans: &[WorkerPlan], happenings: &Sender<Happening>) -> Result<Workers, String> {
        make_room(plans.iter().map(|plan| plan.count).max().unwrap_or(0))?;
        let mut workers = Workers { all: Vec::new() };
        for plan in plans {
            let (worker, stdout) = start(program).map_err(|error| format!("cannot start a worker ({}): {error}", program.display()))?;
            workers.all.push(worker);
            let (happenings, at) = (happenings.clone(), plan.worker as usize);
            let listener = thread::Builder::new().name(format!("worker-{at}"));
            let spawned = listener.spawn(move || listen(stdout, at, &happenings));
            spawned.map_err(|error| format!("no thread for a worker's lines: {error}"))?;
        }
        for (at, plan) in plans.iter().enumerate() {
            workers.write(at, plan)?;
        }
        Ok(workers)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Their process ids.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.all.iter().map(|worker| worker.child.id()).collect()
    }

    /// Tells all that are there the same. The error says which of them has ended, the others having been told.
    pub(super) fn tell(&mut self, command: &Command) -> Result<(), String> {
        let living: Vec<usize> = (0..self.all.len()).filter(|at| !self.is_gone(*at)).collect();
        living.into_iter().map(|at| self.write(at, command)).fold(Ok(()), Result::and)
    }

    /// Whether that worker is known to have ended.
    pub(super) fn is_gone(&self, at: usize) -> bool {
        self.all[at].is_gone
    }

    /// Says how that worker ended, which it should not have yet.
    pub(super) fn ended(&mut self, at: usize) -> String {
        let worker = &mut self.all[at];
        worker.is_gone = true;
        worker.stdin = None; // whatever it is at, this ends it
        let status = worker.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("worker {at} ended before the run did: {status}")
    }

    fn write(&mut self, at: usize, line: &impl Serialize) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("worker {at} does not listen: {error}");
        let Some(stdin) = &mut self.all[at].stdin else { return Err(failed(&"it was told to end")) };
        let mut bytes = serde_json::to_vec(line).map_err(|error| failed(&error))?;
        bytes.push(b'\n');
        // A pipe without a reader: it is gone, and its end says more than the pipe's.
        stdin.write_all(&bytes).and_then(|()| stdin.flush()).map_err(|_| self.ended(at))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.all {
            worker.stdin = None;
        }
        let ends = Instant::now() + ENDING_MAX;
        for worker in &mut self.all {
            while matches!(worker.child.try_wait(), Ok(None)) && Instant::now() < ends {
                thread::sleep(Duration::from_millis(5));
            }
            // Both fail only if it has ended, which is what is wanted.
            worker.child.kill().ok();
            worker.child.wait().ok();
        }
    }
}

/// In a process group of its own: Ctrl-C is for the coordinator, which then still wants their account.
fn start(program: &Path) -> std::io::Result<(Worker, ChildStdout)> {
    let mut process = Process::new(program);
    process.args(["loadtest", "worker"]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = process.spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    Ok((Worker { child, stdin, is_gone: false }, stdout.expect("stdout was asked to be a pipe")))
}

/// Passes on what a worker says, until it says no more.
fn listen(stdout: ChildStdout, at: usize, happenings: &Sender<Happening>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        let happening = match serde_json::from_str(&line) {
            Ok(report) => Happening::Report(at, report),
            Err(error) => Happening::Failed(format!("worker {at} said what cannot be read ({error}): {line:.200}")),
        };
        // Nobody listens once the run is over.
        if happenings.send(happening).is_err() {
            return;
        }
    }
    happenings.send(Happening::Gone(at)).ok();
}

/// Raises the limit of open files, which the workers inherit, as far as this user may.
fn make_room(connections: u32) -> Result<(), String> {
    let needed = u64::from(connections) + SPARE_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < needed) {
        return Err(format!(
            "a worker with {connections} connections needs {needed} open files, and {maximum} are allowed (ulimit -Hn): raise that limit, or give more --workers"
        ));
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| format!("the limit of open files cannot be raised to {needed}: {error}"))
}
