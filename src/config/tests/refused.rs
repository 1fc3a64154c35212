//! Values that are none.

use super::*;

/// Of each key, values that are none.
const BAD: &[(&str, &[&str])] = &[
    ("listen", &["", "8080", "localhost:8080", "127.0.0.1", "127.0.0.1:99999"]),
    ("admin-listen", &["", "0.0.0.0:9100", "192.0.2.1:9100", "127.0.0.1"]),
    ("admin-api", &["", "on", "Read", "true"]),
    ("publish-socket", &[""]),
    ("publish-socket-mode", &["", "0888", "rw", "1777", "-1", "+7"]),
    ("tls-cert", &[""]),
    ("tls-key", &[""]),
    ("origin", &["", "*", "null", "desk.example", "https://", "https://a/b", "https://u@a", "://a", "https://a b"]),
    ("require-origin", &["yes"]),
    ("behind-proxy", &["", "proxy", "10.0.0.0/33", "10.0.0.1/8"]),
    ("client-address", &["", "x-real-ip", "Forwarded"]),
    ("jwt-key", &[""]),
    ("jwt-iss", &["", " "]),
    ("jwt-aud", &[""]),
    ("jwt-user-claim", &[""]),
    ("jwt-max-age", &["", "0", "3600", "500ms", "9000h"]),
    ("query-token", &["yes", "TRUE"]),
    ("reactors", &["", "0", "65", "two", "-1"]),
    ("pin-cores", &["on"]),
    ("busy-poll-us", &["", "10001", "50us"]),
    ("update-window", &["", "100", "11s", "-1ms"]),
    ("metric-gather", &["", "11s"]),
    ("metric-flush", &["", "0", "999us", "61s"]),
    ("compression", &["on", "zlib"]),
    ("compression-level", &["", "0", "10", "fast"]),
    ("compression-min", &["", "-1", "2MiB"]),
    ("max-connections", &["", "0", "1000001", "1e3"]),
    ("max-connections-per-user", &["", "0", "1000001"]),
    ("max-connections-per-ip", &["", "-1", "1000001"]),
    ("handshakes-per-ip", &["", "-1", "100001"]),
    ("commands-per-client", &["", "fast", "100001"]),
    ("max-queue-bytes", &["", "0", "127KiB", "2GiB", "8MB"]),
    ("reader-window", &["", "0", "63KiB", "2GiB"]),
    ("slow-timeout", &["", "0", "2h"]),
    ("memory-budget", &["", "1", "8191KiB", "2048GiB"]),
    ("heartbeat", &["", "0", "999ms", "301s"]),
    ("drain-timeout", &["", "11m"]),
    ("history", &["", "1000001", "-1"]),
    ("history-bytes", &["", "-1", "2048GiB"]),
    ("state-bytes", &["", "-1", "2048GiB"]),
    ("history-age", &["", "0", "721h"]),
    ("max-rooms", &["", "0", "10000001"]),
    ("authorizer-url", &["", "a", "ftp://a/", "http://", "http:///x", "http://a b/", "http://a/#x", "https://:80/"]),
    ("authorizer-token-file", &[""]),
    ("authorizer-timeout", &["", "0", "99ms", "31s"]),
    ("authorizer-ttl", &["", "-1s", "2h"]),
    ("authorizer-ca", &[""]),
    ("webhook-url", &["", "a", "ftp://a/", "https://:80/"]),
    ("webhook-secret-file", &[""]),
    ("webhook-ca", &[""]),
    ("escalate-after", &["", "0", "999ms", "169h"]),
    ("data-dir", &[""]),
    ("journal-bytes", &["", "0", "1MB", "1023KiB", "17592GiB"]),
    ("journal-age", &["", "0", "59s", "87841h"]),
    ("audit-age", &["", "1", "59x", "87841h"]),
    ("redis", &["", "a:6379", "http://a"]),
    ("redis-password-file", &[""]),
    ("redis-ca", &[""]),
    ("redis-cert", &[""]),
    ("redis-replicas", &["", "-1", "17", "all"]),
    ("ingest-stream", &["", "a b", "a{b}", "é"]),
    ("ingest-redis", &["", "a:6379", "http://a"]),
    ("log", &["", "xml", "JSON"]),
    ("log-level", &["", "verbose", "INFO"]),
];

/// OPS-05: a value out of bounds, or none at all, is refused with the key, the flag and the value in the message.
#[test]
fn every_bad_value_is_named() {
    let named: Vec<&str> = BAD.iter().map(|(flag, _)| *flag).collect();
    assert!(keys().all(|key| named.contains(&key.flag)), "every key has a bad value here");
    for (flag, values) in BAD {
        for value in *values {
            let argument = format!("--{flag}={value}");
            let problem = only_problem(if *flag == "jwt-key" { load_with(&[&argument], &[], None) } else { load_flags(&[&argument]) });
            assert_eq!(problem.key, flag.replace('-', "_"));
            assert_eq!(problem.origin, Origin::Flag(flag));
            let text = problem.to_string();
            assert!(text.contains(value) && text.contains(&format!("flag --{flag}")), "{text}");
        }
    }
}
