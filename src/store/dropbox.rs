//! The drop-box of one account: unclaimed files by folder and name, and the moment at which some of them become a set.
//!
//! Every open-for-write makes a new version, a blob under a server-chosen name; the sender's names live only in this table
//! and in its log (`uploads/ACCOUNT.jsonl`), never in a path. A set is complete when its manifest and a signature over it are there and
//! every file that the manifest names is; then exactly these versions are claimed in one step and their names are free.
//!
//! The log is not fsynced: a close that completes nothing promises only that the file is in the drop-box, and what a power
//! cut takes from an unfinished set shows as missing or as a wrong hash, never as accepted.

mod log;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use self::log::Line;
use self::state::{Closed, Folder, State, Version};
use super::blobs::{BlobWriter, Blobs};
use crate::model::ids::{AccountId, BlobId, Digest};
use crate::model::time::Timestamp;
use crate::rules::policy::SubmitPolicy;
use crate::signed::cms::{CMS_BYTES_MAX, CmsSignature};
use crate::signed::manifest::{Manifest, ManifestError, ManifestLimits};
use crate::signed::names::FileName;
use crate::signed::sshsig::{self, SIGNATURE_BYTES_MAX, SUBMISSION_NAMESPACE};

/// The manifest's name.
pub const MANIFEST: &str = "SHA256SUMS";
/// The SSHSIG signature's name.
pub const SIGNATURE: &str = "SHA256SUMS.sig";
/// The CMS signature's name.
pub const CMS: &str = "SHA256SUMS.p7s";
/// Either signature makes a set complete; both are taken if both are there.
const SIGNATURES: [&str; 2] = [SIGNATURE, CMS];

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
    /// The ledger records nothing any more, so the drop-box stays as it is until the daemon is started anew: what an event
    /// may name must be there then.
    #[error("nothing can be recorded until the daemon is started anew")]
    Stopped,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
}

/// Whether the ledger has stopped.
pub type Stopped = Arc<dyn Fn() -> bool + Send + Sync>;

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
    /// The bytes of `SHA256SUMS.sig`, if it was there.
    pub sshsig: Option<Vec<u8>>,
    /// The bytes of `SHA256SUMS.p7s`, if it was there. One of the two was.
    pub cms: Option<Vec<u8>>,
    /// The named files, in the manifest's order.
    pub files: Vec<ClaimedFile>,
    /// Every version that was claimed: for giving back, or for dropping.
    versions: Vec<BlobId>,
    /// How many closes there were when it was claimed.
    at: u64,
}

impl ClaimedSet {
    /// The signature that its sender used, by the name it is sent again under; of two, the SSHSIG.
    pub fn signature_name(&self) -> &'static str {
        if self.sshsig.is_none() && self.cms.is_some() { CMS } else { SIGNATURE }
    }
}

/// An open upload. Ends in [`Dropbox::close`], [`Dropbox::abandon`] or [`Dropbox::discard`].
#[derive(Debug)]
pub struct Upload {
    /// The version's blob.
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

/// The drop-box of one account.
pub struct Dropbox {
    account: AccountId,
    path: PathBuf,
    manifest_limits: ManifestLimits,
    blobs: Arc<dyn Blobs>,
    stopped: Stopped,
    state: Mutex<State>,
}

/// The log is written anew when it is so many times as long as it need be.
const LOG_SLACK: usize = 8;
/// ... and longer than this.
const LOG_LINES_MIN: usize = 1024;
/// A manifest up to this size is remembered after its set was taken: a longer one's late signature is left to the sweep.
const TAKEN_BYTES_MAX: usize = 64 * 1024;
/// An upload that a crash breaks off can be continued when it was longer than this; a shorter one is gone.
const UNLOGGED_BYTES_MAX: u64 = 256 * 1024;
/// A partial file is copied in pieces of this size when its old writer may still be there.
const COPY_BYTES: usize = 256 * 1024;

impl Dropbox {
    /// Reads the account's log, if there is one. `claimed` tells of a blob whether the ledger has it: then a crash came
    /// between the acceptance and the log's line about it. While the ledger is `stopped`, nothing begins, moves or goes.
    pub fn open(
        account: AccountId,
        uploads: &Path,
        limits: SubmitPolicy,
        manifest_limits: ManifestLimits,
        blobs: Arc<dyn Blobs>,
        claimed: &dyn Fn(&BlobId) -> bool,
        stopped: Stopped,
    ) -> io::Result<Self> {
        let path = uploads.join(format!("{account}.jsonl"));
        let mut state = State::new(Arc::new(limits));
        match File::open(&path) {
            Ok(file) => log::replay(&mut state, io::BufReader::new(file), blobs.as_ref(), claimed)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let dropbox = Self { account, path, manifest_limits, blobs, stopped, state: Mutex::new(state) };
        dropbox.tidy(&mut dropbox.lock())?;
        Ok(dropbox)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing changes while nothing can be recorded.
    fn open_for_change(&self) -> Result<(), DropboxError> {
        if (self.stopped)() { Err(DropboxError::Stopped) } else { Ok(()) }
    }

    fn log(&self, state: &mut State, line: Line) -> io::Result<()> {
        log::append(state, &self.path, [line])
    }

    /// Writes the log anew if it has become long.
    fn tidy(&self, state: &mut State) -> io::Result<()> {
        let needed = state.folders.len() + 2 * state.files;
        if state.log_lines < LOG_LINES_MIN || state.log_lines < LOG_SLACK * needed {
            return Ok(());
        }
        log::rewrite(state, &self.path)
    }

    /// From now on these bounds hold.
    pub fn set_limits(&self, limits: SubmitPolicy) {
        self.lock().limits = Arc::new(limits);
    }

    /// Begins an upload: a new version, or more of the one that is there.
    pub fn begin(
        &self,
        place: &Place,
        how: Begin,
        login: Login,
        now: Timestamp,
    ) -> Result<(Upload, Box<dyn BlobWriter>), DropboxError> {
        self.open_for_change()?;
        let mut state = self.lock();
        if !state.has_folder(&place.folder) {
            return Err(DropboxError::Missing);
        }
        state.forget(login, place);
        state.uses(&place.folder, login);
        let present = state.version(place).map(|v| (v.blob.clone(), v.open, v.size));
        // A version that is replaced makes room, unless somebody is still writing it.
        let one_more = present.as_ref().is_none_or(|(_, open, _)| *open);
        let known = present.is_some();
        let (continued, size) = match present {
            Some(_) if how.exclusive => return Err(DropboxError::Exists),
            Some((blob, false, _)) if !how.truncate => {
                let writer = self.blobs.reopen(&blob)?;
                state.reopen(&blob, login);
                return Ok((Upload { blob }, writer));
            }
            Some((blob, true, size)) if !how.truncate => (Some(blob), size),
            None if !how.create => return Err(DropboxError::Missing),
            _ => (None, 0),
        };
        state.room(usize::from(one_more), size)?;
        let mut writer = self.blobs.create(now)?;
        if let Some(blob) = continued {
            // Somebody has it open, most likely a connection that died and does not know it yet. What it still writes must
            // not reach the version that goes on.
            if let Err(e) = self.copy(&blob, size, writer.as_mut()) {
                self.blobs.discard(&[writer.id().clone()])?;
                return Err(e.into());
            }
        }
        let blob = writer.id().clone();
        // A new name is logged with its close: nothing was promised before, and small files cost one write, not two.
        if known {
            self.log(&mut state, Line::put(place, &blob, now))?;
        }
        let version = Version {
            blob: blob.clone(),
            login,
            size,
            modified: now,
            open: true,
            unfinished: false,
            logged: known,
        };
        let replaced = state.insert(place, version, now);
        drop(state);
        if let Some(old) = replaced {
            self.blobs.discard(&[old])?;
        }
        Ok((Upload { blob }, writer))
    }

    fn copy(&self, from: &BlobId, size: u64, to: &mut dyn BlobWriter) -> io::Result<()> {
        let from = self.blobs.open(from)?;
        let (mut at, mut piece) = (0, Vec::new());
        while at < size {
            piece.clear();
            let length = usize::try_from(size - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            from.read_at(at, length, &mut piece)?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            to.write_at(at, &piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// To be asked before each write that ends at `end`: refuses what the bounds do not allow, and a version that lost its
    /// name.
    pub fn grow(&self, upload: &Upload, end: u64, now: Timestamp) -> Result<(), DropboxError> {
        let mut state = self.lock();
        state.grow(&upload.blob, end, now)?;
        if end > UNLOGGED_BYTES_MAX {
            self.name(&mut state, &upload.blob, now)?;
        }
        Ok(())
    }

    /// Lets the log name a version that it does not name yet: it is there after a crash, to be continued.
    fn name(&self, state: &mut State, blob: &BlobId, now: Timestamp) -> io::Result<()> {
        if let Some(place) = state.unlogged(blob).cloned() {
            self.log(state, Line::put(&place, blob, now))?;
            state.logged(&place);
        }
        Ok(())
    }

    /// Notes a version's size after a truncation.
    pub fn resized(&self, upload: &Upload, size: u64, now: Timestamp) {
        self.lock().resize(&upload.blob, size, now);
    }

    /// The writer went away without closing: the file stays, unfinished, and can be continued.
    pub fn abandon(&self, upload: &Upload) {
        let mut state = self.lock();
        state.release(&upload.blob);
        state.finished(&upload.blob, false);
        let at = state.of_blob(&upload.blob).map(|version| version.modified).unwrap_or_default();
        if let Err(error) = self.name(&mut state, &upload.blob, at) {
            tracing::warn!(account = %self.account, %error, "an unfinished upload could not be logged");
        }
    }

    /// What was written must not stay, whatever name it has by now. Durable when it returns.
    pub fn discard(&self, upload: &Upload) -> io::Result<()> {
        let mut state = self.lock();
        let mut logged = Ok(());
        if let Some(place) = state.place_of(&upload.blob) {
            state.take(&place);
            logged = self.log(&mut state, Line::Gone { blob: upload.blob.clone() });
        }
        state.release(&upload.blob);
        drop(state);
        self.blobs.remove(std::slice::from_ref(&upload.blob))?;
        logged
    }

    /// The client closed the file. Gives the set that this completes, if it does.
    pub fn close(
        &self,
        upload: Upload,
        login: Login,
        now: Timestamp,
    ) -> Result<Option<ClaimedSet>, DropboxError> {
        let Upload { blob } = upload;
        let mut state = self.lock();
        let Some(closed) = state.close(&blob, login, now) else { return Err(DropboxError::Replaced) };
        let Closed { place, size, logged } = closed;
        let put = (!logged).then(|| Line::put(&place, &blob, now));
        let lines = put.into_iter().chain([Line::Closed { blob, size, at: now }]);
        log::append(&mut state, &self.path, lines)?;
        if !logged {
            state.logged(&place);
        }
        self.complete(&mut state, &place.folder, &place.name, login)
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
        self.open_for_change()?;
        let mut state = self.lock();
        let Some(version) = state.version(from).cloned() else { return Err(DropboxError::Missing) };
        if from == to {
            return Ok(None);
        }
        if !state.has_folder(&to.folder) {
            return Err(DropboxError::Missing);
        }
        if state.version(to).is_some() && !replace {
            return Err(DropboxError::Exists);
        }
        log::append(&mut state, &self.path, log::lines_of(to, &version))?;
        state.forget(login, to);
        state.uses(&to.folder, login);
        let replaced = state.rename(from, to, now);
        state.closed_in(&to.folder, login);
        let completed = self.complete(&mut state, &to.folder, &to.name, login);
        drop(state);
        if let Some(old) = replaced {
            self.blobs.discard(&[old])?;
        }
        completed
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
        let manifest_bytes = self.small(&manifest_version.blob, self.manifest_limits.bytes_max)?;
        let manifest = match Manifest::parse_within(&manifest_bytes, &self.manifest_limits) {
            Ok(manifest) => manifest,
            // Said once, to the close that brought it (or that would have completed the set), not to every file.
            Err(e) if touched == MANIFEST || SIGNATURES.contains(&touched) => return Err(e.into()),
            Err(_) => return Ok(None),
        };
        // One that is just being written belongs to the set: its close completes it.
        if SIGNATURES.iter().any(|name| shelf.files.get(*name).is_some_and(|version| version.open)) {
            return Ok(None);
        }
        let signatures = SIGNATURES.map(there);
        if signatures.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut files = Vec::with_capacity(manifest.files.len());
        let mut claims = vec![MANIFEST.to_owned()];
        let named = SIGNATURES.iter().zip(&signatures).filter(|(_, version)| version.is_some());
        claims.extend(named.map(|(name, _)| (*name).to_owned()));
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
        let extra = shelf
            .files
            .iter()
            .filter(|(name, version)| version.login == login && !claims.contains(name))
            .map(|(name, _)| name);
        let extra: Vec<String> = extra.collect::<BTreeSet<_>>().into_iter().take(10).cloned().collect();
        if !extra.is_empty() {
            return Err(DropboxError::Extra(extra));
        }
        let read = |version: Option<&Version>, max| version.map(|v| self.small(&v.blob, max)).transpose();
        let [sshsig, cms] = signatures;
        let (sshsig, cms) = (read(sshsig, SIGNATURE_BYTES_MAX)?, read(cms, CMS_BYTES_MAX)?);
        let mut versions = Vec::with_capacity(claims.len());
        for name in claims {
            let place = Place { folder: folder.to_owned(), name };
            if let Some(version) = state.claim(&place) {
                let shown = Shown { size: version.size, modified: version.modified };
                state.remember(login, place, shown);
                versions.push(version.blob);
            }
        }
        Ok(Some(ClaimedSet {
            account: self.account.clone(),
            folder: folder.to_owned(),
            login,
            manifest,
            manifest_bytes,
            sshsig,
            cms,
            files,
            versions,
            at: state.closes,
        }))
    }

    /// A small file; of one that is too large, as many bytes that its reader says so in its own words.
    fn small(&self, blob: &BlobId, max: usize) -> io::Result<Vec<u8>> {
        match self.blobs.get(blob, max as u64 + 1) {
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => Ok(vec![0; max + 1]),
            got => got,
        }
    }

    /// Gives a claimed set back to the drop-box: it did not verify, or a leftover in it counts as missing. Never one that an
    /// event may name: that one stays claimed until the next start, where the log names it and the ledger decides. A name that was
    /// written anew meanwhile keeps its newer version. Gives the set that is complete now: something may have been closed
    /// while this one was away.
    pub fn give_back(&self, set: ClaimedSet) -> io::Result<Option<ClaimedSet>> {
        let mut state = self.lock();
        let mut replaced = Vec::new();
        let mut logged = Ok(());
        let mut note = |state: &mut State, line: Line| {
            let added = self.log(state, line);
            if logged.is_ok() {
                logged = added;
            }
        };
        if !state.has_folder(&set.folder) {
            // The session's end took the folder, and the log says so.
            let newest =
                set.versions.iter().filter_map(|b| state.claimed.get(b)).map(|(_, v)| v.modified).max();
            let at = newest.unwrap_or_default();
            state.folders.insert(set.folder.clone(), Folder::new(at));
            note(&mut state, Line::Folder { name: set.folder.clone(), at });
        }
        for blob in set.versions {
            let Some((place, version)) = state.unclaim(&blob) else { continue };
            state.forget(set.login, &place);
            if state.version(&place).is_some() {
                note(&mut state, Line::Gone { blob: blob.clone() });
                replaced.push(blob);
                continue;
            }
            for line in log::lines_of(&place, &version) {
                note(&mut state, line);
            }
            let modified = version.modified;
            state.insert(&place, version, modified);
        }
        let newer = state.folders.get(&set.folder).filter(|f| f.closed_at > set.at).map(|f| f.closed_by);
        let completed = match newer.map(|login| self.complete(&mut state, &set.folder, "", login)) {
            Some(Ok(completed)) => completed,
            // Said to whoever closes the next file.
            Some(Err(_)) | None => None,
        };
        drop(state);
        if !replaced.is_empty() {
            self.blobs.discard(&replaced)?;
        }
        if completed.is_none() {
            logged?;
        }
        Ok(completed)
    }

    /// The ledger has the set (or nobody needs it): its versions leave the drop-box. Those in `kept` are the ledger's
    /// now; the others are removed. An error is about the log or the disk; the versions have left all the same.
    pub fn consume(&self, set: &ClaimedSet, kept: &[BlobId]) -> io::Result<()> {
        let mut state = self.lock();
        let (mut gone, mut lines) = (Vec::new(), Vec::with_capacity(set.versions.len() + 1));
        for blob in &set.versions {
            if state.unclaim(blob).is_none() {
                continue;
            }
            lines.push(Line::Gone { blob: blob.clone() });
            if !kept.contains(blob) {
                gone.push(blob.clone());
            }
        }
        if state.folders.contains_key(&set.folder) && !set.folder.is_empty() {
            lines.push(Line::Emptied { folder: set.folder.clone() });
        }
        let mut logged = log::append(&mut state, &self.path, lines);
        if let Some(folder) = state.folders.get_mut(&set.folder) {
            folder.emptied = true;
            folder.taken = (set.manifest_bytes.len() <= TAKEN_BYTES_MAX).then(|| set.manifest_bytes.clone());
        }
        logged = logged.and(self.tidy(&mut state));
        drop(state);
        if !gone.is_empty() {
            self.blobs.discard(&gone)?;
        }
        logged
    }

    /// The set was refused: its names are no longer answered for. Clients that do not look at the answer to a close
    /// (paramiko, scripts with sshfs) look for the file, and must not find what was not taken.
    pub fn forget(&self, set: &ClaimedSet) {
        let mut state = self.lock();
        let own = [MANIFEST, SIGNATURE, CMS].into_iter();
        for name in own.chain(set.files.iter().map(|file| file.name.as_str())) {
            state.forget(set.login, &Place { folder: set.folder.clone(), name: name.to_owned() });
        }
    }

    /// A file as this login sees it: unclaimed, or claimed in this very login.
    pub fn stat(&self, place: &Place, login: Login) -> Option<Shown> {
        let state = self.lock();
        match state.version(place) {
            Some(version) => Some(Shown { size: version.size, modified: version.modified }),
            None => state.remembered(login, place).cloned(),
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

    /// Unclaimed files of a folder, by name.
    pub fn files(&self, folder: &str) -> Option<Vec<(String, Shown)>> {
        let state = self.lock();
        let Some(shelf) = state.folders.get(folder) else {
            return folder.is_empty().then(Vec::new);
        };
        let shown = |v: &Version| Shown { size: v.size, modified: v.modified };
        let mut files: Vec<_> = shelf.files.iter().map(|(name, v)| (name.clone(), shown(v))).collect();
        drop(state);
        files.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Some(files)
    }

    /// The folders, by name.
    pub fn folders(&self) -> Vec<(String, Timestamp)> {
        let state = self.lock();
        let named = state.folders.iter().filter(|(name, _)| !name.is_empty());
        let mut folders: Vec<_> = named.map(|(name, folder)| (name.clone(), folder.changed)).collect();
        drop(state);
        folders.sort_unstable();
        folders
    }

    /// Makes a folder. Where there are as many as there may be, one that a commit emptied makes way.
    pub fn make_folder(&self, name: &str, login: Login, now: Timestamp) -> Result<(), DropboxError> {
        self.open_for_change()?;
        let mut state = self.lock();
        if state.has_folder(name) {
            state.uses(name, login);
            return Err(DropboxError::Exists);
        }
        let max = state.limits.account_folders_max;
        if state.folders.keys().filter(|n| !n.is_empty()).count() >= max {
            let Some(emptied) = state.oldest_emptied() else {
                return Err(DropboxError::Full { bound: "account_folders_max", max: max as u64 });
            };
            self.log(&mut state, Line::NoFolder { name: emptied.clone() })?;
            state.remove_folder(&emptied);
        }
        self.log(&mut state, Line::Folder { name: name.to_owned(), at: now })?;
        state.folders.insert(name.to_owned(), Folder::new(now));
        state.uses(name, login);
        Ok(self.tidy(&mut state)?)
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, name: &str) -> Result<(), DropboxError> {
        self.open_for_change()?;
        let mut state = self.lock();
        match state.folders.get(name) {
            None => Err(DropboxError::Missing),
            Some(folder) if !folder.files.is_empty() => Err(DropboxError::NotEmpty),
            Some(_) => {
                self.log(&mut state, Line::NoFolder { name: name.to_owned() })?;
                state.remove_folder(name);
                Ok(())
            }
        }
    }

    /// Removes an unclaimed file (of a claimed one: forgets its name).
    pub fn remove(&self, place: &Place, login: Login) -> Result<(), DropboxError> {
        self.open_for_change()?;
        let mut state = self.lock();
        match state.take(place) {
            Some(version) => {
                self.log(&mut state, Line::Gone { blob: version.blob.clone() })?;
                self.tidy(&mut state)?;
                drop(state);
                Ok(self.blobs.remove(&[version.blob])?)
            }
            None if state.forget(login, place) => Ok(()),
            None => Err(DropboxError::Missing),
        }
    }

    /// The login is over: names of claimed files are forgotten, and folders that commits emptied and nobody else uses go. So does
    /// a second signature that came after the first had completed the set: nothing will ever need it. One that is not over
    /// the manifest that was taken is the next set's, and stays.
    pub fn end_login(&self, login: Login) -> io::Result<()> {
        let mut state = self.lock();
        state.forget_login(login);
        if (self.stopped)() {
            // A claimed set may come back into any of its folders at the next start.
            return Ok(());
        }
        let mut late = Vec::new();
        for (place, blob, taken) in state.late(login, &SIGNATURES) {
            if self.signs(&place.name, &blob, &taken)
                && let Some(version) = state.take(&place)
            {
                self.log(&mut state, Line::Gone { blob: version.blob.clone() })?;
                late.push(version.blob);
            }
        }
        if !late.is_empty() {
            self.blobs.discard(&late)?;
        }
        for name in state.leave_folders(login) {
            self.log(&mut state, Line::NoFolder { name: name.clone() })?;
            state.remove_folder(&name);
        }
        Ok(())
    }

    /// Whether this signature is one over the manifest; not if it cannot be told.
    fn signs(&self, name: &str, blob: &BlobId, manifest: &[u8]) -> bool {
        if name == SIGNATURE {
            let bytes = self.small(blob, SIGNATURE_BYTES_MAX);
            return bytes.is_ok_and(|b| sshsig::verify(&b, SUBMISSION_NAMESPACE, manifest).is_ok());
        }
        let Ok(bytes) = self.small(blob, CMS_BYTES_MAX) else { return false };
        let signs = |cms: CmsSignature| (0..cms.signers()).any(|at| cms.verify(at, manifest, &[]).is_ok());
        CmsSignature::read(&bytes).is_ok_and(signs)
    }

    /// Files and bytes that were left alone for too long: what [`Dropbox::sweep`] would remove.
    pub fn stale(&self, now: Timestamp) -> (u64, u64) {
        let state = self.lock();
        let (folders, top) = state.stale(before(&state, now));
        let files = folders.iter().filter_map(|name| state.folders.get(name)).flat_map(|f| f.files.values());
        let top = top.iter().filter_map(|place| state.version(place));
        files.chain(top).fold((0, 0), |(files, bytes), v| (files + 1, bytes + v.size))
    }

    /// Removes what was left alone for too long.
    pub fn sweep(&self, now: Timestamp) -> io::Result<()> {
        if (self.stopped)() {
            return Err(io::Error::other(DropboxError::Stopped));
        }
        let mut state = self.lock();
        let (folders, top) = state.stale(before(&state, now));
        let mut gone = Vec::new();
        for place in top {
            if let Some(version) = state.take(&place) {
                self.log(&mut state, Line::Gone { blob: version.blob.clone() })?;
                gone.push(version.blob);
            }
        }
        for name in folders {
            self.log(&mut state, Line::NoFolder { name: name.clone() })?;
            gone.extend(state.remove_folder(&name));
        }
        self.tidy(&mut state)?;
        drop(state);
        if gone.is_empty() { Ok(()) } else { self.blobs.remove(&gone) }
    }

    /// The blobs of unclaimed versions, and of claimed ones whose answer is to come: not orphans.
    pub fn blobs(&self) -> Vec<BlobId> {
        let state = self.lock();
        let named = state.folders.values().flat_map(|f| f.files.values().map(|v| v.blob.clone()));
        named.chain(state.claimed.keys().cloned()).collect()
    }

    /// Files and bytes in use, and the bounds on them.
    pub fn usage(&self) -> (usize, u64, Arc<SubmitPolicy>) {
        let state = self.lock();
        (state.files, state.bytes, Arc::clone(&state.limits))
    }
}

/// What was not touched since then is swept.
fn before(state: &State, now: Timestamp) -> Timestamp {
    now.plus(-i64::from(state.limits.unfinished_hours) * 3_600_000)
}
