//! What a verified token allows: the rooms it may read, the rooms it may publish to, its scopes.

use std::fmt::Write;
use std::sync::Arc;

use crate::base::limits::IDENT_BYTES_MAX;

/// Rooms that a pattern matches only if it writes their prefix out: `*` must not open somebody's private room, nor the operator's.
const RESERVED_PREFIXES: [&str; 3] = ["user:", "system:", "admin:"];

/// A power beyond reading rooms, from the token's `scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// May publish.
    Publish,
    /// May publish to `system:` rooms too.
    Broadcast,
    /// May use the admin API.
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
    scopes: u8,
    own_room: Box<str>,
    rooms: Rooms,
    publish_rooms: Rooms,
}

impl Grants {
    /// The grants of a verified token.
    pub(super) fn new(user: &str, expires_at_ms: u64, token_id: Option<Box<str>>, allowed: Allowed) -> Grants {
        let Allowed { scopes, rooms, publish_rooms } = allowed;
        let scopes = scopes.into_iter().fold(0, |bits, scope| bits | scope.bit());
        let publish_rooms = publish_rooms.map_or(Rooms::All, Rooms::Matching);
        Grants {
            user: user.into(),
            expires_at_ms,
            token_id,
            scopes,
            own_room: own_room(user),
            rooms: Rooms::Matching(rooms),
            publish_rooms,
        }
    }

    /// What the unix socket grants: everything, for ever. The socket's file mode is the gate.
    pub fn unix_socket() -> Grants {
        let user = "unix-socket";
        let scopes = Scope::ALL.into_iter().fold(0, |bits, scope| bits | scope.bit());
        let own_room = own_room(user);
        Grants {
            user: user.into(),
            expires_at_ms: u64::MAX,
            token_id: None,
            scopes,
            own_room,
            rooms: Rooms::All,
            publish_rooms: Rooms::All,
        }
    }

    /// May it become a member of `room`? Its own `user:` room always; else by pattern. A room's owner is not known here.
    pub fn may_read(&self, room: &str) -> bool {
        *room == *self.own_room || self.rooms.contain(room)
    }

    /// May it publish to `room`? With the scope `publish` and by pattern; to `system:` rooms with the scope `broadcast` besides.
    pub fn may_publish(&self, room: &str) -> bool {
        let broadcast = room.starts_with("system:");
        self.has(Scope::Publish) && (!broadcast || self.has(Scope::Broadcast)) && self.publish_rooms.contain(room)
    }

    /// Does it have this scope?
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes & scope.bit() != 0
    }
}

/// The part of the claims that allows things.
pub(super) struct Allowed {
    pub(super) scopes: Vec<Scope>,
    pub(super) rooms: Box<[Pattern]>,
    /// `None`: all.
    pub(super) publish_rooms: Option<Box<[Pattern]>>,
}

/// The user as it stands in a room's name: everything but `[A-Za-z0-9_.-]` percent-encoded, so that each user has one room and
/// no user's name reaches into another's.
pub fn encode_user(sub: &str) -> String {
    let mut encoded = String::with_capacity(sub.len());
    for byte in sub.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    encoded
}

/// Can this be a user? Not empty, without control characters, and short enough for its room to have a name.
pub(super) fn is_user(sub: &str) -> bool {
    !sub.is_empty() && sub.len() <= IDENT_BYTES_MAX && !sub.contains(char::is_control) && own_room(sub).len() <= IDENT_BYTES_MAX
}

/// A room name, or the beginning of one and `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: Box<str>,
    open: bool,
}

impl Pattern {
    /// Reads a pattern. `None`: an empty one, one longer than a room name, `*` anywhere but at the end, or a character that no
    /// room name has.
    pub(super) fn parse(pattern: &str) -> Option<Pattern> {
        let (text, open) = pattern.strip_suffix('*').map_or((pattern, false), |text| (text, true));
        let fits = !pattern.is_empty() && pattern.len() <= IDENT_BYTES_MAX;
        (fits && text.bytes().all(is_room_byte)).then(|| Pattern { text: text.into(), open })
    }

    fn matches(&self, room: &str) -> bool {
        if !self.open {
            return *room == *self.text;
        }
        let reserved = RESERVED_PREFIXES.iter().find(|prefix| room.starts_with(**prefix));
        room.starts_with(&*self.text) && reserved.is_none_or(|prefix| self.text.starts_with(prefix))
    }
}

#[derive(Clone, Debug)]
enum Rooms {
    All,
    Matching(Box<[Pattern]>),
}

impl Rooms {
    fn contain(&self, room: &str) -> bool {
        match self {
            Rooms::All => true,
            Rooms::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(room)),
        }
    }
}

fn own_room(user: &str) -> Box<str> {
    format!("user:{}", encode_user(user)).into()
}

fn is_room_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.:%-".contains(&byte)
}
