//! The files that a certificate's holder gets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::CertifyError;
use super::authorities::der;
use crate::model::authority::Authority;
use crate::model::card::BundleCard;
use crate::model::certificate::Certificate;
use crate::store::authorities::bundle::NewKey;
use crate::store::authorities::x509::pem;

/// A file that is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOut {
    /// A plain file name: `K0001.p12`.
    pub name: String,
    /// Its bytes; a private key in them is sealed under the certificate-issue password.
    pub bytes: Vec<u8>,
}

impl HandedOut {
    fn of(name: String, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name, bytes: bytes.into() }
    }
}

/// What is public: `K0001.crt` (PEM), `K0001-ca.crt` (its authority), `K0001-cert.pub` (OpenSSH: it belongs beside the
/// private key `K0001`), and `K0001.pub`.
pub fn certificate_files(of: &Certificate, authorities: &[Authority]) -> Vec<HandedOut> {
    let name = of.account.as_str();
    let mut files = Vec::new();
    if let Some(form) = &of.x509 {
        if let Ok(der) = BASE64.decode(&form.der) {
            files.push(HandedOut::of(format!("{name}.crt"), pem("CERTIFICATE", &der)));
        }
        let by = authorities.iter().find(|authority| authority.id == form.authority);
        if let Some(der) = by.and_then(|by| der(by).ok()) {
            files.push(HandedOut::of(format!("{name}-ca.crt"), pem("CERTIFICATE", &der)));
        }
    }
    if let Some(form) = &of.openssh {
        files.push(HandedOut::of(format!("{name}-cert.pub"), format!("{} {}\n", form.line, of.id)));
    }
    files.push(HandedOut::of(format!("{name}.pub"), format!("{} {}\n", of.key, of.id)));
    files
}

/// The private key, sealed: `K0001.p12`, and `K0001` for OpenSSH.
pub(super) fn sealed(
    key: &NewKey,
    of: &Certificate,
    authorities: &[Authority],
    password: &str,
) -> Result<Vec<HandedOut>, CertifyError> {
    let name = of.account.as_str();
    let mut files = Vec::new();
    if let Some(form) = &of.x509 {
        let certificate = BASE64.decode(&form.der).map_err(std::io::Error::other)?;
        let by = authorities.iter().find(|authority| authority.id == form.authority);
        let above = by.map(der).transpose()?;
        let bytes = key.p12(&format!("todoke {name}"), &certificate, above.as_slice(), password)?;
        files.push(HandedOut::of(format!("{name}.p12"), bytes));
    }
    if of.openssh.is_some() {
        let text = key.openssh(&of.id.to_string(), password)?;
        files.push(HandedOut::of(name.to_owned(), text.as_bytes()));
    }
    Ok(files)
}

pub(super) fn of_bundle(card: &BundleCard) -> Result<Vec<HandedOut>, CertifyError> {
    let file = |(name, content): &(String, String)| {
        let bytes = BASE64.decode(content).map_err(std::io::Error::other)?;
        Ok(HandedOut { name: name.clone(), bytes })
    };
    card.files.iter().map(file).collect()
}
