//! What lies on disk: the data root, keys, insurers' policies and spools, the journal's end.

use std::fs::Metadata;
use std::io::{self, BufRead as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use chrono::{Days, NaiveDate};

use super::Report;
use crate::config::{Config, source};
use crate::filing::rules::RuleSet;
use crate::model::ids::InsurerCode;
use crate::model::time::{DAY, SECOND, Timestamp};
use crate::rules::certificates::CertificatesPolicy;
use crate::rules::enrolment::EnrolmentPolicy;
use crate::rules::notice::{KINDS, Templates};
use crate::rules::policy::{AccountsPolicy, DelegationPolicy};
use crate::rules::renewal::RenewalPolicy;
use crate::signed::{sshsig, x509};
use crate::store::gateway_keys::{self, HOST_KEY, RECEIPT_KEY};
use crate::store::recover;
use crate::store::spool::{OPEN_FOLDERS, PRIVATE_FOLDERS};
use crate::work::deliver::DocumentTable;

/// The journal's last event may be this far ahead of the clock.
const CLOCK_SLACK: i64 = 60 * SECOND;
/// An authority that ends within so long is told.
const AUTHORITY_ENDS_SOON: i64 = 365 * DAY;
/// The last line of a journal is looked for in so many bytes at its end.
const TAIL_BYTES: u64 = 1 << 20;
/// An insurer's code is digits, but the folder may hold anything: so many are looked at.
const INSURERS_MAX: usize = 10_000;

/// Rule tables of the forms, and the texts of notices.
pub(super) fn tables(config: &Config, report: &mut Report) -> Option<RuleSet> {
    notices(config, report);
    let forms = config.places.conf.join("forms");
    let loaded = if forms.is_dir() { RuleSet::load(&forms) } else { RuleSet::builtin() };
    match loaded {
        Ok(rules) => {
            report.ok("rule tables", format!("{} rules", rules.rule_ids().len()));
            Some(rules)
        }
        Err(error) => {
            let found = format!("{}:{}: {}", error.file, error.line, error.reason);
            report.error("rule tables", found, "correct the table");
            None
        }
    }
}

fn notices(config: &Config, report: &mut Report) {
    let mut templates = match Templates::builtin() {
        Ok(templates) => templates,
        Err(error) => {
            report.error("notices", error.to_string(), "this is a fault of this build");
            return;
        }
    };
    for kind in KINDS {
        let file = config.places.conf.join("notices").join(kind.file_name());
        if !file.exists() {
            continue;
        }
        let set = source::read_text(&file).map_err(|error| error.to_string()).and_then(|text| {
            templates.set(kind, &file.display().to_string(), &text).map_err(|error| error.to_string())
        });
        match set {
            Ok(()) => report.ok("notice", file.display().to_string()),
            Err(text) => report.error("notice", text, "correct the text"),
        }
    }
}

/// Policies of single insurers.
pub(super) fn insurers(config: &Config, rules: Option<&RuleSet>, now: Timestamp, report: &mut Report) {
    let folder = config.places.conf.join("insurers");
    let Ok(entries) = std::fs::read_dir(&folder) else { return };
    for entry in entries.take(INSURERS_MAX).flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let Ok(code) = InsurerCode::parse(name) else {
            let found = format!("{} is not named after an insurer", path.display());
            report.warn(
                "insurer's policy",
                found,
                "name it CODE.toml, CODE being eight digits; it is not read as it is",
            );
            continue;
        };
        let accounts = config
            .insurer_table::<AccountsPolicy>(&code, "accounts")
            .and_then(|_| config.insurer_table::<DelegationPolicy>(&code, "delegations"))
            .map(|_| ());
        let renewal = config.insurer_table::<RenewalPolicy>(&code, "renewal").map(|_| ());
        let documents = config.insurer_table::<DocumentTable>(&code, "documents");
        let calendar = config.calendar(&code);
        if let Ok((policy, days)) = &calendar {
            holidays(&policy.holidays, days.holidays.ends(), now.date_in(config.gateway.zone), report);
        }
        let checked = match (&accounts.and(renewal), &documents, &calendar) {
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => Err(error.to_string()),
            (Ok(()), Ok(table), Ok(_)) => table
                .check()
                .map_err(|text| format!("{}: documents.{text}", path.display()))
                .and_then(|()| certificates(config, &code, &path))
                .and_then(|()| enrolment(config, &code, &path))
                .and_then(|()| filing(&path, rules)),
        };
        match checked {
            Ok(()) => report.ok("insurer's policy", path.display().to_string()),
            Err(text) => {
                for line in text.lines() {
                    report.error(
                        "insurer's policy",
                        line,
                        "correct the file; conf/insurers/README.md explains it",
                    );
                }
            }
        }
    }
}

fn certificates(config: &Config, code: &InsurerCode, path: &Path) -> Result<(), String> {
    let policy = config.insurer_table::<CertificatesPolicy>(code, "certificates");
    let checked = policy.map_err(|error| error.to_string())?.check();
    checked.map_err(|text| format!("{}: certificates.{text}", path.display()))
}

/// The `[enrolment]` table.
fn enrolment(config: &Config, code: &InsurerCode, path: &Path) -> Result<(), String> {
    let policy = config.insurer_table::<EnrolmentPolicy>(code, "enrolment").map_err(|e| e.to_string())?;
    let faults = policy.faults();
    if faults.is_empty() {
        return Ok(());
    }
    let lines = faults.iter().map(|(key, what)| format!("{}: {key}: {what}", path.display()));
    Err(lines.collect::<Vec<_>>().join("\n"))
}

/// A table of holidays that ends soon makes business days of holidays then.
fn holidays(name: &str, ends: Option<NaiveDate>, today: NaiveDate, report: &mut Report) {
    let soon = today.checked_add_days(Days::new(366)).unwrap_or(today);
    match ends {
        None if name.is_empty() => {}
        Some(ends) if ends > soon => {}
        ends => {
            let ends = ends.map_or_else(|| "is empty".to_owned(), |day| format!("ends on {day}"));
            let found = format!("holidays/{name}.csv {ends}");
            let action =
                "put the table that the Cabinet Office publishes in its place (syukujitsu.csv, as it is)";
            report.warn("holidays", found, action);
        }
    }
}

/// The `[filing]` table over the rules.
fn filing(path: &Path, rules: Option<&RuleSet>) -> Result<(), String> {
    let Some(rules) = rules else { return Ok(()) };
    let text = source::read_text(path).map_err(|error| error.to_string())?;
    match rules.for_insurer(&path.display().to_string(), &text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{}:{}: {}", error.file, error.line, error.reason)),
    }
}

/// The data root: there, ours, closed to others, on a disk with room.
pub(super) fn root(config: &Config, report: &mut Report) {
    let root = &config.places.root;
    let about = match std::fs::metadata(root) {
        Ok(about) => about,
        Err(error) => {
            report.error(
                "data root",
                format!("{}: {error}", root.display()),
                "make it with `todoke init DIR`, or correct gateway.root",
            );
            return;
        }
    };
    let user = rustix::process::geteuid().as_raw();
    if about.uid() != user {
        let found = format!("{} belongs to Unix user {}, this is {user}", root.display(), about.uid());
        report.warn("data root", found, "run todoke as its owner; chown -R it if the owner is wrong");
    }
    if mode(&about) & 0o022 != 0 {
        let found = format!("{} may be written by others (mode {:o})", root.display(), mode(&about));
        report.error("data root", found, "chmod go-w it");
    } else {
        report.ok("data root", root.display().to_string());
    }
    for name in ["journal", "index", "blobs", "keys", "credentials", "uploads"] {
        let folder = root.join(name);
        match std::fs::symlink_metadata(&folder) {
            Ok(about) if !about.is_dir() => {
                report.error(
                    "data root",
                    format!("{} is no folder", folder.display()),
                    "restore it from a backup",
                );
            }
            Ok(about) if mode(&about) & 0o077 != 0 => {
                let found = format!("{} is open to others (mode {:o})", folder.display(), mode(&about));
                report.error("data root", found, "chmod 700 it");
            }
            Ok(inner) if inner.uid() != about.uid() => {
                let found = format!("{} belongs to Unix user {}", folder.display(), inner.uid());
                report.error("data root", found, "chown it to the data root's owner");
            }
            Ok(_) => {}
            Err(error) => {
                let found = format!("{}: {error}", folder.display());
                report.error("data root", found, "`todoke init DIR` makes what is missing");
            }
        }
    }
    disk(config, report);
}

fn disk(config: &Config, report: &mut Report) {
    let root = &config.places.root;
    let Ok(about) = rustix::fs::statvfs(root) else { return };
    if about.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        report.error(
            "disk",
            format!("the file system of {} is read-only: nothing is taken in", root.display()),
            "see the kernel's log (a disk that fails is made read-only) and `findmnt`; mend it, then restart the daemon",
        );
        return;
    }
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let (mib, min) = (free >> 20, config.submit.free_bytes_min);
    if free < min {
        let found =
            format!("{mib} MiB free, submit.free_bytes_min is {} MiB: nothing is taken in", min >> 20);
        report.error("disk", found, "make room, or move the data root to a larger disk");
    } else if free < min.saturating_mul(2) || (about.f_files > 0 && about.f_favail < about.f_files / 50) {
        let found = format!("{mib} MiB and {} files free: soon full", about.f_favail);
        report.warn("disk", found, "make room before nothing is taken in any more");
    } else {
        report.ok("disk", format!("{mib} MiB free"));
    }
}

/// The gateway's own keys.
pub(super) fn keys(config: &Config, report: &mut Report) {
    for (name, what) in [(HOST_KEY, "SSH host key"), (RECEIPT_KEY, "receipt key")] {
        match gateway_keys::load(&config.places.keys(), name) {
            Ok(key) if key.is_encrypted() => {
                report.error(
                    what,
                    "it is protected by a passphrase",
                    "remove it: ssh-keygen -p -N '' -f FILE",
                );
            }
            Ok(key) if sshsig::require_strong(key.public_key().key_data()).is_err() => {
                report.error(what, "it is too weak", "make an Ed25519 key, and tell offices its fingerprint");
            }
            Ok(key) => {
                let fingerprint = key.fingerprint(russh::keys::ssh_key::HashAlg::Sha256);
                report.ok(what, format!("{} {fingerprint}", key.algorithm()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let found = format!("{} is not there", config.places.keys().join(name).display());
                report.error(
                    what,
                    found,
                    "restore it from a backup; `todoke init DIR` makes a new one where there never was one",
                );
            }
            Err(error) => {
                report.error(what, error.to_string(), "correct its rights or restore it from a backup");
            }
        }
    }
}

/// Keys of the gateway's own authorities, and how long the certificates of all that are trusted hold.
pub(super) fn authorities(config: &Config, now: Timestamp, report: &mut Report) {
    let names = |folder: &Path, end: &str| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().take(INSURERS_MAX).flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| path.to_string_lossy().ends_with(end));
        paths.sort();
        paths
    };
    for path in names(&config.places.keys(), ".key") {
        let what = format!("authority's key {}", path.file_stem().unwrap_or_default().display());
        match gateway_keys::read_private(&path) {
            Ok(_) => report.ok(&what, "closed to others"),
            Err(error) => {
                report.error(&what, error.to_string(), "correct its rights or restore it from a backup");
            }
        }
    }
    for path in names(&config.places.public(), ".crt") {
        let what = format!("authority {}", path.file_stem().unwrap_or_default().display());
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let read = read.and_then(|pem| match der::pem::decode_vec(&pem) {
            Ok((_, der)) => Ok(x509::Certificate::from_der(&der)),
            Err(error) => Err(error.to_string()),
        });
        match read {
            Ok(Ok(of)) if of.not_after.since(now) > AUTHORITY_ENDS_SOON => {
                report.ok(&what, format!("holds until {}", of.not_after));
            }
            Ok(Ok(of)) => report.warn(
                &what,
                format!("it ends at {}", of.not_after),
                "begin a new generation in good time: `todoke cert authority rotate`; an external one: `cert authority add`",
            ),
            Ok(Err(error)) => report.error(&what, error.to_string(), "`todoke cert crl` writes public/ anew"),
            Err(error) => report.error(&what, error, "`todoke cert crl` writes public/ anew"),
        }
    }
}

/// Insurers' folders: all there, and open to one group only.
pub(super) fn spools(config: &Config, report: &mut Report) {
    let folder = config.places.root.join("insurers");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            report.error("insurers' spools", format!("{}: {error}", folder.display()), "correct its rights");
            return;
        }
    };
    for entry in entries.take(INSURERS_MAX).flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(code) = name.to_str().and_then(|name| InsurerCode::parse(name).ok()) else {
            let found = format!("{} is no insurer's", path.display());
            report.warn("insurers' spools", found, "todoke does not use it; remove it if nobody else does");
            continue;
        };
        match spool(&path) {
            Ok(group) => report.ok(&format!("spool {code}"), format!("group {group}")),
            Err(text) => {
                let action =
                    format!("`todoke insurer change {code} --group GROUP` puts folders and rights in order");
                report.error(&format!("spool {code}"), text, &action);
            }
        }
    }
}

fn spool(own: &Path) -> Result<u32, String> {
    let look = |path: &Path| {
        let about =
            std::fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if about.is_dir() { Ok(about) } else { Err(format!("{} is no folder", path.display())) }
    };
    let about = look(own)?;
    if mode(&about) & 0o027 != 0 {
        return Err(format!(
            "{} has mode {:o}; the group may not write, others nothing",
            own.display(),
            mode(&about)
        ));
    }
    for name in OPEN_FOLDERS {
        let inner = look(&own.join(name))?;
        if mode(&inner) & 0o007 != 0 {
            return Err(format!("{} is open to others (mode {:o})", own.join(name).display(), mode(&inner)));
        }
        if mode(&inner) & 0o020 != 0 && inner.gid() != about.gid() {
            return Err(format!("{} belongs to group {}", own.join(name).display(), inner.gid()));
        }
    }
    for name in PRIVATE_FOLDERS {
        let inner = look(&own.join(name))?;
        if mode(&inner) & 0o077 != 0 {
            return Err(format!("{} is open to others (mode {:o})", own.join(name).display(), mode(&inner)));
        }
    }
    Ok(about.gid())
}

/// The journal: whole, when no daemon vouches for it, and its last event against the clock.
pub(super) fn journal(config: &Config, now: Timestamp, runs: bool, report: &mut Report) {
    let folder = config.places.root.join("journal");
    if !folder.exists() {
        // Said as a part of the data root that is missing.
        return;
    }
    let found = if runs { Ok(None) } else { recover::verify(&config.places.root).map(Some) };
    let tail = match found {
        Err(error) => {
            return report.error(
                "journal",
                error.to_string(),
                "the daemon does not start before this is mended",
            );
        }
        Ok(verified) => verified.and_then(|verified| verified.tail),
    };
    if let Some(tail) = tail {
        let found = format!("its last bytes are no whole commit ({}: {})", tail.bad, tail.why);
        report.warn(
            "journal",
            found,
            "the next start judges them: what was never answered is cut and kept aside",
        );
    }
    let last = match last_time(&folder) {
        Ok(last) => last,
        Err(error) => {
            let found = format!("{} cannot be read: {error}", folder.display());
            return report.error(
                "journal",
                found,
                "use the daemon's user; put the folder back if it is missing",
            );
        }
    };
    let Some(last) = last else {
        report.ok("journal", "nothing happened yet");
        return;
    };
    if last.since(now) > CLOCK_SLACK {
        let found = format!("its last event is of {last}, but the clock says {now}");
        report.error(
            "clock",
            found,
            "set the clock right (NTP); events keep their order meanwhile, and the purge may pause",
        );
    } else {
        report.ok("journal", format!("last event at {last}"));
    }
}

/// The time in the last whole line of the last segment.
fn last_time(folder: &Path) -> io::Result<Option<Timestamp>> {
    let mut segments: Vec<_> = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    segments.sort();
    let Some(path) = segments.last() else { return Ok(None) };
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let lines = io::BufReader::new(file).split(b'\n').map_while(Result::ok);
    Ok(lines.filter_map(|line| time_in(&line)).last())
}

fn time_in(line: &[u8]) -> Option<Timestamp> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    value["record"]["at"].as_i64().map(Timestamp)
}

fn mode(about: &Metadata) -> u32 {
    about.mode() & 0o7777
}
