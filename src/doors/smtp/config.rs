//! What is configured about the mail host, checked before anything is connected.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use zeroize::Zeroizing;

/// Whether and when the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Never. For a host on this machine.
    None,
    /// STARTTLS where the host offers it. Whoever sits between can hide the offer.
    Opportunistic,
    /// STARTTLS, or nothing is sent.
    Required,
    /// TLS from the first byte (`smtps://`).
    Implicit,
}

/// `smtp://HOST[:PORT]` or `smtps://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpUrl {
    /// Name or address (IPv6 without brackets).
    pub host: String,
    /// 25 or 465 where none is written.
    pub port: u16,
    /// `smtps`
    pub implicit_tls: bool,
}

/// Why a text names no mail host. A password in it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a mail host: allowed are smtp://HOST[:PORT] and smtps://HOST[:PORT]; user and password have keys of their own"
)]
pub struct SmtpUrlError;

impl FromStr for SmtpUrl {
    type Err = SmtpUrlError;
    fn from_str(text: &str) -> Result<Self, SmtpUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(SmtpUrlError)?;
        let (implicit_tls, port) = match scheme {
            "smtp" => (false, 25),
            "smtps" => (true, 465),
            _ => return Err(SmtpUrlError),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, "")) => (host, port),
            Some((host, tail)) => (host, parse_port(tail.strip_prefix(':'))?),
            None => match rest.split_once(':') {
                Some((host, tail)) => (host, parse_port(Some(tail))?),
                None => (rest, port),
            },
        };
        let bracketed = rest.starts_with('[');
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let valid =
            if bracketed { host.parse::<std::net::Ipv6Addr>().is_ok() } else { host.chars().all(fine) };
        if host.is_empty() || host.len() > 253 || !valid {
            return Err(SmtpUrlError);
        }
        Ok(Self { host: host.into(), port, implicit_tls })
    }
}

fn parse_port(text: Option<&str>) -> Result<u16, SmtpUrlError> {
    text.and_then(|t| t.parse().ok()).filter(|port| *port != 0).ok_or(SmtpUrlError)
}

impl fmt::Display for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.implicit_tls { "smtps" } else { "smtp" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl SmtpUrl {
    /// The host is this machine: by its address, or as `localhost`.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// User and password.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, ...)", self.user)
    }
}

/// How long each thing may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// To connect to one address.
    pub connect_max: Duration,
    /// A whole attempt, whatever the host does meanwhile.
    pub attempt_max: Duration,
    /// A connection is kept open for the next mail so long. Hosts drop idle ones after some minutes.
    pub idle_max: Duration,
}

impl Default for Bounds {
    /// 20 s, 3 minutes, 20 s.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect_max: seconds(20), attempt_max: seconds(180), idle_max: seconds(20) }
    }
}

/// Everything about the mail host.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// Which host.
    pub url: SmtpUrl,
    /// None: [`TlsMode::Implicit`] for smtps, no TLS for this machine, else [`TlsMode::Required`].
    pub tls: Option<TlsMode>,
    /// Only over TLS, or to this machine.
    pub login: Option<Login>,
    /// PEM of authorities that are trusted beside the system's.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Name in EHLO; the mail host may check it.
    pub ehlo: String,
    /// How long.
    pub bounds: Bounds,
}

/// Why a mailer cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum SmtpConfigError {
    /// smtps and a mode other than implicit, or the reverse.
    #[error(
        "tls: {0:?} does not fit the URL: smtps:// goes with implicit, smtp:// with none, opportunistic or required"
    )]
    Mode(TlsMode),
    /// A password would travel in the clear.
    #[error(
        "user: a login to another machine needs tls = \"required\" or smtps://, the password would travel in the clear"
    )]
    ClearLogin,
    /// Not a name for EHLO.
    #[error("ehlo: {0:?} is neither a host name nor an address in brackets")]
    Ehlo(String),
    /// The extra CA file.
    #[error("ca_file: no certificate in PEM form is in it")]
    Ca,
    /// TLS could not be set up.
    #[error("tls: {0}")]
    Tls(String),
    /// No thread for it.
    #[error("the mailer's thread could not be started: {0}")]
    Runtime(#[from] io::Error),
}

/// What is left of the settings when they fit together.
pub(super) struct Checked {
    pub(super) url: SmtpUrl,
    pub(super) mode: TlsMode,
    pub(super) tls: Option<TlsParameters>,
    pub(super) login: Option<Login>,
    pub(super) ehlo: ClientId,
    pub(super) bounds: Bounds,
}

impl TryFrom<SmtpConfig> for Checked {
    type Error = SmtpConfigError;
    fn try_from(config: SmtpConfig) -> Result<Self, SmtpConfigError> {
        let loopback = config.url.is_loopback();
        let usual = match (config.url.implicit_tls, loopback) {
            (true, _) => TlsMode::Implicit,
            (false, true) => TlsMode::None,
            (false, false) => TlsMode::Required,
        };
        let mode = config.tls.unwrap_or(usual);
        if (mode == TlsMode::Implicit) != config.url.implicit_tls {
            return Err(SmtpConfigError::Mode(mode));
        }
        let clear = matches!(mode, TlsMode::None | TlsMode::Opportunistic);
        if config.login.is_some() && clear && !loopback {
            return Err(SmtpConfigError::ClearLogin);
        }
        let ehlo = parse_ehlo(&config.ehlo).ok_or(SmtpConfigError::Ehlo(config.ehlo))?;
        let tls = match mode {
            TlsMode::None => None,
            _ => Some(tls_parameters(&config.url.host, config.extra_ca_pem.as_deref())?),
        };
        Ok(Self { url: config.url, mode, tls, login: config.login, ehlo, bounds: config.bounds })
    }
}

fn tls_parameters(host: &str, extra_ca_pem: Option<&[u8]>) -> Result<TlsParameters, SmtpConfigError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = extra_ca_pem {
        let text = std::str::from_utf8(pem).map_err(|_| SmtpConfigError::Ca)?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(SmtpConfigError::Ca);
        }
        builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(|_| SmtpConfigError::Ca)?);
    }
    builder.build_rustls().map_err(|e| SmtpConfigError::Tls(e.to_string()))
}

/// `gateway.example.jp`, `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
fn parse_ehlo(text: &str) -> Option<ClientId> {
    if let Some(literal) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return match literal.strip_prefix("IPv6:") {
            Some(v6) => v6.parse().ok().map(ClientId::Ipv6),
            None => literal.parse().ok().map(ClientId::Ipv4),
        };
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    (text.len() <= 253 && text.split('.').all(label)).then(|| ClientId::Domain(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> SmtpConfig {
        let url = url.parse().unwrap();
        let ehlo = "gateway.example.jp".into();
        SmtpConfig { url, tls: None, login: None, extra_ca_pem: None, ehlo, bounds: Bounds::default() }
    }

    #[test]
    fn urls_read_and_write() {
        for (text, written) in [
            ("smtp://mail.example.jp", "smtp://mail.example.jp:25"),
            ("smtp://127.0.0.1:2525", "smtp://127.0.0.1:2525"),
            ("smtps://mail.example.jp/", "smtps://mail.example.jp:465"),
            ("smtp://[::1]:25", "smtp://[::1]:25"),
        ] {
            assert_eq!(text.parse::<SmtpUrl>().unwrap().to_string(), written);
        }
        for text in [
            "",
            "mail.example.jp",
            "smtp://",
            "smtp://:25",
            "smtp://h:0",
            "smtp://h:x",
            "smtp://u:secret@h",
            "http://h",
            "smtp://[::1",
            "smtp://a b",
            "smtp://h:25/x",
        ] {
            let error = text.parse::<SmtpUrl>().expect_err(text);
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn settings_that_would_leak_are_refused() {
        let login = Some(Login { user: "gateway".into(), password: Zeroizing::new("hush".into()) });
        let with = |url, tls, login: &Option<Login>| {
            Checked::try_from(SmtpConfig { tls, login: login.clone(), ..config(url) }).map(|c| c.mode)
        };
        assert_eq!(with("smtp://127.0.0.1", None, &None).unwrap(), TlsMode::None);
        assert_eq!(with("smtp://[::1]", None, &login).unwrap(), TlsMode::None);
        assert_eq!(with("smtp://mail.example.jp", None, &login).unwrap(), TlsMode::Required);
        assert_eq!(with("smtps://mail.example.jp", None, &login).unwrap(), TlsMode::Implicit);
        for (url, tls) in
            [("smtp://mail.example.jp", TlsMode::None), ("smtp://mail.example.jp", TlsMode::Opportunistic)]
        {
            assert!(with(url, Some(tls), &None).is_ok());
            assert!(matches!(with(url, Some(tls), &login), Err(SmtpConfigError::ClearLogin)));
        }
        assert!(matches!(with("smtps://h", Some(TlsMode::None), &None), Err(SmtpConfigError::Mode(_))));
        assert!(matches!(with("smtp://h", Some(TlsMode::Implicit), &None), Err(SmtpConfigError::Mode(_))));
        assert!(!format!("{login:?}").contains("hush"));
        for ehlo in ["", "a b", "x\r\nMAIL", "-a.jp", "[1.2.3]"] {
            let refused = Checked::try_from(SmtpConfig { ehlo: ehlo.into(), ..config("smtp://127.0.0.1") });
            assert!(matches!(refused, Err(SmtpConfigError::Ehlo(_))), "{ehlo}");
        }
        let ca = SmtpConfig { extra_ca_pem: Some(b"hello".to_vec()), ..config("smtp://h") };
        assert!(matches!(Checked::try_from(ca), Err(SmtpConfigError::Ca)));
    }
}
