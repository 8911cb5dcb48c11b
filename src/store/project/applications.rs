//! Applications in the tables.

use super::missing;
use crate::model::application::{Application, ApplicationNotice, ApplicationState, ApplicationStep, Entered};
use crate::model::ids::ApplicationId;
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::enrolment;
use crate::store::applications::StoredApplication;
use crate::store::index::{Index, IndexError};
use crate::store::tables::{self, Draft};

pub(super) fn made<I: Index>(
    draft: &mut Draft<'_, I>,
    application: &Application,
    at: Timestamp,
    by: &Actor,
) -> Result<(), IndexError> {
    let mut application = application.clone();
    let state = ApplicationState::Applied;
    application.state = state;
    application.entered = vec![Entered { state, at, by: by.clone() }];
    let tell = vec![ApplicationNotice::Taken];
    let stored = StoredApplication { application, changed_at: at, tell, card_gone: false };
    draft.derive(&[], stored.derived());
    draft.put_new(tables::application(stored.application.id), &stored)
}

fn change<I: Index>(
    draft: &mut Draft<'_, I>,
    id: ApplicationId,
    how: impl FnOnce(&mut StoredApplication),
) -> Result<(), IndexError> {
    let key = tables::application(id);
    let mut stored: StoredApplication =
        draft.fetch(&key)?.ok_or_else(|| missing(format_args!("application {id}")))?;
    let before = stored.derived();
    how(&mut stored);
    draft.derive(&before, stored.derived());
    draft.put(&key, &stored)
}

pub(super) fn moved<I: Index>(
    draft: &mut Draft<'_, I>,
    id: ApplicationId,
    step: &ApplicationStep,
    at: Timestamp,
    by: &Actor,
) -> Result<(), IndexError> {
    change(draft, id, |stored| {
        enrolment::go(&mut stored.application, step, at, by);
        stored.tell.extend(enrolment::told(step));
        stored.card_gone |= *step == ApplicationStep::CardGone;
        stored.changed_at = at;
    })
}

/// Its mail is sealed.
pub(super) fn told<I: Index>(
    draft: &mut Draft<'_, I>,
    id: ApplicationId,
    notice: ApplicationNotice,
) -> Result<(), IndexError> {
    change(draft, id, |stored| {
        if let Some(first) = stored.tell.iter().position(|waiting| *waiting == notice) {
            stored.tell.remove(first);
        }
    })
}
