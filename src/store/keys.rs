//! The gateway's own keys: for SSH, for receipts, and for digests that only the gateway can make.

use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{durable, gateway_keys};
use crate::model::ids::Digest;
use crate::signed::sshsig::{
    self, BATCH_NAMESPACE, RECEIPT_NAMESPACE, RECONCILIATION_NAMESPACE, SignatureError,
};

/// Files in `keys/`.
const TAG_KEY: &str = "tag_key";
/// Former receipt keys, as lines of `allowed_signers` with their periods.
const FORMER_SIGNERS: &str = "former_signers";

/// What the gateway signs.
const NAMESPACES: [&str; 3] = [RECEIPT_NAMESPACE, BATCH_NAMESPACE, RECONCILIATION_NAMESPACE];

/// Why the keys cannot be used: a file is not readable or writable, or others could read it.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct KeyError {
    /// Which file.
    path: PathBuf,
    /// What the system, or the check of its rights, says.
    source: io::Error,
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
        let io = |path: PathBuf| move |source| KeyError { path, source };
        gateway_keys::ensure(folder).map_err(io(folder.to_owned()))?;
        let load = |name| gateway_keys::load(folder, name).map_err(io(folder.join(name)));
        let host = load(gateway_keys::HOST_KEY)?;
        let receipt = load(gateway_keys::RECEIPT_KEY)?;
        let tag_path = folder.join(TAG_KEY);
        let tag = match gateway_keys::read_private(&tag_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_tag(&tag_path),
            read => read,
        };
        let tag = tag.map_err(io(tag_path))?;
        let former = folder.join(FORMER_SIGNERS);
        let former_signers = match std::fs::read_to_string(&former) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(KeyError { path: former, source }),
        };
        Ok(Self { host, receipt, tag, former_signers })
    }

    /// Signs a receipt; armored.
    pub fn sign_receipt(&self, receipt: &[u8]) -> Result<String, SignatureError> {
        self.sign(RECEIPT_NAMESPACE, receipt)
    }

    /// Signs something else that the gateway states, under its own namespace; armored. The same bytes give the same
    /// signature.
    pub fn sign(&self, namespace: &'static str, bytes: &[u8]) -> Result<String, SignatureError> {
        sshsig::sign(bytes, namespace, &self.receipt)
    }

    /// The key that signs, without comment.
    pub fn signer(&self) -> String {
        public_line(self.receipt.public_key())
    }

    /// `/receipts/allowed_signers`: the receipt keys for `ssh-keygen -Y verify -I todoke`, former ones with their
    /// periods.
    pub fn allowed_signers(&self) -> String {
        let (namespaces, public) = (NAMESPACES.join(","), self.signer());
        format!("todoke namespaces=\"{namespaces}\" {public}\n{}", self.former_signers)
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

fn make_tag(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut tag = Zeroizing::new(vec![0; 32]);
    random(&mut tag)?;
    durable::write_new(path, &tag, 0o600)?;
    Ok(tag)
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
