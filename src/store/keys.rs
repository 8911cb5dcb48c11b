//! The gateway's own keys: for SSH, for receipts, and for digests that only the gateway can make.

use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{durable, gateway_keys};
use crate::model::ids::Digest;
use crate::signed::sshsig::{self, SignatureError};

/// Namespace of receipts' signatures.
pub const RECEIPT_NAMESPACE: &str = "todoke-receipt";
/// Namespace of submissions' signatures.
pub const SUBMISSION_NAMESPACE: &str = "todoke";

/// Files in `keys/`.
const TAG_KEY: &str = "tag_key";
/// Former receipt keys, as lines of `allowed_signers` with their periods.
const FORMER_SIGNERS: &str = "former_signers";

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not readable or writable.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others could read it.
    #[error("{path} can be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// The gateway's keys.
pub struct Keys {
    /// The SSH host key.
    pub host: PrivateKey,
    receipt: PrivateKey,
    tag: Zeroizing<Vec<u8>>,
    former_signers: String,
}

impl Keys {
    /// Reads the keys in this folder; makes those that are not there yet.
    pub fn load_or_make(folder: &Path) -> Result<Self, KeyError> {
        let io = |path: PathBuf| move |source| KeyError::Io { path, source };
        gateway_keys::ensure(folder).map_err(io(folder.to_owned()))?;
        let load = |name| gateway_keys::load(folder, name).map_err(io(folder.join(name)));
        let host = load(gateway_keys::HOST_KEY)?;
        let receipt = load(gateway_keys::RECEIPT_KEY)?;
        let tag_path = folder.join(TAG_KEY);
        let tag = match read_private(&tag_path)? {
            Some(tag) => tag,
            None => {
                let mut tag = Zeroizing::new(vec![0; 32]);
                random(&mut tag).map_err(|source| KeyError::Io { path: tag_path.clone(), source })?;
                durable::write_new(&tag_path, &tag, 0o600)
                    .map_err(|source| KeyError::Io { path: tag_path, source })?;
                tag
            }
        };
        let former = folder.join(FORMER_SIGNERS);
        let former_signers = match std::fs::read_to_string(&former) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(KeyError::Io { path: former, source }),
        };
        Ok(Self { host, receipt, tag, former_signers })
    }

    /// Signs a receipt; armored.
    pub fn sign_receipt(&self, receipt: &[u8]) -> Result<String, SignatureError> {
        sshsig::sign(receipt, RECEIPT_NAMESPACE, &self.receipt)
    }

    /// `/receipts/allowed_signers`: the receipt keys for `ssh-keygen -Y verify -I todoke`, former ones with their
    /// periods.
    pub fn allowed_signers(&self) -> String {
        let public = public_line(self.receipt.public_key());
        format!("todoke namespaces=\"{RECEIPT_NAMESPACE}\" {public}\n{}", self.former_signers)
    }

    /// A keyed digest over parts: the same parts give the same tag on this gateway, and nobody without the key can try
    /// out what they were.
    pub fn tag(&self, purpose: &str, parts: &[&[u8]]) -> Digest {
        let mut mac = tag_mac(&self.tag);
        for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Digest(mac.finalize().into_bytes().into())
    }
}

/// HMAC takes keys of any length; ours has 32 bytes.
fn tag_mac(key: &[u8]) -> Hmac<sha2::Sha256> {
    let mut block = [0; 64];
    let n = key.len().min(64);
    block[..n].copy_from_slice(&key[..n]);
    Hmac::new(&block.into())
}

/// A public key without its comment.
pub fn public_line(key: &PublicKey) -> String {
    let mut bare = key.clone();
    bare.set_comment("");
    bare.to_openssh().unwrap_or_default().trim_end().to_owned()
}

/// Fills with random bytes from the system.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|e| io::Error::other(e.to_string()))
}

fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io(e)),
        Ok(meta) => {
            let mode = meta.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Open { path: path.to_owned(), mode });
            }
        }
    }
    std::fs::read(path).map(|bytes| Some(Zeroizing::new(bytes))).map_err(io)
}
