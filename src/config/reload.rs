//! What a reload changed, and what of it waits for a restart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Config;

/// Keys (or tables) that are read once, at start: what the doors and stages were built with.
const NEEDS_RESTART: &[&str] = &[
    "gateway.root",
    "gateway.zone",
    "sftp.listen",
    "sftp.limits",
    "passwords.memory_kib",
    "passwords.passes",
    "passwords.checks_max",
    "passwords.checks_waiting_max",
    "passwords.enrolment_checks_max",
    "submit.intake_threads",
    "submit.sets_waiting_max",
    "submit.verdict_wait_seconds",
    "submit.self_service_file_bytes_max",
    "submit.listed_max",
    "scanner",
    "mail.url",
    "mail.tls",
    "mail.user",
    "mail.password_file",
    "mail.ca_file",
    "mail.ehlo",
    "mail.connect",
    "mail.attempt",
    "mail.connections",
    "mail.bounce_maildir",
    "delivery",
    "spool",
    "retention",
    "purge.clock_leap_hours_max",
    "purge.due_max",
    "purge.due_share_max",
    "purge.due_share_from",
    "purge.batch",
    "control",
    "metrics",
    "log.format",
];

/// One key that a reload changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `table.key`
    pub key: String,
    /// As it was; none when the file did not name it (the default was in force).
    pub old: Option<String>,
    /// As it is.
    pub new: Option<String>,
    /// Takes effect only when the daemon is started anew.
    pub needs_restart: bool,
}

/// What differs between two readings of the configuration, in order of keys.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (flatten(&old.raw), flatten(&new.raw));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Change {
            key: key.clone(),
            old: old.get(key).cloned(),
            new: new.get(key).cloned(),
            needs_restart: NEEDS_RESTART.iter().any(|prefix| {
                key.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }),
        })
        .collect()
}

fn flatten(table: &toml::Table) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    walk(&format!("{path}.{key}"), value, into);
                }
            }
            other => {
                into.insert(path.to_owned(), super::source::redact(&other.to_string()));
            }
        }
    }
    let mut flat = BTreeMap::new();
    for (key, value) in table {
        walk(key, value, &mut flat);
    }
    flat
}
