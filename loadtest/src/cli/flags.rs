//! The flags, as clap has them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::units::parse_duration;

/// Worker processes.
const WORKERS_MAX: u32 = 256;

/// Measure what a host can do: open-loop load, latency histograms, a verdict
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LoadtestArgs {
    #[command(subcommand)]
    pub(super) command: Option<Sub>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// What there is beside running a scenario.
#[derive(Debug, Subcommand)]
pub(super) enum Sub {
    /// List the built-in scenarios
    List,
    /// Print a built-in scenario's file, as a start for one of your own
    Show {
        /// Its name
        name: String,
    },
    /// Set two recorded runs side by side, or many pairs of them that were made in turns: A1 B1 A2 B2 …
    Compare {
        /// `record.json` of a run, or the directory of its `--out`: two, or an even number
        #[arg(value_name = "RUN", num_args = 2.., required = true)]
        runs: Vec<PathBuf>,
    },
    /// A part of the load: started by a run, told on stdin
    #[command(hide = true)]
    Worker,
}

/// A run.
#[derive(Args, Debug, Default)]
pub(super) struct RunArgs {
    /// Built-in scenario to run: see `tickerd loadtest list`
    #[arg(value_name = "SCENARIO")]
    pub(super) scenario: Option<String>,
    /// Scenario of your own: see `tickerd loadtest show full`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "full_load"])]
    pub(super) file: Option<PathBuf>,
    /// Another name for the scenario `full`
    #[arg(long, conflicts_with = "scenario")]
    pub(super) full_load: bool,

    /// The server's WebSocket
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/v1/ws", help_heading = "Server")]
    pub(super) url: String,
    /// The key that the server verifies tokens with (raw secret, or private key in PEM): every connection gets a token of its own
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(super) key: Option<PathBuf>,
    /// With a URL of wss://: the certificate that signed the server's, in PEM; without it, those of the system
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(super) ca: Option<PathBuf>,
    /// The claim `iss` of the tokens, if the server demands one
    #[arg(long, value_name = "ISSUER", help_heading = "Server")]
    pub(super) iss: Option<String>,
    /// The claim `aud` of the tokens, if the server demands one
    #[arg(long, value_name = "AUDIENCE", help_heading = "Server")]
    pub(super) aud: Option<String>,
    /// Publish on the server's unix socket; without it, over a WebSocket (one connection more than the scenario has)
    #[arg(long, value_name = "PATH", help_heading = "Server")]
    pub(super) publish_socket: Option<PathBuf>,
    /// The server's process, for its memory and processor time; without it, whoever listens at the URL's address on this host
    #[arg(long, value_name = "PID", allow_hyphen_values = true, value_parser = count, help_heading = "Server")]
    pub(super) server_pid: Option<u32>,
    /// The server is the floor: it wants no tokens, numbers nothing, answers no publishes
    #[arg(long, hide = true, requires = "publish_socket")]
    pub(super) floor: bool,

    /// Connections; rooms or members follow, so that each connection stays in as many rooms
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = count, help_heading = "Load")]
    pub(super) connections: Option<u32>,
    /// Handshakes begun per second
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = count, help_heading = "Load")]
    pub(super) connect_rate: Option<u32>,
    /// Multiplies the rate of every flow
    #[arg(long, value_name = "X", allow_hyphen_values = true, value_parser = factor, help_heading = "Load")]
    pub(super) rate_factor: Option<f64>,
    /// Time measured (of a ramp: of each step)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse_duration, help_heading = "Load")]
    pub(super) duration: Option<Duration>,
    /// Time before the measurement, at the same rate
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse_duration, help_heading = "Load")]
    pub(super) warmup: Option<Duration>,
    /// Receiving processes; default: one for each 8,000 connections
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = workers, help_heading = "Load")]
    pub(super) workers: Option<u32>,
    /// Bind publisher and workers to this processor, so that the server has the others
    #[arg(long, value_name = "CORE", allow_hyphen_values = true, value_parser = core, help_heading = "Load")]
    pub(super) pin: Option<u32>,

    /// What must hold beside what the scenario asks, such as `alert.p99<5ms` or `faults<=0`; repeatable
    #[arg(long, value_name = "EXPR", help_heading = "Report")]
    pub(super) slo: Vec<String>,
    /// Write record, histograms, series and a plot into this directory
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    pub(super) out: Option<PathBuf>,
    /// Print the record as JSON instead of the tables
    #[arg(long, help_heading = "Report")]
    pub(super) json: bool,
    /// Show nothing while it runs
    #[arg(long, help_heading = "Report")]
    pub(super) quiet: bool,
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "give a whole number from 1 on".to_owned())
}

fn workers(text: &str) -> Result<u32, String> {
    count(text).ok().filter(|count| *count <= WORKERS_MAX).ok_or_else(|| format!("give a whole number from 1 to {WORKERS_MAX}"))
}

/// A processor that this process may use.
fn core(text: &str) -> Result<u32, String> {
    let here = crate::probe::processors();
    let is_here = |core: &u32| here.contains(core);
    text.parse().ok().filter(is_here).ok_or_else(|| {
        let list = here.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("this machine has {} cores that may be used here: give one of {list}", here.len())
    })
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| *factor > 0.0 && *factor <= 1e6);
    factor.ok_or_else(|| "write a number above 0, such as 0.5 or 10".to_owned())
}
