//! The command line: parse, run, exit code. One file per subcommand.
//!
//! Exit codes: 0 done, 1 failed, 2 bad usage or configuration; `explain` has verdicts beyond. Messages go to stderr as `tickerd: …`, results to stdout; a
//! reader of stdout that goes away (`tickerd subscribe … | head`) ends the command in peace.

mod check;
mod checklist;
mod demo;
mod endpoint;
mod explain;
mod export;
mod http;
mod line;
mod lines;
mod loadtest;
mod pages;
mod publish;
mod serve;
mod subscribe;
mod token;
mod verify;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, Parser, Subcommand};

use crate::base::limits::TOKEN_BYTES_MAX;
use crate::config::{ConfigError, ServeArgs};
use crate::daemon::StartError;

/// Low-latency WebSocket push for trading events: alerts first, private by room, resumable, measured.
#[derive(Parser)]
#[command(name = "tickerd", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon
    Serve(ServeArgs),
    /// Check the configuration that `serve` would run with, and print it with the origin of each key
    Check(ServeArgs),
    /// Publish NDJSON from stdin to a running daemon
    Publish(publish::PublishArgs),
    /// Print the messages of rooms as JSON lines
    Subscribe(subscribe::SubscribeArgs),
    /// Why does a user get a room, or not? Each rule, and what it says
    Explain(Box<explain::ExplainArgs>),
    /// Print the events of a data directory as JSON lines
    Export(export::ExportArgs),
    /// Compute the numbers of `[analytics]` again from the kept fills, and say where the kept numbers are others
    Verify(verify::VerifyArgs),
    /// Mint a token, or make a key
    Token(token::TokenArgs),
    /// Show alerts overtaking metrics: a daemon, a made-up trading desk, and what clients receive, lane by lane
    Demo(demo::DemoArgs),
    /// Measure what this host can do: open-loop load, latency histograms, a verdict
    Loadtest(tickerd_loadtest::cli::LoadtestArgs),
    /// Print what a shell needs to complete tickerd's commands
    Completions(pages::CompletionsArgs),
    /// Print a man page
    Man(pages::ManArgs),
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Usage or configuration is wrong: exit code 2.
    Usage(String),
    /// It was tried and failed: exit code 1.
    Failed(String),
    /// Nobody reads our output any more: exit code 0.
    OutputClosed,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Usage(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        match error {
            StartError::Config(message) => Failure::Usage(message),
            StartError::System(message) => Failure::Failed(message),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) | Failure::Failed(message) => f.write_str(message),
            Failure::OutputClosed => f.write_str("nobody reads the output any more"),
        }
    }
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Cli::try_parse_from(argv) {
        Ok(cli) => cli.command.run().unwrap_or_else(|failure| exit_code(Err(failure))),
        Err(usage) => {
            // Help or a usage error; if even that cannot be written, the exit code still tells.
            usage.print().ok();
            ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
        }
    }
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        let done = match self {
            Command::Serve(args) => serve::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Publish(args) => publish::run(args),
            Command::Subscribe(args) => subscribe::run(&args),
            Command::Explain(args) => return explain::run(&args),
            Command::Export(args) => export::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Token(args) => token::run(&args),
            Command::Demo(args) => demo::run(&args),
            Command::Loadtest(args) => return loadtest::run(&args),
            Command::Completions(args) => pages::completions(&args, Cli::command()),
            Command::Man(args) => pages::man(&args, Cli::command()),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

fn exit_code(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => {
            complain(&message);
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            complain(&message);
            ExitCode::from(2)
        }
    }
}

/// Writes each line of a message to stderr. Unlike `eprintln!`, does not panic when stderr is closed.
fn complain(message: &str) {
    let text = message.lines().map(|line| format!("tickerd: {line}\n")).collect::<Vec<_>>().concat();
    io::stderr().write_all(text.as_bytes()).ok();
}

/// Writes text and hands it on at once. Unlike `println!`, does not panic when stdout is closed.
fn emit(out: &mut impl Write, text: &[u8]) -> Result<(), Failure> {
    out.write_all(text).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
}

/// Why stdout took nothing.
fn unwritten(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(format!("cannot write to stdout: {error}")),
    }
}

/// Set by SIGINT and SIGTERM, for commands that end with what they have.
fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// The token of a client command: from the file, else from `TICKERD_TOKEN`. Never from a flag, where every user of the machine can read it.
fn token(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let (text, source) = match file {
        Some(path) => (read_token(path)?, path.display().to_string()),
        None => match std::env::var("TICKERD_TOKEN") {
            Ok(text) => (text, "TICKERD_TOKEN".to_owned()),
            Err(_) => return Ok(None),
        },
    };
    valid_token(text.trim(), &source).map(Some)
}

fn read_token(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::Usage(format!("--token-file: cannot read {}: {e}", path.display())))
}

/// A token goes into a header line: what cannot be in one is refused here, without showing it.
fn valid_token(token: &str, source: &str) -> Result<String, Failure> {
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Usage(format!(
            "{source} holds no token: it must be one line of 1 to {TOKEN_BYTES_MAX} printable ASCII characters"
        )));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(argv: &[&str]) -> String {
        format!("{:?}", run(["tickerd"].iter().chain(argv).map(OsString::from)))
    }

    #[test]
    fn clap_accepts_its_own_definition() {
        Cli::command().debug_assert();
    }

    /// OPS-05: bad usage and bad configuration exit with 2.
    #[test]
    fn bad_usage_exits_with_2() {
        let two = format!("{:?}", ExitCode::from(2));
        assert_eq!(code_of(&["serve", "--no-such-flag"]), two);
        assert_eq!(code_of(&["check", "--heartbeat", "0s"]), two);
        assert_eq!(code_of(&["publish"]), two);
        assert_eq!(code_of(&["publish", "--socket", "/s", "--url", "http://127.0.0.1:1"]), two);
        assert_eq!(code_of(&["publish", "--url", "ftp://127.0.0.1"]), two);
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        let failure = emit(&mut Closed, b"text").unwrap_err();
        assert!(matches!(failure, Failure::OutputClosed));
        assert_eq!(format!("{:?}", exit_code(Err(failure))), format!("{:?}", ExitCode::SUCCESS));
    }

    /// AUT-02: a token that cannot be sent is refused without being shown.
    #[test]
    fn a_bad_token_is_not_echoed() {
        for token in ["", "secret\r\nX-Admin: 1", "sec ret", "sécret"] {
            let message = valid_token(token, "the file").unwrap_err().to_string();
            assert!(message.contains("the file") && (token.is_empty() || !message.contains(token)), "{message}");
        }
        assert_eq!(valid_token("a.b-_c", "the file").unwrap(), "a.b-_c");
    }
}
