//! Cut-offs: what was applied for since the last one goes to the insurer as one report (K3), and waits for its yes.

use std::collections::BTreeMap;

use super::{Enrolment, PartyError};
use crate::model::application::{Application, ApplicationState, ApplicationStep, Material, Payment};
use crate::model::card::{CardRef, ReasonCard};
use crate::model::ids::{ApplicationId, CertificateId, InsurerCode};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::notice::clean;
use crate::store::cards;
use crate::store::ledger::{ApplicationFilter, Op};
use crate::store::spool::InsurerSpool;
use crate::work::step::{Doing as _, WorkError};

use super::rows::{REPORT_HEADER, report_line};

/// Applications of one insurer that are collected, or looked at, at once.
const OPEN_MAX: usize = 20_000;

impl Enrolment {
    /// Collects what is due, insurer by insurer: one that cannot be reached keeps nobody else waiting.
    pub(super) fn collect_all(&self, due: Vec<Application>, now: Timestamp) -> Result<u64, WorkError> {
        let mut insurers: BTreeMap<InsurerCode, Vec<Application>> = BTreeMap::new();
        for of in due {
            insurers.entry(of.insurer.clone()).or_default().push(of);
        }
        let mut done = 0;
        let _alone = self.alone();
        for (insurer, all) in insurers {
            match self.collect(&insurer, all, &Actor::Daemon, now) {
                Ok(count) => done += count,
                Err(WorkError::Stopped(at)) => return Err(WorkError::Stopped(at)),
                Err(error) => {
                    tracing::error!(%insurer, error = format!("{error:#}"), "applications could not be collected");
                    self.alarms.raise(&format!("ENROL-FAILED {insurer}"), &error.to_string(), now);
                }
            }
        }
        Ok(done)
    }

    /// Collects all that wait with an insurer, before its cut-off.
    pub fn collect_now(&self, insurer: &InsurerCode, by: &Actor, now: Timestamp) -> Result<u64, PartyError> {
        let _alone = self.alone();
        let states = vec![ApplicationState::Applied];
        let filter = ApplicationFilter { insurer: Some(insurer.clone()), states, ..Default::default() };
        let mut waiting = self.ledger.applications(&filter, OPEN_MAX)?;
        waiting.retain(|of| !of.waits_for_consent());
        Ok(self.collect(insurer, waiting, by, now)?)
    }

    /// Takes one application that asks nobody from the wish to the certificate at once, as its cut-off and the rounds after it
    /// would; none where somebody is waited for after all.
    pub fn go_through(
        &self,
        id: ApplicationId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Option<CertificateId>, PartyError> {
        let of = self.get(id)?;
        if of.state == ApplicationState::Applied && (of.waits_for_consent() || !self.is_automatic(&of)) {
            return Ok(None);
        }
        if of.state == ApplicationState::Applied {
            let _alone = self.alone();
            let insurer = of.insurer.clone();
            self.collect(&insurer, vec![of], by, now)?;
        }
        let of = self.get(id)?;
        match of.state {
            // A bundle's password is made by whoever hands it out.
            _ if of.material == Material::P12 => Ok(None),
            ApplicationState::Approved | ApplicationState::Paid => {
                let issued = self.issue(id, None, by, now);
                // The daemon's own round may have been quicker.
                let there = self.get(id)?;
                if there.state.is_issued() { Ok(there.certificate) } else { issued.map(Some) }
            }
            _ => Ok(of.certificate),
        }
    }

    /// The report first, under a name that a second attempt gives again; then all of them in one commit.
    fn collect(
        &self,
        insurer: &InsurerCode,
        mut all: Vec<Application>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<u64, WorkError> {
        // Another may have been quicker.
        for of in std::mem::take(&mut all) {
            all.extend(self.ledger.application(of.id)?.filter(|of| of.state == ApplicationState::Applied));
        }
        all.sort_by_key(|of| of.id);
        let Some(first) = all.first() else { return Ok(0) };
        let cutoff = all.iter().map(|of| of.collect_at).filter(|at| *at <= now).max().unwrap_or(now);
        let local = cutoff.utc().with_timezone(&self.zone).format("%Y%m%d-%H%M");
        let name = format!("applications-{local}-{}.csv", first.id);
        let mut report = REPORT_HEADER.to_owned();
        let mut steps = Vec::new();
        for of in &all {
            let automatic = self.is_automatic(of);
            let row = self.row(of).doing(|| format!("reading the card of {}", of.id))?;
            let state = if automatic { ApplicationState::Approved } else { ApplicationState::Collected };
            report.push_str(&report_line(&row, state, self.zone));
            steps.push((of.id, ApplicationStep::Collected));
            if automatic {
                steps.push((of.id, ApplicationStep::Approved { pay: pays(of) }));
            }
        }
        let doing = || format!("writing reports/{name} of {insurer}");
        let spool = InsurerSpool::open(&self.spool_root, insurer).doing(doing)?;
        spool.write_report(&name, report.as_bytes()).doing(doing)?;
        self.points.pass("reported")?;
        self.ledger.commit(Op::MoveApplications(steps), by.clone(), now)?;
        tracing::info!(%insurer, report = name, applications = all.len(), "applications were collected");
        Ok(all.len() as u64)
    }

    /// The insurer says yes. An agent's needs its office's first (K6).
    pub fn approve(&self, id: ApplicationId, by: &Actor, now: Timestamp) -> Result<(), PartyError> {
        let of = self.get(id)?;
        if let Some(office) = of.group {
            use ApplicationState::{Applied, Cancelled, Collected, Expired, Rejected};
            let office = self.get(office)?;
            if matches!(office.state, Applied | Collected | Rejected | Cancelled | Expired) {
                let text = format!(
                    "{id} is an agent's, and the application of its office, {}, is {}: approve that one first (K6)",
                    office.id,
                    office.state.name()
                );
                return Err(PartyError::new("OFFICE-FIRST", text));
            }
        }
        self.go(id, ApplicationStep::Approved { pay: pays(&of) }, by, now)
    }

    /// The transfer came in.
    pub fn paid(&self, id: ApplicationId, by: &Actor, now: Timestamp) -> Result<(), PartyError> {
        self.get(id)?;
        self.go(id, ApplicationStep::Paid, by, now)
    }

    /// The insurer says no. What belongs to it (its agent's) cannot stay alone and is rejected with it; gives all that were.
    pub fn reject(
        &self,
        id: ApplicationId,
        reason: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<ApplicationId>, PartyError> {
        let _alone = self.alone();
        let of = self.get(id)?;
        let mut ids = vec![id];
        ids.extend(self.depending(&of)?.into_iter().filter_map(|other| {
            use ApplicationState::{Applied, Collected};
            matches!(other.state, Applied | Collected).then_some(other.id)
        }));
        let cards = self.reasons(ids.len(), reason, now)?;
        let steps =
            ids.iter().copied().zip(cards).map(|(id, reason)| (id, ApplicationStep::Rejected { reason }));
        self.ledger.commit(Op::MoveApplications(steps.collect()), by.clone(), now)?;
        Ok(ids)
    }

    /// Open applications of agents that came with this one.
    pub(super) fn depending(&self, of: &Application) -> Result<Vec<Application>, PartyError> {
        let states = ApplicationState::ALL.into_iter().filter(|state| state.is_open()).collect();
        let filter = ApplicationFilter { insurer: Some(of.insurer.clone()), states, ..Default::default() };
        let open = self.ledger.applications(&filter, OPEN_MAX)?;
        Ok(open.into_iter().filter(|other| other.group == Some(of.id)).collect())
    }

    /// A reason in a card for each of so many; durable.
    pub(super) fn reasons(
        &self,
        count: usize,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<Option<CardRef>>, PartyError> {
        let reason = clean(reason, super::REASON_CHARS_MAX);
        if reason.is_empty() {
            return Ok(vec![None; count]);
        }
        let mut all = Vec::new();
        for _ in 0..count {
            let card = ReasonCard { salt: cards::salt()?, reason: reason.clone() };
            all.push(cards::put(self.blobs.as_ref(), &card, now)?);
        }
        let blobs: Vec<_> = all.iter().map(|card| card.blob.clone()).collect();
        self.blobs.sync(&blobs)?;
        Ok(all.into_iter().map(Some).collect())
    }
}

/// A transfer is waited for where there is something to pay.
pub(super) fn pays(of: &Application) -> bool {
    of.payment == Payment::Transfer && of.fee > 0
}
