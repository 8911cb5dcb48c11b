//! A filing is expected of an office by a day.

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, must, sample_day};
use crate::model::finding::{Language, Text};
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "reminder",
    default_text: include_str!("../../../../conf/notices/reminder.toml"),
    slots: &[OFFICE, INSURER, must("what"), must("day"), CONTACT],
    sample: |language| {
        let what = Text::new("算定基礎届", "filing (regular determination)");
        ReminderNotice { to: Addressed::sample(), what, day: sample_day(10) }.values(language)
    },
};

/// A filing is expected of an office by a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReminderNotice {
    /// The office.
    pub to: Addressed,
    /// Which filing.
    pub what: Text,
    /// The last day.
    pub day: NaiveDate,
}

impl Notice for ReminderNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        self.to.values(language).text("what", &self.what).day("day", self.day)
    }
}
