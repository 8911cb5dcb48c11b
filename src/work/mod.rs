//! What moves things: stages over the ledger and the blobs. Blocking; time comes in.

pub mod parties;
pub mod ports;
