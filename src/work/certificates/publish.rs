//! `public/` of the data root: what anybody may have. Authorities' certificates and keys, their fingerprints, revocation
//! lists. All of it follows from the ledger, and is written anew whenever it may have changed.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::PoisonError;

use super::authorities::der;
use super::{Certificates, CertifyError};
use crate::model::authority::{Authority, Form, Origin};
use crate::model::certificate::{Revocation, RevocationReason};
use crate::model::ids::AuthorityId;
use crate::model::party::Actor;
use crate::model::time::{SECOND, Timestamp};
use crate::signed::crl;
use crate::signed::x509::Certificate as X509;
use crate::store::authorities::x509::{pem, revocation_list};
use crate::store::durable;
use crate::store::ledger::Op;

/// Fingerprints of all authorities that are trusted.
pub const FINGERPRINTS: &str = "fingerprints.txt";
/// Keys whose certificates were revoked as compromised: for the `RevokedKeys` of an SSH server, or for `ssh-keygen -k`.
pub const REVOKED_KEYS: &str = "revoked_keys";

/// Certificates that an alarm names.
const NAMED_MAX: usize = 20;

impl Certificates {
    /// Whether half of the revocation lists' time is over, or the clock was set back before it began.
    pub(super) fn publication_due(&self, now: Timestamp) -> bool {
        let half = self.policy.crl_holds.millis() / 2;
        self.turn.take().is_none_or(|next| next <= now || next.since(now) > half)
    }

    /// What the last published list of an authority revokes, if the authority signed it.
    fn published(&self, of: &Authority) -> Result<Vec<(String, Revocation)>, CertifyError> {
        let Ok(list) = std::fs::read(self.public.join(format!("{}.crl", of.id))) else {
            return Ok(Vec::new());
        };
        let certificate = X509::from_der(&der(of)?).ok();
        let own = certificate.is_some_and(|certificate| crl::is_signed_by(&list, &certificate));
        Ok(crl::entries(&list).filter(|_| own).unwrap_or_default())
    }

    /// A journal that was restored from a backup forgets what was revoked after it; the published lists, signed by the
    /// authorities themselves, do not. What they revoke and the journal does not is revoked again, and the operator is told.
    fn remember(&self, all: &[Authority], now: Timestamp) -> Result<(), CertifyError> {
        let mut again = Vec::new();
        for of in all.iter().filter(|of| of.origin == Origin::Embedded && of.form == Form::X509) {
            for (serial, revocation) in self.published(of)? {
                let known = self.ledger.certificate_by_serial(&of.id, &serial)?;
                let Some(known) = known.filter(|known| known.revoked.is_none() && known.not_after > now)
                else {
                    continue;
                };
                let (id, reason) = (known.id, revocation.reason);
                self.ledger.commit(Op::RevokeCertificate { id, reason }, Actor::Daemon, now)?;
                let revoked = self.certificate(id)?;
                for told in self.on_revoked.read().unwrap_or_else(PoisonError::into_inner).iter() {
                    told(&revoked, now);
                }
                again.push(id.to_string());
            }
        }
        if !again.is_empty() {
            let text = format!(
                "{} certificates were revoked by a published list and not in the journal, and were revoked again: {}. Was this \
                 data root restored from a backup? Then look for what else came after it",
                again.len(),
                again.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ")
            );
            tracing::error!(certificates = ?again, "revocations were forgotten, and are made again");
            self.alarms.raise("REVOCATIONS-LOST", &text, now);
        }
        Ok(())
    }

    /// Writes `public/`, with fresh revocation lists.
    pub fn publish(&self, now: Timestamp) -> Result<(), CertifyError> {
        let mut next = self.turn.take();
        let all = self.ledger.authorities()?;
        self.remember(&all, now)?;
        durable::make_folder(&self.public, 0o755)?;
        let trusted: Vec<&Authority> = all.iter().filter(|of| of.holds_at(now)).collect();
        for of in &trusted {
            let (name, content) = match of.form {
                Form::X509 => (format!("{}.crt", of.id), pem("CERTIFICATE", &der(of)?)),
                Form::Openssh => (format!("{}.pub", of.id), format!("{} {}\n", of.certificate, of.id)),
            };
            self.put(&name, content.as_bytes())?;
        }
        self.put(FINGERPRINTS, fingerprints_text(&trusted).as_bytes())?;
        // A clock that was set back must not take a list away.
        let own = all
            .iter()
            .filter(|of| of.origin == Origin::Embedded && of.trust_ends().is_none_or(|end| now < end));
        for of in own.clone().filter(|of| of.form == Form::X509) {
            self.write_list(of, now)?;
        }
        let mut revoked = Vec::new();
        for of in own {
            let compromised =
                self.ledger.certificates_revoked(&of.id, now)?.into_iter().filter(|certificate| {
                    certificate.revoked.is_some_and(|r| r.reason == RevocationReason::KeyCompromise)
                });
            revoked
                .extend(compromised.map(|certificate| format!("{} {}\n", certificate.key, certificate.id)));
        }
        revoked.sort();
        revoked.dedup();
        self.put(REVOKED_KEYS, revoked.concat().as_bytes())?;
        *next = Some(now.plus(self.policy.crl_holds.millis() / 2));
        Ok(())
    }

    /// A file that is so already is left alone.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), CertifyError> {
        let path = self.public.join(name);
        if std::fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        Ok(durable::replace(&path, bytes, 0o644)?)
    }

    /// `ID.crl` and `ID.crl.pem`: numbered, each list with a higher number than the one it replaces.
    fn write_list(&self, of: &Authority, now: Timestamp) -> Result<(), CertifyError> {
        let path = self.public.join(format!("{}.crl", of.id));
        let earlier = number_of(&path).map_or(0, |number| number.saturating_add(1));
        let number = earlier.max(u64::try_from(now.0).unwrap_or(0));
        let holds = self.policy.crl_holds.millis();
        // One that has ended stays listed once more, so that nobody misses it.
        let revoked = self.ledger.certificates_revoked(&of.id, now.plus(-holds))?;
        let mut entries: Vec<_> = revoked
            .iter()
            .filter_map(|certificate| Some((certificate.x509.as_ref()?, certificate.revoked?)))
            .filter(|(form, _)| form.authority == of.id)
            .map(|(form, revocation)| (form.serial.clone(), revocation))
            .collect();
        // Issued and revoked after the backup that this journal was restored from: it counts nowhere here, and stays revoked for others.
        for (serial, revocation) in self.published(of)? {
            if self.ledger.certificate_by_serial(&of.id, &serial)?.is_none() {
                entries.push((serial, revocation));
            }
        }
        let (this, next) = (now, now.plus(holds.max(SECOND)));
        let list = revocation_list(&der(of)?, self.signer(of)?.as_ref(), number, this, next, &entries)?;
        self.put(&format!("{}.crl.pem", of.id), pem("X509 CRL", &list).as_bytes())?;
        self.put(&format!("{}.crl", of.id), &list)
    }

    /// The revocation list of an authority as it was published last: number and bytes.
    pub fn list_of(&self, id: &AuthorityId) -> Option<(u64, Vec<u8>)> {
        let bytes = std::fs::read(self.public.join(format!("{id}.crl"))).ok()?;
        Some((crl::number(&bytes)?, bytes))
    }
}

fn number_of(path: &Path) -> Option<u64> {
    crl::number(&std::fs::read(path).ok()?)
}

/// One authority after the other, as people compare them: pairs of digits (X.509), or `SHA256:` (OpenSSH).
fn fingerprints_text(trusted: &[&Authority]) -> String {
    let mut text = String::new();
    for of in trusted {
        let _ = writeln!(text, "{} ({})", of.id, of.label);
        let _ = writeln!(text, "  SHA-256 {}", pairs(&of.sha256.to_string()));
        let _ = writeln!(text, "  SHA-1   {}", pairs(&of.sha1));
    }
    text
}

/// `AB:CD:...`
pub fn pairs(hex: &str) -> String {
    let bytes: Vec<String> =
        hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase()).collect();
    bytes.join(":")
}
