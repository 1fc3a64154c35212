//! The client's side of the protocol, without a socket: bytes in, bytes out.

pub mod codec;
pub mod handshake;
pub mod tls;
pub mod token;
pub mod url;
