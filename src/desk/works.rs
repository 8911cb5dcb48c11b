//! The stages of work behind the desk, for the daemon and the command line alike.

use std::io::Read;
use std::sync::Arc;

use super::parts::{DeliverOrder, Works};
use super::test_mail::send_test_mail;
use super::trouble::{Kind, Trouble};
use crate::config::ConfigCell;
use crate::model::ids::{DocumentId, InsurerCode, Number};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::work::deliver::{Address, Deliveries, PlaceRequest, PlacedOne};
use crate::work::imports;
use crate::work::publish::{Publisher, Withdrawal};
use crate::work::purge::Purge;
use crate::work::step::WorkError;

/// Releases (`true`) or refuses a held submission.
pub type Judge = dyn Fn(Number, bool, &Actor, Timestamp) -> Result<(), Trouble> + Send + Sync;

/// The stages.
pub struct Stages {
    /// Deliveries.
    pub deliveries: Arc<Deliveries>,
    /// Publication and withdrawal.
    pub publisher: Arc<Publisher>,
    /// Purge and recall.
    pub purge: Arc<Purge>,
    /// Decides held submissions.
    pub judge: Box<Judge>,
    /// The configuration in force.
    pub config: Arc<ConfigCell>,
}

impl From<WorkError> for Trouble {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Ledger(error) => error.into(),
            other => Self::fault(other.to_string()),
        }
    }
}

impl Works for Stages {
    fn deliver(
        &self,
        order: &DeliverOrder,
        content: &mut dyn Read,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(DocumentId, Vec<String>), Trouble> {
        let request = PlaceRequest {
            insurer: &order.insurer,
            address: Address {
                account: order.account.clone(),
                office: order.office.clone(),
                in_reply_to: order.in_reply_to,
            },
            kind: &order.kind,
            title: &order.title,
            original_name: &order.file_name,
            content,
            by: by.clone(),
        };
        match self.deliveries.place_one(request, now)? {
            PlacedOne::Placed(id, warning) => {
                Ok((id, warning.map(|fault| format!("{}: {}", fault.code, fault.text.en)).into_iter().collect()))
            }
            PlacedOne::Before(id) => {
                Ok((id, vec![format!("The same document was placed today already as {id}; nothing was done.")]))
            }
            PlacedOne::Not(fault) => Err(Trouble::refused(fault.code, fault.text.en)),
            PlacedOne::ScannerDown => {
                let text = "the scanner does not answer, so nothing was placed; try again (`todoke doctor` looks at it)";
                Err(Trouble::new(Kind::NotNow, "SCANNER-DOWN", text))
            }
        }
    }

    fn recall(
        &self,
        id: DocumentId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Option<(Timestamp, Timestamp)>, Trouble> {
        let recalled = self.purge.recall(id, by, now)?;
        recalled
            .map(|recalled| recalled.fetched)
            .ok_or_else(|| Trouble::unknown(format!("document {id}")))
    }

    fn withdraw(&self, number: Number, by: &Actor, now: Timestamp) -> Result<(), Trouble> {
        match self.publisher.withdraw(number, None, by, now)? {
            Withdrawal::Withdrawn => Ok(()),
            Withdrawal::Collected => {
                let text = format!("submission {number} was collected by the insurer already; only the insurer can help");
                Err(Trouble::refused("COLLECTED", text))
            }
            Withdrawal::Refused(refusal) => Err(Trouble::refused("NOT-WITHDRAWN", refusal.to_string())),
            Withdrawal::NotNow => {
                let text = format!("submission {number} is just being published; try again");
                Err(Trouble::new(Kind::NotNow, "PUBLISHING", text))
            }
        }
    }

    fn judge(&self, number: Number, release: bool, by: &Actor, now: Timestamp) -> Result<(), Trouble> {
        (self.judge)(number, release, by, now)
    }

    fn purge(&self, now: Timestamp) -> Result<u64, Trouble> {
        let mut removed = 0;
        loop {
            let progress = self.purge.step(now)?;
            removed += progress.done as u64;
            if !progress.more {
                return Ok(removed);
            }
        }
    }

    fn confirm_purge(&self, now: Timestamp) -> Result<bool, Trouble> {
        Ok(self.purge.confirm(now)?)
    }

    fn test_mail(&self, to: &str, now: Timestamp) -> Result<String, Trouble> {
        send_test_mail(&self.config.get(), to, now)
    }

    fn import_reason(&self, insurer: &InsurerCode, number: Number) -> Option<String> {
        imports::import_reason(&self.config.get().places.root, insurer, number).ok().flatten()
    }
}
