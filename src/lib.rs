//! tickerd pushes trading events to browsers and bots: alerts first, private by room, resumable, measured.

pub mod auth;
pub mod base;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod hub;
pub mod net;
pub mod ops;
pub mod reactor;
pub mod wire;
