//! Decisions from values: no I/O, no clock.

pub mod policy;
pub mod notice;
pub mod retention;
pub mod retry;
