//! How an application goes on: which step is allowed from which state, what a step comes to, what is due when, and the
//! policy of an insurer (K3 K18 K27 E14 H8-H16). Values only.

mod policy;
mod setup;

use chrono::Days;
use chrono_tz::Tz;

use crate::model::application::{
    Application, ApplicationKind, ApplicationNotice, ApplicationState, ApplicationStep, Consent, Entered,
    Material,
};
use crate::model::party::Actor;
use crate::model::time::Timestamp;

pub use policy::{Approval, Cutoff, Downloads, EnrolmentPolicy, SetUp};
pub use setup::{Given, Mismatch, Registered, compare};

/// Why a step is not allowed, in operators' words.
pub fn allowed(application: &Application, step: &ApplicationStep, at: Timestamp) -> Result<(), String> {
    use ApplicationState::{Applied, Approved, AwaitingPayment, Collected, InUse, Paid};
    use ApplicationStep as Step;
    let state = application.state;
    let new = application.kind == ApplicationKind::New;
    let fine = match step {
        Step::Collected => state == Applied && !application.waits_for_consent(),
        Step::Approved { .. } => state == Collected,
        Step::Rejected { .. } => matches!(state, Applied | Collected),
        Step::Paid => state == AwaitingPayment,
        Step::Admitted => new && !application.admitted && matches!(state, Approved | Paid),
        Step::Issued { .. } => (!new || application.admitted) && matches!(state, Approved | Paid),
        Step::Downloaded => {
            state.is_issued()
                || (state == InUse
                    && application.keep
                    && application.use_before.is_some_and(|before| at < before))
        }
        // Who renews consented before; the same form again changes nothing.
        Step::SetUp { .. } => new && state.is_issued() && application.consent.is_none(),
        Step::Consented { .. } => application.waits_for_consent(),
        Step::Replaced => application.replaces.as_ref().is_some_and(|of| of.is_due(state)),
        Step::Used => state.is_issued(),
        Step::Reminded => {
            state.is_issued() && application.remind_at.first().is_some_and(|remind| *remind <= at)
        }
        Step::Expired => state.is_issued() && application.use_before.is_some_and(|before| before <= at),
        Step::Cancelled { .. } => state.is_open(),
        Step::BundleGone => application.bundle && !state.is_open(),
        Step::CardGone => {
            let replaces = application.replaces.as_ref();
            !application.bundle && !state.is_open() && !replaces.is_some_and(|of| of.is_due(state))
        }
    };
    if fine {
        return Ok(());
    }
    let next = match state {
        Applied if application.waits_for_consent() => {
            "it waits for the applicant's consent to the terms (`account application setup`, or its enrolment login)"
        }
        Applied => "it waits for the cut-off (`account application collect` collects it now)",
        Collected => "it waits for the insurer: `account application approve` or `reject`",
        Approved | Paid => "it waits to be issued: `account application issue`",
        AwaitingPayment => "it waits for the payment: `account application paid`",
        _ if state.is_issued() => "it waits for its first login",
        _ => "it has come to its end; what is wanted now is another application",
    };
    Err(format!("application {} is {}: {next}", application.id, state.name()))
}

/// Goes one step on. The step is taken for allowed: it may be one of long ago.
pub fn go(application: &mut Application, step: &ApplicationStep, at: Timestamp, by: &Actor) {
    use ApplicationState as State;
    use ApplicationStep as Step;
    let enter = |application: &mut Application, state| {
        application.state = state;
        // Fetched again: the first date is the one that counts (H11), the number of times is kept beside it.
        if application.entered.last().is_none_or(|last| last.state != state) {
            application.entered.push(Entered { state, at, by: by.clone() });
        }
    };
    match step {
        Step::Collected => enter(application, State::Collected),
        Step::Approved { pay } => {
            enter(application, State::Approved);
            if *pay {
                enter(application, State::AwaitingPayment);
            }
        }
        Step::Rejected { reason } => {
            enter(application, State::Rejected);
            application.reason.clone_from(reason);
        }
        Step::Paid => enter(application, State::Paid),
        Step::Admitted => application.admitted = true,
        Step::Issued { certificate, bundle, use_before, remind_at, keep } => {
            enter(application, State::Issued);
            application.certificate = Some(*certificate);
            application.bundle = *bundle;
            application.use_before = Some(*use_before);
            application.remind_at.clone_from(remind_at);
            application.keep = *keep;
        }
        Step::Downloaded => {
            if application.state != State::InUse {
                enter(application, State::Downloaded);
            }
            application.downloads = application.downloads.saturating_add(1);
        }
        Step::SetUp { terms } => application.consent = Some(Consent { terms: terms.clone(), at }),
        Step::Consented { terms, class, fee, payment, collect_at } => {
            application.consent = Some(Consent { terms: terms.clone(), at });
            application.class = class.clone();
            application.fee = *fee;
            application.payment = *payment;
            application.collect_at = *collect_at;
        }
        Step::Replaced => {
            if let Some(of) = &mut application.replaces {
                of.done = true;
            }
        }
        Step::Used => enter(application, State::InUse),
        // One mail for all that came due while nobody looked.
        Step::Reminded => application.remind_at.retain(|remind| *remind > at),
        Step::Expired => enter(application, State::Expired),
        Step::Cancelled { reason } => {
            enter(application, State::Cancelled);
            application.reason.clone_from(reason);
        }
        Step::BundleGone => application.bundle = false,
        Step::CardGone => application.reason = None,
    }
    if !application.state.is_open() {
        application.remind_at.clear();
    }
}

/// What the registered address is told of a step.
pub fn told(step: &ApplicationStep) -> Option<ApplicationNotice> {
    use ApplicationStep as Step;
    match step {
        Step::Approved { pay: true } => Some(ApplicationNotice::Payment),
        Step::Rejected { .. } => Some(ApplicationNotice::Rejected),
        Step::Issued { .. } => Some(ApplicationNotice::Issued),
        Step::Reminded => Some(ApplicationNotice::Reminder),
        Step::Expired => Some(ApplicationNotice::Expired),
        Step::Cancelled { .. } => Some(ApplicationNotice::Cancelled),
        _ => None,
    }
}

/// Before every clock: what is due at once must not wait for the time of an event, which may lie ahead of a clock that was set
/// right.
pub const AT_ONCE: Timestamp = Timestamp(0);

/// When something is to be done about it next; none while it waits for somebody.
pub fn due(application: &Application) -> Option<Timestamp> {
    use ApplicationState as State;
    if application.replaces.as_ref().is_some_and(|of| of.is_due(application.state)) {
        return Some(AT_ONCE);
    }
    match application.state {
        State::Applied if application.waits_for_consent() => None,
        State::Applied => Some(application.collect_at),
        // A bundle's password is handed out by whoever issues it.
        State::Approved | State::Paid => (application.material != Material::P12).then_some(AT_ONCE),
        State::Collected | State::AwaitingPayment => None,
        State::Issued | State::Downloaded => {
            application.remind_at.first().copied().into_iter().chain(application.use_before).min()
        }
        State::InUse if application.keep && application.bundle => application.use_before,
        _ => application.bundle.then_some(AT_ONCE),
    }
}

/// Whether its enrolment login is over after this step, and with it the login's password.
pub fn ends_login(application: &Application, step: &ApplicationStep) -> bool {
    let keeps = application.state == ApplicationState::InUse && application.keep;
    let gone = matches!(step, ApplicationStep::BundleGone | ApplicationStep::CardGone);
    !application.state.is_open() && (gone || !keeps)
}

/// The end of the last whole local day of `days` days after `at`: "within 60 days" is never a moment too short (K27).
pub fn use_before(at: Timestamp, days: u32, zone: Tz) -> Timestamp {
    let after = at.date_in(zone).checked_add_days(Days::new(u64::from(days) + 1));
    after.map_or_else(|| at.plus_days(days), |day| Timestamp::day_begins(day, zone))
}

/// When reminders are due: so many days before the end, those that are still to come, soonest first.
pub fn remind_at(issued: Timestamp, use_before: Timestamp, days_before: &[u32]) -> Vec<Timestamp> {
    let mut times: Vec<_> = days_before
        .iter()
        .map(|days| use_before.plus(-i64::from(*days) * crate::model::time::DAY))
        .filter(|time| *time > issued)
        .collect();
    times.sort_unstable();
    times.dedup();
    times
}

#[cfg(test)]
mod tests;
