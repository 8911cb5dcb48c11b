//! A password's days are over soon (E1): after that nothing can be sent before it is changed (E4).

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, must, sample_day};
use crate::model::finding::Language;
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "password-ends",
    default_text: include_str!("../../../../conf/notices/password-ends.toml"),
    slots: &[OFFICE, INSURER, must("account"), must("last_day"), must("days"), CONTACT],
    sample: |language| {
        PasswordEndsNotice {
            to: Addressed::sample(),
            account: "K0001".to_owned(),
            last_day: sample_day(30),
            days: 7,
        }
        .values(language)
    },
};

/// A password ends soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordEndsNotice {
    /// Office (the account's first, where it acts for several).
    pub to: Addressed,
    /// Whose: a mailbox may serve several (K9).
    pub account: String,
    /// The last whole day on which it may be used.
    pub last_day: NaiveDate,
    /// Local days until then.
    pub days: i64,
}

impl Notice for PasswordEndsNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        self.to
            .values(language)
            .line("account", &self.account)
            .day("last_day", self.last_day)
            .number("days", self.days.max(0))
    }
}
