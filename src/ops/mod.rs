//! What operators see: log, health, metrics, and the admin listener that serves them.

pub mod admin;
pub mod alerts;
pub mod events;
pub mod exposition;
pub mod health;
pub mod lifecycle;
pub mod log;
pub mod notify;
pub mod process;
pub mod pulse;
