//! The nouns. No I/O, no clock, no async.

pub mod finding;
pub mod ids;
pub mod time;
