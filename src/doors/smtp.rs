//! The mail host's door: hands one message at a time to the next host, over SMTP, STARTTLS or TLS.
//!
//! lettre's connection is used step by step rather than its transport, since only that tells *whom* an answer is about: 5xx
//! to RCPT or DATA is about this mail and final; 5xx to anything before is about the gateway's own settings, and must not
//! cost a mail. Replies are kept as code and enhanced code; their text may name somebody.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::work::ports::{Delivery, Envelope, Mailer, is_sendable, reply};

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

/// Idle connections kept.
const IDLE_CONNECTIONS_MAX: usize = 4;
/// Mails over one connection; some hosts refuse more.
const MAILS_PER_CONNECTION_MAX: u32 = 100;
/// To say QUIT and hear the answer.
const QUIT_MAX: Duration = Duration::from_secs(2);
/// What a host may say over one unencrypted connection; 100 mails need about 20 KB.
const REPLY_BYTES_MAX: usize = 256 * 1024;

/// Hands mail to one host. Calls block; may be used from many threads, but not from async code.
pub struct SmtpMailer {
    host: Host,
    idle: Mutex<Vec<Open>>,
    runtime: Option<Runtime>,
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpMailer({})", self.host.url)
    }
}

/// Where and how to connect.
struct Host {
    url: SmtpUrl,
    mode: TlsMode,
    tls: Option<TlsParameters>,
    login: Option<Login>,
    ehlo: ClientId,
    bounds: Bounds,
}

/// A connection, greeted, encrypted and logged in.
struct Open {
    connection: AsyncSmtpConnection,
    mails: u32,
    used: Instant,
}

/// How a step failed, before it is known what that means for the mail.
enum Failure {
    /// 4xx or 5xx.
    Answer { permanent: bool, reply: String },
    /// No answer.
    Word(&'static str),
}

impl SmtpMailer {
    /// Checks the settings; connects to nothing.
    pub fn new(config: SmtpConfig) -> Result<Self, SmtpConfigError> {
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
        let host = Host { url: config.url, mode, tls, login: config.login, ehlo, bounds: config.bounds };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mail")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self { host, idle: Mutex::default(), runtime: Some(runtime) })
    }

    async fn attempt(&self, envelope: (Option<Address>, Address), message: &[u8]) -> Delivery {
        let deferred = |failure: Failure| match failure {
            Failure::Answer { reply, .. } => Delivery::Deferred { reply },
            Failure::Word(word) => Delivery::Deferred { reply: word.into() },
        };
        let (from, to) = envelope;
        let mut open = match self.begin(from, message).await {
            Ok(open) => open,
            Err(Failure::Word(word)) if word == reply::MESSAGE => {
                return Delivery::Failed { reply: word.into() };
            }
            // The sender is the gateway's own: whatever is wrong with it is not this mail's fault.
            Err(failure) => return deferred(failure),
        };
        let mut result = open.connection.command(Rcpt::new(to, Vec::new())).await;
        if result.is_ok() {
            result = open.connection.command(Data).await;
        }
        if result.is_ok() {
            result = open.connection.message(message).await;
        }
        match result {
            Ok(response) => {
                let reply = reply_of(&response.code().to_string(), response.first_line().unwrap_or(""));
                self.keep(open);
                Delivery::Sent { reply }
            }
            Err(e) => {
                let failed = failure(&e, "");
                if !is_gone(&e) {
                    self.put_back(open).await;
                }
                match failed {
                    Failure::Answer { permanent: true, reply } if !is_about_us(&reply) => {
                        Delivery::Failed { reply }
                    }
                    other => deferred(other),
                }
            }
        }
    }

    /// A connection on which MAIL FROM was accepted: one from before, or a new one where the host has dropped that.
    async fn begin(&self, from: Option<Address>, message: &[u8]) -> Result<Open, Failure> {
        while let Some(mut open) = self.take_idle() {
            if open.used.elapsed() > self.host.bounds.idle_max {
                close_connection(open.connection).await;
                continue;
            }
            match mail_from(&mut open, from.clone(), message).await {
                Ok(()) => return Ok(open),
                Err((_, true)) => {}
                Err((failure, false)) => {
                    self.put_back(open).await;
                    return Err(failure);
                }
            }
        }
        let mut open = self.host.connect().await?;
        match mail_from(&mut open, from, message).await {
            Ok(()) => Ok(open),
            Err((failure, gone)) => {
                if !gone {
                    self.put_back(open).await;
                }
                Err(failure)
            }
        }
    }

    fn take_idle(&self) -> Option<Open> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps the connection for the next mail.
    fn keep(&self, mut open: Open) {
        open.mails += 1;
        open.used = Instant::now();
        if open.mails < MAILS_PER_CONNECTION_MAX {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_CONNECTIONS_MAX {
                idle.push(open);
            }
        }
    }

    /// After a refusal that the connection survived: back to the start of a mail.
    async fn put_back(&self, mut open: Open) {
        if open.connection.command(Rset).await.is_ok() {
            self.keep(open);
        }
    }
}

/// The connection will take no more commands: it broke, or the host said 421.
fn is_gone(error: &SmtpError) -> bool {
    error.status().is_none_or(|code| code.to_string() == "421")
}

/// MAIL FROM; a failure comes with whether the connection is gone.
async fn mail_from(open: &mut Open, from: Option<Address>, message: &[u8]) -> Result<(), (Failure, bool)> {
    let mut parameters = Vec::new();
    if !message.is_ascii() {
        if !open.connection.server_info().supports_feature(Extension::EightBitMime) {
            return Err((Failure::Word(reply::MESSAGE), false));
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let answer = open.connection.command(Mail::new(from, parameters)).await;
    answer.map(drop).map_err(|e| (failure(&e, "mail from"), is_gone(&e)))
}

impl Mailer for SmtpMailer {
    fn send(&self, envelope: &Envelope, message: &[u8]) -> Delivery {
        if !is_sendable(message) {
            return Delivery::Failed { reply: reply::MESSAGE.into() };
        }
        let address = |text: &String| text.parse::<Address>().ok().filter(|a| a.to_string().is_ascii());
        let from = envelope.from.as_ref().map(address);
        let (None | Some(Some(_)), Some(to)) = (&from, address(&envelope.to)) else {
            return Delivery::Failed { reply: reply::ADDRESS.into() };
        };
        let Some(runtime) = &self.runtime else {
            return Delivery::Deferred { reply: reply::UNREACHABLE.into() };
        };
        runtime.block_on(async {
            let attempt = self.attempt((from.flatten(), to), message);
            // Dropping the attempt drops its connection: nothing of it can reach the next mail.
            match tokio::time::timeout(self.host.bounds.attempt_max, attempt).await {
                Ok(delivery) => delivery,
                Err(_) => Delivery::Deferred { reply: reply::TIMEOUT.into() },
            }
        })
    }
}

impl Drop for SmtpMailer {
    fn drop(&mut self) {
        // Never waits, and may be dropped from async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Host {
    async fn connect(&self) -> Result<Open, Failure> {
        let mut connection = match (self.mode, &self.tls) {
            (TlsMode::Implicit, Some(tls)) => {
                let limit = Some(self.bounds.connect_max);
                let target = self.addresses().await?;
                AsyncSmtpConnection::connect_tokio1(&*target, limit, &self.ehlo, Some(tls.clone()), None)
                    .await
                    .map_err(|e| failure(&e, "greeting"))?
            }
            _ => {
                let stream = Box::new(LineStream::new(self.dial().await?));
                AsyncSmtpConnection::connect_with_transport(stream, &self.ehlo)
                    .await
                    .map_err(|e| failure(&e, "greeting"))?
            }
        };
        if let (TlsMode::Opportunistic | TlsMode::Required, Some(tls)) = (self.mode, &self.tls) {
            if connection.can_starttls() {
                connection.starttls(tls.clone(), &self.ehlo).await.map_err(|e| {
                    match failure(&e, "starttls") {
                        // Whatever goes wrong between the go-ahead and the second EHLO is TLS going wrong.
                        Failure::Word(word) if word != reply::TIMEOUT => Failure::Word(reply::TLS),
                        other => other,
                    }
                })?;
            } else if self.mode == TlsMode::Required {
                close_connection(connection).await;
                return Err(Failure::Word(reply::NO_TLS));
            }
        }
        if let Some(login) = &self.login {
            let known = [Mechanism::Plain, Mechanism::Login];
            if connection.server_info().get_auth_mechanism(&known).is_none() {
                close_connection(connection).await;
                return Err(Failure::Word(reply::NO_AUTH));
            }
            let credentials = Credentials::new(login.user.clone(), login.password.to_string());
            connection.auth(&known, &credentials).await.map_err(|e| failure(&e, "auth"))?;
        }
        Ok(Open { connection, mails: 0, used: Instant::now() })
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let target = (self.url.host.as_str(), self.url.port);
        let found = tokio::net::lookup_host(target).await.map_err(|_| Failure::Word(reply::NO_HOST))?;
        Ok(found.take(8).collect())
    }

    /// The first of the host's addresses that answers.
    async fn dial(&self) -> Result<TcpStream, Failure> {
        let mut word = reply::NO_HOST;
        for address in self.addresses().await? {
            match tokio::time::timeout(self.bounds.connect_max, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it a mail waits for delayed acknowledgements; failing to set it only costs time.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(_)) => word = reply::UNREACHABLE,
                Err(_) => word = reply::TIMEOUT,
            }
        }
        Err(Failure::Word(word))
    }
}

async fn close_connection(mut connection: AsyncSmtpConnection) {
    let _ = tokio::time::timeout(QUIT_MAX, connection.command(Quit)).await;
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

/// What a step's error says, without its text. `step` is named where the answer cannot be about the mail itself.
fn failure(error: &SmtpError, step: &str) -> Failure {
    if let Some(code) = error.status() {
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        let mut reply = reply_of(&code.to_string(), &text);
        if !step.is_empty() {
            reply = format!("{reply} ({step})");
        }
        return Failure::Answer { permanent: error.is_permanent(), reply };
    }
    if error.is_response() {
        let cut = error.source().is_some_and(|s| s.to_string() == "incomplete response");
        return Failure::Word(if cut { reply::DISCONNECTED } else { reply::GARBLED });
    }
    if error.is_timeout() {
        return Failure::Word(reply::TIMEOUT);
    }
    if error.is_tls() {
        return Failure::Word(reply::TLS);
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                return Failure::Word(reply::TLS);
            }
            if io.get_ref().is_some_and(|inner| inner.is::<TooMuch>()) {
                return Failure::Word(reply::GARBLED);
            }
            return Failure::Word(match io.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => reply::UNREACHABLE,
                io::ErrorKind::InvalidData => reply::GARBLED,
                _ => reply::DISCONNECTED,
            });
        }
        source = cause.source();
    }
    Failure::Word(reply::DISCONNECTED)
}

/// `451 4.7.1` from a reply's code and text; the code alone where the text does not begin with an enhanced code of the
/// same class (RFC 3463).
fn reply_of(code: &str, text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or("");
    let parts: Vec<&str> = word.split('.').collect();
    let number = |p: &&str| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit());
    let enhanced =
        parts.len() == 3 && parts.iter().all(number) && parts[0].len() == 1 && code.starts_with(parts[0]);
    if enhanced { format!("{code} {word}") } else { code.to_owned() }
}

/// Answers that come at RCPT or DATA yet speak of the gateway's login, TLS or order of commands.
fn is_about_us(reply: &str) -> bool {
    let code = reply.split(' ').next().unwrap_or("");
    matches!(code, "500" | "501" | "502" | "503" | "504" | "530" | "534" | "535" | "538")
}

/// The host said more than any host has to say.
#[derive(Debug)]
struct TooMuch;
impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the mail host says too much")
    }
}
impl std::error::Error for TooMuch {}

/// A connection that is read at most one line at a time, and not for ever.
///
/// The client above keeps what it has read ahead in a buffer that survives STARTTLS. Whoever sits between could append
/// answers to the go-ahead, and they would count as said under TLS ("250 taken", say). Read line by line, they are still
/// here when TLS begins, where they are no TLS record.
#[derive(Debug)]
struct LineStream {
    inner: TcpStream,
    ahead: Vec<u8>,
    left: usize,
}

impl LineStream {
    fn new(inner: TcpStream) -> Self {
        Self { inner, ahead: Vec::new(), left: REPLY_BYTES_MAX }
    }
}

impl AsyncRead for LineStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            let mut storage = [0; 4096];
            let mut buffer = ReadBuf::new(&mut storage);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer))?;
            let got = buffer.filled();
            let Some(left) = this.left.checked_sub(got.len()) else {
                return Poll::Ready(Err(io::Error::other(TooMuch)));
            };
            this.left = left;
            this.ahead.extend_from_slice(got);
        }
        let line = this.ahead.iter().position(|b| *b == b'\n').map_or(this.ahead.len(), |at| at + 1);
        let count = line.min(out.remaining());
        out.put_slice(&this.ahead[..count]);
        this.ahead.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for LineStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }
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
            SmtpMailer::new(SmtpConfig { tls, login: login.clone(), ..config(url) }).map(|m| m.host.mode)
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
            let refused = SmtpMailer::new(SmtpConfig { ehlo: ehlo.into(), ..config("smtp://127.0.0.1") });
            assert!(matches!(refused, Err(SmtpConfigError::Ehlo(_))), "{ehlo}");
        }
        let ca = SmtpConfig { extra_ca_pem: Some(b"hello".to_vec()), ..config("smtp://h") };
        assert!(matches!(SmtpMailer::new(ca), Err(SmtpConfigError::Ca)));
    }

    #[test]
    fn replies_keep_codes_and_no_text() {
        for (code, text, kept) in [
            ("250", "2.0.0 Ok: queued as 4F1A", "250 2.0.0"),
            ("451", "4.7.1 <soumu@example.jp>: greylisted", "451 4.7.1"),
            ("550", "soumu@example.jp unknown", "550"),
            ("550", "4.1.1 wrong class", "550"),
            ("550", "5.1.1234 too long", "550"),
            ("550", "", "550"),
            ("550", "5.1 x", "550"),
        ] {
            assert_eq!(reply_of(code, text), kept);
        }
    }
}
