//! A scanner that speaks clamd's protocol and does what a test wants: answers, makes wait, is away.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "part of tests; each test file uses its own part"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Content that holds this is infected.
pub const VIRUS: &[u8] = b"TODOKE-STANDARD-TEST-VIRUS";

/// How the scanner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Answers at once.
    Well,
    /// Answers scans when its mood changes.
    Slow,
    /// Hangs up.
    Away,
}

struct Inside {
    mood: Mutex<(Mood, usize)>,
    changed: Condvar,
}

/// Listens on the loopback.
pub struct FakeScanner {
    pub address: SocketAddr,
    inside: Arc<Inside>,
}

impl FakeScanner {
    pub fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Inside { mood: Mutex::new((mood, 0)), changed: Condvar::new() });
        let shared = Arc::clone(&inside);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inside = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that hangs up is none of its business.
                    let _ = serve(stream, &inside);
                });
            }
        });
        Self { address, inside }
    }

    /// As `scanner.address` has it in TOML.
    pub fn setting(&self) -> String {
        format!("\"tcp://{}\"", self.address)
    }

    pub fn set(&self, mood: Mood) {
        self.inside.mood.lock().unwrap().0 = mood;
        self.inside.changed.notify_all();
    }

    /// Files it was given so far, answered or not.
    pub fn asked(&self) -> usize {
        self.inside.mood.lock().unwrap().1
    }
}

fn word(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut word, mut byte) = (Vec::new(), [0]);
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == 0 {
            return Ok(word);
        }
        word.push(byte[0]);
    }
}

fn serve(mut stream: TcpStream, inside: &Inside) -> std::io::Result<()> {
    if inside.mood.lock().unwrap().0 == Mood::Away {
        return Ok(());
    }
    let date =
        chrono::DateTime::<chrono::Utc>::from(std::time::UNIX_EPOCH + now()).format("%a %b %e %H:%M:%S %Y");
    let version = format!("ClamAV 1.4.6/27001/{date}");
    let first = word(&mut stream)?;
    if first == b"zVERSION" {
        return stream.write_all(format!("{version}\0").as_bytes());
    }
    assert_eq!(first, b"zIDSESSION");
    assert_eq!(word(&mut stream)?, b"zVERSION");
    assert_eq!(word(&mut stream)?, b"zINSTREAM");
    let mut content = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 {
            break;
        }
        let at = content.len();
        content.resize(at + length, 0);
        stream.read_exact(&mut content[at..])?;
    }
    let mut mood = inside.mood.lock().unwrap();
    mood.1 += 1;
    while mood.0 == Mood::Slow {
        mood = inside.changed.wait(mood).unwrap();
    }
    if mood.0 == Mood::Away {
        return Ok(());
    }
    drop(mood);
    let infected = content.windows(VIRUS.len()).any(|part| part == VIRUS);
    let verdict = if infected { "Todoke.Test FOUND" } else { "OK" };
    stream.write_all(format!("1: {version}\x002: stream: {verdict}\0").as_bytes())?;
    stream.flush()
}

fn now() -> Duration {
    use todoke::model::time::{Clock as _, SystemClock};
    Duration::from_millis(u64::try_from(SystemClock.now().0).unwrap())
}
