//! Stages: each looks at the ledger and moves things on.

pub mod ports;
