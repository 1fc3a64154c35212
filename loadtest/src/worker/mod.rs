//! The receiving side: a process with one loop that holds its connections, verifies every event and measures it.
//!
//! ```text
//!   stdin ──reader thread──▶ commands ──▶ LOOP (mio, edge-triggered): sockets → frames → verify → record ──notes──▶ reporter thread ──▶ stdout
//! ```
//!
//! The loop reads into one large buffer; a connection owns memory only while the end of a frame has not come. Idle connections have
//! no timers. Nothing is added up, compressed or printed in the loop: the reporter does that at the lowest priority.

mod engine;
pub mod recorder;
mod reporter;
pub mod session;
mod socket;
mod stage;
pub mod verify;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use mio::Waker;

use crate::control::{Command, Report, WorkerPlan};

/// Commands and notes that may wait.
const QUEUE: usize = 64;

/// What comes from the coordinator.
#[derive(Debug)]
enum Input {
    Command(Command),
    /// A line that is no command.
    Wrong(String),
    /// It is gone, or wants the worker to go.
    End,
}

/// Runs a worker on this process's stdin and stdout.
pub fn run() -> ExitCode {
    serve(io::stdin(), io::stdout())
}

/// Runs a worker: the plan and the commands are read from `input`, the reports written to `output`. Returns when the input ends.
pub fn serve(input: impl Read + Send + 'static, mut output: impl Write + Send + 'static) -> ExitCode {
    let mut input = BufReader::new(input);
    match prepare(&mut input) {
        Ok(engine) => attend(engine, input, output),
        Err(message) => {
            // If nobody reads it, the exit code says it.
            let _unread = reporter::say(&mut output, &Report::Failed { message });
            ExitCode::from(2)
        }
    }
}

fn prepare(input: &mut impl BufRead) -> Result<engine::Engine, String> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(|error| format!("the plan cannot be read: {error}"))?;
    let plan: WorkerPlan = serde_json::from_str(&line).map_err(|error| format!("the first line is no worker's plan: {error}"))?;
    if let Some(processor) = plan.pin {
        let mut set = rustix::thread::CpuSet::new();
        set.set(processor as usize);
        rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("cannot stay on processor {processor}: {error}"))?;
    }
    engine::Engine::new(plan)
}

fn attend(mut engine: engine::Engine, input: impl BufRead + Send + 'static, mut output: impl Write + Send + 'static) -> ExitCode {
    let (commands, inputs) = sync_channel(QUEUE);
    let (notes, reports) = sync_channel(QUEUE);
    let (spare, spares) = sync_channel(QUEUE);
    let (waker, flows) = (engine.waker(), engine.flows());
    let spawned = thread::Builder::new().name("lt-commands".into()).spawn(move || read(input, &commands, &waker));
    let reporter = spawned.and_then(|_reader| {
        thread::Builder::new().name("lt-reporter".into()).spawn(move || reporter::run(&reports, &spare, flows, &mut output))
    });
    let Ok(reporter) = reporter else {
        return ExitCode::from(2);
    };
    let ended = engine.run(&inputs, &notes, &spares);
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // If the reporter is gone, nobody reads any more.
            let _unread = notes.send(reporter::Note::Say(Box::new(Report::Failed { message })));
            ExitCode::FAILURE
        }
    };
    drop(notes);
    // It ends with its notes; a panic there has printed itself.
    let _panicked = reporter.join();
    code
}

/// The reader thread: one command for each line.
fn read(input: impl BufRead, commands: &SyncSender<Input>, waker: &Arc<Waker>) {
    let lines = input.lines().map_while(Result::ok).filter(|line| !line.trim().is_empty());
    let inputs = lines.map(|line| match serde_json::from_str(&line) {
        Ok(command) => Input::Command(command),
        Err(error) => Input::Wrong(format!("not a command: {error}")),
    });
    for input in inputs.chain([Input::End]) {
        if commands.send(input).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

/// Where the loop's commands come from and its notes go.
#[derive(Clone, Copy)]
struct Ports<'a> {
    inputs: &'a Receiver<Input>,
    notes: &'a SyncSender<reporter::Note>,
    spares: &'a Receiver<recorder::Pair>,
}
