//! What an office or agent sees over SFTP: `/submit`, `/receipts`, `/outbox/OFFICE`, `/history`.

mod books;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::NaiveDate;

use super::port::{
    Answer, Attributes, Entry, Fault, Listing, OpenFile, OpenFlags, SetAttributes, Space, Tree, VirtualPath,
};
use super::readers::{MadeFile, StoredDocument};
use super::uploads::UploadFile;
use super::words::{self, Words};
use crate::model::document::Document;
use crate::model::finding::Language;
use crate::model::ids::{DocumentId, InsurerCode, OfficeCode};
use crate::model::party::Account;
use crate::model::submission::Submission;
use crate::model::time::{Clock, Day, Timestamp};
use crate::rules::delegation;
use crate::rules::policy::{DelegationPolicy, EndedOutbox};
use crate::store::blobs::Blobs;
use crate::store::books::Books;
use crate::store::dropbox::{Begin, Dropbox, Login, Place, Shown};
use crate::store::handover::Handover;
use crate::store::history;
use crate::store::ledger::{Ledger, SubmissionFilter};
use crate::store::readings::Readings;
use crate::store::receipts::{Made, Receipts};
use crate::work::ports::self_service::SelfService;

/// An insurer's policy on ended delegations.
pub type DelegationPolicies = dyn Fn(&InsurerCode) -> DelegationPolicy + Send + Sync;

/// Tells the operator: code and text.
pub type Alarm = dyn Fn(&str, String) + Send + Sync;

/// What the tree is made of; shared by all sessions.
pub struct OfficeParts {
    /// Documents and submissions.
    pub ledger: Arc<dyn Ledger>,
    /// Documents' bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Told who reads which document.
    pub readings: Arc<Readings>,
    /// Complete sets go here.
    pub handover: Arc<Handover>,
    /// `/receipts`
    pub receipts: Arc<Receipts>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// How long a close waits for its verdict (`verdict_wait_seconds`), in milliseconds.
    pub verdict_wait: i64,
    /// Most submissions that listings and histories show (`listed_max`).
    pub listed_max: usize,
    /// Tells the operator: code and text.
    pub alarm: Box<Alarm>,
    /// The gateway's zone, for histories and the days of delegations.
    pub zone: chrono_tz::Tz,
    /// What an insurer wants with ended delegations.
    pub delegations: Box<DelegationPolicies>,
    /// `/history/reconciliation`
    pub books: Books,
    /// Days of them that are shown.
    pub books_shown: usize,
    /// `/account`
    pub service: Arc<dyn SelfService>,
    /// Bytes of a file that is put into `/account` (`submit.self_service_file_bytes_max`).
    pub self_service_file_bytes_max: usize,
}

/// One session of an office's or agent's account.
pub struct OfficeTree {
    pub(super) parts: Arc<OfficeParts>,
    pub(super) account: Account,
    pub(super) dropbox: Arc<Dropbox>,
    pub(super) login: Login,
    pub(super) words: Words,
    send_until: Arc<SendUntil>,
}

/// Until when a login may send: the days of its password (E4), if it has one with days. Every connection of the login shares it: one
/// that came later, by a newer password, moves it on for all.
#[derive(Debug, Default)]
pub struct SendUntil(Mutex<Option<Timestamp>>);

impl SendUntil {
    /// From then on nothing can be sent, if that is said.
    pub fn set(&self, until: Option<Timestamp>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now >= until)
    }
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
enum At<'a> {
    Root,
    Submit,
    /// A name in `/submit`: a folder, or a file at the top.
    InSubmit(&'a str),
    Upload(Place),
    Receipts,
    ByManifest,
    ById,
    Receipt(ReceiptOf, &'a str),
    Outbox,
    OutboxOf(OfficeCode),
    Document(OfficeCode, DocumentId),
    Announcements,
    Announcement(DocumentId),
    History,
    HistoryFile(History),
    /// The books of days.
    Books,
    /// One day's, or the signature over it.
    Book(NaiveDate, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReceiptOf {
    Name,
    Manifest,
    Id,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    Sent,
    Received,
    /// `mails.csv`
    Mails,
    Account,
}

/// The folder of the books of days.
const BOOKS: &str = "reconciliation";
const ALLOWED_SIGNERS: &str = "allowed_signers";

fn folder(modified: u64, mode: u32) -> Attributes {
    Attributes { folder: true, size: 0, mode, modified }
}

fn file(size: u64, modified: u64, mode: u32) -> Attributes {
    Attributes { folder: false, size, mode, modified }
}

impl OfficeTree {
    /// The tree of one login.
    pub fn new(parts: Arc<OfficeParts>, account: Account, dropbox: Arc<Dropbox>, login: Login) -> Self {
        let words = Words(account.language);
        Self { parts, account, dropbox, login, words, send_until: Arc::default() }
    }

    /// With what says until when it may send (E4).
    #[must_use]
    pub fn sending_until(mut self, until: Arc<SendUntil>) -> Self {
        self.send_until = until;
        self
    }

    /// Sending with a password whose days are over is refused.
    fn may_send(&self) -> Result<(), Fault> {
        if self.send_until.is_over(self.parts.clock.now()) {
            return Err(super::second::expired_meanwhile(self.account.language));
        }
        Ok(())
    }

    fn find<'a>(&self, path: &'a VirtualPath) -> Result<At<'a>, Fault> {
        let missing = || self.words.missing();
        let parts: Vec<&str> = path.0.iter().map(String::as_str).collect();
        Ok(match parts.as_slice() {
            [] => At::Root,
            ["submit"] => At::Submit,
            ["submit", name] => At::InSubmit(name),
            ["submit", folder, name] => {
                At::Upload(Place { folder: (*folder).to_owned(), name: (*name).to_owned() })
            }
            ["submit", ..] => return Err(self.words.too_deep()),
            ["receipts"] => At::Receipts,
            ["receipts", "by-manifest"] => At::ByManifest,
            ["receipts", "by-id"] => At::ById,
            ["receipts", name] => At::Receipt(ReceiptOf::Name, name),
            ["receipts", "by-manifest", name] => At::Receipt(ReceiptOf::Manifest, name),
            ["receipts", "by-id", name] => At::Receipt(ReceiptOf::Id, name),
            ["outbox"] => At::Outbox,
            ["outbox", office] => At::OutboxOf(OfficeCode::parse(office).map_err(|_| missing())?),
            ["outbox", office, name] => At::Document(
                OfficeCode::parse(office).map_err(|_| missing())?,
                Document::id_in(name).ok_or_else(missing)?,
            ),
            ["announcements"] => At::Announcements,
            ["announcements", name] => At::Announcement(Document::id_in(name).ok_or_else(missing)?),
            ["history"] => At::History,
            ["history", BOOKS] => At::Books,
            ["history", BOOKS, name] => {
                let (day, signature) = books::day_in(name).ok_or_else(missing)?;
                At::Book(day, signature)
            }
            ["history", "sent.csv"] => At::HistoryFile(History::Sent),
            ["history", "received.csv"] => At::HistoryFile(History::Received),
            ["history", "mails.csv"] => At::HistoryFile(History::Mails),
            ["history", "account.csv"] => At::HistoryFile(History::Account),
            _ => return Err(missing()),
        })
    }

    /// A name in `/submit` as a file at the top.
    fn top(name: &str) -> Place {
        Place { folder: String::new(), name: name.to_owned() }
    }

    fn now(&self) -> crate::model::time::Timestamp {
        self.parts.clock.now()
    }

    /// Whose outboxes it sees: as the ledger has it now, not as it was at login.
    fn offices(&self) -> Result<BTreeSet<OfficeCode>, Fault> {
        let account = self.parts.ledger.account(&self.account.id).map_err(|e| self.words.ledger(&e))?;
        let account = account.as_ref().unwrap_or(&self.account);
        let day = Day::of(self.now(), self.parts.zone);
        let (now, ever) = (delegation::offices_on(account, day), delegation::offices_until(account, day));
        // Asked only where it matters: the policy is read from its file.
        let closes = || (self.parts.delegations)(&account.insurer).ended_outbox == EndedOutbox::Close;
        Ok(if ever.len() > now.len() && closes() { now } else { ever }.into_iter().collect())
    }

    fn made(&self, of: ReceiptOf, name: &str) -> Result<Made, Fault> {
        if of == ReceiptOf::Name && name == ALLOWED_SIGNERS {
            let bytes = self.parts.receipts.keys.allowed_signers().into_bytes();
            return Ok(Made { bytes, at: self.parts.ledger.head().at });
        }
        let (account, language) = (&self.account.id, self.account.language);
        let receipts = &self.parts.receipts;
        match of {
            ReceiptOf::Name => receipts.by_name(account, name, language),
            ReceiptOf::Manifest => receipts.by_manifest(account, name, language),
            ReceiptOf::Id => receipts.by_id(account, name, language),
        }
        .map_err(|e| self.words.receipts(&e))
    }

    fn history(&self, which: History) -> Result<Made, Fault> {
        let parts = &self.parts;
        let reader = history::Reader {
            ledger: parts.ledger.as_ref(),
            blobs: parts.blobs.as_ref(),
            zone: parts.zone,
            rows_max: parts.listed_max,
        };
        let text = match which {
            History::Sent => reader.sent(&self.account),
            History::Received => reader.received(&self.account),
            History::Mails => reader.mails(&self.account),
            History::Account => reader.account(&self.account),
        }
        .map_err(|e| self.words.ledger(&e))?;
        Ok(Made { bytes: text.into_bytes(), at: parts.ledger.head().at })
    }

    fn document(&self, office: &OfficeCode, id: DocumentId) -> Result<Document, Fault> {
        if !self.offices()?.contains(office) {
            return Err(self.words.missing());
        }
        self.parts
            .ledger
            .document(id)
            .map_err(|e| self.words.ledger(&e))?
            .filter(|d| d.account == self.account.id && d.office == *office && d.announcement.is_none())
            .ok_or_else(|| self.words.missing())
    }

    /// お知らせ to this account (H25).
    fn announcement(&self, id: DocumentId) -> Result<Document, Fault> {
        let found = self.parts.ledger.document(id).map_err(|e| self.words.ledger(&e))?;
        found
            .filter(|d| d.account == self.account.id && d.announcement.is_some())
            .ok_or_else(|| self.words.missing())
    }

    fn shown(shown: &Shown) -> Attributes {
        file(shown.size, shown.modified.unix_seconds(), 0o200)
    }

    fn upload_place(&self, path: &VirtualPath) -> Result<Place, Fault> {
        let place = match self.find(path)? {
            At::InSubmit(name) => Self::top(name),
            At::Upload(place) => place,
            At::Submit | At::Root => return Err(self.words.is_folder()),
            At::Outbox | At::OutboxOf(_) | At::Document(..) | At::Announcements | At::Announcement(_) => {
                return Err(self.words.outbox_read_only());
            }
            _ => return Err(self.words.read_only()),
        };
        if place.folder.is_empty() && self.dropbox.folder(&place.name).is_some() {
            return Err(self.words.is_folder());
        }
        Ok(place)
    }

    fn submissions(&self) -> SubmissionPages {
        SubmissionPages {
            ledger: Arc::clone(&self.parts.ledger),
            filter: SubmissionFilter {
                account: Some(self.account.id.clone()),
                ..SubmissionFilter::default()
            },
            page: Vec::new().into_iter(),
            left: self.parts.listed_max,
            words: self.words,
        }
    }
}

/// Walks an account's submissions, newest first, a page at a time.
struct SubmissionPages {
    ledger: Arc<dyn Ledger>,
    filter: SubmissionFilter,
    page: std::vec::IntoIter<Submission>,
    left: usize,
    words: Words,
}

impl Iterator for SubmissionPages {
    type Item = Result<Submission, Fault>;
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(submission) = self.page.next() {
            return Some(Ok(submission));
        }
        if self.left == 0 {
            return None;
        }
        match self.ledger.submissions(&self.filter, self.left.min(500)) {
            Ok(page) => {
                let last = page.last()?;
                self.filter.before = Some(last.number);
                self.left = self.left.saturating_sub(page.len());
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(e) => {
                self.left = 0;
                Some(Err(self.words.ledger(&e)))
            }
        }
    }
}

/// Walks an outbox in order, a page at a time.
struct DocumentPages {
    ledger: Arc<dyn Ledger>,
    account: crate::model::ids::AccountId,
    office: OfficeCode,
    after: Option<DocumentId>,
    page: std::vec::IntoIter<Document>,
    done: bool,
    words: Words,
}

impl Iterator for DocumentPages {
    type Item = Result<Document, Fault>;
    fn next(&mut self) -> Option<Self::Item> {
        const PAGE: usize = 1000;
        if let Some(document) = self.page.next() {
            return Some(Ok(document));
        }
        if self.done {
            return None;
        }
        match self.ledger.documents(&self.account, Some(&self.office), self.after, PAGE) {
            Ok(page) => {
                self.done = page.len() < PAGE;
                self.after = page.last().map(|d| d.id);
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(e) => {
                self.done = true;
                Some(Err(self.words.ledger(&e)))
            }
        }
    }
}

impl Tree for OfficeTree {
    fn stat(&self, path: &VirtualPath) -> Result<Attributes, Fault> {
        let made = |made: Made| file(made.bytes.len() as u64, made.at.unix_seconds(), 0o440);
        Ok(match self.find(path)? {
            At::Root
            | At::Receipts
            | At::ByManifest
            | At::ById
            | At::Outbox
            | At::Announcements
            | At::Books
            | At::History => folder(self.parts.ledger.head().at.unix_seconds(), 0o550),
            At::Submit => folder(self.dropbox.folder("").unwrap_or_default().unix_seconds(), 0o750),
            At::InSubmit(name) => match self.dropbox.folder(name) {
                Some(changed) => folder(changed.unix_seconds(), 0o750),
                None => self
                    .dropbox
                    .stat(&Self::top(name), self.login)
                    .map(|s| Self::shown(&s))
                    .ok_or_else(|| self.words.missing())?,
            },
            At::Upload(place) => self
                .dropbox
                .stat(&place, self.login)
                .map(|s| Self::shown(&s))
                .ok_or_else(|| self.words.missing())?,
            At::Receipt(of, name) => made(self.made(of, name)?),
            At::OutboxOf(office) if self.offices()?.contains(&office) => {
                folder(self.parts.ledger.head().at.unix_seconds(), 0o550)
            }
            At::OutboxOf(_) => return Err(self.words.missing()),
            At::Document(office, id) => {
                let document = self.document(&office, id)?;
                file(document.size, document.placed_at.unix_seconds(), 0o440)
            }
            At::Announcement(id) => {
                let document = self.announcement(id)?;
                file(document.size, document.placed_at.unix_seconds(), 0o440)
            }
            At::HistoryFile(which) => made(self.history(which)?),
            At::Book(day, signature) => made(self.book(day, signature)?),
        })
    }

    #[allow(clippy::too_many_lines, reason = "one arm per folder")]
    fn list(&self, path: &VirtualPath) -> Result<Listing, Fault> {
        let at = self.parts.ledger.head().at.unix_seconds();
        let folders = |names: &[&str]| -> Listing {
            let entries: Vec<_> = names
                .iter()
                .map(|n| Ok(Entry { name: (*n).to_owned(), attributes: folder(at, 0o550) }))
                .collect();
            Box::new(entries.into_iter())
        };
        Ok(match self.find(path)? {
            At::Root => {
                let submit = Entry { name: "submit".into(), attributes: folder(at, 0o750) };
                Box::new(std::iter::once(Ok(submit)).chain(folders(&[
                    "receipts",
                    "outbox",
                    "announcements",
                    "history",
                ])))
            }
            At::Submit => {
                let inside = self.dropbox.folders().into_iter().map(|(name, changed)| {
                    Ok(Entry { name, attributes: folder(changed.unix_seconds(), 0o750) })
                });
                let files = self.dropbox.files("").unwrap_or_default().into_iter();
                let files = files.map(|(name, s)| Ok(Entry { name, attributes: Self::shown(&s) }));
                Box::new(inside.chain(files).collect::<Vec<_>>().into_iter())
            }
            At::InSubmit(name) => {
                let files = self.dropbox.files(name).ok_or_else(|| self.words.missing())?;
                Box::new(files.into_iter().map(|(name, s)| Ok(Entry { name, attributes: Self::shown(&s) })))
            }
            At::Receipts => {
                let own = ["by-manifest", "by-id"]
                    .map(|name| Ok(Entry { name: name.to_owned(), attributes: folder(at, 0o550) }));
                let signers = self.parts.receipts.keys.allowed_signers().len() as u64;
                let signers = std::iter::once(Ok(Entry {
                    name: ALLOWED_SIGNERS.into(),
                    attributes: file(signers, at, 0o440),
                }));
                let (receipts, account, words) =
                    (Arc::clone(&self.parts.receipts), self.account.clone(), self.words);
                let files = self.submissions().flat_map(move |submission| {
                    let submission = match submission {
                        Ok(submission) => submission,
                        Err(fault) => return vec![Err(fault)],
                    };
                    Receipts::names(&submission)
                        .into_iter()
                        .map(|name| {
                            let made = receipts
                                .by_name(&account.id, &name, account.language)
                                .map_err(|e| words.receipts(&e))?;
                            let attributes = file(made.bytes.len() as u64, made.at.unix_seconds(), 0o440);
                            Ok(Entry { name, attributes })
                        })
                        .collect()
                });
                Box::new(own.into_iter().chain(signers).chain(files))
            }
            At::ByManifest => {
                let (receipts, account, words) =
                    (Arc::clone(&self.parts.receipts), self.account.clone(), self.words);
                Box::new(self.submissions().map(move |submission| {
                    let name = format!("{}.json", submission?.manifest);
                    let made = receipts
                        .by_manifest(&account.id, &name, account.language)
                        .map_err(|e| words.receipts(&e))?;
                    Ok(Entry {
                        name,
                        attributes: file(made.bytes.len() as u64, made.at.unix_seconds(), 0o440),
                    })
                }))
            }
            At::ById => {
                let blobs = Arc::clone(&self.parts.blobs);
                Box::new(self.submissions().filter_map(move |submission| {
                    let submission = match submission {
                        Ok(submission) => submission,
                        Err(fault) => return Some(Err(fault)),
                    };
                    submission.id_tag?;
                    let card: crate::model::card::SubmissionCard =
                        crate::store::cards::get(blobs.as_ref(), &submission.card).ok()?;
                    let size = card.receipt.len() as u64;
                    let attributes = file(size, submission.received_at.unix_seconds(), 0o440);
                    Some(Ok(Entry { name: format!("{}.json", card.id?), attributes }))
                }))
            }
            At::Outbox => {
                let offices = self.offices()?;
                let names: Vec<&str> = offices.iter().map(OfficeCode::as_str).collect();
                folders(&names)
            }
            At::OutboxOf(office) if self.offices()?.contains(&office) => {
                let pages = DocumentPages {
                    ledger: Arc::clone(&self.parts.ledger),
                    account: self.account.id.clone(),
                    office,
                    after: None,
                    page: Vec::new().into_iter(),
                    done: false,
                    words: self.words,
                };
                // Announcements have a folder of their own.
                let pages = pages.filter(|d| d.as_ref().map_or(true, |d| d.announcement.is_none()));
                Box::new(pages.map(|document| {
                    let document = document?;
                    let attributes = file(document.size, document.placed_at.unix_seconds(), 0o440);
                    Ok(Entry { name: document.name(), attributes })
                }))
            }
            At::Announcements => {
                let all = self.parts.ledger.announcements(&self.account.id, None, self.parts.listed_max);
                let all = all.map_err(|e| self.words.ledger(&e))?;
                Box::new(all.into_iter().map(|document| {
                    let attributes = file(document.size, document.placed_at.unix_seconds(), 0o440);
                    Ok(Entry { name: document.name(), attributes })
                }))
            }
            At::History => {
                let files = [
                    ("sent.csv", History::Sent),
                    ("received.csv", History::Received),
                    ("mails.csv", History::Mails),
                    ("account.csv", History::Account),
                ];
                let mut entries = Vec::new();
                for (name, which) in files {
                    let size = self.history(which)?.bytes.len() as u64;
                    entries.push(Ok(Entry { name: name.into(), attributes: file(size, at, 0o440) }));
                }
                let attributes = folder(at, 0o550);
                entries.push(Ok(Entry { name: BOOKS.into(), attributes }));
                Box::new(entries.into_iter())
            }
            At::Books => Box::new(self.book_entries()?.into_iter().map(Ok)),
            At::OutboxOf(_) => return Err(self.words.missing()),
            At::Upload(_)
            | At::Receipt(..)
            | At::Document(..)
            | At::Announcement(_)
            | At::HistoryFile(_)
            | At::Book(..) => {
                return Err(self.words.not_a_folder());
            }
        })
    }

    fn open(
        &self,
        path: &VirtualPath,
        flags: OpenFlags,
        _attributes: SetAttributes,
    ) -> Result<Box<dyn OpenFile>, Fault> {
        let at = self.find(path)?;
        if !flags.write && !flags.append {
            return Ok(match at {
                At::Receipt(of, name) => Box::new(MadeFile::new(self.made(of, name)?, self.words)),
                At::HistoryFile(which) => Box::new(MadeFile::new(self.history(which)?, self.words)),
                At::Book(day, signature) => Box::new(MadeFile::new(self.book(day, signature)?, self.words)),
                At::Document(office, id) => {
                    let document = self.document(&office, id)?;
                    let reader = self.parts.blobs.open(&document.blob).map_err(|e| self.words.io(&e))?;
                    Box::new(StoredDocument::new(self, &document, reader))
                }
                At::Announcement(id) => {
                    let document = self.announcement(id)?;
                    let reader = self.parts.blobs.open(&document.blob).map_err(|e| self.words.io(&e))?;
                    Box::new(StoredDocument::new(self, &document, reader))
                }
                At::InSubmit(_) | At::Upload(_) => {
                    // Not readable back (K38), and whether it is there is told by stat alone.
                    return Err(self.words.no_read_back());
                }
                _ => return Err(self.words.is_folder()),
            });
        }
        self.may_send()?;
        let place = self.upload_place(path)?;
        words::check_name(&place.name, self.words)?;
        let begin = Begin {
            truncate: flags.truncate,
            exclusive: flags.create && flags.exclusive,
            create: flags.create || flags.truncate,
        };
        let upload = UploadFile::begin(self, place, begin, flags.append)?;
        Ok(upload)
    }

    fn set_stat(&self, path: &VirtualPath, to: SetAttributes) -> Result<(), Fault> {
        match self.find(path)? {
            At::Submit | At::Root => Ok(()),
            At::InSubmit(name) if self.dropbox.folder(name).is_some() => Ok(()),
            At::InSubmit(_) | At::Upload(_) => {
                let place = self.upload_place(path)?;
                let shown = self.dropbox.stat(&place, self.login).ok_or_else(|| self.words.missing())?;
                match to.size {
                    Some(size) if size != shown.size => {
                        let begin = Begin { truncate: false, exclusive: false, create: false };
                        let mut upload = UploadFile::begin(self, place, begin, false)?;
                        upload.set_stat(to)?;
                        // Left unfinished: a changed size without a close is not a finished file.
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            At::Outbox | At::OutboxOf(_) | At::Document(..) | At::Announcements | At::Announcement(_) => {
                Err(self.words.outbox_read_only())
            }
            _ => Err(self.words.read_only()),
        }
    }

    fn remove(&self, path: &VirtualPath) -> Result<(), Fault> {
        let place = self.upload_place(path)?;
        self.dropbox.remove(&place, self.login).map_err(|e| self.words.dropbox(&e))
    }

    fn make_folder(&self, path: &VirtualPath) -> Result<(), Fault> {
        self.may_send()?;
        match self.find(path)? {
            At::InSubmit(name) => {
                words::check_name(name, self.words)?;
                if self.dropbox.stat(&Self::top(name), self.login).is_some() {
                    return Err(self.words.exists());
                }
                self.dropbox.make_folder(name, self.login, self.now()).map_err(|e| self.words.dropbox(&e))
            }
            At::Upload(_) => Err(self.words.too_deep()),
            At::Submit | At::Root => Err(self.words.exists()),
            At::Outbox | At::OutboxOf(_) | At::Document(..) | At::Announcements | At::Announcement(_) => {
                Err(self.words.outbox_read_only())
            }
            _ => Err(self.words.read_only()),
        }
    }

    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Fault> {
        match self.find(path)? {
            At::InSubmit(name) => self.dropbox.remove_folder(name).map_err(|e| self.words.dropbox(&e)),
            At::Outbox | At::OutboxOf(_) | At::Announcements => Err(self.words.outbox_read_only()),
            _ => Err(self.words.read_only()),
        }
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Answer {
        let places = self
            .may_send()
            .and_then(|()| self.upload_place(from))
            .and_then(|from| Ok((from, self.upload_place(to)?)));
        let (from, to) = match places {
            Ok(places) => places,
            Err(fault) => return Answer::Now(Err(fault)),
        };
        if let Err(fault) = words::check_name(&to.name, self.words) {
            return Answer::Now(Err(fault));
        }
        match self.dropbox.rename(&from, &to, replace, self.login, self.now()) {
            Ok(None) => Answer::Now(Ok(())),
            Ok(Some(set)) => self.hand_over(set),
            Err(e) => Answer::Now(Err(self.words.dropbox(&e))),
        }
    }

    fn space(&self) -> Result<Space, Fault> {
        let (files, bytes, limits) = self.dropbox.usage();
        let disk = self.parts.blobs.free_bytes().map_err(|e| self.words.io(&e))?;
        let quota_free = limits.account_bytes_max.saturating_sub(bytes);
        Ok(Space {
            bytes_total: limits.account_bytes_max,
            bytes_free: quota_free.min(disk.saturating_sub(limits.free_bytes_min)),
            files_total: limits.account_files_max as u64,
            files_free: limits.account_files_max.saturating_sub(files) as u64,
        })
    }

    fn language(&self) -> Language {
        self.account.language
    }
}

impl Drop for OfficeTree {
    fn drop(&mut self) {
        // The last connection of the login is gone; what it committed is forgotten. A failing log line is written again
        // at the next change.
        if let Err(error) = self.dropbox.end_login(self.login) {
            tracing::warn!(account = %self.account.id, %error, "the drop-box's log could not be written");
        }
    }
}
