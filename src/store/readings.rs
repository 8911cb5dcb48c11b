//! Documents that are open for reading just now, and how far each reader came: what the ledger hears of only at the end of a
//! download, somebody who takes the document back must know at once (誤配信).
//!
//! A reader notes what it is about to give *before* it looks whether the document is still there ([`Ledger::removals`]); a recall
//! asks here *after* its intent is committed. So either the reader sees the intent and gives nothing, or the recall sees the note.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::Op;
use crate::model::ids::{AccountId, DocumentId};

#[cfg(doc)]
use super::ledger::Ledger;

type Open = BTreeMap<(DocumentId, u64), Arc<Progress>>;

/// All that are open in this process. As many as there are open handles of documents, which `sftp.handles_max` bounds for each
/// channel.
#[derive(Default)]
pub struct Readings {
    open: Mutex<Open>,
    last: AtomicU64,
}

struct Progress {
    account: AccountId,
    size: u64,
    /// Bytes given out from the start on without a gap, with those of earlier downloads.
    bytes: AtomicU64,
    touched: AtomicBool,
    recorded: AtomicBool,
}

impl Progress {
    fn outcome(&self, id: DocumentId) -> Option<Op> {
        let bytes = self.bytes.load(Ordering::SeqCst);
        match (self.touched.load(Ordering::SeqCst), bytes >= self.size) {
            (touched, true) if touched || self.size == 0 => Some(Op::Fetched(id)),
            (true, _) => Some(Op::PartlyFetched { id, bytes }),
            (false, _) => None,
        }
    }
}

impl Readings {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody opens a document of `size` bytes, of which earlier downloads got the first `before`.
    pub fn begin(self: &Arc<Self>, id: DocumentId, account: AccountId, size: u64, before: u64) -> Reading {
        let key = (id, self.last.fetch_add(1, Ordering::Relaxed));
        let progress = Arc::new(Progress {
            account,
            size,
            bytes: AtomicU64::new(before),
            touched: AtomicBool::new(false),
            recorded: AtomicBool::new(false),
        });
        self.lock().insert(key, Arc::clone(&progress));
        Reading { all: Arc::clone(self), key, progress }
    }

    /// What is to be recorded of those who read this document just now, of whom each account, and is not recorded yet. Whoever
    /// asks records it.
    pub fn outcomes(&self, id: DocumentId) -> Vec<(AccountId, Op)> {
        let open: Vec<_> =
            self.lock().range((id, 0)..=(id, u64::MAX)).map(|(_, progress)| Arc::clone(progress)).collect();
        let outcome = |progress: Arc<Progress>| {
            let op = progress.outcome(id)?;
            // Also of one that is just being recorded: that may come too late, and twice does no harm.
            progress.recorded.store(true, Ordering::SeqCst);
            Some((progress.account.clone(), op))
        };
        open.into_iter().filter_map(outcome).collect()
    }
}

/// One reader. To be held until what came of it is in the ledger.
pub struct Reading {
    all: Arc<Readings>,
    key: (DocumentId, u64),
    progress: Arc<Progress>,
}

impl Reading {
    /// Something is given out; with it, the first `bytes` are out.
    pub fn note(&self, bytes: u64) {
        self.progress.bytes.store(bytes, Ordering::SeqCst);
        self.progress.touched.store(true, Ordering::SeqCst);
    }

    /// What is to be recorded of this reader, once: nothing when no byte was read.
    pub fn outcome(&self) -> Option<Op> {
        if self.progress.recorded.swap(true, Ordering::SeqCst) {
            return None;
        }
        self.progress.outcome(self.key.0)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(serial: u64) -> DocumentId {
        DocumentId { epoch: 1, serial }
    }

    fn account(name: &str) -> AccountId {
        AccountId::parse(name).unwrap()
    }

    #[test]
    fn who_reads_is_known_until_it_is_recorded() {
        let all = Arc::new(Readings::default());
        let none = all.begin(id(1), account("K0001"), 10, 0);
        let part = all.begin(id(1), account("K0002"), 10, 0);
        let whole = all.begin(id(1), account("K0003"), 10, 4);
        let other = all.begin(id(2), account("K0001"), 10, 0);
        part.note(3);
        whole.note(10);
        other.note(9);
        let of = |serial| {
            let mut out = Vec::new();
            for (account, op) in all.outcomes(id(serial)) {
                let bytes = match op {
                    Op::Fetched(_) => None,
                    Op::PartlyFetched { bytes, .. } => Some(bytes),
                    other => panic!("{other:?}"),
                };
                out.push((account.to_string(), bytes));
            }
            out
        };
        assert_eq!(of(1), [("K0002".to_owned(), Some(3)), ("K0003".to_owned(), None)]);
        assert!(part.outcome().is_none(), "whoever asked records it");
        // One that is just being recorded by itself is not in the ledger yet.
        assert!(other.outcome().is_some() && other.outcome().is_none());
        assert_eq!(of(2), [("K0001".to_owned(), Some(9))]);
        drop((none, part, whole, other));
        assert!(all.lock().is_empty());
    }
}
