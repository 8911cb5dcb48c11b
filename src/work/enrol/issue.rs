//! From the insurer's yes to the certificate, and what takes it back.

use super::{Enrolment, PartyError};
use crate::model::application::{Application, ApplicationKind, ApplicationStep, Material};
use crate::model::card::{AccountCard, ApplicationCard};
use crate::model::certificate::{CertificateStanding, RevocationReason};
use crate::model::ids::{ApplicationId, CertificateId};
use crate::model::party::{Account, Actor, Standing};
use crate::model::time::Timestamp;
use crate::rules::enrolment::{self, Downloads, SetUp};
use crate::store::cards;
use crate::store::ledger::{CertificateFilter, Op};

/// Certificates of one account that are looked through for one that answers an application.
const CERTIFICATES_MAX: usize = 100;

/// Days after which a renewal that nobody logged in with counts as over, so that the next one may be asked for.
const ANOTHER_USED_DAYS: u32 = 730;

impl Enrolment {
    /// Issues what an application asks for. `password` seals the bundle of [`Material::P12`], which needs one.
    pub fn issue(
        &self,
        id: ApplicationId,
        password: Option<&str>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<CertificateId, PartyError> {
        let of = self.get(id)?;
        Ok(self.issue_one(&of, password, by, now)?)
    }

    /// Whether it may be issued now: nothing is changed.
    pub fn may_issue(&self, id: ApplicationId, now: Timestamp) -> Result<(), PartyError> {
        may_issue(&self.get(id)?, now)
    }

    pub(super) fn issue_one(
        &self,
        of: &Application,
        password: Option<&str>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<CertificateId, Halt> {
        let _alone = self.alone();
        let of = &self.get(of.id)?;
        let bundle = of.material == Material::P12;
        if bundle && password.is_none() {
            let text = format!(
                "{} asks for a bundle: it is issued with a password (`account application issue`)",
                of.id
            );
            return Err(PartyError::new("PASSWORD-MISSING", text).into());
        }
        let policy = (self.policy)(&of.insurer);
        // An account that is at work and asked by itself may put its next certificate in use when it likes: it is told of the
        // present one's end, and of nothing here.
        let own = of.kind != ApplicationKind::New && of.is_self_made();
        let days = if own { ANOTHER_USED_DAYS } else { policy.use_within_days };
        let use_before = enrolment::use_before(now, days, self.zone);
        let remind_days = if own { &[][..] } else { &policy.remind_days };
        let step = |certificate| ApplicationStep::Issued {
            certificate,
            bundle,
            use_before,
            remind_at: enrolment::remind_at(now, use_before, remind_days),
            keep: policy.downloads == Downloads::UntilLastDay,
        };
        // Before anything is made: it may have been cancelled, or issued by another.
        may_issue(of, now)?;
        if of.kind == ApplicationKind::New && !of.admitted {
            self.admit(of, policy.setup, by, now)?;
        }
        self.points.pass("admitted")?;
        let certificate = match self.answered(of)? {
            Some(certificate) if !bundle => certificate,
            Some(lost) => {
                // A crash came before anybody heard its password.
                self.issuer.revoke(lost, RevocationReason::Superseded, by, now)?;
                self.issuer.issue(of, password, by, now)?
            }
            None => self.issuer.issue(of, password, by, now)?,
        };
        self.points.pass("certified")?;
        self.go(of.id, step(certificate), by, now)?;
        tracing::info!(application = %of.id, %certificate, "a certificate was issued for an application");
        Ok(certificate)
    }

    /// The certificate that answers this application and holds.
    fn answered(&self, of: &Application) -> Result<Option<CertificateId>, PartyError> {
        let filter = CertificateFilter { account: Some(of.account.clone()), ..CertificateFilter::default() };
        let all = self.ledger.certificates(&filter, CERTIFICATES_MAX)?;
        let found = all.into_iter().find(|one| one.application == Some(of.id) && one.revoked.is_none());
        Ok(found.map(|one| one.id))
    }

    /// Makes the account: suspended until its first set-up, where one is asked for.
    fn admit(&self, of: &Application, setup: SetUp, by: &Actor, now: Timestamp) -> Result<(), PartyError> {
        let registered: ApplicationCard = cards::get(self.blobs.as_ref(), &of.card)?;
        let card =
            AccountCard { salt: cards::salt()?, user_name: registered.user_name, mail: registered.mail };
        let card = cards::put(self.blobs.as_ref(), &card, now)?;
        let blob = card.blob.clone();
        self.blobs.sync(std::slice::from_ref(&blob))?;
        let standing = match setup {
            SetUp::Asked => Standing::Suspended,
            SetUp::None => Standing::Active,
        };
        let account = Account {
            id: of.account.clone(),
            insurer: of.insurer.clone(),
            role: of.role,
            offices: of.offices.clone(),
            delegations: Vec::new(),
            language: of.language,
            test: of.test,
            machine: of.machine,
            standing,
            keys: Vec::new(),
            card,
        };
        let op = Op::AdmitApplication { id: of.id, account: Box::new(account) };
        if let Err(error) = self.ledger.commit(op, by.clone(), now) {
            if error.is_not_recorded() {
                self.blobs.remove(&[blob])?;
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Not used in time (K27): its certificate holds no more, its account is closed.
    pub(super) fn expire(&self, id: ApplicationId, now: Timestamp) -> Result<(), Halt> {
        let _alone = self.alone();
        let of = &self.get(id)?;
        if enrolment::allowed(of, &ApplicationStep::Expired, now).is_err() {
            // Used or taken back meanwhile.
            return Ok(());
        }
        // What another certificate of an account at work was not used for says nothing against it.
        if of.kind == ApplicationKind::New {
            self.withdraw_certificate(of, &Actor::Daemon, now)?;
        }
        self.points.pass("revoked")?;
        self.go(of.id, ApplicationStep::Expired, &Actor::Daemon, now)?;
        tracing::info!(application = %of.id, account = %of.account, "an application was not used in time");
        Ok(())
    }

    /// Takes an application back, with what depends on it (its agent's); gives all that were.
    pub fn cancel(
        &self,
        id: ApplicationId,
        reason: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<ApplicationId>, PartyError> {
        // Not while it is issued: the certificate would outlive it.
        let _alone = self.alone();
        let of = self.get(id)?;
        let mut all = vec![of.clone()];
        if !of.state.is_issued() {
            all.extend(self.depending(&of)?.into_iter().filter(|other| !other.state.is_issued()));
        }
        let cards = self.reasons(all.len(), reason, now)?;
        let mut steps = Vec::new();
        for (of, reason) in all.iter().zip(cards) {
            let step = ApplicationStep::Cancelled { reason };
            enrolment::allowed(of, &step, now).map_err(|text| PartyError::new("NOT-NOW", text))?;
            self.withdraw_certificate(of, by, now)?;
            steps.push((of.id, step));
        }
        self.ledger.commit(Op::MoveApplications(steps), by.clone(), now)?;
        Ok(all.into_iter().map(|of| of.id).collect())
    }

    fn withdraw_certificate(&self, of: &Application, by: &Actor, now: Timestamp) -> Result<(), PartyError> {
        let certificate = of.certificate.map_or_else(|| self.answered(of), |id| Ok(Some(id)))?;
        let Some(id) = certificate else { return Ok(()) };
        let there = self.ledger.certificate(id)?;
        if there.is_some_and(|there| there.standing_at(now) != CertificateStanding::Revoked) {
            self.issuer.revoke(id, RevocationReason::CessationOfOperation, by, now)?;
        }
        Ok(())
    }
}

fn may_issue(of: &Application, now: Timestamp) -> Result<(), PartyError> {
    let mut admitted = of.clone();
    admitted.admitted |= of.kind == ApplicationKind::New;
    let step = ApplicationStep::Issued {
        certificate: CertificateId { epoch: 0, serial: 0 },
        bundle: false,
        use_before: now,
        remind_at: Vec::new(),
        keep: false,
    };
    enrolment::allowed(&admitted, &step, now).map_err(|text| PartyError::new("NOT-NOW", text))
}

/// Why issuing or ending halted: an ordinary reason, or a test's.
pub(super) enum Halt {
    Party(PartyError),
    Work(crate::work::step::WorkError),
}

impl From<PartyError> for Halt {
    fn from(error: PartyError) -> Self {
        Self::Party(error)
    }
}
impl From<crate::work::step::WorkError> for Halt {
    fn from(error: crate::work::step::WorkError) -> Self {
        Self::Work(error)
    }
}
impl From<Halt> for PartyError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Party(error) => error,
            Halt::Work(error) => error.into(),
        }
    }
}
impl From<Halt> for anyhow::Error {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Party(error) => error.into(),
            Halt::Work(error) => error.into(),
        }
    }
}
