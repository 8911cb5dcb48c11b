//! What a login means to an application: the account's first one ends it (K27), and until then its enrolment login is open.

use super::ledger::{ApplicationFilter, Ledger, LedgerError, Op, Refusal};
use crate::model::application::{Application, ApplicationKind, ApplicationState, ApplicationStep};
use crate::model::ids::{AccountId, ApplicationId, CertificateId};
use crate::model::party::Actor;
use crate::model::time::Timestamp;

/// Applications of one account whose certificates wait to be used.
const ISSUED_MAX: usize = 16;

/// The account logged in, with this certificate if it was with one: its application has come to its end. One for another
/// certificate ends with the first use of that one.
pub fn logged_in(
    ledger: &dyn Ledger,
    account: &AccountId,
    certificate: Option<CertificateId>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let filter = ApplicationFilter {
        account: Some(account.clone()),
        states: vec![ApplicationState::Issued, ApplicationState::Downloaded],
        ..ApplicationFilter::default()
    };
    for of in ledger.applications(&filter, ISSUED_MAX)? {
        if of.kind != ApplicationKind::New && (certificate.is_none() || of.certificate != certificate) {
            continue;
        }
        let by = Actor::Account(account.clone());
        match ledger.commit(Op::MoveApplications(vec![(of.id, ApplicationStep::Used)]), by, now) {
            // Somebody else was quicker, or it waits for its set-up.
            Ok(_) | Err(LedgerError::Refused(Refusal::NotNow(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The application whose enrolment login is open: what was issued can be fetched now, or its applicant's consent to the terms
/// is waited for.
pub fn open_to(
    ledger: &dyn Ledger,
    id: ApplicationId,
    now: Timestamp,
) -> Result<Option<Application>, LedgerError> {
    let found = ledger.application(id)?;
    Ok(found.filter(|of| {
        let keeps = of.state.is_issued() || (of.state == ApplicationState::InUse && of.keep);
        of.waits_for_consent() || (keeps && of.use_before.is_some_and(|before| now < before))
    }))
}

/// The application of an account that waits for its first set-up, so that a login can be told what to do.
pub fn waits_for_set_up(
    ledger: &dyn Ledger,
    account: &AccountId,
) -> Result<Option<ApplicationId>, LedgerError> {
    let filter = ApplicationFilter {
        account: Some(account.clone()),
        states: vec![ApplicationState::Issued, ApplicationState::Downloaded],
        ..ApplicationFilter::default()
    };
    let found = ledger.applications(&filter, 1)?.pop();
    Ok(found.filter(|of| of.kind == ApplicationKind::New && of.consent.is_none()).map(|of| of.id))
}
