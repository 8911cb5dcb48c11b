//! Files that can be read: made ones (receipts, histories) and documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::office::OfficeTree;
use super::port::{Answer, Attributes, Fault, OpenFile, SetAttributes};
use super::words::Words;
use crate::model::document::Document;
use crate::model::ids::{AccountId, DocumentId};
use crate::model::party::Actor;
use crate::model::time::Clock;
use crate::store::blobs::BlobReader;
use crate::store::ledger::{Ledger, Op};
use crate::store::readings::Reading;
use crate::store::receipts::Made;

/// A file that was made when it was opened.
pub(super) struct MadeFile {
    made: Made,
    words: Words,
}

impl MadeFile {
    pub(super) fn new(made: Made, words: Words) -> Self {
        Self { made, words }
    }
}

impl OpenFile for MadeFile {
    fn read_at(&mut self, offset: u64, length: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
        let bytes = &self.made.bytes;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let to = from.saturating_add(length).min(bytes.len());
        into.extend_from_slice(&bytes[from..to]);
        Ok(())
    }

    fn write_at(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), Fault> {
        Err(self.words.read_only())
    }

    fn stat(&mut self) -> Result<Attributes, Fault> {
        let size = self.made.bytes.len() as u64;
        Ok(Attributes { folder: false, size, mode: 0o440, modified: self.made.at.unix_seconds() })
    }

    fn set_stat(&mut self, _to: SetAttributes) -> Result<(), Fault> {
        Err(self.words.read_only())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Answer {
        Answer::Now(Ok(()))
    }
}

/// A document in an outbox. What was downloaded of it is recorded when it is closed, or when the session ends first.
pub(super) struct StoredDocument {
    id: DocumentId,
    size: u64,
    modified: u64,
    reader: Box<dyn BlobReader>,
    /// Ranges that were read, merged: start to end. Begins with what earlier downloads got before they broke off, which this
    /// one may go on from (`reget`).
    read: BTreeMap<u64, u64>,
    /// How far this download is, for whoever takes the document back meanwhile.
    reading: Arc<Reading>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    account: AccountId,
    words: Words,
    /// That it was taken back was told.
    told: bool,
    /// [`Ledger::removals`] when it was last seen to be there.
    there: Option<u64>,
}

/// A client that reads a document in more scattered pieces than this is not credited with a whole download.
const RANGES_MAX: usize = 4096;

impl StoredDocument {
    pub(super) fn new(tree: &OfficeTree, document: &Document, reader: Box<dyn BlobReader>) -> Self {
        let before = document.partly_fetched.filter(|(_, bytes)| *bytes > 0 && document.fetched.is_none());
        let before = before.map(|(_, bytes)| (0, bytes));
        let had = before.map_or(0, |(_, bytes)| bytes);
        let account = tree.account.id.clone();
        let reading = tree.parts.readings.begin(document.id, account.clone(), document.size, had);
        Self {
            id: document.id,
            size: document.size,
            modified: document.placed_at.unix_seconds(),
            reader,
            read: before.into_iter().collect(),
            reading: Arc::new(reading),
            ledger: Arc::clone(&tree.parts.ledger),
            clock: Arc::clone(&tree.parts.clock),
            account,
            words: tree.words,
            told: false,
            there: None,
        }
    }

    /// Records it on a thread where that may block.
    fn record(&self, op: Op) -> tokio::task::JoinHandle<()> {
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.clock));
        let (id, account) = (self.id, self.account.clone());
        let reading = Arc::clone(&self.reading);
        tokio::task::spawn_blocking(move || {
            // Of what was purged or recalled meanwhile it is recorded as well.
            if let Err(error) = ledger.commit(op, Actor::Account(account), clock.now()) {
                tracing::warn!(document = %id, %error, "a download could not be recorded");
            }
            // Until here a recall had to hear of it from us.
            drop(reading);
        })
    }

    /// Refuses what is recalled or over its days, also while it is being downloaded. What was read until then is recorded at
    /// once, so that whoever takes it back may still learn of it.
    fn still_there(&mut self) -> Result<(), Fault> {
        let removals = self.ledger.removals();
        if self.there == Some(removals) {
            return Ok(());
        }
        if self.ledger.document(self.id).map_err(|error| self.words.ledger(&error))?.is_some() {
            self.there = Some(removals);
            return Ok(());
        }
        if let Some(op) = self.reading.outcome() {
            self.record(op);
        }
        // A client has many reads under way, and its stderr needs these words once.
        let first = !std::mem::replace(&mut self.told, true);
        Err(self.words.taken_back(first))
    }

    fn note(&mut self, mut start: u64, mut end: u64) {
        if let Some((&s, &e)) = self.read.range(..=start).next_back()
            && e >= start
        {
            start = s;
            end = end.max(e);
        }
        while let Some((&s, &e)) = self.read.range(start..=end).next() {
            end = end.max(e);
            self.read.remove(&s);
        }
        if self.read.len() < RANGES_MAX {
            self.read.insert(start, end);
        }
        self.reading.note(self.read.get(&0).copied().unwrap_or(0));
    }
}

impl OpenFile for StoredDocument {
    fn read_at(&mut self, offset: u64, length: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
        self.still_there()?;
        let before = into.len();
        self.reader.read_at(offset, length, into).map_err(|e| self.words.io(&e))?;
        let got = (into.len() - before) as u64;
        if got > 0 {
            self.note(offset, offset.saturating_add(got));
            // Asked again now that it is noted: what went meanwhile is not given out any more, see `store::readings`.
            self.still_there().inspect_err(|_| into.truncate(before))?;
        }
        Ok(())
    }

    fn write_at(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), Fault> {
        Err(self.words.outbox_read_only())
    }

    fn stat(&mut self) -> Result<Attributes, Fault> {
        Ok(Attributes { folder: false, size: self.size, mode: 0o440, modified: self.modified })
    }

    fn set_stat(&mut self, _to: SetAttributes) -> Result<(), Fault> {
        Err(self.words.outbox_read_only())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Answer {
        let Some(op) = self.reading.outcome() else { return Answer::Now(Ok(())) };
        let recorded = self.record(op);
        Answer::Later(Box::pin(async move {
            let _ = recorded.await;
            Ok(())
        }))
    }
}

impl Drop for StoredDocument {
    fn drop(&mut self) {
        // Outside the runtime only when the daemon is going down: then this download goes unrecorded.
        if let Some(op) = self.reading.outcome()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.record(op);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::card::CardRef;
    use crate::model::document::{Format, RemovalReason};
    use crate::model::finding::Language;
    use crate::model::ids::{Digest, OfficeCode};
    use crate::model::time::SetClock;
    use crate::small_world::{INSURER, World, account, code};
    use crate::store::blobs::Blobs as _;
    use crate::store::readings::Readings;

    fn document(world: &World) -> Document {
        let put = |bytes: &[u8]| world.blobs.put(bytes, world.now).unwrap();
        let document = Document {
            id: DocumentId { epoch: 1, serial: 1 },
            account: account("K0001"),
            office: OfficeCode::parse("1234").unwrap(),
            insurer: code(INSURER),
            in_reply_to: None,
            blob: put(b"0123456789"),
            sha256: Digest::of(b"0123456789"),
            size: 10,
            format: Format::Pdf,
            kind: "お知らせ".into(),
            month: "2026-11".into(),
            card: CardRef { blob: put(b"card"), digest: Digest::of(b"card") },
            placed_at: world.now,
            expires_at: world.now.plus_days(70),
            fetched: None,
            partly_fetched: None,
            prolonged_at: None,
            hold: None,
            announcement: None,
        };
        world.ledger.add_document(document.clone());
        document
    }

    /// A recall ends a download under way, and what had come through by then goes on record.
    #[tokio::test]
    async fn a_document_that_is_taken_back_is_read_no_further() {
        let world = World::new();
        let document = document(&world);
        let mut open = StoredDocument {
            id: document.id,
            size: document.size,
            modified: 0,
            reader: world.blobs.open(&document.blob).unwrap(),
            read: BTreeMap::new(),
            reading: Arc::new(Arc::new(Readings::default()).begin(
                document.id,
                document.account.clone(),
                document.size,
                0,
            )),
            ledger: world.ledger.clone(),
            clock: Arc::new(SetClock::at(world.now)),
            account: document.account.clone(),
            words: Words(Language::En),
            told: false,
            there: None,
        };
        let mut bytes = Vec::new();
        open.read_at(0, 4, &mut bytes).unwrap();
        let ids = vec![document.id];
        let intend = Op::RemovalIntend { ids: ids.clone(), reason: RemovalReason::Recalled };
        world.ledger.commit(intend, Actor::Operator(0), world.now).unwrap();
        let fault = open.read_at(4, 4, &mut bytes).unwrap_err();
        assert!(fault.loud && fault.code == "DOCUMENT-GONE");
        assert!(!open.read_at(8, 2, &mut bytes).unwrap_err().loud, "the words are said once");
        assert_eq!(bytes, b"0123");
        world.ledger.commit(Op::Removed(ids), Actor::Operator(0), world.now).unwrap();
        let gone = || world.ledger.removed_document(document.id).unwrap().unwrap();
        while gone().partly_fetched.is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(gone().partly_fetched, Some((world.now, 4)));
    }
}
