//! What all threads share, and those get of it who are not on the hot path: the reactors' parts, the watch, the figures' sources.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam::channel::Sender;
use parking_lot::{Mutex, RwLock};

use crate::auth::{Revocations, Verifier};
use crate::base::audit::Entry;
use crate::base::limits::{
    AUTHORIZER_PENDING_PER_REACTOR, DELIVERY_SLOTS, OUTSTANDING_PER_REACTOR, REPLAY_FETCHES_MAX, TICKETS_PENDING_PER_REACTOR,
};
use crate::base::memory::Memory;
use crate::bridge::Server;
use crate::hub::HubStats;
use crate::hub::catalog::Catalog;
use crate::hub::ports::{Input, Overdue};
use crate::net::clock::Clock;
use crate::net::link::{Door, Link, Waker};
use crate::net::listener::Listener;
use crate::net::tls::ServerTls;
use crate::ops::health::Health;
use crate::ops::notify::Notifier;
use crate::reactor::admin_desk::AdminDesk;
use crate::reactor::authorizer::Authorizer;
use crate::reactor::registry::Registry;
use crate::reactor::stats::ReactorStats;
use crate::reactor::{Control, ReactorParts, ReactorPoll};

use super::admin_api::AdminApi;
use super::alerts::Alerts;
use super::analytics::AnalyticsHandle;
use super::audit::{self, AdminTrail, AuditSeat};
use super::authorizer::CurrentClient;
use super::bridge::BridgeHandle;
use super::certificates::Served;
use super::connections::Connections;
use super::controls;
use super::explain::Explainer;
use super::hub_seat::HubSeat;
use super::ingest::IngestHandle;
use super::journal::JournalHandle;
use super::metrics::Sources;
use super::nodes::Nodes;
use super::reload::Reloader;
use super::revocation_file::RevocationFile;
use super::revoker::Revoker;
use super::top_rooms::TopRooms;
use super::watch::{Watch, Watched};
use super::webhook::{Webhook, WebhookHandle};

/// What keeps, shares or makes events, where it is there.
#[derive(Clone, Copy)]
pub(super) struct Stores<'a> {
    pub(super) journal: Option<&'a JournalHandle>,
    pub(super) bridge: Option<&'a BridgeHandle>,
    pub(super) ingest: Option<&'a IngestHandle>,
    pub(super) analytics: Option<&'a AnalyticsHandle>,
}

/// See the module.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) catalog: Arc<Catalog>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) revocations: Arc<RwLock<Revocations>>,
    pub(super) registry: Arc<Registry>,
    pub(super) memory: Arc<Memory>,
    pub(super) tls: Option<ServerTls>,
    pub(super) urgent: Arc<Link<Input>>,
    pub(super) bulk: Arc<Link<Input>>,
    pub(super) audit: Option<Arc<Link<Entry>>>,
    pub(super) health: Arc<Health>,
    pub(super) notifier: Arc<Notifier>,
    /// The hub's.
    pub(super) figures: Arc<Mutex<HubStats>>,
    /// Where reactors leave what operators ask.
    pub(super) desk: Arc<AdminDesk>,
    /// Where TLS is spoken.
    pub(super) certificates: Option<Arc<Served>>,
    /// Where there is one.
    pub(super) webhook: Option<WebhookHandle>,
}

impl Shared {
    /// What the reactors get that listen there.
    pub(super) fn parts_of_all(&self, listeners: Vec<Vec<Listener>>) -> Result<Vec<ReactorParts>, String> {
        listeners.into_iter().enumerate().map(|(index, own)| self.parts(index as u16, own)).collect()
    }

    fn parts(&self, index: u16, listeners: Vec<Listener>) -> Result<ReactorParts, String> {
        let (poll, waker) = ReactorPoll::new().map_err(|error| format!("cannot make a poll for reactor {index}: {error}"))?;
        let door = Door::new(Waker::Poll(waker));
        Ok(ReactorParts {
            index,
            clock: self.clock,
            catalog: Arc::clone(&self.catalog),
            verifier: Arc::clone(&self.verifier),
            revocations: Arc::clone(&self.revocations),
            tls: self.tls.clone(),
            registry: Arc::clone(&self.registry),
            ready_sign: self.health.sign(),
            poll,
            inbox: Arc::new(Link::new(DELIVERY_SLOTS + OUTSTANDING_PER_REACTOR + REPLAY_FETCHES_MAX, Arc::clone(&door))),
            control: Arc::new(Link::new(controls::SLOTS, Arc::clone(&door))),
            tickets: None,
            ticket_words: Arc::new(Link::new(TICKETS_PENDING_PER_REACTOR, Arc::clone(&door))),
            words: Arc::new(Link::new(AUTHORIZER_PENDING_PER_REACTOR, Arc::clone(&door))),
            authorizer: None,
            admin: Arc::clone(&self.desk),
            door,
            urgent: Arc::clone(&self.urgent),
            bulk: Arc::clone(&self.bulk),
            audit: self.audit.clone(),
            memory: Arc::clone(&self.memory),
            stats: Arc::new(ReactorStats::default()),
            listeners,
        })
    }

    /// Where the hub leaves what the webhook is to be told.
    pub(super) fn overdue(&self) -> Option<Sender<Overdue>> {
        self.webhook.as_ref().map(|webhook| webhook.jobs.clone())
    }

    fn webhook_desk(&self) -> Option<Arc<Webhook>> {
        self.webhook.as_ref().map(|webhook| Arc::clone(&webhook.desk))
    }

    /// Who watches the threads, and what has none.
    pub(super) fn watch(
        &self,
        seat: &HubSeat,
        parts: &[ReactorParts],
        Stores { journal, bridge, ingest, analytics }: Stores<'_>,
        audit: Option<&AuditSeat>,
        authorizer: Option<Arc<Authorizer>>,
        alerts: Arc<Alerts>,
    ) -> Watch {
        let mut threads = vec![Watched::new("hub".to_owned(), &seat.door)];
        threads.extend(parts.iter().map(|parts| Watched::new(format!("reactor-{}", parts.index), &parts.door)));
        threads.extend(journal.into_iter().flat_map(JournalHandle::doors).map(|(name, door)| Watched::disk(name, door)));
        threads.extend(bridge.into_iter().flat_map(BridgeHandle::doors).map(|(name, door)| Watched::disk(name, door)));
        threads.extend(ingest.map(|ingest| Watched::dispensable("ingest", &ingest.door)));
        threads.extend(analytics.into_iter().flat_map(|analytics| &analytics.doors).map(|(name, door)| Watched::dispensable(name, door)));
        threads.extend(audit.map(|audit| Watched::dispensable("audit", audit.door())));
        Watch {
            clock: self.clock,
            threads,
            health: Arc::clone(&self.health),
            notifier: Arc::clone(&self.notifier),
            registry: Arc::clone(&self.registry),
            hub: Arc::clone(&self.figures),
            memory: Arc::clone(&self.memory),
            authorizer,
            bridge: bridge.map(BridgeHandle::stats),
            ingest_stats: ingest.map(|ingest| Arc::clone(&ingest.stats)),
            analytics: analytics.map(|analytics| Arc::clone(&analytics.stats)),
            certificates: self.certificates.clone(),
            webhook: self.webhook_desk(),
            alerts,
        }
    }

    /// What administrators have done about tokens and sessions.
    pub(super) fn revoker(
        &self,
        file: Option<RevocationFile>,
        nodes: Option<Arc<Server>>,
        controls: Vec<Arc<Link<Control>>>,
        trail: AdminTrail,
    ) -> Revoker {
        Revoker { clock: self.clock, list: Arc::clone(&self.revocations), file: Mutex::new(file), nodes, controls, trail }
    }

    /// What operators ask.
    pub(super) fn admin_api(
        &self,
        seat: &HubSeat,
        controls: &[Arc<Link<Control>>],
        (revoker, trail): (Arc<Revoker>, AdminTrail),
        sources: Sources,
        authorizer: Option<Arc<Authorizer>>,
        (alerts, instance): (Arc<Alerts>, u32),
    ) -> AdminApi {
        let connections = Arc::new(Connections::new(controls.to_vec()));
        let explainer = Explainer {
            clock: self.clock,
            connections: Arc::clone(&connections),
            hub: Arc::clone(&seat.questions),
            registry: Arc::clone(&self.registry),
            revocations: Arc::clone(&self.revocations),
            authorizer,
            nodes: revoker.nodes.clone(),
            audit_file: self.audit.as_ref().and(sources.data_dir.as_deref()).map(|dir| dir.join(audit::FILE)),
        };
        let nodes = Nodes { instance, bridge: sources.bridge.clone() };
        let rooms = TopRooms::new(Arc::clone(&seat.questions), controls.to_vec());
        AdminApi { health: Arc::clone(&self.health), sources, revoker, trail, connections, explainer, rooms, alerts, nodes }
    }

    /// What SIGHUP works on.
    pub(super) fn reloader(
        &self,
        instance: u32,
        controls: Vec<Arc<Link<Control>>>,
        authorizer: Option<(Arc<Authorizer>, CurrentClient)>,
        alerts: Arc<Alerts>,
    ) -> Reloader {
        Reloader {
            instance,
            catalog: Arc::clone(&self.catalog),
            registry: Arc::clone(&self.registry),
            certificates: self.certificates.clone(),
            authorizer,
            webhook: self.webhook.as_ref().map(|webhook| Arc::clone(&webhook.client)),
            controls,
            alerts,
        }
    }

    /// Whence the figures come.
    pub(super) fn sources(
        &self,
        parts: &[ReactorParts],
        Stores { journal, bridge, ingest, analytics }: Stores<'_>,
        audit: Option<&AuditSeat>,
        authorizer: Option<Arc<Authorizer>>,
        data_dir: Option<PathBuf>,
    ) -> Sources {
        Sources {
            health: Arc::clone(&self.health),
            started_s: self.clock.now().wall_ms / 1_000,
            registry: Arc::clone(&self.registry),
            data_dir,
            certificates: self.certificates.clone(),
            journal: journal.map(JournalHandle::stats),
            bridge: bridge.map(BridgeHandle::stats),
            ingest_stats: ingest.map(|ingest| Arc::clone(&ingest.stats)),
            analytics: analytics.map(|analytics| Arc::clone(&analytics.stats)),
            audit: audit.map(|audit| audit.figures.clone()),
            authorizer,
            webhook: self.webhook_desk(),
            memory: Arc::clone(&self.memory),
            hub: Arc::clone(&self.figures),
            reactors: parts.iter().map(|parts| Arc::clone(&parts.stats)).collect(),
            inboxes: parts.iter().map(|parts| Arc::clone(&parts.inbox)).collect(),
            ingest: [Arc::clone(&self.urgent), Arc::clone(&self.bulk)],
        }
    }
}
