//! The desk: everything an operator can ask for, once. The command line carries a [`Request`] here, over the control
//! socket when the daemon runs and by a plain call when it does not; the answer is the same.

pub mod applications;
mod calendar;
pub mod certificates;
mod compare;
mod listing;
mod logins;
mod mails;
mod outbox;
mod outbox_stats;
mod parties;
mod parts;
mod request;
mod service;
pub mod status;
mod submissions;
mod test_mail;
mod trouble;
mod works;

use std::io::Read;

use serde_json::Value;

use crate::model::party::Actor;
use crate::model::time::Timestamp;

pub use applications::ApplicationRequest;
pub use certificates::{CertificateRequest, IssuePassword, KeyMaterial};
pub use parts::{AnnounceOrder, DeliverOrder, Live, Parts, Session, Works};
pub use request::{
    Answer, CalendarRequest, CompareRequest, MailRequest, OutboxRequest, PartyRequest, PurgeRequest, Request,
    Response, SubmissionRequest,
};
pub use service::DeskService;
pub use trouble::{Kind, Trouble};
pub use works::{Judge, ORPHAN_GRACE_DAYS, Stages, TellWithdrawal, Unclaimed, delegation_policy};

/// Does what is asked. `payload` is the file that came along (`deliver`); requests without one leave it unread.
pub fn execute(
    parts: &Parts,
    request: Request,
    payload: &mut dyn Read,
    by: &Actor,
    now: Timestamp,
) -> Response {
    let done = match request {
        Request::Status => status::answer(parts, now),
        Request::Party(request) => parties::answer(parts, request, by, now),
        Request::Submission(request) => submissions::answer(parts, request, by, now),
        Request::Outbox(request) => outbox::answer(parts, request, by, now),
        Request::Application(request) => applications::answer(parts, request, by, now),
        Request::Certificate(request) => certificates::answer(parts, request, by, now),
        Request::Mail(request) => mails::answer(parts, request, by, now),
        Request::Purge(request) => outbox::purge(parts, &request, now),
        Request::Deliver(order) => outbox::deliver(parts, &order, payload, by, now),
        Request::Announce(order) => outbox::announce(parts, &order, payload, by, now),
        Request::Calendar(request) => calendar::answer(parts, &request, now),
        Request::Compare(request) => compare::answer(parts, request, now),
        Request::Reload => parts.live()?.reload().map(Answer::of),
        Request::Reconcile => reconcile(parts, by, now),
    };
    if let Err(trouble) = &done
        && trouble.kind == Kind::Fault
    {
        tracing::error!(code = trouble.code, text = trouble.text, "an operator's request failed");
    }
    done
}

fn reconcile(parts: &Parts, by: &Actor, now: Timestamp) -> Response {
    use crate::store::ledger::Op;
    if !parts.ledger.head().unreconciled {
        let note = "there is nothing to reconcile; nothing changed".to_owned();
        return Ok(Answer { notes: vec![note], ..Answer::of(Value::Null) });
    }
    parts.ledger.commit(Op::EpochReconciled, by.clone(), now)?;
    let note = "the restored data root is in use; what was held for it is judged now".to_owned();
    Ok(Answer { notes: vec![note], ..Answer::of(Value::Null) })
}

#[cfg(test)]
mod tests;
