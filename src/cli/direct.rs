//! The store opened by a command, while no daemon runs.

use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, ConfigCell};
use crate::desk::{Kind, Parts, Stages, Trouble, certificates};
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
            super::out::note(&format!(
                "warning: the store was not closed in order ({error}); the next start looks it over"
            ));
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
    let scanner = Arc::from(clamd::scanner(&config.get().scanner.address, config.get().scanner.bounds));
    let alarms: Arc<dyn Alarms> = Arc::new(AlarmBoard::default());
    // What waits in queues is left to the daemon.
    let judge = |_, _, _: &_, _| {
        let text = "held submissions are judged by the daemon; start it with `todoke serve`";
        Err(Trouble::new(Kind::NotNow, "DAEMON-AWAY", text))
    };
    let stages = Stages::build(&config, &as_port, &blobs, &alarms, scanner, Box::new(judge), monotonic());
    let certificates =
        certificates::build(&config, &as_port, &blobs, &alarms, certificates::credentials_directory());
    let parts = Parts::new(as_port, blobs, config, certificates, Arc::new(stages), None);
    let untouched = clean.filter(|_| recovery.index == IndexState::Current && recovery.cut.is_none());
    Ok(Direct { parts, ledger, untouched })
}

/// Milliseconds since this command began.
fn monotonic() -> impl Fn() -> i64 + Send + Sync {
    let began = Instant::now();
    move || i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX)
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
