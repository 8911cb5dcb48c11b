//! `cert renew`, `cert reissue`: from the operator's word to the certificate in one request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{fresh, issue_bundle, ring, set_login};
use crate::desk::parts::Parts;
use crate::desk::request::{Answer, Response};
use crate::desk::trouble::Trouble;
use crate::model::application::{Application, ApplicationState, Material, RevokeLost};
use crate::model::certificate::RevocationReason;
use crate::model::ids::ApplicationId;
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::work::enrol::again::AgainForm;

/// Takes the application, revokes what was lost as the policy says, and issues. The operator's word is the yes. With `login`,
/// or where the gateway makes the key, an enrolment login is made, whose password is told this once.
pub(super) fn again(parts: &Parts, form: &AgainForm, login: bool, by: &Actor, now: Timestamp) -> Response {
    let enrolment = &parts.enrolment;
    let taken = enrolment.again(form, true, false, by, now)?;
    let Some(id) = taken.id else { return Err(Trouble::fault("an application was not numbered")) };
    enrolment.go_through(id, by, now)?;
    let mut of = enrolment.get(id)?;
    let mut password = None;
    let due = matches!(of.state, ApplicationState::Approved | ApplicationState::Paid);
    if of.material == Material::P12 && due {
        password = Some(issue_bundle(parts, id, by, now)?);
        of = enrolment.get(id)?;
    } else if (login && of.state.is_issued()) || of.waits_for_consent() {
        let text = fresh()?;
        set_login(parts, id, &text, by, now)?;
        password = Some(text);
    }
    ring(parts);
    let mut lost = Vec::new();
    for one in &taken.about {
        let there = parts.ledger.certificate(*one)?;
        lost.push(json!({ "certificate": one, "state": there.map(|there| there.standing_at(now)) }));
    }
    let files = match of.certificate.filter(|_| of.material != Material::P12) {
        Some(certificate) => enrolment.issuer.files(certificate)?,
        None => Vec::new(),
    };
    let content = |bytes: &[u8]| BASE64.encode(bytes);
    let files = files.iter().map(|file| json!({ "name": file.name, "content": content(&file.bytes) }));
    let row = json!({
        "application": id,
        "kind": of.kind,
        "state": of.state,
        "account": of.account,
        "certificate": of.certificate,
        "replaces": lost,
        "loss": of.replaces.as_ref().map(|replaces| replaces.loss.word()),
        "login": password.as_ref().map(|_| id),
        "password": password.as_ref().map(|text| text.as_str()),
        "files": files.collect::<Vec<Value>>(),
    });
    let mut notes = notes(&of, taken.before);
    notes.extend(password.map(|_| told(id, of.material == Material::P12 && of.state.is_issued())));
    Ok(Answer { notes, ..Answer::of(row) })
}

fn told(id: ApplicationId, bundle: bool) -> String {
    let also = if bundle { " It opens the bundle as well." } else { "" };
    format!(
        "The password is told this once: hand it over by letter or telephone, never by mail. {id} logs in with it over SFTP and sees \
         /enrol/ alone, until the new certificate is first used.{also}"
    )
}

fn notes(of: &Application, before: bool) -> Vec<String> {
    let id = of.id;
    let mut notes = Vec::new();
    if before {
        notes.push(format!("{id} was under way already, and went on."));
    }
    match of.state {
        ApplicationState::Applied if of.waits_for_consent() => notes.push(format!(
            "{id} waits for its applicant's consent to the terms: by renew.toml in /account/ or, with the password, in /enrol/; or \
             `account application setup {id} FILE`."
        )),
        ApplicationState::AwaitingPayment => notes.push(format!(
            "{id} waits for {} yen: `account application paid {id}`, then {}.",
            of.fee,
            if of.material == Material::P12 { format!("`account application issue {id}`") } else { "it is issued".to_owned() }
        )),
        _ => {}
    }
    if let Some(replaces) = &of.replaces {
        let names: Vec<_> = replaces.lost.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        notes.push(match replaces.revoke {
            RevokeLost::AtOnce => format!("{names} is revoked, also in sessions that ran."),
            RevokeLost::FirstUse => {
                format!("{names} is revoked when the new one is first used; `cert revoke` does it now.")
            }
            RevokeLost::Keep => {
                format!("{names} holds on, by renewal.lost_certificate = \"keep\"; `cert revoke` ends it.")
            }
        });
        if replaces.loss.revocation() == RevocationReason::KeyCompromise
            && replaces.revoke == RevokeLost::AtOnce
        {
            notes
                .push("Its key logs in no more, registered or not, and is never certified again.".to_owned());
        }
    }
    notes
}
