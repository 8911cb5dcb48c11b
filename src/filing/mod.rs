//! Filings: read, checked against rule tables, and what was found told in words a clerk understands.

pub mod report;
