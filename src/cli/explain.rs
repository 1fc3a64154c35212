//! `tickerd explain`: why does a user get a room, or not?

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::auth::Grants;
use crate::base::ident;
use crate::config::{self, ServeArgs, Surroundings};
use crate::daemon;
use crate::net::clock::Clock;

use super::{Failure, emit, http, token};

/// Why does a user get a room, or not? Asks the running daemon on its admin listener: the one of `--admin`, else of `--config`. With `--token-file` the
/// verdict is of that token: it is checked here, with the keys of `--config` or of `--jwt-key`, and the daemon, which knows what was revoked and who owns
/// the room, is told its `jti`, its times, and whether its patterns allow the room; never the token. Exits with 0 if the user is a member or may join, 3 if not, 4 if
/// that is not known or up to the authorizer, 1 if the daemon could not be asked, 2 for bad usage
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The user, as its token names it; if left out, the one of the token
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The room
    #[arg(long, value_name = "ROOM")]
    room: String,
    /// The daemon's admin listener [default: `admin_listen` of the configuration, else 127.0.0.1:9100]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// A file with the user's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print the daemon's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Prints each rule with what it says.
pub(super) fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let surroundings = Surroundings::of_process();
    let admin = args.admin.map_or_else(|| config::admin_listen(&args.serve, &surroundings), Ok)?;
    let grants = match args.token_file.as_deref().map(|file| verified(args, file, &surroundings)).transpose()? {
        Some(Err(refused)) => return tell_refused(args, &refused),
        Some(Ok(grants)) => Some(grants),
        None => None,
    };
    let user = match (&args.user, &grants) {
        (Some(user), Some(grants)) if **user != *grants.user => {
            return Err(Failure::Usage(format!("--user {user} is not whom the token names, {}: give one of the two", grants.user)));
        }
        (Some(user), _) => user.clone(),
        (None, Some(grants)) => grants.user.to_string(),
        (None, None) => return Err(Failure::Usage("give --user, or --token-file".to_owned())),
    };
    let about = grants.map(|grants| about(&grants, &args.room)).unwrap_or_default();
    let path = format!("/v1/explain?user={}&room={}{about}", ident::encode_segment(&user), ident::encode_segment(&args.room));
    let answer = http::get(admin, &path)
        .map_err(|error| Failure::Failed(format!("cannot ask {admin}: {error}; is the daemon running, and is that its --admin-listen?")))?;
    if answer.status != 200 {
        return Err(Failure::Failed(format!("the daemon at {admin} says: {}", String::from_utf8_lossy(&answer.body).trim())));
    }
    let explained: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| Failure::Failed(format!("what {admin} answers is no explanation: is it tickerd's --admin-listen?")))?;
    let mut text = String::new();
    if args.json {
        text = String::from_utf8_lossy(&answer.body).into_owned() + "\n";
    } else {
        tell(&explained, &mut text);
    }
    give(&text, explained["verdict"].as_str().unwrap_or_default())
}

/// Prints the text. The exit code is the verdict, also if nobody reads that far.
fn give(text: &str, verdict: &str) -> Result<ExitCode, Failure> {
    match emit(&mut io::stdout(), text.as_bytes()) {
        Ok(()) | Err(Failure::OutputClosed) => Ok(exit_code(verdict)),
        Err(failure) => Err(failure),
    }
}

/// 3 and 4 are of this command alone: 1 and 2 say that there is no verdict.
fn exit_code(verdict: &str) -> ExitCode {
    ExitCode::from(match verdict {
        "member" | "may_join" => 0,
        "may_not" => 3,
        _ => 4,
    })
}

/// What the token grants, or why it is refused.
fn verified(args: &ExplainArgs, file: &Path, surroundings: &Surroundings) -> Result<Result<Grants, String>, Failure> {
    let loaded = config::load(&args.serve, surroundings)?;
    let verifier = daemon::verifier(&loaded.config)?;
    let token = token(Some(file))?.unwrap_or_default();
    Ok(verifier.verify(&token, Clock::start().now().wall_ms).map_err(|error| error.refusal().message))
}

/// No daemon would let it in that has these keys.
fn tell_refused(args: &ExplainArgs, refused: &str) -> Result<ExitCode, Failure> {
    let because = format!("the token is refused: {refused}");
    let text = if args.json {
        json!({"room": args.room, "verdict": "may_not", "because": because}).to_string()
    } else {
        format!("may_not: {because}")
    };
    give(&format!("{text}\n"), "may_not")
}

/// What of a token matters to who knows the revocations and the room.
fn about(grants: &Grants, room: &str) -> String {
    let mut about = format!("&pattern={}&exp={}", if grants.may_read(room) { "yes" } else { "no" }, grants.expires_at_ms / 1_000);
    if let Some(id) = &grants.token_id {
        put(&mut about, format_args!("&jti={}", ident::encode_segment(id)));
    }
    if grants.issued_at_s > 0 {
        put(&mut about, format_args!("&iat={}", grants.issued_at_s));
    }
    about
}

fn tell(answer: &Value, text: &mut String) {
    let string = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    line(text, format_args!("{}: {}", string(&answer["verdict"]), string(&answer["because"])));
    rules(&answer["token"]["rules"], "", text);
    rules(&answer["rules"], "", text);
    for connection in answer["connections"].as_array().into_iter().flatten() {
        let about = &connection["connection"];
        line(text, format_args!("connection {} from {}:", string(&about["session"]), string(&about["ip"])));
        rules(&connection["rules"], "  ", text);
    }
    match &answer["room_now"] {
        Value::Null => line(text, format_args!("there is no such room at present")),
        room => line(text, format_args!("the room at present: {room}")),
    }
    for refusal in answer["refusals"].as_array().into_iter().flatten() {
        line(text, format_args!("audit trail: {refusal}"));
    }
}

fn rules(rules: &Value, indent: &str, text: &mut String) {
    for rule in rules.as_array().into_iter().flatten() {
        let part = |name: &str| rule[name].as_str().unwrap_or("-");
        line(text, format_args!("{indent}{:<20} {:<8} {}", part("rule"), part("ruling"), part("why")));
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    put(text, format_args!("{line}\n"));
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("writing to a String does not fail");
}
