//! What the ledger allows of applications.

use std::collections::{HashMap, HashSet};

use super::{Decided, No, logins, missing, ok};
use crate::model::application::{
    Application, ApplicationKind, ApplicationNotice, ApplicationState, ApplicationStep,
};
use crate::model::event::Event;
use crate::model::ids::{AccountId, ApplicationId};
use crate::model::login::{Credential, Purpose};
use crate::model::party::{Account, Standing};
use crate::model::time::Timestamp;
use crate::rules::enrolment;
use crate::store::applications::StoredApplication;
use crate::store::index::{Index, IndexError};
use crate::store::ledger::{Done, Refusal};
use crate::store::tables::{self, Draft};

fn stored<I: Index>(draft: &mut Draft<'_, I>, id: ApplicationId) -> Result<StoredApplication, No> {
    draft.fetch(&tables::application(id))?.ok_or_else(|| missing(format_args!("application {id}")))
}

/// All applications for an account, oldest first: few, since each takes a cut-off.
fn of_account<I: Index>(
    draft: &mut Draft<'_, I>,
    account: &AccountId,
) -> Result<Vec<Application>, IndexError> {
    let mut found = Vec::new();
    for key in draft.keys(tables::account_applications(account))? {
        let Some((epoch, serial)) = tables::numbered_in(&key) else { continue };
        let stored: Option<StoredApplication> =
            draft.fetch(&tables::application(ApplicationId { epoch, serial }))?;
        found.extend(stored.map(|stored| stored.application));
    }
    Ok(found)
}

/// An account that was made for an application that then came to nothing, and that never logged in: another application may
/// take its name.
fn left_over<I: Index>(draft: &mut Draft<'_, I>, account: &Account) -> Result<bool, IndexError> {
    use ApplicationState::{Cancelled, Expired, InUse};
    let all = of_account(draft, &account.id)?;
    let made = all.iter().any(|of| of.admitted && matches!(of.state, Cancelled | Expired));
    let used = all.iter().any(|of| of.state == InUse);
    Ok(account.standing == Standing::Closed && made && !used)
}

pub(super) fn apply<I: Index>(draft: &mut Draft<'_, I>, group: Vec<Application>) -> Decided {
    let mut accounts = HashSet::new();
    for of in &group {
        if draft.has(&tables::application(of.id))? {
            return Err(Refusal::Exists(format!("application {}", of.id)).into());
        }
        if !draft.has(&tables::insurer(&of.insurer))? {
            return Err(missing(format_args!("insurer {}", of.insurer)));
        }
        for code in &of.offices {
            if !draft.has(&tables::office(&of.insurer, code))? {
                return Err(missing(format_args!("office {code} of insurer {}", of.insurer)));
            }
        }
        // Another certificate may be asked for while the last one waits to be used: it may have been lost (K40).
        let again = |other: &Application| {
            of.kind != ApplicationKind::New && other.kind != ApplicationKind::New && other.state.is_issued()
        };
        let open =
            of_account(draft, &of.account)?.into_iter().find(|other| other.state.is_open() && !again(other));
        if let Some(other) = open {
            let why = format!("account {} has an open application already, {}", of.account, other.id);
            return Err(Refusal::NotNow(why).into());
        }
        if !accounts.insert(of.account.clone()) {
            let why = format!("account {} is applied for twice", of.account);
            return Err(Refusal::NotNow(why).into());
        }
        let account: Option<Account> = draft.fetch(&tables::account(&of.account))?;
        match (of.kind, account) {
            (ApplicationKind::New, Some(account)) if !left_over(draft, &account)? => {
                return Err(Refusal::Exists(format!("account {}", account.id)).into());
            }
            (ApplicationKind::Renewal | ApplicationKind::Reissue, None) => {
                return Err(missing(format_args!("account {}", of.account)));
            }
            _ => {}
        }
    }
    let events = group.into_iter().map(|of| Event::ApplicationMade(Box::new(of))).collect();
    Ok((events, Done::Ok))
}

pub(super) fn go_on<I: Index>(
    draft: &mut Draft<'_, I>,
    steps: Vec<(ApplicationId, ApplicationStep)>,
    at: Timestamp,
) -> Decided {
    let mut events = Vec::new();
    // What the earlier steps of this operation come to.
    let mut now: HashMap<ApplicationId, Application> = HashMap::new();
    for (id, step) in steps {
        let mut of = match now.remove(&id) {
            Some(of) => of,
            None => stored(draft, id)?.application,
        };
        enrolment::allowed(&of, &step, at).map_err(Refusal::NotNow)?;
        let new = of.kind == ApplicationKind::New && of.admitted;
        let account: Option<Account> = if new { draft.fetch(&tables::account(&of.account))? } else { None };
        let standing = account.as_ref().map(|account| account.standing);
        if matches!(step, ApplicationStep::Used) && new && standing != Some(Standing::Active) {
            let why = format!("account {} waits for its first set-up", of.account);
            return Err(Refusal::NotNow(why).into());
        }
        if matches!(step, ApplicationStep::SetUp { .. }) && standing == Some(Standing::Closed) {
            let why = format!("account {} is closed, which a set-up does not undo", of.account);
            return Err(Refusal::NotNow(why).into());
        }
        let to = match step {
            ApplicationStep::SetUp { .. } => Some(Standing::Active),
            ApplicationStep::Expired | ApplicationStep::Cancelled { .. } => Some(Standing::Closed),
            _ => None,
        };
        enrolment::go(&mut of, &step, at, &crate::model::party::Actor::Daemon);
        let over = enrolment::ends_login(&of, &step);
        now.insert(id, of);
        events.push(Event::ApplicationMoved { id, step });
        if over {
            events
                .extend(logins::over(draft, Credential { purpose: Purpose::Enrolment, holder: id.into() })?);
        }
        if let (Some(mut account), Some(to)) = (account, to)
            && account.standing != to
        {
            account.standing = to;
            if to == Standing::Closed {
                events.extend(logins::all_over(draft, &account.id)?);
            }
            events.push(Event::AccountSet(account));
        }
    }
    Ok((events, Done::Ok))
}

pub(super) fn admit<I: Index>(
    draft: &mut Draft<'_, I>,
    id: ApplicationId,
    account: Account,
    at: Timestamp,
) -> Decided {
    let of = stored(draft, id)?.application;
    enrolment::allowed(&of, &ApplicationStep::Admitted, at).map_err(Refusal::NotNow)?;
    let same = account.id == of.account
        && (&account.insurer, account.role, account.test) == (&of.insurer, of.role, of.test);
    if !same {
        return Err(Refusal::NotYours(format!("application {id}")).into());
    }
    let there: Option<Account> = draft.fetch(&tables::account(&account.id))?;
    let new = match there {
        Some(there) if !left_over(draft, &there)? => {
            return Err(Refusal::Exists(format!("account {}", account.id)).into());
        }
        there => there.is_none(),
    };
    // Who had the name before knows passwords of it.
    let mut events = logins::all_over(draft, &account.id)?;
    let (set, done) = super::set_account(draft, account, new)?;
    events.extend(set);
    events.extend(ok(Event::ApplicationMoved { id, step: ApplicationStep::Admitted })?.0);
    Ok((events, done))
}

/// Whether this is still to be told.
pub(super) fn waits_to_be_told<I: Index>(
    draft: &mut Draft<'_, I>,
    id: ApplicationId,
    notice: ApplicationNotice,
) -> Result<bool, IndexError> {
    let stored: Option<StoredApplication> = draft.fetch(&tables::application(id))?;
    Ok(stored.is_some_and(|stored| stored.tell.contains(&notice)))
}
