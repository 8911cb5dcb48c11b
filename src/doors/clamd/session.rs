//! One connection to clamd, with its time running.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};

use super::{Bounds, ScannerAddress};
use crate::work::ports::{ScannerDown, size_differs};

/// Content goes out in pieces of this size.
const CHUNK_BYTES: usize = 128 * 1024;
/// Longer answers are garbage.
const REPLY_BYTES_MAX: usize = 1024;

/// Why a scan did not come to its end.
pub(super) enum Trouble {
    Content(String),
    Down(ScannerDown),
}

impl From<ScannerDown> for Trouble {
    fn from(down: ScannerDown) -> Self {
        Self::Down(down)
    }
}

pub(super) fn garbled(what: &str) -> Trouble {
    Trouble::Down(ScannerDown::Garbled(what.into()))
}

/// The two kinds of connection.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection with its time running.
pub(super) struct Session {
    socket: Socket,
    bounds: Bounds,
    end: Instant,
    got: Vec<u8>,
}

impl Session {
    pub(super) fn open(address: &ScannerAddress, bounds: Bounds) -> Result<Self, Trouble> {
        let end = Instant::now() + bounds.file_max;
        let unreachable = |e: &io::Error| match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ScannerDown::Hung { seconds: bounds.connect_max.as_secs() }
            }
            kind => ScannerDown::Unreachable(kind.to_string()),
        };
        let socket = match address {
            ScannerAddress::None => return Err(ScannerDown::Unreachable("none".into()).into()),
            ScannerAddress::Tcp { host, port } => {
                let connected = connect_tcp(host, *port, bounds.connect_max).map_err(|e| unreachable(&e))?;
                Socket::Tcp(connected)
            }
            ScannerAddress::Unix(path) => {
                Socket::Unix(connect_unix(path, bounds.connect_max).map_err(|e| unreachable(&e))?)
            }
        };
        Ok(Self { socket, bounds, end, got: Vec::new() })
    }

    /// Sets the socket's time-outs to what is left, and says which bound that is.
    fn arm(&self) -> Result<Duration, Trouble> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ScannerDown::Hung { seconds: self.bounds.file_max.as_secs() }.into());
        }
        let limit = left.min(self.bounds.silence_max);
        let set = match &self.socket {
            Socket::Tcp(s) => s.set_read_timeout(Some(limit)).and_then(|()| s.set_write_timeout(Some(limit))),
            Socket::Unix(s) => {
                s.set_read_timeout(Some(limit)).and_then(|()| s.set_write_timeout(Some(limit)))
            }
        };
        set.map_err(|e| ScannerDown::Unreachable(e.kind().to_string()))?;
        let bound =
            if left < self.bounds.silence_max { self.bounds.file_max } else { self.bounds.silence_max };
        Ok(bound)
    }

    /// Writes all of it; the time is checked between the parts the peer takes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            let bound = self.arm()?;
            let wrote = match &mut self.socket {
                Socket::Tcp(s) => s.write(bytes),
                Socket::Unix(s) => s.write(bytes),
            };
            match wrote {
                Ok(0) => return Err(ScannerDown::Cut.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(e) => settle(&e, bound)?,
            }
        }
        Ok(())
    }

    /// Sends the content in pieces. True when the scanner answered (or hung up) before the end: then the answer says why.
    pub(super) fn stream(&mut self, content: &mut dyn Read, size: u64) -> Result<bool, Trouble> {
        let mut piece = vec![0; 4 + CHUNK_BYTES];
        let mut sent: u64 = 0;
        loop {
            let want = usize::try_from(size - sent).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let got = read_up_to(content, &mut piece[4..4 + want.max(1)])
                .map_err(|e| Trouble::Content(e.kind().to_string()))?;
            if got != want {
                return Err(Trouble::Content(size_differs(size)));
            }
            let length = u32::try_from(got).unwrap_or(0);
            piece[..4].copy_from_slice(&length.to_be_bytes());
            match self.write(&piece[..4 + got]) {
                Ok(()) => {}
                // It has usually said why before it hung up.
                Err(Trouble::Down(ScannerDown::Cut)) => return Ok(true),
                Err(trouble) => return Err(trouble),
            }
            if got == 0 {
                return Ok(false);
            }
            sent += got as u64;
            if self.verdict_is_in() {
                return Ok(true);
            }
        }
    }

    /// Whether a verdict has come already: an answer other than the version's.
    fn verdict_is_in(&mut self) -> bool {
        let mut buffer = [0; REPLY_BYTES_MAX];
        let room = REPLY_BYTES_MAX.saturating_sub(self.got.len());
        let taken = match &self.socket {
            Socket::Tcp(s) => recv(s.as_fd(), &mut buffer[..room], RecvFlags::DONTWAIT),
            Socket::Unix(s) => recv(s.as_fd(), &mut buffer[..room], RecvFlags::DONTWAIT),
        };
        match taken {
            Ok((0, _)) => return true,
            Ok((count, _)) => self.got.extend_from_slice(&buffer[..count]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
        self.got.split_inclusive(|b| *b == 0).any(|line| line.ends_with(b"\0") && !line.starts_with(b"1: "))
    }

    /// One answer, up to its NUL; printable ASCII only.
    pub(super) fn reply(&mut self) -> Result<String, Trouble> {
        loop {
            if let Some(at) = self.got.iter().position(|b| *b == 0) {
                let line: Vec<u8> = self.got.drain(..=at).take(at).collect();
                let printable = line.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
                let text = String::from_utf8(line).ok().filter(|_| printable);
                return text.ok_or_else(|| garbled("not printable"));
            }
            if self.got.len() >= REPLY_BYTES_MAX {
                return Err(garbled("too long"));
            }
            let bound = self.arm()?;
            let mut buffer = [0; REPLY_BYTES_MAX];
            let room = REPLY_BYTES_MAX - self.got.len();
            let read = match &mut self.socket {
                Socket::Tcp(s) => s.read(&mut buffer[..room]),
                Socket::Unix(s) => s.read(&mut buffer[..room]),
            };
            match read {
                Ok(0) => return Err(ScannerDown::Cut.into()),
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(e) => settle(&e, bound)?,
            }
        }
    }
}

/// An interruption goes on; anything else says what became of the scanner.
fn settle(error: &io::Error, bound: Duration) -> Result<(), Trouble> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Err(ScannerDown::Hung { seconds: bound.as_secs() }.into())
        }
        _ => Err(ScannerDown::Cut.into()),
    }
}

/// Fills the buffer unless the content ends.
fn read_up_to(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Tries each address of the host, all within the limit.
fn connect_tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + limit;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()?.take(8).collect::<Vec<SocketAddr>>() {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Connects without waiting for ever where a stopped listener's queue is full: `SO_SNDTIMEO` bounds a Unix `connect`.
fn connect_unix(path: &std::path::Path, limit: Duration) -> io::Result<UnixStream> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(limit))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}
