//! tickerd pushes trading events to browsers and bots: alerts first, private by room, resumable, measured.
//!
//! # Threads, and what each owns
//!
//! ```text
//!  publishers: HTTP, unix socket, WebSocket            clients: WebSocket, SSE
//!           │                                               ▲
//!           ▼                                               │ one write per flush, lanes in order
//!  ┌─ reactor-0 ─────┐   ┌─ reactor-1 ─────┐   …   (thread per core: one Poll, own listeners, own connections)
//!  └──────┬────▲─────┘   └──────┬────▲─────┘
//!         │    └───────────┐    │    └─ a link from the hub to each reactor: FIFO of frames, joins, answers
//!    two links, shared:    │    │
//!    urgent │ bulk         │    │
//!         ▼ ▼              │    │
//!  ┌─ hub ─────────────────┴────┴─┐     ┌─ admin ──────────────┐     ┌─ signals ─┐
//!  │ sequences, holds, encodes    │     │ /metrics /livez …    │     │ drain     │
//!  └──────────────────────────────┘     └──────────────────────┘     └───────────┘
//! ```
//!
//! - **reactor-N** owns its connections by value: sockets, tokens, memberships, outboxes. It turns bytes into
//!   [`hub::ports::Publish`]es and joins, and frames into writes. Nobody else touches a socket. What a whole room gets is put together
//!   once and written as it is to every member that has nothing else to get; the others have it queued, by reference.
//! - **hub** owns the rooms: sequences, histories, states, windows. It gets inputs by two links, alerts before all
//!   else, encodes each event once, and pushes one reference to each reactor that has members of its room. Joins and snapshots, whose answers may
//!   be thousands of frames, wait for their turn ([`hub::asks`]): connection by connection, and no more than a reactor can soon take.
//! - **admin** answers scrapes and probes; it reads the other threads' counters and never waits for them.
//! - **operators-N** answer what tokens with the scope `admin` ask over the reactors, which leave the questions at a desk and get the answers by their
//!   control link.
//! - **audit**, only with `--data-dir`: writes the audit trail, which reactors and administrators tell it by a link, and a performance record for each
//!   minute. Nobody waits for it.
//! - **analytics**, only with `[analytics]`: follows the journal's files, makes the numbers of accounts of the fills in them, and publishes by a pair of sockets like any
//!   publisher; **verify** computes them again every few minutes. See [`daemon::analytics`].
//! - **redis-write**, **redis-read** (in a cluster one for each shard), **redis-fetch**, only with `--redis`: give the hub's events to Redis in
//!   batches, read what Redis made of the events of all nodes, read past events; **redis-users** asks it about tickets, and tells it
//!   how many connections users have. The hub then pushes nothing before it comes by the feed: see [`bridge`] and [`hub::store`].
//! - **authorizer-N**, only with `--authorizer-url`: asks the external authorizer about joins that neither token nor ownership allows, takes the
//!   questions from a desk at which reactors leave them, and tells the reactors by a link to each.
//! - **webhook-N**, only with `--webhook-url`: tell it of what users do not acknowledge in time; the hub leaves that at a desk, and gets by its link what
//!   came of it.
//! - **watch** looks once a second whether each of the others has come round, and gives the service manager a sign of life unless one stands still.
//! - **signals** turns SIGTERM into an ordered drain, and SIGHUP into a reload, which the main thread does.
//!
//! Threads meet in links (bounded lock-free queues with a coalesced wake-up, [`net::link`], [`net::bell`]) and in nothing else on
//! the hot path.
//!
//! # The map
//!
//! A module uses only those above it in this table, and siblings do not see each other; `tests/tidy.rs` holds it to that.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`base`] | ids with generations, lanes, codes, limits, time as data, counters |
//! | [`wire`] | bytes in, values out, and back: frames, WebSocket, HTTP, publish lines, commands, replies |
//! | [`auth`], [`hub`] | who may what (tokens, patterns); the sans-I/O core (sequence, lanes, history, resume) |
//! | [`analytics`] | the numbers of trading accounts, made of their fills, and the rules they are under |
//! | [`net`] | outbox, timer wheel, links, listeners, TLS, the clock |
//! | [`journal`] | the log on disk, its index, states and owners in tables, the audit trail; their threads |
//! | [`bridge`] | Redis, over which several nodes share their rooms: what goes there, what comes back; its threads |
//! | [`reactor`] | the event loop, sessions, publishers, memberships; gives browsers the files of `src/web` |
//! | [`ops`] | health, metrics, the admin listener, the log |
//! | [`config`] | flags, environment and file to one validated value |
//! | [`daemon`] | threads and links put together, and taken apart in order |
//! | [`cli`] | one file for each subcommand |
//!
//! # Invariants
//!
//! 1. Alerts leave before updates, updates before metrics, on every connection; a frame that is started is finished first.
//! 2. `stream` events of a (room, lane) reach every member in order, +1 each, from the `from` of its `subscribed` on, or a `gap` says
//!    which are missing. This holds over joins, full links and resumes.
//! 3. A frame reaches only members of its room. Ids carry generations, so a late message never reaches a slot's next owner.
//! 4. The last value of every `state` key reaches every member.
//! 5. Every queue is bounded by a number in [`base::limits`] or a flag; every drop is counted and the one concerned is told.
//! 6. Every granted join is ended by exactly one leave; every publish and command gets exactly one answer.
//! 7. Pure modules (`base`, `wire`, `auth`, `hub`, `analytics`, the outbox, the timer wheel, sessions) read no clock and do no I/O.
//!
//! # Deliberately absent
//!
//! An async runtime (the loop is the product), a lock on the hot path, `unsafe`, a database or broker, business logic (`data` is passed
//! through byte for byte), and anonymous access.

pub mod analytics;
pub mod auth;
pub mod base;
pub mod bridge;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod hub;
pub mod journal;
pub mod net;
pub mod ops;
pub mod reactor;
pub mod wire;
