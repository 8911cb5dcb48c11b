//! `todoke purge`

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;
use clap::Args;

use super::Globals;
use super::exit::Exit;
use super::out::{self, Column};
use super::party::Yes;
use super::way::Way;
use crate::desk::{Kind, PurgeRequest, Request, Trouble};
use crate::model::time::{Clock as _, SystemClock, Timestamp};

const COLUMNS: [Column; 6] = [
    ("DOCUMENT", "document"),
    ("ACCOUNT", "account"),
    ("TYPE", "type"),
    ("REASON", "reason"),
    ("EXPIRES", "expires_at"),
    ("FETCHED", "fetched"),
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
    /// Let a purge go on that was paused because the clock leapt or too much was due
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
                Some(text) => when(text, zone)?,
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

/// A day means its end in the gateway's zone: documents go when their last day is over.
fn when(text: &str, zone: Tz) -> Result<Timestamp, Trouble> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Timestamp(at.timestamp_millis()));
    }
    let local = match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Ok(day) => day.checked_add_days(Days::new(1)).and_then(|next| next.and_hms_opt(0, 0, 0)),
        Err(_) => ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()),
    };
    local
        .and_then(|local| zone.from_local_datetime(&local).earliest())
        .map(|at| Timestamp(at.timestamp_millis()))
        .ok_or_else(|| {
            let text = format!(
                "--at {text:?} is not a time: write 2027-02-01, 2027-02-01T03:00 or 2027-02-01T03:00:00Z"
            );
            Trouble::new(Kind::Usage, "AT", text)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_means_its_end_where_the_gateway_is() {
        for (text, utc) in [
            ("2027-02-01", "2027-02-01T15:00:00.000Z"),
            ("2027-02-01T03:00", "2027-01-31T18:00:00.000Z"),
            ("2027-02-01T03:00:05", "2027-01-31T18:00:05.000Z"),
            ("2027-02-01T03:00:00Z", "2027-02-01T03:00:00.000Z"),
        ] {
            assert_eq!(when(text, chrono_tz::Asia::Tokyo).unwrap().to_string(), utc, "{text}");
        }
        for text in ["", "tomorrow", "2027-02-30", "2027-02-01 03:00", "20270201"] {
            assert_eq!(when(text, chrono_tz::Asia::Tokyo).unwrap_err().kind, Kind::Usage, "{text}");
        }
    }
}
