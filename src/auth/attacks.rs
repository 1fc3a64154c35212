//! What attackers try, one row each, against every kind of key, known both with and without `kid`.

use proptest::prelude::*;

use super::testing::{NOW_MS, NOW_S, Pair, pairs, strangers, verifier_of};
use super::{SigningKey, TokenError, Verifier, VerifyOptions, base64url};
use crate::base::limits::TOKEN_BYTES_MAX;

const PARTS: TokenError = TokenError::Malformed("it does not have three parts");
const HEADER: TokenError = TokenError::Malformed("its first part is not one JSON object in base64url, each member once");
const CLAIMS: TokenError = TokenError::Malformed("its second part is not one JSON object in base64url, each member once");
const SIGNATURE: TokenError = TokenError::Malformed("its third part, the signature, is empty or not base64url");
const KID: TokenError = TokenError::Malformed("its `kid` is not a string");

/// One key, as its holder and as two servers know it.
struct Bench {
    pair: &'static Pair,
    stranger: &'static Pair,
    signer: SigningKey,
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

    fn alg(&self) -> &'static str {
        self.pair.algorithm.name()
    }

    /// A header like our own, and more members (`,"name":…`).
    fn header(&self, more: &str) -> String {
        format!(r#"{{"alg":"{}","typ":"JWT"{more}}}"#, self.alg())
    }

    /// A token of the real key: this header, good claims.
    fn signed_header(&self, header: &str) -> String {
        self.signer.sign_parts(header.as_bytes(), claims("").as_bytes()).unwrap()
    }

    /// A token of the real key: our header, these claims.
    fn signed_claims(&self, claims: &str) -> String {
        self.signer.sign_parts(self.header("").as_bytes(), claims.as_bytes()).unwrap()
    }

    fn good(&self) -> String {
        self.signed_claims(&claims(""))
    }

    /// A good token whose part in this place is changed; the signature is not made anew.
    fn altered(&self, place: usize, alter: impl Fn(&str) -> String) -> String {
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

/// Good claims, and more of them (`,"name":…`).
fn claims(more: &str) -> String {
    format!(r#"{{"sub":"u1","exp":{}{more}}}"#, NOW_S + 3600)
}

/// Good claims, but for the user's.
fn sub(value: &str) -> String {
    format!(r#"{{"sub":{value},"exp":{}}}"#, NOW_S + 3600)
}

/// Good claims, but for when they end.
fn exp(value: &str) -> String {
    format!(r#"{{"sub":"u1","exp":{value}}}"#)
}

/// Signed texts that only a lax decoder takes: the last character of a part carries bits that decode to nothing.
fn with_stray_bits(bench: &Bench, place: usize) -> String {
    // Pad with spaces until the part's bytes leave two characters' worth of stray bits.
    let mut texts = [bench.header(""), claims("")];
    while texts[place].len() % 3 != 1 {
        texts[place].push(' ');
    }
    let mut parts = texts.map(|text| base64url::encode(text.as_bytes()));
    let last = parts[place].pop().unwrap();
    parts[place].push(char::from(last as u8 + 1)); // one of A, Q, g, w: its successor differs in the lowest bit alone
    let signed = parts.join(".");
    let signature = bench.signer.sign_text(&signed).unwrap();
    format!("{signed}.{signature}")
}

type Attack = (&'static str, fn(&Bench) -> String, TokenError);

/// The shape of the whole text. AUT-01.
const SHAPES: &[Attack] = &[
    ("nothing", |_| String::new(), PARTS),
    ("a word", |_| "token".to_owned(), PARTS),
    ("only dots", |_| "..".to_owned(), SIGNATURE),
    ("one dot less", |bench| bench.good().rsplit_once('.').unwrap().0.to_owned(), PARTS),
    ("one dot more at the end", |bench| bench.good() + ".", PARTS),
    ("one dot more at the start", |bench| format!(".{}", bench.good()), PARTS),
    ("two dots more", |bench| format!("{}.e30.e30", bench.good()), PARTS),
    ("five parts, as a JWE has", |_| "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.AAAA.AAAA.AAAA.AAAA".to_owned(), PARTS),
    ("an empty header", |bench| bench.altered(0, |_| String::new()), HEADER),
    ("empty claims", |bench| bench.altered(1, |_| String::new()), TokenError::Signature),
    ("padding on the header", |bench| bench.altered(0, |part| part.to_owned() + "="), HEADER),
    ("padding on the claims", |bench| bench.altered(1, |part| part.to_owned() + "="), TokenError::Signature),
    ("padding on the signature", |bench| bench.altered(2, |part| part.to_owned() + "=="), SIGNATURE),
    ("the standard alphabet", |bench| bench.altered(2, |part| format!("+/{}", &part[2..])), SIGNATURE),
    ("stray bits in the header", |bench| with_stray_bits(bench, 0), HEADER),
    ("stray bits in the claims", |bench| with_stray_bits(bench, 1), CLAIMS),
    ("a space in front", |bench| format!(" {}", bench.good()), HEADER),
    ("a newline at the end", |bench| bench.good() + "\n", SIGNATURE),
    ("a NUL at the end", |bench| bench.good() + "\0", SIGNATURE),
    ("a NUL inside", |bench| bench.altered(0, |part| format!("{}\0{}", &part[..4], &part[4..])), HEADER),
    ("letters beyond ASCII", |bench| bench.altered(0, |part| format!("é{part}")), HEADER),
    ("percent-encoded dots", |bench| bench.good().replace('.', "%2E"), PARTS),
    ("the JSON form of JWS", |_| r#"{"payload":"e30","signatures":[]}"#.to_owned(), PARTS),
    ("8 KiB and 1", |bench| bench.good() + &"A".repeat(TOKEN_BYTES_MAX + 1 - bench.good().len()), TokenError::TooLarge),
    ("a mebibyte", |_| "A".repeat(1 << 20), TokenError::TooLarge),
];

/// The header, signed by the real key: a header is refused whoever signs it.
const HEADERS: &[Attack] = &[
    ("alg none", |bench| bench.signed_header(r#"{"alg":"none"}"#), TokenError::Algorithm),
    ("alg None", |bench| bench.signed_header(r#"{"alg":"None"}"#), TokenError::Algorithm),
    ("alg nOnE", |bench| bench.signed_header(r#"{"alg":"nOnE"}"#), TokenError::Algorithm),
    (
        "alg none, unsigned",
        |bench| format!("{}.{}.", base64url::encode(br#"{"alg":"none"}"#), base64url::encode(bench.header("").as_bytes())),
        SIGNATURE,
    ),
    (
        "alg none, a byte as signature",
        |_| format!("{}.{}.AA", base64url::encode(br#"{"alg":"none"}"#), base64url::encode(claims("").as_bytes())),
        TokenError::Algorithm,
    ),
    ("alg missing", |bench| bench.signed_header(r#"{"typ":"JWT"}"#), TokenError::Algorithm),
    ("alg empty", |bench| bench.signed_header(r#"{"alg":""}"#), TokenError::Algorithm),
    ("alg null", |bench| bench.signed_header(r#"{"alg":null}"#), TokenError::Algorithm),
    ("alg a number", |bench| bench.signed_header(r#"{"alg":256}"#), TokenError::Algorithm),
    ("alg an array", |bench| bench.signed_header(&format!(r#"{{"alg":["{}"]}}"#, bench.alg())), TokenError::Algorithm),
    ("alg in lower case", |bench| bench.signed_header(&format!(r#"{{"alg":"{}"}}"#, bench.alg().to_lowercase())), TokenError::Algorithm),
    ("alg with a NUL", |bench| bench.signed_header(&format!(r#"{{"alg":"{}\u0000"}}"#, bench.alg())), TokenError::Algorithm),
    ("alg with a space", |bench| bench.signed_header(&format!(r#"{{"alg":" {}"}}"#, bench.alg())), TokenError::Algorithm),
    ("alg HS512", |bench| bench.signed_header(r#"{"alg":"HS512"}"#), TokenError::Algorithm),
    ("alg RS512", |bench| bench.signed_header(r#"{"alg":"RS512"}"#), TokenError::Algorithm),
    ("alg PS256", |bench| bench.signed_header(r#"{"alg":"PS256"}"#), TokenError::Algorithm),
    ("alg ES384", |bench| bench.signed_header(r#"{"alg":"ES384"}"#), TokenError::Algorithm),
    ("alg twice", |bench| bench.signed_header(&bench.header(r#","alg":"none""#)), HEADER),
    ("alg twice, escaped", |bench| bench.signed_header(&bench.header(r#","\u0061lg":"none""#)), HEADER),
    ("kid twice", |bench| bench.signed_header(&bench.header(r#","kid":"k1","kid":"k1""#)), HEADER),
    ("kid a number", |bench| bench.signed_header(&bench.header(r#","kid":1"#)), KID),
    ("kid null", |bench| bench.signed_header(&bench.header(r#","kid":null"#)), KID),
    ("kid an array", |bench| bench.signed_header(&bench.header(r#","kid":["k1"]"#)), KID),
    ("kid an object", |bench| bench.signed_header(&bench.header(r#","kid":{"$ne":""}"#)), KID),
    ("crit", |bench| bench.signed_header(&bench.header(r#","crit":["exp"]"#)), TokenError::Critical),
    ("crit empty", |bench| bench.signed_header(&bench.header(r#","crit":[]"#)), TokenError::Critical),
    ("crit null", |bench| bench.signed_header(&bench.header(r#","crit":null"#)), TokenError::Critical),
    ("b64 false", |bench| bench.signed_header(&bench.header(r#","b64":false"#)), TokenError::Critical),
    ("zip", |bench| bench.signed_header(&bench.header(r#","zip":"DEF""#)), TokenError::Critical),
    ("enc", |bench| bench.signed_header(&bench.header(r#","enc":"A256GCM""#)), TokenError::Critical),
    ("typ refresh", |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":"refresh"}}"#, bench.alg())), TokenError::Type),
    (
        "typ of a proof of possession",
        |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":"dpop+jwt"}}"#, bench.alg())),
        TokenError::Type,
    ),
    ("typ of a logout", |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":"logout+jwt"}}"#, bench.alg())), TokenError::Type),
    ("typ a number", |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":1}}"#, bench.alg())), TokenError::Type),
    ("a header that is an array", |bench| bench.signed_header("[]"), HEADER),
    ("a header that is a string", |bench| bench.signed_header("\"HS256\""), HEADER),
    ("a header that is null", |bench| bench.signed_header("null"), HEADER),
    ("a header and more", |bench| bench.signed_header(&(bench.header("") + "{}")), HEADER),
    (
        "a header of nested arrays",
        |bench| bench.signed_header(&bench.header(&format!(r#","x":{}{}"#, "[".repeat(900), "]".repeat(900)))),
        HEADER,
    ),
    ("a header that is not UTF-8", |bench| bench.signer.sign_parts(b"{\"alg\":\"\xff\"}", b"{}").unwrap(), HEADER),
];

/// Signed by somebody else, with a header that offers a key.
const FORGERIES: &[Attack] = &[
    ("another key", |bench| forge(bench, ""), TokenError::Signature),
    ("jku", |bench| forge(bench, r#","jku":"https://evil.example/jwks.json""#), TokenError::Signature),
    ("x5u", |bench| forge(bench, r#","x5u":"https://evil.example/cert.pem""#), TokenError::Signature),
    ("x5c", |bench| forge(bench, r#","x5c":["MIIB"]"#), TokenError::Signature),
    ("the forger's own key embedded", |bench| forge(bench, &format!(r#","jwk":{}"#, bench.stranger.jwk(""))), TokenError::Signature),
    ("the forger's key under our kid", |bench| forge(bench, r#","kid":"k1""#), TokenError::Signature),
];

fn forge(bench: &Bench, more: &str) -> String {
    bench.stranger.signer().sign_parts(bench.header(more).as_bytes(), claims("").as_bytes()).unwrap()
}

/// The signature.
const SIGNATURES: &[Attack] = &[
    ("empty", |bench| bench.altered(2, |_| String::new()), SIGNATURE),
    ("a byte short", |bench| bench.altered(2, |part| resized(part, -1)), TokenError::Signature),
    ("half", |bench| bench.altered(2, |part| base64url::encode(&base64url::decode(part).unwrap()[..16])), TokenError::Signature),
    ("a byte long", |bench| bench.altered(2, |part| resized(part, 1)), TokenError::Signature),
    (
        "all zeros",
        |bench| bench.altered(2, |part| base64url::encode(&vec![0; base64url::decode(part).unwrap().len()])),
        TokenError::Signature,
    ),
    (
        "all ones",
        |bench| bench.altered(2, |part| base64url::encode(&vec![255; base64url::decode(part).unwrap().len()])),
        TokenError::Signature,
    ),
    ("twice", |bench| bench.altered(2, |part| base64url::encode(&base64url::decode(part).unwrap().repeat(2))), TokenError::Signature),
    (
        "of another token",
        |bench| bench.altered(2, |_| bench.signed_claims(&claims(r#","scope":"admin""#)).rsplit_once('.').unwrap().1.to_owned()),
        TokenError::Signature,
    ),
    ("other claims", |bench| bench.altered(1, |_| base64url::encode(claims(r#","scope":"admin""#).as_bytes())), TokenError::Signature),
    ("another header", |bench| bench.altered(0, |_| base64url::encode(bench.header(r#","x":1"#).as_bytes())), TokenError::Signature),
];

fn resized(part: &str, by: isize) -> String {
    let mut bytes = base64url::decode(part).unwrap();
    bytes.resize(bytes.len().checked_add_signed(by).unwrap(), 0);
    base64url::encode(&bytes)
}

/// The claims, signed by the real key. AUT-01, AUT-04.
const CLAIM_TRICKS: &[Attack] = &[
    ("claims that are an array", |bench| bench.signed_claims("[]"), CLAIMS),
    ("claims that are a string", |bench| bench.signed_claims("\"sub\""), CLAIMS),
    ("claims that are empty", |bench| bench.signed_claims(""), CLAIMS),
    ("claims and more", |bench| bench.signed_claims(&(claims("") + "{}")), CLAIMS),
    ("sub twice", |bench| bench.signed_claims(&claims(r#","sub":"u2""#)), CLAIMS),
    ("exp twice", |bench| bench.signed_claims(&claims(r#","exp":9999999999"#)), CLAIMS),
    ("a member twice deep inside", |bench| bench.signed_claims(&claims(r#","x":[{"a":1,"a":2}]"#)), CLAIMS),
    ("exp missing", |bench| bench.signed_claims(r#"{"sub":"u1"}"#), TokenError::Claim("exp")),
    ("exp null", |bench| bench.signed_claims(&exp("null")), TokenError::Claim("exp")),
    ("exp a string", |bench| bench.signed_claims(&exp("\"1900000000\"")), TokenError::Claim("exp")),
    ("exp the string NaN", |bench| bench.signed_claims(&exp("\"NaN\"")), TokenError::Claim("exp")),
    ("exp NaN", |bench| bench.signed_claims(&exp("NaN")), CLAIMS),
    ("exp Infinity", |bench| bench.signed_claims(&exp("Infinity")), CLAIMS),
    ("exp beyond f64", |bench| bench.signed_claims(&exp("1e999")), CLAIMS),
    ("exp negative", |bench| bench.signed_claims(&exp("-1")), TokenError::Claim("exp")),
    ("exp huge", |bench| bench.signed_claims(&exp("1e300")), TokenError::Claim("exp")),
    ("exp beyond u64", |bench| bench.signed_claims(&exp("18446744073709551616")), TokenError::Claim("exp")),
    ("exp in milliseconds", |bench| bench.signed_claims(&exp("1900000000000")), TokenError::Claim("exp")),
    ("exp true", |bench| bench.signed_claims(&exp("true")), TokenError::Claim("exp")),
    ("exp an array", |bench| bench.signed_claims(&exp("[1900000000]")), TokenError::Claim("exp")),
    ("exp zero", |bench| bench.signed_claims(&exp("0")), TokenError::Expired),
    ("exp past", |bench| bench.signed_claims(&exp("1799999995")), TokenError::Expired),
    ("exp past, a float", |bench| bench.signed_claims(&exp("1799999994.999")), TokenError::Expired),
    ("nbf future", |bench| bench.signed_claims(&claims(r#","nbf":1800000006"#)), TokenError::NotYetValid),
    ("nbf a string", |bench| bench.signed_claims(&claims(r#","nbf":"0""#)), TokenError::Claim("nbf")),
    ("nbf null", |bench| bench.signed_claims(&claims(r#","nbf":null"#)), TokenError::Claim("nbf")),
    ("iat future", |bench| bench.signed_claims(&claims(r#","iat":1800000006"#)), TokenError::IssuedInFuture),
    ("iat a string", |bench| bench.signed_claims(&claims(r#","iat":"0""#)), TokenError::Claim("iat")),
    ("iat negative", |bench| bench.signed_claims(&claims(r#","iat":-5"#)), TokenError::Claim("iat")),
    ("sub missing", |bench| bench.signed_claims(&exp("1900000000").replace("sub", "bus")), TokenError::Claim("user")),
    ("sub null", |bench| bench.signed_claims(&sub("null")), TokenError::Claim("user")),
    ("sub empty", |bench| bench.signed_claims(&sub("\"\"")), TokenError::Claim("user")),
    ("sub a number", |bench| bench.signed_claims(&sub("1")), TokenError::Claim("user")),
    ("sub an array", |bench| bench.signed_claims(&sub(r#"["u1"]"#)), TokenError::Claim("user")),
    ("sub an object", |bench| bench.signed_claims(&sub(r#"{"toString":"u1"}"#)), TokenError::Claim("user")),
    ("sub with a NUL", |bench| bench.signed_claims(&sub(r#""u1\u0000""#)), TokenError::Claim("user")),
    ("sub with a newline", |bench| bench.signed_claims(&sub(r#""u1\nadmin""#)), TokenError::Claim("user")),
    ("sub of a raw NUL", |bench| bench.signed_claims(&sub("\"u\0\"")), CLAIMS),
    ("sub of half a character", |bench| bench.signed_claims(&sub(r#""\ud800""#)), CLAIMS),
    ("sub of 201 bytes", |bench| bench.signed_claims(&sub(&format!("\"{}\"", "u".repeat(201)))), TokenError::Claim("user")),
    ("sub of 196 bytes", |bench| bench.signed_claims(&sub(&format!("\"{}\"", "u".repeat(196)))), TokenError::Claim("user")),
    ("sub of 66 slashes", |bench| bench.signed_claims(&sub(&format!("\"{}\"", "/".repeat(66)))), TokenError::Claim("user")),
    ("sub of 33 é", |bench| bench.signed_claims(&sub(&format!("\"{}\"", "é".repeat(33)))), TokenError::Claim("user")),
    ("type refresh", |bench| bench.signed_claims(&claims(r#","type":"refresh""#)), TokenError::Type),
    ("typ Refresh", |bench| bench.signed_claims(&claims(r#","typ":"Refresh""#)), TokenError::Type),
    ("token_type refresh", |bench| bench.signed_claims(&claims(r#","token_type":"refresh""#)), TokenError::Type),
    ("scope an array", |bench| bench.signed_claims(&claims(r#","scope":["admin"]"#)), TokenError::Claim("scope")),
    ("scope true", |bench| bench.signed_claims(&claims(r#","scope":true"#)), TokenError::Claim("scope")),
    ("rooms a string", |bench| bench.signed_claims(&claims(r#","rooms":"*""#)), TokenError::Claim("rooms")),
    ("rooms null", |bench| bench.signed_claims(&claims(r#","rooms":null"#)), TokenError::Claim("rooms")),
    ("rooms of numbers", |bench| bench.signed_claims(&claims(r#","rooms":[1]"#)), TokenError::Claim("rooms")),
    ("a star inside", |bench| bench.signed_claims(&claims(r#","rooms":["a*b"]"#)), TokenError::Claim("rooms")),
    ("two stars", |bench| bench.signed_claims(&claims(r#","rooms":["**"]"#)), TokenError::Claim("rooms")),
    ("an empty pattern", |bench| bench.signed_claims(&claims(r#","rooms":[""]"#)), TokenError::Claim("rooms")),
    (
        "a pattern of 201 bytes",
        |bench| bench.signed_claims(&claims(&format!(r#","rooms":["{}"]"#, "r".repeat(201)))),
        TokenError::Claim("rooms"),
    ),
    ("a pattern with a space", |bench| bench.signed_claims(&claims(r#","rooms":["a b"]"#)), TokenError::Claim("rooms")),
    ("publish_rooms a string", |bench| bench.signed_claims(&claims(r#","publish_rooms":"*""#)), TokenError::Claim("publish_rooms")),
    ("jti a number", |bench| bench.signed_claims(&claims(r#","jti":7"#)), TokenError::Claim("jti")),
    ("jti empty", |bench| bench.signed_claims(&claims(r#","jti":"""#)), TokenError::Claim("jti")),
];

type Harmless = (&'static str, fn(&Bench) -> String);

/// What looks odd and is good: without these the table above would pass for a verifier that refuses everything.
const HARMLESS: &[Harmless] = &[
    ("a good token", Bench::good),
    ("typ in lower case", |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":"jwt"}}"#, bench.alg()))),
    ("typ of RFC 9068", |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":"application/at+jwt"}}"#, bench.alg()))),
    ("no typ", |bench| bench.signed_header(&format!(r#"{{"alg":"{}"}}"#, bench.alg()))),
    ("the right kid", |bench| bench.signed_header(&bench.header(r#","kid":"k1""#))),
    ("a stranger's key embedded, and not followed", |bench| {
        bench.signed_header(&bench.header(&format!(r#","jwk":{}"#, bench.stranger.jwk(""))))
    }),
    ("a jku that is not followed", |bench| bench.signed_header(&bench.header(r#","jku":"https://evil.example/""#))),
    ("exp a float", |bench| bench.signed_claims(&exp("1800003600.25"))),
    ("exp past, within the leeway", |bench| bench.signed_claims(&exp("1799999995.001"))),
    ("nbf and iat within the leeway", |bench| bench.signed_claims(&claims(r#","nbf":1800000005,"iat":1800000005"#))),
    ("sub with slashes and letters beyond ASCII", |bench| bench.signed_claims(&sub(r#""../é|u1""#))),
    ("sub of 195 bytes", |bench| bench.signed_claims(&sub(&format!("\"{}\"", "u".repeat(195))))),
    ("an aud that nobody asked for", |bench| bench.signed_claims(&claims(r#","aud":{"x":1},"iss":5"#))),
    ("type access", |bench| bench.signed_claims(&claims(r#","type":"access""#))),
    ("8 KiB exactly", |bench| padded_to(bench, TOKEN_BYTES_MAX)),
];

/// A good token of exactly so many bytes: spaces after the header and the claims fill it up.
fn padded_to(bench: &Bench, bytes: usize) -> String {
    let most = (bytes - bench.good().len()) * 3 / 4;
    let fillings = (0..3).flat_map(|after_header| (most - 12..=most).map(move |after_claims| (after_header, after_claims)));
    let tokens = fillings.map(|(after_header, after_claims)| {
        let [header, claims] = [bench.header("") + &" ".repeat(after_header), claims("") + &" ".repeat(after_claims)];
        bench.signer.sign_parts(header.as_bytes(), claims.as_bytes()).unwrap()
    });
    tokens.into_iter().find(|token| token.len() == bytes).expect("base64 leaves out one length in four, for each part: two parts reach all")
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

#[test]
fn there_are_enough_attacks_and_none_twice() {
    let names: Vec<&str> = [SHAPES, HEADERS, FORGERIES, SIGNATURES, CLAIM_TRICKS].concat().iter().map(|(name, ..)| *name).collect();
    let distinct: std::collections::HashSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len());
    assert!(names.len() >= 60, "{}", names.len());
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

/// A token signed HS256 with whatever bytes.
fn hmac_token(secret: &[u8]) -> String {
    let signed = format!("{}.{}", base64url::encode(br#"{"alg":"HS256"}"#), base64url::encode(claims("").as_bytes()));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
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
