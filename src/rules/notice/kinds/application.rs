//! What an applicant is told of the application (K18 H10 H13): to the registered address alone. Only the answer to it repeats
//! what was registered, since the first set-up asks for it.

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, body, may, must, sample_day};
use crate::model::application::ApplicationNotice;
use crate::model::finding::Language;
use crate::rules::notice::words::Values;

macro_rules! kind {
    ($static:ident, $name:literal, $what:ident, [$($slot:expr),*]) => {
        pub(super) static $static: Kind = Kind {
            name: $name,
            default_text: include_str!(concat!("../../../../conf/notices/", $name, ".toml")),
            slots: &[OFFICE, INSURER, must("application"), may("account"), $($slot,)* CONTACT],
            sample: |language| sample(ApplicationNotice::$what, language),
        };
    };
}

kind!(TAKEN, "application-taken", Taken, [body("user_name"), body("mail"), body("collect_on"), may("fee")]);
kind!(REJECTED, "application-rejected", Rejected, [body("reason")]);
kind!(PAYMENT, "application-payment", Payment, [body("fee")]);
kind!(ISSUED, "application-issued", Issued, [must("last_day"), may("folder")]);
kind!(REMINDER, "application-reminder", Reminder, [must("last_day"), may("folder")]);
kind!(EXPIRED, "application-expired", Expired, [may("last_day")]);
kind!(CANCELLED, "application-cancelled", Cancelled, [body("reason")]);

/// What an applicant is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationMail {
    /// What happened.
    pub what: ApplicationNotice,
    /// The office it is for (or through).
    pub to: Addressed,
    /// The application's number; also its enrolment login.
    pub application: String,
    /// The account to be.
    pub account: String,
    /// User name as registered.
    pub user_name: String,
    /// Address as registered.
    pub mail: String,
    /// Local day of the cut-off that collects it.
    pub collect_on: NaiveDate,
    /// Such as `7,800`.
    pub fee: String,
    /// Local day on which it must be in use.
    pub last_day: NaiveDate,
    /// Why, in the insurer's words; empty where it said nothing.
    pub reason: String,
}

fn sample(what: ApplicationNotice, language: Language) -> Values {
    ApplicationMail {
        what,
        to: Addressed::sample(),
        application: "A1-000123-6".to_owned(),
        account: "K0001".to_owned(),
        user_name: "総務課".to_owned(),
        mail: "soumu@example.jp".to_owned(),
        collect_on: sample_day(30),
        fee: "7,800".to_owned(),
        last_day: sample_day(23),
        reason: "申込書の事業所名が届出と異なります".to_owned(),
    }
    .values(language)
}

impl Notice for ApplicationMail {
    fn kind(&self) -> &'static Kind {
        match self.what {
            ApplicationNotice::Taken => &TAKEN,
            ApplicationNotice::Rejected => &REJECTED,
            ApplicationNotice::Payment => &PAYMENT,
            ApplicationNotice::Issued => &ISSUED,
            ApplicationNotice::Reminder => &REMINDER,
            ApplicationNotice::Expired => &EXPIRED,
            ApplicationNotice::Cancelled => &CANCELLED,
        }
    }

    fn values(&self, language: Language) -> Values {
        let reason = match (self.reason.as_str(), language) {
            ("", Language::Ja) => "(記載はありません)",
            ("", Language::En) => "(none was given)",
            (reason, _) => reason,
        };
        let values =
            self.to.values(language).line("application", &self.application).line("account", &self.account);
        match self.what {
            ApplicationNotice::Taken => values
                .line("user_name", &self.user_name)
                .line("mail", &self.mail)
                .day("collect_on", self.collect_on)
                .line("fee", &self.fee),
            ApplicationNotice::Payment => values.line("fee", &self.fee),
            ApplicationNotice::Rejected | ApplicationNotice::Cancelled => values.line("reason", reason),
            ApplicationNotice::Issued | ApplicationNotice::Reminder => {
                values.day("last_day", self.last_day).line("folder", "/enrol/")
            }
            ApplicationNotice::Expired => values.day("last_day", self.last_day),
        }
    }
}
