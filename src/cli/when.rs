//! Times as operators write them.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;

use crate::desk::{Kind, Trouble};
use crate::model::time::Timestamp;
use crate::rules::calendar;

/// What a day without a time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// Its first instant.
    Start,
    /// Its end: the first instant of the next.
    End,
}

/// `2027-02-01` (in the gateway's zone), `2027-02-01T03:00`, or with a zone.
pub(super) fn when(option: &str, text: &str, zone: Tz, edge: Edge) -> Result<Timestamp, Trouble> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Timestamp(at.timestamp_millis()));
    }
    let local = match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Ok(day) => match edge {
            Edge::Start => Some(day),
            Edge::End => day.checked_add_days(Days::new(1)),
        }
        .and_then(|day| day.and_hms_opt(0, 0, 0)),
        Err(_) => ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()),
    };
    local
        // A time that the clock skips is the first after it, as everywhere.
        .map(|local| calendar::instant(local, zone))
        .ok_or_else(|| {
            let text = format!(
                "--{option} {text:?} is not a time: write 2027-02-01, 2027-02-01T03:00 or 2027-02-01T03:00:00Z"
            );
            Trouble::new(Kind::Usage, &option.to_uppercase(), text)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_means_its_edge_where_the_gateway_is() {
        for (text, edge, utc) in [
            ("2027-02-01", Edge::End, "2027-02-01T15:00:00.000Z"),
            ("2027-02-01", Edge::Start, "2027-01-31T15:00:00.000Z"),
            ("2027-02-01T03:00", Edge::End, "2027-01-31T18:00:00.000Z"),
            ("2027-02-01T03:00:05", Edge::Start, "2027-01-31T18:00:05.000Z"),
            ("2027-02-01T03:00:00Z", Edge::End, "2027-02-01T03:00:00.000Z"),
        ] {
            assert_eq!(when("at", text, chrono_tz::Asia::Tokyo, edge).unwrap().to_string(), utc, "{text}");
        }
        // There the clock goes from Saturday's 24:00 to Sunday's 01:00.
        for (text, edge) in
            [("2026-03-07", Edge::End), ("2026-03-08", Edge::Start), ("2026-03-08T00:30", Edge::Start)]
        {
            let at = when("at", text, chrono_tz::America::Havana, edge).unwrap();
            assert_eq!(at.to_string(), "2026-03-08T05:00:00.000Z", "{text}");
        }
        for text in ["", "tomorrow", "2027-02-30", "2027-02-01 03:00", "20270201"] {
            let trouble = when("at", text, chrono_tz::Asia::Tokyo, Edge::End).unwrap_err();
            assert_eq!((trouble.kind, trouble.code.as_str()), (Kind::Usage, "AT"), "{text}");
        }
    }
}
