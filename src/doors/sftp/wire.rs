//! SFTP version 3 on the wire (draft-ietf-secsh-filexfer-02): packets to requests and replies to packets. Pure.
//!
//! A packet is parsed in place, and every length in it is checked against what is there. Where a packet ends is said by
//! its own length field alone, before and apart from what is in it; bytes left over behind a request are ignored, never
//! read as another one. (They exist: the Go library that rclone uses sends the rest of its buffer behind a last short
//! `SSH_FXP_WRITE`.)

use super::port::{Attributes, OpenFlags, SetAttributes, Space};

/// The version spoken.
pub const VERSION: u32 = 3;

const SSH_FXP_INIT: u8 = 1;
const SSH_FXP_VERSION: u8 = 2;
const SSH_FXP_OPEN: u8 = 3;
const SSH_FXP_CLOSE: u8 = 4;
const SSH_FXP_READ: u8 = 5;
const SSH_FXP_WRITE: u8 = 6;
const SSH_FXP_LSTAT: u8 = 7;
const SSH_FXP_FSTAT: u8 = 8;
const SSH_FXP_SETSTAT: u8 = 9;
const SSH_FXP_FSETSTAT: u8 = 10;
const SSH_FXP_OPENDIR: u8 = 11;
const SSH_FXP_READDIR: u8 = 12;
const SSH_FXP_REMOVE: u8 = 13;
const SSH_FXP_MKDIR: u8 = 14;
const SSH_FXP_RMDIR: u8 = 15;
const SSH_FXP_REALPATH: u8 = 16;
const SSH_FXP_STAT: u8 = 17;
const SSH_FXP_RENAME: u8 = 18;
const SSH_FXP_STATUS: u8 = 101;
const SSH_FXP_HANDLE: u8 = 102;
const SSH_FXP_DATA: u8 = 103;
const SSH_FXP_NAME: u8 = 104;
const SSH_FXP_ATTRS: u8 = 105;
const SSH_FXP_EXTENDED: u8 = 200;
const SSH_FXP_EXTENDED_REPLY: u8 = 201;

const SSH_FILEXFER_ATTR_SIZE: u32 = 1;
const SSH_FILEXFER_ATTR_UIDGID: u32 = 2;
const SSH_FILEXFER_ATTR_PERMISSIONS: u32 = 4;
const SSH_FILEXFER_ATTR_ACMODTIME: u32 = 8;
const SSH_FILEXFER_ATTR_EXTENDED: u32 = 0x8000_0000;

const SSH_FXF_READ: u32 = 1;
const SSH_FXF_WRITE: u32 = 2;
const SSH_FXF_APPEND: u32 = 4;
const SSH_FXF_CREAT: u32 = 8;
const SSH_FXF_TRUNC: u32 = 16;
const SSH_FXF_EXCL: u32 = 32;

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

/// `SSH_FX_OK`
pub const SSH_FX_OK: u32 = 0;
/// `SSH_FX_EOF`
pub const SSH_FX_EOF: u32 = 1;

/// The extensions announced in `SSH_FXP_VERSION`, with their versions.
const EXTENSIONS: &[(&str, &str)] = &[
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
];

/// A packet that is not what its type says: too short for what is in it, or with undefined flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed SFTP packet of type {0}")]
pub struct Malformed(pub u8);

/// A request and its id; borrowed from the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Echoed in the reply. 0 for `SSH_FXP_INIT`, which has none.
    pub id: u32,
    /// What is asked.
    pub request: Request<'a>,
}

/// What a client asks. Paths and handles are bytes as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names and fields are the protocol's")]
pub enum Request<'a> {
    Init {
        version: u32,
    },
    Open {
        path: &'a [u8],
        flags: OpenFlags,
        attributes: SetAttributes,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    /// `SSH_FXP_STAT` and `SSH_FXP_LSTAT`: there are no links to follow.
    Stat {
        path: &'a [u8],
    },
    Fstat {
        handle: &'a [u8],
    },
    /// `SSH_FXP_SETSTAT` and `lsetstat@openssh.com`.
    SetStat {
        path: &'a [u8],
        attributes: SetAttributes,
    },
    FsetStat {
        handle: &'a [u8],
        attributes: SetAttributes,
    },
    OpenDir {
        path: &'a [u8],
    },
    ReadDir {
        handle: &'a [u8],
    },
    Remove {
        path: &'a [u8],
    },
    MkDir {
        path: &'a [u8],
    },
    RmDir {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    /// `SSH_FXP_RENAME`, and with `replace` `posix-rename@openssh.com`.
    Rename {
        from: &'a [u8],
        to: &'a [u8],
        replace: bool,
    },
    /// `fsync@openssh.com`
    Fsync {
        handle: &'a [u8],
    },
    /// `statvfs@openssh.com`
    StatVfs {
        path: &'a [u8],
    },
    /// `limits@openssh.com`
    Limits,
    /// Links, and whatever else the draft or others define.
    Unsupported,
}

/// Parses the content of one packet: everything after its length field.
pub fn parse(packet: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (&kind, rest) = packet.split_first().ok_or(Malformed(0))?;
    let mut body = Body { rest };
    read_packet(kind, &mut body).ok_or(Malformed(kind))
}

fn read_packet<'a>(kind: u8, body: &mut Body<'a>) -> Option<Packet<'a>> {
    if kind == SSH_FXP_INIT {
        let version = body.u32()?;
        // Extension pairs of the client follow; none is defined for this direction.
        while !body.rest.is_empty() {
            body.string()?;
        }
        return Some(Packet { id: 0, request: Request::Init { version } });
    }
    let id = body.u32()?;
    let request = match kind {
        SSH_FXP_OPEN => {
            Request::Open { path: body.string()?, flags: body.open_flags()?, attributes: body.attributes()? }
        }
        SSH_FXP_CLOSE => Request::Close { handle: body.string()? },
        SSH_FXP_READ => Request::Read { handle: body.string()?, offset: body.u64()?, length: body.u32()? },
        SSH_FXP_WRITE => Request::Write { handle: body.string()?, offset: body.u64()?, data: body.string()? },
        SSH_FXP_STAT | SSH_FXP_LSTAT => Request::Stat { path: body.string()? },
        SSH_FXP_FSTAT => Request::Fstat { handle: body.string()? },
        SSH_FXP_SETSTAT => Request::SetStat { path: body.string()?, attributes: body.attributes()? },
        SSH_FXP_FSETSTAT => Request::FsetStat { handle: body.string()?, attributes: body.attributes()? },
        SSH_FXP_OPENDIR => Request::OpenDir { path: body.string()? },
        SSH_FXP_READDIR => Request::ReadDir { handle: body.string()? },
        SSH_FXP_REMOVE => Request::Remove { path: body.string()? },
        SSH_FXP_MKDIR => {
            let path = body.string()?;
            body.attributes()?;
            Request::MkDir { path }
        }
        SSH_FXP_RMDIR => Request::RmDir { path: body.string()? },
        SSH_FXP_REALPATH => Request::RealPath { path: body.string()? },
        SSH_FXP_RENAME => Request::Rename { from: body.string()?, to: body.string()?, replace: false },
        SSH_FXP_EXTENDED => body.extended()?,
        _ => Request::Unsupported,
    };
    Some(Packet { id, request })
}

/// What is left of a packet.
struct Body<'a> {
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*taken))
    }

    fn u64(&mut self) -> Option<u64> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*taken))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn open_flags(&mut self) -> Option<OpenFlags> {
        let bits = self.u32()?;
        Some(OpenFlags {
            read: bits & SSH_FXF_READ != 0,
            write: bits & SSH_FXF_WRITE != 0,
            append: bits & SSH_FXF_APPEND != 0,
            create: bits & SSH_FXF_CREAT != 0,
            truncate: bits & SSH_FXF_TRUNC != 0,
            exclusive: bits & SSH_FXF_EXCL != 0,
        })
    }

    fn attributes(&mut self) -> Option<SetAttributes> {
        const KNOWN: u32 = SSH_FILEXFER_ATTR_SIZE
            | SSH_FILEXFER_ATTR_UIDGID
            | SSH_FILEXFER_ATTR_PERMISSIONS
            | SSH_FILEXFER_ATTR_ACMODTIME
            | SSH_FILEXFER_ATTR_EXTENDED;
        let flags = self.u32()?;
        if flags & !KNOWN != 0 {
            return None;
        }
        let mut attributes = SetAttributes::default();
        if flags & SSH_FILEXFER_ATTR_SIZE != 0 {
            attributes.size = Some(self.u64()?);
        }
        if flags & SSH_FILEXFER_ATTR_UIDGID != 0 {
            self.u64()?;
        }
        if flags & SSH_FILEXFER_ATTR_PERMISSIONS != 0 {
            attributes.mode = Some(self.u32()? & 0o7777);
        }
        if flags & SSH_FILEXFER_ATTR_ACMODTIME != 0 {
            self.u32()?;
            attributes.modified = Some(u64::from(self.u32()?));
        }
        if flags & SSH_FILEXFER_ATTR_EXTENDED != 0 {
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Some(attributes)
    }

    fn extended(&mut self) -> Option<Request<'a>> {
        Some(match self.string()? {
            b"posix-rename@openssh.com" => {
                Request::Rename { from: self.string()?, to: self.string()?, replace: true }
            }
            b"statvfs@openssh.com" => Request::StatVfs { path: self.string()? },
            b"fsync@openssh.com" => Request::Fsync { handle: self.string()? },
            b"lsetstat@openssh.com" => {
                Request::SetStat { path: self.string()?, attributes: self.attributes()? }
            }
            b"limits@openssh.com" => Request::Limits,
            _ => Request::Unsupported,
        })
    }
}

/// Replies, one after the other in one buffer.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
}

/// Where a reply under way began.
#[derive(Debug)]
#[must_use]
pub struct Begun {
    at: usize,
    count_at: usize,
    count: u32,
}

impl Begun {
    /// Entries so far.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl Replies {
    /// Collects in a buffer that is there already; it is emptied.
    pub fn in_buffer(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes }
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing waiting.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes so far, leaving an empty buffer.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// `SSH_FXP_VERSION` with the extensions.
    pub fn version(&mut self) {
        let at = self.begin(SSH_FXP_VERSION);
        self.u32(VERSION);
        for (name, version) in EXTENSIONS {
            self.string(name.as_bytes());
            self.string(version.as_bytes());
        }
        self.end(at);
    }

    /// `SSH_FXP_STATUS`; `text` is cut to 1 KiB.
    pub fn status(&mut self, id: u32, code: u32, text: &str, language: &str) {
        let at = self.begin_for(SSH_FXP_STATUS, id);
        self.u32(code);
        self.string(&text.as_bytes()[..text.floor_char_boundary(1024)]);
        self.string(language.as_bytes());
        self.end(at);
    }

    /// `SSH_FXP_HANDLE`
    pub fn handle(&mut self, id: u32, handle: &[u8]) {
        let at = self.begin_for(SSH_FXP_HANDLE, id);
        self.string(handle);
        self.end(at);
    }

    /// `SSH_FXP_ATTRS`
    pub fn attributes(&mut self, id: u32, attributes: &Attributes) {
        let at = self.begin_for(SSH_FXP_ATTRS, id);
        self.attrs(attributes);
        self.end(at);
    }

    /// `SSH_FXP_DATA` with what `fill` appends; at most
    /// `length` bytes. Nothing appended, or an error, leaves no reply behind.
    pub fn data<E>(
        &mut self,
        id: u32,
        length: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<usize, E> {
        const HEADER: usize = 4 + 1 + 4 + 4;
        self.bytes.reserve(HEADER + length);
        let at = self.begin_for(SSH_FXP_DATA, id);
        self.u32(0);
        let from = self.bytes.len();
        let filled = fill(&mut self.bytes);
        self.bytes.truncate(from + length);
        let got = self.bytes.len().saturating_sub(from);
        if filled.is_err() || got == 0 {
            self.bytes.truncate(at);
            return filled.map(|()| 0);
        }
        self.patch(from - 4, got);
        self.end(at);
        Ok(got)
    }

    /// Begins `SSH_FXP_NAME`; entries follow, then [`Replies::finish_names`].
    pub fn begin_names(&mut self, id: u32) -> Begun {
        let at = self.begin_for(SSH_FXP_NAME, id);
        let count_at = self.bytes.len();
        self.u32(0);
        Begun { at, count_at, count: 0 }
    }

    /// One entry: its name, the line that `ls -l` would print, and its attributes.
    pub fn name(
        &mut self,
        begun: &mut Begun,
        name: &str,
        attributes: &Attributes,
        line: impl FnOnce(&mut Vec<u8>),
    ) {
        self.string(name.as_bytes());
        let length_at = self.bytes.len();
        self.u32(0);
        line(&mut self.bytes);
        self.patch(length_at, self.bytes.len() - length_at - 4);
        self.attrs(attributes);
        begun.count += 1;
    }

    /// Bytes that a reply under way has so far.
    pub fn names_len(&self, begun: &Begun) -> usize {
        self.bytes.len() - begun.at
    }

    /// Ends a reply of names.
    pub fn finish_names(&mut self, begun: &Begun) {
        self.bytes[begun.count_at..begun.count_at + 4].copy_from_slice(&begun.count.to_be_bytes());
        self.end(begun.at);
    }

    /// Takes a reply of names back.
    pub fn abandon_names(&mut self, begun: &Begun) {
        self.bytes.truncate(begun.at);
    }

    /// `SSH_FXP_NAME` with one path and no attributes, as `SSH_FXP_REALPATH` is answered.
    pub fn real_path(&mut self, id: u32, path: &str) {
        let at = self.begin_for(SSH_FXP_NAME, id);
        self.u32(1);
        self.string(path.as_bytes());
        self.string(path.as_bytes());
        self.u32(0);
        self.end(at);
    }

    /// The answer to `limits@openssh.com`: packet, read and write in bytes, and open handles.
    pub fn limits(&mut self, id: u32, packet: u64, content: u64, handles: u64) {
        let at = self.begin_for(SSH_FXP_EXTENDED_REPLY, id);
        for value in [packet, content, content, handles] {
            self.u64(value);
        }
        self.end(at);
    }

    /// The answer to `statvfs@openssh.com`.
    pub fn space(&mut self, id: u32, space: &Space, name_bytes_max: u64) {
        const BLOCK: u64 = 4096;
        const ST_NOSUID: u64 = 2;
        let at = self.begin_for(SSH_FXP_EXTENDED_REPLY, id);
        let free = space.bytes_free / BLOCK;
        for value in [
            BLOCK,
            BLOCK,
            space.bytes_total / BLOCK,
            free,
            free,
            space.files_total,
            space.files_free,
            space.files_free,
            0,
            ST_NOSUID,
            name_bytes_max,
        ] {
            self.u64(value);
        }
        self.end(at);
    }

    fn begin(&mut self, kind: u8) -> usize {
        let at = self.bytes.len();
        self.u32(0);
        self.bytes.push(kind);
        at
    }

    fn begin_for(&mut self, kind: u8, id: u32) -> usize {
        let at = self.begin(kind);
        self.u32(id);
        at
    }

    fn end(&mut self, at: usize) {
        self.patch(at, self.bytes.len() - at - 4);
    }

    fn patch(&mut self, at: usize, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(bytes);
    }

    fn attrs(&mut self, attributes: &Attributes) {
        self.u32(SSH_FILEXFER_ATTR_SIZE | SSH_FILEXFER_ATTR_PERMISSIONS | SSH_FILEXFER_ATTR_ACMODTIME);
        self.u64(attributes.size);
        let kind = if attributes.folder { S_IFDIR } else { S_IFREG };
        self.u32(kind | (attributes.mode & 0o7777));
        let modified = u32::try_from(attributes.modified).unwrap_or(u32::MAX);
        self.u32(modified);
        self.u32(modified);
    }
}

#[cfg(test)]
mod tests;
