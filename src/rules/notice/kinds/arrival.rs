//! Documents arrived (K9). One mail for a mailbox, whichever accounts share it (K5 K9): one part for each account and
//! office.

use chrono::NaiveDate;

use super::{CONTACT, Kind, Notice, OFFICE, body, may, sample_day};
use crate::model::finding::Language;
use crate::rules::notice::words::{LIST_LINES_MAX, VALUE_CHARS_MAX, Values, block, clean, day};

pub(super) static KIND: Kind = Kind {
    name: "arrival",
    default_text: include_str!("../../../../conf/notices/arrival.toml"),
    slots: &[OFFICE, may("more"), may("insurer"), may("total"), may("last_day"), body("parts"), CONTACT],
    sample: |language| {
        let part = |office: &str, account: &str, code: &str| ArrivalPart {
            office_name: office.to_owned(),
            insurer_name: "東京見本健康保険組合".to_owned(),
            account: account.to_owned(),
            counts: vec![("納入告知書".to_owned(), 1), ("決定通知書".to_owned(), 2)],
            last_day: sample_day(30),
            folder: format!("/outbox/{code}/"),
            contact: "東京見本健康保険組合 適用課\n電話 03-0000-0000".to_owned(),
        };
        let parts =
            vec![part("株式会社見本工業", "K0001", "1234"), part("見本商事株式会社", "K0002", "5678")];
        ArrivalNotice { parts }.values(language)
    },
};

/// Documents arrived for those who read one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalNotice {
    /// One for each account and office; at least one.
    pub parts: Vec<ArrivalPart>,
}

/// What arrived in one outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalPart {
    /// Name of the office.
    pub office_name: String,
    /// Name of the insurer.
    pub insurer_name: String,
    /// The account that fetches them, such as `K0001`.
    pub account: String,
    /// Types of document, and how many of each.
    pub counts: Vec<(String, u64)>,
    /// The last whole day on which all of them can be fetched: [`super::super::last_day`] of the first to expire.
    pub last_day: NaiveDate,
    /// Where they are, such as `/outbox/1234/`.
    pub folder: String,
    /// Whom to ask; may have several lines.
    pub contact: String,
}

impl Notice for ArrivalNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    /// `{office}` and `{insurer}` are the first part's, `{more}` says how many further offices there are, `{last_day}`
    /// is the earliest, `{contact}` every contact once.
    fn values(&self, language: Language) -> Values {
        let ja = language == Language::Ja;
        let first = self.parts.first();
        let mut offices: Vec<&str> = self.parts.iter().map(|part| part.office_name.as_str()).collect();
        let mut insurers: Vec<&str> = self.parts.iter().map(|part| part.insurer_name.as_str()).collect();
        let mut contacts: Vec<&str> = self.parts.iter().map(|part| part.contact.as_str()).collect();
        for list in [&mut offices, &mut insurers, &mut contacts] {
            once_each(list);
        }
        let more = match offices.len().saturating_sub(1) {
            0 => String::new(),
            n if ja => format!(" ほか{n}事業所"),
            n => format!(" and {n} more"),
        };
        let insurer = match insurers.len().saturating_sub(1) {
            0 => first.map(|part| part.insurer_name.clone()).unwrap_or_default(),
            n if ja => format!("{}ほか{n}組合", insurers[0]),
            n => format!("{} and {n} more", insurers[0]),
        };
        let total: u64 = self.parts.iter().flat_map(|part| &part.counts).map(|(_, count)| count).sum();
        let last_day = self.parts.iter().map(|part| part.last_day).min().unwrap_or_default();
        let contacts: Vec<String> = contacts.into_iter().take(10).map(block).collect();
        Values::new(language)
            .line("office", first.map_or("", |part| &part.office_name))
            .ready("more", more)
            .line("insurer", &insurer)
            .number("total", total)
            .day("last_day", last_day)
            .list("parts", self.parts.iter().map(|part| part.text(language)))
            .ready("contact", contacts.join("\n"))
    }
}

fn once_each(list: &mut Vec<&str>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|text| seen.insert(*text));
}

impl ArrivalPart {
    fn text(&self, language: Language) -> String {
        let line = |text: &str| clean(text, VALUE_CHARS_MAX);
        let (office, insurer, account) =
            (line(&self.office_name), line(&self.insurer_name), line(&self.account));
        let (folder, last) = (line(&self.folder), day(self.last_day, language));
        let mut lines = Vec::new();
        match language {
            Language::Ja => lines.push(format!("■ {office}\n  {insurer}から  (アカウント {account})")),
            Language::En => lines.push(format!("* {office}\n  from {insurer}  (account {account})")),
        }
        for (kind, count) in self.counts.iter().take(LIST_LINES_MAX) {
            let kind = line(kind);
            lines.push(match language {
                Language::Ja => format!("  ・{kind}  {count}件"),
                Language::En => format!("  - {kind}: {count}"),
            });
        }
        if let Some(more) = self.counts.len().checked_sub(LIST_LINES_MAX).filter(|more| *more > 0) {
            lines.push(match language {
                Language::Ja => format!("  ほか{more}種類"),
                Language::En => format!("  and {more} more kinds"),
            });
        }
        lines.push(match language {
            Language::Ja => format!("  受け取る場所  {folder}\n  受け取り期限  {last}まで\n"),
            Language::En => format!("  Where       {folder}\n  Last day    {last}\n"),
        });
        lines.join("\n")
    }
}
