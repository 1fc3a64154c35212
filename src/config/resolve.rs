//! Precedence: flags over environment over file over default, whole keys at a time, each with its origin.

use std::collections::BTreeMap;

use super::args::ServeArgs;
use super::error::Origin;
use super::file::FileValues;
use super::keys::{Key, Kind, keys};
use super::suggest;

/// Cores beyond this are left to others unless `--reactors` says more is wanted; it is also the most that may be asked for.
pub(super) const REACTORS_MAX: usize = 64;

/// Variables that are no keys of the file.
const OTHER_VARIABLES: [&str; 2] = ["TICKERD_CONFIG", "TICKERD_TOKEN"];

/// What a configuration depends on beyond flags and file. Values, so that a test gives its own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// Cores this process may use.
    pub cores: usize,
    /// Descriptors this process may open, the soft limit being raised; nothing if there is no limit.
    pub descriptors_max: Option<u64>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Surroundings {
        // Not UTF-8: shown with replacement characters by the error that such a value ends in.
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Surroundings {
            variables: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            descriptors_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
        }
    }

    /// A variable that is set and not empty: unit files and compose files leave empty ones behind, which mean nothing.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Variables that look like ours and are not, each with the one that may be meant.
    pub(super) fn strangers(&self) -> Vec<String> {
        let known: Vec<String> = keys().map(Key::env).chain(OTHER_VARIABLES.map(str::to_owned)).collect();
        let stray = self.variables.keys().filter(|name| name.starts_with("TICKERD_") && !known.contains(name));
        stray
            .map(|name| {
                format!("environment {name} is ignored: there is no such key{}", suggest::hint(name, known.iter().map(String::as_str)))
            })
            .collect()
    }
}

/// One key's effective value, as text, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag without its dashes.
    pub flag: &'static str,
    pub(super) kind: Kind,
    /// One value, or for a list any number; nothing where nothing was given and there is no default.
    pub values: Vec<String>,
    /// Where they came from.
    pub origin: Origin,
}

/// The effective value of every key, in the order of the table.
pub(super) fn resolve(args: &ServeArgs, surroundings: &Surroundings, file: &FileValues) -> Vec<Setting> {
    keys()
        .map(|key| {
            let (values, origin) = from_flag(key, args)
                .or_else(|| from_environment(key, surroundings))
                .or_else(|| file.given.get(key.flag).cloned())
                .unwrap_or_else(|| (default(key, surroundings), Origin::Default));
            Setting { flag: key.flag, kind: key.kind, values, origin }
        })
        .collect()
}

fn from_flag(key: &Key, args: &ServeArgs) -> Option<(Vec<String>, Origin)> {
    args.given.get(key.flag).map(|values| (values.clone(), Origin::Flag(key.flag)))
}

fn from_environment(key: &Key, surroundings: &Surroundings) -> Option<(Vec<String>, Origin)> {
    let name = key.env();
    let value = surroundings.variable(&name)?;
    Some((split(key.kind, value), Origin::Env(name)))
}

fn default(key: &Key, surroundings: &Surroundings) -> Vec<String> {
    match key.flag {
        "reactors" => vec![surroundings.cores.clamp(1, REACTORS_MAX).to_string()],
        _ if key.default.is_empty() => Vec::new(),
        _ => split(key.kind, key.default),
    }
}

fn split(kind: Kind, value: &str) -> Vec<String> {
    match kind {
        Kind::List => value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
        _ => vec![value.to_owned()],
    }
}
