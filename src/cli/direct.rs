//! The store opened by a command, while no daemon runs.

use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, ConfigCell};
use crate::desk::{Kind, Parts, Stages, Trouble};
use crate::doors::clamd;
use crate::model::time::{Clock as _, SystemClock};
use crate::store::blobs::Blobs;
use crate::store::index::SledIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::ledger::Ledger;
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::recover::{IndexState, LedgerOptions, OpenError};
use crate::store::root::{Clean, Root, RootError};
use crate::work::alarms::{AlarmBoard, Alarms};
use crate::work::deliver::{Deliveries, DocumentTable};
use crate::work::publish::{Publisher, SpoolTurn};
use crate::work::purge::Purge;
use crate::work::step::Points;

/// A store that this command has open; closed in order when dropped.
pub(super) struct Direct {
    pub(super) parts: Parts,
    pub(super) ledger: Arc<JournalLedger<SledIndex>>,
    /// How it was closed before, when opening it changed nothing.
    untouched: Option<Clean>,
}

impl Drop for Direct {
    fn drop(&mut self) {
        // A command that only looked leaves no event: else a monitor would fill the journal with ends of its own.
        if let Some(clean) = self.untouched.take().filter(|clean| clean.seq == self.ledger.head().seq)
            && self.ledger.root().set_clean(&clean).is_ok()
        {
            return;
        }
        if let Err(error) = self.ledger.close(SystemClock.now()) {
            super::out::note(&format!("warning: the store was not closed in order ({error}); the next start looks it over"));
        }
    }
}

/// Opens the store; not now when somebody else has it.
pub(super) fn open(config: &Config) -> Result<Direct, Trouble> {
    open_as(config, false)
}

/// Opens the store, as one that was restored from a backup if `restored`.
pub(super) fn open_as(config: &Config, restored: bool) -> Result<Direct, Trouble> {
    let path = &config.places.root;
    if !path.join("keys").is_dir() {
        let text = format!("{} is no data root yet; make one with `todoke init DIR`", path.display());
        return Err(Trouble::new(Kind::Usage, "ROOT-MISSING", text));
    }
    let root = Root::open(path)?;
    let clean = root.clean()?;
    let blobs: Arc<dyn Blobs> = Arc::new(LocalBlobs::open(&root.blobs(), BlobOptions::default())?);
    let options = LedgerOptions { restored, ..LedgerOptions::default() };
    let (ledger, recovery) = JournalLedger::<SledIndex>::open(root, &options, SystemClock.now())?;
    let ledger = Arc::new(ledger);
    let config = Arc::new(ConfigCell::new(config.clone()));
    let as_port: Arc<dyn Ledger> = Arc::clone(&ledger) as Arc<dyn Ledger>;
    let stages = stages(&config.get(), &config, &as_port, &blobs)?;
    let parts = Parts::new(as_port, blobs, config, Arc::new(stages), None);
    let untouched = clean.filter(|_| recovery.index == IndexState::Current && recovery.cut.is_none());
    Ok(Direct { parts, ledger, untouched })
}

/// The stages a command works with. What waits in queues is left to the daemon.
fn stages(
    now: &Config,
    config: &Arc<ConfigCell>,
    ledger: &Arc<dyn Ledger>,
    blobs: &Arc<dyn Blobs>,
) -> Result<Stages, Trouble> {
    let alarms: Arc<dyn Alarms> = Arc::new(AlarmBoard::default());
    let root = now.places.root.clone();
    let began = Instant::now();
    let (ledger, blobs) = (Arc::clone(ledger), Arc::clone(blobs));
    let purge = Purge::new(
        Arc::clone(&ledger),
        Arc::clone(&blobs),
        now.purge.clone(),
        Arc::clone(&alarms),
        move || i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
        root.clone(),
    );
    let tables = Arc::clone(config);
    let deliveries = Deliveries {
        ledger: Arc::clone(&ledger),
        blobs: Arc::clone(&blobs),
        spool_root: root.clone(),
        policy: now.delivery.clone(),
        zone: now.gateway.zone,
        tables: Arc::new(move |insurer| {
            tables.get().insurer_table::<DocumentTable>(insurer, "documents").unwrap_or_default()
        }),
        scanner: Arc::from(clamd::scanner(&now.scanner.address, now.scanner.bounds)),
        alarms: Arc::clone(&alarms),
        looks: std::sync::Mutex::default(),
        points: Points::default(),
    };
    let publisher = Publisher {
        ledger,
        blobs,
        spool_root: root.clone(),
        policy: now.spool.publish.clone(),
        turn: SpoolTurn::default(),
        alarms,
        points: Points::default(),
    };
    Ok(Stages {
        deliveries: Arc::new(deliveries),
        publisher: Arc::new(publisher),
        purge: Arc::new(purge),
        judge: Box::new(|_, _, _, _| {
            let text = "held submissions are judged by the daemon; start it with `todoke serve`";
            Err(Trouble::new(Kind::NotNow, "DAEMON-AWAY", text))
        }),
        config: Arc::clone(config),
    })
}

impl From<RootError> for Trouble {
    fn from(error: RootError) -> Self {
        let text = error.to_string();
        match error {
            RootError::Locked { .. } => Self::new(Kind::NotNow, "ROOT-LOCKED", text),
            RootError::NotOurs { .. } => Self::new(Kind::Usage, "ROOT-NOT-OURS", text),
            RootError::Damaged { .. } | RootError::Io { .. } => Self::new(Kind::Fault, "ROOT", text),
        }
    }
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Root(error) => error.into(),
            other => Self::new(Kind::Fault, "STORE", other.to_string()),
        }
    }
}
