//! Secrets that the operator keeps in files: a mail password, a pepper. They are read once, at start or reload.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Where a secret lies: `/etc/todoke/mail.password`, or `credential:mail.password` for one that the service manager hands
/// over (`LoadCredential=`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretSource {
    /// An absolute path.
    File(PathBuf),
    /// A name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Why a text names no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a place of a secret: allowed are an absolute path and credential:NAME (the secret itself never stands here)"
)]
pub struct SecretSourceError;

/// Why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not there, or not for this user.
    #[error("{source_name}: {error}")]
    Io {
        /// Which.
        source_name: String,
        /// Why.
        error: io::Error,
    },
    /// Others may read or the group may write.
    #[error("{0}: its mode lets others read it or its group change it; chmod 0640 or tighter")]
    Mode(String),
    /// Empty, more than a line, too long, or not UTF-8.
    #[error("{0}: must be one line of UTF-8 text of at most {SECRET_BYTES_MAX} bytes")]
    Form(String),
    /// Not started by a service manager that hands over credentials.
    #[error("{0}: CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit, or name a file")]
    NoCredentials(String),
}

/// Longest secret.
pub const SECRET_BYTES_MAX: usize = 1024;

impl SecretSource {
    /// Reads it. `credentials` is `$CREDENTIALS_DIRECTORY`.
    pub fn read(&self, credentials: Option<&Path>) -> Result<Zeroizing<String>, SecretError> {
        let name = self.to_string();
        let path = match self {
            Self::File(path) => path.clone(),
            Self::Credential(credential) => match credentials {
                Some(directory) => directory.join(credential),
                None => return Err(SecretError::NoCredentials(name)),
            },
        };
        let failed = |error| SecretError::Io { source_name: name.clone(), error };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.permissions().mode() & 0o027 != 0 {
            return Err(SecretError::Mode(name));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 2));
        file.take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        match std::str::from_utf8(line) {
            Ok(text)
                if !text.is_empty() && text.len() <= SECRET_BYTES_MAX && !text.contains(char::is_control) =>
            {
                Ok(Zeroizing::new(text.to_owned()))
            }
            _ => Err(SecretError::Form(name)),
        }
    }
}

impl FromStr for SecretSource {
    type Err = SecretSourceError;
    fn from_str(text: &str) -> Result<Self, SecretSourceError> {
        if let Some(name) = text.strip_prefix("credential:") {
            let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            let valid =
                !name.is_empty() && !name.starts_with('.') && name.len() <= 100 && name.bytes().all(fine);
            return if valid { Ok(Self::Credential(name.into())) } else { Err(SecretSourceError) };
        }
        if text.starts_with('/') { Ok(Self::File(text.into())) } else { Err(SecretSourceError) }
    }
}
impl TryFrom<String> for SecretSource {
    type Error = SecretSourceError;
    fn try_from(text: String) -> Result<Self, SecretSourceError> {
        text.parse()
    }
}
impl From<SecretSource> for String {
    fn from(source: SecretSource) -> String {
        source.to_string()
    }
}
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_and_write() {
        for text in ["/etc/todoke/mail.password", "credential:mail.password"] {
            assert_eq!(text.parse::<SecretSource>().unwrap().to_string(), text);
        }
        for text in ["", "hunter2", "credential:", "credential:../x", "credential:.x", "credential:a/b"] {
            let error = text.parse::<SecretSource>().expect_err(text);
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn secrets_are_one_line_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mail.password");
        let read = |content: &str, mode| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let source: SecretSource = "credential:mail.password".parse().unwrap();
            source.read(Some(dir.path()))
        };
        assert_eq!(*read("hush hush\n", 0o640).unwrap(), "hush hush");
        assert_eq!(*read("合言葉", 0o400).unwrap(), "合言葉");
        for content in ["", "\n", "two\nlines\n", "cr\r\n", &"x".repeat(SECRET_BYTES_MAX + 1)] {
            assert!(matches!(read(content, 0o600), Err(SecretError::Form(_))), "{content:.20?}");
        }
        for mode in [0o644, 0o660, 0o604] {
            assert!(matches!(read("hush", mode), Err(SecretError::Mode(_))), "{mode:o}");
        }
        let source = SecretSource::Credential("other".into());
        assert!(matches!(source.read(Some(dir.path())), Err(SecretError::Io { .. })));
        assert!(matches!(source.read(None), Err(SecretError::NoCredentials(_))));
    }
}
