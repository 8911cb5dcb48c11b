//! Renewal of certificates: what is told when.

use serde::{Deserialize, Serialize};

/// A notice that a certificate ends (証明書有効期限切れ事前通知), later ones last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RenewalStage {
    /// It ends in at most so many days.
    Before(u32),
    /// It has ended.
    Ended,
}

impl RenewalStage {
    /// Whether everything that `other` says was said by this one or is past.
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Ended, _) => true,
            (Self::Before(days), Self::Before(others)) => days <= others,
            (Self::Before(_), Self::Ended) => false,
        }
    }
}
