//! Writes that last. The only home of renames, and of the orders in which things must be made durable.
//!
//! A file is durable when its bytes *and* its name are: file fsync, then folder fsync. After a failed fsync nothing is
//! known about what is on disk, and asking again may answer "fine" wrongly (the kernel forgets the error once told):
//! no function here retries one, and a caller that gets such an error must not acknowledge anything.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags};

/// Makes names in this folder durable (creations, renames, removals).
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a file that must not exist, open for reading and writing, with exactly this mode whatever the umask.
pub fn create_exclusive(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Whether the disk, or a quota on it, has no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The process's umask; none where the system does not tell.
pub(crate) fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// Makes a folder with exactly this mode whatever the umask, durably. One that exists gets the mode.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            sync_parent(path)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta = std::fs::symlink_metadata(path)?;
            if !meta.is_dir() {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("{} is not a folder", path.display()),
                ));
            }
            if meta.permissions().mode() & 0o7777 != mode {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Writes a whole new file, durably: it is there complete, or not at all. `AlreadyExists` if the name is taken.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_and_rename(path, bytes, mode, RenameFlags::NOREPLACE)
}

/// Writes a whole file, durably, in the place of an older one: a reader sees the old or the new, never a mixture.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_and_rename(path, bytes, mode, RenameFlags::empty())
}

fn write_and_rename(path: &Path, bytes: &[u8], mode: u32, how: RenameFlags) -> io::Result<()> {
    let folder = parent(path)?;
    let name = path.file_name().ok_or_else(|| not_a_file(path))?;
    let mut temporary = std::ffi::OsString::from(TEMPORARY);
    temporary.push(name);
    let temporary = folder.join(temporary);
    // A leftover of a crash: nobody else writes here, the data root has one owner.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = create_exclusive(&temporary, mode)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rename_with(&temporary, path, how)
    })();
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(folder)
}

/// How the names of files begin that are not complete yet.
pub const TEMPORARY: &str = ".tmp-";

/// Renames, then makes both folders durable. `AlreadyExists` if the new name is taken.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rename_with(from, to, RenameFlags::NOREPLACE)?;
    let (old, new) = (parent(from)?, parent(to)?);
    sync_folder(new)?;
    if old == new { Ok(()) } else { sync_folder(old) }
}

fn rename_with(from: &Path, to: &Path, how: RenameFlags) -> io::Result<()> {
    let here = rustix::fs::CWD;
    if how.is_empty() {
        rustix::fs::renameat(here, from, here, to)?;
    } else {
        rustix::fs::renameat_with(here, from, here, to, how)?;
    }
    Ok(())
}

/// Renames between open folders, by plain names, replacing nothing (`AlreadyExists`); durable when the caller has made
/// both folders so. For batches that share their fsyncs.
pub fn rename_at(from: impl AsFd, name: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE)?)
}

/// [`rename_at`] over what is there.
pub fn replace_at(from: impl AsFd, name: &OsStr, to: impl AsFd, new: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, name, to, new)?)
}

/// Removes a file, durably. One that is gone already is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens `path` beneath `folder`, following no link and leaving the folder by no means. For every path that a stranger
/// had a hand in.
///
/// `Unsupported` where the kernel lacks `openat2` (before Linux 5.6) or a filter forbids it: there is no safe substitute.
pub fn open_beneath(folder: impl AsFd, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
    // openat2 refuses a mode where nothing is created.
    let mode = if flags.contains(OFlags::CREATE) { mode } else { 0 };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(folder, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode), resolve).map_err(
        |error| match error {
            rustix::io::Errno::NOSYS => io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel has no openat2, which todoke needs to open files safely: Linux 5.6 or newer",
            ),
            other => other.into(),
        },
    )
}

/// A handle on a folder, for [`open_beneath`] and the `*at` calls.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    sync_folder(parent(path)?)
}

fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(folder) => Ok(folder),
        None => Err(not_a_file(path)),
    }
}

fn not_a_file(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_once_and_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, b"one", 0o640).unwrap();
        assert_eq!(write_new(&path, b"two", 0o640).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        replace(&path, b"three", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_rename_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write_new(&a, b"a", 0o600).unwrap();
        write_new(&b, b"b", 0o600).unwrap();
        assert_eq!(rename(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        remove(&b).unwrap();
        remove(&b).unwrap();
        rename(&a, &b).unwrap();
        assert_eq!(std::fs::read(&b).unwrap(), b"a");
    }

    #[test]
    fn a_folder_gets_its_mode_made_or_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        for _ in 0..2 {
            make_folder(&path, 0o700).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let file = dir.path().join("file");
        write_new(&file, b"", 0o600).unwrap();
        assert_eq!(make_folder(&file, 0o700).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn nothing_is_opened_outside_or_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        make_folder(&inside, 0o700).unwrap();
        write_new(&dir.path().join("secret"), b"s", 0o600).unwrap();
        write_new(&inside.join("plain"), b"p", 0o600).unwrap();
        std::os::unix::fs::symlink("../secret", inside.join("link")).unwrap();
        std::os::unix::fs::symlink("plain", inside.join("near")).unwrap();
        let folder = open_folder(&inside).unwrap();
        let open = |path: &str| open_beneath(&folder, Path::new(path), OFlags::RDONLY, 0);
        assert!(open("plain").is_ok());
        for bad in ["../secret", "link", "near", "/etc/passwd"] {
            assert!(open(bad).is_err(), "{bad}");
        }
    }
}
