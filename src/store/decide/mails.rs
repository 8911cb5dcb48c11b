//! Mails, and the addresses they go to.

use std::collections::{BTreeSet, HashSet};

use super::{Decided, No, missing, nothing, ok};
use crate::model::application::ApplicationNotice;
use crate::model::event::{Event, MailResult};
use crate::model::ids::{ApplicationId, Digest, DocumentId, MailId, Number};
use crate::model::mail::{ADDRESS_CHANGED, ADDRESS_MARKED, Mail, MailState, Mailbox, Report, Subject};
use crate::model::time::Timestamp;
use crate::store::index::Index;
use crate::store::ledger::{Done, Refusal};
use crate::store::project::stored_document;
use crate::store::tables::{self, Draft, StoredMail, StoredSubmission};

fn mail<I: Index>(draft: &mut Draft<'_, I>, id: MailId) -> Result<StoredMail, No> {
    draft.fetch(&tables::mail(id))?.ok_or_else(|| missing(format_args!("mail {id}")))
}

fn mailbox<I: Index>(draft: &mut Draft<'_, I>, tag: &Digest) -> Result<Mailbox, No> {
    Ok(draft.fetch(&tables::mailbox(tag))?.unwrap_or_else(|| Mailbox::new(*tag)))
}

pub(super) fn seal<I: Index>(draft: &mut Draft<'_, I>, mail: Box<Mail>) -> Decided {
    let sealed = seal_all(draft, vec![*mail])?;
    let done = Done::Sealed(!sealed.0.is_empty());
    Ok((sealed.0, done))
}

pub(super) fn seal_all<I: Index>(draft: &mut Draft<'_, I>, mails: Vec<Mail>) -> Decided {
    let (mut seen, mut events, mut ids) = (Seen::default(), Vec::new(), Vec::new());
    for mut mail in mails {
        if draft.has(&tables::mail(mail.id))? || ids.contains(&mail.id) {
            return Err(Refusal::Exists(format!("mail {}", mail.id)).into());
        }
        if is_new(draft, &mail, &mut seen)? {
            (mail.state, mail.attempts, mail.last_reply, mail.report) = (MailState::Queued, 0, None, None);
            ids.push(mail.id);
            events.push(Event::MailSealed(Box::new(mail)));
        }
    }
    Ok((events, Done::Mails(ids)))
}

/// What mails of the same operation tell of.
#[derive(Default)]
struct Seen {
    documents: HashSet<DocumentId>,
    refusals: HashSet<Number>,
    applications: HashSet<(ApplicationId, ApplicationNotice)>,
    told: HashSet<(String, String)>,
    logins: HashSet<u64>,
}

/// Whether nobody has told of it yet.
fn is_new<I: Index>(draft: &mut Draft<'_, I>, mail: &Mail, seen: &mut Seen) -> Result<bool, No> {
    match &mail.subject {
        Subject::Arrival(ids) => {
            for id in ids {
                let waits = stored_document(draft, *id)?.is_some_and(|stored| stored.announce_at.is_some());
                if !waits || !seen.documents.insert(*id) {
                    return Ok(false);
                }
            }
        }
        Subject::Refusal(number) => {
            let stored: Option<StoredSubmission> = draft.fetch(&tables::submission(*number))?;
            if stored.is_none_or(|stored| stored.tell_at.is_none()) || !seen.refusals.insert(*number) {
                return Ok(false);
            }
        }
        Subject::Login(seq) if !draft.has(&tables::login_news(*seq))? || !seen.logins.insert(*seq) => {
            return Ok(false);
        }
        Subject::Application(id, notice) => {
            if !super::applications::waits_to_be_told(draft, *id, *notice)?
                || !seen.applications.insert((*id, *notice))
            {
                return Ok(false);
            }
        }
        Subject::Notice { .. } | Subject::Swept | Subject::Recall(_) | Subject::Login(_) => {}
    }
    if let Some((kind, about)) = mail.subject.once()
        && (draft.has(&tables::told(kind, &about))? || !seen.told.insert((kind.to_owned(), about)))
    {
        return Ok(false);
    }
    Ok(true)
}

/// The next host took it, and it failed behind that. What an arrival announced where nobody reads mail waits for an
/// announcement again by itself.
fn came_back(stored: &StoredMail) -> bool {
    let told_again = matches!(stored.mail.subject, Subject::Arrival(_));
    let failed = |of: Report| of == Report::Failed || of == Report::Unreachable && !told_again;
    stored.mail.state == MailState::Sent
        && stored.mail.report.as_ref().is_some_and(|of| of.proven && failed(of.report))
}

pub(super) fn try_one<I: Index>(draft: &mut Draft<'_, I>, id: MailId, result: MailResult) -> Decided {
    let stored = mail(draft, id)?;
    let forgotten =
        (stored.mail.state == MailState::Failed || came_back(&stored)) && result == MailResult::Dropped;
    if stored.mail.state != MailState::Queued && !forgotten {
        return Err(Refusal::NotNow(format!("mail {id} is {:?} already", stored.mail.state)).into());
    }
    ok(Event::MailTried { id, result })
}

pub(super) fn try_many<I: Index>(draft: &mut Draft<'_, I>, results: Vec<(MailId, MailResult)>) -> Decided {
    let (mut seen, mut events) = (HashSet::new(), Vec::new());
    for (id, result) in results {
        let stored: Option<StoredMail> = draft.fetch(&tables::mail(id))?;
        if stored.is_some_and(|stored| stored.mail.state == MailState::Queued) && seen.insert(id) {
            events.push(Event::MailTried { id, result });
        }
    }
    Ok((events, Done::Ok))
}

/// `event` is the [`Event::MailReported`]; so many failures since then mark the address.
pub(super) fn report<I: Index>(
    draft: &mut Draft<'_, I>,
    id: MailId,
    event: Event,
    failures: (usize, Timestamp),
) -> Decided {
    let stored = mail(draft, id)?;
    let Event::MailReported { report, status, proven, message, .. } = &event else { return nothing() };
    if draft.has(&tables::reported(message))? {
        return nothing();
    }
    let (report, status, proven) = (*report, status.clone(), *proven);
    let mut events = vec![event];
    if let (true, Some(tag)) = (proven, stored.mail.mailbox) {
        let of = mailbox(draft, &tag)?;
        let (max, since) = failures;
        let earlier = of.failures.iter().filter(|at| **at >= since).count();
        let soft = report == Report::Failed && earlier + 1 >= max.max(1);
        // One that was resumed after this mail went out is judged by later mails.
        let counts = of.mark.is_none() && of.is_judged_by(stored.ended_at);
        if counts && (report == Report::Unreachable || soft) {
            events.push(Event::AddressMarked { mailbox: tag, mail: id, status, soft });
        }
    }
    Ok((events, Done::Ok))
}

pub(super) fn mark<I: Index>(draft: &mut Draft<'_, I>, id: MailId, status: Option<String>) -> Decided {
    let Some(tag) = mail(draft, id)?.mail.mailbox else { return nothing() };
    if mailbox(draft, &tag)?.mark.is_some() {
        return nothing();
    }
    ok(Event::AddressMarked { mailbox: tag, mail: id, status, soft: false })
}

/// What was not sent because of the mark is queued, but for arrivals: their documents wait for an announcement again.
pub(super) fn resume<I: Index>(draft: &mut Draft<'_, I>, tag: Digest) -> Decided {
    if mailbox(draft, &tag)?.mark.is_none() {
        return Err(Refusal::NotNow("no mail is held back from this address".to_owned()).into());
    }
    let mut events = vec![Event::AddressResumed { mailbox: tag }];
    for key in draft.keys(tables::mailbox_mails(&tag))? {
        let Some((epoch, serial)) = tables::numbered_in(&key) else { continue };
        let id = MailId { epoch, serial };
        let stored = mail(draft, id)?;
        let held = stored.mail.state == MailState::Failed
            && stored.mail.last_reply.as_deref() == Some(ADDRESS_MARKED);
        if held && !stored.card_gone && !matches!(stored.mail.subject, Subject::Arrival(_)) {
            events.push(Event::MailRetried { id });
        }
    }
    Ok((events, Done::Ok))
}

/// The old mail's end and the new one in one commit: neither both are sent nor none.
pub(super) fn readdress<I: Index>(draft: &mut Draft<'_, I>, id: MailId, again: Option<Box<Mail>>) -> Decided {
    let stored = mail(draft, id)?;
    let waits = matches!(stored.mail.state, MailState::Queued | MailState::Failed);
    if !waits || stored.card_gone || stored.mail.last_reply.as_deref() == Some(ADDRESS_CHANGED) {
        return Ok((Vec::new(), Done::Sealed(false)));
    }
    let result = MailResult::Failed { reply: ADDRESS_CHANGED.to_owned() };
    let mut events = vec![Event::MailTried { id, result }];
    if let Some(again) = again {
        if draft.has(&tables::mail(again.id))? {
            return Err(Refusal::Exists(format!("mail {}", again.id)).into());
        }
        events.push(Event::MailSealed(again));
    }
    Ok((events, Done::Sealed(true)))
}

pub(super) fn retry<I: Index>(draft: &mut Draft<'_, I>, id: MailId) -> Decided {
    let stored = mail(draft, id)?;
    let waits = matches!(stored.mail.state, MailState::Queued | MailState::Failed);
    if !(waits || came_back(&stored)) || stored.card_gone {
        let state = stored.mail.state;
        let why = format!(
            "mail {id} is {state:?}: only one that failed, was deferred, or came back as failed can be tried again"
        );
        return Err(Refusal::NotNow(why).into());
    }
    if stored.mail.last_reply.as_deref() == Some(ADDRESS_CHANGED) {
        let why = format!("what mail {id} says was told again at the account's new address");
        return Err(Refusal::NotNow(why).into());
    }
    if let Some(tag) = stored.mail.mailbox
        && mailbox(draft, &tag)?.mark.is_some()
    {
        let why = format!(
            "nobody reads mail at the address of mail {id}; `todoke mail address resume {tag}` sends to it again"
        );
        return Err(Refusal::NotNow(why).into());
    }
    ok(Event::MailRetried { id })
}

pub(super) fn card_erased<I: Index>(draft: &mut Draft<'_, I>, ids: Vec<MailId>) -> Decided {
    let mut events = Vec::new();
    for id in ids.into_iter().collect::<BTreeSet<_>>() {
        let stored: Option<StoredMail> = draft.fetch(&tables::mail(id))?;
        if stored.is_some_and(|stored| stored.ended_at.is_some() && !stored.card_gone) {
            events.push(Event::MailCardErased { id });
        }
    }
    Ok((events, Done::Ok))
}
