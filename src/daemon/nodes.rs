//! `GET /v1/nodes`: the daemons that act as one over Redis, as each says of itself.

use std::fs;
use std::net::SocketAddr;
use std::process;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::base::codes::Refusal;
use crate::base::time::millis;
use crate::bridge::stats::BridgeStats;
use crate::wire::query::Query;

/// What this node says of itself. `instance` is what its sessions' names begin with.
pub(super) fn about(instance: u32, listen: &[SocketAddr], began_ms: u64) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    json!({
        "instance": format!("{instance:08x}"),
        "host": host.trim(),
        "pid": process::id(),
        "listen": listen,
        "version": env!("CARGO_PKG_VERSION"),
        "began_ms": began_ms,
    })
    .to_string()
}

/// See the module.
pub(super) struct Nodes {
    pub(super) instance: u32,
    /// With Redis.
    pub(super) bridge: Option<Arc<BridgeStats>>,
}

impl Nodes {
    /// Answers the request.
    pub(super) fn list(&self, query: &str) -> Result<String, Refusal> {
        Query::parse(query, &[])?;
        let (said, asked) = self.bridge.as_ref().map(|bridge| bridge.nodes()).unwrap_or_default();
        let mut nodes: Vec<Map<String, Value>> = said.iter().filter_map(|about| serde_json::from_str(about).ok()).collect();
        nodes.sort_by_key(|node| node.get("began_ms").and_then(Value::as_u64));
        let own = format!("{:08x}", self.instance);
        Ok(json!({"instance": own, "asked_ms_ago": asked.map(millis), "nodes": nodes}).to_string())
    }
}
