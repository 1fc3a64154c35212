//! The flags of `serve` and `check`, made from the table of keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};

use super::keys::{Key, Kind, keys};

/// See [`Config::conformance_echo`](super::Config::conformance_echo).
pub(super) const CONFORMANCE_ECHO: &str = "conformance-echo";

/// What the command line gave: texts, not yet judged.
#[derive(Clone, Debug, Default)]
pub struct ServeArgs {
    /// `--config`.
    pub(super) config: Option<PathBuf>,
    /// `--conformance-echo`, for the suites that test the WebSocket codec: no option of the daemon's, so it is not in the table.
    pub(super) conformance_echo: bool,
    /// Values by flag name; a flag that was not given is absent.
    pub(super) given: BTreeMap<&'static str, Vec<String>>,
}

impl ServeArgs {
    /// Gives a flag in place of the user, who gave none: how `demo` prepares a server.
    ///
    /// # Panics
    ///
    /// If there is no such flag.
    pub fn preset(&mut self, flag: &'static str, values: Vec<String>) {
        assert!(keys().any(|key| key.flag == flag), "--{flag} is in the table of keys");
        self.given.entry(flag).or_insert(values);
    }
}

impl clap::Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        command.arg(config_arg()).arg(conformance_echo_arg()).args(keys().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        ServeArgs::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ServeArgs, clap::Error> {
        let mut args = ServeArgs::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        if let Some(path) = matches.get_one::<PathBuf>("config") {
            self.config = Some(path.clone());
        }
        self.conformance_echo |= matches.get_flag(CONFORMANCE_ECHO);
        for key in keys() {
            if let Some(values) = matches.get_many::<String>(key.flag) {
                self.given.insert(key.flag, values.cloned().collect());
            }
        }
        Ok(())
    }
}

fn config_arg() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("TOML file with any of the keys below (`_` for `-`), [[catalog]] and [[issuer]] entries [env: TICKERD_CONFIG]")
}

fn conformance_echo_arg() -> Arg {
    Arg::new(CONFORMANCE_ECHO)
        .long(CONFORMANCE_ECHO)
        .action(ArgAction::SetTrue)
        .hide(true)
        .help("Send every WebSocket message back instead of serving: for conformance suites, on loopback only")
}

fn arg(key: &'static Key) -> Arg {
    let arg = Arg::new(key.flag).long(key.flag).value_name(key.placeholder).help(help(key)).help_heading(key.heading);
    match key.kind {
        Kind::List => arg.action(ArgAction::Append),
        // `--query-token` alone switches on; `--query-token=false` overrides a file that did.
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Text | Kind::Number | Kind::Size | Kind::Duration => arg.action(ArgAction::Set),
    }
}

/// The environment is read by us and not by clap, so that tests can give one; so its name is written here as clap would.
fn help(key: &Key) -> String {
    let default = if key.default.is_empty() { String::new() } else { format!(" [default: {}]", key.default) };
    format!("{} [env: {}]{default}", key.help, key.env())
}
