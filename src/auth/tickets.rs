//! Tickets, and what nodes that share a store leave in it of them: under the ticket's SHA-256, so that who can read the store has no ticket,
//! what the token granted, for as long as the ticket is good. Whoever takes that out of the store has used the ticket, on whichever node.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::Grants;
use crate::base::ids::ConnId;

/// A ticket: 128 random bits, as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u128);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// It is as good as a token.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

impl Ticket {
    /// That of a number which nobody can guess.
    pub fn new(random: u128) -> Ticket {
        Ticket(random)
    }

    /// Reads one.
    pub fn parse(text: &str) -> Option<Ticket> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        u128::from_str_radix(text, 16).ok().filter(|_| is_hex).map(Ticket)
    }

    /// Its name in the store, from which it cannot be told.
    pub fn store_name(&self) -> String {
        let hash = digest(&SHA256, self.to_string().as_bytes());
        hash.as_ref().iter().fold(String::new(), |name, byte| name + &format!("{byte:02x}"))
    }
}

/// What a node asks of the store.
#[derive(Debug)]
pub struct TicketAsk {
    /// Who hears the answer.
    pub conn: ConnId,
    /// Which ticket it is about.
    pub ticket: Ticket,
    /// It is to be given out and stands for this; without, it is to be taken.
    pub grants: Option<Box<Grants>>,
}

/// What the store says.
#[derive(Debug)]
pub struct TicketWord {
    /// Who asked.
    pub conn: ConnId,
    /// What is said.
    pub said: TicketSaid,
}

/// See [`TicketWord`].
#[derive(Debug)]
pub enum TicketSaid {
    /// The store has it.
    Given,
    /// Its user has as many as there may be, on all nodes; when there may be one more.
    TooMany {
        /// In milliseconds.
        wait_ms: u32,
    },
    /// It was good, and is not any more.
    Taken(Box<Grants>),
    /// There is none.
    Unknown,
    /// The store gave no answer. It may have taken it, or not.
    Unavailable,
}

/// Grants as the store has them.
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) user: String,
    pub(super) expires_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<String>,
    pub(super) issued_at_s: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    /// With a space behind each; `None`: all.
    pub(super) rooms: Option<String>,
    pub(super) publish_rooms: Option<String>,
}

impl Grants {
    /// As JSON, for the store.
    pub fn to_store(&self) -> String {
        serde_json::to_string(&self.written()).unwrap_or_default()
    }

    /// What [`Grants::to_store`] wrote; `None` of anything else.
    pub fn from_store(text: &str) -> Option<Grants> {
        Grants::read(serde_json::from_str(text).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AUT-03: from a name in the store nobody gets to the ticket; another ticket has another one, and the same the same on every node.
    #[test]
    fn a_ticket_is_known_to_the_store_by_its_hash() {
        let (one, other) = (Ticket::new(7), Ticket::new(8));
        assert_eq!(one.to_string(), "00000000000000000000000000000007");
        // printf 00000000000000000000000000000007 | sha256sum
        assert_eq!(one.store_name(), "e5090df26d24944b1e29254e5540e676eda0788f76a6a85a387344c4e0f70c64");
        assert_ne!(one.store_name(), other.store_name());
        assert!(!one.store_name().contains(&one.to_string()) && !format!("{one:?}").contains('7'));
    }

    /// AUT-03: nothing else is one.
    #[test]
    fn what_is_no_ticket_is_refused() {
        for bad in ["", "7", "0000000000000000000000000000000G", "0000000000000000000000000000000A", "+0000000000000000000000000000007"] {
            assert_eq!(Ticket::parse(bad), None, "{bad}");
        }
        assert_eq!(Ticket::parse("000000000000000000000000000000ff"), Some(Ticket::new(255)));
    }
}
