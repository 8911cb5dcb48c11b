//! Intake: from a complete set to a durable, signed answer. signature → upload → virus → format → routing, each with its
//! own verdict.
//!
//! Before the signature verifies nothing is numbered: the close fails and the files stay. After it the set is consumed,
//! whatever comes out, and the answer is a receipt. Everything that a crash may interrupt lies before the one commit:
//! until then the files are the drop-box's and can be completed again; after it they are the ledger's.

mod signature;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use self::signature::Signed;
use super::alarms::Alarms;
use super::assess::{Assessment, Assessor, Candidate, CandidateFile};
use super::publish::{Publisher, Withdrawal};
use super::repeats::Claimant;
use crate::filing::{Findings, set};
use crate::model::card::SubmissionCard;
use crate::model::escape::excerpt;
use crate::model::finding::{Finding, Severity, Text};
use crate::model::ids::{AccountId, BlobId, Digest, Number};
use crate::model::metric;
use crate::model::party::{Account, Actor};
use crate::model::submission::{
    HoldReason, Outcome, Stage, StageVerdict, State, Submission, SubmittedFile, Verdict,
};
use crate::model::time::{Clock, SECOND, Timestamp};
use crate::rules::login::{ACCOUNT_STOPPED, account_stopped};
use crate::rules::policy::SubmitPolicy;
use crate::rules::renewal;
use crate::signed::manifest::Manifest;
use crate::signed::receipt::{self, RECEIPT_SCHEMA, Receipt, ReceiptFile, Stage as ReceiptStage, Stages};
use crate::store::blobs::{BlobReader, Blobs};
use crate::store::cards;
use crate::store::dropbox::{ClaimedSet, Dropbox};
use crate::store::handover::{Handover, Pending, Reply, Said};
use crate::store::keys::{self, Keys};
use crate::store::ledger::{Done, Head, Ledger, LedgerError, Op, Received, Refusal};
use crate::store::receipts;
use crate::store::seen::Claim;
use crate::store::verification::{AsOf, Verification, may_act};

/// What intake is made of.
pub struct Intake {
    /// Records.
    pub ledger: Arc<dyn Ledger>,
    /// Holds the bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Virus, format, routing.
    pub assessor: Arc<Assessor>,
    /// Judges certificates.
    pub verification: Arc<Verification>,
    /// Takes withdrawn submissions out of spools.
    pub publisher: Arc<Publisher>,
    /// Signs receipts, makes tags.
    pub keys: Arc<Keys>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Policy.
    pub policy: Arc<RwLock<SubmitPolicy>>,
    /// Tells the operator.
    pub alarms: Arc<dyn Alarms>,
    /// Rung when something was accepted: publication may look.
    pub accepted: Box<dyn Fn() + Send + Sync>,
    /// Recent refusals by account.
    pub refusals: Refusals,
}

/// Counts each account's refusals of the last hour.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<AccountId, VecDeque<Timestamp>>>);

impl Refusals {
    const WINDOW: i64 = 3_600 * SECOND;

    fn count(&self, account: &AccountId, now: Timestamp) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = all.get_mut(account) else { return 0 };
        while times.front().is_some_and(|t| now.since(*t) > Self::WINDOW) {
            times.pop_front();
        }
        times.len()
    }

    fn add(&self, account: &AccountId, now: Timestamp, max: usize) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = all.entry(account.clone()).or_default();
        if times.len() > max {
            times.pop_front();
        }
        times.push_back(now);
    }
}

/// One attempt to answer a set.
struct Turn<'a> {
    set: &'a ClaimedSet,
    dropbox: &'a Dropbox,
    /// The ledger was asked to record it and did not say that it has not: an event may name its blobs.
    asked: Cell<bool>,
}

impl Turn<'_> {
    /// Asks the ledger to record it.
    fn commit(&self, ledger: &dyn Ledger, op: Op, by: Actor, now: Timestamp) -> Result<Done, LedgerError> {
        self.asked.set(true);
        let done = ledger.commit(op, by, now);
        self.asked.set(match &done {
            Ok(Done::Received(Received::New(_))) => true,
            Err(error) => !error.is_not_recorded(),
            Ok(_) => false,
        });
        done
    }
}

/// How far an attempt to answer a set got.
enum Failed {
    /// The set stays in the drop-box; this is said.
    Stays(Said),
    /// A leftover counts as missing: the set stays, and nothing is refused.
    Incomplete,
    /// The gateway failed; the set stays, in the drop-box if the ledger was not asked.
    Fault(anyhow::Error),
}

impl From<io::Error> for Failed {
    fn from(e: io::Error) -> Self {
        Self::Fault(e.into())
    }
}
impl From<LedgerError> for Failed {
    fn from(e: LedgerError) -> Self {
        Self::Fault(e.into())
    }
}

fn said(code: impl Into<String>, ja: impl Into<String>, en: impl Into<String>) -> Said {
    Said { code: code.into(), text: Text::new(ja, en) }
}

fn error(rule: &str, file: Option<String>, message: Text, action: Text) -> Finding {
    Finding { file, ..Finding::new(Severity::Error, rule, message, action) }
}

impl Intake {
    fn policy(&self) -> SubmitPolicy {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers sets from the handover until it is closed and empty. Run by `intake_threads` threads.
    pub fn run(&self, handover: &Handover, mut beat: impl FnMut()) {
        loop {
            beat();
            match handover.take(Duration::from_secs(1)) {
                // What panicked outside the answer costs this set its answer (the next start finds its files), not the thread.
                Some(pending) => {
                    let done = catch_unwind(AssertUnwindSafe(|| self.take(pending)));
                    if done.is_err() {
                        tracing::error!("intake panicked over a set; see the panic's own message");
                        self.alarms.raise("INTAKE-FAILED", "intake panicked; see the log", self.clock.now());
                    }
                }
                None if handover.is_done() => return,
                None => {}
            }
        }
    }

    /// Answers one set.
    pub fn take(&self, pending: Pending) {
        let Pending { mut set, dropbox, received_at, deadline, reply } = pending;
        let account = set.account.clone();
        let started = self.clock.now();
        let started_at = std::time::Instant::now();
        let answer = loop {
            let turn = Turn { set: &set, dropbox: &dropbox, asked: Cell::new(false) };
            // A panic costs this set its answer, not the thread.
            let answered = catch_unwind(AssertUnwindSafe(|| self.answer(&turn, received_at, deadline)));
            let answered = answered
                .unwrap_or_else(|_| Err(Failed::Fault(anyhow::anyhow!("intake panicked; see the log"))));
            let failed = match answered {
                Ok(answer) => break answer,
                Err(failed) => failed,
            };
            if turn.asked.get() {
                // It stays claimed until the next start: the drop-box's log names it, and the ledger decides.
                dropbox.forget(&set);
                break self.not_known(&account, failed, started);
            }
            let again = set.signature_name();
            // Nothing of it is in the ledger: it goes back to where it was.
            match dropbox.give_back(set) {
                // What was wrong with it has come anew meanwhile.
                Ok(Some(newer)) => {
                    set = newer;
                    continue;
                }
                Ok(None) => {}
                Err(e) => {
                    tracing::error!(%account, error = %e, "a set could not be given back to the drop-box in order");
                }
            }
            break self.not_taken(&account, failed, again, started);
        };
        metrics::histogram!(metric::VERDICT_SECONDS).record(started_at.elapsed());
        reply(answer);
    }

    /// Tells the operator of a fault; gives the number that the sender is told.
    fn fault(&self, account: &AccountId, error: &anyhow::Error, now: Timestamp) -> String {
        let id = crate::model::incident::id();
        tracing::error!(incident = %id, %account, error = format!("{error:#}"), "intake failed");
        self.alarms.raise("INTAKE-FAILED", &format!("{id}: {error:#}"), now);
        id
    }

    /// Says that nobody knows yet whether a set is recorded.
    fn not_known(&self, account: &AccountId, failed: Failed, started: Timestamp) -> Reply {
        let error = match failed {
            Failed::Fault(error) => error,
            Failed::Stays(_) | Failed::Incomplete => anyhow::anyhow!("a set was recorded and not answered"),
        };
        let id = self.fault(account, &error, started);
        Reply::Refused(said(
            "INTERNAL",
            format!(
                "サーバー側の問題で、受け付けられたかどうかがまだ分かりません(番号 {id})。1 時間ほど待ってから /receipts/by-manifest で確かめ、受付結果がなければ全部を送り直してください。続くときはこの番号を運用担当へお知らせください。"
            ),
            format!(
                "The server failed ({id}), and whether this was received is not known yet. Look into /receipts/by-manifest in an hour; if there is no receipt, send everything again. If it goes on, tell the operator this number."
            ),
        ))
    }

    /// Says why a set stays in the drop-box. `again` is the signature that its sender used.
    fn not_taken(&self, account: &AccountId, failed: Failed, again: &str, started: Timestamp) -> Reply {
        match failed {
            Failed::Stays(said) => {
                tracing::info!(%account, code = %said.code, "a set was not taken");
                // Being told to wait is not one refusal more: then the waiting would never end.
                if !matches!(said.code.as_str(), "REFUSAL-RATE" | ACCOUNT_STOPPED | "WITHDRAW-LATER") {
                    self.refusals.add(account, started, self.policy().refusals_per_hour_max);
                }
                Reply::Refused(said)
            }
            Failed::Incomplete => Reply::Fine(None),
            Failed::Fault(e) => {
                let id = self.fault(account, &e, started);
                Reply::Refused(said(
                    "INTERNAL",
                    format!(
                        "サーバー側の問題で受け付けられませんでした(番号 {id})。ファイルは /submit に残っています。しばらくしてから {again} を送り直し、続くときはこの番号を運用担当へお知らせください。"
                    ),
                    format!(
                        "The server failed ({id}). The files are still in /submit: send {again} again later; if it goes on, tell the operator this number."
                    ),
                ))
            }
        }
    }

    fn answer(&self, turn: &Turn<'_>, received_at: Timestamp, deadline: Timestamp) -> Result<Reply, Failed> {
        let (set, dropbox) = (turn.set, turn.dropbox);
        if let Some(why) = self.ledger.stopped() {
            return Err(Failed::Fault(anyhow::anyhow!(why)));
        }
        let account = self.sender(set, received_at)?;
        let manifest = Digest::of(&set.manifest_bytes);
        let earlier = match self.ledger.submission_by_manifest(&account.id, manifest)? {
            Some(number) => self.ledger.submission(number)?.filter(|earlier| earlier.state.counts()),
            None => None,
        };
        // What was taken once is answered the same way after its certificate has ended.
        let as_of =
            earlier.as_ref().map_or(AsOf::Now(received_at), |earlier| AsOf::Then(earlier.received_at));
        let signer = self.verify(set, &account, as_of)?;
        if let Some(earlier) = earlier {
            self.again(&earlier, set, received_at)?;
            consume(dropbox, set, &[]);
            return Ok(Reply::Fine(Some(earlier.number)));
        }
        let findings = self.hash(set)?;
        let candidate = candidate(set, &account, &signer, received_at);
        let assessment = if findings.is_empty() {
            self.assessor.assess(&candidate, received_at, Some(deadline)).map_err(Failed::Fault)?
        } else {
            self.assessor.begin(&candidate).refuse(Stage::Upload, findings)
        };
        self.record(turn, &account, &signer, &candidate, assessment, received_at)
    }

    /// The account, if it may send now.
    fn sender(&self, set: &ClaimedSet, now: Timestamp) -> Result<Account, Failed> {
        let gone = || Failed::Stays(Said { code: ACCOUNT_STOPPED.into(), text: account_stopped() });
        let account = self.ledger.account(&set.account)?.ok_or_else(gone)?;
        if !may_act(self.ledger.as_ref(), &account)? {
            return Err(gone());
        }
        if self.refusals.count(&account.id, now) >= self.policy().refusals_per_hour_max {
            self.alarms.raise(
                "REFUSAL-RATE",
                &format!("account {} reached refusals_per_hour_max; its submissions wait", account.id),
                now,
            );
            let again = set.signature_name();
            return Err(Failed::Stays(said(
                "REFUSAL-RATE",
                format!(
                    "受付不可の送信が続いています。1 時間ほど待ってから、内容を直して {again} を送り直してください。"
                ),
                format!(
                    "Too many submissions were refused. Wait an hour, correct them, then send {again} again."
                ),
            )));
        }
        Ok(account)
    }

    /// Compares every file with the manifest. A file of this login that differs refuses the set; a leftover of an earlier
    /// one counts as missing.
    fn hash(&self, set: &ClaimedSet) -> Result<Vec<Finding>, Failed> {
        let mut findings = Vec::new();
        let mut leftover = false;
        for file in &set.files {
            let blob = self.blobs.open(&file.blob)?;
            if digest_of(blob.as_ref())? == file.sha256 {
                continue;
            }
            if !file.fresh {
                leftover = true;
                continue;
            }
            findings.push(set::hash_differs(&file.name));
        }
        if findings.is_empty() && leftover { Err(Failed::Incomplete) } else { Ok(findings) }
    }

    /// Commits; a withdrawal while the other submission is out of the insurer's reach.
    fn commit(
        &self,
        op: Op,
        account: &Account,
        turn: &Turn<'_>,
        now: Timestamp,
    ) -> Result<Result<Done, LedgerError>, Failed> {
        let (set, ledger) = (turn.set, self.ledger.as_ref());
        let refused = matches!(&op, Op::Receive { outcome: Outcome::Refused(_), .. });
        let by = Actor::Account(account.id.clone());
        let Some(number) = set.manifest.withdraw.filter(|_| !refused) else {
            return Ok(turn.commit(ledger, op, by, now));
        };
        let done = self
            .publisher
            .taking_out(number, Some(&account.id), now, || turn.commit(ledger, op, by, now))
            .map_err(|e| Failed::Fault(e.into()))?;
        Ok(match done {
            Ok(done) => done,
            Err(Withdrawal::Refused(refusal)) => Err(LedgerError::Refused(refusal)),
            Err(Withdrawal::Collected | Withdrawal::Withdrawn) => {
                let state = State::Collected;
                Err(LedgerError::Refused(Refusal::State { number, state }))
            }
            Err(Withdrawal::NotNow) => return Err(Failed::Stays(withdraw_later(set))),
        })
    }

    /// Makes the receipt and the card durable, then commits.
    fn record(
        &self,
        turn: &Turn<'_>,
        account: &Account,
        signer: &Signed,
        candidate: &Candidate,
        mut assessment: Assessment,
        received_at: Timestamp,
    ) -> Result<Reply, Failed> {
        let (set, dropbox) = (turn.set, turn.dropbox);
        let payload: Vec<BlobId> = set.files.iter().map(|f| f.blob.clone()).collect();
        let id_since = self.assessor.filing_year_began(received_at);
        let same_content_is_held = self.policy().hold_same_content;
        let mut hold_same_content = same_content_is_held;
        // Each turn either records or learns one more reason; there are two such reasons.
        for _ in 0..4 {
            let head = self.ledger.head();
            if head.unreconciled && set.manifest.withdraw.is_some() {
                let again = set.signature_name();
                // What it is about may have been collected before the backup was restored: nobody knows yet.
                return Err(Failed::Stays(said(
                    "WITHDRAW-LATER",
                    format!(
                        "サーバーの復旧作業中のため、取下げはまだ受け付けられません。数時間後に {again} を送り直してください。お急ぎの場合は健康保険組合へご連絡ください。"
                    ),
                    format!(
                        "The server was restored from a backup and is being put in order; withdrawals wait. Send {again} again in some hours, or tell the insurer if it is urgent."
                    ),
                )));
            }
            if head.unreconciled && assessment.outcome == Outcome::Accepted {
                assessment.hold(HoldReason::Epoch);
            }
            let now = self.clock.now();
            let number = Number {
                epoch: head.epoch,
                serial: self.ledger.next_serial(crate::model::event::Series::Submission, now)?,
            };
            let (claim, found) = self.claim(number, set, account, assessment, same_content_is_held, now)?;
            assessment = found;
            let (submission, card) =
                self.submission(number, &head, set, account, signer, &assessment, received_at, now)?;
            let op = Op::Receive {
                submission: Box::new(submission),
                outcome: assessment.outcome.clone(),
                hold_same_content,
                id_since,
            };
            let done = self.commit(op, account, turn, now)?;
            let received = match done {
                Ok(Done::Received(received)) => received,
                Ok(other) => return Err(Failed::Fault(anyhow::anyhow!("unexpected {other:?}"))),
                Err(LedgerError::Refused(refusal)) => {
                    self.blobs.remove(&[card])?;
                    match refusal {
                        Refusal::State { .. } | Refusal::Missing(_) | Refusal::NotYours(_)
                            if set.manifest.withdraw.is_some() => {}
                        Refusal::NotNow(_) if set.manifest.withdraw.is_some() => {
                            return Err(Failed::Stays(withdraw_later(set)));
                        }
                        // No fault of its sender.
                        other => return Err(LedgerError::Refused(other).into()),
                    }
                    assessment = self
                        .assessor
                        .begin(candidate)
                        .refuse(Stage::Routing, vec![withdrawal_refused(&refusal)]);
                    continue;
                }
                Err(error) => {
                    // A failed fsync does not tell whether the event is in the journal: the card stays, and the sweep of
                    // orphans decides after the restart.
                    match claim {
                        _ if error.is_not_recorded() => self.blobs.remove(&[card])?,
                        Some(claim) => claim.keep(),
                        None => {}
                    }
                    return Err(error.into());
                }
            };
            match received {
                Received::New(outcome) => {
                    // `turn.asked` stays: whatever fails from here on, the set is the ledger's.
                    claim.into_iter().for_each(Claim::keep);
                    consume(dropbox, set, &payload);
                    if matches!(outcome, Outcome::Refused(_)) {
                        dropbox.forget(set);
                    }
                    self.note_use(signer, account, now);
                    return Ok(self.answered(number, account, &outcome, &assessment, received_at));
                }
                Received::Same(earlier) => {
                    self.blobs.remove(&[card])?;
                    if let Some(earlier) = self.ledger.submission(earlier)? {
                        self.again(&earlier, set, received_at)?;
                    }
                    consume(dropbox, set, &[]);
                    return Ok(Reply::Fine(Some(earlier)));
                }
                Received::IdTaken(earlier) => {
                    self.blobs.remove(&[card])?;
                    assessment =
                        self.assessor.begin(candidate).refuse(Stage::Routing, vec![id_taken(earlier)]);
                }
                Received::SameContent(earlier) => {
                    self.blobs.remove(&[card])?;
                    assessment.hold(HoldReason::SameContent);
                    let same = same_content(earlier);
                    assessment.findings.push(same.severity, || same);
                    hold_same_content = false;
                }
            }
        }
        Err(Failed::Fault(anyhow::anyhow!("the ledger kept changing its mind")))
    }

    /// The manifest was taken before. Files that are not what it says are no repetition but a correction under the old
    /// manifest: said, since nothing of it is taken. An error leaves the new bytes where they are.
    fn again(&self, earlier: &Submission, set: &ClaimedSet, now: Timestamp) -> Result<(), Failed> {
        let findings = self.hash(set)?;
        let Some(name) = findings.first().and_then(|finding| finding.file.as_deref()) else {
            return self.repair(earlier, set, now);
        };
        let (name, number, again) = (excerpt(name, 100), earlier.number, set.signature_name());
        Err(Failed::Stays(said(
            "UPLOAD-HASH",
            format!(
                "この SHA256SUMS は {number} として受付済みですが、「{name}」の内容がそのときと違うため受け取っていません。ファイルを直したときは SHA256SUMS を作り直して署名し、全部を送り直してください。直していないときは「{name}」と {again} を送り直してください。"
            ),
            format!(
                "This SHA256SUMS was received as {number}, but the content of {name:?} is another: it was not taken. If the file was corrected, make SHA256SUMS anew, sign it and send everything again; if not, send {name:?} and {again} again."
            ),
        )))
    }

    /// What was sent again takes the place of bytes that were lost before they reached the insurer; in order, there is
    /// nothing to do.
    fn repair(&self, earlier: &Submission, set: &ClaimedSet, now: Timestamp) -> Result<(), Failed> {
        if !matches!(earlier.state, State::Held | State::Accepted) {
            return Ok(());
        }
        let alarm = format!("PAYLOAD-LOST {}", earlier.number);
        for file in &earlier.files {
            match self.blobs.open(&file.blob) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                opened => {
                    opened?;
                    continue;
                }
            }
            let text = format!("blob {} is gone; its sender has sent it again", file.blob);
            self.alarms.raise(&alarm, &text, now);
            let same = set.files.iter().find(|new| new.sha256 == file.sha256);
            let new = same.ok_or_else(|| Failed::Fault(anyhow::anyhow!("{text}, but not that file")))?;
            self.blobs.restore(&file.blob, &new.blob)?;
            tracing::warn!(number = %earlier.number, blob = %file.blob, "lost bytes were restored from what was sent again");
        }
        self.alarms.clear(&alarm);
        Ok(())
    }

    /// Remembers the records of a filing that goes through or waits; refuses one that repeats (K53).
    fn claim(
        &self,
        number: Number,
        set: &ClaimedSet,
        account: &Account,
        assessment: Assessment,
        same_content_is_held: bool,
        now: Timestamp,
    ) -> Result<(Option<Claim<'_>>, Assessment), Failed> {
        let by = Claimant {
            number,
            insurer: &account.insurer,
            content_tag: self.content_tag(account, &set.manifest),
            same_content_is_held,
        };
        let claimed = self.assessor.repeats.claim(by, &assessment.records, now).map_err(Failed::Fault)?;
        if let Some(claim) = &claimed.claim {
            claim.sync()?;
        }
        Ok((claimed.claim, assessment.repeating(claimed.findings)))
    }

    fn answered(
        &self,
        number: Number,
        account: &Account,
        outcome: &Outcome,
        assessment: &Assessment,
        now: Timestamp,
    ) -> Reply {
        tracing::info!(%number, account = %account.id, ?outcome, "a submission was received");
        let verdict = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Held(_) => "held",
            Outcome::Refused(_) => "refused",
        };
        metrics::counter!(metric::SUBMISSIONS, "verdict" => verdict).increment(1);
        match outcome {
            Outcome::Accepted => {
                (self.accepted)();
                Reply::Fine(Some(number))
            }
            Outcome::Held(_) => Reply::Fine(Some(number)),
            Outcome::Refused(code) => {
                self.refusals.add(&account.id, now, self.policy().refusals_per_hour_max);
                Reply::Refused(refusal(number, code, &assessment.findings))
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    fn submission(
        &self,
        number: Number,
        head: &Head,
        set: &ClaimedSet,
        account: &Account,
        signer: &Signed,
        assessment: &Assessment,
        received_at: Timestamp,
        now: Timestamp,
    ) -> Result<(Submission, BlobId), Failed> {
        let manifest = &set.manifest;
        let decided_at = (!matches!(assessment.outcome, Outcome::Held(_))).then_some(now);
        let certificates = super::renewals::of_account(self.ledger.as_ref(), &account.id)?;
        let certificate_ends = renewal::newest(&certificates, received_at).map(|newest| newest.not_after);
        let receipt = Receipt {
            schema: RECEIPT_SCHEMA.into(),
            number,
            test: account.test,
            account: account.id.clone(),
            office: assessment.office.clone(),
            insurer: account.insurer.clone(),
            id: manifest.id.clone(),
            manifest_sha256: Digest::of(&set.manifest_bytes),
            signer: signer.receipt_signer(),
            second_signer: signer.second_signer(),
            certificate_ends,
            files: set
                .files
                .iter()
                .map(|f| ReceiptFile { name: f.name.clone(), size: f.size, sha256: f.sha256 })
                .collect(),
            received_at,
            decided_at,
            outcome: match assessment.outcome {
                Outcome::Accepted if manifest.withdraw.is_some() => receipt::Outcome::Withdrawal,
                Outcome::Accepted => receipt::Outcome::Accepted,
                Outcome::Refused(_) => receipt::Outcome::Refused,
                Outcome::Held(_) => receipt::Outcome::Held,
            },
            stages: receipt_stages(&assessment.verdicts, now),
            findings: assessment.findings.listed().to_vec(),
            more_findings: assessment.findings.more(),
        };
        let receipt = receipt.to_json().map_err(io::Error::from)?;
        let receipt_signature = self.keys.sign_receipt(&receipt).map_err(io::Error::other)?;
        let card = SubmissionCard {
            salt: cards::salt()?,
            id: manifest.id.as_ref().map(|id| id.as_str().to_owned()),
            subject: manifest.subject.clone(),
            comment: manifest.comment.clone(),
            names: set.files.iter().map(|f| f.name.to_string()).collect(),
            manifest: BASE64.encode(&set.manifest_bytes),
            signature: BASE64.encode(set.sshsig.as_deref().unwrap_or_default()),
            cms: BASE64.encode(set.cms.as_deref().unwrap_or_default()),
            evidence: signer.evidence(head, received_at),
            signer: keys::public_line(signer.key()),
            findings: assessment.findings.listed().to_vec(),
            more_findings: assessment.findings.more(),
            more_errors: assessment.findings.more_errors(),
            receipt: String::from_utf8(receipt).map_err(io::Error::other)?,
            receipt_signature,
        };
        let card = cards::put(self.blobs.as_ref(), &card, now)?;
        let mut durable: Vec<BlobId> = set.files.iter().map(|f| f.blob.clone()).collect();
        durable.push(card.blob.clone());
        self.blobs.sync(&durable)?;
        let blob = card.blob.clone();
        let submission = Submission {
            number,
            account: account.id.clone(),
            insurer: account.insurer.clone(),
            office: assessment.office.clone(),
            kind: manifest.kind,
            test: account.test,
            manifest: Digest::of(&set.manifest_bytes),
            id_tag: manifest.id.as_ref().map(|id| receipts::id_tag(&self.keys, &account.id, id.as_str())),
            content_tag: self.content_tag(account, manifest),
            signer: signer.receipt_signer().fingerprint,
            files: set
                .files
                .iter()
                .zip(&assessment.files)
                .map(|(file, (role, export_name))| SubmittedFile {
                    blob: file.blob.clone(),
                    sha256: file.sha256,
                    size: file.size,
                    role: *role,
                    export_name: export_name.clone(),
                })
                .collect(),
            forms: assessment.forms.clone(),
            verdicts: assessment.verdicts.clone(),
            card,
            decision: None,
            received_at,
            decided_at,
            collected_at: None,
            withdrawn_at: None,
            withdrawn_by: None,
            withdraws: manifest.withdraw,
            state: State::Held,
        };
        Ok((submission, blob))
    }

    /// The same files, in whatever order and under whatever names.
    fn content_tag(&self, account: &Account, manifest: &Manifest) -> Digest {
        let mut hashes: Vec<[u8; 32]> = manifest.files.iter().map(|f| f.sha256.0).collect();
        hashes.sort_unstable();
        let withdraws = manifest.withdraw.map(|n| n.to_string()).unwrap_or_default();
        let mut parts: Vec<&[u8]> = vec![account.id.as_str().as_bytes(), withdraws.as_bytes()];
        parts.extend(hashes.iter().map(<[u8; 32]>::as_slice));
        self.keys.tag("content", &parts)
    }
}

fn digest_of(blob: &dyn BlobReader) -> io::Result<Digest> {
    use sha2::Digest as _;
    // Below what the allocator maps and unmaps anew each time.
    const PIECE_BYTES: usize = 64 * 1024;
    let (mut hasher, mut piece, mut at) = (sha2::Sha256::new(), Vec::new(), 0);
    while at < blob.size() {
        piece.clear();
        blob.read_at(at, PIECE_BYTES, &mut piece)?;
        if piece.is_empty() {
            break;
        }
        hasher.update(&piece);
        at += piece.len() as u64;
    }
    Ok(Digest(hasher.finalize().into()))
}

/// The set leaves the drop-box. The ledger has decided: whatever the disk says, nothing may give it back.
fn consume(dropbox: &Dropbox, set: &ClaimedSet, kept: &[BlobId]) {
    if let Err(error) = dropbox.consume(set, kept) {
        tracing::warn!(account = %set.account, %error, "a set left the drop-box, but not in order; the sweep takes what is left");
    }
}

fn candidate(set: &ClaimedSet, account: &Account, signer: &Signed, received_at: Timestamp) -> Candidate {
    let manifest = &set.manifest;
    Candidate {
        account: account.clone(),
        received_at,
        kind: manifest.kind,
        to: manifest.to.clone(),
        office: manifest.office.clone(),
        cover: manifest.cover.clone(),
        subject: manifest.subject.clone(),
        comment: manifest.comment.clone(),
        withdraws: manifest.withdraw,
        signed: signer.detail(),
        files: set
            .files
            .iter()
            .map(|f| CandidateFile { name: f.name.clone(), blob: f.blob.clone(), size: f.size })
            .collect(),
    }
}

fn receipt_stages(verdicts: &[StageVerdict], at: Timestamp) -> Stages {
    let of = |stage| {
        let Some(v) = verdicts.iter().find(|v| v.stage == stage) else { return ReceiptStage::default() };
        let verdict = match v.verdict {
            Verdict::Pass => receipt::Verdict::Pass,
            Verdict::Fail => receipt::Verdict::Fail,
            Verdict::NotRun => receipt::Verdict::NotRun,
            Verdict::Held => receipt::Verdict::Held,
        };
        let detail = (!v.detail.is_empty()).then(|| v.detail.clone());
        ReceiptStage { verdict, at: (verdict != receipt::Verdict::NotRun).then_some(at), detail }
    };
    Stages {
        upload: of(Stage::Upload),
        signature: of(Stage::Signature),
        virus: of(Stage::Virus),
        format: of(Stage::Format),
        routing: of(Stage::Routing),
    }
}

fn withdraw_later(set: &ClaimedSet) -> Said {
    let again = set.signature_name();
    said(
        "WITHDRAW-LATER",
        format!(
            "取り下げる送信が、ちょうど健康保険組合へ渡されるところです。1 分ほど待ってから {again} を送り直してください。"
        ),
        format!("The submission is just being handed to the insurer. Send {again} again in a minute."),
    )
}

fn id_taken(earlier: Number) -> Finding {
    error(
        "ID-TAKEN",
        None,
        Text::new(
            format!("同じ「# id:」で、内容の違う送信(受付番号 {earlier})を既に受け付けています。"),
            format!("The same `# id:` was used by submission {earlier}, whose content differs."),
        ),
        Text::new(
            "別の届出であれば「# id:」を変え、差し替えるのであれば先に取り下げてから、署名し直して送ってください。",
            "For another filing use another id; to replace that one, withdraw it first. Sign and send again.",
        ),
    )
}

fn same_content(earlier: Number) -> Finding {
    Finding {
        severity: Severity::Warning,
        ..error(
            "SAME-CONTENT",
            None,
            Text::new(
                format!(
                    "受付番号 {earlier} とまったく同じファイルです。二重の届出かどうかを確認するまで保留します。"
                ),
                format!(
                    "These are the very files of submission {earlier}. This one is held until somebody has looked."
                ),
            ),
            Text::new(
                "誤って二度送った場合は、この送信を取り下げてください。二度送る必要がある場合は健康保険組合へご連絡ください。",
                "If it was sent twice by mistake, withdraw this one. If it is meant, tell the insurer.",
            ),
        )
    }
}

fn withdrawal_refused(refusal: &Refusal) -> Finding {
    let (message, action) = match refusal {
        Refusal::State { number, state } => (
            Text::new(
                format!(
                    "受付番号 {number} は取り下げられません(状態: {})。",
                    crate::store::history::state_word(*state, crate::model::finding::Language::Ja)
                ),
                format!(
                    "Submission {number} cannot be withdrawn: it is {}.",
                    crate::store::history::state_word(*state, crate::model::finding::Language::En)
                ),
            ),
            not_withdrawn_action(*state),
        ),
        _ => (
            Text::new(
                "取り下げる受付番号が、このアカウントの送信にありません。",
                "This account has no submission of the number that is to be withdrawn.",
            ),
            Text::new(
                "/history/sent.csv で受付番号を確かめ、「# withdraw:」を直して署名し直してください。",
                "Look the number up in /history/sent.csv, correct `# withdraw:`, and sign again.",
            ),
        ),
    };
    error("WITHDRAW-REFUSED", None, message, action)
}

/// What is left to do about a submission that cannot be withdrawn.
fn not_withdrawn_action(state: State) -> Text {
    match state {
        State::Withdrawn => Text::new(
            "すでに取り下げられているため、お手続きは必要ありません。",
            "It is withdrawn already: nothing is left to do.",
        ),
        State::Refused => Text::new(
            "受け付けられておらず、健康保険組合には届いていないため、お手続きは必要ありません。",
            "It was refused and never reached the insurer: nothing is left to do.",
        ),
        State::CarriedOut => Text::new(
            "これは取下げそのものの受付番号です。取下げを取り消すことはできません。届出が必要な場合は、もう一度送信してください。",
            "This is the number of a withdrawal, which cannot be undone: send the filing again if it is needed after all.",
        ),
        State::Held
        | State::Accepted
        | State::Publishing
        | State::Published
        | State::Collected
        | State::Imported
        | State::ImportFailed => Text::new(
            "健康保険組合が取り込んだあとの取下げは、健康保険組合へ直接ご連絡ください。",
            "Once the insurer has taken it in, ask the insurer.",
        ),
    }
}

/// The refusal as the close says it: the first reason, how many more errors, and where the rest is.
pub fn refusal(number: Number, code: &str, findings: &Findings) -> Said {
    let mut errors = findings.listed().iter().filter(|f| f.severity == Severity::Error);
    let first = errors.clone().find(|f| f.rule == code).or_else(|| errors.next());
    let rest = findings.errors().saturating_sub(1);
    let (mut ja, mut en) = (Vec::new(), Vec::new());
    if let Some(first) = first {
        let mut place_ja: Vec<String> = first.file.iter().cloned().collect();
        let mut place_en = place_ja.clone();
        if let Some(line) = first.line {
            place_ja.push(format!("{line} 行目"));
            place_en.push(format!("line {line}"));
        }
        let lead = |place: &[String]| {
            if place.is_empty() { String::new() } else { format!("{}: ", place.join(" ")) }
        };
        ja.push(format!("{}{} {}", lead(&place_ja), first.message.ja, first.action.ja));
        en.push(format!("{}{} {}", lead(&place_en), first.message.en, first.action.en));
    }
    if rest > 0 {
        ja.push(format!("ほか {rest} 件。"));
        en.push(format!("{rest} more."));
    }
    ja.push(format!("受付番号 {number}(受付不可)。詳細: /receipts/{number}.findings.html"));
    en.push(format!("Receipt {number} (refused); details: /receipts/{number}.findings.html"));
    said(code, ja.join(" "), en.join(" "))
}

#[cfg(test)]
mod tests;
