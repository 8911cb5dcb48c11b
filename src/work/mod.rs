//! What moves things: stages over the ledger and the blobs. Blocking; time comes in.

pub mod alarms;
pub mod announce;
pub mod assess;
pub mod batches;
pub mod books;
pub mod bounces;
pub mod certificates;
pub mod compare;
pub mod deliver;
pub mod enrol;
pub mod expected;
pub mod guard;
pub mod imports;
pub mod intake;
pub mod judge;
pub mod leap;
pub mod notify;
pub mod parties;
pub mod password_ends;
pub mod ports;
pub mod publish;
pub mod purge;
pub mod purge_report;
mod quotes;
pub mod remind;
pub mod renewals;
pub mod repeats;
pub mod retention;
pub mod self_service;
pub mod sender;
pub mod step;
pub mod sweep;
mod tell;
pub mod watch;

#[cfg(test)]
mod batches_tests;
#[cfg(test)]
mod books_tests;
#[cfg(test)]
mod expected_tests;
#[cfg(test)]
mod mail_tests;
#[cfg(test)]
mod whole_tests;
