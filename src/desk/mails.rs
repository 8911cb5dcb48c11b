//! Mails.

mod addresses;

use serde_json::{Value, json};

use super::listing::{PAGE, page, time, value};
use super::parts::Parts;
use super::request::{Answer, MailRequest, Response};
use super::trouble::{Kind, Trouble};
use crate::model::card::MailCard;
use crate::model::event::MailResult;
use crate::model::finding::Language;
use crate::model::ids::MailId;
use crate::model::mail::{Mail, MailReport, MailState, Report};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::notice::{KINDS, Rendered};
use crate::store::cards;
use crate::store::ledger::{MailFilter, Op};

pub(super) fn answer(parts: &Parts, request: MailRequest, by: &Actor, now: Timestamp) -> Response {
    match request {
        MailRequest::List { account, state, before } => {
            let filter = MailFilter { account, state, before, ..MailFilter::default() };
            let rows = parts.ledger.mails(&filter, PAGE)?;
            page(rows, |row| row.id.to_string(), |row| row_of(&row))
        }
        MailRequest::Show(id) => show(parts, id),
        MailRequest::Retry(id) => {
            find(parts, id)?;
            parts.ledger.commit(Op::RetryMail(id), by.clone(), now)?;
            Ok(Answer::of(row_of(&find(parts, id)?)?))
        }
        MailRequest::Drop(id) => {
            find(parts, id)?;
            parts.ledger.commit(Op::TryMail { id, result: MailResult::Dropped }, by.clone(), now)?;
            let note = "It is not sent any more; what it announced stays in the outbox.".to_owned();
            Ok(Answer { notes: vec![note], ..Answer::of(row_of(&find(parts, id)?)?) })
        }
        MailRequest::Test { to, kind, language } => {
            let text = kind.map(|kind| rendered(parts, &kind, language)).transpose()?;
            let reply = parts.works.test_mail(&to, text.as_ref(), language, now)?;
            Ok(Answer::of(json!({ "sent": true, "reply": reply })))
        }
        MailRequest::Preview { kind, language } => preview(parts, &kind, language),
        MailRequest::Addresses { after } => addresses::list(parts, after),
        MailRequest::Resume(which) => addresses::resume(parts, &which, by, now),
    }
}

fn find(parts: &Parts, id: MailId) -> Result<Mail, Trouble> {
    parts.ledger.mail(id)?.ok_or_else(|| Trouble::unknown(format!("mail {id}")))
}

/// A mail as `mail list --json` shows it: no address.
fn row_of(mail: &Mail) -> Result<Value, Trouble> {
    let due = if mail.state == MailState::Queued { time(mail.due_at) } else { Value::Null };
    Ok(json!({
        "mail": mail.id,
        "message_id": mail.message_id,
        "account": mail.account,
        "insurer": mail.insurer,
        "more_accounts": mail.more_accounts,
        "about": value(&mail.subject)?,
        "state": mail.state,
        "attempts": mail.attempts,
        "sealed_at": time(mail.sealed_at),
        "due_at": due,
        "last_reply": mail.last_reply,
        "came_back": mail.report.as_ref().map(came_back),
    }))
}

/// What came back, in one word and its status.
fn came_back(report: &MailReport) -> String {
    let word = match report.report {
        Report::Unreachable => "unreachable",
        Report::Failed => "failed",
        Report::Delayed => "delayed",
        Report::Relayed => "relayed",
        Report::Delivered => "delivered",
        Report::Complaint => "complaint",
        Report::AutoReply => "auto-reply",
        Report::Member => "failed for a member",
    };
    let unproven = if report.proven { "" } else { " (unproven)" };
    match &report.status {
        Some(status) => format!("{word} {status}{unproven}"),
        None => format!("{word}{unproven}"),
    }
}

fn preview(parts: &Parts, kind: &str, language: Language) -> Response {
    let text = rendered(parts, kind, language)?;
    Ok(Answer::of(json!({ "subject": text.subject, "body": text.body })))
}

/// A kind of notice, filled with its sample.
fn rendered(parts: &Parts, kind: &str, language: Language) -> Result<Rendered, Trouble> {
    let texts =
        parts.config.get().notice_texts().map_err(|text| Trouble::new(Kind::Usage, "NOTICE-TEXT", text))?;
    let Some(found) = KINDS.iter().find(|known| known.name == kind) else {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let text = format!("there is no such kind of notice; there are {}", names.join(", "));
        return Err(Trouble::new(Kind::Usage, "NOTICE-KIND", text));
    };
    Ok(texts.preview(found, language))
}

fn show(parts: &Parts, id: MailId) -> Response {
    let mail = find(parts, id)?;
    let mut row = row_of(&mail)?;
    match cards::get::<MailCard>(parts.blobs.as_ref(), &mail.card) {
        Ok(card) => {
            row["from"] = json!(card.from);
            row["to"] = json!(card.to);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Answer::of(row))
}
