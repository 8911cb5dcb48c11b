//! The books of closed days: `books/2026-11-22.books`, one file a day with what every insurer and account is shown of it.
//! Written once, then only read: what was signed stays byte for byte.
//!
//! ```text
//! todoke-books 1 2026-11-22 1795269600000 1795356000000 LENGTH\n     bytes of the list that follows
//! accounts/K0001.csv OFFSET LENGTH SHA256\n                         one line a part, by name; offsets count from the list's end
//! ...
//! the parts, one after the other
//! ```
//! `2026-11-22.06139999.owed` says that this insurer's report of the day could not be written yet.
//! A day whose file is there is done: it is renamed into place after all else that the day asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;

use super::durable;
use super::keys::Keys;
use crate::model::day::ClosedDay;
use crate::model::ids::{AccountId, Digest, InsurerCode};
use crate::model::time::Timestamp;
use crate::signed::sshsig::RECONCILIATION_NAMESPACE;

/// How the sheets of books begin: UTF-8 with BOM, CRLF. Japanese and English side by side, since what is signed has one
/// language.
pub const HEAD: &str = "\u{feff}日時 at,出来事 event,内容 what,番号 id,保険者 insurer,アカウント account,事業所 office,種類 kind,\
                        件数 count,バイト bytes,SHA-256 sha256\r\n";

const MAGIC: &str = "todoke-books 1";
const EXTENSION: &str = "books";
const OWED: &str = "owed";
/// The first line.
const HEAD_BYTES_MAX: usize = 256;
/// The list of a day: some hundred bytes for each account and insurer.
const LIST_BYTES_MAX: usize = 64 << 20;

/// Where they lie.
#[derive(Debug, Clone)]
pub struct Books {
    folder: PathBuf,
}

/// The name of a part.
pub fn account_part(account: &AccountId) -> String {
    format!("accounts/{account}.csv")
}

/// The name of a part.
pub fn insurer_part(insurer: &InsurerCode) -> String {
    format!("insurers/{insurer}.csv")
}

/// The name of a part's signature.
pub fn signature_of(part: &str) -> String {
    format!("{part}.sig")
}

impl Books {
    /// In this folder of the data root.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn file(&self, day: &str) -> PathBuf {
        self.folder.join(format!("{day}.{EXTENSION}"))
    }

    /// Whether a day's books are there.
    pub fn has(&self, day: &str) -> bool {
        self.file(day).exists()
    }

    fn owed_file(&self, day: &str, code: &InsurerCode) -> PathBuf {
        self.folder.join(format!("{day}.{code}.{OWED}"))
    }

    /// Notes durably that an insurer's report of a day is still to be written.
    pub fn owe(&self, day: &str, code: &InsurerCode) -> io::Result<()> {
        durable::make_folder(&self.folder, 0o700)?;
        durable::replace(&self.owed_file(day, code), b"", 0o600)
    }

    /// It was written.
    pub fn settle(&self, day: &str, code: &InsurerCode) -> io::Result<()> {
        durable::remove(&self.owed_file(day, code))
    }

    /// Reports that are still to be written, by day.
    pub fn owed(&self) -> io::Result<BTreeMap<NaiveDate, BTreeSet<InsurerCode>>> {
        let mut owed: BTreeMap<NaiveDate, BTreeSet<InsurerCode>> = BTreeMap::new();
        for name in self.names()? {
            let parts = name.strip_suffix(OWED).and_then(|name| name.strip_suffix('.')?.split_once('.'));
            let Some((day, code)) = parts else { continue };
            if let (Ok(day), Ok(code)) = (day.parse(), InsurerCode::parse(code)) {
                owed.entry(day).or_default().insert(code);
            }
        }
        Ok(owed)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// Days whose books are there, newest first, at most `limit`.
    pub fn days(&self, limit: usize) -> io::Result<Vec<NaiveDate>> {
        let mut days = Vec::new();
        for name in self.names()? {
            let day = name.strip_suffix(EXTENSION).and_then(|name| name.strip_suffix('.'));
            days.extend(day.and_then(|day| day.parse::<NaiveDate>().ok()));
        }
        days.sort_unstable_by(|a, b| b.cmp(a));
        days.truncate(limit);
        Ok(days)
    }

    /// Writes a day's, durably, in one piece. The parts are in order of their names.
    pub fn write(&self, day: &ClosedDay, parts: &[(String, Vec<u8>)]) -> io::Result<()> {
        durable::make_folder(&self.folder, 0o700)?;
        let (mut list, mut offset) = (String::new(), 0);
        for (name, bytes) in parts {
            let _ = writeln!(list, "{name} {offset} {} {}", bytes.len(), Digest::of(bytes));
            offset += bytes.len();
        }
        let ClosedDay { day: name, from, until } = day;
        let mut file = format!("{MAGIC} {name} {} {} {}\n{list}", from.0, until.0, list.len()).into_bytes();
        file.reserve(offset);
        for (_, bytes) in parts {
            file.extend_from_slice(bytes);
        }
        durable::replace(&self.file(name), &file, 0o600)
    }

    /// Opens a day's; `NotFound` when there are none.
    pub fn open(&self, day: &str) -> io::Result<Book> {
        Book::open(&self.file(day))
    }

    /// What an account is shown of a day, or the signature over it. An account for which nothing happened has a sheet without rows.
    pub fn of_account(
        &self,
        account: &AccountId,
        day: NaiveDate,
        signature: bool,
        keys: &Keys,
    ) -> io::Result<Shown> {
        let book = self.open(&day.to_string())?;
        let name = account_part(account);
        let name = if signature { signature_of(&name) } else { name };
        let bytes = match book.find(&name) {
            Some(part) => book.read(part)?,
            None if signature => {
                let made = keys.sign(RECONCILIATION_NAMESPACE, HEAD.as_bytes());
                made.map_err(io::Error::other)?.into_bytes()
            }
            None => HEAD.as_bytes().to_vec(),
        };
        Ok(Shown { bytes, until: book.day.until })
    }

    /// Sizes of a day's sheet and its signature, as [`Books::of_account`] gives them, and when the day ended.
    pub fn sizes(
        &self,
        account: &AccountId,
        day: NaiveDate,
        empty: (usize, usize),
    ) -> io::Result<(usize, usize, Timestamp)> {
        let book = self.open(&day.to_string())?;
        let name = account_part(account);
        let size = |name: &str| book.find(name).map(|part| part.length);
        let sizes = size(&name).zip(size(&signature_of(&name))).unwrap_or(empty);
        Ok((sizes.0, sizes.1, book.day.until))
    }

    /// Removes what is older than this day; gives how many days went.
    pub fn expire(&self, before: NaiveDate) -> io::Result<usize> {
        let old: Vec<_> = self.days(usize::MAX)?.into_iter().filter(|day| *day < before).collect();
        for day in &old {
            durable::remove(&self.file(&day.to_string()))?;
        }
        for (day, codes) in self.owed()?.range(..before) {
            for code in codes {
                self.settle(&day.to_string(), code)?;
            }
        }
        Ok(old.len())
    }
}

/// A file of an account's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When the day ended.
    pub until: Timestamp,
}

/// One day's books, open.
#[derive(Debug)]
pub struct Book {
    file: File,
    /// Which day, from when to when.
    pub day: ClosedDay,
    list: String,
    begins: u64,
}

/// Where a part lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    offset: u64,
    /// Bytes.
    pub length: usize,
    /// Of its bytes.
    pub sha256: Digest,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a day's books are damaged: {what}"))
}

impl Book {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut head = vec![0; HEAD_BYTES_MAX];
        let read = file.read_at(&mut head, 0)?;
        head.truncate(read);
        let end = head.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no first line"))?;
        let line = std::str::from_utf8(&head[..end]).map_err(|_| damaged("the first line"))?;
        let (day, length) = head_of(line).ok_or_else(|| damaged("the first line"))?;
        if length > LIST_BYTES_MAX {
            return Err(damaged("its list is too long"));
        }
        let mut list = vec![0; length];
        file.read_exact_at(&mut list, end as u64 + 1)?;
        let list = String::from_utf8(list).map_err(|_| damaged("its list"))?;
        Ok(Self { file, day, list, begins: (end + 1 + length) as u64 })
    }

    /// Its parts, by name.
    pub fn parts(&self) -> impl Iterator<Item = (&str, Part)> {
        self.list.lines().filter_map(|line| part_of(line))
    }

    /// Where a part lies; none if there is no such part.
    pub fn find(&self, name: &str) -> Option<Part> {
        self.parts().find(|(part, _)| *part == name).map(|(_, part)| part)
    }

    /// A part's bytes, held against their hash.
    pub fn read(&self, part: Part) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; part.length];
        self.file.read_exact_at(&mut bytes, self.begins + part.offset)?;
        if Digest::of(&bytes) == part.sha256 { Ok(bytes) } else { Err(damaged("a part has another hash")) }
    }
}

fn head_of(line: &str) -> Option<(ClosedDay, usize)> {
    let mut words = line.strip_prefix(MAGIC)?.strip_prefix(' ')?.split(' ');
    let day = words.next()?.to_owned();
    let mut number = || words.next()?.parse::<i64>().ok();
    let (from, until, length) = (Timestamp(number()?), Timestamp(number()?), number()?);
    Some((ClosedDay { day, from, until }, usize::try_from(length).ok()?))
}

fn part_of(line: &str) -> Option<(&str, Part)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let (offset, length) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((name, Part { offset, length, sha256: Digest::parse(words.next()?).ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_kept_byte_for_byte_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let books = Books::new(dir.path().join("books"));
        assert_eq!(books.days(10).unwrap(), []);
        let day = |name: &str| ClosedDay { day: name.into(), from: Timestamp(-5), until: Timestamp(7) };
        let parts = [("accounts/K0001.csv".to_owned(), b"one".to_vec()), ("b".to_owned(), Vec::new())];
        for name in ["2026-11-22", "2026-11-20", "2026-11-21"] {
            books.write(&day(name), &parts).unwrap();
        }
        std::fs::write(dir.path().join("books/.tmp-x"), "").unwrap();
        let days: Vec<String> = books.days(2).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(days, ["2026-11-22", "2026-11-21"]);
        let book = books.open("2026-11-22").unwrap();
        assert_eq!(book.day, day("2026-11-22"));
        let part = book.find("accounts/K0001.csv").unwrap();
        assert_eq!(book.read(part).unwrap(), b"one");
        assert_eq!(book.read(book.find("b").unwrap()).unwrap(), b"");
        assert_eq!(book.find("c"), None);
        assert_eq!(books.open("2026-11-01").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(books.expire(NaiveDate::from_ymd_opt(2026, 11, 22).unwrap()).unwrap(), 2);
        assert!(books.has("2026-11-22") && !books.has("2026-11-20"));

        let file = dir.path().join("books/2026-11-22.books");
        let mut bytes = std::fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let book = books.open("2026-11-22").unwrap();
        let part = book.find("accounts/K0001.csv").unwrap();
        assert_eq!(book.read(part).unwrap_err().kind(), io::ErrorKind::InvalidData);
        for cut in 0..bytes.len() {
            std::fs::write(&file, &bytes[..cut]).unwrap();
            let read = books.open("2026-11-22").and_then(|book| {
                let part = book.find("accounts/K0001.csv").ok_or_else(|| damaged("cut"))?;
                book.read(part)
            });
            assert!(read.is_err(), "{cut}");
        }
    }
}
