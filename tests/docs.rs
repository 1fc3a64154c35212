//! README's tables are made from the code's: `TICKERD_BLESS=1 cargo test --test docs` writes them, and without it this test
//! fails where they differ (ERR-01).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use tickerd::base::codes::{CLOSES, ERRORS};
use tickerd::base::units::format_duration;
use tickerd::config::{Key, Kind, Reload, keys};
use tickerd::daemon::METRICS;
use tickerd::hub::catalog::Catalog;
use tickerd::ops::alerts::{ALERTS, Limits};
use tickerd::ops::events::EVENTS;
use tickerd_loadtest::scenarios::BUILT_IN;
use tickerd_loadtest::slo::FIGURES;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn readme_has_the_tables_of_the_code() {
    let before = std::fs::read_to_string(README).expect("README.md is there");
    let mut after = before.clone();
    let tables = [
        ("errors", errors()),
        ("closes", closes()),
        ("catalog", catalog()),
        ("config", config()),
        ("metrics", metrics()),
        ("alerts", alerts()),
        ("events", events()),
        ("scenarios", scenarios()),
        ("figures", figures()),
    ];
    for (name, table) in tables {
        after = with_table(&after, name, &table);
    }
    if std::env::var_os("TICKERD_BLESS").is_some() {
        std::fs::write(README, &after).expect("README.md can be written");
    } else {
        assert!(before == after, "README's tables are not the code's: run TICKERD_BLESS=1 cargo test --test docs");
    }
}

/// OPS-05: the sample configuration has every key, with its help and default; those that the package needs are set.
#[test]
fn the_sample_configuration_has_every_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/tickerd.toml");
    if std::env::var_os("TICKERD_BLESS").is_some() {
        std::fs::write(path, sample()).expect("the sample can be written");
    }
    let written = std::fs::read_to_string(path).expect("systemd/tickerd.toml is there");
    assert!(written == sample(), "systemd/tickerd.toml is not what the code makes: run TICKERD_BLESS=1 cargo test --test docs");
}

#[test]
fn codes_and_names_are_unique_and_in_order() {
    assert!(ERRORS.windows(2).all(|pair| pair[0].code < pair[1].code));
    assert!(CLOSES.windows(2).all(|pair| pair[0].code < pair[1].code));
    assert_eq!(ERRORS.iter().map(|error| error.name).collect::<HashSet<_>>().len(), ERRORS.len());
    assert_eq!(CLOSES.iter().map(|close| close.name).collect::<HashSet<_>>().len(), CLOSES.len());
    let categories = ["auth", "permission", "rate", "protocol", "validation", "not_found", "server", "upstream"];
    assert!(ERRORS.iter().all(|error| categories.contains(&error.category) && !error.meaning.is_empty()));
}

#[test]
fn a_table_replaces_what_stands_between_its_marks() {
    let text = "a\n<!-- x: made -->\nold\n<!-- /x -->\nb\n";
    assert_eq!(with_table(text, "x", "new\n"), "a\n<!-- x: made -->\nnew\n<!-- /x -->\nb\n");
}

fn with_table(text: &str, name: &str, table: &str) -> String {
    let open = text.find(&format!("<!-- {name}:")).unwrap_or_else(|| panic!("README lacks the mark of `{name}`"));
    let start = open + text[open..].find('\n').expect("the mark is a line") + 1;
    let end = text.find(&format!("<!-- /{name} -->")).unwrap_or_else(|| panic!("README lacks the end mark of `{name}`"));
    format!("{}{table}{}", &text[..start], &text[end..])
}

fn errors() -> String {
    let mut table = "| code | name | category | HTTP | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for error in ERRORS {
        writeln!(table, "| {} | `{}` | {} | {} | {} |", error.code, error.name, error.category, error.http_status, error.meaning)
            .expect("to a String");
    }
    table
}

fn closes() -> String {
    let mut table = "| code | reason | meaning |\n| --- | --- | --- |\n".to_owned();
    for close in CLOSES {
        writeln!(table, "| {} | `{}` | {} |", close.code, close.name, close.meaning).expect("to a String");
    }
    table
}

fn config() -> String {
    let mut table = "| flag | default | SIGHUP | what it does |\n| --- | --- | --- | --- |\n".to_owned();
    for key in keys() {
        let reload = if key.reload == Reload::Start { "" } else { "yes" };
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let value = if key.kind == Kind::Switch { String::new() } else { format!(" {}", pipe(key.placeholder)) };
        writeln!(table, "| `--{}{value}` | {default} | {reload} | {} |", key.flag, pipe(key.help)).expect("to a String");
    }
    table
}

fn alerts() -> String {
    let mut table = "| alert | severity | fires | clears | what it means, and what to do |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for alert in ALERTS {
        let limits = alert.limits;
        let held = |hold: std::time::Duration| if hold.is_zero() { String::new() } else { format!(" for {}", format_duration(hold)) };
        let (beyond, back) = if limits.fire >= limits.clear { ("≥", "<") } else { ("≤", ">") };
        writeln!(
            table,
            "| `{}` | {} | {beyond} {}{} | {back} {}{} | {} |",
            alert.name,
            alert.severity.name(),
            limits.fire,
            held(limits.hold),
            limits.clear,
            held(limits.clear_hold),
            alert.help
        )
        .expect("to a String");
    }
    table
}

fn events() -> String {
    let mut table = "| event | level | what it says |\n| --- | --- | --- |\n".to_owned();
    for (name, level, says) in EVENTS {
        writeln!(table, "| `{name}` | {level} | {says} |").expect("to a String");
    }
    table
}

/// OBS-15, OBS-21: the table has each event of the code, with its levels, and no other.
#[test]
fn the_table_of_events_is_the_codes() {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for path in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let text = std::fs::read_to_string(&path).expect("a source is text");
        for (at, _) in text.match_indices("event = \"") {
            let name = text[at + 9..].split('"').next().unwrap_or_default();
            let Some(level) = text[..at].trim_end().strip_suffix("!(") else { continue };
            let level = level.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            found.entry(name.to_owned()).or_default().insert(level.to_owned());
        }
    }
    let table = EVENTS.iter().map(|(name, levels, _)| ((*name).to_owned(), levels.split(", ").map(str::to_owned).collect())).collect();
    assert_eq!(found, table);
    assert!(found.len() == EVENTS.len() && EVENTS.len() > 60);
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("src is there").map(|entry| entry.expect("it can be read").path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}

fn metrics() -> String {
    let mut table = "| metric | type | what it says |\n| --- | --- | --- |\n".to_owned();
    for metric in METRICS {
        let labels = if metric.labels.is_empty() { String::new() } else { format!("{{{}}}", metric.labels.join(",")) };
        writeln!(table, "| `{}{labels}` | {} | {} |", metric.name, metric.kind.name(), metric.help).expect("to a String");
    }
    table
}

/// What the unit's directories and credentials are for.
const SET: &[(&str, &str)] = &[
    ("publish-socket", "\"/run/tickerd/publish.sock\""),
    ("jwt-key", "[\"jwt.key\"]"),
    ("data-dir", "\"/var/lib/tickerd\""),
    ("log", "\"json\""),
];

fn sample() -> String {
    let mut text = "# tickerd's configuration: every key, with its default. `tickerd check --config FILE` says what holds, and what this machine lacks.\n\
        # Flags and TICKERD_… variables win over it. Keys marked with * are read again at SIGHUP (`systemctl reload tickerd`), as are [[catalog]] and\n\
        # [[issuer]] entries and [alerts] (see README); the others hold from the next start on.\n"
        .to_owned();
    let mut heading = "";
    for key in keys() {
        if key.heading != heading {
            heading = key.heading;
            write!(text, "\n## {heading}\n").expect("to a String");
        }
        let mark = if key.reload == Reload::Start { "" } else { "*" };
        let value = SET.iter().find(|(flag, _)| *flag == key.flag);
        let line = value.map_or_else(|| format!("#{} = {}", key.name(), default(key)), |(_, value)| format!("{} = {value}", key.name()));
        write!(text, "\n# {}{mark}\n{line}\n", key.help).expect("to a String");
    }
    text + &sample_alerts()
}

/// Each built-in alert, as a table that changes nothing.
fn sample_alerts() -> String {
    let mut text = "\n## Alerts\n\n# The built-in ones, with their thresholds; `enabled = false` switches one off. All of it is read again at SIGHUP.\n".to_owned();
    for definition in ALERTS {
        let Limits { fire, clear, hold, clear_hold } = definition.limits;
        let (hold, clear_hold) = (format_duration(hold), format_duration(clear_hold));
        write!(
            text,
            "\n# {}\n#[alerts.{}]\n#enabled = true\n#fire = {fire:?}\n#clear = {clear:?}\n#for = \"{hold}\"\n#clear_for = \"{clear_hold}\"\n",
            definition.help, definition.name
        )
        .expect("to a String");
    }
    text
}

/// As the file would have it.
fn default(key: &Key) -> String {
    match (key.kind, key.default) {
        (Kind::List, "") => "[]".to_owned(),
        (Kind::List, value) => format!("[\"{value}\"]"),
        (Kind::Number, "") => "0".to_owned(),
        (Kind::Switch | Kind::Number, value) => value.to_owned(),
        (_, value) => format!("\"{value}\""),
    }
}

fn catalog() -> String {
    let mut table =
        "| type | room | owner | lane | mode | key | history | ack |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    let built_in = Catalog::with(Vec::new()).expect("the built-in catalog is sound");
    for entry in built_in.entries() {
        let rooms = entry.rooms.join("`, else `");
        let (owner, key) = (code(entry.owner.as_deref()), code(entry.key.as_deref()));
        let history = if entry.history == 0 { String::new() } else { entry.history.to_string() };
        let ack = entry.ack_ttl.map_or(String::new(), |ttl| format!("`{}`", format_duration(ttl)));
        writeln!(table, "| `{}` | `{rooms}` | {owner} | {} | {} | {key} | {history} | {ack} |", entry.kind, entry.lane, entry.mode.name())
            .expect("to a String");
    }
    table
}

fn scenarios() -> String {
    let mut table = "| scenario | what it is | asks |\n| --- | --- | --- |\n".to_owned();
    for built_in in BUILT_IN {
        let scenario = built_in.scenario();
        let asks = scenario.ramp.as_ref().map_or(&scenario.slo, |ramp| &ramp.bound).iter().map(|slo| format!("`{slo}`"));
        writeln!(table, "| `{}` | {} | {} |", built_in.name, pipe(&scenario.about), asks.collect::<Vec<_>>().join(" "))
            .expect("to a String");
    }
    table
}

fn figures() -> String {
    let mut table = "| figure | what it is |\n| --- | --- |\n".to_owned();
    for figure in FIGURES {
        writeln!(table, "| `{}` | {} |", figure.name, pipe(figure.about)).expect("to a String");
    }
    table
}

/// A bar would end the cell.
fn pipe(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(name: Option<&str>) -> String {
    name.map_or(String::new(), |name| format!("`{name}`"))
}
