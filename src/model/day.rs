//! Days and cut-offs, as the journal records them.

use serde::{Deserialize, Serialize};

use super::ids::Digest;
use super::time::Timestamp;

/// A batch that was closed at a cut-off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The cut-off.
    pub slot: Timestamp,
    /// The event up to which acceptances are in it or in an earlier one.
    pub upto: u64,
    /// Receipts in it.
    pub rows: u64,
    /// Of the file.
    pub sha256: Digest,
    /// The file's name.
    pub name: String,
}

/// A local day whose books are closed: nothing more will happen in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedDay {
    /// `2026-11-22`
    pub day: String,
    /// When it began.
    pub from: Timestamp,
    /// When it ended; the next one begins here.
    pub until: Timestamp,
}
