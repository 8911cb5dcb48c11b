//! `todoke reconcile`: a day's books and the disk against the ledger.

use chrono::NaiveDate;

use super::listing::time_or_null;
use super::parts::Parts;
use super::request::{Answer, CompareRequest, Response};
use super::trouble::{Kind, Trouble};
use crate::model::day::ClosedDay;
use crate::model::time::Timestamp;
use crate::rules::calendar;
use crate::work::compare::Scope;

pub(super) fn answer(parts: &Parts, request: CompareRequest, now: Timestamp) -> Response {
    let CompareRequest { day, insurer, account, deep } = request;
    if let Some(code) = &insurer
        && parts.ledger.insurer(code)?.is_none()
    {
        return Err(Trouble::unknown(format!("insurer {code}")));
    }
    if let Some(id) = &account
        && parts.ledger.account(id)?.is_none()
    {
        return Err(Trouble::unknown(format!("account {id}")));
    }
    let mut notes = Vec::new();
    let day = match day {
        Some(text) => Some(closed(parts, &text)?),
        None => parts.ledger.closed_day()?,
    };
    if day.is_none() {
        notes.push("No day's books are closed yet; only the disk was looked at.".to_owned());
    }
    let found = parts.works.compare(day.as_ref(), &Scope { insurer, account, deep }, now)?;
    if found.more > 0 {
        notes.push(format!("{} more were found and are not listed.", found.more));
    }
    let findings = found.differences > 0;
    let mut value = serde_json::to_value(&found)?;
    for (row, finding) in value["findings"].as_array_mut().into_iter().flatten().zip(&found.findings) {
        row["goes_at"] = time_or_null(finding.goes_at);
    }
    Ok(Answer { notes, findings, ..Answer::of(value) })
}

/// The day that is meant, if its books are closed.
fn closed(parts: &Parts, text: &str) -> Result<ClosedDay, Trouble> {
    // Written in full: 26-11-22 would be a day of the year 26.
    let day = text.parse::<NaiveDate>().ok().filter(|day| day.to_string() == text).ok_or_else(|| {
        Trouble::new(Kind::Usage, "DAY", format!("{text:?} is not a day: write it as 2026-11-22"))
    })?;
    let zone = parts.config.get().gateway.zone;
    let meant = ClosedDay {
        day: day.to_string(),
        from: calendar::day_begins(day, zone),
        until: calendar::day_ends(day, zone),
    };
    if let Some(began) = parts.ledger.began()?
        && meant.until <= began
    {
        let text = format!("there are no books of {day}: this gateway began on {}", began.date_in(zone));
        return Err(Trouble::refused("DAY-BEFORE", text));
    }
    match parts.ledger.closed_day()? {
        Some(last) if last.day >= meant.day => Ok(meant),
        last => {
            let last =
                last.map_or_else(|| "none is".to_owned(), |last| format!("the last one is {}", last.day));
            let text = format!(
                "the books of {day} are not closed yet ({last}); the daemon closes a day after its end"
            );
            Err(Trouble::refused("DAY-OPEN", text))
        }
    }
}
