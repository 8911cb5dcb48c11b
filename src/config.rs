//! The configuration: raw TOML, then checked values. Policy only; parties live in the ledger.
//!
//! Each component owns its policy (a struct with `serde(default, deny_unknown_fields)` and `Default`); this file composes
//! them as tables. An insurer's own policy is in `conf/insurers/CODE.toml`, of which each module reads its own table.

mod places;
mod reload;
pub mod source;
mod tables;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::doors::sftp::Limits;
use crate::model::ids::InsurerCode;
use crate::model::span::Span;
use crate::rules::calendar::{BusinessDays, CalendarPolicy, HOLIDAYS_BYTES_MAX, Holidays, JA};
use crate::rules::certificates::AuthoritiesPolicy;
use crate::rules::notice::{KINDS, Templates};
use crate::rules::passwords::PasswordsPolicy;
use crate::rules::policy::{
    ControlPolicy, GatewayPolicy, ReconciliationPolicy, SessionsPolicy, SignaturesPolicy, SubmitPolicy,
};
use crate::work::deliver::DeliveryPolicy;
use crate::work::purge::PurgePolicy;
use crate::work::retention::RetentionPolicy;

pub use places::Places;
pub use reload::{Change, changes};
pub use source::{ConfigError, Problem};
pub use tables::{LogPolicy, MailPolicy, MailTable, MetricsTable, ScannerPolicy, ScannerTable, SpoolPolicy};

use source::Source;

/// The default configuration, as a checkout has it.
pub const DEFAULT_TEXT: &str = include_str!("../conf/todoke.toml");

/// Tables an insurer's file may have; each is read by the module named after it.
pub const INSURER_TABLES: &[&str] = &[
    "accounts",
    "calendar",
    "certificates",
    "delegations",
    "documents",
    "enrolment",
    "filing",
    "login",
    "other",
    "renewal",
];

/// `[sftp]`: where the SFTP door listens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftpPolicy {
    /// Address and port.
    pub listen: String,
    /// At a stop, transfers under way may go on for so long.
    pub drain_seconds: u64,
    /// `[sftp.limits]`
    pub limits: Limits,
}

impl Default for SftpPolicy {
    fn default() -> Self {
        Self { listen: "127.0.0.1:2222".to_owned(), drain_seconds: 30, limits: Limits::default() }
    }
}

/// `[renewal]` but for its schedule, which is taken out before.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RenewalTable {}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where its files and the data root are.
    pub places: Places,
    /// `[gateway]`
    pub gateway: GatewayPolicy,
    /// `[sftp] listen`
    pub sftp_listen: SocketAddr,
    /// `[sftp]`
    pub sftp: SftpPolicy,
    /// `[sessions]`
    pub sessions: SessionsPolicy,
    /// `[passwords]`
    pub passwords: PasswordsPolicy,
    /// `[submit]`
    pub submit: SubmitPolicy,
    /// `[signatures]`
    pub signatures: SignaturesPolicy,
    /// `[scanner]`
    pub scanner: ScannerPolicy,
    /// `[mail]`
    pub mail: MailPolicy,
    /// `[delivery]`
    pub delivery: DeliveryPolicy,
    /// `[spool]`
    pub spool: SpoolPolicy,
    /// `[retention]`
    pub retention: RetentionPolicy,
    /// `[purge]`
    pub purge: PurgePolicy,
    /// `[purge] schedule`: when the purge runs, in the gateway's zone.
    pub purge_schedule: cron::Schedule,
    /// `[certificates]`
    pub certificates: AuthoritiesPolicy,
    /// `[reconciliation]`
    pub reconciliation: ReconciliationPolicy,
    /// `[reconciliation] schedule`: when the books of the days before are closed, in the gateway's zone.
    pub reconciliation_schedule: cron::Schedule,
    /// `[renewal] report`: when the operator gets the list of certificates that end; none means never.
    pub renewal_report: Option<cron::Schedule>,
    /// `[control]`
    pub control: ControlPolicy,
    /// `[metrics] listen`; none means nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// `[log]`
    pub log: LogPolicy,
    /// As written, for telling what a reload changed.
    raw: toml::Table,
}

impl Config {
    /// Reads and checks `file`. Relative paths in it are relative to the folder that holds its folder (`DIR` of
    /// `DIR/conf/todoke.toml`).
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = source::read_text(file)?;
        Self::parse(file, &text)
    }

    /// Checks a text as if it stood in `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut source = Source::parse(file, text)?;
        let gateway: GatewayPolicy = source.table("gateway");
        let sftp: SftpPolicy = source.table("sftp");
        let sessions: SessionsPolicy = source.table("sessions");
        let passwords: PasswordsPolicy = source.table("passwords");
        let submit: SubmitPolicy = source.table("submit");
        let signatures: SignaturesPolicy = source.table("signatures");
        let scanner: ScannerTable = source.table("scanner");
        let mail: MailTable = source.table("mail");
        let delivery: DeliveryPolicy = source.table("delivery");
        let spool: SpoolPolicy = source.table("spool");
        let retention: RetentionPolicy = source.table("retention");
        let schedule = source.take("purge", "schedule").unwrap_or_else(|| "0 30 3 * * *".to_owned());
        let purge: PurgePolicy = source.table("purge");
        let certificates: AuthoritiesPolicy = source.table("certificates");
        let closing = source.take("reconciliation", "schedule").unwrap_or_else(|| "0 10 0 * * *".to_owned());
        let reconciliation: ReconciliationPolicy = source.table("reconciliation");
        let report: Option<String> = source.take("renewal", "report");
        let RenewalTable {} = source.table("renewal");
        let control: ControlPolicy = source.table("control");
        let metrics: MetricsTable = source.table("metrics");
        let log: LogPolicy = source.table("log");

        check_gateway(&mut source, &gateway);
        let sftp_listen = address(&mut source, "sftp.listen", &sftp.listen);
        at_least_one(&mut source, "sessions.person_max", sessions.person_max as u64);
        at_least_one(&mut source, "sessions.machine_max", sessions.machine_max as u64);
        at_least_one(&mut source, "sessions.enrolment_max", sessions.enrolment_max as u64);
        check_passwords(&mut source, &passwords);
        check_submit(&mut source, &submit);
        check_certificates(&mut source, &certificates);
        at_least_one(&mut source, "control.clients_max", control.clients_max as u64);
        at_least_one(&mut source, "control.timeout_seconds", control.timeout_seconds);
        let scanner = scanner.check(&mut source);
        let mail = mail.check(&mut source);
        let metrics_listen = metrics.check(&mut source);
        log.check(&mut source);
        let purge_schedule = cron(&mut source, "purge.schedule", &schedule);
        let reconciliation_schedule = cron(&mut source, "reconciliation.schedule", &closing);
        check_reconciliation(&mut source, &reconciliation);
        let renewal_report = match report.as_deref().unwrap_or("0 0 9 * * Mon") {
            "" => None,
            text => cron(&mut source, "renewal.report", text),
        };
        let rest = source.finish();
        // A table that did not check left a problem, so that this is one of both.
        let schedules = purge_schedule.zip(reconciliation_schedule);
        let (mail, (purge_schedule, reconciliation_schedule)) = match (rest, mail, schedules) {
            (Ok(()), Some(mail), Some(schedules)) => (mail, schedules),
            (Err(error), ..) => return Err(error),
            (Ok(()), ..) => return Err(ConfigError(Vec::new())),
        };
        let places = Places::of(file, &gateway.root);
        let raw = toml::from_str(text).unwrap_or_default();
        Ok(Self {
            places,
            gateway,
            sftp_listen,
            sftp,
            sessions,
            passwords,
            submit,
            signatures,
            scanner,
            mail,
            delivery,
            spool,
            retention,
            purge,
            purge_schedule,
            certificates,
            reconciliation,
            reconciliation_schedule,
            renewal_report,
            control,
            metrics_listen,
            log,
            raw,
        })
    }

    /// Texts of notices: those in `conf/notices/`, and the built-in ones for files that are not there. The error names the
    /// file.
    pub fn notice_texts(&self) -> Result<Templates, String> {
        let mut templates = Templates::builtin().map_err(|error| error.to_string())?;
        for kind in KINDS {
            let file = self.places.conf.join("notices").join(kind.file_name());
            if !file.exists() {
                continue;
            }
            let text = source::read_text(&file).map_err(|error| error.to_string())?;
            templates.set(kind, &file.display().to_string(), &text).map_err(|error| error.to_string())?;
        }
        Ok(templates)
    }

    /// One table of an insurer's own policy; the defaults when it has no file or no such table.
    pub fn insurer_table<T: DeserializeOwned + Default>(
        &self,
        insurer: &InsurerCode,
        table: &'static str,
    ) -> Result<T, ConfigError> {
        let file = self.places.insurer_file(insurer);
        if !file.exists() {
            return Ok(T::default());
        }
        let text = source::read_text(&file)?;
        let mut source = Source::parse(&file, &text)?;
        source.allow(INSURER_TABLES);
        debug_assert!(INSURER_TABLES.contains(&table), "[{table}] is not listed");
        let policy = source.table(table);
        source.finish()?;
        Ok(policy)
    }
}

impl Config {
    /// The same table of all insurers that have a file.
    pub fn insurer_tables<T: DeserializeOwned + Default>(
        &self,
        table: &'static str,
    ) -> Result<BTreeMap<InsurerCode, T>, ConfigError> {
        let mut tables = BTreeMap::new();
        for entry in std::fs::read_dir(self.places.conf.join("insurers")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let code = name.to_str().and_then(|name| name.strip_suffix(".toml"));
            if let Some(code) = code.and_then(|code| InsurerCode::parse(code).ok()) {
                tables.insert(code.clone(), self.insurer_table(&code, table)?);
            }
        }
        Ok(tables)
    }

    /// An insurer's calendar and the business days it counts.
    pub fn calendar(&self, insurer: &InsurerCode) -> Result<(CalendarPolicy, BusinessDays), ConfigError> {
        let policy: CalendarPolicy = self.insurer_table(insurer, "calendar")?;
        let wrong = |key: &str, what: String| ConfigError::at(&self.places.insurer_file(insurer), key, what);
        policy.check().map_err(|what| wrong("calendar", what))?;
        let holidays = self.holidays(&policy.holidays).map_err(|what| wrong("calendar.holidays", what))?;
        let days = policy.business_days(holidays);
        Ok((policy, days))
    }

    /// A table of holidays: `conf/holidays/NAME.csv`, else the one that comes with the program.
    pub fn holidays(&self, name: &str) -> Result<Holidays, String> {
        if name.is_empty() {
            return Ok(Holidays::default());
        }
        let file = self.places.holidays_file(name);
        let told = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
        let bytes = match std::fs::metadata(&file) {
            Ok(about) if about.len() > HOLIDAYS_BYTES_MAX => return Err(told(&"is too large to be one")),
            Ok(_) => std::fs::read(&file).map_err(|error| told(&error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && name == "ja" => JA.into(),
            Err(error) => return Err(told(&error)),
        };
        Holidays::parse(&bytes).map_err(|error| told(&error))
    }
}

fn check_gateway(source: &mut Source<'_>, gateway: &GatewayPolicy) {
    let name = &gateway.name;
    if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
        source.reject("gateway.name", "must be 1 to 60 characters without control characters");
    }
    if gateway.root.is_empty() || gateway.root.contains('\0') {
        source.reject("gateway.root", "must be a folder, such as spool or /var/lib/todoke");
    }
}

fn check_passwords(source: &mut Source<'_>, passwords: &PasswordsPolicy) {
    at_least_one(source, "passwords.checks_max", passwords.checks_max as u64);
    at_least_one(source, "passwords.enrolment_checks_max", passwords.enrolment_checks_max as u64);
    if !passwords.is_hard() {
        let what = "a check must cost at least 7 MiB and 5 passes, or as much in all: memory_kib of 7168 or more, and memory_kib \
                    times passes of 35840 or more";
        source.reject("passwords.memory_kib", what);
    }
    if passwords.memory_kib > 1 << 20 || passwords.passes > 100 {
        source.reject("passwords.memory_kib", "must be at most 1048576 (1 GiB), and passes at most 100");
    }
}

fn check_submit(source: &mut Source<'_>, submit: &SubmitPolicy) {
    if !(1..=120).contains(&submit.verdict_wait_seconds) {
        source.reject("submit.verdict_wait_seconds", "must be 1 to 120 seconds");
    }
    at_least_one(source, "submit.account_bytes_max", submit.account_bytes_max);
    at_least_one(source, "submit.account_files_max", submit.account_files_max as u64);
    at_least_one(source, "submit.refusals_per_hour_max", submit.refusals_per_hour_max as u64);
    at_least_one(source, "submit.unfinished_hours", u64::from(submit.unfinished_hours));
    if !(1..=12).contains(&submit.year_begins_month) {
        source.reject("submit.year_begins_month", "must be a month, 1 to 12");
    }
}

fn check_certificates(source: &mut Source<'_>, policy: &AuthoritiesPolicy) {
    if !(1..=50).contains(&policy.authority_years) {
        source.reject("certificates.authority_years", "must be 1 to 50 years");
    }
    if policy.backdate > Span::days(1) {
        source.reject("certificates.backdate", "must be at most 1d");
    }
    if policy.crl_holds < Span::seconds(3600) || policy.crl_holds > Span::days(365) {
        source.reject("certificates.crl_holds", "must be 1h to 365d");
    }
    let url = policy.crl_url.as_str();
    let fine = url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
    if !fine || !url.bytes().all(|b| b.is_ascii_graphic()) {
        source.reject(
            "certificates.crl_url",
            "must be an http URL in ASCII, such as http://crl.example.jp/todoke, or empty",
        );
    }
}

fn cron(source: &mut Source<'_>, key: &str, text: &str) -> Option<cron::Schedule> {
    let schedule = cron::Schedule::from_str(text);
    let what = "must be a cron expression of six fields (second, minute, hour, day, month, weekday), such as 0 30 3 * * *";
    schedule.map_err(|_| source.reject(key, what)).ok()
}

fn check_reconciliation(source: &mut Source<'_>, policy: &ReconciliationPolicy) {
    at_least_one(source, "reconciliation.keep_days", u64::from(policy.keep_days));
    if !(1..=400).contains(&policy.shown_days) {
        source.reject("reconciliation.shown_days", "must be 1 to 400 days");
    }
}

fn at_least_one(source: &mut Source<'_>, key: &str, value: u64) {
    if value == 0 {
        source.reject(key, "must be at least 1");
    }
}

fn address(source: &mut Source<'_>, key: &str, text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| {
        source.reject(key, "must be ADDRESS:PORT, such as 127.0.0.1:2222, 0.0.0.0:22 or [::]:22");
        SocketAddr::from(([127, 0, 0, 1], 2222))
    })
}

/// The configuration in force, replaced as a whole by a reload.
#[derive(Debug)]
pub struct ConfigCell(RwLock<Arc<Config>>);

impl ConfigCell {
    /// Begins with this one.
    pub fn new(config: Config) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    /// The one in force now; does not change under the caller's feet.
    pub fn get(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in force.
    pub fn set(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Reads the file again: puts it in force and says what changed, or leaves everything as it is and says what is wrong.
    pub fn reload(&self) -> Result<Vec<Change>, ConfigError> {
        let old = self.get();
        let new = Config::load(&old.places.file)?;
        let changed = changes(&old, &new);
        self.set(new);
        Ok(changed)
    }
}

/// The file that `-C DIR` means.
pub fn file_in(dir: &Path) -> PathBuf {
    dir.join("conf").join("todoke.toml")
}

#[cfg(test)]
mod tests;
