//! The index: an ordered store of byte keys that can be thrown away. It answers quickly what the journal says; it is
//! never what a promise rests on.
//!
//! Two implementations: sled, and a map in memory for tests (and for `todoke journal` verbs that need no folder).

mod pages;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use self::pages::Page;

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
    /// All of these, which are in the order of their keys and each once, or, after a crash, none. Not durable.
    fn apply(&self, changes: &[Change]) -> Result<(), IndexError>;
    /// The same for many, into an index that is being built: after a crash any part of them.
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
/// Changes that are put into pages at once while an index is built: a new one has a single page, that would become all.
const LOAD_CHANGES: usize = 1024;
/// The first page's key. Keys before it stand alone.
const FIRST: &[u8] = &[1];

/// sled 0.34: one tree of pages (`pages.rs`). Its own `flush` is not an fsync and a damaged file makes it panic, so every call is
/// caught, and nothing is believed that the journal and the check at opening do not confirm.
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
        if key < FIRST {
            return Ok(caught(|| self.database.get(key))?.map(|value| value.to_vec()));
        }
        let Some((_, page)) = self.page_of(key)? else { return Ok(None) };
        Ok(page.get(key).map(<[u8]>::to_vec))
    }

    fn range(&self, from: &[u8], to: &[u8], reverse: bool) -> Pairs<'_> {
        Box::new(Range { index: self, from: from.max(FIRST).to_vec(), to: to.to_vec(), reverse, page: None })
    }

    fn apply(&self, changes: &[Change]) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        self.in_pages(changes, usize::MAX, |key, value| {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
            Ok(())
        })?;
        caught(|| self.database.apply_batch(batch))
    }

    fn load(&self, changes: &[Change]) -> Result<(), IndexError> {
        self.in_pages(changes, LOAD_CHANGES, |key, value| {
            caught(|| match value {
                Some(value) => self.database.insert(key, value),
                None => self.database.remove(key),
            })
            .map(drop)
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

type Found = (sled::IVec, Page<sled::IVec>);

impl SledIndex {
    /// The page that covers this key. None before the first: that is empty and begins there.
    fn page_of(&self, key: &[u8]) -> Result<Option<Found>, IndexError> {
        read(caught(|| self.database.range(FIRST..=key).next_back().transpose())?)
    }

    /// The last page whose key is smaller; this one is greater than the first.
    fn page_before(&self, key: &[u8]) -> Result<Option<Found>, IndexError> {
        read(caught(|| self.database.range(FIRST..key).next_back().transpose())?)
    }

    /// The first page whose key is greater.
    fn page_after(&self, key: &[u8]) -> Result<Option<Found>, IndexError> {
        read(caught(|| self.database.get_gt(key))?)
    }

    /// Tells which of sled's keys become what by these changes, which are in the order of their keys. Takes at most so many
    /// of a page's at once: fewer than all only if `write` takes effect at once, since the rest then finds new pages.
    fn in_pages(
        &self,
        mut changes: &[Change],
        most: usize,
        mut write: impl FnMut(&[u8], Option<Vec<u8>>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        while let Some(((key, value), rest)) = changes.split_first() {
            if key.as_slice() < FIRST {
                write(key, value.clone())?;
                changes = rest;
                continue;
            }
            let found = self.page_of(key)?;
            let place = found.as_ref().map_or(FIRST, |(place, _)| place);
            let next = caught(|| self.database.get_gt(place))?;
            let until =
                next.map_or(changes.len(), |(next, _)| changes.partition_point(|(key, _)| **key < *next));
            let (here, rest) = changes.split_at(until.min(most));
            let pages = match &found {
                Some((_, page)) => page.changed(here),
                None => Page::read(&[][..])?.changed(here),
            };
            if pages.is_empty() && found.is_some() {
                write(place, None)?;
            }
            for (at, (first, page)) in pages.into_iter().enumerate() {
                write(if at == 0 { place } else { &first }, Some(page))?;
            }
            changes = rest;
        }
        Ok(())
    }
}

fn read(found: Option<(sled::IVec, sled::IVec)>) -> Result<Option<Found>, IndexError> {
    found.map(|(key, page)| Ok((key, Page::read(page)?))).transpose()
}

type Left = (Page<sled::IVec>, std::ops::Range<usize>);

/// Pairs from page to page. What was passed is known by its key, not by its page: that may be cut in two meanwhile, or go.
struct Range<'a> {
    index: &'a SledIndex,
    /// What is left begins here,
    from: Vec<u8>,
    /// and ends before this.
    to: Vec<u8>,
    reverse: bool,
    /// The page that is being read, and which of its entries are left.
    page: Option<Left>,
}

impl Range<'_> {
    /// The next page that has any of what is left.
    fn turn(&self) -> Result<Option<Left>, IndexError> {
        if self.from >= self.to {
            return Ok(None);
        }
        let mut found = if self.reverse {
            self.index.page_before(&self.to)?
        } else {
            let here = self.index.page_of(&self.from)?;
            if here.is_some() { here } else { self.index.page_after(&self.from)? }
        };
        while let Some((place, page)) = found {
            let left = page.before(&self.from)..page.before(&self.to);
            if left.start < left.end {
                return Ok(Some((page, left)));
            }
            let ended = if self.reverse { *place <= *self.from } else { *place >= *self.to };
            if ended {
                break;
            }
            found =
                if self.reverse { self.index.page_before(&place)? } else { self.index.page_after(&place)? };
        }
        Ok(None)
    }
}

impl Iterator for Range<'_> {
    type Item = Result<Pair, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_none() {
            match self.turn() {
                Ok(page) => self.page = page,
                Err(error) => {
                    self.to.clear();
                    return Some(Err(error));
                }
            }
        }
        let (page, left) = self.page.as_mut()?;
        let at = if self.reverse { left.next_back() } else { left.next() }?;
        let pair = (page.key(at).to_vec(), page.value(at).to_vec());
        if left.start >= left.end {
            if self.reverse {
                self.to.clone_from(&pair.0);
            } else {
                self.from.clone_from(&pair.0);
                self.from.push(0);
            }
            self.page = None;
        }
        Some(Ok(pair))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(index: &impl Index, from: &[u8], to: &[u8], reverse: bool) -> Vec<Pair> {
        index.range(from, to, reverse).map(Result::unwrap).collect()
    }

    fn key(of: u16) -> Vec<u8> {
        // A few tables with neighbours that share much.
        [&[b'a' + (of % 3) as u8][..], &b"K0001\0"[..usize::from(of % 7)], &of.to_be_bytes()].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn sled_is_what_memory_is(
            loaded in proptest::collection::btree_map(0_u16..3000, 0_usize..200, 0..1500),
            batches in proptest::collection::vec(
                proptest::collection::vec((0_u16..3000, proptest::option::of(0_usize..200)), 1..120), 0..8),
            bounds in proptest::collection::vec((0_u16..3000, 0_u16..3000), 8),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let sled = SledIndex::open(&dir.path().join("db"), &IndexOptions::default()).unwrap();
            let memory = MemoryIndex::default();
            let sorted = |changes: Vec<(u16, Option<usize>)>| -> Vec<Change> {
                let map: BTreeMap<_, _> = changes
                    .into_iter()
                    .map(|(of, value)| (key(of), value.map(|length| vec![of.to_be_bytes()[1]; length])))
                    .collect();
                map.into_iter().collect()
            };
            let first = sorted(loaded.into_iter().map(|(of, value)| (of, Some(value))).collect());
            sled.load(&first).unwrap();
            memory.load(&first).unwrap();
            for batch in batches {
                let mut batch = sorted(batch);
                batch.insert(0, (b"\0meta".to_vec(), Some(vec![batch.len().to_be_bytes()[7]])));
                sled.apply(&batch).unwrap();
                memory.apply(&batch).unwrap();
                prop_assert_eq!(sled.get(b"\0meta"), memory.get(b"\0meta"));
                for (key, _) in &batch {
                    prop_assert_eq!(sled.get(key), memory.get(key));
                }
            }
            prop_assert_eq!(all(&sled, &[1], &[u8::MAX], false), all(&memory, &[1], &[u8::MAX], false));
            prop_assert_eq!(all(&sled, &[1], &[u8::MAX], true), all(&memory, &[1], &[u8::MAX], true));
            for (from, to) in bounds {
                let (from, to) = (key(from), key(to));
                for reverse in [false, true] {
                    prop_assert_eq!(all(&sled, &from, &to, reverse), all(&memory, &from, &to, reverse));
                }
                prop_assert_eq!(sled.get(&from), memory.get(&from));
            }
        }
    }

    #[test]
    fn a_range_goes_on_where_it_was_while_pages_are_cut_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let index = SledIndex::open(&dir.path().join("db"), &IndexOptions::default()).unwrap();
        let key = |at: u32| [&b"s"[..], &at.to_be_bytes()].concat();
        let stays: Vec<Change> = (0..2000).map(|at| (key(at * 10), Some(vec![1; 30]))).collect();
        index.load(&stays).unwrap();
        for reverse in [false, true] {
            let mut seen = Vec::new();
            for (at, pair) in (0_u32..).zip(index.range(&[1], &[u8::MAX], reverse)) {
                seen.push(pair.unwrap().0);
                if at % 7 == 0 {
                    // Around where it stands, pages are filled until they are cut, and emptied until they go.
                    let here = if reverse { 19_990 - at * 10 } else { at * 10 };
                    let new: Vec<Change> = (here.saturating_sub(70)..here + 70)
                        .filter(|at| at % 10 != 0)
                        .map(|at| (key(at), Some(vec![2; 30])))
                        .collect();
                    index.apply(&new).unwrap();
                    let gone: Vec<Change> = new.into_iter().map(|(key, _)| (key, None)).collect();
                    index.apply(&gone).unwrap();
                }
            }
            if reverse {
                seen.reverse();
            }
            assert!(seen.is_sorted_by(|a, b| a < b), "each once, in order");
            assert_eq!(seen.len(), stays.len());
        }
    }
}
