//! An insurer's view over SFTP: its folder in the spool, and nothing else. Reads everything that is shown; renames
//! submissions on their way `new → cur → done | failed`; leaves reasons and documents.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, Stat};

use super::port::{
    Answer, Attributes, Entry, Fault, Listing, OpenFile, OpenFlags, SetAttributes, Space, Status, Tree,
    VirtualPath,
};
use crate::model::escape;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, InsurerCode, Number};
use crate::model::party::Actor;
use crate::model::time::Clock;
use crate::store::ledger::Ledger;
use crate::store::spool::{self, Folder, InsurerSpool, OPEN_FOLDERS, Place, is_folder, is_lone_file};

/// Bytes of a name; jobs' and documents' names become part of others.
const NAME_BYTES_MAX: usize = 100;
/// Bytes of a reason.
const REASON_BYTES_MAX: u64 = 64 * 1024;
/// Folders in `outgoing/`, and files in one of them, made over SFTP.
const OUTGOING_MAX: usize = 10_000;

/// What an insurer may leave.
#[derive(Debug, Clone, Copy)]
pub struct InsurerLimits {
    /// Bytes of one file in `outgoing/`.
    pub file_bytes_max: u64,
    /// Bytes that stay free on the disk whatever is sent.
    pub disk_reserve: u64,
}

/// One session's tree.
pub struct InsurerTree {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    spool_root: PathBuf,
    code: InsurerCode,
    account: AccountId,
    language: Language,
    limits: InsurerLimits,
}

/// What a path means.
enum Spot<'a> {
    Root,
    /// One of [`OPEN_FOLDERS`].
    Top(&'a str),
    /// Something in one of them, by the names that lead there.
    Within(&'a str, &'a [String]),
}

impl InsurerTree {
    /// Of this account, which belongs to this insurer.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        spool_root: PathBuf,
        code: InsurerCode,
        account: AccountId,
        language: Language,
        limits: InsurerLimits,
    ) -> Self {
        Self { ledger, clock, spool_root, code, account, language, limits }
    }

    fn open_spool(&self) -> Result<InsurerSpool, Fault> {
        InsurerSpool::open(&self.spool_root, &self.code).map_err(|error| self.io(&error))
    }

    fn fault(&self, status: Status, code: &'static str, ja: &str, en: &str) -> Fault {
        let text = if self.language == Language::Ja { ja } else { en };
        // Stock sftp shows only "Failure" for the status: a refusal must be heard.
        let loud = status != Status::NoSuchFile;
        Fault { status, code: code.into(), text: text.to_owned(), loud }
    }

    fn missing(&self) -> Fault {
        self.fault(
            Status::NoSuchFile,
            "NO-SUCH-FILE",
            "そのファイルやフォルダーはありません。一覧を確認してください。",
            "There is no such file or folder. Look at the listing.",
        )
    }

    fn denied(&self) -> Fault {
        self.fault(
            Status::PermissionDenied,
            "INSURER-READ-ONLY",
            "ここではできない操作です。届出は new から cur、done、failed へ移し、文書は outgoing のフォルダーに置いてください。",
            "Not here. Move submissions from new to cur, done or failed; put documents into a folder in outgoing.",
        )
    }

    fn bad_name(&self) -> Fault {
        self.fault(
            Status::PermissionDenied,
            "INSURER-NAME",
            "使えない名前です。先頭を「.」以外にし、100バイト以内にしてください。",
            "This name cannot be used: at most 100 bytes, and no leading dot.",
        )
    }

    fn taken(&self) -> Fault {
        self.fault(
            Status::Failure,
            "INSURER-EXISTS",
            "同じ名前がすでにあります。",
            "This name is there already.",
        )
    }

    fn failed(&self) -> Fault {
        self.fault(
            Status::Failure,
            "INSURER-FAILED",
            "操作できませんでした。しばらくしてからやり直してください。",
            "That did not work. Try again later.",
        )
    }

    /// A stranger's words for an error of the file system; the log has the rest.
    fn io(&self, error: &io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => self.missing(),
            io::ErrorKind::AlreadyExists => self.taken(),
            io::ErrorKind::InvalidInput => self.bad_name(),
            io::ErrorKind::DirectoryNotEmpty => self.fault(
                Status::Failure,
                "INSURER-NOT-EMPTY",
                "フォルダーが空ではありません。",
                "The folder is not empty.",
            ),
            _ => {
                tracing::warn!(insurer = %self.code, account = %self.account, %error, "a request on the spool failed");
                self.failed()
            }
        }
    }

    fn spot<'a>(&self, path: &'a VirtualPath) -> Result<Spot<'a>, Fault> {
        let Some((top, rest)) = path.0.split_first() else { return Ok(Spot::Root) };
        if !OPEN_FOLDERS.contains(&top.as_str()) {
            return Err(self.missing());
        }
        // Hidden things are not there; long names can be, left by other ways, and may be read.
        if rest.iter().any(|name| name.starts_with('.')) {
            return Err(self.missing());
        }
        Ok(if rest.is_empty() { Spot::Top(top) } else { Spot::Within(top, rest) })
    }

    fn folder(&self, names: &[String]) -> io::Result<Folder> {
        let mut folder = InsurerSpool::open(&self.spool_root, &self.code)?.root;
        for name in names {
            folder = folder.sub(name)?;
        }
        Ok(folder)
    }

    /// The folder that a path's last name lies in.
    fn parent<'a>(&self, path: &'a VirtualPath) -> Result<(Folder, &'a str), Fault> {
        let (name, folders) = path.0.split_last().ok_or_else(|| self.denied())?;
        Ok((self.folder(folders).map_err(|error| self.io(&error))?, name))
    }

    /// A name that this side may make: bounded, visible, harmless when shown.
    fn new_name(&self, name: &str) -> Result<(), Fault> {
        let fine =
            name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && !name.chars().any(escape::is_hidden);
        if fine { Ok(()) } else { Err(self.bad_name()) }
    }

    /// Where files may be written, and how long they may be: `outgoing/JOB/FILE` and `failed/NUMBER.reason`.
    fn writable(&self, path: &VirtualPath) -> Result<u64, Fault> {
        match self.spot(path)? {
            Spot::Within("outgoing", [job, file]) => {
                self.new_name(job)?;
                self.new_name(file)?;
                Ok(self.limits.file_bytes_max)
            }
            Spot::Within("failed", [reason]) if self.own_reason(reason)? => Ok(REASON_BYTES_MAX),
            _ => Err(self.denied()),
        }
    }

    fn own_reason(&self, name: &str) -> Result<bool, Fault> {
        let number = name.strip_suffix(".reason").and_then(|number| Number::parse(number).ok());
        match number {
            Some(number) => self.owns(number),
            None => Ok(false),
        }
    }

    fn owns(&self, number: Number) -> Result<bool, Fault> {
        let submission = self.ledger.submission(number).map_err(|error| self.io(&io::Error::other(error)))?;
        Ok(submission.is_some_and(|submission| submission.insurer == self.code))
    }

    fn room(&self, folder: &Folder) -> Result<(), Fault> {
        let full = || {
            self.fault(
                Status::Failure,
                "INSURER-FULL",
                "空きがありません。ファイルを減らすか、窓口に連絡してください。",
                "There is no room. Leave fewer files, or ask the operator.",
            )
        };
        let space = rustix::fs::fstatvfs(folder.fd()).map_err(|error| self.io(&error.into()))?;
        if space.f_bavail.saturating_mul(space.f_frsize) < self.limits.disk_reserve {
            return Err(full());
        }
        let count = folder.names().map_err(|error| self.io(&error))?.take(OUTGOING_MAX).count();
        if count < OUTGOING_MAX { Ok(()) } else { Err(full()) }
    }

    fn write(&self, path: &VirtualPath, flags: OpenFlags) -> Result<Box<dyn OpenFile>, Fault> {
        let bytes_max = self.writable(path)?;
        let (folder, name) = self.parent(path)?;
        let access = if flags.read { OFlags::RDWR } else { OFlags::WRONLY };
        let io = |error: io::Error| self.io(&error);
        let there = folder.stat(name).map_err(io)?;
        let file = match there {
            Some(_) if flags.create && flags.exclusive => return Err(self.taken()),
            Some(stat) if !is_lone_file(&stat) => return Err(self.denied()),
            Some(_) => {
                let file = folder.open_file(name, access).map_err(io)?;
                if !rustix::fs::fstat(&file).is_ok_and(|stat| is_lone_file(&stat)) {
                    return Err(self.denied());
                }
                file
            }
            None if flags.create => {
                self.room(&folder)?;
                let group = self.open_spool()?.group;
                folder.create_file(name, 0o660, group).map_err(io)?
            }
            None => return Err(self.missing()),
        };
        // Until it is closed, nothing is taken of it: by the lock while it is open, by the mark if it never is.
        if !shares_lock(&file) {
            return Err(self.fault(
                Status::Failure,
                "INSURER-BUSY",
                "ほかのプログラムがこのファイルを書いています。終わってからやり直してください。",
                "Another program is writing this file. Try again when it has ended.",
            ));
        }
        if let Err(error) = spool::mark_unfinished(&file, true) {
            // The importer's user owns it: the lock alone has to do.
            tracing::debug!(%error, "a file of the spool could not be marked");
        }
        if flags.truncate {
            file.set_len(0).map_err(io)?;
        }
        Ok(Box::new(SpoolFile {
            closed: false,
            file,
            bytes_max: Some(bytes_max),
            append: flags.append,
            language: self.language,
        }))
    }

    /// A submission on its way: moved durably, then recorded at once by what the scan of the spool uses too.
    fn advance(&self, from: Place, to: Place, name: &str) -> Result<(), Fault> {
        let Ok(number) = Number::parse(name) else { return Err(self.denied()) };
        let spool = self.open_spool()?;
        let (source, target) = (spool.place(from), spool.place(to));
        let io = |error: io::Error| self.io(&error);
        if source.stat(name).map_err(io)?.is_none() {
            return Err(self.missing());
        }
        if !self.owns(number)? {
            return Err(self.denied());
        }
        source.rename(name, target, name).map_err(io)?;
        target.sync().and_then(|()| source.sync()).map_err(io)?;
        let by = Actor::Account(self.account.clone());
        if let Err(error) = spool::record_import(&*self.ledger, number, to, &by, self.clock.now()) {
            // The folder has moved, which is what counts: the scan records it.
            tracing::warn!(%number, %error, "an import could not be recorded at once");
        }
        Ok(())
    }

    fn rename_now(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Result<(), Fault> {
        match (self.spot(from)?, self.spot(to)?) {
            (Spot::Within(old, [name]), Spot::Within(new, [same])) if name == same && old != new => {
                match (Place::of(old), Place::of(new)) {
                    (Some(old), Some(new)) if forward(old, new) => self.advance(old, new, name),
                    _ => Err(self.denied()),
                }
            }
            (Spot::Within("outgoing", [old]), Spot::Within("outgoing", [new])) => {
                self.new_name(new)?;
                let outgoing = self.open_spool()?.outgoing;
                outgoing
                    .rename(old, &outgoing, new)
                    .and_then(|()| outgoing.sync())
                    .map_err(|error| self.io(&error))
            }
            (Spot::Within("outgoing", [_, _]), Spot::Within("outgoing", [_, _])) => {
                self.writable(to)?;
                let ((source, name), (target, new)) = (self.parent(from)?, self.parent(to)?);
                let plain = source.stat(name).map_err(|error| self.io(&error))?;
                if !plain.is_some_and(|stat| is_lone_file(&stat)) {
                    return Err(if plain.is_none() { self.missing() } else { self.denied() });
                }
                let renamed = if replace {
                    source.replace(name, &target, new)
                } else {
                    source.rename(name, &target, new)
                };
                renamed.and_then(|()| target.sync()).map_err(|error| self.io(&error))
            }
            _ => Err(self.denied()),
        }
    }
}

/// Importers go forward; a failed one may be tried again, to its end or from `cur/`.
fn forward(from: Place, to: Place) -> bool {
    matches!(
        (from, to),
        (Place::New, Place::Cur) | (Place::Cur, Place::Done | Place::Failed) | (Place::Failed, Place::Done)
    )
}

fn attributes(stat: &Stat) -> Attributes {
    Attributes {
        folder: is_folder(stat),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o777,
        modified: u64::try_from(stat.st_mtime).unwrap_or(0),
    }
}

/// Only plain files and folders are shown: a link or device that somebody left is not there.
fn shown(stat: &Stat) -> bool {
    is_folder(stat) || is_lone_file(stat) || stat.st_nlink > 1 && regular(stat)
}

fn regular(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
}

impl Tree for InsurerTree {
    fn stat(&self, path: &VirtualPath) -> Result<Attributes, Fault> {
        let stat = match self.spot(path)? {
            Spot::Root => self.open_spool()?.root.stat_self(),
            Spot::Top(top) => self.folder(&[top.to_owned()]).and_then(|folder| folder.stat_self()),
            Spot::Within(..) => {
                let (folder, name) = self.parent(path)?;
                folder.stat(name).and_then(|stat| {
                    stat.filter(shown).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
                })
            }
        };
        stat.map(|stat| attributes(&stat)).map_err(|error| self.io(&error))
    }

    fn list(&self, path: &VirtualPath) -> Result<Listing, Fault> {
        let io = |error: io::Error| self.io(&error);
        let root = matches!(self.spot(path)?, Spot::Root);
        let folder = self.folder(&path.0).map_err(io)?;
        let names = folder.names().map_err(io)?;
        let (failed, account) = (self.failed(), self.account.clone());
        Ok(Box::new(names.filter_map(move |name| {
            let name = match name {
                Ok(name) => name,
                Err(error) => {
                    tracing::warn!(%account, %error, "a listing of the spool broke off");
                    return Some(Err(failed.clone()));
                }
            };
            // What is no UTF-8 has no name here.
            let name = name.into_string().ok()?;
            if name.starts_with('.') || (root && !OPEN_FOLDERS.contains(&name.as_str())) {
                return None;
            }
            let stat = folder.stat(&name).ok().flatten().filter(shown)?;
            Some(Ok(Entry { attributes: attributes(&stat), name }))
        })))
    }

    fn open(
        &self,
        path: &VirtualPath,
        flags: OpenFlags,
        _: SetAttributes,
    ) -> Result<Box<dyn OpenFile>, Fault> {
        if flags.write || flags.append || flags.create || flags.truncate {
            return self.write(path, flags);
        }
        let Spot::Within(..) = self.spot(path)? else { return Err(self.denied()) };
        let (folder, name) = self.parent(path)?;
        let stat = folder.stat(name).map_err(|error| self.io(&error))?.ok_or_else(|| self.missing())?;
        if !regular(&stat) {
            return Err(if is_folder(&stat) { self.denied() } else { self.missing() });
        }
        let file = folder.open_file(name, OFlags::RDONLY).map_err(|error| self.io(&error))?;
        // Payload may be a second name of the gateway's own bytes; what the insurer left must be its only one.
        let own = matches!(self.spot(path)?, Spot::Within("outgoing", _));
        let opened = rustix::fs::fstat(&file).map_err(|error| self.io(&error.into()))?;
        if !regular(&opened) || (own && !is_lone_file(&opened)) {
            return Err(self.missing());
        }
        Ok(Box::new(SpoolFile {
            closed: false,
            file,
            bytes_max: None,
            append: false,
            language: self.language,
        }))
    }

    /// Modes and times are the gateway's; clients that set them after a put are told that it is well.
    fn set_stat(&self, path: &VirtualPath, to: SetAttributes) -> Result<(), Fault> {
        // Of a folder as well, as `put -r` does.
        let Some(size) = to.size else { return self.stat(path).map(drop) };
        let bytes_max = self.writable(path)?;
        if size > bytes_max {
            return Err(too_large(self.language));
        }
        let (folder, name) = self.parent(path)?;
        let file = folder.open_file(name, OFlags::WRONLY).map_err(|error| self.io(&error))?;
        if !rustix::fs::fstat(&file).is_ok_and(|stat| is_lone_file(&stat)) {
            return Err(self.denied());
        }
        file.set_len(size).map_err(|error| self.io(&error))
    }

    fn remove(&self, path: &VirtualPath) -> Result<(), Fault> {
        match self.spot(path)? {
            Spot::Within("outgoing", [_, _]) => {}
            Spot::Within("failed", [reason]) if self.own_reason(reason)? => {}
            _ => return Err(self.denied()),
        }
        let (folder, name) = self.parent(path)?;
        let stat = folder.stat(name).map_err(|error| self.io(&error))?.ok_or_else(|| self.missing())?;
        if is_folder(&stat) {
            return Err(self.denied());
        }
        folder.remove_file(name).map_err(|error| self.io(&error))
    }

    fn make_folder(&self, path: &VirtualPath) -> Result<(), Fault> {
        let Spot::Within("outgoing", [job]) = self.spot(path)? else { return Err(self.denied()) };
        self.new_name(job)?;
        let spool = self.open_spool()?;
        self.room(&spool.outgoing)?;
        let made = spool.outgoing.make(job, spool.folder_mode(), spool.group);
        made.map(drop).map_err(|error| match error.kind() {
            // `put -r` makes every folder first, and goes on where it is there.
            io::ErrorKind::AlreadyExists => Fault { loud: false, ..self.taken() },
            _ => self.io(&error),
        })
    }

    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Fault> {
        let Spot::Within("outgoing", [job]) = self.spot(path)? else { return Err(self.denied()) };
        let outgoing = self.open_spool()?.outgoing;
        if outgoing.stat(job).map_err(|error| self.io(&error))?.is_none() {
            return Err(self.missing());
        }
        outgoing.remove_folder(job).map_err(|error| self.io(&error))
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Answer {
        Answer::Now(self.rename_now(from, to, replace))
    }

    fn space(&self) -> Result<Space, Fault> {
        let outgoing = self.open_spool()?.outgoing;
        let space = rustix::fs::fstatvfs(outgoing.fd()).map_err(|error| self.io(&error.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize).saturating_sub(self.limits.disk_reserve);
        Ok(Space {
            bytes_total: space.f_blocks.saturating_mul(space.f_frsize),
            bytes_free: free,
            files_total: space.f_files,
            files_free: space.f_favail,
        })
    }

    fn language(&self) -> Language {
        self.language
    }
}

fn too_large(language: Language) -> Fault {
    let text = match language {
        Language::Ja => "ファイルが大きすぎます。分けて置いてください。",
        Language::En => "The file is too large. Split it.",
    };
    Fault { status: Status::Failure, code: "INSURER-TOO-LARGE".into(), text: text.to_owned(), loud: false }
}

/// Tries at a lock that the gateway's own looks hold for a moment.
const LOCK_TRIES: u32 = 20;

/// Shared, since clients open a file twice; deliveries ask for it alone.
fn shares_lock(file: &File) -> bool {
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            // A file system without locks: the mark has to do.
            Ok(()) | Err(_) => return true,
        }
    }
    false
}

/// An open file of the spool.
struct SpoolFile {
    /// The client has closed it; else its session ended in between.
    closed: bool,
    file: File,
    /// None: open for reading.
    bytes_max: Option<u64>,
    append: bool,
    language: Language,
}

impl SpoolFile {
    fn failed(&self, error: &io::Error) -> Fault {
        tracing::warn!(%error, "a file of the spool failed");
        let text = match self.language {
            Language::Ja => "読み書きできませんでした。しばらくしてからやり直してください。",
            Language::En => "Reading or writing failed. Try again later.",
        };
        Fault { status: Status::Failure, code: "INSURER-FAILED".into(), text: text.to_owned(), loud: false }
    }

    /// The bytes first: what is not marked is whole.
    fn finish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        let marked = rustix::fs::fstat(&self.file).is_ok_and(|stat| spool::is_unfinished(&stat));
        if marked {
            spool::mark_unfinished(&self.file, false)?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    fn writable(&self) -> Result<u64, Fault> {
        self.bytes_max.ok_or_else(|| {
            let text = match self.language {
                Language::Ja => "読み取り用に開いたファイルです。",
                Language::En => "The file is open for reading.",
            };
            Fault {
                status: Status::PermissionDenied,
                code: "INSURER-READ-ONLY".into(),
                text: text.to_owned(),
                loud: false,
            }
        })
    }
}

impl OpenFile for SpoolFile {
    fn read_at(&mut self, offset: u64, length: usize, into: &mut Vec<u8>) -> Result<(), Fault> {
        let before = into.len();
        into.resize(before + length, 0);
        let read = self.file.read_at(&mut into[before..], offset);
        into.truncate(before + *read.as_ref().unwrap_or(&0));
        read.map(drop).map_err(|error| self.failed(&error))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let bytes_max = self.writable()?;
        let offset = if self.append {
            self.file.metadata().map_err(|error| self.failed(&error))?.len()
        } else {
            offset
        };
        if offset.saturating_add(bytes.len() as u64) > bytes_max {
            return Err(too_large(self.language));
        }
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(&error))
    }

    fn stat(&mut self) -> Result<Attributes, Fault> {
        let stat = rustix::fs::fstat(&self.file).map_err(|error| self.failed(&error.into()))?;
        Ok(attributes(&stat))
    }

    fn set_stat(&mut self, to: SetAttributes) -> Result<(), Fault> {
        let bytes_max = self.writable()?;
        match to.size {
            None => Ok(()),
            Some(size) if size > bytes_max => Err(too_large(self.language)),
            Some(size) => self.file.set_len(size).map_err(|error| self.failed(&error)),
        }
    }

    fn sync(&mut self) -> Result<(), Fault> {
        self.file.sync_all().map_err(|error| self.failed(&error))
    }

    /// What was written is durable when the answer is OK.
    fn close(mut self: Box<Self>) -> Answer {
        let closed = match self.bytes_max {
            Some(_) => self.finish().map_err(|error| self.failed(&error)),
            None => Ok(()),
        };
        self.closed = closed.is_ok();
        Answer::Now(closed)
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if self.bytes_max.is_some() && !self.closed {
            // Another handle may have taken the mark away.
            let _ = spool::mark_unfinished(&self.file, true);
        }
    }
}

#[cfg(test)]
mod tests;
