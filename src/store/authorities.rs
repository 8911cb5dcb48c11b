//! Private keys of the gateway's own authorities. Nothing but this module reads them, and who has one can only have it sign:
//! [`AuthoritySigner`] is all that a process of its own would have to offer.
//!
//! A key lies in `keys/`, 0600, made when it is first wanted; or it is given as a systemd credential
//! (`LoadCredential=todoke.ca_x509-1.key`), which comes first, and then nothing is made.

pub mod bundle;
pub mod openssh;
pub mod x509;

use std::io;
use std::path::{Path, PathBuf};

use rcgen::SigningKey as _;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::{LineEnding, PrivateKey, PublicKey, Signature};

use super::{durable, gateway_keys};
use crate::model::authority::Form;
use crate::model::ids::{AuthorityId, Digest};

/// Why an authority cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its key is neither in `keys/` nor among the credentials.
    #[error(
        "the private key of authority {0} is not here: restore keys/, or run this where the credential is given"
    )]
    NoKey(AuthorityId),
    /// Its key cannot be read or written.
    #[error("{path}: {source}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What the system, or the check of its rights, says.
        source: io::Error,
    },
    /// What is there is another authority's key.
    #[error("the private key of authority {0} does not fit its certificate: restore the right one")]
    OtherKey(AuthorityId),
    /// Something could not be made or signed.
    #[error("while {doing}: {reason}")]
    Sign {
        /// What was being done.
        doing: &'static str,
        /// What the library says.
        reason: String,
    },
}

fn cannot<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> AuthorityError {
    move |error| AuthorityError::Sign { doing, reason: error.to_string() }
}

/// SHA-256, and SHA-1 in hexadecimal digits: the seeds' offices compare the latter (E5); nothing relies on it.
pub fn fingerprints(bytes: &[u8]) -> (Digest, String) {
    let sha1 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    (Digest::of(bytes), hex::encode(sha1))
}

/// An authority's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityKey {
    /// The uncompressed point of P-384 (SEC 1): ECDSA with SHA-384.
    X509(Vec<u8>),
    /// Ed25519.
    Openssh(PublicKey),
}

/// A private key that signs and does nothing else.
pub trait AuthoritySigner: Send + Sync {
    /// Its public half.
    fn public(&self) -> &AuthorityKey;
    /// Signs: a DER signature for X.509, the 64 bytes of Ed25519 for OpenSSH.
    fn sign(&self, message: &[u8]) -> io::Result<Vec<u8>>;
}

/// Where the keys are.
#[derive(Debug, Clone)]
pub struct AuthorityKeys {
    folder: PathBuf,
    credentials: Option<PathBuf>,
}

impl AuthorityKeys {
    /// In `keys/` of a data root, and in the folder that systemd gives credentials in, if it does.
    pub fn new(folder: PathBuf, credentials: Option<PathBuf>) -> Self {
        Self { folder, credentials }
    }

    /// The file of an authority's key.
    pub fn name(id: &AuthorityId) -> String {
        format!("ca_{id}.key")
    }

    /// The credential that holds it, where it is one.
    pub fn credential(id: &AuthorityId) -> String {
        format!("todoke.{}", Self::name(id))
    }

    /// The key of this authority; none when it is not here.
    pub fn signer(
        &self,
        id: &AuthorityId,
        form: Form,
    ) -> Result<Option<Box<dyn AuthoritySigner>>, AuthorityError> {
        let given = self.credentials.as_ref().map(|folder| folder.join(Self::credential(id)));
        // Their rights are systemd's: it may let a group read what an access list guards.
        if let Some(path) = given.filter(|path| path.exists()) {
            let text = std::fs::read(&path).map(zeroize::Zeroizing::new);
            return text.and_then(|text| read(&text, form)).map(Some).map_err(|e| at(&path, e));
        }
        let path = self.folder.join(Self::name(id));
        match gateway_keys::read_private(&path) {
            Ok(text) => read(&text, form).map(Some).map_err(|e| at(&path, e)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path, error)),
        }
    }

    /// The key of this authority, made where there is none yet; durable when it returns.
    pub fn signer_or_make(
        &self,
        id: &AuthorityId,
        form: Form,
    ) -> Result<Box<dyn AuthoritySigner>, AuthorityError> {
        if let Some(signer) = self.signer(id, form)? {
            return Ok(signer);
        }
        let path = self.folder.join(Self::name(id));
        let text = generate(id, form)?;
        durable::write_new(&path, text.as_bytes(), 0o600).map_err(|e| at(&path, e))?;
        read(text.as_bytes(), form).map_err(|e| at(&path, e))
    }
}

fn at(path: &Path, source: io::Error) -> AuthorityError {
    AuthorityError::Key { path: path.to_owned(), source }
}

fn generate(id: &AuthorityId, form: Form) -> Result<zeroize::Zeroizing<String>, AuthorityError> {
    let doing = "making an authority's key";
    match form {
        Form::X509 => {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).map_err(cannot(doing))?;
            Ok(zeroize::Zeroizing::new(key.serialize_pem()))
        }
        Form::Openssh => {
            let key = gateway_keys::generate(&format!("todoke {id}")).map_err(cannot(doing))?;
            key.to_openssh(LineEnding::LF).map_err(cannot(doing))
        }
    }
}

fn read(text: &[u8], form: Form) -> io::Result<Box<dyn AuthoritySigner>> {
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    match form {
        Form::X509 => {
            let text = std::str::from_utf8(text).map_err(|e| invalid(e.to_string()))?;
            let key = rcgen::KeyPair::from_pem_and_sign_algo(text, &rcgen::PKCS_ECDSA_P384_SHA384)
                .map_err(|e| invalid(format!("is no private key of P-384 in PKCS #8 ({e})")))?;
            let public = AuthorityKey::X509(key.public_key_raw().to_vec());
            Ok(Box::new(X509Signer { key, public }))
        }
        Form::Openssh => {
            let key = PrivateKey::from_openssh(text).map_err(|e| invalid(e.to_string()))?;
            if key.key_data().ed25519().is_none() {
                return Err(invalid("is no Ed25519 key without passphrase".to_owned()));
            }
            let public = AuthorityKey::Openssh(PublicKey::new(key.public_key().key_data().clone(), ""));
            Ok(Box::new(OpensshSigner { key, public }))
        }
    }
}

struct X509Signer {
    key: rcgen::KeyPair,
    public: AuthorityKey,
}

impl AuthoritySigner for X509Signer {
    fn public(&self) -> &AuthorityKey {
        &self.public
    }
    fn sign(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        self.key.sign(message).map_err(io::Error::other)
    }
}

struct OpensshSigner {
    key: PrivateKey,
    public: AuthorityKey,
}

impl AuthoritySigner for OpensshSigner {
    fn public(&self) -> &AuthorityKey {
        &self.public
    }
    fn sign(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let signature: Signature = self.key.try_sign(message).map_err(io::Error::other)?;
        Ok(signature.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn id(text: &str) -> AuthorityId {
        AuthorityId::parse(text).unwrap()
    }

    #[test]
    fn a_key_is_made_once_private_and_a_credential_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let (own, given) = (dir.path().join("keys"), dir.path().join("credentials"));
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(&given).unwrap();
        let keys = AuthorityKeys::new(own.clone(), Some(given.clone()));
        for (name, form) in [("x509-1", Form::X509), ("ssh-1", Form::Openssh)] {
            assert!(keys.signer(&id(name), form).unwrap().is_none());
            let made = keys.signer_or_make(&id(name), form).unwrap();
            let again = keys.signer_or_make(&id(name), form).unwrap();
            assert_eq!(made.public(), again.public());
            let file = own.join(AuthorityKeys::name(&id(name)));
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

            let other = AuthorityKeys::new(given.clone(), None).signer_or_make(&id(name), form).unwrap();
            assert_ne!(other.public(), made.public());
            let credential = given.join(AuthorityKeys::credential(&id(name)));
            durable::rename(&given.join(AuthorityKeys::name(&id(name))), &credential).unwrap();
            assert_eq!(keys.signer(&id(name), form).unwrap().unwrap().public(), other.public());
            std::fs::remove_file(credential).unwrap();

            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
            let refused = keys.signer(&id(name), form).map(|_| ()).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::fs::write(&file, "nonsense").unwrap();
            let refused = keys.signer(&id(name), form).map(|_| ()).unwrap_err();
            assert!(matches!(refused, AuthorityError::Key { .. }), "{refused}");
        }
    }
}
