//! What an earlier set has brought already. A corrected `delivery.csv` is another set, though most of its rows are the old
//! ones: where their file is still there (a refused row named it too), they must not arrive twice.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::place::Since;
use super::resolve::Target;
use crate::model::card::DocumentCard;
use crate::model::document::Document;
use crate::model::ids::{AccountId, Digest, OfficeCode};
use crate::model::time::Timestamp;
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::ledger::{Ledger, LedgerError};

/// Documents asked for at a time.
const PAGE: usize = 1_000;

/// The documents that are still there, came in the days before a set was begun, and have the bytes of one of its files.
pub(super) struct Repeats<'a> {
    pub(super) ledger: &'a dyn Ledger,
    pub(super) blobs: &'a dyn Blobs,
    /// Placed from then on.
    pub(super) from: Timestamp,
    /// And before: what this set places itself is no repetition.
    pub(super) since: Since,
    /// Hashes of the set's files.
    pub(super) wanted: HashSet<Digest>,
    /// Of each outbox that was looked into.
    pub(super) known: RefCell<HashMap<(AccountId, OfficeCode), Vec<Document>>>,
}

/// What makes two documents of one outbox the same, but for the bytes.
#[derive(Clone, Copy)]
pub(super) struct Likeness<'a> {
    /// As it is filed, not as the row has it.
    pub(super) kind: &'a str,
    pub(super) title: &'a str,
    pub(super) announcement: bool,
}

impl Repeats<'_> {
    /// The document that `target` has already, if it has it: of the same bytes, type and title, and in answer to the same.
    pub(super) fn of(
        &self,
        target: &Target,
        like: Likeness<'_>,
        sha256: Digest,
    ) -> Result<Option<Document>, LedgerError> {
        if !self.wanted.contains(&sha256) {
            return Ok(None);
        }
        let mut known = self.known.borrow_mut();
        let key = (target.account.clone(), target.office.clone());
        let documents = match known.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(self.recent(target)?),
        };
        // A card that cannot be read is no reason to keep the document from anybody.
        let titled = |document: &Document| {
            cards::get::<DocumentCard>(self.blobs, &document.card).is_ok_and(|card| card.title == like.title)
        };
        let found = documents.iter().find(|document| {
            document.sha256 == sha256
                && document.in_reply_to == target.in_reply_to
                && document.kind == like.kind
                && document.announcement.is_some() == like.announcement
                && titled(document)
        });
        Ok(found.cloned())
    }

    fn recent(&self, target: &Target) -> Result<Vec<Document>, LedgerError> {
        let (mut recent, mut after) = (Vec::new(), None);
        loop {
            let page = self.ledger.documents(&target.account, Some(&target.office), after, PAGE)?;
            after = page.last().map(|document| document.id);
            let is_last = page.len() < PAGE;
            recent.extend(page.into_iter().filter(|document| {
                document.placed_at >= self.from
                    && !self.since.placed(document.id, document.placed_at)
                    && self.wanted.contains(&document.sha256)
            }));
            if is_last {
                return Ok(recent);
            }
        }
    }
}
