//! Taking applications: those that belong together (an office's and its agent's, K6 K7) are taken all or none.

use serde::{Deserialize, Serialize};

use super::{Enrolment, PartyError};
use crate::model::application::{Application, ApplicationKind, ApplicationState, Material, Payment};
use crate::model::card::{ApplicationCard, CardRef, OfficeCard};
use crate::model::certificate::{Revocation, RevocationReason};
use crate::model::event::Series;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, ApplicationId, BlobId, InsurerCode, OfficeCode, UseClass};
use crate::model::party::{Actor, Role, Standing};
use crate::model::time::Timestamp;
use crate::rules::enrolment::EnrolmentPolicy;
use crate::rules::policy::SecondAccount;
use crate::store::cards;
use crate::store::ledger::{ApplicationFilter, Op};
use crate::work::parties::plan::{mail as check_mail, name as check_name};

/// Open applications of one insurer that are looked through for a second one of an office.
const OPEN_MAX: usize = 20_000;
/// Offices of one application.
const OFFICES_MAX: usize = 500;

/// What is said of one application for a new account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyForm {
    /// The account to be.
    pub account: AccountId,
    /// With which society.
    pub insurer: InsurerCode,
    /// Office or agent.
    pub role: Role,
    /// Its own office first; an agent's is the one it is applied for through.
    pub offices: Vec<OfficeCode>,
    /// User name; a department will do (K4).
    pub user_name: String,
    /// Its one mail address (K5).
    pub mail: String,
    /// Language of its mails; the gateway's where it says nothing.
    pub language: Option<Language>,
    /// Class of use; the policy's first where it says nothing.
    pub class: Option<UseClass>,
    /// How the fee is paid; the policy's way where it says nothing.
    pub payment: Option<Payment>,
    /// A test identity (H3).
    pub test: bool,
    /// Used by a payroll system.
    pub machine: bool,
    /// The office has an account already, and this further one is meant (K4).
    pub second: bool,
    /// What the certificate is made from.
    pub material: Material,
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// Numbers, in the order of the forms; empty after a dry run.
    pub ids: Vec<ApplicationId>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

fn refused<T>(code: &'static str, text: impl Into<String>) -> Result<T, PartyError> {
    Err(PartyError::new(code, text))
}

/// An application that is fine as far as can be seen, without number and card.
pub(super) struct Draft {
    pub(super) form: ApplyForm,
    office_name: String,
    user_name: String,
    mail: String,
    class: UseClass,
    fee: u32,
    payment: Payment,
    collect_at: Timestamp,
    notes: Vec<String>,
}

impl Enrolment {
    /// Takes a group of applications for new accounts: an office's, and its agent's beside it or alone where the office has an
    /// account already. `language` is for those that say nothing.
    pub fn apply(
        &self,
        forms: &[ApplyForm],
        dry_run: bool,
        language: Language,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Taken, PartyError> {
        let _alone = self.alone();
        let mut drafts = Vec::new();
        for form in forms {
            drafts.push(self.draft(form, forms, now)?);
        }
        self.take(drafts, dry_run, language, by, now)
    }

    /// Looks at one form among those it belongs to; writes nothing.
    pub(super) fn draft(
        &self,
        form: &ApplyForm,
        group: &[ApplyForm],
        now: Timestamp,
    ) -> Result<Draft, PartyError> {
        let id = &form.account;
        if form.role == Role::Insurer {
            return refused(
                "ROLE",
                "an insurer's account is added by the operator: todoke account add --role insurer",
            );
        }
        if ApplicationId::parse(id.as_str()).is_ok() {
            return refused(
                "ACCOUNT-NAME",
                format!("{id} is the name of an enrolment login; choose another"),
            );
        }
        let office_name = self.enrolled(form)?;
        let user_name = check_name("user-name", &form.user_name)?;
        let mail = check_mail(&form.mail)?;
        let policy = (self.policy)(&form.insurer);
        let (class, fee) = fee(form.class.as_ref(), &policy)?;
        self.is_free(form)?;
        let mut notes = Vec::new();
        match form.role {
            Role::Agent => self.comes_through_an_office(form, group)?,
            _ => notes.extend(self.is_the_offices_only_one(form, group)?),
        }
        self.key_is_free(&form.material, id, &form.insurer, form.test)?;
        Ok(Draft {
            form: form.clone(),
            office_name,
            user_name,
            mail,
            class,
            fee,
            payment: form.payment.unwrap_or(policy.payment),
            collect_at: policy.cutoff.after(now, self.zone),
            notes,
        })
    }

    /// Gives numbers, makes the cards durable, and records all of them in one commit.
    pub(super) fn take(
        &self,
        drafts: Vec<Draft>,
        dry_run: bool,
        language: Language,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Taken, PartyError> {
        let notes = drafts.iter().flat_map(|draft| draft.notes.clone()).collect();
        if dry_run {
            return Ok(Taken { ids: Vec::new(), notes });
        }
        let (mut group, mut blobs): (Vec<Application>, Vec<BlobId>) = (Vec::new(), Vec::new());
        for draft in drafts {
            let card = ApplicationCard {
                salt: cards::salt()?,
                office_name: draft.office_name.clone(),
                user_name: draft.user_name.clone(),
                mail: draft.mail.clone(),
            };
            let card = cards::put(self.blobs.as_ref(), &card, now)?;
            blobs.push(card.blob.clone());
            group.push(self.application(draft, card, language, now)?);
        }
        // An agent's belongs to its office's (K6 K7).
        let offices: Vec<_> = group
            .iter()
            .filter(|of| of.role == Role::Office)
            .map(|of| (of.id, of.offices.first().cloned()))
            .collect();
        for of in group.iter_mut().filter(|of| of.role == Role::Agent) {
            let own = of.offices.first().cloned();
            of.group = offices.iter().find(|(_, office)| *office == own).map(|(id, _)| *id);
        }
        let ids = group.iter().map(|of| of.id).collect();
        self.record(group, &blobs, by, now)?;
        Ok(Taken { ids, notes })
    }

    pub(super) fn record(
        &self,
        group: Vec<Application>,
        cards: &[BlobId],
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), PartyError> {
        self.blobs.sync(cards)?;
        match self.ledger.commit(Op::Apply(group), by.clone(), now) {
            Ok(_) => Ok(()),
            Err(error) => {
                // Unless the journal is in doubt the event is not there, so nothing names the cards.
                if error.is_not_recorded() {
                    self.blobs.remove(cards)?;
                }
                Err(error.into())
            }
        }
    }

    fn application(
        &self,
        draft: Draft,
        card: CardRef,
        language: Language,
        now: Timestamp,
    ) -> Result<Application, PartyError> {
        let form = draft.form;
        Ok(Application {
            id: self.number(now)?,
            kind: ApplicationKind::New,
            insurer: form.insurer,
            account: form.account,
            role: form.role,
            offices: form.offices,
            group: None,
            class: draft.class,
            test: form.test,
            machine: form.machine,
            language: form.language.unwrap_or(language),
            material: form.material,
            fee: draft.fee,
            payment: draft.payment,
            predecessor: None,
            card,
            state: ApplicationState::Applied,
            entered: Vec::new(),
            collect_at: draft.collect_at,
            admitted: false,
            certificate: None,
            bundle: false,
            keep: false,
            use_before: None,
            remind_at: Vec::new(),
            downloads: 0,
            consent: None,
            reason: None,
            replaces: None,
            approved: false,
            asks_consent: false,
        })
    }

    pub(super) fn number(&self, now: Timestamp) -> Result<ApplicationId, PartyError> {
        let epoch = self.ledger.head().epoch;
        Ok(ApplicationId { epoch, serial: self.ledger.next_serial(Series::Application, now)? })
    }

    pub(super) fn office_name(&self, insurer: &InsurerCode, code: &OfficeCode) -> Result<String, PartyError> {
        let office = self.ledger.office(insurer, code)?;
        let office = office.ok_or_else(|| not_enrolled(insurer, code))?;
        Ok(cards::get::<OfficeCard>(self.blobs.as_ref(), &office.card)?.name)
    }

    /// Every office is enrolled with the society and takes part (K8); gives the name of its own.
    fn enrolled(&self, form: &ApplyForm) -> Result<String, PartyError> {
        let insurer = &form.insurer;
        match self.ledger.insurer(insurer)? {
            None => {
                let text = format!(
                    "insurer {insurer} does not exist; add it first: todoke insurer add {insurer} --name NAME"
                );
                return refused("INSURER-UNKNOWN", text);
            }
            Some(there) if there.standing != Standing::Active => {
                return refused("INSURER-CLOSED", format!("insurer {insurer} is suspended or closed"));
            }
            Some(_) => {}
        }
        let Some(own) = form.offices.first() else {
            return refused(
                "OFFICE-MISSING",
                format!("the application for {} names no office (K8)", form.account),
            );
        };
        if form.offices.len() > OFFICES_MAX {
            return refused("OFFICES-MANY", format!("an application names at most {OFFICES_MAX} offices"));
        }
        for code in &form.offices {
            match self.ledger.office(insurer, code)? {
                None => return Err(not_enrolled(insurer, code)),
                Some(there) if there.standing != Standing::Active => {
                    let text = format!(
                        "office {code} of insurer {insurer} is suspended or closed; `office resume` opens it again"
                    );
                    return refused("OFFICE-CLOSED", text);
                }
                Some(_) => {}
            }
        }
        self.office_name(insurer, own)
    }

    /// The account's name is not taken. One that is left over from an application that came to nothing may be: the ledger says.
    fn is_free(&self, form: &ApplyForm) -> Result<(), PartyError> {
        let id = &form.account;
        if let Some(account) = self.ledger.account(id)?
            && account.standing != Standing::Closed
        {
            let text = format!(
                "account {id} exists already; a further office is given to it with `office delegate`, another certificate by a renewal"
            );
            return refused("ACCOUNT-EXISTS", text);
        }
        let filter = ApplicationFilter { account: Some(id.clone()), ..ApplicationFilter::default() };
        match self.ledger.applications(&filter, 1)?.pop() {
            Some(open) if open.state.is_open() => {
                let text = format!(
                    "account {id} is applied for already: {} is {}; `account application cancel {}` takes it back",
                    open.id,
                    open.state.name(),
                    open.id
                );
                refused("APPLIED-ALREADY", text)
            }
            _ => Ok(()),
        }
    }

    /// An agent's account is applied for through an office that has one, or applies for one beside it (K6 K7 K11).
    fn comes_through_an_office(&self, form: &ApplyForm, group: &[ApplyForm]) -> Result<(), PartyError> {
        let own = form.offices.first();
        let beside = group.iter().any(|other| {
            other.role == Role::Office && other.insurer == form.insurer && other.offices.first() == own
        });
        if beside {
            return Ok(());
        }
        let accounts = self.ledger.accounts(Some(&form.insurer))?;
        let has_account = accounts.iter().any(|account| {
            account.role == Role::Office
                && account.standing != Standing::Closed
                && account.offices.first() == own
        });
        if has_account {
            return Ok(());
        }
        let office = own.map(ToString::to_string).unwrap_or_default();
        refused(
            "AGENT-ALONE",
            format!(
                "{} is an agent's, and office {office} has no account: an agent cannot apply alone (K6). Apply for the office's \
                 account together with it (--agent, or both rows in one file)",
                form.account
            ),
        )
    }

    /// One account per office, unless the insurer's policy or the operator says otherwise (K4 K10).
    fn is_the_offices_only_one(
        &self,
        form: &ApplyForm,
        group: &[ApplyForm],
    ) -> Result<Option<String>, PartyError> {
        let own = form.offices.first();
        if form.test || form.second {
            return Ok(None);
        }
        let in_group = group.iter().find(|other| {
            other.account != form.account
                && (other.role, other.test) == (Role::Office, false)
                && (&other.insurer, other.offices.first()) == (&form.insurer, own)
        });
        let accounts = self.ledger.accounts(Some(&form.insurer))?;
        let there = accounts.iter().find(|account| {
            account.role == Role::Office
                && !account.test
                && account.standing != Standing::Closed
                && account.offices.first() == own
        });
        let open = ApplicationState::ALL.into_iter().filter(|state| state.is_open()).collect();
        let filter =
            ApplicationFilter { insurer: Some(form.insurer.clone()), states: open, ..Default::default() };
        let open = self.ledger.applications(&filter, OPEN_MAX)?;
        let applied = open.iter().find(|of| {
            (of.kind, of.role, of.test) == (ApplicationKind::New, Role::Office, false)
                && of.offices.first() == own
        });
        let other = in_group
            .map(|other| other.account.to_string())
            .or(there.map(|account| account.id.to_string()))
            .or(applied.map(|of| format!("{} ({})", of.account, of.id)));
        let Some(other) = other else { return Ok(None) };
        let office = own.map(ToString::to_string).unwrap_or_default();
        let text = format!("office {office} has account {other} already (K4: one account per office)");
        match (self.second)(&form.insurer) {
            SecondAccount::Allow => Ok(None),
            SecondAccount::Warn => Ok(Some(format!("{text}."))),
            SecondAccount::Refuse => {
                refused("ACCOUNT-SECOND", format!("{text}; say --second if it is meant"))
            }
        }
    }

    /// The key can be certified and belongs to no other account, but for a test account and its production twin.
    pub(super) fn key_is_free(
        &self,
        material: &Material,
        id: &AccountId,
        insurer: &InsurerCode,
        test: bool,
    ) -> Result<(), PartyError> {
        let Some(fingerprint) = self.issuer.check(material)? else { return Ok(()) };
        let mut holders = self.ledger.accounts_of_key(&fingerprint)?;
        let certified = self.ledger.certificates_of_key(&fingerprint)?;
        let compromised = |r: Revocation| r.reason == RevocationReason::KeyCompromise;
        if let Some(lost) = certified.iter().find(|one| one.revoked.is_some_and(compromised)) {
            let text =
                format!("key {fingerprint} was revoked as lost or compromised ({}); make a new one", lost.id);
            return refused("KEY-COMPROMISED", text);
        }
        holders.extend(certified.into_iter().map(|one| one.account));
        for holder in holders.into_iter().filter(|holder| holder != id) {
            let other = self.ledger.account(&holder)?;
            let twins = other.is_some_and(|other| other.insurer == *insurer && other.test != test);
            if !twins {
                let text = format!(
                    "key {fingerprint} belongs to account {holder} already; every account needs a key of its own (a test account \
                     and its production twin may share one)"
                );
                return refused("KEY-TAKEN", text);
            }
        }
        Ok(())
    }
}

pub(super) fn fee(class: Option<&UseClass>, policy: &EnrolmentPolicy) -> Result<(UseClass, u32), PartyError> {
    policy.fee(class).ok_or_else(|| {
        let known: Vec<_> = policy.fees.keys().map(UseClass::as_str).collect();
        let class = class.map(ToString::to_string).unwrap_or_default();
        let text = format!("class {class:?} is not one of the insurer's: {}", known.join(", "));
        PartyError::new("CLASS", text)
    })
}

fn not_enrolled(insurer: &InsurerCode, code: &OfficeCode) -> PartyError {
    let text = format!(
        "office {code} is not enrolled with insurer {insurer} (K8); add it first: todoke office add {code} --insurer {insurer} \
         --name NAME"
    );
    PartyError::new("OFFICE-UNKNOWN", text)
}
