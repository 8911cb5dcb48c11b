//! The nouns. No I/O, no clock, no async.

pub mod escape;
pub mod finding;
pub mod ids;
pub mod time;
