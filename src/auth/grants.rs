//! What a verified token allows: the rooms it may read, the rooms it may publish to, its scopes.

use std::sync::Arc;

use super::claims::Times;
use super::tickets::Written;
use crate::base::ident::encode_segment;
use crate::base::limits::{IDENT_BYTES_MAX, OWN_EVENT_IDS};

/// What stands before the user in the name of one's own room.
const OWN_PREFIX: &str = "user:";
/// Rooms that a pattern matches only if it writes their prefix out: `*` must not open somebody's private room, nor the operator's.
const RESERVED_PREFIXES: [&str; 3] = [OWN_PREFIX, "system:", "admin:"];
/// Rooms to which only those publish who may speak to everybody, or to operators.
const BROADCAST_PREFIXES: [&str; 2] = ["system:", "admin:"];
/// What operators see of the daemon: the scope `admin` opens it.
const OPERATORS_PREFIX: &str = "admin:";
/// The same of one room beside those.
const OPERATORS_ALERTS: &str = "system:alerts";
/// Beside the scopes' bits: it is the daemon that publishes.
const DAEMON_BIT: u8 = 1 << 7;

/// A power beyond reading rooms, from the token's `scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// May publish.
    Publish,
    /// May publish to `system:` and `admin:` rooms too.
    Broadcast,
    /// May use the admin API, and read operators' rooms.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 3] = [Scope::Publish, Scope::Broadcast, Scope::Admin];

    /// The word in a token.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Publish => "publish",
            Scope::Broadcast => "broadcast",
            Scope::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn from_name(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Who a connection is, and what it may do, for as long as its token holds.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The user, as the token names it. `unix-socket` for the publish socket.
    pub user: Arc<str>,
    /// When the token ends, Unix milliseconds; without the leeway that a check of `exp` allows. `u64::MAX`: never.
    pub expires_at_ms: u64,
    /// The token's `jti`, by which it can be revoked.
    pub token_id: Option<Box<str>>,
    /// The token's `iat`, Unix seconds; 0 if it has none. In 32 bits it lasts until 2106, and a later one stays at the end.
    pub issued_at_s: u32,
    scopes: u8,
    /// What it may read; `None`: all.
    rooms: Option<Patterns>,
    /// What it may publish to; `None`: all.
    publish_rooms: Option<Patterns>,
}

impl Grants {
    /// The grants of a verified token.
    pub(super) fn new(user: &str, times: Times, token_id: Option<Box<str>>, allowed: Allowed) -> Grants {
        let Allowed { scopes, rooms, publish_rooms } = allowed;
        let scopes = scopes.into_iter().fold(0, |bits, scope| bits | scope.bit());
        let issued_at_s = times.issued_at_ms.map_or(0, |ms| u32::try_from(ms / 1000).unwrap_or(u32::MAX));
        let expires_at_ms = times.expires_at_ms;
        Grants { user: user.into(), expires_at_ms, token_id, issued_at_s, scopes, rooms: Some(rooms), publish_rooms }
    }

    /// Those of a token of which one was told, that somebody else has verified, without what it allows.
    pub fn told_of(user: &str, token_id: Option<&str>, issued_at_s: u32, expires_at_ms: u64) -> Grants {
        let token_id = token_id.map(Box::from);
        Grants { user: user.into(), expires_at_ms, token_id, issued_at_s, scopes: 0, rooms: Some(Patterns::default()), publish_rooms: None }
    }

    /// What the unix socket grants: everything, for ever. The socket's file mode is the gate.
    pub fn unix_socket() -> Grants {
        let scopes = Scope::ALL.into_iter().fold(0, |bits, scope| bits | scope.bit());
        let (user, expires_at_ms) = ("unix-socket".into(), u64::MAX);
        Grants { user, expires_at_ms, token_id: None, issued_at_s: 0, scopes, rooms: None, publish_rooms: None }
    }

    /// What the daemon itself may: everything, and name events as its own.
    pub fn daemon() -> Grants {
        let unix = Grants::unix_socket();
        Grants { user: "tickerd".into(), scopes: unix.scopes | DAEMON_BIT, ..unix }
    }

    /// May it name an event so? Names that begin as the daemon's own are for the daemon alone: by them it knows what it has published.
    pub fn may_name(&self, event_id: &str) -> bool {
        self.scopes & DAEMON_BIT != 0 || !event_id.starts_with(OWN_EVENT_IDS)
    }

    /// May it become a member of `room`? Its own `user:` room always, an operator's with the scope `admin`; else by pattern. A room's owner is not
    /// known here.
    pub fn may_read(&self, room: &str) -> bool {
        let is_operators = room.starts_with(OPERATORS_PREFIX) || room == OPERATORS_ALERTS;
        self.is_own(room) || (is_operators && self.has(Scope::Admin)) || is_open(self.rooms.as_ref(), room)
    }

    /// May it publish to `room`? With the scope `publish` and by pattern; to `system:` and `admin:` rooms with the scope `broadcast` besides.
    pub fn may_publish(&self, room: &str) -> bool {
        let broadcast = BROADCAST_PREFIXES.iter().any(|prefix| room.starts_with(prefix));
        self.has(Scope::Publish) && (!broadcast || self.has(Scope::Broadcast)) && is_open(self.publish_rooms.as_ref(), room)
    }

    /// Does it have this scope?
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes & scope.bit() != 0
    }

    pub(super) fn written(&self) -> Written {
        let scopes = Scope::ALL.into_iter().filter(|scope| self.has(*scope)).map(|scope| scope.name().to_owned());
        let text = |patterns: &Patterns| (*patterns.0).to_owned();
        Written {
            user: (*self.user).to_owned(),
            expires_at_ms: self.expires_at_ms,
            jti: self.token_id.as_deref().map(str::to_owned),
            issued_at_s: self.issued_at_s,
            scopes: scopes.collect(),
            rooms: self.rooms.as_ref().map(text),
            publish_rooms: self.publish_rooms.as_ref().map(text),
        }
    }

    /// `None` if a token could not have granted that.
    pub(super) fn read(written: Written) -> Option<Grants> {
        let Written { user, expires_at_ms, jti, issued_at_s, scopes, rooms, publish_rooms } = written;
        let patterns = |text: Option<String>| {
            let read = |text: String| text.split_terminator(' ').map(Pattern::parse).collect::<Option<Patterns>>();
            text.map_or(Some(None), |text| read(text).map(Some))
        };
        let scopes = scopes.iter().try_fold(0, |bits, scope| Some(bits | Scope::from_name(scope)?.bit()))?;
        is_user(&user).then_some(())?;
        Some(Grants {
            user: user.into(),
            expires_at_ms,
            token_id: jti.map(String::into_boxed_str),
            issued_at_s,
            scopes,
            rooms: Some(patterns(rooms)??),
            publish_rooms: patterns(publish_rooms)?,
        })
    }

    fn is_own(&self, room: &str) -> bool {
        room.strip_prefix(OWN_PREFIX).is_some_and(|user| *user == encode_segment(&self.user))
    }
}

/// The part of the claims that allows things.
pub(super) struct Allowed {
    pub(super) scopes: Vec<Scope>,
    pub(super) rooms: Patterns,
    /// `None`: all.
    pub(super) publish_rooms: Option<Patterns>,
}

/// Can this be a user? Not empty, without control characters, and short enough for its room to have a name.
pub(super) fn is_user(sub: &str) -> bool {
    !sub.is_empty()
        && sub.len() <= IDENT_BYTES_MAX
        && !sub.contains(char::is_control)
        && OWN_PREFIX.len() + encode_segment(sub).len() <= IDENT_BYTES_MAX
}

/// A room name, or the beginning of one and `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern<'a> {
    text: &'a str,
    open: bool,
}

impl<'a> Pattern<'a> {
    /// Reads a pattern. `None`: an empty one, one longer than a room name, `*` anywhere but at the end, or a character that no
    /// room name has.
    pub(super) fn parse(pattern: &'a str) -> Option<Pattern<'a>> {
        let parsed = Pattern::split(pattern);
        let fits = !pattern.is_empty() && pattern.len() <= IDENT_BYTES_MAX;
        (fits && parsed.text.bytes().all(is_room_byte)).then_some(parsed)
    }

    fn split(pattern: &'a str) -> Pattern<'a> {
        pattern.strip_suffix('*').map_or(Pattern { text: pattern, open: false }, |text| Pattern { text, open: true })
    }

    fn matches(self, room: &str) -> bool {
        if !self.open {
            return room == self.text;
        }
        let reserved = RESERVED_PREFIXES.iter().find(|prefix| room.starts_with(**prefix));
        room.starts_with(self.text) && reserved.is_none_or(|prefix| self.text.starts_with(prefix))
    }
}

/// Patterns, each with a space behind it, which no pattern has: one text for all, because every connection keeps its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns(Box<str>);

impl Patterns {
    fn open(&self, room: &str) -> bool {
        self.0.split_terminator(' ').any(|pattern| Pattern::split(pattern).matches(room))
    }
}

impl<'a> FromIterator<Pattern<'a>> for Patterns {
    fn from_iter<I: IntoIterator<Item = Pattern<'a>>>(patterns: I) -> Patterns {
        let texts = patterns.into_iter().flat_map(|Pattern { text, open }| [text, if open { "* " } else { " " }]);
        Patterns(texts.collect::<String>().into())
    }
}

/// Whether the patterns allow the room; `None`: they allow all.
fn is_open(patterns: Option<&Patterns>, room: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.open(room))
}

fn is_room_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.:%-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FOREVER: Times = Times { issued_at_ms: None, expires_at_ms: u64::MAX };

    fn patterns(texts: &[&str]) -> Patterns {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn reader(user: &str, rooms: &[&str]) -> Grants {
        Grants::new(user, FOREVER, None, Allowed { scopes: Vec::new(), rooms: patterns(rooms), publish_rooms: None })
    }

    fn publisher(scopes: &[Scope], publish_rooms: Option<&[&str]>) -> Grants {
        let allowed = Allowed { scopes: scopes.to_vec(), rooms: Patterns::default(), publish_rooms: publish_rooms.map(patterns) };
        Grants::new("p", FOREVER, None, allowed)
    }

    /// ROM-02: default deny, exact names, prefixes.
    #[test]
    fn patterns_open_what_they_write_out() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("challenge:8f", &["challenge:8f"], &["challenge:8", "challenge:8f1", "challenge:*", "Challenge:8f", ""]),
            ("challenge:*", &["challenge:8f", "challenge:", "challenge:a:b"], &["challenge", "challeng:8f", "xchallenge:8f"]),
            ("quote:4*", &["quote:4", "quote:42"], &["quote:5", "quote:"]),
            ("*", &["challenge:8f", "x", "users:1", "system", "user", "administrator"], &["user:u1", "user:", "system:console", "admin:x"]),
            ("u*", &["u", "users:1"], &["user:u1"]),
            ("user*", &["users:1", "user"], &["user:u1", "user:"]),
            ("user:*", &["user:u1", "user:"], &["system:x", "admin:x", "challenge:8f"]),
            ("user:u*", &["user:u1", "user:u"], &["user:v"]),
            ("user:u2", &["user:u2"], &["user:u3"]),
            ("sys*", &["sys"], &["system:console"]),
            ("system:*", &["system:console"], &["user:u1", "admin:x"]),
            ("admin:*", &["admin:x"], &["user:u1", "system:x"]),
        ];
        for (pattern, open, shut) in cases {
            let grants = reader("me", &[pattern]);
            open.iter().for_each(|room| assert!(grants.may_read(room), "{pattern} opens {room}"));
            shut.iter().for_each(|room| assert!(!grants.may_read(room), "{pattern} leaves {room} shut"));
        }
    }

    #[test]
    fn each_of_many_patterns_opens_its_own_rooms() {
        let grants = reader("me", &["challenge:8f", "quote:*", "x", "x"]);
        for room in ["challenge:8f", "quote:", "quote:42", "x"] {
            assert!(grants.may_read(room), "{room}");
        }
        for room in ["challenge:8", "challenge:8f ", "challenge:8f quote:", "8f quote:1", " ", "", "*", "x x"] {
            assert!(!grants.may_read(room), "{room:?}");
        }
    }

    /// AUT-03: what one node leaves in the store for a ticket grants the same on another, no more and no less; and who writes nonsense there gets nothing.
    #[test]
    fn what_passes_through_the_store_grants_what_it_did() {
        let times = Times { issued_at_ms: Some(5_000), expires_at_ms: 1_700_000_000_000 };
        let allowed = |publish_rooms| Allowed {
            scopes: vec![Scope::Publish, Scope::Admin],
            rooms: patterns(&["quote:*", "x", "user:u2"]),
            publish_rooms,
        };
        let rooms = ["quote:1", "x", "y", "user:u2", "user:u3", "user:a%40b", "system:x", "system:alerts", "challenge:8f"];
        for publish_rooms in [None, Some(patterns(&[])), Some(patterns(&["x*"]))] {
            let grants = Grants::new("a@b", times, Some("t1".into()), allowed(publish_rooms));
            let again = Grants::from_store(&grants.to_store()).unwrap();
            assert_eq!(
                (&*again.user, again.expires_at_ms, again.token_id.as_deref(), again.issued_at_s),
                ("a@b", 1_700_000_000_000, Some("t1"), 5)
            );
            for room in rooms {
                assert_eq!((again.may_read(room), again.may_publish(room)), (grants.may_read(room), grants.may_publish(room)), "{room}");
            }
            assert!(Scope::ALL.into_iter().all(|scope| again.has(scope) == grants.has(scope)));
        }
        assert!(!Grants::from_store(&reader("u1", &[]).to_store()).unwrap().may_read("challenge:8f"));
        let good = reader("u1", &["x"]).to_store();
        for bad in [
            "",
            "{}",
            &good.replace("\"u1\"", "\"\""),
            &good.replace("\"x \"", "\"** \""),
            &good.replace("\"x \"", "null"),
            &good.replace('{', "{\"scopes\":[\"daemon\"],"),
        ] {
            assert!(Grants::from_store(bad).is_none(), "{bad}");
        }
    }

    /// ROM-02.
    #[test]
    fn without_patterns_only_ones_own_room_is_open() {
        let grants = reader("u1", &[]);
        assert!(grants.may_read("user:u1"));
        for room in ["user:u2", "user:u", "user:u11", "user:", "challenge:8f", "system:console", "*", ""] {
            assert!(!grants.may_read(room), "{room}");
        }
    }

    #[test]
    fn ones_own_room_has_the_user_percent_encoded() {
        let cases = [
            ("a@b.c", "user:a%40b.c"),
            ("auth0|7", "user:auth0%7C7"),
            ("../é", "user:..%2F%C3%A9"),
            ("a:b", "user:a%3Ab"),
            ("50%", "user:50%25"),
            ("a%40b", "user:a%2540b"),
        ];
        for (user, room) in cases {
            assert!(reader(user, &[]).may_read(room), "{user}");
            assert!(!reader(user, &[]).may_read(&format!("user:{user}")), "{user}: only encoded");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "r".repeat(201);
        for text in ["", "**", "a*b", "*a", "a b", "a/b", "é", "a\0", "a?", &long] {
            assert_eq!(Pattern::parse(text), None, "{text:?}");
        }
        assert!(Pattern::parse(&long[1..]).is_some());
    }

    /// AUT-11, X14.
    #[test]
    fn publishing_takes_the_scope_and_system_rooms_another() {
        use Scope::{Admin, Broadcast, Publish};
        let publish = publisher(&[Publish], None);
        assert!(publish.may_publish("challenge:8f") && publish.may_publish("user:u1") && !publish.may_publish("system:console"));
        assert!(!publish.may_publish("admin:stats") && publisher(&[Publish, Broadcast], None).may_publish("admin:stats"));
        let both = publisher(&[Publish, Broadcast], None);
        assert!(both.may_publish("challenge:8f") && both.may_publish("system:console"));
        for scopes in [&[][..], &[Broadcast], &[Admin], &[Admin, Broadcast]] {
            assert!(!publisher(scopes, None).may_publish("challenge:8f") && !publisher(scopes, None).may_publish("system:x"), "{scopes:?}");
        }
        let narrow = publisher(&[Publish, Broadcast], Some(&["challenge:*"]));
        assert!(narrow.may_publish("challenge:8f") && !narrow.may_publish("quote:1") && !narrow.may_publish("system:console"));
        let star = publisher(&[Publish, Broadcast], Some(&["*"]));
        assert!(star.may_publish("quote:1") && !star.may_publish("user:u1") && !star.may_publish("system:console"));
        assert!(!publisher(&[Publish], Some(&[])).may_publish("quote:1"));
        assert!(!publish.may_read("challenge:8f"), "publishing is not reading");
    }

    /// AUT-11, OBS-10: what operators see takes their scope, or a pattern that writes it out; and their scope is good for nothing else.
    #[test]
    fn operators_rooms_take_the_scope_admin() {
        use Scope::{Admin, Broadcast, Publish};
        let operator = publisher(&[Admin], None);
        for room in ["admin:stats", "admin:x", "system:alerts"] {
            assert!(operator.may_read(room) && !publisher(&[Publish, Broadcast], None).may_read(room), "{room}");
        }
        for room in ["system:acks", "system:console", "system:alerts2", "challenge:8f", "user:u1", "admin"] {
            assert!(!operator.may_read(room), "{room}");
        }
    }

    #[test]
    fn the_unix_socket_may_everything_for_ever() {
        let grants = Grants::unix_socket();
        for room in ["challenge:8f", "user:u1", "system:console", "admin:x"] {
            assert!(grants.may_read(room) && grants.may_publish(room), "{room}");
        }
        assert!(Scope::ALL.into_iter().all(|scope| grants.has(scope)));
        assert_eq!(grants.expires_at_ms, u64::MAX);
    }

    proptest! {
        #[test]
        fn two_users_never_share_a_room(one in "\\PC{1,12}", other in "\\PC{1,12}") {
            prop_assert_eq!(encode_segment(&one) == encode_segment(&other), one == other);
            prop_assert!(encode_segment(&one).bytes().all(|byte| is_room_byte(byte) && byte != b':'));
        }

        #[test]
        fn a_star_never_opens_a_reserved_room(prefix in "[a-z:]{0,8}", reserved in prop::sample::select(&RESERVED_PREFIXES[..]), rest in "[a-z0-9]{0,8}") {
            let grants = reader("me!", &[&format!("{prefix}*")]);
            let room = format!("{reserved}{rest}");
            let written_out = prefix.starts_with(reserved) && room.starts_with(&prefix);
            prop_assert_eq!(grants.may_read(&room), written_out);
        }
    }
}
