//! Another certificate for an account that is there: its renewal (C), or a re-issue in place of one that was lost (K40 E9 H9).
//!
//! A loss is an application that says which certificates were lost, and when they are revoked by the insurer's policy. Its
//! record is durable before anything else happens, and is kept due until they are: a crash leaves none forgotten. Nothing of
//! the new certificate is there yet when the lost ones are revoked at once, so that never both are.

use serde::{Deserialize, Serialize};

use super::apply::fee;
use super::issue::Halt;
use super::{Enrolment, PartyError};
use crate::model::application::{
    Application, ApplicationKind, ApplicationState, ApplicationStep, Consent, Loss, Material, Payment,
    Replacement, RevokeLost,
};
use crate::model::card::{AccountCard, ApplicationCard};
use crate::model::certificate::{Certificate, CertificateStanding};
use crate::model::ids::{AccountId, ApplicationId, CertificateId, UseClass};
use crate::model::party::{Account, Actor, Standing};
use crate::model::time::Timestamp;
use crate::rules::renewal::{Closed, RenewalPolicy, renewable};
use crate::store::cards;
use crate::store::ledger::{ApplicationFilter, Op};
use crate::work::renewals::of_account;

/// Certificates that one re-issue may replace.
const LOST_MAX: usize = 20;
/// Applications of one account that are looked through for an open one.
const RECENT_MAX: usize = 16;

/// What is said of another certificate by somebody who speaks for the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgainForm {
    /// Renewal or re-issue.
    pub kind: ApplicationKind,
    /// Whose.
    pub account: AccountId,
    /// Which are lost, or which one is renewed; the only one that holds where it says nothing.
    #[serde(default)]
    pub certificates: Vec<CertificateId>,
    /// All that hold are lost.
    #[serde(default)]
    pub all: bool,
    /// How they were lost; a re-issue says it.
    #[serde(default)]
    pub loss: Option<Loss>,
    /// What the new one is made from.
    pub material: Material,
    /// Class of use; the last application's where it says nothing.
    #[serde(default)]
    pub class: Option<UseClass>,
    /// How the fee is paid; as the last application's where it says nothing.
    #[serde(default)]
    pub payment: Option<Payment>,
    /// Version of the terms that its applicant consented to (on paper, say).
    #[serde(default)]
    pub consent: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Its number; none after a dry run.
    pub id: Option<ApplicationId>,
    /// The certificates that it replaces or follows.
    pub about: Vec<CertificateId>,
    /// It was taken before, and goes on.
    pub before: bool,
}

/// One that is fine as far as can be seen.
pub(in crate::work) struct Another {
    pub kind: ApplicationKind,
    pub account: Account,
    pub material: Material,
    pub predecessor: Option<CertificateId>,
    pub replaces: Option<Replacement>,
    pub class: Option<UseClass>,
    pub payment: Option<Payment>,
    pub consent: Option<Consent>,
    pub asks_consent: bool,
    pub approved: bool,
    /// When it goes to the insurer; at the cut-off where it does not say.
    pub collect_at: Option<Timestamp>,
}

fn refused<T>(code: &'static str, text: impl Into<String>) -> Result<T, PartyError> {
    Err(PartyError::new(code, text))
}

impl Enrolment {
    /// Takes an application for another certificate; what was lost is revoked before this returns, where the policy says "at
    /// once". `approved`: who asks says yes as well. The same again, while it is under way, goes on with it.
    pub fn again(
        &self,
        form: &AgainForm,
        approved: bool,
        dry_run: bool,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Again, PartyError> {
        let taken = self.take_again(form, approved, dry_run, by, now)?;
        if let Some(id) = taken.id {
            self.points.pass("applied").map_err(PartyError::from)?;
            self.replace_lost(id, by, now)?;
        }
        Ok(taken)
    }

    fn take_again(
        &self,
        form: &AgainForm,
        approved: bool,
        dry_run: bool,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Again, PartyError> {
        let _alone = self.alone();
        let account = self.at_work(&form.account)?;
        let all = of_account(self.ledger.as_ref(), &account.id)?;
        let key = self.issuer.check(&form.material)?;
        let reissue = form.kind == ApplicationKind::Reissue;
        if let Some(open) = self.under_way(&account.id)? {
            let same = open.kind == form.kind
                && std::mem::discriminant(&open.material) == std::mem::discriminant(&form.material)
                && self.issuer.check(&open.material)? == key;
            if !same || open.state.is_issued() {
                return Err(already(&open));
            }
            return Ok(Again {
                id: Some(open.id),
                about: open.predecessor.into_iter().collect(),
                before: true,
            });
        }
        let policy = (self.renewal)(&account.insurer);
        let about = if reissue {
            lost(form, &account.id, &all, now)?
        } else {
            vec![self.to_be_renewed(form, &all, &policy, now)?]
        };
        let same_key = |one: &Certificate| key.as_deref() == Some(one.fingerprint.as_str());
        let certified = all.iter().find(|one| same_key(one) && (reissue || !policy.same_key));
        if let Some(one) = certified {
            let text =
                format!("this key is certified already ({}); make a new one: ssh-keygen -t ed25519", one.id);
            return refused("SAME-KEY", text);
        }
        self.key_is_free(&form.material, &account.id, &account.insurer, account.test)?;
        let terms = (self.policy)(&account.insurer).terms_version;
        let consent = match &form.consent {
            None => None,
            Some(given) if *given == terms => Some(Consent { terms, at: now }),
            Some(given) => {
                let text = format!("the terms in force are version {terms}, and the consent is to {given:?}");
                return refused("CONSENT-VERSION", text);
            }
        };
        let asks_consent = !reissue && policy.consent && !account.machine;
        let replaces = reissue.then(|| Replacement {
            lost: about.clone(),
            loss: form.loss.unwrap_or(Loss::Key),
            revoke: policy.lost_certificate,
            done: policy.lost_certificate == RevokeLost::Keep,
        });
        let another = Another {
            kind: form.kind,
            material: form.material.clone(),
            predecessor: about.iter().max().copied(),
            replaces,
            class: form.class.clone(),
            payment: form.payment,
            consent,
            asks_consent,
            approved,
            collect_at: approved.then_some(now),
            account,
        };
        let id = self.record_another(another, dry_run, by, now)?;
        Ok(Again { id, about, before: false })
    }

    /// The account, if it can get another certificate.
    fn at_work(&self, id: &AccountId) -> Result<Account, PartyError> {
        let Some(account) = self.ledger.account(id)? else {
            let text = format!("account {id} does not exist; `account list` shows all");
            return refused("ACCOUNT-UNKNOWN", text);
        };
        if account.standing == Standing::Closed {
            let text = format!("account {id} is closed; apply for an account: `account apply`");
            return refused("ACCOUNT-CLOSED", text);
        }
        Ok(account)
    }

    /// What is under way for the account: an application without certificate, or its first one, that waits to be used.
    fn under_way(&self, account: &AccountId) -> Result<Option<Application>, PartyError> {
        let filter = ApplicationFilter { account: Some(account.clone()), ..ApplicationFilter::default() };
        let recent = self.ledger.applications(&filter, RECENT_MAX)?;
        let waits = |of: &Application| {
            of.state.is_open() && (!of.state.is_issued() || of.kind == ApplicationKind::New)
        };
        Ok(recent.into_iter().find(waits))
    }

    fn to_be_renewed(
        &self,
        form: &AgainForm,
        all: &[Certificate],
        policy: &RenewalPolicy,
        now: Timestamp,
    ) -> Result<CertificateId, PartyError> {
        let named = form.certificates.first().and_then(|id| all.iter().find(|one| one.id == *id));
        if let (Some(id), None) = (form.certificates.first(), named) {
            return refused("CERTIFICATE-UNKNOWN", format!("{id} is not a certificate of {}", form.account));
        }
        let proven = named.map(|one| one.fingerprint.as_str());
        let day = |at: Timestamp| at.date_in(self.zone);
        match renewable(all, proven, policy, now, self.zone) {
            Ok(one) if named.is_none_or(|named| named.id == one.id) => Ok(one.id),
            Ok(one) => {
                let text =
                    format!("of {}'s certificates it is {} that is to be renewed", form.account, one.id);
                refused("RENEW-OTHER", text)
            }
            Err(Closed::NoCertificate) => {
                let text = format!(
                    "account {} has no certificate to renew; `cert issue` gives it one, `cert reissue` replaces one that was lost",
                    form.account
                );
                refused("RENEW-NONE", text)
            }
            Err(Closed::NotYet { certificate, ends_at, opens_at }) => {
                let text = format!(
                    "{certificate} holds until {}, and its renewal opens on {}; `cert reissue` replaces one that was lost",
                    day(ends_at),
                    day(opens_at)
                );
                refused("RENEW-NOT-YET", text)
            }
            Err(Closed::Renewed { certificate, by }) => {
                let text = format!(
                    "{certificate} was renewed by {by} already; if that was lost: `cert reissue {} --lost {by}`",
                    form.account
                );
                refused("RENEW-DONE", text)
            }
        }
    }

    /// Writes the application down.
    pub(super) fn record_another(
        &self,
        another: Another,
        dry_run: bool,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Option<ApplicationId>, PartyError> {
        let Another { account, .. } = another;
        let policy = (self.policy)(&account.insurer);
        let filter = ApplicationFilter { account: Some(account.id.clone()), ..ApplicationFilter::default() };
        let last = self.ledger.applications(&filter, 1)?.pop();
        let (class, fee) = match (&another.class, &last) {
            (Some(class), _) => fee(Some(class), &policy)?,
            // A class that is gone from the policy is asked for by nobody.
            (None, Some(last)) => policy.fee(Some(&last.class)).map_or_else(|| fee(None, &policy), Ok)?,
            (None, None) => fee(None, &policy)?,
        };
        if dry_run {
            return Ok(None);
        }
        let registered: AccountCard = cards::get(self.blobs.as_ref(), &account.card)?;
        let card = ApplicationCard {
            salt: cards::salt()?,
            office_name: match account.offices.first() {
                Some(office) => self.office_name(&account.insurer, office)?,
                None => String::new(),
            },
            user_name: registered.user_name,
            mail: registered.mail,
        };
        let card = cards::put(self.blobs.as_ref(), &card, now)?;
        let id = self.number(now)?;
        let cutoff = || policy.cutoff.after(now, self.zone);
        let of = Application {
            id,
            kind: another.kind,
            insurer: account.insurer,
            account: account.id,
            role: account.role,
            offices: account.offices,
            group: None,
            class,
            test: account.test,
            machine: account.machine,
            language: account.language,
            material: another.material,
            fee,
            payment: another.payment.or(last.map(|last| last.payment)).unwrap_or(policy.payment),
            predecessor: another.predecessor,
            card: card.clone(),
            state: ApplicationState::Applied,
            entered: Vec::new(),
            collect_at: another.collect_at.unwrap_or_else(cutoff),
            admitted: false,
            certificate: None,
            bundle: false,
            keep: false,
            use_before: None,
            remind_at: Vec::new(),
            downloads: 0,
            consent: another.consent,
            reason: None,
            replaces: another.replaces,
            approved: another.approved,
            asks_consent: another.asks_consent,
        };
        self.record(vec![of], &[card.blob], by, now)?;
        Ok(Some(id))
    }

    /// Takes the renewal that an account asked for by itself, logged in.
    pub(in crate::work) fn apply_another(
        &self,
        another: Another,
        by: &Actor,
        now: Timestamp,
    ) -> Result<ApplicationId, PartyError> {
        let _alone = self.alone();
        let Account { id, insurer, test, .. } = &another.account;
        self.key_is_free(&another.material, id, insurer, *test)?;
        let taken = self.record_another(another, false, by, now)?;
        taken.ok_or_else(|| PartyError::Io(std::io::Error::other("an application without number")))
    }

    /// Revokes what a re-issue replaces, if it is time for that: sessions end, and what was issued and lost before it was used
    /// is waited for no more. Done before: nothing.
    pub(super) fn replace_lost(&self, id: ApplicationId, by: &Actor, now: Timestamp) -> Result<(), Halt> {
        let _alone = self.alone();
        let of = self.get(id)?;
        let Some(replaces) = of.replaces.as_ref().filter(|replaces| replaces.is_due(of.state)) else {
            return Ok(());
        };
        let mut void = Vec::new();
        for lost in &replaces.lost {
            let there = self.ledger.certificate(*lost).map_err(PartyError::from)?;
            if there.as_ref().is_some_and(|one| one.revoked.is_none()) {
                self.issuer.revoke(*lost, replaces.loss.revocation(), by, now)?;
            }
            self.points.pass("lost-revoked")?;
            if let Some(answered) = there.and_then(|one| one.application) {
                let unused = self.get(answered)?;
                void.extend(Some(unused).filter(|unused| unused.state.is_issued() && unused.id != id));
            }
        }
        let why = format!("再発行の申込 {id} に置き換えられました / replaced by application {id}");
        let reasons = self.reasons(void.len(), &why, now)?;
        let mut steps: Vec<_> = void
            .iter()
            .zip(reasons)
            .map(|(unused, reason)| (unused.id, ApplicationStep::Cancelled { reason }))
            .collect();
        steps.push((id, ApplicationStep::Replaced));
        self.ledger.commit(Op::MoveApplications(steps), by.clone(), now).map_err(PartyError::from)?;
        tracing::info!(application = %id, account = %of.account, lost = ?replaces.lost, "lost certificates were revoked");
        Ok(())
    }
}

fn already(open: &Application) -> PartyError {
    let text = if open.state.is_issued() {
        format!(
            "the first certificate of {} was issued for {} and is not in use yet: `account application cancel {}`, then apply again",
            open.account, open.id, open.id
        )
    } else {
        format!(
            "account {} has an application under way: {} is {}; `account application cancel {}` takes it back",
            open.account,
            open.id,
            open.state.name(),
            open.id
        )
    };
    PartyError::new("APPLIED-ALREADY", text)
}

/// Which certificates were lost: those that are named; else all, or the only one, of those that hold; else the last one.
fn lost(
    form: &AgainForm,
    account: &AccountId,
    all: &[Certificate],
    now: Timestamp,
) -> Result<Vec<CertificateId>, PartyError> {
    let Some(newest) = all.first() else {
        let text = format!(
            "account {account} has no certificate; a registered key that was lost is replaced by `account key remove` and `account \
             key add`, a forgotten login password by `account password --reset`"
        );
        return refused("REISSUE-NONE", text);
    };
    if let Some(other) = form.certificates.iter().find(|id| all.iter().all(|one| one.id != **id)) {
        return refused("CERTIFICATE-UNKNOWN", format!("{other} is not a certificate of {account}"));
    }
    if form.certificates.len() > LOST_MAX {
        return refused("REISSUE-MANY", format!("at most {LOST_MAX} certificates are replaced by one"));
    }
    if !form.certificates.is_empty() {
        return Ok(form.certificates.clone());
    }
    let usable = |one: &&Certificate| {
        matches!(one.standing_at(now), CertificateStanding::Holds | CertificateStanding::Future)
    };
    let hold: Vec<_> = all.iter().filter(usable).map(|one| one.id).take(LOST_MAX).collect();
    if hold.len() > 1 && !form.all {
        let names: Vec<_> = hold.iter().map(ToString::to_string).collect();
        let text = format!(
            "account {account} has several certificates that hold: {}; say which were lost: --lost NUMBER, or --all",
            names.join(", ")
        );
        return refused("REISSUE-WHICH", text);
    }
    Ok(if hold.is_empty() { vec![newest.id] } else { hold })
}
