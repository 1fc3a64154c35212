//! `[[issuer]]` entries.

use super::*;

const TWO: &str = r#"
[[issuer]]
iss = "https://id.example"
key = "/k/id.jwks"

[[issuer]]
iss = "https://partner.example"
key = ["/k/p1.pem", "/k/p2.pem"]
aud = "tickerd"
user_claim = ["user_id", "sub"]
scope_claim = "https://desk.example/scope"
rooms_claim = "https://desk.example/rooms"
publish_rooms_claim = "pr"
required_claim = "iat"
"#;

fn load_alone(text: &str) -> Result<Loaded, ConfigError> {
    load_with(&[], &[], Some(text))
}

/// AUT-04: a table for each issuer, which is complete in itself; what is left out has the usual names.
#[test]
fn issuers_are_read_and_need_no_other_key() {
    let issuers = load_alone(TWO).unwrap().config.issuers;
    let [id, partner] = &issuers[..] else { panic!("{issuers:?}") };
    assert_eq!((id.iss.as_str(), &id.keys[..], &id.aud), ("https://id.example", &[PathBuf::from("/k/id.jwks")][..], &None));
    assert_eq!([&id.user_claims[0], &id.scope_claim, &id.rooms_claim, &id.publish_rooms_claim], ["sub", "scope", "rooms", "publish_rooms"]);
    assert!(id.required_claims.is_empty());
    assert_eq!(
        (partner.keys.len(), partner.aud.as_deref(), &partner.user_claims[..]),
        (2, Some("tickerd"), &["user_id".to_owned(), "sub".to_owned()][..])
    );
    let claims = [&partner.scope_claim, &partner.rooms_claim, &partner.publish_rooms_claim, &partner.required_claims[0]];
    assert_eq!(claims, ["https://desk.example/scope", "https://desk.example/rooms", "pr", "iat"]);
}

/// CLI-05: what `check` prints is a file that means the same.
#[test]
fn issuers_are_shown_as_they_may_be_written() {
    let first = load_alone(TWO).unwrap();
    let again = load_alone(&first.show()).unwrap();
    let values = |loaded: &Loaded| {
        let plain = |issuer: &IssuerEntry| IssuerEntry { origin: Origin::Default, ..issuer.clone() };
        loaded.config.issuers.iter().map(plain).collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&again));
}

#[test]
fn what_is_wrong_with_an_issuer_is_named_with_its_line() {
    let whole = "iss = \"a\"\nkey = \"/k/a\"\n";
    for (text, key, line) in [
        ("issuer = 1".to_owned(), "issuer", 1),
        ("issuer = [1]".to_owned(), "issuer", 1),
        ("[[issuer]]\nkey = \"/k/a\"\n".to_owned(), "issuer.iss", 1),
        ("[[issuer]]\niss = \"a\"\n".to_owned(), "issuer.key", 1),
        ("[[issuer]]\niss = \"\"\nkey = \"/k/a\"\n".to_owned(), "issuer.iss", 2),
        ("[[issuer]]\niss = \"a\"\nkey = []\n".to_owned(), "issuer.key", 3),
        ("[[issuer]]\niss = \"a\"\nkey = [\"/k\", 1]\n".to_owned(), "issuer.key", 3),
        (format!("[[issuer]]\n{whole}aud = [\"x\"]\n"), "issuer.aud", 4),
        (format!("[[issuer]]\n{whole}audience = \"x\"\n"), "audience", 4),
        (format!("[[issuer]]\n{whole}[[issuer]]\niss = \"a\"\nkey = \"/k/b\"\n"), "issuer.iss", 4),
        (format!("[[issuer]]\n{whole}[[issuer]]\niss = \"b\"\nkey = \"/k/a\"\n"), "issuer.key", 4),
    ] {
        let problem = only_problem(load_with(&["--jwt-key=/k/own"], &[], Some(&text)));
        assert_eq!(problem.key, key, "{text}: {problem}");
        assert!(matches!(problem.origin, Origin::File { line: found, .. } if found == line), "{problem}");
    }
}

/// The keys of the flags are those of one issuer: they do not go with another one's, nor are they named without a key.
#[test]
fn issuers_and_flags_do_not_contradict_each_other() {
    let text = "[[issuer]]\niss = \"a\"\nkey = \"/k/a\"\n";
    let key_of = |argv: &[&str]| only_problem(load_with(argv, &[], Some(text))).key;
    assert_eq!(key_of(&["--jwt-key=/k/a"]), "issuer.key");
    assert_eq!(key_of(&["--jwt-key=/k/b", "--jwt-iss=a"]), "issuer.iss");
    assert_eq!(key_of(&["--jwt-iss=b"]), "jwt_iss");
    assert_eq!(key_of(&["--jwt-aud=b"]), "jwt_aud");
    load_with(&["--jwt-key=/k/b", "--jwt-iss=b", "--jwt-aud=c"], &[], Some(text)).unwrap();
}
