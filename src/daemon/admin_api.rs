//! What operators ask of the daemon, and what it does for them: the paths of the admin listener, and those below `/v1/admin/` on `--listen`.

use std::sync::Arc;

use crate::ops::admin::{Action, Admin, View};
use crate::ops::health::Health;
use crate::ops::log;

use super::alerts::Alerts;
use super::audit::AdminTrail;
use super::connections::Connections;
use super::explain::Explainer;
use super::metrics::Sources;
use super::nodes::Nodes;
use super::revoker::Revoker;
use super::top_rooms::TopRooms;

/// See the module.
pub(super) struct AdminApi {
    pub(super) health: Arc<Health>,
    pub(super) sources: Sources,
    pub(super) revoker: Arc<Revoker>,
    pub(super) trail: AdminTrail,
    pub(super) connections: Arc<Connections>,
    pub(super) explainer: Explainer,
    pub(super) rooms: TopRooms,
    pub(super) alerts: Arc<Alerts>,
    pub(super) nodes: Nodes,
}

impl AdminApi {
    /// With all paths.
    pub(super) fn admin(self) -> Admin {
        let AdminApi { health, sources, revoker, trail, connections, explainer, rooms, alerts, nodes } = self;
        let (list, stats) = (Arc::clone(&alerts), Arc::clone(&alerts));
        let disconnecter = Arc::clone(&revoker);
        let views: Vec<(&str, View)> = vec![
            ("/v1/stats", Box::new(move |query| stats.stats(query))),
            ("/v1/alerts", Box::new(move |query| list.list(query))),
            ("/v1/connections", Box::new(move |query| connections.list(query))),
            ("/v1/nodes", Box::new(move |query| nodes.list(query))),
            ("/v1/rooms", Box::new(move |query| rooms.list(query))),
            ("/v1/explain", Box::new(move |query| explainer.explain(query))),
        ];
        let actions: Vec<(&str, Action)> = vec![
            ("/v1/revoke", Box::new(move |caller, body| revoker.revoke(caller, body))),
            ("/v1/disconnect", Box::new(move |caller, body| disconnecter.disconnect(caller, body))),
            (
                "/v1/log-level",
                Box::new(move |caller, body| log::change_level(body).inspect(|_| trail.note(caller, "log-level", None, "", 1))),
            ),
        ];
        Admin { health, metrics: Box::new(move || sources.render(&alerts.firing())), views, actions }
    }
}
