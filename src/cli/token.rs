//! `tickerd token`: mints a JWT, or a secret to sign with.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::auth::{MintClaims, Scope, SigningKey, encode_base64url, mint};
use crate::base::units::parse_duration;
use crate::net::clock::Clock;

use super::{Failure, emit};

const SECRET_BYTES: usize = 32;
const TOKEN_ID_BYTES: usize = 16;

/// Mint a JWT that `tickerd serve` accepts, or make a secret to sign with
#[derive(Args, Clone, Debug)]
pub(super) struct TokenArgs {
    /// Raw HMAC secret, or private key in PEM (RSA, P-256 or Ed25519); told by its content
    #[arg(long, value_name = "FILE", required_unless_present = "generate_key")]
    pub key: Option<PathBuf>,
    /// The user
    #[arg(long, value_name = "USER", required_unless_present = "generate_key")]
    pub sub: Option<String>,
    /// Room, or pattern with `*` last, that the token may read; repeatable. `user:{sub}` is always one's own
    #[arg(long = "room", value_name = "PATTERN")]
    pub rooms: Vec<String>,
    /// `publish`, `broadcast` or `admin`; repeatable, or several separated by spaces
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
    /// Room, or pattern with `*` last, that the token may publish to; repeatable. Default: all
    #[arg(long = "publish-room", value_name = "PATTERN")]
    pub publish_rooms: Vec<String>,
    /// How long the token counts
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub ttl: Duration,
    /// The claim `iss`, if the server asks for one
    #[arg(long, value_name = "ISSUER")]
    pub iss: Option<String>,
    /// The claim `aud`, if the server asks for one
    #[arg(long, value_name = "AUDIENCE")]
    pub aud: Option<String>,
    /// The `kid` of the key in the server's JWKS
    #[arg(long, value_name = "KID")]
    pub kid: Option<String>,
    /// Make a new random secret in FILE (mode 0600, never overwritten) instead of a token
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "sub", "rooms", "scopes", "publish_rooms", "ttl", "iss", "aud", "kid"])]
    pub generate_key: Option<PathBuf>,
}

/// Prints a token on stdout, or makes a secret.
pub(super) fn run(args: &TokenArgs) -> Result<(), Failure> {
    if let Some(path) = &args.generate_key {
        return generate_key(path).map_err(Failure::Failed);
    }
    let token = make_token(args, Clock::start().now().wall_ms / 1000).map_err(Failure::Failed)?;
    emit(&mut io::stdout(), format!("{token}\n").as_bytes())
}

fn make_token(args: &TokenArgs, now_s: u64) -> Result<String, String> {
    let (Some(path), Some(sub)) = (&args.key, &args.sub) else {
        return Err("give --key FILE and --sub USER, or --generate-key FILE".to_owned());
    };
    if args.ttl < Duration::from_secs(1) {
        return Err("--ttl is under a second: tokens count in whole seconds, give at least `1s`".to_owned());
    }
    let claims = MintClaims {
        sub: sub.clone(),
        rooms: args.rooms.clone(),
        publish_rooms: (!args.publish_rooms.is_empty()).then(|| args.publish_rooms.clone()),
        scopes: parse_scopes(&args.scopes)?,
        issued_at_s: now_s,
        expires_at_s: now_s.saturating_add(args.ttl.as_secs()),
        issuer: args.iss.clone(),
        audience: args.aud.clone(),
        token_id: Some(random_text::<TOKEN_ID_BYTES>()?),
    };
    let key = read_key(path)?.with_kid(args.kid.clone());
    mint(&key, &claims).map_err(|error| error.to_string())
}

fn read_key(path: &Path) -> Result<SigningKey, String> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| format!("cannot read the key {name}: {error}"))?;
    SigningKey::read(&name, &bytes).map_err(|error| error.to_string())
}

fn parse_scopes(words: &[String]) -> Result<Vec<Scope>, String> {
    let mut scopes = Vec::new();
    for word in words.iter().flat_map(|words| words.split_whitespace()) {
        let scope = Scope::from_name(word).ok_or_else(|| format!("--scope {word:?} is unknown: give publish, broadcast or admin"))?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

fn generate_key(path: &Path) -> Result<(), String> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{} is there already; a key is never overwritten, name another file", path.display()),
        _ => format!("cannot write the key {}: {error}", path.display()),
    };
    let secret = random_text::<SECRET_BYTES>()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(cannot)?;
    file.write_all(format!("{secret}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(cannot)
}

/// So many random bytes, in base64url.
pub(super) fn random_text<const BYTES: usize>() -> Result<String, String> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(encode_base64url(&bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;
    use crate::auth::{KeySet, Verifier, VerifyOptions};

    const NOW_S: u64 = 1_800_000_000;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        token: TokenArgs,
    }

    /// A directory of one test, gone with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            let path = std::env::temp_dir().join(format!("tickerd-token-{}", random_text::<12>().unwrap()));
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn parse(words: &[&str]) -> Result<TokenArgs, clap::Error> {
        Command::try_parse_from(["token"].iter().chain(words)).map(|command| command.token)
    }

    /// AUT-09: a secret is made with a mode that others cannot read, and signs what the daemon accepts.
    #[test]
    fn a_generated_secret_signs_tokens() {
        let scratch = Scratch::new();
        let path = scratch.file("jwt.key");
        let name = path.to_str().unwrap();
        run(&parse(&["--generate-key", name]).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = fs::read(&path).unwrap();
        assert_eq!(secret.len(), 44, "32 bytes in base64url and a newline");

        let words = [
            "--key",
            name,
            "--sub",
            "u1",
            "--room",
            "challenge:*",
            "--room",
            "quote:1",
            "--scope",
            "publish broadcast",
            "--scope",
            "admin",
        ];
        let more = ["--publish-room", "quote:*", "--ttl", "90s", "--iss", "me", "--aud", "tickerd", "--kid", "k"];
        let token = make_token(&parse(&[&words[..], &more].concat()).unwrap(), NOW_S).unwrap();
        let mut keys = KeySet::default();
        keys.add(name, &secret).unwrap();
        let options = VerifyOptions { issuer: Some("me".to_owned()), audience: Some("tickerd".to_owned()), ..VerifyOptions::default() };
        let grants = Verifier::new(keys, options).verify(&token, NOW_S * 1000).unwrap();
        assert_eq!((&*grants.user, grants.expires_at_ms), ("u1", (NOW_S + 90) * 1000));
        assert!(Scope::ALL.into_iter().all(|scope| grants.has(scope)));
        assert!(grants.may_read("challenge:8f") && grants.may_read("quote:1") && !grants.may_read("quote:2"));
        assert!(grants.may_publish("quote:2") && !grants.may_publish("challenge:8f"));
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let scratch = Scratch::new();
        let path = scratch.file("jwt.key");
        fs::write(&path, "mine").unwrap();
        let error = generate_key(&path).unwrap_err();
        assert!(error.contains("never overwritten"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        assert!(generate_key(&scratch.file("no/such/directory")).unwrap_err().contains("cannot write"));
    }

    #[test]
    fn two_secrets_differ() {
        assert_ne!(random_text::<SECRET_BYTES>().unwrap(), random_text::<SECRET_BYTES>().unwrap());
    }

    #[test]
    fn what_cannot_be_is_named() {
        let scratch = Scratch::new();
        let path = scratch.file("jwt.key");
        let name = path.to_str().unwrap();
        let told = |words: &[&str]| make_token(&parse(&[&["--key", name, "--sub", "u1"], words].concat()).unwrap(), NOW_S).unwrap_err();
        assert!(told(&[]).contains("cannot read the key"));
        generate_key(&path).unwrap();
        assert!(told(&["--scope", "publsh"]).contains("\"publsh\" is unknown"));
        assert!(told(&["--room", "a*b"]).contains("\"a*b\" is no room pattern"));
        assert!(told(&["--ttl", "0"]).contains("--ttl"));
        assert!(told(&["--ttl", "100000000h"]).contains("--ttl"));
        assert!(parse(&["--sub", "u1"]).is_err() && parse(&["--key", name]).is_err() && parse(&[]).is_err());
        assert!(parse(&["--generate-key", "f", "--sub", "u1"]).is_err() && parse(&["--generate-key", "f", "--ttl", "1h"]).is_err());
    }
}
