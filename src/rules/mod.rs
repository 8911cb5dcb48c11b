//! Decisions from values: no I/O, no clock.

pub mod bounce;
pub mod enrolment;
pub mod lanes;
pub mod mailbox;
pub mod names;
pub mod notice;
pub mod policy;
pub mod profile;
pub mod renewal;
pub mod retention;
pub mod retry;
pub mod smtp_code;
