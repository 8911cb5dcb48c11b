//! How long things stay.

use chrono::Days;
use chrono_tz::Tz;

use crate::model::time::{DAY, Timestamp};

/// When a document that is placed now goes: at the end of the local day that is `days` days later (K37), so that a
/// notice can name a last day that is whole.
pub fn expires_at(placed: Timestamp, days: u32, zone: Tz) -> Timestamp {
    placed
        .date_in(zone)
        .checked_add_days(Days::new(u64::from(days) + 1))
        .map_or(placed.plus(DAY).plus_days(days), |day| Timestamp::day_begins(day, zone))
}

/// The local month a document is filed under, `2026-11`.
pub fn month_of(placed: Timestamp, zone: Tz) -> String {
    placed.date_in(zone).format("%Y-%m").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    #[test]
    fn the_last_day_is_whole_in_local_time() {
        let tokyo = chrono_tz::Asia::Tokyo;
        let cases = [
            ("2026-11-23T00:00:00+09:00", "2027-02-02T00:00:00+09:00"),
            ("2026-11-23T23:59:59+09:00", "2027-02-02T00:00:00+09:00"),
            ("2026-11-23T15:00:00Z", "2027-02-03T00:00:00+09:00"),
        ];
        for (placed, goes) in cases {
            assert_eq!(expires_at(at(placed), 70, tokyo), at(goes), "{placed}");
        }
        assert_eq!(month_of(at("2026-11-30T15:00:00Z"), tokyo), "2026-12");
    }
}
