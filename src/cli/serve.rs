//! `todoke serve`

use clap::Args;

use super::Globals;
use super::exit::Exit;
use crate::daemon;
use crate::desk::{Kind, Trouble};
use crate::doors::log;

/// Run the daemon.
#[derive(Debug, Args)]
pub(super) struct Serve {}

impl Serve {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let Self {} = self;
        let config = globals.load()?;
        let level = log::install(config.log.format, &config.log.level)
            .map_err(|e| Trouble::new(Kind::Usage, "LOG", e.to_string()))?;
        match daemon::serve(config, Some(level)) {
            Ok(()) => Ok(Exit::Done),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the daemon ended");
                Err(trouble(&error))
            }
        }
    }
}

/// A fault, unless its cause says that it is the operator's to mend or to wait for.
pub(super) fn trouble(error: &anyhow::Error) -> Trouble {
    use crate::store::recover::OpenError;
    use crate::store::root::RootError;
    let text = format!("{error:#}");
    let root = error.chain().find_map(|cause| match cause.downcast_ref::<OpenError>() {
        Some(OpenError::Root(root)) => Some(root),
        _ => cause.downcast_ref::<RootError>(),
    });
    let in_use = error
        .downcast_ref::<std::io::Error>()
        .or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()))
        .map(std::io::Error::kind);
    match (root, in_use) {
        (Some(RootError::Locked { .. }), _) => Trouble::new(Kind::NotNow, "ROOT-LOCKED", text),
        (Some(RootError::NotOurs { .. }), _) => Trouble::new(Kind::Usage, "ROOT-NOT-OURS", text),
        (None, Some(std::io::ErrorKind::AddrInUse)) => {
            Trouble::new(Kind::Usage, "ADDRESS-IN-USE", format!("{text}; is another daemon running there?"))
        }
        _ => Trouble::new(Kind::Fault, "DAEMON", text),
    }
}
