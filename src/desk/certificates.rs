//! Authorities and certificates.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::listing::{PAGE, page, time, time_or_null, value};
use super::parties;
use super::parts::Parts;
use super::request::{Answer, Response};
use super::trouble::{Kind, Trouble};
use crate::config::ConfigCell;
use crate::model::authority::{AccountBy, Authority, Form, issues};
use crate::model::certificate::{Certificate, RevocationReason};
use crate::model::ids::{AccountId, AuthorityId, CertificateId, InsurerCode};
use crate::model::party::Actor;
use crate::model::time::{DAY, Timestamp};
use crate::rules::certificates::CertificatesPolicy;
use crate::store::authorities::AuthorityKeys;
use crate::store::blobs::Blobs;
use crate::store::ledger::{CertificateFilter, Ledger};
use crate::work::alarms::Alarms;
use crate::work::certificates::publish::pairs;
use crate::work::certificates::{
    Certificates, CertifyError, HandedOut, Issued, NewAuthority, Request as KeyRequest, Revoked, Terms, Turn,
};
use crate::work::step::Points;

/// Authorities that end within so long stand in `status`.
const ENDS_SOON: i64 = 365 * DAY;

/// About authorities and certificates.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateRequest {
    /// All authorities.
    Authorities,
    /// Trust an external one.
    TrustExternal {
        /// What it is called here.
        id: AuthorityId,
        /// What it signs.
        form: Form,
        /// Its certificate or public key, in base64.
        content: String,
        /// How its certificates tell the account.
        account_by: AccountBy,
        /// Only for accounts of this insurer.
        insurer: Option<InsurerCode>,
        /// Trusted from then on.
        from: Option<Timestamp>,
        /// Trusted until then.
        until: Option<Timestamp>,
    },
    /// Change until when one is trusted; at once is now.
    TrustUntil {
        /// Which.
        id: AuthorityId,
        /// Until when; none means as long as its own certificate holds.
        until: Option<Timestamp>,
    },
    /// End the trust in one now.
    Retire(AuthorityId),
    /// A new generation of the gateway's own.
    Rotate {
        /// Of which form.
        form: Form,
        /// It issues from then on.
        from: Option<Timestamp>,
        /// Those before it are trusted until then.
        old_until: Option<Timestamp>,
    },
    /// Certify a key.
    Issue {
        /// For whom.
        account: AccountId,
        /// Which.
        key: KeyMaterial,
        /// It holds from then on.
        from: Option<Timestamp>,
        /// Years.
        years: Option<u32>,
    },
    /// Register a certificate of an external authority (in base64) for an account.
    Register(AccountId, String),
    /// Newest first; or those that end before a time, the soonest first.
    List {
        /// Of this account.
        account: Option<AccountId>,
        /// Not revoked, and ending before then.
        ending_before: Option<Timestamp>,
        /// Where the page begins.
        next: Option<String>,
    },
    /// One.
    Show(CertificateId),
    /// Its public files.
    Files(CertificateId),
    /// Revoke one.
    Revoke(CertificateId, RevocationReason),
    /// Revoke all of an account's.
    RevokeAll(AccountId, RevocationReason),
    /// Write the revocation lists anew.
    Lists,
}

/// Whose key is to be certified.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMaterial {
    /// A certificate request, in base64.
    Csr(String),
    /// A line of OpenSSH's.
    SshKey(String),
    /// A new one, handed out under this password.
    Bundle(IssuePassword),
}

/// A certificate-issue password on its way to the desk; never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IssuePassword(String);

impl IssuePassword {
    /// Of this text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for IssuePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuePassword(…)")
    }
}

impl Drop for IssuePassword {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.0.zeroize();
    }
}

/// The one who certifies, for the daemon and the command line alike, with the policies in force now. `credentials` is the
/// folder that systemd gives them in.
pub fn build(
    config: &Arc<ConfigCell>,
    ledger: &Arc<dyn Ledger>,
    blobs: &Arc<dyn Blobs>,
    alarms: &Arc<dyn Alarms>,
    credentials: Option<PathBuf>,
) -> Arc<Certificates> {
    let now = config.get();
    let in_force = Arc::clone(config);
    let years = move |insurer: &InsurerCode| {
        let policy = in_force.get().insurer_table::<CertificatesPolicy>(insurer, "certificates");
        let policy = policy.map_err(|error| error.to_string());
        let checked = policy.and_then(|policy| policy.check().map(|()| policy.years));
        checked.unwrap_or_else(|error| {
            tracing::error!(error, "an insurer's policy cannot be read");
            CertificatesPolicy::default().years
        })
    };
    Arc::new(Certificates {
        ledger: Arc::clone(ledger),
        blobs: Arc::clone(blobs),
        keys: AuthorityKeys::new(now.places.keys(), credentials),
        public: now.places.public(),
        policy: now.certificates.clone(),
        gateway: now.gateway.name.clone(),
        years: Box::new(years),
        alarms: Arc::clone(alarms),
        points: Points::default(),
        on_revoked: RwLock::default(),
        turn: Turn::default(),
    })
}

/// `$CREDENTIALS_DIRECTORY`, where systemd hands over what `LoadCredential=` names.
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty()).map(PathBuf::from)
}

impl From<CertifyError> for Trouble {
    fn from(error: CertifyError) -> Self {
        match error {
            CertifyError::Refused { code, text } => Self::refused(code, text.en),
            CertifyError::Ledger(error) => error.into(),
            CertifyError::Authority(error) => Self::new(Kind::Fault, "AUTHORITY-KEY", error.to_string()),
            CertifyError::Io(error) => error.into(),
            CertifyError::Stopped(error) => error.into(),
        }
    }
}

pub(super) fn answer(parts: &Parts, request: CertificateRequest, by: &Actor, now: Timestamp) -> Response {
    use CertificateRequest as R;
    let certificates = &parts.certificates;
    match request {
        R::Authorities => {
            certificates.prepare(now)?;
            let all = parts.ledger.authorities()?;
            Ok(Answer::of(Value::Array(all.iter().map(|of| authority_row(of, &all, now)).collect())))
        }
        R::TrustExternal { id, form, content, account_by, insurer, from, until } => {
            let bytes = decode(&content)?;
            let new = NewAuthority { id, form, bytes: &bytes, account_by, insurer, from, until };
            let of = certificates.trust_external(new, by, now)?;
            certificates.publish(now)?;
            parties::changed(parts);
            authority(parts, &of, now)
        }
        R::TrustUntil { id, until } => trust_until(parts, &id, until, by, now),
        R::Retire(id) => trust_until(parts, &id, Some(now), by, now),
        R::Rotate { form, from, old_until } => {
            certificates.prepare(now)?;
            let made = certificates.rotate(form, from.unwrap_or(now), old_until, by, now)?;
            parties::changed(parts);
            authority(parts, &made, now)
        }
        R::Issue { account, key, from, years } => {
            let terms = Terms { from, years, ..Terms::default() };
            issue(certificates, &account, &key, terms, by, now)
        }
        R::Register(account, content) => {
            let certificate = certificates.register(&account, &decode(&content)?, by, now)?;
            Ok(Answer::of(row(&certificate, now)))
        }
        R::List { account, ending_before, next } => list(parts, account, ending_before, next.as_deref(), now),
        R::Show(id) => show(parts, id, now),
        R::Files(id) => Ok(Answer::of(files(&certificates.files(id)?))),
        R::Revoke(id, reason) => {
            let revoked = certificates.revoke(id, reason, by, now)?;
            let of = certificates.certificate(id)?;
            let mut notes = Vec::new();
            if revoked.ids.is_empty() {
                notes.push(format!("{id} was revoked before; nothing changed."));
            }
            notes.extend(unlisted(&revoked));
            notes.extend(registered(parts, &of)?);
            Ok(Answer { notes, ..Answer::of(row(&of, now)) })
        }
        R::RevokeAll(account, reason) => {
            let revoked = certificates.revoke_all(&account, reason, by, now)?;
            let mut notes = vec![format!("{} of {account}'s certificates were revoked.", revoked.ids.len())];
            notes.extend(unlisted(&revoked));
            let mut rows = Vec::new();
            for id in revoked.ids {
                let of = certificates.certificate(id)?;
                notes.extend(registered(parts, &of)?);
                rows.push(row(&of, now));
            }
            // One key may be in several certificates.
            notes.dedup();
            Ok(Answer { notes, ..Answer::of(Value::Array(rows)) })
        }
        R::Lists => lists(parts, now),
    }
}

fn trust_until(
    parts: &Parts,
    id: &AuthorityId,
    until: Option<Timestamp>,
    by: &Actor,
    now: Timestamp,
) -> Response {
    let changed = parts.certificates.trust_until(id, until, by, now);
    // What is published may have failed after the trust has ended.
    parties::changed(parts);
    authority(parts, &changed?, now)
}

/// That what is published does not say so yet.
fn unlisted(revoked: &Revoked) -> Option<String> {
    let why = revoked.unlisted.as_ref()?;
    Some(format!(
        "The revocation counts, but the published lists could not be written ({why}); this is tried again until it succeeds (alarm CRL-FAILED), or do it with `cert crl`."
    ))
}

/// Accounts that have a revoked certificate's key registered by itself as well, and what that means.
fn registered(parts: &Parts, of: &Certificate) -> Result<Vec<String>, Trouble> {
    let lost = of.revoked.is_some_and(|revoked| revoked.reason == RevocationReason::KeyCompromise);
    let key = &of.fingerprint;
    let accounts = parts.ledger.accounts_of_key(key)?.into_iter();
    let note = |account| {
        let means = if lost {
            "counts as lost there too and serves for nothing any more; take it away"
        } else {
            "still logs in and signs there by itself; if it should not, take it away"
        };
        format!(
            "Key {key} is registered for account {account} as well. It {means} with `todoke account key remove {account} {key}`."
        )
    };
    Ok(accounts.map(note).collect())
}

fn decode(content: &str) -> Result<Vec<u8>, Trouble> {
    BASE64.decode(content).map_err(|error| Trouble::fault(error.to_string()))
}

fn issue(
    certificates: &Certificates,
    account: &AccountId,
    key: &KeyMaterial,
    terms: Terms,
    by: &Actor,
    now: Timestamp,
) -> Response {
    let csr;
    let request = match key {
        KeyMaterial::Csr(content) => {
            csr = decode(content)?;
            KeyRequest::Csr(&csr)
        }
        KeyMaterial::SshKey(line) => KeyRequest::SshKey(line),
        KeyMaterial::Bundle(password) => KeyRequest::Bundle { password: &password.0, keep: false },
    };
    let Issued { certificate, files: made, notes } = certificates.issue(account, request, terms, by, now)?;
    let mut answer = row(&certificate, now);
    answer["files"] = files(&made);
    Ok(Answer { notes, ..Answer::of(answer) })
}

fn files(all: &[HandedOut]) -> Value {
    let file = |file: &HandedOut| json!({ "name": file.name, "content": BASE64.encode(&file.bytes) });
    Value::Array(all.iter().map(file).collect())
}

fn authority(parts: &Parts, of: &Authority, now: Timestamp) -> Response {
    Ok(Answer::of(authority_row(of, &parts.ledger.authorities()?, now)))
}

fn authority_row(of: &Authority, all: &[Authority], now: Timestamp) -> Value {
    let state = if now < of.trusted_from {
        "future"
    } else if !of.holds_at(now) {
        "ended"
    } else if issues(all, of, now) {
        "issues"
    } else {
        "trusted"
    };
    json!({
        "authority": of.id,
        "form": of.form,
        "origin": of.origin,
        "state": state,
        "label": of.label,
        "sha256": pairs(&of.sha256.to_string()),
        "sha1": pairs(&of.sha1),
        "trusted_from_at": time(of.trusted_from),
        "trusted_until_at": time_or_null(of.trust_ends()),
        "issuing_from_at": time_or_null(of.issuing_from),
        "insurer": of.insurer,
        "account_by": of.account_by,
    })
}

/// Authorities whose trust ends within a year, for `status`.
pub(super) fn ending_soon(parts: &Parts, now: Timestamp) -> Result<Vec<Value>, Trouble> {
    let soon = parts
        .ledger
        .authorities()?
        .into_iter()
        .filter(|of| of.holds_at(now) && of.trust_ends().is_some_and(|end| end.since(now) <= ENDS_SOON));
    Ok(soon.map(|of| json!({ "authority": of.id, "ends_at": time_or_null(of.trust_ends()) })).collect())
}

fn row(of: &Certificate, now: Timestamp) -> Value {
    let mut forms = Vec::new();
    forms.extend(of.x509.as_ref().map(|form| format!("x509 by {}", form.authority)));
    forms.extend(of.openssh.as_ref().map(|form| format!("openssh by {}", form.authority)));
    json!({
        "certificate": of.id,
        "account": of.account,
        "state": of.standing_at(now),
        "begins_at": time(of.not_before),
        "ends_at": time(of.not_after),
        "issued_at": time(of.issued_at),
        "first_used_at": time_or_null(of.first_used_at),
        "revoked_at": time_or_null(of.revoked.map(|revocation| revocation.at)),
        "reason": of.revoked.map(|revocation| revocation.reason.word()),
        "fingerprint": of.fingerprint,
        "forms": forms,
        "application": of.application,
        "predecessor": of.predecessor,
        "bundle": of.bundle.is_some(),
    })
}

fn show(parts: &Parts, id: CertificateId, now: Timestamp) -> Response {
    let of = parts.certificates.certificate(id)?;
    let mut shown = row(&of, now);
    shown["key"] = of.key.clone().into();
    if let Some(form) = &of.x509 {
        shown["x509"] = json!({
            "authority": form.authority, "serial": form.serial, "sha256": pairs(&form.sha256.to_string()),
        });
    }
    if let Some(form) = &of.openssh {
        shown["openssh"] = json!({ "authority": form.authority, "serial": form.serial });
    }
    Ok(Answer::of(shown))
}

fn list(
    parts: &Parts,
    account: Option<AccountId>,
    ending_before: Option<Timestamp>,
    next: Option<&str>,
    now: Timestamp,
) -> Response {
    let last = next.map(CertificateId::parse).transpose();
    let last = last.map_err(|error| Trouble::new(Kind::Usage, "PAGE", error.to_string()))?;
    let found = match ending_before {
        None => parts.ledger.certificates(&CertificateFilter { account, before: last }, PAGE)?,
        Some(to) => ending(parts, account.as_ref(), now, to, last)?,
    };
    page(found, |of| of.id.to_string(), |of| value(row(&of, now)))
}

/// Those that end from now on and before a time, the page after this one: many may end at the same time.
fn ending(
    parts: &Parts,
    account: Option<&AccountId>,
    now: Timestamp,
    to: Timestamp,
    last: Option<CertificateId>,
) -> Result<Vec<Certificate>, Trouble> {
    let after = match last {
        Some(id) => Some(parts.certificates.certificate(id)?),
        None => None,
    };
    let after = after.map(|of| (of.not_after, of.id));
    let from = after.map_or(now, |(end, _)| end);
    let mut limit = 2 * PAGE;
    loop {
        let mut found = parts.ledger.certificates_ending(from, to, limit)?;
        let all = found.len() < limit;
        found.retain(|of| after.is_none_or(|after| (of.not_after, of.id) > after));
        found.retain(|of| account.is_none_or(|account| of.account == *account));
        if all || found.len() >= PAGE {
            found.truncate(PAGE);
            return Ok(found);
        }
        limit *= 2;
    }
}

fn lists(parts: &Parts, now: Timestamp) -> Response {
    parts.certificates.prepare(now)?;
    parts.certificates.publish(now)?;
    let mut rows = Vec::new();
    for of in parts.ledger.authorities()? {
        if let Some((number, bytes)) = parts.certificates.list_of(&of.id).filter(|_| of.holds_at(now)) {
            let file = parts.certificates.public.join(format!("{}.crl", of.id));
            let listed = parts.ledger.certificates_revoked(&of.id, now)?.len();
            rows.push(json!({
                "authority": of.id, "number": number, "revoked": listed, "bytes": bytes.len(), "file": file,
            }));
        }
    }
    Ok(Answer::of(Value::Array(rows)))
}
