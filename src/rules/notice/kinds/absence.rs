//! What an insurer expected by a day has not come.

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Need, Notice, OFFICE, Slot, body, must, sample_day};
use crate::model::finding::{Language, Text};
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "absence",
    default_text: include_str!("../../../../conf/notices/absence.toml"),
    slots: &[OFFICE, Slot { in_body: Need::May, ..INSURER }, must("day"), body("items"), CONTACT],
    sample: |language| {
        let office_name = Addressed::sample().insurer_name;
        AbsenceNotice {
            to: Addressed { office_name, ..Addressed::sample() },
            day: sample_day(10),
            items: vec![
                Text::new("支払決定額通知書", "支払決定額通知書"),
                Text::new("事業所 1234 の届出", "filing of office 1234"),
            ],
        }
        .values(language)
    },
};

/// What an insurer expected by a day has not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsenceNotice {
    /// The insurer itself stands in the place of the office.
    pub to: Addressed,
    /// The day.
    pub day: NaiveDate,
    /// What is missing: types and codes, nobody's name.
    pub items: Vec<Text>,
}

impl Notice for AbsenceNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        let items = self.items.iter().map(|item| format!("  {}", item.get(language)));
        self.to.values(language).day("day", self.day).list("items", items)
    }
}
