//! What is on the wire, as bytes in and values out and back. No sockets, no clock.

pub mod command;
pub mod cursor;
pub mod deflate;
pub mod digest;
pub mod event;
pub mod forwarded;
pub mod frame;
pub mod http;
mod json;
pub mod merge_patch;
pub mod proxy;
pub mod query;
pub mod reply;
pub mod request_id;
pub mod sample;
pub mod sse;
pub mod text;
pub mod websocket;
