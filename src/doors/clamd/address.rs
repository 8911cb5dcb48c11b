//! Where the scanner is, as configuration writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

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
}
