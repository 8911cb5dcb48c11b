//! The data root: one folder, one owner, one daemon.
//!
//! ```text
//! EPOCH      which life of the data this is: epoch and 128 random bits, fsynced
//! LOCK       flock'ed while somebody has the root open; holds the process number, for the message
//! BOOT       the machine's boot id when the root was last opened
//! CLEAN      there while the root is closed in order: where the journal ended
//! journal/ index/ blobs/ keys/ credentials/ uploads/ seen/   private, 0700
//! insurers/  the spool
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::durable;
use crate::model::ids::Digest;

/// Why a data root cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Somebody else has it open.
    #[error(
        "{path} is in use by process {pid}, a daemon or a command: stop that daemon, or wait until the command has ended"
    )]
    Locked {
        /// The data root.
        path: PathBuf,
        /// Who, as the lock file says.
        pid: String,
    },
    /// It belongs to another Unix user.
    #[error("{path} belongs to Unix user {owner}, but this process runs as {user}: run todoke as the owner")]
    NotOurs {
        /// The data root.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// A file of the root cannot be read as what it is.
    #[error("{path} is damaged ({why}): restore it from a backup")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Which life of the data this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Counts from 1; part of every number.
    pub epoch: u32,
    /// 128 random bits in hexadecimal.
    pub uuid: String,
}

impl Epoch {
    /// The epoch with this number and fresh random bits.
    pub fn fresh(epoch: u32) -> io::Result<Self> {
        let mut bits = [0_u8; 16];
        getrandom::fill(&mut bits).map_err(io::Error::other)?;
        Ok(Self { epoch, uuid: hex::encode(bits) })
    }
}

/// Where the journal ended when the root was closed in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clean {
    /// The last event.
    pub seq: u64,
    /// Its link in the hash chain.
    pub hash: Digest,
}

/// Where the journal of the root at `path` ended, if it was closed in order and not opened since; takes no lock.
pub fn clean_in(path: &Path) -> Option<Clean> {
    serde_json::from_slice(&std::fs::read(path.join("CLEAN")).ok()?).ok()
}

/// An opened, locked data root. The lock goes with the value (and with the process).
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    _lock: File,
}

/// Folders nobody else may look into.
const PRIVATE: [&str; 8] = ["journal", "index", "blobs", "books", "keys", "credentials", "uploads", "seen"];

impl Root {
    /// Opens and locks a data root; makes what is missing of its layout.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let io = |at: &Path| {
            let at = at.to_path_buf();
            move |source| RootError::Io { path: at, source }
        };
        if !path.exists() {
            durable::make_folder(path, 0o755).map_err(io(path))?;
        }
        let owner = std::fs::metadata(path).map_err(io(path))?.uid();
        let user = rustix::process::geteuid().as_raw();
        if owner != user {
            return Err(RootError::NotOurs { path: path.into(), owner, user });
        }
        let lock = lock(path)?;
        for name in PRIVATE {
            let folder = path.join(name);
            durable::make_folder(&folder, 0o700).map_err(io(&folder))?;
        }
        let spool = path.join("insurers");
        if !spool.exists() {
            durable::make_folder(&spool, 0o755).map_err(io(&spool))?;
        }
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// The root itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The journal's segments.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }
    /// The index, which can be thrown away.
    pub fn index(&self) -> PathBuf {
        self.path.join("index")
    }
    /// Immutable bytes.
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }
    /// The gateway's secrets.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }
    /// Hashes of passwords.
    pub fn credentials(&self) -> PathBuf {
        self.path.join("credentials")
    }
    /// What a drop-box needs to know over a restart.
    pub fn uploads(&self) -> PathBuf {
        self.path.join("uploads")
    }
    /// Keyed tags of records that were filed (K53).
    pub fn seen(&self) -> PathBuf {
        self.path.join("seen")
    }
    /// What each closed day's books say.
    pub fn books(&self) -> PathBuf {
        self.path.join("books")
    }
    /// The spool.
    pub fn insurers(&self) -> PathBuf {
        self.path.join("insurers")
    }

    /// Tries whether the root takes a new file: a disk that the system made read-only is found before somebody's paper is
    /// refused. Leaves nothing.
    pub fn try_writing(&self) -> io::Result<()> {
        let path = self.path.join(format!("{}probe", durable::TEMPORARY));
        match std::fs::remove_file(&path) {
            // A crash left it.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        durable::create_exclusive(&path, 0o600)?.write_all(b"todoke")?;
        std::fs::remove_file(&path)
    }

    /// The epoch on record; none in a new root.
    pub fn epoch(&self) -> Result<Option<Epoch>, RootError> {
        self.read("EPOCH")
    }
    /// Records the epoch, durably.
    pub fn set_epoch(&self, epoch: &Epoch) -> Result<(), RootError> {
        self.write("EPOCH", epoch)
    }
    /// Where the journal ended, if the root was closed in order.
    pub fn clean(&self) -> Result<Option<Clean>, RootError> {
        self.read("CLEAN")
    }
    /// Records an orderly close, durably. Everything else must be durable before.
    pub fn set_clean(&self, clean: &Clean) -> Result<(), RootError> {
        self.write("CLEAN", clean)
    }
    /// Takes the record away, durably: from here on, an end is disorderly.
    pub fn clear_clean(&self) -> Result<(), RootError> {
        let path = self.path.join("CLEAN");
        durable::remove(&path).map_err(|source| RootError::Io { path, source })
    }
    /// The machine's boot when the root was last opened.
    pub fn last_boot(&self) -> Result<Option<String>, RootError> {
        self.read("BOOT")
    }
    /// Records this boot, durably.
    pub fn set_last_boot(&self, boot: &str) -> Result<(), RootError> {
        self.write("BOOT", &boot)
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, RootError> {
        let path = self.path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(RootError::Damaged { path, why: error.to_string() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RootError::Io { path, source }),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), RootError> {
        let path = self.path.join(name);
        let mut bytes = serde_json::to_vec(value)
            .map_err(|error| RootError::Io { path: path.clone(), source: io::Error::other(error) })?;
        bytes.push(b'\n');
        durable::replace(&path, &bytes, 0o600).map_err(|source| RootError::Io { path, source })
    }
}

/// What the kernel calls this boot; empty where it does not say (then every disorderly end counts as a power cut).
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn lock(root: &Path) -> Result<File, RootError> {
    let path = root.join("LOCK");
    let io = |source| RootError::Io { path: path.clone(), source };
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            file.take(32).read_to_string(&mut pid).map_err(io)?;
            let pid = if pid.trim().is_empty() { "(unknown)" } else { pid.trim() };
            return Err(RootError::Locked { path: root.into(), pid: pid.to_owned() });
        }
        Err(error) => return Err(io(error.into())),
    }
    // Only for the message of the next one: the lock itself is the kernel's.
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_root_is_made_private_and_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root");
        let root = Root::open(&path).unwrap();
        for name in PRIVATE {
            let mode = std::fs::metadata(path.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{name}");
        }
        let refused = Root::open(&path).unwrap_err();
        assert!(matches!(refused, RootError::Locked { .. }), "{refused}");
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(root);
        Root::open(&path).unwrap();
    }

    #[test]
    fn a_root_of_another_user_is_refused() {
        // Only root can make a folder somebody else's; others look at one of root's.
        let dir = tempfile::tempdir().unwrap();
        let path = if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
            dir.path()
        } else {
            Path::new("/")
        };
        let refused = Root::open(path).unwrap_err();
        assert!(matches!(refused, RootError::NotOurs { .. }), "{refused}");
    }

    #[test]
    fn marks_are_kept_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(root.epoch().unwrap(), None);
        let epoch = Epoch::fresh(1).unwrap();
        root.set_epoch(&epoch).unwrap();
        assert_eq!(root.epoch().unwrap(), Some(epoch));
        let clean = Clean { seq: 7, hash: Digest::of(b"x") };
        root.set_clean(&clean).unwrap();
        assert_eq!(root.clean().unwrap(), Some(clean));
        root.clear_clean().unwrap();
        assert_eq!(root.clean().unwrap(), None);
        std::fs::write(dir.path().join("EPOCH"), b"\0\0\0").unwrap();
        assert!(matches!(root.epoch(), Err(RootError::Damaged { .. })));
    }
}
