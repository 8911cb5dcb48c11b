//! Submissions.

use serde_json::{Value, json};

use super::listing::{PAGE, page, time, time_or_null, value};
use super::parts::Parts;
use super::request::{Answer, Response, SubmissionRequest};
use super::trouble::Trouble;
use crate::model::card::{DecisionCard, SubmissionCard};
use crate::model::ids::Number;
use crate::model::party::Actor;
use crate::model::submission::{HoldReason, State, Submission, Verdict};
use crate::model::time::Timestamp;
use crate::store::cards;
use crate::store::ledger::SubmissionFilter;

/// Characters of a withdrawal's reason.
const REASON_CHARS_MAX: usize = 300;

pub(super) fn answer(parts: &Parts, request: SubmissionRequest, by: &Actor, now: Timestamp) -> Response {
    match request {
        SubmissionRequest::List { account, insurer, states, before } => {
            let filter = SubmissionFilter { account, insurer, states, before };
            let rows = parts.ledger.submissions(&filter, PAGE)?;
            page(rows, |row| row.number.to_string(), |row| Ok(row_of(&row)))
        }
        SubmissionRequest::Show(number) => show(parts, number),
        SubmissionRequest::Withdraw { number, reason } => {
            let reason = reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
            if reason.is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
                let text = format!("--reason has at most {REASON_CHARS_MAX} characters");
                return Err(Trouble::refused("REASON-LONG", text));
            }
            parts.works.withdraw(number, reason, by, now)?;
            let row = row_of(&find(parts, number)?);
            let note = "It is withdrawn: the insurer does not get it, its sender is told by mail and may send it again.";
            Ok(Answer { notes: vec![note.to_owned()], ..Answer::of(row) })
        }
        SubmissionRequest::Judge { number, release } => {
            let held = find(parts, number)?;
            if held.state != State::Held {
                let text =
                    format!("submission {number} is {}; only a held one can be decided", held.state.word());
                return Err(Trouble::refused("NOT-HELD", text));
            }
            parts.works.judge(number, release, by, now)?;
            let decided = find(parts, number)?;
            let waits = parts.ledger.hold(number)?.map(|hold| {
                let word = hold.reason.word();
                if hold.reason == HoldReason::Sender {
                    format!("It waits for {word} now: its account or key does not stand any more. Release it again if it is to go on.")
                } else {
                    format!("It is released; it waits for {word} now, and goes on by itself.")
                }
            });
            Ok(Answer { notes: waits.into_iter().collect(), ..Answer::of(row_of(&decided)) })
        }
    }
}

fn find(parts: &Parts, number: Number) -> Result<Submission, Trouble> {
    parts.ledger.submission(number)?.ok_or_else(|| Trouble::unknown(format!("submission {number}")))
}

/// A submission as `submission list --json` shows it: nothing that names a person.
fn row_of(submission: &Submission) -> Value {
    // It may wait for more than one thing.
    let reasons: Vec<&str> = submission
        .verdicts
        .iter()
        .filter(|verdict| matches!(verdict.verdict, Verdict::Fail | Verdict::Held))
        .map(|verdict| verdict.detail.as_str())
        .collect();
    let reason = (!reasons.is_empty()).then(|| reasons.join(", "));
    json!({
        "number": submission.number,
        "account": submission.account,
        "insurer": submission.insurer,
        "office": submission.office,
        "kind": submission.what(),
        "test": submission.test,
        "state": submission.state,
        "reason": reason,
        "manifest_sha256": submission.manifest,
        "signer": submission.signer,
        "files": submission.files.len(),
        "bytes": submission.files.iter().map(|file| file.size).sum::<u64>(),
        "forms": submission.forms.iter().map(|(code, count)| json!({"code": code, "count": count})).collect::<Vec<_>>(),
        "received_at": time(submission.received_at),
        "decided_at": time_or_null(submission.decided_at),
        "collected_at": time_or_null(submission.collected_at),
        "withdrawn_at": time_or_null(submission.withdrawn_at),
    })
}

fn show(parts: &Parts, number: Number) -> Response {
    let submission = find(parts, number)?;
    let mut row = row_of(&submission);
    row["verdicts"] = value(&submission.verdicts)?;
    let names = match cards::get::<SubmissionCard>(parts.blobs.as_ref(), &submission.card) {
        Ok(card) => {
            row["id"] = json!(card.id);
            row["subject"] = json!(card.subject);
            row["comment"] = json!(card.comment);
            row["findings"] = value(&card.findings)?;
            row["more_findings"] = json!(card.more_findings);
            card.names
        }
        // Its time was over: what named somebody is gone, the rest stays.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if let Some(decision) = &submission.decision
        && let Ok(card) = cards::get::<DecisionCard>(parts.blobs.as_ref(), decision)
    {
        row["findings"] = value(&card.findings)?;
        row["more_findings"] = json!(card.more_findings);
    }
    let files = submission.files.iter().enumerate().map(|(at, file)| {
        json!({
            "name": names.get(at),
            "export_name": file.export_name,
            "role": file.role,
            "size": file.size,
            "sha256": file.sha256,
        })
    });
    row["files"] = Value::Array(files.collect());
    if submission.state == State::ImportFailed {
        row["import_reason"] = json!(parts.works.import_reason(&submission.insurer, number));
    }
    Ok(Answer::of(row))
}
