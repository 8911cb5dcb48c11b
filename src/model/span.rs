//! A length of time as configuration writes it: `90s`, `15m`, `4h`, `70d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time, in milliseconds. Written with one unit, the largest that fits: `15m`, never `900s`.
///
/// A day is 24 hours; whoever needs calendar days counts dates, not spans.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(i64);

/// Why a text is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{got:?} is not a length of time: a whole number and one of ms, s, m, h, d, such as 90s, 15m, 4h or 70d (at most 36500d)"
)]
pub struct SpanError {
    got: String,
}

/// Units, largest first, in milliseconds.
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// A hundred years: sums with any timestamp of this millennium stay far from overflow.
const MILLIS_MAX: i64 = 36_500 * 86_400_000;

impl Span {
    /// So many seconds (at most a hundred years).
    pub const fn seconds(seconds: u32) -> Self {
        let millis = seconds as i64 * 1000;
        Self(if millis > MILLIS_MAX { MILLIS_MAX } else { millis })
    }

    /// So many times 24 hours (at most a hundred years).
    pub const fn days(days: u32) -> Self {
        let millis = days as i64 * 86_400_000;
        Self(if millis > MILLIS_MAX { MILLIS_MAX } else { millis })
    }

    /// Reads a whole number followed directly by its unit.
    pub fn parse(text: &str) -> Result<Self, SpanError> {
        let wrong = || SpanError { got: text.chars().take(32).collect() };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*millis).filter(|total| *total <= MILLIS_MAX).map(Self).ok_or_else(wrong)
    }

    /// In milliseconds, the unit of [`super::time::Timestamp`].
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// For sockets and timers.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs())
    }

    /// Nothing at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, millis)| self.0 != 0 && self.0 % millis == 0);
        let (name, millis) = unit.copied().unwrap_or(("s", 1000));
        f.pad(&format!("{}{name}", self.0 / millis))
    }
}
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        Self::parse(text)
    }
}
impl TryFrom<String> for Span {
    type Error = SpanError;
    fn try_from(text: String) -> Result<Self, SpanError> {
        Self::parse(&text)
    }
}
impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes() {
        for (text, millis, written) in [
            ("90s", 90_000, "90s"),
            ("15m", 900_000, "15m"),
            ("900s", 900_000, "15m"),
            ("4h", 14_400_000, "4h"),
            ("48h", 172_800_000, "2d"),
            ("70d", 6_048_000_000, "70d"),
            ("1500ms", 1500, "1500ms"),
            ("0s", 0, "0s"),
            ("0d", 0, "0s"),
            ("36500d", MILLIS_MAX, "36500d"),
        ] {
            let span = Span::parse(text).unwrap();
            assert_eq!((span.millis(), span.to_string().as_str()), (millis, written), "{text}");
        }
        assert_eq!(Span::seconds(90), Span::parse("90s").unwrap());
        assert_eq!(Span::days(70), Span::parse("70d").unwrap());
    }

    #[test]
    fn refuses_what_could_be_meant_otherwise() {
        for text in [
            "",
            "s",
            "15",
            "15 m",
            " 15m",
            "15M",
            "15min",
            "-15m",
            "+15m",
            "1.5h",
            "1h30m",
            "36501d",
            "９０s",
            "99999999999999999999d",
        ] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
        assert!(Span::parse("15min").unwrap_err().to_string().contains("15m"));
    }

    proptest! {
        #[test]
        fn any_span_reads_back(millis in 0..=MILLIS_MAX) {
            prop_assert_eq!(Span::parse(&Span(millis).to_string()), Ok(Span(millis)));
        }
    }
}
