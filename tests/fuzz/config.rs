//! Configuration: a file, variables and flags, in one input.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use clap::{Args, Command, FromArgMatches};
use tickerd::config::{Config, ConfigError, Loaded, Origin, ServeArgs, Surroundings, load};

/// The parts are parted by a NUL: the file, the variables, the flags, a line each.
pub(crate) const CONFIGURATIONS: &[&[u8]] = &[
    b"listen = [\"127.0.0.1:0\", \"[::1]:8080\"]\nreactors = 2\njwt_key = [\"/k/a\"]\nupdate_window = \"30ms\"\nmax_queue_bytes = \"1MiB\"\n\
      behind_proxy = [\"10.0.0.0/8\"]\nclient_address = \"forwarded\"\norigin = [\"https://a.example\"]\nquery_token = true\n",
    b"[[catalog]]\ntype = \"a.b\"\nroom = \"a:{a_id}\"\nlane = \"alert\"\nmode = \"stream\"\n\n[[issuer]]\niss = \"https://i\"\n\
      key = [\"/k\"]\naud = \"a\"\nuser_claim = [\"uid\"]\nrequired_claim = [\"x\"]\n\0TICKERD_JWT_KEY=/k/b",
    b"tls_cert = [\"/t/a\"]\ntls_key = '/t/b' # a comment\npublish_socket = \"/run/c\"\npublish_socket_mode = \"0o640\"\n\0\
      TICKERD_HEARTBEAT=5s\nTICKERD_LOG=json\n\0--jwt-key=/k\n--history=0\n--slow-timeout\n1500ms\n--pin-cores",
    b"\0TICKERD_AUTHORIZER_URL=https://b:1/x\nTICKERD_AUTHORIZER_TTL=0\nTICKERD_NONSENSE=1\n\0--jwt-key=/k\n--listen=0.0.0.0:1\n--no-compression",
];

static COMMAND: LazyLock<Command> = LazyLock::new(|| ServeArgs::augment_args(Command::new("serve")).no_binary_name(true));

/// What is refused is refused with a key, a place that there is, and a reason; what is taken is shown as a file that means the same.
pub(crate) fn config(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let [file, variables, flags] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let variables = lines(variables).filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned()));
    // Files of this machine are no input, and `--conformance-echo` is nothing that a file can say.
    let flags: Vec<&str> = lines(flags).filter(|flag| !flag.starts_with("--con")).collect();
    match load_with(&flags, variables.collect(), file) {
        Some(Ok(loaded)) => {
            let shown = loaded.show();
            let again = load_with(&[], BTreeMap::new(), shown.as_bytes()).expect("no flag is no fault").expect("what is shown is sound");
            assert_eq!(without_origins(again.config), without_origins(loaded.config), "{shown}");
        }
        Some(Err(refused)) => check_problems(&refused, file),
        None => {}
    }
}

/// None: the flags are none of the daemon's.
fn load_with(flags: &[&str], mut variables: BTreeMap<String, String>, file: &[u8]) -> Option<Result<Loaded, ConfigError>> {
    let args = if flags.is_empty() {
        ServeArgs::default() // as it would be, and much sooner
    } else {
        ServeArgs::from_arg_matches(&COMMAND.clone().try_get_matches_from(flags).ok()?).expect("what matched are its flags")
    };
    let thread = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("tickerd-fuzz-{}-{thread:?}.toml", std::process::id()));
    fs::write(&path, file).expect("the directory for temporary files can be written");
    variables.insert("TICKERD_CONFIG".to_owned(), path.display().to_string());
    let loaded = load(&args, &Surroundings { variables, cores: 2, descriptors_max: None });
    fs::remove_file(path).expect("it was written");
    Some(loaded)
}

fn without_origins(mut config: Config) -> Config {
    config.catalog.iter_mut().for_each(|entry| entry.origin = Origin::Default);
    config.issuers.iter_mut().for_each(|entry| entry.origin = Origin::Default);
    config
}

fn check_problems(refused: &ConfigError, file: &[u8]) {
    let lines = file.split(|byte| *byte == b'\n').count();
    assert!(!refused.problems.is_empty());
    for problem in &refused.problems {
        assert!(!problem.key.is_empty() && !problem.message.is_empty(), "{problem:?}");
        if let Origin::File { line, .. } = problem.origin {
            assert!((1..=lines).contains(&line), "{problem:?}");
        }
    }
}

fn lines(part: &[u8]) -> impl Iterator<Item = &str> {
    std::str::from_utf8(part).unwrap_or_default().lines().filter(|line| !line.is_empty())
}
