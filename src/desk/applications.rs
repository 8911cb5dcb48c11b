//! Applications: taken, moved on at an operator's word, handed out.

mod again;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::listing::{PAGE, page, value};
use super::parts::{DeliverOrder, Parts};
use super::request::{Answer, Response};
use super::trouble::{Kind, Trouble};
use crate::config::{Config, ConfigCell};
use crate::model::application::{Application, ApplicationKind, ApplicationState, Material, Payment};
use crate::model::card::InsurerCard;
use crate::model::ids::{AccountId, ApplicationId, InsurerCode};
use crate::model::login::{Credential, PasswordChange, Purpose};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::enrolment::EnrolmentPolicy;
use crate::rules::passwords;
use crate::rules::policy::{AccountsPolicy, SecondAccount};
use crate::rules::quotation::{self, Paper, Sheet};
use crate::rules::renewal::RenewalPolicy;
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::ledger::{ApplicationFilter, Ledger};
use crate::work::alarms::Alarms;
use crate::work::certificates::Certificates;
use crate::work::enrol::again::AgainForm;
use crate::work::enrol::certified::Certifier;
use crate::work::enrol::{ApplyForm, Enrolment};
use crate::work::leap::Leap;
use crate::work::parties::Parties;
use crate::work::parties::csv::Row;
use crate::work::parties::import::Outcome;
use crate::work::step::Points;

/// Type of a quotation or bill in an outbox.
const PAPERS: [&str; 2] = ["見積書", "請求書"];

/// About applications.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationRequest {
    /// Take these, which belong together.
    Apply {
        /// One for each account.
        forms: Vec<ApplyForm>,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Another certificate of an account: its renewal, or a re-issue after loss, from the wish to the certificate at once.
    Again {
        /// What is wanted.
        form: AgainForm,
        /// Also make an enrolment login.
        login: bool,
    },
    /// Take the rows of a file.
    Import {
        /// Keys and requests as texts.
        rows: Vec<Row>,
        /// Only say what would happen.
        dry_run: bool,
    },
    /// Newest first.
    List {
        /// For this account.
        account: Option<AccountId>,
        /// With this insurer.
        insurer: Option<InsurerCode>,
        /// In one of these states; empty means all.
        states: Vec<ApplicationState>,
        /// Before the last one of the page before.
        before: Option<ApplicationId>,
    },
    /// One, with every date.
    Show(ApplicationId),
    /// Collect what waits with an insurer before its cut-off.
    Collect(InsurerCode),
    /// The insurer says yes.
    Approve(Vec<ApplicationId>),
    /// The insurer says no.
    Reject(Vec<ApplicationId>, String),
    /// The transfer came in.
    Paid(Vec<ApplicationId>),
    /// Issue; what the gateway makes the key of gets a password, told once.
    Issue(Vec<ApplicationId>),
    /// Take back.
    Cancel(Vec<ApplicationId>, String),
    /// What was issued, as files.
    Download(ApplicationId),
    /// The first set-up, from a filled-in `setup.toml`.
    SetUp(ApplicationId, String),
    /// A password for the enrolment login, told once.
    Password(ApplicationId),
    /// A quotation or a bill.
    Paper {
        /// For which.
        id: ApplicationId,
        /// A bill (else a quotation).
        bill: bool,
        /// Also into the outbox of its account.
        outbox: bool,
    },
}

/// The one place that moves applications, with the policies in force.
pub fn build(
    config: &Arc<ConfigCell>,
    ledger: &Arc<dyn Ledger>,
    blobs: &Arc<dyn Blobs>,
    alarms: &Arc<dyn Alarms>,
    certificates: &Arc<Certificates>,
    parties: &Parties,
    leap: Arc<Leap>,
) -> Enrolment {
    let now = config.get();
    let (policies, second, renewals) = (Arc::clone(config), Arc::clone(config), Arc::clone(config));
    Enrolment {
        ledger: Arc::clone(ledger),
        blobs: Arc::clone(blobs),
        issuer: Arc::new(Certifier { certificates: Arc::clone(certificates) }),
        policy: Arc::new(move |insurer| policy(&policies, insurer)),
        second: Arc::new(move |insurer| {
            let table = second.get().insurer_table::<AccountsPolicy>(insurer, "accounts");
            table.map_or(SecondAccount::Refuse, |policy| policy.second_account)
        }),
        renewal: Arc::new(move |insurer| renewal_policy(&renewals.get(), insurer)),
        spool_root: now.places.root.clone(),
        zone: now.gateway.zone,
        alarms: Arc::clone(alarms),
        points: Points::default(),
        leap,
        one: parties.one(),
    }
}

/// An insurer's policy; the usual one when it cannot be read or used (`doctor` names its error).
fn policy(config: &ConfigCell, insurer: &InsurerCode) -> EnrolmentPolicy {
    let table = config.get().insurer_table::<EnrolmentPolicy>(insurer, "enrolment");
    match table {
        Ok(policy) if policy.faults().is_empty() => policy,
        Ok(policy) => {
            tracing::error!(%insurer, faults = ?policy.faults(), "an insurer's policy cannot be used");
            EnrolmentPolicy::default()
        }
        Err(error) => {
            tracing::error!(%error, "an insurer's policy cannot be read");
            EnrolmentPolicy::default()
        }
    }
}

pub(super) fn answer(parts: &Parts, request: ApplicationRequest, by: &Actor, now: Timestamp) -> Response {
    let enrolment = &parts.enrolment;
    match request {
        ApplicationRequest::Apply { forms, dry_run } => {
            let language = parts.config.get().gateway.language;
            let taken = enrolment.apply(&forms, dry_run, language, by, now)?;
            ring(parts);
            let row = json!({ "applications": taken.ids, "dry_run": dry_run });
            Ok(Answer { notes: taken.notes, ..Answer::of(row) })
        }
        ApplicationRequest::Again { form, login } => again::again(parts, &form, login, by, now),
        ApplicationRequest::Import { rows, dry_run } => {
            let language = parts.config.get().gateway.language;
            let results = enrolment.import(&rows, dry_run, language, by, now)?;
            ring(parts);
            let findings = results.iter().any(|row| row.result == Outcome::Refused);
            Ok(Answer { findings, ..Answer::of(value(results)?) })
        }
        ApplicationRequest::List { account, insurer, states, before } => {
            let filter = ApplicationFilter { account, insurer, states, before };
            let rows = parts.ledger.applications(&filter, PAGE)?;
            page(rows, |of| of.id.to_string(), |of| value(enrolment.row(&of)?))
        }
        ApplicationRequest::Show(id) => Ok(Answer::of(value(enrolment.row(&enrolment.get(id)?)?)?)),
        ApplicationRequest::Collect(insurer) => {
            if parts.ledger.insurer(&insurer)?.is_none() {
                return Err(Trouble::unknown(format!("insurer {insurer}")));
            }
            let collected = enrolment.collect_now(&insurer, by, now)?;
            ring(parts);
            let note = match collected {
                0 => "Nothing waits to be collected.".to_owned(),
                _ => format!("{collected} applications are in reports/ of insurer {insurer}."),
            };
            Ok(Answer { notes: vec![note], ..Answer::of(json!({ "collected": collected })) })
        }
        ApplicationRequest::Approve(ids) => each(parts, &ids, |id| {
            enrolment.approve(id, by, now)?;
            Ok(Value::Null)
        }),
        ApplicationRequest::Paid(ids) => each(parts, &ids, |id| {
            enrolment.paid(id, by, now)?;
            Ok(Value::Null)
        }),
        ApplicationRequest::Reject(ids, reason) => {
            each(parts, &ids, |id| Ok(json!(others(id, &enrolment.reject(id, &reason, by, now)?))))
        }
        ApplicationRequest::Cancel(ids, reason) => {
            each(parts, &ids, |id| Ok(json!(others(id, &enrolment.cancel(id, &reason, by, now)?))))
        }
        ApplicationRequest::Issue(ids) => issue(parts, &ids, by, now),
        ApplicationRequest::Download(id) => download(parts, id, by, now),
        ApplicationRequest::SetUp(id, setup) => match enrolment.set_up(id, setup.as_bytes(), by, now)? {
            Ok(()) => {
                let note = if enrolment.get(id)?.kind == ApplicationKind::New {
                    "The account may log in now; its first login ends the application.".to_owned()
                } else {
                    format!(
                        "The consent is recorded; `account application show {id}` says what it waits for."
                    )
                };
                Ok(Answer { notes: vec![note], ..Answer::of(json!({ "application": id, "set_up": true })) })
            }
            Err(faults) => {
                let text: Vec<_> =
                    faults.iter().map(|fault| format!("{}: {}", fault.code, fault.text.en)).collect();
                Err(Trouble::refused("SETUP-DIFFERS", text.join("\n")))
            }
        },
        ApplicationRequest::Password(id) => password(parts, id, by, now),
        ApplicationRequest::Paper { id, bill, outbox } => paper(parts, id, bill, outbox, by, now),
    }
}

/// The daemon looks at once.
fn ring(parts: &Parts) {
    if let Some(live) = &parts.live {
        live.applications_changed();
    }
}

/// Those that went along.
fn others(id: ApplicationId, all: &[ApplicationId]) -> Vec<ApplicationId> {
    all.iter().copied().filter(|other| *other != id).collect()
}

/// One after the other, a row each: one that is refused does not stop the rest, nor does trouble, once there is a row. Offices come first, since agents' wait for
/// them.
fn each(
    parts: &Parts,
    ids: &[ApplicationId],
    mut go: impl FnMut(ApplicationId) -> Result<Value, Trouble>,
) -> Response {
    let mut ids = ids.to_vec();
    ids.sort_by_key(|id| {
        let depends = parts.ledger.application(*id).ok().flatten().is_some_and(|of| of.group.is_some());
        (depends, *id)
    });
    ids.dedup();
    let (mut rows, mut findings) = (Vec::new(), false);
    for id in ids {
        let (result, detail) = match go(id) {
            Ok(with) => ("done", with),
            Err(trouble) if trouble.kind == Kind::Refused => {
                findings = true;
                ("refused", json!(trouble.to_string()))
            }
            // What was told of the rows before it is told only here.
            Err(trouble) if !rows.is_empty() => {
                findings = true;
                ("failed", json!(trouble.to_string()))
            }
            Err(trouble) => return Err(trouble),
        };
        let state = parts.ledger.application(id).ok().flatten().map(|of| of.state);
        let (also, detail, password) = match &detail {
            Value::Array(_) => (detail, Value::Null, Value::Null),
            Value::Object(told) => (Value::Null, told["note"].clone(), told["password"].clone()),
            _ => (Value::Null, detail, Value::Null),
        };
        let mut row = json!({ "application": id, "result": result, "state": state, "detail": detail });
        if !also.is_null() {
            row["also"] = also;
        }
        if !password.is_null() {
            row["password"] = password;
        }
        rows.push(row);
    }
    ring(parts);
    Ok(Answer { findings, ..Answer::of(Value::Array(rows)) })
}

/// A password that is read over the telephone or printed in a letter.
fn fresh() -> Result<Zeroizing<String>, Trouble> {
    let made = passwords::temporary(crate::store::keys::random)?;
    Ok(Zeroizing::new(made.reveal().to_owned()))
}

/// Sets the password of the enrolment login, which sees `/enrol/` alone.
fn set_login(
    parts: &Parts,
    id: ApplicationId,
    text: &str,
    by: &Actor,
    now: Timestamp,
) -> Result<(), Trouble> {
    let credential = Credential { purpose: Purpose::Enrolment, holder: id.into() };
    let wrong = |_| Trouble::fault("a password that was made keeps no rules");
    let password = passwords::Password::choose(text, "").map_err(wrong)?;
    let change = match parts.credentials.state(&credential)? {
        Some(_) => PasswordChange::Reset,
        None => PasswordChange::Given,
    };
    Ok(parts.credentials.set(&credential, &password, change, by, now)?)
}

/// Issues a bundle under a password that is made here. The password is set first: a bundle that is there can be opened.
fn issue_bundle(
    parts: &Parts,
    id: ApplicationId,
    by: &Actor,
    now: Timestamp,
) -> Result<Zeroizing<String>, Trouble> {
    // The login's password of one that was issued already stays.
    parts.enrolment.may_issue(id, now)?;
    let text = fresh()?;
    set_login(parts, id, &text, by, now)?;
    parts.enrolment.issue(id, Some(&text), by, now)?;
    Ok(text)
}

/// A bundle's password opens the bundle, and the enrolment login it is fetched by: one letter, one password.
fn issue(parts: &Parts, ids: &[ApplicationId], by: &Actor, now: Timestamp) -> Response {
    let mut made = 0;
    let mut answer = each(parts, ids, |id| {
        let of = parts.enrolment.get(id)?;
        if of.material != Material::P12 {
            parts.enrolment.issue(id, None, by, now)?;
            return Ok(Value::Null);
        }
        let text = issue_bundle(parts, id, by, now)?;
        made += 1;
        Ok(json!({ "note": format!("login {id}"), "password": *text }))
    })?;
    if made > 0 {
        answer.notes.push(
            "Each password is told this once and kept nowhere: hand it to its office by letter or telephone, never by mail. It \
             opens the bundle and the enrolment login. One that is lost needs a new application (E9)."
                .to_owned(),
        );
    }
    Ok(answer)
}

fn password(parts: &Parts, id: ApplicationId, by: &Actor, now: Timestamp) -> Response {
    let of = parts.enrolment.get(id)?;
    if !of.waits_for_consent() {
        parts.enrolment.fetchable(&of, now)?;
    }
    if of.material == Material::P12 && of.kind == ApplicationKind::New {
        let text = format!(
            "{id} has a bundle, whose password was told when it was issued; one that is lost needs a new application (E9): `account \
             application cancel {id}`, then apply again"
        );
        return Err(Trouble::refused("PASSWORD-TOLD", text));
    }
    let text = fresh()?;
    set_login(parts, id, &text, by, now)?;
    let notes = vec![
        format!(
            "It is told this once. {id} logs in with it over SFTP and sees /enrol/ alone, until the account's first login with what \
             was issued."
        ),
        format!("To read it out: {}", *passwords::spelled(&text)),
    ];
    Ok(Answer { notes, ..Answer::of(json!({ "application": id, "login": id, "password": *text })) })
}

fn download(parts: &Parts, id: ApplicationId, by: &Actor, now: Timestamp) -> Response {
    let files = parts.enrolment.download(id, by, now)?;
    let rows = files.iter().map(|file| json!({ "name": file.name, "base64": BASE64.encode(&file.bytes) }));
    Ok(Answer::of(json!({ "application": id, "files": rows.collect::<Vec<_>>() })))
}

/// 見積書 or 請求書, as of today.
fn paper(parts: &Parts, id: ApplicationId, bill: bool, outbox: bool, by: &Actor, now: Timestamp) -> Response {
    let of = parts.enrolment.get(id)?;
    let sheet = sheet(parts, &of, bill, now)?;
    let pdf = quotation::pdf(&sheet);
    let name = format!("{}-{id}.pdf", if bill { "bill" } else { "quotation" });
    let mut notes = Vec::new();
    let mut document = Value::Null;
    if outbox {
        if parts.ledger.account(&of.account)?.is_none() {
            let text = format!("account {} is not there yet; hand {name} over otherwise", of.account);
            return Err(Trouble::refused("NO-OUTBOX", text));
        }
        let order = DeliverOrder {
            insurer: of.insurer.clone(),
            account: Some(of.account.clone()),
            office: of.offices.first().cloned(),
            in_reply_to: None,
            kind: PAPERS[usize::from(bill)].to_owned(),
            title: format!("{} {id}", PAPERS[usize::from(bill)]),
            file_name: name.clone(),
            size: pdf.len() as u64,
        };
        let (placed, told) = parts.works.deliver(&order, &mut pdf.as_slice(), by, now)?;
        notes.extend(told);
        document = json!(placed);
    }
    let row = json!({ "application": id, "name": name, "document": document, "base64": BASE64.encode(&pdf) });
    Ok(Answer { notes, ..Answer::of(row) })
}

fn sheet(parts: &Parts, of: &Application, bill: bool, now: Timestamp) -> Result<Sheet, Trouble> {
    let enrolment = &parts.enrolment;
    let policy = (enrolment.policy)(&of.insurer);
    let id = of.id;
    let Some(card) = enrolment.registered(of)? else {
        return Err(Trouble::refused(
            "APPLICATION-ENDED",
            format!("what application {id} registered is erased"),
        ));
    };
    let paper = match bill {
        false => Paper::Quotation,
        true if of.payment == Payment::Setoff => {
            return Err(Trouble::refused("SETOFF", format!("the fee of {id} is set off; there is no bill")));
        }
        true if policy.transfer_to.is_empty() => {
            let text = "the insurer's policy does not say where to transfer to: enrolment.transfer_to";
            return Err(Trouble::refused("TRANSFER-TO", text));
        }
        true => Paper::Bill(policy.transfer_to.clone()),
    };
    let mut issuer = policy.issuer.clone();
    if issuer.is_empty()
        && let Some(insurer) = parts.ledger.insurer(&of.insurer)?
    {
        issuer.push(cards::get::<InsurerCard>(parts.blobs.as_ref(), &insurer.card)?.name);
    }
    let usual = policy.fee(None).is_some_and(|(class, _)| class == of.class);
    let item = if usual {
        "証明書発行手数料".to_owned()
    } else {
        format!("証明書発行手数料({})", of.class)
    };
    let payment = match of.payment {
        Payment::Setoff => "相殺",
        Payment::Transfer => "振込",
    };
    Ok(Sheet {
        paper,
        number: id.to_string(),
        addressee: card.office_name,
        issuer,
        on: now.date_in(parts.config.get().gateway.zone),
        item,
        fee: of.fee,
        tax: policy.tax,
        payment: payment.to_owned(),
    })
}

/// Open applications by state: how many, and since when the oldest waits. For `status`.
pub(super) fn waiting(parts: &Parts, now: Timestamp) -> Result<Value, Trouble> {
    /// Enough to see that many wait.
    const COUNTED_MAX: usize = 10_000;
    let mut rows = Vec::new();
    for state in ApplicationState::ALL.into_iter().filter(|state| state.is_open()) {
        let filter = ApplicationFilter { states: vec![state], ..ApplicationFilter::default() };
        let all = parts.ledger.applications(&filter, COUNTED_MAX)?;
        let Some(oldest) = all.iter().filter_map(Application::since).min() else { continue };
        // A bundle's password is for somebody to take.
        let operator = all.iter().any(|of| of.material == Material::P12);
        let waits_for = match state {
            ApplicationState::Applied if all.iter().all(Application::waits_for_consent) => {
                "its applicant (consent to the terms)"
            }
            ApplicationState::Applied => "the cut-off",
            ApplicationState::Collected => "the insurer (approve or reject)",
            ApplicationState::AwaitingPayment => "the payment",
            ApplicationState::Approved | ApplicationState::Paid if operator => "you (issue)",
            ApplicationState::Approved | ApplicationState::Paid => "its certificate",
            _ => "the first login",
        };
        rows.push(json!({
            "state": state,
            "count": all.len(),
            "oldest_at": oldest.to_string(),
            "oldest_seconds": (now.since(oldest) / 1000).max(0),
            "waits_for": waits_for,
        }));
    }
    Ok(Value::Array(rows))
}

/// An insurer's policy of renewals; the usual one when it cannot be read (`doctor` names its error).
pub fn renewal_policy(config: &Config, insurer: &InsurerCode) -> RenewalPolicy {
    config.insurer_table(insurer, "renewal").unwrap_or_else(|error| {
        tracing::error!(%error, "an insurer's policy cannot be read");
        RenewalPolicy::default()
    })
}
