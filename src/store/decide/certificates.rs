//! What the ledger allows with authorities and certificates.

use super::{Decided, No, expect_new, missing, nothing, ok, twins};
use crate::model::authority::{Authority, Origin};
use crate::model::certificate::{Certificate, RevocationReason};
use crate::model::event::Event;
use crate::model::ids::{AccountId, CertificateId};
use crate::model::party::{Account, Standing};
use crate::store::index::Index;
use crate::store::ledger::Refusal;
use crate::store::tables::{self, Draft, certificates as table};

pub(super) fn set_authority<I: Index>(
    draft: &mut Draft<'_, I>,
    authority: Box<Authority>,
    new: bool,
) -> Decided {
    let id = &authority.id;
    let before: Option<Authority> = draft.fetch(&table::authority(id))?;
    expect_new(format_args!("authority {id}"), before.is_some(), new)?;
    if let Some(before) = before {
        let fixed = |of: &Authority| (of.form, of.origin, of.certificate.clone(), of.insurer.clone());
        if fixed(&before) != fixed(&authority) {
            let why =
                format!("authority {id} has another certificate; another generation needs another name");
            return Err(Refusal::NotNow(why).into());
        }
    }
    if let Some(insurer) = &authority.insurer
        && !draft.has(&tables::insurer(insurer))?
    {
        return Err(missing(format_args!("insurer {insurer}")));
    }
    if authority.issuing_from.is_some() && authority.origin == Origin::External {
        return Err(Refusal::NotNow(format!("authority {id} is external: it cannot issue here")).into());
    }
    ok(Event::AuthoritySet(authority))
}

fn certificate<I: Index>(draft: &mut Draft<'_, I>, id: CertificateId) -> Result<Certificate, No> {
    draft.fetch(&table::certificate(id))?.ok_or_else(|| missing(format_args!("certificate {id}")))
}

fn of_key<I: Index>(draft: &mut Draft<'_, I>, fingerprint: &str) -> Result<Vec<Certificate>, No> {
    let ids: Vec<CertificateId> = draft.fetch(&table::of_key(fingerprint))?.unwrap_or_default();
    ids.into_iter().map(|id| certificate(draft, id)).collect()
}

/// A key that is certified for somebody may be this account's as well only between a test account and its twin. The rule
/// holds for ever: what was signed with a key must never be two accounts'.
pub(super) fn certified_for<I: Index>(
    draft: &mut Draft<'_, I>,
    account: &Account,
    fingerprint: &str,
) -> Result<(), No> {
    for other in of_key(draft, fingerprint)? {
        if other.account != account.id {
            twins(draft, account, other.account, fingerprint)?;
        }
    }
    Ok(())
}

/// A key that was revoked as compromised is neither certified nor registered again.
pub(super) fn not_compromised<I: Index>(draft: &mut Draft<'_, I>, fingerprint: &str) -> Result<(), No> {
    let compromised = |of: &Certificate| {
        of.revoked.is_some_and(|revocation| revocation.reason == RevocationReason::KeyCompromise)
    };
    match of_key(draft, fingerprint)?.into_iter().find(compromised) {
        None => Ok(()),
        Some(earlier) => {
            Err(Refusal::KeyCompromised { fingerprint: fingerprint.to_owned(), id: earlier.id }.into())
        }
    }
}

pub(super) fn issue<I: Index>(draft: &mut Draft<'_, I>, of: Box<Certificate>) -> Decided {
    let id = of.id;
    let account: Option<Account> = draft.fetch(&tables::account(&of.account))?;
    let account = account.ok_or_else(|| missing(format_args!("account {}", of.account)))?;
    if account.standing == Standing::Closed {
        return Err(Refusal::NotNow(format!("account {} is closed", account.id)).into());
    }
    if draft.has(&table::certificate(id))? {
        return Err(Refusal::Exists(format!("certificate {id}")).into());
    }
    for (authority, serial) in table::serials(&of) {
        if !draft.has(&table::authority(&authority))? {
            return Err(missing(format_args!("authority {authority}")));
        }
        if draft.has(&table::serial(&authority, &serial))? {
            return Err(Refusal::Exists(format!("serial {serial} of authority {authority}")).into());
        }
    }
    if let Some(form) = &of.x509
        && draft.has(&table::x509(&form.sha256))?
    {
        return Err(Refusal::Exists(format!("certificate {}", form.sha256)).into());
    }
    let registered: Vec<AccountId> = draft.fetch(&tables::fingerprint(&of.fingerprint))?.unwrap_or_default();
    for holder in registered.into_iter().filter(|holder| *holder != account.id) {
        twins(draft, &account, holder, &of.fingerprint)?;
    }
    certified_for(draft, &account, &of.fingerprint)?;
    not_compromised(draft, &of.fingerprint)?;
    ok(Event::CertificateIssued(of))
}

pub(super) fn revoke<I: Index>(
    draft: &mut Draft<'_, I>,
    id: CertificateId,
    reason: RevocationReason,
) -> Decided {
    if certificate(draft, id)?.revoked.is_some() {
        return nothing();
    }
    ok(Event::CertificateRevoked { id, reason })
}

pub(super) fn used<I: Index>(draft: &mut Draft<'_, I>, id: CertificateId) -> Decided {
    if certificate(draft, id)?.first_used_at.is_some() {
        return nothing();
    }
    ok(Event::CertificateUsed { id })
}

pub(super) fn forget_bundle<I: Index>(draft: &mut Draft<'_, I>, id: CertificateId) -> Decided {
    if certificate(draft, id)?.bundle.is_none() {
        return nothing();
    }
    ok(Event::CertificateBundleForgotten { id })
}
