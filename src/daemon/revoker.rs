//! What administrators have done about tokens and sessions: revokes the ones, ends the others.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, bounded};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;

use crate::auth::{Revocation, Revocations, Whom};
use crate::base::codes::{
    CLOSE_DENIED, CLOSE_TOKEN_REVOKED, CloseCode, INTERNAL, INVALID_FIELD, OVER_CAPACITY, Refusal, STORE_UNAVAILABLE,
};
use crate::base::limits::REVOCATIONS_MAX;
use crate::bridge::Server;
use crate::net::clock::Clock;
use crate::net::link::Link;
use crate::ops::admin::Caller;
use crate::reactor::{Control, EndSessions};

use super::audit::AdminTrail;
use super::controls;
use super::revocation_file::RevocationFile;

/// How long the reactors are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Revoker {
    pub(super) clock: Clock,
    /// What holds, for all reactors to see.
    pub(super) list: Arc<RwLock<Revocations>>,
    /// Where it is kept; none without a data directory. Locked from the first to the last step of a revocation, so that there is
    /// one at a time.
    pub(super) file: Mutex<Option<RevocationFile>>,
    /// Where all nodes hear of it.
    pub(super) nodes: Option<Arc<Server>>,
    pub(super) controls: Vec<Arc<Link<Control>>>,
    /// Where it is told who was meant.
    pub(super) trail: AdminTrail,
}

/// `{"sub":…}` or `{"jti":…}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    sub: Option<Box<str>>,
    jti: Option<Box<str>>,
}

impl Revoker {
    /// `POST /v1/revoke`. It holds for new connections, then the reactors are told, and while they end sessions it is written.
    pub(super) fn revoke(&self, caller: &Caller, body: &[u8]) -> Result<String, Refusal> {
        let now_s = self.clock.now().wall_ms / 1000;
        let revocation = Revocation::parse(body, now_s).map_err(|message| Refusal::new(INVALID_FIELD, message))?;
        let mut file = self.file.lock();
        let is_new = self.list.write().insert(&revocation, now_s, REVOCATIONS_MAX).map_err(|_| full())?;
        let sessions = self.end_sessions(&revocation.whom, CLOSE_TOKEN_REVOKED);
        let kept = self.keep(&revocation, is_new, file.as_mut());
        let (ended, silent) = sessions.wait();
        tracing::info!(event = "revoked", whom = ?revocation.whom, ended, silent, kept = kept.as_deref().unwrap_or("no"));
        self.note(caller, "revoke", &revocation.whom, if kept.is_ok() { "" } else { "not_kept" }, ended);
        if let Some(Err(failure)) = self.nodes.as_ref().map(|nodes| nodes.revoke(&revocation.to_json())) {
            let message = format!(
                "{ended} sessions were ended and the revocation holds on this node, but the others have not heard of it: {failure}; send it again"
            );
            return Err(Refusal::new(STORE_UNAVAILABLE, message));
        }
        let kept = kept.map_err(|error| {
            let message = format!(
                "{ended} sessions were ended and the revocation holds, but only until the daemon ends, because it cannot be written: {error}; \
                 see to the disk and send it again"
            );
            Refusal::new(INTERNAL, message)
        })?;
        Ok(format!(r#"{{"ok":true,"ended":{ended},"unheard_reactors":{silent},"kept":"{kept}"}}"#))
    }

    /// Some node was told of a revocation, maybe this one.
    pub(super) fn hear(&self, json: &str) {
        let now_s = self.clock.now().wall_ms / 1000;
        let Ok(revocation) = Revocation::parse(json.as_bytes(), now_s) else {
            return tracing::error!(
                event = "revocation_not_understood",
                "another node told of a revocation that this one does not understand"
            );
        };
        let mut file = self.file.lock();
        let Ok(is_new) = self.list.write().insert(&revocation, now_s, REVOCATIONS_MAX) else {
            return tracing::error!(event = "revocation_not_taken", "another node told of a revocation for which there is no place");
        };
        if !is_new {
            return;
        }
        let sessions = self.end_sessions(&revocation.whom, CLOSE_TOKEN_REVOKED);
        if let Err(error) = self.keep(&revocation, is_new, file.as_mut()) {
            tracing::error!(event = "revocation_not_kept", %error, "a revocation of another node holds until the daemon ends");
        }
        let (ended, silent) = sessions.wait();
        tracing::info!(event = "revoked", whom = ?revocation.whom, ended, silent, by = "another node");
        self.note(&Caller::default(), "revoke", &revocation.whom, "", ended);
    }

    /// Where the revocation is kept, once it is.
    fn keep(&self, revocation: &Revocation, is_new: bool, file: Option<&mut RevocationFile>) -> io::Result<&'static str> {
        let Some(file) = file else { return Ok("memory") };
        if is_new || file.is_broken() {
            file.append(revocation, &self.list.read())?;
        }
        Ok("disk")
    }

    /// `POST /v1/disconnect`. The token stays good.
    pub(super) fn disconnect(&self, caller: &Caller, body: &[u8]) -> Result<String, Refusal> {
        let invalid = |message: String| Refusal::new(INVALID_FIELD, message);
        let asked: Disconnect =
            serde_json::from_slice(body).map_err(|error| invalid(format!("not a JSON object with `sub` or `jti`: {error}")))?;
        let whom = match (asked.sub, asked.jti) {
            (Some(name), None) => Whom::User { name, issued_before_s: u32::MAX },
            (None, Some(id)) => Whom::Token(id),
            _ => return Err(invalid("write either `sub`, a user, or `jti`, one token's".to_owned())),
        };
        let (ended, silent) = self.end_sessions(&whom, CLOSE_DENIED).wait();
        tracing::info!(event = "disconnected_by_admin", ?whom, ended, silent);
        self.note(caller, "disconnect", &whom, "", ended);
        Ok(format!(r#"{{"ok":true,"ended":{ended},"unheard_reactors":{silent}}}"#))
    }

    /// Tells the audit trail; how many sessions were ended is the count.
    fn note(&self, caller: &Caller, what: &str, whom: &Whom, reason: &'static str, ended: usize) {
        match whom {
            Whom::User { name, .. } => self.trail.note(caller, what, Some(name), reason, ended as u64),
            Whom::Token(id) => self.trail.note(caller, &format!("{what} jti {id}"), None, reason, ended as u64),
        }
    }

    /// Tells all reactors.
    fn end_sessions(&self, whom: &Whom, code: CloseCode) -> Sessions {
        let deadline = Instant::now() + PATIENCE;
        let (ended, answers) = bounded(self.controls.len());
        for control in &self.controls {
            controls::tell(control, Control::End(EndSessions { whom: whom.clone(), code, ended: ended.clone() }), deadline);
        }
        Sessions { answers, reactors: self.controls.len(), deadline }
    }
}

/// Sessions that are being ended.
struct Sessions {
    answers: Receiver<usize>,
    reactors: usize,
    deadline: Instant,
}

impl Sessions {
    /// How many were ended, and how many reactors have not said so in time. These do it when they get to it.
    fn wait(self) -> (usize, usize) {
        let answers: Vec<usize> = std::iter::from_fn(|| self.answers.recv_deadline(self.deadline).ok()).take(self.reactors).collect();
        (answers.iter().sum(), self.reactors - answers.len())
    }
}

fn full() -> Refusal {
    let message = format!(
        "{REVOCATIONS_MAX} revocations hold, which is all that may: give `exp` with each, so that they can be forgotten, or use another signing key"
    );
    Refusal::new(OVER_CAPACITY, message)
}
