//! The stages of work behind the desk, for the daemon and the command line alike.

use std::io::Read;
use std::sync::{Arc, Mutex};

use super::parts::{AnnounceOrder, DeliverOrder, Works};
use super::test_mail::send_test_mail;
use super::trouble::{Kind, Trouble};
use crate::config::{Config, ConfigCell};
use crate::model::day::ClosedDay;
use crate::model::finding::Language;
use crate::model::ids::{BlobId, DocumentId, InsurerCode, Number};
use crate::model::party::Actor;
use crate::model::submission::Submission;
use crate::model::time::Timestamp;
use crate::rules::notice::Rendered;
use crate::rules::policy::DelegationPolicy;
use crate::signed::manifest::ManifestLimits;
use crate::store::blobs::Blobs;
use crate::store::books::Books;
use crate::store::dropboxes::Dropboxes;
use crate::store::keys::Keys;
use crate::store::ledger::Ledger;
use crate::work::alarms::Alarms;
use crate::work::compare::{Compare, Compared, NoBooks, Scope};
use crate::work::deliver::{
    Address, AnnounceRequest, Announced, Audience, Deliveries, DocumentTable, PlaceRequest, PlacedOne,
    Placement,
};
use crate::work::imports;
use crate::work::ports::Scanner;
use crate::work::publish::{Publisher, SpoolTurn, Withdrawal};
use crate::work::purge::{Purge, Recall};
use crate::work::purge_report::PurgeReports;
use crate::work::step::{Points, WorkError};

/// Releases (`true`) or refuses a held submission.
pub type Judge = dyn Fn(Number, bool, &Actor, Timestamp) -> Result<(), Trouble> + Send + Sync;

/// Tells of a submission that the operator withdrew, and why.
pub type TellWithdrawal = dyn Fn(&Submission, Option<&str>, Timestamp) + Send + Sync;

/// Names the blobs of unclaimed uploads.
pub type Unclaimed = dyn Fn() -> std::io::Result<Vec<BlobId>> + Send + Sync;

/// Whole days that the sweep leaves orphans alone.
pub const ORPHAN_GRACE_DAYS: u32 = 1;

/// The stages.
pub struct Stages {
    /// Deliveries.
    pub deliveries: Arc<Deliveries>,
    /// Publication and withdrawal.
    pub publisher: Arc<Publisher>,
    /// What went, for insurers.
    pub purge_reports: PurgeReports,
    /// Purge and recall.
    pub purge: Arc<Purge>,
    /// Decides held submissions.
    pub judge: Box<Judge>,
    /// Tells the sender of a withdrawal by the operator, where there is somebody to do so.
    pub withdrawn: Option<Box<TellWithdrawal>>,
    /// Blobs of unclaimed uploads, where drop-boxes are open already.
    pub unclaimed: Option<Box<Unclaimed>>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Blobs.
    pub blobs: Arc<dyn Blobs>,
    /// The configuration in force.
    pub config: Arc<ConfigCell>,
}

impl Stages {
    /// Builds them with the policies in force now. To be called right after the ledger was opened: the purge holds the
    /// clock against the last event's time, and against `uptime`, a monotonic reading in milliseconds.
    pub fn build(
        config: &Arc<ConfigCell>,
        ledger: &Arc<dyn Ledger>,
        blobs: &Arc<dyn Blobs>,
        alarms: &Arc<dyn Alarms>,
        scanner: Arc<dyn Scanner>,
        judge: Box<Judge>,
        uptime: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Self {
        let now = config.get();
        let root = now.places.root.clone();
        let purge = Purge::new(
            Arc::clone(ledger),
            Arc::clone(blobs),
            now.purge.clone(),
            Arc::clone(alarms),
            uptime,
            root.clone(),
        );
        let purge = Arc::new(purge);
        let (tables, delegations, reserve) = (Arc::clone(config), Arc::clone(config), Arc::clone(config));
        let turn = SpoolTurn::default();
        let recalls = Arc::clone(&purge);
        let deliveries = Deliveries {
            ledger: Arc::clone(ledger),
            blobs: Arc::clone(blobs),
            spool_root: root.clone(),
            policy: now.delivery.clone(),
            zone: now.gateway.zone,
            tables: Arc::new(move |insurer| document_table(&tables.get(), insurer)),
            delegations: Arc::new(move |insurer| delegation_policy(&delegations.get(), insurer)),
            free_bytes_min: Arc::new(move || reserve.get().submit.free_bytes_min),
            scanner,
            turn: turn.clone(),
            alarms: Arc::clone(alarms),
            memory: crate::work::deliver::Memory::default(),
            recall: Box::new(move |id, by, now| recalls.recall(id, by, now)),
            points: Points::default(),
        };
        let purge_reports = PurgeReports {
            ledger: Arc::clone(ledger),
            spool_root: root.clone(),
            zone: now.gateway.zone,
            turn: turn.clone(),
            alarms: Arc::clone(alarms),
            began: ledger.head().at,
            reported: Mutex::default(),
        };
        let publisher = Publisher {
            ledger: Arc::clone(ledger),
            blobs: Arc::clone(blobs),
            spool_root: root,
            policy: now.spool.publish.clone(),
            turn,
            alarms: Arc::clone(alarms),
            points: Points::default(),
        };
        Self {
            deliveries: Arc::new(deliveries),
            publisher: Arc::new(publisher),
            purge_reports,
            purge,
            judge,
            withdrawn: None,
            unclaimed: None,
            ledger: Arc::clone(ledger),
            blobs: Arc::clone(blobs),
            config: Arc::clone(config),
        }
    }
}

/// What an insurer wants with ended delegations; the usual when its file cannot be read (`doctor` names its error).
pub fn delegation_policy(config: &Config, insurer: &InsurerCode) -> DelegationPolicy {
    config.insurer_table(insurer, "delegations").unwrap_or_else(|error| {
        tracing::error!(%error, "an insurer's policy cannot be read");
        DelegationPolicy::default()
    })
}

/// An insurer's own table of documents; the usual one when it cannot be read (`doctor` names its error).
pub(super) fn document_table(config: &Config, insurer: &InsurerCode) -> DocumentTable {
    config.insurer_table(insurer, "documents").unwrap_or_else(|error| {
        tracing::error!(%error, "an insurer's policy cannot be read");
        DocumentTable::default()
    })
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
                everybody: false,
            },
            kind: &order.kind,
            title: &order.title,
            original_name: &order.file_name,
            content,
            by: by.clone(),
        };
        match self.deliveries.place_one(request, now)? {
            PlacedOne::Placed(id, warning) => Ok((
                id,
                warning.map(|fault| format!("{}: {}", fault.code, fault.text.en)).into_iter().collect(),
            )),
            PlacedOne::Before(id) => Ok((
                id,
                vec![format!("The same document was placed today already as {id}; nothing was done.")],
            )),
            PlacedOne::Not(fault) => Err(Trouble::refused(fault.code, fault.text.en)),
            PlacedOne::ScannerDown => {
                let text = "the scanner does not answer, so nothing was placed; try again (`todoke doctor` looks at it)";
                Err(Trouble::new(Kind::NotNow, "SCANNER-DOWN", text))
            }
        }
    }

    fn announce(
        &self,
        order: &AnnounceOrder,
        content: &mut dyn Read,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Placement, Trouble> {
        let audience = if order.all {
            Audience::All
        } else {
            Audience::These(order.accounts.clone(), order.offices.clone())
        };
        let request = AnnounceRequest {
            insurer: &order.insurer,
            audience,
            title: &order.title,
            original_name: &order.file_name,
            content,
            by: by.clone(),
        };
        match self.deliveries.announce(request, now)? {
            Announced::Placed(placement) => Ok(placement),
            Announced::Not(fault) => Err(Trouble::refused(fault.code, fault.text.en)),
            Announced::ScannerDown => {
                let text = "the scanner does not answer, so nothing was announced; try again (`todoke doctor` looks at it)";
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
        match self.purge.recall(id, by, now)? {
            Recall::Done(recalled) => Ok(recalled.fetched),
            Recall::Missing => Err(Trouble::unknown(format!("document {id}"))),
            Recall::Held => {
                let text = format!("document {id} is held; end that first: todoke outbox release {id}");
                Err(Trouble::refused("DOCUMENT-HELD", text))
            }
        }
    }

    fn withdraw(
        &self,
        number: Number,
        reason: Option<&str>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Trouble> {
        match self.publisher.withdraw(number, None, by, now)? {
            Withdrawal::Withdrawn => {
                if let (Some(tell), Some(of)) = (&self.withdrawn, self.publisher.ledger.submission(number)?) {
                    tell(&of, reason, now);
                }
                Ok(())
            }
            Withdrawal::Collected => {
                let text = format!(
                    "submission {number} was collected by the insurer already; only the insurer can help"
                );
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
            removed += progress.done;
            if !progress.more {
                self.purge_reports.step(now)?;
                return Ok(removed);
            }
        }
    }

    fn compare(&self, day: Option<&ClosedDay>, scope: &Scope, now: Timestamp) -> Result<Compared, Trouble> {
        let config = self.config.get();
        let root = &config.places.root;
        let keys =
            Keys::load_or_make(&config.places.keys()).map_err(|error| Trouble::fault(error.to_string()))?;
        let compare = Compare {
            ledger: Arc::clone(&self.ledger),
            blobs: Arc::clone(&self.blobs),
            keys: Arc::new(keys),
            books: Books::new(root.join("books")),
            spool_root: root.clone(),
            zone: config.gateway.zone,
            turn: self.publisher.turn.clone(),
            sample: config.reconciliation.sample as usize,
        };
        if let Some(day) = day
            && let Some(why) = compare.no_books(day, config.reconciliation.keep_days, now)?
        {
            let text = match why {
                NoBooks::BeginWith(first) => {
                    format!("there are no books of {}: the first day that was closed is {first}", day.day)
                }
                NoBooks::Expired => format!(
                    "the books of {} are gone: they are kept {} days (reconciliation.keep_days)",
                    day.day, config.reconciliation.keep_days
                ),
            };
            return Err(Trouble::refused("DAY-BEFORE", text));
        }
        let mut found = compare.run(day, scope, now)?;
        // Orphans are nobody's.
        if scope.insurer.is_none() && scope.account.is_none() {
            let unclaimed = match &self.unclaimed {
                Some(unclaimed) => unclaimed()?,
                None => Dropboxes::new(
                    root.join("uploads"),
                    config.submit.clone(),
                    ManifestLimits::default(),
                    Arc::clone(&self.blobs),
                    Arc::clone(&self.ledger),
                )
                .blobs()?,
            };
            compare.orphans(&unclaimed.into_iter().collect(), ORPHAN_GRACE_DAYS, &mut found)?;
        }
        Ok(found)
    }

    fn confirm_purge(&self, now: Timestamp) -> Result<bool, Trouble> {
        Ok(self.purge.confirm(now)?)
    }

    fn test_mail(
        &self,
        to: &str,
        text: Option<&Rendered>,
        language: Language,
        now: Timestamp,
    ) -> Result<String, Trouble> {
        send_test_mail(&self.config.get(), to, text, language, now)
    }

    fn import_reason(&self, insurer: &InsurerCode, number: Number) -> Option<String> {
        imports::import_reason(&self.config.get().places.root, insurer, number).ok().flatten()
    }
}
