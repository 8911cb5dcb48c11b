//! From operations to events: what the ledger allows, decided from the tables alone. Writes nothing.

mod applications;
mod certificates;
mod days;
mod logins;
mod mails;
mod profile;

use std::collections::HashSet;

use super::index::{Index, IndexError};
use super::ledger::{Done, Op, Received, Refusal};
use super::project::stored_document;
use super::tables::{self, Draft, IdUse, Payload, StoredDocument, StoredSubmission, may_erase};
use crate::model::document::{Document, RemovedDocument};
use crate::model::event::Event;
use crate::model::ids::{AccountId, Digest, DocumentId, Number};
use crate::model::party::{Account, Insurer, Office, Standing};
use crate::model::submission::{HoldReason, Outcome, State, Submission};
use crate::model::time::Timestamp;

/// Why there are no events.
#[derive(Debug)]
pub(super) enum No {
    /// The state does not allow it.
    Refused(Refusal),
    /// The state cannot be read.
    Index(IndexError),
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
impl From<IndexError> for No {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

type Decided = Result<(Vec<Event>, Done), No>;

/// What an operation comes to at this time. The draft is only read.
#[allow(clippy::too_many_lines, reason = "a table: one short arm for each operation")]
pub(super) fn decide<I: Index>(draft: &mut Draft<'_, I>, op: Op, at: Timestamp) -> Decided {
    match op {
        Op::SetInsurer { insurer, new } => set_insurer(draft, insurer, new),
        Op::SetOffice { office, new } => set_office(draft, office, new),
        Op::SetAccount { account, new } => set_account(draft, account, new),
        Op::Receive { submission, outcome, hold_same_content, id_since } => {
            receive(draft, submission, outcome, hold_same_content, id_since, at)
        }
        Op::Judge { number, outcome, verdicts, office, forms, decision, released } => {
            let stored = submission(draft, number)?;
            from_states(&stored, &[State::Held])?;
            if outcome == Outcome::Accepted {
                reconciled(draft)?;
            }
            ok(Event::SubmissionJudged { number, outcome, verdicts, office, forms, decision, released })
        }
        Op::PublishIntend(numbers) => {
            reconciled(draft)?;
            each(
                draft,
                numbers,
                |s| s.submission.state == State::Accepted && !s.submission.test,
                |number| Event::PublishIntended { number },
            )
        }
        Op::Published(numbers) => each(
            draft,
            numbers,
            |s| s.submission.state == State::Publishing,
            |number| Event::Published { number },
        ),
        Op::Collect(number) => {
            let stored = submission(draft, number)?;
            from_states(&stored, &[State::Publishing, State::Published])?;
            ok(Event::Collected { number })
        }
        Op::EndImport { number, ok: done } => {
            use State::{Collected, ImportFailed, Imported, Published};
            let stored = submission(draft, number)?;
            from_states(&stored, &[Collected, Imported, ImportFailed, Published])?;
            let ended = if done { Imported } else { ImportFailed };
            if stored.submission.state == ended {
                nothing()
            } else {
                ok(Event::ImportEnded { number, ok: done })
            }
        }
        Op::Withdraw { number, account } => ok(withdraw(draft, number, account.as_ref(), None)?),
        Op::EraseIntend(numbers) => erase_intend(draft, numbers),
        Op::Erased(numbers) => {
            each(draft, numbers, |s| s.payload == Payload::Erasing, |number| Event::Erased { number })
        }
        Op::CardErased(numbers) => {
            each(draft, numbers, |s| s.payload == Payload::Erased, |number| Event::CardErased { number })
        }
        Op::Place(documents) => place(draft, documents),
        Op::DeliveryTaken { insurer, set, placed, refused } => {
            if draft.has(&tables::delivery(&insurer, &set))? {
                return nothing();
            }
            ok(Event::DeliveryTaken { insurer, set, placed, refused })
        }
        Op::Fetched(id) => {
            downloads(draft, id)?;
            ok(Event::DocumentFetched { id })
        }
        Op::PartlyFetched { id, bytes } => {
            let (fetched, last) = downloads(draft, id)?;
            let day = |at: Timestamp| at.utc().date_naive();
            // Once a day, and whenever one got further: the next may go on from there.
            let today = last.is_some_and(|(last, had)| day(last) == day(at) && bytes <= had);
            if today || fetched.is_some() {
                nothing()
            } else {
                ok(Event::DocumentPartlyFetched { id, bytes })
            }
        }
        Op::HoldDocument { id, legal, card } => {
            let stored = stored_document(draft, id)?.filter(|stored| stored.removal.is_none());
            match stored {
                None => Err(missing(format_args!("document {id}"))),
                Some(stored) if stored.document.hold.is_some() => {
                    Err(Refusal::NotNow(format!("document {id} is held already; release it first")).into())
                }
                Some(_) => ok(Event::DocumentHeld { id, legal, card }),
            }
        }
        Op::ReleaseDocument { id, until } => match stored_document(draft, id)? {
            None => Err(missing(format_args!("document {id}"))),
            Some(stored) if stored.document.hold.is_none() => {
                Err(Refusal::NotNow(format!("document {id} is not held")).into())
            }
            Some(stored) => {
                let of = stored.document;
                let expires_at = until.filter(|until| of.fetched.is_none() && of.expires_at < *until);
                ok(Event::DocumentReleased { id, expires_at })
            }
        },
        Op::RemovalIntend { ids, reason } => removal_intend(draft, ids, reason),
        Op::Removed(ids) => removed(draft, ids),
        Op::SealMail(mail) => mails::seal(draft, mail),
        Op::SealMails(mails) => mails::seal_all(draft, mails),
        Op::TryMail { id, result } => mails::try_one(draft, id, result),
        Op::TryMails(results) => mails::try_many(draft, results),
        Op::ReportMail { id, report, status, proven, message, failures } => {
            mails::report(draft, id, Event::MailReported { id, report, status, proven, message }, failures)
        }
        Op::MarkAddress { mail, status } => mails::mark(draft, mail, status),
        Op::ResumeAddress(tag) => mails::resume(draft, tag),
        Op::ReaddressMail { id, again } => mails::readdress(draft, id, again),
        Op::RetryMail(id) => mails::retry(draft, id),
        Op::MailCardErased(ids) => mails::card_erased(draft, ids),
        Op::BeginCalendar { insurer, cut_offs } => days::begin_calendar(draft, insurer, cut_offs),
        Op::CloseBatch { insurer, batch } => days::close_batch(draft, insurer, batch, at),
        Op::CloseDay(day) => days::close_day(draft, day, at),
        Op::DropboxSwept { account, files, bytes } => ok(Event::DropboxSwept { account, files, bytes }),
        Op::NoteRenewal { id, stage, mail } => profile::note_renewal(draft, id, stage, mail),
        Op::Apply(group) => applications::apply(draft, group),
        Op::MoveApplications(steps) => applications::go_on(draft, steps, at),
        Op::AdmitApplication { id, account } => applications::admit(draft, id, *account, at),
        Op::SetPassword { credential, version, change } => {
            logins::set_password(draft, credential, version, change)
        }
        Op::RemovePassword(credential) => logins::remove_password(draft, credential),
        Op::PasswordExpired { credential, version } => logins::expired(draft, credential, version),
        Op::LockLogin { account, until } => logins::lock(draft, account, until, at),
        Op::UnlockLogin(account) => logins::unlock(draft, account),
        Op::LoggedIn { account, source, day_from } => logins::logged_in(draft, account, source, day_from),
        Op::ChangeProfile { account, fields, mails } => profile::change(draft, account, fields, mails),
        Op::SetAuthority { authority, new } => certificates::set_authority(draft, authority, new),
        Op::IssueCertificate(certificate) => certificates::issue(draft, certificate),
        Op::RevokeCertificate { id, reason } => certificates::revoke(draft, id, reason),
        Op::UseCertificate(id) => certificates::used(draft, id),
        Op::ForgetBundle(id) => certificates::forget_bundle(draft, id),
        Op::EpochReconciled => {
            if !draft.meta.unreconciled {
                let why = "this data root waits for no reconciliation";
                return Err(Refusal::NotNow(why.to_owned()).into());
            }
            ok(Event::EpochReconciled)
        }
        Op::Stop => ok(Event::Stopped),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "one of the ends of a decision")]
fn ok(event: Event) -> Decided {
    Ok((vec![event], Done::Ok))
}

/// Done before: said again, recorded once.
#[allow(clippy::unnecessary_wraps, reason = "one of the ends of a decision")]
fn nothing() -> Decided {
    Ok((Vec::new(), Done::Ok))
}

fn missing(what: impl std::fmt::Display) -> No {
    Refusal::Missing(what.to_string()).into()
}

/// `new` must not be there, a change must.
fn expect_new(what: impl std::fmt::Display, there: bool, new: bool) -> Result<(), Refusal> {
    match (there, new) {
        (true, true) => Err(Refusal::Exists(what.to_string())),
        (false, false) => Err(Refusal::Missing(what.to_string())),
        _ => Ok(()),
    }
}

fn set_insurer<I: Index>(draft: &mut Draft<'_, I>, insurer: Insurer, new: bool) -> Decided {
    let there = draft.has(&tables::insurer(&insurer.code))?;
    expect_new(format_args!("insurer {}", insurer.code), there, new)?;
    ok(Event::InsurerSet(insurer))
}

fn set_office<I: Index>(draft: &mut Draft<'_, I>, office: Office, new: bool) -> Decided {
    if !draft.has(&tables::insurer(&office.insurer))? {
        return Err(missing(format_args!("insurer {}", office.insurer)));
    }
    let there = draft.has(&tables::office(&office.insurer, &office.code))?;
    expect_new(format_args!("office {} of insurer {}", office.code, office.insurer), there, new)?;
    ok(Event::OfficeSet(office))
}

fn set_account<I: Index>(draft: &mut Draft<'_, I>, account: Account, new: bool) -> Decided {
    if !draft.has(&tables::insurer(&account.insurer))? {
        return Err(missing(format_args!("insurer {}", account.insurer)));
    }
    for code in &account.offices {
        if !draft.has(&tables::office(&account.insurer, code))? {
            return Err(missing(format_args!("office {code} of insurer {}", account.insurer)));
        }
    }
    let there: Option<Account> = draft.fetch(&tables::account(&account.id))?;
    expect_new(format_args!("account {}", account.id), there.is_some(), new)?;
    let registered = there.map(|there| there.keys).unwrap_or_default();
    for key in &account.keys {
        // One that was registered before does not stand in the way of other changes; it counts for nothing.
        if !registered.contains(key) {
            certificates::not_compromised(draft, &key.fingerprint)?;
        }
        let holders: Vec<AccountId> =
            draft.fetch(&tables::fingerprint(&key.fingerprint))?.unwrap_or_default();
        for holder in holders.into_iter().filter(|holder| *holder != account.id) {
            twins(draft, &account, holder, &key.fingerprint)?;
        }
        certificates::certified_for(draft, &account, &key.fingerprint)?;
    }
    let mut events = match account.standing {
        Standing::Closed => logins::all_over(draft, &account.id)?,
        Standing::Active | Standing::Suspended => Vec::new(),
    };
    events.push(Event::AccountSet(account));
    Ok((events, Done::Ok))
}

/// A key of `holder`'s may be `account`'s as well only when one of them is the other's test account.
fn twins<I: Index>(
    draft: &mut Draft<'_, I>,
    account: &Account,
    holder: AccountId,
    fingerprint: &str,
) -> Result<(), No> {
    let other: Option<Account> = draft.fetch(&tables::account(&holder))?;
    if other.is_some_and(|o| o.insurer == account.insurer && o.test != account.test) {
        return Ok(());
    }
    Err(Refusal::KeyTaken { fingerprint: fingerprint.to_owned(), account: holder }.into())
}

fn submission<I: Index>(draft: &mut Draft<'_, I>, number: Number) -> Result<StoredSubmission, No> {
    draft.fetch(&tables::submission(number))?.ok_or_else(|| missing(format_args!("submission {number}")))
}

fn from_states(stored: &StoredSubmission, allowed: &[State]) -> Result<(), Refusal> {
    let Submission { number, state, .. } = stored.submission;
    if allowed.contains(&state) { Ok(()) } else { Err(Refusal::State { number, state }) }
}

/// Nothing leaves a restored root before the operator has seen what had left it already.
fn reconciled<I: Index>(draft: &Draft<'_, I>) -> Result<(), Refusal> {
    if draft.meta.unreconciled {
        let why = "this data root was restored from a backup and is not reconciled yet; nothing is accepted or published \
                   until it is";
        return Err(Refusal::NotNow(why.to_owned()));
    }
    Ok(())
}

fn receive<I: Index>(
    draft: &mut Draft<'_, I>,
    mut submission: Box<Submission>,
    mut outcome: Outcome,
    hold_same_content: bool,
    id_since: Timestamp,
    at: Timestamp,
) -> Decided {
    let of = &*submission;
    if draft.has(&tables::submission(of.number))? {
        return Err(Refusal::Exists(format!("submission {}", of.number)).into());
    }
    if let Some(number) = draft.fetch::<Number>(&tables::manifest(&of.account, &of.manifest))? {
        let latest: Option<StoredSubmission> = draft.fetch(&tables::submission(number))?;
        if latest.is_some_and(|latest| latest.submission.state.counts()) {
            return Ok((Vec::new(), Done::Received(Received::Same(number))));
        }
    }
    if let (Some(target), Outcome::Accepted) = (of.withdraws, &outcome) {
        let withdrawn = withdraw(draft, target, Some(&of.account), Some(of.number))?;
        (submission.state, submission.decided_at) = (State::CarriedOut, Some(at));
        let received = Event::SubmissionReceived { submission, outcome: Outcome::Accepted };
        return Ok((vec![received, withdrawn], Done::Received(Received::New(Outcome::Accepted))));
    }
    // A refusal reserves nothing, so it may bear a taken id: that is what it is refused for. A withdrawal reserves none
    // either: it may bear the id of what it withdraws.
    if of.withdraws.is_none()
        && !matches!(outcome, Outcome::Refused(_))
        && let Some(number) = id_holder(draft, of, id_since)?
    {
        return Ok((Vec::new(), Done::Received(Received::IdTaken(number))));
    }
    // Also of one that waits for something else: when that ends, nobody would ask again.
    if hold_same_content && !matches!(outcome, Outcome::Refused(_)) {
        let same: Option<Vec<Number>> = draft.fetch(&tables::content_tag(&of.account, &of.content_tag))?;
        if let Some(earlier) = same.and_then(|same| same.last().copied()) {
            return Ok((Vec::new(), Done::Received(Received::SameContent(earlier))));
        }
    }
    if outcome == Outcome::Accepted && draft.meta.unreconciled {
        outcome = Outcome::Held(HoldReason::Epoch);
    }
    (submission.state, submission.decided_at) = match outcome {
        Outcome::Accepted => (State::Accepted, Some(at)),
        Outcome::Refused(_) => (State::Refused, Some(at)),
        Outcome::Held(_) => (State::Held, None),
    };
    let event = Event::SubmissionReceived { submission, outcome: outcome.clone() };
    Ok((vec![event], Done::Received(Received::New(outcome))))
}

/// Who holds the sender's id in this filing year.
fn id_holder<I: Index>(
    draft: &mut Draft<'_, I>,
    of: &Submission,
    since: Timestamp,
) -> Result<Option<Number>, IndexError> {
    let Some(tag) = &of.id_tag else { return Ok(None) };
    let uses: Option<IdUse> = draft.fetch(&tables::id_tag(&of.account, tag))?;
    let Some(holder) = uses.and_then(|uses| uses.holder) else { return Ok(None) };
    let stored: Option<StoredSubmission> = draft.fetch(&tables::submission(holder))?;
    Ok(stored.filter(|stored| stored.submission.received_at >= since).map(|_| holder))
}

fn withdraw<I: Index>(
    draft: &mut Draft<'_, I>,
    number: Number,
    account: Option<&AccountId>,
    withdrawn_by: Option<Number>,
) -> Result<Event, No> {
    let stored = submission(draft, number)?;
    if account.is_some_and(|account| *account != stored.submission.account) {
        return Err(Refusal::NotYours(format!("submission {number}")).into());
    }
    if stored.submission.state == State::Publishing {
        let why = format!("submission {number} is being put into the insurer's spool; try again in a moment");
        return Err(Refusal::NotNow(why).into());
    }
    from_states(&stored, &[State::Held, State::Accepted, State::Published])?;
    Ok(Event::Withdrawn { number, withdrawn_by })
}

/// One event for each submission of which `when` is true; the others are left out.
fn each<I: Index>(
    draft: &mut Draft<'_, I>,
    numbers: Vec<Number>,
    when: impl Fn(&StoredSubmission) -> bool,
    event: impl Fn(Number) -> Event,
) -> Decided {
    let mut seen = HashSet::new();
    let mut done = Vec::new();
    for number in numbers {
        let stored: Option<StoredSubmission> = draft.fetch(&tables::submission(number))?;
        if stored.is_some_and(|stored| when(&stored)) && seen.insert(number) {
            done.push(number);
        }
    }
    Ok((done.iter().copied().map(event).collect(), Done::Numbers(done)))
}

/// Those whose erasing was intended before count as well, so that an interrupted step can run again.
fn erase_intend<I: Index>(draft: &mut Draft<'_, I>, numbers: Vec<Number>) -> Decided {
    let mut seen = HashSet::new();
    let (mut events, mut done) = (Vec::new(), Vec::new());
    for number in numbers {
        let Some(stored): Option<StoredSubmission> = draft.fetch(&tables::submission(number))? else {
            continue;
        };
        let open = matches!(stored.payload, Payload::Here | Payload::Erasing);
        if !open || !may_erase(&stored.submission) || !seen.insert(number) {
            continue;
        }
        if stored.payload == Payload::Here {
            events.push(Event::EraseIntended { number });
        }
        done.push(number);
    }
    Ok((events, Done::Numbers(done)))
}

/// Downloads so far, of a document that is there, or that went while one was under way.
type Downloads = (Option<(Timestamp, Timestamp)>, Option<(Timestamp, u64)>);

fn downloads<I: Index>(draft: &mut Draft<'_, I>, id: DocumentId) -> Result<Downloads, No> {
    if let Some(StoredDocument { document, .. }) = stored_document(draft, id)? {
        return Ok((document.fetched, document.partly_fetched));
    }
    let gone: Option<RemovedDocument> = draft.fetch(&tables::removed_document(id))?;
    let gone = gone.ok_or_else(|| missing(format_args!("document {id}")))?;
    Ok((gone.fetched, gone.partly_fetched))
}

/// A row whose document is there is left out, as is one for an account that does not stand any more.
fn place<I: Index>(draft: &mut Draft<'_, I>, documents: Vec<(Document, Digest)>) -> Decided {
    let (mut rows, mut ids) = (HashSet::new(), HashSet::new());
    let (mut events, mut done) = (Vec::new(), Vec::new());
    for (document, row) in documents {
        let id = document.id;
        let account: Option<Account> = draft.fetch(&tables::account(&document.account))?;
        let account = account.ok_or_else(|| missing(format_args!("account {}", document.account)))?;
        let there = match draft.fetch::<DocumentId>(&tables::row(&row))? {
            Some(placed) => stored_document(draft, placed)?.is_some_and(|stored| stored.removal.is_none()),
            None => false,
        };
        if account.standing != Standing::Active || there || !rows.insert(row) {
            continue;
        }
        if draft.has(&tables::document_place(id))? || !ids.insert(id) {
            return Err(Refusal::Exists(format!("document {id}")).into());
        }
        done.push(id);
        events.push(Event::DocumentPlaced { document: Box::new(document), row });
    }
    Ok((events, Done::Documents(done)))
}

/// Those whose removal was intended before count as well, so that an interrupted purge can run again.
fn removal_intend<I: Index>(
    draft: &mut Draft<'_, I>,
    ids: Vec<DocumentId>,
    reason: crate::model::document::RemovalReason,
) -> Decided {
    let mut seen = HashSet::new();
    let (mut events, mut done) = (Vec::new(), Vec::new());
    for id in ids {
        let Some(stored) = stored_document(draft, id)? else { continue };
        if stored.document.hold.is_some() || !seen.insert(id) {
            continue;
        }
        if stored.removal.is_none() {
            events.push(Event::RemovalIntended { id, reason });
        }
        done.push(id);
    }
    Ok((events, Done::Documents(done)))
}

fn removed<I: Index>(draft: &mut Draft<'_, I>, ids: Vec<DocumentId>) -> Decided {
    let mut seen = HashSet::new();
    let mut done = Vec::new();
    for id in ids {
        let intended = stored_document(draft, id)?.is_some_and(|stored| stored.removal.is_some());
        if intended && seen.insert(id) {
            done.push(id);
        }
    }
    Ok((done.iter().map(|id| Event::Removed { id: *id }).collect(), Done::Documents(done)))
}
