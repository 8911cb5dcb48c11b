//! Announcements (お知らせ, H25): one document for many accounts. Its bytes and its card are stored once; each account has a
//! document of its own over them, so that reading, expiry and recall are its own too. An announcement is named by the first of
//! its documents.
//!
//! Placed in batches; each account's row has a digest of its own, so that the same announcement given again goes on where a
//! crash left it, over the same bytes.

use sha2::Digest as _;

use super::Deliveries;
use super::place::{Bytes, Content, Prepared, RowState, Since, going};
use super::repeat::{Likeness, Repeats};
use super::resolve::{Parties, Target};
use super::rows::Taking;
use super::sheet::Fault;
use crate::model::document::Document;
use crate::model::event::Series;
use crate::model::ids::{AccountId, Digest, DocumentId, InsurerCode, OfficeCode};
use crate::model::metric;
use crate::model::party::{Account, Actor};
use crate::model::time::Timestamp;
use crate::rules::delegation;
use crate::store::ledger::{Done, Op};
use crate::work::step::{Doing as _, WorkError};

/// The type that announcements are filed under.
const KIND: &str = "お知らせ";
/// Documents placed in one event batch.
const BATCH: usize = 256;

/// Whom an announcement is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every account of the insurer that may act, but test accounts.
    All,
    /// These accounts, and the accounts of these offices.
    These(Vec<AccountId>, Vec<OfficeCode>),
}

/// An announcement from the command line or the control socket.
pub struct AnnounceRequest<'a> {
    /// From whom.
    pub insurer: &'a InsurerCode,
    /// For whom.
    pub audience: Audience,
    /// Its title.
    pub title: &'a str,
    /// Its file's name: a PDF, or plain text as `.txt`.
    pub original_name: &'a str,
    /// Its bytes.
    pub content: &'a mut dyn std::io::Read,
    /// Who announces.
    pub by: Actor,
}

/// What became of an [`AnnounceRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// It is there.
    Placed(Placement),
    /// It cannot be announced.
    Not(Fault),
    /// The scanner does not answer: try again.
    ScannerDown,
}

/// Who has an announcement now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its name: the first of its documents.
    pub announcement: DocumentId,
    /// Accounts that got it now.
    pub placed: u64,
    /// Accounts that had it already, of the same day.
    pub before: u64,
    /// Those asked for that cannot get it, and why.
    pub without: Vec<(String, Fault)>,
}

/// Accounts to place it with, and those that cannot have it.
pub(super) type Reached = (Vec<Target>, Vec<Missed>);

/// Somebody who cannot have an announcement now.
pub(super) struct Missed {
    /// As it was asked for.
    label: String,
    /// Which account that is, where there is one: it may have it already.
    account: Option<AccountId>,
    fault: Fault,
}

impl Parties {
    /// Whom this audience comes to; each account once, whatever it acts for.
    pub(super) fn audience(&self, audience: &Audience) -> Reached {
        let (mut targets, mut without) = (Vec::<Target>::new(), Vec::new());
        let mut add = |label: String, account: Result<&Account, Fault>| {
            let known = account.as_ref().ok().map(|account| account.id.clone());
            let target = account.and_then(|account| self.target_of(account));
            match target {
                Ok(target) if targets.iter().any(|there| there.account == target.account) => {}
                Ok(target) => targets.push(target),
                Err(fault) => without.push(Missed { label, account: known, fault }),
            }
        };
        match audience {
            Audience::All => {
                for account in self.accounts().filter(|account| !account.test) {
                    add(account.id.to_string(), Ok(account));
                }
            }
            Audience::These(accounts, offices) => {
                for id in accounts {
                    add(id.to_string(), self.account(id));
                }
                for office in offices {
                    add(office.to_string(), self.to_office(office, false));
                }
            }
        }
        (targets, without)
    }

    fn target_of(&self, account: &Account) -> Result<Target, Fault> {
        super::resolve::stands(account)?;
        let offices = delegation::offices_on(account, self.day());
        let office = offices.into_iter().next().ok_or_else(super::resolve::no_account)?;
        Ok(Target { account: account.id.clone(), office, in_reply_to: None })
    }
}

/// How one announcement is told from others, and who makes it.
struct Announcing<'a> {
    insurer: &'a InsurerCode,
    /// The digest by which an account's copy is known again.
    row: &'a dyn Fn(&Document, &AccountId) -> Digest,
    /// What earlier sets brought.
    repeats: Option<&'a Repeats<'a>>,
    /// When the set was begun.
    since: Since,
    by: &'a Actor,
    now: Timestamp,
}

impl Taking<'_> {
    /// Announces a row for everybody; `digest` is the row's.
    pub(super) fn announce_row(
        &self,
        content: Content<'_>,
        expected: Option<Digest>,
        digest: Digest,
    ) -> Result<Announced, WorkError> {
        let (targets, missed) = self.parties.audience(&Audience::All);
        let it = Announcing {
            insurer: self.code,
            row: &|_, account| announced_digest(digest, account),
            repeats: Some(self.repeats),
            since: self.begun.since(),
            by: &Actor::Importer(self.code.clone()),
            now: self.now,
        };
        self.deliveries.announce_to(&it, targets, missed, content, expected)
    }
}

impl Deliveries {
    /// Announces one document: what `todoke announce` calls. The same bytes under the same title on the same local day are one
    /// announcement: given again it reaches those that have it not yet.
    pub fn announce(&self, request: AnnounceRequest<'_>, now: Timestamp) -> Result<Announced, WorkError> {
        let AnnounceRequest { insurer, audience, title, original_name, content, by } = request;
        if title.trim().is_empty() {
            return Ok(Announced::Not(Fault::refused(
                "TITLE-EMPTY",
                "件名がありません。",
                "an announcement needs a title",
            )));
        }
        if let Some(fault) = self.may_send(insurer)? {
            return Ok(Announced::Not(fault));
        }
        let (targets, missed) = self.parties(insurer, now)?.audience(&audience);
        let bytes = Bytes::Read(content);
        let content = Content { bytes, name: original_name, kind: KIND, title, text: true };
        let day = now.date_in(self.zone).to_string();
        let row = |first: &Document, account: &AccountId| {
            digest(
                b"todoke-announcement/1\0",
                &[
                    insurer.as_str().as_bytes(),
                    account.as_str().as_bytes(),
                    title.as_bytes(),
                    day.as_bytes(),
                    &first.sha256.0,
                ],
            )
        };
        let it = Announcing { insurer, row: &row, repeats: None, since: Since::NEVER, by: &by, now };
        self.announce_to(&it, targets, missed, content, None)
    }

    fn announce_to(
        &self,
        it: &Announcing<'_>,
        targets: Vec<Target>,
        missed: Vec<Missed>,
        content: Content<'_>,
        expected: Option<Digest>,
    ) -> Result<Announced, WorkError> {
        let Announcing { insurer, row, repeats, since, by, now } = *it;
        let like = announcement_like(content.title);
        let Some(target) = targets.first().cloned() else {
            return Ok(Announced::Not(nobody(missed)));
        };
        let first = match self.prepare(insurer, target, content, expected, now)? {
            Prepared::Ready(ready) => ready.into_document(),
            Prepared::Not(fault) => return Ok(Announced::Not(fault)),
            Prepared::ScannerDown => return Ok(Announced::ScannerDown),
        };
        let mut pattern = Document { kind: KIND.to_owned(), announcement: Some(first.id), ..first };
        let mut waiting = Vec::with_capacity(targets.len());
        let (mut there, mut before, mut ours) = (None, 0, 0);
        let mut without = Vec::new();
        for Missed { label, account, fault } in missed {
            let row = account.map(|account| row(&pattern, &account));
            match row.map(|row| self.row_state(row, since)).transpose()? {
                Some(RowState::Counts(..)) => before += 1,
                _ => without.push((label, fault)),
            }
        }
        for target in targets {
            let row = row(&pattern, &target.account);
            match self.row_state(row, since)? {
                RowState::New => {
                    let earlier = repeats.map(|repeats| repeats.of(&target, like, pattern.sha256));
                    match earlier.transpose()?.flatten() {
                        Some(document) => {
                            before += 1;
                            there = there.or(Some(document));
                        }
                        None => waiting.push((target, row)),
                    }
                }
                RowState::Counts(id, at) => {
                    // By this very taking, before a crash?
                    *(if since.placed(id, at) { &mut ours } else { &mut before }) += 1;
                    there = there.or(self.ledger.document(id)?);
                }
                RowState::Going => without.push((target.account.to_string(), going())),
            }
        }
        // Went on with, or given again: the bytes that are there are the ones. All else is each copy's own.
        if let Some(there) = there {
            self.discard(&pattern)?;
            let Document { blob, card, sha256, size, format, .. } = there;
            let announcement = Some(there.announcement.unwrap_or(there.id));
            pattern = Document { blob, sha256, size, format, card, announcement, ..pattern };
        } else if !waiting.is_empty() {
            let blobs = [pattern.blob.clone(), pattern.card.blob.clone()];
            self.blobs.sync(&blobs).doing(|| "making an announcement durable".into())?;
        } else {
            // Everybody had it, and it went since this taking began.
            self.discard(&pattern)?;
        }
        let announcement = pattern.announcement.unwrap_or(pattern.id);
        let mut placement = Placement { announcement, placed: ours, before, without };
        self.points.pass("announcement durable")?;
        let mut own_id = Some(pattern.id);
        for batch in waiting.chunks(BATCH) {
            self.memory.beat();
            let mut rows = Vec::with_capacity(batch.len());
            for (target, row) in batch {
                let id = match own_id.take() {
                    Some(id) => id,
                    None => DocumentId {
                        epoch: self.ledger.head().epoch,
                        serial: self.ledger.next_serial(Series::Document, now)?,
                    },
                };
                let (account, office) = (target.account.clone(), target.office.clone());
                rows.push((Document { id, account, office, placed_at: now, ..pattern.clone() }, *row));
            }
            let asked = rows.clone();
            if let Done::Documents(placed) = self.ledger.commit(Op::Place(rows), by.clone(), now)? {
                metrics::counter!(metric::DOCUMENTS_PLACED).increment(placed.len() as u64);
                placement.placed += placed.len() as u64;
                self.memory.tell_placed();
                self.left_out(&asked, &placed, &mut placement)?;
            }
            self.points.pass("some announced")?;
        }
        Ok(Announced::Placed(placement))
    }

    /// Those that the ledger did not place: they had it, or do not stand any more.
    fn left_out(
        &self,
        asked: &[(Document, Digest)],
        placed: &[DocumentId],
        placement: &mut Placement,
    ) -> Result<(), WorkError> {
        for (document, _) in asked.iter().filter(|(document, _)| !placed.contains(&document.id)) {
            match self.standing_fault(&document.account)? {
                Some(fault) => placement.without.push((document.account.to_string(), fault)),
                None => placement.before += 1,
            }
        }
        Ok(())
    }
}

/// What an announcement of this title is known by.
pub(super) fn announcement_like(title: &str) -> Likeness<'_> {
    Likeness { kind: KIND, title, announcement: true }
}

/// Of a row for everybody and one account that it reached.
pub(super) fn announced_digest(row: Digest, account: &AccountId) -> Digest {
    digest(b"todoke-announcement-row/1\0", &[&row.0, account.as_str().as_bytes()])
}

fn digest(purpose: &[u8], parts: &[&[u8]]) -> Digest {
    let mut hash = sha2::Sha256::new();
    hash.update(purpose);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Digest(hash.finalize().into())
}

fn nobody(missed: Vec<Missed>) -> Fault {
    missed.into_iter().next().map_or_else(
        || {
            Fault::refused(
                "ANNOUNCE-NOBODY",
                "受け取るアカウントがありません。",
                "there is no account to receive it",
            )
        },
        |missed| missed.fault,
    )
}
