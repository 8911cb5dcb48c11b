//! Applications as listings and reports show them: the record and what it registers.

use std::io;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::Enrolment;
use crate::model::application::{Application, ApplicationKind, ApplicationState, Payment, Replacement};
use crate::model::card::{ApplicationCard, CardRef, ReasonCard};
use crate::model::escape::csv_field;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, ApplicationId, CertificateId, InsurerCode, OfficeCode, UseClass};
use crate::model::party::{Actor, Role};
use crate::model::time::Timestamp;
use crate::store::cards;

/// A state with its date (H11-H13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnteredRow {
    /// The state.
    pub state: ApplicationState,
    /// 状況, as clerks read it.
    pub label: String,
    /// When, RFC 3339.
    pub at: String,
    /// By whom.
    pub by: Actor,
}

/// An application, as `account applications --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "facts of the application")]
pub struct ApplicationRow {
    /// Its number.
    pub application: ApplicationId,
    /// What is applied for.
    pub kind: ApplicationKind,
    /// Where it is.
    pub state: ApplicationState,
    /// 状況
    pub label: String,
    /// The account to be.
    pub account: AccountId,
    /// With which society.
    pub insurer: InsurerCode,
    /// Office or agent.
    pub role: Role,
    /// Its own first.
    pub offices: Vec<OfficeCode>,
    /// The application it belongs to.
    pub group: Option<ApplicationId>,
    /// As registered; none once the card is erased.
    pub office_name: Option<String>,
    /// As registered.
    pub user_name: Option<String>,
    /// As registered.
    pub mail: Option<String>,
    /// Class of use.
    pub class: UseClass,
    /// Fee in yen.
    pub fee: u32,
    /// How it is paid.
    pub payment: Payment,
    /// `ssh-key`, `csr`, `p12`
    pub material: String,
    /// A test identity.
    pub test: bool,
    /// A payroll system's.
    pub machine: bool,
    /// Language of its mails.
    pub language: Language,
    /// The certificate that was issued.
    pub certificate: Option<CertificateId>,
    /// When it is (or was) collected.
    pub collect_at: String,
    /// Since when it is where it is.
    pub since_at: Option<String>,
    /// The certificate holds from then.
    pub valid_from: Option<String>,
    /// ... until then.
    pub valid_to: Option<String>,
    /// It must be in use before this time.
    pub use_before_at: Option<String>,
    /// How often it was fetched.
    pub downloads: u32,
    /// Version of the terms consented to.
    pub terms: Option<String>,
    /// When they were.
    pub consented_at: Option<String>,
    /// Why it was rejected or taken back.
    pub reason: Option<String>,
    /// The certificate it follows or replaces.
    pub predecessor: Option<CertificateId>,
    /// The lost certificates that it replaces, how they were lost, when they are revoked, and whether that was done.
    pub replaces: Option<Replacement>,
    /// It waits for its applicant's consent to the terms.
    pub waits_for_consent: bool,
    /// Every state with its date.
    pub dates: Vec<EnteredRow>,
}

fn time(at: Timestamp) -> String {
    at.to_string()
}

impl Enrolment {
    /// What was registered; none once it is erased.
    pub fn registered(&self, of: &Application) -> io::Result<Option<ApplicationCard>> {
        self.card(Some(&of.card))
    }

    /// Why it was rejected or taken back.
    pub fn reason(&self, of: &Application) -> io::Result<Option<String>> {
        Ok(self.card::<ReasonCard>(of.reason.as_ref())?.map(|card| card.reason))
    }

    fn card<T: serde::de::DeserializeOwned>(&self, card: Option<&CardRef>) -> io::Result<Option<T>> {
        let Some(card) = card else { return Ok(None) };
        match cards::get(self.blobs.as_ref(), card) {
            Ok(card) => Ok(Some(card)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// With its cards.
    pub fn row(&self, of: &Application) -> io::Result<ApplicationRow> {
        let card = self.registered(of)?;
        let (office_name, user_name, mail) = match card {
            Some(card) => (Some(card.office_name), Some(card.user_name), Some(card.mail)),
            None => (None, None, None),
        };
        let certificate = match of.certificate {
            Some(id) => self.ledger.certificate(id).map_err(io::Error::other)?,
            None => None,
        };
        let dates = of.entered.iter().map(|entered| EnteredRow {
            state: entered.state,
            label: entered.state.text().ja,
            at: time(entered.at),
            by: entered.by.clone(),
        });
        Ok(ApplicationRow {
            application: of.id,
            kind: of.kind,
            state: of.state,
            label: of.state.text().ja,
            account: of.account.clone(),
            insurer: of.insurer.clone(),
            role: of.role,
            offices: of.offices.clone(),
            group: of.group,
            office_name,
            user_name,
            mail,
            class: of.class.clone(),
            fee: of.fee,
            payment: of.payment,
            material: of.material.name().to_owned(),
            test: of.test,
            machine: of.machine,
            language: of.language,
            certificate: of.certificate,
            collect_at: time(of.collect_at),
            since_at: of.since().map(time),
            valid_from: certificate.as_ref().map(|one| time(one.not_before)),
            valid_to: certificate.as_ref().map(|one| time(one.not_after)),
            use_before_at: of.use_before.map(time),
            downloads: of.downloads,
            terms: of.consent.as_ref().map(|consent| consent.terms.clone()),
            consented_at: of.consent.as_ref().map(|consent| time(consent.at)),
            reason: self.reason(of)?,
            predecessor: of.predecessor,
            replaces: of.replaces.clone(),
            waits_for_consent: of.waits_for_consent(),
            dates: dates.collect(),
        })
    }
}

/// First line of `reports/applications-*.csv`: UTF-8 with BOM, CRLF.
pub(super) const REPORT_HEADER: &str = "\u{feff}application,kind,状況,state,account,role,offices,office_name,user_name,mail,class,fee,payment,material,test,group,applied_on\r\n";

/// One line of it, as the application stands once it is collected.
pub(super) fn report_line(row: &ApplicationRow, state: ApplicationState, zone: Tz) -> String {
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let offices: Vec<_> = row.offices.iter().map(OfficeCode::as_str).collect();
    let applied = row.dates.first().and_then(|first| chrono::DateTime::parse_from_rfc3339(&first.at).ok());
    let applied = applied.map(|at| at.with_timezone(&zone).format("%Y-%m-%d").to_string());
    let fields = [
        row.application.to_string(),
        word(serde_json::to_value(row.kind)),
        state.text().ja,
        state.name().to_owned(),
        row.account.to_string(),
        word(serde_json::to_value(row.role)),
        offices.join(" "),
        row.office_name.clone().unwrap_or_default(),
        row.user_name.clone().unwrap_or_default(),
        row.mail.clone().unwrap_or_default(),
        row.class.to_string(),
        row.fee.to_string(),
        word(serde_json::to_value(row.payment)),
        row.material.clone(),
        if row.test { "test".to_owned() } else { String::new() },
        row.group.map(|group| group.to_string()).unwrap_or_default(),
        applied.unwrap_or_default(),
    ];
    let fields: Vec<_> = fields.iter().map(|field| csv_field(field)).collect();
    format!("{}\r\n", fields.join(","))
}
