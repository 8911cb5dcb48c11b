//! How much a rule weighs, and how sure it is.

use serde::Deserialize;

use crate::model::finding::Severity;

/// What a broken rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing: the rule is not asked.
    Off,
    /// It is said; the filing goes through.
    Warning,
    /// The filing is refused.
    Error,
}

impl Level {
    /// As a finding's severity; none when off.
    pub const fn severity(self) -> Option<Severity> {
        match self {
            Self::Off => None,
            Self::Warning => Some(Severity::Warning),
            Self::Error => Some(Severity::Error),
        }
    }
}

/// How sure a rule's source is (KPFD.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Certainty {
    /// Two independent sources agree.
    #[serde(rename = "v")]
    V,
    /// One source.
    #[serde(rename = "1")]
    One,
    /// Inferred.
    #[serde(rename = "i")]
    Inferred,
}

impl Certainty {
    /// What a rule of this certainty does unless it is said.
    pub const fn level(self) -> Level {
        match self {
            Self::V => Level::Error,
            Self::One | Self::Inferred => Level::Warning,
        }
    }
}
