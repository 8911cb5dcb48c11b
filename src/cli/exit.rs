//! Exit codes: the one table.

use std::process::ExitCode;

use crate::desk::Kind;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The thing was refused, or has findings of severity error.
    Refused = 1,
    /// Wrong usage or configuration (also clap's).
    Usage = 2,
    /// Not now, try again: daemon, scanner or network away.
    NotNow = 3,
    /// A fault of todoke's own, or of the machine under it.
    Fault = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Refused => Self::Refused,
            Kind::Usage => Self::Usage,
            Kind::NotNow => Self::NotNow,
            Kind::Fault => Self::Fault,
        }
    }
}
