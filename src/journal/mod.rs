//! The durable journal: what is to survive a crash.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`writer`] | the thread that takes entries from the hub and brings them to disk in batches |
//! | [`reader`] | the thread that reads past events for those who come back |
//! | [`keeper`] | the thread that keeps states and owners |
//! | [`follow`] | the events for who follows the log while it is written |
//! | [`export`] | the events as lines of JSON |
//! | [`log`] | the events: segments on disk, appended and synced in batches, read by place |
//! | `index` | where each event is, and what is known of each room |
//! | `record` | what an entry is on disk, and how records are found again after damage |
//! | [`tables`] | states and owners, in SQLite |
//! | [`accounts`] | what the analytics keep, in SQLite |
//! | [`audit`] | the audit trail and the performance records, in SQLite |
//! | [`auditor`] | the thread that keeps them |
//! | [`sqlite`] | what files of SQLite have in common |
//! | [`stats`] | the figures |

pub mod accounts;
pub mod audit;
pub mod auditor;
pub mod export;
pub mod follow;
mod index;
pub mod keeper;
pub mod log;
pub mod reader;
mod record;
pub mod sqlite;
pub mod stats;
pub mod tables;
pub mod writer;

#[cfg(test)]
mod tests;
