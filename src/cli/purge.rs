//! `todoke purge`

use clap::Args;

use super::Globals;
use super::exit::Exit;
use super::out::{self, Column};
use super::party::Yes;
use super::way::Way;
use super::when::{Edge, when};
use crate::desk::{PurgeRequest, Request, Trouble};
use crate::model::time::{Clock as _, SystemClock};

const COLUMNS: [Column; 7] = [
    ("DOCUMENT", "document"),
    ("ACCOUNT", "account"),
    ("TYPE", "type"),
    ("REASON", "reason"),
    ("EXPIRES", "expires_at"),
    ("FETCHED", "fetched"),
    ("REMINDED", "reminded"),
];

/// Remove documents whose days are over (K37).
#[derive(Debug, Args)]
pub(super) struct Purge {
    /// Only list what would go
    #[arg(long)]
    dry_run: bool,
    /// ... at the end of this day (2027-02-01) or at this time (2027-02-01T03:00, or with a zone)
    #[arg(long, requires = "dry_run", value_name = "WHEN")]
    at: Option<String>,
    /// Let everything go on that was paused because the clock leapt or too much was due
    #[arg(long, conflicts_with = "dry_run")]
    confirm: bool,
    #[command(flatten)]
    yes: Yes,
}

impl Purge {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        if self.dry_run {
            // A wrong time is said before anything is opened.
            let zone = globals.load()?.gateway.zone;
            let at = match &self.at {
                // Documents go when their last day is over.
                Some(text) => when("at", text, zone, Edge::End)?,
                None => SystemClock.now(),
            };
            let way = Way::open(globals)?;
            return globals
                .out()
                .zone(zone)
                .listing(&COLUMNS, |_| way.ask(Request::Purge(PurgeRequest::DryRun(at))));
        }
        let request = if self.confirm { PurgeRequest::Confirm } else { PurgeRequest::Run };
        if !out::confirm(self.yes.yes, "Remove every document whose days are over?")? {
            out::note("Nothing changed.");
            return Ok(Exit::Refused);
        }
        let answer = Way::open(globals)?.ask(Request::Purge(request))?;
        globals.out().thing(&answer)
    }
}
