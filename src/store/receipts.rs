//! Receipts as files: which ones a submission has, and their bytes. They are kept in the submission's cards; those about
//! facts that the journal alone knows are written from it, always the same bytes.

use std::io;
use std::sync::Arc;

use chrono_tz::Tz;

use super::blobs::Blobs;
use super::cards;
use super::keys::Keys;
use super::ledger::{Ledger, LedgerError};
use crate::filing::{Findings, report};
use crate::model::card::{DecisionCard, SubmissionCard};
use crate::model::finding::{Finding, Language};
use crate::model::ids::{AccountId, Digest, Number};
use crate::model::submission::{State, Submission};
use crate::model::time::Timestamp;
use crate::signed::receipt::{FACT_SCHEMA, Fact, LaterFact};

/// Why a receipt cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptsError {
    /// There is none of that name.
    #[error("no such receipt")]
    Missing,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The card is damaged or unreadable.
    #[error("the card of {what} cannot be read: {source}")]
    Card {
        /// Whose card.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// A file that is made when it is asked for.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When the fact it states became true.
    pub at: Timestamp,
}

/// What a file about a submission is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Receipt,
    Findings(FindingsForm),
    Fact(Fact),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FindingsForm {
    Csv,
    Html,
}

/// The receipts of the gateway.
pub struct Receipts {
    /// Where submissions are.
    pub ledger: Arc<dyn Ledger>,
    /// Where their cards are.
    pub blobs: Arc<dyn Blobs>,
    /// Signs facts.
    pub keys: Arc<Keys>,
    /// Times on pages for clerks are local.
    pub zone: Tz,
}

impl Receipts {
    /// The names of all files about this submission, without `.sig` twins of facts that do not exist yet.
    pub fn names(submission: &Submission) -> Vec<String> {
        let number = submission.number;
        let mut names = vec![
            format!("{number}.json"),
            format!("{number}.json.sig"),
            format!("{number}.findings.csv"),
            format!("{number}.findings.html"),
        ];
        for (fact, _) in facts(submission) {
            let name = fact.file_name(number);
            names.push(format!("{name}.sig"));
            names.push(name);
        }
        names
    }

    /// The bytes of `NUMBER.json`, `NUMBER.json.sig`, `NUMBER.findings.csv`, ..., of one of this account's submissions.
    pub fn by_name(
        &self,
        account: &AccountId,
        name: &str,
        language: Language,
    ) -> Result<Made, ReceiptsError> {
        let (number, rest) = name.split_once('.').ok_or(ReceiptsError::Missing)?;
        let number = Number::parse(number).map_err(|_| ReceiptsError::Missing)?;
        self.part(account, number, rest, language)
    }

    /// The same of the submission that came with this manifest: `SHA256.json`, `SHA256.json.sig`, ...
    pub fn by_manifest(
        &self,
        account: &AccountId,
        name: &str,
        language: Language,
    ) -> Result<Made, ReceiptsError> {
        let (sha256, rest) = name.split_once('.').ok_or(ReceiptsError::Missing)?;
        let manifest = Digest::parse(sha256).map_err(|_| ReceiptsError::Missing)?;
        let number = self.ledger.submission_by_manifest(account, manifest)?.ok_or(ReceiptsError::Missing)?;
        self.part(account, number, rest, language)
    }

    /// The same of the submission that came with this sender's id: `ID.json`, `ID.json.sig`, ...
    pub fn by_id(&self, account: &AccountId, name: &str, language: Language) -> Result<Made, ReceiptsError> {
        // The sender's id may hold dots itself.
        let (id, rest) = ["json", "json.sig", "findings.csv", "findings.html"]
            .iter()
            .find_map(|rest| Some((name.strip_suffix(rest)?.strip_suffix('.')?, *rest)))
            .ok_or(ReceiptsError::Missing)?;
        let tag = id_tag(&self.keys, account, id);
        let number = self.ledger.submission_by_id(account, tag)?.ok_or(ReceiptsError::Missing)?;
        self.part(account, number, rest, language)
    }

    fn part(
        &self,
        account: &AccountId,
        number: Number,
        rest: &str,
        language: Language,
    ) -> Result<Made, ReceiptsError> {
        let submission = self
            .ledger
            .submission(number)?
            .filter(|s| s.account == *account)
            .ok_or(ReceiptsError::Missing)?;
        let (rest, signature) = match rest.strip_suffix(".sig") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let part = match rest {
            "json" => Part::Receipt,
            "findings.csv" => Part::Findings(FindingsForm::Csv),
            "findings.html" => Part::Findings(FindingsForm::Html),
            word => facts(&submission)
                .into_iter()
                .find(|(fact, _)| word.strip_suffix(".json") == Some(fact.word()))
                .map(|(fact, _)| Part::Fact(fact))
                .ok_or(ReceiptsError::Missing)?,
        };
        self.make(&submission, part, signature, language)
    }

    fn make(
        &self,
        submission: &Submission,
        part: Part,
        signature: bool,
        language: Language,
    ) -> Result<Made, ReceiptsError> {
        let number = submission.number;
        let card_error = |source| ReceiptsError::Card { what: format!("submission {number}"), source };
        match (part, signature) {
            (Part::Receipt, _) => {
                let card: SubmissionCard =
                    cards::get(self.blobs.as_ref(), &submission.card).map_err(card_error)?;
                let text = if signature { card.receipt_signature } else { card.receipt };
                Ok(Made { bytes: text.into_bytes(), at: submission.received_at })
            }
            (Part::Findings(_), true) => Err(ReceiptsError::Missing),
            (Part::Findings(form), false) => {
                let findings = self.findings(submission)?;
                let text = match form {
                    FindingsForm::Csv => report::findings_csv(&findings, language),
                    FindingsForm::Html => {
                        let head = page_head(submission, language, self.zone);
                        report::findings_html(&head, &findings, language)
                    }
                };
                let at = submission.decided_at.unwrap_or(submission.received_at);
                Ok(Made { bytes: text.into_bytes(), at })
            }
            (Part::Fact(fact), _) => {
                let (bytes, at) = self.fact(submission, fact)?;
                if !signature {
                    return Ok(Made { bytes, at });
                }
                let stored = match (fact, &submission.decision) {
                    (Fact::Accepted | Fact::Refused, Some(decision)) => {
                        let card: DecisionCard =
                            cards::get(self.blobs.as_ref(), decision).map_err(card_error)?;
                        card.receipt_signature
                    }
                    _ => self.keys.sign_receipt(&bytes).map_err(|e| card_error(io::Error::other(e)))?,
                };
                Ok(Made { bytes: stored.into_bytes(), at })
            }
        }
    }

    /// What was found in a submission, at first or when it was decided.
    pub fn findings(&self, submission: &Submission) -> Result<Findings, ReceiptsError> {
        let card_error =
            |source| ReceiptsError::Card { what: format!("submission {}", submission.number), source };
        if let Some(decision) = &submission.decision {
            let card: DecisionCard = cards::get(self.blobs.as_ref(), decision).map_err(card_error)?;
            return Ok(Findings::resumed(card.findings, card.more_findings, card.more_errors));
        }
        let card: SubmissionCard = cards::get(self.blobs.as_ref(), &submission.card).map_err(card_error)?;
        Ok(Findings::resumed(card.findings, card.more_findings, card.more_errors))
    }

    fn fact(&self, submission: &Submission, fact: Fact) -> Result<(Vec<u8>, Timestamp), ReceiptsError> {
        let card_error =
            |source| ReceiptsError::Card { what: format!("submission {}", submission.number), source };
        let at = facts(submission)
            .into_iter()
            .find(|(f, _)| *f == fact)
            .map(|(_, at)| at)
            .ok_or(ReceiptsError::Missing)?;
        if let (Fact::Accepted | Fact::Refused, Some(decision)) = (fact, &submission.decision) {
            let card: DecisionCard = cards::get(self.blobs.as_ref(), decision).map_err(card_error)?;
            return Ok((card.receipt.into_bytes(), at));
        }
        let fact = later_fact(submission, fact, at, Vec::new(), 0);
        let bytes = fact.to_json().map_err(|e| card_error(e.into()))?;
        Ok((bytes, at))
    }
}

/// The receipt of a later fact.
pub fn later_fact(
    submission: &Submission,
    fact: Fact,
    at: Timestamp,
    findings: Vec<Finding>,
    more_findings: u64,
) -> LaterFact {
    LaterFact {
        schema: FACT_SCHEMA.into(),
        number: submission.number,
        test: submission.test,
        account: submission.account.clone(),
        insurer: submission.insurer.clone(),
        manifest_sha256: submission.manifest,
        fact,
        at,
        by: if fact == Fact::Withdrawn { submission.withdrawn_by } else { None },
        findings,
        more_findings,
    }
}

/// What stands above the findings of a submission.
fn page_head(submission: &Submission, language: Language, zone: Tz) -> report::PageHead {
    let label = |ja: &str, en: &str| match language {
        Language::Ja => ja.to_owned(),
        Language::En => en.to_owned(),
    };
    let office = submission.office.as_ref().map(ToString::to_string).unwrap_or_default();
    let received = submission.received_at.shown_in(zone);
    let number = if submission.test {
        format!(
            "{} {}",
            submission.number,
            label("(TEST テスト: 健康保険組合には届きません)", "(TEST: does not reach the insurer)")
        )
    } else {
        submission.number.to_string()
    };
    report::PageHead {
        rows: vec![
            (label("受付番号", "Receipt"), number),
            (label("アカウント", "Account"), submission.account.to_string()),
            (label("事業所番号", "Office"), office),
            (label("状態", "State"), super::history::state_word(submission.state, language).to_owned()),
            (label("受信日時", "Received"), received),
        ],
    }
}

/// Facts that came after the receipt, with their times.
fn facts(submission: &Submission) -> Vec<(Fact, Timestamp)> {
    let mut facts = Vec::new();
    if submission.decision.is_some()
        && let Some(at) = submission.decided_at
    {
        let refused = submission.state == State::Refused;
        facts.push((if refused { Fact::Refused } else { Fact::Accepted }, at));
    }
    if let Some(at) = submission.withdrawn_at {
        facts.push((Fact::Withdrawn, at));
    }
    if let Some(at) = submission.collected_at {
        facts.push((Fact::Collected, at));
    }
    facts
}

/// The keyed digest of a sender's own id, which may name somebody.
pub fn id_tag(keys: &Keys, account: &AccountId, id: &str) -> Digest {
    keys.tag("filing-id", &[account.as_str().as_bytes(), id.as_bytes()])
}
