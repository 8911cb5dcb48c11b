//! `todoke calendar`

use clap::Args;

use super::Globals;
use super::exit::Exit;
use super::out::Column;
use super::way::Way;
use crate::desk::{CalendarRequest, Request, Trouble};
use crate::model::ids::InsurerCode;

const COLUMNS: [Column; 5] = [
    ("AT", "at"),
    ("INSURER", "insurer"),
    ("WHAT", "what"),
    ("DETAIL", "detail"),
    ("DEADLINE", "deadline_at"),
];

/// What comes: cut-offs, receipt windows, documents and filings that are expected, holidays.
#[derive(Debug, Args)]
pub(super) struct Calendar {
    /// Only this insurer's
    #[arg(long)]
    insurer: Option<InsurerCode>,
    /// So many days ahead
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=400))]
    days: u32,
}

impl Calendar {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let way = Way::open(globals)?;
        let zone = way.config.gateway.zone;
        let request = CalendarRequest { insurer: self.insurer, days: self.days };
        globals.out().zone(zone).listing(&COLUMNS, |_| way.ask(Request::Calendar(request.clone())))
    }
}
