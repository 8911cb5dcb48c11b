//! Reading the journal: commit by commit, in order, checking the chain, in bounded memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::line::{self, LINE_BYTES_MAX};
use super::{JournalError, Place, VERSION, file_name, segments};
use crate::model::event::{Event, Record};
use crate::model::ids::Digest;
use crate::model::time::Timestamp;

/// Where a reader (or the writer) stands: after this event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The last event; 0 before the first.
    pub seq: u64,
    /// Its time.
    pub at: Timestamp,
    /// Its link in the chain; all zeros before the first.
    pub hash: Digest,
    /// The epoch in force, 0 and empty before the first `EpochBegan`.
    pub epoch: u32,
    /// Its random bits.
    pub uuid: String,
    /// The epoch before that one.
    pub previous_uuid: String,
}

impl Position {
    pub(super) fn start() -> Self {
        Self {
            seq: 0,
            at: Timestamp(i64::MIN),
            hash: Digest([0; 32]),
            epoch: 0,
            uuid: String::new(),
            previous_uuid: String::new(),
        }
    }
}

/// A segment's first line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub todoke_journal: u32,
    pub epoch: String,
    pub first: u64,
    pub previous: Digest,
}

/// One whole commit.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<(Range<usize>, Digest)>,
}

impl Batch {
    /// Its events with their links, in order.
    pub fn records(&self) -> impl Iterator<Item = Result<(Record, Digest), serde_json::Error>> + '_ {
        self.records_from(0)
    }
    /// The same but for the first so many.
    pub fn records_from(
        &self,
        skip: usize,
    ) -> impl Iterator<Item = Result<(Record, Digest), serde_json::Error>> + '_ {
        let rest = self.records.get(skip..).unwrap_or_default();
        rest.iter().map(|(range, hash)| Ok((serde_json::from_slice(&self.bytes[range.clone()])?, *hash)))
    }
    /// The link of this event, if the commit that ends with `last` has it.
    pub(super) fn link_of(&self, seq: u64, last: u64) -> Option<Digest> {
        let back = usize::try_from(last.checked_sub(seq)?).ok()?;
        let at = self.records.len().checked_sub(back + 1)?;
        Some(self.records[at].1)
    }
    /// How many events.
    pub fn len(&self) -> usize {
        self.records.len()
    }
    /// Never true of one that was read.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
    /// Bytes it takes here.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// A whole, valid commit.
    Batch(Batch),
    /// The journal's end, in order.
    End,
    /// The last segment ends in bytes that are no whole commit: either it is being written, or it was torn, or damaged.
    Tail(Tail),
}

/// Bytes at the end of the last segment that are no whole commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// Where the first invalid line is (or the end, when lines are merely missing).
    pub bad: Place,
    /// What is wrong with it.
    pub why: String,
    /// Where the commit begins that it belongs to: all before is valid.
    pub cut_at: u64,
}

/// Reads commit by commit.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    position: Position,
    check_links: bool,
    segment: Option<Segment>,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    first: u64,
    reader: BufReader<File>,
    /// After the last whole commit.
    offset: u64,
    lines: u64,
}

impl Reader {
    /// From the first event on, checking everything.
    pub fn from_start(folder: &Path) -> Self {
        Self { folder: folder.into(), position: Position::start(), check_links: true, segment: None }
    }

    /// From the segment on that holds the event after `seq`, which begins somewhat earlier. For a journal that was
    /// checked when it was opened: links are not checked again.
    pub fn after(folder: &Path, seq: u64) -> Result<Self, JournalError> {
        let mut reader = Self { check_links: false, ..Self::from_start(folder) };
        if let Some((first, _)) = segments(folder)?.into_iter().rev().find(|(first, _)| *first <= seq + 1) {
            reader.position.seq = first - 1;
        }
        Ok(reader)
    }

    /// Where it stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Where the segment being read stands: file and offset after the last whole commit.
    pub(super) fn end(&self) -> Option<(PathBuf, u64, u64)> {
        self.segment.as_ref().map(|s| (s.path.clone(), s.first, s.offset))
    }

    /// The next commit.
    pub fn next_batch(&mut self) -> Result<Next, JournalError> {
        loop {
            if self.segment.is_none() && !self.open_segment()? {
                return Ok(Next::End);
            }
            let position = &mut self.position;
            let Some(segment) = self.segment.as_mut() else { return Ok(Next::End) };
            match segment.read_batch(position, self.check_links)? {
                Found::Batch(batch) => return Ok(Next::Batch(batch)),
                Found::Bad(tail) => {
                    let first = segment.first;
                    // A later segment is begun only after all before it is fsynced: then this is no torn write.
                    if segments(&self.folder)?.iter().any(|(other, _)| *other > first) {
                        return Err(JournalError::damaged(tail.bad, &tail.why));
                    }
                    return Ok(Next::Tail(tail));
                }
                Found::End => {
                    let next = position.seq + 1;
                    if next == segment.first || !self.folder.join(file_name(next)).exists() {
                        self.no_gap(next)?;
                        return Ok(Next::End);
                    }
                    self.segment = None;
                }
            }
        }
    }

    /// Refuses to end where a later segment says that more must be there.
    fn no_gap(&self, next: u64) -> Result<(), JournalError> {
        match segments(&self.folder)?.into_iter().find(|(first, _)| *first > next) {
            Some((_, later)) => Err(JournalError::Missing { file: self.folder.join(file_name(next)), later }),
            None => Ok(()),
        }
    }

    fn open_segment(&mut self) -> Result<bool, JournalError> {
        let first = self.position.seq + 1;
        let path = self.folder.join(file_name(first));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.no_gap(first)?;
                return Ok(false);
            }
            Err(source) => return Err(JournalError::Io { path, source }),
        };
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut bytes = Vec::new();
        read_line(&mut reader, &mut bytes)
            .map_err(|source| JournalError::Io { path: path.clone(), source })?;
        let place = Place { file: path.clone(), line: 1, offset: 0 };
        let header: Header = match serde_json::from_slice(&bytes) {
            Ok(header) => header,
            Err(_) => return Err(JournalError::damaged(place, "the segment's first line is unreadable")),
        };
        if header.todoke_journal != VERSION {
            return Err(JournalError::Version { file: path, version: header.todoke_journal });
        }
        let started = first == 1 || !self.check_links;
        let expected = Header {
            todoke_journal: VERSION,
            epoch: if started { header.epoch } else { self.position.uuid.clone() },
            first,
            previous: if self.check_links { self.position.hash } else { header.previous },
        };
        if header_line(&expected) != bytes {
            return Err(JournalError::damaged(
                place,
                "the segment's first line does not continue the journal",
            ));
        }
        if first == 1 {
            self.position.uuid = expected.epoch;
        }
        self.segment = Some(Segment { path, first, reader, offset: bytes.len() as u64, lines: 1 });
        Ok(true)
    }
}

/// A segment's first line, as it must stand.
pub(super) fn header_line(header: &Header) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(header).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

enum Found {
    Batch(Batch),
    Bad(Tail),
    End,
}

impl Segment {
    fn read_batch(&mut self, position: &mut Position, check_links: bool) -> Result<Found, JournalError> {
        let mut batch = Batch::default();
        let mut at = position.clone();
        let mut span = None;
        let cut_at = self.offset;
        loop {
            let start = batch.bytes.len();
            let place =
                Place { file: self.path.clone(), line: self.lines + 1, offset: cut_at + start as u64 };
            let read = read_line(&mut self.reader, &mut batch.bytes)
                .map_err(|source| JournalError::Io { path: self.path.clone(), source })?;
            if read == 0 && span.is_none() {
                return Ok(Found::End);
            }
            let bad = |why: &str| Ok(Found::Bad(Tail { bad: place.clone(), why: why.to_owned(), cut_at }));
            if read == 0 {
                return bad("the last commit is not complete");
            }
            let line = match line::parse(&batch.bytes[start..]) {
                Ok(line) => line,
                Err(why) => return bad(why),
            };
            if line.size != read {
                return bad("does not end where its length says");
            }
            if check_links && line::link(&at.hash, line.record) != line.hash {
                return bad("its hash is wrong: it, or what is before it, was changed");
            }
            let (first, last) = *span.get_or_insert(line.batch);
            if line.seq != at.seq + 1
                || line.batch != (first, last)
                || first != position.seq + 1
                || last < line.seq
                || line.at < at.at
            {
                return bad("its place, commit or time does not follow from the line before");
            }
            (at.seq, at.at, at.hash) = (line.seq, line.at, line.hash);
            let (size, length) = (line.size, line.record.len());
            if let Some(event) = epoch_began(line.record) {
                match event {
                    Some((epoch, uuid)) if line.seq > 1 || uuid == at.uuid => {
                        at.previous_uuid = std::mem::replace(&mut at.uuid, uuid);
                        at.epoch = epoch;
                    }
                    _ => return bad("it begins an epoch that is not this segment's"),
                }
            }
            let end = start + size - 2;
            batch.records.push((end - length..end, at.hash));
            self.lines += 1;
            if at.seq == last {
                self.offset = cut_at + batch.bytes.len() as u64;
                *position = at;
                return Ok(Found::Batch(batch));
            }
        }
    }
}

/// Reads `EpochBegan` alone: readers must know which epoch is in force, and need no other event for that. The outer
/// option says whether it is one.
#[allow(clippy::option_option, reason = "not one, a good one, a bad one")]
fn epoch_began(record: &[u8]) -> Option<Option<(u32, String)>> {
    const MARK: &[u8] = b"\"event\":{\"event\":\"epoch_began\"";
    // What stands before the event is short: place, commit, time, actor.
    let beginning = &record[..record.len().min(256)];
    beginning.windows(MARK.len()).any(|window| window == MARK).then(|| {
        match serde_json::from_slice::<Record>(record) {
            Ok(Record { event: Event::EpochBegan { epoch, uuid }, .. }) => Some((epoch, uuid)),
            _ => None,
        }
    })
}

fn read_line(reader: &mut BufReader<File>, into: &mut Vec<u8>) -> std::io::Result<usize> {
    reader.by_ref().take(LINE_BYTES_MAX as u64 + 256).read_until(b'\n', into)
}
