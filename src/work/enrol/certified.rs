//! The authorities behind enrolment: what is applied for becomes a certificate.

use std::sync::Arc;

use super::{HandedOut, Issuer, PartyError};
use crate::model::application::{Application, Material};
use crate::model::certificate::RevocationReason;
use crate::model::ids::CertificateId;
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::work::certificates::{Certificates, Request, Terms};

/// Issues by the gateway's own authorities.
pub struct Certifier {
    /// They.
    pub certificates: Arc<Certificates>,
}

fn request<'a>(material: &'a Material, password: Option<&'a str>) -> Request<'a> {
    match material {
        Material::SshKey(line) => Request::SshKey(line),
        Material::Csr(text) => Request::Csr(text.as_bytes()),
        Material::P12 => Request::Bundle { password: password.unwrap_or_default(), keep: true },
    }
}

impl Issuer for Certifier {
    fn check(&self, material: &Material) -> Result<Option<String>, PartyError> {
        let key = Certificates::key_of(&request(material, None))?;
        Ok(key.map(|key| key.fingerprint(russh::keys::ssh_key::HashAlg::Sha256).to_string()))
    }

    fn issue(
        &self,
        of: &Application,
        password: Option<&str>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<CertificateId, PartyError> {
        let terms = Terms { application: Some(of.id), predecessor: of.predecessor, ..Terms::default() };
        let issued = self.certificates.issue(&of.account, request(&of.material, password), terms, by, now)?;
        Ok(issued.certificate.id)
    }

    fn revoke(
        &self,
        id: CertificateId,
        reason: RevocationReason,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), PartyError> {
        self.certificates.revoke(id, reason, by, now)?;
        Ok(())
    }

    fn files(&self, id: CertificateId) -> Result<Vec<HandedOut>, PartyError> {
        Ok(self.certificates.files(id)?)
    }

    fn forget(&self, id: CertificateId, by: &Actor, now: Timestamp) -> Result<(), PartyError> {
        Ok(self.certificates.forget_bundle(id, by, now)?)
    }
}
