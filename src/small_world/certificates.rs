//! The fake ledger's authorities and certificates.

use super::{FakeLedger, State_};
use crate::model::authority::Authority;
use crate::model::certificate::{Certificate, Revocation};
use crate::model::ids::{AuthorityId, CertificateId, Digest};
use crate::model::time::Timestamp;
use crate::store::ledger::{CertificateFilter, CertificateLedger, Done, LedgerError, Op, Refusal};

pub(super) fn commit(state: &mut State_, op: Op, now: Timestamp) -> Result<Done, LedgerError> {
    match op {
        Op::SetAuthority { authority, .. } => {
            state.authorities.retain(|other| other.id != authority.id);
            state.authorities.push(*authority);
            state.authorities.sort_by(|a, b| a.id.cmp(&b.id));
        }
        Op::IssueCertificate(certificate) => state.certificates.push(*certificate),
        Op::RevokeCertificate { id, reason } => {
            let of = of(state, id)?;
            of.revoked.get_or_insert(Revocation { at: now, reason });
            of.bundle = None;
        }
        Op::UseCertificate(id) => {
            of(state, id)?.first_used_at.get_or_insert(now);
        }
        Op::ForgetBundle(id) => of(state, id)?.bundle = None,
        other => panic!("{other:?} is not about certificates"),
    }
    Ok(Done::Ok)
}

fn of(state: &mut State_, id: CertificateId) -> Result<&mut Certificate, LedgerError> {
    state
        .certificates
        .iter_mut()
        .find(|certificate| certificate.id == id)
        .ok_or(LedgerError::Refused(Refusal::Missing(id.to_string())))
}

impl FakeLedger {
    fn select(&self, wanted: impl Fn(&Certificate) -> bool) -> Vec<Certificate> {
        let state = self.0.lock().unwrap();
        let mut found: Vec<_> = state.certificates.iter().filter(|of| wanted(of)).cloned().collect();
        found.sort_by_key(|of| (of.not_after, of.id));
        found
    }
}

fn by(of: &Certificate, authority: &AuthorityId) -> bool {
    of.x509.as_ref().is_some_and(|form| form.authority == *authority)
        || of.openssh.as_ref().is_some_and(|form| form.authority == *authority)
}

impl CertificateLedger for FakeLedger {
    fn authority(&self, id: &AuthorityId) -> Result<Option<Authority>, LedgerError> {
        Ok(self.authorities()?.into_iter().find(|authority| authority.id == *id))
    }
    fn authorities(&self) -> Result<Vec<Authority>, LedgerError> {
        Ok(self.0.lock().unwrap().authorities.clone())
    }
    fn certificate(&self, id: CertificateId) -> Result<Option<Certificate>, LedgerError> {
        Ok(self.select(|of| of.id == id).pop())
    }
    fn certificates(
        &self,
        filter: &CertificateFilter,
        limit: usize,
    ) -> Result<Vec<Certificate>, LedgerError> {
        let mut found = self.select(|of| {
            filter.account.as_ref().is_none_or(|account| *account == of.account)
                && filter.before.is_none_or(|before| of.id < before)
        });
        found.sort_by_key(|of| std::cmp::Reverse(of.id));
        found.truncate(limit);
        Ok(found)
    }
    fn certificates_of_key(&self, fingerprint: &str) -> Result<Vec<Certificate>, LedgerError> {
        let mut found = self.select(|of| of.fingerprint == fingerprint);
        found.sort_by_key(|of| of.id);
        Ok(found)
    }
    fn certificate_by_serial(
        &self,
        authority: &AuthorityId,
        serial: &str,
    ) -> Result<Option<Certificate>, LedgerError> {
        let same = |of: &Certificate| {
            of.x509.as_ref().is_some_and(|form| form.authority == *authority && form.serial == serial)
                || of.openssh.as_ref().is_some_and(|form| {
                    form.authority == *authority && format!("{:016x}", form.serial) == serial
                })
        };
        Ok(self.select(same).pop())
    }
    fn certificate_by_x509(&self, sha256: Digest) -> Result<Option<Certificate>, LedgerError> {
        Ok(self.select(|of| of.x509.as_ref().is_some_and(|form| form.sha256 == sha256)).pop())
    }
    fn certificates_ending(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Certificate>, LedgerError> {
        let mut found = self.select(|of| of.revoked.is_none() && from <= of.not_after && of.not_after < to);
        found.truncate(limit);
        Ok(found)
    }
    fn certificates_revoked(
        &self,
        authority: &AuthorityId,
        after: Timestamp,
    ) -> Result<Vec<Certificate>, LedgerError> {
        Ok(self.select(|of| of.revoked.is_some() && of.not_after > after && by(of, authority)))
    }
    fn last_end(&self, authority: &AuthorityId) -> Result<Option<Timestamp>, LedgerError> {
        let found = self.select(|of| of.revoked.is_none() && by(of, authority));
        Ok(found.last().map(|of| of.not_after))
    }
}
