//! The vocabulary that every layer shares: ids, lanes, codes, limits, time, counters. No I/O, no clock.

pub mod audit;
pub mod bucket;
pub mod calendar;
pub mod cidr;
pub mod codes;
pub mod counters;
pub mod generations;
pub mod ident;
pub mod ids;
pub mod lane;
pub mod limits;
pub mod memory;
pub mod rules;
pub mod thin_deque;
pub mod time;
pub mod units;
