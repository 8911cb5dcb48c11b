//! `/enrol/`: what an enrolment login sees, and the set-up it puts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::hand_out::{README, SETUP, TERMS};
use super::{Enrolment, PartyError};
use crate::model::finding::Text;
use crate::model::ids::{AccountId, ApplicationId};
use crate::model::party::Actor;
use crate::model::time::{SECOND, Timestamp};
use crate::store::receipts::Made;
use crate::work::ports::self_service::{SelfFault, SelfService};

/// Files fetched within so long of each other are one download.
const ONE_DOWNLOAD: i64 = 60 * SECOND;
/// Applications whose last download is remembered.
const REMEMBERED_MAX: usize = 10_000;

/// The files of `/enrol/`. The account is the application's number, which is the login's name.
pub struct EnrolmentFiles {
    /// Who moves applications.
    pub enrolment: Arc<Enrolment>,
    /// When each was last fetched from.
    pub fetched: Mutex<HashMap<ApplicationId, Timestamp>>,
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
}

impl SelfService for EnrolmentFiles {
    fn files(&self, account: &AccountId, now: Timestamp) -> Result<Vec<(String, Made)>, SelfFault> {
        let of = self.enrolment.get(Self::id(account)?).map_err(over)?;
        let at = of.since().unwrap_or(now);
        let files = self.enrolment.files(&of, now).map_err(over)?;
        Ok(files.into_iter().map(|file| (file.name, Made { bytes: file.bytes, at })).collect())
    }

    fn file(&self, account: &AccountId, path: &str, now: Timestamp) -> Result<Option<Made>, SelfFault> {
        Ok(self.files(account, now)?.into_iter().find(|(name, _)| name == path).map(|(_, made)| made))
    }

    fn opened(&self, account: &AccountId, path: &str, now: Timestamp) {
        if matches!(path, README | TERMS | SETUP) {
            return;
        }
        let Ok(id) = Self::id(account) else { return };
        {
            let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
            if fetched.get(&id).is_some_and(|last| now.since(*last) < ONE_DOWNLOAD) {
                return;
            }
            if fetched.len() >= REMEMBERED_MAX {
                fetched.clear();
            }
            fetched.insert(id, now);
        }
        if let Err(error) = self.enrolment.downloaded(id, &Actor::Account(account.clone()), now) {
            tracing::error!(application = %id, %error, "a download could not be recorded");
        }
    }

    fn put(
        &self,
        account: &AccountId,
        _: &str,
        bytes: &[u8],
        _: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SelfFault> {
        let id = Self::id(account)?;
        let by = Actor::Account(account.clone());
        match self.enrolment.set_up(id, bytes, &by, now).map_err(over)? {
            Ok(()) => Ok(()),
            Err(faults) => {
                let Some(first) = faults.first() else { return Err(failed(&"no fault")) };
                let join = |text: &dyn Fn(&Text) -> String| {
                    let all: Vec<_> = faults.iter().map(|fault| text(&fault.text)).collect();
                    all.join(" / ")
                };
                let text = Text::new(join(&|text| text.ja.clone()), join(&|text| text.en.clone()));
                Err(SelfFault::Refused { code: first.code, text })
            }
        }
    }
}
