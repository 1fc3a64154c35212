//! `tickerd loadtest`: the load generator, which is a crate of its own and shares no code with the server that it checks.

use std::process::ExitCode;

use tickerd_loadtest::cli::{self, LoadtestArgs};

use super::{Failure, stop_flag};

impl From<cli::Failure> for Failure {
    fn from(failure: cli::Failure) -> Failure {
        match failure {
            cli::Failure::Usage(message) => Failure::Usage(message),
            cli::Failure::Failed(message) => Failure::Failed(message),
            cli::Failure::OutputClosed => Failure::OutputClosed,
        }
    }
}

/// Does what the arguments say.
pub(super) fn run(args: &LoadtestArgs) -> Result<ExitCode, Failure> {
    Ok(cli::main(args, stop_flag)?)
}
