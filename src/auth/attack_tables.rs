//! What attackers try, one row each.

use jsonwebtoken::{Algorithm as Jwa, EncodingKey};

use super::attacks::Bench;
use super::testing::{NOW_S, strangers};
use super::{TokenError, base64url};
use crate::base::limits::TOKEN_BYTES_MAX;

const PARTS: TokenError = TokenError::Malformed("it does not have three parts");
const HEADER: TokenError = TokenError::Malformed("its first part is not one JSON object in base64url, each member once");
const CLAIMS: TokenError = TokenError::Malformed("its second part is not one JSON object in base64url, each member once");
const SIGNATURE: TokenError = TokenError::Malformed("its third part, the signature, is empty or not base64url");
const KID: TokenError = TokenError::Malformed("its `kid` is not a string");

pub(super) type Attack = (&'static str, fn(&Bench) -> String, TokenError);

/// The shape of the whole text. AUT-01.
pub(super) const SHAPES: &[Attack] = &[
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
    ("Bearer left in front", |bench| format!("Bearer {}", bench.good()), HEADER),
    ("quotation marks around", |bench| format!("\"{}\"", bench.good()), SIGNATURE),
    ("a byte order mark in front", |bench| format!("\u{feff}{}", bench.good()), HEADER),
    ("a tab between", |bench| bench.good().replacen('.', ".\t", 1), TokenError::Signature),
    ("a line break inside the header", |bench| bench.altered(0, |part| format!("{}\r\n{}", &part[..8], &part[8..])), HEADER),
    ("a line break inside the signature", |bench| bench.altered(2, |part| format!("{}\n{}", &part[..8], &part[8..])), SIGNATURE),
    ("full stops of another script", |bench| bench.good().replace('.', "\u{ff0e}"), PARTS),
    ("a disclosure behind a tilde", |bench| bench.good() + "~", SIGNATURE),
    ("two tokens", |bench| format!("{},{}", bench.good(), bench.good()), PARTS),
    ("a header of half a character", |bench| bench.altered(0, |part| part[..part.len() / 4 * 4 - 3].to_owned()), HEADER),
    ("header and claims swapped", |bench| swapped(&bench.good()), TokenError::Algorithm),
    ("another kind of token", |_| "v4.public.eyJkYXRhIjoidGhpcyJ9".to_owned(), HEADER),
];

/// The header, signed by the real key: a header is refused whoever signs it.
pub(super) const HEADERS: &[Attack] = &[
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
    ("alg of another kind, 1", |bench| bench.signed_header(&other_alg(bench, 1)), TokenError::Algorithm),
    ("alg of another kind, 2", |bench| bench.signed_header(&other_alg(bench, 2)), TokenError::Algorithm),
    ("alg of another kind, 3", |bench| bench.signed_header(&other_alg(bench, 3)), TokenError::Algorithm),
    ("alg HS384", |bench| bench.signed_header(r#"{"alg":"HS384"}"#), TokenError::Algorithm),
    ("alg ES256K", |bench| bench.signed_header(r#"{"alg":"ES256K"}"#), TokenError::Algorithm),
    ("alg Ed25519", |bench| bench.signed_header(r#"{"alg":"Ed25519"}"#), TokenError::Algorithm),
    ("alg dir", |bench| bench.signed_header(r#"{"alg":"dir"}"#), TokenError::Algorithm),
    ("alg true", |bench| bench.signed_header(r#"{"alg":true}"#), TokenError::Algorithm),
    ("alg an object", |bench| bench.signed_header(&format!(r#"{{"alg":{{"name":"{}"}}}}"#, bench.alg())), TokenError::Algorithm),
    ("alg with a line break", |bench| bench.signed_header(&format!(r#"{{"alg":"{}\n"}}"#, bench.alg())), TokenError::Algorithm),
    ("Alg in upper case", |bench| bench.signed_header(&format!(r#"{{"Alg":"{}"}}"#, bench.alg())), TokenError::Algorithm),
    ("an empty object", |bench| bench.signed_header("{}"), TokenError::Algorithm),
    ("kid true", |bench| bench.signed_header(&bench.header(r#","kid":true"#)), KID),
    ("kid a float", |bench| bench.signed_header(&bench.header(r#","kid":1.5"#)), KID),
    ("crit of an extension that is there", |bench| bench.signed_header(&bench.header(r#","crit":["x"],"x":1"#)), TokenError::Critical),
    ("crit a string", |bench| bench.signed_header(&bench.header(r#","crit":"exp""#)), TokenError::Critical),
    ("crit of b64", |bench| bench.signed_header(&bench.header(r#","crit":["b64"],"b64":false"#)), TokenError::Critical),
    ("b64 true", |bench| bench.signed_header(&bench.header(r#","b64":true"#)), TokenError::Critical),
    ("zip null", |bench| bench.signed_header(&bench.header(r#","zip":null"#)), TokenError::Critical),
    ("zip escaped", |bench| bench.signed_header(&bench.header(r#","\u007aip":"DEF""#)), TokenError::Critical),
    ("typ null", |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":null}}"#, bench.alg())), TokenError::Type),
    ("typ empty", |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":""}}"#, bench.alg())), TokenError::Type),
    ("typ JOSE", |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":"JOSE"}}"#, bench.alg())), TokenError::Type),
    (
        "typ of a security event",
        |bench| bench.signed_header(&format!(r#"{{"alg":"{}","typ":"secevent+jwt"}}"#, bench.alg())),
        TokenError::Type,
    ),
    ("a header with a byte order mark", |bench| bench.signed_header(&format!("\u{feff}{}", bench.header(""))), HEADER),
    ("a header with a comment", |bench| bench.signed_header(&bench.header("/**/")), HEADER),
    ("a header with a comma too many", |bench| bench.signed_header(&bench.header(",")), HEADER),
    ("a header in single quotes", |bench| bench.signed_header(&bench.header("").replace('"', "'")), HEADER),
    ("a header of half a pair", |bench| bench.signed_header(&bench.header(r#","x":"\udc00""#)), HEADER),
    ("a header with NaN", |bench| bench.signed_header(&bench.header(r#","x":NaN"#)), HEADER),
    ("a header cut short", |bench| bench.signed_header(bench.header("").trim_end_matches('}')), HEADER),
];

/// Signed by somebody else, with a header that offers a key.
pub(super) const FORGERIES: &[Attack] = &[
    ("another key", |bench| forge(bench, ""), TokenError::Signature),
    ("jku", |bench| forge(bench, r#","jku":"https://evil.example/jwks.json""#), TokenError::Signature),
    ("x5u", |bench| forge(bench, r#","x5u":"https://evil.example/cert.pem""#), TokenError::Signature),
    ("x5c", |bench| forge(bench, r#","x5c":["MIIB"]"#), TokenError::Signature),
    ("the forger's own key embedded", |bench| forge(bench, &format!(r#","jwk":{}"#, bench.stranger.jwk(""))), TokenError::Signature),
    ("the forger's key under our kid", |bench| forge(bench, r#","kid":"k1""#), TokenError::Signature),
    ("jku of a file", |bench| forge(bench, r#","jku":"file:///etc/tickerd/jwks.json""#), TokenError::Signature),
    ("jku of this machine", |bench| forge(bench, r#","jku":"http://127.0.0.1:9100/jwks.json""#), TokenError::Signature),
    ("x5u of a file", |bench| forge(bench, r#","x5u":"file:///proc/self/environ""#), TokenError::Signature),
    ("x5t", |bench| forge(bench, r#","x5t":"AAAAAAAAAAAAAAAAAAAAAAAAAAA""#), TokenError::Signature),
    ("x5t of SHA-256", |bench| forge(bench, r#","x5t#S256":"AAAA""#), TokenError::Signature),
    ("our own key embedded", |bench| forge(bench, &format!(r#","jwk":{}"#, bench.pair.jwk(""))), TokenError::Signature),
    ("an empty secret embedded", |bench| forge(bench, r#","jwk":{"kty":"oct","k":""}"#), TokenError::Signature),
    ("a set of keys embedded", |bench| forge(bench, &format!(r#","jwks":{}"#, bench.stranger.jwks("k1"))), TokenError::Signature),
    ("jku, jwk and kid together", |bench| forge(bench, r#","kid":"k1","jku":"https://evil.example/","jwk":{}"#), TokenError::Signature),
    ("a password's salt and count", |bench| forge(bench, r#","p2s":"AAAA","p2c":2147483647"#), TokenError::Signature),
    ("an ephemeral key", |bench| forge(bench, r#","epk":{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#), TokenError::Signature),
    ("the issuer's name in the header", |bench| forge(bench, r#","iss":"us","sub":"u1""#), TokenError::Signature),
];

/// The signature.
pub(super) const SIGNATURES: &[Attack] = &[
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
    ("of nothing", |bench| bench.altered(2, |_| bench.signer.sign_text("").unwrap()), TokenError::Signature),
    (
        "of the claims alone",
        |bench| bench.altered(2, |_| bench.signer.sign_text(bench.good().split('.').nth(1).unwrap()).unwrap()),
        TokenError::Signature,
    ),
    (
        "of the text without its dot",
        |bench| bench.altered(2, |_| bench.signer.sign_text(&bench.text().replace('.', "")).unwrap()),
        TokenError::Signature,
    ),
    ("of the text and a dot", |bench| bench.altered(2, |_| bench.signer.sign_text(&(bench.text() + ".")).unwrap()), TokenError::Signature),
    ("backwards", |bench| bench.altered(2, |part| changed(part, |bytes| bytes.reverse())), TokenError::Signature),
    ("its halves swapped", |bench| bench.altered(2, |part| changed(part, |bytes| swap_halves(bytes))), TokenError::Signature),
    ("a zero in front", |bench| bench.altered(2, |part| changed(part, |bytes| bytes.insert(0, 0))), TokenError::Signature),
    ("its first half zero", |bench| bench.altered(2, |part| changed(part, |bytes| halves(bytes).0.fill(0))), TokenError::Signature),
    ("its second half zero", |bench| bench.altered(2, |part| changed(part, |bytes| halves(bytes).1.fill(0))), TokenError::Signature),
    (
        "one",
        |bench| {
            bench.altered(2, |part| {
                changed(part, |bytes| {
                    bytes.fill(0);
                    *bytes.last_mut().unwrap() = 1;
                })
            })
        },
        TokenError::Signature,
    ),
    ("the order of the curve, twice", |bench| bench.altered(2, |_| base64url::encode(&P256_ORDER.repeat(2))), TokenError::Signature),
    ("one byte", |bench| bench.altered(2, |_| base64url::encode(&[1])), TokenError::Signature),
    ("six kilobytes", |bench| bench.altered(2, |_| base64url::encode(&[7; 5000])), TokenError::Signature),
    ("the public key", |bench| bench.altered(2, |_| base64url::encode(&bench.stranger.public)), TokenError::Signature),
];

/// The claims, signed by the real key. AUT-01, AUT-04.
pub(super) const CLAIM_TRICKS: &[Attack] = &[
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
    ("exp an object", |bench| bench.signed_claims(&exp(r#"{"$gt":0}"#)), TokenError::Claim("exp")),
    ("exp with a sign", |bench| bench.signed_claims(&exp("+1900000000")), CLAIMS),
    ("exp with a zero in front", |bench| bench.signed_claims(&exp("01900000000")), CLAIMS),
    ("exp in hexadecimal", |bench| bench.signed_claims(&exp("0x713fb300")), CLAIMS),
    ("exp beyond i64, negative", |bench| bench.signed_claims(&exp("-9223372036854775809")), TokenError::Claim("exp")),
    ("exp of the year 10000", |bench| bench.signed_claims(&exp("253402300800")), TokenError::Claim("exp")),
    ("EXP in upper case", |bench| bench.signed_claims(r#"{"sub":"u1","EXP":1900000000}"#), TokenError::Claim("exp")),
    ("exp twice, escaped", |bench| bench.signed_claims(&claims(r#","e\u0078p":9999999999"#)), CLAIMS),
    ("nbf future, a float", |bench| bench.signed_claims(&claims(r#","nbf":1800000005.5"#)), TokenError::NotYetValid),
    ("nbf huge", |bench| bench.signed_claims(&claims(r#","nbf":1e300"#)), TokenError::Claim("nbf")),
    ("nbf an array", |bench| bench.signed_claims(&claims(r#","nbf":[0]"#)), TokenError::Claim("nbf")),
    ("iat null", |bench| bench.signed_claims(&claims(r#","iat":null"#)), TokenError::Claim("iat")),
    ("iat in milliseconds", |bench| bench.signed_claims(&claims(r#","iat":1800000000000"#)), TokenError::Claim("iat")),
    ("sub true", |bench| bench.signed_claims(&sub("true")), TokenError::Claim("user")),
    ("sub with DEL", |bench| bench.signed_claims(&sub(r#""u1\u007f""#)), TokenError::Claim("user")),
    ("sub with a line break of Unicode's", |bench| bench.signed_claims(&sub(r#""u1\u0085""#)), TokenError::Claim("user")),
    ("sub with CR LF", |bench| bench.signed_claims(&sub(r#""u1\r\nx: y""#)), TokenError::Claim("user")),
    ("SUB in upper case", |bench| bench.signed_claims(&exp("1900000000").replace("sub", "SUB")), TokenError::Claim("user")),
    ("token_use Refresh", |bench| bench.signed_claims(&claims(r#","token_use":"REFRESH""#)), TokenError::Type),
    ("scope null", |bench| bench.signed_claims(&claims(r#","scope":null"#)), TokenError::Claim("scope")),
    ("scope an object", |bench| bench.signed_claims(&claims(r#","scope":{"admin":true}"#)), TokenError::Claim("scope")),
    ("rooms an object", |bench| bench.signed_claims(&claims(r#","rooms":{"*":true}"#)), TokenError::Claim("rooms")),
    ("rooms within rooms", |bench| bench.signed_claims(&claims(r#","rooms":[["*"]]"#)), TokenError::Claim("rooms")),
    ("one good pattern and null", |bench| bench.signed_claims(&claims(r#","rooms":["a:*",null]"#)), TokenError::Claim("rooms")),
    ("a pattern with a slash", |bench| bench.signed_claims(&claims(r#","rooms":["a/b"]"#)), TokenError::Claim("rooms")),
    ("a pattern with é", |bench| bench.signed_claims(&claims(r#","rooms":["é"]"#)), TokenError::Claim("rooms")),
    ("a pattern with a NUL", |bench| bench.signed_claims(&claims(r#","rooms":["a\u0000"]"#)), TokenError::Claim("rooms")),
    ("a star in front", |bench| bench.signed_claims(&claims(r#","rooms":["*a"]"#)), TokenError::Claim("rooms")),
    ("publish_rooms null", |bench| bench.signed_claims(&claims(r#","publish_rooms":null"#)), TokenError::Claim("publish_rooms")),
    ("publish_rooms of numbers", |bench| bench.signed_claims(&claims(r#","publish_rooms":[1]"#)), TokenError::Claim("publish_rooms")),
    (
        "publish_rooms with a star inside",
        |bench| bench.signed_claims(&claims(r#","publish_rooms":["a*b"]"#)),
        TokenError::Claim("publish_rooms"),
    ),
    ("jti null", |bench| bench.signed_claims(&claims(r#","jti":null"#)), TokenError::Claim("jti")),
    ("jti of 201 bytes", |bench| bench.signed_claims(&claims(&format!(r#","jti":"{}""#, "j".repeat(201)))), TokenError::Claim("jti")),
    ("jti an array", |bench| bench.signed_claims(&claims(r#","jti":["j"]"#)), TokenError::Claim("jti")),
    ("a token within a token", |bench| bench.signed_claims(&bench.good()), CLAIMS),
    ("claims with a byte order mark", |bench| bench.signed_claims(&format!("\u{feff}{}", claims(""))), CLAIMS),
    ("claims that are not UTF-8", |bench| bench.signer.sign_parts(bench.header("").as_bytes(), b"{\"sub\":\"\xc0\xaf\"}").unwrap(), CLAIMS),
    (
        "claims that were deflated",
        |bench| bench.signer.sign_parts(bench.header("").as_bytes(), &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]).unwrap(),
        CLAIMS,
    ),
];

pub(super) type Harmless = (&'static str, fn(&Bench) -> String);

/// What looks odd and is good: without these the table above would pass for a verifier that refuses everything.
pub(super) const HARMLESS: &[Harmless] = &[
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

/// Who made the token and whom it is for, signed by the real key; the verifier wants `"iss":"us"` and `tickerd` in `aud`. AUT-01.
pub(super) const PARTIES: &[Attack] = &[
    ("neither iss nor aud", |bench| bench.signed_claims(&claims("")), TokenError::Issuer),
    ("no iss", |bench| bench.signed_claims(&claims(r#","aud":"tickerd""#)), TokenError::Issuer),
    ("another iss", |bench| bench.signed_claims(&claims(r#","iss":"them","aud":"tickerd""#)), TokenError::Issuer),
    ("iss with a slash", |bench| bench.signed_claims(&claims(r#","iss":"us/","aud":"tickerd""#)), TokenError::Issuer),
    ("iss in upper case", |bench| bench.signed_claims(&claims(r#","iss":"US","aud":"tickerd""#)), TokenError::Issuer),
    ("iss with a space", |bench| bench.signed_claims(&claims(r#","iss":"us ","aud":"tickerd""#)), TokenError::Issuer),
    ("iss with a NUL", |bench| bench.signed_claims(&claims(r#","iss":"us\u0000","aud":"tickerd""#)), TokenError::Issuer),
    ("iss an array", |bench| bench.signed_claims(&claims(r#","iss":["us"],"aud":"tickerd""#)), TokenError::Issuer),
    ("iss an object", |bench| bench.signed_claims(&claims(r#","iss":{"us":1},"aud":"tickerd""#)), TokenError::Issuer),
    ("iss null", |bench| bench.signed_claims(&claims(r#","iss":null,"aud":"tickerd""#)), TokenError::Issuer),
    ("iss twice", |bench| bench.signed_claims(&claims(r#","iss":"us","iss":"us","aud":"tickerd""#)), CLAIMS),
    ("no aud", |bench| bench.signed_claims(&claims(r#","iss":"us""#)), TokenError::Audience),
    ("another aud", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":"other""#)), TokenError::Audience),
    ("aud in upper case", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":"Tickerd""#)), TokenError::Audience),
    ("aud and more", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":"tickerd.evil""#)), TokenError::Audience),
    ("aud several words", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":"tickerd other""#)), TokenError::Audience),
    ("aud an empty array", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":[]"#)), TokenError::Audience),
    ("aud of others", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":["other","another"]"#)), TokenError::Audience),
    ("aud with a number", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":["tickerd",1]"#)), TokenError::Audience),
    ("aud within aud", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":[["tickerd"]]"#)), TokenError::Audience),
    ("aud an object", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":{"tickerd":true}"#)), TokenError::Audience),
    ("aud null", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":null"#)), TokenError::Audience),
    ("aud true", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":true"#)), TokenError::Audience),
    ("aud twice", |bench| bench.signed_claims(&claims(r#","iss":"us","aud":"other","aud":"tickerd""#)), CLAIMS),
];

pub(super) type Unkeyed = (&'static str, fn(&Bench) -> String);

/// Signed with what an attacker has instead of the key, under a header like our own. Who checks with that key says how it is refused.
pub(super) const CONFUSIONS: &[Unkeyed] = &[
    ("HS256, no secret", |_| hmac_token(b"")),
    ("HS256, a NUL", |_| hmac_token(b"\0")),
    ("HS256, 32 zeros", |_| hmac_token(&[0; 32])),
    ("HS256, the word secret", |_| hmac_token(b"secret")),
    ("HS256, the kid", |_| hmac_token(b"k1")),
    ("HS256, the alg", |bench| hmac_token(bench.alg().as_bytes())),
    ("HS256, half of a public key", |bench| hmac_token(&public(bench)[..public(bench).len() / 2])),
    ("HS256, a public key", |bench| hmac_token(&public(bench))),
    ("HS256, a public key without its last newline", |bench| hmac_token(public(bench).trim_ascii_end())),
    ("HS256, a public key in one line", |bench| hmac_token(String::from_utf8(public(bench)).unwrap().replace('\n', "").as_bytes())),
    ("HS256, a public key with CR LF", |bench| hmac_token(String::from_utf8(public(bench)).unwrap().replace('\n', "\r\n").as_bytes())),
    ("HS256, the body of a public key", |bench| hmac_token(String::from_utf8(public(bench)).unwrap().lines().nth(1).unwrap().as_bytes())),
    ("HS256, the text of a JWK", |bench| hmac_token(bench.pair.jwk("").as_bytes())),
    ("HS256, the text of a JWKS", |bench| hmac_token(bench.pair.jwks("k1").as_bytes())),
    ("HS512 called HS256", |bench| mac_token(&bench.pair.private, Jwa::HS512, None)),
    ("HS512 cut to the length of HS256", |bench| mac_token(&bench.pair.private, Jwa::HS512, Some(32))),
    ("HS384 called HS256", |bench| mac_token(&bench.pair.private, Jwa::HS384, None)),
    ("HS256 cut to a half", |bench| mac_token(&bench.pair.private, Jwa::HS256, Some(16))),
    ("HS256 cut to a byte", |bench| mac_token(&bench.pair.private, Jwa::HS256, Some(1))),
    ("HS256, the secret and a newline", |bench| hmac_token(&[&bench.pair.private[..], b"\n"].concat())),
    ("HS256, the secret in upper case", |bench| hmac_token(&bench.pair.private.to_ascii_uppercase())),
];

/// Good claims, and more of them (`,"name":…`).
pub(super) fn claims(more: &str) -> String {
    format!(r#"{{"sub":"u1","exp":{}{more}}}"#, NOW_S + 3600)
}

/// Good claims, but for the user's.
pub(super) fn sub(value: &str) -> String {
    format!(r#"{{"sub":{value},"exp":{}}}"#, NOW_S + 3600)
}

/// Good claims, but for when they end.
pub(super) fn exp(value: &str) -> String {
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

fn forge(bench: &Bench, more: &str) -> String {
    bench.stranger.signer().sign_parts(bench.header(more).as_bytes(), claims("").as_bytes()).unwrap()
}

fn resized(part: &str, by: isize) -> String {
    let mut bytes = base64url::decode(part).unwrap();
    bytes.resize(bytes.len().checked_add_signed(by).unwrap(), 0);
    base64url::encode(&bytes)
}

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

const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
    0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn swapped(token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    format!("{}.{}.{}", parts[1], parts[0], parts[2])
}

/// A header with one of the algorithms that the bench's key does not have.
fn other_alg(bench: &Bench, place: usize) -> String {
    let names = ["HS256", "RS256", "ES256", "EdDSA"];
    let own = names.iter().position(|name| *name == bench.alg()).unwrap();
    format!(r#"{{"alg":"{}"}}"#, names[(own + place) % names.len()])
}

/// A signature whose bytes are changed.
fn changed(part: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let mut bytes = base64url::decode(part).unwrap();
    let before = bytes.clone();
    change(&mut bytes);
    assert_ne!(bytes, before);
    base64url::encode(&bytes)
}

fn halves(bytes: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    bytes.split_at_mut(bytes.len() / 2)
}

fn swap_halves(bytes: &mut [u8]) {
    let (first, second) = halves(bytes);
    first.swap_with_slice(second);
}

/// What everybody knows of the bench's key; of a secret nobody knows anything, so there it is a stranger's key.
fn public(bench: &Bench) -> Vec<u8> {
    if bench.alg() == "HS256" { strangers()[1].public.clone() } else { bench.pair.public.clone() }
}

/// A token signed HS256 with whatever bytes.
pub(super) fn hmac_token(secret: &[u8]) -> String {
    mac_token(secret, Jwa::HS256, None)
}

/// The same with another MAC, which may be cut short.
fn mac_token(secret: &[u8], mac: Jwa, bytes: Option<usize>) -> String {
    let signed = format!("{}.{}", base64url::encode(br#"{"alg":"HS256"}"#), base64url::encode(claims("").as_bytes()));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(secret), mac).unwrap();
    let signature = bytes.map_or(signature.clone(), |bytes| base64url::encode(&base64url::decode(&signature).unwrap()[..bytes]));
    format!("{signed}.{signature}")
}
