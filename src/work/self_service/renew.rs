//! The renewal of a certificate by its account: `renew.csr` or `renew.pub` put into `/account` (C).
//!
//! A new key becomes an application of kind renewal. Where the insurer's policy asks nobody, it is approved and issued before the
//! put is answered, and the certificate is in `/account` then; else the answer says that it waits. The same key again changes
//! nothing, so that a put whose answer was lost may be repeated. A crash in between leaves an application, with which enrolment
//! goes on.

use super::AccountFiles;
use crate::model::application::{Application, ApplicationKind, Material};
use crate::model::certificate::{Certificate, CertificateStanding};
use crate::model::finding::Text;
use crate::model::ids::{AccountId, CertificateId};
use crate::model::party::{Account, Actor};
use crate::model::time::Timestamp;
use crate::rules::renewal::{Approval, Closed, renewable};
use crate::store::ledger::ApplicationFilter;
use crate::store::receipts::Made;
use crate::work::enrol::again::Another;
use crate::work::parties::PartyError;
use crate::work::ports::self_service::{RENEW_CSR, RENEW_TOML, SelfFault, TERMS};
use crate::work::renewals::of_account;

fn no<T>(code: &'static str, ja: impl Into<String>, en: impl Into<String>) -> Result<T, SelfFault> {
    Err(SelfFault::Refused { code, text: Text::new(ja, en) })
}

/// What enrolment refuses, as the account's people hear it: its own words are for operators.
fn refused(error: PartyError) -> SelfFault {
    let PartyError::Refused { code, text } = error else { return error.into() };
    let ja = match code {
        "KEY-TAKEN" => {
            "この鍵は別のアカウントで使われています。このアカウントのために新しい鍵を作ってください。"
                .to_owned()
        }
        "KEY-COMPROMISED" => {
            "この鍵は漏えいのおそれがあるとして失効済みです。新しい鍵を作ってください。".to_owned()
        }
        "KEY-UNUSABLE" => {
            "この鍵は使えません。ssh-keygen -t ed25519 で新しい鍵を作り、.pub ファイルを送ってください。"
                .to_owned()
        }
        code if code.starts_with("CSR") => {
            "証明書署名要求を使えません。新しい鍵で作り直してください(例 openssl req -new -newkey rsa:3072)。"
                .to_owned()
        }
        _ => format!(
            "更新を受け付けられませんでした。加入している健康保険組合へお問い合わせください。[{text}]"
        ),
    };
    SelfFault::Refused { code, text: Text::new(ja, text) }
}

impl AccountFiles {
    pub(super) fn renew(
        &self,
        account: &Account,
        name: &str,
        bytes: &[u8],
        proven: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SelfFault> {
        let material = material(name, bytes)?;
        let key = self.enrolment.issuer.check(&material).map_err(refused)?;
        let policy = (self.renewal)(&account.insurer);
        let all = of_account(self.ledger.as_ref(), &account.id)?;
        if let Some(open) = self.open(account)? {
            return self.again(&open, &material);
        }
        // Put again after a lost answer: the certificate that it came to is there and was not used yet.
        let repeated = all.iter().any(|one| {
            key.as_deref() == Some(one.fingerprint.as_str())
                && one.predecessor.is_some()
                && one.first_used_at.is_none()
                && matches!(one.standing_at(now), CertificateStanding::Holds | CertificateStanding::Future)
        });
        if repeated {
            return Ok(());
        }
        let of = match renewable(&all, proven, &policy, now, self.zone) {
            Ok(of) => of,
            Err(closed) => return self.closed(&closed, &all, key.as_deref()),
        };
        if !policy.same_key && all.iter().any(|one| key.as_deref() == Some(one.fingerprint.as_str())) {
            return no(
                "RENEW-SAME-KEY",
                "この鍵にはすでに証明書があります。更新には新しい鍵を作り、その公開鍵を送ってください(例 ssh-keygen -t ed25519)。",
                "This key is certified already. Make a new key for the renewal and put its public half (ssh-keygen -t ed25519).",
            );
        }
        let by = Actor::Account(account.id.clone());
        let unasked = policy.approval == Approval::Automatic;
        let collect_at = unasked.then_some(now);
        let another = Another {
            kind: ApplicationKind::Renewal,
            account: account.clone(),
            material,
            predecessor: Some(of.id),
            replaces: None,
            class: None,
            payment: None,
            consent: None,
            asks_consent: policy.consent && !account.machine,
            approved: false,
            collect_at,
        };
        let id = self.enrolment.apply_another(another, &by, now).map_err(refused)?;
        tracing::info!(account = %account.id, application = %id, certificate = %of.id, "an account asked for the renewal of its certificate");
        if policy.consent && !account.machine {
            // `renew.toml` is in /account now, and goes on with it.
            return Ok(());
        }
        if unasked && let Some(certificate) = self.enrolment.go_through(id, &by, now).map_err(refused)? {
            tracing::info!(account = %account.id, %certificate, "a renewed certificate was issued");
        }
        Ok(())
    }

    /// The renewal of the account's that waits for its consent.
    fn waiting(&self, account: &Account) -> Result<Option<Application>, SelfFault> {
        Ok(self.open(account)?.filter(Application::waits_for_consent))
    }

    /// The terms, and the form to fill in, while consent is waited for.
    pub(super) fn consent_files(&self, account: &Account) -> Result<Vec<(String, Made)>, SelfFault> {
        let Some(of) = self.waiting(account)? else { return Ok(Vec::new()) };
        let at = of.since().unwrap_or(of.collect_at);
        // Windows' editors want their line ends.
        let made =
            |text: String| Made { bytes: format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes(), at };
        let (form, terms) = (self.enrolment.consent_form(&of), self.enrolment.terms(&of));
        Ok(vec![(RENEW_TOML.to_owned(), made(form)), (TERMS.to_owned(), made(terms))])
    }

    /// Takes consent, class and payment of the renewal that waits for them.
    pub(super) fn put_consent(
        &self,
        account: &Account,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), SelfFault> {
        let filter = ApplicationFilter { account: Some(account.id.clone()), ..ApplicationFilter::default() };
        let last = self.ledger.applications(&filter, 1)?.pop();
        // One that was consented to may be asked for again after a lost answer.
        let asked = last.filter(|last| last.asks_consent && last.is_self_made());
        let Some(of) = self.waiting(account)?.or(asked) else {
            return no(
                "RENEW-NOTHING",
                "同意を待っている更新の申込はありません。先に新しい公開鍵を renew.pub(または renew.csr)として送ってください。",
                "No renewal waits for consent. Put the new public key as renew.pub (or renew.csr) first.",
            );
        };
        let by = Actor::Account(account.id.clone());
        match self.enrolment.set_up(of.id, bytes, &by, now).map_err(refused)? {
            Ok(()) => Ok(()),
            Err(faults) => Err(crate::work::enrol::files::refused(&faults)),
        }
    }

    /// The new certificate is fetched: its application is downloaded (H11).
    pub(super) fn note_fetched(
        &self,
        account: &AccountId,
        path: &str,
        now: Timestamp,
    ) -> Result<(), SelfFault> {
        let name = path.strip_suffix("-cert.pub").or_else(|| path.strip_suffix(".crt"));
        let Some(id) = name.and_then(|name| CertificateId::parse(name).ok()) else { return Ok(()) };
        let Some(of) = self.ledger.certificate(id)?.filter(|of| of.account == *account) else {
            return Ok(());
        };
        let Some(application) = of.application else { return Ok(()) };
        let issued = self.ledger.application(application)?.is_some_and(|of| of.state.is_issued());
        if issued {
            self.fetched.note(&self.enrolment, application, account, now);
        }
        Ok(())
    }

    /// The account's application that has not come to a certificate yet.
    fn open(&self, account: &Account) -> Result<Option<Application>, SelfFault> {
        let filter = ApplicationFilter { account: Some(account.id.clone()), ..ApplicationFilter::default() };
        let last = self.ledger.applications(&filter, 1)?.pop();
        Ok(last.filter(|last| last.state.is_open() && !last.state.is_issued()))
    }

    /// Another put while one application waits: the same key is the same wish.
    fn again(&self, open: &Application, material: &Material) -> Result<(), SelfFault> {
        let key = |of: &Material| self.enrolment.issuer.check(of).ok().flatten();
        if key(&open.material).is_some_and(|there| Some(there) == key(material)) {
            return Ok(());
        }
        let state = open.state.text();
        no(
            "RENEW-APPLIED",
            format!(
                "申請 {} を受け付け済みです(状況: {})。発行されるとメールでお知らせします。取り下げるときは、加入している健康保険組合へお申し出ください。",
                open.id, state.ja
            ),
            format!(
                "Application {} is under way ({}). You will be told by mail. Ask the insurer to take it back.",
                open.id, state.en
            ),
        )
    }

    fn closed(&self, closed: &Closed, all: &[Certificate], key: Option<&str>) -> Result<(), SelfFault> {
        let day = |at: Timestamp| at.date_in(self.zone).format("%Y-%m-%d").to_string();
        let has_key =
            |id: CertificateId| all.iter().any(|one| one.id == id && key == Some(one.fingerprint.as_str()));
        match closed {
            Closed::NoCertificate => no(
                "RENEW-NONE",
                "このアカウントには、更新する証明書がありません。登録済みの SSH 鍵に期限はありません。",
                "This account has no certificate to renew. Registered SSH keys do not end.",
            ),
            Closed::NotYet { certificate, ends_at, opens_at } => {
                // The one that was just issued, asked for again after a lost answer.
                if has_key(*certificate) {
                    return Ok(());
                }
                let (ends, opens) = (day(*ends_at), day(*opens_at));
                no(
                    "RENEW-NOT-YET",
                    format!(
                        "証明書 {certificate} の有効期限は {ends} です。更新は {opens} から受け付けます。"
                    ),
                    format!("Certificate {certificate} holds until {ends}. Renewal opens on {opens}."),
                )
            }
            Closed::Renewed { certificate, by } => {
                if has_key(*by) {
                    return Ok(());
                }
                no(
                    "RENEW-DONE",
                    format!(
                        "証明書 {certificate} は更新済みです。新しい証明書 {by} を /account/ から受信してください。"
                    ),
                    format!(
                        "Certificate {certificate} was renewed already: fetch the new one, {by}, from /account/."
                    ),
                )
            }
        }
    }
}

fn material(name: &str, bytes: &[u8]) -> Result<Material, SelfFault> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return no(
            "RENEW-FORM",
            "ファイルを読み取れません。renew.pub には ssh-keygen が作った .pub ファイルを、renew.csr には PEM 形式の証明書署名要求を、そのまま置いてください。",
            "This cannot be read. renew.pub is the .pub file that ssh-keygen made, renew.csr a certificate request in PEM, as they are.",
        );
    };
    let text = text.trim_start_matches('\u{feff}').to_owned();
    Ok(if name == RENEW_CSR { Material::Csr(text) } else { Material::SshKey(text) })
}
