//! `/account`: an account's own registration and certificates, beside whatever else its tree shows.
//!
//! The few files that may be put here are small: they are gathered in memory and handed over whole, when the file is closed
//! or renamed into place; that close or rename waits for the answer. Until then they are drafts of this login.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::office::OfficeParts;
use super::port::{
    Answer, Attributes, Entry, Fault, Listing, OpenFile, OpenFlags, SetAttributes, Space, Tree, VirtualPath,
};
use super::readers::MadeFile;
use super::words::Words;
use crate::model::finding::Language;
use crate::model::ids::AccountId;
use crate::model::time::Timestamp;
use crate::signed::secrets;
use crate::store::dropbox::DropboxError;
use crate::store::receipts::Made;
use crate::work::ports::self_service::{PUT_NAMES, SelfFault};

/// The folder.
const ACCOUNT: &str = "account";
/// Drafts of one login.
const DRAFTS_MAX: usize = 8;

/// A tree with `/account` in it.
pub struct WithAccount {
    inner: Arc<dyn Tree>,
    shared: Arc<Shared>,
}

/// What the open files of a login need.
struct Shared {
    parts: Arc<OfficeParts>,
    account: AccountId,
    words: Words,
    drafts: Mutex<Drafts>,
}

/// What a login has put here.
#[derive(Default)]
struct Drafts {
    /// Not handed over: still open, under a passing name, or refused.
    bytes: BTreeMap<String, Vec<u8>>,
    /// Size and time of what was handed over and is not shown any more: clients look once more after a put.
    taken: BTreeMap<String, (u64, Timestamp)>,
}

/// What a path beneath `/account` means.
enum At {
    Folder,
    /// One of [`PUT_NAMES`].
    Slot(&'static str),
    /// A passing name of one of them, such as `renew.csr.part`.
    Passing(String),
    /// A file or folder to read.
    Made(String),
}

impl WithAccount {
    /// `inner` with `/account` of this account beside it.
    pub fn new(inner: Arc<dyn Tree>, parts: Arc<OfficeParts>, account: AccountId) -> Self {
        let words = Words(inner.language());
        Self { inner, shared: Arc::new(Shared { parts, account, words, drafts: Mutex::default() }) }
    }

    fn words(&self) -> Words {
        self.shared.words
    }

    /// Where in `/account` a path leads; none for paths elsewhere.
    fn at(path: &VirtualPath) -> Option<At> {
        let (first, rest) = path.0.split_first()?;
        if first != ACCOUNT {
            return None;
        }
        Some(match rest {
            [] => At::Folder,
            [name] => match PUT_NAMES.iter().find(|slot| *slot == name) {
                Some(slot) => At::Slot(slot),
                None if PUT_NAMES.iter().any(|slot| name.contains(slot)) => At::Passing(name.clone()),
                None => At::Made(name.clone()),
            },
            names => At::Made(names.join("/")),
        })
    }

    fn folder(&self) -> Attributes {
        let modified = self.shared.parts.ledger.head().at.unix_seconds();
        Attributes { folder: true, size: 0, mode: 0o750, modified }
    }

    /// Whether files lie beneath this path.
    fn is_folder(&self, path: &str) -> Result<bool, Fault> {
        let beneath = format!("{path}/");
        Ok(self.shared.files()?.iter().any(|(name, _)| name.starts_with(&beneath)))
    }

    /// What lies directly in this folder of `/account`.
    fn entries(&self, folder: &str) -> Result<Vec<Entry>, Fault> {
        let mut entries: BTreeMap<String, Attributes> = BTreeMap::new();
        for (path, made) in self.shared.files()? {
            let Some(rest) = path.strip_prefix(folder) else { continue };
            match rest.split_once('/') {
                Some((below, _)) => entries.insert(below.to_owned(), self.folder()),
                None => entries.insert(rest.to_owned(), shown(&made, rest)),
            };
        }
        if folder.is_empty() {
            let drafts = self.shared.drafts();
            for (name, bytes) in &drafts.bytes {
                entries.entry(name.clone()).or_insert_with(|| self.shared.draft(bytes.len()));
            }
        }
        if entries.is_empty() {
            return Err(self.words().missing());
        }
        Ok(entries.into_iter().map(|(name, attributes)| Entry { name, attributes }).collect())
    }
}

fn shown(made: &Made, name: &str) -> Attributes {
    let mode = if PUT_NAMES.contains(&name) { 0o640 } else { 0o440 };
    Attributes { folder: false, size: made.bytes.len() as u64, mode, modified: made.at.unix_seconds() }
}

impl Shared {
    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn drafts(&self) -> MutexGuard<'_, Drafts> {
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> Result<Vec<(String, Made)>, Fault> {
        self.parts.service.files(&self.account, self.now()).map_err(|fault| self.fault(fault))
    }

    fn file(&self, path: &str) -> Result<Option<Made>, Fault> {
        self.parts.service.file(&self.account, path, self.now()).map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: SelfFault) -> Fault {
        match fault {
            SelfFault::Refused { code, text } => self.words.refused(code, &text),
            SelfFault::Failed(chain) => self.words.failed(&chain),
        }
    }

    fn draft(&self, size: usize) -> Attributes {
        Attributes { folder: false, size: size as u64, mode: 0o200, modified: self.now().unix_seconds() }
    }

    /// What an open without truncation goes on from: the draft, or what is to be read there.
    fn present(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        if let Some(bytes) = self.drafts().bytes.get(name) {
            return Ok(Some(bytes.clone()));
        }
        Ok(self.file(name)?.map(|made| made.bytes))
    }

    fn keep(&self, name: &str, bytes: Vec<u8>) -> Result<(), Fault> {
        let mut drafts = self.drafts();
        if !drafts.bytes.contains_key(name) && drafts.bytes.len() >= DRAFTS_MAX {
            let full = DropboxError::Full { bound: "account_files_max", max: DRAFTS_MAX as u64 };
            return Err(self.words.dropbox(&full));
        }
        drafts.bytes.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn bounded(&self, size: u64) -> Result<usize, Fault> {
        let max = self.parts.self_service_file_bytes_max;
        match usize::try_from(size) {
            Ok(size) if size <= max => Ok(size),
            _ => Err(self.words.dropbox(&DropboxError::Full { bound: "file_bytes_max", max: max as u64 })),
        }
    }

    /// A private key is thrown away, and both sides are told.
    fn no_private_key(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let Some(kind) = secrets::private_key(bytes) else { return Ok(()) };
        (self.parts.alarm)(
            "KEY-EXPOSED",
            format!(
                "account {} sent a file that begins like a private key ({}); it was not stored. The key must be taken as exposed: have the office replace it, then `todoke account key remove`.",
                self.account,
                kind.name()
            ),
        );
        Err(self.words.key_exposed(name))
    }

    /// Hands a whole file over.
    fn put(&self, name: &'static str, bytes: &[u8]) -> Result<(), Fault> {
        let now = self.now();
        self.parts.service.put(&self.account, name, bytes, now).map_err(|fault| self.fault(fault))?;
        self.drafts().taken.insert(name.to_owned(), (bytes.len() as u64, now));
        Ok(())
    }
}

/// A file being written; handed over or kept as a draft when it is closed.
struct Putting {
    shared: Arc<Shared>,
    name: String,
    slot: Option<&'static str>,
    bytes: Vec<u8>,
    append: bool,
    closed: bool,
}

impl OpenFile for Putting {
    fn read_at(&mut self, offset: u64, length: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let to = from.saturating_add(length).min(self.bytes.len());
        into.extend_from_slice(&self.bytes[from..to]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let offset = if self.append { self.bytes.len() as u64 } else { offset };
        let end = offset.checked_add(bytes.len() as u64).ok_or_else(|| self.shared.words.bad_offset())?;
        let end = self.shared.bounded(end)?;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(())
    }

    fn stat(&mut self) -> Result<Attributes, Fault> {
        Ok(self.shared.draft(self.bytes.len()))
    }

    fn set_stat(&mut self, to: SetAttributes) -> Result<(), Fault> {
        if let Some(size) = to.size {
            let size = self.shared.bounded(size)?;
            self.bytes.resize(size, 0);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Answer {
        self.closed = true;
        let (shared, bytes) = (Arc::clone(&self.shared), std::mem::take(&mut self.bytes));
        if let Err(fault) = shared.no_private_key(&self.name, &bytes) {
            shared.drafts().bytes.remove(&self.name);
            return Answer::Now(Err(fault));
        }
        let Some(slot) = self.slot else {
            return Answer::Now(shared.keep(&self.name, bytes));
        };
        shared.drafts().bytes.remove(slot);
        later(shared, move |shared| shared.put(slot, &bytes))
    }
}

impl Drop for Putting {
    fn drop(&mut self) {
        if !self.closed {
            // The connection broke: what came stays for another connection of this login to go on with, if there is room.
            let _ = self.shared.keep(&self.name, std::mem::take(&mut self.bytes));
        }
    }
}

/// Does what may wait for the disk on a thread of its own; a client that goes away stops nothing.
fn later(shared: Arc<Shared>, work: impl FnOnce(&Shared) -> Result<(), Fault> + Send + 'static) -> Answer {
    let words = shared.words;
    let done = tokio::task::spawn_blocking(move || work(&shared));
    Answer::Later(Box::pin(async move {
        done.await.unwrap_or_else(|error| Err(words.failed(&format!("a request about an account: {error}"))))
    }))
}

impl Tree for WithAccount {
    fn stat(&self, path: &VirtualPath) -> Result<Attributes, Fault> {
        let Some(at) = Self::at(path) else { return self.inner.stat(path) };
        let shared = &self.shared;
        match at {
            At::Folder => Ok(self.folder()),
            At::Slot(name) => {
                if let Some(made) = shared.file(name)? {
                    return Ok(shown(&made, name));
                }
                let drafts = shared.drafts();
                if let Some(bytes) = drafts.bytes.get(name) {
                    return Ok(shared.draft(bytes.len()));
                }
                let (size, at) = drafts.taken.get(name).copied().ok_or_else(|| self.words().missing())?;
                Ok(Attributes { folder: false, size, mode: 0o200, modified: at.unix_seconds() })
            }
            At::Passing(name) => {
                let drafts = shared.drafts();
                let bytes = drafts.bytes.get(&name).ok_or_else(|| self.words().missing())?;
                Ok(shared.draft(bytes.len()))
            }
            At::Made(path) => match shared.file(&path)? {
                Some(made) => Ok(shown(&made, &path)),
                None if self.is_folder(&path)? => Ok(Attributes { mode: 0o550, ..self.folder() }),
                None => Err(self.words().missing()),
            },
        }
    }

    fn list(&self, path: &VirtualPath) -> Result<Listing, Fault> {
        let listed = match Self::at(path) {
            None if path.0.is_empty() => {
                let own = Entry { name: ACCOUNT.to_owned(), attributes: self.folder() };
                return Ok(Box::new(self.inner.list(path)?.chain(std::iter::once(Ok(own)))));
            }
            None => return self.inner.list(path),
            Some(At::Folder) => self.entries("")?,
            Some(At::Made(folder)) if self.shared.file(&folder)?.is_none() => {
                self.entries(&format!("{folder}/"))?
            }
            Some(_) => return Err(self.words().not_a_folder()),
        };
        Ok(Box::new(listed.into_iter().map(Ok)))
    }

    fn open(
        &self,
        path: &VirtualPath,
        flags: OpenFlags,
        attributes: SetAttributes,
    ) -> Result<Box<dyn OpenFile>, Fault> {
        let Some(at) = Self::at(path) else { return self.inner.open(path, flags, attributes) };
        let words = self.words();
        let writes = flags.write || flags.append;
        let (name, slot) = match at {
            At::Folder => return Err(words.is_folder()),
            At::Slot(name) => (name.to_owned(), Some(name)),
            At::Passing(name) => (name, None),
            At::Made(_) if writes => return Err(words.account_names()),
            At::Made(path) => {
                let made = self.shared.file(&path)?;
                let made = match made {
                    Some(made) => made,
                    None if self.is_folder(&path)? => return Err(words.is_folder()),
                    None => return Err(words.missing()),
                };
                return Ok(Box::new(MadeFile::new(made, words)));
            }
        };
        if !writes {
            let made = self.shared.file(&name)?.ok_or_else(|| words.missing())?;
            return Ok(Box::new(MadeFile::new(made, words)));
        }
        let present = if flags.truncate { None } else { self.shared.present(&name)? };
        if present.is_none() && !flags.create && !flags.truncate {
            return Err(words.missing());
        }
        if flags.exclusive && flags.create && present.is_some() {
            return Err(words.exists());
        }
        let bytes = present.unwrap_or_default();
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Putting { shared, name, slot, bytes, append: flags.append, closed: false }))
    }

    fn set_stat(&self, path: &VirtualPath, to: SetAttributes) -> Result<(), Fault> {
        let Some(at) = Self::at(path) else { return self.inner.set_stat(path, to) };
        let (At::Slot(_) | At::Passing(_)) = at else {
            return match at {
                At::Folder => Ok(()),
                _ => Err(self.words().account_names()),
            };
        };
        let there = self.stat(path)?;
        let Some(size) = to.size.filter(|size| *size != there.size) else { return Ok(()) };
        // Truncated before it is written anew (sshfs): nothing is handed over before a close.
        let name = path.0.last().cloned().unwrap_or_default();
        let mut bytes = self.shared.present(&name)?.unwrap_or_default();
        bytes.resize(self.shared.bounded(size)?, 0);
        self.shared.keep(&name, bytes)
    }

    fn remove(&self, path: &VirtualPath) -> Result<(), Fault> {
        match Self::at(path) {
            None => self.inner.remove(path),
            Some(At::Folder) => Err(self.words().is_folder()),
            Some(At::Slot(_) | At::Passing(_)) => {
                let name = path.0.last().cloned().unwrap_or_default();
                let mut drafts = self.shared.drafts();
                let there = drafts.bytes.remove(&name).is_some() | drafts.taken.remove(&name).is_some();
                drop(drafts);
                if there {
                    return Ok(());
                }
                let made = self.shared.file(&name)?.is_some();
                Err(if made { self.words().account_names() } else { self.words().missing() })
            }
            Some(At::Made(_)) => Err(self.words().account_names()),
        }
    }

    fn make_folder(&self, path: &VirtualPath) -> Result<(), Fault> {
        match Self::at(path) {
            None => self.inner.make_folder(path),
            Some(At::Folder) => Err(self.words().exists()),
            Some(_) => Err(self.words().account_names()),
        }
    }

    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Fault> {
        match Self::at(path) {
            None => self.inner.remove_folder(path),
            Some(_) => Err(self.words().account_names()),
        }
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Answer {
        let words = self.words();
        let (from, to) = match (Self::at(from), Self::at(to)) {
            (None, None) => return self.inner.rename(from, to, replace),
            (Some(At::Passing(from)), Some(At::Slot(slot))) => (from, Ok(slot)),
            (Some(At::Passing(from)), Some(At::Passing(to))) => (from, Err(to)),
            _ => return Answer::Now(Err(words.account_names())),
        };
        let mut drafts = self.shared.drafts();
        let Some(bytes) = drafts.bytes.remove(&from) else { return Answer::Now(Err(words.missing())) };
        match to {
            Err(to) => {
                drafts.bytes.insert(to, bytes);
                Answer::Now(Ok(()))
            }
            Ok(slot) => {
                drop(drafts);
                later(Arc::clone(&self.shared), move |shared| {
                    shared.put(slot, &bytes).inspect_err(|_| {
                        // Still there under its passing name, so that the rename can be tried again.
                        let _ = shared.keep(&from, bytes);
                    })
                })
            }
        }
    }

    fn space(&self) -> Result<Space, Fault> {
        self.inner.space()
    }

    fn language(&self) -> Language {
        self.inner.language()
    }
}
