//! What a revocation list says of itself.

use der::Decode as _;
use der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::crl::CertificateList;

const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");

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
