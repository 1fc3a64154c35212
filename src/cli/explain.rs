//! `tickerd explain`: why does a user get a room, or not?

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::auth::Grants;
use crate::base::ident;
use crate::config::{self, ServeArgs, Surroundings};
use crate::daemon;
use crate::net::clock::Clock;

use super::{Failure, emit, http, token};

/// Why does a user get a room, or not? Asks the running daemon on its admin listener. With `--token-file` a token's patterns are looked at too: it is
/// checked with the keys of `--config`, or of `--jwt-key`, here; the daemon need not run for that. Its verdict, in the last lines, is of what the daemon knows,
/// which is not that token: read both. The daemon is asked at `--admin`, whatever the configuration says
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The user, as its token names it; if left out, the one of the token
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The room
    #[arg(long, value_name = "ROOM")]
    room: String,
    /// The daemon's admin listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100")]
    admin: SocketAddr,
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
pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let mut text = String::new();
    let grants = args.token_file.as_deref().map(|file| of_token(args, file, &mut text)).transpose()?.flatten();
    let user = match (&args.user, &grants) {
        (Some(user), Some(grants)) if **user != *grants.user => {
            return Err(Failure::Usage(format!("--user {user} is not whom the token names, {}: give one of the two", grants.user)));
        }
        (Some(user), _) => user.clone(),
        (None, Some(grants)) => grants.user.to_string(),
        (None, None) if args.token_file.is_some() => return emit(&mut io::stdout(), text.as_bytes()),
        (None, None) => return Err(Failure::Usage("give --user, or --token-file".to_owned())),
    };
    let path = format!("/v1/explain?user={}&room={}", ident::encode_segment(&user), ident::encode_segment(&args.room));
    match http::get(args.admin, &path) {
        Ok(answer) if answer.status == 200 && args.json => text = String::from_utf8_lossy(&answer.body).into_owned() + "\n",
        Ok(answer) if answer.status == 200 => tell(&serde_json::from_slice(&answer.body).unwrap_or_default(), &mut text),
        Ok(answer) => {
            return Err(Failure::Failed(format!("the daemon at {} says: {}", args.admin, String::from_utf8_lossy(&answer.body).trim())));
        }
        Err(error) if args.token_file.is_some() => put(&mut text, format_args!("the daemon at {} is not asked: {error}", args.admin)),
        Err(error) => {
            let message = format!("cannot ask {}: {error}; is the daemon running, and is that its --admin-listen?", args.admin);
            return Err(Failure::Failed(message));
        }
    }
    emit(&mut io::stdout(), text.as_bytes())
}

/// What the token says by itself.
fn of_token(args: &ExplainArgs, file: &Path, text: &mut String) -> Result<Option<Grants>, Failure> {
    let loaded = config::load(&args.serve, &Surroundings::of_process())?;
    let read = daemon::load(&loaded.config)?;
    let token = token(Some(file))?.unwrap_or_default();
    Ok(match read.verify(&token, Clock::start().now().wall_ms) {
        Err(error) => {
            put(text, format_args!("token          no       it is refused: {}", error.refusal().message));
            None
        }
        Ok(grants) => {
            put(text, format_args!("token          yes      it is good, and names the user {}", grants.user));
            let ruling = if grants.may_read(&args.room) {
                "yes      its patterns allow the room"
            } else {
                "no       no pattern of it matches the room"
            };
            put(text, format_args!("token_pattern  {ruling}"));
            Some(grants)
        }
    })
}

fn tell(answer: &Value, text: &mut String) {
    let string = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    put(text, format_args!("{}: {}", string(&answer["verdict"]), string(&answer["because"])));
    rules(&answer["rules"], "", text);
    for connection in answer["connections"].as_array().into_iter().flatten() {
        let about = &connection["connection"];
        put(text, format_args!("connection {} from {}:", string(&about["session"]), string(&about["ip"])));
        rules(&connection["rules"], "  ", text);
    }
    match &answer["room_now"] {
        Value::Null => put(text, format_args!("there is no such room at present")),
        room => put(text, format_args!("the room at present: {room}")),
    }
    for refusal in answer["refusals"].as_array().into_iter().flatten() {
        put(text, format_args!("audit trail: {refusal}"));
    }
}

fn rules(rules: &Value, indent: &str, text: &mut String) {
    for rule in rules.as_array().into_iter().flatten() {
        let part = |name: &str| rule[name].as_str().unwrap_or("-");
        put(text, format_args!("{indent}{:<20} {:<8} {}", part("rule"), part("ruling"), part("why")));
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}
