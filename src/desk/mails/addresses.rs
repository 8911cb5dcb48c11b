//! Addresses where nobody reads mail.

use serde_json::{Value, json};

use crate::desk::listing::{PAGE, page, time};
use crate::desk::parts::Parts;
use crate::desk::request::{Answer, Response};
use crate::desk::trouble::{Kind, Trouble};
use crate::model::card::MailCard;
use crate::model::ids::{AccountId, Digest};
use crate::model::mail::Mailbox;
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::mailbox::normalised;
use crate::store::cards;
use crate::store::ledger::Op;

/// Digits of a digest that name a mailbox.
const PREFIX_MIN: usize = 8;

pub(super) fn list(parts: &Parts, after: Option<Digest>) -> Response {
    let rows = parts.ledger.marked_mailboxes(after, PAGE)?;
    page(rows, |row| row.tag.to_string(), |row| row_of(parts, &row))
}

/// The accounts that were told by the mail that came back, and where it went; no address once the mail's card is gone.
fn told(parts: &Parts, mailbox: &Mailbox) -> Result<(Vec<AccountId>, Option<String>), Trouble> {
    let Some(mark) = &mailbox.mark else { return Ok((Vec::new(), None)) };
    let Some(mail) = parts.ledger.mail(mark.mail)? else { return Ok((Vec::new(), None)) };
    let address = cards::get::<MailCard>(parts.blobs.as_ref(), &mail.card).ok().map(|card| card.to);
    Ok((mail.accounts().cloned().collect(), address))
}

fn row_of(parts: &Parts, mailbox: &Mailbox) -> Result<Value, Trouble> {
    let (accounts, address) = told(parts, mailbox)?;
    let mark = mailbox.mark.as_ref();
    Ok(json!({
        "mailbox": mailbox.tag,
        "address": address,
        "accounts": accounts,
        "marked_at": mark.map(|mark| time(mark.at)),
        "status": mark.and_then(|mark| mark.status.clone()),
        "by": mark.map(|mark| if mark.soft { "too many failures" } else { "nobody reads mail there" }),
        "mail": mark.map(|mark| mark.mail),
    }))
}

/// `which`: an address, an account, or the beginning of a digest.
pub(super) fn resume(parts: &Parts, which: &str, by: &Actor, now: Timestamp) -> Response {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let rows = parts.ledger.marked_mailboxes(after, PAGE)?;
        after = rows.last().map(|row| row.tag);
        let last = rows.len() < PAGE;
        for row in rows {
            let (accounts, address) = told(parts, &row)?;
            let digest = which.len() >= PREFIX_MIN && row.tag.to_string().starts_with(which);
            let account = accounts.iter().any(|account| account.as_str() == which);
            let address = address.is_some_and(|address| normalised(&address) == normalised(which));
            if digest || account || address {
                found.push(row);
            }
        }
        if last {
            break;
        }
    }
    if found.is_empty() {
        return Err(Trouble::new(
            Kind::Refused,
            "ADDRESS-NOT-MARKED",
            "no mail is held back from that address; `todoke mail address list` shows those that are",
        ));
    }
    let mut rows = Vec::new();
    for mailbox in found {
        parts.ledger.commit(Op::ResumeAddress(mailbox.tag), by.clone(), now)?;
        rows.push(row_of(parts, &mailbox)?);
    }
    let note = "Mails are sent there again; what waited is announced within minutes.".to_owned();
    Ok(Answer { notes: vec![note], ..Answer::of(json!({ "resumed": rows })) })
}
