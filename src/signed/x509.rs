//! X.509 certificates (RFC 5280): read, followed up to an authority that is trusted, and judged at a time. Functions of bytes.
//!
//! The path (signatures, periods, constraints, lists of revoked certificates) is `webpki`'s; what it does not look at, or tells
//! only in its own words, is judged here: strength, the end entity's key usage and purposes, whose it is.

mod revocation;

use std::time::Duration;

use der::asn1::{ObjectIdentifier, UintRef};
use der::{Decode as _, Encode as _};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    RequiredEkuNotFoundContext, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier};
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::model::escape::excerpt;
use crate::model::ids::Digest;
use crate::model::time::{SECOND, Timestamp};
use crate::signed::certificate::{CertificateError, Place, Weakness};
use crate::signed::sshsig::{RSA_BITS_MAX, RSA_BITS_MIN};

pub use revocation::RevocationList;

/// Most bytes of a certificate; what `webpki` reads.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// Most certificates beside the signer's that are looked at on the way to an authority.
pub const INTERMEDIATES_MAX: usize = 16;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const USER_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const EMAIL_PROTECTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4");
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// A digest that signatures are made over here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

/// How a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// RSA PKCS #1 v1.5.
    RsaPkcs1(Hash),
    /// RSA PSS (RFC 4056).
    RsaPss {
        /// Of the message, and of the mask.
        hash: Hash,
        /// Bytes of salt.
        salt: usize,
    },
    /// ECDSA.
    Ecdsa(Hash),
    /// Ed25519 (RFC 8419).
    Ed25519,
}

impl Scheme {
    /// As receipts name it, like SSH names its own.
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaPkcs1(Hash::Sha256) => "rsa-pkcs1-sha256",
            Self::RsaPkcs1(Hash::Sha384) => "rsa-pkcs1-sha384",
            Self::RsaPkcs1(Hash::Sha512) => "rsa-pkcs1-sha512",
            Self::RsaPss { hash: Hash::Sha256, .. } => "rsa-pss-sha256",
            Self::RsaPss { hash: Hash::Sha384, .. } => "rsa-pss-sha384",
            Self::RsaPss { hash: Hash::Sha512, .. } => "rsa-pss-sha512",
            Self::Ecdsa(Hash::Sha256) => "ecdsa-sha256",
            Self::Ecdsa(Hash::Sha384) => "ecdsa-sha384",
            Self::Ecdsa(Hash::Sha512) => "ecdsa-sha512",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// A key that is strong enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA: modulus and exponent, big-endian.
    Rsa {
        /// Modulus.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
    /// The point of P-256, uncompressed (SEC 1).
    P256(Vec<u8>),
    /// Of P-384.
    P384(Vec<u8>),
    /// Of P-521.
    P521(Vec<u8>),
    /// The 32 bytes of Ed25519.
    Ed25519(Vec<u8>),
}

/// A certificate that was read, and nothing more: it may be anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its bytes.
    pub der: Vec<u8>,
    /// Of its bytes.
    pub sha256: Digest,
    /// Who issued it, as DER.
    pub issuer_der: Vec<u8>,
    /// Who issued it (RFC 4514), printable, shortened.
    pub issuer: String,
    /// Its subject, as DER.
    pub subject_der: Vec<u8>,
    /// Its subject (RFC 4514), printable, shortened.
    pub subject: String,
    /// Serial number: the integer's bytes without leading zeros.
    pub serial: Vec<u8>,
    /// The subject key identifier, if it has one.
    pub key_id: Option<Vec<u8>>,
    /// The subject's common names.
    pub common_names: Vec<String>,
    /// The subject's UIDs.
    pub user_ids: Vec<String>,
    /// Holds from then on.
    pub not_before: Timestamp,
    /// Holds up to and including that second.
    pub not_after: Timestamp,
    inner: x509_cert::Certificate,
}

impl Certificate {
    /// Reads DER.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::Malformed);
        }
        Self::read(der).map_err(|_| CertificateError::Malformed)
    }

    fn read(der: &[u8]) -> der::Result<Self> {
        let inner = x509_cert::Certificate::from_der(der)?;
        let tbs = &inner.tbs_certificate;
        let texts = |oid| {
            let parts = tbs.subject.0.iter().flat_map(|rdn| rdn.0.iter());
            parts.filter(|part| part.oid == oid).filter_map(|part| text_of(&part.value)).collect()
        };
        let at = |time: x509_cert::time::Time| {
            Timestamp(
                i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX).saturating_mul(SECOND),
            )
        };
        let serial = tbs.serial_number.as_bytes();
        let key_id = tbs.get::<SubjectKeyIdentifier>()?.map(|(_, id)| id.0.as_bytes().to_vec());
        Ok(Self {
            der: der.to_vec(),
            sha256: Digest::of(der),
            issuer_der: tbs.issuer.to_der()?,
            issuer: excerpt(&tbs.issuer.to_string(), 120),
            subject_der: tbs.subject.to_der()?,
            subject: excerpt(&tbs.subject.to_string(), 120),
            serial: serial.iter().copied().skip_while(|b| *b == 0).collect(),
            key_id,
            common_names: texts(COMMON_NAME),
            user_ids: texts(USER_ID),
            not_before: at(tbs.validity.not_before),
            not_after: at(tbs.validity.not_after),
            inner,
        })
    }

    /// Whether it is an authority's.
    pub fn is_authority(&self) -> bool {
        let basic = self.inner.tbs_certificate.get::<BasicConstraints>();
        basic.is_ok_and(|basic| basic.is_some_and(|(_, basic)| basic.ca))
    }

    /// The serial number as lower-case hexadecimal digits.
    pub fn serial_hex(&self) -> String {
        hex::encode(&self.serial)
    }

    /// Its key, if that is strong enough (RSA of 2048 to 8192 bits, P-256, P-384, P-521, Ed25519).
    pub fn key(&self) -> Result<PublicKey, Weakness> {
        let spki = &self.inner.tbs_certificate.subject_public_key_info;
        strong_key(&spki.algorithm, spki.subject_public_key.raw_bytes())
    }

    /// What of the certificate itself is too weak: its key, or the signature on it.
    fn weakness(&self) -> Option<Weakness> {
        self.key().err().or_else(|| weak_signature(&self.inner.signature_algorithm))
    }

    /// Whether the signature fits the message by this certificate's key.
    pub fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        self.key().is_ok_and(|key| key.verifies(scheme, message, signature))
    }
}

impl PublicKey {
    /// Whether the signature fits the message by this key.
    pub fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        use webpki::aws_lc_rs as algs;
        if let (Scheme::RsaPss { hash, salt }, Self::Rsa { n, e }) = (scheme, self) {
            return verifies_pss(n, e, hash, salt, message, signature);
        }
        let algorithm = match (scheme, self) {
            (Scheme::RsaPkcs1(Hash::Sha256), Self::Rsa { .. }) => algs::RSA_PKCS1_2048_8192_SHA256,
            (Scheme::RsaPkcs1(Hash::Sha384), Self::Rsa { .. }) => algs::RSA_PKCS1_2048_8192_SHA384,
            (Scheme::RsaPkcs1(Hash::Sha512), Self::Rsa { .. }) => algs::RSA_PKCS1_2048_8192_SHA512,
            (Scheme::Ecdsa(Hash::Sha256), Self::P256(_)) => algs::ECDSA_P256_SHA256,
            (Scheme::Ecdsa(Hash::Sha384), Self::P256(_)) => algs::ECDSA_P256_SHA384,
            (Scheme::Ecdsa(Hash::Sha512), Self::P256(_)) => algs::ECDSA_P256_SHA512,
            (Scheme::Ecdsa(Hash::Sha256), Self::P384(_)) => algs::ECDSA_P384_SHA256,
            (Scheme::Ecdsa(Hash::Sha384), Self::P384(_)) => algs::ECDSA_P384_SHA384,
            (Scheme::Ecdsa(Hash::Sha512), Self::P384(_)) => algs::ECDSA_P384_SHA512,
            (Scheme::Ecdsa(Hash::Sha256), Self::P521(_)) => algs::ECDSA_P521_SHA256,
            (Scheme::Ecdsa(Hash::Sha384), Self::P521(_)) => algs::ECDSA_P521_SHA384,
            (Scheme::Ecdsa(Hash::Sha512), Self::P521(_)) => algs::ECDSA_P521_SHA512,
            (Scheme::Ed25519, Self::Ed25519(_)) => algs::ED25519,
            _ => return false,
        };
        algorithm.verify_signature(&self.bits(), message, signature).is_ok()
    }
}

/// PSS with whatever length of salt: OpenSSL's default is the longest that fits, `webpki` takes the digest's alone.
fn verifies_pss(n: &[u8], e: &[u8], hash: Hash, salt: usize, message: &[u8], signature: &[u8]) -> bool {
    use aws_lc_rs::signature as algs;
    let parameters = match hash {
        Hash::Sha256 => algs::RSA_PSS_2048_8192_SHA256,
        Hash::Sha384 => algs::RSA_PSS_2048_8192_SHA384,
        Hash::Sha512 => algs::RSA_PSS_2048_8192_SHA512,
    };
    let Ok(salt) = u16::try_from(salt) else { return false };
    let parameters = parameters.with_pss_salt_length(algs::RsaPssSaltLength::Custom(salt));
    algs::RsaPublicKeyComponents { n, e }.verify(&parameters, message, signature).is_ok()
}

/// The key, if it is strong enough; `bits` are the subject public key's.
pub fn strong_key(algorithm: &AlgorithmIdentifierOwned, bits: &[u8]) -> Result<PublicKey, Weakness> {
    match algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => strong_rsa(bits),
        "1.2.840.10045.2.1" => {
            let curve = algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
            let curve = curve.map(|oid| oid.to_string()).unwrap_or_default();
            match curve.as_str() {
                "1.2.840.10045.3.1.7" => Ok(PublicKey::P256(bits.to_vec())),
                "1.3.132.0.34" => Ok(PublicKey::P384(bits.to_vec())),
                "1.3.132.0.35" => Ok(PublicKey::P521(bits.to_vec())),
                _ => Err(Weakness::Curve { name: curve_name(&curve) }),
            }
        }
        "1.3.101.112" => Ok(PublicKey::Ed25519(bits.to_vec())),
        "1.2.840.10040.4.1" => Err(Weakness::Dsa),
        "1.3.101.113" => Err(Weakness::Curve { name: "Ed448".into() }),
        oid => Err(Weakness::Algorithm { name: oid.into() }),
    }
}

fn curve_name(oid: &str) -> String {
    match oid {
        "1.3.132.0.10" => "secp256k1".into(),
        "1.3.132.0.33" => "P-224".into(),
        "1.2.840.10045.3.1.1" => "P-192".into(),
        "1.3.36.3.3.2.8.1.1.7" => "brainpoolP256r1".into(),
        "1.3.36.3.3.2.8.1.1.11" => "brainpoolP384r1".into(),
        "1.3.36.3.3.2.8.1.1.13" => "brainpoolP512r1".into(),
        "" => "(unnamed)".into(),
        oid => oid.into(),
    }
}

fn strong_rsa(bits: &[u8]) -> Result<PublicKey, Weakness> {
    #[derive(der::Sequence)]
    struct Pkcs1<'a> {
        n: UintRef<'a>,
        e: UintRef<'a>,
    }
    let key = Pkcs1::from_der(bits).map_err(|_| Weakness::Algorithm { name: "RSA (unreadable)".into() })?;
    let (n, e) = (key.n.as_bytes(), key.e.as_bytes());
    let zeros = n.first().map_or(0, |first| first.leading_zeros());
    let size = u32::try_from(n.len()).unwrap_or(u32::MAX / 8).saturating_mul(8).saturating_sub(zeros);
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&size) {
        Ok(PublicKey::Rsa { n: n.to_vec(), e: e.to_vec() })
    } else {
        Err(Weakness::RsaSize { bits: size })
    }
}

/// Why a signature's algorithm is not taken, if it is not. The digest of RSA PSS is looked at where its parameters are read.
pub fn weak_signature(algorithm: &AlgorithmIdentifierOwned) -> Option<Weakness> {
    match algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.11"
        | "1.2.840.113549.1.1.12"
        | "1.2.840.113549.1.1.13"
        | "1.2.840.10045.4.3.2"
        | "1.2.840.10045.4.3.3"
        | "1.2.840.10045.4.3.4"
        | "1.3.101.112" => None,
        "1.2.840.113549.1.1.10" => pss(algorithm).err(),
        "1.2.840.113549.1.1.2" | "1.2.840.113549.1.1.4" => Some(Weakness::Md5),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" | "1.2.840.10045.4.1" => Some(Weakness::Sha1),
        "1.2.840.10040.4.3"
        | "2.16.840.1.101.3.4.3.1"
        | "2.16.840.1.101.3.4.3.2"
        | "2.16.840.1.101.3.4.3.3"
        | "2.16.840.1.101.3.4.3.4" => Some(Weakness::Dsa),
        "1.3.101.113" => Some(Weakness::Curve { name: "Ed448".into() }),
        oid => Some(Weakness::Algorithm { name: oid.into() }),
    }
}

/// What a signature's algorithm names by itself, as in certificates and requests.
pub fn scheme(algorithm: &AlgorithmIdentifierOwned) -> Result<Scheme, Weakness> {
    match algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.10" => pss(algorithm),
        "1.2.840.113549.1.1.11" => Ok(Scheme::RsaPkcs1(Hash::Sha256)),
        "1.2.840.113549.1.1.12" => Ok(Scheme::RsaPkcs1(Hash::Sha384)),
        "1.2.840.113549.1.1.13" => Ok(Scheme::RsaPkcs1(Hash::Sha512)),
        "1.2.840.10045.4.3.2" => Ok(Scheme::Ecdsa(Hash::Sha256)),
        "1.2.840.10045.4.3.3" => Ok(Scheme::Ecdsa(Hash::Sha384)),
        "1.2.840.10045.4.3.4" => Ok(Scheme::Ecdsa(Hash::Sha512)),
        "1.3.101.112" => Ok(Scheme::Ed25519),
        oid => Err(weak_signature(algorithm).unwrap_or(Weakness::Algorithm { name: excerpt(oid, 64) })),
    }
}

/// A digest by its object identifier.
pub fn hash(oid: &str) -> Result<Hash, Weakness> {
    match oid {
        "2.16.840.1.101.3.4.2.1" => Ok(Hash::Sha256),
        "2.16.840.1.101.3.4.2.2" => Ok(Hash::Sha384),
        "2.16.840.1.101.3.4.2.3" => Ok(Hash::Sha512),
        "1.3.14.3.2.26" => Err(Weakness::Sha1),
        "1.2.840.113549.2.5" | "1.2.840.113549.2.2" => Err(Weakness::Md5),
        oid => Err(Weakness::Algorithm { name: format!("digest {}", excerpt(oid, 64)) }),
    }
}

/// The parameters of RSA PSS (RFC 4055 section 3.1); message and mask must use the same digest.
pub fn pss(algorithm: &AlgorithmIdentifierOwned) -> Result<Scheme, Weakness> {
    /// Left out, each field means SHA-1 and 20 bytes.
    #[derive(der::Sequence)]
    struct Parameters {
        #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
        hash: Option<AlgorithmIdentifierOwned>,
        #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
        mask: Option<AlgorithmIdentifierOwned>,
        #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
        salt: Option<u32>,
        #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
        trailer: Option<u32>,
    }
    let odd = || Weakness::Algorithm { name: "RSA PSS (parameters)".into() };
    let parameters = algorithm.parameters.as_ref().ok_or(Weakness::Sha1)?;
    let parameters: Parameters = parameters.decode_as().map_err(|_| odd())?;
    let digest = hash(&parameters.hash.ok_or(Weakness::Sha1)?.oid.to_string())?;
    let mask = parameters.mask.ok_or(Weakness::Sha1)?;
    let mask_digest: AlgorithmIdentifierOwned =
        mask.parameters.as_ref().and_then(|p| p.decode_as().ok()).ok_or_else(odd)?;
    let is_mgf1 = mask.oid.to_string() == "1.2.840.113549.1.1.8";
    if !is_mgf1 || hash(&mask_digest.oid.to_string())? != digest || parameters.trailer.unwrap_or(1) != 1 {
        return Err(odd());
    }
    let salt = usize::try_from(parameters.salt.unwrap_or(20)).map_err(|_| odd())?;
    Ok(Scheme::RsaPss { hash: digest, salt })
}

/// A subject's text, in the string types of X.520; BMP strings are UTF-16.
fn text_of(value: &der::Any) -> Option<String> {
    use der::{Tag, Tagged as _};
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => String::from_utf8(bytes.to_vec()).ok(),
        Tag::TeletexString => bytes.is_ascii().then(|| String::from_utf8(bytes.to_vec()).ok())?,
        Tag::BmpString => {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok())?
        }
        _ => None,
    }
}

/// An authority that is trusted, as a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Its certificate.
    pub certificate: Certificate,
    /// Trusted from then on.
    pub from: Timestamp,
    /// Trusted until then, if there is an end besides its certificate's.
    pub until: Option<Timestamp>,
}

impl Anchor {
    fn holds_at(&self, at: Timestamp) -> bool {
        let (from, to) = (self.from.max(self.certificate.not_before), self.certificate.not_after);
        from <= at && at.0 < to.0.saturating_add(SECOND) && self.until.is_none_or(|until| at < until)
    }
}

/// A certificate as PEM.
pub fn pem(der: &[u8]) -> String {
    der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der).unwrap_or_default()
}

/// A list of revoked certificates as PEM.
pub fn list_pem(der: &[u8]) -> String {
    der::pem::encode_string("X509 CRL", der::pem::LineEnding::LF, der).unwrap_or_default()
}

/// What certificates are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// Authorities.
    pub anchors: &'a [Anchor],
    /// Lists of revoked certificates, of those authorities that have one. A certificate of another authority is not looked up.
    pub lists: &'a [&'a RevocationList],
    /// Whether a certificate must name a purpose (`clientAuth` or `emailProtection`); if not, one that names none is for any.
    pub purpose_required: bool,
}

/// The way from a certificate to an authority, sound at the time it was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Which of the anchors it ends at.
    pub anchor: usize,
    /// Certificates between, nearest first.
    pub intermediates: Vec<Vec<u8>>,
}

/// Follows a certificate to an authority at this time. `others` are certificates that came along.
pub fn verify(
    certificate: &Certificate,
    others: &[Vec<u8>],
    trust: &Trust<'_>,
    at: Timestamp,
) -> Result<Path, CertificateError> {
    if let Some(weakness) = certificate.weakness() {
        return Err(CertificateError::Weak { of: Place::Own, weakness });
    }
    require_purpose(certificate, trust.purpose_required)?;
    let usable = |anchor: &&Anchor| anchor.holds_at(at) && anchor.certificate.key().is_ok();
    let ders: Vec<CertificateDer<'_>> = trust
        .anchors
        .iter()
        .filter(usable)
        .map(|anchor| CertificateDer::from(anchor.certificate.der.as_slice()))
        .collect();
    let anchors: Vec<TrustAnchor<'_>> =
        ders.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    let others: Vec<CertificateDer<'_>> = others
        .iter()
        .filter(|der| **der != certificate.der && Certificate::from_der(der).is_ok())
        .take(INTERMEDIATES_MAX)
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let der = CertificateDer::from(certificate.der.as_slice());
    let why = |error| explain(error, certificate, &others, trust, at);
    let entity = EndEntityCert::try_from(&der).map_err(why)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(at.unix_seconds()));
    let sound = |path: &VerifiedPath<'_>| sound(path, certificate, trust, at, time);
    let path = entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &others,
            time,
            AnyPurpose,
            None,
            Some(&sound),
        )
        .map_err(why)?;
    let anchor = ends_at(&path, trust, at)
        .ok_or_else(|| CertificateError::Authority { issuer: certificate.issuer.clone() })?;
    let intermediates = path.intermediate_certificates().map(|c| c.der().as_ref().to_vec()).collect();
    Ok(Path { anchor, intermediates })
}

/// Which anchor a path ends at.
fn ends_at(path: &VerifiedPath<'_>, trust: &Trust<'_>, at: Timestamp) -> Option<usize> {
    trust.anchors.iter().position(|anchor| {
        let der = CertificateDer::from(anchor.certificate.der.as_slice());
        let found = webpki::anchor_from_trusted_cert(&der);
        anchor.holds_at(at) && found.is_ok_and(|found| found == *path.anchor())
    })
}

/// What is asked of a path beyond signatures, periods and constraints: its authorities may be for accounts, and no list revokes
/// anything on it. Another path may still be found when this is not.
fn sound(
    path: &VerifiedPath<'_>,
    certificate: &Certificate,
    trust: &Trust<'_>,
    at: Timestamp,
    time: UnixTime,
) -> Result<(), Error> {
    let anchor = ends_at(path, trust, at).ok_or(Error::UnknownIssuer)?;
    let ders: Vec<_> = path.intermediate_certificates().map(webpki::Cert::der).collect();
    let between = ders.iter().map(|der| Certificate::from_der(der).map_err(|_| Error::BadDer));
    let between = between.collect::<Result<Vec<_>, Error>>()?;
    let mut whole = vec![certificate];
    whole.extend(&between);
    whole.push(&trust.anchors[anchor].certificate);
    for authority in &whole[1..] {
        require_account_purpose(authority)?;
    }
    let lists =
        revocation::of_path(trust.lists, &whole, trust.anchors).ok_or(Error::UnknownRevocationStatus)?;
    let lists: Vec<_> = lists.iter().map(|list| &list.list).collect();
    let Ok(options) = RevocationOptionsBuilder::new(&lists) else { return Ok(()) };
    // Of an authority that has no list nothing is asked.
    let options = options
        .with_status_policy(UnknownStatusPolicy::Allow)
        .with_expiration_policy(ExpirationPolicy::Enforce)
        .build();
    let der = CertificateDer::from(certificate.der.as_slice());
    let entity = EndEntityCert::try_from(&der)?;
    let anchors = [path.anchor().clone()];
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    entity.verify_for_usage(algorithms, &anchors, &ders, time, AnyPurpose, Some(options), None).map(|_| ())
}

/// An authority that names purposes may certify for no others (RFC 5280 section 4.2.1.12, as it is used of authorities).
fn require_account_purpose(authority: &Certificate) -> Result<(), Error> {
    let purposes = authority.inner.tbs_certificate.get::<ExtendedKeyUsage>().map_err(|_| Error::BadDer)?;
    let Some((_, purposes)) = purposes else { return Ok(()) };
    if purposes.0.iter().any(|p| [CLIENT_AUTH, EMAIL_PROTECTION, ANY_PURPOSE].contains(p)) {
        return Ok(());
    }
    let arcs = |oid: &ObjectIdentifier| oid.arcs().filter_map(|arc| usize::try_from(arc).ok()).collect();
    Err(Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext {
        required: webpki::KeyUsage::client_auth(),
        present: purposes.0.iter().take(4).map(arcs).collect(),
    }))
}

/// For `webpki`: purposes are judged by [`require_purpose`] and [`require_account_purpose`].
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        for id in iter {
            id?;
        }
        Ok(())
    }
}

/// An account's certificate: not an authority's, for signing, for clients or mail.
fn require_purpose(certificate: &Certificate, required: bool) -> Result<(), CertificateError> {
    let tbs = &certificate.inner.tbs_certificate;
    let malformed = |_| CertificateError::Malformed;
    if tbs.get::<BasicConstraints>().map_err(malformed)?.is_some_and(|(_, basic)| basic.ca) {
        return Err(CertificateError::IsAuthority);
    }
    if let Some((_, usage)) = tbs.get::<KeyUsage>().map_err(malformed)?
        && !usage.digital_signature()
        && !usage.non_repudiation()
    {
        return Err(CertificateError::Purpose { of: "keyUsage: no digitalSignature".into() });
    }
    match tbs.get::<ExtendedKeyUsage>().map_err(malformed)? {
        None if required => Err(CertificateError::Purpose { of: "no extendedKeyUsage".into() }),
        None => Ok(()),
        Some((_, purposes)) if purposes.0.iter().any(|p| *p == CLIENT_AUTH || *p == EMAIL_PROTECTION) => {
            Ok(())
        }
        Some((_, purposes)) => {
            let names: Vec<String> =
                purposes.0.iter().take(4).map(|p| purpose_name(&p.to_string())).collect();
            Err(CertificateError::Purpose { of: names.join(", ") })
        }
    }
}

fn purpose_name(oid: &str) -> String {
    match oid {
        "1.3.6.1.5.5.7.3.1" => "serverAuth".into(),
        "1.3.6.1.5.5.7.3.3" => "codeSigning".into(),
        "1.3.6.1.5.5.7.3.8" => "timeStamping".into(),
        "1.3.6.1.5.5.7.3.9" => "OCSPSigning".into(),
        "2.5.29.37.0" => "anyExtendedKeyUsage".into(),
        oid => excerpt(oid, 64),
    }
}

/// `webpki`'s reason in ours.
fn explain(
    error: Error,
    certificate: &Certificate,
    others: &[CertificateDer<'_>],
    trust: &Trust<'_>,
    at: Timestamp,
) -> CertificateError {
    let issuer = certificate.issuer.clone();
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => {
            if at < certificate.not_before {
                CertificateError::NotYet { from: certificate.not_before }
            } else if at.0 >= certificate.not_after.0.saturating_add(SECOND) {
                CertificateError::Expired { since: certificate.not_after }
            } else {
                CertificateError::AuthorityPeriod { issuer }
            }
        }
        Error::CertRevoked => CertificateError::Revoked { since: None },
        Error::CrlExpired { .. }
        | Error::UnknownRevocationStatus
        | Error::IssuerNotCrlSigner
        | Error::InvalidCrlSignatureForPublicKey
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
            CertificateError::RevocationUnknown
        }
        Error::RequiredEkuNotFoundContext(authority) => {
            let name = |arcs: &Vec<usize>| {
                let arcs: Vec<_> = arcs.iter().map(ToString::to_string).collect();
                purpose_name(&arcs.join("."))
            };
            let names: Vec<_> = authority.present.iter().map(name).collect();
            CertificateError::Purpose { of: format!("CA: {}", names.join(", ")) }
        }
        Error::UnsupportedCriticalExtension => CertificateError::Extension,
        Error::CaUsedAsEndEntity => CertificateError::IsAuthority,
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => CertificateError::Malformed,
        error => {
            let between =
                || others.iter().filter_map(|der| Certificate::from_der(der).ok()).find_map(|c| c.weakness());
            let named = |anchor: &&Anchor| anchor.certificate.subject_der == certificate.issuer_der;
            let unused = trust.anchors.iter().find(named);
            match (error, unused) {
                (Error::UnknownIssuer, Some(anchor)) if !anchor.holds_at(at) => {
                    CertificateError::AuthorityPeriod { issuer }
                }
                (Error::UnknownIssuer, Some(anchor)) if anchor.certificate.key().is_err() => {
                    let weakness = anchor.certificate.key().err();
                    let weakness = weakness.unwrap_or(Weakness::Algorithm { name: "?".into() });
                    CertificateError::Weak { of: Place::Authority, weakness }
                }
                (Error::UnknownIssuer, _) => CertificateError::Authority { issuer },
                (error, _) => match between() {
                    Some(weakness) => CertificateError::Weak { of: Place::Authority, weakness },
                    None => CertificateError::Chain { reason: excerpt(&format!("{error:?}"), 80) },
                },
            }
        }
    }
}

#[cfg(test)]
#[path = "x509_tests.rs"]
mod tests;
