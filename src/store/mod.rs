//! What lasts: durable writes, the journal, the ledger over it, blobs, the insurers' spool.

pub mod blobs;
pub mod cards;
mod decide;
pub mod durable;
pub mod gateway_keys;
pub mod index;
pub mod journal;
pub mod journal_ledger;
pub mod ledger;
pub mod local_blobs;
mod project;
pub mod recover;
pub mod root;
pub mod spool;
mod tables;
mod writer;
pub mod blobs;
pub mod local_blobs;
pub mod spool;
#[cfg(test)]
mod blobs_suite;
#[cfg(test)]
mod ledger_suite;
#[cfg(test)]
mod recover_tests;
#[doc(hidden)]
pub mod sample;
