//! Documents: outboxes, deliveries by hand, recall, and what expires.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use serde_json::{Value, json};

use super::listing::{PAGE, page, time, time_or_null};
use super::outbox_stats;
use super::parts::{AnnounceOrder, DeliverOrder, Parts};
use super::request::{Answer, OutboxRequest, PurgeRequest, Response};
use super::trouble::{Kind, Trouble};
use super::works::document_table;
use crate::model::card::{DocumentCard, HoldCard};
use crate::model::document::{Document, RemovalReason};
use crate::model::ids::{DocumentId, InsurerCode};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::notice::last_day;
use crate::store::cards;
use crate::store::ledger::{Op, Queue, Task};
use crate::work::remind;

/// Documents that a dry run of the purge lists.
const DRY_RUN_MAX: usize = 10_000;

pub(super) fn answer(parts: &Parts, request: OutboxRequest, by: &Actor, now: Timestamp) -> Response {
    match request {
        OutboxRequest::List { account, office, after } => {
            if parts.ledger.account(&account)?.is_none() {
                return Err(Trouble::unknown(format!("account {account}")));
            }
            let rows = parts.ledger.documents(&account, office.as_ref(), after, PAGE)?;
            page(rows, |row| row.id.to_string(), |row| row_of(parts, &row))
        }
        OutboxRequest::Recall(id) => recall(parts, id, by, now),
        OutboxRequest::Hold { id, legal, reason } => hold(parts, id, legal, &reason, by, now),
        OutboxRequest::Release(id) => release(parts, id, by, now),
        OutboxRequest::Stats { insurer } => outbox_stats::answer(parts, insurer.as_ref(), now),
        OutboxRequest::Announcements { insurer, after } => announcements(parts, &insurer, after),
        OutboxRequest::RecallAnnouncement { insurer, announcement } => {
            recall_announcement(parts, &insurer, announcement, by, now)
        }
    }
}

/// A document as `outbox list --json` shows it.
fn row_of(parts: &Parts, document: &Document) -> Result<Value, Trouble> {
    let title = match cards::get::<DocumentCard>(parts.blobs.as_ref(), &document.card) {
        Ok(card) => Some(card.title),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    Ok(json!({
        "document": document.id,
        "name": document.name(),
        "account": document.account,
        "office": document.office,
        "insurer": document.insurer,
        "in_reply_to": document.in_reply_to,
        "announcement": document.announcement,
        "type": document.kind,
        "title": title,
        "format": document.format,
        "size": document.size,
        "sha256": document.sha256,
        "placed_at": time(document.placed_at),
        "expires_at": time(document.expires_at),
        "first_fetched_at": time_or_null(document.fetched.map(|(first, _)| first)),
        "last_fetched_at": time_or_null(document.fetched.map(|(_, last)| last)),
        "partly_fetched_at": time_or_null(document.partly_fetched.map(|(at, _)| at)),
        "partly_fetched_bytes": document.partly_fetched.map(|(_, bytes)| bytes),
        "held_since": time_or_null(document.hold.as_ref().map(|hold| hold.since)),
        "hold": document.hold.as_ref().map(|hold| if hold.legal { "legal" } else { "operator" }),
        "hold_reason": hold_reason(parts, document)?,
    }))
}

fn hold_reason(parts: &Parts, document: &Document) -> Result<Option<String>, Trouble> {
    let Some(hold) = &document.hold else { return Ok(None) };
    match cards::get::<HoldCard>(parts.blobs.as_ref(), &hold.card) {
        Ok(card) => Ok(Some(card.reason)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn find(parts: &Parts, id: DocumentId) -> Result<Document, Trouble> {
    if let Some(document) = parts.ledger.document(id)? {
        return Ok(document);
    }
    Err(match parts.ledger.removed_document(id)? {
        None => Trouble::unknown(format!("document {id}")),
        Some(gone) => {
            let why = match gone.reason {
                RemovalReason::Expired => "its days were over",
                RemovalReason::Recalled => "it was recalled",
            };
            Trouble::refused("DOCUMENT-GONE", format!("document {id} went at {}: {why}", gone.removed_at))
        }
    })
}

/// Characters of a reason.
const REASON_MAX: usize = 500;

fn hold(parts: &Parts, id: DocumentId, legal: bool, reason: &str, by: &Actor, now: Timestamp) -> Response {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_MAX {
        let text = format!(
            "a hold needs a reason of at most {REASON_MAX} characters: who asked for it, and until when"
        );
        return Err(Trouble::new(Kind::Usage, "HOLD-REASON", text));
    }
    find(parts, id)?;
    let card = HoldCard { salt: cards::salt()?, reason: reason.to_owned() };
    let card = cards::put(parts.blobs.as_ref(), &card, now)?;
    parts.blobs.sync(std::slice::from_ref(&card.blob))?;
    let blob = card.blob.clone();
    if let Err(error) = parts.ledger.commit(Op::HoldDocument { id, legal, card }, by.clone(), now) {
        // Unless the journal is in doubt the event is not there, so nothing names the card.
        if error.is_not_recorded() {
            parts.blobs.remove(&[blob])?;
        }
        return Err(error.into());
    }
    let note = format!("{id} is kept until `todoke outbox release {id}`, whatever its days.");
    Ok(Answer { notes: vec![note], ..Answer::of(row_of(parts, &find(parts, id)?)?) })
}

fn release(parts: &Parts, id: DocumentId, by: &Actor, now: Timestamp) -> Response {
    let before = find(parts, id)?;
    let config = parts.config.get();
    let levels = document_table(&config, &before.insurer).remind_days;
    let until = remind::released_until(&levels, now, config.gateway.zone);
    parts.ledger.commit(Op::ReleaseDocument { id, until }, by.clone(), now)?;
    let document = find(parts, id)?;
    let note = if document.expires_at != before.expires_at {
        let last = last_day(document.expires_at, config.gateway.zone);
        format!(
            "Nobody has fetched {id}: it stays until the end of {last}, and its account is reminded by mail."
        )
    } else if document.expires_at <= now {
        format!("{id} is over its days: the next purge removes it.")
    } else {
        format!("{id} goes when its days are over.")
    };
    Ok(Answer { notes: vec![note], ..Answer::of(row_of(parts, &document)?) })
}

fn recall(parts: &Parts, id: DocumentId, by: &Actor, now: Timestamp) -> Response {
    let document = find(parts, id)?;
    let fetched = parts.works.recall(id, by, now)?;
    let partly = parts.ledger.removed_document(id)?.and_then(|gone| gone.partly_fetched);
    let note = match fetched {
        None if partly.is_some() => format!(
            "{id} is gone, but {} had fetched a part of it: see to it that the part is destroyed. Both sides are told.",
            document.account
        ),
        None => {
            format!("{id} is gone; nobody had fetched it. {} and the insurer are told.", document.account)
        }
        Some((first, last)) => format!(
            "{id} is gone, but {} had fetched it (first {first}, last {last}): see to it that the copy is destroyed. Both \
             sides are told.",
            document.account
        ),
    };
    let row = json!({
        "document": id,
        "account": document.account,
        "insurer": document.insurer,
        "fetched": fetched.is_some(),
        "first_fetched_at": time_or_null(fetched.map(|(first, _)| first)),
        "last_fetched_at": time_or_null(fetched.map(|(_, last)| last)),
        "partly_fetched_at": time_or_null(partly.map(|(at, _)| at)),
        "partly_fetched_bytes": partly.map(|(_, bytes)| bytes),
    });
    Ok(Answer { notes: vec![note], ..Answer::of(row) })
}

pub(super) fn deliver(
    parts: &Parts,
    order: &DeliverOrder,
    payload: &mut dyn Read,
    by: &Actor,
    now: Timestamp,
) -> Response {
    let (id, notes) = parts.works.deliver(order, payload, by, now)?;
    let placed = parts.ledger.document(id)?;
    let placed =
        placed.ok_or_else(|| Trouble::fault(format!("document {id} was placed but is not there")))?;
    Ok(Answer { notes, ..Answer::of(row_of(parts, &placed)?) })
}

pub(super) fn announce(
    parts: &Parts,
    order: &AnnounceOrder,
    payload: &mut dyn Read,
    by: &Actor,
    now: Timestamp,
) -> Response {
    let placement = parts.works.announce(order, payload, by, now)?;
    let notes =
        placement.without.iter().map(|(who, fault)| format!("{who}: {}: {}", fault.code, fault.text.en));
    let row = json!({
        "announcement": placement.announcement,
        "insurer": order.insurer,
        "title": order.title,
        "placed": placement.placed,
        "placed_before": placement.before,
        "without": placement.without.len(),
    });
    Ok(Answer { notes: notes.collect(), ..Answer::of(row) })
}

/// Newest last; a row for each, with what became of it.
fn announcements(parts: &Parts, insurer: &InsurerCode, after: Option<DocumentId>) -> Response {
    if parts.ledger.insurer(insurer)?.is_none() {
        return Err(Trouble::unknown(format!("insurer {insurer}")));
    }
    let mut groups: BTreeMap<DocumentId, Vec<DocumentId>> = BTreeMap::new();
    for (announcement, document) in parts.ledger.announced(insurer)? {
        if after.is_none_or(|after| announcement > after) {
            groups.entry(announcement).or_default().push(document);
        }
    }
    let groups: Vec<_> = groups.into_iter().take(PAGE).collect();
    page(
        groups,
        |(announcement, _)| announcement.to_string(),
        |(announcement, documents)| {
            let (mut accounts, mut fetched, mut first) = (0_u64, 0_u64, Value::Null);
            for id in documents {
                let Some(document) = parts.ledger.document(id)? else { continue };
                accounts += 1;
                fetched += u64::from(document.fetched.is_some());
                if first.is_null() {
                    first = row_of(parts, &document)?;
                }
            }
            Ok(json!({
                "announcement": announcement,
                "insurer": insurer,
                "title": first["title"],
                "format": first["format"],
                "accounts": accounts,
                "fetched": fetched,
                "placed_at": first["placed_at"],
                "expires_at": first["expires_at"],
            }))
        },
    )
}

fn recall_announcement(
    parts: &Parts,
    insurer: &InsurerCode,
    announcement: DocumentId,
    by: &Actor,
    now: Timestamp,
) -> Response {
    let documents = parts.ledger.announced(insurer)?.into_iter().filter(|(of, _)| *of == announcement);
    let (mut recalled, mut fetched) = (0_u64, 0_u64);
    for (_, id) in documents {
        if parts.ledger.document(id)?.is_some() {
            recalled += 1;
            fetched += u64::from(parts.works.recall(id, by, now)?.is_some());
        }
    }
    if recalled == 0 {
        return Err(Trouble::unknown(format!("announcement {announcement} of insurer {insurer}")));
    }
    let note = format!(
        "{announcement} is gone from {recalled} accounts, {fetched} of which had fetched it; all are told."
    );
    let row = json!({ "announcement": announcement, "recalled": recalled, "fetched": fetched });
    Ok(Answer { notes: vec![note], ..Answer::of(row) })
}

pub(super) fn purge(parts: &Parts, request: &PurgeRequest, now: Timestamp) -> Response {
    match request {
        PurgeRequest::DryRun(at) => dry_run(parts, *at),
        PurgeRequest::Run => Ok(Answer::of(json!({ "removed": parts.works.purge(now)? }))),
        PurgeRequest::Confirm => {
            let was = parts.works.confirm_purge(now)?;
            let note = if was { "The purge goes on." } else { "The purge was not paused; nothing changed." };
            Ok(Answer { notes: vec![note.to_owned()], ..Answer::of(json!({ "was_paused": was })) })
        }
    }
}

fn dry_run(parts: &Parts, at: Timestamp) -> Response {
    let due = parts.ledger.due(Queue::Expire, at, DRY_RUN_MAX)?;
    let config = parts.config.get();
    let (zone, mut untold) = (config.gateway.zone, 0);
    let mut levels: HashMap<InsurerCode, Vec<u32>> = HashMap::new();
    let mut rows = Vec::new();
    for task in &due {
        let Task::Document(id) = task else { continue };
        if let Some(document) = parts.ledger.document(*id)? {
            let levels = levels
                .entry(document.insurer.clone())
                .or_insert_with(|| document_table(&config, &document.insurer).remind_days);
            let reminded = remind::was_told(&*parts.ledger, &document, levels, zone)?;
            untold += u64::from(document.fetched.is_none() && !reminded && !levels.is_empty());
            rows.push(json!({
                "document": id,
                "account": document.account,
                "office": document.office,
                "insurer": document.insurer,
                "type": document.kind,
                "reason": "expired",
                "placed_at": time(document.placed_at),
                "expires_at": time(document.expires_at),
                "fetched": document.fetched.is_some(),
                "reminded": reminded,
            }));
        }
    }
    let mut notes = Vec::new();
    if due.len() == DRY_RUN_MAX {
        notes.push(format!("Only the first {DRY_RUN_MAX} are listed."));
    }
    if untold > 0 {
        notes.push(format!(
            "{untold} of these nobody has fetched or was reminded of so far: `todoke outbox hold DOCUMENT --reason TEXT` keeps one; released, it stays until its account was reminded."
        ));
    }
    Ok(Answer { notes, ..Answer::of(Value::Array(rows)) })
}
