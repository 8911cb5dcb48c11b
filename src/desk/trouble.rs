//! Why something was not done.

use serde::{Deserialize, Serialize};

use crate::store::ledger::LedgerError;
use crate::work::parties::PartyError;

/// What kind of trouble it is; the command line's exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The state of things or a rule does not allow it.
    Refused,
    /// Wrong usage or configuration.
    Usage,
    /// Not now: somebody else is away or busy; the same again later may do.
    NotNow,
    /// todoke's own fault, or its disk's.
    Fault,
}

/// Why something was not done. The text is for operators, in English.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code} {text}")]
pub struct Trouble {
    /// What kind.
    pub kind: Kind,
    /// ASCII code that leads the text.
    pub code: String,
    /// What was wrong and what to do next.
    pub text: String,
}

impl Trouble {
    /// Of this kind.
    pub fn new(kind: Kind, code: &str, text: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), text: text.into() }
    }

    /// A rule or the state of things does not allow it.
    pub fn refused(code: &str, text: impl Into<String>) -> Self {
        Self::new(Kind::Refused, code, text)
    }

    /// There is no such thing.
    pub fn unknown(what: impl std::fmt::Display) -> Self {
        Self::refused("UNKNOWN", format!("{what} does not exist"))
    }

    /// Todoke's own fault.
    pub fn fault(text: impl Into<String>) -> Self {
        Self::new(Kind::Fault, "FAULT", text)
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        let kind = match &error {
            LedgerError::Refused(_) => Kind::Refused,
            LedgerError::NotWritten(_) | LedgerError::Stopped(_) | LedgerError::Index(_) => Kind::Fault,
        };
        let code = match &error {
            LedgerError::Refused(_) => "REFUSED",
            LedgerError::NotWritten(_) => "DISK-FULL",
            LedgerError::Stopped(_) => "JOURNAL-STOPPED",
            LedgerError::Index(_) => "INDEX-FAILED",
        };
        Self::new(kind, code, error.to_string())
    }
}

impl From<PartyError> for Trouble {
    fn from(error: PartyError) -> Self {
        match error {
            PartyError::Refused { code, text } => Self::refused(code, text),
            PartyError::Ledger(error) => error.into(),
            PartyError::Io(error) => error.into(),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::fault(format!("files could not be read or written: {error}"))
    }
}

impl From<serde_json::Error> for Trouble {
    fn from(error: serde_json::Error) -> Self {
        Self::fault(format!("an answer could not be written: {error}"))
    }
}
