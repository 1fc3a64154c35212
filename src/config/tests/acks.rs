//! What a catalog entry says of acknowledgments.

use std::time::Duration;

use super::*;

fn entry(rest: &str) -> String {
    format!("[[catalog]]\ntype = \"approval\"\nroom = \"user:{{trader}}\"\nlane = \"alert\"\nmode = \"stream\"\n{rest}")
}

/// QTE-12.
#[test]
fn an_entry_may_require_acknowledgments_for_some_time() {
    let ttl = |rest: &str| load_file(&entry(rest)).unwrap().config.catalog[0].ack_ttl;
    assert_eq!(ttl(""), None);
    assert_eq!(ttl("ack_required = false\n"), None);
    assert_eq!(ttl("ack_required = true\n"), Some(Duration::from_secs(7 * 24 * 3600)));
    assert_eq!(ttl("ack_required = true\nack_ttl = \"36h\"\n"), Some(Duration::from_secs(36 * 3600)));
    let shown = load_file(&entry("ack_required = true\nack_ttl = \"36h\"\n")).unwrap().show();
    assert!(shown.contains("ack_required = true") && shown.contains("ack_ttl = \"36h\""), "{shown}");
}

#[test]
fn what_is_wrong_about_it_is_named() {
    for (rest, field) in [
        ("ack_required = 1\n", "ack_required"),
        ("ack_required = \"yes\"\n", "ack_required"),
        ("ack_ttl = \"1h\"\n", "ack_ttl"),
        ("ack_required = false\nack_ttl = \"1h\"\n", "ack_ttl"),
        ("ack_required = true\nack_ttl = 7\n", "ack_ttl"),
        ("ack_required = true\nack_ttl = \"999ms\"\n", "ack_ttl"),
        ("ack_required = true\nack_ttl = \"8785h\"\n", "ack_ttl"),
    ] {
        assert_eq!(only_problem(load_file(&entry(rest))).key, format!("catalog.{field}"), "{rest}");
    }
    let state = entry("ack_required = true\n").replace("\"stream\"", "\"state\"");
    assert_eq!(only_problem(load_file(&state)).key, "catalog.ack_required");
}
