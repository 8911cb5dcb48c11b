//! The insurers' spool on disk: folders, rights, and operations that cannot leave a folder whatever names or links lie in
//! it. Everything here sees one plain name at a time, beneath a folder that is already open.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::durable;
use super::ledger::{Done, Ledger, LedgerError, Op};
use crate::model::ids::{InsurerCode, Number};
use crate::model::party::Actor;
use crate::model::submission::State;
use crate::model::time::Timestamp;

/// Folders that the importer's group works in.
pub const OPEN_FOLDERS: [&str; 7] = ["new", "cur", "done", "failed", "batches", "outgoing", "reports"];
/// Folders of the gateway alone.
pub const PRIVATE_FOLDERS: [&str; 2] = [".tmp", ".taking"];
/// Folders deeper than this are not cleared away but reported: the gateway itself never makes more than two levels.
const DEPTH_MAX: usize = 16;

/// An open folder. Names given to it are single plain names; anything else is `InvalidInput`.
#[derive(Debug)]
pub struct Folder(OwnedFd);

fn plain(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name"));
    }
    Ok(name)
}

impl Folder {
    /// Opens a folder of the gateway's own by its path; the last part may not be a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(Self(fs::open(path, flags, Mode::empty())?))
    }

    /// The descriptor, for [`super::blobs::Blobs::export`].
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    fn beneath(&self, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let path = Path::new(plain(name)?);
        durable::open_beneath(&self.0, path, flags | OFlags::NOFOLLOW, mode.as_raw_mode())
    }

    /// A folder in it; a link is refused.
    pub fn sub(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.beneath(name.as_ref(), flags, Mode::empty()).map(Self)
    }

    /// Opens a file in it with these flags, never waiting for a FIFO's other end and never following a link. The caller
    /// looks at what was opened: [`is_lone_file`].
    pub fn open_file(&self, name: impl AsRef<OsStr>, flags: OFlags) -> io::Result<File> {
        self.beneath(name.as_ref(), flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty()).map(File::from)
    }

    /// A new file of exactly these rights, whatever the umask; `AlreadyExists` when the name is taken.
    pub fn create_file(&self, name: impl AsRef<OsStr>, mode: u32, group: Option<u32>) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let fd = self.beneath(name.as_ref(), flags, Mode::RUSR | Mode::WUSR)?;
        set_rights(&fd, mode, group)?;
        Ok(File::from(fd))
    }

    /// A new file with this content; not durable until the caller makes it so.
    pub fn write_new(
        &self,
        name: impl AsRef<OsStr>,
        bytes: &[u8],
        mode: u32,
        group: Option<u32>,
    ) -> io::Result<File> {
        let mut file = self.create_file(name, mode, group)?;
        file.write_all(bytes)?;
        Ok(file)
    }

    /// A new folder of exactly these rights, whatever the umask.
    pub fn make(&self, name: impl AsRef<OsStr>, mode: u32, group: Option<u32>) -> io::Result<Self> {
        fs::mkdirat(&self.0, plain(name.as_ref())?, Mode::RWXU)?;
        let folder = self.sub(name)?;
        set_rights(&folder.0, mode, group)?;
        Ok(folder)
    }

    /// What a name is, without following a link; none when there is nothing.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        match fs::statat(&self.0, plain(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// About the folder itself.
    pub fn stat_self(&self) -> io::Result<Stat> {
        Ok(fs::fstat(&self.0)?)
    }

    /// All names in it, in any order, one at a time.
    pub fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>> + Send + use<>> {
        let entries = fs::Dir::read_from(&self.0)?;
        Ok(entries.filter_map(|entry| match entry {
            Ok(entry) => {
                let name = entry.file_name().to_bytes();
                (name != b"." && name != b"..").then(|| Ok(OsString::from_vec(name.to_vec())))
            }
            Err(error) => Some(Err(error.into())),
        }))
    }

    /// Renames within or into another folder; replaces nothing (`AlreadyExists`). Durable after [`Folder::sync`] of both.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Self, new: impl AsRef<OsStr>) -> io::Result<()> {
        let (name, new) = (plain(name.as_ref())?, plain(new.as_ref())?);
        durable::rename_at(&self.0, name, &to.0, new)
    }

    /// Renames over what is there.
    pub fn replace(&self, name: impl AsRef<OsStr>, to: &Self, new: impl AsRef<OsStr>) -> io::Result<()> {
        durable::replace_at(&self.0, plain(name.as_ref())?, &to.0, plain(new.as_ref())?)
    }

    /// Removes a file; one that is gone already is fine.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        gone_is_fine(fs::unlinkat(&self.0, plain(name.as_ref())?, AtFlags::empty()))
    }

    /// Removes an empty folder; one that is gone already is fine.
    pub fn remove_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        gone_is_fine(fs::unlinkat(&self.0, plain(name.as_ref())?, AtFlags::REMOVEDIR))
    }

    /// Removes whatever has this name with all that is in it; links are removed, not followed.
    pub fn remove_all(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.remove_all_within(name.as_ref(), DEPTH_MAX)
    }

    fn remove_all_within(&self, name: &OsStr, depth: usize) -> io::Result<()> {
        let Some(stat) = self.stat(name)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return self.remove_file(name);
        }
        let depth = depth.checked_sub(1).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "folders are nested too deep to remove")
        })?;
        let inner = self.sub(name)?;
        let names: Vec<_> = inner.names()?.collect::<io::Result<_>>()?;
        for name in names {
            inner.remove_all_within(&name, depth)?;
        }
        self.remove_folder(name)
    }

    /// Makes the names in this folder durable.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.0)?)
    }

    /// Makes everything on this folder's file system durable: one call for a batch of many small files.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.0)?)
    }
}

fn gone_is_fine(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Owner's group first: a change of group may clear the set-group-id bit.
fn set_rights(fd: &OwnedFd, mode: u32, group: Option<u32>) -> io::Result<()> {
    if let Some(group) = group {
        fs::fchown(fd, None, Some(fs::Gid::from_raw(group)))?;
    }
    Ok(fs::fchmod(fd, Mode::from_raw_mode(mode))?)
}

/// Whether this is a regular file that has no second name: what a stranger hard-linked into a folder is not theirs to
/// hand over.
pub fn is_lone_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
}

/// The sticky bit, which says nothing else of a file.
const UNFINISHED: u32 = 0o1000;

/// Whether this is a file whose writing over SFTP has not come to its end: under way, or cut off.
pub fn is_unfinished(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & UNFINISHED != 0
}

/// Marks a file that is being written, or takes the mark away; it outlives the daemon.
pub fn mark_unfinished(file: &File, unfinished: bool) -> io::Result<()> {
    let mode = fs::fstat(file)?.st_mode & 0o7777;
    let to = if unfinished { mode | UNFINISHED } else { mode & !UNFINISHED };
    if to == mode { Ok(()) } else { Ok(fs::fchmod(file, Mode::from_raw_mode(to))?) }
}

/// Whether this is a folder.
pub fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// An insurer's folder, opened.
#[derive(Debug)]
pub struct InsurerSpool {
    /// `spool/insurers/CODE`
    pub root: Folder,
    /// Stages of publication, withdrawal and erasure; the gateway's alone.
    pub tmp: Folder,
    /// Waiting for the importer.
    pub new: Folder,
    /// Collected.
    pub cur: Folder,
    /// Imported.
    pub done: Folder,
    /// Not imported.
    pub failed: Folder,
    /// What the insurer leaves.
    pub outgoing: Folder,
    /// What the gateway reports.
    pub reports: Folder,
    /// Deliveries that are being taken in; the gateway's alone.
    pub taking: Folder,
    /// The importer's group, from `new/`.
    pub group: Option<u32>,
}

impl InsurerSpool {
    /// Opens what [`prepare_insurer`] made.
    pub fn open(spool_root: &Path, code: &InsurerCode) -> io::Result<Self> {
        let root = Folder::open(&insurer_path(spool_root, code))?;
        let new = root.sub("new")?;
        let stat = new.stat_self()?;
        let shared = stat.st_mode & 0o2000 != 0;
        Ok(Self {
            tmp: root.sub(".tmp")?,
            cur: root.sub("cur")?,
            done: root.sub("done")?,
            failed: root.sub("failed")?,
            outgoing: root.sub("outgoing")?,
            reports: root.sub("reports")?,
            taking: root.sub(".taking")?,
            group: shared.then_some(stat.st_gid),
            new,
            root,
        })
    }

    /// Rights of a folder the importer works in.
    pub fn folder_mode(&self) -> u32 {
        folder_mode(self.group)
    }

    /// The folder of a place.
    pub fn place(&self, place: Place) -> &Folder {
        match place {
            Place::New => &self.new,
            Place::Cur => &self.cur,
            Place::Done => &self.done,
            Place::Failed => &self.failed,
        }
    }

    /// Writes `reports/NAME` by one durable rename, over an older one.
    pub fn write_report(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let stage = format!("report-{name}");
        self.tmp.remove_file(&stage)?;
        self.tmp.write_new(&stage, bytes, 0o440, self.group)?.sync_all()?;
        self.tmp.replace(&stage, &self.reports, name)?;
        self.reports.sync()?;
        self.tmp.sync()
    }

    /// Writes `reports/NAME` when it would say something else than it does; tells whether it was written.
    pub fn refresh_report(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        if let Ok(file) = self.reports.open_file(name, OFlags::RDONLY) {
            let mut old = Vec::new();
            file.take(bytes.len() as u64 + 1).read_to_end(&mut old)?;
            if old == bytes {
                return Ok(false);
            }
        }
        self.write_report(name, bytes)?;
        Ok(true)
    }
}

fn folder_mode(group: Option<u32>) -> u32 {
    if group.is_some() { 0o2770 } else { 0o770 }
}

/// Where an insurer's folder lies.
pub fn insurer_path(spool_root: &Path, code: &InsurerCode) -> PathBuf {
    spool_root.join("insurers").join(code.as_str())
}

/// Makes an insurer's folders, or puts their rights in order: durable, safe to repeat, independent of the umask.
///
/// `group` is the importer's Unix group: it works in the folders of [`OPEN_FOLDERS`] (2770), passes through the insurer's
/// own folder (2750), and does not see `.tmp` and `.taking` (0700). Without a group only the gateway's user does.
pub fn prepare_insurer(spool_root: &Path, code: &InsurerCode, group: Option<u32>) -> io::Result<()> {
    std::fs::create_dir_all(spool_root)?;
    let spool = Folder::open(spool_root)?;
    // Anyone's importer passes through here; the listing (which insurers there are) is nobody's.
    let insurers = ensure(&spool, "insurers", 0o711, None)?;
    spool.sync()?;
    let own = ensure(&insurers, code.as_str(), if group.is_some() { 0o2750 } else { 0o750 }, group)?;
    insurers.sync()?;
    for name in OPEN_FOLDERS {
        ensure(&own, name, folder_mode(group), group)?;
    }
    for name in PRIVATE_FOLDERS {
        ensure(&own, name, 0o700, None)?;
    }
    own.sync()
}

fn ensure(parent: &Folder, name: &str, mode: u32, group: Option<u32>) -> io::Result<Folder> {
    match parent.make(name, mode, group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = parent.sub(name)?;
            set_rights(&there.0, mode, group)?;
            Ok(there)
        }
        result => result,
    }
}

/// Where a published submission lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `new/`
    New,
    /// `cur/`
    Cur,
    /// `done/`
    Done,
    /// `failed/`
    Failed,
}

impl Place {
    /// The folder's name.
    pub fn folder(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Cur => "cur",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The place of a folder's name.
    pub fn of(folder: &str) -> Option<Self> {
        [Self::New, Self::Cur, Self::Done, Self::Failed].into_iter().find(|place| place.folder() == folder)
    }
}

/// What finding a submission at a place says, given what the ledger says: the operations to record, in order. Empty when
/// all is known, or when the place says nothing (a power cut may undo an importer's rename: then it is found in `new/`
/// again, and stays collected).
pub fn import_ops(number: Number, state: State, place: Place) -> Vec<Op> {
    let collect = Op::Collect(number);
    let end = |ok| Op::EndImport { number, ok };
    match (state, place) {
        (State::Publishing | State::Published, Place::Cur) => vec![collect],
        (State::Publishing, Place::Done) => vec![collect, end(true)],
        (State::Publishing, Place::Failed) => vec![collect, end(false)],
        (State::Published | State::Collected | State::ImportFailed, Place::Done) => vec![end(true)],
        (State::Published | State::Collected | State::Imported, Place::Failed) => vec![end(false)],
        _ => Vec::new(),
    }
}

/// Records where a submission was found; tells whether anything was new. Used by the scan of the spool and by the SFTP
/// door, which sees the rename itself.
pub fn record_import(
    ledger: &dyn Ledger,
    number: Number,
    place: Place,
    by: &Actor,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let Some(submission) = ledger.submission(number)? else { return Ok(false) };
    let ops = import_ops(number, submission.state, place);
    let news = !ops.is_empty();
    for op in ops {
        match ledger.commit(op, by.clone(), now) {
            // Somebody else recorded it in between.
            Ok(Done::Ok | _) | Err(LedgerError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(news)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn folders_have_their_rights_whatever_the_umask_and_twice_is_once() {
        let dir = tempfile::tempdir().unwrap();
        let code = InsurerCode::parse("06139999").unwrap();
        let before = rustix::process::umask(Mode::from_raw_mode(0o077));
        for _ in 0..2 {
            prepare_insurer(dir.path(), &code, Some(4242)).unwrap();
        }
        rustix::process::umask(before);
        let own = dir.path().join("insurers/06139999");
        let rights = |path: &Path| {
            let meta = path.metadata().unwrap();
            (meta.mode() & 0o7777, meta.gid())
        };
        assert_eq!(rights(&own), (0o2750, 4242));
        for name in OPEN_FOLDERS {
            assert_eq!(rights(&own.join(name)), (0o2770, 4242), "{name}");
        }
        for name in PRIVATE_FOLDERS {
            assert_eq!(rights(&own.join(name)).0, 0o700, "{name}");
        }
        assert_eq!(InsurerSpool::open(dir.path(), &code).unwrap().group, Some(4242));
    }

    #[test]
    fn nothing_leads_out_of_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("in")).unwrap();
        std::fs::create_dir_all(dir.path().join("out")).unwrap();
        std::fs::write(dir.path().join("out/secret"), "x").unwrap();
        symlink("../out", dir.path().join("in/link")).unwrap();
        symlink("../out/secret", dir.path().join("in/file")).unwrap();
        let folder = Folder::open(&dir.path().join("in")).unwrap();
        for name in ["..", ".", "", "../out", "a/b", "/etc"] {
            assert_eq!(folder.sub(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert!(folder.sub("link").is_err());
        assert!(folder.open_file("file", OFlags::RDONLY).is_err());
        folder.remove_all("link").unwrap();
        folder.remove_all("file").unwrap();
        assert!(dir.path().join("out/secret").exists());
    }

    #[test]
    fn a_place_says_what_happened_and_an_undone_rename_says_nothing() {
        let number = Number { epoch: 1, serial: 1 };
        let ops = |state, place| import_ops(number, state, place).len();
        assert_eq!(ops(State::Published, Place::New), 0);
        assert_eq!(ops(State::Published, Place::Cur), 1);
        assert_eq!(ops(State::Publishing, Place::Done), 2);
        assert_eq!(ops(State::Collected, Place::New), 0);
        assert_eq!(ops(State::Collected, Place::Failed), 1);
        assert_eq!(ops(State::ImportFailed, Place::Done), 1);
        assert_eq!(ops(State::Imported, Place::Done), 0);
        assert_eq!(ops(State::Withdrawn, Place::Done), 0);
    }
}
