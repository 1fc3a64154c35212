//! Where the servers are: one, the master that sentinels name, or those of a cluster, each of which has a part of the shards.

use redis::{Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, Value};

use super::calls;
use super::client::{Failure, nonsense};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// What a URL begins with that names several servers, and what an address of the same kind begins with: without TLS and with it.
const SENTINELS: [(&str, &str); 2] = [("redis+sentinel://", "redis://"), ("rediss+sentinel://", "rediss://")];
const CLUSTERS: [(&str, &str); 2] = [("redis+cluster://", "redis://"), ("rediss+cluster://", "rediss://")];

/// What a URL says.
pub(super) enum Place {
    /// It is there.
    Known(ConnectionAddr),
    /// These know where the master of that name is.
    Asked { sentinels: Vec<ConnectionAddr>, master: String },
    /// Any of these knows which server has which slots.
    Cluster { seeds: Vec<ConnectionAddr> },
}

impl Place {
    /// Reads `redis://HOST:PORT/DB`, `redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB` or `redis+cluster://HOST:PORT,HOST:PORT`; with TLS, `rediss`.
    pub(super) fn read(url: &str) -> Result<(Place, RedisConnectionInfo), Failure> {
        let after = |schemes: &[(&str, &'static str)]| {
            schemes.iter().find_map(|(scheme, plain)| Some((url.strip_prefix(scheme)?.to_owned(), *plain)))
        };
        if let Some((hosts, scheme)) = after(&CLUSTERS) {
            let hosts = hosts.trim_end_matches('/');
            let info = format!("{scheme}cluster").into_connection_info()?;
            return Ok((Place::Cluster { seeds: addresses(scheme, hosts)? }, info.redis_settings().clone()));
        }
        let Some((rest, scheme)) = after(&SENTINELS) else {
            let info = url.into_connection_info()?;
            return Ok((Place::Known(info.addr().clone()), info.redis_settings().clone()));
        };
        let mut parts = rest.splitn(3, '/');
        let (hosts, master) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default().to_owned());
        // As for one server, but for the host.
        let info = format!("{scheme}sentinel/{}", parts.next().unwrap_or_default()).into_connection_info()?;
        Ok((Place::Asked { sentinels: addresses(scheme, hosts)?, master }, info.redis_settings().clone()))
    }

    /// One of its addresses.
    pub(super) fn any(&self) -> &ConnectionAddr {
        match self {
            Place::Known(addr) => addr,
            Place::Asked { sentinels: all, .. } | Place::Cluster { seeds: all } => &all[0],
        }
    }
}

fn addresses(scheme: &str, hosts: &str) -> Result<Vec<ConnectionAddr>, Failure> {
    hosts.split(',').map(|host| Ok(format!("{scheme}{host}").into_connection_info()?.addr().clone())).collect()
}

/// An address of the same kind as that one.
pub(super) fn like(addr: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match addr {
        ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        _ => ConnectionAddr::Tcp(host, port),
    }
}

/// Which master has which slots, as a server of the cluster tells it.
pub(super) struct Slots(Vec<(u16, u16, ConnectionAddr)>);

impl Slots {
    /// The question.
    pub(super) fn ask() -> Cmd {
        redis::cmd("CLUSTER").arg("SLOTS").clone()
    }

    /// The answer of the server at `asked`.
    pub(super) fn read(asked: &ConnectionAddr, answer: &Value) -> Result<Slots, Failure> {
        let range = |value: &Value| {
            let [Value::Int(first), Value::Int(last), master, ..] = calls::array(value)? else { return None };
            let [host, Value::Int(port), ..] = calls::array(master)? else { return None };
            // No name, or `?`: its own.
            let host = match (calls::text(host).filter(|host| !host.is_empty() && *host != "?"), asked) {
                (Some(host), _) => host.to_owned(),
                (None, ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host.clone(),
                (None, _) => return None,
            };
            Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, like(asked, host, u16::try_from(*port).ok()?)))
        };
        calls::array(answer).and_then(|all| all.iter().map(range).collect::<Option<Vec<_>>>()).map(Slots).ok_or_else(nonsense)
    }

    /// Who has the key.
    pub(super) fn master_of(&self, key: &str) -> Result<&ConnectionAddr, Failure> {
        let slot = slot_of(key);
        let found = self.0.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        found.map(|(.., addr)| addr).ok_or_else(|| Failure(format!("no server of the cluster has slot {slot}, in which `{key}` is")))
    }
}

/// The slot of a key: the 16-bit CRC (XMODEM) of its hash tag, or of all of it if it has none (Redis Cluster specification, "Hash tags").
fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag).filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key).as_bytes()) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SCL-08. The check value is the one in the specification's appendix; the slots of the keys are what `CLUSTER KEYSLOT` answers.
    #[test]
    fn a_key_is_in_the_slot_of_its_hash_tag() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(
            ["foo", "tickerd:{5}:meta", "x{5}", "5", "{}a", "a{b}{c}", "b", ""].map(slot_of),
            [12_182, 9_974, 9_974, 9_974, 10_875, 3_300, 3_300, 0]
        );
        assert_ne!(slot_of("{}a"), slot_of("{}b"), "an empty tag is none");
    }

    /// SCL-08: a server that does not know its own name is the one that was asked.
    #[test]
    fn a_server_is_found_by_its_slots() {
        let text = |text: &str| Value::BulkString(text.into());
        let range = |first, last, host, port| {
            Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(vec![text(host), Value::Int(port), text("id")])])
        };
        let asked = ConnectionAddr::Tcp("here".to_owned(), 1);
        let slots = Slots::read(&asked, &Value::Array(vec![range(0, 12_181, "", 1), range(12_183, 16_383, "there", 2)])).unwrap();
        assert_eq!(slots.master_of("b").unwrap(), &asked);
        assert_eq!(slots.master_of("123456789").unwrap(), &ConnectionAddr::Tcp("there".to_owned(), 2));
        assert!(slots.master_of("foo").unwrap_err().0.contains("12182"));
        assert!(Slots::read(&asked, &Value::Array(vec![Value::Int(1)])).is_err());
    }

    /// SCL-08.
    #[test]
    fn urls_name_one_server_or_several() {
        let place = |url| Place::read(url).unwrap().0;
        assert!(matches!(place("redis://a:1/2"), Place::Known(ConnectionAddr::Tcp(host, 1)) if host == "a"));
        assert!(
            matches!(place("rediss+cluster://a:1,b:2"), Place::Cluster { seeds } if seeds.len() == 2 && matches!(&seeds[1], ConnectionAddr::TcpTls { port: 2, .. }))
        );
        assert!(matches!(place("redis+sentinel://a:1,b/m/3"), Place::Asked { sentinels, master } if sentinels.len() == 2 && master == "m"));
    }
}
