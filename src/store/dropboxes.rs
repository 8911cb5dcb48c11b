//! The drop-boxes of all accounts, opened as they are needed.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::blobs::Blobs;
use super::dropbox::Dropbox;
use super::ledger::Ledger;
use crate::model::ids::{AccountId, BlobId};
use crate::rules::policy::SubmitPolicy;
use crate::signed::manifest::ManifestLimits;

/// All drop-boxes.
pub struct Dropboxes {
    uploads: PathBuf,
    limits: Mutex<SubmitPolicy>,
    manifest_limits: ManifestLimits,
    blobs: Arc<dyn Blobs>,
    ledger: Arc<dyn Ledger>,
    open: Mutex<HashMap<AccountId, Arc<Dropbox>>>,
}

impl Dropboxes {
    /// Over the folder `uploads/` of the data root.
    pub fn new(
        uploads: PathBuf,
        limits: SubmitPolicy,
        manifest_limits: ManifestLimits,
        blobs: Arc<dyn Blobs>,
        ledger: Arc<dyn Ledger>,
    ) -> Self {
        let limits = Mutex::new(limits);
        Self { uploads, limits, manifest_limits, blobs, ledger, open: Mutex::new(HashMap::new()) }
    }

    /// One account's.
    pub fn of(&self, account: &AccountId) -> io::Result<Arc<Dropbox>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dropbox) = open.get(account) {
            return Ok(Arc::clone(dropbox));
        }
        let claimed = |blob: &BlobId| self.ledger.refers_to(blob).unwrap_or(true);
        let ledger = Arc::clone(&self.ledger);
        let dropbox = Arc::new(Dropbox::open(
            account.clone(),
            &self.uploads,
            self.limits.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            self.manifest_limits,
            Arc::clone(&self.blobs),
            &claimed,
            Arc::new(move || ledger.stopped().is_some()),
        )?);
        open.insert(account.clone(), Arc::clone(&dropbox));
        Ok(dropbox)
    }

    /// From now on these bounds hold, for those that are open as well.
    pub fn set_limits(&self, limits: &SubmitPolicy) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits.clone();
        for dropbox in open.values() {
            dropbox.set_limits(limits.clone());
        }
    }

    /// Every account that has a drop-box on disk.
    pub fn all(&self) -> io::Result<Vec<(AccountId, Arc<Dropbox>)>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&self.uploads)? {
            let name = entry?.file_name();
            let Some(account) = name.to_str().and_then(|n| n.strip_suffix(".jsonl")) else { continue };
            let Ok(account) = AccountId::parse(account) else { continue };
            let dropbox = self.of(&account)?;
            all.push((account, dropbox));
        }
        Ok(all)
    }

    /// Blobs of unclaimed versions: not orphans.
    pub fn blobs(&self) -> io::Result<Vec<BlobId>> {
        Ok(self.all()?.iter().flat_map(|(_, dropbox)| dropbox.blobs()).collect())
    }
}
