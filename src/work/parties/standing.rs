//! Suspending, resuming, closing: and what happens to what lies in the outbox.

use serde::{Deserialize, Serialize};

use super::{Change, Parties, PartyError, Told};
use crate::model::application::{Application, ApplicationKind, ApplicationState};
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::login::{Credential, Purpose};
use crate::model::party::{Account, Actor, Standing};
use crate::model::time::Timestamp;
use crate::rules::delegation;
use crate::store::ledger::{ApplicationFilter, Op};

/// Documents are counted in pages of this size.
const PAGE: usize = 1_000;
/// Open applications of one account that are looked through.
const OPEN_MAX: usize = 100;

/// Which party is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartyName {
    /// An insurer.
    Insurer(InsurerCode),
    /// An office of an insurer.
    Office(InsurerCode, OfficeCode),
    /// An account.
    Account(AccountId),
}

/// What lies in outboxes.
#[derive(Default)]
struct Lying {
    documents: u64,
    last_expiry: Option<Timestamp>,
}

impl Parties {
    /// Sets a party's standing and says what that means for the outbox. Setting what is set already changes nothing.
    pub fn set_standing(
        &self,
        party: &PartyName,
        to: Standing,
        zone: chrono_tz::Tz,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Told, PartyError> {
        let _alone = self.alone();
        let (op, was, mut notes) = match party {
            PartyName::Insurer(code) => {
                let mut insurer = self
                    .ledger
                    .insurer(code)?
                    .ok_or_else(|| PartyError::new("UNKNOWN", format!("insurer {code} does not exist")))?;
                let was = std::mem::replace(&mut insurer.standing, to);
                let notes = self.about_insurer(code, to, zone)?;
                (Op::SetInsurer { insurer, new: false }, was, notes)
            }
            PartyName::Office(insurer, code) => {
                let text = format!("office {code} of insurer {insurer} does not exist");
                let mut office =
                    self.ledger.office(insurer, code)?.ok_or_else(|| PartyError::new("UNKNOWN", text))?;
                let was = std::mem::replace(&mut office.standing, to);
                let notes = self.about_office(insurer, code, to, zone)?;
                (Op::SetOffice { office, new: false }, was, notes)
            }
            PartyName::Account(id) => {
                let mut account = self.account(id)?;
                if to != Standing::Active && account.standing != Standing::Closed {
                    self.waits_for_no_set_up(id)?;
                }
                let was = std::mem::replace(&mut account.standing, to);
                let notes = self.about_account(&account, to, zone)?;
                (Op::SetAccount { account, new: false }, was, notes)
            }
        };
        if was == to {
            notes.insert(0, "It was so already; nothing changed.".to_owned());
            return Ok(Told { change: Change::Unchanged, fields: Vec::new(), notes });
        }
        if (was, to) == (Standing::Closed, Standing::Suspended) {
            return Err(PartyError::new(
                "CLOSED",
                "it is closed; `resume` opens it again, then it can be suspended",
            ));
        }
        self.ledger.commit(op, by.clone(), now)?;
        Ok(Told { change: Change::Changed, fields: vec!["standing".to_owned()], notes })
    }

    /// An applicant's set-up would open the account again.
    fn waits_for_no_set_up(&self, id: &AccountId) -> Result<(), PartyError> {
        let states = ApplicationState::ALL.into_iter().filter(|state| state.is_open()).collect();
        let filter = ApplicationFilter { account: Some(id.clone()), states, ..Default::default() };
        let waits = |of: &Application| of.kind == ApplicationKind::New && of.admitted && of.consent.is_none();
        let Some(of) = self.ledger.applications(&filter, OPEN_MAX)?.into_iter().find(waits) else {
            return Ok(());
        };
        let text = format!(
            "account {id} waits for the first set-up of application {}, which would open it again; `account application cancel {}` \
             takes the application back, revokes its certificate and closes the account",
            of.id, of.id
        );
        Err(PartyError::new("SET-UP-WAITS", text))
    }

    fn about_account(
        &self,
        account: &Account,
        to: Standing,
        zone: chrono_tz::Tz,
    ) -> Result<Vec<String>, PartyError> {
        let mut lying = Lying::default();
        self.count(&mut lying, account, None)?;
        let there = lying.text("in its outbox", zone);
        let login = Credential::of(Purpose::Login, &account.id);
        let password = to == Standing::Closed && self.ledger.password(&login)?.is_some();
        let mut notes = vec![match to {
            Standing::Active => format!("It can log in. {there}."),
            Standing::Suspended => format!(
                "It cannot log in. {there}: they stay until they expire and can be fetched after `account resume`."
            ),
            Standing::Closed => format!(
                "It cannot log in any more, and nothing new is placed in its outbox. {there}: they stay until they expire, then \
                 the account is empty; nobody else gets them."
            ),
        }];
        if password {
            notes.push(
                "Its password ends with it: after `account resume` it needs another (`account password`)."
                    .to_owned(),
            );
        }
        Ok(notes)
    }

    fn about_office(
        &self,
        insurer: &InsurerCode,
        office: &OfficeCode,
        to: Standing,
        zone: chrono_tz::Tz,
    ) -> Result<Vec<String>, PartyError> {
        let mut lying = Lying::default();
        let mut acting = Vec::new();
        for account in self.ledger.accounts(Some(insurer))? {
            if delegation::offices_ever(&account).contains(office) {
                self.count(&mut lying, &account, Some(office))?;
                acting.push(account.id.to_string());
            }
        }
        let there = lying.text("for it in outboxes", zone);
        let who = if acting.is_empty() {
            "no account acts for it".to_owned()
        } else {
            format!("accounts: {}", acting.join(", "))
        };
        Ok(vec![match to {
            Standing::Active => format!("It takes part ({who}). {there}."),
            Standing::Suspended => {
                format!(
                    "Nothing is filed for it and nothing delivered to it for now ({who}). {there}: they stay until they expire."
                )
            }
            Standing::Closed => format!(
                "Nothing is filed for it and nothing delivered to it any more ({who}). {there}: they stay until they expire and \
                 can still be fetched. Accounts that act for no other office may be closed too."
            ),
        }])
    }

    fn about_insurer(
        &self,
        code: &InsurerCode,
        to: Standing,
        zone: chrono_tz::Tz,
    ) -> Result<Vec<String>, PartyError> {
        let mut lying = Lying::default();
        let accounts = self.ledger.accounts(Some(code))?;
        for account in &accounts {
            self.count(&mut lying, account, None)?;
        }
        let there = lying.text("of it in outboxes", zone);
        let who = format!("{} accounts, {} offices", accounts.len(), self.ledger.offices(code)?.len());
        Ok(vec![match to {
            Standing::Active => format!("It takes part ({who}). {there}."),
            Standing::Suspended => format!(
                "Nothing is taken in for it and nothing delivered from it for now ({who}). {there}: they stay until they expire."
            ),
            Standing::Closed => format!(
                "Nothing is taken in for it and nothing delivered from it any more ({who}). {there}: they stay until they expire. \
                 Its spool folder is left as it is."
            ),
        }])
    }

    fn count(
        &self,
        lying: &mut Lying,
        account: &Account,
        office: Option<&OfficeCode>,
    ) -> Result<(), PartyError> {
        let mut after = None;
        loop {
            let page = self.ledger.documents(&account.id, office, after, PAGE)?;
            for document in &page {
                lying.documents += 1;
                lying.last_expiry = lying.last_expiry.max(Some(document.expires_at));
            }
            after = match page.last() {
                Some(last) if page.len() == PAGE => Some(last.id),
                _ => return Ok(()),
            };
        }
    }
}

impl Lying {
    fn text(&self, place: &str, zone: chrono_tz::Tz) -> String {
        match self.last_expiry {
            None => format!("No documents {place}"),
            Some(last) => {
                let date = last.plus(-1).date_in(zone);
                format!("{} documents {place}, the last of them until {date}", self.documents)
            }
        }
    }
}
