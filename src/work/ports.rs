//! What the stages need from outside: a virus scanner and a mail host. Doors implement these, so that no stage names a
//! door. All calls block and end within bounds that the implementation names.

pub mod self_service;

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

use chrono::NaiveDateTime;

use crate::model::time::{DAY, Timestamp};

/// Looks for viruses (K32).
pub trait Scanner: Send + Sync {
    /// Scans `size` bytes of `content`. Content that ends early or goes on longer is [`Unscanned::Content`].
    fn scan(&self, content: &mut dyn Read, size: u64) -> Scan;

    /// Whether there is none by configuration: every scan ends with [`Unscanned::NoScanner`].
    fn is_none(&self) -> bool {
        false
    }

    /// Which patterns it uses now.
    fn patterns(&self) -> Result<Patterns, ScannerDown>;
}

/// How a scan ended. Only [`Scan::Clean`] lets anything pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// Nothing found.
    Clean {
        /// By which engine and patterns, as the scanner names itself: `ClamAV 1.4.6/27001`. For the receipt.
        engine: String,
    },
    /// A virus.
    Infected {
        /// The signature's name; printable ASCII.
        name: String,
    },
    /// The scanner works but did not look at all of this content; asking again would not help.
    NotScanned {
        /// Why.
        why: Unscanned,
    },
    /// The scanner is not there or not well: ask again later.
    Down {
        /// Why.
        why: ScannerDown,
    },
}

/// Why content was not scanned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unscanned {
    /// The operator wrote `scanner = "none"`.
    #[error("no scanner is configured")]
    NoScanner,
    /// Longer than the scanner takes.
    #[error("{size} bytes are more than the scanner takes")]
    TooLarge {
        /// Bytes.
        size: u64,
    },
    /// A limit inside (depth, number of files, time); the scanner's word for it.
    #[error("the scanner stopped at its limit {limit}")]
    Limit {
        /// Such as `Heuristics.Limits.Exceeded.MaxFiles`.
        limit: String,
    },
    /// The scanner said that it could not.
    #[error("the scanner could not: {said}")]
    Refused {
        /// Its words, printable ASCII, shortened.
        said: String,
    },
    /// The bytes to scan could not be read, or were not as many as announced.
    #[error("the content could not be read: {0}")]
    Content(String),
}

/// Why the scanner cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScannerDown {
    /// No connection.
    #[error("the scanner cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("the scanner did not answer within {seconds} s")]
    Hung {
        /// The bound that was passed.
        seconds: u64,
    },
    /// The connection ended before the answer.
    #[error("the scanner ended the connection before it answered")]
    Cut,
    /// The answer makes no sense.
    #[error("the scanner's answer makes no sense: {0}")]
    Garbled(String),
    /// It says that it is not well.
    #[error("the scanner is not well: {0}")]
    Unwell(String),
}

/// The patterns a scanner works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    /// As the scanner names itself: `ClamAV 1.4.6/27001`; without a number when it tells none.
    pub engine: String,
    /// Number of the daily patterns.
    pub number: Option<u64>,
    /// When they were made, as the scanner's own clock on the wall shows it (ClamAV tells no zone).
    pub made: Option<NaiveDateTime>,
}

/// Whether patterns are fresh enough (K32: updated daily).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternAge {
    /// At most as old as allowed.
    Fresh,
    /// Older.
    Stale {
        /// Whole days.
        days: i64,
    },
    /// The scanner tells no date: raise an alarm as well, since nobody would notice.
    Unknown,
}

impl Patterns {
    /// How old they are; `days_max` is policy. The missing zone makes this wrong by up to 14 hours.
    pub fn age(&self, now: Timestamp, days_max: u32) -> PatternAge {
        let Some(made) = self.made else { return PatternAge::Unknown };
        let age = now.since(Timestamp(made.and_utc().timestamp_millis()));
        if age > i64::from(days_max) * DAY {
            PatternAge::Stale { days: age / DAY }
        } else {
            PatternAge::Fresh
        }
    }
}

/// Hands mail to the next host.
pub trait Mailer: Send + Sync {
    /// One attempt with one message (RFC 5322, lines ended by CRLF), sent as it is.
    fn send(&self, envelope: &Envelope, message: &[u8]) -> Delivery;
}

/// Who a message is from and to, for the mail host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Bounces go here; none for the null sender `<>`.
    pub from: Option<String>,
    /// Exactly one mailbox (K5).
    pub to: String,
    /// The mail's mark: hosts that send reports (RFC 3461) give it back. None asks for no report.
    pub id: Option<String>,
}

/// How an attempt ended. `reply` is the reply code and enhanced code (`451 4.7.1`), with the step in brackets where the
/// answer was not about the recipient (`535 5.7.8 (auth)`), or one of the words in [`reply`]; never free text, which may name
/// somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The next host took it.
    Sent {
        /// Reply code.
        reply: String,
    },
    /// Not now.
    Deferred {
        /// Reply code or word.
        reply: String,
    },
    /// Never.
    Failed {
        /// Reply code or word.
        reply: String,
    },
}

/// Words for attempts that ended without a reply code.
pub mod reply {
    /// Nobody listens there, or the network does not lead there.
    pub const UNREACHABLE: &str = "unreachable";
    /// The host's name has no address.
    pub const NO_HOST: &str = "no-such-host";
    /// The host did not answer in time.
    pub const TIMEOUT: &str = "timeout";
    /// The connection broke.
    pub const DISCONNECTED: &str = "disconnected";
    /// TLS is required and the host offers none.
    pub const NO_TLS: &str = "tls-not-offered";
    /// TLS failed: usually a certificate that is not trusted, expired, or another host's.
    pub const TLS: &str = "tls-failed";
    /// The host offers no way to log in that is known here.
    pub const NO_AUTH: &str = "auth-not-offered";
    /// An answer that is no SMTP, or is too long.
    pub const GARBLED: &str = "garbled-reply";
    /// The recipient's (or sender's) address is none.
    pub const ADDRESS: &str = "bad-address";
    /// The message cannot be sent as it is: over-long line, bare CR or LF, or 8-bit where the host takes none.
    pub const MESSAGE: &str = "bad-message";
}

/// Steps that follow a recipient: their answers are about the mail, but not about its address.
pub mod step {
    /// DATA.
    pub const DATA: &str = "data";
    /// The message.
    pub const MESSAGE: &str = "message";
}

/// Whether what was answered is about the next host, and so about every mail: it is away, or its answer came before a
/// recipient was named (its step stands in brackets), or it closes the connection.
pub fn is_about_host(answer: &str) -> bool {
    let away = [
        reply::UNREACHABLE,
        reply::NO_HOST,
        reply::DISCONNECTED,
        reply::NO_TLS,
        reply::TLS,
        reply::NO_AUTH,
        reply::GARBLED,
    ];
    let step = answer.strip_suffix(')').and_then(|answer| answer.rsplit_once('(')).map(|(_, step)| step);
    let before = step.is_some_and(|step| ![step::DATA, step::MESSAGE].contains(&step));
    away.contains(&answer) || before || answer.starts_with("421")
}

/// A mailer for tests and `todoke demo`: keeps what it is given, and answers as told.
#[derive(Debug, Default)]
pub struct RecordingMailer(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    sent: Vec<(Envelope, Vec<u8>)>,
    next: VecDeque<Delivery>,
}

impl RecordingMailer {
    /// The next attempts end like this, in order; when the list is used up, every attempt succeeds.
    pub fn will(&self, answers: impl IntoIterator<Item = Delivery>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next.extend(answers);
    }

    /// What it was told about the next attempts holds no more.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next.clear();
    }

    /// What was sent successfully so far.
    pub fn sent(&self) -> Vec<(Envelope, Vec<u8>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sent.clone()
    }
}

impl Mailer for RecordingMailer {
    fn send(&self, envelope: &Envelope, message: &[u8]) -> Delivery {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_sendable(message) {
            return Delivery::Failed { reply: reply::MESSAGE.into() };
        }
        if !envelope.to.contains('@') {
            return Delivery::Failed { reply: reply::ADDRESS.into() };
        }
        let answer = inner.next.pop_front().unwrap_or(Delivery::Sent { reply: "250 2.0.0".into() });
        if matches!(answer, Delivery::Sent { .. }) {
            inner.sent.push((envelope.clone(), message.to_vec()));
        }
        answer
    }
}

/// Longest line SMTP carries, without CRLF (RFC 5321 section 4.5.3.1.6).
const LINE_MAX: usize = 998;

/// Whether SMTP can carry these bytes unchanged: every CR and LF belong together (a lone one is how a second message is
/// smuggled in), no NUL, no over-long line.
pub fn is_sendable(message: &[u8]) -> bool {
    let lines = || message.split(|b| *b == b'\n');
    let count = lines().count();
    lines().enumerate().all(|(at, line)| {
        let last = at + 1 == count;
        let text = if last { Some(line) } else { line.strip_suffix(b"\r") };
        text.is_some_and(|text| text.len() <= LINE_MAX && !text.contains(&b'\r') && !text.contains(&0))
    })
}

/// A scanner for tests: one answer for everything but content that holds [`FixedScanner::VIRUS`], which is infected.
#[derive(Debug)]
pub struct FixedScanner(Mutex<Scan>);

impl FixedScanner {
    /// Content that holds these bytes is infected; harmless, and no known scanner's test file.
    pub const VIRUS: &'static [u8] = b"todoke-test-virus";
    /// What it says it is.
    pub const ENGINE: &'static str = "Fixed 1/1";

    /// Says "clean".
    pub fn clean() -> Self {
        Self::saying(Scan::Clean { engine: Self::ENGINE.into() })
    }

    /// Says this from now on.
    pub fn saying(answer: Scan) -> Self {
        Self(Mutex::new(answer))
    }

    /// Changes its mind.
    pub fn say(&self, answer: Scan) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }
}

impl Scanner for FixedScanner {
    fn scan(&self, content: &mut dyn Read, size: u64) -> Scan {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !matches!(answer, Scan::Clean { .. }) {
            return answer;
        }
        let mut bytes = Vec::new();
        let why = match content.take(size.saturating_add(1)).read_to_end(&mut bytes) {
            Err(e) => Unscanned::Content(e.kind().to_string()),
            Ok(got) if got as u64 != size => Unscanned::Content(size_differs(size)),
            Ok(_) if bytes.windows(Self::VIRUS.len()).any(|w| w == Self::VIRUS) => {
                return Scan::Infected { name: "Todoke.Test".into() };
            }
            Ok(_) => return answer,
        };
        Scan::NotScanned { why }
    }

    fn patterns(&self) -> Result<Patterns, ScannerDown> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Scan::Down { why } => Err(why.clone()),
            _ => Ok(Patterns { engine: Self::ENGINE.into(), number: Some(1), made: None }),
        }
    }
}

/// The words for content of another size than announced; the same from every scanner.
pub fn size_differs(announced: u64) -> String {
    format!("it is not the {announced} bytes that were announced")
}

/// `scanner = "none"`: says so about everything. Its patterns have no age, which is then no reason for an alarm.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoScanner;

impl Scanner for NoScanner {
    fn is_none(&self) -> bool {
        true
    }

    fn scan(&self, _: &mut dyn Read, _: u64) -> Scan {
        Scan::NotScanned { why: Unscanned::NoScanner }
    }

    fn patterns(&self) -> Result<Patterns, ScannerDown> {
        Ok(Patterns { engine: "none".into(), number: None, made: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_age_by_the_policy() {
        let made = chrono::NaiveDate::from_ymd_opt(2026, 11, 20).unwrap().and_hms_opt(10, 0, 0).unwrap();
        let at =
            |days: u32, millis| Timestamp(made.and_utc().timestamp_millis()).plus_days(days).plus(millis);
        let patterns =
            Patterns { engine: "ClamAV 1.4.6/27001".into(), number: Some(27001), made: Some(made) };
        assert_eq!(patterns.age(at(3, 0), 3), PatternAge::Fresh);
        assert_eq!(patterns.age(at(3, 1), 3), PatternAge::Stale { days: 3 });
        assert_eq!(patterns.age(at(9, 0), 3), PatternAge::Stale { days: 9 });
        assert_eq!(patterns.age(at(0, -50_000_000), 3), PatternAge::Fresh, "a zone east of here");
        assert_eq!(Patterns { made: None, ..patterns }.age(at(0, 0), 3), PatternAge::Unknown);
    }

    #[test]
    fn answers_about_a_mail_say_nothing_of_its_host() {
        for (answer, about_host) in [
            ("451 4.7.1 (mail from)", true),
            ("535 5.7.8 (auth)", true),
            ("421 4.3.2", true),
            (reply::UNREACHABLE, true),
            ("451 4.3.0 (message)", false),
            ("451 (data)", false),
            ("450 4.2.0", false),
            (reply::TIMEOUT, false),
        ] {
            assert_eq!(is_about_host(answer), about_host, "{answer}");
        }
    }

    #[test]
    fn sendable_bytes_keep_cr_and_lf_together() {
        let long = [vec![b'x'; 999], b"\r\n".to_vec()].concat();
        for (message, fine) in [
            (&b"Subject: x\r\n\r\nhello\r\n"[..], true),
            (b"no end", true),
            (b"", true),
            (b"a\n.\r\nMAIL FROM:<x@example.jp>\r\n", false),
            (b"a\r.\r\n", false),
            (b"a\r\r\n", false),
            (b"a\0\r\n", false),
            (b"a\r", false),
            (&long, false),
            (&long[1..], true),
        ] {
            assert_eq!(is_sendable(message), fine, "{:?}", String::from_utf8_lossy(message));
        }
    }
}
