//! Connections to Redis that know the scripts and have said which epochs they know: one, or in a cluster one to each server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::{
    ClientTlsConfig, Cmd, Connection, ConnectionAddr, ConnectionLike, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates, Value,
};

use crate::hub::journal::Epoch;
use crate::hub::store::{EPOCHS_PER_SHARD, SHARDS, Shard};

use super::calls;
use super::layout::{CONTACTS, Keys, REVOCATIONS_SHARD};
use super::topology::{Place, Slots, like};

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

/// What a server wants to see, and what we want to see of it.
#[derive(Clone, Default)]
pub struct Access {
    /// The password.
    pub password: Option<String>,
    /// With TLS: who must have signed the server's certificate, in PEM; none: whom this machine trusts.
    pub ca: Option<Vec<u8>>,
    /// With TLS: our certificate and its key, in PEM.
    pub identity: Option<Vec<u8>>,
    /// How many replicas must have what is written before it is safe.
    pub replicas: u32,
}

/// Where Redis is, and what is known of its epochs.
pub struct Server {
    place: Place,
    settings: RedisConnectionInfo,
    certificates: TlsCertificates,
    /// How many replicas must have what is written.
    pub(super) replicas: u32,
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
    /// What Redis does when its memory is full, if it then throws away what it has.
    pub evicts: Option<String>,
}

/// See the module.
pub(super) struct Client {
    /// One to each server that has shards of this client.
    connections: Vec<Connection>,
    /// By shard: which of them leads to it.
    at: BTreeMap<u16, usize>,
    append_sha: String,
    room_sha: String,
    /// By shard: its epochs when the connection was made, and its feed's last place.
    pub(super) welcome: BTreeMap<u16, (Vec<Epoch>, u64)>,
}

impl Server {
    /// The servers at that URL, `redis://`, `redis+sentinel://` or `redis+cluster://`, for the node of that name.
    pub fn new(url: &str, access: Access, node: u64) -> Result<Server, Failure> {
        let (place, mut settings) = Place::read(url)?;
        if let Some(password) = access.password {
            settings = settings.set_password(password);
        }
        let client_tls = access.identity.map(|pem| ClientTlsConfig { client_cert: pem.clone(), client_key: pem });
        let certificates = TlsCertificates { client_tls, root_cert: access.ca };
        let server = Server {
            place,
            settings,
            certificates,
            replicas: access.replicas,
            node,
            epochs: [const { AtomicU32::new(0) }; SHARDS as usize],
        };
        // What is wrong with the certificates is told now.
        server.client(server.place.any(), server.settings.clone())?;
        Ok(server)
    }

    /// Whether keys are on several servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster { .. })
    }

    /// Parts of the shards that are read together: in a cluster each by itself, for it may be on any server.
    pub fn parts(&self) -> Vec<Vec<u16>> {
        if self.is_cluster() { (0..SHARDS).map(|shard| vec![shard]).collect() } else { vec![(0..SHARDS).collect()] }
    }

    /// Where these keys are written, one for each.
    fn masters<K: AsRef<str>>(&self, keys: &[K]) -> Result<Vec<ConnectionAddr>, Failure> {
        let (known, what, find): (_, _, &dyn Fn(&ConnectionAddr) -> _) = match &self.place {
            Place::Known(addr) => return Ok(vec![addr.clone(); keys.len()]),
            Place::Asked { sentinels, master } => (sentinels, format!("no sentinel knows where `{master}` is"), &|sentinel| {
                Ok(vec![self.ask_sentinel(sentinel, master)?; keys.len()])
            }),
            Place::Cluster { seeds } => (seeds, "no server of the cluster can be asked".to_owned(), &|seed| {
                let slots = Slots::read(seed, &ask(&mut self.open(seed, &self.settings)?, &[Slots::ask()])?[0])?;
                keys.iter().map(|key| slots.master_of(key.as_ref()).cloned()).collect()
            }),
        };
        let mut failure = Failure("there is none".to_owned());
        for server in known {
            match find(server) {
                Ok(masters) => return Ok(masters),
                Err(why) => failure = why,
            }
        }
        Err(Failure(format!("{what}: {failure}")))
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
        Ok(like(sentinel, host, port))
    }

    /// Connects, for what is not the nodes' own: to where that key is.
    pub(super) fn plain(&self, key: &str) -> Result<Connection, Failure> {
        self.open(&self.masters(&[key])?[0], &self.settings)
    }

    /// Connects to where all shards are.
    pub(super) fn connect_all(&self) -> Result<Client, Failure> {
        self.connect(&(0..SHARDS).collect::<Vec<_>>())
    }

    /// Connects to where these shards are. The epochs that this may begin have random names.
    pub(super) fn connect(&self, shards: &[u16]) -> Result<Client, Failure> {
        let keys: Vec<String> = shards.iter().map(|shard| Keys::new(*shard).meta()).collect();
        let (mut addrs, mut at): (Vec<ConnectionAddr>, _) = (Vec::new(), BTreeMap::new());
        for (shard, addr) in shards.iter().zip(self.masters(&keys)?) {
            let known = addrs.iter().position(|known| *known == addr);
            at.insert(*shard, known.unwrap_or(addrs.len()));
            if known.is_none() {
                addrs.push(addr);
            }
        }
        let random = getrandom::u64().map_err(|error| Failure(format!("the system has no random numbers: {error}")))?;
        let mut client =
            Client { connections: Vec::new(), at, append_sha: String::new(), room_sha: String::new(), welcome: BTreeMap::new() };
        for (number, addr) in addrs.iter().enumerate() {
            let own: Vec<u16> = shards.iter().copied().filter(|shard| client.at[shard] == number).collect();
            self.greet(&mut client, addr, &own, random).map_err(|Failure(why)| Failure(format!("{addr}: {why}")))?;
        }
        Ok(client)
    }

    /// Connects to one server, and hears of the shards that it has.
    fn greet(&self, client: &mut Client, addr: &ConnectionAddr, shards: &[u16], random: u64) -> Result<(), Failure> {
        let mut connection = self.open(addr, &self.settings)?;
        let loads = [calls::HELLO, calls::APPEND, calls::ROOM].map(|script| redis::cmd("SCRIPT").arg("LOAD").arg(script).clone());
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let asked = ask(&mut connection, &[&loads[..], &[info, redis::cmd("ROLE")]].concat())?;
        let [hello, append, room, info, role] = &asked[..] else { return Err(nonsense()) };
        if calls::array(role).and_then(<[_]>::first).and_then(calls::text) != Some("master") {
            return Err(Failure("it is a replica: give the master, or its sentinels".to_owned()));
        }
        let (hello, run) = (text(hello)?, run_id(text(info)?)?);
        let hellos: Vec<Cmd> = shards.iter().map(|shard| self.hello(hello, *shard, run, random)).collect();
        for (shard, answer) in shards.iter().zip(&ask(&mut connection, &hellos)?) {
            let (epochs, place) = calls::welcomed(*shard, answer).ok_or_else(nonsense)?;
            let newest = epochs.last().map_or(0, |epoch| epoch.number % EPOCHS_PER_SHARD);
            self.epochs[usize::from(*shard)].fetch_max(newest, Ordering::Relaxed);
            client.welcome.insert(*shard, (epochs, place));
        }
        (client.append_sha, client.room_sha) = (text(append)?.to_owned(), text(room)?.to_owned());
        client.connections.push(connection);
        Ok(())
    }

    fn hello(&self, sha: &str, shard: u16, run: &str, random: u64) -> Cmd {
        let least = self.epochs[usize::from(shard)].load(Ordering::Relaxed) + 1;
        let name = format!("{:016x}", random.wrapping_add(u64::from(shard).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        calls::hello(sha, &Keys::new(shard), run, &name, least)
    }

    /// Reads all that the nodes share, for one that begins.
    pub fn read_all(&self) -> Result<Begin, Failure> {
        let mut client = self.connect_all()?;
        let answers = client.ask(REVOCATIONS_SHARD, &[calls::revocations()])?;
        let (revocations, revoked) = calls::revoked(&answers[0]).ok_or_else(nonsense)?;
        let revocations = revocations.into_iter().map(str::to_owned).collect();
        let revoked = revoked.unwrap_or("0-0").to_owned();
        let evicts = evicts(text(&client.ask(REVOCATIONS_SHARD, &[redis::cmd("INFO").arg("memory").clone()])?[0])?);
        let shards = (0..SHARDS).map(|shard| client.shard(shard)).collect::<Result<Vec<_>, _>>()?;
        Ok(Begin { shards, revocations, revoked, evicts })
    }

    /// How many connections a user has on all nodes, polls not among them.
    pub fn connections_of(&self, user: &str) -> Result<u64, Failure> {
        let mut connection = self.plain(CONTACTS)?;
        let answers = ask(&mut connection, &[calls::contacts()])?;
        let contacts = calls::array(&answers[0]).ok_or_else(nonsense)?;
        let cmds: Vec<Cmd> = contacts.iter().filter_map(calls::text).map(|contact| calls::connections(contact, user)).collect();
        let said = ask(&mut connection, &cmds)?;
        Ok(said.iter().filter_map(calls::text).filter_map(|count| count.parse::<u64>().ok()).sum())
    }

    /// Gives a revocation, as JSON, to all nodes, this one among them.
    pub fn revoke(&self, json: &str) -> Result<(), Failure> {
        self.connect(&[REVOCATIONS_SHARD])?.ask(REVOCATIONS_SHARD, &[calls::revoke(json)]).map(drop)
    }
}

impl Client {
    /// Asks several things about one shard in one round trip.
    pub(super) fn ask(&mut self, shard: u16, cmds: &[Cmd]) -> Result<Vec<Value>, Failure> {
        ask(&mut self.connections[self.at[&shard]], cmds)
    }

    /// Asks several things, each about a shard, in one round trip to each server, all at once. After a failure the client is of no use.
    pub(super) fn ask_each(&mut self, cmds: &[(u16, Cmd)]) -> Result<Vec<Value>, Failure> {
        let mut calls = vec![Vec::new(); self.connections.len()];
        for (shard, cmd) in cmds {
            calls[self.at[shard]].extend_from_slice(&cmd.get_packed_command());
        }
        for (connection, bytes) in self.connections.iter_mut().zip(&calls).filter(|(_, bytes)| !bytes.is_empty()) {
            connection.send_packed_command(bytes)?;
        }
        // Each server answers in the order in which it was asked.
        let answers = cmds.iter().map(|(shard, _)| self.connections[self.at[shard]].recv_response()).collect::<Result<Vec<_>, _>>()?;
        no_error(&answers)?;
        Ok(answers)
    }

    pub(super) fn append_sha(&self) -> &str {
        &self.append_sha
    }

    /// Reads a shard. Its epochs are those of the welcome.
    pub(super) fn shard(&mut self, number: u16) -> Result<Shard, Failure> {
        let keys = Keys::new(number);
        let mut feed = redis::cmd("HGET");
        feed.arg(keys.meta()).arg("feed");
        let place = text(&self.ask(number, &[feed])?[0])?.parse().map_err(|_| nonsense())?;
        let names = self.names(number)?;
        let mut rooms = Vec::new();
        for names in names.chunks(ROOMS_PER_READ) {
            let cmds: Vec<Cmd> = names.iter().map(|name| calls::room(&self.room_sha, &keys, name)).collect();
            for (name, answer) in names.iter().zip(&self.ask(number, &cmds)?) {
                rooms.push(calls::known_room(number, name, answer).ok_or_else(nonsense)?);
            }
        }
        Ok(Shard { number, epochs: self.welcome[&number].0.clone(), place, rooms })
    }

    fn names(&mut self, shard: u16) -> Result<Vec<String>, Failure> {
        let (rooms, mut names, mut cursor) = (Keys::new(shard).rooms(), Vec::new(), "0".to_owned());
        loop {
            let mut scan = redis::cmd("SSCAN");
            scan.arg(&rooms).arg(&cursor).arg("COUNT").arg(NAMES_PER_SCAN);
            let answers = self.ask(shard, &[scan])?;
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
    no_error(&answers)?;
    if answers.len() == cmds.len() { Ok(answers) } else { Err(nonsense()) }
}

fn no_error(answers: &[Value]) -> Result<(), Failure> {
    let error = answers.iter().find_map(|answer| if let Value::ServerError(error) = answer { Some(error) } else { None });
    error.map_or(Ok(()), |error| Err(Failure(format!("{} {}", error.code(), error.details().unwrap_or_default()))))
}

fn evicts(info: &str) -> Option<String> {
    let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim);
    policy.filter(|policy| *policy != "noeviction").map(str::to_owned)
}

pub(super) fn run_id(info: &str) -> Result<&str, Failure> {
    info.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::trim).ok_or_else(nonsense)
}

pub(super) fn text(value: &Value) -> Result<&str, Failure> {
    match value {
        Value::VerbatimString { text, .. } => Ok(text),
        other => calls::text(other).ok_or_else(nonsense),
    }
}

pub(super) fn nonsense() -> Failure {
    Failure("an answer that is none of ours: is this Redis used by others under the same keys?".to_owned())
}
