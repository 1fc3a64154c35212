//! Scenarios as files: reading them, checking them, and those that are built in.

mod built_in;
mod check;

use crate::scenario::Scenario;

pub use built_in::{BUILT_IN, BuiltIn, find, named};
pub use check::check;

/// Reads and checks the text of a file; `name` is what messages call it.
pub fn parse(name: &str, text: &str) -> Result<Scenario, String> {
    let scenario: Scenario = toml::from_str(text).map_err(|error| format!("{name}: {}", error.to_string().trim_end()))?;
    check(&scenario).map_err(|error| format!("{name}: {error}"))?;
    Ok(scenario)
}
