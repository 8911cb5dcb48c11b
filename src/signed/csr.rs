//! Certificate requests (PKCS #10, RFC 2986): read, and shown to be made by who holds the key. Only the key is taken from one;
//! whose it is, and what the certificate says, is not the requester's to write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::AnyRef;
use der::{Decode as _, Reader as _, SliceReader};
use x509_cert::request::CertReq;

use crate::model::escape::excerpt;
use crate::model::finding::Text;
use crate::signed::certificate::Weakness;
use crate::signed::secrets;
use crate::signed::x509::{self, PublicKey};

/// Most bytes of a request; one over RSA with 8192 bits has about 2 KiB.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.code(), self.text().en)]
pub enum RequestError {
    /// Nothing in it.
    Empty,
    /// Longer than [`REQUEST_BYTES_MAX`].
    TooLarge,
    /// It holds a private key.
    Private,
    /// It is something else, as it says itself.
    Other {
        /// Its PEM label; printable, shortened.
        label: String,
    },
    /// It cannot be read.
    Malformed,
    /// Key or signature are too weak.
    Weak(Weakness),
    /// Its signature does not fit: it was changed, or made by who does not hold the key.
    Mismatch,
}

impl RequestError {
    /// The stable code that messages lead with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "CSR-EMPTY",
            Self::TooLarge => "CSR-SIZE",
            Self::Private => "CSR-PRIVATE-KEY",
            Self::Other { .. } => "CSR-OTHER",
            Self::Malformed => "CSR-MALFORMED",
            Self::Weak(weakness) => weakness.code(),
            Self::Mismatch => "CSR-SIGNATURE",
        }
    }

    /// What was wrong and what to do next.
    pub fn text(&self) -> Text {
        const AGAIN: &str =
            "「openssl req -new -key 鍵 -subj /CN=アカウント -out renew.csr」で作り直してください。";
        const AGAIN_EN: &str = "Make it again: `openssl req -new -key KEY -subj /CN=ACCOUNT -out renew.csr`.";
        match self {
            Self::Empty => Text::new(
                format!("証明書要求(CSR)が空です。{AGAIN}"),
                format!("The certificate request is empty. {AGAIN_EN}"),
            ),
            Self::TooLarge => Text::new(
                format!("証明書要求(CSR)が大きすぎます(16 KiB まで)。{AGAIN}"),
                format!("The certificate request is too large (at most 16 KiB). {AGAIN_EN}"),
            ),
            Self::Private => Text::new(
                "これは秘密鍵です。秘密鍵は送らず、証明書要求(CSR)を送ってください。この鍵は外に出たため、新しい鍵を作り直してください。",
                "This is a private key. Never send it; send the certificate request. Since this key has left its owner, make a new one.",
            ),
            Self::Other { label } => Text::new(
                format!("これは証明書要求(CSR)ではなく「{label}」です。{AGAIN}"),
                format!("This is no certificate request but a {label:?}. {AGAIN_EN}"),
            ),
            Self::Malformed => Text::new(
                format!("証明書要求(CSR)を読み取れません(PEM か DER の PKCS #10 が必要です)。{AGAIN}"),
                format!(
                    "The certificate request cannot be read (it must be PKCS #10, PEM or DER). {AGAIN_EN}"
                ),
            ),
            Self::Weak(weakness) => {
                let (name, instead) = (weakness.name(), weakness.instead());
                Text::new(
                    format!(
                        "証明書要求(CSR)の「{name}」は受け付けていません。{}で作り直してください。",
                        instead.ja
                    ),
                    format!(
                        "The certificate request uses {name}, which is not accepted. Use {}.",
                        instead.en
                    ),
                )
            }
            Self::Mismatch => Text::new(
                format!(
                    "証明書要求(CSR)の署名が合いません。途中で変わったか、別の鍵で署名されています。{AGAIN}"
                ),
                format!(
                    "The signature of the certificate request does not fit: it was changed, or signed with another key. {AGAIN_EN}"
                ),
            ),
        }
    }
}

/// Reads a request in PEM or DER and checks that the key in it signed it; gives the key.
pub fn read(bytes: &[u8]) -> Result<PublicKey, RequestError> {
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(RequestError::TooLarge);
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(RequestError::Empty);
    }
    if secrets::private_key(bytes).is_some() {
        return Err(RequestError::Private);
    }
    let der = match std::str::from_utf8(bytes).map(|text| text.trim_start_matches('\u{feff}').trim()) {
        Ok(text) if text.contains("-----BEGIN ") => from_pem(text)?,
        _ => bytes.to_vec(),
    };
    let request = CertReq::from_der(&der).map_err(|_| RequestError::Malformed)?;
    let spki = &request.info.public_key;
    let key =
        x509::strong_key(&spki.algorithm, spki.subject_public_key.raw_bytes()).map_err(RequestError::Weak)?;
    let scheme = x509::scheme(&request.algorithm).map_err(RequestError::Weak)?;
    let signed = signed_part(&der).map_err(|_| RequestError::Malformed)?;
    if !key.verifies(scheme, signed, request.signature.raw_bytes()) {
        return Err(RequestError::Mismatch);
    }
    // The signature would not fit a key that is none, but the SSH form must exist as well.
    if key.to_ssh().is_none() { Err(RequestError::Malformed) } else { Ok(key) }
}

/// One PEM block; text around it (`openssl req -text`) is let pass.
fn from_pem(text: &str) -> Result<Vec<u8>, RequestError> {
    let block = &text[text.find("-----BEGIN ").unwrap_or_default()..];
    let label = block["-----BEGIN ".len()..].split("-----").next().unwrap_or_default();
    if !["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"].contains(&label) {
        return Err(RequestError::Other { label: excerpt(label, 64) });
    }
    let end = format!("-----END {label}-----");
    let block = block.find(&end).map(|at| &block[..at + end.len()]).ok_or(RequestError::Malformed)?;
    // The reader of PEM wants lines as RFC 7468 has them; tools write others.
    let body = block.lines().filter(|line| !line.starts_with("-----"));
    let body: String = body.flat_map(str::chars).filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).map_err(|_| RequestError::Malformed)
}

/// The first element, as it was written: what the signature is over.
pub(super) fn signed_part(der: &[u8]) -> der::Result<&[u8]> {
    let outer = AnyRef::from_der(der)?;
    SliceReader::new(outer.value())?.tlv_bytes()
}

#[cfg(test)]
#[path = "csr_tests.rs"]
mod tests;
