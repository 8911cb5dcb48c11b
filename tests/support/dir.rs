//! A tree and a gate for tests of the SFTP door: a plain folder, and a list of keys. Some names behave in special
//! ways, so that answers of every kind can be had: see [`Dir`].

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::struct_field_names,
    clippy::missing_panics_doc,
    reason = "part of tests; each test file uses its own part"
)]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use russh::keys::ssh_key;
use rustix::buffer::spare_capacity;
use todoke::doors::sftp::port::{
    Admission, Answer, Attributes, Credential, Entered, Entry, Fault, Gate, Link, Listing, OpenFile,
    OpenFlags, SetAttributes, Space, Status, Tree, VirtualPath,
};
use todoke::model::finding::Language;
use todoke::model::ids::AccountId;
use tokio::sync::watch;

/// A folder as a tree. Closing `*.later` is answered once [`Dir::verdicts`] is set, `*.refused` is refused loudly,
/// writing to `*.panic` panics.
pub struct Dir {
    root: PathBuf,
    pub verdicts: watch::Sender<bool>,
    /// Verdicts whose work came to its end.
    pub concluded: Arc<AtomicUsize>,
    /// Files that are open now.
    pub open: Arc<AtomicUsize>,
    pub slow_writes: AtomicBool,
}

impl Dir {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            verdicts: watch::Sender::new(false),
            concluded: Arc::default(),
            open: Arc::default(),
            slow_writes: AtomicBool::new(false),
        }
    }

    fn real(&self, path: &VirtualPath) -> PathBuf {
        path.0.iter().fold(self.root.clone(), |real, part| real.join(part))
    }
}

fn fault(error: &io::Error) -> Fault {
    let (status, code) = match error.kind() {
        io::ErrorKind::NotFound => (Status::NoSuchFile, "NO-SUCH-FILE"),
        io::ErrorKind::PermissionDenied => (Status::PermissionDenied, "NOT-ALLOWED"),
        _ => (Status::Failure, "FAILED"),
    };
    Fault { status, code: code.into(), text: error.to_string(), loud: false }
}

fn attributes(metadata: &fs::Metadata) -> Attributes {
    Attributes {
        folder: metadata.is_dir(),
        size: metadata.len(),
        mode: metadata.mode() & 0o7777,
        modified: u64::try_from(metadata.mtime()).unwrap_or(0),
    }
}

fn set(file: &File, to: SetAttributes) -> io::Result<()> {
    if let Some(size) = to.size {
        file.set_len(size)?;
    }
    if let Some(mode) = to.mode {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    if let Some(modified) = to.modified {
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified))?;
    }
    Ok(())
}

struct OpenDirFile {
    file: File,
    name: String,
    append: bool,
    slow: bool,
    verdicts: watch::Receiver<bool>,
    concluded: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Drop for OpenDirFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl OpenFile for OpenDirFile {
    fn read_at(&mut self, offset: u64, _: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
        rustix::io::pread(&self.file, spare_capacity(into), offset).map_err(|error| fault(&error.into()))?;
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        assert!(!self.name.ends_with(".panic"), "asked to panic");
        if self.slow {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let offset =
            if self.append { self.file.metadata().map_err(|error| fault(&error))?.len() } else { offset };
        self.file.write_all_at(bytes, offset).map_err(|error| fault(&error))
    }

    fn stat(&mut self) -> Result<Attributes, Fault> {
        self.file.metadata().map(|metadata| attributes(&metadata)).map_err(|error| fault(&error))
    }

    fn set_stat(&mut self, to: SetAttributes) -> Result<(), Fault> {
        set(&self.file, to).map_err(|error| fault(&error))
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.file.sync_all().map_err(|error| fault(&error))
    }

    fn close(self: Box<Self>) -> Answer {
        if self.name.ends_with(".refused") {
            return Answer::Now(Err(Fault {
                status: Status::PermissionDenied,
                code: "SIG-WRONG-KEY".into(),
                text: "別の鍵で署名されています。".to_owned(),
                loud: true,
            }));
        }
        if self.name.ends_with(".later") {
            let (mut verdicts, concluded) = (self.verdicts.clone(), self.concluded.clone());
            return Answer::Later(Box::pin(async move {
                let _ = verdicts.wait_for(|given| *given).await;
                concluded.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }));
        }
        Answer::Now(Ok(()))
    }
}

impl Tree for Dir {
    fn stat(&self, path: &VirtualPath) -> Result<Attributes, Fault> {
        fs::metadata(self.real(path)).map(|metadata| attributes(&metadata)).map_err(|error| fault(&error))
    }

    fn list(&self, path: &VirtualPath) -> Result<Listing, Fault> {
        let entries = fs::read_dir(self.real(path)).map_err(|error| fault(&error))?;
        Ok(Box::new(entries.map(|entry| {
            let entry = entry.map_err(|error| fault(&error))?;
            let metadata = entry.metadata().map_err(|error| fault(&error))?;
            Ok(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                attributes: attributes(&metadata),
            })
        })))
    }

    fn open(
        &self,
        path: &VirtualPath,
        flags: OpenFlags,
        to: SetAttributes,
    ) -> Result<Box<dyn OpenFile>, Fault> {
        let real = self.real(path);
        if real.is_dir() {
            return Err(fault(&io::Error::other("is a folder")));
        }
        let file = fs::OpenOptions::new()
            .read(flags.read)
            .write(flags.write)
            .create(flags.create)
            .truncate(flags.truncate && flags.write)
            .create_new(flags.create && flags.exclusive)
            .open(real)
            .map_err(|error| fault(&error))?;
        if flags.create {
            set(&file, to).map_err(|error| fault(&error))?;
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(OpenDirFile {
            file,
            name: path.0.last().cloned().unwrap_or_default(),
            append: flags.append,
            slow: self.slow_writes.load(Ordering::SeqCst),
            verdicts: self.verdicts.subscribe(),
            concluded: self.concluded.clone(),
            open: self.open.clone(),
        }))
    }

    fn set_stat(&self, path: &VirtualPath, to: SetAttributes) -> Result<(), Fault> {
        let real = self.real(path);
        let file = fs::OpenOptions::new()
            .read(true)
            .write(to.size.is_some())
            .open(real)
            .map_err(|error| fault(&error))?;
        set(&file, to).map_err(|error| fault(&error))
    }

    fn remove(&self, path: &VirtualPath) -> Result<(), Fault> {
        fs::remove_file(self.real(path)).map_err(|error| fault(&error))
    }

    fn make_folder(&self, path: &VirtualPath) -> Result<(), Fault> {
        fs::create_dir(self.real(path)).map_err(|error| fault(&error))
    }

    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Fault> {
        fs::remove_dir(self.real(path)).map_err(|error| fault(&error))
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Answer {
        let (from, to) = (self.real(from), self.real(to));
        if !replace && to.exists() {
            return Answer::Now(Err(fault(&io::Error::other("exists"))));
        }
        Answer::Now(rustix::fs::rename(from, to).map_err(|error| fault(&error.into())))
    }

    fn space(&self) -> Result<Space, Fault> {
        Ok(Space { bytes_total: 1 << 40, bytes_free: 1 << 39, files_total: 1_000_000, files_free: 999_000 })
    }

    fn language(&self) -> Language {
        Language::Ja
    }
}

/// Lets in whoever has a listed key, as the account the key is listed for.
pub struct Keys {
    keys: Vec<(String, ssh_key::PublicKey)>,
    tree: Arc<Dir>,
    /// Accounts whose sessions are refused after login.
    pub suspended: Mutex<Vec<String>>,
    /// Sessions that have begun and not ended.
    pub sessions: Arc<AtomicUsize>,
    /// How each session can be ended.
    #[allow(clippy::type_complexity)]
    pub evictions: Mutex<HashMap<u64, Arc<dyn Link>>>,
}

impl Keys {
    pub fn new(keys: Vec<(String, ssh_key::PublicKey)>, tree: Arc<Dir>) -> Self {
        Self {
            keys,
            tree,
            suspended: Mutex::default(),
            sessions: Arc::default(),
            evictions: Mutex::default(),
        }
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate for Keys {
    fn may_offer(&self, account: &str, key: &ssh_key::PublicKey, _: SocketAddr) -> bool {
        self.keys.iter().any(|(owner, listed)| owner == account && listed.key_data() == key.key_data())
    }

    fn may_enter(&self, account: &str, credential: &Credential, from: SocketAddr) -> Admission {
        match credential {
            Credential::Key(key) if self.may_offer(account, key, from) => Admission::Welcome,
            _ => Admission::Refused,
        }
    }

    fn enter(
        &self,
        account: &str,
        _: &Credential,
        _: bool,
        _: SocketAddr,
        session: u64,
        link: Arc<dyn Link>,
    ) -> Result<Entered, Fault> {
        if self.suspended.lock().unwrap().iter().any(|suspended| suspended == account) {
            return Err(Fault {
                status: Status::PermissionDenied,
                code: "ACCOUNT-SUSPENDED".into(),
                text: "アカウントは停止中です。".to_owned(),
                loud: true,
            });
        }
        self.evictions.lock().unwrap().insert(session, link);
        self.sessions.fetch_add(1, Ordering::SeqCst);
        Ok(Entered {
            account: AccountId::parse(account).unwrap(),
            tree: self.tree.clone(),
            welcome: Vec::new(),
            guard: Box::new(Counted(self.sessions.clone())),
        })
    }
}
