//! OpenSSH certificates (PROTOCOL.certkeys): one rule for logins and for signatures, a function of values.
//!
//! The SSH library looks at a certificate's time and at whose key signed what. Whether its authority is trusted, its kind,
//! principals, options and strength are judged here.

use std::net::IpAddr;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, Certificate, HashAlg};

use crate::model::escape::excerpt;
use crate::model::ids::AccountId;
use crate::model::time::{SECOND, Timestamp};
use crate::signed::certificate::{CertificateError, Place, Weakness};
use crate::signed::sshsig::{self, SignatureError};

/// An authority of users that is trusted, as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAuthority {
    /// Its key.
    pub key: KeyData,
    /// Trusted from then on.
    pub from: Timestamp,
    /// Trusted until then, if there is an end.
    pub until: Option<Timestamp>,
}

/// What a certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A login from this address.
    Login(IpAddr),
    /// A signature, made who knows where: the option `source-address` is about logins.
    Signature,
}

/// Judges a certificate for an account at a time. Gives which of the authorities signed it.
pub fn verify(
    certificate: &Certificate,
    account: &AccountId,
    authorities: &[UserAuthority],
    usage: Use,
    at: Timestamp,
) -> Result<usize, CertificateError> {
    let weak = |of| move |weakness| CertificateError::Weak { of, weakness };
    strong_key(certificate.public_key()).map_err(weak(Place::Own))?;
    let signer = certificate.signature_key();
    let issuer = signer.fingerprint(HashAlg::Sha256).to_string();
    let Some(which) = authorities.iter().position(|authority| authority.key == *signer) else {
        return Err(CertificateError::Authority { issuer });
    };
    strong_key(signer).map_err(weak(Place::Authority))?;
    let algorithm = certificate.signature().algorithm();
    match (&algorithm, signer.algorithm()) {
        (Algorithm::Rsa { hash: None }, _) => return Err(weak(Place::Own)(Weakness::Sha1)),
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => {}
        (of_signature, of_key) if *of_signature == of_key => {}
        _ => return Err(CertificateError::Chain { reason: "signature algorithm".into() }),
    }
    if certificate.cert_type() != CertType::User {
        return Err(CertificateError::Purpose { of: "host certificate".into() });
    }
    // The one check of the signature that the library offers also asks for a time within the period: it is given one.
    if certificate.valid_after() >= certificate.valid_before() {
        return Err(CertificateError::Chain { reason: "empty period".into() });
    }
    certificate
        .validate_at(certificate.valid_after(), [&signer.fingerprint(HashAlg::Sha256)])
        .map_err(|_| CertificateError::Chain { reason: "signature".into() })?;
    let trusted = &authorities[which];
    if at < trusted.from || trusted.until.is_some_and(|until| until <= at) {
        return Err(CertificateError::AuthorityPeriod { issuer });
    }
    if certificate.valid_principals().is_empty() {
        return Err(CertificateError::NoPrincipals);
    }
    if !certificate.valid_principals().iter().any(|principal| principal == account.as_str()) {
        return Err(CertificateError::Account { account: account.clone() });
    }
    require_period(certificate, at)?;
    require_options(certificate, usage)?;
    Ok(which)
}

fn require_period(certificate: &Certificate, at: Timestamp) -> Result<(), CertificateError> {
    let time = |seconds: u64| Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(SECOND));
    let (from, until) = (time(certificate.valid_after()), time(certificate.valid_before()));
    if at < from {
        return Err(CertificateError::NotYet { from });
    }
    if at >= until {
        return Err(CertificateError::Expired { since: until });
    }
    Ok(())
}

/// Every critical option must be known; known is `source-address` alone.
fn require_options(certificate: &Certificate, usage: Use) -> Result<(), CertificateError> {
    for (name, value) in certificate.critical_options().iter() {
        if name != "source-address" {
            return Err(CertificateError::Option { name: excerpt(name, 64) });
        }
        let networks: Option<Vec<Network>> = value.split(',').map(Network::parse).collect();
        let Some(networks) = networks else {
            return Err(CertificateError::Option { name: format!("source-address={}", excerpt(value, 64)) });
        };
        if let Use::Login(from) = usage
            && !networks.iter().any(|network| network.holds(from))
        {
            return Err(CertificateError::Source { allowed: excerpt(value, 120) });
        }
    }
    Ok(())
}

fn strong_key(key: &KeyData) -> Result<(), Weakness> {
    match (sshsig::require_strong(key), key) {
        (Ok(()), _) => Ok(()),
        (Err(_), KeyData::Rsa(_)) => Err(Weakness::RsaSize { bits: sshsig::rsa_bits(key) }),
        (Err(_), KeyData::Dsa(_)) => Err(Weakness::Dsa),
        (Err(SignatureError::Weak { name }), _) => Err(Weakness::Algorithm { name }),
        (Err(_), _) => Err(Weakness::Algorithm { name: "?".into() }),
    }
}

/// `192.0.2.0/24`, `2001:db8::/32`, or one address.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        (bits <= all).then_some(Self { address, bits })
    }

    fn holds(&self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - self.bits;
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - self.bits;
                own.to_bits().checked_shr(shift) == other.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[path = "sshcert_tests.rs"]
mod tests;
