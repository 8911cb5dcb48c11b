//! Documents go soon, and nobody fetched them.

use super::arrival::{ArrivalNotice, ArrivalPart};
use super::{CONTACT, Kind, Notice, OFFICE, body, may, must};
use crate::model::finding::Language;
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "expiring",
    default_text: include_str!("../../../../conf/notices/expiring.toml"),
    slots: &[
        OFFICE,
        may("more"),
        may("insurer"),
        may("total"),
        must("last_day"),
        may("days"),
        body("parts"),
        CONTACT,
    ],
    sample: |language| {
        ExpiringNotice {
            parts: vec![ArrivalPart::sample("株式会社見本工業", "K0001", "1234")], days: 14
        }
        .values(language)
    },
};

/// Documents that nobody fetched go soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiringNotice {
    /// One for each account and office; at least one. They all go on the same day.
    pub parts: Vec<ArrivalPart>,
    /// Whole days until the last one on which they can be fetched.
    pub days: u32,
}

impl Notice for ExpiringNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn values(&self, language: Language) -> Values {
        ArrivalNotice { parts: self.parts.clone() }.values(language).number("days", u64::from(self.days))
    }
}
