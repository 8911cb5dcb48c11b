//! The journal: what happened, in order, hash-chained, durable. All else in the ledger follows from it.
//!
//! Segments `journal/NNNNNNNNNNNNNNNNNNNN.jsonl` are named after their first event. A segment's first line names the
//! format's version, the epoch and the hash it continues from; every other line is an event ([`line`]'s text). A commit
//! is written with one write and one fdatasync, and is answered only after that.
//!
//! **What opening may change.** Lines at the very end that are no whole commit are cut and kept aside, because a crash
//! while writing leaves such. Everything that shows that the commit had been durable forbids it: a line of a later
//! commit after it, a later segment, an index that has applied it, an orderly close after it. Then, and for damage
//! anywhere else, nothing is changed and the place is named. What cannot be told from a torn write is damage to the
//! very last commit when none of these witnesses is left.

mod line;
mod read;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub use read::{Batch, Next, Position, Reader, Tail};
use read::{Header, header_line};

use super::durable;
use crate::model::event::Record;
use crate::model::ids::Digest;
use crate::model::metric;
use crate::model::time::Timestamp;

const VERSION: u32 = 1;

/// A place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which segment.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// Byte, from 0.
    pub offset: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, line {}, byte {}", self.file.display(), self.line, self.offset)
    }
}

/// Why the journal cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Something written was changed since.
    #[error(
        "the journal is damaged at {place}: {why}. Nothing was changed. Put an intact copy of this file in its place (a \
         backup, or the node that mirrors it), then run `todoke journal verify`"
    )]
    Damaged {
        /// Where.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// A segment is not there, though a later one is.
    #[error(
        "the journal's segment {file} is missing, though {later} is there. Nothing was changed. Restore the missing file \
         from a backup"
    )]
    Missing {
        /// Which.
        file: PathBuf,
        /// The first that is there.
        later: PathBuf,
    },
    /// The journal ends earlier than the root's records say.
    #[error(
        "the journal ends at event {ends}, but {witness} at event {seq}: part of it is missing. Nothing was changed. Put \
         the missing files back; if this is a restored backup, begin a new epoch with `todoke journal restored`"
    )]
    Short {
        /// Its last event.
        ends: u64,
        /// Who says so.
        witness: &'static str,
        /// What that one says.
        seq: u64,
    },
    /// There is no event, though there are blobs.
    #[error(
        "the journal in {folder} is empty, though blobs lie beside it: it is missing (is its disk mounted?). Nothing was \
         changed. Put it back; if this is a restored backup, begin a new epoch with `todoke journal restored`"
    )]
    Gone {
        /// The journal's folder.
        folder: PathBuf,
    },
    /// Journal and EPOCH are not of the same root.
    #[error(
        "the journal in {folder} is of epoch {journal}, but the file EPOCH says {file}: they are not of the same data \
         root. Put back the pair that belongs together"
    )]
    OtherEpoch {
        /// The journal's folder.
        folder: PathBuf,
        /// Its epoch.
        journal: String,
        /// The file's.
        file: String,
    },
    /// Written by a newer version.
    #[error("{file} is of journal version {version}; this todoke reads version 1: use a newer one")]
    Version {
        /// Which segment.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// An intact event says something this version does not know.
    #[error(
        "the journal's commit up to event {seq} is intact but cannot be read ({why}): use a newer todoke"
    )]
    Unreadable {
        /// The last event of its commit.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl JournalError {
    fn damaged(place: Place, why: &str) -> Self {
        Self::Damaged { place, why: why.to_owned() }
    }
}

/// How the journal is written.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// A segment that is this long or longer is followed by a new one. Bytes.
    pub segment_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

/// What the rest of the root knows about how far the journal went: nothing up to there may be cut.
#[derive(Debug, Clone, Default)]
pub struct Witnesses {
    /// The index has applied events up to this one.
    pub applied: Option<u64>,
    /// The root was closed in order after this one.
    pub closed: Option<u64>,
}

/// A tail that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where it began.
    pub place: Place,
    /// How much it was.
    pub bytes: u64,
    /// What was wrong with it.
    pub why: String,
    /// Where it is kept.
    pub kept: PathBuf,
}

/// An opened journal, and what opening found.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// A torn tail was cut.
    pub cut: Option<Cut>,
    /// The link of the event that was asked for, if the journal has it.
    pub probed: Option<Digest>,
}

/// Why a commit was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room for it: the journal is as it was, and can be asked again.
    #[error("{0}")]
    NotWritten(String),
    /// A write or fsync failed: nobody knows what is on disk.
    #[error("{0}")]
    Unknown(String),
}

/// [`AppendError`], before it is told.
enum Halt {
    NoRoom(io::Error),
    Broken(io::Error),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// The journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    options: JournalOptions,
    file: File,
    size: u64,
    position: Position,
    /// A write or fsync failed: nobody knows what is on disk, so nothing is written any more.
    broken: Option<String>,
}

impl Journal {
    /// Checks the whole chain, cuts a torn tail, and opens for writing. A folder without segments gets its first, of
    /// epoch `uuid`. `probe` is an event whose link is wanted.
    pub fn open(
        folder: &Path,
        uuid: &str,
        options: JournalOptions,
        witnesses: &Witnesses,
        probe: u64,
        now: Timestamp,
    ) -> Result<Opened, JournalError> {
        clear_temporaries(folder)?;
        let mut reader = Reader::from_start(folder);
        let mut cut = None;
        let mut probed = (probe == 0).then_some(GENESIS);
        loop {
            match reader.next_batch()? {
                Next::Batch(batch) => probed = probed.or_else(|| batch.link_of(probe, reader.position().seq)),
                Next::End => break,
                Next::Tail(tail) => {
                    cut = Some(cut_tail(folder, &tail, reader.position().seq + 1, witnesses, now)?);
                    break;
                }
            }
        }
        let position = reader.position().clone();
        let last = reader.end();
        let (file, size) = match last {
            Some((path, _, offset)) => (open_append(&path)?, offset),
            None => new_segment(folder, &Position { uuid: uuid.to_owned(), ..position.clone() })?,
        };
        let position = Position {
            uuid: if position.uuid.is_empty() { uuid.to_owned() } else { position.uuid },
            ..position
        };
        let journal = Self { folder: folder.into(), options, file, size, position, broken: None };
        Ok(Opened { journal, cut, probed })
    }

    /// Where it stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Writes these as one commit; durable when it returns. They must continue [`Journal::position`]. After
    /// [`AppendError::Unknown`] nothing is written any more: what is on disk is found out at the next opening.
    pub fn append(&mut self, records: &[Record]) -> Result<Position, AppendError> {
        if let Some(why) = &self.broken {
            return Err(AppendError::Unknown(why.clone()));
        }
        self.try_append(records).map_err(|halt| {
            let told = |error: &io::Error| format!("{}: {error}", self.folder.display());
            match halt {
                Halt::NoRoom(error) => AppendError::NotWritten(told(&error)),
                Halt::Broken(error) => {
                    let why = told(&error);
                    self.broken = Some(why.clone());
                    AppendError::Unknown(why)
                }
            }
        })
    }

    fn try_append(&mut self, records: &[Record]) -> Result<Position, Halt> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return Ok(self.position.clone());
        };
        if self.size >= self.options.segment_bytes {
            (self.file, self.size) = self.next_segment()?;
        }
        let mut position = self.position.clone();
        let mut bytes = Vec::with_capacity(records.len() * 512);
        for record in records {
            let start = bytes.len();
            position.hash = line::write(record, (first.seq, last.seq), &position.hash, &mut bytes)
                .map_err(io::Error::from)?;
            if record.seq != position.seq + 1 || bytes.len() - start > line::LINE_BYTES_MAX {
                return Err(io::Error::other(format!("event {} cannot be written", record.seq)).into());
            }
            (position.seq, position.at) = (record.seq, record.at);
            if let crate::model::event::Event::EpochBegan { epoch, uuid } = &record.event {
                position.previous_uuid = std::mem::replace(&mut position.uuid, uuid.clone());
                position.epoch = *epoch;
            }
        }
        self.write(&bytes)?;
        let started = std::time::Instant::now();
        self.file.sync_data()?;
        metrics::histogram!(metric::JOURNAL_FSYNC_SECONDS).record(started.elapsed());
        self.size += bytes.len() as u64;
        self.position = position;
        Ok(self.position.clone())
    }

    /// Writes at the end. Where there is no room, what went through before it ran out is cut off again: the file is as it
    /// was, durably, and nothing that was not asked for yet was fsynced in vain.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        let Err(error) = self.file.write_all(bytes) else { return Ok(()) };
        if !durable::is_full(&error) {
            return Err(error.into());
        }
        self.file.set_len(self.size)?;
        self.file.sync_all()?;
        Err(Halt::NoRoom(error))
    }

    /// A segment after the present one. It has its name only once it is durable, so one that has none was not made.
    fn next_segment(&self) -> Result<(File, u64), Halt> {
        new_segment(&self.folder, &self.position).map_err(|error| match error {
            JournalError::Io { path, source } if durable::is_full(&source) && !path.exists() => {
                Halt::NoRoom(source)
            }
            error => Halt::Broken(io::Error::other(error)),
        })
    }

    /// Reads on from the segment that holds the event after `seq`; for replay right after opening.
    pub fn read_after(&self, seq: u64) -> Result<Reader, JournalError> {
        Reader::after(&self.folder, seq)
    }
}

/// What a check of the whole journal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many segments.
    pub segments: usize,
    /// Where it ends.
    pub position: Position,
    /// The last segment ends in bytes that are no whole commit: in a running daemon's journal one is being written; in a
    /// stopped one's, the next start judges it.
    pub tail: Option<Tail>,
}

/// Checks the whole chain, reading only; works while a daemon runs.
pub fn verify(folder: &Path) -> Result<Verified, JournalError> {
    let mut suspect = None;
    let (reader, tail) = loop {
        let mut reader = Reader::from_start(folder);
        let tail = loop {
            match reader.next_batch()? {
                Next::Batch(_) => {}
                Next::End => break None,
                Next::Tail(tail) => break Some(tail),
            }
        };
        let Some(tail) = tail else { break (reader, None) };
        let mut file = File::open(&tail.bad.file)
            .map_err(|source| JournalError::Io { path: tail.bad.file.clone(), source })?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(tail.cut_at))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(|source| JournalError::Io { path: tail.bad.file.clone(), source })?;
        match later_commit(&bytes, reader.position().seq + 1) {
            None => break (reader, Some(tail)),
            // What was half written when it was read is whole by the time a later commit follows: once more, to be sure.
            Some(_) if suspect != Some(tail.cut_at) => suspect = Some(tail.cut_at),
            Some(seq) => {
                let why = format!("{}; and event {seq} of a later commit follows", tail.why);
                return Err(JournalError::damaged(tail.bad, &why));
            }
        }
    };
    Ok(Verified { segments: segments(folder)?.len(), position: reader.position().clone(), tail })
}

/// Segments, in order.
fn segments(folder: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let io = |source| JournalError::Io { path: folder.into(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        let first = first.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok());
        if let Some(first) = first {
            found.push((first, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn file_name(first: u64) -> String {
    format!("{first:020}.jsonl")
}

fn new_segment(folder: &Path, after: &Position) -> Result<(File, u64), JournalError> {
    let path = folder.join(file_name(after.seq + 1));
    let header = header_line(&Header {
        todoke_journal: VERSION,
        epoch: after.uuid.clone(),
        first: after.seq + 1,
        previous: after.hash,
    });
    // Under another name until it is complete: a segment without its first line can only be damage.
    durable::write_new(&path, &header, 0o600)
        .map_err(|source| JournalError::Io { path: path.clone(), source })?;
    Ok((open_append(&path)?, header.len() as u64))
}

fn open_append(path: &Path) -> Result<File, JournalError> {
    std::fs::OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(|source| JournalError::Io { path: path.into(), source })
}

fn clear_temporaries(folder: &Path) -> Result<(), JournalError> {
    let io = |source| JournalError::Io { path: folder.into(), source };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().starts_with(durable::TEMPORARY) {
            durable::remove(&entry.path()).map_err(io)?;
        }
    }
    Ok(())
}

/// Cuts a tail if nothing shows that it had been durable: see the module's text.
fn cut_tail(
    folder: &Path,
    tail: &Tail,
    first: u64,
    witnesses: &Witnesses,
    now: Timestamp,
) -> Result<Cut, JournalError> {
    let path = &tail.bad.file;
    let io = |source| JournalError::Io { path: path.clone(), source };
    let refuse = |proof: String| {
        Err(JournalError::damaged(
            tail.bad.clone(),
            &format!("{}; and {proof}, so it was complete once", tail.why),
        ))
    };
    if let Some(seq) = witnesses.closed.filter(|seq| *seq >= first) {
        return refuse(format!("the daemon was stopped in order after event {seq}"));
    }
    if let Some(seq) = witnesses.applied.filter(|seq| *seq >= first) {
        return refuse(format!("the index has applied event {seq}"));
    }
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
    file.seek(SeekFrom::Start(tail.cut_at)).map_err(io)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    if let Some(seq) = later_commit(&bytes, first) {
        return refuse(format!("event {seq} of a later commit follows"));
    }
    let stamp = now.utc().format("%Y%m%dT%H%M%S%3fZ");
    let kept = folder.join(format!("cut-{stamp}-{:020}-{}", first, tail.cut_at));
    durable::write_new(&kept, &bytes, 0o600)
        .map_err(|source| JournalError::Io { path: kept.clone(), source })?;
    file.set_len(tail.cut_at).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(Cut { place: tail.bad.clone(), bytes: bytes.len() as u64, why: tail.why.clone(), kept })
}

/// The first event in `bytes` that is well framed and belongs to a commit that began after `first`.
fn later_commit(bytes: &[u8], first: u64) -> Option<u64> {
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(line::MARK.len()).position(|window| window == line::MARK) {
        let at = from + at;
        if let Ok(found) = line::parse(&bytes[at..])
            && found.batch.0 > first
            && serde_json::from_slice::<serde::de::IgnoredAny>(found.record).is_ok()
        {
            return Some(found.seq);
        }
        from = at + 1;
    }
    None
}

/// The hash before the first event.
pub const GENESIS: Digest = Digest([0; 32]);

#[cfg(test)]
mod tests;
