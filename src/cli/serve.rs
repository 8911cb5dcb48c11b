//! `todoke serve`

use clap::Args;

use super::Globals;
use super::exit::Exit;
use crate::desk::{Kind, Trouble};

/// Run the daemon.
#[derive(Debug, Args)]
pub(super) struct Serve {}

impl Serve {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let Self {} = self;
        globals.load()?;
        Err(Trouble::new(Kind::Fault, "NO-DAEMON", "this build has no daemon"))
    }
}
