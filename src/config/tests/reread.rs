//! A configuration that is read again.

use super::*;
use crate::config::keys::Reload;

fn load_of(argv: &[String]) -> (ServeArgs, Loaded) {
    let args = args(&argv.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let loaded = load(&args, &surroundings(&[])).unwrap();
    (args, loaded)
}

/// OPS-01, OPS-05: of each key the table says whether a change is taken on at SIGHUP, and that is what happens; what is not is named.
#[test]
fn what_the_table_calls_live_is_taken_on_and_the_rest_is_named() {
    for (flag, first, second, _) in SAMPLES {
        let key = keys().find(|key| key.flag == *flag).unwrap();
        // What the other keys of a group need to be there.
        let company: &[&str] = match key.reload {
            Reload::LiveIfAny("tls-cert") => &["--tls-cert=/t/a", "--tls-cert=/t/b"],
            Reload::LiveIfAny("webhook-url") => &["--webhook-url=http://a/", "--webhook-secret-file=/w"],
            Reload::LiveIfAny(_) => &["--authorizer-url=http://a/"],
            _ if *flag == "ingest-stream" => &["--redis=redis://a"],
            _ if *flag == "ingest-redis" => &["--ingest-stream=s"],
            _ => &[],
        };
        let company = company.iter().filter(|given| !given.starts_with(&format!("--{flag}=")));
        let base: Vec<String> = with_key(&company.copied().collect::<Vec<_>>());
        let with = |value: &str| [base.clone(), vec![format!("--{flag}={value}")]].concat();
        // Two keys for two certificates, or the lists do not match.
        let doubled =
            |value: &str| if *flag == "tls-key" { [with(value), vec![format!("--{flag}={value}")]].concat() } else { with(value) };
        let (_, before) = load_of(&doubled(first));
        let (args, asked) = load_of(&doubled(second));
        let reread = before.reread(&args, &surroundings(&[])).unwrap();
        if key.reload == Reload::Start {
            assert_eq!((reread.loaded.config, reread.waiting), (before.config, vec![key.name()]), "{flag}");
        } else {
            assert_eq!((reread.loaded.config, reread.waiting), (asked.config, vec![]), "{flag}");
        }
    }
}

/// What decides how the daemon is built does not appear or vanish, and those that go with it stay with it.
#[test]
fn tls_and_the_authorizer_are_there_from_the_start_or_not_at_all() {
    let (plain_args, plain) = load_of(&with_key(&[]));
    let (args, full) = load_of(&with_key(&["--tls-cert=/t/a", "--tls-key=/t/b", "--authorizer-url=http://a/", "--authorizer-ttl=1s"]));
    let reread = plain.reread(&args, &surroundings(&[])).unwrap();
    assert_eq!(reread.waiting, ["tls_cert", "tls_key", "authorizer_url", "authorizer_ttl"]);
    assert_eq!(reread.loaded.config, plain.config);
    let reread = full.reread(&plain_args, &surroundings(&[])).unwrap();
    assert_eq!(reread.loaded.config, full.config);
    // A change that waits is not forgotten: it is named each time.
    assert_eq!(reread.loaded.reread(&plain_args, &surroundings(&[])).unwrap().waiting.len(), 4);
}

/// A bad value changes nothing, also where it would have waited; so does a good one that does not go with what stays.
#[test]
fn all_or_nothing() {
    let (_, before) = load_of(&with_key(&["--listen=192.0.2.1:1", "--behind-proxy=10.0.0.0/8"]));
    let bad = args(&["--jwt-key=/k", "--heartbeat=0s", "--origin=nowhere"]).unwrap();
    assert_eq!(before.reread(&bad, &surroundings(&[])).unwrap_err().problems.len(), 2);
    // On its own this is sound; but the listener is still in the open.
    let open = args(&["--jwt-key=/k", "--listen=127.0.0.1:1"]).unwrap();
    let error = before.reread(&open, &surroundings(&[])).unwrap_err();
    assert!(error.problems.len() == 1 && error.to_string().contains("plaintext"), "{error}");
}
