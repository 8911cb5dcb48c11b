//! When a certificate may be renewed, and when that is said (C). Decided from values: the account's certificates, policy, time.
//!
//! A certificate is *followed* by another that names it as its predecessor and holds or will hold. It needs nothing more when
//! that other one was used: until then its owner has not put the new key to work, and keeps being told.

use chrono::{Days, Months, NaiveDate};
use chrono_tz::Tz;
use serde::Deserialize;

use crate::model::application::RevokeLost;
use crate::model::certificate::{Certificate, CertificateStanding};
use crate::model::ids::CertificateId;
use crate::model::renewal::RenewalStage;
use crate::model::time::Timestamp;

/// `[renewal]` of an insurer's file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RenewalPolicy {
    /// Renewal opens so many months before the end (C).
    pub opens_months: u32,
    /// Days before the end on which its owner is told; once more when it has ended.
    pub notice_days: Vec<u32>,
    /// Who approves the renewal of a key that was proven by a login.
    pub approval: Approval,
    /// Whether the key may stay the same; else a new one is asked for.
    pub same_key: bool,
    /// From so many days before the end the login itself says so (SFTP, on standard error); 0: never.
    pub login_days: u32,
    /// When a certificate whose loss was told is revoked (ours; K40 E9 H9 leave it open).
    pub lost_certificate: RevokeLost,
    /// People who renew read the terms, consent, and choose class and payment before it goes on (C); payroll systems never.
    pub consent: bool,
}

/// Who approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// Nobody: it is issued at once.
    Automatic,
    /// Operator or insurer, one by one.
    Operator,
}

impl Default for RenewalPolicy {
    fn default() -> Self {
        Self {
            opens_months: 3,
            notice_days: vec![90, 30, 7, 1],
            approval: Approval::Automatic,
            same_key: false,
            login_days: 30,
            lost_certificate: RevokeLost::AtOnce,
            consent: false,
        }
    }
}

/// Of an account's certificates that hold or will, the one that ends last.
pub fn newest(certificates: &[Certificate], now: Timestamp) -> Option<&Certificate> {
    let stands = |certificate: &&Certificate| {
        matches!(certificate.standing_at(now), CertificateStanding::Holds | CertificateStanding::Future)
    };
    certificates.iter().filter(stands).max_by_key(|certificate| certificate.not_after)
}

/// What a login says of certificates: the last day of the account's newest one, and how many days are left, from `days` before
/// the end on. None while a later one holds, or where it is said not to.
pub fn login_warning(
    certificates: &[Certificate],
    days: u32,
    now: Timestamp,
    zone: Tz,
) -> Option<(CertificateId, NaiveDate, i64)> {
    let newest = newest(certificates, now)?;
    let left = days_left(newest.not_after, now, zone);
    (left <= i64::from(days) && days > 0).then(|| (newest.id, last_day(newest.not_after, zone), left))
}

/// The day before which renewal is not open.
pub fn opens_at(not_after: Timestamp, months: u32, zone: Tz) -> Timestamp {
    let last = not_after.date_in(zone);
    let opens = last.checked_sub_months(Months::new(months)).unwrap_or(NaiveDate::MIN);
    Timestamp::day_begins(opens, zone)
}

/// The last local day on which it holds from morning to night: to say "until that day" is then never too late.
pub fn last_day(not_after: Timestamp, zone: Tz) -> NaiveDate {
    let date = not_after.date_in(zone);
    date.pred_opt().unwrap_or(date)
}

/// Local days from today to the last whole one; less than 0 after that.
pub fn days_left(not_after: Timestamp, now: Timestamp, zone: Tz) -> i64 {
    last_day(not_after, zone).signed_duration_since(now.date_in(zone)).num_days()
}

/// The notice that is due: the latest whose day has come, so that what was missed collapses into one; none when that or a
/// later one was told.
pub fn notice_due(
    not_after: Timestamp,
    told: Option<RenewalStage>,
    days: &[u32],
    now: Timestamp,
    zone: Tz,
) -> Option<RenewalStage> {
    let stage = if now >= not_after {
        RenewalStage::Ended
    } else {
        let come = |days: &u32| {
            let day = last_day(not_after, zone).checked_sub_days(Days::new(u64::from(*days)));
            day.is_some_and(|day| day <= now.date_in(zone))
        };
        RenewalStage::Before(days.iter().copied().filter(come).min()?)
    };
    told.is_none_or(|told| !told.covers(stage)).then_some(stage)
}

/// What a certificate that ends needs of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it was followed and the new one is in use, or it was revoked.
    Nothing,
    /// The new one is there, and was not used yet.
    Use(CertificateId),
    /// A new one.
    Renew,
}

/// What `which` needs at this time, among all certificates of its account.
pub fn need(which: &Certificate, all: &[Certificate], now: Timestamp) -> Need {
    if which.revoked.is_some() {
        return Need::Nothing;
    }
    match successor(which.id, all, now) {
        Some(next) if next.first_used_at.is_some() => Need::Nothing,
        Some(next) => Need::Use(next.id),
        None => Need::Renew,
    }
}

/// The last of those that follow a certificate and hold or will.
pub fn successor(of: CertificateId, all: &[Certificate], now: Timestamp) -> Option<&Certificate> {
    let (mut at, mut found) = (of, None);
    // Each step leads to a later certificate, so it ends.
    while let Some(next) = all
        .iter()
        .filter(|next| next.predecessor == Some(at) && next.id > at && next.revoked.is_none())
        .max_by_key(|next| (next.first_used_at.is_some(), next.id))
    {
        (at, found) = (next.id, Some(next));
    }
    found.filter(|found| {
        matches!(found.standing_at(now), CertificateStanding::Holds | CertificateStanding::Future)
    })
}

/// Why there is nothing to renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The account has no certificate: its registered keys do not end.
    NoCertificate,
    /// Too early.
    NotYet {
        /// The certificate that ends first.
        certificate: CertificateId,
        /// When it ends.
        ends_at: Timestamp,
        /// When renewal opens.
        opens_at: Timestamp,
    },
    /// It was renewed already.
    Renewed {
        /// The one that ends.
        certificate: CertificateId,
        /// The new one.
        by: CertificateId,
    },
}

/// The certificate that a renewal is about: of those in their window without a successor, the one whose key was proven at the
/// login, else the one that ends next; a certificate that has ended only where no other one holds (C: renewal also works after
/// the end). Certificates that were never used count as well: their owner may have waited too long.
pub fn renewable<'a>(
    all: &'a [Certificate],
    proven: Option<&str>,
    policy: &RenewalPolicy,
    now: Timestamp,
    zone: Tz,
) -> Result<&'a Certificate, Closed> {
    let mut alive: Vec<&Certificate> = all.iter().filter(|one| one.revoked.is_none()).collect();
    alive.sort_by_key(|one| (one.not_after, one.id));
    let open = |one: &&&Certificate| opens_at(one.not_after, policy.opens_months, zone) <= now;
    let wanting = |one: &&&Certificate| successor(one.id, all, now).is_none();
    let ended = |one: &Certificate| one.not_after <= now;
    let mut ending = alive.iter().filter(|one| !ended(one)).filter(open).filter(wanting);
    let proven = ending.clone().find(|one| proven == Some(one.fingerprint.as_str()));
    if let Some(one) = proven.or_else(|| ending.next()) {
        return Ok(one);
    }
    if let Some(holds) = alive.iter().find(|one| !ended(one)) {
        // The one that is said to be renewed is the one that somebody would mean: the last in its window.
        let renewed = alive.iter().rev().filter(|one| !ended(one)).filter(open).find_map(|one| {
            successor(one.id, all, now).map(|by| Closed::Renewed { certificate: one.id, by: by.id })
        });
        return Err(renewed.unwrap_or(Closed::NotYet {
            certificate: holds.id,
            ends_at: holds.not_after,
            opens_at: opens_at(holds.not_after, policy.opens_months, zone),
        }));
    }
    alive.last().copied().ok_or(Closed::NoCertificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::certificate::{Revocation, RevocationReason};
    use crate::model::ids::AccountId;

    const TOKYO: Tz = chrono_tz::Asia::Tokyo;

    fn at(text: &str) -> Timestamp {
        Timestamp(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    fn certificate(serial: u64, from: &str, to: &str) -> Certificate {
        Certificate {
            id: CertificateId { epoch: 1, serial },
            account: AccountId::parse("K0001").unwrap(),
            fingerprint: format!("SHA256:{serial}"),
            key: "ssh-ed25519 AAAA".into(),
            x509: None,
            openssh: None,
            not_before: at(from),
            not_after: at(to),
            issued_at: at(from),
            revoked: None,
            first_used_at: Some(at(from)),
            application: None,
            predecessor: None,
            bundle: None,
        }
    }

    fn revoked(mut of: Certificate) -> Certificate {
        of.revoked = Some(Revocation { at: of.not_before, reason: RevocationReason::Superseded });
        of
    }

    #[test]
    fn it_opens_three_calendar_months_before_the_end() {
        for (ends, opens) in [
            ("2029-11-23T10:00:00+09:00", "2029-08-23T00:00:00+09:00"),
            ("2029-05-31T10:00:00+09:00", "2029-02-28T00:00:00+09:00"),
            // Still the 22nd in UTC.
            ("2029-11-23T00:30:00+09:00", "2029-08-23T00:00:00+09:00"),
        ] {
            assert_eq!(opens_at(at(ends), 3, TOKYO), at(opens), "{ends}");
        }
        // Where the clock is set on at midnight, the day begins an hour later.
        let opens = opens_at(at("2027-06-08T12:00:00Z"), 3, chrono_tz::America::Havana);
        assert_eq!(opens.date_in(chrono_tz::America::Havana).to_string(), "2027-03-08");
        let sunday = opens_at(at("2027-06-14T12:00:00Z"), 3, chrono_tz::America::Havana);
        assert_eq!(sunday, at("2027-03-14T05:00:00Z"), "00:00 does not exist, 01:00 CDT does");
    }

    #[test]
    fn each_notice_has_its_day_and_what_was_missed_is_one() {
        use RenewalStage::{Before, Ended};
        let ends = at("2029-11-23T10:00:00+09:00");
        let days = [90, 30, 7, 1];
        let due = |told, now: &str| notice_due(ends, told, &days, at(now), TOKYO);
        assert_eq!(due(None, "2029-08-23T23:59:59+09:00"), None);
        assert_eq!(
            due(None, "2029-08-24T00:00:00+09:00"),
            Some(Before(90)),
            "90 days before the last whole day"
        );
        assert_eq!(due(Some(Before(90)), "2029-10-22T12:00:00+09:00"), None);
        assert_eq!(due(Some(Before(90)), "2029-10-23T00:00:00+09:00"), Some(Before(30)));
        assert_eq!(due(Some(Before(90)), "2029-11-22T00:00:00+09:00"), Some(Before(1)), "not 30, 7 and 1");
        assert_eq!(due(Some(Before(1)), "2029-11-23T09:59:59+09:00"), None);
        assert_eq!(due(Some(Before(1)), "2029-11-23T10:00:00+09:00"), Some(Ended));
        assert_eq!(due(Some(Ended), "2031-01-01T00:00:00+09:00"), None);
        // The clock goes back: what was told stays told.
        assert_eq!(due(Some(Before(7)), "2029-09-01T00:00:00+09:00"), None);
        assert_eq!(due(Some(Ended), "2029-09-01T00:00:00+09:00"), None);
        assert_eq!(notice_due(ends, None, &[], at("2029-11-22T00:00:00+09:00"), TOKYO), None);
        assert_eq!(notice_due(ends, None, &[], ends, TOKYO), Some(Ended));
        assert_eq!(days_left(ends, at("2029-11-15T08:00:00+09:00"), TOKYO), 7);
        assert_eq!(last_day(ends, TOKYO).to_string(), "2029-11-22");
    }

    #[test]
    fn a_certificate_is_in_order_once_its_successor_is_in_use() {
        let old = certificate(1, "2026-11-23T00:00:00Z", "2029-11-23T00:00:00Z");
        let now = at("2029-10-01T00:00:00Z");
        let mut next = certificate(2, "2029-09-01T00:00:00Z", "2032-09-01T00:00:00Z");
        assert_eq!(
            need(&old, &[next.clone(), old.clone()], now),
            Need::Renew,
            "another key of the account's"
        );
        next.predecessor = Some(old.id);
        next.first_used_at = None;
        assert_eq!(need(&old, &[next.clone(), old.clone()], now), Need::Use(next.id));
        next.first_used_at = Some(now);
        assert_eq!(need(&old, &[next.clone(), old.clone()], now), Need::Nothing);
        // The successor was lost and re-issued: the chain goes on.
        let mut again = certificate(3, "2029-09-02T00:00:00Z", "2032-09-01T00:00:00Z");
        again.predecessor = Some(next.id);
        let all = [again.clone(), revoked(next.clone()), old.clone()];
        assert_eq!(need(&old, &all, now), Need::Renew, "it follows one that holds no more");
        assert_eq!(need(&next, &all, now), Need::Nothing);
        assert_eq!(need(&revoked(old), &all, now), Need::Nothing);
    }

    #[test]
    fn what_a_renewal_is_about() {
        let policy = RenewalPolicy::default();
        let one = certificate(1, "2026-11-23T00:00:00Z", "2029-11-23T00:00:00Z");
        let two = certificate(2, "2027-01-10T00:00:00Z", "2030-01-10T00:00:00Z");
        let id = |all: &[Certificate], proven, now: &str| {
            renewable(all, proven, &policy, at(now), TOKYO).map(|found| found.id.serial)
        };
        assert_eq!(id(&[], None, "2029-11-01T00:00:00Z"), Err(Closed::NoCertificate));
        let early = id(&[two.clone(), one.clone()], None, "2029-08-01T00:00:00Z");
        let opens_at = at("2029-08-23T00:00:00+09:00");
        assert_eq!(early, Err(Closed::NotYet { certificate: one.id, ends_at: one.not_after, opens_at }));
        let both = [two.clone(), one.clone()];
        assert_eq!(id(&both, None, "2029-09-01T00:00:00Z"), Ok(1));
        assert_eq!(
            id(&both, Some("SHA256:2"), "2029-09-01T00:00:00Z"),
            Ok(1),
            "the other is not in its window"
        );
        assert_eq!(id(&both, Some("SHA256:2"), "2029-11-01T00:00:00Z"), Ok(2), "the one that logged in");
        // After the end.
        assert_eq!(id(std::slice::from_ref(&one), None, "2030-06-01T00:00:00Z"), Ok(1));
        assert_eq!(
            id(&both, None, "2029-12-01T00:00:00Z"),
            Ok(2),
            "the one that has ended is not the one to renew"
        );
        // Renewed already.
        let mut next = certificate(3, "2029-09-01T00:00:00Z", "2032-09-01T00:00:00Z");
        next.predecessor = Some(one.id);
        let all = [next.clone(), one.clone()];
        assert_eq!(
            id(&all, None, "2029-10-01T00:00:00Z"),
            Err(Closed::Renewed { certificate: one.id, by: next.id })
        );
        let late = id(&all, None, "2030-10-01T00:00:00Z");
        assert!(
            matches!(late, Err(Closed::NotYet { certificate, .. }) if certificate == next.id),
            "{late:?}"
        );
        assert_eq!(id(&[revoked(next), one], None, "2029-10-01T00:00:00Z"), Ok(1));
        assert_eq!(id(&[revoked(two)], None, "2029-10-01T00:00:00Z"), Err(Closed::NoCertificate));
    }

    #[test]
    fn a_login_says_that_the_newest_certificate_ends() {
        let zone = chrono_tz::Asia::Tokyo;
        let old = certificate(1, "2023-12-01T00:00:00+09:00", "2026-12-01T00:00:00+09:00");
        let now = at("2026-11-23T10:00:00+09:00");
        let said = login_warning(std::slice::from_ref(&old), 30, now, zone);
        assert_eq!(said.map(|(id, _, left)| (id, left)), Some((old.id, days_left(old.not_after, now, zone))));
        assert_eq!(login_warning(std::slice::from_ref(&old), 0, now, zone), None, "switched off");
        assert_eq!(login_warning(std::slice::from_ref(&old), 3, now, zone), None, "not yet");
        let new = certificate(2, "2026-11-01T00:00:00+09:00", "2029-11-01T00:00:00+09:00");
        assert_eq!(login_warning(&[old.clone(), new.clone()], 30, now, zone), None, "renewed");
        assert!(login_warning(&[old, revoked(new)], 30, now, zone).is_some());
        assert_eq!(login_warning(&[], 30, now, zone), None);
    }
}
