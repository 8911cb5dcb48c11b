//! CMS (RFC 5652): `SHA256SUMS.p7s`, a detached signature as `openssl cms -sign -binary`, `openssl smime -sign -binary` and
//! `certtool --p7-detached-sign` make it, in DER, BER or PEM.
//!
//! Only the mathematics is here: that a signature fits the content by the certificate that it names. Whose that is, and
//! whether it counts, is for [`super::x509`] and the ledger to say. What else the message carries (lists, unsigned
//! attributes) is left alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::signed_data::{SignerIdentifier, SignerInfo};
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Encode as _};

use crate::model::escape::excerpt;
use crate::model::finding::Text;
use crate::signed::ber::{self, Element};
use crate::signed::certificate::Weakness;
use crate::signed::manifest::looks_utf16;
use crate::signed::x509::{self, Certificate, Hash, Scheme};

/// Most bytes of a CMS signature: a chain of three with RSA-8192 keys in PEM is half of it.
pub const CMS_BYTES_MAX: usize = 64 * 1024;
/// Most certificates in it.
pub const CERTIFICATES_MAX: usize = 16;
/// Most signers in it.
pub const SIGNERS_MAX: usize = 8;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const EXPLICIT_0: u8 = 0xa0;

/// Why a CMS signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", self.code(), self.text().en)]
pub enum CmsError {
    /// No byte.
    Empty,
    /// Longer than [`CMS_BYTES_MAX`].
    TooLarge,
    /// UTF-16 or with a byte order mark, as PowerShell's `>` writes PEM.
    Encoding,
    /// A mail (S/MIME), which is what `openssl` writes without `-outform`.
    Smime,
    /// An SSH signature under the name of a CMS signature.
    Sshsig,
    /// No CMS in DER or PEM.
    Malformed,
    /// CMS of another type than signed data.
    NotSigned,
    /// The content is inside; it must lie beside.
    Attached,
    /// More certificates or signers than are looked at.
    Bounds,
    /// Nobody signed.
    NoSigner,
    /// The signer's certificate is neither inside nor known.
    NoCertificate,
    /// The signed attributes are not those of a signature over data.
    Attributes,
    /// Too weak.
    Weak(Weakness),
    /// The content's digest is another.
    Mismatch,
    /// The digest is of the content with line ends converted: signed without `-binary`.
    Text,
    /// The signature does not fit by the signer's certificate.
    Signature,
    /// Several signed; exactly one of them must be the account, with a certificate that counts.
    Signers {
        /// How many are the account's.
        own: usize,
    },
}

impl CmsError {
    /// The stable code that messages lead with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "CMS-EMPTY",
            Self::TooLarge => "CMS-SIZE",
            Self::Encoding => "CMS-ENCODING",
            Self::Smime => "CMS-SMIME",
            Self::Sshsig => "CMS-SSHSIG",
            Self::Malformed => "CMS-MALFORMED",
            Self::NotSigned => "CMS-TYPE",
            Self::Attached => "CMS-ATTACHED",
            Self::Bounds => "CMS-BOUNDS",
            Self::NoSigner => "CMS-NO-SIGNER",
            Self::NoCertificate => "CMS-NO-CERTIFICATE",
            Self::Attributes => "CMS-ATTRIBUTES",
            Self::Weak(weakness) => weakness.code(),
            Self::Mismatch => "CMS-MISMATCH",
            Self::Text => "CMS-TEXT",
            Self::Signature => "CMS-SIGNATURE",
            Self::Signers { .. } => "CMS-SIGNERS",
        }
    }

    /// What was wrong and what to do next.
    pub fn text(&self) -> Text {
        const AGAIN: &str = "「openssl cms -sign -binary -in SHA256SUMS -signer 証明書 -inkey 鍵 -outform DER -out SHA256SUMS.p7s」";
        const AGAIN_EN: &str = "`openssl cms -sign -binary -in SHA256SUMS -signer CERT -inkey KEY -outform DER -out SHA256SUMS.p7s`";
        let again = |ja: &str, en: &str| {
            Text::new(
                format!("{ja}{AGAIN}で作り直してください。"),
                format!("{en} Make it again with {AGAIN_EN}."),
            )
        };
        match self {
            Self::Empty => again("SHA256SUMS.p7s が空です。", "SHA256SUMS.p7s is empty."),
            Self::TooLarge => again(
                "SHA256SUMS.p7s が大きすぎます(64 KiB まで)。",
                "SHA256SUMS.p7s is too large (at most 64 KiB).",
            ),
            Self::Encoding => again(
                "SHA256SUMS.p7s が UTF-16 か BOM 付きです。PowerShell の「>」は使わず、",
                "SHA256SUMS.p7s is UTF-16 or has a byte order mark; do not use PowerShell's `>`.",
            ),
            Self::Smime => again(
                "SHA256SUMS.p7s が S/MIME のメール形式です。-outform DER(または PEM)を付けて、",
                "SHA256SUMS.p7s is an S/MIME mail; -outform DER (or PEM) is missing.",
            ),
            Self::Sshsig => Text::new(
                "SHA256SUMS.p7s の中身は SSH の署名です。ファイル名を SHA256SUMS.sig に変えて送り直してください。",
                "SHA256SUMS.p7s holds an SSH signature. Rename it to SHA256SUMS.sig and send it again.",
            ),
            Self::Malformed => again(
                "SHA256SUMS.p7s を CMS(DER か PEM)として読み取れません。バイナリモードで送っているか確かめ、",
                "SHA256SUMS.p7s cannot be read as CMS in DER or PEM; see that it is sent in binary mode.",
            ),
            Self::NotSigned => again(
                "SHA256SUMS.p7s は署名ではありません(暗号化など、別の種類の CMS です)。",
                "SHA256SUMS.p7s is CMS of another type than a signature.",
            ),
            Self::Attached => again(
                "署名の中に内容が入っています。-nodetach や -stream を付けずに、",
                "The content is inside the signature; leave -nodetach and -stream out.",
            ),
            Self::Bounds => again(
                "証明書(16 まで)か署名者(8 まで)が多すぎます。",
                "There are too many certificates (at most 16) or signers (at most 8).",
            ),
            Self::NoSigner => again("署名者がありません。", "Nobody signed it."),
            Self::NoCertificate => again(
                "署名者の証明書が入っていません。-nocerts を付けずに、",
                "The signer's certificate is not inside; leave -nocerts out.",
            ),
            Self::Attributes => again(
                "署名属性(contentType、messageDigest)が正しくありません。",
                "Its signed attributes (contentType, messageDigest) are not as they must be.",
            ),
            Self::Mismatch => again(
                "署名が SHA256SUMS の内容と合いません。署名したあとに SHA256SUMS が変わったか、別のファイルの署名です。",
                "The signature does not fit SHA256SUMS, which changed after signing, or it is another file's.",
            ),
            Self::Text => again(
                "改行を変換した内容に署名されています。-binary を付けて、",
                "The signature was made over converted line ends; -binary is missing.",
            ),
            Self::Signature => again(
                "署名が証明書の鍵と合いません。証明書と鍵の組み合わせを確かめ、",
                "The signature does not fit the certificate's key; see that certificate and key belong together.",
            ),
            Self::Weak(weakness) => {
                let (name, instead) = (weakness.name(), weakness.instead());
                Text::new(
                    format!(
                        "署名の方式「{name}」は弱いか未対応のため、受け付けていません。{}で署名し直してください(openssl cms では -md sha256)。",
                        instead.ja
                    ),
                    format!(
                        "The signature uses {name}, which is too weak or not known here. Sign again with {} (openssl cms: -md sha256).",
                        instead.en
                    ),
                )
            }
            Self::Signers { own: 0 } => Text::new(
                "複数の署名のうち、このアカウントの証明書によるものがありません。アカウントの証明書でも署名してください。",
                "None of the several signatures is by this account's certificate. Sign with the account's certificate too.",
            ),
            Self::Signers { .. } => Text::new(
                "このアカウントの証明書による署名が複数あります。1つにして作り直してください。",
                "Several signatures are by this account's certificates. Keep one of them.",
            ),
        }
    }
}

/// A CMS signature that was read; nothing of it is proven.
#[derive(Debug, Clone)]
pub struct CmsSignature {
    /// The certificates that came along, DER.
    pub certificates: Vec<Vec<u8>>,
    signers: Vec<SignerInfo>,
}

/// A signer whose signature fits: who holds this certificate's key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmsSigner {
    /// The certificate.
    pub certificate: Certificate,
    /// How it was signed.
    pub scheme: Scheme,
}

impl CmsSignature {
    /// Reads DER, BER or PEM.
    pub fn read(bytes: &[u8]) -> Result<Self, CmsError> {
        let plain = ber::plain(&unarmored(bytes)?).ok_or(CmsError::Malformed)?;
        let [info] = parts(&plain)?;
        let [kind, content] = parts(inside(&info, SEQUENCE)?)?;
        if oid(&kind)? != SIGNED_DATA {
            return Err(CmsError::NotSigned);
        }
        let [data] = parts(inside(&content, EXPLICIT_0)?)?;
        let fields = ber::elements(inside(&data, SEQUENCE)?).ok_or(CmsError::Malformed)?;
        // version, digestAlgorithms, encapContentInfo, [0] certificates?, [1] crls?, signerInfos
        let (Some(encapsulated), Some(signers)) = (fields.get(2), fields.last()) else {
            return Err(CmsError::Malformed);
        };
        require_detached(encapsulated)?;
        let certificates = match fields.get(3) {
            Some(set) if set.tag == EXPLICIT_0 => ber::elements(set.content).ok_or(CmsError::Malformed)?,
            _ => Vec::new(),
        };
        let signers = ber::elements(inside(signers, SET)?).ok_or(CmsError::Malformed)?;
        if certificates.len() > CERTIFICATES_MAX || signers.len() > SIGNERS_MAX {
            return Err(CmsError::Bounds);
        }
        if signers.is_empty() {
            return Err(CmsError::NoSigner);
        }
        let signers = signers.iter().map(|signer| SignerInfo::from_der(signer.whole));
        Ok(Self {
            // Certificates in other forms (attribute certificates) have other tags.
            certificates: certificates
                .iter()
                .filter(|certificate| certificate.tag == SEQUENCE)
                .map(|certificate| certificate.whole.to_vec())
                .collect(),
            signers: signers.collect::<Result<_, _>>().map_err(|_| CmsError::Malformed)?,
        })
    }

    /// How many signed.
    pub fn signers(&self) -> usize {
        self.signers.len()
    }

    /// Whether this one's signature fits the content, by the certificate it names: among those that came along, or those that
    /// are known of the account. `at` counts from 0.
    pub fn verify(&self, at: usize, content: &[u8], known: &[Vec<u8>]) -> Result<CmsSigner, CmsError> {
        let signer = self.signers.get(at).ok_or(CmsError::NoSigner)?;
        let certificate = self.certificate_of(signer, known)?;
        certificate.key().map_err(CmsError::Weak)?;
        let scheme = scheme(signer)?;
        let signed = match &signer.signed_attrs {
            Some(attributes) => {
                require_content(signer, attributes, content)?;
                attributes.to_der().map_err(|_| CmsError::Malformed)?
            }
            None => content.to_vec(),
        };
        if !certificate.verifies(scheme, &signed, signer.signature.as_bytes()) {
            let direct = signer.signed_attrs.is_none();
            let text =
                direct && certificate.verifies(scheme, &with_crlf(content), signer.signature.as_bytes());
            return Err(if text { CmsError::Text } else { CmsError::Signature });
        }
        Ok(CmsSigner { certificate, scheme })
    }

    fn certificate_of(&self, signer: &SignerInfo, known: &[Vec<u8>]) -> Result<Certificate, CmsError> {
        let all = self.certificates.iter().chain(known);
        let mut read = all.filter_map(|der| Certificate::from_der(der).ok());
        let found = match &signer.sid {
            SignerIdentifier::IssuerAndSerialNumber(sid) => {
                let issuer = sid.issuer.to_der().map_err(|_| CmsError::Malformed)?;
                let serial = sid.serial_number.as_bytes();
                let serial: Vec<u8> = serial.iter().copied().skip_while(|b| *b == 0).collect();
                read.find(|certificate| certificate.issuer_der == issuer && certificate.serial == serial)
            }
            SignerIdentifier::SubjectKeyIdentifier(id) => {
                read.find(|certificate| certificate.key_id.as_deref() == Some(id.0.as_bytes()))
            }
        };
        found.ok_or(CmsError::NoCertificate)
    }
}

/// DER or BER out of whatever the file is.
fn unarmored(bytes: &[u8]) -> Result<Vec<u8>, CmsError> {
    if bytes.is_empty() {
        return Err(CmsError::Empty);
    }
    if bytes.len() > CMS_BYTES_MAX {
        return Err(CmsError::TooLarge);
    }
    if bytes.starts_with(&[SEQUENCE]) {
        return Ok(bytes.to_vec());
    }
    if bytes.starts_with(b"\xef\xbb\xbf") || looks_utf16(bytes) {
        return Err(CmsError::Encoding);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CmsError::Malformed)?.trim();
    if text.is_empty() {
        return Err(CmsError::Empty);
    }
    if text.starts_with("-----BEGIN SSH SIGNATURE-----") {
        return Err(CmsError::Sshsig);
    }
    let head = text.get(..200).unwrap_or(text).to_ascii_lowercase();
    if head.contains("mime-version:") || head.contains("content-type:") {
        return Err(CmsError::Smime);
    }
    let body = ["CMS", "PKCS7"].iter().find_map(|label| {
        text.strip_prefix(&format!("-----BEGIN {label}-----"))?
            .strip_suffix(&format!("-----END {label}-----"))
    });
    let body: String =
        body.ok_or(CmsError::Malformed)?.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).map_err(|_| CmsError::Malformed)
}

/// Exactly so many elements.
fn parts<const N: usize>(bytes: &[u8]) -> Result<[Element<'_>; N], CmsError> {
    let all = ber::elements(bytes).ok_or(CmsError::Malformed)?;
    all.try_into().map_err(|_| CmsError::Malformed)
}

fn inside<'a>(element: &Element<'a>, tag: u8) -> Result<&'a [u8], CmsError> {
    if element.tag == tag { Ok(element.content) } else { Err(CmsError::Malformed) }
}

fn oid(element: &Element<'_>) -> Result<ObjectIdentifier, CmsError> {
    inside(element, OID)?;
    ObjectIdentifier::from_der(element.whole).map_err(|_| CmsError::Malformed)
}

/// The content's type is data, and the content is not here.
fn require_detached(encapsulated: &Element<'_>) -> Result<(), CmsError> {
    let fields = ber::elements(inside(encapsulated, SEQUENCE)?).ok_or(CmsError::Malformed)?;
    let (kind, content) = match fields.as_slice() {
        [kind] => (kind, None),
        [kind, content] => (kind, Some(content)),
        _ => return Err(CmsError::Malformed),
    };
    if oid(kind)? != DATA {
        return Err(CmsError::NotSigned);
    }
    if content.is_some() { Err(CmsError::Attached) } else { Ok(()) }
}

/// How the signer says that it signed. The identifier `rsaEncryption` means PKCS #1 v1.5 with the digest named apart.
fn scheme(signer: &SignerInfo) -> Result<Scheme, CmsError> {
    let algorithm = &signer.signature_algorithm;
    let named = |digest: Hash| {
        let of_signer = x509::hash(&signer.digest_alg.oid.to_string()).map_err(CmsError::Weak)?;
        if of_signer == digest { Ok(digest) } else { Err(CmsError::Attributes) }
    };
    let digest = || x509::hash(&signer.digest_alg.oid.to_string()).map_err(CmsError::Weak);
    match algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => Ok(Scheme::RsaPkcs1(digest()?)),
        "1.2.840.113549.1.1.11" => Ok(Scheme::RsaPkcs1(named(Hash::Sha256)?)),
        "1.2.840.113549.1.1.12" => Ok(Scheme::RsaPkcs1(named(Hash::Sha384)?)),
        "1.2.840.113549.1.1.13" => Ok(Scheme::RsaPkcs1(named(Hash::Sha512)?)),
        "1.2.840.113549.1.1.10" => {
            let scheme = x509::pss(algorithm).map_err(CmsError::Weak)?;
            if let Scheme::RsaPss { hash, .. } = scheme {
                named(hash)?;
            }
            Ok(scheme)
        }
        // Some tools name the key's algorithm here.
        "1.2.840.10045.2.1" => Ok(Scheme::Ecdsa(digest()?)),
        "1.2.840.10045.4.3.2" => Ok(Scheme::Ecdsa(named(Hash::Sha256)?)),
        "1.2.840.10045.4.3.3" => Ok(Scheme::Ecdsa(named(Hash::Sha384)?)),
        "1.2.840.10045.4.3.4" => Ok(Scheme::Ecdsa(named(Hash::Sha512)?)),
        "1.3.101.112" => {
            digest()?;
            Ok(Scheme::Ed25519)
        }
        other => Err(CmsError::Weak(match x509::weak_signature(algorithm) {
            Some(weakness) => weakness,
            None => Weakness::Algorithm { name: excerpt(other, 64) },
        })),
    }
}

/// The signed attributes are about data with this content (RFC 5652 section 11).
fn require_content(
    signer: &SignerInfo,
    attributes: &cms::signed_data::SignedAttributes,
    content: &[u8],
) -> Result<(), CmsError> {
    let one = |oid| {
        let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
        match (found.next(), found.next()) {
            (Some(attribute), None) if attribute.values.len() == 1 => attribute.values.get(0),
            _ => None,
        }
    };
    let kind = one(CONTENT_TYPE).and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
    if kind != Some(DATA) {
        return Err(CmsError::Attributes);
    }
    let said = one(MESSAGE_DIGEST).ok_or(CmsError::Attributes)?;
    let said = said.decode_as::<OctetStringRef<'_>>().map_err(|_| CmsError::Attributes)?;
    let hash = x509::hash(&signer.digest_alg.oid.to_string()).map_err(CmsError::Weak)?;
    if said.as_bytes() == digest(hash, content) {
        Ok(())
    } else if said.as_bytes() == digest(hash, &with_crlf(content)) {
        Err(CmsError::Text)
    } else {
        Err(CmsError::Mismatch)
    }
}

fn digest(hash: Hash, content: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    match hash {
        Hash::Sha256 => sha2::Sha256::digest(content).to_vec(),
        Hash::Sha384 => sha2::Sha384::digest(content).to_vec(),
        Hash::Sha512 => sha2::Sha512::digest(content).to_vec(),
    }
}

/// What is signed when a tool takes the content for text.
fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 32);
    let mut last = 0;
    for byte in content {
        if *byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(*byte);
        last = *byte;
    }
    out
}

#[cfg(test)]
#[path = "cms_tests.rs"]
mod tests;
