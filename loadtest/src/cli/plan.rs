//! Flags to what is to be run: everything that can be wrong is found here, before anything starts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::client::tls::Trust;
use crate::client::token::Signer;
use crate::client::url::Url;
use crate::control::Target;
use crate::run::Options;
use crate::scenario::Scenario;
use crate::scenarios::{self, BUILT_IN, named};
use crate::slo::Slo;

use super::flags::RunArgs;
use super::scaled;

/// Connections that one worker process has, if it is not told otherwise.
const CONNECTIONS_PER_WORKER: u32 = 8_000;

/// What the flags say. The message says which is wrong.
pub(super) fn options(args: &RunArgs, stop: Arc<AtomicBool>) -> Result<Options, String> {
    let (scenario, scaled) = scenario(args)?;
    let url = Url::parse(&args.url).map_err(|error| format!("--url: {error}"))?;
    Trust::of(&url, args.ca.as_deref()).map_err(|error| format!("--ca: {error}"))?;
    if args.ca.is_some() && !url.is_tls {
        return Err("--ca is for servers with TLS: give a --url with wss://, or leave it out".to_owned());
    }
    let key = match &args.key {
        _ if args.floor => None,
        Some(key) => Some(key.clone()),
        None => return Err("give --key FILE: the key that the server verifies tokens with (`tickerd serve --jwt-key FILE`)".to_owned()),
    };
    if let Some(key) = &key {
        Signer::load(key, None, None).map(drop).map_err(|error| format!("--key: {error}"))?;
    }
    let workers = args.workers.unwrap_or_else(|| scenario.connections.count.div_ceil(CONNECTIONS_PER_WORKER));
    let target = Target {
        url: args.url.clone(),
        key,
        ca: args.ca.clone(),
        issuer: args.iss.clone(),
        audience: args.aud.clone(),
        is_floor: args.floor,
    };
    Ok(Options {
        target,
        publish_socket: args.publish_socket.clone(),
        workers: workers.min(scenario.connections.count),
        pin: args.pin,
        server_pid: args.server_pid,
        program: std::env::current_exe().map_err(|error| format!("this program does not know its own path: {error}"))?,
        stop,
        scenario,
        scaled,
    })
}

/// The scenario with the flags applied, checked again: a flag can spoil it. And what they changed of its sizes and rates.
fn scenario(args: &RunArgs) -> Result<(Scenario, Vec<String>), String> {
    let original = chosen(args)?;
    let mut scenario = original.clone();
    if let Some(count) = args.connections {
        scenario.set_connections(count);
    }
    if let Some(rate) = args.connect_rate {
        scenario.connections.rate = rate;
    }
    if let Some(factor) = args.rate_factor {
        scenario.scale_rates(factor);
    }
    if let Some(duration) = args.duration {
        scenario.duration_s = duration.as_secs_f64();
        if let Some(ramp) = &mut scenario.ramp {
            ramp.step_s = duration.as_secs_f64();
        }
    }
    if let Some(warmup) = args.warmup {
        scenario.warmup_s = warmup.as_secs_f64();
    }
    for slo in &args.slo {
        Slo::parse(slo, &scenario).map_err(|error| format!("--slo {error}"))?;
        scenario.slo.push(slo.clone());
    }
    scenarios::check(&scenario).map_err(|error| format!("{} with these flags: {error}", scenario.name))?;
    let scaled = scaled::changes(&original, &scenario);
    Ok((scenario, scaled))
}

fn chosen(args: &RunArgs) -> Result<Scenario, String> {
    match (&args.file, &args.scenario) {
        (Some(path), _) => of_file(path),
        (None, Some(name)) => named(name),
        (None, None) if args.full_load => named("full"),
        (None, None) => {
            let names = BUILT_IN.iter().map(|built_in| built_in.name).collect::<Vec<_>>().join(", ");
            Err(format!("give a scenario: {names}; or --file FILE; `tickerd loadtest list` says what each shows"))
        }
    }
}

fn of_file(path: &Path) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("--file: cannot read {}: {error}", path.display()))?;
    scenarios::parse(&path.display().to_string(), &text)
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;
    use crate::cli::LoadtestArgs;

    fn args(line: &str) -> RunArgs {
        let command = <LoadtestArgs as clap::Args>::augment_args(Command::new("loadtest"));
        let matches = command.try_get_matches_from(std::iter::once("loadtest").chain(line.split_whitespace())).expect(line);
        LoadtestArgs::from_arg_matches(&matches).expect(line).run
    }

    #[test]
    fn flags_change_the_scenario() {
        let line = "full --connections 200 --connect-rate 50 --rate-factor 0.5 --duration 2m --warmup 500ms --slo all.max<1s";
        let (scenario, _) = scenario(&args(line)).expect("all is well");
        assert_eq!((scenario.connections.count, scenario.connections.rate, scenario.rooms[0].count), (200, 50, 2));
        assert_eq!([scenario.flows[1].rate, scenario.duration_s, scenario.warmup_s].map(|x| (x * 10.0) as u32), [2_500, 1_200, 5]);
        assert_eq!(scenario.slo.last().map(String::as_str), Some("all.max<1s"));
        assert_eq!(super::scenario(&args("ramp --duration 2s")).expect("a ramp").0.ramp.expect("is one").step_s as u32, 2);
        assert_eq!(super::scenario(&args("--full-load")).expect("an alias").0.name, "full");
    }

    /// A number below zero is no flag: the message is about the number.
    #[test]
    fn what_is_no_value_is_told_by_its_flag() {
        for (line, told) in [
            ("smoke --connections -5", "'-5' for '--connections <N>': give a whole number from 1 on"),
            ("smoke --connections 0", "from 1 on"),
            ("smoke --connect-rate -1", "'--connect-rate <N>': give a whole number from 1 on"),
            ("smoke --rate-factor -0.5", "'--rate-factor <X>': write a number above 0"),
            ("smoke --duration -5s", "'--duration <DURATION>': `-5s` is no duration"),
            ("smoke --warmup -1", "`-1` is no duration"),
            ("smoke --workers 257", "from 1 to 256"),
            ("smoke --server-pid -1", "from 1 on"),
            ("smoke --pin 99999", "that may be used here: give one of "),
            ("smoke --pin -1", "that may be used here"),
        ] {
            let command = <LoadtestArgs as clap::Args>::augment_args(Command::new("loadtest"));
            let error = command.try_get_matches_from(std::iter::once("loadtest").chain(line.split_whitespace())).expect_err(line);
            assert!(error.to_string().contains(told), "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_flag() {
        for (line, told) in [
            ("", "give a scenario: full, desk"),
            ("nosuch", "no scenario is called `nosuch`"),
            ("--file /nonexistent.toml", "--file: cannot read /nonexistent.toml"),
            ("smoke --slo x<1", "--slo `x<1`"),
            ("smoke --rate-factor 1000000", "smoke with these flags: flow 1"),
            ("smoke", "give --key FILE"),
            ("smoke --key /nonexistent.key", "--key: cannot read the key /nonexistent.key"),
            ("smoke --url http://x", "--url: `http://x` does not begin with ws://"),
            ("smoke --url wss://127.0.0.1:1/ --ca /nonexistent.pem", "--ca: the certificates /nonexistent.pem: No such file"),
            ("smoke --url ws://127.0.0.1:1/ --ca /nonexistent.pem", "--ca is for servers with TLS"),
        ] {
            let error = options(&args(line), Arc::default()).err().expect(line);
            assert!(error.contains(told), "{line}: {error}");
        }
        let floor = options(&args("broadcast --floor --publish-socket /s"), Arc::default()).expect("the floor wants no key");
        assert!(floor.target.is_floor && floor.target.key.is_none());
    }

    #[test]
    fn a_worker_has_at_most_its_connections() {
        let workers = |line: &str| options(&args(&format!("{line} --floor --publish-socket /s")), Arc::default()).expect(line).workers;
        assert_eq!((workers("full"), workers("broadcast"), workers("full --workers 5")), (2, 1, 5));
        assert_eq!(workers("broadcast --connections 3 --workers 5"), 3);
    }
}
