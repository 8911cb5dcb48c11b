//! Decisions from values: no I/O, no clock.

pub mod calendar;
pub mod enrolment;
pub mod names;
pub mod notice;
pub mod policy;
pub mod profile;
pub mod renewal;
pub mod retention;
pub mod retry;
