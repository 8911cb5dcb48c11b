//! How long certificates and authorities hold, as values.

use chrono::{DateTime, Months, Utc};
use serde::Deserialize;

use crate::model::span::Span;
use crate::model::time::Timestamp;

/// `[certificates]` of the gateway: its authorities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthoritiesPolicy {
    /// The gateway has authorities of its own; without, only external ones are trusted (K31).
    pub embedded: bool,
    /// Years that a new authority's own certificate holds.
    pub authority_years: u32,
    /// A certificate that holds at once begins so much earlier, for clocks that are slow.
    pub backdate: Span,
    /// A revocation list holds for so long; the next one is written when half of it is over.
    pub crl_holds: Span,
    /// Where the revocation lists of `public/` can be fetched: an http URL of the folder; empty means nowhere, and
    /// certificates then name no place.
    pub crl_url: String,
}

impl Default for AuthoritiesPolicy {
    fn default() -> Self {
        Self {
            embedded: true,
            authority_years: 20,
            backdate: Span::seconds(600),
            crl_holds: Span::days(7),
            crl_url: String::new(),
        }
    }
}

/// Most years of an account's certificate.
pub const YEARS_MAX: u32 = 10;

/// `[certificates]` of an insurer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificatesPolicy {
    /// Years that an account's certificate holds (C).
    pub years: u32,
}

impl Default for CertificatesPolicy {
    fn default() -> Self {
        Self { years: 3 }
    }
}

impl CertificatesPolicy {
    /// What is wrong with it, after the table's name: `years must be ...`.
    pub fn check(&self) -> Result<(), String> {
        if (1..=YEARS_MAX).contains(&self.years) {
            Ok(())
        } else {
            Err(format!("years must be 1 to {YEARS_MAX}"))
        }
    }
}

/// From when to when a certificate holds: begun now, it is backdated; begun later, it begins on that very instant. It ends
/// whole years after it is asked to begin, but not after its authority.
pub fn validity(
    now: Timestamp,
    from: Option<Timestamp>,
    years: u32,
    backdate: Span,
    authority_ends: Option<Timestamp>,
) -> (Timestamp, Timestamp) {
    let begins = from.filter(|from| *from > now);
    let not_before = begins.unwrap_or_else(|| now.plus(-backdate.millis()));
    let not_after = years_after(begins.unwrap_or(now), years);
    let whole = |at: Timestamp| Timestamp(at.0 - at.0.rem_euclid(1000));
    (whole(not_before), whole(authority_ends.map_or(not_after, |end| not_after.min(end))))
}

/// The same day and time so many years later (29 February becomes the 28th).
pub fn years_after(at: Timestamp, years: u32) -> Timestamp {
    let later: Option<DateTime<Utc>> = at.utc().checked_add_months(Months::new(years.saturating_mul(12)));
    later.map_or(at, |later| Timestamp(later.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    #[test]
    fn three_years_from_now_or_from_a_date_but_not_beyond_the_authority() {
        let now = at("2026-11-23T01:02:03.456Z");
        for (from, ends, expected) in [
            (None, None, ("2026-11-23T00:52:03Z", "2029-11-23T01:02:03Z")),
            (Some("2026-11-01T00:00:00Z"), None, ("2026-11-23T00:52:03Z", "2029-11-23T01:02:03Z")),
            (Some("2028-02-29T00:00:00Z"), None, ("2028-02-29T00:00:00Z", "2031-02-28T00:00:00Z")),
            (None, Some("2028-01-01T00:00:00Z"), ("2026-11-23T00:52:03Z", "2028-01-01T00:00:00Z")),
        ] {
            let (begin, end) = validity(now, from.map(at), 3, Span::seconds(600), ends.map(at));
            assert_eq!((begin, end), (at(expected.0), at(expected.1)), "{from:?} {ends:?}");
        }
        assert_eq!(years_after(Timestamp(i64::MAX), 3), Timestamp(i64::MAX), "no calendar goes so far");
        assert!(CertificatesPolicy { years: 0 }.check().is_err());
        assert!(CertificatesPolicy::default().check().is_ok());
    }
}
