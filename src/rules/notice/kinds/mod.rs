//! The kinds of notice, one file each. A new one is a file here (its values, its places, a sample), a line in
//! [`KINDS`], its texts in `conf/notices/NAME.toml`, and its row in `conf/notices/README.md`.

mod absence;
mod address;
mod again;
mod application;
mod arrival;
mod expiring;
mod login;
mod password;
mod profile;
mod recall;
mod refusal;
mod reminder;
mod renewal;
mod swept;
mod withdrawn;

use super::template::{Need, Slot};
use super::words::Values;
use crate::model::finding::Language;

pub use absence::AbsenceNotice;
pub use address::AddressNotice;
pub use again::AgainMail;
pub use application::ApplicationMail;
pub use arrival::{ArrivalNotice, ArrivalPart};
pub use expiring::ExpiringNotice;
pub use login::LoginNotice;
pub use password::PasswordEndsNotice;
pub use profile::ProfileNotice;
pub use recall::RecallNotice;
pub use refusal::{RefusalNotice, RefusalReason, summarise};
pub use reminder::ReminderNotice;
pub use renewal::{CertificateEndsNotice, RenewalList, RenewalRow};
pub use swept::SweptNotice;
pub use withdrawn::WithdrawnNotice;

/// All kinds, in the order of their names.
pub static KINDS: &[&Kind] = &[
    &absence::KIND,
    &address::KIND,
    &application::CANCELLED,
    &application::EXPIRED,
    &application::ISSUED,
    &application::PAYMENT,
    &application::REJECTED,
    &application::REMINDER,
    &application::TAKEN,
    &arrival::KIND,
    &again::KIND,
    &renewal::ENDED_KIND,
    &renewal::KIND,
    &expiring::KIND,
    &login::KIND,
    &password::KIND,
    &profile::KIND,
    &profile::FORMER_KIND,
    &recall::KIND,
    &refusal::KIND,
    &reminder::KIND,
    &renewal::LIST_KIND,
    &swept::KIND,
    &withdrawn::KIND,
];

/// One kind of notice.
#[derive(Debug)]
pub struct Kind {
    /// ASCII and stable: its texts are in `conf/notices/NAME.toml`.
    pub name: &'static str,
    /// The texts that come with the program; also what `init` writes.
    pub default_text: &'static str,
    /// Places that its texts may or must have.
    pub(super) slots: &'static [Slot],
    /// What the places may be filled with: for checks and for looking at a text.
    pub(super) sample: fn(Language) -> Values,
}

impl Kind {
    /// Its file under `conf/notices/`.
    pub fn file_name(&self) -> String {
        format!("{}.toml", self.name)
    }

    /// Places its texts may have: in the subject, and in the body.
    pub fn places(&self) -> [Vec<&'static str>; 2] {
        let of = |need: fn(&Slot) -> Need| {
            self.slots.iter().filter(|slot| need(slot) != Need::Never).map(|slot| slot.name).collect()
        };
        [of(|slot| slot.in_subject), of(|slot| slot.in_body)]
    }
}

/// A notice: values for the places of its kind.
pub trait Notice {
    /// Which texts it takes.
    fn kind(&self) -> &'static Kind;
    /// What the places are filled with.
    fn values(&self, language: Language) -> Values;
}

/// What nearly every notice says: to which office, about which insurer, and whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// Name of the office (of the account, where it has none).
    pub office_name: String,
    /// Name of the insurer.
    pub insurer_name: String,
    /// Whom to ask; may have several lines.
    pub contact: String,
}

impl Addressed {
    /// Fills `{office}`, `{insurer}` and `{contact}`.
    pub(super) fn values(&self, language: Language) -> Values {
        Values::new(language)
            .line("office", &self.office_name)
            .line("insurer", &self.insurer_name)
            .block("contact", &self.contact)
    }

    /// A sample for [`Kind::sample`].
    pub(super) fn sample() -> Self {
        Self {
            office_name: "株式会社見本工業".to_owned(),
            insurer_name: "東京見本健康保険組合".to_owned(),
            contact: "東京見本健康保険組合 適用課\n電話 03-0000-0000".to_owned(),
        }
    }
}

/// `{office}`: first in the subject, since mailboxes are shared (K9).
const OFFICE: Slot = Slot { name: "office", in_subject: Need::Must, in_body: Need::Must };
const INSURER: Slot = Slot { name: "insurer", in_subject: Need::May, in_body: Need::Must };
const CONTACT: Slot = Slot { name: "contact", in_subject: Need::Never, in_body: Need::Must };

/// Must stand in the body, and may in the subject.
const fn must(name: &'static str) -> Slot {
    Slot { name, in_subject: Need::May, in_body: Need::Must }
}
/// Must stand in the body, has no place in the subject.
const fn body(name: &'static str) -> Slot {
    Slot { name, in_subject: Need::Never, in_body: Need::Must }
}
/// May stand anywhere.
const fn may(name: &'static str) -> Slot {
    Slot { name, in_subject: Need::May, in_body: Need::May }
}

/// A day of November 2026, for samples.
fn sample_day(day: u32) -> chrono::NaiveDate {
    chrono::NaiveDate::from_ymd_opt(2026, 11, day).unwrap_or_default()
}
