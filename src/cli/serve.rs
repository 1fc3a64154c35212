//! `tickerd serve`: the daemon, until a signal ends it.

use std::io::Write;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::{self, Loaded, Reread, ServeArgs, Surroundings};
use crate::daemon::{self, Ready, Running};
use crate::ops::log;

use super::Failure;

/// How often the daemon looks after what time changes.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A SIGHUP.
pub(super) struct Hangup;

/// Runs the daemon: prints one JSON line when it is ready, reloads at SIGHUP, drains at the first SIGTERM or SIGINT, and ends at once at the second.
pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let loaded = config::load(args, &Surroundings::of_process())?;
    log::start(loaded.config.log, loaded.config.log_level).map_err(|error| Failure::Failed(format!("cannot start the log: {error}")))?;
    for warning in &loaded.warnings {
        tracing::warn!(event = "config_warning", "{warning}");
    }
    let signals = signals().map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    let mut running = daemon::start(&loaded.config)?;
    print_ready(running.ready())?;
    wait(&signals, &mut running, args, loaded);
    running.stop();
    Ok(())
}

/// One line on stdout, so that a script can start the daemon on port 0 and knows when and where it can connect.
fn print_ready(ready: &Ready) -> Result<(), Failure> {
    let line = serde_json::json!({
        "event": "ready",
        "listen": ready.listen,
        "admin": ready.admin,
        "publish_socket": ready.publish_socket,
        "pid": ready.pid,
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Failure::Failed(format!("cannot print the ready line: {error}")))
}

/// Reads the configuration again at each SIGHUP, until the first SIGTERM or SIGINT.
fn wait(signals: &Receiver<Hangup>, running: &mut Running, args: &ServeArgs, mut loaded: Loaded) {
    loop {
        match signals.recv_timeout(DAY) {
            Ok(Hangup) => loaded = reload(running, args, loaded),
            Err(RecvTimeoutError::Timeout) => running.look_after(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What holds from now on.
fn reload(running: &mut Running, args: &ServeArgs, before: Loaded) -> Loaded {
    let reread = before.reread(args, &Surroundings::of_process()).map_err(|error| error.to_string());
    let is_applied = running.reload(reread.as_ref().map_err(String::clone));
    match reread {
        Ok(Reread { loaded, .. }) if is_applied => {
            for warning in loaded.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
                tracing::warn!(event = "config_warning", "{warning}");
            }
            loaded
        }
        _ => before,
    }
}

/// A channel that has a message for each SIGHUP, those that come while one waits being one with it, and is closed by the first SIGTERM or SIGINT.
pub(super) fn signals() -> std::io::Result<Receiver<Hangup>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (told, received) = bounded(1);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut told = Some(told);
        for signal in signals.forever() {
            match &told {
                Some(told) if signal == SIGHUP => drop(told.try_send(Hangup)),
                None if signal != SIGHUP => {
                    tracing::warn!(event = "stopped_at_once", "a second signal came while draining");
                    std::process::exit(1);
                }
                _ if signal == SIGHUP => {}
                // Dropping the sender is what the receiver waits for.
                _ => told = None,
            }
        }
    })?;
    Ok(received)
}
