//! Mails before documents go that nobody fetched (*policy*: 14 and 3 days before). One for each account, last day and number
//! of days: which were sent is known by the mails themselves ([`Subject::Notice`] is sealed once), so that a restart repeats
//! none. What a stopped daemon missed is said once, with the days that are left then.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::alarms::Alarms;
use super::announce::folders;
use super::notify::Notifier;
use crate::model::document::Document;
use crate::model::ids::{AccountId, InsurerCode, OfficeCode};
use crate::model::mail::Subject;
use crate::model::party::Standing;
use crate::model::time::{DAY, Timestamp};
use crate::rules::notice::{ArrivalPart, ExpiringNotice, last_day};
use crate::rules::retention;
use crate::store::ledger::{Ledger, LedgerError, Queue, Task};

/// Documents looked at in one step.
const DUE_MAX: usize = 200_000;

/// What an insurer wants: days before the last one at which a mail goes out.
pub type RemindDays = dyn Fn(&InsurerCode) -> Vec<u32> + Send + Sync;

/// The stage.
pub struct Reminders {
    /// Documents.
    pub ledger: Arc<dyn Ledger>,
    /// Seals the mails.
    pub notifier: Arc<Notifier>,
    /// Policy of insurers.
    pub days: Box<RemindDays>,
    /// Days are local.
    pub zone: Tz,
    /// Tells the operator.
    pub alarms: Arc<dyn Alarms>,
}

/// For which of these days a mail is due: the fewest that are not fewer than what is left. Not where the document was never
/// to lie so long: its arrival mail has just said the day.
pub fn level(levels: &[u32], days_left: i64, days_in_all: i64) -> Option<u32> {
    let due =
        |level: &&u32| days_left >= 0 && days_left <= i64::from(**level) && days_in_all > i64::from(**level);
    levels.iter().filter(due).min().copied()
}

/// How long a document stays at least that is released from a hold: so that one that nobody has fetched is reminded of first.
/// None where nothing is.
pub fn released_until(levels: &[u32], now: Timestamp, zone: Tz) -> Option<Timestamp> {
    let days = levels.iter().copied().filter(|days| *days > 0).min()?;
    Some(retention::expires_at(now, days, zone))
}

/// Whether its account was sent a mail about it before its days end. Not asked of one whose days were prolonged: that was to send
/// it one.
pub fn was_told(
    ledger: &dyn Ledger,
    document: &Document,
    levels: &[u32],
    zone: Tz,
) -> Result<bool, LedgerError> {
    let last = last_day(document.expires_at, zone);
    let group = |level| Group { account: document.account.clone(), last, level, prolonged: false };
    for level in levels {
        if ledger.told(KIND, &group(*level).about(None))? {
            return Ok(true);
        }
    }
    Ok(document.prolonged_at.is_some())
}

/// The kind of these mails.
const KIND: &str = "expiring";

/// What one mail is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    account: AccountId,
    last: NaiveDate,
    /// Days before the last one.
    level: u32,
    /// Documents whose days were prolonged: what was said of that last day before was not said of them.
    prolonged: bool,
}

impl Group {
    /// What tells this mail from others. `newest`: when the last of what was prolonged was.
    fn about(&self, newest: Option<Timestamp>) -> String {
        let Self { account, last, level, .. } = self;
        match newest {
            Some(at) => format!("{account} {last} {level} prolonged {}", at.0),
            None => format!("{account} {last} {level}"),
        }
    }
}

impl Reminders {
    /// Seals what is due; how many mails.
    pub fn step(&self, now: Timestamp) -> anyhow::Result<u64> {
        if self.ledger.head().unreconciled {
            return Ok(0);
        }
        let mut levels: HashMap<InsurerCode, Vec<u32>> = HashMap::new();
        for insurer in self.ledger.insurers()? {
            levels.insert(insurer.code.clone(), (self.days)(&insurer.code));
        }
        let Some(most) = levels.values().flatten().max().copied() else { return Ok(0) };
        let today = now.date_in(self.zone);
        let mut groups: BTreeMap<Group, Vec<Document>> = BTreeMap::new();
        for task in self.ledger.due(Queue::Expire, now.plus_days(most.saturating_add(2)), DUE_MAX)? {
            let Task::Document(id) = task else { continue };
            let Some(document) = self.ledger.document(id)? else { continue };
            if document.fetched.is_some() || document.hold.is_some() {
                continue;
            }
            let last = last_day(document.expires_at, self.zone);
            let days_in_all = document.expires_at.since(document.placed_at) / DAY;
            let of = levels.get(&document.insurer).map(Vec::as_slice).unwrap_or_default();
            if let Some(level) = level(of, (last - today).num_days(), days_in_all) {
                let prolonged = document.prolonged_at.is_some();
                let group = Group { account: document.account.clone(), last, level, prolonged };
                groups.entry(group).or_default().push(document);
            }
        }
        let mut sealed = 0;
        for (group, documents) in groups {
            let Group { account, last, .. } = &group;
            let days = (*last - today).num_days();
            let alarm = format!("NOTICE-FAILED {account} {last}");
            match self.remind(&group, days, &documents, now) {
                Ok(new) => {
                    self.alarms.clear(&alarm);
                    sealed += u64::from(new);
                }
                Err(error) => {
                    tracing::error!(%account, error = format!("{error:#}"), "a reminder could not be made");
                    self.alarms.raise(&alarm, &format!("account {account}: {error:#}"), now);
                }
            }
        }
        Ok(sealed)
    }

    fn remind(
        &self,
        group: &Group,
        days: i64,
        documents: &[Document],
        now: Timestamp,
    ) -> anyhow::Result<bool> {
        let about = group.about(documents.iter().filter_map(|document| document.prolonged_at).max());
        // Asked first: sealing writes a card before the ledger says that it was told.
        if self.ledger.told(KIND, &about)? {
            return Ok(false);
        }
        let Some(account) = self.ledger.account(&group.account)?.filter(|a| a.standing != Standing::Closed)
        else {
            return Ok(false);
        };
        let mut offices: BTreeMap<&OfficeCode, Vec<&Document>> = BTreeMap::new();
        for document in documents {
            offices.entry(&document.office).or_default().push(document);
        }
        let mut parts = Vec::new();
        for (office, documents) in offices {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for document in &documents {
                *counts.entry(&document.kind).or_default() += 1;
            }
            let to = self.notifier.addressed(&account, Some(office))?;
            parts.push(ArrivalPart {
                office_name: to.office_name,
                insurer_name: to.insurer_name,
                account: account.id.to_string(),
                counts: counts.into_iter().map(|(kind, n)| (kind.to_owned(), n)).collect(),
                last_day: group.last,
                folder: folders(&documents, office),
                contact: to.contact,
            });
        }
        let notice = ExpiringNotice { parts, days: u32::try_from(days).unwrap_or(0) };
        let to = self.notifier.mailbox_of(&account)?;
        self.notifier.seal(&to, &notice, Subject::Notice { kind: KIND.to_owned(), about }, now)
    }
}

#[cfg(test)]
mod tests;
