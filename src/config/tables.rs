//! Tables whose components take finished values: as written, and checked.

use std::net::SocketAddr;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Places;
use super::source::Source;
use crate::doors::clamd::{self, ScannerAddress};
use crate::doors::log::LogFormat;
use crate::doors::smtp::{self, Login, SmtpConfig, SmtpUrl, TlsMode};
use crate::model::span::Span;
use crate::rules::retry::Schedule;
use crate::work::imports::ImportPolicy;
use crate::work::publish::PublishPolicy;

/// `[scanner]` as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScannerTable {
    /// Where `clamd` listens; `none` switches scanning off, in words.
    pub address: String,
    /// Patterns older than this raise an alarm (K32).
    pub patterns_days_max: u32,
    /// To connect.
    pub connect: Span,
    /// Without a byte taken or given.
    pub silence: Span,
    /// A whole file.
    pub file: Span,
}

impl Default for ScannerTable {
    fn default() -> Self {
        Self {
            address: "unix:/run/clamav/clamd.ctl".to_owned(),
            patterns_days_max: 3,
            connect: Span::seconds(5),
            silence: Span::seconds(150),
            file: Span::seconds(600),
        }
    }
}

/// `[scanner]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannerPolicy {
    /// Where it listens.
    pub address: ScannerAddress,
    /// Patterns older than this raise an alarm (K32).
    pub patterns_days_max: u32,
    /// How long each thing may take.
    pub bounds: clamd::Bounds,
}

impl ScannerTable {
    pub(super) fn check(self, source: &mut Source<'_>) -> ScannerPolicy {
        let address = self.address.parse().unwrap_or_else(|_| {
            source.reject(
                "scanner.address",
                "must be tcp://HOST:PORT, unix:PATH, or none (nothing is scanned then)",
            );
            ScannerAddress::None
        });
        for (key, span) in [
            ("scanner.connect", self.connect),
            ("scanner.silence", self.silence),
            ("scanner.file", self.file),
        ] {
            not_zero(source, key, span);
        }
        ScannerPolicy {
            address,
            patterns_days_max: self.patterns_days_max,
            bounds: clamd::Bounds {
                connect_max: self.connect.duration(),
                silence_max: self.silence.duration(),
                file_max: self.file.duration(),
            },
        }
    }
}

/// `[mail]` as written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailTable {
    /// The mail server.
    pub url: String,
    /// `auto`, `none`, `opportunistic`, `required`, `implicit`.
    pub tls: String,
    /// From whom; also where bounces go.
    pub from: String,
    /// Whom a mail says to ask.
    pub contact: String,
    /// Where alarms go; empty means nowhere.
    pub operator: String,
    /// Login at the mail server; empty means none.
    pub user: String,
    /// File whose first line is the password.
    pub password_file: String,
    /// PEM of an authority trusted beside the system's.
    pub ca_file: String,
    /// Name in EHLO.
    pub ehlo: String,
    /// To connect.
    pub connect: Span,
    /// A whole attempt.
    pub attempt: Span,
    /// When to try again; the last one repeats.
    pub retry: Vec<Span>,
    /// A mail is given up after so long.
    pub give_up_after: Span,
    /// Documents that arrive within so long of each other share a mail.
    pub gather: Span,
    /// Mails under way at the same time.
    pub connections: usize,
}

impl Default for MailTable {
    fn default() -> Self {
        Self {
            url: "smtp://127.0.0.1:25".to_owned(),
            tls: "auto".to_owned(),
            from: "todoke@localhost".to_owned(),
            contact: String::new(),
            operator: String::new(),
            user: String::new(),
            password_file: String::new(),
            ca_file: String::new(),
            ehlo: "localhost".to_owned(),
            connect: Span::seconds(20),
            attempt: Span::seconds(180),
            retry: [300, 900, 3600, 4 * 3600].map(Span::seconds).to_vec(),
            give_up_after: Span::days(5),
            gather: Span::seconds(60),
            connections: 4,
        }
    }
}

/// `[mail]`, checked. Files are named, not read: `serve` and `doctor` read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailPolicy {
    /// The mail server.
    pub url: SmtpUrl,
    /// None: what fits the server.
    pub tls: Option<TlsMode>,
    /// From whom; also where bounces go.
    pub from: String,
    /// Whom a mail says to ask; none means the insurer.
    pub contact: Option<String>,
    /// Where alarms go.
    pub operator: Option<String>,
    /// User and the file whose first line is the password, relative to [`super::Places::base`].
    pub login: Option<(String, String)>,
    /// PEM of an authority trusted beside the system's, relative to [`super::Places::base`].
    pub ca_file: Option<String>,
    /// Name in EHLO.
    pub ehlo: String,
    /// How long each thing may take.
    pub bounds: smtp::Bounds,
    /// When to try again.
    pub retry: Schedule,
    /// Documents that arrive within so long of each other share a mail.
    pub gather: Span,
    /// Mails under way at the same time.
    pub connections: usize,
}

impl MailTable {
    pub(super) fn check(self, source: &mut Source<'_>) -> Option<MailPolicy> {
        let url =
            self.url.parse::<SmtpUrl>().map_err(|error| source.reject("mail.url", error.to_string())).ok();
        let tls = match self.tls.as_str() {
            "auto" => None,
            "none" => Some(TlsMode::None),
            "opportunistic" => Some(TlsMode::Opportunistic),
            "required" => Some(TlsMode::Required),
            "implicit" => Some(TlsMode::Implicit),
            _ => {
                source.reject("mail.tls", "must be auto, none, opportunistic, required or implicit");
                None
            }
        };
        for (key, address) in [("mail.from", &self.from), ("mail.operator", &self.operator)] {
            let may_be_empty = key == "mail.operator";
            if !(may_be_empty && address.is_empty()) && address.parse::<lettre::Address>().is_err() {
                source.reject(key, "must be one mail address, such as todoke@example.jp");
            }
        }
        if self.contact.chars().any(char::is_control) || self.contact.chars().count() > 200 {
            source.reject("mail.contact", "must be one line of at most 200 characters");
        }
        if self.user.is_empty() != self.password_file.is_empty() {
            source.reject("mail.user", "user and password_file go together");
        }
        not_zero(source, "mail.connect", self.connect);
        not_zero(source, "mail.attempt", self.attempt);
        let retry = Schedule::new(self.retry, self.give_up_after);
        let retry = retry.map_err(|error| source.reject("mail.retry", error.to_string())).ok();
        let some = |text: String| (!text.is_empty()).then_some(text);
        Some(MailPolicy {
            url: url?,
            tls,
            from: self.from,
            contact: some(self.contact),
            operator: some(self.operator),
            login: some(self.user).map(|user| (user, self.password_file)),
            ca_file: some(self.ca_file),
            ehlo: self.ehlo,
            bounds: smtp::Bounds {
                connect_max: self.connect.duration(),
                attempt_max: self.attempt.duration(),
                ..smtp::Bounds::default()
            },
            retry: retry?,
            gather: self.gather,
            connections: self.connections.clamp(1, 64),
        })
    }
}

impl MailPolicy {
    /// With the password and the extra authority read from their files. The error names key and file, never content.
    pub fn smtp_config(&self, places: &Places) -> Result<SmtpConfig, String> {
        let login = match &self.login {
            None => None,
            Some((user, file)) => {
                let file = places.resolve(file);
                let text = std::fs::read_to_string(&file)
                    .map_err(|error| format!("mail.password_file: {}: {error}", file.display()))?;
                let password = Zeroizing::new(text).lines().next().unwrap_or_default().to_owned();
                Some(Login { user: user.clone(), password: Zeroizing::new(password) })
            }
        };
        let extra_ca_pem = match &self.ca_file {
            None => None,
            Some(file) => {
                let file = places.resolve(file);
                let pem = std::fs::read(&file)
                    .map_err(|error| format!("mail.ca_file: {}: {error}", file.display()))?;
                Some(pem)
            }
        };
        let (url, ehlo) = (self.url.clone(), self.ehlo.clone());
        Ok(SmtpConfig { url, tls: self.tls, login, extra_ca_pem, ehlo, bounds: self.bounds })
    }
}

/// `[spool]`: the insurers' side.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpoolPolicy {
    /// `[spool.publish]`
    pub publish: PublishPolicy,
    /// `[spool.imports]`
    pub imports: ImportPolicy,
}

/// `[metrics]`: where `/metrics`, `/healthz` and `/readyz` are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsTable {
    /// Address and port; empty means nowhere.
    pub listen: String,
}

impl Default for MetricsTable {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".to_owned() }
    }
}

impl MetricsTable {
    pub(super) fn check(&self, source: &mut Source<'_>) -> Option<SocketAddr> {
        if self.listen.is_empty() {
            return None;
        }
        Some(super::address(source, "metrics.listen", &self.listen))
    }
}

/// `[log]`: what is said on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogPolicy {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a list by part.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl LogPolicy {
    pub(super) fn check(&self, source: &mut Source<'_>) {
        let allowed =
            "must be error, warn, info, debug, trace, off, or a list such as info,todoke::doors::sftp=debug";
        // EnvFilter takes any single word for a target of that name, which would silence everything else.
        let word = !self.level.contains(['=', ',']);
        let level = self.level.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
        if (word && !level) || self.level.parse::<tracing_subscriber::EnvFilter>().is_err() {
            source.reject("log.level", allowed);
        }
    }
}

fn not_zero(source: &mut Source<'_>, key: &str, span: Span) {
    if span.is_zero() {
        source.reject(key, "must be longer than nothing, such as 30s");
    }
}
