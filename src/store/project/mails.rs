//! Mails, and the addresses they go to.

use super::{change, change_document, missing, stored_document};
use crate::model::event::{Event, MailResult};
use crate::model::ids::{Digest, MailId};
use crate::model::mail::{
    ADDRESS_CHANGED, ADDRESS_MARKED, AddressMark, Mail, MailReport, MailState, Mailbox, Report, Subject,
};
use crate::model::time::Timestamp;
use crate::rules::smtp_code;
use crate::store::index::{Index, IndexError};
use crate::store::tables::{self, Draft, StoredMail};

/// Applies one of the events about mails.
pub(super) fn project<I: Index>(
    draft: &mut Draft<'_, I>,
    event: &Event,
    at: Timestamp,
) -> Result<(), IndexError> {
    match event {
        Event::MailSealed(mail) => sealed(draft, mail),
        Event::MailTried { id, result } => {
            change_mail(draft, *id, |stored| tried(stored, result, at))?;
            // Blamed by an answer at once: where the address is marked already, nothing else gives it back.
            let given_back = |reply: &String| {
                reply == ADDRESS_MARKED || reply == ADDRESS_CHANGED || smtp_code::blames_address(reply)
            };
            if matches!(result, MailResult::Failed { reply } if given_back(reply)) {
                announce_again(draft, *id, at)?;
            }
            Ok(())
        }
        Event::MailRetried { id } => change_mail(draft, *id, |stored| {
            stored.mail.state = MailState::Queued;
            stored.mail.due_at = at;
            // What came back was about the attempt before.
            stored.mail.report = None;
            stored.ended_at = None;
            stored.asked_again = true;
        }),
        Event::MailCardErased { id } => change_mail(draft, *id, |stored| stored.card_gone = true),
        Event::MailReported { id, report, status, proven, message } => {
            let told = MailReport { report: *report, status: status.clone(), proven: *proven, at };
            draft.put(&tables::reported(message), id)?;
            reported(draft, *id, told)
        }
        Event::AddressMarked { mailbox, mail, status, soft } => {
            let mark = AddressMark { at, mail: *mail, status: status.clone(), soft: *soft };
            change_mailbox(draft, mailbox, |mailbox| mailbox.mark = Some(mark))?;
            if *soft { announce_failed_again(draft, mailbox, at) } else { announce_again(draft, *mail, at) }
        }
        Event::AddressResumed { mailbox } => change_mailbox(draft, mailbox, |mailbox| {
            mailbox.mark = None;
            mailbox.failures.clear();
            mailbox.resumed_at = Some(at);
        }),
        _ => Ok(()),
    }
}

fn reported<I: Index>(draft: &mut Draft<'_, I>, id: MailId, told: MailReport) -> Result<(), IndexError> {
    let stored: Option<StoredMail> = draft.fetch(&tables::mail(id))?;
    let before = stored.as_ref().and_then(|stored| stored.mail.report.clone());
    let sent_at = stored.as_ref().and_then(|stored| stored.ended_at);
    let mailbox = stored.and_then(|stored| stored.mail.mailbox);
    let (report, proven, at) = (told.report, told.proven, told.at);
    if counts_more(&told, before.as_ref()) {
        change_mail(draft, id, |stored| stored.mail.report = Some(told))?;
    }
    let Some(tag) = mailbox.filter(|_| proven) else { return Ok(()) };
    change_mailbox(draft, &tag, |mailbox| {
        if mailbox.is_judged_by(sent_at) {
            counted(mailbox, report, at);
        }
    })?;
    // Whether this report marks the address or an earlier one did; a second report about it gives nothing back again.
    let known = before.is_some_and(|before| before.proven && before.report == Report::Unreachable);
    if report == Report::Unreachable && !known { announce_again(draft, id, at) } else { Ok(()) }
}

/// What is shown of a mail: what is proven, and of that what came furthest; nobody can talk a failure away.
fn counts_more(told: &MailReport, before: Option<&MailReport>) -> bool {
    let weight = |of: &MailReport| {
        let far = match of.report {
            Report::AutoReply => 0,
            Report::Delayed => 1,
            Report::Relayed => 2,
            Report::Delivered => 3,
            Report::Member => 4,
            Report::Failed => 5,
            Report::Complaint => 6,
            Report::Unreachable => 7,
        };
        (of.proven, far)
    };
    before.is_none_or(|before| weight(told) >= weight(before))
}

fn counted(mailbox: &mut Mailbox, report: Report, at: Timestamp) {
    match report {
        Report::Failed | Report::Unreachable => {
            mailbox.failures.push(at);
            let over = mailbox.failures.len().saturating_sub(Mailbox::FAILURES_MAX);
            mailbox.failures.drain(..over);
        }
        Report::Delivered => mailbox.failures.clear(),
        _ => {}
    }
}

/// Nobody read the mail: what it announced waits for another announcement, unless somebody has found it meanwhile.
fn announce_again<I: Index>(draft: &mut Draft<'_, I>, id: MailId, at: Timestamp) -> Result<(), IndexError> {
    let stored: Option<StoredMail> = draft.fetch(&tables::mail(id))?;
    for document in stored.iter().flat_map(StoredMail::arrivals) {
        let Some(there) = stored_document(draft, *document)? else { continue };
        if there.removal.is_none() && there.document.fetched.is_none() {
            change_document(draft, *document, |document| document.announce_at = Some(at))?;
        }
    }
    Ok(())
}

/// None of the failures that marked the address says that nobody reads mail there; together they do.
fn announce_failed_again<I: Index>(
    draft: &mut Draft<'_, I>,
    tag: &Digest,
    at: Timestamp,
) -> Result<(), IndexError> {
    let mailbox: Option<Mailbox> = draft.fetch(&tables::mailbox(tag))?;
    let failures = mailbox.map(|mailbox| mailbox.failures).unwrap_or_default();
    let Some(since) = failures.first().copied() else { return Ok(()) };
    let mut left = failures.len();
    for key in draft.keys(tables::mailbox_mails(tag))?.iter().rev() {
        if left == 0 {
            break;
        }
        let Some((epoch, serial)) = tables::numbered_in(key) else { continue };
        let id = MailId { epoch, serial };
        let stored: Option<StoredMail> = draft.fetch(&tables::mail(id))?;
        let report = stored.and_then(|stored| stored.mail.report);
        if report.is_some_and(|of| of.proven && of.report == Report::Failed && of.at >= since) {
            left -= 1;
            announce_again(draft, id, at)?;
        }
    }
    Ok(())
}

fn change_mailbox<I: Index>(
    draft: &mut Draft<'_, I>,
    tag: &Digest,
    how: impl FnOnce(&mut Mailbox),
) -> Result<(), IndexError> {
    let key = tables::mailbox(tag);
    let mut mailbox: Mailbox = draft.fetch(&key)?.unwrap_or_else(|| Mailbox::new(*tag));
    let before = tables::derived_of_mailbox(&mailbox);
    how(&mut mailbox);
    draft.derive(&before, tables::derived_of_mailbox(&mailbox));
    draft.put(&key, &mailbox)
}

fn sealed<I: Index>(draft: &mut Draft<'_, I>, mail: &Mail) -> Result<(), IndexError> {
    let stored = StoredMail { mail: mail.clone(), ended_at: None, card_gone: false, asked_again: false };
    for id in stored.arrivals() {
        change_document(draft, *id, |document| document.announce_at = None)?;
    }
    match mail.subject {
        Subject::Refusal(number) => change(draft, number, |stored| stored.tell_at = None)?,
        Subject::Login(seq) => draft.remove(&tables::login_news(seq))?,
        _ => {}
    }
    if let Subject::Application(id, notice) = mail.subject {
        super::applications::told(draft, id, notice)?;
    }
    if let Some((kind, about)) = mail.subject.once() {
        draft.put(&tables::told(kind, &about), &mail.id)?;
    }
    if let Some(tag) = &mail.mailbox
        && !stored.arrivals().is_empty()
    {
        // Not the event's time, which stands still for as long as the clock once was ahead.
        change_mailbox(draft, tag, |mailbox| mailbox.announced_at = Some(mail.sealed_at))?;
    }
    draft.derive(&[], stored.derived());
    draft.put_new(tables::mail(mail.id), &stored)
}

fn change_mail<I: Index>(
    draft: &mut Draft<'_, I>,
    id: MailId,
    how: impl FnOnce(&mut StoredMail),
) -> Result<(), IndexError> {
    let key = tables::mail(id);
    let mut stored: StoredMail = draft.fetch(&key)?.ok_or_else(|| missing(format_args!("mail {id}")))?;
    let before = stored.derived();
    how(&mut stored);
    draft.derive(&before, stored.derived());
    draft.put(&key, &stored)
}

fn tried(stored: &mut StoredMail, result: &MailResult, at: Timestamp) {
    let mail = &mut stored.mail;
    let (state, reply) = match result {
        MailResult::Sent { reply } => (MailState::Sent, Some(reply)),
        MailResult::Deferred { reply, until } => {
            mail.due_at = *until;
            (MailState::Queued, Some(reply))
        }
        MailResult::Failed { reply } => (MailState::Failed, Some(reply)),
        MailResult::Dropped => (MailState::Dropped, None),
    };
    if let Some(reply) = reply {
        mail.attempts = mail.attempts.saturating_add(1);
        mail.last_reply = Some(reply.clone());
    }
    mail.state = state;
    stored.asked_again = false;
    stored.ended_at = (state != MailState::Queued).then_some(at);
}
