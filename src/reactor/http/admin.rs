//! Requests of operators (`/v1/admin/…`) on a connection that speaks HTTP: who may ask is seen here, and the answer comes later.

use std::net::IpAddr;
use std::sync::Arc;

use crate::auth::Scope;
use crate::base::codes::{FORBIDDEN, NOT_FOUND, OVER_CAPACITY, Refusal};
use crate::base::ids::ConnId;
use crate::base::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_TIMEOUT, HTTP_BODY_TIMEOUT};
use crate::base::time::Mono;
use crate::net::outbox::Outbox;
use crate::reactor::admin_desk::{AdminAccess, AdminQuestion, AdminText};
use crate::reactor::connection::{Then, Took};
use crate::reactor::core::Core;
use crate::wire::http::{HttpRefusal, Request, strip_body, write_response};

use super::answers::not_allowed;
use super::streams::{caller, check_no_body, check_open};
use super::{Http, NO_SUCH_PATH};

/// What the paths begin with.
pub(super) const PREFIX: &str = "/v1/admin/";

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Asking {
    /// Not asked before its body is there, which is so long.
    unasked: Option<(AdminQuestion, usize)>,
    keep_alive: bool,
    is_head: bool,
    /// When the answer has taken too long.
    until: Mono,
}

impl Asking {
    /// Whether nothing but the answer is missing.
    pub(super) fn is_asked(&self) -> bool {
        self.unasked.is_none()
    }

    fn method(&self) -> &'static str {
        if self.is_head { "HEAD" } else { "" }
    }
}

impl Http {
    /// A request whose answer will come.
    pub(super) fn ask(&mut self, request: &Request<'_>, id: ConnId, client: Option<IpAddr>, core: &mut Core) -> Result<(), HttpRefusal> {
        let access = core.options.admin_api;
        if access == AdminAccess::Off {
            return Err(Refusal::new(NOT_FOUND, NO_SUCH_PATH).into());
        }
        check_open(request, client, false, core)?;
        let user = operator(request, client, core)?;
        let body_len = match request.method {
            "GET" | "HEAD" => check_no_body(request).map(|()| 0)?,
            "POST" if access == AdminAccess::All => request.json_len(ADMIN_BODY_BYTES_MAX)?,
            "POST" => return Err(Refusal::new(FORBIDDEN, "tokens may only read here: see --admin-api").into()),
            _ => return Err(not_allowed("Allow: GET, HEAD, POST", "what is under /v1/admin/ is read by GET, and done by POST")),
        };
        core.admin.admit(&user, core.now.mono)?;
        let question = AdminQuestion {
            conn: id,
            user,
            ip: client,
            method: request.method.into(),
            path: request.path[PREFIX.len()..].into(),
            query: request.query.unwrap_or_default().into(),
            body: Box::default(),
        };
        let unasked = if body_len > 0 {
            self.due = core.now.mono.plus(HTTP_BODY_TIMEOUT);
            Some((question, body_len))
        } else {
            core.admin.ask(question)?;
            None
        };
        let (keep_alive, is_head) = (request.keep_alive(), request.method == "HEAD");
        self.asking = Some(Box::new(Asking { unasked, keep_alive, is_head, until: core.now.mono.plus(ADMIN_TIMEOUT) }));
        Ok(())
    }

    /// Takes the body of such a request, once all of it is there.
    pub(super) fn take_asked(&mut self, input: &[u8], core: &mut Core, outbox: &mut Outbox) -> Took {
        let wait = Took { used: 0, more: false, whole: false, then: Then::Go };
        let Some(asking) = &mut self.asking else { return wait };
        let Some((mut question, used)) = asking.unasked.take_if(|(_, len)| *len <= input.len()) else { return wait };
        question.body = input[..used].into();
        asking.until = core.now.mono.plus(ADMIN_TIMEOUT);
        let then = core.admin.ask(question).map_or_else(|refusal| self.on_admin_answer(Err(refusal.into()), core, outbox), |()| Then::Go);
        Took { used, more: used < input.len(), whole: true, then }
    }

    /// The answer has come.
    pub(in crate::reactor) fn on_admin_answer(
        &mut self,
        said: Result<AdminText, HttpRefusal>,
        core: &mut Core,
        outbox: &mut Outbox,
    ) -> Then {
        let Some(asking) = self.asking.take() else { return Then::Go };
        let keep_alive = asking.keep_alive && !asking.is_head && !core.is_draining();
        match said {
            Ok(AdminText { status, media_type, body }) => self.answer(core, outbox, |out| {
                let start = out.len();
                write_response(out, status, media_type, keep_alive, &[("Cache-Control", "no-store")], body.as_bytes());
                if asking.is_head {
                    strip_body(out, start);
                }
            }),
            Err(refusal) => self.refuse(&refusal, keep_alive, asking.method(), core, outbox),
        }
        self.after_answer(keep_alive, core)
    }

    /// Whether an operator's request waits for its answer.
    pub(in crate::reactor) fn is_asking(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| asking.is_asked())
    }

    /// When that has taken too long.
    pub(super) fn asking_deadline(&self) -> Mono {
        self.asking.as_ref().map_or(Mono::NEVER, |asking| asking.until)
    }

    /// It may have: then the connection ends with a word, so that an answer that comes late is not taken for the next one.
    pub(in crate::reactor) fn on_asking_time(&mut self, core: &Core, outbox: &mut Outbox) -> Then {
        let Some(asking) = self.asking.take_if(|asking| asking.until <= core.now.mono) else { return Then::Go };
        let refusal = Refusal::passing(OVER_CAPACITY, "the answer took too long: see /healthz on the admin listener", 5_000);
        self.refuse(&refusal.into(), false, asking.method(), core, outbox);
        Then::Finish
    }
}

/// The user of a token with the scope `admin`.
fn operator(request: &Request<'_>, client: Option<IpAddr>, core: &mut Core) -> Result<Arc<str>, HttpRefusal> {
    let grants = caller(request, client, "admin", core)?;
    if !grants.has(Scope::Admin) {
        core.turn_away(client, Some(grants.user), "admin", FORBIDDEN.name);
        return Err(Refusal::new(FORBIDDEN, "the token lacks the scope admin").into());
    }
    Ok(grants.user)
}
