//! Limits that are lowered because the machine, or the operator, gives less than they need.

use super::*;

/// LIM-09: too low a limit of descriptors is told before the connections that it costs.
#[test]
fn doubtful_values_are_warned_about() {
    let around = Surroundings { descriptors_max: Some(15_255), ..surroundings(&[("TICKERD_HARTBEAT", "1s"), ("TICKERD_TOKEN", "t")]) };
    let argv = with_key(&["--publish-socket=/s", "--publish-socket-mode=0666", "--pin-cores", "--reactors=3"]);
    let args = args(&argv.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let Loaded { config, warnings, .. } = load(&args, &around).unwrap();
    assert_eq!((config.connections_max, warnings.len()), (9_999, 4), "{warnings:?}");
    for (warning, word) in warnings.iter().zip(["15256 descriptors", "publish_socket_mode", "pin_cores", "TICKERD_HEARTBEAT"]) {
        assert!(warning.contains(word), "{warning}");
    }
    let enough = Surroundings { descriptors_max: Some(15_256), ..surroundings(&[]) };
    assert!(load(&super::args(KEY).unwrap(), &enough).unwrap().warnings.is_empty());
}

/// LIM-06: what is kept for long leaves a fifth of the budget to what comes and goes; whatever was lowered is told.
#[test]
fn a_memory_budget_lowers_what_would_fill_it() {
    let Loaded { config, warnings, .. } = load_flags(&["--memory-budget=40MiB"]).unwrap();
    assert_eq!((config.history_bytes, config.state_bytes, config.queue_bytes_max), (10 << 20, 5 << 20, 40 << 15));
    assert_eq!((config.rooms_max, config.connections_max), (5_120, 2_275));
    let kept = config.history_bytes + config.state_bytes + config.rooms_max * ROOM_BYTES;
    assert!(kept + config.connections_max * CONNECTION_BYTES <= config.memory_budget * 78 / 100);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for word in ["history_bytes to 10485760", "state_bytes", "max_rooms", "max_connections", "max_queue_bytes"] {
        assert!(warnings[0].contains(word), "{warnings:?}");
    }
    let tls = load_flags(&["--memory-budget=40MiB", "--tls-cert=/t"]).unwrap().config;
    assert_eq!(tls.connections_max, 1_137, "TLS takes as much again");
    let durable = load_flags(&["--memory-budget=40MiB", "--data-dir=/d"]).unwrap();
    assert_eq!(durable.config.journal_bytes, 80 << 20, "what is known of each event on disk is in memory");
    assert!(durable.warnings[0].contains("journal_bytes to 83886080"));
    let small = load_flags(&["--memory-budget=8MiB", "--max-rooms=7"]).unwrap().config;
    assert_eq!((small.rooms_max, small.queue_bytes_max), (7, 256 << 10));
    assert_eq!(load_flags(&["--memory-budget=1MiB"]).unwrap_err().problems.len(), 1);
    assert!(load_flags(&["--memory-budget=8GiB"]).unwrap().warnings.is_empty());
}
