//! Mails.

use serde_json::{Value, json};

use super::listing::{PAGE, page, time, value};
use super::parts::Parts;
use super::request::{Answer, MailRequest, Response};
use super::trouble::Trouble;
use crate::model::card::MailCard;
use crate::model::event::MailResult;
use crate::model::ids::MailId;
use crate::model::mail::{Mail, MailState};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::store::cards;
use crate::store::ledger::{MailFilter, Op};

pub(super) fn answer(parts: &Parts, request: MailRequest, by: &Actor, now: Timestamp) -> Response {
    match request {
        MailRequest::List { account, state, before } => {
            let rows = parts.ledger.mails(&MailFilter { account, state, before }, PAGE)?;
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
        MailRequest::Test(to) => {
            let reply = parts.works.test_mail(&to, now)?;
            Ok(Answer::of(json!({ "sent": true, "reply": reply })))
        }
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
        "about": value(&mail.subject)?,
        "state": mail.state,
        "attempts": mail.attempts,
        "sealed_at": time(mail.sealed_at),
        "due_at": due,
        "last_reply": mail.last_reply,
    }))
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
