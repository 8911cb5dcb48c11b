//! The rules of every insurer: one set of tables, and what each insurer's file changes.

use std::collections::HashMap;
use std::path::Path;

use super::rules::RuleSet;
use super::tables::TableError;
use crate::model::ids::InsurerCode;

/// All rules in force.
#[derive(Debug, Clone)]
pub struct RuleBook {
    base: RuleSet,
    insurers: HashMap<InsurerCode, RuleSet>,
}

impl RuleBook {
    /// Reads `forms/*.toml` and `insurers/CODE.toml` of a configuration folder. Without a folder `forms` the tables that
    /// come with todoke are used.
    pub fn load(conf: &Path) -> Result<Self, TableError> {
        let forms = conf.join("forms");
        let base = if forms.is_dir() { RuleSet::load(&forms)? } else { RuleSet::builtin()? };
        let mut insurers = HashMap::new();
        let unreadable = |path: &Path, e: &std::io::Error| TableError {
            file: path.display().to_string(),
            line: 0,
            reason: format!("cannot be read: {e}"),
        };
        let folder = conf.join("insurers");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self { base, insurers }),
            Err(e) => return Err(unreadable(&folder, &e)),
        };
        for entry in entries {
            let path = entry.map_err(|e| unreadable(&folder, &e))?.path();
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            let (Ok(code), Some("toml")) =
                (InsurerCode::parse(stem), path.extension().and_then(|e| e.to_str()))
            else {
                continue;
            };
            let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?;
            insurers.insert(code, base.for_insurer(&path.display().to_string(), &text)?);
        }
        Ok(Self { base, insurers })
    }

    /// The rules of one insurer.
    pub fn of(&self, insurer: &InsurerCode) -> &RuleSet {
        self.insurers.get(insurer).unwrap_or(&self.base)
    }
}

impl From<RuleSet> for RuleBook {
    fn from(base: RuleSet) -> Self {
        Self { base, insurers: HashMap::new() }
    }
}
