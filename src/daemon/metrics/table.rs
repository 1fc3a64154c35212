//! The table of metrics: name, type, and what each says. README's is made from it.

use crate::ops::exposition::{Metric, Type};

macro_rules! metrics {
    ($($ident:ident = $kind:ident $name:literal [$($label:ident)*] $help:literal;)*) => {
        $(pub(super) const $ident: Metric =
            Metric { name: concat!("tickerd_", $name), kind: Type::$kind, labels: &[$(stringify!($label)),*], help: $help };)*
        /// The whole table, in the order of the scrape.
        pub const METRICS: &[Metric] = &[$($ident),*];
    };
}

metrics! {
    BUILD = Gauge "build_info" [version] "1, with the version as a label.";
    STATE = Gauge "state" [state] "1 for what the daemon is: starting, ready, degraded, draining or stopped.";
    RELOADS_TOTAL = Counter "reloads_total" [result] "Times that the configuration was read again, by result.";
    COMPONENT_UP = Gauge "component_up" [component] "1 for each part that works, 0 for one that does not.";
    ALERT_FIRING = Gauge "alert_firing" [alert] "1 for each built-in alert that fires.";
    DELIVERY = Histogram "delivery_seconds" [lane] "From the read that completed a published event to its bytes being handed to a member's socket; replays left out.";
    DELIVERY_PART = Histogram "delivery_part_seconds" [lane part] "Where that time went, by part: ingest_queue, hold, reactor_queue, write. They add up to delivery_seconds.";
    CONNECTIONS = Gauge "connections" [kind] "Open connections by what they speak.";
    ACCEPTED = Counter "accepted_total" [] "Connections accepted.";
    ACCEPT_REFUSED = Counter "accept_refused_total" [] "Connections dropped because their peer is in none of the allowed networks.";
    ACCEPT_ERRORS = Counter "accept_errors_total" [] "Accepts that failed, mostly for want of descriptors.";
    HANDSHAKES_TOTAL = Counter "handshakes_total" [result] "Requests to speak WebSocket by result.";
    TOKENS_KNOWN = Counter "tokens_known_total" [] "Tokens that were found good less than a minute before, and needed no signature check.";
    SIGNATURE_CHECKS = Counter "signature_checks_total" [] "Signatures of tokens checked.";
    TOKEN_ERRORS = Counter "token_errors_total" [reason] "Tokens refused by reason.";
    TLS_HANDSHAKES = Counter "tls_handshakes_total" [result] "TLS handshakes by result.";
    TLS_BYTES = Counter "tls_bytes_total" [direction] "Bytes of TLS records by direction, handshakes included.";
    TLS_EXPIRY = Gauge "tls_certificate_expiry_seconds" [] "Seconds until the first of the certificates expires; 0 when it has.";
    CLOSES = Counter "closed_total" [reason] "Ended connections by reason.";
    REFUSALS = Counter "refused_total" [error] "Refusals told to clients and publishers by error.";
    USERS = Gauge "users" [] "Users that are connected.";
    SESSIONS = LongHistogram "session_seconds" [] "How long clients' connections lasted that have ended.";
    AWAY = LongHistogram "reconnect_seconds" [] "From the end of a user's last connection to the next that was let in, if within ten minutes.";
    RTT = Histogram "rtt_seconds" [] "From a heartbeat's ping to its pong: what the line and the client's own queue take.";
    COMMANDS = Counter "commands_total" [command] "Messages of clients by verb; `bad` for those that are no command.";
    PUBLISHES = Counter "publish_lines_total" [] "Lines to publish that were read. Each is in events_total, publish_refused_total or publish_unanswered.";
    PUBLISH_REFUSED = Counter "publish_refused_total" [] "Lines refused before they came to the hub: not understood, not allowed, no room.";
    PUBLISH_UNANSWERED = Gauge "publish_unanswered" [] "Lines that wait for the hub's answer: in its queues, or for the disk.";
    EVENTS = Counter "events_total" [result] "Publishes that reached the hub, by result.";
    EVENTS_ACCEPTED = Counter "events_accepted_total" [lane] "Events accepted, by lane.";
    ENCODED = Counter "encoded_total" [] "Frames encoded: one for each event released, whatever the number of members.";
    FRAMES = Counter "frames_sent_total" [lane] "Event frames handed to sockets, by lane.";
    FRAME_BYTES = Counter "frame_sent_bytes_total" [lane] "Bytes of those, by lane.";
    REPLIES = Counter "replies_sent_total" [] "Replies and heartbeats handed to sockets.";
    BYTES_SENT = Counter "sent_bytes_total" [] "All bytes handed to sockets.";
    BYTES_RECEIVED = Counter "received_bytes_total" [] "All bytes read from sockets.";
    COMPRESSION_AGREED = Counter "compression_agreed_total" [] "Connections that agreed on permessage-deflate.";
    DEFLATED = Counter "deflated_frames_total" [] "Frames that were compressed: each once, whatever the number of members.";
    DEFLATED_BYTES = Counter "deflated_bytes_total" [when] "Bytes of those, before and after.";
    DEFLATE_TIME = Counter "deflate_microseconds_total" [] "Time that compressing took, also where it did not pay.";
    SAVED = Counter "compression_saved_bytes_total" [] "Bytes that sockets were spared by compression.";
    DELTAS = Counter "delta_frames_total" [] "States handed to sockets as deltas.";
    DELTA_SAVED = Counter "delta_saved_bytes_total" [] "Bytes that deltas are shorter than the full states, both without compression.";
    WRITES = Counter "writes_total" [] "Write system calls that took something.";
    WRITES_BLOCKED = Counter "writes_blocked_total" [] "Writes that the kernel had no room for.";
    CONFLATED = Counter "conflated_total" [where] "States replaced by newer ones while they waited, by where they waited.";
    DROPPED = Counter "dropped_frames_total" [why] "Frames dropped, by why.";
    SLOW_WARNED = Counter "slow_consumers_warned_total" [] "Warnings to clients that read too slowly.";
    LAGS = Counter "lagging_total" [kind] "Times that something was set aside because a reactor's link was full, by kind.";
    GAPS = Counter "gaps_total" [] "Gap frames made by the hub.";
    JOINS = Counter "joins_total" [result] "Joins by result.";
    AUTHORIZER_JOINS = Counter "authorizer_joins_total" [how] "Joins that the authorizer was to decide, by how its word was had.";
    AUTHORIZER_REQUESTS = Counter "authorizer_requests_total" [result] "Requests to the authorizer by result.";
    AUTHORIZER_SECONDS = Histogram "authorizer_seconds" [result] "From a request to the authorizer to its answer, or to giving up.";
    AUTHORIZER_BREAKER = Gauge "authorizer_breaker" [] "0: requests are made. 1: not for the time being, after failures. 2: one is made to see.";
    AUTHORIZER_WAITING = Gauge "authorizer_waiting" [] "Questions that wait to be put to the authorizer.";
    ACKS = Counter "acks_total" [result] "Acknowledgments by result.";
    UNACKNOWLEDGED = Gauge "unacknowledged" [] "Events that wait for their user's acknowledgment.";
    UNACKNOWLEDGED_BYTES = Gauge "unacknowledged_bytes" [] "Their bytes.";
    UNACKNOWLEDGED_EXPIRED = Counter "unacknowledged_expired_total" [why] "Events that waited for an acknowledgment in vain, by why that ended.";
    REDELIVERED = Counter "redelivered_total" [] "Events given to their user again, because they were not acknowledged.";
    ACKS_UNTOLD = Counter "acks_untold_total" [] "Ends of such waits of which system:acks got no event, because the table of rooms was full.";
    ESCALATIONS = Counter "escalations_total" [result] "Tries to tell the webhook of events that were not acknowledged in time, by what came of them; `resting`: not made, after failures.";
    ESCALATIONS_UNTOLD = Gauge "escalations_untold" [] "Events of which the webhook is being told, or was to be in vain until now.";
    WEBHOOK_SECONDS = Histogram "webhook_seconds" [] "From a request to the webhook to its answer, or to giving up.";
    WEBHOOK_BREAKER = Gauge "webhook_breaker" [] "0: requests are made. 1: not for the time being, after failures. 2: one is made to see.";
    ROOMS = Gauge "rooms" [] "Rooms in the table.";
    ROOMS_EVICTED = Counter "rooms_evicted_total" [] "Idle rooms evicted to make place.";
    MEMBERS = Gauge "members" [] "Memberships of rooms.";
    KEYS = Gauge "state_keys" [] "State keys.";
    STATE_BYTES = Gauge "state_bytes" [] "Bytes of the newest values of all state keys.";
    JOURNAL_ENTRIES = Counter "journal_entries_total" [] "Entries brought to disk: events, epochs, evictions.";
    JOURNAL_COMMITS = Histogram "journal_commit_seconds" [log] "Writing and syncing one batch of entries.";
    JOURNAL_FAILURES = Counter "journal_failures_total" [] "Batches that the disk did not take, each try counted.";
    JOURNAL_FAILING = Gauge "journal_failing" [] "1 while the disk takes nothing: durable publishes are refused.";
    JOURNAL_BYTES = Gauge "journal_bytes" [] "Bytes of events on disk.";
    JOURNAL_QUEUED = Gauge "journal_queued_entries" [] "Entries that wait for the disk.";
    JOURNAL_QUEUED_BYTES = Gauge "journal_queued_bytes" [] "Their bytes.";
    JOURNAL_WAITING = Gauge "journal_waiting_publishes" [] "Publishes whose answer waits for the disk.";
    JOURNAL_HOLES = Counter "journal_holes_total" [] "Events that the journal never got: published with ack memory while it had no room, and gone from memory since.";
    REPLAYS = Gauge "journal_replays" [] "Members that get past events or states in parts: from disk, or because they are too many to come at once.";
    REDIS_APPENDED = Counter "redis_appended_total" [] "Events that Redis has answered for.";
    REDIS_APPENDS = Histogram "redis_append_seconds" [store] "From a batch of events being sent to Redis to its answer.";
    REDIS_FAILURES = Counter "redis_failures_total" [] "Batches that Redis did not take, each try counted.";
    REDIS_BREAKER = Gauge "redis_breaker" [] "0: Redis is used. 1: not for the time being, after failures. 2: one try is made to see.";
    REDIS_FED = Counter "redis_fed_total" [] "Events that came from Redis, this node's own among them.";
    REDIS_RESYNCS = Counter "redis_resyncs_total" [] "Shards that were read anew, because something was missed or another epoch began.";
    REDIS_WAITING = Gauge "redis_waiting_publishes" [] "Publishes that wait for Redis.";
    REDIS_UNPLACED = Counter "redis_unplaced_total" [] "Events from Redis that found no place here: --max-rooms, or --state-bytes, is too low for what the nodes share.";
    INGEST_ENTRIES = Counter "ingest_entries_total" [result] "Entries of the streams of --ingest-stream: published, set aside in STREAM:refused, or to be tried again, each try counted.";
    INGEST_STREAMS = Gauge "ingest_streams" [] "Streams that this node publishes from; each has one node.";
    AUDIT_ENTRIES = Counter "audit_entries_total" [] "Entries of the audit trail brought to disk.";
    AUDIT_LOST = Counter "audit_lost_total" [] "Entries that found the audit trail's queue full.";
    AUDIT_FAILURES = Counter "audit_failures_total" [] "Writes of audit.db that the disk did not take, each try counted.";
    HISTORY = Gauge "history_bytes" [] "Bytes of stream events kept for resume.";
    QUEUED = Gauge "queued_bytes" [] "Bytes that wait for their readers.";
    OUTSTANDING = Gauge "outstanding_answers" [] "Answers that the hub owes the reactors.";
    LINK_USED = Gauge "link_used_slots" [link] "Used slots of the links between threads.";
    LINK_SLOTS = Gauge "link_slots" [link] "Slots of the links between threads.";
    MEMORY_BUDGET = Gauge "memory_budget_bytes" [] "The memory budget; 0: none.";
    MEMORY_USED = Gauge "memory_used_bytes" [part] "What counts for the memory budget, by what it is.";
    MEMORY_LEVEL = Gauge "memory_level" [] "0: there is enough. From 80 % of the budget on 1, from 90 % 2, from 100 % 3, from 110 % 4; each ends ten below.";
    MEMORY_REFUSED = Counter "memory_refused_total" [what] "What was refused for want of memory: events by lane, joins, handshakes.";
    MEMORY_CLOSED = Counter "memory_closed_total" [held] "Connections closed for want of memory, by what they held: what they did not read, or input of which the end did not come.";
    MEMORY_UNFINISHED = Gauge "memory_unfinished_bytes" [] "What connections hold of input of which the end has not come.";
    MEMORY_UNREAD = Gauge "memory_unread_bytes" [] "What waits for clients that take nothing at present, the kernel's part included; a shared frame counts for each.";
    STARTED = Gauge "process_start_time_seconds" [] "When the process started, in seconds since 1970.";
    THREAD_CPU = Counter "thread_cpu_milliseconds_total" [thread] "CPU time of each thread, user and system.";
    RSS = Gauge "process_resident_bytes" [] "Resident memory of the process.";
    CPU = Counter "process_cpu_milliseconds_total" [] "CPU time of the process, user and system.";
    DESCRIPTORS = Gauge "process_descriptors" [] "Open file descriptors.";
}
