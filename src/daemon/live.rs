//! What only a running daemon can say: sessions, alarms, health; and reload.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::house::{House, bounce_policy, lists, notice_policy, send_policy, templates};
use crate::config::Config;
use crate::desk::{Kind, Live, Session, Trouble};
use crate::doors::log::LogLevel;
use crate::doors::sftp::ServerHandle;
use crate::doors::sftp::gate::{KeyGate, LoginPolicy};
use crate::doors::systemd::Notifier as Systemd;
use crate::filing::RuleBook;
use crate::model::ids::Number;
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::work::alarms::Alarms as _;
use crate::work::judge::{Judge, Say};
use crate::work::watch::SpoolWatch;

/// The daemon as the desk sees it.
pub(super) struct LiveDaemon {
    pub(super) house: Arc<House>,
    pub(super) gate: Arc<KeyGate>,
    pub(super) sftp: ServerHandle,
    pub(super) sftp_address: SocketAddr,
    pub(super) started_at: Timestamp,
    pub(super) log: Option<LogLevel>,
    pub(super) systemd: Systemd,
    pub(super) watch: Mutex<Option<SpoolWatch>>,
}

impl Live for LiveDaemon {
    fn started_at(&self) -> Timestamp {
        self.started_at
    }

    fn sftp(&self) -> SocketAddr {
        self.sftp_address
    }

    fn sessions(&self) -> Vec<Session> {
        self.sftp
            .sessions()
            .into_iter()
            .filter_map(|s| {
                Some(Session {
                    account: s.account?,
                    from: s.address.to_string(),
                    since: s.since.to_string(),
                    bytes_in: s.bytes_in,
                    bytes_out: s.bytes_out,
                })
            })
            .collect()
    }

    fn alarms(&self) -> Vec<Value> {
        let alarms = self.house.alarms.list();
        alarms
            .into_iter()
            .map(|a| json!({"code": a.code, "text": a.text, "first": a.first.to_string(), "last": a.last.to_string(), "count": a.count}))
            .collect()
    }

    fn scanner(&self) -> Value {
        match self.house.scanner.patterns() {
            Ok(patterns) => json!({
                "up": true,
                "engine": patterns.engine,
                "patterns": patterns.number,
                "made": patterns.made.map(|made| made.to_string()),
            }),
            Err(error) => json!({"up": false, "reason": error.to_string()}),
        }
    }

    fn purge(&self) -> Value {
        let alarms = self.house.alarms.list();
        let paused = alarms.iter().find(|a| a.code == "PURGE-PAUSED").map(|a| a.text.clone());
        json!({"paused": paused})
    }

    fn health(&self) -> Value {
        let (now, health) = (Instant::now(), &self.house.health);
        let mut value = serde_json::to_value(health.report(now)).unwrap_or(Value::Null);
        // Loops may all come round though nothing is taken in any more.
        let readiness = health.readiness(now);
        value["ready"] = readiness.ready.into();
        value["waiting_for"] = readiness.waiting_for.into();
        value
    }

    fn reload(&self) -> Result<Value, Trouble> {
        self.systemd.reloading();
        let done = self.reload_all();
        self.systemd.ready("serving");
        done
    }

    fn applications_changed(&self) {
        self.house.bells.enrol.ring();
    }

    fn parties_changed(&self) {
        self.gate.look_again();
        // Watching a folder that is watched already changes nothing.
        if let Some(watch) = self.watch.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            for insurer in self.house.ledger.insurers().unwrap_or_default() {
                if let Err(error) = watch.add(&insurer.code) {
                    tracing::warn!(insurer = %insurer.code, %error, "an insurer's folder is not watched; it is looked at at intervals");
                }
            }
        }
        self.house.bells.imports.ring();
        self.house.bells.deliveries.ring();
    }
}

impl LiveDaemon {
    /// Reads everything first; puts it in force only when all of it is right.
    fn reload_all(&self) -> Result<Value, Trouble> {
        let house = &self.house;
        let old = house.config.get();
        let wrong = |text: String| {
            Trouble::new(Kind::Usage, "RELOAD-REFUSED", format!("{text}\nnothing was changed"))
        };
        let new = Config::load(&old.places.file).map_err(|e| wrong(e.to_string()))?;
        let rules = RuleBook::load(&new.places.conf).map_err(|e| wrong(e.to_string()))?;
        let logins = new.insurer_tables("login").map_err(|e| wrong(e.to_string()))?;
        let texts = templates(&new).map_err(|e| wrong(format!("{e:#}")))?;
        let notices = notice_policy(&new).map_err(|e| wrong(format!("{e:#}")))?;
        let lists = lists(&new).map_err(|e| wrong(format!("signatures.revocation_lists: {e}")))?;
        if let Some(log) = &self.log {
            log.set(&new.log.level).map_err(|e| wrong(e.to_string()))?;
        }
        *house.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        *house.templates.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(texts);
        *house.logins.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(logins);
        *house.notices.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(notices);
        *house.returned.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(bounce_policy(&new));
        *house.sending.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(send_policy(&new));
        *house.submit.write().unwrap_or_else(PoisonError::into_inner) = new.submit.clone();
        house.dropboxes.set_limits(&new.submit);
        house.verification.set_lists(lists);
        house.alarms.clear("REVOCATION-LIST");
        *self.gate.policy.lock().unwrap_or_else(PoisonError::into_inner) = login_policy(&new);
        let changes = crate::config::changes(&old, &new);
        house.config.set(new);
        tracing::info!(changes = changes.len(), "the configuration was read again");
        let changes: Vec<Value> = changes.iter().filter_map(|c| serde_json::to_value(c).ok()).collect();
        Ok(json!({ "changes": changes }))
    }
}

/// Policy of logins as the configuration has it.
pub(super) fn login_policy(config: &Config) -> LoginPolicy {
    LoginPolicy {
        logins_max: config.sessions.person_max,
        machine_logins_max: config.sessions.machine_max,
        ..LoginPolicy::default()
    }
}

/// Decides a held submission at the operator's word.
pub(super) fn decide(
    judge: &Judge,
    number: Number,
    release: bool,
    by: &Actor,
    now: Timestamp,
) -> Result<(), Trouble> {
    use crate::model::submission::Outcome;
    let say = if release { Say::Release } else { Say::Refuse };
    let before = judge.ledger.hold(number)?.map(|hold| hold.reason);
    match judge.judge(number, now, Some(say), by.clone()) {
        // Released; it waits for something else now, which the listing says.
        Ok(Some(Outcome::Held(reason))) if Some(reason) != before => Ok(()),
        Ok(Some(Outcome::Held(reason))) => {
            let text = format!(
                "submission {number} still has to wait ({}); `todoke doctor` says what is wrong",
                reason.word()
            );
            Err(Trouble::new(Kind::NotNow, "STILL-HELD", text))
        }
        Ok(Some(Outcome::Refused(code))) if release => {
            Err(Trouble::refused("REFUSED", format!("submission {number} was checked and refused: {code}")))
        }
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Trouble::refused("NOT-HELD", format!("submission {number} is not held"))),
        Err(error) => Err(Trouble::fault(format!("{error:#}"))),
    }
}
