//! What is on the wire, as bytes in and values out and back. No sockets, no clock.

pub mod frame;
pub mod reply;
pub mod request_id;
