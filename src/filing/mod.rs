//! Filings: read, checked against rule tables, and what was found told in words a clerk understands.
//!
//! [`RuleSet`] holds the tables, [`check()`] reads a file against them, [`set`] judges what travels with it, [`report`] tells
//! the findings.

mod book;
pub mod calendar;
pub mod catalog;
mod check;
mod claims;
mod compile;
mod cp932;
mod encoding;
mod era;
mod findings;
mod head;
mod layout;
pub mod level;
mod lines;
mod masked;
pub mod other;
pub mod pdf;
mod record;
pub mod report;
pub mod rules;
pub mod sample;
pub mod set;
pub mod tables;
pub(crate) mod twins;
mod whose;
mod words;

pub use book::RuleBook;
pub use check::{Context, FILING_NAME, FormCount, RecordKey, Summary, check, check_observed};
pub use claims::profile_of;
pub use findings::{Findings, LISTED_MAX, Totals};
pub use pdf::{PdfFacts, PdfWatch, inspect_pdf};
pub use rules::RuleSet;
pub use tables::{Profile, TableError};
