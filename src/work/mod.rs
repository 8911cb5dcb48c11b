//! Stages: each looks at the ledger and moves things on.

pub mod alarms;
pub mod deliver;
pub mod imports;
pub mod ports;
pub mod publish;
pub mod purge;
pub mod retention;
pub mod step;
pub mod sweep;

#[cfg(test)]
mod whole_tests;
