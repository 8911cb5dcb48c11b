//! `[enrolment]` of an insurer's file.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use chrono_tz::Tz;
use serde::{Deserialize, Deserializer};

use crate::model::application::Payment;
use crate::model::ids::UseClass;
use crate::model::time::Timestamp;

/// When applications are collected (K3): a cron expression in the gateway's zone.
#[derive(Debug, Clone)]
pub struct Cutoff(cron::Schedule);

impl Cutoff {
    /// Six fields: second, minute, hour, day, month, weekday.
    pub fn parse(text: &str) -> Result<Self, String> {
        cron::Schedule::from_str(text).map(Self).map_err(|_| {
            "must be a cron expression of six fields (second, minute, hour, day, month, weekday), such as 0 0 17 1,15 * *"
                .to_owned()
        })
    }

    /// The first cut-off after this time. A schedule that never comes again is never.
    pub fn after(&self, at: Timestamp, zone: Tz) -> Timestamp {
        let next = self.0.after(&at.utc().with_timezone(&zone)).next();
        next.map_or(Timestamp(i64::MAX), |next| Timestamp(next.timestamp_millis()))
    }
}

impl<'de> Deserialize<'de> for Cutoff {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// Who says yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// The insurer, by the operator's word.
    Operator,
    /// Everything that was collected.
    Automatic,
}

/// How long what was issued can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Downloads {
    /// Any number of times until the first login, then no more (K27).
    UntilFirstLogin,
    /// Any number of times until its days are over (H16).
    UntilLastDay,
}

/// Whether the first set-up is asked for before an account may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetUp {
    /// It is: registered values and consent to the terms (K18 H5).
    Asked,
    /// It is not; what is issued can be used at once.
    None,
}

/// Policy of enrolment, with the seeds' values as defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnrolmentPolicy {
    /// When applications are collected (K3).
    pub cutoff: Cutoff,
    /// Who says yes.
    pub approval: Approval,
    /// Days within which what was issued must be in use (K27).
    pub use_within_days: u32,
    /// Days before the last one on which a reminder goes out.
    pub remind_days: Vec<u32>,
    /// How long it can be fetched (K27 H16).
    pub downloads: Downloads,
    /// Whether the first set-up is asked for (K18).
    pub setup: SetUp,
    /// How the fee is paid when the application does not say (C).
    pub payment: Payment,
    /// What is said of the tax on a quotation and bill (H8: 税込).
    pub tax: String,
    /// Who makes out the quotation: name, and lines below it; empty means the insurer's name alone.
    pub issuer: Vec<String>,
    /// Version of the terms of use, as consent records it.
    pub terms_version: String,
    /// The terms of use (H5).
    pub terms: String,
    /// Class of use and its fee in yen (E14); the first in the order of names is taken when the application does not say.
    pub fees: BTreeMap<UseClass, u32>,
}

/// The class that fees are set for by default.
const CLASS: &str = "standard";
/// Yen, tax included (H8).
const FEE: u32 = 7_800;
/// What is consented to where the insurer gives no terms of its own.
const TERMS: &str = include_str!("terms.txt");

impl Default for EnrolmentPolicy {
    fn default() -> Self {
        Self {
            cutoff: Cutoff(default_cutoff()),
            approval: Approval::Operator,
            use_within_days: 60,
            remind_days: vec![14, 3],
            downloads: Downloads::UntilFirstLogin,
            setup: SetUp::Asked,
            payment: Payment::Setoff,
            tax: "税込".to_owned(),
            issuer: Vec::new(),
            terms_version: "1".to_owned(),
            terms: TERMS.to_owned(),
            fees: UseClass::parse(CLASS).ok().into_iter().map(|class| (class, FEE)).collect(),
        }
    }
}

#[allow(clippy::expect_used, reason = "a text of this file, read in every test")]
fn default_cutoff() -> cron::Schedule {
    cron::Schedule::from_str("0 0 17 1,15 * *").expect("a cron expression")
}

impl EnrolmentPolicy {
    /// What is wrong with values that can be read: key (`enrolment.KEY`) and why.
    pub fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let mut faults = Vec::new();
        let mut fault = |wrong: bool, key, what| {
            if wrong {
                faults.push((key, what));
            }
        };
        let line = |text: &str| !text.chars().any(char::is_control) && text.chars().count() <= 60;
        fault(
            !(1..=366).contains(&self.use_within_days),
            "enrolment.use_within_days",
            "must be 1 to 366 days",
        );
        fault(self.remind_days.len() > 10, "enrolment.remind_days", "must be at most 10 reminders");
        fault(!line(&self.tax), "enrolment.tax", "must be one line of at most 60 characters");
        fault(
            self.issuer.len() > 6 || !self.issuer.iter().all(|text| line(text)),
            "enrolment.issuer",
            "must be at most 6 lines of at most 60 characters",
        );
        let version = &self.terms_version;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        fault(
            version.is_empty() || version.len() > 20 || !version.chars().all(plain),
            "enrolment.terms_version",
            "must be 1 to 20 ASCII letters, digits, '.', '-' or '_', such as 2026-04",
        );
        fault(
            self.terms.trim().is_empty() || self.terms.len() > 200_000,
            "enrolment.terms",
            "must be a text of at most 200000 bytes",
        );
        fault(self.fees.is_empty(), "enrolment.fees", "must name at least one class of use");
        fault(
            self.fees.values().any(|fee| *fee > 10_000_000),
            "enrolment.fees",
            "must be at most 10000000 yen each",
        );
        faults
    }

    /// The class that is meant, and its fee; none for a class that is not listed.
    pub fn fee(&self, class: Option<&UseClass>) -> Option<(UseClass, u32)> {
        let found = match class {
            Some(class) => self.fees.get_key_value(class),
            None => self.fees.first_key_value(),
        };
        found.map(|(class, fee)| (class.clone(), *fee))
    }
}
