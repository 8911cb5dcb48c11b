//! The index: an ordered store of byte keys that can be thrown away. It answers quickly what the journal says; it is
//! never what a promise rests on.
//!
//! Two implementations: sled, and a map in memory for tests (and for `todoke journal` verbs that need no folder).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// The index failed: I/O, damage, or a panic inside its engine. It is rebuilt at the next start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IndexError(pub String);

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);
/// A change: a key and its new value, or none to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);
/// Pairs in the order of their keys.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair, IndexError>> + 'a>;

/// How an index is kept.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Memory for cached pages, bytes.
    pub cache_bytes: u64,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// An ordered store of byte keys.
pub trait Index: Send + Sync + Sized + 'static {
    /// Opens the one in this folder; makes an empty one if there is none.
    fn open(folder: &Path, options: &IndexOptions) -> Result<Self, IndexError>;
    /// One value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;
    /// From this key on, up to before that one; backwards if `reverse`. Reads on only as far as the iterator is used.
    fn range(&self, from: &[u8], to: &[u8], reverse: bool) -> Pairs<'_>;
    /// All of these or, after a crash, none. Not durable.
    fn apply(&self, changes: &[Change]) -> Result<(), IndexError>;
    /// Many, in the order of their keys, into an index that is being built: after a crash any part of them.
    fn load(&self, changes: &[Change]) -> Result<(), IndexError>;
    /// Makes everything durable, as far as the engine can.
    fn flush(&self) -> Result<(), IndexError>;
    /// Bytes on disk.
    fn size(&self) -> Result<u64, IndexError>;
}

/// In memory: always empty when opened.
#[derive(Debug, Default)]
pub struct MemoryIndex(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Index for MemoryIndex {
    fn open(_: &Path, _: &IndexOptions) -> Result<Self, IndexError> {
        Ok(Self::default())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn range(&self, from: &[u8], to: &[u8], reverse: bool) -> Pairs<'_> {
        let (mut from, mut to) = (Bound::Included(from.to_vec()), Bound::Excluded(to.to_vec()));
        Box::new(std::iter::from_fn(move || {
            let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b)) = (&from, &to)
                && a >= b
            {
                return None;
            }
            let mut range = map.range((from.clone(), to.clone()));
            let (key, value) = if reverse { range.next_back()? } else { range.next()? };
            let bound = Bound::Excluded(key.clone());
            if reverse {
                to = bound;
            } else {
                from = bound;
            }
            Some(Ok((key.clone(), value.clone())))
        }))
    }

    fn apply(&self, changes: &[Change]) -> Result<(), IndexError> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }

    fn load(&self, changes: &[Change]) -> Result<(), IndexError> {
        self.apply(changes)
    }

    fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }

    fn size(&self) -> Result<u64, IndexError> {
        Ok(0)
    }
}

/// Tries at the lock of an index, and what lies between two: the data root's own lock is held already.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Threads that fill an index, at most,
const LOADERS_MAX: usize = 4;
/// and what is worth one, in keys.
const SHARE_MIN: usize = 4096;

/// sled 0.34: one tree. Its own `flush` is not an fsync and a damaged file makes it panic, so every call is caught, and
/// nothing is believed that the journal and the check at opening do not confirm.
#[derive(Debug)]
pub struct SledIndex {
    database: sled::Db,
    folder: std::path::PathBuf,
}

impl Index for SledIndex {
    fn open(folder: &Path, options: &IndexOptions) -> Result<Self, IndexError> {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(options.cache_bytes)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(Some(1000))
            .print_profile_on_drop(false);
        // A database that was closed a moment ago keeps its lock until sled's own threads have ended.
        let mut tries = LOCK_TRIES;
        loop {
            match caught(|| config.open()) {
                Err(error) if tries > 0 && error.0.contains("could not acquire lock") => {
                    tries -= 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                opened => return opened.map(|database| Self { database, folder: folder.into() }),
            }
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(caught(|| self.database.get(key))?.map(|value| value.to_vec()))
    }

    fn range(&self, from: &[u8], to: &[u8], reverse: bool) -> Pairs<'_> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        let mut pairs = self.database.range(from..to);
        let mut ended = false;
        Box::new(std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let next =
                caught(|| if reverse { pairs.next_back().transpose() } else { pairs.next().transpose() });
            ended = !matches!(next, Ok(Some(_)));
            next.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec()))).transpose()
        }))
    }

    fn apply(&self, changes: &[Change]) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        caught(|| self.database.apply_batch(batch))
    }

    fn load(&self, changes: &[Change]) -> Result<(), IndexError> {
        // sled copies a page for every key it takes, and takes keys of different pages at the same time.
        let loaders = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(LOADERS_MAX);
        let share = changes.len().div_ceil(loaders).max(SHARE_MIN);
        std::thread::scope(|scope| {
            let shares: Vec<_> =
                changes.chunks(share).map(|of| scope.spawn(|| self.insert_all(of))).collect();
            shares.into_iter().try_for_each(|share| {
                share
                    .join()
                    .unwrap_or_else(|_| Err(IndexError("a thread that fills the index panicked".into())))
            })
        })
    }

    fn flush(&self) -> Result<(), IndexError> {
        caught(|| self.database.flush())?;
        // sled only asks the kernel to begin writing: fsync its files ourselves.
        let synced = walkdir::WalkDir::new(&self.folder).into_iter().try_for_each(|entry| {
            let entry = entry.map_err(std::io::Error::other)?;
            std::fs::File::open(entry.path())?.sync_all()
        });
        synced.map_err(|error| IndexError(format!("{}: {error}", self.folder.display())))
    }

    fn size(&self) -> Result<u64, IndexError> {
        caught(|| self.database.size_on_disk())
    }
}

impl SledIndex {
    fn insert_all(&self, changes: &[Change]) -> Result<(), IndexError> {
        caught(|| {
            for (key, value) in changes {
                match value {
                    Some(value) => self.database.insert(key, value.as_slice())?,
                    None => self.database.remove(key)?,
                };
            }
            Ok(())
        })
    }
}

/// Runs a call into sled; a panic becomes an error.
fn caught<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(IndexError(error.to_string())),
        Err(panic) => {
            let words = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no words");
            Err(IndexError(format!("panic in the index: {words}")))
        }
    }
}
