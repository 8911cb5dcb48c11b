//! The nouns. No I/O, no async; the one clock is in [`time`].

pub mod account_history;
pub mod application;
pub mod authority;
pub mod card;
pub mod certificate;
pub mod day;
pub mod document;
pub mod escape;
pub mod event;
pub mod finding;
pub mod health;
pub mod ids;
pub mod incident;
pub mod login;
pub mod mail;
pub mod metric;
pub mod party;
pub mod renewal;
pub mod span;
pub mod submission;
pub mod time;
