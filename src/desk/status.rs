//! How things are, at a glance and for a monitor.

use serde_json::{Value, json};

use super::certificates::ending_soon;
use super::listing::{time, time_or_null};
use super::parts::Parts;
use super::request::{Answer, Response};
use super::trouble::Trouble;
use crate::model::time::Timestamp;
use crate::rules::renewal::Need;
use crate::store::ledger::Queue;
use crate::work::renewals::{need_words, survey};

/// Addresses that are counted.
const ADDRESSES_MAX: usize = 10_000;

const QUEUES: [(&str, Queue); 5] = [
    ("judge", Queue::Judge),
    ("publish", Queue::Publish),
    ("expire", Queue::Expire),
    ("announce", Queue::Announce),
    ("mail", Queue::Mail),
];

pub(super) fn answer(parts: &Parts, now: Timestamp) -> Response {
    let head = parts.ledger.head();
    let config = parts.config.get();
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "name": config.gateway.name,
        "root": config.places.root,
        "running": parts.live.is_some(),
        "pid": std::process::id(),
        "now": time(now),
        "epoch": head.epoch,
        "unreconciled": head.unreconciled,
        "journal": { "seq": head.seq, "at": time(head.at) },
        "queues": queues(parts, now)?,
        "held": held(parts)?,
        "addresses_unreachable": parts.ledger.marked_mailboxes(None, ADDRESSES_MAX)?.len(),
        "disk_free_bytes": parts.blobs.free_bytes()?,
    });
    status["authorities"] = Value::Array(ending_soon(parts, now)?);
    status["applications"] = super::applications::waiting(parts, now)?;
    status["certificates"] = certificates(parts, now)?;
    if let Some(live) = &parts.live {
        status["started_at"] = time(live.started_at());
        status["sftp"] = live.sftp().to_string().into();
        status["sessions"] = serde_json::to_value(live.sessions())?;
        status["alarms"] = Value::Array(live.alarms());
        status["scanner"] = live.scanner();
        status["purge"] = live.purge();
        status["health"] = live.health();
    }
    Ok(Answer::of(status))
}

/// Accounts that are named in the status; all are in `cert list --ending-before`.
const NAMED_MAX: usize = 20;

/// How many certificates end within so many days (or have ended) with no successor in use, how many successors wait for their
/// first use, and which accounts have until tomorrow.
fn certificates(parts: &Parts, now: Timestamp) -> Result<Value, Trouble> {
    let all = survey(parts.ledger.as_ref(), 90, now, parts.config.get().gateway.zone)?;
    let within = |days: i64| all.iter().filter(|ending| ending.days <= days).count();
    let urgent = all.iter().filter(|ending| ending.days <= 1).take(NAMED_MAX);
    Ok(json!({
        "ended": all.iter().filter(|ending| ending.certificate.not_after <= now).count(),
        "within_1_day": within(1),
        "within_7_days": within(7),
        "within_30_days": within(30),
        "within_90_days": within(90),
        "unused": all.iter().filter(|ending| matches!(ending.need, Need::Use(_))).count(),
        "urgent": urgent.map(|ending| json!({
            "account": ending.certificate.account,
            "certificate": ending.certificate.id,
            "ends_at": time(ending.certificate.not_after),
            "need": need_words(ending.need).en,
        })).collect::<Vec<_>>(),
    }))
}

/// Submissions that are held, those that wait for an operator included, which are in no queue.
fn held(parts: &Parts) -> Result<Value, Trouble> {
    let (count, since) = parts.ledger.held()?;
    Ok(json!({ "count": count, "first_at": time_or_null(since) }))
}

/// How many wait, since when the first was due, and for how many seconds that is.
fn queues(parts: &Parts, now: Timestamp) -> Result<Value, Trouble> {
    let mut all = serde_json::Map::new();
    for (name, queue) in QUEUES {
        let (count, since) = parts.ledger.waiting(queue)?;
        let late = since.map(|since| (now.since(since) / 1000).max(0));
        all.insert(
            name.to_owned(),
            json!({ "waiting": count, "first_due_at": time_or_null(since), "late_seconds": late }),
        );
    }
    Ok(Value::Object(all))
}
