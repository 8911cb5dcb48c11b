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
    /// Something was read in this download.
    touched: bool,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    account: AccountId,
    words: Words,
    recorded: bool,
}

/// A client that reads a document in more scattered pieces than this is not credited with a whole download.
const RANGES_MAX: usize = 4096;

impl StoredDocument {
    pub(super) fn new(tree: &OfficeTree, document: &Document, reader: Box<dyn BlobReader>) -> Self {
        let before = document.partly_fetched.filter(|(_, bytes)| *bytes > 0 && document.fetched.is_none());
        let before = before.map(|(_, bytes)| (0, bytes));
        Self {
            id: document.id,
            size: document.size,
            modified: document.placed_at.unix_seconds(),
            reader,
            read: before.into_iter().collect(),
            touched: false,
            ledger: Arc::clone(&tree.parts.ledger),
            clock: Arc::clone(&tree.parts.clock),
            account: tree.account.id.clone(),
            words: tree.words,
            recorded: false,
        }
    }

    /// What is to be recorded of this download: nothing when no byte was read.
    fn outcome(&mut self) -> Option<Op> {
        if std::mem::replace(&mut self.recorded, true) {
            return None;
        }
        let bytes = self.read.get(&0).copied().unwrap_or(0);
        match (self.touched, bytes >= self.size) {
            (touched, true) if touched || self.size == 0 => Some(Op::Fetched(self.id)),
            (true, _) => Some(Op::PartlyFetched { id: self.id, bytes }),
            (false, _) => None,
        }
    }

    /// Records it on a thread where that may block.
    fn record(&self, op: Op) -> tokio::task::JoinHandle<()> {
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.clock));
        let (id, account) = (self.id, self.account.clone());
        tokio::task::spawn_blocking(move || {
            // Purged or recalled between the last byte and here: nothing to record, and the client has what it read.
            if let Err(error) = ledger.commit(op, Actor::Account(account), clock.now()) {
                tracing::warn!(document = %id, %error, "a download could not be recorded");
            }
        })
    }

    fn note(&mut self, mut start: u64, mut end: u64) {
        self.touched = true;
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
    }
}

impl OpenFile for StoredDocument {
    fn read_at(&mut self, offset: u64, length: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
        let before = into.len();
        self.reader.read_at(offset, length, into).map_err(|e| self.words.io(&e))?;
        let got = (into.len() - before) as u64;
        if got > 0 {
            self.note(offset, offset.saturating_add(got));
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

    fn close(mut self: Box<Self>) -> Answer {
        let Some(op) = self.outcome() else { return Answer::Now(Ok(())) };
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
        if let Some(op) = self.outcome()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.record(op);
        }
    }
}
