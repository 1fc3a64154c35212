//! Tells the webhook of events that their users take no note of: a few threads, because each request waits for its answer.
//!
//! They take from the hub what is due, one at a time, and tell it what came of it; what is to be told again, and when, is the hub's to know. So
//! what is acknowledged meanwhile is not told, whatever the webhook is up to.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, RwLock};
use ureq::Agent;

use crate::auth::{Breaker, WebhookSecrets};
use crate::base::counters::{DurationHistogram, HistogramSnapshot};
use crate::config::WebhookConfig;
use crate::hub::ports::{Escalated, EscalationOutcome, Input, Overdue};
use crate::net::clock::Clock;
use crate::net::link::Link;

use super::http_client::{self, Peer};
use super::spawn;

/// Requests under way at a time.
const THREADS: usize = 2;
/// Events that wait for a thread; the others wait in the hub, where their acknowledgments take them back.
const WAITING_MAX: usize = 4;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Failures in a row after which nothing is told for [`OPEN_FOR`].
const FAILURES_MAX: u32 = 5;
const OPEN_FOR: Duration = Duration::from_secs(10);
/// More of an answer is not read: only its status counts.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// How long the way back to the hub may be full before it is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Tells by HTTP.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    url: String,
    secrets: WebhookSecrets,
}

impl Client {
    /// Reads what the configuration names: the secrets, and for https the certificates to trust.
    pub(super) fn new(config: &WebhookConfig) -> Result<Client, String> {
        let agent = http_client::agent(&Peer {
            name: "webhook",
            url: &config.url,
            ca: config.ca.as_deref(),
            ca_flag: "--webhook-ca",
            timeout: TIMEOUT,
            idle_max: THREADS,
        })?;
        let told = |why: &dyn std::fmt::Display| format!("the webhook's secret in {}: {why}", config.secret_file.display());
        let text = std::fs::read_to_string(&config.secret_file).map_err(|error| told(&error))?;
        let secrets = WebhookSecrets::parse(&text).map_err(|why| told(&why))?;
        Ok(Client { agent, url: config.url.clone(), secrets })
    }

    /// One request. Any status of 200 to 299 says that it has come; redirects are not followed.
    fn tell(&self, overdue: &Overdue, time_s: u64) -> Result<(), String> {
        let (id, body) = (id(overdue), body(overdue));
        let request = self.agent.post(&self.url).content_type("application/json");
        let signature = self.secrets.sign(&id, time_s, &body);
        let request =
            request.header("webhook-id", &id).header("webhook-timestamp", time_s.to_string()).header("webhook-signature", signature);
        let mut response = request.send(body).map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status().as_u16()));
        }
        // Read to its end, so that the connection may be used again; what it says, or whether it ends, is all the same.
        drop(response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec());
        Ok(())
    }
}

/// The client that the next request is made with.
pub(super) type CurrentClient = Arc<RwLock<Client>>;

/// The same each time that an event is told: names the event among those of all users. No identifier has a stroke.
fn id(overdue: &Overdue) -> String {
    format!("{}/{}", overdue.room, overdue.event_id)
}

/// The same each time, too. Identifiers need no escapes; the event is the message as members got it.
fn body(overdue: &Overdue) -> String {
    let Overdue { room, event_id, ts_ms, until_ms, frame } = overdue;
    let user = room.strip_prefix("user:").unwrap_or_default();
    let event = String::from_utf8_lossy(frame.as_text());
    format!(
        r#"{{"type":"event.unacknowledged","data":{{"event_id":"{event_id}","room":"{room}","user":"{user}","ts":{ts_ms},"until":{until_ms},"event":{event}}}}}"#
    )
}

/// The threads at work.
pub(super) struct WebhookHandle {
    pub(super) desk: Arc<Webhook>,
    /// Where the hub leaves what is to be told.
    pub(super) jobs: Sender<Overdue>,
    pub(super) client: CurrentClient,
}

impl WebhookHandle {
    /// Starts the threads, which tell until the process ends. `hub`: where they say what came of it.
    pub(super) fn start(client: Client, clock: Clock, hub: &Arc<Link<Input>>) -> Result<WebhookHandle, String> {
        let (jobs, inbox) = bounded(WAITING_MAX);
        let (desk, client) = (Arc::new(Webhook::new(inbox, clock)), Arc::new(RwLock::new(client)));
        for index in 0..THREADS {
            let (desk, client, hub) = (Arc::clone(&desk), Arc::clone(&client), Arc::clone(hub));
            spawn(&format!("webhook-{index}"), move || desk.work(&client, &hub))?;
        }
        Ok(WebhookHandle { desk, jobs, client })
    }
}

/// What the threads share.
pub(super) struct Webhook {
    jobs: Receiver<Overdue>,
    breaker: Mutex<Breaker>,
    clock: Clock,
    took: Mutex<DurationHistogram>,
}

impl Webhook {
    /// That of a daemon that has told nothing yet.
    pub(super) fn new(jobs: Receiver<Overdue>, clock: Clock) -> Webhook {
        Webhook { jobs, breaker: Mutex::new(Breaker::new(FAILURES_MAX, OPEN_FOR)), clock, took: Mutex::default() }
    }

    /// Whether nothing is told for the time being, after failures.
    pub(super) fn is_resting(&self) -> bool {
        self.breaker.lock().is_open(self.clock.mono())
    }

    /// See [`Breaker::code`].
    pub(super) fn breaker_code(&self) -> u64 {
        self.breaker.lock().code()
    }

    /// How long requests took.
    pub(super) fn took(&self) -> HistogramSnapshot {
        self.took.lock().snapshot()
    }

    fn work(&self, client: &CurrentClient, hub: &Link<Input>) {
        while let Ok(overdue) = self.jobs.recv() {
            let client = client.read().clone();
            let outcome = self.tell(&client, &overdue);
            let (room, event_id) = (overdue.room, overdue.event_id);
            let mut answer = Input::Escalated(Box::new(Escalated { room, event_id, outcome }));
            while let Err(back) = hub.push(answer) {
                answer = back;
                std::thread::sleep(RETRY);
            }
            hub.ring();
        }
    }

    fn tell(&self, client: &Client, overdue: &Overdue) -> EscalationOutcome {
        let Some(permit) = self.breaker.lock().permit(self.clock.mono()) else { return EscalationOutcome::Resting };
        let (began, now) = (self.clock.mono(), self.clock.now());
        let outcome = client.tell(overdue, now.wall_ms / 1_000);
        let ended = self.clock.mono();
        self.took.lock().record(ended.since(began));
        self.breaker.lock().settle(permit, outcome.is_ok(), ended);
        let (user, event_id) = (overdue.room.strip_prefix("user:").unwrap_or_default(), &*overdue.event_id);
        match outcome {
            Ok(()) => {
                tracing::info!(event = "escalated", user, event_id, "the webhook was told that its user takes no note of an event");
                EscalationOutcome::Told
            }
            Err(why) => {
                tracing::warn!(event = "webhook_failed", why, user, event_id, "the webhook was not told; that is tried again");
                EscalationOutcome::Failed
            }
        }
    }
}
