//! A limit on everything, in one place, with cross-checks between them. What an operator may tune is an option with one of these as its default.

use std::time::Duration;

use super::bucket::Rate;

/// JSON nesting in published `data` and in commands.
pub const JSON_DEPTH_MAX: usize = 32;
/// Identifier: room, type, key, owner, `event_id`.
pub const IDENT_BYTES_MAX: usize = 200;
/// One published line, envelope included.
pub const PUBLISH_BYTES_MAX: usize = 64 * 1024;
/// One HTTP publish body (NDJSON, many lines).
pub const HTTP_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Lines in one HTTP publish.
pub const HTTP_LINES_MAX: usize = 16 * 1024;
/// One HTTP request head.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers in a request head.
pub const HTTP_HEADERS_MAX: usize = 64;
/// A token, before anything in it is parsed.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Tokens that one reactor remembers as good: publishers and those who come back at once, not everybody, which would cost memory.
pub const TOKENS_CACHED_MAX: usize = 1024;
/// How long it does.
pub const TOKEN_CACHED_FOR: Duration = Duration::from_secs(60);
/// A longer token is not remembered.
pub const TOKEN_CACHED_BYTES_MAX: usize = 2 * 1024;
/// How long a ticket stands for its token.
pub const TICKET_TTL: Duration = Duration::from_secs(30);
/// Tickets given out in that time.
pub const TICKETS_MAX: usize = 32 * 1024;
/// The same for one user.
pub const TICKETS_PER_USER_MAX: usize = 100;
/// Questions about tickets that one reactor may have put to the store that nodes share; the link back has as many slots.
pub const TICKETS_PENDING_PER_REACTOR: usize = 256;
/// How long a poll waits for something new, unless it says.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(25);
/// The longest time that it may say.
pub const POLL_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How long a poll that comes from another node, or from this one's last start, waits for something new before it begins anew: behind a load balancer
/// that sends each poll to the next node it would be asked again at once, with all states each time.
pub const POLL_MOVED_HOLD: Duration = Duration::from_secs(1);
/// Bytes of messages in one answer to a poll, but for a first one that is longer; the rest comes with the next.
pub const POLL_ANSWER_BYTES: usize = 256 * 1024;
/// `transient` events that are kept for one poll while its answer is being asked for.
pub const POLL_KEPT_BYTES_MAX: usize = 64 * 1024;
/// Revocations that hold at a time.
pub const REVOCATIONS_MAX: usize = 100_000;
/// Words of the authorizer that one reactor may wait for; the link back has as many slots.
pub const AUTHORIZER_PENDING_PER_REACTOR: usize = 4 * 1024;
/// Questions that may wait to be put to the authorizer.
pub const AUTHORIZER_WAITING_MAX: usize = 4 * 1024;
/// Answers of the authorizer that are kept.
pub const AUTHORIZER_ANSWERS_MAX: usize = 16 * 1024;
/// One answer of the authorizer.
pub const AUTHORIZER_ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// One request of an operator.
pub const ADMIN_BODY_BYTES_MAX: usize = 16 * 1024;
/// One answer to an operator over `--listen`: as long as a reactor may copy at once.
pub const ADMIN_ANSWER_BYTES_MAX: usize = 512 * 1024;
/// Requests of operators over `--listen` that are being answered, or wait for it.
pub const ADMIN_REQUESTS_MAX: usize = 32;
/// How long such an answer may take.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How many such requests one user may make: a page of theirs makes five in two seconds.
pub const ADMIN_RATE: Rate = Rate::per_second(20, 60);
/// Users whose requests are counted for it.
pub const ADMIN_USERS_MAX: usize = 1024;
/// One client command (a publishing WebSocket's message: [`PUBLISH_BYTES_MAX`]).
pub const COMMAND_BYTES_MAX: usize = 16 * 1024;
/// A position as a text: `since` and `Last-Event-ID`.
pub const CURSOR_BYTES_MAX: usize = 2 * IDENT_BYTES_MAX;
/// The raw text of a command's `id`.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// Rooms that one connection may have joined.
pub const ROOMS_PER_CONN_MAX: usize = 100;
/// Publishes of one connection that wait for their answer; beyond it we stop reading.
pub const CREDIT_WINDOW: usize = 4 * 1024;
/// Answers one reactor may wait for; the link back has as many slots in reserve, so that an answer always fits.
pub const OUTSTANDING_PER_REACTOR: usize = 16 * 1024;
/// Slots of a hub → reactor link for deliveries, beyond the reserve for answers.
pub const DELIVERY_SLOTS: usize = 32 * 1024;
/// Of the delivery slots, those that only alerts may use.
pub const ALERT_RESERVE_SLOTS: usize = 2 * 1024;
/// Outputs that a reactor has not taken yet before bulk waits at the hub: a reactor that is busy gets no more than it can write soon.
pub const AHEAD_MAX: usize = 2 * 1024;
/// Frames of joins and snapshots that the hub answers before it looks for alerts again. The answer that exceeds it is not cut.
pub const ANSWER_FRAMES_PER_TURN: usize = 1024;
/// Frames of such answers that a reactor has not taken yet before the hub lets further ones wait: what comes behind them, alerts too, waits for as
/// much to be queued, which is a millisecond.
pub const ANSWER_FRAMES_AHEAD_MAX: usize = 4 * 1024;
/// Slots of each ingest link, if there are reactors enough to fill them: one is for alerts, joins and other commands, one for all other
/// publishes.
pub const INGEST_SLOTS_MAX: usize = 64 * 1024;
/// Publishes that wait for the store that several nodes share.
pub const APPENDS_MAX: usize = 32 * 1024;
/// Of these, those that only alerts may use.
pub const APPENDS_ALERT_RESERVE: usize = APPENDS_MAX / 10;
/// Their bytes; alerts may use the last tenth alone.
pub const APPEND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries that wait for the disk.
pub const JOURNAL_ENTRIES_MAX: usize = 64 * 1024;
/// Of these, those that only alerts may use.
pub const JOURNAL_ALERT_RESERVE_ENTRIES: usize = JOURNAL_ENTRIES_MAX / 10;
/// Bytes that wait for the disk; alerts may use the last tenth alone.
pub const JOURNAL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Facts (states, owners) that wait for the disk; beyond it they wait in the hub, where newer ones take their place.
pub const JOURNAL_FACTS_MAX: usize = 4 * 1024;
/// Events that wait for one user's acknowledgment; beyond it the oldest goes.
pub const UNACKNOWLEDGED_PER_USER_MAX: usize = 100;
/// Bytes of events that wait for all users' acknowledgments, if the journal may have four times as much.
pub const UNACKNOWLEDGED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long an event waits for its user's acknowledgment, if its catalog entry does not say.
pub const ACK_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Entries of the audit trail that wait for the disk; further ones are dropped, and counted.
pub const AUDIT_ENTRIES_MAX: usize = 4 * 1024;
/// Entries that the audit trail keeps, whatever their age: about 100 MiB.
pub const AUDIT_ENTRIES_KEPT: u64 = 1_000_000;
/// How often one reactor tells the audit trail of somebody who is refused; the rest is summed up.
pub const AUDIT_REFUSAL_RATE: Rate = Rate::per_second(1, 100);
/// How often it tells of acknowledgments.
pub const AUDIT_ACK_RATE: Rate = Rate::per_second(20, 1_000);
/// How often one reactor logs somebody who is refused.
pub const LOGGED_REFUSAL_RATE: Rate = Rate::per_second(10, 100);
/// Bytes that may wait for a connection when the next part of its replay is asked for, if that is no more than [`REPLAY_SHARE`] of its queue.
pub const REPLAY_AHEAD_BYTES: usize = 64 * 1024;
/// Bytes of one part of a replay, likewise; but for a last event that is longer.
pub const REPLAY_PART_BYTES: usize = 64 * 1024;
/// Both are at most this part of a client's queue: what it asked for itself leaves place for what comes as it happens.
pub const REPLAY_SHARE: usize = 8;
/// Events in one part of a replay.
pub const REPLAY_PART_EVENTS: usize = 256;
/// Parts of replays that are read at a time.
pub const REPLAY_FETCHES_MAX: usize = 16;
/// Bytes parsed of one publisher in one loop turn.
pub const PARSE_BYTES_PER_TURN: usize = 64 * 1024;
/// What is left of a read goes before the next one if it is no longer than this; the rest of something longer is appended to.
pub const REST_BYTES_JOINED: usize = 4 * 1024;
/// Messages taken from one connection in one loop turn; four ping flooders must not starve the others.
pub const MESSAGES_PER_TURN: usize = 64;
/// Bytes of frames compressed for one write: about half a millisecond, a flush's slice.
pub const DEFLATE_BYTES_PER_WRITE: usize = 32 * 1024;
/// Pongs that wait for one connection; beyond it, the latest takes the place of all.
pub const PONG_BYTES_MAX: usize = 2 * 1024;
/// Lower-lane bytes in one write: what is started cannot be overtaken.
pub const LOWER_LANE_WRITE_BYTES: usize = 16 * 1024;
/// Unsent bytes the kernel may hold before a socket stops being writable (`TCP_NOTSENT_LOWAT`).
pub const NOTSENT_LOWAT_BYTES: u32 = 16 * 1024;
/// Kernel send buffer asked for (`SO_SNDBUF`; Linux doubles it for its own bookkeeping).
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Plaintext of one TLS record; RFC 8446 allows no more.
pub const TLS_RECORD_BYTES_MAX: usize = 16 * 1024;
/// What a TLS connection may have sent of a record, or of a handshake message, that has not come to its end.
pub const TLS_PARTIAL_BYTES_MAX: usize = 20 * 1024;
/// Answers of TLS itself that a peer has not read yet; beyond it we stop reading from it.
pub const TLS_UNSENT_BYTES_MAX: usize = 64 * 1024;
/// How long one loop turn may go on opening connections: TLS handshakes and signatures of tokens. Live pushes come between the turns.
pub const OPENING_SLICE: Duration = Duration::from_micros(500);
/// How many times the commands of a second one connection may send at once: with the default of 20 a second, it may join all its rooms at connect
/// and ask for as much again. Publishes are bounded by their credit instead.
pub const COMMAND_BURST: u32 = 10;
/// What a snapshot counts for: it may be thousands of states.
pub const SNAPSHOT_COMMANDS: u32 = 5;
/// Joins of one connection that are denied, after which it may ask for rooms that its token does not name only so often.
pub const DENIED_JOIN_RATE: Rate = Rate { every: Duration::from_secs(6), burst: 10 };
/// How long a client may go on being over its rate before 4104.
pub const RATE_PATIENCE: Duration = Duration::from_secs(10);
/// How many times the handshakes of a second one address may make at once.
pub const HANDSHAKE_BURST: u32 = 5;
/// Addresses whose connections and handshakes are counted.
pub const ADDRESSES_MAX: usize = 64 * 1024;
/// Consecutive bad commands before 4008.
pub const BAD_COMMANDS_MAX: u8 = 5;
/// The HTTP head, and then the token, must be complete within this.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a connection is dead.
pub const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Timers that are so much late show that the process did not run: it was stopped, or had no core.
pub const STALL: Duration = Duration::from_secs(1);
/// How long timers rest then, so that what clients said meanwhile is heard, and what waits for them written, before anybody is found silent or slow.
pub const STALL_REST: Duration = Duration::from_secs(1);
/// Notice before a token's expiry.
pub const EXPIRY_NOTICE: Duration = Duration::from_secs(60);
/// Clock difference allowed between us and a token's issuer.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(5);
/// Bytes of one write at most, unless a single frame is longer.
pub const WRITE_BYTES: usize = 64 * 1024;
/// How long one flush may go on with what is not urgent before sockets and hub are heard again.
pub const FLUSH_SLICE: Duration = Duration::from_micros(500);
/// What a reactor may have to write before it asks the hub to hold bulk back, in writes (about 3 µs each): about 25 ms.
pub const PRESSURE_COST: usize = 8 * 1024;
/// Bytes whose copying into a socket takes about as long as the write itself.
pub const COPY_BYTES_PER_WRITE: usize = 8 * 1024;
/// Alerts that a reactor may have to write before it takes nothing more from the hub, in writes: about 100 ms.
pub const ALERT_COST_MAX: usize = 4 * PRESSURE_COST;
/// What a connection takes that is idle: about 1.5 KB here, and 4 KB of the kernel for its socket.
pub const CONNECTION_BYTES: usize = 6 * 1024;
/// What TLS adds to it.
pub const TLS_CONNECTION_BYTES: usize = 6 * 1024;
/// What a membership takes at the reactor: its two sides.
pub const MEMBERSHIP_BYTES: usize = 96;
/// What a room takes in which nothing is kept: itself, its name, its places in tables.
pub const ROOM_BYTES: usize = 512;
/// The part of the memory budget that unfinished input may take: heads, bodies and messages of which the end has not come.
pub const UNFINISHED_SHARE: u64 = 8;
/// The part that strangers may take with it.
pub const STRANGERS_SHARE: u64 = 2 * UNFINISHED_SHARE;
/// The part that clients who take nothing may leave unread while memory is short.
pub const UNREAD_SHARE: u64 = 16;
/// When who was closed for want of memory had better come back, at the earliest.
pub const SHED_RETRY: Duration = Duration::from_secs(1);
/// How often a reactor looks at memory while nothing else happens, as long as there is little of it or others may need what the reactor holds.
pub const MEMORY_LOOK: Duration = Duration::from_millis(100);
/// Over how long a reactor finds out whether most of its members are behind.
pub const BEHIND_WINDOW: Duration = Duration::from_millis(100);
/// Bytes written to one connection in one loop turn.
pub const WRITE_BYTES_PER_TURN: usize = 256 * 1024;
/// Pings for each reader window.
pub const WINDOW_MARKS: u32 = 4;
/// A client with more than this part of its queue filled is slow, and is warned.
pub const SLOW_SHARE: usize = 2;
/// A client whose oldest frame has waited for this part of `--slow-timeout` is slow, and is warned.
pub const SLOW_PATIENCE: u32 = 6;
/// Answers that a publisher has not read yet; beyond it we stop reading from it.
pub const UNREAD_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Joins and snapshots of one connection that wait for the hub, and commands that wait for those.
pub const AWAITED_PER_CONN_MAX: usize = 2 * ROOMS_PER_CONN_MAX;
/// Connections that one listener accepts in one loop turn.
pub const ACCEPTS_PER_TURN: usize = 64;
/// How long accepting rests when the process is out of descriptors.
pub const ACCEPT_REST: Duration = Duration::from_millis(100);
/// A connection without a token is not ended to make place for others before it is as old as this: its request may be on the way.
pub const STRANGER_GRACE: Duration = Duration::from_millis(250);
/// How long accepting rests when there are too many of those.
pub const STRANGERS_REST: Duration = Duration::from_millis(5);
/// An HTTP body must be complete within this.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// A WebSocket message that was begun must be complete within this.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an HTTP connection may be idle between two requests.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// When the daemon stops, who has connected and sent no request yet has this long to send one, and is told where there is no service.
pub const DRAIN_GRACE: Duration = Duration::from_millis(500);
/// How long a closing connection may take to answer our Close, or to read our last answer.
pub const CLOSE_LINGER: Duration = Duration::from_secs(2);

/// How the `event_id`s of events begin that the daemon publishes itself: nobody else may use such ones.
pub const OWN_EVENT_IDS: &str = "tickerd:";
/// How those begin that entries of streams get, which have none: nobody may take them before the entry comes.
pub const ENTRY_EVENT_IDS: &str = "tickerd:entry:";

const _: () = {
    assert!(ALERT_RESERVE_SLOTS < DELIVERY_SLOTS);
    assert!(AHEAD_MAX < DELIVERY_SLOTS - ALERT_RESERVE_SLOTS);
    assert!(ANSWER_FRAMES_PER_TURN <= ANSWER_FRAMES_AHEAD_MAX);
    assert!(CREDIT_WINDOW <= OUTSTANDING_PER_REACTOR);
    assert!(COMMAND_BYTES_MAX <= PUBLISH_BYTES_MAX);
    assert!(TOKEN_BYTES_MAX < COMMAND_BYTES_MAX && TOKEN_BYTES_MAX < HTTP_HEAD_BYTES_MAX);
    assert!(HTTP_LINES_MAX >= CREDIT_WINDOW);
    // A read has room for what is left of the last one.
    assert!(2 * TLS_PARTIAL_BYTES_MAX < PARSE_BYTES_PER_TURN && LOWER_LANE_WRITE_BYTES <= TLS_RECORD_BYTES_MAX);
    assert!(INGEST_SLOTS_MAX >= OUTSTANDING_PER_REACTOR);
};
