//! `todoke reconcile`: recomputes a day's books from the journal, and holds the ledger against the disk. Names each difference, and
//! each leftover with the sweep that will take it and when. Changes nothing.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono_tz::Tz;
use rustix::fs::OFlags;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::batches::is_closed_stage;
use super::books::{Sheets, Total, read};
use super::deliver::is_begun;
use super::publish::{self, SpoolTurn};
use super::retention::erase_leftover;
use super::step::{Doing as _, WorkError};
use super::sweep::{number_in, orphan_due, stage_due};
use crate::model::card::CardRef;
use crate::model::day::{Batch, ClosedDay};
use crate::model::document::Document;
use crate::model::escape;
use crate::model::ids::{AccountId, BlobId, Digest, InsurerCode, Number};
use crate::model::mail::MailState;
use crate::model::party::Account;
use crate::model::submission::{State, Submission};
use crate::model::time::Timestamp;
use crate::signed::sshsig::{self, RECONCILIATION_NAMESPACE};
use crate::store::blobs::Blobs;
use crate::store::books::{Book, Books, HEAD, account_part, insurer_part, signature_of};
use crate::store::cards;
use crate::store::keys::Keys;
use crate::store::ledger::{Ledger, MailFilter, SubmissionFilter};
use crate::store::spool::{Folder, InsurerSpool, Place, is_folder};

mod days;

pub use days::NoBooks;

/// What is compared.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Only this insurer's.
    pub insurer: Option<InsurerCode>,
    /// Only this account's.
    pub account: Option<AccountId>,
    /// The hash of every blob, rather than of a sample.
    pub deep: bool,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Journal and disk, or books, do not agree.
    Difference,
    /// What a crash left; it goes by itself.
    Leftover,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// ASCII and stable, such as `DOCUMENT-WITHOUT-BLOB`.
    pub code: &'static str,
    /// What it is about: a number, a place.
    pub what: String,
    /// What is wrong, and what to do.
    pub text: String,
    /// When the sweep takes it.
    pub goes_at: Option<Timestamp>,
}

/// What was compared, and what was found.
#[derive(Debug, Default, Serialize)]
pub struct Compared {
    /// The day of the books; none when only the disk was looked at.
    pub day: Option<String>,
    /// Books compared.
    pub books: u64,
    /// Rows in them.
    pub rows: u64,
    /// Totals of the day as the journal has them.
    pub totals: BTreeMap<&'static str, Total>,
    /// Submissions looked at.
    pub submissions: u64,
    /// Documents looked at.
    pub documents: u64,
    /// Blobs that must be there.
    pub blobs: u64,
    /// Blobs whose hash was checked.
    pub hashed: u64,
    /// Folders in insurers' spools.
    pub folders: u64,
    /// The first of what was found.
    pub findings: Vec<Finding>,
    /// How much more there is.
    pub more: u64,
    /// Differences in all, leftovers not counted.
    pub differences: u64,
}

/// Findings listed.
const FINDINGS_MAX: usize = 1_000;
const PAGE: usize = 1_000;
/// Strange names among the blobs that are listed.
const STRAYS_MAX: usize = 100;

/// What comparing is made of.
pub struct Compare {
    /// What is true.
    pub ledger: Arc<dyn Ledger>,
    /// Where bytes lie.
    pub blobs: Arc<dyn Blobs>,
    /// Who signed the books.
    pub keys: Arc<Keys>,
    /// The books.
    pub books: Books,
    /// `spool/`
    pub spool_root: PathBuf,
    /// Days are counted here.
    pub zone: Tz,
    /// Shared with publication: nothing moves while a spool is looked at.
    pub turn: SpoolTurn,
    /// Blobs whose hash is checked, unless all are.
    pub sample: usize,
}

/// A blob whose hash may be checked: the order is random, and the same for the same blobs.
type Candidate = (u64, BlobId, Digest, String);

/// One comparison under way.
struct Run<'a> {
    of: &'a Compare,
    scope: &'a Scope,
    now: Timestamp,
    found: Compared,
    sample: BinaryHeap<Candidate>,
    /// Closed on the day that is meant.
    batches: HashMap<InsurerCode, Vec<Batch>>,
}

impl Compared {
    fn say(
        &mut self,
        severity: Severity,
        code: &'static str,
        what: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.add(Finding { severity, code, what: what.into(), text: text.into(), goes_at: None });
    }

    fn differs(&mut self, code: &'static str, what: impl Into<String>, text: impl Into<String>) {
        self.say(Severity::Difference, code, what, text);
    }

    fn sum(&mut self, totals: &BTreeMap<&'static str, Total>) {
        for (word, total) in totals {
            let sum = self.totals.entry(word).or_default();
            sum.rows += total.rows;
            sum.count += total.count;
            sum.bytes += total.bytes;
            self.rows += total.rows;
        }
    }

    fn add(&mut self, finding: Finding) {
        self.differences += u64::from(finding.severity == Severity::Difference);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

impl Compare {
    /// Compares a closed day's books (if one is meant) and the disk.
    pub fn run(&self, day: Option<&ClosedDay>, scope: &Scope, now: Timestamp) -> Result<Compared, WorkError> {
        let mut run = Run {
            of: self,
            scope,
            now,
            found: Compared::default(),
            sample: BinaryHeap::new(),
            batches: HashMap::new(),
        };
        if let Some(day) = day {
            run.books(day)?;
            run.gaps(day)?;
            run.batches_of(day)?;
        }
        run.parties()?;
        run.submissions()?;
        run.documents()?;
        run.mails()?;
        run.hashes()?;
        run.spools()?;
        Ok(run.found)
    }

    /// Blobs that nothing refers to, with when the sweep takes them, and what is nobody's at all. `unclaimed` are somebody's
    /// uploads.
    pub fn orphans(
        &self,
        unclaimed: &HashSet<BlobId>,
        grace_days: u32,
        found: &mut Compared,
    ) -> Result<(), WorkError> {
        for id in self.blobs.scan() {
            let id = id.doing(|| "listing blobs".into())?;
            if unclaimed.contains(&id) || self.ledger.refers_to(&id)? {
                continue;
            }
            let text = "nothing refers to it; the hourly sweep of blobs takes it".to_owned();
            let (code, what, goes_at) = ("BLOB-ORPHAN", id.to_string(), orphan_due(&id, grace_days));
            found.add(Finding { severity: Severity::Leftover, code, what, text, goes_at });
        }
        for name in self.blobs.strays(STRAYS_MAX).doing(|| "listing blobs".into())? {
            let what = format!("blobs/{}", escape::excerpt(&name, 80));
            found.differs("BLOB-UNKNOWN", what, "it is no blob, and no sweep takes it: remove it");
        }
        self.strangers(found)
    }

    /// Folders of insurers and uploads of accounts that the ledger does not know.
    fn strangers(&self, found: &mut Compared) -> Result<(), WorkError> {
        for name in names_in(&self.spool_root.join("insurers")).doing(|| "reading insurers/".into())? {
            let known = match InsurerCode::parse(&name) {
                Ok(code) => self.ledger.insurer(&code)?.is_some(),
                Err(_) => false,
            };
            if !known {
                let what = format!("insurers/{}", escape::excerpt(&name, 80));
                found.differs("SPOOL-UNKNOWN", what, "the ledger has no such insurer: remove it");
            }
        }
        for name in names_in(&self.spool_root.join("uploads")).doing(|| "reading uploads/".into())? {
            let account = name.strip_suffix(".jsonl").and_then(|name| AccountId::parse(name).ok());
            let known = match account {
                Some(account) => self.ledger.account(&account)?.is_some(),
                None => false,
            };
            if !known {
                let what = format!("uploads/{}", escape::excerpt(&name, 80));
                let text =
                    "the ledger has no such account: remove it; then the sweep takes the blobs it names";
                found.differs("UPLOADS-UNKNOWN", what, text);
            }
        }
        Ok(())
    }
}

/// The first names in a folder; none where it is not there.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let walk = walkdir::WalkDir::new(folder).min_depth(1).max_depth(1).sort_by_file_name();
    let mut names = Vec::new();
    for entry in walk {
        match entry {
            Ok(entry) => names.push(entry.file_name().to_string_lossy().into_owned()),
            Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(names)
}

impl Run<'_> {
    fn wants(&self, insurer: &InsurerCode, account: Option<&AccountId>) -> bool {
        self.scope.insurer.as_ref().is_none_or(|wanted| wanted == insurer)
            && (self.scope.account.is_none() || self.scope.account.as_ref() == account)
    }

    fn books(&mut self, day: &ClosedDay) -> Result<(), WorkError> {
        let of = self.of;
        self.found.day = Some(day.day.clone());
        let book = match of.books.open(&day.day) {
            Ok(book) => Some(book),
            Err(error) => {
                let text = match error.kind() {
                    io::ErrorKind::NotFound => {
"the day is closed, but its books are not there: restore the file from a backup; the daemon makes those of the last \
                         day alone anew".to_owned()
                    }
                    _ => format!("{error}; restore the file from a backup"),
                };
                self.found.differs("BOOKS-MISSING", format!("books/{}.books", day.day), text);
                None
            }
        };
        // The day as it was closed: the zone may have changed since.
        let day = book.as_ref().map_or(day, |book| &book.day).clone();
        let sheets = Sheets::make(&*of.ledger, &day, of.zone)?;
        let mut expected: BTreeMap<String, (&str, &BTreeMap<&'static str, Total>)> = BTreeMap::new();
        for (code, sheet) in &sheets.insurers {
            if self.wants(code, None) {
                expected.insert(insurer_part(code), (sheet.text(), sheet.totals()));
                self.found.sum(sheet.totals());
            }
        }
        for (account, sheet) in &sheets.accounts {
            let insurer = of.ledger.account(account)?.map(|account| account.insurer);
            if insurer.is_some_and(|insurer| self.wants(&insurer, Some(account))) {
                expected.insert(account_part(account), (sheet.text(), sheet.totals()));
                if self.scope.account.is_some() {
                    self.found.sum(sheet.totals());
                }
            }
        }
        let Some(book) = book else { return Ok(()) };
        let named: BTreeSet<String> = book.parts().map(|(name, _)| name.to_owned()).collect();
        for name in named.iter().filter(|name| is_part(name)) {
            if let Some((text, totals)) = expected.remove(name) {
                self.part(&book, name, text, Some(totals));
            } else if self.scope.insurer.is_none() && self.scope.account.is_none() {
                self.part(&book, name, HEAD, None);
            }
        }
        for (name, (_, totals)) in expected {
            if !totals.is_empty() {
                let text = "the journal has events of that day for it, its books have none";
                self.found.differs("BOOKS-DIFFER", name, text);
            }
        }
        self.reports(&day, &book)
    }

    /// One part against what the journal says today.
    fn part(
        &mut self,
        book: &Book,
        name: &str,
        expected: &str,
        totals: Option<&BTreeMap<&'static str, Total>>,
    ) {
        self.found.books += 1;
        let get = |name: &str| book.find(name).map(|part| book.read(part));
        let bytes = match get(name) {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => {
                self.found.differs("BOOKS-DAMAGED", name, format!("{error}; restore the file from a backup"));
                return;
            }
            None => return,
        };
        let signature = get(&signature_of(name)).and_then(Result::ok).unwrap_or_default();
        let signer = sshsig::verify(&signature, RECONCILIATION_NAMESPACE, &bytes);
        let ours = |signer: &sshsig::Signer| {
            self.of.keys.allowed_signers().contains(&crate::store::keys::public_line(&signer.key))
        };
        if !signer.is_ok_and(|signer| ours(&signer)) {
            self.found.differs("BOOKS-UNSIGNED", name, "its signature is not the gateway's over this text");
        }
        if bytes != expected.as_bytes() {
            let text = String::from_utf8_lossy(&bytes);
            let told = count_differences(&text, totals);
            self.found.differs(
                "BOOKS-DIFFER",
                name,
                format!("the signed file and the journal do not agree: {told}"),
            );
        }
    }

    /// What insurers still have in `reports/` must be what was signed.
    fn reports(&mut self, day: &ClosedDay, book: &Book) -> Result<(), WorkError> {
        for insurer in self.of.ledger.insurers()? {
            let code = insurer.code;
            let (true, Some(part)) = (self.wants(&code, None), book.find(&insurer_part(&code))) else {
                continue;
            };
            let Ok(spool) = InsurerSpool::open(&self.of.spool_root, &code) else { continue };
            let name = format!("reconciliation-{}.csv", day.day);
            let there = read(&spool, &name).doing(|| format!("reading reports/{name} of {code}"))?;
            if there.is_some_and(|bytes| Digest::of(&bytes) != part.sha256) {
                let text = "it is not what was signed; take the gateway's copy (its books) as the true one";
                self.found.differs("REPORT-CHANGED", format!("{code}/reports/{name}"), text);
            }
        }
        Ok(())
    }

    /// Names, addresses and contacts of insurers, offices and accounts.
    fn parties(&mut self) -> Result<(), WorkError> {
        let ledger = Arc::clone(&self.of.ledger);
        if self.scope.account.is_none() {
            let wanted = self.scope.insurer.as_ref();
            for insurer in
                ledger.insurers()?.into_iter().filter(|of| wanted.is_none_or(|code| of.code == *code))
            {
                self.card(&insurer.card, &format!("insurer {}", insurer.code))?;
                for office in ledger.offices(&insurer.code)? {
                    self.card(&office.card, &format!("office {} of {}", office.code, insurer.code))?;
                }
            }
        }
        for account in self.accounts()? {
            self.card(&account.card, &format!("account {}", account.id))?;
        }
        Ok(())
    }

    fn accounts(&self) -> Result<Vec<Account>, WorkError> {
        Ok(match &self.scope.account {
            Some(id) => self.of.ledger.account(id)?.into_iter().collect(),
            None => self.of.ledger.accounts(self.scope.insurer.as_ref())?,
        })
    }

    /// Mails that have still to be sent; those of everybody, or of one account.
    fn mails(&mut self) -> Result<(), WorkError> {
        if self.scope.insurer.is_some() && self.scope.account.is_none() {
            return Ok(());
        }
        let account = self.scope.account.clone();
        let mut filter = MailFilter { account, state: Some(MailState::Queued), ..MailFilter::default() };
        loop {
            let page = self.of.ledger.mails(&filter, PAGE)?;
            for mail in &page {
                self.card(&mail.card, &format!("mail {}", mail.id))?;
            }
            filter.before = page.last().map(|last| last.id);
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn submissions(&mut self) -> Result<(), WorkError> {
        let mut filter = SubmissionFilter {
            account: self.scope.account.clone(),
            insurer: self.scope.insurer.clone(),
            ..SubmissionFilter::default()
        };
        loop {
            let page = self.of.ledger.submissions(&filter, PAGE)?;
            for submission in &page {
                self.submission(submission)?;
            }
            filter.before = page.last().map(|last| last.number);
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn submission(&mut self, of: &Submission) -> Result<(), WorkError> {
        self.found.submissions += 1;
        let what = format!("submission {}", of.number);
        for file in &of.files {
            let still = || -> Result<bool, WorkError> {
                let now = self.of.ledger.submission(of.number)?;
                Ok(now.is_some_and(|now| now.files.iter().any(|other| other.blob == file.blob)))
            };
            if !self.there(&file.blob, Some(file.size)) && still()? {
                let text = format!(
                    "{} ({}) is gone or has another size: restore it from a backup",
                    file.export_name, file.blob
                );
                self.found.differs("SUBMISSION-WITHOUT-BLOB", &what, text);
            } else {
                self.candidate(&file.blob, file.sha256, &what);
            }
        }
        for card in std::iter::once(&of.card).chain(&of.decision) {
            self.card(card, &what)?;
        }
        Ok(())
    }

    fn documents(&mut self) -> Result<(), WorkError> {
        for account in self.accounts()? {
            let mut after = None;
            loop {
                let page = self.of.ledger.documents(&account.id, None, after, PAGE)?;
                for document in &page {
                    self.document(document)?;
                }
                after = page.last().map(|last| last.id);
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(())
    }

    fn document(&mut self, of: &Document) -> Result<(), WorkError> {
        self.found.documents += 1;
        let what = format!("document {}", of.id);
        if !self.there(&of.blob, Some(of.size)) && self.of.ledger.document(of.id)?.is_some() {
            let text =
                format!("{} is gone or has another size: restore it from a backup, or recall it", of.blob);
            self.found.differs("DOCUMENT-WITHOUT-BLOB", &what, text);
        } else {
            self.candidate(&of.blob, of.sha256, &what);
        }
        if let Some(hold) = &of.hold {
            self.card(&hold.card, &format!("{what}, its hold"))?;
        }
        self.card(&of.card, &what)
    }

    fn card(&mut self, card: &CardRef, what: &str) -> Result<(), WorkError> {
        // Erased cards are referred to no more.
        if self.there(&card.blob, None) {
            self.candidate(&card.blob, card.digest, what);
        } else if self.of.ledger.refers_to(&card.blob)? {
            let text = format!("its card {} is gone: restore it from a backup", card.blob);
            self.found.differs("CARD-MISSING", what, text);
        }
        Ok(())
    }

    fn there(&mut self, blob: &BlobId, size: Option<u64>) -> bool {
        self.found.blobs += 1;
        self.of.blobs.open(blob).is_ok_and(|reader| size.is_none_or(|size| reader.size() == size))
    }

    fn candidate(&mut self, blob: &BlobId, sha256: Digest, what: &str) {
        if self.scope.deep {
            self.hash(blob, sha256, what);
            return;
        }
        let mut order = Sha256::new();
        order.update(blob.as_str());
        order.update(self.now.date_in(self.of.zone).to_string());
        let order: [u8; 32] = order.finalize().into();
        let order = u64::from_be_bytes(order[..8].try_into().unwrap_or_default());
        let fits = self.sample.len() < self.of.sample
            || self.sample.peek().is_some_and(|(worst, ..)| order < *worst);
        if fits {
            self.sample.push((order, blob.clone(), sha256, what.to_owned()));
            if self.sample.len() > self.of.sample {
                self.sample.pop();
            }
        }
    }

    fn hashes(&mut self) -> Result<(), WorkError> {
        for (_, blob, sha256, what) in std::mem::take(&mut self.sample) {
            // Erased meanwhile is fine.
            if self.of.ledger.refers_to(&blob)? {
                self.hash(&blob, sha256, &what);
            }
        }
        Ok(())
    }

    fn hash(&mut self, blob: &BlobId, sha256: Digest, what: &str) {
        self.found.hashed += 1;
        match self.of.blobs.open(blob).and_then(|reader| hash_of(&mut *reader.stream())) {
            Ok(found) if found == sha256 => {}
            Ok(_) => {
                let text = format!("{blob} has another hash than the journal says: restore it from a backup");
                self.found.differs("BLOB-CHANGED", what, text);
            }
            Err(error) => self.found.differs("BLOB-UNREADABLE", what, format!("{blob}: {error}")),
        }
    }

    fn spools(&mut self) -> Result<(), WorkError> {
        if self.scope.account.is_some() {
            return Ok(());
        }
        for insurer in self.of.ledger.insurers()? {
            let code = insurer.code;
            if !self.wants(&code, None) {
                continue;
            }
            let _turn = self.of.turn.take();
            match InsurerSpool::open(&self.of.spool_root, &code) {
                Ok(spool) => {
                    self.spool(&code, &spool).doing(|| format!("looking at the spool of {code}"))??;
                }
                Err(error) => {
                    let text = format!("it cannot be opened: {error}; run `todoke doctor`");
                    self.found.differs("SPOOL-UNAVAILABLE", code.to_string(), text);
                }
            }
        }
        Ok(())
    }

    fn spool(&mut self, code: &InsurerCode, spool: &InsurerSpool) -> io::Result<Result<(), WorkError>> {
        let mut seen: BTreeMap<Number, Place> = BTreeMap::new();
        for place in [Place::New, Place::Cur, Place::Done, Place::Failed] {
            for name in spool.place(place).names()? {
                let name = name?;
                let text = name.to_string_lossy();
                let number = number_in(&text);
                let reason = text.strip_suffix(".reason").and_then(number_in);
                match number {
                    Some(number) => {
                        seen.insert(number, place);
                    }
                    None if place == Place::Failed && reason.is_some() => continue,
                    None => {
                        let what = format!("{code}/{}/{}", place.folder(), escape::excerpt(&text, 80));
                        self.found.differs("SPOOL-UNKNOWN", what, "it is not the gateway's: remove it");
                    }
                }
                self.found.folders += 1;
            }
        }
        if let Err(error) = self.places(code, spool, &seen) {
            return Ok(Err(error));
        }
        Ok(self.stages(code, spool))
    }

    /// What lies at its place against what the ledger says, both ways.
    fn places(
        &mut self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        seen: &BTreeMap<Number, Place>,
    ) -> Result<(), WorkError> {
        for (number, place) in seen {
            let what = format!("{code}/{}/{number}", place.folder());
            let known = self.of.ledger.submission(*number)?.filter(|of| of.insurer == *code && !of.test);
            let Some(known) = known else {
                self.found.differs(
                    "SPOOL-UNKNOWN",
                    what,
                    "the ledger has no such submission of this insurer's: look into its evidence/receipt.json, and move it away",
                );
                continue;
            };
            match (known.state, place) {
                (
                    State::Publishing
                    | State::Published
                    | State::Collected
                    | State::Imported
                    | State::ImportFailed,
                    Place::Cur | Place::Done | Place::Failed,
                )
                | (State::Publishing | State::Published, Place::New) => {
                    if *place == Place::New {
                        self.published(&what, spool, &known)?;
                    }
                }
                (State::Collected | State::Imported | State::ImportFailed, Place::New) => {
                    self.found.differs(
                        "SPOOL-BACK-IN-NEW",
                        what,
                        "it was collected before: the importer takes it by its number",
                    );
                }
                (state, _) => {
                    let text = format!("it is {} and has no place there: remove it", state.word());
                    self.found.differs("SPOOL-LEFT-OVER", what, text);
                }
            }
        }
        let mut filter = SubmissionFilter {
            insurer: Some(code.clone()),
            states: vec![State::Published],
            ..SubmissionFilter::default()
        };
        loop {
            let page = self.of.ledger.submissions(&filter, PAGE)?;
            for submission in page.iter().filter(|of| !seen.contains_key(&of.number)) {
                // An importer may just have moved it, by way of no lock of ours.
                let number = submission.number.to_string();
                let moved = [Place::New, Place::Cur, Place::Done, Place::Failed]
                    .iter()
                    .any(|place| spool.place(*place).stat(&number).is_ok_and(|stat| stat.is_some()));
                let state = self.of.ledger.submission(submission.number)?.map(|now| now.state);
                if !moved && state == Some(State::Published) {
                    let text = "it is published, but neither in new/ nor where importers move it; a running daemon takes that \
                                for collected";
                    self.found.differs("PUBLISHED-NOT-IN-NEW", format!("{code}/new/{number}"), text);
                }
            }
            filter.before = page.last().map(|last| last.number);
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// A folder in `new/` holds what was accepted, and nothing else; `deep` reads what stands around the payload as well.
    fn published(&mut self, what: &str, spool: &InsurerSpool, of: &Submission) -> Result<(), WorkError> {
        let Ok(folder) = spool.new.sub(of.number.to_string()) else {
            self.found.differs("SPOOL-CHANGED", what, "it is no folder that can be opened");
            return Ok(());
        };
        for file in &of.files {
            let name = &file.export_name;
            let size =
                folder.stat(name).ok().flatten().filter(|stat| !is_folder(stat)).map(|stat| stat.st_size);
            if size.and_then(|size| u64::try_from(size).ok()) != Some(file.size) {
                self.found.differs("SPOOL-CHANGED", what, format!("{name} is not there as it was published"));
            }
        }
        let ours =
            |name: &str| AROUND.contains(&name) || of.files.iter().any(|file| file.export_name == name);
        for name in folder.names().and_then(Iterator::collect::<io::Result<Vec<_>>>).unwrap_or_default() {
            let name = name.to_string_lossy();
            if !ours(&name) {
                let name = escape::excerpt(&name, 80);
                self.found.differs("SPOOL-CHANGED", what, format!("{name} was not published: move it away"));
            }
        }
        for name in AROUND {
            if !folder.stat(name).is_ok_and(|stat| stat.is_some()) {
                self.found.differs("SPOOL-CHANGED", what, format!("{name} is not there any more"));
            }
        }
        if self.scope.deep { self.around(what, &folder, of) } else { Ok(()) }
    }

    /// What stands around the payload is what the submission's card says.
    fn around(&mut self, what: &str, folder: &Folder, of: &Submission) -> Result<(), WorkError> {
        let blobs = Arc::clone(&self.of.blobs);
        // A card that is gone is told as such.
        let Ok(card) = cards::get(&*blobs, &of.card) else { return Ok(()) };
        let decision = of.decision.as_ref().and_then(|decision| cards::get(&*blobs, decision).ok());
        let expected = publish::around(of, &card, decision.as_ref())
            .doing(|| format!("making the files of {what} anew"))?;
        let evidence = folder.sub(publish::EVIDENCE).ok();
        for file in expected {
            let within = if file.evidence { evidence.as_ref() } else { Some(folder) };
            let there = within.and_then(|within| within.open_file(file.name, OFlags::RDONLY).ok());
            let mut bytes = Vec::new();
            let read = there.map(|there| there.take(file.bytes.len() as u64 + 1).read_to_end(&mut bytes));
            if read.is_none_or(|read| read.is_err()) || bytes != file.bytes {
                let text = format!("{} is not there as it was published", file.name);
                self.found.differs("SPOOL-CHANGED", what, text);
            }
        }
        Ok(())
    }

    /// What lies in `.tmp/`, and who takes it.
    fn stages(&mut self, code: &InsurerCode, spool: &InsurerSpool) -> Result<(), WorkError> {
        let calendar = self.of.ledger.calendar(code)?;
        let names: Vec<_> =
            spool.tmp.names().and_then(Iterator::collect).doing(|| format!("reading .tmp/ of {code}"))?;
        for name in names {
            let text = name.to_string_lossy();
            let number = text.strip_prefix("withdrawn-").and_then(number_in).or_else(|| number_in(&text));
            let state = match number {
                Some(number) => self.of.ledger.submission(number)?.map(|of| of.state),
                None => None,
            };
            let under_way = match state {
                Some(State::Accepted | State::Publishing) => Some("publication goes on with it"),
                Some(State::Published) if text.starts_with("withdrawn-") => {
                    Some("the next start puts it back")
                }
                _ if is_closed_stage(calendar.as_ref(), &text) => {
                    Some("the next step puts the batch into batches/")
                }
                _ => None,
            };
            let what = format!("{code}/.tmp/{}", escape::excerpt(&text, 80));
            let mut goes_at = None;
            let takes = if let Some(takes) = under_way {
                takes
            } else if erase_leftover(&text).is_some() {
                "an erasure under way; the hourly sweep of .tmp/ takes it"
            } else {
                let stat = spool.tmp.stat(&name).doing(|| format!("looking at {what}"))?;
                goes_at = stat.filter(|_| number.is_none()).map(|stat| stage_due(&stat));
                "nothing will come of it; the hourly sweep of .tmp/ takes it"
            };
            self.found.add(Finding {
                severity: Severity::Leftover,
                code: "STAGE",
                what,
                text: takes.to_owned(),
                goes_at,
            });
        }
        self.taking(code, spool)?;
        self.batches(code, spool)
    }

    /// What lies in `.taking/`: deliveries that were begun.
    fn taking(&mut self, code: &InsurerCode, spool: &InsurerSpool) -> Result<(), WorkError> {
        let names = spool.taking.names().and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for name in names.doing(|| format!("reading .taking/ of {code}"))? {
            let text = name.to_string_lossy();
            let what = format!("{code}/.taking/{}", escape::excerpt(&text, 80));
            if is_begun(&text) {
                let text = "a delivery that was begun; the next look at outgoing/ goes on with it";
                self.found.say(Severity::Leftover, "TAKING", what, text);
            } else {
                self.found.differs("SPOOL-UNKNOWN", what, "no delivery goes on with it: remove it");
            }
        }
        Ok(())
    }
}

/// What stands around the payload of a published folder.
const AROUND: [&str; 3] = ["submission.json", "FILES.sha256", publish::EVIDENCE];

fn is_part(name: &str) -> bool {
    name.strip_suffix(".sig").is_none()
}

fn hash_of(from: &mut dyn io::Read) -> io::Result<Digest> {
    Digest::read(from, &mut vec![0; 128 << 10])
}

/// Which counts of a signed file are not those of the journal.
fn count_differences(text: &str, totals: Option<&BTreeMap<&'static str, Total>>) -> String {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let word = line.split(',').nth(1).unwrap_or_default();
        counts.entry(word).or_default().0 += 1;
    }
    for (word, total) in totals.into_iter().flatten() {
        counts.entry(word).or_default().1 = total.rows;
    }
    let told: Vec<String> = counts
        .iter()
        .filter(|(_, (signed, now))| signed != now)
        .map(|(word, (signed, now))| {
            format!("{} {signed} signed, {now} in the journal", escape::excerpt(word, 40))
        })
        .collect();
    if told.is_empty() { "the counts agree, the rows do not".to_owned() } else { told.join("; ") }
}
