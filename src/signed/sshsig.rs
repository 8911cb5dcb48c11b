//! SSHSIG (OpenSSH PROTOCOL.sshsig): checked and made the way `ssh-keygen -Y` does.
//!
//! The library's own check takes SHA-1 RSA signatures and RSA keys of any size, and no certificate; so the format
//! is read here, what is weak is refused by name, and the library is asked only whether the signature fits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::signature::Verifier as _;
use russh::keys::ssh_encoding::Decode as _;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, Certificate, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

use crate::model::escape::excerpt;
use crate::model::finding::Text;
use crate::signed::manifest::looks_utf16;

/// The namespace of a sender's signature over its manifest, and of an insurer's over a delivery.
pub const SUBMISSION_NAMESPACE: &str = "todoke";
/// The namespace of the gateway's signature over a receipt.
pub const RECEIPT_NAMESPACE: &str = "todoke-receipt";

/// The namespace of the gateway's signature over a batch.
pub const BATCH_NAMESPACE: &str = "todoke-batch";
/// The namespace of the gateway's signature over a day's books.
pub const RECONCILIATION_NAMESPACE: &str = "todoke-reconciliation";

/// Most bytes of an armored signature; an RSA-8192 certificate with long principals needs about 8 KiB.
pub const SIGNATURE_BYTES_MAX: usize = 32 * 1024;
/// Fewest bits of an RSA modulus.
pub const RSA_BITS_MIN: u32 = 2048;
/// Most bits of an RSA modulus: what the RSA library takes, and a bound on the work a stranger can ask for.
pub const RSA_BITS_MAX: u32 = 8192;

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// Why a signature is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Longer than [`SIGNATURE_BYTES_MAX`].
    #[error("SIGNATURE-SIZE: the signature is larger than 32 KiB")]
    TooLarge,
    /// Written in UTF-16 or with a byte order mark, as PowerShell's `>` does.
    #[error("SIGNATURE-ENCODING: the signature file is UTF-16 or begins with a byte order mark")]
    Encoding,
    /// No `-----BEGIN SSH SIGNATURE-----` ... `-----END SSH SIGNATURE-----`.
    #[error("SIGNATURE-ARMOR: the file is not an armored SSH signature")]
    NotArmored,
    /// The armor holds no SSHSIG of version 1.
    #[error("SIGNATURE-MALFORMED: the signature cannot be read")]
    Malformed,
    /// Signed for another purpose.
    #[error("SIGNATURE-NAMESPACE: the signature's namespace is {got:?}, expected {expected:?}")]
    Namespace {
        /// The namespace in the signature, made printable.
        got: String,
        /// The one that is wanted.
        expected: String,
    },
    /// An algorithm or key size that is not taken, by name: `ssh-dss`, `ssh-rsa` (SHA-1), `RSA-1024`.
    #[error("SIGNATURE-WEAK: {name} is not accepted")]
    Weak {
        /// Its name.
        name: String,
    },
    /// The signature is sound in form but was not made over these bytes by the key it names.
    #[error("SIGNATURE-MISMATCH: the signature does not fit the manifest")]
    Mismatch,
    /// The private key cannot sign here.
    #[error("SIGNATURE-KEY: this key cannot sign: {reason}")]
    CannotSign {
        /// Why: encrypted, on a hardware token, or too weak.
        reason: String,
    },
}

impl SignatureError {
    /// The stable code that messages lead with.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "SIGNATURE-SIZE",
            Self::Encoding => "SIGNATURE-ENCODING",
            Self::NotArmored => "SIGNATURE-ARMOR",
            Self::Malformed => "SIGNATURE-MALFORMED",
            Self::Namespace { .. } => "SIGNATURE-NAMESPACE",
            Self::Weak { .. } => "SIGNATURE-WEAK",
            Self::Mismatch => "SIGNATURE-MISMATCH",
            Self::CannotSign { .. } => "SIGNATURE-KEY",
        }
    }

    /// What was wrong and what to do next.
    pub fn text(&self) -> Text {
        const AGAIN: &str = "「ssh-keygen -Y sign -n todoke -f 鍵 < SHA256SUMS > SHA256SUMS.sig」";
        const AGAIN_EN: &str = "`ssh-keygen -Y sign -n todoke -f KEY < SHA256SUMS > SHA256SUMS.sig`";
        match self {
            Self::TooLarge => Text::new(
                format!("署名ファイルが大きすぎます(32 KiB まで)。{AGAIN}で作り直してください。"),
                format!("The signature file is too large (at most 32 KiB). Make it again with {AGAIN_EN}."),
            ),
            Self::Encoding => Text::new(
                "署名ファイルが UTF-16 か BOM 付きです。PowerShell の「>」は使わず、「ssh-keygen -Y sign -n todoke -f 鍵 SHA256SUMS」(SHA256SUMS.sig ができます)で作り直してください。",
                "The signature file is UTF-16 or has a byte order mark. Do not use PowerShell's `>`; run `ssh-keygen -Y sign -n todoke -f KEY SHA256SUMS`, which writes SHA256SUMS.sig.",
            ),
            Self::NotArmored => Text::new(
                format!(
                    "署名ファイルが「{BEGIN}」で始まり「{END}」で終わっていません。{AGAIN}で作り直してください。"
                ),
                format!(
                    "The signature file does not begin with `{BEGIN}` and end with `{END}`. Make it again with {AGAIN_EN}."
                ),
            ),
            Self::Malformed => Text::new(
                format!(
                    "署名ファイルが壊れています。{AGAIN}で作り直し、バイナリモードで送り直してください。"
                ),
                format!(
                    "The signature file is damaged. Make it again with {AGAIN_EN} and send it in binary mode."
                ),
            ),
            Self::Namespace { got, expected } => Text::new(
                format!(
                    "署名の名前空間が「{got}」です(「{expected}」が必要です)。-n {expected} を付けて署名し直してください。"
                ),
                format!(
                    "The signature's namespace is {got:?} where {expected:?} is needed. Sign again with -n {expected}."
                ),
            ),
            Self::Weak { name } => Text::new(
                format!(
                    "署名の方式「{name}」は受け付けていません。Ed25519、ECDSA、または 2048〜8192 ビットの RSA(SHA-2)の鍵で署名し直してください。"
                ),
                format!(
                    "Signatures by {name} are not accepted. Sign with an Ed25519, ECDSA or 2048 to 8192 bit RSA key (SHA-2)."
                ),
            ),
            Self::Mismatch => Text::new(
                "署名が SHA256SUMS の内容と合いません。署名したあとに SHA256SUMS が変わった(改行の変換など)か、別のファイルの署名です。署名し直し、両方をバイナリモードで送り直してください。",
                "The signature does not fit SHA256SUMS: it changed after signing (line ends converted, for instance) or the signature is another file's. Sign again and send both in binary mode.",
            ),
            Self::CannotSign { reason } => Text::new(
                format!(
                    "この鍵では署名できません({reason})。「ssh-keygen -Y sign」で署名するか、別の鍵を使ってください。"
                ),
                format!(
                    "This key cannot sign here ({reason}). Sign with `ssh-keygen -Y sign`, or use another key."
                ),
            ),
        }
    }
}

/// Who signed: proven to hold the key, not yet known to be anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The key that made the signature.
    pub key: PublicKey,
    /// The certificate it was presented in, if it was. Nothing in it is checked here but that it names the key: issuer, period,
    /// principals and options are the caller's.
    pub certificate: Option<Box<Certificate>>,
    /// The signature algorithm's name, such as `ssh-ed25519` or `rsa-sha2-512`.
    pub algorithm: String,
}

impl Signer {
    /// The key's SHA-256 fingerprint as OpenSSH prints it: `SHA256:...`.
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }
}

/// Checks that an armored SSHSIG was made over `message` in `namespace` by the key that it carries, and says which.
pub fn verify(armored: &[u8], namespace: &str, message: &[u8]) -> Result<Signer, SignatureError> {
    let signature = dearmor(armored)?;
    if signature.namespace() != namespace {
        return Err(SignatureError::Namespace {
            got: excerpt(signature.namespace(), 64),
            expected: namespace.into(),
        });
    }
    let (key, certificate) = match signature.public_key() {
        KeyData::Certificate(certificate) => {
            (certificate.public_key().clone(), Some(Box::new(Certificate::clone(certificate))))
        }
        key => (key.clone(), None),
    };
    require_strong(&key)?;
    let algorithm = signature.algorithm();
    match (&algorithm, key.algorithm()) {
        (Algorithm::Rsa { hash: None }, _) => {
            return Err(SignatureError::Weak { name: "ssh-rsa (SHA-1)".into() });
        }
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => {}
        (of_signature, of_key) if *of_signature == of_key => {}
        _ => return Err(SignatureError::Mismatch),
    }
    // The reserved field is not signed over: OpenSSH ignores it too.
    let signed = SshSig::signed_data(namespace, signature.hash_alg(), message)
        .map_err(|_| SignatureError::Malformed)?;
    key.verify(&signed, signature.signature()).map_err(|_| SignatureError::Mismatch)?;
    Ok(Signer { key: PublicKey::new(key, ""), certificate, algorithm: algorithm.to_string() })
}

/// Refuses keys that are too weak, or unknown, by name.
pub fn require_strong(key: &KeyData) -> Result<(), SignatureError> {
    let weak = |name: String| Err(SignatureError::Weak { name });
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            Ok(())
        }
        KeyData::Rsa(_) => {
            let bits = rsa_bits(key);
            if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) { Ok(()) } else { weak(format!("RSA-{bits}")) }
        }
        other => weak(excerpt(other.algorithm().as_str(), 64)),
    }
}

/// Bits of an RSA key's modulus; 0 of other keys.
pub fn rsa_bits(key: &KeyData) -> u32 {
    let KeyData::Rsa(rsa) = key else { return 0 };
    rsa.n().as_positive_bytes().map_or(0, |n| {
        let zeros = n.first().map_or(0, |first| first.leading_zeros());
        u32::try_from(n.len()).unwrap_or(u32::MAX / 8).saturating_mul(8).saturating_sub(zeros)
    })
}

/// Signs the way `ssh-keygen -Y sign` does, with SHA-512 as the message hash.
pub fn sign(message: &[u8], namespace: &str, key: &PrivateKey) -> Result<String, SignatureError> {
    let cannot = |reason: &str| SignatureError::CannotSign { reason: reason.into() };
    if key.is_encrypted() {
        return Err(cannot("it is protected by a passphrase"));
    }
    require_strong(key.public_key().key_data())?;
    let signature = key
        .sign(namespace, HashAlg::Sha512, message)
        .map_err(|_| cannot("its kind is not supported, or it lives on a hardware token"))?;
    signature.to_pem(LineEnding::LF).map_err(|_| cannot("its signature cannot be written"))
}

/// Takes the armor off; line ends of either kind and blanks around it are let pass.
fn dearmor(armored: &[u8]) -> Result<SshSig, SignatureError> {
    if armored.len() > SIGNATURE_BYTES_MAX {
        return Err(SignatureError::TooLarge);
    }
    if armored.starts_with(b"\xef\xbb\xbf") || looks_utf16(armored) {
        return Err(SignatureError::Encoding);
    }
    let text = std::str::from_utf8(armored).map_err(|_| SignatureError::NotArmored)?;
    let body = text
        .trim()
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(END))
        .ok_or(SignatureError::NotArmored)?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let blob = STANDARD.decode(body).map_err(|_| SignatureError::Malformed)?;
    let mut reader = blob.as_slice();
    let signature = SshSig::decode(&mut reader).map_err(|_| SignatureError::Malformed)?;
    if !reader.is_empty() || signature.version() != SshSig::VERSION {
        return Err(SignatureError::Malformed);
    }
    Ok(signature)
}

#[cfg(test)]
#[path = "sshsig_tests.rs"]
mod tests;
