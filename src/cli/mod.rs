//! The subcommands: parse, run, exit code.

pub mod demo;
pub mod token;
