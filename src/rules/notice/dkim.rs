//! DKIM (RFC 6376, RFC 8463): a signature over a mail, by which its readers' hosts know that it is the gateway's.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode as _, Reader as _, SliceReader};
use lettre::Message;
use lettre::message::dkim::{
    DkimCanonicalization, DkimCanonicalizationType, DkimConfig, DkimSigningAlgorithm, DkimSigningKey,
};
use lettre::message::header::HeaderName;
use zeroize::Zeroizing;

/// Signs mails of one domain with one key.
pub struct Dkim(DkimConfig);

impl fmt::Debug for Dkim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dkim(...)")
    }
}

/// Why mails cannot be signed. Never repeats the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DkimError {
    /// Selector or domain.
    #[error("{0} must be letters, digits, dots and hyphens, such as 2026a and example.jp")]
    Name(&'static str),
    /// Not a key that can sign.
    #[error(
        "the key must be an unencrypted RSA or Ed25519 private key in PEM form, as `openssl genpkey` writes it ({0})"
    )]
    Key(&'static str),
}

/// Headers that are signed; `Message-ID` and `To` among them, so that a mail cannot be sent on as another.
const SIGNED: [&str; 9] = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Auto-Submitted",
];
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

impl Dkim {
    /// With the private key in this PEM text.
    pub fn new(selector: &str, domain: &str, pem: &str) -> Result<Self, DkimError> {
        let name = |text: &str| {
            let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            text.len() <= 200 && text.split('.').all(label)
        };
        if !name(selector) {
            return Err(DkimError::Name("selector"));
        }
        if !name(domain) {
            return Err(DkimError::Name("domain"));
        }
        let (text, algorithm) = key_text(pem)?;
        let key = DkimSigningKey::new(&text, algorithm).map_err(|_| DkimError::Key("its content"))?;
        let headers = SIGNED.iter().map(|name| HeaderName::new_from_ascii_str(name)).collect();
        let relaxed = DkimCanonicalizationType::Relaxed;
        let canonicalization = DkimCanonicalization { header: relaxed, body: relaxed };
        Ok(Self(DkimConfig::new(selector.to_owned(), domain.to_owned(), key, headers, canonicalization)))
    }

    pub(super) fn sign(&self, message: &mut Message) {
        message.sign(&self.0);
    }
}

/// The key as the signer wants it: PKCS#1 in PEM for RSA, the bare seed in base64 for Ed25519.
fn key_text(pem: &str) -> Result<(Zeroizing<String>, DkimSigningAlgorithm), DkimError> {
    if pem.contains("-----BEGIN RSA PRIVATE KEY-----") && !pem.contains("ENCRYPTED") {
        return Ok((Zeroizing::new(pem.trim().to_owned()), DkimSigningAlgorithm::Rsa));
    }
    let inside =
        pem.split_once("-----BEGIN PRIVATE KEY-----").and_then(|(_, rest)| rest.split_once("-----END"));
    let (inside, _) = inside.ok_or(DkimError::Key("no BEGIN PRIVATE KEY"))?;
    let inside: Zeroizing<String> = Zeroizing::new(inside.split_whitespace().collect());
    let der = Zeroizing::new(BASE64.decode(inside.as_bytes()).map_err(|_| DkimError::Key("its base64"))?);
    // PrivateKeyInfo (RFC 5958): version, algorithm, key.
    let read = || -> der::Result<(ObjectIdentifier, Vec<u8>)> {
        let mut reader = SliceReader::new(&der)?;
        reader.sequence(|reader| {
            let _: u8 = reader.decode()?;
            let algorithm = reader.sequence(|reader| {
                let algorithm = ObjectIdentifier::decode(reader)?;
                // Parameters, which both algorithms do without.
                let rest = reader.remaining_len();
                reader.read_slice(rest)?;
                Ok(algorithm)
            })?;
            let key = OctetStringRef::decode(reader)?.as_bytes().to_vec();
            let rest = reader.remaining_len();
            reader.read_slice(rest)?;
            Ok((algorithm, key))
        })
    };
    let (algorithm, key) = read().map_err(|_| DkimError::Key("its structure"))?;
    let key = Zeroizing::new(key);
    if algorithm == RSA {
        let body = BASE64.encode(&*key);
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem =
            format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", lines.join("\n"));
        Ok((Zeroizing::new(pem), DkimSigningAlgorithm::Rsa))
    } else if algorithm == ED25519 {
        let seed = OctetStringRef::from_der(&key).map_err(|_| DkimError::Key("its structure"))?;
        Ok((Zeroizing::new(BASE64.encode(seed.as_bytes())), DkimSigningAlgorithm::Ed25519))
    } else {
        Err(DkimError::Key("neither RSA nor Ed25519"))
    }
}
