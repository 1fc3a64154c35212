//! The style rules that a machine can hold, as a test: layers, purity, unsafe, sizes, leftovers, the top level, requirement ids.
//!
//! Each rule is a function from sources to faults. `the_house_is_tidy` runs them all over the tree; below it, each rule meets
//! a bad sample, so that it is known to fire, and a good one, so that it is known to be quiet.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "tidy/source.rs"]
mod source;

use source::{Source, functions, paths, sources_under, words};

/// Modules of the server and their layer. A module uses itself and lower layers; those of one layer do not see each other.
const LAYERS: &[(&str, u8)] = &[
    ("base", 0),
    ("wire", 1),
    ("analytics", 2),
    ("auth", 2),
    ("hub", 2),
    ("net", 3),
    ("bridge", 4),
    ("journal", 4),
    ("reactor", 4),
    ("ops", 5),
    ("config", 6),
    ("daemon", 7),
    ("cli", 8),
    ("main", 9),
    ("lib", 9),
];

/// The same of the load generator.
const LOADTEST_LAYERS: &[(&str, u8)] = &[
    ("clock", 0),
    ("hist", 0),
    ("scenario", 0),
    ("stamp", 0),
    ("units", 0),
    ("layout", 1),
    ("payload", 1),
    ("control", 1),
    ("record", 2),
    ("slo", 3),
    ("scenarios", 4),
    ("client", 5),
    ("probe", 5),
    ("publisher", 6),
    ("report", 6),
    ("worker", 6),
    ("compare", 7),
    ("run", 7),
    ("cli", 8),
    ("lib", 9),
];

/// No clock, no I/O, no threads, no environment, no randomness: time and seeds come in as arguments.
const PURE: &[&str] = &[
    "src/base/",
    "src/wire/",
    "src/auth/",
    "src/hub/",
    "src/analytics/",
    "src/bridge/disputes.rs",
    "src/bridge/layout.rs",
    "src/bridge/record.rs",
    "src/journal/export.rs",
    "src/journal/index.rs",
    "src/journal/record.rs",
    "src/net/outbox.rs",
    "src/net/timer.rs",
    "src/net/tls/session.rs",
    "src/reactor/absences.rs",
    "src/reactor/audit",
    "src/ops/alerts",
    "src/ops/lifecycle.rs",
    "src/ops/pulse.rs",
    "src/reactor/session.rs",
    "src/reactor/shedding.rs",
    "loadtest/src/control.rs",
    "loadtest/src/hist.rs",
    "loadtest/src/layout.rs",
    "loadtest/src/payload.rs",
    "loadtest/src/publisher/answers.rs",
    "loadtest/src/publisher/batch.rs",
    "loadtest/src/publisher/inbound.rs",
    "loadtest/src/publisher/schedule.rs",
    "loadtest/src/publisher/span.rs",
    "loadtest/src/record.rs",
    "loadtest/src/run/ledger.rs",
    "loadtest/src/run/search.rs",
    "loadtest/src/scenario.rs",
    "loadtest/src/scenarios/",
    "loadtest/src/slo",
    "loadtest/src/stamp.rs",
    "loadtest/src/units.rs",
    "loadtest/src/worker/verify/",
];

/// Paths that a pure module does not name; `core::net` has the address types.
const IMPURE_PATHS: &[&str] = &[
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "std::process",
    "std::os",
    "mio",
    "socket2",
    "rustix",
    "rand",
    "getrandom",
    "parking_lot",
];

/// Words that a pure module does not name, wherever they come from.
const IMPURE_WORDS: &[&str] = &["Instant", "SystemTime", "thread_rng", "stdin", "stdout", "stderr"];

/// Files that are compiled for tests alone, so that layers and purity do not bind them.
const TEST_FILES: &[&str] = &["tests.rs", "testing.rs", "attacks.rs", "attack_tables.rs"];

/// The only file that may hold `unsafe`.
const UNSAFE_FILE: &str = "src/net/sys.rs";

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// What has to be one file, because users take it as one, and so may be longer.
const SINGLE_FILES: &[(&str, usize)] = &[("src/web/client.js", 1000)];

/// What is longer than allowed, with its present length, which may only shrink: `path` for a file, `path::name` for a function.
const RATCHET: &[(&str, usize)] = &[];

/// All that may stand at the top, beside dotfiles; the last two are made by builds and by failing property tests, and are no part of the repository.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "benches",
    "tests",
    "loadtest",
    "systemd",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "target",
    "proptest-regressions",
];

/// The requirements: prefix and highest number.
const REQUIREMENTS: &[(&str, u32)] = &[
    ("ARC", 16),
    ("AUT", 11),
    ("BUS", 1),
    ("CLI", 15),
    ("DLV", 25),
    ("ERR", 11),
    ("EVT", 9),
    ("FUT", 6),
    ("HBT", 11),
    ("KAL", 22),
    ("LIM", 10),
    ("MET", 12),
    ("NET", 9),
    ("OBS", 28),
    ("OPS", 8),
    ("PRF", 17),
    ("PRO", 11),
    ("QTE", 15),
    ("ROM", 11),
    ("SCL", 15),
    ("TRP", 6),
    ("TST", 10),
];

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources_under(root);
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the walk found no sources: the rules would hold of nothing");
    let mut faults: Vec<String> = sources.iter().flat_map(faults_of).collect();
    faults.extend(ratchet(&sources, RATCHET));
    faults.extend(top_level(root));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// All rules that look at one file.
fn faults_of(source: &Source) -> Vec<String> {
    let mut faults = leftovers(source);
    faults.extend(requirement_ids(source));
    let is_shipped = !source.path.contains("/tests/") && !TEST_FILES.iter().any(|name| source.path.ends_with(&format!("/{name}")));
    if source.is_rust() && is_shipped {
        faults.extend(layers(source));
        faults.extend(purity(source));
    }
    if source.is_rust() {
        faults.extend(unsafety(source));
    }
    faults
}

// ---- the rules -----------------------------------------------------------------------------------------------------

/// A module names only itself and modules of lower layers. Its tests may look wherever they need.
fn layers(source: &Source) -> Vec<String> {
    let Some(own) = source.module() else { return Vec::new() };
    let table = source.layers();
    let Some(own_layer) = layer_of(table, own) else {
        return vec![source.fault(1, format!("module `{own}` has no layer: give it one in tests/tidy.rs"))];
    };
    if own == "lib" {
        return Vec::new(); // it only declares the modules
    }
    let named: BTreeSet<_> = paths(&source.shipped).into_iter().filter_map(|(line, path)| Some((line, source.target_of(&path)?))).collect();
    let forbidden =
        named.into_iter().filter(|(_, target)| target != own && layer_of(table, target).is_some_and(|layer| layer >= own_layer));
    forbidden.map(|(line, target)| source.fault(line, format!("`{own}` (layer {own_layer}) may not use `{target}`"))).collect()
}

fn layer_of(table: &[(&str, u8)], module: &str) -> Option<u8> {
    table.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// Pure modules read no clock and do no I/O.
fn purity(source: &Source) -> Vec<String> {
    if !PURE.iter().any(|pure| source.path.starts_with(pure)) {
        return Vec::new();
    }
    let by_path = paths(&source.shipped).into_iter().filter(|(_, path)| IMPURE_PATHS.iter().any(|impure| begins(path, impure)));
    let by_word =
        words(&source.shipped).into_iter().filter(|(_, word)| IMPURE_WORDS.contains(word)).map(|(line, word)| (line, word.into()));
    let named: BTreeSet<(usize, String)> = by_path.chain(by_word).collect();
    named.into_iter().map(|(line, name)| source.fault(line, format!("`{name}` in a pure module: take the value as an argument"))).collect()
}

/// Whether `path` is `prefix` or lies in it.
fn begins(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// `unsafe` stands in one file alone, each time under a note that says why it is sound.
fn unsafety(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let uses = words(&source.code).into_iter().filter(|(_, word)| *word == "unsafe").map(|(line, _)| line);
    let faulty = uses.filter_map(|line| {
        if source.path != UNSAFE_FILE {
            return Some((line, format!("`unsafe` outside {UNSAFE_FILE}")));
        }
        let above = lines[..line - 1].iter().rev().take_while(|text| is_comment_or_attribute(text));
        let noted = above.chain(std::iter::once(&lines[line - 1])).any(|text| text.contains("SAFETY:"));
        (!noted).then(|| (line, "`unsafe` without a SAFETY: note above it".into()))
    });
    faulty.map(|(line, what)| source.fault(line, what)).collect()
}

fn is_comment_or_attribute(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") || line.starts_with("#[")
}

/// Sizes have limits; what exceeds them is in `table`, exactly as long as it is, so that it can only shrink.
fn ratchet(sources: &[Source], table: &[(&str, usize)]) -> Vec<String> {
    let sized = sources.iter().flat_map(|source| {
        let single = SINGLE_FILES.iter().find(|(path, _)| *path == source.path);
        let file = (source.path.clone(), source.text.lines().count(), single.map_or(FILE_LINES_MAX, |(_, max)| *max));
        let functions = functions(&source.code).into_iter();
        let functions = functions.map(|(name, lines)| (format!("{}::{name}", source.path), lines, FUNCTION_LINES_MAX));
        std::iter::once(file).chain(functions.filter(|_| source.is_rust()).collect::<Vec<_>>())
    });
    let sized: Vec<_> = sized.collect();
    let grown = sized.iter().filter(|(_, lines, max)| lines > max).filter(|(name, lines, _)| !table.contains(&(name, *lines)));
    let mut faults: Vec<String> = grown.map(|(name, lines, max)| format!("{name}: {lines} lines, at most {max}: split it")).collect();
    let stale = table.iter().filter(|entry| !sized.iter().any(|(name, lines, max)| name == entry.0 && *lines == entry.1 && lines > max));
    faults.extend(stale.map(|(name, lines)| format!("{name} is not {lines} lines long any more: correct or delete its entry in RATCHET")));
    faults
}

/// Nothing half done: no test is switched off, no code is a placeholder, no note waits for someone.
fn leftovers(source: &Source) -> Vec<String> {
    let in_code: &[&str] = if source.is_rust() { &["#[ignore", "todo!(", "unimplemented!("] } else { &[] };
    let in_text = [concat!("FIX", "ME"), concat!("XX", "X")];
    let code = source
        .code
        .lines()
        .enumerate()
        .flat_map(|(at, line)| in_code.iter().filter(move |what| line.contains(**what)).map(move |what| (at, *what)));
    let text = words(&source.text).into_iter().filter(|(_, word)| in_text.contains(word)).map(|(line, word)| (line - 1, word));
    code.chain(text).map(|(at, what)| source.fault(at + 1, format!("`{what}` is left over: do it, or open an issue"))).collect()
}

/// An id such as `LIM-05` names a requirement that there is: a typing error would hide that a row is covered, or not.
fn requirement_ids(source: &Source) -> Vec<String> {
    let tokens = source.text.lines().enumerate().flat_map(|(at, line)| {
        let split = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        split.filter_map(|token| token.split_once('-')).map(move |(prefix, number)| (at + 1, prefix, number))
    });
    let ids = tokens.filter(|(_, prefix, number)| {
        let looks_so = prefix.len() == 3 && prefix.bytes().all(|b| b.is_ascii_uppercase()) && !number.is_empty();
        looks_so
            && number.bytes().all(|b| b.is_ascii_digit())
            && (number.len() == 2 || REQUIREMENTS.iter().any(|(known, _)| known == prefix))
    });
    let wrong = ids.filter(|(_, prefix, number)| {
        let highest = REQUIREMENTS.iter().find(|(known, _)| known == prefix).map_or(0, |(_, highest)| *highest);
        number.len() != 2 || number.parse().is_ok_and(|number: u32| number == 0 || number > highest)
    });
    wrong.map(|(line, prefix, number)| source.fault(line, format!("`{prefix}-{number}` is no requirement"))).collect()
}

/// The top level is what a newcomer sees first.
fn top_level(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).expect("the package has a directory");
    let names = entries.map(|entry| entry.expect("a directory can be read to its end").file_name().to_string_lossy().into_owned());
    strangers(names.collect())
}

fn strangers(names: Vec<String>) -> Vec<String> {
    let strange = names.into_iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    strange.map(|name| format!("{name}: not at the top level; it has {}", TOP_LEVEL.join(", "))).collect()
}

// ---- each rule fires on a bad sample, and not on a good one ----------------------------------------------------------

/// A source of that text.
fn source(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

#[test]
fn layers_are_held() {
    for (path, text) in [
        ("src/base/a.rs", "use crate::wire::frame::Frame;"),
        ("src/auth/a.rs", "use crate::hub::ports;"),
        ("src/hub/a.rs", "fn f() { crate::auth::g() }"),
        ("src/wire/a.rs", "use crate::{base::ids, net::{bell, link}};"),
        ("src/wire/a.rs", "use super::super::reactor::x;"),
        ("src/wire/mod.rs", "use super::reactor::x;"),
        ("src/reactor/a.rs", "use crate::config::Config;"),
        ("src/new_module/a.rs", ""),
        ("src/daemon.rs", "use super::cli;"),
        ("loadtest/src/layout.rs", "use crate::slo::Slo;"),
        ("loadtest/src/worker/a.rs", "use crate::publisher::batch;"),
        ("loadtest/src/new_module/a.rs", ""),
    ] {
        assert_eq!(layers(&source(path, text)).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/hub/a.rs", "use crate::{base::ids, hub::ports, wire};\nuse super::ports;"),
        ("src/reactor/a.rs", "use super::config::X; // a sibling file\n/* crate::cli */"),
        ("src/base/a.rs", "#[cfg(test)]\nmod tests { use crate::wire::frame; }"),
        ("src/lib.rs", "pub mod base;"),
        ("src/main.rs", "fn main() { tickerd::cli::run() }"),
        ("tests/a.rs", "use tickerd::hub;"),
        ("loadtest/src/run/mod.rs", "use crate::{publisher::Publisher, record};"),
        ("loadtest/src/hist.rs", "use crate::hub; // a module of the server's, and none here"),
        ("loadtest/tests/a.rs", "use tickerd_loadtest::cli;"),
    ] {
        assert_eq!(layers(&source(path, text)), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn pure_modules_are_pure() {
    for text in [
        "use std::time::{Duration, Instant};",
        "fn f() { std::time::SystemTime::now(); }",
        "use std::{fmt, net};",
        "fn f() { let x = std::env::var(\"A\"); }",
        "use std::fs::File;",
        "fn f() { getrandom::fill(&mut x); }",
        "use std::thread;",
        "fn f<'a>(x: &'a str) { mio::Poll::new(); }",
    ] {
        assert_eq!(purity(&source("src/hub/a.rs", text)).len(), 1, "{text}");
        assert_eq!(purity(&source("src/net/outbox.rs", text)).len(), 1, "{text}");
        assert!(purity(&source("src/net/clock.rs", text)).is_empty(), "{text}");
    }
    let fine = "use std::time::Duration; // not std::time::Instant\nuse core::net::IpAddr;\nconst A: &str = \"std::fs::x\";\n#[cfg(test)]\nuse std::fs;";
    assert!(purity(&source("src/hub/a.rs", fine)).is_empty());
}

#[test]
fn unsafe_is_kept_in_its_file_and_explained() {
    let explained = "fn f() {\n    // SAFETY: the pointer is ours.\n    unsafe { g() }\n}";
    assert!(unsafety(&source("src/net/sys.rs", explained)).is_empty());
    assert_eq!(unsafety(&source("src/net/link.rs", explained)).len(), 1);
    assert_eq!(unsafety(&source("tests/a.rs", explained)).len(), 1);
    assert_eq!(unsafety(&source("src/net/sys.rs", "fn f() {\n    // Quick.\n    unsafe { g() }\n}")).len(), 1);
    assert_eq!(unsafety(&source("src/net/sys.rs", "// SAFETY: far away.\n\nfn f() {\n    unsafe { g() }\n}")).len(), 1);
    assert!(unsafety(&source("src/lib.rs", "#![deny(unsafe_code)] // no unsafe")).is_empty());
}

#[test]
fn sizes_only_shrink() {
    let long = source("src/a.rs", &format!("fn f(x: [u8; 4]) {{\n{}}}\nfn g();\n", "    x();\n".repeat(FUNCTION_LINES_MAX)));
    let lines = FUNCTION_LINES_MAX + 2;
    let sources = [long];
    assert_eq!(ratchet(&sources, &[]).len(), 1);
    assert!(ratchet(&sources, &[("src/a.rs::f", lines)]).is_empty());
    assert_eq!(ratchet(&sources, &[("src/a.rs::f", lines - 1)]).len(), 2, "grown beyond its entry, and the entry is stale");
    assert_eq!(ratchet(&sources, &[("src/a.rs::f", lines + 1)]).len(), 2, "an entry with slack would let it grow again");
    let short = [source("src/a.rs", "fn f() {}\n")];
    assert_eq!(ratchet(&short, &[("src/a.rs::f", 1)]).len(), 1, "an entry for what is short enough");
    assert_eq!(ratchet(&[source("tests/a.py", &"x = 1\n".repeat(FILE_LINES_MAX + 1))], &[]).len(), 1);
    assert!(ratchet(&[source("tests/a.py", &"x = 1\n".repeat(FILE_LINES_MAX))], &[]).is_empty());
    let (single, max) = SINGLE_FILES[0];
    assert!(ratchet(&[source(single, &"x\n".repeat(max))], &[]).is_empty());
    assert_eq!(ratchet(&[source(single, &"x\n".repeat(max + 1))], &[]).len(), 1);
}

#[test]
fn leftovers_are_found() {
    for text in [
        "#[ignore]\nfn f() {}",
        "fn f() { todo!() }",
        "fn f() { unimplemented!(\"x\") }",
        concat!("// FIX", "ME: x"),
        concat!("// XX", "X"),
    ] {
        assert_eq!(leftovers(&source("src/a.rs", text)).len(), 1, "{text}");
    }
    assert_eq!(leftovers(&source("tests/e2e/a.py", concat!("# FIX", "ME"))).len(), 1);
    assert!(leftovers(&source("src/a.rs", "// todo!() is refused\nlet x = \"#[ignore]\"; // mktemp a.XXXXXX")).is_empty());
}

#[test]
fn requirement_ids_are_real() {
    for (prefix, number) in [("AUT", "99"), ("AUT", "1"), ("AUT", "011"), ("ATU", "01"), ("AUT", "00")] {
        let text = format!("# covers {prefix}-{number}, too");
        assert_eq!(requirement_ids(&source("tests/a.py", &text)).len(), 1, "{text}");
    }
    assert!(requirement_ids(&source("tests/a.py", "# AUT-01, (LIM-05) and DLV-25; SHA-256, UTF-8, RFC-6455")).is_empty());
}

#[test]
fn strangers_at_the_top_are_found() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    assert_eq!(strangers(names(&["Cargo.toml", "src", ".github", "notes.txt", "scripts"])).len(), 2);
}
