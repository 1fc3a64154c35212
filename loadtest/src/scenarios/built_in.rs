//! The scenarios that come with the binary: `scenarios/*.toml` of this crate.

use super::parse;
use crate::scenario::Scenario;

/// A scenario that needs no file.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// Its file, comments included.
    pub text: &'static str,
}

impl BuiltIn {
    /// What it says.
    pub fn scenario(&self) -> Scenario {
        parse(self.name, self.text).expect("the tests read every built-in scenario")
    }
}

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        &[$(BuiltIn { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".toml")) }),+]
    };
}

/// All of them, the one that was asked for first at the front.
pub const BUILT_IN: &[BuiltIn] = built_in![
    "full",
    "desk",
    "broadcast",
    "wide",
    "private",
    "console",
    "quotes",
    "mixed",
    "slow",
    "storm",
    "idle",
    "ramp",
    "ramp-private",
    "smoke",
];

/// The built-in scenario of that name. The message has all names.
pub fn named(name: &str) -> Result<Scenario, String> {
    find(name).map(BuiltIn::scenario)
}

/// Likewise, as its file.
pub fn find(name: &str) -> Result<&'static BuiltIn, String> {
    let found = BUILT_IN.iter().find(|built_in| built_in.name == name);
    found.ok_or_else(|| {
        let names = BUILT_IN.iter().map(|built_in| built_in.name).collect::<Vec<_>>().join(", ");
        format!("no scenario is called `{name}`; there are {names}; --file FILE takes one of your own")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::check;

    #[test]
    fn each_file_is_a_scenario_of_its_name() {
        for built_in in BUILT_IN {
            let scenario = built_in.scenario();
            assert_eq!(scenario.name, built_in.name);
            assert!(built_in.text.starts_with("# "), "{}: begins with what it shows", built_in.name);
            assert!(scenario.about.len() < 90 && scenario.about.ends_with('.'), "{}: one short sentence", built_in.name);
            let asks = scenario.ramp.as_ref().map_or(&scenario.slo, |ramp| &ramp.bound);
            assert!(!asks.is_empty(), "{}: asks for something", built_in.name);
        }
    }

    /// No file lies there unused.
    #[test]
    fn each_file_is_built_in() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).expect("the directory is there");
        let mut files: Vec<_> = files.map(|file| file.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        let mut known: Vec<_> = BUILT_IN.iter().map(|built_in| format!("{}.toml", built_in.name)).collect();
        files.sort();
        known.sort();
        assert_eq!(files, known);
    }

    /// A tenth of the connections, or ten times the rate, is a scenario as well.
    #[test]
    fn each_can_be_resized() {
        for built_in in BUILT_IN {
            for count in [1, 37, 500, 20_000] {
                let mut scenario = built_in.scenario();
                scenario.set_connections(count);
                scenario.scale_rates(10.0);
                assert_eq!(check(&scenario), Ok(()), "{} with {count} connections", built_in.name);
            }
        }
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let error = named("destk").expect_err("no such scenario");
        assert!(error.contains("`destk`") && error.contains("desk, broadcast"), "{error}");
    }
}
