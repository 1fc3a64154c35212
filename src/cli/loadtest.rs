//! `tickerd loadtest`: the load generator, which is a crate of its own and shares no code with the server that it checks.

use std::process::ExitCode;

use tickerd_loadtest::cli::{self, LoadtestArgs};

use super::{Failure, complain, stop_flag};

/// What a shell gives a command that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Does what the arguments say.
pub(super) fn run(args: &LoadtestArgs) -> Result<ExitCode, Failure> {
    cli::main(args, stop_flag).or_else(|failure| match failure {
        cli::Failure::Usage(message) => Err(Failure::Usage(message)),
        cli::Failure::Failed(message) => Err(Failure::Failed(message)),
        cli::Failure::OutputClosed => Err(Failure::OutputClosed),
        cli::Failure::Interrupted(message) => {
            complain(&message);
            Ok(ExitCode::from(INTERRUPTED))
        }
    })
}
