//! Authorities and certificates at work: issue, revoke, hand out, publish.
//!
//! Each line is written in this order; *crash* is what a crash before the next line leaves, and who clears it up.
//!
//! | state | written, in this order | crash |
//! |---|---|---|
//! | authority (made) | its key in `keys/`, durable | the next start goes on with the same key |
//! | trusted, issuing | event `authority_set` | - |
//! | (certificate signed) | nothing | nothing was said, nothing is trusted: embedded certificates count only by the ledger |
//! | (bundle written) | card blob with the sealed files, synced; only for keys made here | blob without event: the sweep |
//! | issued | event `certificate_issued` | the event decides |
//! | revoked | event `certificate_revoked`, which forgets the bundle as well | its blob: the sweep; the list: the first step after the start writes it anew |
//! | (bundle removed, sessions told) | blob removed; sessions of the certificate end | they ended with the process |
//! | listed | `public/ID.crl` replaced | written anew by the first step after the start |
//! | bundle forgotten | event `certificate_bundle_forgotten`; blob removed | blob without event: the sweep |
//! | authority retired | event `authority_set` with an end | due again at the next step |
//!
//! Of a key that is made here nothing is ever on disk but what the certificate-issue password seals, and of the password
//! nothing at all.

mod authorities;
mod files;
pub mod publish;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use russh::keys::ssh_key::{HashAlg, PublicKey};

use super::alarms::Alarms;
use super::parties::{PartyError, keys};
use super::step::{Points, Progress, WorkError};
use crate::model::authority::{Authority, Form, issuer};
use crate::model::card::BundleCard;
use crate::model::certificate::{Certificate, OpensshForm, RevocationReason, X509Form};
use crate::model::event::Series;
use crate::model::finding::Text;
use crate::model::ids::{AccountId, ApplicationId, CertificateId, Digest, InsurerCode};
use crate::model::party::{Account, Actor, Standing};
use crate::model::time::Timestamp;
use crate::rules::certificates::{AuthoritiesPolicy, YEARS_MAX, validity};
use crate::rules::passwords::Password;
use crate::signed::csr;
use crate::signed::x509;
use crate::store::authorities::bundle::NewKey;
use crate::store::authorities::{AuthorityError, AuthorityKeys, openssh, x509 as ca};
use crate::store::blobs::Blobs;
use crate::store::cards;
use crate::store::keys::public_line;
use crate::store::ledger::{CertificateFilter, Ledger, LedgerError, Op};

pub use authorities::NewAuthority;
pub use files::{HandedOut, certificate_files};

/// Certificates of one account that are looked at together.
const OF_ACCOUNT_MAX: usize = 10_000;

/// Why nothing was certified or revoked.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// A rule does not allow it; whoever asked must do something else.
    #[error("{code} {}", text.en)]
    Refused {
        /// Leads the text; stable, ASCII.
        code: &'static str,
        /// What is wrong and what to do.
        text: Text,
    },
    /// The ledger did not do it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The authority cannot sign.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Files could not be read or written.
    #[error("files could not be read or written: {0}")]
    Io(#[from] io::Error),
    /// A test stopped here, as a crash would.
    #[error(transparent)]
    Stopped(WorkError),
}

impl CertifyError {
    fn refused(code: &'static str, ja: impl Into<String>, en: impl Into<String>) -> Self {
        Self::Refused { code, text: Text::new(ja, en) }
    }
}

impl From<CertifyError> for PartyError {
    fn from(error: CertifyError) -> Self {
        match error {
            CertifyError::Refused { code, text } => Self::Refused { code, text: text.en },
            CertifyError::Ledger(error) => Self::Ledger(error),
            CertifyError::Io(error) => Self::Io(error),
            other => Self::Io(io::Error::other(other.to_string())),
        }
    }
}

impl From<CertifyError> for WorkError {
    fn from(error: CertifyError) -> Self {
        match error {
            CertifyError::Ledger(error) => Self::Ledger(error),
            CertifyError::Stopped(stopped) => stopped,
            other => Self::Io {
                doing: "looking after certificates".into(),
                source: io::Error::other(other.to_string()),
            },
        }
    }
}

/// Whose key is to be certified.
#[derive(Clone, Copy)]
pub enum Request<'a> {
    /// The one that signed this request (PKCS #10, PEM or DER).
    Csr(&'a [u8]),
    /// This one: a line of OpenSSH's. That the account holds it is for whoever hands it in to know.
    SshKey(&'a str),
    /// A new one, made here, handed out under this password.
    Bundle {
        /// The certificate-issue password, which keeps the rules of passwords (K33-K35). It is kept nowhere, so none before it is
        /// known.
        password: &'a str,
        /// The sealed files are kept until [`Certificates::forget_bundle`]; else they are only in [`Issued::files`].
        keep: bool,
    },
}

/// What else is to stand in a certificate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// It holds from then on; from now when absent or past.
    pub from: Option<Timestamp>,
    /// Years; the insurer's policy when absent.
    pub years: Option<u32>,
    /// The application it answers.
    pub application: Option<ApplicationId>,
    /// The certificate it follows.
    pub predecessor: Option<CertificateId>,
}

/// A certificate that was issued.
pub struct Issued {
    /// Its record.
    pub certificate: Certificate,
    /// Its files, as its holder gets them; the sealed private keys among them if they were made here.
    pub files: Vec<HandedOut>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// What a revocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Those that were not revoked before.
    pub ids: Vec<CertificateId>,
    /// Why what is published does not say so yet, if it does not. They count all the same.
    pub unlisted: Option<String>,
}

/// Told of each certificate that was revoked.
pub type OnRevoked = dyn Fn(&Certificate, Timestamp) + Send + Sync;
/// Years that an insurer's certificates hold.
pub type YearsOf = dyn Fn(&InsurerCode) -> u32 + Send + Sync;

/// The one place that certifies.
pub struct Certificates {
    /// What is true.
    pub ledger: Arc<dyn Ledger>,
    /// Bundles.
    pub blobs: Arc<dyn Blobs>,
    /// The authorities' keys.
    pub keys: AuthorityKeys,
    /// `public/` of the data root.
    pub public: PathBuf,
    /// Policy of authorities.
    pub policy: AuthoritiesPolicy,
    /// How the gateway calls itself in its authorities' certificates.
    pub gateway: String,
    /// Policy of insurers.
    pub years: Box<YearsOf>,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// For tests.
    pub points: Points,
    /// Who wants to know of revocations.
    pub on_revoked: RwLock<Vec<Box<OnRevoked>>>,
    /// When the revocation lists are due; reading and changing authorities is one step.
    pub turn: Turn,
}

/// When the revocation lists are due: at once, at first.
#[derive(Debug, Default)]
pub struct Turn(Mutex<Option<Timestamp>>);

impl Turn {
    fn take(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Certificates {
    /// Has `told` told of each revocation from now on.
    pub fn when_revoked(&self, told: Box<OnRevoked>) {
        self.on_revoked.write().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    /// The key of a request, once it is seen to be sound and strong; none where a new one is to be made.
    pub fn key_of(request: &Request<'_>) -> Result<Option<PublicKey>, CertifyError> {
        match request {
            Request::Csr(bytes) => match csr::read(bytes) {
                Ok(key) => Ok(key.to_ssh()),
                Err(error) => Err(CertifyError::Refused { code: error.code(), text: error.text() }),
            },
            Request::SshKey(text) => {
                let line = keys::parse(text).map_err(|error| {
                    let ja = "SSH の公開鍵を使えません。「ssh-keygen -t ed25519」で作り、.pub ファイルの 1 行を送ってください。";
                    let en = match error {
                        PartyError::Refused { text, .. } => text,
                        other => other.to_string(),
                    };
                    CertifyError::refused("KEY-UNUSABLE", ja, en)
                })?;
                Ok(PublicKey::from_openssh(&line.key).ok())
            }
            Request::Bundle { .. } => Ok(None),
        }
    }

    /// Certifies a key for an account, in X.509 and in OpenSSH form where both can be.
    pub fn issue(
        &self,
        account: &AccountId,
        request: Request<'_>,
        terms: Terms,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Issued, CertifyError> {
        let key = Self::key_of(&request)?;
        let account = self.account(account)?;
        let made = match request {
            Request::Bundle { password, .. } => {
                Some((NewKey::generate()?, issue_password(password, &account.id)?))
            }
            _ => None,
        };
        let key = match (&made, key) {
            (Some((made, _)), _) => made.public()?,
            (None, Some(key)) => key,
            (None, None) => {
                return Err(CertifyError::refused(
                    "KEY-UNUSABLE",
                    "公開鍵を読み取れません。",
                    "the key cannot be read",
                ));
            }
        };
        self.require_free(&account, &key)?;
        let (certificate, mut notes) = self.sign(&account, &key, terms, now)?;
        let mut files = certificate_files(&certificate, &self.ledger.authorities()?);
        if let Some((made, password)) = &made {
            let sealed = files::sealed(made, &certificate, &self.ledger.authorities()?, password.reveal())?;
            files.splice(0..0, sealed);
        }
        let keep = matches!(request, Request::Bundle { keep: true, .. });
        let certificate = self.record(certificate, keep.then_some(&files), by, now)?;
        if keep {
            notes.push(format!(
                "Its files can be downloaded until the bundle of {} is forgotten.",
                certificate.id
            ));
        }
        Ok(Issued { certificate, files, notes })
    }

    fn account(&self, id: &AccountId) -> Result<Account, CertifyError> {
        let account = self.ledger.account(id)?.ok_or_else(|| {
            CertifyError::refused(
                "ACCOUNT-UNKNOWN",
                format!("アカウント {id} はありません。"),
                format!("account {id} does not exist; `account list` shows all"),
            )
        })?;
        if account.standing == Standing::Closed {
            return Err(CertifyError::refused(
                "ACCOUNT-CLOSED",
                format!("アカウント {id} は廃止されています。"),
                format!("account {id} is closed and gets no certificate"),
            ));
        }
        Ok(account)
    }

    /// What the ledger will say again, in the requester's words.
    fn require_free(&self, account: &Account, key: &PublicKey) -> Result<(), CertifyError> {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        for earlier in self.ledger.certificates_of_key(&fingerprint)? {
            if earlier.revoked.is_some_and(|r| r.reason == RevocationReason::KeyCompromise) {
                return Err(CertifyError::refused(
                    "KEY-COMPROMISED",
                    "この鍵は漏えいのおそれがあるとして失効済みです。新しい鍵を作ってください。",
                    format!("this key was revoked as compromised ({}); make a new one", earlier.id),
                ));
            }
        }
        let certified = self.ledger.certificates_of_key(&fingerprint)?.into_iter().map(|of| of.account);
        let registered = self.ledger.accounts_of_key(&fingerprint)?;
        for other in certified.chain(registered).filter(|other| *other != account.id) {
            let other = self.ledger.account(&other)?;
            let twin = other.is_some_and(|o| o.insurer == account.insurer && o.test != account.test);
            if !twin {
                return Err(CertifyError::refused(
                    "KEY-TAKEN",
                    "この鍵は別のアカウントで使われています。アカウントごとに新しい鍵を作ってください。",
                    format!(
                        "key {fingerprint} belongs to another account; every account needs a key of its own"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Signs both forms; records nothing.
    fn sign(
        &self,
        account: &Account,
        key: &PublicKey,
        terms: Terms,
        now: Timestamp,
    ) -> Result<(Certificate, Vec<String>), CertifyError> {
        let from = terms.from.unwrap_or(now).max(now);
        let (x509_by, ssh_by) = self.issuers(&account.insurer, from, now)?;
        let years = terms.years.unwrap_or_else(|| (self.years)(&account.insurer)).clamp(1, YEARS_MAX);
        let ends = x509_by.iter().chain(&ssh_by).filter_map(Authority::trust_ends).min();
        let (not_before, not_after) = validity(now, terms.from, years, self.policy.backdate, ends);
        if not_after <= not_before {
            return Err(CertifyError::refused(
                "AUTHORITY-ENDS",
                "認証局の有効期限を過ぎているため、発行できません。",
                "the authority ends before the certificate would begin; make a new generation: `cert authority rotate`",
            ));
        }
        let serial = self.ledger.next_serial(Series::Certificate, now)?;
        let id = CertificateId { epoch: self.ledger.head().epoch, serial };
        let mut notes = Vec::new();
        if ends == Some(not_after) {
            notes.push("It ends with its authority, earlier than asked for: `cert authority rotate` makes a new generation.".to_owned());
        }
        let subject = x509::PublicKey::from_ssh(key.key_data());
        if subject.is_none() && x509_by.is_some() {
            notes.push(
                "A key on a hardware token has no X.509 form: only an OpenSSH certificate was made."
                    .to_owned(),
            );
        }
        let period = (not_before, not_after);
        let x509 = match (&x509_by, &subject) {
            (Some(by), Some(subject)) => Some(self.sign_x509(by, account, subject, period)?),
            _ => None,
        };
        let openssh = ssh_by.map(|by| self.sign_openssh(&by, account, id, key, period)).transpose()?;
        if x509.is_none() && openssh.is_none() {
            return Err(CertifyError::refused(
                "KEY-UNUSABLE",
                "この種類の鍵には証明書を発行できません。",
                "no authority here certifies keys of this kind",
            ));
        }
        let certificate = Certificate {
            id,
            account: account.id.clone(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            key: public_line(key),
            x509,
            openssh,
            not_before,
            not_after,
            issued_at: now,
            revoked: None,
            first_used_at: None,
            application: terms.application,
            predecessor: terms.predecessor,
            bundle: None,
        };
        Ok((certificate, notes))
    }

    /// Which authorities sign at this time, made if there are none yet.
    fn issuers(
        &self,
        insurer: &InsurerCode,
        from: Timestamp,
        now: Timestamp,
    ) -> Result<(Option<Authority>, Option<Authority>), CertifyError> {
        self.prepare(now)?;
        let all = self.ledger.authorities()?;
        // One that begins to issue later signs nothing before: what it signs must be trusted at once.
        let by = |form| issuer(&all, form, insurer, now).filter(|by| by.trusted_at(from, insurer)).cloned();
        let (x509, openssh) = (by(Form::X509), by(Form::Openssh));
        if x509.is_none() && openssh.is_none() {
            return Err(CertifyError::refused(
                "NO-AUTHORITY",
                "このゲートウェイには証明書を発行する認証局がありません。",
                "no authority of the gateway's own issues here; see `cert authority list` and certificates.embedded",
            ));
        }
        Ok((x509, openssh))
    }

    fn sign_x509(
        &self,
        by: &Authority,
        account: &Account,
        key: &x509::PublicKey,
        (not_before, not_after): (Timestamp, Timestamp),
    ) -> Result<X509Form, CertifyError> {
        let serial = ca::Serial::random()?;
        let url = match self.policy.crl_url.as_str() {
            "" => None,
            folder => Some(format!("{}/{}.crl", folder.trim_end_matches('/'), by.id)),
        };
        let entity = ca::Entity {
            account: &account.id,
            insurer: &account.insurer,
            key,
            serial,
            not_before,
            not_after,
            crl_url: url.as_deref(),
        };
        let der = ca::issue(&authorities::der(by)?, self.signer(by)?.as_ref(), &entity)?;
        Ok(X509Form {
            authority: by.id.clone(),
            serial: serial.hex(),
            sha256: Digest::of(&der),
            der: BASE64.encode(der),
        })
    }

    fn sign_openssh(
        &self,
        by: &Authority,
        account: &Account,
        id: CertificateId,
        key: &PublicKey,
        (not_before, not_after): (Timestamp, Timestamp),
    ) -> Result<OpensshForm, CertifyError> {
        let serial = openssh::random_serial()?;
        let entity = openssh::Entity { account: &account.id, id, key, serial, not_before, not_after };
        let line = openssh::issue(self.signer(by)?.as_ref(), &entity)?;
        Ok(OpensshForm { authority: by.id.clone(), serial, line })
    }

    /// Makes it true: the bundle is durable before the event names it.
    fn record(
        &self,
        mut certificate: Certificate,
        bundle: Option<&Vec<HandedOut>>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Certificate, CertifyError> {
        if let Some(files) = bundle {
            let files = files.iter().map(|file| (file.name.clone(), BASE64.encode(&file.bytes))).collect();
            let card = cards::put(&*self.blobs, &BundleCard { salt: cards::salt()?, files }, now)?;
            self.blobs.sync(std::slice::from_ref(&card.blob))?;
            certificate.bundle = Some(card);
        }
        self.points.pass("bundle-written").map_err(CertifyError::Stopped)?;
        let done = self.ledger.commit(Op::IssueCertificate(Box::new(certificate.clone())), by.clone(), now);
        if let Err(error) = &done
            && error.is_not_recorded()
            && let Some(card) = &certificate.bundle
        {
            // Unless the journal is in doubt the event is not there, so nothing names the bundle.
            self.blobs.remove(std::slice::from_ref(&card.blob))?;
        }
        done?;
        Ok(certificate)
    }

    /// Revokes: at once for logins and signatures, sessions that run included; published as soon as that can be.
    pub fn revoke(
        &self,
        id: CertificateId,
        reason: RevocationReason,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Revoked, CertifyError> {
        let before = self.certificate(id)?;
        if before.revoked.is_some() {
            return Ok(Revoked { ids: Vec::new(), unlisted: None });
        }
        self.void(before, reason, by, now)?;
        Ok(Revoked { ids: vec![id], unlisted: self.list_revoked(now) })
    }

    /// Revokes one and tells of it.
    fn void(
        &self,
        before: Certificate,
        reason: RevocationReason,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), CertifyError> {
        let id = before.id;
        self.ledger.commit(Op::RevokeCertificate { id, reason }, by.clone(), now)?;
        self.points.pass("revoked").map_err(CertifyError::Stopped)?;
        let revoked = self.certificate(id)?;
        for told in self.on_revoked.read().unwrap_or_else(PoisonError::into_inner).iter() {
            told(&revoked, now);
        }
        if let Some(card) = before.bundle
            && let Err(error) = self.blobs.remove(std::slice::from_ref(&card.blob))
        {
            tracing::warn!(certificate = %id, %error, "a revoked certificate's bundle could not be removed; the sweep will");
        }
        self.points.pass("told").map_err(CertifyError::Stopped)
    }

    /// Publishes what was revoked. Why it could not, if it could not: an alarm, and every step tries again.
    fn list_revoked(&self, now: Timestamp) -> Option<String> {
        let Err(error) = self.publish(now) else {
            self.alarms.clear("CRL-FAILED");
            return None;
        };
        *self.turn.take() = None;
        self.alarms.raise("CRL-FAILED", &error.to_string(), now);
        Some(error.to_string())
    }

    /// Revokes all of an account's that could still be used, then publishes.
    pub fn revoke_all(
        &self,
        account: &AccountId,
        reason: RevocationReason,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Revoked, CertifyError> {
        if self.ledger.account(account)?.is_none() {
            self.account(account)?;
        }
        let filter = CertificateFilter { account: Some(account.clone()), before: None };
        let mut all = self.ledger.certificates(&filter, OF_ACCOUNT_MAX)?;
        all.retain(|of| of.not_after > now && of.revoked.is_none());
        let mut revoked = Revoked { ids: Vec::new(), unlisted: None };
        let mut done = Ok(());
        for of in all {
            let id = of.id;
            done = self.void(of, reason, by, now);
            if done.is_err() {
                break;
            }
            revoked.ids.push(id);
        }
        // A test's crash ends here.
        if !matches!(done, Err(CertifyError::Stopped(_))) && !revoked.ids.is_empty() {
            revoked.unlisted = self.list_revoked(now);
        }
        done.map(|()| revoked)
    }

    /// One certificate.
    pub fn certificate(&self, id: CertificateId) -> Result<Certificate, CertifyError> {
        self.ledger.certificate(id)?.ok_or_else(|| {
            CertifyError::refused(
                "CERTIFICATE-UNKNOWN",
                format!("証明書 {id} はありません。"),
                format!("certificate {id} does not exist; `cert list` shows all"),
            )
        })
    }

    /// What its holder downloads: the certificates, and the sealed private keys while there is a bundle.
    pub fn files(&self, id: CertificateId) -> Result<Vec<HandedOut>, CertifyError> {
        let certificate = self.certificate(id)?;
        match &certificate.bundle {
            Some(card) => files::of_bundle(&cards::get(&*self.blobs, card)?),
            None => Ok(certificate_files(&certificate, &self.ledger.authorities()?)),
        }
    }

    /// Its bundle can be downloaded no more: the gateway keeps nothing of its private key. Done before: nothing.
    pub fn forget_bundle(&self, id: CertificateId, by: &Actor, now: Timestamp) -> Result<(), CertifyError> {
        let Some(card) = self.certificate(id)?.bundle else { return Ok(()) };
        self.ledger.commit(Op::ForgetBundle(id), by.clone(), now)?;
        self.points.pass("forgotten").map_err(CertifyError::Stopped)?;
        Ok(self.blobs.remove(std::slice::from_ref(&card.blob))?)
    }

    /// What is due: the first authorities, authorities whose last certificate has ended, revocation lists. A key that is
    /// missing is an alarm, since nothing else waits for it.
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        self.prepare(now)?;
        let mut done = self.retire_superseded(now)?;
        if self.publication_due(now) {
            match self.publish(now) {
                Ok(()) => {
                    self.alarms.clear("CRL-FAILED");
                    done += 1;
                }
                Err(CertifyError::Ledger(error)) => return Err(error.into()),
                Err(error) => self.alarms.raise("CRL-FAILED", &error.to_string(), now),
            }
        }
        Ok(Progress { done, more: false })
    }
}

/// The password of a file that anybody may guess at for years: one that keeps the rules, whoever chose it (K33-K35).
fn issue_password(text: &str, account: &AccountId) -> Result<Password, CertifyError> {
    Password::choose(text, account.as_str()).map_err(|fault| {
        let Text { ja, en } = fault.text();
        CertifyError::refused(
            fault.code(),
            format!("証明書発行用パスワード: {ja}"),
            format!("the certificate-issue password: {en}"),
        )
    })
}

#[cfg(test)]
mod tests;
