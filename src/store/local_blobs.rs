//! Blobs as local files: `blobs/YYYYMMDD/ID`, named by the server alone.
//!
//! Windows that a crash can leave: a file without an event that names it (the sweep of orphans removes it); a file of
//! which a part is written (no event names it before [`Blobs::sync`] has returned).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use chrono::Datelike as _;
use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Gid, Mode, OFlags};
use serde::Deserialize;

use super::blobs::{BlobReader, BlobWriter, Blobs};
use super::durable;
use crate::model::ids::BlobId;
use crate::model::time::{DAY, Timestamp};

/// How blobs are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// fsync of every file, then of its folder; callers do so side by side.
    Fsync,
    /// One `syncfs` of the file system for all callers that wait. Reports errors from Linux 5.8 on.
    #[default]
    Syncfs,
}

/// How blobs are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Export {
    /// A hard link; a copy where that cannot be (another mount, too many links, a file system without).
    #[default]
    Link,
    /// Always a copy.
    Copy,
}

/// How blobs are kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlobOptions {
    /// See there.
    pub durability: Durability,
    /// See there.
    pub export: Export,
}

/// Blobs in a folder of their own.
#[derive(Debug)]
pub struct LocalBlobs {
    path: Arc<Path>,
    /// Open from the start: `syncfs` tells a handle of the errors since it was opened.
    folder: OwnedFd,
    options: BlobOptions,
    /// Days whose folder is there, durably.
    days: Mutex<HashSet<String>>,
    /// The day in whose folder a blob was made last.
    today: Mutex<Option<Arc<Today>>>,
    groups: Mutex<Groups>,
    finished: Condvar,
    /// Small ones that nobody needs and that are removed together, later: ext4 walks around every inode freed within
    /// the last half minute, one by one, when it makes a new one.
    discarded: Mutex<Vec<BlobId>>,
    /// Random bits for names to come: one system call for many.
    bits: Mutex<Vec<[u8; 8]>>,
    /// The umask leaves an owner's bits alone: a file has its mode from its creation on.
    mode_holds: bool,
}

/// A discarded blob of at most so many bytes waits for [`Blobs::tidy`],
const DISCARDED_BYTES_MAX: i64 = 16 * 1024;
/// if no more than so many do.
const DISCARDED_MAX: usize = 50_000;

/// Names for which random bits are drawn at once.
const NAMES_AHEAD: usize = 64;

/// A day's folder, kept open: one look-up less for each new blob.
#[derive(Debug)]
struct Today {
    /// Days since 1970-01-01, UTC.
    day: i64,
    /// `YYYYMMDD`
    date: String,
    folder: OwnedFd,
}

/// Who waits for which `syncfs`.
#[derive(Debug, Default)]
struct Groups {
    /// The group that whoever comes now belongs to.
    gathering: u64,
    waiting: usize,
    running: bool,
    /// Results of groups whose members have not all come for them.
    results: HashMap<u64, (usize, Result<(), Failure>)>,
    /// After one failure nobody knows what was lost: the kernel tells each error once.
    broken: Option<Failure>,
}

/// An I/O error that more than one caller is told.
#[derive(Debug, Clone)]
struct Failure(io::ErrorKind, String);

impl Failure {
    fn of(error: &io::Error) -> Self {
        Self(error.kind(), format!("blobs cannot be made durable, nothing is accepted any more: {error}"))
    }
}
impl From<Failure> for io::Error {
    fn from(Failure(kind, why): Failure) -> Self {
        Self::new(kind, why)
    }
}

const MODE_PRIVATE: u32 = 0o600;
const MODE_EXPORTED: u32 = 0o440;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn day(id: &BlobId) -> &str {
    &id.as_str()[..8]
}

impl LocalBlobs {
    /// Blobs in this folder, which must be there (the data root makes it).
    pub fn open(path: &Path, options: BlobOptions) -> io::Result<Self> {
        Ok(Self {
            path: Arc::from(path),
            folder: durable::open_folder(path)?,
            options,
            days: Mutex::default(),
            today: Mutex::default(),
            groups: Mutex::default(),
            finished: Condvar::new(),
            discarded: Mutex::default(),
            bits: Mutex::default(),
            mode_holds: durable::umask().is_some_and(|umask| umask & MODE_PRIVATE == 0),
        })
    }

    fn place(id: &BlobId) -> PathBuf {
        Path::new(day(id)).join(id.as_str())
    }

    fn open_file(&self, id: &BlobId, flags: OFlags) -> io::Result<File> {
        durable::open_beneath(&self.folder, &Self::place(id), flags, MODE_PRIVATE).map(File::from)
    }

    fn create_file(&self, now: Timestamp) -> io::Result<(BlobId, File)> {
        loop {
            let today = self.today(now)?;
            let mut name = [0; 16];
            hex::encode_to_slice(self.random_bits()?, &mut name).map_err(io::Error::other)?;
            let name = str::from_utf8(&name).map_err(io::Error::other)?;
            let id = BlobId::parse(&[&*today.date, "-", name].concat()).map_err(io::Error::other)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            match durable::open_beneath(&today.folder, Path::new(id.as_str()), flags, MODE_PRIVATE) {
                Ok(file) => {
                    if !self.mode_holds {
                        rustix::fs::fchmod(&file, Mode::from_raw_mode(MODE_PRIVATE))?;
                    }
                    return Ok((id, File::from(file)));
                }
                // Another of that name, or its empty day was removed just now.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) =>
                {
                    locked(&self.days).remove(&today.date);
                    *locked(&self.today) = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The folder for what is made now.
    fn today(&self, now: Timestamp) -> io::Result<Arc<Today>> {
        let day = now.0.div_euclid(DAY);
        if let Some(today) = locked(&self.today).as_ref().filter(|today| today.day == day) {
            return Ok(Arc::clone(today));
        }
        let utc = now.utc();
        let date = format!("{:04}{:02}{:02}", utc.year(), utc.month(), utc.day());
        self.make_day(&date)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let folder = durable::open_beneath(&self.folder, Path::new(&date), flags, 0)?;
        let today = Arc::new(Today { day, date, folder });
        *locked(&self.today) = Some(Arc::clone(&today));
        Ok(today)
    }

    fn random_bits(&self) -> io::Result<[u8; 8]> {
        let mut bits = locked(&self.bits);
        if bits.is_empty() {
            let mut drawn = [0; NAMES_AHEAD * 8];
            getrandom::fill(&mut drawn).map_err(io::Error::other)?;
            bits.extend(drawn.as_chunks().0);
        }
        bits.pop().ok_or_else(|| io::Error::other("no random bits"))
    }

    fn make_day(&self, date: &str) -> io::Result<()> {
        let mut days = locked(&self.days);
        if !days.contains(date) {
            let folder = self.path.join(date);
            durable::make_folder(&folder, 0o700)?;
            // Found ones too: who made it may have gone before it was durable.
            durable::sync_folder(&self.path)?;
            // The last few days are enough to remember.
            if days.len() >= 16 {
                days.clear();
            }
            days.insert(date.to_owned());
        }
        Ok(())
    }

    /// Removes the name; one that is gone already is fine.
    fn unlink(&self, id: &BlobId) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.folder, Self::place(id), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_days<'a>(&self, ids: impl Iterator<Item = &'a BlobId>) -> io::Result<()> {
        let days: HashSet<&str> = ids.map(day).collect();
        days.into_iter().try_for_each(|day| match durable::sync_folder(&self.path.join(day)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }

    fn sync_each(&self, ids: &[BlobId]) -> io::Result<()> {
        if let Some(failure) = locked(&self.groups).broken.clone() {
            return Err(failure.into());
        }
        let files =
            ids.iter().map(|id| self.open_file(id, OFlags::RDONLY)).collect::<io::Result<Vec<_>>>()?;
        let synced = files.iter().try_for_each(File::sync_all).and_then(|()| self.sync_days(ids.iter()));
        synced.map_err(|error| self.fail(&error).into())
    }

    fn fail(&self, error: &io::Error) -> Failure {
        let failure = Failure::of(error);
        locked(&self.groups).broken.get_or_insert(failure).clone()
    }

    /// Whoever comes while one `syncfs` runs waits for the next one, which the first of them runs for all.
    fn sync_together(&self) -> io::Result<()> {
        let mut groups = locked(&self.groups);
        let group = groups.gathering;
        groups.waiting += 1;
        loop {
            if let Some((left, result)) = groups.results.get_mut(&group) {
                *left -= 1;
                let (left, result) = (*left, result.clone());
                if left == 0 {
                    groups.results.remove(&group);
                }
                return result.map_err(Into::into);
            }
            if !groups.running {
                break;
            }
            groups = self.finished.wait(groups).unwrap_or_else(PoisonError::into_inner);
        }
        groups.running = true;
        groups.gathering += 1;
        let members = std::mem::take(&mut groups.waiting);
        let broken = groups.broken.clone();
        drop(groups);
        let result = match broken {
            Some(failure) => Err(failure),
            None => rustix::fs::syncfs(&self.folder).map_err(|error| self.fail(&error.into())),
        };
        let mut groups = locked(&self.groups);
        groups.running = false;
        if members > 1 {
            groups.results.insert(group, (members - 1, result.clone()));
        }
        drop(groups);
        self.finished.notify_all();
        result.map_err(Into::into)
    }

    fn link(&self, id: &BlobId, into: &OwnedFd, name: &str, group: Option<u32>) -> io::Result<bool> {
        let file = self.open_file(id, OFlags::RDONLY)?;
        let meta = rustix::fs::fstat(&file)?;
        let other_group = group.is_some_and(|group| meta.st_gid != group);
        if other_group && meta.st_nlink > 1 {
            // The inode is shared with an earlier export to another group.
            return Ok(false);
        }
        if other_group {
            rustix::fs::fchown(&file, None, group.map(Gid::from_raw))?;
        }
        if meta.st_mode & 0o7777 != MODE_EXPORTED {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(MODE_EXPORTED))?;
        }
        match rustix::fs::linkat(&self.folder, Self::place(id), into, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::MLINK | rustix::io::Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn copy(&self, id: &BlobId, into: &OwnedFd, name: &str, group: Option<u32>) -> io::Result<()> {
        let mut from = self.open_file(id, OFlags::RDONLY)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut to = File::from(durable::open_beneath(into, Path::new(name), flags, MODE_PRIVATE)?);
        let copied = io::copy(&mut from, &mut to).and_then(|_| {
            if group.is_some() {
                rustix::fs::fchown(&to, None, group.map(Gid::from_raw))?;
            }
            Ok(rustix::fs::fchmod(&to, Mode::from_raw_mode(MODE_EXPORTED))?)
        });
        if copied.is_err() {
            let _ = rustix::fs::unlinkat(into, name, AtFlags::empty());
        }
        copied
    }
}

impl Blobs for LocalBlobs {
    fn create(&self, now: Timestamp) -> io::Result<Box<dyn BlobWriter>> {
        let (id, file) = self.create_file(now)?;
        Ok(Box::new(LocalWriter { blobs: Arc::clone(&self.path), id, file, size: Some(0) }))
    }

    fn reopen(&self, id: &BlobId) -> io::Result<Box<dyn BlobWriter>> {
        let file = self.open_file(id, OFlags::RDWR)?;
        if rustix::fs::fstat(&file)?.st_mode & 0o200 == 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "this blob is immutable"));
        }
        Ok(Box::new(LocalWriter { blobs: Arc::clone(&self.path), id: id.clone(), file, size: None }))
    }

    fn put(&self, bytes: &[u8], now: Timestamp) -> io::Result<BlobId> {
        let (id, file) = self.create_file(now)?;
        if let Err(error) = file.write_all_at(bytes, 0) {
            let _ = std::fs::remove_file(self.path.join(Self::place(&id)));
            return Err(error);
        }
        Ok(id)
    }

    fn sync(&self, ids: &[BlobId]) -> io::Result<()> {
        match self.options.durability {
            _ if ids.is_empty() => Ok(()),
            Durability::Fsync => self.sync_each(ids),
            Durability::Syncfs => {
                // What is not there cannot be durable: said by name, as fsync would.
                for id in ids {
                    rustix::fs::statat(&self.folder, Self::place(id), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                self.sync_together()
            }
        }
    }

    fn sync_covers(&self, folder: &Path) -> io::Result<bool> {
        let same = rustix::fs::fstat(&self.folder)?.st_dev == rustix::fs::stat(folder)?.st_dev;
        Ok(same && self.options.durability == Durability::Syncfs)
    }

    fn open(&self, id: &BlobId) -> io::Result<Box<dyn BlobReader>> {
        let file = self.open_file(id, OFlags::RDONLY)?;
        let size = file.metadata()?.len();
        Ok(Box::new(LocalReader { file, size }))
    }

    fn get(&self, id: &BlobId, max: u64) -> io::Result<Vec<u8>> {
        let file = self.open_file(id, OFlags::RDONLY)?;
        let size = file.metadata()?.len();
        if size > max {
            let why = format!("blob {id} has {size} bytes; at most {max} are expected here");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let (mut bytes, length) = (Vec::new(), usize::try_from(size).map_err(io::Error::other)?);
        LocalReader { file, size }.read_at(0, length, &mut bytes)?;
        Ok(bytes)
    }

    fn export(&self, id: &BlobId, into: &OwnedFd, name: &str, group: Option<u32>) -> io::Result<()> {
        if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an exported file needs a plain name"));
        }
        if self.options.export == Export::Link && self.link(id, into, name, group)? {
            return Ok(());
        }
        self.copy(id, into, name, group)
    }

    fn restore(&self, lost: &BlobId, from: &BlobId) -> io::Result<()> {
        self.make_day(day(lost))?;
        let (from, to) = (Self::place(from), Self::place(lost));
        rustix::fs::linkat(&self.folder, from, &self.folder, to, AtFlags::empty())?;
        self.sync(std::slice::from_ref(lost))
    }

    fn discard(&self, ids: &[BlobId]) -> io::Result<()> {
        for id in ids {
            let small = match rustix::fs::statat(&self.folder, Self::place(id), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat.st_size <= DISCARDED_BYTES_MAX,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut discarded = locked(&self.discarded);
            if small && discarded.len() < DISCARDED_MAX {
                discarded.push(id.clone());
                continue;
            }
            drop(discarded);
            self.unlink(id)?;
        }
        Ok(())
    }

    fn tidy(&self) -> io::Result<usize> {
        let discarded = std::mem::take(&mut *locked(&self.discarded));
        discarded.iter().try_for_each(|id| self.unlink(id))?;
        Ok(discarded.len())
    }

    fn remove(&self, ids: &[BlobId]) -> io::Result<()> {
        ids.iter().try_for_each(|id| self.unlink(id))?;
        self.sync_days(ids.iter())?;
        let mut days = locked(&self.days);
        for day in ids.iter().map(day).collect::<HashSet<_>>() {
            // Only an empty one goes; whether it does so durably is of no consequence.
            if rustix::fs::unlinkat(&self.folder, day, AtFlags::REMOVEDIR).is_ok() {
                days.remove(day);
            }
        }
        Ok(())
    }

    fn scan(&self) -> Box<dyn Iterator<Item = io::Result<BlobId>> + Send + '_> {
        let files = walkdir::WalkDir::new(&self.path).min_depth(2).max_depth(2).into_iter();
        Box::new(files.filter_map(|entry| match entry {
            Ok(entry) => entry.file_name().to_str().and_then(|name| BlobId::parse(name).ok()).map(Ok),
            // Removed while we look.
            Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => None,
            Err(error) => Some(Err(error.into())),
        }))
    }

    fn strays(&self, max: usize) -> io::Result<Vec<String>> {
        let mut strays = Vec::new();
        let mut walk = walkdir::WalkDir::new(&self.path).min_depth(1).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let name = entry.file_name().to_str().unwrap_or_default();
            let fits = match (entry.depth(), entry.file_type().is_dir()) {
                (1, true) => name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit()),
                (2, false) => BlobId::parse(name).is_ok_and(|id| {
                    entry.file_type().is_file() && entry.path() == self.path.join(Self::place(&id))
                }),
                _ => false,
            };
            if fits {
                continue;
            }
            if entry.file_type().is_dir() {
                // What lies in it is named with it.
                walk.skip_current_dir();
            }
            let place = entry.path().strip_prefix(&self.path).unwrap_or(entry.path());
            strays.push(place.to_string_lossy().into_owned());
            if strays.len() >= max {
                break;
            }
        }
        Ok(strays)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl Drop for LocalBlobs {
    fn drop(&mut self) {
        // What cannot be removed now is an orphan: the sweep says so if it cannot either.
        let _ = self.tidy();
    }
}

struct LocalWriter {
    /// `blobs/`
    blobs: Arc<Path>,
    id: BlobId,
    file: File,
    /// Bytes so far, of a blob that this writer began: it has no other.
    size: Option<u64>,
}

impl BlobWriter for LocalWriter {
    fn id(&self) -> &BlobId {
        &self.id
    }
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // After a failure nobody knows how much of it is there.
        let before = self.size.take();
        self.file.write_all_at(bytes, offset)?;
        self.size = before.map(|size| size.max(offset.saturating_add(bytes.len() as u64)));
        Ok(())
    }
    fn set_size(&mut self, size: u64) -> io::Result<()> {
        self.size = None;
        self.file.set_len(size)
    }
    fn size(&self) -> io::Result<u64> {
        match self.size {
            Some(size) => Ok(size),
            None => Ok(self.file.metadata()?.len()),
        }
    }
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        durable::sync_folder(&self.blobs.join(day(&self.id)))
    }
}

struct LocalReader {
    file: File,
    size: u64,
}

impl BlobReader for LocalReader {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let start = into.len();
        let end = start + length.min(left);
        // Straight into the room behind what is there: 255 KiB at a time are too many to fill with zeros first.
        into.reserve(end - start);
        while into.len() < end {
            let at = offset + (into.len() - start) as u64;
            match rustix::io::pread(&self.file, spare_capacity(into), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    into.truncate(start);
                    return Err(error.into());
                }
            }
        }
        // More may have come along than was asked for.
        into.truncate(end);
        Ok(())
    }
    fn stream(&self) -> Box<dyn Read + Send + '_> {
        Box::new(Stream { file: &self.file, at: 0 })
    }
}

struct Stream<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blobs_suite;

    fn made(export: Export, durability: Durability) -> (tempfile::TempDir, LocalBlobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(dir.path(), BlobOptions { durability, export }).unwrap();
        (dir, blobs)
    }

    #[test]
    fn linked_ones_pass_the_suite() {
        blobs_suite::run(|| made(Export::Link, Durability::Syncfs));
    }

    #[test]
    fn copied_ones_pass_the_suite() {
        blobs_suite::run(|| made(Export::Copy, Durability::Fsync));
    }

    #[test]
    fn a_link_shares_the_bytes_and_a_second_group_gets_a_copy() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let (_dir, blobs) = made(Export::Link, Durability::Fsync);
        let out = tempfile::tempdir().unwrap();
        let into = durable::open_folder(out.path()).unwrap();
        let id = blobs.put(b"x", Timestamp(0)).unwrap();
        blobs.sync(std::slice::from_ref(&id)).unwrap();
        blobs.export(&id, &into, "a", None).unwrap();
        let meta = |name: &str| std::fs::metadata(out.path().join(name)).unwrap();
        let own = std::fs::metadata(blobs.path.join(LocalBlobs::place(&id))).unwrap();
        assert_eq!((own.ino(), own.permissions().mode() & 0o7777), (meta("a").ino(), 0o440));
        if rustix::process::geteuid().is_root() {
            blobs.export(&id, &into, "b", Some(54321)).unwrap();
            assert_ne!(meta("b").ino(), own.ino());
            assert_eq!((meta("a").gid(), meta("b").gid()), (own.gid(), 54321));
            assert_eq!(meta("b").permissions().mode() & 0o7777, 0o440);
        }
        assert_eq!(blobs.reopen(&id).err().unwrap().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn another_mount_gets_a_copy() {
        let (_dir, blobs) = made(Export::Link, Durability::Fsync);
        let Ok(out) = tempfile::tempdir_in("/dev/shm") else { return };
        let into = durable::open_folder(out.path()).unwrap();
        let id = blobs.put(b"x", Timestamp(0)).unwrap();
        blobs.export(&id, &into, "a", None).unwrap();
        assert_eq!(std::fs::read(out.path().join("a")).unwrap(), b"x");
    }

    #[test]
    fn one_failure_reaches_everybody_and_stays() {
        for durability in [Durability::Fsync, Durability::Syncfs] {
            let (_dir, blobs) = made(Export::Link, durability);
            let id = blobs.put(b"x", Timestamp(0)).unwrap();
            blobs.sync(std::slice::from_ref(&id)).unwrap();
            blobs.fail(&io::Error::other("the disk is gone"));
            for _ in 0..2 {
                let error = blobs.sync(std::slice::from_ref(&id)).unwrap_err();
                assert!(error.to_string().contains("the disk is gone"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_no_blob_is_named_and_blobs_are_not() {
        let (dir, blobs) = made(Export::Link, Durability::Fsync);
        let id = blobs.put(b"x", Timestamp(0)).unwrap();
        assert_eq!(blobs.strays(9).unwrap(), Vec::<String>::new());
        for folder in ["notaday/deep", "19700101/folder"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["loose", "19700101/garbage.bin", "19700101/19700102-aaaaaaaaaaaaaaaa"] {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        let all = [
            "19700101/19700102-aaaaaaaaaaaaaaaa",
            "19700101/folder",
            "19700101/garbage.bin",
            "loose",
            "notaday",
        ];
        assert_eq!(blobs.strays(9).unwrap(), all);
        assert_eq!(blobs.strays(2).unwrap(), all[..2]);
        assert_eq!(blobs.get(&id, 9).unwrap(), b"x");
    }

    #[test]
    fn an_emptied_day_goes_and_comes_back() {
        let (dir, blobs) = made(Export::Link, Durability::Fsync);
        let day = dir.path().join("19700101");
        let id = blobs.put(b"x", Timestamp(0)).unwrap();
        assert!(day.exists());
        blobs.remove(std::slice::from_ref(&id)).unwrap();
        assert!(!day.exists());
        let id = blobs.put(b"y", Timestamp(0)).unwrap();
        blobs.sync(std::slice::from_ref(&id)).unwrap();
        assert_eq!(blobs.get(&id, 10).unwrap(), b"y");
    }
}
