//! What a catalog entry says of rooms that are a node's own.

use super::*;

fn entry(room: &str, rest: &str) -> String {
    format!("[[catalog]]\ntype = \"desk.alert\"\nroom = \"{room}\"\nlane = \"alert\"\nmode = \"stream\"\n{rest}")
}

/// SCL-09.
#[test]
fn rooms_may_be_a_nodes_own_if_their_names_begin_alike() {
    let loaded = |rest: &str| load_file(&entry("desk:{id}", rest)).unwrap();
    assert!(!loaded("").config.catalog[0].is_local && !loaded("local = false\n").config.catalog[0].is_local);
    let local = loaded("local = true\n");
    assert!(local.config.catalog[0].is_local && local.show().contains("local = true"));
    assert_eq!(only_problem(load_file(&entry("desk:{id}", "local = 1\n"))).key, "catalog.local");
    assert_eq!(only_problem(load_file(&entry("{id}", "local = true\n"))).key, "catalog.local");
}
