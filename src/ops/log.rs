//! The log: lines on stderr, as text for people or JSON for collectors. Never on the hot path. Where stderr is journald's, each line begins with its
//! priority, `<3>` for errors, which journald takes off (`sd-daemon(3)`).

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use serde::Deserialize;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt, reload};

use crate::base::codes::{INVALID_FIELD, Refusal};

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// All formats.
    pub const ALL: [LogFormat; 2] = [LogFormat::Text, LogFormat::Json];

    /// The name that flags and files use.
    pub const fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// The least severe line that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What ended or will end service.
    Error,
    /// What needs a look.
    Warn,
    /// What happens: one line for each connection's beginning and end, and for each change of state.
    Info,
    /// Besides, one for each connection that is accepted, and each join, its end, and its denial.
    Debug,
    /// Besides, one for each command of a client.
    Trace,
}

impl LogLevel {
    /// All levels, the most severe first.
    pub const ALL: [LogLevel; 5] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// The name that flags and files use.
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }

    /// Of what the daemon says itself: libraries' lines have no event's name, and files of the machine that built it.
    fn filter(self) -> Targets {
        Targets::new().with_target(
            "tickerd",
            match self {
                LogLevel::Error => LevelFilter::ERROR,
                LogLevel::Warn => LevelFilter::WARN,
                LogLevel::Info => LevelFilter::INFO,
                LogLevel::Debug => LevelFilter::DEBUG,
                LogLevel::Trace => LevelFilter::TRACE,
            },
        )
    }
}

/// Sets the level of the log that was started.
static SET_LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts the log of this process. To be called once, before the first thread.
///
/// stdout stays free: it carries the line that says the daemon is ready.
pub fn start(format: LogFormat, level: LogLevel) -> Result<(), TryInitError> {
    let (filter, handle) = reload::Layer::new(level.filter());
    let is_journal = std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stderr(&stream));
    let lines = fmt::layer().with_writer(Lines { is_journal });
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    SET_LEVEL.get_or_init(|| handle);
    Ok(())
}

/// Where lines go.
struct Lines {
    /// Each begins with its priority.
    is_journal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { prefix: "" }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter {
        LineWriter { prefix: if self.is_journal { priority(*metadata.level()) } else { "" } }
    }
}

/// The priority of syslog (RFC 5424 section 6.2.1) as journald takes it.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Writes a line to stderr in one go, so that those of other threads do not come between.
struct LineWriter {
    prefix: &'static str,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&[self.prefix.as_bytes(), line].concat()).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Whether `JOURNAL_STREAM` (`systemd.exec(5)`), device and inode, is where stderr leads; it is inherited by whoever is started from a service.
fn is_stderr(stream: &str) -> bool {
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Writes lines of that level and above from now on; nothing if the log was not started.
pub fn set_level(level: LogLevel) {
    if let Some(handle) = SET_LEVEL.get() {
        handle.reload(level.filter()).expect("the log lives as long as the process");
    }
}

/// `{"level":"debug"}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeLevel {
    level: Box<str>,
}

/// `POST /v1/log-level`. It holds until the next change, SIGHUP, or start.
pub fn change_level(body: &[u8]) -> Result<String, Refusal> {
    let names = LogLevel::ALL.map(LogLevel::name);
    let invalid = |what: String| Refusal::new(INVALID_FIELD, format!("{what}: write {{\"level\":…}} with one of {}", names.join(", ")));
    let asked: ChangeLevel = serde_json::from_slice(body).map_err(|error| invalid(format!("not a JSON object with `level`: {error}")))?;
    let level = LogLevel::ALL.into_iter().find(|level| level.name() == &*asked.level);
    let level = level.ok_or_else(|| invalid(format!("`{}` is no level", asked.level)))?;
    set_level(level);
    tracing::info!(event = "log_level", level_now = level.name());
    Ok(format!(r#"{{"ok":true,"level":"{}"}}"#, level.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OBS-21: a second start is an error and changes nothing: a line must not come twice, nor a level be undone. The level may change at any time.
    #[test]
    fn the_log_starts_once_and_its_level_can_be_changed() {
        start(LogFormat::Json, LogLevel::Error).unwrap();
        start(LogFormat::Text, LogLevel::Trace).unwrap_err();
        assert!(tracing::enabled!(tracing::Level::ERROR));
        assert!(!tracing::enabled!(tracing::Level::WARN));
        set_level(LogLevel::Warn);
        assert!(tracing::enabled!(tracing::Level::WARN));
        assert!(!tracing::enabled!(tracing::Level::INFO));
        assert_eq!(change_level(br#"{"level":"debug"}"#).unwrap(), r#"{"ok":true,"level":"debug"}"#);
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        for bad in [&br#"{"level":"loud"}"#[..], b"{}", b"", br#"{"level":"info","x":1}"#] {
            assert!(change_level(bad).unwrap_err().message.contains("error, warn, info, debug, trace"));
        }
        set_level(LogLevel::Error); // the other tests of this process log too
    }
}
