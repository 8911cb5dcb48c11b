//! Opening the ledger: is the index what the journal says? If anything speaks against it, it is moved aside and built
//! anew from the journal, without being asked; damage to the journal itself stops the opening.
//!
//! What is found out about a restored backup: a journal that ends before the last orderly close, or before what the index has
//! applied, or that is empty though there are blobs; a file `EPOCH` of another root. What cannot be found out from the inside:
//! a copy of the whole root put back in one piece. After any restore the operator begins a new epoch.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use super::durable;
use super::index::{Index, IndexError, IndexOptions};
use super::journal::{self, Cut, Journal, JournalError, JournalOptions, Next, Verified, Witnesses};
use super::project::project;
use super::root::{Clean, Epoch, Root, RootError, boot_id, clean_in};
use super::tables::{self, Draft, META, Meta, SCHEMA};
use crate::model::event::Record;
use crate::model::ids::Digest;
use crate::model::time::Timestamp;

/// How a ledger is opened.
#[derive(Debug, Clone, Default)]
pub struct LedgerOptions {
    /// The journal's.
    pub journal: JournalOptions,
    /// The index's.
    pub index: IndexOptions,
    /// The root was restored from a backup: do not take older or missing files for damage, build the index anew. A new
    /// epoch must be begun then.
    pub restored: bool,
}

/// Why a ledger cannot be opened. A fault of the data root in every case: exit code 4.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The index cannot even be built anew.
    #[error("the index cannot be built: {0}. Check free space and permissions of the folder `index`")]
    Index(#[from] IndexError),
    /// A system call.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What opening found and did.
#[derive(Debug)]
pub struct Recovery {
    /// A torn tail of the journal was cut.
    pub cut: Option<Cut>,
    /// What became of the index.
    pub index: IndexState,
    /// Events in the journal.
    pub events: u64,
}

/// What became of the index at opening.
#[derive(Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It was as the journal says.
    Current,
    /// So many events were missing in it, and were applied.
    Replayed(u64),
    /// It was built anew.
    Rebuilt {
        /// Why.
        why: RebuildReason,
        /// Where the old one is kept; only the latest such is.
        aside: Option<PathBuf>,
    },
}

/// Why an index is built anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RebuildReason {
    /// There was none.
    #[error("there was none")]
    Missing,
    /// It cannot be opened or read, or its content is not what it should be.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Another version of todoke wrote it.
    #[error("it is of another version")]
    Schema,
    /// It was built from another journal.
    #[error("it belongs to another journal")]
    Foreign,
    /// The machine went down while it was open.
    #[error("the machine went down while it was open")]
    PowerCut,
    /// It takes more than four times the room of its content.
    #[error("it takes {bytes} bytes for {live} of content")]
    Large {
        /// On disk.
        bytes: u64,
        /// Keys and values.
        live: u64,
    },
    /// [`LedgerOptions::restored`]
    #[error("the data root was restored")]
    Restored,
}

/// What an entry takes beside key and value where it is alone in its page. A fresh index has many in each and takes far
/// less; one whose pages were emptied one by one must not count as worn out.
const ENTRY_BYTES: u64 = 128;
/// Below this an index is never too large.
const LARGE_BYTES_MIN: u64 = 256 << 20;
/// Changes gathered before they go into an index that is being built.
const BUILD_BYTES: usize = 192 << 20;
/// ... and into one that is behind: each portion is atomic.
const REPLAY_BYTES: usize = 16 << 20;

/// An opened root, ready for the writer.
pub(super) struct Recovered<I> {
    pub index: I,
    pub meta: Meta,
    pub journal: Journal,
    pub recovery: Recovery,
}

pub(super) fn recover<I: Index>(
    root: &Root,
    options: &LedgerOptions,
    now: Timestamp,
) -> Result<Recovered<I>, OpenError> {
    let epoch = epoch_on_record(root)?;
    let clean = if options.restored { None } else { root.clean()? };
    let boot = boot_id();
    let power_cut = clean.is_none() && (boot.is_empty() || root.last_boot()?.as_ref() != Some(&boot));
    let folder = root.index().join("db");
    let found = if options.restored {
        Err(RebuildReason::Restored)
    } else {
        open_checked::<I>(&folder, &options.index)
    };

    let (journal, cut, applied) = open_journal(root, &epoch, options, &found, clean.as_ref(), now)?;
    let end = journal.position().clone();
    let found = found.and_then(|(index, meta)| {
        let why = if applied != Some(meta.hash) {
            RebuildReason::Foreign
        } else if power_cut {
            RebuildReason::PowerCut
        } else {
            return Ok((index, meta));
        };
        // Closing a damaged index may panic as well.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(index)));
        Err(why)
    });
    root.clear_clean()?;
    root.set_last_boot(&boot)?;

    let (index, meta, state) = match found {
        Ok((index, meta)) => {
            let behind = end.seq - meta.seq;
            let meta = replay(&index, meta, &journal, false)?;
            let state = if behind == 0 { IndexState::Current } else { IndexState::Replayed(behind) };
            (index, meta, state)
        }
        Err(why) => {
            let aside = move_aside(&root.index(), &folder, now)?;
            let index = I::open(&folder, &options.index)?;
            let meta = replay(&index, Meta::empty(), &journal, true)?;
            (index, meta, IndexState::Rebuilt { why, aside })
        }
    };
    let recovery = Recovery { cut, index: state, events: end.seq };
    Ok(Recovered { index, meta, journal, recovery })
}

/// The file `EPOCH`; made for a new root.
fn epoch_on_record(root: &Root) -> Result<Epoch, OpenError> {
    if let Some(epoch) = root.epoch()? {
        return Ok(epoch);
    }
    let mut files = std::fs::read_dir(root.journal())
        .map_err(|source| OpenError::Io { what: "while looking into the journal's folder", source })?;
    if files.next().is_some() {
        let path = root.path().join("EPOCH");
        let why = "it is missing, though there is a journal".to_owned();
        return Err(RootError::Damaged { path, why }.into());
    }
    let epoch =
        Epoch::fresh(1).map_err(|source| OpenError::Io { what: "while drawing random numbers", source })?;
    root.set_epoch(&epoch)?;
    Ok(epoch)
}

/// Checks the journal of the root at `path` from its first event, and against what else there tells where it must end; reads
/// only, takes no lock, and works while a daemon runs.
pub fn verify(path: &Path) -> Result<Verified, JournalError> {
    let clean = clean_in(path);
    let verified = journal::verify(&path.join("journal"))?;
    let ends = verified.position.seq;
    if let Some(Clean { seq, .. }) = clean.filter(|clean| clean.seq > ends) {
        return Err(match verified.tail {
            Some(tail) => {
                let why = format!("{}; and {CLOSED} at event {seq}", tail.why);
                JournalError::Damaged { place: tail.bad, why }
            }
            None => JournalError::Short { ends, witness: CLOSED, seq },
        });
    }
    if ends == 0 {
        not_gone(path)?;
    }
    Ok(verified)
}

/// An empty journal is that of a new root only: bytes are taken of parties alone that a journal names.
fn not_gone(path: &Path) -> Result<(), JournalError> {
    let blobs = path.join("blobs");
    let used = match std::fs::read_dir(&blobs) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        entries => entries.map_err(|source| JournalError::Io { path: blobs, source })?.next().is_some(),
    };
    if used { Err(JournalError::Gone { folder: path.join("journal") }) } else { Ok(()) }
}

/// Who tells where the journal ended: the file `CLEAN`.
const CLOSED: &str = "the daemon was stopped in order";

type Found<I> = Result<(I, Meta), RebuildReason>;

/// Opens the journal; also returns its link at the event that the index has applied last.
fn open_journal<I>(
    root: &Root,
    epoch: &Epoch,
    options: &LedgerOptions,
    found: &Found<I>,
    clean: Option<&Clean>,
    now: Timestamp,
) -> Result<(Journal, Option<Cut>, Option<Digest>), OpenError> {
    // An index of another root says nothing about this journal.
    let applied = found.as_ref().ok().map(|(_, meta)| meta).filter(|meta| meta.uuid == epoch.uuid);
    let witnesses = Witnesses { applied: applied.map(|meta| meta.seq), closed: clean.map(|clean| clean.seq) };
    let probe = found.as_ref().map_or(0, |(_, meta)| meta.seq);
    let opened =
        Journal::open(&root.journal(), &epoch.uuid, options.journal.clone(), &witnesses, probe, now)?;
    let end = opened.journal.position();
    // What the index has applied was on disk before: a journal that ends earlier has lost it.
    let closed = clean.map(|clean| (CLOSED, clean.seq));
    let indexed = applied.map(|meta| ("the index is", meta.seq));
    if let Some((witness, seq)) = [closed, indexed].into_iter().flatten().find(|(_, seq)| *seq > end.seq) {
        return Err(JournalError::Short { ends: end.seq, witness, seq }.into());
    }
    if end.seq == 0 && !options.restored {
        not_gone(root.path())?;
    }
    if end.uuid != epoch.uuid {
        // A crash between the event that begins an epoch and the file: the event counts.
        if end.seq == 0 || end.previous_uuid != epoch.uuid {
            let (folder, journal, file) = (root.journal(), end.uuid.clone(), epoch.uuid.clone());
            return Err(JournalError::OtherEpoch { folder, journal, file }.into());
        }
        root.set_epoch(&Epoch { epoch: end.epoch, uuid: end.uuid.clone() })?;
    }
    Ok((opened.journal, opened.cut, opened.probed))
}

/// Opens an index and checks all of it against what it says about itself.
fn open_checked<I: Index>(folder: &Path, options: &IndexOptions) -> Found<I> {
    if !folder.exists() {
        return Err(RebuildReason::Missing);
    }
    let damaged = |error: IndexError| RebuildReason::Damaged(error.0);
    let index = I::open(folder, options).map_err(damaged)?;
    match check(&index) {
        Ok(meta) => Ok((index, meta)),
        Err(why) => {
            // Closing a damaged index may panic as well.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(index)));
            Err(why)
        }
    }
}

fn check<I: Index>(index: &I) -> Result<Meta, RebuildReason> {
    let damaged = |error: IndexError| RebuildReason::Damaged(error.0);
    let Some(meta) = index.get(META).map_err(damaged)? else {
        return Err(RebuildReason::Damaged("it does not say what it is".into()));
    };
    // The schema stands first, so that it can be read whatever follows.
    if postcard::take_from_bytes::<u32>(&meta).is_ok_and(|(schema, _)| schema != SCHEMA) {
        return Err(RebuildReason::Schema);
    }
    let meta: Meta = tables::decode(&meta).map_err(damaged)?;
    let (mut entries, mut digest, mut live) = (0_u64, 0_u64, 0_u64);
    for pair in index.range(&[1], &[u8::MAX], false) {
        let (key, value) = pair.map_err(damaged)?;
        entries += 1;
        digest = digest.wrapping_add(tables::entry_hash(&key, &value));
        live += (key.len() + value.len()) as u64 + ENTRY_BYTES;
    }
    if (entries, digest) != (meta.entries, meta.digest) {
        let why = format!("{entries} keys, but {} were written, or their content differs", meta.entries);
        return Err(RebuildReason::Damaged(why));
    }
    let bytes = index.size().map_err(damaged)?;
    if bytes > LARGE_BYTES_MIN && bytes / 4 > live {
        return Err(RebuildReason::Large { bytes, live });
    }
    Ok(meta)
}

/// Keeps the old index for whoever wants to know what happened to it; only the latest.
fn move_aside(folder: &Path, index: &Path, now: Timestamp) -> Result<Option<PathBuf>, OpenError> {
    let io = |source| OpenError::Io { what: "while moving the old index aside", source };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().starts_with("aside-") {
            std::fs::remove_dir_all(entry.path()).map_err(io)?;
        }
    }
    if !index.exists() {
        return Ok(None);
    }
    let aside = folder.join(format!("aside-{}", now.utc().format("%Y%m%dT%H%M%S%3fZ")));
    durable::rename(index, &aside).map_err(io)?;
    Ok(Some(aside))
}

/// Applies what the journal has after `meta.seq`. One thread reads, this one writes.
fn replay<I: Index>(index: &I, meta: Meta, journal: &Journal, new: bool) -> Result<Meta, OpenError> {
    let mut draft = Draft::over(index, meta);
    let from = draft.meta.seq;
    if from == journal.position().seq {
        return Ok(draft.meta);
    }
    let limit = if new { BUILD_BYTES } else { REPLAY_BYTES };
    let mut reader = journal.read_after(from)?;
    let (sender, receiver) = sync_channel::<Result<Vec<(Record, Digest)>, OpenError>>(16);
    std::thread::scope(|scope| -> Result<(), OpenError> {
        scope.spawn(move || {
            let mut portion = Vec::new();
            loop {
                let read = next_records(&mut reader, from, &mut portion);
                let more = matches!(read, Ok(true));
                if portion.len() < 512 && more {
                    continue;
                }
                let said = match read {
                    Ok(_) => Ok(std::mem::take(&mut portion)),
                    Err(error) => Err(error),
                };
                if sender.send(said).is_err() || !more {
                    return;
                }
            }
        });
        for portion in receiver {
            for (record, hash) in portion? {
                project(&mut draft, &record, hash)?;
            }
            if draft.bytes() > limit {
                flush(index, &mut draft, new, false)?;
            }
        }
        flush(index, &mut draft, new, true)
    })?;
    Ok(draft.meta)
}

fn flush<I: Index>(index: &I, draft: &mut Draft<'_, I>, new: bool, last: bool) -> Result<(), OpenError> {
    let mut changes = draft.drain();
    // An index that is being built says what it is only at the end: until then it counts as damaged.
    if last || !new {
        changes.insert(0, draft.meta_change()?);
    }
    let applied = if new { index.load(&changes) } else { index.apply(&changes) };
    applied.map_err(OpenError::from)
}

/// Reads one commit's events after `from` onto the end of `into`; false at the end.
fn next_records(
    reader: &mut super::journal::Reader,
    from: u64,
    into: &mut Vec<(Record, Digest)>,
) -> Result<bool, OpenError> {
    let Next::Batch(batch) = reader.next_batch()? else { return Ok(false) };
    if reader.position().seq <= from {
        return Ok(true);
    }
    for record in batch.records() {
        let (record, hash) = record.map_err(|error| JournalError::Unreadable {
            seq: reader.position().seq,
            why: error.to_string(),
        })?;
        if record.seq > from {
            into.push((record, hash));
        }
    }
    Ok(true)
}
