//! An account changed its own registration (K36 H24): said to its address, and to the one before.

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, body, must, sample_day};
use crate::model::account_history::ProfileField;
use crate::model::finding::{Language, Text};
use crate::rules::notice::words::Values;

pub(super) static KIND: Kind = Kind {
    name: "profile",
    default_text: include_str!("../../../../conf/notices/profile.toml"),
    slots: &[OFFICE, INSURER, must("account"), must("changed_on"), body("changes"), CONTACT],
    sample: |language| sample(false).values(language),
};

pub(super) static FORMER_KIND: Kind = Kind {
    name: "profile-former",
    default_text: include_str!("../../../../conf/notices/profile-former.toml"),
    slots: &[OFFICE, INSURER, must("account"), must("changed_on"), body("changes"), CONTACT],
    sample: |language| sample(true).values(language),
};

/// An account changed its own registration. No new value is in it: they may name a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileNotice {
    /// Office (the account's first, where it acts for several).
    pub to: Addressed,
    /// Which account: a mailbox may serve several (K9).
    pub account: String,
    /// What changed.
    pub fields: Vec<ProfileField>,
    /// Local day.
    pub changed_on: NaiveDate,
    /// To the address that no mail goes to from now on.
    pub former: bool,
}

fn sample(former: bool) -> ProfileNotice {
    ProfileNotice {
        to: Addressed::sample(),
        account: "K0001".to_owned(),
        fields: vec![ProfileField::UserName, ProfileField::Mail, ProfileField::Language],
        changed_on: sample_day(23),
        former,
    }
}

impl Notice for ProfileNotice {
    fn kind(&self) -> &'static Kind {
        if self.former { &FORMER_KIND } else { &KIND }
    }
    fn values(&self, language: Language) -> Values {
        let changes = self.fields.iter().map(|field| {
            let name = field.words();
            Text::new(format!("  ・{}", name.ja), format!("  - {}", name.en)).get(language).to_owned()
        });
        self.to
            .values(language)
            .line("account", &self.account)
            .day("changed_on", self.changed_on)
            .list("changes", changes)
    }
}
