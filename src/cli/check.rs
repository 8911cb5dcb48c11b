//! `todoke check`

use clap::Args;

use super::Globals;
use super::exit::Exit;
use crate::desk::{Kind, Trouble};

/// Check filings offline.
#[derive(Debug, Args)]
pub(super) struct Check {}

impl Check {
    pub(super) fn run(self, _globals: &Globals) -> Result<Exit, Trouble> {
        let Self {} = self;
        Err(Trouble::new(Kind::Fault, "NO-CHECK", "this build has no check"))
    }
}
