//! `tickerd serve`: the daemon, until a signal ends it.

use std::convert::Infallible;
use std::io::Write;

use crossbeam::channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::{self, ServeArgs, Surroundings};
use crate::daemon::{self, Ready};
use crate::ops::log;

use super::Failure;

/// Runs the daemon: prints one JSON line when it is ready, drains at the first SIGTERM or SIGINT, and ends at once at the second.
pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let loaded = config::load(args, &Surroundings::of_process())?;
    log::start(loaded.config.log, loaded.config.log_level).map_err(|error| Failure::Failed(format!("cannot start the log: {error}")))?;
    for warning in &loaded.warnings {
        tracing::warn!(event = "config_warning", "{warning}");
    }
    let stop = stop_signal().map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    let running = daemon::start(&loaded.config)?;
    print_ready(running.ready())?;
    wait(&stop);
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

/// Waits for the first SIGTERM or SIGINT.
fn wait(stop: &Receiver<Infallible>) {
    // Nothing is ever sent: the channel is closed by the signal.
    if let Ok(never) = stop.recv() {
        match never {}
    }
}

/// A channel that is closed by the first SIGTERM or SIGINT.
pub(super) fn stop_signal() -> std::io::Result<Receiver<Infallible>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (told, stop) = bounded(0);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut told = Some(told);
        for signal in signals.forever() {
            if signal == SIGHUP {
                tracing::warn!(event = "reload_ignored", "nothing is reloaded at SIGHUP yet: restart to take on a new configuration");
            } else if told.take().is_none() {
                tracing::warn!(event = "stopped_at_once", "a second signal came while draining");
                std::process::exit(1);
            } // the sender is dropped with the first signal, which is what the receiver waits for
        }
    })?;
    Ok(stop)
}
