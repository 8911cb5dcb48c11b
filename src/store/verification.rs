//! What the ledger knows of authorities and certificates, handed to the rules as values: whether a certificate counts for an
//! account at a time, for a login and for a signature alike.
//!
//! A certificate of the gateway's own authorities counts only if the ledger has it, byte for byte: a copy of the authority's
//! key makes no accounts. One of an external authority counts by its subject or by being registered (K31). A certificate over
//! a key that was ever revoked as compromised never counts.

use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono_tz::Tz;
use russh::keys::ssh_key::{Certificate as OpensshCertificate, HashAlg, PublicKey};

use super::ledger::{CertificateFilter, Ledger, LedgerError};
use crate::model::authority::{AccountBy, Authority, Form, Origin};
use crate::model::card::SignatureEvidence;
use crate::model::certificate::{Certificate, Revocation, RevocationReason};
use crate::model::finding::Text;
use crate::model::ids::{CertificateId, Digest};
use crate::model::party::{Account, Standing};
use crate::model::time::{SECOND, Timestamp};
use crate::signed::certificate::CertificateError;
use crate::signed::cms::{CmsError, CmsSignature};
use crate::signed::sshcert::{self, Use, UserAuthority};
use crate::signed::x509::{self, Anchor, RevocationList, Scheme, Trust};

/// Certificates of an account that a CMS signature may leave out (`-nocerts`): the newest so many.
const KNOWN_MAX: usize = 32;
/// Most bytes of an authority's list of revoked certificates.
pub const LIST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A list that is longer is kept in the evidence by its digest alone.
const EVIDENCE_LIST_BYTES_MAX: usize = 64 * 1024;

/// Whether an account may be used at present: neither it nor its insurer is suspended or closed.
pub fn may_act(ledger: &dyn Ledger, account: &Account) -> Result<bool, LedgerError> {
    let serves =
        ledger.insurer(&account.insurer)?.is_some_and(|insurer| insurer.standing == Standing::Active);
    Ok(serves && account.standing == Standing::Active)
}

/// What a judgement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The present: whatever was revoked counts as revoked. A revocation may bear a time to come, where a clock that ran ahead
    /// was set back: events are never earlier than those before them.
    Now(Timestamp),
    /// A time that is over: what was revoked later held then.
    Then(Timestamp),
}

impl AsOf {
    /// The time.
    pub fn at(self) -> Timestamp {
        match self {
            Self::Now(at) | Self::Then(at) => at,
        }
    }

    /// Whether this was revoked by then.
    fn counts(self, revocation: &Revocation) -> bool {
        match self {
            Self::Now(_) => true,
            Self::Then(at) => revocation.at <= at,
        }
    }
}

/// What is read again at SIGHUP.
#[derive(Debug, Default)]
pub struct Lists {
    /// Lists of revoked certificates of external authorities.
    pub lists: Vec<RevocationList>,
    /// An X.509 certificate must name a purpose.
    pub purpose_required: bool,
}

impl Lists {
    /// Reads the files, DER or PEM.
    pub fn read(files: &[PathBuf], purpose_required: bool) -> io::Result<Self> {
        let lists = files.iter().map(|file| read_list(file)).collect::<io::Result<_>>()?;
        Ok(Self { lists, purpose_required })
    }
}

/// Reads one list, DER or PEM; an error names the file.
pub fn read_list(file: &FilePath) -> io::Result<RevocationList> {
    let read = read_bounded(file).and_then(|bytes| RevocationList::read(&bytes).map_err(io::Error::other));
    read.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

fn read_bounded(file: &FilePath) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIST_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
pub enum NotVerified {
    /// The certificate does not count.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The CMS signature is none.
    #[error(transparent)]
    Cms(#[from] CmsError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl NotVerified {
    /// The stable code that messages lead with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Certificate(error) => error.code(),
            Self::Cms(error) => error.code(),
            Self::Ledger(_) => "INTERNAL",
        }
    }

    /// What was wrong and what to do next; none when the ledger failed, which is nobody's business.
    pub fn text(&self, zone: Tz) -> Option<Text> {
        match self {
            Self::Certificate(error) => Some(error.text(zone)),
            Self::Cms(error) => Some(error.text()),
            Self::Ledger(_) => None,
        }
    }
}

/// A certificate that counts for the account.
#[derive(Debug, Clone)]
pub struct Certified {
    /// Who signed it.
    pub authority: Authority,
    /// The ledger's record of it: always there for the gateway's own authorities.
    pub record: Option<Certificate>,
    /// The key that it is about.
    pub key: PublicKey,
    /// Its serial number, as the ledger writes it.
    pub serial: String,
    /// SHA-256 over its bytes.
    pub sha256: Digest,
    /// Until when it holds.
    pub not_after: Timestamp,
    /// Itself, and those between it and the authority: PEM, or one line of an OpenSSH certificate.
    chain: Vec<String>,
    /// Lists that were looked at, DER.
    lists: Vec<(Digest, Option<String>)>,
}

impl Certified {
    /// Its number, if the ledger has it.
    pub fn id(&self) -> Option<CertificateId> {
        self.record.as_ref().map(|record| record.id)
    }

    /// `x509 C1-000001-6`, `openssh C1-000001-6`, or with an external authority's name and serial number.
    pub fn word(&self) -> String {
        let form = form_word(self.authority.form);
        match self.id() {
            Some(id) => format!("{form} {id}"),
            None => format!("{form} {} {}", self.authority.id, self.serial),
        }
    }

    /// The key's SHA-256 fingerprint as OpenSSH prints it.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// What is needed to look at it again in ten years.
    pub fn evidence(&self, seq: u64, head: Digest, at: Timestamp) -> SignatureEvidence {
        SignatureEvidence {
            form: self.authority.form,
            certificate: self.id(),
            authority: self.authority.id.clone(),
            chain: self.chain.clone(),
            anchor: anchor_text(&self.authority),
            verified_at: at,
            ledger_seq: seq,
            ledger_hash: head,
            lists: self.lists.iter().filter_map(|(_, pem)| pem.clone()).collect(),
            list_digests: self.lists.iter().map(|(digest, _)| *digest).collect(),
        }
    }
}

/// As receipts and verdicts name a form.
pub fn form_word(form: Form) -> &'static str {
    match form {
        Form::X509 => "x509",
        Form::Openssh => "openssh",
    }
}

/// A CMS signature by an account's certificate.
#[derive(Debug, Clone)]
pub struct CmsCertified {
    /// The certificate.
    pub certified: Certified,
    /// How it was signed.
    pub scheme: Scheme,
}

/// Asks the ledger, then the rules.
pub struct Verification {
    /// Authorities and certificates.
    pub ledger: Arc<dyn Ledger>,
    /// Lists of revoked certificates in force.
    pub lists: RwLock<Arc<Lists>>,
}

impl Verification {
    /// With these lists.
    pub fn new(ledger: Arc<dyn Ledger>, lists: Lists) -> Self {
        Self { ledger, lists: RwLock::new(Arc::new(lists)) }
    }

    /// From now on with these.
    pub fn set_lists(&self, lists: Lists) {
        *self.lists.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lists);
    }

    fn lists(&self) -> Arc<Lists> {
        Arc::clone(&self.lists.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn authorities(&self, account: &Account, form: Form) -> Result<Vec<Authority>, LedgerError> {
        let mut all = self.ledger.authorities()?;
        all.retain(|authority| {
            authority.form == form && authority.insurer.as_ref().is_none_or(|own| *own == account.insurer)
        });
        Ok(all)
    }

    /// Whether somebody else's authority says whose an OpenSSH key is: then the key alone tells nothing.
    pub fn trusts_external_openssh(&self) -> Result<bool, LedgerError> {
        let all = self.ledger.authorities()?;
        Ok(all.iter().any(|a| a.form == Form::Openssh && a.origin == Origin::External))
    }

    /// Whether this OpenSSH certificate counts for the account. What it was used for is proven elsewhere.
    pub fn openssh(
        &self,
        account: &Account,
        certificate: &OpensshCertificate,
        usage: Use,
        as_of: AsOf,
    ) -> Result<Certified, NotVerified> {
        let authorities = self.authorities(account, Form::Openssh)?;
        let mut usable = Vec::with_capacity(authorities.len());
        for authority in authorities {
            if let Ok(key) = PublicKey::from_openssh(&authority.certificate) {
                let (from, until) = (authority.trusted_from, authority.trust_ends());
                usable.push((authority, UserAuthority { key: key.key_data().clone(), from, until }));
            }
        }
        let (authorities, values): (Vec<_>, Vec<_>) = usable.into_iter().unzip();
        let which = sshcert::verify(certificate, &account.id, &values, usage, as_of.at())?;
        let authority = authorities[which].clone();
        let malformed = |_| CertificateError::Malformed;
        let bytes = certificate.to_bytes().map_err(malformed)?;
        let serial = format!("{:016x}", certificate.serial());
        let record = self.ledger.certificate_by_serial(&authority.id, &serial)?.filter(|record| {
            let line = record.openssh.as_ref().map(|form| OpensshCertificate::from_openssh(&form.line));
            line.is_some_and(|known| known.is_ok_and(|known| known.to_bytes().is_ok_and(|b| b == bytes)))
        });
        if record.is_none() && authority.origin == Origin::Embedded {
            return Err(CertificateError::NotIssued.into());
        }
        let key = PublicKey::new(certificate.public_key().clone(), "");
        self.require_standing(account, record.as_ref(), &key, as_of)?;
        let end = i64::try_from(certificate.valid_before()).unwrap_or(i64::MAX).saturating_mul(SECOND);
        let mut bare = certificate.clone();
        bare.set_comment("");
        Ok(Certified {
            authority,
            record,
            key,
            serial,
            sha256: Digest::of(&bytes),
            not_after: Timestamp(end),
            chain: vec![bare.to_openssh().map_err(malformed)?],
            lists: Vec::new(),
        })
    }

    /// Whether this CMS signature over the content is by the account. Of several signers exactly one must be; the others are
    /// left alone.
    pub fn cms(
        &self,
        account: &Account,
        signature: &[u8],
        content: &[u8],
        as_of: AsOf,
    ) -> Result<CmsCertified, NotVerified> {
        let signature = CmsSignature::read(signature)?;
        let filter = CertificateFilter { account: Some(account.id.clone()), before: None };
        let known = self.ledger.certificates(&filter, KNOWN_MAX)?;
        let known: Vec<Vec<u8>> =
            known.iter().filter_map(|record| BASE64.decode(&record.x509.as_ref()?.der).ok()).collect();
        let mut own = Vec::new();
        let mut why = None;
        for which in 0..signature.signers() {
            let one = signature.verify(which, content, &known).map_err(NotVerified::from);
            let one = one.and_then(|signer| {
                let certified = self.x509(account, &signer.certificate, &signature.certificates, as_of)?;
                Ok(CmsCertified { certified, scheme: signer.scheme })
            });
            match one {
                Ok(one) => own.push(one),
                Err(NotVerified::Ledger(e)) => return Err(e.into()),
                Err(e) => why = why.or(Some(e)),
            }
        }
        match (own.len(), own.pop(), why) {
            (1, Some(one), _) => Ok(one),
            (0, _, Some(why)) if signature.signers() == 1 => Err(why),
            (count, ..) => Err(CmsError::Signers { own: count }.into()),
        }
    }

    /// Whether this X.509 certificate counts for the account. `others` are certificates that came along.
    pub fn x509(
        &self,
        account: &Account,
        certificate: &x509::Certificate,
        others: &[Vec<u8>],
        as_of: AsOf,
    ) -> Result<Certified, NotVerified> {
        let in_force = self.lists();
        let mut anchors = Vec::new();
        let mut authorities = Vec::new();
        for authority in self.authorities(account, Form::X509)? {
            let Ok(der) = BASE64.decode(&authority.certificate) else { continue };
            let Ok(certificate) = x509::Certificate::from_der(&der) else { continue };
            let (from, until) = (authority.trusted_from, authority.trusted_until);
            anchors.push(Anchor { certificate, from, until });
            authorities.push(authority);
        }
        let lists: Vec<&RevocationList> = in_force.lists.iter().collect();
        let trust = Trust { anchors: &anchors, lists: &lists, purpose_required: in_force.purpose_required };
        let path = x509::verify(certificate, others, &trust, as_of.at())?;
        let authority = authorities[path.anchor].clone();
        let record = self.ledger.certificate_by_x509(certificate.sha256)?;
        if record.is_none() {
            require_subject(account, &authority, certificate)?;
        }
        let key = certificate.key().map_err(|_| CertificateError::Malformed)?;
        let key = key.to_ssh().ok_or(CertificateError::Malformed)?;
        self.require_standing(account, record.as_ref(), &key, as_of)?;
        let mut chain = vec![x509::pem(&certificate.der)];
        chain.extend(path.intermediates.iter().map(|der| x509::pem(der)));
        let between = path.intermediates.iter().filter_map(|der| x509::Certificate::from_der(der).ok());
        let mut issuers: Vec<Vec<u8>> = between.map(|certificate| certificate.issuer_der).collect();
        issuers.push(certificate.issuer_der.clone());
        let of_path = |list: &&RevocationList| issuers.contains(&list.issuer_der);
        let kept = |list: &RevocationList| {
            let short = list.der.len() <= EVIDENCE_LIST_BYTES_MAX;
            (Digest::of(&list.der), short.then(|| x509::list_pem(&list.der)))
        };
        Ok(Certified {
            authority,
            record,
            key,
            serial: certificate.serial_hex(),
            sha256: certificate.sha256,
            not_after: certificate.not_after,
            chain,
            lists: in_force.lists.iter().filter(of_path).map(kept).collect(),
        })
    }

    /// The record is the account's and not revoked, and nobody reported the key as lost.
    fn require_standing(
        &self,
        account: &Account,
        record: Option<&Certificate>,
        key: &PublicKey,
        as_of: AsOf,
    ) -> Result<(), NotVerified> {
        if let Some(record) = record {
            if record.account != account.id {
                return Err(CertificateError::Account { account: account.id.clone() }.into());
            }
            if let Some(revocation) = record.revoked.filter(|revocation| as_of.counts(revocation)) {
                return Err(CertificateError::Revoked { since: Some(revocation.at) }.into());
            }
        }
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        match self.lost(&fingerprint, as_of)? {
            None => Ok(()),
            since => Err(CertificateError::Revoked { since }.into()),
        }
    }

    /// Since when a key (`SHA256:...`) counts as lost: whoever has it is nobody, registered or certified anew.
    pub fn lost(&self, fingerprint: &str, as_of: AsOf) -> Result<Option<Timestamp>, LedgerError> {
        lost(self.ledger.as_ref(), fingerprint, as_of)
    }
}

/// Since when a key (`SHA256:...`) counts as lost.
pub fn lost(ledger: &dyn Ledger, fingerprint: &str, as_of: AsOf) -> Result<Option<Timestamp>, LedgerError> {
    let lost = ledger.certificates_of_key(fingerprint)?.into_iter().find_map(|other| {
        other.revoked.filter(|r| r.reason == RevocationReason::KeyCompromise && as_of.counts(r))
    });
    Ok(lost.map(|revocation| revocation.at))
}

/// Whose a certificate is that the ledger does not have.
fn require_subject(
    account: &Account,
    authority: &Authority,
    certificate: &x509::Certificate,
) -> Result<(), CertificateError> {
    if authority.origin == Origin::Embedded {
        return Err(CertificateError::NotIssued);
    }
    let names = match authority.account_by {
        AccountBy::CommonName => &certificate.common_names,
        AccountBy::UserId => &certificate.user_ids,
        AccountBy::Registered => {
            return Err(CertificateError::NotRegistered { fingerprint: certificate.sha256.to_string() });
        }
    };
    if names.iter().any(|name| name == account.id.as_str()) {
        Ok(())
    } else {
        Err(CertificateError::Account { account: account.id.clone() })
    }
}

/// An authority's certificate as PEM, or its public key.
fn anchor_text(authority: &Authority) -> String {
    match (authority.form, BASE64.decode(&authority.certificate)) {
        (Form::X509, Ok(der)) => x509::pem(&der),
        _ => format!("{}\n", authority.certificate),
    }
}
