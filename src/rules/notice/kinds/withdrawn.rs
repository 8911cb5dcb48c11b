//! The operator withdrew a submission (H26).

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, body, must};
use crate::model::finding::{Language, Text};
use crate::model::ids::Number;
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "withdrawn",
    default_text: include_str!("../../../../conf/notices/withdrawn.toml"),
    slots: &[OFFICE, INSURER, must("number"), body("reason"), CONTACT],
    sample: |language| {
        WithdrawnNotice {
            to: Addressed::sample(),
            number: Number { epoch: 1, serial: 123 },
            reason: Some("お電話でのご依頼によります。".to_owned()),
        }
        .values(language)
    },
};

/// The operator withdrew a submission (H26).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawnNotice {
    /// The office it was sent for.
    pub to: Addressed,
    /// Which submission.
    pub number: Number,
    /// Why, in the operator's words; several lines at most.
    pub reason: Option<String>,
}

impl Notice for WithdrawnNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        let none = Text::new("(記載なし)", "(none given)");
        let reason = self.reason.as_deref().unwrap_or_else(|| none.get(language));
        self.to.values(language).line("number", &self.number.to_string()).block("reason", reason)
    }
}
