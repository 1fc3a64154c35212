//! SIGHUP: what is read again is prepared as a whole, and taken on only if all of it is sound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::bounded;

use crate::auth::Verifier;
use crate::config::Config;
use crate::hub::catalog::Catalog;
use crate::net::link::Link;
use crate::ops::log;
use crate::reactor::authorizer::Authorizer;
use crate::reactor::registry::Registry;
use crate::reactor::{Control, ReactorOptions, Reload};

use super::alerts::Alerts;
use super::authorizer::CurrentClient;
use super::certificates::{self, Served};
use super::controls;
use super::webhook;
use super::{Loaded, options, read};

/// How long the reactors are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a reload works on.
pub(super) struct Reloader {
    /// Tells this start of the daemon from others.
    pub(super) instance: u32,
    /// What reactors route by now.
    pub(super) catalog: Arc<Catalog>,
    pub(super) registry: Arc<Registry>,
    /// Where TLS is spoken.
    pub(super) certificates: Option<Arc<Served>>,
    /// Where there is one.
    pub(super) authorizer: Option<(Arc<Authorizer>, CurrentClient)>,
    /// Where there is one.
    pub(super) webhook: Option<webhook::CurrentClient>,
    pub(super) controls: Vec<Arc<Link<Control>>>,
    pub(super) alerts: Arc<Alerts>,
}

impl Reloader {
    /// Takes a configuration on, or says what is wrong with what it names, and changes nothing.
    pub(super) fn apply(&mut self, config: &Config) -> Result<(), String> {
        let Loaded { catalog, verifier, certificates, notes, authorizer, webhook } = read(config)?;
        catalog.succeed(&self.catalog).map_err(|kinds| {
            format!(
                "catalog: lane and mode of types that were used since the start do not change before the next one: {}",
                kinds.join(", ")
            )
        })?;
        let options = options::reactor(config, self.instance);
        // From here on nothing fails.
        self.catalog = Arc::new(catalog);
        self.registry.set_limits(options::registry(config));
        if let Some(served) = &self.certificates {
            certificates::tell(&notes);
            served.replace(config.tls.clone(), certificates);
        }
        if let (Some((desk, current)), Some(client)) = (&self.authorizer, authorizer) {
            *current.write() = client;
            desk.keep_for(options::inquiries(config).kept_for);
        }
        if let (Some(current), Some(client)) = (&self.webhook, webhook) {
            *current.write() = client;
        }
        self.alerts.reload(&config.alerts, &self.catalog);
        log::set_level(config.log_level);
        self.tell_reactors(&options, &Arc::new(verifier));
        Ok(())
    }

    fn tell_reactors(&self, options: &ReactorOptions, verifier: &Arc<Verifier>) {
        let deadline = Instant::now() + PATIENCE;
        let (done, answers) = bounded(self.controls.len());
        for control in &self.controls {
            let reload =
                Reload { options: options.clone(), catalog: Arc::clone(&self.catalog), verifier: Arc::clone(verifier), done: done.clone() };
            controls::tell(control, Control::Reload(Box::new(reload)), deadline);
        }
        let silent = self.controls.iter().filter(|_| answers.recv_deadline(deadline).is_err()).count();
        if silent > 0 {
            tracing::error!(
                event = "reload_unheard",
                silent,
                "so many reactors go on with what was before until they come round, or for good: see /healthz"
            );
        }
    }
}
