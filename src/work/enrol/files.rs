//! `/enrol/`: what an enrolment login sees, and the set-up it puts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::hand_out::{README, RENEW, SETUP, TERMS};
use super::setup::SetUpFault;
use super::{Enrolment, PartyError};
use crate::model::application::{Application, ApplicationKind};
use crate::model::finding::Text;
use crate::model::ids::{AccountId, ApplicationId};
use crate::model::party::{Actor, Standing};
use crate::model::time::{SECOND, Timestamp};
use crate::rules::login::{ACCOUNT_STOPPED, account_stopped};
use crate::store::receipts::Made;
use crate::work::ports::self_service::{SelfFault, SelfService};

/// Files fetched within so long of each other are one download.
const ONE_DOWNLOAD: i64 = 60 * SECOND;
/// Applications whose last download is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// When each was last fetched from.
#[derive(Debug, Default)]
pub struct Fetched(Mutex<HashMap<ApplicationId, Timestamp>>);

impl Fetched {
    /// Whether this begins another download.
    fn begins(&self, id: ApplicationId, now: Timestamp) -> bool {
        let mut fetched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fetched.get(&id).is_some_and(|last| now.since(*last) < ONE_DOWNLOAD) {
            return false;
        }
        if fetched.len() >= REMEMBERED_MAX {
            fetched.clear();
        }
        fetched.insert(id, now);
        true
    }

    /// Records that something of what was issued is fetched; a failure costs the record alone.
    pub fn note(&self, enrolment: &Enrolment, id: ApplicationId, by: &AccountId, now: Timestamp) {
        if self.begins(id, now)
            && let Err(error) = enrolment.downloaded(id, &Actor::Account(by.clone()), now)
        {
            tracing::error!(application = %id, %error, "a download could not be recorded");
        }
    }
}

/// The files of `/enrol/`. The account is the application's number, which is the login's name.
pub struct EnrolmentFiles {
    /// Who moves applications.
    pub enrolment: Arc<Enrolment>,
    /// When each was last fetched from.
    pub fetched: Fetched,
}

fn failed(error: &dyn std::fmt::Display) -> SelfFault {
    SelfFault::Failed(error.to_string())
}

fn over(error: PartyError) -> SelfFault {
    match error {
        PartyError::Refused { code, text } => SelfFault::Refused {
            code,
            text: Text::new(
                "受け取りの期間は終わりました。初回ログインが済んでいるか、期限が過ぎています。必要なときは健康保険組合へご連絡ください。",
                text,
            ),
        },
        other => failed(&other),
    }
}

impl EnrolmentFiles {
    fn id(account: &AccountId) -> Result<ApplicationId, SelfFault> {
        ApplicationId::parse(account.as_str()).map_err(|error| failed(&error))
    }

    /// The application, while its insurer serves: a session may be older than that it does not.
    fn of(&self, account: &AccountId) -> Result<Application, SelfFault> {
        let of = self.enrolment.get(Self::id(account)?).map_err(over)?;
        let insurer = self.enrolment.ledger.insurer(&of.insurer).map_err(|error| failed(&error))?;
        if insurer.is_none_or(|insurer| insurer.standing != Standing::Active) {
            return Err(SelfFault::Refused { code: ACCOUNT_STOPPED, text: account_stopped() });
        }
        Ok(of)
    }
}

impl SelfService for EnrolmentFiles {
    fn files(&self, account: &AccountId, now: Timestamp) -> Result<Vec<(String, Made)>, SelfFault> {
        let of = self.of(account)?;
        let at = of.since().unwrap_or(now);
        let files = self.enrolment.files(&of, now).map_err(over)?;
        Ok(files.into_iter().map(|file| (file.name, Made { bytes: file.bytes, at })).collect())
    }

    fn file(&self, account: &AccountId, path: &str, now: Timestamp) -> Result<Option<Made>, SelfFault> {
        Ok(self.files(account, now)?.into_iter().find(|(name, _)| name == path).map(|(_, made)| made))
    }

    fn opened(&self, account: &AccountId, path: &str, now: Timestamp) {
        if matches!(path, README | TERMS | SETUP | RENEW) {
            return;
        }
        if let Ok(id) = Self::id(account) {
            self.fetched.note(&self.enrolment, id, account, now);
        }
    }

    fn put(
        &self,
        account: &AccountId,
        name: &str,
        bytes: &[u8],
        _: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SelfFault> {
        let of = self.of(account)?;
        let (id, kind) = (of.id, of.kind);
        let by = Actor::Account(account.clone());
        let wanted = if kind == ApplicationKind::New { SETUP } else { RENEW };
        if name != wanted {
            return Err(SelfFault::Refused {
                code: "ENROL-NAME",
                text: Text::new(
                    format!("この申込で送るのは {wanted} です。"),
                    format!("What is put for this application is {wanted}."),
                ),
            });
        }
        match self.enrolment.set_up(id, bytes, &by, now).map_err(over)? {
            Ok(()) => Ok(()),
            Err(faults) => Err(refused(&faults)),
        }
    }
}

/// All faults of a form in one answer, led by the code of the first.
pub(in crate::work) fn refused(faults: &[SetUpFault]) -> SelfFault {
    let Some(first) = faults.first() else { return failed(&"no fault") };
    let join = |text: &dyn Fn(&Text) -> String| {
        let all: Vec<_> = faults.iter().map(|fault| text(&fault.text)).collect();
        all.join(" / ")
    };
    let text = Text::new(join(&|text| text.ja.clone()), join(&|text| text.en.clone()));
    SelfFault::Refused { code: first.code, text }
}
