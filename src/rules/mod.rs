//! Decisions from values: no I/O, no clock.

pub mod bounce;
pub mod calendar;
pub mod certificates;
pub mod delegation;
pub mod enrolment;
pub mod lanes;
pub mod login;
pub mod mailbox;
pub mod names;
pub mod notice;
pub mod passwords;
pub mod policy;
pub mod profile;
pub mod quotation;
pub mod renewal;
pub mod retention;
pub mod retry;
pub mod smtp_code;
