//! X.509: an authority's own certificate, accounts' certificates, revocation lists (RFC 5280). Values in, DER out.

use std::io;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    PublicKeyData, RevokedCertParams, SerialNumber, SignatureAlgorithm, SigningKey, date_time_ymd,
};

use super::{AuthorityError, AuthorityKey, AuthoritySigner, cannot};
use crate::model::certificate::{Revocation, RevocationReason};
use crate::model::ids::{AccountId, AuthorityId, InsurerCode};
use crate::model::time::{SECOND, Timestamp};
use crate::signed::x509::PublicKey;

/// Sixteen random bytes as a serial number: positive, and always of the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial([u8; 16]);

impl Serial {
    /// From random bytes.
    pub fn of(mut random: [u8; 16]) -> Self {
        random[0] = (random[0] & 0x7f) | 0x40;
        Self(random)
    }

    /// A fresh one.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        crate::store::keys::random(&mut bytes)?;
        Ok(Self::of(bytes))
    }

    /// As the ledger writes it.
    pub fn hex(self) -> String {
        hex::encode(self.0)
    }
}

/// What an account's certificate says.
#[derive(Debug, Clone, Copy)]
pub struct Entity<'a> {
    /// Its common name.
    pub account: &'a AccountId,
    /// Its organisation.
    pub insurer: &'a InsurerCode,
    /// Whose key it is.
    pub key: &'a PublicKey,
    /// Its serial number.
    pub serial: Serial,
    /// Holds from then on.
    pub not_before: Timestamp,
    /// Holds until then; the certificate itself names the second before.
    pub not_after: Timestamp,
    /// Where the revocation list is published, if anywhere.
    pub crl_url: Option<&'a str>,
}

struct Sign<'a>(&'a dyn AuthoritySigner);

impl PublicKeyData for Sign<'_> {
    fn der_bytes(&self) -> &[u8] {
        match self.0.public() {
            AuthorityKey::X509(point) => point,
            AuthorityKey::Openssh(_) => &[],
        }
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P384_SHA384
    }
}

impl SigningKey for Sign<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

struct Subject {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl Subject {
    fn of(key: &PublicKey) -> Self {
        let algorithm = match key {
            PublicKey::Rsa { .. } => &rcgen::PKCS_RSA_SHA256,
            PublicKey::P256(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
            PublicKey::P384(_) => &rcgen::PKCS_ECDSA_P384_SHA384,
            PublicKey::P521(_) => &rcgen::PKCS_ECDSA_P521_SHA512,
            PublicKey::Ed25519(_) => &rcgen::PKCS_ED25519,
        };
        Self { bytes: key.bits(), algorithm }
    }
}

impl PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// The certificate of an authority by itself: it signs certificates and lists, and no further authority.
pub fn authority(
    signer: &dyn AuthoritySigner,
    id: &AuthorityId,
    gateway: &str,
    serial: Serial,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<Vec<u8>, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name =
        name([(DnType::OrganizationName, gateway), (DnType::CommonName, id.as_str())]);
    params.serial_number = Some(SerialNumber::from_slice(&serial.0));
    (params.not_before, params.not_after) = (
        after(date_time_ymd(1970, 1, 1), not_before),
        after(date_time_ymd(1970, 1, 1), not_after.plus(-SECOND)),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let made = params.self_signed(&Sign(signer)).map_err(cannot("making an authority's certificate"))?;
    Ok(made.der().to_vec())
}

/// Certifies an account's key: for signing and for logging in (CMS tools ask for `emailProtection`), and for nothing else.
pub fn issue(
    authority: &[u8],
    signer: &dyn AuthoritySigner,
    entity: &Entity<'_>,
) -> Result<Vec<u8>, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name([
        (DnType::OrganizationName, entity.insurer.as_str()),
        (DnType::CommonName, entity.account.as_str()),
    ]);
    params.serial_number = Some(SerialNumber::from_slice(&entity.serial.0));
    params.not_before = after(date_time_ymd(1970, 1, 1), entity.not_before);
    params.not_after = after(date_time_ymd(1970, 1, 1), entity.not_after.plus(-SECOND));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::EmailProtection];
    params.use_authority_key_identifier_extension = true;
    params.crl_distribution_points =
        entity.crl_url.iter().map(|url| CrlDistributionPoint { uris: vec![(*url).to_owned()] }).collect();
    let made = params
        .signed_by(&Subject::of(entity.key), &issuer(authority, signer)?)
        .map_err(cannot("making a certificate"))?;
    Ok(made.der().to_vec())
}

/// The list of an authority's revoked certificates: serial numbers as the ledger writes them.
pub fn revocation_list(
    authority: &[u8],
    signer: &dyn AuthoritySigner,
    number: u64,
    this_update: Timestamp,
    next_update: Timestamp,
    revoked: &[(String, Revocation)],
) -> Result<Vec<u8>, AuthorityError> {
    let doing = "making a revocation list";
    let entry = |(serial, revocation): &(String, Revocation)| {
        let bytes = hex::decode(serial).map_err(cannot(doing))?;
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&bytes),
            revocation_time: after(date_time_ymd(1970, 1, 1), revocation.at),
            reason_code: reason(revocation.reason),
            invalidity_date: None,
        })
    };
    let list = CertificateRevocationListParams {
        this_update: after(date_time_ymd(1970, 1, 1), this_update),
        next_update: after(date_time_ymd(1970, 1, 1), next_update),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect::<Result<_, AuthorityError>>()?,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let made = list.signed_by(&issuer(authority, signer)?).map_err(cannot(doing))?;
    Ok(made.der().to_vec())
}

/// PEM, lines of 64 characters.
pub fn pem(label: &'static str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap_or_default()
}

/// RFC 5280 section 5.3.1: a reason that was not said stays away.
fn reason(reason: RevocationReason) -> Option<rcgen::RevocationReason> {
    match reason {
        RevocationReason::Unspecified => None,
        RevocationReason::KeyCompromise => Some(rcgen::RevocationReason::KeyCompromise),
        RevocationReason::AffiliationChanged => Some(rcgen::RevocationReason::AffiliationChanged),
        RevocationReason::Superseded => Some(rcgen::RevocationReason::Superseded),
        RevocationReason::CessationOfOperation => Some(rcgen::RevocationReason::CessationOfOperation),
    }
}

fn issuer<'a>(
    authority: &[u8],
    signer: &'a dyn AuthoritySigner,
) -> Result<Issuer<'static, Sign<'a>>, AuthorityError> {
    let der = rustls::pki_types::CertificateDer::from(authority);
    Issuer::from_ca_cert_der(&der, Sign(signer)).map_err(cannot("reading an authority's certificate"))
}

fn name<const N: usize>(parts: [(DnType, &str); N]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in parts {
        name.push(kind, value);
    }
    name
}

/// A calendar time of the library's own kind, to the second; `epoch` is 1970.
fn after<T: std::ops::Add<Duration, Output = T>>(epoch: T, at: Timestamp) -> T {
    epoch + Duration::from_secs(at.unix_seconds())
}
