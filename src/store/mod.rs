//! What lasts: durable writes, the journal, the ledger over it, blobs, the insurers' spool.

pub mod durable;
pub mod root;

pub mod journal;

mod applications;
mod decide;
pub mod enrolled;
pub mod index;
pub mod journal_ledger;
pub mod ledger;
mod project;
pub mod recover;
mod tables;
mod writer;

pub mod blobs;
pub mod books;
pub mod cards;
pub mod local_blobs;
pub mod readings;

pub mod attempts;
pub mod authorities;
pub mod credentials;
pub mod gateway_keys;
pub mod keys;

pub mod dropbox;
pub mod dropboxes;
pub mod handover;
pub mod history;
pub mod receipts;

pub mod seen;
pub mod spool;
pub mod verification;

#[cfg(test)]
mod blobs_suite;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod ledger_suite;
#[cfg(test)]
mod recover_tests;
#[doc(hidden)]
pub mod sample;
