//! The hub's sans-I/O core.

pub mod ports;
