//! The virus scanner's door: a client of ClamAV's `clamd`, over TCP or a Unix socket.
//!
//! One connection a file, used as a session (`zIDSESSION`): `VERSION` and `INSTREAM` are asked at once, so that the receipt
//! names the patterns that were in use for that very scan, at the price of no further round trip.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use rustix::net::{RecvFlags, recv};

use crate::work::ports::{NoScanner, Patterns, Scan, Scanner, ScannerDown, Unscanned, size_differs};

/// Where the scanner is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScannerAddress {
    /// `none`: nothing is scanned, and every receipt says so.
    None,
    /// `tcp://HOST:PORT`
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:PATH`
    Unix(PathBuf),
}

/// Why a text names no scanner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} names no scanner: allowed are none, tcp://HOST:PORT and unix:/PATH")]
pub struct ScannerAddressError {
    got: String,
}

impl FromStr for ScannerAddress {
    type Err = ScannerAddressError;
    fn from_str(text: &str) -> Result<Self, ScannerAddressError> {
        let wrong = || ScannerAddressError { got: text.chars().take(120).collect() };
        if text == "none" {
            return Ok(Self::None);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(wrong()) };
        }
        let (host, port) = text.strip_prefix("tcp://").and_then(|t| t.rsplit_once(':')).ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.filter(|h| h.contains(':')).unwrap_or(host);
        let port: u16 = port.parse().map_err(|_| wrong())?;
        if host.is_empty()
            || port == 0
            || host.contains(['/', '@', ' ', '[', ']'])
            || (bare.is_none() && host.contains(':'))
        {
            return Err(wrong());
        }
        Ok(Self::Tcp { host: host.into(), port })
    }
}

impl fmt::Display for ScannerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How long each thing may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// To connect.
    pub connect_max: Duration,
    /// Without a byte taken or given; covers the scan itself, so more than clamd's `MaxScanTime` (2 minutes).
    pub silence_max: Duration,
    /// A whole file, from connecting to the answer.
    pub file_max: Duration,
}

impl Default for Bounds {
    /// 5 s, 150 s, 10 minutes.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect_max: seconds(5), silence_max: seconds(150), file_max: seconds(600) }
    }
}

/// Content goes out in pieces of this size.
const CHUNK_BYTES: usize = 128 * 1024;
/// Longer answers are garbage.
const REPLY_BYTES_MAX: usize = 1024;

/// A client of `clamd`. Holds no connection between calls; may be used from many threads.
#[derive(Debug, Clone)]
pub struct Clamd {
    address: ScannerAddress,
    bounds: Bounds,
}

/// The scanner at this address.
pub fn scanner(address: &ScannerAddress, bounds: Bounds) -> Box<dyn Scanner> {
    match address {
        ScannerAddress::None => Box::new(NoScanner),
        _ => Box::new(Clamd { address: address.clone(), bounds }),
    }
}

impl Scanner for Clamd {
    fn scan(&self, content: &mut dyn Read, size: u64) -> Scan {
        match self.try_scan(content, size) {
            Ok(scan) => scan,
            Err(Trouble::Content(why)) => Scan::NotScanned { why: Unscanned::Content(why) },
            Err(Trouble::Down(why)) => Scan::Down { why },
        }
    }

    fn patterns(&self) -> Result<Patterns, ScannerDown> {
        let asked = || {
            let mut session = Session::open(&self.address, self.bounds)?;
            session.write(b"zVERSION\0")?;
            session.reply()
        };
        match asked() {
            Ok(line) => parse_version(&line),
            Err(Trouble::Down(why)) => Err(why),
            Err(Trouble::Content(why)) => Err(ScannerDown::Garbled(why)),
        }
    }
}

/// Why a scan did not come to its end.
enum Trouble {
    Content(String),
    Down(ScannerDown),
}

impl From<ScannerDown> for Trouble {
    fn from(down: ScannerDown) -> Self {
        Self::Down(down)
    }
}

impl Clamd {
    fn try_scan(&self, content: &mut dyn Read, size: u64) -> Result<Scan, Trouble> {
        let mut session = Session::open(&self.address, self.bounds)?;
        session.write(b"zIDSESSION\0zVERSION\0zINSTREAM\0")?;
        let stopped = session.stream(content, size)?;
        // clamd numbers its answers by the order of the questions; they may come in any order.
        let (mut version, mut verdict) = (None, None);
        while version.is_none() || verdict.is_none() {
            let line = match session.reply() {
                Ok(line) => line,
                // It closed for its own reasons after the verdict that matters; without a version nothing is clean.
                Err(_) if verdict.as_ref().is_some_and(|v| !matches!(v, Verdict::Clean)) => break,
                Err(_) if stopped && verdict.is_none() => return Err(ScannerDown::Cut.into()),
                Err(trouble) => return Err(trouble),
            };
            match line.split_once(": ") {
                Some(("1", text)) => version = Some(parse_version(text)?),
                Some(("2", text)) => verdict = Some(parse_verdict(text, size)?),
                // Said outside a session's numbering when it gives up on the connection as a whole.
                _ => verdict = Some(parse_verdict(&line, size)?),
            }
            if stopped && verdict.is_some() {
                break;
            }
        }
        Ok(match (verdict, version) {
            (Some(Verdict::Clean), _) if stopped => return Err(garbled("OK before the end")),
            (Some(Verdict::Clean), Some(version)) => Scan::Clean { engine: version.engine },
            (Some(Verdict::Found(name)), _) => Scan::Infected { name },
            (Some(Verdict::Not(why)), _) => Scan::NotScanned { why },
            (Some(Verdict::Clean) | None, _) => return Err(ScannerDown::Cut.into()),
        })
    }
}

/// What `INSTREAM` answered.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    Found(String),
    Not(Unscanned),
}

fn garbled(what: &str) -> Trouble {
    Trouble::Down(ScannerDown::Garbled(what.into()))
}

/// Reads `stream: OK`, `stream: NAME FOUND`, `... ERROR`.
fn parse_verdict(text: &str, size: u64) -> Result<Verdict, ScannerDown> {
    let said = text.strip_prefix("stream: ").unwrap_or(text);
    if said == "OK" && text != said {
        return Ok(Verdict::Clean);
    }
    if let Some(name) = said.strip_suffix(" FOUND").filter(|name| !name.is_empty() && text != said) {
        let limit = name.starts_with("Heuristics.Limits.Exceeded");
        return Ok(if limit {
            Verdict::Not(Unscanned::Limit { limit: name.into() })
        } else {
            Verdict::Found(name.into())
        });
    }
    let Some(error) = said.strip_suffix("ERROR").map(|e| e.trim_end_matches(['.', ' '])) else {
        return Err(ScannerDown::Garbled(shortened(text)));
    };
    if error.contains("size limit exceeded") {
        return Ok(Verdict::Not(Unscanned::TooLarge { size }));
    }
    // About the scanner rather than the content: later it may be well again. Anything else would come back the same.
    let unwell = [
        "memory",
        "temporary",
        "tempfile",
        "database",
        "engine",
        "timed out",
        "command",
        "thread",
        "open file",
        "write",
    ];
    let lower = error.to_ascii_lowercase();
    if unwell.iter().any(|word| lower.contains(word)) {
        return Err(ScannerDown::Unwell(shortened(error)));
    }
    Ok(Verdict::Not(Unscanned::Refused { said: shortened(error) }))
}

/// Reads `ClamAV 1.4.6/27001/Mon Nov 23 10:00:00 2026`, and `ClamAV 1.4.6` without patterns of a known number.
fn parse_version(text: &str) -> Result<Patterns, ScannerDown> {
    let mut parts = text.splitn(3, '/');
    let name =
        parts.next().filter(|n| n.starts_with("ClamAV ")).ok_or(ScannerDown::Garbled(shortened(text)))?;
    let number: Option<u64> = parts.next().and_then(|n| n.parse().ok());
    let made = parts.next().and_then(|date| NaiveDateTime::parse_from_str(date, "%a %b %e %H:%M:%S %Y").ok());
    let engine = number.map_or_else(|| name.to_owned(), |number| format!("{name}/{number}"));
    Ok(Patterns { engine, number, made: made.filter(|_| number.is_some_and(|n| n > 0)) })
}

/// The first characters of an answer, for the log.
fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

/// The two kinds of connection.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection with its time running.
struct Session {
    socket: Socket,
    bounds: Bounds,
    end: Instant,
    got: Vec<u8>,
}

impl Session {
    fn open(address: &ScannerAddress, bounds: Bounds) -> Result<Self, Trouble> {
        let end = Instant::now() + bounds.file_max;
        let unreachable = |e: &io::Error| ScannerDown::Unreachable(e.kind().to_string());
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
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
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
    fn stream(&mut self, content: &mut dyn Read, size: u64) -> Result<bool, Trouble> {
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
    fn reply(&mut self) -> Result<String, Trouble> {
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

/// Connects without waiting for ever where a stopped listener's queue is full: SO_SNDTIMEO bounds a Unix `connect`.
fn connect_unix(path: &std::path::Path, limit: Duration) -> io::Result<UnixStream> {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(limit))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_write() {
        for text in [
            "none",
            "tcp://127.0.0.1:3310",
            "tcp://[::1]:3310",
            "tcp://scanner.example.jp:3310",
            "unix:/run/clamav/clamd.ctl",
        ] {
            assert_eq!(text.parse::<ScannerAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "None",
            "tcp://",
            "tcp://host",
            "tcp://:3310",
            "tcp://host:0",
            "tcp://::1:3310",
            "tcp://h:99999",
            "unix:",
            "unix:run",
            "unix://",
            "http://x:1",
        ] {
            let wrong = text.parse::<ScannerAddress>();
            assert!(wrong.is_err() || text == "unix://", "{text}");
        }
        assert!("clamd".parse::<ScannerAddress>().unwrap_err().to_string().contains("unix:/PATH"));
    }

    #[test]
    fn versions_are_read_with_and_without_patterns() {
        let patterns = parse_version("ClamAV 1.4.6/27001/Mon Nov 23 10:00:00 2026").unwrap();
        assert_eq!((patterns.engine.as_str(), patterns.number), ("ClamAV 1.4.6/27001", Some(27001)));
        assert_eq!(patterns.made.unwrap().to_string(), "2026-11-23 10:00:00");
        assert_eq!(
            parse_version("ClamAV 1.4.6/27001/Sun Nov  1 00:00:00 2026").unwrap().made.unwrap().to_string(),
            "2026-11-01 00:00:00"
        );
        let without = parse_version("ClamAV 1.4.6").unwrap();
        assert_eq!((without.engine.as_str(), without.number, without.made), ("ClamAV 1.4.6", None, None));
        assert_eq!(parse_version("ClamAV 1.4.6/0/Thu Jan  1 00:00:00 1970").unwrap().made, None);
        assert_eq!(parse_version("ClamAV 1.4.6/27001/soon").unwrap().made, None);
        assert!(parse_version("220 mail.example.jp ESMTP").is_err());
    }

    #[test]
    fn verdicts_are_read_and_only_ok_is_clean() {
        let verdict = |text| parse_verdict(text, 9);
        assert_eq!(verdict("stream: OK"), Ok(Verdict::Clean));
        assert_eq!(verdict("stream: Eicar-Test FOUND"), Ok(Verdict::Found("Eicar-Test".into())));
        assert_eq!(
            verdict("stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND"),
            Ok(Verdict::Not(Unscanned::Limit { limit: "Heuristics.Limits.Exceeded.MaxFileSize".into() }))
        );
        assert_eq!(
            verdict("INSTREAM size limit exceeded. ERROR"),
            Ok(Verdict::Not(Unscanned::TooLarge { size: 9 }))
        );
        assert_eq!(
            verdict("stream: Bad format ERROR"),
            Ok(Verdict::Not(Unscanned::Refused { said: "Bad format".into() }))
        );
        for unwell in
            ["stream: Can't allocate memory ERROR", "Command read timed out ERROR", "UNKNOWN COMMAND ERROR"]
        {
            assert!(matches!(verdict(unwell), Err(ScannerDown::Unwell(_))), "{unwell}");
        }
        for garbage in
            ["OK", "stream: ok", "stream:  FOUND", "", "FOUND", "stream: OK but", "HTTP/1.1 400 Bad Request"]
        {
            assert!(matches!(verdict(garbage), Err(ScannerDown::Garbled(_))), "{garbage}");
        }
    }
}
