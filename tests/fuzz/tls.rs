//! TLS as a server reads it: bytes of strangers, and handshakes of a sound client in which a few bytes were changed on the way.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};
use tickerd::base::limits::TLS_PARTIAL_BYTES_MAX;
use tickerd::net::tls::{Certificates, Handshake, ServerTls, Session, load};

/// The first byte says how the input is meant: odd ones change a handshake, the others are what a stranger sends, in pieces of so many bytes.
pub(crate) const TLS_INPUTS: &[&[u8]] = &[
    b"\x1e\x16\x03\x01\x00\x6f\x01\x00\x00\x6b\x03\x03AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\x00\x04\x13\x01\xc0\x2b\x01\x00\x00\x3e\
      \x00\x2b\x00\x03\x02\x03\x04\x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x0d\x00\x04\x00\x02\x04\x03\
      \x00\x33\x00\x26\x00\x24\x00\x1d\x00\x20BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB\x14\x03\x03\x00\x01\x01",
    b"\x40\x16\x03\x01\x00\x44\x01\x00\x00\x40\x03\x03AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x00\x00\x02\xc0\x2b\x01\x00\x00\x15\
      \x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x0d\x00\x04\x00\x02\x04\x03\x00\x17\x00\x00\xff\x01\x00\x01\x00",
    b"\x02GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x08\x15\x03\x03\x00\x02\x02\x28\x17\x03\x03\x40\x00",
    // TLS 1.3, in pieces of 32 bytes: nothing, and then a byte somewhere.
    b"\x01\x20",
    b"\x01\x20\x00\x30\x01\x00\x80\x40",
    b"\x03\x20\x01\x10\x02",
    b"\x03\xff",
];

struct Keys {
    server: ServerTls,
    clients: [Arc<ClientConfig>; 2],
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let certificate =
        CertificateParams::new(["desk.example".to_owned()]).and_then(|params| params.self_signed(&key)).expect("a certificate");
    let pem = certificate.pem();
    let identity = load(pem.as_bytes(), key.serialize_pem().as_bytes(), 1_795_000_000).expect("sound files");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("it was just made")).expect("it may be a root");
    let client = |version| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(version).expect("a version that there is");
        Arc::new(builder.with_root_certificates(roots.clone()).with_no_client_auth())
    };
    Keys {
        server: ServerTls::new(Arc::new(Certificates::new(vec![identity]))).expect("random numbers"),
        clients: [client(&[&version::TLS13]), client(&[&version::TLS12])],
    }
});

/// No more is kept than a bound allows, what is refused before our hello gets an alert, and only what a client has sent is ever taken for plaintext.
pub(crate) fn tls(input: &[u8]) {
    match input {
        [mode, pieces, changes @ ..] if mode % 2 == 1 => changed(usize::from(mode / 2 % 2), usize::from(*pieces) + 1, changes),
        [pieces, bytes @ ..] => {
            let mut server = Server::new(usize::from(*pieces) + 1);
            server.give(bytes);
            assert!(server.opened.is_empty() && !matches!(server.session.handshake(), Handshake::Full | Handshake::Resumed));
        }
        [] => {}
    }
}

/// A handshake, some application data, a change of keys and an end, of which three bytes each of `changes` change one.
fn changed(version: usize, pieces: usize, changes: &[u8]) {
    let name = ServerName::try_from("desk.example").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&KEYS.clients[version]), name).expect("a sound configuration");
    let mut server = Server::new(pieces);
    let (mut at, mut said) = (0, Vec::new());
    for round in 0..6 {
        if !client.is_handshaking() && round > 1 {
            let text = vec![round; 700 * usize::from(round)];
            client.writer().write_all(&text).expect("memory");
            said.extend(text);
            if round == 3 {
                client.refresh_traffic_keys().ok(); // TLS 1.2 has no such thing
            }
        }
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        for change in changes.chunks_exact(3) {
            let place = usize::from(change[0]) << 8 | usize::from(change[1]);
            if let Some(byte) = place.checked_sub(at).and_then(|place| bytes.get_mut(place)) {
                *byte ^= change[2];
            }
        }
        at += bytes.len();
        let answer = server.give(&bytes);
        assert!(said.starts_with(&server.opened), "plaintext that nobody sent");
        let mut left = &answer[..];
        while !left.is_empty() {
            client.read_tls(&mut left).expect("memory");
            if client.process_new_packets().is_err() {
                return;
            }
            client.reader().read_to_end(&mut Vec::new()).ok();
        }
    }
    let was_changed = changes.chunks_exact(3).any(|change| change[2] != 0);
    assert!(was_changed || server.opened == said, "something was lost");
}

struct Server {
    session: Session,
    pieces: usize,
    opened: Vec<u8>,
    /// Its hello is on the way.
    has_spoken: bool,
}

impl Server {
    fn new(pieces: usize) -> Server {
        Server { session: KEYS.server.session().expect("random numbers"), pieces, opened: Vec::new(), has_spoken: false }
    }

    /// Hands bytes to the session as a reactor does, until it refuses them; what is to be sent in turn.
    fn give(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in bytes.chunks(self.pieces) {
            if self.session.handshake() == Handshake::Failed {
                break;
            }
            let mut records = vec![0; TLS_PARTIAL_BYTES_MAX + piece.len()];
            let kept = self.session.put_partial(&mut records);
            records[kept..kept + piece.len()].copy_from_slice(piece);
            let mut plaintext = vec![0; kept + piece.len()];
            let before = out.len();
            match self.session.open(&mut records[..kept + piece.len()], &mut plaintext, &mut out) {
                Ok(opened) => self.opened.extend_from_slice(&plaintext[..opened.bytes]),
                Err(error) => {
                    assert_eq!(self.session.handshake(), Handshake::Failed);
                    // An alert has no answer; and after its hello rustls has none for some of what it cannot read.
                    let is_excused = self.has_spoken || matches!(error, rustls::Error::AlertReceived(_));
                    assert!(is_excused || out.len() > before, "refused without an alert: {error}");
                }
            }
            self.has_spoken |= !out.is_empty();
            assert!(self.session.partial_bytes() <= TLS_PARTIAL_BYTES_MAX);
        }
        // The reactor does so at the end of each connection.
        let mut end = Vec::new();
        if self.session.handshake() == Handshake::Failed {
            assert!(self.session.close(&mut end).is_ok() && end.is_empty(), "an alert is the last word");
        }
        out
    }
}
