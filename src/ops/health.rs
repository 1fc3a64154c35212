//! The daemon's state and that of its parts, as `/livez`, `/readyz`, `/healthz`, the log and the metrics tell it.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::base::time::Mono;
use crate::net::clock::Clock;
use crate::reactor::ready_sign::ReadySign;

use super::lifecycle::{Lifecycle, State};

/// Of the connections that there may be, how many percent there are when no load balancer should send more (HBT-11).
const FULL_PERCENT: usize = 95;

/// What was found when a part of the daemon was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The part; always the same name for the same part.
    pub name: String,
    /// Whether the daemon is of no use without it.
    pub is_critical: bool,
    /// What is wrong, if anything is.
    pub fault: Option<String>,
}

/// What a part is known to be.
#[derive(Clone, Debug)]
struct Component {
    finding: Finding,
    /// Since when it is well, or not.
    since: Mono,
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It holds, but for these keys, which wait for the next start.
    Applied {
        /// Their names.
        waiting: Vec<String>,
    },
    /// Nothing has changed.
    Refused {
        /// What is wrong with it.
        reason: String,
    },
}

/// The names of [`Reloaded`], in the order in which they are counted.
pub const RELOADS: [&str; 2] = ["applied", "refused"];

/// See the module. Locked for moments, never on the hot path.
#[derive(Debug)]
pub struct Health {
    clock: Clock,
    inner: Mutex<Inner>,
    /// What reactors say to load balancers.
    sign: Arc<ReadySign>,
}

#[derive(Debug)]
struct Inner {
    lifecycle: Lifecycle,
    components: Vec<Component>,
    is_full: bool,
    /// Alerts that fire.
    firing: Vec<&'static str>,
    reloads: [u64; RELOADS.len()],
    reloaded: Option<(Reloaded, Mono)>,
}

/// Whether load balancers should send clients here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether they should.
    pub is_ready: bool,
    /// The state, or why not, in a word.
    pub word: &'static str,
}

impl Health {
    /// That of a daemon that starts.
    pub fn new(clock: Clock) -> Health {
        let lifecycle = Lifecycle::new(clock.mono());
        let inner =
            Inner { lifecycle, components: Vec::new(), is_full: false, firing: Vec::new(), reloads: [0; RELOADS.len()], reloaded: None };
        Health { clock, inner: Mutex::new(inner), sign: Arc::default() }
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.inner.lock().lifecycle.state()
    }

    /// Goes on to another state.
    pub fn enter(&self, to: State) {
        let mut inner = self.inner.lock();
        match inner.lifecycle.enter(to, self.clock.mono()) {
            Ok(from) => tell_state(from, to),
            Err(illegal) => tracing::error!(event = "state_illegal", "{illegal}: a defect of ours"),
        }
        self.sign.show(inner.readiness().word);
    }

    /// Says what [`Health::readiness`] was when something changed last.
    pub fn sign(&self) -> Arc<ReadySign> {
        Arc::clone(&self.sign)
    }

    /// Takes what was found at all parts, and how many connections there are of so many that there may be.
    pub fn look(&self, findings: Vec<Finding>, connections: usize, connections_max: usize) {
        let now = self.clock.mono();
        let mut inner = self.inner.lock();
        inner.is_full = connections * 100 > connections_max * FULL_PERCENT;
        inner.components = findings.into_iter().map(|finding| inner.update(finding, now)).collect();
        let is_well = inner.components.iter().all(|component| component.finding.fault.is_none());
        if let Some(from) = inner.lifecycle.judge(is_well, now) {
            tell_state(from, inner.lifecycle.state());
        }
        self.sign.show(inner.readiness().word);
    }

    /// Notes what came of reading the configuration again, and tells the log.
    pub fn reloaded(&self, reloaded: Reloaded) {
        let result = usize::from(matches!(reloaded, Reloaded::Refused { .. }));
        let now = self.clock.mono();
        {
            let mut inner = self.inner.lock();
            inner.reloads[result] += 1;
            inner.reloaded = Some((reloaded.clone(), now));
        }
        match reloaded {
            Reloaded::Applied { waiting } if waiting.is_empty() => {
                tracing::info!(event = "reloaded", "the configuration was read again and holds");
            }
            Reloaded::Applied { waiting } => {
                let waiting = waiting.join(", ");
                tracing::warn!(
                    event = "reloaded",
                    waiting,
                    "the configuration was read again and holds, but for what waits for the next start"
                );
            }
            Reloaded::Refused { reason } => tracing::error!(event = "reload_failed", "nothing has changed: {reason}"),
        }
    }

    /// These alerts fire.
    pub fn set_firing(&self, alerts: Vec<&'static str>) {
        self.inner.lock().firing = alerts;
    }

    /// How often the configuration was read again, in the order of [`RELOADS`].
    pub fn reloads(&self) -> [u64; RELOADS.len()] {
        self.inner.lock().reloads
    }

    /// Whether everything works without which the daemon is of no use.
    pub fn is_alive(&self) -> bool {
        !self.inner.lock().has_critical_fault()
    }

    /// Whether load balancers should send clients here.
    pub fn readiness(&self) -> Readiness {
        self.inner.lock().readiness()
    }

    /// All parts with what is wrong with them.
    pub fn components(&self) -> Vec<Finding> {
        self.inner.lock().components.iter().map(|component| component.finding.clone()).collect()
    }

    /// One line for the service manager (`systemctl status`): the state, and what an operator had better look at.
    pub fn status(&self, clients: usize) -> String {
        let inner = self.inner.lock();
        let mut said = vec![format!("{}, {clients} clients", inner.lifecycle.state().name())];
        if !inner.firing.is_empty() {
            said.push(format!("alerts: {}", inner.firing.join(", ")));
        }
        if let Some((Reloaded::Refused { reason }, _)) = &inner.reloaded {
            said.push(format!("the last reload changed nothing: {}", reason.replace('\n', " ")));
        }
        said.join("; ")
    }

    /// What `/healthz` says, and whether everything works without which the daemon is of no use.
    pub fn report(&self) -> (bool, Value) {
        let now = self.clock.mono();
        let inner = self.inner.lock();
        let ms_since = |since: Mono| now.since(since).as_millis() as u64;
        let components = inner.components.iter().map(|Component { finding, since }| {
            json!({
                "name": finding.name,
                "critical": finding.is_critical,
                "ok": finding.fault.is_none(),
                "for_ms": ms_since(*since),
                "fault": finding.fault,
            })
        });
        let reload = inner.reloaded.as_ref().map(|(reloaded, at)| match reloaded {
            Reloaded::Applied { waiting } => json!({"result": RELOADS[0], "ago_ms": ms_since(*at), "waiting": waiting}),
            Reloaded::Refused { reason } => json!({"result": RELOADS[1], "ago_ms": ms_since(*at), "reason": reason}),
        });
        let report = json!({
            "state": inner.lifecycle.state().name(),
            "for_ms": ms_since(inner.lifecycle.since()),
            "version": env!("CARGO_PKG_VERSION"),
            "components": components.collect::<Vec<_>>(),
            "alerts": inner.firing,
            "reload": reload,
        });
        (!inner.has_critical_fault(), report)
    }
}

impl Inner {
    /// The component that the finding is about, as it is now; a change is told.
    fn update(&self, finding: Finding, now: Mono) -> Component {
        let before = self.components.iter().find(|component| component.finding.name == finding.name);
        let was_well = before.is_none_or(|before| before.finding.fault.is_none());
        let since = before.filter(|_| was_well == finding.fault.is_none()).map_or(now, |before| before.since);
        let (component, critical) = (&finding.name, finding.is_critical);
        match &finding.fault {
            Some(fault) if was_well && critical => tracing::error!(event = "component_failed", component, critical, "{fault}"),
            Some(fault) if was_well => tracing::warn!(event = "component_failed", component, critical, "{fault}"),
            None if !was_well => tracing::info!(event = "component_recovered", component, critical),
            _ => {}
        }
        Component { finding, since }
    }

    fn readiness(&self) -> Readiness {
        let state = self.lifecycle.state();
        let (is_ready, word) = match state {
            _ if !state.is_serving() => (false, state.name()),
            _ if self.has_critical_fault() => (false, "stalled"),
            _ if self.is_full => (false, "full"),
            _ => (true, state.name()),
        };
        Readiness { is_ready, word }
    }

    fn has_critical_fault(&self) -> bool {
        self.components.iter().any(|component| component.finding.is_critical && component.finding.fault.is_some())
    }
}

fn tell_state(from: State, to: State) {
    tracing::info!(event = "state", from = from.name(), to = to.name());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::clock::manual;

    fn found(name: &str, is_critical: bool, fault: Option<&str>) -> Finding {
        Finding { name: name.to_owned(), is_critical, fault: fault.map(str::to_owned) }
    }

    fn ready(health: &Health) -> (bool, &'static str) {
        let Readiness { is_ready, word } = health.readiness();
        (is_ready, word)
    }

    /// HBT-06, HBT-09, HBT-11: what is of no use without a part, what is degraded, and who is full.
    #[test]
    fn faults_by_criticality() {
        let health = Health::new(manual::start(Duration::ZERO));
        assert_eq!(ready(&health), (false, "starting"));
        health.enter(State::Ready);
        health.look(vec![found("hub", true, None), found("authorizer", false, None)], 95, 100);
        assert_eq!((ready(&health), health.is_alive()), ((true, "ready"), true));
        manual::pass(Duration::from_secs(7));
        health.look(vec![found("hub", true, None), found("authorizer", false, Some("it does not answer"))], 96, 100);
        assert_eq!((ready(&health), health.state()), ((false, "full"), State::Degraded));
        health.look(vec![found("hub", true, None), found("authorizer", false, Some("it still does not"))], 0, 100);
        assert_eq!((ready(&health), health.is_alive()), ((true, "degraded"), true));
        manual::pass(Duration::from_secs(2));
        let (is_alive, report) = health.report();
        assert!(is_alive);
        assert_eq!((&report["state"], &report["for_ms"]), (&json!("degraded"), &json!(2_000)));
        let expected = json!({"name": "hub", "critical": true, "ok": true, "for_ms": 9_000, "fault": null});
        assert_eq!(report["components"][0], expected);
        let expected = json!({"name": "authorizer", "critical": false, "ok": false, "for_ms": 2_000, "fault": "it still does not"});
        assert_eq!(report["components"][1], expected);
        health.look(vec![found("hub", true, Some("stalled")), found("authorizer", false, None)], 0, 100);
        assert_eq!((ready(&health), health.is_alive(), health.report().0), ((false, "stalled"), false, false));
        health.look(vec![found("hub", true, None), found("authorizer", false, None)], 0, 100);
        assert_eq!((ready(&health), health.state()), ((true, "ready"), State::Ready));
    }

    /// OPS-01: the last one is told, with what became of it; all are counted.
    #[test]
    fn reloads_are_told_and_counted() {
        let health = Health::new(manual::start(Duration::ZERO));
        assert_eq!(health.report().1["reload"], Value::Null);
        health.reloaded(Reloaded::Applied { waiting: vec!["listen".to_owned()] });
        manual::pass(Duration::from_secs(3));
        assert_eq!(health.report().1["reload"], json!({"result": "applied", "ago_ms": 3_000, "waiting": ["listen"]}));
        health.reloaded(Reloaded::Refused { reason: "a bad key".to_owned() });
        assert_eq!(health.report().1["reload"], json!({"result": "refused", "ago_ms": 0, "reason": "a bad key"}));
        assert_eq!(health.reloads(), [1, 1]);
    }

    /// OPS-01: `systemctl reload` does not wait for what becomes of it, and `systemctl status` says it.
    #[test]
    fn the_status_says_what_to_look_at() {
        let health = Health::new(manual::start(Duration::ZERO));
        health.enter(State::Ready);
        health.reloaded(Reloaded::Applied { waiting: Vec::new() });
        assert_eq!(health.status(7), "ready, 7 clients");
        health.set_firing(vec!["slow_clients", "auth_failures"]);
        health.reloaded(Reloaded::Refused { reason: "a bad key,\nand another".to_owned() });
        let expected = "ready, 0 clients; alerts: slow_clients, auth_failures; the last reload changed nothing: a bad key, and another";
        assert_eq!(health.status(0), expected);
        health.set_firing(Vec::new());
        health.reloaded(Reloaded::Applied { waiting: Vec::new() });
        assert_eq!(health.status(0), "ready, 0 clients");
    }

    #[test]
    fn who_leaves_is_not_ready_whatever_is_found() {
        let health = Health::new(manual::start(Duration::ZERO));
        health.enter(State::Ready);
        health.enter(State::Draining);
        health.look(vec![found("hub", true, None)], 0, 1);
        assert_eq!(ready(&health), (false, "draining"));
        health.enter(State::Ready);
        assert_eq!(health.state(), State::Draining, "that is refused, and told in the log");
    }
}
