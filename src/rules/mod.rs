//! Decisions as pure functions of values.

pub mod retention;
