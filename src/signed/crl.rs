//! What a revocation list says of itself.

use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode as _, Encode as _};
use x509_cert::crl::CertificateList;
use x509_cert::time::Time;

use super::csr::signed_part;
use super::x509::{Certificate, scheme};
use crate::model::certificate::{Revocation, RevocationReason};
use crate::model::escape::excerpt;
use crate::model::time::{SECOND, Timestamp};

const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");

/// The number of a revocation list in DER (RFC 5280 section 5.2.3); none if it has none, or one that no 64 bits hold.
pub fn number(der: &[u8]) -> Option<u64> {
    let list = CertificateList::from_der(der).ok()?;
    let extensions = list.tbs_cert_list.crl_extensions?;
    let extension = extensions.iter().find(|extension| extension.extn_id == CRL_NUMBER)?;
    let bytes = UintRef::from_der(extension.extn_value.as_bytes()).ok()?;
    let mut wide = [0; 8];
    let at = wide.len().checked_sub(bytes.as_bytes().len())?;
    wide[at..].copy_from_slice(bytes.as_bytes());
    Some(u64::from_be_bytes(wide))
}

/// Whose a revocation list is and how long it holds (RFC 5280 section 5.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The authority's name, as DER.
    pub issuer_der: Vec<u8>,
    /// The same (RFC 4514), printable, shortened.
    pub issuer: String,
    /// It was made then.
    pub this_update: Timestamp,
    /// The next one comes by then.
    pub next_update: Option<Timestamp>,
}

/// What a revocation list in DER says of itself; none if it is none.
pub fn facts(der: &[u8]) -> Option<Facts> {
    let at = |time: Time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        Timestamp(seconds.saturating_mul(SECOND))
    };
    let list = CertificateList::from_der(der).ok()?.tbs_cert_list;
    Some(Facts {
        issuer_der: list.issuer.to_der().ok()?,
        issuer: excerpt(&list.issuer.to_string(), 120),
        this_update: at(list.this_update),
        next_update: list.next_update.map(at),
    })
}

/// What a revocation list in DER revokes: serial numbers in lower-case hexadecimal digits without leading zero bytes, and since
/// when and why (RFC 5280 section 5.3.1). None if it is no list.
pub fn entries(der: &[u8]) -> Option<Vec<(String, Revocation)>> {
    let list = CertificateList::from_der(der).ok()?.tbs_cert_list;
    let entry = |of: x509_cert::crl::RevokedCert| {
        let serial = hex::encode(of.serial_number.as_bytes());
        let serial = serial.trim_start_matches("00");
        let seconds = i64::try_from(of.revocation_date.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
        let extensions = of.crl_entry_extensions.unwrap_or_default();
        let code = extensions.iter().find(|extension| extension.extn_id == REASON_CODE);
        // An ENUMERATED of one byte.
        let code = code.and_then(|extension| extension.extn_value.as_bytes().last().copied());
        let reason = match code {
            Some(1) => RevocationReason::KeyCompromise,
            Some(3) => RevocationReason::AffiliationChanged,
            Some(4) => RevocationReason::Superseded,
            Some(5) => RevocationReason::CessationOfOperation,
            _ => RevocationReason::Unspecified,
        };
        (serial.to_owned(), Revocation { at: Timestamp(seconds.saturating_mul(SECOND)), reason })
    };
    Some(list.revoked_certificates.unwrap_or_default().into_iter().map(entry).collect())
}

/// Whether this authority signed the revocation list.
pub fn is_signed_by(der: &[u8], authority: &Certificate) -> bool {
    let Ok(list) = CertificateList::from_der(der) else { return false };
    let (Ok(scheme), Ok(signed)) = (scheme(&list.signature_algorithm), signed_part(der)) else {
        return false;
    };
    authority.verifies(scheme, signed, list.signature.raw_bytes())
}
