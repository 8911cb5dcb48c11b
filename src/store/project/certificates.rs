//! Authorities and certificates, from events to tables.

use super::missing;
use crate::model::authority::Authority;
use crate::model::certificate::{Certificate, Revocation, RevocationReason};
use crate::model::ids::{CertificateId, Digest};
use crate::model::time::Timestamp;
use crate::store::index::{Index, IndexError};
use crate::store::tables::{Draft, certificates as table};

pub(super) fn set_authority<I: Index>(
    draft: &mut Draft<'_, I>,
    authority: &Authority,
) -> Result<(), IndexError> {
    draft.put(&table::authority(&authority.id), authority)
}

pub(super) fn issued<I: Index>(draft: &mut Draft<'_, I>, of: &Certificate) -> Result<(), IndexError> {
    let key = table::of_key(&of.fingerprint);
    let mut over: Vec<CertificateId> = draft.fetch(&key)?.unwrap_or_default();
    over.push(of.id);
    draft.put(&key, &over)?;
    for (authority, serial) in table::serials(of) {
        draft.put(&table::serial(&authority, &serial), &of.id)?;
    }
    let digest: Option<&Digest> = of.x509.as_ref().map(|form| &form.sha256);
    if let Some(digest) = digest {
        draft.put(&table::x509(digest), &of.id)?;
    }
    draft.derive(&[], table::derived(of));
    draft.put_new(table::certificate(of.id), of)
}

fn change<I: Index>(
    draft: &mut Draft<'_, I>,
    id: CertificateId,
    how: impl FnOnce(&mut Certificate),
) -> Result<(), IndexError> {
    let key = table::certificate(id);
    let mut of: Certificate = draft.fetch(&key)?.ok_or_else(|| missing(format_args!("certificate {id}")))?;
    let before = table::derived(&of);
    how(&mut of);
    draft.derive(&before, table::derived(&of));
    draft.put(&key, &of)
}

pub(super) fn revoked<I: Index>(
    draft: &mut Draft<'_, I>,
    id: CertificateId,
    reason: RevocationReason,
    at: Timestamp,
) -> Result<(), IndexError> {
    change(draft, id, |of| {
        of.revoked = Some(Revocation { at, reason });
        of.bundle = None;
    })
}

pub(super) fn used<I: Index>(
    draft: &mut Draft<'_, I>,
    id: CertificateId,
    at: Timestamp,
) -> Result<(), IndexError> {
    change(draft, id, |of| of.first_used_at = Some(at))
}

pub(super) fn bundle_forgotten<I: Index>(
    draft: &mut Draft<'_, I>,
    id: CertificateId,
) -> Result<(), IndexError> {
    change(draft, id, |of| of.bundle = None)
}
