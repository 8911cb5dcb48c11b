//! The control door: a Unix socket in the data root, for the command line. Carries lines and bytes; who asks is told by the
//! kernel (`SO_PEERCRED`), what is asked is somebody else's to understand.
//!
//! A call is a JSON line [`Hello`], a JSON line with the request, and `payload_bytes` bytes; the answer is one JSON line.

use std::fs::Permissions;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

/// Bytes of the first line.
const HELLO_BYTES_MAX: u64 = 4 << 10;
/// Bytes of a request: an import of 20,000 rows fits.
const REQUEST_BYTES_MAX: u64 = 32 << 20;
/// Bytes of an answer; listings come in pages, the report of an import does not.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// A command line waits so long for an answer: a large document is scanned meanwhile.
const ANSWER_WAIT: Duration = Duration::from_mins(15);
/// Connections that the kernel holds for us.
const BACKLOG: i32 = 64;
/// How long a stop waits for calls under way.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// The first line of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The command line's version.
    pub version: String,
    /// Bytes that follow the request.
    pub payload_bytes: u64,
}

/// A Unix group by name or number.
pub fn group_id(text: &str) -> Result<u32, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group").map_err(|error| format!("/etc/group: {error}"))?;
    groups
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(text)).then(|| fields.nth(1)?.parse().ok())?
        })
        .ok_or_else(|| format!("there is no Unix group {text:?} in /etc/group; make it, or give its number"))
}

/// What stands behind the door.
pub trait Service: Send + Sync {
    /// The answer to one call, as one line of JSON without its end. `uid` is the caller's Unix user.
    fn answer(&self, hello: &Hello, request: &[u8], payload: &mut dyn Read, uid: u32) -> Vec<u8>;
    /// The answer when too many are served already.
    fn busy(&self) -> Vec<u8>;
}

/// Bounds of the door.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Group that may connect beside the owner and root.
    pub group: Option<u32>,
    /// Calls under way at the same time.
    pub clients_max: usize,
    /// A caller may be silent for so long.
    pub timeout: Duration,
    /// Bytes of a payload.
    pub payload_bytes_max: u64,
}

struct Shared {
    service: Arc<dyn Service>,
    bounds: Bounds,
    stopping: AtomicBool,
    calls: Mutex<usize>,
    ended: Condvar,
}

/// The open door. Closes when dropped.
pub struct ControlDoor {
    path: PathBuf,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl ControlDoor {
    /// Opens the door at `path`. The caller holds the data root's lock: a socket that lies there is a dead daemon's.
    pub fn open(path: &Path, service: Arc<dyn Service>, bounds: Bounds) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = listen(path)?;
        if let Some(group) = bounds.group {
            std::os::unix::fs::chown(path, None, Some(group))?;
            std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
        }
        let shared = Arc::new(Shared {
            service,
            bounds,
            stopping: AtomicBool::new(false),
            calls: Mutex::new(0),
            ended: Condvar::new(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("control".to_owned())
                .spawn(move || accept(&listener, &shared))?
        };
        Ok(Self { path: path.to_owned(), shared, accepting: Some(accepting) })
    }

    /// Lets nobody in any more, waits for calls under way (10 s at most), and takes the socket away.
    pub fn close(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // A connection of our own wakes the accepting thread.
        let woken = connect(&self.path).is_ok();
        let _ = std::fs::remove_file(&self.path);
        if woken && accepting.join().is_err() {
            tracing::error!("the control door ended by a panic");
        }
        let calls = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.ended.wait_timeout_while(calls, STOP_WAIT, |calls| *calls > 0);
        if waited.is_ok_and(|(calls, _)| *calls > 0) {
            tracing::warn!("commands were still under way when the control door closed");
        }
    }
}

impl Drop for ControlDoor {
    fn drop(&mut self) {
        self.close();
    }
}

/// The socket, never for a moment open to others than its owner.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // On Linux the file that bind makes takes the socket's own mode.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let (address, _folder) = address(path)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// A socket's address holds 107 bytes; a deeper path goes through its folder's descriptor, which must stay open meanwhile.
fn address(path: &Path) -> io::Result<(SocketAddrUnix, Option<OwnedFd>)> {
    if let Ok(address) = SocketAddrUnix::new(path) {
        return Ok((address, None));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no socket path"));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let short =
        PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder))).join(name);
    Ok((SocketAddrUnix::new(&short)?, Some(folder)))
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control door could not let somebody in");
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        let mut calls = shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if *calls >= shared.bounds.clients_max {
            drop(calls);
            let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
            let _ = send_line(&stream, &shared.service.busy());
            continue;
        }
        *calls += 1;
        drop(calls);
        let call = Call(Arc::clone(shared));
        let spawned = std::thread::Builder::new().name("control-call".to_owned()).spawn(move || {
            if let Err(error) = serve(&stream, &call.0) {
                tracing::debug!(%error, "a control connection ended early");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a control connection");
        }
    }
}

/// Counts a call while it lives, panics included.
struct Call(Arc<Shared>);

impl Drop for Call {
    fn drop(&mut self) {
        *self.0.calls.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_all();
    }
}

fn serve(stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(shared.bounds.timeout))?;
    stream.set_write_timeout(Some(shared.bounds.timeout))?;
    let uid = rustix::net::sockopt::socket_peercred(stream)?.uid.as_raw();
    let mut from = BufReader::new(stream);
    let hello: Hello = serde_json::from_slice(&read_line(&mut from, HELLO_BYTES_MAX)?)?;
    if hello.payload_bytes > shared.bounds.payload_bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the payload is over `control.payload_bytes_max`",
        ));
    }
    let request = read_line(&mut from, REQUEST_BYTES_MAX)?;
    let mut payload = from.take(hello.payload_bytes);
    let answer = shared.service.answer(&hello, &request, &mut payload, uid);
    send_line(stream, &answer)
}

fn send_line(mut stream: &UnixStream, line: &[u8]) -> io::Result<()> {
    stream.write_all(line)?;
    stream.write_all(b"\n")?;
    stream.flush()
}

/// One line without its end; at most `max` bytes.
fn read_line(from: &mut impl io::BufRead, max: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(max + 1).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        Some(_) if line.len() as u64 >= max => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line of more than {max} bytes")))
        }
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let (address, _folder) = address(path)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(UnixStream::from(socket))
}

/// A daemon that listens, seen from the command line.
#[derive(Debug, Clone)]
pub struct ControlClient {
    path: PathBuf,
}

impl ControlClient {
    /// Of the daemon at this socket; none when nobody listens there.
    pub fn find(path: &Path) -> io::Result<Option<Self>> {
        match connect(path) {
            Ok(_) => Ok(Some(Self { path: path.to_owned() })),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// One call; `payload` holds exactly `payload_bytes` bytes. Gives the answer's line.
    pub fn call(&self, request: &[u8], payload: &mut dyn Read, payload_bytes: u64) -> io::Result<Vec<u8>> {
        let stream = connect(&self.path)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        let hello = Hello { version: env!("CARGO_PKG_VERSION").to_owned(), payload_bytes };
        let sent = send_line(&stream, &serde_json::to_vec(&hello)?)
            .and_then(|()| send_line(&stream, request))
            .and_then(|()| io::copy(&mut payload.take(payload_bytes), &mut &stream));
        // A daemon that refuses answers before it has read everything: its words are worth more than the broken pipe.
        let answer = read_line(&mut BufReader::new(&stream), ANSWER_BYTES_MAX);
        match (sent, answer) {
            (_, Ok(answer)) => Ok(answer),
            (Err(error), Err(_)) | (Ok(_), Err(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Echo(Mutex<mpsc::Receiver<()>>);

    impl Service for Echo {
        fn answer(&self, _: &Hello, request: &[u8], payload: &mut dyn Read, uid: u32) -> Vec<u8> {
            if request == b"wait" {
                self.0.lock().unwrap().recv().unwrap();
            }
            let mut bytes = Vec::new();
            payload.read_to_end(&mut bytes).unwrap();
            format!("{} {} {uid}", String::from_utf8_lossy(request), bytes.len()).into_bytes()
        }
        fn busy(&self) -> Vec<u8> {
            b"busy".to_vec()
        }
    }

    fn door(path: &Path, clients_max: usize) -> (ControlDoor, mpsc::Sender<()>) {
        let (go, wait) = mpsc::channel();
        let bounds =
            Bounds { group: None, clients_max, timeout: Duration::from_secs(20), payload_bytes_max: 1 << 20 };
        (ControlDoor::open(path, Arc::new(Echo(Mutex::new(wait))), bounds).unwrap(), go)
    }

    #[test]
    fn a_call_brings_its_payload_and_its_user() {
        let dir = tempfile::tempdir().unwrap();
        // Deeper than a socket's address is long.
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        for folder in [dir.path(), &deep] {
            let path = folder.join("control.sock");
            let (mut open, _) = door(&path, 4);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let client = ControlClient::find(&path).unwrap().unwrap();
            let answer = client.call(b"hello", &mut io::repeat(7), 70_000).unwrap();
            let uid = rustix::process::geteuid().as_raw();
            assert_eq!(String::from_utf8(answer).unwrap(), format!("hello 70000 {uid}"));
            assert!(client.call(b"hello", &mut io::repeat(1), 2 << 20).is_err(), "over the bound");
            open.close();
            assert!(ControlClient::find(&path).unwrap().is_none());
        }
    }

    #[test]
    fn too_many_are_told_so_and_the_others_are_served() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let (_open, go) = door(&path, 2);
        let client = ControlClient { path: path.clone() };
        let slow: Vec<_> = (0..2)
            .map(|_| {
                let client = client.clone();
                std::thread::spawn(move || {
                    loop {
                        let answer = client.call(b"wait", &mut io::empty(), 0).unwrap();
                        if answer != b"busy" {
                            return answer;
                        }
                    }
                })
            })
            .collect();
        // Both are under way once a further one is turned away.
        while client.call(b"third", &mut io::empty(), 0).map_or(true, |answer| answer != b"busy") {
            std::thread::yield_now();
        }
        go.send(()).unwrap();
        go.send(()).unwrap();
        for call in slow {
            assert!(call.join().unwrap().starts_with(b"wait 0"));
        }
    }

    #[test]
    fn lines_without_end_and_garbage_end_the_connection_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let (_open, _go) = door(&path, 4);
        for bad in [&b"\n\n"[..], b"{}\n{}\n", b"\xff\xff\n", &[b'x'; 8192]] {
            let mut stream = connect(&path).unwrap();
            let _ = stream.write_all(bad);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty());
        }
        let client = ControlClient { path };
        assert!(client.call(b"still", &mut io::empty(), 0).unwrap().starts_with(b"still 0"));
    }
}
