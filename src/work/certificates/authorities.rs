//! Authorities: the first ones, new generations (E5), external ones (K31), their end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use russh::keys::ssh_key::{HashAlg, PublicKey};

use super::{Certificates, CertifyError};
use crate::model::authority::{AccountBy, Authority, Form, Origin, superseded};
use crate::model::certificate::{Certificate, X509Form};
use crate::model::event::Series;
use crate::model::finding::Text;
use crate::model::ids::{AccountId, AuthorityId, CertificateId, InsurerCode};
use crate::model::party::Actor;
use crate::model::time::{SECOND, Timestamp};
use crate::rules::certificates::years_after;
use crate::signed::x509::{self, Anchor, Trust};
use crate::store::authorities::x509::{self as ca, Serial};
use crate::store::authorities::{AuthorityError, AuthorityKey, AuthoritySigner, fingerprints};
use crate::store::keys::public_line;
use crate::store::ledger::Op;
use crate::work::parties::keys;

/// An external authority that is to be trusted.
#[derive(Debug, Clone)]
pub struct NewAuthority<'a> {
    /// What it is called here.
    pub id: AuthorityId,
    /// What it signs.
    pub form: Form,
    /// Its certificate (PEM or DER), or its public key as an OpenSSH line.
    pub bytes: &'a [u8],
    /// How its certificates tell the account.
    pub account_by: AccountBy,
    /// Only for accounts of this insurer.
    pub insurer: Option<InsurerCode>,
    /// Trusted from then on; now when absent.
    pub from: Option<Timestamp>,
    /// Trusted until then.
    pub until: Option<Timestamp>,
}

/// An X.509 authority's certificate.
pub(super) fn der(of: &Authority) -> Result<Vec<u8>, CertifyError> {
    Ok(BASE64.decode(&of.certificate).map_err(std::io::Error::other)?)
}

impl Certificates {
    /// Makes the first generation of the gateway's own authorities where there is none (and policy wants one).
    pub fn prepare(&self, now: Timestamp) -> Result<(), CertifyError> {
        if !self.policy.embedded {
            return Ok(());
        }
        let _turn = self.turn.take();
        let all = self.ledger.authorities()?;
        for form in [Form::X509, Form::Openssh] {
            if !all.iter().any(|of| of.form == form && of.origin == Origin::Embedded) {
                self.make(form, None, now, &Actor::Daemon, now)?;
            }
        }
        Ok(())
    }

    /// A new generation begins to issue at `from`; it is trusted at once. Those before it stay trusted until their last
    /// certificate has ended, or until `old_until`.
    pub fn rotate(
        &self,
        form: Form,
        from: Timestamp,
        old_until: Option<Timestamp>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Authority, CertifyError> {
        let from = from.max(now);
        if old_until.is_some_and(|until| until <= from) {
            return Err(CertifyError::refused(
                "AUTHORITY-DATES",
                "旧世代の信頼終了日は、新世代の発行開始日より後にしてください。",
                "the old generation must stay trusted beyond the day on which the new one begins to issue",
            ));
        }
        let made = {
            let _turn = self.turn.take();
            let all = self.ledger.authorities()?;
            let made = self.make(form, None, from, by, now)?;
            for old in all.into_iter().filter(|of| of.form == form && of.origin == Origin::Embedded) {
                if old_until.is_some() && old.holds_at(now) && old.insurer.is_none() {
                    let authority = Box::new(Authority { trusted_until: old_until, ..old });
                    self.ledger.commit(Op::SetAuthority { authority, new: false }, by.clone(), now)?;
                }
            }
            made
        };
        self.publish(now)?;
        Ok(made)
    }

    /// Key, then certificate, then event; a key that a crash left is taken up.
    fn make(
        &self,
        form: Form,
        insurer: Option<InsurerCode>,
        issuing_from: Timestamp,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Authority, CertifyError> {
        let id = self.next_id(form)?;
        let signer = self.keys.signer_or_make(&id, form)?;
        self.points.pass("key-made").map_err(CertifyError::Stopped)?;
        let whole = Timestamp(now.0 - now.0.rem_euclid(SECOND));
        let (label, certificate, bytes, ends_at) = match signer.public() {
            AuthorityKey::X509(_) => {
                let begin = whole.plus(-self.policy.backdate.millis());
                let end = years_after(whole, self.policy.authority_years);
                let der = ca::authority(signer.as_ref(), &id, &self.gateway, Serial::random()?, begin, end)?;
                let label = read_x509(&der)?.subject;
                (label, BASE64.encode(&der), der, Some(end))
            }
            AuthorityKey::Openssh(key) => {
                let blob = key.to_bytes().map_err(std::io::Error::other)?;
                (format!("{} {id}", self.gateway), public_line(key), blob, None)
            }
        };
        let (sha256, sha1) = fingerprints(&bytes);
        let authority = Authority {
            id,
            form,
            origin: Origin::Embedded,
            label,
            certificate,
            sha256,
            sha1,
            ends_at,
            trusted_from: whole,
            trusted_until: None,
            issuing_from: Some(issuing_from),
            insurer,
            account_by: AccountBy::CommonName,
        };
        let op = Op::SetAuthority { authority: Box::new(authority.clone()), new: true };
        self.ledger.commit(op, by.clone(), now)?;
        Ok(authority)
    }

    fn next_id(&self, form: Form) -> Result<AuthorityId, CertifyError> {
        let taken = |id: &AuthorityId| {
            id.as_str().strip_prefix(form.prefix())?.strip_prefix('-')?.parse::<u32>().ok()
        };
        let last = self.ledger.authorities()?.iter().filter_map(|of| taken(&of.id)).max().unwrap_or(0);
        let name = format!("{}-{}", form.prefix(), last.saturating_add(1));
        Ok(AuthorityId::parse(&name).map_err(std::io::Error::other)?)
    }

    /// Trusts somebody else's authority.
    pub fn trust_external(
        &self,
        new: NewAuthority<'_>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Authority, CertifyError> {
        if new.form == Form::Openssh && new.account_by != AccountBy::CommonName {
            return Err(CertifyError::refused(
                "AUTHORITY-ACCOUNT-BY",
                "OpenSSH の証明書ではアカウントは必ずプリンシパルで決まります。--account-by は X.509 の認証局だけに指定できます。",
                "OpenSSH certificates name the account among their principals, and nothing else counts; --account-by is for X.509 authorities alone",
            ));
        }
        let (label, certificate, bytes, ends_at) = match new.form {
            Form::X509 => {
                let of = read_x509(&from_pem(new.bytes)?)?;
                if !of.is_authority() {
                    return Err(CertifyError::refused(
                        "AUTHORITY-UNUSABLE",
                        "これは認証局の証明書ではありません(CA:TRUE がありません)。",
                        "this certificate is no authority's (it lacks CA:TRUE); give the certificate of who issued it",
                    ));
                }
                of.key().map_err(|weakness| CertifyError::Refused {
                    code: weakness.code(),
                    text: Text::new(
                        format!("認証局の鍵「{}」は弱いため信頼できません。", weakness.name()),
                        format!("the authority's key ({}) is too weak to be trusted", weakness.name()),
                    ),
                })?;
                let end = of.not_after.plus(SECOND);
                if end <= now {
                    return Err(CertifyError::refused(
                        "AUTHORITY-ENDED",
                        "この認証局の証明書は期限が切れています。",
                        format!("this authority's certificate ended at {}", of.not_after),
                    ));
                }
                (of.subject, BASE64.encode(&of.der), of.der, Some(end))
            }
            Form::Openssh => {
                let text = String::from_utf8_lossy(new.bytes);
                let line = keys::parse(&text).map_err(|error| {
                    CertifyError::refused(
                        "AUTHORITY-UNUSABLE",
                        "SSH の公開鍵を使えません。",
                        error.to_string(),
                    )
                })?;
                let key = PublicKey::from_openssh(&line.key).map_err(std::io::Error::other)?;
                let blob = key.to_bytes().map_err(std::io::Error::other)?;
                (new.id.to_string(), line.key, blob, None)
            }
        };
        let (sha256, sha1) = fingerprints(&bytes);
        let _turn = self.turn.take();
        if let Some(same) = self.ledger.authorities()?.into_iter().find(|of| of.sha256 == sha256) {
            return Err(CertifyError::refused(
                "AUTHORITY-EXISTS",
                format!("この認証局は {} として登録済みです。", same.id),
                format!("this authority is known already as {}", same.id),
            ));
        }
        let authority = Authority {
            id: new.id,
            form: new.form,
            origin: Origin::External,
            label,
            certificate,
            sha256,
            sha1,
            ends_at,
            trusted_from: new.from.unwrap_or(now),
            trusted_until: new.until,
            issuing_from: None,
            insurer: new.insurer,
            account_by: new.account_by,
        };
        let op = Op::SetAuthority { authority: Box::new(authority.clone()), new: true };
        self.ledger.commit(op, by.clone(), now)?;
        Ok(authority)
    }

    /// Changes until when an authority is trusted; none means as long as its own certificate holds.
    pub fn trust_until(
        &self,
        id: &AuthorityId,
        until: Option<Timestamp>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Authority, CertifyError> {
        let changed = {
            let _turn = self.turn.take();
            let before = self.ledger.authority(id)?.ok_or_else(|| {
                CertifyError::refused(
                    "AUTHORITY-UNKNOWN",
                    format!("認証局 {id} はありません。"),
                    format!("authority {id} does not exist; `cert authority list` shows all"),
                )
            })?;
            let changed = Authority { trusted_until: until, ..before.clone() };
            if changed != before {
                let op = Op::SetAuthority { authority: Box::new(changed.clone()), new: false };
                self.ledger.commit(op, by.clone(), now)?;
            }
            changed
        };
        self.publish(now)?;
        Ok(changed)
    }

    /// Registers a certificate of an external authority for an account: it could not tell by itself, or need not.
    pub fn register(
        &self,
        account: &AccountId,
        bytes: &[u8],
        by: &Actor,
        now: Timestamp,
    ) -> Result<Certificate, CertifyError> {
        let account = self.account(account)?;
        let of = read_x509(&from_pem(bytes)?)?;
        let all = self.ledger.authorities()?;
        let trusted: Vec<&Authority> = all
            .iter()
            .filter(|a| {
                a.form == Form::X509 && a.origin == Origin::External && a.trusted_at(now, &account.insurer)
            })
            .collect();
        let anchor = |a: &&Authority| {
            let certificate = read_x509(&der(a)?)?;
            Ok(Anchor { certificate, from: a.trusted_from, until: a.trusted_until })
        };
        let anchors = trusted.iter().map(anchor).collect::<Result<Vec<_>, CertifyError>>()?;
        let trust = Trust { anchors: &anchors, lists: &[], purpose_required: false };
        let path = x509::verify(&of, &[], &trust, now).map_err(|error| CertifyError::Refused {
            code: error.code(),
            text: error.text(chrono_tz::UTC),
        })?;
        let key = of.key().ok().and_then(|key| key.to_ssh()).ok_or_else(|| {
            CertifyError::refused("KEY-UNUSABLE", "証明書の鍵を読み取れません。", "its key cannot be read")
        })?;
        self.require_free(&account, &key)?;
        let serial = self.ledger.next_serial(Series::Certificate, now)?;
        let certificate = Certificate {
            id: CertificateId { epoch: self.ledger.head().epoch, serial },
            account: account.id,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            key: public_line(&key),
            x509: Some(X509Form {
                authority: trusted[path.anchor].id.clone(),
                serial: of.serial_hex(),
                der: BASE64.encode(&of.der),
                sha256: of.sha256,
            }),
            openssh: None,
            not_before: of.not_before,
            not_after: of.not_after.plus(SECOND),
            issued_at: now,
            revoked: None,
            first_used_at: None,
            application: None,
            predecessor: None,
            bundle: None,
        };
        self.record(certificate, None, by, now)
    }

    /// Ends the trust in those that issue no more and whose last certificate has ended (E5). How many.
    pub(super) fn retire_superseded(&self, now: Timestamp) -> Result<u64, CertifyError> {
        let _turn = self.turn.take();
        let all = self.ledger.authorities()?;
        let mut retired = 0;
        for of in all.iter().filter(|of| of.holds_at(now) && superseded(&all, of, now)) {
            let last = self.ledger.last_end(&of.id)?;
            if of.trusted_until.is_none() && last.is_none_or(|end| end <= now) {
                let authority = Box::new(Authority { trusted_until: Some(now), ..of.clone() });
                self.ledger.commit(Op::SetAuthority { authority, new: false }, Actor::Daemon, now)?;
                tracing::info!(authority = %of.id, "its last certificate has ended: it is trusted no more");
                retired += 1;
            }
        }
        Ok(retired)
    }

    /// The key of an embedded authority, seen to be the one that its certificate names.
    pub(super) fn signer(&self, of: &Authority) -> Result<Box<dyn AuthoritySigner>, CertifyError> {
        let signer = self.keys.signer(&of.id, of.form)?;
        let signer = signer.ok_or_else(|| AuthorityError::NoKey(of.id.clone()))?;
        let fits = match signer.public() {
            AuthorityKey::X509(point) => {
                read_x509(&der(of)?)?.key() == Ok(x509::PublicKey::P384(point.clone()))
            }
            AuthorityKey::Openssh(key) => public_line(key) == of.certificate,
        };
        if fits { Ok(signer) } else { Err(AuthorityError::OtherKey(of.id.clone()).into()) }
    }
}

fn read_x509(der: &[u8]) -> Result<x509::Certificate, CertifyError> {
    x509::Certificate::from_der(der)
        .map_err(|error| CertifyError::Refused { code: error.code(), text: error.text(chrono_tz::UTC) })
}

/// DER, of PEM or as it is.
fn from_pem(bytes: &[u8]) -> Result<Vec<u8>, CertifyError> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains("-----BEGIN ")) else {
        return Ok(bytes.to_vec());
    };
    let block = text[text.find("-----BEGIN ").unwrap_or_default()..].trim_end();
    match der::pem::decode_vec(block.as_bytes()) {
        Ok(("CERTIFICATE", der)) => Ok(der),
        _ => Err(CertifyError::refused(
            "CERTIFICATE-MALFORMED",
            "証明書 1 枚の PEM か DER を指定してください。",
            "give one certificate, PEM (-----BEGIN CERTIFICATE-----) or DER",
        )),
    }
}
