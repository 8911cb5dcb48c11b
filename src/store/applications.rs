//! An application with what the ledger alone needs to know about it, and the keys that follow from it.

use serde::{Deserialize, Serialize};

use super::ledger::Queue;
use super::tables;
use crate::model::application::{Application, ApplicationNotice};
use crate::model::time::Timestamp;
use crate::rules::enrolment;

/// Its record in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredApplication {
    pub application: Application,
    /// When it last went a step on.
    pub changed_at: Timestamp,
    /// What is still to be told of it by mail, in order.
    pub tell: Vec<ApplicationNotice>,
    pub card_gone: bool,
}

impl StoredApplication {
    /// Keys without value that follow from the record.
    pub(super) fn derived(&self) -> Vec<Vec<u8>> {
        let of = &self.application;
        let (epoch, serial) = (of.id.epoch, of.id.serial);
        let mut keys = vec![
            tables::account_applications(&of.account).numbered(epoch, serial).done(),
            tables::insurer_applications(&of.insurer).numbered(epoch, serial).done(),
            tables::state_applications(of.state).numbered(epoch, serial).done(),
        ];
        let due = if self.tell.is_empty() { enrolment::due(of) } else { Some(enrolment::AT_ONCE) };
        keys.extend(due.map(|due| tables::queued(Queue::Enrol, due, epoch, serial)));
        let refer = |card: &crate::model::card::CardRef| {
            tables::blob(&card.blob).byte(b'p').numbered(epoch, serial).done()
        };
        if !self.card_gone {
            keys.push(refer(&of.card));
            keys.extend(of.reason.iter().map(refer));
            let replaces = of.replaces.as_ref().is_some_and(|replaces| replaces.is_due(of.state));
            if !of.state.is_open() && !of.bundle && !replaces && self.tell.is_empty() {
                let erasable = tables::application_card_erasable().time(self.changed_at);
                keys.push(erasable.numbered(epoch, serial).done());
            }
        }
        keys
    }
}
