//! One document into one outbox.

use std::collections::HashSet;
use std::io;

use sha2::Digest as _;

use super::content::{Allowed, ContentCheck};
use super::files::BUFFER_BYTES;
use super::report::Outcome;
use super::resolve::{Parties, Target, stands};
use super::sheet::{Address, Fault};
use super::{Deliveries, DocumentTable};
use crate::model::card::DocumentCard;
use crate::model::document::Document;
use crate::model::event::Series;
use crate::model::ids::{AccountId, BlobId, Digest, DocumentId, InsurerCode};
use crate::model::metric;
use crate::model::party::{Actor, Standing};
use crate::model::time::{Day, Timestamp};
use crate::rules::retention::{expires_at, month_of};
use crate::store::cards;
use crate::store::ledger::{Done, Op};
use crate::work::ports::{Scan, Unscanned};
use crate::work::step::{Doing as _, WorkError};

/// Documents placed in one event batch: one `syncfs` and one write of the journal for all of them.
const BATCH: usize = 1_000;
/// What a document of no type in the insurer's table is filed under.
const OTHER_KIND: &str = "その他";

/// A document to be placed, as its bearer names it.
pub(super) struct Content<'a> {
    pub(super) bytes: Bytes<'a>,
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) title: &'a str,
    /// Plain text will do: an announcement.
    pub(super) text: bool,
}

/// Its bytes.
pub(super) enum Bytes<'a> {
    /// To be read.
    Read(&'a mut dyn io::Read),
    /// Copied already.
    Copied(Copy),
}

/// Bytes in a blob, not durable yet, and what was seen of them on the way.
pub(super) struct Copy {
    pub(super) blob: BlobId,
    /// Hash and size; or why they were not read to their end.
    pub(super) read: Result<(Digest, u64), Fault>,
    check: ContentCheck,
}

/// A document whose bytes and card are written, though not durable yet.
pub(super) struct Ready {
    document: Document,
    warning: Option<Fault>,
}

impl Ready {
    pub(super) fn into_document(self) -> Document {
        self.document
    }
}

/// What became of a document before it is placed.
pub(super) enum Prepared {
    /// Its bytes and card are written.
    Ready(Box<Ready>),
    Not(Fault),
    ScannerDown,
}

/// Documents that share their fsyncs.
#[derive(Default)]
pub(super) struct Batch(Vec<(usize, Ready, Digest)>);

impl Batch {
    pub(super) fn add(&mut self, index: usize, ready: Ready, row: Digest) {
        self.0.push((index, ready, row));
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= BATCH
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One document from the command line or the control socket.
pub struct PlaceRequest<'a> {
    /// From whom.
    pub insurer: &'a InsurerCode,
    /// For whom.
    pub address: Address,
    /// Its type.
    pub kind: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Its file's name.
    pub original_name: &'a str,
    /// Its bytes.
    pub content: &'a mut dyn io::Read,
    /// Who places it.
    pub by: Actor,
}

/// What became of a [`PlaceRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacedOne {
    /// It is in the outbox; with a warning about its type.
    Placed(DocumentId, Option<Fault>),
    /// The same document was placed there on the same day already: nothing was done.
    Before(DocumentId),
    /// It cannot be placed.
    Not(Fault),
    /// The scanner does not answer: try again.
    ScannerDown,
}

/// What the ledger has of a row.
pub(super) enum RowState {
    /// Nothing that counts: to be placed. A document that was recalled or expired before is no reason not to.
    New,
    /// Its document is there, or went only since the taking began, and when it was placed.
    Counts(DocumentId, Timestamp),
    /// Its document is from an earlier taking, and is just being removed.
    Going,
}

/// When a taking began: what it placed itself is told from what was there before by its number, since the clock may have been put
/// back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    /// The first number that it could give; none for one that an older version began.
    pub(super) first: Option<DocumentId>,
    /// By the ledger's time, which never goes back.
    pub(super) at: Timestamp,
}

impl Since {
    /// No document that is gone counts.
    pub(super) const NEVER: Self = Self { first: None, at: Timestamp(i64::MAX) };

    /// Whether this document was placed since.
    pub(super) fn placed(self, id: DocumentId, at: Timestamp) -> bool {
        self.first.map_or(at >= self.at, |first| id >= first)
    }
}

impl Deliveries {
    /// What became of a row; `since` is when the present taking began, so that what it placed is not placed again after a
    /// crash, even if it was recalled meanwhile.
    pub(super) fn row_state(&self, row: Digest, since: Since) -> Result<RowState, WorkError> {
        let Some(id) = self.ledger.delivered_row(row)? else { return Ok(RowState::New) };
        if let Some(document) = self.ledger.document(id)? {
            return Ok(RowState::Counts(id, document.placed_at));
        }
        if let Some((document, _)) = self.ledger.removing(id)? {
            let ours = since.placed(id, document.placed_at);
            return Ok(if ours { RowState::Counts(id, document.placed_at) } else { RowState::Going });
        }
        Ok(match self.ledger.removed_document(id)? {
            Some(gone) if since.placed(id, gone.placed_at) || gone.removed_at > since.at => {
                RowState::Counts(id, gone.placed_at)
            }
            _ => RowState::New,
        })
    }

    /// None while this insurer may send.
    pub(super) fn may_send(&self, insurer: &InsurerCode) -> Result<Option<Fault>, WorkError> {
        Ok(match self.ledger.insurer(insurer)?.map(|of| of.standing) {
            Some(Standing::Active) => None,
            Some(_) => Some(Fault::refused(
                "INSURER-NOT-ACTIVE",
                "この保険者は停止中か廃止されています。再開してから配信してください。",
                "this insurer is suspended or closed, so nothing goes out in its name; resume it first",
            )),
            None => Some(Fault::refused(
                "INSURER-UNKNOWN",
                "この保険者は登録されていません。保険者番号を確認してください。",
                "there is no such insurer; look at `todoke insurer list`",
            )),
        })
    }

    /// Places one document: what `todoke deliver` calls. The same bytes to the same address under the same title on the
    /// same local day are one document, so that a repeated command does no harm.
    pub fn place_one(&self, request: PlaceRequest<'_>, now: Timestamp) -> Result<PlacedOne, WorkError> {
        let PlaceRequest { insurer, address, kind, title, original_name, content, by } = request;
        if let Some(fault) = self.may_send(insurer)? {
            return Ok(PlacedOne::Not(fault));
        }
        let parties = self.parties(insurer, now)?;
        let target = match self.target(insurer, &parties, &address)? {
            Ok(target) => target,
            Err(fault) => return Ok(PlacedOne::Not(fault)),
        };
        let bytes = Bytes::Read(content);
        let content = Content { bytes, name: original_name, kind, title, text: false };
        let ready = match self.prepare(insurer, target, content, None, now)? {
            Prepared::Ready(ready) => *ready,
            Prepared::Not(fault) => return Ok(PlacedOne::Not(fault)),
            Prepared::ScannerDown => return Ok(PlacedOne::ScannerDown),
        };
        let row = self.single_digest(&ready.document, title, now);
        let answer = match self.row_state(row, Since::NEVER)? {
            RowState::New => None,
            RowState::Counts(id, _) => Some(PlacedOne::Before(id)),
            RowState::Going => Some(PlacedOne::Not(going())),
        };
        if let Some(answer) = answer {
            self.discard(&ready.document)?;
            return Ok(answer);
        }
        let mut batch = Batch::default();
        batch.add(0, ready, row);
        let outcome = self.flush(batch, &by, now)?.into_iter().next().map(|(_, outcome)| outcome);
        Ok(match outcome {
            Some(Outcome::Placed(id, warning)) => PlacedOne::Placed(id, warning),
            Some(Outcome::Before(id)) => PlacedOne::Before(id),
            Some(Outcome::Not(fault)) => PlacedOne::Not(fault),
            None => PlacedOne::ScannerDown,
        })
    }

    fn single_digest(&self, document: &Document, title: &str, now: Timestamp) -> Digest {
        let mut hash = sha2::Sha256::new();
        hash.update(b"todoke-delivery-one/1\0");
        let answered = document.in_reply_to.map(|number| number.to_string()).unwrap_or_default();
        let day = now.date_in(self.zone).to_string();
        let (insurer, account) = (document.insurer.as_str(), document.account.as_str());
        for part in [insurer, account, document.office.as_str(), &answered, &document.kind, title, &day] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(document.sha256.0);
        Digest(hash.finalize().into())
    }

    /// An insurer's parties as they are on this day.
    pub(super) fn parties(&self, code: &InsurerCode, now: Timestamp) -> Result<Parties, WorkError> {
        let day = Day::of(now, self.zone);
        Ok(Parties::read(&*self.ledger, code, day, (self.delegations)(code))?)
    }

    /// Whom an address means.
    pub(super) fn target(
        &self,
        code: &InsurerCode,
        parties: &Parties,
        address: &Address,
    ) -> Result<Result<Target, Fault>, WorkError> {
        let answered = match address.in_reply_to {
            Some(number) => self.ledger.submission(number)?.filter(|submission| submission.insurer == *code),
            None => None,
        };
        Ok(parties.resolve(address, answered.as_ref()))
    }

    /// Copies, checks and scans one document, and writes its card. `expected` is the hash its set was fixed with.
    pub(super) fn prepare(
        &self,
        code: &InsurerCode,
        target: Target,
        content: Content<'_>,
        expected: Option<Digest>,
        now: Timestamp,
    ) -> Result<Prepared, WorkError> {
        let table = (self.tables)(code);
        let doing = || "copying a document".to_owned();
        let Content { bytes, name, kind: given, title, text } = content;
        let Copy { blob, read, check } = match bytes {
            Bytes::Copied(copy) => copy,
            Bytes::Read(bytes) => self.copy(bytes, &mut vec![0; BUFFER_BYTES], now).doing(doing)?,
        };
        let verdict = read.and_then(|(sha256, size)| {
            let format = check.verdict(name, Allowed { csv: table.csv && !text, text })?;
            if expected.is_some_and(|expected| expected != sha256) {
                return Err(changed());
            }
            Ok((format, sha256, size))
        });
        let (format, sha256, size) = match verdict {
            Ok(copied) => copied,
            Err(fault) => {
                self.blobs.remove(&[blob]).doing(doing)?;
                return Ok(Prepared::Not(fault));
            }
        };
        let scanned = {
            let reader = self.blobs.open(&blob).doing(doing)?;
            self.scanner.scan(&mut *reader.stream(), size)
        };
        if let Some(answer) = not_clean(&scanned) {
            self.blobs.remove(&[blob]).doing(doing)?;
            return Ok(answer);
        }
        let kind = filed_under(&table, given);
        let card = DocumentCard {
            salt: cards::salt().doing(doing)?,
            title: title.to_owned(),
            original_name: name.to_owned(),
        };
        let card = cards::put(&*self.blobs, &card, now).doing(doing)?;
        let serial = self.ledger.next_serial(Series::Document, now)?;
        let days = table.keep_days.unwrap_or(self.policy.keep_days);
        let document = Document {
            id: DocumentId { epoch: self.ledger.head().epoch, serial },
            account: target.account,
            office: target.office,
            insurer: code.clone(),
            in_reply_to: target.in_reply_to,
            blob,
            sha256,
            size,
            format,
            kind: kind.to_owned(),
            month: month_of(now, self.zone),
            card,
            placed_at: now,
            expires_at: expires_at(now, days, self.zone),
            fetched: None,
            partly_fetched: None,
            prolonged_at: None,
            hold: None,
            announcement: None,
        };
        Ok(Prepared::Ready(Box::new(Ready { document, warning: (kind != given).then(unknown_kind) })))
    }

    /// Into a blob, hashed and looked at on the way. `StorageFull` where the disk's reserve begins.
    pub(super) fn copy(
        &self,
        content: &mut dyn io::Read,
        buffer: &mut [u8],
        now: Timestamp,
    ) -> io::Result<Copy> {
        let (free, least) = (self.blobs.free_bytes()?, (self.free_bytes_min)());
        if free < least {
            let why = format!("{free} bytes are free, less than submit.free_bytes_min ({least})");
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        let mut writer = self.blobs.create(now)?;
        let blob = writer.id().clone();
        let mut check = ContentCheck::default();
        let mut hash = sha2::Sha256::new();
        let mut size = 0;
        loop {
            let read = match content.read(buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    drop(writer);
                    self.blobs.remove(&[blob])?;
                    return Err(error);
                }
            };
            if read == 0 {
                break;
            }
            let bytes = &buffer[..read];
            if size + read as u64 > self.policy.document_bytes_max {
                let read = Err(too_large(self.policy.document_bytes_max));
                return Ok(Copy { blob, read, check });
            }
            writer.write_at(size, bytes)?;
            hash.update(bytes);
            check.feed(bytes);
            size += read as u64;
        }
        Ok(Copy { blob, read: Ok((Digest(hash.finalize().into()), size)), check })
    }

    /// Makes a batch durable and places it; what became of each, by the index it was added with.
    pub(super) fn flush(
        &self,
        batch: Batch,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Vec<(usize, Outcome)>, WorkError> {
        let ready = batch.0;
        let blobs: Vec<BlobId> = ready
            .iter()
            .flat_map(|(_, ready, _)| [ready.document.blob.clone(), ready.document.card.blob.clone()])
            .collect();
        self.blobs.sync(&blobs).doing(|| "making documents durable".into())?;
        self.points.pass("documents durable")?;
        let rows = ready.iter().map(|(_, ready, row)| (ready.document.clone(), *row)).collect();
        let Done::Documents(placed) = self.ledger.commit(Op::Place(rows), by.clone(), now)? else {
            return Ok(Vec::new());
        };
        metrics::counter!(metric::DOCUMENTS_PLACED).increment(placed.len() as u64);
        self.memory.tell_placed();
        let placed: HashSet<DocumentId> = placed.into_iter().collect();
        let mut outcomes = Vec::with_capacity(ready.len());
        for (index, ready, row) in ready {
            let id = ready.document.id;
            if placed.contains(&id) {
                outcomes.push((index, Outcome::Placed(id, ready.warning)));
                continue;
            }
            self.discard(&ready.document)?;
            outcomes.push((index, self.why_not(row, &ready.document)?));
        }
        Ok(outcomes)
    }

    /// Why the ledger left a row out.
    fn why_not(&self, row: Digest, document: &Document) -> Result<Outcome, WorkError> {
        if let RowState::Counts(id, _) = self.row_state(row, Since::NEVER)? {
            return Ok(Outcome::Before(id));
        }
        Ok(Outcome::Not(self.standing_fault(&document.account)?.unwrap_or_else(going)))
    }

    /// Why nothing is placed with this account, if its standing is why.
    pub(super) fn standing_fault(&self, account: &AccountId) -> Result<Option<Fault>, WorkError> {
        Ok(self.ledger.account(account)?.and_then(|account| stands(&account).err()))
    }

    pub(super) fn discard(&self, document: &Document) -> Result<(), WorkError> {
        let blobs = [document.blob.clone(), document.card.blob.clone()];
        self.blobs.remove(&blobs).doing(|| "removing a second copy".into())
    }
}

/// Fail closed: whatever is not clean is not delivered, and an absent answer is no answer. An installation that has decided
/// on no scanner (`Unscanned::NoScanner`) delivers, as intake accepts.
fn not_clean(scan: &Scan) -> Option<Prepared> {
    match scan {
        Scan::Clean { .. } | Scan::NotScanned { why: Unscanned::NoScanner } => None,
        Scan::Infected { .. } => Some(Prepared::Not(infected())),
        Scan::NotScanned { .. } => Some(Prepared::Not(not_scanned())),
        Scan::Down { .. } => Some(Prepared::ScannerDown),
    }
}

/// The same document was placed before, and its removal is under way.
pub(super) fn going() -> Fault {
    Fault::refused(
        "DOCUMENT-GOING",
        "同じ文書がちょうど取り消し中(または期限で削除中)です。少し待ってからもう一度置いてください。",
        "the same document is just being removed (recalled or over its days); put it again in a while",
    )
}

/// The type that a document is filed under: as the insurer wrote it, if its table has it.
pub(super) fn filed_under<'a>(table: &DocumentTable, given: &'a str) -> &'a str {
    if table.types.iter().any(|kind| kind == given) { given } else { OTHER_KIND }
}

fn changed() -> Fault {
    Fault::refused(
        "FILE-CHANGED",
        "取り込み中にファイルが変わりました。書き終えてから delivery.csv を置いてください。",
        "the file changed while it was taken in; put delivery.csv there last",
    )
}

fn infected() -> Fault {
    Fault::refused(
        "VIRUS-FOUND",
        "ウイルスが見つかりました。この文書は配信していません。作成した PC を確認してください。",
        "a virus was found; it was not delivered; check the machine it was made on",
    )
}

fn not_scanned() -> Fault {
    Fault::refused(
        "VIRUS-NOT-SCANNED",
        "ウイルス検査を最後まで行えないため配信していません。ファイルを小さくしてください。",
        "it could not be scanned as a whole and was not delivered; make the file smaller",
    )
}

fn too_large(max: u64) -> Fault {
    let mib = max / (1024 * 1024);
    Fault::refused(
        "FILE-TOO-LARGE",
        format!("ファイルが大きすぎます(上限 {mib} MiB)。分けてください。"),
        format!("the file is larger than {mib} MiB; split it"),
    )
}

fn unknown_kind() -> Fault {
    Fault::refused(
        "TYPE-UNKNOWN",
        "type が一覧にないため「その他」として配信しました。",
        "type is not in the table; delivered as その他 (other)",
    )
}
