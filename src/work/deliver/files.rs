//! The files of a set: opened without following anything, hashed and copied in one go, and known again.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::OFlags;

use super::place::Copy;
use super::take::Begun;
use super::{Deliveries, marks};
use crate::model::ids::{BlobId, Digest};
use crate::model::time::Timestamp;
use crate::store::spool::{Folder, is_lone_file, is_unfinished};

/// A plain file with one name, opened; none for anything else.
pub(super) fn open_plain(folder: &Folder, name: &str) -> io::Result<Option<std::fs::File>> {
    // Looked at first: opening a device or FIFO can have effects of its own.
    match folder.stat(name)? {
        None => return Err(io::ErrorKind::NotFound.into()),
        Some(stat) if !is_lone_file(&stat) => return Ok(None),
        // As if it were not there yet.
        Some(stat) if is_unfinished(&stat) => return Err(io::ErrorKind::NotFound.into()),
        Some(_) => {}
    }
    let file = folder.open_file(name, OFlags::RDONLY)?;
    Ok(is_lone_file(&rustix::fs::fstat(&file)?).then_some(file))
}

/// Whether this is still the file that was taken: by its marks, or by its hash where none were kept.
pub(super) fn is_taken(folder: &Folder, name: &str, begun: &Begun, max: u64) -> io::Result<bool> {
    let Some(stat) = folder.stat(name)?.filter(is_lone_file) else { return Ok(false) };
    if let Some(taken) = begun.marks.get(name) {
        return Ok(marks(&stat) == *taken);
    }
    let Some(file) = open_named(folder, name)? else { return Ok(false) };
    Ok(Some(hash(file, max, &mut vec![0; BUFFER_BYTES])?) == begun.files.get(name).copied())
}

/// Threads that look at the files of a set.
const THREADS_MAX: usize = 4;
/// Bytes of a set that are copied while they are hashed; what is beyond is read once more when its row is placed, so that
/// a huge set neither fills the disk twice nor keeps others waiting.
const AHEAD_BYTES_MAX: u64 = 2 << 30;
/// Read at once.
pub(super) const BUFFER_BYTES: usize = 256 * 1024;

/// So many bytes are written out together.
const WRITTEN_OUT_BYTES: u64 = 64 << 20;

/// A copy and its size.
type Written = (BlobId, u64);

/// Copies by the names of their files, until their rows take them.
pub(super) type Copies = HashMap<String, Copy>;

/// What one thread found.
#[derive(Default)]
struct Looked {
    found: Vec<Option<Found>>,
    /// It ended early.
    failed: Option<io::Error>,
}

/// What was found out about a file.
pub(super) struct Found {
    pub(super) sha256: Digest,
    /// By which it is known again.
    pub(super) marks: [u64; 4],
    /// It was copied on the way.
    pub(super) copy: Option<Copy>,
}

impl Deliveries {
    /// Hashes these files, in their order, and copies the first of them; none for what is not there or no plain file.
    pub(super) fn look_at_files(
        &self,
        folder: &Folder,
        names: &[&str],
        now: Timestamp,
    ) -> io::Result<Vec<Option<Found>>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let each = names.len().div_ceil(threads).max(1);
        let ahead = AtomicU64::new(0);
        let look = |names: &[&str], copied: &Sender<Written>| {
            let (mut buffer, mut looked) = (vec![0; BUFFER_BYTES], Looked::default());
            for name in names {
                let found = match self.look_at(folder, name, &ahead, &mut buffer, now) {
                    Ok(found) => found,
                    Err(error) => {
                        looked.failed = Some(error);
                        break;
                    }
                };
                if let Some(copy) = found.as_ref().and_then(|found| found.copy.as_ref())
                    && let Ok((_, size)) = copy.read
                {
                    // Nobody takes it any more where the disk failed: said below.
                    let _ = copied.send((copy.blob.clone(), size));
                }
                looked.found.push(found);
            }
            looked
        };
        let (mut found, mut failed) = (Vec::with_capacity(names.len()), None);
        std::thread::scope(|scope| {
            let (copied, written) = channel();
            let writing = scope.spawn(|| self.write_out(written));
            let looking = names.chunks(each).map(|names| {
                let copied = copied.clone();
                scope.spawn(move || look(names, &copied))
            });
            let looking: Vec<_> = looking.collect();
            drop(copied);
            for part in looking {
                match part.join() {
                    Ok(part) => {
                        found.extend(part.found);
                        failed = failed.take().or(part.failed);
                    }
                    Err(_) => failed = Some(panicked()),
                }
            }
            failed = failed.take().or(writing.join().unwrap_or_else(|_| Err(panicked())).err());
        });
        let Some(error) = failed else { return Ok(found) };
        // What waits for room must not take it. What cannot be removed is the sweep's.
        let copies = found.into_iter().flatten().filter_map(|found| found.copy);
        let _ = self.blobs.remove(&copies.map(|copy| copy.blob).collect::<Vec<_>>());
        Err(error)
    }

    /// Makes copies durable while others are still being made: when their rows are placed, little is left to be written.
    fn write_out(&self, written: Receiver<Written>) -> io::Result<()> {
        let (mut blobs, mut bytes) = (Vec::new(), 0);
        for (blob, size) in written {
            blobs.push(blob);
            bytes += size;
            if bytes >= WRITTEN_OUT_BYTES {
                self.blobs.sync(&blobs)?;
                (blobs, bytes) = (Vec::new(), 0);
            }
        }
        Ok(())
    }

    fn look_at(
        &self,
        folder: &Folder,
        name: &str,
        ahead: &AtomicU64,
        buffer: &mut [u8],
        now: Timestamp,
    ) -> io::Result<Option<Found>> {
        self.memory.beat();
        let Some(mut file) = open_named(folder, name)? else { return Ok(None) };
        let stat = rustix::fs::fstat(&file)?;
        let (marks, size) = (marks(&stat), u64::try_from(stat.st_size).unwrap_or(u64::MAX));
        let max = self.policy.document_bytes_max;
        if size > max || ahead.fetch_add(size, Ordering::Relaxed).saturating_add(size) > AHEAD_BYTES_MAX {
            return Ok(Some(Found { sha256: hash(file, max, buffer)?, marks, copy: None }));
        }
        let copy = self.copy(&mut file, buffer, now)?;
        if let Ok((sha256, _)) = &copy.read {
            return Ok(Some(Found { sha256: *sha256, marks, copy: Some(copy) }));
        }
        // It has grown meanwhile: as without a copy.
        self.blobs.remove(&[copy.blob])?;
        let Some(file) = open_named(folder, name)? else { return Ok(None) };
        Ok(Some(Found { sha256: hash(file, max, buffer)?, marks, copy: None }))
    }

    /// Removes copies that no row took.
    pub(super) fn discard_copies(&self, copies: Copies) -> io::Result<()> {
        let blobs: Vec<_> = copies.into_values().map(|copy| copy.blob).collect();
        if blobs.is_empty() { Ok(()) } else { self.blobs.remove(&blobs) }
    }
}

/// A thread of a delivery ended in a panic.
pub(super) fn panicked() -> io::Error {
    io::Error::other("a thread that takes documents in panicked; see the log")
}

fn open_named(folder: &Folder, name: &str) -> io::Result<Option<std::fs::File>> {
    match open_plain(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened,
    }
}

/// Of so much of it as is allowed, and one byte: enough to be refused later.
fn hash(file: std::fs::File, max: u64, buffer: &mut [u8]) -> io::Result<Digest> {
    Digest::read(&mut file.take(max.saturating_add(1)), buffer)
}
