//! The gateway's own keys: the SSH host key and the key that signs receipts. Made once, never replaced here.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{LineEnding, PrivateKey};
use zeroize::Zeroizing;

use super::durable;

/// File of the SSH host key in the data root's `keys/`.
pub const HOST_KEY: &str = "ssh_host_ed25519_key";
/// File of the key that signs receipts.
pub const RECEIPT_KEY: &str = "receipt_ed25519_key";

/// Makes those keys that are not there yet (mode 0600, `.pub` beside them), durably; gives the files made. A file that is
/// there is never touched, whatever it holds.
pub fn ensure(keys: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(keys)?;
    std::fs::set_permissions(keys, Permissions::from_mode(0o700))?;
    let mut made = Vec::new();
    for (name, comment) in [(HOST_KEY, "todoke host"), (RECEIPT_KEY, "todoke receipts")] {
        let file = keys.join(name);
        if file.exists() {
            continue;
        }
        let key = generate(comment).map_err(io::Error::other)?;
        let public = key.public_key().to_openssh().map_err(io::Error::other)?;
        let private = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        // A public half whose private half a crash took gives way: this one belongs to the new key.
        durable::replace(&keys.join(format!("{name}.pub")), format!("{public}\n").as_bytes(), 0o644)?;
        durable::write_new(&file, private.as_bytes(), 0o600)?;
        made.push(file);
    }
    Ok(made)
}

/// Reads a secret file of `keys/`; refuses one that others may read.
pub fn read_private(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mode = std::fs::metadata(file)?.mode();
    if mode & 0o077 != 0 {
        let text =
            format!("{} may be read by others (mode {:o}); chmod 600 it", file.display(), mode & 0o777);
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    std::fs::read(file).map(Zeroizing::new)
}

/// Reads one of the keys; refuses one that others may read.
pub fn load(keys: &Path, name: &str) -> io::Result<PrivateKey> {
    let file = keys.join(name);
    let text = read_private(&file)?;
    PrivateKey::from_openssh(&text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display())))
}

/// A new Ed25519 key.
pub fn generate(comment: &str) -> Result<PrivateKey, Box<dyn std::error::Error + Send + Sync>> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| error.to_string())?;
    let pair = Ed25519Keypair::from_seed(&seed);
    Ok(PrivateKey::new(pair.into(), comment)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_read_only_when_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        assert_eq!(ensure(&keys).unwrap().len(), 2);
        let host = load(&keys, HOST_KEY).unwrap();
        let again = std::fs::read(keys.join(HOST_KEY)).unwrap();
        assert!(ensure(&keys).unwrap().is_empty());
        assert_eq!(std::fs::read(keys.join(HOST_KEY)).unwrap(), again);
        let public = std::fs::read_to_string(keys.join(format!("{HOST_KEY}.pub"))).unwrap();
        assert_eq!(public.trim(), host.public_key().to_openssh().unwrap());

        // A public half alone, as a crash may leave it.
        std::fs::remove_file(keys.join(RECEIPT_KEY)).unwrap();
        assert_eq!(ensure(&keys).unwrap(), [keys.join(RECEIPT_KEY)]);
        let receipt = load(&keys, RECEIPT_KEY).unwrap();
        let public = std::fs::read_to_string(keys.join(format!("{RECEIPT_KEY}.pub"))).unwrap();
        assert_eq!(public.trim(), receipt.public_key().to_openssh().unwrap());

        std::fs::set_permissions(keys.join(HOST_KEY), Permissions::from_mode(0o640)).unwrap();
        let error = load(&keys, HOST_KEY).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
