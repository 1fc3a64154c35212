//! A connection to Redis that knows the scripts and has said which epochs it knows.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::{
    ClientTlsConfig, Cmd, Connection, ConnectionAddr, ConnectionLike, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates, Value,
};

use crate::hub::journal::Epoch;
use crate::hub::store::{EPOCHS_PER_SHARD, SHARDS, Shard};

use super::calls;
use super::layout::Keys;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Names of rooms asked for at a time.
const NAMES_PER_SCAN: usize = 1000;
/// Rooms read in one round trip.
const ROOMS_PER_READ: usize = 100;

/// Why Redis was not asked, or gave no answer of use.
#[derive(Clone, Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<redis::RedisError> for Failure {
    fn from(error: redis::RedisError) -> Failure {
        if error.is_timeout() {
            let (connect, answer) = (CONNECT_TIMEOUT.as_millis(), ANSWER_TIMEOUT.as_millis());
            return Failure(format!(
                "no answer in time ({connect} ms for a connection, {answer} ms for a command): it hangs, or is stopped, or something between swallows what is sent"
            ));
        }
        Failure(error.to_string())
    }
}

/// What a URL begins with that names sentinels, without TLS and with it, and what an address of the same kind does.
const SENTINELS: [(&str, &str); 2] = [("redis+sentinel://", "redis://"), ("rediss+sentinel://", "rediss://")];

/// What a server wants to see, and what we want to see of it.
#[derive(Clone, Default)]
pub struct Access {
    /// The password.
    pub password: Option<String>,
    /// With TLS: who must have signed the server's certificate, in PEM; none: whom this machine trusts.
    pub ca: Option<Vec<u8>>,
    /// With TLS: our certificate and its key, in PEM.
    pub identity: Option<Vec<u8>>,
}

enum Place {
    Known(ConnectionAddr),
    /// These know where the master of that name is.
    Asked {
        sentinels: Vec<ConnectionAddr>,
        master: String,
    },
}

/// Where Redis is, and what is known of its epochs.
pub struct Server {
    place: Place,
    settings: RedisConnectionInfo,
    certificates: TlsCertificates,
    /// Names this node's start.
    pub(super) node: u64,
    /// The newest epoch of each shard that any connection has seen, in the shard's own count.
    epochs: [AtomicU32; SHARDS as usize],
}

/// With what a node begins.
pub struct Begin {
    /// All shards.
    pub shards: Vec<Shard>,
    /// All revocations, as JSON.
    pub revocations: Vec<String>,
    /// The id of the last of them.
    pub revoked: String,
}

/// See the module.
pub(super) struct Client {
    connection: Connection,
    append_sha: String,
    room_sha: String,
    /// By shard: its epochs when the connection was made, and its feed's last place.
    pub(super) welcome: Vec<(Vec<Epoch>, u64)>,
}

impl Server {
    /// The server at that URL, for the node of that name: `redis://HOST:PORT/DB`, or `redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB`; with TLS,
    /// `rediss`.
    pub fn new(url: &str, access: Access, node: u64) -> Result<Server, Failure> {
        let sentinels = SENTINELS.iter().find_map(|(scheme, plain)| Some((url.strip_prefix(scheme)?, plain)));
        let (place, mut settings) = match sentinels {
            None => {
                let info = url.into_connection_info()?;
                (Place::Known(info.addr().clone()), info.redis_settings().clone())
            }
            Some((rest, scheme)) => {
                let mut parts = rest.splitn(3, '/');
                let (hosts, master) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_owned());
                // As for one server, but for the host.
                let info = format!("{scheme}sentinel/{}", parts.next().unwrap_or_default()).into_connection_info()?;
                let sentinel = |host: &str| Ok(format!("{scheme}{host}").into_connection_info()?.addr().clone());
                let sentinels = hosts.split(',').map(sentinel).collect::<Result<Vec<_>, Failure>>()?;
                (Place::Asked { sentinels, master }, info.redis_settings().clone())
            }
        };
        if let Some(password) = access.password {
            settings = settings.set_password(password);
        }
        let client_tls = access.identity.map(|pem| ClientTlsConfig { client_cert: pem.clone(), client_key: pem });
        let certificates = TlsCertificates { client_tls, root_cert: access.ca };
        let server = Server { place, settings, certificates, node, epochs: [const { AtomicU32::new(0) }; SHARDS as usize] };
        // What is wrong with the certificates is told now.
        match &server.place {
            Place::Known(addr) => server.client(addr, server.settings.clone())?,
            Place::Asked { sentinels, .. } => server.client(&sentinels[0], server.settings.clone())?,
        };
        Ok(server)
    }

    /// Where the master is.
    fn master(&self) -> Result<ConnectionAddr, Failure> {
        let (sentinels, master) = match &self.place {
            Place::Known(addr) => return Ok(addr.clone()),
            Place::Asked { sentinels, master } => (sentinels, master),
        };
        let mut failure = Failure("there are no sentinels".to_owned());
        for sentinel in sentinels {
            match self.ask_sentinel(sentinel, master) {
                Ok(addr) => return Ok(addr),
                Err(why) => failure = why,
            }
        }
        Err(Failure(format!("no sentinel knows where `{master}` is: {failure}")))
    }

    fn client(&self, addr: &ConnectionAddr, settings: RedisConnectionInfo) -> Result<redis::Client, Failure> {
        let info = addr.clone().into_connection_info()?.set_redis_settings(settings);
        Ok(match addr {
            ConnectionAddr::TcpTls { .. } => redis::Client::build_with_tls(info, self.certificates.clone())?,
            _ => redis::Client::open(info)?,
        })
    }

    fn open(&self, addr: &ConnectionAddr, settings: &RedisConnectionInfo) -> Result<Connection, Failure> {
        let connection = self.client(addr, settings.clone())?.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        connection.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(connection)
    }

    fn ask_sentinel(&self, sentinel: &ConnectionAddr, master: &str) -> Result<ConnectionAddr, Failure> {
        let mut connection = self.open(sentinel, &RedisConnectionInfo::default())?;
        let mut cmd = redis::cmd("SENTINEL");
        cmd.arg("get-master-addr-by-name").arg(master);
        let answers = ask(&mut connection, &[cmd])?;
        let unknown = || Failure(format!("{sentinel} does not know `{master}`"));
        let Some([host, port]) = calls::array(&answers[0]) else { return Err(unknown()) };
        let (host, port) = (text(host)?.to_owned(), text(port)?.parse().map_err(|_| unknown())?);
        Ok(match sentinel {
            ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            _ => ConnectionAddr::Tcp(host, port),
        })
    }

    /// Connects, for what is not the nodes' own.
    pub(super) fn plain(&self) -> Result<Connection, Failure> {
        self.open(&self.master()?, &self.settings)
    }

    /// Connects. The epoch that this may begin has a random name.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        let mut connection = self.open(&self.master()?, &self.settings)?;
        let loads = [calls::HELLO, calls::APPEND, calls::ROOM].map(|script| redis::cmd("SCRIPT").arg("LOAD").arg(script).clone());
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let asked = ask(&mut connection, &[&loads[..], &[info, redis::cmd("ROLE")]].concat())?;
        let [hello, append, room, info, role] = &asked[..] else { return Err(nonsense()) };
        if calls::array(role).and_then(<[_]>::first).and_then(calls::text) != Some("master") {
            return Err(Failure("it is a replica: give the master, or its sentinels".to_owned()));
        }
        let (hello, run) = (text(hello)?, run_id(text(info)?)?);
        let random = getrandom::u64().map_err(|error| Failure(format!("the system has no random numbers: {error}")))?;
        let hellos: Vec<Cmd> = (0..SHARDS).map(|shard| self.hello(hello, shard, run, random)).collect();
        let answers = ask(&mut connection, &hellos)?;
        let welcome = (0..SHARDS).zip(&answers).map(|(shard, answer)| calls::welcomed(shard, answer)).collect::<Option<Vec<_>>>();
        let client = Client {
            append_sha: text(append)?.to_owned(),
            room_sha: text(room)?.to_owned(),
            welcome: welcome.ok_or_else(nonsense)?,
            connection,
        };
        for (known, (epochs, _)) in self.epochs.iter().zip(&client.welcome) {
            known.fetch_max(epochs.last().map_or(0, |epoch| epoch.number % EPOCHS_PER_SHARD), Ordering::Relaxed);
        }
        Ok(client)
    }

    fn hello(&self, sha: &str, shard: u16, run: &str, random: u64) -> Cmd {
        let least = self.epochs[usize::from(shard)].load(Ordering::Relaxed) + 1;
        let name = format!("{:016x}", random.wrapping_add(u64::from(shard).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        calls::hello(sha, &Keys::new(shard), run, &name, least)
    }

    /// Reads all that the nodes share, for one that begins.
    pub fn read_all(&self) -> Result<Begin, Failure> {
        let mut client = self.connect()?;
        let answers = client.ask(&[calls::revocations()])?;
        let (revocations, revoked) = calls::revoked(&answers[0]).ok_or_else(nonsense)?;
        let revocations = revocations.into_iter().map(str::to_owned).collect();
        let revoked = revoked.unwrap_or("0-0").to_owned();
        let shards = (0..SHARDS).map(|shard| client.shard(shard)).collect::<Result<Vec<_>, _>>()?;
        Ok(Begin { shards, revocations, revoked })
    }

    /// Gives a revocation, as JSON, to all nodes, this one among them.
    pub fn revoke(&self, json: &str) -> Result<(), Failure> {
        self.connect()?.ask(&[calls::revoke(json)]).map(drop)
    }
}

impl Client {
    /// Asks several things in one round trip.
    pub(super) fn ask(&mut self, cmds: &[Cmd]) -> Result<Vec<Value>, Failure> {
        ask(&mut self.connection, cmds)
    }

    pub(super) fn append_sha(&self) -> &str {
        &self.append_sha
    }

    /// Reads a shard. Its epochs are those of the welcome.
    pub(super) fn shard(&mut self, number: u16) -> Result<Shard, Failure> {
        let keys = Keys::new(number);
        let mut feed = redis::cmd("HGET");
        feed.arg(keys.meta()).arg("feed");
        let place = text(&self.ask(&[feed])?[0])?.parse().map_err(|_| nonsense())?;
        let names = self.names(&keys)?;
        let mut rooms = Vec::new();
        for names in names.chunks(ROOMS_PER_READ) {
            let cmds: Vec<Cmd> = names.iter().map(|name| calls::room(&self.room_sha, &keys, name)).collect();
            for (name, answer) in names.iter().zip(&self.ask(&cmds)?) {
                rooms.push(calls::known_room(number, name, answer).ok_or_else(nonsense)?);
            }
        }
        Ok(Shard { number, epochs: self.welcome[usize::from(number)].0.clone(), place, rooms })
    }

    fn names(&mut self, keys: &Keys) -> Result<Vec<String>, Failure> {
        let (mut names, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let mut scan = redis::cmd("SSCAN");
            scan.arg(keys.rooms()).arg(&cursor).arg("COUNT").arg(NAMES_PER_SCAN);
            let answers = self.ask(&[scan])?;
            let Some([next, found]) = calls::array(&answers[0]) else { return Err(nonsense()) };
            for name in calls::array(found).ok_or_else(nonsense)? {
                names.push(text(name)?.to_owned());
            }
            text(next)?.clone_into(&mut cursor);
            if cursor == "0" {
                names.sort_unstable();
                names.dedup(); // a scan may tell a name twice
                return Ok(names);
            }
        }
    }
}

/// Asks several things in one round trip. An error among the answers is a failure of all.
pub(super) fn ask(connection: &mut Connection, cmds: &[Cmd]) -> Result<Vec<Value>, Failure> {
    if cmds.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    for cmd in cmds {
        bytes.extend_from_slice(&cmd.get_packed_command());
    }
    let answers = connection.req_packed_commands(&bytes, 0, cmds.len())?;
    if let Some(error) = answers.iter().find_map(|answer| if let Value::ServerError(error) = answer { Some(error) } else { None }) {
        return Err(Failure(format!("{} {}", error.code(), error.details().unwrap_or_default())));
    }
    if answers.len() == cmds.len() { Ok(answers) } else { Err(nonsense()) }
}

fn run_id(info: &str) -> Result<&str, Failure> {
    info.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::trim).ok_or_else(nonsense)
}

fn text(value: &Value) -> Result<&str, Failure> {
    match value {
        Value::VerbatimString { text, .. } => Ok(text),
        other => calls::text(other).ok_or_else(nonsense),
    }
}

pub(super) fn nonsense() -> Failure {
    Failure("an answer that is none of ours: is this Redis used by others under the same keys?".to_owned())
}
