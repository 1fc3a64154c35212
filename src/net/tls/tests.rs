//! Our sessions against rustls' own client, in memory: whole, byte by byte, broken, resumed.

use std::io::{Read, Write};

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};

use super::*;
use crate::base::limits::{TLS_PARTIAL_BYTES_MAX, TLS_RECORD_BYTES_MAX};

/// 2026-01-01 and a day, in Unix seconds: between the validity of what is made here.
const NOW_S: u64 = 1_767_312_000;

struct Made {
    certificate: String,
    key: String,
}

/// A self-signed certificate for these names, valid in 2026.
fn made(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> Made {
    let key = KeyPair::generate_for(kind).unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names[0]);
    params.is_ca = IsCa::NoCa;
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2099, 1, 1));
    Made { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn identity(made: &Made) -> Identity {
    load(made.certificate.as_bytes(), made.key.as_bytes(), NOW_S).unwrap()
}

fn server(made: &[&Made]) -> (Arc<Certificates>, ServerTls) {
    let certificates = Arc::new(Certificates::new(made.iter().map(|made| identity(made)).collect()));
    (Arc::clone(&certificates), ServerTls::new(certificates).unwrap())
}

fn client_config(roots: &[&Made], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from_pem_slice(root.certificate.as_bytes()).unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    builder.with_protocol_versions(versions).unwrap().with_root_certificates(store).with_no_client_auth()
}

fn client(config: &Arc<ClientConfig>, name: &'static str) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from(name).unwrap()).unwrap()
}

/// Both ends and what is on the way.
struct Pair {
    client: ClientConnection,
    server: Session,
    /// What the server has opened.
    opened: Vec<u8>,
    end: bool,
    /// How much goes over at once.
    pieces: Vec<usize>,
    turn: usize,
}

impl Pair {
    fn new(config: &Arc<ClientConfig>, tls: &ServerTls, pieces: &[usize]) -> Pair {
        let (client, server) = (client(config, "desk.example"), tls.session().unwrap());
        Pair { client, server, opened: Vec::new(), end: false, pieces: pieces.to_vec(), turn: 0 }
    }

    /// Hands bytes to the server as a reactor does.
    fn give(&mut self, bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let piece = self.pieces[self.turn % self.pieces.len()].min(bytes.len() - at);
            self.turn += 1;
            let (mut records, mut plaintext) = (vec![0; 65_536], vec![0; 65_536]);
            let kept = self.server.put_partial(&mut records);
            records[kept..kept + piece].copy_from_slice(&bytes[at..at + piece]);
            at += piece;
            let opened = self.server.open(&mut records[..kept + piece], &mut plaintext, &mut out)?;
            self.opened.extend_from_slice(&plaintext[..opened.bytes]);
            self.end |= opened.end;
        }
        Ok(out)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let (mut left, mut got) = (bytes, Vec::new());
        while !left.is_empty() {
            self.client.read_tls(&mut left).unwrap();
            let state = self.client.process_new_packets()?;
            let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut plaintext).unwrap();
            got.append(&mut plaintext);
        }
        Ok(got)
    }

    /// Lets bytes go to and fro until there are none.
    fn run(&mut self) -> Result<(), rustls::Error> {
        loop {
            let mut bytes = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut bytes).unwrap();
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let answer = self.give(&bytes)?;
            self.take(&answer)?;
        }
    }

    fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        self.server.seal(plaintext, &mut out).unwrap();
        assert!(out.starts_with(b"before"), "it is appended");
        out.split_off(6)
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever pieces the network makes of it, both sides get what the other said, by TLS 1.2 and 1.3.
    #[test]
    fn any_pieces_will_do(pieces in prop::collection::vec(1usize..3000, 1..6), is_13 in any::<bool>(), lens in prop::collection::vec(0usize..40_000, 1..4)) {
        let desk = made(&["desk.example"], &PKCS_ECDSA_P256_SHA256);
        let (_, tls) = server(&[&desk]);
        let config = Arc::new(client_config(&[&desk], &[VERSIONS[usize::from(!is_13)]]));
        let mut pair = Pair::new(&config, &tls, &pieces);
        let mut sent = Vec::new();
        for len in lens {
            let text: Vec<u8> = (0..len).map(|i| i as u8).collect();
            pair.client.writer().write_all(&text).unwrap();
            pair.run().unwrap();
            sent.extend_from_slice(&text);
            prop_assert_eq!(pair.opened.len(), sent.len());
            if len > 0 {
                let sealed = pair.seal(&text[..len.min(TLS_RECORD_BYTES_MAX)]);
                prop_assert_eq!(&pair.take(&sealed).unwrap()[..], &text[..len.min(TLS_RECORD_BYTES_MAX)]);
            }
        }
        prop_assert_eq!(&pair.opened, &sent);
        prop_assert_eq!(pair.server.handshake(), Handshake::Full);
        pair.client.send_close_notify();
        pair.run().unwrap();
        prop_assert!(pair.end && pair.server.partial_bytes() == 0);
    }

    /// Bytes at random are refused with an alert, or waited on for more, and never kept beyond a bound.
    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 1..70_000), is_record in any::<bool>()) {
        let desk = made(&["desk.example"], &PKCS_ECDSA_P256_SHA256);
        let config = Arc::new(client_config(&[&desk], &VERSIONS));
        let mut pair = Pair::new(&config, &server(&[&desk]).1, &[9000]);
        let mut input = bytes;
        if is_record {
            input.splice(0..0, [22, 3, 1, 0x3f, 0xff, 1, 0, 0xff, 0xf0]);
        }
        let refused = pair.give(&input).is_err();
        prop_assert_eq!(refused, pair.server.handshake() == Handshake::Failed);
        prop_assert!(pair.server.partial_bytes() <= TLS_PARTIAL_BYTES_MAX);
        prop_assert!(refused || input.len() <= TLS_PARTIAL_BYTES_MAX);
    }
}

#[test]
fn several_frames_go_in_one_record() {
    let desk = made(&["desk.example"], &PKCS_ECDSA_P256_SHA256);
    let config = Arc::new(client_config(&[&desk], &VERSIONS));
    let mut pair = Pair::new(&config, &server(&[&desk]).1, &[4096]);
    pair.run().unwrap();
    let sealed = pair.seal(&vec![7; TLS_RECORD_BYTES_MAX]);
    let body = usize::from(sealed[3]) << 8 | usize::from(sealed[4]);
    assert_eq!((sealed[0], body + 5), (23, sealed.len()), "one record of application data");
}

/// One ticketer for all reactors: a session made on one is resumed on another, and after a certificate was replaced.
#[test]
fn sessions_are_resumed_on_other_reactors_and_over_a_reload() {
    for versions in [[&version::TLS13], [&version::TLS12]] {
        let desk = made(&["desk.example"], &PKCS_ECDSA_P256_SHA256);
        let (certificates, tls) = server(&[&desk]);
        let mut config = client_config(&[&desk], &versions);
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        let reactors = [tls.clone(), tls];
        let mut kinds = Vec::new();
        for at in [0, 1, 0] {
            let mut pair = Pair::new(&config, &reactors[at], &[4096]);
            pair.run().unwrap();
            kinds.push((pair.server.handshake(), pair.client.handshake_kind().unwrap()));
            certificates.replace(vec![identity(&made(&["desk.example"], &PKCS_ECDSA_P256_SHA256))]);
        }
        let (full, resumed) = ((Handshake::Full, HandshakeKind::Full), (Handshake::Resumed, HandshakeKind::Resumed));
        assert_eq!(kinds, [full, resumed, resumed]);
    }
}

/// NET-05: new handshakes get the new certificate, and what is open goes on.
#[test]
fn a_replaced_certificate_is_served_at_once_and_disturbs_nobody() {
    let (old, new) = (made(&["desk.example"], &PKCS_ECDSA_P256_SHA256), made(&["desk.example"], &PKCS_ECDSA_P256_SHA256));
    let (certificates, tls) = server(&[&old]);
    let (knows_old, knows_new) = (Arc::new(client_config(&[&old], &VERSIONS)), Arc::new(client_config(&[&new], &VERSIONS)));
    let mut before = Pair::new(&knows_old, &tls, &[4096]);
    before.run().unwrap();
    certificates.replace(vec![identity(&new)]);
    Pair::new(&knows_new, &tls, &[4096]).run().unwrap();
    // One that has no ticket.
    let knows_old = Arc::new(client_config(&[&old], &VERSIONS));
    Pair::new(&knows_old, &tls, &[4096]).run().unwrap_err();
    let sealed = before.seal(b"still here");
    assert_eq!(before.take(&sealed).unwrap(), b"still here");
}

/// The name that is asked for, and the kind of key that the client can verify.
#[test]
fn the_certificate_fits_the_client() {
    let (desk, bot) = (made(&["desk.example", "127.0.0.1"], &PKCS_ECDSA_P256_SHA256), made(&["bot.example"], &PKCS_RSA_SHA256));
    let (_, tls) = server(&[&desk, &bot]);
    let config = Arc::new(client_config(&[&desk, &bot], &VERSIONS));
    for name in ["desk.example", "bot.example", "127.0.0.1"] {
        let mut pair = Pair::new(&config, &tls, &[4096]);
        pair.client = client(&config, name);
        pair.run().unwrap();
    }
    let identities = server(&[&desk]).0.identities();
    assert_eq!(
        (&identities[0].subject[..], &identities[0].names[..]),
        ("CN=desk.example", &["desk.example".to_owned(), "127.0.0.1".to_owned()][..])
    );
}

/// NET-08: which of the two files is wrong, and what to do; nothing of a key is shown.
#[test]
fn bad_files_are_told_apart() {
    let (desk, other) = (made(&["desk.example"], &PKCS_ECDSA_P256_SHA256), made(&["desk.example"], &PKCS_ECDSA_P256_SHA256));
    let fault = |certificate: &str, key: &str, now_s| load(certificate.as_bytes(), key.as_bytes(), now_s).unwrap_err();
    let chain = |fault| if let Fault::Chain(what) = fault { what } else { panic!("{fault:?}") };
    let key = |fault| if let Fault::Key(what) = fault { what } else { panic!("{fault:?}") };
    assert!(chain(fault(&desk.certificate, &desk.key, 4_100_000_000)).contains("expired at 2099-01-01"));
    assert!(chain(fault(&desk.certificate, &desk.key, 1_000_000_000)).contains("valid from 2026-01-01"));
    assert!(chain(fault("", &desk.key, NOW_S)).contains("no CERTIFICATE"));
    assert!(chain(fault(&desk.key, &desk.key, NOW_S)).contains("no CERTIFICATE"));
    assert!(chain(fault("-----BEGIN CERTIFICATE-----\n??\n-----END CERTIFICATE-----\n", &desk.key, NOW_S)).contains("not PEM"));
    assert!(chain(fault("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &desk.key, NOW_S)).contains("cannot be read"));
    assert!(key(fault(&desk.certificate, &other.key, NOW_S)).contains("not the key of the certificate"));
    assert!(key(fault(&desk.certificate, &desk.certificate, NOW_S)).contains("no PRIVATE KEY"));
    let broken = desk.key.replace("-----END", "hush-hush\n-----BEGIN");
    let said = key(fault(&desk.certificate, &broken, NOW_S));
    assert!(said.contains("not PEM") && !said.contains("hush"), "{said}");
    load(format!("{}{}", desk.key, desk.certificate).as_bytes(), format!("{}{}", desk.certificate, desk.key).as_bytes(), NOW_S).unwrap();
}

/// NET-02: forward secrecy and authenticated encryption alone.
#[test]
fn nothing_weak_is_offered() {
    let offered: Vec<_> = offered().collect();
    assert_eq!(offered[0], ("TLS 1.3", "TLS_AES_128_GCM_SHA256".to_owned()));
    for (version, suite) in offered {
        assert!(!suite.contains("CBC") && (suite.contains("GCM") || suite.contains("CHACHA20")), "{suite}");
        assert!(version == "TLS 1.3" || suite.starts_with("TLS_ECDHE_"), "{suite}");
    }
}
