//! Where Redis may be.

use super::*;

/// OPS-05, SCL-08.
#[test]
fn a_url_is_of_one_server_or_of_sentinels() {
    for good in ["redis://a", "redis://u@[::1]:1/2", "redis+sentinel://a:1/m", "redis+sentinel://a,b:2/m/3"] {
        assert_eq!(load_flags(&["--redis", good]).unwrap().config.redis.unwrap().url, good);
    }
    let bad = ["", "a:6379", "http://a", "redis://", "redis://:6379", "redis://a/x", "redis://a,b", "redis://a b"];
    let bad_sentinels = ["redis+sentinel://a:1", "redis+sentinel://a,:2/m", "redis+sentinel://u@a/m", "redis+sentinel://a/m/x"];
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
