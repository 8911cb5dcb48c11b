//! `todoke demo`

use clap::Args;

use super::Globals;
use super::exit::Exit;
use crate::desk::{Kind, Trouble};

/// Show everything at work in a temporary folder.
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    pub(super) fn run(self, _globals: &Globals) -> Result<Exit, Trouble> {
        let Self {} = self;
        Err(Trouble::new(Kind::Fault, "NO-DEMO", "this build has no demo"))
    }
}
