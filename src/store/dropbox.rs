//! The drop-box of one account: unclaimed files by folder and name, and the moment at which some of them become a set.
//!
//! Every open-for-write makes a new version, a blob under a server-chosen name; the sender's names live only in this table
//! and in its log (`uploads/ACCOUNT.jsonl`), never in a path. A set is complete when its manifest and its signature are there and
//! every file that the manifest names is; then exactly these versions are claimed in one step and their names are free.
//!
//! The log is not fsynced: a close that completes nothing promises only that the file is in the drop-box, and what a power
//! cut takes from an unfinished set shows as missing or as a wrong hash, never as accepted (DESIGN.md section 1).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::blobs::Blobs;
use super::durable;
use crate::model::ids::{AccountId, BlobId, Digest};
use crate::model::time::Timestamp;
use crate::rules::policy::SubmitPolicy;
use crate::signed::manifest::{Manifest, ManifestError, ManifestLimits};
use crate::signed::names::FileName;

/// The manifest's name.
pub const MANIFEST: &str = "SHA256SUMS";
/// The SSHSIG signature's name.
pub const SIGNATURE: &str = "SHA256SUMS.sig";

/// A file's place: the folder's name (empty for the top) and its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Name of the folder in `/submit`; empty for `/submit` itself.
    pub folder: String,
    /// The file's name.
    pub name: String,
}

/// Sessions that count as one login (connections of the same key from the same source).
pub type Login = u64;

/// Why the drop-box did not do it.
#[derive(Debug, thiserror::Error)]
pub enum DropboxError {
    /// No such file or folder.
    #[error("no such file")]
    Missing,
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// The folder is not empty.
    #[error("the folder is not empty")]
    NotEmpty,
    /// Another session replaced or removed the file while it was being written.
    #[error("replaced meanwhile")]
    Replaced,
    /// A bound was reached.
    #[error("{bound} ({max}) is reached")]
    Full {
        /// The bound's name in the configuration.
        bound: &'static str,
        /// Its value.
        max: u64,
    },
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Files lie beside the set that the manifest does not name.
    #[error("files that the manifest does not name: {0:?}")]
    Extra(Vec<String>),
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
}

/// One unclaimed file.
#[derive(Debug, Clone)]
struct Version {
    blob: BlobId,
    login: Login,
    size: u64,
    modified: Timestamp,
    /// Being written by this many handles.
    writers: u32,
    /// The writer went away without closing.
    unfinished: bool,
}

impl Version {
    fn is_there(&self) -> bool {
        self.writers == 0 && !self.unfinished
    }
}

/// What `stat` and listings show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Bytes so far.
    pub size: u64,
    /// Last change.
    pub modified: Timestamp,
}

/// One claimed file of a set.
#[derive(Debug, Clone)]
pub struct ClaimedFile {
    /// Its name, as the manifest has it.
    pub name: FileName,
    /// What the manifest says it hashes to.
    pub sha256: Digest,
    /// The version that was claimed.
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
    /// Written in the login that completed the set (else: a leftover of an earlier one).
    pub fresh: bool,
}

/// A complete set, claimed: nobody else can change or claim its versions.
#[derive(Debug, Clone)]
pub struct ClaimedSet {
    /// Whose.
    pub account: AccountId,
    /// In which folder it lay.
    pub folder: String,
    /// By which login it was completed.
    pub login: Login,
    /// What the manifest says.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The signature's bytes.
    pub signature_bytes: Vec<u8>,
    /// The named files, in the manifest's order.
    pub files: Vec<ClaimedFile>,
    /// Every version that was claimed with the name it had: for giving back, or for dropping.
    versions: Vec<(Place, VersionBox)>,
}

/// Keeps the version's type private inside a public struct.
#[derive(Debug, Clone)]
struct VersionBox(Version);

/// An open upload.
#[derive(Debug)]
pub struct Upload {
    place: Place,
    /// The version's blob; open it with [`Blobs::create`] or [`Blobs::reopen`].
    pub blob: BlobId,
}

/// How an upload begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Start over even if an unclaimed version is there.
    pub truncate: bool,
    /// Fail if an unclaimed version is there.
    pub exclusive: bool,
    /// Make a version if none is there.
    pub create: bool,
}

#[derive(Debug, Default)]
struct Folder {
    changed: Timestamp,
    files: BTreeMap<String, Version>,
}

#[derive(Debug)]
struct State {
    folders: BTreeMap<String, Folder>,
    log: Option<File>,
    log_lines: usize,
    /// Names of claimed files that `stat` still answers for in the login that sent them.
    after: HashMap<Login, HashMap<Place, Shown>>,
    files: usize,
    bytes: u64,
}

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Line {
    Folder { name: String, at: Timestamp },
    NoFolder { name: String },
    Put { folder: String, name: String, blob: BlobId, at: Timestamp },
    Closed { blob: BlobId, size: u64, at: Timestamp },
    Gone { blob: BlobId },
}

/// The drop-box of one account.
pub struct Dropbox {
    account: AccountId,
    path: PathBuf,
    limits: SubmitPolicy,
    manifest_limits: ManifestLimits,
    blobs: Arc<dyn Blobs>,
    state: Mutex<State>,
}

impl Dropbox {
    /// Reads the account's log, if there is one. `claimed` tells of a blob whether the ledger has it: then a crash came
    /// between the acceptance and the log's line about it.
    pub fn open(
        account: AccountId,
        uploads: &Path,
        limits: SubmitPolicy,
        manifest_limits: ManifestLimits,
        blobs: Arc<dyn Blobs>,
        claimed: &dyn Fn(&BlobId) -> bool,
    ) -> io::Result<Self> {
        let path = uploads.join(format!("{account}.jsonl"));
        let mut state = State {
            folders: BTreeMap::new(),
            log: None,
            log_lines: 0,
            after: HashMap::new(),
            files: 0,
            bytes: 0,
        };
        match File::open(&path) {
            Ok(file) => replay(&mut state, io::BufReader::new(file), blobs.as_ref(), claimed)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let dropbox = Self { account, path, limits, manifest_limits, blobs, state: Mutex::new(state) };
        dropbox.rewrite(&mut dropbox.lock())?;
        Ok(dropbox)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload. `size` of the version it continues is left as it is.
    pub fn begin(
        &self,
        place: &Place,
        how: Begin,
        login: Login,
        now: Timestamp,
    ) -> Result<(Upload, Box<dyn super::blobs::BlobWriter>), DropboxError> {
        let mut state = self.lock();
        state.forget(login, place);
        if !place.folder.is_empty() && !state.folders.contains_key(&place.folder) {
            return Err(DropboxError::Missing);
        }
        let present = state.folders.get(&place.folder).and_then(|f| f.files.get(&place.name)).cloned();
        match present {
            Some(_) if how.exclusive => return Err(DropboxError::Exists),
            Some(version) if !how.truncate => {
                let writer = self.blobs.reopen(&version.blob)?;
                if let Some(version) = state.version_mut(place) {
                    version.writers += 1;
                    version.unfinished = false;
                    version.login = login;
                }
                return Ok((Upload { place: place.clone(), blob: version.blob }, writer));
            }
            None if !how.create => return Err(DropboxError::Missing),
            Some(_) => {}
            None => {
                self.room(&state, 1, 0)?;
            }
        }
        let writer = self.blobs.create(now)?;
        let blob = writer.id().clone();
        let version =
            Version { blob: blob.clone(), login, size: 0, modified: now, writers: 1, unfinished: false };
        self.log(
            &mut state,
            &Line::Put {
                folder: place.folder.clone(),
                name: place.name.clone(),
                blob: blob.clone(),
                at: now,
            },
        )?;
        if let Some(old) = state.insert(place, version, now) {
            self.blobs.discard(&[old.blob])?;
        }
        Ok((Upload { place: place.clone(), blob }, writer))
    }

    /// Fails when the drop-box has no room for so much more.
    fn room(&self, state: &State, files: usize, bytes: u64) -> Result<(), DropboxError> {
        let limits = &self.limits;
        let full = |bound, max| Err(DropboxError::Full { bound, max });
        if state.files + files > limits.account_files_max {
            return full("account_files_max", limits.account_files_max as u64);
        }
        if state.bytes.saturating_add(bytes) > limits.account_bytes_max {
            return full("account_bytes_max", limits.account_bytes_max);
        }
        Ok(())
    }

    /// Notes that an upload is (about to be) this large; refuses what the bounds do not allow, before it is written.
    pub fn grow(&self, upload: &Upload, size: u64, now: Timestamp) -> Result<(), DropboxError> {
        if size > self.limits.file_bytes_max {
            return Err(DropboxError::Full { bound: "file_bytes_max", max: self.limits.file_bytes_max });
        }
        let mut state = self.lock();
        let Some(version) = state.version_of(upload) else { return Err(DropboxError::Replaced) };
        let more = size.saturating_sub(version.size);
        self.room(&state, 0, more)?;
        state.resize(&upload.place, size, now);
        Ok(())
    }

    /// Notes a version's size after a truncation.
    pub fn resized(&self, upload: &Upload, size: u64, now: Timestamp) {
        let mut state = self.lock();
        if state.version_of(upload).is_some() {
            state.resize(&upload.place, size, now);
        }
    }

    /// The writer went away without closing: the file stays, unfinished, and can be continued.
    pub fn abandon(&self, upload: &Upload) {
        let mut state = self.lock();
        if state.version_of(upload).is_some()
            && let Some(version) = state.version_mut(&upload.place)
        {
            version.writers = version.writers.saturating_sub(1);
            version.unfinished = true;
        }
    }

    /// The client closed the file. Gives the set that this completes, if it does.
    #[allow(clippy::needless_pass_by_value, reason = "a closed upload is no more")]
    pub fn close(
        &self,
        upload: Upload,
        login: Login,
        now: Timestamp,
    ) -> Result<Option<ClaimedSet>, DropboxError> {
        let mut state = self.lock();
        if state.version_of(&upload).is_none() {
            return Err(DropboxError::Replaced);
        }
        let Some(version) = state.version_mut(&upload.place) else { return Err(DropboxError::Replaced) };
        version.writers = version.writers.saturating_sub(1);
        version.modified = now;
        let size = version.size;
        self.log(&mut state, &Line::Closed { blob: upload.blob.clone(), size, at: now })?;
        self.complete(&mut state, &upload.place.folder, &upload.place.name, login)
    }

    /// Renames an unclaimed file; as good as a close for completing a set.
    pub fn rename(
        &self,
        from: &Place,
        to: &Place,
        replace: bool,
        login: Login,
        now: Timestamp,
    ) -> Result<Option<ClaimedSet>, DropboxError> {
        let mut state = self.lock();
        let Some(version) = state.folders.get(&from.folder).and_then(|f| f.files.get(&from.name)).cloned()
        else {
            return Err(DropboxError::Missing);
        };
        if from == to {
            return Ok(None);
        }
        if !to.folder.is_empty() && !state.folders.contains_key(&to.folder) {
            return Err(DropboxError::Missing);
        }
        let taken = state.folders.get(&to.folder).is_some_and(|f| f.files.contains_key(&to.name));
        if taken && !replace {
            return Err(DropboxError::Exists);
        }
        let put = |place: &Place| Line::Put {
            folder: place.folder.clone(),
            name: place.name.clone(),
            blob: version.blob.clone(),
            at: now,
        };
        self.log(&mut state, &put(to))?;
        if version.is_there() {
            self.log(
                &mut state,
                &Line::Closed { blob: version.blob.clone(), size: version.size, at: version.modified },
            )?;
        }
        state.take(from);
        state.forget(login, to);
        if let Some(old) = state.insert(to, version, now) {
            self.blobs.discard(&[old.blob])?;
        }
        self.complete(&mut state, &to.folder, &to.name, login)
    }

    /// Claims the folder's set if it is complete. `touched` is the file whose arrival asks.
    fn complete(
        &self,
        state: &mut State,
        folder: &str,
        touched: &str,
        login: Login,
    ) -> Result<Option<ClaimedSet>, DropboxError> {
        let Some(shelf) = state.folders.get(folder) else { return Ok(None) };
        let there = |name: &str| shelf.files.get(name).filter(|v| v.is_there());
        let Some(manifest_version) = there(MANIFEST) else { return Ok(None) };
        let manifest_max = self.manifest_limits.bytes_max as u64;
        let manifest_bytes = match self.blobs.get(&manifest_version.blob, manifest_max + 1) {
            Ok(bytes) => bytes,
            // Too large: the parser says so in its own words.
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => vec![0; self.manifest_limits.bytes_max + 1],
            Err(e) => return Err(e.into()),
        };
        let manifest = match Manifest::parse_within(&manifest_bytes, &self.manifest_limits) {
            Ok(manifest) => manifest,
            // Said once, to the close that brought it (or that would have completed the set), not to every file.
            Err(e) if touched == MANIFEST || touched == SIGNATURE => return Err(e.into()),
            Err(_) => return Ok(None),
        };
        let Some(signature_version) = there(SIGNATURE) else { return Ok(None) };
        let mut files = Vec::with_capacity(manifest.files.len());
        let mut claims = vec![MANIFEST.to_owned(), SIGNATURE.to_owned()];
        for named in &manifest.files {
            let Some(version) = there(named.name.as_str()) else { return Ok(None) };
            files.push(ClaimedFile {
                name: named.name.clone(),
                sha256: named.sha256,
                blob: version.blob.clone(),
                size: version.size,
                fresh: version.login == login,
            });
            claims.push(named.name.as_str().to_owned());
        }
        let extra: Vec<String> = shelf
            .files
            .iter()
            .filter(|(name, version)| version.login == login && !claims.contains(name))
            .map(|(name, _)| name.clone())
            .take(10)
            .collect();
        if !extra.is_empty() {
            return Err(DropboxError::Extra(extra));
        }
        let signature_bytes = self.blobs.get(&signature_version.blob, 1 << 20)?;
        let mut versions = Vec::with_capacity(claims.len());
        for name in claims {
            let place = Place { folder: folder.to_owned(), name };
            if let Some(version) = state.take(&place) {
                let shown = Shown { size: version.size, modified: version.modified };
                state.after.entry(login).or_default().insert(place.clone(), shown);
                versions.push((place, VersionBox(version)));
            }
        }
        Ok(Some(ClaimedSet {
            account: self.account.clone(),
            folder: folder.to_owned(),
            login,
            manifest,
            manifest_bytes,
            signature_bytes,
            files,
            versions,
        }))
    }

    /// Gives a claimed set back to the drop-box: it did not verify, or a leftover in it counts as missing. A name that was
    /// written anew meanwhile keeps its newer version.
    pub fn give_back(&self, set: ClaimedSet) -> io::Result<()> {
        let mut state = self.lock();
        let mut replaced = Vec::new();
        for (place, VersionBox(version)) in set.versions {
            state.forget(set.login, &place);
            let taken = state.folders.get(&place.folder).is_some_and(|f| f.files.contains_key(&place.name));
            if taken {
                replaced.push(version.blob);
            } else {
                let modified = version.modified;
                state.insert(&place, version, modified);
            }
        }
        for blob in &replaced {
            self.log(&mut state, &Line::Gone { blob: blob.clone() })?;
        }
        drop(state);
        if replaced.is_empty() { Ok(()) } else { self.blobs.discard(&replaced) }
    }

    /// The ledger has the set (or nobody needs it): its versions leave the drop-box. Those in `kept` are the ledger's
    /// now; the others are removed.
    pub fn consume(&self, set: &ClaimedSet, kept: &[BlobId]) -> io::Result<()> {
        let mut state = self.lock();
        let mut gone = Vec::new();
        for (_, VersionBox(version)) in &set.versions {
            self.log(&mut state, &Line::Gone { blob: version.blob.clone() })?;
            if !kept.contains(&version.blob) {
                gone.push(version.blob.clone());
            }
        }
        if state.log_lines > 4096 && state.log_lines > state.files * 8 {
            self.rewrite(&mut state)?;
        }
        drop(state);
        if gone.is_empty() { Ok(()) } else { self.blobs.discard(&gone) }
    }

    /// The set was refused: its names are no longer answered for. Clients that do not look at the answer to a close
    /// (paramiko, scripts with sshfs) look for the file, and must not find what was not taken.
    pub fn forget(&self, set: &ClaimedSet) {
        let mut state = self.lock();
        for (place, _) in &set.versions {
            state.forget(set.login, place);
        }
    }

    /// A file as this login sees it: unclaimed, or claimed in this very login.
    pub fn stat(&self, place: &Place, login: Login) -> Option<Shown> {
        let state = self.lock();
        match state.folders.get(&place.folder).and_then(|f| f.files.get(&place.name)) {
            Some(version) => Some(Shown { size: version.size, modified: version.modified }),
            None => state.after.get(&login)?.get(place).cloned(),
        }
    }

    /// When the folder last changed, if it is there.
    pub fn folder(&self, name: &str) -> Option<Timestamp> {
        let state = self.lock();
        if name.is_empty() {
            return Some(state.folders.get("").map_or(Timestamp::default(), |f| f.changed));
        }
        state.folders.get(name).map(|f| f.changed)
    }

    /// Unclaimed files of a folder.
    pub fn files(&self, folder: &str) -> Option<Vec<(String, Shown)>> {
        let state = self.lock();
        let Some(shelf) = state.folders.get(folder) else {
            return folder.is_empty().then(Vec::new);
        };
        Some(
            shelf
                .files
                .iter()
                .map(|(name, v)| (name.clone(), Shown { size: v.size, modified: v.modified }))
                .collect(),
        )
    }

    /// The folders.
    pub fn folders(&self) -> Vec<(String, Timestamp)> {
        let state = self.lock();
        state.folders.iter().filter(|(n, _)| !n.is_empty()).map(|(n, f)| (n.clone(), f.changed)).collect()
    }

    /// Makes a folder.
    pub fn make_folder(&self, name: &str, now: Timestamp) -> Result<(), DropboxError> {
        let mut state = self.lock();
        if state.folders.contains_key(name) {
            return Err(DropboxError::Exists);
        }
        if state.folders.len() >= self.limits.account_folders_max {
            return Err(DropboxError::Full {
                bound: "account_folders_max",
                max: self.limits.account_folders_max as u64,
            });
        }
        self.log(&mut state, &Line::Folder { name: name.to_owned(), at: now })?;
        state.folders.insert(name.to_owned(), Folder { changed: now, files: BTreeMap::new() });
        Ok(())
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, name: &str) -> Result<(), DropboxError> {
        let mut state = self.lock();
        match state.folders.get(name) {
            None => Err(DropboxError::Missing),
            Some(folder) if !folder.files.is_empty() => Err(DropboxError::NotEmpty),
            Some(_) => {
                self.log(&mut state, &Line::NoFolder { name: name.to_owned() })?;
                state.folders.remove(name);
                Ok(())
            }
        }
    }

    /// Removes an unclaimed file (of a claimed one: forgets its name).
    pub fn remove(&self, place: &Place, login: Login) -> Result<(), DropboxError> {
        let mut state = self.lock();
        match state.take(place) {
            Some(version) => {
                self.log(&mut state, &Line::Gone { blob: version.blob.clone() })?;
                drop(state);
                self.blobs.remove(&[version.blob])?;
                Ok(())
            }
            None if state.forget(login, place) => Ok(()),
            None => Err(DropboxError::Missing),
        }
    }

    /// The login is over: names of claimed files are forgotten, and folders that its commits emptied go.
    pub fn end_login(&self, login: Login) -> io::Result<()> {
        let mut state = self.lock();
        let Some(after) = state.after.remove(&login) else { return Ok(()) };
        for place in after.into_keys() {
            let emptied = state.folders.get(&place.folder).is_some_and(|f| f.files.is_empty());
            if emptied && !place.folder.is_empty() {
                self.log(&mut state, &Line::NoFolder { name: place.folder.clone() })?;
                state.folders.remove(&place.folder);
            }
        }
        Ok(())
    }

    /// Removes what was left alone for too long; gives the number of files and bytes that went.
    pub fn sweep(&self, now: Timestamp) -> io::Result<(u64, u64)> {
        let before = now.plus(-i64::from(self.limits.unfinished_hours) * 3_600_000);
        let mut state = self.lock();
        let mut gone = Vec::new();
        let mut bytes = 0;
        let stale: Vec<String> =
            state.folders.iter().filter(|(_, f)| f.stale(before)).map(|(n, _)| n.clone()).collect();
        for name in stale {
            let Some(folder) = state.folders.remove(&name) else { continue };
            for version in folder.files.into_values() {
                self.log(&mut state, &Line::Gone { blob: version.blob.clone() })?;
                state.files = state.files.saturating_sub(1);
                state.bytes = state.bytes.saturating_sub(version.size);
                bytes += version.size;
                gone.push(version.blob);
            }
            if !name.is_empty() {
                self.log(&mut state, &Line::NoFolder { name })?;
            }
        }
        drop(state);
        if !gone.is_empty() {
            self.blobs.remove(&gone)?;
        }
        Ok((gone.len() as u64, bytes))
    }

    /// The blobs of unclaimed versions: not orphans.
    pub fn blobs(&self) -> Vec<BlobId> {
        let state = self.lock();
        state.folders.values().flat_map(|f| f.files.values().map(|v| v.blob.clone())).collect()
    }

    /// Files and bytes in use, and the bounds on them.
    pub fn usage(&self) -> (usize, u64, &SubmitPolicy) {
        let state = self.lock();
        (state.files, state.bytes, &self.limits)
    }

    fn log(&self, state: &mut State, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let log = match &mut state.log {
            Some(log) => log,
            None => state.log.insert(File::options().append(true).create(true).mode(0o600).open(&self.path)?),
        };
        log.write_all(&bytes)?;
        state.log_lines += 1;
        Ok(())
    }

    /// Writes the log anew with what is there now.
    fn rewrite(&self, state: &mut State) -> io::Result<()> {
        if state.log_lines == 0 {
            return Ok(());
        }
        let mut text = Vec::new();
        let mut lines = 0;
        let mut add = |line: &Line| -> io::Result<()> {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
            lines += 1;
            Ok(())
        };
        for (name, folder) in &state.folders {
            if !name.is_empty() {
                add(&Line::Folder { name: name.clone(), at: folder.changed })?;
            }
            for (file, v) in &folder.files {
                add(&Line::Put {
                    folder: name.clone(),
                    name: file.clone(),
                    blob: v.blob.clone(),
                    at: v.modified,
                })?;
                if v.is_there() {
                    add(&Line::Closed { blob: v.blob.clone(), size: v.size, at: v.modified })?;
                }
            }
        }
        state.log = None;
        durable::replace(&self.path, &text, 0o600)?;
        state.log_lines = lines;
        Ok(())
    }
}

impl Folder {
    /// Nothing in it was touched since, and nobody is writing.
    fn stale(&self, before: Timestamp) -> bool {
        self.changed < before && self.files.values().all(|v| v.writers == 0 && v.modified < before)
    }
}

impl State {
    fn version_mut(&mut self, place: &Place) -> Option<&mut Version> {
        self.folders.get_mut(&place.folder)?.files.get_mut(&place.name)
    }

    /// The upload's version, if it still has its name.
    fn version_of(&self, upload: &Upload) -> Option<&Version> {
        let version = self.folders.get(&upload.place.folder)?.files.get(&upload.place.name)?;
        (version.blob == upload.blob).then_some(version)
    }

    fn resize(&mut self, place: &Place, size: u64, now: Timestamp) {
        let Some(version) = self.version_mut(place) else { return };
        let old = std::mem::replace(&mut version.size, size);
        version.modified = now;
        self.bytes = self.bytes.saturating_sub(old).saturating_add(size);
    }

    /// Puts a version under a name; gives the one it replaces.
    fn insert(&mut self, place: &Place, version: Version, now: Timestamp) -> Option<Version> {
        let folder = self.folders.entry(place.folder.clone()).or_default();
        folder.changed = folder.changed.max(now);
        self.files += 1;
        self.bytes += version.size;
        let old = folder.files.insert(place.name.clone(), version)?;
        self.files -= 1;
        self.bytes = self.bytes.saturating_sub(old.size);
        Some(old)
    }

    fn take(&mut self, place: &Place) -> Option<Version> {
        let version = self.folders.get_mut(&place.folder)?.files.remove(&place.name)?;
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(version.size);
        Some(version)
    }

    /// Drops the name of a claimed file; says whether there was one.
    fn forget(&mut self, login: Login, place: &Place) -> bool {
        self.after.get_mut(&login).is_some_and(|names| names.remove(place).is_some())
    }
}

/// Reads the log. A broken last line (the daemon died while writing it) is what was never answered; lines about blobs that
/// are gone are dropped.
fn replay(
    state: &mut State,
    log: impl BufRead,
    blobs: &dyn Blobs,
    claimed: &dyn Fn(&BlobId) -> bool,
) -> io::Result<()> {
    let mut places: HashMap<BlobId, Place> = HashMap::new();
    for line in log.split(b'\n') {
        let line = line?;
        state.log_lines += 1;
        let Ok(line) = serde_json::from_slice::<Line>(&line) else { continue };
        match line {
            Line::Folder { name, at } => {
                state.folders.entry(name).or_default().changed = at;
            }
            Line::NoFolder { name } => {
                state.folders.remove(&name);
            }
            Line::Put { folder, name, blob, at } => {
                let place = Place { folder, name };
                if let Some(old) = places.insert(blob.clone(), place.clone()) {
                    state.take(&old);
                }
                let version = Version { blob, login: 0, size: 0, modified: at, writers: 0, unfinished: true };
                state.insert(&place, version, at);
            }
            Line::Closed { blob, size, at } => {
                let Some(place) = places.get(&blob).cloned() else { continue };
                state.resize(&place, size, at);
                if let Some(version) = state.version_mut(&place) {
                    version.unfinished = false;
                }
            }
            Line::Gone { blob } => {
                if let Some(place) = places.remove(&blob)
                    && state.version_mut(&place).is_some_and(|v| v.blob == blob)
                {
                    state.take(&place);
                }
            }
        }
    }
    let there: Vec<Place> = state
        .folders
        .iter()
        .flat_map(|(folder, f)| {
            f.files.keys().map(|name| Place { folder: folder.clone(), name: name.clone() })
        })
        .collect();
    for place in there {
        let Some(blob) = state.version_mut(&place).map(|v| v.blob.clone()) else { continue };
        let size = if claimed(&blob) { None } else { blobs.open(&blob).ok().map(|b| b.size()) };
        match size {
            // What a power cut shortened is unfinished, whatever the log says.
            Some(size) => {
                let closed_at = state.version_mut(&place).map(|v| (v.size, v.modified));
                if let Some((logged, at)) = closed_at {
                    state.resize(&place, size, at);
                    if let Some(version) = state.version_mut(&place)
                        && logged != size
                    {
                        version.unfinished = true;
                    }
                }
            }
            None => {
                state.take(&place);
            }
        }
    }
    Ok(())
}
