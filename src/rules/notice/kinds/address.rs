//! Nobody reads mail at an account's address: told to its insurer, who knows how else to reach the office.

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, body, may, must, sample_day};
use crate::model::finding::{Language, Text};
use crate::rules::notice::words::Values;
use crate::rules::smtp_code::Status;

pub(super) static KIND: Kind = Kind {
    name: "address",
    default_text: include_str!("../../../../conf/notices/address.toml"),
    slots: &[OFFICE, INSURER, must("accounts"), may("since"), body("reason"), CONTACT],
    sample: |language| {
        AddressNotice {
            to: Addressed::sample(),
            accounts: vec!["K0001".to_owned(), "K0002".to_owned()],
            since: sample_day(23),
            status: Status::parse("5.1.1"),
            soft: false,
        }
        .values(language)
    },
};

/// Nobody reads mail at an account's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressNotice {
    /// Office of the first account.
    pub to: Addressed,
    /// Accounts that have the address.
    pub accounts: Vec<String>,
    /// Local day since which nothing is sent there.
    pub since: NaiveDate,
    /// What the other host said.
    pub status: Option<Status>,
    /// No single answer, but too many failures.
    pub soft: bool,
}

impl Notice for AddressNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        let separator = if language == Language::Ja { "、" } else { ", " };
        self.to
            .values(language)
            .line("accounts", &self.accounts.join(separator))
            .day("since", self.since)
            .ready("reason", self.reason(language))
    }
}

impl AddressNotice {
    fn reason(&self, language: Language) -> String {
        let words = match (self.soft, self.status.map(|status| (status.subject, status.detail))) {
            (true, _) => Text::new(
                "続けて何度も届きませんでした(受信箱の容量超過、受信拒否など)。",
                "Several mails in a row failed (mailbox full, refused, ...).",
            ),
            (_, Some((1, 2) | (4, 4))) => Text::new(
                "アドレスのドメイン(@の右側)がありません。",
                "The domain of the address (behind the @) does not exist.",
            ),
            (_, Some((2, 1))) => {
                Text::new("そのアドレスは使用を停止されています。", "The address was disabled.")
            }
            _ => Text::new("そのアドレスは存在しません。", "The address does not exist."),
        };
        match self.status {
            Some(status) => format!("{} ({status})", words.get(language)),
            None => words.get(language).to_owned(),
        }
    }
}
