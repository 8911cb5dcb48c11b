//! Decisions from values: no I/O, no clock.

pub mod calendar;
pub mod notice;
pub mod policy;
pub mod retention;
pub mod retry;
