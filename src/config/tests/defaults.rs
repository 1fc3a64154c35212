//! The defaults, as README has them.

use super::*;

/// OPS-05: what an operator who gives nothing but a key gets.
#[test]
fn the_defaults_are_the_documented_ones() {
    let config = load_flags(&[]).unwrap().config;
    let second = Duration::from_secs(1);
    let expected = Config {
        compression: false,
        compression_level: 3,
        compression_min: 256,
        conformance_echo: false,
        listen: vec!["127.0.0.1:8080".parse().unwrap()],
        admin_listen: "127.0.0.1:9100".parse().unwrap(),
        admin_api: AdminAccess::All,
        publish_socket: None,
        publish_socket_mode: 0o660,
        tls: Vec::new(),
        origins: Vec::new(),
        require_origin: false,
        behind_proxy: Vec::new(),
        client_address: ClientAddress::XForwardedFor,
        jwt_keys: vec![PathBuf::from("/k")],
        jwt_issuer: None,
        jwt_audience: None,
        jwt_user_claims: vec!["sub".to_owned()],
        jwt_age_max: None,
        issuers: Vec::new(),
        query_token: false,
        authorizer: None,
        webhook: None,
        data_dir: None,
        journal_bytes: 1 << 30,
        journal_age: 7 * 24 * 3600 * second,
        redis: None,
        ingest: None,
        audit_age: 30 * 24 * 3600 * second,
        reactors: 2,
        pin_cores: false,
        busy_poll: Duration::ZERO,
        update_window: second / 10,
        metric_gather: second / 10,
        metric_flush: second / 2,
        connections_max: 10_000,
        connections_per_user_max: 10,
        connections_per_ip_max: 1000,
        handshakes_per_ip: 20,
        commands_per_client: 20,
        queue_bytes_max: 8 << 20,
        reader_window: 256 << 10,
        slow_timeout: 30 * second,
        memory_budget: 0,
        heartbeat: 30 * second,
        drain_timeout: 10 * second,
        history_events: 256,
        history_bytes: 256 << 20,
        state_bytes: 256 << 20,
        history_age: 3600 * second,
        rooms_max: 100_000,
        log: LogFormat::Text,
        log_level: LogLevel::Info,
        catalog: Vec::new(),
        alerts: Vec::new(),
        analytics: None,
    };
    assert_eq!(config, expected);
}
