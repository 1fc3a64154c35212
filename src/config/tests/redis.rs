//! Where Redis may be.

use super::*;

/// OPS-05, SCL-08.
#[test]
fn a_url_is_of_one_server_or_of_sentinels() {
    for good in [
        "redis://a",
        "redis://u@[::1]:1/2",
        "redis+sentinel://a:1/m",
        "redis+sentinel://a,b:2/m/3",
        "rediss://a",
        "rediss+sentinel://a/m",
        "redis+cluster://a:1,[::1]:2",
        "rediss+cluster://a",
    ] {
        assert_eq!(load_flags(&["--redis", good]).unwrap().config.redis.unwrap().url, good);
    }
    let bad = ["", "a:6379", "http://a", "redis://", "redis://:6379", "redis://a/x", "redis://a,b", "redis://a b"];
    let bad_sentinels = [
        "redis+sentinel://a:1",
        "redis+sentinel://a,:2/m",
        "redis+sentinel://u@a/m",
        "redis+sentinel://a/m/x",
        "redis+cluster://",
        "redis+cluster://a/1",
        "redis+cluster://u@a",
    ];
    for bad in bad.iter().chain(&bad_sentinels) {
        let problem = only_problem(load_flags(&["--redis", bad]));
        assert!(
            problem.key == "redis" && (bad.is_empty() || bad.contains('@') || problem.message.contains(bad)),
            "{bad}: {}",
            problem.message
        );
    }
    assert_eq!(only_problem(load_flags(&["--redis=redis://a", "--redis-password-file="])).key, "redis_password_file");
}

/// SCL-09: the streams are where the nodes' Redis is, unless they are elsewhere; with nothing named there is no ingest.
#[test]
fn ingest_needs_streams_and_a_redis() {
    let ingest = |flags: &[&str]| load_flags(flags).unwrap().config.ingest;
    assert_eq!(ingest(&["--redis=redis://a"]), None);
    let found = ingest(&["--redis=redis://a", "--redis-password-file=/p", "--ingest-stream=x", "--ingest-stream=y:1"]).unwrap();
    assert_eq!((found.redis.url.as_str(), found.streams), ("redis://a", vec!["x".to_owned(), "y:1".to_owned()]));
    assert!(found.redis.password_file.is_some());
    assert_eq!(ingest(&["--redis=redis://a", "--ingest-redis=redis://b", "--ingest-stream=x"]).unwrap().redis.url, "redis://b");
    assert_eq!(ingest(&["--ingest-redis=redis://b", "--ingest-stream=x"]).unwrap().redis.url, "redis://b");
    assert_eq!(only_problem(load_flags(&["--ingest-redis=redis://b"])).key, "ingest_redis");
    assert!(only_problem(load_flags(&["--ingest-stream=x"])).message.contains("--ingest-redis"));
    let in_a_cluster = ["--ingest-redis=redis+cluster://a", "--ingest-stream=x"];
    assert_eq!(ingest(&in_a_cluster).unwrap().streams, ["x"]);
    assert_eq!(only_problem(load_flags(&[&in_a_cluster[..], &["--ingest-stream=y"]].concat())).key, "ingest_stream");
}

/// SCL-08: a certificate changes nothing for a Redis without TLS, and whoever gives one means to have it.
#[test]
fn certificates_are_for_tls() {
    for (flag, key) in [("--redis-ca=/c", "redis_ca"), ("--redis-cert=/c", "redis_cert")] {
        for plain in [&["--redis=redis://a"][..], &["--redis=redis+sentinel://a/m"], &["--ingest-redis=redis://a", "--ingest-stream=s"]] {
            let problem = only_problem(load_flags(&[plain, &[flag]].concat()));
            assert_eq!((problem.key.as_str(), problem.message.contains("rediss://")), (key, true), "{plain:?}");
        }
        for tls in [&["--redis=rediss://a"][..], &["--redis=redis://a", "--ingest-redis=rediss://b", "--ingest-stream=s"]] {
            load_flags(&[tls, &[flag]].concat()).unwrap_or_else(|e| panic!("{tls:?} {flag}: {e}"));
        }
    }
}
