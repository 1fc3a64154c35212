use super::*;
use crate::auth::{KeySet, MintClaims, SigningKey, Verifier, VerifyOptions, mint};
use crate::base::bucket::Rate;
use crate::base::codes::CLOSE_CONNECTION_LIMIT;
use crate::base::lane::Lane;
use crate::base::memory::{Level, Memory};
use crate::hub::catalog::Catalog;
use crate::hub::ports::{AckOf, Input};
use crate::net::link::Link;
use crate::reactor::admin_desk::AdminAccess;
use crate::reactor::audit::Audit;
use crate::reactor::authorizer::Inquirer;
use crate::reactor::options::ReactorOptions;
use crate::reactor::refusals::Refusals;
use crate::reactor::registry::{Presence, Registry, RegistryLimits};
use crate::reactor::rooms::Rooms;
use crate::reactor::runs::Runs;
use crate::reactor::samples::Samples;
use crate::reactor::stats::ReactorStats;
use crate::reactor::tickets::TicketDesk;
use crate::reactor::tokens::Tokens;
use crate::reactor::uplink;
use crate::wire::deflate::Inflater;
use crate::wire::forwarded::ClientAddress;
use crate::wire::frame::{Kind, Tag};

mod authorizer;

const SECRET: &[u8] = b"7d1f0c9ab83e4652a0c4d7e1f2b3958c";
const NOW: Now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };
const CONN: ConnId = ConnId { reactor: 0, slot: 5, generation: 1 };

struct Desk {
    session: Session,
    core: Core,
    outbox: Outbox,
    urgent: Arc<Link<Input>>,
}

pub(in crate::reactor) fn token(user: &str, rooms: &[&str], scopes: &[Scope], expires_at_s: u64) -> String {
    let claims = MintClaims {
        sub: user.to_owned(),
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
        publish_rooms: None,
        scopes: scopes.to_vec(),
        issued_at_s: expires_at_s - 3600,
        expires_at_s,
        issuer: None,
        audience: None,
        token_id: None,
    };
    mint(&SigningKey::read("test", SECRET).unwrap(), &claims).unwrap()
}

pub(in crate::reactor) fn verifier() -> Arc<Verifier> {
    let mut keys = KeySet::default();
    keys.add("test", SECRET).unwrap();
    Arc::new(Verifier::new(keys, VerifyOptions::default()))
}

pub(in crate::reactor) fn options() -> ReactorOptions {
    ReactorOptions {
        origins: Vec::new(),
        require_origin: false,
        admin_api: AdminAccess::All,
        query_token: false,
        peers: Vec::new(),
        client_address: ClientAddress::XForwardedFor,
        strangers_max: 100,
        commands: Some(Rate::per_second(20, 200)),
        queue_bytes_max: 1 << 20,
        reader_window: 256 << 10,
        slow_timeout: Duration::from_secs(30),
        heartbeat: Duration::from_secs(30),
        busy_poll: Duration::ZERO,
        instance: 7,
        compression: None,
        conformance_echo: false,
    }
}

const EXPIRES_S: u64 = NOW.wall_ms / 1000 + 600;

impl Desk {
    fn waiting() -> Desk {
        let (uplink, urgent, _bulk) = uplink::tests::links(4096);
        let core = Core {
            audit: Audit::new(None),
            refusals: Refusals::default(),
            tls: None,
            options: options(),
            catalog: Arc::new(Catalog::with(Vec::new()).unwrap()),
            tokens: Tokens::new(verifier(), Arc::default()),
            registry: Arc::new(Registry::new(RegistryLimits { connections_max: 10, per_user_max: 1, per_ip_max: None, handshakes: None })),
            ready_sign: Arc::default(),
            inquirer: Inquirer::new(None),
            ticket_desk: TicketDesk::new(None),
            admin: Arc::default(),
            stats: Arc::new(ReactorStats::default()),
            unix_grants: Arc::new(Grants::unix_socket()),
            daemon_grants: Arc::new(Grants::daemon()),
            uplink,
            rooms: Rooms::default(),
            samples: Samples::default(),
            runs: Runs::new(1 << 20),
            memory: Arc::new(Memory::new(0, 1)),
            memory_level: Level::Normal,
            strangers: 1,
            now: NOW,
            drain_until: None,
            text: Vec::new(),
            command: Vec::new(),
            inflater: Inflater::default(),
        };
        Desk { session: Session::new(CONN, None, false, Way::WebSocket), core, outbox: Outbox::default(), urgent }
    }

    fn open(rooms: &[&str], scopes: &[Scope]) -> Desk {
        let mut desk = Desk::waiting();
        let token = token("u1", rooms, scopes, EXPIRES_S);
        assert_eq!(desk.say(&format!(r#"{{"type":"auth","token":"{token}"}}"#)), Next::Go);
        assert!(desk.heard()[0].contains(r#""type":"welcome""#));
        desk
    }

    fn say(&mut self, text: &str) -> Next {
        self.session.on_text(text, &mut self.core, &mut self.outbox)
    }

    /// The texts that wait, in order of priority; they are written then.
    fn heard(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        while !self.outbox.is_empty() {
            let before = bytes.len();
            self.outbox.fill(Lane::Metric, &mut bytes, 1 << 20, |_| false);
            self.outbox.wrote(bytes.len() - before, |_| {});
        }
        let mut texts = Vec::new();
        let mut rest = &bytes[..];
        while let [_, len, tail @ ..] = rest {
            let (len, tail) = match *len {
                126 => (usize::from(u16::from_be_bytes([tail[0], tail[1]])), &tail[2..]),
                len => (usize::from(len), tail),
            };
            texts.push(String::from_utf8(tail[..len].to_vec()).unwrap());
            rest = &tail[len..];
        }
        texts
    }

    fn asked(&self) -> Vec<&'static str> {
        let name = |input| match input {
            Input::Join(_) => "join",
            Input::Leave { .. } => "leave",
            Input::Snapshot { .. } => "snapshot",
            Input::Ack(_) => "ack",
            Input::Publish(_)
            | Input::Announce(_)
            | Input::Escalated(_)
            | Input::Sequenced(_)
            | Input::Journal(_)
            | Input::Store(_)
            | Input::ReplayTaken { .. } => "other",
        };
        std::iter::from_fn(|| self.urgent.pop()).map(name).collect()
    }

    /// The hub grants the oldest join.
    fn grant(&mut self, room: RoomId, name: &str) {
        let frames = vec![Arc::new(Frame::reply(br#"{"type":"subscribed"}"#)), event(room, "replayed")];
        let joined = Joined {
            conn: CONN,
            room,
            name: name.into(),
            floor: [0; 3],
            delta: false,
            epoch: "e".into(),
            from: [1; 3],
            states_until: 0,
            frames,
            replay: None,
        };
        self.core.uplink.answered(1);
        self.session.on_joined(joined, &mut self.core, &mut self.outbox);
    }

    fn answer(&mut self, frames: Vec<Arc<Frame>>) {
        self.core.uplink.answered(1);
        self.session.on_reply(frames, &mut self.core, &mut self.outbox);
    }
}

fn room(slot: u32) -> RoomId {
    RoomId { slot, generation: 0 }
}

fn event(room: RoomId, text: &str) -> Arc<Frame> {
    let tag = Tag { room, lane: Lane::Alert, kind: Kind::Stream { seq: 1 }, accepted: Mono(0), taken: Mono(0), released: Mono(0) };
    Arc::new(Frame::text(tag, text.as_bytes()))
}

/// AUT-01: without a token nothing comes but the error and the Close.
#[test]
fn the_first_message_brings_a_token_or_the_end() {
    let mut desk = Desk::waiting();
    assert_eq!(desk.say(r#"{"type":"ping","id":1}"#), Next::Close(CLOSE_AUTH_TIMEOUT));
    let heard = desk.heard();
    assert!(heard.len() == 1 && heard[0].contains("bad_state") && heard[0].contains(r#""id":1"#), "{heard:?}");
    let mut desk = Desk::waiting();
    assert_eq!(desk.say(r#"{"type":"auth","id":2,"token":"x.y.z"}"#), Next::Close(CLOSE_INVALID_TOKEN));
    assert!(desk.heard()[0].contains("auth_failed"));
    assert!(desk.session.user().is_none());
}

/// LIM-03: the registry admits before the welcome.
#[test]
fn a_user_with_as_many_connections_as_allowed_gets_no_welcome() {
    let mut desk = Desk::waiting();
    desk.core.registry.admit(&"u1".into(), None, Presence::Lasting, NOW.mono).unwrap();
    let token = token("u1", &[], &[], EXPIRES_S);
    assert_eq!(desk.say(&format!(r#"{{"type":"auth","token":"{token}"}}"#)), Next::Close(CLOSE_CONNECTION_LIMIT));
    assert!(desk.heard().is_empty());
    desk.session.end(&mut desk.core);
    assert_eq!(desk.core.registry.users(), 1, "what was not admitted is not released");
}

/// Commands about a room whose join is awaited wait with it, in order.
#[test]
fn an_unsubscribe_waits_for_the_join_and_nothing_follows_its_ok() {
    let mut desk = Desk::open(&["r"], &[]);
    for command in [
        r#"{"type":"subscribe","id":1,"room":"r"}"#,
        r#"{"type":"snapshot","id":2,"room":"r"}"#,
        r#"{"type":"unsubscribe","id":3,"room":"r"}"#,
    ] {
        assert_eq!(desk.say(command), Next::Go);
    }
    assert_eq!(desk.asked(), ["join"]);
    assert!(desk.heard().is_empty());
    desk.grant(room(1), "r");
    assert_eq!(desk.asked(), ["snapshot", "leave"]);
    assert_eq!(desk.heard(), [r#"{"type":"subscribed"}"#, r#"{"type":"ok","id":3}"#]);
    desk.answer(vec![Arc::new(Frame::reply(b"the snapshot's ok")), event(room(1), "a state of a room that was left")]);
    assert_eq!(desk.heard(), ["the snapshot's ok"]);
    assert_eq!(desk.core.rooms.memberships(), 0);
}

/// Each `Joined` is ended by exactly one leave, also where two joins made one membership.
#[test]
fn joining_again_purges_and_leaves_once() {
    let mut desk = Desk::open(&["r"], &[]);
    for _ in 0..2 {
        assert_eq!(desk.say(r#"{"type":"subscribe","room":"r"}"#), Next::Go);
    }
    desk.grant(room(1), "r");
    desk.grant(room(1), "r");
    assert_eq!(desk.asked(), ["join", "join", "leave"]);
    let replayed = desk.heard().iter().filter(|text| *text == "replayed").count();
    assert_eq!((replayed, desk.core.rooms.memberships()), (1, 1));
}

#[test]
fn a_denied_join_makes_no_member() {
    let mut desk = Desk::open(&[], &[]);
    assert_eq!(desk.say(r#"{"type":"subscribe","id":1,"room":"r"}"#), Next::Go);
    assert_eq!(desk.say(r#"{"type":"snapshot","id":2,"room":"r"}"#), Next::Go);
    desk.answer(vec![Arc::new(Frame::reply(b"denied"))]);
    let heard = desk.heard();
    assert!(heard[0] == "denied" && heard[1].contains("not_member"), "{heard:?}");
    assert_eq!((desk.core.rooms.memberships(), desk.core.stats.joins_denied.value()), (0, 1));
}

/// LIM-07: joins that are awaited count as well.
#[test]
fn rooms_are_capped() {
    let mut desk = Desk::open(&["r*"], &[]);
    for n in 0..=ROOMS_PER_CONN_MAX {
        assert_eq!(desk.say(&format!(r#"{{"type":"subscribe","id":{n},"room":"r{n}"}}"#)), Next::Go);
        if n == 0 {
            desk.grant(room(0), "r0");
            desk.heard();
        }
    }
    let heard = desk.heard();
    assert!(heard.len() == 1 && heard[0].contains("too_many_rooms") && heard[0].contains(r#""id":100"#), "{heard:?}");
    assert_eq!(desk.say(r#"{"type":"subscribe","room":"r0"}"#), Next::Go);
    assert!(desk.heard().is_empty(), "a room that is joined already does not count twice");
}

/// AUT-06, AUT-07.
#[test]
fn a_token_is_renewed_by_the_same_user_alone() {
    let auth = |user: &str, expires_s| format!(r#"{{"type":"auth","id":9,"token":"{}"}}"#, token(user, &["r"], &[], expires_s));
    let mut desk = Desk::open(&["r"], &[]);
    assert_eq!(desk.say(&auth("u1", EXPIRES_S + 60)), Next::Go);
    assert_eq!(desk.heard(), [r#"{"type":"ok","id":9}"#]);
    assert_eq!(desk.say(&auth("u2", EXPIRES_S)), Next::Close(CLOSE_INVALID_TOKEN));
    assert!(desk.heard()[0].contains("user_mismatch"));
    let mut desk = Desk::open(&["r"], &[]);
    assert_eq!(desk.say(&auth("u1", NOW.wall_ms / 1000 - 60)), Next::Close(CLOSE_TOKEN_EXPIRED));
    assert!(desk.heard()[0].contains("token_expired"));
}

#[test]
fn a_narrower_token_ends_what_only_the_old_one_allowed() {
    let mut desk = Desk::open(&["r", "s"], &[]);
    for (slot, name) in [(1, "r"), (2, "s")] {
        assert_eq!(desk.say(&format!(r#"{{"type":"subscribe","room":"{name}"}}"#)), Next::Go);
        desk.grant(room(slot), name);
    }
    desk.heard();
    assert_eq!(desk.say(r#"{"type":"subscribe","room":"r"}"#), Next::Go);
    desk.asked();
    let narrower = token("u1", &["s"], &[], EXPIRES_S);
    assert_eq!(desk.say(&format!(r#"{{"type":"auth","token":"{narrower}"}}"#)), Next::Go);
    let heard = desk.heard();
    assert!(heard[1].contains(r#""type":"unsubscribed","room":"r""#), "{heard:?}");
    assert!(!desk.core.rooms.is_member(CONN.slot, room(1)) && desk.core.rooms.is_member(CONN.slot, room(2)));
    // The join that was under way was asked with the old token.
    desk.grant(room(1), "r");
    assert!(!desk.core.rooms.is_member(CONN.slot, room(1)));
    assert_eq!(desk.asked(), ["leave", "leave"]);
    assert!(!desk.heard().iter().any(|text| text == "replayed"));
}

/// AUT-06: notice 60 s before, the end at `exp`.
#[test]
fn a_token_is_noticed_before_it_ends_and_ends_the_connection() {
    let mut desk = Desk::open(&[], &[]);
    let notice = NOW.mono.plus(Duration::from_secs(540));
    assert_eq!(desk.session.deadline(NOW), notice);
    desk.core.now = Now { mono: notice, wall_ms: NOW.wall_ms + 540_000 };
    assert_eq!(desk.session.on_time(&mut desk.core, &mut desk.outbox), Next::Go);
    assert!(desk.heard()[0].contains(r#""expires_in_ms":60000"#));
    let end = NOW.mono.plus(Duration::from_secs(600));
    assert_eq!(desk.session.deadline(desk.core.now), end);
    desk.core.now = Now { mono: end, wall_ms: NOW.wall_ms + 600_000 };
    assert_eq!(desk.session.on_time(&mut desk.core, &mut desk.outbox), Next::Close(CLOSE_TOKEN_EXPIRED));
}

#[test]
fn bad_commands_in_a_row_end_the_connection_and_a_good_one_forgives() {
    let mut desk = Desk::open(&[], &[]);
    for _ in 0..2 {
        for _ in 1..BAD_COMMANDS_MAX {
            assert_eq!(desk.say(r#"{"type":"dance"}"#), Next::Go);
        }
        assert_eq!(desk.say(r#"{"type":"ping"}"#), Next::Go);
    }
    for _ in 1..BAD_COMMANDS_MAX {
        assert_eq!(desk.say("no json"), Next::Go);
    }
    assert_eq!(desk.say("no json"), Next::Close(CLOSE_TOO_MANY_ERRORS));
    assert_eq!(desk.heard().len(), 3 * usize::from(BAD_COMMANDS_MAX));
}

/// AUT-11: publishing needs the scope, and the room.
#[test]
fn publishing_needs_the_scope() {
    let alert = r#"{"type":"note","id":4,"room":"user:u1","lane":"alert","mode":"stream","data":{}}"#;
    let mut desk = Desk::open(&[], &[Scope::Publish]);
    assert_eq!(desk.say(alert), Next::Go);
    assert!(matches!(desk.urgent.pop(), Some(Input::Publish(publish)) if &*publish.event.room == "user:u1"));
    assert_eq!(desk.say(&alert.replace("user:u1", "system:x")), Next::Go);
    assert!(desk.heard().is_empty(), "the refusal of the second waits for the answer to the first");
    desk.session.on_answer(0, Err(Refusal::new(NOT_MEMBER, "first")), &mut desk.core, &mut desk.outbox);
    let heard = desk.heard();
    assert!(heard[0].contains("first") && heard[1].contains("forbidden"), "{heard:?}");
    let mut desk = Desk::open(&[], &[]);
    assert_eq!(desk.say(alert), Next::Go);
    assert!(desk.heard()[0].contains("unknown_type"));
}

#[test]
fn while_the_daemon_stops_nothing_is_published() {
    let mut desk = Desk::open(&[], &[Scope::Publish]);
    desk.core.drain_until = Some(Mono::NEVER);
    assert_eq!(desk.say(r#"{"type":"note","id":4,"room":"user:u1","lane":"alert","data":{}}"#), Next::Go);
    assert!(desk.heard()[0].contains("shutting_down"));
    assert!(desk.urgent.is_empty());
}

/// PRO-06: the user's own token says whose acknowledgment it is; positions count in rooms that were joined.
#[test]
fn acknowledgments_go_to_the_hub_in_the_users_name() {
    let mut desk = Desk::open(&["r"], &[]);
    assert_eq!(desk.say(r#"{"type":"ack","id":9,"event_id":"e1"}"#), Next::Go);
    let Some(Input::Ack(ack)) = desk.urgent.pop() else { panic!("it was sent") };
    assert_eq!((&*ack.user, ack.request, ack.of), ("u1", Some(RequestId::from(9)), AckOf::Event("e1".into())));
    assert!(desk.heard().is_empty(), "the hub answers");
    desk.core.uplink.answered(1);
    Session::on_acked(&RequestId::from(9), Ok(()), &mut desk.core, &mut desk.outbox);
    assert_eq!(desk.heard(), [r#"{"type":"ok","id":9}"#]);
    let up_to = r#"{"type":"ack","room":"r","lane":"alert","epoch":"k3","seq":4}"#;
    assert_eq!(desk.say(up_to), Next::Go);
    assert_eq!((desk.asked().len(), desk.core.stats.acks_unknown_room.value()), (0, 1));
    assert_eq!(desk.say(r#"{"type":"subscribe","room":"r"}"#), Next::Go);
    desk.grant(room(3), "r");
    desk.heard();
    desk.asked();
    assert_eq!(desk.say(up_to), Next::Go);
    let Some(Input::Ack(ack)) = desk.urgent.pop() else { panic!("it was sent") };
    assert_eq!((ack.request, ack.of), (None, AckOf::UpTo { room: room(3), lane: Lane::Alert, epoch: "k3".into(), seq: 4 }));
    assert!(desk.heard().is_empty() && desk.core.uplink.outstanding() == 0, "and nobody answers");
}
