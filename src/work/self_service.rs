//! The files of `/account`: what an account sees of itself, and what it changes by itself (K36 H24).
//!
//! A changed profile takes effect at once: card, synced; then one commit with `profile_changed` and the sealed
//! confirmations to the address now registered and, if that is another, to the one before. A crash before the commit
//! leaves cards that the sweep takes; after it nothing is left to do but to send, which the queue of mails does.

mod logins;
mod renew;

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono_tz::Tz;

use super::certificates;
use super::enrol::Enrolment;
use super::enrol::files::Fetched;
use super::notify::{Notifier, Recipient};
use super::parties::profile::Registration;
use super::parties::{Parties, PartyError};
use super::password_ends::PasswordRules;
use super::ports::self_service::{
    CERTIFICATES, PROFILE, RENEW_CSR, RENEW_PUB, RENEW_TOML, SelfFault, SelfService, TERMS,
};
use super::renewals::{PolicyOf, of_account};
use crate::model::account_history::ProfileField;
use crate::model::authority::Form;
use crate::model::card::{AccountCard, InsurerCard, OfficeCard};
use crate::model::certificate::CertificateStanding;
use crate::model::finding::Text;
use crate::model::ids::AccountId;
use crate::model::mail::{Mail, Subject};
use crate::model::party::Account;
use crate::model::time::Timestamp;
use crate::rules::login::{ACCOUNT_STOPPED, account_stopped};
use crate::rules::notice::ProfileNotice;
use crate::rules::profile::{OFFICES_MAX, Profile};
use crate::store::attempts::Attempts;
use crate::store::authorities::x509::pem;
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::history;
use crate::store::ledger::{Ledger, LedgerError};
use crate::store::receipts::Made;
use crate::store::verification::may_act;

/// Makes and takes the files of `/account`.
pub struct AccountFiles {
    /// Accounts.
    pub ledger: Arc<dyn Ledger>,
    /// Their cards.
    pub blobs: Arc<dyn Blobs>,
    /// Who sets parties.
    pub parties: Arc<Parties>,
    /// Writes confirmations.
    pub notifier: Arc<Notifier>,
    /// Takes renewals.
    pub enrolment: Arc<Enrolment>,
    /// When new certificates were last fetched.
    pub fetched: Fetched,
    /// Insurers' policies of renewals.
    pub renewal: Box<PolicyOf>,
    /// Last logins.
    pub attempts: Arc<Attempts>,
    /// What is asked of passwords.
    pub passwords: Arc<PasswordRules>,
    /// Most rows of a list (`submit.listed_max`).
    pub rows_max: usize,
    /// Days are counted here.
    pub zone: Tz,
}

/// Certificates whose files are in `/account`, the newest first.
const CERTIFICATES_SHOWN_MAX: usize = 20;
/// Where authorities' files are.
const AUTHORITIES: &str = "authorities";

impl From<PartyError> for SelfFault {
    fn from(error: PartyError) -> Self {
        Self::Failed(format!("{:#}", anyhow::Error::from(error)))
    }
}
impl From<LedgerError> for SelfFault {
    fn from(error: LedgerError) -> Self {
        Self::Failed(error.to_string())
    }
}
impl From<std::io::Error> for SelfFault {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(format!("a card: {error}"))
    }
}
impl From<anyhow::Error> for SelfFault {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

impl AccountFiles {
    fn account(&self, id: &AccountId) -> Result<Account, SelfFault> {
        self.ledger
            .account(id)?
            .ok_or_else(|| SelfFault::Failed(format!("account {id} is not in the ledger any more")))
    }

    fn profile(&self, account: &Account, card: &AccountCard) -> Result<Profile, SelfFault> {
        let blobs = self.blobs.as_ref();
        let insurer = match self.ledger.insurer(&account.insurer)? {
            Some(insurer) => cards::get::<InsurerCard>(blobs, &insurer.card)?.name,
            None => account.insurer.to_string(),
        };
        let mut offices = Vec::new();
        for code in account.offices.iter().take(OFFICES_MAX) {
            let name = match self.ledger.office(&account.insurer, code)? {
                Some(office) => cards::get::<OfficeCard>(blobs, &office.card)?.name,
                None => code.to_string(),
            };
            offices.push((code.clone(), name));
        }
        Ok(Profile {
            account: account.id.clone(),
            insurer: (account.insurer.clone(), insurer),
            role: account.role,
            test: account.test,
            machine: account.machine,
            user_name: card.user_name.clone(),
            mail: card.mail.clone(),
            language: account.language,
            offices,
            more_offices: account.offices.len().saturating_sub(OFFICES_MAX),
            keys: account.keys.iter().map(|key| key.fingerprint.clone()).collect(),
            remarks: Vec::new(),
        })
    }

    fn profile_file(&self, account: &Account, now: Timestamp) -> Result<Made, SelfFault> {
        let card: AccountCard = cards::get(self.blobs.as_ref(), &account.card)?;
        let remarks = self.about_logins(account, now)?;
        let bytes = Profile { remarks, ..self.profile(account, &card)? }.to_toml().into_bytes();
        Ok(Made { bytes, at: self.ledger.head().at })
    }

    fn certificates_file(&self, account: &Account) -> Result<Made, SelfFault> {
        let reader = history::Reader {
            ledger: self.ledger.as_ref(),
            blobs: self.blobs.as_ref(),
            zone: self.zone,
            rows_max: self.rows_max,
        };
        Ok(Made { bytes: reader.certificates(account)?.into_bytes(), at: self.ledger.head().at })
    }

    /// Certificates that hold or will, as `NUMBER.crt`, `NUMBER-ca.crt`, `NUMBER-cert.pub` and `NUMBER.pub`; and the authorities
    /// that are trusted, with their fingerprints (E5).
    fn certificate_files(&self, account: &Account, now: Timestamp) -> Result<Vec<(String, Made)>, SelfFault> {
        let authorities = self.ledger.authorities()?;
        let mut files = Vec::new();
        let all = of_account(self.ledger.as_ref(), &account.id)?;
        let usable = all.iter().filter(|of| {
            matches!(of.standing_at(now), CertificateStanding::Holds | CertificateStanding::Future)
        });
        for of in usable.take(CERTIFICATES_SHOWN_MAX) {
            for file in certificates::certificate_files(of, &authorities) {
                let ending = file.name.strip_prefix(of.account.as_str()).unwrap_or(&file.name);
                files.push((format!("{}{ending}", of.id), Made { bytes: file.bytes, at: of.issued_at }));
            }
        }
        let mut prints = String::new();
        for of in authorities.iter().filter(|of| of.trusted_at(now, &account.insurer)) {
            let (ending, bytes) = match of.form {
                Form::X509 => {
                    let der = BASE64.decode(&of.certificate).map_err(|e| SelfFault::Failed(e.to_string()))?;
                    ("crt", pem("CERTIFICATE", &der).into_bytes())
                }
                Form::Openssh => ("pub", format!("{} {}\n", of.certificate, of.id).into_bytes()),
            };
            let name = format!("{}.{ending}", of.id);
            let _ = writeln!(prints, "SHA256 {}  {name}\nSHA1   {}  {name}", of.sha256, of.sha1);
            files.push((format!("{AUTHORITIES}/{name}"), Made { bytes, at: of.trusted_from }));
        }
        let at = self.ledger.head().at;
        files.push((format!("{AUTHORITIES}/fingerprints.txt"), Made { bytes: prints.into_bytes(), at }));
        Ok(files)
    }

    fn put_profile(&self, id: &AccountId, bytes: &[u8], now: Timestamp) -> Result<(), SelfFault> {
        let fields = self.parties.change_profile(
            id,
            |before| {
                let profile = self.profile(&before.account, &before.card)?;
                profile
                    .change(bytes)
                    .map_err(|fault| SelfFault::Refused { code: fault.code, text: fault.text })
            },
            |before, after, fields| self.confirmations(before, after, fields, now),
            now,
        )?;
        if !fields.is_empty() {
            let fields: Vec<_> = fields.into_iter().map(ProfileField::key).collect();
            tracing::info!(account = %id, ?fields, "an account changed its registration");
        }
        Ok(())
    }

    /// To the address now registered, and to the one before if that is another. An account without an address (an insurer's
    /// may have none) is told nothing there.
    fn confirmations(
        &self,
        before: &Registration,
        after: &Registration,
        fields: &[ProfileField],
        now: Timestamp,
    ) -> Result<Vec<Mail>, SelfFault> {
        let mut notice = ProfileNotice {
            to: self.notifier.addressed(&after.account, None)?,
            account: after.account.id.to_string(),
            fields: fields.to_vec(),
            changed_on: now.date_in(self.zone),
            former: false,
        };
        let mut mails = Vec::new();
        for (of, former) in [(after, false), (before, true)] {
            if of.card.mail.is_empty() || (former && before.card.mail == after.card.mail) {
                continue;
            }
            let to = Recipient {
                mail: of.card.mail.clone(),
                language: of.account.language,
                accounts: vec![of.account.id.clone()],
                insurer: None,
            };
            notice.former = former;
            let subject = Subject::Notice { kind: "profile".to_owned(), about: String::new() };
            mails.push(self.notifier.write(&to, &notice, subject, now)?);
        }
        Ok(mails)
    }
}

impl SelfService for AccountFiles {
    fn files(&self, account: &AccountId, now: Timestamp) -> Result<Vec<(String, Made)>, SelfFault> {
        let account = self.account(account)?;
        let mut files = self.certificate_files(&account, now)?;
        files.push((PROFILE.to_owned(), self.profile_file(&account, now)?));
        files.push((CERTIFICATES.to_owned(), self.certificates_file(&account)?));
        files.extend(self.consent_files(&account)?);
        Ok(files)
    }

    fn file(&self, account: &AccountId, path: &str, now: Timestamp) -> Result<Option<Made>, SelfFault> {
        let account = self.account(account)?;
        match path {
            PROFILE => self.profile_file(&account, now).map(Some),
            CERTIFICATES => self.certificates_file(&account).map(Some),
            // What is put and not kept.
            RENEW_CSR | RENEW_PUB => Ok(None),
            RENEW_TOML | TERMS => {
                let files = self.consent_files(&account)?;
                Ok(files.into_iter().find(|(there, _)| there == path).map(|(_, made)| made))
            }
            _ => {
                let files = self.certificate_files(&account, now)?;
                Ok(files.into_iter().find(|(there, _)| there == path).map(|(_, made)| made))
            }
        }
    }

    fn opened(&self, account: &AccountId, path: &str, now: Timestamp) {
        if let Err(error) = self.note_fetched(account, path, now) {
            tracing::error!(%account, %error, "a download could not be recorded");
        }
    }

    fn put(
        &self,
        account: &AccountId,
        name: &str,
        bytes: &[u8],
        proven: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SelfFault> {
        let of = self.account(account)?;
        if !may_act(self.ledger.as_ref(), &of)? {
            return Err(SelfFault::Refused { code: ACCOUNT_STOPPED, text: account_stopped() });
        }
        match name {
            PROFILE => self.put_profile(account, bytes, now),
            RENEW_TOML => self.put_consent(&of, bytes, now),
            RENEW_CSR | RENEW_PUB => self.renew(&of, name, bytes, proven, now),
            _ => Err(SelfFault::Refused {
                code: "ACCOUNT-NAME",
                text: Text::new(
                    "この名前のファイルは受け付けていません。",
                    "No file of this name is taken here.",
                ),
            }),
        }
    }
}
