//! What one drop-box holds, and how much room that takes: unclaimed versions by folder and name, claimed ones until their
//! answer is there, and those that lost their name while somebody still writes them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

use super::{DropboxError, Login, Place, Shown};
use crate::model::ids::BlobId;
use crate::model::time::Timestamp;
use crate::rules::policy::SubmitPolicy;

/// Names of claimed files that are remembered for one login; the oldest are forgotten first.
pub(super) const NAMES_AFTER_MAX: usize = 20_000;

/// One unclaimed file. It has at most one writer: a blob that somebody can still write to is never claimed.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) blob: BlobId,
    pub(super) login: Login,
    pub(super) size: u64,
    pub(super) modified: Timestamp,
    /// Being written.
    pub(super) open: bool,
    /// The writer went away without closing.
    pub(super) unfinished: bool,
    /// The log names it.
    pub(super) logged: bool,
}

impl Version {
    pub(super) fn is_there(&self) -> bool {
        !self.open && !self.unfinished
    }

    fn stale(&self, before: Timestamp) -> bool {
        !self.open && self.modified < before
    }
}

#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) changed: Timestamp,
    /// A drop-box of thousands of names with a common beginning is looked up in for every request.
    pub(super) files: HashMap<String, Version>,
    /// When something was closed in it last, by [`State::closes`].
    pub(super) closed_at: u64,
    /// By whom.
    pub(super) closed_by: Login,
    /// A commit took what was in it; once it is empty it goes with those who use it.
    pub(super) emptied: bool,
    /// The manifest of the set that was taken last: a signature over it that comes late is needed by nobody.
    pub(super) taken: Option<Vec<u8>>,
    users: BTreeSet<Login>,
}

impl Folder {
    pub(super) fn new(changed: Timestamp) -> Self {
        Self { changed, ..Self::default() }
    }
}

/// Names that a login committed, oldest first.
#[derive(Debug, Default)]
struct After {
    names: HashMap<Place, Shown>,
    order: VecDeque<Place>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Arc<SubmitPolicy>,
    pub(super) folders: HashMap<String, Folder>,
    /// Where each unclaimed version has its name.
    places: HashMap<BlobId, Place>,
    /// Claimed versions whose answer is to come.
    pub(super) claimed: HashMap<BlobId, (Place, Version)>,
    /// Versions being written that lost their name, with their sizes: they take room until their writer is gone.
    nameless: HashMap<BlobId, u64>,
    after: HashMap<Login, After>,
    /// Closes and renames so far.
    pub(super) closes: u64,
    /// Files and bytes of everything above.
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) log: Option<File>,
    pub(super) log_lines: usize,
    /// The log ends in the middle of a line.
    pub(super) log_torn: bool,
}

impl State {
    pub(super) fn new(limits: Arc<SubmitPolicy>) -> Self {
        Self {
            limits,
            folders: HashMap::new(),
            places: HashMap::new(),
            claimed: HashMap::new(),
            nameless: HashMap::new(),
            after: HashMap::new(),
            closes: 0,
            files: 0,
            bytes: 0,
            log: None,
            log_lines: 0,
            log_torn: false,
        }
    }

    pub(super) fn version(&self, place: &Place) -> Option<&Version> {
        self.folders.get(&place.folder)?.files.get(&place.name)
    }

    fn version_mut(&mut self, place: &Place) -> Option<&mut Version> {
        self.folders.get_mut(&place.folder)?.files.get_mut(&place.name)
    }

    pub(super) fn has_folder(&self, name: &str) -> bool {
        name.is_empty() || self.folders.contains_key(name)
    }

    /// Where this blob has its name now; none if it lost it.
    pub(super) fn place_of(&self, blob: &BlobId) -> Option<Place> {
        self.places.get(blob).cloned()
    }

    pub(super) fn of_blob(&mut self, blob: &BlobId) -> Option<&mut Version> {
        let place = self.places.get(blob)?;
        self.folders.get_mut(&place.folder)?.files.get_mut(&place.name)
    }

    fn uncount(&mut self, bytes: u64) {
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Fails when there is no room for so much more.
    pub(super) fn room(&self, files: usize, bytes: u64) -> Result<(), DropboxError> {
        room(&self.limits, self.files + files, self.bytes.saturating_add(bytes))
    }

    /// A write will end at `end`: counts what it adds, unless a bound forbids it or the version lost its name.
    pub(super) fn grow(&mut self, blob: &BlobId, end: u64, now: Timestamp) -> Result<(), DropboxError> {
        // Looked up once: this is asked for every write.
        let place = self.places.get(blob).ok_or(DropboxError::Replaced)?;
        let folder = self.folders.get_mut(&place.folder);
        let version = folder.and_then(|f| f.files.get_mut(&place.name)).ok_or(DropboxError::Replaced)?;
        let max = self.limits.file_bytes_max;
        if end <= version.size {
            return Ok(());
        }
        if end > max {
            return Err(DropboxError::Full { bound: "file_bytes_max", max });
        }
        let bytes = self.bytes.saturating_add(end - version.size);
        room(&self.limits, self.files, bytes)?;
        (version.size, version.modified) = (end, now);
        self.bytes = bytes;
        Ok(())
    }

    /// The client closed it: nobody writes it any more. None if it lost its name meanwhile.
    pub(super) fn close(&mut self, blob: &BlobId, login: Login, now: Timestamp) -> Option<Closed> {
        if let Some(size) = self.nameless.remove(blob) {
            self.uncount(size);
            return None;
        }
        let place = self.places.get(blob)?;
        let folder = self.folders.get_mut(&place.folder)?;
        let version = folder.files.get_mut(&place.name)?;
        self.closes += 1;
        (folder.closed_at, folder.closed_by) = (self.closes, login);
        (version.open, version.modified) = (false, now);
        Some(Closed { place: place.clone(), size: version.size, logged: version.logged })
    }

    pub(super) fn resize(&mut self, blob: &BlobId, size: u64, now: Timestamp) {
        let Some(version) = self.of_blob(blob) else { return };
        let old = std::mem::replace(&mut version.size, size);
        version.modified = now;
        self.bytes = self.bytes.saturating_sub(old).saturating_add(size);
    }

    /// Puts a version under a name; gives the blob it replaces.
    pub(super) fn insert(&mut self, place: &Place, version: Version, now: Timestamp) -> Option<BlobId> {
        let (blob, size) = (version.blob.clone(), version.size);
        if !self.folders.contains_key(&place.folder) {
            self.folders.insert(place.folder.clone(), Folder::default());
        }
        let folder = self.folders.get_mut(&place.folder)?;
        folder.changed = folder.changed.max(now);
        let old = folder.files.insert(place.name.clone(), version);
        let replaced = old.map(|old| self.nameless(old).blob);
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.places.insert(blob, place.clone());
        replaced
    }

    /// Takes a version's name away. One that is being written goes on taking room.
    pub(super) fn take(&mut self, place: &Place) -> Option<Version> {
        let version = self.folders.get_mut(&place.folder)?.files.remove(&place.name)?;
        Some(self.nameless(version))
    }

    /// What a version that lost its name takes with it.
    fn nameless(&mut self, version: Version) -> Version {
        self.places.remove(&version.blob);
        if version.open {
            self.nameless.insert(version.blob.clone(), version.size);
        } else {
            self.uncount(version.size);
        }
        version
    }

    /// Gives a version another name; gives the blob it replaces there.
    pub(super) fn rename(&mut self, from: &Place, to: &Place, now: Timestamp) -> Option<BlobId> {
        let version = self.folders.get_mut(&from.folder)?.files.remove(&from.name)?;
        self.uncount(version.size);
        self.insert(to, version, now)
    }

    /// A version is written again.
    pub(super) fn reopen(&mut self, blob: &BlobId, login: Login) {
        let Some(version) = self.of_blob(blob) else { return };
        (version.open, version.unfinished, version.login) = (true, false, login);
    }

    /// The writer is gone.
    pub(super) fn release(&mut self, blob: &BlobId) {
        if let Some(version) = self.of_blob(blob) {
            version.open = false;
        }
        if let Some(size) = self.nameless.remove(blob) {
            self.uncount(size);
        }
    }

    /// Where a version is that the log does not name yet.
    pub(super) fn unlogged(&self, blob: &BlobId) -> Option<&Place> {
        let place = self.places.get(blob)?;
        self.version(place).filter(|version| !version.logged).map(|_| place)
    }

    /// The log names it now.
    pub(super) fn logged(&mut self, place: &Place) {
        if let Some(version) = self.version_mut(place) {
            version.logged = true;
        }
    }

    /// Moves a version to the claimed ones; its name is free. It takes room until [`State::unclaim`].
    pub(super) fn claim(&mut self, place: &Place) -> Option<Version> {
        let version = self.folders.get_mut(&place.folder)?.files.remove(&place.name)?;
        self.places.remove(&version.blob);
        self.claimed.insert(version.blob.clone(), (place.clone(), version.clone()));
        Some(version)
    }

    pub(super) fn unclaim(&mut self, blob: &BlobId) -> Option<(Place, Version)> {
        let (place, version) = self.claimed.remove(blob)?;
        self.uncount(version.size);
        Some((place, version))
    }

    /// Notes that something was closed in a folder.
    pub(super) fn closed_in(&mut self, folder: &str, login: Login) {
        self.closes += 1;
        let closes = self.closes;
        if let Some(folder) = self.folders.get_mut(folder) {
            (folder.closed_at, folder.closed_by) = (closes, login);
        }
    }

    /// A folder goes with everything in it; gives the blobs.
    pub(super) fn remove_folder(&mut self, name: &str) -> Vec<BlobId> {
        let Some(folder) = self.folders.get(name) else { return Vec::new() };
        let names: Vec<String> = folder.files.keys().cloned().collect();
        let place = |file| Place { folder: name.to_owned(), name: file };
        let gone = names.into_iter().filter_map(|file| self.take(&place(file))).map(|v| v.blob).collect();
        self.folders.remove(name);
        gone
    }

    /// This login uses the folder: it stays while the login does.
    pub(super) fn uses(&mut self, folder: &str, login: Login) {
        if let Some(folder) = self.folders.get_mut(folder).filter(|_| !folder.is_empty()) {
            folder.users.insert(login);
        }
    }

    /// The login uses no folder any more; gives those that a commit emptied and that nobody uses.
    pub(super) fn leave_folders(&mut self, login: Login) -> Vec<String> {
        let mut gone = Vec::new();
        for (name, folder) in &mut self.folders {
            folder.users.remove(&login);
            if folder.emptied && folder.files.is_empty() && folder.users.is_empty() && !name.is_empty() {
                gone.push(name.clone());
            }
        }
        gone
    }

    /// Files of these names that this login left alone in folders that a commit emptied, each with the manifest of that commit.
    pub(super) fn late(&self, login: Login, names: &[&str]) -> Vec<(Place, BlobId, Vec<u8>)> {
        let left = |folder: &Folder| {
            let mut files = folder.files.iter();
            folder.emptied
                && files.all(|(name, v)| names.contains(&name.as_str()) && v.login == login && !v.open)
        };
        let mut late = Vec::new();
        for (name, folder) in self.folders.iter().filter(|(_, folder)| left(folder)) {
            let Some(taken) = &folder.taken else { continue };
            for (file, version) in &folder.files {
                let place = Place { folder: name.clone(), name: file.clone() };
                late.push((place, version.blob.clone(), taken.clone()));
            }
        }
        late
    }

    /// Of the folders that a commit emptied, the one that has been so for longest.
    pub(super) fn oldest_emptied(&self) -> Option<String> {
        let emptied =
            self.folders.iter().filter(|(name, f)| f.emptied && f.files.is_empty() && !name.is_empty());
        emptied.min_by_key(|(name, folder)| (folder.changed, *name)).map(|(name, _)| name.clone())
    }

    /// Remembers the name of a claimed file for its login.
    pub(super) fn remember(&mut self, login: Login, place: Place, shown: Shown) {
        let after = self.after.entry(login).or_default();
        if after.names.insert(place.clone(), shown).is_none() {
            after.order.push_back(place);
        }
        // Names that were forgotten singly still stand in the order, so it is what is bounded.
        while after.order.len() > NAMES_AFTER_MAX {
            if let Some(oldest) = after.order.pop_front() {
                after.names.remove(&oldest);
            }
        }
    }

    pub(super) fn remembered(&self, login: Login, place: &Place) -> Option<&Shown> {
        self.after.get(&login)?.names.get(place)
    }

    /// Drops the name of a claimed file; says whether there was one.
    pub(super) fn forget(&mut self, login: Login, place: &Place) -> bool {
        self.after.get_mut(&login).is_some_and(|after| after.names.remove(place).is_some())
    }

    pub(super) fn forget_login(&mut self, login: Login) {
        self.after.remove(&login);
    }

    /// Folders, and files at the top, that were left alone since: a folder is one set, at the top each file is for itself.
    pub(super) fn stale(&self, before: Timestamp) -> (Vec<String>, Vec<Place>) {
        let (mut folders, mut top) = (Vec::new(), Vec::new());
        for (name, folder) in &self.folders {
            if name.is_empty() {
                let stale = folder.files.iter().filter(|(_, v)| v.stale(before));
                top.extend(stale.map(|(file, _)| Place { folder: String::new(), name: file.clone() }));
            } else if folder.changed < before && folder.files.values().all(|v| v.stale(before)) {
                folders.push(name.clone());
            }
        }
        (folders, top)
    }
}

/// What a close found.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) place: Place,
    pub(super) size: u64,
    /// The log names the version already.
    pub(super) logged: bool,
}

fn room(limits: &SubmitPolicy, files: usize, bytes: u64) -> Result<(), DropboxError> {
    let full = |bound, max| Err(DropboxError::Full { bound, max });
    if files > limits.account_files_max {
        return full("account_files_max", limits.account_files_max as u64);
    }
    if bytes > limits.account_bytes_max {
        return full("account_bytes_max", limits.account_bytes_max);
    }
    Ok(())
}

/// For the log's replay.
impl State {
    pub(super) fn emptied(&mut self, folder: &str) {
        if let Some(folder) = self.folders.get_mut(folder) {
            folder.emptied = true;
        }
    }

    pub(super) fn finished(&mut self, blob: &BlobId, finished: bool) {
        if let Some(version) = self.of_blob(blob) {
            version.unfinished = !finished;
        }
    }

    pub(super) fn named(&self) -> Vec<(Place, BlobId, u64, Timestamp)> {
        let of = |(blob, place): (&BlobId, &Place)| {
            let version = self.version(place)?;
            Some((place.clone(), blob.clone(), version.size, version.modified))
        };
        self.places.iter().filter_map(of).collect()
    }
}
