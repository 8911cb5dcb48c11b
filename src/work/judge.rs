//! Judging what was held: the scanner is back, the window has opened, the operator released it.

use std::sync::Arc;

use super::alarms::Alarms;
use super::assess::{Assessment, Assessor, Candidate, CandidateFile};
use super::repeats::Claimant;
use crate::model::card::{DecisionCard, SubmissionCard};
use crate::model::ids::Number;
use crate::model::party::{Account, Actor};
use crate::model::submission::{Hold, HoldReason, Outcome, Stage, State, Submission};
use crate::model::time::{SECOND, Timestamp};
use crate::signed::manifest::Manifest;
use crate::signed::receipt::Fact;
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::keys::Keys;
use crate::store::ledger::{Ledger, LedgerError, Op, Queue, Task};
use crate::store::receipts;
use crate::store::seen::Claim;
use crate::store::verification::{AsOf, lost, may_act};

/// What judging is made of.
pub struct Judge {
    /// Held submissions.
    pub ledger: Arc<dyn Ledger>,
    /// Their bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Asks again.
    pub assessor: Arc<Assessor>,
    /// Signs the decision.
    pub keys: Arc<Keys>,
    /// Tells the operator that something waits.
    pub alarms: Arc<dyn Alarms>,
    /// Rung when something was accepted.
    pub accepted: Box<dyn Fn() + Send + Sync>,
}

/// How long a claimed submission is this judge's.
const LEASE: i64 = 600 * SECOND;
/// When a submission that still has to wait is looked at again.
const AGAIN: i64 = 30 * SECOND;
/// Judged in one go.
const BATCH: usize = 100;

/// What the operator may say of a held submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Say {
    /// Let it go through the checks and on.
    Release,
    /// Refuse it.
    Refuse,
}

impl Judge {
    /// Looks at what is held and due; gives the number decided.
    pub fn step(&self, now: Timestamp) -> anyhow::Result<usize> {
        let mut decided = 0;
        let tasks = self.ledger.claim(Queue::Judge, now, LEASE, BATCH)?;
        let mut scanner_down = false;
        for task in tasks {
            let Task::Submission(number) = task else { continue };
            // One unanswered scan is enough to know that the others would wait as well.
            if scanner_down {
                self.ledger.postpone(Queue::Judge, &[task], now.plus(AGAIN));
                continue;
            }
            match self.judge(number, now, None, Actor::Daemon) {
                Ok(Some(Outcome::Held(reason))) => {
                    scanner_down = reason == HoldReason::Scanner;
                    self.ledger.postpone(Queue::Judge, &[task], now.plus(AGAIN));
                }
                Ok(Some(_)) => decided += 1,
                Ok(None) => {}
                Err(error) => {
                    // This one waits; the others go on.
                    tracing::error!(%number, error = format!("{error:#}"), "a held submission could not be judged");
                    self.alarms.raise("JUDGE-FAILED", &format!("{number}: {error:#}"), now);
                    self.ledger.postpone(Queue::Judge, &[task], now.plus(AGAIN));
                }
            }
        }
        let (waiting, since) = self.ledger.held()?;
        match since {
            Some(since) if waiting > 0 => self.alarms.raise(
                "SUBMISSIONS-HELD",
                &format!("{waiting} submissions are held, the first since {since}; see `todoke submission list --state held`"),
                now,
            ),
            _ => self.alarms.clear("SUBMISSIONS-HELD"),
        }
        Ok(decided)
    }

    /// Decides one; none if it is no longer held. The operator's word ends a hold for which somebody must look (same content,
    /// sender), never one for the scanner, the window or the epoch: a release that meets one of those is recorded, and the
    /// submission goes on by itself when that ends.
    pub fn judge(
        &self,
        number: Number,
        now: Timestamp,
        say: Option<Say>,
        by: Actor,
    ) -> anyhow::Result<Option<Outcome>> {
        let Some(submission) = self.ledger.submission(number)?.filter(|s| s.state == State::Held) else {
            return Ok(None);
        };
        let Some(mut hold) = self.ledger.hold(number)? else { return Ok(None) };
        let released = say == Some(Say::Release);
        if released {
            hold.released.push(hold.reason);
        }
        let card: SubmissionCard = cards::get(self.blobs.as_ref(), &submission.card)?;
        let manifest = manifest_of(&card)?;
        let Some(account) = self.ledger.account(&submission.account)? else {
            anyhow::bail!("account {} is not in the ledger", submission.account);
        };
        let stands = self.stands(&submission, &account, now)?;
        let candidate = Candidate {
            account,
            received_at: submission.received_at,
            kind: submission.kind,
            to: manifest.to,
            office: manifest.office,
            cover: manifest.cover.clone(),
            subject: card.subject.clone(),
            comment: card.comment.clone(),
            withdraws: None,
            signed: signed_word(&submission),
            files: submission
                .files
                .iter()
                .zip(&manifest.files)
                .map(|(f, named)| CandidateFile {
                    name: named.name.clone(),
                    blob: f.blob.clone(),
                    size: f.size,
                })
                .collect(),
        };
        let mut assessment = match say {
            Some(Say::Refuse) => self.assessor.begin(&candidate).refuse(Stage::Routing, vec![by_operator()]),
            _ => self.assessor.assess(&candidate, now, None)?,
        };
        if assessment.outcome == Outcome::Accepted && self.ledger.head().unreconciled {
            assessment.hold(HoldReason::Epoch);
        }
        if !stands && !hold.released.contains(&HoldReason::Sender) {
            assessment.hold(HoldReason::Sender);
        }
        if let Outcome::Held(reason) = assessment.outcome {
            // What somebody must look at, or has looked at, is recorded; what only goes on waiting is not.
            if reason != hold.reason && (released || reason == HoldReason::Sender) {
                self.hold_anew(&submission, &assessment, released, now, by)?;
            }
            return Ok(Some(assessment.outcome));
        }
        self.decide(&submission, assessment, &hold, now, by).map(Some)
    }

    /// Whether its account may still act, and the key that signed it is not known to be lost.
    fn stands(&self, submission: &Submission, account: &Account, now: Timestamp) -> anyhow::Result<bool> {
        let ledger = self.ledger.as_ref();
        Ok(may_act(ledger, account)? && lost(ledger, &submission.signer, AsOf::Now(now))?.is_none())
    }

    fn hold_anew(
        &self,
        submission: &Submission,
        assessment: &Assessment,
        released: bool,
        now: Timestamp,
        by: Actor,
    ) -> anyhow::Result<()> {
        let number = submission.number;
        let op = Op::Judge {
            number,
            outcome: assessment.outcome.clone(),
            verdicts: assessment.verdicts.clone(),
            office: assessment.office.clone(),
            forms: assessment.forms.clone(),
            decision: None,
            released,
        };
        self.ledger.commit(op, by, now)?;
        tracing::warn!(%number, outcome = ?assessment.outcome, released, "a held submission waits for something else now");
        Ok(())
    }

    fn decide(
        &self,
        submission: &Submission,
        assessment: Assessment,
        hold: &Hold,
        now: Timestamp,
        by: Actor,
    ) -> anyhow::Result<Outcome> {
        let number = submission.number;
        let claimant = Claimant {
            number,
            insurer: &submission.insurer,
            content_tag: submission.content_tag,
            // Whoever released it has looked.
            same_content_is_held: hold.released.contains(&HoldReason::SameContent),
        };
        let claimed = self.assessor.repeats.claim(claimant, &assessment.records, now)?;
        if let Some(claim) = &claimed.claim {
            claim.sync()?;
        }
        let assessment = assessment.repeating(claimed.findings);
        let fact = match assessment.outcome {
            Outcome::Refused(_) => Fact::Refused,
            _ => Fact::Accepted,
        };
        let fact = receipts::later_fact(
            submission,
            fact,
            now,
            assessment.findings.listed().to_vec(),
            assessment.findings.more(),
        );
        let receipt = fact.to_json()?;
        let card = DecisionCard {
            salt: cards::salt()?,
            more_findings: assessment.findings.more(),
            more_errors: assessment.findings.more_errors(),
            findings: assessment.findings.into_listed(),
            receipt_signature: self.keys.sign_receipt(&receipt)?,
            receipt: String::from_utf8(receipt)?,
        };
        let card = cards::put(self.blobs.as_ref(), &card, now)?;
        self.blobs.sync(std::slice::from_ref(&card.blob))?;
        let op = Op::Judge {
            number,
            outcome: assessment.outcome.clone(),
            verdicts: assessment.verdicts,
            office: assessment.office,
            forms: assessment.forms,
            decision: Some(card.clone()),
            released: false,
        };
        match (self.ledger.commit(op, by, now), claimed.claim) {
            (Ok(_), claim) => claim.into_iter().for_each(Claim::keep),
            (Err(LedgerError::Refused(refusal)), _) => {
                // Withdrawn meanwhile.
                self.blobs.remove(&[card.blob])?;
                anyhow::bail!("{number} was not decided: {refusal}");
            }
            (Err(error), _) if error.is_not_recorded() => {
                self.blobs.remove(&[card.blob])?;
                return Err(error.into());
            }
            (Err(e), claim) => {
                // It may be in the journal.
                claim.into_iter().for_each(Claim::keep);
                return Err(e.into());
            }
        }
        tracing::info!(%number, outcome = ?assessment.outcome, "a held submission was decided");
        if assessment.outcome == Outcome::Accepted {
            (self.accepted)();
        }
        Ok(assessment.outcome)
    }
}

/// What intake said of the signature.
fn signed_word(submission: &Submission) -> String {
    let mut verdicts = submission.verdicts.iter();
    verdicts.find(|v| v.stage == Stage::Signature).map(|v| v.detail.clone()).unwrap_or_default()
}

/// The manifest as it was signed.
fn manifest_of(card: &SubmissionCard) -> anyhow::Result<Manifest> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&card.manifest)?;
    Ok(Manifest::parse(&bytes)?)
}

fn by_operator() -> crate::model::finding::Finding {
    use crate::model::finding::{Finding, Severity, Text};
    Finding::new(
        Severity::Error,
        "OPERATOR-REFUSED",
        Text::new(
            "保留していた送信を、確認のうえ受付不可としました。",
            "The held submission was looked at and refused.",
        ),
        Text::new("健康保険組合へお問い合わせください。", "Ask the insurer."),
    )
}
