//! Tables whose components take finished values: as written, and checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Places;
use super::source::Source;
use crate::doors::clamd::{self, ScannerAddress};
use crate::doors::log::LogFormat;
use crate::doors::smtp::{self, Login, SmtpConfig, SmtpUrl, TlsMode};
use crate::model::mail::Mailbox;
use crate::model::span::Span;
use crate::rules::lanes::LaneRule;
use crate::rules::mailbox::Gathering;
use crate::rules::notice::Dkim;
use crate::rules::retry::Schedule;
use crate::store::gateway_keys;
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
    /// Between two arrival mails to one mailbox.
    pub interval: Span,
    /// Mails under way at the same time.
    pub connections: usize,
    /// Envelope sender with `{id}`; empty means `from`.
    pub bounces: String,
    /// Where the mail server leaves what came back; empty means nowhere.
    pub bounce_maildir: String,
    /// What was read stays there for so long...
    pub bounce_keep: Span,
    /// ... and so many bytes of it.
    pub bounce_keep_bytes: u64,
    /// So many failures that may pass mark an address...
    pub failures_max: usize,
    /// ... within so long.
    pub failures_within: Span,
    /// `[mail.per_destination]`
    pub per_destination: DestinationTable,
    /// `[mail.destinations."DOMAIN"]`
    pub destinations: BTreeMap<String, DestinationTable>,
    /// `[mail.dkim]`
    pub dkim: DkimTable,
}

/// `[mail.per_destination]`: how much of one destination at a time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DestinationTable {
    /// Mails under way at the same time.
    pub connections: usize,
    /// Mails begun in any minute; 0 means any number.
    pub per_minute: u32,
}

impl Default for DestinationTable {
    fn default() -> Self {
        Self { connections: 4, per_minute: 0 }
    }
}

impl DestinationTable {
    fn rule(&self) -> LaneRule {
        LaneRule { connections: self.connections.clamp(1, 64), per_minute: self.per_minute }
    }
}

/// `[mail.dkim]`: signs mails; all empty means that they are not signed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DkimTable {
    /// Names the key in the domain's records.
    pub selector: String,
    /// Whose mails they are.
    pub domain: String,
    /// PEM of the private key, relative to [`super::Places::base`].
    pub key_file: String,
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
            interval: Span::seconds(3600),
            connections: 8,
            bounces: String::new(),
            bounce_maildir: String::new(),
            bounce_keep: Span::days(14),
            bounce_keep_bytes: 1 << 30,
            failures_max: 3,
            failures_within: Span::days(14),
            per_destination: DestinationTable::default(),
            destinations: BTreeMap::new(),
            dkim: DkimTable::default(),
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
    /// How arrivals of one mailbox share a mail.
    pub gathering: Gathering,
    /// Mails under way at the same time.
    pub connections: usize,
    /// Envelope sender with `{id}`; none means `from`.
    pub bounces: Option<String>,
    /// Where the mail server leaves what came back, relative to [`super::Places::base`].
    pub bounce_maildir: Option<String>,
    /// What was read stays there for so long...
    pub bounce_keep: Span,
    /// ... and so many bytes of it.
    pub bounce_keep_bytes: u64,
    /// So many failures that may pass, within so long, mark an address.
    pub failures: (usize, Span),
    /// How much of one destination at a time.
    pub lane: LaneRule,
    /// Destinations with rules of their own, in small letters.
    pub lanes: BTreeMap<String, LaneRule>,
    /// Selector, domain and key file; none means that mails are not signed.
    pub dkim: Option<DkimTable>,
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
        let pattern = self.bounces.replacen("{id}", "m1-000001-2.0123456789abcdef", 1);
        let fits = pattern.split('@').next().is_some_and(|local| local.len() <= 64);
        if !self.bounces.is_empty()
            && (!self.bounces.contains("{id}")
                || pattern.contains(['{', '}'])
                || !fits
                || pattern.parse::<lettre::Address>().is_err())
        {
            source.reject(
                "mail.bounces",
                "must be one mail address with {id} before the @, such as bounce+{id}@example.jp",
            );
        }
        if self.failures_max == 0 || self.failures_max > Mailbox::FAILURES_MAX {
            source.reject("mail.failures_max", format!("must be 1 to {}", Mailbox::FAILURES_MAX));
        }
        let dkim = [&self.dkim.selector, &self.dkim.domain, &self.dkim.key_file];
        let some_empty = dkim.iter().any(|text| text.is_empty());
        if some_empty && dkim.iter().any(|text| !text.is_empty()) {
            source.reject("mail.dkim", "selector, domain and key_file go together");
        }
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
            gathering: Gathering { gather: self.gather.millis(), interval: self.interval.millis() },
            connections: self.connections.clamp(1, 64),
            bounces: some(self.bounces),
            bounce_maildir: some(self.bounce_maildir),
            bounce_keep: self.bounce_keep,
            bounce_keep_bytes: self.bounce_keep_bytes,
            failures: (self.failures_max, self.failures_within),
            lane: self.per_destination.rule(),
            lanes: self
                .destinations
                .iter()
                .map(|(name, table)| (name.to_ascii_lowercase(), table.rule()))
                .collect(),
            dkim: (!some_empty).then_some(self.dkim),
        })
    }
}

impl MailPolicy {
    /// Signs mails, where that is configured. The error names key and file, never content.
    pub fn dkim(&self, places: &Places) -> Result<Option<Dkim>, String> {
        let Some(table) = &self.dkim else { return Ok(None) };
        let file = places.resolve(&table.key_file);
        let pem = gateway_keys::read_private(&file)
            .map_err(|error| format!("mail.dkim.key_file: {}: {error}", file.display()))?;
        let pem = std::str::from_utf8(&pem)
            .map_err(|_| format!("mail.dkim.key_file: {} is no PEM file", file.display()))?;
        Dkim::new(&table.selector, &table.domain, pem)
            .map(Some)
            .map_err(|error| format!("mail.dkim: {error}"))
    }

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
