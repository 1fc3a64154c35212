//! Who a token says one is, and what that one may read and publish.
//!
//! A token passes these gates, in this order, and the first that refuses it ends the matter: size; three parts in canonical
//! base64url; a header without tricks; a key of ours whose own algorithm is the header's; the signature; then the claims, read
//! only now. The algorithm belongs to the key: a token can name it, never choose it. No header member is ever followed
//! (`jku`, `x5u`, `jwk`, `x5c` are somebody else's keys), and a member given twice refuses the token, because another reader of
//! the same token could have taken the other one.
//!
//! `jsonwebtoken` does the cryptography alone. Its `decode` is not used: with its defaults it allows 60 s of leeway, skips `nbf`,
//! wants only `exp`, ignores `crit` and `zip`, and takes the last of two equal members.
//!
//! No clock and no file is read here: bytes and the wall time are arguments.

#[cfg(test)]
mod attack_tables;
#[cfg(test)]
mod attacks;
mod base64url;
mod breaker;
mod cache;
mod claims;
mod grants;
mod inquiries;
mod json;
mod jwks;
mod keys;
mod mint;
mod pem;
mod revocation;
#[cfg(test)]
mod testing;
mod tickets;
mod verify;
mod webhook;

pub use base64url::encode as encode_base64url;
pub use breaker::{Breaker, Permit};
pub use cache::TokenCache;
pub use claims::VerifyOptions;
pub use grants::{Grants, Scope};
pub use inquiries::{Answer, Failure, Inquiries, Inquiry, InquiryOptions, InquiryStats, Ruling, Verdict, Work};
pub use keys::{KeyError, KeyProblem, KeySet};
pub use mint::{MintClaims, MintError, SigningKey, mint};
pub use revocation::{Full, Revocation, Revocations, Whom};
pub use tickets::{Ticket, TicketAsk, TicketSaid, TicketWord};
pub use verify::{TokenError, Verifier};
pub use webhook::WebhookSecrets;

/// Makes the cryptography behind `jsonwebtoken` the one this crate was built with, rather than whatever its features leave.
/// Calling it again changes nothing: the second call is answered with the provider that stands, which is this one.
fn install_provider() {
    jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().ok();
}
