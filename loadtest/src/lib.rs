//! The load generator behind `tickerd loadtest`: what a host can do, measured from outside.
//!
//! It shares no code with the server. What it believes of the protocol comes from the protocol's description, so that a fault of
//! the server is not also a fault of its judge.
//!
//! ```text
//!   coordinator (this process)                                        worker processes, one for each 8,000 connections
//!   ├─ main: connects, windows, live line, report  ──stdin/stdout──▶  one mio loop: connections, verification, histograms
//!   └─ publisher thread: the fixed schedule ──publish socket or WebSocket──▶ server ──WebSocket──▶ the workers
//! ```
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`cli`] | the flags, and what each form of the command does |
//! | [`scenario`] | what a run does: connections, rooms, flows, phases |
//! | [`scenarios`] | its files: read, checked, and those that are built in |
//! | [`layout`] | which connection is a member of which room, and which event goes where and when: closed formulas, no state |
//! | [`stamp`] | what an event's payload says of itself, so that a receiver can tell every fault |
//! | [`payload`] | the bytes of an event, built in one place so that a receiver knows what it must find |
//! | [`slo`] | what must hold: read against a scenario, judged against a record |
//! | [`units`] | durations and sizes as people write them |
//! | [`publisher`] | the publishing thread: a fixed schedule, stamped at the write |
//! | [`run`] | the coordinator: workers, phases, windows, the account |
//! | [`control`] | the lines between the coordinator and its workers |
//! | [`hist`] | how histograms are made, travel and read |
//! | [`probe`] | facts about the host and the server's process |
//! | [`record`] | what a run has found: the JSON file that `compare` reads |
//! | [`report`] | what a person sees and keeps: the live line, the closing table, the files |
//! | [`compare`] | two recorded runs side by side |
//!
//! **Latency** is the time from the moment at which an event was *intended* to be sent, by a schedule that waits for nobody, to the return of
//! the read that brought its last byte to the receiver: a server that stalls is charged for all that it kept waiting (coordinated
//! omission is excluded by construction). **Service time** starts at the actual send instead. Both include the
//! generator's own delay as a receiver; its slip and its CPU are reported beside them, so that a saturated generator is not read as a slow server.

pub mod cli;
pub mod client;
pub mod clock;
pub mod compare;
pub mod control;
pub mod hist;
pub mod layout;
pub mod payload;
pub mod probe;
pub mod publisher;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod scenarios;
pub mod slo;
pub mod stamp;
pub mod units;
pub mod worker;
