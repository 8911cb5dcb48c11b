//! Files of an unfinished set were removed from the drop-box.

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, must, sample_day};
use crate::model::finding::Language;
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "swept",
    default_text: include_str!("../../../../conf/notices/swept.toml"),
    slots: &[OFFICE, INSURER, must("files"), must("days"), must("sent_on"), CONTACT],
    sample: |language| {
        SweptNotice { to: Addressed::sample(), files: 3, days: 7, sent_on: sample_day(23) }.values(language)
    },
};

/// Files of an unfinished set were removed from the drop-box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweptNotice {
    /// Office (the account's first, where it acts for several).
    pub to: Addressed,
    /// How many files.
    pub files: u64,
    /// Whole days the set was waited for.
    pub days: u32,
    /// Local day on which the last of it had arrived.
    pub sent_on: NaiveDate,
}

impl Notice for SweptNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        self.to
            .values(language)
            .number("files", self.files)
            .number("days", u64::from(self.days))
            .day("sent_on", self.sent_on)
    }
}
