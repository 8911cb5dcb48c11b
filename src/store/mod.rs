//! What lasts: durable writes, the journal, the ledger over it, blobs, the insurers' spool.

pub mod blobs;
pub mod cards;
pub mod dropbox;
pub mod dropboxes;
pub mod durable;
pub mod gateway_keys;
pub mod handover;
pub mod history;
pub mod keys;
pub mod ledger;
pub mod receipts;
pub mod spool;
