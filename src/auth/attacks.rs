//! What attackers try, against every kind of key, known both with and without `kid`.

use proptest::prelude::*;

use super::attack_tables::{
    Attack, CLAIM_TRICKS, CONFUSIONS, FORGERIES, HARMLESS, HEADERS, PARTIES, SHAPES, SIGNATURES, claims, exp, hmac_token, sub,
};
use super::testing::{NOW_MS, NOW_S, Pair, pairs, strangers, verifier_of};
use super::{SigningKey, TokenError, Verifier, VerifyOptions, base64url};

/// One key, as its holder and as two servers know it.
pub(super) struct Bench {
    pub(super) pair: &'static Pair,
    pub(super) stranger: &'static Pair,
    pub(super) signer: SigningKey,
    verifiers: [(&'static str, Verifier); 2],
}

impl Bench {
    fn all() -> Vec<Bench> {
        pairs().iter().zip(strangers()).map(|(pair, stranger)| Bench::new(pair, stranger)).collect()
    }

    fn new(pair: &'static Pair, stranger: &'static Pair) -> Bench {
        let with_kid = verifier_of(&[pair.jwks("k1").as_bytes()], VerifyOptions::default());
        let verifiers = [("without kid", pair.verifier(VerifyOptions::default())), ("with kid", with_kid)];
        Bench { pair, stranger, signer: pair.signer(), verifiers }
    }

    pub(super) fn alg(&self) -> &'static str {
        self.pair.algorithm.name()
    }

    /// A header like our own, and more members (`,"name":…`).
    pub(super) fn header(&self, more: &str) -> String {
        format!(r#"{{"alg":"{}","typ":"JWT"{more}}}"#, self.alg())
    }

    /// A token of the real key: this header, good claims.
    pub(super) fn signed_header(&self, header: &str) -> String {
        self.signer.sign_parts(header.as_bytes(), claims("").as_bytes()).unwrap()
    }

    /// A token of the real key: our header, these claims.
    pub(super) fn signed_claims(&self, claims: &str) -> String {
        self.signer.sign_parts(self.header("").as_bytes(), claims.as_bytes()).unwrap()
    }

    pub(super) fn good(&self) -> String {
        self.signed_claims(&claims(""))
    }

    /// What its signature is over.
    pub(super) fn text(&self) -> String {
        self.good().rsplit_once('.').unwrap().0.to_owned()
    }

    /// A good token whose part in this place is changed; the signature is not made anew.
    pub(super) fn altered(&self, place: usize, alter: impl Fn(&str) -> String) -> String {
        let token = self.good();
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[place] = alter(&parts[place]);
        parts.join(".")
    }

    fn check(&self, name: &str, token: &str, expected: &Result<(), TokenError>) {
        for (how, verifier) in &self.verifiers {
            let verdict = verifier.verify(token, NOW_MS).map(|_| ());
            assert_eq!(&verdict, expected, "{name}: {} {how}", self.alg());
        }
    }
}

fn run(attacks: &[Attack]) {
    for bench in Bench::all() {
        for (name, make, error) in attacks {
            bench.check(name, &make(&bench), &Err(*error));
        }
    }
}

/// AUT-01.
#[test]
fn every_misshapen_text_is_refused() {
    run(SHAPES);
}

/// AUT-01: `alg: none`, and whatever else a header may ask for.
#[test]
fn every_header_trick_is_refused() {
    run(HEADERS);
}

/// AUT-01: keys that a token brings along are not followed.
#[test]
fn every_forgery_is_refused() {
    run(FORGERIES);
}

/// AUT-01: bad signatures.
#[test]
fn every_altered_signature_is_refused() {
    run(SIGNATURES);
}

/// AUT-01, AUT-04, X23: wrong types, times, users, refresh tokens.
#[test]
fn every_bad_claim_is_refused() {
    run(CLAIM_TRICKS);
}

#[test]
fn what_is_only_odd_is_accepted() {
    for bench in Bench::all() {
        for (name, make) in HARMLESS {
            bench.check(name, &make(&bench), &Ok(()));
        }
    }
}

/// AUT-01: tokens of ours that are for others, or of others.
#[test]
fn every_foreign_party_is_refused() {
    let options = VerifyOptions { issuer: Some("us".to_owned()), audience: Some("tickerd".to_owned()), ..VerifyOptions::default() };
    for bench in Bench::all() {
        let verifier = bench.pair.verifier(options.clone());
        assert!(verifier.verify(&bench.signed_claims(&claims(r#","iss":"us","aud":["other","tickerd"]"#)), NOW_MS).is_ok());
        for (name, make, error) in PARTIES {
            assert_eq!(verifier.verify(&make(&bench), NOW_MS).unwrap_err(), *error, "{name}: {}", bench.alg());
        }
    }
}

/// AUT-01: what is not the key does not sign for it.
#[test]
fn every_confusion_of_keys_is_refused() {
    for bench in Bench::all() {
        for (name, make) in CONFUSIONS {
            for (how, verifier) in &bench.verifiers {
                let error = verifier.verify(&make(&bench), NOW_MS).unwrap_err();
                let expected = if bench.alg() == "HS256" { TokenError::Signature } else { TokenError::Algorithm };
                assert_eq!(error, expected, "{name}: {} {how}", bench.alg());
            }
        }
    }
}

/// AUT-01: the number of attacks is part of what is promised; `--nocapture` shows it.
#[test]
fn there_are_enough_attacks_and_none_twice() {
    let tables = [SHAPES, HEADERS, FORGERIES, SIGNATURES, CLAIM_TRICKS, PARTIES];
    let names: Vec<&str> = tables.concat().iter().map(|(name, ..)| *name).chain(CONFUSIONS.iter().map(|(name, _)| *name)).collect();
    let distinct: std::collections::HashSet<&str> = names.iter().copied().collect();
    println!("{} token attacks, each against {} kinds of key, known in two ways", names.len(), pairs().len());
    assert_eq!(distinct.len(), names.len());
    assert!(names.len() >= 200, "{}", names.len());
}

/// AUT-01, HS/RS confusion: what everybody knows of a public key is no secret, in whichever form.
#[test]
fn a_public_key_is_never_a_secret() {
    for pair in &pairs()[1..] {
        let verifier = pair.verifier(VerifyOptions::default());
        let text = String::from_utf8(pair.public.clone()).unwrap();
        for secret in [text.clone(), text.trim_end().to_owned(), text.replace('\n', ""), text.replace('\n', "\r\n"), pair.jwk("")] {
            let forged = hmac_token(secret.as_bytes());
            assert_eq!(verifier.verify(&forged, NOW_MS).unwrap_err(), TokenError::Algorithm);
        }
    }
}

/// AUT-01: `kid` is compared, never looked up anywhere; the secret of an empty file opens nothing.
#[test]
fn a_kid_is_only_ever_compared() {
    let long = "k".repeat(5000);
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "k1' UNION SELECT 'x",
        "k1\\u0000",
        "K1",
        "k1 ",
        "",
        "k",
        "*",
        "k1/../k1",
        long.as_str(),
    ] {
        for bench in Bench::all() {
            let header = bench.header(&format!(r#","kid":"{kid}""#));
            let [(_, without_kid), (_, with_kid)] = &bench.verifiers;
            assert_eq!(with_kid.verify(&bench.signed_header(&header), NOW_MS).unwrap_err(), TokenError::UnknownKey, "{kid}");
            assert!(without_kid.verify(&bench.signed_header(&header), NOW_MS).is_ok(), "a key without kid is tried for any");
            let forged = bench.stranger.signer().sign_parts(header.as_bytes(), claims("").as_bytes()).unwrap();
            assert_eq!(without_kid.verify(&forged, NOW_MS).unwrap_err(), TokenError::Signature);
        }
    }
    let of_nothing = hmac_token(b"");
    for bench in Bench::all() {
        assert!(bench.verifiers.iter().all(|(_, verifier)| verifier.verify(&of_nothing, NOW_MS).is_err()));
    }
}

/// AUT-01: every single bit of the signature and of what it signs counts.
#[test]
fn every_flipped_bit_is_refused() {
    for bench in Bench::all() {
        let (_, verifier) = &bench.verifiers[0];
        let token = bench.good();
        let parts: Vec<&str> = token.split('.').collect();
        for place in 0..parts.len() {
            let mut bytes = base64url::decode(parts[place]).unwrap();
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let mut altered = parts.clone();
                let flipped = base64url::encode(&bytes);
                altered[place] = &flipped;
                assert!(verifier.verify(&altered.join("."), NOW_MS).is_err(), "{} part {place} bit {bit}", bench.alg());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}

/// What a verifier says never holds anything of the token: it goes to logs. AUT-02.
#[test]
fn no_error_repeats_the_token() {
    for bench in Bench::all() {
        let token = bench.signed_claims(&sub(r#""very-private-name\n""#));
        let error = bench.verifiers[0].1.verify(&token, NOW_MS).unwrap_err();
        let told = format!("{error:?} {} {}", error.label(), error.refusal().message);
        assert!(!told.contains("very-private-name") && token.split('.').all(|part| !told.contains(part)), "{told}");
    }
}

fn secret_bench() -> Bench {
    Bench::new(&pairs()[0], &strangers()[0])
}

proptest! {
    #[test]
    fn whatever_the_text_it_is_refused_without_a_panic(text in "\\PC{0,80}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,40}", 0..6)) {
        for (_, verifier) in &secret_bench().verifiers {
            prop_assert!(verifier.verify(&text, NOW_MS).is_err());
            prop_assert!(verifier.verify(&parts.join("."), NOW_MS).is_err());
        }
    }

    #[test]
    fn whatever_is_signed_makes_no_panic(header in "\\PC{0,60}", payload in "\\PC{0,60}") {
        let bench = secret_bench();
        prop_assert!(bench.verifiers[0].1.verify(&bench.signed_header(&header), NOW_MS).is_err());
        prop_assert!(bench.verifiers[0].1.verify(&bench.signed_claims(&payload), NOW_MS).is_err());
    }

    #[test]
    fn whatever_the_number_a_good_token_ends_between_now_and_the_year_9999(number in any::<f64>(), seconds in 1_700_000_000.0..300_000_000_000.0) {
        let bench = secret_bench();
        for number in [number, seconds] {
            let verdict = bench.verifiers[0].1.verify(&bench.signed_claims(&exp(&number.to_string())), NOW_MS);
            let good = (NOW_S as f64 - 4.0..253_402_300_799.0).contains(&number);
            prop_assert!(verdict.is_ok() || !good, "{number} is refused");
            if let Ok(grants) = verdict {
                prop_assert!((NOW_MS - 5_000..253_402_300_800_000).contains(&grants.expires_at_ms), "{number}");
            }
        }
    }

    #[test]
    fn one_changed_character_is_refused(place in any::<prop::sample::Index>(), character in "[A-Za-z0-9_.=-]") {
        for bench in Bench::all() {
            let token = bench.good();
            let place = place.index(token.len());
            let mut altered = token.clone();
            altered.replace_range(place..=place, &character);
            if altered != token {
                prop_assert!(bench.verifiers[0].1.verify(&altered, NOW_MS).is_err());
            }
        }
    }
}
