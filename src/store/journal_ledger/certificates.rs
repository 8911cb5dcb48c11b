//! What can be asked about authorities and certificates, from the index.

use super::{Index, JournalLedger, LedgerError, index_error, malformed};
use crate::model::authority::Authority;
use crate::model::certificate::Certificate;
use crate::model::ids::{AuthorityId, CertificateId, Digest};
use crate::model::time::Timestamp;
use crate::store::ledger::{CertificateFilter, CertificateLedger};
use crate::store::tables::{self, Key, certificates as table};

impl<I: Index> JournalLedger<I> {
    fn known(&self, id: CertificateId) -> Result<Certificate, LedgerError> {
        self.fetch(&table::certificate(id))?
            .ok_or_else(|| LedgerError::Index(format!("certificate {id} is listed, but not there")))
    }

    fn found(&self, id: Option<CertificateId>) -> Result<Option<Certificate>, LedgerError> {
        id.map(|id| self.known(id)).transpose()
    }

    /// Those of a list by time, the soonest end first.
    fn by_end(&self, from: &Key, to: &[u8], limit: usize) -> Result<Vec<Certificate>, LedgerError> {
        let keys = self.shared.index.range(&from.clone().done(), to, false).take(limit);
        keys.map(|pair| {
            let (key, _) = pair.map_err(index_error)?;
            let (epoch, serial) =
                tables::numbered_in(&key).ok_or_else(|| malformed("a list of certificates"))?;
            self.known(CertificateId { epoch, serial })
        })
        .collect()
    }
}

impl<I: Index> CertificateLedger for JournalLedger<I> {
    fn authority(&self, id: &AuthorityId) -> Result<Option<Authority>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&table::authority(id))
    }

    fn authorities(&self) -> Result<Vec<Authority>, LedgerError> {
        let _gate = self.gate();
        self.records(table::authorities())
    }

    fn certificate(&self, id: CertificateId) -> Result<Option<Certificate>, LedgerError> {
        let _gate = self.gate();
        self.fetch(&table::certificate(id))
    }

    fn certificates(
        &self,
        filter: &CertificateFilter,
        limit: usize,
    ) -> Result<Vec<Certificate>, LedgerError> {
        let _gate = self.gate();
        let list = filter.account.as_ref().map_or_else(table::all, table::of_account);
        let ids = self.newest_first(vec![list], filter.before.map(|id| (id.epoch, id.serial)));
        ids.take(limit)
            .map(|id| id.and_then(|(epoch, serial)| self.known(CertificateId { epoch, serial })))
            .collect()
    }

    fn certificates_of_key(&self, fingerprint: &str) -> Result<Vec<Certificate>, LedgerError> {
        let _gate = self.gate();
        let ids: Option<Vec<CertificateId>> = self.fetch(&table::of_key(fingerprint))?;
        ids.unwrap_or_default().into_iter().map(|id| self.known(id)).collect()
    }

    fn certificate_by_serial(
        &self,
        authority: &AuthorityId,
        serial: &str,
    ) -> Result<Option<Certificate>, LedgerError> {
        let _gate = self.gate();
        let id = self.fetch(&table::serial(authority, serial))?;
        self.found(id)
    }

    fn certificate_by_x509(&self, sha256: Digest) -> Result<Option<Certificate>, LedgerError> {
        let _gate = self.gate();
        let id = self.fetch(&table::x509(&sha256))?;
        self.found(id)
    }

    fn certificates_ending(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Certificate>, LedgerError> {
        let _gate = self.gate();
        self.by_end(&table::ending().time(from), &table::ending().time(to).done(), limit)
    }

    fn certificates_revoked(
        &self,
        authority: &AuthorityId,
        after: Timestamp,
    ) -> Result<Vec<Certificate>, LedgerError> {
        let _gate = self.gate();
        let list = table::revoked(authority);
        self.by_end(&list.clone().time(after.plus(1)), &list.end(), usize::MAX)
    }

    fn last_end(&self, authority: &AuthorityId) -> Result<Option<Timestamp>, LedgerError> {
        let _gate = self.gate();
        let list = table::of_authority(authority);
        let (from, to) = (list.clone().done(), list.end());
        let Some(last) = self.shared.index.range(&from, &to, true).next() else { return Ok(None) };
        let (key, _) = last.map_err(index_error)?;
        tables::time_in(&key).map(Some).ok_or_else(|| malformed("a list of certificates"))
    }
}
