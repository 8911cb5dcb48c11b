//! Where things are.

use std::path::{Path, PathBuf};

use crate::model::ids::InsurerCode;

/// Paths that follow from where the configuration file is and what its `gateway.root` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `todoke.toml`
    pub file: PathBuf,
    /// The folder that holds it (`conf/`).
    pub conf: PathBuf,
    /// What relative paths in it are relative to: the folder that holds `conf/`.
    pub base: PathBuf,
    /// The data root.
    pub root: PathBuf,
}

impl Places {
    /// Of this file, with the data root it names.
    pub fn of(file: &Path, root: &str) -> Self {
        let conf = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let base = match conf.parent() {
            // `conf` alone: its parent is the current folder, which `parent` gives as the empty path.
            Some(parent) if conf != Path::new(".") => {
                if parent.as_os_str().is_empty() {
                    PathBuf::from(".")
                } else {
                    parent.to_owned()
                }
            }
            _ => conf.join(".."),
        };
        let root = base.join(root);
        Self { file: file.to_owned(), conf, base, root }
    }

    /// A path from the configuration.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// An insurer's own policy.
    pub fn insurer_file(&self, code: &InsurerCode) -> PathBuf {
        self.conf.join("insurers").join(format!("{code}.toml"))
    }

    /// A table of holidays.
    pub fn holidays_file(&self, name: &str) -> PathBuf {
        self.conf.join("holidays").join(format!("{name}.csv"))
    }

    /// Private keys of the gateway itself.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// What anybody may have: authorities' certificates, fingerprints, revocation lists.
    pub fn public(&self) -> PathBuf {
        self.root.join("public")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }
}
