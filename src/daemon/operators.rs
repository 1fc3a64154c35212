//! Answers what operators ask over `--listen`: two threads, so that one who asks for much leaves the other for the rest, and so that all of them
//! together take no more of the machine than that. They give what the admin listener gives.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::codes::{INVALID_FIELD, Refusal};
use crate::base::limits::ADMIN_ANSWER_BYTES_MAX;
use crate::net::link::Link;
use crate::ops::admin::{self, Admin, Caller};
use crate::reactor::Control;
use crate::reactor::admin_desk::{AdminAnswer, AdminDesk, AdminQuestion, AdminText};
use crate::wire::http::HttpRefusal;

use super::{controls, spawn};

/// Requests answered at a time.
const THREADS: usize = 2;
/// Where the paths are on `--listen`.
const PLACE: &str = "/v1/admin/";
/// How long a reactor that hangs is waited for; its client is told by it, once it goes on.
const PATIENCE: Duration = Duration::from_secs(1);

/// Serves operators at the admin listener, and at the desk, until the process ends. Where the listener is bound to.
pub(super) fn serve(
    admin: Admin,
    listener: TcpListener,
    desk: &Arc<AdminDesk>,
    controls: &[Arc<Link<Control>>],
) -> Result<SocketAddr, String> {
    let admin = Arc::new(admin);
    start(desk, &admin, controls)?;
    admin::serve(listener, &admin).map_err(|error| format!("cannot serve --admin-listen: {error}"))
}

fn start(desk: &Arc<AdminDesk>, admin: &Arc<Admin>, controls: &[Arc<Link<Control>>]) -> Result<(), String> {
    for index in 0..THREADS {
        let (desk, admin, controls) = (Arc::clone(desk), Arc::clone(admin), controls.to_vec());
        spawn(&format!("operators-{index}"), move || {
            loop {
                let question = desk.next();
                let conn = question.conn;
                let answer = AdminAnswer { conn, said: answer(&admin, question) };
                desk.done();
                if !controls::tell(&controls[usize::from(conn.reactor)], Control::Answer(Box::new(answer)), Instant::now() + PATIENCE) {
                    tracing::error!(event = "admin_answer_lost", reactor = conn.reactor, "a reactor's control link is full");
                }
            }
        })?;
    }
    Ok(())
}

fn answer(admin: &Admin, question: AdminQuestion) -> Result<AdminText, HttpRefusal> {
    let AdminQuestion { user, ip, method, path, query, body, .. } = question;
    let caller = Caller { user: Some(user), ip };
    let answer = admin.answer_below(PLACE, &caller, &method, &path, &query, || Ok(body.into_vec()));
    if &*method == "POST" {
        let status = answer.as_ref().map_or_else(|refusal| refusal.status, |answer| answer.status);
        let (user, client) = (caller.user.as_deref(), caller.ip.map(tracing::field::display));
        tracing::info!(event = "admin_action", user, client, what = &*path, status);
    }
    let answer = answer?;
    if answer.body.len() > ADMIN_ANSWER_BYTES_MAX {
        let message = format!("the answer has more than {ADMIN_ANSWER_BYTES_MAX} bytes: ask for less of it, by a lower `limit`");
        return Err(Refusal::new(INVALID_FIELD, message).into());
    }
    Ok(AdminText { status: answer.status, media_type: answer.media_type, body: answer.body })
}
