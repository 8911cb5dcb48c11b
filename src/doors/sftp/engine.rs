//! Runs the requests of one channel: parses each packet of a batch where it lies, asks the tree, collects replies.
//! Blocking; one batch after the other, each as one call of [`Engine::run`].
//!
//! Order: requests are worked off as they come. One that touches a path whose verdict is still to come (a close or
//! rename that was answered with [`Answer::Later`]) is parked with everything later on the same paths, and runs when
//! the verdict is there; what touches other paths goes on. Replies may thus come out of order, as the protocol allows.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::config::{CONTENT_BYTES_MAX, NAME_BYTES_MAX, PACKET_BYTES_MAX};
use super::handles::{Handles, Open};
use super::longname::Lines;
use super::output::Chunk;
use super::path;
use super::port::{Answer, Fault, OpenFile, OpenFlags, Status, VirtualPath};
use super::queue::packet_at;
use super::session::Channel;
use super::texts::{self, Message};
use super::wire::{self, Packet, Replies, Request};
use crate::model::finding::Language;

/// Replies are handed to the pump in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;
/// A read does not share a piece that is longer than this already: growing it would copy it.
const READ_AFTER_BYTES_MAX: usize = 32 * 1024;
/// Bytes of parked requests, above which the rest of the queue waits too.
const PARKED_BYTES_MAX: usize = 1024 * 1024;

/// Why [`Engine::run`] came back.
#[derive(Debug)]
pub(crate) enum Pause {
    /// Everything there is was worked off.
    Drained,
    /// The client must read replies first.
    OutputFull,
    /// A verdict must come first.
    Verdict,
    /// What came is not SFTP: end the connection with these words.
    Broken(&'static Message),
}

/// Verdicts that have come and were not answered yet.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<Vec<(u64, Result<(), Fault>)>>);

impl Verdicts {
    fn push(&self, ticket: u64, verdict: Result<(), Fault>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((ticket, verdict));
    }

    fn take(&self) -> Vec<(u64, Result<(), Fault>)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// A request whose verdict is to come.
struct Pending {
    id: u32,
    paths: Vec<VirtualPath>,
}

/// A request that waits for a verdict on one of its paths.
struct Parked {
    packet: Vec<u8>,
    paths: Vec<VirtualPath>,
    /// What a parked close closes: its handle is gone from the client's point of view.
    file: Option<Box<dyn OpenFile>>,
}

/// The state of one channel's SFTP session.
pub(crate) struct Engine {
    channel: Arc<Channel>,
    handles: Handles,
    replies: Replies,
    greeted: bool,
    /// Packets taken from the queue, and where the next begins.
    batch: Vec<u8>,
    at: usize,
    ticket: u64,
    pending: HashMap<u64, Pending>,
    parked: VecDeque<Parked>,
    parked_bytes: usize,
    /// How many pending and parked requests touch a path.
    held: HashMap<VirtualPath, u32>,
}

impl Engine {
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        Self {
            channel,
            handles: Handles::default(),
            replies: Replies::default(),
            greeted: false,
            batch: Vec::new(),
            at: 0,
            ticket: 0,
            pending: HashMap::new(),
            parked: VecDeque::new(),
            parked_bytes: 0,
            held: HashMap::new(),
        }
    }

    /// What a drain should wait for: open handles, and requests without an answer.
    pub(crate) fn load(&self) -> usize {
        self.handles.len() + self.pending.len() + self.parked.len()
    }

    /// Works off verdicts, then packets, until there is nothing more to do or something must happen first.
    pub(crate) fn run(&mut self) -> Pause {
        let mut batch = std::mem::take(&mut self.batch);
        let mut at = std::mem::take(&mut self.at);
        loop {
            let begun = at;
            let pause = self.work_off(&batch, &mut at);
            self.channel.queue.finished(at - begun);
            if let Some(pause) = pause {
                self.flush();
                (self.batch, self.at) = (batch, at);
                return pause;
            }
            self.channel.queue.recycle(batch);
            at = 0;
            let Some(next) = self.channel.queue.take() else {
                self.flush();
                return Pause::Drained;
            };
            batch = next;
        }
    }

    fn work_off(&mut self, batch: &[u8], at: &mut usize) -> Option<Pause> {
        self.settle();
        loop {
            if self.channel.output.is_full(self.replies.len()) {
                return Some(Pause::OutputFull);
            }
            let (packet, next) = packet_at(batch, *at)?;
            if self.must_wait() {
                return Some(Pause::Verdict);
            }
            if let Err(message) = self.packet(packet) {
                return Some(Pause::Broken(message));
            }
            *at = next;
            if self.replies.len() >= PIECE_BYTES {
                self.flush();
            }
        }
    }

    fn must_wait(&self) -> bool {
        let max = self.channel.limits().verdicts_max;
        self.pending.len() >= max || self.parked.len() >= max || self.parked_bytes >= PARKED_BYTES_MAX
    }

    /// Hands the replies so far to the pump.
    fn flush(&mut self) {
        if !self.replies.is_empty() {
            let replies = self.channel.output.lend(self.replies.take());
            self.channel.output.push(Chunk::Data(replies));
        }
    }

    fn packet(&mut self, bytes: &[u8]) -> Result<(), &'static Message> {
        let packet = wire::parse(bytes).map_err(|malformed| {
            tracing::info!(session = self.channel.connection.id, %malformed, bytes = bytes.len(), "disconnecting");
            &texts::BAD_PACKET
        })?;
        match (self.greeted, packet.request) {
            (false, Request::Init { version }) if version >= wire::VERSION => {
                self.greeted = true;
                self.replies.version();
            }
            (false, Request::Init { .. }) => return Err(&texts::OLD_VERSION),
            (false, _) | (true, Request::Init { .. }) => return Err(&texts::BAD_PACKET),
            (true, _) if !self.held.is_empty() && self.park(bytes, &packet) => {}
            (true, _) => self.answer(packet),
        }
        Ok(())
    }

    /// Parks the request if a verdict on one of its paths is to come.
    fn park(&mut self, bytes: &[u8], packet: &Packet<'_>) -> bool {
        let paths = match packet.request {
            Request::Close { handle } => match self.handles.get(handle) {
                Some(Open::File { path, .. }) => vec![path.clone()],
                _ => return false,
            },
            Request::Open { path, .. }
            | Request::Stat { path }
            | Request::SetStat { path, .. }
            | Request::OpenDir { path }
            | Request::Remove { path }
            | Request::MkDir { path }
            | Request::RmDir { path } => self.resolve(path).into_iter().collect(),
            Request::Rename { from, to, .. } => {
                [from, to].into_iter().flat_map(|path| self.resolve(path)).collect()
            }
            _ => return false,
        };
        if !paths.iter().any(|path| self.held.contains_key(path)) {
            return false;
        }
        let file = match packet.request {
            Request::Close { handle } => match self.handles.remove(handle) {
                Some(Open::File { file, .. }) => Some(file),
                _ => None,
            },
            _ => None,
        };
        self.hold(&paths);
        self.parked_bytes += bytes.len();
        self.parked.push_back(Parked { packet: bytes.to_vec(), paths, file });
        true
    }

    fn hold(&mut self, paths: &[VirtualPath]) {
        for path in paths {
            *self.held.entry(path.clone()).or_default() += 1;
        }
    }

    fn release(&mut self, paths: &[VirtualPath]) {
        for path in paths {
            if let Some(count) = self.held.get_mut(path) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(path);
                }
            }
        }
    }

    /// Answers verdicts that have come, and runs what waited for them.
    fn settle(&mut self) {
        let verdicts = self.channel.verdicts.take();
        if verdicts.is_empty() {
            return;
        }
        for (ticket, verdict) in verdicts {
            if let Some(Pending { id, paths }) = self.pending.remove(&ticket) {
                self.release(&paths);
                self.done(id, verdict);
            }
        }
        for parked in std::mem::take(&mut self.parked) {
            // Its own hold must not keep it waiting; those of earlier ones still do.
            self.release(&parked.paths);
            let earlier = parked.paths.iter().any(|path| {
                self.pending.values().any(|pending| pending.paths.contains(path))
                    || self.parked.iter().any(|other| other.paths.contains(path))
            });
            if earlier {
                self.hold(&parked.paths);
                self.parked.push_back(parked);
                continue;
            }
            self.parked_bytes -= parked.packet.len();
            // It was parsed before it was parked.
            let Ok(packet) = wire::parse(&parked.packet) else { continue };
            match parked.file {
                Some(file) => self.conclude(packet.id, file.close(), parked.paths),
                None => self.answer(packet),
            }
        }
    }

    fn language(&self) -> Language {
        self.channel.login.language
    }

    fn resolve(&self, bytes: &[u8]) -> Result<VirtualPath, Fault> {
        path::resolve(bytes, self.channel.limits(), self.language())
    }

    fn answer(&mut self, packet: Packet<'_>) {
        let id = packet.id;
        if let Err(fault) = self.try_answer(packet) {
            self.refuse(id, &fault);
        }
    }

    fn try_answer(&mut self, Packet { id, request }: Packet<'_>) -> Result<(), Fault> {
        let tree = self.channel.login.tree.clone();
        match request {
            Request::Write { handle, offset, data } => {
                let result = self.file(handle)?.write_at(offset, data);
                self.done(id, result);
            }
            Request::Read { handle, offset, length } => self.read(id, handle, offset, length)?,
            Request::Open { path, flags, attributes } => {
                let path = self.resolve(path)?;
                self.check_handles()?;
                let file = tree.open(&path, sensible(flags), attributes)?;
                let handle = self.handles.add(Open::File { path, file });
                self.replies.handle(id, &handle);
            }
            Request::Close { handle } => match self.handles.remove(handle) {
                Some(Open::File { path, file }) => self.conclude(id, file.close(), vec![path]),
                Some(Open::Folder { .. }) => self.done(id, Ok(())),
                None => return Err(self.fault(Status::Failure, &texts::HANDLE_UNKNOWN)),
            },
            Request::Stat { path } => {
                let attributes = tree.stat(&self.resolve(path)?)?;
                self.replies.attributes(id, &attributes);
            }
            Request::Fstat { handle } => {
                let attributes = self.file(handle)?.stat()?;
                self.replies.attributes(id, &attributes);
            }
            Request::SetStat { path, attributes } => {
                let result = tree.set_stat(&self.resolve(path)?, attributes);
                self.done(id, result);
            }
            Request::FsetStat { handle, attributes } => {
                let result = self.file(handle)?.set_stat(attributes);
                self.done(id, result);
            }
            Request::Fsync { handle } => {
                let result = self.file(handle)?.sync();
                self.done(id, result);
            }
            Request::OpenDir { path } => {
                let path = self.resolve(path)?;
                self.check_handles()?;
                let listing = tree.list(&path)?;
                let handle = self.handles.add(Open::Folder { listing, next: None });
                self.replies.handle(id, &handle);
            }
            Request::ReadDir { handle } => self.read_dir(id, handle)?,
            Request::Remove { path } => {
                let result = tree.remove(&self.resolve(path)?);
                self.done(id, result);
            }
            Request::MkDir { path } => {
                let result = tree.make_folder(&self.resolve(path)?);
                self.done(id, result);
            }
            Request::RmDir { path } => {
                let result = tree.remove_folder(&self.resolve(path)?);
                self.done(id, result);
            }
            Request::Rename { from, to, replace } => {
                let (from, to) = (self.resolve(from)?, self.resolve(to)?);
                let answer = tree.rename(&from, &to, replace);
                self.conclude(id, answer, vec![from, to]);
            }
            Request::RealPath { path } => {
                let path = self.resolve(path)?;
                self.replies.real_path(id, &path::display(&path));
            }
            Request::StatVfs { path } => {
                self.resolve(path)?;
                let space = tree.space()?;
                self.replies.space(id, &space, self.channel.limits().name_bytes_max as u64);
            }
            Request::Limits => {
                let handles = self.channel.limits().handles_max as u64;
                self.replies.limits(id, PACKET_BYTES_MAX as u64, CONTENT_BYTES_MAX as u64, handles);
            }
            Request::Init { .. } | Request::Unsupported => {
                return Err(self.fault(Status::Unsupported, &texts::UNSUPPORTED));
            }
        }
        Ok(())
    }

    fn fault(&self, status: Status, message: &Message) -> Fault {
        message.fault(status, self.language())
    }

    fn check_handles(&self) -> Result<(), Fault> {
        if self.handles.len() >= self.channel.limits().handles_max {
            return Err(self.fault(Status::Failure, &texts::HANDLES_FULL));
        }
        Ok(())
    }

    fn file(&mut self, handle: &[u8]) -> Result<&mut Box<dyn OpenFile>, Fault> {
        let language = self.language();
        match self.handles.get(handle) {
            Some(Open::File { file, .. }) => Ok(file),
            Some(Open::Folder { .. }) => Err(texts::HANDLE_KIND.fault(Status::Failure, language)),
            None => Err(texts::HANDLE_UNKNOWN.fault(Status::Failure, language)),
        }
    }

    fn read(&mut self, id: u32, handle: &[u8], offset: u64, length: u32) -> Result<(), Fault> {
        if self.replies.len() > READ_AFTER_BYTES_MAX {
            self.flush();
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(CONTENT_BYTES_MAX);
        let mut replies = std::mem::take(&mut self.replies);
        if replies.is_empty() && length > READ_AFTER_BYTES_MAX / 2 {
            replies = Replies::in_buffer(self.channel.output.buffer());
        }
        let result = self
            .file(handle)
            .and_then(|file| replies.data(id, length, |into| file.read_at(offset, length, into)));
        self.replies = replies;
        if result? == 0 {
            self.end_of_file(id);
        }
        Ok(())
    }

    fn read_dir(&mut self, id: u32, handle: &[u8]) -> Result<(), Fault> {
        let language = self.language();
        let channel = self.channel.clone();
        let Some(Open::Folder { listing, next }) = self.handles.get(handle) else {
            // Unknown, or a file.
            self.file(handle)?;
            return Err(self.fault(Status::Failure, &texts::HANDLE_KIND));
        };
        let mut lines =
            Lines::new(channel.login.account.as_str(), channel.connection.clock.now().unix_seconds());
        let mut names = self.replies.begin_names(id);
        let mut trouble = None;
        while self.replies.names_len(&names) < NAME_BYTES_MAX {
            match next.take().or_else(|| listing.next()) {
                // Names come from the store, where no door may have looked at them: none may tear a listing.
                Some(Ok(entry)) if !plain(&entry.name) => {
                    tracing::warn!(
                        session = channel.connection.id,
                        "listing holds a name that no client may see"
                    );
                }
                Some(Ok(entry)) => self.replies.name(&mut names, &entry.name, &entry.attributes, |into| {
                    lines.write(into, &entry.name, &entry.attributes);
                }),
                Some(Err(fault)) if names.count() > 0 => {
                    *next = Some(Err(fault));
                    break;
                }
                Some(Err(fault)) => {
                    trouble = Some(fault);
                    break;
                }
                None => break,
            }
        }
        if names.count() > 0 {
            self.replies.finish_names(&names);
            return Ok(());
        }
        self.replies.abandon_names(&names);
        match trouble {
            Some(fault) => return Err(fault),
            None => self.replies.status(id, wire::SSH_FX_EOF, "End of file", tag(language)),
        }
        Ok(())
    }

    fn end_of_file(&mut self, id: u32) {
        let language = self.language();
        self.replies.status(id, wire::SSH_FX_EOF, "End of file", tag(language));
    }

    fn done(&mut self, id: u32, result: Result<(), Fault>) {
        match result {
            Ok(()) => {
                let language = self.language();
                self.replies.status(id, wire::SSH_FX_OK, "OK", tag(language));
            }
            Err(fault) => self.refuse(id, &fault),
        }
    }

    /// A status with `CODE text`; loud ones are also put where stock clients show them, and first.
    fn refuse(&mut self, id: u32, fault: &Fault) {
        let line = one_line(fault);
        if fault.loud {
            self.flush();
            self.channel.output.push(Chunk::Stderr(Bytes::from(format!("{line}\n"))));
        }
        let language = self.language();
        self.replies.status(id, fault.status as u32, &line, tag(language));
    }

    /// Answers now, or when the verdict is there. The work behind a verdict is never given up: its future runs as a
    /// task of its own to its end, whether or not anybody is left to hear of it.
    fn conclude(&mut self, id: u32, answer: Answer, paths: Vec<VirtualPath>) {
        let verdict = match answer {
            Answer::Now(result) => return self.done(id, result),
            Answer::Later(verdict) => verdict,
        };
        self.ticket += 1;
        let ticket = self.ticket;
        self.hold(&paths);
        self.pending.insert(ticket, Pending { id, paths });
        let channel = Arc::downgrade(&self.channel);
        let language = self.language();
        tokio::spawn(async move {
            let verdict = AssertUnwindSafe(verdict).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("a verdict panicked");
                Err(texts::INTERNAL.fault(Status::Failure, language))
            });
            if let Some(channel) = channel.upgrade() {
                channel.verdicts.push(ticket, verdict);
                channel.queue.nudge();
            }
        });
    }
}

/// Flags as they are meant: an open for nothing is one for reading, and one that would change the file is a write.
fn sensible(mut flags: OpenFlags) -> OpenFlags {
    if !flags.read && !flags.write {
        flags.write = flags.append || flags.create || flags.truncate;
        flags.read = !flags.write;
    }
    flags
}

/// A name that may stand in a listing.
fn plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 1024 && !name.contains('/') && !name.chars().any(char::is_control)
}

/// `CODE text` on one line.
pub(crate) fn one_line(fault: &Fault) -> String {
    let mut line = format!("{} {}", fault.code, fault.text);
    if line.chars().any(char::is_control) {
        line = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    line
}

/// The language tag of a status.
pub(crate) fn tag(language: Language) -> &'static str {
    match language {
        Language::Ja => "ja",
        Language::En => "en",
    }
}
