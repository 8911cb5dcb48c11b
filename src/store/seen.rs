//! Which records were filed before, without saying whose they are (K53): keyed tags with the submission that brought
//! them, outside the journal, deleted when they are old.
//!
//! ```text
//! seen/CODE/YYYY-MM   append-only, one file for each insurer and month; 0600
//! ```
//!
//! A file begins with `HEADER`; then marks of `MARK_BYTES` bytes: 16 of the record's tag, 8 of the insured's number's
//! tag (zeros: none was given), epoch (4) and serial (8) of the submission, little endian, and the first 4 bytes of the
//! SHA-256 over these. A mark that a crash left torn is passed over; the next one is written over a torn tail.
//!
//! A mark is durable before the ledger commits its submission, and says nothing by itself: whether the submission counts is
//! asked of the ledger, so one that was never committed, was refused, or was withdrawn does not.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use chrono::{Datelike as _, NaiveDate};
use sha2::{Digest as _, Sha256};

use super::durable;
use crate::model::ids::{InsurerCode, Number};

/// How a file begins; as long as a mark.
const HEADER: &[u8; MARK_BYTES] = b"todoke seen 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Bytes of a mark.
const MARK_BYTES: usize = 40;
/// Marks read at once.
const READ_MARKS: usize = 4096;
/// Most marks kept in memory (about 24 bytes each); beyond, the oldest months are not looked at any more.
const MARKS_MAX: usize = 10_000_000;

/// A calendar month, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

impl Month {
    /// The month of a day.
    pub fn of(day: NaiveDate) -> Self {
        // 1 to 12.
        Self(day.year() * 12 + i32::try_from(day.month0()).unwrap_or(0))
    }

    /// So many months before.
    #[must_use]
    pub fn before(self, months: u32) -> Self {
        Self(self.0.saturating_sub(i32::try_from(months).unwrap_or(i32::MAX)))
    }

    fn parse(name: &str) -> Option<Self> {
        let day = NaiveDate::parse_from_str(&format!("{name}-01"), "%Y-%m-%d").ok()?;
        Some(Self::of(day)).filter(|month| month.file_name() == name)
    }

    fn file_name(self) -> String {
        format!("{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }
}

/// What is remembered of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Keyed tag of office, form, person and date.
    pub record: [u8; 16],
    /// Keyed tag of the insured's number; none when it was not given. Two records that give different numbers are those of
    /// two people, whatever else agrees.
    pub insured: Option<[u8; 8]>,
}

impl Mark {
    fn bytes(self, number: Number) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[..16].copy_from_slice(&self.record);
        bytes[16..24].copy_from_slice(&self.insured.unwrap_or_default());
        bytes[24..28].copy_from_slice(&number.epoch.to_le_bytes());
        bytes[28..36].copy_from_slice(&number.serial.to_le_bytes());
        let sum = checksum(&bytes[..36]);
        bytes[36..].copy_from_slice(&sum);
        bytes
    }

    fn read(bytes: &[u8; MARK_BYTES]) -> Option<(Self, Number)> {
        let (body, sum) = bytes.split_at(36);
        if checksum(body) != *sum {
            return None;
        }
        let insured: [u8; 8] = body[16..24].try_into().ok()?;
        let number = Number {
            epoch: u32::from_le_bytes(body[24..28].try_into().ok()?),
            serial: u64::from_le_bytes(body[28..36].try_into().ok()?),
        };
        let record = body[..16].try_into().ok()?;
        Some((Self { record, insured: (insured != [0; 8]).then_some(insured) }, number))
    }

    fn prefix(self) -> u64 {
        self.record[..8].try_into().map_or(0, u64::from_be_bytes)
    }

    fn same(self, other: Self) -> bool {
        let differ = |(a, b)| a != b;
        self.record == other.record && !self.insured.zip(other.insured).is_some_and(differ)
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(bytes).into();
    [a, b, c, d]
}

/// One month's file.
#[derive(Debug)]
struct MonthFile {
    file: Arc<File>,
    /// First bytes of each mark's tag, and its place.
    index: BTreeSet<(u64, u32)>,
    /// Marks in the file, torn ones included.
    marks: u32,
}

impl MonthFile {
    fn read_at(&self, place: u32) -> io::Result<Option<(Mark, Number)>> {
        let mut bytes = [0; MARK_BYTES];
        self.file.read_exact_at(&mut bytes, offset(place))?;
        Ok(Mark::read(&bytes))
    }
}

fn offset(place: u32) -> u64 {
    (u64::from(place) + 1) * MARK_BYTES as u64
}

#[derive(Debug, Default)]
struct Inner {
    months: BTreeMap<(InsurerCode, Month), MonthFile>,
    /// Submissions that have claimed and not said yet what became of them.
    under_way: HashSet<Number>,
    marks: usize,
}

/// The store. See the module's text.
#[derive(Debug)]
pub struct Seen {
    folder: PathBuf,
    inner: Mutex<Inner>,
    settled: Condvar,
    /// Whoever claims makes everything in this folder's file system durable before committing, with the bytes.
    synced_with_blobs: bool,
    marks_max: usize,
}

/// What a claim came to. Dropped without [`Claim::keep`], its marks go again.
#[derive(Debug)]
pub struct Claim<'a> {
    store: &'a Seen,
    number: Number,
    /// Records that were filed before, by their place in the list, and by which submission.
    pub repeats: Vec<(usize, Number)>,
    placed: Option<(InsurerCode, Month, Range<u32>, Arc<File>)>,
}

/// What is claimed.
#[derive(Debug, Clone, Copy)]
pub struct Claiming<'a> {
    /// Marks of one insurer never meet another's.
    pub insurer: &'a InsurerCode,
    /// Marks of earlier months do not count.
    pub since: Month,
    /// Where the new ones go.
    pub month: Month,
    /// The submission.
    pub number: Number,
    /// Its records.
    pub marks: &'a [Mark],
    /// Whether they are remembered even if some were filed before.
    pub even_if_repeated: bool,
}

impl Seen {
    /// Reads what is remembered. `synced_with_blobs`: see [`super::blobs::Blobs::sync_covers`].
    pub fn open(folder: &Path, synced_with_blobs: bool) -> io::Result<Self> {
        Self::open_bounded(folder, synced_with_blobs, MARKS_MAX)
    }

    fn open_bounded(folder: &Path, synced_with_blobs: bool, marks_max: usize) -> io::Result<Self> {
        let mut paths: Vec<(Month, InsurerCode, PathBuf)> = Vec::new();
        for insurer in std::fs::read_dir(folder)? {
            let insurer = insurer?;
            let Some(code) = insurer.file_name().to_str().and_then(|name| InsurerCode::parse(name).ok())
            else {
                continue;
            };
            for month in std::fs::read_dir(insurer.path())? {
                let month = month?;
                if let Some(name) = month.file_name().to_str().and_then(Month::parse) {
                    paths.push((name, code.clone(), month.path()));
                }
            }
        }
        // The newest first: they are what memory is for.
        paths.sort_by_key(|path| std::cmp::Reverse(path.0));
        let mut inner = Inner::default();
        for (month, code, path) in paths {
            let file = load(&path)?;
            inner.marks += file.index.len();
            inner.months.insert((code, month), file);
            inner.bound(marks_max);
        }
        Ok(Self {
            folder: folder.to_owned(),
            inner: Mutex::new(inner),
            settled: Condvar::new(),
            synced_with_blobs,
            marks_max,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether any of the records was filed before, and remembers all of them for this submission, in one step.
    /// `counts` says whether an earlier submission counts. A repeat of one whose commit is under way waits for that.
    pub fn claim<E: From<io::Error>>(
        &self,
        claiming: Claiming<'_>,
        counts: &mut dyn FnMut(Number) -> Result<bool, E>,
    ) -> Result<Claim<'_>, E> {
        let Claiming { insurer, month, number, marks, .. } = claiming;
        let mut inner = self.lock();
        let (repeats, own) = loop {
            match inner.repeats(claiming, counts)? {
                Some(found) => break found,
                None => inner = self.settled.wait(inner).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let mut claim = Claim { store: self, number, repeats, placed: None };
        if marks.is_empty() || own || (!claim.repeats.is_empty() && !claiming.even_if_repeated) {
            return Ok(claim);
        }
        let key = (insurer.clone(), month);
        if !inner.months.contains_key(&key) {
            let file = self.make(insurer, month)?;
            inner.months.insert(key.clone(), file);
        }
        let Some(at) = inner.months.get_mut(&key) else { return Ok(claim) };
        let bytes: Vec<u8> = marks.iter().flat_map(|mark| mark.bytes(number)).collect();
        let (from, count) = (at.marks, u32::try_from(marks.len()).unwrap_or(u32::MAX));
        let to = from.checked_add(count).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        if let Err(error) = at.file.write_all_at(&bytes, offset(from)) {
            // What was written of it is no whole mark, or one of a submission that never comes.
            let _ = at.file.set_len(offset(from));
            return Err(error.into());
        }
        at.marks = to;
        at.index.extend(marks.iter().zip(from..).map(|(mark, place)| (mark.prefix(), place)));
        claim.placed = Some((insurer.clone(), month, from..to, Arc::clone(&at.file)));
        inner.marks += marks.len();
        inner.under_way.insert(number);
        inner.bound(self.marks_max);
        Ok(claim)
    }

    fn make(&self, insurer: &InsurerCode, month: Month) -> io::Result<MonthFile> {
        let folder = self.folder.join(insurer.as_str());
        durable::make_folder(&folder, 0o700)?;
        let path = folder.join(month.file_name());
        match durable::create_exclusive(&path, 0o600) {
            Ok(file) => {
                file.write_all_at(HEADER, 0)?;
                file.sync_all()?;
                durable::sync_folder(&folder)?;
                Ok(MonthFile { file: Arc::new(file), index: BTreeSet::new(), marks: 0 })
            }
            // One that memory had no room for.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => load(&path),
            Err(error) => Err(error),
        }
    }

    /// Deletes the files of months before `oldest(insurer)`; gives how many went.
    pub fn expire(&self, oldest: &dyn Fn(&InsurerCode) -> Month) -> io::Result<usize> {
        let mut inner = self.lock();
        let mut gone = 0;
        for insurer in std::fs::read_dir(&self.folder)? {
            let insurer = insurer?;
            let Some(code) = insurer.file_name().to_str().and_then(|name| InsurerCode::parse(name).ok())
            else {
                continue;
            };
            for file in std::fs::read_dir(insurer.path())? {
                let file = file?;
                let Some(month) = file.file_name().to_str().and_then(Month::parse) else { continue };
                if month >= oldest(&code) {
                    continue;
                }
                durable::remove(&file.path())?;
                if let Some(file) = inner.months.remove(&(code.clone(), month)) {
                    inner.marks -= file.index.len();
                }
                gone += 1;
            }
        }
        Ok(gone)
    }
}

/// Which of the marks repeat which submission.
type Repeats = Vec<(usize, Number)>;

impl Inner {
    /// The repeats, and whether this very submission is remembered already; none when one under way has to end first.
    fn repeats<E: From<io::Error>>(
        &self,
        claiming: Claiming<'_>,
        counts: &mut dyn FnMut(Number) -> Result<bool, E>,
    ) -> Result<Option<(Repeats, bool)>, E> {
        let Claiming { insurer, since, number, marks, .. } = claiming;
        let mut known: BTreeMap<Number, bool> = BTreeMap::new();
        let (mut repeats, mut own) = (Vec::new(), false);
        let last = (insurer.clone(), Month(i32::MAX));
        let months: Vec<&MonthFile> =
            self.months.range((insurer.clone(), since)..=last).map(|(_, file)| file).collect();
        for (at, mark) in marks.iter().enumerate() {
            let prefix = mark.prefix();
            let mut earliest: Option<Number> = None;
            for file in &months {
                for (_, place) in file.index.range((prefix, 0)..=(prefix, u32::MAX)) {
                    let Some((seen, by)) = file.read_at(*place)? else { continue };
                    if !mark.same(seen) {
                        continue;
                    }
                    if by == number {
                        own = true;
                        continue;
                    }
                    if self.under_way.contains(&by) {
                        return Ok(None);
                    }
                    let counts = match known.get(&by) {
                        Some(counts) => *counts,
                        None => *known.entry(by).or_insert(counts(by)?),
                    };
                    if counts {
                        earliest = Some(earliest.map_or(by, |earliest| earliest.min(by)));
                    }
                }
            }
            repeats.extend(earliest.map(|by| (at, by)));
        }
        Ok(Some((repeats, own)))
    }

    /// Lets go of the oldest months when there is too much.
    fn bound(&mut self, marks_max: usize) {
        while self.marks > marks_max && self.months.len() > 1 {
            let oldest = self.months.keys().min_by_key(|(_, month)| *month).cloned();
            let Some(oldest) = oldest else { return };
            if let Some(file) = self.months.remove(&oldest) {
                self.marks -= file.index.len();
            }
            tracing::warn!(
                insurer = %oldest.0,
                month = oldest.1.file_name(),
                "filings of this month are not looked at any more when repeats are looked for: there is no room"
            );
        }
    }
}

impl Claim<'_> {
    /// Makes the marks durable. To be called before the commit.
    pub fn sync(&self) -> io::Result<()> {
        match &self.placed {
            Some((.., file)) if !self.store.synced_with_blobs => file.sync_data(),
            _ => Ok(()),
        }
    }

    /// The submission was committed, or may have been: its marks stay.
    pub fn keep(mut self) {
        self.end(false);
    }

    fn end(&mut self, undo: bool) {
        let Some((insurer, month, range, file)) = self.placed.take() else { return };
        let mut inner = self.store.lock();
        inner.under_way.remove(&self.number);
        if undo
            && let Some(at) = inner.months.get_mut(&(insurer, month))
            && Arc::ptr_eq(&at.file, &file)
        {
            at.index.retain(|(_, place)| !range.contains(place));
            // Marks that others wrote behind them keep their places; these then name a submission that never was.
            if at.marks == range.end && at.file.set_len(offset(range.start)).is_ok() {
                at.marks = range.start;
            }
            inner.marks -= range.len();
        }
        drop(inner);
        self.store.settled.notify_all();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.end(true);
    }
}

/// Opens a month's file and reads its marks.
fn load(path: &Path) -> io::Result<MonthFile> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(told)?;
    let mut header = Vec::with_capacity(MARK_BYTES);
    Read::by_ref(&mut file).take(MARK_BYTES as u64).read_to_end(&mut header).map_err(told)?;
    // A crash may have come before the header was whole; it is durable before any mark is written.
    if header.len() < MARK_BYTES || header.iter().all(|byte| *byte == 0) {
        file.write_all_at(HEADER, 0).map_err(told)?;
    } else if header != HEADER {
        let why = "is no file of filings seen; move it away";
        return Err(told(io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    let mut found = Vec::new();
    let (mut marks, mut torn) = (0_u32, 0_u32);
    let mut buffer = Vec::with_capacity(MARK_BYTES * READ_MARKS);
    loop {
        buffer.clear();
        let most = (MARK_BYTES * READ_MARKS) as u64;
        let read = Read::by_ref(&mut file).take(most).read_to_end(&mut buffer).map_err(told)?;
        for bytes in buffer.as_chunks::<MARK_BYTES>().0 {
            match Mark::read(bytes) {
                Some((mark, _)) => found.push((mark.prefix(), marks)),
                None => torn += 1,
            }
            marks = marks.checked_add(1).ok_or_else(|| told(io::ErrorKind::FileTooLarge.into()))?;
        }
        if (read as u64) < most {
            break;
        }
    }
    if torn > 0 {
        tracing::warn!(file = %path.display(), torn, "marks of filings that a crash left torn are passed over");
    }
    Ok(MonthFile { file: Arc::new(file), index: found.into_iter().collect(), marks })
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
