//! Decisions from values: no I/O, no clock.

pub mod bounce;
pub mod lanes;
pub mod mailbox;
pub mod notice;
pub mod policy;
pub mod retention;
pub mod retry;
pub mod smtp_code;
