//! How many documents were fetched: what lies in the outboxes now, and what went unread.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::parts::Parts;
use super::request::{Answer, Response};
use super::trouble::Trouble;
use crate::model::document::RemovalReason;
use crate::model::ids::InsurerCode;
use crate::model::time::Timestamp;

/// How far back what is gone is counted.
const GONE_DAYS: u32 = 400;
/// "Soon" in `expires_soon`.
const SOON_DAYS: u32 = 14;
/// Documents read at once.
const PAGE: usize = 5_000;

#[derive(Default)]
struct Counts {
    lying: u64,
    fetched: u64,
    partly_fetched: u64,
    unfetched: u64,
    held: u64,
    expires_soon: u64,
    gone_fetched: u64,
    gone_unfetched: u64,
    recalled: u64,
}

/// One row for each insurer, month and type; test accounts' documents do not count.
pub(super) fn answer(parts: &Parts, insurer: Option<&InsurerCode>, now: Timestamp) -> Response {
    let insurers = match insurer {
        Some(code) if parts.ledger.insurer(code)?.is_none() => {
            return Err(Trouble::unknown(format!("insurer {code}")));
        }
        Some(code) => vec![code.clone()],
        None => parts.ledger.insurers()?.into_iter().map(|insurer| insurer.code).collect(),
    };
    let mut rows = Vec::new();
    for code in insurers {
        for ((month, kind), counts) in of_insurer(parts, &code, now)? {
            rows.push(json!({
                "insurer": code,
                "month": month,
                "type": kind,
                "lying": counts.lying,
                "fetched": counts.fetched,
                "partly_fetched": counts.partly_fetched,
                "unfetched": counts.unfetched,
                "held": counts.held,
                "expires_soon": counts.expires_soon,
                "gone_fetched": counts.gone_fetched,
                "gone_unfetched": counts.gone_unfetched,
                "recalled": counts.recalled,
            }));
        }
    }
    Ok(Answer::of(Value::Array(rows)))
}

fn of_insurer(
    parts: &Parts,
    code: &InsurerCode,
    now: Timestamp,
) -> Result<BTreeMap<(String, String), Counts>, Trouble> {
    let mut all: BTreeMap<(String, String), Counts> = BTreeMap::new();
    let accounts = parts.ledger.accounts(Some(code))?;
    for account in accounts.iter().filter(|account| !account.test) {
        let mut after = None;
        loop {
            let page = parts.ledger.documents(&account.id, None, after, PAGE)?;
            after = page.last().map(|document| document.id);
            let full = page.len() == PAGE;
            for document in page {
                let counts = all.entry((document.month, document.kind)).or_default();
                counts.lying += 1;
                let unfetched = document.fetched.is_none();
                let count = if unfetched { &mut counts.unfetched } else { &mut counts.fetched };
                *count += 1;
                counts.partly_fetched += u64::from(unfetched && document.partly_fetched.is_some());
                counts.held += u64::from(document.hold.is_some());
                let soon = unfetched && document.expires_at <= now.plus_days(SOON_DAYS);
                counts.expires_soon += u64::from(soon && document.hold.is_none());
            }
            if !full {
                break;
            }
        }
    }
    let since = now.plus(-i64::from(GONE_DAYS) * crate::model::time::DAY);
    for gone in parts.ledger.removed_documents(code, since, now.plus(1))? {
        if accounts.iter().any(|account| account.id == gone.account && account.test) {
            continue;
        }
        let counts = all.entry((gone.month, gone.kind)).or_default();
        let count = match (gone.reason, gone.fetched) {
            (RemovalReason::Recalled, _) => &mut counts.recalled,
            (RemovalReason::Expired, Some(_)) => &mut counts.gone_fetched,
            (RemovalReason::Expired, None) => &mut counts.gone_unfetched,
        };
        *count += 1;
    }
    Ok(all)
}
