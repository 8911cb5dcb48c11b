//! Consent to the terms before a renewal goes on, with class and payment (C): `renew.toml`, which the applicant fills in.

use serde::Deserialize;

use super::setup::SetUpFault;
use super::{Enrolment, PartyError};
use crate::model::application::{Application, ApplicationStep, Payment};
use crate::model::finding::{Language, Text};
use crate::model::ids::{ApplicationId, UseClass};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::rules::enrolment::EnrolmentPolicy;
use crate::rules::quotation::grouped;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    consent: String,
    class: Option<String>,
    payment: Option<String>,
}

const PAYMENTS: [(&str, &str, Payment); 2] =
    [("setoff", "相殺", Payment::Setoff), ("transfer", "振込", Payment::Transfer)];

fn payment_name(payment: Payment) -> &'static str {
    PAYMENTS.iter().find(|(.., of)| *of == payment).map_or("setoff", |(name, ..)| name)
}

impl Enrolment {
    /// What the applicant gets to fill in: the present class and payment stand in it.
    pub fn consent_form(&self, of: &Application) -> String {
        let policy = (self.policy)(&of.insurer);
        let version = &policy.terms_version;
        let classes: Vec<_> =
            policy.fees.iter().map(|(class, fee)| format!("{class} ({})", grouped(*fee))).collect();
        let classes = classes.join(", ");
        let (class, payment) = (&of.class, payment_name(of.payment));
        match of.language {
            Language::Ja => format!(
                "# 証明書の更新(申込番号 {})。terms.txt を読み、同意するときは consent に {version} と書き、\n\
                 # 同じ名前でこのフォルダーに保存(送信)してください。\n\
                 consent = \"\"\n\
                 # 利用区分と発行手数料(円): {classes}\n\
                 class = \"{class}\"\n\
                 # 支払方法: setoff(相殺) または transfer(振込)\n\
                 payment = \"{payment}\"\n",
                of.id
            ),
            Language::En => format!(
                "# Renewal of a certificate (application {}). Read terms.txt; if you consent, write {version} as consent, and put\n\
                 # the file here again under the same name.\n\
                 consent = \"\"\n\
                 # Class of use and its fee in yen: {classes}\n\
                 class = \"{class}\"\n\
                 # Payment: setoff or transfer\n\
                 payment = \"{payment}\"\n",
                of.id
            ),
        }
    }

    /// The terms in force.
    pub fn terms(&self, of: &Application) -> String {
        (self.policy)(&of.insurer).terms
    }

    /// Takes a filled-in form: from then on the application waits for the insurer, or for nobody. The same again is fine.
    pub fn consent(
        &self,
        id: ApplicationId,
        form: &[u8],
        by: &Actor,
        now: Timestamp,
    ) -> Result<Result<(), Vec<SetUpFault>>, PartyError> {
        let _alone = self.alone();
        let of = self.get(id)?;
        let policy = (self.policy)(&of.insurer);
        let form: Form = match super::setup::read(form, "renew.toml", "consent = \"1\"") {
            Ok(form) => form,
            Err(fault) => return Ok(Err(vec![fault])),
        };
        if let Some(consent) = &of.consent
            && consent.terms == form.consent.trim()
        {
            return Ok(Ok(()));
        }
        if !of.waits_for_consent() {
            return Ok(Err(vec![SetUpFault {
                code: "RENEW-NOTHING",
                text: Text::new(
                    format!("申込 {id} は、同意を待っていません(状況: {})。", of.state.text().ja),
                    format!("application {id} waits for no consent; it is {}", of.state.name()),
                ),
            }]));
        }
        let (class, fee, payment) = match chosen(&of, &form, &policy) {
            Ok(chosen) => chosen,
            Err(faults) => return Ok(Err(faults)),
        };
        let collect_at = if self.is_automatic(&of) { now } else { policy.cutoff.after(now, self.zone) };
        let terms = policy.terms_version;
        self.go(id, ApplicationStep::Consented { terms, class, fee, payment, collect_at }, by, now)?;
        Ok(Ok(()))
    }
}

type Chosen = (UseClass, u32, Payment);

fn chosen(of: &Application, form: &Form, policy: &EnrolmentPolicy) -> Result<Chosen, Vec<SetUpFault>> {
    let mut faults = Vec::new();
    let version = &policy.terms_version;
    let mut fault = |code, ja: String, en: String| faults.push(SetUpFault { code, text: Text::new(ja, en) });
    if form.consent.trim() != *version {
        fault(
            "RENEW-CONSENT",
            format!(
                "利用規約への同意がありません。terms.txt を読み、同意するときは consent = \"{version}\" と書いてください"
            ),
            format!(
                "there is no consent to the terms: read terms.txt and, if you consent, write consent = \"{version}\""
            ),
        );
    }
    let class = match form.class.as_deref().map(str::trim).filter(|class| !class.is_empty()) {
        Some(class) => UseClass::parse(class).ok().and_then(|class| policy.fee(Some(&class))),
        // What the form says by default, or said when it was fetched.
        None => policy.fee(Some(&of.class)).or_else(|| policy.fee(None)),
    };
    if class.is_none() {
        let known: Vec<_> = policy.fees.keys().map(UseClass::as_str).collect();
        let known = known.join(", ");
        fault(
            "RENEW-CLASS",
            format!("利用区分 class は次のどれかにしてください: {known}"),
            format!("class must be one of {known}"),
        );
    }
    let payment = match form.payment.as_deref().map(str::trim).filter(|payment| !payment.is_empty()) {
        Some(given) => PAYMENTS.iter().find(|(name, ja, _)| [name, ja].contains(&&given)).map(|(.., of)| *of),
        None => Some(of.payment),
    };
    if payment.is_none() {
        fault(
            "RENEW-PAYMENT",
            "支払方法 payment は setoff(相殺) か transfer(振込) にしてください".to_owned(),
            "payment must be setoff or transfer".to_owned(),
        );
    }
    match (class, payment) {
        (Some((class, fee)), Some(payment)) if faults.is_empty() => Ok((class, fee, payment)),
        _ => Err(faults),
    }
}
