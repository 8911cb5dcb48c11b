//! From events to tables: the only place that writes them, used alike when an event has just happened and when the index
//! is rebuilt. Needs nothing but the event and the tables: no card, no clock.

mod applications;
mod certificates;
mod days;
mod logins;
mod mails;

use super::index::{Index, IndexError};
use super::ledger::DocumentTrace;
use super::tables::{
    self, Draft, IdUse, Meta, Payload, SERIES, StoredDocument, StoredSubmission, series_index,
};
use crate::model::account_history::{AccountFact, AccountFactKind};
use crate::model::card::CardRef;
use crate::model::certificate::Certificate;
use crate::model::document::{Document, DocumentHold, RemovalReason, RemovedDocument};
use crate::model::event::{Event, Record};
use crate::model::ids::{AccountId, Digest, DocumentId, Number};
use crate::model::login::LoginNews;
use crate::model::party::{Account, Insurer, Office};
use crate::model::submission::{HoldReason, Outcome, State, Submission};
use crate::model::time::Timestamp;

/// Applies one event to the draft. `hash` is its link in the journal's chain.
#[allow(clippy::too_many_lines, reason = "a table: one short arm for each event")]
pub(super) fn project<I: Index>(
    draft: &mut Draft<'_, I>,
    record: &Record,
    hash: Digest,
) -> Result<(), IndexError> {
    let at = record.at;
    days::mark_hour(draft, record.seq, at)?;
    match &record.event {
        Event::EpochBegan { epoch, uuid } => {
            let unreconciled = draft.meta.epoch != 0;
            let meta = std::mem::replace(&mut draft.meta, Meta::empty());
            draft.meta =
                Meta { epoch: *epoch, uuid: uuid.clone(), unreconciled, serials: [0; SERIES], ..meta };
        }
        Event::EpochReconciled => reconciled(draft, at)?,
        Event::SerialsReserved { series, upto } => draft.meta.serials[series_index(*series)] = *upto,
        Event::InsurerSet(insurer) => set_insurer(draft, insurer)?,
        Event::OfficeSet(office) => set_office(draft, office)?,
        Event::AccountSet(account) => set_account(draft, account)?,
        Event::SubmissionReceived { submission, outcome } => {
            received(draft, submission, outcome, at)?;
            days::note_acceptance(draft, submission.number, record.seq, at)?;
        }
        Event::SubmissionJudged { number, outcome, verdicts, office, forms, decision, released } => {
            let unreconciled = draft.meta.unreconciled;
            change(draft, *number, |stored| {
                if *released {
                    stored.released.extend(stored.hold);
                }
                stored.submission.verdicts.clone_from(verdicts);
                if office.is_some() {
                    stored.submission.office.clone_from(office);
                }
                stored.submission.forms.clone_from(forms);
                if decision.is_some() {
                    stored.submission.decision.clone_from(decision);
                }
                decide(stored, outcome, at, unreconciled);
                // Its client was told "received" at the time.
                stored.tell_at = (stored.submission.state == State::Refused).then_some(at);
            })?;
            days::note_acceptance(draft, *number, record.seq, at)?;
        }
        Event::PublishIntended { number } => {
            change(draft, *number, |stored| enter(stored, State::Publishing, at))?;
        }
        Event::Published { number } => change(draft, *number, |stored| enter(stored, State::Published, at))?,
        Event::Collected { number } => change(draft, *number, |stored| {
            stored.submission.collected_at = Some(at);
            enter(stored, State::Collected, at);
        })?,
        Event::ImportEnded { number, ok } => change(draft, *number, |stored| {
            stored.submission.collected_at.get_or_insert(at);
            enter(stored, if *ok { State::Imported } else { State::ImportFailed }, at);
        })?,
        Event::Withdrawn { number, withdrawn_by } => change(draft, *number, |stored| {
            stored.submission.withdrawn_at = Some(at);
            stored.submission.withdrawn_by = *withdrawn_by;
            enter(stored, State::Withdrawn, at);
        })?,
        Event::EraseIntended { number } => change(draft, *number, |s| s.payload = Payload::Erasing)?,
        Event::Erased { number } => change(draft, *number, |stored| {
            stored.payload = Payload::Erased;
            stored.tell_at = None;
            stored.submission.files.clear();
        })?,
        Event::CardErased { number } => change(draft, *number, |s| s.payload = Payload::CardGone)?,
        Event::DocumentPlaced { document, row } => placed(draft, document, *row, at)?,
        Event::DeliveryTaken { insurer, set, .. } => {
            draft.put(&tables::delivery(insurer, set), &())?;
        }
        Event::DocumentFetched { id } => downloaded(draft, *id, |fetched, _| {
            *fetched = Some((fetched.map_or(at, |(first, _)| first), at));
        })?,
        Event::DocumentPartlyFetched { id, bytes } => {
            downloaded(draft, *id, |_, partly| *partly = Some((at, *bytes)))?;
        }
        Event::DocumentHeld { id, legal, card } => change_document(draft, *id, |stored| {
            stored.document.hold = Some(DocumentHold { legal: *legal, since: at, card: card.clone() });
        })?,
        Event::DocumentReleased { id, expires_at } => change_document(draft, *id, |stored| {
            stored.document.hold = None;
            if let Some(then) = expires_at {
                stored.document.expires_at = *then;
                stored.document.prolonged_at = Some(at);
            }
        })?,
        Event::RemovalIntended { id, reason } => removal_intended(draft, *id, *reason, at)?,
        Event::Removed { id } => removed(draft, *id, at)?,
        Event::MailSealed(_)
        | Event::MailTried { .. }
        | Event::MailRetried { .. }
        | Event::MailReported { .. }
        | Event::AddressMarked { .. }
        | Event::AddressResumed { .. }
        | Event::MailCardErased { .. } => mails::project(draft, &record.event, at)?,
        event @ (Event::CalendarBegan { .. } | Event::BatchClosed { .. } | Event::DayClosed(_)) => {
            days::project(draft, event, at)?;
        }
        Event::DropboxSwept { account, files, bytes } => {
            draft.put(&tables::sweeps(account).time(at).numbered(0, record.seq).done(), &(*files, *bytes))?;
        }
        Event::RenewalNoted { id, stage, mailed: _ } => {
            draft.put(&tables::renewal_told(*id), stage)?;
            let of: Option<Certificate> = draft.fetch(&tables::certificates::certificate(*id))?;
            let of = of.ok_or_else(|| missing(format_args!("certificate {id}")))?;
            let what = AccountFactKind::CertificateEnds { id: *id, ends_at: of.not_after, stage: *stage };
            account_fact(draft, &of.account, &AccountFact { at, what }, record.seq)?;
        }
        Event::ApplicationMade(application) => applications::made(draft, application, at, &record.by)?,
        Event::ApplicationMoved { id, step } => applications::moved(draft, *id, step, at, &record.by)?,
        Event::PasswordSet { credential, version, change } => {
            logins::password_set(draft, record, credential, *version, *change)?;
        }
        Event::PasswordRemoved { credential } => {
            logins::change_password(draft, credential, |stored| stored.state = None)?;
        }
        Event::PasswordExpired { credential, .. } => logins::change_password(draft, credential, |stored| {
            stored.state.iter_mut().for_each(|state| state.expired = true);
        })?,
        Event::LoginLocked { account, until } => {
            logins::change(draft, account, |logins| logins.locked_until = Some(*until))?;
            logins::tell(draft, record, account, LoginNews::Locked(*until))?;
        }
        Event::LoginUnlocked { account } => {
            logins::change(draft, account, |logins| logins.locked_until = None)?;
        }
        Event::LoggedIn { account, source, new_day } => {
            logins::change(draft, account, |of| logins::logged_in(of, *source, *new_day, at))?;
        }
        Event::ProfileChanged { account, fields } => {
            set_account(draft, account)?;
            let what = AccountFactKind::ProfileChanged(fields.clone());
            account_fact(draft, &account.id, &AccountFact { at, what }, record.seq)?;
        }
        Event::AuthoritySet(authority) => certificates::set_authority(draft, authority)?,
        Event::CertificateIssued(certificate) => certificates::issued(draft, certificate)?,
        Event::CertificateRevoked { id, reason } => certificates::revoked(draft, *id, *reason, at)?,
        Event::CertificateUsed { id } => certificates::used(draft, *id, at)?,
        Event::CertificateBundleForgotten { id } => certificates::bundle_forgotten(draft, *id)?,
        Event::Stopped => {}
    }
    (draft.meta.seq, draft.meta.at, draft.meta.hash) = (record.seq, at, hash);
    Ok(())
}

/// A line of the account's history.
fn account_fact<I: Index>(
    draft: &mut Draft<'_, I>,
    account: &AccountId,
    fact: &AccountFact,
    seq: u64,
) -> Result<(), IndexError> {
    draft.put_new(tables::account_facts(account).time(fact.at).numbered(0, seq).done(), &fact.what)
}

fn missing(what: impl std::fmt::Display) -> IndexError {
    IndexError(format!("an event is about {what}, which is not there"))
}

fn set_insurer<I: Index>(draft: &mut Draft<'_, I>, insurer: &Insurer) -> Result<(), IndexError> {
    let key = tables::insurer(&insurer.code);
    let refer = |card: &CardRef| vec![tables::blob(&card.blob).byte(b'i').text(insurer.code.as_str()).done()];
    let before: Option<Insurer> = draft.fetch(&key)?;
    draft.put(&key, insurer)?;
    draft.derive(&before.map(|b| refer(&b.card)).unwrap_or_default(), refer(&insurer.card));
    Ok(())
}

fn set_office<I: Index>(draft: &mut Draft<'_, I>, office: &Office) -> Result<(), IndexError> {
    let key = tables::office(&office.insurer, &office.code);
    let refer = |card: &CardRef| {
        let key = tables::blob(&card.blob).byte(b'o').text(office.insurer.as_str());
        vec![key.text(office.code.as_str()).done()]
    };
    let before: Option<Office> = draft.fetch(&key)?;
    draft.put(&key, office)?;
    draft.derive(&before.map(|b| refer(&b.card)).unwrap_or_default(), refer(&office.card));
    Ok(())
}

fn set_account<I: Index>(draft: &mut Draft<'_, I>, account: &Account) -> Result<(), IndexError> {
    let key = tables::account(&account.id);
    let derived = |of: &Account| {
        vec![
            tables::blob(&of.card.blob).byte(b'a').text(of.id.as_str()).done(),
            tables::insurer_accounts(&of.insurer).text(of.id.as_str()).done(),
        ]
    };
    let before: Option<Account> = draft.fetch(&key)?;
    draft.put(&key, account)?;
    draft.derive(&before.as_ref().map(derived).unwrap_or_default(), derived(account));
    for old in before.iter().flat_map(|before| &before.keys) {
        let key = tables::fingerprint(&old.fingerprint);
        let mut holders: Vec<crate::model::ids::AccountId> = draft.fetch(&key)?.unwrap_or_default();
        holders.retain(|holder| *holder != account.id);
        if holders.is_empty() { draft.remove(&key)? } else { draft.put(&key, &holders)? }
    }
    for new in &account.keys {
        let key = tables::fingerprint(&new.fingerprint);
        let mut holders: Vec<crate::model::ids::AccountId> = draft.fetch(&key)?.unwrap_or_default();
        if !holders.contains(&account.id) {
            holders.push(account.id.clone());
            holders.sort_unstable();
        }
        draft.put(&key, &holders)?;
    }
    Ok(())
}

/// Moves to a state, and into or out of the queues.
fn enter(stored: &mut StoredSubmission, state: State, at: Timestamp) {
    stored.due_at = match state {
        // Nothing of a test account's reaches a spool (H3).
        State::Accepted => (!stored.submission.test).then_some(at),
        State::Publishing => stored.due_at.or(Some(at)),
        // Somebody must look at the same content and at a sender that does not stand any more; a hold for the epoch ends when that is reconciled.
        State::Held => matches!(stored.hold, Some(HoldReason::Scanner | HoldReason::Calendar)).then_some(at),
        _ => None,
    };
    if state != State::Held {
        stored.hold = None;
    }
    stored.submission.state = state;
    stored.changed_at = at;
}

fn decide(stored: &mut StoredSubmission, outcome: &Outcome, at: Timestamp, unreconciled: bool) {
    let (state, hold) = match outcome {
        Outcome::Accepted if stored.submission.withdraws.is_some() => (State::CarriedOut, None),
        Outcome::Accepted => (State::Accepted, None),
        Outcome::Refused(_) => (State::Refused, None),
        Outcome::Held(reason) => (State::Held, Some(*reason)),
    };
    stored.hold = hold;
    stored.submission.decided_at = hold.is_none().then_some(at);
    enter(stored, state, at);
    if stored.hold == Some(HoldReason::Epoch) && !unreconciled {
        // Reconciled while it was being judged.
        stored.due_at = Some(at);
    }
}

fn received<I: Index>(
    draft: &mut Draft<'_, I>,
    submission: &Submission,
    outcome: &Outcome,
    at: Timestamp,
) -> Result<(), IndexError> {
    let mut stored = StoredSubmission {
        submission: submission.clone(),
        changed_at: at,
        hold: None,
        released: Vec::new(),
        due_at: None,
        tell_at: None,
        payload: Payload::Here,
    };
    decide(&mut stored, outcome, at, draft.meta.unreconciled);
    let of = &stored.submission;
    draft.put(&tables::manifest(&of.account, &of.manifest), &of.number)?;
    // A withdrawal bears the id of what it withdraws, if any: it is no use of it.
    if let Some(tag) = of.id_tag.as_ref().filter(|_| of.withdraws.is_none()) {
        let key = tables::id_tag(&of.account, tag);
        let before: Option<IdUse> = draft.fetch(&key)?;
        let holder =
            if of.state.counts() { Some(of.number) } else { before.and_then(|before| before.holder) };
        draft.put(&key, &IdUse { latest: of.number, holder })?;
    }
    if of.state.counts() {
        count_content(draft, of, true)?;
    }
    draft.derive(&[], stored.derived());
    draft.put_new(tables::submission(stored.submission.number), &stored)
}

fn count_content<I: Index>(
    draft: &mut Draft<'_, I>,
    of: &Submission,
    counts: bool,
) -> Result<(), IndexError> {
    let key = tables::content_tag(&of.account, &of.content_tag);
    let mut same: Vec<Number> = draft.fetch(&key)?.unwrap_or_default();
    same.retain(|number| *number != of.number);
    if counts {
        same.push(of.number);
    }
    if same.is_empty() { draft.remove(&key) } else { draft.put(&key, &same) }
}

fn change<I: Index>(
    draft: &mut Draft<'_, I>,
    number: Number,
    how: impl FnOnce(&mut StoredSubmission),
) -> Result<(), IndexError> {
    let key = tables::submission(number);
    let mut stored: StoredSubmission =
        draft.fetch(&key)?.ok_or_else(|| missing(format_args!("submission {number}")))?;
    let before = stored.derived();
    let counted = stored.submission.state.counts();
    how(&mut stored);
    let of = &stored.submission;
    if counted && !of.state.counts() {
        count_content(draft, of, false)?;
        if let Some(tag) = &of.id_tag {
            let key = tables::id_tag(&of.account, tag);
            if let Some(uses) = draft.fetch::<IdUse>(&key)?.filter(|uses| uses.holder == Some(number)) {
                draft.put(&key, &IdUse { holder: None, ..uses })?;
            }
        }
    }
    draft.derive(&before, stored.derived());
    draft.put(&key, &stored)
}

/// Holds for the epoch end: those submissions are judged again.
fn reconciled<I: Index>(draft: &mut Draft<'_, I>, at: Timestamp) -> Result<(), IndexError> {
    draft.meta.unreconciled = false;
    days::calendars_begin_anew(draft, at)?;
    for key in draft.keys(tables::epoch_holds())? {
        let (epoch, serial) = tables::numbered_in(&key).ok_or_else(|| missing("a hold"))?;
        change(draft, Number { epoch, serial }, |stored| stored.due_at = Some(at))?;
    }
    Ok(())
}

fn placed<I: Index>(
    draft: &mut Draft<'_, I>,
    document: &Document,
    row: Digest,
    at: Timestamp,
) -> Result<(), IndexError> {
    let stored = StoredDocument { document: document.clone(), announce_at: Some(at), removal: None };
    // Over a row whose document is gone.
    draft.put(&tables::row(&row), &document.id)?;
    days::trace(draft, document)?;
    draft.derive(&[], stored.derived());
    draft.put_new(stored.key(), &stored)
}

/// A document's record, by its number.
pub(super) fn stored_document<I: Index>(
    draft: &mut Draft<'_, I>,
    id: DocumentId,
) -> Result<Option<StoredDocument>, IndexError> {
    let Some(trace) = draft.fetch::<DocumentTrace>(&tables::document_place(id))? else { return Ok(None) };
    draft.fetch(&tables::outbox_office(&trace.account, &trace.office).document(id).done())
}

fn change_document<I: Index>(
    draft: &mut Draft<'_, I>,
    id: DocumentId,
    how: impl FnOnce(&mut StoredDocument),
) -> Result<(), IndexError> {
    let mut stored = stored_document(draft, id)?.ok_or_else(|| missing(format_args!("document {id}")))?;
    let before = stored.derived();
    how(&mut stored);
    draft.derive(&before, stored.derived());
    draft.put(&stored.key(), &stored)
}

/// Of a document that went while it was being downloaded, what is kept of it says so.
fn downloaded<I: Index>(
    draft: &mut Draft<'_, I>,
    id: DocumentId,
    how: impl FnOnce(&mut Option<(Timestamp, Timestamp)>, &mut Option<(Timestamp, u64)>),
) -> Result<(), IndexError> {
    if stored_document(draft, id)?.is_some() {
        return change_document(draft, id, |stored| {
            how(&mut stored.document.fetched, &mut stored.document.partly_fetched);
        });
    }
    let key = tables::removed_document(id);
    let gone: Option<RemovedDocument> = draft.fetch(&key)?;
    let mut gone = gone.ok_or_else(|| missing(format_args!("document {id}")))?;
    how(&mut gone.fetched, &mut gone.partly_fetched);
    draft.put(&key, &gone)
}

fn removed<I: Index>(draft: &mut Draft<'_, I>, id: DocumentId, at: Timestamp) -> Result<(), IndexError> {
    let stored = stored_document(draft, id)?.ok_or_else(|| missing(format_args!("document {id}")))?;
    draft.derive(&stored.derived(), Vec::new());
    draft.remove(&stored.key())?;
    let reason = stored.removal.map_or(RemovalReason::Expired, |(reason, _)| reason);
    let of = RemovedDocument::of(stored.document, reason, at);
    draft.derive(&[], vec![tables::insurer_removed(&of.insurer).time(at).document(id).done()]);
    draft.put_new(tables::removed_document(id), &of)
}

fn removal_intended<I: Index>(
    draft: &mut Draft<'_, I>,
    id: DocumentId,
    reason: RemovalReason,
    at: Timestamp,
) -> Result<(), IndexError> {
    change_document(draft, id, |stored| {
        stored.removal = Some((reason, at));
        stored.announce_at = None;
    })?;
    days::forget_recalled(draft, id, reason)
}
