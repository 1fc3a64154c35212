use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::{Args, Command, FromArgMatches};
use proptest::prelude::*;

use super::*;

/// Every key with three different good values, in the file's spelling for the third. A key that is missing here fails
/// `the_samples_cover_the_table`.
const SAMPLES: &[(&str, &str, &str, &str)] = &[
    ("listen", "127.0.0.1:1", "127.0.0.1:2", "[\"127.0.0.1:3\", \"[::1]:0\"]"),
    ("admin-listen", "127.0.0.1:4", "[::1]:5", "\"127.0.0.1:6\""),
    ("admin-api", "off", "read", "\"all\""),
    ("publish-socket", "/run/a", "/run/b", "\"/run/c\""),
    ("publish-socket-mode", "0600", "666", "\"0o640\""),
    ("tls-cert", "/t/a", "/t/b", "[\"/t/c\"]"),
    ("tls-key", "/t/a", "/t/b", "[\"/t/c\"]"),
    ("origin", "https://a.example", "http://b.example:81", "[\"https://c.example\"]"),
    ("require-origin", "true", "1", "true"),
    ("behind-proxy", "10.0.0.0/8", "fd00::/8", "[\"192.0.2.1\"]"),
    ("client-address", "forwarded", "peer", "\"x-forwarded-for\""),
    ("jwt-key", "/k/a", "/k/b", "[\"/k/c\", \"/k/d\"]"),
    ("jwt-iss", "a", "b", "\"c\""),
    ("jwt-aud", "a", "b", "\"c\""),
    ("jwt-user-claim", "user_id", "uid", "[\"user_id\", \"sub\"]"),
    ("jwt-max-age", "1h", "2h", "\"3h\""),
    ("query-token", "true", "1", "true"),
    ("reactors", "2", "3", "4"),
    ("pin-cores", "true", "1", "true"),
    ("busy-poll-us", "10", "20", "30"),
    ("update-window", "10ms", "0", "\"30ms\""),
    ("metric-gather", "10ms", "20ms", "\"30ms\""),
    ("metric-flush", "10ms", "20ms", "\"30ms\""),
    ("compression", "true", "1", "true"),
    ("compression-level", "1", "2", "9"),
    ("compression-min", "1KiB", "0", "\"300B\""),
    ("max-connections", "1", "2", "3"),
    ("max-connections-per-user", "1", "2", "3"),
    ("max-connections-per-ip", "1", "2", "3"),
    ("handshakes-per-ip", "1", "2", "3"),
    ("commands-per-client", "1", "2", "3"),
    ("max-queue-bytes", "1MiB", "2MiB", "3145728"),
    ("reader-window", "64KiB", "1MiB", "131072"),
    ("slow-timeout", "1s", "2s", "\"3s\""),
    ("memory-budget", "8MiB", "0", "\"1GiB\""),
    ("heartbeat", "1s", "2s", "\"300s\""),
    ("drain-timeout", "0", "1s", "\"2s\""),
    ("history", "0", "1", "2"),
    ("history-bytes", "0", "1KiB", "\"2KiB\""),
    ("state-bytes", "0", "1KiB", "\"2KiB\""),
    ("history-age", "1s", "2s", "\"3s\""),
    ("max-rooms", "1", "2", "3"),
    ("authorizer-url", "http://a/", "https://b:1/x", "\"http://c\""),
    ("authorizer-token-file", "/t/a", "/t/b", "\"/t/c\""),
    ("authorizer-timeout", "1s", "2s", "\"3s\""),
    ("authorizer-ttl", "0", "1s", "\"2s\""),
    ("authorizer-ca", "/c/a", "/c/b", "\"/c/c\""),
    ("webhook-url", "http://a/", "https://b:1/x", "\"http://c\""),
    ("webhook-secret-file", "/w/a", "/w/b", "\"/w/c\""),
    ("webhook-ca", "/v/a", "/v/b", "\"/v/c\""),
    ("escalate-after", "1m", "2m", "\"3m\""),
    ("data-dir", "/d/a", "/d/b", "\"/d/c\""),
    ("journal-bytes", "1MiB", "2MiB", "3145728"),
    ("journal-age", "1m", "2m", "\"3m\""),
    ("audit-age", "1m", "2m", "\"3m\""),
    ("redis", "redis://a:1", "redis+sentinel://b:1,b:2/m/2", "\"redis://c\""),
    ("redis-password-file", "/r1", "/r2", "\"/r3\""),
    ("redis-ca", "/a1", "/a2", "\"/a3\""),
    ("redis-cert", "/e1", "/e2", "\"/e3\""),
    ("redis-replicas", "1", "2", "3"),
    ("ingest-stream", "s1", "s2", "[\"s3\", \"s4\"]"),
    ("ingest-redis", "redis://i:1", "redis://i:2", "\"rediss://i:3\""),
    ("log", "json", "text", "\"json\""),
    ("log-level", "error", "warn", "\"trace\""),
];

mod acks;
mod alerts;
mod analytics;
mod defaults;
mod issuers;
mod local;
mod lowered;
mod redis;
mod refused;
mod reread;
mod secrets;

/// A configuration that lacks nothing.
const KEY: &[&str] = &["--jwt-key", "/k"];

fn args(argv: &[&str]) -> Result<ServeArgs, clap::Error> {
    let command = ServeArgs::augment_args(Command::new("serve")).no_binary_name(true);
    ServeArgs::from_arg_matches(&command.try_get_matches_from(argv)?)
}

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Surroundings { variables, cores: 2, descriptors_max: None }
}

/// Loads flags, environment and the text of a file.
fn load_with(argv: &[&str], variables: &[(&str, &str)], file: Option<&str>) -> Result<Loaded, ConfigError> {
    let mut args = args(argv).unwrap();
    let path = file.map(scratch_file);
    if path.is_some() {
        args.config.clone_from(&path);
    }
    let loaded = load(&args, &surroundings(variables));
    if let Some(path) = path {
        std::fs::remove_file(path).unwrap();
    }
    loaded
}

fn scratch_file(text: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("tickerd-config-{}-{n}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn with_key(argv: &[&str]) -> Vec<String> {
    KEY.iter().chain(argv).map(|text| (*text).to_owned()).collect()
}

fn load_flags(argv: &[&str]) -> Result<Loaded, ConfigError> {
    let argv = with_key(argv);
    load_with(&argv.iter().map(String::as_str).collect::<Vec<_>>(), &[], None)
}

fn load_file(text: &str) -> Result<Loaded, ConfigError> {
    load_with(KEY, &[], Some(text))
}

/// The one problem there must be.
fn only_problem(result: Result<Loaded, ConfigError>) -> Problem {
    let mut problems = result.unwrap_err().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

fn setting<'a>(loaded: &'a Loaded, flag: &str) -> &'a Setting {
    loaded.settings.iter().find(|setting| setting.flag == flag).unwrap()
}

#[test]
fn the_samples_cover_the_table() {
    let mut sampled: Vec<&str> = SAMPLES.iter().map(|sample| sample.0).collect();
    let mut known: Vec<&str> = keys().map(|key| key.flag).collect();
    sampled.sort_unstable();
    known.sort_unstable();
    assert_eq!(sampled, known);
}

/// OPS-05, OPS-06: each key can be given by flag, by variable and by file, and wins in that order.
#[test]
fn flags_win_over_environment_over_file_over_default() {
    for (flag, by_flag, by_variable, by_file) in SAMPLES {
        let name = flag.replace('-', "_");
        let (flag_argument, variable) = (format!("--{flag}={by_flag}"), format!("TICKERD_{}", name.to_uppercase()));
        for mask in 0..8 {
            let (flagged, in_environment, in_file) = (mask & 1 != 0, mask & 2 != 0, mask & 4 != 0);
            if *flag == "jwt-key" && mask == 0 {
                continue;
            }
            let mut argv = if *flag == "jwt-key" { Vec::new() } else { KEY.to_vec() };
            if *flag == "tls-key" && mask != 0 {
                argv.extend(["--tls-cert", "/t"]);
            }
            match *flag {
                "ingest-stream" => argv.extend(["--redis", "redis://a"]),
                "ingest-redis" => argv.extend(["--ingest-stream", "s", "--redis", "redis://a"]),
                _ => {}
            }
            if *flag == "webhook-url" {
                argv.extend(["--webhook-secret-file", "/w"]);
            }
            argv.extend(flagged.then_some(flag_argument.as_str()));
            let variables = [(variable.as_str(), *by_variable)];
            let file = format!("# a comment\n{name} = {by_file}\n");
            let loaded = load_with(&argv, if in_environment { &variables } else { &[] }, in_file.then_some(file.as_str()));
            let loaded = loaded.unwrap_or_else(|e| panic!("--{flag} mask {mask}: {e}"));
            let setting = setting(&loaded, flag);
            match &setting.origin {
                Origin::Flag(name) => assert!(flagged && name == flag && setting.values == [*by_flag]),
                Origin::Env(name) => assert!(!flagged && in_environment && *name == variable && setting.values == [*by_variable]),
                Origin::File { line, .. } => assert!(!flagged && !in_environment && in_file && *line == 2),
                Origin::Default => assert_eq!(mask, 0, "--{flag}"),
            }
        }
    }
}
#[test]
fn all_problems_come_at_once() {
    let result = load_with(&["--heartbeat=0s", "--log=xml"], &[("TICKERD_MAX_ROOMS", "none")], Some("lisen = \"x\"\nhistory = true\n"));
    let error = result.unwrap_err();
    let keys: Vec<&str> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["history", "lisen", "heartbeat", "max_rooms", "log", "jwt_key"]);
    assert_eq!(error.to_string().lines().count(), 6);
}

/// AUT-09: no key, no daemon, and the message says what to give.
#[test]
fn a_key_is_required() {
    let problem = only_problem(load_with(&[], &[], None));
    assert_eq!(problem.key, "jwt_key");
    for way in ["--jwt-key FILE", "TICKERD_JWT_KEY", "`jwt_key`"] {
        assert!(problem.message.contains(way), "{}", problem.message);
    }
}

/// NET-01: tokens are not taken in plaintext from a network, unless a proxy in front ends TLS.
#[test]
fn plaintext_beyond_loopback_needs_a_proxy_in_front() {
    for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "[::ffff:10.0.0.1]:80"] {
        let problem = only_problem(load_flags(&["--listen", address]));
        assert_eq!(problem.key, "listen");
        assert!(problem.message.contains("--behind-proxy"), "{}", problem.message);
        let config = load_flags(&["--listen", address, "--behind-proxy", "10.0.0.0/8"]).unwrap().config;
        assert!(config.behind_proxy[0].contains(IpAddr::from([10, 1, 1, 1])));
    }
    for address in ["127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        load_flags(&["--listen", address]).unwrap();
    }
}

#[test]
fn each_listener_has_an_address_of_its_own() {
    assert_eq!(only_problem(load_flags(&["--listen=127.0.0.1:80", "--listen=127.0.0.1:80"])).key, "listen");
    assert_eq!(only_problem(load_flags(&["--listen=127.0.0.1:9100"])).key, "admin_listen");
    assert_eq!(only_problem(load_file("listen = []")).key, "listen");
    load_flags(&["--listen=127.0.0.1:0", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]).unwrap();
}

/// OPS-05: a mistyped key is refused with its line and the key that may be meant.
#[test]
fn unknown_keys_are_named_with_file_line_and_a_suggestion() {
    for (text, key, line, hint) in [
        ("log = \"json\"\n\nmax-connections = 5\n", "max-connections", 3, Some("max_connections")),
        ("hart_beat = \"1s\"", "hart_beat", 1, Some("heartbeat")),
        ("[server]\nlisten = \"127.0.0.1:1\"\n", "server", 1, None),
        ("\n[[catlog]]\ntype = \"x\"\n", "catlog", 2, Some("catalog")),
        ("[[catalog]]\ntype = \"x\"\nroom = \"r\"\nlane = \"alert\"\nmode = \"stream\"\nonwer = \"u\"\n", "onwer", 6, Some("owner")),
    ] {
        let problem = only_problem(load_file(text));
        assert_eq!(problem.key, key);
        assert!(matches!(problem.origin, Origin::File { line: found, .. } if found == line), "{problem}");
        match hint {
            Some(hint) => assert!(problem.message.contains(&format!("did you mean `{hint}`")), "{problem}"),
            None => assert!(!problem.message.contains("did you mean"), "{problem}"),
        }
        assert!(problem.to_string().contains(&format!(".toml:{line}")), "{problem}");
    }
}

#[test]
fn a_value_of_another_toml_type_is_refused() {
    for text in [
        "heartbeat = 30",
        "max_rooms = \"100\"",
        "max_rooms = 1.5",
        "publish_socket_mode = 0o660",
        "query_token = \"true\"",
        "query_token = 1",
        "log = [\"json\"]",
        "listen = [8080]",
        "listen = 8080",
        "[log]\nlevel = \"info\"",
        "jwt_iss = 2020-01-01",
    ] {
        let problem = only_problem(load_file(text));
        assert!(matches!(problem.origin, Origin::File { line: 1, .. }), "{problem}");
    }
}

#[test]
fn a_file_that_cannot_be_parsed_is_named_with_its_line() {
    let problem = only_problem(load_file("log = \"json\"\nlisten = [\n"));
    assert!(problem.message.contains("not TOML") && problem.to_string().contains(".toml:2"), "{problem}");
    let problem = only_problem(load_file("log = \"json\"\nlog = \"text\"\n"));
    assert!(problem.message.contains("duplicate"), "{problem}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for config in ["--config=/nonexistent/tickerd.toml", "--config=/"] {
        let problem = only_problem(load_flags(&[config]));
        assert_eq!(problem.key, "config");
        assert!(problem.to_string().contains(&config[9..]), "{problem}");
    }
    let problem = only_problem(load_with(KEY, &[("TICKERD_CONFIG", "/nonexistent/by-variable")], None));
    assert!(problem.to_string().contains("by-variable"));
    let endless = only_problem(load_flags(&["--config=/dev/zero"]));
    assert!(endless.message.contains("longer than"), "{endless}");
}

/// OPS-06: lists in one variable, switches as words; an empty variable is one that is not set.
#[test]
fn variables_hold_lists_and_switches() {
    let variables = [("TICKERD_LISTEN", "127.0.0.1:1, [::1]:2,"), ("TICKERD_QUERY_TOKEN", "true"), ("TICKERD_LOG", "")];
    let config = load_with(KEY, &variables, None).unwrap().config;
    assert_eq!(config.listen.len(), 2);
    assert!(config.query_token);
    assert_eq!(config.log, LogFormat::Text);
}

#[test]
fn a_switch_is_on_by_its_name_and_can_be_switched_off_again() {
    assert!(load_flags(&["--pin-cores"]).unwrap().config.pin_cores);
    assert!(!load_with(&["--jwt-key=/k", "--pin-cores=false"], &[], Some("pin_cores = true")).unwrap().config.pin_cores);
    // A word behind the flag is no value of it.
    args(&["--pin-cores", "false"]).unwrap_err();
}

/// NET-03: who may say who the client is must be named.
#[test]
fn a_proxy_header_comes_from_named_networks() {
    assert_eq!(only_problem(load_flags(&["--client-address=proxy-v2"])).key, "client_address");
}

#[test]
fn each_certificate_has_its_key() {
    let problem = only_problem(load_flags(&["--tls-cert=/a", "--tls-cert=/b", "--tls-key=/c"]));
    assert!(problem.key == "tls_key" && problem.message.contains("1 keys for 2 certificates"), "{problem}");
    only_problem(load_flags(&["--tls-key=/c"]));
    let files = load_flags(&["--tls-cert=/a"]).unwrap().config.tls;
    assert_eq!(files, [TlsFiles { certificate: "/a".into(), key: "/a".into() }], "both in one file");
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    let argv =
        ["--origin=HTTPS://Desk.Example:443", "--origin=http://a:8080", "--origin=capacitor://localhost", "--origin=http://[::1]:80"];
    let origins = load_flags(&argv).unwrap().config.origins;
    assert_eq!(origins, ["https://desk.example", "http://a:8080", "capacitor://localhost", "http://[::1]"]);
}

#[test]
fn presets_yield_to_the_user() {
    let mut args = args(&["--jwt-key=/mine"]).unwrap();
    args.preset("jwt-key", vec!["/preset".to_owned()]);
    args.preset("listen", vec!["127.0.0.1:0".to_owned()]);
    let config = load(&args, &surroundings(&[])).unwrap().config;
    assert_eq!(config.jwt_keys, [PathBuf::from("/mine")]);
    assert_eq!(config.listen[0].port(), 0);
}

/// The echo needs no token, so nobody but this machine may reach it; it is no option, so the help does not have it.
#[test]
fn the_conformance_echo_is_for_loopback_alone() {
    let proxied = with_key(&["--conformance-echo", "--listen=0.0.0.0:1", "--behind-proxy=10.0.0.0/8"]);
    let proxied = args(&proxied.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let error = load(&proxied, &surroundings(&[])).unwrap_err().to_string();
    assert!(error.contains("conformance_echo") && error.contains("0.0.0.0:1"), "{error}");
    let local = args(&["--jwt-key=/k", "--conformance-echo"]).unwrap();
    assert!(load(&local, &surroundings(&[])).unwrap().config.conformance_echo);
    assert!(!ServeArgs::augment_args(Command::new("serve")).render_long_help().to_string().contains("conformance"));
}

#[test]
fn as_many_reactors_as_cores_up_to_64() {
    for (cores, reactors) in [(0, 1), (1, 1), (8, 8), (64, 64), (512, 64)] {
        let around = Surroundings { cores, ..surroundings(&[]) };
        assert_eq!(load(&args(KEY).unwrap(), &around).unwrap().config.reactors, reactors);
    }
}

const CATALOG: &str = r#"
[[catalog]]
type = "desk.*"
room = "desk:{desk_id}"
owner = "user_id"
lane = "alert"
mode = "stream"
history = 20

[[catalog]]
type = "book"
room = "market:{symbol}:book"
lane = "metric"
mode = "state"
key = "symbol"
"#;

#[test]
fn catalog_entries_are_read() {
    let entries = load_file(CATALOG).unwrap().config.catalog;
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].kind.as_str(), entries[0].room.as_str(), entries[0].history), ("desk.*", "desk:{desk_id}", 20));
    assert_eq!((entries[0].owner.as_deref(), entries[0].key.as_deref()), (Some("user_id"), None));
    assert_eq!((entries[1].lane.name(), entries[1].mode.name(), entries[1].key.as_deref()), ("metric", "state", Some("symbol")));
    assert!(matches!(entries[1].origin, Origin::File { line: 10, .. }), "{}", entries[1].origin);
}

#[test]
fn bad_catalog_entries_are_named() {
    let good = [("type", "\"t\""), ("room", "\"r:{a}\""), ("lane", "\"alert\""), ("mode", "\"stream\"")];
    for (field, bad) in [
        ("type", "\"*\""),
        ("type", "\"a*b\""),
        ("type", "\"a b\""),
        ("type", "\"\""),
        ("room", "\"\""),
        ("room", "\"r:{a\""),
        ("room", "\"r:a}\""),
        ("room", "\"r:{}\""),
        ("room", "\"r:{a b}\""),
        ("room", "\"r:{{a}}\""),
        ("room", "\"r {a}\""),
        ("lane", "\"urgent\""),
        ("mode", "\"latest\""),
        ("mode", "1"),
        ("owner", "\"\""),
        ("owner", "\"a.b\""),
        ("key", "\"k\""),
        ("history", "-1"),
        ("history", "65536"),
        ("history", "\"20\""),
    ] {
        let mut fields: BTreeMap<&str, &str> = good.into_iter().collect();
        fields.insert(field, bad);
        let text = fields.iter().map(|(name, value)| format!("{name} = {value}\n")).collect::<Vec<_>>().concat();
        let problem = only_problem(load_file(&format!("[[catalog]]\n{text}")));
        assert_eq!(problem.key, format!("catalog.{field}"), "{bad}: {problem}");
    }
    for missing in ["type", "room", "lane", "mode"] {
        let text = good
            .iter()
            .filter(|(name, _)| *name != missing)
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect::<Vec<_>>()
            .concat();
        assert_eq!(only_problem(load_file(&format!("[[catalog]]\n{text}"))).key, format!("catalog.{missing}"));
    }
    assert!(
        only_problem(load_file(&format!("{CATALOG}{CATALOG}").replace("\"book\"", "\"b\"").replacen("desk.*", "other", 1)))
            .message
            .contains("already")
    );
    assert_eq!(only_problem(load_file("catalog = 1")).key, "catalog");
    assert_eq!(only_problem(load_file("catalog = [1]")).key, "catalog");
}

/// OPS-05: what `check` prints says the same when it is read as a file.
#[test]
fn what_is_shown_is_a_file_with_the_same_meaning() {
    let file = SAMPLES.iter().map(|(flag, _, _, value)| format!("{} = {value}\n", flag.replace('-', "_"))).collect::<Vec<_>>().concat();
    let loaded =
        load_with(&[], &[("TICKERD_QUERY_TOKEN", "1"), ("TICKERD_JWT_ISS", "a \"b\" \\c\u{7}é")], Some(&(file + CATALOG))).unwrap();
    let again = load_with(&[], &[], Some(&loaded.show())).unwrap();
    let without_lines = |mut config: Config| {
        config.catalog.iter_mut().for_each(|entry| entry.origin = Origin::Default);
        config
    };
    assert_eq!(without_lines(again.config), without_lines(loaded.config));
    assert_eq!(again.settings.iter().map(|setting| setting.flag).collect::<Vec<_>>(), keys().map(|key| key.flag).collect::<Vec<_>>());
}

#[test]
fn every_key_is_shown_with_its_origin() {
    let shown = load_with(KEY, &[("TICKERD_MAX_ROOMS", "7")], Some("heartbeat = \"5s\"\n")).unwrap().show();
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in {shown}"));
    assert!(line("listen = [\"127.0.0.1:8080\"]").ends_with("# default"));
    assert!(line("max_rooms = 7").ends_with("# environment TICKERD_MAX_ROOMS"));
    assert!(line("heartbeat = \"5s\"").ends_with(".toml:1"));
    assert!(line("jwt_key = [\"/k\"]").ends_with("# flag --jwt-key"));
    assert!(line("# publish_socket is not set").ends_with("# default"));
    for key in keys() {
        assert_eq!(
            shown.lines().filter(|line| line.trim_start_matches("# ").starts_with(&format!("{} ", key.name()))).count(),
            1,
            "{}",
            key.flag
        );
    }
}

proptest! {
    /// LIM-05 in spirit: no text of a file makes us panic.
    #[test]
    fn no_file_makes_us_panic(text in "([a-z_]{1,12}( = |\\.|\n)|[\"\\[\\]{}0-9\n#é=]|listen = |catalog|\\[\\[catalog\\]\\]\n|type = \"a\"\n){0,40}") {
        let mut problems = Vec::new();
        file::parse(Path::new("f.toml"), &text, &mut problems);
    }

    #[test]
    fn no_value_makes_us_panic(index in 0..SAMPLES.len(), value in "\\PC{0,12}") {
        let argument = format!("--{}={value}", SAMPLES[index].0);
        if let Ok(args) = args(&["--jwt-key=/k", &argument]) {
            load(&args, &surroundings(&[])).ok();
        }
    }
}
