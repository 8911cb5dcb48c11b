//! Public keys as operators hand them over: one OpenSSH line.

use russh::keys::ssh_key::{Algorithm, HashAlg, PublicKey};

use super::PartyError;
use crate::model::party::AccountKey;
use crate::signed::{secrets, sshsig};

/// A public key's line is shorter than this, an RSA key of 16,384 bits included.
pub const KEY_BYTES_MAX: usize = 16 << 10;

/// Reads a public key: an OpenSSH line, or a file that holds one. The comment is dropped: it may name a person.
pub fn parse(text: &str) -> Result<AccountKey, PartyError> {
    let refuse = |text: &str| Err(PartyError::new("KEY-UNUSABLE", text));
    if text.len() > KEY_BYTES_MAX {
        return refuse("this is too long for a public key; give the file that ends in .pub");
    }
    if secrets::private_key(text.as_bytes()).is_some() {
        return refuse(
            "this is a private key. It must stay with its owner: give the file that ends in .pub. If the private key was sent \
             to you by mail or the like, have its owner make a new one",
        );
    }
    let mut lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(line) = lines.next() else { return refuse("there is no key in it") };
    if line.starts_with("---- BEGIN SSH2 PUBLIC KEY") {
        return refuse("this is the RFC 4716 form; convert it with `ssh-keygen -i -f FILE`");
    }
    if line.starts_with("-----BEGIN") {
        return refuse(
            "this is PEM, not an OpenSSH public key; convert it with `ssh-keygen -i -m PKCS8 -f FILE`",
        );
    }
    if lines.next().is_some() {
        return refuse("there are several lines in it; give one key at a time (--ssh-key may be repeated)");
    }
    let algorithm = line.split_ascii_whitespace().next().unwrap_or_default();
    if algorithm.contains("-cert-v01@openssh.com") {
        return refuse("this is a certificate; give the plain public key it was made for");
    }
    if algorithm == "ssh-dss" {
        return refuse("DSA keys are broken and refused; make an Ed25519 key: ssh-keygen -t ed25519");
    }
    let Ok(key) = PublicKey::from_openssh(line) else {
        return refuse(
            "this is not an OpenSSH public key line, such as `ssh-ed25519 AAAA...` (no options before it)",
        );
    };
    if sshsig::require_strong(key.key_data()).is_err() {
        let text = match key.algorithm() {
            Algorithm::Rsa { .. } => {
                "this RSA key is shorter than 2048 bits (or longer than any client makes); make an \
                                      Ed25519 key: ssh-keygen -t ed25519"
            }
            _ => "keys of this kind are refused; make an Ed25519 key: ssh-keygen -t ed25519",
        };
        return refuse(text);
    }
    let plain = PublicKey::new(key.key_data().clone(), "");
    let line = plain
        .to_openssh()
        .map_err(|_| PartyError::new("KEY-UNUSABLE", "this key cannot be written again"))?;
    Ok(AccountKey {
        fingerprint: plain.fingerprint(HashAlg::Sha256).to_string(),
        key: line.trim().to_owned(),
    })
}
