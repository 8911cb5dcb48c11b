//! A document was taken back (誤配信).

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, body, may, sample_day};
use crate::model::document::Reading;
use crate::model::finding::{Language, Text};
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "recall",
    default_text: include_str!("../../../../conf/notices/recall.toml"),
    slots: &[OFFICE, INSURER, may("kind"), body("file"), may("placed_on"), body("fetched"), CONTACT],
    sample: |language| {
        RecallNotice {
            to: Addressed::sample(),
            kind: "納入告知書".to_owned(),
            file: "2026-11_納入告知書_D1-000123-3.pdf".to_owned(),
            placed_on: sample_day(23),
            fetched: Reading::Whole,
        }
        .values(language)
    },
};

/// A document was taken back (誤配信).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallNotice {
    /// Its office.
    pub to: Addressed,
    /// Type of the document.
    pub kind: String,
    /// Its file name in the outbox, which names no person.
    pub file: String,
    /// Local day on which it was placed.
    pub placed_on: NaiveDate,
    /// How far somebody had fetched it.
    pub fetched: Reading,
}

impl Notice for RecallNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        self.to
            .values(language)
            .line("kind", &self.kind)
            .line("file", &self.file)
            .day("placed_on", self.placed_on)
            .text("fetched", &fetched(self.fetched))
    }
}

fn fetched(fetched: Reading) -> Text {
    match fetched {
        Reading::Whole => Text::new(
            "この文書はすでに受信されています。保存した控えや印刷したものがあれば、\
             内容を見ずに削除・破棄し、下記の窓口へご連絡ください。",
            "This document had been fetched. If you kept or printed a copy, delete and destroy it \
             without reading it, and tell the contact below.",
        ),
        Reading::Partly => Text::new(
            "この文書は途中まで受信されています。途中までのファイルや控えがあれば、\
             内容を見ずに削除・破棄し、下記の窓口へご連絡ください。",
            "A part of this document had been fetched. If you kept that part, delete and destroy it \
             without reading it, and tell the contact below.",
        ),
        Reading::Not => Text::new(
            "この文書は受信される前に取り消されました。お手続きは必要ありません。",
            "This document was taken back before anybody fetched it. There is nothing you need to do.",
        ),
    }
}
