//! The server's certificates: read from PEM, checked, and put in place of those before without a connection noticing.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// A certificate with its chain and key, found sound.
#[derive(Clone, Debug)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// The subject, such as `CN=desk.example`.
    pub subject: String,
    /// DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// Until when it is valid, in Unix seconds.
    pub not_after_s: u64,
    /// The same for people.
    pub not_after: String,
}

/// What is wrong with a certificate, and with which of the two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With the file of the certificate chain.
    Chain(String),
    /// With the file of the private key.
    Key(String),
}

/// Reads a chain, the server's certificate first, and its key. `now_s` is the time in Unix seconds.
pub fn load(chain_pem: &[u8], key_pem: &[u8], now_s: u64) -> Result<Identity, Fault> {
    let chain = CertificateDer::pem_slice_iter(chain_pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| Fault::Chain(format!("it is not PEM: {error}")))?;
    let first = chain.first().ok_or_else(|| Fault::Chain("it has no CERTIFICATE section: give the chain in PEM".to_owned()))?;
    let certificate =
        Certificate::from_der(first).map_err(|error| Fault::Chain(format!("its first certificate cannot be read: {error}")))?;
    let about = certificate.tbs_certificate();
    let (not_before, not_after) = (about.validity().not_before, about.validity().not_after);
    let (not_before_s, not_after_s) = (not_before.to_unix_duration().as_secs(), not_after.to_unix_duration().as_secs());
    if not_after_s <= now_s {
        return Err(Fault::Chain(format!("it expired at {not_after}: renew it")));
    }
    if not_before_s > now_s {
        return Err(Fault::Chain(format!("it is valid from {not_before} on: is this machine's clock right?")));
    }
    let (subject, names) = (about.subject().to_string(), names(&certificate));
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| Fault::Key(key_fault(&error)))?;
    let key = any_supported_type(&key).map_err(|_| Fault::Key("this kind of key is not taken: use ECDSA P-256 or RSA".to_owned()))?;
    let certified = CertifiedKey::new(chain, key);
    let mismatch = || Fault::Key("it is not the key of the certificate: give the key that the certificate was asked for with".to_owned());
    certified.keys_match().map_err(|_| mismatch())?;
    Ok(Identity { certified: Arc::new(certified), subject, names, not_after_s, not_after: not_after.to_string() })
}

/// What is wrong with a key's PEM, without a byte of it.
fn key_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "it has no PRIVATE KEY section: give the key in PEM, without a passphrase".to_owned(),
        _ => "it is not PEM: give the key in PEM, without a passphrase".to_owned(),
    }
}

fn names(certificate: &Certificate) -> Vec<String> {
    let alternatives = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten();
    let names = alternatives.into_iter().flat_map(|(_, SubjectAltName(names))| names);
    names.filter_map(|name| name_of(&name)).collect()
}

fn name_of(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match *bytes.as_bytes() {
            [a, b, c, d] => Some(IpAddr::from([a, b, c, d]).to_string()),
            ref bytes => <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}

impl Identity {
    fn is_for(&self, name: &str) -> bool {
        let parsed = self.certified.end_entity_cert().and_then(ParsedCertificate::try_from);
        let name = ServerName::try_from(name);
        matches!((parsed, name), (Ok(parsed), Ok(name)) if verify_server_name(&parsed, &name).is_ok())
    }
}

/// The certificates that are served now. A lock, for it is taken once in a handshake, which costs a thousand times more.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<[Identity]>>);

impl Certificates {
    /// Serves these; there must be one at least.
    pub fn new(identities: Vec<Identity>) -> Certificates {
        Certificates(RwLock::new(identities.into()))
    }

    /// Serves these from the next handshake on. Connections that are open stay so, and their sessions can be resumed.
    pub fn replace(&self, identities: Vec<Identity>) {
        *self.0.write() = identities.into();
    }

    /// Those served now.
    pub fn identities(&self) -> Arc<[Identity]> {
        Arc::clone(&self.0.read())
    }

    /// When the first of them expires, in Unix seconds.
    pub fn expires_at_s(&self) -> u64 {
        self.identities().iter().map(|identity| identity.not_after_s).min().unwrap_or(0)
    }
}

impl ResolvesServerCert for Certificates {
    /// The first that the client can verify and that is for the name it asks; else the first that it can verify.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let identities = self.identities();
        let usable = || identities.iter().filter(|identity| identity.certified.key.choose_scheme(hello.signature_schemes()).is_some());
        let named = hello.server_name().and_then(|name| usable().find(|identity| identity.is_for(name)));
        named.or_else(|| usable().next()).map(|identity| Arc::clone(&identity.certified))
    }
}
