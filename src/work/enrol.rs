//! Enrolment: applications go from the office's wish to the first login, whoever stops in between.
//!
//! | state | written, in this order | crash before the next line |
//! |---|---|---|
//! | (application) | its card, synced; event `application_made` for all that belong together (K6 K7) | card without event: the sweep |
//! | told | mail sealed in one event, which takes it off the list of what is to be told | told again by nobody: one event does both |
//! | collected | `reports/applications-TIME-ID.csv` by rename; one event for each in one commit | the report is written again under the same name |
//! | approved, rejected, paid | one event for each | - |
//! | admitted | account card, synced; events `account_set` (suspended) and `application_moved` in one commit | card without event: the sweep |
//! | issued | certificate (see `work/certificates.rs`); event `application_moved` | the certificate answers this application: taken as it is; one with a bundle is revoked and made anew, since nobody heard its password |
//! | (a loss was told) | lost certificates revoked, their sessions end; event `application_moved` | revoked again, which changes nothing; the queue keeps the application until then |
//! | downloaded | one event a session | fetched and not counted |
//! | set up | events `application_moved` and `account_set` (active) in one commit | - |
//! | in use | one event at the first login | said at the next login |
//! | cleared | the bundle forgotten; event `application_moved` | forgotten again, which changes nothing |
//! | expired, cancelled | certificate revoked; events `application_moved`, `account_set` (closed) and `password_removed` in one commit | revoked again, which changes nothing |
//!
//! A card of names goes after `[retention] cards_days`: the blob is named no more by `card_gone`, then removed; the sweep takes
//! what a crash leaves.

pub mod again;
mod apply;
pub mod certified;
mod collect;
mod consent;
pub mod files;
pub mod hand_out;
pub mod import;
mod issue;
pub mod notices;
pub mod rows;
pub mod setup;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono_tz::Tz;

use super::alarms::Alarms;
use super::leap::Leap;
use super::parties::PartyError;
use super::step::{Points, Progress, WorkError};
use crate::model::application::{
    Application, ApplicationKind, ApplicationNotice, ApplicationState, ApplicationStep, Material,
};
use crate::model::certificate::RevocationReason;
use crate::model::ids::{ApplicationId, CertificateId, InsurerCode};
use crate::model::party::Actor;
use crate::model::time::{SECOND, Timestamp};
use crate::rules::enrolment::{Approval, EnrolmentPolicy};
use crate::rules::policy::SecondAccount;
use crate::rules::renewal::{Approval as RenewalApproval, RenewalPolicy};
use crate::store::blobs::Blobs;
use crate::store::ledger::{Ledger, Op, Queue, Task};

pub use super::certificates::HandedOut;
pub use apply::ApplyForm;

/// Applications taken in one round.
const BATCH: usize = 500;
/// How long a round may take before its applications are given to another.
const LEASE: i64 = 600 * SECOND;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;

/// What enrolment asks of the authorities. All calls can be repeated.
pub trait Issuer: Send + Sync {
    /// The fingerprint (`SHA256:...`) of the key that is to be certified; why not, in operators' words.
    fn check(&self, material: &Material) -> Result<Option<String>, PartyError>;
    /// Issues what the application asks for, to its account. `password` seals the bundle of [`Material::P12`].
    fn issue(
        &self,
        of: &Application,
        password: Option<&str>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<CertificateId, PartyError>;
    /// Revokes; done before: nothing.
    fn revoke(
        &self,
        id: CertificateId,
        reason: RevocationReason,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), PartyError>;
    /// The certificate's files, its bundle among them while there is one.
    fn files(&self, id: CertificateId) -> Result<Vec<HandedOut>, PartyError>;
    /// Its bundle can be fetched no more, durably; done before: nothing.
    fn forget(&self, id: CertificateId, by: &Actor, now: Timestamp) -> Result<(), PartyError>;
}

/// An insurer's policy, asked where it matters.
pub type PolicyOf = dyn Fn(&InsurerCode) -> EnrolmentPolicy + Send + Sync;
/// What an insurer says of second accounts of an office (K4).
pub type SecondOf = dyn Fn(&InsurerCode) -> SecondAccount + Send + Sync;
/// What an insurer says of renewals and lost certificates.
pub type RenewalOf = dyn Fn(&InsurerCode) -> RenewalPolicy + Send + Sync;
/// Seals the mail about an application; the ledger lets each be sealed once.
pub type Tell<'t> =
    dyn Fn(&Application, ApplicationNotice, Timestamp) -> anyhow::Result<()> + Send + Sync + 't;

/// The one place that moves applications.
pub struct Enrolment {
    /// What is so.
    pub ledger: Arc<dyn Ledger>,
    /// Cards.
    pub blobs: Arc<dyn Blobs>,
    /// The authorities.
    pub issuer: Arc<dyn Issuer>,
    /// Policy of insurers.
    pub policy: Arc<PolicyOf>,
    /// Policy of second accounts.
    pub second: Arc<SecondOf>,
    /// Policy of renewals and lost certificates.
    pub renewal: Arc<RenewalOf>,
    /// The data root: reports go to insurers' folders beneath it.
    pub spool_root: PathBuf,
    /// Days are counted here.
    pub zone: Tz,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// For tests.
    pub points: Points,
    /// Whether the clock is to be believed.
    pub leap: Arc<Leap>,
    /// Looking at what is there and adding to it is one step, also beside [`super::parties::Parties`], which shares it.
    pub one: Arc<Mutex<()>>,
}

impl Enrolment {
    fn alone(&self) -> MutexGuard<'_, ()> {
        self.one.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One application.
    pub fn get(&self, id: ApplicationId) -> Result<Application, PartyError> {
        self.ledger.application(id)?.ok_or_else(|| {
            let text = format!("application {id} does not exist; `account applications` lists all");
            PartyError::new("APPLICATION-UNKNOWN", text)
        })
    }

    /// Whether nobody is asked for a yes: who said it already, or an account that proved its key by a login, where the insurer's
    /// policy of renewals says so.
    fn is_automatic(&self, of: &Application) -> bool {
        if of.approved {
            return true;
        }
        if of.kind != ApplicationKind::New && of.is_self_made() {
            return (self.renewal)(&of.insurer).approval == RenewalApproval::Automatic;
        }
        (self.policy)(&of.insurer).approval == Approval::Automatic
    }

    fn go(
        &self,
        id: ApplicationId,
        step: ApplicationStep,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), PartyError> {
        self.ledger.commit(Op::MoveApplications(vec![(id, step)]), by.clone(), now)?;
        Ok(())
    }

    /// Does what is due: tells, collects, issues, reminds, ends, clears away; nothing while the clock is far ahead, since what
    /// ends does not come back. Cost proportional to what is due.
    pub fn step(&self, tell: &Tell<'_>, now: Timestamp) -> Result<Progress, WorkError> {
        if self.leap.leapt(now) {
            return Ok(Progress { done: 0, more: false });
        }
        let mut done = 0;
        let mut collected = Vec::new();
        let tasks = self.ledger.claim(Queue::Enrol, now, LEASE, BATCH)?;
        let more = tasks.len() == BATCH;
        for task in tasks {
            let Task::Application(id) = task else { continue };
            let Some(of) = self.ledger.application(id)? else { continue };
            match self.move_on(&of, tell, now) {
                Ok(Next::Done) => {
                    done += 1;
                    // What follows at once is due at the same time.
                    self.ledger.postpone(Queue::Enrol, &[task], now);
                }
                Ok(Next::Collect) => collected.push(of),
                Ok(Next::Later(until)) => self.ledger.postpone(Queue::Enrol, &[task], until),
                Err(error) => self.failed(&of, &error, now)?,
            }
        }
        let tasks: Vec<Task> = collected.iter().map(|of| Task::Application(of.id)).collect();
        let reported = self.collect_all(collected, now)?;
        if reported > 0 {
            self.ledger.postpone(Queue::Enrol, &tasks, now);
        }
        done += reported;
        Ok(Progress { done, more: more || done > 0 })
    }

    /// Others go on; this one comes again when its lease ends. A crash in a test is one.
    fn failed(&self, of: &Application, error: &anyhow::Error, now: Timestamp) -> Result<(), WorkError> {
        if let Some(WorkError::Stopped(at)) = error.downcast_ref() {
            return Err(WorkError::Stopped(at));
        }
        tracing::error!(application = %of.id, error = format!("{error:#}"), "an application could not go on");
        let code = format!("ENROL-FAILED {}", of.insurer);
        self.alarms.raise(&code, &format!("application {}: {error:#}", of.id), now);
        Ok(())
    }

    /// What is due about one.
    fn move_on(&self, of: &Application, tell: &Tell<'_>, now: Timestamp) -> anyhow::Result<Next> {
        use ApplicationState as State;
        let notices = self.ledger.application_notices(of.id)?;
        if !notices.is_empty() {
            for notice in notices {
                tell(of, notice, now)?;
            }
            // What is due beside it comes at the next round.
            return Ok(Next::Done);
        }
        if of.replaces.as_ref().is_some_and(|replaces| replaces.is_due(of.state)) {
            self.replace_lost(of.id, &Actor::Daemon, now)?;
            return Ok(Next::Done);
        }
        match of.state {
            State::Applied if of.waits_for_consent() => return Ok(Next::Later(now.plus(LEASE))),
            State::Applied => return Ok(Next::Collect),
            State::Approved | State::Paid => {
                self.issue_one(of, None, &Actor::Daemon, now)?;
            }
            State::Issued | State::Downloaded => {
                if of.use_before.is_some_and(|before| before <= now) {
                    self.expire(of.id, now)?;
                } else {
                    self.go(of.id, ApplicationStep::Reminded, &Actor::Daemon, now)?;
                }
            }
            State::InUse | State::Expired | State::Cancelled | State::Rejected => self.clear(of, now)?,
            // Not due by themselves.
            State::Collected | State::AwaitingPayment => return Ok(Next::Later(now.plus(LEASE))),
        }
        self.alarms.clear(&format!("ENROL-FAILED {}", of.insurer));
        Ok(Next::Done)
    }

    /// Nobody can fetch the private key any more.
    fn clear(&self, of: &Application, now: Timestamp) -> anyhow::Result<()> {
        if let Some(certificate) = of.certificate {
            self.issuer.forget(certificate, &Actor::Daemon, now)?;
        }
        self.points.pass("forgotten")?;
        self.go(of.id, ApplicationStep::BundleGone, &Actor::Daemon, now)?;
        Ok(())
    }

    /// Cards of applications that ended before this go; at most so many in a round.
    pub fn forget_cards(&self, before: Timestamp, now: Timestamp) -> Result<Progress, WorkError> {
        let ids = self.ledger.application_card_erasable(before, BATCH)?;
        let mut blobs = Vec::new();
        for id in &ids {
            let Some(of) = self.ledger.application(*id)? else { continue };
            blobs.push(of.card.blob);
            blobs.extend(of.reason.map(|reason| reason.blob));
        }
        let steps = ids.iter().map(|id| (*id, ApplicationStep::CardGone)).collect();
        let done = ids.len() as u64;
        if done > 0 {
            self.ledger.commit(Op::MoveApplications(steps), Actor::Daemon, now)?;
            self.points.pass("cards-unnamed")?;
            self.blobs.remove(&blobs).map_err(|source| WorkError::Io {
                doing: "removing the cards of applications".to_owned(),
                source,
            })?;
        }
        Ok(Progress { done, more: ids.len() == BATCH })
    }
}

impl From<WorkError> for PartyError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Ledger(error) => error.into(),
            WorkError::Io { ref source, .. } => {
                Self::Io(std::io::Error::new(source.kind(), error.to_string()))
            }
            WorkError::Stopped(_) => Self::Io(std::io::Error::other(error.to_string())),
        }
    }
}

/// What is to be done about one.
enum Next {
    /// It was.
    Done,
    /// It goes to the insurer with others.
    Collect,
    /// Nothing, before then.
    Later(Timestamp),
}

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod tests;
