//! What lasts: durable writes, the journal, the ledger over it, blobs, the insurers' spool.

pub mod blobs;
pub mod cards;
pub mod gateway_keys;
pub mod ledger;
pub mod spool;
