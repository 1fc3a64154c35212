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

/// FUT-02: who is told, and after how long; a type may have a time of its own.
#[test]
fn a_webhook_has_a_secret_and_types_may_have_a_time() {
    let loaded = load_flags(&["--webhook-url=http://127.0.0.1/x", "--webhook-secret-file=/s"]).unwrap();
    let webhook = loaded.config.webhook.unwrap();
    assert_eq!((webhook.url.as_str(), webhook.secret_file, webhook.ca), ("http://127.0.0.1/x", PathBuf::from("/s"), None));
    assert_eq!((webhook.after, loaded.warnings.len()), (Duration::from_secs(300), 0));
    let unsigned = only_problem(load_flags(&["--webhook-url=http://a/"]));
    assert!(unsigned.key == "webhook_url" && unsigned.message.contains("--webhook-secret-file"), "{unsigned}");
    assert_eq!(load_flags(&["--webhook-secret-file=/s"]).unwrap().config.webhook, None);
    let problem = only_problem(load_flags(&["--webhook-url=http://u:hush@a/", "--webhook-secret-file=/s"]));
    assert!(problem.message.contains("--webhook-secret-file") && !problem.message.contains("hush"), "{}", problem.message);
    let far = load_flags(&["--webhook-url=http://192.0.2.1/x?key=hush", "--webhook-secret-file=/s"]).unwrap().warnings;
    assert!(far.len() == 1 && far[0].contains("plaintext") && !far[0].contains("hush"), "{far:?}");
    let own = load_file(&entry("ack_required = true\nescalate_after = \"90s\"\n")).unwrap();
    assert_eq!(own.config.catalog[0].escalate_after, Some(Duration::from_secs(90)));
    assert!(own.show().contains("escalate_after = \"90s\"") && own.warnings[0].contains("--webhook-url"), "{}", own.show());
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
        ("escalate_after = \"1m\"\n", "escalate_after"),
        ("ack_required = false\nescalate_after = \"1m\"\n", "escalate_after"),
        ("ack_required = true\nescalate_after = \"10ms\"\n", "escalate_after"),
        ("ack_required = true\nescalate_after = 60\n", "escalate_after"),
        ("ack_required = true\nack_ttl = \"1m\"\nescalate_after = \"1m\"\n", "escalate_after"),
    ] {
        assert_eq!(only_problem(load_file(&entry(rest))).key, format!("catalog.{field}"), "{rest}");
    }
    let state = entry("ack_required = true\n").replace("\"stream\"", "\"state\"");
    assert_eq!(only_problem(load_file(&state)).key, "catalog.ack_required");
}
