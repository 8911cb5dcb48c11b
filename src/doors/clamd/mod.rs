//! The virus scanner's door: a client of ClamAV's `clamd`, over TCP or a Unix socket.
//!
//! One connection a file, used as a session (`zIDSESSION`): `VERSION` and `INSTREAM` are asked at once, so that the receipt
//! names the patterns that were in use for that very scan, at the price of no further round trip.

mod address;
mod answer;
mod session;

use std::io::Read;
use std::time::{Duration, Instant};

pub use self::address::{ScannerAddress, ScannerAddressError};
use self::answer::{Verdict, parse_verdict, parse_version};
use self::session::{Session, Trouble, garbled};
use crate::model::metric;
use crate::work::ports::{NoScanner, Patterns, Scan, Scanner, ScannerDown, Unscanned};

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
        let start = Instant::now();
        let scan = match self.try_scan(content, size) {
            Ok(scan) => scan,
            Err(Trouble::Content(why)) => Scan::NotScanned { why: Unscanned::Content(why) },
            Err(Trouble::Down(why)) => Scan::Down { why },
        };
        let result = match scan {
            Scan::Clean { .. } => "clean",
            Scan::Infected { .. } => "infected",
            Scan::NotScanned { .. } => "not_scanned",
            Scan::Down { .. } => "down",
        };
        metrics::histogram!(metric::SCAN_SECONDS, "result" => result).record(start.elapsed());
        scan
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
