//! The subcommands: parse, run, exit code.

pub mod token;
